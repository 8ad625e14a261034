//! Snapshots that a hub tells a follower, and what is none.

use convoke_core::frame::{Base, Frame};
use convoke_core::limits::{BASE_BYTES_MAX, SNAPSHOT_BYTES_MAX, WATCH_WINDOW_BYTES};
use convoke_core::node::{FollowWish, Followed};
use convoke_core::{Code, Name};

use crate::bench::{Bench, Said, resumed};

/// The first half of a snapshot that the follower of these tests may get.
const HALF: Base<'static> = Base { id: 0, seq: 5, hash: [1; 16], total: 6, offset: 0, bytes: b"abc" };

/// The other half.
const REST: Base<'static> = Base { offset: 3, bytes: b"def", ..HALF };

fn asks(id: u32, after: u64) -> Said {
    Said::Follow { id, window: WATCH_WINDOW_BYTES as u32, after }
}

/// A node that follows a journal behind its fourth entry, and knows what its snapshots may be.
fn follows() -> (Bench, u32) {
    let mut bench = Bench::joined();
    let wish = FollowWish { after: 4, hash: [4; 16], snapshot_max: 9, ..FollowWish::default() };
    let id = bench.node.follow(Name::parse("todo").expect("a name"), wish).expect("room");
    assert_eq!(bench.said(), [asks(id, 4)]);
    (bench, id)
}

fn told(bench: &mut Bench, id: u32, pieces: &[Base<'_>]) {
    for piece in pieces {
        bench.hear(&Frame::Base(Base { id, ..*piece }));
    }
}

fn taken(bench: &mut Bench, id: u32) -> Vec<Followed> {
    std::iter::from_fn(|| bench.node.take_entry(id)).collect()
}

fn whole() -> Followed {
    Followed::Base { seq: 5, state: b"abcdef".to_vec() }
}

#[test]
fn a_snapshot_comes_in_pieces_and_is_given_whole() {
    let (mut bench, id) = follows();
    told(&mut bench, id, &[HALF]);
    assert_eq!(taken(&mut bench, id), []);
    // It may begin anew, also with another one.
    told(&mut bench, id, &[Base { seq: 9, ..HALF }, HALF, REST]);
    assert_eq!(taken(&mut bench, id), [whole()]);
    assert_eq!(bench.node.followed_hash(id), Some((5, [1; 16])));
    told(&mut bench, id, &[Base { seq: 9, total: 3, ..HALF }]);
    assert_eq!(taken(&mut bench, id), [Followed::Base { seq: 9, state: b"abc".to_vec() }]);
}

#[test]
fn what_is_no_snapshot_for_a_follower_ends_the_link_and_nothing_of_it_is_given() {
    let wanted = "bad frame: expected a snapshot that was asked for, of 1 to 67108864 bytes, of `todo`";
    let first = "bad frame: expected a snapshot from its first piece on, of `todo`";
    let next = "bad frame: expected the piece of a snapshot that is next, of `todo`";
    for (before, bad, expected) in [
        (None, Base { seq: 4, ..HALF }, wanted),
        (None, Base { seq: 10, ..HALF }, wanted),
        (None, Base { total: SNAPSHOT_BYTES_MAX as u64 + 1, ..HALF }, wanted),
        (None, REST, first),
        (None, Base { bytes: b"", ..HALF }, next),
        (None, Base { total: 2, ..HALF }, next),
        (Some(HALF), Base { seq: 6, ..REST }, next),
        (Some(HALF), Base { hash: [2; 16], ..REST }, next),
        (Some(HALF), Base { total: 7, ..REST }, next),
        (Some(HALF), Base { offset: 2, ..REST }, next),
        (Some(HALF), Base { offset: 4, ..REST }, next),
        (Some(HALF), Base { bytes: b"", ..REST }, next),
        (Some(HALF), Base { bytes: b"defg", ..REST }, next),
    ] {
        let (mut bench, id) = follows();
        told(&mut bench, id, before.as_slice());
        assert_eq!(
            bench.hear_badly(&Frame::Base(Base { id, ..bad })),
            (Code::BadFrame, expected.to_owned()),
            "{bad:?}"
        );
        assert_eq!(taken(&mut bench, id), [], "{bad:?}");
        // The next link begins where this one did, and with a snapshot from its first piece.
        assert_eq!(bench.join(resumed()), [asks(id, 4)], "{bad:?}");
        told(&mut bench, id, &[HALF, REST]);
        assert_eq!(taken(&mut bench, id), [whole()]);
    }
}

#[test]
fn entries_that_the_follower_has_cannot_be_gone_for_it() {
    for first in [1, 4, 5] {
        let (mut bench, id) = follows();
        let text = format!("bad frame: entries before {first} are gone that `todo` has");
        let gone = Frame::Compacted { id, first, hash: [1; 16] };
        assert_eq!(bench.hear_badly(&gone), (Code::BadFrame, text));
        assert_eq!(taken(&mut bench, id), []);
    }
    let (mut bench, id) = follows();
    bench.hear(&Frame::Compacted { id, first: 6, hash: [1; 16] });
    assert_eq!(taken(&mut bench, id), [Followed::Compacted { first: 6 }]);
    assert_eq!(bench.node.followed_hash(id), Some((5, [1; 16])));
}

#[test]
fn half_a_snapshot_is_worth_nothing_on_the_next_link() {
    let (mut bench, id) = follows();
    told(&mut bench, id, &[HALF]);
    bench.cut();
    assert_eq!(bench.join(resumed()), [asks(id, 4)]);
    let (code, text) = bench.hear_badly(&Frame::Base(Base { id, ..REST }));
    assert_eq!((code, &*text), (Code::BadFrame, "bad frame: expected a snapshot from its first piece on, of `todo`"));
    assert_eq!(taken(&mut bench, id), []);
}

#[test]
fn what_was_counted_of_a_snapshot_counts_on_its_link_only() {
    let bytes = vec![7; BASE_BYTES_MAX];
    let total = 1 << 30 >> 4;
    let piece = |id, number: usize| Base { id, total, offset: (number * bytes.len()) as u64, bytes: &bytes, ..HALF };
    // How many pieces it takes until the hub is told that there is room again.
    let count = |bench: &mut Bench, id| {
        for number in 0..WATCH_WINDOW_BYTES / bytes.len() {
            bench.hear(&Frame::Base(piece(id, number)));
            if let [Said::Taken { bytes: taken, .. }] = bench.said()[..] {
                assert_eq!(taken as usize, (number + 1) * piece(id, 0).frame_bytes());
                return number + 1;
            }
        }
        panic!("it is never told")
    };
    let (mut bench, id) = follows();
    let pieces = count(&mut bench, id);
    assert!(pieces > 2, "{pieces}");
    bench.cut();
    assert_eq!(bench.join(resumed()), [asks(id, 4)]);
    (0..pieces - 1).for_each(|number| bench.hear(&Frame::Base(piece(id, number))));
    assert_eq!(bench.said(), []);
    bench.cut();
    assert_eq!(bench.join(resumed()), [asks(id, 4)]);
    assert_eq!(count(&mut bench, id), pieces);
}
