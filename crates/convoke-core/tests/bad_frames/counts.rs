//! Numbers that are out of order or beyond what there is; and that nothing follows Close.

use std::time::Duration;

use convoke_core::frame::{
    About, Call, Change, Content, End, Expect, Frame, Grant, Item, Items, Preface, Select, Set, Value, WatchMode,
};
use convoke_core::{Code, Dropped, Encoding, HubConfig, Rev, limits};

use super::bench::{Bench, Stage, encoded};

fn write(cseq: u64, settled: u64, expect: Expect, payload: &[u8]) -> Vec<u8> {
    let set = Some(Set { encoding: Encoding::Raw, payload, ttl_ms: 0, ephemeral: false });
    let items = Items::encode(&[Item { name: b"a", every: false, expect, set }]);
    let body = [&cseq.to_le_bytes()[..], &settled.to_le_bytes(), &items].concat();
    [&((8 + body.len()) as u32).to_le_bytes()[..], &[0x20, 0, 0, 0], &body].concat()
}

fn watch(id: u32, mode: WatchMode, after: u64, after_memory: Rev) -> Vec<u8> {
    encoded(&Frame::Watch { id, mode, window: 1 << 20, after, after_memory, pattern: b"a" })
}

/// What the hub has said, each frame by what `of` makes of it.
fn heard<T>(bench: &mut Bench, of: impl Fn(Frame<'_>) -> T) -> Vec<T> {
    let heard = bench.bad.heard.split_off(0);
    let (mut rest, mut all) = (&heard[..], Vec::new());
    while let Some((frame, len)) = Frame::decode(rest).expect("the hub says frames") {
        all.push(of(frame));
        rest = &rest[len..];
    }
    all
}

fn written(bench: &mut Bench) -> Vec<(u64, Rev)> {
    heard(bench, |frame| match frame {
        Frame::Written { cseq, rev, .. } => (cseq, rev),
        other => panic!("{other:?}"),
    })
}

/// N28: a write is done once however often it is said, numbers may have holes, and none is done behind a later one.
#[test]
fn numbers_of_writes_may_have_holes_and_do_not_go_back() {
    let anything = Expect::Anything;
    let mut bench = Bench::at(Stage::Joined);
    bench.say(&write(5, 0, anything, b"five"));
    let first = written(&mut bench);
    bench.say(&write(5, 0, anything, b"another five"));
    assert_eq!(written(&mut bench), first, "the answer of before");
    bench.say(&write(3, 0, anything, b"three"));
    bench.expect_refused(About::Write(3), Code::Backpressure, "a later write of the same node was done", &"back");
    bench.say(&write(9, 7, anything, b"nine"));
    assert_eq!(written(&mut bench)[0].0, 9);
    let dropped = bench.hub.counters().dropped(Dropped::Repeats);
    for settled in [5, 6] {
        bench.say(&write(settled, 0, anything, b"again"));
        bench.expect_alive(&"it has said that it has the answers up to 7");
    }
    assert_eq!(bench.hub.counters().dropped(Dropped::Repeats), dropped + 2);
    bench.say(&write(u64::MAX, u64::MAX - 1, anything, b"last"));
    assert_eq!(written(&mut bench)[0].0, u64::MAX);
    bench.expect_alive(&"the last number there is");
    bench.say(&watch(1, WatchMode::Once, 0, Rev::default()));
    let values = heard(&mut bench, |frame| match frame {
        Frame::Value(Value { payload: Some((_, payload)), .. }) => payload.to_vec(),
        _ => Vec::new(),
    });
    assert!(values.contains(&b"last".to_vec()), "{values:?}");
}

/// N32: a change that expects a revision that there has never been.
#[test]
fn a_revision_that_is_yet_to_come_is_a_conflict() {
    for rev in [Rev::durable(999), Rev::durable(u64::MAX), Rev { epoch: u64::MAX, n: u64::MAX }] {
        let mut bench = Bench::at(Stage::Joined);
        bench.say(&write(1, 0, Expect::Anything, b"1"));
        assert_eq!(written(&mut bench).len(), 1);
        bench.say(&write(2, 0, Expect::Rev(rev), b"2"));
        bench.expect_refused(About::Write(2), Code::Conflict, "`a`", &rev);
        bench.expect_alive(&rev);
    }
}

/// N30: whoever has seen what is yet to come has seen another history, and is told everything anew.
#[test]
fn a_watch_from_the_future_begins_anew() {
    for mode in [WatchMode::Latest, WatchMode::All] {
        for (after, memory) in [(999, Rev::default()), (u64::MAX - 1, Rev { epoch: 9, n: 9 })] {
            let mut bench = Bench::at(Stage::Joined);
            bench.say(&write(1, 0, Expect::Anything, b"1"));
            bench.answers();
            bench.say(&watch(1, mode, after, memory));
            let told = heard(&mut bench, |frame| match frame {
                Frame::Snapshot { .. } => "Snapshot",
                Frame::Value(_) => "Value",
                Frame::Done { .. } => "Done",
                other => panic!("{other:?}"),
            });
            assert_eq!(told, ["Snapshot", "Value", "Done"], "{mode:?} after {after}");
            bench.expect_alive(&after);
        }
    }
}

/// N27: without a time of its own a call has the usual one, and the longest there is has a bound.
#[test]
fn a_call_waits_no_longer_than_it_may() {
    let content = Content { encoding: Encoding::Raw, headers: false, bytes: b"x" };
    for (left_ms, longest) in
        [(0, limits::CALL_TIME_DEFAULT), (1, Duration::from_millis(1)), (u32::MAX, limits::CALL_TIME_MAX)]
    {
        let mut bench = Bench::at(Stage::Joined);
        let (select, service) = (Select::Default, &b"nobody/offers/it"[..]);
        bench.say(&encoded(&Frame::Call(Call {
            number: 1,
            left_ms,
            select,
            wait: true,
            again: false,
            service,
            content,
        })));
        let mut passed = Duration::ZERO;
        let ended = loop {
            let ends = heard(&mut bench, |frame| match frame {
                Frame::Reply(reply) => match reply.end {
                    End::Refused { code, .. } => Some(code),
                    other => panic!("{other:?}"),
                },
                _ => None,
            });
            if let Some(code) = ends.into_iter().flatten().next() {
                break code;
            }
            let step = (longest / 400).max(Duration::from_millis(1));
            assert!(passed <= longest + step, "{left_ms} ms: it waits for {passed:?}");
            bench.wait(step);
            passed += step;
            let Bench { hub, now, bad, .. } = &mut bench;
            bad.say(hub, &encoded(&Frame::Beat { received: 0 }), *now);
        };
        assert!([Code::TimedOut, Code::NoProvider].contains(&ended), "{ended:?}");
        assert_eq!(bench.hub.census().calls, 0);
    }
}

/// The last frame of what waits for the link that misbehaves is Close.
fn nothing_follows_close(mut bench: Bench, case: &dyn std::fmt::Debug) {
    bench.say(&[]);
    bench.bad.listen(&mut bench.hub);
    let all = heard(&mut bench, |frame| matches!(frame, Frame::Close { .. }));
    let closes = all.iter().filter(|close| **close).count();
    assert!(closes == 1 && all.last() == Some(&true), "{case:?}: Close is the last of {} frames", all.len());
}

/// What waited in the lane of values came behind Close.
#[test]
fn no_value_comes_behind_close() {
    for taken in 0..6 {
        let mut bench = Bench::at(Stage::Joined);
        let events = encoded(&Frame::Subscribe { id: 2, pattern: b"#", group: b"" });
        bench.say(&[watch(1, WatchMode::All, 0, Rev::default()), events, write(1, 0, Expect::Anything, b"0")].concat());
        bench.bad.heard.clear();
        let mut transmit = convoke_core::Transmit::new();
        for n in 0..taken {
            let Bench { hub, witness, bad, now, .. } = &mut bench;
            // More than is written at once.
            for _ in 0..6 {
                let (event, _) = witness.event(b"a", &[0; 60_000]);
                witness.say(hub, &event, *now);
            }
            hub.receive(bad.link, &mut write(2 + n, 0, Expect::Anything, b"1")[..].into(), *now);
            bench.keep();
            // Once for each, as a slow link takes them: events and values leave in turns.
            bench.hub.transmit(bench.bad.link, &mut transmit);
            while transmit.pop().is_some() {}
        }
        bench.hub.stop(bench.now);
        nothing_follows_close(bench, &taken);
    }
}

/// An answer that was known only when its link had been closed came behind Close.
#[test]
fn no_answer_comes_behind_close() {
    let mut bench = Bench::with(HubConfig { shared_foundation: true, ..HubConfig::default() });
    bench.reach(Stage::Joined);
    let mut said = watch(1, WatchMode::Once, 0, Rev::default());
    said.extend(write(1, 0, Expect::Anything, b"1"));
    let change = Change::Create { key: None, rules: vec!["all #"] };
    said.extend(encoded(&Frame::Grant(Grant { id: 2, name: b"other", change })));
    // The foundation answers after this.
    said.extend(Preface::OURS.encode());
    bench.say(&said);
    nothing_follows_close(bench, &"what waited for the foundation");
}
