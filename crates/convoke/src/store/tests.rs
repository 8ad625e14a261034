//! The store against a foundation that keeps nothing, on disks that fill up, fail, or lose their power.

mod faulty;
mod spare;

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::mpsc;
use std::time::Instant;

use bytes::Bytes;
use convoke_core::Code;
use convoke_core::foundation::{Ask, Memory, RowKey, Ticket, Told};

use super::disk::WatchedDisk;
use super::file::StoreFile;
use super::full::Want;
use super::{SPARE_BYTES_MAX, Store, StoreThread};
use crate::error::Error;
use faulty::{Call, Dice, Faulty};

const HISTORY: [u8; 16] = [7; 16];

fn open(disk: &Faulty) -> Store {
    open_on(disk, HISTORY).unwrap()
}

fn open_on(disk: &Faulty, history: [u8; 16]) -> Result<Store, Error> {
    Store::open_on(Box::new(disk.clone()), "`store.redb`".into(), history, SPARE_BYTES_MAX)
}

/// An empty store that begins with what it is asked for when the second of these is dropped.
pub(crate) fn that_waits() -> (StoreThread, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    (StoreThread::after(wait, open(&Faulty::default())), go)
}

/// A store whose next sync fails, on a thread of its own.
pub(crate) async fn on_a_disk_that_fails(lock: std::fs::File) -> StoreThread {
    let disk = Faulty::default();
    let store = open(&disk);
    disk.state().failing = Some((Call::Sync, 0, io::ErrorKind::Other));
    StoreThread::open_with(move || Ok(store), lock).await.unwrap()
}

fn refused(disk: &Faulty, history: [u8; 16]) -> Error {
    open_on(disk, history).unwrap_err()
}

fn turn(store: &mut Store, asks: Vec<Ask>) -> Vec<Told> {
    let mut all = Vec::new();
    store.turn(asks, &mut |told| all.extend(told));
    all
}

fn finish(store: &mut Store) -> Vec<Told> {
    let mut all = Vec::new();
    store.finish(&mut |told| all.extend(told));
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
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for (key, row) in changed {
            match row {
                Some(row) => puts.push((key, row)),
                None => deletes.push(key),
            }
        }
        self.known.tables = pos;
        Some(Ask::Tables { pos, puts, deletes })
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
fn a_write_that_finds_no_room_is_not_done_and_the_next_one_is() {
    failing(Call::Write, io::ErrorKind::StorageFull, |store, hub, disk, dice| {
        assert!(!hub.failed && !store.has_failed());
        holds(&disk.state().cut(dice), &hub.known, &[], "after a full disk");
        let not_done = hub.not_done.len();
        let asks = vec![hub.append(), hub.barrier(), hub.append()];
        store.full.found(Want::Disk, Instant::now(), Instant::now());
        let told = turn(store, asks);
        hub.told(&told);
        assert_eq!(hub.not_done.len(), not_done, "it heals by itself");
        holds(&disk.state().cut(dice), &hub.known, &[], "healed");
    });
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

/// Parts of a large transaction are written before it is committed, to make room in memory.
#[test]
fn an_error_in_the_middle_of_a_large_transaction_is_no_different() {
    for (kind, is_full) in [(io::ErrorKind::Other, false), (io::ErrorKind::StorageFull, true)] {
        let disk = Faulty::default();
        let mut store = open(&disk);
        turn(&mut store, vec![Ask::Snapshot]);
        disk.state().failing = Some((Call::Write, 0, kind));
        let operation = Bytes::from(vec![1; 30_000]);
        let asks = (0..1_500).map(|ticket| Ask::Append { ticket, operation: operation.clone() });
        let told = turn(&mut store, asks.collect());
        match is_full {
            true => assert!(told.len() == 1_500 && told.iter().all(|told| matches!(told, Told::NotDone { .. }))),
            false => assert!(matches!(&told[..], [Told::Failed(_)]), "{} are told", told.len()),
        }
    }
}

/// A disk without room for anything is not opened again; nobody is told what became of the transaction until it is.
#[test]
fn while_a_full_disk_cannot_be_opened_nobody_is_told_anything() {
    for call in [Call::Write, Call::Sync] {
        let disk = Faulty::default();
        let mut store = open(&disk);
        turn(&mut store, vec![Ask::Snapshot]);
        disk.state().failing = Some((Call::Write, 0, io::ErrorKind::StorageFull));
        disk.state().failing_then = Some((call, io::ErrorKind::StorageFull));
        let told = turn(&mut store, vec![append(1)]);
        match call {
            Call::Write => {
                assert_eq!(told, []);
                assert_eq!(turn(&mut store, vec![append(2)]), []);
                while store.due().unwrap() > Instant::now() {
                    std::thread::yield_now();
                }
                let told = turn(&mut store, Vec::new());
                assert!(matches!(
                    &told[..],
                    [Told::NotDone { ticket: 1, .. }, Told::Committed { pos: 1, ticket: Some(2), .. }]
                ));
            }
            Call::Sync => assert!(matches!(&told[..], [Told::Failed(_)]), "{told:?}"),
        }
    }
}

#[test]
fn a_full_disk_is_read_from_and_heals() {
    let disk = Faulty::default();
    let mut store = open(&disk);
    let mut hub = Small::new(1);
    hub.told(&turn(&mut store, vec![Ask::Snapshot]));
    let room = disk.state().blocks() + 50;
    disk.state().blocks_max = Some(room);
    while hub.not_done.is_empty() {
        assert!(!hub.failed, "a full disk has not failed");
        let mut asks = hub.asks();
        asks.push(hub.append());
        hub.told(&turn(&mut store, asks));
    }
    let ask = Ask::Read { ticket: 9_999, table: 0, from: Bytes::new(), bytes_max: 1_000 };
    let told = turn(&mut store, vec![ask]);
    assert!(matches!(&told[..], [Told::ReadDone { rows, .. }] if !rows.is_empty()), "{told:?}");
    let long = Ask::Append { ticket: 9_999, operation: Bytes::from(vec![1; 1 << 20]) };
    let told = turn(&mut store, vec![long]);
    let [Told::NotDone { why, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(why.text, "the hub's disk is full, so nothing was kept; make room on it and try again");
    let committed = hub.known.operations.len();
    disk.state().blocks_max = None;
    while hub.known.operations.len() == committed {
        let ask = hub.append();
        hub.told(&turn(&mut store, vec![ask]));
    }
    holds(&disk.state().killed(), &hub.known, &[], "healed");
}

/// A thread with a store on this disk, and what it tells.
/// That a principal is revoked, as the hub writes it.
fn revoke(ticket: Ticket) -> Ask {
    let operation = [&[1, 5][..], &[0; 16], &[0; 24], &[3, 0], b"cam", &[4]].concat();
    Ask::Append { ticket, operation: operation.into() }
}

/// A disk that was full of what the hub itself keeps could not be made room on by the hub.
#[test]
fn on_a_full_disk_what_takes_something_away_gets_the_room_that_was_set_aside() {
    let disk = Faulty::default();
    let mut store = open(&disk);
    turn(&mut store, vec![Ask::Snapshot]);
    let room = disk.state().blocks() + 50;
    disk.state().blocks_max = Some(room);
    disk.state().reserve = vec![40; 8];
    let mut ticket = 0;
    // What was given up by earlier transactions can be used after a refusal: the disk is full when one follows another.
    let mut fill = |store: &mut Store| {
        // In the end there is no room for what is as short as that which takes something away.
        for length in [2_000, 60] {
            let mut refused = 0;
            while refused < 2 {
                ticket += 1;
                let told = turn(store, vec![Ask::Append { ticket, operation: Bytes::from(vec![9; length]) }]);
                refused = if matches!(&told[..], [Told::NotDone { .. }]) { refused + 1 } else { 0 };
                assert!(ticket < 9_000, "the disk is not full");
            }
        }
    };
    // More than what was given back meanwhile.
    let long = |ticket| Ask::Append { ticket, operation: Bytes::from(vec![9; 150_000]) };
    for _ in 0..2 {
        fill(&mut store);
        let told = turn(&mut store, vec![long(19_001), revoke(19_002), long(19_003), Ask::Barrier { ticket: 19_004 }]);
        assert!(
            matches!(
                &told[..],
                [
                    Told::NotDone { ticket: 19_001, .. },
                    Told::Committed { ticket: Some(19_002), .. },
                    Told::NotDone { ticket: 19_003, .. },
                    Told::BarrierDone { ticket: 19_004 }
                ]
            ),
            "{:?}",
            told.iter().map(mem::discriminant).collect::<Vec<_>>()
        );
    }
    assert!(disk.state().reserve.len() <= 6, "each time it takes a step or more");
    disk.state().reserve.clear();
    fill(&mut store);
    let told = turn(&mut store, vec![long(19_005), revoke(19_006)]);
    let refused = told.iter().filter(|told| matches!(told, Told::NotDone { .. })).count();
    assert_eq!(refused, 2, "nothing was set aside any more");
}

async fn thread(disk: &Faulty) -> (StoreThread, mpsc::Receiver<Told>) {
    let (store, lock) = (open(disk), tempfile::tempfile().unwrap());
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
    Ask::Tables { pos, puts: vec![(RowKey { table: 1, key: "key".into() }, "row".into())], deletes: Vec::new() }
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
    let (_, syncs) = disk.state().calls();
    thread.queue().ask(vec![tables(1)]);
    while disk.state().calls().1 == syncs {
        std::thread::yield_now();
    }
    // A power cut after this sync has the rows.
    let killed = disk.state().killed();
    thread.finish();
    assert_eq!(found(&killed).tables, 1);
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
    // Two transactions, each of which may make the file longer.
    assert!(after - before <= 4, "{} syncs", after - before);
    thread.finish();
}

/// A closed store with some rows and some operations.
fn filled() -> (Faulty, Known) {
    let disk = Faulty::default();
    let mut store = open(&disk);
    let mut hub = Small::new(3);
    hub.told(&turn(&mut store, vec![Ask::Snapshot]));
    for _ in 0..60 {
        let mut asks = hub.asks();
        asks.push(hub.append());
        hub.told(&turn(&mut store, asks));
    }
    drop(store);
    (disk, hub.known)
}

#[test]
fn a_flipped_bit_is_found_or_does_not_matter() {
    let (disk, known) = filled();
    let bytes = disk.state().bytes_mut().clone();
    let (mut refused, mut dice) = (0, Dice(5));
    // Most of a fresh file is empty: beyond what is used nothing can matter.
    let used = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    for _ in 0..600 {
        let mut wrong = bytes.clone();
        let at = dice.below(used as u64) as usize;
        wrong[at] ^= 1 << dice.below(8);
        let disk = Faulty::of(wrong.clone());
        match open_on(&disk, HISTORY) {
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                assert!(text.contains("`store.redb`"), "{text}");
            }
            Ok(store) => {
                drop(store);
                holds(&Faulty::of(wrong), &known, &[], &format!("byte {at}"));
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
         exchanged; nothing was changed in it"
    );
    let no_file = refused(&Faulty::of(b"something else entirely, and long enough to be a header".repeat(9)), HISTORY);
    assert!(no_file.to_string().starts_with("`store.redb` is corrupt: "), "{no_file}");
    let cut = disk.state().bytes_mut()[..30_000].to_vec();
    let half = refused(&Faulty::of(cut), HISTORY);
    assert!(half.to_string().starts_with("`store.redb` is corrupt: redb says `file truncated"), "{half}");
    let remedy = "`; put a copy of it back, or start with another folder; nothing was changed in it";
    assert!(half.to_string().ends_with(remedy), "{half}");
}

#[test]
fn a_format_of_another_version_is_refused() {
    let disk = Faulty::default();
    drop(open(&disk));
    for other in [3, 5] {
        StoreFile::set_format(disk.clone(), other);
        let error = refused(&disk, HISTORY);
        assert!(matches!(error, Error::Configuration(_)), "{error:?}");
        let text =
            format!("`store.redb`: its format is {other}, and this program knows 4; use the program that wrote it");
        assert_eq!(error.to_string(), text);
    }
}

/// Where it fails, the number has to grow, so that no program reads what another one has written in another form.
#[test]
fn another_form_of_the_file_has_another_number() {
    let disk = WatchedDisk::new(Box::new(Faulty::default()));
    let (file, _) = StoreFile::open(&disk, HISTORY).unwrap();
    let tables = ["meta", "operations", "pieces of operations", "pieces of rows", "rows"];
    assert_eq!(file.form(), (4, tables.map(str::to_owned).to_vec()));
}

#[test]
fn a_store_that_was_not_begun_with_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(super::FILE);
    // What a start leaves that was killed while it made the file.
    std::fs::write(path.with_extension("redb.new"), b"half").unwrap();
    drop(Store::open(&path, HISTORY).unwrap());
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.filter(|name| name != super::reserve::FILE).collect();
    assert_eq!(names, [super::FILE]);
    drop(Store::open(&path, HISTORY).unwrap());
}

#[test]
fn an_emptied_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(super::FILE);
    drop(Store::open(&path, HISTORY).unwrap());
    std::fs::write(&path, b"").unwrap();
    let refused = Store::open(&path, HISTORY).unwrap_err();
    assert!(refused.to_string().ends_with("is corrupt: it is empty; nothing was changed in it"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), b"");
}

/// What is synced when a file is closed was nobody's yet, but a disk that fails then is not asked again: the next sync may
/// say that all is well.
#[test]
fn a_sync_that_fails_while_the_old_file_is_closed_is_the_end_too() {
    let disk = Faulty::default();
    let mut store = open(&disk);
    turn(&mut store, vec![Ask::Snapshot, append(1)]);
    disk.state().failing = Some((Call::Sync, 0, io::ErrorKind::Other));
    let mut told = Vec::new();
    store.open_again(&mut |all| told.extend(all));
    assert!(disk.state().failing.is_none(), "it was synced");
    assert!(matches!(&told[..], [Told::Failed(why)] if why.code == Code::StorageFailed), "{told:?}");
    assert!(store.has_failed());
}
