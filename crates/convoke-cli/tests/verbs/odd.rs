//! Odd input and odd surroundings, as far as no verb alone is concerned.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;

use rustix::process::Signal;

use crate::story::{Running, Story, run};
use crate::terminal::Terminal;

/// More than one argument of a command line can be for most systems; a few bytes less can be given.
const LONGEST_ARGUMENT: usize = 128 << 10;

#[test]
fn a_name_that_is_too_long_is_told_in_a_short_line() {
    let story = Story::without_hub();
    let name = "x".repeat(LONGEST_ARGUMENT - 1);
    let shown = "x".repeat(64);
    let told = format!("convoke: `{shown}…` is too long: it has {} bytes, and at most 512 are allowed\n", name.len());
    story.run(["publish", &name, "1"]).is(64, "", &told);
    story.run(["publish", "a\nb", "1"]).is(
        64,
        "",
        "convoke: `a\\nb` has the character `\\n`: control characters and marks that turn the direction of writing are not \
         allowed\n",
    );
}

#[test]
fn a_payload_may_be_as_long_as_an_argument_can_be() {
    let story = Story::with_hub();
    let panel = story.subscribe(["a", "--count", "1"]);
    let payload = "x".repeat(LONGEST_ARGUMENT - 1);
    story.run(["publish", "a", &payload]).is(0, "", "");
    panel.ended().is(0, &format!("a {payload}\n"), "");
}

#[test]
fn a_stdin_that_is_closed_is_an_empty_payload() {
    let story = Story::with_hub();
    let panel = story.subscribe(["a", "--json", "--count", "1"]);
    let mut command = story.convoke(["-c", "exec \"$0\" publish a --raw - <&-", env!("CARGO_BIN_EXE_convoke")]);
    command = shell(&story, &command);
    run(command).is(0, "", "");
    assert!(panel.ended().stdout().contains(r#""payload":{"base64":""}"#));
}

/// A shell with the arguments and the environment of a command.
fn shell(story: &Story, like: &std::process::Command) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    shell.args(like.get_args()).current_dir(story.path("")).env_clear();
    shell.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn a_payload_typed_at_a_terminal_ends_with_ctrl_d() {
    let story = Story::with_hub();
    let panel = story.subscribe(["a", "--count", "1"]);
    let mut terminal = Terminal::new();
    let mut command = story.convoke(["publish", "a", "--raw", "-"]);
    command.stdin(terminal.end());
    let publish = story.start_command(command);
    terminal.types("typed\n\u{4}");
    publish.ended().is(0, "", "");
    panel.ended().is(0, "a typed\\n\n", "");
}

#[test]
fn a_file_may_be_given_once() {
    Story::without_hub().run(["publish", "a", "--raw", "-", "--raw", "-"]).is(
        64,
        "",
        "convoke: the argument '--raw <FILE>' cannot be used multiple times; see `convoke publish --help`\n",
    );
}

#[test]
fn what_is_wrong_with_json_is_told_to_who_wants_to_know() {
    let story = Story::with_hub();
    let publish = story.start(["publish", "a", "{\"x\": [1,}", "-v"]);
    publish.says(" INFO the payload is no JSON (expected value at line 1 column 10), so it is taken as text\n");
    assert_eq!(publish.ended().code(), 0);
}

#[test]
fn a_setting_that_is_too_large_says_what_is_allowed() {
    let story = Story::without_hub();
    let bounds = "it must be a size from 1MiB to 1TiB, such as `8MiB`";
    story.run(["hub", "--limits-link-bulk", "99999999999GiB"]).is(
        64,
        "",
        &format!("convoke: `--limits-link-bulk` is `99999999999GiB`: {bounds}\n"),
    );
    assert_eq!(story.run(["hub", "--limits-links", "18446744073709551616"]).code(), 64);
    assert_eq!(story.run(["hub", "--membership-beat", "99999999999h"]).code(), 64);
}

#[test]
fn tls_that_only_one_side_speaks_is_told() {
    let story = Story::with_hub();
    let other = Story::without_hub();
    assert_eq!(other.run(["tls", "init"]).code(), 0);
    let authority = other.path("state/convoke/tls/authority.pem").display().to_string();
    // Who is not believed is a matter of rights.
    let address = format!("tls://{}", story.address());
    let ended = story.run(["ping", "--address", &address, "--authority", &authority, "--timeout", "5s"]);
    let told = "the hub at tls://HUB does not speak TLS: give it a certificate with `convoke tls init`, or, on its own machine, \
                use `tcp://`";
    ended.is(77, "", &format!("convoke: {told}\n"));
    let hub = other.start(["hub", "--listen", "tls://127.0.0.1:0"]);
    let printed = hub.prints("listening tls://").printed();
    let address = printed.trim_end().strip_prefix("listening tls://").unwrap();
    other.run(["ping", "--address", address, "--timeout", "5s"]).is(
        77,
        "",
        "convoke: this address takes links over TLS only: write it with `tls://`, and give the authority of the hub\n",
    );
    // What is no hub at all is not there.
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tls://{}", web.local_addr().unwrap());
    std::thread::spawn(move || {
        for link in web.incoming() {
            let _ = link.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let ended = other.run(["ping", "--address", &address, "--authority", &authority, "--timeout", "1s"]);
    let said = ended.stderr();
    let told = format!("convoke: what answers at {address} is not a hub: it does not speak TLS as a hub does: ");
    assert!(ended.code() == 69 && said.starts_with(&told) && said.lines().count() == 1, "{}: {said}", ended.code());
}

#[test]
fn a_terminal_that_is_gone_ends_a_verb_with_129() {
    let story = Story::with_hub();
    let follow = story.subscribe(["#"]);
    follow.signal(Signal::HUP);
    follow.ended().is(129, "", "");
}

#[test]
fn a_folder_that_is_gone_matters_to_nobody_who_needs_none() {
    let story = Story::with_hub();
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" ping";
    let command = story.convoke(["-c", script, env!("CARGO_BIN_EXE_convoke")]);
    let ended = run(shell(&story, &command));
    assert_eq!((ended.code(), ended.stderr()), (0, String::new()));
}

#[test]
fn a_home_that_takes_nothing_is_named() {
    let story = Story::without_hub();
    let mut hub = story.convoke(["hub", "--listen", "127.0.0.1:0"]);
    // Nobody can make a folder there, not even the system's administrator.
    hub.env("HOME", "/dev/null").env_remove("XDG_STATE_HOME");
    let why = "cannot be made: Not a directory; something else has the name; name another place";
    run(hub).is(73, "", &format!("convoke: data folder `/dev/null/.local/state/convoke`: {why}\n"));
}

#[test]
fn the_narrowest_terminal_and_the_plainest_locale_do_no_harm() {
    let story = Story::without_hub();
    for arguments in [&["--help"][..], &["publish", "-h"], &["hub", "--help"]] {
        let mut command = story.convoke(arguments);
        command.env("COLUMNS", "1").env("LC_ALL", "C");
        let ended = run(command);
        assert_eq!((ended.code(), ended.stderr()), (0, String::new()), "{arguments:?}");
        assert!(ended.stdout().contains("Usage: convoke"), "{}", ended.stdout());
    }
}

#[test]
fn a_hub_that_could_open_hardly_any_files_says_how_many_it_needs() {
    let story = Story::without_hub();
    let hub = |files: u32, more: &str| {
        let script = format!("ulimit -n {files} && exec \"$0\" hub --memory --listen 127.0.0.1:0 {more}");
        shell(&story, &story.convoke(["-c", &script, env!("CARGO_BIN_EXE_convoke")]))
    };
    run(hub(64, "")).is(
        78,
        "",
        "convoke: this process may open 64 files, and a hub with 10000 links needs 10064; raise the limit (`ulimit -Hn \
         10064`), or set limits.links to less\n",
    );
    // One that has enough for many, or for as many as are wanted, starts.
    for (files, more, says) in [(1000, "", Some("may open 1000 files, ")), (90, "--limits-links 20", None)] {
        let hub = story.start_command(hub(files, more));
        hub.listens_at();
        hub.signal(Signal::TERM);
        let ended = hub.ended();
        assert_eq!((ended.code(), ended.stderr().is_empty()), (0, says.is_none()), "{}", ended.stderr());
        assert!(ended.stderr().contains(says.unwrap_or_default()), "{}", ended.stderr());
    }
}

/// What tells another time of day. The program is started with it in the place of the system's.
const CLOCK: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    const char *now = getenv("NOW");
    if (clock == CLOCK_REALTIME && now)
        time->tv_sec = atoll(now);
    return result;
}
"#;

#[test]
#[cfg(target_os = "linux")]
fn a_clock_that_is_far_off_changes_nothing_but_what_is_shown() {
    let story = Story::without_hub();
    let (library, source) = (story.path("clock.so"), story.file("clock.c", CLOCK.as_bytes()));
    let made = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).output();
    if !cfg!(target_env = "gnu") || !made.as_ref().is_ok_and(|made| made.status.success()) {
        println!("skipped: this machine has no C compiler, or no library that a program can be given: {made:?}");
        return;
    }
    // Before 1970, after 32 bits with and without a sign, and in the year 2107.
    for (now, year) in [(-86_400_i64, "1970-"), (1 << 31, "2038-"), (1 << 32, "2106-"), (4_354_560_000, "2107-")] {
        let with_clock = |arguments: &[&str]| {
            let mut command = story.convoke(arguments);
            command.env("LD_PRELOAD", &library).env("NOW", now.to_string());
            command
        };
        let data = format!("data{now}");
        let start =
            || -> Running { story.start_command(with_clock(&["hub", "--listen", "127.0.0.1:0", "--data", &data])) };
        let hub = start();
        let address = hub.listens_at();
        let typed = |arguments: &[&str]| run(with_clock(&[arguments, &["--address", &address]].concat()));
        assert_eq!(typed(&["set", "a", "1", "--ttl", "1h"]).code(), 0);
        typed(&["get", "a"]).is(0, "1\n", "");
        let token = format!("cam{now}");
        assert_eq!(typed(&["token", "create", "--no-secret", &token]).code(), 0);
        let since = typed(&["token", "list"]).stdout();
        let since = since.split_whitespace().nth(1).unwrap();
        // The very first moment of 1970 is none.
        assert!(since.starts_with(year) || (now < 0 && since == "-"), "{now}: {since}");
        hub.signal(Signal::TERM);
        assert_eq!(hub.ended().code(), 0);
        // What has a time to live is judged by the clock at the next start.
        let hub = start();
        let address = hub.listens_at();
        run(with_clock(&["get", "a", "--address", &address])).is(0, "1\n", "");
    }
    assert!(fs::metadata(story.path("data-86400")).is_ok());
}
