//! `convoke subscribe`.

use std::io::Read;
use std::time::{Duration, Instant};

use convoke::{Node, NodeOptions, Token};
use rustix::process::Signal;

use crate::story::{Story, full_disk, run};

#[test]
fn events_are_printed_at_once_until_ctrl_c() {
    let story = Story::with_hub();
    let panel = story.subscribe(["press/#", "-v"]);
    story.run(["publish", "press/1/opened", "yes"]).is(0, "", "");
    panel.prints("press/1/opened yes\n");
    story.run(["publish", "press/1/closed"]).is(0, "", "");
    panel.prints("press/1/closed\n");
    panel.signal(Signal::INT);
    panel.ended().is(130, "press/1/opened yes\npress/1/closed\n", "");
}

#[test]
fn a_service_manager_ends_it_with_143() {
    let story = Story::with_hub();
    let panel = story.subscribe(["#"]);
    panel.signal(Signal::TERM);
    panel.ended().is(143, "", "");
}

#[test]
fn it_ends_when_nothing_comes_any_more() {
    let story = Story::with_hub();
    let panel = story.subscribe(["#", "--idle", "3s"]);
    story.run(["publish", "a", "1"]).is(0, "", "");
    panel.ended().is(0, "a 1\n", "");
}

#[test]
fn an_event_of_two_patterns_is_printed_once() {
    let story = Story::with_hub();
    let panel = story.subscribe(["a/+", "b", "a/#", "--idle", "1s"]);
    for name in ["a/x", "b", "a/x/y", "c"] {
        story.run(["publish", name, "1"]).is(0, "", "");
    }
    let ended = panel.ended();
    let mut lines: Vec<String> = ended.stdout().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!((ended.code(), lines), (0, vec!["a/x 1".into(), "a/x/y 1".into(), "b 1".into()]));
}

#[test]
fn members_of_a_group_share_the_events() {
    let story = Story::with_hub();
    let workers = [(); 2].map(|()| story.subscribe(["jobs/#", "--group", "workers", "--count", "2"]));
    let all = story.subscribe(["jobs/#", "--count", "4"]);
    for job in ["1", "2", "3", "4"] {
        story.run(["publish", "jobs/new", job, "--confirm"]).is(0, "2\n", "");
    }
    let mut shared: Vec<String> = workers
        .into_iter()
        .flat_map(|worker| worker.ended().stdout().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    shared.sort();
    assert_eq!(shared, ["jobs/new 1", "jobs/new 2", "jobs/new 3", "jobs/new 4"]);
    all.ended().is(0, "jobs/new 1\njobs/new 2\njobs/new 3\njobs/new 4\n", "");
}

#[test]
fn what_a_worker_that_is_gone_would_have_got_goes_to_the_next() {
    let story = Story::with_hub();
    let worker = story.subscribe(["jobs", "--group", "workers"]);
    worker.signal(Signal::TERM);
    assert_eq!(worker.ended().code(), 143);
    let next = story.subscribe(["jobs", "jobs/#", "--group", "workers", "--count", "2"]);
    story.run(["publish", "jobs", "1", "--confirm"]).is(0, "1\n", "");
    story.run(["publish", "jobs", "2", "--confirm"]).is(0, "1\n", "");
    next.ended().is(0, "jobs 1\njobs 2\n", "");
}

#[test]
fn the_name_of_a_group_is_a_name() {
    let story = Story::with_hub();
    let ended = story.run(["subscribe", "jobs", "--group", "workers/+"]);
    assert_eq!(ended.code(), 64);
    assert!(ended.stderr().contains("`workers/+`"), "{}", ended.stderr());
    let said = story.run(["subscribe", "jobs", "--group", ""]).stderr();
    assert!(said.starts_with("convoke: --group, the name of the group: "), "{said}");
}

#[test]
fn nothing_in_an_event_acts_on_the_terminal() {
    let story = Story::with_hub();
    let panel = story.subscribe(["#", "--count", "4"]);
    story.run(["publish", "text", "a\nfake 1\r\u{1b}]0;title\u{7}\u{202e}"]).is(0, "", "");
    story.run(["publish", "json", "{\n\t\"a\": \"\u{9b}2J\"\n}"]).is(0, "", "");
    story.run_with_input(b"\xff\x00", ["publish", "bytes", "--raw", "-"]).is(0, "", "");
    story.run_with_input(b"readable\n", ["publish", "bytes", "--raw", "-"]).is(0, "", "");
    panel.ended().is(
        0,
        concat!(
            "text a\\nfake 1\\r\\u001b]0;title\\u0007\\u202e\n",
            "json {  \"a\": \"\\u009b2J\" }\n",
            "bytes base64:/wA=\n",
            "bytes readable\\n\n",
        ),
        "",
    );
}

#[test]
fn a_slow_reader_is_told_how_many_events_it_lost() {
    const EVENTS: usize = 24;
    let story = Story::with_hub();
    let panel = story.subscribe_unread(["#", "--idle", "3s"]);
    let file = story.file("megabyte", &vec![b'x'; 1 << 20]);
    for _ in 0..EVENTS {
        story.run(["publish", "a", "--raw", &file, "--confirm"]).is(0, "1\n", "");
    }
    panel.read();
    let ended = panel.ended();
    assert_eq!(ended.code(), 0);
    let seen = ended.stdout().lines().count();
    let lost = EVENTS - seen;
    assert!(lost > 1, "they cannot all have waited");
    assert_eq!(ended.stderr(), format!("lost {lost} events: they came faster than they were read\n"));
}

#[test]
fn a_hub_that_is_restarted_is_found_again_and_the_gap_is_told() {
    let mut story = Story::with_hub();
    let address = story.address().to_owned();
    let people = story.subscribe(["#", "a"]);
    let program = story.subscribe(["#", "--json", "--count", "1"]);
    story.kill_hub();
    story.start_hub(&address);
    people.says("lost an unknown number of events: the hub was restarted\n");
    program.prints("{\"lost\":{\"count\":null,\"reason\":\"HubRestarted\"}}\n");
    story.run(["publish", "a", "1", "--confirm"]).is(0, "2\n", "");
    people.prints("a 1\n");
    people.signal(Signal::INT);
    people.ended().is(130, "a 1\n", "lost an unknown number of events: the hub was restarted\n");
    assert_eq!(program.ended().stdout().lines().count(), 2);
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let story = Story::with_hub();
    let mut command = story.convoke(["subscribe", "-v", "#"]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let panel = story.start_command(command);
    panel.says("subscribed");
    drop(reader);
    story.run(["publish", "a", "1"]).is(0, "", "");
    panel.ended().is(0, "", "");
}

#[test]
fn a_full_disk_is_told() {
    let story = Story::with_hub();
    let mut command = story.convoke(["subscribe", "-v", "#"]);
    command.stdout(full_disk());
    let panel = story.start_command(command);
    panel.says("subscribed");
    story.run(["publish", "a", "1"]).is(0, "", "");
    panel.ended().is(74, "", "convoke: cannot write to standard output: No space left on device\n");
}

#[test]
fn ctrl_c_ends_it_although_nobody_reads() {
    let story = Story::with_hub();
    let panel = story.subscribe_unread(["#"]);
    let file = story.file("megabyte", &vec![b'x'; 1 << 20]);
    story.run(["publish", "a", "--raw", &file]).is(0, "", "");
    // Its stdout takes 64 KiB of it.
    panel.signal(Signal::INT);
    assert_eq!(panel.code_unread(), 130);
}

#[test]
fn a_bad_pattern_is_refused_before_a_hub_is_asked_for() {
    let story = Story::without_hub();
    story.run(["subscribe", "ok", "a/#/b"]).is(
        64,
        "",
        "convoke: `a/#/b` goes on after `#`: it stands for all the rest, so it can only be the last word\n",
    );
    let mut command = story.convoke(["subscribe"]);
    command.env("CONVOKE_NAME", "x");
    run(command).is(
        64,
        "",
        "convoke: the following required arguments were not provided: <PATTERN>; see `convoke subscribe --help`\n",
    );
}

#[test]
fn ctrl_c_is_heard_at_once_however_much_comes() {
    let story = Story::with_hub();
    let (mut slow, stdout) = std::io::pipe().unwrap();
    let mut panel = story.convoke(["subscribe", "a", "-v", "--json"]);
    panel.stdout(stdout);
    let panel = story.start_command(panel);
    panel.says(" INFO subscribed");
    let token = Token::read(story.path("state/convoke/admin.token")).unwrap();
    let options = NodeOptions { token: Some(token), ..NodeOptions::new("press") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = story.address().to_owned();
    runtime.spawn(async move {
        let press = Node::connect_with(address, options).await.unwrap();
        while press.publish("a", &1).await.is_ok() {}
    });
    // A reader that takes less than comes, but always something.
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(1..) = slow.read(&mut buffer) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    // By now it prints without a pause.
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    panel.signal(Signal::INT);
    let (ended, took) = (panel.ended(), asked.elapsed());
    runtime.shutdown_background();
    assert_eq!(ended.code(), 130);
    assert!(took < Duration::from_millis(1800), "it was ended by force, in the middle of a line perhaps");
}
