//! Room that is set aside for the day on which the disk is full: a file beside the store that holds nothing. It is given up
//! in steps, so that a hub can start then, and values and rights can still be taken away; what of a step was not needed is
//! taken back at once, and the rest when there is room. Nothing else may use it: what adds to what is kept would eat it up
//! without anybody being better off.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file in the hub's folder.
pub(crate) const FILE: &str = "reserve";

/// How much room is set aside, in bytes: more than all rows that may wait to be written together with what makes room, and
/// enough for many times that a disk is found full before somebody makes room on it.
const BYTES: u64 = 16 << 20;

/// What is given up at first, in bytes: enough for the hub's small files, and to delete a value. Where it is not, twice as
/// much is given up the next time.
pub(crate) const STEP: u64 = 256 << 10;

/// What the store leaves of it, in bytes, for the small file without which the hub does not start: there is nothing that
/// could be done on a hub that does not.
pub(super) const LAST: u64 = STEP;

/// What is taken back is a multiple of this, in bytes: a block of most file systems.
const BLOCK: u64 = 4 << 10;

/// On a small disk no more than this part of the room that is left is set aside.
const PART: u64 = 8;

/// How long after some of it was given up it is tried to make it again.
pub(super) const WAIT: Duration = Duration::from_secs(60);

/// The reserve of one hub.
#[derive(Clone, Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// That of the hub with this folder.
    pub(crate) fn of(folder: &Path) -> Reserve {
        Reserve { path: folder.join(FILE) }
    }

    /// How much is set aside now, in bytes.
    pub(crate) fn length(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }

    /// Gives some of it up, in bytes, or what is left beside the last `but`. False if nothing is.
    pub(crate) fn give_up(&self, bytes: u64, but: u64) -> bool {
        let give_up = || -> io::Result<bool> {
            let file = File::options().write(true).open(&self.path)?;
            let length = file.metadata()?.len();
            if length <= but {
                return Ok(false);
            }
            file.set_len(length.saturating_sub(bytes).max(but))?;
            // Some file systems have the room only then.
            file.sync_all()?;
            Ok(true)
        };
        // Where it cannot be given up there is none.
        give_up().unwrap_or(false)
    }

    /// Makes it whole again, as far as there is room; up to what there `was`, in bytes, also with the last room on the
    /// disk. False if something is missing.
    pub(crate) fn refill(&self, was: u64) -> bool {
        // That there is none yet, or no room for it, is nothing to be told about: it is tried again.
        self.try_refill(was).unwrap_or(false)
    }

    fn try_refill(&self, was: u64) -> io::Result<bool> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let length = self.length();
        if length >= BYTES {
            return Ok(true);
        }
        let free = free(folder)?;
        let part = BYTES.min((free + length) / PART / STEP * STEP);
        let mut missing = part.max(was.min(length + free / BLOCK * BLOCK)).saturating_sub(length);
        // Where a little less is free than the disk says, a part of it is.
        while let Err(error) = self.longer(length, length + missing) {
            missing = missing / 2 / BLOCK * BLOCK;
            if missing == 0 {
                return Err(error);
            }
        }
        Ok(length + missing >= BYTES)
    }

    /// Makes it longer, or leaves it as it is.
    fn longer(&self, length: u64, wanted: u64) -> io::Result<()> {
        if wanted > length {
            let file = crate::files::for_its_owner().create(true).truncate(false).open(&self.path)?;
            if let Err(error) = take(&file, length, wanted) {
                let _ = file.set_len(length);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Room for users on the disk of a folder, in bytes.
#[cfg(unix)]
fn free(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Nobody is asked: there is no reserve.
#[cfg(not(unix))]
fn free(_folder: &Path) -> io::Result<u64> {
    Ok(0)
}

/// Makes a file longer, so that the disk has set the room aside.
fn take(file: &File, from: u64, to: u64) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), from, to - from) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        taken => return Ok(taken?),
    }
    use std::io::{Seek as _, Write as _};
    let mut file = file;
    file.seek(io::SeekFrom::Start(from))?;
    // Zeros would take no room where files are compressed.
    let mut noise = vec![0; STEP as usize];
    getrandom::fill(&mut noise)?;
    for at in (from..to).step_by(noise.len()) {
        file.write_all(&noise[..noise.len().min((to - at) as usize)])?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn room_is_set_aside_given_up_in_steps_and_taken_again() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        assert!(!reserve.give_up(STEP, 0), "there is none");
        if free(folder.path()).unwrap() < BYTES * PART {
            println!("skipped: this machine's disk has no room for a reserve");
            return;
        }
        let room = || fs::metadata(&reserve.path).unwrap().blocks() * 512;
        for _ in 0..2 {
            assert!(reserve.refill(0));
            assert!(room() >= BYTES);
            for step in 1..BYTES / STEP {
                assert!(reserve.give_up(STEP, LAST));
                assert!(room() <= BYTES - step * STEP + (64 << 10), "{} B are still there", room());
            }
            assert!(!reserve.give_up(STEP, LAST) && reserve.length() == LAST);
            assert!(reserve.give_up(STEP, 0));
            assert!(!reserve.give_up(STEP, 0));
        }
    }

    #[test]
    fn without_fallocate_it_is_written() {
        let file = tempfile::tempfile().unwrap();
        take(&file, 0, STEP).unwrap();
        assert_eq!(file.metadata().unwrap().len(), STEP);
    }
}
