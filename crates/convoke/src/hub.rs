//! A hub inside a program. The `convoke` program starts the same.

mod announce;
mod backups;
pub(crate) mod folder;
mod room;
mod shared;
mod thread;
mod uplinks;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use convoke_core::foundation::Memory;
use convoke_core::{
    Applicant, Code, HubConfig, HubIdentity, HubState, Membership, Name, Refusal, Rights, SelectDefault,
};
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
use folder::Folder;
use shared::Foundation;
use thread::{Listening, Presence};
use uplinks::Uplinks;
pub use uplinks::{Direction, UplinkOptions};

/// How a hub is started.
#[derive(Clone, Debug, Default)]
pub struct HubOptions {
    /// Where it listens; port 0 for any free one. Empty for the defaults: port 7117 of 127.0.0.1 and, where there is one,
    /// of `[::1]`, and a Unix socket in the user's runtime folder.
    pub listen: Vec<String>,
    /// The folder with what the hub keeps; made if it is not there. `None` keeps nothing: every start is a new hub.
    ///
    /// Where the length of files is limited (`ulimit -f`) the system kills a program that makes one longer, unless it
    /// handles or ignores the signal `SIGXFSZ`; then the hub refuses changes with
    /// [`Code::StorageFull`](crate::Code::StorageFull), as on a full disk.
    pub data: Option<PathBuf>,
    /// Links at one time; 10,000 if zero.
    pub links_max: usize,
    /// Links at one time from one address, or of IPv6 from one network of 64 bits; 1,000 if zero. Those of the hub's own
    /// machine are not counted.
    pub links_per_source_max: usize,
    /// The longest payload, headers included, in bytes; 1 MiB if zero, 64 MiB at most.
    pub payload_bytes_max: usize,
    /// What may wait for one link before its slow policy decides, in bytes; 8 MiB if zero, at least 1 MiB: a turn of the
    /// hub may bring as much for one link before it can be written.
    pub link_bulk_bytes_max: usize,
    /// How long a link may take to join, TLS included; 5 s if zero.
    pub join_time: Duration,
    /// What may wait for all links together before only those with less than their share of it get more, in bytes; 1 GiB
    /// if zero.
    pub hub_bulk_bytes_max: usize,
    /// How it judges who is alive.
    pub membership: Membership,
    /// Values of these names, and of all below them, are kept in memory only: quicker to set, and gone with the hub. A hub
    /// that has kept such values durably before does not start, so that a name given by mistake loses nothing: delete them
    /// first.
    pub memory: Vec<String>,
    /// How a provider is chosen for a call that does not say how.
    pub select: SelectDefault,
    /// What it shows on links over TLS. If `None`, what `convoke tls init` has made in the folder `tls` of `data`, if there
    /// is any. With it the hub listens on other addresses than those of this machine alone too; there, and on `tls://`, it
    /// takes links over TLS only, and on others both.
    pub tls: Option<TlsOptions>,
    /// Its links to other hubs. They run on the runtime that [`Hub::start`] is called on.
    pub uplinks: Vec<UplinkOptions>,
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
        set(&mut config.links_per_source_max, self.links_per_source_max);
        set(&mut config.payload_bytes_max, self.payload_bytes_max);
        set(&mut config.link_bulk_bytes_max, self.link_bulk_bytes_max);
        set(&mut config.hub_bulk_bytes_max, self.hub_bulk_bytes_max);
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
    uplinks: Option<Uplinks>,
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
    /// not one of this machine alone although the hub has no certificate, a certificate that cannot be used, a folder that is
    /// not a hub's, or [`memory`](HubOptions::memory) for names that have durable values; [`Error::Refused`] with
    /// [`Code::StorageFailed`](crate::Code::StorageFailed) if what was kept is corrupt: it is left as it is; [`Error::Io`].
    pub async fn start(options: HubOptions) -> Result<Hub, Error> {
        let given: Vec<Address> = options.listen.iter().map(|text| Address::parse(text)).collect::<Result<_, _>>()?;
        let mut config = options.config()?;
        let uplinks = uplinks::check(&options.uplinks)?;
        let tls = options.tls.or_else(|| crate::tls::default_options(options.data.as_deref()?));
        let tls = tls.map(HubTls::open).transpose()?.map(Arc::new);
        let Folder { identity, token, kept } = folder::open(options.data.as_deref())?;
        let store = match kept {
            Some((path, lock)) => {
                config.changes_bytes_max = room::for_changes(&path);
                let segment_bytes_max = room::for_a_segment(&path);
                let store = StoreThread::open(path.clone(), identity, segment_bytes_max, lock).await?;
                folder::store_is_there(&path)?;
                Some(store)
            }
            None => None,
        };
        let mut hub = Hub::start_on(given, config, identity, token, tls, store).await?;
        match Uplinks::start(&hub.shared, identity.hub, uplinks) {
            Ok(uplinks) => hub.uplinks = Some(uplinks),
            Err(error) => {
                hub.stop().await;
                return Err(error);
            }
        }
        Ok(hub)
    }

    async fn start_on(
        given: Vec<Address>,
        config: HubConfig,
        identity: HubIdentity,
        token: Token,
        tls: Option<Arc<HubTls>>,
        store: Option<StoreThread>,
    ) -> Result<Hub, Error> {
        let join_time = config.join_time;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::io("random bytes for a hub", error.into()))?;
        raise_open_files();
        // A block, so that the state is no part of this future, which waits below.
        let shared = {
            let mut state = HubState::new(config, identity, seed, now());
            // Read once: what is set later changes nothing.
            state.add_token(token.name().clone(), token.key());
            state.set_wall(wall_ms(), now());
            let foundation = match &store {
                Some(store) => Foundation::Store(store.queue()),
                None => Foundation::Memory(Memory::default()),
            };
            Arc::new(HubShared::new(state, foundation))
        };
        if let Some(store) = &store {
            store.start(shared.hearing());
        }
        // Asks for what was kept.
        drop(shared.lock());
        let is_ready = shared.ready().await;
        let kept_elsewhere = shared.lock().kept_although_in_memory();
        if let (Err(error), _) | (Ok(()), Some(error)) = (is_ready, kept_elsewhere.map(moved)) {
            // Who is told may try again at once.
            if let Some(store) = store {
                let _ = tokio::task::spawn_blocking(move || store.finish()).await;
            }
            return Err(error);
        }

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
        Ok(Hub { shared, addresses, token, tls, uplinks: None, presence, stop: Some(stop), thread: Some(thread) })
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

    /// Lets the program decide on every node that joins from now on, over whatever transport: it is asked when the node has
    /// proved who it is and its rights allow it to join, and gives the rights that the node is to have on this link
    /// (`None` for those that it has anyway), or why it is refused. There is one such decision; a later one takes its place.
    /// Does not wait.
    ///
    /// The hub stands still while it is asked, so it must not wait for anything, and must not call this hub or its nodes. If
    /// it panics, the node that it was asked about is refused with [`Code::Unauthorized`], the log says so,
    /// and nobody else notices; it is asked again about the next one.
    pub fn set_admission(&self, admission: impl Fn(Applicant<'_>) -> Result<Option<Rights>, Refusal> + Send + 'static) {
        self.shared.lock().set_admission(Box::new(move |applicant| {
            let node = applicant.node;
            // What it has half done is its own: the hub holds nothing of it.
            catch_unwind(AssertUnwindSafe(|| admission(applicant))).unwrap_or_else(|_| {
                tracing::error!("`{node}` was refused: the program that decides who may join has panicked");
                let text =
                    format!("`{node}` may not join: the program that decides on that has panicked; see its output");
                Err(Refusal::new(Code::Unauthorized, text))
            })
        }));
    }

    /// Changes what can be changed while it runs: `links_max`, `links_per_source_max`, `link_bulk_bytes_max`,
    /// `hub_bulk_bytes_max`, `membership` and `select` become what they are in `options`; all else in there is not looked at.
    /// Does not wait.
    ///
    /// No link is cut: where there are more than there may be now, no more are let in. How often a link beats and what may
    /// wait for it is told to it when it joins, so both change for those that join from then on.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`] if `memory` has what is no name; nothing is changed then.
    pub fn reconfigure(&self, options: &HubOptions) -> Result<(), Error> {
        let config = options.config()?;
        self.shared.lock().reconfigure(&config);
        self.shared.wake();
        Ok(())
    }

    /// Waits until the hub cannot keep anything any more, and says why: its disk has failed. From then on it acknowledges
    /// no change, and what was acknowledged before is safe; stop it, look after the disk, and start it again. A full disk is
    /// no such failure. Cancel safe.
    ///
    /// The future does not need the hub, and is ready at once if it has failed already: asked again behind
    /// [`stop`](Hub::stop) it tells whether what was asked for last could be written.
    pub fn failed(&self) -> impl Future<Output = Refusal> + Send + use<> {
        let shared = self.shared.clone();
        async move { shared.failed().await }
    }

    /// Tells every node that the hub stops, and returns when the links are closed, the addresses free, and everything that
    /// is kept is written.
    pub async fn stop(mut self) {
        if let Some(uplinks) = self.uplinks.take() {
            uplinks.stop().await;
        }
        self.presence = Presence::default();
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It ends by itself within about a second; a panic there was reported there.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Why a hub does not start: these values would be there beside those in memory, each under the same name.
fn moved((first, count): (Name, usize)) -> Error {
    let others = match count - 1 {
        0 => String::new(),
        1 => " and another value".into(),
        more => format!(" and {more} other values"),
    };
    Error::Configuration(format!(
        "`{first}`{others} of the data folder would be kept in memory only, and be lost; start the hub once more with \
         these names kept as before, and delete the values, or keep the names so"
    ))
}

/// The wall clock, in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
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
    use std::time::Duration;

    use super::*;
    use crate::node::{Node, NodeOptions};
    use crate::store::tests::that_waits;

    /// To one that does not know yet what it has kept it would look as if nothing had been kept.
    #[tokio::test]
    async fn nobody_joins_before_what_was_kept_is_read() {
        let address = Address::parse("mem://nobody-joins-before").unwrap();
        let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 3 };
        let (store, read) = that_waits();
        let token = Token::generate(admin()).unwrap();
        let given = vec![address.clone()];
        let mut starting = tokio::spawn(Hub::start_on(given, HubConfig::default(), identity, token, None, Some(store)));
        let early = NodeOptions { timeout: Duration::from_millis(300), ..NodeOptions::new("early") };
        let refused = Node::connect_with(&address, early).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unreachable, "{refused}");
        // Who waits for longer is let in when it is read.
        let patient = tokio::spawn(async move { Node::connect(&address, "patient").await });
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut starting).await.is_err(), "it has not started");
        drop(read);
        let hub = starting.await.unwrap().unwrap();
        let patient = patient.await.unwrap().unwrap();
        assert_eq!(patient.get::<i32>("a").await.unwrap(), None);
        patient.set("a", &1).await.unwrap();
        hub.stop().await;
    }

    #[tokio::test]
    async fn what_can_change_of_a_hub_changes_while_it_runs() {
        let hub = Hub::start(HubOptions::listen(["mem://changes"])).await.unwrap();
        let _first = Node::connect("mem://changes", "first").await.unwrap();
        hub.reconfigure(&HubOptions { links_max: 1, ..HubOptions::default() }).unwrap();
        let refused = Node::connect("mem://changes", "second").await.unwrap_err();
        assert!(refused.to_string().contains("has 1 links, which is all it may have"), "{refused}");
        let wrong = HubOptions { links_max: 5, memory: vec!["a/#".into()], ..HubOptions::default() };
        assert!(matches!(hub.reconfigure(&wrong), Err(Error::BadName(_))));
        Node::connect("mem://changes", "second").await.unwrap_err();
        hub.reconfigure(&HubOptions { links_max: 5, ..HubOptions::default() }).unwrap();
        let _second = Node::connect("mem://changes", "second").await.unwrap();
        hub.stop().await;
    }

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
