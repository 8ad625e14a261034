//! What is done beside the log, so that no commit waits for it: rows are written to redb, segments are made ahead of time,
//! and room is set aside again. One thing at a time, whoever does it; see `thread`.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use super::disk::WatchedDisk;
use super::file::{Fault, StoreFile, Unusable};
use super::full::Want;
use super::log;
use super::pending::Pending;
use super::reserve::STEP as RESERVE_STEP;

/// Something to be done.
#[derive(Debug)]
pub(super) enum Work {
    /// Write these rows.
    Rows {
        rows: Arc<Pending>,
        /// The position that redb holds before.
        reach: u64,
        /// Something in them takes something away: they may use the room that was set aside.
        makes_room: bool,
        /// Of that room there was so much at most, in bytes.
        reserved: u64,
        /// Some of it is missing now.
        is_short: bool,
    },
    /// Make the next segment of the log, so long; shorter where there is no room, but at least so long.
    Spare { length: u64, at_least: u64 },
    /// Set room aside again, up to so many bytes.
    Refill { was: u64 },
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Done {
    /// Rows are durable, or not there; the latter also if nobody knows, since the file cannot be opened.
    Rows { written: Result<(), Fault>, reserve: Reserve },
    /// The next segment is there, so long.
    Spare(Result<u64, Fault>),
    /// So much is set aside now; nothing is missing, or something.
    Refilled { reserve: u64, is_whole: bool },
}

/// What became of the room that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reserve {
    /// It is as it was.
    Kept,
    /// Some of it was given up; nobody else is to take what is left of that.
    GivenUp,
    /// Some of it was given to others.
    Given,
}

/// redb's file, and the disk.
#[derive(Debug)]
pub(super) struct Tables {
    disk: Arc<WatchedDisk>,
    history: [u8; 16],
    /// `None` when the disk is too full to open it again, and after an error.
    file: RwLock<Option<StoreFile>>,
}

impl Tables {
    pub(super) fn new(disk: Arc<WatchedDisk>, history: [u8; 16], file: StoreFile) -> Tables {
        Tables { disk, history, file: RwLock::new(Some(file)) }
    }

    /// The file, to be read. Waits while it is being opened again.
    pub(super) fn file(&self) -> RwLockReadGuard<'_, Option<StoreFile>> {
        self.file.read().expect("whoever has panicked has ended the store")
    }

    /// Takes the file out, to be closed.
    pub(super) fn take(&self) -> Option<StoreFile> {
        self.file.write().expect("whoever has panicked has ended the store").take()
    }

    /// Does it.
    pub(super) fn work(&self, work: Work) -> Done {
        match work {
            Work::Rows { rows, reach, makes_room, reserved, is_short } => {
                let mut reserve = Reserve::Kept;
                let written = self.write(&rows, reach, makes_room, &mut reserve);
                let was_full = is_short || reserve == Reserve::GivenUp;
                if written.is_ok() && makes_room && was_full && self.let_free_room_be_used(reserved) {
                    reserve = Reserve::Given;
                }
                Done::Rows { written, reserve }
            }
            Work::Spare { length, at_least } => Done::Spare(self.make_spare(length, at_least)),
            Work::Refill { was } => {
                let is_whole = self.disk.refill_reserve(was);
                Done::Refilled { reserve: self.disk.reserve(), is_whole }
            }
        }
    }

    /// Writes rows. After a disk was found full redb does not go on, and what was being written may be there wholly or not
    /// at all; opened again it is durably the one or the other.
    fn write(&self, rows: &Pending, reach: u64, makes_room: bool, reserve: &mut Reserve) -> Result<(), Fault> {
        let mut step = RESERVE_STEP;
        let mut give_up = |want: Want| {
            let given = want.is_of_the_disk() && self.disk.give_up_reserve(step);
            if given {
                *reserve = Reserve::GivenUp;
                step = step.saturating_mul(2);
            }
            given
        };
        let mut found = None;
        loop {
            match self.open_again() {
                // It was open.
                Ok(None) => {}
                Ok(Some(pos)) if Some(pos) == rows.pos() => return Ok(()),
                Ok(Some(pos)) if pos == reach => {}
                Ok(Some(_)) => {
                    let text = "after the disk was full it is not what it was";
                    return Err(Fault::Grave(Unusable::Corrupt(text.into())));
                }
                Err(Fault::Full(want)) if give_up(want) => continue,
                Err(fault) => return Err(fault),
            }
            if let Some(want) = found.take()
                && !(makes_room && give_up(want))
            {
                return Err(Fault::Full(want));
            }
            let written = match &*self.file() {
                Some(file) => file.write(rows),
                None => continue,
            };
            match written {
                Err(Fault::Full(want)) => {
                    found = Some(want);
                    // A sync that fails now is known to the disk.
                    drop(self.take());
                }
                done => return done,
            }
        }
    }

    fn make_spare(&self, mut length: u64, at_least: u64) -> Result<u64, Fault> {
        loop {
            match log::make_segment(&self.disk, log::SPARE, length).map_err(log::fault) {
                Err(Fault::Full(_)) if length > at_least => length = at_least.max(length / 2),
                made => return made.map(|()| length),
            }
        }
    }

    /// Opens the file unless it is open, and says which position it reaches.
    fn open_again(&self) -> Result<Option<u64>, Fault> {
        let mut file = self.file.write().expect("whoever has panicked has ended the store");
        if file.is_some() {
            return Ok(None);
        }
        let (opened, pos) =
            StoreFile::open(&self.disk, self.history).map_err(|why| Fault::of(why, self.disk.watch()))?;
        *file = Some(opened);
        Ok(Some(pos))
    }

    /// What was taken away is free in the file, on a disk that was full a moment ago. But what is written there next goes in
    /// part where the file is longer than what the disk holds of it: a step of what was set aside is for that, as long as half
    /// is left to take more away.
    fn let_free_room_be_used(&self, was: u64) -> bool {
        self.disk.reserve() > was / 2 && self.disk.give_up_reserve(RESERVE_STEP)
    }
}
