//! Story: eight programs write while their hub is killed again and again; what each of them was told is what happened.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod checker;
mod disk;
mod power;
#[path = "../support/mod.rs"]
mod support;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use convoke::{Change, Node, Rev, Watch, WatchOptions};
use support::hub_process::{HubProcess, hub, node_of_a_process};
use support::process::{Process, given, play, say};
use support::proxy::Proxy;
use support::*;
use writer::Writer;

/// How often the hub is killed.
const KILLS: u64 = 20;

/// How often the links of some of the writers are cut between one kill and the next.
const CUTS: u64 = 4;

/// Writers in the process of the story, and as many more in processes of their own.
const WRITERS: usize = 4;

/// The key that is set last of all.
const END: &str = "end";

/// What a process of a story does; see [`play`].
#[test]
#[ignore = "it is the other processes of the stories"]
fn child() {
    play(async |role| match role {
        "hub" => hub().await,
        "writer" => {
            let node = node_of_a_process().await;
            let mut writer = Writer::new(node, Path::new(&given("HISTORIES")));
            say("writing");
            writer.write_until_enough(&AtomicU64::new(0)).await;
            say("written");
            std::future::pending().await
        }
        other => panic!("there is no role {other}"),
    });
}

/// All changes, up to the one of [`END`].
async fn all_changes(mut watch: Watch) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        let change = watch.next().await.expect("the watch lives").expect("nothing is missing");
        let ended = change.name.as_str() == END;
        changes.push(change);
        if ended {
            return changes;
        }
    }
}

async fn watch_all(node: &Node, after: Option<Rev>) -> Watch {
    soon(node.watch_with("#", WatchOptions { all: true, after })).await.unwrap()
}

#[tokio::test]
async fn what_eight_writers_were_told_is_so_after_a_hub_was_killed_twenty_times() {
    eight_writers(HubProcess::start(&[]).await, KILLS, async |hub, _| hub.kill_and_restart().await).await;
}

/// Eight programs write while their hub is ended and started again so often; what they were told is checked.
async fn eight_writers(mut hub: HubProcess, ends: u64, mut end: impl AsyncFnMut(HubProcess, u64) -> HubProcess) {
    let histories = hub.folder.path().join("histories");
    std::fs::create_dir(&histories).unwrap();
    let panel = hub.node("panel").await;
    let seen = tokio::spawn(all_changes(watch_all(&panel, None).await));

    let acknowledged = Arc::new(AtomicU64::new(0));
    // The links of those who write here are also cut while the hub lives: what they have sent is done, and they do not know.
    let proxy = Proxy::new(&hub.address).await;
    let mut here = Vec::new();
    let mut elsewhere: Vec<Process> = Vec::new();
    let of_processes = histories.display().to_string();
    for n in 0..WRITERS {
        let mut writer = Writer::new(
            soon(Node::connect_with(&proxy.address, hub.options(&format!("here-{n}")))).await.unwrap(),
            &histories,
        );
        let acknowledged = acknowledged.clone();
        here.push(tokio::spawn(async move { writer.write_until_enough(&acknowledged).await }));
        let name = format!("elsewhere-{n}");
        elsewhere.push(hub.start_process("writer", &name, &[("HISTORIES", &of_processes)]));
    }
    for process in &mut elsewhere {
        assert_eq!(process.says().await, "writing");
    }

    let mut resumed = None;
    for kill in 0..ends {
        // Now and then it is killed as soon as it listens again.
        let before = acknowledged.load(Ordering::SeqCst);
        let more = [0, 100, 1, 400, 200][kill as usize % 5];
        for cut in 0..=CUTS {
            let enough = before + more * cut / CUTS;
            until("more is acknowledged", || acknowledged.load(Ordering::SeqCst) >= enough).await;
            proxy.cut();
        }
        if kill == ends / 2 {
            let known = soon(panel.set("half", &kill)).await.unwrap();
            resumed = Some((known, tokio::spawn(all_changes(watch_all(&panel, Some(known)).await))));
        }
        if kill == ends - 1 {
            // Who was without a hub for long has tried again less and less often.
            until("everybody has written something", || {
                writer::histories(&histories).iter().all(|history| history.acknowledged() > checker::ENOUGH)
            })
            .await;
            // What it was about to write may be written or not, but not after the hub's next start.
            elsewhere.pop().unwrap().kill().await;
            Writer::enough(&histories);
        }
        hub = end(hub, kill).await;
    }
    for writer in here {
        soon(writer).await.unwrap();
    }
    for mut process in elsewhere {
        assert_eq!(process.says().await, "written");
    }
    soon(panel.set(END, &0)).await.unwrap();

    let seen = soon(seen).await.unwrap();
    let late = hub.node("late").await;
    let values = soon(late.values("#")).await.unwrap();
    checker::check(&writer::histories(&histories), &seen, &values);

    let (known, resumed) = resumed.unwrap();
    let known = seen.iter().position(|change| change.rev == known).expect("it is among them");
    assert!(soon(resumed).await.unwrap() == seen[known + 1..], "who goes on behind a revision gets what came after it");
}
