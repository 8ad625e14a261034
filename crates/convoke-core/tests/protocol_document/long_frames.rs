//! The tables of values and services: numbers and words, and the fields of each frame, with the order and the types that
//! the document gives them.

use std::fmt::Debug;

use convoke_core::frame::{
    AGAIN, Call, Content, DELETED, End, Expect, Frame, HEAD_BYTES, HEADERS, Handle, Incarnation, Info, Item, Items,
    Kind, MORE, MasterWish, REST, Reply, Select, Set, TOGETHER, Value, WAIT, WatchMode, Write,
};
use convoke_core::{Code, Encoding, Rev};

use super::{document, frame, number, numbered, same, table, tagged};

/// Number and the word that `Debug` gives, of each.
fn words<T: Debug>(all: &[(u64, T)]) -> Vec<(u64, String)> {
    let word = |shown: String| shown.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    all.iter().map(|(number, one)| (*number, word(format!("{one:?}")))).collect()
}

fn long(kind: Kind, encoding: u8, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = frame(kind as u8, body);
    frame[5] = encoding;
    frame[6..8].copy_from_slice(&flags.to_le_bytes());
    frame
}

fn decoded(bytes: &[u8]) -> Frame<'_> {
    let (frame, len) = Frame::decode(bytes).expect("a frame as in the document").expect("a whole frame");
    assert_eq!(len, bytes.len());
    let mut again = Vec::new();
    frame.encode(&mut again);
    assert_eq!(again, bytes, "{frame:?}");
    frame
}

/// The fields of one of the tables, each with bytes of its own: names and bytes, in order. Those whose row speaks of a
/// condition are left out unless they are among `with`.
fn fields(what: &str, with: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    for (index, row) in table(&format!("| {what} | type | what |")).iter().enumerate() {
        if row[2].starts_with("only ") && !with.contains(&&*row[0]) {
            continue;
        }
        let mark = 0x10 + index as u8;
        let bytes = match &*row[1] {
            "`u8`" => vec![0],
            "`u16`" => vec![mark, 0],
            "`u32`" => vec![mark, 0, 0, 0],
            "`u64`" => vec![mark, 0, 0, 0, 0, 0, 0, 1],
            "`u64` `u64`" | "`rev`" => [[mark, 0, 0, 0, 0, 0, 0, 1], [mark, 1, 0, 0, 0, 0, 0, 1]].concat(),
            "`short`" => vec![2, 0, b'a', mark + 0x50],
            "`u32` n, n bytes" => vec![3, 0, 0, 0, mark, mark, mark],
            "`rest`" => vec![mark; 5],
            other => panic!("type {other}"),
        };
        fields.push((row[0].clone(), bytes));
    }
    fields
}

fn set(fields: &mut [(String, Vec<u8>)], name: &str, bytes: &[u8]) {
    let field = fields.iter_mut().find(|field| field.0 == name).unwrap_or_else(|| panic!("a field {name}"));
    field.1 = bytes.to_vec();
}

fn body(fields: &[(String, Vec<u8>)]) -> Vec<u8> {
    fields.iter().flat_map(|field| field.1.clone()).collect()
}

fn names(fields: &[(String, Vec<u8>)]) -> Vec<&str> {
    fields.iter().map(|field| &*field.0).collect()
}

/// The `u64` that the field at this row of a table has.
const fn marked(row: u64) -> u64 {
    0x0100_0000_0000_0010 + row
}

/// Its two, for a revision or an incarnation.
const fn two(row: u64) -> (u64, u64) {
    (marked(row), marked(row) + 0x100)
}

#[test]
fn watch_modes_are_those_of_the_document() {
    let code = words(&WatchMode::ALL.map(|mode| (mode as u64, mode)));
    same(&numbered("| mode | word | the watch gets |"), &code);
}

#[test]
fn wishes_to_be_master_are_those_of_the_document() {
    let all = [MasterWish::May, MasterWish::Must, MasterWish::Never].map(|wish| (wish as u64, wish));
    let rows = numbered("| master | word | the node is |");
    same(&rows, &words(&all));
    for (number, wish) in all {
        let bytes = frame(Kind::Info as u8, &[8, 1, 0, number as u8]);
        assert_eq!(decoded_loosely(&bytes), Frame::Info(Info { master: wish, ..Info::default() }));
    }
    Frame::decode(&frame(Kind::Info as u8, &[8, 1, 0, rows.len() as u8])).expect_err("one more than there are");
}

/// Decodes what is not the only way to say it.
fn decoded_loosely(bytes: &[u8]) -> Frame<'_> {
    Frame::decode(bytes).expect("a frame").expect("a whole frame").0
}

#[test]
fn fields_of_a_node_are_those_of_the_document() {
    let rows = super::tags()[2].clone();
    let words: Vec<&str> = rows.iter().map(|row| &*row[1]).collect();
    assert_eq!(words, ["host", "pid", "program", "cpu", "own cpu", "memory", "free memory", "master"]);
    let bytes = frame(Kind::Info as u8, &rows.iter().map(|row| tagged(row).0).collect::<Vec<_>>().concat());
    let expected = Info {
        host: "bbbbb",
        pid: 0x0202_0202,
        program: "ddddd",
        cpu_permille: 0x0404_0404,
        own_cpu_permille: 0x0505_0505,
        memory: 0x0606_0606_0606_0606,
        free_memory: 0x0707_0707_0707_0707,
        master: MasterWish::Must,
    };
    assert_eq!(decoded(&bytes), Frame::Info(expected));
}

#[test]
fn flags_of_long_frames_are_those_of_the_document() {
    let code = [
        (DELETED, "DELETED", "Value"),
        (TOGETHER, "TOGETHER", "Value"),
        (HEADERS, "HEADERS", "Call, Handle, Reply"),
        (MORE, "MORE", "all"),
        (REST, "REST", "all"),
        (WAIT, "WAIT", "Call"),
        (AGAIN, "AGAIN", "Call"),
    ];
    let rows = table("| bit | flag | of | what |");
    let document: Vec<(u16, &str, &str)> =
        rows.iter().map(|row| (number(&row[0]) as u16, &*row[1], &*row[2])).collect();
    same(&document, &code);
    for kind in [Kind::Write, Kind::Value, Kind::Call, Kind::Handle, Kind::Reply] {
        for bit in (0..16).map(|bit| 1u16 << bit) {
            let known = code.iter().any(|(flag, _, of)| *flag == bit && of.split(", ").any(|of| of == kind.word()));
            let error = match Frame::decode(&long(kind, 0, bit, &[])) {
                Ok(Some((Frame::Part(..), _))) => {
                    assert!([MORE, REST].contains(&bit));
                    continue;
                }
                other => other.expect_err("nothing is in it"),
            };
            assert_eq!(!error.expected.contains("flags"), known, "{bit:#06x} of {}: {error}", kind.word());
        }
    }
}

#[test]
fn fields_of_a_write_are_those_of_the_document() {
    let write = fields("of Write", &[]);
    assert_eq!(names(&write), ["cseq", "settled", "count", "items"]);
    let mut item = fields("of an item", &["expected", "ttl", "encoding", "payload"]);
    assert_eq!(names(&item), ["what", "flags", "name", "expect", "expected", "ttl", "encoding", "payload"]);
    set(&mut item, "flags", &[4]);
    set(&mut item, "expect", &[3]);
    set(&mut item, "encoding", &[2]);
    let mut write = write;
    // It is above what is settled.
    set(&mut write, "cseq", &[0x7f; 8]);
    set(&mut write, "count", &[1, 0]);
    set(&mut write, "items", &body(&item));
    let bytes = long(Kind::Write, 0, 0, &body(&write));
    let Frame::Write(Write { cseq, settled, items }) = decoded(&bytes) else { panic!("a Write") };
    assert_eq!((cseq, settled), (0x7f7f_7f7f_7f7f_7f7f, marked(1)));
    let (epoch, n) = two(4);
    let set = Set { encoding: Encoding::Json, payload: &[0x17, 0x17, 0x17], ttl_ms: marked(5), ephemeral: false };
    let expected = Item { name: b"ab", every: false, expect: Expect::Rev(Rev { epoch, n }), set: Some(set) };
    let read: Vec<Item<'_>> = items.iter().map(|item| Item { name: b"ab", ..item }).collect();
    assert_eq!(read, [expected]);
}

#[test]
fn flags_of_an_item_are_those_of_the_document() {
    let set = Set { encoding: Encoding::Raw, payload: b"", ttl_ms: 0, ephemeral: false };
    let item = Item { name: b"a", every: false, expect: Expect::Anything, set: Some(set) };
    let flags = |item: Item<'_>| u64::from(Items::encode(&[item])[3]);
    let code = [
        (flags(Item { every: true, ..item }), "EVERY".to_owned()),
        (flags(Item { set: Some(Set { ephemeral: true, ..set }), ..item }), "EPHEMERAL".to_owned()),
        (flags(Item { set: Some(Set { ttl_ms: 1, ..set }), ..item }), "TTL".to_owned()),
    ];
    let rows = table("| bit of an item | flag | what |");
    let document: Vec<(u64, String)> = rows.iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    same(&document, &code);
    for (what, is_set) in [(0, true), (1, false)] {
        for bit in (0..8).map(|bit| 1u8 << bit) {
            let known = rows
                .iter()
                .any(|row| number(&row[0]) == u64::from(bit) && (is_set || !row[2].starts_with("only to set")));
            let mut fields = vec![1, 0, what, bit, 1, 0, b'a', 0];
            fields.extend(if bit == 4 { &[7, 0, 0, 0, 0, 0, 0, 0][..] } else { &[] });
            fields.extend(if is_set { &[0, 0, 0, 0, 0][..] } else { &[] });
            let bytes = long(Kind::Write, 0, 0, &[&[1][..], &[0; 15], &fields].concat());
            assert_eq!(Frame::decode(&bytes).is_ok(), known, "{bit:#04x}, to set: {is_set}");
        }
    }
}

#[test]
fn expectations_are_those_of_the_document() {
    let rev = Rev { epoch: 1, n: 2 };
    let all = [Expect::Anything, Expect::Absent, Expect::Present, Expect::Rev(rev)].map(|expect| {
        let items = Items::encode(&[Item { name: b"", every: false, expect, set: None }]);
        // Behind the count, what, flags and an empty name.
        (u64::from(items[6]), expect)
    });
    same(&numbered("| expectation | word | the change happens if |"), &words(&all));
}

#[test]
fn fields_of_a_value_are_those_of_the_document() {
    let value = fields("of Value", &[]);
    assert_eq!(names(&value), ["id", "rev", "author", "name", "payload"]);
    let bytes = long(Kind::Value, 2, TOGETHER, &body(&value));
    let (epoch, n) = two(1);
    let expected = Value {
        id: 0x10,
        rev: Rev { epoch, n },
        author: b"ab",
        name: b"ac",
        payload: Some((Encoding::Json, &[0x14; 5])),
        together: true,
    };
    // The marks of the two names are those of their rows.
    let (author, name) = ([b'a', 0x62], [b'a', 0x63]);
    assert_eq!(decoded(&bytes), Frame::Value(Value { author: &author, name: &name, ..expected }));
}

#[test]
fn what_a_snapshot_is_of_is_as_in_the_document() {
    let rows = table("| of | the snapshot is of the values |");
    for of in 0..=u8::MAX {
        let known = rows.iter().find(|row| number(&row[0]) == u64::from(of));
        let bytes = frame(Kind::Snapshot as u8, &[&[7, 0, 0, 0, of][..], &[0; 8]].concat());
        let Some(row) = known else {
            Frame::decode(&bytes).expect_err("it is not in the document");
            continue;
        };
        let expected = match &*row[1] {
            "kept durably" => (true, false),
            "in memory" => (false, true),
            "both" => (true, true),
            other => panic!("values {other}"),
        };
        let Frame::Snapshot { id: 7, durable, memory, first: 0 } = decoded(&bytes) else { panic!("a Snapshot") };
        assert_eq!((durable, memory), expected, "{row:?}");
    }
}

#[test]
fn what_is_refused_is_as_in_the_document() {
    let rows = table("| about | number | what is refused |");
    for about in 0..=u8::MAX {
        let known = rows.iter().find(|row| number(&row[0]) == u64::from(about));
        let bytes = frame(Kind::Refused as u8, &[&[about][..], &[9, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0, 0]].concat());
        match (Frame::decode(&bytes), known) {
            (Ok(Some((Frame::Refused { about, .. }, _))), Some(row)) => {
                let what = format!("{about:?}").split('(').next().unwrap_or_default().to_lowercase();
                assert!(row[2].contains(&what), "{row:?} is {about:?}");
            }
            (Err(_), None) => {}
            (other, known) => panic!("{other:?}, in the document: {known:?}"),
        }
    }
}

#[test]
fn selectors_are_those_of_the_document() {
    let rows = numbered("| selector | word | the call goes to |");
    let mut code = Vec::new();
    for number in 0..=u8::MAX {
        let with = |name: &[u8]| {
            let select = [&[number][..], &(name.len() as u16).to_le_bytes(), name].concat();
            long(Kind::Call, 0, 0, &[&[0; 12][..], &select, &[1, 0, b'a']].concat())
        };
        let bytes = with(b"");
        if let Ok(Some((Frame::Call(call), _))) = Frame::decode(&bytes) {
            code.extend(words(&[(u64::from(number), call.select)]));
            let named = matches!(call.select, Select::Node(_) | Select::Host(_));
            assert_eq!(Frame::decode(&with(b"n")).is_ok(), named, "{:?}", call.select);
        }
    }
    same(&rows, &code);
}

#[test]
fn fields_of_a_call_are_those_of_the_document() {
    let mut call = fields("of Call", &[]);
    assert_eq!(names(&call), ["number", "left", "select", "name", "service", "content"]);
    set(&mut call, "select", &[5]);
    let bytes = long(Kind::Call, 1, WAIT, &body(&call));
    let expected = Call {
        number: marked(0),
        left_ms: 0x11,
        select: Select::Node(&[b'a', 0x63]),
        wait: true,
        again: false,
        service: &[b'a', 0x64],
        content: Content { encoding: Encoding::Text, headers: false, bytes: &[0x15; 5] },
    };
    assert_eq!(decoded(&bytes), Frame::Call(expected));
}

#[test]
fn fields_of_a_handle_are_those_of_the_document() {
    let handle = fields("of Handle", &[]);
    let expected = ["id", "registration", "left", "incarnation", "number", "caller", "author", "content"];
    assert_eq!(names(&handle), expected);
    let bytes = long(Kind::Handle, 1, 0, &body(&handle));
    let (epoch, counter) = two(3);
    let expected = Handle {
        id: marked(0),
        registration: 0x11,
        left_ms: 0x12,
        incarnation: Incarnation { epoch, counter },
        number: marked(4),
        caller: &[b'a', 0x65],
        author: &[b'a', 0x66],
        content: Content { encoding: Encoding::Text, headers: false, bytes: &[0x17; 5] },
    };
    assert_eq!(decoded(&bytes), Frame::Handle(expected));
}

#[test]
fn ends_of_calls_are_those_of_the_document() {
    let head = table("| of Reply | type | what |");
    let head: Vec<(&str, &str)> = head.iter().map(|row| (&*row[0], &*row[1])).collect();
    assert_eq!(head, [("id", "`u64`"), ("end", "`u8`")]);
    let rows = table("| end | word | what follows | meaning |");
    let mut code = Vec::new();
    for row in &rows {
        let mut fields = [9, 0, 0, 0, 0, 0, 0, 0, number(&row[0]) as u8].to_vec();
        for field in row[2].split(", ").filter(|field| !field.is_empty()) {
            fields.extend_from_slice(match field {
                "content `rest`" => b"42",
                "type `text`" => b"\x06\0Jammed",
                "sentence `text`" => b"\x05\0stuck",
                "code `u16`" => b"\x13\0",
                other => panic!("field {other}"),
            });
        }
        let bytes = long(Kind::Reply, 0, 0, &fields);
        let Frame::Reply(Reply { id: 9, end }) = decoded(&bytes) else { panic!("a Reply") };
        let content = Content { bytes: b"42", ..Content::default() };
        let (code_, text) = (Code::NoProvider, "stuck");
        let expected = match &*row[1] {
            "Done" => End::Done(content),
            "Failed" => End::Failed { kind: "Jammed", message: text, content },
            "Refused" => End::Refused { code: code_, text },
            "Uncertain" => End::Uncertain { code: code_, text },
            _ => End::Running,
        };
        assert_eq!(end, expected);
        code.push((number(&row[0]), format!("{end:?}").split([' ', '(']).next().unwrap_or_default().to_owned()));
    }
    same(&numbered("| end | word | what follows | meaning |"), &code);
    let more = long(Kind::Reply, 0, 0, &[&[0; 8][..], &[rows.len() as u8]].concat());
    Frame::decode(&more).expect_err("one more than there are");
}

#[test]
fn a_body_may_be_longer_than_a_payload_by_what_the_document_says() {
    // What the names and fields of a whole batch can have.
    let more = convoke_core::limits::BATCH_ITEMS_MAX * 1024;
    assert!(document().contains(&format!("A body has at most {more} bytes more than the payload")));
    assert_eq!(HEAD_BYTES, 8, "a long frame has the head of all frames");
}
