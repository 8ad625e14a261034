//! What is whole of a log that is damaged: its operations up to the first that is missing.

use bytes::Bytes;

use super::meta::Meta;
use super::record::{self, Kind, Seal};
use super::recover::{check_end, read};
use super::segment::{self, HEADER_BYTES};
use super::{Own, meta};
use crate::store::disk::{Failed, WatchedDisk};
use crate::store::file::Unusable;
use crate::store::salvage::without_remedy;

/// What was found.
pub(in crate::store) struct Found {
    /// The position of the last operation that was given; zero if there is none.
    pub(in crate::store) last: u64,
    /// The last start of the hub that has written anything.
    pub(in crate::store) epoch: u64,
    /// What is lost, as a sentence.
    pub(in crate::store) lost: Option<String>,
}

/// Gives the operations behind position `tables`, in their order, up to the first that is missing or that `each` does not take.
pub(in crate::store) fn salvage(
    disk: &WatchedDisk,
    own: &Own,
    tables: u64,
    each: &mut dyn FnMut(u64, Bytes) -> bool,
) -> Result<Found, Failed> {
    let meta = Meta::open(disk, own).ok();
    let mut found = Found { last: 0, epoch: meta.as_ref().map_or(0, |meta| meta.epoch), lost: None };
    let mut firsts: Vec<u64> = disk.names()?.iter().filter_map(|name| segment::first_of(name)).collect();
    firsts.sort_unstable();
    let unneeded = firsts.windows(2).take_while(|pair| pair[1] <= tables.saturating_add(1)).count();
    let needed = firsts.split_off(unneeded.min(firsts.len()));
    let lost = |pos: u64, why: &str| Some(format!("the operations from position {pos} on: {why}"));
    let mut next = tables.saturating_add(1);
    match needed.first() {
        Some(first) if *first <= next => {}
        _ => {
            found.lost = lost(next, "the segment of the log with them is gone");
            return Ok(found);
        }
    }
    let mut before = None;
    for (index, first) in needed.iter().enumerate() {
        let name = segment::name(*first);
        let segment = match read(disk, own, *first, before) {
            Ok(segment) => segment,
            Err(Unusable::Io(failed)) => return Err(failed),
            Err(why) => {
                found.lost = lost(next, &format!("{name} is damaged: {}", without_remedy(&why.to_string())));
                return Ok(found);
            }
        };
        let bytes = Bytes::copy_from_slice(&segment.bytes[..segment.end]);
        let mut at = HEADER_BYTES;
        while let Some(record) = bytes.get(at..).and_then(|bytes| record::read(bytes, own.seal())) {
            let payload = bytes.slice(at + super::HEAD_BYTES..at + record.bytes());
            at += record.bytes();
            found.epoch = found.epoch.max(record.head.epoch);
            if record.head.kind == Kind::Operation && record.head.pos == next {
                if !each(next, payload) {
                    found.lost = lost(next, "it is none that this version knows");
                    return Ok(found);
                }
                found.last = next;
                next += 1;
            }
        }
        let is_last = index + 1 == needed.len();
        if check_end(&segment, own, is_last, tables).is_err() {
            found.lost = lost(
                next.max(segment.last_pos() + 1),
                &format!("{name} breaks at byte {}, and more was acknowledged", segment.end),
            );
            return Ok(found);
        }
        before = segment.footer.map(|hash| (segment.last_pos() + 1, hash));
    }
    let newest = meta.map_or(0, |meta| meta.newest);
    if needed.last().is_some_and(|last| *last < newest) {
        found.lost = lost(next, "the newest segment of the log is gone");
    }
    Ok(found)
}

/// The last start of the hub that has written to a log; zero if that cannot be told.
pub(in crate::store) fn last_start(disk: &WatchedDisk, own: &Own) -> u64 {
    Meta::open(disk, own).map_or(0, |meta| meta.epoch)
}

/// The hub and the history that the files of a log say to be of.
pub(in crate::store) fn whose(disk: &WatchedDisk) -> Option<([u8; 16], [u8; 16])> {
    let names = disk.names().ok()?;
    let of_the_log = |name: &&String| *name == meta::FILE || segment::first_of(name).is_some();
    names.iter().filter(of_the_log).find_map(|name| {
        let mut front = [0; HEADER_BYTES];
        disk.open(name).ok()?.read(0, &mut front).ok()?;
        let covered = if name == meta::FILE { meta::COVERED } else { HEADER_BYTES - 4 };
        let history: [u8; 16] = *front[32..].first_chunk()?;
        let crc = Seal::of(&history).crc([&front[..covered], &[]]);
        (crc.to_le_bytes() == front[covered..covered + 4]).then_some((*front[16..].first_chunk()?, history))
    })
}
