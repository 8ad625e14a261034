//! Acknowledgement of entries: who has applied what, who waits for that, and who is a member at all.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod pair;

use std::time::Duration;

use convoke_core::foundation::{Ask, Told};
use convoke_core::frame::{Attendance, Change, FollowAs, Frame};
use convoke_core::journal::{AppliedBy, Deed, Who};
use convoke_core::node::{FollowWish, Followed};
use convoke_core::report::JournalReport;
use convoke_core::{
    Code, Encoding, HubConfig, Membership, Name, NodeConfig, Pattern, Peer, Refusal, TokenKey, Transmit,
};
use pair::World;

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn append(world: &mut World, who: usize, journal: &str, count: usize) {
    let commands = vec![(Encoding::Text, &b"do"[..]); count];
    world.nodes[who].state.append(&name(journal), commands.into_iter(), None).unwrap();
    world.settle();
}

fn follow(world: &mut World, who: usize, journal: &str, follow_as: FollowAs) -> u32 {
    let id = world.nodes[who].state.follow(name(journal), FollowWish { follow_as, ..FollowWish::default() }).unwrap();
    world.settle();
    id
}

/// What has come is taken, and applied up to this entry.
fn apply(world: &mut World, who: usize, id: u32, seq: u64) {
    while world.nodes[who].state.take_entry(id).is_some() {}
    world.nodes[who].state.applied(id, seq);
    world.settle();
}

fn wait(world: &mut World, who: usize, journal: &str, seq: u64, whom: Who, time: Duration) -> u32 {
    let now = world.now;
    let id = world.nodes[who].state.await_applied(name(journal), seq, whom, time, now).unwrap();
    world.settle();
    id
}

/// What has come of the one wait that was answered, if it was.
fn answered(world: &mut World, who: usize) -> Option<Result<AppliedBy, Refusal>> {
    let mut all = world.nodes[who].state.awaited();
    assert!(all.len() <= 1, "{all:?}");
    all.pop().map(|(_, answer)| answer)
}

fn by(world: &mut World, who: usize) -> AppliedBy {
    answered(world, who).expect("it is answered").unwrap()
}

/// Each that is listed, in short.
fn listed(by: &AppliedBy) -> Vec<(&str, Attendance, u64)> {
    by.listed.iter().map(|member| (member.node.as_str(), member.attendance, member.applied)).collect()
}

/// Time passes; every deadline is kept.
fn pass(world: &mut World, time: Duration) {
    let end = world.now + time;
    loop {
        let nodes = world.nodes.iter().filter(|node| node.refused.is_none());
        let due = nodes.filter_map(|node| node.state.deadline()).chain(world.hub.deadline()).min();
        let Some(due) = due.filter(|due| *due <= end) else { break };
        world.now = world.now.max(due);
        world.hub.tick(world.now);
        let now = world.now;
        world.nodes.iter_mut().for_each(|node| node.state.tick(now));
        world.settle();
    }
    world.now = end;
}

/// The link of a node is cut, and it does not come back.
fn lose(world: &mut World, who: usize) {
    world.detach(who);
    world.nodes[who].refused = Some(Refusal::new(Code::LinkLost, "the test keeps it away"));
}

/// It may come back now.
fn find(world: &mut World, who: usize) {
    world.nodes[who].refused = None;
    world.settle();
}

/// What the hub tells of a journal.
fn report(world: &mut World, who: usize, journal: &str) -> Option<JournalReport> {
    let pattern = Pattern::parse(&format!("$hub/journals/{journal}/followers")).unwrap();
    world.nodes[who].state.get(pattern).unwrap();
    world.settle();
    let (_, got) = world.nodes[who].state.got().pop().expect("it is answered");
    let payload = got.unwrap().pop()?.payload?;
    Some(serde_json::from_slice(&payload.bytes).unwrap())
}

/// The joins and leaves of a journal, and `*` for commands.
fn presence(world: &mut World, who: usize, journal: &str) -> Vec<String> {
    let id = follow(world, who, journal, FollowAs::Observer);
    let mut all = Vec::new();
    while let Some(next) = world.nodes[who].state.take_entry(id) {
        let Followed::Entry(entry, command) = next else { panic!("{next:?}") };
        all.push(match entry.deed {
            Deed::Join => format!("+{}", entry.author),
            Deed::Leave => format!("-{}", entry.author),
            _ => "*".to_owned(),
        });
        assert_eq!(command.is_some(), entry.deed == Deed::Do { first: entry.seq });
    }
    world.nodes[who].state.unfollow(id);
    world.settle();
    all
}

#[test]
fn a_wait_is_over_when_all_members_have_applied_the_entry() {
    let mut world = World::new(4);
    let (one, two) = (follow(&mut world, 1, "todo", FollowAs::Member), follow(&mut world, 2, "todo", FollowAs::Member));
    follow(&mut world, 3, "todo", FollowAs::Observer);
    append(&mut world, 0, "todo", 3);
    wait(&mut world, 0, "todo", 2, Who::All, SECOND);
    apply(&mut world, 1, one, 3);
    apply(&mut world, 2, two, 1);
    assert_eq!(answered(&mut world, 0), None);
    apply(&mut world, 2, two, 2);
    let by = by(&mut world, 0);
    assert_eq!((by.seq, by.reached, by.last, by.members, by.applied, by.returning), (2, true, 3, 2, 2, false));
    assert_eq!(listed(&by), [("node/1", Attendance::Here, 3), ("node/2", Attendance::Here, 2)]);
    assert_eq!(by.lagging().count(), 0);
}

#[test]
fn a_wait_can_be_for_most_for_so_many_or_for_some_by_name() {
    let mut world = World::new(5);
    let ids: Vec<u32> = (1..5).map(|who| follow(&mut world, who, "todo", FollowAs::Member)).collect();
    append(&mut world, 0, "todo", 1);
    let nodes = |names: &[&str]| Who::Nodes(names.iter().map(|node| name(node)).collect());
    let waits = [
        wait(&mut world, 0, "todo", 1, Who::Quorum, SECOND),
        wait(&mut world, 0, "todo", 1, Who::Count(2), SECOND),
        wait(&mut world, 0, "todo", 1, nodes(&["node/4"]), SECOND),
        wait(&mut world, 0, "todo", 1, nodes(&["node/1", "node/2"]), SECOND),
        wait(&mut world, 0, "todo", 1, Who::All, SECOND),
    ];
    let reached: Vec<Vec<usize>> = (1..5)
        .map(|who| {
            apply(&mut world, who, ids[who - 1], 1);
            let ended = world.nodes[0].state.awaited();
            ended
                .into_iter()
                .map(|(id, by)| {
                    assert!(by.unwrap().reached);
                    waits.iter().position(|wait| *wait == id).unwrap()
                })
                .collect()
        })
        .collect();
    assert_eq!(reached, [vec![], vec![1, 3], vec![0], vec![2, 4]], "half is not most");
    wait(&mut world, 0, "todo", 1, Who::Quorum, SECOND);
    assert!(by(&mut world, 0).reached, "at once, of what is so already");
    wait(&mut world, 0, "nothing", 7, Who::All, SECOND);
    assert!(by(&mut world, 0).reached, "all of none");
}

#[test]
fn who_waits_too_long_is_told_who_lags_who_is_away_and_who_is_no_member() {
    let mut world = World::new(4);
    let ids: Vec<u32> = (1..4).map(|who| follow(&mut world, who, "todo", FollowAs::Member)).collect();
    append(&mut world, 0, "todo", 9);
    for (who, seq) in [(1, 9), (2, 5), (3, 7)] {
        apply(&mut world, who, ids[who - 1], seq);
    }
    lose(&mut world, 3);
    let names = ["node/1", "node/2", "node/3", "node/9"].map(name).to_vec();
    wait(&mut world, 0, "todo", 8, Who::Nodes(names), 2 * SECOND);
    pass(&mut world, Duration::from_millis(1999));
    assert_eq!(answered(&mut world, 0), None, "it is not over before its time");
    pass(&mut world, Duration::from_millis(1));
    let by = by(&mut world, 0);
    assert_eq!((by.reached, by.members, by.applied), (false, 4, 1));
    let lagging = [("node/2", Attendance::Here, 5), ("node/3", Attendance::Away, 7), ("node/9", Attendance::Gone, 0)];
    assert_eq!(listed(&by), [&lagging[..], &[("node/1", Attendance::Here, 9)]].concat());
    assert_eq!(
        by.to_string(),
        "entry 8 is applied by 1 of 4: `node/2` is 3 behind, `node/3` is away, 1 behind, `node/9` is no member"
    );
}

#[test]
fn a_member_that_is_away_is_waited_for_until_it_is_removed() {
    let mut world = World::new(4);
    let ids: Vec<u32> = (1..4).map(|who| follow(&mut world, who, "todo", FollowAs::Member)).collect();
    append(&mut world, 0, "todo", 1);
    apply(&mut world, 1, ids[0], 1);
    lose(&mut world, 2);
    lose(&mut world, 3);
    pass(&mut world, 20 * SECOND);
    find(&mut world, 3);
    apply(&mut world, 3, ids[2], 1);
    wait(&mut world, 0, "todo", 1, Who::All, 60 * SECOND);
    assert_eq!(answered(&mut world, 0), None);
    pass(&mut world, 9 * SECOND);
    assert_eq!(answered(&mut world, 0), None);
    pass(&mut world, 2 * SECOND);
    let one = by(&mut world, 0);
    assert_eq!((one.reached, listed(&one).len()), (true, 2), "it was removed after 30 s, and who is back was not");
    pass(&mut world, 60 * SECOND);
    assert_eq!(report(&mut world, 0, "todo").unwrap().members.len(), 2);
}

#[test]
fn who_leaves_or_ends_it_or_is_another_program_is_a_member_no_more() {
    let mut world = World::new(4);
    let ids: Vec<u32> = (1..4).map(|who| follow(&mut world, who, "todo", FollowAs::Member)).collect();
    append(&mut world, 0, "todo", 1);
    let members = |world: &mut World| {
        let report = report(world, 0, "todo").unwrap();
        report.members.into_iter().map(|member| member.node).collect::<Vec<_>>()
    };
    assert_eq!(members(&mut world), ["node/1", "node/2", "node/3"]);
    world.nodes[1].state.unfollow(ids[0]);
    world.settle();
    assert_eq!(members(&mut world), ["node/2", "node/3"]);
    let now = world.now;
    world.nodes[2].state.leave(now);
    world.settle();
    assert_eq!(members(&mut world), ["node/3"]);
    lose(&mut world, 3);
    assert_eq!(members(&mut world), ["node/3"]);
    world.join(NodeConfig::new(name("node/3")), Peer::Owner);
    assert_eq!(members(&mut world), [""; 0], "it is another run of the program");
}

#[test]
fn who_comes_back_without_following_again_is_removed_all_the_same() {
    let mut world = World::new(3);
    let id = follow(&mut world, 1, "todo", FollowAs::Member);
    let other = follow(&mut world, 1, "other", FollowAs::Member);
    lose(&mut world, 1);
    world.nodes[1].state.unfollow(id);
    find(&mut world, 1);
    assert_eq!(report(&mut world, 0, "todo").unwrap().members.len(), 1, "it may have yet to ask");
    pass(&mut world, 31 * SECOND);
    assert_eq!(report(&mut world, 0, "todo"), None);
    assert_eq!(report(&mut world, 0, "other").unwrap().members.len(), 1);
    world.nodes[1].state.unfollow(other);
    world.settle();
    assert_eq!(report(&mut world, 0, "other"), None);
}

#[test]
fn what_was_acknowledged_stays_so_over_a_cut_link() {
    let mut world = World::new(2);
    let id = follow(&mut world, 1, "todo", FollowAs::Member);
    append(&mut world, 0, "todo", 4);
    apply(&mut world, 1, id, 4);
    world.cut(1);
    let member = |world: &mut World| report(world, 0, "todo").unwrap().members.pop().unwrap();
    assert_eq!((member(&mut world).applied, member(&mut world).here), (4, true));
    let (_, hash) = world.nodes[1].state.followed_hash(id).unwrap();
    assert_ne!(hash, [0; 16], "it is compared with that of the hub, and counts all the same");
    world.restart_hub();
    assert_eq!((member(&mut world).applied, member(&mut world).lag), (4, 0), "the hub is told again");
}

#[test]
fn a_member_that_goes_no_further_says_why_and_is_waited_for() {
    let mut world = World::new(2);
    let id = follow(&mut world, 1, "todo", FollowAs::Member);
    append(&mut world, 0, "todo", 4);
    apply(&mut world, 1, id, 2);
    assert!(world.nodes[1].state.stuck(id, &"é".repeat(200)));
    assert!(!world.nodes[1].state.stuck(id + 1, "nobody follows with this"));
    world.settle();
    let member = |world: &mut World| report(world, 0, "todo").unwrap().members.pop().unwrap();
    assert_eq!((member(&mut world).applied, member(&mut world).stuck), (2, Some("é".repeat(128))));
    world.cut(1);
    world.restart_hub();
    assert_eq!((member(&mut world).applied, member(&mut world).here), (2, true), "it stays a member");
    assert_eq!(member(&mut world).stuck, Some("é".repeat(128)), "the hub is told again");
    wait(&mut world, 0, "todo", 3, Who::Nodes(vec![name("node/1")]), SECOND);
    pass(&mut world, SECOND);
    assert_eq!(listed(&by(&mut world, 0)), [("node/1", Attendance::Stuck, 2)]);
    lose(&mut world, 1);
    assert_eq!((member(&mut world).here, member(&mut world).stuck), (false, None), "nobody knows any more");
}

#[test]
fn of_two_followers_of_a_node_the_one_that_lags_counts() {
    let mut world = World::new(2);
    let (one, two) = (follow(&mut world, 1, "todo", FollowAs::Member), follow(&mut world, 1, "todo", FollowAs::Member));
    append(&mut world, 0, "todo", 4);
    apply(&mut world, 1, one, 4);
    apply(&mut world, 1, two, 1);
    let applied = |world: &mut World| report(world, 0, "todo").unwrap().members.pop().unwrap().applied;
    assert_eq!(applied(&mut world), 1);
    let late = follow(&mut world, 1, "todo", FollowAs::Member);
    assert_eq!(applied(&mut world), 1, "what it has acknowledged it has acknowledged");
    world.nodes[1].state.unfollow(two);
    world.nodes[1].state.unfollow(late);
    world.settle();
    assert_eq!(applied(&mut world), 4);
}

/// A node that came back told of one follower what it had applied before the hub knew of the other.
#[test]
fn of_two_followers_of_a_node_that_comes_back_the_one_that_lags_counts() {
    let mut world = World::new(2);
    let first = follow(&mut world, 1, "todo", FollowAs::Member);
    follow(&mut world, 1, "todo", FollowAs::Member);
    append(&mut world, 0, "todo", 4);
    apply(&mut world, 1, first, 4);
    let member = |world: &mut World| report(world, 0, "todo").unwrap().members.pop().unwrap();
    assert_eq!(member(&mut world).applied, 0);
    world.restart_hub();
    assert_eq!(member(&mut world).applied, 0, "it has not applied more than before");
    lose(&mut world, 1);
    assert_eq!((member(&mut world).applied, member(&mut world).here), (0, false), "nor when its link is lost");
}

#[test]
fn nobody_has_applied_what_it_was_not_told() {
    let mut world = World::new(2);
    let id = follow(&mut world, 1, "todo", FollowAs::Member);
    append(&mut world, 0, "todo", 2);
    apply(&mut world, 1, id, u64::MAX);
    assert_eq!(report(&mut world, 0, "todo").unwrap().members[0].applied, 2);
}

#[test]
fn however_many_entries_are_applied_the_hub_is_told_once() {
    let mut world = World::new(2);
    let ids = ["todo", "todo", "other"].map(|journal| follow(&mut world, 1, journal, FollowAs::Member));
    append(&mut world, 0, "todo", 200);
    let node = &mut world.nodes[1].state;
    for seq in 1..=200 {
        let told = ids.map(|id| node.applied(id, seq));
        assert_eq!(told, [seq == 1; 3], "there is something to tell from the first on");
    }
    assert!(node.has_output());
    let mut transmit = Transmit::new();
    node.transmit(&mut transmit);
    let bytes: Vec<u8> = std::iter::from_fn(|| transmit.pop()).flatten().collect();
    let (mut rest, mut applied) = (&bytes[..], Vec::new());
    while let Some((frame, len)) = Frame::decode(rest).unwrap() {
        let Frame::Applied { id, seq, stuck: "" } = frame else { panic!("{frame:?}") };
        applied.push((id, seq));
        rest = &rest[len..];
    }
    assert_eq!(applied, ids.map(|id| (id, 200)));
    assert!(!world.nodes[1].state.has_output());
}

#[test]
fn a_wait_goes_on_over_a_cut_link_and_a_killed_hub() {
    let mut world = World::new(2);
    let id = follow(&mut world, 1, "todo", FollowAs::Member);
    append(&mut world, 0, "todo", 1);
    wait(&mut world, 0, "todo", 1, Who::Count(1), 20 * SECOND);
    lose(&mut world, 0);
    pass(&mut world, 3 * SECOND);
    find(&mut world, 0);
    world.restart_hub();
    assert_eq!(answered(&mut world, 0), None);
    apply(&mut world, 1, id, 1);
    assert!(by(&mut world, 0).reached);
    // With the time that is left.
    wait(&mut world, 0, "todo", 2, Who::Count(1), 5 * SECOND);
    pass(&mut world, 3 * SECOND);
    world.cut(0);
    pass(&mut world, 2100 * Duration::from_millis(1));
    assert!(!by(&mut world, 0).reached);
    // Without a link nobody can say.
    wait(&mut world, 0, "todo", 2, Who::Count(1), 5 * SECOND);
    lose(&mut world, 0);
    let now = world.now;
    world.nodes[0].state.tick(now + 4 * SECOND);
    assert_eq!(answered(&mut world, 0), None);
    assert_eq!(world.nodes[0].state.deadline(), Some(now + 5 * SECOND).min(world.nodes[0].state.deadline()));
    world.nodes[0].state.tick(now + 5 * SECOND);
    assert_eq!(answered(&mut world, 0).unwrap().unwrap_err().code, Code::Offline);
}

#[test]
fn a_wait_that_is_given_up_leaves_nothing() {
    let mut world = World::new(2);
    let id = wait(&mut world, 0, "todo", 1, Who::Count(1), 20 * SECOND);
    world.nodes[0].state.forget_await(id);
    world.settle();
    assert_eq!(answered(&mut world, 0), None);
    let census = world.hub.census();
    assert_eq!(census.watches, 0);
    let used = |world: &World, of: &str| world.hub.usage().into_iter().find(|limit| limit.name == of).unwrap().used;
    wait(&mut world, 0, "todo", 1, Who::Count(1), 20 * SECOND);
    assert_eq!((used(&world, "awaits_per_link"), used(&world, "awaits_bytes")), (1, 256));
    lose(&mut world, 0);
    assert_eq!((used(&world, "awaits_per_link"), used(&world, "awaits_bytes")), (0, 0));
}

/// Once started again the hub knows no members before they are back: to say then that all have applied an entry would be a
/// guess.
#[test]
fn after_a_start_of_the_hub_all_is_not_said_before_all_may_be_back() {
    let mut world = World::new(3);
    let ids = [1, 2].map(|who| follow(&mut world, who, "todo", FollowAs::Member));
    append(&mut world, 0, "todo", 1);
    apply(&mut world, 1, ids[0], 1);
    lose(&mut world, 2);
    world.restart_hub();
    for (journal, whom, reached) in [
        ("todo", Who::All, false),
        ("todo", Who::Quorum, false),
        ("todo", Who::Count(1), true),
        ("new", Who::All, true),
    ] {
        wait(&mut world, 0, journal, 1, whom.clone(), SECOND);
        pass(&mut world, SECOND);
        let by = by(&mut world, 0);
        assert_eq!((by.reached, by.returning), (reached, journal == "todo"), "{whom:?}");
    }
    assert!(report(&mut world, 0, "todo").unwrap().returning);
    wait(&mut world, 0, "todo", 1, Who::All, 60 * SECOND);
    pass(&mut world, 20 * SECOND);
    assert_eq!(answered(&mut world, 0), None);
    pass(&mut world, 10 * SECOND);
    assert!(by(&mut world, 0).reached, "who is not back by now would have been removed");
}

#[test]
fn what_the_hub_tells_of_a_journal() {
    let mut world = World::new(3);
    assert_eq!(report(&mut world, 0, "todo"), None);
    let id = follow(&mut world, 1, "todo", FollowAs::Member);
    follow(&mut world, 2, "todo", FollowAs::Observer);
    let (told, empty) = (report(&mut world, 0, "todo").unwrap(), "0".repeat(32));
    assert_eq!((told.last, told.hash, told.horizon, told.observers), (0, empty.clone(), 1, 1));
    append(&mut world, 0, "todo", 3);
    apply(&mut world, 1, id, 1);
    let told = report(&mut world, 0, "todo").unwrap();
    assert_eq!((told.last, told.hash == empty, told.more, told.returning), (3, false, 0, false));
    let member = &told.members[0];
    assert_eq!((member.node.as_str(), member.applied, member.lag, member.here), ("node/1", 1, 2, true));
}

#[test]
fn an_acknowledgement_costs_no_report_while_nobody_looks() {
    let mut world = World::new(2);
    let id = follow(&mut world, 1, "todo", FollowAs::Member);
    append(&mut world, 0, "todo", 100);
    for seq in 1..=100 {
        apply(&mut world, 1, id, seq);
    }
    pass(&mut world, 5 * SECOND);
    assert_eq!(world.hub.counters().report_rows(), 0);
    let pattern = Pattern::parse("$hub/journals/#").unwrap();
    let watch = world.nodes[0].state.watch(pattern, Default::default(), None).unwrap();
    world.settle();
    let changes = |world: &mut World| {
        let changes = std::iter::from_fn(|| world.nodes[0].state.take_change(watch));
        changes.filter(|next| matches!(next, convoke_core::node::Watched::Change(_))).count()
    };
    assert_eq!(changes(&mut world), 1);
    append(&mut world, 0, "todo", 100);
    for seq in 101..=200 {
        apply(&mut world, 1, id, seq);
    }
    pass(&mut world, SECOND);
    assert_eq!(changes(&mut world), 1, "of a hundred in a second the last");
}

#[test]
fn a_journal_says_who_joins_and_leaves_in_order_with_the_rest() {
    let mut world = World::new(5);
    let one = follow(&mut world, 1, "room", FollowAs::Announced);
    append(&mut world, 0, "room", 1);
    follow(&mut world, 2, "room", FollowAs::Announced);
    follow(&mut world, 3, "room", FollowAs::Member);
    let two = follow(&mut world, 1, "room", FollowAs::Announced);
    world.cut(2);
    world.nodes[1].state.unfollow(one);
    world.settle();
    assert_eq!(presence(&mut world, 0, "room"), ["+node/1", "*", "+node/2"], "each once, whatever happens to links");
    world.nodes[1].state.unfollow(two);
    world.settle();
    append(&mut world, 0, "room", 1);
    let now = world.now;
    world.nodes[2].state.leave(now);
    world.settle();
    let so_far = ["+node/1", "*", "+node/2", "-node/1", "*", "-node/2"];
    assert_eq!(presence(&mut world, 0, "room"), so_far);
    follow(&mut world, 4, "room", FollowAs::Announced);
    lose(&mut world, 4);
    pass(&mut world, 29 * SECOND);
    assert_eq!(presence(&mut world, 0, "room")[6..], ["+node/4"], "a cut link is not the end");
    pass(&mut world, 2 * SECOND);
    assert_eq!(presence(&mut world, 0, "room")[6..], ["+node/4", "-node/4"]);
}

#[test]
fn joins_and_leaves_cannot_be_undone_and_are_no_units() {
    use convoke_core::frame::Back;
    let mut world = World::new(2);
    follow(&mut world, 1, "room", FollowAs::Announced);
    let mut undo = |back| {
        let id = world.nodes[1].state.undo(&name("room"), back).unwrap();
        world.settle();
        let (of, end) = world.nodes[1].state.written_writes().pop().unwrap();
        assert_eq!(of, id);
        end.unwrap_err().why.code
    };
    let back = Back { everyone: true, target: None, expect_top: None };
    assert_eq!(undo(back), Code::BadRequest, "there is nothing to undo");
    assert_eq!(undo(Back { target: Some(1), ..back }), Code::BadRequest);
}

#[test]
fn after_a_start_of_the_hub_who_comes_back_has_not_left() {
    let mut world = World::new(4);
    for who in 1..4 {
        follow(&mut world, who, "room", FollowAs::Announced);
    }
    let joined = ["+node/1", "+node/2", "+node/3"];
    lose(&mut world, 2);
    lose(&mut world, 3);
    world.restart_hub();
    assert_eq!(presence(&mut world, 0, "room"), joined);
    wait(&mut world, 0, "room", 1, Who::Nodes(vec![name("node/2")]), SECOND);
    pass(&mut world, SECOND);
    assert_eq!(by(&mut world, 0).listed[0].attendance, Attendance::Away, "it is expected");
    pass(&mut world, 20 * SECOND);
    find(&mut world, 3);
    pass(&mut world, 8 * SECOND);
    assert_eq!(presence(&mut world, 0, "room"), joined);
    pass(&mut world, 2 * SECOND);
    assert_eq!(presence(&mut world, 0, "room")[3..], ["-node/2"]);
    pass(&mut world, 60 * SECOND);
    assert_eq!(presence(&mut world, 0, "room")[3..], ["-node/2"]);
}

#[test]
fn what_the_foundation_refuses_is_said_later() {
    let mut world = World::new(2);
    world.hold = true;
    let id = follow(&mut world, 1, "room", FollowAs::Announced);
    let refuse = |world: &mut World| {
        let asks = std::mem::take(&mut world.held);
        let tickets =
            asks.iter().filter_map(|ask| if let Ask::Append { ticket, .. } = ask { Some(*ticket) } else { None });
        let tickets: Vec<u64> = tickets.collect();
        for ticket in &tickets {
            world.tell(Told::NotDone { ticket: *ticket, why: Refusal::new(Code::StorageFull, "the disk is full") });
        }
        tickets.len()
    };
    assert_eq!(refuse(&mut world), 1);
    world.settle();
    assert_eq!(refuse(&mut world), 0, "it is not asked for again at once");
    pass(&mut world, SECOND);
    assert_eq!(refuse(&mut world), 1);
    // It has left before there was room to say that it had joined.
    world.nodes[1].state.unfollow(id);
    world.hold = false;
    world.settle();
    pass(&mut world, 2 * SECOND);
    append(&mut world, 0, "room", 1);
    assert_eq!(presence(&mut world, 0, "room"), ["*"]);
    // And what is on its way while it changes is put right behind it.
    world.hold = true;
    let id = follow(&mut world, 1, "room", FollowAs::Announced);
    world.nodes[1].state.unfollow(id);
    world.settle();
    world.hold = false;
    world.settle();
    assert_eq!(presence(&mut world, 0, "room"), ["*", "+node/1", "-node/1"]);
}

#[test]
fn who_may_not_follow_may_not_wait_and_who_may_not_execute_is_not_announced() {
    let mut world = World::new(1);
    for (token, rules) in [
        ("writes", vec!["join #", "execute todo"]),
        ("reads", vec!["join #", "follow todo"]),
        ("looks", vec!["join #", "follow todo", "execute todo", "status $hub/journals/#"]),
    ] {
        let change = Change::Create { key: Some(TokenKey::derive(token.as_bytes())), rules };
        world.nodes[0].state.grant(&name(token), &change).unwrap();
        world.settle();
    }
    let mut join = |token: &str| {
        let mut config = NodeConfig::new(name(&format!("{token}/1")));
        config.token = Some((name(token), TokenKey::derive(token.as_bytes())));
        world.join(config, Peer::Stranger)
    };
    let (writes, reads, looks) = (join("writes"), join("reads"), join("looks"));
    append(&mut world, writes, "todo", 1);
    for (who, journal, may) in [(writes, "todo", false), (reads, "todo", true), (reads, "other", false)] {
        wait(&mut world, who, journal, 1, Who::All, SECOND);
        match answered(&mut world, who).unwrap() {
            Ok(by) => assert!(may && by.reached),
            Err(why) => assert_eq!((may, why.code), (false, Code::Forbidden), "{why}"),
        }
    }
    for (who, follow_as, may) in
        [(reads, FollowAs::Member, true), (reads, FollowAs::Announced, false), (looks, FollowAs::Announced, true)]
    {
        let id = follow(&mut world, who, "todo", follow_as);
        let next = world.nodes[who].state.take_entry(id).unwrap();
        assert_eq!(matches!(next, Followed::Entry(..)), may, "{next:?}");
    }
    let sees = |world: &mut World, who: usize| {
        let pattern = Pattern::parse("$hub/journals/#").unwrap();
        world.nodes[who].state.get(pattern).unwrap();
        world.settle();
        let (_, got) = world.nodes[who].state.got().pop().expect("it is answered");
        got.is_ok_and(|values| !values.is_empty())
    };
    assert_eq!([writes, reads, looks].map(|who| sees(&mut world, who)), [false, false, true]);
}

#[test]
fn a_hundred_members_and_a_thousand_waits_are_told_apart() {
    let membership = Membership { beat: Duration::ZERO, beat_attentive: Duration::ZERO, ..Membership::default() };
    let mut world = World::with(101, HubConfig { membership, ..HubConfig::default() });
    let ids: Vec<u32> = (1..=100).map(|who| follow(&mut world, who, "todo", FollowAs::Member)).collect();
    append(&mut world, 0, "todo", 200);
    let now = world.now;
    let waits: Vec<u32> = (0..1000)
        .map(|n| {
            let (seq, count) = (1 + n % 200, 1 + (n % 100) as u32);
            world.nodes[0].state.await_applied(name("todo"), seq, Who::Count(count), 10 * SECOND, now).unwrap()
        })
        .collect();
    world.settle();
    let mut ended = 0;
    for (who, id) in (1..=100).zip(ids) {
        apply(&mut world, who, id, 2 * who as u64);
        for (id, by) in world.nodes[0].state.awaited() {
            let (by, n) = (by.unwrap(), waits.iter().position(|wait| *wait == id).unwrap());
            let has = (1..=who as u64).filter(|other| 2 * other >= by.seq).count();
            assert!(by.reached && has == by.applied && by.members == 100, "{by}");
            assert_eq!((by.seq, has), (1 + n as u64 % 200, 1 + n % 100), "as soon as there are so many");
            ended += 1;
        }
    }
    let most = |seq: u64| (1..=100u64).filter(|who| 2 * who >= seq).count();
    assert_eq!(ended, (0..1000).filter(|n| most(1 + n % 200) > (*n as usize) % 100).count());
}

#[test]
fn what_another_hub_says_of_its_members_is_left_as_it_is() {
    let shared = HubConfig { shared_foundation: true, ..HubConfig::default() };
    let mut world = World::of_hub(1, 2, shared.clone());
    world.hold = true;
    follow(&mut world, 1, "room", FollowAs::Announced);
    let Some(Ask::Append { operation, .. }) = world.held.pop() else { panic!("it is to be said") };
    let mut other = World::of_hub(2, 1, shared);
    other.commit(None, operation);
    other.settle();
    pass(&mut other, 60 * SECOND);
    assert_eq!(presence(&mut other, 0, "room"), ["+node/1"]);
    other.restart_hub();
    pass(&mut other, 60 * SECOND);
    assert_eq!(presence(&mut other, 0, "room"), ["+node/1"]);
}
