//! Where the bytes of the store are: the files of a folder, or what a test puts in their place.
//!
//! redb reads and writes through [`Watched`], which remembers what redb does not tell: what was tried when it failed, and
//! that it was a sync. The log uses [`LogFile`]. After a sync has failed nothing is written any more, by either.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::reserve::{self, Reserve};

/// A folder: what a store needs of one. Its files can be opened again and again, and hold each time what was left in them.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// The names of the files in it.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// Opens a new file, or one that was there without what was in it.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// Gives a file another name, and takes it from whatever had that.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    fn sync_names(&self) -> io::Result<()>;

    /// How much room a file takes, in bytes: what was never written takes none.
    fn room(&self, name: &str) -> io::Result<u64>;

    /// How much room is set aside, in bytes.
    fn reserve(&self) -> u64;

    /// Gives up so many bytes of the room that was set aside, or what is left. False if nothing is.
    fn give_up_reserve(&self, bytes: u64) -> bool;

    /// Sets room aside again; up to what there `was`, in bytes, also the last room on the disk. False if some is missing.
    fn refill_reserve(&self, was: u64) -> bool;
}

/// A folder of the system.
#[derive(Debug)]
pub(super) struct FileDisk(PathBuf);

impl FileDisk {
    pub(super) fn of(folder: &Path) -> FileDisk {
        // A name alone is one in the current folder.
        FileDisk(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
    }

    fn open_with(&self, name: &str, options: &mut fs::OpenOptions) -> io::Result<Box<dyn StorageBackend>> {
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
        let file = options.read(true).write(true).open(self.0.join(name))?;
        let backend = FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(backend))
    }
}

impl Disk for FileDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            // A name that is no text is not one of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.open_with(name, &mut File::options())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.open_with(name, File::options().create(true).truncate(true))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    #[cfg(unix)]
    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    /// A folder cannot be opened there; its file system makes names durable in their order.
    #[cfg(not(unix))]
    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn room(&self, name: &str) -> io::Result<u64> {
        let metadata = fs::metadata(self.0.join(name))?;
        #[cfg(unix)]
        return Ok(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512);
        #[cfg(not(unix))]
        Ok(metadata.len())
    }

    fn reserve(&self) -> u64 {
        Reserve::of(&self.0).length()
    }

    fn give_up_reserve(&self, bytes: u64) -> bool {
        Reserve::of(&self.0).give_up(bytes, reserve::LAST)
    }

    fn refill_reserve(&self, was: u64) -> bool {
        Reserve::of(&self.0).refill(was)
    }
}

/// The system's words for an error, as part of a sentence.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    lowercase(text.split(" (os error").next().unwrap_or(&text))
}

/// Somebody else's sentence, as part of one of ours.
pub(super) fn lowercase(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_lowercase).collect();
    match chars.as_str().starts_with(char::is_lowercase) {
        true => first + chars.as_str(),
        // An abbreviation stays one.
        false => text.to_owned(),
    }
}

/// What a disk would not do.
#[derive(Debug)]
pub(crate) struct Failed {
    /// As in "writing `store.redb`".
    pub(super) tried: &'static str,
    pub(super) error: io::Error,
}

impl Failed {
    pub(super) fn new(tried: &'static str) -> impl FnOnce(io::Error) -> Failed {
        move |error| Failed { tried, error }
    }

    /// What it was to make durable may be gone.
    pub(super) fn is_of_a_sync(&self) -> bool {
        self.tried == SYNCING
    }

    fn copy(&self) -> Failed {
        Failed { tried: self.tried, error: copy(&self.error) }
    }
}

fn copy(error: &io::Error) -> io::Error {
    let others = || io::Error::new(error.kind(), error.to_string());
    error.raw_os_error().map_or_else(others, io::Error::from_raw_os_error)
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} it failed: {}", self.tried, words(&self.error))
    }
}

/// How a sync that failed is called.
const SYNCING: &str = "syncing";

/// How a write that failed is called.
const WRITING: &str = "writing";

/// A disk, and what went wrong with it.
#[derive(Debug)]
pub(super) struct WatchedDisk {
    disk: Box<dyn Disk>,
    watch: Watch,
    /// Held while the reserve is changed: by the log's thread, or by the one beside it.
    reserve: Mutex<()>,
}

impl WatchedDisk {
    pub(super) fn new(disk: Box<dyn Disk>) -> WatchedDisk {
        WatchedDisk { disk, watch: Watch::default(), reserve: Mutex::new(()) }
    }

    /// Opens a file for redb, which is made if it is not there; with a fresh memory of what went wrong, unless a sync has
    /// ever failed: then never again.
    pub(super) fn open_for_redb(&self, name: &str) -> Result<(Watched, Watch), Failed> {
        self.watch.refuse()?;
        self.watch.lock().take();
        let backend = match self.disk.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk.create(name),
            opened => opened,
        };
        let backend = backend.map_err(Failed::new("opening"))?;
        Ok((Watched { backend, watch: self.watch.clone() }, self.watch.clone()))
    }

    /// Opens a file of the log that is there.
    pub(super) fn open(&self, name: &str) -> Result<LogFile, Failed> {
        let backend = self.disk.open(name).map_err(Failed::new("opening"))?;
        Ok(LogFile { backend, watch: self.watch.clone() })
    }

    /// Makes a file of the log, empty.
    pub(super) fn create(&self, name: &str) -> Result<LogFile, Failed> {
        self.watch.refuse()?;
        let backend = self.disk.create(name).map_err(Failed::new("making"))?;
        Ok(LogFile { backend, watch: self.watch.clone() })
    }

    /// Gives a file another name, durably.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Failed> {
        self.watch.refuse()?;
        self.disk.rename(from, to).map_err(Failed::new("renaming"))?;
        self.sync_names()
    }

    /// Gives a file another name, which a power cut may undo.
    pub(super) fn rename_for_now(&self, from: &str, to: &str) -> Result<(), Failed> {
        self.watch.refuse()?;
        self.disk.rename(from, to).map_err(Failed::new("renaming"))
    }

    fn sync_names(&self) -> Result<(), Failed> {
        self.watch.note(SYNCING, self.disk.sync_names()).map_err(Failed::new(SYNCING))
    }

    /// Removes a file, if it is there; a power cut may undo it.
    pub(super) fn remove(&self, name: &str) -> Result<(), Failed> {
        self.watch.refuse()?;
        match self.disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failed::new("removing")(error)),
            _ => Ok(()),
        }
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Result<Vec<String>, Failed> {
        self.disk.names().map_err(Failed::new("looking through"))
    }

    /// How much room a file takes, in bytes.
    pub(super) fn room(&self, name: &str) -> Result<u64, Failed> {
        self.disk.room(name).map_err(Failed::new("looking at"))
    }

    /// Gives up so many bytes of the room that was set aside, or what is left. False if nothing is.
    pub(super) fn give_up_reserve(&self, bytes: u64) -> bool {
        let _one_at_a_time = self.reserve.lock().expect("nothing in it panics");
        self.disk.give_up_reserve(bytes)
    }

    /// Sets room aside again; up to what there `was`, in bytes, also the last room on the disk. False if some is missing.
    pub(super) fn refill_reserve(&self, was: u64) -> bool {
        let _one_at_a_time = self.reserve.lock().expect("nothing in it panics");
        self.disk.refill_reserve(was)
    }

    /// How much room is set aside, in bytes.
    pub(super) fn reserve(&self) -> u64 {
        self.disk.reserve()
    }

    /// What went wrong.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// What went wrong last since redb's file was opened; redb tries nothing more behind that. But a sync that failed stays,
/// whose ever it was: what it was to make durable may be gone, and a second sync would not say so.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Mutex<Option<Failed>>>);

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Option<Failed>> {
        self.0.lock().expect("nothing in it panics")
    }

    pub(super) fn failed(&self) -> Option<Failed> {
        self.lock().as_ref().map(Failed::copy)
    }

    pub(super) fn sync_failed(&self) -> bool {
        self.lock().as_ref().is_some_and(Failed::is_of_a_sync)
    }

    /// After a sync has failed, that.
    fn refuse(&self) -> Result<(), Failed> {
        match &*self.lock() {
            Some(failed) if failed.is_of_a_sync() => Err(failed.copy()),
            _ => Ok(()),
        }
    }

    fn note<T>(&self, tried: &'static str, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done {
            let mut failed = self.lock();
            if failed.as_ref().is_none_or(|failed| !failed.is_of_a_sync()) {
                *failed = Some(Failed { tried, error: copy(error) });
            }
        }
        done
    }

    /// Changes something, unless a sync has failed.
    fn change<T>(&self, tried: &'static str, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.refuse().map_err(|failed| failed.error)?;
        self.note(tried, change())
    }
}

/// A file of the log that is open.
#[derive(Debug)]
pub(super) struct LogFile {
    backend: Box<dyn StorageBackend>,
    watch: Watch,
}

impl LogFile {
    /// All that is in it.
    pub(super) fn whole(&self) -> Result<Vec<u8>, Failed> {
        let length = self.backend.len().map_err(Failed::new("looking at"))?;
        let length = usize::try_from(length).map_err(|error| Failed::new("reading")(io::Error::other(error)))?;
        let mut bytes = vec![0; length];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn is_empty(&self) -> Result<bool, Failed> {
        Ok(self.backend.len().map_err(Failed::new("looking at"))? == 0)
    }

    /// What is in it from there on.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Failed> {
        self.backend.read(offset, out).map_err(Failed::new("reading"))
    }

    /// Writes in one piece. After an error some of it may be there, from its front on.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Failed> {
        self.watch.refuse()?;
        self.backend.write(offset, bytes).map_err(Failed::new(WRITING))
    }

    /// Makes durable what was written.
    pub(super) fn sync(&self) -> Result<(), Failed> {
        self.watch.change(SYNCING, || self.backend.sync_data()).map_err(Failed::new(SYNCING))
    }
}

/// A file of redb that is open. It holds no lock on it: the hub holds one on the folder.
#[derive(Debug)]
pub(super) struct Watched {
    backend: Box<dyn StorageBackend>,
    watch: Watch,
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.watch.note("looking at", self.backend.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.watch.note("reading", self.backend.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch.change("changing the length of", || self.backend.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.change(SYNCING, || self.backend.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.watch.change(WRITING, || self.backend.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.watch.note("closing", self.backend.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_becomes_part_of_a_sentence() {
        assert_eq!(words(&io::Error::from_raw_os_error(5)), words(&io::Error::other("Input/output error.")));
        let said = ["Not a redb database: no", "I/O error.", "DB is locked", "é", ""].map(lowercase);
        assert_eq!(said, ["not a redb database: no", "I/O error", "DB is locked", "é", ""]);
    }
}
