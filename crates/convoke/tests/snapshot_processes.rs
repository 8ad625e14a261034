//! Story: hub and nodes are processes, and the snapshots are long: the hub does not hold them, and may be killed at any time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use convoke::{Entry, Follower, State, Strategy};
use serde::{Deserialize, Serialize};
use support::hub_process::{HubProcess, hub};
use support::process::play;
use support::*;

/// What a process of a story does; see [`play`].
#[test]
#[ignore = "it is the other processes of the stories"]
fn child() {
    play(async |role| match role {
        "hub" => hub().await,
        other => panic!("there is no role {other}"),
    });
}

/// A text of any length.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct Text(String);

#[derive(Serialize, Deserialize)]
struct Length(usize);

impl State for Text {
    type Command = Length;
    type Output = ();
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, length: &Length, at: &Entry) {
        let line = format!("{:15}\n", at.seq);
        self.0 = line.repeat(length.0 / line.len());
    }

    fn inverse(&self, _: &Length, _: &Entry) -> Option<Length> {
        Some(Length(self.0.len()))
    }
}

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_takes_and_gives_a_snapshot_that_is_longer_than_what_it_holds() {
    let hub = HubProcess::start(&[]).await;
    let ann: Follower<Text> = hub.node("ann").await.follow("text").await.unwrap();
    soon(ann.execute(Length(60 * MIB))).await.unwrap();
    // What it holds for whatever it does on its disk.
    soon(ann.snapshot()).await.unwrap();
    soon(ann.execute(Length(61 * MIB))).await.unwrap();
    let (before, done) = (hub.process.memory(), AtomicBool::new(false));
    let most = AtomicU64::new(before);
    let watch = async {
        while !done.load(Ordering::Relaxed) {
            most.fetch_max(hub.process.memory(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let carry = async {
        soon(ann.snapshot()).await.unwrap();
        let late: Follower<Text> = soon(hub.node("late").await.follow("text")).await.unwrap();
        assert!(late.read(|late| ann.read(|text| late == text)), "it has what ann has");
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(watch, carry);
    let more = most.load(Ordering::Relaxed).saturating_sub(before);
    assert!(more < 40 * MIB as u64, "{} MiB more than {} MiB", more >> 20, before >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_the_hub_has_a_whole_snapshot_in_the_end() {
    let mut hub = HubProcess::start(&[]).await;
    let node = hub.node("ann").await;
    let ann: Follower<Text> = node.follow("text").await.unwrap();
    let snapshots = Arc::new(AtomicU64::new(0));
    for round in 1..=4 {
        soon(ann.execute(Length(20 * MIB + round))).await.unwrap();
        let (of, count) = (ann.clone(), snapshots.clone());
        let uploading = tokio::spawn(async move {
            let place = of.snapshot().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            place
        });
        let mut pause = Duration::from_millis(15);
        while !uploading.is_finished() {
            tokio::time::sleep(pause).await;
            // Later each time, so that it comes to an end.
            pause *= 2;
            hub = hub.kill_and_restart().await;
        }
        assert_eq!(soon(uploading).await.unwrap(), ann.seq());
        let late: Follower<Text> = soon(hub.node(&format!("late-{round}")).await.follow("text")).await.unwrap();
        assert!(late.read(|late| ann.read(|text| late == text)), "it has what ann has");
        assert_eq!(soon(node.compact("text", 0)).await.unwrap().gone, 1);
    }
    assert_eq!(snapshots.load(Ordering::SeqCst), 4);
}
