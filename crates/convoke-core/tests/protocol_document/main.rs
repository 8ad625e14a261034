//! docs/protocol.md says what the code does: its tables are compared with the code row by row, and its example session
//! is played against a hub byte by byte.

mod long_frames;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use convoke_core::frame::{
    EVENT_HEAD_BYTES, EventHead, Frame, GROUP, HEAD_BYTES, HEADERS, Hello, Incarnation, Kind, MORE, NAMED, ORIGIN,
    Preface, REST, Welcome,
};
use convoke_core::limits;
use convoke_core::name::{NAME_BYTES_MAX, NAME_WORDS_MAX};
use convoke_core::{
    Code, Encoding, HubConfig, HubIdentity, HubState, Name, Peer, SlowPolicy, Time, TokenKey, Transmit,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Limits that only a hub's or a node's own memory and patience know of; nothing on a link depends on them.
const NOT_ON_A_LINK: &[&str] = &[
    "SHARED_FRAME_BYTES_MIN",
    "GRANTERS_MAX",
    "ENTRIES_RECENT_BYTES_MAX",
    "IN_THE_WAY_MAX",
    "STALL",
    "SUBSCRIPTION_BYTES_MAX",
    "NODE_BULK_BYTES_MAX",
    "REQUESTS_MAX",
    "CHANGES_RECENT_BYTES_MAX",
    "CHANGES_FORGOTTEN_MAX",
    "LINK_VALUES_BYTES_MAX",
    "WATCH_WINDOW_BYTES",
    "LOOKED_AT_MAX",
    "REPORT_ROWS_MAX",
    "LOOKED_AT_PAUSE",
    "LOOKED_AT_REFILL",
    "WRITES_BYTES_MAX",
    "APPEND_RETRY_TIME",
    "STATUS_RETRY_TIME",
    "OUTBOX_COMMANDS_MAX",
    "OUTBOX_BYTES_MAX",
    "OUTBOX_ENDS_MAX",
    "MEMBERS_AWAY_MAX",
    "REPORT_PAUSE",
    "TOPICS_LISTED_MAX",
    "PROVIDERS_LISTED_MAX",
    "JOURNAL_MEMBERS_LISTED_MAX",
    "BASE_BYTES_MAX",
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file is part of the project")
}

fn document() -> String {
    read("../../docs/protocol.md")
}

/// The cells of the table whose heading row is this one.
fn table(heading: &str) -> Vec<Vec<String>> {
    let document = document();
    let separator = format!("\n{heading}\n");
    let mut tables = document.split(&separator);
    let rows = tables.nth(1).unwrap_or_else(|| panic!("docs/protocol.md has no table headed {heading}"));
    assert_eq!(tables.count(), 0, "the heading {heading} stands once");
    let rows: Vec<Vec<String>> = rows
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty());
    rows
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|_| panic!("`{text}` in docs/protocol.md is a number"))
}

/// Number and word of each row.
fn numbered(heading: &str) -> Vec<(u64, String)> {
    table(heading).into_iter().map(|row| (number(&row[0]), row[1].clone())).collect()
}

fn same<T: PartialEq + Debug>(document: &[T], code: &[T]) {
    assert_eq!(document, code, "the table in docs/protocol.md (left) and the code (right)");
}

const KINDS: &str = "| number | kind | from | lane | fields |";
const HELLO: &str = "| tag | name | type | needed | what |";

#[test]
fn kinds_are_those_of_the_document() {
    let code: Vec<_> = Kind::ALL.iter().map(|kind| (*kind as u64, kind.word().to_owned())).collect();
    same(&numbered(KINDS), &code);
}

#[test]
fn codes_are_those_of_the_document() {
    let code: Vec<_> = Code::ALL.iter().map(|code| (*code as u64, code.word().to_owned())).collect();
    same(&numbered("| number | code | meaning |"), &code);
}

#[test]
fn encodings_are_those_of_the_document() {
    let code: Vec<_> = Encoding::ALL.iter().map(|encoding| (*encoding as u64, encoding.name().to_owned())).collect();
    same(&numbered("| encoding | word | the payload is |"), &code);
}

#[test]
fn slow_policies_are_those_of_the_document() {
    let code: Vec<_> = SlowPolicy::ALL.iter().map(|policy| (*policy as u64, format!("{policy:?}"))).collect();
    same(&numbered("| slow policy | word | what the hub does with events for a link whose bulk lane is full |"), &code);
}

#[test]
fn flags_are_those_of_the_document() {
    let code =
        [(NAMED, "NAMED"), (HEADERS, "HEADERS"), (MORE, "MORE"), (REST, "REST"), (GROUP, "GROUP"), (ORIGIN, "ORIGIN")];
    let code = code.map(|(bit, word)| (u64::from(bit), word.to_owned()));
    same(&numbered("| bit | flag | what |"), &code);
    for bit in 0..16 {
        let mut head = event(1, 0, 0).encode();
        head[6..8].copy_from_slice(&(1u16 << bit).to_le_bytes());
        let known =
            code.iter().any(|(known, word)| *known == 1 << bit && !["NAMED", "GROUP", "ORIGIN"].contains(&&**word));
        // These two ask for what is not there.
        assert_eq!(Frame::decode(&head).is_ok(), known, "bit {bit}");
    }
}

fn event(topic: u32, publisher: u32, seq: u64) -> EventHead {
    EventHead { len: EVENT_HEAD_BYTES, encoding: Encoding::Raw, flags: 0, topic, publisher, seq }
}

#[test]
fn heads_are_laid_out_as_in_the_document() {
    // Each field has bytes that no other has, so that a wrong offset shows.
    let head = EventHead {
        len: 0x1918,
        encoding: Encoding::Json,
        flags: HEADERS | MORE,
        topic: 0x2726_2524,
        publisher: 0x3736_3534,
        seq: 0x4746_4544_4342_4140,
    };
    let values = BTreeMap::from([
        ("length", 0x1918),
        ("kind", 0x10),
        ("encoding", 2),
        ("flags", 6),
        ("topic", 0x2726_2524),
        ("publisher", 0x3736_3534),
        ("seq", 0x4746_4544_4342_4140),
    ]);
    let bytes = head.encode();
    let tables = document();
    let mut checked = 0;
    for part in tables.split("\n| offset | type | name | what |\n").skip(1) {
        let mut next = 0;
        for row in part.lines().skip(1).take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let offset = number(cells[0]) as usize;
            assert_eq!(offset, next, "fields follow one another: {row}");
            let len = match cells[1].trim_matches('`') {
                "u8" => 1,
                "u16" => 2,
                "u32" => 4,
                "u64" => 8,
                "" => {
                    assert_eq!((cells[2], offset), ("body", EVENT_HEAD_BYTES));
                    continue;
                }
                other => panic!("type {other}"),
            };
            let mut value = [0; 8];
            value[..len].copy_from_slice(&bytes[offset..offset + len]);
            assert_eq!(u64::from_le_bytes(value), values[cells[2]], "{row}");
            next = offset + len;
            checked += 1;
        }
        assert!([HEAD_BYTES, EVENT_HEAD_BYTES].contains(&next), "a head of {next} bytes");
    }
    assert_eq!(checked, 4 + 7, "both heads are in the document");
}

/// The fields of a row: name, type.
fn fields(text: &str) -> Vec<(String, String)> {
    text.split(", ")
        .map(|field| {
            let (name, kind) = field.split_once(' ').expect("a field has a name and a type");
            (name.to_owned(), kind.replace('`', ""))
        })
        .collect()
}

fn sample(kind: &str) -> Vec<u8> {
    match kind {
        "u8" => vec![1],
        "u16" => vec![2, 0],
        "u32" => vec![3, 0, 0, 0],
        "u64" => vec![4, 0, 0, 0, 0, 0, 0, 0],
        "bytes16" => vec![5; 16],
        "bytes32" => vec![6; 32],
        "rev" => [[7, 0, 0, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0, 0, 0]].concat(),
        "u64 u64" => [[9, 0, 0, 0, 0, 0, 0, 0], [10, 0, 0, 0, 0, 0, 0, 0]].concat(),
        "short" | "text" => vec![3, 0, b'a', b'/', b'b'],
        other => panic!("type {other}"),
    }
}

fn frame(kind: u8, fields: &[u8]) -> Vec<u8> {
    let mut frame = ((HEAD_BYTES + fields.len()) as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&[kind, 0, 0, 0]);
    frame.extend_from_slice(fields);
    frame
}

#[test]
fn fields_are_those_of_the_document() {
    let mut checked = 0;
    for row in table(KINDS) {
        let kind = number(&row[0]) as u8;
        if row[4].starts_with('[') {
            continue;
        }
        let mut values = Vec::new();
        for (name, kind) in fields(&row[4]) {
            values.extend(sample(&kind));
            assert!(name.chars().all(|c| c.is_lowercase() || c == '_'), "{row:?}");
        }
        let bytes = frame(kind, &values);
        let (decoded, len) = Frame::decode(&bytes).expect("the document's fields").expect("a whole frame");
        assert_eq!(len, bytes.len());
        let mut again = Vec::new();
        decoded.encode(&mut again);
        assert_eq!(again, bytes, "{row:?}");
        for (name, _) in fields(&row[4]) {
            let shown = format!("{decoded:?}");
            let called = match &*name {
                // What the document calls by other words than the code.
                "sentence" => "text",
                "about" | "number" if row[1] == "Refused" => "about",
                "of" if row[1] == "Snapshot" => "durable",
                other => other,
            };
            assert!(shown.contains(&format!("{called}: ")), "`{name}` is a field of {shown}");
        }
        Frame::decode(&frame(kind, &[&values[..], &[0]].concat())).expect_err("one byte more than the document says");
        Frame::decode(&frame(kind, &values[..values.len() - 1])).expect_err("one byte less than the document says");
        checked += 1;
    }
    assert_eq!(checked, Kind::ALL.len() - 17, "all but those that are tagged, long or lists");
}

/// The tables of tags: Hello's, Welcome's and Info's.
fn tags() -> [Vec<Vec<String>>; 3] {
    let document = document();
    let tables: Vec<Vec<Vec<String>>> = document
        .split(&format!("\n{HELLO}\n"))
        .skip(1)
        .map(|part| {
            let rows = part.lines().skip(1).take_while(|line| line.starts_with('|'));
            rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
        })
        .collect();
    tables.try_into().expect("the document has tags of Hello, Welcome and Info")
}

/// A field as the document describes it, filled with its own tag, and one that is one byte too long.
fn tagged(row: &[String]) -> (Vec<u8>, Vec<u8>) {
    let tag = number(&row[0]) as u8;
    let value = match &*row[2] {
        "`rest`" => vec![b'a' + tag; 5],
        "`u8`" => vec![1],
        "`u32`" => vec![tag; 4],
        "`u64`" => vec![tag; 8],
        "`u64` `u64`" | "`bytes16`" => vec![tag; 16],
        "`bytes32`" => vec![tag; 32],
        "empty" => vec![],
        other => panic!("type {other}"),
    };
    let put = |value: &[u8]| [&[tag][..], &(value.len() as u16).to_le_bytes(), value].concat();
    (put(&value), put(&[&value[..], &[0]].concat()))
}

#[test]
fn tags_are_those_of_the_document() {
    for (rows, kind) in tags().iter().zip([Kind::Hello, Kind::Welcome, Kind::Info]) {
        let all: Vec<Vec<u8>> = rows.iter().map(|row| tagged(row).0).collect();
        let decodes = |fields: &[Vec<u8>]| Frame::decode(&frame(kind as u8, &fields.concat())).is_ok();
        assert!(decodes(&all));
        let mut reversed = all.clone();
        reversed.reverse();
        assert!(decodes(&reversed), "fields come in any order");
        for (index, row) in rows.iter().enumerate() {
            let without: Vec<Vec<u8>> = [&all[..index], &all[index + 1..]].concat();
            assert_eq!(decodes(&without), row[3] == "no", "whether it is needed: {row:?}");
            assert!(!decodes(&[&all[..], &all[index..=index]].concat()), "twice: {row:?}");
            if row[2] != "`rest`" {
                let mut longer = all.clone();
                longer[index] = tagged(row).1;
                assert!(!decodes(&longer), "one byte too long: {row:?}");
            }
        }
        for tag in 0..=u8::MAX {
            let known = rows.iter().any(|row| number(&row[0]) == u64::from(tag));
            let unknown = [&all[..], &[vec![tag, 0, 0]]].concat();
            // A known one comes twice then.
            assert_eq!(decodes(&unknown), tag >= 0x80, "tag {tag}, known: {known}");
        }
    }
}

#[test]
fn tags_mean_what_the_document_says() {
    let [hello, welcome, _] = tags();
    let words = |rows: &[Vec<String>]| rows.iter().map(|row| row[1].clone()).collect::<Vec<_>>();
    assert_eq!(words(&hello), ["name", "author", "nonce", "token", "resume", "takeover", "slow", "uplink"]);
    let bytes = frame(0x01, &hello.iter().map(|row| tagged(row).0).collect::<Vec<_>>().concat());
    let expected = Hello {
        name: b"bbbbb",
        author: b"ccccc",
        nonce: [3; 32],
        token: b"eeeee",
        resume: Some(Incarnation { epoch: 0x0505_0505_0505_0505, counter: 0x0505_0505_0505_0505 }),
        takeover: true,
        uplink: true,
        slow: SlowPolicy::DropNewest,
    };
    assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Hello(expected), bytes.len()))));

    let expected = [
        "hub",
        "history",
        "epoch",
        "incarnation",
        "resumed",
        "publisher",
        "received",
        "beat",
        "beat attentive",
        "payload",
        "subscriptions",
        "bulk",
        "nothing kept",
    ];
    assert_eq!(words(&welcome), expected);
    let bytes = frame(0x04, &welcome.iter().map(|row| tagged(row).0).collect::<Vec<_>>().concat());
    let expected = Welcome {
        hub: [1; 16],
        history: [2; 16],
        epoch: 0x0303_0303_0303_0303,
        incarnation: Incarnation { epoch: 0x0404_0404_0404_0404, counter: 0x0404_0404_0404_0404 },
        resumed: true,
        publisher: 0x0606_0606,
        received: 0x0707_0707_0707_0707,
        beat_ms: 0x0808_0808,
        beat_attentive_ms: 0x0909_0909,
        payload_bytes_max: 0x0a0a_0a0a,
        subscriptions_max: 0x0b0b_0b0b,
        bulk_bytes_max: 0x0c0c_0c0c_0c0c_0c0c,
        nothing_kept: true,
    };
    assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Welcome(expected), bytes.len()))));
}

#[test]
fn a_lagged_is_read_as_in_the_document() {
    let rows = table("| type | what |");
    let types: Vec<&str> = rows.iter().map(|row| &*row[0]).collect();
    assert_eq!(types, ["`u32`", "n times `u32` `u64`", "`u32`", "m times `u32` `u64`", "up to the end: `short` `u64`"]);
    let mut fields = vec![2, 0, 0, 0];
    fields.extend([&[7, 0, 0, 0][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[9, 0, 0, 0], &[2, 1, 0, 0, 0, 0, 0, 0]].concat());
    fields.extend([&[1, 0, 0, 0][..], &[8, 0, 0, 0], &[3, 0, 0, 0, 0, 0, 0, 0]].concat());
    fields.extend([&[3, 0, b'a', b'/', b'b'][..], &[5, 0, 0, 0, 0, 0, 0, 0]].concat());
    let bytes = frame(0x1a, &fields);
    let Ok(Some((Frame::Lagged(lagged), _))) = Frame::decode(&bytes) else { panic!("a Lagged") };
    assert_eq!(lagged.numbered().collect::<Vec<_>>(), [(7, 1), (9, 0x102)]);
    assert_eq!(lagged.groups().collect::<Vec<_>>(), [(8, 3)]);
    assert_eq!(lagged.named().collect::<Vec<_>>(), [(&b"a/b"[..], 5)]);
}

#[test]
fn limits_are_those_of_the_document() {
    let seconds = |duration: Duration| (duration.as_secs(), "s");
    let millis = |duration: Duration| (duration.as_millis() as u64, "ms");
    macro_rules! counts {
        ($($name:ident $unit:literal),* $(,)?) => { vec![$((stringify!($name), (limits::$name as u64, $unit))),*] };
    }
    let mut code = counts![
        FRAGMENT_BYTES_MAX "bytes", FRAME_BYTES_MAX "bytes", HEADERS_BYTES_MAX "bytes", PAYLOAD_BYTES_DEFAULT "bytes",
        PAYLOAD_BYTES_MAX "bytes", HELLO_BYTES_MAX "bytes", BEFORE_JOIN_BYTES_MAX "bytes", LINKS_MAX "links",
        LINKS_PER_SOURCE_MAX "links",
        SUBSCRIPTIONS_PER_LINK_MAX "subscriptions", SUBSCRIPTIONS_MAX "subscriptions", GROUP_LOOKED_AT_MAX "links",
        GROUP_MEMBERS_PER_LINK_MAX "members",
        DEPARTED_MAX "publishers", LINK_BULK_BYTES_MAX "bytes",
        HUB_BULK_BYTES_MAX "bytes", LINK_CONTROL_BYTES_MAX "bytes", LINK_NUMBERS_BYTES_MAX "bytes",
        HUB_BULK_BYTES_MAX "bytes", LINK_LOSSES_BYTES_MAX "bytes", LINK_NUMBERS_BYTES_MAX "bytes",
        LINK_CALLS_BYTES_MAX "bytes", TRANSMIT_BYTES "bytes", TOPICS_MAX "topics", TOPICS_PER_LINK_MAX "topics",
        INCARNATIONS_AWAY_MAX "incarnations", PINGS_MAX "pings", BEATS_DEAD "beats", BEATS_SUSPECT "beats",
        BEATS_REMOVED "beats", NODE_NAME_BYTES_MAX "bytes", NODE_NAME_WORDS_MAX "words", SERVICE_NAME_BYTES_MAX "bytes",
        SERVICE_NAME_WORDS_MAX "words", CALLS_KEPT_BYTES_MAX "bytes", LINK_REPLIES_BYTES_MAX "bytes", BATCH_ITEMS_MAX "items", EVERY_KEYS_MAX "keys", EVERY_BYTES_MAX "bytes", VALUES_MAX "values",
        PRINCIPALS_MAX "principals", RULES_MAX "rules", JOURNALS_MAX "journals", JOURNAL_ORIGINS_MAX "hubs", ORIGINS_MAX "hubs",
        ORIGIN_TOPICS_MAX "topics",
        COMMAND_BYTES_MAX "bytes",
        SNAPSHOT_BYTES_MAX "bytes", SNAPSHOT_PIECE_BYTES_MIN "bytes", SNAPSHOT_PIECE_BYTES_MAX "bytes",
        LOOKS_PER_LINK_MAX "appends", ENTRIES_COMPACTED_MAX "entries",
        UNDO_UNITS_MAX "units", UNDO_UNITS_ALL_MAX "units", UNDO_BYTES_MAX "bytes", TOUCHED_MAX "keys",
        JOURNAL_MEMBERS_MAX "members", STUCK_BYTES_MAX "bytes", AWAITS_PER_LINK_MAX "waits", AWAITS_BYTES_MAX "bytes", AWAIT_NODES_MAX "nodes",
        VALUES_BYTES_MAX "bytes", VALUE_BYTES_MAX "bytes", CHANGES_MAX "changes", CHANGES_BYTES_MAX "bytes",
        ANSWERS_BYTES_MAX "bytes", WRITES_MAX "writes", STATUSES_MAX "questions", DELETED_MAX "keys", WATCHES_PER_LINK_MAX "watches", GETS_BYTES_MAX "bytes", APPENDING_BYTES_MAX "bytes", CALLS_PER_CALLER_MAX "calls",
        CALLS_PER_PROVIDER_MAX "calls", SERVICES_PER_LINK_MAX "registrations", REPLIES_KEPT_MAX "replies",
        REPLIES_KEPT_BYTES_MAX "bytes", SERVICE_NAME_BYTES_MAX "bytes", SERVICE_NAME_WORDS_MAX "words",
        CALLS_KEPT_BYTES_MAX "bytes", LINK_REPLIES_BYTES_MAX "bytes", CALLS_WAITING_PER_NAME_MAX "calls",
        REGISTRATIONS_PER_NAME_MAX "registrations", CALL_REFUSALS_MAX "registrations",
        BACKUP_PIECE_BYTES_MAX "bytes",
    ];
    code.extend([
        ("HEAD_BYTES", (HEAD_BYTES as u64, "bytes")),
        ("EVENT_HEAD_BYTES", (EVENT_HEAD_BYTES as u64, "bytes")),
        ("NAME_BYTES_MAX", (NAME_BYTES_MAX as u64, "bytes")),
        ("NAME_WORDS_MAX", (NAME_WORDS_MAX as u64, "words")),
        ("JOIN_TIME_MAX", seconds(limits::JOIN_TIME_MAX)),
        ("AWAIT_TIME_MAX", seconds(limits::AWAIT_TIME_MAX)),
        ("BACKUP_PAUSE_MAX", seconds(limits::BACKUP_PAUSE_MAX)),
        ("UPLOAD_IDLE_TIME_MAX", seconds(limits::UPLOAD_IDLE_TIME_MAX)),
        ("SNAPSHOT_TOLD_TIME_MAX", seconds(limits::SNAPSHOT_TOLD_TIME_MAX)),
        ("FRAME_TIME_MAX", seconds(limits::FRAME_TIME_MAX)),
        ("INCARNATION_AWAY_TIME_MAX", seconds(limits::INCARNATION_AWAY_TIME_MAX)),
        ("RIGHTS_TIME_MAX", seconds(limits::RIGHTS_TIME_MAX)),
        ("PING_TIME_MAX", seconds(limits::PING_TIME_MAX)),
        ("BEAT", seconds(limits::BEAT)),
        ("BEAT_ATTENTIVE", seconds(limits::BEAT_ATTENTIVE)),
        ("STUCK_TIME_MAX", seconds(limits::STUCK_TIME_MAX)),
        ("CALL_TIME_DEFAULT", seconds(limits::CALL_TIME_DEFAULT)),
        ("CALL_TIME_MAX", seconds(limits::CALL_TIME_MAX)),
        ("PROVIDER_AWAY_TIME_MAX", seconds(limits::PROVIDER_AWAY_TIME_MAX)),
        ("REPLIES_KEPT_TIME_MAX", seconds(limits::REPLIES_KEPT_TIME_MAX)),
        ("RETRY_MIN", millis(limits::RETRY_MIN)),
        ("RETRY_MAX", millis(limits::RETRY_MAX)),
    ]);
    let rows = table("| name | value | unit | what |");
    let document: BTreeMap<&str, (u64, &str)> =
        rows.iter().map(|row| (&*row[0], (number(&row[1]), &*row[2]))).collect();
    assert_eq!(document.len(), rows.len(), "each limit once");
    assert_eq!(document, code.into_iter().collect());

    let source = read("src/limits.rs");
    let named: Vec<&str> =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
    assert!(named.len() > 20);
    for name in named {
        let on_a_link = !NOT_ON_A_LINK.contains(&name);
        assert_eq!(document.contains_key(name), on_a_link, "{name}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Node,
    Hub,
}

/// The frames of the example: who sends it, its word, its bytes.
fn example() -> Vec<(From, String, Vec<u8>)> {
    let document = document();
    let text = document.split("\n## An example\n").nth(1).expect("the document has an example");
    let text = text.split("```text\n").nth(1).and_then(|text| text.split("```").next()).expect("a block of text");
    let mut frames: Vec<(From, String, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        let begins = |word: &str, from| line.strip_prefix(word).map(|word| (from, word.to_owned(), Vec::new()));
        if let Some(frame) = begins("node ", From::Node).or_else(|| begins("hub ", From::Hub)) {
            frames.push(frame);
            continue;
        }
        let hex = line.split(';').next().unwrap_or_default().split_whitespace();
        let bytes = hex.map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"));
        frames.last_mut().expect("bytes come behind the line that says who sends them").2.extend(bytes);
    }
    frames
}

fn word(frame: &Frame<'_>) -> String {
    let shown = format!("{frame:?}");
    shown.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

#[test]
fn every_frame_of_the_example_is_what_it_says() {
    let frames = example();
    for (_, called, bytes) in &frames {
        if called == "preface" {
            assert_eq!(Preface::decode(bytes), Ok(Some(Preface::OURS)));
            assert_eq!(&Preface::OURS.encode()[..], bytes);
            continue;
        }
        let (frame, len) = Frame::decode(bytes).expect("a frame").expect("a whole frame");
        assert_eq!((word(&frame), len), (called.clone(), bytes.len()));
        let mut again = Vec::new();
        match frame {
            Frame::Event(head, body) => {
                again.extend_from_slice(&head.encode());
                if let Some(name) = body.name {
                    again.extend_from_slice(&(name.len() as u16).to_le_bytes());
                    again.extend_from_slice(name);
                }
                again.extend_from_slice(body.content);
            }
            frame => frame.encode(&mut again),
        }
        assert_eq!(&again, bytes, "{called}");
    }
    assert_eq!(frames.iter().filter(|(_, called, _)| called == "preface").count(), 2);
}

fn mac(key: &[u8], label: &str, transcript: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(label.as_bytes());
    mac.update(transcript);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TOKEN: &[u8] = b"the token of this page";

#[test]
fn the_values_of_the_proof_follow_from_the_example() {
    let frames = example();
    let bytes = |from, called: &str| {
        &frames.iter().find(|frame| (frame.0, &*frame.1) == (from, called)).expect("it is in the example").2[..]
    };
    let challenge = bytes(From::Hub, "Challenge");
    let said = [
        bytes(From::Node, "preface"),
        bytes(From::Hub, "preface"),
        bytes(From::Node, "Hello"),
        &challenge[HEAD_BYTES..HEAD_BYTES + 32],
    ];
    let transcript: [u8; 32] = Sha256::digest(said.concat()).into();
    let key = mac(TOKEN, "convoke 1 token", &[]);
    assert_eq!(key, TokenKey::derive(TOKEN).to_bytes());
    let computed = [
        ("key", key),
        ("transcript", transcript),
        ("Challenge.proof", mac(&key, "convoke 1 hub", &transcript)),
        ("Proof.token", mac(&key, "convoke 1 node", &transcript)),
        ("resume secret", mac(&key, "convoke 1 resume", &transcript)),
    ];
    let computed: Vec<Vec<String>> =
        computed.iter().map(|(what, value)| vec![(*what).to_owned(), format!("`{}`", hex(value))]).collect();
    assert_eq!(table("| what | hexadecimal |"), computed);
    assert_eq!(hex(&challenge[HEAD_BYTES + 32..]), computed[2][1].trim_matches('`'));
    assert_eq!(hex(&bytes(From::Node, "Proof")[HEAD_BYTES..HEAD_BYTES + 32]), computed[3][1].trim_matches('`'));
    for label in ["token", "hub", "node", "resume", "resumed"] {
        assert_eq!(document().matches(&format!("`convoke 1 {label}`")).count(), 1, "{label}");
    }
}

/// A hub behind a link of bytes.
struct Bench {
    hub: HubState,
    link: convoke_core::LinkId,
}

impl Bench {
    fn new() -> Bench {
        let identity = HubIdentity {
            hub: std::array::from_fn(|index| 0xa0 + index as u8),
            history: std::array::from_fn(|index| 0xb0 + index as u8),
            epoch: 3,
        };
        let mut hub = HubState::new(HubConfig::default(), identity, [7; 32], Time::START);
        hub.add_token(Name::parse("example").expect("a name"), TokenKey::derive(TOKEN));
        let link = hub.open(Peer::Stranger, Time::START).expect("room for a link");
        Bench { hub, link }
    }

    fn say(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.hub.receive(self.link, &mut input, Time::START);
        assert!(input.is_empty(), "whole frames are taken whole");
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        let mut transmit = Transmit::new();
        loop {
            self.hub.transmit(self.link, &mut transmit);
            if transmit.is_empty() {
                return heard;
            }
            while let Some(piece) = transmit.pop() {
                heard.extend_from_slice(&piece);
            }
        }
    }
}

/// The hub of the example answers as the example says; only its nonce is another, and with it the proofs.
#[test]
fn the_example_is_what_a_hub_answers() {
    let mut bench = Bench::new();
    let frames = example();
    let (mut said, mut pending, mut transcript) = (Vec::new(), Vec::new(), [0; 32]);
    for (from, called, bytes) in frames {
        match from {
            From::Node => {
                assert!(pending.is_empty(), "the hub says more than the example: {pending:02x?}");
                let mut bytes = bytes;
                if called == "Proof" {
                    let key = mac(TOKEN, "convoke 1 token", &[]);
                    bytes[HEAD_BYTES..HEAD_BYTES + 32].copy_from_slice(&mac(&key, "convoke 1 node", &transcript));
                }
                if called == "Hello" || called == "preface" {
                    said.push(bytes.clone());
                }
                bench.say(&bytes);
            }
            From::Hub => {
                if pending.is_empty() {
                    pending = bench.hear();
                }
                assert!(pending.len() >= bytes.len(), "the hub says less than the example: {called}");
                let got: Vec<u8> = pending.drain(..bytes.len()).collect();
                if called == "Challenge" {
                    assert_eq!(got[..HEAD_BYTES], bytes[..HEAD_BYTES]);
                    let nonce = &got[HEAD_BYTES..HEAD_BYTES + 32];
                    // The two prefaces are alike.
                    let parts = [&said[0][..], &said[0], &said[1], nonce];
                    transcript = Sha256::digest(parts.concat()).into();
                    let key = mac(TOKEN, "convoke 1 token", &[]);
                    assert_eq!(got[HEAD_BYTES + 32..], mac(&key, "convoke 1 hub", &transcript));
                } else {
                    assert_eq!(hex(&got), hex(&bytes), "{called}");
                }
            }
        }
    }
    assert!(pending.is_empty());
    assert_eq!(bench.hub.census().nodes, 0, "the node has left");
    assert_eq!(bench.hub.census().incarnations, 0, "and is forgotten, as it left on purpose");
}
