//! The codec on its own: bytes written out by hand. The parts, each a file: `values`, `calls`, `info` and `grant` are the
//! frames of these, `long` is what is cut into fragments, `arbitrary` what arbitrary frames and arbitrary bytes do,
//! `sentences` what each kind of bad frame is told.

mod arbitrary;
mod calls;
mod grant;
mod info;
mod journals;
mod long;
mod sentences;
mod values;

use super::*;
use crate::limits::{FRAGMENT_BYTES_MAX, HEADERS_BYTES_MAX};
use crate::outgoing::SlowPolicy;
use crate::payload::{Encoding, Headers as Pairs};

/// Bytes from hexadecimal digits; spaces are for people.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

/// The sentence that these bytes are refused with.
fn sentence(bytes: &[u8]) -> String {
    Frame::decode(bytes).expect_err("a bad frame").to_string()
}

const ONES: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const TWOS: &str = "0202020202020202020202020202020202020202020202020202020202020202";

#[test]
fn every_kind_of_frame_is_these_bytes() {
    let hello = Hello {
        name: b"press/1",
        author: b"ann",
        nonce: [1; 32],
        token: b"t",
        resume: Some(Incarnation { epoch: 3, counter: 0x0102 }),
        takeover: true,
        uplink: false,
        slow: SlowPolicy::LatestPerTopic,
    };
    let welcome = Welcome {
        hub: [0xaa; 16],
        history: [0xbb; 16],
        epoch: 3,
        incarnation: Incarnation { epoch: 2, counter: 9 },
        resumed: true,
        publisher: 0x0807_0605,
        received: 0x1122_3344_5566_7788,
        beat_ms: 15_000,
        beat_attentive_ms: 1000,
        payload_bytes_max: 1 << 20,
        subscriptions_max: 10_000,
        bulk_bytes_max: 8 << 20,
        nothing_kept: true,
    };
    let numbered = hex("07000000 0100000000000000 09000000 ff00000000000000");
    let named = hex("0300 612f62 0500000000000000");
    let golden = [
        (
            Frame::Hello(hello),
            format!(
                "59000000 01 00 0000 01 0700 70726573732f31 02 0300 616e6e 03 2000 {ONES} 04 0100 74
                 05 1000 0300000000000000 0201000000000000 06 0000 07 0100 02"
            ),
        ),
        (Frame::Challenge { nonce: [1; 32], proof: [2; 32] }, format!("48000000 02 00 0000 {ONES} {TWOS}")),
        (Frame::Proof { token: [1; 32], resume: [2; 32] }, format!("48000000 03 00 0000 {ONES} {TWOS}")),
        (
            Frame::Welcome(welcome),
            "8b000000 04 00 0000 01 1000 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 02 1000 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
             03 0800 0300000000000000 04 1000 0200000000000000 0900000000000000 05 0000 06 0400 05060708
             07 0800 8877665544332211 08 0400 983a0000 09 0400 e8030000 0a 0400 00001000 0b 0400 10270000
             0c 0800 0000800000000000 0d 0000"
                .to_owned(),
        ),
        (Frame::Close { code: Code::Fenced, text: "no" }, "0e000000 05 00 0000 0800 0200 6e6f".to_owned()),
        (Frame::Beat { received: 0x0201 }, "10000000 06 00 0000 0102000000000000".to_owned()),
        (
            Frame::Subscribe { id: 7, pattern: b"a/#", group: b"" },
            "13000000 11 00 0000 07000000 0300 612f23 0000".to_owned(),
        ),
        (
            Frame::Subscribe { id: 7, pattern: b"a/#", group: b"g" },
            "14000000 11 00 0000 07000000 0300 612f23 0100 67".to_owned(),
        ),
        (Frame::Unsubscribe { id: 7 }, "0c000000 12 00 0000 07000000".to_owned()),
        (Frame::Confirm { id: 8 }, "0c000000 13 00 0000 08000000".to_owned()),
        (Frame::Barrier { id: 9 }, "0c000000 14 00 0000 09000000".to_owned()),
        (Frame::Done { id: 9, value: 258 }, "14000000 15 00 0000 09000000 0201000000000000".to_owned()),
        (
            Frame::Refused { about: About::Request(9), code: Code::BadName, text: "é" },
            "17000000 16 00 0000 00 0900000000000000 0600 0200 c3a9".to_owned(),
        ),
        (
            Frame::Refused { about: About::Event(1 << 40), code: Code::Forbidden, text: "" },
            "15000000 16 00 0000 01 0000000000010000 0500 0000".to_owned(),
        ),
        (
            Frame::Refused { about: About::Write(3), code: Code::Conflict, text: "no" },
            "17000000 16 00 0000 02 0300000000000000 1800 0200 6e6f".to_owned(),
        ),
        (Frame::Topic { number: 5, name: b"a/b" }, "11000000 17 00 0000 05000000 0300 612f62".to_owned()),
        (Frame::Publisher { number: 6, name: b"ann" }, "11000000 18 00 0000 06000000 0300 616e6e".to_owned()),
        (Frame::Forget { number: 6 }, "0c000000 19 00 0000 06000000".to_owned()),
        (
            Frame::Lagged(Lagged { numbered: &numbered, groups: &numbered[12..], named: &named }),
            "41000000 1a 00 0000 02000000 07000000 0100000000000000 09000000 ff00000000000000
             01000000 09000000 ff00000000000000 0300 612f62 0500000000000000"
                .to_owned(),
        ),
        (Frame::Ping { id: 1, node: b"ann" }, "11000000 1b 00 0000 01000000 0300 616e6e".to_owned()),
        (Frame::Pong { id: 1 }, "0c000000 1c 00 0000 01000000".to_owned()),
    ];
    let mut kinds = Vec::new();
    let others = [values::golden(), calls::golden(), info::golden(), grant::golden(), journals::golden()].concat();
    for (frame, text) in golden.into_iter().chain(others) {
        let bytes = hex(&text);
        assert_eq!(encoded(&frame), bytes, "{frame:?}");
        let (decoded, len) = Frame::decode(&bytes).unwrap().unwrap();
        assert_eq!((&decoded, len), (&frame, bytes.len()));
        kinds.push(bytes[4]);
    }
    kinds.push(Kind::Event as u8);
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, Kind::ALL.iter().map(|kind| *kind as u8).collect::<Vec<_>>(), "no kind is left out");
}

#[test]
fn an_event_by_number_is_these_bytes() {
    let head = EventHead { len: 0, encoding: Encoding::Json, flags: 0, topic: 5, publisher: 6, seq: 0x0102 };
    let mut out = Vec::new();
    write_event(&mut out, head, None, &[], b"42");
    let bytes = hex("1a000000 10 02 0000 05000000 06000000 0201000000000000 3432");
    assert_eq!(out, bytes);
    let body = EventBody { subscription: None, name: None, origin: None, content: b"42" };
    assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Event(EventHead { len: 26, ..head }, body), 26))));
}

#[test]
fn an_event_by_name_with_headers_is_these_bytes() {
    let head = EventHead { len: 0, encoding: Encoding::Raw, flags: NAMED | HEADERS, topic: 0, publisher: 6, seq: 1 };
    let headers = write_headers(&Pairs::from_iter([("k", "v"), ("k", "")])).unwrap();
    assert_eq!(headers, hex("0b00 0100 6b 0100 76 0100 6b 0000"));
    let mut out = Vec::new();
    write_event(&mut out, head, Some("a/b"), &headers, &[0xff]);
    let bytes =
        hex("2b000000 10 00 0300 00000000 06000000 0100000000000000 0300 612f62 0b00 0100 6b 0100 76 0100 6b 0000 ff");
    assert_eq!(out, bytes);
    let Ok(Some((Frame::Event(_, body), 43))) = Frame::decode(&bytes) else { panic!("an event") };
    assert_eq!(body.name, Some(&b"a/b"[..]));
    let (pairs, payload) = read_headers(&body.content.to_vec().into()).unwrap();
    assert_eq!(pairs.iter().collect::<Vec<_>>(), [("k", "v"), ("k", "")]);
    assert_eq!(payload[..], [0xff]);
}

#[test]
fn an_event_for_one_member_of_a_group_is_these_bytes() {
    let head = EventHead { len: 0, encoding: Encoding::Json, flags: GROUP | NAMED, topic: 0, publisher: 6, seq: 1 };
    let mut out = Vec::new();
    write_event(&mut out, head, None, &hex("09000000 0300 612f62"), b"42");
    let bytes = hex("23000000 10 02 1100 00000000 06000000 0100000000000000 09000000 0300 612f62 3432");
    assert_eq!(out, bytes);
    let body = EventBody { subscription: Some(9), name: Some(b"a/b"), origin: None, content: b"42" };
    assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Event(EventHead { len: 35, ..head }, body), 35))));
    let rest = hex("1c000000 10 02 1800 05000000 06000000 0100000000000000 09000000");
    assert!(Frame::decode(&rest).is_err(), "the number stands in the first frame of an event");
    assert!(Frame::decode(&hex("1a000000 10 02 1000 05000000 06000000 0100000000000000 0900")).is_err());
}

#[test]
fn an_event_of_another_hub_is_these_bytes() {
    let origin = EventOrigin { hub: [0xee; 16], epoch: 3, number: 9 };
    let head = EventHead { len: 0, encoding: Encoding::Json, flags: NAMED | ORIGIN, topic: 0, publisher: 5, seq: 7 };
    let mut out = Vec::new();
    write_event(&mut out, head, Some("a/b"), &origin.encode(), b"42");
    let bytes =
        hex("3f000000 10 02 2100 00000000 05000000 0700000000000000 0300 612f62 eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee \
         0300000000000000 0900000000000000 3432");
    assert_eq!(out, bytes);
    let Ok(Some((Frame::Event(_, body), 63))) = Frame::decode(&bytes) else { panic!("an event") };
    assert_eq!((body.name, body.origin, body.content), (Some(&b"a/b"[..]), Some(origin), &b"42"[..]));
    let mut rest = bytes.clone();
    rest[6] = (REST | ORIGIN) as u8;
    assert!(Frame::decode(&rest).is_err(), "where it was first stands in the first frame of an event");
}

#[test]
fn the_preface_is_these_bytes() {
    assert_eq!(Preface::OURS.encode(), [0xcf, b'c', b'n', b'v', 1, 0, 1, 0]);
    let bytes = [0xcf, b'c', b'n', b'v', 2, 1, 4, 3];
    for len in 0..8 {
        assert_eq!(Preface::decode(&bytes[..len]), Ok(None));
    }
    assert_eq!(Preface::decode(&bytes), Ok(Some(Preface { lowest: 0x0102, highest: 0x0304 })));
}

#[test]
fn versions_agree_on_the_highest_of_both() {
    let agree = |ours: (u16, u16), theirs: (u16, u16)| {
        let preface = |(lowest, highest)| Preface { lowest, highest };
        assert_eq!(preface(ours).agree(preface(theirs)), preface(theirs).agree(preface(ours)));
        preface(ours).agree(preface(theirs))
    };
    assert_eq!(agree((1, 1), (1, 1)), Some(1));
    assert_eq!(agree((1, 3), (2, 9)), Some(3));
    assert_eq!(agree((1, 1), (2, 9)), None);
    assert_eq!(agree((1, 1), (0, 0)), None);
    assert_eq!(agree((0, 0), (0, 0)), None, "version 0 does not exist");
    assert_eq!(agree((1, 1), (65535, 65535)), None);
    assert_eq!(agree((1, 1), (0, 65535)), Some(1));
    assert_eq!(agree((1, 1), (2, 1)), None, "from 2 to 1 there is nothing");
}

#[test]
fn events_are_cut_where_a_frame_is_full() {
    let frames = |name: Option<&str>, len: usize| {
        let head = EventHead { len: 0, encoding: Encoding::Raw, flags: 0, topic: 1, publisher: 1, seq: 1 };
        let mut out = Vec::new();
        write_event(&mut out, head, name, &[], &vec![0; len]);
        let (mut rest, mut lens) = (&out[..], Vec::new());
        while let Some(head) = Head::peek(rest).unwrap() {
            lens.push(head.len - EVENT_HEAD_BYTES);
            rest = &rest[head.len..];
        }
        lens
    };
    assert_eq!(frames(None, 0), [0]);
    assert_eq!(frames(None, FRAGMENT_BYTES_MAX), [65536]);
    assert_eq!(frames(None, FRAGMENT_BYTES_MAX + 1), [65536, 1]);
    assert_eq!(frames(None, 2 * FRAGMENT_BYTES_MAX), [65536, 65536]);
    assert_eq!(frames(Some("a/b"), FRAGMENT_BYTES_MAX), [65536, 5]);
}

#[test]
fn headers_have_a_limit_of_16_kib() {
    let pairs = |len: usize| Pairs::from_iter([("k", "v".repeat(len))]);
    // Each pair takes five bytes more than its value here.
    let longest = write_headers(&pairs(HEADERS_BYTES_MAX - 7)).expect("they fit");
    assert_eq!(longest.len(), HEADERS_BYTES_MAX);
    assert_eq!(write_headers(&pairs(HEADERS_BYTES_MAX - 6)), None);
    assert_eq!(write_headers(&pairs(70_000)), None);
    let block = |len: usize| {
        let mut block = (len as u16).to_le_bytes().to_vec();
        block.extend_from_slice(&[1, 0, b'k']);
        block.extend_from_slice(&((len - 5) as u16).to_le_bytes());
        block.resize(2 + len, b'v');
        block
    };
    assert!(read_headers(&block(HEADERS_BYTES_MAX).into()).is_ok());
    let error = read_headers(&block(HEADERS_BYTES_MAX + 1).into()).unwrap_err();
    assert_eq!(error.to_string(), "expected at most 16 KiB of headers at byte 24 of a frame");
}

#[test]
fn bad_headers_get_a_sentence() {
    let table = [
        ("", "expected headers at byte 24 of a frame"),
        ("01", "expected headers at byte 24 of a frame"),
        ("0500 0000 0000", "expected headers at byte 26 of a frame"),
        ("ffff 0000", "expected headers at byte 26 of a frame"),
        ("0200 0000", "expected a header's value in UTF-8 at byte 28 of a frame"),
        ("0300 0100 6b", "expected a header's value in UTF-8 at byte 29 of a frame"),
        ("0400 0300 6b6b", "expected a header's name in UTF-8 at byte 28 of a frame"),
        ("0500 0100 ff 0000", "expected a header's name in UTF-8 at byte 26 of a frame"),
        ("0500 0000 0100 80", "expected a header's value in UTF-8 at byte 28 of a frame"),
    ];
    for (bytes, expected) in table {
        assert_eq!(read_headers(&hex(bytes).into()).unwrap_err().to_string(), expected, "{bytes}");
    }
}

/// Row N9: what may be ignored is skipped, whatever is in it.
#[test]
fn an_optional_frame_that_nobody_knows_is_skipped() {
    for kind in [0x80u8, 0x91, 0xff] {
        let bytes = [&[11, 0, 0, 0, kind, 9, 0xff, 0xff][..], b"abc"].concat();
        assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Ignored(kind), 11))));
        assert_eq!(Frame::decode(&bytes[..10]), Ok(None));
    }
}

#[test]
fn an_optional_field_that_nobody_knows_is_skipped() {
    let known = format!("01 0100 61 03 2000 {ONES}");
    let len = 8 + 4 + 35;
    let plain = hex(&format!("{len:02x}000000 01 00 0000 {known}"));
    let more = hex(&format!("{:02x}000000 01 00 0000 ff 0300 616263 {known} 81 0000 81 0000", len + 12));
    let hello = |bytes: &[u8]| match Frame::decode(bytes) {
        Ok(Some((Frame::Hello(hello), _))) => format!("{hello:?}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(hello(&plain), hello(&more), "even twice");
}

/// Row N8, as far as the codec goes: the versions are read, whatever they are.
#[test]
fn a_preface_of_an_unknown_version_is_read() {
    for version in [0, 2, u16::MAX] {
        let preface = Preface { lowest: version, highest: version };
        assert_eq!(Preface::decode(&preface.encode()), Ok(Some(preface)));
        assert_eq!(Preface::OURS.agree(preface), None);
    }
}

#[test]
fn what_begins_like_another_protocol_gets_a_hint() {
    let table: [(&[u8], &str); 7] = [
        (b"GET / HTTP/1.1\r\n", "(this looks like HTTP or text, which this address does not speak) "),
        (b"REGISTER service=x\n", "(this looks like HTTP or text, which this address does not speak) "),
        (b"\x16\x03\x01\x02\x00\x01", "(this looks like TLS, which this address does not speak) "),
        (b"\x10\x0c\x00\x04MQTT", "(this looks like MQTT, which this address does not speak) "),
        (b"SSH-2.0-OpenSSH", ""),
        (b"\r\n", ""),
        (b"\xcfcnx", ""),
    ];
    for (bytes, hint) in table {
        let error = Preface::decode(bytes).unwrap_err();
        let expected = format!("expected the preface of a Convoke link {hint}at byte 0 of a frame");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_short_event_is_refused_before_more_comes() {
    // Eight bytes that say that they are a whole event.
    let error = EventHead::peek(&hex("08000000 10 00 0000")).unwrap_err();
    assert_eq!(error.to_string(), "expected a length of at least 24 in an event at byte 0 of a frame");
    assert_eq!(EventHead::peek(&hex("18000000 10 00 0000")), Ok(None));
    assert_eq!(EventHead::peek(&hex("0c000000 1c 00 0000 01000000")), Ok(None), "no event");
}

#[test]
fn a_sentence_that_is_too_long_is_cut_between_characters() {
    let text = "é".repeat(3000);
    let bytes = encoded(&Frame::Close { code: Code::BadFrame, text: &format!("a{text}") });
    let Ok(Some((Frame::Close { text, .. }, _))) = Frame::decode(&bytes) else { panic!("a Close") };
    assert_eq!(text.len(), 4095);
}

#[test]
fn many_losses_take_several_frames() {
    let names: Vec<String> = (0..400).map(|index| format!("{index:0>500}")).collect();
    let mut out = Vec::new();
    let pairs = |count| (1..=20_000).map(move |number| (number, count));
    write_lagged(&mut out, pairs(1), pairs(3), names.iter().map(|name| (&**name, 2)));
    let (mut rest, mut frames, mut numbered, mut groups, mut named) = (&out[..], 0, 0, 0, 0);
    while let Some((frame, len)) = Frame::decode(rest).unwrap() {
        let Frame::Lagged(lagged) = frame else { panic!("{frame:?}") };
        frames += 1;
        numbered += lagged.numbered().map(|(_, count)| count).sum::<u64>();
        groups += lagged.groups().map(|(_, count)| count).sum::<u64>();
        named += lagged.named().map(|(_, count)| count).sum::<u64>();
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
    assert!(frames > 5);
    assert_eq!((numbered, groups, named), (20_000, 60_000, 800));
}

#[test]
fn an_unknown_code_is_still_a_refusal() {
    let bytes = hex("0e000000 05 00 0000 e703 0200 6e6f");
    assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Close { code: Code::Unknown, text: "no" }, 14))));
}
