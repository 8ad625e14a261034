//! What it costs a hub to tell about itself: bounded, whoever asks and however often.

use convoke_core::Rev;
use convoke_core::frame::{Frame, WatchMode};
use convoke_core::limits::{REPORT_PAUSE, REPORT_ROWS_MAX};

use crate::bench::{Bench, Stage, Wire, encoded};
use crate::join;

/// Topics that the hub of these tests has.
const TOPICS: usize = 3000;

fn ask(id: u32, mode: WatchMode, pattern: &str) -> Vec<u8> {
    let (after_memory, pattern) = (Rev::default(), pattern.as_bytes());
    encoded(&Frame::Watch { id, mode, window: 1 << 20, after: 0, after_memory, pattern })
}

/// A hub with so many topics.
fn with_topics() -> Bench {
    let mut bench = Bench::at(Stage::Joined);
    for n in 0..TOPICS {
        let (event, _) = bench.bad.event(format!("press/{n}/force").as_bytes(), b"1");
        bench.say(&event);
        bench.witness.listen(&mut bench.hub);
    }
    bench.bad.heard.clear();
    bench
}

/// The names that were told of values that are there.
fn told(wire: &mut Wire) -> Vec<String> {
    let heard = std::mem::take(&mut wire.heard);
    let (mut rest, mut names) = (&heard[..], Vec::new());
    while let Some((frame, len)) = Frame::decode(rest).unwrap() {
        if let Frame::Value(value) = frame
            && value.payload.is_some()
        {
            names.push(String::from_utf8(value.name.to_vec()).unwrap());
        }
        rest = &rest[len..];
    }
    names
}

/// Three hundred nodes, each on a new link, ask in ways that differ for what is much to look at: within one pause that costs
/// the hub no more than a bound, and what is told of each part once.
#[test]
fn who_asks_again_and_again_what_there_is_costs_the_hub_a_bounded_amount() {
    // The last look through all topics, in vain, where `#` looks at all and tells them.
    for pattern in ["$hub/topics/#", "$hub/topics/+/N/force", "$hub/topics/+/+/N"] {
        for mode in [WatchMode::Latest, WatchMode::Once] {
            let mut bench = with_topics();
            let before = bench.hub.counters().report_rows();
            for n in 0..300 {
                let mut wire = join(&mut bench, &format!("n/{n}"));
                wire.say(&mut bench.hub, &ask(1, mode, &pattern.replace('N', &n.to_string())), bench.now);
            }
            let cost = bench.hub.counters().report_rows() - before;
            // The last that was let in and each part once.
            let once = 12 * (TOPICS as u64 + 302);
            assert!(cost > once, "{pattern}: it costs something");
            assert!(cost <= REPORT_ROWS_MAX as u64 + 3 * once, "{pattern} {mode:?}: {cost} rows");
            bench.expect_witness_unhurt(&pattern);
        }
    }
}

#[test]
fn who_is_not_told_at_once_is_told_after_the_pause() {
    let mut bench = with_topics();
    for n in 0..300 {
        let mut wire = join(&mut bench, &format!("n/{n}"));
        wire.say(&mut bench.hub, &ask(1, WatchMode::Once, &format!("$hub/topics/+/{n}/#")), bench.now);
    }
    // Nothing more is looked for now; a single one is found all the same.
    let (event, _) = bench.witness.event(b"late/topic", b"1");
    bench.witness.say(&mut bench.hub, &event, bench.now);
    let mut ann = join(&mut bench, "ann");
    ann.say(&mut bench.hub, &ask(1, WatchMode::Latest, "$hub/topics/late/topic"), bench.now);
    assert_eq!(told(&mut ann), ["$hub/topics/late/topic"]);
    let mut ben = join(&mut bench, "ben");
    ben.say(&mut bench.hub, &ask(1, WatchMode::Latest, "$hub/topics/new/+"), bench.now);
    let (event, _) = bench.witness.event(b"new/topic", b"1");
    bench.witness.say(&mut bench.hub, &event, bench.now);
    assert_eq!(told(&mut ben), [""; 0]);
    bench.wait(REPORT_PAUSE);
    ben.listen(&mut bench.hub);
    assert_eq!(told(&mut ben), ["$hub/topics/new/topic"]);
}

#[test]
fn what_nobody_looks_at_costs_nothing() {
    let mut bench = with_topics();
    let mut ann = join(&mut bench, "ann");
    ann.say(&mut bench.hub, &ask(1, WatchMode::Latest, "$hub/topics/#"), bench.now);
    bench.wait(REPORT_PAUSE * 2);
    ann.say(&mut bench.hub, &encoded(&Frame::Unsubscribe { id: 1 }), bench.now);
    bench.wait(REPORT_PAUSE);
    let before = bench.hub.counters().report_rows();
    bench.wait(REPORT_PAUSE * 5);
    assert_eq!(bench.hub.counters().report_rows(), before);
}

#[test]
fn limits_and_counters_are_told_to_who_asks() {
    let mut bench = Bench::at(Stage::Joined);
    bench.say(&ask(1, WatchMode::Once, "$hub/#"));
    let names = told(&mut bench.bad);
    for name in ["$hub/limits", "$hub/counters", "$hub/status", "$hub/nodes/witness"] {
        assert!(names.iter().any(|told| told == name), "{name}: {names:?}");
    }
}
