//! Arbitrary bytes as what comes on a link: each frame is read or refused in words, at its length and never past it; what
//! was read is the same when it was written and read again.

use convoke_core::frame::{EventHead, Frame, FrameError, Head, Kind, Preface};

/// What is longer may be cut when it is written: only sentences can be so long.
const CUT_BYTES: usize = 4096;

/// Reads `data` as a preface, and as frames one behind the other.
pub(crate) fn frames(data: &[u8]) {
    match Preface::decode(data) {
        Ok(Some(preface)) => assert_eq!(preface.encode(), data[..Preface::BYTES]),
        Ok(None) => assert!(data.len() < Preface::BYTES),
        Err(error) => harmless(&error),
    }
    let mut rest = data;
    loop {
        match (Head::peek(rest), Frame::decode(rest)) {
            (Ok(None), Ok(None)) => return,
            (Ok(Some(head)), Ok(None)) => {
                assert!(rest.len() < head.len);
                return;
            }
            (Ok(Some(head)), Ok(Some((frame, len)))) => {
                assert!(len == head.len && len <= rest.len());
                assert_eq!(Frame::decode(&rest[..len - 1]), Ok(None), "a byte is missing");
                check(&frame, &rest[..len]);
                rest = &rest[len..];
            }
            (_, Err(error)) => return harmless(&error),
            (head, frame) => panic!("{head:?} of {frame:?}"),
        }
    }
}

fn harmless(error: &FrameError) {
    let sentence = error.to_string();
    assert!(sentence.starts_with("expected ") && sentence.len() < 300, "{sentence}");
}

fn check(frame: &Frame<'_>, bytes: &[u8]) {
    match frame {
        Frame::Event(head, body) => {
            assert_eq!(EventHead::peek(bytes), Ok(Some(*head)));
            assert_eq!(head.encode(), bytes[..head.encode().len()]);
            assert!(body.content.len() <= bytes.len());
        }
        Frame::Part(_, body) => assert_eq!(*body, &bytes[bytes.len() - body.len()..]),
        Frame::Ignored(kind) => assert!(Kind::from_number(*kind).is_none()),
        frame if bytes.len() <= CUT_BYTES => {
            let mut again = Vec::new();
            frame.encode(&mut again);
            assert_eq!(Frame::decode(&again), Ok(Some((frame.clone(), again.len()))), "from {bytes:02x?}");
        }
        _ => {}
    }
}
