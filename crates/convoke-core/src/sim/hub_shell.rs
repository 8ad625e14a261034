//! What a program does around [`HubState`]: it accepts, reads, writes what is touched, and closes.

use std::time::Duration;

use super::Checker;
use super::pipe::{Line, Pipe};
use super::world::{Conn, ConnId, Excuse, Tag, What, World};
use crate::hub::{HubState, Notice, Peer, ProtocolError};
use crate::outgoing::SlowPolicy;
use crate::refusal::{Code, Refusal};

impl World {
    /// Makes a connection of this program; `None` if nobody accepts it.
    pub(super) fn connect(&mut self, tag: Tag, peer: Peer) -> Option<ConnId> {
        // The program listens once it has all that was kept.
        let link = self.hub.as_mut().filter(|hub| hub.is_ready())?.open(peer, self.now).ok()?;
        self.conn_last += 1;
        let line = Line {
            latency: Duration::from_micros(self.dice.pick(&[10, 200, 5_000, 50_000])),
            // Big values take for ever where little fits.
            capacity: self.dice.pick(&[1 << 10, 8 << 10, 64 << 10, 150 << 10, 256 << 10]).max(self.capacity_min),
            piece: self.dice.pick(&[512, 4 << 10, 64 << 10]),
        };
        let conn = Conn {
            tag,
            up: Pipe::new(line),
            down: Pipe::new(line),
            link: Some(link),
            attached: true,
            hub_input: Default::default(),
            node_input: Default::default(),
            hub_out: Default::default(),
            node_out: Default::default(),
            tap: Default::default(),
            heard: self.now,
            excuse: Excuse::default(),
            principal: self.programs.get(&tag).and_then(|program| program.ward),
            ward: None,
        };
        self.conns.insert(self.conn_last, conn);
        self.by_link.insert(link, self.conn_last);
        Some(self.conn_last)
    }

    pub(super) fn hub_reads(&mut self, conn: ConnId) {
        if self.stalled {
            return;
        }
        let now = self.now;
        let Some(link) = self.conns.get_mut(&conn) else { return };
        let Some(id) = link.link else { return };
        link.up.arrive(now);
        let bytes = link.up.take();
        if !bytes.is_empty() {
            link.heard = now;
        }
        let over = link.up.is_over(now);
        let room = link.up.blocked && !bytes.is_empty();
        if !bytes.is_empty() {
            self.trace.line(now, format_args!("hub reads {} bytes of link {conn}", bytes.len()));
            let Some(hub) = &mut self.hub else { return };
            link.hub_input.extend_from_slice(&bytes);
            hub.receive(id, &mut link.hub_input, now);
            let notices = hub.notices();
            let gone = |notice: &Notice| match notice {
                Notice::Gone { node, .. } => self.joined.get(node) == Some(&conn),
                _ => false,
            };
            let closed = notices.iter().any(gone);
            self.tap_hub_input(conn, &bytes, closed);
            self.noticed(conn, notices);
        }
        if room {
            let later = self.dice.micros(1, 200);
            self.at(now + later, What::RoomAtNode(conn));
        }
        if over {
            self.hub_closed(conn);
        }
        self.hub_turns();
    }

    pub(super) fn hub_ticks(&mut self) {
        let now = self.now;
        if let Some(hub) = &mut self.hub {
            hub.tick(now);
            self.hub_turns();
        }
    }

    /// Writes what is touched.
    pub(super) fn hub_turns(&mut self) {
        loop {
            self.collect_notices(0);
            let Some(link) = self.hub.as_mut().and_then(HubState::touched) else { break };
            if let Some(conn) = self.by_link.get(&link).copied() {
                self.hub_writes(conn);
            }
        }
        self.hub_asks();
    }

    fn collect_notices(&mut self, conn: ConnId) {
        let notices = self.hub.as_mut().map(HubState::notices).unwrap_or_default();
        self.noticed(conn, notices);
    }

    pub(super) fn hub_writes(&mut self, conn: ConnId) {
        let written = self.writes_to(conn);
        self.check_leaves(conn, written);
    }

    /// Gives how many bytes.
    fn writes_to(&mut self, conn: ConnId) -> usize {
        let mut wrote = 0;
        loop {
            let now = self.now;
            let (Some(hub), Some(link)) = (&mut self.hub, self.conns.get_mut(&conn)) else { return wrote };
            let Some(id) = link.link else { return wrote };
            let fresh = link.hub_out.is_empty();
            hub.transmit(id, &mut link.hub_out);
            if link.hub_out.abort {
                self.hub_closed(conn);
                return wrote;
            }
            if fresh {
                let pieces: Vec<Vec<u8>> = link.hub_out.pieces().map(<[u8]>::to_vec).collect();
                for piece in &pieces {
                    self.tap_hub_output(conn, piece);
                }
            }
            let (Some(hub), Some(link)) = (&mut self.hub, self.conns.get_mut(&conn)) else { return wrote };
            if link.hub_out.is_empty() {
                if link.hub_out.close {
                    self.hub_closed(conn);
                }
                return wrote;
            }
            if link.down.blocked {
                return wrote;
            }
            let (mut arrivals, mut written) = (Vec::new(), 0);
            for piece in link.hub_out.pieces() {
                let taken = link.down.write(piece, now, &mut self.dice, &mut arrivals);
                written += taken;
                if taken < piece.len() {
                    link.down.blocked = true;
                    break;
                }
            }
            self.trace.line(now, format_args!("hub writes {written} bytes to link {conn}"));
            wrote += written;
            link.hub_out.advance(written);
            hub.wrote(id, link.hub_out.is_empty(), now);
            for due in arrivals {
                self.at(due, What::ArrivesAtNode(conn));
            }
        }
    }

    /// The hub's end of the connection is closed.
    pub(super) fn hub_closed(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(link) = self.conns.get_mut(&conn) else { return };
        let Some(id) = link.link.take() else { return };
        let tag = link.tag;
        self.trace.line(now, format_args!("hub closes link {conn}"));
        let end = link.down.close(Duration::ZERO, now);
        link.up.take();
        link.up.close(Duration::ZERO, now);
        let blocked = std::mem::take(&mut link.up.blocked);
        self.by_link.remove(&id);
        self.at(end, What::ArrivesAtNode(conn));
        if blocked {
            self.at(now, What::RoomAtNode(conn));
        }
        if let Some(hub) = &mut self.hub {
            hub.closed(id, now);
        }
        self.calls_are_cut(tag);
        self.collect_notices(0);
    }

    /// What the hub tells the log; `conn` is the link that it was busy with.
    fn noticed(&mut self, conn: ConnId, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Joined { node, resumed, .. } => {
                    self.trace.line(self.now, format_args!("hub: `{node}` joined on link {conn}, resumed {resumed}"));
                    self.sessions += u64::from(!resumed);
                    self.report.joins += 1;
                    self.report.resumed += u64::from(resumed);
                    // Which of two programs of one name has come back is not told here.
                    if !resumed || self.shared.contains(&node) {
                        self.name_has_another(&node);
                    }
                    self.link_joined(conn, &node);
                    self.ward_joined(conn, &node);
                    self.provider_joined(&node, conn);
                    self.member_joined(&node);
                }
                Notice::Gone { node, why } => {
                    self.trace.line(self.now, format_args!("hub: `{node}` is gone: {why}"));
                    // Not if a hostile node says of itself that it is fenced: that ends nothing but its link.
                    self.sign_gone(&node, &why);
                    self.sessions -= u64::from(why.code == Code::Left);
                    if let Some(of) = self.joined.get(&node).copied() {
                        self.member_gone(&node, of, &why);
                        self.provider_lost(&node, of, &why);
                        self.check_end(of, &why);
                        if why.code == Code::Left
                            && let Some(tag) = self.conns.get(&of).map(|link| link.tag)
                        {
                            self.check_goodbye(tag);
                        }
                        self.link_gone(of);
                    }
                }
                Notice::Refused(why) => self.check_end(conn, &why),
                Notice::Failed(_) if self.failing => {}
                Notice::Failed(why) => self.fail(Checker::Unhurt, format!("the foundation failed: {why}")),
            }
        }
    }

    /// A link may only end for a reason that the simulator gave.
    pub(super) fn check_end(&mut self, conn: ConnId, why: &Refusal) {
        let Some(link) = self.conns.get(&conn) else { return };
        let is_protocol = matches!(
            why.code,
            Code::BadFrame | Code::VersionMismatch | Code::BadName | Code::BadRequest | Code::TooLarge | Code::Unknown
        );
        // Strangers send anything.
        if is_protocol && link.tag != 0 && !self.hostile.contains(&link.tag) {
            let text = format!("the link {conn} of program {}, which sends no nonsense, ended: {why}", link.tag);
            return self.fail(Checker::Protocol, text);
        }
        let Excuse { paused_long, frozen_long, stalled_long, cut, delayed } = link.excuse;
        let Some(program) = self.programs.get(&link.tag) else { return };
        let excused = match why.code {
            Code::Left | Code::LinkLost | Code::NodeInUse | Code::HubStopping | Code::Unreachable => true,
            Code::Fenced => true,
            Code::SlowLink => {
                self.report.slow_links += 1;
                program.slow == SlowPolicy::Disconnect || paused_long || cut
            }
            // Beats wait behind what was handed to the link already, and a slow one takes its time for that.
            Code::Silent => frozen_long || stalled_long || cut || !link.node_out.is_empty(),
            Code::TimedOut => delayed || cut || paused_long || frozen_long || stalled_long,
            Code::RightsChanged | Code::Unauthorized | Code::Forbidden if program.ward.is_some() => {
                self.report.forbidden += 1;
                true
            }
            Code::Unauthorized => program.wrong_token,
            _ => false,
        };
        if !excused && !program.hostile {
            let text = format!("the link {conn} of program {} ended, and nothing was wrong with it: {why}", link.tag);
            self.fail(Checker::Unhurt, text);
        }
    }

    /// Where nobody sends nonsense the hub has never seen any.
    pub(super) fn check_protocol(&mut self) {
        let Some(hub) = self.hub.as_ref().filter(|_| self.report.hostile == 0) else { return };
        let counters = hub.counters();
        let kinds = ProtocolError::ALL.iter().filter(|kind| **kind != ProtocolError::Request);
        let wrong: Vec<&str> =
            kinds.filter(|kind| counters.protocol_errors(**kind) > 0).map(|kind| kind.word()).collect();
        if !wrong.is_empty() {
            self.fail(Checker::Protocol, format!("nobody has sent nonsense, and the hub has counted {wrong:?}"));
        }
    }

    /// After a stall everything waits at once, and a shell may look at its clock or at its links first.
    pub(super) fn hub_wakes(&mut self) {
        self.stalled = false;
        self.stood_still(self.stalled_at);
        self.calls_stood_still();
        self.trace.line(self.now, format_args!("hub goes on"));
        let tick_first = self.dice.once_in(2);
        if tick_first {
            self.hub_ticks();
        }
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        self.foundation_turn();
        for conn in conns {
            self.hub_reads(conn);
            self.hub_writes(conn);
        }
        self.hub_turns();
        if !tick_first {
            self.hub_ticks();
        }
    }

    /// The hub is gone with everything it knew; links end on their own.
    pub(super) fn hub_crashes(&mut self, politely: bool) {
        let now = self.now;
        self.trace.line(now, format_args!("hub {}", if politely { "stops" } else { "crashes" }));
        if politely && let Some(hub) = &mut self.hub {
            hub.stop(now);
            self.hub_turns();
        }
        self.check_protocol();
        self.hub = None;
        self.foundation_crashes();
        self.calls_lose_hub();
        self.joined.clear();
        for group in self.groups.values_mut() {
            group.excused = true;
        }
        self.by_link.clear();
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            let late = self.dice.micros(1, 500_000);
            let Some(link) = self.conns.get_mut(&conn) else { continue };
            if link.link.take().is_none() {
                continue;
            }
            link.excuse.cut = true;
            link.tap.joined = false;
            if !politely {
                link.down.cut(&mut self.dice);
            }
            let end = link.down.close(late, now);
            link.up.close(Duration::ZERO, now);
            link.up.blocked = false;
            self.at(end, What::ArrivesAtNode(conn));
            self.at(now, What::RoomAtNode(conn));
        }
        let down = self.dice.micros(1, 2_000_000);
        self.at(now + down, What::HubStarts);
    }
}
