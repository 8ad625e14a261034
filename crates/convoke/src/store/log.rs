//! The write-ahead log: what is committed is what is durable here. Operations are appended and synced in groups; redb gets
//! only the rows that come of them, behind, and what it holds durably is cut from the log.
//!
//! The log is a row of segments, files that are allocated before they are used, so that a sync has nothing to say about
//! their length or place. A batch is one write and one sync, within one segment. After a write that found no room it is
//! made certain that the batch is not there before anybody is told so; a sync that fails is the end.

mod meta;
mod record;
mod recover;
mod salvage;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use convoke_core::HubIdentity;
use convoke_core::foundation::Ticket;

use super::disk::{Failed, LogFile, WatchedDisk};
use super::file::{Fault, Unusable};
use super::full::Want;
use meta::Meta;
use record::{HEAD_BYTES, Head, Kind, Seal};
pub(super) use recover::{Refused, begin, begin_at};
pub(super) use salvage::{last_start, salvage, whose};
pub(crate) use segment::Sizes;
use segment::{HEADER_BYTES, Header, NEW};
pub(super) use segment::{SPARE, first_of, make as make_segment};

/// What is said of a file of the log that is too short, or not whole.
const SHORT_OF: &str = "it is not what a hub has written; put a copy of it back, or start with another folder";

/// What is said of a file of another hub or history.
pub(super) const OF_ANOTHER: &str =
    "it belongs to another history than hub.json; put back the one of these two that was exchanged";

/// A batch takes no more than this part of a segment, so that little of it is left unused when the next does not fit.
const BATCH_PART: u64 = 4;

/// What is left free in a segment behind operations, in bytes: for a marker and the footer.
const TAIL_BYTES: u64 = 2 * HEAD_BYTES as u64;

/// Whose log it is, and in which of its starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    hub: [u8; 16],
    history: [u8; 16],
    epoch: u64,
    seal: Seal,
}

impl Own {
    fn seal(&self) -> Seal {
        self.seal
    }

    pub(super) fn of(identity: HubIdentity) -> Own {
        let HubIdentity { hub, history, epoch } = identity;
        Own { hub, history, epoch, seal: Seal::of(&history) }
    }
}

/// A segment that nothing is appended to any more.
#[derive(Debug)]
struct Sealed {
    name: String,
    length: u64,
    /// The position of its last operation.
    last: u64,
}

/// The segment at the end.
#[derive(Debug)]
struct Current {
    name: String,
    /// The position of its first operation.
    first: u64,
    /// The hash of the record before it.
    hash: u64,
    file: LogFile,
    length: u64,
    /// Where the next record goes.
    at: u64,
    /// Its footer is there and durable.
    has_footer: bool,
}

/// A file that is ready to be the next segment.
#[derive(Debug)]
struct Spare {
    name: &'static str,
    length: u64,
}

/// The log of a hub that runs. All that is in it is durable, but what a write has left that failed.
#[derive(Debug)]
pub(super) struct Log {
    disk: Arc<WatchedDisk>,
    own: Own,
    sizes: Sizes,
    meta: Meta,
    sealed: VecDeque<Sealed>,
    current: Current,
    spare: Option<Spare>,
    /// Somebody makes the file [`SPARE`] now.
    spare_is_made: bool,
    /// The position of the last operation.
    last: u64,
    /// The hash of the last record.
    hash: u64,
    /// The last record says that `last` is durable.
    is_marked: bool,
    /// Used again and again.
    buffer: Vec<u8>,
    /// The front of a batch that may be there, and is not to be.
    doubt: Option<[u8; HEAD_BYTES]>,
}

/// What something means that went wrong with the log.
pub(super) fn fault(failed: Failed) -> Fault {
    match Want::of(&failed.error) {
        // Not of a sync: what waits for room would sync again.
        Some(want) if !failed.is_of_a_sync() => Fault::Full(want),
        _ => Fault::Grave(failed.into()),
    }
}

impl Log {
    /// The position of the last operation.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The most that a batch may take, in bytes, unless it is one operation; see [`bytes_of`](Log::bytes_of).
    pub(super) fn batch_bytes_max(&self) -> u64 {
        self.current.length / BATCH_PART
    }

    /// What an operation takes, in bytes.
    pub(super) fn bytes_of(operation: &Bytes) -> u64 {
        (HEAD_BYTES + operation.len()) as u64
    }

    /// Appends operations at the positions behind the last; they are durable when this returns. After
    /// [`Fault::Full`] certainly none of them is there and never will be, unless the log [is in doubt](Log::is_in_doubt).
    pub(super) fn append(&mut self, operations: &[(Ticket, Bytes)]) -> Result<(), Fault> {
        self.make_certain()?;
        let bytes = operations.iter().map(|(_, operation)| Log::bytes_of(operation)).sum();
        if !self.fits(bytes) {
            self.change_segment(bytes)?;
        }
        if self.meta.newest != self.current.first {
            // Should this segment go missing, that is to be noticed.
            self.meta.write(&self.own, self.current.first).map_err(fault)?;
        }
        let (mut hash, last) = (self.hash, self.last);
        self.buffer.clear();
        for (pos, (_, operation)) in (last + 1..).zip(operations) {
            let head = Head { kind: Kind::Operation, epoch: self.own.epoch, pos, durable_upto: last, prev_hash: hash };
            hash = record::put(&mut self.buffer, self.own.seal, head, operation);
        }
        self.write(Some(hash))?;
        self.last = last + operations.len() as u64;
        self.is_marked = false;
        Ok(())
    }

    /// Writes the buffer and syncs; then the record with this hash is the last, if there is one in it.
    fn write(&mut self, hash: Option<u64>) -> Result<(), Fault> {
        let written = self.current.file.write(self.current.at, &self.buffer);
        if let Err(failed) = written {
            let fault = fault(failed);
            if matches!(fault, Fault::Full(_)) {
                self.doubt = self.buffer.first_chunk().copied();
                if let Err(grave @ Fault::Grave(_)) = self.make_certain() {
                    return Err(grave);
                }
            }
            return Err(fault);
        }
        self.current.file.sync().map_err(fault)?;
        self.current.at += self.buffer.len() as u64;
        self.hash = hash.unwrap_or(self.hash);
        Ok(())
    }

    /// Nobody knows yet whether a batch is there that found no room.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Makes certain that what a failed write may have left is not there, whatever happens next. What counts is its first
    /// record: what follows hangs on it.
    pub(super) fn make_certain(&mut self) -> Result<(), Fault> {
        let Some(front) = self.doubt else { return Ok(()) };
        let mut found = [0; HEAD_BYTES];
        self.current.file.read(self.current.at, &mut found).map_err(fault)?;
        // Where the system does not see all of it, the disk has not got it from the system.
        if found == front {
            self.current.file.write(self.current.at, &[0; HEAD_BYTES]).map_err(fault)?;
            self.current.file.sync().map_err(fault)?;
        }
        self.doubt = None;
        Ok(())
    }

    fn fits(&self, bytes: u64) -> bool {
        !self.current.has_footer && self.current.at + bytes + TAIL_BYTES <= self.current.length
    }

    /// Says that all is durable, with a record that is durable itself; so that it is noticed if any of it is lost. Not
    /// where there is no room.
    pub(super) fn mark(&mut self) -> Result<(), Unusable> {
        if self.is_marked || !self.fits(0) || self.is_in_doubt() {
            return Ok(());
        }
        let hash = self.encode_end(Kind::Marker);
        self.is_marked = true;
        match self.write(Some(hash)) {
            Err(Fault::Grave(why)) => Err(why),
            Ok(()) | Err(Fault::Full(_)) => Ok(()),
        }
    }

    fn encode_end(&mut self, kind: Kind) -> u64 {
        let (epoch, last, prev_hash) = (self.own.epoch, self.last, self.hash);
        self.buffer.clear();
        let head = Head { kind, epoch, pos: last, durable_upto: last, prev_hash };
        record::put(&mut self.buffer, self.own.seal, head, &[])
    }

    /// Goes on in a new segment with room for so many bytes. What fails of it is done the next time.
    fn change_segment(&mut self, bytes: u64) -> Result<(), Fault> {
        let needed = HEADER_BYTES as u64 + bytes + TAIL_BYTES;
        let spare = match &self.spare {
            Some(spare) if spare.length >= needed => Spare { ..*spare },
            _ => {
                let length = self.next_length().max(needed);
                make_segment(&self.disk, NEW, length).map_err(fault)?;
                Spare { name: NEW, length }
            }
        };
        let first = self.last + 1;
        // One with nothing in it is not needed: what takes its place has its name, and is behind the same.
        let is_empty = first == self.current.first;
        if !is_empty && !self.current.has_footer {
            let hash = self.encode_end(Kind::Footer);
            self.write(Some(hash))?;
            self.current.has_footer = true;
        }
        let hash = if is_empty { self.current.hash } else { self.hash };
        let header = Header { first, hash, length: spare.length };
        let (name, file) = place(&self.disk, &self.own, spare.name, header).map_err(fault)?;
        if self.spare.as_ref().is_some_and(|other| other.name == spare.name) {
            self.spare = None;
        }
        let at = HEADER_BYTES as u64;
        let next = Current { name, first, hash, file, length: spare.length, at, has_footer: false };
        let before = std::mem::replace(&mut self.current, next);
        if !is_empty {
            self.sealed.push_back(Sealed { name: before.name, length: before.length, last: self.last });
        }
        self.hash = hash;
        Ok(())
    }

    fn next_length(&self) -> u64 {
        (2 * self.current.length).min(self.sizes.most).max(self.sizes.first)
    }

    /// How long the segment is to be that is to be made beside, in the file [`SPARE`], and at least; `None` if there is one.
    /// Whoever makes it tells [what became of it](Log::spare_was_made).
    pub(super) fn wants_spare(&self) -> Option<(u64, u64)> {
        (self.spare.is_none() && !self.spare_is_made).then(|| (self.next_length(), self.sizes.first))
    }

    /// Somebody begins to make one.
    pub(super) fn spare_is_made(&mut self) {
        self.spare_is_made = true;
    }

    /// It was made so long, or not at all.
    pub(super) fn spare_was_made(&mut self, length: Option<u64>) {
        self.spare_is_made = false;
        self.spare = length.map(|length| Spare { name: SPARE, length });
    }

    /// The next segment is ready.
    pub(super) fn has_spare(&self) -> bool {
        self.spare.is_some()
    }

    /// Cuts what is not needed when redb holds durably what came of the operations up to this position. With `save_room`
    /// also a segment is used again that is shorter than the next should be.
    pub(super) fn cut(&mut self, pos: u64, save_room: bool) -> Result<(), Fault> {
        while let Some(sealed) = self.sealed.front().filter(|sealed| sealed.last <= pos) {
            let length = sealed.length;
            let fits = length == self.next_length() || save_room && length >= self.sizes.first;
            if fits && self.spare.is_none() && !self.spare_is_made {
                // What is in it was written before anything that will be, and is not taken for more than that.
                self.disk.rename_for_now(&sealed.name, SPARE).map_err(fault)?;
                self.spare = Some(Spare { name: SPARE, length });
            } else {
                self.disk.remove(&sealed.name).map_err(fault)?;
            }
            self.sealed.pop_front();
        }
        Ok(())
    }

    /// Gives the operations behind a position, in their order.
    pub(super) fn operations(&self, behind: u64, mut each: impl FnMut(u64, Bytes)) -> Result<(), Unusable> {
        let mut names: Vec<&String> = self.sealed.iter().filter(|s| s.last > behind).map(|s| &s.name).collect();
        if self.last > behind {
            names.push(&self.current.name);
        }
        for name in names {
            let bytes = Bytes::from(self.disk.open(name)?.whole()?);
            let end = if *name == self.current.name { self.current.at as usize } else { bytes.len() };
            let mut at = HEADER_BYTES;
            while at < end {
                let record = record::read(&bytes[at..], self.own.seal)
                    .ok_or_else(|| Unusable::Corrupt(format!("operations behind position {behind} are missing")))?;
                let payload = at + HEAD_BYTES;
                at += record.bytes();
                match record.head.kind {
                    Kind::Operation if record.head.pos > behind => each(record.head.pos, bytes.slice(payload..at)),
                    Kind::Operation | Kind::Marker => {}
                    Kind::Footer => break,
                }
            }
        }
        Ok(())
    }
}

/// Makes a file a segment, durably: nothing else may be in its place but what it is to take the place of.
fn place(disk: &WatchedDisk, own: &Own, from: &str, header: Header) -> Result<(String, LogFile), Failed> {
    let name = segment::name(header.first);
    let file = disk.open(from)?;
    file.write(0, &header.encode(own))?;
    file.sync()?;
    disk.rename(from, &name)?;
    Ok((name, file))
}
