//! What stories are told with: a hub on each transport, and nodes that join it.
#![allow(dead_code, unreachable_pub, reason = "shared by tests, none of which uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[cfg(target_os = "linux")]
pub mod disk;
#[cfg(target_os = "linux")]
pub mod hub_process;
pub mod linked;
#[cfg(target_os = "linux")]
pub mod process;
pub mod proxy;

use std::path::Path;
use std::time::{Duration, Instant};

use convoke::{
    Authority, Error, Event, Hub, HubOptions, Missed, Node, NodeOptions, OwnAuthority, Standing, Subscription,
    TlsOptions,
};

/// Longer than anything in a story takes, so that a story that hangs fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A way for hub and nodes to meet.
#[derive(Clone, Copy, Debug)]
pub enum Transport {
    /// In one process.
    Mem,
    /// Loopback.
    Tcp,
    /// Loopback, encrypted.
    Tls,
    /// A Unix socket.
    Unix,
}

/// A hub that a story plays at.
pub struct Stage {
    pub hub: Hub,
    pub address: String,
    pub transport: Transport,
    folder: tempfile::TempDir,
}

impl Stage {
    pub async fn new(transport: Transport) -> Stage {
        Stage::with(transport, HubOptions::default()).await
    }

    pub async fn with(transport: Transport, options: HubOptions) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let listen = listen(transport, &folder);
        let data = Some(folder.path().join("data"));
        if matches!(transport, Transport::Tls) {
            OwnAuthority::create(folder.path().join("data")).unwrap().certify_hub(&[]).unwrap();
        }
        let hub = Hub::start(HubOptions { listen: vec![listen], data, ..options }).await.unwrap();
        let address = hub.addresses()[0].to_string();
        Stage { hub, address, transport, folder }
    }

    /// A folder of this story's own, which holds the hub's too.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The options of a node that may join.
    pub fn options(&self, name: &str) -> NodeOptions {
        let (token, authority) = (Some(self.hub.token().clone()), self.authority());
        NodeOptions { token, authority, timeout: PATIENCE, ..NodeOptions::new(name) }
    }

    /// What another hub needs to listen where this one does.
    pub fn tls(&self) -> Option<TlsOptions> {
        let file = |name: &str| self.folder().join("data/tls").join(name);
        let certificate = file("server.pem");
        certificate.exists().then(|| TlsOptions { certificate, key: file("server.key"), client_authority: None })
    }

    /// Whom the nodes of a hub over TLS believe.
    pub fn authority(&self) -> Option<Authority> {
        Authority::read(self.folder().join("data/tls/authority.pem")).ok()
    }

    pub async fn node(&self, name: &str) -> Node {
        Node::connect_with(&self.address, self.options(name)).await.unwrap()
    }

    /// Stops the hub.
    pub async fn stop(self) -> Stopped {
        let Stage { hub, address, transport, folder } = self;
        hub.stop().await;
        Stopped { address, transport, folder }
    }

    /// Stops the hub and starts it again at the same address.
    pub async fn restart(self) -> Stage {
        self.stop().await.start().await
    }
}

/// Where a hub was.
pub struct Stopped {
    pub address: String,
    pub transport: Transport,
    folder: tempfile::TempDir,
}

impl Stopped {
    /// Starts the hub again: the same address, the same folder.
    pub async fn start(self) -> Stage {
        let Stopped { address, transport, folder } = self;
        let options = HubOptions { data: Some(folder.path().join("data")), ..HubOptions::listen([address.clone()]) };
        // Another program may hold the port for a moment: whoever dials out gets any that is free.
        let hub = soon(async {
            loop {
                match Hub::start(options.clone()).await {
                    Err(Error::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                    other => return other.unwrap(),
                }
            }
        });
        Stage { hub: hub.await, address, transport, folder }
    }
}

fn listen(transport: Transport, folder: &tempfile::TempDir) -> String {
    match transport {
        Transport::Mem => format!("mem://{}", folder.path().display()),
        Transport::Tcp => "tcp://127.0.0.1:0".into(),
        Transport::Tls => "tls://127.0.0.1:0".into(),
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

/// Waits until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "it takes too long until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a node stands so with its hub.
pub async fn until_standing(node: &Node, so: impl FnMut(&Standing) -> bool) {
    soon(node.watch_standing().wait_for(so)).await.expect("the node lives");
}

/// Waits until a node has lost its link.
pub async fn until_offline(node: &Node) {
    until_standing(node, |standing| matches!(standing, Standing::Offline(_))).await;
}

/// What a subscription to the events of one publisher on one topic got, up to the event of this seq.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub received: u64,
    pub lagged: u64,
    /// The last event before each announcement that some are missing, and the first after it.
    pub holes: Vec<(u64, u64)>,
}

/// Reads up to the event of this seq. What is missing must be announced where it is missing, exactly.
pub async fn tally(subscription: &mut Subscription, from: u64, to: u64) -> Tally {
    let mut tally = Tally::default();
    let mut expected = from;
    while expected <= to {
        match next(subscription).await {
            Ok(event) => {
                assert_eq!(event.seq, expected, "after {tally:?}");
                tally.received += 1;
                expected += 1;
            }
            Err(Missed::Lagged(count)) => {
                tally.lagged += count;
                tally.holes.push((expected - 1, expected + count));
                expected += count;
            }
            Err(other) => panic!("{other} after {tally:?}"),
        }
    }
    tally
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
        $crate::on_every_transport!(@ tls, Tls, $($(#[$attribute])* $story $stage $body)*);
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
