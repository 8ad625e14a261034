//! A store as a whole, while no hub runs on it: looked at as a hub would that starts on it, without a change; and made anew,
//! of rows that come from elsewhere.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use convoke_core::HubIdentity;
use convoke_core::foundation::{Audit, RowKey};

use super::backup::Image;
use super::disk::{FileDisk, WatchedDisk};
use super::file::{Feed, StoreFile, Unusable};
use super::log::{self, Own, Sizes};
use super::pending::Pending;
use super::view::View;
use super::{FILE, Limits, Store, refuse};
use crate::error::Error;

/// Segments that are made in memory while a store is looked at are no longer than they must be, in bytes.
const SEGMENT_BYTES: u64 = 4 << 10;

/// A store that was looked through.
pub(crate) struct Looked {
    pub(crate) audit: Audit,
    /// All that it keeps.
    pub(crate) image: Image,
    /// The position of the last operation.
    pub(crate) pos: u64,
    /// What is wrong beyond what a start of a hub would find, as sentences.
    pub(crate) wrong: Vec<String>,
}

/// Looks through the store in a folder: what a start of a hub checks, and each row, and each journal from its first entry.
/// Changes nothing in the folder. `goes_on` is told how many bytes more were looked at; when it says no, what is given is not
/// all. All of it is read once; what a hub would have of it in memory is in memory.
///
/// # Errors
///
/// Those of a start: [`Error::Refused`] with [`Code::StorageFailed`](convoke_core::Code::StorageFailed) if it is corrupt.
pub(crate) fn look(
    folder: &Path,
    identity: HubIdentity,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Looked, Error> {
    let segments = Sizes { first: SEGMENT_BYTES, most: SEGMENT_BYTES };
    let limits = Limits { segments, spare_bytes_max: u64::MAX };
    let store = Store::open_on(Box::new(View::of(folder)), folder, identity, limits)?;
    let shown = format!("`{}`", folder.join(FILE).display());
    let of_file = |why: Unusable| refuse(&shown, why);
    let Some(file) = store.tables().take() else { unreachable!("it is open since it was opened") };
    let mut audit = Audit::new(store.reach);
    let mut wrong = Vec::new();
    let all = file.rows(&RowKey { table: 0, key: Bytes::new() }, None, &Pending::default(), |key, row| {
        wrong.extend(audit.row(&key, &row).err());
        goes_on((key.key.len() + row.len()) as u64)
    });
    all.map_err(of_file)?;
    wrong.extend(audit.end());
    let operations = store.log.operations(store.reach, |pos, operation| {
        wrong.extend(audit.operation(pos, &operation).err());
        goes_on(operation.len() as u64);
    });
    operations.map_err(|why| refuse(&format!("the log in `{}`", folder.display()), why))?;
    let pos = store.log.last();
    let mut behind = Pending::default();
    behind.add(pos, audit.changes());
    let image = Image::new(file.moment().map_err(of_file)?, None, behind, pos).of_file(file);
    Ok(Looked { audit, image, pos, wrong })
}

/// Makes a store in a folder in which there is none, of rows that reach a position; `feed` gives them, in parts. A part of it
/// may be there after an error.
pub(crate) fn make(
    folder: &Path,
    identity: HubIdentity,
    pos: u64,
    feed: impl FnOnce(&mut Feed<'_>) -> Result<(), Unusable>,
) -> Result<(), Error> {
    let disk = Arc::new(WatchedDisk::new(Box::new(FileDisk::of(folder))));
    let shown = |name: &str| format!("`{}`", folder.join(name).display());
    log::begin_at(&disk, &Own::of(identity), pos + 1).map_err(|(name, why)| refuse(&shown(&name), why))?;
    StoreFile::make_of(&disk, identity.history, pos, feed).map_err(|why| refuse(&shown(FILE), why))
}

/// The last start of a hub of which the log in its folder knows; zero where that cannot be told, and then no hub starts on it.
pub(crate) fn last_start(folder: &Path, identity: HubIdentity) -> u64 {
    log::last_start(&WatchedDisk::new(Box::new(View::of(folder))), &Own::of(identity))
}

/// Whether a file of a hub's folder is a segment of its log.
pub(crate) fn is_segment(name: &str) -> bool {
    log::first_of(name).is_some()
}

/// Makes redb's file as small as it can be, and says what it took on the disk before and takes now, in bytes.
pub(crate) fn compact(folder: &Path, identity: HubIdentity) -> Result<(u64, u64), Error> {
    let disk = WatchedDisk::new(Box::new(FileDisk::of(folder)));
    let compact = || -> Result<(u64, u64), Unusable> {
        let before = disk.room(FILE)?;
        let (file, _) = StoreFile::open(&disk, identity.history)?;
        file.compact()?.close()?;
        Ok((before, disk.room(FILE)?))
    };
    compact().map_err(|why| refuse(&format!("`{}`", folder.join(FILE).display()), why))
}
