//! What a log does with what disks make of it: every damage of what was written last, and of every record before.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use convoke_core::HubIdentity;

use super::record::HEAD_BYTES;
use super::*;
use crate::store::disk::WatchedDisk;
use crate::store::tests::faulty::{Dice, Faulty};

const IDENTITY: HubIdentity = HubIdentity { hub: [6; 16], history: [7; 16], epoch: 3 };

const SHORT: Sizes = Sizes { first: 1 << 10, most: 2 << 10 };

type Files = BTreeMap<String, Vec<u8>>;

fn open(disk: &Faulty, tables: u64) -> Result<Log, Refused> {
    let watched = Arc::new(WatchedDisk::new(Box::new(disk.clone())));
    Log::open(watched, Own::of(IDENTITY), SHORT, tables)
}

/// What a hub finds in a log: all operations behind what redb holds.
fn found(files: &Files, tables: u64) -> Result<Vec<(u64, Bytes)>, Refused> {
    let log = open(&Faulty::of(files.clone()), tables)?;
    let mut found = Vec::new();
    log.operations(tables, |pos, operation| found.push((pos, operation))).map_err(|why| (String::new(), why))?;
    assert_eq!(log.last(), tables + found.len() as u64);
    Ok(found)
}

/// A real run: some starts, many segments, and batches at the end of which it is known where they are.
struct Run {
    files: Files,
    /// All that was acknowledged.
    all: Vec<(u64, Bytes)>,
    /// The segment at the end, and where the last two batches begin and end in it.
    current: String,
    batches: [usize; 3],
    /// How many operations there were before each of them.
    before: [usize; 2],
}

fn run(seed: u64, is_marked: bool) -> Run {
    let disk = Faulty::default();
    let mut dice = Dice(seed);
    begin(&WatchedDisk::new(Box::new(disk.clone())), &Own::of(IDENTITY)).unwrap();
    let mut all = Vec::new();
    let mut append = |log: &mut Log, count: u64, longest: u64| {
        let mut batch = Vec::new();
        for _ in 0..count {
            let pos = all.len() as u64 + 1;
            let operation = Bytes::from(vec![pos as u8; 1 + dice.below(longest) as usize]);
            all.push((pos, operation.clone()));
            batch.push((pos, operation));
        }
        log.append(&batch).unwrap();
        all.len()
    };
    for _ in 0..2 {
        let mut log = open(&disk, 0).unwrap();
        while log.sealed.len() < 4 {
            append(&mut log, 3, 60);
            if log.last().is_multiple_of(2) {
                log.mark().unwrap();
            }
        }
    }
    let mut log = open(&disk, 0).unwrap();
    // The last two are in one segment.
    log.change_segment(0).unwrap();
    let mut batches = [0; 3];
    let mut before = [0; 2];
    append(&mut log, 2, 40);
    for index in 0..2 {
        batches[index] = log.current.at as usize;
        before[index] = append(&mut log, 8, 60) - 8;
    }
    batches[2] = log.current.at as usize;
    if is_marked {
        log.mark().unwrap();
    }
    assert!(batches[2] + HEAD_BYTES < log.current.length as usize);
    let files = disk.state().all();
    assert_eq!(found(&files, 0).unwrap(), all);
    Run { files, all, current: log.current.name.clone(), batches, before }
}

/// What became of images.
#[derive(Debug, Default)]
struct Count {
    images: usize,
    refused: usize,
    torn: usize,
}

impl Run {
    /// Tries the run with one file changed: all is there, or a start is refused; or operations at the end are missing, but
    /// none of the first `kept`.
    fn with(&self, count: &mut Count, name: &str, kept: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let mut files = self.files.clone();
        change(files.get_mut(name).unwrap());
        count.images += 1;
        match found(&files, 0) {
            Ok(found) if found == self.all => {}
            Ok(found) => {
                assert!(
                    found.len() >= kept && found[..] == self.all[..found.len()],
                    "{name}: {} are there",
                    found.len()
                );
                count.torn += 1;
            }
            Err((named, Unusable::Corrupt(why))) => {
                assert!(named.starts_with("log.") && !why.is_empty());
                count.refused += 1;
            }
            Err((named, why)) => panic!("{named}: {why}"),
        }
    }
}

/// The one limit: what is damaged in the last batch, before anything says that it is durable, looks as if it had never been
/// written whole.
#[test]
fn no_damage_of_what_was_written_last_is_answered_wrongly() {
    let mut count = Count::default();
    for seed in 0..8 {
        for is_marked in [false, true] {
            let run = run(seed, is_marked);
            for at in run.batches[0]..run.batches[2] {
                let kept = match (is_marked, at < run.batches[1]) {
                    (false, false) => run.before[1],
                    _ => run.all.len(),
                };
                let name = run.current.clone();
                run.with(&mut count, &name, run.all.len(), |bytes| bytes.truncate(at));
                for length in [1, 20, 100] {
                    let end = (at + length).min(run.batches[2]);
                    // What hits both is seen by what is left of the last one, if anything is.
                    let kept = if end <= run.batches[1] || is_marked { kept } else { run.before[1].min(kept) };
                    run.with(&mut count, &name, kept, |bytes| bytes[at..end].fill(0));
                }
                for bit in 0..8 {
                    run.with(&mut count, &name, kept, |bytes| bytes[at] ^= 1 << bit);
                }
            }
        }
    }
    assert!(count.images > 100_000, "{count:?}");
    assert!(count.refused > count.images / 2 && count.torn > count.images / 10, "{count:?}");
}

#[test]
fn no_damage_of_a_sealed_segment_or_of_what_the_log_says_about_itself_goes_unnoticed() {
    let mut count = Count::default();
    let run = run(1, true);
    let names: Vec<String> = run.files.keys().cloned().collect();
    for name in names {
        let length = run.files[&name].len();
        for at in 0..length {
            // In the last segment what is behind the last record means nothing.
            let bits = if name == meta::FILE || name == run.current { 1 } else { 8 };
            for bit in 0..bits {
                run.with(&mut count, &name, run.all.len(), |bytes| bytes[at] ^= 1 << bit);
            }
            if at % 16 == 0 && name != meta::FILE {
                run.with(&mut count, &name, run.all.len(), |bytes| bytes.truncate(at));
            }
        }
    }
    assert_eq!(count.torn, 0, "{count:?}");
    assert!(count.refused > 10_000, "{count:?}");
}

#[test]
fn a_segment_that_is_gone_or_in_the_place_of_another_is_noticed() {
    let run = run(2, false);
    let segments: Vec<&String> = run.files.keys().filter(|name| first_of(name).is_some()).collect();
    for gone in &segments {
        let mut files = run.files.clone();
        files.remove(*gone);
        let (named, why) = found(&files, 0).unwrap_err();
        assert!(matches!(why, Unusable::Corrupt(_)), "{named}");
        for other in &segments {
            let mut files = run.files.clone();
            files.insert((*gone).clone(), run.files[*other].clone());
            match found(&files, 0) {
                Ok(_) => assert_eq!(gone, other),
                Err((_, why)) => assert!(matches!(why, Unusable::Corrupt(_))),
            }
        }
    }
    // What redb holds needs no log, unless more was acknowledged.
    let last = run.all.len() as u64;
    let mut files = run.files.clone();
    files.retain(|name, _| first_of(name).is_none() || *name == run.current);
    assert_eq!(found(&files, last).unwrap(), []);
    assert!(found(&files, last + 1).is_err(), "redb holds what the log does not know");
    files.remove(&run.current);
    assert!(found(&files, last).is_err());
}

#[test]
fn a_log_of_another_history_or_format_is_refused_with_a_sentence() {
    let run = run(3, false);
    let other = |disk: &Faulty, identity| {
        let watched = Arc::new(WatchedDisk::new(Box::new(disk.clone())));
        let (name, why) = Log::open(watched, Own::of(identity), SHORT, 0).unwrap_err();
        format!("{name}: {why}")
    };
    let disk = Faulty::of(run.files.clone());
    let said = other(&disk, HubIdentity { history: [8; 16], ..IDENTITY });
    assert_eq!(
        said,
        "log.meta: it belongs to another history than hub.json; put back the one of these two that was exchanged"
    );
    let mut files = run.files.clone();
    for (name, from) in [("log.meta", [0, 4096]), (&run.current, [0, 0])] {
        let length = 72;
        let bytes = files.get_mut(name).unwrap();
        for from in from {
            bytes[from + 12] = 9;
            let crc = Seal::of(&IDENTITY.history).crc([&bytes[from..from + length], &[]]);
            bytes[from + length..from + length + 4].copy_from_slice(&crc.to_le_bytes());
        }
        let disk = Faulty::of(files.clone());
        let expected = format!("{name}: its format is 9, and this program knows 2; use the program that wrote it");
        assert_eq!(other(&disk, IDENTITY), expected);
        assert_eq!(disk.state().all(), files, "nothing was changed");
        files = run.files.clone();
    }
}

#[test]
fn what_redb_holds_is_cut_and_its_segments_are_used_again() {
    let disk = Faulty::default();
    begin(&WatchedDisk::new(Box::new(disk.clone())), &Own::of(IDENTITY)).unwrap();
    let mut log = open(&disk, 0).unwrap();
    for pos in 1..=500_u64 {
        log.append(&[(pos, Bytes::from(vec![pos as u8; 100]))]).unwrap();
        if pos % 30 == 0 {
            log.cut(pos - 10, false).unwrap();
        }
        assert!(disk.state().names().len() < 8, "{:?}", disk.state().names());
        if pos % 50 == 0 {
            let left = disk.state().killed();
            let behind = pos / 30 * 30 - 10;
            let log = open(&left, behind).unwrap();
            let mut next = behind;
            log.operations(behind, |pos, operation| {
                next += 1;
                assert_eq!((pos, &operation[..]), (next, &vec![pos as u8; 100][..]));
            })
            .unwrap();
            assert_eq!(next, pos);
        }
    }
    assert!(log.spare.is_some() || log.sealed.len() > 1);
}
