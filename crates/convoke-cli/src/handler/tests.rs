//! Processes that answer, fail, and are killed.

use rustix::process::{Pid, test_kill_process};
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
async fn a_process_that_dies_fails_the_call_it_has_and_is_there_for_the_next() {
    let (handler, _ending) =
        shell("read line; [ $line = 1 ] && echo 'no more' >&2 && exit 3; echo $line; read line", true);
    let failure = handler.handle(job(json("1"))).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("exit 3", "no more"));
    assert_eq!(handler.handle(job(json("2"))).await.unwrap(), json("2"));
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
