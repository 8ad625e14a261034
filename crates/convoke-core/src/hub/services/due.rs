//! Deadlines of calls. There is no timer for each: whenever the first may have come, all open calls are looked through.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::calls::State;
use super::{HubState, LinkId, Service, Services};
use crate::frame::{End, HEAD_BYTES, Head, Kind, REST};
use crate::refusal::Code;
use crate::time::Time;

/// The least time between two looks through all open calls, and what is added to it for each: so a hub spends a few
/// hundredths of its time on them, however many there are and however they are spread.
const PAUSE: Duration = Duration::from_millis(1);
/// See [`PAUSE`].
const PAUSE_PER_CALL: Duration = Duration::from_nanos(200);

impl Services {
    /// The hub stood still: everything is due so much later.
    pub(in crate::hub) fn postpone(&mut self, by: Duration) {
        let Services { calls, parties, away, due, .. } = self;
        for call in calls.iter_mut() {
            call.due = call.due + by;
            call.sought = call.sought + by;
        }
        for party in away.values() {
            parties[*party].until = parties[*party].until + by;
        }
        *due = due.map(|due| due + by);
    }
}

impl HubState {
    /// Ends what has taken too long.
    pub(in crate::hub) fn sweep_calls(&mut self) {
        let now = self.now;
        let services = &mut self.services;
        let mut next: Option<Time> = None;
        let mut later = |due: Time| next = Some(next.map_or(due, |next| next.min(due)));
        let mut ended = Vec::new();
        for (place, call) in services.calls.iter() {
            let due = if call.state == State::Sought { call.sought } else { call.due };
            if due <= now {
                ended.push(place);
            } else if due != Time::FAR {
                later(due);
            }
        }
        let mut lost = Vec::new();
        for (node, party) in &services.away {
            if services.parties[*party].until <= now {
                lost.push(node.clone());
            } else {
                later(services.parties[*party].until);
            }
        }
        let pause = PAUSE + PAUSE_PER_CALL * u32::try_from(services.calls.len()).unwrap_or(u32::MAX);
        services.due = next.map(|due| due.max(now + pause));
        let unwritten = self.take_unwritten(&ended);
        for place in ended {
            self.expire_call(place, unwritten.contains(&place));
        }
        for node in lost {
            if let Some(party) = self.services.away.remove(&node) {
                self.lose(party);
            }
        }
    }

    fn expire_call(&mut self, place: u32, unwritten: bool) {
        let Services { calls, offers, all, parties, .. } = &self.services;
        let call = &calls[place];
        match call.state {
            State::Free => {}
            State::Waiting => {
                let Service { name, listed, .. } = &all[call.place];
                let text = match (listed.is_empty(), call.refused_by.is_empty()) {
                    (true, _) => format!("call to `{name}`: nobody has offered it in time"),
                    (_, true) => {
                        let select = self.selected(place).word();
                        format!("call to `{name}`: nobody who fits `{select}` has offered it in time")
                    }
                    (_, false) => {
                        format!("call to `{name}`: who offers it has refused it, and nobody else has come in time")
                    }
                };
                self.finish(place, End::Refused { code: Code::TimedOut, text: &text });
            }
            State::Sought => {
                let text = format!(
                    "call to `{}`: the link was lost while it was open, and no provider knows what became of it",
                    all[call.place].name
                );
                self.finish(place, End::Uncertain { code: Code::LinkLost, text: &text });
            }
            State::Given if unwritten => {
                let (name, node) = (&offers[call.place].name, &parties[call.provider].node);
                let text = format!("call to `{name}`: the link of its provider `{node}` took nothing in time");
                self.finish(place, End::Refused { code: Code::TimedOut, text: &text });
            }
            State::Given => {
                let (name, node) = (&offers[call.place].name, &parties[call.provider].node);
                let text = format!("call to `{name}`: its provider `{node}` has not answered in time");
                let (caller, number) = (call.caller, call.number);
                self.services.parties[caller].numbers.remove(&number);
                self.answer(caller, number, End::Uncertain { code: Code::TimedOut, text: &text });
                self.give_up(place);
            }
        }
    }

    /// Takes those of these calls that still wait to be written out of the lanes that they wait in, and tells which.
    fn take_unwritten(&mut self, ended: &[u32]) -> BTreeSet<u32> {
        let Services { calls, parties, .. } = &self.services;
        let mut by_link: BTreeMap<LinkId, BTreeSet<u64>> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for place in ended {
            let call = &calls[*place];
            if call.state != State::Given {
                continue;
            }
            if let Some(id) = parties[call.provider].link
                && let Some(link) = self.links.get(id)
                && call.order > link.lanes.calls_taken
            {
                by_link.entry(id).or_default().insert(calls.id(*place));
                taken.insert(*place);
            }
        }
        for (id, numbers) in by_link {
            if let Some(link) = self.links.get_mut(id) {
                link.lanes.calls = without(&link.lanes.calls, &numbers);
            }
        }
        taken
    }
}

/// A lane without the Handle frames of these calls, fragments included.
fn without(lane: &[u8], numbers: &BTreeSet<u64>) -> Vec<u8> {
    let mut left = Vec::with_capacity(lane.len());
    let (mut rest, mut dropping) = (lane, false);
    while let Ok(Some(head)) = Head::peek(rest)
        && let Some((bytes, after)) = rest.split_at_checked(head.len)
    {
        if head.kind == Kind::Handle as u8 && head.flags & REST == 0 {
            let id = bytes.get(HEAD_BYTES..HEAD_BYTES + 8).and_then(|id| id.try_into().ok()).map(u64::from_le_bytes);
            dropping = id.is_some_and(|id| numbers.contains(&id));
        } else if head.kind != Kind::Handle as u8 {
            dropping = false;
        }
        if !dropping {
            left.extend_from_slice(bytes);
        }
        rest = after;
    }
    debug_assert!(rest.is_empty(), "the hub writes whole frames");
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Content, Frame, Handle, Incarnation};
    use crate::payload::Encoding;

    #[test]
    fn a_call_is_taken_out_of_a_lane_whole() {
        let payload = vec![7; 200_000];
        let handle = |id, bytes| {
            let content = Content { encoding: Encoding::Raw, headers: false, bytes };
            let mut out = Vec::new();
            let incarnation = Incarnation::default();
            let frame =
                Handle { id, registration: 1, left_ms: 1, incarnation, number: 1, caller: b"a", author: b"a", content };
            Frame::Handle(frame).encode(&mut out);
            out
        };
        let (small, long) = (handle(1, &payload[..10]), handle(2, &payload[..]));
        let mut other = Vec::new();
        Frame::Cancel { id: 2 }.encode(&mut other);
        let lane = [&small[..], &long, &other, &small].concat();
        assert_eq!(without(&lane, &BTreeSet::from([2])), [&small[..], &other, &small].concat());
        assert_eq!(without(&lane, &BTreeSet::from([1])), [&long[..], &other].concat());
        assert_eq!(without(&lane, &BTreeSet::from([3])), lane);
    }
}
