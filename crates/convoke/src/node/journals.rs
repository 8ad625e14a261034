//! Journals: commands that every follower gets in the same order, and of which any can be undone.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll};

use convoke_core::frame::{Back, FollowAs, Terms};
use convoke_core::journal::{Entry, Scope, Strategy};
use convoke_core::node::{Followed, WriteId};
use convoke_core::{Name, NodeState, Payload, Refusal};
use futures_core::Stream;
use serde::Serialize;
use tokio::sync::oneshot;

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
    /// [`Missed::Ended`]: the node has left, or the hub has another journal of this name than the program knows.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    pub async fn next(&mut self) -> Option<Next> {
        poll_fn(|context| self.poll_entry(context)).await
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Next> {
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
        poll_fn(|context| {
            if self.is_synced() {
                return Poll::Ready(None);
            }
            match self.poll_entry(context) {
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

    /// The hash of the last entry that was taken, and of all before it.
    pub(super) fn taken_hash(&self) -> [u8; 16] {
        self.node.handle.shared.lock().state.taken_hash(self.id).map_or([0; 16], |(_, hash)| hash)
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

    fn unpack(&mut self, next: Followed) -> Next {
        match next {
            Followed::Entry(entry, command) => {
                self.after = entry.seq;
                Ok((entry, command))
            }
            Followed::Ended(why) => {
                self.ended = true;
                Err(Missed::Ended(why))
            }
        }
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
        self.append_on(&journal, commands, options.expect_last, terms).await
    }

    pub(super) async fn append_on(
        &self,
        journal: &Name,
        commands: &[Payload],
        expect_last: Option<u64>,
        terms: Terms<'_>,
    ) -> Result<u64, Error> {
        let commands = commands.iter().map(|command| (command.encoding, &command.bytes[..]));
        self.change_journal(|state| state.append_on(journal, commands, expect_last, terms)).await
    }

    /// Undoes what was done last in a journal, or what the options say, and gives the place of the entry that says so. For
    /// all who follow it is then as if it had never been done.
    ///
    /// # Errors
    ///
    /// As [`append`](Node::append); [`Error::Conflict`] if there is nothing, or another is next;
    /// [`Error::Refused`] if it is too far back.
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

    async fn change_journal(
        &self,
        change: impl FnOnce(&mut NodeState) -> Result<WriteId, Refusal>,
    ) -> Result<u64, Error> {
        let shared = &self.handle.shared;
        shared.lock().check_outbox()?;
        let answer = shared.keep(change)?;
        Ok(ended_write(self, answer).await?.rev.n)
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
        let (entries, begun) = self.entries_as(&journal, options, None)?;
        begun.await.map_err(|_| left(self.name()))??;
        Ok(entries)
    }

    /// Asks for entries. What the second gives tells when the hub has begun, or refuses; so do the entries.
    pub(super) fn entries_as(
        &self,
        journal: &Name,
        options: EntriesOptions,
        strategy: Option<Strategy>,
    ) -> Result<(Entries, oneshot::Receiver<Result<u64, Refusal>>), Error> {
        let EntriesOptions { after, .. } = options;
        let ask = |state: &mut NodeState| state.follow(journal.clone(), after, [0; 16], options.follow_as(), strategy);
        let (id, begun) = self.handle.shared.ask(ask)?;
        Ok((Entries { node: self.clone(), id, after, ended: false }, begun))
    }
}

fn back(options: UndoOptions) -> Back {
    let UndoOptions { scope, target, expect_top } = options;
    Back { everyone: scope == Scope::Everyone, target, expect_top }
}
