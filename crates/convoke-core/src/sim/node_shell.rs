//! What a program does around [`NodeState`]: it dials, reads, writes, and takes what its subscriptions got.

use std::time::Duration;

use super::Checker;
use super::publisher::Publisher;
use super::rights::ward_key;
use super::world::{Asked, ConnId, Program, Request, Tag, What, World, right_key, token_name};
use crate::hub::Peer;
use crate::limits::NODE_BULK_BYTES_MAX;
use crate::name::Name;
use crate::node::{Gap, NodeConfig, NodeState, Standing};
use crate::outgoing::SlowPolicy;
use crate::proof::TokenKey;
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// Names of programs; few, so that some meet.
const NAMES: [&str; 10] = ["ann", "bob", "cai", "dee", "eve", "fay", "gus", "hal/1", "hal/2", "ivy"];

/// The longest time that a program does not read.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(20);

/// What an inbox holds where it shall overflow, in bytes.
const INBOX_SMALL: usize = 3000;

impl World {
    /// Starts a program under a random name.
    pub(super) fn start_program(&mut self) {
        // Some have names that are topics too.
        let names = if self.wards.some && self.dice.once_in(3) { &["a", "b"][..] } else { &NAMES };
        let names = if self.mode.dense { &NAMES[..4] } else { names };
        let name = Name::parse(self.dice.pick(names)).expect("a name");
        self.start_program_as(name);
    }

    pub(super) fn start_program_as(&mut self, name: Name) {
        self.tag_last += 1;
        let tag = self.tag_last;
        if self.programs.values().any(|other| other.name == name && !other.leaving) {
            self.shared.insert(name.clone());
        }
        let slow = self.dice.pick(&SlowPolicy::ALL);
        let ward = self.some_ward();
        let peer = if ward.is_none() && self.dice.pick(&[true, false]) { Peer::Owner } else { Peer::Stranger };
        let wrong_token = ward.is_none() && peer == Peer::Stranger && self.dice.once_in(8);
        let token = match (&peer, wrong_token) {
            (_, false) if let Some(ward) = ward => Some((Name::parse(ward).expect("a name"), ward_key(ward))),
            (Peer::Owner, _) => None,
            (_, false) => Some((token_name(), right_key())),
            // Sometimes none at all.
            (_, true) if self.dice.once_in(2) => Some((token_name(), TokenKey::derive(b"another token"))),
            _ => None,
        };
        let small_inbox = self.dice.once_in(5);
        let offline_bytes_max = self.dice.pick(&[0, 0, 5_000, 300_000]);
        let mut config = NodeConfig::new(name.clone());
        config.token = token;
        config.takeover = self.dice.once_in(3);
        config.slow = slow;
        let author = self.some_author();
        config.author = author.clone();
        config.offline_bytes_max = offline_bytes_max;
        if small_inbox {
            config.subscription_bytes_max = INBOX_SMALL;
        }
        self.trace.line(
            self.now,
            format_args!(
                "program {tag} starts as `{name}`, {peer:?} {ward:?}, {slow:?}, takeover {}, small inbox {small_inbox}, wrong token {wrong_token}",
                config.takeover
            ),
        );
        // A node in the same place as the hub without a token of its own is vouched for; one with a wrong token is not.
        let node = NodeState::new(config, self.dice.bytes32(), self.now);
        let program = Program {
            name,
            node,
            peer,
            slow,
            wrong_token,
            ward,
            small_inbox,
            offline_bytes_max,
            hostile: false,
            flips: false,
            leaving: false,
            conn: None,
            dialing: false,
            frozen: false,
            reading: true,
            taking: true,
            welcomed: (0, 0),
            publisher: Publisher::default(),
            subscribers: Default::default(),
            shares: Default::default(),
            requests: Default::default(),
            values: Default::default(),
            calls: Default::default(),
            journals: Default::default(),
            author,
            woken_at: self.now,
        };
        self.programs.insert(tag, program);
        self.after_node(tag);
    }

    /// Does something with a node, and then all that a program does after it.
    pub(super) fn with_node<T>(&mut self, tag: Tag, act: impl FnOnce(&mut NodeState, Time) -> T) -> Option<T> {
        let now = self.now;
        let result = act(&mut self.programs.get_mut(&tag)?.node, now);
        self.after_node(tag);
        Some(result)
    }

    pub(super) fn dialed(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        if program.frozen || self.stalled {
            let later = self.dice.micros(10_000, 100_000);
            return self.at(self.now + later, What::Dialed(tag));
        }
        program.dialing = false;
        if !program.node.wants_link() {
            return;
        }
        let peer = program.peer.clone();
        let trusted = peer == Peer::Owner;
        let fails = !self.calm && self.dice.once_in(12);
        let conn = if fails { None } else { self.connect(tag, peer) };
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.conn = conn;
        match conn {
            Some(conn) => {
                self.trace.line(self.now, format_args!("program {tag} has link {conn}"));
                if !self.programs.get(&tag).is_some_and(|program| program.reading) {
                    self.excuse(tag, PAUSE_MAX);
                }
                // Who has no token believes whoever it found.
                self.with_node(tag, |node, now| node.connected(trusted, now));
            }
            None => {
                let why = Refusal::new(Code::Unreachable, "nobody listens there");
                self.with_node(tag, |node, now| node.disconnected(why, now));
            }
        }
    }

    pub(super) fn node_reads(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(link) = self.conns.get_mut(&conn) else { return };
        link.down.arrive(now);
        let tag = link.tag;
        let Some(program) = self.programs.get_mut(&tag).filter(|program| program.conn == Some(conn)) else {
            // Nobody is there; what arrives is thrown away.
            link.down.take();
            return;
        };
        if program.frozen || !program.reading {
            return;
        }
        let bytes = link.down.take();
        let over = link.down.is_over(now);
        if link.down.blocked && !bytes.is_empty() {
            let later = self.dice.micros(1, 200);
            self.at(now + later, What::RoomAtHub(conn));
        }
        if !bytes.is_empty() {
            self.trace.line(now, format_args!("program {tag} reads {} bytes of link {conn}", bytes.len()));
            if let Some(link) = self.conns.get_mut(&conn) {
                link.node_input.extend_from_slice(&bytes);
                let mut input = std::mem::take(&mut link.node_input);
                self.with_node(tag, |node, now| node.receive(&mut input, now));
                if let Some(link) = self.conns.get_mut(&conn) {
                    link.node_input = input;
                }
            }
        }
        let still = self.programs.get(&tag).is_some_and(|program| program.conn == Some(conn));
        if over && still {
            self.detach(tag, conn);
            let why = Refusal::new(Code::LinkLost, "the connection ended");
            self.with_node(tag, |node, now| node.disconnected(why, now));
        }
    }

    /// The node's end of the connection is closed.
    pub(super) fn detach(&mut self, tag: Tag, conn: ConnId) {
        let now = self.now;
        if let Some(program) = self.programs.get_mut(&tag)
            && program.conn == Some(conn)
        {
            program.conn = None;
            if program.leaving {
                self.forget_program(tag);
            }
        }
        let Some(link) = self.conns.get_mut(&conn) else { return };
        if std::mem::take(&mut link.attached) {
            self.trace.line(now, format_args!("program {tag} closes link {conn}"));
            let end = link.up.close(Duration::ZERO, now);
            link.down.close(Duration::ZERO, now);
            link.down.take();
            let blocked = std::mem::take(&mut link.down.blocked);
            self.at(end, What::ArrivesAtHub(conn));
            if blocked {
                self.at(now, What::RoomAtHub(conn));
            }
            self.calls_are_cut(tag);
        }
    }

    /// The program has ended.
    pub(super) fn forget_program(&mut self, tag: Tag) {
        if let Some(program) = self.programs.remove(&tag) {
            self.gone.insert(tag, program.publisher);
        }
    }

    pub(super) fn node_wakes(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.frozen = false;
        program.woken_at = self.now;
        let conn = program.conn;
        self.trace.line(self.now, format_args!("program {tag} goes on"));
        let tick_first = self.dice.once_in(2);
        if tick_first {
            self.with_node(tag, |node, now| node.tick(now));
        }
        if let Some(conn) = conn {
            self.node_reads(conn);
        }
        self.with_node(tag, |node, now| node.tick(now));
    }

    pub(super) fn node_reads_again(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.reading = true;
        self.trace.line(self.now, format_args!("program {tag} reads again"));
        if let Some(conn) = program.conn {
            self.node_reads(conn);
        }
    }

    /// What a program does after each call of its node: notes what it was told, writes, dials, takes.
    fn after_node(&mut self, tag: Tag) {
        self.note_join(tag);
        self.note_answers(tag);
        self.note_values(tag);
        self.note_calls(tag);
        self.note_waits(tag);
        self.take(tag);
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let conn = program.conn;
        if !program.dialing && conn.is_none() && program.node.wants_link() {
            program.dialing = true;
            let later = self.dice.micros(50, 20_000);
            self.at(self.now + later, What::Dialed(tag));
        }
        let Some(conn) = conn else { return };
        self.node_writes(conn);
        let Some(program) = self.programs.get(&tag) else { return };
        if program.conn != Some(conn) || program.node.has_link() {
            return;
        }
        if let Standing::Offline(Some(why)) | Standing::Ended(why) = program.node.standing() {
            if why.code == Code::Left {
                let unwritten = self.conns.get(&conn).is_some_and(|link| !link.node_out.is_empty());
                if unwritten || program.node.has_output() {
                    return;
                }
            } else {
                self.trace.line(self.now, format_args!("program {tag} gives link {conn} up: {why}"));
                self.check_end(conn, &why);
                if why.code == Code::Fenced {
                    self.report.fenced += 1;
                    self.check_fenced(tag);
                }
            }
        }
        self.detach(tag, conn);
    }

    fn check_fenced(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag) else { return };
        if !program.hostile && !self.shared.contains(&program.name) {
            let text = format!("program {tag} was fenced, and nobody else has its name `{}`", program.name);
            self.fail(Checker::Unhurt, text);
        }
    }

    /// A new Welcome: what was lost is told, what was kept is sent, subscriptions go on behind a gap.
    fn note_join(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let losses = program.node.losses();
        let (welcome, conn) = (program.node.welcome().clone(), program.conn);
        let welcomed = (welcome.epoch, welcome.publisher);
        if program.welcomed == welcomed {
            if !losses.is_empty() {
                self.fail(Checker::Publisher, format!("program {tag} was told of losses without having joined"));
            }
            return;
        }
        let before = std::mem::replace(&mut program.welcomed, welcomed);
        let gap = if before.0 == welcome.epoch { Gap::LinkLost } else { Gap::HubRestarted };
        self.check_losses(tag, &losses, welcome.resumed || before.1 == 0);
        self.kept_is_sent(tag);
        if let Some(conn) = conn {
            self.subscriptions_joined(tag, conn, gap);
        }
    }

    fn note_answers(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let (hostile, ward) = (program.hostile, program.ward.is_some());
        let _ = program.node.woken();
        for (seq, why) in program.node.refused() {
            if seq == 0 && program.publisher.refusals > 0 {
                program.publisher.refusals -= 1;
            } else if ward && why.code == Code::Forbidden {
                self.report.forbidden += 1;
            } else if !hostile {
                let text = format!("event {seq} of program {tag} was refused: {why}");
                return self.fail(Checker::Publisher, text);
            }
        }
        for (id, answer) in program.node.answers() {
            let Some(program) = self.programs.get_mut(&tag) else { return };
            let Some(Request { what, sent, expected }) = program.requests.remove(&id) else {
                if !hostile {
                    self.fail(
                        Checker::Answers,
                        format!("program {tag} got an answer to request {id}, which has none open"),
                    );
                }
                continue;
            };
            match (what, &answer) {
                (Asked::Subscribe, Ok(_)) => {
                    if let Some(subscriber) = program.subscribers.get_mut(&id) {
                        subscriber.begun = true;
                    }
                }
                (Asked::Watch, Ok(_)) => {
                    let pos = self.truth.pos;
                    if let Some(watcher) = program.values.watches.get_mut(&id) {
                        watcher.begins(pos);
                    }
                }
                (Asked::Status, Ok(_)) => self.note_status(tag, id),
                // What it is to be ordered behind finds no room.
                (Asked::Status, Err(why)) if matches!(why.code, Code::StorageFull | Code::Backpressure) => {}
                (Asked::Status, Err(why)) if why.code == Code::StorageFailed => {}
                (Asked::Confirm, Ok(count)) if !hostile => self.check_confirm(tag, *count, expected),
                (Asked::Barrier, Ok(_)) if !hostile => self.check_barrier(tag, sent),
                // Whom it was for may be gone, or stand still.
                (Asked::Ping, Err(why)) if matches!(why.code, Code::NoNode | Code::TimedOut) => {}
                (_, Err(why)) if ward && why.code == Code::Forbidden => self.report.forbidden += 1,
                (_, Err(why)) if why.code == Code::RightsChanged && ward => {}
                // Whether that is so is asked when it is told that it has ended.
                (Asked::Follow, Err(why)) if why.code == Code::Diverged => {}
                (Asked::Grant, Err(why)) if matches!(why.code, Code::Conflict | Code::StorageFull) => {}
                (Asked::Grant, Err(why)) if why.code == Code::Backpressure || why.code == Code::StorageFailed => {}
                (_, Err(why)) if !hostile && !matches!(why.code, Code::LinkLost | Code::Left | Code::Fenced) => {
                    self.fail(Checker::Answers, format!("request {id} ({what:?}) of program {tag} was refused: {why}"));
                }
                _ => {}
            }
        }
    }

    fn check_confirm(&mut self, tag: Tag, count: u64, expected: Option<u64>) {
        let Some(expected) = expected else {
            return self
                .fail(Checker::Publisher, format!("program {tag} got a confirmation that the hub was not asked for"));
        };
        self.report.confirmed += 1;
        // A link that was full may not have taken it; but none takes what does not exist.
        if count > expected || count < expected && self.calm {
            let text =
                format!("program {tag} was told that its event went to {count} nodes, but {expected} subscribe it");
            self.fail(Checker::Publisher, text);
        }
    }

    /// Takes everything that waits for its subscriptions.
    pub(super) fn take(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        if !program.taking {
            return;
        }
        let ids: Vec<u32> = program.subscribers.keys().copied().collect();
        for id in ids {
            while self.failed.is_none()
                && let Some(delivery) = self.programs.get_mut(&tag).and_then(|program| program.node.take(id))
            {
                self.check_delivery(tag, id, delivery);
            }
        }
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let ids: Vec<u32> = program.shares.keys().copied().collect();
        for id in ids {
            while self.failed.is_none()
                && let Some(delivery) = self.programs.get_mut(&tag).and_then(|program| program.node.take(id))
            {
                self.check_share(tag, id, delivery);
            }
        }
    }

    pub(super) fn node_writes(&mut self, conn: ConnId) {
        let now = self.now;
        loop {
            let Some(link) = self.conns.get_mut(&conn) else { return };
            let Some(program) = self.programs.get_mut(&link.tag) else { return };
            if program.frozen || program.conn != Some(conn) {
                return;
            }
            program.node.transmit(&mut link.node_out);
            if link.node_out.is_empty() || link.up.blocked {
                break;
            }
            let (mut arrivals, mut written) = (Vec::new(), 0);
            for piece in link.node_out.pieces() {
                let taken = if program.flips && self.dice.once_in(4) {
                    let mut piece = piece.to_vec();
                    if !piece.is_empty() {
                        let place = self.dice.below(piece.len());
                        piece[place] ^= 1 << self.dice.below(8);
                    }
                    link.up.write(&piece, now, &mut self.dice, &mut arrivals)
                } else {
                    link.up.write(piece, now, &mut self.dice, &mut arrivals)
                };
                written += taken;
                if taken < piece.len() {
                    link.up.blocked = true;
                    break;
                }
            }
            link.node_out.advance(written);
            self.trace.line(now, format_args!("link {conn}: node writes {written} bytes"));
            for due in arrivals {
                self.at(due, What::ArrivesAtHub(conn));
            }
        }
        // A program that has left closes once the last byte is written.
        let Some(link) = self.conns.get(&conn) else { return };
        let tag = link.tag;
        let done = link.node_out.is_empty()
            && self.programs.get(&tag).is_some_and(|program| program.leaving && !program.node.has_output());
        if done {
            self.detach(tag, conn);
        }
    }

    /// How much more a program may publish before it must wait.
    pub(super) fn is_full(&self, tag: Tag) -> bool {
        self.programs.get(&tag).is_none_or(|program| program.node.waiting_bytes() > NODE_BULK_BYTES_MAX / 2)
    }
}
