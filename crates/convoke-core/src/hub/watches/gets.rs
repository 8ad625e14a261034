//! Gets: what there is at one moment, told once. What a get has found and its link has not yet taken is held for it, so
//! they are told one after the other on a link, and all together hold a bounded number of bytes.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::turns::Turn;
use super::{Asked, GetKey, Wants};
use crate::foundation::Ticket;
use crate::frame::{Frame, Value};
use crate::hub::{HubState, LinkId};
use crate::kept::{Kept, Place, Slot};
use crate::limits::LINK_VALUES_BYTES_MAX;
use crate::name::Pattern;
use crate::refusal::{Code, Refusal};
use crate::rights::Verb;

/// What is held of a value beside its frames, in bytes, for the bound.
const OVERHEAD_BYTES: usize = 64;

/// A get that is not answered.
pub(super) struct Get {
    link: LinkId,
    /// The node's number for it.
    id: u32,
    wants: Wants,
    /// It waits until everything is known that was committed before it.
    barrier: Option<Ticket>,
    /// When it may take something, or look, or its turn after other gets comes.
    turn: Turn,
    /// Since its turn has come.
    found: Option<Found>,
}

/// What there was at one moment, as far as it is not told.
struct Found {
    /// With the position of each, in order; of both sorts.
    values: [VecDeque<(u64, Bytes)>; 2],
    bytes: usize,
    /// The durable revision of that moment.
    pos: u64,
}

/// What a value costs a get until its link has taken it, in bytes.
fn cost(frames: &Bytes) -> usize {
    frames.len() + OVERHEAD_BYTES
}

/// The keys that match with a value, in the order of their last changes. Breaks when `room` bytes are not enough.
fn find(kept: &Kept, wants: &Wants, steps: &mut usize, room: &mut usize) -> ControlFlow<(), Vec<(Place, Slot)>> {
    let mut found = Vec::new();
    kept.values.search(&wants.pattern, steps, |place, slot| {
        if wants.may(kept.values.name(slot)) {
            match room.checked_sub(cost(kept.values.frames(slot))) {
                Some(left) => *room = left,
                None => return ControlFlow::Break(()),
            }
            found.push((place, slot));
        }
        ControlFlow::Continue(())
    })?;
    found.sort_unstable();
    ControlFlow::Continue(found)
}

impl HubState {
    /// Somebody wants to know what there is, once.
    pub(super) fn get(&mut self, id: LinkId, number: u32, pattern: Pattern) {
        let Some(joined) = self.links.joined(id) else { return };
        let wants = Wants { pattern, principal: joined.principal.clone(), verb: Verb::Get };
        let get = Get { link: id, id: number, wants, barrier: None, turn: 0, found: None };
        let key = self.watches.gets.insert(get);
        joined.watches.insert(number, Asked::Get(key));
        if self.config.shared_foundation {
            self.watches.gets[key].barrier = Some(self.conversation.barrier(key));
        } else {
            self.get_may_begin(key);
        }
    }

    /// Everything is known that was committed before it.
    pub(in crate::hub) fn get_may_begin(&mut self, key: GetKey) {
        self.watches.gets[key].barrier = None;
        let link = self.watches.gets[key].link;
        self.touch(link);
        let Some(joined) = self.links.joined(link) else { return };
        if joined.turns.told.is_some() {
            self.watches.gets[key].turn = joined.turns.push_get(key);
            return;
        }
        joined.turns.told = Some(key);
        if self.look_for(link, key)
            && let Some(joined) = self.links.joined(link)
        {
            self.watches.gets[key].turn = joined.turns.push(Asked::Get(key));
        }
    }

    /// Finds what a get is to be told, if that may be looked for now. False if not, or if it is refused.
    fn look_for(&mut self, id: LinkId, key: GetKey) -> bool {
        let Some(joined) = self.links.joined(id) else { return false };
        if joined.turns.rows_left <= 0 {
            // It cannot be looked for in parts.
            self.watches.gets[key].turn = joined.turns.push_looking(Asked::Get(key));
            return false;
        }
        let found = self.find_for(id, key);
        if let Err(refusal) = &found {
            let number = self.watches.gets[key].id;
            self.refuse(id, number, refusal);
            self.get_ended(id, key);
        }
        found.is_ok()
    }

    /// Lets a get take what its link has room for.
    pub(super) fn feed_get(&mut self, id: LinkId, key: GetKey) {
        if self.watches.gets[key].found.is_none() && !self.look_for(id, key) {
            return;
        }
        let HubState { links, watches, .. } = self;
        let Some(link) = links.get_mut(id) else { return };
        let get = &mut watches.gets[key];
        let before = get.bytes();
        let all = get.tell(&mut link.lanes.values);
        watches.gets_bytes -= before - get.bytes();
        if all {
            return self.get_ended(id, key);
        }
        if let Some(joined) = link.joined() {
            get.turn = joined.turns.push(Asked::Get(key));
        }
    }

    /// Finds all that a get is to be told. All at once, since it is told what there was at one moment.
    fn find_for(&mut self, id: LinkId, key: GetKey) -> Result<(), Refusal> {
        let pattern = self.watches.gets[key].wants.pattern.clone();
        let cost = self.refresh_hub_values(&pattern);
        let (held, bytes_max) = (self.watches.gets_bytes, self.config.gets_bytes_max);
        // One is always let in, and so is what the link takes at once.
        let at_first = if held == 0 { usize::MAX } else { LINK_VALUES_BYTES_MAX.max(bytes_max.saturating_sub(held)) };
        let (mut steps, mut room) = (usize::MAX, at_first);
        let get = &self.watches.gets[key];
        let both = [&self.kept, &self.memory].map(|kept| (kept, find(kept, &get.wants, &mut steps, &mut room)));
        if let Some(joined) = self.links.joined(id) {
            joined.turns.rows_left -= cost + (usize::MAX - steps) as i64;
        }
        let mut values = [VecDeque::new(), VecDeque::new()];
        for (values, (kept, found)) in values.iter_mut().zip(both) {
            let ControlFlow::Continue(found) = found else {
                let text = format!(
                    "get of `{pattern}`: what other gets have found, and their links have not taken, are {held} bytes \
                     already, of {bytes_max} in all; try again later, or ask for less"
                );
                return Err(Refusal::new(Code::Backpressure, text));
            };
            values.extend(found.into_iter().map(|(place, slot)| (place.0, kept.values.frames(slot).clone())));
        }
        let bytes = at_first - room;
        let pos = self.kept.pos();
        self.watches.gets[key].found = Some(Found { values, bytes, pos });
        self.watches.gets_bytes += bytes;
        Ok(())
    }

    /// A get has been told all, or is refused.
    fn get_ended(&mut self, id: LinkId, key: GetKey) {
        let number = self.watches.gets[key].id;
        if let Some(joined) = self.links.joined(id) {
            joined.watches.remove(&number);
        }
        self.end_get(key);
    }

    /// Nobody waits for it any more: the next of its link has its turn.
    pub(super) fn end_get(&mut self, key: GetKey) {
        let get = self.watches.gets.remove(key);
        self.watches.gets_bytes -= get.bytes();
        if let Some(ticket) = get.barrier {
            self.conversation.forget_barrier(ticket);
        }
        let Some(joined) = self.links.joined(get.link) else { return };
        let turns = &mut joined.turns;
        turns.remove(get.turn);
        if turns.told == Some(key) {
            turns.told = turns.next_get();
            if let Some(next) = turns.told {
                self.watches.gets[next].turn = turns.push(Asked::Get(next));
                self.touch(get.link);
            }
        }
    }
}

impl Get {
    /// What is held for it, in bytes.
    fn bytes(&self) -> usize {
        self.found.as_ref().map_or(0, |found| found.bytes)
    }

    /// Tells what there is room for. True if that was all.
    fn tell(&mut self, lane: &mut Vec<u8>) -> bool {
        let Some(found) = &mut self.found else { return false };
        for values in &mut found.values {
            while let Some(&(pos, _)) = values.front() {
                if lane.len() >= LINK_VALUES_BYTES_MAX {
                    return false;
                }
                while let Some((_, frames)) = values.pop_front_if(|(of, _)| *of == pos) {
                    found.bytes -= cost(&frames);
                    let together = values.front().is_some_and(|(of, _)| *of == pos);
                    Value::copy_for(lane, &frames, self.id, together);
                }
            }
        }
        Frame::Done { id: self.id, value: found.pos }.encode(lane);
        true
    }
}
