//! A replica: a state that follows a journal, the same in every program that follows it.

mod snapshots;
mod tentative;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use convoke_core::frame::Terms;
use convoke_core::journal::{Applied, AppliedBy, Deed, Entry, Replica, Scope, State, Strategy, Touches, Who};
use convoke_core::{Code, Name, Payload, Refusal};
use serde::Serialize;
use tokio::sync::watch as watched;
use tokio::task::AbortHandle;

use super::journals::{Told, appending, back};
use super::outbox::Asker;
use super::{Entries, EntriesOptions, Missed, Node, UndoOptions, left};
use crate::error::Error;
use snapshots::{Snapshots, Uploading};

/// What came of a command that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed<O> {
    /// Its place in the journal.
    pub seq: u64,
    /// What the state gave for it here, as everywhere; a refusal of the state too.
    pub output: O,
}

/// How a journal is followed with a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowOptions {
    /// The journal says when this node has become a member of it and when it is one no more; see
    /// [`EntriesOptions::presence`].
    pub presence: bool,
    /// After so many entries a [snapshot](Follower::snapshot) is made and uploaded by itself, beside all else. Where many
    /// programs do that, the hub takes one after the other; that it does not take one, or cannot, is
    /// no error. Needs the right `snapshot`.
    pub snapshot_every: Option<u64>,
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

/// Ends a task when it is dropped.
#[derive(Debug)]
pub(super) struct Task(pub(super) AbortHandle);

impl Task {
    fn is_done(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Shared<S: State> {
    inner: Mutex<Inner<S>>,
    /// The last entry that was applied.
    applied: watched::Sender<u64>,
    uploading: Uploading,
}

/// Whether a command may be sent; why not, as a sentence.
type Check<S> = Box<dyn Fn(&S, &<S as State>::Command) -> Result<(), String> + Send>;

struct Inner<S: State> {
    replica: Replica<S>,
    checks: Vec<Check<S>>,
    /// What commands gave, while somebody here waits for it; `None` for an undo or redo that could change nothing.
    outputs: BTreeMap<u64, Option<S::Output>>,
    /// What was applied last when those who wait began to, and how many there are of each.
    waiting: BTreeMap<u64, usize>,
    /// Why it does not go on.
    ended: Option<Missed>,
    /// An entry that was applied, not long before the last, and its hash.
    known: (u64, [u8; 16]),
    /// The entry behind which it has begun.
    began_at: u64,
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
    command: PhantomData<fn(C)>,
}

impl<C: Serialize> Group<C> {
    /// One more, given or lent.
    pub fn execute(&mut self, command: impl Borrow<C>) {
        self.commands.push(Payload::encode(command.borrow()).map_err(Error::from));
    }
}

impl Node {
    /// Follows a journal with a state of the program's own: every command that anybody executes is applied to it, in the
    /// same order everywhere, and what is undone is as if it had never been. Returns when everything that was there is
    /// applied.
    ///
    /// # Errors
    ///
    /// As [`entries`](Node::entries); [`Error::Refused`] if an entry cannot be applied by this program, or if the journal does
    /// not undo by the state's [`STRATEGY`](State::STRATEGY).
    ///
    /// Cancel safe.
    pub async fn follow<S>(&self, journal: impl AsRef<str>) -> Result<Follower<S>, Error>
    where
        S: State + Send + 'static,
        S::Command: Send,
        S::Output: Send,
    {
        self.follow_with(journal, FollowOptions::default()).await
    }

    /// The same, as the options say.
    ///
    /// # Errors
    ///
    /// As [`follow`](Node::follow).
    ///
    /// Cancel safe.
    pub async fn follow_with<S>(&self, journal: impl AsRef<str>, options: FollowOptions) -> Result<Follower<S>, Error>
    where
        S: State + Send + 'static,
        S::Command: Send,
        S::Output: Send,
    {
        let journal = Name::parse(journal.as_ref())?;
        let wish = EntriesOptions { member: true, presence: options.presence, ..EntriesOptions::default() };
        let (shared, entries) = match self.catch_up::<S>(&journal, wish, u64::MAX).await {
            // A snapshot of another version of the state, perhaps: then every entry is applied, if they are all there.
            Err(CannotFollow::Unreadable(why)) => match self.catch_up(&journal, wish, 0).await {
                Err(CannotFollow::Ended(Missed::Compacted { first })) => {
                    Err(CannotFollow::Ended(Missed::Stuck { seq: first - 1, why }))
                }
                other => other,
            },
            other => other,
        }
        .map_err(|cannot| cannot.into_error(&journal))?;
        let snapshots =
            options.snapshot_every.map(|every| Snapshots::new(self.clone(), journal.clone(), every, &shared));
        let task = tokio::spawn(follow(shared.clone(), entries, snapshots));
        let _task = Arc::new(Task(task.abort_handle()));
        Ok(Follower { node: self.clone(), journal, shared, _task })
    }
}

/// Why a follower cannot begin.
enum CannotFollow {
    Ended(Missed),
    /// The snapshot is none of this state.
    Unreadable(String),
    Error(Error),
}

impl CannotFollow {
    fn into_error(self, journal: &Name) -> Error {
        match self {
            CannotFollow::Ended(ended) => why_ended(&format!("follow `{journal}`"), &ended),
            CannotFollow::Unreadable(why) => Error::not_done(Refusal::new(Code::BadRequest, why)),
            CannotFollow::Error(error) => error,
        }
    }
}

impl Node {
    /// Follows, and applies all that is there.
    async fn catch_up<S: State>(
        &self,
        journal: &Name,
        wish: EntriesOptions,
        snapshot_max: u64,
    ) -> Result<(Arc<Shared<S>>, Entries), CannotFollow> {
        let (mut entries, begun) =
            self.entries_as(journal, wish, Some(S::STRATEGY), snapshot_max).map_err(CannotFollow::Error)?;
        let begun = begun.await.map_err(|_| CannotFollow::Error(left(self.name())))?;
        begun.map_err(|why| CannotFollow::Error(why.into()))?;
        let inner = Inner {
            replica: Replica::new(),
            checks: Vec::new(),
            outputs: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ended: None,
            known: (0, [0; 16]),
            began_at: 0,
        };
        let (applied, uploading) = (watched::Sender::new(0), Uploading::default());
        let shared = Arc::new(Shared { inner: Mutex::new(inner), applied, uploading });
        while let Some(next) = entries.next_told_of_those_there().await {
            if let Ok(Told::Base { seq, state }) = next {
                shared.begin_at(seq, state).map_err(CannotFollow::Unreadable)?;
            } else if !shared.apply(next) {
                break;
            }
            tokio::task::consume_budget().await;
        }
        if let Some(ended) = shared.lock().ended.take() {
            return Err(CannotFollow::Ended(ended));
        }
        shared.passed(&entries);
        Ok((shared, entries))
    }
}

/// After so many entries in one go others learn how far it has come.
const ENTRIES_AT_ONCE: usize = 1024;

/// Tells all who wait that nothing more is applied, however that came.
struct Following<S: State>(Arc<Shared<S>>);

impl<S: State> Drop for Following<S> {
    fn drop(&mut self) {
        {
            let mut inner = self.0.lock();
            let seq = inner.replica.seq() + 1;
            let why = || format!("the program panicked when it applied entry {seq}, or ended its runtime");
            inner.ended.get_or_insert_with(|| Missed::Stuck { seq, why: why() });
        }
        self.0.applied.send_modify(|_| {});
    }
}

async fn follow<S>(shared: Arc<Shared<S>>, mut entries: Entries, mut snapshots: Option<Snapshots>)
where
    S: State + Send + 'static,
    S::Command: Send,
    S::Output: Send,
{
    let _following = Following(shared.clone());
    while let Some(next) = entries.next_told().await {
        let mut goes_on = shared.apply(next);
        let mut count = 1;
        while goes_on
            && count < ENTRIES_AT_ONCE
            && let Some(next) = entries.try_next_told()
        {
            goes_on = shared.apply(next);
            count += 1;
            tokio::task::consume_budget().await;
        }
        shared.passed(&entries);
        if goes_on {
            if let Some(snapshots) = &mut snapshots {
                snapshots.look(&shared);
            }
            continue;
        }
        let Some(Missed::Stuck { why, .. }) = shared.lock().ended.clone() else { return };
        // As long as the program has this follower, others see that it lags, and why.
        entries.stuck(&why);
        return std::future::pending().await;
    }
}

impl<S: State> Shared<S> {
    /// What the commands at these places gave.
    fn outputs(&self, first: u64, last: u64) -> Vec<Executed<S::Output>> {
        let mut inner = self.lock();
        let output = |seq| inner.outputs.remove(&seq).flatten().map(|output| Executed { seq, output });
        (first..=last).filter_map(output).collect()
    }

    /// Everything up to what was taken is applied, unless it does not go on.
    fn passed(&self, entries: &Entries) {
        let taken = entries.taken();
        let seq = {
            let mut inner = self.lock();
            let seq = inner.replica.seq();
            if taken.0 == seq {
                inner.known = taken;
            }
            seq
        };
        entries.applied(seq);
        self.applied.send_replace(seq);
    }

    /// False if it does not go on behind that.
    fn apply(&self, next: Result<Told, Missed>) -> bool {
        if let Ok(Told::Base { seq, state }) = next {
            // The entries in its place are gone, so nothing else can be done without it.
            let began = self.begin_at(seq, state);
            return began.map_err(|why| self.lock().ended = Some(Missed::Stuck { seq, why })).is_ok();
        }
        let mut inner = self.lock();
        match next {
            Ok(Told::Base { .. }) => unreachable!("handled above"),
            Ok(Told::Entry(entry, command)) => match inner.replica.apply(&entry, command.as_ref()) {
                Ok(applied) => {
                    let output = match applied {
                        Applied::Done(output) => Some(Some(output)),
                        Applied::NoInverse { .. } => Some(None),
                        _ => None,
                    };
                    if let Some(output) = output.filter(|_| !inner.waiting.is_empty()) {
                        inner.outputs.insert(entry.seq, output);
                    }
                }
                Err(stuck) => inner.ended = Some(Missed::Stuck { seq: stuck.seq(), why: stuck.to_string() }),
            },
            Err(missed) => inner.ended = Some(missed),
        }
        inner.ended.is_none()
    }
}

/// Somebody waits for outputs of entries behind this place.
struct Waiting<'a, S: State>(&'a Shared<S>, u64);

impl<'a, S: State> Waiting<'a, S> {
    fn new(shared: &'a Shared<S>) -> Self {
        let mut inner = shared.lock();
        let since = inner.replica.seq();
        *inner.waiting.entry(since).or_default() += 1;
        Waiting(shared, since)
    }
}

impl<S: State> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        let Waiting(shared, since) = self;
        let Inner { waiting, outputs, .. } = &mut *shared.lock();
        let left = waiting.get_mut(since).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            waiting.remove(since);
        }
        // What nobody can wait for any more is let go of, also while others never cease to wait.
        match waiting.first_key_value() {
            None => outputs.clear(),
            Some((oldest, _)) => *outputs = outputs.split_off(&(oldest + 1)),
        }
    }
}

impl<S: State> Follower<S> {
    /// Executes a command, given or lent: it is kept, it is done by everybody in its place, and it is applied here when this
    /// returns, so that [`read`](Follower::read) shows it.
    ///
    /// # Errors
    ///
    /// As [`append`](Node::append); [`Error::Refused`] if a [`check`](Follower::check) refuses it, or this does not go on.
    /// A command that the state refuses is no error here: see its output.
    ///
    /// Dropping the future does not take the command back.
    pub async fn execute(&self, command: impl Borrow<S::Command>) -> Result<Executed<S::Output>, Error> {
        let payload = Payload::encode(command.borrow())?;
        let terms = self.checked(&[command.borrow()])?;
        let mut executed = self.append(&[payload], &terms).await?;
        Ok(executed.pop().expect("it was kept since before the command was sent"))
    }

    /// Executes commands that are undone as one, 1 to 256 of them, and gives what came of each, in their order. Checks look at
    /// each of them as if it were to be the first.
    ///
    /// # Errors
    ///
    /// As [`execute`](Follower::execute); [`Error::Refused`] also without a command, or with more than 256.
    pub async fn group(&self, fill: impl FnOnce(&mut Group<S::Command>)) -> Result<Vec<Executed<S::Output>>, Error> {
        let mut group = Group { commands: Vec::new(), command: PhantomData };
        fill(&mut group);
        let payloads = group.commands.into_iter().collect::<Result<Vec<_>, _>>()?;
        let terms = {
            let commands = payloads.iter().map(Payload::decode).collect::<Result<Vec<S::Command>, _>>()?;
            self.checked(&commands.iter().collect::<Vec<_>>())?
        };
        self.append(&payloads, &terms).await
    }

    async fn append(&self, commands: &[Payload], terms: &OwnTerms) -> Result<Vec<Executed<S::Output>>, Error> {
        let waiting = Waiting::new(&self.shared);
        let terms = Terms::new(Some(S::STRATEGY), terms.lasting, terms.touched.as_deref());
        let (first, asker) = self.node.change_followed(appending(&self.journal, commands, None, terms)).await?;
        let last = first + commands.len() as u64 - 1;
        self.reached(last, asker).await?;
        let executed = self.shared.outputs(first, last);
        drop(waiting);
        if executed.len() < commands.len() {
            let text = format!(
                "entry {first} of `{}` is kept; what it gave is not known here, since this follower has gone on from a snapshot \
                 behind it",
                self.journal
            );
            return Err(Error::uncertain(Refusal::new(Code::Compacted, text), None));
        }
        Ok(executed)
    }

    /// Has every command that is executed here looked at before it is sent, with the state as it is then: one for which `check`
    /// gives a sentence is refused with it, and not sent. Several checks are asked in the order in which they were added.
    ///
    /// For what a program should not even try, and to say so at once. It binds only who executes by this follower and its
    /// clones, which it must not use itself. The state may be another one when the command's turn comes, so what must never
    /// be is refused by [`apply`](State::apply); and what others may do is a matter of rights.
    pub fn check(&self, check: impl Fn(&S, &S::Command) -> Result<(), String> + Send + 'static) {
        self.shared.lock().checks.push(Box::new(check));
    }

    /// What there is, if it goes on.
    fn going_on(&self, verb: &str) -> Result<MutexGuard<'_, Inner<S>>, Error> {
        let inner = self.shared.lock();
        match &inner.ended {
            Some(ended) => Err(why_ended(&format!("{verb} in `{}`", self.journal), ended)),
            None => Ok(inner),
        }
    }

    /// Asks whether these commands may be sent, and finds out how they are undone.
    fn checked(&self, commands: &[&S::Command]) -> Result<OwnTerms, Error> {
        let author = self.node.author();
        let what = || format!("execute in `{}`", self.journal);
        let inner = self.going_on("execute")?;
        let state = inner.replica.state();
        for (command, check) in
            commands.iter().flat_map(|command| inner.checks.iter().map(move |check| (command, check)))
        {
            check(state, command).map_err(|why| {
                Error::Refused(Refusal::new(Code::BadRequest, format!("{}: a check refuses it: {why}", what())))
            })?;
        }
        let touches = match S::STRATEGY {
            Strategy::Refuse => commands.iter().fold(Touches::nothing(), |all, one| all.and(&S::touches(one))),
            _ => Touches::everything(),
        };
        let lasting = S::STRATEGY == Strategy::Compensate && {
            let seq = inner.replica.seq() + 1;
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let at = Entry {
                seq,
                author,
                wall_ms: since.as_millis() as u64,
                deed: Deed::Do { first: seq },
                provenance: None,
            };
            has_no_inverse(state, commands, &at)
        };
        Ok(OwnTerms { lasting, touched: Terms::hashes(&touches) })
    }

    /// Undoes what this author has done last, if that is still the last when the hub comes to it, and gives the place of the
    /// entry that says so.
    ///
    /// # Errors
    ///
    /// As [`undo`](Node::undo); [`Error::Conflict`] also if others have gone on from it
    /// ([`Strategy::Refuse`]), or if it turned out to have no inverse ([`Strategy::Compensate`]); [`Error::Refused`] also if
    /// this does not go on.
    pub async fn undo(&self) -> Result<u64, Error> {
        self.undo_with(Scope::Mine).await
    }

    /// As [`undo`](Follower::undo), of one's own or of everybody's.
    ///
    /// # Errors
    ///
    /// As [`undo`](Node::undo).
    pub async fn undo_with(&self, scope: Scope) -> Result<u64, Error> {
        let author = self.node.author();
        let top = self.going_on("undo")?.replica.undo_list().undo_top(&author, scope);
        let options = UndoOptions { scope, target: None, expect_top: Some(top.unwrap_or(0)) };
        let waiting = Waiting::new(&self.shared);
        let (seq, asker) = self.node.change_followed(|state| state.undo(&self.journal, back(options))).await?;
        self.went_back("undo", seq, asker).await?;
        drop(waiting);
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
        let author = self.node.author();
        let top = self.going_on("redo")?.replica.undo_list().redo_top(&author, scope);
        let options = UndoOptions { scope, target: None, expect_top: Some(top.unwrap_or(0)) };
        let waiting = Waiting::new(&self.shared);
        let (seq, asker) = self.node.change_followed(|state| state.redo(&self.journal, back(options))).await?;
        self.went_back("redo", seq, asker).await?;
        drop(waiting);
        Ok(seq)
    }

    /// Waits until members of the journal have applied the entry at `seq`, or until the time is over, and tells who has, who
    /// lags and how far, and who is gone. See [`Node::applied_by`].
    ///
    /// # Errors
    ///
    /// As [`Node::applied_by`].
    ///
    /// Cancel safe.
    pub async fn applied_by(&self, seq: u64, who: Who, within: Duration) -> Result<AppliedBy, Error> {
        self.node.applied_by(self.journal.as_str(), seq, who, within).await
    }

    /// An undo or redo is applied here; or it could change nothing.
    async fn went_back(&self, what: &str, seq: u64, asker: Asker) -> Result<(), Error> {
        self.reached(seq, asker).await?;
        if self.shared.lock().outputs.remove(&seq).is_none() {
            return Ok(());
        }
        let text = format!(
            "{what} in `{}`: what it was for had no inverse when its turn came, so entry {seq} changes nothing anywhere",
            self.journal
        );
        Err(Error::Conflict(Refusal::new(Code::Conflict, text)))
    }

    /// Looks at the state. Entries wait meanwhile, so this should not take long.
    pub fn read<T>(&self, read: impl FnOnce(&S) -> T) -> T {
        read(self.shared.lock().replica.state())
    }

    /// The state as it was behind an earlier entry: what was undone only later is in it. Zero is before the first.
    ///
    /// Costs a read of the journal from its beginning, or from its snapshot, to there, and what it takes to apply that; nothing
    /// is kept of it. The present state is only copied.
    ///
    /// # Errors
    ///
    /// As [`entries`](Node::entries); [`Error::Refused`] if the journal ends before that entry, or, with
    /// [`Code::Compacted`], if entries are not kept any more that it takes.
    ///
    /// Cancel safe.
    pub async fn at(&self, seq: u64) -> Result<S, Error> {
        if seq == 0 {
            return Ok(S::default());
        }
        {
            let inner = self.shared.lock();
            if inner.replica.seq() == seq {
                return Ok(inner.replica.state().clone());
            }
        }
        let what = || format!("state of `{}` at {seq}", self.journal);
        let options = EntriesOptions::default();
        let (mut entries, begun) = self.node.entries_as(&self.journal, options, Some(S::STRATEGY), seq)?;
        begun.await.map_err(|_| left(self.node.name()))??;
        let mut replica = Replica::<S>::new();
        while let Some(next) = entries.next_told_of_those_there().await {
            let (entry, command) = match next {
                Ok(Told::Entry(entry, command)) => (entry, command),
                Ok(Told::Base { seq: behind, state }) => {
                    replica = Replica::from_snapshot(behind, state)?;
                    if behind == seq {
                        return Ok(replica.into_state());
                    }
                    continue;
                }
                Err(Missed::Compacted { first }) => {
                    let text = format!("{}: entries before {first} are not kept any more", what());
                    return Err(Error::Refused(Refusal::new(Code::Compacted, text)));
                }
                Err(missed) => return Err(why_ended(&what(), &missed)),
            };
            replica
                .apply(&entry, command.as_ref())
                .map_err(|stuck| why_ended(&what(), &Missed::Stuck { seq: stuck.seq(), why: stuck.to_string() }))?;
            if entry.seq == seq {
                return Ok(replica.into_state());
            }
            tokio::task::consume_budget().await;
        }
        let text = format!("{}: the journal ends at {}", what(), replica.seq());
        Err(Error::Refused(Refusal::new(Code::BadRequest, text)))
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn journal(&self) -> &Name {
        &self.journal
    }

    /// Why it does not go on.
    pub(super) fn ended(&self) -> Option<Missed> {
        self.shared.lock().ended.clone()
    }

    /// The journal once more, from its beginning, or from a snapshot whose maker knew entries up to this one at most.
    pub(super) fn entries_again(&self, snapshot_max: u64) -> Result<Entries, Error> {
        let options = EntriesOptions::default();
        Ok(self.node.entries_as(&self.journal, options, Some(S::STRATEGY), snapshot_max)?.0)
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
            applied.changed().await.expect("the sender is in self");
        }
    }

    async fn reached(&self, seq: u64, asker: Asker) -> Result<(), Error> {
        let changed = self.changed(seq - 1).await;
        asker.heard();
        // Certainly it is not `NotDone`.
        changed.map(|_| ()).map_err(|why| {
            let text = format!("entry {seq} of `{}` is kept, but not applied here: {why}", self.journal);
            Error::uncertain(Refusal::new(Code::BadRequest, text), None)
        })
    }
}

/// How commands are undone.
struct OwnTerms {
    lasting: bool,
    touched: Option<Vec<u8>>,
}

/// Whether one of these commands, applied one after the other, has no inverse.
fn has_no_inverse<S: State>(state: &S, commands: &[&S::Command], at: &Entry) -> bool {
    let [command] = commands else {
        let mut state = state.clone();
        return commands.iter().any(|command| {
            let none = state.inverse(command, at).is_none();
            state.apply(command, at);
            none
        });
    };
    state.inverse(command, at).is_none()
}

/// Why something cannot be done by a follower that does not go on. Nothing of it was done.
fn why_ended(what: &str, ended: &Missed) -> Error {
    let code = if let Missed::Ended(why) = ended { why.code } else { Code::BadRequest };
    Error::not_done(Refusal::new(code, format!("{what}: {ended}")))
}

impl<S: State> fmt::Debug for Follower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("journal", &self.journal).field("seq", &self.seq()).finish_non_exhaustive()
    }
}
