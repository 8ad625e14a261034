//! What a hub does on SIGHUP: its configuration, its log, and a terminal that is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::story::{Running, Story};
use crate::terminal::Terminal;

/// A hub with this configuration, which listens on a socket.
fn hub(story: &Story, configuration: &str) -> (Running, String) {
    configure(story, configuration);
    let socket = format!("unix://{}", story.path("hub.sock").display());
    let hub = story.start(["hub", "--config", "a.toml", "--memory", "--listen", &socket]);
    hub.prints("listening");
    (hub, socket)
}

fn configure(story: &Story, configuration: &str) {
    story.file("a.toml", configuration.as_bytes());
}

/// Waits until a file has this in it.
fn wait_for(file: &PathBuf, text: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let so_far = fs::read_to_string(file).unwrap_or_default();
        if so_far.contains(text) {
            return so_far;
        }
        assert!(Instant::now() < deadline, "{}: {so_far}", file.display());
        std::thread::yield_now();
    }
}

#[test]
fn what_can_change_changes_and_what_cannot_is_named() {
    let story = Story::without_hub();
    let (hub, socket) = hub(&story, "[limits]\nlinks = 1\n");
    let ping = || story.run(["ping", "--address", &socket, "--timeout", "20s"]);
    let _panel = story.subscribe(["#", "--address", &socket]);
    assert_eq!(ping().code(), 75);
    configure(&story, "[limits]\nlinks = 5\npayload = '2MiB'\n");
    hub.signal(Signal::HUP);
    hub.says(" INFO config: `limits.links` is 5 now; it was 1\n");
    hub.says(" WARN config: `limits.payload` would be \"2MiB\", which takes a start of the hub; it is \"1MiB\"\n");
    let ended = ping();
    assert_eq!((ended.code(), ended.stderr()), (0, String::new()));
}

/// C20.
#[test]
fn a_configuration_that_is_wrong_changes_nothing() {
    let story = Story::without_hub();
    let (hub, socket) = hub(&story, "[limits]\nlinks = 5\n");
    configure(&story, "[limits]\nlinks = 1\n[log]\nlevel = 'loud'\n");
    hub.signal(Signal::HUP);
    hub.says(":4:9: `log.level` is `loud`: it must be a level").says("wrong, so all stays as it was\n");
    let _panel = story.subscribe(["#", "--address", &socket]);
    assert_eq!(story.run(["ping", "--address", &socket]).code(), 0);
    fs::remove_file(story.path("a.toml")).unwrap();
    hub.signal(Signal::HUP);
    hub.says("ERROR config: configuration file `a.toml`: No such file or directory\n");
    assert_eq!(story.run(["ping", "--address", &socket]).code(), 0);
    configure(&story, "[limits]\nlinks = 5\n");
    hub.signal(Signal::HUP);
    hub.says("INFO config: `a.toml` was read again: nothing has changed\n");
}

#[test]
fn a_log_file_is_for_its_owner_and_is_opened_again() {
    let story = Story::without_hub();
    let (hub, _) = hub(&story, "[log]\nfile = 'hub.log'\nlevel = 'info'\n");
    let (log, old) = (story.path("hub.log"), story.path("hub.log.1"));
    wait_for(&log, "INFO config: configured by `a.toml`\n");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    fs::rename(&log, &old).unwrap();
    hub.signal(Signal::HUP);
    wait_for(&log, "nothing has changed\n");
    assert!(!fs::read_to_string(&old).unwrap().contains("nothing has changed"));
    // A wrong configuration does not keep the log in a file that was taken away.
    fs::remove_file(&log).unwrap();
    configure(&story, "[");
    hub.signal(Signal::HUP);
    wait_for(&log, "all stays as it was\n");
    hub.signal(Signal::TERM);
    hub.ended().is(0, &format!("listening unix://{}\n", story.path("hub.sock").display()), "");
}

#[test]
fn levels_and_format_of_the_log_change_while_the_hub_runs() {
    let story = Story::without_hub();
    let (hub, socket) = hub(&story, "[log]\nlevel = 'off'\nfile = 'hub.log'\n");
    assert_eq!(story.run(["ping", "--address", &socket, "--name", "unseen"]).code(), 0);
    configure(&story, "[log]\nlevel = 'warn,link=info'\nformat = 'json'\nfile = 'hub.log'\n");
    hub.signal(Signal::HUP);
    let log = story.path("hub.log");
    wait_for(&log, "`log.format` is");
    assert_eq!(story.run(["ping", "--address", &socket, "--name", "seen"]).code(), 0);
    let lines = wait_for(&log, "`seen` is gone: it has left");
    assert!(!lines.contains("unseen"), "{lines}");
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["time", "level", "part", "message"]);
    }
    assert!(lines.contains(r#""level":"info","part":"link","message":"`seen` joined"#), "{lines}");
}

#[test]
fn a_log_that_cannot_be_written_stops_no_hub_and_one_that_cannot_be_opened_does() {
    let story = Story::without_hub();
    let (hub, socket) = hub(&story, "[log]\nfile = '/dev/full'\nlevel = 'trace'\n");
    assert_eq!(story.run(["ping", "--address", &socket]).code(), 0);
    configure(&story, "[log]\nfile = 'none/hub.log'\n");
    hub.signal(Signal::HUP);
    configure(&story, "[log]\nfile = 'hub.log'\n");
    hub.signal(Signal::HUP);
    wait_for(&story.path("hub.log"), "`log.file` is");
    hub.signal(Signal::TERM);
    assert_eq!(hub.ended().code(), 0);
    story.run(["hub", "--memory", "--log-file", "none/hub.log"]).is(
        73,
        "",
        "convoke: log file `none/hub.log` cannot be written: No such file or directory\n",
    );
    let folder = story.run(["hub", "--memory", "--log-file", "."]);
    assert_eq!(folder.code(), 73, "{}", folder.stderr());
}

#[test]
fn a_hub_ends_with_the_terminal_it_was_started_in() {
    let story = Story::without_hub();
    let terminal = Terminal::new();
    let mut command = story.convoke(["hub", "--memory", "--listen", "127.0.0.1:0"]);
    command.stdin(terminal.end());
    let hub = story.start_command(command);
    hub.prints("listening");
    hub.signal(Signal::HUP);
    hub.says("nothing has changed");
    drop(terminal);
    hub.signal(Signal::HUP);
    assert_eq!(hub.ended().code(), 129);
}
