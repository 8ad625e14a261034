//! A file that once held much more than it holds is made smaller, whatever happens meanwhile.

use super::*;

/// Opens a store that is made smaller if it has a little to spare.
fn open_smaller(disk: &Faulty) -> Result<Store, Error> {
    let limits = Limits { segments: SHORT, spare_bytes_max: 64 << 10 };
    Store::open_on(Box::new(disk.clone()), Path::new(""), IDENTITY, limits)
}

/// A closed store that once held much more than it holds, and what it holds.
fn spacious() -> (Faulty, Known) {
    const MANY: u64 = 100;
    let disk = Faulty::default();
    let mut store = open(&disk);
    turn(&mut store, vec![Ask::Snapshot]);
    let key = |n: u64| RowKey { table: 1, key: Bytes::from(n.to_be_bytes().to_vec()) };
    let row = |n: u64| Bytes::from(vec![n as u8; 20_000 + n as usize]);
    let rows = (0..MANY).map(|n| (key(n), RowChange::Put(row(n)))).collect();
    turn(&mut store, vec![append(1)]);
    turn(&mut store, vec![Ask::Tables { pos: 1, rows }]);
    finish(&mut store);
    let rows = (0..MANY).filter(|n| n % 10 != 9).map(|n| (key(n), RowChange::Gone)).collect();
    turn(&mut store, vec![append(2)]);
    turn(&mut store, vec![Ask::Tables { pos: 2, rows }]);
    finish(&mut store);
    turn(&mut store, vec![append(3)]);
    drop(store);
    let rows = (0..MANY).filter(|n| n % 10 == 9).map(|n| (key(n), row(n))).collect();
    let operations = vec![Bytes::new(), Bytes::new(), Bytes::from(3_u64.to_le_bytes().to_vec())];
    (disk, Known { operations, rows, tables: 2 })
}

#[test]
fn a_file_with_much_to_spare_is_made_smaller_when_it_is_opened() {
    let (disk, known) = spacious();
    let room = |disk: &Faulty| disk.state().bytes_mut(FILE).len();
    let before = room(&disk);
    drop(open(&disk));
    assert!(room(&disk) > before * 3 / 4, "a little to spare is left as it is");
    drop(open_smaller(&disk).unwrap());
    assert!(room(&disk) < before / 3, "{} of {before}", room(&disk));
    assert_eq!(found(&disk), known);
    let (writes, _) = disk.state().calls();
    drop(open(&disk));
    let (open_only, _) = disk.state().calls();
    drop(open_smaller(&disk).unwrap());
    let (again, _) = disk.state().calls();
    assert_eq!(again - open_only, open_only - writes, "it is not done again");
}

#[test]
fn a_file_that_is_being_made_smaller_survives_a_power_cut_and_a_kill_at_any_time() {
    let mut dice = Dice(9);
    let mut stopped = 0;
    for call in [Call::Write, Call::Sync] {
        for nth in 0.. {
            let (disk, known) = spacious();
            disk.state().failing = Some((call, nth, io::ErrorKind::Other));
            let opened = open_smaller(&disk);
            if disk.state().failing.is_some() {
                break;
            }
            if let Err(error) = &opened {
                assert!(error.to_string().contains("`store.redb`") || error.to_string().contains("`log."), "{error}");
                stopped += 1;
            }
            // Neither the one nor the other goes on writing.
            drop(opened);
            let cut = disk.state().cut(&mut dice);
            let killed = disk.state().killed();
            for left in [cut, killed] {
                assert_eq!(found(&left), known, "{call:?} {nth}");
            }
        }
    }
    assert!(stopped > 20, "{stopped}");
}

#[test]
fn a_file_that_cannot_be_made_smaller_for_want_of_room_is_used_as_it_is() {
    let (mut used, mut refused) = (0, 0);
    for nth in 0.. {
        let (disk, known) = spacious();
        disk.state().failing = Some((Call::Write, nth, io::ErrorKind::StorageFull));
        // To open it a little is written too, before it is made smaller and after.
        let Ok(mut store) = open_smaller(&disk) else {
            refused += 1;
            continue;
        };
        if disk.state().failing.is_some() {
            break;
        }
        used += 1;
        let told = turn(&mut store, vec![Ask::Snapshot, append(4)]);
        assert!(matches!(told.last(), Some(Told::Committed { pos: 4, .. })), "{told:?}");
        drop(store);
        assert_eq!(found(&disk).rows, known.rows, "{nth}");
    }
    assert!(used > 20 && refused < 30, "{used} and {refused}");
}
