//! What a hub has kept, while no hub runs on it: looked through, backed up, put back, repaired, made smaller.

mod compact;
mod file;
mod repair;
mod restore;
mod verify;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use convoke_core::foundation::Amount;
use convoke_core::{Code, HubIdentity, Refusal};

use crate::error::Error;
use crate::hub::folder;
use crate::store::backup::{Heading, Size};
pub(crate) use file::Target;
pub use repair::StoreRepair;

/// Is told from time to time how many bytes more were looked at or written, and says whether to go on. Called by the thread
/// that asked; what it takes, the work takes longer.
pub type StoreProgress<'a> = dyn FnMut(u64) -> bool + Send + 'a;

/// What is in a store, or in a backup of one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreReport {
    /// The id of the hub, in hexadecimal digits.
    pub hub: String,
    /// The id of its history, in hexadecimal digits: another one after each restore and repair.
    pub history: String,
    /// The position of the last operation that is kept.
    pub position: u64,
    /// Values that are set.
    pub values: u64,
    /// Journals.
    pub journals: u64,
    /// Entries of all journals.
    pub entries: u64,
    /// Tokens that were made, and names of certificates that were let in; not the admin token.
    pub tokens: u64,
    /// What its files take, in bytes.
    pub bytes: u64,
    /// Segments of the write-ahead log; a backup has none.
    pub segments: Option<u64>,
    /// Of a backup: when it was made, in milliseconds since 1970.
    pub made_ms: Option<u64>,
    /// Of a backup: the SHA-256 of what is in it, in hexadecimal digits, as its end says it.
    pub sha256: Option<String>,
}

impl StoreReport {
    fn of_backup(heading: &Heading, amount: Amount, size: &Size) -> StoreReport {
        let Heading { identity, pos, made_ms } = *heading;
        StoreReport {
            bytes: size.bytes,
            segments: None,
            made_ms: Some(made_ms),
            sha256: Some(folder::hex(&size.sha256)),
            ..StoreReport::of(identity, pos, amount)
        }
    }

    fn of(identity: HubIdentity, position: u64, amount: Amount) -> StoreReport {
        let Amount { values, journals, entries, tokens } = amount;
        let HubIdentity { hub, history, .. } = identity;
        StoreReport {
            hub: folder::hex(&hub),
            history: folder::hex(&history),
            position,
            values,
            journals,
            entries,
            tokens,
            bytes: 0,
            segments: None,
            made_ms: None,
            sha256: None,
        }
    }
}

/// The folder of a hub that does not run. While it is held no hub starts on it.
///
/// All that is done with it reads the whole store, at some hundred megabytes a second, and waits for the disk: call it where
/// that harms nobody.
#[derive(Debug)]
pub struct StoreFolder {
    path: PathBuf,
    /// `None` where none has ever been locked.
    lock: Option<File>,
}

impl StoreFolder {
    /// Takes hold of a folder, without a change in it. Others may look at it at the same time.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if a hub runs on it; [`Error::Io`], of the kind [`NotFound`](io::ErrorKind::NotFound) if there is no
    /// such folder.
    pub fn open(path: impl Into<PathBuf>) -> Result<StoreFolder, Error> {
        let path = path.into();
        if !fs::metadata(&path).map_err(|error| cannot_open(&path, error))?.is_dir() {
            return Err(cannot_open(&path, io::ErrorKind::NotADirectory.into()));
        }
        let remedy = "stop it first; `convoke store backup` works while it runs";
        let lock = folder::lock_unchanged(&path, ("a hub", remedy))?;
        Ok(StoreFolder { path, lock })
    }

    /// Takes hold of it to change it, until what is given goes: nobody else looks at it then.
    fn alone(&self) -> Result<Option<File>, Error> {
        let said = ("a hub", "stop it first");
        match &self.lock {
            Some(lock) => folder::lock_alone(&self.path, lock, said).map(|()| None),
            None => folder::lock_to_change(&self.path, said).map(Some),
        }
    }

    /// Whether a hub runs on a folder now. A folder that is not there has none.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn is_in_use(path: impl AsRef<Path>) -> Result<bool, Error> {
        match folder::lock_unchanged(path.as_ref(), ("a hub", "stop it first")) {
            Ok(_) => Ok(false),
            Err(Error::InUse(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whose store is in it.
    fn identity(&self) -> Result<HubIdentity, Error> {
        folder::identity(&self.path)?.ok_or_else(|| {
            let text = "there is no store in it; name the folder of a hub with --data";
            cannot_open(&self.path, io::Error::new(io::ErrorKind::NotFound, text))
        })
    }

    /// The files of the store in it.
    fn files(&self) -> Result<Vec<String>, Error> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                names.extend(entry?.file_name().into_string().ok().filter(|name| is_of_a_store(name)));
            }
            names.sort();
            Ok(names)
        };
        list().map_err(|error| cannot_open(&self.path, error))
    }
}

/// Whether a file of a hub's folder belongs to its store.
fn is_of_a_store(name: &str) -> bool {
    // With what a write of them has left that was interrupted.
    [folder::FILE, crate::store::FILE, "log"].iter().any(|ours| {
        name.strip_prefix(ours).is_some_and(|rest| rest.starts_with('.') || rest.is_empty() && *ours != "log")
    })
}

fn cannot_open(path: &Path, error: io::Error) -> Error {
    Error::io(format!("data folder `{}`", path.display()), error)
}

/// Who watches how far it is does not want it any more.
pub(crate) fn stopped() -> Error {
    Error::Refused(Refusal::new(Code::Cancelled, "it was stopped; nothing was changed"))
}

/// What was kept is not what a hub has written.
fn damaged(text: String) -> Error {
    Error::Refused(Refusal::new(Code::StorageFailed, text))
}
