//! A hub, a few links and a foundation, which do what a script of arbitrary bytes says: links are opened, say frames and
//! noise that are cut anywhere, end, or do not read; time passes; the foundation answers, refuses, doubts or fails.
//!
//! What must hold: nothing panics; the hub says whole frames only, and nothing behind its Close; what waits for links is
//! bounded; time goes on; and when all links are gone and all is answered, the hub holds nothing of them any more.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use convoke_core::foundation::{Ask, RowKey, Told};
use convoke_core::frame::{
    Call, Change, Content, EVENT_HEAD_BYTES, End, EventHead, Expect, Frame, Grant, HEAD_BYTES, Hello, Incarnation,
    Info, Item, Items, MasterWish, NAMED, Preface, Reply, Select, Set, WatchMode,
};
use convoke_core::{
    Census, Code, Encoding, HubConfig, HubIdentity, HubState, LinkId, Name, Peer, Refusal, Rev, SlowPolicy, Time,
    TokenKey, Transmit,
};

/// Connections at one time; the hub takes one fewer.
const LINKS: usize = 6;

/// The longest payload that this hub takes, in bytes.
const PAYLOAD_BYTES_MAX: usize = 4096;

/// What may wait in one lane beyond its bound, in bytes: the frame that was let in last.
const SLACK_BYTES: usize = 70_000;

/// A deadline that is handled so often without time going on is never over.
const TICKS_MAX: u32 = 10_000;

/// The times that can pass.
const TIMES: [Duration; 9] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(31),
    Duration::from_secs(100),
    Duration::from_secs(3600),
    Duration::from_secs(8 * 24 * 3600),
];

const NODES: [&[u8]; 6] = [b"n0", b"n1", b"n2", b"n/3", b"a//b", b"$hub"];

const NAMES: [&[u8]; 14] = [
    b"a",
    b"a/b",
    b"a/c",
    b"b",
    b"press/1",
    b"memory/x",
    b"memory/y",
    b"$hub/status",
    b"$hub/nodes/n0",
    b"n1",
    b"",
    b"a//b",
    b"\xff",
    b"%node",
];

const PATTERNS: [&[u8]; 12] = [
    b"#",
    b"a/#",
    b"+/b",
    b"a/+",
    b"a",
    b"memory/#",
    b"$hub/#",
    b"$hub/links/+",
    b"$hub/nodes/+",
    b"press/1",
    b"a#",
    b"",
];

const RULES: [&str; 6] = ["all #", "publish,subscribe a/#", "deny get a/b", "join,status #", "set", "all $hub/#"];

const SELECTS: [Select<'static>; 10] = [
    Select::Default,
    Select::First,
    Select::RoundRobin,
    Select::Random,
    Select::LeastBusy,
    Select::Node(b"n1"),
    Select::Host(b"h"),
    Select::Master,
    Select::CpuUsage,
    Select::FreeRam,
];

/// Plays `data` to its end, and then ends everything.
pub(crate) fn hub(data: &[u8]) {
    let mut script = Script(data);
    let mut world = World::new(script.byte());
    while !script.0.is_empty() {
        world.step(&mut script);
    }
    world.end();
}

/// What happens, byte by byte; zeros when it is over.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// Mostly small, sometimes as large as can be.
    fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..250 => u64::from(byte % 16),
            250 => u64::from(u32::MAX),
            251 => u64::MAX,
            252 => u64::MAX - 1,
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn small(&mut self) -> u32 {
        self.number() as u32
    }

    fn rev(&mut self) -> Rev {
        Rev { epoch: self.number() % 3, n: self.number() }
    }
}

/// A connection, and what its other end knows.
struct Wire {
    link: LinkId,
    /// On its way to the hub.
    unsent: Vec<u8>,
    /// Read by the hub's program, and not yet by the hub.
    input: BytesMut,
    transmit: Transmit,
    /// Said by the hub, and not yet a whole frame.
    heard: Vec<u8>,
    greeted: bool,
    /// The hub has said Close.
    over: bool,
    publisher: u32,
    seq: u64,
    cseq: u64,
    calls: u64,
    topics: Vec<u32>,
    handles: Vec<u64>,
    incarnation: Option<Incarnation>,
}

struct World {
    hub: HubState,
    now: Time,
    wires: [Option<Wire>; LINKS],
    foundation: Foundation,
    /// The foundation answers at once.
    eager: bool,
}

impl World {
    fn new(choice: u8) -> World {
        let config = HubConfig {
            links_max: LINKS - 1,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            link_bulk_bytes_max: 1,
            hub_bulk_bytes_max: 20_000,
            memory: vec![Name::parse("memory").expect("a name")],
            shared_foundation: choice & 2 != 0,
            gets_bytes_max: 4096,
            ..HubConfig::default()
        };
        let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 1 };
        let mut hub = HubState::new(config, identity, [choice; 32], Time::START);
        hub.add_token(Name::parse("admin").expect("a name"), TokenKey::derive(b"admin"));
        hub.set_wall(1_700_000_000_000, Time::START);
        World {
            hub,
            now: Time::START,
            wires: [const { None }; LINKS],
            foundation: Foundation::default(),
            eager: choice & 1 == 0,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let what = script.byte();
        let place = usize::from(what >> 4) % LINKS;
        match what % 16 {
            0 => self.open(place, script.byte()),
            1 => self.join(place, script),
            2..7 => self.compose(place, script),
            7 => {
                let len = usize::from(script.byte());
                let noise = script.bytes(len);
                self.with(place, |wire, _, _| wire.unsent.extend_from_slice(noise));
            }
            8 => self.send(place, usize::from(script.byte())),
            9 => self.send(place, usize::MAX),
            10 => self.pass(script.byte()),
            11 => self.closed(place),
            12 => self.foundation.act(&mut self.hub, self.now, script),
            13 => self.listen(place),
            14 => (0..LINKS).for_each(|place| self.listen(place)),
            _ => self.rare(place, script),
        }
        self.foundation.take(&mut self.hub);
        if self.eager {
            self.foundation.answer_all(&mut self.hub, self.now);
        }
        self.check();
    }

    fn with(&mut self, place: usize, does: impl FnOnce(&mut Wire, &mut HubState, Time)) {
        if let Some(wire) = &mut self.wires[place] {
            does(wire, &mut self.hub, self.now);
        }
    }

    fn open(&mut self, place: usize, who: u8) {
        if self.wires[place].is_some() {
            return;
        }
        let peer = match who % 4 {
            0 | 1 => Peer::Owner,
            2 => Peer::Known(Name::parse("known").expect("a name")),
            _ => Peer::Stranger,
        };
        match self.hub.open(peer, self.now) {
            Ok(link) => {
                self.wires[place] = Some(Wire {
                    link,
                    unsent: Vec::new(),
                    input: BytesMut::new(),
                    transmit: Transmit::new(),
                    heard: Vec::new(),
                    greeted: false,
                    over: false,
                    publisher: 0,
                    seq: 0,
                    cseq: 0,
                    calls: 0,
                    topics: Vec::new(),
                    handles: Vec::new(),
                    incarnation: None,
                });
            }
            Err(refusal) => assert_eq!(refusal.code, Code::Limit),
        }
    }

    /// Says all that a link says first, as one whom the hub believes.
    fn join(&mut self, place: usize, script: &mut Script<'_>) {
        self.open(place, 0);
        let known: Vec<_> = self.wires.iter().flatten().filter_map(|wire| wire.incarnation).collect();
        let flags = script.byte();
        let resume = match flags & 3 {
            0 if !known.is_empty() => Some(script.of(&known)),
            1 => Some(Incarnation { epoch: script.number() % 3, counter: script.number() }),
            _ => None,
        };
        let (name, author) = (script.of(&NODES), if flags & 4 == 0 { b"" } else { script.of(&NAMES) });
        let slow = script.of(&SlowPolicy::ALL);
        let takeover = flags & 8 != 0;
        let hello =
            Hello { name, author, nonce: [flags; 32], token: b"", resume, takeover, uplink: flags & 16 != 0, slow };
        self.with(place, |wire, _, _| {
            wire.unsent.extend_from_slice(&Preface::OURS.encode());
            Frame::Hello(hello).encode(&mut wire.unsent);
            Frame::Proof { token: [0; 32], resume: [0; 32] }.encode(&mut wire.unsent);
        });
        if flags & 16 == 0 {
            self.send(place, usize::MAX);
            self.listen(place);
        }
    }

    /// Adds a frame to what a link is about to say; now and then one that it must not say.
    fn compose(&mut self, place: usize, script: &mut Script<'_>) {
        let Some(wire) = &mut self.wires[place] else { return };
        let kind = script.byte();
        let out = &mut wire.unsent;
        let raw = |len: u8| vec![b'x'; usize::from(len) * 16];
        let number = script.small();
        match kind % 22 {
            0 => {
                let seq = if kind > 250 { script.number() } else { wire.seq.wrapping_add(1) };
                wire.seq = seq;
                event(out, wire.publisher, seq, None, script.of(&NAMES), &raw(script.byte()));
            }
            1 => {
                wire.seq = wire.seq.wrapping_add(1);
                let topic =
                    if wire.topics.is_empty() { number } else { wire.topics[number as usize % wire.topics.len()] };
                event(out, wire.publisher, wire.seq, Some(topic), b"", &raw(script.byte()));
            }
            2 | 3 => {
                let group = script.of(&[&b""[..], b"", b"g", b"g/h", b"a//b"]);
                Frame::Subscribe { id: number, pattern: script.of(&PATTERNS), group }.encode(out);
            }
            4 => Frame::Unsubscribe { id: number }.encode(out),
            5 => Frame::Confirm { id: number }.encode(out),
            6 => Frame::Barrier { id: number }.encode(out),
            7 => Frame::Ping { id: number, node: script.of(&[&b""[..], b"n0", b"n1", b"n2", b"a//b"]) }.encode(out),
            8 => Frame::Pong { id: number }.encode(out),
            9 => Frame::Beat { received: script.number() }.encode(out),
            10 | 11 => {
                let payload = raw(script.byte());
                let count = 1 + usize::from(script.byte() % 3);
                let items: Vec<Item<'_>> = (0..count).map(|_| item(script, &payload)).collect();
                wire.cseq = if kind > 250 { script.number() } else { wire.cseq.wrapping_add(1) };
                let items = Items::encode(&items);
                let body = [&wire.cseq.to_le_bytes()[..], &script.number().to_le_bytes(), &items].concat();
                long(out, 0x20, 0, 0, &body);
            }
            12 | 13 => {
                let mode = script.of(&WatchMode::ALL);
                let (window, after, after_memory) = (script.small(), script.number(), script.rev());
                Frame::Watch { id: number, mode, window, after, after_memory, pattern: script.of(&PATTERNS) }
                    .encode(out);
            }
            14 => Frame::Taken { id: number, bytes: script.small() }.encode(out),
            15 => Frame::Serve { id: number, idempotent: kind > 127, service: script.of(&NAMES) }.encode(out),
            16 => {
                wire.calls = if kind > 250 { script.number() } else { wire.calls.wrapping_add(1) };
                let flags = script.byte();
                let bytes = raw(script.byte());
                let content = Content { encoding: Encoding::Raw, headers: false, bytes: &bytes };
                let (select, service) = (script.of(&SELECTS), script.of(&NAMES));
                let (wait, again, left_ms) = (flags & 1 != 0, flags & 2 != 0, script.small());
                Frame::Call(Call { number: wire.calls, left_ms, select, wait, again, service, content }).encode(out);
            }
            17 => {
                let id = if wire.handles.is_empty() { script.number() } else { script.of(&wire.handles) };
                let (code, text) = (Code::Busy, "busy");
                let content = Content { encoding: Encoding::Text, headers: false, bytes: b"done" };
                let failed = End::Failed { kind: "k", message: "m", content };
                let ends = [
                    End::Done(content),
                    failed,
                    End::Refused { code, text },
                    End::Uncertain { code, text },
                    End::Running,
                ];
                Frame::Reply(Reply { id, end: script.of(&ends) }).encode(out);
            }
            18 => Frame::Cancel { id: script.number() }.encode(out),
            19 => {
                let master = script.of(&[MasterWish::May, MasterWish::Must, MasterWish::Never]);
                Frame::Info(Info { host: "h", cpu_permille: number, master, ..Info::default() }).encode(out);
            }
            20 => {
                let rules = vec![script.of(&RULES); usize::from(script.byte() % 4)];
                let key = TokenKey::derive(b"key");
                let change = match script.byte() % 5 {
                    0 => Change::Create { key: None, rules },
                    1 => Change::Create { key: Some(key), rules },
                    2 => Change::Rules(rules),
                    3 => Change::Key(key),
                    _ => Change::Revoke,
                };
                let name = script.of(&[&b"known"[..], b"admin", b"other", b"a//b"]);
                Frame::Grant(Grant { id: number, name, change }).encode(out);
            }
            _ => {
                // A head of any kind, with fields of the right length or not; fragments too.
                let (kind, encoding, flags) = (script.byte(), script.byte() % 5, script.byte());
                let len = usize::from(script.byte());
                long(out, kind, encoding, u16::from(flags), script.bytes(len));
            }
        }
    }

    /// The hub's program reads so many bytes of a link.
    fn send(&mut self, place: usize, len: usize) {
        self.with(place, |wire, hub, now| {
            let len = len.min(wire.unsent.len());
            wire.input.extend(wire.unsent.drain(..len));
            hub.receive(wire.link, &mut wire.input, now);
            assert!(wire.input.len() <= SLACK_BYTES, "{} bytes of half a frame", wire.input.len());
        });
    }

    fn closed(&mut self, place: usize) {
        if let Some(wire) = self.wires[place].take() {
            self.hub.closed(wire.link, self.now);
        }
    }

    fn listen(&mut self, place: usize) {
        if let Some(wire) = &mut self.wires[place]
            && wire.listen(&mut self.hub)
        {
            self.closed(place);
        }
    }

    fn rare(&mut self, place: usize, script: &mut Script<'_>) {
        match script.byte() {
            // Some of what the hub has to say was written, and then the link takes no more; or it takes all again.
            byte @ 0..100 => self.with(place, |wire, hub, now| {
                hub.transmit(wire.link, &mut wire.transmit);
                let len = wire.transmit.len().min(usize::from(byte));
                wire.read(len);
                hub.wrote(wire.link, wire.transmit.is_empty(), now);
            }),
            100..150 => self.with(place, |wire, hub, _| hub.vouch(wire.link, Name::parse("known").expect("a name"))),
            150..180 => {
                let why = Refusal::new(Code::Unauthorized, "not this way");
                self.with(place, |wire, hub, now| hub.turn_away(wire.link, why, now));
            }
            byte @ 180..220 => {
                let links_max = usize::from(byte - 180);
                self.hub.reconfigure(&HubConfig { links_max, link_bulk_bytes_max: 1, ..HubConfig::default() });
            }
            255 => self.hub.stop(self.now),
            _ => while self.hub.touched().is_some() {},
        }
    }

    /// Time passes, each deadline kept; or the hub stands still, and finds them all late.
    fn pass(&mut self, how: u8) {
        // A hub tries every second to keep what is not kept. No foundation takes days, and one that has failed is the end.
        let times = if self.foundation.failed || !self.foundation.asks.is_empty() { &TIMES[..7] } else { &TIMES[..] };
        let end = self.now + times[usize::from(how & 0x7f) % times.len()];
        let mut ticks = 0;
        while how & 0x80 == 0
            && let Some(due) = self.hub.deadline().filter(|due| *due <= end)
        {
            ticks = if due > self.now { 0 } else { ticks + 1 };
            assert!(ticks < TICKS_MAX, "a deadline is never over: {:?}", self.hub.census());
            self.now = self.now.max(due);
            self.hub.tick(self.now);
            self.foundation.take(&mut self.hub);
            if self.eager {
                self.foundation.answer_all(&mut self.hub, self.now);
            }
        }
        self.now = end;
        self.hub.tick(self.now);
    }

    fn check(&self) {
        let Census { bulk_bytes, links, nodes, gets_bytes, .. } = self.hub.census();
        let open = self.wires.iter().flatten().count();
        assert_eq!(links, open);
        assert!(nodes <= open);
        assert!(bulk_bytes <= open * (3 * PAYLOAD_BYTES_MAX + SLACK_BYTES), "{bulk_bytes} bytes wait for {open} links");
        assert!(gets_bytes < 1 << 20, "gets hold {gets_bytes} bytes");
    }

    /// All links end, all is answered, and time passes until nobody is remembered.
    fn end(mut self) {
        (0..LINKS).for_each(|place| self.listen(place));
        assert_eq!(self.hub.census().bulk_bytes, 0, "all that waited was read");
        (0..LINKS).for_each(|place| self.closed(place));
        self.eager = true;
        self.foundation.take(&mut self.hub);
        self.foundation.answer_all(&mut self.hub, self.now);
        if self.foundation.failed {
            return;
        }
        self.pass(8);
        let census = self.hub.census();
        let Census { links, nodes, patterns, subscriptions, topics, bulk_bytes, pings, watches, gets_bytes, .. } =
            census;
        let Census { services, registrations, calls, parties, members, .. } = census;
        let held = [links, nodes, patterns, subscriptions, topics, bulk_bytes, pings, watches, gets_bytes, services];
        assert_eq!(held, [0; 10], "{census:?}");
        assert_eq!([registrations, calls, parties, members], [0; 4], "{census:?}");
    }
}

impl Wire {
    /// Reads all that the hub has to say; true once it wants the connection closed.
    fn listen(&mut self, hub: &mut HubState) -> bool {
        loop {
            hub.transmit(self.link, &mut self.transmit);
            let (close, len) = (self.transmit.close, self.transmit.len());
            if self.transmit.abort || len == 0 {
                assert!(!close || self.heard.is_empty() || self.transmit.abort, "half a frame before the end");
                return close || self.transmit.abort;
            }
            self.read(len);
        }
    }

    /// Reads so many bytes of what is to be written, and what they say.
    fn read(&mut self, len: usize) {
        let all: Vec<u8> = self.transmit.pieces().flatten().copied().take(len).collect();
        self.transmit.advance(len);
        self.heard.extend_from_slice(&all);
        if !self.greeted {
            let preface = Preface::OURS.encode();
            let known = self.heard.len().min(preface.len());
            assert_eq!(self.heard[..known], preface[..known], "the hub says its preface first");
            if known < preface.len() {
                return;
            }
            self.heard.drain(..known);
            self.greeted = true;
        }
        let mut read = 0;
        while let Some((frame, len)) = Frame::decode(&self.heard[read..]).expect("the hub says frames") {
            assert!(!self.over, "something comes behind Close: {frame:?}");
            match frame {
                Frame::Welcome(welcome) => {
                    (self.publisher, self.seq) = (welcome.publisher, welcome.received);
                    self.incarnation = Some(welcome.incarnation);
                }
                Frame::Topic { number, .. } => self.topics.push(number),
                Frame::Handle(handle) => self.handles.push(handle.id),
                Frame::Close { text, .. } => {
                    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
                    self.over = true;
                }
                Frame::Refused { text, .. } => assert!(!text.contains(char::is_control), "{text:?}"),
                _ => {}
            }
            read += len;
        }
        self.heard.drain(..read);
    }
}

fn event(out: &mut Vec<u8>, publisher: u32, seq: u64, topic: Option<u32>, name: &[u8], payload: &[u8]) {
    let named = topic.is_none();
    let len = EVENT_HEAD_BYTES + if named { 2 + name.len() } else { 0 } + payload.len();
    let flags = if named { NAMED } else { 0 };
    let head = EventHead { len, encoding: Encoding::Raw, flags, topic: topic.unwrap_or(0), publisher, seq };
    out.extend_from_slice(&head.encode());
    if named {
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
    }
    out.extend_from_slice(payload);
}

/// A frame that is written by its bytes.
fn long(out: &mut Vec<u8>, kind: u8, encoding: u8, flags: u16, body: &[u8]) {
    out.extend_from_slice(&((HEAD_BYTES + body.len()) as u32).to_le_bytes());
    out.extend_from_slice(&[kind, encoding]);
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(body);
}

fn item<'a>(script: &mut Script<'_>, payload: &'a [u8]) -> Item<'a> {
    let flags = script.byte();
    let expect = match flags & 3 {
        0 => Expect::Anything,
        1 => Expect::Absent,
        2 => Expect::Present,
        _ => Expect::Rev(script.rev()),
    };
    let every = flags & 4 != 0;
    let name = if every { script.of(&PATTERNS) } else { script.of(&NAMES) };
    let ttl_ms = if flags & 8 != 0 { script.number() } else { 0 };
    let set = Set { encoding: Encoding::Raw, payload, ttl_ms, ephemeral: flags & 16 != 0 };
    Item { name, every, expect, set: (flags & 32 == 0).then_some(set) }
}

/// Keeps what it is asked to keep, when the script says so.
#[derive(Default)]
struct Foundation {
    asks: VecDeque<Ask>,
    pos: u64,
    rows: BTreeMap<RowKey, Bytes>,
    failed: bool,
}

impl Foundation {
    fn take(&mut self, hub: &mut HubState) {
        self.asks.extend(hub.asks());
        if self.failed {
            self.asks.clear();
        }
    }

    /// Answers all, and what is asked for then.
    fn answer_all(&mut self, hub: &mut HubState, now: Time) {
        let mut answered = 0;
        while self.answer(hub, now) {
            answered += 1;
            assert!(answered < 100_000, "the hub asks for ever");
        }
    }

    fn answer(&mut self, hub: &mut HubState, now: Time) -> bool {
        let Some(ask) = self.asks.pop_front() else { return false };
        match ask {
            Ask::Snapshot => {
                let rows = self.rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
                hub.told(Told::Rows { pos: self.pos, rows }, now);
                hub.told(Told::Ready, now);
            }
            Ask::Append { ticket, operation } => {
                self.pos += 1;
                hub.told(Told::Committed { pos: self.pos, ticket: Some(ticket), operation }, now);
            }
            Ask::Tables { rows, .. } => {
                for (key, change) in rows {
                    match change.row() {
                        Some(row) => self.rows.insert(key, row.clone()),
                        None => self.rows.remove(&key),
                    };
                }
            }
            Ask::Read { ticket, table, from, bytes_max } => {
                let mut bytes = 0;
                let rows = self.rows.range(RowKey { table, key: from }..).take_while(|(key, row)| {
                    let room = key.table == table && (bytes == 0 || bytes < bytes_max);
                    bytes += key.key.len() + row.len();
                    room
                });
                let rows = rows.map(|(key, row)| (key.clone(), row.clone())).collect();
                hub.told(Told::ReadDone { ticket, rows }, now);
            }
            Ask::Barrier { ticket } => hub.told(Told::BarrierDone { ticket }, now),
        }
        self.take(hub);
        true
    }

    fn act(&mut self, hub: &mut HubState, now: Time, script: &mut Script<'_>) {
        self.take(hub);
        match script.byte() {
            how @ 0..128 => {
                for _ in 0..=how % 8 {
                    self.answer(hub, now);
                }
            }
            128..190 => self.refuse(hub, now),
            how @ 190..250 if hub.is_ready() => self.doubt(hub, now, usize::from(how)),
            255 if hub.is_ready() => {
                hub.told(Told::Failed(Refusal::new(Code::StorageFailed, "the disk failed")), now);
                self.failed = true;
                self.asks.clear();
            }
            _ => self.answer_all(hub, now),
        }
    }

    /// What comes next is an append for which there is no room.
    fn refuse(&mut self, hub: &mut HubState, now: Time) {
        if let Some(Ask::Append { ticket, .. }) = self.asks.front() {
            let (ticket, why) = (*ticket, Refusal::new(Code::StorageFull, "there is no room left on the disk"));
            self.asks.pop_front();
            hub.told(Told::NotDone { ticket, why }, now);
        }
    }

    /// Of all that is to be appended a first part is kept, and nobody knows.
    fn doubt(&mut self, hub: &mut HubState, now: Time, how: usize) {
        let (appends, others): (VecDeque<Ask>, _) =
            std::mem::take(&mut self.asks).into_iter().partition(|ask| matches!(ask, Ask::Append { .. }));
        self.asks = others;
        let kept = how % (appends.len() + 1);
        for (place, ask) in appends.into_iter().enumerate() {
            let Ask::Append { ticket, operation } = ask else { continue };
            if place < kept {
                self.pos += 1;
                hub.told(Told::Committed { pos: self.pos, ticket: None, operation }, now);
            }
            hub.told(Told::Uncertain { ticket }, now);
        }
        self.take(hub);
    }
}
