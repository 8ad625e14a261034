//! The file of an outbox: what is to be appended, under which names it was sent, what became of it.
//!
//! Records are added at the end and synced before they count. Each has a checksum over itself, its place and the file that it
//! belongs to, and says up to where the file was known to be synced when it was written. So when something does not fit,
//! it can be told what was being written when the power went, which is cut off, from what was safe once and is broken now.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use convoke_core::frame::{Incarnation, Reader};
use convoke_core::limits::OUTBOX_ENDS_MAX;
use convoke_core::{Code, Name, OpId, Refusal};

use crate::error::Error;
use crate::files::{advised, for_its_owner, make_folder};

/// What the file begins with; the last byte is the form of what follows.
const MAGIC: [u8; 8] = *b"cnvoutb\x01";

/// The magic, and random bytes that tell this file from all others.
const HEAD_BYTES: usize = 16;

/// The length, the checksum, and up to where the file was synced.
const RECORD_HEAD_BYTES: usize = 16;

/// What a record may have, in bytes: an append of 256 commands, and its name.
const RECORD_BYTES_MAX: usize = 80 << 20;

/// The file is written anew when it has this much more than twice of what counts in it, in bytes.
const SPARE_BYTES_MAX: u64 = 1 << 20;

const OWNER: u8 = 0;
const PUT: u8 = 1;
const NOTE: u8 = 2;
const END: u8 = 3;
const TOLD: u8 = 4;
const MARK: u8 = 5;

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is done: its first entry has this place.
    Done(u64),
    /// It certainly was not.
    NotDone(Refusal),
    /// Nobody knows.
    Unknown(Refusal, Option<OpId>),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Something is to be appended.
    Put { number: u64, journal: Name, appended: Vec<u8> },
    /// It is sent under this name, or was.
    Note { number: u64, op: OpId },
    /// What became of it; `told` if the program knows.
    End { number: u64, end: End, told: bool },
    /// The program knows what became of it.
    Told { number: u64 },
}

/// What is not yet answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) journal: Name,
    pub(super) appended: Vec<u8>,
    pub(super) op: Option<OpId>,
}

/// What counts in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) open: BTreeMap<u64, Open>,
    /// What the program was not told, in the order in which it was known.
    pub(super) ends: VecDeque<(u64, Name, End)>,
    pub(super) last: u64,
}

impl Contents {
    fn add(&mut self, record: Record) {
        match record {
            Record::Put { number, journal, appended } => {
                self.last = self.last.max(number);
                self.open.insert(number, Open { journal, appended, op: None });
            }
            Record::Note { number, op } => {
                if let Some(open) = self.open.get_mut(&number) {
                    open.op = Some(op);
                }
            }
            Record::End { number, end, told } => {
                self.last = self.last.max(number);
                if let Some(open) = self.open.remove(&number)
                    && !told
                {
                    self.ends.push_back((number, open.journal, end));
                    if self.ends.len() > OUTBOX_ENDS_MAX {
                        self.ends.pop_front();
                    }
                }
            }
            Record::Told { number } => self.ends.retain(|(of, ..)| *of != number),
        }
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let ends = self.ends.iter().flat_map(|(number, journal, end)| {
            let put = Record::Put { number: *number, journal: journal.clone(), appended: Vec::new() };
            [put, Record::End { number: *number, end: end.clone(), told: false }]
        });
        // The last number is not given again, although nothing of it counts any more.
        let gone = self.last > 0 && !self.open.contains_key(&self.last);
        let last = gone.then_some(Record::End { number: self.last, end: End::Done(0), told: true });
        let open = self.open.iter().flat_map(|(number, open)| {
            let Open { journal, appended, op } = open.clone();
            let put = Record::Put { number: *number, journal, appended };
            std::iter::once(put).chain(op.map(|op| Record::Note { number: *number, op }))
        });
        ends.chain(last).chain(open)
    }

    fn bytes(&self) -> u64 {
        let open: usize = self.open.values().map(|open| open.appended.len() + 128).sum();
        (open + self.ends.len() * 256) as u64
    }
}

/// The file of an outbox, and that nobody else has it.
#[derive(Debug)]
pub(super) struct OutboxFile {
    folder: PathBuf,
    node: Name,
    contents: Contents,
    file: File,
    id: [u8; 8],
    /// So much was written.
    len: u64,
    /// All up to here is synced.
    synced: u64,
    _lock: File,
    /// How long the file may be, as if the disk had no more room.
    #[cfg(test)]
    pub(super) room: u64,
}

impl OutboxFile {
    /// Opens the outbox of a node in a folder, or makes it. Waits for the disk.
    ///
    /// # Errors
    ///
    /// Another program has it; it is that of another node; it is broken; the system refuses.
    pub(super) fn open(folder: &Path, node: &Name) -> Result<OutboxFile, Error> {
        let at = |what: &str| format!("outbox `{}`: {what}", folder.display());
        let io = |what: &str| {
            let what = at(what);
            move |error| match no_room(&error) {
                true => Error::not_done(Refusal::new(Code::StorageFull, format!("{what}: {}", full(&error)))),
                false => Error::io(what, advised(error)),
            }
        };
        make_folder(folder).map_err(io("the folder cannot be made"))?;
        let lock =
            for_its_owner().create(true).read(true).truncate(false).open(folder.join("lock")).map_err(io("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::in_use(at("another program has it; give this one a folder of its own")));
            }
            Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        let path = folder.join(FILE);
        let (contents, bytes) = match fs::read(&path) {
            Ok(bytes) => {
                let (owner, contents, end) = read(&bytes).map_err(|why| {
                    let text = format!(
                        "{FILE} is broken: {why}; nothing of it was sent or changed; put a copy back, or move it away and \
                         append again what is missing in the journals"
                    );
                    Error::Refused(Refusal::new(Code::StorageFailed, at(&text)))
                })?;
                if owner != *node {
                    let text = format!("it is that of `{owner}`; give `{node}` a folder of its own");
                    return Err(Error::Configuration(at(&text)));
                }
                (contents, bytes[..end].to_vec())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Contents::default(), Vec::new()),
            Err(error) => return Err(io(FILE)(error)),
        };
        // Written anew: what is left of a torn end goes, and what was read from memory of the system is on the disk.
        let written = match write_anew(folder, node, &contents) {
            // On a full disk what is left is to be sent all the same, and that makes room.
            Err((_, error)) if no_room(&error) && !bytes.is_empty() => write_again(folder, &bytes),
            written => written.map_err(|(_, error)| error),
        };
        let (file, id, len) = written.map_err(io(FILE))?;
        let (folder, node) = (folder.to_owned(), node.clone());
        Ok(OutboxFile {
            folder,
            node,
            contents,
            file,
            id,
            len,
            synced: len,
            _lock: lock,
            #[cfg(test)]
            room: u64::MAX,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Adds records, and returns when they are safe.
    ///
    /// # Errors
    ///
    /// With true nothing was added; with false nobody knows what of it is there, and nothing may be added any more.
    pub(super) fn add(&mut self, records: Vec<Record>) -> Result<(), (bool, io::Error)> {
        let mut bytes = Vec::new();
        for record in &records {
            put_record(&mut bytes, self.id, self.len, self.synced, record);
        }
        self.write(&bytes)?;
        self.file.sync_data().map_err(|error| (false, error))?;
        self.synced = self.len;
        // Nobody waits for this one: it lets a broken byte in what was just added be told from a torn end.
        let mut mark = Vec::new();
        put(&mut mark, self.id, self.len, self.synced, |out| out.push(MARK));
        // Without room it is left out.
        if let Err((false, error)) = self.write(&mark) {
            return Err((false, error));
        }
        records.into_iter().for_each(|record| self.contents.add(record));
        if self.len > 2 * self.contents.bytes() + SPARE_BYTES_MAX {
            match write_anew(&self.folder, &self.node, &self.contents) {
                Ok((file, id, len)) => (self.file, self.id, self.len, self.synced) = (file, id, len, len),
                // It is only longer than it need be.
                Err((true, error)) => {
                    tracing::warn!("outbox `{}` cannot be made shorter: {error}", self.folder.display());
                }
                // What is open here has its name no more.
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    /// Writes at the end, all or nothing; not yet safe.
    fn write(&mut self, bytes: &[u8]) -> Result<(), (bool, io::Error)> {
        #[cfg(test)]
        if self.len + bytes.len() as u64 > self.room {
            return Err((true, io::ErrorKind::StorageFull.into()));
        }
        if let Err(error) = self.file.write_all(bytes) {
            let back = self.file.set_len(self.len).and_then(|()| self.file.seek(SeekFrom::Start(self.len)));
            return Err((back.is_ok(), error));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// The name of the file in its folder.
const FILE: &str = "outbox";

/// Whether it may be written once there is more room.
pub(super) fn no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What is said where there is no room.
pub(super) fn full(error: &io::Error) -> String {
    format!("the disk is full; make room and append it again ({error})")
}

/// A file that was written, by which its records know it, and its length.
type Written = (File, [u8; 8], u64);

/// Writes what counts into a new file that takes the place of the old one, durably.
///
/// # Errors
///
/// With true the old one is still in its place; with false the new one is, and nobody knows for how long.
fn write_anew(folder: &Path, node: &Name, contents: &Contents) -> Result<Written, (bool, io::Error)> {
    let beside = folder.join("outbox.new");
    let written = write_beside(&beside, node, contents);
    // Opened before: too many open files are no reason to lose one.
    let ready = written.and_then(|written| Ok((written, File::open(folder)?)));
    let placed = ready.and_then(|ready| fs::rename(&beside, folder.join(FILE)).map(|()| ready));
    let (written, names) = placed.map_err(|error| {
        // What was written of it takes room; if it cannot be removed, the next one writes over it.
        let _ = fs::remove_file(&beside);
        (true, error)
    })?;
    names.sync_all().map_err(|error| (false, error))?;
    Ok(written)
}

/// Writes what was read into its place once more, which takes no room, and cuts off what is behind it: so it is on the disk,
/// and not only in the memory of the system.
fn write_again(folder: &Path, bytes: &[u8]) -> io::Result<Written> {
    let mut file = File::options().read(true).write(true).open(folder.join(FILE))?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    let id = bytes[8..HEAD_BYTES].try_into().expect("it has eight bytes");
    Ok((file, id, bytes.len() as u64))
}

fn write_beside(beside: &Path, node: &Name, contents: &Contents) -> io::Result<Written> {
    let mut id = [0; 8];
    getrandom::fill(&mut id)?;
    let mut bytes = [&MAGIC[..], &id].concat();
    put(&mut bytes, id, 0, 0, |out| {
        out.push(OWNER);
        out.extend_from_slice(node.as_str().as_bytes());
    });
    for record in contents.records() {
        put_record(&mut bytes, id, 0, 0, &record);
    }
    let end = bytes.len() as u64;
    put(&mut bytes, id, 0, end, |out| out.push(MARK));
    let mut file = for_its_owner().create(true).read(true).truncate(true).open(beside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok((file, id, bytes.len() as u64))
}

fn checksum(id: [u8; 8], offset: u64, rest: &[u8]) -> u32 {
    let place = [&id[..], &offset.to_le_bytes()].concat();
    crc32c::crc32c_append(crc32c::crc32c(&place), rest)
}

/// Adds a record to what is written behind `base` bytes of the file.
fn put(out: &mut Vec<u8>, id: [u8; 8], base: u64, synced: u64, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&synced.to_le_bytes());
    body(out);
    let len = (out.len() - start - RECORD_HEAD_BYTES) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    let mut covered = out[start..start + 4].to_vec();
    covered.extend_from_slice(&out[start + 8..]);
    let sum = checksum(id, base + start as u64, &covered);
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

fn put_record(out: &mut Vec<u8>, id: [u8; 8], base: u64, synced: u64, record: &Record) {
    put(out, id, base, synced, |out| match record {
        Record::Put { number, journal, appended } => {
            out.push(PUT);
            out.extend_from_slice(&number.to_le_bytes());
            put_text(out, journal.as_str());
            out.extend_from_slice(appended);
        }
        Record::Note { number, op } => {
            out.push(NOTE);
            out.extend_from_slice(&number.to_le_bytes());
            put_op(out, op);
        }
        Record::End { number, end, told } => {
            out.push(END);
            out.extend_from_slice(&number.to_le_bytes());
            out.push(u8::from(*told));
            match end {
                End::Done(seq) => {
                    out.push(0);
                    out.extend_from_slice(&seq.to_le_bytes());
                }
                End::NotDone(why) => {
                    out.push(1);
                    out.extend_from_slice(&(why.code as u16).to_le_bytes());
                    put_text(out, &why.text);
                }
                End::Unknown(why, op) => {
                    out.push(2 + u8::from(op.is_some()));
                    if let Some(op) = op {
                        put_op(out, op);
                    }
                    out.extend_from_slice(&(why.code as u16).to_le_bytes());
                    put_text(out, &why.text);
                }
            }
        }
        Record::Told { number } => {
            out.push(TOLD);
            out.extend_from_slice(&number.to_le_bytes());
        }
    });
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(4096)];
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_op(out: &mut Vec<u8>, op: &OpId) {
    out.extend_from_slice(&op.history);
    for number in [op.incarnation.epoch, op.incarnation.counter, op.cseq] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// The record at this place, if there is one: up to where the file was synced when it was written, its body, and its end.
fn record_at(bytes: &[u8], id: [u8; 8], start: usize) -> Option<(u64, &[u8], usize)> {
    let head = bytes.get(start..start + RECORD_HEAD_BYTES)?;
    let mut fields = Reader::new(head, 0);
    let (len, sum) = (fields.u32("").ok()? as usize, fields.u32("").ok()?);
    if len == 0 || len > RECORD_BYTES_MAX {
        return None;
    }
    let end = start + RECORD_HEAD_BYTES + len;
    let covered = [&head[..4], bytes.get(start + 8..end)?].concat();
    let synced = fields.u64("").ok()?;
    (checksum(id, start as u64, &covered) == sum).then(|| (synced, &bytes[start + RECORD_HEAD_BYTES..end], end))
}

/// Whose these bytes are, what counts in them, and where that ends.
fn read(bytes: &[u8]) -> Result<(Name, Contents, usize), String> {
    let head = bytes.get(..HEAD_BYTES).filter(|head| head[..8] == MAGIC).ok_or("it does not begin as one does")?;
    let id: [u8; 8] = head[8..].try_into().expect("it has eight bytes");
    // The beginning was whole before the file had its name.
    let (_, body, mut place) = record_at(bytes, id, HEAD_BYTES).ok_or("it does not say whose it is")?;
    let owner =
        body.split_first().filter(|(kind, _)| **kind == OWNER).and_then(|(_, name)| Name::from_bytes(name).ok());
    let owner = owner.ok_or("it does not say whose it is")?;
    let mut contents = Contents::default();
    while place < bytes.len() {
        let Some((_, body, end)) = record_at(bytes, id, place) else { break };
        if body[0] != MARK {
            let record =
                record(body).ok_or_else(|| format!("what is at byte {place} was written by another version"))?;
            contents.add(record);
        }
        place = end;
    }
    // What was safe once, and is not there, is lost; what was not yet safe was being written.
    let was_safe = |start: &usize| {
        let synced = bytes.get(start + 8..start + 16).map(|synced| Reader::new(synced, 0).u64("").unwrap_or_default());
        synced.is_some_and(|synced| (place as u64 + 1..=*start as u64).contains(&synced))
            && record_at(bytes, id, *start).is_some()
    };
    match (place + 1..bytes.len()).find(was_safe) {
        Some(_) => Err(format!("what is at byte {place} is not what was written there")),
        None => Ok((owner, contents, place)),
    }
}

fn record(body: &[u8]) -> Option<Record> {
    let mut fields = Reader::new(body, 0);
    let op = |fields: &mut Reader<'_>| {
        let history = fields.array("").ok()?;
        let incarnation = Incarnation { epoch: fields.u64("").ok()?, counter: fields.u64("").ok()? };
        Some(OpId { history, incarnation, journal: true, cseq: fields.u64("").ok()? })
    };
    let refusal = |fields: &mut Reader<'_>| {
        let code = Code::from_number(fields.u16("").ok()?);
        Some(Refusal::new(code, fields.short_text("").ok()?.to_owned()))
    };
    let kind = fields.u8("").ok()?;
    let number = fields.u64("").ok()?;
    let record = match kind {
        PUT => {
            let journal = Name::from_bytes(fields.short_bytes("").ok()?).ok()?;
            Record::Put { number, journal, appended: fields.rest().to_vec() }
        }
        NOTE => Record::Note { number, op: op(&mut fields)? },
        END => {
            let told = fields.u8("").ok()? != 0;
            let end = match fields.u8("").ok()? {
                0 => End::Done(fields.u64("").ok()?),
                1 => End::NotDone(refusal(&mut fields)?),
                2 => End::Unknown(refusal(&mut fields)?, None),
                3 => {
                    let op = op(&mut fields)?;
                    End::Unknown(refusal(&mut fields)?, Some(op))
                }
                _ => return None,
            };
            Record::End { number, end, told }
        }
        TOLD => Record::Told { number },
        _ => return None,
    };
    fields.end().ok()?;
    Some(record)
}

#[cfg(test)]
mod tests;
