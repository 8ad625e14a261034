//! What programs do at random, and what goes wrong at random.

use std::time::Duration;

use super::Checker;
use super::node_shell::PAUSE_MAX;
use super::oracle::print;
use super::rights::GRANTS_ONCE_IN;
use super::subscriber::Subscriber;
use super::world::{Asked, ConnId, Request, Tag, What, World};
use crate::frame::{Preface, write_headers};
use crate::hub::Peer;
use crate::name::{Name, Pattern};
use crate::node::{NodeState, Publication, RequestId};
use crate::payload::{Encoding, Headers};
use crate::refusal::{Code, Refusal};

/// Words of topics; few, so that patterns meet them.
const WORDS: [&str; 4] = ["a", "b", "c", "press"];

/// Programs at one time.
const PROGRAMS_MAX: usize = 12;

/// Subscriptions of one program.
const SUBSCRIPTIONS_MAX: usize = 6;

impl World {
    /// One random thing.
    pub(super) fn step(&mut self) {
        let tags: Vec<Tag> = self.programs.iter().filter(|(_, one)| !one.frozen).map(|(tag, _)| *tag).collect();
        if tags.is_empty() {
            return self.start_program();
        }
        let tag = self.dice.pick(&tags);
        if self.wards.some && self.dice.once_in(GRANTS_ONCE_IN) {
            return self.grants();
        }
        if self.mode.dense {
            return self.dense_step(tag);
        }
        match self.dice.below(1000) {
            0..335 => self.publishes(tag),
            335..345 | 640..650 | 750..760 => self.journals_step(tag),
            // Where rights are what it is about, of journals too.
            345..375 if self.wards.some => self.journals_step(tag),
            345..455 => self.calls_step(tag),
            455..605 => self.values_step(tag),
            605..640 => self.subscribes(tag),
            650..680 => self.unsubscribes(tag),
            680..720 => self.asks(tag, Asked::Confirm),
            720..750 => self.asks(tag, Asked::Barrier),
            760..780 => self.asks(tag, Asked::Ping),
            780..790 => self.foundation_trouble(),
            790..815 => {
                if let Some(program) = self.programs.get_mut(&tag).filter(|program| program.small_inbox) {
                    program.taking = !program.taking;
                    self.take(tag);
                }
            }
            815..860 => self.cuts(),
            860..900 => self.stops_reading(tag),
            900..915 => self.freezes(tag),
            915..930 => self.crashes(tag),
            930..945 => self.leaves(tag),
            945..965 => {
                if self.programs.len() < PROGRAMS_MAX {
                    self.start_program();
                }
            }
            965..975 => self.hub_stalls(),
            975..981 => {
                let by = Duration::from_secs(self.dice.pick(&[1, 30, 120, 600]));
                self.jump(by);
            }
            981..986 => {
                if self.hub.is_some() && !self.stalled {
                    let politely = self.dice.once_in(3);
                    self.hub_crashes(politely);
                }
            }
            986..996 => self.hostile_bytes(),
            _ => self.turns_hostile(tag),
        }
    }

    fn name(&mut self) -> String {
        let mut words = vec![self.dice.pick(&WORDS)];
        while words.len() < 3 && self.dice.once_in(2) {
            words.push(self.dice.pick(&WORDS));
        }
        words.join("/")
    }

    fn pattern(&mut self) -> Pattern {
        let name = self.name();
        let mut words: Vec<&str> = name.split('/').collect();
        for word in &mut words {
            if self.dice.once_in(4) {
                *word = "+";
            }
        }
        if self.dice.once_in(4) {
            words.pop();
            words.push("#");
        }
        Pattern::parse(&words.join("/")).expect("a pattern")
    }

    fn publishes(&mut self, tag: Tag) {
        let count = self.dice.pick(&[1, 1, 2, 5, 40, 200]);
        let topic = self.name();
        let max = self.config.payload_bytes_max;
        let size = match self.dice.below(20) {
            0 => max + 1,
            1 | 2 => self.dice.below(max),
            3..6 => max,
            6..9 => self.dice.below(max.min(20 << 10)),
            _ => 12 + self.dice.below(60),
        };
        for _ in 0..count.min(1 + 300_000 / (size + 24)) {
            if self.is_full(tag) {
                return;
            }
            self.publish(tag, &topic, size);
        }
    }

    /// Publishes one event; and notes what the node says about it.
    pub(super) fn publish(&mut self, tag: Tag, topic: &str, size: usize) {
        let empty = size > 12 && !self.calm && self.dice.once_in(40);
        // Without a payload nothing but its topic tells whose event it is.
        let own = format!("a/{tag}");
        let topic = if empty { &own } else { topic };
        let mut headers = Headers::new();
        if self.dice.once_in(10) {
            headers.push("trace", "x".repeat(self.dice.below(50)));
            headers.push("", "ä");
        }
        let encoding = self.dice.pick(&Encoding::ALL);
        let mut payload = vec![0u8; if empty { 0 } else { size.max(12) }];
        let fill = self.dice.number();
        for (place, byte) in payload.iter_mut().enumerate() {
            *byte = (fill >> (place % 8 * 8)) as u8;
        }
        let Some(program) = self.programs.get_mut(&tag) else { return };
        if !empty {
            let count = (program.publisher.sent.len() + program.publisher.kept.len()) as u64;
            payload[..4].copy_from_slice(&tag.to_le_bytes());
            payload[4..12].copy_from_slice(&count.to_le_bytes());
        }
        let mut content = if headers.is_empty() { Vec::new() } else { write_headers(&headers).unwrap_or_default() };
        content.extend_from_slice(&payload);
        let print = print(encoding, &content);
        let joined = program.node.is_joined();
        let what = Publication { name: topic, encoding, payload: &payload, headers: &headers };
        let name = Name::parse(topic).expect("a name");
        let result = program.node.publish(what);
        let next = program.publisher.sent.len() as u64 + 1;
        let wrong = match &result {
            Ok(0) if !joined => {
                program.publisher.kept.push_back((name, print, content.len()));
                program.offline_bytes_max == 0
            }
            Ok(seq) if joined => {
                program.publisher.sent.push((name, print));
                *seq != next
            }
            Ok(_) => true,
            Err(why) => match why.code {
                Code::TooLarge => content.len() <= self.config.payload_bytes_max,
                Code::Offline | Code::Left | Code::Fenced => joined,
                Code::Backpressure => joined || program.offline_bytes_max == 0,
                _ => true,
            },
        };
        if result.is_ok() {
            self.report.published += 1;
        }
        if wrong {
            self.fail(Checker::Publisher, format!("program {tag} published on `{topic}`, joined {joined}: {result:?}"));
        }
        self.with_node(tag, |_, _| {});
    }

    fn subscribes(&mut self, tag: Tag) {
        let pattern = self.pattern();
        if self
            .programs
            .get(&tag)
            .is_none_or(|program| program.subscribers.len() + program.shares.len() >= SUBSCRIPTIONS_MAX)
        {
            return;
        }
        if self.dice.once_in(4) { self.shares(tag, pattern) } else { self.subscribe(tag, pattern) }
    }

    pub(super) fn subscribe(&mut self, tag: Tag, pattern: Pattern) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let link = program.conn.filter(|_| program.node.is_joined());
        if let Ok(id) = program.node.subscribe(pattern.clone(), None) {
            self.trace.line(self.now, format_args!("program {tag} subscribes `{pattern}` as {id}"));
            program.requests.insert(id, Request { what: Asked::Subscribe, sent: 0, expected: None });
            program.subscribers.insert(id, Subscriber::new(pattern, link));
        }
        self.with_node(tag, |_, _| {});
    }

    fn unsubscribes(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let ids: Vec<u32> = program.subscribers.keys().chain(program.shares.keys()).copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = self.dice.pick(&ids);
        self.trace.line(self.now, format_args!("program {tag} unsubscribes {id}"));
        program.subscribers.remove(&id);
        program.requests.remove(&id);
        if let Some((_, group)) = program.shares.remove(&id) {
            self.share_ends(&group);
        }
        self.with_node(tag, |node, _| node.unsubscribe(id));
    }

    pub(super) fn asks(&mut self, tag: Tag, what: Asked) {
        let names: Vec<Name> = self.programs.values().map(|program| program.name.clone()).collect();
        let whom = if self.dice.once_in(3) { None } else { Some(&names[self.dice.below(names.len())]) };
        let ask = |node: &mut NodeState| -> Result<RequestId, Refusal> {
            match what {
                Asked::Confirm => node.confirm(),
                Asked::Barrier => node.barrier(),
                _ => node.ping(whom),
            }
        };
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let joined = program.node.is_joined();
        match ask(&mut program.node) {
            Ok(id) => {
                let sent = program.publisher.sent.len() as u64;
                program.requests.insert(id, Request { what, sent, expected: None });
            }
            Err(why) if joined => {
                self.fail(Checker::Answers, format!("program {tag} is joined and may not ask: {why}"));
            }
            Err(_) => {}
        }
        self.with_node(tag, |_, _| {});
    }

    fn some_conn(&mut self) -> Option<ConnId> {
        let live: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| conn.attached).map(|(id, _)| *id).collect();
        if live.is_empty() { None } else { Some(self.dice.pick(&live)) }
    }

    pub(super) fn cuts(&mut self) {
        // Mostly one that is busy, in the middle of an event.
        let busy = self.conns.iter().filter(|(_, conn)| conn.attached && !conn.excuse.cut);
        let busiest = busy.max_by_key(|(_, conn)| conn.down.len() + conn.up.len()).map(|(id, _)| *id);
        let any = self.some_conn();
        if let Some(conn) = if self.dice.once_in(2) { any } else { busiest } {
            self.cut(conn);
        }
    }

    /// Cuts a link. Either end may notice first, or not at all; what is on its way may still arrive, late.
    pub(super) fn cut(&mut self, conn: ConnId) {
        let now = self.now;
        let (soon, late) = (self.dice.micros(1, 10_000), self.dice.micros(1, 3_000_000));
        let Some(link) = self.conns.get_mut(&conn) else { return };
        if link.excuse.cut {
            return;
        }
        self.report.cuts += 1;
        link.excuse.cut = true;
        let tag = link.tag;
        link.up.cut(&mut self.dice);
        link.down.cut(&mut self.dice);
        let (node, hub) = if self.dice.once_in(2) { (soon, late) } else { (late, soon) };
        let blocked = std::mem::take(&mut link.up.blocked);
        // Without an end a side must find out by itself that nobody is there.
        let silence = self.dice.below(8);
        self.trace.line(
            now,
            format_args!("link {conn} is cut, seen by the node {}, by the hub {}", silence > 1, silence > 0),
        );
        let node_end = (silence > 1).then(|| link.down.close(node, now));
        let hub_end = (silence > 0).then(|| link.up.close(hub, now));
        let hub_blocked = std::mem::take(&mut link.down.blocked);
        if let Some(end) = node_end {
            self.at(end, What::ArrivesAtNode(conn));
        }
        if let Some(end) = hub_end {
            self.at(end, What::ArrivesAtHub(conn));
        }
        if blocked {
            self.at(now, What::RoomAtNode(conn));
        }
        if hub_blocked {
            self.at(now, What::RoomAtHub(conn));
        }
        self.calls_are_cut(tag);
    }

    pub(super) fn stops_reading(&mut self, tag: Tag) {
        let long = self.dice.once_in(5);
        let time = if long {
            self.dice.micros(9_000_000, PAUSE_MAX.as_micros() as u64)
        } else {
            self.dice.micros(1000, 6_000_000)
        };
        let Some(program) = self.programs.get_mut(&tag).filter(|program| program.reading) else { return };
        program.reading = false;
        self.trace.line(self.now, format_args!("program {tag} stops reading for {time:?}"));
        self.excuse(tag, time);
        self.at(self.now + time, What::Reads(tag));
    }

    pub(super) fn freezes(&mut self, tag: Tag) {
        let time = match self.dice.below(3) {
            0 => self.dice.micros(1000, 300_000),
            1 => self.dice.micros(1_000_000, 6_000_000),
            _ => self.dice.micros(9_000_000, 100_000_000),
        };
        let Some(program) = self.programs.get_mut(&tag).filter(|program| program.reading) else { return };
        program.frozen = true;
        self.trace.line(self.now, format_args!("program {tag} freezes for {time:?}"));
        self.excuse(tag, time);
        self.at(self.now + time, What::Wakes(tag));
    }

    /// A pause of a program excuses what happens to its link; and to one it makes next.
    pub(super) fn excuse(&mut self, tag: Tag, time: Duration) {
        let silence = self.silence();
        // While the hub stands still too, the two times may add up.
        let both = self.stalled;
        for link in self.conns.values_mut().filter(|link| link.tag == tag && link.attached) {
            link.excuse.delayed = true;
            link.excuse.paused_long |= time > Duration::from_secs(8);
            link.excuse.frozen_long |= both || time + silence / 3 > silence;
        }
    }

    pub(super) fn hub_stalls(&mut self) {
        if self.hub.is_none() || self.stalled {
            return;
        }
        let time = match self.dice.below(3) {
            0 => self.dice.micros(1000, 400_000),
            1 => self.dice.micros(400_000, 5_000_000),
            _ => self.dice.micros(5_000_000, 60_000_000),
        };
        self.trace.line(self.now, format_args!("hub stands still for {time:?}"));
        self.stalled = true;
        self.stalled_at = self.now;
        let silence = self.silence();
        for link in self.conns.values_mut() {
            let both = self.programs.get(&link.tag).is_some_and(|program| program.frozen || !program.reading);
            link.excuse.delayed = true;
            link.excuse.stalled_long |= both || time + silence / 3 > silence;
        }
        self.at(self.now + time, What::HubWakes);
    }

    /// The program ends without a word; a new one may start under its name.
    pub(super) fn crashes(&mut self, tag: Tag) {
        let Some(name) = self.dies(tag) else { return };
        if self.dice.once_in(2) {
            // Its link may still be there when the new one comes.
            self.shared.insert(name.clone());
            self.start_program_as(name);
        }
    }

    /// The program ends without a word. Tells its name.
    pub(super) fn dies(&mut self, tag: Tag) -> Option<Name> {
        self.saves_all(tag);
        self.leaves_open(tag);
        let program = self.programs.remove(&tag)?;
        self.trace.line(self.now, format_args!("program {tag} crashes"));
        self.report.crashes += 1;
        self.gone.insert(tag, program.publisher);
        if let Some(conn) = program.conn {
            self.cut(conn);
            if let Some(link) = self.conns.get_mut(&conn) {
                link.attached = false;
            }
        }
        Some(program.name)
    }

    pub(super) fn leaves(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        if program.leaving || !program.reading {
            return;
        }
        self.trace.line(self.now, format_args!("program {tag} leaves"));
        program.leaving = true;
        self.with_node(tag, |node, now| node.leave(now));
        let count = |program: &super::world::Program| {
            let values = program.values.writes.len() + program.values.gets.len();
            program.requests.len()
                + values
                + program.journals.wishes.len()
                + program.journals.waits.len()
                + program.calls.made.len()
        };
        let open = self.programs.get(&tag).map_or(0, count);
        if open > 0 {
            self.fail(Checker::Answers, format!("program {tag} has left, and {open} of its requests have no answer"));
        }
        if self.programs.get(&tag).is_some_and(|program| program.conn.is_none()) {
            self.forget_program(tag);
        }
    }

    /// Somebody who speaks no Convoke, or stops in the middle of it.
    pub(super) fn hostile_bytes(&mut self) {
        // A hub that stands still accepts nobody.
        if self.stalled {
            return;
        }
        let Some(conn) = self.connect(0, Peer::Stranger) else { return };
        self.report.hostile += 1;
        let mut bytes = Vec::new();
        if !self.dice.once_in(4) {
            bytes.extend_from_slice(&Preface::OURS.encode());
        }
        for _ in 0..self.dice.below(300) {
            bytes.push(self.dice.number() as u8);
        }
        if bytes.len() >= 16 && self.dice.once_in(2) {
            // A head that looks well, of any kind.
            let kind = self.dice.below(0x20) as u8;
            let len = (bytes.len() - 8) as u8 | 8;
            bytes[8..16].copy_from_slice(&[len, 0, 0, 0, kind, 0, 0, 0]);
        }
        let now = self.now;
        let Some(link) = self.conns.get_mut(&conn) else { return };
        let mut arrivals = Vec::new();
        link.attached = false;
        link.excuse.cut = true;
        link.up.write(&bytes, now, &mut self.dice, &mut arrivals);
        if self.dice.once_in(2) {
            arrivals.push(link.up.close(Duration::from_secs(1), now));
        }
        for due in arrivals {
            self.at(due, What::ArrivesAtHub(conn));
        }
    }

    /// From here on some of the bits that this program sends are wrong.
    pub(super) fn turns_hostile(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag).filter(|program| !program.leaving) else { return };
        self.trace.line(self.now, format_args!("program {tag} turns hostile"));
        self.report.hostile += 1;
        program.hostile = true;
        program.publisher.hostile = true;
        program.flips = true;
        self.hostile.insert(tag);
    }

    pub(super) fn foundation_trouble(&mut self) {
        match self.dice.below(8) {
            0..3 => self.disk_is_full(),
            3 if self.hub.is_some() && !self.stalled => self.foundation_fails(),
            _ => self.foundation_is_uncertain(),
        }
    }
}
