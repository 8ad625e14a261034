//! What is certainly whole of a store that is damaged: the rows of all pages of redb's file that are whole, of each journal the
//! entries before the first that is not, and the operations of the log before the first that is missing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use convoke_core::HubIdentity;
use convoke_core::foundation::{Amount, Audit, RowChange, RowKey};

use super::disk::{LogFile, WatchedDisk};
use super::file::{Feed, StoreFile, Unusable, key_of, reach_in};
use super::log::{self, Own};
use super::pages::Pages;
use super::pending::Pending;
use super::pieces;
use super::view::View;

/// Rows are fed together, so many bytes at a time.
const FED_BYTES: usize = 1 << 20;

/// More places of damaged pages than these are not told.
const PLACES_MAX: usize = 5;

/// More sentences than these about what is lost are not told.
const LOSSES_MAX: usize = 20;

/// What is whole.
pub(crate) struct Salvaged {
    pub(crate) amount: Amount,
    /// The position of the last operation that counts.
    pub(crate) pos: u64,
    /// What is lost, as sentences.
    pub(crate) losses: Vec<String>,
    /// The last start of the hub of which something is there.
    pub(crate) epoch: u64,
}

/// Whose store is in a folder, as its log says it; the epoch is not known.
pub(crate) fn identity(folder: &Path) -> Option<HubIdentity> {
    let disk = WatchedDisk::new(Box::new(View::of(folder)));
    log::whose(&disk).map(|(hub, history)| HubIdentity { hub, history, epoch: 0 })
}

/// Sorts out what is whole, and gives it to `feed`, as rows of a new store.
///
/// # Errors
///
/// Those of reading; and what `feed` says.
pub(crate) fn salvage(folder: &Path, identity: HubIdentity, feed: &mut Feed<'_>) -> Result<Salvaged, Unusable> {
    let disk = Arc::new(WatchedDisk::new(Box::new(View::of(folder))));
    let mut sorting =
        Sorting { audit: Audit::new(0), feed, rows: Vec::new(), bytes: 0, losses: Vec::new(), lossy: false };
    let log = Log::of(&disk, identity)?;
    let reach = match is_there(&disk).then(|| StoreFile::open(&disk, identity.history)) {
        Some(Ok((file, reach))) => {
            sorting.audit = Audit::new(reach);
            let mut failed = None;
            file.rows(&RowKey { table: 0, key: Bytes::new() }, None, &Pending::default(), |key, row| {
                failed = sorting.row(key, row).err();
                failed.is_none()
            })?;
            failed.map_or(Ok(Some(reach)), Err)?
        }
        Some(Err(Unusable::Corrupt(_))) if log.is_all => Some(0),
        Some(Err(Unusable::Corrupt(why))) => {
            sorting.losses.push(format!("store.redb is damaged: {}", without_remedy(&why)));
            sorting.pages(&disk, identity.history, log)?
        }
        Some(Err(other)) => return Err(other),
        None => {
            sorting.lose_all(log, "store.redb is gone, or empty: all of it is lost");
            Some(0)
        }
    };
    let pos = reach.unwrap_or_else(|| sorting.audit.ends_at_the_last_value());
    let wrong = sorting.audit.end();
    sorting.losses.extend(wrong);
    let mended = sorting.audit.mend();
    sorting.flush()?;
    (sorting.feed)(mended)?;
    let (mut skipped, mut wrong) = (0_u64, Vec::new());
    let audit = &mut sorting.audit;
    let behind = reach.unwrap_or(u64::MAX);
    let found = log::salvage(&disk, &Own::of(identity), behind, &mut |pos, operation| match audit
        .operation(pos, &operation)
    {
        Ok(true) => true,
        Ok(false) => {
            skipped += 1;
            true
        }
        Err(why) => {
            wrong.push(why);
            false
        }
    })?;
    sorting.losses.extend(wrong);
    sorting.losses.extend(found.lost.filter(|_| reach.is_some()));
    match skipped {
        0 => {}
        1 => sorting.losses.push("an operation of the log that depends on what is lost".to_owned()),
        _ => sorting.losses.push(format!("{skipped} operations of the log that depend on what is lost")),
    }
    // What is new to these operations may be among the rows of a file that nobody can rely on.
    let known = |change: RowChange| change.row().cloned().map_or(RowChange::Gone, RowChange::Put);
    let changes = sorting.audit.changes().into_iter().map(|(key, change)| (key, known(change)));
    (sorting.feed)(changes.collect())?;
    if sorting.losses.len() > LOSSES_MAX {
        let more = sorting.losses.len() - LOSSES_MAX;
        sorting.losses.truncate(LOSSES_MAX);
        sorting.losses.push(format!("and {more} more"));
    }
    let (amount, epoch) = (sorting.audit.amount(), found.epoch.max(sorting.audit.epoch()));
    // In another history positions may be used again.
    Ok(Salvaged { amount, pos: found.last.max(pos), losses: sorting.losses, epoch })
}

/// What there is of a log from the first operation on that there ever was.
#[derive(Clone, Copy)]
struct Log {
    /// It begins with that: then rows come of it.
    begins: bool,
    /// It has every operation.
    is_all: bool,
}

impl Log {
    fn of(disk: &WatchedDisk, identity: HubIdentity) -> Result<Log, Unusable> {
        let found = log::salvage(disk, &Own::of(identity), 0, &mut |_, _| true)?;
        let begins = found.last > 0;
        Ok(Log { begins, is_all: begins && found.lost.is_none() })
    }
}

/// What is wrong, without what a hub says can be done about it.
pub(super) fn without_remedy(text: &str) -> &str {
    text.split("; put ").next().unwrap_or(text)
}

fn is_there(disk: &WatchedDisk) -> bool {
    disk.open(super::FILE).is_ok_and(|file| file.is_empty().is_ok_and(|empty| !empty))
}

/// Rows on their way to a new store.
struct Sorting<'a, 'f> {
    audit: Audit,
    feed: &'a mut Feed<'f>,
    rows: Vec<(RowKey, RowChange)>,
    bytes: usize,
    losses: Vec<String>,
    /// Rows are missing, and nobody knows which.
    lossy: bool,
}

impl Sorting<'_, '_> {
    /// There are no rows. Where the log begins with the first operation nothing is lost by that.
    fn lose_all(&mut self, log: Log, text: &str) {
        if !log.begins {
            self.losses.push(text.to_owned());
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.lossy = true;
        self.audit.rows_are_missing();
    }

    fn row(&mut self, key: RowKey, row: Bytes) -> Result<(), Unusable> {
        if self.lossy && Audit::is_change(&key) {
            // Of a value whose own row is lost it may be the last that is known. Itself it is of no use any more.
            let value = self.audit.value_of_change(&key, &row);
            return value.map_or(Ok(()), |(key, row)| self.row(key, row));
        }
        match self.audit.row(&key, &row) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.bytes += key.key.len() + row.len();
                self.rows.push((key, RowChange::Put(row)));
                if self.bytes > FED_BYTES { self.flush() } else { Ok(()) }
            }
            Err(why) => {
                self.losses.push(why);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), Unusable> {
        self.bytes = 0;
        (self.feed)(std::mem::take(&mut self.rows))
    }

    /// Takes the rows of those pages that are whole. Says which position they reach, if anybody knows.
    fn pages(&mut self, disk: &WatchedDisk, history: [u8; 16], log: Log) -> Result<Option<u64>, Unusable> {
        let Some(mut pages) = Pages::open(disk)? else {
            self.lose_all(log, "no page of store.redb is whole: all of it is lost");
            return Ok(Some(0));
        };
        self.lose();
        let places: Vec<String> = pages.damaged_places().take(PLACES_MAX).map(|place| place.to_string()).collect();
        let places = places.join(", ");
        self.losses.push(match pages.damaged.len() {
            1 => format!("the page at byte {places} of store.redb: its rows, or those below it"),
            damaged => format!("{damaged} pages of store.redb (at bytes {places}, …): their rows, or those below them"),
        });
        let mut meta = BTreeMap::new();
        pages.each("meta", &mut |file, found| {
            meta.extend(read(file, &found.value).map(|value| (found.key, value)));
        })?;
        let reach = reach_in(&meta, history)?;
        let mut lengths: BTreeMap<Vec<u8>, Range<u64>> = BTreeMap::new();
        pages.each("pieces of rows", &mut |_, found| {
            lengths.insert(found.key, found.value);
        })?;
        let (mut failed, mut broken) = (None, 0_u64);
        self.audit = Audit::new(reach.unwrap_or(u64::MAX));
        self.audit.rows_are_missing();
        pages.each("rows", &mut |file, found| {
            let whole = read(file, &found.value)
                .and_then(|rest| pieces::put_together(&found.key, &rest, |key| read(file, lengths.get(key)?)));
            match whole.and_then(|row| Some((key_of(&found.key).ok()?, row))) {
                Some((key, row)) if failed.is_none() => failed = self.row(key, row).err(),
                Some(_) => {}
                None => broken += 1,
            }
        })?;
        match broken {
            0 => {}
            1 => self.losses.push("a long row of which pieces are lost".to_owned()),
            _ => self.losses.push(format!("{broken} long rows of which pieces are lost")),
        }
        if reach.is_none() {
            self.losses
                .push("nobody knows which position store.redb reaches: the operations in the log are lost".to_owned());
        }
        failed.map_or(Ok(reach), Err)
    }
}

fn read(file: &LogFile, place: &Range<u64>) -> Option<Bytes> {
    let mut bytes = vec![0; (place.end - place.start) as usize];
    file.read(place.start, &mut bytes).ok()?;
    Some(bytes.into())
}
