//! A replica: the state that comes of a journal, with what it takes to undo.
//!
//! Where a journal undoes by replaying, there are two states beside the one at the end that lag behind ([`lagging`]). Where it
//! compensates, there is only the one, and the inverse of each command that can be undone.

mod lagging;
mod snapshot;

use std::any::type_name;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Deed, Entry, Strategy, Touches, UndoList};
use crate::bug::{Bug, planted};
use crate::limits::UNDO_UNITS_MAX;
use crate::payload::{Payload, PayloadError};
use lagging::Lagging;

/// A state that commands change. It is the same wherever the same commands were applied in the same order, so
/// [`apply`](State::apply) must depend on nothing but its arguments: no clock, no chance, no order of a hash map. Debug builds
/// try that out: they apply commands twice, every one as long as the state is small, and compare the states.
///
/// A program that follows holds it three times, whatever its length, since two states lag behind the one at the end for the
/// sake of undo; with [`Strategy::Compensate`] once. An undo of what was done lately costs a copy of it, beside some hundred
/// commands: so a state that is large is best made of what is copied quickly, such as maps that share what is the same. What
/// can be undone is held too: 100,000 commands and groups at most, of 64 MiB together as they are encoded.
pub trait State: Clone + Default + Serialize + DeserializeOwned {
    /// What changes it. Programs that share a journal must agree on it; what an old program does not know it stops at.
    type Command: Serialize + DeserializeOwned;
    /// What a command gives to who executed it; a refusal of the state too.
    type Output;

    /// How journals of such states undo. All programs of a journal must agree on it; it is fixed by the first entry.
    const STRATEGY: Strategy = Strategy::Replay;

    /// Reads a command. By default as `execute` has written it; a replica that meets a command for which this is an error
    /// stops there, and everybody who may append can append such a one. A state that would rather go on gives a command of
    /// its own for what it cannot read, which `apply` may ignore. It may depend on nothing but the payload, and all programs
    /// of a journal must agree on it.
    ///
    /// # Errors
    ///
    /// It is no command.
    fn decode(payload: &Payload) -> Result<Self::Command, PayloadError> {
        payload.decode()
    }

    /// Applies a command. A command that does not fit is refused by the output, and must not change anything then.
    ///
    /// With [`Strategy::Compensate`] `at` may be an undo or redo, where an inverse is applied, or a command again; its author
    /// is who undoes.
    fn apply(&mut self, command: &Self::Command, at: &Entry) -> Self::Output;

    /// A node has become a member of the journal, or is one no more: the author of the entry. Told of those nodes only that
    /// want it said. It comes in its place among the commands, must depend on nothing else either, and cannot be undone.
    fn presence(&mut self, _joined: bool, _at: &Entry) {}

    /// What a command touches, for [`Strategy::Refuse`]: whether it can be undone though others have gone on. It may depend on
    /// nothing but the command. By default everything.
    fn touches(_command: &Self::Command) -> Touches {
        Touches::everything()
    }

    /// The command that takes this one back, for [`Strategy::Compensate`]; asked of the state before the command is applied.
    ///
    /// `None` for one that cannot be taken back: it has no inverse, or the state is about to refuse it, so that nothing would
    /// be there to be undone. A program whose own state says so when it executes a command sends it as one that is never
    /// undone: undo passes it by. Should the state only say so when the command's turn comes, an undo of it changes nothing,
    /// in no replica, and is refused to who asked for it.
    fn inverse(&self, _command: &Self::Command, _at: &Entry) -> Option<Self::Command> {
        None
    }
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
    /// The same command gave two different states, or two different inverses; found in debug builds, where each is applied
    /// twice.
    Impure {
        /// Where it stands.
        seq: u64,
        /// The type of the state.
        state: &'static str,
        /// Which of its functions.
        function: &'static str,
    },
}

impl Stuck {
    /// The entry that cannot be applied.
    pub fn seq(&self) -> u64 {
        match self {
            Stuck::Unknown { seq, .. } | Stuck::Impure { seq, .. } | Stuck::OutOfOrder { expected: seq, .. } => *seq,
        }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stuck::Unknown { seq, why } => write!(
                f,
                "the command at {seq} is none that this program knows ({why}); if it is older than the others, update it and \
                 start it again: it leaves nothing out"
            ),
            Stuck::OutOfOrder { expected, got } => write!(f, "entry {got} came where {expected} was to follow"),
            Stuck::Impure { seq, state, function } => write!(
                f,
                "the command at {seq} gave two different results when `{function}` of `{state}` was called twice: it must use \
                 nothing but its arguments, no clock, no chance and no order of a hash map"
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
    /// The author, a node, has become a member of the journal, or is one no more.
    Presence {
        /// It has become one.
        joined: bool,
    },
    /// What began at this place is undone or done again, and these are the outputs of the inverses, in the order in which they
    /// were applied, or of the commands that were applied once more.
    Compensated {
        /// The place.
        first: u64,
        /// The outputs.
        outputs: Vec<O>,
    },
    /// What began at this place has no inverse: nothing has changed, here as in all replicas.
    NoInverse {
        /// The place.
        first: u64,
    },
}

/// A command that may have to be applied again, or undone.
struct Known<C> {
    entry: Entry,
    /// Where its unit begins; zero if it is never undone.
    first: u64,
    /// It counts as done.
    done: bool,
    /// `None` where somebody comes or goes, which is a unit that is never undone.
    command: Option<C>,
    /// What takes it back, where that is how it is undone.
    inverse: Option<C>,
}

/// The state of a journal at its last entry.
pub struct Replica<S: State> {
    end: End<S>,
    seq: u64,
    undo: UndoList,
    /// The commands that can be undone, and those behind them.
    known: VecDeque<Known<S::Command>>,
    /// `None` where nothing is ever applied again in the past.
    lagging: Option<Lagging<S>>,
}

/// The state at the end.
struct End<S> {
    state: S,
    trial: Trial,
}

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
        let lagging = (S::STRATEGY != Strategy::Compensate).then(|| Lagging::new(seq, &state));
        Replica { end: End { state, trial: Trial::default() }, seq, undo, known: VecDeque::new(), lagging }
    }

    /// With another distance of the states that lag behind, for journals that are short.
    #[cfg(feature = "sim")]
    pub(crate) fn lagging(mut self, near_behind: usize) -> Replica<S> {
        self.lagging = self.lagging.map(|lagging| lagging.behind(near_behind));
        self
    }

    /// The state.
    pub fn state(&self) -> &S {
        &self.end.state
    }

    /// The same, when nothing else of the replica is wanted any more.
    pub fn into_state(self) -> S {
        self.end.state
    }

    /// The place of the last entry that was applied; zero for none.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// What is undone and what can be.
    pub fn undo_list(&self) -> &UndoList {
        &self.undo
    }

    /// The commands that the last entry has applied at the end of the journal, in their order, of which [`Applied`] has the
    /// outputs: its own, or where it compensates the inverses, or what it has done again. None where it has changed the past.
    pub fn commands_of(&self, entry: &Entry, applied: &Applied<S::Output>) -> Vec<&S::Command> {
        match (applied, entry.deed) {
            (Applied::Done(_), _) => self.known.back().and_then(|known| known.command.as_ref()).into_iter().collect(),
            (Applied::Compensated { first, .. }, Deed::Undo(_)) => {
                self.known.range(self.unit(*first)).rev().filter_map(|known| known.inverse.as_ref()).collect()
            }
            (Applied::Compensated { first, .. }, _) => {
                self.known.range(self.unit(*first)).filter_map(|known| known.command.as_ref()).collect()
            }
            (Applied::Changed { .. } | Applied::NoInverse { .. } | Applied::Presence { .. }, _) => Vec::new(),
        }
    }

    /// Applies the next entry, with its command if it has one.
    ///
    /// Costs what three applications of the command cost; an undo or redo a copy of the state and some hundred commands, or
    /// if it reaches back further, two copies and all the commands that can be undone. With [`Strategy::Compensate`] each
    /// costs one application of the command and the computation of its inverse, and nothing is ever copied.
    ///
    /// # Errors
    ///
    /// It cannot be applied. The replica is of no use any more, unless it was [`Stuck::OutOfOrder`] and the right one comes.
    pub fn apply(&mut self, entry: &Entry, command: Option<&Payload>) -> Result<Applied<S::Output>, Stuck> {
        if entry.seq != self.seq + 1 {
            return Err(Stuck::OutOfOrder { expected: self.seq + 1, got: entry.seq });
        }
        let applied = match entry.deed {
            Deed::Do { first } => {
                let payload = command.cloned().unwrap_or_default();
                let bytes = payload.bytes.len();
                let command = S::decode(&payload).map_err(|why| Stuck::Unknown { seq: entry.seq, why })?;
                let inverse = match self.lagging.is_none() && first != 0 {
                    true => self.end.inverse(&command, entry)?,
                    false => None,
                };
                let output = self.end.apply(&command, entry)?;
                self.undo.apply(entry.seq, &entry.author, entry.deed);
                self.undo.grow(first, bytes);
                if self.known.back().is_some_and(|last| last.first == 0) {
                    // It was there for who asks for the commands of the last entry.
                    self.known.pop_back();
                }
                let command = Some(command);
                self.known.push_back(Known { entry: entry.clone(), first, done: true, command, inverse });
                self.seq = entry.seq;
                self.forget();
                Applied::Done(output)
            }
            Deed::Undo(first) | Deed::Redo(first) => {
                let before = self.undo.is_done(first);
                self.undo.apply(entry.seq, &entry.author, entry.deed);
                self.seq = entry.seq;
                let done = self.undo.is_done(first);
                if self.lagging.is_some() {
                    Applied::Changed { first, again: self.go_back_to(first, done) }
                } else if let Some(done) = done
                    && before == Some(!done)
                {
                    self.compensate(first, done, entry)?
                } else {
                    Applied::NoInverse { first }
                }
            }
            Deed::Join | Deed::Leave => {
                self.seq = entry.seq;
                let joined = entry.deed == Deed::Join;
                self.end.state.presence(joined, entry);
                self.undo.apply(entry.seq, &entry.author, entry.deed);
                if self.lagging.is_some() {
                    let (entry, first) = (entry.clone(), entry.seq);
                    self.known.push_back(Known { entry, first, done: true, command: None, inverse: None });
                    self.forget();
                }
                Applied::Presence { joined }
            }
        };
        Ok(applied)
    }

    /// Which of the known commands belong to the unit that begins at this place.
    fn unit(&self, first: u64) -> Range<usize> {
        let start = self.known.partition_point(|known| known.entry.seq < first);
        let len = self.known.range(start..).take_while(|known| known.first == first).count();
        start..start + len
    }

    /// The unit that begins at this place is done now, or not any more: what follows is applied again.
    fn go_back_to(&mut self, first: u64, done: Option<bool>) -> usize {
        let unit = self.unit(first);
        for known in self.known.range_mut(unit) {
            if known.entry.seq == first || !planted(Bug::GroupUndoneInPart) {
                known.done = done.unwrap_or(known.done);
            }
        }
        match &mut self.lagging {
            Some(lagging) => lagging.state_without(first, &self.known, &mut self.end.state),
            None => 0,
        }
    }

    /// Does the commands of the unit that begins at this place again, or applies their inverses. Nothing of it if one has none.
    fn compensate(&mut self, first: u64, do_again: bool, entry: &Entry) -> Result<Applied<S::Output>, Stuck> {
        let unit = self.unit(first);
        // Those of a unit whose undo has changed nothing still count as done here, so that its redo changes nothing either.
        let goes = match do_again {
            true => self.known.range(unit.clone()).all(|known| !known.done),
            false => self.known.range(unit.clone()).all(|known| known.inverse.is_some()),
        };
        if unit.is_empty() || !goes {
            return Ok(Applied::NoInverse { first });
        }
        let mut outputs = Vec::with_capacity(unit.len());
        if do_again {
            for known in self.known.range_mut(unit) {
                let command = known.command.as_ref().expect("a unit that was undone has commands");
                known.inverse = self.end.inverse(command, entry)?;
                known.done = true;
                outputs.push(self.end.apply(command, entry)?);
            }
        } else {
            for step in 0..unit.len() {
                let place = if planted(Bug::InversesInOrder) { unit.start + step } else { unit.end - 1 - step };
                let known = &mut self.known[place];
                let inverse = known.inverse.as_ref().expect("all of the unit have one");
                outputs.push(self.end.apply(inverse, entry)?);
                known.done = false;
            }
        }
        Ok(Applied::Compensated { first, outputs })
    }

    /// Lets go of what cannot be undone any more.
    fn forget(&mut self) {
        let horizon = self.undo.horizon();
        // Nothing before it can be undone, so who has come or gone before all commands need not be known.
        while let Some(known) = self.known.pop_front_if(|known| known.entry.seq < horizon || known.command.is_none()) {
            if let Some(lagging) = &mut self.lagging {
                lagging.pass(&known);
            }
        }
        if let Some(lagging) = &mut self.lagging {
            lagging.follow(&self.known);
        }
    }
}

impl<C> Known<C> {
    /// Does it once more, as it was done first.
    fn apply_again<S: State<Command = C>>(&self, state: &mut S) {
        match &self.command {
            Some(command) => drop(state.apply(command, &self.entry)),
            None => state.presence(self.entry.deed == Deed::Join, &self.entry),
        }
    }
}

impl<S: State> End<S> {
    fn apply(&mut self, command: &S::Command, entry: &Entry) -> Result<S::Output, Stuck> {
        if cfg!(debug_assertions) && self.trial.is_due() {
            let mut other = self.state.clone();
            other.apply(command, entry);
            let mut this = self.state.clone();
            let output = this.apply(command, entry);
            let bytes = encoded(&this);
            if bytes != encoded(&other) {
                return Err(impure::<S>(entry, "apply"));
            }
            self.trial.done(bytes.len());
            self.state = this;
            return Ok(output);
        }
        Ok(self.state.apply(command, entry))
    }

    fn inverse(&self, command: &S::Command, entry: &Entry) -> Result<Option<S::Command>, Stuck> {
        let inverse = self.state.inverse(command, entry);
        if cfg!(debug_assertions) && encoded(&inverse) != encoded(&self.state.inverse(command, entry)) {
            return Err(impure::<S>(entry, "inverse"));
        }
        Ok(inverse)
    }
}

fn impure<S>(entry: &Entry, function: &'static str) -> Stuck {
    Stuck::Impure { seq: entry.seq, state: type_name::<S>(), function }
}

impl<S: State> fmt::Debug for Replica<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica at {}", self.seq)
    }
}

/// When a command is tried out by applying it twice: always as long as the state is small, and then so seldom that a journal
/// of any length can be followed in a debug build.
#[derive(Default)]
struct Trial {
    /// What the last one has cost: the length of the state, in bytes.
    cost: usize,
    saved: usize,
}

/// What each command adds to what a trial may cost, in bytes: a state of this length is tried with every command.
const TRIAL_BYTES: usize = 4096;

impl Trial {
    fn is_due(&mut self) -> bool {
        self.saved += TRIAL_BYTES;
        self.saved >= self.cost
    }

    fn done(&mut self, cost: usize) {
        (self.cost, self.saved) = (cost, 0);
    }
}

/// The state as bytes, which are the same for the same state.
fn encoded<S: Serialize>(state: &S) -> Vec<u8> {
    rmp_serde::to_vec(state).unwrap_or_default()
}

#[cfg(test)]
mod tests;
