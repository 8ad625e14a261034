//! The frames of journals: bytes written out by hand.

use super::{encoded, hex, sentence};
use crate::frame::*;
use crate::journal::{Deed, Origin, Provenance, Strategy};
use crate::payload::Encoding;

const ORIGIN_3: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee 0300000000000000";
const ORIGIN_2: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee 0200000000000000";
/// The hub that hands over, the place, the hash, and up to where all is known to have come.
const CARRIED: &str =
    "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee 0900000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 0400000000000000";

fn origin(seq: u64) -> Origin {
    Origin { hub: [0xee; 16], seq }
}

fn carried(brought: Brought<'_>) -> Appended<'_> {
    Appended::Carried(Carried { carrier: [0xee; 16], place: 9, hash: [0xcd; 16], after: 4, brought })
}

const BACK: Back = Back { everyone: false, target: None, expect_top: None };

pub(super) fn golden() -> Vec<(Frame<'static>, String)> {
    let commands = Commands::encode([(Encoding::Json, &b"42"[..]), (Encoding::Raw, b"")].into_iter());
    let commands = Commands::encoded(commands.leak());
    let append = |appended| Frame::Append(Append { cseq: 7, settled: 5, journal: b"todo", appended });
    let appends = [
        (
            Appended::Commands { commands, expect_last: None, terms: Terms::default() },
            "00 ffffffffffffffff 00 00 ff 0200 02 02000000 3432 00 00000000".to_owned(),
        ),
        (
            Appended::Commands {
                commands,
                expect_last: Some(3),
                terms: Terms::new(Some(Strategy::Refuse), false, Some(b"12345678ABCDEFGH")),
            },
            "00 0300000000000000 02 00 02 3132333435363738 4142434445464748 0200 02 02000000 3432 00 00000000"
                .to_owned(),
        ),
        (
            Appended::Commands {
                commands,
                expect_last: None,
                terms: Terms::new(Some(Strategy::Compensate), true, Some(b"")),
            },
            "00 ffffffffffffffff 03 01 00 0200 02 02000000 3432 00 00000000".to_owned(),
        ),
        (Appended::Undo(BACK), "01 00 ffffffffffffffff ffffffffffffffff".to_owned()),
        (
            Appended::Redo(Back { everyone: true, target: Some(2), expect_top: Some(9) }),
            "02 01 0200000000000000 0900000000000000".to_owned(),
        ),
        (
            Appended::Snapshot(Piece { seq: 5, known: 9, hash: [0xab; 16], total: 6, offset: 4, bytes: b"xy" }),
            "03 0500000000000000 0900000000000000 abababababababababababababababab 0600000000000000 0400000000000000 7879".to_owned(),
        ),
        (
            Appended::Compact(Compact { up_to: 5, keep: 2, hash: [0; 16] }),
            "04 0500000000000000 0200000000000000 00000000000000000000000000000000".to_owned(),
        ),
        (
            carried(Brought::Commands { origin: origin(3), author: b"ann", terms: Terms::default(), commands }),
            format!("05 {CARRIED} 00 {ORIGIN_3} 0300 616e6e 00 00 ff 0200 02 02000000 3432 00 00000000"),
        ),
        (
            carried(Brought::Back { origin: origin(3), author: b"ann", undoes: true, target: origin(2) }),
            format!("05 {CARRIED} 01 {ORIGIN_3} 0300 616e6e {ORIGIN_2}"),
        ),
        (
            carried(Brought::Back { origin: origin(3), author: b"ann", undoes: false, target: origin(2) }),
            format!("05 {CARRIED} 02 {ORIGIN_3} 0300 616e6e {ORIGIN_2}"),
        ),
        (carried(Brought::Nothing), format!("05 {CARRIED} 03")),
    ];
    let mut all: Vec<(Frame<'static>, String)> = appends
        .into_iter()
        .map(|(appended, bytes)| {
            let body = format!("0700000000000000 0500000000000000 0400 746f646f {bytes}");
            let (len, high) = ((8 + hex(&body).len()) % 256, (8 + hex(&body).len()) / 256);
            (append(appended), format!("{len:02x}{high:02x}0000 40 00 0000 {body}"))
        })
        .collect();
    for (follow_as, number) in [(FollowAs::Observer, "00"), (FollowAs::Member, "01"), (FollowAs::Announced, "02")] {
        let (after, hash, strategy) = (9, [0xab; 16], Some(Strategy::Compensate));
        let follow =
            Follow { id: 7, follow_as, window: 0x0001_0000, after, hash, strategy, snapshot: 4, journal: b"todo" };
        let hash = "abababababababababababababababab";
        all.push((
            Frame::Follow(follow),
            format!("38000000 41 00 0000 07000000 {number} 00000100 0900000000000000 {hash} 03 0400000000000000 0400 746f646f"),
        ));
    }
    let entry = Told {
        id: 7,
        seq: 3,
        wall_ms: 0x0102,
        hash: [0xcd; 16],
        deed: Deed::Do { first: 2 },
        author: b"ann",
        provenance: Provenance::default(),
        payload: (Encoding::Json, b"42"),
    };
    let head = "07000000 0300000000000000 0201000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
    all.push((Frame::Entry(entry), format!("3c000000 42 02 0000 {head} 00 0200000000000000 0300 616e6e 3432")));
    for (deed, what) in [(Deed::Undo(2), "01"), (Deed::Redo(2), "02")] {
        let entry = Told { deed, payload: (Encoding::Raw, b""), ..entry };
        all.push((Frame::Entry(entry), format!("3a000000 42 00 0000 {head} {what} 0200000000000000 0300 616e6e")));
    }
    for (deed, what) in [(Deed::Join, "03"), (Deed::Leave, "04")] {
        let entry = Told { deed, payload: (Encoding::Raw, b""), ..entry };
        all.push((Frame::Entry(entry), format!("3a000000 42 00 0000 {head} {what} 0000000000000000 0300 616e6e")));
    }
    let applied = |stuck| Frame::Applied { id: 7, seq: 3, stuck };
    all.push((applied(""), "16000000 43 00 0000 07000000 0300000000000000 0000".into()));
    all.push((applied("old"), "19000000 43 00 0000 07000000 0300000000000000 0300 6f6c64".into()));
    let hash = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
    let base = Base { id: 7, seq: 5, hash: [0xcd; 16], total: 6, offset: 4, bytes: b"xy" };
    all.push((
        Frame::Base(base),
        format!("36000000 46 00 0000 07000000 0500000000000000 {hash} 0600000000000000 0400000000000000 7879"),
    ));
    all.push((
        Frame::Compacted { id: 7, first: 6, hash: [0xcd; 16] },
        format!("24000000 47 00 0000 07000000 0600000000000000 {hash}"),
    ));
    let provenance = Provenance { origin: Some(origin(3)), target: None, more: true };
    let of_hub = Told { provenance, ..entry };
    all.push((
        Frame::Entry(of_hub),
        format!("54000000 42 02 0000 {head} 50 0200000000000000 0300 616e6e {ORIGIN_3} 3432"),
    ));
    let provenance = Provenance { origin: Some(origin(3)), target: Some(origin(2)), more: false };
    let of_hub = Told { deed: Deed::Undo(2), provenance, payload: (Encoding::Raw, b""), ..entry };
    all.push((
        Frame::Entry(of_hub),
        format!("6a000000 42 00 0000 {head} 31 0200000000000000 0300 616e6e {ORIGIN_3} {ORIGIN_2}"),
    ));
    let names = Nodes::encode([&b"ann"[..], b"b"].into_iter()).leak();
    for (whom, bytes) in [
        (Whom::All, "00"),
        (Whom::Quorum, "01"),
        (Whom::Count(2), "02 02000000"),
        (Whom::Nodes(Nodes::encoded(names)), "03 0300 616e6e 0100 62"),
    ] {
        let body = format!("07000000 0300000000000000 d0070000 0400 746f646f {bytes}");
        let len = 8 + hex(&body).len();
        let wait = Await { id: 7, seq: 3, remaining_ms: 2000, journal: b"todo", whom };
        all.push((Frame::Await(wait), format!("{len:02x}000000 44 00 0000 {body}")));
    }
    let listed = Listed::encode(
        [(&b"b"[..], Attendance::Gone, 0), (b"c", Attendance::Away, 2), (b"ann", Attendance::Here, 3)].into_iter(),
    );
    let acknowledged = Acknowledged {
        id: 7,
        reached: false,
        returning: true,
        last: 4,
        members: 3,
        applied: 1,
        listed: Listed::encoded(listed.leak()),
    };
    let body = "07000000 00 01 0400000000000000 03000000 01000000 0100 62 00 0000000000000000 0100 63 01 \
                0200000000000000 0300 616e6e 02 0300000000000000";
    all.push((Frame::Acknowledged(acknowledged), format!("44000000 45 00 0000 {body}")));
    all
}

#[test]
fn an_entry_for_one_follower_is_made_from_that_of_another() {
    let payload = vec![7; 150_000];
    let mut told = Told {
        id: 0,
        seq: 3,
        wall_ms: 1,
        hash: [0; 16],
        deed: Deed::Do { first: 3 },
        author: b"ann",
        provenance: Provenance::default(),
        payload: (Encoding::Raw, &payload),
    };
    let mut frames = encoded(&Frame::Entry(told));
    assert_eq!(frames.len(), told.frame_bytes());
    Told::set_hash(&mut frames, &[9; 16]);
    assert_eq!(Told::hash_in(&frames), Some([9; 16]));
    let mut copy = b"before".to_vec();
    Told::copy_for(&mut copy, &frames, 77);
    (told.id, told.hash) = (77, [9; 16]);
    assert_eq!(copy[6..], encoded(&Frame::Entry(told)));
}

#[test]
fn names_and_members_are_bounded_by_what_fits() {
    let names = Nodes::encode((0..=100).map(|_| &b"n"[..]));
    let whom = Whom::Nodes(Nodes::encoded(&names));
    let bytes = encoded(&Frame::Await(Await { id: 7, seq: 3, remaining_ms: 2000, journal: b"a", whom }));
    assert_eq!(sentence(&bytes), "expected at most 100 names at byte 28 of a frame");
    let name = [b'n'; 480];
    let listed = Listed::encode((0..1000).map(|_| (&name[..], Attendance::Here, 3)));
    let listed = Listed::encoded(&listed);
    assert_eq!(listed.iter().count(), 133, "as many as fit");
    let (reached, returning, last, members, applied) = (true, false, 3, 1000, 1000);
    let frame = Frame::Acknowledged(Acknowledged { id: 7, reached, returning, last, members, applied, listed });
    let bytes = encoded(&frame);
    assert_eq!(Frame::decode(&bytes), Ok(Some((frame, bytes.len()))));
}

#[test]
fn a_place_that_no_journal_gets_to_is_still_a_condition() {
    let far = Some(u64::MAX);
    for back in [
        Back { everyone: true, target: far, expect_top: None },
        Back { target: None, expect_top: far, everyone: false },
    ] {
        let append = Append { cseq: 1, settled: 0, journal: b"todo", appended: Appended::Undo(back) };
        let bytes = encoded(&Frame::Append(append));
        let Ok(Some((Frame::Append(read), _))) = Frame::decode(&bytes) else { panic!("{bytes:?}") };
        let Appended::Undo(read) = read.appended else { panic!("{read:?}") };
        assert_eq!(
            (read.target.is_some(), read.expect_top.is_some()),
            (back.target.is_some(), back.expect_top.is_some())
        );
    }
}

#[test]
fn a_group_of_another_hub_has_places_for_all_its_commands() {
    let commands = Commands::encode([(Encoding::Text, &b"a"[..]); 2].into_iter());
    let read = |seq: u64| {
        let (origin, commands) = (Origin { hub: [7; 16], seq }, Commands::encoded(&commands));
        let appended = carried(Brought::Commands { origin, author: b"ann", terms: Terms::default(), commands });
        let mut bytes = Vec::new();
        appended.write(&mut bytes);
        Appended::read(&mut Reader::new(&bytes, 0)).map(|read| assert_eq!(read, appended)).map_err(|why| why.expected)
    };
    assert_eq!(read(u64::MAX - 2), Ok(()));
    assert_eq!(read(u64::MAX - 1), Err("a place that the whole group can have"));
}

#[test]
fn each_bad_frame_of_journals_gets_its_sentence() {
    for (bytes, expected) in [
        (
            "1e000000 40 00 0000 0000000000000000 0000000000000000 0100 61 00 0000",
            "expected a cseq from 1 at byte 8 of a frame",
        ),
        (
            "1e000000 40 00 0000 0500000000000000 0500000000000000 0100 61 00 0000",
            "expected a cseq below that of the append itself at byte 16 of a frame",
        ),
        (
            "1c000000 40 00 0000 0500000000000000 0000000000000000 0100 61 06",
            "expected 0 (commands), 1 (undo), 2 (redo), 3 (a snapshot), 4 (compaction) or 5 (carried) at byte 27 of a frame",
        ),
        (
            "44000000 40 00 0000 0500000000000000 0000000000000000 0100 61 03 0500000000000000 0900000000000000 \
             abababababababababababababababab 0100000400000000",
            "expected a snapshot of 1 to 67108864 bytes at byte 60 of a frame",
        ),
        (
            "29000000 40 00 0000 0500000000000000 0000000000000000 0100 61 00 ffffffffffffffff 0000ff 0000",
            "expected 1 to 256 commands at byte 39 of a frame",
        ),
        (
            "27000000 40 00 0000 0500000000000000 0000000000000000 0100 61 00 ffffffffffffffff 0400ff",
            "expected 0 (as it is), 1 (replay), 2 (refuse) or 3 (compensate) at byte 36 of a frame",
        ),
        (
            "27000000 40 00 0000 0500000000000000 0000000000000000 0100 61 00 ffffffffffffffff 0302ff",
            "expected 0 (can be undone) or 1 (never) at byte 37 of a frame",
        ),
        (
            "27000000 40 00 0000 0500000000000000 0000000000000000 0100 61 00 ffffffffffffffff 030011",
            "expected 0 to 16 keys, or 255 (everything) at byte 38 of a frame",
        ),
        (
            "2d000000 40 00 0000 0500000000000000 0000000000000000 0100 61 01 02 ffffffffffffffff ffffffffffffffff",
            "expected 0 (mine) or 1 (everyone) at byte 28 of a frame",
        ),
        ("08000000 40 02 0000", "expected no encoding and no flags in an Append at byte 5 of a frame"),
        (
            "0d000000 41 00 0000 07000000 03",
            "expected 0 (an observer), 1 (a member) or 2 (a member that is announced) at byte 12 of a frame",
        ),
        (
            "37000000 42 00 0000 07000000 0300000000000000 0201000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 05 \
             0200000000000000 0000",
            "expected 0 (a command), 1 (undo), 2 (redo), 3 (a join) or 4 (a leave) at byte 44 of a frame",
        ),
        (
            "37000000 42 00 0000 07000000 0300000000000000 0201000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 03 \
             0200000000000000 0000",
            "expected 0 where nothing else can be meant at byte 45 of a frame",
        ),
        (
            "37000000 42 00 0000 07000000 0300000000000000 0201000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 41 \
             0200000000000000 0000",
            "expected the target of an undo or redo, or that a group goes on, only where there is one at byte 44 of a frame",
        ),
        (
            // The target of a command, as if it were an undo.
            "4f000000 42 00 0000 07000000 0300000000000000 0201000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 20 \
             0200000000000000 0000 eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee 0300000000000000",
            "expected the target of an undo or redo, or that a group goes on, only where there is one at byte 44 of a frame",
        ),
        (
            "4d000000 40 00 0000 0500000000000000 0000000000000000 0100 61 05 eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee \
             0900000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 0900000000000000 03",
            "expected a place before that of the entry at byte 68 of a frame",
        ),
        (
            "4d000000 40 00 0000 0500000000000000 0000000000000000 0100 61 05 eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee \
             0900000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 0400000000000000 04",
            "expected 0 (commands), 1 (undo), 2 (redo) or 3 (nothing) at byte 76 of a frame",
        ),
        (
            "1c000000 44 00 0000 07000000 0300000000000000 d0070000 0100 61 04",
            "expected 0 (all), 1 (a quorum), 2 (so many) or 3 (these nodes) at byte 27 of a frame",
        ),
        (
            "1e000000 44 00 0000 07000000 0300000000000000 d0070000 0100 61 03 0500",
            "expected a name at byte 30 of a frame",
        ),
        ("17000000 43 00 0000 07000000 0300000000000000 0100 ff", "expected a sentence in UTF-8 at byte 20 of a frame"),
        ("0d000000 45 00 0000 07000000 02", "expected 0 or 1 at byte 12 of a frame"),
        (
            "2a000000 45 00 0000 07000000 00 00 0400000000000000 03000000 01000000 0100 62 04 0000000000000000",
            "expected 0 (gone), 1 (away), 2 (here) or 3 (stuck) at byte 33 of a frame",
        ),
        ("08000000 42 00 0100", "expected flags of an entry at byte 6 of a frame"),
    ] {
        assert_eq!(sentence(&hex(bytes)), expected, "{bytes}");
    }
}
