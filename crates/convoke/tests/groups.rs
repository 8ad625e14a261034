//! Story: several programs share the events that they subscribe to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use convoke::{Error, SubscribeOptions, Subscription};
use support::*;

fn workers() -> SubscribeOptions {
    SubscribeOptions { group: Some("workers".into()) }
}

/// What has come, as numbers, until `last` has.
async fn until(subscription: &mut Subscription, last: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        numbers.push(event(subscription).await.payload.decode::<u32>().unwrap());
    }
    numbers
}

on_every_transport! {
    async fn each_event_goes_to_one_of_the_workers(stage: Stage) {
        let desk = stage.node("desk").await;
        let nodes = [stage.node("worker/1").await, stage.node("worker/2").await, stage.node("worker/3").await];
        let mut jobs = Vec::new();
        for node in &nodes {
            jobs.push(node.subscribe_with("jobs/#", &workers()).await.unwrap());
        }
        let mut all = stage.node("auditor").await.subscribe("jobs/#").await.unwrap();
        for number in 0..3000u32 {
            desk.publish(format!("jobs/{}", number % 5), &number).await.unwrap();
        }
        assert_eq!(soon(desk.confirm()).await.unwrap(), 2, "one worker, and the auditor");
        // To each, and behind all that it got.
        desk.publish("end", &0).await.unwrap();
        assert_eq!(until(&mut all, 2999).await, (0..3000).collect::<Vec<_>>());
        let mut shared = Vec::new();
        while shared.len() < 3000 {
            for job in &mut jobs {
                while let Some(event) = job.try_next() {
                    shared.push(event.unwrap().payload.decode::<u32>().unwrap());
                }
            }
            tokio::task::yield_now().await;
        }
        shared.sort_unstable();
        assert_eq!(shared, (0..3000).collect::<Vec<_>>(), "each once");
    }

    async fn long_events_are_shared_like_short_ones(stage: Stage) {
        let desk = stage.node("desk").await;
        let (one, other) = (stage.node("worker/1").await, stage.node("worker/2").await);
        let mut jobs = [
            one.subscribe_with("jobs", &workers()).await.unwrap(),
            other.subscribe_with("jobs", &workers()).await.unwrap(),
        ];
        for (size, fill) in [(10usize, 1u8), (20_000, 2), (300_000, 3), (70_000, 4)] {
            desk.publish("jobs", &vec![u32::from(fill); size / 4]).await.unwrap();
        }
        let mut got = Vec::new();
        while got.len() < 4 {
            for job in &mut jobs {
                while let Some(event) = job.try_next() {
                    let numbers = event.unwrap().payload.decode::<Vec<u32>>().unwrap();
                    assert!(numbers.iter().all(|number| *number == numbers[0]));
                    got.push((numbers[0], numbers.len()));
                }
            }
            tokio::task::yield_now().await;
        }
        got.sort_unstable();
        assert_eq!(got, [(1, 2), (2, 5_000), (3, 75_000), (4, 17_500)]);
    }

    async fn when_a_worker_leaves_the_others_get_its_part(stage: Stage) {
        let desk = stage.node("desk").await;
        let (one, other) = (stage.node("worker/1").await, stage.node("worker/2").await);
        let gone = one.subscribe_with("jobs", &workers()).await.unwrap();
        let mut stays = other.subscribe_with("jobs", &workers()).await.unwrap();
        drop(gone);
        soon(one.barrier()).await.unwrap();
        for number in 0..10u32 {
            desk.publish("jobs", &number).await.unwrap();
        }
        assert_eq!(until(&mut stays, 9).await, (0..10).collect::<Vec<_>>());
    }

    async fn a_group_has_a_name(stage: Stage) {
        let node = stage.node("node").await;
        for group in ["", "a//b", "a/+"] {
            let options = SubscribeOptions { group: Some(group.into()) };
            let error = node.subscribe_with("a", &options).await.unwrap_err();
            assert!(matches!(error, Error::BadName(_)), "{group}: {error}");
        }
    }
}
