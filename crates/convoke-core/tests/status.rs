//! What a program is told about what an earlier one of its name has sent, in every order of what can happen.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod pair;

use convoke_core::foundation::{Ask, Told};
use convoke_core::frame::{Back, Change, Expect, Incarnation, Item, Set};
use convoke_core::limits::{STATUS_RETRY_TIME, STATUSES_MAX};
use convoke_core::node::{Became, Note};
use convoke_core::{Code, Encoding, HubConfig, Name, NodeConfig, OpId, Peer, Refusal, Rev, Standing, TokenKey};
use pair::World;

/// The table of values.
const VALUES: u8 = 1;

fn set<'a>(name: &'a str, expect: Expect) -> Item<'a> {
    let set = Set { encoding: Encoding::Text, payload: b"1", ttl_ms: 0, ephemeral: false };
    Item { name: name.as_bytes(), every: false, expect, set: Some(set) }
}

fn config() -> NodeConfig {
    NodeConfig::new(Name::parse("node/0").unwrap())
}

fn journal() -> Name {
    Name::parse("todo").unwrap()
}

fn op(incarnation: Incarnation, cseq: u64) -> OpId {
    OpId { history: [2; 16], incarnation, journal: false, cseq }
}

/// The first program writes, and is gone without a word. Tells what it was.
fn first(world: &mut World, items: &[&[Item<'_>]]) -> Incarnation {
    let incarnation = world.nodes[0].state.welcome().incarnation;
    for items in items {
        world.nodes[0].state.write(items).unwrap();
    }
    world.settle();
    crash(world, 0);
    incarnation
}

fn crash(world: &mut World, who: usize) {
    world.nodes[who].refused = Some(Refusal::new(Code::Unknown, "its program has crashed"));
    world.detach(who);
}

/// The next program of its name.
fn next(world: &mut World) -> usize {
    world.join(config(), Peer::Owner)
}

/// What is told, if anything is told yet.
fn ask(world: &mut World, who: usize, op: OpId) -> Option<Became> {
    let id = world.nodes[who].state.status(op).unwrap();
    world.settle();
    take(world, who, id)
}

fn take(world: &mut World, who: usize, id: u32) -> Option<Became> {
    let answers = world.nodes[who].state.answers();
    let (_, answer) = answers.into_iter().find(|(of, _)| *of == id)?;
    answer.unwrap();
    world.nodes[who].state.take_status(id)
}

fn done(n: u64) -> Option<Became> {
    Some(Became::Done { rev: Rev::durable(n), count: 1 })
}

fn not_done(became: Option<Became>) -> Code {
    let Some(Became::NotDone(why)) = became else { panic!("{became:?}") };
    why.code
}

fn unknown(became: Option<Became>) -> String {
    let Some(Became::Unknown(why)) = became else { panic!("{became:?}") };
    why
}

#[test]
fn what_was_done_is_told_and_what_was_refused_and_what_never_came() {
    let mut world = World::new(1);
    let former = first(&mut world, &[&[set("a", Expect::Anything)], &[set("a", Expect::Absent)]]);
    for round in 0..3 {
        let again = next(&mut world);
        assert_eq!(ask(&mut world, again, op(former, 1)), done(2), "round {round}");
        assert_eq!(not_done(ask(&mut world, again, op(former, 2))), Code::Conflict);
        assert_eq!(not_done(ask(&mut world, again, op(former, 3))), Code::Fenced);
        crash(&mut world, again);
        // And so it stays, whoever ends.
        world.restart_hub();
    }
}

#[test]
fn what_is_on_its_way_is_decided_before_it_is_told() {
    let mut world = World::new(1);
    world.hold = true;
    let former = first(&mut world, &[&[set("a", Expect::Anything)]]);
    let again = next(&mut world);
    let ids = [1, 2].map(|cseq| world.nodes[again].state.status(op(former, cseq)).unwrap());
    world.settle();
    assert_eq!(take(&mut world, again, ids[0]), None, "nobody knows yet");
    world.hold = false;
    world.settle();
    let answers = world.nodes[again].state.answers();
    assert_eq!(answers.len(), 2);
    assert_eq!(world.nodes[again].state.take_status(ids[0]), done(2));
    assert_eq!(not_done(world.nodes[again].state.take_status(ids[1])), Code::Fenced);
}

#[test]
fn what_is_kept_behind_the_question_is_not_done() {
    let mut world = World::new(1);
    world.hold = true;
    let former = first(&mut world, &[&[set("a", Expect::Anything)]]);
    let again = next(&mut world);
    let id = world.nodes[again].state.status(op(former, 1)).unwrap();
    world.settle();
    let held = std::mem::take(&mut world.held);
    let appends: Vec<_> = held
        .into_iter()
        .filter_map(|ask| if let Ask::Append { ticket, operation } = ask { Some((ticket, operation)) } else { None })
        .collect();
    let [begin, write, fence] = <[_; 3]>::try_from(appends).unwrap();
    world.commit(Some(begin.0), begin.1);
    // Nobody knows what became of the write: it is appended again, and comes behind the fence.
    world.tell(Told::Uncertain { ticket: write.0 });
    world.commit(Some(fence.0), fence.1);
    world.settle();
    assert_eq!(not_done(take(&mut world, again, id)), Code::Fenced);
    world.hold = false;
    world.settle();
    assert_eq!(world.rows_kept(VALUES), 0);
    assert_eq!(not_done(ask(&mut world, again, op(former, 1))), Code::Fenced);
}

#[test]
fn what_the_disk_did_not_take_is_not_done_and_a_question_that_it_does_not_take_is_asked_again() {
    let mut world = World::new(1);
    world.hold = true;
    let former = first(&mut world, &[&[set("a", Expect::Anything)]]);
    let again = next(&mut world);
    let id = world.nodes[again].state.status(op(former, 1)).unwrap();
    world.settle();
    for ask in std::mem::take(&mut world.held) {
        if let Ask::Append { ticket, .. } = ask {
            world.tell(Told::NotDone { ticket, why: Refusal::new(Code::StorageFull, "no room") });
        }
    }
    world.settle();
    let answers = world.nodes[again].state.answers();
    assert_eq!(answers.len(), 1);
    assert!(matches!(&answers[0], (of, Err(why)) if *of == id && why.code == Code::StorageFull), "{answers:?}");
    world.hold = false;
    assert_eq!(not_done(ask(&mut world, again, op(former, 1))), Code::Fenced);
}

#[test]
fn who_was_asked_about_does_not_come_back() {
    for restarted in [false, true] {
        let mut world = World::new(1);
        let former = world.nodes[0].state.welcome().incarnation;
        world.nodes[0].state.write(&[set("a", Expect::Anything)]).unwrap();
        world.settle();
        world.nodes[0].refused = Some(Refusal::new(Code::Unknown, "it hangs"));
        world.detach(0);
        let again = next(&mut world);
        assert_eq!(ask(&mut world, again, op(former, 1)), done(2));
        crash(&mut world, again);
        if restarted {
            world.restart_hub();
        }
        world.nodes[0].refused = None;
        world.nodes[0].state.write(&[set("b", Expect::Anything)]).unwrap();
        world.settle();
        let standing = world.nodes[0].state.standing();
        assert!(matches!(&standing, Standing::Ended(why) if why.code == Code::Fenced), "{standing:?}");
        assert_eq!(world.rows_kept(VALUES), 1);
    }
}

#[test]
fn who_is_joined_is_not_fenced_by_a_question() {
    let mut world = World::new(1);
    world.nodes[0].state.write(&[set("a", Expect::Anything)]).unwrap();
    world.settle();
    let own = world.nodes[0].state.welcome().incarnation;
    assert_eq!(ask(&mut world, 0, op(own, 1)), done(2));
    assert!(unknown(ask(&mut world, 0, op(own, 2))).contains("it may still come"));
    world.nodes[0].state.write(&[set("b", Expect::Anything)]).unwrap();
    world.settle();
    assert!(world.nodes[0].state.written_writes().iter().all(|(_, end)| end.is_ok()));
    // It has told that it has the first answer.
    assert!(unknown(ask(&mut world, 0, op(own, 1))).contains("had its answer"));
}

#[test]
fn only_the_same_name_and_principal_is_told() {
    let mut world = World::new(2);
    let former = first(&mut world, &[&[set("a", Expect::Anything)]]);
    let other = unknown(ask(&mut world, 1, op(former, 1)));
    let nobody = Incarnation { epoch: former.epoch, counter: 1 << 40 };
    assert_eq!(unknown(ask(&mut world, 1, op(nobody, 1))), other, "nobody learns whether there is such a program");
    let key = || TokenKey::derive(b"eve");
    let create = Change::Create { key: Some(key()), rules: vec!["join #"] };
    world.nodes[1].state.grant(&Name::parse("eve").unwrap(), &create).unwrap();
    world.settle();
    let eve = NodeConfig { token: Some((Name::parse("eve").unwrap(), key())), ..config() };
    let eve = world.join(eve, Peer::Stranger);
    assert!(world.nodes[eve].refused.is_none(), "the name is free");
    assert_eq!(unknown(ask(&mut world, eve, op(former, 1))), other, "it is another's program of that name");
    crash(&mut world, eve);
    let again = next(&mut world);
    assert_eq!(ask(&mut world, again, op(former, 1)), done(2), "it was not fenced by who may not ask");
    assert!(unknown(ask(&mut world, again, OpId { history: [9; 16], ..op(former, 1) })).contains("another hub"));
}

#[test]
fn who_takes_a_name_over_learns_what_became_of_what_the_other_has_sent() {
    let mut world = World::new(1);
    let former = world.nodes[0].state.welcome().incarnation;
    world.nodes[0].state.write(&[set("a", Expect::Anything)]).unwrap();
    world.settle();
    world.nodes[0].deaf = true;
    let again = world.join(NodeConfig { takeover: true, ..config() }, Peer::Owner);
    crash(&mut world, 0);
    assert_eq!(ask(&mut world, again, op(former, 1)), done(2));
    assert_eq!(not_done(ask(&mut world, again, op(former, 2))), Code::Fenced);
}

#[test]
fn of_a_program_of_which_nothing_was_kept_nothing_is_done_and_of_one_that_is_forgotten_nothing_is_known() {
    let mut world = World::new(1);
    world.hold = true;
    // The hub is killed with it in its hands.
    let former = first(&mut world, &[&[set("a", Expect::Anything)]]);
    world.hold = false;
    world.restart_hub();
    let again = next(&mut world);
    assert_eq!(not_done(ask(&mut world, again, op(former, 1))), Code::Fenced);
    let later = Incarnation { epoch: former.epoch + 100, counter: 1 };
    unknown(ask(&mut world, again, op(later, 1)));
    let shared = HubConfig { shared_foundation: true, ..HubConfig::default() };
    let mut world = World::with(1, shared);
    let again = world.nodes[0].state.welcome().incarnation;
    unknown(ask(&mut world, 0, op(Incarnation { epoch: again.epoch - 1, counter: 1 }, 1)));
}

#[test]
fn a_node_that_leaves_without_an_answer_is_remembered_and_one_that_has_them_all_is_not() {
    let mut world = World::new(1);
    let former = world.nodes[0].state.welcome().incarnation;
    world.hold = true;
    world.nodes[0].state.write(&[set("a", Expect::Anything)]).unwrap();
    world.settle();
    let now = world.now;
    world.nodes[0].state.leave(now);
    world.settle();
    world.hold = false;
    world.settle();
    let again = next(&mut world);
    assert_eq!(ask(&mut world, again, op(former, 1)), done(2));
    world.nodes[again].state.write(&[set("b", Expect::Anything)]).unwrap();
    world.settle();
    world.nodes[again].state.leave(now);
    world.settle();
    assert_eq!(world.rows_kept(3), 1, "what it was answered is forgotten");
}

#[test]
fn what_is_kept_elsewhere_too_is_sent_when_that_is_noted_and_all_behind_it_waits() {
    let mut world = World::new(0);
    let node = world.join(NodeConfig { outbox: true, ..config() }, Peer::Owner);
    let command = [(Encoding::Text, &b"one"[..])];
    let first = world.nodes[node].state.append(&journal(), command.into_iter(), None).unwrap();
    let second = world.nodes[node].state.write(&[set("a", Expect::Anything)]).unwrap();
    world.settle();
    assert_eq!(world.nodes[node].state.written_writes(), []);
    let notes = world.nodes[node].state.notes();
    let [Note { id, op }] = notes[..] else { panic!("{notes:?}") };
    assert_eq!((id, op.cseq, op.journal), (first, 1, true));
    // What was noted for another link or another write counts for nothing.
    world.nodes[node].state.noted(&[Note { id, op: OpId { cseq: 2, ..op } }]);
    world.settle();
    assert_eq!(world.nodes[node].state.written_writes(), []);
    world.nodes[node].state.noted(&notes);
    world.settle();
    let ends = world.nodes[node].state.written_writes();
    assert_eq!(ends.iter().map(|(id, end)| (*id, end.is_ok())).collect::<Vec<_>>(), [(first, true), (second, true)]);
    // Until it is noted what became of it, the hub keeps the answer.
    world.nodes[node].state.write(&[set("b", Expect::Anything)]).unwrap();
    world.settle();
    assert_eq!(world.rows_kept(4), 3);
    world.nodes[node].state.recorded(first);
    world.nodes[node].state.write(&[set("c", Expect::Anything)]).unwrap();
    world.settle();
    assert_eq!(world.rows_kept(4), 1);
}

#[test]
fn what_an_earlier_program_has_left_is_asked_about_before_anything_is_sent() {
    let mut world = World::new(0);
    let first = world.join(NodeConfig { outbox: true, ..config() }, Peer::Owner);
    let former = world.nodes[first].state.welcome().incarnation;
    let mut left = Vec::new();
    for text in [b"one", b"two"] {
        let id = world.nodes[first].state.append(&journal(), [(Encoding::Text, &text[..])].into_iter(), None).unwrap();
        left.push(world.nodes[first].state.appended(id).unwrap().1.to_vec());
    }
    let notes = world.nodes[first].state.notes();
    world.nodes[first].state.noted(&notes[..1]);
    world.settle();
    crash(&mut world, first);
    let again = world.join(NodeConfig { outbox: true, ..config() }, Peer::Owner);
    let name = |cseq| Some(OpId { journal: true, ..op(former, cseq) });
    let state = &mut world.nodes[again].state;
    take_left(state, &left, [name(1), name(2)]);
    let own = state.append(&journal(), [(Encoding::Text, &b"three"[..])].into_iter(), None).unwrap();
    // It joined before it knew of them, as a shell never does: the next link asks.
    world.cut(again);
    for _ in 0..3 {
        let notes = world.nodes[again].state.notes();
        world.nodes[again].state.noted(&notes);
        world.settle();
    }
    let ends = world.nodes[again].state.written_writes();
    let places: Vec<(u64, u64)> = ends.iter().map(|(id, end)| (*id, end.clone().unwrap().rev.n)).collect();
    // The first was done by the first program; the second it had never sent.
    assert_eq!(places, [(1, 1), (2, 2), (own, 3)]);
}

fn take_left(state: &mut convoke_core::NodeState, left: &[Vec<u8>], names: [Option<OpId>; 2]) {
    for (bytes, name) in left.iter().zip(names) {
        state.append_again(journal(), bytes.clone(), name).unwrap();
    }
}

#[test]
fn what_was_in_memory_only_is_known_until_the_hub_is_started_again() {
    let memory = vec![Name::parse("m").unwrap()];
    let mut world = World::with(1, HubConfig { memory, ..HubConfig::default() });
    let former = first(&mut world, &[&[set("a", Expect::Anything)], &[set("m/b", Expect::Anything)]]);
    let again = next(&mut world);
    assert_eq!(ask(&mut world, again, op(former, 1)), done(2));
    assert!(matches!(ask(&mut world, again, op(former, 2)), Some(Became::Done { .. })));
    assert_eq!(not_done(ask(&mut world, again, op(former, 3))), Code::Fenced);
    crash(&mut world, again);
    world.restart_hub();
    let again = next(&mut world);
    assert_eq!(ask(&mut world, again, op(former, 1)), done(2), "that is kept");
    for cseq in [2, 3] {
        // Which of them was in memory nobody knows any more.
        unknown(ask(&mut world, again, op(former, cseq)));
    }
    let append = OpId { journal: true, ..op(former, 3) };
    assert_eq!(not_done(ask(&mut world, again, append)), Code::Fenced, "no journal is in memory only");
    // Where nothing is in memory only, what is not kept was not done.
    let mut world = World::new(1);
    let former = first(&mut world, &[&[set("a", Expect::Anything)]]);
    world.restart_hub();
    let again = next(&mut world);
    assert_eq!(not_done(ask(&mut world, again, op(former, 2))), Code::Fenced);
}

#[test]
fn so_many_questions_wait_at_a_hub_and_then_others_may() {
    let mut world = World::new(2);
    world.hold = true;
    let formers = [0, 1].map(|who| {
        let incarnation = world.nodes[who].state.welcome().incarnation;
        world.nodes[who].state.write(&[set("a", Expect::Anything)]).unwrap();
        world.settle();
        crash(&mut world, who);
        incarnation
    });
    let again = next(&mut world);
    let other = world.join(NodeConfig::new(Name::parse("node/1").unwrap()), Peer::Owner);
    for place in 0..STATUSES_MAX {
        world.nodes[again].state.status(op(formers[0], 1)).unwrap();
        if place % 1000 == 0 {
            world.settle();
        }
    }
    world.settle();
    assert_eq!(world.nodes[again].state.answers(), []);
    world.nodes[other].state.status(op(formers[1], 1)).unwrap();
    world.settle();
    let answers = world.nodes[other].state.answers();
    let [(_, Err(why))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(why.code, Code::Backpressure);
    // Nobody is there any more to be told; and then there is room for others.
    let second = world.nodes[again].state.welcome().incarnation;
    world.nodes[again].state.write(&[set("b", Expect::Anything)]).unwrap();
    world.settle();
    crash(&mut world, again);
    world.hold = false;
    world.settle();
    let third = next(&mut world);
    world.hold = true;
    assert_eq!(ask(&mut world, third, op(second, 1)), None, "it waits");
    world.hold = false;
    world.settle();
    let answers = world.nodes[third].state.answers();
    assert!(matches!(answers[..], [(_, Ok(_))]), "{answers:?}");
}

#[test]
fn what_an_earlier_program_has_left_is_asked_about_again_when_the_hub_could_not_tell() {
    let mut world = World::new(0);
    let first = world.join(NodeConfig { outbox: true, ..config() }, Peer::Owner);
    let former = world.nodes[first].state.welcome().incarnation;
    world.hold = true;
    let id = world.nodes[first].state.append(&journal(), [(Encoding::Text, &b"one"[..])].into_iter(), None).unwrap();
    let left = world.nodes[first].state.appended(id).unwrap().1.to_vec();
    let notes = world.nodes[first].state.notes();
    world.nodes[first].state.noted(&notes);
    world.settle();
    crash(&mut world, first);
    let again = world.join(NodeConfig { outbox: true, ..config() }, Peer::Owner);
    let name = OpId { journal: true, ..op(former, 1) };
    world.nodes[again].state.append_again(journal(), left, Some(name)).unwrap();
    // It joined before it knew of that, as a shell never does: the next link asks.
    world.cut(again);
    for ask in std::mem::take(&mut world.held) {
        if let Ask::Append { ticket, .. } = ask {
            world.tell(Told::NotDone { ticket, why: Refusal::new(Code::StorageFull, "no room") });
        }
    }
    world.hold = false;
    world.settle();
    assert_eq!(world.nodes[again].state.written_writes(), [], "nobody knows yet");
    world.now = world.now + STATUS_RETRY_TIME;
    let now = world.now;
    world.nodes[again].state.tick(now);
    for _ in 0..3 {
        world.settle();
        let notes = world.nodes[again].state.notes();
        world.nodes[again].state.noted(&notes);
    }
    world.settle();
    let ends = world.nodes[again].state.written_writes();
    let places: Vec<u64> = ends.into_iter().map(|(_, end)| end.unwrap().rev.n).collect();
    assert_eq!(places, [1]);
}

#[test]
fn what_is_no_append_is_not_taken_from_an_earlier_program() {
    let mut world = World::new(0);
    let node = world.join(NodeConfig { outbox: true, ..config() }, Peer::Owner);
    let state = &mut world.nodes[node].state;
    let id = state.append(&journal(), [(Encoding::Text, &b"one"[..])].into_iter(), None).unwrap();
    let whole = state.appended(id).unwrap().1.to_vec();
    let undo = state.undo(&journal(), Back { everyone: false, target: None, expect_top: None }).unwrap();
    let undo = state.appended(undo).unwrap().1.to_vec();
    let mut again =
        |bytes: &[u8]| state.append_again(journal(), bytes.to_vec(), None).map(drop).map_err(|why| why.code);
    for good in [&whole, &undo] {
        for cut in 0..good.len() {
            assert_eq!(again(&good[..cut]), Err(Code::BadRequest), "cut at {cut}");
        }
        assert_eq!(again(&[&good[..], b"x"].concat()), Err(Code::BadRequest), "something is behind it");
        assert_eq!(again(good), Ok(()));
    }
}
