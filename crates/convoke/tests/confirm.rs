//! Story: asking, and being answered: confirmations, barriers, pings; and giving up.

mod support;

use std::time::Duration;

use convoke::{Code, Error, Outcome};
use support::*;

on_every_transport! {
    async fn a_confirmation_comes_when_the_hub_has_taken_all_events(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut all = panel.subscribe("#").await.unwrap();
        for n in 0..2000u64 {
            press.publish("a", &n).await.unwrap();
            if n % 100 == 0 {
                assert_eq!(soon(press.confirm()).await.unwrap(), 1);
            }
        }
        soon(press.barrier()).await.unwrap();
        for n in 0..2000u64 {
            assert_eq!(event(&mut all).await.payload.decode::<u64>().unwrap(), n);
        }
    }

    async fn many_may_ask_at_once(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut asking = Vec::new();
        for n in 0..300 {
            let press = press.clone();
            asking.push(tokio::spawn(async move {
                match n % 4 {
                    0 => press.confirm().await.map(drop),
                    1 => press.barrier().await,
                    2 => press.ping(None).await.map(drop),
                    _ => press.ping(Some("panel")).await.map(drop),
                }
            }));
        }
        for asked in asking {
            soon(asked).await.unwrap().unwrap();
        }
        drop(panel);
    }

    async fn a_ping_reaches_the_hub_and_nodes(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        assert!(soon(press.ping(None)).await.unwrap() < PATIENCE);
        assert!(soon(press.ping(Some("panel"))).await.unwrap() < PATIENCE);
        soon(press.ping(Some("press"))).await.unwrap();
        soon(panel.leave()).await;
        let error = soon(press.ping(Some("panel"))).await.unwrap_err();
        assert_eq!(error.to_string(), "ping to `panel`: no node of this name is joined to the hub");
        assert!(matches!(error, Error::Refused(_)));
        assert_eq!((error.code(), error.outcome()), (Code::NoNode, Outcome::NotDone));
        let error = soon(press.ping(Some("a/+"))).await.unwrap_err();
        assert_eq!(error.to_string(), "`a/+` has a `+`, which only a pattern may have: a name stands for one thing");
    }

    async fn what_is_given_up_leaves_nothing_behind(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut read = panel.subscribe("kept").await.unwrap();
        let before = memory();
        for n in 0..10_000 {
            // Each is polled once, then dropped.
            match n % 6 {
                0 => given_up(press.confirm()).await,
                1 => given_up(press.barrier()).await,
                2 => given_up(press.ping(None)).await,
                3 => given_up(press.ping(Some("panel"))).await,
                4 => given_up(press.subscribe(format!("a/{n}"))).await,
                _ => given_up(read.next()).await,
            }
        }
        // The one that reads has lost nothing by giving up, and none of the other subscriptions is there.
        soon(press.barrier()).await.unwrap();
        press.publish("a/10", &1).await.unwrap();
        assert_eq!(soon(press.confirm()).await.unwrap(), 0);
        press.publish("kept", &1).await.unwrap();
        assert_eq!(event(&mut read).await.payload.decode::<i32>().unwrap(), 1);
        let grown = memory().saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes more");
    }

    async fn who_gives_up_reading_loses_nothing(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut all = panel.subscribe("#").await.unwrap();
        let mut received = 0;
        for n in 1..=3000u64 {
            press.publish("a", &n).await.unwrap();
            if let Ok(next) = tokio::time::timeout(Duration::from_micros(n % 50), all.next()).await {
                received += 1;
                assert_eq!(next.unwrap().unwrap().seq, received);
            }
        }
        while received < 3000 {
            received += 1;
            assert_eq!(event(&mut all).await.seq, received);
        }
    }
}

/// Polls once.
async fn given_up(what: impl Future) {
    tokio::select! {
        biased;
        _ = what => {}
        () = std::future::ready(()) => {}
    }
}

/// What this process holds, in bytes. Other stories run in it too.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default() << 10
}
