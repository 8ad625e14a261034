//! Snapshots and compacted journals, looked through without a hub, and mended where they are damaged.

use super::*;
use crate::kept::audit::Audit;
use crate::kept::rows::{ENTRIES, JOURNALS, PIECES, Rows};
use crate::limits::{ENTRIES_COMPACTED_MAX, SNAPSHOT_PIECE_BYTES_MIN, UPLOAD_IDLE_TIME_MAX};

const PIECE: usize = SNAPSHOT_PIECE_BYTES_MIN;

/// A journal of 20 entries, from 6 on, with a snapshot at 10 of three pieces, and half of one at 15.
pub(super) fn kept() -> Held {
    let (mut kept, mut held, mut cseq) = (Kept::new(0, 1), Held::new(), 0);
    let mut append = |appended: Appended<'_>| {
        cseq += 1;
        let (incarnation, journal) = (incarnation(1), &b"press"[..]);
        let operation =
            Operation::Append { incarnation, cseq, settled: 0, author: b"ann", wall_ms: 7, journal, appended };
        let (_, _, outcome) = kept.apply(kept.pos() + 1, &operation.encode()).unwrap().answer.unwrap();
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        hold(&mut held, &mut kept);
        kept.journals.hash_at(1, kept.journals.get(1).last()).unwrap()
    };
    let (commands, mut hashes) = (Commands::encode([(Encoding::Raw, &b"a"[..])].into_iter()), vec![[0; 16]]);
    for _ in 0..20 {
        let terms = Terms::new(Some(crate::journal::Strategy::Compensate), false, None);
        let commands = Commands::encoded(&commands);
        hashes.push(append(Appended::Commands { commands, expect_last: None, terms }));
    }
    let bytes = vec![7; 3 * PIECE];
    let mut push = |seq: u64, range: std::ops::Range<usize>| {
        let (total, hash) = (bytes.len() as u64, hashes[seq as usize]);
        let (offset, bytes) = (range.start as u64, &bytes[range]);
        append(Appended::Snapshot(Piece { seq, known: seq, hash, total, offset, bytes }));
    };
    push(10, 0..0);
    for piece in 0..3 {
        push(10, piece * PIECE..(piece + 1) * PIECE);
    }
    push(15, 0..0);
    push(15, 0..PIECE);
    append(Appended::Compact(Compact { up_to: 5, keep: 0, hash: hashes[5] }));
    held
}

/// What is wrong, and what there is once it is mended.
fn mended(held: &Held) -> (Vec<String>, Held) {
    let (mut audit, mut wrong, mut good) = (Audit::new(100), Vec::new(), Held::new());
    for (key, row) in held {
        match audit.row(key, row) {
            Ok(true) => drop(good.insert(key.clone(), row.clone())),
            Ok(false) => {}
            Err(why) => wrong.push(why),
        }
    }
    wrong.extend(audit.end());
    change(&mut good, audit.mend());
    (wrong, good)
}

/// The first entry, the last, and the place of the snapshot, once nothing is wrong any more.
fn left(held: &Held) -> (u64, u64, Option<u64>) {
    let (_, good) = mended(held);
    let (wrong, again) = mended(&good);
    assert_eq!(wrong, [""; 0], "it is mended");
    assert_eq!(again, good);
    let kept = restored(&good, 100);
    let journal = kept.journals.get(1);
    let entries = good.keys().filter(|key| key.table == ENTRIES).count() as u64;
    assert_eq!(entries, journal.last() + 1 - journal.past().first(), "nothing else is kept");
    (journal.past().first(), journal.last(), journal.past().snapshot().map(|snapshot| snapshot.seq))
}

fn of(held: &Held, table: u8, place: usize) -> RowKey {
    held.keys().filter(|key| key.table == table).nth(place).unwrap().clone()
}

#[test]
fn what_a_snapshot_stands_for_is_not_missed() {
    let held = kept();
    let (wrong, good) = mended(&held);
    assert_eq!(wrong, [""; 0]);
    assert_eq!(good, held);
    assert_eq!(left(&held), (6, 20, Some(10)));
    let mut audit = Audit::new(100);
    assert!(held.iter().all(|(key, row)| audit.row(key, row).unwrap()));
    audit.end();
    assert_eq!(audit.amount().entries, 15);
}

#[test]
fn a_piece_that_is_gone_or_too_long_is_found_and_its_snapshot_goes() {
    for place in 0..4 {
        let held = kept();
        let key = of(&held, PIECES, place);
        let (mut without, mut longer, mut shifted) = (held.clone(), held.clone(), held);
        without.remove(&key);
        longer.insert(key.clone(), Bytes::from(vec![7; PIECE + 1]));
        // Together they are as long as they were.
        let other = of(&shifted, PIECES, if place == 0 { 1 } else { 0 });
        shifted.insert(key, Bytes::from(vec![7; PIECE + 1]));
        if place < 3 {
            shifted.insert(other, Bytes::from(vec![7; PIECE - 1]));
        }
        for damaged in [without, longer, shifted] {
            let (wrong, good) = mended(&damaged);
            assert!(wrong.last().unwrap().contains("not all of its snapshot is there"), "{wrong:?}");
            // The last one is of half an upload, which goes alone.
            let snapshot = (place == 3).then_some(10);
            assert_eq!(left(&damaged), (6, 20, snapshot), "{place}");
            assert_eq!(good.keys().filter(|key| key.table == PIECES).count(), if place == 3 { 3 } else { 0 });
        }
    }
}

#[test]
fn a_journal_that_breaks_before_its_snapshot_ends_with_that() {
    for (place, expected) in [(0, (11, 10)), (4, (11, 10)), (5, (6, 10)), (10, (6, 15))] {
        let mut held = kept();
        let key = of(&held, ENTRIES, place);
        held.remove(&key);
        let (wrong, _) = mended(&held);
        assert!(!wrong.is_empty());
        let (first, last, snapshot) = left(&held);
        assert_eq!(((first, last), snapshot), (expected, Some(10)), "without entry {}", place + 6);
        let kept = restored(&mended(&held).1, 100);
        assert_eq!(kept.journals.get(1).horizon(), last + 1, "nothing of it can be undone");
    }
}

#[test]
fn whoever_asks_no_more_entries_go_than_may() {
    let last = 2 * ENTRIES_COMPACTED_MAX as u64;
    let mut journals = Journals::default();
    let mut rows = Rows::new(true);
    let commands = Commands::encode([(Encoding::Raw, &b"a"[..])].into_iter());
    for _ in 0..last {
        let terms = Terms::new(Some(crate::journal::Strategy::Compensate), false, None);
        let commands = Commands::encoded(&commands);
        let appended = Appended::Commands { commands, expect_last: None, terms };
        journals.append(b"press", b"ann", 7, &appended, &mut rows).unwrap();
    }
    let push = |journals: &mut Journals, rows: &mut Rows, bytes: &'static [u8]| {
        let seq = last - 1;
        let piece = Piece { seq, known: seq, hash: [7; 16], total: 5, offset: 0, bytes };
        journals.piece(b"press", incarnation(1), 7, &piece, rows).unwrap()
    };
    push(&mut journals, &mut rows, b"");
    push(&mut journals, &mut rows, b"state");
    let mut compact = |up_to| {
        let done = journals.compact(b"press", &Compact { up_to, keep: 0, hash: [9; 16] }, &mut rows);
        done.map_err(|why| why.code)
    };
    let most = ENTRIES_COMPACTED_MAX as u64;
    assert_eq!(compact(most + 1), Err(Code::BadRequest));
    assert_eq!(compact(most), Ok((most + 1, most as u32)));
    assert_eq!(compact(most), Ok((most + 1, 0)));
    assert_eq!(compact(last), Err(Code::BadRequest), "the snapshot does not stand for that");
    assert_eq!(compact(last - 1), Ok((last, most as u32 - 1)));
}

#[test]
fn a_journal_that_ends_otherwise_than_its_row_says_ends_with_its_snapshot() {
    let mut held = kept();
    let key = of(&held, JOURNALS, 0);
    let mut row = held[&key].to_vec();
    // The hash of the last entry, behind a number and two places.
    row[20] ^= 1;
    held.insert(key, row.into());
    let (wrong, _) = mended(&held);
    assert!(wrong[0].contains("or one behind it is not what was appended"), "{wrong:?}");
    assert_eq!(left(&held), (11, 10, Some(10)));
}

#[test]
fn an_upload_that_goes_on_slowly_gives_way_to_no_other() {
    let (mut journals, mut rows) = (Journals::default(), Rows::new(true));
    let commands = Commands::encode([(Encoding::Raw, &b"a"[..])].into_iter());
    let terms = Terms::new(Some(crate::journal::Strategy::Compensate), false, None);
    let appended = Appended::Commands { commands: Commands::encoded(&commands), expect_last: None, terms };
    journals.append(b"press", b"ann", 7, &appended, &mut rows).unwrap();
    let bytes = vec![7; 3 * PIECE];
    let mut push = |by: u64, seconds: u64, range: std::ops::Range<usize>| {
        let (total, offset) = (bytes.len() as u64, range.start as u64);
        let piece = Piece { seq: 1, known: 1, hash: [7; 16], total, offset, bytes: &bytes[range] };
        journals.piece(b"press", incarnation(by), seconds * 1000, &piece, &mut rows).map_err(|why| why.code)
    };
    let most = UPLOAD_IDLE_TIME_MAX.as_secs();
    assert_eq!(push(1, 0, 0..0), Ok((1, 0)));
    for piece in 0..2 {
        let at = (piece as u64 + 1) * (most - 1);
        assert_eq!(push(2, at, 0..0), Err(Code::Conflict), "before piece {piece}");
        assert_eq!(push(1, at, piece * PIECE..(piece + 1) * PIECE), Ok((1, 0)));
    }
    assert_eq!(push(2, 3 * (most - 1), 0..0), Err(Code::Conflict));
    assert_eq!(push(2, 2 * (most - 1) + most, 0..0), Ok((1, 0)), "it has gone on for too long with nothing");
}
