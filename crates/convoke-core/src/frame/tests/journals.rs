//! The frames of journals: bytes written out by hand.

use super::{encoded, hex, sentence};
use crate::frame::*;
use crate::journal::{Deed, Strategy};
use crate::payload::Encoding;

const BACK: Back = Back { everyone: false, target: None, expect_top: None };

pub(super) fn golden() -> Vec<(Frame<'static>, String)> {
    let commands = Commands::encode([(Encoding::Json, &b"42"[..]), (Encoding::Raw, b"")].into_iter());
    let commands = Commands::encoded(commands.leak());
    let append = |appended| Frame::Append(Append { cseq: 7, settled: 5, journal: b"todo", appended });
    let appends = [
        (
            Appended::Commands { commands, expect_last: None, terms: Terms::default() },
            "00 ffffffffffffffff 00 00 ff 0200 02 02000000 3432 00 00000000",
        ),
        (
            Appended::Commands {
                commands,
                expect_last: Some(3),
                terms: Terms::new(Some(Strategy::Refuse), false, Some(b"12345678ABCDEFGH")),
            },
            "00 0300000000000000 02 00 02 3132333435363738 4142434445464748 0200 02 02000000 3432 00 00000000",
        ),
        (
            Appended::Commands {
                commands,
                expect_last: None,
                terms: Terms::new(Some(Strategy::Compensate), true, Some(b"")),
            },
            "00 ffffffffffffffff 03 01 00 0200 02 02000000 3432 00 00000000",
        ),
        (Appended::Undo(BACK), "01 00 ffffffffffffffff ffffffffffffffff"),
        (
            Appended::Redo(Back { everyone: true, target: Some(2), expect_top: Some(9) }),
            "02 01 0200000000000000 0900000000000000",
        ),
    ];
    let mut all: Vec<(Frame<'static>, String)> = appends
        .into_iter()
        .map(|(appended, bytes)| {
            let body = format!("0700000000000000 0500000000000000 0400 746f646f {bytes}");
            let len = 8 + hex(&body).len();
            (append(appended), format!("{len:02x}000000 40 00 0000 {body}"))
        })
        .collect();
    let follow = Follow {
        id: 7,
        member: true,
        window: 0x0001_0000,
        after: 9,
        hash: [0xab; 16],
        strategy: Some(Strategy::Compensate),
        journal: b"todo",
    };
    all.push((
        Frame::Follow(follow),
        "30000000 41 00 0000 07000000 01 00000100 0900000000000000 abababababababababababababababab 03 0400 746f646f"
            .into(),
    ));
    let entry = Told {
        id: 7,
        seq: 3,
        wall_ms: 0x0102,
        hash: [0xcd; 16],
        deed: Deed::Do { first: 2 },
        author: b"ann",
        payload: (Encoding::Json, b"42"),
    };
    let head = "07000000 0300000000000000 0201000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
    all.push((Frame::Entry(entry), format!("3c000000 42 02 0000 {head} 00 0200000000000000 0300 616e6e 3432")));
    for (deed, what) in [(Deed::Undo(2), "01"), (Deed::Redo(2), "02")] {
        let entry = Told { deed, payload: (Encoding::Raw, b""), ..entry };
        all.push((Frame::Entry(entry), format!("3a000000 42 00 0000 {head} {what} 0200000000000000 0300 616e6e")));
    }
    all.push((Frame::Applied { id: 7, seq: 3 }, "14000000 43 00 0000 07000000 0300000000000000".into()));
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
            "1c000000 40 00 0000 0500000000000000 0000000000000000 0100 61 03",
            "expected 0 (commands), 1 (undo) or 2 (redo) at byte 27 of a frame",
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
        ("0d000000 41 00 0000 07000000 02", "expected 0 (observer) or 1 (member) at byte 12 of a frame"),
        (
            "37000000 42 00 0000 07000000 0300000000000000 0201000000000000 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd 03 \
             0200000000000000 0000",
            "expected 0 (a command), 1 (undo) or 2 (redo) at byte 44 of a frame",
        ),
        ("08000000 42 00 0100", "expected flags of an entry at byte 6 of a frame"),
    ] {
        assert_eq!(sentence(&hex(bytes)), expected, "{bytes}");
    }
}
