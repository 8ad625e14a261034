//! Processes that answer, fail, and are ended.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use super::*;

/// The longest that anything here may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

fn shell(script: &str, lines: bool) -> (Handler, Ending) {
    let command = ["sh", "-c", script].map(OsString::from).to_vec();
    Handler::new(command, lines, "math/add", "127.0.0.1:7117")
}

fn job(payload: Payload) -> Job {
    Job { payload, caller: "panel".to_owned(), author: "ann".to_owned(), left: PATIENCE }
}

fn json(text: &str) -> Payload {
    Payload { encoding: Encoding::Json, bytes: text.to_owned().into_bytes().into() }
}

/// Whether a process of this number runs; one that has ended and was not waited for counts as one.
fn runs(pid: &str) -> bool {
    test_kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap()).is_ok()
}

async fn until(mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it never became so");
}

/// The number that a script has written into a file.
async fn pid(folder: &TempDir, file: &str) -> String {
    let read = || std::fs::read_to_string(folder.path().join(file)).unwrap_or_default();
    until(|| read().ends_with('\n')).await;
    read().trim().to_owned()
}

#[test]
fn what_a_program_writes_is_json_or_text_or_bytes() {
    for (written, encoding, bytes) in [
        (&b"3\n"[..], Encoding::Json, &b"3"[..]),
        (b"{\n \"a\": 1\n}\n", Encoding::Json, b"{\n \"a\": 1\n}"),
        (b"three\r\n", Encoding::Text, b"three"),
        (b"three\n\n", Encoding::Text, b"three\n"),
        (b"", Encoding::Text, b""),
        (b"\xff\n", Encoding::Raw, b"\xff\n"),
    ] {
        assert_eq!(reply(written.to_vec()), Payload { encoding, bytes: bytes.to_vec().into() });
    }
}

#[tokio::test]
async fn a_process_gets_the_payload_and_answers() {
    let (handler, ending) = shell("cat; echo \" $CONVOKE_SERVICE $CONVOKE_CALLER $CONVOKE_AUTHOR\"", false);
    let answer = handler.handle(job(Payload::encode(&(1, "a")).unwrap())).await.unwrap();
    assert_eq!(answer, Payload::text("[1,\"a\"] math/add panel ann"));
    let (echo, echo_ending) = shell("cat", false);
    assert_eq!(echo.handle(job(json("[1, 2.50]"))).await.unwrap(), json("[1, 2.50]"));
    let bytes = Payload::raw(vec![0xff; 1 << 20]);
    assert_eq!(echo.handle(job(bytes.clone())).await.unwrap(), bytes);
    ending.ended().await;
    echo_ending.ended().await;
}

#[tokio::test]
async fn an_exit_code_is_an_error_with_the_last_words() {
    let (handler, _ending) = shell("echo one >&2; echo 'no such part' >&2; echo; exit 7", false);
    let failure = handler.handle(job(json("1"))).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("exit 7", "no such part"));
    let (handler, _ending) = shell("kill -9 $$", false);
    let failure = handler.handle(job(json("1"))).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("signal 9", ""));
    let (handler, _ending) = Handler::new(vec!["./no such program".into()], false, "a", "b");
    let failure = handler.handle(job(json("1"))).await.unwrap_err();
    assert_eq!(failure.message, "`./no such program` cannot be started: No such file or directory");
}

#[tokio::test]
async fn who_is_given_up_is_killed_with_all_that_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("cd {}; sleep 1000 & echo $! > child; echo $$ > own; wait", folder.path().display());
    let (handler, ending) = shell(&script, false);
    let call = tokio::spawn({
        let handler = handler.clone();
        async move { handler.handle(job(json("1"))).await }
    });
    let (own, child) = (pid(&folder, "own").await, pid(&folder, "child").await);
    assert!(runs(&own) && runs(&child));
    call.abort();
    until(|| !runs(&own) && !runs(&child)).await;
    ending.ended().await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_when_it_has_answered_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("cd {}; sleep 1000 >&- 2>&- & echo $! > child; echo done", folder.path().display());
    let (handler, ending) = shell(&script, false);
    assert_eq!(handler.handle(job(json("1"))).await.unwrap(), Payload::text("done"));
    let child = pid(&folder, "child").await;
    until(|| !runs(&child)).await;
    ending.ended().await;
}

#[tokio::test]
async fn what_holds_the_output_open_does_not_hold_up_the_answer() {
    let (handler, ending) = shell("sleep 1000 & echo done", false);
    let answer = tokio::time::timeout(PATIENCE / 2, handler.handle(job(json("1")))).await;
    assert_eq!(answer.expect("it is not waited for").unwrap(), Payload::text("done"));
    ending.ended().await;
}

#[tokio::test]
async fn what_is_written_after_the_command_has_ended_belongs_to_the_answer() {
    let (handler, ending) = shell("(while kill -0 $$ 2>&-; do sleep 0.01; done; echo done) & exit 0", false);
    assert_eq!(handler.handle(job(json("1"))).await.unwrap(), Payload::text("done"));
    ending.ended().await;
}

#[tokio::test]
async fn who_is_given_up_may_tidy_up_and_is_killed_if_that_takes_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let trap = "trap 'echo asked > asked' TERM; echo $$ > own; while :; do sleep 0.01; done";
    let (handler, ending) = shell(&format!("cd {}; {trap}", folder.path().display()), false);
    let call = tokio::spawn(async move { handler.handle(job(json("1"))).await });
    let own = pid(&folder, "own").await;
    call.abort();
    until(|| folder.path().join("asked").exists() && !runs(&own)).await;
    ending.ended().await;
}

#[tokio::test]
async fn an_end_that_cannot_be_waited_for_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("cd {}; trap '' TERM; sleep 1000 & echo $! > child; wait; wait", folder.path().display());
    let (handler, ending) = shell(&script, false);
    let _call = tokio::spawn(async move { handler.handle(job(json("1"))).await });
    let child = pid(&folder, "child").await;
    ending.kill()();
    until(|| !runs(&child)).await;
}

#[tokio::test]
async fn who_takes_too_long_is_killed() {
    let (handler, ending) = shell("sleep 1000", false);
    let call = Job { left: Duration::from_millis(50), ..job(json("1")) };
    assert!(tokio::time::timeout(PATIENCE, handler.handle(call)).await.unwrap().is_err());
    ending.ended().await;
}

#[tokio::test]
async fn nothing_is_left_when_it_ends() {
    for lines in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("echo $$ > {}; exec sleep 1000", folder.path().join("own").display());
        let (handler, ending) = shell(&script, lines);
        let call = tokio::spawn({
            let handler = handler.clone();
            async move { handler.handle(job(json("1"))).await }
        });
        let own = pid(&folder, "own").await;
        tokio::time::timeout(PATIENCE, ending.ended()).await.unwrap();
        assert!(!runs(&own));
        assert!(call.await.unwrap().is_err());
        assert!(handler.handle(job(json("1"))).await.is_err());
    }
}

#[tokio::test]
async fn one_process_answers_line_by_line() {
    let (handler, _ending) = shell("n=0; while read line; do n=$((n+1)); echo \"[$n,$line]\"; done", true);
    assert_eq!(handler.handle(job(json("{\n\"a\": 1}"))).await.unwrap(), json("[1,{ \"a\": 1}]"));
    assert_eq!(handler.handle(job(Payload::text("two\n2"))).await.unwrap(), json("[2,\"twon2\"]"));
    assert_eq!(handler.handle(job(Payload::raw(&b"\xff"[..]))).await.unwrap(), json("[3,{\"base64\":\"/w==\"}]"));
}

#[tokio::test]
async fn what_a_process_says_before_the_first_call_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let script = format!("echo ready; printf '> '; : > {}; while read line; do echo $line; done", begun.display());
    let (handler, _ending) = shell(&script, true);
    handler.begin().await;
    until(|| begun.exists()).await;
    assert_eq!(handler.handle(job(json("1"))).await.unwrap(), json("1"));
    assert_eq!(handler.handle(job(json("2"))).await.unwrap(), json("2"));
}

#[tokio::test]
async fn what_a_process_says_whenever_it_is_started_is_no_answer_either() {
    let folder = tempfile::tempdir().unwrap();
    let [begun, process] = ["begun", "process"].map(|name| folder.path().join(name));
    let shown = [&begun, &process].map(|path| path.display());
    let script = format!("echo $$ > {}; echo one; echo two; : > {}; read line; echo $line", shown[1], shown[0]);
    let (handler, _ending) = shell(&script, true);
    handler.begin().await;
    until(|| begun.exists()).await;
    for call in ["1", "2", "3"] {
        assert_eq!(handler.handle(job(json(call))).await.unwrap(), json(call));
        // A call that comes while it ends may go to it, and gets no answer then.
        let process = std::fs::read_to_string(&process).unwrap();
        until(|| has_ended(process.trim())).await;
    }
}

/// Whether there is no such process any more, but for how it has ended.
fn has_ended(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat"));
    status.is_ok_and(|status| status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
        || !std::path::Path::new(&format!("/proc/{process}")).exists()
}

/// What is told of a process that has ended before it has answered.
const NO_ANSWER: &str = "without an answer; it is started again for the next call, at most once in 250 ms";

#[tokio::test]
async fn a_process_that_dies_fails_the_call_it_has_and_is_there_for_the_next() {
    let (handler, _ending) =
        shell("read line; [ $line = 1 ] && echo 'no more' >&2 && exit 3; echo $line; read line", true);
    let failure = handler.handle(job(json("1"))).await.unwrap_err();
    assert_eq!(failure.kind, "exit 3");
    assert_eq!(failure.message, format!("no more; `sh` has ended (exit 3) {NO_ANSWER}"));
    assert_eq!(handler.handle(job(json("2"))).await.unwrap(), json("2"));
}

#[tokio::test]
async fn a_process_that_ends_without_a_word_is_told_all_the_same() {
    let (handler, _ending) = shell("read line; exit 0", true);
    let failure = handler.handle(job(json("1"))).await.unwrap_err();
    assert_eq!(failure.to_string(), format!("exit 0: `sh` has ended (exit 0) {NO_ANSWER}"));
    let (handler, _ending) = shell("read line; kill -9 $$", true);
    let failure = handler.handle(job(json("1"))).await.unwrap_err();
    assert_eq!(failure.to_string(), format!("signal 9: `sh` has ended (signal 9) {NO_ANSWER}"));
}

#[tokio::test]
async fn a_process_that_dies_between_two_calls_fails_none() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("echo $$ > {}; while read line; do echo $line; done", folder.path().join("own").display());
    let (handler, _ending) = shell(&script, true);
    assert_eq!(handler.handle(job(json("1"))).await.unwrap(), json("1"));
    let own = pid(&folder, "own").await;
    kill_process(Pid::from_raw(own.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    // That it is waited for although nobody calls is how it is noticed.
    until(|| !runs(&own)).await;
    assert_eq!(handler.handle(job(json("2"))).await.unwrap(), json("2"));
}

#[test]
fn last_words_that_are_too_long_leave_room_for_the_sentence() {
    let message = lines::with_words("ö".repeat(4096), "it has ended");
    assert!(message.len() <= 4096 && message.ends_with("ö; it has ended"), "{} bytes", message.len());
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_not_that_of_the_next_call() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let script = format!("while read line; do echo $line >> {}; sleep 0.$line; echo $line; done", begun.display());
    let (handler, _ending) = shell(&script, true);
    let late = tokio::spawn({
        let handler = handler.clone();
        async move { handler.handle(job(json("9"))).await }
    });
    until(|| begun.exists()).await;
    late.abort();
    assert_eq!(handler.handle(job(json("0"))).await.unwrap(), json("0"));
}

#[tokio::test]
async fn a_line_too_many_is_not_the_answer_of_the_next_call() {
    let (handler, _ending) = shell("while read line; do printf '%s\\nmore\\n' $line; done", true);
    for call in ["1", "2", "3"] {
        assert_eq!(handler.handle(job(json(call))).await.unwrap(), json(call));
    }
}

#[tokio::test]
async fn bytes_of_a_line_are_answered_without_its_end() {
    let (handler, _ending) = shell("while read line; do printf '\\377\\n'; done", true);
    assert_eq!(handler.handle(job(json("1"))).await.unwrap(), Payload::raw(&b"\xff"[..]));
}
