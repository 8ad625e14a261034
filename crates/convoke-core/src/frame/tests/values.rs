//! The frames of values: bytes written out by hand, every form of a change, and the frames that one watch gets made from
//! those of another.

use super::{encoded, hex, sentence};
use crate::frame::*;
use crate::limits::{BATCH_ITEMS_MAX, FRAGMENT_BYTES_MAX};
use crate::payload::Encoding;
use crate::refusal::Code;

const KEY: &[u8] = b"a/b";
const MEMORY: Rev = Rev { epoch: 5, n: 0x0102 };

fn set(payload: &'static [u8]) -> Option<Set<'static>> {
    Some(Set { encoding: Encoding::Json, payload, ttl_ms: 0, ephemeral: false })
}

fn item(expect: Expect, set: Option<Set<'static>>) -> Item<'static> {
    Item { name: KEY, every: false, expect, set }
}

/// Every form of a change, and the bytes of each.
fn forms() -> Vec<(Item<'static>, &'static str)> {
    let ttl = set(b"42").map(|set| Set { ttl_ms: 0x0304, ..set });
    let ephemeral = set(b"").map(|set| Set { ephemeral: true, encoding: Encoding::Raw, ..set });
    let both = set(b"42").map(|set| Set { ephemeral: true, ttl_ms: 1, encoding: Encoding::MessagePack, ..set });
    vec![
        (item(Expect::Anything, set(b"42")), "00 00 0300 612f62 00 02 02000000 3432"),
        (item(Expect::Anything, ttl), "00 04 0300 612f62 00 0403000000000000 02 02000000 3432"),
        (item(Expect::Absent, ephemeral), "00 02 0300 612f62 01 00 00000000"),
        (item(Expect::Present, both), "00 06 0300 612f62 02 0100000000000000 03 02000000 3432"),
        (
            item(Expect::Rev(Rev::durable(9)), set(b"1")),
            "00 00 0300 612f62 03 0000000000000000 0900000000000000 02 01000000 31",
        ),
        (item(Expect::Rev(MEMORY), None), "01 00 0300 612f62 03 0500000000000000 0201000000000000"),
        (item(Expect::Anything, None), "01 00 0300 612f62 00"),
        (item(Expect::Absent, None), "01 00 0300 612f62 01"),
        (Item { name: b"a/#", every: true, ..item(Expect::Anything, None) }, "01 01 0300 612f23 00"),
        (Item { name: b"+", every: true, ..item(Expect::Anything, set(b"0")) }, "00 01 0100 2b 00 02 01000000 30"),
    ]
}

pub(super) fn golden() -> Vec<(Frame<'static>, String)> {
    let items = Items::encode(&[item(Expect::Anything, set(b"42")), item(Expect::Present, None)]);
    let write = Write { cseq: 7, settled: 5, items: Items::encoded(items.leak()) };
    let value = Value {
        id: 7,
        rev: Rev::durable(0x0102),
        author: b"ann",
        name: KEY,
        payload: Some((Encoding::Json, b"42")),
        together: false,
    };
    let watch = Frame::Watch {
        id: 7,
        mode: WatchMode::All,
        window: 0x0001_0000,
        after: 9,
        after_memory: MEMORY,
        pattern: b"a/#",
    };
    let incarnation = Incarnation { epoch: 3, counter: 5 };
    let settled = |fate| Frame::Settled { id: 7, fate };
    let golden = [
        (
            Frame::Write(write),
            "31000000 20 00 0000 0700000000000000 0500000000000000 0200
             00 00 0300 612f62 00 02 02000000 3432  01 00 0300 612f62 02",
        ),
        (
            Frame::Written { cseq: 7, rev: MEMORY, count: 3 },
            "24000000 21 00 0000 0700000000000000 0500000000000000 0201000000000000 03000000",
        ),
        (
            watch,
            "2e000000 22 00 0000 07000000 01 00000100 0900000000000000 0500000000000000 0201000000000000 0300 612f23",
        ),
        (
            Frame::Watch {
                id: 1,
                mode: WatchMode::Latest,
                window: 1,
                after: 0,
                after_memory: Rev::default(),
                pattern: b"",
            },
            "2b000000 22 00 0000 01000000 00 01000000 0000000000000000 0000000000000000 0000000000000000 0000",
        ),
        (
            Frame::Value(value),
            "28000000 23 02 0000 07000000 0000000000000000 0201000000000000 0300 616e6e 0300 612f62 3432",
        ),
        (
            Frame::Value(Value { together: true, rev: MEMORY, payload: Some((Encoding::Raw, b"")), ..value }),
            "26000000 23 00 0200 07000000 0500000000000000 0201000000000000 0300 616e6e 0300 612f62",
        ),
        (
            Frame::Value(Value { payload: None, author: b"", ..value }),
            "23000000 23 00 0100 07000000 0000000000000000 0201000000000000 0000 0300 612f62",
        ),
        (
            Frame::Value(Value { payload: None, together: true, ..value }),
            "26000000 23 00 0300 07000000 0000000000000000 0201000000000000 0300 616e6e 0300 612f62",
        ),
        (
            Frame::Snapshot { id: 7, durable: true, memory: true, first: 0 },
            "15000000 24 00 0000 07000000 03 0000000000000000",
        ),
        (
            Frame::Snapshot { id: 7, durable: true, memory: false, first: 258 },
            "15000000 24 00 0000 07000000 01 0201000000000000",
        ),
        (
            Frame::Snapshot { id: 7, durable: false, memory: true, first: 0 },
            "15000000 24 00 0000 07000000 02 0000000000000000",
        ),
        (Frame::Taken { id: 7, bytes: 258 }, "10000000 25 00 0000 07000000 02010000"),
        (
            Frame::Status { id: 7, incarnation, journal: true, cseq: 9 },
            "25000000 26 00 0000 07000000 0300000000000000 0500000000000000 01 0900000000000000",
        ),
        (
            settled(Fate::Done { rev: MEMORY, count: 3 }),
            "21000000 27 00 0000 07000000 00 0500000000000000 0201000000000000 03000000",
        ),
        (
            settled(Fate::NotDone { code: Code::Fenced, text: "it never came" }),
            "1e000000 27 00 0000 07000000 01 0800 0d00 6974206e657665722063616d65",
        ),
        (settled(Fate::Unknown { text: "no" }), "11000000 27 00 0000 07000000 02 0200 6e6f"),
    ];
    golden.map(|(frame, text)| (frame, text.to_owned())).into()
}

#[test]
fn every_form_of_a_change_is_these_bytes() {
    for (item, text) in forms() {
        let bytes = [&[1, 0][..], &hex(text)].concat();
        assert_eq!(Items::encode(&[item]), bytes, "{item:?}");
        let items = Items::read(&mut Reader::new(&bytes, 24)).unwrap();
        assert_eq!(items.iter().collect::<Vec<_>>(), [item]);
        assert_eq!(items.bytes(), bytes);
    }
}

#[test]
fn changes_come_out_in_the_order_given() {
    let items: Vec<Item<'_>> = forms().into_iter().map(|(item, _)| item).collect();
    let bytes = Items::encode(&items);
    let read = Items::read(&mut Reader::new(&bytes, 24)).unwrap();
    assert_eq!((read.len(), read.is_empty()), (items.len(), false));
    assert_eq!(read.iter().collect::<Vec<_>>(), items);
    for cut in 0..bytes.len() {
        Items::read(&mut Reader::new(&bytes[..cut], 24)).expect_err("a change that is not all there");
    }
    Items::read(&mut Reader::new(&[&bytes[..], &[0]].concat(), 24)).expect_err("more than there are changes");
}

#[test]
fn a_write_has_1_to_256_changes() {
    let with = |count: usize| {
        let items = [&(count as u16).to_le_bytes()[..], &hex("01 00 0100 61 00").repeat(count)].concat();
        let len = (HEAD_BYTES + 16 + items.len()) as u32;
        [&len.to_le_bytes()[..], &[0x20, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0], &[0; 8], &items].concat()
    };
    for count in [1, BATCH_ITEMS_MAX] {
        let bytes = with(count);
        let Ok(Some((Frame::Write(write), _))) = Frame::decode(&bytes) else { panic!("a Write") };
        assert_eq!(write.items.iter().count(), count);
    }
    for count in [0, BATCH_ITEMS_MAX + 1] {
        assert_eq!(sentence(&with(count)), "expected 1 to 256 changes at byte 24 of a frame");
    }
}

/// What a watch gets of a value is made from the frames that another watch gets.
#[test]
fn frames_of_one_watch_are_those_of_another_with_its_number() {
    let lens = [0, 2, FRAGMENT_BYTES_MAX - 40, FRAGMENT_BYTES_MAX, 3 * FRAGMENT_BYTES_MAX + 5];
    for len in lens {
        let payload = vec![b'x'; len];
        for payload in [Some((Encoding::Text, &payload[..])), None] {
            let value = Value { id: 1, rev: MEMORY, author: b"ann", name: KEY, payload, together: false };
            for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
                let frames = encoded(&Frame::Value(Value { together: first, ..value }));
                let mut copy = b"before".to_vec();
                Value::copy_for(&mut copy, &frames, 0x0807_0605, second);
                let expected = encoded(&Frame::Value(Value { id: 0x0807_0605, together: second, ..value }));
                assert!(copy[6..] == expected, "{len} bytes, together: {first}, then {second}");
            }
        }
    }
}
