//! A hub inside a program. The `convoke` program starts the same.

mod announce;
pub(crate) mod folder;
mod shared;
mod thread;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use convoke_core::foundation::Memory;
use convoke_core::{HubConfig, HubState, Membership, Name, Refusal, SelectDefault};
use tokio::sync::oneshot;

pub(crate) use shared::HubShared;

use crate::address::{Address, PORT};
use crate::announced;
use crate::clock::now;
use crate::error::Error;
use crate::store::StoreThread;
use crate::tls::TlsOptions;
use crate::tls::hub::HubTls;
use crate::token::{OWNER, Token};
use shared::Foundation;
use thread::{Listening, Presence};

/// How a hub is started.
#[derive(Clone, Debug, Default)]
pub struct HubOptions {
    /// Where it listens; port 0 for any free one. Empty for the defaults: port 7117 of 127.0.0.1 and, where there is one,
    /// of `[::1]`, and a Unix socket in the user's runtime folder.
    pub listen: Vec<String>,
    /// The folder with what the hub keeps; made if it is not there. `None` keeps nothing: every start is a new hub.
    pub data: Option<PathBuf>,
    /// Links at one time; 10,000 if zero.
    pub links_max: usize,
    /// The longest payload, headers included, in bytes; 1 MiB if zero, 64 MiB at most.
    pub payload_bytes_max: usize,
    /// What may wait for one link before its slow policy decides, in bytes; 8 MiB if zero, at least 1 MiB: a turn of the
    /// hub may bring as much for one link before it can be written.
    pub link_bulk_bytes_max: usize,
    /// How long a link may take to join, TLS included; 5 s if zero.
    pub join_time: Duration,
    /// How it judges who is alive.
    pub membership: Membership,
    /// Values of these names, and of all below them, are kept in memory only: quicker to set, and gone with the hub.
    pub memory: Vec<String>,
    /// How a provider is chosen for a call that does not say how.
    pub select: SelectDefault,
    /// What it shows on links over TLS. If `None`, what `convoke tls init` has made in the folder `tls` of `data`, if there
    /// is any. With it the hub listens on other addresses than those of this machine alone too; there, and on `tls://`, it
    /// takes links over TLS only, and on others both.
    pub tls: Option<TlsOptions>,
}

impl HubOptions {
    /// The usual hub that listens on these addresses.
    pub fn listen<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> HubOptions {
        HubOptions { listen: addresses.into_iter().map(Into::into).collect(), ..HubOptions::default() }
    }

    fn config(&self) -> Result<HubConfig, Error> {
        let mut config = HubConfig { select: self.select, ..HubConfig::default() };
        config.memory = self.memory.iter().map(|prefix| Name::parse(prefix)).collect::<Result<_, _>>()?;
        let set = |to: &mut usize, given: usize| {
            if given != 0 {
                *to = given;
            }
        };
        set(&mut config.links_max, self.links_max);
        set(&mut config.payload_bytes_max, self.payload_bytes_max);
        set(&mut config.link_bulk_bytes_max, self.link_bulk_bytes_max);
        config.link_bulk_bytes_max = config.link_bulk_bytes_max.max(thread::LINK_BULK_BYTES_MIN);
        if !self.join_time.is_zero() {
            config.join_time = self.join_time;
        }
        config.membership = self.membership.clone();
        Ok(config)
    }
}

/// A running hub. Dropping it stops it without waiting; [`stop`](Hub::stop) waits.
#[derive(Debug)]
pub struct Hub {
    shared: Arc<HubShared>,
    addresses: Vec<Address>,
    token: Token,
    tls: Option<Arc<HubTls>>,
    /// Dropped before `stop`.
    presence: Presence,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hub {
    /// Starts a hub and returns when it listens everywhere it shall. Its links live on a thread of its own, and what it
    /// keeps on another; before it listens it reads all that it has kept and checks it, which takes some seconds for a
    /// gigabyte. The soft limit of open files is raised to the hard one, as each link over a socket needs one.
    ///
    /// For every address over TCP or a Unix socket it writes a file that only this user can read, so that this user's
    /// programs find the token; see [`Node::connect`](crate::Node::connect).
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if another hub has the address or the folder; [`Error::Configuration`] for what is no address or
    /// not one of this machine alone although the hub has no certificate, a certificate that cannot be used, or a folder that
    /// is not a hub's; [`Error::Refused`] with
    /// [`Code::StorageFailed`](crate::Code::StorageFailed) if what was kept is corrupt: it is left as it is; [`Error::Io`].
    pub async fn start(options: HubOptions) -> Result<Hub, Error> {
        let given: Vec<Address> = options.listen.iter().map(|text| Address::parse(text)).collect::<Result<_, _>>()?;
        let config = options.config()?;
        let join_time = config.join_time;
        let tls = options.tls.or_else(|| crate::tls::default_options(options.data.as_deref()?));
        let tls = tls.map(HubTls::open).transpose()?.map(Arc::new);
        let folder = folder::open(options.data.as_deref())?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::io("random bytes for a hub", error.into()))?;
        let mut state = HubState::new(config, folder.identity, seed, now());
        // Read once: what is set later changes nothing.
        let token = folder.token.clone();
        state.add_token(token.name().clone(), token.key());
        state.set_wall(wall_ms(), now());
        raise_open_files();

        let store = match folder.kept {
            Some((path, lock)) => Some(StoreThread::open(path, folder.identity.history, lock).await?),
            None => None,
        };
        let foundation = match &store {
            Some(store) => Foundation::Store(store.queue()),
            None => Foundation::Memory(Memory::default()),
        };
        let shared = Arc::new(HubShared::new(state, foundation));
        if let Some(store) = &store {
            store.start(shared.hearing());
        }
        // Asks for what was kept.
        drop(shared.lock());
        shared.ready().await?;

        let (started, listening) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread_hub =
            thread::Owned { shared: shared.clone(), token: token.clone(), tls: tls.clone(), store, join_time };
        let thread = std::thread::Builder::new()
            .name("convoke-hub".into())
            .spawn(move || thread::run(thread_hub, given, started, stopped))
            .map_err(|error| Error::io("thread of a hub", error))?;
        let Listening { addresses, presence } =
            listening.await.map_err(|_| Error::Configuration("the hub's thread ended at once".into()))??;
        Ok(Hub { shared, addresses, token, tls, presence, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens, in the order asked for, with the ports that it got.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The token that lets a program in over TCP.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Reads the files of [`HubOptions::tls`] again, for the links that come from now on; those that are there stay.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] or [`Error::Io`] if they cannot be used, or the hub was started without any: then all stays as
    /// it was.
    pub fn reload_tls(&self) -> Result<(), Error> {
        match &self.tls {
            Some(tls) => tls.reload(),
            None => Err(Error::Configuration("the hub was started without a certificate; start it again".into())),
        }
    }

    /// Whether it was started with a certificate, so that links over TLS are taken.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// How many nodes are joined now.
    pub fn nodes(&self) -> usize {
        self.shared.lock().census().nodes
    }

    /// Bytes that wait for slow links now.
    pub fn waiting_bytes(&self) -> usize {
        self.shared.lock().census().bulk_bytes
    }

    /// Waits until the hub cannot keep anything any more, and says why: its disk has failed. From then on it acknowledges
    /// no change, and what was acknowledged before is safe; stop it, look after the disk, and start it again. A full disk is
    /// no such failure. Cancel safe.
    pub async fn failed(&self) -> Refusal {
        self.shared.failed().await
    }

    /// Tells every node that the hub stops, and returns when the links are closed, the addresses free, and everything that
    /// is kept is written.
    pub async fn stop(mut self) {
        self.presence = Presence::default();
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It ends by itself within about a second; a panic there was reported there.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The wall clock, in milliseconds since 1970.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock that stands before 1970 knows nothing of the time.
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!("the limit of open files could not be raised: {error}");
        }
    }
}

fn admin() -> Name {
    Name::parse(OWNER).expect("it is a name")
}

/// The addresses of a hub that is not told any.
fn defaults() -> Vec<Address> {
    let mut addresses = vec![Address::Tcp { host: "127.0.0.1".into(), port: PORT }];
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        addresses.push(Address::Tcp { host: "::1".into(), port: PORT });
    }
    #[cfg(unix)]
    if let Some(folder) = announced::folder() {
        addresses.push(Address::Unix(folder.join("hub.sock")));
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Node, NodeOptions};

    #[tokio::test]
    async fn who_leaves_a_hub_that_stands_still_is_told_what_may_be_lost() {
        let hub = Hub::start(HubOptions::listen(["127.0.0.1:0"])).await.unwrap();
        let options = NodeOptions { token: Some(hub.token().clone()), ..NodeOptions::new("press") };
        let press = Node::connect_with(&hub.addresses()[0], options).await.unwrap();
        let mut lost = press.watch_lost();
        press.publish("a", &1).await.unwrap();
        press.confirm().await.unwrap();
        // Its thread waits for the state, which another has.
        let shared = hub.shared.clone();
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let (has_it, taken) = oneshot::channel();
        let holder = std::thread::spawn(move || {
            let _state = shared.lock();
            has_it.send(()).unwrap();
            waits.recv().unwrap();
        });
        taken.await.unwrap();
        for n in 0..7 {
            press.publish("a", &n).await.unwrap();
        }
        press.leave().await;
        assert_eq!(*lost.borrow_and_update(), 7);
        go_on.send(()).unwrap();
        holder.join().unwrap();
        hub.stop().await;
    }
}
