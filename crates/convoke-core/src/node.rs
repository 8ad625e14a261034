//! A node as a state machine, the other end of [`HubState`](crate::HubState).
//!
//! The shell dials when [`NodeState::wants_link`] says so, tells what came of it, hands over what it reads, writes what
//! [`NodeState::transmit`] gives, and calls [`NodeState::tick`] when [`NodeState::deadline`] has come. Everything that a
//! permanent link needs is in here: when to try again, what to subscribe again, and what to tell of what was missed.
//!
//! The parts, each a file: `join` is the handshake, `alive` shows that the node lives, `publish` is what leaves,
//! `requests` what is asked for, `awaits` who is waited for, `deliver` what arrives, `inbox` what waits for one subscription,
//! `values` what is written and watched, `services` what is called, `journals` what is
//! appended and followed.

mod alive;
mod awaits;
mod deliver;
mod inbox;
mod join;
mod journals;
mod outbox;
mod publish;
mod requests;
mod services;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use foldhash::fast::FixedState;

pub use inbox::{Delivery, Event, Gap, Run};
use journals::Followings;
pub use journals::{FollowWish, Followed};
pub use outbox::Became;
pub use publish::Publication;
use requests::Subscription;
pub use services::{CallEnd, CallRequest, Incoming, IncomingCall, Selector};
use values::Values;
pub use values::{Change, NotWritten, Note, Watched, WriteId, Wrote};

use crate::bug::{Bug, planted};
use crate::copies::Copies;
use crate::frame::{Frame, Head, Incarnation, InfoOwned, Kind, Parts, Welcome};
use crate::limits;
use crate::name::Name;
use crate::outgoing::{Lanes, SlowPolicy, Transmit};
use crate::proof::TokenKey;
use crate::random::Random;
use crate::refusal::{Code, Refusal};
use crate::time::Time;
use crate::tree::Tree;

/// Who a node is, and how it behaves.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name.
    pub name: Name,
    /// Who is answerable for what it does; its name if `None`.
    pub author: Option<Name>,
    /// The token that it can prove: its name and its key.
    pub token: Option<(Name, TokenKey)>,
    /// Take the name over from a live node of the same principal.
    pub takeover: bool,
    /// What the hub shall do when this node reads too slowly.
    pub slow: SlowPolicy,
    /// What may wait for one subscription that the program does not read, in bytes; then the oldest go, and the
    /// subscription is told how many.
    pub subscription_bytes_max: usize,
    /// How much of what is published while offline is kept for when the node has joined, in bytes. With zero such a
    /// publish is refused with [`Code::Offline`].
    pub offline_bytes_max: usize,
    /// It is a link of another hub: see [`Hello::uplink`](crate::frame::Hello).
    pub uplink: bool,
    /// What it appends to journals is kept elsewhere too; see [`NodeState::notes`].
    pub outbox: bool,
}

impl NodeConfig {
    /// The usual node of this name.
    pub fn new(name: Name) -> NodeConfig {
        NodeConfig {
            name,
            author: None,
            token: None,
            takeover: false,
            slow: SlowPolicy::default(),
            subscription_bytes_max: limits::SUBSCRIPTION_BYTES_MAX,
            offline_bytes_max: 0,
            uplink: false,
            outbox: false,
        }
    }
}

/// Where a node stands with its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No link; why not, if there was one or one was tried. Another will be tried.
    Offline(Option<Refusal>),
    /// A link is being made.
    Joining,
    /// Joined.
    Joined,
    /// For good: the node has left, or was fenced.
    Ended(Refusal),
}

/// How many events of this node were lost with a link, after `publish` had taken them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishLoss {
    /// So many; at most so many, if not `exact`.
    pub count: u64,
    /// The hub could tell. It cannot after it was restarted.
    pub exact: bool,
}

/// The number of something the node has asked the hub for.
pub type RequestId = u32;

enum Phase {
    Offline { retry_at: Time },
    Dialing,
    Joining(join::Joining),
    Joined,
    Ended,
}

/// What the node knows of a topic that it was told the number of.
struct Topic {
    name: Name,
    /// Its own subscriptions that match, as of `stamp`.
    subscriptions: Vec<u32>,
    stamp: u64,
}

/// The rules of a node. See the module's documentation for who calls what.
pub struct NodeState {
    config: NodeConfig,
    random: Random,
    now: Time,
    phase: Phase,
    why: Option<Refusal>,
    attempt: u32,
    lanes: Lanes,

    // What outlives a link.
    incarnation: Option<(Incarnation, TokenKey)>,
    /// Hub, history and epoch of the last Welcome.
    hub: Option<([u8; 16], [u8; 16], u64)>,
    seq: u64,
    /// The hub is known to have received all events up to this.
    received: u64,
    subscriptions: BTreeMap<u32, Subscription>,
    patterns: Tree<Vec<u32>>,
    /// Changes with the subscriptions.
    stamp: u64,
    last_id: u32,
    /// How many things it offers or follows.
    attentive: u32,
    info: Option<InfoOwned>,
    offline: VecDeque<publish::Kept>,
    offline_bytes: usize,
    services: services::Services,
    values: Values,
    followings: Followings,
    asking: outbox::Asking,
    /// Those of which the hub is to be told what is applied, when something leaves.
    unacknowledged: BTreeSet<RequestId>,
    awaits: awaits::Awaits,

    // What ends with a link.
    welcome: Welcome,
    heard: Time,
    /// When it began to offer or follow something: from then on both ends beat more often.
    attentive_since: Time,
    /// Beats that were sent on this link, and that came; and how many must have come before the hub knows for certain that
    /// it beats more often.
    beats: alive::Beats,
    /// How often it beats has changed; from when on, the next tick will say.
    beat_changed: bool,
    beat_at: Option<Time>,
    numbers: HashMap<String, u32, FixedState>,
    topics: HashMap<u32, Topic, FixedState>,
    publishers: HashMap<u32, Name, FixedState>,
    fragments: Vec<Bytes>,
    /// Long frames that are no events and have begun.
    parts: Parts,
    /// What was asked for, and the last event that its answer tells the hub to have received.
    requests: BTreeMap<u32, (&'static str, u64)>,
    /// The first event that the hub has refused since a confirmation was answered.
    unconfirmed: Option<(u64, Refusal)>,

    copies: Copies,

    // What the shell takes out.
    answers: Vec<(RequestId, Result<u64, Refusal>)>,
    woken: Vec<u32>,
    losses: Vec<PublishLoss>,
    refused: Vec<(u64, Refusal)>,
}

impl fmt::Debug for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeState")
            .field("name", &self.config.name)
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}

impl NodeState {
    /// The hub that it has joined last: which hub it is, which history of it, and which of its starts.
    pub fn hub(&self) -> Option<([u8; 16], [u8; 16], u64)> {
        self.hub
    }

    /// A node without a link, which wants one at once. `seed` must be unpredictable.
    pub fn new(config: NodeConfig, seed: [u8; 32], now: Time) -> NodeState {
        let mut random = Random::new(seed);
        NodeState {
            now,
            phase: Phase::Dialing,
            why: None,
            attempt: 0,
            lanes: Lanes::new(SlowPolicy::Disconnect, usize::MAX),
            incarnation: None,
            hub: None,
            seq: 0,
            received: 0,
            subscriptions: BTreeMap::new(),
            patterns: Tree::new(random.number()),
            stamp: 1,
            last_id: 0,
            attentive: 0,
            info: None,
            offline: VecDeque::new(),
            offline_bytes: 0,
            services: services::Services::default(),
            values: Values::default(),
            followings: Followings::default(),
            asking: outbox::Asking::default(),
            unacknowledged: BTreeSet::new(),
            awaits: awaits::Awaits::default(),
            welcome: Welcome::default(),
            heard: now,
            attentive_since: now,
            beats: alive::Beats::default(),
            beat_changed: false,
            beat_at: None,
            numbers: HashMap::default(),
            topics: HashMap::default(),
            publishers: HashMap::default(),
            fragments: Vec::new(),
            parts: Parts::default(),
            requests: BTreeMap::new(),
            unconfirmed: None,
            copies: Copies::default(),
            answers: Vec::new(),
            woken: Vec::new(),
            losses: Vec::new(),
            refused: Vec::new(),
            random,
            config,
        }
    }

    /// Who is answerable for what it does.
    pub fn author(&self) -> &Name {
        self.config.author.as_ref().unwrap_or(&self.config.name)
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.config.name
    }

    /// Where it stands with its hub.
    pub fn standing(&self) -> Standing {
        match &self.phase {
            Phase::Offline { .. } => Standing::Offline(self.why.clone()),
            Phase::Dialing if self.why.is_some() => Standing::Offline(self.why.clone()),
            Phase::Dialing | Phase::Joining(_) => Standing::Joining,
            Phase::Joined => Standing::Joined,
            Phase::Ended => {
                Standing::Ended(self.why.clone().unwrap_or_else(|| Refusal::new(Code::Left, "the node has left")))
            }
        }
    }

    /// Whether it is joined. Costs less than [`standing`](NodeState::standing).
    pub fn is_joined(&self) -> bool {
        matches!(self.phase, Phase::Joined)
    }

    /// Joins with this token from the next link on.
    pub fn set_token(&mut self, token: Option<(Name, TokenKey)>) {
        self.config.token = token;
    }

    /// Whether the shell shall dial now, and then call [`connected`](NodeState::connected) or
    /// [`disconnected`](NodeState::disconnected).
    pub fn wants_link(&self) -> bool {
        matches!(self.phase, Phase::Dialing)
    }

    /// Whether a connection that the shell holds belongs to this state; if not, it is to be closed, after what
    /// [`transmit`](NodeState::transmit) still gives has been tried.
    pub fn has_link(&self) -> bool {
        matches!(self.phase, Phase::Joining(_) | Phase::Joined)
    }

    /// What the hub told when this node joined; all zero before.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// A connection is made. `trusted` says that the transport vouches for the hub (in this process, or the uid of a
    /// Unix socket), so that no token is needed.
    pub fn connected(&mut self, trusted: bool, now: Time) {
        self.now = self.now.max(now);
        if !self.wants_link() {
            return;
        }
        self.heard = self.now;
        self.begin_join(trusted);
    }

    /// The connection is gone, or could not be made; why is told to those who ask.
    pub fn disconnected(&mut self, why: Refusal, now: Time) {
        self.now = self.now.max(now);
        if matches!(self.phase, Phase::Offline { .. } | Phase::Ended) {
            return;
        }
        let bound = limits::RETRY_MIN.saturating_mul(1 << self.attempt.min(16)).min(limits::RETRY_MAX);
        self.attempt += 1;
        self.drop_link(why);
        self.phase = Phase::Offline { retry_at: self.now + self.random.below(bound) };
    }

    /// Leaves for good, behind what was published. The shell writes what is left, then closes the connection.
    pub fn leave(&mut self, now: Time) {
        self.now = self.now.max(now);
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        let mut lanes = Lanes::new(SlowPolicy::Disconnect, usize::MAX);
        if self.is_joined() {
            std::mem::swap(&mut lanes, &mut self.lanes);
            // What it does not know the hub must not forget: another program of its name may ask.
            let close = match self.values.writes.is_settled() {
                true => Frame::Close { code: Code::Left, text: "" },
                false => Frame::Close { code: Code::LinkLost, text: "the node has left without all its answers" },
            };
            lanes.bulk.append(|out| close.encode(out));
        }
        self.end(Refusal::new(Code::Left, "the node has left"));
        self.lanes = lanes;
    }

    fn end(&mut self, why: Refusal) {
        self.drop_link(why.clone());
        self.phase = Phase::Ended;
        let ids: Vec<u32> = self.subscriptions.keys().copied().collect();
        for id in ids {
            if self.subscriptions.get(&id).is_some_and(|one| !one.begun && !one.inbox.is_ended()) {
                self.answers.push((id, Err(why.clone())));
            }
            self.end_subscription(id, why.clone());
        }
        self.end_services(&why);
        self.end_values(&why);
        self.end_follows(&why);
        self.end_awaits(&why);
    }

    /// Forgets what ends with a link, and answers what can no longer be answered.
    fn drop_link(&mut self, why: Refusal) {
        self.lanes = Lanes::new(SlowPolicy::Disconnect, usize::MAX);
        self.beat_at = None;
        self.numbers.clear();
        self.topics.clear();
        self.publishers.clear();
        if !planted(Bug::FragmentsSurviveLink) {
            self.fragments.clear();
        }
        self.parts.clear();
        self.unconfirmed = None;
        for (id, (what, _)) in std::mem::take(&mut self.requests) {
            let text = format!("{what} got no answer: {why}");
            self.answers.push((id, Err(Refusal::new(Code::LinkLost, text))));
        }
        for subscription in self.subscriptions.values_mut() {
            subscription.active = false;
            subscription.asked = false;
            subscription.inbox.seal();
        }
        self.pause_services();
        self.values.link_lost();
        self.follow_link_lost();
        self.asking.link_lost();
        self.awaits.link_lost();
        self.why = Some(why);
    }

    /// When [`tick`](NodeState::tick) must be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let due = [self.link_deadline(), self.services.due(), self.asking.due(), self.awaits.due()];
        due.into_iter().flatten().min()
    }

    fn link_deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Offline { retry_at } => Some(*retry_at),
            Phase::Joining(joining) => Some(joining.deadline),
            Phase::Joined => self.beat_at,
            Phase::Dialing | Phase::Ended => None,
        }
    }

    /// Handles a deadline that has come.
    pub fn tick(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.sweep_calls();
        self.ask_again();
        self.sweep_awaits();
        let Some(due) = self.link_deadline().filter(|due| *due <= self.now) else { return };
        let late = self.now.since(due);
        match self.phase {
            Phase::Offline { .. } => self.phase = Phase::Dialing,
            Phase::Joining(_) => {
                let text = format!("the hub did not answer within {} s", limits::JOIN_TIME_MAX.as_secs());
                self.disconnected(Refusal::new(Code::TimedOut, text), now);
            }
            Phase::Joined if std::mem::take(&mut self.beat_changed) => {
                self.attentive_since = self.now;
                self.send_beat();
            }
            Phase::Joined => {
                if late > limits::STALL {
                    // This program stood still; what it did not hear in that time says nothing about the hub.
                    self.heard = self.now.min(self.heard + late);
                    self.attentive_since = self.now.min(self.attentive_since + late);
                }
                if let Some(silent) = self.hub_silence().filter(|silent| *silent <= self.now.since(self.heard)) {
                    let text = format!("nothing was heard from the hub for {} s", silent.as_secs_f64());
                    return self.disconnected(Refusal::new(Code::Silent, text), now);
                }
                self.forget_replies();
                self.send_beat();
            }
            Phase::Dialing | Phase::Ended => {}
        }
    }

    /// Moves what leaves next to `transmit`, if that is empty.
    pub fn transmit(&mut self, transmit: &mut Transmit) {
        self.acknowledge();
        self.lanes.transmit(transmit);
    }

    /// Whether something waits to be written.
    pub fn has_output(&self) -> bool {
        !self.lanes.is_empty() || !self.unacknowledged.is_empty()
    }

    /// Handles every whole frame at the start of `input` and takes it out; half a frame stays there for the next call.
    /// Bytes of a link that this state has given up are dropped.
    pub fn receive(&mut self, input: &mut BytesMut, now: Time) {
        self.now = self.now.max(now);
        if !self.has_link() {
            return input.clear();
        }
        self.heard = self.now;
        if let Err(why) = self.read(input) {
            input.clear();
            match why.code {
                Code::Fenced if self.incarnation.is_some() => self.end(why),
                _ => self.disconnected(why, now),
            }
        }
    }

    fn read(&mut self, input: &mut BytesMut) -> Result<(), Refusal> {
        loop {
            if let Phase::Joining(_) = self.phase {
                if !self.read_join(input)? {
                    return Ok(());
                }
                continue;
            }
            let Some(head) = Head::peek(input)? else { return Ok(()) };
            if head.kind == Kind::Event as u8 {
                if !self.read_events(input)? {
                    return Ok(());
                }
                continue;
            }
            let Some((frame, len)) = Frame::decode(input)? else { return Ok(()) };
            if let Frame::Part(head, body) = frame {
                if let Some(whole) = self.parts.push(head, body, limits::PAYLOAD_BYTES_MAX * 2)? {
                    self.handle(whole.whole()?)?;
                }
            } else {
                self.parts.check_whole(head.kind)?;
                self.handle(frame)?;
            }
            input.advance(len);
        }
    }

    fn handle(&mut self, frame: Frame<'_>) -> Result<(), Refusal> {
        match frame {
            Frame::Beat { received } => {
                self.beats.heard += 1;
                self.received = self.received.max(received);
            }
            Frame::Topic { number, name } => {
                let name = named(name)?;
                // Also where it is told as to a subscriber: what this node then publishes on it need not go by name.
                self.numbers.insert(name.as_str().to_owned(), number);
                self.topics.insert(number, Topic { name, subscriptions: Vec::new(), stamp: 0 });
            }
            Frame::Publisher { number, name } => {
                self.publishers.insert(number, named(name)?);
            }
            Frame::Forget { number } => {
                self.publishers.remove(&number);
            }
            Frame::Lagged(lagged) => self.deliver_losses(lagged)?,
            Frame::Done { id, value } => self.answer(id, Ok(value)),
            Frame::Refused { about, code, text } => {
                let refusal = Refusal::new(code, text.to_owned());
                match about {
                    crate::frame::About::Request(id) => self.answer(id, Err(refusal)),
                    crate::frame::About::Event(seq) => {
                        let asked = |(what, behind): &(&str, u64)| *what == requests::CONFIRMATION && *behind >= seq;
                        // Whoever has asked is told there.
                        if self.unconfirmed.is_some() || !self.requests.values().any(asked) {
                            self.refused.push((seq, refusal.clone()));
                        }
                        self.unconfirmed.get_or_insert((seq, refusal));
                    }
                    crate::frame::About::Write(cseq) => self.write_refused(cseq, refusal),
                }
            }
            Frame::Ping { id, .. } => Frame::Pong { id }.encode(&mut self.lanes.calls),
            Frame::Close { code, text } => return Err(Refusal::new(code, text.to_owned())),
            Frame::Written { cseq, rev, count } => self.written(cseq, rev, count),
            Frame::Entry(entry) => self.entry(&entry)?,
            Frame::Base(piece) => self.base(&piece)?,
            Frame::Compacted { id, first, hash } => self.compacted(id, first, hash)?,
            Frame::Acknowledged(frame) => self.acknowledged(&frame)?,
            Frame::Value(value) => self.value(&value)?,
            Frame::Settled { id, fate } => self.settled(id, &fate),
            Frame::Snapshot { id, durable, memory, first } => self.snapshot(id, durable, memory, first),
            Frame::Handle(call) => self.handle_call(&call)?,
            Frame::Reply(reply) => self.reply(&reply),
            Frame::Cancel { id } => self.cancelled(id),
            Frame::Recall { id, incarnation, number, caller } => self.recalled(id, (incarnation, number), caller),
            Frame::Ignored(_) => {}
            _ => return Err(Refusal::new(Code::BadFrame, "bad frame: a hub does not send this to a joined node")),
        }
        Ok(())
    }

    fn answer(&mut self, id: u32, result: Result<u64, Refusal>) {
        if self.status_refused(id, &result)
            || self.answer_values(id, &result)
            || self.answer_follow(id, &result)
            || self.answer_await(id, &result)
        {
            return;
        }
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.asked = false;
            match result {
                Ok(_) => {
                    subscription.active = true;
                    if !subscription.begun {
                        subscription.begun = true;
                        self.answers.push((id, Ok(0)));
                    }
                }
                Err(refusal) => {
                    // One that the hub has taken before was answered then.
                    if !subscription.begun {
                        self.answers.push((id, Err(refusal.clone())));
                    }
                    self.end_subscription(id, refusal);
                }
            }
        } else if let Some((what, behind)) = self.requests.remove(&id) {
            let mut result = result;
            if result.is_ok() {
                self.received = self.received.max(behind);
            }
            if result.is_ok()
                && what == requests::CONFIRMATION
                && let Some((_, why)) = self.unconfirmed.take_if(|(seq, _)| *seq <= behind)
            {
                result = Err(why);
            }
            self.answers.push((id, result));
        } else if self.services.has_registration(id) {
            self.registered(id, result);
        }
    }

    fn offline(&self, what: &str) -> Refusal {
        let (code, why) = match (&self.phase, &self.why) {
            (Phase::Ended, Some(why)) if why.code != Code::Left => (why.code, format!("has ended: {why}")),
            (Phase::Ended, _) => (Code::Left, "has left its hub".to_owned()),
            (_, Some(why)) => (Code::Offline, format!("is not joined to a hub: {why}")),
            (_, None) => (Code::Offline, "is not yet joined to a hub".to_owned()),
        };
        Refusal::new(code, format!("{what}: `{}` {why}", self.config.name))
    }

    fn next_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            let id = self.last_id;
            let used = self.requests.contains_key(&id) || self.subscriptions.contains_key(&id);
            let used = used || self.followings.contains_key(&id) || self.awaits.has(id);
            if !(used || self.values.has(id) || self.services.has_registration(id)) {
                return id;
            }
        }
    }

    /// Answers to requests since the last call.
    pub fn answers(&mut self) -> Vec<(RequestId, Result<u64, Refusal>)> {
        std::mem::take(&mut self.answers)
    }

    /// Subscriptions and watches that something has arrived for since the last call; some may come twice.
    pub fn woken(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.woken)
    }

    /// What was found out since the last call about events lost with a link.
    pub fn losses(&mut self) -> Vec<PublishLoss> {
        std::mem::take(&mut self.losses)
    }

    /// Events that the hub has refused since the last call, by seq.
    pub fn refused(&mut self) -> Vec<(u64, Refusal)> {
        std::mem::take(&mut self.refused)
    }
}

fn named(bytes: &[u8]) -> Result<Name, Refusal> {
    Name::from_bytes(bytes).map_err(|error| Refusal::new(Code::BadFrame, format!("bad frame: {error}")))
}
