//! Story: hub and nodes are processes, which are killed, stopped and short of files.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use convoke::{Code, Gap, Missed, Node, NodeOptions, Outcome, Standing, Token};
use rustix::process::Signal;
use support::hub_process::{HubProcess, hub};
use support::process::{Process, given, play, say};
use support::*;

/// What a process of a story does; see [`play`].
#[test]
#[ignore = "it is the other processes of the stories"]
fn child() {
    play(async |role| match role {
        "hub" => hub().await,
        "subscriber" => subscriber().await,
        other => panic!("there is no role {other}"),
    });
}

/// Subscribes at `HUB` and tells how many events it received and how many it was told to have lost, when it has come to
/// event number `LAST`.
async fn subscriber() {
    let token = Token::read(given("TOKEN")).unwrap();
    let options = NodeOptions { token: Some(token), ..NodeOptions::new("stopped") };
    let node = Node::connect_with(given("HUB"), options).await.unwrap();
    let mut all = node.subscribe("#").await.unwrap();
    say("subscribed");
    let tally = tally(&mut all, 1, given("LAST").parse().unwrap()).await;
    say(&format!("{} {}", tally.received, tally.lagged));
    std::future::pending().await
}

#[tokio::test]
async fn twenty_nodes_outlive_a_hub_that_is_killed_ten_times() {
    let mut hub = HubProcess::start(&[]).await;
    let (nodes, mut subscriptions) = hub.subscribers(20).await;
    for _ in 0..10 {
        hub = hub.kill_and_restart().await;
        for subscription in &mut subscriptions {
            assert_eq!(next(subscription).await.unwrap_err(), Missed::Gap(Gap::HubRestarted));
        }
    }
    // All are subscribed again when they are answered.
    for node in &nodes {
        soon(node.barrier()).await.unwrap();
    }
    for n in 0..100 {
        nodes[n % nodes.len()].publish("round", &n).await.unwrap();
        for subscription in &mut subscriptions {
            assert_eq!(event(subscription).await.payload.decode::<usize>().unwrap(), n);
        }
    }
    assert!(subscriptions.iter_mut().all(|subscription| subscription.try_next().is_none()));
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_hub_that_is_killed_again_and_again() {
    const WRITERS: usize = 8;
    let mut hub = HubProcess::start(&[]).await;
    let press = Arc::new(hub.node("press").await);
    let panel = hub.node("panel").await;
    let acknowledged: Arc<[AtomicU64; WRITERS]> = Arc::default();
    let enough = Arc::new(AtomicBool::new(false));
    let write = |writer: usize| {
        let (press, acknowledged, enough) = (press.clone(), acknowledged.clone(), enough.clone());
        tokio::spawn(async move {
            let mut last = None;
            for n in 1_u64.. {
                let rev = soon(press.set(format!("count/{writer}"), &n)).await.unwrap();
                assert!(last < Some(rev), "{last:?} before {rev:?}");
                last = Some(rev);
                acknowledged[writer].store(n, Ordering::SeqCst);
                if enough.load(Ordering::SeqCst) {
                    break;
                }
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(write).collect();
    for _ in 0..10 {
        let before = acknowledged[0].load(Ordering::SeqCst);
        until("more is acknowledged", || acknowledged[0].load(Ordering::SeqCst) > before + 5).await;
        let before: Vec<u64> = acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        hub = hub.kill_and_restart().await;
        until_standing(&panel, |standing| *standing == Standing::Joined).await;
        for (writer, before) in before.into_iter().enumerate() {
            let found: u64 = soon(panel.get(format!("count/{writer}"))).await.unwrap().unwrap();
            assert!(found >= before, "{found} is there, {before} was acknowledged");
        }
    }
    enough.store(true, Ordering::SeqCst);
    for writer in writers {
        soon(writer).await.unwrap();
    }
    for (writer, count) in acknowledged.iter().enumerate() {
        let found: u64 = soon(panel.get(format!("count/{writer}"))).await.unwrap().unwrap();
        assert_eq!(found, count.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn a_hub_whose_disk_is_full_is_read_from_and_heals() {
    let hub = HubProcess::start(&[("FILE_BYTES", &(8 << 20).to_string())]).await;
    let press = hub.node("press").await;
    let long = "x".repeat(100_000);
    let mut kept = 0;
    let error = loop {
        match soon(press.set(format!("long/{kept}"), &long)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1_000, "the limit was lifted");
    };
    assert_eq!((error.code(), error.outcome()), (Code::StorageFull, Outcome::NotDone), "{error}");
    assert!(kept > 10);
    assert_eq!(soon(press.get::<String>("long/0")).await.unwrap(), Some(long.clone()));
    assert_eq!(soon(press.get::<String>(format!("long/{kept}"))).await.unwrap(), None);
    hub.process.lift_limit_of_files();
    // A slow disk that was full is not tried again at once.
    while let Err(error) = soon(press.set(format!("long/{kept}"), &long)).await {
        assert_eq!(error.code(), Code::StorageFull, "{error}");
    }
    let hub = hub.kill_and_restart().await;
    let panel = hub.node("panel").await;
    assert_eq!(soon(panel.values("long/+")).await.unwrap().len(), kept + 1);
}

#[tokio::test]
async fn a_process_that_is_stopped_among_ten_is_told_exactly_what_it_lost() {
    const EVENTS: u64 = 120_000;
    const BATCH: u64 = 4000;
    /// What the hub may come to hold for one that stands still, and what it needs to serve all, in bytes.
    const GROWTH_MAX: u64 = 64 << 20;
    let hub = HubProcess::start(&[]).await;
    let (_nodes, mut others) = hub.subscribers(9).await;
    let press = hub.node("press").await;
    let token = hub.token().display().to_string();
    let variables = [("HUB", hub.address.as_str()), ("TOKEN", &token), ("LAST", &EVENTS.to_string())];
    let mut slow = Process::start("subscriber", hub.folder.path(), &variables);
    assert_eq!(slow.says().await, "subscribed");
    slow.stop().await;
    let before = hub.process.memory();
    let mut memory_max = 0;
    let started = Instant::now();
    for batch in 0..EVENTS / BATCH {
        for _ in 0..BATCH {
            press.publish_raw("flood", &[0; 128]).await.unwrap();
        }
        for other in &mut others {
            for n in 1..=BATCH {
                assert_eq!(event(other).await.seq, batch * BATCH + n);
            }
        }
        memory_max = memory_max.max(hub.process.memory());
    }
    let stopped_for = started.elapsed();
    slow.signal(Signal::CONT);
    // A link that takes nothing for ten seconds is closed, which is another story.
    assert!(stopped_for < Duration::from_secs(9), "the flood took {stopped_for:?}");
    let said = slow.says().await;
    let (received, lagged) = said.split_once(' ').unwrap();
    let (received, lagged): (u64, u64) = (received.parse().unwrap(), lagged.parse().unwrap());
    assert_eq!(received + lagged, EVENTS);
    assert!(received > 0 && lagged > 0, "{received} received, {lagged} lost");
    assert!(memory_max < before + GROWTH_MAX, "from {before} to {memory_max} bytes");
}

#[tokio::test]
async fn a_hub_that_runs_out_of_files_lives_and_serves_again_when_links_go() {
    const FILES: usize = 48;
    let hub = HubProcess::start(&[("FILES", &FILES.to_string())]).await;
    let node = hub.node("press").await;
    let mut links = Vec::new();
    for _ in 0..2 * FILES {
        links.push(tokio::net::TcpStream::connect(hub.address.strip_prefix("tcp://").unwrap()).await.unwrap());
    }
    until("no file is left", || hub.process.files() >= FILES).await;
    // One more has to wait, and those who have joined feel nothing.
    let waiting = Node::open(&hub.address, hub.options("panel")).unwrap();
    let before = hub.process.processor_time();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        soon(node.ping(None)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = hub.process.processor_time() - before;
    assert!(used < 20, "it used {used} % of a processor to wait");
    assert_ne!(waiting.standing(), Standing::Joined);
    drop(links);
    until_standing(&waiting, |standing| *standing == Standing::Joined).await;
    soon(node.ping(Some("panel"))).await.unwrap();
}
