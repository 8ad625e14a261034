//! A subscription: events as they come, and what is missing between them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use convoke_core::node::Run;
use convoke_core::{Delivery, Event, Gap, Name, Pattern, Refusal};
use futures_core::Stream;

use super::{Node, left};
use crate::error::Error;

/// Something that a subscription or a watch did not get, told at the place where it is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missed {
    /// So many events, because they came faster than they were read.
    #[error("{0} events were lost here: they came faster than they were read")]
    Lagged(u64),
    /// What was published while the link was cut.
    #[error("what was published while {} is missing here", match .0 {
        Gap::HubRestarted => "the hub was away",
        _ => "the link was cut",
    })]
    Gap(Gap),
    /// Of a watch of every change: those before revision `first` are no longer kept. What is there now follows, and what is
    /// gone of what the watch had told; then every change again. Of the entries of a journal: those before entry `first` are
    /// no longer kept; it follows.
    #[error("what came before {first} is missing here: it is no longer kept")]
    Compacted {
        /// The first change or entry that is still kept.
        first: u64,
    },
    /// Of a watch: the hub is another one, or was restored, or knows no more of what was so long ago. What is there now
    /// follows, and what is gone of what the watch had told. What the program knows from before the watch
    /// ([`WatchOptions::after`](crate::WatchOptions)) and is not told now is gone too.
    #[error("changes are missing here: what the hub has now replaces all that it had")]
    Replaced,
    /// Of a follower: an entry cannot be applied by this program, which never leaves one out.
    #[error("{why}")]
    Stuck {
        /// The entry that could not be applied.
        seq: u64,
        /// Why not, and what to do.
        why: String,
    },
    /// Everything from here on: the hub does not serve it any more, or the node has left.
    #[error("the subscription has ended: {0}")]
    Ended(Refusal),
}

/// How a subscription is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The group of this name shares what its members subscribe to: each event goes to one of those that match, and not to all.
    /// They may be subscriptions of many nodes, or of one; each may have a pattern of its own.
    ///
    /// Members get their events in turn, but rather those for whom little waits; of one publisher a member gets what it gets
    /// in order. What waits at the hub for a member that has gone, or was silent for 6 s, goes to the others, behind what they
    /// have already; what was on its way to it is lost with it, so that no event is ever handled twice. Where each must be
    /// handled for certain, call a service instead.
    pub group: Option<String>,
}

impl Node {
    /// Subscribes to what is published on names that match: `+` stands for one word, `#` at the end for the rest. Returns
    /// when the hub has taken it: what is published anywhere after that arrives. Without a link it waits for one; over
    /// reconnections the subscription comes back by itself. Dropping it unsubscribes.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::Unauthorized`]; [`Error::Refused`] at a limit; [`Error::Backpressure`] when the link has
    /// yet to take what was asked before; [`Error::Offline`] if the node has left.
    ///
    /// Cancel safe: a subscribe that was cancelled has not subscribed.
    pub async fn subscribe(&self, pattern: impl AsRef<str>) -> Result<Subscription, Error> {
        self.subscribe_with(pattern, &SubscribeOptions::default()).await
    }

    /// The same, as the options say; such as one member of a group, of whom each event goes to one only.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Node::subscribe); [`Error::BadName`] for the name of a group too.
    pub async fn subscribe_with(
        &self,
        pattern: impl AsRef<str>,
        options: &SubscribeOptions,
    ) -> Result<Subscription, Error> {
        let pattern = Pattern::parse(pattern.as_ref())?;
        let group = options.group.as_deref().map(Name::parse).transpose()?;
        let shared = &self.handle.shared;
        let (id, answer) = shared.ask(|state| state.subscribe(pattern, group))?;
        let subscription = Subscription::new(self.clone(), id);
        answer.await.map_err(|_| left(self.name()))??;
        Ok(subscription)
    }
}

/// The events on names that match a pattern. Dropping it unsubscribes.
///
/// What the program does not read waits, up to [`NodeOptions::subscription_bytes_max`](crate::NodeOptions); it does not
/// hold up the node's other subscriptions.
#[derive(Debug)]
pub struct Subscription {
    node: Node,
    id: u32,
    run: Option<Run>,
    ended: bool,
}

impl Subscription {
    pub(super) fn new(node: Node, id: u32) -> Subscription {
        Subscription { node, id, run: None, ended: false }
    }

    /// Waits for the next event, or for the news that some are missing here. `None` after [`Missed::Ended`], for ever.
    ///
    /// Events of one publisher come in the order in which it published them. Cancel safe: nothing is lost by dropping
    /// the future.
    pub async fn next(&mut self) -> Option<Result<Event, Missed>> {
        if let Some(event) = self.run.as_mut().and_then(Iterator::next) {
            return Some(Ok(event));
        }
        poll_fn(|context| self.poll_delivery(context)).await
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Result<Event, Missed>> {
        if let Some(event) = self.run.as_mut().and_then(Iterator::next) {
            return Some(Ok(event));
        }
        let delivery = self.node.handle.shared.lock().state.take(self.id)?;
        Some(self.unpack(delivery))
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event, Missed>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut inner = self.node.handle.shared.lock();
        let Some(delivery) = inner.state.take(self.id) else {
            inner.wakers.insert(self.id, context.waker().clone());
            return Poll::Pending;
        };
        drop(inner);
        Poll::Ready(Some(self.unpack(delivery)))
    }

    fn unpack(&mut self, delivery: Delivery) -> Result<Event, Missed> {
        match delivery {
            Delivery::Run(mut run) => {
                let first = run.next().expect("a run holds at least one event");
                self.run = Some(run);
                Ok(first)
            }
            Delivery::Event(event) => Ok(event),
            Delivery::Lagged(count) => Err(Missed::Lagged(count)),
            Delivery::Gap(gap) => Err(Missed::Gap(gap)),
            Delivery::Ended(why) => {
                self.ended = true;
                Err(Missed::Ended(why))
            }
        }
    }
}

/// What [`next`](Subscription::next) gives, for code that takes streams.
impl Stream for Subscription {
    type Item = Result<Event, Missed>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let subscription = self.get_mut();
        match subscription.run.as_mut().and_then(Iterator::next) {
            Some(event) => Poll::Ready(Some(Ok(event))),
            None => subscription.poll_delivery(context),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let shared = &self.node.handle.shared;
        let mut inner = shared.lock();
        inner.wakers.remove(&self.id);
        inner.answers.remove(&self.id);
        inner.state.unsubscribe(self.id);
        let mem = shared.flush_soon(&mut inner);
        drop(inner);
        if let Some(mem) = mem {
            crate::transport::mem::pump(&mem);
        }
    }
}
