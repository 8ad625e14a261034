//! The store against a foundation that keeps nothing, on disks that fill up, fail, or lose their power.

mod crashes;
pub(super) mod faulty;
mod full;
mod spare;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convoke_core::foundation::{Ask, Memory, RowChange, RowKey, Ticket, Told};
use convoke_core::{Code, HubIdentity};

use super::disk::WatchedDisk;
use super::file::{FILE, StoreFile};
use super::log::Sizes;
use super::{Limits, SPARE_BYTES_MAX, Store, StoreThread};
use crate::error::Error;
use faulty::{Call, Dice, Faulty};

const HISTORY: [u8; 16] = [7; 16];

const IDENTITY: HubIdentity = HubIdentity { hub: [6; 16], history: HISTORY, epoch: 3 };

/// Segments that are soon full, in bytes.
const SHORT: Sizes = Sizes { first: 2 << 10, most: 16 << 10 };

/// Segments that are not.
const LONG: Sizes = Sizes { first: 1 << 20, most: 1 << 20 };

fn open(disk: &Faulty) -> Store {
    open_on(disk, HISTORY).unwrap()
}

fn open_on(disk: &Faulty, history: [u8; 16]) -> Result<Store, Error> {
    open_with(disk, history, SHORT)
}

fn open_with(disk: &Faulty, history: [u8; 16], segments: Sizes) -> Result<Store, Error> {
    let limits = Limits { segments, spare_bytes_max: SPARE_BYTES_MAX };
    Store::open_on(Box::new(disk.clone()), Path::new(""), HubIdentity { history, ..IDENTITY }, limits)
}

/// An empty store that begins with what it is asked for when the second of these is dropped.
pub(crate) fn that_waits() -> (StoreThread, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    (StoreThread::after(wait, open(&Faulty::default())), go)
}

/// A store whose next sync fails, on a thread of its own.
pub(crate) async fn on_a_disk_that_fails(lock: std::fs::File) -> StoreThread {
    let disk = Faulty::default();
    let mut store = open(&disk);
    assert_eq!(turn(&mut store, Vec::new()), [], "the next segment is there");
    disk.state().failing = Some((Call::Sync, 0, io::ErrorKind::Other));
    StoreThread::open_with(move || Ok(store), lock).await.unwrap()
}

fn refused(disk: &Faulty, history: [u8; 16]) -> Error {
    open_on(disk, history).unwrap_err()
}

/// A turn, and all the work that comes of it.
fn turn(store: &mut Store, asks: Vec<Ask>) -> Vec<Told> {
    let mut all = Vec::new();
    store.turn(asks, &mut |told| all.extend(told));
    work(store, &mut all);
    all
}

fn work(store: &mut Store, all: &mut Vec<Told>) {
    while let Some(work) = store.work() {
        let done = store.tables().work(work);
        store.done(done, &mut |told| all.extend(told));
        store.turn(Vec::new(), &mut |told| all.extend(told));
    }
}

/// All rows that wait are written.
fn finish(store: &mut Store) -> Vec<Told> {
    let mut all = Vec::new();
    store.finish();
    work(store, &mut all);
    // It goes on as if it had not.
    store.is_finishing = false;
    work(store, &mut all);
    all
}

/// What a hub knows of its foundation: which operations are there, and the rows that come of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    operations: Vec<Bytes>,
    rows: BTreeMap<RowKey, Bytes>,
    /// The position that the rows reach, as the hub has asked for.
    tables: u64,
}

/// A hub that appends, and for each operation changes some rows as the operation says.
struct Small {
    dice: Dice,
    ticket: Ticket,
    appended: BTreeMap<Ticket, Bytes>,
    known: Known,
    not_done: Vec<Bytes>,
    ready: bool,
    failed: bool,
}

impl Small {
    fn new(seed: u64) -> Small {
        Small {
            dice: Dice(seed),
            ticket: 0,
            appended: BTreeMap::new(),
            known: Known::default(),
            not_done: Vec::new(),
            ready: false,
            failed: false,
        }
    }

    fn append(&mut self) -> Ask {
        self.ticket += 1;
        let long = if self.dice.below(20) == 0 { 30_000 } else { 200 };
        let mut operation = self.ticket.to_le_bytes().to_vec();
        operation.resize(8 + self.dice.below(long) as usize, self.ticket as u8);
        let operation = Bytes::from(operation);
        self.appended.insert(self.ticket, operation.clone());
        Ask::Append { ticket: self.ticket, operation }
    }

    /// The rows after what was committed, if the hub feels like it.
    fn tables(&mut self) -> Option<Ask> {
        let pos = self.known.operations.len() as u64;
        if pos == self.known.tables || self.dice.below(3) > 0 {
            return None;
        }
        let changed: BTreeMap<_, _> = self.known.operations[self.known.tables as usize..].iter().map(effect).collect();
        self.known.tables = pos;
        let change = |row: Option<Bytes>| row.map_or(RowChange::Gone, RowChange::Put);
        let rows = changed.into_iter().map(|(key, row)| (key, change(row))).collect();
        Some(Ask::Tables { pos, rows })
    }

    fn read(&mut self) -> Ask {
        self.ticket += 1;
        let (table, key) = (self.dice.below(3) as u8, self.dice.below(60) as u8);
        let from = if key == 59 { Bytes::new() } else { Bytes::from(vec![key]) };
        Ask::Read { ticket: self.ticket, table, from, bytes_max: self.dice.below(2_000) as usize }
    }

    fn barrier(&mut self) -> Ask {
        self.ticket += 1;
        Ask::Barrier { ticket: self.ticket }
    }

    /// What one turn of a busy hub asks for.
    fn asks(&mut self) -> Vec<Ask> {
        let mut asks: Vec<Ask> = self.tables().into_iter().collect();
        for _ in 0..self.dice.below(6) {
            let ask = match self.dice.below(10) {
                0 => self.read(),
                1 => self.barrier(),
                _ => self.append(),
            };
            asks.push(ask);
        }
        asks
    }

    fn told(&mut self, all: &[Told]) {
        for told in all {
            assert!(!self.failed, "nothing is told after Failed, but {told:?}");
            match told {
                Told::Rows { pos, rows } => {
                    assert!(!self.ready);
                    self.known.tables = *pos;
                    self.known.rows.extend(rows.iter().cloned());
                    // The operations before are not told; nobody asks for them either.
                    self.known.operations.resize(*pos as usize, Bytes::new());
                }
                Told::Ready => self.ready = true,
                Told::Committed { pos, ticket, operation } => {
                    assert_eq!(*pos, self.known.operations.len() as u64 + 1);
                    assert_eq!(ticket.is_none(), !self.ready);
                    if let Some(ticket) = ticket {
                        assert_eq!(self.appended.remove(ticket).as_ref(), Some(operation));
                    }
                    self.known.operations.push(operation.clone());
                }
                Told::NotDone { ticket, why } => {
                    assert_eq!(why.code, Code::StorageFull);
                    self.not_done.push(self.appended.remove(ticket).unwrap());
                }
                Told::ReadDone { .. } | Told::BarrierDone { .. } => {}
                Told::Uncertain { .. } => panic!("a store is always certain"),
                Told::Failed(why) => {
                    assert_eq!(why.code, Code::StorageFailed);
                    self.failed = true;
                }
            }
        }
    }
}

/// What an operation does to a row.
fn effect(operation: &Bytes) -> (RowKey, Option<Bytes>) {
    let number = u64::from_le_bytes(operation[..8].try_into().unwrap());
    let key = RowKey { table: (number % 3) as u8, key: Bytes::from(vec![(number % 59) as u8]) };
    (key, (number % 5 > 0).then(|| operation.slice(..operation.len().min(500))))
}

/// What a hub finds that starts on this disk.
fn found(disk: &Faulty) -> Known {
    let mut hub = Small::new(0);
    hub.told(&turn(&mut open(disk), vec![Ask::Snapshot]));
    assert!(hub.ready);
    hub.known
}

/// The disk holds what was committed, and of the rest at most `maybe`, from its first on; its rows are those of some moment
/// and the operations behind them lead to the rows of the end.
fn holds(disk: &Faulty, committed: &Known, maybe: &[Bytes], context: &str) {
    let found = found(disk);
    let mut all = committed.operations.clone();
    all.extend_from_slice(maybe);
    let count = found.operations.len();
    assert!(count >= committed.operations.len(), "{context}: {count} of {} are there", committed.operations.len());
    assert!(count <= all.len(), "{context}: {count} of {} are there", all.len());
    let behind = found.tables as usize;
    assert_eq!(found.operations[behind..], all[behind..count], "{context}");
    assert_eq!(found.rows, rows(&all[..behind]), "{context}");
}

/// The rows after these operations.
fn rows(operations: &[Bytes]) -> BTreeMap<RowKey, Bytes> {
    let all: BTreeMap<_, _> = operations.iter().map(effect).collect();
    all.into_iter().filter_map(|(key, row)| Some((key, row?))).collect()
}

#[test]
fn a_store_says_what_a_foundation_in_memory_says() {
    for seed in 0..20 {
        let disk = Faulty::default();
        let (mut store, mut memory) = (open(&disk), Memory::default());
        let mut hub = Small::new(seed);
        let mut asks = vec![Ask::Snapshot];
        for _ in 0..200 {
            let mut expected = Vec::new();
            for ask in asks.clone() {
                memory.ask(ask, |told| expected.push(told));
            }
            let told = turn(&mut store, asks);
            assert_eq!(told, expected, "seed {seed}");
            hub.told(&told);
            if hub.dice.below(3) == 0 {
                assert_eq!(finish(&mut store), [], "rows are written in silence");
            }
            asks = hub.asks();
        }
        hub.told(&turn(&mut store, asks));
        assert!(finish(&mut store).is_empty());
        drop(store);
        let found = found(&disk);
        assert_eq!(found.tables, hub.known.tables, "what was asked for last is written in the end");
        assert_eq!(found.operations.len(), hub.known.operations.len());
    }
}

#[test]
fn after_a_power_cut_at_any_time_everything_committed_is_there() {
    for seed in 0..12 {
        let disk = Faulty::default();
        let mut dice = Dice(seed + 1_000);
        drop(open(&disk));
        let mut store = open(&disk);
        let mut hub = Small::new(seed);
        hub.told(&turn(&mut store, vec![Ask::Snapshot]));
        for round in 0..60 {
            let asks = hub.asks();
            let before = hub.known.clone();
            let maybe: Vec<Bytes> = appends(&asks);
            // What a transaction leaves on its way, seen from the moment before it is told.
            let mut told = turn(&mut store, asks);
            if dice.below(3) == 0 {
                told.extend(finish(&mut store));
            }
            holds(&disk.state().cut(&mut dice), &before, &maybe, "before it was told");
            hub.told(&told);
            let context = format!("seed {seed}, round {round}");
            holds(&disk.state().cut(&mut dice), &hub.known, &[], &context);
            holds(&disk.state().killed(), &hub.known, &[], &context);
        }
    }
}

fn appends(asks: &[Ask]) -> Vec<Bytes> {
    let operation = |ask: &Ask| match ask {
        Ask::Append { operation, .. } => Some(operation.clone()),
        _ => None,
    };
    asks.iter().filter_map(operation).collect()
}

/// One call of the disk fails, once, whichever it is: what is known then, and what a power cut leaves.
fn failing(call: Call, kind: io::ErrorKind, check: impl Fn(&mut Store, &mut Small, &Faulty, &mut Dice)) {
    for nth in (0..20).chain((20..80).step_by(3)) {
        let disk = Faulty::default();
        let mut dice = Dice(nth);
        drop(open(&disk));
        let mut store = open(&disk);
        let mut hub = Small::new(nth);
        hub.told(&turn(&mut store, vec![Ask::Snapshot]));
        disk.state().failing = Some((call, nth, kind));
        for _ in 0..1_000 {
            let asks = hub.asks();
            hub.told(&turn(&mut store, asks));
            if dice.below(3) == 0 {
                hub.told(&finish(&mut store));
            }
            if disk.state().failing.is_none() {
                break;
            }
            if dice.below(8) == 0 {
                holds(&disk.state().cut(&mut dice), &hub.known, &[], "while all is well");
            }
        }
        assert!(disk.state().failing.is_none(), "the {nth}th {call:?} was made");
        check(&mut store, &mut hub, &disk, &mut dice);
    }
}

#[test]
fn after_any_other_error_nothing_is_acknowledged() {
    let is_final = |store: &mut Store, hub: &mut Small, disk: &Faulty, dice: &mut Dice| {
        assert!(hub.failed && store.has_failed());
        let maybe: Vec<Bytes> = hub.appended.values().cloned().collect();
        holds(&disk.state().cut(dice), &hub.known, &maybe, "after an error");
        let calls = disk.state().calls();
        let ask = hub.append();
        assert!(turn(store, vec![ask]).is_empty());
        assert!(finish(store).is_empty());
        assert_eq!(disk.state().calls(), calls, "the disk is left alone");
    };
    failing(Call::Write, io::ErrorKind::Other, is_final);
    failing(Call::Sync, io::ErrorKind::Other, is_final);
    // A sync that says so has lost what it was to make durable.
    failing(Call::Sync, io::ErrorKind::StorageFull, is_final);
}

async fn thread(disk: &Faulty) -> (StoreThread, mpsc::Receiver<Told>) {
    let (store, lock) = (open_with(disk, HISTORY, LONG).unwrap(), tempfile::tempfile().unwrap());
    let thread = StoreThread::open_with(move || Ok(store), lock).await.unwrap();
    let (tell, told) = mpsc::channel();
    thread.start(Box::new(move |all| all.into_iter().for_each(|told| tell.send(told).unwrap())));
    thread.queue().ask(vec![Ask::Snapshot]);
    while told.recv().unwrap() != Told::Ready {}
    (thread, told)
}

fn append(ticket: Ticket) -> Ask {
    Ask::Append { ticket, operation: Bytes::from(ticket.to_le_bytes().to_vec()) }
}

fn tables(pos: u64) -> Ask {
    Ask::Tables { pos, rows: vec![(RowKey { table: 1, key: "key".into() }, RowChange::Put("row".into()))] }
}

#[tokio::test]
async fn what_is_asked_for_before_a_hub_stops_is_written() {
    let disk = Faulty::default();
    let (thread, told) = thread(&disk).await;
    thread.queue().ask(vec![append(1)]);
    assert!(matches!(told.recv().unwrap(), Told::Committed { pos: 1, ticket: Some(1), .. }));
    thread.queue().ask(vec![append(2)]);
    assert!(matches!(told.recv().unwrap(), Told::Committed { pos: 2, ticket: Some(2), .. }));
    // Rows that would wait for another operation.
    thread.queue().ask(vec![tables(1)]);
    thread.finish();
    assert!(told.recv().is_err(), "nothing else is told");
    let found = found(&disk);
    assert_eq!((found.tables, found.operations.len()), (1, 2));
    assert_eq!(found.rows.values().collect::<Vec<_>>(), ["row"]);
}

#[tokio::test]
async fn rows_are_written_although_nothing_else_is() {
    let disk = Faulty::default();
    let (thread, told) = thread(&disk).await;
    thread.queue().ask(vec![append(1)]);
    told.recv().unwrap();
    thread.queue().ask(vec![tables(1)]);
    let began = Instant::now();
    loop {
        let killed = disk.state().killed();
        if found(&killed).tables == 1 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "they are not written");
        std::thread::sleep(Duration::from_millis(20));
    }
    thread.finish();
}

#[tokio::test]
async fn many_who_wait_share_a_sync() {
    const MANY: u64 = 1_000;
    let disk = Faulty::default();
    let (thread, told) = thread(&disk).await;
    // While the disk is busy with the first of them, or with less, the others come.
    let busy = disk.state();
    let (_, before) = busy.calls();
    for ticket in 1..=MANY {
        thread.queue().ask(vec![append(ticket)]);
    }
    drop(busy);
    for ticket in 1..=MANY {
        assert!(matches!(told.recv().unwrap(), Told::Committed { pos, .. } if pos == ticket));
    }
    let (_, after) = disk.state().calls();
    // Two batches, the next segment, and that all is durable.
    assert!(after - before <= 4, "{} syncs", after - before);
    thread.finish();
}

/// A closed store with some rows and some operations.
fn filled() -> (Faulty, Known) {
    let disk = Faulty::default();
    let mut store = open(&disk);
    let mut hub = Small::new(3);
    hub.told(&turn(&mut store, vec![Ask::Snapshot]));
    for round in 0..60 {
        let mut asks = hub.asks();
        asks.push(hub.append());
        hub.told(&turn(&mut store, asks));
        if round % 7 == 0 {
            assert_eq!(finish(&mut store), []);
        }
    }
    drop(store);
    (disk, hub.known)
}

#[test]
fn a_flipped_bit_is_found_or_does_not_matter() {
    let disk = Faulty::default();
    let mut store = open(&disk);
    let key = |n: u64| RowKey { table: 1, key: Bytes::from(n.to_be_bytes().to_vec()) };
    let rows = (0..400).map(|n| (key(n), RowChange::Put(Bytes::from(vec![n as u8; 900])))).collect();
    turn(&mut store, vec![Ask::Snapshot, append(1)]);
    turn(&mut store, vec![Ask::Tables { pos: 1, rows }, append(2)]);
    assert_eq!(finish(&mut store), []);
    drop(store);
    let all = disk.state().all();
    let known = found(&disk);
    let bytes = &all[FILE];
    let (mut refused, mut dice) = (0, Dice(5));
    // Most of a fresh file is empty: beyond what is used nothing can matter.
    let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    for _ in 0..600 {
        let mut wrong = bytes.clone();
        let at = dice.below(used as u64) as usize;
        wrong[at] ^= 1 << dice.below(8);
        let mut all = all.clone();
        all.insert(FILE.to_owned(), wrong);
        let disk = Faulty::of(all);
        match open_on(&disk, HISTORY) {
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                // Or what it had held before is not in the log any more.
                assert!(text.contains("`store.redb`") || text.contains("`log."), "{text}");
            }
            Ok(store) => {
                drop(store);
                assert_eq!(found(&disk), known, "byte {at}");
            }
        }
    }
    assert!(refused > 100, "{refused} of 600");
}

#[test]
fn a_file_that_is_not_this_hubs_is_refused_with_a_sentence() {
    let (disk, _) = filled();
    let other = refused(&disk, [8; 16]);
    assert_eq!(
        other.to_string(),
        "`store.redb` is corrupt: it belongs to another history than hub.json; put back the one of these two that was \
         exchanged"
    );
    let with_file = |bytes: Vec<u8>| {
        let mut all = disk.state().all();
        all.insert(FILE.to_owned(), bytes);
        refused(&Faulty::of(all), HISTORY)
    };
    let no_file = with_file(b"something else entirely, and long enough to be a header".repeat(9));
    assert!(no_file.to_string().starts_with("`store.redb` is corrupt: "), "{no_file}");
    let half = disk.state().all()[FILE][..30_000].to_vec();
    let half = with_file(half);
    assert!(half.to_string().starts_with("`store.redb` is corrupt: redb says `file truncated"), "{half}");
    let remedy = "`; put a copy of it back, or start with another folder";
    assert!(half.to_string().ends_with(remedy), "{half}");
}

#[test]
fn a_format_of_another_version_is_refused() {
    let disk = Faulty::default();
    drop(open(&disk));
    for other in [4, 6] {
        StoreFile::set_format(disk.clone(), other);
        let error = refused(&disk, HISTORY);
        assert!(matches!(error, Error::Configuration(_)), "{error:?}");
        let text =
            format!("`store.redb`: its format is {other}, and this program knows 5; use the program that wrote it");
        assert_eq!(error.to_string(), text);
    }
}

/// Where it fails, the number has to grow, so that no program reads what another one has written in another form.
#[test]
fn another_form_of_the_file_has_another_number() {
    let disk = WatchedDisk::new(Box::new(Faulty::default()));
    let (file, _) = StoreFile::open(&disk, HISTORY).unwrap();
    let tables = ["meta", "pieces of rows", "rows"];
    assert_eq!(file.form(), (5, tables.map(str::to_owned).to_vec()));
}

#[test]
fn a_store_that_was_not_begun_with_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    // What starts leave that were killed while they made the files.
    for half in ["store.redb.new", "log.new", "log.spare"] {
        std::fs::write(folder.path().join(half), b"half").unwrap();
    }
    for _ in 0..2 {
        drop(Store::open(folder.path(), IDENTITY, 0).unwrap());
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.filter(|name| name != super::reserve::FILE).collect();
        names.sort();
        assert_eq!(names, ["log.00000000000000000001", "log.meta", "store.redb"]);
    }
}

#[test]
fn an_emptied_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    drop(Store::open(folder.path(), IDENTITY, 0).unwrap());
    std::fs::write(&path, b"").unwrap();
    let refused = Store::open(folder.path(), IDENTITY, 0).unwrap_err();
    let expected = "is corrupt: it is empty, and all that was kept is gone; put a copy of it back, or start with another \
                    folder";
    assert!(refused.to_string().ends_with(expected), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}
