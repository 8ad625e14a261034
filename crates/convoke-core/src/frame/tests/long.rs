//! Long frames: where they are cut, how they are put together again, and which mixes of fragments are refused.

use super::encoded;
use crate::frame::*;
use crate::limits::FRAGMENT_BYTES_MAX;
use crate::payload::Encoding;

const BYTES_MAX: usize = 1 << 20;

fn content(bytes: &[u8]) -> Content<'_> {
    Content { encoding: Encoding::Text, headers: false, bytes }
}

/// A frame of each kind that may be long, with this payload: with flags, where it has any.
fn long(payload: &[u8], each: impl Fn(Frame<'_>)) {
    let set = Set { encoding: Encoding::Text, payload, ttl_ms: 0, ephemeral: false };
    let items = Items::encode(&[Item { name: b"a/b", every: false, expect: Expect::Absent, set: Some(set) }]);
    let incarnation = Incarnation { epoch: 1, counter: 2 };
    each(Frame::Write(Write { cseq: 1, settled: 0, items: Items::encoded(&items) }));
    let (rev, payload) = (Rev::durable(7), Some((Encoding::Text, payload)));
    each(Frame::Value(Value { id: 1, rev, author: b"ann", name: b"a/b", payload, together: true }));
    let content = content(payload.map_or(&[], |(_, payload)| payload));
    let select = Select::Node(b"ann");
    each(Frame::Call(Call { number: 1, left_ms: 2, select, wait: true, again: false, service: b"a/b", content }));
    let (caller, author) = (b"ann", b"ann");
    each(Frame::Handle(Handle { id: 1, registration: 2, left_ms: 3, incarnation, number: 4, caller, author, content }));
    each(Frame::Reply(Reply { id: 1, end: End::Done(content) }));
    each(Frame::Reply(Reply { id: 1, end: End::Failed { kind: "Jammed", message: "stuck", content } }));
}

/// The fragments that these bytes are, each with its head.
fn fragments(mut bytes: &[u8]) -> Vec<(Head, &[u8])> {
    let mut found = Vec::new();
    while let Some(head) = Head::peek(bytes).unwrap() {
        found.push((head, &bytes[HEAD_BYTES..head.len]));
        bytes = &bytes[head.len..];
    }
    assert!(bytes.is_empty());
    found
}

#[test]
fn long_frames_come_out_as_they_went_in() {
    // What stands before the payload takes 9 to 80 bytes: every length around each border is among these.
    let borders = (1..3).flat_map(|fragments| fragments * FRAGMENT_BYTES_MAX - 90..=fragments * FRAGMENT_BYTES_MAX + 1);
    let bytes: Vec<u8> = (0..3 * FRAGMENT_BYTES_MAX).map(|index| (index * 31) as u8).collect();
    for len in borders.chain([0, 1, 196_384]) {
        long(&bytes[..len.min(bytes.len())], |frame| round_trip(&frame));
    }
}

fn round_trip(frame: &Frame<'_>) {
    let bytes = encoded(frame);
    let fragments = fragments(&bytes);
    let body: usize = fragments.iter().map(|(_, body)| body.len()).sum();
    assert_eq!(fragments.len(), body.div_ceil(FRAGMENT_BYTES_MAX), "no more than it takes: {body} bytes");
    if let [_] = fragments[..] {
        assert!(Frame::decode(&bytes) == Ok(Some((frame.clone(), bytes.len()))), "{body} bytes");
        return;
    }
    let mut parts = Parts::default();
    let mut rest = &bytes[..];
    let last = fragments.len() - 1;
    for (index, (head, body)) in fragments.into_iter().enumerate() {
        assert_eq!(head.flags & REST != 0, index > 0);
        assert_eq!(head.flags & MORE != 0, index < last);
        assert!(index == last || body.len() == FRAGMENT_BYTES_MAX, "all but the last are full");
        assert!(Frame::decode(rest) == Ok(Some((Frame::Part(head, body), head.len))));
        rest = &rest[head.len..];
        let whole = parts.push(head, body, BYTES_MAX).unwrap();
        assert_eq!(whole.is_some(), index == last);
        if let Some(whole) = whole {
            assert!(whole.whole().as_ref() == Ok(frame));
        }
    }
}

fn head(kind: Kind, flags: u16) -> Head {
    Head { len: 0, kind: kind as u8, encoding: 0, flags }
}

/// A sender may cut where it likes, also a frame that would fit, and also in the middle of a field.
#[test]
fn a_frame_may_be_cut_anywhere() {
    long(b"payload", |frame| {
        let bytes = encoded(&frame);
        let [(head, body)] = fragments(&bytes)[..] else { panic!("one frame") };
        for cut in 0..=body.len() {
            let mut parts = Parts::default();
            let (first, rest) = body.split_at(cut);
            assert!(parts.push(Head { flags: head.flags | MORE, ..head }, first, BYTES_MAX).unwrap().is_none());
            let whole = parts.push(Head { flags: head.flags | REST, ..head }, rest, BYTES_MAX).unwrap().expect("all");
            assert_eq!(whole.whole(), Ok(frame.clone()), "cut at {cut}");
        }
        // What is missing at the end is missing, however it came.
        let mut parts = Parts::default();
        parts.push(Head { flags: head.flags | MORE, ..head }, &body[..3], BYTES_MAX).unwrap();
        let whole = parts.push(Head { flags: head.flags | REST, ..head }, &[], BYTES_MAX).unwrap().expect("all");
        whole.whole().expect_err("half a frame");
    });
}

#[test]
fn one_frame_of_each_lane_may_be_on_its_way() {
    let (mut parts, body) = (Parts::default(), [0; 8]);
    assert!(parts.push(head(Kind::Value, MORE), &[0; 4], BYTES_MAX).unwrap().is_none());
    for end in [1, 2] {
        assert!(parts.push(head(Kind::Reply, MORE), &body, BYTES_MAX).unwrap().is_none());
        let reply = parts.push(head(Kind::Reply, REST), &[4], BYTES_MAX).unwrap().expect("all of it");
        assert_eq!(reply.whole(), Ok(Frame::Reply(Reply { id: 0, end: End::Running })), "{end}");
    }
    let value = parts.push(head(Kind::Value, REST), &[0; 20], BYTES_MAX).unwrap().expect("all of it");
    assert!(matches!(value.whole(), Ok(Frame::Value(_))));
}

#[test]
fn fragments_that_do_not_belong_together_get_a_sentence() {
    const BEGIN: &str = "expected a frame of fragments from its first to its last at byte 6 of a frame";
    const OTHER: &str = "expected the rest of a frame before another of its lane at byte 4 of a frame";
    type Push = (Kind, u8, u16);
    let table: [(&str, &[Push], &str); 9] = [
        ("the rest of nothing", &[(Kind::Write, 0, REST)], BEGIN),
        ("the middle of nothing", &[(Kind::Call, 0, REST | MORE)], BEGIN),
        ("two beginnings", &[(Kind::Write, 0, MORE), (Kind::Write, 0, MORE)], BEGIN),
        ("another beginning of the lane", &[(Kind::Call, 0, MORE), (Kind::Reply, 0, MORE)], BEGIN),
        ("the rest of another kind", &[(Kind::Call, 0, MORE), (Kind::Reply, 0, REST)], OTHER),
        ("the rest of another value", &[(Kind::Value, 0, MORE), (Kind::Write, 0, REST)], OTHER),
        ("another encoding", &[(Kind::Call, 1, MORE), (Kind::Call, 2, REST)], OTHER),
        ("another flag", &[(Kind::Value, 0, MORE), (Kind::Value, 0, REST | DELETED)], OTHER),
        ("after the end", &[(Kind::Reply, 0, MORE), (Kind::Reply, 0, REST), (Kind::Reply, 0, REST)], BEGIN),
    ];
    for (case, pushes, sentence) in table {
        let mut parts = Parts::default();
        let (bad, good) = pushes.split_last().expect("each case has some");
        let mut push = |(kind, encoding, flags): Push| {
            parts.push(Head { encoding, ..head(kind, flags) }, &[0; 2000], BYTES_MAX).map(|_| ())
        };
        for fragment in good {
            push(*fragment).unwrap_or_else(|error| panic!("{case}: {error}"));
        }
        assert_eq!(push(*bad).expect_err(case).to_string(), sentence, "{case}");
    }
}

#[test]
fn fragments_have_a_bound_together() {
    let bytes = [0; 60_000];
    let mut parts = Parts::default();
    parts.push(head(Kind::Write, MORE), &bytes, 100_000).unwrap();
    let exact = parts.push(head(Kind::Write, MORE | REST), &bytes[..40_000], 100_000).unwrap();
    assert!(exact.is_none());
    let error = parts.push(head(Kind::Write, MORE | REST), &[0], 100_000).unwrap_err();
    assert_eq!(error.to_string(), "expected fragments no longer than their frame may be at byte 0 of a frame");
}

#[test]
fn a_frame_in_tiny_pieces_is_refused() {
    let train = |len: usize| {
        let mut parts = Parts::default();
        let mut count = 0;
        parts.push(head(Kind::Call, MORE), &vec![0; len], BYTES_MAX).unwrap();
        while count < 100 {
            count += 1;
            if let Err(error) = parts.push(head(Kind::Call, MORE | REST), &vec![0; len], BYTES_MAX) {
                return (count, error.to_string());
            }
        }
        (count, String::new())
    };
    assert_eq!(train(1024), (100, String::new()));
    for len in [0, 1, 1023] {
        // The first 16 do not count.
        assert_eq!(train(len), (16, "expected 1024 bytes in a fragment on average at byte 0 of a frame".to_owned()));
    }
}

#[test]
fn what_has_begun_is_forgotten_with_its_link() {
    let mut parts = Parts::default();
    parts.push(head(Kind::Write, MORE), &[0; 10], BYTES_MAX).unwrap();
    parts.push(head(Kind::Call, MORE), &[0; 10], BYTES_MAX).unwrap();
    parts.clear();
    parts.push(head(Kind::Write, MORE), &[0; 10], BYTES_MAX).unwrap();
    parts.push(head(Kind::Reply, MORE), &[0; 10], BYTES_MAX).unwrap();
}
