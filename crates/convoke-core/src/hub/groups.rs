//! Groups: subscriptions that share what they match, so that each event goes to one of them.
//!
//! Who gets an event is chosen when it comes: one after the other, but rather who has little waiting. What still waits for a
//! member that is gone is given to the others; what was on its way to it is not known to have arrived, and is not given
//! twice.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::HubState;
use super::links::{Joined, LinkId};
use super::topics::{Member, Route, Share};
use crate::bug::{Bug, planted};
use crate::frame::{EVENT_HEAD_BYTES, EventHead, Frame, GROUP, GROUP_BYTES, MORE, NAMED, put_short, write_event};
use crate::limits::{DEPARTED_MAX, GROUP_LOOKED_AT_MAX, SHARED_FRAME_BYTES_MIN};
use crate::name::Name;
use crate::outgoing::Run;

/// An event that waited for a member of a group that is gone.
pub(super) struct Orphan {
    group: Name,
    topic: Name,
    /// The link of the node that has published it, or its name if it is gone too.
    publisher: Result<LinkId, Name>,
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

    /// Whose turn it is: the next who is alive and for whom nothing waits, else the one of some for whom the least waits.
    fn next_member(&mut self, share: &mut Share, len: usize) -> Option<Member> {
        let count = share.members.len();
        share.turn = (share.turn + 1) % count.max(1);
        let mut best = None;
        for step in 0..count.min(GROUP_LOOKED_AT_MAX) {
            let member = share.members[(share.turn + step) % count];
            let Some(link) = self.links.get(member.link) else { continue };
            let bulk = &link.lanes.bulk;
            let cost = (link.suspect, !bulk.has_room(len), bulk.bytes());
            if cost == (false, false, 0) {
                best = Some((cost, step, member));
                break;
            }
            if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                best = Some((cost, step, member));
            }
        }
        let (_, step, member) = best?;
        share.turn = (share.turn + step) % count;
        Some(member)
    }

    /// Puts an event into the lane of a member, for its subscription alone. Tells whether it took it.
    fn hand_over(&mut self, member: Member, topic: &Name, head: EventHead, content: &[u8]) -> u64 {
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

    /// Takes out what waits on a link for this subscription of a group alone, or for any.
    pub(super) fn orphans(&mut self, id: LinkId, wanted: Option<u32>) -> Vec<Orphan> {
        let Some(link) = self.links.get_mut(id) else { return Vec::new() };
        let before = link.lanes.bulk.bytes();
        let events = link.lanes.bulk.take_group(wanted);
        self.bulk_bytes = self.bulk_bytes + link.lanes.bulk.bytes() - before;
        let mut orphans = Vec::with_capacity(events.len());
        for pieces in events {
            let Ok(Some(head)) = EventHead::peek(&pieces[0]) else { continue };
            let Ok(first) = head.body(&pieces[0]) else { continue };
            let topic = match first.name {
                Some(name) => Name::from_bytes(name).ok(),
                None => self.topics.name(head.topic).cloned(),
            };
            let named = pieces[0].len() - EVENT_HEAD_BYTES - first.content.len();
            let content = body(&pieces).split_off(named);
            let Some(joined) = self.links.joined(id) else { continue };
            let group = first.subscription.and_then(|number| joined.subscriptions.get(&number)?.group.clone());
            let departed = joined.departed.iter().find(|(number, _)| *number == head.publisher);
            let publisher = match joined.publishers.get(&head.publisher) {
                Some(link) if *link == id => Some(Err(joined.node.clone())),
                Some(link) => Some(Ok(*link)),
                None => departed.map(|(_, name)| Err(name.clone())),
            };
            if let (Some(group), Some(topic), Some(publisher)) = (group, topic, publisher) {
                orphans.push(Orphan { group, topic, publisher, head, content });
            }
        }
        orphans
    }

    /// Gives to others what waited for a member that is gone.
    pub(super) fn adopt(&mut self, orphans: Vec<Orphan>) {
        if planted(Bug::OrphansForgotten) {
            return;
        }
        let mut told = BTreeSet::new();
        let mut last: Option<(Name, Route)> = None;
        for Orphan { group, topic, publisher, head, content } in orphans {
            if last.as_ref().is_none_or(|(of, _)| *of != topic) {
                last = Some((topic.clone(), self.find_route(&topic)));
            }
            let Some((_, route)) = &mut last else { continue };
            let Some(share) = route.groups.iter_mut().find(|share| share.group == group) else { continue };
            let Some(member) = self.next_member(share, EVENT_HEAD_BYTES + GROUP_BYTES + content.len()) else {
                continue;
            };
            match publisher {
                Ok(link) => self.tell_publisher_to(link, member.link),
                Err(name) => {
                    let Some(link) = self.links.get_mut(member.link) else { continue };
                    let before = link.lanes.bulk.bytes();
                    if told.insert((member.link, head.publisher)) {
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
}

impl Joined {
    /// A publisher is gone whose events may wait on this link: should they have to go to another one, that must be told whose
    /// they are.
    pub(super) fn remember_departed(&mut self, publisher: u32, name: &Name) {
        if self.departed.len() >= DEPARTED_MAX {
            self.departed.pop_front();
        }
        self.departed.push_back((publisher, name.clone()));
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
