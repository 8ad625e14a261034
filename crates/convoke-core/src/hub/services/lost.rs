//! What becomes of calls when a node leaves, when its link is cut, and when it comes back.

use std::time::Duration;

use super::calls::{NONE, State};
use super::{HubState, LinkId, NO_PARTY, Services};
use crate::bug::{Bug, planted};
use crate::frame::{End, Frame, Head, Incarnation, Parts};
use crate::hub::Dropped;
use crate::limits::{PAYLOAD_BYTES_MAX, PROVIDER_AWAY_TIME_MAX, REPLIES_KEPT_BYTES_MAX};
use crate::name::Name;
use crate::refusal::{Code, Refusal};

impl HubState {
    /// A joined link is gone, for good if its node has left. `unsent` is what waited in its lane of calls, and `silent` how
    /// long nothing was heard on it.
    pub(in crate::hub) fn end_party(&mut self, party: u32, why: &Refusal, unsent: &[u8], silent: Duration) {
        if party == NO_PARTY {
            return;
        }
        let services = &mut self.services;
        services.parties[party].link = None;
        for offer in std::mem::take(&mut services.parties[party].offers).into_values() {
            services.unlist(offer);
        }
        self.take_back(party, unsent);
        if why.code == Code::RightsChanged {
            self.recant(party);
        }
        let services = &mut self.services;
        // What is left was written.
        for place in services.calls.of(services.parties[party].handling) {
            services.calls[place].order = 0;
        }
        let patience = match PROVIDER_AWAY_TIME_MAX.saturating_sub(silent) {
            _ if planted(Bug::LostIsWaitedFor) => PROVIDER_AWAY_TIME_MAX * 2,
            patience => patience,
        };
        if why.code == Code::Left || patience.is_zero() {
            return self.lose(party);
        }
        let until = self.now + patience;
        services.parties[party].until = until;
        let node = services.parties[party].node.clone();
        services.due_by(until);
        if let Some(before) = services.away.insert(node, party) {
            debug_assert!(before != party, "a party goes away once");
            self.lose(before);
        }
    }

    /// The rights of a principal have changed: of its nodes that are away, nothing that waits is given to anybody.
    pub(in crate::hub) fn recant_away(&mut self, principal: &Name) {
        if planted(Bug::AwayKeepReplies) {
            return;
        }
        let Services { away, parties, .. } = &self.services;
        let concerned: Vec<u32> =
            away.values().copied().filter(|party| parties[*party].principal.name == *principal).collect();
        for party in concerned {
            self.recant(party);
        }
    }

    /// The rights of a node are others than they were: whether it may still call what it has called, and be told what came
    /// of it, is asked when it asks for that again.
    fn recant(&mut self, party: u32) {
        let caller = &mut self.services.parties[party];
        caller.kept.clear();
        caller.kept_bytes = 0;
        let mut open: Vec<(u64, u32)> = std::mem::take(&mut caller.numbers).into_iter().collect();
        open.sort_unstable();
        for (_, place) in open {
            self.give_up(place);
        }
    }

    /// What was not written to a link that is gone: calls go to others, and replies are kept.
    fn take_back(&mut self, party: u32, unsent: &[u8]) {
        let mut parts = Parts::default();
        let mut rest = unsent;
        while let Ok(Some(head)) = Head::peek(rest)
            && let Some((bytes, after)) = rest.split_at_checked(head.len)
        {
            match Frame::decode(bytes) {
                Ok(Some((Frame::Part(head, body), _))) => {
                    if let Ok(Some(whole)) = parts.push(head, body, PAYLOAD_BYTES_MAX * 2)
                        && let Ok(frame) = whole.whole()
                    {
                        self.take_one_back(party, &frame);
                    }
                }
                Ok(Some((frame, _))) => self.take_one_back(party, &frame),
                Ok(None) | Err(_) => debug_assert!(false, "the hub writes whole frames"),
            }
            rest = after;
        }
    }

    fn take_one_back(&mut self, party: u32, frame: &Frame<'_>) {
        match frame {
            Frame::Handle(handle) => {
                let Some(place) = self.services.calls.find(handle.id) else { return };
                let call = &self.services.calls[place];
                if call.state != State::Given || call.provider != party {
                    return;
                }
                let name = self.services.offers[call.place].name.clone();
                self.detach(place);
                if self.services.calls[place].caller == NONE {
                    self.services.calls.remove(place);
                } else {
                    self.give_again(place, &name, handle.content);
                }
            }
            Frame::Reply(reply) => {
                let mut frame = Vec::new();
                Frame::Reply(*reply).encode(&mut frame);
                let party = &mut self.services.parties[party];
                if party.kept_bytes + frame.len() <= REPLIES_KEPT_BYTES_MAX {
                    party.kept_bytes += frame.len();
                    party.kept.insert(reply.id, frame);
                } else {
                    self.counters.count_dropped(Dropped::Replies, 1);
                }
            }
            _ => {}
        }
    }

    /// A node has joined: as what it was before, or as another in its place.
    pub(in crate::hub) fn begin_party(&mut self, id: LinkId, node: &Name, incarnation: Incarnation) {
        let Some(party) = self.services.away.remove(node) else { return };
        if self.services.parties[party].incarnation != incarnation {
            return self.lose(party);
        }
        self.services.parties[party].link = Some(id);
        if let Some(joined) = self.links.joined(id) {
            joined.party = party;
            let principal = joined.principal.clone();
            let before = std::mem::replace(&mut self.services.parties[party].principal, principal);
            if before.rights != self.services.parties[party].principal.rights && !planted(Bug::ResumedAsAnother) {
                self.recant(party);
            }
        }
        for place in self.services.calls.of(self.services.parties[party].handling) {
            if self.services.calls[place].caller == NONE {
                self.give_up(place);
            }
            self.recall(id, place);
        }
    }

    /// A node without a link will not come back as what it was.
    pub(super) fn lose(&mut self, party: u32) {
        let services = &mut self.services;
        let node = services.parties[party].node.clone();
        for place in services.calls.of(services.parties[party].handling) {
            let services = &mut self.services;
            let name = services.offers[services.calls[place].place].name.clone();
            match self.detach(place) {
                _ if self.services.calls[place].caller == NONE => self.services.calls.remove(place),
                Some(kept) => {
                    self.services.calls[place].doubtful = true;
                    self.give_again(place, &name, kept.content());
                }
                None if planted(Bug::LostIsRefused) => {
                    self.finish(place, End::Refused { code: Code::NoProvider, text: "its provider was lost" });
                }
                None => {
                    let text = format!("call to `{name}`: its provider `{node}` was lost while it had the call");
                    self.finish(place, End::Uncertain { code: Code::ProviderLost, text: &text });
                }
            }
        }
        let numbers = std::mem::take(&mut self.services.parties[party].numbers);
        let mut open: Vec<(u64, u32)> = numbers.into_iter().collect();
        open.sort_unstable();
        for (_, place) in open {
            self.give_up(place);
        }
        self.services.parties.remove(party);
    }
}
