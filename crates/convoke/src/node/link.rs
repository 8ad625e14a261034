//! The permanent link of a node: one task that dials, reads, writes what others could not, and tries again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use convoke_core::{Code, Name, Refusal, Standing};
use tokio::net::lookup_host;

use super::{NodeShared, load};
use crate::address::Address;
use crate::announced::{Announced, find};
use crate::clock::now;
use crate::token::Token;
use crate::transport::buffers::{Buffers, Turn};
use crate::transport::mem::{self, MemLink};
use crate::transport::{Stream, tcp};

/// A link on which a turn brings less than this is quiet, in bytes: one buffer is enough for it.
const QUIET_BYTES: usize = 16 << 10;

/// How long dialing may take, name look-up included.
const DIAL_TIME: Duration = Duration::from_secs(5);

/// How long a hub that has just begun to listen may take to announce itself: two small files, safely written.
const ANNOUNCE_TIME: Duration = Duration::from_millis(500);

/// Between two looks at what is announced.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(10);

/// How long a node that leaves waits until the hub has read its last bytes.
pub(super) const LEAVE_TIME: Duration = Duration::from_secs(1);

/// What a node has towards its hub.
pub(super) enum Link {
    None,
    Socket(Arc<Stream>),
    Mem(Arc<MemLink>),
}

impl Link {
    pub(super) fn is(&self, mem: &Arc<MemLink>) -> bool {
        matches!(self, Link::Mem(own) if Arc::ptr_eq(own, mem))
    }
}

/// What dialing has made.
enum Dialed {
    Socket(Stream, bool),
    Mem(Arc<MemLink>),
}

/// Ends a node with its task, also where that is dropped with its runtime: nothing keeps the link any more.
struct Kept(Arc<NodeShared>);

impl Drop for Kept {
    fn drop(&mut self) {
        let shared = &self.0;
        let Ok(mut inner) = shared.inner.lock() else { return };
        inner.state.leave(now());
        inner.settle(shared);
        inner.close_outbox();
        inner.write(shared);
        let kept = inner.state.forget_kept();
        if kept > 0 {
            tracing::warn!("`{}`: {kept} events that waited for a hub are lost", inner.state.name());
            shared.lost.send_modify(|lost| *lost += kept);
        }
        let link = std::mem::replace(&mut inner.link, Link::None);
        drop(inner);
        if let Link::Mem(link) = link {
            mem::cut(&link);
        }
        shared.ended.send_replace(true);
    }
}

/// Keeps the link of a node until the node leaves.
pub(super) async fn keep(shared: Arc<NodeShared>) {
    let kept = Kept(shared);
    let shared = &kept.0;
    loop {
        let (deadline, dial, ended) = {
            let mut inner = shared.lock();
            inner.state.tick(now());
            inner.settle(shared);
            let ended = matches!(inner.state.standing(), Standing::Ended(_));
            inner.looks_at = inner.state.deadline();
            (inner.looks_at, inner.state.wants_link(), ended)
        };
        if ended {
            break;
        }
        if !dial {
            wait(shared, deadline).await;
            continue;
        }
        let dialed = tokio::select! {
            dialed = tokio::time::timeout(DIAL_TIME, dial_hub(shared)) => dialed,
            // The node leaves; what else is due is handled meanwhile.
            () = left(shared) => continue,
        };
        match dialed.unwrap_or_else(|_| Err(unreachable(shared, "it does not answer"))) {
            Ok(Dialed::Socket(stream, trusted)) => talk(shared, stream, trusted).await,
            Ok(Dialed::Mem(link)) => talk_in_memory(shared, link).await,
            Err(why) => {
                let mut inner = shared.lock();
                inner.state.disconnected(why, now());
                inner.settle(shared);
            }
        }
    }
}

/// Says that a node has joined, or that it has not, for those who look.
pub(super) fn tell(node: &Name, before: &Standing, now: &Standing) {
    match now {
        Standing::Joined => tracing::info!("`{node}` has joined"),
        Standing::Offline(Some(why)) if *before == Standing::Joined => {
            tracing::info!("`{node}` has lost its link, and joins again as soon as it can: {why}");
        }
        Standing::Offline(Some(why)) => tracing::debug!("`{node}` has not joined: {why}"),
        _ => {}
    }
}

async fn wait(shared: &NodeShared, deadline: Option<convoke_core::Time>) {
    let wake = shared.wake.notified();
    match deadline {
        Some(due) => {
            let _ = tokio::time::timeout(due.since(now()), wake).await;
        }
        None => wake.await,
    }
}

/// Keeps the time until the node leaves.
async fn left(shared: &NodeShared) {
    loop {
        let deadline = {
            let mut inner = shared.lock();
            inner.state.tick(now());
            inner.settle(shared);
            if matches!(inner.state.standing(), Standing::Ended(_)) {
                return;
            }
            inner.looks_at = inner.state.deadline();
            inner.looks_at
        };
        wait(shared, deadline).await;
    }
}

fn unreachable(shared: &NodeShared, why: &str) -> Refusal {
    Refusal::new(Code::Unreachable, format!("no hub answers at {}: {why}", shared.address))
}

/// Dials, with the address and the token looked up now.
async fn dial_hub(shared: &Arc<NodeShared>) -> Result<Dialed, Refusal> {
    let failed = |error: io::Error| unreachable(shared, &plain(&error));
    let (dialed, token) = match &shared.address {
        Address::Mem(name) => return mem::connect(name, shared).map(Dialed::Mem),
        #[cfg(unix)]
        Address::Unix(path) => {
            let (stream, trusted) = crate::transport::unix::connect(path).await.map_err(failed)?;
            (Dialed::Socket(stream, trusted), shared.token.clone())
        }
        #[cfg(not(unix))]
        Address::Unix(_) => return Err(unreachable(shared, "there are no Unix sockets here")),
        Address::Tls { host, port } => {
            let tls = shared.tls.as_ref().expect("a node that has none was not opened");
            let stream = tcp::connect(host, *port).await.map_err(failed)?;
            let (stream, trusted) = tls.connect(stream, host, &shared.address).await?;
            let token = match &shared.token {
                _ if trusted => None,
                Some(token) => Some(token.clone()),
                None => announced_token(host, *port).await,
            };
            (Dialed::Socket(stream, trusted), token)
        }
        Address::Tcp { host, port } => {
            let announced = announced(host, *port).await;
            #[cfg(unix)]
            if let Some(path) = announced.as_ref().and_then(|hub| hub.unix.as_ref()).filter(|_| shared.prefer_unix)
                && let Ok((stream, true)) = crate::transport::unix::connect(path).await
            {
                return Ok(Dialed::Socket(stream, true));
            }
            let stream = Stream::Tcp(tcp::connect(host, *port).await.map_err(failed)?);
            let token = match &shared.token {
                Some(token) => Some(token.clone()),
                None => announced_token(host, *port).await,
            };
            (Dialed::Socket(stream, false), token)
        }
    };
    shared.lock().state.set_token(token.map(|token| (token.name().clone(), token.key())));
    Ok(dialed)
}

/// What a hub of this user has announced for an address of this machine.
async fn announced(host: &str, port: u16) -> Option<Announced> {
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![(address, port).into()],
        Err(_) => lookup_host((host, port)).await.ok()?.collect(),
    };
    addresses.into_iter().find_map(find)
}

/// The token of a hub that is there. It begins to listen a moment before it announces itself; without a token it would let
/// nobody in, so nothing is lost by waiting.
async fn announced_token(host: &str, port: u16) -> Option<Token> {
    let token = async {
        loop {
            if let Some(hub) = announced(host, port).await {
                return hub.token;
            }
            tokio::time::sleep(ANNOUNCE_PAUSE).await;
        }
    };
    tokio::time::timeout(ANNOUNCE_TIME, token).await.ok()
}

/// An error of the system in its own words, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Runs a link over a socket until it ends.
async fn talk(shared: &Arc<NodeShared>, stream: Stream, trusted: bool) {
    let stream = Arc::new(stream);
    {
        let mut inner = shared.lock();
        inner.state.connected(trusted, now());
        inner.transmit = Default::default();
        inner.broken = false;
        inner.link = Link::Socket(stream.clone());
        inner.write(shared);
    }
    let mut input = BytesMut::new();
    let mut buffers = Buffers::default();
    loop {
        let (deadline, blocked) = {
            let mut inner = shared.lock();
            inner.state.tick(now());
            inner.settle(shared);
            if !inner.state.has_link() {
                break;
            }
            inner.write(shared);
            load::tell_in_time(&mut inner, shared);
            inner.looks_at = inner.state.deadline();
            (inner.looks_at, !inner.transmit.is_empty() && !inner.broken)
        };
        let timer = async {
            match deadline {
                Some(due) => tokio::time::sleep(due.since(now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = stream.readable() => {
                if input.is_empty() {
                    input = buffers.take();
                }
                let turn = if ready.is_ok() { buffers.read(&stream, &mut input) } else { Turn::Ended };
                let quiet = input.len() < QUIET_BYTES;
                {
                    let mut inner = shared.lock();
                    inner.state.receive(&mut input, now());
                    if turn == Turn::Ended {
                        let why = stream.why().unwrap_or_else(|| {
                            Refusal::new(Code::LinkLost, format!("the hub at {} has ended the link", shared.address))
                        });
                        inner.state.disconnected(why, now());
                    }
                    inner.settle(shared);
                }
                if input.is_empty() {
                    buffers.give_back(std::mem::take(&mut input));
                    if quiet {
                        buffers.shrink();
                    }
                }
                if turn == Turn::More {
                    // A link that is always readable would keep those who read the events from their turn.
                    tokio::task::yield_now().await;
                }
            }
            ready = stream.writable(), if blocked => {
                if ready.is_err() {
                    shared.lock().state.disconnected(Refusal::new(Code::LinkLost, "the link was cut"), now());
                }
            }
            () = shared.wake.notified() => {}
            () = timer => {}
        }
    }
    finish(shared, &stream).await;
}

/// Writes the last words of a node that leaves, waits until the hub has read them, then closes.
async fn finish(shared: &NodeShared, stream: &Stream) {
    let goodbye = async {
        loop {
            {
                let mut inner = shared.lock();
                inner.write(shared);
                if inner.transmit.is_empty() || inner.broken {
                    break;
                }
            }
            if stream.writable().await.is_err() {
                break;
            }
        }
        stream.end();
        stream.drain().await;
    };
    if matches!(shared.lock().state.standing(), Standing::Ended(_)) {
        // A hub that takes nothing is left without a word; how much of the rest it still gets, nobody will know.
        if tokio::time::timeout(LEAVE_TIME, goodbye).await.is_err() {
            let inner = shared.lock();
            let unsettled = inner.state.unsettled();
            if unsettled > 0 {
                tracing::warn!("`{}` has left, and up to {unsettled} of its events are lost", inner.state.name());
                shared.lost.send_modify(|lost| *lost += unsettled);
            }
        }
    }
    let mut inner = shared.lock();
    inner.link = Link::None;
    inner.transmit = Default::default();
    inner.scheduled = false;
    inner.settle(shared);
}

/// Runs a link in memory until it ends. Those who publish carry it; this task only keeps the time.
async fn talk_in_memory(shared: &Arc<NodeShared>, link: Arc<MemLink>) {
    {
        let mut inner = shared.lock();
        inner.link = Link::Mem(link.clone());
        inner.state.connected(true, now());
    }
    loop {
        mem::pump(&link);
        let deadline = {
            let mut inner = shared.lock();
            inner.state.tick(now());
            inner.settle(shared);
            if !inner.state.has_link() || !inner.link.is(&link) {
                break;
            }
            load::tell_in_time(&mut inner, shared);
            inner.looks_at = inner.state.deadline();
            inner.looks_at
        };
        wait(shared, deadline).await;
    }
    // Another thread may carry the link at this moment, with the goodbye: without that the hub would wait for this node.
    let goodbye = async {
        loop {
            mem::pump(&link);
            let waits = {
                let inner = shared.lock();
                inner.link.is(&link) && inner.state.has_output()
            };
            if !waits && mem::is_idle(&link) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    // Nobody carries a link for so long; if somebody does, the hub finds out by itself.
    let _ = tokio::time::timeout(LEAVE_TIME, goodbye).await;
    shared.lock().link = Link::None;
    mem::cut(&link);
}
