//! The frames by which a node learns who has applied an entry of a journal.

use super::{FrameError, Kind, Reader, put_short, put_u32, write};
use crate::limits::{AWAIT_NODES_MAX, FRAGMENT_BYTES_MAX};

const ALL: u8 = 0;
const QUORUM: u8 = 1;
const COUNT: u8 = 2;
const NODES: u8 = 3;

/// What members of a journal are listed with, in bytes: so the frame is never a long one.
const LISTED_BYTES_MAX: usize = FRAGMENT_BYTES_MAX - 64;

/// A node waits until members of a journal have applied an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Await<'a> {
    /// The node's number for it and for the answer.
    pub id: u32,
    /// The place of the entry.
    pub seq: u64,
    /// In so many milliseconds it is answered in any case.
    pub remaining_ms: u32,
    /// The journal, not validated.
    pub journal: &'a [u8],
    /// Which members.
    pub whom: Whom<'a>,
}

/// Which members must have applied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom<'a> {
    /// Every one.
    All,
    /// More than half of them.
    Quorum,
    /// So many.
    Count(u32),
    /// Those of these names.
    Nodes(Nodes<'a>),
}

/// Names of nodes, not validated; at most [`AWAIT_NODES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nodes<'a>(&'a [u8]);

impl<'a> Nodes<'a> {
    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = Reader::new(self.0, 0);
        std::iter::from_fn(move || rest.short_bytes("").ok())
    }

    /// Encodes them.
    pub fn encode<'n>(names: impl Iterator<Item = &'n [u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        names.for_each(|name| put_short(&mut out, name));
        out
    }

    /// What [`Nodes::encode`] has written.
    pub fn encoded(bytes: &'a [u8]) -> Nodes<'a> {
        Nodes(bytes)
    }
}

impl<'a> Await<'a> {
    pub(super) fn read(mut fields: Reader<'a>) -> Result<Await<'a>, FrameError> {
        let (id, seq) = (fields.u32("a number")?, fields.u64("a place")?);
        let (remaining_ms, journal) = (fields.u32("milliseconds")?, fields.short_bytes("a name")?);
        let offset = fields.offset();
        let whom = match fields.u8("whom")? {
            ALL => Whom::All,
            QUORUM => Whom::Quorum,
            COUNT => Whom::Count(fields.u32("a count")?),
            NODES => {
                let (offset, mut check, mut count) = (fields.offset(), fields.clone(), 0);
                while !check.is_empty() {
                    check.short_bytes("a name")?;
                    count += 1;
                }
                if count > AWAIT_NODES_MAX {
                    return Err(FrameError { offset, expected: "at most 100 names" });
                }
                Whom::Nodes(Nodes(fields.rest()))
            }
            _ => return Err(FrameError { offset, expected: "0 (all), 1 (a quorum), 2 (so many) or 3 (these nodes)" }),
        };
        fields.end()?;
        Ok(Await { id, seq, remaining_ms, journal, whom })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write(out, Kind::Await, |out| {
            put_u32(out, self.id);
            out.extend_from_slice(&self.seq.to_le_bytes());
            put_u32(out, self.remaining_ms);
            put_short(out, self.journal);
            match self.whom {
                Whom::All => out.push(ALL),
                Whom::Quorum => out.push(QUORUM),
                Whom::Count(count) => {
                    out.push(COUNT);
                    put_u32(out, count);
                }
                Whom::Nodes(Nodes(names)) => {
                    out.push(NODES);
                    out.extend_from_slice(names);
                }
            }
        });
    }
}

/// Who has applied an entry, and who has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged<'a> {
    /// The number of the Await.
    pub id: u32,
    /// All that were waited for have applied it.
    pub reached: bool,
    /// The hub was started lately, and members of before may have yet to come back.
    pub returning: bool,
    /// The place of the journal's last entry.
    pub last: u64,
    /// So many members there are, of those that were asked for.
    pub members: u32,
    /// So many of them have applied it.
    pub applied: u32,
    /// As many of them as fit, those that have not applied it before all others.
    pub listed: Listed<'a>,
}

/// Members of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a>(&'a [u8]);

/// How a node stands that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Attendance {
    /// It is no member: it has never followed, or has left, or was removed.
    Gone = 0,
    /// It is a member whose link is lost, and may come back.
    Away = 1,
    /// It is a member, and has a link.
    Here = 2,
    /// The same, but it cannot apply the entry behind what it has applied, and goes no further.
    Stuck = 3,
}

impl Attendance {
    const ALL: [Attendance; 4] = [Attendance::Gone, Attendance::Away, Attendance::Here, Attendance::Stuck];
}

impl<'a> Listed<'a> {
    /// One after the other: the node, not validated; how it stands; and what it has applied.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Attendance, u64)> {
        let mut rest = Reader::new(self.0, 0);
        std::iter::from_fn(move || if rest.is_empty() { None } else { read_listed(&mut rest).ok() })
    }

    /// Encodes as many of them as fit into a frame.
    pub fn encode<'n>(members: impl Iterator<Item = (&'n [u8], Attendance, u64)>) -> Vec<u8> {
        let mut out = Vec::new();
        for (node, attendance, applied) in members {
            if out.len() + 2 + node.len() + 1 + 8 > LISTED_BYTES_MAX {
                break;
            }
            put_short(&mut out, node);
            out.push(attendance as u8);
            out.extend_from_slice(&applied.to_le_bytes());
        }
        out
    }

    /// What [`Listed::encode`] has written.
    pub fn encoded(bytes: &'a [u8]) -> Listed<'a> {
        Listed(bytes)
    }
}

fn read_listed<'a>(fields: &mut Reader<'a>) -> Result<(&'a [u8], Attendance, u64), FrameError> {
    let node = fields.short_bytes("a name")?;
    let offset = fields.offset();
    let number = usize::from(fields.u8("how it stands")?);
    let expected = "0 (gone), 1 (away), 2 (here) or 3 (stuck)";
    let attendance = *Attendance::ALL.get(number).ok_or(FrameError { offset, expected })?;
    Ok((node, attendance, fields.u64("a place")?))
}

impl<'a> Acknowledged<'a> {
    pub(super) fn read(mut fields: Reader<'a>) -> Result<Acknowledged<'a>, FrameError> {
        let flag = |fields: &mut Reader<'a>| {
            let offset = fields.offset();
            match fields.u8("0 or 1")? {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(FrameError { offset, expected: "0 or 1" }),
            }
        };
        let id = fields.u32("a number")?;
        let (reached, returning) = (flag(&mut fields)?, flag(&mut fields)?);
        let (last, members, applied) = (fields.u64("a place")?, fields.u32("a count")?, fields.u32("a count")?);
        let mut check = fields.clone();
        while !check.is_empty() {
            read_listed(&mut check)?;
        }
        Ok(Acknowledged { id, reached, returning, last, members, applied, listed: Listed(fields.rest()) })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write(out, Kind::Acknowledged, |out| {
            put_u32(out, self.id);
            out.extend_from_slice(&[u8::from(self.reached), u8::from(self.returning)]);
            out.extend_from_slice(&self.last.to_le_bytes());
            put_u32(out, self.members);
            put_u32(out, self.applied);
            out.extend_from_slice(self.listed.0);
        });
    }
}
