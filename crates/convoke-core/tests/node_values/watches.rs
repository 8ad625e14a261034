//! Watches: no gap, no repeat, whatever happens to the link and the hub.

use convoke_core::frame::WatchMode::{All, Latest};
use convoke_core::frame::{About, Frame, Value, WatchMode, Welcome};
use convoke_core::limits::WATCH_WINDOW_BYTES;
use convoke_core::node::Watched;
use convoke_core::{Code, Encoding, Pattern, Rev};

use crate::bench::{Bench, Said, ask, durable, forgotten, resumed, text};

const NONE: Rev = Rev { epoch: 0, n: 0 };

fn memory(epoch: u64, n: u64) -> Rev {
    Rev { epoch, n }
}

/// The same hub, started again, which goes on with the incarnation.
fn restarted() -> Welcome {
    Welcome { epoch: 2, ..resumed() }
}

/// A watch that has begun, with its link.
fn watching(mode: WatchMode) -> (Bench, u32) {
    let mut bench = Bench::joined();
    let id = bench.watch(mode, None);
    assert_eq!(bench.said(), [ask(id, mode, 0, NONE)]);
    (bench, id)
}

#[test]
fn a_watch_gets_what_is_there_and_then_what_changes() {
    let (mut bench, id) = watching(Latest);
    assert_eq!(bench.node.answers(), []);
    bench.tell(id, durable(3), "a", Some("one"), false);
    assert_eq!(bench.node.answers(), [(id, Ok(0))], "it has begun");
    assert_eq!(bench.node.woken(), [id]);
    let Some(Watched::Change(change)) = bench.node.take_change(id) else { panic!("a change") };
    assert_eq!((change.name.as_str(), change.author.as_str(), change.rev), ("a", "bob", durable(3)));
    assert_eq!(change.payload, text("one"));
    assert!(!bench.node.is_caught_up(id));
    bench.value(id, durable(5), "b");
    bench.done(id, 9);
    assert!(!bench.node.is_caught_up(id), "the program has not taken all of it");
    bench.tell(id, durable(10), "a", None, false);
    assert!(!bench.node.is_caught_up(id));
    let next = bench.node.take_change(id);
    assert!(matches!(next, Some(Watched::Change(_))));
    assert!(bench.node.is_caught_up(id), "what follows is new");
    assert_eq!(bench.taken(id), ["a-@10"]);
    assert_eq!(bench.node.answers(), []);
}

#[test]
fn an_empty_watch_begins_too() {
    let (mut bench, id) = watching(Latest);
    bench.done(id, 0);
    assert_eq!(bench.node.answers(), [(id, Ok(0))]);
    assert_eq!(bench.node.woken(), [id]);
    assert!(bench.node.is_caught_up(id));
    assert_eq!(bench.taken(id), [""; 0]);
}

#[test]
fn a_refused_watch_ends() {
    let (mut bench, id) = watching(Latest);
    bench.hear(&Frame::Refused { about: About::Request(id), code: Code::Forbidden, text: "no" });
    assert!(matches!(&bench.node.answers()[..], [(_, Err(why))] if why.code == Code::Forbidden));
    assert_eq!(bench.taken(id), ["ended Forbidden"]);
    bench.cut();
    assert_eq!(bench.join(resumed()), [], "it is not asked for again");
}

#[test]
fn a_watch_goes_on_behind_what_it_has() {
    for mode in [Latest, All] {
        let (mut bench, id) = watching(mode);
        bench.value(id, durable(3), "a");
        bench.value(id, memory(1, 7), "m");
        bench.cut();
        assert_eq!(bench.join(resumed()), [ask_with_queue(id, mode, 3, memory(1, 7), &["a", "m"])]);
        bench.value(id, durable(5), "b");
        bench.done(id, 9);
        bench.cut();
        assert!(!bench.node.is_caught_up(id));
        // Nothing of it matched, but it has everything up to there.
        assert_eq!(bench.join(resumed()), [ask_with_queue(id, mode, 9, memory(1, 7), &["a", "m", "b"])]);
        bench.done(id, 9);
        assert_eq!(bench.taken(id), ["a@3", "m@1.7", "b@5"]);
        assert!(bench.node.is_caught_up(id));
        bench.cut();
        assert!(!bench.node.is_caught_up(id));
        assert_eq!(bench.node.answers(), [(id, Ok(0))], "only once");
    }
}

/// What is queued takes from the window.
fn ask_with_queue(id: u32, mode: WatchMode, after: u64, after_memory: Rev, names: &[&str]) -> Said {
    let bytes = |name: &&str| {
        let payload = Some((Encoding::Text, &b"x"[..]));
        let name = name.as_bytes();
        Value { id, rev: NONE, author: b"bob", name, payload, together: false }.frame_bytes() as u32
    };
    match ask(id, mode, after, after_memory) {
        Said::Watch { id, mode, window, after, after_memory, pattern } => {
            let window = window - names.iter().map(bytes).sum::<u32>();
            Said::Watch { id, mode, window, after, after_memory, pattern }
        }
        other => other,
    }
}

#[test]
fn what_comes_twice_is_told_once() {
    for mode in [Latest, All] {
        let (mut bench, id) = watching(mode);
        bench.value(id, durable(3), "a");
        bench.value(id, durable(4), "b");
        bench.value(id, durable(3), "a");
        bench.value(id, durable(4), "b");
        bench.value(id, durable(5), "a");
        bench.tell(id, durable(6), "b", None, false);
        assert_eq!(bench.taken(id), ["a@3", "b@4", "a@5", "b-@6"], "{mode:?}");
    }
    let (mut bench, id) = watching(All);
    bench.tell(id, durable(5), "a", None, false);
    bench.tell(id, durable(5), "a", None, false);
    bench.value(id, durable(4), "a");
    assert_eq!(bench.taken(id), ["a-@5"]);
}

#[test]
fn that_a_value_nobody_told_of_is_gone_is_no_news() {
    let (mut bench, id) = watching(Latest);
    bench.tell(id, durable(6), "b", None, false);
    assert_eq!(bench.taken(id), [""; 0]);
    bench.done(id, 6);
    // Unless the program knows of values that the watch was not told.
    let (mut bench, id) = (Bench::joined(), 1);
    assert_eq!(bench.watch(Latest, Some(durable(4))), id);
    assert_eq!(bench.said(), [ask(id, Latest, 4, NONE)]);
    bench.tell(id, durable(6), "b", None, false);
    assert_eq!(bench.taken(id), ["b-@6"]);
}

#[test]
fn what_happened_together_is_told_when_all_of_it_is_there() {
    for mode in [Latest, All] {
        let (mut bench, id) = watching(mode);
        bench.tell(id, durable(3), "a", Some("x"), true);
        bench.tell(id, durable(3), "b", None, true);
        assert_eq!(bench.taken(id), [""; 0]);
        bench.cut();
        // Half of it is nothing.
        assert_eq!(bench.join(resumed()), [ask(id, mode, 0, NONE)]);
        bench.tell(id, durable(3), "a", Some("x"), true);
        bench.tell(id, durable(3), "b", Some("x"), true);
        bench.tell(id, durable(3), "c", Some("x"), false);
        bench.tell(id, durable(4), "a", None, true);
        assert_eq!(bench.taken(id), ["a@3", "b@3", "c@3"], "{mode:?}");
        // The rest was overwritten before it was told.
        bench.value(id, durable(6), "b");
        assert_eq!(bench.taken(id), ["a-@4", "b@6"]);
    }
}

#[test]
fn what_a_new_list_does_not_have_is_gone() {
    for mode in [Latest, All] {
        let (mut bench, id) = watching(mode);
        for (rev, name) in [(1, "d"), (2, "b"), (3, "a"), (4, "c")] {
            bench.value(id, durable(rev), name);
        }
        bench.value(id, memory(1, 1), "m");
        bench.done(id, 4);
        bench.taken(id);
        bench.cut();
        bench.join(resumed());
        bench.hear(&Frame::Snapshot { id, durable: true, memory: false, first: 0 });
        bench.value(id, durable(3), "a");
        bench.value(id, durable(8), "e");
        bench.value(id, durable(9), "c");
        assert_eq!(bench.taken(id), ["e@8", "c@9"], "{mode:?}");
        bench.done(id, 10);
        // In the order of their names, and nothing of the other sort.
        assert_eq!(bench.taken(id), ["b-@10", "d-@10"]);
        bench.value(id, durable(11), "b");
        assert_eq!(bench.taken(id), ["b@11"]);
    }
}

#[test]
fn what_is_gone_is_told_in_the_order_of_names() {
    let (mut bench, id) = watching(Latest);
    let names = ["h", "c", "f", "a", "g", "d", "b", "e"];
    for (rev, name) in (1..).zip(names) {
        bench.value(id, durable(rev), name);
    }
    bench.taken(id);
    bench.hear(&Frame::Snapshot { id, durable: true, memory: false, first: 0 });
    bench.done(id, 9);
    assert_eq!(bench.taken(id), ["a-@9", "b-@9", "c-@9", "d-@9", "e-@9", "f-@9", "g-@9", "h-@9"]);
}

#[test]
fn a_list_that_was_cut_goes_on_and_still_finds_what_is_gone() {
    let (mut bench, id) = watching(Latest);
    for (rev, name) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        bench.value(id, durable(rev), name);
    }
    bench.done(id, 4);
    bench.taken(id);
    bench.cut();
    bench.join(resumed());
    bench.hear(&Frame::Snapshot { id, durable: true, memory: false, first: 0 });
    bench.value(id, durable(1), "a");
    bench.value(id, durable(3), "c");
    bench.cut();
    assert_eq!(bench.join(resumed()), [ask(id, Latest, 3, NONE)]);
    bench.value(id, durable(4), "d");
    bench.done(id, 5);
    assert_eq!(bench.taken(id), ["b-@5"]);
    // Cut before anything was listed: all of it is listed again, without a word.
    bench.cut();
    bench.join(resumed());
    bench.hear(&Frame::Snapshot { id, durable: true, memory: false, first: 0 });
    bench.cut();
    assert_eq!(bench.join(resumed()), [ask(id, Latest, 0, NONE)]);
    bench.value(id, durable(3), "c");
    bench.done(id, 7);
    assert_eq!(bench.taken(id), ["a-@7", "d-@7"]);
}

#[test]
fn values_in_memory_are_those_of_the_hub_that_runs() {
    let (mut bench, id) = watching(Latest);
    bench.value(id, memory(1, 50), "m");
    bench.value(id, memory(1, 51), "n");
    bench.value(id, durable(4), "a");
    bench.done(id, 4);
    bench.taken(id);
    bench.cut();
    assert_eq!(bench.join(restarted()), [ask(id, Latest, 4, memory(1, 51))]);
    bench.hear(&Frame::Snapshot { id, durable: false, memory: true, first: 0 });
    bench.value(id, memory(2, 1), "n");
    bench.done(id, 4);
    assert_eq!(bench.taken(id), ["n@2.1", "m-@2.1"]);
}

#[test]
fn who_wants_every_change_is_told_that_some_are_not_kept() {
    for (mode, told) in [(Latest, &[][..]), (All, &["compacted 7"])] {
        let (mut bench, id) = watching(mode);
        bench.value(id, durable(3), "a");
        bench.taken(id);
        bench.hear(&Frame::Snapshot { id, durable: true, memory: false, first: 7 });
        assert_eq!(bench.taken(id), told);
    }
}

#[test]
fn who_knows_more_than_the_watch_is_told_that_it_does_not_count() {
    let mut bench = Bench::joined();
    let id = bench.watch(Latest, Some(durable(4)));
    bench.hear(&Frame::Snapshot { id, durable: true, memory: false, first: 0 });
    bench.value(id, durable(2), "a");
    bench.done(id, 9);
    assert_eq!(bench.taken(id), ["replaced", "a@2"]);
    bench.tell(id, durable(10), "b", None, false);
    assert_eq!(bench.taken(id), [""; 0], "from here on the watch knows everything");
}

#[test]
fn a_watch_can_begin_behind_a_revision_in_memory() {
    let mut bench = Bench::joined();
    let id = bench.watch(All, Some(memory(1, 4)));
    assert_eq!(bench.said(), [ask(id, All, 0, memory(1, 4))]);
}

#[test]
fn nothing_that_is_known_of_another_hub_counts() {
    for mode in [Latest, All] {
        for other in [Welcome { history: [9; 16], ..resumed() }, Welcome { hub: [9; 16], ..forgotten() }] {
            let (mut bench, id) = watching(mode);
            bench.value(id, durable(50), "a");
            bench.value(id, durable(51), "b");
            bench.value(id, memory(1, 50), "m");
            bench.value(id, memory(1, 51), "n");
            bench.done(id, 60);
            bench.taken(id);
            bench.cut();
            bench.node.woken();
            assert_eq!(bench.join(other.clone()), [ask(id, mode, 0, NONE)]);
            assert_eq!(bench.node.woken().contains(&id), mode == All);
            bench.tell(id, durable(7), "a", Some("x"), true);
            bench.cut();
            // A cut in between changes nothing.
            assert_eq!(bench.join(other), [ask(id, mode, 0, NONE)]);
            bench.value(id, durable(7), "a");
            bench.value(id, memory(1, 2), "m");
            bench.done(id, 8);
            let mut told = bench.taken(id);
            if mode == All {
                assert_eq!(told.remove(0), "replaced");
            }
            // Nobody knows of a revision in memory of a hub that never told one.
            let last = told.pop().expect("`n` is gone");
            assert!(last == "n-@1.2" || last == "n-@2.0", "{last}");
            assert_eq!(told, ["a@7", "m@1.2", "b-@8"], "{mode:?}");
        }
    }
}

#[test]
fn the_hub_is_told_when_half_of_the_window_was_taken() {
    let (mut bench, id) = watching(Latest);
    let payload = vec![0; 100_000];
    let value = |n: u64, name: &'static [u8]| {
        let payload = Some((Encoding::Raw, &payload[..]));
        Frame::Value(Value { id, rev: durable(n), author: b"bob", name, payload, together: false })
    };
    // Long enough to be cut into two frames: both count whole, with their heads.
    let mut frames = Vec::new();
    value(1, b"a").encode(&mut frames);
    let len = frames.len();
    let mut sent = 0;
    let mut told = 0;
    for n in 1..=50 {
        let mut frames = Vec::new();
        value(n, b"a").encode(&mut frames);
        bench.node.receive(&mut bytes::BytesMut::from(&frames[..]), bench.now);
        sent += len;
        assert_eq!(bench.said(), [], "nothing is told before it is taken");
        assert!(bench.node.take_change(id).is_some());
        for said in bench.said() {
            let Said::Taken { id: whose, bytes } = said else { panic!("{said:?}") };
            assert_eq!(whose, id);
            told += bytes as usize;
            assert_eq!(told, sent, "all that was taken");
        }
        assert!(sent - told < WATCH_WINDOW_BYTES / 2);
    }
    assert!(told > 0);
}

#[test]
fn what_is_told_to_nobody_makes_room_too() {
    let (mut bench, id) = watching(Latest);
    bench.value(id, durable(1 << 40), "a");
    bench.taken(id);
    let long = "x".repeat(60_000);
    let mut room = 0;
    for n in 0..20 {
        bench.tell(id, durable(n), "a", Some(&long), false);
        room += bench.said().len();
    }
    assert_eq!(room, 2);
    assert_eq!(bench.taken(id), [""; 0]);
}

#[test]
fn a_batch_longer_than_the_window_comes_to_its_end() {
    let (mut bench, id) = watching(Latest);
    let long = "x".repeat(60_000);
    let mut told = 0;
    for n in 0..60 {
        bench.tell(id, durable(9), &format!("a/{n}"), Some(&long), n < 59);
        assert_eq!(bench.node.take_change(id).is_some(), n == 59);
        for said in bench.said() {
            let Said::Taken { bytes, .. } = said else { panic!("{said:?}") };
            told += bytes as usize;
        }
        assert!((n + 1) * 60_040 - told < WATCH_WINDOW_BYTES, "the hub has room");
    }
    assert_eq!(bench.taken(id).len(), 59);
    let Some(Said::Taken { bytes, .. }) = bench.said().pop() else { return };
    told += bytes as usize;
    assert!(told < 60 * 60_100, "no byte is told twice");
}

#[test]
fn half_a_batch_of_a_link_that_is_gone_takes_no_room() {
    let (mut bench, id) = watching(Latest);
    let long = "x".repeat(60_000);
    for n in 0..8 {
        bench.tell(id, durable(9), &format!("a/{n}"), Some(&long), true);
    }
    bench.cut();
    assert_eq!(bench.join(resumed()), [ask(id, Latest, 0, NONE)]);
    for n in 0..8 {
        bench.tell(id, durable(9), &format!("a/{n}"), Some(&long), true);
    }
    assert_eq!(bench.said(), []);
}

#[test]
fn an_ended_watch_is_ended_at_the_hub() {
    let (mut bench, id) = watching(Latest);
    bench.node.unwatch(id);
    assert_eq!(bench.said(), [Said::Unsubscribe(id)]);
    // What was on its way.
    bench.value(id, durable(1), "a");
    bench.done(id, 1);
    assert_eq!(bench.taken(id), [""; 0]);
    let id = bench.watch(Latest, None);
    bench.said();
    bench.cut();
    bench.node.unwatch(id);
    assert_eq!(bench.join(resumed()), []);
}

#[test]
fn a_watch_that_is_begun_offline_waits_for_a_link() {
    let mut bench = Bench::new();
    let id = bench.watch(Latest, None);
    assert_eq!(bench.join(crate::bench::welcome()), [ask(id, Latest, 0, NONE)]);
}

#[test]
fn watches_end_with_their_node() {
    let (mut bench, id) = watching(Latest);
    bench.value(id, durable(1), "a");
    let never = bench.watch(All, None);
    bench.node.answers();
    bench.node.leave(bench.now);
    assert!(matches!(&bench.node.answers()[..], [(id, Err(_))] if *id == never));
    assert_eq!(bench.taken(id), ["a@1", "ended Left"]);
    assert!(bench.node.woken().contains(&id));
    let pattern = Pattern::parse("#").expect("a pattern");
    assert_eq!(bench.node.watch(pattern, Latest, None).unwrap_err().code, Code::Left);
}

#[test]
fn a_get_gives_what_is_there_by_name() {
    let mut bench = Bench::joined();
    let id = bench.node.get(Pattern::parse("#").expect("a pattern")).expect("joined");
    let Said::Watch { window, mode, .. } = &bench.said()[0] else { panic!("a watch") };
    assert_eq!((*window, *mode), (u32::MAX, WatchMode::Once));
    bench.value(id, durable(1), "b");
    bench.value(id, durable(2), "a");
    assert!(bench.node.got().is_empty());
    bench.done(id, 2);
    let [(_, Ok(found))] = &bench.node.got()[..] else { panic!("one answer") };
    let names: Vec<&str> = found.iter().map(|change| change.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    // What has changed meanwhile may come again, as it is then.
    let id = bench.node.get(Pattern::parse("#").expect("a pattern")).expect("joined");
    for (rev, name) in [(1, "b"), (2, "a"), (3, "b")] {
        bench.value(id, durable(rev), name);
    }
    bench.done(id, 3);
    let [(_, Ok(found))] = &bench.node.got()[..] else { panic!("one answer") };
    assert_eq!(found.iter().map(|change| change.rev.n).collect::<Vec<_>>(), [2, 3]);
    let id = bench.node.get(Pattern::parse("x").expect("a pattern")).expect("joined");
    bench.said();
    bench.node.abandon_get(id);
    assert_eq!(bench.said(), [Said::Unsubscribe(id)]);
}

#[test]
fn a_get_does_not_wait_for_a_link() {
    let mut bench = Bench::new();
    let pattern = Pattern::parse("a").expect("a pattern");
    assert_eq!(bench.node.get(pattern.clone()).unwrap_err().code, Code::Offline);
    bench.join(crate::bench::welcome());
    let id = bench.node.get(pattern).expect("joined");
    bench.value(id, durable(1), "a");
    bench.cut();
    assert!(matches!(&bench.node.got()[..], [(_, Err(why))] if why.code == Code::Offline));
    assert_eq!(bench.join(resumed()), []);
}
