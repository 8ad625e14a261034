//! A hub whose disk has no room, or fails.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::disks::{Leaves, SmallDisk, TrickyDisk, folder_for_images};
use crate::story::{Running, Story};

/// The system killed it without a word.
#[test]
fn a_hub_that_may_not_make_its_file_longer_goes_on_and_says_so_once() {
    let mut story = Story::with_hub();
    let file = story.path("state/convoke/store.redb");
    let long = story.file("long", &[b'x'; 200_000]);
    story.run(["set", "before", "1"]).is(0, "2\n", "");
    story.hub().limit_files(Some(std::fs::metadata(&file).unwrap().len()));
    // A little room is in the file already.
    let mut refused = 0;
    for n in 0..30 {
        let ended = story.run(["set", &format!("long/{n}"), "--raw", &long]);
        if ended.code() != 0 {
            refused += 1;
            ended.is(
                75,
                "",
                "convoke: the hub may not make its file longer, so nothing was kept; raise the limit (`ulimit -f`) and \
                 try again\n",
            );
        }
    }
    assert!(refused > 10, "{refused}");
    assert_eq!(story.run(["get", "before"]).stdout(), "1\n");
    story.hub().limit_files(None);
    assert_eq!(story.run(["set", "after", "1"]).code(), 0);
    let hub = story.take_hub();
    hub.says("WARN store: there is room again for");
    hub.signal(Signal::TERM);
    let ended = hub.ended();
    let said = ended.stderr();
    assert_eq!((ended.code(), said.lines().count()), (0, 2), "{said}");
    assert!(said.contains("the hub may not make its file longer, so nothing more is kept in `"), "{said}");
    assert!(said.ends_with(&format!(" s {refused} changes were refused\n")), "{said}");
}

/// A hub in the folder `data`, which is on this disk.
fn hub_on(story: &Story, disk: &TrickyDisk) -> Running {
    let data = story.path("data");
    if !data.exists() {
        std::os::unix::fs::symlink(disk.data(), data).unwrap();
    }
    let mut command = story.convoke(["hub", "--listen", "127.0.0.1:0", "--data", "data"]);
    command.envs(disk.variables());
    story.start_command(command)
}

#[test]
fn a_hub_whose_disk_fails_says_so_and_ends_with_74() {
    for (how, failed) in [
        ("sync 5", "syncing it failed: input/output error"),
        ("write 5", "writing it failed: input/output error"),
        // What a sync was to make durable may be gone, also if it says that there is no room.
        ("sync 28", "syncing it failed: no space left on device"),
    ] {
        let story = Story::without_hub();
        let Some(disk) = TrickyDisk::new() else { return };
        let hub = hub_on(&story, &disk);
        let address = hub.listens_at();
        assert_eq!(story.run(["set", "--address", &address, "before", "1"]).code(), 0);
        disk.fails(how);
        let _not_done = story.start(["set", "--address", &address, "during", "1"]);
        let why = format!(
            "the store in `data` cannot be relied on any more: {failed}; look after the disk, then start the hub again\n"
        );
        let ended = hub.ended();
        let said = ended.stderr();
        assert_eq!(ended.code(), 74, "{said}");
        assert!(said.ends_with(&format!("\nconvoke: {why}")), "{said}");

        // As long as it fails there is no hub, and then everything that was acknowledged is there, also after a power cut.
        let ended = hub_on(&story, &disk).ended();
        let said = ended.stderr();
        assert!([73, 74].contains(&ended.code()) && said.lines().count() == 1, "{} {said}", ended.code());
        disk.fails("");
        disk.cut(Leaves::Nothing);
        let hub = hub_on(&story, &disk);
        assert_eq!(story.run(["get", "--address", &hub.listens_at(), "before"]).stdout(), "1\n");
    }
}

#[test]
fn a_hub_whose_disk_has_no_room_for_a_write_refuses_and_goes_on() {
    let story = Story::without_hub();
    let Some(disk) = TrickyDisk::new() else { return };
    let hub = hub_on(&story, &disk);
    let address = hub.listens_at();
    let set = |name: &str| story.run(["set", "--address", &address, name, "1"]);
    assert_eq!(set("before").code(), 0);
    disk.fails("write 28");
    let _waits = story.start(["set", "--address", &address, "during", "1"]);
    hub.says("WARN store: the hub's disk is full, so nothing more is kept in `data/store.redb`; make room on it\n");
    disk.fails("");
    assert_eq!(set("after").code(), 0);
    drop(hub);
    disk.cut(Leaves::Some(1));
    let hub = hub_on(&story, &disk);
    let all = story.run(["get", "--address", &hub.listens_at(), "#"]).stdout();
    assert!(all.starts_with("after 1\nbefore 1\n"), "{all}");
}

#[test]
fn a_hub_whose_disk_fails_while_it_stops_does_not_end_as_if_all_were_well() {
    let story = Story::without_hub();
    let Some(disk) = TrickyDisk::new() else { return };
    let hub = hub_on(&story, &disk);
    assert_eq!(story.run(["set", "--address", &hub.listens_at(), "before", "1"]).code(), 0);
    disk.fails("sync 5");
    hub.signal(Signal::TERM);
    let ended = hub.ended();
    let said = ended.stderr();
    assert_eq!(ended.code(), 74, "{said}");
    assert!(
        said.contains("\nconvoke: the store in `data` cannot be relied on any more: syncing it failed: "),
        "{said}"
    );
}

/// How big a disk is, in MiB, that a hub fills with what it keeps.
const DISK_MIB: u64 = 32;

/// For so long everything must be refused on a disk that is full.
const FULL_FOR: Duration = Duration::from_millis(400);

const FULL: &str = "convoke: the hub's disk is full, so nothing was kept; make room on it and try again\n";

/// A hub whose own values filled the disk could not be started again, and nobody could delete any of them.
fn fills_its_disk(disk: &SmallDisk) {
    let mut story = Story::without_hub();
    std::os::unix::fs::symlink(disk.path(), story.path("disk")).unwrap();
    let start = |story: &mut Story| story.start_hub_in("disk/data");
    start(&mut story);
    let long = story.file("long", &[b'x'; 200_000]);
    story.run(["set", "before", "1"]).is(0, "2\n", "");
    assert_eq!(story.run(["token", "create", "cam", "--allow", "publish cam/#"]).code(), 0);
    let fill = |story: &Story, from: usize| {
        let (mut n, mut refused) = (from, None);
        // What was given back in the hub's file can be used a moment later.
        while refused.is_none_or(|since: Instant| since.elapsed() < FULL_FOR) {
            let ended = story.run(["set", &format!("long/{n}"), "--raw", &long]);
            if ended.code() == 0 {
                (n, refused) = (n + 1, None);
            } else {
                ended.is(75, "", FULL);
                refused.get_or_insert_with(Instant::now);
            }
            assert!(n < 1_000, "the disk is not full");
        }
        n
    };
    let kept = fill(&story, 0);
    assert!(kept > 10, "{kept}");
    // And others take every byte that was left.
    disk.fill();

    // Killed or stopped, it starts again, and all is there.
    for signal in [Signal::KILL, Signal::TERM] {
        story.hub().signal(signal);
        story.take_hub().ended_somehow();
        start(&mut story);
        assert_eq!(story.run(["get", "before"]).stdout(), "1\n");
        assert_eq!(story.run(["get", &format!("long/{}", kept - 1)]).stdout_bytes().len(), 200_001);
    }
    // What is taken away is done.
    assert_eq!(story.run(["token", "revoke", "cam"]).code(), 0);
    assert_eq!(story.run(["delete", "long/0"]).code(), 0);
    assert_eq!(story.run(["delete", "long/#"]).code(), 0);
    story.run(["get", "long/1"]).is(69, "", "convoke: get of `long/1`: it has no value\n");
    // There is room in the hub's file for others now, as soon as it has written what was taken away.
    story.until(["set", "again", "1"], |printed| !printed.is_empty());
    let again = fill(&story, kept);
    assert!(again > kept + 5, "{again}");
    story.hub().signal(Signal::TERM);
    let ended = story.take_hub().ended();
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    // Without the reserve it says what it needs.
    std::fs::remove_file(story.path("disk/data/reserve")).unwrap();
    disk.fill();
    story.run(["hub", "--listen", "127.0.0.1:0", "--data", "disk/data"]).is(
        73,
        "",
        "convoke: data folder `disk/data`: hub.json cannot be written; make room on the disk: No space left on device\n",
    );
    disk.make_room();
    start(&mut story);
    assert_eq!(story.run(["delete", "long/#"]).code(), 0);
    assert_eq!(story.run(["get", "#"]).stdout(), "again 1\nbefore 1\n");
}

#[test]
fn a_hub_that_has_filled_a_disk_in_memory_starts_again_and_can_be_made_room_in() {
    let Some(disk) = SmallDisk::in_memory(DISK_MIB) else { return };
    fills_its_disk(&disk);
}

#[test]
fn a_hub_that_has_filled_an_ext4_starts_again_and_can_be_made_room_in() {
    let folder = folder_for_images();
    let Some(disk) = SmallDisk::image(&folder.path().join("disk.img"), DISK_MIB) else { return };
    fills_its_disk(&disk);
}

/// How big the disk is that an outbox fills, in MiB.
const OUTBOX_DISK_MIB: u64 = 1;

/// The outbox could not even be opened when its disk was full, so that what was in it was not sent.
#[test]
fn an_outbox_on_a_full_disk_keeps_or_refuses_each_and_sends_what_it_has() {
    let Some(disk) = SmallDisk::in_memory(OUTBOX_DISK_MIB) else { return };
    let mut story = Story::with_hub();
    let address = story.address().to_owned();
    story.kill_hub();
    std::os::unix::fs::symlink(disk.path(), story.path("disk")).unwrap();
    let append = |story: &Story, more: &[&str], timeout: &str| {
        let begin = ["journal", "append", "made", "--name", "press", "--outbox", "disk/out", "--timeout", timeout];
        story.run(begin.iter().chain(more))
    };
    let (mut kept, mut refused) = (Vec::new(), 0);
    for number in 0..20 {
        let long = format!("{} {number}", "x".repeat(100_000));
        let ended = append(&story, &[&long], "30ms");
        assert_eq!(ended.code(), 75, "{}", ended.stderr());
        if ended.stdout().is_empty() {
            let said = ended.stderr();
            assert!(said.contains("the disk is full; make room and append it again"), "{said}");
            refused += 1;
        } else {
            assert_eq!(ended.stdout(), "waiting\n");
            kept.push(number);
        }
    }
    assert!(kept.len() >= 8 && refused >= 8, "{} kept, {refused} refused", kept.len());
    story.start_hub(&address);
    let places: String = (1..=kept.len()).map(|place| format!("{place}\n")).collect();
    append(&story, &[], "30s").is(0, &places, "");
    let shown = story.run(["journal", "show", "made"]).stdout();
    let numbers = shown.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned());
    assert!(numbers.eq(kept.iter().map(ToString::to_string)), "{kept:?}");
    append(&story, &["there is room again"], "30s").is(0, &format!("{}\n", kept.len() + 1), "");
}
