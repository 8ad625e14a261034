//! The store: the foundation of a hub that keeps what it must on this machine. What is asked for is committed when it is
//! durable in the [log](log); the rows that come of it go to [redb](file) behind, in large transactions, and what redb
//! holds is cut from the log. So a start reads the rows and, behind them, the operations that came last.
//!
//! What is asked for while one batch is made durable goes into the next one together: one sync for all. Rows wait for a
//! moment, so that many changes of one row are written once; no commit waits for them, unless too many wait.
//!
//! A full disk is told as what was not done, and the store goes on: nothing that adds to what is kept is taken while redb or
//! the log has no room, and what was committed before waits in the log. After any other error it tells
//! [`Failed`](Told::Failed) and nothing more: what such a disk says to be durable need not be.
//!
//! [`Store`] is what happens, without a thread; `thread` runs it, and beside it what `tables` does; `disk` is where the
//! bytes are.

pub(crate) mod backup;
mod disk;
mod file;
mod full;
mod log;
mod pages;
mod pending;
mod pieces;
mod reading;
mod reserve;
pub(crate) mod salvage;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod thread;
mod view;
pub(crate) mod whole;
mod work;

use std::collections::VecDeque;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_core::foundation::{Ask, Room, Ticket, Told};
use convoke_core::{Code, HubIdentity, Refusal};

use crate::error::Error;
use crate::files::advised;
use disk::{Disk, Failed, FileDisk, WatchedDisk};
pub(crate) use file::FILE;
pub(crate) use file::Unusable;
use file::{Fault, StoreFile};
use full::{FullDisk, Want};
use log::{Log, Own, Sizes};
use pending::Pending;
use reading::Found;
pub(crate) use reserve::{Reserve, STEP as RESERVE_STEP};
use tables::Tables;
pub(crate) use thread::{Queue, StoreThread, Tell, WantImage};

/// How long rows wait, so that many changes of one are written once, and many rows together. After a crash their
/// operations are applied again, which takes less than this.
const ROWS_WAIT: Duration = Duration::from_secs(1);

/// Rows that wait are written at once when they are more than this, in bytes; while as many are being written, appends
/// wait. They are in memory twice.
const ROWS_WAITING_BYTES_MAX: usize = 8 << 20;

/// And when they are more than this part of the room that is set aside: on a full disk those that wait are written with it.
const ROWS_WAITING_PART: u64 = 4;

/// How long after the last batch the log says that all of it is durable.
const MARK_WAIT: Duration = Duration::from_millis(100);

/// The first segment of the log of each start, in bytes: soon made, and enough for a hub that keeps little.
const SEGMENT_BYTES_FIRST: u64 = 1 << 20;

/// Rows and operations of the snapshot that are told together, and answers to reads that wait for a transaction before
/// them, in bytes: while they are told the hub does nothing else.
const TOLD_BYTES: usize = 1 << 20;

/// A file with more room to spare than this, in bytes, and more than what it holds, is made smaller when it is opened.
/// Less is soon needed again, and not worth the wait; but see [`SPARE_SEGMENTS`].
const SPARE_BYTES_MAX: u64 = 128 << 20;

/// On a small disk already with more to spare than this many segments of the log: there a file that was as long as the disk
/// has holes, which redb takes for room, and for which the disk has none.
const SPARE_SEGMENTS: u64 = 2;

/// What an ask is answered with once the batch before it is durable.
#[derive(Debug)]
enum Answer {
    /// What becomes of the next operation.
    Appended,
    /// This.
    Told(Told),
}

/// What there was no room for the last time.
#[derive(Clone, Copy, Debug, Default)]
struct Lacks {
    /// A batch of the log.
    batch: bool,
    /// The log's next segment.
    segment: bool,
    /// Rows.
    rows: bool,
}

/// What is to become of an operation.
enum Verdict {
    Take,
    Refuse,
    /// Nothing yet.
    Wait,
}

/// A store, and what has been asked of it. Whoever runs it gives it asks, does the [work](Store::work) that it gives out,
/// and tells what it says; see the module.
#[derive(Debug)]
pub(crate) struct Store {
    disk: Arc<WatchedDisk>,
    /// The hub's folder, for sentences.
    folder: PathBuf,
    /// redb's file, for sentences.
    shown: String,
    log: Log,
    tables: Arc<Tables>,
    /// The position that redb reaches.
    reach: u64,
    /// Not looked at yet.
    asks: VecDeque<Ask>,
    /// Who wants an image of what is kept, and how many of the asks in front were there before.
    images: VecDeque<(usize, WantImage)>,
    /// Operations of the next batch; while the log is in doubt, of the last one, of which nobody knows.
    operations: Vec<(Ticket, Bytes)>,
    operations_bytes: u64,
    answers: Vec<Answer>,
    answers_bytes: usize,
    /// Rows that are to be written.
    gathering: Pending,
    /// Since when rows wait.
    gathering_since: Option<Instant>,
    /// Rows that are being written.
    writing: Option<Arc<Pending>>,
    /// What is being done beside, since when.
    working_since: Option<Instant>,
    /// Rows are to be written now, however few.
    rows_are_urgent: bool,
    /// A full disk is to be tried again now.
    attempt_is_wanted: bool,
    /// So many of the asks in front were there when the disk was tried that is being tried now.
    covered: usize,
    /// So many of them were there when it was tried, and was full.
    tried: usize,
    /// When the last batch was made durable, unless the log has said so.
    mark_since: Option<Instant>,
    full: FullDisk,
    lacks: Lacks,
    /// The positions of the first and the last operation that takes something away and whose rows are not written: they too
    /// may use the room that was set aside.
    makes_room: Option<(u64, u64)>,
    /// What is given up next of the room that was set aside, in bytes, for the log: it doubles until it is enough.
    reserve_step: u64,
    /// The most that was set aside, in bytes.
    reserved: u64,
    /// When it is tried to set room aside again.
    refill: Option<Instant>,
    is_finishing: bool,
    failed: bool,
}

/// Which segments are made, and when redb's file is made smaller.
#[derive(Clone, Copy, Debug)]
struct Limits {
    segments: Sizes,
    spare_bytes_max: u64,
}

/// A sentence about what is wrong with a file, as the error that a start ends with.
pub(crate) fn refuse(shown: &str, why: Unusable) -> Error {
    match why {
        Unusable::Corrupt(text) => {
            let text = format!("{shown} is corrupt: {text}");
            Error::Refused(Refusal::new(Code::StorageFailed, text))
        }
        Unusable::Format(text) => Error::Configuration(format!("{shown}: {text}")),
        Unusable::Io(Failed { tried, error }) => {
            let source = match Want::of(&error) {
                Some(want) => std::io::Error::new(error.kind(), want.sentence()),
                None => advised(error),
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

fn asks_for_room(ask: &Ask) -> bool {
    matches!(ask, Ask::Append { operation, .. } if Room::of(operation) == Room::Makes)
}

/// Opens something; on a full disk with room that was set aside.
fn with_reserve<T>(disk: &WatchedDisk, open: impl Fn() -> Result<T, log::Refused>) -> Result<T, log::Refused> {
    let mut step = RESERVE_STEP;
    loop {
        match open() {
            Err((_, Unusable::Io(failed)))
                if has_no_room(&failed.error) && !disk.watch().sync_failed() && disk.give_up_reserve(step) =>
            {
                step = step.saturating_mul(2);
            }
            opened => return opened,
        }
    }
}

/// Makes redb's file smaller if much of it is empty.
fn make_smaller(
    disk: &WatchedDisk,
    mut file: StoreFile,
    reach: u64,
    history: [u8; 16],
    shown: &str,
    spare_bytes_max: u64,
) -> Result<StoreFile, Unusable> {
    let room = disk.room(FILE)?;
    // Only a large one can have so much to spare, and finding out takes a look at all of it.
    if room <= spare_bytes_max {
        return Ok(file);
    }
    let spare = file.spare(room)?;
    if spare <= spare_bytes_max.max(room / 2) {
        return Ok(file);
    }
    tracing::warn!(
        "the hub starts when {shown} is made smaller: it takes {} MiB on the disk, and holds {}",
        room >> 20,
        (room - spare) >> 20
    );
    match file.compact().and_then(StoreFile::close).map_err(|why| Fault::of(why, disk.watch())) {
        Ok(()) => {}
        Err(Fault::Full(_)) => {
            tracing::warn!("{shown} stays as large as it is: making it smaller needs more room on the disk");
        }
        Err(Fault::Grave(why)) => return Err(why),
    }
    let (opened, now) = StoreFile::open(disk, history)?;
    file = opened;
    if now != reach {
        return Err(Unusable::Corrupt("it was changed while it was made smaller".into()));
    }
    Ok(file)
}

impl Store {
    /// Opens the store in a hub's folder, for a new start; it is made if it is not there. Reads all of it once.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`Code::StorageFailed`] for files that are corrupt, or of another history;
    /// [`Error::Configuration`] for those of another format; [`Error::Io`]. The files are left as they are.
    pub(crate) fn open(folder: &Path, identity: HubIdentity, segment_bytes_max: u64) -> Result<Store, Error> {
        let segments = Sizes { first: SEGMENT_BYTES_FIRST, most: segment_bytes_max.max(SEGMENT_BYTES_FIRST) };
        let spare_bytes_max = SPARE_BYTES_MAX.min(SPARE_SEGMENTS * segments.most);
        let limits = Limits { segments, spare_bytes_max };
        Store::open_on(Box::new(FileDisk::of(folder)), folder, identity, limits)
    }

    /// Opens the store on any disk.
    fn open_on(disk: Box<dyn Disk>, folder: &Path, identity: HubIdentity, limits: Limits) -> Result<Store, Error> {
        let disk = Arc::new(WatchedDisk::new(disk));
        let history = identity.history;
        let own = Own::of(identity);
        let shown = |name: &str| format!("`{}`", folder.join(name).display());
        let refused = |(name, why): log::Refused| refuse(&shown(&name), why);
        let of_file = |why: Unusable| refuse(&shown(FILE), why);
        if !StoreFile::is_there(&disk).map_err(of_file)? {
            log::begin(&disk, &own).map_err(refused)?;
            StoreFile::make(&disk, history).map_err(of_file)?;
        }
        let was = disk.reserve();
        let open_file = || StoreFile::open(&disk, history).map_err(|why| (FILE.to_owned(), why));
        let (file, reach) = with_reserve(&disk, open_file).map_err(refused)?;
        let file = make_smaller(&disk, file, reach, history, &shown(FILE), limits.spare_bytes_max).map_err(of_file)?;
        let open_log = || Log::open(disk.clone(), own, limits.segments, reach);
        let log = with_reserve(&disk, open_log).map_err(refused)?;
        let refill = (!disk.refill_reserve(was)).then(|| Instant::now() + reserve::WAIT);
        let reserved = disk.reserve().max(was);
        Ok(Store {
            folder: folder.to_owned(),
            shown: shown(FILE),
            log,
            tables: Arc::new(Tables::new(disk.clone(), history, file)),
            disk,
            reach,
            asks: VecDeque::new(),
            images: VecDeque::new(),
            operations: Vec::new(),
            operations_bytes: 0,
            answers: Vec::new(),
            answers_bytes: 0,
            gathering: Pending::default(),
            gathering_since: None,
            writing: None,
            working_since: None,
            rows_are_urgent: false,
            attempt_is_wanted: false,
            covered: 0,
            tried: 0,
            mark_since: None,
            full: FullDisk::default(),
            lacks: Lacks::default(),
            makes_room: None,
            reserve_step: RESERVE_STEP,
            reserved,
            refill,
            is_finishing: false,
            failed: false,
        })
    }

    /// Nothing is answered any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Work was given out, and it is not told yet what became of it.
    pub(crate) fn is_working(&self) -> bool {
        self.working_since.is_some()
    }

    /// What does the work.
    fn tables(&self) -> Arc<Tables> {
        self.tables.clone()
    }

    /// When [`turn`](Store::turn) must be called although nothing was asked.
    pub(crate) fn due(&self) -> Option<Instant> {
        let mark = self.mark_since.map(|since| since + MARK_WAIT);
        let beside = if self.is_working() { None } else { self.work_due() };
        [mark, beside, self.doubt_due(), self.full.due()].into_iter().flatten().min()
    }

    fn doubt_due(&self) -> Option<Instant> {
        self.full.retry().filter(|_| self.log.is_in_doubt())
    }

    /// When work is to be done although nothing is asked.
    fn work_due(&self) -> Option<Instant> {
        let lacks = self.lacks.rows || self.lacks.segment;
        let retry = self.full.retry().filter(|_| lacks);
        let rows = self.gathering_since.map(|since| since + ROWS_WAIT).filter(|_| !self.lacks.rows);
        [retry, rows, self.refill].into_iter().flatten().min()
    }

    /// Answers, in their order, these asks and those before them that are not answered yet.
    pub(crate) fn turn(&mut self, asks: Vec<Ask>, tell: &mut dyn FnMut(Vec<Told>)) {
        if self.failed {
            return;
        }
        self.asks.extend(asks);
        if self.doubt_due().is_some_and(|due| due <= Instant::now()) {
            self.settle_doubt(tell);
        }
        while !self.failed && !self.log.is_in_doubt() && self.take(tell) {}
        if !self.failed && !self.log.is_in_doubt() {
            self.commit(tell);
        }
        self.give_images();
        if self.mark_since.is_some_and(|since| since + MARK_WAIT <= Instant::now()) {
            self.mark(tell);
        }
        if let Some(news) = self.full.news(&self.shown, Instant::now()) {
            tracing::warn!("{news}");
        }
    }

    /// Writes what waits: the hub stops. There is [work](Store::work) to do for that, and no other any more. Rows for which
    /// there was no room a moment ago stay in the log.
    pub(crate) fn finish(&mut self) {
        self.is_finishing = true;
        self.rows_are_urgent = !self.lacks.rows;
    }

    /// Closes the files.
    pub(crate) fn close(mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        self.mark(tell);
        let Some(Err(why)) = self.tables.take().map(StoreFile::close) else { return };
        // For want of room it is only opened more slowly the next time.
        if let Fault::Grave(why) = Fault::of(why, self.disk.watch()) {
            self.fail(&why, tell);
        }
    }

    fn mark(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        self.mark_since = None;
        if !self.failed
            && let Err(why) = self.log.mark()
        {
            self.fail(&why, tell);
        }
    }

    fn rows_waiting_bytes_max(&self) -> usize {
        match self.reserved {
            0 => ROWS_WAITING_BYTES_MAX,
            reserved => ROWS_WAITING_BYTES_MAX.min((reserved / ROWS_WAITING_PART) as usize),
        }
    }

    /// Takes the next ask, if there is one and it need not wait.
    fn take(&mut self, tell: &mut dyn FnMut(Vec<Told>)) -> bool {
        let mut found = Found::default();
        let verdict = match self.asks.front() {
            None => return false,
            Some(Ask::Append { operation, .. }) => self.judge(&operation.clone()),
            Some(Ask::Snapshot) if self.tables.file().is_none() => Verdict::Wait,
            Some(Ask::Read { table, from, bytes_max, .. }) => match self.look(*table, from, *bytes_max) {
                Ok(Some(rows)) => {
                    found = rows;
                    Verdict::Take
                }
                Ok(None) => Verdict::Wait,
                Err(why) => {
                    self.fail(&why, tell);
                    return false;
                }
            },
            Some(_) => Verdict::Take,
        };
        if let Verdict::Wait = verdict {
            return false;
        }
        let Some(ask) = self.asks.pop_front() else { return false };
        self.covered = self.covered.saturating_sub(1);
        self.tried = self.tried.saturating_sub(1);
        for (before, _) in &mut self.images {
            *before = before.saturating_sub(1);
        }
        match ask {
            Ask::Append { ticket, operation } => match verdict {
                Verdict::Refuse => {
                    let why = self.full.refuse(&operation, Instant::now());
                    self.answers.push(Answer::Told(Told::NotDone { ticket, why }));
                }
                _ => {
                    let bytes = Log::bytes_of(&operation);
                    if self.operations_bytes + bytes > self.log.batch_bytes_max() {
                        self.commit(tell);
                    }
                    self.operations_bytes += bytes;
                    self.operations.push((ticket, operation));
                    self.answers.push(Answer::Appended);
                }
            },
            Ask::Tables { pos, rows } => {
                assert!(pos <= self.log.last(), "rows come of operations that were told to be committed");
                self.gathering.add(pos, rows);
                self.gathering_since.get_or_insert_with(Instant::now);
                let was_full = self.full.is_full() || self.refill.is_some();
                self.rows_are_urgent |= was_full && self.makes_room.is_some_and(|(first, _)| first <= pos);
            }
            Ask::Read { ticket, .. } => self.found(ticket, found, tell),
            Ask::Barrier { ticket } => self.answers.push(Answer::Told(Told::BarrierDone { ticket })),
            Ask::Snapshot => {
                self.commit(tell);
                self.snapshot(tell);
            }
        }
        true
    }

    /// What is to become of the operation in front.
    fn judge(&mut self, operation: &Bytes) -> Verdict {
        if !self.full.is_full() {
            let too_many = self.gathering.bytes() > self.rows_waiting_bytes_max();
            return if too_many && self.writing.is_some() { Verdict::Wait } else { Verdict::Take };
        }
        match Room::of(operation) {
            Room::Makes => return Verdict::Take,
            Room::Begins if self.asks.iter().any(asks_for_room) => return Verdict::Take,
            _ => {}
        }
        if self.full.is_resting(Instant::now()) || self.tried > 0 {
            Verdict::Refuse
        } else if self.lacks.rows || self.lacks.segment {
            self.attempt_is_wanted = true;
            Verdict::Wait
        } else {
            Verdict::Take
        }
    }

    /// Makes durable what was appended, and tells what became of everything.
    fn commit(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        if self.operations.is_empty() {
            return self.answer(true, tell);
        }
        let began = Instant::now();
        match self.log.append(&self.operations) {
            Ok(()) => self.committed(tell),
            Err(Fault::Full(want)) => {
                self.lacks.batch = true;
                self.full.found(want, began, Instant::now());
                if !self.log.is_in_doubt() {
                    self.not_committed(tell);
                }
            }
            Err(Fault::Grave(why)) => self.fail(&why, tell),
        }
    }

    fn committed(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        let last = self.log.last();
        if self.operations.iter().any(|(_, operation)| Room::of(operation) == Room::Makes) {
            let first = self.makes_room.map_or(last + 1 - self.operations.len() as u64, |(first, _)| first);
            self.makes_room = Some((first, last));
        }
        self.lacks.batch = false;
        self.reserve_step = RESERVE_STEP;
        self.look_for_room();
        self.mark_since = Some(Instant::now());
        self.answer(true, tell);
    }

    /// Whether what a write has left that found no room is there is certain now, or tried again later.
    fn settle_doubt(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        let began = Instant::now();
        match self.log.make_certain() {
            Ok(()) => self.not_committed(tell),
            Err(Fault::Full(want)) => self.full.found(want, began, Instant::now()),
            Err(Fault::Grave(why)) => self.fail(&why, tell),
        }
    }

    /// The batch found no room, and is not there. If something in it takes something away, that is tried again: first
    /// alone, then with room that was set aside.
    fn not_committed(&mut self, tell: &mut dyn FnMut(Vec<Told>)) {
        let asks_for_room = self.operations.iter().any(|(_, operation)| Room::of(operation) == Room::Makes);
        if !asks_for_room || !self.full.is_of_the_disk() {
            return self.answer(false, tell);
        }
        let alone = !self.operations.iter().any(|(_, operation)| adds(operation));
        if alone && !self.give_up_reserve() {
            return self.answer(false, tell);
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
        self.commit(tell);
    }

    fn give_up_reserve(&mut self) -> bool {
        // What is left of it behind this turn nobody else is to take.
        self.refill = Some(Instant::now());
        let given = self.disk.give_up_reserve(self.reserve_step);
        self.reserve_step = if given { self.reserve_step.saturating_mul(2) } else { RESERVE_STEP };
        given
    }

    /// Tells all that waited for the batch, whether it was done or not.
    fn answer(&mut self, done: bool, tell: &mut dyn FnMut(Vec<Told>)) {
        if self.answers.is_empty() {
            return;
        }
        let mut operations = mem::take(&mut self.operations).into_iter();
        let mut pos = self.log.last() - if done { operations.len() as u64 } else { 0 };
        let answers = mem::take(&mut self.answers);
        let mut told = Vec::with_capacity(answers.len());
        told.extend(answers.into_iter().map(|answer| match answer {
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
        }));
        (self.answers_bytes, self.operations_bytes) = (0, 0);
        tell(told);
    }

    fn fail(&mut self, why: &Unusable, tell: &mut dyn FnMut(Vec<Told>)) {
        self.failed = true;
        drop(self.tables.take());
        self.operations.clear();
        self.answers.clear();
        let text = format!(
            "the store in `{}` cannot be relied on any more: {why}; look after the disk, then start the hub again",
            self.folder.display()
        );
        tell(vec![Told::Failed(Refusal::new(Code::StorageFailed, text))]);
    }
}
