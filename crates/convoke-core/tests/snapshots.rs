//! Snapshots of journals, and entries that are not kept any more.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod pair;

use std::time::Duration;

use convoke_core::frame::{Back, Change, FollowAs, Piece, Terms};
use convoke_core::journal::Strategy;
use convoke_core::limits::{ENTRIES_COMPACTED_MAX, SNAPSHOT_BYTES_MAX, SNAPSHOT_TOLD_TIME_MAX, UPLOAD_IDLE_TIME_MAX};
use convoke_core::node::{FollowWish, Followed};
use convoke_core::report::JournalReport;
use convoke_core::{Code, Encoding, HubConfig, Membership, Name, NodeConfig, Pattern, Peer, TokenKey};
use pair::World;

/// The tables of entries and of pieces.
const ENTRIES: u8 = 0x80;
const PIECES: u8 = 0x81;

/// Who begins with any snapshot.
const ANY: FollowWish = FollowWish {
    after: 0,
    hash: [0; 16],
    follow_as: FollowAs::Observer,
    strategy: None,
    snapshot_max: u64::MAX,
    verify: true,
};

/// Who reads every entry.
const RAW: FollowWish = FollowWish { snapshot_max: 0, ..ANY };

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Appends so many commands to a journal that compensates, so that its snapshots lie at its end.
fn append(world: &mut World, who: usize, journal: &str, count: usize) -> u64 {
    let mut last = 0;
    for start in (0..count).step_by(256) {
        let commands = vec![(Encoding::Text, &b"a"[..]); 256.min(count - start)];
        let terms = Terms::new(Some(Strategy::Compensate), false, None);
        let len = commands.len() as u64;
        let id = world.nodes[who].state.append_on(&name(journal), commands.into_iter(), None, terms).unwrap();
        last = world.answered(who, id).unwrap().0 + len - 1;
    }
    last
}

fn follow(world: &mut World, who: usize, journal: &str, wish: FollowWish) -> u32 {
    let id = world.nodes[who].state.follow(name(journal), wish).unwrap();
    world.settle();
    id
}

/// The bytes of a snapshot, of which a failure shows the length only.
#[derive(Clone, PartialEq)]
struct State(Vec<u8>);

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

fn base(seq: u64, state: &[u8]) -> Got {
    Got::Base(seq, State(state.to_vec()))
}

/// What a follower was told.
#[derive(Clone, Debug, PartialEq)]
enum Got {
    Entries(u64, u64),
    Base(u64, State),
    Compacted(u64),
    Ended(Code),
}

/// Takes all that has come. Entries that follow one another are one.
fn taken(world: &mut World, who: usize, id: u32) -> Vec<Got> {
    let mut all = Vec::new();
    while let Some(next) = world.nodes[who].state.take_entry(id) {
        match next {
            Followed::Entry(entry, _) => match all.last_mut() {
                Some(Got::Entries(_, last)) if *last + 1 == entry.seq => *last = entry.seq,
                _ => all.push(Got::Entries(entry.seq, entry.seq)),
            },
            Followed::Base { seq, state } => all.push(Got::Base(seq, State(state))),
            Followed::Compacted { first } => all.push(Got::Compacted(first)),
            Followed::Ended(why) => all.push(Got::Ended(why.code)),
        }
        world.settle();
    }
    all
}

/// The last entry that a node knows, and its hash.
fn known(world: &mut World, who: usize, journal: &str) -> (u64, [u8; 16]) {
    let id = follow(world, who, journal, RAW);
    taken(world, who, id);
    let known = world.nodes[who].state.taken_hash(id).unwrap();
    world.nodes[who].state.unfollow(id);
    world.settle();
    known
}

/// Something that is a snapshot to the hub.
fn state(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place % 251) as u8).collect()
}

fn push(world: &mut World, who: usize, journal: &str, piece: Piece<'_>) -> Result<(u64, u32), Code> {
    let id = world.nodes[who].state.upload(&name(journal), piece).unwrap();
    world.answered(who, id)
}

fn begin(world: &mut World, who: usize, journal: &str, seq: u64, total: usize) -> Result<(u64, u32), Code> {
    let (known, hash) = known(world, who, journal);
    push(world, who, journal, Piece { seq, known, hash, total: total as u64, offset: 0, bytes: &[] })
}

/// Uploads what is behind a place.
fn go_on(world: &mut World, who: usize, journal: &str, seq: u64, bytes: &[u8]) -> Result<(u64, u32), Code> {
    let mut last = Err(Code::BadRequest);
    let step = world.nodes[who].state.snapshot_piece_bytes();
    for (place, piece) in bytes.chunks(step).enumerate() {
        let (total, offset) = (bytes.len() as u64, (place * step) as u64);
        last = Ok(push(world, who, journal, Piece { seq, known: seq, hash: [0; 16], total, offset, bytes: piece })?);
    }
    last
}

fn upload(world: &mut World, who: usize, journal: &str, seq: u64, bytes: &[u8]) -> Result<(u64, u32), Code> {
    begin(world, who, journal, seq, bytes.len())?;
    go_on(world, who, journal, seq, bytes)
}

fn compact(world: &mut World, who: usize, journal: &str, keep: u64) -> Result<(u64, u32), Code> {
    let id = world.nodes[who].state.compact(&name(journal), u64::MAX, keep).unwrap();
    world.answered(who, id)
}

#[test]
fn who_knows_nothing_begins_with_the_snapshot_and_goes_on_behind_it() {
    let mut world = World::new(3);
    append(&mut world, 0, "press", 20);
    let bytes = state(700_000);
    assert_eq!(upload(&mut world, 0, "press", 20, &bytes), Ok((20, 1)));
    append(&mut world, 0, "press", 5);
    let replica = follow(&mut world, 1, "press", ANY);
    assert_eq!(taken(&mut world, 1, replica), [base(20, &bytes), Got::Entries(21, 25)]);
    assert_eq!(world.nodes[1].state.follows_up_to(replica), Some(25));
    let raw = follow(&mut world, 2, "press", RAW);
    assert_eq!(taken(&mut world, 2, raw), [Got::Entries(1, 25)], "whoever wants all gets all");
    let executor = follow(&mut world, 2, "press", FollowWish { snapshot_max: 19, ..ANY });
    assert_eq!(taken(&mut world, 2, executor), [Got::Entries(1, 25)], "it has not handled entry 20");
    let executor = follow(&mut world, 2, "press", FollowWish { snapshot_max: 20, ..ANY });
    assert_eq!(taken(&mut world, 2, executor), [base(20, &bytes), Got::Entries(21, 25)]);
    let resumed = follow(&mut world, 2, "press", FollowWish { after: 10, ..ANY });
    assert_eq!(taken(&mut world, 2, resumed), [Got::Entries(11, 25)], "whoever knows some goes on with entries");
    // Over the hub's end it stays.
    world.restart_hub();
    let replica = follow(&mut world, 2, "press", ANY);
    assert_eq!(taken(&mut world, 2, replica), [base(20, &bytes), Got::Entries(21, 25)]);
}

#[test]
fn the_newest_snapshot_is_the_one_that_counts() {
    let mut world = World::new(2);
    append(&mut world, 0, "press", 20);
    upload(&mut world, 0, "press", 10, &state(600_000)).unwrap();
    assert_eq!(world.rows_kept(PIECES), 3);
    assert_eq!(upload(&mut world, 0, "press", 10, b"later"), Err(Code::Conflict));
    assert_eq!(upload(&mut world, 1, "press", 9, b"older"), Err(Code::Conflict));
    assert_eq!(upload(&mut world, 1, "press", 12, b"newer"), Ok((12, 1)));
    assert_eq!(world.rows_kept(PIECES), 1, "nothing is left of the one before");
    let replica = follow(&mut world, 1, "press", ANY);
    assert_eq!(taken(&mut world, 1, replica), [base(12, b"newer"), Got::Entries(13, 20)]);
    // What was undone up to entry 20 is undone in it: before that it is not what the journal was there.
    let exact = follow(&mut world, 1, "press", FollowWish { snapshot_max: 19, ..ANY });
    assert_eq!(taken(&mut world, 1, exact), [Got::Entries(1, 20)]);
}

/// Lets the hub write what it has for a node that reads nothing, and what it reads for it meanwhile.
fn waiting(world: &mut World, who: usize) -> usize {
    let World { hub, nodes, .. } = &mut *world;
    let bytes = nodes[who].waiting_bytes(hub);
    world.settle();
    bytes
}

#[test]
fn who_is_told_a_snapshot_when_a_newer_one_comes_begins_anew_with_that() {
    let mut world = World::new(2);
    append(&mut world, 0, "press", 20);
    upload(&mut world, 0, "press", 10, &state(4 << 20)).unwrap();
    // It was under way before.
    begin(&mut world, 0, "press", 15, 5).unwrap();
    world.nodes[1].deaf = true;
    let replica = follow(&mut world, 1, "press", ANY);
    waiting(&mut world, 1);
    let waiting = waiting(&mut world, 1);
    assert!((1 << 16..2 << 20).contains(&waiting), "{waiting} bytes of a snapshot wait at once");
    assert_eq!(go_on(&mut world, 0, "press", 15, b"newer"), Ok((15, 1)));
    world.nodes[1].deaf = false;
    world.settle();
    assert_eq!(taken(&mut world, 1, replica), [base(15, b"newer"), Got::Entries(16, 20)]);
}

/// Somebody slow is told a snapshot while another node tries, after whatever it takes, to upload a newer one. Gives what it
/// got, and how often a newer one was refused.
fn told_slowly(world: &mut World, bytes: &[u8], mut step: impl FnMut(&mut World, usize)) -> (Vec<Got>, usize) {
    world.nodes[1].deaf = true;
    let (replica, mut refused) = (follow(world, 1, "press", ANY), 0);
    for steps in 1..1000 {
        world.reads_once(1);
        let got = taken(world, 1, replica);
        if !got.is_empty() {
            return (got, refused);
        }
        let seq = append(world, 0, "press", 1);
        // The last of it is on its way when the hub has told it all.
        match upload(world, 0, "press", seq, bytes) {
            Ok(_) => {}
            Err(why) => refused += usize::from(why == Code::Conflict),
        }
        step(world, steps);
    }
    panic!("it is never told the whole");
}

#[test]
fn who_is_slow_comes_to_an_end_with_a_snapshot_whatever_is_uploaded_meanwhile() {
    for (restarts, halves) in [(false, false), (true, false), (false, true)] {
        let mut world = World::new(3);
        append(&mut world, 0, "press", 20);
        let bytes = state(4 << 20);
        upload(&mut world, 0, "press", 20, &bytes).unwrap();
        if halves {
            append(&mut world, 0, "press", 1);
            begin(&mut world, 2, "press", 21, bytes.len()).unwrap();
        }
        let seq = if halves { 21 } else { 20 };
        let (got, refused) = told_slowly(&mut world, &bytes, |world, step| {
            if restarts && step == 3 {
                world.restart_hub();
            }
            if halves && step == 5 {
                // It was under way before, and nothing else can be from then on.
                assert_eq!(go_on(world, 2, "press", 21, &bytes), Ok((21, 1)));
            }
        });
        match &got[0] {
            // Until it has asked again, newer ones are taken.
            Got::Base(seq, state) if restarts => assert!((20..30).contains(seq) && state.0 == bytes, "{got:?}"),
            first => assert_eq!(*first, base(seq, &bytes)),
        }
        assert!((8..60).contains(&refused), "{refused} were refused");
        // And then a newer one is taken again.
        world.nodes[1].deaf = false;
        let seq = append(&mut world, 0, "press", 1);
        assert_eq!(upload(&mut world, 0, "press", seq, b"newer"), Ok((seq, 1)));
        let late = follow(&mut world, 2, "press", ANY);
        assert_eq!(taken(&mut world, 2, late), [base(seq, b"newer")]);
    }
}

#[test]
fn who_takes_nothing_of_a_snapshot_does_not_keep_newer_ones_away_for_ever() {
    let membership = Membership { beat: Duration::ZERO, beat_attentive: Duration::ZERO, ..Membership::default() };
    let mut world = World::with(2, HubConfig { membership, ..HubConfig::default() });
    append(&mut world, 0, "press", 20);
    upload(&mut world, 0, "press", 10, &state(4 << 20)).unwrap();
    world.nodes[1].deaf = true;
    let replica = follow(&mut world, 1, "press", ANY);
    waiting(&mut world, 1);
    for seq in 11..20 {
        assert_eq!(upload(&mut world, 0, "press", seq, b"newer"), Err(Code::Conflict));
        world.now = world.now + SNAPSHOT_TOLD_TIME_MAX / 10;
        world.hub.tick(world.now);
        world.takes(1, true);
    }
    world.now = world.now + SNAPSHOT_TOLD_TIME_MAX / 10;
    assert_eq!(upload(&mut world, 0, "press", 15, &state(4 << 20)), Ok((15, 1)));
    (0..2).for_each(|_| world.reads_once(1));
    assert_eq!(upload(&mut world, 0, "press", 16, b"newer"), Err(Code::Conflict), "it has time for that one too");
    world.nodes[1].deaf = false;
    world.settle();
    assert_eq!(taken(&mut world, 1, replica), [base(15, &state(4 << 20)), Got::Entries(16, 20)]);
    assert_eq!(upload(&mut world, 0, "press", 16, b"newer"), Ok((16, 1)));
}

#[test]
fn only_who_knows_the_same_journal_uploads() {
    let mut world = World::new(1);
    append(&mut world, 0, "press", 20);
    let (known, hash) = known(&mut world, 0, "press");
    let piece = Piece { seq: 10, known, hash, total: 4, offset: 0, bytes: &[] };
    let with = |hash, known, seq| Piece { hash, known, seq, ..piece };
    assert_eq!(push(&mut world, 0, "press", with([9; 16], 20, 10)), Err(Code::Diverged));
    assert_eq!(push(&mut world, 0, "press", with(hash, 19, 10)), Err(Code::Diverged));
    assert_eq!(push(&mut world, 0, "press", with(hash, 21, 10)), Err(Code::Diverged), "a longer one");
    assert_eq!(push(&mut world, 0, "press", with(hash, 20, 0)), Err(Code::BadRequest), "behind nothing");
    assert_eq!(push(&mut world, 0, "other", piece), Err(Code::Diverged));
    // After a start no entry is in memory: then it is read.
    world.restart_hub();
    append(&mut world, 0, "press", 1);
    assert_eq!(push(&mut world, 0, "press", with([9; 16], 20, 10)), Err(Code::Diverged));
    assert_eq!(push(&mut world, 0, "press", piece), Ok((10, 0)));
}

#[test]
fn what_can_still_be_undone_is_in_no_snapshot() {
    let mut world = World::new(1);
    let commands = vec![(Encoding::Text, &b"a"[..]); 3];
    let id = world.nodes[0].state.append(&name("todo"), commands.into_iter(), None).unwrap();
    world.answered(0, id).unwrap();
    assert_eq!(begin(&mut world, 0, "todo", 1, 10), Err(Code::BadRequest));
    // Of a journal that is long enough, what is far back cannot.
    let long = vec![7; 256 << 10];
    for _ in 0..260 {
        let commands = [(Encoding::Raw, &long[..])];
        let id = world.nodes[0].state.append(&name("todo"), commands.into_iter(), None).unwrap();
        world.answered(0, id).unwrap();
    }
    assert_eq!(upload(&mut world, 0, "todo", 3, b"state"), Ok((3, 1)));
    assert_eq!(upload(&mut world, 0, "todo", 8, b"state"), Err(Code::BadRequest));
    let target = Back { everyone: true, target: Some(1), expect_top: None };
    for restarts in [false, true] {
        if restarts {
            world.restart_hub();
        }
        let id = world.nodes[0].state.undo(&name("todo"), target).unwrap();
        assert_eq!(world.answered(0, id), Err(Code::UndoHorizon), "after a start: {restarts}");
    }
}

#[test]
fn pieces_come_in_order_all_equally_long() {
    let mut world = World::new(2);
    append(&mut world, 0, "press", 20);
    let piece = Piece { seq: 10, known: 10, hash: [0; 16], total: 20_000, offset: 0, bytes: &state(8192) };
    assert_eq!(push(&mut world, 0, "press", piece), Err(Code::Conflict), "nothing was begun");
    begin(&mut world, 0, "press", 10, 20_000).unwrap();
    let bad = [
        Piece { offset: 8192, ..piece },
        Piece { total: 20_001, ..piece },
        Piece { bytes: &state(100), ..piece },
        Piece { bytes: &state(30_000), ..piece },
    ];
    for bad in bad {
        assert_eq!(
            push(&mut world, 0, "press", bad),
            Err(Code::BadRequest),
            "{} bytes from {}",
            bad.bytes.len(),
            bad.offset
        );
    }
    assert_eq!(push(&mut world, 1, "press", piece), Err(Code::Conflict), "it is not that node's");
    assert_eq!(push(&mut world, 0, "press", piece), Ok((10, 0)));
    assert_eq!(push(&mut world, 0, "press", piece), Err(Code::BadRequest), "it is there");
    let second = Piece { offset: 8192, ..piece };
    assert_eq!(push(&mut world, 0, "press", Piece { bytes: &state(8000), ..second }), Err(Code::BadRequest));
    assert_eq!(push(&mut world, 0, "press", second), Ok((10, 0)));
    let last = Piece { offset: 16_384, bytes: &state(3616), ..piece };
    assert_eq!(push(&mut world, 0, "press", last), Ok((10, 1)));
    let longest = SNAPSHOT_BYTES_MAX;
    assert_eq!(begin(&mut world, 0, "press", 11, longest), Ok((11, 0)));
}

#[test]
fn an_upload_that_nobody_goes_on_with_gives_way() {
    let mut world = World::new(3);
    append(&mut world, 0, "press", 20);
    begin(&mut world, 0, "press", 10, 600_000).unwrap();
    let bytes = state(600_000);
    let step = world.nodes[0].state.snapshot_piece_bytes();
    let first = Piece { seq: 10, known: 10, hash: [0; 16], total: 600_000, offset: 0, bytes: &bytes[..step] };
    push(&mut world, 0, "press", first).unwrap();
    assert_eq!(begin(&mut world, 1, "press", 10, 600_000), Err(Code::Conflict), "somebody is uploading that");
    assert_eq!(
        begin(&mut world, 1, "press", 11, 600_000),
        Err(Code::Conflict),
        "and a newer one would keep it from its end"
    );
    // When its maker is not there a newer one goes before it, and the older one's maker hears of that.
    let (known, hash) = known(&mut world, 1, "press");
    world.detach(0);
    let newer = Piece { seq: 11, known, hash, total: 5, offset: 0, bytes: &[] };
    world.nodes[1].state.upload(&name("press"), newer).unwrap();
    world.pass(1);
    assert_eq!(go_on(&mut world, 1, "press", 11, b"newer"), Ok((11, 1)));
    assert_eq!(push(&mut world, 0, "press", Piece { offset: step as u64, ..first }), Err(Code::Conflict));
    assert_eq!(world.rows_kept(PIECES), 1, "the half is gone");
    begin(&mut world, 0, "press", 15, 600_000).unwrap();
    push(&mut world, 0, "press", Piece { seq: 15, ..first }).unwrap();
    assert_eq!(world.rows_kept(PIECES), 2);
    // And one that was given up, also by a program that has ended, and over the hub's end.
    let now = world.now;
    world.nodes[0].state.leave(now);
    world.restart_hub();
    assert_eq!(begin(&mut world, 2, "press", 12, 5), Err(Code::Conflict));
    world.now = world.now + UPLOAD_IDLE_TIME_MAX + Duration::from_secs(1);
    world.hub.tick(world.now);
    assert_eq!(upload(&mut world, 2, "press", 12, b"other"), Ok((12, 1)));
    assert_eq!(world.rows_kept(PIECES), 1);
}

#[test]
fn of_several_that_upload_one_after_the_other_comes_to_an_end() {
    let mut world = World::new(3);
    append(&mut world, 0, "press", 20);
    let bytes = state(600_000);
    let step = world.nodes[0].state.snapshot_piece_bytes();
    for who in [0, 1, 0] {
        let seq = append(&mut world, 2, "press", 5);
        assert_eq!(begin(&mut world, who, "press", seq, bytes.len()), Ok((seq, 0)));
        for (place, piece) in bytes.chunks(step).enumerate() {
            let newer = append(&mut world, 2, "press", 5);
            assert_eq!(
                begin(&mut world, 1 - who, "press", newer, 5),
                Err(Code::Conflict),
                "{who} has not come to its end"
            );
            let (total, offset) = (bytes.len() as u64, (place * step) as u64);
            let piece = Piece { seq, known: seq, hash: [0; 16], total, offset, bytes: piece };
            let ends = u32::from(offset + step as u64 >= total);
            assert_eq!(push(&mut world, who, "press", piece), Ok((seq, ends)));
        }
    }
}

#[test]
fn who_uploads_begins_anew_without_waiting() {
    let mut world = World::new(1);
    append(&mut world, 0, "press", 20);
    let bytes = state(600_000);
    begin(&mut world, 0, "press", 10, 600_000).unwrap();
    push(
        &mut world,
        0,
        "press",
        Piece { seq: 10, known: 0, hash: [0; 16], total: 600_000, offset: 0, bytes: &bytes[..9000] },
    )
    .unwrap();
    assert_eq!(upload(&mut world, 0, "press", 10, &bytes), Ok((10, 1)));
    assert_eq!(world.rows_kept(PIECES), 3);
    // What is still on its way of one that it has given up does not get into the next.
    for seq in [12, 15] {
        assert_eq!(begin(&mut world, 0, "press", seq, 600_000), Ok((seq, 0)));
    }
    let piece = Piece { seq: 12, known: 0, hash: [0; 16], total: 600_000, offset: 0, bytes: &bytes[..9000] };
    assert_eq!(push(&mut world, 0, "press", piece), Err(Code::Conflict));
    assert_eq!(push(&mut world, 0, "press", Piece { seq: 15, ..piece }), Ok((15, 0)));
}

#[test]
fn killed_at_any_step_an_upload_is_whole_in_the_end() {
    let bytes = state(600_000);
    let mut steps = 0;
    loop {
        let mut world = World::new(2);
        append(&mut world, 0, "press", 20);
        upload(&mut world, 0, "press", 5, b"before").unwrap();
        let (known, hash) = known(&mut world, 0, "press");
        world.kill_after = Some(steps);
        let piece = Piece { seq: 10, known, hash, total: bytes.len() as u64, offset: 0, bytes: &[] };
        push(&mut world, 0, "press", piece).unwrap();
        assert_eq!(go_on(&mut world, 0, "press", 10, &bytes), Ok((10, 1)), "killed at {steps}");
        let was_killed = world.kill_after.is_none();
        world.restart_hub();
        let replica = follow(&mut world, 1, "press", ANY);
        assert_eq!(taken(&mut world, 1, replica), [base(10, &bytes), Got::Entries(11, 20)], "killed at {steps}");
        assert_eq!(world.rows_kept(PIECES), 3, "killed at {steps}");
        if !was_killed {
            assert!(steps >= 8, "{steps} steps");
            return;
        }
        steps += 1;
    }
}

#[test]
fn without_a_snapshot_nothing_goes() {
    let mut world = World::new(1);
    assert_eq!(compact(&mut world, 0, "press", 0), Err(Code::BadRequest), "there is no journal");
    append(&mut world, 0, "press", 20);
    assert_eq!(compact(&mut world, 0, "press", 0), Err(Code::Conflict));
    begin(&mut world, 0, "press", 10, 5).unwrap();
    assert_eq!(compact(&mut world, 0, "press", 0), Err(Code::Conflict), "half of one is none");
    assert_eq!(world.rows_kept(ENTRIES), 20);
}

/// What the hub tells of a journal.
fn report(world: &mut World, who: usize, journal: &str) -> JournalReport {
    let pattern = Pattern::parse(&format!("$hub/journals/{journal}/followers")).unwrap();
    world.nodes[who].state.get(pattern).unwrap();
    world.settle();
    let (_, got) = world.nodes[who].state.got().pop().expect("it is answered");
    let payload = got.unwrap().pop().unwrap().payload.unwrap();
    serde_json::from_slice(&payload.bytes).unwrap()
}

#[test]
fn entries_that_a_snapshot_stands_for_go_when_that_is_asked_for() {
    let mut world = World::new(3);
    append(&mut world, 0, "press", 20);
    upload(&mut world, 0, "press", 15, b"state").unwrap();
    assert_eq!(compact(&mut world, 0, "press", 5), Ok((11, 10)));
    assert_eq!(compact(&mut world, 0, "press", 5), Ok((11, 0)), "there is nothing more to go");
    assert_eq!(compact(&mut world, 0, "press", 100), Ok((11, 0)));
    assert_eq!(world.rows_kept(ENTRIES), 10);
    let told = report(&mut world, 2, "press");
    assert_eq!((told.first, told.snapshot, told.last), (11, 15, 20));
    let raw = follow(&mut world, 1, "press", RAW);
    assert_eq!(taken(&mut world, 1, raw), [Got::Compacted(11), Got::Entries(11, 20)]);
    let replica = follow(&mut world, 1, "press", ANY);
    assert_eq!(taken(&mut world, 1, replica), [base(15, b"state"), Got::Entries(16, 20)]);
    let late = follow(&mut world, 1, "press", FollowWish { snapshot_max: 9, ..ANY });
    assert_eq!(taken(&mut world, 1, late), [Got::Compacted(11), Got::Entries(11, 20)]);
    assert_eq!(compact(&mut world, 2, "press", 0), Ok((16, 5)));
    world.restart_hub();
    append(&mut world, 0, "press", 1);
    assert_eq!(taken(&mut world, 1, raw), [Got::Entries(21, 21)], "one more follows as ever");
    for wish in [RAW, ANY] {
        let id = follow(&mut world, 2, "press", wish);
        let begins = if wish == RAW { Got::Compacted(16) } else { base(15, b"state") };
        assert_eq!(taken(&mut world, 2, id), [begins, Got::Entries(16, 21)]);
    }
    assert_eq!(upload(&mut world, 0, "press", 14, b"older"), Err(Code::Compacted));
}

#[test]
fn who_has_made_a_snapshot_where_entries_are_gone_is_told_why_it_is_not_taken() {
    let mut world = World::new(1);
    append(&mut world, 0, "press", 10);
    let (known, hash) = known(&mut world, 0, "press");
    append(&mut world, 0, "press", 10);
    upload(&mut world, 0, "press", 15, b"state").unwrap();
    assert_eq!(compact(&mut world, 0, "press", 5), Ok((11, 10)));
    // What is in memory is known beyond that.
    world.restart_hub();
    let piece = Piece { seq: known, known, hash, total: 5, offset: 0, bytes: &[] };
    assert_eq!(push(&mut world, 0, "press", piece), Err(Code::Conflict), "there is a newer one");
    assert_eq!(push(&mut world, 0, "press", Piece { hash: [9; 16], ..piece }), Err(Code::Diverged));
    assert_eq!(push(&mut world, 0, "press", Piece { seq: 9, known: 9, ..piece }), Err(Code::Compacted));
}

#[test]
fn very_many_entries_go_in_parts() {
    let mut world = World::new(2);
    let last = append(&mut world, 0, "press", 25_000);
    upload(&mut world, 0, "press", last, b"state").unwrap();
    let most = ENTRIES_COMPACTED_MAX as u32;
    assert_eq!(compact(&mut world, 0, "press", 0), Ok((u64::from(most) + 1, most)));
    assert_eq!(compact(&mut world, 0, "press", 0), Ok((2 * u64::from(most) + 1, most)));
    assert_eq!(compact(&mut world, 0, "press", 0), Ok((25_001, 5_000)));
    assert_eq!(world.rows_kept(ENTRIES), 0);
    let raw = follow(&mut world, 1, "press", RAW);
    assert_eq!(taken(&mut world, 1, raw), [Got::Compacted(25_001)]);
    append(&mut world, 0, "press", 2);
    assert_eq!(taken(&mut world, 1, raw), [Got::Entries(25_001, 25_002)]);
}

#[test]
fn killed_at_any_step_entries_are_gone_once_and_the_rest_is_whole() {
    let mut steps = 0;
    loop {
        let mut world = World::new(2);
        append(&mut world, 0, "press", 40);
        upload(&mut world, 0, "press", 30, b"state").unwrap();
        world.restart_hub();
        world.kill_after = Some(steps);
        assert_eq!(compact(&mut world, 0, "press", 10), Ok((21, 20)), "killed at {steps}");
        assert_eq!(compact(&mut world, 0, "press", 0), Ok((31, 10)), "killed at {steps}");
        let was_killed = world.kill_after.is_none();
        world.restart_hub();
        assert_eq!(world.rows_kept(ENTRIES), 10, "killed at {steps}");
        append(&mut world, 0, "press", 1);
        let raw = follow(&mut world, 1, "press", RAW);
        assert_eq!(taken(&mut world, 1, raw), [Got::Compacted(31), Got::Entries(31, 41)], "killed at {steps}");
        if !was_killed {
            assert!(steps >= 5, "{steps} steps");
            return;
        }
        steps += 1;
    }
}

/// A follower that has come to entry 10 of 20 and is away while entries go; what it is told when it comes back.
fn comes_back(snapshot_max: u64, snapshot: u64, hash: Option<[u8; 16]>) -> Vec<Got> {
    let mut world = World::new(2);
    append(&mut world, 0, "press", 10);
    let (_, known) = known(&mut world, 1, "press");
    append(&mut world, 0, "press", 10);
    upload(&mut world, 0, "press", snapshot, b"state").unwrap();
    compact(&mut world, 0, "press", 0).unwrap();
    world.restart_hub();
    let wish = FollowWish { after: 10, hash: hash.unwrap_or(known), snapshot_max, ..ANY };
    let id = follow(&mut world, 1, "press", wish);
    taken(&mut world, 1, id)
}

#[test]
fn who_comes_back_behind_entries_that_are_gone_is_told_or_gets_the_state() {
    assert_eq!(comes_back(0, 15, None), [Got::Compacted(16), Got::Entries(16, 20)]);
    assert_eq!(comes_back(u64::MAX, 15, None), [base(15, b"state"), Got::Entries(16, 20)]);
    assert_eq!(comes_back(0, 15, Some([9; 16])), [Got::Compacted(16), Got::Entries(16, 20)], "nobody knows");
    for snapshot_max in [0, u64::MAX] {
        assert_eq!(comes_back(snapshot_max, 10, None), [Got::Entries(11, 20)], "it lacks nothing");
        assert_eq!(comes_back(snapshot_max, 10, Some([9; 16])), [Got::Ended(Code::Diverged)]);
        assert_eq!(comes_back(snapshot_max, 9, None), [Got::Entries(11, 20)]);
        assert_eq!(comes_back(snapshot_max, 9, Some([9; 16])), [Got::Ended(Code::Diverged)]);
    }
}

#[test]
fn entries_that_go_while_somebody_is_slow_are_told_as_gone() {
    for (snapshot_max, expected) in [(0, Got::Compacted(30_001)), (u64::MAX, base(30_000, b"state"))] {
        let mut world = World::new(2);
        append(&mut world, 0, "press", 1);
        let id = follow(&mut world, 1, "press", FollowWish { snapshot_max, ..ANY });
        assert_eq!(taken(&mut world, 1, id), [Got::Entries(1, 1)]);
        world.nodes[1].deaf = true;
        append(&mut world, 0, "press", 39_999);
        waiting(&mut world, 1);
        upload(&mut world, 0, "press", 30_000, b"state").unwrap();
        while compact(&mut world, 0, "press", 0).unwrap().1 > 0 {}
        world.nodes[1].deaf = false;
        world.settle();
        let got = taken(&mut world, 1, id);
        let [Got::Entries(2, before), gone, Got::Entries(30_001, 40_000)] = &got[..] else { panic!("{got:?}") };
        assert!(*before < 30_000 && *gone == expected, "{got:?}");
    }
}

#[test]
fn a_right_of_its_own_is_asked_for_both() {
    let mut world = World::new(1);
    append(&mut world, 0, "press", 20);
    let key = || TokenKey::from_bytes([8; 32]);
    let rules = vec!["execute,undo,follow #", "join cam", "snapshot plan"];
    world.nodes[0].state.grant(&name("cam"), &Change::Create { key: Some(key()), rules }).unwrap();
    world.settle();
    let mut config = NodeConfig::new(name("cam"));
    config.token = Some((name("cam"), key()));
    let who = world.join(config, Peer::Stranger);
    assert_eq!(begin(&mut world, who, "press", 10, 5), Err(Code::Forbidden));
    assert_eq!(compact(&mut world, who, "press", 0), Err(Code::Forbidden));
    append(&mut world, who, "plan", 5);
    assert_eq!(upload(&mut world, who, "plan", 5, b"state"), Ok((5, 1)));
    assert_eq!(compact(&mut world, who, "plan", 0), Ok((6, 5)));
}

#[test]
fn what_was_changed_where_it_is_kept_is_told_to_who_verifies() {
    let mut world = World::new(2);
    append(&mut world, 0, "press", 5);
    world.restart_hub();
    world.flip(ENTRIES, 2);
    let links = world.nodes[1].links;
    let id = follow(&mut world, 1, "press", RAW);
    assert_eq!(taken(&mut world, 1, id), [Got::Entries(1, 2), Got::Ended(Code::StorageFailed)]);
    assert_eq!(world.nodes[1].links, links, "what is on its way behind it hurts nobody");
    // The first on each link is looked at in any case.
    let trusting = FollowWish { verify: false, ..RAW };
    let id = follow(&mut world, 1, "press", FollowWish { after: 2, ..trusting });
    assert_eq!(
        taken(&mut world, 1, id),
        [Got::Entries(3, 5)],
        "of an entry whose hash it does not know nothing is known"
    );
    let id = follow(&mut world, 1, "press", trusting);
    assert_eq!(taken(&mut world, 1, id), [Got::Entries(1, 5)]);
}
