//! What a node can do that is a link of another hub: what it gets says where it was first, and so does what it passes on.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use convoke_core::{Event, Publication};
use futures_core::Stream;

use super::{Missed, Node, NodeOptions, Subscription};
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

impl Node {
    /// As [`open`](Node::open), as a link of another hub.
    pub(crate) fn open_uplink(address: impl Display, options: NodeOptions) -> Result<Node, Error> {
        Node::open_as(address, options, true)
    }

    /// Which hub it has joined last.
    pub(crate) fn hub(&self) -> Option<[u8; 16]> {
        self.handle.shared.lock().state.hub().map(|(hub, _)| hub)
    }

    /// Subscribes to what any of these patterns matches.
    pub(crate) async fn subscribe_all(&self, patterns: &[String]) -> Result<Passing, Error> {
        let mut subscriptions = Vec::new();
        for pattern in patterns {
            subscriptions.push(self.subscribe(pattern).await?);
        }
        Ok(Passing { subscriptions })
    }

    /// Publishes an event of another hub, with where it was first. Waits for room as [`publish`](Node::publish) does.
    pub(crate) async fn pass_on(&self, event: &Event) -> Result<(), Error> {
        let Some(origin) = event.first_published() else {
            let text = format!("`{}` came without where it was first", event.topic());
            return Err(convoke_core::Refusal::new(convoke_core::Code::BadFrame, text).into());
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
