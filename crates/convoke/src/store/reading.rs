//! What a store tells of what it holds: all of it at a start, some of it when it is asked.

use std::mem;

use bytes::Bytes;
use convoke_core::foundation::{READ_ONLY, RowKey, Ticket, Told};

use super::file::Unusable;
use super::{Answer, Store, TOLD_BYTES};

impl Store {
    /// Answers a read, behind what was appended before it.
    pub(super) fn read(
        &mut self,
        ticket: Ticket,
        table: u8,
        from: Bytes,
        bytes_max: usize,
        tell: &mut dyn FnMut(Vec<Told>),
    ) {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let read = self.rows(RowKey { table, key: from }, |key, row| {
            if key.table != table || (bytes > 0 && bytes >= bytes_max) {
                return false;
            }
            bytes += key.key.len() + row.len();
            rows.push((key, row));
            true
        });
        match read {
            Ok(()) => {
                self.answers.push(Answer::Told(Told::ReadDone { ticket, rows }));
                self.answers_bytes += bytes;
                if self.answers_bytes >= TOLD_BYTES {
                    self.commit(tell);
                }
            }
            Err(why) => self.fail(&why, tell),
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
