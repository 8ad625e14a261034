//! Puts a backup back: into an empty folder, as a hub that goes on in a history of its own.

use std::fs;
use std::io;
use std::path::Path;

use convoke_core::foundation::RowChange;
use convoke_core::{Code, Refusal};

use super::verify::look_at_backup;
use super::{StoreProgress, StoreReport, file, is_of_a_store};
use crate::error::Error;
use crate::files::{advised, make_folder, sync_names};
use crate::hub::folder;
use crate::store::Unusable;
use crate::store::whole;

/// What is written together, in bytes.
const ROWS_BYTES: usize = 1 << 20;

/// The word for what is done here, in the mark of what is not done to its end.
const VERB: &str = "restore";

impl StoreReport {
    /// Makes of a backup the folder of a hub, which must be empty or not there yet. The backup is looked through first, as
    /// [`of_backup_file`](StoreReport::of_backup_file) does, and nothing is made of a damaged one.
    ///
    /// The hub is the same by its id, and goes on in another history: followers of journals that have heard more than there is
    /// now are told so ([`Code::Diverged`](crate::Code::Diverged)), and who watches values gets them all anew. It has no admin
    /// token and no certificate yet: it makes a new token when it is started. Until this returns no hub starts on the folder;
    /// after an error, or a power cut, it can be done again there.
    ///
    /// # Errors
    ///
    /// Those of [`of_backup_file`](StoreReport::of_backup_file); [`Error::Io`] of the kind
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) for a folder that is not empty; [`Error::InUse`] if a hub runs on it.
    pub fn restore(
        backup: impl AsRef<Path>,
        to: impl AsRef<Path>,
        progress: &mut StoreProgress<'_>,
    ) -> Result<StoreReport, Error> {
        let (backup, to) = (backup.as_ref(), to.as_ref());
        let shown = || format!("data folder `{}`", to.display());
        let failed = |error| Error::io(shown(), advised(error));
        if fs::metadata(backup).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            let text = "it is read twice, and this can be read only once; put it into a file first";
            let error = io::Error::new(io::ErrorKind::InvalidInput, text);
            return Err(Error::io(format!("opening backup `{}`", backup.display()), error));
        }
        let (heading, report) = look_at_backup(backup, progress)?;
        make_folder(to).map_err(|error| Error::io(format!("{}: cannot be made", shown()), advised(error)))?;
        begin(to).map_err(failed)?;
        let _lock = folder::lock_to_change(to, ("a hub", "stop it first"))?;
        folder::set_unfinished(to, Some(VERB.as_bytes()))?;
        clear(to).map_err(failed)?;
        let identity = folder::in_another_history(heading.identity)?;
        let mut goes_on = true;
        whole::make(to, identity, heading.pos, |feed| {
            let (mut rows, mut bytes) = (Vec::new(), 0);
            let mut failed = None;
            let read = file::read(backup, |_, key, row| {
                bytes += key.key.len() + row.len();
                rows.push((key, RowChange::Put(row)));
                if bytes >= ROWS_BYTES {
                    goes_on = progress(bytes as u64);
                    bytes = 0;
                    failed = feed(std::mem::take(&mut rows)).err();
                }
                goes_on && failed.is_none()
            });
            match (failed, read) {
                (Some(why), _) => Err(why),
                // It was whole a moment ago.
                (None, Err(error)) => Err(Unusable::Corrupt(format!("the backup cannot be read any more: {error}"))),
                (None, Ok(_)) => feed(rows),
            }
        })
        .map_err(|error| {
            // The mark stays: no hub starts on half of it.
            let stopped = || format!("{}: the restore was stopped; do it again there, or use another folder", shown());
            if goes_on { error } else { Error::Refused(Refusal::new(Code::Cancelled, stopped())) }
        })?;
        folder::set_identity(to, identity)?;
        folder::set_unfinished(to, None)?;
        Ok(StoreReport { history: folder::hex(&identity.history), ..report })
    }
}

/// Whether something may be restored into a folder: there is nothing in it, or what was left of another try.
fn begin(to: &Path) -> io::Result<()> {
    if folder::unfinished_verb(to)?.is_some_and(|verb| verb == VERB) {
        return Ok(());
    }
    for entry in fs::read_dir(to)? {
        let name = entry?.file_name();
        // The root of a file system has the latter.
        let is_ours = name == folder::LOCK || name.to_str().is_some_and(folder::is_unfinished);
        if !is_ours && name != "lost+found" {
            let text = format!(
                "it is not empty (there is `{}`), and a backup is restored into an empty folder only; move it away, or give \
                 another one with --data",
                name.display()
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
    }
    Ok(())
}

/// Takes away what another try has left.
fn clear(to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(to)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(is_of_a_store) {
            fs::remove_file(to.join(name))?;
        }
    }
    sync_names(to)
}
