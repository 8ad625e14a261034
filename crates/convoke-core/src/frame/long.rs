//! Frames that carry a payload beside events: cut into fragments where they are long, and put together again.
//!
//! What follows the head is the body. A body longer than [`FRAGMENT_BYTES_MAX`] is cut into several frames with the same
//! kind and encoding, all but the last with [`MORE`], all but the first with [`REST`]; they follow one another in their
//! lane, with no other long frame of that lane between them.

use super::{Frame, FrameError, HEAD_BYTES, Head, Kind, MORE, REST};
use crate::limits::FRAGMENT_BYTES_MAX;

/// Fragments that are not the last must carry so many bytes on average, once there are some: a body in tiny pieces costs
/// the receiver more than it costs the sender.
const FRAGMENT_BYTES_MIN: usize = 1024;

impl Kind {
    /// Whether a frame of this kind may be cut into fragments.
    pub(crate) const fn is_long(self) -> bool {
        matches!(self, Kind::Write | Kind::Value | Kind::Call | Kind::Handle | Kind::Reply | Kind::Append | Kind::Entry)
    }
}

/// Appends a long frame to `out`, in as many frames as it takes. `body` is in two pieces so that a payload need not be
/// copied first.
pub(super) fn write_long(out: &mut Vec<u8>, kind: Kind, encoding: u8, flags: u16, fields: &[u8], payload: &[u8]) {
    let (mut fields, mut payload) = (fields, payload);
    let mut first = true;
    while first || !fields.is_empty() || !payload.is_empty() {
        let (from_fields, fields_rest) = fields.split_at(fields.len().min(FRAGMENT_BYTES_MAX));
        let (from_payload, payload_rest) = payload.split_at(payload.len().min(FRAGMENT_BYTES_MAX - from_fields.len()));
        (fields, payload) = (fields_rest, payload_rest);
        let mut flags = if first { flags } else { flags | REST };
        if !fields.is_empty() || !payload.is_empty() {
            flags |= MORE;
        }
        let len = HEAD_BYTES + from_fields.len() + from_payload.len();
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&[kind as u8, encoding]);
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(from_fields);
        out.extend_from_slice(from_payload);
        first = false;
    }
}

/// As [`write_long`], for frames of which there may be a million a second: what fits into one frame is written where it
/// belongs, without a buffer of its own.
pub(super) fn write_direct(
    out: &mut Vec<u8>,
    kind: Kind,
    encoding: u8,
    flags: u16,
    fields: impl FnOnce(&mut Vec<u8>),
    payload: &[u8],
) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind as u8, encoding]);
    out.extend_from_slice(&flags.to_le_bytes());
    fields(out);
    let len = out.len() - start + payload.len();
    if len - HEAD_BYTES <= FRAGMENT_BYTES_MAX {
        out.extend_from_slice(payload);
        out[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
    } else {
        let fields = out.split_off(start + HEAD_BYTES);
        out.truncate(start);
        write_long(out, kind, encoding, flags, &fields, payload);
    }
}

/// The fragments of one long frame of which more are to come.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// Of the first fragment.
    head: Head,
    body: Vec<u8>,
    fragments: usize,
}

impl Assembly {
    /// Reads what was put together.
    pub(crate) fn whole(&self) -> Result<Frame<'_>, FrameError> {
        Frame::read_long(Head { flags: self.head.flags & !(MORE | REST), ..self.head }, &self.body)
    }
}

/// The long frames of which more is to come on a link: at most one in each lane.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    bulk: Option<Box<Assembly>>,
    calls: Option<Box<Assembly>>,
}

impl Parts {
    /// Takes one fragment, and gives the whole back with the last. `bytes_max` bounds the body.
    pub(crate) fn push(
        &mut self,
        head: Head,
        body: &[u8],
        bytes_max: usize,
    ) -> Result<Option<Box<Assembly>>, FrameError> {
        let place = self.lane(head.kind);
        if (head.flags & REST == 0) != place.is_none() {
            return Err(FrameError { offset: 6, expected: "a frame of fragments from its first to its last" });
        }
        let assembly = place.get_or_insert_with(|| Box::new(Assembly { head, body: Vec::new(), fragments: 0 }));
        let same = assembly.head.kind == head.kind && assembly.head.encoding == head.encoding;
        if !same || (assembly.head.flags ^ head.flags) & !(MORE | REST) != 0 {
            return Err(FrameError { offset: 4, expected: "the rest of a frame before another of its lane" });
        }
        assembly.fragments += 1;
        assembly.body.extend_from_slice(body);
        if assembly.body.len() > bytes_max {
            return Err(FrameError { offset: 0, expected: "fragments no longer than their frame may be" });
        }
        if assembly.fragments > 16 && assembly.body.len() < assembly.fragments * FRAGMENT_BYTES_MIN {
            return Err(FrameError { offset: 0, expected: "1024 bytes in a fragment on average" });
        }
        Ok(if head.flags & MORE == 0 { place.take() } else { None })
    }

    /// Checks that a frame of this kind does not come between the fragments of another of its lane.
    pub(crate) fn check_whole(&mut self, kind: u8) -> Result<(), FrameError> {
        let long = Kind::from_number(kind).is_some_and(Kind::is_long);
        if long && self.lane(kind).is_some() {
            return Err(FrameError { offset: 6, expected: "the rest of a frame before another of its lane" });
        }
        Ok(())
    }

    fn lane(&mut self, kind: u8) -> &mut Option<Box<Assembly>> {
        match Kind::from_number(kind) {
            Some(Kind::Write | Kind::Value | Kind::Append | Kind::Entry) => &mut self.bulk,
            _ => &mut self.calls,
        }
    }

    /// Forgets what has begun, with its link.
    pub(crate) fn clear(&mut self) {
        *self = Parts::default();
    }
}
