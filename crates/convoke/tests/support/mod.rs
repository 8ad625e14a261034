//! What stories are told with: a hub on each transport, and nodes that join it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared by tests, none of which uses all of it")]

use std::time::Duration;

use convoke::{Event, Hub, HubOptions, Missed, Node, NodeOptions, Subscription};

/// Longer than anything in a story takes, so that a story that hangs fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A way for hub and nodes to meet.
#[derive(Clone, Copy, Debug)]
pub enum Transport {
    /// In one process.
    Mem,
    /// Loopback.
    Tcp,
    /// A Unix socket.
    Unix,
}

/// A hub that a story plays at.
pub struct Stage {
    pub hub: Hub,
    pub address: String,
    folder: tempfile::TempDir,
}

impl Stage {
    pub async fn new(transport: Transport) -> Stage {
        Stage::with(transport, HubOptions::default()).await
    }

    pub async fn with(transport: Transport, options: HubOptions) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let listen = listen(transport, &folder);
        let hub = Hub::start(HubOptions { listen: vec![listen], ..options }).await.unwrap();
        let address = hub.addresses()[0].to_string();
        Stage { hub, address, folder }
    }

    /// The options of a node that may join.
    pub fn options(&self, name: &str) -> NodeOptions {
        NodeOptions { token: Some(self.hub.token().clone()), timeout: PATIENCE, ..NodeOptions::new(name) }
    }

    pub async fn node(&self, name: &str) -> Node {
        Node::connect_with(&self.address, self.options(name)).await.unwrap()
    }

    /// Stops the hub and starts another at the same address.
    pub async fn restart(self) -> Stage {
        let Stage { hub, address, folder } = self;
        hub.stop().await;
        let hub = Hub::start(HubOptions::listen([address.clone()])).await.unwrap();
        Stage { hub, address, folder }
    }
}

fn listen(transport: Transport, folder: &tempfile::TempDir) -> String {
    match transport {
        Transport::Mem => format!("mem://{}", folder.path().display()),
        Transport::Tcp => "tcp://127.0.0.1:0".into(),
        Transport::Unix => format!("unix://{}", folder.path().join("hub.sock").display()),
    }
}

/// The next thing a subscription gets.
pub async fn next(subscription: &mut Subscription) -> Result<Event, Missed> {
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
    next.expect("something arrives").expect("the subscription lives")
}

/// The next event, which nothing is missing before.
pub async fn event(subscription: &mut Subscription) -> Event {
    next(subscription).await.expect("nothing is missing")
}

/// Waits for something that takes a moment.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes to an end")
}

/// Tells each story once for every transport. To add a transport, add its line here.
#[macro_export]
macro_rules! on_every_transport {
    ($($(#[$attribute:meta])* async fn $story:ident($stage:ident: Stage) $body:block)*) => {
        $crate::on_every_transport!(@ mem, Mem, $($(#[$attribute])* $story $stage $body)*);
        $crate::on_every_transport!(@ tcp, Tcp, $($(#[$attribute])* $story $stage $body)*);
        $crate::on_every_transport!(@ unix, Unix, $($(#[$attribute])* $story $stage $body)*);
    };
    (@ $module:ident, $transport:ident, $($(#[$attribute:meta])* $story:ident $stage:ident $body:block)*) => {
        mod $module {
            use super::*;
            $(
                $(#[$attribute])*
                #[tokio::test]
                async fn $story() {
                    #[allow(unused_mut)]
                    let mut $stage = Stage::new(Transport::$transport).await;
                    $body
                }
            )*
        }
    };
}
