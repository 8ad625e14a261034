//! What of a journal is undone and what could be, said without lists: everything is looked through from end to end.
//!
//! It shares nothing with [`UndoList`](crate::journal::UndoList), against which it is held.

use crate::frame::Back;
use crate::journal::{Deed, Touches};

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
    /// What it touches, where that counts.
    touches: Option<Touches>,
}

impl Unit {
    fn keys(&self) -> usize {
        self.touches.as_ref().and_then(Touches::hashes).map_or(0, <[u64]>::len)
    }

    /// Whether another touches the same.
    fn meets(&self, other: &Unit) -> bool {
        let (Some(this), Some(other)) = (&self.touches, &other.touches) else { return false };
        match (this.hashes(), other.hashes()) {
            (Some(this), Some(other)) => this.iter().any(|key| other.contains(key)),
            (None, Some(keys)) | (Some(keys), None) => !keys.is_empty(),
            (None, None) => true,
        }
    }
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

    /// What it takes of what all journals together may: a unit that can be undone one, and four keys that are touched too.
    pub(super) fn weight(&self) -> usize {
        let units = &self.units[self.settled..];
        units.len() + units.iter().map(Unit::keys).sum::<usize>() / 4
    }

    /// As many of the oldest cannot be changed any more that it takes no more than this, or no more than before.
    pub(super) fn shrink(&mut self, weight_max: usize, before: usize) {
        while self.weight() > weight_max.max(before) && self.units.len() - self.settled > 1 {
            self.settled += 1;
        }
    }

    /// What the unit that has just begun touches.
    pub(super) fn touches(&mut self, touches: Option<Touches>) {
        if let Some(unit) = self.units.last_mut() {
            unit.touches = touches;
        }
    }

    /// The first place of which something can be undone.
    pub(super) fn horizon(&self) -> u64 {
        if self.settled == 0 { 1 } else { self.units[self.settled].first }
    }

    /// The next entry.
    pub(super) fn apply(&mut self, seq: u64, author: &str, deed: Deed) {
        match deed {
            Deed::Do { first } if first == seq || first == 0 => {
                let horizon = self.settled;
                for unit in &mut self.units[horizon..] {
                    if matches!(&unit.how, How::Undone(_, by) if by == author) {
                        unit.how = How::ForGood;
                    }
                }
                if first == 0 {
                    return;
                }
                self.units.push(Unit { first, author: author.to_owned(), how: How::Done(seq), touches: None });
                if self.units.len() - self.settled > self.units_max {
                    self.settled += 1;
                }
            }
            Deed::Do { .. } | Deed::Join | Deed::Leave => {}
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
        let target = back.target.or(top)?;
        let unit = self.units[self.settled..].iter().find(|unit| unit.first == target)?;
        let owner = match &unit.how {
            How::Done(_) if undo => &unit.author,
            How::Undone(_, by) if !undo => by,
            _ => return None,
        };
        // Others may have gone on from it.
        let later =
            self.units[self.settled..].iter().filter(|other| other.first > target && other.author != unit.author);
        let mut in_the_way = later.filter(|other| matches!(other.how, How::Done(_)) && other.meets(unit));
        ((back.everyone || owner == author) && in_the_way.next().is_none()).then_some(target)
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
