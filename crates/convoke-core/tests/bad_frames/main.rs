//! What bad input gets from a hub: each row whole and one byte at a time, before and after joining; and whatever one
//! link says, another that is joined does not notice.

mod bench;
mod counts;
mod session;
mod time;
mod values;

use bench::{
    Answer, Bench, GREETED, NOT_JOINED, PORTIONS, PROOF, Stage, answers, encoded, hello, named_event, numbered_event,
    welcome,
};
use convoke_core::frame::{
    About, Append, Appended, Brought, Carried, Frame, Hello, Incarnation, Kind, MORE, NAMED, ORIGIN, Preface, REST,
};
use convoke_core::{Code, HubConfig, SlowPolicy, limits};

/// N1 to N4, N10, N14, N16, N17: what is no frame, wherever it comes.
#[test]
fn what_is_no_frame_ends_its_link() {
    let table: [(&str, &[u8], &str); 13] = [
        ("N1", &[0, 0, 0, 0, 6, 0, 0, 0], "a length of at least 8"),
        ("N2", &[7, 0, 0, 0, 6, 0, 0, 0], "a length of at least 8"),
        ("N2 event", &[8, 0, 0, 0, 0x10, 0, 0, 0], "a length of at least 24"),
        ("N3", &[0x19, 0, 1, 0, 0x10, 0, 0, 0], "a length of at most 65560"),
        ("N4", &[0xff, 0xff, 0xff, 0x7f, 6, 0, 0, 0], "a length of at most 65560"),
        ("N4", &[0, 0, 0, 0x80, 6, 0, 0, 0], "a length of at most 65560"),
        ("N4", &[0xff; 8], "a length of at most 65560"),
        ("N10", &[8, 0, 0, 0, 0x7f, 0, 0, 0], "a kind of frame that this version knows"),
        ("N14", &[16, 0, 0, 0, 6, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], "no flags"),
        ("N14", &[16, 0, 0, 0, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "no encoding"),
        ("N16", &[17, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "the end of the frame"),
        ("N17", &[14, 0, 0, 0, 0x11, 0, 0, 0, 1, 0, 0, 0, 9, 0], "a pattern"),
        ("N17", &[12, 0, 0, 0, 0x1a, 0, 0, 0, 255, 255, 255, 255], "a number and a count"),
    ];
    for (row, bytes, sentence) in table {
        for stage in GREETED {
            for portion in PORTIONS {
                let mut bench = Bench::at(stage);
                bench.say_in(portion, bytes);
                bench.expect_close(Code::BadFrame, sentence, &(row, stage, portion));
            }
        }
    }
}

/// N7: what is no link at all.
#[test]
fn what_speaks_another_protocol_is_told_so() {
    let table: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", "HTTP or text"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "MQTT"),
        (b"\r\n", "the preface"),
        (b"\xcf\x63\x6e\x77\x01\x00\x01\x00", "the preface"),
        (b"\x00\x00\x00\x00\x00\x00\x00\x00", "the preface"),
    ];
    for (bytes, sentence) in table {
        for portion in PORTIONS {
            let mut bench = Bench::at(Stage::Connected);
            bench.say_in(portion, bytes);
            // No preface is sent to who sends none.
            bench.expect_close(Code::BadFrame, sentence, &(bytes, portion));
        }
    }
    let mut bench = Bench::at(Stage::Connected);
    bench.say(b"SSH-2.0-OpenSSH_9\r\n");
    bench.expect_close(Code::BadFrame, "the preface", &"SSH");
}

/// N8.
#[test]
fn another_version_is_refused_by_name() {
    for version in [0u16, 2, 65535] {
        for portion in PORTIONS {
            let mut bench = Bench::at(Stage::Connected);
            bench.say_in(portion, &Preface { lowest: version, highest: version }.encode());
            assert_eq!(bench.bad.heard[..8], Preface::OURS.encode());
            bench.bad.heard.drain(..8);
            let sentence = format!("the hub speaks versions 1 to 1 of the protocol, the node {version} to {version}");
            bench.expect_close(Code::VersionMismatch, &sentence, &(version, portion));
        }
    }
}

/// N9.
#[test]
fn unknown_kinds_that_may_be_ignored_are_ignored() {
    for portion in PORTIONS {
        let mut bench = Bench::at(Stage::Connected);
        let unknown = [12, 0, 0, 0, 0xee, 7, 1, 2, 3, 4, 5, 6];
        bench.say(&Preface::OURS.encode());
        bench.say_in(portion, &unknown);
        bench.say(&hello(b"bad", None));
        bench.say_in(portion, &unknown);
        bench.bad.heard.clear();
        bench.say(&encoded(&PROOF));
        welcome(&bench.bad.heard.split_off(0));
        bench.say_in(portion, &unknown);
        bench.expect_alive(&portion);
    }
}

/// N11 to N13: frames that have no business where they come.
#[test]
fn a_frame_out_of_turn_ends_its_link() {
    let lagged = [28, 0, 0, 0, 0x1a, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0];
    let all: Vec<(&str, Vec<u8>)> = vec![
        ("Hello", hello(b"bad", None)),
        ("Proof", encoded(&PROOF)),
        ("Challenge", encoded(&Frame::Challenge { nonce: [0; 32], proof: [0; 32] })),
        ("Welcome", encoded(&Frame::Welcome(convoke_core::frame::Welcome::default()))),
        ("Done", encoded(&Frame::Done { id: 1, value: 1 })),
        ("Refused", encoded(&Frame::Refused { about: About::Request(1), code: Code::Limit, text: "" })),
        ("Topic", encoded(&Frame::Topic { number: 1, name: b"a" })),
        ("Publisher", encoded(&Frame::Publisher { number: 1, name: b"a" })),
        ("Forget", encoded(&Frame::Forget { number: 1 })),
        ("Lagged", [&lagged[..], &[1, 0, 0, 0, 0, 0, 0, 0], &[0; 4]].concat()),
        ("Subscribe", encoded(&Frame::Subscribe { id: 1, pattern: b"a", group: b"" })),
        ("Unsubscribe", encoded(&Frame::Unsubscribe { id: 1 })),
        ("Confirm", encoded(&Frame::Confirm { id: 1 })),
        ("Barrier", encoded(&Frame::Barrier { id: 1 })),
        ("Ping", encoded(&Frame::Ping { id: 1, node: b"" })),
        ("Pong", encoded(&Frame::Pong { id: 1 })),
        ("Beat", encoded(&Frame::Beat { received: 0 })),
        ("Close", encoded(&Frame::Close { code: Code::Left, text: "" })),
        ("Event", named_event(1, 1, b"a", b"")),
    ];
    let all: Vec<_> = values::FROM_HUB.iter().map(|(word, frame)| (*word, encoded(frame))).chain(all).collect();
    for (word, bytes) in &all {
        for portion in PORTIONS {
            for (stage, expected) in [(Stage::Greeted, "Hello"), (Stage::Challenged, "Proof")] {
                if *word != expected {
                    let mut bench = Bench::at(stage);
                    bench.say_in(portion, bytes);
                    let sentence = format!("expected {expected} before anything else");
                    bench.expect_close(Code::BadFrame, &sentence, &(word, stage, portion));
                }
            }
        }
    }
    let from_hub = values::FROM_HUB.len() + 10;
    for (word, bytes) in all.iter().take(from_hub) {
        for portion in PORTIONS {
            let mut bench = Bench::at(Stage::Joined);
            bench.say_in(portion, bytes);
            bench.expect_close(Code::BadFrame, word, &(word, portion));
        }
    }
}

/// More than a Hello can be, and more than may come at all before joining.
#[test]
fn who_has_not_joined_cannot_make_the_hub_hold_much() {
    for stage in NOT_JOINED {
        let mut bench = Bench::at(stage);
        bench.say(&[1, 0x40, 0, 0, 1, 0, 0, 0]);
        bench.expect_close(Code::TooLarge, "16384 bytes each", &stage);
        let mut bench = Bench::at(stage);
        let ignored = [&[0, 0x40, 0, 0, 0xff, 0, 0, 0][..], &[0; 0x3ff8]].concat();
        for _ in 0..3 {
            bench.say(&ignored);
            assert_eq!(bench.answers(), []);
        }
        bench.say(&ignored);
        bench.expect_close(Code::TooLarge, "65536 bytes", &stage);
    }
}

fn bad_names() -> Vec<(Vec<u8>, &'static str)> {
    let long = "a".repeat(513).into_bytes();
    let deep = vec!["a"; 33].join("/").into_bytes();
    vec![
        // N19
        (vec![b'a', 0xc0, 0x80], "is not UTF-8"),
        (vec![b'a', 0xed, 0xa0, 0x80], "is not UTF-8"),
        (vec![0x80], "is not UTF-8"),
        // N20
        (b"a\0b".to_vec(), "has the character"),
        (b"a\r\nb".to_vec(), "has the character"),
        (b"a\x1b[31m".to_vec(), "has the character"),
        // N21
        (b"".to_vec(), "cannot be empty"),
        (b"/".to_vec(), "has an empty word"),
        (b"//".to_vec(), "has an empty word"),
        (b"a//b".to_vec(), "has an empty word"),
        (long, "is too long"),
        (deep, "has too many words"),
        (vec![b'/'; 65_000], "is too long"),
    ]
}

/// N19 to N22 in events, subscriptions, pings and Hello.
#[test]
fn bad_names_are_refused_and_the_link_stays() {
    for (bytes, sentence) in bad_names() {
        let case = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
        let portions = if bytes.len() > 1000 { &PORTIONS[..1] } else { &PORTIONS[..] };
        for &portion in portions {
            let mut bench = Bench::at(Stage::Joined);
            let (event, seq) = bench.bad.event(&bytes, b"payload");
            bench.say_in(portion, &event);
            bench.expect_refused(About::Event(seq), Code::BadName, sentence, &case);
            bench.say_in(portion, &with_short(0x11, 5, &bytes, &[0, 0]));
            bench.expect_refused(About::Request(5), Code::BadName, sentence, &case);
            if !bytes.is_empty() {
                bench.say_in(portion, &with_short(0x1b, 6, &bytes, &[]));
                bench.expect_refused(About::Request(6), Code::BadName, sentence, &case);
            }
            bench.expect_alive(&case);
        }
        if bytes.len() < 4096 {
            let mut bench = Bench::at(Stage::Greeted);
            bench.say(&hello(&bytes, None));
            bench.expect_close(Code::BadName, sentence, &case);
        }
    }
    // N22
    for (name, sentence) in [("a/+", "has a `+`"), ("#", "has a `#`")] {
        let mut bench = Bench::at(Stage::Joined);
        let (event, seq) = bench.bad.event(name.as_bytes(), b"");
        bench.say(&event);
        bench.expect_refused(About::Event(seq), Code::BadName, sentence, &name);
        bench.expect_alive(&name);
    }
    for (pattern, sentence) in [("a/#/b", "goes on after `#`"), ("a#", "inside the word"), ("+a", "inside the word")] {
        let mut bench = Bench::at(Stage::Joined);
        bench.say(&encoded(&Frame::Subscribe { id: 3, pattern: pattern.as_bytes(), group: b"" }));
        bench.expect_refused(About::Request(3), Code::BadName, sentence, &pattern);
        bench.expect_alive(&pattern);
        assert_eq!(bench.hub.census().subscriptions, 1, "only the witness has one");
    }
    for (group, sentence) in [(&b"a//b"[..], "empty word"), (b"a/+", "has a `+`"), (b"\xff", "UTF-8")] {
        let mut bench = Bench::at(Stage::Joined);
        bench.say(&encoded(&Frame::Subscribe { id: 3, pattern: b"a", group }));
        bench.expect_refused(About::Request(3), Code::BadName, sentence, &group);
        bench.expect_alive(&group);
        assert_eq!(bench.hub.census().subscriptions, 1, "only the witness has one");
    }
}

#[test]
fn a_node_does_not_say_which_member_of_a_group_gets_its_event() {
    let mut bench = Bench::at(Stage::Joined);
    let (mut event, _) = bench.bad.event(b"a", b"payload");
    event[6] |= 0x10;
    bench.say(&event);
    bench.expect_close(Code::BadFrame, "only the hub", &"GROUP");
}

fn with_short(kind: u8, id: u32, bytes: &[u8], rest: &[u8]) -> Vec<u8> {
    let len = (8 + 4 + 2 + bytes.len() + rest.len()) as u32;
    let head = [&len.to_le_bytes()[..], &[kind, 0, 0, 0], &id.to_le_bytes()].concat();
    [&head[..], &(bytes.len() as u16).to_le_bytes(), bytes, rest].concat()
}

/// N23.
#[test]
fn the_names_of_the_hub_are_its_own() {
    let mut bench = Bench::at(Stage::Joined);
    let (event, seq) = bench.bad.event(b"$hub/nodes", b"");
    bench.say(&event);
    bench.expect_refused(
        About::Event(seq),
        Code::Forbidden,
        "publish on `$hub/nodes`: names that begin with `$` are the hub's own",
        &"N23",
    );
    bench.expect_alive(&"N23");
    let mut bench = Bench::at(Stage::Greeted);
    bench.say(&hello(b"$hub", None));
    bench.expect_close(Code::Forbidden, "`$hub` is not for nodes", &"N23");
}

/// N24 and N25.
#[test]
fn subscriptions_have_numbers_and_a_limit() {
    let mut bench = Bench::at(Stage::Joined);
    bench.say(&encoded(&Frame::Subscribe { id: 7, pattern: b"a/#", group: b"" }));
    assert_eq!(bench.answers(), [Answer::Done(7, 0)]);
    bench.say(&encoded(&Frame::Subscribe { id: 7, pattern: b"b/#", group: b"" }));
    bench.expect_refused(About::Request(7), Code::BadFrame, "the number 7 is in use", &"N24");
    bench.say(&encoded(&Frame::Unsubscribe { id: 8 }));
    bench.expect_refused(About::Request(8), Code::BadFrame, "there is no subscription 8", &"N24");
    bench.expect_alive(&"N24");

    let mut bench = Bench::at(Stage::Joined);
    let many: Vec<u8> =
        (0..10_001).flat_map(|id| encoded(&Frame::Subscribe { id, pattern: b"a/#", group: b"" })).collect();
    bench.say(&many);
    let mut answers = bench.answers();
    let Some(Answer::Refused(About::Request(10_000), Code::Limit, text)) = answers.pop() else { panic!("the last") };
    assert!(text.contains("bad has 10000 subscriptions, which is all it may have"), "{text}");
    assert_eq!(answers, (0..10_000).map(|id| Answer::Done(id, 0)).collect::<Vec<_>>());
    bench.expect_alive(&"N25");
    bench.hub.closed(bench.bad.link, bench.now);
    assert_eq!(bench.hub.census().subscriptions, 1);
}

/// N26: an answer that nobody waits for is nobody's.
#[test]
fn an_answer_from_the_wrong_link_is_not_taken() {
    let mut bench = Bench::at(Stage::Joined);
    for id in [0, 1, u32::MAX] {
        bench.say(&encoded(&Frame::Pong { id }));
    }
    bench.expect_alive(&"never asked");
    // The witness asks itself; the other link answers for it, whatever the number is.
    let Bench { hub, witness, bad, now, .. } = &mut bench;
    witness.heard.clear();
    witness.say(hub, &encoded(&Frame::Ping { id: 99, node: b"witness" }), *now);
    let Ok(Some((Frame::Ping { id, node: b"" }, _))) = Frame::decode(&witness.heard.split_off(0)) else {
        panic!("the hub passes the ping on")
    };
    bad.say(hub, &encoded(&Frame::Pong { id }), *now);
    witness.listen(hub);
    assert_eq!(answers(&witness.heard), [], "not from there");
    witness.say(hub, &encoded(&Frame::Pong { id }), *now);
    assert_eq!(answers(&witness.heard.split_off(0)), [Answer::Done(99, 0)]);
    witness.say(hub, &encoded(&Frame::Pong { id }), *now);
    assert_eq!(answers(&witness.heard), [], "and not twice");
    bench.expect_alive(&"N26");
}

/// N28: events are counted one by one.
#[test]
fn events_out_of_count_end_their_link() {
    let publish = |publisher: u32, seqs: &[u64]| -> Vec<u8> {
        seqs.iter().flat_map(|seq| named_event(publisher, *seq, b"a/b", b"x")).collect()
    };
    for seqs in [&[0][..], &[1, 1], &[1, 3], &[5, 4], &[1, u64::MAX], &[u64::MAX, 0], &[u64::MAX, u64::MAX]] {
        for portion in PORTIONS {
            let mut bench = Bench::at(Stage::Joined);
            let publisher = bench.bad.publisher;
            bench.say(&publish(publisher, &seqs[..seqs.len() - 1]));
            bench.answers();
            bench.say_in(portion, &publish(publisher, &seqs[seqs.len() - 1..]));
            bench.expect_close(Code::BadFrame, "events are counted one by one", &seqs);
        }
    }
    let mut bench = Bench::at(Stage::Joined);
    let other = bench.witness.publisher;
    bench.say(&publish(other, &[1]));
    bench.expect_close(Code::BadFrame, "on the link of publisher", &"another's number");
}

/// Fragments that do not belong together, and payloads that are too long.
#[test]
fn fragments_that_are_no_event_end_their_link() {
    let big = vec![0; limits::FRAGMENT_BYTES_MAX];
    let piece = |publisher, seq, flags, payload: &[u8]| numbered_event(publisher, seq, 1, flags, payload);
    // Of each frame: seq, flags, bytes.
    type Frames = Vec<(u64, u16, usize)>;
    let table: Vec<(&str, Frames, Code, &str)> = vec![
        ("rest first", vec![(1, REST, 1)], Code::BadFrame, "an event that never began"),
        ("not finished", vec![(1, MORE, 1), (2, 0, 1)], Code::BadFrame, "event 1 from `bad` was not finished"),
        ("not finished, after a gap", vec![(9, MORE, 1), (10, 0, 1)], Code::BadFrame, "event 9 from `bad` was not"),
        ("last seq", vec![(u64::MAX, MORE, 1), (0, 0, 1)], Code::BadFrame, "was not finished"),
        ("another's rest", vec![(1, MORE, 1), (2, REST, 1)], Code::BadFrame, "was not finished"),
        (
            "tiny",
            vec![(1, MORE, 0); 1].into_iter().chain(vec![(1, MORE | REST, 1); 20]).collect(),
            Code::BadFrame,
            "1 KiB",
        ),
        (
            "too long",
            vec![(1, MORE, big.len()); 1].into_iter().chain(vec![(1, MORE | REST, big.len()); 17]).collect(),
            Code::TooLarge,
            "longer than the 1048576 bytes this hub takes",
        ),
    ];
    for (case, frames, code, sentence) in table {
        let mut bench = Bench::at(Stage::Joined);
        let publisher = bench.bad.publisher;
        for (seq, flags, len) in frames {
            bench.say(&piece(publisher, seq, flags, &big[..len]));
        }
        bench.expect_close(code, sentence, &case);
    }
}

/// Every event on a number that is not the link's is refused, also when many come at once.
#[test]
fn each_event_on_a_foreign_number_is_refused() {
    for topic in [1, 2, 0, u32::MAX] {
        for portion in PORTIONS {
            let mut bench = Bench::at(Stage::Joined);
            // Topic 1 is the witness's.
            bench.expect_witness_unhurt(&"before");
            let publisher = bench.bad.publisher;
            let events: Vec<u8> = (1..=3).flat_map(|seq| numbered_event(publisher, seq, topic, 0, b"x")).collect();
            bench.say_in(portion, &events);
            let answers = bench.answers();
            let expected: Vec<Answer> = (1..=3)
                .map(|seq| {
                    let text = format!("`bad` may not publish on topic number {topic}");
                    Answer::Refused(About::Event(seq), Code::Forbidden, text)
                })
                .collect();
            assert_eq!(answers, expected, "topic {topic}, {portion:?}");
            bench.expect_alive(&topic);
        }
    }
}

/// The last number there is: nothing can follow it, and nothing breaks.
#[test]
fn the_last_seq_is_a_seq() {
    for flags in [0, NAMED] {
        let mut bench = Bench::at(Stage::Joined);
        let publisher = bench.bad.publisher;
        match flags {
            NAMED => bench.say(&named_event(publisher, u64::MAX, b"$hub/x", b"x")),
            _ => bench.say(&numbered_event(publisher, u64::MAX, 1, 0, b"x")),
        }
        bench.expect_refused(About::Event(u64::MAX), Code::Forbidden, "publish on", &flags);
        bench.expect_alive(&flags);
    }
}

/// N29.
#[test]
fn who_cannot_prove_what_it_was_does_not_come_back() {
    let mut bench = Bench::at(Stage::Greeted);
    // The witness is the first incarnation of this hub and is joined.
    bench.say(&hello(b"witness", Some(Incarnation { epoch: 1, counter: 1 })));
    bench.answers();
    bench.say(&encoded(&Frame::Proof { token: [0; 32], resume: [9; 32] }));
    bench.expect_close(Code::Fenced, "cannot come back", &"a wrong proof");

    let mut bench = Bench::at(Stage::Greeted);
    bench.say(&hello(b"bad", Some(Incarnation { epoch: 1, counter: 1 })));
    bench.answers();
    bench.say(&encoded(&PROOF));
    bench.expect_close(Code::Fenced, "cannot come back", &"another's incarnation");

    for incarnation in [Incarnation { epoch: 0, counter: 1 }, Incarnation { epoch: 1, counter: 77 }] {
        let mut bench = Bench::at(Stage::Greeted);
        bench.say(&hello(b"bad", Some(incarnation)));
        bench.answers();
        bench.say(&encoded(&PROOF));
        assert_eq!(bench.answers(), [Answer::Other("Welcome")], "what is forgotten begins anew");
        bench.expect_alive(&incarnation);
    }
}

/// Where something was first is believed of links of other hubs only.
#[test]
fn only_a_link_of_another_hub_says_where_something_was_first() {
    for portion in PORTIONS {
        let mut bench = Bench::at(Stage::Joined);
        let mut event = named_event(bench.bad.publisher, 1, b"a", &[7; 40]);
        event[6] |= ORIGIN as u8;
        bench.say_in(portion, &event);
        bench.expect_close(Code::BadFrame, "only a link of another hub says where something was first", &portion);
        let mut bench = Bench::at(Stage::Joined);
        let (carrier, hash) = ([5; 16], [6; 16]);
        let carried = Carried { carrier, place: 2, hash, after: 0, brought: Brought::Nothing };
        let append = Append { cseq: 1, settled: 0, journal: b"todo", appended: Appended::Carried(carried) };
        bench.say_in(portion, &encoded(&Frame::Append(append)));
        let Ok(Some((Frame::Refused { code, text, .. }, _))) = Frame::decode(&bench.bad.heard) else {
            panic!("a Refused")
        };
        assert_eq!(code, Code::BadFrame, "{text}");
    }
}

/// N38: who takes nothing and wants to be cut is told so, last of all, and gets and counts for nothing from then on.
#[test]
fn after_close_nothing_comes() {
    let mut bench = Bench::at(Stage::Greeted);
    let hello = Hello { name: b"bad", nonce: [1; 32], slow: SlowPolicy::Disconnect, ..Hello::default() };
    bench.say(&encoded(&Frame::Hello(hello)));
    bench.say(&encoded(&PROOF));
    bench.say(&encoded(&Frame::Subscribe { id: 1, pattern: b"flood", group: b"" }));
    bench.bad.heard.clear();
    let Bench { hub, witness, bad, now, .. } = &mut bench;
    let payload = vec![0; 60_000];
    let mut counts = Vec::new();
    for id in 0..200 {
        let (event, _) = witness.event(b"flood", &payload);
        witness.say(hub, &event, *now);
        witness.heard.clear();
        witness.say(hub, &encoded(&Frame::Confirm { id }), *now);
        let Ok(Some((Frame::Done { value, .. }, _))) = Frame::decode(&witness.heard) else { panic!("a Done") };
        counts.push(value);
        witness.heard.clear();
    }
    let taken = counts.iter().filter(|count| **count == 2).count();
    assert!((100..180).contains(&taken), "8 MiB of them: {taken}");
    assert!(counts[..taken].iter().all(|count| *count == 2), "{counts:?}");
    assert!(counts[taken..].iter().all(|count| *count == 1), "only the witness takes the rest: {counts:?}");
    bad.listen(hub);
    // The numbers it was told before it was cut may still come; then Close, and nothing behind it.
    let mut rest = &bad.heard[..];
    let mut kinds = Vec::new();
    while let Ok(Some((_, len))) = Frame::decode(rest) {
        kinds.push(rest[4]);
        rest = &rest[len..];
    }
    assert_eq!(kinds, [Kind::Topic as u8, Kind::Publisher as u8, Kind::Close as u8]);
    assert!(bad.closed);
}

/// N36 and N37: a connection that ends, wherever it stands.
#[test]
fn a_connection_that_ends_leaves_nothing() {
    for stage in [Stage::Connected, Stage::Greeted, Stage::Challenged, Stage::Joined] {
        let mut bench = Bench::at(stage);
        if stage != Stage::Connected {
            bench.say(&[100, 0, 0, 0, 0x10, 0, 0]);
        }
        bench.hub.closed(bench.bad.link, bench.now);
        let census = bench.hub.census();
        // That its node was there is known for a while.
        let known = usize::from(stage == Stage::Joined);
        assert_eq!((census.links, census.nodes, census.timers), (1, 1, 1 + known), "{stage:?}");
        assert_eq!(census.members, 1 + known, "{stage:?}");
        bench.expect_witness_unhurt(&stage);
    }
}

/// What came before a bad frame was lost with it, or not, depending on how the bytes were cut on their way.
#[test]
fn what_came_before_a_bad_frame_arrives() {
    for portion in PORTIONS {
        let mut bench = Bench::at(Stage::Joined);
        let (publisher, seq) = (bench.bad.publisher, 1);
        let named = named_event(publisher, seq, b"a", b"first");
        bench.say(&named);
        let number = match Frame::decode(&bench.bad.heard.split_off(0)) {
            Ok(Some((Frame::Topic { number, .. }, _))) => number,
            other => panic!("a Topic, not {other:?}"),
        };
        let mut bad = numbered_event(publisher, seq + 2, number, 0, b"bad");
        bad[5] = 0xff;
        bench.say_in(portion, &[numbered_event(publisher, seq + 1, number, 0, b"good"), bad].concat());
        bench.witness.listen(&mut bench.hub);
        let heard = bench.witness.heard.split_off(0);
        assert!(heard.windows(4).any(|bytes| bytes == b"good"), "{portion:?}");
        bench.expect_close(Code::BadFrame, "expected an encoding that exists", &portion);
    }
}

/// When the hub held all that it may for links that do not read, those that do read lost every event.
#[test]
fn who_reads_gets_everything_although_the_hub_is_full() {
    let config = HubConfig { hub_bulk_bytes_max: 1 << 20, links_max: 100, ..HubConfig::default() };
    let full = config.hub_bulk_bytes_max;
    let mut bench = Bench::with(config);
    bench.reach(Stage::Joined);
    // From here on this link reads nothing.
    bench.hub.receive(
        bench.bad.link,
        &mut encoded(&Frame::Subscribe { id: 7, pattern: b"#", group: b"" })[..].into(),
        bench.now,
    );
    let Bench { hub, witness, now, .. } = &mut bench;
    witness.say(hub, &encoded(&Frame::Unsubscribe { id: 1 }), *now);
    while hub.census().bulk_bytes < full {
        let (event, seq) = witness.event(b"a", &[0; 1000]);
        witness.say(hub, &event, *now);
        assert!(seq < 2000, "it is never full");
    }
    witness.say(hub, &encoded(&Frame::Subscribe { id: 2, pattern: b"#", group: b"" }), *now);
    bench.expect_witness_unhurt(&"the hub is full");
}
