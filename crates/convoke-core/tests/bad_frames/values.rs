//! Bad frames of values, services and info: what is no frame or has no business there ends its link, what is well formed
//! and not allowed is refused, and the link stays.

use convoke_core::frame::{
    About, Call, Content, End, Expect, Frame, Handle, Incarnation, Item, Items, Kind, MORE, REST, Reply, Select, Set,
    Value, WatchMode,
};
use convoke_core::limits::{
    ANSWERS_BYTES_MAX, BEAT_ATTENTIVE, BEATS_DEAD, FRAGMENT_BYTES_MAX, LOOKED_AT_PAUSE, VALUE_BYTES_MAX,
    WATCHES_PER_LINK_MAX, WRITES_MAX,
};
use convoke_core::{Code, Encoding, HubConfig, Name, Rev};

use super::bench::{Answer, Bench, PORTIONS, Stage, answers, encoded};

const CONTENT: Content<'static> = Content { encoding: Encoding::Raw, headers: false, bytes: b"x" };

/// What only a hub sends.
pub(crate) const FROM_HUB: &[(&str, Frame<'static>)] = &[
    ("Written", Frame::Written { cseq: 1, rev: Rev::durable(1), count: 1 }),
    (
        "Value",
        Frame::Value(Value { id: 1, rev: Rev::durable(1), author: b"a", name: b"a", payload: None, together: false }),
    ),
    ("Snapshot", Frame::Snapshot { id: 1, durable: true, memory: true, first: 0 }),
    (
        "Handle",
        Frame::Handle(Handle {
            id: 1,
            registration: 1,
            left_ms: 1,
            incarnation: Incarnation { epoch: 1, counter: 1 },
            number: 1,
            caller: b"a",
            author: b"a",
            content: CONTENT,
        }),
    ),
    ("Recall", Frame::Recall { id: 1, incarnation: Incarnation { epoch: 1, counter: 1 }, number: 1, caller: b"a" }),
];

fn frame(kind: Kind, encoding: u8, flags: u16, body: &[u8]) -> Vec<u8> {
    let len = (8 + body.len()) as u32;
    [&len.to_le_bytes()[..], &[kind as u8, encoding], &flags.to_le_bytes(), body].concat()
}

fn set(payload: &[u8]) -> Option<Set<'_>> {
    Some(Set { encoding: Encoding::Raw, payload, ttl_ms: 0, ephemeral: false })
}

fn write(cseq: u64, items: &[Item<'_>]) -> Vec<u8> {
    write_settled(cseq, 0, items)
}

fn write_settled(cseq: u64, settled: u64, items: &[Item<'_>]) -> Vec<u8> {
    let body = [&cseq.to_le_bytes()[..], &settled.to_le_bytes(), &Items::encode(items)].concat();
    let last = (body.len() - 1) / FRAGMENT_BYTES_MAX;
    let flags = |index| if index < last { MORE } else { 0 } | if index > 0 { REST } else { 0 };
    let fragments = body.chunks(FRAGMENT_BYTES_MAX).enumerate();
    fragments.flat_map(|(index, body)| frame(Kind::Write, 0, flags(index), body)).collect()
}

fn item<'a>(name: &'a [u8], payload: &'a [u8]) -> Item<'a> {
    Item { name, every: false, expect: Expect::Anything, set: set(payload) }
}

fn watch(id: u32, pattern: &[u8]) -> Vec<u8> {
    let (mode, after_memory) = (WatchMode::Latest, Rev::default());
    encoded(&Frame::Watch { id, mode, window: 1 << 20, after: 0, after_memory, pattern })
}

/// A Write whose one change has been spoiled: in its kind, its flags, its expectation, its encoding, its length, its end.
#[test]
fn a_bad_change_ends_its_link() {
    let table: [(&[u8], &str); 9] = [
        (&[0, 0], "1 to 256 changes"),
        (&[1, 1], "1 to 256 changes"),
        (&[1, 0, 2, 0, 1, 0, b'a', 0], "0 (set) or 1 (delete)"),
        (&[1, 0, 1, 4, 1, 0, b'a', 0], "flags of a change"),
        (&[1, 0, 1, 0, 9, 0, b'a', 0], "a name"),
        (&[1, 0, 1, 0, 1, 0, b'a', 9], "an expectation that exists"),
        (&[1, 0, 0, 0, 1, 0, b'a', 0, 7], "an encoding that exists"),
        (&[1, 0, 0, 0, 1, 0, b'a', 0, 0, 255, 255, 255, 255, b'x'], "a payload as long as it says"),
        (&[1, 0, 1, 0, 1, 0, b'a', 0, 0], "the end of the frame"),
    ];
    for (items, sentence) in table {
        let body = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[0; 8], items].concat();
        for portion in PORTIONS {
            let mut bench = Bench::at(Stage::Joined);
            bench.say_in(portion, &frame(Kind::Write, 0, 0, &body));
            bench.expect_close(Code::BadFrame, sentence, &(items, portion));
            // The same in two fragments: what is wrong is only seen when all of it is there.
            let mut bench = Bench::at(Stage::Joined);
            let (first, rest) = body.split_at(17);
            bench.say_in(portion, &frame(Kind::Write, 0, MORE, first));
            assert_eq!(bench.answers(), [], "{items:?}");
            bench.say_in(portion, &frame(Kind::Write, 0, REST, rest));
            bench.expect_close(Code::BadFrame, sentence, &(items, portion, "in fragments"));
        }
    }
}

#[test]
fn flags_and_numbers_that_do_not_exist_end_their_link() {
    let number = [1, 0, 0, 0, 0, 0, 0, 0];
    let table: Vec<(Vec<u8>, &str)> = vec![
        (frame(Kind::Write, 1, 0, &number), "no encoding and no flags in a Write"),
        (frame(Kind::Write, 0, 1, &number), "no encoding and no flags in a Write"),
        (write(0, &[item(b"a", b"1")]), "a cseq from 1"),
        (frame(Kind::Call, 0, 1, &number), "flags of this kind of frame"),
        (frame(Kind::Call, 9, 0, &[&[0; 16][..], &[0; 4]].concat()), "an encoding that exists"),
        (frame(Kind::Call, 0, 0, &[&[0; 12][..], &[77, 0, 0, 0, 0]].concat()), "a selector that exists"),
        (frame(Kind::Call, 0, 2, &[&[0; 17][..], &[9, 0]].concat()), "headers"),
        (frame(Kind::Reply, 0, 0, &[&number[..], &[5]].concat()), "an end of a call that exists"),
        (frame(Kind::Reply, 0, 0, &[&number[..], &[4, 0]].concat()), "the end of the frame"),
        (frame(Kind::Watch, 0, 0, &[1, 0, 0, 0, 3]), "0 (latest), 1 (all) or 2 (once)"),
        (frame(Kind::Taken, 0, 0, &number[..7]), "bytes"),
        (frame(Kind::Serve, 0, 0, &[1, 0, 0, 0, 2, 0, 0]), "0 or 1"),
        (frame(Kind::Cancel, 0, 0, &number[..7]), "a number"),
        (frame(Kind::Info, 0, 0, &[8, 1, 0, 3]), "0 (may), 1 (must) or 2 (never)"),
        (frame(Kind::Info, 0, 0, &[1, 1, 0, 0xff]), "at most 256 bytes of UTF-8"),
        (frame(Kind::Info, 0, 0, &[9, 0, 0]), "a field that this version knows"),
    ];
    for (bytes, sentence) in table {
        for portion in PORTIONS {
            let mut bench = Bench::at(Stage::Joined);
            bench.say_in(portion, &bytes);
            bench.expect_close(Code::BadFrame, sentence, &(sentence, portion));
        }
    }
}

/// Fragments that never end, that are tiny, or that do not belong together.
#[test]
fn fragments_that_are_no_frame_end_their_link() {
    const TOGETHER: &str = "a frame of fragments from its first to its last";
    const REST_FIRST: &str = "the rest of a frame before another of its lane";
    // Of each fragment: kind, flags, bytes.
    type Train = Vec<(Kind, u16, usize)>;
    let endless = |kind, len| {
        let rest = std::iter::repeat_n((kind, MORE | REST, len), 40);
        std::iter::once((kind, MORE, len)).chain(rest).collect::<Train>()
    };
    let table: Vec<(&str, Train, &str)> = vec![
        ("the rest of nothing", vec![(Kind::Write, REST, 9)], TOGETHER),
        ("the end of nothing", vec![(Kind::Call, MORE | REST, 9)], TOGETHER),
        ("begun twice", vec![(Kind::Reply, MORE, 9), (Kind::Reply, MORE, 9)], TOGETHER),
        ("another kind", vec![(Kind::Call, MORE, 9), (Kind::Reply, REST, 9)], REST_FIRST),
        ("tiny", endless(Kind::Write, 3), "1024 bytes in a fragment"),
        ("empty", endless(Kind::Reply, 0), "1024 bytes in a fragment"),
        ("endless", endless(Kind::Write, FRAGMENT_BYTES_MAX), "no longer than their frame may be"),
        ("endless", endless(Kind::Call, FRAGMENT_BYTES_MAX), "no longer than their frame may be"),
    ];
    for (case, train, sentence) in table {
        let mut bench = Bench::at(Stage::Joined);
        for (kind, flags, len) in &train {
            bench.say(&frame(*kind, 0, *flags, &vec![0; *len]));
        }
        bench.expect_close(Code::BadFrame, sentence, &case);
    }
    // Half a frame holds nobody up, and is forgotten with its link.
    let mut bench = Bench::at(Stage::Joined);
    for kind in [Kind::Write, Kind::Call] {
        bench.say(&frame(kind, 0, MORE, &[0; FRAGMENT_BYTES_MAX]));
    }
    bench.expect_alive(&"half a frame");
}

/// Before it has joined a node cannot begin long frames either.
#[test]
fn a_long_frame_before_joining_ends_its_link() {
    for (stage, expected) in [(Stage::Greeted, "Hello"), (Stage::Challenged, "Proof")] {
        for flags in [0, MORE, REST] {
            let mut bench = Bench::at(stage);
            bench.say(&frame(Kind::Write, 0, flags, &[0; 40]));
            let answers = bench.answers();
            let [Answer::Close(Code::BadFrame, text)] = &answers[..] else { panic!("a Close, not {answers:?}") };
            assert!(flags == 0 || text.contains(expected), "{text}");
        }
    }
}

#[test]
fn a_write_that_is_not_allowed_is_refused_and_the_link_stays() {
    let big = vec![0; VALUE_BYTES_MAX + 1];
    let absent = Item { expect: Expect::Present, ..item(b"a", b"1") };
    let pattern = Item { name: b"a/#/b", every: true, ..item(b"", b"") };
    let own = Item { name: b"$hub/#", every: true, set: None, ..item(b"", b"") };
    let table: Vec<(Vec<Item<'_>>, Code, &str)> = vec![
        (vec![item(b"", b"1")], Code::BadName, "cannot be empty"),
        (vec![item(b"a//b", b"1")], Code::BadName, "has an empty word"),
        (vec![item(b"a/+", b"1")], Code::BadName, "has a `+`"),
        (vec![item(b"\xff", b"1")], Code::BadName, "is not UTF-8"),
        (vec![pattern], Code::BadName, "goes on after `#`"),
        (vec![item(b"$hub/status", b"1")], Code::Forbidden, "names that begin with `$` are the hub's own"),
        (vec![item(b"$mine", b"1")], Code::Forbidden, "names that begin with `$` are the hub's own"),
        (vec![own], Code::Forbidden, "names that begin with `$` are the hub's own"),
        (vec![item(b"a", b"1"), item(b"$hub/x", b"1")], Code::Forbidden, "names that begin with `$`"),
        (vec![item(b"a", b"1"), item(b"a", b"2")], Code::BadRequest, "at most once"),
        (vec![item(b"a", b"1"), item(b"memory/a", b"2")], Code::BadRequest, "in memory only"),
        (vec![item(b"a", &big)], Code::TooLarge, "at most 262144 bytes"),
        (vec![item(b"memory/a", &big)], Code::TooLarge, "at most 262144 bytes"),
        (vec![absent], Code::Conflict, "`a`"),
    ];
    let memory = vec![Name::parse("memory").expect("a name")];
    for (items, code, sentence) in table {
        let mut bench = Bench::with(HubConfig { memory: memory.clone(), ..HubConfig::default() });
        bench.reach(Stage::Joined);
        let before = bench.hub.census().values;
        bench.say(&write(1, &items));
        bench.expect_refused(About::Write(1), code, sentence, &sentence);
        assert_eq!(bench.hub.census().values, before, "{sentence}: nothing was written");
        bench.say(&write(2, &[item(b"b", b"1")]));
        assert_eq!(bench.answers(), [Answer::Other("Written")], "{sentence}");
        bench.expect_alive(&sentence);
    }
}

/// Once a node that never said that it had its answers filled the hub with them, and could not say so any more either.
#[test]
fn who_does_not_say_that_it_has_its_answers_is_refused_before_anybody_else() {
    for prefix in ["kept", "memory"] {
        let memory = vec![Name::parse("memory").expect("a name")];
        let mut bench = Bench::with(HubConfig { memory, ..HubConfig::default() });
        bench.reach(Stage::Joined);
        // Each is refused with a long sentence, which must be kept.
        let name = format!("{prefix}/{}", "x".repeat(500));
        let wanting = Item { expect: Expect::Present, ..item(name.as_bytes(), b"1") };
        let (mut last, mut some) = (0, 500);
        let refusal = loop {
            let some_of_them: Vec<u8> = (last + 1..=last + some).flat_map(|cseq| write(cseq, &[wanting])).collect();
            bench.say(&some_of_them);
            let answers = bench.answers();
            let refused = answers.iter().find_map(|answer| match answer {
                Answer::Refused(About::Write(cseq), code, text) if *code != Code::Conflict => {
                    Some((*cseq, *code, text.clone()))
                }
                _ => None,
            });
            last += some;
            match (refused, some) {
                (Some(refused), 1) => break refused,
                // What is on its way counts for as much as may come of it: one after the other there is room for more.
                (Some(_), _) => some = 1,
                (None, _) => {}
            }
            assert!(last < WRITES_MAX as u64, "nothing stops it");
        };
        assert_eq!(refusal.1, Code::Backpressure, "{}", refusal.2);
        assert!(refusal.2.contains("`bad` has not said that it has answers of"), "{}", refusal.2);
        // It may have half, since then there is as much left for all others.
        let each = 570..700;
        let bytes = ANSWERS_BYTES_MAX as u64 / 2;
        assert!((bytes / each.end..bytes / each.start).contains(&refusal.0), "after {}", refusal.0);
        let other = format!("{prefix}/other");
        let Bench { hub, witness, now, .. } = &mut bench;
        witness.say(hub, &write(1, &[item(other.as_bytes(), b"1")]), *now);
        bench.say(&[]);
        bench.witness.listen(&mut bench.hub);
        assert_eq!(answers(&bench.witness.heard.split_off(0)), [Answer::Other("Written")], "others may");
        // It may again as soon as it says that it has them.
        let full = last + 1000;
        loop {
            // Those that were on their way together were counted as long as they could become.
            last += 1;
            bench.say(&write(last, &[wanting]));
            match &bench.answers()[..] {
                [Answer::Refused(_, Code::Backpressure, _)] => break,
                [Answer::Refused(_, Code::Conflict, _)] if last < full => {}
                other => panic!("{other:?}"),
            }
        }
        bench.say(&write_settled(last + 2, last + 1, &[item(other.as_bytes(), b"2")]));
        assert_eq!(bench.answers(), [Answer::Other("Written")]);
        bench.say(&write(last + 3, &[item(other.as_bytes(), b"3")]));
        assert_eq!(bench.answers(), [Answer::Other("Written")]);
    }
}

/// Once a node that had as many answers as it may could not say that it had them.
#[test]
fn who_has_had_all_answers_that_it_may_goes_on_when_it_says_so() {
    let mut bench = Bench::at(Stage::Joined);
    let max = WRITES_MAX as u64;
    for first in (1..=max).step_by(4096) {
        let some: Vec<u8> = (first..first + 4096).flat_map(|cseq| write(cseq, &[item(b"a", b"1")])).collect();
        bench.say(&some);
        bench.answers();
    }
    bench.say(&write(max + 1, &[item(b"a", b"1")]));
    bench.expect_refused(About::Write(max + 1), Code::Limit, "it may have 65536", &"one too many");
    bench.say(&write_settled(max + 2, max + 1, &[item(b"a", b"1")]));
    assert_eq!(bench.answers(), [Answer::Other("Written")]);
}

#[test]
fn a_watch_that_is_not_allowed_is_refused_and_the_link_stays() {
    for (pattern, sentence) in [(&b""[..], "cannot be empty"), (b"a/#/b", "goes on after `#`"), (b"\xff", "UTF-8")] {
        let mut bench = Bench::at(Stage::Joined);
        bench.say(&watch(5, pattern));
        bench.expect_refused(About::Request(5), Code::BadName, sentence, &sentence);
        bench.expect_alive(&sentence);
        assert_eq!(bench.hub.census().watches, 0);
    }
    let mut bench = Bench::at(Stage::Joined);
    bench.say(&watch(7, b"a/#"));
    assert!(matches!(bench.answers()[..], [Answer::Done(7, _)]));
    bench.say(&watch(7, b"b/#"));
    bench.expect_refused(About::Request(7), Code::BadFrame, "the number 7 is in use", &"in use");
    bench.say(&encoded(&Frame::Subscribe { id: 7, pattern: b"b/#", group: b"" }));
    bench.expect_refused(About::Request(7), Code::BadFrame, "the number 7 is in use", &"by a watch");
    bench.say(&encoded(&Frame::Taken { id: 8, bytes: u32::MAX }));
    bench.say(&encoded(&Frame::Taken { id: 7, bytes: u32::MAX }));
    bench.expect_alive(&"Taken for nothing");
    bench.say(&encoded(&Frame::Unsubscribe { id: 7 }));
    bench.say(&encoded(&Frame::Unsubscribe { id: 7 }));
    bench.expect_refused(About::Request(7), Code::BadFrame, "there is no", &"ended twice");
    assert_eq!(bench.hub.census().watches, 0);
}

/// Once gets that waited for what other hubs had committed had neither a limit nor a number of their own.
#[test]
fn gets_that_wait_for_a_shared_foundation_count_like_all_others() {
    let mut bench = Bench::with(HubConfig { shared_foundation: true, ..HubConfig::default() });
    bench.reach(Stage::Joined);
    let get = |id, pattern: &'static [u8]| {
        let (mode, after_memory) = (WatchMode::Once, Rev::default());
        encoded(&Frame::Watch { id, mode, window: 0, after: 0, after_memory, pattern })
    };
    // All of this comes before the foundation has answered anything.
    let mut said =
        [get(7, b"a"), get(7, b"b"), watch(7, b"b"), encoded(&Frame::Subscribe { id: 7, pattern: b"b", group: b"" })]
            .concat();
    said.extend(encoded(&Frame::Unsubscribe { id: 7 }));
    said.extend(get(7, b"c"));
    bench.say(&said);
    let answers = bench.answers();
    let in_use = |answer: &Answer| match answer {
        Answer::Refused(About::Request(7), Code::BadFrame, text) => text.contains("the number 7 is in use"),
        _ => false,
    };
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert!(answers[..3].iter().all(in_use) && matches!(answers[3], Answer::Done(7, _)), "{answers:?}");
    let count = WATCHES_PER_LINK_MAX as u32;
    let many: Vec<u8> = (0..=count).flat_map(|id| get(id, b"a/#")).collect();
    bench.say(&many);
    // So many are looked for in parts.
    while bench.hub.census().watches > 0 {
        bench.wait(LOOKED_AT_PAUSE);
    }
    let mut refused = bench.answers();
    refused.retain(|answer| !matches!(answer, Answer::Done(..)));
    let [Answer::Refused(About::Request(last), Code::Limit, _)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(*last, count);
    bench.expect_alive(&"one too many");
}

#[test]
fn watches_have_a_limit() {
    let mut bench = Bench::at(Stage::Joined);
    let count = WATCHES_PER_LINK_MAX as u32;
    let many: Vec<u8> = (0..=count).flat_map(|id| watch(id, b"a/#")).collect();
    bench.say(&many);
    let mut refused = bench.answers();
    refused.retain(|answer| !matches!(answer, Answer::Done(..)));
    let [Answer::Refused(About::Request(last), Code::Limit, text)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(*last, count);
    assert!(text.contains("10000 watches, which is all it may have"), "{text}");
    bench.expect_alive(&"one too many");
    bench.hub.closed(bench.bad.link, bench.now);
    assert_eq!(bench.hub.census().watches, 0, "they go with their link");
}

/// Answers, cancels and calls whose number nobody has given.
#[test]
fn what_is_said_of_calls_that_are_not_open_is_ignored() {
    let mut bench = Bench::at(Stage::Joined);
    for id in [0, 1, u64::MAX] {
        bench.say(&encoded(&Frame::Cancel { id }));
        let (code, text) = (Code::Busy, "");
        for end in [End::Running, End::Done(CONTENT), End::Refused { code, text }, End::Uncertain { code, text }] {
            bench.say(&encoded(&Frame::Reply(Reply { id, end })));
        }
    }
    bench.expect_alive(&"not open");
}

/// A call never does harm, whatever its number and its service are.
#[test]
fn a_call_that_leads_nowhere_leaves_the_link_alone() {
    for service in [&b"math/add"[..], b"", b"a/#", b"\xff", b"$hub/x"] {
        let mut bench = Bench::at(Stage::Joined);
        let (select, content) = (Select::Node(b"nobody"), CONTENT);
        let call = Call { number: 1, left_ms: 0, select, wait: false, again: false, service, content };
        bench.say(&encoded(&Frame::Call(call)));
        let answers = bench.answers();
        assert!(answers.iter().all(|answer| *answer == Answer::Other("Reply")), "{answers:?}");
        bench.expect_alive(&service);
    }
}

/// A link that had once watched something was held to the beats of one that watches, for ever.
#[test]
fn who_watches_no_more_may_be_silent_for_longer() {
    let silence = BEAT_ATTENTIVE * (BEATS_DEAD + 1);
    let mut bench = Bench::at(Stage::Joined);
    bench.say(&watch(7, b"a/#"));
    bench.say(&encoded(&Frame::Unsubscribe { id: 7 }));
    bench.answers();
    bench.wait(silence);
    bench.expect_alive(&"it watches nothing");
    bench.say(&watch(7, b"a/#"));
    bench.answers();
    bench.wait(silence);
    assert!(matches!(bench.answers().last(), Some(Answer::Close(Code::Silent, _))), "it watches");
}
