//! Story: hubs that are linked to each other pass on what was chosen, each thing once, however they are linked.
#![cfg(unix)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use convoke::{Direction, Hub, HubOptions, Missed, Node, Subscription, UplinkOptions};
use support::*;

/// Events that are passed round.
const EVENTS: u32 = 10_000;

/// A hub in a folder that all share, under a name.
fn hub(folder: &Path, name: &str) -> HubOptions {
    HubOptions { data: Some(folder.join(format!("{name}-data"))), ..HubOptions::listen([address(folder, name)]) }
}

fn address(folder: &Path, name: &str) -> String {
    format!("unix://{}", folder.join(format!("{name}.sock")).display())
}

fn uplink(folder: &Path, to: &str) -> UplinkOptions {
    UplinkOptions {
        name: format!("to-{to}"),
        address: address(folder, to),
        events: vec!["plant/#".into(), "plant/+/x".into()],
        ..UplinkOptions::default()
    }
}

async fn start(folder: &Path, name: &str, uplinks: Vec<UplinkOptions>) -> Hub {
    Hub::start(HubOptions { uplinks, ..hub(folder, name) }).await.unwrap()
}

async fn node(folder: &Path, hub: &str, name: &str) -> Node {
    Node::connect(address(folder, hub), name).await.unwrap()
}

/// Waits until an event that is published at one gets to the other.
async fn linked(from: &Node, to: &Node) {
    let name = format!("plant/linked/{}", from.name());
    let mut comes = to.subscribe(&name).await.unwrap();
    soon(async {
        loop {
            from.publish(&name, &0).await.unwrap();
            if tokio::time::timeout(Duration::from_millis(50), comes.next()).await.is_ok() {
                break;
            }
        }
    })
    .await;
}

async fn all_linked(nodes: &[Node]) {
    for from in nodes {
        for to in nodes {
            if from.name() != to.name() {
                linked(from, to).await;
            }
        }
    }
}

/// Takes events until so many have come of each that publishes, which must be all of them and in order, then `end`.
async fn each_once(subscription: &mut Subscription, publishers: u32, each: u32) {
    let mut next: BTreeMap<u32, u32> = (0..publishers).map(|publisher| (publisher, 0)).collect();
    for _ in 0..publishers * each {
        let event = soon(subscription.next()).await.unwrap().unwrap();
        let (publisher, n): (u32, u32) = event.payload.decode().unwrap();
        assert_eq!(next.insert(publisher, n + 1), Some(n), "of publisher {publisher}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hubs_in_a_ring_pass_each_event_once_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let names = ["a", "b", "c"];
    let mut hubs = Vec::new();
    for (place, name) in names.iter().enumerate() {
        hubs.push(start(folder, name, vec![uplink(folder, names[(place + 1) % 3])]).await);
    }
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(node(folder, name, &format!("node-{name}")).await);
    }
    all_linked(&nodes).await;
    let mut subscriptions = Vec::new();
    for node in &nodes {
        subscriptions.push(node.subscribe("plant/press/#").await.unwrap());
    }
    let publishing = nodes.iter().zip(0..).map(|(node, publisher)| {
        let node = node.clone();
        tokio::spawn(async move {
            for n in 0..EVENTS {
                node.publish(format!("plant/press/{}", n % 5), &(publisher, n)).await.unwrap();
                if n % 500 == 0 {
                    node.confirm().await.unwrap();
                }
            }
            node.publish("elsewhere", &n_of(publisher)).await.unwrap();
        })
    });
    let publishing: Vec<_> = publishing.collect();
    for subscription in &mut subscriptions {
        each_once(subscription, 3, EVENTS).await;
    }
    for task in publishing {
        task.await.unwrap();
    }
    // Whatever may still be on a longer way comes before this.
    all_linked(&nodes).await;
    for subscription in &mut subscriptions {
        assert!(subscription.try_next().is_none(), "none comes twice");
    }
    for hub in hubs {
        hub.stop().await;
    }
}

fn n_of(publisher: u32) -> (u32, u32) {
    (publisher, u32::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_uplinks_between_the_same_hubs_and_one_that_leads_back_pass_each_event_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let here = start(folder, "a", Vec::new()).await;
    let mut twice = vec![uplink(folder, "a"), uplink(folder, "b")];
    twice.push(UplinkOptions { name: "again".into(), ..uplink(folder, "a") });
    let there = start(folder, "b", twice).await;
    let nodes = [node(folder, "a", "node-a").await, node(folder, "b", "node-b").await];
    all_linked(&nodes).await;
    let mut comes = Vec::new();
    for node in &nodes {
        comes.push(node.subscribe("plant/press").await.unwrap());
    }
    for (node, publisher) in nodes.iter().zip(0u32..) {
        for n in 0..500u32 {
            node.publish("plant/press", &(publisher, n)).await.unwrap();
        }
    }
    for subscription in &mut comes {
        each_once(subscription, 2, 500).await;
    }
    all_linked(&nodes).await;
    assert!(comes.iter_mut().all(|subscription| subscription.try_next().is_none()));
    let report = soon(async {
        loop {
            let report = nodes[1].get::<serde_json::Value>("$hub/uplinks/to-b").await.unwrap();
            if let Some(report) = report.filter(|report| report["trouble"] != "") {
                break report;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(report["trouble"], "it leads to this hub itself, so nothing is passed on");
    there.stop().await;
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uplink_passes_on_only_what_was_chosen_and_only_that_way() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let far = start(folder, "far", Vec::new()).await;
    let out = UplinkOptions { direction: Direction::Out, ..uplink(folder, "far") };
    let into = UplinkOptions { direction: Direction::In, events: vec!["news".into()], ..uplink(folder, "far") };
    let near = start(folder, "near", vec![out, UplinkOptions { name: "news".into(), ..into }]).await;
    let (here, there) = (node(folder, "near", "here").await, node(folder, "far", "there").await);
    linked(&here, &there).await;
    let (mut at_near, mut at_far) = (here.subscribe("#").await.unwrap(), there.subscribe("#").await.unwrap());
    soon(async {
        while at_near.try_next().is_none() {
            there.publish("news", &1).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    there.publish("plant/far", &1).await.unwrap();
    here.publish("private", &1).await.unwrap();
    here.publish("news", &2).await.unwrap();
    here.publish("plant/near", &2).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "plant/near") {
        seen.push(event(&mut at_far).await.topic().to_string());
    }
    seen.retain(|topic| topic != "news");
    assert_eq!(seen, ["plant/far", "plant/near"]);
    while let Some(next) = at_near.try_next() {
        let event = next.unwrap();
        assert!(event.publisher().as_str() == "here" || event.topic().as_str() == "news", "{event:?}");
    }
    near.stop().await;
    far.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uplink_comes_back_when_the_other_hub_does_and_says_what_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let far = start(folder, "far", Vec::new()).await;
    let near = start(folder, "near", vec![uplink(folder, "far")]).await;
    let here = node(folder, "near", "here").await;
    let there = node(folder, "far", "there").await;
    linked(&here, &there).await;
    linked(&there, &here).await;
    far.stop().await;
    let mut down = here.watch("$hub/uplinks/to-far").await.unwrap();
    let mut report = async |joined: bool, lost: u64| {
        soon(async {
            loop {
                let next = down.next().await.unwrap();
                let change = match next {
                    Ok(change) => change,
                    Err(Missed::Gap(_)) => continue,
                    Err(other) => panic!("{other}"),
                };
                let Some(payload) = change.payload else { continue };
                let report: serde_json::Value = payload.decode().unwrap();
                if report["joined"] == joined && report["out"]["lost"].as_u64() >= Some(lost) {
                    break;
                }
            }
        })
        .await;
    };
    report(false, 0).await;
    for n in 0..10 {
        here.publish("plant/lost", &n).await.unwrap();
    }
    report(false, 10).await;
    let far = start(folder, "far", Vec::new()).await;
    linked(&here, &there).await;
    linked(&there, &here).await;
    near.stop().await;
    far.stop().await;
}
