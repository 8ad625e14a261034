//! Who is there, step by step: real nodes at a real hub, under a clock of their own.

use std::time::Duration;

use bytes::BytesMut;
use serde::de::DeserializeOwned;

use super::*;
use crate::frame::Frame;
use crate::frame::{Expect, Item, Set};
use crate::hub::{HubConfig, HubIdentity, Peer};
use crate::name::Pattern;
use crate::node::{NodeConfig, NodeState};
use crate::outgoing::Transmit;
use crate::payload::Encoding;
use crate::report::{LinkReport, MasterReport, NodeReport, StatusReport, TopicReport};

const BEAT: Duration = Duration::from_secs(15);

/// A node and its link, which the test carries.
struct Program {
    node: NodeState,
    link: Option<LinkId>,
}

struct World {
    hub: HubState,
    now: Time,
    seed: u8,
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

impl World {
    fn new() -> World {
        World::with(Membership::default())
    }

    fn with(membership: Membership) -> World {
        let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 5 };
        let config = HubConfig { membership, ..HubConfig::default() };
        let mut hub = HubState::new(config, identity, [3; 32], Time::START);
        hub.set_wall(1_000_000_000, Time::START);
        World { hub, now: Time::START, seed: 0 }
    }

    fn program(&mut self, text: &str, wish: MasterWish) -> Program {
        self.seed = self.seed.wrapping_add(1);
        let mut config = NodeConfig::new(name(text));
        config.takeover = true;
        let mut node = NodeState::new(config, [self.seed; 32], self.now);
        node.set_info(InfoOwned { host: "hall".into(), pid: 7, master: wish, ..InfoOwned::default() });
        Program { node, link: None }
    }

    fn joined(&mut self, text: &str) -> Program {
        let mut program = self.program(text, MasterWish::May);
        self.join(&mut program);
        program
    }

    fn join(&mut self, program: &mut Program) {
        program.node.tick(self.now);
        assert!(program.node.wants_link(), "{:?}", program.node.standing());
        program.link = Some(self.hub.open(Peer::Owner, self.now).unwrap());
        program.node.connected(true, self.now);
        self.carry(program);
        assert!(program.node.is_joined(), "{:?}", program.node.standing());
    }

    /// Carries what waits on both sides until nothing does; half a frame waits nowhere.
    fn carry(&mut self, program: &mut Program) {
        let Some(link) = program.link else { return };
        let mut transmit = Transmit::new();
        loop {
            let mut moved = false;
            program.node.transmit(&mut transmit);
            while let Some(bytes) = transmit.pop() {
                moved = true;
                self.hub.receive(link, &mut BytesMut::from(&bytes[..]), self.now);
            }
            self.hub.transmit(link, &mut transmit);
            while let Some(bytes) = transmit.pop() {
                moved = true;
                program.node.receive(&mut BytesMut::from(&bytes[..]), self.now);
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets time go by; the nodes of these programs live, all others are silent.
    fn pass(&mut self, time: Duration, programs: &mut [&mut Program]) {
        let end = self.now + time;
        loop {
            let nodes = programs.iter().filter_map(|program| program.node.deadline());
            let next = nodes.chain(self.hub.deadline()).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            self.hub.tick(self.now);
            for program in &mut *programs {
                program.node.tick(self.now);
                self.carry(program);
            }
        }
        self.now = end;
    }

    /// The program offers something, and the hub has taken it.
    fn attend(&mut self, program: &mut Program) {
        self.hub.tick(self.now);
        self.hub.attend(program.link.unwrap());
        program.node.attend();
    }

    fn cut(&mut self, program: &mut Program) {
        self.hub.closed(program.link.take().unwrap(), self.now);
        program.node.disconnected(Refusal::new(Code::LinkLost, "cut"), self.now);
    }

    fn state(&self, text: &str) -> Option<MemberState> {
        self.hub.member(&name(text))
    }

    /// What the hub tells about itself under this name.
    fn told<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let values = &self.hub.memory.values;
        let slot = values.find(name).filter(|slot| values.rev(*slot).is_some())?;
        let Ok(Some((Frame::Value(value), _))) = Frame::decode(values.frames(slot)) else { panic!("a short value") };
        Some(serde_json::from_slice(value.payload?.1).unwrap())
    }

    /// The names under which it tells something.
    fn names(&self, start: &str) -> usize {
        self.hub.memory.values.matched(&pattern(start), usize::MAX).unwrap().len()
    }

    /// What somebody gets who asks how a node is.
    fn report(&mut self, text: &str) -> Option<NodeReport> {
        self.hub.refresh_hub_values(&pattern(&format!("$hub/nodes/{text}")));
        self.told(&format!("$hub/nodes/{text}"))
    }

    fn why(&mut self, text: &str) -> (MemberState, String) {
        let report = self.report(text).unwrap();
        let reason = report.reason.unwrap();
        (report.state, format!("{}: {}", reason.code, reason.text))
    }

    fn master(&self) -> (Option<String>, u64) {
        let (master, term) = self.hub.master();
        let report = self.told::<MasterReport>("$hub/master");
        assert_eq!(report.as_ref().map(|report| report.node.as_str()), master.map(Name::as_str));
        assert!(report.is_none_or(|report| report.term == term && report.epoch == "5"));
        (master.map(Name::to_string), term)
    }
}

#[test]
fn a_crashed_node_is_suspect_at_once_then_dead_then_gone() {
    let mut world = World::new();
    let mut press = world.joined("press");
    assert_eq!(world.state("press"), Some(MemberState::Alive));
    world.pass(Duration::from_secs(10), &mut [&mut press]);
    world.cut(&mut press);
    assert_eq!(world.why("press"), (MemberState::Suspect, "LinkLost: the connection ended".into()));
    let report = world.report("press").unwrap();
    assert_eq!((report.since_ms, report.host.as_str(), report.pid), (1_000_010_000, "hall", 7));
    // It was heard last when it joined.
    world.pass(BEAT * 6 - Duration::from_secs(11), &mut []);
    assert_eq!(world.state("press"), Some(MemberState::Suspect));
    world.pass(Duration::from_secs(1), &mut []);
    assert_eq!(world.why("press"), (MemberState::Dead, "Silent: nothing was heard for 90 s".into()));
    world.pass(BEAT * 24 - Duration::from_secs(1), &mut []);
    assert_eq!(world.state("press"), Some(MemberState::Dead));
    world.pass(Duration::from_secs(1), &mut []);
    assert_eq!((world.state("press"), world.report("press")), (None, None));
    let census = world.hub.census();
    assert_eq!((census.members, census.timers, world.hub.deadline()), (0, 0, None), "nothing is left");
    assert_eq!((world.hub.members.fading.len(), world.hub.members.dead.len()), (0, 0));
}

#[test]
fn a_node_that_says_nothing_is_suspect_and_then_dead_with_its_link_closed() {
    let mut world = World::new();
    let mut press = world.joined("press");
    world.pass(BEAT * 3 - Duration::from_millis(1), &mut []);
    assert_eq!(world.state("press"), Some(MemberState::Alive));
    world.pass(Duration::from_millis(1), &mut []);
    assert_eq!(world.why("press"), (MemberState::Suspect, "Silent: nothing was heard for 45 s".into()));
    world.pass(BEAT * 3, &mut []);
    assert_eq!(world.why("press"), (MemberState::Dead, "Silent: nothing was heard for 90 s".into()));
    assert_eq!(world.hub.census().nodes, 0, "its link is closed");
    world.carry(&mut press);
    assert!(!press.node.is_joined());
}

#[test]
fn a_suspect_that_is_heard_again_is_alive() {
    let mut world = World::new();
    let mut press = world.joined("press");
    world.pass(BEAT * 4, &mut []);
    assert_eq!(world.state("press"), Some(MemberState::Suspect));
    let view = world.report("press").unwrap().view;
    world.pass(Duration::from_secs(1), &mut [&mut press]);
    let report = world.report("press").unwrap();
    assert_eq!((report.state, report.reason, report.view), (MemberState::Alive, None, view + 1));
    assert_eq!(report.since_ms, 1_000_060_000, "alive since it was heard again");
    world.pass(BEAT * 20, &mut [&mut press]);
    assert_eq!(world.state("press"), Some(MemberState::Alive));
}

#[test]
fn a_goodbye_is_dead_at_once() {
    let mut world = World::new();
    let mut press = world.joined("press");
    press.node.leave(world.now);
    world.carry(&mut press);
    assert_eq!(world.why("press"), (MemberState::Dead, "Left: it has left".into()));
    world.hub.closed(press.link.unwrap(), world.now);
    world.pass(Duration::from_secs(29), &mut []);
    assert_eq!(world.hub.census().members, 1, "whoever watches is told");
    world.pass(Duration::from_secs(1), &mut []);
    assert_eq!(world.hub.census().members, 0, "nobody misses it");
}

#[test]
fn a_node_that_comes_back_in_time_is_what_it_was() {
    let mut world = World::new();
    let mut press = world.joined("press");
    let incarnation = world.report("press").unwrap().incarnation;
    world.cut(&mut press);
    world.pass(Duration::from_secs(6), &mut []);
    world.join(&mut press);
    let report = world.report("press").unwrap();
    assert_eq!((report.state, &report.incarnation, report.pid), (MemberState::Alive, &incarnation, 7));
    world.pass(BEAT * 40, &mut [&mut press]);
    assert_eq!(world.state("press"), Some(MemberState::Alive), "what was to come of the old link does not come");
    let census = world.hub.census();
    assert_eq!((census.members, world.hub.members.fading.len(), world.hub.members.dead.len()), (1, 0, 0));
}

#[test]
fn a_node_that_comes_back_before_its_old_link_is_gone_was_never_suspect() {
    let mut world = World::new();
    let mut press = world.joined("press");
    let (view, term) = (world.report("press").unwrap().view, world.master().1);
    let old = press.link.take().unwrap();
    press.node.disconnected(Refusal::new(Code::LinkLost, "cut"), world.now);
    world.pass(Duration::from_secs(6), &mut []);
    world.join(&mut press);
    world.hub.closed(old, world.now);
    let report = world.report("press").unwrap();
    assert_eq!((report.state, report.view, world.master().1), (MemberState::Alive, view, term));
}

#[test]
fn a_new_run_of_a_program_makes_the_old_one_dead_at_once() {
    let mut world = World::new();
    let first = world.joined("press");
    let (before, view) = (world.report("press").unwrap(), world.hub.members.view);
    let mut second = world.joined("press");
    let after = world.report("press").unwrap();
    assert_eq!(after.state, MemberState::Alive);
    assert_ne!(after.incarnation, before.incarnation);
    assert_eq!(world.hub.members.view, view + 2, "one is dead, the other alive");
    world.hub.closed(first.link.unwrap(), world.now);
    world.pass(BEAT * 40, &mut [&mut second]);
    assert_eq!(world.state("press"), Some(MemberState::Alive));
}

#[test]
fn a_stall_of_the_hub_is_held_against_nobody() {
    let mut world = World::new();
    let mut press = world.joined("press");
    let mut panel = world.joined("panel");
    world.cut(&mut panel);
    // Beats come while the hub stands still; it sees the time first.
    let stall = BEAT * 100;
    world.pass(Duration::from_secs(1), &mut [&mut press]);
    world.now = world.now + stall;
    world.hub.tick(world.now);
    assert_eq!((world.state("press"), world.state("panel")), (Some(MemberState::Alive), Some(MemberState::Suspect)));
    world.pass(BEAT * 5, &mut [&mut press]);
    assert_eq!((world.state("press"), world.state("panel")), (Some(MemberState::Alive), Some(MemberState::Suspect)));
    world.pass(BEAT, &mut [&mut press]);
    assert_eq!((world.state("press"), world.state("panel")), (Some(MemberState::Alive), Some(MemberState::Dead)));
}

#[test]
fn a_link_that_offers_something_beats_every_second_on_both_ends() {
    let mut world = World::new();
    let mut press = world.joined("press");
    world.pass(Duration::from_secs(40), &mut [&mut press]);
    // Nothing was heard for 10 s on either side, which is more than an attentive link may be silent.
    world.attend(&mut press);
    press.node.tick(world.now);
    assert!(press.node.has_output(), "a beat at once");
    world.carry(&mut press);
    let heard = |world: &mut World| world.hub.links.get_mut(press.link.unwrap()).unwrap().heard;
    assert_eq!(heard(&mut world), world.now);
    for _ in 0..100 {
        world.pass(Duration::from_secs(1), &mut [&mut press]);
        let link = press.link.unwrap();
        assert_eq!(world.hub.links.get_mut(link).unwrap().heard, world.now);
        assert!(press.node.is_joined() && world.state("press") == Some(MemberState::Alive));
    }
    // Its silence is seen soon.
    let (now, mut other) = (world.now, world.joined("other"));
    world.pass(Duration::from_secs(3), &mut [&mut other]);
    assert_eq!(world.why("press"), (MemberState::Suspect, "Silent: nothing was heard for 3 s".into()));
    world.pass(Duration::from_secs(3), &mut [&mut other]);
    assert_eq!(world.why("press"), (MemberState::Dead, "Silent: nothing was heard for 6 s".into()));
    assert_eq!(world.now.since(now), Duration::from_secs(6));
    world.pass(Duration::from_secs(24), &mut [&mut other]);
    assert_eq!(world.state("press"), None);
}

#[test]
fn a_link_that_offers_something_and_falls_silent_at_once_is_found_out_soon() {
    let mut world = World::new();
    let mut press = world.joined("press");
    world.attend(&mut press);
    world.pass(Duration::from_secs(3), &mut []);
    assert_eq!(world.state("press"), Some(MemberState::Suspect));
}

#[test]
fn a_stall_of_the_hub_is_held_against_nobody_who_is_away() {
    let mut world = World::new();
    let mut press = world.joined("press");
    world.cut(&mut press);
    world.pass(Duration::from_secs(1), &mut []);
    // There is no link whose beats the hub would miss.
    world.now = world.now + Duration::from_secs(60);
    world.hub.tick(world.now);
    world.pass(Duration::from_secs(80), &mut []);
    assert_eq!(world.state("press"), Some(MemberState::Suspect));
    world.pass(Duration::from_secs(10), &mut []);
    assert_eq!(world.state("press"), Some(MemberState::Dead));
}

#[test]
fn what_lived_with_a_node_goes_when_it_is_dead() {
    let mut world = World::new();
    world.hub.config.memory.push(name("line"));
    let mut press = world.joined("press");
    let set = Set { encoding: Encoding::Text, payload: b"busy", ttl_ms: 0, ephemeral: true };
    let item = Item { name: b"line/state", every: false, expect: Expect::Anything, set: Some(set) };
    press.node.write(&[item]).unwrap();
    world.carry(&mut press);
    let there = |world: &World| world.hub.memory.values.matched(&pattern("line/#"), usize::MAX).unwrap().len();
    assert_eq!(there(&world), 1);
    world.pass(Duration::from_secs(60), &mut [&mut press]);
    assert_eq!(there(&world), 1, "it is alive");
    world.cut(&mut press);
    world.pass(Duration::from_secs(4), &mut []);
    assert_eq!(there(&world), 1, "it may come back");
    world.join(&mut press);
    world.pass(Duration::from_secs(60), &mut [&mut press]);
    assert_eq!((there(&world), world.state("press")), (1, Some(MemberState::Alive)), "it has come back");
    // Its machine is lost: nobody ends the link.
    world.pass(Duration::from_millis(5500), &mut []);
    assert_eq!((there(&world), world.state("press")), (1, Some(MemberState::Suspect)));
    world.pass(Duration::from_millis(500), &mut []);
    assert_eq!((there(&world), world.state("press")), (0, Some(MemberState::Dead)));
}

#[test]
fn a_link_that_offers_nothing_any_more_may_be_silent_for_longer() {
    let mut world = World::new();
    let mut press = world.joined("press");
    for _ in 0..2 {
        world.attend(&mut press);
    }
    world.pass(Duration::from_secs(20), &mut [&mut press]);
    press.node.unattend();
    world.hub.unattend(press.link.unwrap());
    world.pass(Duration::from_secs(20), &mut [&mut press]);
    assert_eq!(press.node.deadline(), Some(world.now + Duration::from_secs(1)), "one is left");
    press.node.unattend();
    press.node.tick(world.now);
    world.hub.unattend(press.link.unwrap());
    world.carry(&mut press);
    assert_eq!(press.node.deadline(), Some(world.now + BEAT));
    world.pass(Duration::from_secs(44), &mut []);
    assert_eq!(world.state("press"), Some(MemberState::Alive));
    world.pass(Duration::from_secs(1), &mut []);
    assert_eq!(world.state("press"), Some(MemberState::Suspect));
}

#[test]
fn a_node_that_offers_something_sees_soon_that_its_hub_is_silent() {
    let mut world = World::new();
    let mut press = world.joined("press");
    world.pass(Duration::from_secs(10), &mut [&mut press]);
    press.node.attend();
    let ticks = |press: &mut Program, world: &mut World, time: Duration| {
        let end = world.now + time;
        while let Some(due) = press.node.deadline().filter(|due| *due <= end) {
            world.now = world.now.max(due);
            press.node.tick(world.now);
        }
        world.now = end;
    };
    ticks(&mut press, &mut world, Duration::from_millis(5999));
    assert!(press.node.is_joined());
    ticks(&mut press, &mut world, Duration::from_millis(1));
    assert!(!press.node.is_joined());
}

#[test]
fn without_beats_silence_means_nothing() {
    let mut world =
        World::with(Membership { beat: Duration::ZERO, beat_attentive: Duration::ZERO, ..Membership::default() });
    let mut press = world.joined("press");
    world.attend(&mut press);
    assert_eq!((world.hub.deadline(), press.node.deadline()), (None, None));
    world.pass(BEAT * 1000, &mut [&mut press]);
    assert_eq!(world.state("press"), Some(MemberState::Alive));
    // A link that is gone is gone all the same.
    world.cut(&mut press);
    assert_eq!(world.state("press"), Some(MemberState::Suspect));
    world.pass(BEAT * 40, &mut []);
    assert_eq!(world.state("press"), None);
}

#[test]
fn the_times_of_nope_are_kept() {
    let mut world = World::with(Membership::nope());
    world.joined("press");
    for (at_ms, state) in [
        (999, Some(MemberState::Alive)),
        (1000, Some(MemberState::Suspect)),
        (4999, Some(MemberState::Suspect)),
        (5000, Some(MemberState::Dead)),
        (9999, Some(MemberState::Dead)),
        (10_000, None),
    ] {
        let left = (Time::START + Duration::from_millis(at_ms)).since(world.now);
        world.pass(left, &mut []);
        assert_eq!(world.state("press"), state, "after {at_ms} ms");
    }
}

#[test]
fn the_longest_alive_is_master_unless_another_must_be() {
    let mut world = World::new();
    let mut never = world.program("never", MasterWish::Never);
    world.join(&mut never);
    assert_eq!(world.hub.master(), (None, 0));
    let mut first = world.joined("first");
    world.pass(Duration::from_secs(1), &mut []);
    let mut second = world.joined("second");
    assert_eq!(world.master(), (Some("first".into()), 1));
    world.cut(&mut first);
    assert_eq!(world.master(), (Some("second".into()), 2), "a suspect is not master");
    world.pass(Duration::from_secs(6), &mut []);
    world.join(&mut first);
    assert_eq!(world.master(), (Some("second".into()), 2), "who comes back is alive anew");
    let mut must = world.program("must", MasterWish::Must);
    world.join(&mut must);
    assert_eq!(world.master(), (Some("must".into()), 3));
    must.node.leave(world.now);
    world.carry(&mut must);
    assert_eq!(world.master(), (Some("second".into()), 4));
    for program in [&mut first, &mut second] {
        program.node.leave(world.now);
        world.carry(program);
    }
    assert_eq!(world.master(), (None, 5));
    assert_eq!(world.hub.members.candidates.len(), 0);
}

#[test]
fn the_load_of_a_node_is_told_only_to_those_who_look() {
    let mut world = World::new();
    let mut press = world.joined("press");
    let load = |press: &mut Program, world: &mut World, cpu: u32, host: &str| {
        let info = InfoOwned { host: host.into(), pid: 7, cpu_permille: cpu, ..InfoOwned::default() };
        press.node.set_info(info);
        world.carry(press);
    };
    load(&mut press, &mut world, 100, "hall");
    world.pass(Duration::from_secs(5), &mut [&mut press]);
    let told = |world: &World| world.told::<NodeReport>("$hub/nodes/press");
    assert_eq!(told(&world), None, "nobody has asked");
    assert!(!world.hub.timers.is_set(Timer::Report));
    world.hub.refresh_hub_values(&pattern("$hub/nodes/other"));
    assert_eq!(told(&world), None, "nobody has asked about this one");
    world.hub.refresh_hub_values(&pattern("$hub/nodes/press"));
    assert_eq!(told(&world).unwrap().cpu_permille, 100);
    // Who watches is told every second.
    let watched = pattern("$hub/nodes/#");
    world.hub.hub_watch_begins(&watched);
    load(&mut press, &mut world, 200, "hall");
    assert_eq!(told(&world).unwrap().cpu_permille, 100);
    world.pass(Duration::from_secs(1), &mut [&mut press]);
    assert_eq!(told(&world).unwrap().cpu_permille, 200);
    world.hub.hub_watch_ends(&watched);
    world.pass(Duration::from_secs(2), &mut [&mut press]);
    load(&mut press, &mut world, 300, "hall");
    world.pass(Duration::from_secs(2), &mut [&mut press]);
    assert_eq!(told(&world).unwrap().cpu_permille, 200);
    // Another host is told in any case.
    load(&mut press, &mut world, 300, "yard");
    world.pass(Duration::from_secs(1), &mut [&mut press]);
    let report = told(&world).unwrap();
    assert_eq!((report.cpu_permille, report.host.as_str()), (300, "yard"));
    assert!(!world.hub.timers.is_set(Timer::Report));
}

#[test]
fn links_topics_and_counters_are_there_while_somebody_looks() {
    let mut world = World::new();
    let mut press = world.joined("press");
    press.node.subscribe(pattern("a/#"), None).unwrap();
    publish(&mut world, &mut press, "a/b");
    assert!(world.names("$hub/links/#") == 0 && world.names("$hub/status") == 0);
    let watched = pattern("$hub/#");
    world.hub.hub_watch_begins(&watched);
    let link: LinkReport = world.told("$hub/links/1").unwrap();
    assert_eq!((link.node.as_deref(), link.subscriptions, link.seq), (Some("press"), 1, 1));
    assert_eq!(world.told("$hub/topics/a/b"), Some(TopicReport { subscribers: Some(1) }));
    let status: StatusReport = world.told("$hub/status").unwrap();
    assert_eq!((status.epoch.as_str(), status.started_ms, status.census.nodes), ("5", 1_000_000_000, 1));
    assert_eq!(status.view, world.hub.members.view);
    world.cut(&mut press);
    world.pass(Duration::from_secs(1), &mut []);
    assert!(world.names("$hub/links/#") == 0, "the link is gone");
    let status: StatusReport = world.told("$hub/status").unwrap();
    assert_eq!((status.census.links, status.census.nodes, status.census.members), (0, 0, 1));
    world.hub.hub_watch_ends(&watched);
    world.pass(Duration::from_secs(1), &mut []);
    assert!(world.names("$hub/status") == 0, "nobody looks any more");
    assert!(world.hub.reports.shown.is_empty() && !world.hub.timers.is_set(Timer::Report));
}

/// Publishes on this topic.
fn publish(world: &mut World, program: &mut Program, name: &str) {
    let headers = &crate::payload::Headers::new();
    let publication = crate::node::Publication { name, encoding: Encoding::Raw, payload: b"x", headers };
    program.node.publish(publication).unwrap();
    world.carry(program);
}

/// Once every get of `$hub/#` made the reports of all topics, links and services anew.
#[test]
fn topics_are_listed_once_a_second_and_what_came_or_went_is_seen_at_once() {
    let mut world = World::new();
    let mut press = world.joined("press");
    press.node.subscribe(pattern("#"), None).unwrap();
    publish(&mut world, &mut press, "a");
    let all = pattern("$hub/#");
    let first = world.hub.refresh_hub_values(&all);
    assert_eq!((world.names("$hub/topics/#"), world.names("$hub/links/#")), (1, 1));
    publish(&mut world, &mut press, "b");
    let again = world.hub.refresh_hub_values(&all);
    assert_eq!((world.names("$hub/topics/#"), again < first), (1, true), "it was listed just now");
    let status: StatusReport = world.told("$hub/status").unwrap();
    assert_eq!(status.census.topics, 2, "this costs little");
    // Who asks for one alone gets it, and so does who asks otherwise.
    world.hub.refresh_hub_values(&pattern("$hub/topics/b"));
    assert_eq!(world.told("$hub/topics/b"), Some(TopicReport { subscribers: Some(1) }));
    publish(&mut world, &mut press, "c");
    world.hub.refresh_hub_values(&pattern("$hub/topics/+"));
    assert_eq!(world.names("$hub/topics/#"), 3);
    let id = press.node.serve(Name::parse("math/add").unwrap(), false).unwrap();
    world.carry(&mut press);
    world.hub.refresh_hub_values(&all);
    assert_eq!(world.names("$hub/services/#"), 1);
    press.node.unserve(id);
    world.carry(&mut press);
    let mut other = world.joined("other");
    world.hub.refresh_hub_values(&all);
    assert_eq!((world.names("$hub/services/#"), world.names("$hub/links/#")), (0, 2));
    world.cut(&mut other);
    world.hub.refresh_hub_values(&all);
    assert_eq!(world.names("$hub/links/#"), 1);
    publish(&mut world, &mut press, "d");
    world.pass(Duration::from_secs(1), &mut [&mut press]);
    assert!(world.hub.reports.shown.is_empty(), "nobody looks");
    world.hub.refresh_hub_values(&all);
    assert_eq!(world.names("$hub/topics/#"), 4);
}

#[test]
fn who_watches_topics_by_many_patterns_is_told_of_each_that_matches() {
    let mut world = World::new();
    let mut press = world.joined("press");
    press.node.subscribe(pattern("#"), None).unwrap();
    for topic in 0..60 {
        publish(&mut world, &mut press, &format!("t/{topic}"));
    }
    let watched: Vec<Pattern> = (0..40).map(|topic| pattern(&format!("$hub/topics/+/{topic}"))).collect();
    for (place, one) in watched.iter().enumerate() {
        world.hub.hub_watch_begins(one);
        assert_eq!(world.names("$hub/topics/#"), place + 1);
    }
    for (ends, left) in [(&watched[..0], 40), (&watched[5..], 5), (&watched[..5], 0)] {
        for one in ends {
            world.hub.hub_watch_ends(one);
        }
        world.pass(Duration::from_secs(1), &mut [&mut press]);
        assert_eq!(world.names("$hub/topics/#"), left);
    }
}

#[test]
fn of_the_nodes_that_are_gone_a_bounded_number_is_remembered() {
    let mut world = World::new();
    for place in 0..=limits::MEMBERS_AWAY_MAX {
        let mut program = world.joined(&format!("n/{place}"));
        if place % 2 == 0 {
            program.node.leave(world.now);
            world.carry(&mut program);
            world.hub.closed(program.link.unwrap(), world.now);
        } else {
            world.cut(&mut program);
        }
    }
    assert_eq!(world.hub.census().members, limits::MEMBERS_AWAY_MAX);
    assert_eq!((world.state("n/0"), world.state("n/1")), (None, Some(MemberState::Suspect)), "the dead go first");
    world.pass(BEAT * 30, &mut []);
    assert_eq!(world.hub.census().members, 0);
}

#[test]
fn a_node_whose_name_is_too_long_to_tell_about_is_refused() {
    let mut world = World::new();
    for (text, words) in [("a".repeat(481), "481 bytes and 1 words"), (["a"; 29].join("/"), "57 bytes and 29 words")] {
        let mut program = world.program(&text, MasterWish::May);
        program.link = Some(world.hub.open(Peer::Owner, world.now).unwrap());
        program.node.connected(true, world.now);
        world.carry(&mut program);
        let why = format!("{:?}", program.node.standing());
        assert!(
            why.contains("BadName") && why.contains(words) && why.contains("at most 480 and 28 are allowed"),
            "{why}"
        );
    }
    world.joined(&"a".repeat(480));
    world.joined(&["a"; 28].join("/"));
}

#[test]
fn a_link_is_judged_by_the_beats_that_it_was_told_whatever_is_set_later() {
    let mut world = World::new();
    let (mut old, away) = (world.joined("old"), world.joined("away"));
    world.hub.closed(away.link.unwrap(), world.now);
    let beat = Duration::from_secs(1);
    let membership =
        Membership { beat, beat_attentive: beat, dead_beats: 4, removed_beats: 8, ..Membership::default() };
    world.hub.reconfigure(&HubConfig { membership, ..HubConfig::default() });
    let new = world.joined("new");
    world.pass(Duration::from_secs(3), &mut [&mut old]);
    assert_eq!(world.hub.member(&name("new")), Some(MemberState::Suspect));
    world.pass(Duration::from_secs(1), &mut [&mut old]);
    assert_eq!(world.hub.member(&name("new")), Some(MemberState::Dead));
    world.hub.closed(new.link.unwrap(), world.now);
    world.pass(BEAT * 5, &mut [&mut old]);
    assert_eq!(world.hub.member(&name("old")), Some(MemberState::Alive));
    // It was away already, and goes as it would have gone.
    assert_eq!(world.hub.member(&name("away")), Some(MemberState::Suspect));
    world.pass(BEAT, &mut [&mut old]);
    assert_eq!(world.hub.member(&name("away")), Some(MemberState::Dead));
    world.pass(BEAT * 24, &mut [&mut old]);
    assert_eq!((world.hub.member(&name("away")), world.hub.member(&name("new"))), (None, None));
}

#[test]
fn fewer_links_than_there_are_cut_nobody_and_let_nobody_in() {
    let mut world = World::new();
    let (mut one, _other) = (world.joined("one"), world.joined("other"));
    world.hub.reconfigure(&HubConfig { links_max: 1, ..HubConfig::default() });
    assert_eq!(world.hub.open(Peer::Owner, world.now).unwrap_err().code, Code::Limit);
    world.pass(Duration::from_secs(1), &mut [&mut one]);
    assert_eq!(world.hub.census().nodes, 2);
    world.hub.reconfigure(&HubConfig { links_max: 3, ..HubConfig::default() });
    world.joined("another");
}
