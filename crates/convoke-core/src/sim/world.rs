//! Who is there, and what happens next: the virtual clock, the queue of what is to come, and the main loop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;

use super::calls::{Calls, Handled};
use super::chronicle::Chronicle;
use super::dice::Dice;
use super::foundation::Foundation;
use super::groups::Group;
use super::journals::{Mode, Scribe};
use super::members::Away;
use super::oracle::{Routed, Taken, Tap};
use super::pipe::Pipe;
use super::publisher::Publisher;
use super::rights::{self, Ward, Wards};
use super::subscriber::Subscriber;
use super::trace::Trace;
use super::truth::{Life, Truth};
use super::values::{Sign, User};
use super::{Checker, Failure, Report};
use crate::frame::Incarnation;
use crate::hub::{HubConfig, HubIdentity, HubState, LinkId, LookBounds, Membership, Peer};
use crate::name::{Name, Pattern};
use crate::node::NodeState;
use crate::outgoing::{SlowPolicy, Transmit};
use crate::proof::TokenKey;
use crate::rev::Rev;
use crate::time::Time;

pub(super) type ConnId = u32;
/// The number of one run of one program.
pub(super) type Tag = u32;

/// What is to come.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Step,
    ArrivesAtHub(ConnId),
    ArrivesAtNode(ConnId),
    RoomAtNode(ConnId),
    RoomAtHub(ConnId),
    Dialed(Tag),
    Foundation,
    HubStarts,
    HubWakes,
    Wakes(Tag),
    Reads(Tag),
    Handled(Tag, u64),
}

/// One connection, both ends.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) tag: Tag,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    /// The hub's end, while it is open.
    pub(super) link: Option<LinkId>,
    /// The node's end is open.
    pub(super) attached: bool,
    pub(super) hub_input: BytesMut,
    pub(super) node_input: BytesMut,
    pub(super) hub_out: Transmit,
    pub(super) node_out: Transmit,
    pub(super) tap: Tap,
    pub(super) excuse: Excuse,
    /// As whom its program proves itself, if not as somebody who may do everything; and with which rights it has joined.
    pub(super) principal: Option<&'static str>,
    pub(super) ward: Option<Ward>,
    /// When the hub last read something of it.
    pub(super) heard: Time,
}

/// What was done to a link, and so how it may end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Excuse {
    /// It was cut.
    pub(super) cut: bool,
    /// Its node read nothing, or did nothing at all, for longer than the hub waits.
    pub(super) paused_long: bool,
    /// Its node did nothing for longer than beats allow.
    pub(super) frozen_long: bool,
    /// The hub stood still for longer than the node waits.
    pub(super) stalled_long: bool,
    /// Anything of the kind, which may make a link too late to join.
    pub(super) delayed: bool,
}

/// One run of one program.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: Name,
    pub(super) node: NodeState,
    pub(super) peer: Peer,
    pub(super) slow: SlowPolicy,
    pub(super) wrong_token: bool,
    /// As whom it proves itself, if not as somebody who may do everything.
    pub(super) ward: Option<&'static str>,
    pub(super) small_inbox: bool,
    pub(super) offline_bytes_max: usize,
    /// Some bytes that it sends are flipped from some time on: nothing that is promised to it is checked.
    pub(super) hostile: bool,
    pub(super) flips: bool,
    pub(super) leaving: bool,
    pub(super) conn: Option<ConnId>,
    pub(super) dialing: bool,
    pub(super) frozen: bool,
    pub(super) reading: bool,
    pub(super) taking: bool,
    /// Epoch and publisher number of the last Welcome: tells links apart.
    pub(super) welcomed: (u64, u32),
    pub(super) publisher: Publisher,
    pub(super) subscribers: BTreeMap<u32, Subscriber>,
    /// Its subscriptions that are members of groups.
    pub(super) shares: BTreeMap<u32, (Pattern, Name)>,
    pub(super) requests: BTreeMap<u32, Request>,
    pub(super) values: User,
    pub(super) calls: Calls,
    pub(super) journals: Scribe,
    /// As whom it writes, if not as itself.
    pub(super) author: Option<Name>,
    /// When it last went on after it stood still.
    pub(super) woken_at: Time,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) what: Asked,
    /// Events that its node had given to the link when it asked.
    pub(super) sent: u64,
    /// For a confirmation, the count that the oracle expects, once the hub was asked.
    pub(super) expected: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Subscribe,
    Confirm,
    Barrier,
    Ping,
    Watch,
    Serve,
    Grant,
    Follow,
    Status,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) dice: Dice,
    pub(super) now: Time,
    queue: BTreeMap<(Time, u64), What>,
    order: u64,
    pub(super) trace: Trace,
    pub(super) report: Report,
    pub(super) failed: Option<Failure>,

    pub(super) hub: Option<HubState>,
    pub(super) config: HubConfig,
    pub(super) epoch: u64,
    pub(super) history: [u8; 16],
    pub(super) foundation: Foundation,
    /// Its foundation has just told that it failed.
    pub(super) failing: bool,
    /// Since when the hub has all that was kept.
    pub(super) ready_at: Time,
    pub(super) stalled: bool,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) conn_last: ConnId,
    /// What fits into a link at least, in bytes; more where values are big.
    pub(super) capacity_min: usize,
    pub(super) by_link: BTreeMap<LinkId, ConnId>,

    pub(super) programs: BTreeMap<Tag, Program>,
    pub(super) tag_last: Tag,
    /// What programs that are gone have published.
    pub(super) gone: BTreeMap<Tag, Publisher>,

    // The truth.
    pub(super) truth: Truth,
    pub(super) mode: Mode,
    pub(super) chronicle: Chronicle,
    /// The incarnations that this start of the hub has seen.
    pub(super) signs: BTreeMap<Incarnation, Sign>,
    pub(super) handled: Handled,
    pub(super) wards: Wards,
    /// When the hub stood still for long, and until when; and since when it does so now.
    pub(super) stalls: Vec<(Time, Time)>,
    pub(super) stalled_at: Time,
    /// When the clock last jumped.
    pub(super) jumped_at: Time,
    /// Nodes that this start of the hub knows and that have no link.
    pub(super) away: BTreeMap<Name, Away>,
    /// Runs of programs that send nonsense.
    pub(super) hostile: BTreeSet<Tag>,
    /// In the end somebody looks at all values.
    pub(super) looked: bool,
    /// What there is in memory then: revision, print, and how long it shall live.
    pub(super) left_in_memory: BTreeMap<String, (Rev, u64, Life)>,
    pub(super) taken: Vec<Taken>,
    pub(super) routed: BTreeMap<ConnId, Routed>,
    pub(super) groups: BTreeMap<Name, Group>,
    pub(super) joined: BTreeMap<Name, ConnId>,
    /// Incarnations that the hub should remember.
    pub(super) sessions: u64,
    /// Names that had more than one program at a time.
    pub(super) shared: BTreeSet<Name>,

    /// No faults any more.
    pub(super) calm: bool,
    pub(super) calm_since: Option<Time>,
    pub(super) steps_left: u32,
    /// How long the pauses between steps are at most.
    pub(super) pace: Duration,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let payload_bytes_max = dice.pick(&[2 << 10, 8 << 10, 70 << 10, 200 << 10]);
        let config = HubConfig {
            payload_bytes_max,
            link_bulk_bytes_max: dice.pick(&[0, 0, 1 << 20]),
            hub_bulk_bytes_max: if dice.once_in(4) { payload_bytes_max * 4 } else { 1 << 30 },
            membership: Membership {
                beat: dice.pick(&[Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)]),
                ..Membership::default()
            },
            memory: vec![Name::parse("live").expect("a name")],
            shared_foundation: dice.once_in(3),
            ..HubConfig::default()
        };
        let pace = Duration::from_millis(dice.pick(&[2, 20, 200]));
        let capacity_min = if dice.once_in(4) { 128 << 10 } else { 0 };
        let dice_pace = dice.pick(&[1, 300, 20_000]);
        let mut world = World {
            seed,
            dice,
            now: Time::START,
            queue: BTreeMap::new(),
            order: 0,
            trace: Trace::default(),
            report: Report { seed, ..Report::default() },
            failed: None,
            hub: None,
            config,
            epoch: 0,
            history: [2; 16],
            foundation: Foundation::new(dice_pace),
            failing: false,
            ready_at: Time::START,
            stalled: false,
            conns: BTreeMap::new(),
            conn_last: 0,
            capacity_min,
            by_link: BTreeMap::new(),
            programs: BTreeMap::new(),
            tag_last: 0,
            gone: BTreeMap::new(),
            truth: Truth::default(),
            mode: Mode::default(),
            chronicle: Chronicle::default(),
            signs: BTreeMap::new(),
            handled: Handled::default(),
            wards: Wards::default(),
            stalls: Vec::new(),
            stalled_at: Time::START,
            jumped_at: Time::START,
            away: BTreeMap::new(),
            hostile: BTreeSet::new(),
            looked: false,
            left_in_memory: BTreeMap::new(),
            taken: Vec::new(),
            routed: BTreeMap::new(),
            groups: BTreeMap::new(),
            joined: BTreeMap::new(),
            sessions: 0,
            shared: BTreeSet::new(),
            calm: false,
            calm_since: None,
            steps_left: 0,
            pace,
        };
        world.mode = world.some_mode();
        if world.mode.big {
            world.capacity_min = 128 << 10;
        }
        if seed & rights::SEEDS != 0 {
            world.makes_wards();
        }
        world.start_hub();
        for _ in 0..3 + world.dice.below(7) {
            world.start_program();
        }
        world
    }

    pub(super) fn run(&mut self, steps: u32) -> Result<Report, Failure> {
        self.steps_left = steps;
        self.at(self.now, What::Step);
        while self.steps_left > 0 && self.failed.is_none() {
            self.turn();
        }
        self.end();
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        self.report.trace_hash = self.trace.hash();
        self.report.ended = self.now.since(Time::START);
        Ok(self.report)
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.failed.is_none() && self.next().is_some_and(|next| next <= until) {
            self.turn();
        }
        self.now = self.now.max(until);
    }

    pub(super) fn at(&mut self, time: Time, what: What) {
        self.order += 1;
        self.queue.insert((time, self.order), what);
    }

    pub(super) fn fail(&mut self, checker: Checker, sentence: String) {
        if self.failed.is_none() {
            let at = self.now.since(Time::START);
            self.failed = Some(Failure { seed: self.seed, at, checker, sentence, trace: self.trace.last() });
        }
    }

    fn hub_deadline(&self) -> Option<Time> {
        if self.stalled { None } else { self.hub.as_ref().and_then(HubState::deadline) }
    }

    fn node_deadline(&self) -> Option<(Time, Tag)> {
        let awake = self.programs.iter().filter(|(_, program)| !program.frozen);
        awake.filter_map(|(tag, program)| program.node.deadline().map(|due| (due, *tag))).min()
    }

    fn next(&self) -> Option<Time> {
        let queued = self.queue.first_key_value().map(|((time, _), _)| *time);
        [queued, self.hub_deadline(), self.node_deadline().map(|(due, _)| due)].into_iter().flatten().min()
    }

    /// Does what comes next.
    fn turn(&mut self) {
        let Some(next) = self.next() else { return };
        self.now = self.now.max(next);
        if self.hub_deadline().is_some_and(|due| due <= next) {
            return self.hub_ticks();
        }
        if let Some((due, tag)) = self.node_deadline()
            && due <= next
        {
            self.with_node(tag, |node, now| node.tick(now));
            return;
        }
        let Some((_, what)) = self.queue.pop_first() else { return };
        match what {
            What::Step if self.steps_left == 0 => {}
            What::Step => {
                self.steps_left = self.steps_left.saturating_sub(1);
                self.step();
                self.check_members();
                self.check_open_calls();
                self.check_lost_calls();
                let pause = self.dice.micros(1, self.pace.as_micros() as u64);
                self.at(self.now + pause, What::Step);
            }
            What::ArrivesAtHub(conn) => self.hub_reads(conn),
            What::ArrivesAtNode(conn) => self.node_reads(conn),
            What::RoomAtNode(conn) => {
                if let Some(link) = self.conns.get_mut(&conn) {
                    link.up.blocked = false;
                    self.node_writes(conn);
                }
            }
            What::RoomAtHub(conn) => {
                if let Some(link) = self.conns.get_mut(&conn) {
                    link.down.blocked = false;
                }
                if !self.stalled {
                    self.hub_writes(conn);
                }
            }
            What::Dialed(tag) => self.dialed(tag),
            What::Foundation => self.foundation_turn(),
            What::HubStarts => self.start_hub(),
            What::HubWakes => self.hub_wakes(),
            What::Wakes(tag) => self.node_wakes(tag),
            What::Handled(tag, id) => self.handled(tag, id),
            What::Reads(tag) => self.node_reads_again(tag),
        }
    }

    /// The whole world stands still for so long, and nobody knows.
    pub(super) fn jump(&mut self, by: Duration) {
        self.trace.line(self.now, format_args!("the clock jumps by {} s", by.as_secs()));
        let from = self.now;
        self.now = self.now + by;
        if !self.stalled {
            self.stood_still(from);
        }
        self.jumped_at = self.now;
        self.calls_stood_still();
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue.into_iter().map(|((time, order), what)| ((time + by, order), what)).collect();
        self.foundation.shift(by);
        for conn in self.conns.values_mut() {
            conn.up.shift(by);
            conn.down.shift(by);
            conn.excuse.delayed = true;
            // While its program reads nothing, the two times may add up.
            conn.excuse.frozen_long |= self.programs.get(&conn.tag).is_some_and(|one| !one.reading || one.frozen);
        }
    }

    pub(super) fn start_hub(&mut self) {
        // Where an older copy may be put back there must be room for other numbers behind it.
        self.epoch += if self.mode.restores { 1000 } else { 1 };
        self.report.hub_starts += 1;
        self.trace.line(self.now, format_args!("hub starts, epoch {}", self.epoch));
        let identity = HubIdentity { hub: [1; 16], history: self.history, epoch: self.epoch };
        let mut hub = HubState::new(self.config.clone(), identity, self.dice.bytes32(), self.now);
        hub.add_token(token_name(), right_key());
        hub.set_wall(self.wall_ms(), self.now);
        hub.set_journal_bounds(self.mode.bounds);
        // There are few values: with the bounds of the real world nobody would ever look in parts.
        match self.seed % 4 {
            0 => hub.set_look_bounds(LookBounds { at_once: 1, scan: 1, look_up: 3, next: 1 }),
            1 => hub.set_look_bounds(LookBounds { at_once: 3, scan: 0, look_up: 100, next: 2 }),
            2 => hub.set_look_bounds(LookBounds { at_once: 2, scan: 100, look_up: 1, next: 1 }),
            _ => {}
        }
        self.hub = Some(hub);
        self.wards.begins();
        self.signs.clear();
        self.away.clear();
        self.hub_turns();
    }
}

impl World {
    /// The hub has all that was kept, and lets nodes in.
    pub(super) fn ready(&mut self) {
        self.ready_at = self.now;
        self.sessions = self.truth.begun.len() as u64;
        let books = self.chronicle.books.iter().filter(|(_, book)| !book.entries.is_empty());
        self.chronicle.at_start = books.map(|(name, _)| name.clone()).collect();
    }

    /// After how long without a byte a link may be given up.
    pub(super) fn silence(&self) -> Duration {
        let membership = &self.config.membership;
        membership.beat.min(membership.beat_attentive) * membership.dead_beats
    }
}

pub(super) fn token_name() -> Name {
    Name::parse("staff").expect("a name")
}

pub(super) fn right_key() -> TokenKey {
    TokenKey::derive(b"the right token")
}
