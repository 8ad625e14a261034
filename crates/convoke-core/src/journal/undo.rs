//! What of a journal is undone, what could be, and by whom.
//!
//! There is one list for all authors. A unit is a command or a group of commands. Undone is what was done last, and done
//! again what was undone last, as in any editor; with [`Scope::Mine`] among one's own, with [`Scope::Everyone`] among all.

use std::collections::{BTreeMap, VecDeque};

use super::Deed;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// There is no command at this place, and no group begins there.
    NoCommand,
}

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    first: u64,
    author: AuthorId,
    standing: Standing,
}

/// What is done and what is undone of a journal, as far back as it can be changed: a function of its entries.
///
/// Every question and every entry costs the logarithm of the number of units, of which only so many as can be undone are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoList {
    units_max: usize,
    units: VecDeque<Known>,
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
    /// Nothing before this place can be undone.
    horizon: u64,
}

impl UndoList {
    /// Of an empty journal of which so many units can be undone, from its end.
    pub fn new(units_max: usize) -> UndoList {
        UndoList {
            units_max,
            units: VecDeque::new(),
            changed: None,
            authors: Vec::new(),
            by_name: BTreeMap::new(),
            done: BTreeMap::new(),
            done_by: BTreeMap::new(),
            undone: BTreeMap::new(),
            undone_by: BTreeMap::new(),
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
        Some(Unit { author: name(known.author), place, undone })
    }

    /// Takes back what was known of a unit. They come in their order.
    pub(crate) fn restore(&mut self, first: u64, unit: &Unit) {
        let author = self.author(&unit.author);
        let standing = match &unit.undone {
            None => Standing::Done(unit.place),
            Some(Some(by)) => Standing::Undone(self.author(by), unit.place),
            Some(None) => Standing::Gone(unit.place),
        };
        self.units.push_back(Known { first, author, standing: Standing::Gone(0) });
        self.stand(self.units.len() - 1, standing);
        self.take_changed();
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
        if expect_top.is_some_and(|expected| expected != top.unwrap_or(0)) {
            return Err(UndoRefused::Conflict { top: top.unwrap_or(0) });
        }
        let Some(target) = target else { return top.ok_or(UndoRefused::Nothing) };
        if target < self.horizon && target > 0 {
            return Err(UndoRefused::Horizon { first: self.horizon });
        }
        let unit = self.units[self.find(target).ok_or(UndoRefused::NoCommand)?];
        let owner = whose(unit.standing).ok_or(UndoRefused::Already)?.unwrap_or(unit.author);
        if scope == Scope::Mine && self.authors[owner as usize] != *author {
            return Err(UndoRefused::NotYours);
        }
        Ok(target)
    }

    /// Takes the next entry in, whatever it says. An undo or redo of what cannot be undone or done again changes nothing; no
    /// hub gives a place to such an entry.
    pub fn apply(&mut self, seq: u64, author: &Name, deed: Deed) {
        match deed {
            // Of a group the others say nothing new; and who comes and goes cannot be undone.
            Deed::Do { first } if first != seq => {}
            Deed::Join | Deed::Leave => {}
            Deed::Do { .. } => {
                let author = self.author(author);
                while let Some((place, first)) = last_of(&self.undone_by, author) {
                    self.undone.remove(&place);
                    self.undone_by.remove(&(author, place));
                    if let Some(unit) = self.find(first) {
                        self.units[unit].standing = Standing::Gone(place);
                        self.note(first);
                    }
                }
                self.units.push_back(Known { first: seq, author, standing: Standing::Gone(0) });
                self.stand(self.units.len() - 1, Standing::Done(seq));
                if self.units.len() > self.units_max {
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
            self.units.pop_front();
        }
    }

    fn find(&self, first: u64) -> Option<usize> {
        self.units.binary_search_by_key(&first, |unit| unit.first).ok()
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

    fn note(&mut self, first: u64) {
        if let Some(changed) = &mut self.changed {
            changed.push(first);
        }
    }

    /// How a unit stands from now on.
    fn stand(&mut self, unit: usize, standing: Standing) {
        let Known { first, author, standing: before } = self.units[unit];
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
mod tests {
    use super::*;
    use crate::limits::UNDO_UNITS_MAX;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// Entries of authors, one after the other; gives the list.
    struct Written {
        list: UndoList,
        seq: u64,
    }

    impl Written {
        fn new() -> Written {
            Written { list: UndoList::new(UNDO_UNITS_MAX), seq: 0 }
        }

        fn say(&mut self, author: &str, deed: impl FnOnce(u64) -> Deed) -> u64 {
            self.seq += 1;
            self.list.apply(self.seq, &name(author), deed(self.seq));
            self.seq
        }

        fn does(&mut self, author: &str) -> u64 {
            self.say(author, |first| Deed::Do { first })
        }

        fn undoes(&mut self, author: &str, scope: Scope) -> Result<u64, UndoRefused> {
            let target = self.list.check_undo(&name(author), scope, None, None)?;
            self.say(author, |_| Deed::Undo(target));
            Ok(target)
        }

        fn redoes(&mut self, author: &str, scope: Scope) -> Result<u64, UndoRefused> {
            let target = self.list.check_redo(&name(author), scope, None, None)?;
            self.say(author, |_| Deed::Redo(target));
            Ok(target)
        }
    }

    #[test]
    fn undo_and_redo_go_back_and_forth_as_in_any_editor() {
        let mut journal = Written::new();
        let all: Vec<u64> = (0..3).map(|_| journal.does("ann")).collect();
        for done in all.iter().rev() {
            assert_eq!(journal.undoes("ann", Scope::Mine), Ok(*done));
        }
        assert_eq!(journal.undoes("ann", Scope::Mine), Err(UndoRefused::Nothing));
        for undone in &all {
            assert_eq!(journal.redoes("ann", Scope::Mine), Ok(*undone));
        }
        assert_eq!(journal.redoes("ann", Scope::Mine), Err(UndoRefused::Nothing));
        assert_eq!(journal.undoes("ann", Scope::Mine), Ok(all[2]));
        journal.does("ann");
        assert_eq!(journal.redoes("ann", Scope::Mine), Err(UndoRefused::Nothing), "something else was done since");
    }

    #[test]
    fn each_undoes_its_own_unless_it_says_everyone() {
        let mut journal = Written::new();
        let (ann, bob) = (journal.does("ann"), journal.does("bob"));
        assert_eq!(journal.undoes("ann", Scope::Mine), Ok(ann));
        assert_eq!(journal.redoes("bob", Scope::Mine), Err(UndoRefused::Nothing), "it is ann's to do again");
        assert_eq!(journal.undoes("ann", Scope::Everyone), Ok(bob));
        journal.does("bob");
        assert_eq!(
            journal.redoes("ann", Scope::Mine),
            Ok(bob),
            "bob's new command clears what bob has undone: nothing"
        );
        assert_eq!(journal.redoes("bob", Scope::Everyone), Ok(ann));
    }

    #[test]
    fn of_two_who_race_one_wins() {
        let mut journal = Written::new();
        let (one, two) = (journal.does("ann"), journal.does("ann"));
        let undo = |journal: &Written, top| journal.list.check_undo(&name("ann"), Scope::Mine, None, Some(top));
        assert_eq!(undo(&journal, two), Ok(two));
        journal.undoes("ann", Scope::Mine).unwrap();
        assert_eq!(undo(&journal, two), Err(UndoRefused::Conflict { top: one }));
        journal.undoes("ann", Scope::Mine).unwrap();
        assert_eq!(undo(&journal, two), Err(UndoRefused::Conflict { top: 0 }));
    }

    #[test]
    fn a_group_is_undone_as_one() {
        let mut journal = Written::new();
        let first = journal.does("ann");
        journal.say("ann", |_| Deed::Do { first });
        assert_eq!(
            journal.list.check_undo(&name("ann"), Scope::Mine, Some(first + 1), None),
            Err(UndoRefused::NoCommand)
        );
        assert_eq!(journal.undoes("ann", Scope::Mine), Ok(first));
        assert_eq!(journal.undoes("ann", Scope::Mine), Err(UndoRefused::Nothing));
    }

    #[test]
    fn what_is_no_command_of_ones_own_is_not_undone() {
        let mut journal = Written::new();
        let (ann, bob) = (journal.does("ann"), journal.does("bob"));
        let undone = journal.undoes("bob", Scope::Mine).unwrap();
        let undo = |target| journal.list.check_undo(&name("ann"), Scope::Mine, Some(target), None);
        let refused = [(0, UndoRefused::NoCommand), (99, UndoRefused::NoCommand), (undone + 1, UndoRefused::NoCommand)];
        for (target, why) in refused {
            assert_eq!(undo(target), Err(why), "{target}");
        }
        assert_eq!(undo(ann), Ok(ann));
        assert_eq!(undo(bob), Err(UndoRefused::Already));
        let redo = |target, scope| journal.list.check_redo(&name("ann"), scope, Some(target), None);
        assert_eq!(redo(bob, Scope::Mine), Err(UndoRefused::NotYours));
        assert_eq!(redo(bob, Scope::Everyone), Ok(bob));
        assert_eq!(redo(ann, Scope::Everyone), Err(UndoRefused::Already));
    }

    #[test]
    fn what_is_too_far_back_stays_as_it_is() {
        let mut journal = Written::new();
        let first = journal.does("ann");
        for _ in 0..UNDO_UNITS_MAX {
            journal.does("bob");
        }
        let undo = |target| journal.list.check_undo(&name("ann"), Scope::Mine, target, None);
        assert_eq!(undo(Some(first)), Err(UndoRefused::Horizon { first: 2 }));
        assert_eq!(undo(None), Err(UndoRefused::Nothing));
        assert_eq!(journal.list.units.len(), UNDO_UNITS_MAX);
        journal.list.forget_before(journal.seq);
        assert_eq!((journal.list.units.len(), journal.list.done.len(), journal.list.done_by.len()), (1, 1, 1));
    }
}
