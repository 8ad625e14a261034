//! The hub as a state machine: bytes and time go in, bytes and deadlines come out.
//!
//! The shell opens a link for each connection, hands every byte it reads to [`HubState::receive`], then writes what
//! [`HubState::touched`] and [`HubState::transmit`] give it, and calls [`HubState::tick`] when
//! [`HubState::deadline`] has come. Nothing else happens by itself; nothing waits. A bad frame closes its own link with
//! one sentence and is never anybody else's trouble.
//!
//! The parts, each a file: `join` lets a link in, `grants` says with which rights, `events` routes, `topics` numbers
//! names, `requests` answers, `links` holds the links, `sessions` remembers who may come back, `members` knows who is
//! alive, `report` tells it, `counters` counts what was refused.

mod counters;
mod events;
mod foundation;
mod grants;
mod groups;
mod join;
mod journals;
mod links;
mod members;
mod origins;
mod report;
mod requests;
mod services;
mod sessions;
mod status;
mod timers;
mod topics;
mod usage;
mod values;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::{Buf, BytesMut};

pub use counters::{Census, Counters, Dropped, LinkRefusal, ProtocolError};
use foundation::Conversation;
pub use grants::{Admission, Applicant};
use groups::Orphan;
use journals::Followers;
pub use links::LinkId;
use links::{Links, Phase};
use members::Members;
pub use members::Membership;
pub(crate) use members::beat_of;
use origins::Origins;
use report::Reports;
use requests::{Pings, Subscribers};
pub use services::SelectDefault;
use services::Services;
pub use services::backup::{BackupCall, SERVICE as BACKUP_SERVICE};
use sessions::Sessions;
use status::Statuses;
use timers::{Timer, Timers};
use topics::Topics;
#[cfg(feature = "sim")]
pub(crate) use watches::LookBounds;
use watches::Watches;

use crate::bug::{Bug, planted};
use crate::frame::{Frame, Head, Kind, Preface};
use crate::kept::Kept;
use crate::limits;
use crate::name::Name;
use crate::outgoing::Transmit;
use crate::proof::TokenKey;
use crate::random::Random;
use crate::refusal::{Code, Refusal};
use crate::time::Time;
use crate::tree::Tree;

/// What a long frame may have beside its payloads, in bytes: the names and fields of a whole batch.
const LONG_FIELDS_BYTES_MAX: usize = limits::BATCH_ITEMS_MAX * 1024;

/// What can be set about a hub. The defaults are those of docs/protocol.md.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Links at one time.
    pub links_max: usize,
    /// Links at one time of one source; see [`limits::LINKS_PER_SOURCE_MAX`].
    pub links_per_source_max: usize,
    /// Subscriptions of all links.
    pub subscriptions_max: usize,
    /// The longest payload, headers included, in bytes; at most [`limits::PAYLOAD_BYTES_MAX`].
    pub payload_bytes_max: usize,
    /// What may wait in the bulk lane of one link, in bytes; raised to what one event of the longest payload takes.
    pub link_bulk_bytes_max: usize,
    /// What may wait in all bulk lanes together, in bytes, before only links with less than their share of it get more.
    pub hub_bulk_bytes_max: usize,
    /// How long a link may take to join.
    pub join_time: Duration,
    /// How it judges who is alive.
    pub membership: Membership,
    /// Values of these names, and of all below them, are kept in memory only.
    pub memory: Vec<Name>,
    /// Other hubs append to the same foundation: a get waits until what they had committed before it is known here.
    pub shared_foundation: bool,
    /// What gets may have found that their links have not yet taken, all together, in bytes; one is always let in.
    pub gets_bytes_max: usize,
    /// Durable changes kept for watches of every one, in bytes: what fits its disk, the same for all who share a foundation.
    pub changes_bytes_max: usize,
    /// How a provider is chosen for a call that does not say how.
    pub select: SelectDefault,
}

impl Default for HubConfig {
    fn default() -> HubConfig {
        HubConfig {
            links_max: limits::LINKS_MAX,
            links_per_source_max: limits::LINKS_PER_SOURCE_MAX,
            subscriptions_max: limits::SUBSCRIPTIONS_MAX,
            payload_bytes_max: limits::PAYLOAD_BYTES_DEFAULT,
            link_bulk_bytes_max: limits::LINK_BULK_BYTES_MAX,
            hub_bulk_bytes_max: limits::HUB_BULK_BYTES_MAX,
            join_time: limits::JOIN_TIME_MAX,
            membership: Membership::default(),
            memory: Vec::new(),
            shared_foundation: false,
            gets_bytes_max: limits::GETS_BYTES_MAX,
            changes_bytes_max: limits::CHANGES_BYTES_MAX,
            select: SelectDefault::default(),
        }
    }
}

impl HubConfig {
    fn put_in_order(&mut self) {
        self.payload_bytes_max = self.payload_bytes_max.min(limits::PAYLOAD_BYTES_MAX);
        self.membership.put_in_order();
        // One event of the longest payload must fit, with the heads of its fragments.
        self.link_bulk_bytes_max = self.link_bulk_bytes_max.max(self.payload_bytes_max * 2 + 4096);
    }
}

/// Which hub it is, and which of its starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubIdentity {
    /// Made once, random.
    pub hub: [u8; 16],
    /// New after init, restore or an accepted loss.
    pub history: [u8; 16],
    /// One more at every start. A new hub begins anywhere: a node may bring the incarnation that another hub gave it.
    pub epoch: u64,
}

/// What the transport knows about the other end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The same user: in this process, or by the uid of a Unix socket. Needs no token.
    Owner,
    /// Whoever has this name: the transport has proved it, by a certificate. Needs no token, but rights.
    Known(Name),
    /// Anybody: must prove a token.
    Stranger,
}

/// Something that people who run a hub want to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A node joined.
    Joined {
        /// Its name.
        node: Name,
        /// Who is answerable for what it does.
        author: Name,
        /// It went on as the incarnation it was.
        resumed: bool,
    },
    /// A node's link is gone.
    Gone {
        /// Its name.
        node: Name,
        /// Why.
        why: Refusal,
    },
    /// A link was closed before it had joined.
    Refused(Refusal),
    /// Nothing can be kept any more. The hub acknowledges nothing from here on, and should end.
    Failed(Refusal),
}

/// The rules of a hub. See the module's documentation for who calls what.
pub struct HubState {
    config: HubConfig,
    identity: HubIdentity,
    random: Random,
    /// Tokens of its owner, who may do everything.
    tokens: BTreeMap<Name, TokenKey>,
    admission: Option<Box<Admission>>,
    links: Links,
    nodes: BTreeMap<Name, LinkId>,
    sessions: Sessions,
    members: Members,
    reports: Reports,
    patterns: Tree<Subscribers>,
    subscriptions: usize,
    topics: Topics,
    origins: Origins,
    pings: Pings,
    services: Services,
    timers: Timers,
    conversation: Conversation,
    /// What is kept durably.
    kept: Kept,
    /// Values in memory, with the epoch of their revisions.
    memory: Kept,
    memory_epoch: u64,
    watches: Watches,
    followers: Followers,
    statuses: Statuses,
    /// Wall time, and when it was that.
    wall: (u64, Time),
    touched: Vec<LinkId>,
    /// Links that took too little, and why they are to be closed; not at once, since routes may be in use.
    doomed: Vec<(LinkId, Refusal)>,
    notices: Vec<Notice>,
    backup_calls: Vec<BackupCall>,
    counters: Counters,
    publisher_last: u32,
    bulk_bytes: usize,
    failures: u32,
    started: Time,
    now: Time,
    /// How long the hub has stood still so far; the clock of membership does not count it.
    stalled: Duration,
    scratch: Vec<u8>,
    /// The members of each group, by their links and numbers.
    groups: BTreeMap<Name, BTreeSet<(LinkId, u32)>>,
    /// Links of which members were withdrawn, and something may wait for them.
    withdrawing: Vec<LinkId>,
    /// What waited for members that are gone; given to others at the end of the turn.
    orphaned: Vec<Orphan>,
}

impl fmt::Debug for HubState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubState")
            .field("identity", &self.identity)
            .field("census", &self.census())
            .finish_non_exhaustive()
    }
}

impl HubState {
    /// A hub without links. `seed` must be unpredictable: nonces, secrets and the keys of hash tables come from it.
    pub fn new(mut config: HubConfig, identity: HubIdentity, seed: [u8; 32], now: Time) -> HubState {
        config.put_in_order();
        let mut random = Random::new(seed);
        HubState {
            nodes: BTreeMap::new(),
            patterns: Tree::new(random.number()),
            topics: Topics::new(random.number()),
            origins: Origins::default(),
            sessions: Sessions::default(),
            members: Members::default(),
            reports: Reports::new(random.number()),
            links: Links::default(),
            tokens: BTreeMap::new(),
            admission: None,
            subscriptions: 0,
            pings: Pings::default(),
            services: Services::new(random.number()),
            timers: Timers::default(),
            conversation: Conversation::new(),
            kept: Kept::new(0, random.number()).keeping(config.changes_bytes_max),
            // Zero would say that they are kept durably.
            memory: Kept::new(identity.epoch.max(1), random.number()),
            memory_epoch: identity.epoch.max(1),
            watches: Watches::new(random.number()),
            followers: Followers::new(),
            statuses: Statuses::default(),
            wall: (0, now),
            touched: Vec::new(),
            doomed: Vec::new(),
            notices: Vec::new(),
            backup_calls: Vec::new(),
            counters: Counters::new(),
            publisher_last: 0,
            bulk_bytes: 0,
            failures: 0,
            started: now,
            now,
            stalled: Duration::ZERO,
            scratch: Vec::new(),
            groups: BTreeMap::new(),
            withdrawing: Vec::new(),
            orphaned: Vec::new(),
            random,
            config,
            identity,
        }
    }

    /// How much watches look at, and in which way, before anybody has joined.
    #[cfg(feature = "sim")]
    pub(crate) fn set_look_bounds(&mut self, bounds: LookBounds) {
        self.watches.bounds = bounds;
    }

    /// How much of journals is in memory and can be undone, before anything has come back.
    #[cfg(feature = "sim")]
    pub(crate) fn set_journal_bounds(&mut self, bounds: crate::kept::JournalBounds) {
        self.kept.journals.bounds = bounds;
    }

    /// Lets in who proves this token, to do everything.
    pub fn add_token(&mut self, name: Name, key: TokenKey) {
        self.tokens.insert(name, key);
    }

    /// Changes what can be changed while the hub runs: how many links there may be, in all and of one source, what may wait
    /// in bulk lanes, how it judges who is alive, and how providers are chosen. The rest of `config` is not looked at. No
    /// link is cut: where there are more than there may be now, no more are let in. Beats and the room of a bulk lane are
    /// told to a link when it joins, so they change for those that join later.
    pub fn reconfigure(&mut self, config: &HubConfig) {
        self.config.links_max = config.links_max;
        self.config.links_per_source_max = config.links_per_source_max;
        self.config.link_bulk_bytes_max = config.link_bulk_bytes_max;
        self.config.hub_bulk_bytes_max = config.hub_bulk_bytes_max;
        self.config.membership = config.membership.clone();
        self.config.select = config.select;
        self.config.put_in_order();
    }

    /// The transport has found out who is on the other end of a link: to be told before anything that came on it.
    pub fn vouch(&mut self, link: LinkId, name: Name) {
        if let Some(link) = self.links.get_mut(link).filter(|link| matches!(link.phase, Phase::Preface)) {
            link.peer = Peer::Known(name);
        }
    }

    /// The transport cannot carry a link, or must not: it is told why, as far as it can be, and closed.
    pub fn turn_away(&mut self, link: LinkId, why: Refusal, now: Time) {
        self.advance(now);
        self.close(link, why);
        self.close_doomed();
        self.adopt();
    }

    /// Handles every whole frame at the start of `input` and takes it out; half a frame stays there for the next call.
    /// Bytes of a link that is closed are dropped.
    pub fn receive(&mut self, link: LinkId, input: &mut BytesMut, now: Time) {
        self.advance(now);
        let heard = self.membership_clock();
        let suspect = match self.links.get_mut(link) {
            Some(state) if !state.is_closing() => {
                state.heard = heard;
                state.suspect
            }
            _ => return input.clear(),
        };
        if suspect {
            self.heard_again(link);
        }
        let before = input.len();
        match self.read(link, input) {
            Ok(()) => self.time_half(link, input.len() < before, !input.is_empty(), heard),
            Err(refusal) => {
                input.clear();
                self.close(link, refusal);
                self.close_doomed();
            }
        }
        self.adopt();
    }

    /// Half a frame may be there: it must come whole in time, however often another byte of it comes. The timer is set once
    /// and looks again, since a busy link nearly always has half of some frame.
    fn time_half(&mut self, id: LinkId, another: bool, half: bool, heard: Time) {
        let Some(link) = self.links.get_mut(id).filter(|link| link.is_joined()) else { return };
        if !half {
            link.half_since = None;
        } else if another || link.half_since.is_none() {
            link.half_since = Some(heard);
            if !link.half_timed {
                link.half_timed = true;
                self.timers.set(self.now + limits::FRAME_TIME_MAX, Timer::Frame(id));
            }
        }
    }

    fn expire_half(&mut self, id: LinkId) {
        let clock = self.membership_clock();
        let Some(link) = self.links.get_mut(id) else { return };
        link.half_timed = false;
        let Some(since) = link.half_since else { return };
        let left = limits::FRAME_TIME_MAX.saturating_sub(clock.since(since));
        if left.is_zero() {
            let text = format!("the rest of a frame did not come within {} s", limits::FRAME_TIME_MAX.as_secs());
            return self.close(id, Refusal::new(Code::TimedOut, text));
        }
        link.half_timed = true;
        self.timers.set(self.now + left, Timer::Frame(id));
    }

    /// Gives the next link that has something to write or to be closed. Each is given once until it is touched again.
    pub fn touched(&mut self) -> Option<LinkId> {
        while let Some(link) = self.touched.pop() {
            if let Some(state) = self.links.get_mut(link) {
                state.touched = false;
                return Some(link);
            }
        }
        None
    }

    /// Moves what leaves next on `link` to `transmit`, if that is empty; and tells in it when the link shall be closed. The
    /// deadline may have come nearer then.
    pub fn transmit(&mut self, link: LinkId, transmit: &mut Transmit) {
        let Some(state) = self.links.get_mut(link) else {
            (transmit.close, transmit.abort) = (true, true);
            return;
        };
        transmit.abort = state.abort;
        if state.held {
            return;
        }
        if transmit.is_empty() {
            self.feed(link);
        }
        let Some(state) = self.links.get_mut(link) else { return };
        let before = state.lanes.bulk.bytes();
        state.lanes.transmit(transmit);
        self.bulk_bytes = self.bulk_bytes + state.lanes.bulk.bytes() - before;
        transmit.close = state.is_closing() && state.lanes.is_empty();
    }

    /// The shell has written something: all that it had taken, or only a part because the link takes no more now.
    pub fn wrote(&mut self, link: LinkId, all: bool, now: Time) {
        self.advance(now);
        // Who is to be gone by then is not given more time, however much it takes meanwhile.
        let is_closing = self.links.get(link).is_some_and(|state| state.is_closing());
        if is_closing && self.timers.is_set(Timer::Stuck(link)) {
            return;
        }
        if all {
            self.timers.clear(Timer::Stuck(link));
        } else if self.links.get(link).is_some() {
            self.timers.set(self.now + limits::STUCK_TIME_MAX, Timer::Stuck(link));
        }
    }

    /// The connection is gone. Nothing of the link remains but, for a while, the incarnation that may come back.
    pub fn closed(&mut self, link: LinkId, now: Time) {
        self.advance(now);
        let lost = Refusal::new(Code::LinkLost, "the connection ended");
        if let Some(state) = self.links.get(link).filter(|state| !state.is_joined() && !state.is_closing()) {
            self.counters.count_close(&state.phase, &lost);
        }
        self.leave(link, &lost);
        if let Some(state) = self.links.remove(link) {
            self.bulk_bytes -= state.lanes.bulk.bytes();
            for timer in [Timer::Join(link), Timer::Stuck(link), Timer::Release(link)] {
                self.timers.clear(timer);
            }
        }
        self.close_doomed();
        self.adopt();
    }

    /// When [`tick`](HubState::tick) must be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        match (self.timers.next(), self.services.due()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Handles every deadline that has come. A call that comes much later than the deadline means that the hub itself
    /// stood still: what was not heard in that time is not held against anybody.
    pub fn tick(&mut self, now: Time) {
        self.advance(now);
        while let Some(timer) = self.timers.pop(self.now) {
            self.expire(timer);
        }
        if self.services.due().is_some_and(|due| due <= self.now) {
            self.sweep_calls();
        }
        self.close_doomed();
        self.adopt();
    }

    /// Closes every link with [`Code::HubStopping`].
    pub fn stop(&mut self, now: Time) {
        self.advance(now);
        for link in self.links.ids() {
            self.close(link, Refusal::new(Code::HubStopping, "the hub is stopping"));
        }
        // Nobody is left to give it to.
        self.orphaned.clear();
    }

    /// What happened since the last call, for the log.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Sets the clock. A deadline that passed long ago means that the hub itself stood still: since when is not known,
    /// but not before the last call. Then everything that was due within that time is due so much later.
    fn advance(&mut self, now: Time) {
        let late = self.deadline().map_or(Duration::ZERO, |due| now.since(due));
        let stall = now.since(self.now);
        // One that was called meanwhile is only busy: what came was handled, and every call would move all deadlines again.
        if late.min(stall) > limits::STALL {
            if !planted(Bug::StallCounted) {
                self.stalled += stall;
            }
            self.timers.postpone(stall);
            self.services.postpone(stall);
        }
        self.now = self.now.max(now);
    }

    /// Time as membership counts it: without the hub's own stalls.
    fn membership_clock(&self) -> Time {
        Time::from_nanos(self.now.as_nanos().saturating_sub(u64::try_from(self.stalled.as_nanos()).unwrap_or(u64::MAX)))
    }

    fn read(&mut self, id: LinkId, input: &mut BytesMut) -> Result<(), Refusal> {
        loop {
            self.close_doomed();
            let Some(link) = self.links.get_mut(id) else { return Ok(()) };
            if matches!(link.phase, Phase::Preface | Phase::Hello { .. } | Phase::Proof(_)) {
                if !self.read_before_join(id, input)? {
                    return Ok(());
                }
                continue;
            }
            if link.is_closing() {
                input.clear();
                return Ok(());
            }
            let Some(head) = Head::peek(input)? else { return Ok(()) };
            if head.kind == Kind::Event as u8 {
                if !self.read_events(id, input)? {
                    return Ok(());
                }
                continue;
            }
            let Some((frame, len)) = Frame::decode(input)? else { return Ok(()) };
            if let Frame::Part(head, body) = frame {
                let bytes_max = self.config.payload_bytes_max + LONG_FIELDS_BYTES_MAX;
                let whole = link.joined().and_then(|joined| joined.parts.push(head, body, bytes_max).transpose());
                if let Some(whole) = whole.transpose()? {
                    self.request(id, whole.whole()?)?;
                }
            } else {
                if let Some(joined) = link.joined() {
                    joined.parts.check_whole(head.kind)?;
                }
                self.request(id, frame)?;
            }
            input.advance(len);
        }
    }

    /// Tells a link why it ends, forgets what its node had, and lets the shell close it once that is written.
    fn close(&mut self, id: LinkId, refusal: Refusal) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.is_closing() {
            return;
        }
        self.counters.count_close(&link.phase, &refusal);
        if !link.is_joined() {
            self.notices.push(Notice::Refused(refusal.clone()));
        }
        if matches!(link.phase, Phase::Preface) {
            // The node cannot read why before it has read this.
            link.lanes.control.extend_from_slice(&Preface::OURS.encode());
        }
        Frame::Close { code: refusal.code, text: &refusal.text }.encode(&mut link.lanes.control);
        self.leave(id, &refusal);
        self.touch(id);
    }

    fn touch(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id)
            && !link.touched
        {
            link.touched = true;
            self.touched.push(id);
        }
    }

    /// Writes a frame to a link's control lane. A link that lets too much pile up there is closed soon.
    fn control(&mut self, id: LinkId, frame: &Frame<'_>) {
        // What is answered to a link that was closed meanwhile would come behind Close.
        let Some(link) = self.links.get_mut(id).filter(|link| !link.is_closing()) else { return };
        if let Frame::Refused { code, .. } = frame {
            self.counters.count_refused(*code);
        }
        frame.encode(&mut link.lanes.control);
        if link.lanes.control.len() > limits::LINK_CONTROL_BYTES_MAX {
            link.lanes.control.clear();
            let text = format!(
                "more than {} bytes of answers wait on this link: it does not read",
                limits::LINK_CONTROL_BYTES_MAX
            );
            self.doomed.push((id, Refusal::new(Code::SlowLink, text)));
        }
        self.touch(id);
    }

    fn close_doomed(&mut self) {
        while let Some((id, refusal)) = self.doomed.pop() {
            self.close(id, refusal);
        }
    }

    fn expire(&mut self, timer: Timer) {
        match timer {
            Timer::Join(id) => {
                if self.links.get_mut(id).is_some_and(|link| !link.is_joined() && !link.is_closing()) {
                    let text = format!("the link did not join within {} s", self.config.join_time.as_secs_f64());
                    self.close(id, Refusal::new(Code::TimedOut, text));
                }
            }
            Timer::Frame(id) => self.expire_half(id),
            // At the end of the turn, as always.
            Timer::Adopt => {}
            Timer::Silent(id) => self.expire_silence(id),
            Timer::Stuck(id) => {
                if let Some(link) = self.links.get_mut(id) {
                    let text = format!("the link took nothing for {} s", limits::STUCK_TIME_MAX.as_secs());
                    // It reads nothing, so it will not read why.
                    link.lanes.control.clear();
                    self.close(id, Refusal::new(Code::SlowLink, text));
                    if let Some(link) = self.links.get_mut(id) {
                        link.abort = true;
                    }
                    self.touch(id);
                }
            }
            Timer::Release(id) => {
                if let Some(link) = self.links.get_mut(id) {
                    link.held = false;
                }
                self.touch(id);
            }
            Timer::Ping(number) => self.expire_ping(number),
            Timer::Members => self.expire_members(),
            Timer::Report => self.expire_report(),
            Timer::Look => self.expire_look(),
            Timer::Expire => self.expire_values(),
            Timer::Forget => self.forget_idle(),
            Timer::Await(wait) => self.expire_wait(wait),
            Timer::Returned => self.expire_returning(),
            Timer::Announce => self.expire_announce(),
            Timer::Owner(owner) => {
                if !self.may_live(owner) {
                    self.node_dead(owner);
                }
            }
        }
    }
}
