//! A watch: the values that are there, then every change.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll};
use std::time::Duration;

use convoke_core::frame::WatchMode;
use convoke_core::node::Watched;
use convoke_core::{Change, Code, Name, Pattern, Refusal, Rev};
use futures_core::Stream;
use serde::de::DeserializeOwned;

use super::{Inner, Missed, Node, left};
use crate::error::Error;

/// How values are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// Every change, one after the other, as long as the hub keeps them. Otherwise a change may be left out when a later
    /// one of the same key is there, so that who is slow still gets what is so now.
    pub all: bool,
    /// Only what came after this revision. What has changed since then comes, and nothing that was so before.
    pub after: Option<Rev>,
}

/// The values whose names match a pattern: what they are, then what becomes of them. Dropping it ends it.
///
/// It has no gap and no repeat, also where the link is cut or the hub is restarted: it goes on behind what it had. Where the
/// hub cannot go on from there, it tells anew what is there, and the watch makes of that the changes that are news to this
/// program, deletions included.
///
/// What the program does not take waits at the hub, and costs nothing there; about 1 MiB of it waits here.
#[derive(Debug)]
pub struct Watch {
    node: Node,
    id: u32,
    ended: bool,
}

impl Watch {
    /// Waits for the next change; each value that is there when the watch begins is one too. `None` after
    /// [`Missed::Ended`], for ever.
    ///
    /// Changes come in the order of their revisions (those of values in memory in an order of their own). Those that were
    /// made together, in a batch, have the same revision and come one right after the other: when the first is there, the
    /// others are too ([`try_next`](Watch::try_next)).
    ///
    /// # Errors
    ///
    /// [`Missed::Compacted`] with [`WatchOptions::all`], where changes are no longer kept, and [`Missed::Replaced`]: the
    /// watch goes on. [`Missed::Ended`]: it does not.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    pub async fn next(&mut self) -> Option<Result<Change, Missed>> {
        poll_fn(|context| self.poll_change(context)).await
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Result<Change, Missed>> {
        if self.ended {
            return None;
        }
        let inner = self.node.handle.shared.lock();
        let next = self.take(inner).ok()?;
        Some(self.unpack(next))
    }

    /// What is next; the lock again if there is nothing.
    fn take<'a>(&self, mut inner: MutexGuard<'a, Inner>) -> Result<Watched, MutexGuard<'a, Inner>> {
        let Some(next) = inner.state.take_change(self.id) else { return Err(inner) };
        if inner.state.has_output() {
            // The hub learns that there is room again.
            self.node.handle.shared.flush(inner);
        }
        Ok(next)
    }

    /// Whether the program has taken all that there was when the watch last caught up with the hub. What comes then has
    /// changed since. False from when the link is cut until the watch has caught up again.
    pub fn is_synced(&self) -> bool {
        self.node.handle.shared.lock().state.is_caught_up(self.id)
    }

    /// Takes what there is until [`is_synced`](Watch::is_synced): at first that is all values. Waits for a link.
    ///
    /// # Errors
    ///
    /// What [`next`](Watch::next) tells; the changes before it are lost to the caller, the next call goes on behind it.
    ///
    /// Not cancel safe: changes that it had taken are lost with the future.
    pub async fn snapshot(&mut self) -> Result<Vec<Change>, Missed> {
        let mut snapshot = Vec::new();
        loop {
            let next = poll_fn(|context| {
                if self.is_synced() {
                    return Poll::Ready(None);
                }
                match self.poll_change(context) {
                    // It may have caught up between the two looks, with nothing to take.
                    Poll::Pending if self.is_synced() => Poll::Ready(None),
                    next => next,
                }
            });
            match next.await {
                Some(change) => snapshot.push(change?),
                None => return Ok(snapshot),
            }
        }
    }

    fn poll_change(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Change, Missed>>> {
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

    fn unpack(&mut self, next: Watched) -> Result<Change, Missed> {
        match next {
            Watched::Change(change) => Ok(change),
            Watched::Compacted { first } => Err(Missed::Compacted { first }),
            Watched::Replaced => Err(Missed::Replaced),
            Watched::Ended(why) => {
                self.ended = true;
                Err(Missed::Ended(why))
            }
        }
    }
}

/// What [`next`](Watch::next) gives, for code that takes streams.
impl Stream for Watch {
    type Item = Result<Change, Missed>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_change(context)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let shared = &self.node.handle.shared;
        let mut inner = shared.lock();
        inner.wakers.remove(&self.id);
        inner.answers.remove(&self.id);
        inner.state.unwatch(self.id);
        shared.flush(inner);
    }
}

impl Node {
    /// Watches the values whose names match: `+` stands for one word, `#` at the end for the rest. First comes what is
    /// there, then what changes. Returns when the hub has taken it. Without a link it waits for one; over reconnections
    /// the watch goes on where it was. Dropping it ends it.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::Unauthorized`]; [`Error::Refused`] at a limit; [`Error::Backpressure`] when the link
    /// has yet to take what was asked before; [`Error::Offline`] if the node has left.
    ///
    /// Cancel safe: a watch that was cancelled has not begun.
    pub async fn watch(&self, pattern: impl AsRef<str>) -> Result<Watch, Error> {
        self.watch_with(pattern, WatchOptions::default()).await
    }

    /// As [`watch`](Node::watch), with options.
    ///
    /// # Errors
    ///
    /// As [`watch`](Node::watch).
    pub async fn watch_with(&self, pattern: impl AsRef<str>, options: WatchOptions) -> Result<Watch, Error> {
        let pattern = Pattern::parse(pattern.as_ref())?;
        let mode = if options.all { WatchMode::All } else { WatchMode::Latest };
        let (id, answer) = self.handle.shared.ask(|state| state.watch(pattern, mode, options.after))?;
        let watch = Watch { node: self.clone(), id, ended: false };
        answer.await.map_err(|_| left(self.name()))??;
        Ok(watch)
    }

    /// Waits until the value of this name is so that `predicate` holds, and gives it; at once, if it is so already. While
    /// there is no value it waits. A value that is set and changed again at once may be left out.
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`] if it is not so within `timeout`; [`Error::BadPayload`] as soon as the value is no `T`; and as
    /// [`watch`](Node::watch).
    ///
    /// Cancel safe.
    pub async fn wait<T: DeserializeOwned>(
        &self,
        name: impl AsRef<str>,
        mut predicate: impl FnMut(&T) -> bool,
        timeout: Duration,
    ) -> Result<T, Error> {
        let name = Name::parse(name.as_ref())?;
        let wait = async {
            let mut watch = self.watch(&name).await?;
            loop {
                match watch.next().await {
                    Some(Ok(change)) => {
                        let Some(payload) = change.payload else { continue };
                        let value = payload.decode()?;
                        if predicate(&value) {
                            return Ok(value);
                        }
                    }
                    Some(Err(Missed::Ended(why))) => return Err(why.into()),
                    Some(Err(_)) => {}
                    None => return Err(left(self.name())),
                }
            }
        };
        tokio::time::timeout(timeout, wait).await.unwrap_or_else(|_| {
            let text = format!("wait for `{name}`: it has not become so within {timeout:?}");
            Err(Refusal::new(Code::TimedOut, text).into())
        })
    }
}
