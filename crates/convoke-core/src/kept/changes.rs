//! The changes that are still known, for those who watch every one: the newest in memory, older ones in the foundation.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Place;
use crate::limits::{CHANGES_BYTES_MAX, CHANGES_FORGOTTEN_MAX, CHANGES_MAX, CHANGES_RECENT_BYTES_MAX};

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
pub(crate) struct Changes {
    /// How many bytes are kept at most.
    pub(super) bytes_max: usize,
    /// All that are kept, with the bytes of each.
    kept: VecDeque<(Place, u32)>,
    kept_bytes: usize,
    /// How many were added, and their bytes, since it was last looked what is to be forgotten.
    added: (usize, usize),
    recent: VecDeque<(Place, Bytes)>,
    recent_bytes: usize,
    /// The last position that is not in `recent`.
    recent_after: u64,
    /// The last position of which something is forgotten. Some of what is in memory may be behind it.
    gone: u64,
}

impl Default for Changes {
    fn default() -> Changes {
        Changes {
            bytes_max: CHANGES_BYTES_MAX,
            kept: VecDeque::new(),
            kept_bytes: 0,
            added: (0, 0),
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_after: 0,
            gone: 0,
        }
    }
}

impl Changes {
    pub(super) fn push(&mut self, place: Place, bytes: u32, frames: Bytes) {
        self.kept.push_back((place, bytes));
        self.kept_bytes += bytes as usize;
        self.added = (self.added.0 + 1, self.added.1 + bytes as usize);
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

    /// Forgets the oldest that are beyond the bounds, whole operations. With `durable` older ones than the recent are kept,
    /// and of those that are beyond a bounded number goes at once, but no fewer than were added, and no fewer bytes: where
    /// the bound is lower than it was, each operation brings it closer.
    pub(super) fn forget(&mut self, durable: bool) -> Vec<Place> {
        let (mut places, mut bytes_gone) = (Vec::new(), 0);
        let (added, bytes_added) = std::mem::take(&mut self.added);
        while let Some(&((pos, index), bytes)) = self.kept.front() {
            let over = self.kept.len() > CHANGES_MAX || self.kept_bytes > self.bytes_max;
            let enough = places.len() >= added.max(CHANGES_FORGOTTEN_MAX) && bytes_gone >= bytes_added;
            let goes = if durable { over && !enough } else { pos <= self.recent_after };
            if !goes && pos != self.gone {
                break;
            }
            self.kept.pop_front();
            self.kept_bytes -= bytes as usize;
            bytes_gone += bytes as usize;
            self.gone = pos;
            places.push((pos, index));
        }
        places
    }

    /// How many are kept, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.kept_bytes)
    }

    /// How far back the changes from this position on are.
    pub(crate) fn reach(&self, from: u64) -> Reach {
        // With a low bound what is in memory reaches further back.
        if from > self.recent_after {
            Reach::Recent
        } else if from <= self.gone {
            Reach::Gone
        } else {
            Reach::Kept
        }
    }

    /// The first position that is still known wholly.
    pub(crate) fn first(&self) -> u64 {
        self.gone.min(self.recent_after) + 1
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
        assert_eq!((changes.forget(true), changes.size()), (vec![], (4, CHANGES_BYTES_MAX)));
        changes.restore((5, 0), 1);
        changes.restored();
        assert_eq!((changes.forget(true), changes.gone()), (vec![(1, 0)], 1));
        assert_eq!((changes.forget(true), changes.first()), (vec![], 2));
    }

    #[test]
    fn a_history_that_is_much_too_long_goes_in_steps_and_never_grows() {
        let mut changes = Changes::default();
        let count = 3 * CHANGES_FORGOTTEN_MAX as u64;
        for pos in 1..=count {
            changes.restore((pos, 0), 10);
        }
        changes.restored();
        changes.bytes_max = 1000;
        // Less than a step by number, and more by bytes.
        changes.push((count + 1, 0), 15 * CHANGES_FORGOTTEN_MAX as u32, Bytes::new());
        assert_eq!(changes.forget(true).len(), CHANGES_FORGOTTEN_MAX * 3 / 2);
        changes.push((count + 2, 0), 10, Bytes::new());
        assert_eq!(changes.forget(true).len(), CHANGES_FORGOTTEN_MAX);
        changes.push((count + 3, 0), 10, Bytes::new());
        // The long one, which is all that is beyond the bound now, goes with the rest before it.
        assert_eq!(changes.forget(true).len(), CHANGES_FORGOTTEN_MAX / 2 + 1);
        assert_eq!((changes.size(), changes.gone()), ((2, 20), count + 1));
    }

    /// Who follows closely needs nothing that was forgotten.
    #[test]
    fn what_is_in_memory_is_known_also_when_it_is_not_kept_any_more() {
        let mut changes = Changes { bytes_max: 0, ..Changes::default() };
        changes.restore((1, 0), 10);
        changes.restored();
        changes.push((2, 0), 10, Bytes::from_static(b"two"));
        changes.push((3, 0), 10, Bytes::from_static(b"three"));
        assert_eq!((changes.forget(true).len(), changes.size(), changes.gone()), (3, (0, 0), 3));
        assert_eq!(
            [1, 2, 3, 4].map(|from| changes.reach(from)),
            [Reach::Gone, Reach::Recent, Reach::Recent, Reach::Recent]
        );
        assert_eq!((changes.first(), changes.recent((2, 0)).count()), (2, 2));
    }
}
