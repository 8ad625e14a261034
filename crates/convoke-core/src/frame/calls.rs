//! The frames of services: calls on their way to a provider, and replies on their way back.

use super::long::write_direct;
use super::{FrameError, HEADERS, Incarnation, Kind, Reader, put_short, put_u32};
use crate::name::NAME_BYTES_MAX;
use crate::payload::Encoding;
use crate::refusal::Code;

/// Flag of [`Kind::Call`]: without a provider the call waits for one.
pub const WAIT: u16 = 16;
/// Flag of [`Kind::Call`]: it was sent on an earlier link, and the hub may know of it or not.
pub const AGAIN: u16 = 32;

/// A payload with the headers block before it, as it travels through the hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content<'a> {
    /// How to read the payload.
    pub encoding: Encoding,
    /// The bytes begin with a headers block.
    pub headers: bool,
    /// Headers block and payload.
    pub bytes: &'a [u8],
}

/// How one provider is chosen among several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select<'a> {
    /// As the hub is configured.
    #[default]
    Default,
    /// The one that has offered it the longest.
    First,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The one with the fewest open calls.
    LeastBusy,
    /// The one of this name.
    Node(&'a [u8]),
    /// One on this host.
    Host(&'a [u8]),
    /// The one that is alive the longest, of those that may be master.
    Master,
    /// The one whose host uses its processors least.
    CpuUsage,
    /// The one whose host has the most free memory.
    FreeRam,
}

impl<'a> Select<'a> {
    fn number(self) -> (u8, &'a [u8]) {
        match self {
            Select::Default => (0, &[]),
            Select::First => (1, &[]),
            Select::RoundRobin => (2, &[]),
            Select::Random => (3, &[]),
            Select::LeastBusy => (4, &[]),
            Select::Node(name) => (5, name),
            Select::Host(name) => (6, name),
            Select::Master => (7, &[]),
            Select::CpuUsage => (8, &[]),
            Select::FreeRam => (9, &[]),
        }
    }

    /// Its word, as the command line has it, with the name that goes with it: `least-busy`, `node:press-1`.
    pub fn word(self) -> String {
        let named = |what, name: &[u8]| {
            let name = String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]);
            format!("{what}:{}", name.escape_debug())
        };
        let word = match self {
            Select::Default => "default",
            Select::First => "first",
            Select::RoundRobin => "round-robin",
            Select::Random => "random",
            Select::LeastBusy => "least-busy",
            Select::Node(name) => return named("node", name),
            Select::Host(name) => return named("host", name),
            Select::Master => "master",
            Select::CpuUsage => "cpu-usage",
            Select::FreeRam => "free-ram",
        };
        word.to_owned()
    }

    /// The selector of this number, with the name that goes with it where one does.
    fn of(number: u8, name: &'a [u8]) -> Option<Select<'a>> {
        Some(match number {
            0 => Select::Default,
            1 => Select::First,
            2 => Select::RoundRobin,
            3 => Select::Random,
            4 => Select::LeastBusy,
            5 => Select::Node(name),
            6 => Select::Host(name),
            7 => Select::Master,
            8 => Select::CpuUsage,
            9 => Select::FreeRam,
            _ => return None,
        })
    }

    #[inline(always)]
    fn read(fields: &mut Reader<'a>) -> Result<Select<'a>, FrameError> {
        let offset = fields.offset();
        let number = fields.u8("a selector")?;
        let name = fields.short_bytes("a name")?;
        let select = Select::of(number, name).ok_or(FrameError { offset, expected: "a selector that exists" })?;
        if select.number().1.is_empty() && !name.is_empty() {
            return Err(FrameError { offset: offset + 1, expected: "no name with this selector" });
        }
        Ok(select)
    }
}

/// A call on its way to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The caller's number for it within its incarnation, from 1, growing.
    pub number: u64,
    /// Time that is left, in milliseconds.
    pub left_ms: u32,
    /// Who is to handle it.
    pub select: Select<'a>,
    /// Without a provider it waits for one.
    pub wait: bool,
    /// It was sent on an earlier link.
    pub again: bool,
    /// The service, not validated.
    pub service: &'a [u8],
    /// What it is called with.
    pub content: Content<'a>,
}

/// A call on its way to its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle<'a> {
    /// The hub's number for it.
    pub id: u64,
    /// The provider's number of the registration.
    pub registration: u32,
    /// Time that is left, in milliseconds.
    pub left_ms: u32,
    /// The incarnation of the caller, which with `number` says which call it is, also after a new start of the hub.
    pub incarnation: Incarnation,
    /// The caller's number for it.
    pub number: u64,
    /// The node that calls.
    pub caller: &'a [u8],
    /// Who is answerable for it.
    pub author: &'a [u8],
    /// What it is called with.
    pub content: Content<'a>,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// To the hub, the hub's number for the call; to the caller, the caller's.
    pub id: u64,
    /// What.
    pub end: End<'a>,
}

/// How a call has ended, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'a> {
    /// It was handled, with this result.
    Done(Content<'a>),
    /// It was handled, and the provider's program answers with an error of its own.
    Failed {
        /// The type of the error, in the words of the program.
        kind: &'a str,
        /// A sentence.
        message: &'a str,
        /// What else it has to say.
        content: Content<'a>,
    },
    /// It had certainly no effect.
    Refused {
        /// Why.
        code: Code,
        /// The sentence for people.
        text: &'a str,
    },
    /// It may have happened.
    Uncertain {
        /// Why nobody knows.
        code: Code,
        /// The sentence for people.
        text: &'a str,
    },
    /// Answer to Recall only: it is being handled.
    Running,
}

impl<'a> Content<'a> {
    // Inline, here and below: what is returned in memory in small parts and then copied in larger ones makes the processor
    // wait for each of them, which was a tenth of all that a call costs a node.
    #[inline(always)]
    fn read(encoding: u8, flags: u16, fields: &mut Reader<'a>) -> Result<Content<'a>, FrameError> {
        let encoding =
            Encoding::from_number(encoding).ok_or(FrameError { offset: 5, expected: "an encoding that exists" })?;
        let headers = flags & HEADERS != 0;
        if headers {
            let mut check = fields.clone();
            super::event::check_headers(&mut check)?;
        }
        Ok(Content { encoding, headers, bytes: fields.rest() })
    }

    fn flags(self) -> u16 {
        if self.headers { HEADERS } else { 0 }
    }
}

fn check_flags(flags: u16, known: u16) -> Result<(), FrameError> {
    if flags & !known == 0 { Ok(()) } else { Err(FrameError { offset: 6, expected: "flags of this kind of frame" }) }
}

impl<'a> Call<'a> {
    #[inline(always)]
    pub(super) fn read(encoding: u8, flags: u16, mut fields: Reader<'a>) -> Result<Call<'a>, FrameError> {
        check_flags(flags, HEADERS | WAIT | AGAIN)?;
        Ok(Call {
            number: fields.u64("a number")?,
            left_ms: fields.u32("milliseconds")?,
            select: Select::read(&mut fields)?,
            wait: flags & WAIT != 0,
            again: flags & AGAIN != 0,
            service: fields.short_bytes("a name")?,
            content: Content::read(encoding, flags, &mut fields)?,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut flags = self.content.flags();
        flags |= if self.wait { WAIT } else { 0 };
        flags |= if self.again { AGAIN } else { 0 };
        let fields = |out: &mut Vec<u8>| {
            out.extend_from_slice(&self.number.to_le_bytes());
            put_u32(out, self.left_ms);
            let (select, name) = self.select.number();
            out.push(select);
            put_short(out, name);
            put_short(out, self.service);
        };
        write_direct(out, Kind::Call, self.content.encoding as u8, flags, fields, self.content.bytes);
    }
}

impl<'a> Handle<'a> {
    #[inline(always)]
    pub(super) fn read(encoding: u8, flags: u16, mut fields: Reader<'a>) -> Result<Handle<'a>, FrameError> {
        check_flags(flags, HEADERS)?;
        Ok(Handle {
            id: fields.u64("a number")?,
            registration: fields.u32("a number")?,
            left_ms: fields.u32("milliseconds")?,
            incarnation: Incarnation { epoch: fields.u64("an epoch")?, counter: fields.u64("a counter")? },
            number: fields.u64("a number")?,
            caller: fields.short_bytes("a name")?,
            author: fields.short_bytes("a name")?,
            content: Content::read(encoding, flags, &mut fields)?,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let content = self.content;
        let fields = |out: &mut Vec<u8>| {
            out.extend_from_slice(&self.id.to_le_bytes());
            put_u32(out, self.registration);
            put_u32(out, self.left_ms);
            out.extend_from_slice(&self.incarnation.epoch.to_le_bytes());
            out.extend_from_slice(&self.incarnation.counter.to_le_bytes());
            out.extend_from_slice(&self.number.to_le_bytes());
            put_short(out, self.caller);
            put_short(out, self.author);
        };
        write_direct(out, Kind::Handle, content.encoding as u8, content.flags(), fields, content.bytes);
    }
}

const DONE: u8 = 0;
const FAILED: u8 = 1;
const REFUSED: u8 = 2;
const UNCERTAIN: u8 = 3;
const RUNNING: u8 = 4;

impl<'a> Reply<'a> {
    #[inline(always)]
    pub(super) fn read(encoding: u8, flags: u16, mut fields: Reader<'a>) -> Result<Reply<'a>, FrameError> {
        check_flags(flags, HEADERS)?;
        let id = fields.u64("a number")?;
        let offset = fields.offset();
        let end = match fields.u8("how a call has ended")? {
            DONE => End::Done(Content::read(encoding, flags, &mut fields)?),
            FAILED => End::Failed {
                kind: fields.short_text("a type in UTF-8")?,
                message: fields.short_text("a sentence in UTF-8")?,
                content: Content::read(encoding, flags, &mut fields)?,
            },
            what @ (REFUSED | UNCERTAIN) => {
                let code = Code::from_number(fields.u16("a code")?);
                let text = fields.short_text("a sentence in UTF-8")?;
                if what == REFUSED { End::Refused { code, text } } else { End::Uncertain { code, text } }
            }
            RUNNING => End::Running,
            _ => return Err(FrameError { offset, expected: "an end of a call that exists" }),
        };
        if !matches!(end, End::Done(_) | End::Failed { .. }) && (encoding != 0 || flags != 0) {
            return Err(FrameError { offset: 5, expected: "no encoding and no flags without a payload" });
        }
        fields.end()?;
        Ok(Reply { id, end })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let content = match self.end {
            End::Done(content) | End::Failed { content, .. } => content,
            End::Refused { .. } | End::Uncertain { .. } | End::Running => Content::default(),
        };
        let fields = |out: &mut Vec<u8>| {
            out.extend_from_slice(&self.id.to_le_bytes());
            match self.end {
                End::Done(_) => out.push(DONE),
                End::Failed { kind, message, .. } => {
                    out.push(FAILED);
                    put_short(out, kind.as_bytes());
                    put_short(out, message.as_bytes());
                }
                End::Refused { code, text } | End::Uncertain { code, text } => {
                    out.push(if matches!(self.end, End::Refused { .. }) { REFUSED } else { UNCERTAIN });
                    out.extend_from_slice(&(code as u16).to_le_bytes());
                    put_short(out, text.as_bytes());
                }
                End::Running => out.push(RUNNING),
            }
        };
        write_direct(out, Kind::Reply, content.encoding as u8, content.flags(), fields, content.bytes);
    }
}
