//! Waiting until hubs that are linked pass on what is published at them.

use std::time::Duration;

use convoke::Node;

/// Longer than links take to come up, so that a story that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until an event that is published at one, below this topic, gets to the other.
pub async fn linked(from: &Node, to: &Node, topic: &str) {
    let name = format!("{topic}/{}", from.name());
    let mut comes = to.subscribe(&name).await.unwrap();
    let passed = async {
        loop {
            from.publish(&name, &0).await.unwrap();
            if tokio::time::timeout(Duration::from_millis(50), comes.next()).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, passed).await.expect("they are linked");
}

/// Waits until every uplink of every hub, of which each has so many, has joined, and passes events on: in a ring there is
/// another way at first.
pub async fn all_linked(nodes: &[Node], uplinks: &[usize], topic: &str) {
    for (node, count) in nodes.iter().zip(uplinks) {
        let ready = async {
            loop {
                let uplinks = node.values("$hub/uplinks/#").await.unwrap();
                let reports = uplinks.iter().map(|uplink| uplink.payload.decode::<serde_json::Value>().unwrap());
                let ready = |report: &serde_json::Value| {
                    report["joined"] == true && report["in"]["ready"] == true && report["out"]["ready"] == true
                };
                if reports.filter(ready).count() == *count {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("all uplinks join");
    }
    for from in nodes {
        for to in nodes.iter().filter(|to| to.name() != from.name()) {
            linked(from, to, topic).await;
        }
    }
}
