//! What a hub holds of followers while it reads for them, and what of them ends with them; what links of other hubs bring.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod pair;

use std::time::Duration;

use bytes::Bytes;
use convoke_core::foundation::{Ask, Told};
use convoke_core::frame::{
    Back, Brought, Carried, Change, Commands, EventOrigin, Expect, FollowAs, Item, Piece, Set, Terms,
};
use convoke_core::journal::{Origin, Strategy, Who};
use convoke_core::limits::{
    APPEND_RETRY_TIME, APPENDING_BYTES_MAX, AWAIT_NODES_MAX, AWAITS_PER_LINK_MAX, LOOKS_PER_LINK_MAX, STUCK_BYTES_MAX,
    VALUE_BYTES_MAX, WATCH_WINDOW_BYTES,
};
use convoke_core::node::{Delivery, FollowWish, Followed, Publication, WriteId};
use convoke_core::report::JournalReport;
use convoke_core::{
    Code, Dropped, Encoding, Headers, HubConfig, Membership, Name, NodeConfig, Notice, Pattern, Peer, Refusal, TokenKey,
};
use pair::World;

/// The tables of entries and of pieces.
const ENTRIES: u8 = 0x80;
const PIECES: u8 = 0x81;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// The place of what was asked for, or why it was not done.
fn answer(world: &mut World, who: usize, id: WriteId) -> Result<u64, Code> {
    world.answered(who, id).map(|(place, _)| place)
}

/// Appends so many commands to a journal that compensates.
fn append(world: &mut World, who: usize, journal: &str, count: usize) {
    for _ in 0..count {
        let terms = Terms::new(Some(Strategy::Compensate), false, None);
        let command = [(Encoding::Text, journal.as_bytes())];
        let id = world.nodes[who].state.append_on(&name(journal), command.into_iter(), None, terms).unwrap();
        answer(world, who, id).unwrap();
    }
}

fn follow(world: &mut World, who: usize, journal: &str, wish: FollowWish) -> u32 {
    let id = world.nodes[who].state.follow(name(journal), wish).unwrap();
    world.settle();
    id
}

const STATE: FollowWish = FollowWish {
    after: 0,
    hash: [0; 16],
    follow_as: FollowAs::Observer,
    strategy: None,
    snapshot_max: u64::MAX,
    verify: true,
};

/// The places of the entries that have come, and the commands of the first; a snapshot by its place alone.
fn taken(world: &mut World, who: usize, id: u32) -> (Vec<u64>, Option<Bytes>) {
    let (mut places, mut first) = (Vec::new(), None);
    while let Some(next) = world.nodes[who].state.take_entry(id) {
        match next {
            Followed::Entry(entry, command) => {
                places.push(entry.seq);
                first = first.or(command.map(|command| command.bytes));
            }
            Followed::Base { seq, .. } => places.push(seq),
            other => panic!("{other:?}"),
        }
        world.settle();
    }
    (places, first)
}

/// The pieces of a snapshot at this place, as the node that has appended all of the journal uploads them.
fn pieces(world: &mut World, journal: &str, seq: u64, bytes: &[u8]) -> Vec<Result<u64, Code>> {
    let id = follow(world, 0, journal, FollowWish::default());
    taken(world, 0, id);
    let (known, hash) = world.nodes[0].state.taken_hash(id).unwrap();
    world.nodes[0].state.unfollow(id);
    let step = world.nodes[0].state.snapshot_piece_bytes();
    let begin = Piece { seq, known, hash, total: bytes.len() as u64, offset: 0, bytes: &[] };
    let rest = bytes.chunks(step).enumerate().map(|(place, part)| (place * step, part));
    let mut ends = Vec::new();
    for (offset, bytes) in std::iter::once((0, &[][..])).chain(rest) {
        let piece = Piece { offset: offset as u64, bytes, ..begin };
        let id = world.nodes[0].state.upload(&name(journal), piece).unwrap();
        ends.push(answer(world, 0, id));
    }
    ends
}

fn report(world: &mut World, who: usize, journal: &str) -> JournalReport {
    let pattern = Pattern::parse(&format!("$hub/journals/{journal}/followers")).unwrap();
    world.nodes[who].state.get(pattern).unwrap();
    world.settle();
    let (_, got) = world.nodes[who].state.got().pop().expect("it is answered");
    let payload = got.unwrap().pop().unwrap().payload.unwrap();
    serde_json::from_slice(&payload.bytes).unwrap()
}

/// Why the hub has ended, if it has.
fn failed(world: &mut World) -> Option<Code> {
    let failed = |notice| if let Notice::Failed(why) = notice { Some(why.code) } else { None };
    world.hub.notices().into_iter().find_map(failed)
}

#[test]
fn what_is_read_for_a_follower_that_has_ended_is_told_to_no_other() {
    let mut world = World::new(2);
    append(&mut world, 0, "todo", 5);
    append(&mut world, 0, "plan", 3);
    // What is in memory is not read.
    world.restart_hub();
    world.hold = true;
    let ended = follow(&mut world, 1, "todo", FollowWish::default());
    world.nodes[1].state.unfollow(ended);
    world.settle();
    let next = follow(&mut world, 1, "plan", FollowWish::default());
    world.hold = false;
    world.settle();
    assert_eq!(taken(&mut world, 1, next), (vec![1, 2, 3], Some(Bytes::from_static(b"plan"))));
    assert_eq!(failed(&mut world), None);
}

#[test]
fn who_has_been_told_all_is_told_so_once() {
    let mut world = World::new(2);
    append(&mut world, 0, "todo", 2);
    let id = follow(&mut world, 1, "todo", FollowWish::default());
    append(&mut world, 0, "todo", 2);
    assert_eq!(taken(&mut world, 1, id).0, [1, 2, 3, 4]);
    assert_eq!(world.nodes[1].state.follows_up_to(id), Some(2), "up to where it was when it came");
}

#[test]
fn a_hub_ends_if_an_entry_or_a_piece_is_not_where_it_was_kept() {
    for (table, wish) in [(ENTRIES, FollowWish::default()), (PIECES, STATE)] {
        let mut world = World::new(2);
        append(&mut world, 0, "todo", 5);
        assert_eq!(pieces(&mut world, "todo", 4, b"state"), [Ok(4), Ok(4)]);
        world.restart_hub();
        world.hub.notices();
        world.lose(table, 0);
        world.nodes[1].state.follow(name("todo"), wish).unwrap();
        world.settle_once();
        assert_eq!(failed(&mut world), Some(Code::StorageFailed), "table {table:#x}");
    }
}

#[test]
fn a_piece_that_was_asked_for_and_is_gone_when_it_is_read_is_no_loss() {
    let mut world = World::new(2);
    append(&mut world, 0, "todo", 5);
    assert_eq!(pieces(&mut world, "todo", 3, b"older"), [Ok(3), Ok(3)]);
    // The newer one is under way when somebody begins with the older.
    let id = follow(&mut world, 0, "todo", FollowWish::default());
    taken(&mut world, 0, id);
    let (known, hash) = world.nodes[0].state.taken_hash(id).unwrap();
    let piece = Piece { seq: 4, known, hash, total: 5, offset: 0, bytes: &[] };
    let begun = world.nodes[0].state.upload(&name("todo"), piece).unwrap();
    assert_eq!(answer(&mut world, 0, begun), Ok(4));
    world.hold = true;
    let replica = follow(&mut world, 1, "todo", STATE);
    world.nodes[0].state.upload(&name("todo"), Piece { bytes: b"newer", ..piece }).unwrap();
    world.settle();
    let (appends, reads): (Vec<Ask>, Vec<Ask>) =
        std::mem::take(&mut world.held).into_iter().partition(|ask| matches!(ask, Ask::Append { .. }));
    for ask in appends {
        if let Ask::Append { ticket, operation } = ask {
            world.commit(Some(ticket), operation);
        }
    }
    assert!(!reads.is_empty());
    for ask in reads {
        if let Ask::Read { ticket, .. } = ask {
            world.tell(Told::ReadDone { ticket, rows: Vec::new() });
        }
    }
    world.hold = false;
    world.settle();
    assert_eq!(failed(&mut world), None);
    assert_eq!(taken(&mut world, 1, replica).0, [4, 5]);
}

#[test]
fn of_a_snapshot_no_more_is_on_its_way_than_the_follower_has_said() {
    let mut world = World::new(2);
    append(&mut world, 0, "todo", 5);
    pieces(&mut world, "todo", 4, &vec![7; 6 << 20]).into_iter().for_each(|end| assert_eq!(end, Ok(4)));
    world.nodes[1].deaf = true;
    follow(&mut world, 1, "todo", STATE);
    let mut most = 0;
    for _ in 0..40 {
        // Whatever the hub has for it is on its way, and the hub may tell more.
        most += world.drain(1);
        world.settle();
    }
    assert!((WATCH_WINDOW_BYTES / 2..WATCH_WINDOW_BYTES * 3 / 2).contains(&most), "{most} bytes");
}

#[test]
fn of_what_waits_for_the_disk_a_link_has_a_bounded_number() {
    let mut world = World::new(1);
    append(&mut world, 0, "todo", 3);
    assert_eq!(pieces(&mut world, "todo", 3, b"state"), [Ok(3), Ok(3)]);
    world.restart_hub();
    append(&mut world, 0, "todo", 1);
    world.hold = true;
    let compact = |world: &mut World| world.nodes[0].state.compact(&name("todo"), 1, 0).unwrap();
    let all: Vec<WriteId> = (0..=LOOKS_PER_LINK_MAX).map(|_| compact(&mut world)).collect();
    world.settle();
    let refused: Vec<_> = world.nodes[0].state.written_writes();
    let refused: Vec<_> = refused.into_iter().map(|(id, end)| (id, end.map_err(|why| why.why.code))).collect();
    assert_eq!(refused, [(all[LOOKS_PER_LINK_MAX], Err(Code::Backpressure))]);
    world.hold = false;
    world.settle();
}

#[test]
fn of_followers_that_end_nothing_is_left_and_of_sentences_not_all() {
    let mut world = World::new(3);
    append(&mut world, 0, "todo", 3);
    let observer = follow(&mut world, 1, "todo", FollowWish::default());
    let member = follow(&mut world, 2, "todo", FollowWish { follow_as: FollowAs::Member, ..FollowWish::default() });
    assert_eq!(taken(&mut world, 2, member).0, [1, 2, 3]);
    assert_eq!(report(&mut world, 0, "todo").observers, 1);
    world.nodes[1].state.unfollow(observer);
    let why = "é".repeat(STUCK_BYTES_MAX);
    world.nodes[2].state.stuck(member, &why);
    world.nodes[2].state.applied(member, 2);
    world.settle();
    let told = report(&mut world, 0, "todo");
    assert_eq!((told.observers, told.members.len()), (0, 1));
    let told = &told.members[0];
    assert_eq!((told.applied, told.lag, told.stuck.as_ref().map(String::len)), (2, 1, Some(STUCK_BYTES_MAX)));
    world.now = world.now + Duration::from_secs(3);
    let before = told.since_ms;
    world.nodes[2].state.applied(member, 3);
    world.settle();
    let told = report(&mut world, 0, "todo").members.remove(0);
    assert_eq!((told.applied, told.since_ms), (3, before + 3000), "since when that is so");
}

#[test]
fn over_a_cut_link_a_follower_tells_again_how_it_stands_and_begins_to_ask_anew() {
    let mut world = World::new(2);
    append(&mut world, 0, "todo", 3);
    let id = follow(&mut world, 1, "todo", FollowWish { follow_as: FollowAs::Member, ..FollowWish::default() });
    taken(&mut world, 1, id);
    world.nodes[1].state.stuck(id, "it is none that I know");
    world.settle();
    world.detach(1);
    assert_eq!(world.nodes[1].state.follows_up_to(id), None, "nobody knows without a link");
    world.settle();
    assert_eq!(world.nodes[1].state.follows_up_to(id), Some(3));
    let told = report(&mut world, 0, "todo").members.remove(0);
    assert_eq!(told.stuck.as_deref(), Some("it is none that I know"));
}

#[test]
fn what_waits_for_a_program_that_takes_nothing_is_bounded_over_all_its_links() {
    let mut world = World::new(2);
    let command = vec![7; 200_000];
    for _ in 0..40 {
        let command = [(Encoding::Raw, &command[..])];
        let id = world.nodes[0].state.append(&name("todo"), command.into_iter(), None).unwrap();
        answer(&mut world, 0, id).unwrap();
    }
    let id = follow(&mut world, 1, "todo", FollowWish::default());
    (0..5).for_each(|_| world.cut(1));
    let mut waits = 0;
    while world.nodes[1].state.take_entry(id).is_some() {
        waits += command.len();
    }
    assert!((WATCH_WINDOW_BYTES / 2..WATCH_WINDOW_BYTES * 3 / 2).contains(&waits), "{waits} bytes");
    world.settle();
    let rest = taken(&mut world, 1, id).0;
    assert_eq!(
        (rest.first(), rest.last()),
        (Some(&(waits as u64 / 200_000 + 1)), Some(&40)),
        "and nothing is left out"
    );
}

#[test]
fn a_node_waits_for_so_many_names_and_so_often_at_most() {
    let mut world = World::new(1);
    let now = world.now;
    let wait = |world: &mut World, names: usize| {
        let who = Who::Nodes(vec![name("node/7"); names]);
        world.nodes[0].state.await_applied(name("todo"), 1, who, Duration::from_secs(9), now).map_err(|why| why.code)
    };
    assert_eq!(wait(&mut world, AWAIT_NODES_MAX + 1), Err(Code::BadRequest));
    for _ in 0..AWAITS_PER_LINK_MAX {
        wait(&mut world, AWAIT_NODES_MAX).unwrap();
    }
    assert_eq!(wait(&mut world, 1), Err(Code::Limit));
}

/// What came of one entry that a link of another hub has brought.
fn carried(world: &mut World, who: usize, place: u64, brought: Brought<'_>) -> Result<u64, Code> {
    carried_by(world, who, [0xa; 16], place, brought)
}

fn carried_by(world: &mut World, who: usize, carrier: [u8; 16], place: u64, brought: Brought<'_>) -> Result<u64, Code> {
    let carried = Carried { carrier, place, hash: [7; 16], after: 0, brought };
    let id = world.nodes[who].state.carry(&name("todo"), carried).unwrap();
    answer(world, who, id)
}

#[test]
fn a_link_of_another_hub_does_what_it_may_in_the_names_that_it_may() {
    const A: [u8; 16] = [0xa; 16];
    let mut world = World::new(1);
    append(&mut world, 0, "todo", 2);
    let mut joined = Vec::new();
    for (token, rules) in [
        ("all", vec!["join,uplink #", "execute,undo todo", "author ann"]),
        ("some", vec!["join,uplink #", "execute todo", "author ann"]),
    ] {
        let key = || TokenKey::derive(token.as_bytes());
        world.nodes[0].state.grant(&name(token), &Change::Create { key: Some(key()), rules }).unwrap();
        world.settle();
        let mut config = NodeConfig::new(name(&format!("{token}/1")));
        (config.token, config.uplink) = (Some((name(token), key())), true);
        joined.push(world.join(config, Peer::Stranger));
    }
    let commands = Commands::encode([(Encoding::Text, &b"a"[..])].into_iter());
    let by = |author: &'static [u8], hub: [u8; 16], seq: u64| {
        let (terms, commands) = (Terms::default(), Commands::encoded(&commands));
        Brought::Commands { origin: Origin { hub, seq }, author, terms, commands }
    };
    let (all, some) = (joined[0], joined[1]);
    assert_eq!(carried(&mut world, all, 1, by(b"bob", A, 1)), Err(Code::Forbidden), "in whose name it may not speak");
    assert_eq!(carried(&mut world, all, 1, by(b"ann", A, 1)), Ok(3));
    assert_eq!(carried(&mut world, all, 2, by(b"all/1", A, 2)), Ok(4), "its own is one that it may");
    // This hub's id, as the world has it: what was first here has come back.
    assert_eq!(carried(&mut world, all, 3, by(b"ann", [1; 16], 2)), Ok(0));
    assert_eq!(carried(&mut world, all, 4, by(b"ann", [1; 16], 9)), Err(Code::Diverged));
    for carrier in [[1; 16], [0; 16]] {
        assert_eq!(carried_by(&mut world, all, carrier, 4, by(b"ann", A, 4)), Err(Code::BadRequest));
    }
    let undo = |seq| {
        let (origin, target) = (Origin { hub: A, seq }, Origin { hub: A, seq: 1 });
        Brought::Back { origin, author: b"ann", undoes: true, target }
    };
    assert_eq!(carried(&mut world, some, 4, undo(4)), Err(Code::Forbidden));
    assert_eq!(carried(&mut world, all, 4, undo(4)), Ok(5));
    let own = Brought::Back {
        origin: Origin { hub: A, seq: 5 },
        author: b"ann",
        undoes: true,
        target: Origin { hub: [1; 16], seq: 1 },
    };
    assert_eq!(carried(&mut world, all, 5, own), Ok(6), "one of this hub's");
    let back = Back { everyone: true, target: Some(1), expect_top: None };
    let id = world.nodes[0].state.undo(&name("todo"), back).unwrap();
    assert_eq!(answer(&mut world, 0, id), Err(Code::Conflict), "it is undone");
}

const MEMBER: FollowWish = FollowWish { follow_as: FollowAs::Member, snapshot_max: 0, ..STATE };

/// A hub that never judges by silence.
fn patient(nodes: usize) -> World {
    let membership = Membership { beat: Duration::ZERO, beat_attentive: Duration::ZERO, ..Membership::default() };
    World::with(nodes, HubConfig { membership, ..HubConfig::default() })
}

/// Its link is gone, and it does not come back by itself.
fn goes(world: &mut World, who: usize) {
    world.nodes[who].refused = Some(Refusal::new(Code::LinkLost, "its cable is pulled"));
    world.cut(who);
}

fn comes_back(world: &mut World, who: usize) {
    world.nodes[who].refused = None;
    world.settle();
}

fn passes(world: &mut World, time: Duration) {
    let end = world.now + time;
    while let Some(due) = world.hub.deadline().filter(|due| *due <= end) {
        world.now = world.now.max(due);
        world.hub.tick(world.now);
    }
    world.now = end;
    world.settle();
}

/// How long a member stays one after it has gone, at most, with what the world's hub judges by.
fn stays() -> Duration {
    let mut world = patient(2);
    append(&mut world, 0, "todo", 1);
    follow(&mut world, 1, "todo", MEMBER);
    goes(&mut world, 1);
    let went = world.now;
    while !report(&mut world, 0, "todo").members.is_empty() {
        let due = world.hub.deadline().expect("it is removed some time");
        let time = due.since(world.now);
        passes(&mut world, time);
    }
    world.now.since(went)
}

#[test]
fn how_long_a_member_may_be_away_counts_from_when_it_went_last() {
    let stays = stays();
    assert!(stays > Duration::from_secs(1), "{stays:?}");
    for ends in [false, true] {
        let mut world = patient(2);
        append(&mut world, 0, "todo", 1);
        let id = follow(&mut world, 1, "todo", MEMBER);
        goes(&mut world, 1);
        passes(&mut world, stays / 2);
        comes_back(&mut world, 1);
        if ends {
            // It is no member for a moment.
            world.nodes[1].state.unfollow(id);
            world.settle();
            assert_eq!(report(&mut world, 0, "todo").members.len(), 0);
            follow(&mut world, 1, "todo", MEMBER);
        }
        passes(&mut world, stays / 4);
        goes(&mut world, 1);
        passes(&mut world, stays / 2);
        assert_eq!(report(&mut world, 0, "todo").members.len(), 1, "it has ended in between: {ends}");
        passes(&mut world, stays);
        assert_eq!(report(&mut world, 0, "todo").members.len(), 0);
    }
}

#[test]
fn members_of_before_may_come_back_to_journals_of_before_only() {
    let mut world = World::new(2);
    append(&mut world, 0, "old", 1);
    world.restart_hub();
    append(&mut world, 0, "new", 1);
    assert!(report(&mut world, 0, "old").returning);
    assert!(!report(&mut world, 0, "new").returning);
}

#[test]
fn a_node_that_follows_nothing_any_more_is_judged_as_before() {
    let mut world = World::new(2);
    let idle = world.hub.deadline().unwrap();
    let id = follow(&mut world, 1, "todo", FollowWish::default());
    let follows = world.hub.deadline().unwrap();
    assert!(follows < idle, "who follows is looked after more often");
    world.nodes[1].state.unfollow(id);
    world.settle();
    assert_eq!(world.hub.deadline(), Some(idle));
}

/// How many operations the foundation was given and has not kept.
fn appends_held(world: &World) -> usize {
    world.held.iter().filter(|ask| matches!(ask, Ask::Append { .. })).count()
}

const ANNOUNCED: FollowWish = FollowWish { follow_as: FollowAs::Announced, ..MEMBER };

#[test]
fn of_whether_a_node_is_a_member_one_entry_is_on_its_way_at_most() {
    let mut world = World::new(2);
    append(&mut world, 0, "todo", 1);
    world.hold = true;
    for _ in 0..3 {
        let id = follow(&mut world, 1, "todo", ANNOUNCED);
        world.nodes[1].state.unfollow(id);
        world.settle();
        assert_eq!(appends_held(&world), 1);
    }
    world.hold = false;
    world.settle();
    let all = follow(&mut world, 0, "todo", FollowWish::default());
    assert_eq!(taken(&mut world, 0, all).0, [1, 2, 3], "it has come and gone once");
}

#[test]
fn while_too_much_waits_for_the_disk_no_entry_says_who_has_come_and_then_one_does() {
    let mut world = World::new(8);
    append(&mut world, 0, "todo", 1);
    world.hold = true;
    let payload = vec![7; VALUE_BYTES_MAX];
    let set = Set { encoding: Encoding::Raw, payload: &payload, ttl_ms: 0, ephemeral: false };
    let item = Item { name: b"a", every: false, expect: Expect::Anything, set: Some(set) };
    for who in 2..8 {
        while world.nodes[who].state.write(&[item]).is_ok() {}
        world.settle();
    }
    let bytes: usize =
        world.held.iter().map(|ask| if let Ask::Append { operation, .. } = ask { operation.len() } else { 0 }).sum();
    assert!(bytes > APPENDING_BYTES_MAX, "{bytes} bytes");
    let before = appends_held(&world);
    follow(&mut world, 1, "todo", ANNOUNCED);
    assert_eq!(appends_held(&world), before);
    world.hold = false;
    world.settle();
    passes(&mut world, APPEND_RETRY_TIME);
    let all = follow(&mut world, 0, "todo", FollowWish::default());
    assert_eq!(taken(&mut world, 0, all).0, [1, 2]);
}

#[test]
fn what_a_node_asks_of_journals_before_its_link_takes_it_is_bounded() {
    let mut world = World::new(1);
    let journal = name(&"n".repeat(480));
    let mut asked = 0;
    let refused = loop {
        match world.nodes[0].state.follow(journal.clone(), FollowWish::default()) {
            Ok(_) if asked < 10_000 => asked += 1,
            end => break end.map_err(|why| why.code),
        }
    };
    assert_eq!(refused, Err(Code::Backpressure), "after {asked}");
    world.settle();
    assert!(world.nodes[0].state.follow(journal, FollowWish::default()).is_ok());
}

#[test]
fn what_a_node_has_appended_behind_a_place_is_told_for_one_journal() {
    let mut world = World::new(1);
    let put = |world: &mut World, journal: &str, commands: &[&str]| {
        let commands: Vec<_> = commands.iter().map(|command| (Encoding::Text, command.as_bytes())).collect();
        world.nodes[0].state.append(&name(journal), commands.into_iter(), None).unwrap()
    };
    let first = put(&mut world, "todo", &["a", "b"]);
    assert_eq!(answer(&mut world, 0, first), Ok(1));
    let other = put(&mut world, "plan", &["p"]);
    assert_eq!(answer(&mut world, 0, other), Ok(1));
    world.hold = true;
    put(&mut world, "todo", &["c"]);
    world.settle();
    let behind = |journal: &str, place| {
        let commands = world.nodes[0].state.commands_behind(&name(journal), place);
        let shown = |(first, command): (bool, convoke_core::Payload)| {
            (first, String::from_utf8(command.bytes.to_vec()).unwrap())
        };
        commands.into_iter().map(shown).collect::<Vec<_>>()
    };
    let [a, b, c, p] =
        [(true, "a"), (false, "b"), (true, "c"), (true, "p")].map(|(first, text)| (first, text.to_owned()));
    assert_eq!(behind("todo", 0), [a, b.clone(), c.clone()]);
    assert_eq!(behind("todo", 1), [b, c.clone()]);
    assert_eq!(behind("todo", 2), [c]);
    assert_eq!(behind("plan", 0), [p]);
    assert_eq!(behind("plan", 1), []);
}

/// The topics of the events that a node has got.
fn events(world: &mut World, who: usize, id: u32) -> Vec<String> {
    let mut got = Vec::new();
    while let Some(next) = world.nodes[who].state.take(id) {
        match next {
            Delivery::Run(run) => got.extend(run.map(|event| event.topic().to_string())),
            Delivery::Event(event) => got.push(event.topic().to_string()),
            other => panic!("{other:?}"),
        }
    }
    got
}

#[test]
fn an_event_goes_to_no_hub_that_it_has_come_from() {
    let mut world = World::new(1);
    let uplink = |world: &mut World, of: &str| {
        let mut config = NodeConfig::new(name(of));
        config.uplink = true;
        world.join(config, Peer::Owner)
    };
    let (one, other) = (uplink(&mut world, "hub/one"), uplink(&mut world, "hub/other"));
    let subscribe = |who: usize| {
        let id = world.nodes[who].state.subscribe(Pattern::parse("#").unwrap(), None);
        (who, id.unwrap())
    };
    let all = [0, one, other].map(subscribe);
    world.settle();
    // The number of the hub is the one that the world has, or that of another.
    for (topic, hub) in [("own", [1; 16]), ("others", [9; 16])] {
        let (encoding, headers) = (Encoding::Text, &Headers::new());
        let what = Publication { name: topic, encoding, payload: b"1", headers };
        world.nodes[one].state.pass_on(what, EventOrigin { hub, epoch: 1, number: 1 }).unwrap();
        world.settle();
    }
    let got = all.map(|(who, id)| events(&mut world, who, id));
    assert_eq!(got, [vec!["others"], vec![], vec!["others"]]);
    assert_eq!(world.hub.counters().dropped(Dropped::Echoes), 1, "its own has come back");
}
