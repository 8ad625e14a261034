//! The frames of snapshots: what is uploaded of one, and what a follower gets that begins with one or lacks entries.

use super::{Frame, FrameError, HEAD_BYTES, Kind, Reader, put_u32, write};
use crate::limits::SNAPSHOT_BYTES_MAX;

/// A piece of a snapshot, on its way to the hub. The first has no bytes: it begins an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The snapshot is the state behind this entry.
    pub seq: u64,
    /// The last entry that its maker had applied, this or a later one: what was undone up to there is undone in it.
    pub known: u64,
    /// The hash of the entry at `known`; where the piece is ordered, of that at `seq`.
    pub hash: [u8; 16],
    /// The length of the whole snapshot, in bytes.
    pub total: u64,
    /// Where in it these bytes begin.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Up to where entries are to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact {
    /// Entries behind this place stay.
    pub up_to: u64,
    /// So many entries stay that the snapshot stands for too.
    pub keep: u64,
    /// Where it is ordered, the hash of the entry at `up_to`; else zeros.
    pub hash: [u8; 16],
}

impl<'a> Piece<'a> {
    pub(super) fn read(fields: &mut Reader<'a>) -> Result<Piece<'a>, FrameError> {
        let (seq, known) = (fields.u64("a place")?, fields.u64("a place")?);
        let hash = fields.array("a hash of 16 bytes")?;
        let offset = fields.offset();
        let total = fields.u64("the length of a snapshot")?;
        if total == 0 || total > SNAPSHOT_BYTES_MAX as u64 {
            return Err(FrameError { offset, expected: "a snapshot of 1 to 67108864 bytes" });
        }
        Ok(Piece { seq, known, hash, total, offset: fields.u64("an offset")?, bytes: fields.rest() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.known.to_le_bytes());
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.total.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(self.bytes);
    }
}

impl Compact {
    pub(super) fn read(fields: &mut Reader<'_>) -> Result<Compact, FrameError> {
        let (up_to, keep) = (fields.u64("a place")?, fields.u64("how many entries stay")?);
        Ok(Compact { up_to, keep, hash: fields.array("a hash of 16 bytes")? })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.up_to.to_le_bytes());
        out.extend_from_slice(&self.keep.to_le_bytes());
        out.extend_from_slice(&self.hash);
    }
}

/// A piece of the snapshot that a follower begins with, or goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base<'a> {
    /// The number of the follower.
    pub id: u32,
    /// The snapshot is the state behind this entry; the next one follows it.
    pub seq: u64,
    /// The hash of that entry.
    pub hash: [u8; 16],
    /// The length of the whole snapshot, in bytes.
    pub total: u64,
    /// Where in it these bytes begin. With zero it begins anew, and may be another one.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Base<'a> {
    /// How long its frame is, in bytes: what a follower counts.
    pub fn frame_bytes(&self) -> usize {
        HEAD_BYTES + 44 + self.bytes.len()
    }

    pub(super) fn read(mut fields: Reader<'a>) -> Result<Base<'a>, FrameError> {
        let (id, seq) = (fields.u32("a number")?, fields.u64("a place")?);
        let hash = fields.array("a hash of 16 bytes")?;
        let (total, offset) = (fields.u64("the length of a snapshot")?, fields.u64("an offset")?);
        Ok(Base { id, seq, hash, total, offset, bytes: fields.rest() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write(out, Kind::Base, |out| {
            put_u32(out, self.id);
            out.extend_from_slice(&self.seq.to_le_bytes());
            out.extend_from_slice(&self.hash);
            out.extend_from_slice(&self.total.to_le_bytes());
            out.extend_from_slice(&self.offset.to_le_bytes());
            out.extend_from_slice(self.bytes);
        });
    }
}

impl Frame<'_> {
    pub(super) fn write_compacted(out: &mut Vec<u8>, id: u32, first: u64, hash: &[u8; 16]) {
        write(out, Kind::Compacted, |out| {
            put_u32(out, id);
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(hash);
        });
    }
}
