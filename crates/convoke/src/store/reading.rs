//! What a store tells of what it holds: all of it at a start, some of it when it is asked.

use std::mem;

use bytes::Bytes;
use convoke_core::foundation::{READ_ONLY, RowKey, Ticket, Told};
use convoke_core::{Code, Refusal};

use super::backup::Image;
use super::file::{Fault, StoreFile, Unusable};
use super::{Answer, Store, TOLD_BYTES, WantImage};

/// What a read has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    rows: Vec<(RowKey, Bytes)>,
    /// Keys and rows, in bytes.
    bytes: usize,
}

impl Store {
    /// Gives an image of all that is kept, as of what was asked before.
    pub(super) fn want_image(&mut self, give: WantImage) {
        self.images.push_back((self.asks.len(), give));
    }

    /// Gives the images before which everything is done.
    pub(super) fn give_images(&mut self) {
        while let Some((_, give)) = self.images.pop_front_if(|(before, _)| *before == 0) {
            let moment = self.tables.file().as_ref().map(StoreFile::moment);
            let refused = |text: &str| Refusal::new(Code::Busy, format!("backup: {text}"));
            // Who does not want it any more has gone.
            let _ = give.send(match moment {
                Some(Ok(moment)) => {
                    let gathering = self.gathering.clone();
                    let writing = self.writing.clone();
                    let pos = gathering.pos().or(writing.as_ref().and_then(|rows| rows.pos())).unwrap_or(self.reach);
                    Ok(Image::new(moment, writing, gathering, pos))
                }
                Some(Err(why)) => Err(refused(&format!("{} cannot be read: {why}", self.shown))),
                None if self.failed => Err(refused("the hub's store has failed; see its log")),
                None => Err(refused("the hub's disk is full, and the store is not open; make room, or try again")),
            });
        }
    }

    /// What a read wants, of which more than so many bytes are not needed, and how many bytes it has. `None` while the file
    /// cannot be read, since whoever writes it has found the disk full: it is opened again then.
    pub(super) fn look(&self, table: u8, from: &Bytes, bytes_max: usize) -> Result<Option<Found>, Unusable> {
        let file = self.tables.file();
        let Some(file) = &*file else { return Ok(None) };
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let from = RowKey { table, key: from.clone() };
        let read = file.rows(&from, self.writing.as_deref(), &self.gathering, |key, row| {
            if key.table != table || (bytes > 0 && bytes >= bytes_max) {
                return false;
            }
            bytes += key.key.len() + row.len();
            rows.push((key, row));
            true
        });
        match read.map_err(|why| Fault::of(why, self.disk.watch())) {
            Ok(()) => Ok(Some(Found { rows, bytes })),
            Err(Fault::Full(_)) => Ok(None),
            Err(Fault::Grave(why)) => Err(why),
        }
    }

    /// Answers a read, behind what was appended before it.
    pub(super) fn found(&mut self, ticket: Ticket, found: Found, tell: &mut dyn FnMut(Vec<Told>)) {
        let Found { rows, bytes } = found;
        self.answers.push(Answer::Told(Told::ReadDone { ticket, rows }));
        self.answers_bytes += bytes;
        if self.answers_bytes >= TOLD_BYTES {
            self.commit(tell);
        }
    }

    /// Gives rows as they are at the last position whose rows were asked to be kept.
    fn rows(&self, from: RowKey, each: impl FnMut(RowKey, Bytes) -> bool) -> Result<(), Unusable> {
        match &*self.tables.file() {
            Some(file) => file.rows(&from, self.writing.as_deref(), &self.gathering, each),
            None => Ok(()),
        }
    }

    /// Tells everything, in pieces, so that the hub can do other things in between.
    pub(super) fn snapshot(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        let writing = self.writing.as_ref().and_then(|rows| rows.pos());
        let pos = self.gathering.pos().or(writing).unwrap_or(self.reach);
        let (mut rows, mut bytes, mut pieces) = (Vec::new(), 0, 0);
        let all_rows = self.rows(RowKey { table: 0, key: Bytes::new() }, |key, row| {
            if key.table >= READ_ONLY {
                return false;
            }
            bytes += key.key.len() + row.len();
            rows.push((key, row));
            if bytes >= TOLD_BYTES {
                bytes = 0;
                pieces += 1;
                tell(vec![Told::Rows { pos, rows: mem::take(&mut rows) }]);
            }
            true
        });
        if pieces == 0 || !rows.is_empty() {
            tell(vec![Told::Rows { pos, rows }]);
        }
        let (mut told, mut bytes) = (Vec::new(), 0);
        let all = all_rows.and_then(|()| {
            self.log.operations(pos, |pos, operation| {
                bytes += operation.len();
                told.push(Told::Committed { pos, ticket: None, operation });
                if bytes >= TOLD_BYTES {
                    bytes = 0;
                    tell(mem::take(&mut told));
                }
            })
        });
        match all {
            Ok(()) => {
                told.push(Told::Ready);
                tell(told);
            }
            Err(why) => self.fail(&why, tell),
        }
    }
}
