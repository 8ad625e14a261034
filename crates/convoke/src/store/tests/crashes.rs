//! What a crash leaves between any two calls of the disk: of a change of segments, of a transaction of redb, of a start.

use super::*;

/// What was told to be committed is there behind every call that came after, and whatever a crash leaves can be started on.
#[test]
fn between_any_two_calls_of_the_disk_a_crash_leaves_what_was_committed() {
    for seed in 0..6 {
        let disk = Faulty::default();
        drop(open(&disk));
        let mut store = open(&disk);
        let mut hub = Small::new(seed);
        hub.told(&turn(&mut store, vec![Ask::Snapshot]));
        let mut dice = Dice(seed + 77);
        for round in 0..40 {
            let asks = hub.asks();
            let (before, maybe) = (hub.known.clone(), appends(&asks));
            disk.state().seen = Some((2, Dice(dice.number()), Vec::new()));
            let mut told = turn(&mut store, asks);
            if dice.below(4) == 0 {
                told.extend(finish(&mut store));
            }
            let (_, _, seen) = disk.state().seen.take().unwrap();
            for (at, left) in seen.iter().enumerate() {
                holds(left, &before, &maybe, &format!("seed {seed}, round {round}, call {at}"));
            }
            hub.told(&told);
        }
        assert!(disk.state().names().iter().any(|name| name > &"log.00000000000000000020".to_owned()));
    }
}

/// The start is interrupted again and again, and the last one comes to its end.
#[test]
fn a_start_that_is_interrupted_anywhere_loses_nothing() {
    for seed in 0..4 {
        let disk = Faulty::default();
        let mut store = open(&disk);
        let mut hub = Small::new(seed);
        hub.told(&turn(&mut store, vec![Ask::Snapshot]));
        for round in 0..30 {
            let asks = hub.asks();
            hub.told(&turn(&mut store, asks));
            if round % 11 == 10 {
                hub.told(&finish(&mut store));
            }
        }
        drop(store);
        let mut dice = Dice(seed);
        let killed = disk.state().killed();
        let mut disks = vec![killed, disk.state().cut(&mut dice)];
        for _ in 0..3 {
            let mut next = Vec::new();
            for disk in &disks {
                disk.state().seen = Some((1, Dice(dice.number()), Vec::new()));
                drop(open(disk));
                let (_, _, seen) = disk.state().seen.take().unwrap();
                assert!(seen.len() > 10, "{}", seen.len());
                for left in &seen {
                    holds(left, &hub.known, &[], &format!("seed {seed}"));
                }
                next.push(seen[dice.below(seen.len() as u64) as usize].state().killed());
            }
            disks = next;
        }
    }
}

/// A hub that is started for the first time and killed meanwhile is a new hub the next time.
#[test]
fn a_first_start_that_is_interrupted_anywhere_is_made_good() {
    let disk = Faulty::default();
    disk.state().seen = Some((3, Dice(1), Vec::new()));
    drop(open(&disk));
    let (_, _, seen) = disk.state().seen.take().unwrap();
    for left in &seen {
        assert_eq!(found(left), Known::default());
    }
}

/// Like a hub of many lives: what was committed stays, at its position, whatever happened in between.
#[test]
fn over_many_crashes_what_was_committed_is_there_in_order_and_without_gaps() {
    for seed in 0..30 {
        let mut dice = Dice(seed);
        let mut disk = Faulty::default();
        let mut all: Vec<Bytes> = Vec::new();
        let mut ticket = 0;
        for life in 0..12 {
            let context = format!("seed {seed}, life {life}");
            let mut hub = Small::new(dice.number());
            hub.ticket = ticket;
            let mut store = open(&disk);
            hub.told(&turn(&mut store, vec![Ask::Snapshot]));
            let behind = hub.known.tables as usize;
            assert_eq!(hub.known.operations[behind..], all[behind..], "{context}");
            assert_eq!(hub.known.rows, rows(&all[..behind]), "{context}");
            hub.known.operations = all.clone();
            let mut maybe = Vec::new();
            for _ in 0..dice.below(25) {
                let asks = hub.asks();
                maybe = appends(&asks);
                let told = turn(&mut store, asks);
                if dice.below(12) == 0 {
                    // It is never told.
                    break;
                }
                maybe.clear();
                hub.told(&told);
                if dice.below(5) == 0 {
                    hub.told(&finish(&mut store));
                }
            }
            let left = if dice.below(2) == 0 { disk.state().cut(&mut dice) } else { disk.state().killed() };
            drop(store);
            disk = left;
            ticket = hub.ticket;
            all = hub.known.operations;
            // Some of what nobody was told of may be there too: from now on it is, or never.
            let count = found(&disk.state().killed()).operations.len();
            assert!((all.len()..=all.len() + maybe.len()).contains(&count), "{context}");
            all.extend(maybe.into_iter().take(count - all.len()));
        }
    }
}
