//! The form in which the state is kept: rows in tables, each found by its key.

use std::collections::BTreeSet;
use std::mem;

use bytes::Bytes;

use super::journals::{JournalId, Journals};
use super::origins::Come;
use super::principals::{Granted, LastGrant};
use super::snapshots::{Past, piece_key};
use super::values::{Row, author_in, encode, name_in};
use super::windows::{self, Outcome, Window, Windows};
use super::{Place, Slot, Values};
use crate::copies::Copies;
use crate::foundation::{RowChange, RowKey};
use crate::frame::{Frame, FrameError, Incarnation, Reader};
use crate::journal::{Origin, Unit};
use crate::name::Name;
use crate::payload::Encoding;

/// Values by their names, deleted ones too.
pub(super) const VALUES: u8 = 1;
/// Changes by their places.
pub(crate) const CHANGES: u8 = 2;
/// What is known of each incarnation.
pub(super) const WINDOWS: u8 = 3;
/// What was answered, by incarnation and number.
pub(super) const RESULTS: u8 = 4;
/// Up to where things are forgotten.
pub(super) const MARKS: u8 = 5;
/// Principals by their names.
pub(super) const PRINCIPALS: u8 = 6;

/// The last change of rights that each hub has asked for, by the hubs' ids.
pub(super) const GRANTERS: u8 = 7;

/// Journals by their names.
pub(super) const JOURNALS: u8 = 8;

/// What of journals is undone and can be, by journal and place.
pub(super) const UNITS: u8 = 9;

/// Who is a member of a journal that says so, by journal and name.
pub(super) const PRESENT: u8 = 10;

/// What stands for the old entries of journals, by journal.
pub(super) const PASTS: u8 = 11;

/// What has come of other hubs into journals, by journal and hub.
pub(super) const COME: u8 = 12;

/// Where commands were first that were handed over by other hubs and can be undone, by journal and place.
pub(super) const FOREIGN: u8 = 13;

/// Entries, by journal and place. There may be very many: they are told only to who reads them.
pub(crate) const ENTRIES: u8 = crate::foundation::READ_ONLY;

/// Pieces of snapshots, by journal, upload and place. They are long, and told only to who reads them.
pub(crate) const PIECES: u8 = crate::foundation::READ_ONLY + 1;

/// In the place of an encoding: the key was deleted.
const DELETED: u8 = 0xff;

/// Up to where things are forgotten.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    /// Deletions up to this position.
    pub(super) floor: u64,
    /// Changes up to this position.
    pub(super) gone: u64,
    /// The highest incarnation that was forgotten before it had all its answers.
    pub(super) forgotten: Incarnation,
}

/// The fields of a value's row that have a fixed length, in bytes. Its name, author and payload are in its frames too.
const ROW_BYTES: usize = 64;

/// The rows that have changed and were not yet handed to the foundation.
pub(crate) struct Rows {
    noted: bool,
    changed: Vec<(RowKey, RowChange)>,
    /// Journals and incarnations whose rows have changed: each operation changes them again, so they are put once all are
    /// applied.
    journals: BTreeSet<JournalId>,
    windows: BTreeSet<Incarnation>,
    /// Where keys and short rows are put.
    copies: Copies,
}

impl Rows {
    pub(super) fn new(noted: bool) -> Rows {
        Rows {
            noted,
            changed: Vec::new(),
            journals: BTreeSet::new(),
            windows: BTreeSet::new(),
            copies: Copies::default(),
        }
    }

    pub(super) fn take(&mut self, journals: &Journals, windows: &Windows) -> Vec<(RowKey, RowChange)> {
        while let Some(id) = self.journals.pop_first() {
            let journal = journals.get(id);
            self.put(JOURNALS, journal.name().as_str().as_bytes(), journal.to_row(id));
        }
        while let Some(incarnation) = self.windows.pop_first() {
            match windows.get(incarnation) {
                Some(window) => self.put(WINDOWS, &windows::incarnation_key(incarnation), window.to_row()),
                None => self.delete(WINDOWS, &windows::incarnation_key(incarnation)),
            }
        }
        // The next are likely as many.
        let room = Vec::with_capacity(self.changed.len());
        mem::replace(&mut self.changed, room)
    }

    fn change(&mut self, table: u8, key: &[u8], change: RowChange) {
        if self.noted {
            self.changed.push((RowKey { table, key: self.copies.copy(key) }, change));
        }
    }

    fn put(&mut self, table: u8, key: &[u8], row: Bytes) {
        self.change(table, key, RowChange::Put(row));
    }

    /// Puts a row of a key that never had one.
    fn put_new(&mut self, table: u8, key: &[u8], row: Bytes) {
        self.change(table, key, RowChange::New(row));
    }

    fn delete(&mut self, table: u8, key: &[u8]) {
        self.change(table, key, RowChange::Gone);
    }

    fn put_or_delete(&mut self, table: u8, key: &[u8], row: Option<Bytes>) {
        self.change(table, key, row.map_or(RowChange::Gone, RowChange::Put));
    }

    pub(super) fn delete_value(&mut self, name: &str) {
        self.delete(VALUES, name.as_bytes());
    }

    /// Puts what a key has now, and that this was its change at this place. Gives how many bytes the change takes.
    pub(super) fn put_change(&mut self, place: Place, values: &Values, slot: Slot) -> u32 {
        let name = values.name(slot);
        let head = size_of::<u16>() + name.len();
        let mut row = Vec::with_capacity(head + ROW_BYTES + values.frames(slot).len());
        row.extend_from_slice(&(name.len() as u16).to_le_bytes());
        row.extend_from_slice(name.as_bytes());
        append_value(values, slot, &mut row);
        let bytes = row.len() as u32;
        if self.noted {
            // The change holds the row of the value, so this is a piece of it.
            let row = Bytes::from(row);
            self.put(VALUES, name.as_bytes(), row.slice(head..));
            self.put_new(CHANGES, &place_key(place), row);
        }
        bytes
    }

    pub(super) fn delete_change(&mut self, place: Place) {
        self.delete(CHANGES, &place_key(place));
    }

    /// What is known of an incarnation has changed.
    pub(super) fn put_window(&mut self, incarnation: Incarnation) {
        if self.noted {
            self.windows.insert(incarnation);
        }
    }

    /// An incarnation was forgotten.
    pub(super) fn delete_window(&mut self, incarnation: Incarnation, window: &Window) {
        self.put_window(incarnation);
        for cseq in window.results.keys() {
            self.delete_result(incarnation, *cseq);
        }
    }

    pub(super) fn put_result(&mut self, incarnation: Incarnation, cseq: u64, outcome: &Outcome) {
        if self.noted {
            let row = self.copies.written(|row| windows::write_result(outcome, row));
            self.put_new(RESULTS, &windows::result_key(incarnation, cseq), row);
        }
    }

    pub(super) fn delete_result(&mut self, incarnation: Incarnation, cseq: u64) {
        self.delete(RESULTS, &windows::result_key(incarnation, cseq));
    }

    /// Puts what a principal may do, or that there is none.
    pub(super) fn put_principal(&mut self, name: &Name, granted: Option<&Granted>) {
        self.put_or_delete(PRINCIPALS, name.as_str().as_bytes(), granted.map(Granted::to_row));
    }

    /// Puts which change of rights a hub has asked for last, or that it is not known any more.
    pub(super) fn put_granter(&mut self, hub: [u8; 16], last: Option<&LastGrant>) {
        self.put_or_delete(GRANTERS, &hub, last.map(LastGrant::to_row));
    }

    /// The end of a journal has changed, or what of it can be undone.
    pub(super) fn put_journal(&mut self, id: JournalId) {
        if self.noted {
            self.journals.insert(id);
        }
    }

    pub(super) fn put_unit(&mut self, id: JournalId, first: u64, unit: Option<Unit>) {
        if self.noted {
            let row = unit.map(|unit| self.copies.written(|row| unit.write_row(row)));
            self.put_or_delete(UNITS, &entry_key(id, first), row);
        }
    }

    /// Puts that a node is a member that the journal says to be one, or takes it away.
    pub(super) fn put_present(&mut self, id: JournalId, node: &Name, present: bool) {
        let key = [&id.to_be_bytes()[..], node.as_str().as_bytes()].concat();
        self.put_or_delete(PRESENT, &key, present.then(Bytes::new));
    }

    pub(super) fn put_come(&mut self, id: JournalId, hub: [u8; 16], come: &Come) {
        self.put(COME, &[&id.to_be_bytes()[..], &hub].concat(), come.to_row());
    }

    /// Puts where a unit was first, or that it cannot be undone any more.
    pub(super) fn put_foreign(&mut self, id: JournalId, first: u64, origin: Option<Origin>) {
        let row = |origin: Origin| [&origin.hub[..], &origin.seq.to_le_bytes()].concat().into();
        self.put_or_delete(FOREIGN, &entry_key(id, first), origin.map(row));
    }

    pub(super) fn put_entry(&mut self, id: JournalId, seq: u64, frames: &Bytes) {
        self.put_new(ENTRIES, &entry_key(id, seq), frames.clone());
    }

    pub(super) fn delete_entry(&mut self, id: JournalId, seq: u64) {
        self.delete(ENTRIES, &entry_key(id, seq));
    }

    pub(super) fn put_past(&mut self, id: JournalId, past: &Past) {
        self.put(PASTS, &id.to_be_bytes(), past.to_row());
    }

    /// Puts a piece of the upload of this number, or takes it away.
    pub(super) fn put_piece(&mut self, id: JournalId, number: (u64, u32), piece: Option<Bytes>) {
        self.put_or_delete(PIECES, &piece_key(id, number), piece);
    }

    pub(super) fn put_marks(&mut self, marks: Marks) {
        self.put(MARKS, &[], marks_row(marks).1);
    }
}

pub(super) fn marks_row(marks: Marks) -> (RowKey, Bytes) {
    let row = [marks.floor, marks.gone, marks.forgotten.epoch, marks.forgotten.counter].map(u64::to_le_bytes).concat();
    (RowKey { table: MARKS, key: Bytes::new() }, row.into())
}

/// Orders as journals and the places in them.
pub(crate) fn entry_key(id: JournalId, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&id.to_be_bytes());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The place of an entry that was kept, if it is one of this journal.
pub(crate) fn seq_from_key(id: JournalId, key: &[u8]) -> Option<u64> {
    let seq = key.strip_prefix(&id.to_be_bytes())?;
    Some(u64::from_be_bytes(seq.try_into().ok()?))
}

/// Orders as places do.
pub(crate) fn place_key((pos, index): Place) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&pos.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

fn place_from_key(key: &[u8]) -> Result<Place, FrameError> {
    let mut fields = Reader::new(key, 0);
    let pos = u64::from_be_bytes(fields.array("a position")?);
    Ok((pos, u16::from_be_bytes(fields.array("an index")?)))
}

/// Appends the row of a value.
fn append_value(values: &Values, slot: Slot, row: &mut Vec<u8>) {
    let frames = values.frames(slot);
    let (pos, index) = values.place(slot);
    let (expires_ms, owner) = values.life(slot);
    let author = author_in(frames);
    row.extend_from_slice(&pos.to_le_bytes());
    row.extend_from_slice(&index.to_le_bytes());
    row.extend_from_slice(&expires_ms.to_le_bytes());
    let owner = owner.unwrap_or_default();
    row.extend_from_slice(&owner.epoch.to_le_bytes());
    row.extend_from_slice(&owner.counter.to_le_bytes());
    row.extend_from_slice(&(author.len() as u16).to_le_bytes());
    row.extend_from_slice(author.as_bytes());
    values.payload(slot, |payload| match payload {
        Some((encoding, pieces)) => {
            row.push(encoding as u8);
            for piece in pieces {
                row.extend_from_slice(piece);
            }
        }
        None => row.push(DELETED),
    });
}

pub(super) fn value_from_row<'a>(key: &'a [u8], row: &'a [u8]) -> Result<Row<'a>, FrameError> {
    let name = std::str::from_utf8(key).map_err(|_| FrameError { offset: 0, expected: "a name in UTF-8" })?;
    let mut fields = Reader::new(row, 0);
    let place = (fields.u64("a position")?, fields.u16("an index")?);
    let expires_ms = fields.u64("milliseconds")?;
    let owner = Incarnation { epoch: fields.u64("an epoch")?, counter: fields.u64("a counter")? };
    let author = fields.short_bytes("a name")?;
    let offset = fields.offset();
    let payload = match fields.u8("an encoding")? {
        DELETED => None,
        number => {
            let encoding =
                Encoding::from_number(number).ok_or(FrameError { offset, expected: "an encoding that exists" })?;
            Some((encoding, fields.rest()))
        }
    };
    let owner = (owner != Incarnation::default()).then_some(owner);
    Ok(Row { name, place, author, payload, expires_ms, owner })
}

/// The place of a change, and how many bytes it takes.
pub(super) fn change_size(key: &[u8], row: &[u8]) -> Result<(Place, u32), FrameError> {
    Ok((place_from_key(key)?, row.len() as u32))
}

/// A change that was kept: its place, its name, and the frames that tell it.
///
/// # Errors
///
/// A row that is none.
pub(crate) fn change_from_row(key: &[u8], row: &[u8]) -> Result<(Place, Bytes), FrameError> {
    let place = place_from_key(key)?;
    let mut fields = Reader::new(row, 0);
    let name = fields.short_bytes("a name")?;
    let value = value_from_row(name, fields.rest())?;
    let (frames, _) = encode(0, value.name, value.author, place, value.payload);
    debug_assert_eq!(name_in(&frames), value.name, "the frames have the name where it is looked for");
    Ok((place, frames))
}

pub(super) fn marks_from_row(row: &[u8]) -> Result<Marks, FrameError> {
    let mut fields = Reader::new(row, 0);
    let (floor, gone) = (fields.u64("a position")?, fields.u64("a position")?);
    let forgotten = Incarnation { epoch: fields.u64("an epoch")?, counter: fields.u64("a counter")? };
    Ok(Marks { floor, gone, forgotten })
}

/// The payload of a value in its frames: one piece for each fragment.
pub(super) fn payload_pieces(frames: &[u8]) -> Option<(Encoding, Vec<&[u8]>)> {
    let mut pieces = Vec::new();
    let mut rest = frames;
    let mut encoding = Encoding::Raw;
    while let Ok(Some((frame, len))) = Frame::decode(rest) {
        match frame {
            Frame::Value(value) => {
                let (of, payload) = value.payload?;
                encoding = of;
                pieces.push(payload);
            }
            Frame::Part(head, body) => {
                encoding = Encoding::from_number(head.encoding).expect("it was encoded from one");
                let names = if pieces.is_empty() {
                    let mut fields = Reader::new(body, 0);
                    fields.bytes(20, "").expect("the first fragment has all fields");
                    fields.short_bytes("").expect("an author");
                    fields.short_bytes("").expect("a name");
                    fields.offset()
                } else {
                    0
                };
                pieces.push(&body[names..]);
            }
            _ => unreachable!("a value is told by Value frames"),
        }
        rest = &rest[len..];
    }
    Some((encoding, pieces))
}
