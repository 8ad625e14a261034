//! Story: eight programs append to a journal that eight others follow, while the hub is killed again and again; what was
//! acknowledged is there, once, at its place, in the same order for all.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod checker;
mod crowd;
mod follower;
mod power;
#[path = "../support/mod.rs"]
mod support;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use convoke::Node;
use follower::Got;
use support::hub_process::{HubProcess, hub, node_of_a_process};
use support::process::{Process, given, play, say};
use support::proxy::Proxy;
use support::*;
use writer::{Common, Writer};

/// The journal of all.
const JOURNAL: &str = "work";

/// The last command of all.
const END: &str = "end";

/// How often the hub is killed.
const KILLS: u64 = 25;

/// How many commands are acknowledged at the end, at least.
const COMMANDS: u64 = 100_000;

/// Of writers, and of followers, in the process of the story; and as many more in processes of their own.
const EACH: usize = 4;

/// What a process of a story does; see [`play`].
#[test]
#[ignore = "it is the other processes of the stories"]
fn child() {
    play(async |role| match role {
        "hub" => hub().await,
        "writer" => {
            let (histories, enough) = (PathBuf::from(given("HISTORIES")), PathBuf::from(given("ENOUGH")));
            let node = node_of_a_process().await;
            let mut writer = Writer::new(node, &histories, &enough, Arc::default());
            say("writing");
            writer.write_until_enough().await;
            say("written");
            std::future::pending().await
        }
        "follower" => {
            let node = node_of_a_process().await;
            say("following");
            follower::follow_into(node, Path::new(&given("ENTRIES"))).await;
            say("followed");
            std::future::pending().await
        }
        other => panic!("there is no role {other}"),
    });
}

async fn got(node: Node) -> Vec<Got> {
    let mut all = Vec::new();
    follower::follow(node, 0, |entry| all.push(entry)).await;
    all
}

#[tokio::test]
async fn what_eight_writers_appended_is_the_same_for_eight_followers_after_a_hub_was_killed_25_times() {
    let hub = HubProcess::start(&[]).await;
    eight_and_eight(hub, KILLS, COMMANDS, async |hub, _, _| hub.kill_and_restart().await).await;
}

/// Eight programs append and eight follow while their hub is ended and started again so often, and until at least so many
/// commands are acknowledged; what they were told is checked.
async fn eight_and_eight(
    mut hub: HubProcess,
    ends: u64,
    commands: u64,
    mut end: impl AsyncFnMut(HubProcess, u64, &Common) -> HubProcess,
) {
    let (histories, enough) = (hub.folder.path().join("histories"), hub.folder.path().join("enough"));
    std::fs::create_dir(&histories).unwrap();
    // The links of some are also cut while the hub lives: what they have sent is done, and they do not know.
    let proxy = Proxy::new(&hub.address).await;
    let far = async |name: String| soon(Node::connect_with(&proxy.address, hub.options(&name))).await.unwrap();
    let common = Arc::new(Common::default());
    let (mut writers, mut followers, mut processes) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..EACH {
        let mut writer = Writer::new(far(format!("here-{n}")).await, &histories, &enough, common.clone());
        writers.push(tokio::spawn(async move { writer.write_until_enough().await }));
        followers.push(tokio::spawn(got(far(format!("follows-here-{n}")).await)));
    }
    let of_follower = |n: usize| hub.folder.path().join(format!("entries-{n}"));
    let files: Vec<PathBuf> = (0..EACH).map(of_follower).collect();
    let start_follower = |hub: &HubProcess, n: usize| {
        let entries = files[n].display().to_string();
        hub.start_process("follower", &format!("follows-elsewhere-{n}"), &[("ENTRIES", &entries)])
    };
    let mut elsewhere: Vec<Process> = Vec::new();
    for n in 0..EACH {
        let (histories, enough) = (histories.display().to_string(), enough.display().to_string());
        let mut writer =
            hub.start_process("writer", &format!("elsewhere-{n}"), &[("HISTORIES", &histories), ("ENOUGH", &enough)]);
        assert_eq!(writer.says().await, "writing");
        processes.push(writer);
        let mut follower = start_follower(&hub, n);
        assert_eq!(follower.says().await, "following");
        elsewhere.push(follower);
    }

    // What those elsewhere are told is not counted until the end.
    let acknowledged = || common.acknowledged.load(Ordering::SeqCst);
    for kill in 0..ends {
        // Now and then it is killed as soon as it listens again.
        let more = if kill % 5 == 2 { 0 } else { commands / ends / 2 };
        let before = acknowledged();
        for part in 1..=4 {
            until("more is acknowledged", || acknowledged() >= before + more * part / 4).await;
            proxy.cut();
        }
        if kill == ends / 2 {
            // Who follows may be killed too, and goes on behind what it has.
            elsewhere.remove(0).kill().await;
            let mut again = start_follower(&hub, 0);
            assert_eq!(again.says().await, "following");
            elsewhere.insert(0, again);
        }
        if kill == ends - 1 {
            // What it was about to append may be there or not.
            processes.pop().unwrap().kill().await;
        }
        hub = end(hub, kill, &common).await;
    }
    until("enough is acknowledged", || acknowledged() >= commands / 2).await;
    std::fs::write(&enough, "").unwrap();
    for writer in writers {
        soon(writer).await.unwrap();
    }
    for mut process in processes {
        assert_eq!(process.says().await, "written");
    }
    let panel = hub.node("panel").await;
    let last = soon(panel.append(JOURNAL, END)).await.unwrap();

    let journal = soon(got(hub.node("late").await)).await;
    assert_eq!(journal.len() as u64, last);
    for follower in followers {
        assert!(soon(follower).await.unwrap() == journal, "all get the same");
    }
    for (mut process, file) in elsewhere.into_iter().zip(&files) {
        assert_eq!(process.says().await, "followed");
        assert!(follower::read(file) == journal, "all get the same");
    }
    let done = checker::check(&histories, &journal, "here-");
    assert!(done >= commands, "{done} were acknowledged");
    println!("{done} commands of {} entries", journal.len());
}
