//! A node asks no more than its link takes.

use bytes::BytesMut;
use convoke_core::{
    Code, HubConfig, HubIdentity, HubState, Name, NodeConfig, NodeState, Pattern, Peer, Time, Transmit, limits,
};

/// A node that has joined, and its hub.
fn joined() -> (HubState, NodeState) {
    let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 1 };
    let mut hub = HubState::new(HubConfig::default(), identity, [3; 32], Time::START);
    let config = NodeConfig::new(Name::parse("ann").expect("a name"));
    let mut node = NodeState::new(config, [4; 32], Time::START);
    let link = hub.open(Peer::Owner, Time::START).expect("room for a link");
    node.connected(true, Time::START);
    while !node.is_joined() {
        let mut transmit = Transmit::new();
        node.transmit(&mut transmit);
        while let Some(bytes) = transmit.pop() {
            hub.receive(link, &mut BytesMut::from(&bytes[..]), Time::START);
        }
        hub.transmit(link, &mut transmit);
        while let Some(bytes) = transmit.pop() {
            node.receive(&mut BytesMut::from(&bytes[..]), Time::START);
        }
    }
    (hub, node)
}

#[test]
fn a_node_whose_link_takes_nothing_asks_for_a_bounded_number_of_subscriptions() {
    let (_hub, mut node) = joined();
    let pattern = Pattern::parse(&"a".repeat(500)).expect("a pattern");
    let mut asked = 0;
    let refusal = loop {
        match node.subscribe(pattern.clone(), None) {
            Ok(id) => node.unsubscribe(id),
            Err(refusal) => break refusal,
        }
        asked += 1;
        assert!(asked * 500 < 2 * limits::LINK_CONTROL_BYTES_MAX, "nothing stops it");
    };
    assert_eq!(refusal.code, Code::Backpressure);
    assert!(asked > 1000, "{refusal}");
    node.transmit(&mut Transmit::new());
    node.subscribe(pattern, None).expect("there is room again");
}
