//! Story: it does not matter over which transport a node has joined.

mod support;

use convoke::{Hub, HubOptions, Node, NodeOptions};
use support::*;

#[tokio::test]
async fn nodes_on_different_transports_of_one_hub_are_in_one_place() {
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix://{}", folder.path().join("hub.sock").display());
    let mem = format!("mem://{}", folder.path().display());
    let hub = Hub::start(HubOptions::listen([mem.as_str(), "127.0.0.1:0", unix.as_str()])).await.unwrap();
    let mut nodes = Vec::new();
    let mut subscriptions = Vec::new();
    for (index, address) in hub.addresses().iter().enumerate() {
        let options = NodeOptions { token: Some(hub.token().clone()), ..NodeOptions::new(format!("node-{index}")) };
        let node = Node::connect_with(address.to_string(), options).await.unwrap();
        subscriptions.push(node.subscribe("#").await.unwrap());
        nodes.push(node);
    }
    assert_eq!(hub.nodes(), 3);
    for node in &nodes {
        for n in 0..1000 {
            node.publish(format!("from/{}", node.name()), &n).await.unwrap();
        }
        assert_eq!(soon(node.confirm()).await.unwrap(), 3);
        for subscription in &mut subscriptions {
            for n in 0..1000 {
                let event = event(subscription).await;
                assert_eq!((event.publisher(), event.payload.decode::<i32>().unwrap()), (&node.name(), n));
            }
        }
    }
    for from in &nodes {
        for to in &nodes {
            soon(from.ping(Some(to.name().as_str()))).await.unwrap();
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_node_of_the_same_user_needs_no_token_and_may_prefer_the_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix://{}", folder.path().join("hub.sock").display());
    let hub = Hub::start(HubOptions::listen(["127.0.0.1:0", unix.as_str()])).await.unwrap();
    let tcp = hub.addresses()[0].to_string();
    let plain = Node::connect(&tcp, "plain").await.unwrap();
    let options = NodeOptions { prefer_unix: true, ..NodeOptions::new("preferring") };
    let preferring = Node::connect_with(&tcp, options).await.unwrap();
    let on_unix = Node::connect(&unix, "unix").await.unwrap();
    for node in [&plain, &preferring, &on_unix] {
        soon(node.ping(None)).await.unwrap();
    }
    assert_eq!(hub.nodes(), 3);
    hub.stop().await;
}
