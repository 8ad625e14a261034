//! Keeps what is whole of a damaged store.
//!
//! The new store is made beside the damaged one, in a folder of its own, whole and durable. Then a mark is set that no hub
//! starts on, the damaged files are moved away, the new ones into their places, and the mark is taken off. Whatever interrupts
//! that, it can be gone on with from the mark on, and before the mark nothing has changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use convoke_core::foundation::{RowChange, RowKey};
use convoke_core::{Code, HubIdentity};

use super::{StoreFolder, StoreProgress, StoreReport, damaged, is_of_a_store, stopped};
use crate::error::Error;
use crate::files::{advised, make_folder, sync_names};
use crate::hub::folder;
use crate::store::salvage::{self, Salvaged};
use crate::store::{Unusable, refuse, whole};

/// The word for what is done here, in the mark of what is not done to its end.
const VERB: &str = "repair";

/// The folder in which the new store is made.
const NEW: &str = "repaired";

/// The folders into which damaged files are moved begin with this.
const DAMAGED: &str = "damaged-";

/// What is, or would be, kept and lost of a damaged store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreRepair {
    /// What is whole.
    pub kept: StoreReport,
    /// What is damaged, and what is lost by that, as sentences for people; of many the first.
    pub losses: Vec<String>,
    /// Where the damaged files are now, when it was done.
    pub moved_to: Option<PathBuf>,
}

impl StoreFolder {
    /// Looks what would be kept of a damaged store, and what would be lost. `None` if it is whole. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`verify`](StoreFolder::verify), but for what is damaged; that is an error only if nothing is whole.
    pub fn look_for_whole(&self, progress: &mut StoreProgress<'_>) -> Result<Option<StoreRepair>, Error> {
        self.is_damaged(progress)?.map(|identity| self.sort_out(identity, progress)).transpose()
    }

    /// Keeps what is certainly whole of a damaged store: values; of each journal the entries before the first that is not what
    /// was appended, by their hashes; tokens; and of the log the operations before the first that is missing. The rest is lost.
    /// What is left is another history of the same hub. The damaged files are moved into a folder `damaged-1` (or 2, …) beside,
    /// and none is deleted. `None` if the store is whole: then nothing is changed.
    ///
    /// What was interrupted is gone on with. Nothing else than what is said here changes, and a hub starts on the folder only
    /// before or after all of it.
    ///
    /// # Errors
    ///
    /// As [`look_for_whole`](StoreFolder::look_for_whole).
    pub fn repair(&self, progress: &mut StoreProgress<'_>) -> Result<Option<StoreRepair>, Error> {
        let failed = |error| self.failed(error);
        if folder::unfinished_verb(&self.path).map_err(failed)?.is_some_and(|verb| verb == VERB) {
            let _lock = self.alone()?;
            let to = self.put_in_place()?;
            let kept = self.verify(progress)?;
            return Ok(Some(StoreRepair { kept, losses: Vec::new(), moved_to: Some(to) }));
        }
        let Some(identity) = self.is_damaged(progress)? else { return Ok(None) };
        let _lock = self.alone()?;
        let repair = self.make_new(identity, progress)?;
        self.put_in_place()?;
        Ok(Some(repair))
    }

    /// Makes the new store, and sets the mark.
    fn make_new(&self, identity: HubIdentity, progress: &mut StoreProgress<'_>) -> Result<StoreRepair, Error> {
        let failed = |error| self.failed(error);
        let new = self.path.join(NEW);
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => make_folder(&new).map_err(failed)?,
        }
        let (goes, mut salvaged) = (folder::in_another_history(identity)?, None);
        // The position that the new store reaches is written with its first rows.
        let first = self.sort_out(identity, progress)?;
        whole::make(&new, goes, first.kept.position, |feed| {
            salvaged = Some(salvage::salvage(&self.path, identity, feed)?);
            Ok(())
        })?;
        let Some(Salvaged { amount, pos, losses, epoch }) = salvaged else { unreachable!("it was made of it") };
        let goes = HubIdentity { epoch: goes.epoch.saturating_add(epoch.saturating_sub(identity.epoch)), ..goes };
        folder::set_identity(&new, goes)?;
        whole::look(&new, goes, &mut |_| true)?;
        let to = self.free_name().map_err(failed)?;
        make_folder(&to).map_err(failed)?;
        let mut mark = format!("{VERB} {}\n", to.file_name().unwrap_or_default().display());
        for name in self.files()? {
            mark.push_str(&name);
            mark.push('\n');
        }
        folder::set_unfinished(&self.path, Some(mark.as_bytes()))?;
        Ok(StoreRepair { kept: StoreReport::of(goes, pos, amount), losses, moved_to: Some(to) })
    }

    /// Whose store it is that is damaged; `None` if it is whole.
    fn is_damaged(&self, progress: &mut StoreProgress<'_>) -> Result<Option<HubIdentity>, Error> {
        match self.verify(progress) {
            Ok(_) => Ok(None),
            // It is to be gone on with, and not to be repaired.
            Err(error) if folder::unfinished_verb(&self.path).is_ok_and(|verb| verb.is_some()) => Err(error),
            Err(error) if error.code() == Code::StorageFailed => {
                let known = fs::read(self.path.join(folder::FILE)).ok().and_then(|text| folder::identity_in(&text));
                known.or_else(|| salvage::identity(&self.path)).map(Some).ok_or_else(|| {
                    damaged(format!(
                        "nothing in `{}` says whose store it is, so that nothing of it can be told from anything else; \
                         restore a backup",
                        self.path.display()
                    ))
                })
            }
            Err(error) => Err(error),
        }
    }

    fn sort_out(&self, identity: HubIdentity, progress: &mut StoreProgress<'_>) -> Result<StoreRepair, Error> {
        let shown = format!("the store in `{}`", self.path.display());
        let mut goes_on = true;
        let mut count = |rows: Vec<(RowKey, RowChange)>| {
            let bytes = rows.iter().filter_map(|(_, change)| change.row()).map(|row| row.len() as u64).sum();
            goes_on = goes_on && progress(bytes);
            if goes_on { Ok(()) } else { Err(Unusable::Corrupt("it was stopped".into())) }
        };
        let salvaged = salvage::salvage(&self.path, identity, &mut count);
        let Salvaged { amount, pos, losses, .. } = match salvaged {
            _ if !goes_on => return Err(stopped()),
            salvaged => salvaged.map_err(|why| refuse(&shown, why))?,
        };
        let kept = StoreReport::of(identity, pos, amount);
        Ok(StoreRepair { kept, losses, moved_to: None })
    }

    /// Does what the mark says, or the rest of it: the files that it names are moved away, and those of the new store into
    /// their places. Says where the former are.
    fn put_in_place(&self) -> Result<PathBuf, Error> {
        let put = || -> io::Result<PathBuf> {
            let mark = fs::read_to_string(self.path.join(folder::UNFINISHED))?;
            let to = mark.split_whitespace().nth(1).unwrap_or(DAMAGED);
            let to = self.path.join(to);
            while self.step(&mark, &to)? {}
            Ok(to)
        };
        let to = put().map_err(|error| self.failed(error))?;
        folder::set_unfinished(&self.path, None)?;
        Ok(to)
    }

    /// The next of these steps, durably; false if there is none.
    fn step(&self, mark: &str, to: &Path) -> io::Result<bool> {
        for name in mark.lines().skip(1) {
            // One that is there was moved before, and what has its name now is new.
            if !to.join(name).try_exists()? && self.path.join(name).try_exists()? {
                fs::rename(self.path.join(name), to.join(name))?;
                sync_names(to)?;
                return sync_names(&self.path).map(|()| true);
            }
        }
        let new = self.path.join(NEW);
        if !new.try_exists()? {
            return Ok(false);
        }
        for entry in fs::read_dir(&new)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(is_of_a_store) {
                fs::rename(new.join(&name), self.path.join(&name))?;
                return sync_names(&self.path).map(|()| true);
            }
        }
        fs::remove_dir_all(&new)?;
        sync_names(&self.path).map(|()| true)
    }

    /// A folder for damaged files that is not there yet.
    fn free_name(&self) -> io::Result<PathBuf> {
        let mut number = 1_u32;
        loop {
            let to = self.path.join(format!("{DAMAGED}{number}"));
            if !to.try_exists()? {
                return Ok(to);
            }
            number += 1;
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(format!("repairing data folder `{}`", self.path.display()), advised(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hub, HubOptions, Node};

    fn copy(from: &Path, to: &Path) {
        let _ = fs::remove_dir_all(to);
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    #[tokio::test]
    async fn a_repair_that_ends_between_any_two_steps_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let (data, work) = (folder.path().join("data"), folder.path().join("work"));
        let options =
            |data: &Path| HubOptions { data: Some(data.to_owned()), ..HubOptions::listen(["mem://repair-steps"]) };
        let hub = Hub::start(options(&data)).await.unwrap();
        let node = Node::connect("mem://repair-steps", "press").await.unwrap();
        node.set("a", &1).await.unwrap();
        node.leave().await;
        hub.stop().await;
        fs::write(data.join(folder::FILE), "damaged").unwrap();
        let mut steps = 0;
        loop {
            copy(&data, &work);
            let store = StoreFolder::open(&work).unwrap();
            let identity = store.is_damaged(&mut |_| true).unwrap().unwrap();
            let to = store.make_new(identity, &mut |_| true).unwrap().moved_to.unwrap();
            let mark = fs::read_to_string(work.join(folder::UNFINISHED)).unwrap();
            let has_ended = (0..steps).any(|_| !store.step(&mark, &to).unwrap());
            drop(store);
            let refused = Hub::start(options(&work)).await.unwrap_err();
            assert_eq!(refused.code(), Code::StorageFailed, "{steps}: {refused}");
            assert!(refused.to_string().ends_with("did not come to its end here; run it again"), "{refused}");
            let store = StoreFolder::open(&work).unwrap();
            let done = store.repair(&mut |_| true).unwrap().unwrap();
            assert_eq!((done.kept.values, done.moved_to), (1, Some(to.clone())), "{steps}");
            for name in ["hub.json", "store.redb", "log.meta"] {
                assert_eq!(fs::read(to.join(name)).unwrap(), fs::read(data.join(name)).unwrap(), "{steps}: {name}");
            }
            drop(store);
            if has_ended {
                break;
            }
            steps += 1;
        }
        assert!(steps > 8, "{steps}");
        Hub::start(options(&work)).await.unwrap().stop().await;
    }
}
