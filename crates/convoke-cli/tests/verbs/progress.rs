//! How far something long is: a line on a terminal, which is gone when it is done.

use std::io::Write as _;

use rustix::process::Signal;

use crate::story::Story;
use crate::terminal::Terminal;

const TERM: (&str, &str) = ("TERM", "xterm-256color");

/// What empties the line.
const CLEAR: &str = "\r\u{1b}[K";

/// What is left on a terminal that obeys.
fn left(seen: &str) -> String {
    seen.split('\n').map(|line| line.rsplit(CLEAR).next().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_wait_says_for_how_long_it_waits_and_leaves_nothing_behind() {
    let story = Story::with_hub();
    let mut terminal = Terminal::new();
    let mut wait = story.convoke(["wait", "line/state", "ready", "--timeout", "1h"]);
    wait.envs([TERM]).stderr(terminal.end());
    let wait = story.start_command(wait);
    let mut seen = terminal.shows("wait for `line/state`: 1 s");
    assert_eq!(story.run(["set", "line/state", "ready"]).code(), 0);
    assert_eq!(wait.ended().stdout(), "ready\n");
    seen += &terminal.shown();
    assert!(seen.starts_with(&format!("{CLEAR}wait for `line/state`: 1 s")), "{seen:?}");
    assert_eq!(left(&seen), "", "{seen:?}");
    // Ten times a second at most, and it was there for less than a minute.
    assert!(seen.matches(CLEAR).count() < 600, "{seen:?}");
}

#[test]
fn what_is_said_meanwhile_has_lines_of_its_own() {
    let mut story = Story::with_hub();
    let mut terminal = Terminal::new();
    let mut wait = story.convoke(["wait", "a", "--timeout", "1h", "-v", "--color", "never"]);
    wait.envs([TERM]).stderr(terminal.end());
    let wait = story.start_command(wait);
    let mut seen = terminal.shows("wait for `a`: 1 s");
    let address = story.address().to_owned();
    story.kill_hub();
    seen += &terminal.shows("has lost its link");
    seen += &terminal.shows("wait for `a`: ");
    story.start_hub(&address);
    assert_eq!(story.run(["set", "a", "1"]).code(), 0);
    assert_eq!(wait.ended().stdout(), "1\n");
    seen += &terminal.shown();
    let left = left(&seen);
    assert!(left.contains("\n INFO `ann/cli-") && left.contains("has lost its link, "), "{left:?} of {seen:?}");
    assert!(left.lines().all(|line| line.starts_with(" INFO ")), "{left:?} of {seen:?}");
}

#[test]
fn stdin_is_counted_while_it_is_read() {
    let story = Story::with_hub();
    let panel = story.subscribe(["a", "--raw", "--count", "1"]);
    let mut terminal = Terminal::new();
    let (stdin, mut writer) = std::io::pipe().unwrap();
    let mut publish = story.convoke(["publish", "a", "--raw", "-"]);
    publish.envs([TERM]).stdin(stdin).stderr(terminal.end());
    let publish = story.start_command(publish);
    writer.write_all(&[b'x'; 3 << 10]).unwrap();
    let mut seen = terminal.shows("reading `-`: 3 KiB, 1 s");
    drop(writer);
    publish.ended().is(0, "", "");
    seen += &terminal.shown();
    assert_eq!(left(&seen), "", "{seen:?}");
    assert_eq!(panel.ended().stdout_bytes().len(), 3 << 10);
}

#[test]
fn pings_into_a_file_are_counted() {
    let story = Story::with_hub();
    let mut terminal = Terminal::new();
    let mut ping = story.convoke(["ping", "--count", "1000"]);
    ping.envs([TERM]).stderr(terminal.end());
    let ping = story.start_command(ping);
    terminal.shows("ping: 2 of 1000, ");
    ping.signal(Signal::INT);
    assert_eq!(ping.ended().code(), 130);
    assert_eq!(left(&terminal.shown()), "");
}

/// What makes the disk slow: syncs wait while the file `SYNC_WAITS` exists.
const SLOW: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int file) {
    const char *waits = getenv("SYNC_WAITS");
    while (waits && access(waits, F_OK) == 0)
        usleep(1000);
    return syscall(SYS_fdatasync, file);
}
"#;

#[test]
#[cfg(target_os = "linux")]
fn a_hub_that_takes_its_time_to_start_says_so() {
    let story = Story::without_hub();
    let (library, source) = (story.path("slow.so"), story.file("slow.c", SLOW.as_bytes()));
    let made = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).output();
    if !cfg!(target_env = "gnu") || !made.as_ref().is_ok_and(|made| made.status.success()) {
        println!("skipped: this machine has no C compiler, or no library that a program can be given: {made:?}");
        return;
    }
    let waits = story.file("waits", b"");
    let mut terminal = Terminal::new();
    let mut hub = story.convoke(["hub", "--listen", "127.0.0.1:0", "--data", "data"]);
    hub.envs([TERM]).env("LD_PRELOAD", library).env("SYNC_WAITS", &waits).stderr(terminal.end());
    let hub = story.start_command(hub);
    let mut seen = terminal.shows("starting: 1 s");
    assert_eq!(hub.printed(), "");
    std::fs::remove_file(waits).unwrap();
    hub.listens_at();
    hub.signal(Signal::TERM);
    assert_eq!(hub.ended().code(), 0);
    seen += &terminal.shown();
    assert_eq!(left(&seen), "", "{seen:?}");
}

#[test]
fn what_no_person_looks_at_has_no_such_line() {
    let story = Story::with_hub();
    let once = ["wait", "a", "--timeout", "1500ms"];
    let timed_out = "convoke: wait for `a`: it has got no value within 1.5 s\n";
    story.run(once).is(69, "", timed_out);
    for (term, more) in [("dumb", &[][..]), ("xterm", &["--json"])] {
        let terminal = Terminal::new();
        let mut wait = story.convoke([&once[..], more].concat());
        wait.env("TERM", term).stderr(terminal.end());
        assert_eq!(story.start_command(wait).ended().code(), 69);
        let seen = terminal.shown();
        assert!(!seen.contains('\u{1b}') && seen.lines().count() == 1, "{seen:?}");
    }
}
