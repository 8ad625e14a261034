//! A small disk, filled and emptied again and again.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::disks::SmallDisk;
use crate::story::Story;

/// How big the disk is, in MiB.
const DISK_MIB: u64 = 48;

/// For so long everything must be refused on a disk that is full.
const FULL_FOR: Duration = Duration::from_millis(400);

/// Sets values until there is no room. Gives how many there are.
fn fill(story: &Story, long: &str, round: usize) -> usize {
    let (mut n, mut refused) = (0, None);
    while refused.is_none_or(|since: Instant| since.elapsed() < FULL_FOR) {
        let ended = story.run(["set", &format!("long/{round}/{n}"), "--raw", long]);
        if ended.code() == 0 {
            (n, refused) = (n + 1, None);
        } else {
            assert_eq!(ended.code(), 75, "{}", ended.stderr());
            refused.get_or_insert_with(Instant::now);
        }
        assert!(n < 1_000, "the disk is not full");
    }
    n
}

/// What was deleted stayed among the changes that are kept: after some rounds nothing could be set or deleted any more, nor
/// the hub be started.
#[test]
fn a_full_disk_has_room_again_whenever_all_is_deleted() {
    let Some(disk) = SmallDisk::in_memory(DISK_MIB) else { return };
    let mut story = Story::without_hub();
    std::os::unix::fs::symlink(disk.path(), story.path("disk")).unwrap();
    story.start_hub_in("disk/data");
    let long = story.file("long", &[b'x'; 200_000]);
    let first = fill(&story, &long, 0);
    for round in 1..=6 {
        assert_eq!(story.run(["delete", "#"]).code(), 0, "round {round}");
        assert_eq!(story.run(["get", "#"]).stdout(), "", "round {round}");
        story.until(["set", "again", "1"], |printed| !printed.is_empty());
        // How many long ones fit is another question: the store's file has holes that the disk cannot fill any more.
        fill(&story, &long, round);
    }
    story.hub().signal(Signal::TERM);
    let ended = story.take_hub().ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    story.start_hub_in("disk/data");
    assert_eq!(story.run(["get", "again"]).stdout(), "1\n");
    assert_eq!(story.run(["delete", "#"]).code(), 0);
    story.hub().signal(Signal::TERM);
    assert_eq!(story.take_hub().ended().code(), 0);
    // Nothing of it is left when the file was made smaller.
    story.start_hub_in("disk/data");
    let again = fill(&story, &long, 7);
    assert!(again >= first / 2, "{again} of {first}");
}
