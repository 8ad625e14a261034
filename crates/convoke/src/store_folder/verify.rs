//! Looks through a store, or a backup of one, and says what is in it.

use std::fs;
use std::path::Path;

use convoke_core::foundation::Audit;

use super::{StoreFolder, StoreProgress, StoreReport, damaged, file, stopped};
use crate::error::Error;
use crate::store::backup::Heading;
use crate::store::whole::{self, Looked};

/// More sentences than these about one store are not told.
const SENTENCES_MAX: usize = 5;

impl StoreFolder {
    /// Looks through all that is kept: all that a hub would check that starts on it, whether each row is one, and whether each
    /// journal is what was appended to it, by the hashes of its entries from the first to the last. Changes nothing in the
    /// folder. In memory is meanwhile what a hub would have there.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Code::StorageFailed`](crate::Code::StorageFailed) if something is not what a hub has written:
    /// the sentence says what, and where; with [`Code::Cancelled`](crate::Code::Cancelled) if `progress` has said so.
    /// [`Error::Configuration`] for a store of another version of the program, and [`Error::Io`].
    pub fn verify(&self, progress: &mut StoreProgress<'_>) -> Result<StoreReport, Error> {
        let identity = self.identity()?;
        let Looked { audit, pos, wrong, .. } = self.look(progress)?;
        if let Some(text) = told(&wrong) {
            return Err(damaged(format!("the store in `{}` is damaged: {text}", self.path.display())));
        }
        let mut report = StoreReport::of(identity, pos, audit.amount());
        let files = self.files()?;
        report.bytes =
            files.iter().filter_map(|name| fs::metadata(self.path.join(name)).ok()).map(|found| found.len()).sum();
        report.segments = Some(files.iter().filter(|name| whole::is_segment(name)).count() as u64);
        Ok(report)
    }

    /// Looks through the store. What is wrong beyond what a start of a hub would find is in what it gives.
    pub(super) fn look(&self, progress: &mut StoreProgress<'_>) -> Result<Looked, Error> {
        let identity = self.identity()?;
        let mut goes_on = true;
        let looked = whole::look(&self.path, identity, &mut |bytes| {
            goes_on = goes_on && progress(bytes);
            goes_on
        });
        if goes_on { looked } else { Err(stopped()) }
    }
}

impl StoreReport {
    /// Looks through a backup: whether each byte is what was written, each row one, and each journal what was appended to it.
    ///
    /// # Errors
    ///
    /// As [`StoreFolder::verify`].
    pub fn of_backup_file(path: impl AsRef<Path>, progress: &mut StoreProgress<'_>) -> Result<StoreReport, Error> {
        look_at_backup(path.as_ref(), progress).map(|(_, report)| report)
    }
}

/// What a backup says of itself, and what is in it.
pub(super) fn look_at_backup(path: &Path, progress: &mut StoreProgress<'_>) -> Result<(Heading, StoreReport), Error> {
    let mut audit: Option<Audit> = None;
    let mut wrong = Vec::new();
    let (heading, size) = file::read(path, |heading, key, row| {
        let audit = audit.get_or_insert_with(|| Audit::new(heading.pos));
        wrong.extend(audit.row(&key, &row).err());
        progress((key.key.len() + row.len()) as u64)
    })?;
    let mut audit = audit.unwrap_or_else(|| Audit::new(heading.pos));
    wrong.extend(audit.end());
    match told(&wrong) {
        Some(text) => Err(damaged(format!("backup `{}` is damaged: {text}; take another one", path.display()))),
        None => Ok((heading, StoreReport::of_backup(&heading, audit.amount(), &size))),
    }
}

/// What is wrong, in one sentence.
pub(super) fn told(wrong: &[String]) -> Option<String> {
    let (first, others) = wrong.split_at(wrong.len().min(SENTENCES_MAX));
    let more = match others.len() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    (!first.is_empty()).then(|| first.join("; ") + &more)
}
