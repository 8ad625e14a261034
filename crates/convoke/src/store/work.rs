//! What a store has to do beside its log, when, and what follows when it is done.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use convoke_core::foundation::Told;

use super::file::{Fault, Unusable};
use super::full::Want;
use super::tables::{Done, Reserve, Work};
use super::{Store, reserve};

impl Store {
    /// Something to be done beside, if there is anything and nothing else is being done. What became of it must be
    /// [told](Store::done).
    pub(super) fn work(&mut self) -> Option<Work> {
        if self.failed || self.is_working() {
            return None;
        }
        let now = Instant::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let retry = mem::take(&mut self.attempt_is_wanted) || is_due(self.full.retry());
        let urgent = mem::take(&mut self.rows_are_urgent);
        let rows_are_due = urgent
            || if self.lacks.rows {
                retry
            } else {
                is_due(self.gathering_since.map(|since| since + super::ROWS_WAIT))
                    || self.gathering.bytes() > self.rows_waiting_bytes_max()
            };
        let segment = self.log.wants_spare().filter(|_| !self.lacks.segment || retry);
        let work = if rows_are_due && let Some(pos) = self.gathering.pos() {
            let rows = Arc::new(mem::take(&mut self.gathering));
            self.writing = Some(rows.clone());
            self.gathering_since = None;
            Work::Rows {
                rows,
                reach: self.reach,
                makes_room: self.makes_room.is_some_and(|(first, _)| first <= pos),
                reserved: self.reserved,
                is_short: self.refill.is_some(),
            }
        } else if self.is_finishing {
            return None;
        } else if let Some((length, at_least)) = segment {
            self.log.spare_is_made();
            Work::Spare { length, at_least }
        } else if is_due(self.refill) {
            Work::Refill { was: self.reserved }
        } else {
            return None;
        };
        self.working_since = Some(now);
        self.covered = self.asks.len();
        Some(work)
    }

    /// Work is done.
    pub(super) fn done(&mut self, done: Done, tell: &mut dyn FnMut(Vec<Told>)) {
        let began = self.working_since.take().unwrap_or_else(Instant::now);
        if self.failed {
            return;
        }
        let done = match done {
            Done::Rows { written, reserve } => {
                match reserve {
                    Reserve::Kept => {}
                    Reserve::GivenUp => self.refill = Some(Instant::now()),
                    Reserve::Given => self.refill = Some(Instant::now() + reserve::WAIT),
                }
                self.rows_done(written, began)
            }
            Done::Spare(made) => self.spare_done(made, began),
            Done::Refilled { reserve, is_whole } => {
                self.refill = (!is_whole).then(|| Instant::now() + reserve::WAIT);
                self.reserved = self.reserved.max(reserve);
                Ok(())
            }
        };
        match done {
            Ok(()) => self.look_for_room(),
            Err(why) => self.fail(&why, tell),
        }
    }

    fn rows_done(&mut self, written: Result<(), Fault>, began: Instant) -> Result<(), Unusable> {
        let Some(rows) = self.writing.take() else { return Ok(()) };
        match written {
            Ok(()) => {
                let pos = rows.pos().unwrap_or(self.reach);
                self.reach = pos;
                self.lacks.rows = false;
                self.makes_room = self.makes_room.filter(|(_, last)| *last > pos).map(|(_, last)| (pos + 1, last));
                match self.log.cut(pos, self.lacks.segment) {
                    // Where nothing can be cut for want of room more is cut later.
                    Ok(()) | Err(Fault::Full(_)) => {}
                    Err(Fault::Grave(why)) => return Err(why),
                }
                self.lacks.segment &= !self.log.has_spare();
                Ok(())
            }
            Err(Fault::Full(want)) => {
                self.gathering.put_under(rows);
                self.gathering_since.get_or_insert(began);
                self.lacks.rows = true;
                self.is_full(want, began);
                Ok(())
            }
            Err(Fault::Grave(why)) => Err(why),
        }
    }

    fn spare_done(&mut self, made: Result<u64, Fault>, began: Instant) -> Result<(), Unusable> {
        self.log.spare_was_made(made.as_ref().ok().copied());
        match made {
            Ok(_) => self.lacks.segment = false,
            Err(Fault::Full(want)) => {
                self.lacks.segment = true;
                self.is_full(want, began);
            }
            Err(Fault::Grave(why)) => return Err(why),
        }
        Ok(())
    }

    /// The disk was tried, and is full.
    fn is_full(&mut self, want: Want, began: Instant) {
        self.full.found(want, began, Instant::now());
        self.tried = self.tried.max(mem::take(&mut self.covered));
    }

    /// Sees whether nothing lacks room any more.
    pub(super) fn look_for_room(&mut self) {
        let super::Lacks { batch, segment, rows } = self.lacks;
        if !(batch || segment || rows) {
            self.full.wrote();
        }
    }
}
