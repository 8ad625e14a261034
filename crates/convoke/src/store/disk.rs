//! Where the bytes of the store are: a file, or what a test puts in its place.
//!
//! redb reads and writes through [`Watched`], which knows more than redb tells: that what has failed was a sync.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// Something that can be opened again and again, one at a time, and holds each time what was left in it.
pub(crate) trait Disk: fmt::Debug + Send {
    /// Opens it.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// How much room it takes, in bytes: what was never written takes none.
    fn room(&self) -> io::Result<u64>;
}

/// A file, made if it is not there.
#[derive(Debug)]
pub(super) struct FileDisk(pub(super) PathBuf);

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
}

/// There is no room for more, which passes.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// A disk that is open. It holds no lock on the file: the hub holds one on the folder.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) backend: Box<dyn StorageBackend>,
    /// A sync failed, for whatever reason: what it was to make durable may be gone, and a second one would not say so.
    pub(super) sync_failed: Arc<AtomicBool>,
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.sync_data().inspect_err(|_| self.sync_failed.store(true, Ordering::Relaxed))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }
}
