//! Two states that lag behind the one at the end: one by some hundred commands, one as far as can be undone.
//!
//! To undo a command the nearest one before it is copied, and what follows is applied again without it. So an undo of what was
//! done lately costs a copy and some hundred commands, however long the journal is; and without any undo each command is
//! applied three times instead of once, and nothing is ever copied.

use std::collections::VecDeque;

use super::{Known, State};
use crate::bug::{Bug, planted};

/// A state as it was behind an entry, with all that was undone since left out.
#[derive(Clone)]
struct Behind<S> {
    seq: u64,
    state: S,
}

/// The states that lag behind.
pub(super) struct Lagging<S> {
    /// Before everything that can be undone.
    base: Behind<S>,
    /// Some hundred commands behind the end.
    near: Behind<S>,
    /// How many, at least.
    near_behind: usize,
}

/// How many commands `near` is behind the end, at least; at most twice as many. An undo applies so many again.
pub(super) const NEAR: usize = 256;

impl<S: State> Lagging<S> {
    pub(super) fn new(seq: u64, state: &S) -> Lagging<S> {
        let behind = Behind { seq, state: state.clone() };
        Lagging { base: behind.clone(), near: behind, near_behind: NEAR }
    }

    /// Up to where everything is as it stays.
    pub(super) fn base_seq(&self) -> u64 {
        self.base.seq
    }

    /// The state there.
    pub(super) fn base_state(&self) -> &S {
        &self.base.state
    }

    /// With another distance.
    #[cfg(feature = "sim")]
    pub(super) fn behind(mut self, near_behind: usize) -> Lagging<S> {
        self.near_behind = near_behind;
        self
    }

    /// Makes the state anew, now that the unit that begins at `first` is done or not done any more. Gives how many commands
    /// that took.
    pub(super) fn state_without(&mut self, first: u64, known: &VecDeque<Known<S::Command>>, state: &mut S) -> usize {
        if first <= self.base.seq {
            // Beyond the horizon, which no entry of a hub is.
            return 0;
        }
        let anew = first <= self.near.seq && !planted(Bug::ReplicaTooNear);
        let from = if anew { &self.base } else { &self.near };
        state.clone_from(&from.state);
        let start = known.partition_point(|known| known.entry.seq <= from.seq);
        let mut again = 0;
        for known in known.range(start..) {
            if known.done {
                known.apply_again(state);
                again += 1;
            }
            if anew && known.entry.seq == self.near.seq {
                self.near.state.clone_from(state);
            }
        }
        again
    }

    /// This command, which is the first, is not known any more.
    pub(super) fn pass(&mut self, known: &Known<S::Command>) {
        if known.done {
            known.apply_again(&mut self.base.state);
        }
        self.base.seq = known.entry.seq;
    }

    /// Comes as near as it may.
    pub(super) fn follow(&mut self, known: &VecDeque<Known<S::Command>>) {
        if self.near.seq < self.base.seq {
            self.near = self.base.clone();
        }
        let start = known.partition_point(|known| known.entry.seq <= self.near.seq);
        if known.len() - start > 2 * self.near_behind {
            for known in known.range(start..known.len() - self.near_behind) {
                if known.done {
                    known.apply_again(&mut self.near.state);
                }
                self.near.seq = known.entry.seq;
            }
        }
    }
}
