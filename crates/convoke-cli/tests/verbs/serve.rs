//! `convoke serve`.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, test_kill_process};

use crate::story::Story;

/// The longest that a process may take to be gone, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a script has written a file of this name with one line in it.
fn written(story: &Story, file: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fs::read_to_string(story.path(file)) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => assert!(Instant::now() < deadline, "`{file}` was never written"),
        }
        std::thread::yield_now();
    }
}

/// Waits until a process is gone, and nobody has yet to wait for it.
fn gone(pid: &str) {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while test_kill_process(pid).is_ok() {
        assert!(Instant::now() < deadline, "it still runs");
        std::thread::yield_now();
    }
}

#[test]
fn a_command_handles_each_call() {
    let story = Story::with_hub();
    let add = story.file("add.sh", b"tr -d '[]' | { IFS=, read a b; echo $((a + b)); }");
    let serve = story.serve(["math/add", "--count", "2", "--", "sh", &add]);
    story.run(["call", "math/add", "[1,2]"]).is(0, "3\n", "");
    story.run(["call", "math/add", "[20,22]"]).is(0, "42\n", "");
    serve.ended().is(0, "", "serving math/add\n");
    assert_eq!(story.run(["call", "math/add", "[1,2]"]).code(), 69);
}

#[test]
fn a_command_knows_who_calls() {
    let story = Story::with_hub();
    let script = "echo $CONVOKE_SERVICE $CONVOKE_CALLER $CONVOKE_AUTHOR; [ $CONVOKE_DEADLINE_MS -gt 1000 ]";
    let _serve = story.serve(["who/calls", "--", "sh", "-c", script]);
    let call = story.run(["call", "who/calls", "--name", "panel-1", "--author", "eve"]);
    call.is(0, "who/calls panel-1 eve\n", "");
}

#[test]
fn text_and_bytes_go_in_and_come_out_as_they_are() {
    let story = Story::with_hub();
    let _echo = story.serve(["echo", "--", "cat"]);
    story.run(["call", "echo", "two\nlines"]).is(0, "two\\nlines\n", "");
    let file = story.file("image", b"\x00\xff\n");
    let ended = story.run(["call", "echo", "--raw", &file, "--raw-reply"]);
    assert_eq!((ended.code(), ended.stdout_bytes()), (0, &b"\x00\xff\n"[..]), "{}", ended.stderr());
    story.run(["call", "echo"]).is(0, "\n", "");
}

#[test]
fn an_exit_code_is_an_error_with_the_last_words() {
    let story = Story::with_hub();
    let serve =
        story.serve(["part", "--count", "1", "--", "sh", "-c", "echo looking >&2; echo no such part >&2; exit 7"]);
    story.run(["call", "part"]).is(65, "", "convoke: exit 7: no such part\n");
    serve.ended().is(0, "", "serving part\nlooking\nno such part\n");
}

#[test]
fn what_takes_too_long_is_killed_with_all_that_it_has_started() {
    let story = Story::with_hub();
    let _serve = story.serve(["slow", "--", "sh", "-c", "sleep 1000 & echo $! > child; echo $$ > own; wait"]);
    let call = story.run(["call", "slow", "--timeout", "500ms"]);
    assert_eq!(call.code(), 69);
    assert!(call.stderr().ends_with("; it may have been done all the same\n"), "{}", call.stderr());
    gone(&written(&story, "own"));
    gone(&written(&story, "child"));
}

#[test]
fn what_the_caller_gives_up_is_killed() {
    let story = Story::with_hub();
    let _serve = story.serve(["slow", "--", "sh", "-c", "echo $$ > own; exec sleep 1000"]);
    let call = story.start(["call", "slow", "--timeout", "1h"]);
    let own = written(&story, "own");
    call.signal(Signal::INT);
    assert_eq!(call.ended().code(), 130);
    gone(&own);
}

#[test]
fn ctrl_c_leaves_no_process_behind() {
    let story = Story::with_hub();
    for lines in [&["--lines"][..], &[]] {
        let serve =
            story.serve(["slow"].iter().chain(lines).chain(&["--", "sh", "-c", "echo $$ > own; sleep 1000"]).copied());
        let _call = story.start(["call", "slow", "--timeout", "1h"]);
        let own = written(&story, "own");
        fs::remove_file(story.path("own")).unwrap();
        serve.signal(Signal::INT);
        assert_eq!(serve.ended().code(), 130);
        gone(&own);
    }
}

#[test]
fn what_a_command_has_left_running_ends_with_it() {
    let story = Story::with_hub();
    let _serve = story.serve(["start", "--", "sh", "-c", "sleep 1000 & echo $! > child; echo started"]);
    story.run(["call", "start", "--timeout", "30s"]).is(0, "started\n", "");
    gone(&written(&story, "child"));
}

#[test]
fn who_is_in_a_hurry_leaves_no_process_behind_either() {
    let story = Story::with_hub();
    let script = "trap 'echo asked > asked' TERM; echo $$ > own; while :; do sleep 0.01; done";
    let serve = story.serve(["stubborn", "--", "sh", "-c", script]);
    let _call = story.start(["call", "stubborn", "--timeout", "1h"]);
    let own = written(&story, "own");
    serve.signal(Signal::INT);
    written(&story, "asked");
    serve.signal(Signal::INT);
    assert_eq!(serve.ended().code(), 130);
    gone(&own);
}

#[test]
fn one_process_answers_line_by_line() {
    let story = Story::with_hub();
    let script = "n=0; while read -r line; do n=$((n + 1)); echo \"[$n,$line]\"; done";
    let _serve = story.serve(["count", "--lines", "--", "sh", "-c", script]);
    story.run(["call", "count", "{\"a\": 1}"]).is(0, "[1,{\"a\": 1}]\n", "");
    story.run(["call", "count", "text"]).is(0, "[2,\"text\"]\n", "");
}

#[test]
fn one_process_that_dies_is_started_again() {
    let story = Story::with_hub();
    let script = "while read -r line; do [ $line = 0 ] && echo no zero >&2 && exit 3; echo $line; done";
    let serve = story.serve(["divide", "--lines", "--", "sh", "-c", script]);
    story.run(["call", "divide", "1"]).is(0, "1\n", "");
    let told =
        "`sh` has ended (exit 3) without an answer; it is started again for the next call, at most once in 250 ms\n";
    story.run(["call", "divide", "0"]).is(65, "", &format!("convoke: exit 3: no zero; {told}"));
    serve.says(&format!(" WARN {told}"));
    story.run(["call", "divide", "2"]).is(0, "2\n", "");
}

#[test]
fn one_process_that_dies_while_nobody_calls_is_told() {
    let story = Story::with_hub();
    let serve = story.serve(["echo", "--lines", "--", "sh", "-c", "read -r line; echo $line; kill -9 $$"]);
    story.run(["call", "echo", "1"]).is(0, "1\n", "");
    serve.says(
        " WARN `sh` has ended (signal 9) between two calls; it is started again for the next call, at most once in 250 ms\n",
    );
    story.run(["call", "echo", "2"]).is(0, "2\n", "");
}

#[test]
fn no_more_are_handled_at_a_time_than_was_said() {
    let story = Story::with_hub();
    // Who finds the folder there already is not alone.
    let script = "mkdir busy || exit 1; sleep 0.1; rmdir busy; echo alone";
    let _serve = story.serve(["alone", "--concurrency", "1", "--", "sh", "-c", script]);
    let calls: Vec<_> = (0..5).map(|_| story.start(["call", "alone", "--timeout", "30s"])).collect();
    for call in calls {
        call.ended().is(0, "alone\n", "");
    }
}

#[test]
fn it_goes_on_over_a_hub_that_is_killed() {
    let mut story = Story::with_hub();
    let _echo = story.serve(["echo", "--", "cat"]);
    let address = story.address().to_owned();
    story.kill_hub();
    story.start_hub(&address);
    story.run(["call", "echo", "1", "--wait"]).is(0, "1\n", "");
}

#[test]
fn a_command_that_is_not_there_is_told_at_once() {
    let story = Story::without_hub();
    for command in ["./no-such-program", "no-such-program"] {
        story.run(["serve", "a", "--", command]).is(
            64,
            "",
            &format!("convoke: `{command}` cannot be started: no such program, or it may not be run\n"),
        );
    }
    let ended = story.run(["serve", "a"]);
    assert_eq!((ended.code(), ended.stderr().lines().count()), (64, 1), "{}", ended.stderr());
    assert_eq!(story.run(["serve", "a", "--lines", "--concurrency", "2", "--", "cat"]).code(), 64);
}

/// It was taken for the reply to the first call, and each reply for that to the call after it.
#[test]
fn what_one_process_writes_before_the_first_call_is_dropped_with_a_word() {
    let story = Story::with_hub();
    let script = "echo ready; while read -r line; do echo $line; done";
    let serve = story.serve(["echo", "--lines", "--", "sh", "-c", script]);
    serve.says(" WARN `sh` has written `ready` before the first call: it is dropped, and no answer\n");
    story.run(["call", "echo", "1"]).is(0, "1\n", "");
    story.run(["call", "echo", "2"]).is(0, "2\n", "");
}
