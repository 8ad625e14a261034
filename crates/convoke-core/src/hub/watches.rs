//! Watches: each is a cursor over the changes of values, and takes what its link has room for.
//!
//! What is there at first, what is missed while a link is slow, and what comes live are all read the same way: from the
//! table of values by the places of their last changes, or, for those who watch every change, from the changes. A watch
//! that is not behind costs nothing but a look-up for each change that it matches, and one that is behind no memory.
//!
//! The parts, each a file: `cursor` is one watch, `gets` is what is asked for once, `turns` says whose turn it is on a link.

mod cursor;
mod gets;
mod turns;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::journals::{AwaitKey, FollowKey};
use super::links::Phase;
use super::{HubState, LinkId, Timer};
use crate::bug::{Bug, planted};
use crate::foundation::RowKey;
use crate::frame::{Frame, WatchMode};
use crate::kept::Place;
use crate::limits::{LINK_VALUES_BYTES_MAX, LOOKED_AT_PAUSE, WATCHES_PER_LINK_MAX};
use crate::name::Pattern;
use crate::refusal::{Code, Refusal};
use crate::rights::{Principal, Verb, allow};
use crate::tree::Tree;
use crate::tree::slab::Slab;
pub(crate) use cursor::LookBounds;
use cursor::{Look, Progress, Watch};
use gets::Get;
pub(super) use turns::{Turn, Turns};

/// The number of a watch in the hub. Used again, and so never kept beyond the watch.
pub(super) type WatchKey = u32;

/// The number of a get in the hub. Used again, and so never kept beyond the get.
pub(super) type GetKey = u32;

/// What a link has asked to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Watch(WatchKey),
    Get(GetKey),
    Follow(FollowKey),
    Await(AwaitKey),
}

/// All watches of a hub, and all gets that are not answered.
pub(super) struct Watches {
    all: Slab<Watch>,
    patterns: Tree<Vec<WatchKey>>,
    gets: Slab<Get>,
    pub(super) bounds: LookBounds,
    /// What all gets together have found, and their links have not taken.
    pub(super) gets_bytes: usize,
    /// Links whose watches have to look further, in the order of their turns.
    looking: BTreeMap<Turn, LinkId>,
    looking_last: Turn,
    scratch: Vec<WatchKey>,
}

/// Who wants to know what.
struct Wants {
    pattern: Pattern,
    principal: Principal,
    /// What it must be allowed on each key.
    verb: Verb,
}

impl Wants {
    /// Whether a change of this key is to be told.
    fn has(&self, name: &str) -> bool {
        self.pattern.matches_text(name) && (self.may(name) || planted(Bug::WatchNotFiltered))
    }

    /// Whether a change of this key, which matches, may be told: asked for every key, whatever the way on which it is found.
    fn may(&self, name: &str) -> bool {
        allow(&self.principal, self.verb, name)
    }
}

impl Watches {
    pub(super) fn new(seed: u64) -> Watches {
        Watches {
            all: Slab::new(),
            patterns: Tree::new(seed),
            gets: Slab::new(),
            bounds: LookBounds::default(),
            gets_bytes: 0,
            looking: BTreeMap::new(),
            looking_last: 0,
            scratch: Vec::new(),
        }
    }

    /// How many there are, gets included.
    pub(super) fn len(&self) -> usize {
        self.all.len() + self.gets.len()
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
            self.get(id, number, pattern);
            return Ok(());
        }
        let principal = joined.principal.clone();
        let may_look = joined.turns.rows_left > 0;
        if may_look {
            let cost = self.hub_watch_begins(&pattern);
            if let Some(joined) = self.links.joined(id) {
                joined.turns.rows_left -= cost;
            }
        } else {
            self.hub_watch_adds(&pattern);
        }
        self.attend(id);
        // Of an earlier start of the hub nothing is known any more.
        let same = after_memory.epoch == self.memory_epoch;
        let after = [after, if same { after_memory.n } else { 0 }];
        let anew = after_memory.epoch != 0 && !same;
        let text = pattern.as_str().to_owned();
        let wants = Wants { pattern, principal, verb };
        let watch = Watch::new((id, number), wants, mode, window, [&self.kept, &self.memory], after, anew);
        let key = self.watches.all.insert(watch);
        let keys = self.watches.patterns.get_or_insert_with(&text, Vec::new);
        self.watches.all[key].place = keys.len();
        keys.push(key);
        if let Some(joined) = self.links.joined(id) {
            joined.watches.insert(number, Asked::Watch(key));
        }
        self.hungry(key);
        Ok(())
    }

    /// The node has taken so much of what a watch got.
    pub(super) fn taken(&mut self, id: LinkId, number: u32, bytes: u32) {
        let asked = self.links.joined(id).and_then(|joined| joined.watches.get(&number));
        let key = match asked {
            Some(&Asked::Watch(key)) => key,
            Some(&Asked::Follow(key)) => return self.followed_taken(key, bytes),
            _ => return,
        };
        let watch = &mut self.watches.all[key];
        watch.credit = watch.credit.saturating_add(i64::from(bytes));
        self.hungry(key);
    }

    /// False if there is no such watch.
    pub(super) fn unwatch(&mut self, id: LinkId, number: u32) -> bool {
        let asked = self.links.joined(id).and_then(|joined| joined.watches.remove(&number));
        asked.is_some_and(|asked| {
            self.end_asked(asked);
            true
        })
    }

    /// The link is gone, with all that it has asked.
    pub(super) fn end_watches(&mut self, asked: BTreeMap<u32, Asked>, turns: &Turns) {
        self.watches.looking.remove(&turns.looks);
        for asked in asked.into_values() {
            self.end_asked(asked);
        }
    }

    /// It is not among those of its link any more.
    fn end_asked(&mut self, asked: Asked) {
        let key = match asked {
            Asked::Watch(key) => key,
            Asked::Get(key) => return self.end_get(key),
            Asked::Follow(key) => return self.end_follow(key),
            Asked::Await(key) => return self.end_wait(key),
        };
        let watch = self.watches.all.remove(key);
        if let Some(joined) = self.links.joined(watch.link) {
            joined.turns.remove(watch.turn);
        }
        if let Some(ticket) = watch.reading {
            self.conversation.forget_read(ticket);
        }
        self.unattend(watch.link);
        self.hub_watch_ends(&watch.wants.pattern);
        let pattern = watch.wants.pattern.as_str();
        if let Some(keys) = self.watches.patterns.get_mut(pattern) {
            // The last takes its place: to close the gap would be a step for each that is behind it.
            keys.swap_remove(watch.place);
            if let Some(moved) = keys.get(watch.place) {
                self.watches.all[*moved].place = watch.place;
            } else if keys.is_empty() {
                self.watches.patterns.remove(pattern);
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
                if self.watches.all[key].changed(which, place) {
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
        if watch.turn == 0
            && let Some(joined) = self.links.joined(link)
        {
            watch.turn = joined.turns.push(Asked::Watch(key));
            self.touch(link);
        }
    }

    /// Lets the watches and the gets of a link take what it has room for.
    pub(super) fn feed(&mut self, id: LinkId) {
        let Some(joined) = self.links.joined(id).filter(|joined| !joined.turns.is_idle()) else { return };
        joined.turns.refill(self.watches.bounds.at_once, self.now);
        while let Some(link) = self.links.get_mut(id)
            && link.lanes.values.len() < LINK_VALUES_BYTES_MAX
            && let Some(asked) = link.joined().and_then(|joined| joined.turns.next())
        {
            match asked {
                Asked::Watch(key) => self.feed_watch(id, key),
                Asked::Get(key) => self.feed_get(id, key),
                Asked::Follow(key) => self.feed_follow(id, key),
                Asked::Await(key) => self.feed_wait(id, key),
            }
        }
        self.look_later(id);
    }

    fn feed_watch(&mut self, id: LinkId, key: WatchKey) {
        let HubState { links, watches, kept, memory, conversation, .. } = self;
        let Some(link) = links.get_mut(id) else { return };
        let Phase::Joined(joined) = &mut link.phase else { return };
        let (turns, lane) = (&mut joined.turns, &mut link.lanes.values);
        let watch = &mut watches.all[key];
        let mut look = Look { rows: turns.rows_left, bounds: watches.bounds };
        let progress = watch.feed(key, lane, [kept, memory], conversation, &mut look);
        turns.rows_left = look.rows;
        watch.turn = match progress {
            Progress::Full => turns.push(Asked::Watch(key)),
            Progress::Looks => turns.push_looking(Asked::Watch(key)),
            Progress::Waits => 0,
        };
    }

    /// If some of a link have to look further and may not now, others have their turn first: all other links, and on this
    /// one those that need not look.
    fn look_later(&mut self, id: LinkId) {
        let Some(joined) = self.links.joined(id) else { return };
        if !joined.turns.is_looking() || joined.turns.looks != 0 {
            return;
        }
        self.watches.looking_last += 1;
        joined.turns.looks = self.watches.looking_last;
        self.watches.looking.insert(joined.turns.looks, id);
        if !self.timers.is_set(Timer::Look) {
            self.timers.set(self.now + LOOKED_AT_PAUSE, Timer::Look);
        }
    }

    /// The next link may look further.
    pub(super) fn expire_look(&mut self) {
        let Some((_, id)) = self.watches.looking.pop_first() else { return };
        if !self.watches.looking.is_empty() {
            self.timers.set(self.now + LOOKED_AT_PAUSE, Timer::Look);
        }
        let Some(joined) = self.links.joined(id) else { return };
        joined.turns.may_look(self.watches.bounds.at_once, self.now);
        self.touch(id);
    }

    /// Old changes that a watch has asked for.
    pub(super) fn watch_read(&mut self, key: WatchKey, rows: &[(RowKey, Bytes)]) {
        let watch = &mut self.watches.all[key];
        watch.reading = None;
        let Some(link) = self.links.get_mut(watch.link) else { return };
        match watch.read(rows, &self.kept, &mut link.lanes.values) {
            Ok(()) => self.hungry(key),
            Err(error) => {
                let text =
                    format!("a change that was kept cannot be read: {error}; was it written by a newer program?");
                self.foundation_failed(Refusal::new(Code::StorageFailed, text));
            }
        }
    }
}
