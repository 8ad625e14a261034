//! What a node can do that is a link of another hub: what it gets says where it was first, and so does what it passes on.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use convoke_core::frame::Carried;
use convoke_core::journal::Entry;
use convoke_core::{Code, Event, Name, Payload, Publication, Refusal};
use futures_core::Stream;

use super::{Entries, Missed, Node, NodeOptions, Subscription};
use crate::error::Error;

/// What several patterns match, in the order in which it comes, each event once.
pub(crate) struct Passing {
    /// The node hands all events to the first; each tells what it has missed.
    subscriptions: Vec<Subscription>,
}

impl Passing {
    /// What is next; `None` when any of the patterns is not served any more.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Event, Missed>> {
        poll_fn(|context| {
            for subscription in &mut self.subscriptions {
                if let Poll::Ready(next) = Pin::new(subscription).poll_next(context) {
                    return Poll::Ready(next);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// A journal on its way to another hub.
pub(crate) struct Passed(Entries);

impl Passed {
    /// The next entry, with its command if it is one, and with its hash.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<(Entry, Option<Payload>, [u8; 16]), Missed> {
        let next = self.0.next().await;
        let (entry, command) = next.unwrap_or_else(|| {
            let why = Refusal::new(Code::Left, "it has ended");
            Err(Missed::Ended(why))
        })?;
        Ok((entry, command, self.0.taken().1))
    }

    /// The hash of the last entry that was taken, or is gone.
    pub(crate) fn hash(&self) -> [u8; 16] {
        self.0.taken().1
    }

    /// Whether all is taken that there was when the hub had last told everything.
    pub(crate) fn is_synced(&self) -> bool {
        self.0.is_synced()
    }
}

impl Node {
    /// As [`open`](Node::open), as a link of another hub.
    pub(crate) fn open_uplink(address: impl Display, options: NodeOptions) -> Result<Node, Error> {
        Node::open_as(address, options, true)
    }

    /// Which hub it has joined last, and which start of that.
    pub(crate) fn hub(&self) -> Option<([u8; 16], u64)> {
        self.handle.shared.lock().state.hub().map(|(hub, _, epoch)| (hub, epoch))
    }

    /// Why the other hub has refused an event on this link, if that is for want of a right.
    pub(crate) fn forbidden(&self) -> Option<Refusal> {
        self.handle.shared.forbidden.borrow().clone()
    }

    /// Subscribes to what any of these patterns matches.
    pub(crate) async fn subscribe_all(&self, patterns: &[String]) -> Result<Passing, Error> {
        let mut subscriptions = Vec::new();
        for pattern in patterns {
            subscriptions.push(self.subscribe(pattern).await?);
        }
        Ok(Passing { subscriptions })
    }

    /// The entries of a journal behind the entry of this place and hash, zeros for the first.
    pub(crate) async fn read_journal(&self, journal: &Name, after: u64, hash: [u8; 16]) -> Result<Passed, Error> {
        Ok(Passed(self.entries_behind(journal, after, hash).await?))
    }

    /// Hands over an entry of another hub's journal. What is given back tells its place here; zero if it was known.
    pub(crate) fn carry(
        &self,
        journal: &Name,
        carried: Carried<'_>,
    ) -> Result<impl Future<Output = Result<u64, Error>> + Send + use<>, Error> {
        self.hand_over(journal, carried)
    }

    /// Publishes an event of another hub, with where it was first. Waits for room as [`publish`](Node::publish) does.
    pub(crate) async fn pass_on(&self, event: &Event) -> Result<(), Error> {
        let Some(origin) = event.first_published() else {
            let text = format!("`{}` came without where it was first", event.topic());
            return Err(Refusal::new(Code::BadFrame, text).into());
        };
        let (name, headers) = (event.topic().as_str(), &event.headers);
        let what = Publication { name, encoding: event.payload.encoding, payload: &event.payload.bytes, headers };
        let shared = &self.handle.shared;
        while !shared.put(|state| state.pass_on(what, origin))? {
            // Before it is tried again, so that no room goes unnoticed.
            let room = shared.room.notified();
            if shared.put(|state| state.pass_on(what, origin))? {
                break;
            }
            room.await;
        }
        Ok(())
    }
}
