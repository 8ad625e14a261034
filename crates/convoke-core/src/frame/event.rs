//! The event frame: a head of fixed length, then optionally a name and headers, then the payload.
//!
//! What follows the head is the event's body. A body longer than [`FRAGMENT_BYTES_MAX`] is cut into several frames,
//! each with the same topic, publisher and seq; they follow one another in their lane, with nothing of that lane
//! between them. A name is always whole in the first; headers may be cut.

use bytes::Bytes;

use super::{FrameError, HEAD_BYTES, Head, Kind, Reader};
use crate::limits::{FRAGMENT_BYTES_MAX, HEADERS_BYTES_MAX};
use crate::payload::{Encoding, Headers};

/// Length of an event's head, in bytes.
pub const EVENT_HEAD_BYTES: usize = 24;

/// Flag: the body begins with the topic's name (a `u16` length and the bytes); the topic number is zero.
pub const NAMED: u16 = 1;
/// Flag: headers come before the payload.
pub const HEADERS: u16 = 2;
/// Flag: the body goes on in the next event frame.
pub const MORE: u16 = 4;
/// Flag: this is not the first frame of its event.
pub const REST: u16 = 8;

/// Flag, on links of other hubs only: behind the name stands where the event was published first, an [`EventOrigin`].
pub const ORIGIN: u16 = 32;

/// Flag, from the hub only: the body begins with the number of a subscription (a `u32`), before the name: it is a member
/// of a group, and the event is for it alone.
pub const GROUP: u16 = 16;

const KNOWN: u16 = NAMED | HEADERS | MORE | REST | GROUP | ORIGIN;

/// Length of the number that [`GROUP`] announces, in bytes.
pub(crate) const GROUP_BYTES: usize = 4;

/// Where an event was published first, and which of that hub's it is. A hub that gets one twice drops the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventOrigin {
    /// The hub.
    pub hub: [u8; 16],
    /// Which of its starts.
    pub epoch: u64,
    /// Counts the events that this start has passed on to other hubs, from 1, in the order in which it got them.
    pub number: u64,
}

impl EventOrigin {
    /// Its length in a frame, in bytes.
    pub const BYTES: usize = 32;

    pub(crate) fn encode(self) -> [u8; EventOrigin::BYTES] {
        let mut bytes = [0; EventOrigin::BYTES];
        bytes[..16].copy_from_slice(&self.hub);
        bytes[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[24..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    fn read(fields: &mut Reader<'_>) -> Result<EventOrigin, FrameError> {
        Ok(EventOrigin {
            hub: fields.array("a hub of 16 bytes")?,
            epoch: fields.u64("an epoch")?,
            number: fields.u64("a number")?,
        })
    }
}

/// The fixed part of an event frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// Length of the whole frame in bytes.
    pub len: usize,
    /// How to read the payload.
    pub encoding: Encoding,
    /// [`NAMED`], [`HEADERS`], [`MORE`], [`REST`], [`GROUP`], [`ORIGIN`].
    pub flags: u16,
    /// The hub's number of the topic; zero with [`NAMED`].
    pub topic: u32,
    /// The hub's number of the publisher.
    pub publisher: u32,
    /// The publisher's own count of its events, from 1.
    pub seq: u64,
}

/// What follows the head of one event frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBody<'a> {
    /// The only subscription that it is for, with [`GROUP`], in the first fragment.
    pub subscription: Option<u32>,
    /// The topic's name with [`NAMED`], in the first fragment; not validated.
    pub name: Option<&'a [u8]>,
    /// Where it was published first with [`ORIGIN`], in the first fragment.
    pub origin: Option<EventOrigin>,
    /// Headers and payload, or this fragment of them.
    pub content: &'a [u8],
}

impl EventHead {
    /// Reads the head of the event frame that `input` begins with; `None` while it is not all there, or when the frame
    /// is not an event.
    ///
    /// # Errors
    ///
    /// As [`Head::peek`], and flags or an encoding that do not exist.
    #[inline]
    pub fn peek(input: &[u8]) -> Result<Option<EventHead>, FrameError> {
        match Head::peek(input)? {
            // One that is too short is told here: its missing bytes will never come.
            Some(head) if head.kind == Kind::Event as u8 => match input.len() >= EVENT_HEAD_BYTES {
                true => Self::read(head, input).map(Some),
                false => check_len(head).map(|()| None),
            },
            _ => Ok(None),
        }
    }

    #[inline]
    pub(super) fn read(head: Head, input: &[u8]) -> Result<EventHead, FrameError> {
        check_len(head)?;
        let Some(encoding) = Encoding::from_number(head.encoding) else {
            return Err(FrameError { offset: 5, expected: "an encoding that exists" });
        };
        if head.flags & !KNOWN != 0 || head.flags & REST != 0 && head.flags & (NAMED | GROUP | ORIGIN) != 0 {
            return Err(FrameError { offset: 6, expected: "flags of an event" });
        }
        let mut fields = Reader::new(&input[HEAD_BYTES..EVENT_HEAD_BYTES], HEAD_BYTES);
        let topic = fields.u32("a topic")?;
        if topic != 0 && head.flags & NAMED != 0 {
            return Err(FrameError { offset: 8, expected: "topic 0 in an event with a name" });
        }
        Ok(EventHead {
            len: head.len,
            encoding,
            flags: head.flags,
            topic,
            publisher: fields.u32("a publisher")?,
            seq: fields.u64("a seq")?,
        })
    }

    /// The head as bytes.
    #[inline]
    pub fn encode(&self) -> [u8; EVENT_HEAD_BYTES] {
        let mut head = [0; EVENT_HEAD_BYTES];
        head[..4].copy_from_slice(&(self.len as u32).to_le_bytes());
        head[4] = Kind::Event as u8;
        head[5] = self.encoding as u8;
        head[6..8].copy_from_slice(&self.flags.to_le_bytes());
        head[8..12].copy_from_slice(&self.topic.to_le_bytes());
        head[12..16].copy_from_slice(&self.publisher.to_le_bytes());
        head[16..].copy_from_slice(&self.seq.to_le_bytes());
        head
    }

    /// Splits what follows the head in `frame`, which is this whole frame.
    ///
    /// # Errors
    ///
    /// A name longer than the frame, or no number where one must be.
    pub fn body(self, frame: &[u8]) -> Result<EventBody<'_>, FrameError> {
        let mut fields = Reader::new(&frame[EVENT_HEAD_BYTES..self.len], EVENT_HEAD_BYTES);
        let subscription = if self.flags & GROUP != 0 { Some(fields.u32("a subscription")?) } else { None };
        let name = if self.flags & NAMED != 0 { Some(fields.short_bytes("a name")?) } else { None };
        let origin = if self.flags & ORIGIN != 0 { Some(EventOrigin::read(&mut fields)?) } else { None };
        Ok(EventBody { subscription, name, origin, content: fields.rest() })
    }
}

fn check_len(head: Head) -> Result<(), FrameError> {
    if head.len < EVENT_HEAD_BYTES {
        return Err(FrameError { offset: 0, expected: "a length of at least 24 in an event" });
    }
    Ok(())
}

/// Appends an event to `out`, in as many frames as it takes. `content` is its headers (as [`write_headers`] wrote them)
/// and its payload, in two pieces so that neither is copied first; the flag for the headers is the caller's. What else the
/// flags announce before them may be part of `headers` too.
#[inline]
pub(crate) fn write_event(out: &mut Vec<u8>, mut head: EventHead, name: Option<&str>, headers: &[u8], payload: &[u8]) {
    let named = name.map_or(0, |name| 2 + name.len());
    let body = named + headers.len() + payload.len();
    if body <= FRAGMENT_BYTES_MAX {
        head.len = EVENT_HEAD_BYTES + body;
        out.reserve(head.len);
        out.extend_from_slice(&head.encode());
        if let Some(name) = name {
            super::put_short(out, name.as_bytes());
        }
        out.extend_from_slice(headers);
        out.extend_from_slice(payload);
    } else {
        write_fragments(out, head, name, headers, payload);
    }
}

#[cold]
fn write_fragments(out: &mut Vec<u8>, mut head: EventHead, name: Option<&str>, headers: &[u8], payload: &[u8]) {
    let mut before = Vec::new();
    if let Some(name) = name {
        super::put_short(&mut before, name.as_bytes());
    }
    before.extend_from_slice(headers);
    let (mut before, mut payload) = (before.as_slice(), payload);
    let flags = head.flags;
    let mut first = true;
    while !before.is_empty() || !payload.is_empty() || first {
        let (from_before, before_rest) = before.split_at(before.len().min(FRAGMENT_BYTES_MAX));
        let (from_payload, payload_rest) = payload.split_at(payload.len().min(FRAGMENT_BYTES_MAX - from_before.len()));
        (before, payload) = (before_rest, payload_rest);
        head.flags = if first { flags } else { flags & !(NAMED | GROUP | ORIGIN) | REST };
        if !before.is_empty() || !payload.is_empty() {
            head.flags |= MORE;
        }
        head.len = EVENT_HEAD_BYTES + from_before.len() + from_payload.len();
        out.extend_from_slice(&head.encode());
        out.extend_from_slice(from_before);
        out.extend_from_slice(from_payload);
        first = false;
    }
}

/// The headers as they stand before a payload: a `u16` length, then for each pair two texts with `u16` lengths.
/// `None` if they are longer than [`HEADERS_BYTES_MAX`].
pub(crate) fn write_headers(headers: &Headers) -> Option<Vec<u8>> {
    let mut out = vec![0, 0];
    for (name, value) in headers.iter() {
        for text in [name, value] {
            out.extend_from_slice(&u16::try_from(text.len()).ok()?.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        if out.len() > HEADERS_BYTES_MAX {
            return None;
        }
    }
    let len = (out.len() - 2) as u16;
    out[..2].copy_from_slice(&len.to_le_bytes());
    Some(out)
}

/// Checks that what `fields` begins with is a headers block, and reads it.
pub(super) fn check_headers(fields: &mut Reader<'_>) -> Result<(), FrameError> {
    let offset = fields.offset();
    let block = fields.short_bytes("headers")?;
    if block.len() > HEADERS_BYTES_MAX {
        return Err(FrameError { offset, expected: "at most 16 KiB of headers" });
    }
    let mut pairs = Reader::new(block, offset + 2);
    while !pairs.is_empty() {
        pairs.short_text("a header's name in UTF-8")?;
        pairs.short_text("a header's value in UTF-8")?;
    }
    Ok(())
}

/// Splits whole content that begins with headers into these and the payload.
///
/// # Errors
///
/// Headers that are longer than they may be or than the content, or are not pairs of texts.
pub(crate) fn read_headers(content: &Bytes) -> Result<(Headers, Bytes), FrameError> {
    let mut fields = Reader::new(content, EVENT_HEAD_BYTES);
    let block = fields.short_bytes("headers")?;
    if block.len() > HEADERS_BYTES_MAX {
        return Err(FrameError { offset: EVENT_HEAD_BYTES, expected: "at most 16 KiB of headers" });
    }
    let mut pairs = Reader::new(block, EVENT_HEAD_BYTES + 2);
    let mut headers = Headers::new();
    while !pairs.is_empty() {
        let name = pairs.short_text("a header's name in UTF-8")?;
        headers.push(name, pairs.short_text("a header's value in UTF-8")?);
    }
    Ok((headers, content.slice(2 + block.len()..)))
}
