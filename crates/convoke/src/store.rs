//! The store: the foundation of a hub that keeps what it must on this machine, in one file.
//!
//! What is asked for while one transaction is made durable goes into the next one together: one sync for all. Rows of
//! tables wait for a moment, so that many changes of one row are written once; then they ride along with operations, or
//! are written by themselves. Each transaction that writes rows takes the operations out that these rows stand for. So a
//! start reads the rows and, behind them, the operations that came last.
//!
//! A full disk is told as what was not done, and the store goes on. After any other error it tells
//! [`Failed`](Told::Failed) and nothing more: what such a disk says to be durable need not be.
//!
//! [`Store`] is what happens, without a thread; `thread` runs it, `file` is the file, `disk` where the bytes are.

mod disk;
mod file;
mod full;
mod pending;
mod pieces;
mod reserve;
#[cfg(test)]
pub(crate) mod tests;
mod thread;

use std::collections::VecDeque;
use std::mem;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_core::foundation::{Ask, READ_ONLY, Room, RowKey, Ticket, Told};
use convoke_core::{Code, Refusal};

use crate::error::Error;
use disk::{Disk, Failed, FileDisk, WatchedDisk};
use file::{Fault, Reach, StoreFile, Unusable};
use full::{FullDisk, Want};
use pending::Pending;
pub(crate) use reserve::{Reserve, STEP as RESERVE_STEP};
pub(crate) use thread::{Queue, StoreThread, Tell};

/// The file in the hub's folder.
pub(crate) const FILE: &str = "store.redb";

/// How long rows wait, so that many changes of one are written once. After a crash their operations are applied again,
/// which takes less than this.
const ROWS_WAIT: Duration = Duration::from_millis(50);

/// Rows that wait are written at once when they are more than this, in bytes: they are in memory twice.
const ROWS_WAITING_BYTES_MAX: usize = 4 << 20;

/// And when they are more than this part of the room that is set aside: on a full disk those that wait are written with it.
const ROWS_WAITING_PART: u64 = 4;

/// Rows and operations of the snapshot that are told together, and answers to reads that wait for a transaction before
/// them, in bytes: while they are told the hub does nothing else.
const TOLD_BYTES: usize = 1 << 20;

/// A file with more room to spare than this, in bytes, and more than what it holds, is made smaller when it is opened.
/// Less is soon needed again, and not worth the wait.
const SPARE_BYTES_MAX: u64 = 128 << 20;

/// What an ask is answered with once the transaction before it is durable.
#[derive(Debug)]
enum Answer {
    /// What becomes of the next operation.
    Appended,
    /// This.
    Told(Told),
}

/// A store, and what has been asked of it. Whoever runs it gives it asks and tells what it says; see the module.
#[derive(Debug)]
pub(crate) struct Store {
    disk: WatchedDisk,
    /// How the file is called in sentences.
    shown: String,
    history: [u8; 16],
    /// `None` when the disk is too full to open it again.
    file: Option<StoreFile>,
    /// How far the file goes, as it was last known.
    reach: Reach,
    /// Not looked at yet.
    asks: VecDeque<Ask>,
    /// Operations of the next transaction; while there is no file, of the last one, of which nobody knows.
    operations: Vec<(Ticket, Bytes)>,
    answers: Vec<Answer>,
    answers_bytes: usize,
    pending: Pending,
    /// Since when rows wait.
    pending_since: Option<Instant>,
    /// The transaction at hand takes the rows along. Most do not: a row that changes often is then written once for many
    /// operations, and the disk is given little at a time.
    with_rows: bool,
    full: FullDisk,
    /// Rows wait that take something away: they too may use the room that was set aside.
    makes_room: bool,
    /// What is given up next of the room that was set aside, in bytes: it doubles until it is enough.
    reserve_step: u64,
    /// The most that was set aside, in bytes.
    reserved: u64,
    /// When it is tried to set room aside again.
    refill: Option<Instant>,
    failed: bool,
}

/// A sentence about what is wrong with the file, as the error that a start ends with.
fn refuse(shown: &str, why: Unusable) -> Error {
    match why {
        Unusable::Corrupt(text) => {
            let text = format!("{shown} is corrupt: {text}; nothing was changed in it");
            Error::Refused(Refusal::new(Code::StorageFailed, text))
        }
        Unusable::Format(text) => Error::Configuration(format!("{shown}: {text}")),
        Unusable::Io(Failed { tried, error }) => {
            let source = match Want::of(&error) {
                Some(want) => std::io::Error::new(error.kind(), want.sentence()),
                None => error,
            };
            Error::io(format!("{tried} {shown}"), source)
        }
    }
}

/// Whether an operation on a full disk must do without the room that was set aside.
fn adds(operation: &[u8]) -> bool {
    matches!(Room::of(operation), Room::Takes | Room::Unasked)
}

/// Whether an error means that there is no room on the disk.
pub(crate) fn has_no_room(error: &std::io::Error) -> bool {
    Want::of(error).is_some_and(Want::is_of_the_disk)
}

impl Store {
    /// Opens the store at `path`, which is made if it is not there. Reads all of it once.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Code::StorageFailed`] for a file that is corrupt, or of another history;
    /// [`Error::Configuration`] for one of another format; [`Error::Io`]. The file is left as it is.
    pub(crate) fn open(path: &Path, history: [u8; 16]) -> Result<Store, Error> {
        let shown = format!("`{}`", path.display());
        StoreFile::make(path, history).map_err(|why| refuse(&shown, why))?;
        Store::open_on(Box::new(FileDisk(path.to_owned())), shown, history, SPARE_BYTES_MAX)
    }

    /// Opens the store on any disk.
    fn open_on(disk: Box<dyn Disk>, shown: String, history: [u8; 16], spare_bytes_max: u64) -> Result<Store, Error> {
        let disk = WatchedDisk::new(disk);
        let refused = |why| refuse(&shown, why);
        let was = disk.reserve();
        let mut step = RESERVE_STEP;
        let (mut file, mut reach) = loop {
            match StoreFile::open(&disk, history) {
                Err(Unusable::Io(failed))
                    if has_no_room(&failed.error) && !disk.watch().sync_failed() && disk.give_up_reserve(step) =>
                {
                    step *= 2;
                }
                opened => break opened.map_err(refused)?,
            }
        };
        let room = disk.room().map_err(|failed| refused(failed.into()))?;
        // Only a large one can have so much to spare, and finding out takes a look at all of it.
        if room > spare_bytes_max {
            let spare = file.spare(room).map_err(refused)?;
            if spare > spare_bytes_max.max(room / 2) {
                tracing::warn!(
                    "the hub starts when {shown} is made smaller: it takes {} MiB on the disk, and holds {}",
                    room >> 20,
                    (room - spare) >> 20
                );
                let smaller = file.compact().and_then(StoreFile::close);
                match smaller.map_err(|why| Fault::of(why, disk.watch())) {
                    Ok(()) => {}
                    Err(Fault::Full(_)) => {
                        tracing::warn!(
                            "{shown} stays as large as it is: making it smaller needs more room on the disk"
                        );
                    }
                    Err(Fault::Grave(why)) => return Err(refused(why)),
                }
                let known = reach;
                (file, reach) = StoreFile::open(&disk, history).map_err(refused)?;
                if reach != known {
                    return Err(refused(Unusable::Corrupt("it was changed while it was made smaller".into())));
                }
            }
        }
        let refill = (!disk.refill_reserve(was)).then(|| Instant::now() + reserve::WAIT);
        let reserved = disk.reserve().max(was);
        Ok(Store {
            disk,
            shown,
            history,
            file: Some(file),
            reach,
            asks: VecDeque::new(),
            operations: Vec::new(),
            answers: Vec::new(),
            answers_bytes: 0,
            pending: Pending::default(),
            pending_since: None,
            with_rows: false,
            full: FullDisk::default(),
            makes_room: false,
            reserve_step: RESERVE_STEP,
            reserved,
            refill,
            failed: false,
        })
    }

    /// Nothing is answered any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// When [`turn`](Store::turn) must be called although nothing was asked.
    pub(crate) fn due(&self) -> Option<Instant> {
        [self.write_due(), self.full.due(), self.refill].into_iter().flatten().min()
    }

    /// When something is to be written, or the file opened, although nothing was asked.
    fn write_due(&self) -> Option<Instant> {
        let rows = self.pending_since.map(|since| since + ROWS_WAIT);
        match (&self.file, self.full.retry()) {
            (None, retry) => retry,
            (Some(_), retry) => rows.map(|rows| retry.unwrap_or(rows)),
        }
    }

    /// Answers, in their order, these asks and those before them that are not answered yet.
    pub(crate) fn turn(&mut self, asks: Vec<Ask>, tell: &mut dyn FnMut(Vec<Told>)) {
        if self.failed {
            return;
        }
        self.asks.extend(asks);
        if self.file.is_none() && self.must_write() {
            self.open_again(tell);
        }
        while self.file.is_some() {
            let Some(ask) = self.asks.pop_front() else { break };
            self.take(ask, tell);
        }
        let rows_are_due = self.pending.bytes() > self.rows_waiting_bytes_max() || self.must_write();
        if self.file.is_some() && (!self.operations.is_empty() || !self.answers.is_empty() || rows_are_due) {
            self.commit(rows_are_due, tell);
        }
        if self.refill.is_some_and(|due| due <= Instant::now()) {
            self.refill = (!self.disk.refill_reserve(self.reserved)).then(|| Instant::now() + reserve::WAIT);
            self.reserved = self.reserved.max(self.disk.reserve());
        }
        if let Some(news) = self.full.news(&self.shown, Instant::now()) {
            tracing::warn!("{news}");
        }
    }

    /// Writes what waits: the hub stops.
    pub(crate) fn finish(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        if self.file.is_some() {
            self.commit(true, tell);
        }
    }

    /// Closes the file.
    pub(crate) fn close(mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        let Some(Err(why)) = self.file.take().map(StoreFile::close) else { return };
        // For want of room it is only opened more slowly the next time.
        if let Fault::Grave(why) = Fault::of(why, self.disk.watch()) {
            self.fail(&why, tell);
        }
    }

    fn rows_waiting_bytes_max(&self) -> usize {
        match self.reserved {
            0 => ROWS_WAITING_BYTES_MAX,
            reserved => ROWS_WAITING_BYTES_MAX.min((reserved / ROWS_WAITING_PART) as usize),
        }
    }

    fn must_write(&self) -> bool {
        self.write_due().is_some_and(|due| due <= Instant::now())
    }

    fn take(&mut self, ask: Ask, tell: &mut dyn FnMut(Vec<Told>)) {
        match ask {
            Ask::Snapshot => {
                self.commit(false, tell);
                match self.file {
                    Some(_) => self.snapshot(tell),
                    None => self.asks.push_front(Ask::Snapshot),
                }
            }
            Ask::Append { ticket, operation }
                if self.full.is_resting(Instant::now()) && Room::of(&operation) != Room::Makes =>
            {
                let why = self.full.refuse(&operation, Instant::now());
                self.answers.push(Answer::Told(Told::NotDone { ticket, why }));
            }
            Ask::Append { ticket, operation } => {
                self.operations.push((ticket, operation));
                self.answers.push(Answer::Appended);
            }
            Ask::Tables { pos, puts, deletes } => {
                assert!(pos <= self.reach.last, "rows come of operations that were told to be committed");
                self.pending.add(pos, puts, deletes);
                self.pending_since.get_or_insert_with(Instant::now);
            }
            Ask::Read { ticket, table, from, bytes_max } => self.read(ticket, table, from, bytes_max, tell),
            Ask::Barrier { ticket } => self.answers.push(Answer::Told(Told::BarrierDone { ticket })),
        }
    }

    /// Makes durable what was appended, with the rows that wait if `rows_are_due`, and tells what became of everything.
    fn commit(&mut self, rows_are_due: bool, tell: &mut dyn FnMut(Vec<Told>)) {
        if self.operations.is_empty() && !(rows_are_due && self.pending.pos().is_some()) {
            return self.answer(true, tell);
        }
        // On a full disk always: what was refused together with rows must not be taken without them a moment later.
        self.write(rows_are_due || self.full.is_full(), tell);
    }

    /// Makes the transaction at hand durable, with the rows that wait or without them.
    fn write(&mut self, with_rows: bool, tell: &mut dyn FnMut(Vec<Told>)) {
        let Some(file) = &self.file else { return };
        self.with_rows = with_rows;
        let rows = self.with_rows.then_some(&self.pending);
        let began = Instant::now();
        match file.write(self.reach.last, &self.operations, rows) {
            Ok(()) => {
                self.full.wrote();
                self.written(tell);
            }
            Err(Fault::Full(want)) => {
                self.full.found(want, began, Instant::now());
                self.open_again(tell);
                // That took its time too. If it has found room in the reserve the disk is full for all others.
                if self.full.is_full() {
                    self.full.found(want, began, Instant::now());
                }
            }
            Err(Fault::Grave(why)) => self.fail(&why, tell),
        }
    }

    /// How far the file goes once the transaction at hand is in it.
    fn reach_next(&self) -> Reach {
        Reach {
            tables: self.pending.pos().filter(|_| self.with_rows).unwrap_or(self.reach.tables),
            last: self.reach.last + self.operations.len() as u64,
        }
    }

    /// The transaction is durable.
    fn written(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        let next = self.reach_next();
        if self.with_rows {
            if self.makes_room && self.refill.is_some() {
                self.let_free_room_be_used();
            }
            self.pending.clear();
            self.pending_since = None;
            self.makes_room = false;
        }
        self.makes_room |= self.asks_for_room();
        self.reserve_step = RESERVE_STEP;
        self.answer(true, tell);
        self.reach = next;
    }

    /// After a disk was found full redb does not go on. What was being written may be on the disk wholly or not at all;
    /// opened again it is durably the one or the other, and only then can anybody be told which.
    fn open_again(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        // A sync that fails now is known to the disk.
        self.file = None;
        match StoreFile::open(&self.disk, self.history) {
            Ok((file, reach)) => {
                self.file = Some(file);
                if reach == self.reach_next() {
                    self.written(tell);
                } else if reach == self.reach {
                    self.not_written(tell);
                } else {
                    self.fail(&Unusable::Corrupt("after the disk was full it is not what it was".into()), tell);
                }
            }
            Err(why) => match Fault::of(why, self.disk.watch()) {
                Fault::Full(want) if want.is_of_the_disk() && self.give_up_reserve() => self.open_again(tell),
                Fault::Full(want) => self.full.found(want, Instant::now(), Instant::now()),
                Fault::Grave(why) => self.fail(&why, tell),
            },
        }
    }

    /// The transaction found no room, and is not there. If something in it takes something away, that is tried again: first
    /// alone, then with room that was set aside.
    fn not_written(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        let asks_for_room = self.asks_for_room();
        if !(asks_for_room || self.makes_room && self.with_rows) || !self.full.is_of_the_disk() {
            return self.answer(false, tell);
        }
        // Rows that wait can be many times as much as what takes something away, and make place for nobody by themselves.
        let alone = match asks_for_room {
            true => !self.with_rows && !self.operations.iter().any(|(_, operation)| adds(operation)),
            false => self.operations.is_empty(),
        };
        if alone && !self.give_up_reserve() {
            return self.answer(false, tell);
        }
        if !asks_for_room {
            self.answer(false, tell);
            return self.write(true, tell);
        }
        let mut kept = Vec::new();
        let mut operations = mem::take(&mut self.operations).into_iter();
        for answer in &mut self.answers {
            if let Answer::Appended = answer {
                let (ticket, operation) = operations.next().expect("there is one for each answer");
                if adds(&operation) {
                    let why = self.full.refuse(&operation, Instant::now());
                    *answer = Answer::Told(Told::NotDone { ticket, why });
                } else {
                    kept.push((ticket, operation));
                }
            }
        }
        self.operations = kept;
        self.write(false, tell);
    }

    /// Whether an operation of the transaction at hand takes something away.
    fn asks_for_room(&self) -> bool {
        self.operations.iter().any(|(_, operation)| Room::of(operation) == Room::Makes)
    }

    fn give_up_reserve(&mut self) -> bool {
        // What is left of it behind this turn nobody else is to take.
        self.refill = Some(Instant::now());
        let given = self.disk.give_up_reserve(self.reserve_step);
        self.reserve_step = if given { 2 * self.reserve_step } else { RESERVE_STEP };
        given
    }

    /// What was taken away is free in the file, on a disk that was full a moment ago. But what is written there next goes in
    /// part where the file is longer than what the disk holds of it: a step of what was set aside is for that, as long as half
    /// is left to take more away.
    fn let_free_room_be_used(&mut self) {
        if self.disk.reserve() > self.reserved / 2 && self.disk.give_up_reserve(RESERVE_STEP) {
            self.refill = Some(Instant::now() + reserve::WAIT);
        }
    }

    /// Tells all that waited for the transaction, whether it was done or not.
    fn answer(&mut self, done: bool, tell: &mut dyn FnMut(Vec<Told>)) {
        if self.answers.is_empty() {
            return;
        }
        let mut pos = self.reach.last;
        let mut operations = mem::take(&mut self.operations).into_iter();
        let answers = mem::take(&mut self.answers);
        let told = answers.into_iter().map(|answer| match answer {
            Answer::Told(told) => told,
            Answer::Appended => {
                let (ticket, operation) = operations.next().expect("there is one for each answer");
                if done {
                    pos += 1;
                    Told::Committed { pos, ticket: Some(ticket), operation }
                } else {
                    Told::NotDone { ticket, why: self.full.refuse(&operation, Instant::now()) }
                }
            }
        });
        let told = told.collect();
        self.answers_bytes = 0;
        tell(told);
    }

    fn fail(&mut self, why: &Unusable, tell: &mut dyn FnMut(Vec<Told>)) {
        self.failed = true;
        self.file = None;
        self.operations.clear();
        self.answers.clear();
        let text = format!(
            "{} cannot be relied on any more: {why}; look after the disk, then start the hub again",
            self.shown
        );
        tell(vec![Told::Failed(Refusal::new(Code::StorageFailed, text))]);
    }

    fn read(&mut self, ticket: Ticket, table: u8, from: Bytes, bytes_max: usize, tell: &mut dyn FnMut(Vec<Told>)) {
        let Some(file) = &self.file else { return };
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let read = file.rows(RowKey { table, key: from }, &self.pending, |key, row| {
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
                    self.commit(false, tell);
                }
            }
            Err(why) => self.fail(&why, tell),
        }
    }

    /// Tells everything, in pieces, so that the hub can do other things in between.
    fn snapshot(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        let Some(file) = &self.file else { return };
        let pos = self.pending.pos().unwrap_or(self.reach.tables);
        let (mut rows, mut bytes, mut pieces) = (Vec::new(), 0, 0);
        let all_rows = file.rows(RowKey { table: 0, key: Bytes::new() }, &self.pending, |key, row| {
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
            file.operations(pos, |pos, operation| {
                bytes += operation.len();
                told.push(Told::Committed { pos, ticket: None, operation });
                if bytes >= TOLD_BYTES {
                    bytes = 0;
                    tell(mem::take(&mut told));
                }
                true
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
