//! Groups: subscriptions that share what they match, so that each event goes to one of them.
//!
//! Who gets an event is chosen when it comes: one after the other, but rather who has little waiting. What still waits for a
//! member that is gone is given to the others; what was on its way to it is not known to have arrived, and is not given
//! twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use super::links::{Joined, LinkId, Phase};
use super::topics::{Member, Share};
use super::{HubState, Timer};
use crate::bug::{Bug, planted};
use crate::frame::{EVENT_HEAD_BYTES, EventHead, Frame, GROUP, GROUP_BYTES, MORE, NAMED, put_short, write_event};
use crate::limits::{DEPARTED_MAX, GROUP_LOOKED_AT_MAX, GROUP_MEMBERS_PER_LINK_MAX, SHARED_FRAME_BYTES_MIN};
use crate::name::{Name, Pattern};
use crate::outgoing::Run;
use crate::refusal::{Code, Refusal};
use crate::rights::{Verb, allow};

/// An event that waited for a member of a group that is gone.
pub(super) struct Orphan {
    group: Name,
    topic: Name,
    /// The link of the node that has published it, or its name if it is gone too and known.
    publisher: Option<Result<LinkId, Name>>,
    head: EventHead,
    /// Headers and payload.
    content: Vec<u8>,
}

impl HubState {
    /// Gives each event of a run to one member of each group. Tells to how many the last of them went.
    pub(super) fn share_run(&mut self, groups: &mut [Share], topic: u32, run: Run<'_>) -> u64 {
        let Some(name) = self.topics.name(topic).cloned() else { return 0 };
        let mut taken = 0;
        match run {
            Run::Copied(mut frames, _) => {
                while let Ok(Some(head)) = EventHead::peek(frames) {
                    let (frame, rest) = frames.split_at(head.len);
                    taken = self.share_one(groups, &name, head, &frame[EVENT_HEAD_BYTES..]);
                    frames = rest;
                }
            }
            Run::Shared(pieces) => {
                let Ok(Some(head)) = EventHead::peek(&pieces[0]) else { return 0 };
                taken = self.share_one(groups, &name, head, &body(pieces));
            }
        }
        taken
    }

    /// The same of one event whose topic has no number.
    pub(super) fn share_named(&mut self, groups: &mut [Share], topic: &Name, pieces: &[Bytes]) -> u64 {
        let Ok(Some(head)) = EventHead::peek(&pieces[0]) else { return 0 };
        let Ok(first) = head.body(&pieces[0]) else { return 0 };
        let named = pieces[0].len() - EVENT_HEAD_BYTES - first.content.len();
        self.share_one(groups, topic, head, &body(pieces)[named..])
    }

    /// Gives one event to one member of each group. Its head is that of its first frame; `content` is what follows the name.
    fn share_one(&mut self, groups: &mut [Share], topic: &Name, head: EventHead, content: &[u8]) -> u64 {
        let mut taken = 0;
        for share in groups {
            let len = EVENT_HEAD_BYTES + GROUP_BYTES + content.len();
            if let Some(member) = self.next_member(share, len) {
                taken += self.hand_over(member, topic, head, content);
                if planted(Bug::GroupGetsTwice)
                    && let Some(other) = share.members.iter().find(|other| other.link != member.link)
                {
                    self.hand_over(*other, topic, head, content);
                }
            }
        }
        taken
    }

    /// Whose turn it is: the next whose node is alive and for whose link nothing waits, else the one of some links for which
    /// the least waits; one that has room, if any has.
    fn next_member(&mut self, share: &mut Share, len: usize) -> Option<Member> {
        let count = share.members.len();
        share.turn = (share.turn + 1) % count.max(1);
        let mut best: Option<(Cost, usize)> = None;
        let mut looked_at = [None; GROUP_LOOKED_AT_MAX];
        let mut links = 0;
        for step in 0..count {
            let member = share.members[(share.turn + step) % count];
            // Of one link all members wait alike.
            if looked_at[..links.min(GROUP_LOOKED_AT_MAX)].contains(&Some(member.link)) {
                continue;
            }
            if links >= GROUP_LOOKED_AT_MAX && best.is_some_and(|((_, full, _), _)| !full) {
                break;
            }
            let Some(cost) = self.cost(member.link, len) else { continue };
            if let Some(place) = looked_at.get_mut(links) {
                *place = Some(member.link);
            }
            links += 1;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, step));
            }
            if cost == (false, false, 0) {
                break;
            }
        }
        let (_, step) = best?;
        share.turn = (share.turn + step) % count;
        Some(share.members[share.turn])
    }

    /// How little one would like to give this link an event of this length.
    fn cost(&self, link: LinkId, len: usize) -> Option<Cost> {
        let link = self.links.get(link)?;
        let bulk = &link.lanes.bulk;
        Some((link.suspect, !bulk.has_room(len), bulk.bytes()))
    }

    /// Puts an event into the lane of a member, for its subscription alone. Tells whether it took it.
    fn hand_over(&mut self, member: Member, topic: &Name, head: EventHead, content: &[u8]) -> u64 {
        if let Some(link) = self.links.get_mut(member.link) {
            let waits = link.lanes.bulk.bytes() > 0;
            if let Some(joined) = link.joined() {
                if !waits {
                    joined.waiting.clear();
                }
                joined.waiting.insert(member.subscription);
            }
        }
        let mut before = member.subscription.to_le_bytes().to_vec();
        let mut flags = head.flags & !(MORE | NAMED) | GROUP;
        if member.number == 0 {
            flags |= NAMED;
            put_short(&mut before, topic.as_str().as_bytes());
        }
        let mut frames = std::mem::take(&mut self.scratch);
        frames.clear();
        write_event(&mut frames, EventHead { topic: member.number, flags, ..head }, None, &before, content);
        if frames.len() < SHARED_FRAME_BYTES_MIN {
            let taken = self.deliver(&[member.link], Run::Copied(&frames, 1));
            self.scratch = frames;
            return taken;
        }
        let mut rest = Bytes::from(frames);
        let mut pieces = Vec::new();
        while let Ok(Some(head)) = EventHead::peek(&rest) {
            pieces.push(rest.split_to(head.len));
        }
        self.deliver(&[member.link], Run::Shared(&pieces))
    }

    /// A member of a group is withdrawn: what waits for it is given to others at the end of this turn.
    pub(super) fn withdraw(&mut self, id: LinkId, number: u32, group: &Name) {
        self.leave_group(id, number, group);
        let Some(link) = self.links.get_mut(id) else { return };
        let waits = link.lanes.bulk.bytes() > 0;
        let Some(joined) = link.joined().filter(|joined| waits && joined.waiting.contains(&number)) else { return };
        if joined.withdrawn.is_empty() {
            self.withdrawing.push(id);
        }
        joined.withdrawn.insert(number, group.clone());
    }

    /// A subscription is a member of its group from now on.
    ///
    /// # Errors
    ///
    /// The link has all the members of this group that it may have.
    pub(super) fn join_group(
        &mut self,
        id: LinkId,
        number: u32,
        group: &Name,
        pattern: &Pattern,
    ) -> Result<(), Refusal> {
        let own = self.groups.get(group).map_or(0, |members| members.range((id, 0)..=(id, u32::MAX)).count());
        if own >= GROUP_MEMBERS_PER_LINK_MAX {
            let text = format!(
                "subscription to `{pattern}`: the link has {own} members of the group `{group}`, which is all it may have"
            );
            return Err(Refusal::new(Code::Limit, text));
        }
        self.groups.entry(group.clone()).or_default().insert((id, number));
        if self.links.joined(id).is_some_and(|joined| joined.withdrawn.contains_key(&number)) {
            // What still waits for another one of this number is not for this one.
            self.take_orphans(id, false);
        }
        Ok(())
    }

    /// It is none any more.
    pub(super) fn leave_group(&mut self, id: LinkId, number: u32, group: &Name) {
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(&(id, number));
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Takes out what waits on a link for members of groups: for those that were withdrawn, or if the link leaves, for all.
    pub(super) fn take_orphans(&mut self, id: LinkId, leaves: bool) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        let Phase::Joined(joined) = &mut link.phase else { return };
        let withdrawn = std::mem::take(&mut joined.withdrawn);
        joined.searched = now;
        let before = link.lanes.bulk.bytes();
        let events = link.lanes.bulk.take_group(|number| leaves || withdrawn.contains_key(&number));
        self.bulk_bytes = self.bulk_bytes + link.lanes.bulk.bytes() - before;
        for pieces in events {
            let Ok(Some(head)) = EventHead::peek(&pieces[0]) else { continue };
            let Ok(first) = head.body(&pieces[0]) else { continue };
            let topic = match first.name {
                Some(name) => Name::from_bytes(name).ok(),
                None => self.topics.name(head.topic).cloned(),
            };
            let named = pieces[0].len() - EVENT_HEAD_BYTES - first.content.len();
            let content = body(&pieces).split_off(named);
            let Some(number) = first.subscription else { continue };
            let group = withdrawn.get(&number).cloned();
            let group = group.or_else(|| joined.subscriptions.get(&number)?.group.clone());
            let publisher = match joined.publishers.get(&head.publisher) {
                // It leaves together with what it has published.
                Some(link) if *link == id && leaves => Some(Err(joined.node.clone())),
                Some(link) => Some(Ok(*link)),
                None => joined.departed.get(&head.publisher).map(|name| Err(name.clone())),
            };
            if let (Some(group), Some(topic)) = (group, topic) {
                self.orphaned.push(Orphan { group, topic, publisher, head, content });
            }
        }
    }

    /// At the end of a turn: gives to others what waited for members that are gone.
    pub(super) fn adopt(&mut self) {
        for id in std::mem::take(&mut self.withdrawing) {
            let Some(link) = self.links.get_mut(id) else { continue };
            let long = link.lanes.bulk.bytes() > SEARCHED_BYTES_MAX;
            let Some(joined) = link.joined().filter(|joined| !joined.withdrawn.is_empty()) else { continue };
            if long && self.now.since(joined.searched) < SEARCHED_PAUSE {
                // To search through much for each that is withdrawn would hold up everybody.
                self.timers.set(joined.searched + SEARCHED_PAUSE, Timer::Adopt);
                self.withdrawing.push(id);
            } else {
                self.take_orphans(id, false);
            }
        }
        while !self.orphaned.is_empty() {
            let orphaned = std::mem::take(&mut self.orphaned);
            if !planted(Bug::OrphansForgotten) {
                self.give_to_heirs(orphaned);
            }
            // Who does not take what it must be told goes too.
            self.close_doomed();
        }
    }

    fn give_to_heirs(&mut self, orphaned: Vec<Orphan>) {
        let mut told = BTreeSet::new();
        let mut turns: BTreeMap<Name, (LinkId, u32)> = BTreeMap::new();
        for Orphan { group, topic, publisher, head, content } in orphaned {
            let len = EVENT_HEAD_BYTES + GROUP_BYTES + content.len();
            let after = turns.get(&group).copied();
            let Some(member) = self.heir(&group, &topic, after, len) else { continue };
            turns.insert(group, (member.link, member.subscription));
            match publisher {
                Some(Ok(link)) => self.tell_publisher_to(link, member.link),
                Some(Err(name)) => {
                    let Some(link) = self.links.get_mut(member.link) else { continue };
                    if told.insert((member.link, head.publisher)) {
                        let before = link.lanes.bulk.bytes();
                        // In the lane of the events, where Forget will stand behind them: this publisher may have been told
                        // and forgotten before.
                        let frame = Frame::Publisher { number: head.publisher, name: name.as_str().as_bytes() };
                        link.lanes.bulk.append(|out| frame.encode(out));
                        self.bulk_bytes = self.bulk_bytes + link.lanes.bulk.bytes() - before;
                        if let Some(joined) = link.joined() {
                            joined.remember_departed(head.publisher, &name);
                        }
                    }
                }
                None => {
                    // Nobody knows whose it was, and so it cannot be told: that it is lost can.
                    if let Some(link) = self.links.get_mut(member.link) {
                        link.lanes.bulk.lose_of_group(member.subscription);
                    }
                    self.touch(member.link);
                    continue;
                }
            }
            self.hand_over(member, &topic, head, &content);
        }
        for (id, number) in told {
            let Some(link) = self.links.get_mut(id) else { continue };
            let before = link.lanes.bulk.bytes();
            link.lanes.bulk.append(|out| Frame::Forget { number }.encode(out));
            self.bulk_bytes = self.bulk_bytes + link.lanes.bulk.bytes() - before;
            self.touch(id);
        }
    }

    /// Who gets an event in the place of a member that is gone: of the next members, those that match.
    fn heir(&mut self, group: &Name, topic: &Name, after: Option<(LinkId, u32)>, len: usize) -> Option<Member> {
        let members = self.groups.get(group)?;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let around = members.range((after, Bound::Unbounded)).chain(members).take(members.len());
        let mut best: Option<(Cost, Member)> = None;
        let mut matching = 0;
        for &(link, subscription) in around {
            let matches = match self.links.get(link).map(|link| &link.phase) {
                Some(Phase::Joined(joined)) => {
                    joined.subscriptions.get(&subscription).is_some_and(|one| one.pattern.matches(topic))
                        && allow(&joined.principal, Verb::Subscribe, topic.as_str())
                }
                _ => false,
            };
            if matches && let Some(cost) = self.cost(link, len) {
                matching += 1;
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, Member { link, subscription, number: 0 }));
                }
            }
            if matching >= GROUP_LOOKED_AT_MAX && best.is_some_and(|((_, full, _), _)| !full) {
                break;
            }
        }
        let (_, mut member) = best?;
        let number = self.topics.known(topic);
        if let Some(number) = number
            && self.links.joined(member.link).is_some_and(|joined| joined.topics.contains_key(&number))
        {
            member.number = number;
        }
        Some(member)
    }
}

/// Whether its node is suspected, whether it has no room, and how many bytes wait for it.
type Cost = (bool, bool, usize);

/// What may wait on a link for it to be searched at once for what its withdrawn members leave, in bytes.
const SEARCHED_BYTES_MAX: usize = 64 << 10;

/// How long between two searches through more: each takes a few milliseconds at most, in which nobody else has a turn.
const SEARCHED_PAUSE: Duration = Duration::from_millis(100);

impl Joined {
    /// A publisher is gone whose events may wait on this link: should they have to go to another one, that must be told whose
    /// they are.
    pub(super) fn remember_departed(&mut self, publisher: u32, name: &Name) {
        if self.departed.len() >= DEPARTED_MAX {
            // Numbers grow: it is that of who joined first.
            self.departed.pop_first();
        }
        self.departed.insert(publisher, name.clone());
    }
}

/// What follows the heads of an event's frames, put together.
fn body(pieces: &[Bytes]) -> Vec<u8> {
    let mut body = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        body.extend_from_slice(&piece[EVENT_HEAD_BYTES..]);
    }
    body
}
