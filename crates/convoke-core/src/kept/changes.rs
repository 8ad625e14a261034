//! The changes that are still known, for those who watch every one: the newest in memory, older ones in the foundation.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Place;
use crate::limits::{CHANGES_BYTES_MAX, CHANGES_MAX, CHANGES_RECENT_BYTES_MAX};

/// What of a change is held beside its frames, in bytes, for the bounds.
const OVERHEAD_BYTES: usize = 64;

/// How far back one can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All from there on is in memory.
    Recent,
    /// The foundation has it.
    Kept,
    /// It is not known any more.
    Gone,
}

/// Changes in the order in which they happened.
#[derive(Default)]
pub(crate) struct Changes {
    /// All that are kept, with the bytes of each.
    kept: VecDeque<(Place, u32)>,
    kept_bytes: usize,
    recent: VecDeque<(Place, Bytes)>,
    recent_bytes: usize,
    /// The last position that is not in `recent`.
    recent_after: u64,
    /// The last position of which something is forgotten.
    gone: u64,
}

impl Changes {
    pub(super) fn push(&mut self, place: Place, bytes: u32, frames: Bytes) {
        self.kept.push_back((place, bytes));
        self.kept_bytes += bytes as usize;
        self.recent_bytes += frames.len() + OVERHEAD_BYTES;
        self.recent.push_back((place, frames));
        // Whole operations, so that nobody gets half of one from here.
        while self.recent_bytes > CHANGES_RECENT_BYTES_MAX
            && let Some(&((first, _), _)) = self.recent.front()
            && first < place.0
        {
            while let Some((_, frames)) = self.recent.pop_front_if(|((pos, _), _)| *pos == first) {
                self.recent_bytes -= frames.len() + OVERHEAD_BYTES;
            }
            self.recent_after = first;
        }
    }

    /// Takes back that a change is kept. They come in their order.
    pub(super) fn restore(&mut self, place: Place, bytes: u32) {
        self.kept.push_back((place, bytes));
        self.kept_bytes += bytes as usize;
    }

    /// Nothing is in memory of what was restored.
    pub(super) fn restored(&mut self) {
        self.recent_after = self.kept.back().map_or(self.gone, |((pos, _), _)| *pos);
    }

    /// The last position of which something is forgotten.
    pub(super) fn gone(&self) -> u64 {
        self.gone
    }

    pub(super) fn set_gone(&mut self, gone: u64) {
        self.gone = gone;
    }

    /// Forgets the oldest that is beyond the bounds; all of its operation must follow. With `durable` older ones than the
    /// recent are kept.
    pub(super) fn forget(&mut self, durable: bool) -> Option<Place> {
        let &((pos, index), bytes) = self.kept.front()?;
        let over = self.kept.len() > CHANGES_MAX || self.kept_bytes > CHANGES_BYTES_MAX;
        let beyond = if durable { over } else { pos <= self.recent_after };
        if !beyond && pos != self.gone {
            return None;
        }
        self.kept.pop_front();
        self.kept_bytes -= bytes as usize;
        self.gone = pos;
        Some((pos, index))
    }

    /// How many are kept, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.kept_bytes)
    }

    /// How far back the changes from this position on are.
    pub(crate) fn reach(&self, from: u64) -> Reach {
        if from <= self.gone {
            Reach::Gone
        } else if from <= self.recent_after {
            Reach::Kept
        } else {
            Reach::Recent
        }
    }

    /// The first position that is still known wholly.
    pub(crate) fn first(&self) -> u64 {
        self.gone + 1
    }

    /// The changes in memory from a place on.
    pub(crate) fn recent(&self, from: Place) -> impl Iterator<Item = (Place, &Bytes)> {
        let start = self.recent.partition_point(|(place, _)| *place < from);
        self.recent.range(start..).map(|(place, frames)| (*place, frames))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_so_many_bytes_and_the_oldest_go() {
        let mut changes = Changes::default();
        for pos in 1..=4 {
            changes.restore((pos, 0), (CHANGES_BYTES_MAX / 4) as u32);
        }
        assert_eq!((changes.forget(true), changes.size()), (None, (4, CHANGES_BYTES_MAX)));
        changes.restore((5, 0), 1);
        assert_eq!((changes.forget(true), changes.gone()), (Some((1, 0)), 1));
        assert_eq!((changes.forget(true), changes.first()), (None, 2));
    }
}
