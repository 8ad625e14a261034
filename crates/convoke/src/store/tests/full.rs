//! A full disk: what is refused, what is done all the same, and how it heals.

use std::mem;

use super::super::file::Fault;
use super::super::full::Want;
use super::*;

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

/// Asks until it is done. A disk that was slow to say that it is full is left alone for as long.
fn until_committed(store: &mut Store, mut ask: impl FnMut() -> Ask) -> Vec<Told> {
    let began = Instant::now();
    loop {
        let told = turn(store, vec![ask()]);
        if let [Told::Committed { .. }] = &told[..] {
            return told;
        }
        assert!(matches!(&told[..], [Told::NotDone { .. }]), "{told:?}");
        assert!(began.elapsed().as_secs() < 60, "it does not heal");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// More than the memory of redb holds, of 30,000 bytes each.
const ROWS: u32 = 1_500;

/// Parts of a large transaction are written before it is committed, to make room in memory.
#[test]
fn an_error_in_the_middle_of_a_large_transaction_is_no_different() {
    for (kind, is_full) in [(io::ErrorKind::Other, false), (io::ErrorKind::StorageFull, true)] {
        let disk = Faulty::default();
        let mut store = open(&disk);
        turn(&mut store, vec![Ask::Snapshot, append(1)]);
        let row = Bytes::from(vec![1; 30_000]);
        let key = |n: u32| RowKey { table: 1, key: Bytes::from(n.to_be_bytes().to_vec()) };
        let rows = (0..ROWS).map(|n| (key(n), RowChange::Put(row.clone()))).collect();
        disk.state().failing = Some((Call::Write, 0, kind));
        let told = turn(&mut store, vec![Ask::Tables { pos: 1, rows }]);
        match is_full {
            true => {
                assert_eq!(told, [], "rows are written in silence");
                assert_eq!(found(&disk.state().killed()).operations.len(), 1, "the operation is in the log");
                // Whoever wants something has it tried again.
                until_committed(&mut store, || append(2));
                assert_eq!(found(&disk.state().killed()).rows.len(), ROWS as usize);
            }
            false => assert!(matches!(&told[..], [Told::Failed(_)]), "{} are told", told.len()),
        }
    }
}

/// As long as it is not certain that a batch is not there nobody is told what became of it.
#[test]
fn what_a_full_disk_may_hold_half_of_is_told_when_it_is_certain() {
    for call in [Call::Write, Call::Sync] {
        let disk = Faulty::default();
        let mut store = open(&disk);
        turn(&mut store, vec![Ask::Snapshot]);
        disk.state().failing = Some((Call::Write, 0, io::ErrorKind::StorageFull));
        disk.state().failing_then = Some((call, io::ErrorKind::StorageFull));
        let told = turn(&mut store, vec![Ask::Append { ticket: 1, operation: Bytes::from(vec![9; 200]) }]);
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
                assert_eq!(found(&disk.state().killed()).operations.len(), 1);
            }
            Call::Sync => assert!(matches!(&told[..], [Told::Failed(_)]), "{told:?}"),
        }
    }
}

/// Rows are written beside the log: who reads may come between the write that finds no room and what is done about it.
#[test]
fn who_reads_while_rows_find_no_room_waits_until_the_file_is_opened_again() {
    let disk = Faulty::default();
    let mut store = open(&disk);
    turn(&mut store, vec![Ask::Snapshot, append(1)]);
    // More than redb still has in memory when it reads.
    let count = 2 * ROWS;
    let row = Bytes::from(vec![1; 30_000]);
    let key = |n: u32| RowKey { table: 1, key: Bytes::from(n.to_be_bytes().to_vec()) };
    let rows = (0..count).map(|n| (key(n), RowChange::Put(row.clone()))).collect();
    assert_eq!(turn(&mut store, vec![Ask::Tables { pos: 1, rows }, append(2)]).len(), 1);
    finish(&mut store);
    let mut told = Vec::new();
    store.turn(vec![Ask::Tables { pos: 2, rows: vec![(key(0), RowChange::Put(row))] }], &mut |more| told.extend(more));
    disk.state().failing = Some((Call::Write, 0, io::ErrorKind::StorageFull));
    let lost = store.tables.file().as_ref().unwrap().write(&store.gathering).unwrap_err();
    assert!(matches!(lost, Fault::Full(Want::Disk)), "{lost:?}");
    let read = Ask::Read { ticket: 7, table: 1, from: Bytes::new(), bytes_max: usize::MAX };
    store.turn(vec![read], &mut |more| told.extend(more));
    assert!(told.is_empty() && !store.has_failed(), "{} are told", told.len());
    drop(store.tables.take());
    store.turn(Vec::new(), &mut |more| told.extend(more));
    assert!(told.is_empty() && !store.has_failed(), "{} are told", told.len());
    store.rows_are_urgent = true;
    let told = turn(&mut store, Vec::new());
    assert!(
        matches!(&told[..], [Told::ReadDone { ticket: 7, rows }] if rows.len() == count as usize),
        "{}",
        told.len()
    );
}

#[test]
fn a_full_disk_is_read_from_and_heals() {
    for rows_are_written in [false, true] {
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
            if rows_are_written {
                hub.told(&finish(&mut store));
            }
        }
        let ask = Ask::Read { ticket: 9_999, table: 0, from: Bytes::new(), bytes_max: 1_000 };
        let told = turn(&mut store, vec![ask]);
        assert!(matches!(&told[..], [Told::ReadDone { rows, .. }] if !rows.is_empty()), "{told:?}");
        let long = Ask::Append { ticket: 9_999, operation: Bytes::from(vec![1; 1 << 20]) };
        let told = turn(&mut store, vec![long]);
        let [Told::NotDone { why, .. }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(why.text, "the hub's disk is full, so nothing was kept; make room on it and try again");
        holds(&disk.state().killed(), &hub.known, &[], "full");
        disk.state().blocks_max = None;
        let ask = hub.append();
        hub.told(&until_committed(&mut store, || ask.clone()));
        holds(&disk.state().killed(), &hub.known, &[], "healed");
    }
}

/// That a principal is revoked, as the hub writes it.
fn revoke(ticket: Ticket) -> Ask {
    let operation = [&[1, 5][..], &[0; 16], &[0; 24], &[3, 0], b"cam", &[4]].concat();
    Ask::Append { ticket, operation: operation.into() }
}

/// More than what was given back meanwhile.
fn long(ticket: Ticket) -> Ask {
    Ask::Append { ticket, operation: Bytes::from(vec![9; 150_000]) }
}

/// Nothing that adds to what is kept is taken any more.
fn fill(store: &mut Store, ticket: &mut Ticket) {
    for length in [2_000, 60] {
        let mut refused = 0;
        while refused < 2 {
            *ticket += 1;
            let told = turn(store, vec![Ask::Append { ticket: *ticket, operation: Bytes::from(vec![9; length]) }]);
            refused = if matches!(&told[..], [Told::NotDone { .. }]) { refused + 1 } else { 0 };
            assert!(*ticket < 9_000, "the disk is not full");
        }
    }
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
    fill(&mut store, &mut ticket);
    let mut revoked = 0;
    // The log has some room left for these alone, and then takes what was set aside.
    while disk.state().reserve.len() > 6 {
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
        revoked += 1;
        assert!(revoked < 9_000, "the reserve is not needed");
    }
    disk.state().reserve.clear();
    // Until nothing at all is left.
    while !matches!(
        &turn(&mut store, vec![long(19_005), revoke(19_006)])[..],
        [Told::NotDone { .. }, Told::NotDone { .. }]
    ) {
        revoked += 1;
        assert!(revoked < 9_000, "there is room");
    }
    assert_eq!(found(&disk.state().killed()).operations.len() as u64, store.log.last(), "all that was told is there");
}

/// The rows of what takes something away are written on a full disk, and nothing else's.
#[test]
fn rows_that_take_something_away_get_the_room_that_was_set_aside_too() {
    let disk = Faulty::default();
    let mut store = open(&disk);
    turn(&mut store, vec![Ask::Snapshot, append(1)]);
    let key = |n: u64| RowKey { table: 1, key: Bytes::from(n.to_be_bytes().to_vec()) };
    let rows = |from: u64| (from..from + 40).map(|n| (key(n), RowChange::Put(vec![7; 10_000].into()))).collect();
    turn(&mut store, vec![Ask::Tables { pos: 1, rows: rows(0) }]);
    assert_eq!(finish(&mut store), []);
    let room = disk.state().blocks();
    disk.state().blocks_max = Some(room);
    disk.state().reserve = vec![1; 200];
    turn(&mut store, vec![append(2)]);
    turn(&mut store, vec![Ask::Tables { pos: 2, rows: rows(40) }]);
    assert_eq!(finish(&mut store), []);
    let on_disk = || found(&disk.state().killed());
    // Opening the file may have needed some.
    let left = disk.state().reserve.len();
    assert!(on_disk().tables == 1 && left > 100, "the reserve is not for these");
    assert!(matches!(&turn(&mut store, vec![append(3)])[..], [Told::NotDone { .. }]));
    assert!(matches!(&turn(&mut store, vec![revoke(4)])[..], [Told::Committed { pos: 3, .. }]));
    turn(&mut store, vec![Ask::Tables { pos: 3, rows: vec![(key(0), RowChange::Gone)] }]);
    // With those that waited, as they are in one transaction.
    assert_eq!((on_disk().tables, on_disk().rows.len()), (3, 79));
    assert!(disk.state().reserve.len() < left);
    until_committed(&mut store, || append(5));
}

/// What is synced when a file is closed was nobody's yet, but a disk that fails then is not asked again: the next sync may
/// say that all is well.
#[test]
fn a_sync_that_fails_while_the_old_file_is_closed_is_the_end_too() {
    let disk = Faulty::default();
    let mut store = open(&disk);
    turn(&mut store, vec![Ask::Snapshot, append(1)]);
    disk.state().failing = Some((Call::Write, 0, io::ErrorKind::StorageFull));
    disk.state().failing_then = Some((Call::Sync, io::ErrorKind::Other));
    turn(&mut store, vec![tables(1)]);
    let told = finish(&mut store);
    assert!(disk.state().failing.is_none(), "it was synced");
    assert!(matches!(&told[..], [Told::Failed(why)] if why.code == Code::StorageFailed), "{told:?}");
    assert!(store.has_failed());
}
