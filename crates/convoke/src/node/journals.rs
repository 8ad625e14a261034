//! Journals: commands that every follower gets in the same order, and of which any can be undone.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll};

use bytes::Bytes;
#[cfg(feature = "hub")]
use convoke_core::frame::Carried;
use convoke_core::frame::{Back, FollowAs, Terms};
use convoke_core::journal::{Entry, Scope, Strategy};
use convoke_core::node::{FollowWish, Followed, WriteId, Wrote};
use convoke_core::{Name, NodeState, Payload, Refusal};
use futures_core::Stream;
use serde::Serialize;
use tokio::sync::oneshot;

use super::outbox::Asker;
use super::values::ended_write;
use super::{Inner, Missed, Node, left};
use crate::error::Error;

/// What is undone or done again, and under which condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UndoOptions {
    /// Whose commands: one's own, or those of all.
    pub scope: Scope,
    /// The command or group that begins at this place, instead of the next one.
    pub target: Option<u64>,
    /// Only if the next one is this; zero for none. So of two who undo at the same time one is refused.
    pub expect_top: Option<u64>,
}

/// How the entries of a journal are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntriesOptions {
    /// Only those behind this place.
    pub after: u64,
    /// The node is a member of the journal: [`applied_by`](Node::applied_by) waits for it, and it tells what it has applied
    /// with [`Entries::applied`].
    pub member: bool,
    /// It is a member, and the journal says so: by a [`Deed::Join`](crate::Deed::Join) when it becomes one and a
    /// [`Deed::Leave`](crate::Deed::Leave) when it is one no more, with the node as their author, in order with the rest and
    /// kept like the rest. A link that is cut, and a start of the hub, are neither: a node that does not come back has left
    /// when the hub removes it, half a minute later unless the hub is set otherwise. Needs the right to execute.
    pub presence: bool,
    /// The hash of each entry, which is of all before it too, is computed anew, and the entries end where it is another one
    /// than the hub tells. Otherwise only that of the first on each link. Costs a few µs an entry.
    pub verify: bool,
}

impl EntriesOptions {
    pub(super) fn follow_as(self) -> FollowAs {
        match self {
            EntriesOptions { presence: true, .. } => FollowAs::Announced,
            EntriesOptions { member: true, .. } => FollowAs::Member,
            _ => FollowAs::Observer,
        }
    }
}

/// How commands are appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendOptions {
    /// Only if the last entry is this one; zero for none.
    pub expect_last: Option<u64>,
    /// How the journal must undo: the [`STRATEGY`](crate::State::STRATEGY) of the programs that follow it. If these are its
    /// first entries, they fix it; with `None` that is [`Strategy::Replay`], and programs with another are refused from then
    /// on.
    pub strategy: Option<Strategy>,
}

/// What is left of a journal whose old entries were let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The first entry that is kept; the next one if none is.
    pub first: u64,
    /// How many have gone now.
    pub gone: u64,
}

/// What a follower gets next.
pub(super) enum Told {
    Entry(Entry, Option<Payload>),
    /// The state behind the entry at `seq`, in the place of all entries up to it.
    Base {
        seq: u64,
        state: Bytes,
    },
}

/// The next entry with its command, if it is one; or why there is none.
type Next = Result<(Entry, Option<Payload>), Missed>;

/// The entries of a journal, one after the other. Dropping it ends it.
///
/// It has no gap and no repeat, also where the link is cut or the hub is restarted. What the program does not take waits at
/// the hub, and costs nothing there; about 1 MiB of it waits here.
#[derive(Debug)]
pub struct Entries {
    node: Node,
    id: u32,
    after: u64,
    ended: bool,
}

impl Entries {
    /// Waits for the next entry: its place, its author and what it says, and its command if it is one. `None` after
    /// [`Missed::Ended`], for ever.
    ///
    /// # Errors
    ///
    /// [`Missed::Compacted`]: entries are missing here, since they are not kept any more; it goes on. [`Missed::Ended`]: the
    /// node has left, or the hub has another journal of this name than the program knows, or an entry is not what its hash
    /// says.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    pub async fn next(&mut self) -> Option<Next> {
        poll_fn(|context| self.poll_entry(context)).await
    }

    /// The same, of entries that can begin with a snapshot.
    pub(super) async fn next_told(&mut self) -> Option<Result<Told, Missed>> {
        poll_fn(|context| self.poll_told(context)).await
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Next> {
        self.try_next_told().map(entry)
    }

    pub(super) fn try_next_told(&mut self) -> Option<Result<Told, Missed>> {
        if self.ended {
            return None;
        }
        let next = self.take(self.node.handle.shared.lock()).ok()?;
        Some(self.unpack(next))
    }

    /// Whether the program has taken all that there was when the hub had last told everything. False from when the link is
    /// cut until then.
    pub fn is_synced(&self) -> bool {
        let inner = self.node.handle.shared.lock();
        inner.state.follows_up_to(self.id).is_some_and(|last| self.after >= last)
    }

    /// Takes the next entry if there is one before [`is_synced`](Entries::is_synced); `None` then. Waits for a link.
    ///
    /// # Errors
    ///
    /// As [`next`](Entries::next).
    ///
    /// Cancel safe.
    pub async fn next_of_those_there(&mut self) -> Option<Next> {
        self.next_told_of_those_there().await.map(entry)
    }

    pub(super) async fn next_told_of_those_there(&mut self) -> Option<Result<Told, Missed>> {
        poll_fn(|context| {
            if self.is_synced() {
                return Poll::Ready(None);
            }
            match self.poll_told(context) {
                // It may have caught up between the two looks, with nothing to take.
                Poll::Pending if self.is_synced() => Poll::Ready(None),
                next => next,
            }
        })
        .await
    }

    /// Tells the hub that the program has applied everything up to this entry; of use to a member. It goes with what the node
    /// sends next, or soon by itself: once, however many entries are applied until then. Never waits.
    pub fn applied(&self, seq: u64) {
        let shared = &self.node.handle.shared;
        if shared.lock().state.applied(self.id, seq) {
            shared.wake.notify_one();
        }
    }

    /// Tells the hub, and so whoever looks at the members of the journal, that the program cannot apply the entry behind those
    /// that it has applied, and why. It stays a member for as long as this lives, and is waited for.
    pub(super) fn stuck(&self, why: &str) {
        let shared = &self.node.handle.shared;
        if shared.lock().state.stuck(self.id, why) {
            shared.wake.notify_one();
        }
    }

    /// The last entry that was taken, and its hash, which is of all before it too, and so the same for all who have the same
    /// entries. Where [`Missed::Compacted`] was taken, it is that of the last that is gone; zeros where nothing was.
    pub fn taken(&self) -> (u64, [u8; 16]) {
        self.node.handle.shared.lock().state.taken_hash(self.id).unwrap_or_default()
    }

    /// What is next; the lock again if there is nothing.
    fn take<'a>(&self, mut inner: MutexGuard<'a, Inner>) -> Result<Followed, MutexGuard<'a, Inner>> {
        let Some(next) = inner.state.take_entry(self.id) else { return Err(inner) };
        if inner.state.has_output() {
            // The hub learns that there is room again.
            self.node.handle.shared.flush(inner);
        }
        Ok(next)
    }

    fn poll_entry(&mut self, context: &mut Context<'_>) -> Poll<Option<Next>> {
        self.poll_told(context).map(|next| next.map(entry))
    }

    fn poll_told(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Told, Missed>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = match self.take(self.node.handle.shared.lock()) {
            Ok(next) => next,
            Err(mut inner) => {
                inner.wakers.insert(self.id, context.waker().clone());
                return Poll::Pending;
            }
        };
        Poll::Ready(Some(self.unpack(next)))
    }

    fn unpack(&mut self, next: Followed) -> Result<Told, Missed> {
        match next {
            Followed::Base { seq, state } => {
                self.after = seq;
                Ok(Told::Base { seq, state: state.into() })
            }
            Followed::Compacted { first } => {
                self.after = first - 1;
                Err(Missed::Compacted { first })
            }
            Followed::Entry(entry, command) => {
                self.after = entry.seq;
                Ok(Told::Entry(entry, command))
            }
            Followed::Ended(why) => {
                self.ended = true;
                Err(Missed::Ended(why))
            }
        }
    }
}

/// Of entries that cannot begin with a snapshot.
fn entry(told: Result<Told, Missed>) -> Next {
    match told? {
        Told::Entry(entry, command) => Ok((entry, command)),
        Told::Base { .. } => unreachable!("the hub was not asked for a snapshot, and a node takes none then"),
    }
}

/// What [`next`](Entries::next) gives, for code that takes streams.
impl Stream for Entries {
    type Item = Next;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_entry(context)
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        let shared = &self.node.handle.shared;
        let mut inner = shared.lock();
        inner.wakers.remove(&self.id);
        inner.answers.remove(&self.id);
        inner.state.unfollow(self.id);
        shared.flush(inner);
    }
}

impl Node {
    /// Appends a command to a journal, and gives its place when it is kept: nothing that happens then can take it away. It is
    /// there once, however often links were cut meanwhile; commands of one node come in the order in which they were appended.
    /// The journal is made by its first command.
    ///
    /// # Errors
    ///
    /// With an outcome as [`set`](Node::set): certainly not done, or nobody knows. [`Error::BadName`],
    /// [`Error::Unauthorized`], [`Error::Backpressure`], [`Error::Refused`] at a limit.
    ///
    /// Dropping the future does not take the command back.
    pub async fn append<C: Serialize + ?Sized>(&self, journal: impl AsRef<str>, command: &C) -> Result<u64, Error> {
        self.append_payloads(journal, &[Payload::encode(command)?], None).await
    }

    /// As [`append`](Node::append), with 1 to 256 commands in any encoding, which are undone as one, and only if the last
    /// entry is the one that is expected, zero for none.
    ///
    /// # Errors
    ///
    /// As [`append`](Node::append); [`Error::Conflict`] if another entry is the last.
    pub async fn append_payloads(
        &self,
        journal: impl AsRef<str>,
        commands: &[Payload],
        expect_last: Option<u64>,
    ) -> Result<u64, Error> {
        self.append_with(journal, commands, &AppendOptions { expect_last, strategy: None }).await
    }

    /// As [`append_payloads`](Node::append_payloads), as the options say. The commands count as such that touch everything and
    /// can be undone.
    ///
    /// # Errors
    ///
    /// As [`append_payloads`](Node::append_payloads); [`Error::Refused`] if the journal undoes in another way.
    pub async fn append_with(
        &self,
        journal: impl AsRef<str>,
        commands: &[Payload],
        options: &AppendOptions,
    ) -> Result<u64, Error> {
        let journal = Name::parse(journal.as_ref())?;
        let terms = Terms::new(options.strategy, false, None);
        self.change_journal(appending(&journal, commands, options.expect_last, terms)).await
    }

    /// Undoes what was done last in a journal, or what the options say, and gives the place of the entry that says so. For
    /// all who follow it is then as if it had never been done. What is next is decided when the hub comes to it: of two that
    /// undo at the same time each takes one, unless they say which they mean or expect.
    ///
    /// # Errors
    ///
    /// As [`append`](Node::append); [`Error::Conflict`] if another is next than is expected, or what is meant is undone
    /// already; [`Error::Refused`] if there is nothing to undo, or it is too far back.
    pub async fn undo(&self, journal: impl AsRef<str>, options: UndoOptions) -> Result<u64, Error> {
        let journal = Name::parse(journal.as_ref())?;
        self.change_journal(|state| state.undo(&journal, back(options))).await
    }

    /// Does again what was undone last in a journal, or what the options say, and gives the place of the entry that says so.
    /// It is again where it was.
    ///
    /// # Errors
    ///
    /// As [`undo`](Node::undo).
    pub async fn redo(&self, journal: impl AsRef<str>, options: UndoOptions) -> Result<u64, Error> {
        let journal = Name::parse(journal.as_ref())?;
        self.change_journal(|state| state.redo(&journal, back(options))).await
    }

    /// Lets entries of a journal go that its [snapshot](super::Follower::snapshot) stands for, all but the last `keep` of
    /// these: 10,000 at most, so it is to be called again until nothing is gone any more. Who follows with a state is not
    /// concerned. Who reads entries from further back is told with [`Missed::Compacted`] where they are missing, and an
    /// executor that has not come so far [stops](super::Stopped). Needs the right `snapshot`.
    ///
    /// # Errors
    ///
    /// As [`append`](Node::append); [`Error::Conflict`] if the journal has no snapshot.
    ///
    /// Dropping the future does not take it back.
    pub async fn compact(&self, journal: impl AsRef<str>, keep: u64) -> Result<Compacted, Error> {
        let journal = Name::parse(journal.as_ref())?;
        let Wrote { rev, count } = self.ask_journal(|state| state.compact(&journal, u64::MAX, keep)).await?;
        Ok(Compacted { first: rev.n, gone: u64::from(count) })
    }

    async fn change_journal(
        &self,
        change: impl FnOnce(&mut NodeState) -> Result<WriteId, Refusal>,
    ) -> Result<u64, Error> {
        Ok(self.ask_journal(change).await?.rev.n)
    }

    /// As [`append`](Node::append), [`undo`](Node::undo) or [`redo`](Node::redo), for a follower that has yet to apply it.
    pub(super) async fn change_followed(
        &self,
        change: impl FnOnce(&mut NodeState) -> Result<WriteId, Refusal>,
    ) -> Result<(u64, Asker), Error> {
        let (wrote, asker) = self.ask_and_go_on(change).await?;
        Ok((wrote.rev.n, asker))
    }

    pub(super) async fn ask_journal(
        &self,
        change: impl FnOnce(&mut NodeState) -> Result<WriteId, Refusal>,
    ) -> Result<Wrote, Error> {
        let (wrote, asker) = self.ask_and_go_on(change).await?;
        asker.heard();
        Ok(wrote)
    }

    /// The same, for who has more to do before it tells its caller what came of it.
    async fn ask_and_go_on(
        &self,
        change: impl FnOnce(&mut NodeState) -> Result<WriteId, Refusal>,
    ) -> Result<(Wrote, Asker), Error> {
        let (id, answer) = self.handle.shared.keep(|inner| inner.post(change))?;
        // It goes last, when no answer can come any more.
        let asker = Asker::new(self, id);
        match ended_write(self, answer).await {
            Ok(wrote) => Ok((wrote, asker)),
            Err(error) => {
                asker.heard();
                Err(error)
            }
        }
    }

    /// The entries of a journal behind the place `after`: those that are there, then those that come. Returns when the hub has
    /// begun to tell. Who reads this way is not among those whose acknowledgement counts.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::Unauthorized`]; [`Error::Refused`] at a limit, or if the journal is shorter;
    /// [`Error::Backpressure`] when the link has yet to take what was asked before; [`Error::Offline`] if the node has left.
    ///
    /// Cancel safe.
    pub async fn entries(&self, journal: impl AsRef<str>, after: u64) -> Result<Entries, Error> {
        self.entries_with(journal, EntriesOptions { after, ..EntriesOptions::default() }).await
    }

    /// The same, as the options say; such as a member, whose acknowledgement counts.
    ///
    /// # Errors
    ///
    /// As [`entries`](Node::entries).
    ///
    /// Cancel safe.
    pub async fn entries_with(&self, journal: impl AsRef<str>, options: EntriesOptions) -> Result<Entries, Error> {
        let journal = Name::parse(journal.as_ref())?;
        let (entries, begun) = self.entries_as(&journal, options, None, 0)?;
        begun.await.map_err(|_| left(self.name()))??;
        Ok(entries)
    }

    /// Asks for entries; with a snapshot in the place of some, if its maker knew entries up to `snapshot_max` at most. What the
    /// second gives tells when the hub has begun, or refuses; so do the entries.
    pub(super) fn entries_as(
        &self,
        journal: &Name,
        options: EntriesOptions,
        strategy: Option<Strategy>,
        snapshot_max: u64,
    ) -> Result<(Entries, oneshot::Receiver<Result<u64, Refusal>>), Error> {
        let EntriesOptions { after, verify, .. } = options;
        let (follow_as, hash) = (options.follow_as(), [0; 16]);
        self.entries_by(journal, FollowWish { after, hash, follow_as, strategy, snapshot_max, verify })
    }

    fn entries_by(
        &self,
        journal: &Name,
        wish: FollowWish,
    ) -> Result<(Entries, oneshot::Receiver<Result<u64, Refusal>>), Error> {
        let after = wish.after;
        let (id, begun) = self.handle.shared.ask(|state| state.follow(journal.clone(), wish))?;
        Ok((Entries { node: self.clone(), id, after, ended: false }, begun))
    }
}

#[cfg(feature = "hub")]
impl Node {
    /// The entries of a journal behind the entry of this place and hash, zeros for the first.
    pub(super) async fn entries_behind(&self, journal: &Name, after: u64, hash: [u8; 16]) -> Result<Entries, Error> {
        let (entries, begun) = self.entries_by(journal, FollowWish { after, hash, ..FollowWish::default() })?;
        begun.await.map_err(|_| left(self.name()))??;
        Ok(entries)
    }

    /// Hands over an entry of another hub's journal. What is given back tells its place here; zero if it was known.
    pub(super) fn hand_over(
        &self,
        journal: &Name,
        carried: Carried<'_>,
    ) -> Result<impl Future<Output = Result<u64, Error>> + Send + use<>, Error> {
        let (_, answer) = self.handle.shared.keep(|inner| inner.post(|state| state.carry(journal, carried)))?;
        let node = self.clone();
        Ok(async move { Ok(ended_write(&node, answer).await?.rev.n) })
    }
}

/// Appends commands: what a node and its outbox do alike.
pub(super) fn appending(
    journal: &Name,
    commands: &[Payload],
    expect_last: Option<u64>,
    terms: Terms<'_>,
) -> impl FnOnce(&mut NodeState) -> Result<WriteId, Refusal> {
    move |state| {
        let commands = commands.iter().map(|command| (command.encoding, &command.bytes[..]));
        state.append_on(journal, commands, expect_last, terms)
    }
}

pub(super) fn back(options: UndoOptions) -> Back {
    let UndoOptions { scope, target, expect_top } = options;
    Back { everyone: scope == Scope::Everyone, target, expect_top }
}
