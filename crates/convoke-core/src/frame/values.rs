//! The frames of values: what is to be written, what was, and what a watch gets.

use super::long::write_long;
use super::{FrameError, HEAD_BYTES, Kind, Reader, put_short, put_u32};
use crate::limits::{BATCH_ITEMS_MAX, FRAGMENT_BYTES_MAX};
use crate::payload::Encoding;
use crate::rev::Rev;

/// In place of a durable revision: every change from the first on is to be told.
pub const AFTER_NOTHING: u64 = u64::MAX;

/// Flag of [`Kind::Value`]: the key has no value any more.
pub const DELETED: u16 = 1;
/// Flag of [`Kind::Value`]: more changes of the same revision follow, which belong together.
pub const TOGETHER: u16 = 2;

/// One or several changes of values that happen together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// The node's number for it within its incarnation, from 1, growing.
    pub cseq: u64,
    /// The node has every answer up to this number.
    pub settled: u64,
    /// What is to change.
    pub items: Items<'a>,
}

/// What is to change, as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items<'a>(&'a [u8]);

/// One change that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The key; with `every` a pattern. Not validated.
    pub name: &'a [u8],
    /// It is for every key that exists and matches.
    pub every: bool,
    /// What must be so for the change to happen.
    pub expect: Expect,
    /// What the key is to get; `None` for nothing any more.
    pub set: Option<Set<'a>>,
}

/// What a key is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    /// How to read the payload.
    pub encoding: Encoding,
    /// The payload.
    pub payload: &'a [u8],
    /// After so many milliseconds it goes; zero for never.
    pub ttl_ms: u64,
    /// It goes with the node that has set it.
    pub ephemeral: bool,
}

/// What must be so for a change to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: the change happens.
    #[default]
    Anything,
    /// The key has no value.
    Absent,
    /// The key has a value.
    Present,
    /// The key has the value of this revision.
    Rev(Rev),
}

const SET: u8 = 0;
const DELETE: u8 = 1;

const EVERY: u8 = 1;
const EPHEMERAL: u8 = 2;
const TTL: u8 = 4;

const ANYTHING: u8 = 0;
const ABSENT: u8 = 1;
const PRESENT: u8 = 2;
const REV: u8 = 3;

impl<'a> Items<'a> {
    /// Checks all items at the end of a frame.
    pub(crate) fn read(fields: &mut Reader<'a>) -> Result<Items<'a>, FrameError> {
        let mut check = fields.clone();
        let bytes = fields.rest();
        let offset = check.offset();
        let count = check.u16("how many changes there are")?;
        if count == 0 || usize::from(count) > BATCH_ITEMS_MAX {
            return Err(FrameError { offset, expected: "1 to 256 changes" });
        }
        for _ in 0..count {
            Item::read(&mut check)?;
        }
        check.end()?;
        Ok(Items(bytes))
    }

    /// How many there are.
    pub fn len(self) -> usize {
        Reader::new(self.0, 0).u16("").map_or(0, usize::from)
    }

    /// Whether there are none, which never is so.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One after the other, in the order given.
    pub fn iter(self) -> impl Iterator<Item = Item<'a>> {
        let mut rest = Reader::new(self.0.get(2..).unwrap_or_default(), 0);
        std::iter::from_fn(move || if rest.is_empty() { None } else { Item::read(&mut rest).ok() })
    }

    /// As they are on a link and in an operation.
    pub(crate) const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Encodes them.
    ///
    /// # Panics
    ///
    /// With none, or with more than [`BATCH_ITEMS_MAX`].
    pub fn encode(items: &[Item<'_>]) -> Vec<u8> {
        assert!((1..=BATCH_ITEMS_MAX).contains(&items.len()), "a batch has 1 to 256 changes");
        let mut out = (items.len() as u16).to_le_bytes().to_vec();
        for item in items {
            item.write(&mut out);
        }
        out
    }

    /// What [`Items::encode`] has written.
    pub(crate) fn encoded(bytes: &'a [u8]) -> Items<'a> {
        Items(bytes)
    }
}

impl<'a> Item<'a> {
    fn read(fields: &mut Reader<'a>) -> Result<Item<'a>, FrameError> {
        let offset = fields.offset();
        let what = fields.u8("what is to change")?;
        if what > DELETE {
            return Err(FrameError { offset, expected: "0 (set) or 1 (delete)" });
        }
        let flags = fields.u8("flags of a change")?;
        if flags & !(EVERY | EPHEMERAL | TTL) != 0 || what == DELETE && flags & (EPHEMERAL | TTL) != 0 {
            return Err(FrameError { offset: offset + 1, expected: "flags of a change" });
        }
        let name = fields.short_bytes("a name")?;
        let offset = fields.offset();
        let expect = match fields.u8("what is expected")? {
            ANYTHING => Expect::Anything,
            ABSENT => Expect::Absent,
            PRESENT => Expect::Present,
            REV => Expect::Rev(read_rev(fields)?),
            _ => return Err(FrameError { offset, expected: "an expectation that exists" }),
        };
        let set = if what == SET {
            let ttl_ms = if flags & TTL != 0 { fields.u64("milliseconds")? } else { 0 };
            let offset = fields.offset();
            let encoding = Encoding::from_number(fields.u8("an encoding")?)
                .ok_or(FrameError { offset, expected: "an encoding that exists" })?;
            let len = fields.u32("the length of a payload")? as usize;
            let payload = fields.bytes(len, "a payload as long as it says")?;
            Some(Set { encoding, payload, ttl_ms, ephemeral: flags & EPHEMERAL != 0 })
        } else {
            None
        };
        Ok(Item { name, every: flags & EVERY != 0, expect, set })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut flags = if self.every { EVERY } else { 0 };
        if let Some(set) = &self.set {
            flags |= if set.ephemeral { EPHEMERAL } else { 0 };
            flags |= if set.ttl_ms > 0 { TTL } else { 0 };
        }
        out.push(if self.set.is_some() { SET } else { DELETE });
        out.push(flags);
        put_short(out, self.name);
        match self.expect {
            Expect::Anything => out.push(ANYTHING),
            Expect::Absent => out.push(ABSENT),
            Expect::Present => out.push(PRESENT),
            Expect::Rev(rev) => {
                out.push(REV);
                put_rev(out, rev);
            }
        }
        if let Some(set) = &self.set {
            if set.ttl_ms > 0 {
                out.extend_from_slice(&set.ttl_ms.to_le_bytes());
            }
            out.push(set.encoding as u8);
            put_u32(out, u32::try_from(set.payload.len()).expect("a payload is far shorter than 4 GiB"));
            out.extend_from_slice(set.payload);
        }
    }
}

/// The number of a write or an append, and up to which its node has every answer.
pub(super) fn read_numbers(fields: &mut Reader<'_>, below: &'static str) -> Result<(u64, u64), FrameError> {
    let offset = fields.offset();
    let cseq = fields.u64("a cseq")?;
    if cseq == 0 {
        return Err(FrameError { offset, expected: "a cseq from 1" });
    }
    let offset = fields.offset();
    let settled = fields.u64("a cseq")?;
    if settled >= cseq {
        // Who has the answer to what it has yet to write would not get it.
        return Err(FrameError { offset, expected: below });
    }
    Ok((cseq, settled))
}

impl<'a> Write<'a> {
    pub(super) fn read(fields: &mut Reader<'a>) -> Result<Write<'a>, FrameError> {
        let (cseq, settled) = read_numbers(fields, "a cseq below that of the write itself")?;
        Ok(Write { cseq, settled, items: Items::read(fields)? })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut fields = self.cseq.to_le_bytes().to_vec();
        fields.extend_from_slice(&self.settled.to_le_bytes());
        write_long(out, Kind::Write, 0, 0, &fields, self.items.bytes());
    }
}

/// A change of one key, on its way to a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// The number of the watch.
    pub id: u32,
    /// When the key got it.
    pub rev: Rev,
    /// Who is answerable for it.
    pub author: &'a [u8],
    /// The key, not validated.
    pub name: &'a [u8],
    /// What it has now; `None` for nothing any more.
    pub payload: Option<(Encoding, &'a [u8])>,
    /// More changes of the same revision follow, which belong together.
    pub together: bool,
}

impl<'a> Value<'a> {
    #[inline(always)]
    pub(super) fn read(encoding: u8, flags: u16, mut fields: Reader<'a>) -> Result<Value<'a>, FrameError> {
        let encoding =
            Encoding::from_number(encoding).ok_or(FrameError { offset: 5, expected: "an encoding that exists" })?;
        if flags & !(DELETED | TOGETHER) != 0 {
            return Err(FrameError { offset: 6, expected: "flags of a value" });
        }
        let value = Value {
            id: fields.u32("a number")?,
            rev: read_rev(&mut fields)?,
            author: fields.short_bytes("a name")?,
            name: fields.short_bytes("a name")?,
            payload: None,
            together: flags & TOGETHER != 0,
        };
        if flags & DELETED == 0 {
            return Ok(Value { payload: Some((encoding, fields.rest())), ..value });
        }
        fields.end()?;
        Ok(value)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut fields = self.id.to_le_bytes().to_vec();
        put_rev(&mut fields, self.rev);
        put_short(&mut fields, self.author);
        put_short(&mut fields, self.name);
        let (encoding, payload, deleted) = match self.payload {
            Some((encoding, payload)) => (encoding as u8, payload, 0),
            None => (0, &[][..], DELETED),
        };
        let flags = deleted | if self.together { TOGETHER } else { 0 };
        write_long(out, Kind::Value, encoding, flags, &fields, payload);
    }

    /// How long its frames are together, in bytes: what a watch counts.
    pub fn frame_bytes(&self) -> usize {
        let fields = 4 + 16 + 2 + self.author.len() + 2 + self.name.len();
        let body = fields + self.payload.map_or(0, |(_, payload)| payload.len());
        body + HEAD_BYTES * body.div_ceil(FRAGMENT_BYTES_MAX)
    }

    /// Writes the frames of a value, as [`Value::write`] has made them for another watch, for this one.
    pub(crate) fn copy_for(out: &mut Vec<u8>, frames: &[u8], id: u32, together: bool) {
        let start = out.len();
        out.extend_from_slice(frames);
        out[start + HEAD_BYTES..start + HEAD_BYTES + 4].copy_from_slice(&id.to_le_bytes());
        // In all fragments, as they have the same flags.
        let mut at = start;
        while at < out.len() {
            let [low, _] = TOGETHER.to_le_bytes();
            out[at + 6] = out[at + 6] & !low | if together { low } else { 0 };
            at += u32::from_le_bytes(out[at..at + 4].try_into().expect("4 bytes")) as usize;
        }
    }
}

pub(crate) fn read_rev(fields: &mut Reader<'_>) -> Result<Rev, FrameError> {
    Ok(Rev { epoch: fields.u64("a revision")?, n: fields.u64("a revision")? })
}

pub(crate) fn put_rev(out: &mut Vec<u8>, rev: Rev) {
    out.extend_from_slice(&rev.epoch.to_le_bytes());
    out.extend_from_slice(&rev.n.to_le_bytes());
}
