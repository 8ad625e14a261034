//! What of a journal is undone, what could be, and by whom.
//!
//! There is one list for all authors. A unit is a command or a group of commands. Undone is what was done last, and done
//! again what was undone last, as in any editor; with [`Scope::Mine`] among one's own, with [`Scope::Everyone`] among all.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Deed, Touches};
use crate::bug::{Bug, planted};
use crate::limits::{IN_THE_WAY_MAX, UNDO_BYTES_MAX};
use crate::name::Name;

/// Whose commands are undone or done again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The author's own; and what the author has undone.
    #[default]
    Mine,
    /// Those of all.
    Everyone,
}

/// Why a command is not undone or done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UndoRefused {
    /// There is nothing to undo or to do again.
    Nothing,
    /// Another is the next to be undone or done again, by now.
    Conflict {
        /// The place where that one begins; zero if there is none.
        top: u64,
    },
    /// It is another author's.
    NotYours,
    /// It is as it should be already, or something was done behind it since it was undone.
    Already,
    /// It is too far back: nothing before this place can be undone any more.
    Horizon {
        /// The first place that can.
        first: u64,
    },
    /// There is no command at this place that could be undone, and no group begins there.
    NoCommand,
    /// Others have gone on from it: these later commands or groups of theirs touch the same. With
    /// [`Strategy::Refuse`](super::Strategy::Refuse) only.
    InTheWay {
        /// Where they begin, in their order; the first few if there are many.
        places: Vec<u64>,
    },
}

/// To know what a unit touches takes as much memory for so many keys as the unit itself.
const KEYS_PER_UNIT: usize = 4;

/// What a replica holds of somebody who has come or gone behind a unit that can be undone.
const PRESENCE_BYTES: u64 = 128;

/// Authors of whom nothing is known any more may stay, so many and three for each unit, until all are looked through.
const AUTHORS_SPARE: usize = 1024;

/// An author, by its place in the list of authors.
type AuthorId = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Since the entry at this place, its own or a redo.
    Done(u64),
    /// By whom, with the entry at this place.
    Undone(AuthorId, u64),
    /// It was undone with the entry at this place, and who undid it has done something else since.
    Gone(u64),
}

/// What is known of a command or a group, for who keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) author: Name,
    /// The place of the entry that made it so.
    pub(crate) place: u64,
    /// It is undone: by whom, if it can be done again.
    pub(crate) undone: Option<Option<Name>>,
    /// The length of its commands.
    pub(crate) bytes: u64,
    /// What it touches, where that counts.
    pub(crate) touches: Option<Touches>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    first: u64,
    author: AuthorId,
    standing: Standing,
    /// The length of its commands.
    bytes: u64,
}

/// Where a unit stands in the list of those that touch something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Touched {
    /// All that touch anything.
    Anything,
    /// Those that touch everything.
    Everything,
    /// Those that touch the key of this hash.
    Key(u64),
}

/// What is done and what is undone of a journal, as far back as it can be changed: a function of its entries.
///
/// Every question and every entry costs the logarithm of the number of units, of which only so many as can be undone are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoList {
    units_max: usize,
    units: VecDeque<Known>,
    /// The length of all their commands.
    bytes: u64,
    /// Units that have changed since they were last asked for, if somebody asks.
    changed: Option<Vec<u64>>,
    authors: Vec<Name>,
    by_name: BTreeMap<Name, AuthorId>,
    /// Units that are done by the places of the entries that made them so; of all, and of each author.
    done: BTreeMap<u64, u64>,
    done_by: BTreeMap<(AuthorId, u64), u64>,
    /// Units that can be done again, by the places of the entries that undid them; of all, and of who undid them.
    undone: BTreeMap<u64, u64>,
    undone_by: BTreeMap<(AuthorId, u64), u64>,
    /// What units touch, where that counts; and those of them that are done, by what they touch and by their authors.
    touches: BTreeMap<u64, Touches>,
    touching: BTreeSet<(Touched, AuthorId, u64)>,
    /// How many keys they all touch.
    keys: usize,
    /// Nothing before this place can be undone.
    horizon: u64,
}

impl UndoList {
    /// Of an empty journal of which so many units can be undone, from its end.
    pub fn new(units_max: usize) -> UndoList {
        UndoList {
            units_max,
            units: VecDeque::new(),
            bytes: 0,
            changed: None,
            authors: Vec::new(),
            by_name: BTreeMap::new(),
            done: BTreeMap::new(),
            done_by: BTreeMap::new(),
            undone: BTreeMap::new(),
            undone_by: BTreeMap::new(),
            touches: BTreeMap::new(),
            touching: BTreeSet::new(),
            keys: 0,
            horizon: 1,
        }
    }

    /// The same for who keeps what has changed.
    pub(crate) fn noting(units_max: usize) -> UndoList {
        UndoList { changed: Some(Vec::new()), ..UndoList::new(units_max) }
    }

    /// How many units can be changed, or were undone for good.
    pub(crate) fn len(&self) -> usize {
        self.units.len()
    }

    /// What it takes to know them, in units that touch nothing; it does not depend on what is undone.
    pub(crate) fn weight(&self) -> usize {
        self.units.len() + self.keys / KEYS_PER_UNIT
    }

    /// Units that have changed, and those that are not known any more.
    pub(crate) fn take_changed(&mut self) -> Vec<u64> {
        self.changed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What is known of a unit.
    pub(crate) fn unit(&self, first: u64) -> Option<Unit> {
        let known = self.units[self.find(first)?];
        let name = |author: AuthorId| self.authors[author as usize].clone();
        let (place, undone) = match known.standing {
            Standing::Done(place) => (place, None),
            Standing::Undone(by, place) => (place, Some(Some(name(by)))),
            Standing::Gone(place) => (place, Some(None)),
        };
        let touches = self.touches.get(&first).cloned();
        Some(Unit { author: name(known.author), place, undone, bytes: known.bytes, touches })
    }

    /// Takes back what was known of a unit. They come in their order.
    pub(crate) fn restore(&mut self, first: u64, unit: &Unit) {
        let author = self.author(&unit.author);
        let standing = match &unit.undone {
            None => Standing::Done(unit.place),
            Some(Some(by)) => Standing::Undone(self.author(by), unit.place),
            Some(None) => Standing::Gone(unit.place),
        };
        self.units.push_back(Known { first, author, standing: Standing::Gone(0), bytes: unit.bytes });
        self.bytes += unit.bytes;
        self.stand(self.units.len() - 1, standing);
        if let Some(touches) = &unit.touches {
            self.touches(first, touches.clone());
        }
        self.take_changed();
    }

    /// Where its units begin, in their order.
    pub(crate) fn firsts(&self) -> impl Iterator<Item = u64> {
        self.units.iter().map(|unit| unit.first)
    }

    /// Where the first unit begins that can be undone, or is undone; `None` if there is none.
    pub(crate) fn first(&self) -> Option<u64> {
        self.units.front().map(|unit| unit.first)
    }

    /// The first place of which something can be undone.
    pub fn horizon(&self) -> u64 {
        self.horizon
    }

    /// What `undo` of this author would undo now.
    pub fn undo_top(&self, author: &Name, scope: Scope) -> Option<u64> {
        last(&self.done, &self.done_by, self.by_name.get(author), scope)
    }

    /// What `redo` of this author would do again now.
    pub fn redo_top(&self, author: &Name, scope: Scope) -> Option<u64> {
        last(&self.undone, &self.undone_by, self.by_name.get(author), scope)
    }

    /// Whether the unit that begins at this place counts as done. What is beyond the horizon is as it was, and not known here.
    pub fn is_done(&self, first: u64) -> Option<bool> {
        self.find(first).map(|unit| matches!(self.units[unit].standing, Standing::Done(_)))
    }

    /// What is to be undone: `target` if it is given, else what was done last.
    ///
    /// # Errors
    ///
    /// It may not be, or cannot be.
    pub fn check_undo(
        &self,
        author: &Name,
        scope: Scope,
        target: Option<u64>,
        expect_top: Option<u64>,
    ) -> Result<u64, UndoRefused> {
        let top = self.undo_top(author, scope);
        self.check(author, scope, (target, expect_top, top), |standing| match standing {
            Standing::Done(_) => Some(None),
            _ => None,
        })
    }

    /// What is to be done again: `target` if it is given, else what was undone last.
    ///
    /// # Errors
    ///
    /// It may not be, or cannot be.
    pub fn check_redo(
        &self,
        author: &Name,
        scope: Scope,
        target: Option<u64>,
        expect_top: Option<u64>,
    ) -> Result<u64, UndoRefused> {
        let top = self.redo_top(author, scope);
        self.check(author, scope, (target, expect_top, top), |standing| match standing {
            Standing::Undone(by, _) => Some(Some(by)),
            _ => None,
        })
    }

    /// `whose` tells of a unit that can be taken whose it is, if not its author's; `None` of one that cannot.
    fn check(
        &self,
        author: &Name,
        scope: Scope,
        (target, expect_top, top): (Option<u64>, Option<u64>, Option<u64>),
        whose: impl Fn(Standing) -> Option<Option<AuthorId>>,
    ) -> Result<u64, UndoRefused> {
        if expect_top.is_some_and(|expected| expected != top.unwrap_or(0)) && !planted(Bug::TopNotExpected) {
            return Err(UndoRefused::Conflict { top: top.unwrap_or(0) });
        }
        let Some(target) = target.or(top) else { return Err(UndoRefused::Nothing) };
        if target < self.horizon && target > 0 {
            return Err(UndoRefused::Horizon { first: self.horizon });
        }
        let unit = self.units[self.find(target).ok_or(UndoRefused::NoCommand)?];
        let owner = whose(unit.standing).ok_or(UndoRefused::Already)?.unwrap_or(unit.author);
        if scope == Scope::Mine && self.authors[owner as usize] != *author && !planted(Bug::ScopeIgnored) {
            return Err(UndoRefused::NotYours);
        }
        let places = self.in_the_way(target, unit.author);
        if places.is_empty() || planted(Bug::WayIgnored) { Ok(target) } else { Err(UndoRefused::InTheWay { places }) }
    }

    /// The first units behind this one that are done, of other authors, and touch what it touches.
    fn in_the_way(&self, first: u64, author: AuthorId) -> Vec<u64> {
        let touched: Vec<Touched> = match self.touches.get(&first).map(Touches::hashes) {
            None | Some(Some([])) => return Vec::new(),
            Some(None) => vec![Touched::Anything],
            Some(Some(keys)) => keys.iter().copied().map(Touched::Key).chain([Touched::Everything]).collect(),
        };
        let mut places = BTreeSet::new();
        for touched in touched {
            let mut next = self.touching.range((touched, 0, 0)..=(touched, AuthorId::MAX, u64::MAX)).next();
            while let Some(&(_, other, _)) = next {
                if other != author {
                    let later = self.touching.range((touched, other, first + 1)..=(touched, other, u64::MAX));
                    places.extend(later.take(IN_THE_WAY_MAX).map(|(_, _, place)| *place));
                }
                next = self.touching.range((touched, other + 1, 0)..=(touched, AuthorId::MAX, u64::MAX)).next();
            }
        }
        places.into_iter().take(IN_THE_WAY_MAX).collect()
    }

    /// Says what the unit that begins at this place touches. From then on it is not undone or done again while later units of
    /// other authors touch the same; those of which nothing is said are in nobody's way, and nothing is in theirs.
    pub fn touches(&mut self, first: u64, touches: Touches) {
        let Some(unit) = self.find(first) else { return };
        self.touching(self.units[unit], false);
        self.keys += touches.hashes().map_or(0, <[u64]>::len);
        if let Some(before) = self.touches.insert(first, touches) {
            self.keys -= before.hashes().map_or(0, <[u64]>::len);
        }
        self.stand(unit, self.units[unit].standing);
    }

    fn touching(&mut self, unit: Known, is_done: bool) {
        let touched = match self.touches.get(&unit.first).map(Touches::hashes) {
            None | Some(Some([])) => return,
            Some(None) => vec![Touched::Everything, Touched::Anything],
            Some(Some(keys)) => keys.iter().copied().map(Touched::Key).chain([Touched::Anything]).collect(),
        };
        for touched in touched {
            let place = (touched, unit.author, unit.first);
            if is_done {
                self.touching.insert(place)
            } else {
                self.touching.remove(&place)
            };
        }
    }

    /// Takes the next entry in, whatever it says. An undo or redo of what cannot be undone or done again changes nothing; no
    /// hub gives a place to such an entry.
    pub fn apply(&mut self, seq: u64, author: &Name, deed: Deed) {
        self.forget_authors();
        match deed {
            // Of a group the others say nothing new.
            Deed::Do { first } if first != seq && first != 0 => {}
            // It cannot be undone; but who can undo what stands before it must know it.
            Deed::Join | Deed::Leave => self.follow_presence(seq),
            Deed::Do { first } => {
                let author = self.author(author);
                while let Some((place, first)) =
                    last_of(&self.undone_by, author).filter(|_| !planted(Bug::RedoSurvivesCommand))
                {
                    self.undone.remove(&place);
                    self.undone_by.remove(&(author, place));
                    if let Some(unit) = self.find(first) {
                        self.units[unit].standing = Standing::Gone(place);
                        self.note(first);
                    }
                }
                if first == 0 {
                    // It can never be undone.
                    return;
                }
                self.units.push_back(Known { first: seq, author, standing: Standing::Gone(0), bytes: 0 });
                self.stand(self.units.len() - 1, Standing::Done(seq));
                if self.units.len() > self.units_max && !planted(Bug::HorizonIgnored) {
                    self.forget_first();
                }
            }
            Deed::Undo(target) => {
                let by = self.author(author);
                if let Some(unit) = self.find(target)
                    && let Standing::Done(_) = self.units[unit].standing
                {
                    self.stand(unit, Standing::Undone(by, seq));
                }
            }
            Deed::Redo(target) => {
                if let Some(unit) = self.find(target)
                    && let Standing::Undone(..) = self.units[unit].standing
                {
                    self.stand(unit, Standing::Done(seq));
                }
            }
        }
    }

    /// The unit that begins at this place, which is the last, has a command of this length. If all have too much together, the
    /// oldest can be undone no more. To be said of every command that is applied, by the hub and by replicas alike.
    pub fn grow(&mut self, first: u64, bytes: usize) {
        let Some(unit) = self.find(first) else { return };
        self.units[unit].bytes += bytes as u64;
        self.bytes += bytes as u64;
        self.note(first);
        while self.bytes > UNDO_BYTES_MAX as u64 && self.units.len() > 1 {
            self.forget_first();
        }
    }

    /// Behind the last unit somebody has come or gone, which counts as if it were longer by that. Where that alone is too much,
    /// nothing can be undone any more.
    fn follow_presence(&mut self, seq: u64) {
        let Some(last) = self.units.back_mut() else { return };
        last.bytes += PRESENCE_BYTES;
        self.bytes += PRESENCE_BYTES;
        let first = last.first;
        self.note(first);
        while self.bytes > UNDO_BYTES_MAX as u64 {
            self.forget_before(self.units.get(1).map_or(seq, |unit| unit.first));
        }
    }

    /// The oldest unit can be undone no more.
    pub(crate) fn forget_first(&mut self) {
        if let Some(next) = self.units.get(1) {
            self.forget_before(next.first);
        }
    }

    /// What begins before this place can be undone no more, and stays as it is.
    pub fn forget_before(&mut self, first: u64) {
        self.horizon = self.horizon.max(first);
        while self.units.front().is_some_and(|unit| unit.first < self.horizon) {
            self.stand(0, Standing::Gone(0));
            if let Some(unit) = self.units.pop_front() {
                self.bytes -= unit.bytes;
                let touches = self.touches.remove(&unit.first);
                self.keys -= touches.and_then(|touches| touches.hashes().map(<[u64]>::len)).unwrap_or(0);
            }
        }
    }

    fn find(&self, first: u64) -> Option<usize> {
        // Mostly it is about the last one, one that is to come, or one that was just forgotten.
        match first.cmp(&self.units.back()?.first) {
            Ordering::Less if first < self.units.front()?.first => None,
            Ordering::Less => self.units.binary_search_by_key(&first, |unit| unit.first).ok(),
            Ordering::Equal => Some(self.units.len() - 1),
            Ordering::Greater => None,
        }
    }

    fn author(&mut self, name: &Name) -> AuthorId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = AuthorId::try_from(self.authors.len()).expect("there are fewer authors than units, which are bounded");
        self.authors.push(name.clone());
        self.by_name.insert(name.clone(), id);
        id
    }

    /// Forgets authors of whom nothing is known any more, when they are many: who has written once need not be known for ever.
    fn forget_authors(&mut self) {
        // Of each unit two are known at most: its own author, and who has undone it.
        if self.authors.len() <= 5 * self.units.len() + AUTHORS_SPARE {
            return;
        }
        let mut anew = UndoList { horizon: self.horizon, ..UndoList::new(self.units_max) };
        for first in self.firsts() {
            if let Some(unit) = self.unit(first) {
                anew.restore(first, &unit);
            }
        }
        anew.changed = self.changed.take();
        *self = anew;
    }

    fn note(&mut self, first: u64) {
        if let Some(changed) = &mut self.changed {
            changed.push(first);
        }
    }

    /// How a unit stands from now on.
    fn stand(&mut self, unit: usize, standing: Standing) {
        let Known { first, author, standing: before, .. } = self.units[unit];
        self.note(first);
        match before {
            Standing::Done(place) => {
                self.done.remove(&place);
                self.done_by.remove(&(author, place));
            }
            Standing::Undone(by, place) => {
                self.undone.remove(&place);
                self.undone_by.remove(&(by, place));
            }
            Standing::Gone(_) => {}
        }
        match standing {
            Standing::Done(place) => {
                self.done.insert(place, first);
                self.done_by.insert((author, place), first);
            }
            Standing::Undone(by, place) => {
                self.undone.insert(place, first);
                self.undone_by.insert((by, place), first);
            }
            Standing::Gone(_) => {}
        }
        self.units[unit].standing = standing;
        if !self.touches.is_empty() {
            self.touching(self.units[unit], matches!(standing, Standing::Done(_)));
        }
    }
}

fn last(
    all: &BTreeMap<u64, u64>,
    of: &BTreeMap<(AuthorId, u64), u64>,
    author: Option<&AuthorId>,
    scope: Scope,
) -> Option<u64> {
    match scope {
        Scope::Everyone => all.last_key_value().map(|(_, first)| *first),
        Scope::Mine => last_of(of, *author?).map(|(_, first)| first),
    }
}

fn last_of(of: &BTreeMap<(AuthorId, u64), u64>, author: AuthorId) -> Option<(u64, u64)> {
    of.range((author, 0)..=(author, u64::MAX)).next_back().map(|((_, place), first)| (*place, *first))
}

#[cfg(test)]
mod tests;
