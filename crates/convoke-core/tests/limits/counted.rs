//! What a hub counts: every refusal by its code, every link that was closed or not let in by why, and what was dropped.

use std::time::Duration;

use convoke_core::frame::{Frame, Preface};
use convoke_core::{Code, Counters, Dropped, LinkRefusal, ProtocolError};

use crate::bench::{Bench, Stage, encoded, hello};

/// What differs between two counts, in words.
fn more(before: &Counters, after: &Counters) -> Vec<String> {
    let codes = Code::ALL.iter().chain(&[Code::Unknown]);
    let mut all: Vec<(String, u64, u64)> = Vec::new();
    for code in codes {
        let word = code.word();
        all.push((format!("refused {word}"), before.refused(*code), after.refused(*code)));
        all.push((format!("call {word}"), before.calls_refused(*code), after.calls_refused(*code)));
        all.push((format!("closed {word}"), before.links_closed(*code), after.links_closed(*code)));
    }
    for why in LinkRefusal::ALL {
        all.push((format!("not let in {}", why.word()), before.links_refused(*why), after.links_refused(*why)));
    }
    for kind in ProtocolError::ALL {
        all.push((format!("error {}", kind.word()), before.protocol_errors(*kind), after.protocol_errors(*kind)));
    }
    for what in Dropped::ALL {
        all.push((format!("dropped {}", what.word()), before.dropped(*what), after.dropped(*what)));
    }
    let differ = all.into_iter().filter(|(_, before, after)| before != after);
    differ.map(|(what, before, after)| format!("{what} +{}", after - before)).collect()
}

/// What this makes the hub count when a link that has come so far says it.
fn counted(stage: Stage, say: &[u8]) -> Vec<String> {
    let mut bench = Bench::at(stage);
    let before = bench.hub.counters();
    bench.say(say);
    bench.expect_witness_unhurt(&stage);
    more(&before, &bench.hub.counters())
}

#[test]
fn bad_bytes_are_counted_by_what_is_wrong_with_them() {
    let bad = [0, 0, 0, 0, 6, 0, 0, 0];
    assert_eq!(counted(Stage::Connected, b"GET / HTTP/1.1"), ["not let in bad_input +1", "error preface +1"]);
    let version = Preface { lowest: 7, highest: 9 }.encode();
    assert_eq!(counted(Stage::Connected, &version), ["not let in bad_input +1", "error version +1"]);
    assert_eq!(counted(Stage::Greeted, &bad), ["not let in bad_input +1", "error hello +1"]);
    assert_eq!(counted(Stage::Challenged, &bad), ["not let in bad_input +1", "error hello +1"]);
    assert_eq!(counted(Stage::Greeted, &hello(b"a//b", None)), ["not let in bad_input +1", "error name +1"]);
    assert_eq!(counted(Stage::Greeted, &[0; 70_000]), ["not let in bad_input +1", "error too_large +1"]);
    assert_eq!(counted(Stage::Joined, &bad), ["closed BadFrame +1", "error frame +1"]);
    let welcome = encoded(&Frame::Forget { number: 1 });
    assert_eq!(counted(Stage::Joined, &welcome), ["closed BadFrame +1", "error frame +1"]);
}

#[test]
fn a_request_that_is_refused_is_counted_by_its_code() {
    let ping = encoded(&Frame::Ping { id: 1, node: b"nobody" });
    assert_eq!(counted(Stage::Joined, &[&ping[..], &ping].concat()), ["refused NoNode +2"]);
    let bad = encoded(&Frame::Subscribe { id: 1, pattern: b"a/#/b", group: b"" });
    assert_eq!(counted(Stage::Joined, &bad), ["refused BadName +1", "error request +1"]);
    let unknown = encoded(&Frame::Unsubscribe { id: 77 });
    assert_eq!(counted(Stage::Joined, &unknown), ["refused BadFrame +1", "error request +1"]);
}

#[test]
fn what_is_dropped_without_a_word_is_counted() {
    assert_eq!(counted(Stage::Joined, &encoded(&Frame::Pong { id: 9 })), ["dropped strays +1"]);
    // A kind that is not known, and may be ignored.
    assert_eq!(counted(Stage::Joined, &[8, 0, 0, 0, 0xff, 0, 0, 0]), ["dropped unknown_frames +1"]);
}

#[test]
fn links_that_end_are_counted_by_why() {
    let left = encoded(&Frame::Close { code: Code::Left, text: "" });
    assert_eq!(counted(Stage::Joined, &left), ["closed Left +1"]);
    for (stage, expected) in [
        (Stage::Connected, "not let in gone +1"),
        (Stage::Challenged, "not let in gone +1"),
        (Stage::Joined, "closed LinkLost +1"),
    ] {
        let mut bench = Bench::at(stage);
        let before = bench.hub.counters();
        bench.hub.closed(bench.bad.link, bench.now);
        assert_eq!(more(&before, &bench.hub.counters()), [expected], "{stage:?}");
    }
    let mut bench = Bench::at(Stage::Greeted);
    let before = bench.hub.counters();
    bench.wait(Duration::from_secs(6));
    bench.hub.closed(bench.bad.link, bench.now);
    assert_eq!(more(&before, &bench.hub.counters()), ["not let in slow +1"], "once, although it has ended since");
}
