//! The thread that owns a hub's links: a current-thread runtime used as an event loop.
//!
//! A task for each link waits for readiness only. When it wakes it reads what is there, hands it to the state under the
//! mutex, and leaves the writing to the task that runs when all that was ready has been read: that one takes for each
//! touched link what has gathered and writes it at once, in one call. Only what a socket refuses waits. Alone in flight,
//! a message thus leaves in the turn it came in; under load a turn holds thousands.

mod door;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use convoke_core::frame::{Frame, Preface};
use convoke_core::{LinkId, Notice, Peer, Refusal, Time, Transmit};
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, LocalSet};

use door::Door;

use super::announce::{Announcement, announce};
use super::backups::Backups;
use super::{HubShared, defaults, now};
use crate::address::Address;
use crate::error::Error;
use crate::store::StoreThread;
use crate::tls::hub::HubTls;
use crate::token::Token;
use crate::transport::buffers::{Buffers, Turn};
use crate::transport::{Listener, Stream, mem, tcp};

/// Refused links that are logged one by one within a second; of more only the number is told, so that noise at the door
/// does not fill a disk.
const REFUSALS_LOGGED_MAX: u64 = 10;

/// What is read from all links together before they are written, in bytes. A hundred publishers may be ready at once for
/// one subscriber; what they bring must not fill its lane before it was given a chance to take any.
const UNWRITTEN_BYTES_MAX: usize = 512 << 10;

/// The least that a lane can be set to hold, in bytes: what comes before links are written, a turn's share included, with
/// the heads of small events.
pub(super) const LINK_BULK_BYTES_MIN: usize = 2 * UNWRITTEN_BYTES_MAX;

/// Half a frame up to this long is kept in a buffer of its own size, so that an idle link does not hold a large one.
const SMALL_REST_BYTES: usize = 4096;

/// How long a link that the hub closes may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// Connections beyond what the hub may have that are being told so at one time; more are closed without a word.
const TURNED_AWAY_MAX: usize = 64;

/// How long the accept loop waits when the system has no more files or memory for connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Under this target the log tells of links: who joins, who leaves, who is refused. A hub of thousands tells much of them.
const LINK: &str = "convoke::link";

/// Threads that carry links over TLS. With one, what a program did on one link before another link was made is also seen in
/// this order: who leaves leaves its name to who comes next. It encrypts as much as the one thread of the hub handles.
const TLS_THREADS: usize = 1;

/// What a hub's thread has.
pub(super) struct Owned {
    pub(super) shared: Arc<HubShared>,
    pub(super) token: Token,
    pub(super) tls: Option<Arc<HubTls>>,
    pub(super) store: Option<StoreThread>,
    pub(super) join_time: Duration,
}

/// What carries links over TLS.
struct Carrier {
    tls: Arc<HubTls>,
    runtime: tokio::runtime::Handle,
}

/// What [`run`] tells when it listens.
pub(super) struct Listening {
    pub(super) addresses: Vec<Address>,
    pub(super) presence: Presence,
}

/// Runs a hub until `stopped` is dropped or sent.
pub(super) fn run(
    Owned { shared, token, tls, store, join_time }: Owned,
    listen: Vec<Address>,
    started: oneshot::Sender<Result<Listening, Error>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let carrying = tls.as_ref().map(|_| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(TLS_THREADS).thread_name("convoke-tls").enable_all().build()
    });
    let (runtime, carrying) = match (runtime, carrying.transpose()) {
        (Ok(runtime), Ok(carrying)) => (runtime, carrying),
        (Err(error), _) | (_, Err(error)) => {
            let _ = started.send(Err(Error::io("event loop of a hub", error)));
            return;
        }
    };
    let carrier = carrying.as_ref().zip(tls).map(|(runtime, tls)| {
        runtime.spawn(tls.clone().look_after());
        Carrier { tls, runtime: runtime.handle().clone() }
    });
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async move {
        let loops = Rc::new(Loop::new(shared, carrier, join_time));
        let (listening, listeners) = match open_all(&loops, &listen, &token).await {
            Ok(open) => open,
            Err(error) => {
                // Who is told may try again at once.
                if let Some(store) = store {
                    store.finish();
                }
                let _ = started.send(Err(error));
                return;
            }
        };
        tokio::task::spawn_local(loops.clone().write_all());
        tokio::task::spawn_local(loops.clone().keep_time());
        let accept =
            |(listener, door)| tokio::task::spawn_local(loops.clone().accept_all(listener, door)).abort_handle();
        let accepting: Vec<AbortHandle> = listeners.into_iter().map(accept).collect();
        let _ = started.send(Ok(listening));
        // Told, or dropped with the Hub: both mean stop.
        let _ = stopped.await;
        for accepting in &accepting {
            accepting.abort();
        }
        loops.shared.lock().stop(now());
        loops.write.notify_one();
        let closed = async {
            while !loops.links.borrow().is_empty() {
                loops.closed.notified().await;
            }
        };
        let _ = tokio::time::timeout(LINGER * 2, closed).await;
        loops.shared.mems.cut_all();
        // Last, with the lock of the folder: until then it may be asked for more.
        if let Some(store) = store {
            store.finish();
            // It may have failed now.
            for notice in loops.shared.lock().notices() {
                loops.log(&notice);
            }
        }
    });
    // Dropping it would not wait, and who stops a hub wants its connections to be closed.
    if let Some(carrying) = carrying {
        carrying.shutdown_timeout(LINGER);
    }
}

/// That by which others find the hub. It goes with the [`Hub`](super::Hub), before the thread stops: who comes back at
/// once must not find the hub that stops, and what another hub has put in its place must stay.
#[derive(Debug, Default)]
pub(super) struct Presence {
    mems: Vec<mem::Registered>,
    announcements: Vec<Announcement>,
    sockets: Vec<std::path::PathBuf>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        for path in &self.sockets {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listens on all addresses. Nothing is accepted before all are open, so that a hub is there wholly or not at all.
async fn open_all(
    loops: &Rc<Loop>,
    given: &[Address],
    token: &Token,
) -> Result<(Listening, Vec<(Listener, Door)>), Error> {
    let all = if given.is_empty() { defaults() } else { given.to_vec() };
    let mut presence = Presence::default();
    let (mut listeners, mut addresses, mut announced, mut socket) = (Vec::new(), Vec::new(), Vec::new(), None);
    for address in &all {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                Error::in_use(format!("listening on {address}: another program, perhaps another hub, has this address"))
            }
            io::ErrorKind::PermissionDenied if error.get_ref().is_some() => {
                Error::Configuration(format!("listening on {address}: {error}"))
            }
            _ => Error::io(format!("listening on {address}"), error),
        };
        match address {
            Address::Tls { .. } if loops.carrier.is_none() => {
                let text = "the hub has no certificate; `convoke tls init` makes one";
                return Err(Error::Configuration(format!("listening on {address}: {text}")));
            }
            Address::Tcp { host, port } | Address::Tls { host, port } => {
                let tls = loops.carrier.is_some();
                let (listener, bound) = tcp::listen(host, *port, tls).await.map_err(failed)?;
                let loopback = bound.ip().is_loopback();
                let (host, port) = (bound.ip().to_string(), bound.port());
                let (door, at) = match address {
                    Address::Tcp { .. } if !tls => (Door::Plain, Address::Tcp { host, port }),
                    Address::Tcp { .. } if loopback => (Door::Both, Address::Tcp { host, port }),
                    _ => (Door::Tls, Address::Tls { host, port }),
                };
                listeners.push((listener, door));
                announced.extend(loopback.then_some(bound));
                addresses.push(at);
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                if given.is_empty()
                    && let Some(folder) = path.parent()
                {
                    crate::files::make_folder(folder).map_err(failed)?;
                }
                listeners.push((crate::transport::unix::listen(path).await.map_err(failed)?, Door::Plain));
                presence.sockets.push(path.clone());
                socket = Some(path.clone());
                addresses.push(address.clone());
            }
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(Error::Configuration(format!("{address}: there are no Unix sockets here"))),
            Address::Mem(name) => {
                presence.mems.push(mem::register(name, &loops.shared)?);
                addresses.push(address.clone());
            }
        }
    }
    for bound in announced {
        presence.announcements.extend(announce(bound, socket.as_deref(), token));
    }
    Ok((Listening { addresses, presence }, listeners))
}

/// The event loop's own state; only its thread touches it.
struct Loop {
    shared: Arc<HubShared>,
    carrier: Option<Carrier>,
    join_time: Duration,
    links: RefCell<HashMap<LinkId, Rc<Open>>>,
    /// The writing task shall run.
    write: Notify,
    /// The timer shall look at the deadline again.
    retime: Notify,
    /// The second in which links were refused last, and how many then.
    refused: Cell<(u64, u64)>,
    /// Bytes read since links were written last.
    unwritten: Cell<usize>,
    /// For when the timer is set.
    timed: Cell<Option<Time>>,
    /// A link has ended.
    closed: Notify,
    backups: RefCell<Backups>,
    /// Connections that are being told that they cannot be links.
    turned_away: Cell<usize>,
    /// Read into by every link in turn; a link that is left with half a frame keeps what it needs.
    buffers: RefCell<Buffers>,
}

/// A connection and what is on its way to it.
struct Open {
    stream: Stream,
    transmit: RefCell<Transmit>,
    /// The socket takes no more; a task waits until it does.
    blocked: Cell<bool>,
    /// The hub has closed it; what still comes is dropped.
    closing: Cell<bool>,
    reader: RefCell<Option<AbortHandle>>,
}

impl Loop {
    fn new(shared: Arc<HubShared>, carrier: Option<Carrier>, join_time: Duration) -> Loop {
        Loop {
            shared,
            carrier,
            join_time,
            links: RefCell::default(),
            write: Notify::new(),
            retime: Notify::new(),
            refused: Cell::new((0, 0)),
            unwritten: Cell::new(0),
            timed: Cell::new(None),
            closed: Notify::new(),
            backups: RefCell::default(),
            turned_away: Cell::new(0),
            buffers: RefCell::default(),
        }
    }

    async fn accept_all(self: Rc<Self>, listener: Listener, door: Door) {
        loop {
            match listener.accept().await {
                Ok((stream, peer, source)) => self.open(stream, (peer, source), door),
                // The one that wanted to connect is gone again.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    tracing::warn!(target: LINK, "accepting connections waits {} ms: {error}", ACCEPT_PAUSE.as_millis());
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn open(self: &Rc<Self>, stream: Stream, (peer, source): (Peer, Option<IpAddr>), door: Door) {
        let id = match self.shared.lock().open_from(peer, source, now()) {
            Ok(id) => id,
            Err(refusal) => {
                tracing::warn!(target: LINK, "a connection was refused: {refusal}");
                return self.turn_away(stream, &refusal);
            }
        };
        match stream {
            Stream::Tcp(stream) if door != Door::Plain => {
                tokio::task::spawn_local(self.clone().sort(id, stream, door));
            }
            stream => self.start(id, stream),
        }
        self.retime();
    }

    /// Begins to read a link, and writes what the hub has to say on it already.
    fn start(self: &Rc<Self>, id: LinkId, stream: Stream) {
        let open = Rc::new(Open {
            stream,
            transmit: RefCell::default(),
            blocked: Cell::new(false),
            closing: Cell::new(false),
            reader: RefCell::default(),
        });
        self.links.borrow_mut().insert(id, open.clone());
        let reader = tokio::task::spawn_local(self.clone().read_all(id, open.clone())).abort_handle();
        *open.reader.borrow_mut() = Some(reader);
        self.write(id, &open);
    }

    /// A link has ended.
    fn forget(&self, id: LinkId) {
        self.links.borrow_mut().remove(&id);
        self.shared.lock().closed(id, now());
        self.write.notify_one();
        self.closed.notify_one();
    }

    /// Tells a connection that cannot become a link why not.
    fn turn_away(self: &Rc<Self>, stream: Stream, refusal: &Refusal) {
        if self.turned_away.get() >= TURNED_AWAY_MAX {
            return;
        }
        let mut words = Preface::OURS.encode().to_vec();
        Frame::Close { code: refusal.code, text: &refusal.text }.encode(&mut words);
        let mut transmit = Transmit::of(words.into());
        let loops = self.clone();
        loops.turned_away.set(loops.turned_away.get() + 1);
        tokio::task::spawn_local(async move {
            // A new socket takes so little at once, or is gone already.
            let _ = stream.try_write(&mut transmit);
            stream.end();
            let _ = tokio::time::timeout(LINGER, stream.drain()).await;
            loops.turned_away.set(loops.turned_away.get() - 1);
        });
    }

    /// Reads one link until it ends.
    async fn read_all(self: Rc<Self>, id: LinkId, open: Rc<Open>) {
        // Also runs when the task is aborted.
        let _ended = Ended { loops: &self, id };
        let mut rest = BytesMut::new();
        while open.stream.readable().await.is_ok() {
            match self.read_turn(id, &open, &mut rest) {
                // It may have ended only its own direction, and wait for the answers to what it has said.
                Turn::Ended => return self.write_touched(),
                // A link that is always readable would keep this thread for itself: nothing would be written to others.
                Turn::More => tokio::task::yield_now().await,
                Turn::Emptied => {}
            }
        }
    }

    /// Reads what is there and hands it to the state. What is left, half a frame, is kept in `rest` for the next turn.
    fn read_turn(self: &Rc<Self>, id: LinkId, open: &Open, rest: &mut BytesMut) -> Turn {
        let mut buffers = self.buffers.borrow_mut();
        let mut input = if rest.is_empty() { buffers.take() } else { std::mem::take(rest) };
        let turn = buffers.read(&open.stream, &mut input);
        if open.closing.get() {
            input.clear();
        } else if !input.is_empty() {
            let read = input.len();
            let deadline = {
                let mut state = self.shared.lock();
                state.receive(id, &mut input, now());
                state.settle();
                state.deadline()
            };
            self.unwritten.set(self.unwritten.get() + read);
            if self.unwritten.get() >= UNWRITTEN_BYTES_MAX {
                self.write_touched();
            } else {
                self.write.notify_one();
            }
            self.retime_to(deadline);
        }
        if input.len() > SMALL_REST_BYTES {
            *rest = input;
        } else {
            *rest = BytesMut::from(&input[..]);
            buffers.give_back(input);
        }
        turn
    }

    /// Writes what is touched, whenever something is.
    async fn write_all(self: Rc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.write.notified() => {}
                () = self.shared.wake.notified() => self.retime(),
            }
            self.write_touched();
        }
    }

    /// Writes every link that has something to write and takes it.
    fn write_touched(self: &Rc<Self>) {
        self.unwritten.set(0);
        let mut batch: Vec<(LinkId, Option<Rc<Open>>)> = Vec::new();
        loop {
            let (notices, backup_calls, deadline) = {
                let links = self.links.borrow();
                let mut state = self.shared.lock();
                let handed_over = std::mem::take(&mut *self.shared.handed_over.lock().expect("nothing in it panics"));
                batch.extend(handed_over.into_iter().map(|id| (id, links.get(&id).cloned())));
                while let Some(id) = state.touched() {
                    batch.push((id, links.get(&id).cloned()));
                }
                for (id, open) in &batch {
                    if let Some(open) = open {
                        state.transmit(*id, &mut open.transmit.borrow_mut());
                    }
                }
                (state.notices(), state.backup_calls(), state.deadline())
            };
            self.retime_to(deadline);
            for notice in notices {
                self.log(&notice);
            }
            for call in backup_calls {
                self.backups.borrow_mut().call(call, &self.shared);
            }
            if batch.is_empty() {
                return;
            }
            for (id, open) in batch.drain(..) {
                match open {
                    Some(open) => self.write(id, &open),
                    None => {
                        if let Some(mem) = self.shared.mems.get(id) {
                            mem::pump(&mem);
                        }
                    }
                }
            }
        }
    }

    fn log(&self, notice: &Notice) {
        self.shared.heed(notice);
        match notice {
            Notice::Joined { node, author, resumed: false } => {
                tracing::info!(target: LINK, "`{node}` joined, author `{author}`")
            }
            Notice::Joined { node, .. } => tracing::info!(target: LINK, "`{node}` is back"),
            Notice::Gone { node, why } if why.text.is_empty() => {
                tracing::info!(target: LINK, "`{node}` is gone: it has left")
            }
            Notice::Gone { node, why } => tracing::info!(target: LINK, "`{node}` is gone: {why}"),
            Notice::Failed(why) => tracing::error!("nothing can be kept any more: {why}"),
            Notice::Refused(why) => {
                let second = now().as_nanos() / 1_000_000_000;
                let (since, count) = self.refused.replace((second, 1));
                if since == second {
                    self.refused.set((second, count + 1));
                } else if count > REFUSALS_LOGGED_MAX {
                    tracing::warn!(target: LINK, "{} more links were refused within a second", count - REFUSALS_LOGGED_MAX);
                }
                if self.refused.get().1 <= REFUSALS_LOGGED_MAX {
                    tracing::warn!(target: LINK, "a link was refused: {why}");
                }
            }
        }
    }

    /// Writes one link until nothing is left or its socket takes no more.
    fn write(self: &Rc<Self>, id: LinkId, open: &Rc<Open>) {
        let mut transmit = open.transmit.borrow_mut();
        loop {
            if transmit.abort {
                return self.cut(open);
            }
            if open.blocked.get() {
                return;
            }
            match open.stream.try_write(&mut transmit) {
                Ok(true) if transmit.close => {
                    open.stream.end();
                    return self.linger(open);
                }
                Ok(true) => {
                    let deadline = {
                        let mut state = self.shared.lock();
                        state.transmit(id, &mut transmit);
                        state.deadline()
                    };
                    self.retime_to(deadline);
                    if transmit.is_empty() && !transmit.close && !transmit.abort {
                        // An idle link holds no memory for what it may write.
                        *transmit = Transmit::default();
                        return;
                    }
                }
                Ok(false) => {
                    self.shared.lock().wrote(id, false, now());
                    self.retime();
                    open.blocked.set(true);
                    tokio::task::spawn_local(self.clone().write_when_ready(id, open.clone()));
                    return;
                }
                Err(_) if open.closing.get() => return self.cut(open),
                Err(_) => {
                    // The other end is gone, but what it has sent before is still to be read. Its reader meets the end then;
                    // if not, the link is found to be stuck.
                    self.shared.lock().wrote(id, false, now());
                    self.retime();
                    open.blocked.set(true);
                    return;
                }
            }
        }
    }

    async fn write_when_ready(self: Rc<Self>, id: LinkId, open: Rc<Open>) {
        let ready = open.stream.writable().await;
        open.blocked.set(false);
        if ready.is_err() {
            return self.cut(&open);
        }
        self.shared.lock().wrote(id, true, now());
        self.write(id, &open);
    }

    /// Ends a link now.
    fn cut(&self, open: &Open) {
        open.closing.set(true);
        if let Some(reader) = open.reader.borrow_mut().take() {
            reader.abort();
        }
    }

    /// Lets the other side read why its link ends: closing with unread input would take that away from it.
    fn linger(self: &Rc<Self>, open: &Rc<Open>) {
        if !open.closing.replace(true) {
            let (loops, open) = (self.clone(), open.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(LINGER).await;
                loops.cut(&open);
            });
        }
    }

    /// Calls the state when its deadline has come.
    async fn keep_time(self: Rc<Self>) {
        loop {
            let deadline = self.shared.lock().deadline();
            self.timed.set(deadline);
            match deadline {
                Some(due) => {
                    tokio::select! {
                        () = tokio::time::sleep(due.since(now())) => {
                            let mut state = self.shared.lock();
                            state.tick(now());
                            drop(state);
                            self.write.notify_one();
                        }
                        () = self.retime.notified() => {}
                    }
                }
                None => self.retime.notified().await,
            }
        }
    }

    /// The deadline may have come nearer than the timer is set.
    fn retime(&self) {
        let deadline = self.shared.lock().deadline();
        self.retime_to(deadline);
    }

    fn retime_to(&self, deadline: Option<Time>) {
        if deadline.is_some_and(|due| self.timed.get().is_none_or(|timed| due < timed)) {
            self.retime.notify_one();
        }
    }
}

/// Forgets a link when its reader ends, however it ends.
struct Ended<'a> {
    loops: &'a Rc<Loop>,
    id: LinkId,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.loops.forget(self.id);
    }
}
