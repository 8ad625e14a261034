//! A backup: one file with all that a hub keeps, as it is at one moment.
//!
//! ```text
//! "convoke backup" 0 0 | format u32 | form of rows u32 | hub [16] | history [16] | epoch u64 | pos u64 | made u64 | crc32c u32
//! blocks:  length u32 | crc32c u32 | rows: table u8 | length of the key u16 | length of the row u32 | key | row
//! end:     0 u32 | crc32c u32 | blocks u64 | rows u64 | bytes u64 | sha256 [32]
//! ```
//!
//! Numbers are little-endian. Each checksum goes on from the one before, so that a block that is missing, changed or in
//! another place is found where it is; `bytes` and the hash are those of everything before the end. Rows are in the order of
//! their keys, each once. There are neither operations nor free room in it, so that it is smaller than what it is made of.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use convoke_core::HubIdentity;
use convoke_core::foundation::{self, RowKey};
use sha2::{Digest as _, Sha256};

use super::disk::Failed;
use super::file::{Moment, StoreFile, Unusable};
use super::pending::Pending;

/// The format of the file.
const FORMAT: u32 = 1;

const MAGIC: &[u8; 16] = b"convoke backup\0\0";

/// What is said before the rows, in bytes.
const HEADING_BYTES: usize = 84;

/// Before a block, in bytes.
const BLOCK_HEAD_BYTES: usize = 8;

/// Before a row, in bytes.
const ROW_HEAD_BYTES: usize = 7;

/// The end behind its length and its checksum, in bytes.
const END_BYTES: usize = 56;

/// Rows are put into blocks of about this length, in bytes.
const BLOCK_BYTES: usize = 256 << 10;

/// No block is longer, in bytes: it has less than [`BLOCK_BYTES`] and one row, and no row is longer than a frame may be.
const BLOCK_BYTES_MAX: usize = 80 << 20;

/// What is kept, as it is at one moment, whatever is written behind it.
pub(crate) struct Image {
    moment: Moment,
    writing: Option<Arc<Pending>>,
    gathering: Pending,
    pos: u64,
    /// What the moment is of, where nobody else holds it.
    _file: Option<StoreFile>,
}

impl Image {
    /// The rows of a moment, under those that are being written, and these under those that are to be.
    pub(super) fn new(moment: Moment, writing: Option<Arc<Pending>>, gathering: Pending, pos: u64) -> Image {
        Image { moment, writing, gathering, pos, _file: None }
    }

    /// The same, which holds its file.
    pub(super) fn of_file(self, file: StoreFile) -> Image {
        Image { _file: Some(file), ..self }
    }

    fn rows(&self, from: &RowKey, each: impl FnMut(RowKey, Bytes) -> bool) -> Result<(), Unusable> {
        self.moment.rows(from, self.writing.as_deref(), &self.gathering, each)
    }
}

/// What a backup says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heading {
    /// The hub, and its start, whose backup it is.
    pub(crate) identity: HubIdentity,
    /// The position that the rows reach.
    pub(crate) pos: u64,
    /// When it was made, in milliseconds since 1970.
    pub(crate) made_ms: u64,
}

/// How much a backup has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    /// The length of the file.
    pub(crate) bytes: u64,
    /// What its end says.
    pub(crate) sha256: [u8; 32],
}

/// Makes the bytes of a backup, piece by piece.
pub(crate) struct Encoder {
    image: Image,
    heading: Option<Heading>,
    /// The row to go on with; `None` behind the last.
    next: Option<RowKey>,
    crc: u32,
    blocks: u64,
    size: Size,
    hash: Sha256,
    ended: bool,
}

impl Encoder {
    pub(crate) fn new(image: Image, identity: HubIdentity, made_ms: u64) -> Encoder {
        let heading = Heading { identity, pos: image.pos, made_ms };
        Encoder {
            image,
            heading: Some(heading),
            next: Some(RowKey { table: 0, key: Bytes::new() }),
            crc: 0,
            blocks: 0,
            size: Size::default(),
            hash: Sha256::new(),
            ended: false,
        }
    }

    /// What follows; `None` behind the end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Unusable> {
        if let Some(heading) = self.heading.take() {
            return Ok(Some(self.add(heading.encode())));
        }
        if let Some(block) = self.block()? {
            return Ok(Some(self.add(block)));
        }
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        let mut end = vec![0; BLOCK_HEAD_BYTES];
        for number in [self.blocks, self.size.rows, self.size.bytes] {
            end.extend_from_slice(&number.to_le_bytes());
        }
        end.extend_from_slice(&self.hash.clone().finalize());
        let crc = crc32c::crc32c_append(self.crc, &end[BLOCK_HEAD_BYTES..]);
        end[4..BLOCK_HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        Ok(Some(end))
    }

    fn add(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.size.bytes += bytes.len() as u64;
        self.hash.update(&bytes);
        bytes
    }

    fn block(&mut self) -> Result<Option<Vec<u8>>, Unusable> {
        let Some(from) = self.next.take() else { return Ok(None) };
        let mut block = vec![0; BLOCK_HEAD_BYTES];
        let (mut rows, mut next) = (0, None);
        self.image.rows(&from, |key, row| {
            if block.len() >= BLOCK_BYTES {
                next = Some(key);
                return false;
            }
            block.push(key.table);
            block.extend_from_slice(&(key.key.len() as u16).to_le_bytes());
            block.extend_from_slice(&(row.len() as u32).to_le_bytes());
            block.extend_from_slice(&key.key);
            block.extend_from_slice(&row);
            rows += 1;
            true
        })?;
        self.next = next;
        if rows == 0 {
            return Ok(None);
        }
        (self.size.rows, self.blocks) = (self.size.rows + rows, self.blocks + 1);
        self.crc = crc32c::crc32c_append(self.crc, &block[BLOCK_HEAD_BYTES..]);
        let length = (block.len() - BLOCK_HEAD_BYTES) as u32;
        block[..4].copy_from_slice(&length.to_le_bytes());
        block[4..BLOCK_HEAD_BYTES].copy_from_slice(&self.crc.to_le_bytes());
        Ok(Some(block))
    }
}

impl Heading {
    fn encode(&self) -> Vec<u8> {
        let HubIdentity { hub, history, epoch } = self.identity;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(foundation::FORMAT as u32).to_le_bytes());
        bytes.extend_from_slice(&hub);
        bytes.extend_from_slice(&history);
        for number in [epoch, self.pos, self.made_ms] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// That at the front of these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Heading, Unusable> {
        let Some(bytes) = bytes.first_chunk::<HEADING_BYTES>().filter(|bytes| bytes.starts_with(MAGIC)) else {
            return Err(Unusable::Corrupt("it is no backup that `convoke store backup` has made".into()));
        };
        let (said, crc) = bytes.split_at(HEADING_BYTES - 4);
        if crc32c::crc32c(said).to_le_bytes() != crc {
            return Err(damaged(0, "what it says of itself is damaged"));
        }
        for (at, known) in [(16, FORMAT), (20, foundation::FORMAT as u32)] {
            let format = u32::from_le_bytes(*bytes[at..].first_chunk().expect("it is inside"));
            if format != known {
                let text =
                    format!("its format is {format}, and this program knows {known}; use the program that wrote it");
                return Err(Unusable::Format(text));
            }
        }
        let id = |at: usize| *bytes[at..].first_chunk().expect("it is inside");
        let number = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("it is inside"));
        let identity = HubIdentity { hub: id(24), history: id(40), epoch: number(56) };
        Ok(Heading { identity, pos: number(64), made_ms: number(72) })
    }
}

fn damaged(at: u64, what: &str) -> Unusable {
    Unusable::Corrupt(format!("{what} (at byte {at}); take another backup"))
}

/// Reads from a backup, and counts.
struct Source<R> {
    from: R,
    at: u64,
    hash: Sha256,
}

impl<R: Read> Source<R> {
    fn read(&mut self, length: usize, hashed: bool) -> Result<Vec<u8>, Unusable> {
        let mut bytes = Vec::new();
        let at = self.at;
        let read = self.from.by_ref().take(length as u64).read_to_end(&mut bytes);
        read.map_err(|error| Unusable::Io(Failed::new("reading")(error)))?;
        if bytes.len() < length {
            return Err(damaged(at + bytes.len() as u64, "it ends before its end"));
        }
        self.at += length as u64;
        if hashed {
            self.hash.update(&bytes);
        }
        Ok(bytes)
    }
}

/// Reads a backup, and checks all of it: gives the rows in their order to `each`. Whoever uses them must not rely on any
/// before this returns without an error.
pub(crate) fn read(
    from: impl Read,
    mut each: impl FnMut(&Heading, RowKey, Bytes) -> Result<(), Unusable>,
) -> Result<(Heading, Size), Unusable> {
    let mut source = Source { from, at: 0, hash: Sha256::new() };
    let mut front = Vec::new();
    let read = source.from.by_ref().take(HEADING_BYTES as u64).read_to_end(&mut front);
    read.map_err(|error: io::Error| Unusable::Io(Failed::new("reading")(error)))?;
    let heading = Heading::decode(&front)?;
    source.hash.update(&front);
    source.at = HEADING_BYTES as u64;
    let (mut crc, mut blocks, mut rows) = (0, 0_u64, 0_u64);
    let mut last: Option<RowKey> = None;
    loop {
        let start = source.at;
        let head = source.read(BLOCK_HEAD_BYTES, false)?;
        let number = |at: usize| u32::from_le_bytes(*head[at..].first_chunk().expect("it is inside"));
        let (length, expected) = (number(0) as usize, number(4));
        if length > BLOCK_BYTES_MAX {
            return Err(damaged(start, "a block is damaged"));
        }
        if length == 0 {
            let end = source.read(END_BYTES, false)?;
            let number = |at: usize| u64::from_le_bytes(*end[at..].first_chunk().expect("it is inside"));
            let sha256: [u8; 32] = source.hash.clone().finalize().into();
            let is_whole = crc32c::crc32c_append(crc, &end) == expected
                && (number(0), number(8), number(16)) == (blocks, rows, start)
                && end[24..] == sha256;
            if !is_whole {
                return Err(damaged(start, "its end does not stand for what is before it"));
            }
            if source.from.read(&mut [0]).map_err(|error| Unusable::Io(Failed::new("reading")(error)))? > 0 {
                return Err(damaged(source.at, "it goes on behind its end"));
            }
            return Ok((heading, Size { rows, bytes: source.at, sha256 }));
        }
        source.hash.update(&head);
        let block = Bytes::from(source.read(length, true)?);
        crc = crc32c::crc32c_append(crc, &block);
        if crc != expected {
            return Err(damaged(start, "a block is damaged"));
        }
        blocks += 1;
        let mut at = 0;
        while at < block.len() {
            let row = row_at(&block, at).filter(|(key, ..)| last.as_ref().is_none_or(|last| last < key));
            let Some((key, row, behind)) = row else { return Err(damaged(start, "a block has what is no row")) };
            last = Some(key.clone());
            (rows, at) = (rows + 1, behind);
            each(&heading, key, row)?;
        }
    }
}

/// The row there, and what is behind it.
fn row_at(block: &Bytes, at: usize) -> Option<(RowKey, Bytes, usize)> {
    let head: &[u8; ROW_HEAD_BYTES] = block.get(at..)?.first_chunk()?;
    let key_bytes = usize::from(u16::from_le_bytes([head[1], head[2]]));
    let row_bytes = u32::from_le_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let key = at + ROW_HEAD_BYTES;
    let (row, behind) = (key + key_bytes, (key + key_bytes).checked_add(row_bytes)?);
    (behind <= block.len())
        .then(|| (RowKey { table: head[0], key: block.slice(key..row) }, block.slice(row..behind), behind))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use convoke_core::foundation::RowChange;

    use super::*;
    use crate::store::whole;

    const IDENTITY: HubIdentity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 3 };

    /// A backup with rows of many lengths.
    fn backup() -> (Vec<(RowKey, Bytes)>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let row = |n: usize| {
            let key = RowKey { table: 0x80, key: (n as u64).to_be_bytes().to_vec().into() };
            (key, Bytes::from(vec![n as u8; n * 37 % 5_000]))
        };
        let rows: Vec<(RowKey, Bytes)> = (0..300).map(row).collect();
        whole::make(folder.path(), IDENTITY, 9, |feed| {
            feed(rows.iter().cloned().map(|(key, row)| (key, RowChange::Put(row))).collect())
        })
        .unwrap();
        let image = whole::look(folder.path(), IDENTITY, &mut |_| true).unwrap().image;
        let mut encoder = Encoder::new(image, IDENTITY, 7);
        let mut bytes = Vec::new();
        while let Some(piece) = encoder.next().unwrap() {
            bytes.extend_from_slice(&piece);
        }
        (rows, bytes)
    }

    #[test]
    fn what_was_backed_up_is_read_again() {
        let (rows, bytes) = backup();
        let mut found = Vec::new();
        let read = read(Cursor::new(&bytes), |_, key, row| {
            found.push((key, row));
            Ok(())
        });
        let (heading, size) = read.unwrap();
        assert_eq!(heading, Heading { identity: IDENTITY, pos: 9, made_ms: 7 });
        assert_eq!((size.rows, size.bytes), (300, bytes.len() as u64));
        assert_eq!(found, rows);
    }

    #[test]
    fn every_byte_that_is_another_is_found_and_so_is_every_end_that_is_missing() {
        let (_, whole) = backup();
        let is_whole = |bytes: &[u8]| read(Cursor::new(bytes), |_, _, _| Ok(())).is_ok();
        assert!(is_whole(&whole));
        // All of the heading and of the end, and some in between.
        let places = (0..200).chain((200..whole.len() - 200).step_by(997)).chain(whole.len() - 200..whole.len());
        for at in places {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(!is_whole(&bytes), "byte {at}");
            assert!(!is_whole(&whole[..at]), "up to byte {at}");
        }
        assert!(!is_whole(&[&whole[..], b"x"].concat()));
    }
}
