//! Limits that are reached by as much as they allow: what is more is refused with the reason, and the hub tells how much of
//! each is used. Others are reached in the tests of what they bound; docs/metrics.md has a list of all.

use std::time::Duration;

use bytes::BytesMut;
use convoke_core::frame::{
    Call, Change, Content, End, Expect, Frame, Grant, Handle, Item, Items, Kind, Reply, Select, Set,
};
use convoke_core::limits::{
    APPENDING_BYTES_MAX, CHANGES_MAX, INCARNATIONS_AWAY_MAX, LINK_CONTROL_BYTES_MAX, LINK_REPLIES_BYTES_MAX, PINGS_MAX,
    PRINCIPALS_MAX, SERVICES_PER_LINK_MAX, STUCK_TIME_MAX, TOPICS_MAX, TOPICS_PER_LINK_MAX, VALUE_BYTES_MAX,
};
use convoke_core::{Code, Dropped, Encoding, HubConfig, Transmit};

use crate::bench::{Answer, Bench, Stage, Wire, answers, encoded};
use crate::{join, usage};

/// The one refusal among these answers.
#[track_caller]
pub(crate) fn refusal(answers: &[Answer]) -> (Code, &str) {
    let refused: Vec<_> = answers.iter().filter(|answer| matches!(answer, Answer::Refused(..))).collect();
    let [Answer::Refused(_, code, text)] = refused[..] else { panic!("one Refused, not {refused:?}") };
    (*code, text)
}

fn item<'a>(name: &'a str, payload: &'a [u8]) -> Item<'a> {
    let set = Set { encoding: Encoding::Raw, payload, ttl_ms: 0, ephemeral: false };
    Item { name: name.as_bytes(), every: false, expect: Expect::Anything, set: Some(set) }
}

/// A Write that fits into one frame.
fn write(cseq: u64, items: &[Item<'_>]) -> Vec<u8> {
    let body = [&cseq.to_le_bytes()[..], &(cseq - 1).to_le_bytes(), &Items::encode(items)].concat();
    let len = (8 + body.len()) as u32;
    [&len.to_le_bytes()[..], &[Kind::Write as u8, 0, 0, 0], &body].concat()
}

#[test]
fn all_links_together_have_so_many_subscriptions() {
    let mut bench = Bench::with(HubConfig { subscriptions_max: 3, ..HubConfig::default() });
    bench.reach(Stage::Joined);
    for id in 1..=3 {
        bench.say(&encoded(&Frame::Subscribe { id, pattern: b"a", group: b"" }));
    }
    let answers = bench.answers();
    let (code, text) = refusal(&answers);
    assert_eq!(
        (code, text),
        (Code::Limit, "subscription to `a`: the hub has 3 subscriptions, which is all it may have")
    );
    assert_eq!((usage(&bench, "subscriptions"), usage(&bench, "subscriptions_per_link").0), ((3, 3), 2));
    assert_eq!(bench.hub.counters().refused(Code::Limit), 1);
    bench.say(&encoded(&Frame::Unsubscribe { id: 1 }));
    bench.say(&encoded(&Frame::Subscribe { id: 9, pattern: b"b", group: b"" }));
    assert_eq!(bench.answers(), [Answer::Done(9, 0)]);
}

/// What does not get a number goes by its name, and arrives all the same.
#[test]
fn topics_beyond_those_that_have_numbers_go_by_their_names() {
    let mut bench = Bench::at(Stage::Joined);
    let publish = |bench: &mut Bench, wire: &mut Wire, first: usize, count: usize| {
        let mut seen = 0;
        for chunk in 0..count.div_ceil(1000) {
            let names = (first + chunk * 1000)..(first + count).min(first + chunk * 1000 + 1000);
            let events: Vec<u8> = names.flat_map(|n| wire.event(format!("t/{n}").as_bytes(), b"").0).collect();
            wire.say(&mut bench.hub, &events, bench.now);
            wire.heard.clear();
            bench.witness.listen(&mut bench.hub);
            seen += events_in(&std::mem::take(&mut bench.witness.heard));
        }
        seen
    };
    let mut wires: Vec<Wire> = (0..4).map(|n| join(&mut bench, &format!("n/{n}"))).collect();
    for (n, wire) in wires.iter_mut().enumerate() {
        assert_eq!(publish(&mut bench, wire, n * TOPICS_PER_LINK_MAX, TOPICS_PER_LINK_MAX), TOPICS_PER_LINK_MAX);
    }
    let full = (TOPICS_MAX as u64, TOPICS_MAX as u64);
    assert_eq!((usage(&bench, "topics"), usage(&bench, "topics_per_link").0), (full, TOPICS_PER_LINK_MAX as u64));
    // The link has all the numbers it may have, and then the hub.
    assert_eq!(publish(&mut bench, &mut wires[0], TOPICS_MAX, 10), 10);
    let mut more = join(&mut bench, "more");
    assert_eq!(publish(&mut bench, &mut more, TOPICS_MAX + 10, 10), 10);
    assert_eq!(usage(&bench, "topics"), full);
}

/// Whole events in what a link was sent.
fn events_in(mut heard: &[u8]) -> usize {
    let mut count = 0;
    while let Some((frame, len)) = Frame::decode(heard).unwrap() {
        count += usize::from(matches!(frame, Frame::Event(..)));
        heard = &heard[len..];
    }
    count
}

#[test]
fn pings_on_their_way_are_bounded() {
    let mut bench = Bench::at(Stage::Joined);
    for id in 0..=PINGS_MAX as u32 {
        bench.say(&encoded(&Frame::Ping { id, node: b"witness" }));
    }
    assert_eq!(usage(&bench, "pings"), (PINGS_MAX as u64, PINGS_MAX as u64));
    let answers = bench.answers();
    let (code, text) = refusal(&answers);
    assert_eq!(code, Code::Limit);
    assert_eq!(text, "ping to `witness`: 4096 pings wait for an answer already; try again later");
}

#[test]
fn a_link_offers_a_bounded_number_of_services() {
    let mut bench = Bench::at(Stage::Joined);
    for id in 0..=SERVICES_PER_LINK_MAX as u32 {
        bench.say(&encoded(&Frame::Serve { id, idempotent: false, service: format!("s/{id}").as_bytes() }));
    }
    let full = (SERVICES_PER_LINK_MAX as u64, SERVICES_PER_LINK_MAX as u64);
    assert_eq!(usage(&bench, "services_per_link"), full);
    let answers = bench.answers();
    let (code, text) = refusal(&answers);
    assert_eq!(code, Code::Limit, "{text}");
    assert!(text.contains("10000"), "{text}");
}

#[test]
fn a_hub_has_a_bounded_number_of_principals() {
    let mut bench = Bench::at(Stage::Joined);
    for id in 0..=PRINCIPALS_MAX as u32 {
        let (name, change) = (format!("p/{id}"), Change::Create { key: None, rules: vec!["allow get #"] });
        bench.say(&encoded(&Frame::Grant(Grant { id, name: name.as_bytes(), change })));
    }
    assert_eq!(usage(&bench, "principals"), (PRINCIPALS_MAX as u64, PRINCIPALS_MAX as u64));
    let answers = bench.answers();
    let (code, text) = refusal(&answers);
    assert_eq!((code, text), (Code::Limit, "token `p/10000`: the hub has 10000, which is all it may have"));
}

#[test]
fn what_waits_for_the_foundation_is_bounded() {
    let mut bench = Bench::at(Stage::Joined);
    let payload = vec![7; VALUE_BYTES_MAX / 8];
    let mut last = 0;
    for cseq in 1.. {
        // Nobody answers what the hub asks for.
        bench.bad.say(&mut bench.hub, &write(cseq, &[item("a", &payload)]), bench.now);
        if !bench.bad.heard.is_empty() {
            last = cseq;
            break;
        }
    }
    let answers = answers(&bench.bad.heard.split_off(0));
    let (code, text) = refusal(&answers);
    assert_eq!((code, text), (Code::Backpressure, "too much waits for the hub's disk already; try again later"));
    let (used, most) = usage(&bench, "appending_bytes");
    assert_eq!(most, APPENDING_BYTES_MAX as u64);
    assert!(used > most && used < most + 2 * payload.len() as u64 && last > 1000, "{used} bytes of {last} writes");
}

/// Who watches every change is told when one that it missed is not known any more; the rest goes on.
#[test]
fn of_changes_the_newest_are_kept() {
    let mut bench = Bench::at(Stage::Joined);
    let names: Vec<String> = (0..256).map(|n| format!("k/{n}")).collect();
    let items: Vec<_> = names.iter().map(|name| item(name, b"1")).collect();
    let writes = CHANGES_MAX / items.len();
    for cseq in 1..=writes as u64 + 2 {
        bench.say(&write(cseq, &items));
    }
    assert_eq!(usage(&bench, "changes"), (CHANGES_MAX as u64, CHANGES_MAX as u64));
    assert_eq!(usage(&bench, "values").0, 256);
    assert!(bench.answers().iter().all(|answer| *answer == Answer::Other("Written")), "nothing is refused");
}

#[test]
fn of_those_who_are_away_the_latest_are_known() {
    let mut bench = Bench::new();
    for n in 0..INCARNATIONS_AWAY_MAX + 5 {
        let wire = join(&mut bench, &format!("n/{n}"));
        bench.hub.closed(wire.link, bench.now);
        bench.hub.notices();
    }
    let full = (INCARNATIONS_AWAY_MAX as u64, INCARNATIONS_AWAY_MAX as u64);
    assert_eq!((usage(&bench, "incarnations_away"), usage(&bench, "members_away")), (full, full));
    let counters = bench.hub.counters();
    assert_eq!((counters.dropped(Dropped::Incarnations), counters.dropped(Dropped::Members)), (5, 5));
}

#[test]
fn a_link_that_takes_nothing_for_ten_seconds_is_closed() {
    let mut bench = Bench::at(Stage::Joined);
    bench.hub.wrote(bench.bad.link, false, bench.now);
    bench.wait(STUCK_TIME_MAX - Duration::from_millis(1));
    bench.hub.wrote(bench.bad.link, true, bench.now);
    bench.hub.wrote(bench.bad.link, false, bench.now);
    bench.wait(STUCK_TIME_MAX - Duration::from_millis(1));
    assert_eq!(bench.hub.counters().links_closed(Code::SlowLink), 0, "it took something meanwhile");
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.hub.counters().links_closed(Code::SlowLink), 1);
    let mut transmit = Transmit::new();
    bench.hub.transmit(bench.bad.link, &mut transmit);
    assert!(transmit.abort, "it would not read why");
    bench.expect_witness_unhurt(&"a link that takes nothing");
}

#[test]
fn a_link_that_does_not_read_its_answers_is_closed() {
    let mut bench = Bench::at(Stage::Joined);
    let barriers: Vec<u8> = (0..1000).flat_map(|id| encoded(&Frame::Barrier { id })).collect();
    let mut most = 0;
    while bench.hub.counters().links_closed(Code::SlowLink) == 0 {
        most = usage(&bench, "link_control_bytes").0.max(most);
        bench.hub.receive(bench.bad.link, &mut BytesMut::from(&barriers[..]), bench.now);
        assert!(usage(&bench, "link_control_bytes").0 <= LINK_CONTROL_BYTES_MAX as u64);
    }
    assert!(most > LINK_CONTROL_BYTES_MAX as u64 / 2, "{most} bytes");
    bench.bad.listen(&mut bench.hub);
    bench.expect_close(Code::SlowLink, "more than 1048576 bytes of answers wait on this link", &"answers");
}

/// Its calls end all the same: it is told that nobody knows how.
#[test]
fn who_does_not_take_its_replies_gets_those_that_come_then_without_their_payloads() {
    let mut bench = Bench::at(Stage::Joined);
    bench.say(&encoded(&Frame::Serve { id: 1, idempotent: false, service: b"s" }));
    bench.bad.heard.clear();
    let mut caller = join(&mut bench, "caller");
    let payload = vec![b'x'; 60 << 10];
    let small = Content { encoding: Encoding::Raw, headers: false, bytes: b"" };
    let mut replies = 0;
    while bench.hub.counters().dropped(Dropped::Replies) == 0 {
        replies += 1;
        let (number, select) = (replies, Select::Default);
        let call = Call { number, left_ms: 60_000, select, wait: false, again: false, service: b"s", content: small };
        bench.hub.receive(caller.link, &mut BytesMut::from(&encoded(&Frame::Call(call))[..]), bench.now);
        bench.bad.listen(&mut bench.hub);
        let heard = bench.bad.heard.split_off(0);
        let Ok(Some((Frame::Handle(Handle { id, .. }), _))) = Frame::decode(&heard) else { panic!("a Handle") };
        let end = End::Done(Content { bytes: &payload, ..small });
        bench.say(&encoded(&Frame::Reply(Reply { id, end })));
    }
    let bytes = (replies - 1) as usize * payload.len();
    assert!(bytes > LINK_REPLIES_BYTES_MAX - (1 << 20) && bytes < LINK_REPLIES_BYTES_MAX + (1 << 20), "{bytes} bytes");
    assert_eq!(bench.hub.counters().calls_refused(Code::Backpressure), 1);
    caller.listen(&mut bench.hub);
    let (mut rest, mut last) = (&caller.heard[..], None);
    while let Some((frame, len)) = Frame::decode(rest).unwrap() {
        if let Frame::Reply(reply) = frame {
            last = Some(reply);
        }
        rest = &rest[len..];
    }
    let Some(Reply { id, end: End::Uncertain { code: Code::Backpressure, text } }) = last else { panic!("{last:?}") };
    assert_eq!(id, replies);
    assert!(text.contains("bytes of others waiting for `caller`"), "{text}");
    bench.expect_witness_unhurt(&"replies that nobody takes");
}
