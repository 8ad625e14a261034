//! The file of a backup: written whole or not at all, and read.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use convoke_core::foundation::RowKey;

use super::{StoreFolder, StoreProgress, StoreReport, damaged, stopped, verify::told};
use crate::error::Error;
use crate::files::{advised, for_its_owner, sync_names};
use crate::hub::wall_ms;
use crate::store::backup::{self, Encoder, Heading, Size};
use crate::store::whole::Looked;
use crate::store::{Unusable, refuse};

/// What is behind the name of a backup while it is written.
const BESIDE: &str = ".unfinished";

/// How often it is tried to be the one who writes a backup. Whoever is faster has it, so that two are enough unless somebody
/// takes it away each time.
const TRIES_MAX: usize = 8;

/// What is read of a backup at a time, in bytes.
const READ_BYTES: usize = 256 << 10;

impl StoreFolder {
    /// Writes a backup of all that is kept into a file that is not there yet: what [`verify`](StoreFolder::verify) looks
    /// through, as of the last operation. It is there, whole and durable, when this returns, and not at all after an error.
    /// Only its owner can read it, since keys of tokens are in it; the admin token and what is in the folder `tls` are not.
    ///
    /// # Errors
    ///
    /// Those of [`verify`](StoreFolder::verify): there is no backup of a damaged store. [`Error::Io`] of the kind
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is such a file.
    pub fn back_up(&self, to: impl AsRef<Path>, progress: &mut StoreProgress<'_>) -> Result<StoreReport, Error> {
        let to = to.as_ref();
        let mut target = Target::create(to)?;
        let identity = self.identity()?;
        let Looked { image, wrong, .. } = self.look(progress)?;
        if let Some(text) = told(&wrong) {
            return Err(damaged(format!("the store in `{}` is damaged: {text}", self.path.display())));
        }
        let mut encoder = Encoder::new(image, identity, wall_ms());
        let shown = format!("the store in `{}`", self.path.display());
        while let Some(piece) = encoder.next().map_err(|why| refuse(&shown, why))? {
            target.write(&piece)?;
            if !progress(piece.len() as u64) {
                return Err(stopped());
            }
        }
        target.finish(progress)
    }
}

/// A backup that is being written, under another name; it goes if it is not finished.
///
/// Its file is locked as long as somebody writes it. So whoever writes a backup of the same name next knows what another one
/// has left that was killed, and takes it away.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    beside: PathBuf,
    file: File,
}

impl Target {
    pub(crate) fn create(path: &Path) -> Result<Target, Error> {
        not_there(path).map_err(|error| writing(path, error))?;
        let mut beside = PathBuf::from(path);
        beside.as_mut_os_string().push(BESIDE);
        let mut options = for_its_owner();
        // Not by a link that somebody has put there.
        options.create_new(true).read(true);
        for _ in 0..TRIES_MAX {
            match options.open(&beside) {
                Ok(file) if holds(&file, &beside) => return Ok(Target { path: path.to_owned(), beside, file }),
                // It was taken away for something that was left, before it was locked.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    take_away(&beside).map_err(|error| writing(path, error))?;
                }
                Err(error) => return Err(writing(path, error)),
            }
        }
        let shown = beside.display();
        Err(Error::in_use(format!(
            "writing backup `{}`: another one is being written there, in `{shown}`; wait for it, or give another name",
            path.display()
        )))
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.file.write_all(piece).map_err(|error| writing(&self.path, error))
    }

    /// Reads it once more, and puts it in its place.
    pub(crate) fn finish(self, progress: &mut StoreProgress<'_>) -> Result<StoreReport, Error> {
        self.file.sync_all().map_err(|error| writing(&self.path, error))?;
        let report = StoreReport::of_backup_file(&self.beside, progress)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let placed = self.put_in_place().and_then(|()| sync_names(folder));
        placed.map_err(|error| writing(&self.path, error))?;
        Ok(report)
    }

    /// Gives it its name, unless something else has got that meanwhile.
    fn put_in_place(&self) -> io::Result<()> {
        match fs::hard_link(&self.beside, &self.path) {
            Ok(()) => fs::remove_file(&self.beside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
            // There are file systems without a second name for a file.
            Err(_) => not_there(&self.path).and_then(|()| fs::rename(&self.beside, &self.path)),
        }
    }
}

fn not_there(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(taken()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn taken() -> io::Error {
    let text = "it is there already, and a backup never takes the place of anything; give another name";
    io::Error::new(io::ErrorKind::AlreadyExists, text)
}

/// Locks a file, and says whether it still has its name then. Where nothing can be locked nobody takes anything away either.
fn holds(file: &File, path: &Path) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && is_same(file, path)
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_same(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Takes away what a backup has left that was killed, unless somebody writes it.
fn take_away(beside: &Path) -> io::Result<()> {
    match beside.symlink_metadata() {
        Ok(metadata) if !metadata.is_file() => return Err(in_the_way(beside)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    match File::open(beside) {
        Ok(left) if left.try_lock().is_ok() && is_same(&left, beside) => fs::remove_file(beside),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => Err(in_the_way(beside)),
    }
}

fn in_the_way(beside: &Path) -> io::Error {
    let text =
        format!("`{}` is in the way, which no backup has left; move it away, or give another name", beside.display());
    io::Error::new(io::ErrorKind::AlreadyExists, text)
}

impl Drop for Target {
    fn drop(&mut self) {
        // It is there no more when it was finished, or another one's.
        if is_same(&self.file, &self.beside) {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

fn writing(path: &Path, error: io::Error) -> Error {
    Error::io(format!("writing backup `{}`", path.display()), advised(error))
}

/// Reads a backup: gives the rows to `each`, which says whether to go on.
pub(super) fn read(
    path: &Path,
    mut each: impl FnMut(&Heading, RowKey, Bytes) -> bool,
) -> Result<(Heading, Size), Error> {
    let shown = format!("backup `{}`", path.display());
    let opened = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, and a backup is one file")),
        false => Ok(file),
    });
    let file = opened.map_err(|error| Error::io(format!("opening {shown}"), advised(error)))?;
    let mut goes_on = true;
    let read = backup::read(BufReader::with_capacity(READ_BYTES, file), |heading, key, row| {
        goes_on = goes_on && each(heading, key, row);
        match goes_on {
            true => Ok(()),
            false => Err(Unusable::Corrupt("it was stopped".into())),
        }
    });
    let refused = |why| match why {
        Unusable::Corrupt(text) => damaged(format!("{shown} is damaged: {text}")),
        other => refuse(&shown, other),
    };
    if goes_on { read.map_err(refused) } else { Err(stopped()) }
}
