//! One watch that goes on: how far it has come, and what it takes next.

use std::ops::Range;

use bytes::Bytes;

use super::turns::Turn;
use super::{Wants, WatchKey};
use crate::bug::{Bug, planted};
use crate::foundation::{RowKey, Ticket};
use crate::frame::{AFTER_NOTHING, Frame, FrameError, Value, WatchMode};
use crate::hub::LinkId;
use crate::hub::foundation::{Conversation, Reads};
use crate::kept::{CHANGES, Kept, Place, Reach, change_from_row, name_in, place_key};
use crate::limits::{LINK_VALUES_BYTES_MAX, LOOKED_AT_MAX};

/// What is read at a time for a watch of every change that is far behind, in bytes.
const READ_BYTES: usize = 256 << 10;

/// How much watches look at, and in which way. The simulator makes all of it small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookBounds {
    /// Rows that do not match and are looked at for the watches of one link before others have their turn.
    pub(crate) at_once: i64,
    /// Rows that do not match and are looked at in a row before those that do are looked up by their names instead.
    pub(crate) scan: usize,
    /// What is looked at to find them by their names, in nodes of the tree. If there are more below a pattern, its watch looks
    /// through the rows in their order, however many others there are.
    pub(crate) look_up: usize,
    /// How many of them are found in advance.
    pub(crate) next: usize,
}

impl Default for LookBounds {
    fn default() -> LookBounds {
        LookBounds { at_once: LOOKED_AT_MAX, scan: 16, look_up: 16_384, next: 1024 }
    }
}

/// What may still be looked at.
pub(super) struct Look {
    /// Below zero if something could not be looked for in parts.
    pub(super) rows: i64,
    pub(super) bounds: LookBounds,
}

impl Look {
    /// All that there is.
    fn all() -> Look {
        Look { rows: i64::MAX, bounds: LookBounds::default() }
    }
}

/// A watch that goes on.
pub(super) struct Watch {
    pub(super) link: LinkId,
    /// The node's number for it.
    pub(super) id: u32,
    pub(super) wants: Wants,
    /// Where it stands among those of the same pattern.
    pub(super) place: usize,
    mode: WatchMode,
    /// Bytes that the node still takes.
    pub(super) credit: i64,
    /// Of values kept durably, and of those in memory.
    feeds: [Feed; 2],
    /// Told before anything else: all that follows replaces what the node knows.
    snapshot: Option<Snapshot>,
    /// It was told that it has all.
    told: bool,
    /// When it may take something; zero if it has nothing to take.
    pub(super) turn: Turn,
    /// Rows are on their way from the foundation.
    pub(super) reading: Option<Ticket>,
    read_bytes: usize,
}

struct Snapshot {
    durable: bool,
    memory: bool,
    first: u64,
}

/// How far a watch has come in one sort of values.
struct Feed {
    /// What is told first: what there is, or what has changed meanwhile. It is a part of the table of values in the order
    /// of last changes, and costs no memory however long it is; what changes before it is told comes later, as it is then.
    first: Option<Listing>,
    /// Where to go on behind it.
    next: Place,
    /// There is something from `next` on.
    behind: bool,
    /// Until it is behind no more it looks through the rows in their order.
    scans: bool,
}

/// A part of the table of values that is being told.
struct Listing {
    range: Range<Place>,
    /// Keys without a value too.
    deletions: bool,
    /// It looks through the rows in their order, since there are too many names to look through.
    scans: bool,
}

/// Why a watch stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// That was all.
    End,
    /// There is no room for more.
    Full,
    /// It has looked at as much as it may now.
    Looked,
}

/// What is next for a watch that has had its turn.
pub(super) enum Progress {
    /// The lane is full.
    Full,
    /// It has to look further.
    Looks,
    /// Nothing is left, or the node takes no more, or the foundation is asked.
    Waits,
}

impl Feed {
    fn list(from: Place, until: Place, deletions: bool) -> Feed {
        let first = Listing { range: from..until, deletions, scans: false };
        Feed { first: Some(first), next: until, behind: false, scans: false }
    }

    /// Whether a deletion that is still to be told may be forgotten: all up to this position are.
    fn misses_deletions(&self, mode: WatchMode, floor: u64) -> bool {
        match &self.first {
            Some(listing) => listing.deletions && listing.range.start.0 <= floor,
            None => mode != WatchMode::All && self.behind && self.next.0 <= floor,
        }
    }

    /// Where a watch begins that has everything up to `after`. Nothing is looked at before it may take something.
    fn begin(kept: &Kept, mode: WatchMode, after: u64, snapshot: &mut bool, first: &mut u64) -> Feed {
        let end = (kept.pos() + 1, 0);
        // To have everything up to nothing at all is not the same as to have nothing.
        let (begins, after) = (after == 0, if after == AFTER_NOTHING { 0 } else { after });
        if begins {
            return Feed::list((0, 0), end, false);
        }
        let gone = match mode {
            WatchMode::All => kept.changes.reach(after + 1) == Reach::Gone,
            _ => after < kept.values.floor(),
        };
        // Who has more than there is has it from elsewhere.
        if gone || after > kept.pos() {
            *snapshot = true;
            if mode == WatchMode::All && after <= kept.pos() {
                *first = kept.changes.first();
            }
            return Feed::list((0, 0), end, false);
        }
        match mode {
            WatchMode::All => Feed { first: None, next: (after + 1, 0), behind: true, scans: false },
            _ => Feed::list((after + 1, 0), end, !planted(Bug::DeletionsNotTold)),
        }
    }
}

impl Watch {
    /// `after` is up to where the node has everything of what is kept durably, and of what is in memory, if that is still
    /// the same. With `anew` it knows of values in memory that are not.
    pub(super) fn new(
        (link, id): (LinkId, u32),
        wants: Wants,
        mode: WatchMode,
        window: u32,
        kept: [&Kept; 2],
        after: [u64; 2],
        anew: bool,
    ) -> Watch {
        let mut snapshot = Snapshot { durable: false, memory: anew, first: 0 };
        let feeds = [
            Feed::begin(kept[0], mode, after[0], &mut snapshot.durable, &mut snapshot.first),
            Feed::begin(kept[1], mode, after[1], &mut snapshot.memory, &mut 0),
        ];
        Watch {
            link,
            id,
            wants,
            place: 0,
            mode,
            credit: i64::from(window),
            feeds,
            snapshot: (snapshot.durable || snapshot.memory).then_some(snapshot),
            told: false,
            turn: 0,
            reading: None,
            read_bytes: READ_BYTES,
        }
    }

    /// Something that it wants has changed. True if it was not behind before.
    pub(super) fn changed(&mut self, which: usize, place: Place) -> bool {
        let feed = &mut self.feeds[which];
        if feed.behind {
            return false;
        }
        // Nothing before it matches that the watch has not had.
        feed.next = feed.next.max(place);
        feed.behind = true;
        true
    }

    /// Takes what there is room for. `look` says how much may be looked at in vain, from which that is taken.
    pub(super) fn feed(
        &mut self,
        key: WatchKey,
        lane: &mut Vec<u8>,
        kept: [&Kept; 2],
        asks: &mut Conversation,
        look: &mut Look,
    ) -> Progress {
        if let Some(Snapshot { durable, memory, first }) = self.snapshot.take() {
            Frame::Snapshot { id: self.id, durable, memory, first }.encode(lane);
        }
        loop {
            if self.reading.is_some() {
                return Progress::Waits;
            }
            let first = self.feeds.iter().position(|feed| feed.first.is_some());
            let behind = self.feeds.iter().position(|feed| feed.behind);
            let Some(which) = first.or(behind) else { break };
            if lane.len() >= LINK_VALUES_BYTES_MAX {
                return Progress::Full;
            }
            if self.credit <= 0 {
                return Progress::Waits;
            }
            let next = self.feeds[which].next;
            let stop = match (self.mode, kept[which].changes.reach(next.0)) {
                _ if self.feeds[which].misses_deletions(self.mode, kept[which].values.floor()) => {
                    self.start_over(which, kept[which], lane);
                    Stop::End
                }
                _ if first.is_some() => self.tell_first(which, kept[which], lane, look),
                (WatchMode::All, Reach::Recent) => self.tell_recent(which, kept[which], lane, look),
                (WatchMode::All, Reach::Kept) => {
                    self.reading = Some(asks.read(Reads::Watch(key), CHANGES, &place_key(next), self.read_bytes));
                    Stop::End
                }
                (WatchMode::All, Reach::Gone) => {
                    self.start_over(which, kept[which], lane);
                    Stop::End
                }
                _ => self.tell_latest(which, kept[which], lane, look),
            };
            if stop == Stop::Looked {
                return Progress::Looks;
            }
        }
        if !self.told {
            self.told = true;
            Frame::Done { id: self.id, value: kept[0].pos() }.encode(lane);
        }
        Progress::Waits
    }

    /// Tells of what is to be told first, as far as there is room.
    fn tell_first(&mut self, which: usize, kept: &Kept, lane: &mut Vec<u8>, look: &mut Look) -> Stop {
        let Some(mut listing) = self.feeds[which].first.take() else { return Stop::End };
        let stop = self.tell_listing(&mut listing, kept, lane, look);
        self.feeds[which].first = Some(listing).filter(|_| stop != Stop::End);
        stop
    }

    /// Tells the last changes of keys from where it is, as far as there is room.
    fn tell_latest(&mut self, which: usize, kept: &Kept, lane: &mut Vec<u8>, look: &mut Look) -> Stop {
        let Feed { next, scans, .. } = self.feeds[which];
        let mut listing = Listing { range: next..(kept.pos() + 1, 0), deletions: true, scans };
        let stop = self.tell_listing(&mut listing, kept, lane, look);
        let behind = stop != Stop::End;
        let feed = &mut self.feeds[which];
        (feed.next, feed.behind, feed.scans) = (listing.range.start, behind, behind && listing.scans);
        stop
    }

    /// Tells of a part of the table, in the order of last changes, as far as there is room; what is left of the part is
    /// left in it.
    fn tell_listing(&mut self, listing: &mut Listing, kept: &Kept, lane: &mut Vec<u8>, look: &mut Look) -> Stop {
        // What is next is near, unless there is only one name to look for.
        let mut patience = if self.wants.pattern.as_name().is_some() { 0 } else { look.bounds.scan };
        loop {
            if let Some(stop) = self.scan(listing, patience, kept, lane, look) {
                return stop;
            }
            let mut steps = look.bounds.look_up;
            let Listing { range, deletions, .. } = &*listing;
            let next = kept.values.next(&self.wants.pattern, range.clone(), *deletions, look.bounds.next, &mut steps);
            let looked_at = look.bounds.look_up - steps;
            look.rows -= looked_at as i64;
            let Some(next) = next else {
                listing.scans = true;
                continue;
            };
            // To look up all of many, part by part, may cost more than to look through everything once.
            let parts = looked_at / look.bounds.next;
            listing.scans = next.rest.is_some() && parts * looked_at > kept.values.rows();
            // More than can be looked up belong together there: they are near.
            patience = if next.places.is_empty() && next.rest.is_some() { usize::MAX } else { look.bounds.scan };
            let end = next.rest.unwrap_or(listing.range.end);
            let changes = next.places.into_iter().map(|(place, slot)| (place, &kept.values.frames(slot)[..]));
            // They match, and so none is looked at in vain.
            let (from, stop) = self.tell_changes(changes, lane, &mut Look::all());
            listing.range.start = from.unwrap_or(end);
            if stop != Stop::End || next.rest.is_none() {
                return stop;
            }
            if !self.has_room(lane) {
                return Stop::Full;
            }
        }
    }

    /// Looks through the rows in their order, and tells those that match. `None` if so many did not match one after the other
    /// that it is better to look up those that do.
    fn scan(
        &mut self,
        listing: &mut Listing,
        patience: usize,
        kept: &Kept,
        lane: &mut Vec<u8>,
        look: &mut Look,
    ) -> Option<Stop> {
        let (mut group, mut group_pos): (Vec<&[u8]>, u64) = (Vec::new(), 0);
        let mut vain = 0;
        for (place, slot) in kept.values.from(listing.range.start) {
            if place >= listing.range.end {
                break;
            }
            if !group.is_empty() && place.0 != group_pos {
                self.tell(&group, lane);
                group.clear();
                if !self.has_room(lane) {
                    listing.range.start = place;
                    return Some(Stop::Full);
                }
            }
            if (listing.deletions || kept.values.has_value(slot)) && self.wants.has(kept.values.name(slot)) {
                group.push(kept.values.frames(slot));
                (group_pos, vain) = (place.0, 0);
            } else if group.is_empty() {
                listing.range.start = place;
                if vain >= patience && !listing.scans {
                    return None;
                }
                if look.rows <= 0 {
                    return Some(Stop::Looked);
                }
                (look.rows, vain) = (look.rows - 1, vain + 1);
            }
        }
        self.tell(&group, lane);
        listing.range.start = listing.range.end;
        Some(Stop::End)
    }

    /// Tells every change from where it is that is in memory, as far as there is room.
    fn tell_recent(&mut self, which: usize, kept: &Kept, lane: &mut Vec<u8>, look: &mut Look) -> Stop {
        let changes = kept.changes.recent(self.feeds[which].next).map(|(at, frames)| (at, &frames[..]));
        let (next, stop) = self.tell_changes(changes, lane, look);
        let feed = &mut self.feeds[which];
        (feed.next, feed.behind) = (next.unwrap_or((kept.pos() + 1, 0)), next.is_some());
        stop
    }

    /// Tells the changes that were read, as far as there is room.
    ///
    /// # Errors
    ///
    /// A row that is no change: what it was nobody can be told.
    pub(super) fn read(&mut self, rows: &[(RowKey, Bytes)], kept: &Kept, lane: &mut Vec<u8>) -> Result<(), FrameError> {
        if kept.changes.reach(self.feeds[0].next.0) == Reach::Gone {
            // Some were forgotten meanwhile, and may have been gone when the others were read.
            return Ok(());
        }
        let changes = rows.iter().map(|(key, row)| change_from_row(&key.key, row));
        let changes: Vec<(Place, Bytes)> = changes.collect::<Result<_, _>>()?;
        let bytes: usize = rows.iter().map(|(key, row)| key.key.len() + row.len()).sum();
        let feed = &mut self.feeds[0];
        let Some(&((last, _), _)) = changes.last() else {
            // All of what is left is in memory.
            return Ok(());
        };
        let mut whole = &changes[..];
        if bytes >= self.read_bytes {
            // The last operation may not be there wholly.
            whole = &changes[..changes.partition_point(|((pos, _), _)| *pos < last)];
            if whole.is_empty() {
                self.read_bytes *= 2;
                return Ok(());
            }
        }
        let end = whole.last().map_or(feed.next, |((pos, _), _)| (pos + 1, 0));
        // There are no more than were read.
        let (next, _) = self.tell_changes(whole.iter().map(|(at, frames)| (*at, &frames[..])), lane, &mut Look::all());
        self.feeds[0].next = next.unwrap_or(end);
        self.read_bytes = READ_BYTES;
        Ok(())
    }

    /// Tells changes in their order. Gives where to go on, if it has to stop before their end.
    fn tell_changes<'a>(
        &mut self,
        changes: impl Iterator<Item = (Place, &'a [u8])>,
        lane: &mut Vec<u8>,
        look: &mut Look,
    ) -> (Option<Place>, Stop) {
        let (mut group, mut group_pos): (Vec<&[u8]>, u64) = (Vec::new(), 0);
        for (place, frames) in changes {
            if !group.is_empty() && place.0 != group_pos {
                self.tell(&group, lane);
                group.clear();
                if !self.has_room(lane) {
                    return (Some(place), Stop::Full);
                }
            }
            if self.wants.has(name_in(frames)) {
                group.push(frames);
                group_pos = place.0;
            } else if group.is_empty() {
                if look.rows <= 0 {
                    return (Some(place), Stop::Looked);
                }
                look.rows -= 1;
            }
        }
        self.tell(&group, lane);
        (None, Stop::End)
    }

    /// What it needs is not known any more: it gets all that is there now.
    fn start_over(&mut self, which: usize, kept: &Kept, lane: &mut Vec<u8>) {
        let first = if which == 0 { kept.changes.first() } else { 0 };
        Frame::Snapshot { id: self.id, durable: which == 0, memory: which == 1, first }.encode(lane);
        self.feeds[which] = Feed::list((0, 0), (kept.pos() + 1, 0), false);
        self.told = false;
    }

    fn has_room(&self, lane: &[u8]) -> bool {
        lane.len() < LINK_VALUES_BYTES_MAX && self.credit > 0
    }

    /// Writes changes that belong together; never a part of them, since the node hands them out at once.
    fn tell(&mut self, group: &[&[u8]], lane: &mut Vec<u8>) {
        for (index, frames) in group.iter().enumerate() {
            Value::copy_for(lane, frames, self.id, index + 1 < group.len());
            self.credit -= frames.len() as i64;
        }
    }
}
