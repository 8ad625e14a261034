//! What a program holds: a node, its subscriptions, and the permanent link between it and its hub.

mod acks;
#[cfg(feature = "hub")]
mod backup;
mod batch;
mod calls;
mod executors;
mod journals;
mod link;
mod load;
mod members;
mod options;
mod outbox;
mod positions;
mod replica;
mod serve;
mod status;
mod subscription;
mod tokens;
mod tree;
#[cfg(feature = "hub")]
mod uplink;
mod values;
mod watch;

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant};

use convoke_core::limits::FRAGMENT_BYTES_MAX;
use convoke_core::{
    Code, Encoding, Headers, Name, NodeConfig, NodeState, Payload, Publication, Refusal, Standing, Time, Transmit,
};
use serde::Serialize;
use tokio::sync::{Notify, oneshot, watch as watched};

pub use batch::Batch;
pub use calls::{CallOptions, Choose, Provider, Selector};
pub use executors::{Effect, Executors, Progress, Running, Stopped};
pub use journals::{AppendOptions, Compacted, Entries, EntriesOptions, UndoOptions};
pub use members::{Member, Members};
pub use options::NodeOptions;
pub use outbox::{Outbox, OutboxEnd};
pub use positions::{ExecutorId, NotKept, Position, PositionFiles, Positions};
pub use replica::{Executed, FollowOptions, Follower, Group};
pub use serve::{Call, Registration, ServeOptions};
pub use status::Status;
pub use subscription::{Missed, SubscribeOptions, Subscription};
pub use tree::tree_of;
pub use values::{SetOptions, Value};
pub use watch::{Watch, WatchOptions};

use crate::address::Address;
use crate::clock::now;
use crate::error::Error;
use crate::tls::node::NodeTls;
use crate::token::Token;
use crate::transport::mem::{self, MemLink};
use link::Link;

/// How long [`Node::connect`] and the verbs of the CLI wait for a hub unless told otherwise.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// A publish that follows the last write after at least this long is written at once by its caller; one that comes
/// sooner is left to gather with others: it is one of many, and a write costs more than that.
const GATHER: Duration = Duration::from_micros(5);

/// A program that has joined a hub, or will as soon as there is one. Cloning gives another handle to the same node; it
/// leaves when the last handle and the last [`Subscription`], [`Watch`] and [`Registration`] are dropped.
///
/// Its link is permanent: when it is cut, the node tries again after a random pause that grows from 50 ms to 5 s, looks
/// its address up anew each time, and subscribes again to what it had.
#[derive(Clone, Debug)]
pub struct Node {
    handle: Arc<Handle>,
}

/// Leaves when the last of its clones is dropped.
#[derive(Debug)]
struct Handle {
    shared: Arc<NodeShared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

/// What the handles of a node, its link task, and the callers on its `mem://` link share.
pub(crate) struct NodeShared {
    inner: Mutex<Inner>,
    /// Where its tasks run.
    runtime: tokio::runtime::Handle,
    address: Address,
    /// The token given; otherwise it is looked up for every link.
    token: Option<Token>,
    tls: Option<NodeTls>,
    prefer_unix: bool,
    /// The link task shall look.
    wake: Notify,
    /// There may be room again for what is published.
    room: Notify,
    standing: watched::Sender<Standing>,
    lost: watched::Sender<u64>,
    /// The right that an event lacked that was published on this link.
    forbidden: watched::Sender<Option<Refusal>>,
    /// True once the link task has ended.
    ended: watched::Sender<bool>,
}

impl std::fmt::Debug for NodeShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeShared({})", self.address)
    }
}

struct Inner {
    state: NodeState,
    link: Link,
    transmit: Transmit,
    /// The link task will write.
    scheduled: bool,
    /// Writing has failed. The link task reads what the hub said last, and then the end.
    broken: bool,
    written_at: Option<Instant>,
    answers: HashMap<u32, oneshot::Sender<Result<u64, Refusal>>>,
    wakers: HashMap<u32, Waker>,
    values: values::Waiting,
    calls: calls::Waiting,
    awaits: acks::Waiting,
    providers: serve::Providers,
    joined: bool,
    telling: load::Telling,
    posting: Option<outbox::Posting>,
    /// True when the outbox that this node had is closed.
    closing_outbox: Option<watched::Receiver<bool>>,
    /// When the link task looks at the state again, unless it is woken.
    looks_at: Option<Time>,
}

impl Node {
    /// Joins the hub at `address` under `name`; waits until it has, 10 s at most. From then on the link is permanent.
    ///
    /// An address is `HOST:PORT`, `tcp://…`, `tls://…`, `unix:///path` or `mem://name`; or an [`Address`], such as one of
    /// [`Hub::addresses`](crate::Hub::addresses). A hub of the same user on the same machine
    /// needs no token: over a Unix socket both ends see who the other is, and over TCP the token is found in a file that
    /// the hub wrote for this user.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for what is no address, [`Error::BadName`]; [`Error::Unauthorized`], [`Error::InUse`] or
    /// [`Error::Refused`] if the hub does not let it in; [`Error::Offline`] if no hub answers there.
    ///
    /// Cancel safe: nothing is left behind.
    pub async fn connect(address: impl Display, name: impl Into<String>) -> Result<Node, Error> {
        Node::connect_with(address, NodeOptions::new(name)).await
    }

    /// As [`connect`](Node::connect), with options.
    ///
    /// # Errors
    ///
    /// As [`connect`](Node::connect).
    pub async fn connect_with(address: impl Display, options: NodeOptions) -> Result<Node, Error> {
        let timeout = options.timeout;
        let node = Node::open(address, options)?;
        match tokio::time::timeout(timeout, node.ready()).await {
            Ok(Ok(())) => Ok(node),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let why = match node.standing() {
                    Standing::Offline(Some(why)) => why.to_string(),
                    _ => "no answer".to_owned(),
                };
                let text = format!(
                    "no hub has let `{}` in at {} within {timeout:?}: {why}",
                    node.name(),
                    node.handle.shared.address
                );
                Err(Error::Offline(Refusal::new(Code::Unreachable, text)))
            }
        }
    }

    /// Makes a node that joins the hub at `address` as soon as there is one, and returns at once. Must be called within a
    /// tokio runtime, on which the node has one task.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for what is no address, and for one over TLS without [`NodeOptions::authority`];
    /// [`Error::BadName`]; [`Error::Io`] without a runtime or random bytes. With an outbox also [`Error::InUse`] if another
    /// program has it, [`Error::Configuration`] if it is that of another node, and [`Error::Refused`]
    /// ([`Code::StorageFailed`]) if it is broken: nothing of it is sent or changed then.
    pub fn open(address: impl Display, options: NodeOptions) -> Result<Node, Error> {
        Node::open_as(address, options, false)
    }

    /// The same, as the link of another hub if it is an uplink.
    fn open_as(address: impl Display, options: NodeOptions, uplink: bool) -> Result<Node, Error> {
        let address = Address::parse(&address.to_string())?;
        let tls = NodeTls::of(&address, options.authority, options.certificate)?;
        let mut config = NodeConfig::new(Name::parse(&options.name)?);
        config.author = options.author.as_deref().map(Name::parse).transpose()?;
        config.takeover = options.takeover;
        config.uplink = uplink;
        config.slow = options.slow;
        config.outbox = options.outbox.is_some();
        config.offline_bytes_max = options.offline_bytes_max;
        config.subscription_bytes_max = options.subscription_bytes_max;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|error| Error::io(format!("node `{}`", config.name), std::io::Error::other(error)))?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::io("random bytes for a node", error.into()))?;
        let telling = load::Telling::new(options.share_load, options.program, options.master);
        let mut state = NodeState::new(config, seed, now());
        state.set_info(telling.info.clone());
        let posting = options.outbox.map(|folder| outbox::Posting::open(&folder, &mut state)).transpose()?;
        let (posting, thread) = posting.unzip();
        let shared = Arc::new(NodeShared {
            inner: Mutex::new(Inner {
                state,
                link: Link::None,
                transmit: Transmit::new(),
                scheduled: false,
                broken: false,
                written_at: None,
                answers: HashMap::new(),
                wakers: HashMap::new(),
                values: values::Waiting::default(),
                calls: calls::Waiting::default(),
                awaits: acks::Waiting::default(),
                providers: serve::Providers::default(),
                joined: false,
                telling,
                posting,
                closing_outbox: None,
                looks_at: None,
            }),
            runtime: runtime.clone(),
            address,
            token: options.token,
            tls,
            prefer_unix: options.prefer_unix,
            wake: Notify::new(),
            room: Notify::new(),
            standing: watched::Sender::new(Standing::Joining),
            lost: watched::Sender::new(0),
            forbidden: watched::Sender::new(None),
            ended: watched::Sender::new(false),
        });
        if let Some(thread) = thread {
            thread.begin(Arc::downgrade(&shared))?;
        }
        runtime.spawn(link::keep(shared.clone()));
        Ok(Node { handle: Arc::new(Handle { shared }) })
    }

    /// Waits until the node has joined.
    ///
    /// # Errors
    ///
    /// Why the hub does not let it in: [`Error::Unauthorized`], [`Error::InUse`], [`Error::Refused`]. The node tries
    /// again all the same, so a later call may succeed. That no hub answers is not an error; it is waited for.
    ///
    /// Cancel safe.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut standing = self.handle.shared.standing.subscribe();
        loop {
            match &*standing.borrow_and_update() {
                Standing::Joined => return Ok(()),
                Standing::Ended(why) => return Err(why.clone().into()),
                Standing::Offline(Some(why)) if why.code == Code::BadFrame => {
                    let text = format!("what answers at {} is not a hub: {why}", self.handle.shared.address);
                    return Err(Refusal::new(why.code, text).into());
                }
                Standing::Offline(Some(why)) if is_answer(why.code) => return Err(why.clone().into()),
                _ => {}
            }
            if standing.changed().await.is_err() {
                return Err(left(self.name()));
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> Name {
        self.handle.shared.lock().state.name().clone()
    }

    /// Who is answerable for what it does: its own name, unless it was given another one.
    pub fn author(&self) -> Name {
        self.handle.shared.lock().state.author().clone()
    }

    /// Where it stands with its hub now.
    pub fn standing(&self) -> Standing {
        self.handle.shared.lock().state.standing()
    }

    /// Watches where it stands with its hub. Holding this does not keep the node.
    pub fn watch_standing(&self) -> watched::Receiver<Standing> {
        self.handle.shared.standing.subscribe()
    }

    /// Counts the events of this node that `publish` had taken and that were lost all the same. It grows when the node has
    /// joined again, by what the hub says it did not receive, or, if the hub was restarted and cannot say, by the most
    /// that can have been lost; when the hub refuses an event; and when the node leaves with events that still wait.
    pub fn watch_lost(&self) -> watched::Receiver<u64> {
        self.handle.shared.lost.subscribe()
    }

    /// Publishes a value on a name, as MessagePack with named fields. Returns when the event is on its way, which is at
    /// once unless so much waits already that the link must take some of it first.
    ///
    /// It goes at most once to every subscription that exists now. Events of one node arrive in the order in which they
    /// were published, whatever their names. To know that the hub has taken it, call [`confirm`](Node::confirm).
    ///
    /// # Errors
    ///
    /// Nothing was published: [`Error::Offline`] (unless [`NodeOptions::offline_bytes_max`] lets it wait),
    /// [`Error::Backpressure`] when that is used up, [`Error::BadName`], [`Error::BadPayload`], [`Error::Unauthorized`] for
    /// a name of the hub's own, [`Error::Refused`] for a payload longer than the hub takes.
    ///
    /// Cancel safe: a publish that was cancelled was not published.
    pub async fn publish<T: Serialize + ?Sized>(&self, name: impl AsRef<str>, value: &T) -> Result<(), Error> {
        let payload = Payload::encode(value)?;
        self.publish_bytes(name.as_ref(), payload.encoding, &payload.bytes, &Headers::new()).await
    }

    /// Publishes a payload as it is, with headers beside it.
    ///
    /// # Errors
    ///
    /// As [`publish`](Node::publish), which also says when it waits and what it promises.
    pub async fn publish_payload(
        &self,
        name: impl AsRef<str>,
        payload: &Payload,
        headers: &Headers,
    ) -> Result<(), Error> {
        self.publish_bytes(name.as_ref(), payload.encoding, &payload.bytes, headers).await
    }

    /// Publishes bytes of the program's own, without copying them more than once.
    ///
    /// # Errors
    ///
    /// As [`publish`](Node::publish), which also says when it waits and what it promises.
    pub async fn publish_raw(&self, name: impl AsRef<str>, bytes: &[u8]) -> Result<(), Error> {
        self.publish_bytes(name.as_ref(), Encoding::Raw, bytes, &Headers::new()).await
    }

    async fn publish_bytes(
        &self,
        name: &str,
        encoding: Encoding,
        payload: &[u8],
        headers: &Headers,
    ) -> Result<(), Error> {
        let what = Publication { name, encoding, payload, headers };
        let shared = &self.handle.shared;
        while !shared.publish(what)? {
            // Before it is tried again, so that no room goes unnoticed.
            let room = shared.room.notified();
            if shared.publish(what)? {
                break;
            }
            room.await;
        }
        Ok(())
    }

    /// Waits until the hub has taken all events that this node has published so far, and tells to how many nodes the last
    /// of them went.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorized`] if the hub has refused one of those that were not confirmed yet: the first is told.
    /// [`Error::Offline`] without a link; [`Error::Unanswered`] if the link is cut before the answer: what was published
    /// may have arrived or not.
    ///
    /// Cancel safe.
    pub async fn confirm(&self) -> Result<u64, Error> {
        self.request(NodeState::confirm).await
    }

    /// Waits until the hub has handled everything that this node has sent so far.
    ///
    /// # Errors
    ///
    /// As [`confirm`](Node::confirm).
    pub async fn barrier(&self) -> Result<(), Error> {
        self.request(NodeState::barrier).await.map(drop)
    }

    /// Asks the hub, or through it the node of this name, for a sign of life, and tells how long the answer took.
    ///
    /// # Errors
    ///
    /// As [`confirm`](Node::confirm); and [`Error::Refused`] if no node of this name is joined, [`Error::Unanswered`] if
    /// it does not answer within 10 s.
    pub async fn ping(&self, node: Option<&str>) -> Result<Duration, Error> {
        let node = node.map(Name::parse).transpose()?;
        let started = Instant::now();
        self.request(|state| state.ping(node.as_ref())).await?;
        Ok(started.elapsed())
    }

    async fn request(&self, ask: impl FnOnce(&mut NodeState) -> Result<u32, Refusal>) -> Result<u64, Error> {
        let (id, answer) = self.handle.shared.ask(ask)?;
        Ok(self.answered(id, answer, Inner::abandon).await??)
    }

    /// Waits for the answer to what has this number. It is given up if nobody waits for it any more.
    async fn answered<T>(
        &self,
        id: u32,
        answer: oneshot::Receiver<T>,
        give_up: fn(&mut Inner, u32),
    ) -> Result<T, Error> {
        let mut waiting = Waiting { shared: &self.handle.shared, id: Some(id), give_up };
        let answer = answer.await.map_err(|_| left(self.name()))?;
        waiting.id = None;
        Ok(answer)
    }

    /// Leaves the hub, after what was published is written, and returns when the hub has read it; a second at most. A hub
    /// that took longer may have lost what was not confirmed, which [`watch_lost`](Node::watch_lost) counts. Handles that
    /// are left can no longer do anything.
    pub async fn leave(self) {
        let shared = &self.handle.shared;
        let mut ended = shared.ended.subscribe();
        // A disk that is very slow is not waited for: the hub then keeps what it need not.
        let _ = tokio::time::timeout(link::LEAVE_TIME, shared.outbox_settled()).await;
        shared.leave();
        // An error would mean that the task is gone, which is what is waited for.
        let _ = ended.wait_for(|ended| *ended).await;
        shared.outbox_closed().await;
    }
}

/// Somebody waits for the answer to what has this number.
struct Waiting<'a> {
    shared: &'a NodeShared,
    /// `None` when it has come.
    id: Option<u32>,
    give_up: fn(&mut Inner, u32),
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut inner = self.shared.lock();
            (self.give_up)(&mut inner, id);
            // The hub may be told that, too.
            self.shared.flush(inner);
        }
    }
}

/// Whether a hub has answered with this, rather than not at all.
fn is_answer(code: Code) -> bool {
    matches!(
        code,
        Code::VersionMismatch
            | Code::Unauthorized
            | Code::Forbidden
            | Code::BadName
            | Code::NodeInUse
            | Code::Fenced
            | Code::Limit
            | Code::TooLarge
            | Code::BadFrame
    )
}

fn left(name: Name) -> Error {
    Error::Offline(Refusal::new(Code::Left, format!("`{name}` has left its hub")))
}

impl NodeShared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("a turn never panics")
    }

    /// False if the link must take some of what waits first.
    #[inline]
    fn publish(&self, what: Publication<'_>) -> Result<bool, Refusal> {
        self.put(|state| state.publish(what))
    }

    #[inline]
    fn put(&self, put: impl FnOnce(&mut NodeState) -> Result<u64, Refusal>) -> Result<bool, Refusal> {
        let mut inner = self.lock();
        match put(&mut inner.state) {
            Ok(_) => {}
            Err(refusal) if refusal.code == Code::Backpressure && inner.state.is_joined() => return Ok(false),
            Err(refusal) => return Err(refusal),
        }
        let mem = self.flush_soon(&mut inner);
        drop(inner);
        if let Some(mem) = mem {
            mem::pump(&mem);
        }
        Ok(true)
    }

    /// After something was put on its way: writes it now, or lets it gather with what follows at once.
    #[inline]
    fn flush_soon(&self, inner: &mut Inner) -> Option<Arc<MemLink>> {
        if inner.scheduled && inner.state.waiting_bytes() < FRAGMENT_BYTES_MAX {
            return None;
        }
        match &inner.link {
            Link::None => return None,
            Link::Mem(mem) => return Some(mem.clone()),
            Link::Socket(_) => {}
        }
        let at_once = inner.state.waiting_bytes() >= FRAGMENT_BYTES_MAX
            || inner.written_at.is_none_or(|written_at| written_at.elapsed() > GATHER);
        if !at_once {
            inner.scheduled = true;
            self.wake.notify_one();
        } else if !inner.write(self) {
            self.wake.notify_one();
        }
        None
    }

    /// Asks the hub for something; the answer comes by the channel.
    fn ask(
        &self,
        ask: impl FnOnce(&mut NodeState) -> Result<u32, Refusal>,
    ) -> Result<(u32, oneshot::Receiver<Result<u64, Refusal>>), Refusal> {
        let mut inner = self.lock();
        let id = ask(&mut inner.state)?;
        let (sender, receiver) = oneshot::channel();
        inner.answers.insert(id, sender);
        self.flush(inner);
        Ok((id, receiver))
    }

    /// Writes what waits, now: nothing is gathered where somebody waits for the answer.
    fn flush(&self, mut inner: MutexGuard<'_, Inner>) {
        let looks_at = inner.looks_at;
        if inner.state.deadline().is_some_and(|due| looks_at.is_none_or(|looks_at| due < looks_at)) {
            self.wake.notify_one();
        }
        let mem = match &inner.link {
            Link::Mem(mem) => Some(mem.clone()),
            Link::Socket(_) => {
                if !inner.write(self) {
                    self.wake.notify_one();
                }
                None
            }
            Link::None => None,
        };
        drop(inner);
        if let Some(mem) = mem {
            mem::pump(&mem);
        }
    }

    fn leave(&self) {
        let mut inner = self.lock();
        inner.state.leave(now());
        inner.settle(self);
        inner.close_outbox();
        self.wake.notify_one();
    }

    /// What waits for the hub, taken by whoever carries this link.
    pub(crate) fn mem_transmit(&self, link: &Arc<MemLink>, transmit: &mut Transmit) {
        let mut inner = self.lock();
        if inner.link.is(link) {
            inner.state.transmit(transmit);
            inner.scheduled = false;
            drop(inner);
            self.room.notify_waiters();
        }
    }

    /// What the hub has sent, given by whoever carries this link.
    pub(crate) fn mem_receive(&self, link: &Arc<MemLink>, input: &mut bytes::BytesMut) {
        let mut inner = self.lock();
        if inner.link.is(link) {
            inner.state.receive(input, now());
            inner.settle(self);
        }
    }

    /// Lets the link task carry what is left.
    pub(crate) fn mem_go_on(&self) {
        self.wake.notify_one();
    }

    /// The hub's end of the link is gone.
    pub(crate) fn mem_ended(&self, link: &Arc<MemLink>, why: Refusal) {
        let mut inner = self.lock();
        if inner.link.is(link) {
            inner.link = Link::None;
            inner.state.disconnected(why, now());
            inner.settle(self);
            self.wake.notify_one();
        }
    }
}

impl Inner {
    /// Nobody waits for the answer to a question any more.
    fn abandon(&mut self, id: u32) {
        self.answers.remove(&id);
        self.state.abandon(id);
    }

    /// Writes what waits, as far as the socket takes it. False if something is left, which is then the link task's: it
    /// waits until the socket takes more, or finds that the connection is gone.
    fn write(&mut self, shared: &NodeShared) -> bool {
        let Link::Socket(stream) = &self.link else { return true };
        if self.broken {
            return false;
        }
        let done = loop {
            self.state.transmit(&mut self.transmit);
            if self.transmit.is_empty() {
                break true;
            }
            match stream.try_write(&mut self.transmit) {
                Ok(true) => {}
                Ok(false) => break false,
                Err(_) => {
                    self.broken = true;
                    break false;
                }
            }
        };
        self.scheduled = !done;
        self.written_at = Some(Instant::now());
        if !self.state.is_full() {
            shared.room.notify_waiters();
        }
        done
    }

    /// Hands out what the state has for those who wait.
    fn settle(&mut self, shared: &NodeShared) {
        for (id, answer) in self.state.answers() {
            if let Some(sender) = self.answers.remove(&id) {
                // Who asked may have given up.
                let _ = sender.send(answer);
            }
        }
        self.values.settle(&mut self.state, self.posting.as_mut());
        if let Some(posting) = &self.posting {
            posting.note(&mut self.state);
        }
        self.calls.settle(&mut self.state);
        self.awaits.settle(&mut self.state);
        self.providers.settle(&mut self.state);
        for id in self.state.woken() {
            if let Some(waker) = self.wakers.remove(&id) {
                waker.wake();
            }
        }
        for loss in self.state.losses() {
            tracing::warn!("`{}`: {} events were lost with its link", self.state.name(), loss.count);
            shared.lost.send_modify(|lost| *lost += loss.count);
        }
        for (seq, refusal) in self.state.refused() {
            shared.lost.send_modify(|lost| *lost += 1);
            let right = (refusal.code == Code::Forbidden).then(|| refusal.clone());
            // Of rights that are missing the first is said, until the next link.
            let known = right.is_some_and(|right| shared.forbidden.send_replace(Some(right)).is_some());
            if !known {
                tracing::warn!("`{}`: its event {seq} was refused: {refusal}", self.state.name());
            }
        }
        let joined = self.state.is_joined();
        if !joined || !self.joined {
            // Whoever is given other rights comes back with them on another link.
            shared.forbidden.send_replace(None);
            self.joined = joined;
            let standing = self.state.standing();
            shared.room.notify_waiters();
            shared.standing.send_if_modified(|before| {
                let changed = *before != standing;
                if changed {
                    link::tell(self.state.name(), before, &standing);
                }
                *before = standing;
                changed
            });
        }
    }
}
