//! A replica: a state that follows a journal, the same in every program that follows it.

mod tentative;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use convoke_core::journal::{Applied, Replica, Scope, State};
use convoke_core::{Name, Payload};
use serde::Serialize;
use tokio::sync::watch as watched;
use tokio::task::AbortHandle;

use super::{Entries, Missed, Node, UndoOptions};
use crate::error::Error;

/// What came of a command that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed<O> {
    /// Its place in the journal.
    pub seq: u64,
    /// What the state gave for it here, as everywhere; a refusal of the state too.
    pub output: O,
}

/// A state that follows a journal. It goes on over cut links and starts of the hub, and ends with the last handle to it.
///
/// Cheap to clone; clones are handles to the same state.
pub struct Follower<S: State> {
    node: Node,
    journal: Name,
    shared: Arc<Shared<S>>,
    _task: Arc<Task>,
}

impl<S: State> Clone for Follower<S> {
    fn clone(&self) -> Self {
        let Follower { node, journal, shared, _task } = self;
        Follower { node: node.clone(), journal: journal.clone(), shared: shared.clone(), _task: _task.clone() }
    }
}

struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Shared<S: State> {
    inner: Mutex<Inner<S>>,
    /// The last entry that was applied.
    applied: watched::Sender<u64>,
}

struct Inner<S: State> {
    replica: Replica<S>,
    /// What commands gave, while somebody here waits for it.
    outputs: HashMap<u64, S::Output>,
    waiting: usize,
    /// Why it does not go on.
    ended: Option<Missed>,
}

impl<S: State> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        // A panic of a program's `apply` leaves a state that nobody may go on with; but who reads it should not panic too.
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Commands that are to be done and undone as one.
#[derive(Debug)]
pub struct Group<C> {
    commands: Vec<Result<Payload, Error>>,
    command: std::marker::PhantomData<fn(C)>,
}

impl<C: Serialize> Group<C> {
    /// One more.
    pub fn execute(&mut self, command: &C) {
        self.commands.push(Payload::encode(command).map_err(Error::from));
    }
}

impl Node {
    /// Follows a journal with a state of the program's own: every command that anybody executes is applied to it, in the
    /// same order everywhere, and what is undone is as if it had never been. Returns when everything that was there is
    /// applied.
    ///
    /// # Errors
    ///
    /// As [`entries`](Node::entries); [`Error::Refused`] if an entry cannot be applied by this program.
    ///
    /// Cancel safe.
    pub async fn follow<S>(&self, journal: impl AsRef<str>) -> Result<Follower<S>, Error>
    where
        S: State + Send + 'static,
        S::Command: Send,
        S::Output: Send,
    {
        let journal = Name::parse(journal.as_ref())?;
        let mut entries = self.entries_as(journal.as_str(), 0, true).await?;
        let inner = Inner { replica: Replica::new(), outputs: HashMap::new(), waiting: 0, ended: None };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), applied: watched::Sender::new(0) });
        while let Some(next) = entries.next_of_those_there().await {
            if !shared.apply(next) {
                break;
            }
        }
        if let Some(ended) = &shared.lock().ended {
            return Err(Error::Refused(convoke_core::Refusal::new(
                convoke_core::Code::BadRequest,
                format!("follow `{journal}`: {ended}"),
            )));
        }
        entries.applied(shared.lock().replica.seq());
        let task = tokio::spawn(follow(shared.clone(), entries));
        let _task = Arc::new(Task(task.abort_handle()));
        Ok(Follower { node: self.clone(), journal, shared, _task })
    }
}

async fn follow<S: State>(shared: Arc<Shared<S>>, mut entries: Entries) {
    while let Some(next) = entries.next().await {
        let mut goes_on = shared.apply(next);
        while goes_on && let Some(next) = entries.try_next() {
            goes_on = shared.apply(next);
        }
        let seq = shared.lock().replica.seq();
        entries.applied(seq);
        shared.applied.send_replace(seq);
        if !goes_on {
            return;
        }
    }
}

impl<S: State> Shared<S> {
    /// What the commands at these places gave.
    fn outputs(&self, first: u64, last: u64) -> Vec<Executed<S::Output>> {
        let mut inner = self.lock();
        let output = |seq| inner.outputs.remove(&seq).map(|output| Executed { seq, output });
        (first..=last).filter_map(output).collect()
    }

    /// False if it does not go on behind that.
    fn apply(&self, next: Result<(convoke_core::journal::Entry, Option<Payload>), Missed>) -> bool {
        let mut inner = self.lock();
        match next {
            Ok((entry, command)) => match inner.replica.apply(&entry, command.as_ref()) {
                Ok(Applied::Done(output)) => {
                    if inner.waiting > 0 {
                        inner.outputs.insert(entry.seq, output);
                    }
                }
                Ok(Applied::Changed { .. }) => {}
                Err(stuck) => inner.ended = Some(Missed::Stuck(stuck.to_string())),
            },
            Err(missed) => inner.ended = Some(missed),
        }
        inner.ended.is_none()
    }
}

/// Somebody waits for outputs.
struct Waiting<'a, S: State>(&'a Shared<S>);

impl<'a, S: State> Waiting<'a, S> {
    fn new(shared: &'a Shared<S>) -> Self {
        shared.lock().waiting += 1;
        Waiting(shared)
    }
}

impl<S: State> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.waiting -= 1;
        if inner.waiting == 0 {
            inner.outputs.clear();
        }
    }
}

impl<S: State> Follower<S> {
    /// Executes a command: it is kept, it is done by everybody in its place, and it is applied here when this returns, so
    /// that [`read`](Follower::read) shows it.
    ///
    /// # Errors
    ///
    /// As [`append`](Node::append). A command that the state refuses is no error here: see its output.
    ///
    /// Dropping the future does not take the command back.
    pub async fn execute(&self, command: &S::Command) -> Result<Executed<S::Output>, Error> {
        let waiting = Waiting::new(&self.shared);
        let seq = self.node.append(self.journal.as_str(), command).await?;
        self.reached(seq).await?;
        let output = self.shared.lock().outputs.remove(&seq).expect("it was kept since before the command was sent");
        drop(waiting);
        Ok(Executed { seq, output })
    }

    /// Executes commands that are undone as one, 1 to 256 of them, and gives what came of each, in their order.
    ///
    /// # Errors
    ///
    /// As [`execute`](Follower::execute).
    ///
    /// # Panics
    ///
    /// Without a command, or with more than 256.
    pub async fn group(&self, fill: impl FnOnce(&mut Group<S::Command>)) -> Result<Vec<Executed<S::Output>>, Error> {
        let mut group = Group { commands: Vec::new(), command: std::marker::PhantomData };
        fill(&mut group);
        let commands = group.commands.into_iter().collect::<Result<Vec<_>, _>>()?;
        let waiting = Waiting::new(&self.shared);
        let first = self.node.append_payloads(self.journal.as_str(), &commands, None).await?;
        let last = first + commands.len() as u64 - 1;
        self.reached(last).await?;
        let executed = self.shared.outputs(first, last);
        drop(waiting);
        Ok(executed)
    }

    /// Undoes what this author has done last, if that is still the last when the hub comes to it, and gives the place of the
    /// entry that says so.
    ///
    /// # Errors
    ///
    /// As [`undo`](Node::undo).
    pub async fn undo(&self) -> Result<u64, Error> {
        self.undo_with(Scope::Mine).await
    }

    /// As [`undo`](Follower::undo), of one's own or of everybody's.
    ///
    /// # Errors
    ///
    /// As [`undo`](Node::undo).
    pub async fn undo_with(&self, scope: Scope) -> Result<u64, Error> {
        let top = self.shared.lock().replica.undo_list().undo_top(&self.node.author(), scope);
        let options = UndoOptions { scope, target: None, expect_top: Some(top.unwrap_or(0)) };
        let seq = self.node.undo(self.journal.as_str(), options).await?;
        self.reached(seq).await?;
        Ok(seq)
    }

    /// Does again what this author has undone last, if that is still so when the hub comes to it, and gives the place of the
    /// entry that says so.
    ///
    /// # Errors
    ///
    /// As [`redo`](Node::redo).
    pub async fn redo(&self) -> Result<u64, Error> {
        self.redo_with(Scope::Mine).await
    }

    /// As [`redo`](Follower::redo), of what one has undone oneself, or of what anybody has.
    ///
    /// # Errors
    ///
    /// As [`redo`](Node::redo).
    pub async fn redo_with(&self, scope: Scope) -> Result<u64, Error> {
        let top = self.shared.lock().replica.undo_list().redo_top(&self.node.author(), scope);
        let options = UndoOptions { scope, target: None, expect_top: Some(top.unwrap_or(0)) };
        let seq = self.node.redo(self.journal.as_str(), options).await?;
        self.reached(seq).await?;
        Ok(seq)
    }

    /// Looks at the state. Entries wait meanwhile, so this should not take long.
    pub fn read<T>(&self, read: impl FnOnce(&S) -> T) -> T {
        read(self.shared.lock().replica.state())
    }

    /// The place of the last entry that was applied; zero for none.
    pub fn seq(&self) -> u64 {
        self.shared.lock().replica.seq()
    }

    /// Waits until an entry behind this place is applied, and gives the place of the last one.
    ///
    /// # Errors
    ///
    /// [`Missed::Ended`] and [`Missed::Stuck`]: it does not go on.
    ///
    /// Cancel safe.
    pub async fn changed(&self, since: u64) -> Result<u64, Missed> {
        let mut applied = self.shared.applied.subscribe();
        loop {
            {
                let inner = self.shared.lock();
                if inner.replica.seq() > since {
                    return Ok(inner.replica.seq());
                }
                if let Some(ended) = &inner.ended {
                    return Err(ended.clone());
                }
            }
            if applied.changed().await.is_err() {
                return Err(Missed::Stuck("its task is gone".to_owned()));
            }
        }
    }

    async fn reached(&self, seq: u64) -> Result<(), Error> {
        match self.changed(seq - 1).await {
            Ok(_) => Ok(()),
            Err(why) => {
                let text = format!("command {seq} of `{}` is done, but not applied here: {why}", self.journal);
                Err(Error::Refused(convoke_core::Refusal::new(convoke_core::Code::BadRequest, text)))
            }
        }
    }
}

impl<S: State> fmt::Debug for Follower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("journal", &self.journal).field("seq", &self.seq()).finish_non_exhaustive()
    }
}
