//! What became of a write or an append whose answer never came.

use super::{FrameError, Reader, put_rev, put_short, put_u32, read_rev};
use crate::refusal::Code;
use crate::rev::Rev;

const DONE: u8 = 0;
const NOT_DONE: u8 = 1;
const UNKNOWN: u8 = 2;

/// What became of a write or an append of an incarnation that is fenced: nothing of it can change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It was done.
    Done {
        /// The revision that it made, or for an append the place of its first entry.
        rev: Rev,
        /// How many keys it changed, or entries it made.
        count: u32,
    },
    /// It certainly was not done, and never will be.
    NotDone {
        /// Why; [`Code::Fenced`] if it never came, so that it may be asked for anew.
        code: Code,
        /// The sentence for people.
        text: &'a str,
    },
    /// The hub does not know, or does not tell this node.
    Unknown {
        /// The sentence for people.
        text: &'a str,
    },
}

impl<'a> Fate<'a> {
    pub(super) fn read(fields: &mut Reader<'a>) -> Result<Fate<'a>, FrameError> {
        let offset = fields.offset();
        match fields.u8("what became of it")? {
            DONE => Ok(Fate::Done { rev: read_rev(fields)?, count: fields.u32("a count")? }),
            NOT_DONE => Ok(Fate::NotDone {
                code: Code::from_number(fields.u16("a code")?),
                text: fields.short_text("a sentence")?,
            }),
            UNKNOWN => Ok(Fate::Unknown { text: fields.short_text("a sentence")? }),
            _ => Err(FrameError { offset, expected: "0 (done), 1 (not done) or 2 (unknown)" }),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Fate::Done { rev, count } => {
                out.push(DONE);
                put_rev(out, *rev);
                put_u32(out, *count);
            }
            Fate::NotDone { code, text } => {
                out.push(NOT_DONE);
                out.extend_from_slice(&(*code as u16).to_le_bytes());
                put_short(out, text.as_bytes());
            }
            Fate::Unknown { text } => {
                out.push(UNKNOWN);
                put_short(out, text.as_bytes());
            }
        }
    }
}
