//! Story: a program posts commands into its outbox while it and the hub are killed again and again, at any step: whatever it
//! knew to be posted is in the journal, once and in order, and it learns of each at which place.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use convoke::{Node, NodeOptions, Token};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::hub_process::{HubProcess, hub};
use support::process::{Process, given, play, say};
use support::*;

const JOURNAL: &str = "todo";

/// How often something is killed.
const ROUNDS: usize = 16;

/// What the program writes down as it happens, in a file that outlives it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Line {
    /// It is about to post this command.
    Try(u64),
    /// It is posted, under this number.
    Posted(u64, u64),
    /// What has this number is at this place.
    Done(u64, u64),
}

fn lines(history: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(history).unwrap_or_default();
    // The last line of a process that was killed may be torn.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn note(history: &mut File, line: Line) {
    let text = format!("{}\n", serde_json::to_string(&line).unwrap());
    history.write_all(text.as_bytes()).unwrap();
}

/// Posts until the file `ENOUGH` is there, then waits until nothing is left.
async fn poster() {
    let (path, enough) = (PathBuf::from(given("HISTORY")), PathBuf::from(given("ENOUGH")));
    let last =
        lines(&path).into_iter().filter_map(|line| if let Line::Try(command) = line { Some(command) } else { None });
    let mut command = last.max().unwrap_or(0);
    let mut history = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    // A line that was torn ends here.
    history.write_all(b"\n").unwrap();
    let options = NodeOptions {
        token: Some(Token::read(given("TOKEN")).unwrap()),
        outbox: Some(given("OUTBOX").into()),
        ..NodeOptions::new(given("NODE"))
    };
    let outbox = Node::open(given("HUB"), options).unwrap().outbox().unwrap();
    say("posting");
    let mut reader = history.try_clone().unwrap();
    let ends = outbox.clone();
    let reading = tokio::spawn(async move {
        while let Some(end) = ends.next().await {
            note(&mut reader, Line::Done(end.number, end.outcome.expect("there is one hub, and it forgets nothing")));
        }
    });
    while !enough.exists() {
        command += 1;
        note(&mut history, Line::Try(command));
        match outbox.append(JOURNAL, &command).await {
            Ok(number) => note(&mut history, Line::Posted(command, number)),
            Err(error) => {
                assert_eq!(error.code(), convoke::Code::Backpressure, "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    until("all is told", || {
        let all = lines(&path);
        let told: BTreeSet<u64> =
            all.iter().filter_map(|line| if let Line::Done(number, _) = line { Some(*number) } else { None }).collect();
        outbox.is_empty() && all.iter().all(|line| !matches!(line, Line::Posted(_, number) if !told.contains(number)))
    })
    .await;
    reading.abort();
    say("posted");
    std::future::pending().await
}

/// What a process of a story does; see [`play`].
#[test]
#[ignore = "it is the other processes of the stories"]
fn child() {
    play(async |role| match role {
        "hub" => hub().await,
        "poster" => poster().await,
        other => panic!("there is no role {other}"),
    });
}

fn count_posted(history: &Path) -> usize {
    lines(history).iter().filter(|line| matches!(line, Line::Posted(..))).count()
}

#[tokio::test]
async fn what_was_posted_is_there_once_and_in_order_however_often_program_and_hub_are_killed() {
    let mut hub = HubProcess::start(&[]).await;
    let (history, enough) = (hub.folder.path().join("history"), hub.folder.path().join("enough"));
    let outbox = hub.folder.path().join("outbox");
    let shown = [&history, &enough, &outbox].map(|path| path.display().to_string());
    let start = |hub: &HubProcess| -> Process {
        hub.start_process("poster", "press", &[("HISTORY", &shown[0]), ("ENOUGH", &shown[1]), ("OUTBOX", &shown[2])])
    };
    let more = async |count: usize| {
        let before = count_posted(&history);
        until("more is posted", || count_posted(&history) >= before + count).await;
    };
    let mut program = start(&hub);
    assert_eq!(program.says().await, "posting");
    for round in 0..ROUNDS {
        more(10 + 7 * (round % 5)).await;
        match round % 4 {
            // The program, in the middle of its work.
            0 => {
                program.kill().await;
                program = start(&hub);
            }
            // The hub: the program goes on without.
            1 => hub = hub.restart_after(|| {}).await,
            // The hub stands still, so that answers are on their way when the program is killed.
            2 => {
                hub.process.stop().await;
                more(5).await;
                program.kill().await;
                hub.process.signal(Signal::CONT);
                program = start(&hub);
            }
            // Both, and the program is there again first: it is killed once more before the hub is there.
            _ => {
                hub.process.stop().await;
                more(5).await;
                program.kill().await;
                program = start(&hub);
                assert_eq!(program.says().await, "posting");
                program.kill().await;
                hub = hub.kill_and_restart().await;
                program = start(&hub);
            }
        }
        if round % 4 != 1 {
            assert_eq!(program.says().await, "posting");
        }
    }
    more(20).await;
    std::fs::write(&enough, "").unwrap();
    assert_eq!(program.says().await, "posted");
    program.kill().await;

    let reader = hub.node("reader").await;
    let mut entries = reader.entries(JOURNAL, 0).await.unwrap();
    let mut journal: Vec<u64> = Vec::new();
    while let Some(next) = soon(entries.next_of_those_there()).await {
        journal.push(next.unwrap().1.unwrap().decode().unwrap());
    }
    assert!(journal.is_sorted_by(|one, next| one < next), "once and in order: {journal:?}");
    let place_of = |command: u64| journal.binary_search(&command).ok().map(|at| at as u64 + 1);
    let (mut posted, mut told) = (BTreeMap::new(), BTreeMap::new());
    for line in lines(&history) {
        match line {
            Line::Try(_) => {}
            Line::Posted(command, number) => assert_eq!(posted.insert(number, command), None, "numbers are given once"),
            Line::Done(number, place) => {
                // Who is killed just then is told again, and the same.
                assert_eq!(told.insert(number, place).unwrap_or(place), place);
            }
        }
    }
    for (number, command) in &posted {
        let place = place_of(*command);
        assert!(place.is_some(), "{command} was posted and is not there");
        assert_eq!(told.get(number).copied(), place, "what it was told of {command}");
    }
    println!("{} commands posted, {} in the journal", posted.len(), journal.len());
}
