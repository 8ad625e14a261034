//! What of a journal is undone and what could be, said without lists: everything is looked through from end to end.
//!
//! It shares nothing with [`UndoList`](crate::journal::UndoList), against which it is held.

use crate::frame::Back;
use crate::journal::Deed;

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    /// Since the entry at this place.
    Done(u64),
    /// Since the entry at this place, by whom.
    Undone(u64, String),
    /// Undone, and who undid it has done something since.
    ForGood,
}

/// A command, or a group of them.
#[derive(Clone, Debug)]
struct Unit {
    first: u64,
    author: String,
    how: How,
}

#[derive(Clone, Debug)]
pub(super) struct Ledger {
    units_max: usize,
    units: Vec<Unit>,
    /// How many of the first cannot be changed any more.
    settled: usize,
}

impl Ledger {
    /// Of an empty journal of which so many units can be undone.
    pub(super) fn new(units_max: usize) -> Ledger {
        Ledger { units_max, units: Vec::new(), settled: 0 }
    }

    /// How many units can be undone or done again, or could before they were undone for good.
    pub(super) fn len(&self) -> usize {
        self.units.len() - self.settled
    }

    /// The oldest cannot be changed any more.
    pub(super) fn forget_first(&mut self) {
        if self.len() > 1 {
            self.settled += 1;
        }
    }

    /// The first place of which something can be undone.
    pub(super) fn horizon(&self) -> u64 {
        if self.settled == 0 { 1 } else { self.units[self.settled].first }
    }

    /// The next entry.
    pub(super) fn apply(&mut self, seq: u64, author: &str, deed: Deed) {
        match deed {
            Deed::Do { first } if first == seq => {
                let horizon = self.settled;
                for unit in &mut self.units[horizon..] {
                    if matches!(&unit.how, How::Undone(_, by) if by == author) {
                        unit.how = How::ForGood;
                    }
                }
                self.units.push(Unit { first, author: author.to_owned(), how: How::Done(seq) });
                if self.len() > self.units_max {
                    self.settled += 1;
                }
            }
            Deed::Do { .. } => {}
            Deed::Undo(first) => self.set(first, How::Undone(seq, author.to_owned())),
            Deed::Redo(first) => self.set(first, How::Done(seq)),
        }
    }

    fn set(&mut self, first: u64, how: How) {
        let settled = self.settled;
        if let Some(unit) = self.units[settled..].iter_mut().find(|unit| unit.first == first) {
            unit.how = how;
        }
    }

    /// What is next to be undone, or to be done again.
    pub(super) fn top(&self, undo: bool, author: &str, everyone: bool) -> Option<u64> {
        let since = |unit: &&Unit| match &unit.how {
            How::Done(since) if undo && (everyone || unit.author == author) => Some(*since),
            How::Undone(since, by) if !undo && (everyone || by == author) => Some(*since),
            _ => None,
        };
        let open = self.units[self.settled..].iter().filter(|unit| since(unit).is_some());
        open.max_by_key(since).map(|unit| unit.first)
    }

    /// What an undo or redo is about, if it may happen.
    pub(super) fn taken(&self, undo: bool, author: &str, back: &Back) -> Option<u64> {
        let top = self.top(undo, author, back.everyone);
        if back.expect_top.is_some_and(|expected| top.unwrap_or(0) != expected) {
            return None;
        }
        let Some(target) = back.target else { return top };
        let unit = self.units[self.settled..].iter().find(|unit| unit.first == target)?;
        let owner = match &unit.how {
            How::Done(_) if undo => &unit.author,
            How::Undone(_, by) if !undo => by,
            _ => return None,
        };
        (back.everyone || owner == author).then_some(target)
    }

    /// Whether what begins at this place counts as done.
    pub(super) fn is_done(&self, first: u64) -> bool {
        self.units.iter().any(|unit| unit.first == first && matches!(unit.how, How::Done(_)))
    }

    /// All who have done something.
    pub(super) fn authors(&self) -> Vec<&str> {
        let mut authors: Vec<&str> = self.units.iter().map(|unit| &unit.author[..]).collect();
        authors.sort_unstable();
        authors.dedup();
        authors
    }

    /// Units that can still be changed, and whether they count as done.
    pub(super) fn units(&self) -> impl Iterator<Item = (u64, bool)> {
        self.units[self.settled..].iter().map(|unit| (unit.first, matches!(unit.how, How::Done(_))))
    }
}
