//! Values: set, get, delete.

use std::collections::HashMap;
use std::time::Duration;

use convoke_core::frame::{Expect, Item, Set};
use convoke_core::node::{NotWritten, WriteId, Wrote};
use convoke_core::{Change, Name, NodeState, Pattern, Payload, Refusal, Rev};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::outbox::Posting;
use super::{Inner, Node, NodeShared, left, tree};
use crate::error::Error;

/// How a value is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// What must be so; otherwise nothing is changed and the answer is [`Error::Conflict`]. `Absent` creates,
    /// `Rev` compares and sets.
    pub expect: Expect,
    /// The value goes after this time, whoever is there then. Counted from when the hub has taken it, in milliseconds.
    pub ttl: Option<Duration>,
    /// The value goes with this node: when it leaves, or when the hub gives it up, 6 s after the last sign of life unless
    /// [`Membership`](crate::Membership) says otherwise. For that the node tells it every second that it is alive.
    pub ephemeral: bool,
}

/// A value as it was when it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The key.
    pub name: Name,
    /// What was set.
    pub payload: Payload,
    /// The change that set it: what [`Expect::Rev`] compares with.
    pub rev: Rev,
    /// Who is answerable for it; `$hub` is the hub itself.
    pub author: Name,
}

impl Value {
    fn of(change: Change) -> Option<Value> {
        let Change { name, payload, rev, author } = change;
        payload.map(|payload| Value { name, payload, rev, author })
    }
}

/// One change of a write.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// A name, or a pattern if it is for `every` key.
    pub(super) name: String,
    pub(super) every: bool,
    pub(super) options: SetOptions,
    /// `None` deletes.
    pub(super) payload: Option<Payload>,
}

impl Wanted {
    pub(super) fn set(name: &str, payload: Payload, options: SetOptions) -> Result<Wanted, Error> {
        Wanted::one(name, Some(payload), options)
    }

    pub(super) fn delete(name: &str, expect: Expect) -> Result<Wanted, Error> {
        Wanted::one(name, None, SetOptions { expect, ..SetOptions::default() })
    }

    fn one(name: &str, payload: Option<Payload>, options: SetOptions) -> Result<Wanted, Error> {
        Ok(Wanted { name: Name::parse(name)?.as_str().to_owned(), every: false, options, payload })
    }

    pub(super) fn every(pattern: &str, payload: Option<Payload>) -> Result<Wanted, Error> {
        let name = Pattern::parse(pattern)?.as_str().to_owned();
        Ok(Wanted { name, every: true, options: SetOptions::default(), payload })
    }

    fn item(&self) -> Item<'_> {
        let SetOptions { expect, ttl, ephemeral } = self.options;
        let set = self.payload.as_ref().map(|payload| Set {
            encoding: payload.encoding,
            payload: &payload.bytes,
            // Zero would be for ever, and so would be what nobody lives to see.
            ttl_ms: ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)),
            ephemeral,
        });
        Item { name: self.name.as_bytes(), every: self.every, expect, set }
    }
}

/// What comes of a get.
type Found = Result<Vec<Change>, Refusal>;

/// Who waits for what.
#[derive(Default)]
pub(super) struct Waiting {
    writes: HashMap<WriteId, oneshot::Sender<Result<Wrote, NotWritten>>>,
    gets: HashMap<u32, oneshot::Sender<Found>>,
}

impl Waiting {
    /// Hands out what has come. Who asked may have given up.
    pub(super) fn settle(&mut self, state: &mut NodeState, mut posting: Option<&mut Posting>) {
        for (id, result) in state.written_writes() {
            let sender = self.writes.remove(&id);
            let ended = match &mut posting {
                Some(posting) => posting.ended(id, result, sender),
                None => Some((result, sender)),
            };
            if let Some((result, Some(sender))) = ended {
                let _ = sender.send(result);
            }
        }
        for (id, result) in state.got() {
            if let Some(sender) = self.gets.remove(&id) {
                let _ = sender.send(result);
            }
        }
    }
}

impl Node {
    /// Sets a value, as MessagePack with named fields, and tells its revision. Returns when it is kept: from then on it
    /// survives the hub, and everybody who watches or gets it sees it or a later one. (Values of prefixes that the hub's
    /// configuration keeps in memory only survive everything but the hub.)
    ///
    /// What one node writes happens in the order in which it was asked for. Without a link it waits for one, as long as it
    /// takes; it is sent again as often as links are cut, and happens once.
    ///
    /// # Errors
    ///
    /// Nothing was written: [`Error::BadName`], [`Error::BadPayload`]; [`Error::Unauthorized`], also for a name of the
    /// hub's own; [`Error::Refused`] for a value of more than 256 KiB, at a limit, or when the hub's disk is full;
    /// [`Error::Backpressure`] when more than 65,536 writes or 16 MiB wait for an answer already; [`Error::Offline`] if
    /// the node has left before it was sent.
    ///
    /// [`Error::Unanswered`]: it may have been written. Either the node has left before the answer, or the hub to which
    /// the link came back has forgotten this node or was restored.
    ///
    /// Dropping the future does not take it back: the value may still be set.
    pub async fn set<T: Serialize + ?Sized>(&self, name: impl AsRef<str>, value: &T) -> Result<Rev, Error> {
        self.set_with(name, value, SetOptions::default()).await
    }

    /// As [`set`](Node::set), with options.
    ///
    /// # Errors
    ///
    /// As [`set`](Node::set); and [`Error::Conflict`] if what it expects is not so: nothing was written.
    pub async fn set_with<T: Serialize + ?Sized>(
        &self,
        name: impl AsRef<str>,
        value: &T,
        options: SetOptions,
    ) -> Result<Rev, Error> {
        self.set_payload(name, Payload::encode(value)?, options).await
    }

    /// As [`set_with`](Node::set_with), with a payload in any encoding.
    ///
    /// # Errors
    ///
    /// As [`set_with`](Node::set_with).
    pub async fn set_payload(
        &self,
        name: impl AsRef<str>,
        payload: Payload,
        options: SetOptions,
    ) -> Result<Rev, Error> {
        let wanted = Wanted::set(name.as_ref(), payload, options)?;
        Ok(self.write(&[wanted]).await?.rev)
    }

    /// Sets every key that exists and matches, all at once, and tells how many that were. Makes no key.
    ///
    /// # Errors
    ///
    /// As [`set`](Node::set); [`Error::Refused`] if more than 10,000 keys match.
    pub async fn set_every<T: Serialize + ?Sized>(&self, pattern: impl AsRef<str>, value: &T) -> Result<u64, Error> {
        self.set_every_payload(pattern, Payload::encode(value)?).await
    }

    /// As [`set_every`](Node::set_every), with a payload in any encoding.
    ///
    /// # Errors
    ///
    /// As [`set_every`](Node::set_every).
    pub async fn set_every_payload(&self, pattern: impl AsRef<str>, payload: Payload) -> Result<u64, Error> {
        let wanted = Wanted::every(pattern.as_ref(), Some(payload))?;
        Ok(self.write(&[wanted]).await?.count.into())
    }

    /// Deletes a value; tells whether there was one. A deletion has a revision as a set has, and is told to those who
    /// watch.
    ///
    /// # Errors
    ///
    /// As [`set`](Node::set), which also says what dropping the future means.
    pub async fn delete(&self, name: impl AsRef<str>) -> Result<bool, Error> {
        self.delete_with(name, Expect::Anything).await
    }

    /// As [`delete`](Node::delete), if what is expected is so.
    ///
    /// # Errors
    ///
    /// As [`delete`](Node::delete); and [`Error::Conflict`] if it is not so.
    pub async fn delete_with(&self, name: impl AsRef<str>, expect: Expect) -> Result<bool, Error> {
        let wanted = Wanted::delete(name.as_ref(), expect)?;
        Ok(self.write(&[wanted]).await?.count > 0)
    }

    /// Deletes every key that matches, all at once, and tells how many that were.
    ///
    /// # Errors
    ///
    /// As [`set_every`](Node::set_every).
    pub async fn delete_every(&self, pattern: impl AsRef<str>) -> Result<u64, Error> {
        let wanted = Wanted::every(pattern.as_ref(), None)?;
        Ok(self.write(&[wanted]).await?.count.into())
    }

    pub(super) async fn write(&self, wanted: &[Wanted]) -> Result<Wrote, Error> {
        let items: Vec<Item<'_>> = wanted.iter().map(Wanted::item).collect();
        let (_, answer) = self.handle.shared.keep(|inner| inner.state.write(&items))?;
        ended_write(self, answer).await
    }

    /// The value of this name as it is now, if it has one: every set that was acknowledged to anybody before this was
    /// called is seen.
    ///
    /// # Errors
    ///
    /// [`Error::Offline`] without a link, or if it is cut meanwhile; [`Error::BadPayload`] if the value is no `T`;
    /// [`Error::BadName`], [`Error::Unauthorized`], [`Error::Backpressure`].
    ///
    /// Cancel safe.
    pub async fn get<T: DeserializeOwned>(&self, name: impl AsRef<str>) -> Result<Option<T>, Error> {
        let value = self.get_value(name).await?;
        Ok(value.map(|value| value.payload.decode()).transpose()?)
    }

    /// As [`get`](Node::get), with all that is known of the value.
    ///
    /// # Errors
    ///
    /// As [`get`](Node::get).
    pub async fn get_value(&self, name: impl AsRef<str>) -> Result<Option<Value>, Error> {
        let name = Name::parse(name.as_ref())?;
        Ok(self.get_all(Pattern::from(name)).await?.pop())
    }

    /// All values whose names match, in the order of their names. They are not of one moment: one that changes meanwhile
    /// may be given as it was or as it is.
    ///
    /// # Errors
    ///
    /// As [`get`](Node::get).
    pub async fn values(&self, pattern: impl AsRef<str>) -> Result<Vec<Value>, Error> {
        self.get_all(Pattern::parse(pattern.as_ref())?).await
    }

    /// The values of this name and of all names below it as one tree, in JSON. Keys are flat; the tree is a view, see
    /// [`tree_of`](crate::tree_of). A name without any is `null`.
    ///
    /// # Errors
    ///
    /// As [`get`](Node::get).
    pub async fn tree(&self, name: impl AsRef<str>) -> Result<serde_json::Value, Error> {
        let name = Name::parse(name.as_ref())?;
        // Below a name of the greatest length nothing can be.
        let pattern = Pattern::parse(&format!("{name}/#")).unwrap_or_else(|_| Pattern::from(&name));
        Ok(tree::tree_of(&self.get_all(pattern).await?, name.words().count()))
    }

    async fn get_all(&self, pattern: Pattern) -> Result<Vec<Value>, Error> {
        let (id, answer) = self.handle.shared.get(pattern)?;
        let give_up = |inner: &mut Inner, id| {
            inner.values.gets.remove(&id);
            inner.state.abandon_get(id);
        };
        let found = self.answered(id, answer, give_up).await??;
        Ok(found.into_iter().filter_map(Value::of).collect())
    }
}

/// What came of something that was to be kept.
pub(super) async fn ended_write(
    node: &Node,
    answer: oneshot::Receiver<Result<Wrote, NotWritten>>,
) -> Result<Wrote, Error> {
    match answer.await {
        Ok(Ok(wrote)) => Ok(wrote),
        Ok(Err(NotWritten { certain: true, why, .. })) => Err(Error::not_done(why)),
        Ok(Err(NotWritten { why, op, .. })) => Err(Error::uncertain(why, op)),
        Err(_) => Err(left(node.name())),
    }
}

impl NodeShared {
    /// Asks for something to be kept.
    pub(super) fn keep(
        &self,
        ask: impl FnOnce(&mut Inner) -> Result<WriteId, Refusal>,
    ) -> Result<(WriteId, oneshot::Receiver<Result<Wrote, NotWritten>>), Refusal> {
        let mut inner = self.lock();
        let id = ask(&mut inner)?;
        let (sender, receiver) = oneshot::channel();
        inner.values.writes.insert(id, sender);
        let mem = self.flush_soon(&mut inner);
        drop(inner);
        if let Some(mem) = mem {
            crate::transport::mem::pump(&mem);
        }
        Ok((id, receiver))
    }

    fn get(&self, pattern: Pattern) -> Result<(u32, oneshot::Receiver<Found>), Refusal> {
        let mut inner = self.lock();
        let id = inner.state.get(pattern)?;
        let (sender, receiver) = oneshot::channel();
        inner.values.gets.insert(id, sender);
        self.flush(inner);
        Ok((id, receiver))
    }
}
