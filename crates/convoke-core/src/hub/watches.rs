//! Watches: each is a cursor over the changes of values, and takes what its link has room for.
//!
//! What is there at first, what is missed while a link is slow, and what comes live are all read the same way: from the
//! table of values by the places of their last changes, or, for those who watch every change, from the changes. A watch
//! that is not behind costs nothing but a look-up for each change that it matches.

use std::collections::VecDeque;

use bytes::Bytes;

use super::foundation::Conversation;
use super::{HubState, LinkId};
use crate::bug::{Bug, planted};
use crate::foundation::RowKey;
use crate::frame::{AFTER_NOTHING, Frame, Value, WatchMode};
use crate::kept::{CHANGES, Kept, Place, Reach, change_from_row, name_in, place_key};
use crate::limits::{LINK_VALUES_BYTES_MAX, WATCHES_PER_LINK_MAX};
use crate::name::Pattern;
use crate::refusal::{Code, Refusal};
use crate::rev::Rev;
use crate::rights::{Principal, Verb, allow};
use crate::tree::Tree;
use crate::tree::slab::Slab;

/// The number of a watch in the hub. Used again, and so never kept beyond the watch.
pub(super) type WatchKey = u32;

/// Values that do not match and are looked at in a row before those that do are looked up instead.
const SCAN_MAX: usize = 4096;

/// What is read at a time for a watch of every change that is far behind, in bytes.
const READ_BYTES: usize = 256 << 10;

/// All watches of a hub.
pub(super) struct Watches {
    all: Slab<Watch>,
    patterns: Tree<Vec<WatchKey>>,
    scratch: Vec<WatchKey>,
}

struct Watch {
    link: LinkId,
    /// The node's number for it.
    id: u32,
    pattern: Pattern,
    principal: Principal,
    mode: WatchMode,
    /// Bytes that the node still takes.
    credit: i64,
    /// Of values kept durably, and of those in memory.
    feeds: [Feed; 2],
    /// Told before anything else: all that follows replaces what the node knows.
    snapshot: Option<Snapshot>,
    /// It was told that it has all.
    told: bool,
    /// It is among the hungry of its link.
    hungry: bool,
    /// Rows are on their way from the foundation.
    reading: bool,
    read_bytes: usize,
}

struct Snapshot {
    durable: bool,
    memory: bool,
    first: u64,
}

/// How far a watch has come in one sort of values.
#[derive(Default)]
struct Feed {
    /// Places that are to be told first, in their order.
    todo: VecDeque<Place>,
    /// Instead of these, for who asks once: what there is at that moment, with the positions. What changes later is not
    /// told, and so must not take anything away.
    once: VecDeque<(u64, Bytes)>,
    /// Where to go on behind these.
    next: Place,
    /// There is something from `next` on.
    behind: bool,
}

impl Watches {
    pub(super) fn new(seed: u64) -> Watches {
        Watches { all: Slab::new(), patterns: Tree::new(seed), scratch: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl HubState {
    /// A node wants to know values.
    pub(super) fn watch(&mut self, id: LinkId, watch: Frame<'_>) {
        let Frame::Watch { id: number, .. } = watch else { unreachable!("it is called with a Watch") };
        if let Err(refusal) = self.try_watch(id, watch) {
            self.refuse(id, number, &refusal);
        }
    }

    fn try_watch(&mut self, id: LinkId, watch: Frame<'_>) -> Result<(), Refusal> {
        let Frame::Watch { id: number, mode, window, after, after_memory, pattern } = watch else { return Ok(()) };
        let pattern = Pattern::from_bytes(pattern).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        if !self.is_ready() {
            let text = format!("values of `{pattern}`: the hub is starting; try again in a moment");
            return Err(Refusal::new(Code::Backpressure, text));
        }
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        let verb = if mode == WatchMode::Once { Verb::Get } else { Verb::Watch };
        if !joined.principal.rights.allow_some(verb, &pattern) {
            let what = format!("values of `{pattern}`");
            return Err(joined.principal.forbidden(&what, verb, pattern.as_str()));
        }
        if joined.watches.contains_key(&number) || joined.subscriptions.contains_key(&number) {
            let text = format!("values of `{pattern}`: the number {number} is in use on this link");
            return Err(Refusal::new(Code::BadFrame, text));
        }
        if joined.watches.len() >= WATCHES_PER_LINK_MAX {
            let text = format!(
                "values of `{pattern}`: `{}` has {WATCHES_PER_LINK_MAX} watches, which is all it may have",
                joined.node
            );
            return Err(Refusal::new(Code::Limit, text));
        }
        if mode == WatchMode::Once {
            if self.config.shared_foundation {
                self.conversation.barrier(id, number, pattern);
            } else {
                self.get(id, number, pattern);
            }
        } else {
            self.hub_watch_begins(&pattern);
            self.attend(id);
            self.begin_watch(id, number, mode, window, (after, after_memory), pattern);
        }
        Ok(())
    }

    /// Begins to tell what is there now, once.
    pub(super) fn get(&mut self, id: LinkId, number: u32, pattern: Pattern) {
        self.refresh_hub_values(&pattern);
        self.begin_watch(id, number, WatchMode::Once, u32::MAX, (0, Rev::default()), pattern);
    }

    fn begin_watch(
        &mut self,
        id: LinkId,
        number: u32,
        mode: WatchMode,
        window: u32,
        (after, after_memory): (u64, Rev),
        pattern: Pattern,
    ) {
        let Some(joined) = self.links.joined(id) else { return };
        let principal = joined.principal.clone();
        let mut snapshot = Snapshot { durable: false, memory: false, first: 0 };
        let feeds = [begin(&self.kept, &pattern, mode, after, &mut snapshot.durable, &mut snapshot.first), {
            // Of an earlier start of the hub nothing is known any more.
            let same = after_memory.epoch == self.memory_epoch;
            snapshot.memory = after_memory.epoch != 0 && !same;
            let after = if same { after_memory.n } else { 0 };
            begin(&self.memory, &pattern, mode, after, &mut snapshot.memory, &mut 0)
        }];
        let credit = if mode == WatchMode::Once { i64::MAX } else { i64::from(window) };
        let live = mode != WatchMode::Once;
        let snapshot = (snapshot.durable || snapshot.memory).then_some(snapshot);
        let text = pattern.as_str().to_owned();
        let key = self.watches.all.insert(Watch {
            link: id,
            id: number,
            pattern,
            principal,
            mode,
            credit,
            feeds,
            snapshot,
            told: false,
            hungry: true,
            reading: false,
            read_bytes: READ_BYTES,
        });
        if live {
            self.watches.patterns.get_or_insert_with(&text, Vec::new).push(key);
        }
        let Some(joined) = self.links.joined(id) else { return };
        joined.watches.insert(number, key);
        joined.hungry.push_back(key);
        self.touch(id);
    }

    /// The node has taken so much of what a watch got.
    pub(super) fn taken(&mut self, id: LinkId, number: u32, bytes: u32) {
        let Some(&key) = self.links.joined(id).and_then(|joined| joined.watches.get(&number)) else { return };
        let watch = &mut self.watches.all[key];
        watch.credit = watch.credit.saturating_add(i64::from(bytes));
        self.hungry(key);
    }

    /// False if there is no such watch.
    pub(super) fn unwatch(&mut self, id: LinkId, number: u32) -> bool {
        let Some(key) = self.links.joined(id).and_then(|joined| joined.watches.remove(&number)) else { return false };
        self.end_watches([key]);
        true
    }

    pub(super) fn end_watches(&mut self, keys: impl IntoIterator<Item = WatchKey>) {
        for key in keys {
            let watch = self.watches.all.remove(key);
            if let Some(joined) = self.links.joined(watch.link) {
                joined.hungry.retain(|other| *other != key);
            }
            self.conversation.forget_reads(key);
            if watch.mode == WatchMode::Once {
                continue;
            }
            self.unattend(watch.link);
            self.hub_watch_ends(&watch.pattern);
            if let Some(keys) = self.watches.patterns.get_mut(watch.pattern.as_str()) {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    self.watches.patterns.remove(watch.pattern.as_str());
                }
            }
        }
    }

    /// Something has changed at these places: those who watch it are behind.
    pub(super) fn changed(&mut self, places: &[Place], epoch: u64) {
        if self.watches.patterns.is_empty() || planted(Bug::WatchesNotFed) {
            return;
        }
        let which = usize::from(epoch != 0);
        for &place in places {
            let kept = if epoch == 0 { &self.kept } else { &self.memory };
            let Some(slot) = kept.values.at(place) else { continue };
            let mut found = std::mem::take(&mut self.watches.scratch);
            self.watches.patterns.matching(kept.values.name(slot), |keys| found.extend_from_slice(keys));
            for key in found.drain(..) {
                let feed = &mut self.watches.all[key].feeds[which];
                if !feed.behind {
                    // Nothing before it matches that the watch has not had.
                    feed.next = feed.next.max(place);
                    feed.behind = true;
                    self.hungry(key);
                }
            }
            self.watches.scratch = found;
        }
    }

    /// A watch may take something.
    fn hungry(&mut self, key: WatchKey) {
        let watch = &mut self.watches.all[key];
        let link = watch.link;
        if !std::mem::replace(&mut watch.hungry, true)
            && let Some(joined) = self.links.joined(link)
        {
            joined.hungry.push_back(key);
            self.touch(link);
        }
    }

    /// Lets the watches of a link take what it has room for.
    pub(super) fn feed(&mut self, id: LinkId) {
        let HubState { links, watches, kept, memory, conversation, .. } = self;
        let Some(link) = links.get_mut(id) else { return };
        let super::links::Phase::Joined(joined) = &mut link.phase else { return };
        let lane = &mut link.lanes.values;
        let mut done = Vec::new();
        while lane.len() < LINK_VALUES_BYTES_MAX
            && let Some(key) = joined.hungry.pop_front()
        {
            let watch = &mut watches.all[key];
            watch.hungry = false;
            match watch.feed(key, lane, [kept, memory], conversation) {
                Progress::Full => {
                    watch.hungry = true;
                    joined.hungry.push_back(key);
                }
                Progress::Waits => {}
                Progress::Ended => done.push((watch.id, key)),
            }
        }
        for (number, key) in done {
            if let Some(joined) = self.links.joined(id) {
                joined.watches.remove(&number);
            }
            self.end_watches([key]);
        }
    }

    /// Old changes that a watch has asked for.
    pub(super) fn watch_read(&mut self, key: WatchKey, rows: &[(RowKey, Bytes)]) {
        let watch = &mut self.watches.all[key];
        watch.reading = false;
        let link = watch.link;
        let Some(link) = self.links.get_mut(link) else { return };
        watch.read(rows, &mut link.lanes.values);
        self.hungry(key);
    }
}

/// Where a watch begins that has everything up to `after`.
fn begin(kept: &Kept, pattern: &Pattern, mode: WatchMode, after: u64, snapshot: &mut bool, first: &mut u64) -> Feed {
    let next = (kept.pos() + 1, 0);
    let all_from = |from: Place, deleted| kept.values.places(pattern, from, deleted).into();
    // To have everything up to nothing at all is not the same as to have nothing.
    let (begins, after) = (after == 0, if after == AFTER_NOTHING { 0 } else { after });
    if mode == WatchMode::Once {
        let places = kept.values.places(pattern, (0, 0), false).into_iter();
        let frames = places.filter_map(|place| Some((place.0, kept.values.frames(kept.values.at(place)?).clone())));
        return Feed { once: frames.collect(), next, ..Feed::default() };
    }
    if begins {
        return Feed { todo: all_from((0, 0), false), next, ..Feed::default() };
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
        return Feed { todo: all_from((0, 0), false), next, ..Feed::default() };
    }
    match mode {
        WatchMode::All => Feed { next: (after + 1, 0), behind: true, ..Feed::default() },
        _ => Feed { todo: all_from((after + 1, 0), !planted(Bug::DeletionsNotTold)), next, ..Feed::default() },
    }
}

enum Progress {
    /// The lane is full.
    Full,
    /// Nothing is left, or the node takes no more, or the foundation is asked.
    Waits,
    /// It has told what it was asked for, once.
    Ended,
}

impl Watch {
    fn feed(&mut self, key: WatchKey, lane: &mut Vec<u8>, kept: [&Kept; 2], asks: &mut Conversation) -> Progress {
        if let Some(Snapshot { durable, memory, first }) = self.snapshot.take() {
            Frame::Snapshot { id: self.id, durable, memory, first }.encode(lane);
        }
        loop {
            if self.reading {
                return Progress::Waits;
            }
            let todo = self.feeds.iter().position(|feed| !feed.todo.is_empty() || !feed.once.is_empty());
            let behind = self.feeds.iter().position(|feed| feed.behind);
            let Some(which) = todo.or(behind) else { break };
            if lane.len() >= LINK_VALUES_BYTES_MAX {
                return Progress::Full;
            }
            if self.credit <= 0 {
                return Progress::Waits;
            }
            if todo.is_some() {
                self.tell_todo(which, kept[which], lane);
                continue;
            }
            let next = self.feeds[which].next;
            match (self.mode, kept[which].changes.reach(next.0)) {
                (WatchMode::All, Reach::Recent) => self.tell_recent(which, kept[which], lane),
                (WatchMode::All, Reach::Kept) => {
                    self.reading = true;
                    asks.read(key, CHANGES, place_key(next), self.read_bytes);
                }
                (WatchMode::All, Reach::Gone) => self.start_over(which, kept[which], lane),
                _ => self.tell_latest(which, kept[which], lane),
            }
        }
        if !self.told {
            self.told = true;
            Frame::Done { id: self.id, value: kept[0].pos() }.encode(lane);
        }
        if self.mode == WatchMode::Once { Progress::Ended } else { Progress::Waits }
    }

    /// Tells the next of what is to be told first. What has changed since comes later, as it is then.
    fn tell_todo(&mut self, which: usize, kept: &Kept, lane: &mut Vec<u8>) {
        if let Some(&(pos, _)) = self.feeds[which].once.front() {
            let mut group = Vec::new();
            while let Some((_, frames)) = self.feeds[which].once.pop_front_if(|(of, _)| *of == pos) {
                group.push(frames);
            }
            let group: Vec<&[u8]> = group.iter().map(|frames| &frames[..]).collect();
            return self.tell(&group, lane);
        }
        let Some(&(pos, _)) = self.feeds[which].todo.front() else { return };
        let mut group: Vec<&[u8]> = Vec::new();
        while let Some(place) = self.feeds[which].todo.pop_front_if(|place| place.0 == pos) {
            group.extend(kept.values.at(place).map(|slot| &kept.values.frames(slot)[..]));
        }
        self.tell(&group, lane);
    }

    /// Tells the last changes of keys from where it is, as far as there is room.
    fn tell_latest(&mut self, which: usize, kept: &Kept, lane: &mut Vec<u8>) {
        let end = (kept.pos() + 1, 0);
        let mut group: Vec<&[u8]> = Vec::new();
        let (mut group_pos, mut skipped) = (0, 0);
        for (place, slot) in kept.values.from(self.feeds[which].next) {
            if !group.is_empty() && place.0 != group_pos {
                self.tell(&group, lane);
                group.clear();
                if lane.len() >= LINK_VALUES_BYTES_MAX || self.credit <= 0 {
                    self.feeds[which].next = place;
                    return;
                }
            }
            if self.matches(kept.values.name(slot)) {
                group.push(kept.values.frames(slot));
                (group_pos, skipped) = (place.0, 0);
            } else if group.is_empty() {
                skipped += 1;
                if skipped > SCAN_MAX {
                    let todo = kept.values.places(&self.pattern, place, true).into();
                    self.feeds[which] = Feed { todo, next: end, ..Feed::default() };
                    return;
                }
            }
        }
        self.tell(&group, lane);
        self.feeds[which] = Feed { next: end, ..Feed::default() };
    }

    /// Tells every change from where it is that is in memory, as far as there is room.
    fn tell_recent(&mut self, which: usize, kept: &Kept, lane: &mut Vec<u8>) {
        let end = (kept.pos() + 1, 0);
        let next =
            self.tell_changes(kept.changes.recent(self.feeds[which].next).map(|(at, frames)| (at, &frames[..])), lane);
        let feed = &mut self.feeds[which];
        (feed.next, feed.behind) = (next.unwrap_or(end), next.is_some());
    }

    /// Tells the changes that were read, as far as there is room.
    fn read(&mut self, rows: &[(RowKey, Bytes)], lane: &mut Vec<u8>) {
        let changes: Vec<(Place, Bytes)> =
            rows.iter().filter_map(|(key, row)| change_from_row(&key.key, row).ok()).collect();
        let bytes: usize = rows.iter().map(|(key, row)| key.key.len() + row.len()).sum();
        let feed = &mut self.feeds[0];
        let Some(&((last, _), _)) = changes.last() else {
            // All of what is left is in memory.
            return;
        };
        let mut whole = &changes[..];
        if bytes >= self.read_bytes {
            // The last operation may not be there wholly.
            whole = &changes[..changes.partition_point(|((pos, _), _)| *pos < last)];
            if whole.is_empty() {
                self.read_bytes *= 2;
                return;
            }
        }
        let end = whole.last().map_or(feed.next, |((pos, _), _)| (pos + 1, 0));
        let next = self.tell_changes(whole.iter().map(|(at, frames)| (*at, &frames[..])), lane);
        self.feeds[0].next = next.unwrap_or(end);
        self.read_bytes = READ_BYTES;
    }

    /// Tells changes in their order. Gives where to go on, if there is no more room.
    fn tell_changes<'a>(
        &mut self,
        changes: impl Iterator<Item = (Place, &'a [u8])>,
        lane: &mut Vec<u8>,
    ) -> Option<Place> {
        let mut group: Vec<&[u8]> = Vec::new();
        let mut group_pos = 0;
        for (place, frames) in changes {
            if !group.is_empty() && place.0 != group_pos {
                self.tell(&group, lane);
                group.clear();
                if lane.len() >= LINK_VALUES_BYTES_MAX || self.credit <= 0 {
                    return Some(place);
                }
            }
            if self.matches(name_in(frames)) {
                group.push(frames);
                group_pos = place.0;
            }
        }
        self.tell(&group, lane);
        None
    }

    /// What it needs is not known any more: it gets all that is there now.
    fn start_over(&mut self, which: usize, kept: &Kept, lane: &mut Vec<u8>) {
        let first = if which == 0 { kept.changes.first() } else { 0 };
        Frame::Snapshot { id: self.id, durable: which == 0, memory: which == 1, first }.encode(lane);
        let todo = kept.values.places(&self.pattern, (0, 0), false).into();
        self.feeds[which] = Feed { todo, next: (kept.pos() + 1, 0), ..Feed::default() };
        self.told = false;
    }

    fn matches(&self, name: &str) -> bool {
        let verb = if self.mode == WatchMode::Once { Verb::Get } else { Verb::Watch };
        self.pattern.matches_text(name) && allow(&self.principal, verb, name)
    }

    /// Writes changes that belong together; never a part of them, since the node hands them out at once.
    fn tell(&mut self, group: &[&[u8]], lane: &mut Vec<u8>) {
        for (index, frames) in group.iter().enumerate() {
            Value::copy_for(lane, frames, self.id, index + 1 < group.len());
            self.credit -= frames.len() as i64;
        }
    }
}
