//! The codec on its own: bytes written out by hand, what arbitrary frames and arbitrary bytes do, and the exact sentence
//! that each kind of bad frame gets.

use proptest::prelude::*;

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
            "88000000 04 00 0000 01 1000 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 02 1000 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
             03 0800 0300000000000000 04 1000 0200000000000000 0900000000000000 05 0000 06 0400 05060708
             07 0800 8877665544332211 08 0400 983a0000 09 0400 e8030000 0a 0400 00001000 0b 0400 10270000
             0c 0800 0000800000000000"
                .to_owned(),
        ),
        (Frame::Close { code: Code::Fenced, text: "no" }, "0e000000 05 00 0000 0800 0200 6e6f".to_owned()),
        (Frame::Beat { received: 0x0201 }, "10000000 06 00 0000 0102000000000000".to_owned()),
        (Frame::Subscribe { id: 7, pattern: b"a/#" }, "11000000 11 00 0000 07000000 0300 612f23".to_owned()),
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
        (Frame::Topic { number: 5, name: b"a/b" }, "11000000 17 00 0000 05000000 0300 612f62".to_owned()),
        (Frame::Publisher { number: 6, name: b"ann" }, "11000000 18 00 0000 06000000 0300 616e6e".to_owned()),
        (Frame::Forget { number: 6 }, "0c000000 19 00 0000 06000000".to_owned()),
        (
            Frame::Lagged(Lagged { numbered: &numbered, named: &named }),
            "31000000 1a 00 0000 02000000 07000000 0100000000000000 09000000 ff00000000000000
             0300 612f62 0500000000000000"
                .to_owned(),
        ),
        (Frame::Ping { id: 1, node: b"ann" }, "11000000 1b 00 0000 01000000 0300 616e6e".to_owned()),
        (Frame::Pong { id: 1 }, "0c000000 1c 00 0000 01000000".to_owned()),
    ];
    let mut kinds = Vec::new();
    for (frame, text) in golden {
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
    let body = EventBody { name: None, content: b"42" };
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

/// Everything that a frame can be made of, owned.
#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    number: u32,
    long: u64,
    bytes: Vec<u8>,
    text: String,
    array: [u8; 32],
    flag: bool,
    losses: Vec<(u32, u64, String)>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 500..600),
        // The longest that is not cut.
        prop::collection::vec(any::<u8>(), 4096),
    ];
    let losses = prop::collection::vec((any::<u32>(), any::<u64>(), "[a-z/]{1,20}"), 0..6);
    let all: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Event).collect();
    (prop::sample::select(all), any::<u32>(), any::<u64>(), bytes, ".{0,40}", any::<[u8; 32]>(), any::<bool>(), losses)
        .prop_map(|(kind, number, long, bytes, text, array, flag, losses)| Parts {
            kind,
            number,
            long,
            bytes,
            text,
            array,
            flag,
            losses,
        })
}

impl Parts {
    fn encode(&self) -> Vec<u8> {
        let Parts { number, long, array, flag, text, .. } = self;
        let (id, value, number) = (*number, *long, *number);
        let code = Code::ALL[id as usize % Code::ALL.len()];
        let incarnation = Incarnation { epoch: *long, counter: u64::from(id) };
        let frame = match self.kind {
            Kind::Event => unreachable!("not made here"),
            Kind::Hello => Frame::Hello(Hello {
                name: &self.bytes,
                author: text.as_bytes(),
                nonce: *array,
                token: if *flag { &self.bytes } else { &[] },
                resume: flag.then_some(incarnation),
                takeover: *flag,
                slow: SlowPolicy::ALL[id as usize % 4],
            }),
            Kind::Welcome => Frame::Welcome(Welcome {
                hub: array[..16].try_into().unwrap(),
                history: array[16..].try_into().unwrap(),
                epoch: *long,
                incarnation,
                resumed: *flag,
                publisher: id,
                received: *long,
                beat_ms: id,
                beat_attentive_ms: !id,
                payload_bytes_max: id,
                subscriptions_max: id,
                bulk_bytes_max: *long,
            }),
            Kind::Challenge => Frame::Challenge { nonce: *array, proof: *array },
            Kind::Proof => Frame::Proof { token: *array, resume: [3; 32] },
            Kind::Close => Frame::Close { code, text },
            Kind::Beat => Frame::Beat { received: *long },
            Kind::Subscribe => Frame::Subscribe { id, pattern: &self.bytes },
            Kind::Unsubscribe => Frame::Unsubscribe { id },
            Kind::Confirm => Frame::Confirm { id },
            Kind::Barrier => Frame::Barrier { id },
            Kind::Done => Frame::Done { id, value },
            Kind::Refused => {
                let about = if *flag { About::Event(*long) } else { About::Request(id) };
                Frame::Refused { about, code, text }
            }
            Kind::Topic => Frame::Topic { number, name: &self.bytes },
            Kind::Publisher => Frame::Publisher { number, name: &self.bytes },
            Kind::Forget => Frame::Forget { number },
            Kind::Lagged => {
                let mut out = Vec::new();
                let numbered = self.losses.iter().map(|(topic, count, _)| (*topic, *count));
                write_lagged(&mut out, numbered, self.losses.iter().map(|(_, count, name)| (&**name, *count)));
                return out;
            }
            Kind::Ping => Frame::Ping { id, node: &self.bytes },
            Kind::Pong => Frame::Pong { id },
        };
        encoded(&frame)
    }
}

/// Checks that a decoded frame says the same as the parts it was made of, in the fields that can differ.
fn same(frame: &Frame<'_>, parts: &Parts) {
    match frame {
        Frame::Subscribe { id, pattern } => assert_eq!((*id, *pattern), (parts.number, &parts.bytes[..])),
        Frame::Topic { number, name } | Frame::Publisher { number, name } => {
            assert_eq!((*number, *name), (parts.number, &parts.bytes[..]));
        }
        Frame::Done { id, value } => assert_eq!((*id, *value), (parts.number, parts.long)),
        Frame::Close { text, .. } | Frame::Refused { text, .. } => assert_eq!(*text, parts.text),
        Frame::Hello(hello) => {
            assert_eq!((hello.name, hello.author), (&parts.bytes[..], parts.text.as_bytes()));
            assert_eq!((hello.takeover, hello.nonce), (parts.flag, parts.array));
        }
        Frame::Welcome(welcome) => assert_eq!((welcome.resumed, welcome.epoch), (parts.flag, parts.long)),
        Frame::Lagged(lagged) => {
            let numbered: Vec<_> = lagged.numbered().collect();
            let named: Vec<_> = lagged.named().collect();
            assert_eq!(numbered, parts.losses.iter().map(|loss| (loss.0, loss.1)).collect::<Vec<_>>());
            assert_eq!(named, parts.losses.iter().map(|loss| (loss.2.as_bytes(), loss.1)).collect::<Vec<_>>());
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_encoded_is_decoded_to_the_same(all in prop::collection::vec(parts(), 1..6)) {
        let stream: Vec<u8> = all.iter().flat_map(Parts::encode).collect();
        let mut rest = &stream[..];
        for parts in &all {
            if parts.kind == Kind::Lagged && parts.losses.is_empty() {
                // Nothing lost, nothing written.
                continue;
            }
            let (frame, len) = Frame::decode(rest).unwrap().unwrap();
            assert_eq!(rest[4], parts.kind as u8);
            assert_eq!(encoded(&frame), &rest[..len]);
            same(&frame, parts);
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn half_a_frame_is_no_error(parts in parts()) {
        let bytes = parts.encode();
        for len in 0..bytes.len() {
            assert_eq!(Frame::decode(&bytes[..len]), Ok(None), "{len} bytes");
        }
    }

    #[test]
    fn arbitrary_bytes_are_a_frame_or_an_error_in_them(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_any(&bytes);
        // Most random lengths are out of bounds: once more with the right one, and with a kind that exists.
        if bytes.len() >= HEAD_BYTES {
            let len = bytes.len() as u32;
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            bytes[4] = Kind::ALL[bytes[4] as usize % Kind::ALL.len()] as u8;
            check_any(&bytes);
            bytes[5..8].fill(0);
            check_any(&bytes);
        }
    }

    #[test]
    fn a_changed_byte_is_a_frame_or_an_error_in_it(parts in parts(), place in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = parts.encode();
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = to;
            check_any(&bytes);
        }
    }

    #[test]
    fn an_event_comes_out_as_it_went_in(
        named in any::<bool>(),
        headers in prop::collection::vec(("[a-z]{0,9}", ".{0,30}"), 0..4),
        len in prop_oneof![0..100usize, FRAGMENT_BYTES_MAX - 100..FRAGMENT_BYTES_MAX + 100, 150_000..200_000usize],
        seq in any::<u64>(),
    ) {
        let pairs = Pairs::from_iter(headers);
        round_trip(named.then_some("press/1/opened"), &pairs, len, seq);
    }
}

fn check_any(bytes: &[u8]) {
    match Frame::decode(bytes) {
        Ok(None) => assert!(Head::peek(bytes).unwrap().is_none_or(|head| head.len > bytes.len())),
        Ok(Some((frame, len))) => {
            assert!(len <= bytes.len());
            if let Frame::Lagged(lagged) = frame {
                // Both must be readable to the end.
                assert!(lagged.numbered().count() * 12 + lagged.named().count() * 10 <= len);
            }
        }
        Err(error) => {
            // A field that is missing is missing at the end.
            assert!(error.offset <= bytes.len(), "{error} in {} bytes", bytes.len());
            assert!(!error.expected.is_empty());
        }
    }
}

/// Writes an event and puts its frames together again.
fn round_trip(name: Option<&str>, pairs: &Pairs, len: usize, seq: u64) {
    let headers = if pairs.is_empty() { Vec::new() } else { write_headers(pairs).unwrap() };
    let payload: Vec<u8> = (0..len).map(|index| (index * 31) as u8).collect();
    let flags = if name.is_some() { NAMED } else { 0 } | if pairs.is_empty() { 0 } else { HEADERS };
    let topic = if name.is_some() { 0 } else { 77 };
    let head = EventHead { len: 0, encoding: Encoding::Text, flags, topic, publisher: 8, seq };
    let mut out = b"before".to_vec();
    write_event(&mut out, head, name, &headers, &payload);
    let mut rest = &out[6..];
    let mut content = Vec::new();
    let mut first = true;
    loop {
        let (frame, len) = Frame::decode(rest).unwrap().unwrap();
        let Frame::Event(got, body) = frame else { panic!("{frame:?}") };
        assert_eq!((got.encoding, got.topic, got.publisher, got.seq), (Encoding::Text, topic, 8, seq));
        assert_eq!(got.len, len);
        assert_eq!(EventHead::peek(rest), Ok(Some(got)));
        assert_eq!(got.flags & REST == 0, first);
        assert_eq!(got.flags & HEADERS, flags & HEADERS, "every frame says whether there are headers");
        assert_eq!(body.name.map(<[u8]>::to_vec), name.filter(|_| first).map(|name| name.as_bytes().to_vec()));
        content.extend_from_slice(body.content);
        rest = &rest[len..];
        first = false;
        if got.flags & MORE == 0 {
            break;
        }
        assert_eq!(len, FRAME_BYTES_MAX, "all but the last are full");
    }
    assert!(rest.is_empty());
    let got = if pairs.is_empty() {
        content.into()
    } else {
        let (got, payload) = read_headers(&content.into()).unwrap();
        assert_eq!(&got, pairs);
        payload
    };
    assert!(got == payload, "the payload is the same");
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

/// Rows N1 to N4, N9, N10, N14, N16 and N17 of what bad input gets, with the sentence of each.
#[test]
fn each_bad_frame_gets_its_sentence() {
    let table = [
        // N1 and N2: a length that has no room for a head.
        ("00000000 06 00 0000", "expected a length of at least 8 at byte 0 of a frame"),
        ("01000000 06 00 0000", "expected a length of at least 8 at byte 0 of a frame"),
        ("07000000 06 00 0000", "expected a length of at least 8 at byte 0 of a frame"),
        ("08000000 10 00 0000", "expected a length of at least 24 in an event at byte 0 of a frame"),
        (
            "17000000 10 00 0000 05000000 06000000 01000000000000",
            "expected a length of at least 24 in an event at byte 0 of a frame",
        ),
        // N3 and N4: a length beyond all frames, told before the body comes.
        ("19000100 10 00 0000", "expected a length of at most 65560 at byte 0 of a frame"),
        ("ffffff7f 10 00 0000", "expected a length of at most 65560 at byte 0 of a frame"),
        ("00000080 10 00 0000", "expected a length of at most 65560 at byte 0 of a frame"),
        ("ffffffff 06 00 0000", "expected a length of at most 65560 at byte 0 of a frame"),
        // N10: a kind that must be understood.
        ("08000000 00 00 0000", "expected a kind of frame that this version knows at byte 4 of a frame"),
        ("08000000 07 00 0000", "expected a kind of frame that this version knows at byte 4 of a frame"),
        ("08000000 7f 00 0000", "expected a kind of frame that this version knows at byte 4 of a frame"),
        // N14: what is reserved.
        ("0c000000 1c 01 0000 01000000", "expected no encoding in a frame without a payload at byte 5 of a frame"),
        ("0c000000 1c 00 0100 01000000", "expected no flags in this kind of frame at byte 6 of a frame"),
        ("0c000000 1c 00 0080 01000000", "expected no flags in this kind of frame at byte 6 of a frame"),
        (
            "18000000 10 04 0000 05000000 06000000 0100000000000000",
            "expected an encoding that exists at byte 5 of a frame",
        ),
        ("18000000 10 00 1000 05000000 06000000 0100000000000000", "expected flags of an event at byte 6 of a frame"),
        ("18000000 10 00 0900 00000000 06000000 0100000000000000", "expected flags of an event at byte 6 of a frame"),
        (
            "1a000000 10 00 0100 05000000 06000000 0100000000000000 0000",
            "expected topic 0 in an event with a name at byte 8 of a frame",
        ),
        // N16: bytes after the last field.
        ("0d000000 1c 00 0000 01000000 00", "expected the end of the frame at byte 12 of a frame"),
        ("0f000000 05 00 0000 0800 0200 6e6f 00", "expected the end of the frame at byte 14 of a frame"),
        ("11000000 06 00 0000 0100000000000000 00", "expected the end of the frame at byte 16 of a frame"),
        // N17: a field that is longer than its frame, or that is missing.
        ("08000000 06 00 0000", "expected a seq at byte 8 of a frame"),
        ("10000000 11 00 0000 07000000 0300 612f", "expected a pattern at byte 14 of a frame"),
        ("0e000000 11 00 0000 07000000 ffff", "expected a pattern at byte 14 of a frame"),
        ("0d000000 11 00 0000 07000000 00", "expected a pattern at byte 12 of a frame"),
        ("1c000000 10 00 0100 00000000 06000000 0100000000000000 0500 6161", "expected a name at byte 26 of a frame"),
        ("19000000 10 00 0100 00000000 06000000 0100000000000000 00", "expected a name at byte 24 of a frame"),
        ("0c000000 1a 00 0000 ffffffff", "expected a number and a count for each topic at byte 12 of a frame"),
        ("12000000 1a 00 0000 00000000 0300 612f6200", "expected a count at byte 17 of a frame"),
        ("0e000000 1a 00 0000 00000000 0100", "expected a name at byte 14 of a frame"),
        ("0c000000 01 00 0000 01 ffff 00", "expected a field as long as it says at byte 11 of a frame"),
        // The rest of what single fields can be.
        ("0e000000 05 00 0000 0800 0200 ff6f", "expected a sentence in UTF-8 at byte 10 of a frame"),
        (
            "15000000 16 00 0000 02 0000000000000000 0500 0000",
            "expected 0 (a request) or 1 (an event) at byte 8 of a frame",
        ),
        ("15000000 16 00 0000 00 0000000001000000 0500 0000", "expected the number of a request at byte 9 of a frame"),
        ("08000000 01 00 0000", "expected the field name at byte 8 of a frame"),
        ("0c000000 01 00 0000 01 0100 61", "expected the field nonce at byte 12 of a frame"),
        ("10000000 01 00 0000 01 0100 61 01 0100 61", "expected each field only once at byte 12 of a frame"),
        ("0b000000 01 00 0000 7f 0000", "expected a field that this version knows at byte 11 of a frame"),
        ("0c000000 01 00 0000 07 0100 04", "expected a slow policy that exists at byte 11 of a frame"),
        ("0c000000 01 00 0000 06 0100 00", "expected the end of the frame at byte 11 of a frame"),
        ("0c000000 01 00 0000 03 0100 00", "expected a nonce of 32 bytes at byte 11 of a frame"),
        ("08000000 04 00 0000", "expected the field hub at byte 8 of a frame"),
    ];
    for (text, expected) in table {
        let bytes = hex(text);
        assert_eq!(sentence(&bytes), expected, "{text}");
        // A frame that follows changes nothing; and until enough is there, nothing is wrong yet.
        assert_eq!(sentence(&[&bytes[..], &hex("0c000000 1c 00 0000 01000000")].concat()), expected, "{text}");
        for len in 0..HEAD_BYTES {
            assert_eq!(Frame::decode(&bytes[..len]), Ok(None), "{text}");
        }
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
    write_lagged(&mut out, (1..=20_000).map(|topic| (topic, 1)), names.iter().map(|name| (&**name, 2)));
    let (mut rest, mut frames, mut numbered, mut named) = (&out[..], 0, 0, 0);
    while let Some((frame, len)) = Frame::decode(rest).unwrap() {
        let Frame::Lagged(lagged) = frame else { panic!("{frame:?}") };
        frames += 1;
        numbered += lagged.numbered().map(|(_, count)| count).sum::<u64>();
        named += lagged.named().map(|(_, count)| count).sum::<u64>();
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
    assert!(frames > 5);
    assert_eq!((numbered, named), (20_000, 800));
}

#[test]
fn an_unknown_code_is_still_a_refusal() {
    let bytes = hex("0e000000 05 00 0000 e703 0200 6e6f");
    assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Close { code: Code::Unknown, text: "no" }, 14))));
}
