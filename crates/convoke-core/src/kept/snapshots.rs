//! What stands for the old entries of a journal: its newest snapshot, one that is being uploaded, and which entries are gone.

use bytes::Bytes;

use super::journals::{JournalId, Journals};
use super::rows::{PIECES, Rows};
use crate::bug::{Bug, planted};
use crate::foundation::RowKey;
use crate::frame::{Compact, FrameError, Incarnation, Piece, Reader, Told};
use crate::journal::Strategy;
use crate::limits::{ENTRIES_COMPACTED_MAX, SNAPSHOT_PIECE_BYTES_MAX, SNAPSHOT_PIECE_BYTES_MIN, UPLOAD_IDLE_TIME_MAX};
use crate::name::Name;
use crate::refusal::{Code, Refusal};

/// The old entries of a journal, and what stands for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    /// The first entry that is kept, or the next if none is.
    first: u64,
    /// The hash of the entry before it.
    before: [u8; 16],
    /// How many uploads there ever were.
    uploads: u64,
    snapshot: Option<Snapshot>,
    upload: Option<Upload>,
}

impl Default for Past {
    fn default() -> Past {
        Past { first: 1, before: [0; 16], uploads: 0, snapshot: None, upload: None }
    }
}

/// A snapshot, all of which is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Which upload it was.
    pub(crate) number: u64,
    /// It is the state behind this entry.
    pub(crate) seq: u64,
    /// The last entry that its maker knew.
    pub(crate) known: u64,
    /// The hash of that entry.
    pub(crate) hash: [u8; 16],
    /// How long it is, in bytes.
    pub(crate) total: u64,
    /// How long its pieces are, but for the last.
    piece: u64,
}

/// One of which a part is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Upload {
    of: Snapshot,
    by: Incarnation,
    /// When its last piece came.
    wall_ms: u64,
    received: u64,
}

impl Snapshot {
    /// Which piece begins at this offset, or has it in it.
    pub(crate) fn piece_at(&self, offset: u64) -> u32 {
        u32::try_from(offset / self.piece.max(1)).unwrap_or(u32::MAX)
    }

    fn take_away(&self, id: JournalId, bytes: u64, rows: &mut Rows) {
        for piece in 0..bytes.div_ceil(self.piece.max(1)) {
            rows.put_piece(id, (self.number, piece as u32), None);
        }
    }

    fn write(&self, row: &mut Vec<u8>) {
        for number in [self.number, self.seq, self.known, self.total, self.piece] {
            row.extend_from_slice(&number.to_le_bytes());
        }
        row.extend_from_slice(&self.hash);
    }

    fn read(fields: &mut Reader<'_>) -> Result<Snapshot, FrameError> {
        let number = fields.u64("the number of an upload")?;
        let (seq, known) = (fields.u64("a place")?, fields.u64("a place")?);
        let (total, piece) = (fields.u64("a length")?, fields.u64("a length")?);
        Ok(Snapshot { number, seq, known, total, piece, hash: fields.array("a hash of 16 bytes")? })
    }
}

impl Past {
    /// The first entry that is kept, or the next if none is.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The hash of the entry before it; zeros if there is none.
    pub(crate) fn before(&self) -> &[u8; 16] {
        &self.before
    }

    /// The newest snapshot.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Which upload is going on, and how many of its bytes have come.
    pub(super) fn uploading(&self) -> Option<(u64, u64)> {
        self.upload.as_ref().map(|upload| (upload.of.number, upload.received))
    }

    /// The place of the snapshot that is being uploaded, by whom, and when something of it came last.
    pub(crate) fn uploaded_by(&self) -> Option<(u64, Incarnation, u64)> {
        self.upload.as_ref().map(|upload| (upload.of.seq, upload.by, upload.wall_ms))
    }

    /// Whether a piece, behind so many bytes of its upload, is one that is known.
    pub(super) fn is_next_piece(&self, number: u64, piece: u32, came: u64, len: usize) -> bool {
        let snapshot = self.snapshot.as_ref().map(|snapshot| (snapshot, snapshot.total));
        let uploads = snapshot.into_iter().chain(self.upload.as_ref().map(|upload| (&upload.of, upload.received)));
        uploads.into_iter().filter(|(of, _)| of.number == number).any(|(of, bytes)| {
            let expected = of.piece.min(bytes.saturating_sub(came));
            u64::from(piece).checked_mul(of.piece) == Some(came) && len as u64 == expected && expected > 0
        })
    }

    pub(super) fn to_row(&self) -> Bytes {
        let mut row = self.first.to_le_bytes().to_vec();
        row.extend_from_slice(&self.before);
        row.extend_from_slice(&self.uploads.to_le_bytes());
        row.push(u8::from(self.snapshot.is_some()) | u8::from(self.upload.is_some()) << 1);
        if let Some(snapshot) = &self.snapshot {
            snapshot.write(&mut row);
        }
        if let Some(upload) = &self.upload {
            upload.of.write(&mut row);
            for number in [upload.by.epoch, upload.by.counter, upload.wall_ms, upload.received] {
                row.extend_from_slice(&number.to_le_bytes());
            }
        }
        row.into()
    }

    fn from_row(row: &[u8]) -> Result<Past, FrameError> {
        let mut fields = Reader::new(row, 0);
        let (first, before) = (fields.u64("a place")?, fields.array("a hash of 16 bytes")?);
        if first == 0 {
            return Err(FrameError { offset: 0, expected: "a place from 1" });
        }
        let (uploads, has) = (fields.u64("how many uploads there were")?, fields.u8("what there is")?);
        let snapshot = if has & 1 != 0 { Some(Snapshot::read(&mut fields)?) } else { None };
        let mut upload = None;
        if has & 2 != 0 {
            let of = Snapshot::read(&mut fields)?;
            let by = Incarnation { epoch: fields.u64("an epoch")?, counter: fields.u64("a counter")? };
            upload = Some(Upload { of, by, wall_ms: fields.u64("milliseconds")?, received: fields.u64("a length")? });
        }
        fields.end()?;
        Ok(Past { first, before, uploads, snapshot, upload })
    }
}

impl Journals {
    /// Takes a piece of a snapshot. Gives its place, and one with the last piece, else zero.
    pub(super) fn piece(
        &mut self,
        name: &[u8],
        by: Incarnation,
        wall_ms: u64,
        piece: &Piece<'_>,
        rows: &mut Rows,
    ) -> Result<(u64, u32), Refusal> {
        let (name, id) = self.known(name, "upload a snapshot of")?;
        let what = format!("upload a snapshot of `{name}` at {}", piece.seq);
        let refused = |code, why: String| Err(Refusal::new(code, format!("{what}: {why}")));
        let journal = self.get_mut(id);
        let undone_from = journal.undoable_from();
        let (strategy, last) = (journal.strategy(), journal.last());
        let past = journal.past_mut();
        if let Some(newest) = past.snapshot.filter(|newest| newest.seq >= piece.seq) {
            return refused(Code::Conflict, format!("the journal has one at {} already", newest.seq));
        }
        let len = piece.bytes.len() as u64;
        if len == 0 {
            if piece.seq == 0 || piece.seq > piece.known || piece.known > last || piece.seq + 1 < past.first {
                return refused(Code::BadRequest, format!("the journal has entries from {} to {last}", past.first));
            }
            // With inverses whoever makes it knows how to take back what lies before it.
            if strategy != Strategy::Compensate
                && let Some(first) = undone_from.filter(|first| *first <= piece.seq)
            {
                return refused(Code::BadRequest, format!("entry {first} can still be undone"));
            }
            if let Some(other) = &past.upload {
                let idle_ms = wall_ms.saturating_sub(other.wall_ms);
                if other.by != by && other.of.seq >= piece.seq && u128::from(idle_ms) < UPLOAD_IDLE_TIME_MAX.as_millis()
                {
                    let text = format!("somebody else is uploading one at {}", other.of.seq);
                    return refused(Code::Conflict, text);
                }
                other.of.take_away(id, other.received, rows);
            }
            past.uploads += 1;
            let Piece { seq, known, hash, total, .. } = *piece;
            let of = Snapshot { number: past.uploads, seq, known, hash, total, piece: 0 };
            past.upload = Some(Upload { of, by, wall_ms, received: 0 });
            rows.put_past(id, past);
            return Ok((piece.seq, 0));
        }
        let Some(upload) = past.upload.as_mut().filter(|upload| upload.by == by && upload.of.seq == piece.seq) else {
            return refused(Code::Conflict, "another upload has taken its place; begin anew".into());
        };
        if upload.received == 0 {
            upload.of.piece = len;
        }
        let is_last = upload.received + len == upload.of.total;
        let fits = piece.offset == upload.received
            && piece.total == upload.of.total
            && upload.received + len <= upload.of.total
            && len <= SNAPSHOT_PIECE_BYTES_MAX as u64
            && len <= upload.of.piece
            && (is_last || (len == upload.of.piece && len >= SNAPSHOT_PIECE_BYTES_MIN as u64));
        if !fits {
            let text = format!(
                "{len} bytes of {} from {} on came where {} of {} had come: all pieces but the last are equally long, of \
                 {SNAPSHOT_PIECE_BYTES_MIN} to {SNAPSHOT_PIECE_BYTES_MAX} bytes",
                piece.total, piece.offset, upload.received, upload.of.total
            );
            if upload.received == 0 {
                upload.of.piece = 0;
            }
            return refused(Code::BadRequest, text);
        }
        let number = (upload.of.number, upload.of.piece_at(upload.received));
        rows.put_piece(id, number, Some(Bytes::copy_from_slice(piece.bytes)));
        upload.received += len;
        upload.wall_ms = wall_ms;
        if is_last {
            let newest = upload.of;
            past.upload = None;
            if let Some(before) = past.snapshot.replace(newest) {
                before.take_away(id, before.total, rows);
            }
        }
        rows.put_past(id, past);
        Ok((piece.seq, u32::from(is_last)))
    }

    /// The hash of an entry and of all before it, if it is known without reading it.
    pub(crate) fn hash_at(&self, id: JournalId, seq: u64) -> Option<[u8; 16]> {
        let journal = self.get(id);
        let past = journal.past();
        if seq == journal.last() {
            return Some(journal.hash());
        }
        if seq + 1 == past.first {
            return Some(past.before);
        }
        if let Some(snapshot) = past.snapshot.filter(|snapshot| snapshot.seq == seq) {
            return Some(snapshot.hash);
        }
        if seq < journal.recent_first() {
            return None;
        }
        journal.recent(seq).next().and_then(|frames| Told::hash_in(frames))
    }

    /// Lets old entries go. Gives the first that is kept now, and how many have gone.
    pub(super) fn compact(&mut self, name: &[u8], compact: &Compact, rows: &mut Rows) -> Result<(u64, u32), Refusal> {
        let (name, id) = self.known(name, "compact")?;
        let past = self.get_mut(id).past_mut();
        let Some(snapshot) = past.snapshot else {
            let text = format!(
                "compact `{name}`: it has no snapshot that could stand for its entries; have one made by a program that \
                 follows it with its state"
            );
            return Err(Refusal::new(Code::Conflict, text));
        };
        let most = past.first - 1 + ENTRIES_COMPACTED_MAX as u64;
        if compact.up_to < past.first {
            return Ok((past.first, 0));
        }
        if compact.up_to > snapshot.seq && !planted(Bug::CompactsBeyondSnapshot) || compact.up_to > most {
            let text = format!("compact `{name}`: entry {} is not to go yet", compact.up_to);
            return Err(Refusal::new(Code::BadRequest, text));
        }
        let gone = past.first..compact.up_to + 1;
        let count = (gone.end - gone.start) as u32;
        for seq in gone {
            rows.delete_entry(id, seq);
        }
        (past.first, past.before) = (compact.up_to + 1, compact.hash);
        rows.put_past(id, past);
        Ok((past.first, count))
    }

    fn known(&self, name: &[u8], what: &str) -> Result<(Name, JournalId), Refusal> {
        let name = Name::from_bytes(name).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        match self.find(&name) {
            Some(id) => Ok((name, id)),
            None => Err(Refusal::new(Code::BadRequest, format!("{what} `{name}`: it has no entry yet"))),
        }
    }

    /// What stands for the old entries of a journal of which only its row is known.
    pub(super) fn past_of(&self, id: JournalId) -> Option<&Past> {
        self.restored_past.get(&id)
    }

    /// Of a journal only this snapshot is left, and where that stands for all that was good, nothing else. Gives its row.
    pub(super) fn mend_past(&mut self, id: JournalId, left: Option<Snapshot>, stands: Option<Snapshot>) -> Bytes {
        let past = self.get_mut(id).past_mut();
        (past.snapshot, past.upload) = (left, None);
        if let Some(Snapshot { seq, hash, .. }) = stands {
            (past.first, past.before) = (seq + 1, hash);
        }
        past.to_row()
    }

    /// Takes back what stands for the old entries of a journal.
    pub(super) fn restore_past(&mut self, key: &[u8], row: &[u8]) -> Result<(), FrameError> {
        let mut fields = Reader::new(key, 0);
        let id = u32::from_be_bytes(fields.array("a number")?);
        fields.end()?;
        self.restored_past.insert(id, Past::from_row(row)?);
        Ok(())
    }
}

/// Orders as journals, their uploads, and the pieces of these.
pub(crate) fn piece_key(id: JournalId, (number, piece): (u64, u32)) -> Vec<u8> {
    [&id.to_be_bytes()[..], &number.to_be_bytes(), &piece.to_be_bytes()].concat()
}

/// The journal, the upload and which piece of it.
pub(super) fn piece_from_key(key: &[u8]) -> Option<((JournalId, u64), u32)> {
    let (id, rest) = key.split_first_chunk()?;
    let (number, piece) = rest.split_first_chunk()?;
    let piece = u32::from_be_bytes(piece.try_into().ok()?);
    Some(((JournalId::from_be_bytes(*id), u64::from_be_bytes(*number)), piece))
}

/// The piece in this row, if it is the one that was meant.
pub(crate) fn piece_in(rows: &[(RowKey, Bytes)], id: JournalId, number: (u64, u32)) -> Option<&Bytes> {
    let (key, bytes) = rows.first()?;
    (key.table == PIECES && key.key == piece_key(id, number)).then_some(bytes)
}
