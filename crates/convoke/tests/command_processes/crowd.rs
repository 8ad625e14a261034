//! Story: one of a hundred who follow stands still, and nobody feels it.

use rustix::process::Signal;

use super::follower::{self, Got};
use super::support::hub_process::HubProcess;
use super::support::{soon, until};
use super::writer::Command;
use super::{END, JOURNAL, got};

/// Those who follow beside the one that stands still.
const OTHERS: usize = 99;

/// What a command has, in bytes, about.
const LONG: usize = 100_000;

/// Commands that come while one stands still: about 32 MB.
const COMMANDS: u64 = 320;

/// Commands before: more than a hub holds in memory of all journals (64 MiB).
const BEFORE: u64 = 1_000;

/// What the hub may need more for one that stands still, and for sending as much to so many others, in bytes: less than
/// what came meanwhile.
const MORE_BYTES_MAX: u64 = 16 << 20;

#[tokio::test]
async fn one_of_a_hundred_stands_still_and_catches_up_without_a_gap() {
    let hub = HubProcess::start(&[]).await;
    let writer = hub.node("writer").await;
    let command = |number| Command { writer: "x".repeat(LONG), number };
    for number in 0..BEFORE {
        soon(writer.append("before", &command(number))).await.unwrap();
    }
    let mut others = Vec::new();
    for n in 0..OTHERS {
        others.push(tokio::spawn(got(hub.node(&format!("other-{n}")).await)));
    }
    let file = hub.folder.path().join("entries");
    let mut still = hub.start_process("follower", "still", &[("ENTRIES", &file.display().to_string())]);
    assert_eq!(still.says().await, "following");
    soon(writer.append(JOURNAL, &command(1))).await.unwrap();
    until("it follows", || follower::read(&file).len() == 1).await;
    still.stop().await;

    let before = hub.process.memory();
    for number in 2..=COMMANDS {
        soon(writer.append(JOURNAL, &command(number))).await.unwrap();
    }
    soon(writer.append(JOURNAL, END)).await.unwrap();
    let mut journal: Vec<Vec<Got>> = Vec::new();
    for other in others {
        let all = soon(other).await.unwrap();
        assert!(journal.first().is_none_or(|first| *first == all), "all get the same");
        journal.truncate(1);
        journal.push(all);
    }
    let journal = journal.remove(0);
    let places: Vec<u64> = journal.iter().map(|entry| entry.seq).collect();
    assert_eq!(places, (1..=COMMANDS + 1).collect::<Vec<_>>());
    let more = hub.process.memory().saturating_sub(before);
    assert!(more < MORE_BYTES_MAX, "the hub has taken {more} bytes more");
    assert_eq!(follower::read(&file).len(), 1, "it stands still");

    still.signal(Signal::CONT);
    assert_eq!(still.says().await, "followed");
    assert!(follower::read(&file) == journal, "nothing is missing, and nothing came twice");
}
