//! The file of the rows, a redb: what is in it, and how it is made, opened, written and read.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use bytes::Bytes;
use convoke_core::foundation::{self, RowChange, RowKey};
use redb::{
    CommitError, CompactionError, Database, DatabaseError, ReadTransaction, ReadableDatabase as _, StorageError,
    TableDefinition, TableError, TransactionError,
};

use super::disk::{Failed, Watch, WatchedDisk, lowercase};
use super::full::Want;
use super::log::OF_ANOTHER;
use super::pending::{self, Pending};
use super::pieces::LongTable;

/// The file in the hub's folder.
pub(crate) const FILE: &str = "store.redb";

/// The file while it is made.
const NEW: &str = "store.redb.new";

/// How often the file alone was changed.
const FORMAT_OF_THE_FILE: u64 = 1;

/// The format of the file: its tables, and what is in them. A hub does not start on one that it does not know. It grows with
/// that of operations and rows.
const FORMAT: u64 = foundation::FORMAT + FORMAT_OF_THE_FILE;

/// The rows of all tables of the hub: the number of the table, then the key.
const ROWS: LongTable = LongTable::new("rows", "pieces of rows");

/// What the file says about itself.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// In [`META`]: the [`FORMAT`], as a u64 in little-endian order.
const META_FORMAT: &str = "format";

/// In [`META`]: the position that the rows reach, as a u64 in little-endian order.
const META_POS: &str = "pos";

/// In [`META`]: the history that the operations belong to.
const META_HISTORY: &str = "history";

/// What redb keeps of the file in memory, in bytes. The hub has its values in memory itself and reads little; a
/// transaction of more than half of it is written in parts.
const CACHE_BYTES: usize = 64 << 20;

/// What of a file that is made is written together, in bytes: it is in memory twice.
const FED_BYTES_MAX: usize = 8 << 20;

/// Takes rows that are to be in a file that is made, and keys of rows that are not to be there after all.
pub(crate) type Feed<'a> = dyn FnMut(Vec<(RowKey, RowChange)>) -> Result<(), Unusable> + 'a;

/// Why the file cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is not what a hub has written.
    Corrupt(String),
    /// Another version of the program has written it.
    Format(String),
    /// The operating system refused.
    Io(Failed),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Corrupt(text) | Unusable::Format(text) => f.write_str(text),
            Unusable::Io(failed) => failed.fmt(f),
        }
    }
}

impl From<Failed> for Unusable {
    fn from(failed: Failed) -> Unusable {
        Unusable::Io(failed)
    }
}

impl From<StorageError> for Unusable {
    fn from(error: StorageError) -> Unusable {
        match error {
            // What redb says of a file that is too short, or does not begin like one of its own.
            StorageError::Io(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                damaged(&error)
            }
            StorageError::Io(error) => Unusable::Io(Failed { tried: USING, error }),
            StorageError::Corrupted(text) => damaged(&text),
            other => unexpected(other),
        }
    }
}

impl From<DatabaseError> for Unusable {
    fn from(error: DatabaseError) -> Unusable {
        match error {
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(format) => {
                Unusable::Format(format!("it is written in version {format} of redb's format"))
            }
            other => unexpected(other),
        }
    }
}

impl From<TransactionError> for Unusable {
    fn from(error: TransactionError) -> Unusable {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => unexpected(other),
        }
    }
}

impl From<TableError> for Unusable {
    fn from(error: TableError) -> Unusable {
        match error {
            TableError::Storage(error) => error.into(),
            other => damaged(&other),
        }
    }
}

impl From<CommitError> for Unusable {
    fn from(error: CommitError) -> Unusable {
        match error {
            CommitError::Storage(error) => error.into(),
            other => unexpected(other),
        }
    }
}

impl From<CompactionError> for Unusable {
    fn from(error: CompactionError) -> Unusable {
        match error {
            CompactionError::Storage(error) => error.into(),
            other => unexpected(other),
        }
    }
}

/// What redb says of a file that is not what it has written.
fn damaged(text: &dyn fmt::Display) -> Unusable {
    let text = lowercase(&text.to_string());
    Unusable::Corrupt(format!("redb says `{text}`; put a copy of it back, or start with another folder"))
}

/// What was tried when only redb knows.
const USING: &str = "using";

/// What redb says when it is not used as it wants to be, or of an error that was told before.
fn unexpected(error: impl fmt::Display) -> Unusable {
    Unusable::Io(Failed { tried: USING, error: io::Error::other(lowercase(&error.to_string())) })
}

/// Why something was not written or read.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is no room. The file must be opened again, and may then hold what was to be written, or not.
    Full(Want),
    /// Nothing can be relied on any more.
    Grave(Unusable),
}

impl Fault {
    /// What an error means on a disk with which that went wrong.
    pub(super) fn of(error: Unusable, watch: &Watch) -> Fault {
        let error = because(error, watch);
        match &error {
            // Not a sync: what waits for room would sync again.
            Unusable::Io(failed) if !watch.sync_failed() => {
                Want::of(&failed.error).map_or(Fault::Grave(error), Fault::Full)
            }
            _ => Fault::Grave(error),
        }
    }
}

/// An error with what the disk itself had said, if it has failed.
fn because(error: Unusable, watch: &Watch) -> Unusable {
    match watch.failed() {
        // Read beyond its end a file is too short.
        Some(failed) if failed.error.kind() != io::ErrorKind::UnexpectedEof => Unusable::Io(failed),
        _ => error,
    }
}

/// The file while it is open.
#[derive(Debug)]
pub(super) struct StoreFile {
    database: Database,
    watch: Watch,
}

impl StoreFile {
    /// Whether there is a file. One that is empty is none of a hub.
    pub(super) fn is_there(disk: &WatchedDisk) -> Result<bool, Unusable> {
        match disk.open(FILE) {
            Err(failed) if failed.error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(failed) => Err(failed.into()),
            // It was made with something in it: all that was kept is gone.
            Ok(file) if file.is_empty()? => Err(Unusable::Corrupt(
                "it is empty, and all that was kept is gone; put a copy of it back, or start with another folder"
                    .into(),
            )),
            Ok(_) => Ok(true),
        }
    }

    /// Makes the file: wholly or not at all, and durably.
    pub(super) fn make(disk: &WatchedDisk, history: [u8; 16]) -> Result<(), Unusable> {
        // Left by a start that did not come to its end: nothing is in it.
        disk.remove(NEW)?;
        let made = StoreFile::try_open(disk, NEW, history).and_then(|(file, _)| file.close());
        let renamed = made.and_then(|()| Ok(disk.rename(NEW, FILE)?));
        if renamed.is_err() {
            let _ = disk.remove(NEW);
        }
        renamed.map_err(|error| because(error, disk.watch()))
    }

    /// Opens what is on the disk, repairs what a crash has left, and checks every byte that is in use. What is empty
    /// becomes a store of this history. Says which position the rows reach.
    pub(super) fn open(disk: &WatchedDisk, history: [u8; 16]) -> Result<(StoreFile, u64), Unusable> {
        StoreFile::try_open(disk, FILE, history).map_err(|error| because(error, disk.watch()))
    }

    fn try_open(disk: &WatchedDisk, name: &str, history: [u8; 16]) -> Result<(StoreFile, u64), Unusable> {
        let (watched, watch) = disk.open_for_redb(name)?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let mut file = StoreFile { database: builder.create_with_backend(watched)?, watch };
        if !file.is_begun()? {
            file.begin(history)?;
        }
        let reach = file.check(history)?;
        Ok((file, reach))
    }

    /// Makes the file as [`make`](StoreFile::make) does, with rows that reach a position; `feed` gives them, in parts.
    pub(super) fn make_of(
        disk: &WatchedDisk,
        history: [u8; 16],
        pos: u64,
        feed: impl FnOnce(&mut Feed<'_>) -> Result<(), Unusable>,
    ) -> Result<(), Unusable> {
        disk.remove(NEW)?;
        let made = || -> Result<(), Unusable> {
            let (file, _) = StoreFile::try_open(disk, NEW, history)?;
            let mut waiting = Pending::default();
            feed(&mut |rows| {
                waiting.add(pos, rows);
                if waiting.bytes() > FED_BYTES_MAX {
                    file.try_write(&std::mem::take(&mut waiting))?;
                }
                Ok(())
            })?;
            waiting.add(pos, Vec::new());
            file.try_write(&waiting)?;
            file.close()?;
            Ok(disk.rename(NEW, FILE)?)
        };
        let made = made();
        if made.is_err() {
            let _ = disk.remove(NEW);
        }
        made.map_err(|error| because(error, disk.watch()))
    }

    /// Closes it, so that it is opened sooner the next time, and gives back what it does not need. After an error what was
    /// written before is as durable as it was.
    pub(super) fn close(self) -> Result<(), Unusable> {
        let StoreFile { database, watch } = self;
        database.close().map_err(|error| because(error.into(), &watch))
    }

    /// How much of the room that it takes on the disk holds nothing, in bytes. Looks at every page.
    pub(super) fn spare(&self, room: u64) -> Result<u64, Unusable> {
        let transaction = self.database.begin_write()?;
        let stats = transaction.stats()?;
        transaction.abort()?;
        let held = stats.allocated_pages() * stats.page_size() as u64;
        Ok(room.saturating_sub(held))
    }

    /// Moves what is kept together, and gives the rest of the room back: a transaction for each step, so that nothing is
    /// lost whenever it is interrupted.
    pub(super) fn compact(mut self) -> Result<StoreFile, Unusable> {
        match self.database.compact() {
            Ok(_) => Ok(self),
            Err(error) => Err(because(error.into(), &self.watch)),
        }
    }

    fn is_begun(&self) -> Result<bool, Unusable> {
        Ok(self.database.begin_read()?.list_tables()?.next().is_some())
    }

    fn begin(&mut self, history: [u8; 16]) -> Result<(), Unusable> {
        let transaction = self.database.begin_write()?;
        {
            ROWS.write(&transaction)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_FORMAT, &FORMAT.to_le_bytes()[..])?;
            meta.insert(META_POS, &0_u64.to_le_bytes()[..])?;
            meta.insert(META_HISTORY, &history[..])?;
        }
        Ok(transaction.commit()?)
    }

    /// The number of its format, and the tables in it.
    #[cfg(test)]
    pub(super) fn form(&self) -> (u64, Vec<String>) {
        let transaction = self.database.begin_read().unwrap();
        let tables = transaction.list_tables().unwrap();
        let mut names: Vec<String> = tables.map(|table| redb::TableHandle::name(&table).to_owned()).collect();
        names.sort();
        (FORMAT, names)
    }

    #[cfg(test)]
    pub(super) fn set_format(disk: impl super::disk::Disk + 'static, format: u64) {
        let (backend, _) = WatchedDisk::new(Box::new(disk)).open_for_redb(FILE).unwrap();
        let transaction = Database::builder().create_with_backend(backend).unwrap().begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(META_FORMAT, &format.to_le_bytes()[..]).unwrap();
        transaction.commit().unwrap();
    }

    /// Whether this is a store of this history, and whole.
    fn check(&self, history: [u8; 16]) -> Result<u64, Unusable> {
        let transaction = self.database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let number = |key: &str| -> Result<u64, Unusable> {
            let found = meta.get(key)?.map(|value| <[u8; 8]>::try_from(value.value()));
            match found {
                Some(Ok(bytes)) => Ok(u64::from_le_bytes(bytes)),
                _ => Err(Unusable::Corrupt(format!("it has no {key}"))),
            }
        };
        let format = number(META_FORMAT)?;
        if format != FORMAT {
            return Err(other_format(format));
        }
        if meta.get(META_HISTORY)?.is_none_or(|found| found.value() != history) {
            return Err(Unusable::Corrupt(OF_ANOTHER.into()));
        }
        number(META_POS)
    }

    /// Writes rows in one transaction that is durable when this returns. After an error the file must not be used any more.
    pub(super) fn write(&self, rows: &Pending) -> Result<(), Fault> {
        self.try_write(rows).map_err(|error| Fault::of(error, &self.watch))
    }

    fn try_write(&self, pending: &Pending) -> Result<(), Unusable> {
        let Some(pos) = pending.pos() else { return Ok(()) };
        let transaction = self.database.begin_write()?;
        {
            let mut rows = ROWS.write(&transaction)?;
            let mut key = Vec::new();
            for (row_key, row) in pending.from(&RowKey { table: 0, key: Bytes::new() }) {
                flatten(row_key.table, &row_key.key, &mut key);
                match row {
                    Some(row) => rows.put(&key, row)?,
                    None => rows.remove(&key)?,
                }
            }
            transaction.open_table(META)?.insert(META_POS, &pos.to_le_bytes()[..])?;
        }
        Ok(transaction.commit()?)
    }

    /// The rows as they are now, whatever is written behind it. Room that is given back meanwhile is not used again until it
    /// is dropped.
    pub(super) fn moment(&self) -> Result<Moment, Unusable> {
        let transaction = self.database.begin_read().map_err(|error| because(error.into(), &self.watch))?;
        Ok(Moment { transaction, watch: self.watch.clone() })
    }

    /// [`Moment::rows`] of this moment.
    pub(super) fn rows(
        &self,
        from: &RowKey,
        writing: Option<&Pending>,
        gathering: &Pending,
        each: impl FnMut(RowKey, Bytes) -> bool,
    ) -> Result<(), Unusable> {
        self.moment()?.rows(from, writing, gathering, each)
    }
}

/// The rows of one moment.
pub(super) struct Moment {
    transaction: ReadTransaction,
    watch: Watch,
}

impl Moment {
    /// Gives rows in the order of their keys, from this key on, until `each` has had enough: those on disk under those
    /// that are being written, and these under those that are to be.
    pub(super) fn rows(
        &self,
        from: &RowKey,
        writing: Option<&Pending>,
        gathering: &Pending,
        mut each: impl FnMut(RowKey, Bytes) -> bool,
    ) -> Result<(), Unusable> {
        let mut read = || -> Result<(), Unusable> {
            let rows = ROWS.read(&self.transaction)?;
            let mut start = Vec::new();
            flatten(from.table, &from.key, &mut start);
            let mut newer = pending::newest(writing, gathering, from).peekable();
            for found in rows.from(&start)? {
                let row = found?;
                let key = key_of(row.key())?;
                while let Some((before, newest)) = newer.next_if(|(newer, _)| **newer < key) {
                    if newest.is_some_and(|row| !each(before.clone(), row.clone())) {
                        return Ok(());
                    }
                }
                let row = match newer.next_if(|(newer, _)| **newer == key) {
                    Some((_, newest)) => newest.cloned(),
                    None => Some(row.whole()?),
                };
                if row.is_some_and(|row| !each(key, row)) {
                    return Ok(());
                }
            }
            for (key, newest) in newer {
                if newest.is_some_and(|row| !each(key.clone(), row.clone())) {
                    return Ok(());
                }
            }
            Ok(())
        };
        read().map_err(|error| because(error, &self.watch))
    }
}

/// A row's key in [`ROWS`], whose order is that of [`RowKey`].
fn flatten(table: u8, key: &[u8], into: &mut Vec<u8>) {
    into.clear();
    into.push(table);
    into.extend_from_slice(key);
}

/// The position that rows reach of which [`META`] says this; `None` if that is lost.
///
/// # Errors
///
/// They are of another format or history.
pub(super) fn reach_in(meta: &BTreeMap<Vec<u8>, Bytes>, history: [u8; 16]) -> Result<Option<u64>, Unusable> {
    let number =
        |key: &str| meta.get(key.as_bytes()).and_then(|said| said.first_chunk()).copied().map(u64::from_le_bytes);
    if let Some(format) = number(META_FORMAT).filter(|format| *format != FORMAT) {
        return Err(other_format(format));
    }
    match meta.get(META_HISTORY.as_bytes()) {
        Some(found) if **found != history => Err(Unusable::Corrupt(OF_ANOTHER.into())),
        _ => Ok(number(META_POS)),
    }
}

fn other_format(format: u64) -> Unusable {
    Unusable::Format(format!("its format is {format}, and this program knows {FORMAT}; use the program that wrote it"))
}

/// What a key in [`ROWS`] is the key of.
pub(super) fn key_of(key: &[u8]) -> Result<RowKey, Unusable> {
    match key.split_first() {
        Some((table, key)) => Ok(RowKey { table: *table, key: Bytes::copy_from_slice(key) }),
        None => Err(Unusable::Corrupt("a row has no table".into())),
    }
}
