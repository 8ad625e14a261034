//! A replica: the state that comes of a journal, with what it takes to undo.
//!
//! Beside the state at the end there are two that lag behind: one by some hundred commands, one as far as can be undone. To
//! undo a command the nearest one before it is copied, and what follows is applied again without it. So an undo of what was
//! done lately costs a copy and some hundred commands, however long the journal is; and without any undo each command is
//! applied three times instead of once, and nothing is ever copied.

use std::collections::VecDeque;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Deed, Entry, UndoList};
use crate::limits::UNDO_UNITS_MAX;
use crate::payload::{Payload, PayloadError};

/// A state that commands change. It is the same wherever the same commands were applied in the same order, so
/// [`apply`](State::apply) must depend on nothing but its arguments: no clock, no chance, no order of a hash map.
pub trait State: Clone + Default + Serialize + DeserializeOwned {
    /// What changes it. Programs that share a journal must agree on it; what an old program does not know it stops at.
    type Command: Serialize + DeserializeOwned;
    /// What a command gives to who executed it; a refusal of the state too.
    type Output;

    /// Applies a command. A command that does not fit is refused by the output, and must not change anything then.
    fn apply(&mut self, command: &Self::Command, at: &Entry) -> Self::Output;
}

/// Why a replica does not go on. It never skips an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// The command cannot be read as one that this program knows.
    Unknown {
        /// Where it stands.
        seq: u64,
        /// What is wrong with it.
        why: PayloadError,
    },
    /// The entry is not the one that follows.
    OutOfOrder {
        /// The one that should follow.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// The same command gave two different states; found in debug builds, where each is applied twice.
    Impure {
        /// Where it stands.
        seq: u64,
    },
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stuck::Unknown { seq, why } => {
                write!(f, "the command at {seq} is none that this program knows ({why}); is it older than the others?")
            }
            Stuck::OutOfOrder { expected, got } => write!(f, "entry {got} came where {expected} was to follow"),
            Stuck::Impure { seq } => write!(
                f,
                "the command at {seq} gave two different states when it was applied twice: `apply` must use nothing but \
                 its arguments, no clock, no chance and no order of a hash map"
            ),
        }
    }
}

impl std::error::Error for Stuck {}

/// What came of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied<O> {
    /// A command was applied, and gave this.
    Done(O),
    /// What began at this place is undone, or done again; so many commands were applied again for that.
    Changed {
        /// The place.
        first: u64,
        /// How many commands.
        again: usize,
    },
    /// The author, a node, has become a member of the journal, or is one no more. The state is as it was.
    Presence {
        /// It has become one.
        joined: bool,
    },
}

/// A command that may have to be applied again.
struct Known<C> {
    entry: Entry,
    first: u64,
    /// It counts as done.
    done: bool,
    command: C,
}

/// A state as it was behind an entry, with all that was undone since left out.
#[derive(Clone)]
struct Behind<S> {
    seq: u64,
    state: S,
}

/// The state of a journal at its last entry.
pub struct Replica<S: State> {
    state: S,
    seq: u64,
    undo: UndoList,
    /// The commands behind `base`.
    known: VecDeque<Known<S::Command>>,
    /// Before everything that can be undone.
    base: Behind<S>,
    /// Some hundred commands behind the end.
    near: Behind<S>,
}

/// How many commands `near` is behind the end, at least; at most twice as many. An undo applies so many again.
const NEAR: usize = 256;

impl<S: State> Default for Replica<S> {
    fn default() -> Replica<S> {
        Replica::new()
    }
}

impl<S: State> Replica<S> {
    /// Of a journal that is empty.
    pub fn new() -> Replica<S> {
        Replica::at(0, S::default(), UndoList::new(UNDO_UNITS_MAX))
    }

    /// From a snapshot: the state behind the entry at this place, and what can be undone there.
    pub fn at(seq: u64, state: S, undo: UndoList) -> Replica<S> {
        let behind = Behind { seq, state: state.clone() };
        Replica { state, seq, undo, known: VecDeque::new(), base: behind.clone(), near: behind }
    }

    /// The state.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The place of the last entry that was applied; zero for none.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// What is undone and what can be.
    pub fn undo_list(&self) -> &UndoList {
        &self.undo
    }

    /// Applies the next entry, with its command if it has one.
    ///
    /// Costs what three applications of the command cost; an undo or redo a copy of the state and some hundred commands, or
    /// if it reaches back further, two copies and all the commands that can be undone.
    ///
    /// # Errors
    ///
    /// It cannot be applied; nothing has changed. The replica is of no use any more, unless the right entry comes.
    pub fn apply(&mut self, entry: &Entry, command: Option<&Payload>) -> Result<Applied<S::Output>, Stuck> {
        if entry.seq != self.seq + 1 {
            return Err(Stuck::OutOfOrder { expected: self.seq + 1, got: entry.seq });
        }
        let applied = match entry.deed {
            Deed::Do { first } => {
                let payload = command.cloned().unwrap_or_default();
                let command: S::Command = payload.decode().map_err(|why| Stuck::Unknown { seq: entry.seq, why })?;
                let output = self.apply_one(&command, entry)?;
                self.undo.apply(entry.seq, &entry.author, entry.deed);
                self.known.push_back(Known { entry: entry.clone(), first, done: true, command });
                self.seq = entry.seq;
                self.follow();
                Applied::Done(output)
            }
            Deed::Undo(first) | Deed::Redo(first) => {
                self.undo.apply(entry.seq, &entry.author, entry.deed);
                self.seq = entry.seq;
                Applied::Changed { first, again: self.go_back_to(first) }
            }
            Deed::Join | Deed::Leave => {
                self.seq = entry.seq;
                Applied::Presence { joined: entry.deed == Deed::Join }
            }
        };
        Ok(applied)
    }

    fn apply_one(&mut self, command: &S::Command, entry: &Entry) -> Result<S::Output, Stuck> {
        if cfg!(debug_assertions) {
            let mut other = self.state.clone();
            other.apply(command, entry);
            let mut this = self.state.clone();
            let output = this.apply(command, entry);
            if encoded(&this) != encoded(&other) {
                return Err(Stuck::Impure { seq: entry.seq });
            }
            self.state = this;
            return Ok(output);
        }
        Ok(self.state.apply(command, entry))
    }

    /// Something at this place or in its group counts as done now, or does not any more: what follows is applied again.
    fn go_back_to(&mut self, first: u64) -> usize {
        let group = self.known.partition_point(|known| known.entry.seq < first);
        let done = self.undo.is_done(first);
        for known in self.known.range_mut(group..).take_while(|known| known.first <= first || known.entry.seq == first)
        {
            if known.first == first {
                known.done = done.unwrap_or(known.done);
            }
        }
        if first <= self.base.seq {
            // Beyond the horizon, which no entry of a hub is.
            return 0;
        }
        let anew = first <= self.near.seq;
        let Behind { seq: from, state } = if anew { &self.base } else { &self.near };
        self.state = state.clone();
        let start = self.known.partition_point(|known| known.entry.seq <= *from);
        let mut again = 0;
        for known in self.known.range(start..) {
            if known.done {
                self.state.apply(&known.command, &known.entry);
                again += 1;
            }
            if anew && known.entry.seq == self.near.seq {
                self.near.state = self.state.clone();
            }
        }
        again
    }

    /// Lets the states that lag behind come as near as they may.
    fn follow(&mut self) {
        let horizon = self.undo.horizon();
        while let Some(known) = self.known.pop_front_if(|known| known.entry.seq < horizon) {
            if known.done {
                self.base.state.apply(&known.command, &known.entry);
            }
            self.base.seq = known.entry.seq;
        }
        if self.near.seq < self.base.seq {
            self.near = self.base.clone();
        }
        let start = self.known.partition_point(|known| known.entry.seq <= self.near.seq);
        if self.known.len() - start > 2 * NEAR {
            let end = self.known.len() - NEAR;
            for known in self.known.range(start..end) {
                if known.done {
                    self.near.state.apply(&known.command, &known.entry);
                }
                self.near.seq = known.entry.seq;
            }
        }
    }
}

impl<S: State> fmt::Debug for Replica<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica at {}", self.seq)
    }
}

/// The state as bytes, which are the same for the same state.
fn encoded<S: Serialize>(state: &S) -> Vec<u8> {
    rmp_serde::to_vec(state).unwrap_or_default()
}

#[cfg(test)]
mod tests;
