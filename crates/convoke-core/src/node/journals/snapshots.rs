//! The node's side of snapshots: pieces on their way to the hub, and what a follower begins with.

use super::{Followed, Following, TAKEN_BYTES_MIN, Verify};
use crate::frame::{Appended, Base, Compact, Frame, Piece, Told};
use crate::limits::{SNAPSHOT_BYTES_MAX, SNAPSHOT_PIECE_BYTES_MAX};
use crate::name::Name;
use crate::node::values::WriteId;
use crate::node::{NodeState, RequestId};
use crate::refusal::{Code, Refusal};

/// What has come of a snapshot.
pub(super) struct Half {
    seq: u64,
    hash: [u8; 16],
    total: u64,
    bytes: Vec<u8>,
}

/// What a piece takes beside its bytes, in bytes: an append may be no longer than a payload.
const PIECE_BYTES: usize = 64;

impl Following {
    /// Whether this is the entry that follows the last one, as far as that is to be found out.
    pub(super) fn is_next(&mut self, told: &Told<'_>) -> bool {
        let known = self.received == 0 || self.hash != [0; 16];
        if self.verify == Verify::None || !known {
            return true;
        }
        if self.verify == Verify::Next {
            self.verify = Verify::None;
        }
        told.follows(&self.hash)
    }

    /// The next entry is looked at, whether or not all are.
    pub(super) fn verify_next(&mut self) {
        if self.verify == Verify::None {
            self.verify = Verify::Next;
        }
    }

    /// Takes a piece. Gives the whole with the last.
    fn piece(&mut self, piece: &Base<'_>) -> Result<Option<Half>, &'static str> {
        let Base { seq, hash, total, offset, bytes, .. } = *piece;
        if offset == 0 {
            if seq <= self.received || seq > self.snapshot_max || total > SNAPSHOT_BYTES_MAX as u64 {
                return Err("a snapshot that was asked for, of 1 to 67108864 bytes");
            }
            // Nothing is set aside for what it says to be long.
            self.half = Some(Half { seq, hash, total, bytes: Vec::new() });
        }
        let Some(half) = &mut self.half else { return Err("a snapshot from its first piece on") };
        let came = half.bytes.len() as u64;
        let is_next = (half.seq, half.hash, half.total, came) == (seq, hash, total, offset);
        if !is_next || bytes.is_empty() || came + bytes.len() as u64 > total {
            return Err("the piece of a snapshot that is next");
        }
        half.bytes.extend_from_slice(bytes);
        Ok(if half.bytes.len() as u64 == total { self.half.take() } else { None })
    }
}

impl NodeState {
    /// How many bytes of a snapshot are uploaded at a time: of all pieces but the last.
    pub fn snapshot_piece_bytes(&self) -> usize {
        let payload = if self.is_joined() { self.welcome.payload_bytes_max as usize } else { SNAPSHOT_PIECE_BYTES_MAX };
        SNAPSHOT_PIECE_BYTES_MAX.min(payload.saturating_sub(PIECE_BYTES))
    }

    /// Uploads a piece of a snapshot of a journal; one without bytes begins it. Answered like
    /// [`append`](NodeState::append), with the place of the snapshot as its revision, and a count of one with the last piece.
    ///
    /// # Errors
    ///
    /// As [`append`](NodeState::append).
    pub fn upload(&mut self, journal: &Name, piece: Piece<'_>) -> Result<WriteId, Refusal> {
        self.push_append(journal, Appended::Snapshot(piece))
    }

    /// Lets entries of a journal go that its snapshot stands for: those up to `up_to`, without the last `keep` of them, and
    /// some thousand at most. Answered like [`append`](NodeState::append), with the first that is kept then as its revision,
    /// and how many have gone as the count.
    ///
    /// # Errors
    ///
    /// As [`append`](NodeState::append).
    pub fn compact(&mut self, journal: &Name, up_to: u64, keep: u64) -> Result<WriteId, Refusal> {
        self.push_append(journal, Appended::Compact(Compact { up_to, keep, hash: [0; 16] }))
    }

    /// A piece of the snapshot that a follower begins with.
    pub(in crate::node) fn base(&mut self, piece: &Base<'_>) -> Result<(), Refusal> {
        let Some(following) = self.followings.get_mut(&piece.id).filter(|following| following.listens()) else {
            return Ok(());
        };
        let whole = following.piece(piece).map_err(|expected| {
            Refusal::new(Code::BadFrame, format!("bad frame: expected {expected}, of `{}`", following.journal))
        })?;
        // The program takes it whole or not at all, so what came of it must not keep the rest from coming.
        following.taken += piece.frame_bytes();
        if following.taken >= TAKEN_BYTES_MIN {
            let bytes = u32::try_from(std::mem::take(&mut following.taken)).unwrap_or(u32::MAX);
            Frame::Taken { id: piece.id, bytes }.encode(&mut self.lanes.control);
        }
        if let Some(Half { seq, hash, bytes, .. }) = whole {
            self.goes_on(piece.id, (seq, hash), Followed::Base { seq, state: bytes });
        }
        Ok(())
    }

    /// Entries that a follower lacks are not kept any more.
    pub(in crate::node) fn compacted(&mut self, id: RequestId, first: u64, hash: [u8; 16]) -> Result<(), Refusal> {
        let Some(following) = self.followings.get_mut(&id).filter(|following| following.listens()) else {
            return Ok(());
        };
        if first <= following.received + 1 {
            let text = format!("bad frame: entries before {first} are gone that `{}` has", following.journal);
            return Err(Refusal::new(Code::BadFrame, text));
        }
        self.goes_on(id, (first - 1, hash), Followed::Compacted { first });
        Ok(())
    }

    /// A follower goes on behind this place, and its program is told so.
    fn goes_on(&mut self, id: RequestId, (received, hash): (u64, [u8; 16]), next: Followed) {
        let Some(following) = self.followings.get_mut(&id) else { return };
        (following.received, following.hash) = (received, hash);
        following.verify_next();
        following.queue.push_back((next, 0, hash));
        if !std::mem::replace(&mut following.begun, true) {
            self.answers.push((id, Ok(0)));
        }
        self.woken.push(id);
    }
}
