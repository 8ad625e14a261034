//! The file of a backup: written whole or not at all, and read.

use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use convoke_core::foundation::RowKey;

use super::{StoreFolder, StoreProgress, StoreReport, damaged, stopped, verify::told};
use crate::error::Error;
use crate::hub::{folder, wall_ms};
use crate::store::backup::{self, Encoder, Heading, Size};
use crate::store::whole::Looked;
use crate::store::{Unusable, refuse};

/// What is read of a backup at a time, in bytes.
const READ_BYTES: usize = 256 << 10;

impl StoreFolder {
    /// Writes a backup of all that is kept into a file that is not there yet: what
    /// [`verify`](StoreFolder::verify) looks through, as of the last operation. It is there, whole and durable, when this
    /// returns, and not at all after an error. Only its owner can read it, since keys of tokens are in it; the admin token and
    /// what is in the folder `tls` are not.
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
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    beside: PathBuf,
    file: Option<File>,
}

impl Target {
    pub(crate) fn create(path: &Path) -> Result<Target, Error> {
        let not_there = || match path.symlink_metadata() {
            Ok(_) => {
                let text = "it is there already, and a backup never takes the place of anything; give another name";
                Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        not_there().map_err(|error| writing(path, error))?;
        let mut beside = PathBuf::from(path);
        beside.as_mut_os_string().push(format!(".{}.part", std::process::id()));
        let mut options = File::options();
        options.create(true).read(true).write(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&beside).map_err(|error| writing(path, error))?;
        Ok(Target { path: path.to_owned(), beside, file: Some(file) })
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        let file = self.file.as_mut().expect("it is open until it is finished");
        file.write_all(piece).map_err(|error| writing(&self.path, error))
    }

    /// Reads it once more, and puts it in its place.
    pub(crate) fn finish(mut self, progress: &mut StoreProgress<'_>) -> Result<StoreReport, Error> {
        let file = self.file.take().expect("it is open until it is finished");
        file.sync_all().map_err(|error| writing(&self.path, error))?;
        drop(file);
        let report = StoreReport::of_backup_file(&self.beside, progress)?;
        let renamed = fs::rename(&self.beside, &self.path);
        let folder = self.path.parent().unwrap_or(Path::new("."));
        renamed.and_then(|()| folder::sync(folder)).map_err(|error| writing(&self.path, error))?;
        Ok(report)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It is there no more when it was finished.
        let _ = fs::remove_file(&self.beside);
    }
}

fn writing(path: &Path, error: io::Error) -> Error {
    Error::io(format!("writing backup `{}`", path.display()), error)
}

/// Reads a backup: gives the rows to `each`, which says whether to go on.
pub(super) fn read(
    path: &Path,
    mut each: impl FnMut(&Heading, RowKey, Bytes) -> bool,
) -> Result<(Heading, Size), Error> {
    let shown = format!("backup `{}`", path.display());
    let file = File::open(path).map_err(|error| Error::io(format!("opening {shown}"), error))?;
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
