//! Story: who reads slowly loses events, is told exactly how many and where, and nobody else feels it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use convoke::{Gap, Headers, HubOptions, Missed, Node, NodeOptions, Payload, SlowPolicy, Subscription};
use support::proxy::Proxy;
use support::*;

on_every_transport! {
    async fn a_subscription_that_is_not_read_loses_the_oldest_and_others_in_the_node_lose_nothing(stage: Stage) {
        let press = stage.node("press").await;
        let options = NodeOptions { subscription_bytes_max: 256 << 10, ..stage.options("panel") };
        let panel = Node::connect_with(&stage.address, options).await.unwrap();
        let mut unread = panel.subscribe("a").await.unwrap();
        let mut read = panel.subscribe("a").await.unwrap();
        let all = 200 * 100;
        for _ in 0..200 {
            for _ in 0..100 {
                press.publish_raw("a", &[0; 100]).await.unwrap();
            }
            for _ in 0..100 {
                event(&mut read).await;
            }
        }
        let first = next(&mut unread).await.unwrap_err();
        let Missed::Lagged(lagged) = first else { panic!("{first}") };
        let tally = tally(&mut unread, lagged + 1, all).await;
        assert_eq!((tally.lagged, lagged + tally.received), (0, all));
        assert!(tally.received * 124 <= 256 << 10, "{tally:?}");
        assert!(tally.received * 124 > 64 << 10, "{tally:?}");
    }

    async fn one_event_that_is_longer_than_all_that_may_wait_is_kept(stage: Stage) {
        let options = NodeOptions { subscription_bytes_max: 1, ..stage.options("panel") };
        let panel = Node::connect_with(&stage.address, options).await.unwrap();
        let mut all = panel.subscribe("a").await.unwrap();
        for _ in 0..3 {
            panel.publish_raw("a", &[0; 100_000]).await.unwrap();
        }
        // What is answered on the link came behind them.
        let mut end = panel.subscribe("end").await.unwrap();
        panel.publish_raw("end", &[]).await.unwrap();
        event(&mut end).await;
        assert_eq!(next(&mut all).await.unwrap_err(), Missed::Lagged(2));
        assert_eq!(event(&mut all).await.seq, 3);
    }
}

/// What a node may have that stands still, in bytes: its lane in the hub, and what the sockets up to it hold.
const STANDING_BYTES_MAX: usize = 16 << 20;

#[tokio::test]
async fn a_node_that_stands_still_is_told_what_it_lost_and_nine_others_get_everything() {
    let stage = Stage::new(Transport::Tcp).await;
    let proxy = Proxy::new(&stage.address).await;
    let press = stage.node("press").await;
    let mut others = Vec::new();
    for n in 0..9 {
        others.push(stage.node(&format!("panel-{n}")).await.subscribe("#").await.unwrap());
    }
    let slow = Node::connect_with(&proxy.address, stage.options("slow")).await.unwrap();
    let mut behind = slow.subscribe("#").await.unwrap();
    proxy.stall();
    let (bytes, batch, mut all) = (4096, 250, 0);
    let mut waiting_max = 0;
    while all * bytes < 2 * STANDING_BYTES_MAX {
        for _ in 0..batch {
            press.publish_raw("a", &vec![0; bytes]).await.unwrap();
        }
        for other in &mut others {
            for n in 1..=batch {
                assert_eq!(event(other).await.seq as usize, all + n);
            }
        }
        all += batch;
        waiting_max = waiting_max.max(stage.hub.waiting_bytes());
    }
    assert!((4 << 20..=9 << 20).contains(&waiting_max), "{waiting_max} bytes waited");
    assert_eq!(stage.hub.nodes(), 11);
    proxy.flow();
    let tally = tally(&mut behind, 1, all as u64).await;
    assert!(tally.lagged > 0 && tally.received > 0, "{tally:?}");
    assert_eq!(tally.received + tally.lagged, all as u64);
    until("nothing waits", || stage.hub.waiting_bytes() == 0).await;
    // And it goes on.
    press.publish_raw("a", &[]).await.unwrap();
    assert_eq!(event(&mut behind).await.seq, all as u64 + 1);
}

/// A hub where little may wait, and a node behind a relay with this policy.
async fn narrow(policy: SlowPolicy) -> (Stage, Proxy, Node, Node) {
    let options = HubOptions { payload_bytes_max: 64 << 10, link_bulk_bytes_max: 1 << 20, ..HubOptions::default() };
    let stage = Stage::with(Transport::Tcp, options).await;
    let proxy = Proxy::new(&stage.address).await;
    let options = NodeOptions { slow: policy, subscription_bytes_max: 64 << 20, ..stage.options("slow") };
    let slow = Node::connect_with(&proxy.address, options).await.unwrap();
    let press = stage.node("press").await;
    (stage, proxy, press, slow)
}

/// Publishes so many events of 4 KiB, on topics `t/0`, `t/1`, … in turn, as fast as the hub takes them.
async fn flood(press: &Node, count: u64, topics: u64) {
    for n in 0..count {
        press.publish_raw(format!("t/{}", n % topics), &[0; 4096]).await.unwrap();
    }
    soon(press.confirm()).await.unwrap();
}

/// More than a narrow link holds together with its sockets.
const FLOOD: u64 = 4096;

/// Lets the link of a slow node take what is there, then publishes the last event, which all others come before.
async fn last(stage: &Stage, proxy: &Proxy, press: &Node, on: &str) {
    proxy.flow();
    until("nothing waits", || stage.hub.waiting_bytes() == 0).await;
    press.publish_raw(on, &[]).await.unwrap();
}

/// The last hole in what a slow node with this policy gets of a flood on one topic: the events on both its sides.
async fn last_hole(policy: SlowPolicy) -> (u64, u64) {
    let (stage, proxy, press, slow) = narrow(policy).await;
    let mut behind = slow.subscribe("#").await.unwrap();
    proxy.stall();
    flood(&press, FLOOD, 1).await;
    assert!(stage.hub.waiting_bytes() <= 1 << 20);
    last(&stage, &proxy, &press, "t/0").await;
    let tally = tally(&mut behind, 1, FLOOD + 1).await;
    assert_eq!(tally.received + tally.lagged, FLOOD + 1);
    *tally.holes.last().expect("some are missing")
}

#[tokio::test]
async fn drop_oldest_keeps_the_newest() {
    let (_, first_kept) = last_hole(SlowPolicy::DropOldest).await;
    assert!(FLOOD - first_kept >= (512 << 10) / 4096, "{first_kept}");
}

#[tokio::test]
async fn drop_newest_keeps_the_oldest() {
    let (last_kept, after) = last_hole(SlowPolicy::DropNewest).await;
    assert!(last_kept < FLOOD && after == FLOOD + 1, "{last_kept} {after}");
}

#[tokio::test]
async fn latest_per_topic_keeps_the_last_of_each() {
    let (stage, proxy, press, slow) = narrow(SlowPolicy::LatestPerTopic).await;
    let mut behind = slow.subscribe("#").await.unwrap();
    proxy.stall();
    flood(&press, FLOOD, 16).await;
    assert!(stage.hub.waiting_bytes() <= 1 << 20);
    last(&stage, &proxy, &press, "end").await;
    let (mut received, mut lagged, mut last_of) = (0, 0, [0; 16]);
    loop {
        match next(&mut behind).await {
            Ok(event) if event.topic().as_str() == "end" => break,
            Ok(event) => {
                let topic: usize = event.topic().as_str().strip_prefix("t/").unwrap().parse().unwrap();
                assert!(event.seq > last_of[topic], "events of one topic stay in their order");
                last_of[topic] = event.seq;
                received += 1;
            }
            Err(Missed::Lagged(count)) => lagged += count,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(received + lagged, FLOOD);
    assert!(lagged > 0);
    // Seqs count from one: the last sixteen are the last of each topic.
    assert_eq!(last_of, std::array::from_fn(|topic| FLOOD - 15 + topic as u64));
}

#[tokio::test]
async fn disconnect_closes_the_link_and_says_why() {
    let (stage, proxy, press, slow) = narrow(SlowPolicy::Disconnect).await;
    let mut behind = slow.subscribe("#").await.unwrap();
    proxy.stall();
    flood(&press, FLOOD, 1).await;
    until("the hub has closed it", || stage.hub.nodes() == 1).await;
    assert_eq!(stage.hub.waiting_bytes(), 0);
    let mut standing = slow.watch_standing();
    proxy.flow();
    let offline = soon(standing.wait_for(|standing| matches!(standing, convoke::Standing::Offline(_)))).await;
    let convoke::Standing::Offline(Some(why)) = offline.unwrap().clone() else { panic!("a reason is told") };
    assert_eq!(
        why.to_string(),
        "the link read too slowly: what may wait for it is full, and its policy is to disconnect"
    );
    // What came before it arrived in its order, and then it is told.
    let mut received = 0;
    loop {
        match next(&mut behind).await {
            Ok(event) => {
                received += 1;
                assert_eq!(event.seq, received);
            }
            Err(missed) => break assert_eq!(missed, Missed::Gap(Gap::LinkLost)),
        }
    }
    soon(slow.barrier()).await.unwrap();
    press.publish_raw("t/0", &[]).await.unwrap();
    assert_eq!(event(&mut behind).await.seq, FLOOD + 1);
}

/// Many long payloads, each in fragments, for a link that stands still: an event arrives whole or is counted.
#[tokio::test]
async fn long_events_are_lost_whole() {
    let (stage, proxy, press, slow) = narrow(SlowPolicy::DropOldest).await;
    let mut behind: Subscription = slow.subscribe("#").await.unwrap();
    proxy.stall();
    let headers = Headers::from_iter([("trace", "x".repeat(10_000))]);
    for n in 0..400 {
        let payload = Payload::raw(vec![n as u8; (64 << 10) - 10_500 - n]);
        press.publish_payload("t/0", &payload, &headers).await.unwrap();
    }
    soon(press.confirm()).await.unwrap();
    last(&stage, &proxy, &press, "t/0").await;
    let (mut expected, mut lagged) = (1, 0);
    while expected <= 401 {
        match next(&mut behind).await {
            Ok(event) => {
                assert_eq!(event.seq, expected);
                if expected <= 400 {
                    let n = expected as usize - 1;
                    assert!(event.payload.bytes == vec![n as u8; (64 << 10) - 10_500 - n] && event.headers == headers);
                }
                expected += 1;
            }
            Err(Missed::Lagged(count)) => {
                lagged += count;
                expected += count;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(lagged > 0);
}
