//! The calls that a node was given: which it handles, and how they ended, so that none is handled twice and each can be
//! answered again.

use std::collections::{BTreeMap, VecDeque};

use super::super::{NodeState, Phase, RequestId, named};
use super::caller::CallEnd;
use crate::bug::{Bug, planted};
use crate::frame::{Content, End, Frame, HEAD_BYTES, Handle, Incarnation, Reply, read_headers};
use crate::limits::{REPLIES_KEPT_BYTES_MAX, REPLIES_KEPT_MAX, REPLIES_KEPT_TIME_MAX};
use crate::name::Name;
use crate::numbered::Numbered;
use crate::payload::{Headers, Payload};
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// What the hub is told of a call that never came.
const NEVER_SEEN: &str = "the provider has never seen it";

/// Callers of which it is known up to which of their calls replies were forgotten. Of all older ones it is assumed.
const FORGOTTEN_MAX: usize = 10_000;

/// A call that the program is to handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingCall {
    /// For [`NodeState::finish`].
    pub id: u64,
    /// The registration that it is for.
    pub registration: RequestId,
    /// The node that calls.
    pub caller: Name,
    /// Who is answerable for it.
    pub author: Name,
    /// When nobody waits for the end any more.
    pub deadline: Time,
    /// The pairs beside the payload.
    pub headers: Headers,
    /// What it is called with.
    pub payload: Payload,
}

/// What the program is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Handle this call, then say how it ended.
    Call(IncomingCall),
    /// Nobody waits for the end of this call any more; it is to be ended all the same.
    Cancel {
        /// The registration that it is for.
        registration: RequestId,
        /// The call.
        id: u64,
    },
    /// The hub does not take this registration any more.
    Ended {
        /// Which.
        registration: RequestId,
        /// Why not.
        why: Refusal,
    },
}

/// Which call it is, also after a new start of the hub.
type Key = (Incarnation, u64);

struct Running {
    key: Key,
    /// The hub's number for it, if it is the hub that this node is joined to.
    hub: Option<u64>,
    registration: u32,
}

#[derive(Clone, Copy)]
enum Known {
    Running(u64),
    /// Where its reply begins.
    Kept(u64),
}

/// The calls of one incarnation.
struct Calls {
    caller: Name,
    known: Numbered<Known>,
}

struct Kept {
    key: Key,
    at: Time,
    /// Counted from the first byte of the first reply that was ever kept.
    start: u64,
    len: usize,
}

/// What a node has been given.
#[derive(Default)]
pub(super) struct Provider {
    last: u64,
    running: Numbered<Running>,
    known: BTreeMap<Incarnation, Calls>,
    /// Replies as frames, one after the other, with whatever number.
    replies: VecDeque<u8>,
    kept: VecDeque<Kept>,
    /// How many bytes of replies were forgotten.
    dropped: u64,
    /// The highest number of each caller's calls whose replies were forgotten.
    forgotten: BTreeMap<Incarnation, u64>,
    /// Callers up to this one may have had calls whose replies were forgotten.
    forgotten_upto: Option<Incarnation>,
    /// The names that came last.
    caller: Option<Name>,
    author: Option<Name>,
    pub(super) incoming: Vec<Incoming>,
}

impl Provider {
    /// What the hub of earlier links called its calls means nothing to this one.
    pub(super) fn forget_numbers(&mut self) {
        for running in self.running.values_mut() {
            running.hub = None;
        }
    }

    fn known(&mut self, (incarnation, number): Key) -> Option<&mut Known> {
        self.known.get_mut(&incarnation)?.known.get_mut(number)
    }

    /// Whether it is not the node of this name that made the calls of this incarnation.
    fn is_of_another(&self, incarnation: Incarnation, caller: &[u8]) -> bool {
        self.known.get(&incarnation).is_some_and(|calls| calls.caller.as_str().as_bytes() != caller)
    }

    /// Keeps a reply, and forgets those that are too old or too many.
    fn keep(&mut self, key: Key, frame: &[u8], now: Time) {
        let start = self.dropped + self.replies.len() as u64;
        if let Some(known) = self.known(key) {
            *known = Known::Kept(start);
        }
        self.replies.extend(frame);
        self.kept.push_back(Kept { key, at: now, start, len: frame.len() });
        self.forget(now);
    }

    fn forget(&mut self, now: Time) {
        while let Some(Kept { key, at, len, .. }) = self.kept.front() {
            let (key, len) = (*key, *len);
            let fits = self.kept.len() <= REPLIES_KEPT_MAX && self.replies.len() <= REPLIES_KEPT_BYTES_MAX;
            if fits && now.since(*at) <= REPLIES_KEPT_TIME_MAX {
                return;
            }
            self.kept.pop_front();
            self.replies.drain(..len);
            self.dropped += len as u64;
            let (incarnation, number) = key;
            if let Some(calls) = self.known.get_mut(&incarnation) {
                calls.known.remove(number);
                if calls.known.is_empty() {
                    self.known.remove(&incarnation);
                }
            }
            let upto = self.forgotten.entry(incarnation).or_default();
            *upto = number.max(*upto);
            if self.forgotten.len() > FORGOTTEN_MAX
                && let Some((incarnation, _)) = self.forgotten.pop_first()
            {
                self.forgotten_upto = self.forgotten_upto.max(Some(incarnation));
            }
        }
        if self.kept.is_empty() {
            self.replies = VecDeque::new();
        }
    }

    /// Whether this call may have been handled, although its reply is not kept.
    fn may_be_forgotten(&self, (incarnation, number): Key) -> bool {
        self.forgotten.get(&incarnation).is_some_and(|upto| number <= *upto)
            || self.forgotten_upto.is_some_and(|upto| incarnation <= upto)
    }

    /// The name that these bytes are, which is mostly the one that came before.
    fn name(last: &mut Option<Name>, bytes: &[u8]) -> Result<Name, Refusal> {
        match last {
            Some(name) if name.as_str().as_bytes() == bytes => Ok(name.clone()),
            _ => Ok(last.insert(named(bytes)?).clone()),
        }
    }
}

impl NodeState {
    /// The hub gives this node a call.
    pub(in crate::node) fn handle_call(&mut self, handle: &Handle<'_>) -> Result<(), Refusal> {
        let key = (handle.incarnation, handle.number);
        let provider = &mut self.services.provider;
        if provider.known(key).is_some() {
            self.tell(handle.id, key, false);
            return Ok(());
        }
        if !self.services.registrations.contains_key(&handle.registration) {
            let end = End::Refused { code: Code::NoProvider, text: "the provider has just withdrawn it" };
            Frame::Reply(Reply { id: handle.id, end }).encode(&mut self.lanes.calls);
            return Ok(());
        }
        let caller = Provider::name(&mut provider.caller, handle.caller)?;
        let author = Provider::name(&mut provider.author, handle.author)?;
        let content = self.copies.copy(handle.content.bytes);
        let (headers, bytes) = if handle.content.headers { read_headers(&content)? } else { (Headers::new(), content) };
        provider.last += 1;
        let (id, registration) = (provider.last, handle.registration);
        provider.running.insert(id, Running { key, hub: Some(handle.id), registration });
        let calls = provider.known.entry(key.0);
        let calls = calls.or_insert_with(|| Calls { caller: caller.clone(), known: Numbered::default() });
        calls.known.insert(key.1, Known::Running(id));
        provider.incoming.push(Incoming::Call(IncomingCall {
            id,
            registration,
            caller,
            author,
            deadline: self.now + std::time::Duration::from_millis(handle.left_ms.into()),
            headers,
            payload: Payload { encoding: handle.content.encoding, bytes },
        }));
        Ok(())
    }

    /// The caller of a call that this node has does not want it any more.
    pub(in crate::node) fn cancelled(&mut self, hub: u64) {
        let provider = &mut self.services.provider;
        // Rare enough to search for.
        if let Some((id, running)) = provider.running.iter().find(|(_, running)| running.hub == Some(hub)) {
            provider.incoming.push(Incoming::Cancel { registration: running.registration, id });
        }
    }

    /// The hub asks what became of a call of this node. Whoever says to be an incarnation that the hub does not know may have
    /// proved nothing but its name: of another's calls it is told nothing.
    pub(in crate::node) fn recalled(&mut self, hub: u64, key: (Incarnation, u64), caller: &[u8]) {
        if self.services.provider.is_of_another(key.0, caller) && !planted(Bug::RecalledByAnother) {
            let end = End::Refused { code: Code::NoProvider, text: NEVER_SEEN };
            return Frame::Reply(Reply { id: hub, end }).encode(&mut self.lanes.calls);
        }
        self.tell(hub, key, true);
    }

    /// Answers for a call under this number of the hub's; if it is running, later, and now if so asked.
    fn tell(&mut self, hub: u64, key: Key, now: bool) {
        let provider = &mut self.services.provider;
        let end = match provider.known(key).copied() {
            Some(Known::Running(id)) => {
                if let Some(running) = provider.running.get_mut(id) {
                    running.hub = Some(hub);
                }
                if !now {
                    return;
                }
                End::Running
            }
            Some(Known::Kept(at)) => {
                let place = provider.kept.partition_point(|kept| kept.start < at);
                let len = provider.kept[place].len;
                let start = (at - provider.dropped) as usize;
                let from = self.lanes.calls.len();
                self.lanes.calls.extend(provider.replies.range(start..start + len));
                self.lanes.calls[from + HEAD_BYTES..from + HEAD_BYTES + 8].copy_from_slice(&hub.to_le_bytes());
                return;
            }
            None if provider.may_be_forgotten(key) => {
                End::Uncertain { code: Code::ProviderLost, text: "the provider does not keep replies for so long" }
            }
            None => End::Refused { code: Code::NoProvider, text: NEVER_SEEN },
        };
        Frame::Reply(Reply { id: hub, end }).encode(&mut self.lanes.calls);
    }

    /// What the program is to do since the last time this was asked, in order.
    pub fn incoming(&mut self) -> Vec<Incoming> {
        std::mem::take(&mut self.services.provider.incoming)
    }

    /// The program has handled a call, with this end. The hub is told, now or when it asks. Of a refusal with
    /// [`Code::NoProvider`] the code becomes [`Code::ProviderLost`]: on a link the first says that the call never came to a
    /// program, and the hub would give it to another.
    pub fn finish(&mut self, id: u64, end: &CallEnd, now: Time) {
        self.now = self.now.max(now);
        let Some(Running { key, hub, .. }) = self.services.provider.running.remove(id) else { return };
        let content = |payload: &'_ Payload| payload.bytes.len();
        let max = self.welcome.payload_bytes_max as usize;
        let long = match end {
            CallEnd::Done(payload) | CallEnd::Failed { payload, .. } if content(payload) > max => {
                format!("the reply has {} bytes, and this hub takes at most {max}", content(payload))
            }
            _ => String::new(),
        };
        let end = match end {
            _ if !long.is_empty() => {
                End::Failed { kind: Code::TooLarge.word(), message: &long, content: Content::default() }
            }
            CallEnd::Done(payload) => End::Done(borrowed(payload)),
            CallEnd::Failed { kind, message, payload } => End::Failed { kind, message, content: borrowed(payload) },
            CallEnd::Refused(why) if why.code == Code::NoProvider => {
                End::Refused { code: Code::ProviderLost, text: &why.text }
            }
            CallEnd::Refused(why) => End::Refused { code: why.code, text: &why.text },
            CallEnd::Uncertain(why) => End::Uncertain { code: why.code, text: &why.text },
        };
        let reply = Frame::Reply(Reply { id: hub.unwrap_or_default(), end });
        let provider = &mut self.services.provider;
        if hub.is_some() && matches!(self.phase, Phase::Joined) {
            let from = self.lanes.calls.len();
            reply.encode(&mut self.lanes.calls);
            provider.keep(key, &self.lanes.calls[from..], self.now);
        } else {
            let mut frame = Vec::new();
            reply.encode(&mut frame);
            provider.keep(key, &frame, self.now);
        }
    }

    /// Forgets replies that nobody will ask for any more.
    pub(in crate::node) fn forget_replies(&mut self) {
        self.services.provider.forget(self.now);
    }
}

fn borrowed(payload: &Payload) -> Content<'_> {
    Content { encoding: payload.encoding, headers: false, bytes: &payload.bytes }
}
