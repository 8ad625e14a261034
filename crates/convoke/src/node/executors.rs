//! Executors: functions beside a state, called with each entry after it was applied, for effects on the world.

use std::fmt;
use std::sync::Arc;

use convoke_core::journal::{Applied, Entry, Replica, State};
use convoke_core::{Code, Payload, Refusal, Standing};
use tokio::sync::watch as watched;

use super::journals::Told;
use super::replica::Task;
use super::{Entries, ExecutorId, Follower, Missed, Position, Positions};
use crate::error::{Error, Failure};
use crate::files::advised;

/// What an executor is called with: an entry, what it did to the state, and the state behind it.
pub struct Effect<'a, S: State> {
    /// The entry: its place, by which one that comes again after a crash is known; its author; what it says.
    pub entry: &'a Entry,
    /// The commands that it has applied, with their outputs, in order: its own; with
    /// [`Strategy::Compensate`](crate::Strategy::Compensate) those that took something back, or that were done again. Nothing
    /// where it has changed the past instead; then the state is all that there is to be shown.
    pub done: Vec<(&'a S::Command, &'a S::Output)>,
    /// The state behind the entry, whatever has come since.
    pub state: &'a S,
}

/// An executor that has stopped. It is never called with a later entry before it has handled this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Its name.
    pub executor: String,
    /// The entry at which it stopped.
    pub seq: u64,
    /// What it said, or why its position could not be kept.
    pub why: Failure,
}

/// How far executors have come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The last entry that they were called with.
    pub seq: u64,
    /// How many entries are left that the follower has applied.
    pub left: u64,
    /// Those that have failed, in the order in which they were added.
    pub stopped: Vec<Stopped>,
    /// Why nothing more comes, for none of them.
    pub ended: Option<Missed>,
}

type Call<S> = Box<dyn FnMut(&Effect<'_, S>) -> Result<(), Failure> + Send>;

struct Executor<S: State> {
    id: ExecutorId,
    call: Call<S>,
    position: Position,
    stopped: Option<Stopped>,
}

/// Executors of one follower, which are called for each entry in the order in which they were added. They are called on the
/// thread that calls [`poll`](Executors::poll), such as a window's; or on one of the library's, once they
/// [`run`](Executors::run).
///
/// An executor gets every entry behind its position, in order, and after a crash some of them again: those that it had handled
/// and whose position was not kept. `entry.seq` says which. One that fails stops there; the others go on.
///
/// They follow the journal on their own, with a state of their own, so that each entry is shown with the state behind it
/// however late they are; that costs what the follower costs once more. What they have not come to waits at the hub.
pub struct Executors<S: State> {
    follower: Follower<S>,
    positions: Box<dyn Positions>,
    executors: Vec<Executor<S>>,
    /// None before somebody asks for what is due.
    entries: Option<Entries>,
    replica: Replica<S>,
    /// An entry that the follower has not applied yet.
    ahead: Option<(Entry, Option<Payload>)>,
    ended: Option<Missed>,
    /// Why the journal's snapshot cannot be begun with.
    unreadable: Option<String>,
}

impl<S> Follower<S>
where
    S: State + Send + 'static,
    S::Command: Send,
    S::Output: Send,
{
    /// Begins with executors, of which there are none yet, and whose positions are kept there.
    ///
    /// # Errors
    ///
    /// [`Error::Offline`] if the node has left. What goes wrong later is told by [`Progress::ended`].
    pub fn executors(&self, positions: impl Positions) -> Result<Executors<S>, Error> {
        if let Standing::Ended(why) = self.node().standing() {
            return Err(Error::Offline(why));
        }
        Ok(Executors {
            follower: self.clone(),
            positions: Box::new(positions),
            executors: Vec::new(),
            entries: None,
            replica: Replica::new(),
            ahead: None,
            ended: None,
            unreadable: None,
        })
    }
}

impl<S> Executors<S>
where
    S: State + Send + 'static,
    S::Command: Send,
    S::Output: Send,
{
    /// Adds an executor: a function that is called with each entry behind the position that was kept under its name, or, if
    /// there is none, behind `begin`: [`Follower::seq`] for what comes from now on, zero for all that ever was.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: its position cannot be read or kept. [`Error::Refused`] with [`Code::Diverged`]: the journal ends before
    /// its position, and so is another one. [`Error::InUse`]: one of this name was added already.
    pub fn executor(
        &mut self,
        name: impl Into<String>,
        begin: u64,
        call: impl FnMut(&Effect<'_, S>) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Error> {
        let (journal, node) = (self.follower.journal().clone(), self.follower.node().name());
        let id = ExecutorId { journal, node, executor: name.into() };
        if self.executors.iter().any(|other| other.id == id) {
            return Err(Error::InUse(Refusal::new(Code::BadRequest, format!("{id} was added already"))));
        }
        let kept = self.positions.load(&id).map_err(|error| Error::io(format!("position of {id}"), advised(error)))?;
        let position = kept.unwrap_or(Position { seq: begin, hash: [0; 16] });
        let last = self.follower.seq();
        if position.seq > last {
            let text = format!(
                "{id} has come to entry {}, and the journal has {last} entries: it is another one; find out what is still \
                 to be done, and forget the position",
                position.seq
            );
            return Err(Error::Refused(Refusal::new(Code::Diverged, text)));
        }
        if kept.is_none() {
            self.positions
                .keep(&id, position)
                .map_err(|error| Error::io(format!("position of {id}"), advised(error)))?;
        }
        // What was asked for may begin with a snapshot that has yet to come.
        let is_behind = position.seq < self.replica.seq().max(self.from());
        if is_behind || matches!(self.ended, Some(Missed::Compacted { .. })) {
            self.rewind();
        }
        self.executors.push(Executor { id, call: Box::new(call), position, stopped: None });
        Ok(())
    }

    /// Calls the executors with what is due, with so many entries at most, and tells how much is left. Does not wait: for the
    /// loop of a window, or whatever calls often. Costs what the executors cost, and what it takes to apply the entries; at
    /// first these are all that there are, or all behind the journal's snapshot, with which no executor is called that has
    /// handled them.
    ///
    /// If an executor panics, so does this; called again, it has stopped at that entry.
    pub fn poll(&mut self, entries_max: usize) -> Progress {
        let last = self.follower.seq();
        for _ in 0..entries_max {
            if self.ended.is_some() || self.replica.seq() >= last {
                break;
            }
            let next = match self.ahead.take() {
                Some((entry, command)) => Some(Ok(Told::Entry(entry, command))),
                None => self.entries().and_then(Entries::try_next_told),
            };
            match next {
                None => break,
                Some(Ok(Told::Entry(entry, command))) => self.pass(&entry, command.as_ref()),
                Some(other) => self.jump(other),
            }
        }
        self.progress()
    }

    /// How far they have come.
    pub fn progress(&self) -> Progress {
        let (seq, last) = (self.replica.seq(), self.follower.seq());
        // What the follower cannot apply they will never be called with.
        let ended = self.ended.clone().or_else(|| if seq >= last { self.follower.ended() } else { None });
        Progress {
            seq,
            left: last.saturating_sub(seq),
            stopped: self.executors.iter().filter_map(|executor| executor.stopped.clone()).collect(),
            ended,
        }
    }

    /// Waits until there is something to do for [`poll`](Executors::poll), or nothing will ever come.
    ///
    /// Cancel safe.
    pub async fn due(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if self.ahead.is_none() {
            let Some(entries) = self.entries() else { return };
            match entries.next_told().await {
                Some(Ok(Told::Entry(entry, command))) => self.ahead = Some((entry, command)),
                // With what follows there is something to do.
                Some(other) => return self.jump(other),
                None => {}
            }
        }
        if let Some((entry, _)) = &self.ahead {
            // If it never is applied, `progress` tells why.
            let _ = self.follower.changed(entry.seq - 1).await;
        }
    }

    /// Lets those that have stopped try again, from the entry at which they did. All that there is is read once more for that.
    ///
    /// # Errors
    ///
    /// As [`executors`](Follower::executors).
    pub fn retry(&mut self) -> Result<(), Error> {
        for executor in &mut self.executors {
            executor.stopped = None;
        }
        self.rewind();
        Ok(())
    }

    /// Calls them from now on as entries come, on a thread of the library's on which they may wait; until what this gives is
    /// dropped.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn run(self) -> Running {
        let (sender, progress) = watched::channel(self.progress());
        let task = tokio::spawn(run(self, sender));
        Running { progress, _task: Arc::new(Task(task.abort_handle())) }
    }

    /// What is read, is read once more.
    fn rewind(&mut self) {
        (self.entries, self.replica, self.ahead, self.ended) = (None, Replica::new(), None, None);
    }

    /// The entries, from as far back as somebody needs them.
    fn entries(&mut self) -> Option<&mut Entries> {
        if self.entries.is_none() && self.ended.is_none() {
            let from = if self.unreadable.is_some() { 0 } else { self.from() };
            match self.follower.entries_again(from) {
                Ok(entries) => self.entries = Some(entries),
                Err(error) => self.ended = Some(Missed::Ended(Refusal::new(error.code(), error.to_string()))),
            }
        }
        self.entries.as_mut()
    }

    /// The position of the one that is farthest behind.
    fn from(&self) -> u64 {
        let positions = self.executors.iter().filter(|executor| executor.stopped.is_none());
        positions.map(|executor| executor.position.seq).min().unwrap_or(u64::MAX)
    }

    /// Something came that is no entry.
    fn jump(&mut self, told: Result<Told, Missed>) {
        match told {
            Ok(Told::Entry(..)) => unreachable!("it is passed"),
            Ok(Told::Base { seq, state }) => match Replica::from_snapshot(seq, state) {
                Ok(replica) => {
                    self.replica = replica;
                    let hash = self.entries.as_ref().map_or([0; 16], |entries| entries.taken().1);
                    for executor in &mut self.executors {
                        executor.compare(seq, hash);
                    }
                }
                Err(why) => {
                    // Then every entry is read, if they are all there.
                    self.rewind();
                    self.unreadable = Some(why.to_string());
                }
            },
            Err(Missed::Compacted { first }) => match &self.unreadable {
                Some(why) => {
                    let why = format!("the snapshot of the journal is none of this program's state: {why}");
                    self.ended = Some(Missed::Stuck { seq: first, why });
                }
                None => self.compacted(first),
            },
            Err(missed) => self.ended = Some(missed),
        }
    }

    /// The state behind what comes next for those that are farthest behind cannot be computed any more. The others go on.
    fn compacted(&mut self, first: u64) {
        let from = self.from();
        for executor in self.executors.iter_mut().filter(|one| one.stopped.is_none() && one.position.seq == from) {
            let text = format!(
                "{} has come to entry {from}, and of what came before entry {first} only a snapshot is kept, of a later state: find \
                 out what is still to be done, and forget the position",
                executor.id
            );
            executor.stop(from + 1, Failure::new(Code::Compacted.word(), text));
        }
        if self.executors.iter().all(|executor| executor.stopped.is_some()) {
            // Nobody needs what comes.
            self.ended = Some(Missed::Compacted { first });
            return;
        }
        self.rewind();
    }

    /// Applies the next entry, and calls all that have not handled it.
    fn pass(&mut self, entry: &Entry, command: Option<&Payload>) {
        let Executors { replica, executors, positions, entries, .. } = self;
        let applied = match replica.apply(entry, command) {
            Ok(applied) => applied,
            Err(stuck) => {
                self.ended = Some(Missed::Stuck { seq: stuck.seq(), why: stuck.to_string() });
                return;
            }
        };
        let outputs = match &applied {
            Applied::Done(output) => std::slice::from_ref(output),
            Applied::Compensated { outputs, .. } => outputs,
            _ => &[],
        };
        let done = replica.commands_of(entry, &applied).into_iter().zip(outputs).collect();
        let effect = Effect { entry, done, state: replica.state() };
        let hash = entries.as_ref().map_or([0; 16], |entries| entries.taken().1);
        for executor in executors {
            executor.pass(&effect, hash, positions.as_mut());
        }
    }
}

impl<S: State> Executor<S> {
    fn pass(&mut self, effect: &Effect<'_, S>, hash: [u8; 16], positions: &mut dyn Positions) {
        let seq = effect.entry.seq;
        if self.stopped.is_some() || seq < self.position.seq {
            return;
        }
        if seq == self.position.seq {
            return self.compare(seq, hash);
        }
        // So that it is never left out, should it panic.
        self.stop(seq, Failure::new("Panicked", format!("{} panicked at entry {seq}", self.id)));
        let kept = (self.call)(effect).and_then(|()| {
            let position = Position { seq, hash };
            positions.keep(&self.id, position).map_err(|error| {
                Failure::new(
                    "Io",
                    format!("position {seq} of {} cannot be kept, though it was handled: {error}", self.id),
                )
            })?;
            Ok(position)
        });
        match kept {
            Ok(position) => (self.position, self.stopped) = (position, None),
            Err(why) => self.stop(seq, why),
        }
    }

    fn stop(&mut self, seq: u64, why: Failure) {
        self.stopped = Some(Stopped { executor: self.id.executor.clone(), seq, why });
    }

    /// Compares the last entry that it has handled with the one that is there.
    fn compare(&mut self, seq: u64, hash: [u8; 16]) {
        let Position { seq: handled, hash: expected } = self.position;
        if self.stopped.is_some() || seq != handled || expected == [0; 16] || expected == hash {
            return;
        }
        let text = format!(
            "the journal is another one than that in which {} has handled entry {seq}; find out what is still to be done, and \
             forget the position",
            self.id
        );
        self.stop(seq, Failure::new("Diverged", text));
    }
}

impl<S: State> fmt::Debug for Executors<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.executors.iter().map(|executor| &executor.id.executor).collect();
        f.debug_struct("Executors").field("executors", &names).field("seq", &self.replica.seq()).finish_non_exhaustive()
    }
}

/// Executors that are called as entries come. Dropping the last handle ends that, behind what is being executed.
#[derive(Clone, Debug)]
pub struct Running {
    progress: watched::Receiver<Progress>,
    _task: Arc<Task>,
}

impl Running {
    /// How far they have come.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until they have come so far that this holds, and tells how far; also when nothing more will come.
    ///
    /// Cancel safe.
    pub async fn wait(&mut self, until: impl Fn(&Progress) -> bool) -> Progress {
        let _ = self.progress.wait_for(|progress| progress.ended.is_some() || until(progress)).await;
        self.progress()
    }
}

/// Entries after which it is told how far they have come.
const ENTRIES_AT_ONCE: usize = 64;

async fn run<S>(mut executors: Executors<S>, sender: watched::Sender<Progress>)
where
    S: State + Send + 'static,
    S::Command: Send,
    S::Output: Send,
{
    let sender = Arc::new(sender);
    loop {
        let there = sender.clone();
        let polled = tokio::task::spawn_blocking(move || {
            for _ in 0..ENTRIES_AT_ONCE {
                let before = executors.replica.seq();
                // Nobody wants them any more.
                if there.is_closed() || executors.poll(1).seq == before {
                    break;
                }
            }
            executors
        });
        let Ok(back) = polled.await else {
            let before = sender.borrow().clone();
            let why = format!("an executor or the state panicked behind entry {}", before.seq);
            sender.send_replace(Progress { ended: Some(Missed::Stuck { seq: before.seq + 1, why }), ..before });
            return;
        };
        executors = back;
        let progress = executors.progress();
        let ended = progress.ended.is_some();
        sender.send_if_modified(|known| std::mem::replace(known, progress.clone()) != progress);
        if ended {
            return;
        }
        executors.due().await;
    }
}
