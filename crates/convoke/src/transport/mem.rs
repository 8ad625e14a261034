//! Links in memory: hub and node in one process, without a socket, a thread or a task between them.
//!
//! Whoever has something to pass on carries it to the other side itself, and on to whoever that concerns: a caller of
//! `publish` runs the hub's turn and the subscriber's. A link is carried by one thread at a time, in order; another that
//! finds it busy leaves a note, and the first goes round again. No lock is held while another is taken,
//! but for the list of names while a link is made.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::BytesMut;
use convoke_core::{Code, LinkId, Peer, Refusal, Transmit};

use crate::clock::now;
use crate::error::Error;
use crate::hub::HubShared;
use crate::node::NodeShared;

/// How often a caller goes round on one link at most, before the link's own task goes on: others may publish without end,
/// and a publish is to return.
const ROUNDS_MAX: u32 = 64;

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const AGAIN: u8 = 2;

/// A link between a hub and a node of this process.
pub(crate) struct MemLink {
    id: LinkId,
    hub: Weak<HubShared>,
    node: Weak<NodeShared>,
    state: AtomicU8,
}

/// The links in memory of one hub.
#[derive(Default)]
pub(crate) struct MemLinks(Mutex<BTreeMap<LinkId, Arc<MemLink>>>);

impl MemLinks {
    pub(crate) fn get(&self, id: LinkId) -> Option<Arc<MemLink>> {
        self.0.lock().expect("nothing in it panics").get(&id).cloned()
    }

    fn remove(&self, id: LinkId) {
        self.0.lock().expect("nothing in it panics").remove(&id);
    }

    /// The hub ends: every node learns that its link is gone.
    pub(crate) fn cut_all(&self) {
        let all = std::mem::take(&mut *self.0.lock().expect("nothing in it panics"));
        for link in all.into_values() {
            pump(&link);
            if let Some(node) = link.node.upgrade() {
                node.mem_ended(&link, Refusal::new(Code::LinkLost, "the hub has stopped"));
            }
        }
    }
}

fn registry() -> &'static Mutex<HashMap<String, Weak<HubShared>>> {
    static REGISTRY: OnceLock<Mutex<HashMap<String, Weak<HubShared>>>> = OnceLock::new();
    REGISTRY.get_or_init(Mutex::default)
}

/// The name of a hub in memory, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Registered(String);

impl Drop for Registered {
    fn drop(&mut self) {
        registry().lock().expect("nothing in it panics").remove(&self.0);
    }
}

/// Lets nodes of this process find a hub by this name.
pub(crate) fn register(name: &str, hub: &Arc<HubShared>) -> Result<Registered, Error> {
    let mut registry = registry().lock().expect("nothing in it panics");
    if registry.contains_key(name) {
        return Err(Error::in_use(format!("listening on mem://{name}: another hub of this process has this name")));
    }
    registry.insert(name.to_owned(), Arc::downgrade(hub));
    Ok(Registered(name.to_owned()))
}

/// Makes a link to the hub of this name.
pub(crate) fn connect(name: &str, node: &Arc<NodeShared>) -> Result<Arc<MemLink>, Refusal> {
    // Held until the link is made, so that a hub that stops has all its links before it, or the name is gone.
    let registry = registry().lock().expect("nothing in it panics");
    let Some(hub) = registry.get(name).and_then(Weak::upgrade) else {
        let text = format!("no hub of this process listens on mem://{name}");
        return Err(Refusal::new(Code::Unreachable, text));
    };
    let id = hub.lock().open(Peer::Owner, now())?;
    hub.wake();
    let link =
        Arc::new(MemLink { id, hub: Arc::downgrade(&hub), node: Arc::downgrade(node), state: AtomicU8::new(IDLE) });
    hub.mems.0.lock().expect("nothing in it panics").insert(id, link.clone());
    Ok(link)
}

/// The node's end of the link is gone.
pub(crate) fn cut(link: &MemLink) {
    if let Some(hub) = link.hub.upgrade() {
        hub.mems.remove(link.id);
        let touched = {
            let mut state = hub.lock();
            state.closed(link.id, now());
            state.settle();
            std::iter::from_fn(|| state.touched()).collect()
        };
        for other in hub.hand_over(touched) {
            pump(&other);
        }
    }
}

/// Carries what waits on either side of `link` to the other, and what comes of it to others, until nothing waits.
pub(crate) fn pump(link: &Arc<MemLink>) {
    let mut work = VecDeque::from([link.clone()]);
    while let Some(link) = work.pop_front() {
        // Whoever carries this link already goes round once more.
        let before = link.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
            IDLE => Some(BUSY),
            _ => Some(AGAIN),
        });
        if before != Ok(IDLE) {
            continue;
        }
        let mut rounds = 0;
        loop {
            while rounds < ROUNDS_MAX && carry(&link, &mut work) {
                rounds += 1;
            }
            if rounds >= ROUNDS_MAX {
                link.state.store(IDLE, Ordering::Release);
                if let Some(node) = link.node.upgrade() {
                    node.mem_go_on();
                }
                break;
            }
            let done = link.state.compare_exchange(BUSY, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if done.is_ok() {
                break;
            }
            rounds += 1;
            link.state.store(BUSY, Ordering::Release);
        }
    }
}

/// Whether nobody carries it now.
pub(crate) fn is_idle(link: &MemLink) -> bool {
    link.state.load(Ordering::Acquire) == IDLE
}

/// One round in both directions. False if nothing waited.
fn carry(link: &Arc<MemLink>, work: &mut VecDeque<Arc<MemLink>>) -> bool {
    let (Some(hub), node) = (link.hub.upgrade(), link.node.upgrade()) else {
        if let Some(node) = link.node.upgrade() {
            node.mem_ended(link, Refusal::new(Code::LinkLost, "the hub has stopped"));
        }
        return false;
    };
    let Some(node) = node else {
        cut(link);
        return false;
    };
    let mut moved = false;
    let mut transmit = Transmit::new();
    node.mem_transmit(link, &mut transmit);
    let mut to_node = Transmit::new();
    let (touched, sooner): (Vec<LinkId>, bool) = {
        let mut state = hub.lock();
        let deadline = state.deadline();
        while let Some(piece) = transmit.pop() {
            moved = true;
            let mut input = piece.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            state.receive(link.id, &mut input, now());
            debug_assert!(input.is_empty(), "a node writes whole frames");
        }
        state.settle();
        state.transmit(link.id, &mut to_node);
        // What leaves may make room for more that is to be read.
        state.settle();
        let touched = std::iter::from_fn(|| state.touched()).filter(|id| *id != link.id).collect();
        (touched, state.deadline().is_some_and(|due| deadline.is_none_or(|before| due < before)))
    };
    if sooner {
        hub.wake();
    }
    if !touched.is_empty() {
        work.extend(hub.hand_over(touched));
    }
    while let Some(piece) = to_node.pop() {
        moved = true;
        let mut input = piece.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        node.mem_receive(link, &mut input);
    }
    if to_node.close || to_node.abort {
        cut(link);
        node.mem_ended(link, Refusal::new(Code::LinkLost, "the hub has closed the link"));
        return false;
    }
    moved
}
