//! A hub whose disk has no room, or fails.
#![cfg(target_os = "linux")]

use std::process::Command;

use rustix::process::Signal;

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
    hub.says("WARN convoke::store: there is room again for");
    hub.signal(Signal::TERM);
    let ended = hub.ended();
    let said = ended.stderr();
    assert_eq!((ended.code(), said.lines().count()), (0, 2), "{said}");
    assert!(said.contains("the hub may not make its file longer, so nothing more is kept in `"), "{said}");
    assert!(said.contains(&format!(" s {refused} changes were refused\n")), "{said}");
}

/// What makes syncs fail while the file `SYNC_FAILS` exists. The program is started with it in the place of the system's.
const FAILING: &str = r#"
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int file) {
    const char *fails = getenv("SYNC_FAILS");
    if (fails && access(fails, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, file);
}
"#;

/// A hub in the folder `data`, on a disk that fails while the file `fails` is there. None where that cannot be made.
fn hub_on_a_disk_that_fails(story: &Story) -> Option<Running> {
    let library = story.path("failing.so");
    if !library.exists() {
        let source = story.file("failing.c", FAILING.as_bytes());
        // What links Rust programs; only one that is linked to the system's library can be given another.
        let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).output();
        if !cfg!(target_env = "gnu") || !made.as_ref().is_ok_and(|made| made.status.success()) {
            println!("skipped: this machine has no C compiler, or no library that a program can be given: {made:?}");
            return None;
        }
    }
    let mut command = story.convoke(["hub", "--listen", "127.0.0.1:0", "--data", "data"]);
    command.env("LD_PRELOAD", library).env("SYNC_FAILS", story.path("fails"));
    Some(story.start_command(command))
}

#[test]
fn a_hub_whose_disk_fails_says_so_and_ends_with_74() {
    let story = Story::without_hub();
    let Some(hub) = hub_on_a_disk_that_fails(&story) else { return };
    let address = hub.listens_at();
    assert_eq!(story.run(["set", "--address", &address, "before", "1"]).code(), 0);
    story.file("fails", b"");
    let _not_done = story.start(["set", "--address", &address, "during", "1"]);
    let why = "`data/store.redb` cannot be relied on any more: syncing it failed: input/output error; look after the disk, \
               then start the hub again\n";
    let ended = hub.ended();
    let said = ended.stderr();
    assert_eq!(ended.code(), 74, "{said}");
    assert!(said.ends_with(&format!("\nconvoke: {why}")), "{said}");

    // As long as it fails there is no hub, and then everything that was acknowledged is there.
    let ended = hub_on_a_disk_that_fails(&story).unwrap().ended();
    ended.is(74, "", "convoke: syncing `data/store.redb`: Input/output error\n");
    std::fs::remove_file(story.path("fails")).unwrap();
    let hub = hub_on_a_disk_that_fails(&story).unwrap();
    assert_eq!(story.run(["get", "--address", &hub.listens_at(), "before"]).stdout(), "1\n");
}

#[test]
fn a_hub_whose_disk_fails_while_it_stops_does_not_end_as_if_all_were_well() {
    let story = Story::without_hub();
    let Some(hub) = hub_on_a_disk_that_fails(&story) else { return };
    assert_eq!(story.run(["set", "--address", &hub.listens_at(), "before", "1"]).code(), 0);
    story.file("fails", b"");
    hub.signal(Signal::TERM);
    let ended = hub.ended();
    let said = ended.stderr();
    assert_eq!(ended.code(), 74, "{said}");
    assert!(said.contains("\nconvoke: `data/store.redb` cannot be relied on any more: syncing it failed: "), "{said}");
}
