//! A hub that was started again knows a node that had something kept, but not which calls it had made.

use std::time::Duration;

use convoke_core::frame::{Expect, Item, Set};
use convoke_core::{CallEnd, CallRequest, Encoding, Headers, Incoming, Payload, Selector};

use crate::pair::World;
use crate::world::name;

#[test]
fn a_call_is_not_made_again_by_a_caller_that_the_restarted_hub_knows() {
    let mut world = World::new(2);
    let set = Set { encoding: Encoding::Text, payload: b"x", ttl_ms: 0, ephemeral: false };
    let item = Item { name: b"kept", every: false, expect: Expect::default(), set: Some(set) };
    world.nodes[0].state.write(&[item]).expect("it may");
    world.nodes[1].state.serve(name("s"), false).expect("it may");
    world.settle();
    let request = CallRequest {
        service: name("s"),
        select: Selector::Default,
        wait: false,
        timeout: Duration::ZERO,
        payload: Payload::text("x"),
        headers: &Headers::new(),
    };
    let now = world.now;
    let number = world.nodes[0].state.call(&request, now).expect("it is joined");
    world.settle();
    let Some(Incoming::Call(call)) = world.nodes[1].state.incoming().pop() else { panic!("a call") };
    // It is handled, and its reply is lost with the hub.
    world.nodes[0].deaf = true;
    world.nodes[1].state.finish(call.id, &CallEnd::Done(call.payload), now);
    world.settle();
    world.nodes[0].deaf = false;
    let before = world.nodes[0].state.welcome().incarnation;
    world.restart_hub();
    assert!(world.nodes[0].state.welcome().resumed && world.nodes[0].state.welcome().incarnation == before);
    assert_eq!(world.nodes[1].state.incoming(), [], "it is not handled again");
    assert_eq!(world.nodes[0].state.ended_calls(), [(number, CallEnd::Done(Payload::text("x")))]);
    assert_eq!(world.hub.census().calls, 0);
}
