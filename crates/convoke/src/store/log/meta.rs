//! What the log says about itself, in a file of two slots that are written in turn: its format, whose it is, which of its
//! segments is the newest, so that it is noticed when that one is missing, and which start of the hub has written that, so that
//! none is counted twice.

use super::record::Seal;
use super::segment::FORMAT;
use super::{Own, SHORT_OF};
use crate::store::disk::{Failed, LogFile, WatchedDisk};
use crate::store::file::Unusable;

/// The file in the hub's folder.
pub(in crate::store) const FILE: &str = "log.meta";

/// A slot, in bytes: nothing that is written to one touches the other.
const SLOT_BYTES: usize = 4 << 10;

const MAGIC: &[u8; 12] = b"convoke log\0";

/// What is said, in bytes; the rest of a slot is zeros.
const SAID_BYTES: usize = 76;

/// What the checksum covers of it, in bytes.
pub(super) const COVERED: usize = SAID_BYTES - 4;

/// The file while it is open.
#[derive(Debug)]
pub(super) struct Meta {
    file: LogFile,
    /// How often it was written.
    count: u64,
    /// The first position of the newest segment.
    pub(super) newest: u64,
    /// The start of the hub that has written it last.
    pub(super) epoch: u64,
}

fn encode(own: &Own, count: u64, newest: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&own.hub);
    bytes.extend_from_slice(&own.history);
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&newest.to_le_bytes());
    bytes.extend_from_slice(&own.epoch.to_le_bytes());
    let crc = Seal::of(&own.history).crc([&bytes, &[]]);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.resize(SLOT_BYTES, 0);
    bytes
}

impl Meta {
    /// Makes the file: whole, under another name that it is to be given.
    pub(super) fn make(disk: &WatchedDisk, name: &str, own: &Own, newest: u64) -> Result<(), Failed> {
        let file = disk.create(name)?;
        let slot = encode(own, 1, newest);
        file.write(0, &[&slot[..], &slot].concat())?;
        file.sync()
    }

    /// Opens the file.
    pub(super) fn open(disk: &WatchedDisk, own: &Own) -> Result<Meta, Unusable> {
        let file = disk.open(FILE)?;
        let bytes = file.whole()?;
        let slots = bytes.chunks(SLOT_BYTES).take(2).map(|slot| decode(slot, own));
        let mut newest: Option<(u64, u64, u64)> = None;
        let mut why = None;
        for slot in slots {
            match slot {
                Ok(said) => newest = newest.max(Some(said)),
                Err(wrong) => why = Some(wrong),
            }
        }
        match (newest, why) {
            // Of another format there are two, unless one was being written.
            (_, Some(Unusable::Format(text))) => Err(Unusable::Format(text)),
            (Some((count, newest, epoch)), _) => Ok(Meta { file, count, newest, epoch }),
            (None, why) => Err(why.unwrap_or_else(|| Unusable::Corrupt(SHORT_OF.into()))),
        }
    }

    /// Says durably that this is the newest segment.
    pub(super) fn write(&mut self, own: &Own, newest: u64) -> Result<(), Failed> {
        let slot = encode(own, self.count + 1, newest);
        self.file.write((self.count + 1) % 2 * SLOT_BYTES as u64, &slot)?;
        self.file.sync()?;
        (self.count, self.newest, self.epoch) = (self.count + 1, newest, own.epoch);
        Ok(())
    }
}

/// How often it was written, the newest segment, and the start of the hub.
fn decode(slot: &[u8], own: &Own) -> Result<(u64, u64, u64), Unusable> {
    let damaged = || Unusable::Corrupt(SHORT_OF.into());
    let said: &[u8; SAID_BYTES] = slot.first_chunk().ok_or_else(damaged)?;
    let number = |at: usize| u64::from_le_bytes(*said[at..].first_chunk().expect("it is inside"));
    let history: [u8; 16] = *said[32..].first_chunk().expect("it is inside");
    let crc = Seal::of(&history).crc([&said[..COVERED], &[]]);
    if !said.starts_with(MAGIC) || crc.to_le_bytes() != said[COVERED..] {
        return Err(damaged());
    }
    let format = u32::from_le_bytes(*said[12..].first_chunk().expect("it is inside"));
    if format != FORMAT {
        let text = format!("its format is {format}, and this program knows {FORMAT}; use the program that wrote it");
        return Err(Unusable::Format(text));
    }
    if said[16..32] != own.hub || history != own.history {
        return Err(Unusable::Corrupt(super::OF_ANOTHER.into()));
    }
    Ok((number(48), number(56), number(64)))
}
