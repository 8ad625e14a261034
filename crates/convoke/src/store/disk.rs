//! Where the bytes of the store are: a file, or what a test puts in its place.
//!
//! redb reads and writes through [`Watched`], which remembers what redb does not tell: what was tried when it failed, and
//! that it was a sync.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::reserve::{self, Reserve};

/// Something that can be opened again and again, one at a time, and holds each time what was left in it.
pub(crate) trait Disk: fmt::Debug + Send {
    /// Opens it.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// How much room it takes, in bytes: what was never written takes none.
    fn room(&self) -> io::Result<u64>;

    /// How much room is set aside, in bytes.
    fn reserve(&self) -> u64;

    /// Gives up so many bytes of the room that was set aside, or what is left. False if nothing is.
    fn give_up_reserve(&self, bytes: u64) -> bool;

    /// Sets room aside again; up to what there `was`, in bytes, also the last room on the disk. False if some is missing.
    fn refill_reserve(&self, was: u64) -> bool;
}

/// A file, made if it is not there.
#[derive(Debug)]
pub(super) struct FileDisk(pub(super) PathBuf);

impl FileDisk {
    /// The reserve beside the file.
    fn beside(&self) -> Option<Reserve> {
        self.0.parent().map(Reserve::of)
    }
}

impl Disk for FileDisk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let backend = FileBackend::new(options.open(&self.0)?).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(backend))
    }

    fn room(&self) -> io::Result<u64> {
        let metadata = std::fs::metadata(&self.0)?;
        #[cfg(unix)]
        return Ok(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512);
        #[cfg(not(unix))]
        Ok(metadata.len())
    }

    fn reserve(&self) -> u64 {
        self.beside().map_or(0, |reserve| reserve.length())
    }

    fn give_up_reserve(&self, bytes: u64) -> bool {
        self.beside().is_some_and(|reserve| reserve.give_up(bytes, reserve::LAST))
    }

    fn refill_reserve(&self, was: u64) -> bool {
        self.beside().is_none_or(|reserve| reserve.refill(was))
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
pub(super) struct Failed {
    /// As in "writing `store.redb`".
    pub(super) tried: &'static str,
    pub(super) error: io::Error,
}

impl Failed {
    pub(super) fn new(tried: &'static str) -> impl FnOnce(io::Error) -> Failed {
        move |error| Failed { tried, error }
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

/// A disk, and what went wrong with it.
#[derive(Debug)]
pub(super) struct WatchedDisk {
    disk: Box<dyn Disk>,
    watch: Watch,
}

impl WatchedDisk {
    pub(super) fn new(disk: Box<dyn Disk>) -> WatchedDisk {
        WatchedDisk { disk, watch: Watch::default() }
    }

    /// Opens it; with a fresh memory of what went wrong, unless a sync has ever failed: then never again.
    pub(super) fn open(&self) -> Result<(Watched, Watch), Failed> {
        if self.watch.sync_failed() {
            return Err(self.watch.failed().expect("it was the sync"));
        }
        self.watch.0.lock().expect("nothing in it panics").take();
        let backend = self.disk.open().map_err(Failed::new("opening"))?;
        Ok((Watched { backend, watch: self.watch.clone() }, self.watch.clone()))
    }

    /// How much room it takes, in bytes.
    pub(super) fn room(&self) -> Result<u64, Failed> {
        self.disk.room().map_err(Failed::new("looking at"))
    }

    /// Gives up so many bytes of the room that was set aside, or what is left. False if nothing is.
    pub(super) fn give_up_reserve(&self, bytes: u64) -> bool {
        self.disk.give_up_reserve(bytes)
    }

    /// Sets room aside again; up to what there `was`, in bytes, also the last room on the disk. False if some is missing.
    pub(super) fn refill_reserve(&self, was: u64) -> bool {
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

/// What went wrong last since a disk was opened; redb tries nothing more behind that. But a sync that failed stays: what it
/// was to make durable may be gone, and a second sync would not say so.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Mutex<Option<Failed>>>);

impl Watch {
    pub(super) fn failed(&self) -> Option<Failed> {
        self.0.lock().expect("nothing in it panics").as_ref().map(Failed::copy)
    }

    pub(super) fn sync_failed(&self) -> bool {
        self.0.lock().expect("nothing in it panics").as_ref().is_some_and(|failed| failed.tried == SYNCING)
    }

    fn note<T>(&self, tried: &'static str, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done {
            let mut failed = self.0.lock().expect("nothing in it panics");
            if failed.as_ref().is_none_or(|failed| failed.tried != SYNCING) {
                *failed = Some(Failed { tried, error: copy(error) });
            }
        }
        done
    }
}

/// A disk that is open. It holds no lock on the file: the hub holds one on the folder.
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
        self.watch.note("changing the length of", self.backend.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.note(SYNCING, self.backend.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.watch.note("writing", self.backend.write(offset, data))
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
