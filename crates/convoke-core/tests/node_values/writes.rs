//! Writes: sent again until they are answered, and never told to be what they are not.

use convoke_core::frame::{About, Expect, Frame, Item, Set, Welcome};
use convoke_core::{Code, Encoding, Refusal, limits};

use crate::bench::{Bench, Said, forgotten, resumed, welcome, write};

#[test]
fn a_write_says_up_to_where_all_is_answered() {
    let mut bench = Bench::joined();
    let ids = ["a", "b", "c"].map(|name| bench.set(name));
    assert_eq!(bench.said(), [write(1, 0, "a"), write(2, 0, "b"), write(3, 0, "c")]);
    // In any order.
    bench.written(3, 13);
    bench.written(1, 11);
    assert_eq!(bench.ended(), [(ids[2], Ok(13)), (ids[0], Ok(11))]);
    bench.set("d");
    assert_eq!(bench.said(), [write(4, 1, "d")]);
    bench.written(2, 12);
    bench.written(4, 14);
    bench.set("e");
    assert_eq!(bench.said(), [write(5, 4, "e")]);
}

#[test]
fn an_answer_counts_once() {
    let mut bench = Bench::joined();
    let id = bench.set("a");
    bench.written(1, 11);
    bench.written(1, 12);
    bench.written(7, 13);
    assert_eq!(bench.ended(), [(id, Ok(11))]);
}

#[test]
fn what_was_not_answered_is_sent_again_in_order_under_the_same_numbers() {
    let mut bench = Bench::joined();
    let ids = ["a", "b", "c"].map(|name| bench.set(name));
    bench.said();
    bench.written(2, 12);
    bench.cut();
    bench.ended();
    // Given while there is no link: it comes behind.
    let late = bench.set("d");
    assert_eq!(bench.join(resumed()), [write(1, 0, "a"), write(3, 0, "c"), write(4, 0, "d")]);
    for (cseq, rev) in [(1, 11), (3, 13), (4, 14)] {
        bench.written(cseq, rev);
    }
    assert_eq!(bench.ended(), [(ids[0], Ok(11)), (ids[2], Ok(13)), (late, Ok(14))]);
    bench.cut();
    assert_eq!(bench.join(resumed()), []);
}

#[test]
fn a_hub_that_kept_nothing_gets_everything_again_under_new_numbers() {
    let mut bench = Bench::joined();
    let first = bench.set("a");
    bench.written(1, 11);
    let ids = ["b", "c"].map(|name| bench.set(name));
    bench.cut();
    let late = bench.set("d");
    let anew = Welcome { nothing_kept: true, ..forgotten() };
    assert_eq!(bench.join(anew), [write(1, 0, "b"), write(2, 0, "c"), write(3, 0, "d")]);
    bench.written(3, 3);
    bench.written(1, 1);
    assert_eq!(bench.ended(), [(first, Ok(11)), (late, Ok(3)), (ids[0], Ok(1))]);
}

#[test]
fn a_hub_that_has_forgotten_leaves_in_doubt_what_was_on_a_link_and_nothing_else() {
    let mut bench = Bench::joined();
    let sent = bench.set("a");
    bench.cut();
    let kept = bench.set("b");
    assert_eq!(bench.join(forgotten()), [write(1, 0, "b")]);
    assert_eq!(bench.ended(), [(sent, Err((false, Code::LinkLost)))]);
    bench.written(1, 1);
    assert_eq!(bench.ended(), [(kept, Ok(1))]);
}

#[test]
fn a_restored_hub_leaves_in_doubt_whatever_it_says() {
    for (resumed, nothing_kept, cseq) in [(true, false, 2), (false, true, 1)] {
        let mut bench = Bench::joined();
        let sent = bench.set("a");
        bench.cut();
        bench.set("b");
        let restored = Welcome { resumed, nothing_kept, history: [9; 16], ..welcome() };
        assert_eq!(bench.join(restored), [write(cseq, cseq - 1, "b")], "{resumed}");
        assert_eq!(bench.ended(), [(sent, Err((false, Code::LinkLost)))]);
    }
}

#[test]
fn what_is_written_before_the_first_link_waits_for_it() {
    let mut bench = Bench::new();
    bench.set("a");
    bench.set("b");
    assert_eq!(bench.join(welcome()), [write(1, 0, "a"), write(2, 0, "b")]);
}

#[test]
fn a_refused_write_certainly_did_not_happen() {
    let mut bench = Bench::joined();
    let id = bench.set("a");
    bench.hear(&Frame::Refused { about: About::Write(1), code: Code::Conflict, text: "set of `a`: it has a value" });
    assert_eq!(bench.ended(), [(id, Err((true, Code::Conflict)))]);
}

#[test]
fn who_leaves_is_told_what_was_never_sent_and_what_may_have_happened() {
    let mut bench = Bench::joined();
    let sent = bench.set("a");
    bench.cut();
    let never = bench.set("b");
    bench.node.leave(bench.now);
    assert_eq!(bench.ended(), [(sent, Err((false, Code::LinkLost))), (never, Err((true, Code::Left)))]);
    let error = bench.node.write(&[item(b"c")]).unwrap_err();
    assert_eq!(error.to_string(), "set of `c`: `ann` has left its hub");
}

#[test]
fn the_goodbye_goes_behind_what_was_written() {
    let mut bench = Bench::joined();
    bench.set("a");
    bench.node.leave(bench.now);
    assert_eq!(bench.said(), [write(1, 0, "a"), Said::Close]);
}

#[test]
fn a_fenced_node_is_told_that_too() {
    let mut bench = Bench::joined();
    let sent = bench.set("a");
    let mut close = Vec::new();
    Frame::Close { code: Code::Fenced, text: "another program has taken over" }.encode(&mut close);
    bench.node.receive(&mut bytes::BytesMut::from(&close[..]), bench.now);
    assert_eq!(bench.ended(), [(sent, Err((false, Code::LinkLost)))]);
}

fn item(name: &[u8]) -> Item<'_> {
    let set = Set { encoding: Encoding::Raw, payload: b"", ttl_ms: 0, ephemeral: false };
    Item { name, every: false, expect: Expect::Anything, set: Some(set) }
}

#[test]
fn what_waits_for_an_answer_is_bounded_in_number_and_in_bytes() {
    for len in [0, limits::VALUE_BYTES_MAX] {
        let mut bench = Bench::new();
        let payload = vec![0; len];
        let set = Set { encoding: Encoding::Raw, payload: &payload, ttl_ms: 0, ephemeral: false };
        let item = Item { name: b"a", every: false, expect: Expect::Anything, set: Some(set) };
        let mut count = 0;
        let refusal = loop {
            match bench.node.write(&[item]) {
                Ok(_) => count += 1,
                Err(refusal) => break refusal,
            }
            assert!(count <= limits::WRITES_MAX && count * len <= limits::WRITES_BYTES_MAX, "nothing stops it");
        };
        assert_eq!(refusal.code, Code::Backpressure);
        assert!(count == limits::WRITES_MAX || (count + 2) * len > limits::WRITES_BYTES_MAX, "{count} of {len}");
    }
}

#[test]
fn an_answer_makes_room() {
    let mut bench = Bench::joined();
    let payload = vec![0; limits::VALUE_BYTES_MAX];
    let set = Set { payload: &payload, ..item(b"").set.expect("a set") };
    for n in 1..200 {
        bench.node.write(&[Item { set: Some(set), ..item(b"a") }]).expect("room");
        bench.say();
        bench.written(n, n);
    }
}

#[test]
fn what_no_hub_would_take_is_refused_before_it_leaves() {
    let mut bench = Bench::joined();
    let many: Vec<Vec<u8>> = (0..=limits::BATCH_ITEMS_MAX).map(|n| format!("a/{n}").into_bytes()).collect();
    let many: Vec<Item<'_>> = many.iter().map(|name| item(name)).collect();
    let long = vec![0; limits::VALUE_BYTES_MAX + 1];
    let long = Set { payload: &long, ..item(b"").set.expect("a set") };
    let half = vec![0; limits::VALUE_BYTES_MAX];
    let half = Set { payload: &half, ..item(b"").set.expect("a set") };
    let names: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
    let long_batch = names.map(|name| Item { set: Some(half), ..item(name) });
    let cases: [(&[Item<'_>], Code, &str); 6] = [
        (&[], Code::BadRequest, "batch: it has 0 changes, and 1 to 256 are possible"),
        (&many, Code::BadRequest, "batch: it has 257 changes, and 1 to 256 are possible"),
        (&[item(b"a"), item(b"b"), item(b"a")], Code::BadRequest, "batch: `a` comes twice in it"),
        (&[item(b"$hub/x")], Code::Forbidden, "change of `$hub/x`: names that begin with `$` are the hub's own"),
        (
            &[Item { set: Some(long), ..item(b"a") }],
            Code::TooLarge,
            "set of `a`: it has 262145 bytes, and a value at most 262144",
        ),
        (
            &long_batch,
            Code::TooLarge,
            "batch of 5 changes from `a` on: it has 1310720 bytes, and this hub takes at most 1048576",
        ),
    ];
    for (items, code, text) in cases {
        assert_eq!(bench.node.write(items), Err(Refusal::new(code, text)));
    }
    assert_eq!(bench.said(), []);
    // Offline nobody knows what the hub will take; what it does not is told when it is there.
    let mut bench = Bench::new();
    let id = bench.node.write(&long_batch).expect("it waits");
    bench.set("x");
    assert_eq!(bench.join(welcome()), [write(1, 0, "x")]);
    assert_eq!(bench.ended(), [(id, Err((true, Code::TooLarge)))]);
}

#[test]
fn losses_of_events_are_exact_only_while_the_hub_that_counted_them_runs() {
    use convoke_core::node::PublishLoss;
    use convoke_core::{Headers, Publication};
    for (welcome, expected) in [
        (Welcome { received: 1, ..resumed() }, PublishLoss { count: 2, exact: true }),
        // It knows the incarnation, for what it keeps of it, and nothing of its events.
        (Welcome { received: 0, epoch: 2, ..resumed() }, PublishLoss { count: 3, exact: false }),
        (forgotten(), PublishLoss { count: 3, exact: false }),
    ] {
        let mut bench = Bench::joined();
        for _ in 0..3 {
            let (encoding, headers) = (Encoding::Raw, &Headers::new());
            bench.node.publish(Publication { name: "a", encoding, payload: b"", headers }).expect("joined");
        }
        bench.cut();
        assert_eq!(bench.join(welcome), []);
        assert_eq!(bench.node.losses(), [expected]);
    }
}
