//! A segment of the log: its name, its header, and how long it is made.
//!
//! ```text
//! "convoke log" 0 | format u32 | hub [16] | history [16] | first pos u64 | hash u64 | length u64 | crc32c u32
//! ```
//!
//! Behind the header are records, and behind the last of a full segment its footer. What follows means nothing: zeros, or
//! what was in a segment that is used again.

use super::Own;
use super::record::Seal;
use crate::store::disk::{Failed, LogFile, WatchedDisk};

/// The format of segments and of what the log says about itself. A hub does not start on one that it does not know.
pub(super) const FORMAT: u32 = 2;

/// A header, in bytes.
pub(super) const HEADER_BYTES: usize = 76;

/// What the checksum covers of it, in bytes.
const COVERED: usize = HEADER_BYTES - 4;

const MAGIC: &[u8; 12] = b"convoke log\0";

/// A file that will be a segment, made ahead of time beside the log's thread.
pub(in crate::store) const SPARE: &str = "log.spare";

/// A file that will be a segment, and is being made in the log's thread.
pub(super) const NEW: &str = "log.new";

/// What is written at once of a segment that is made, in bytes.
const ZEROS: usize = 256 << 10;

/// The name of a segment whose first operation will have this position.
pub(super) fn name(first: u64) -> String {
    format!("log.{first:020}")
}

/// The position in a segment's name, if it is one.
pub(in crate::store) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log.")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// How long segments are, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// The first of a start, so that it is quick, and a hub that keeps little takes little.
    pub(crate) first: u64,
    /// Each is twice as long as the one before, up to this.
    pub(crate) most: u64,
}

/// What a header says that is not the same in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The position of its first operation.
    pub(super) first: u64,
    /// The hash of the record before.
    pub(super) hash: u64,
    /// How long the file is, in bytes: one that was cut short is noticed.
    pub(super) length: u64,
}

/// Why there is no header.
#[derive(Debug)]
pub(super) enum NoHeader {
    /// Another version of the program has written it.
    Format(u32),
    /// It is that of another hub or history.
    Other,
    /// It is damaged.
    Damaged,
}

impl Header {
    pub(super) fn encode(self, own: &Own) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..12].copy_from_slice(MAGIC);
        bytes[12..16].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(&own.hub);
        bytes[32..48].copy_from_slice(&own.history);
        bytes[48..56].copy_from_slice(&self.first.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.hash.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.length.to_le_bytes());
        let crc = Seal::of(&own.history).crc([&bytes[..COVERED], &[]]);
        bytes[COVERED..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// That of the file with these bytes.
    pub(super) fn decode(file: &[u8], own: &Own) -> Result<Header, NoHeader> {
        let bytes: &[u8; HEADER_BYTES] = file.first_chunk().ok_or(NoHeader::Damaged)?;
        let number = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("it is inside"));
        let format = u32::from_le_bytes(*bytes[12..].first_chunk().expect("it is inside"));
        if !bytes.starts_with(MAGIC) {
            return Err(NoHeader::Damaged);
        }
        let header = Header { first: number(48), hash: number(56), length: number(64) };
        if bytes == &header.encode(own) {
            return if header.length == file.len() as u64 { Ok(header) } else { Err(NoHeader::Damaged) };
        }
        let history: [u8; 16] = *bytes[32..].first_chunk().expect("it is inside");
        let crc = Seal::of(&history).crc([&bytes[..COVERED], &[]]);
        Err(match (crc.to_le_bytes() == bytes[COVERED..], format == FORMAT) {
            (false, _) => NoHeader::Damaged,
            (true, false) => NoHeader::Format(format),
            (true, true) => NoHeader::Other,
        })
    }
}

/// Makes a file that will be a segment, all of zeros, so that a sync has nothing to say about its length or its place.
pub(in crate::store) fn make(disk: &WatchedDisk, name: &str, length: u64) -> Result<(), Failed> {
    let made = try_make(disk, name, length);
    if made.is_err() {
        // What there was no room for is not to take the rest.
        let _ = disk.remove(name);
    }
    made
}

fn try_make(disk: &WatchedDisk, name: &str, length: u64) -> Result<(), Failed> {
    let file: LogFile = disk.create(name)?;
    let zeros = vec![0; length.min(ZEROS as u64) as usize];
    let mut at = 0;
    while at < length {
        let next = (length - at).min(ZEROS as u64);
        file.write(at, &zeros[..next as usize])?;
        at += next;
    }
    file.sync()
}
