//! Providers that say of every call that it never came to them: nobody is asked twice, and the caller is told.

use std::time::Duration;

use convoke_core::frame::{End, Frame, Reply};
use convoke_core::{CallEnd, Code, Refusal, Transmit, limits};

use crate::tell;
use crate::world::{World, name};

/// A node whose registrations are all idempotent, and which the world does not answer for.
fn stubborn(world: &mut World, called: &str, times: usize) -> usize {
    let at = world.node(called);
    for _ in 0..times {
        world.serve(at, "s", true);
    }
    world.sides[at].stuck = true;
    at
}

/// Refuses all that the hub gives to these nodes until it gives nothing more, and tells to whom in which order.
fn refuse_all(world: &mut World, stubborn: &[usize]) -> Vec<usize> {
    let mut given = Vec::new();
    loop {
        let before = given.len();
        for &at in stubborn {
            let mut transmit = Transmit::new();
            world.hub.transmit(world.sides[at].link.expect("joined"), &mut transmit);
            let mut bytes = Vec::new();
            while let Some(piece) = transmit.pop() {
                bytes.extend_from_slice(&piece);
            }
            let mut rest = &bytes[..];
            while let Some((frame, len)) = Frame::decode(rest).expect("a frame") {
                rest = &rest[len..];
                if let Frame::Handle(handle) = frame {
                    given.push(at);
                    assert!(given.len() < 1000, "it is given on and on");
                    let end = End::Refused { code: Code::NoProvider, text: "not mine" };
                    tell(world, at, &Frame::Reply(Reply { id: handle.id, end }));
                }
            }
        }
        if given.len() == before {
            world.run();
            return given;
        }
    }
}

#[test]
fn a_call_that_its_provider_refuses_is_not_given_to_it_again() {
    let mut world = World::new();
    let (calc, ann) = (stubborn(&mut world, "calc", 1), world.node("ann"));
    let number = world.call(ann, "s", "x");
    assert_eq!(refuse_all(&mut world, &[calc]), [calc]);
    let why = world.not_done(ann, number);
    assert_eq!(why.code, Code::NoProvider);
    assert_eq!(
        why.text,
        "call to `s`: whoever could be chosen has refused it; start another provider, or wait for one"
    );
    assert_eq!(world.census().0, 0);
}

#[test]
fn a_call_that_is_refused_goes_to_each_other_once() {
    let mut world = World::new();
    let nodes: Vec<usize> = ["one", "two", "three"].map(|called| stubborn(&mut world, called, 1)).into();
    let ann = world.node("ann");
    let number = world.call(ann, "s", "x");
    assert_eq!(refuse_all(&mut world, &nodes), nodes);
    assert_eq!(world.not_done(ann, number).code, Code::NoProvider);
}

#[test]
fn a_call_that_is_refused_and_may_wait_is_given_to_who_comes() {
    let mut world = World::new();
    let (calc, ann) = (stubborn(&mut world, "calc", 1), world.node("ann"));
    let mut request = world.request("s", "x");
    (request.wait, request.timeout) = (true, Duration::from_secs(60));
    let number = world.call_with(ann, request);
    assert_eq!(refuse_all(&mut world, &[calc]), [calc]);
    world.pass(Duration::from_secs(2));
    assert!(refuse_all(&mut world, &[calc]).is_empty());
    assert!(world.is_open(ann, number));
    // Another registration of the same node is a new one.
    world.sides[calc].stuck = false;
    world.serve(calc, "s", false);
    assert_eq!(world.given(calc), ["x"]);
    world.handle(calc);
    assert_eq!(world.done(ann, number), "x");
}

#[test]
fn a_call_that_everybody_refuses_is_not_given_to_all_of_them() {
    let mut world = World::new();
    let nodes: Vec<usize> =
        ["one", "two"].map(|called| stubborn(&mut world, called, limits::REGISTRATIONS_PER_NAME_MAX)).into();
    let ann = world.node("ann");
    let mut request = world.request("s", "x");
    request.wait = true;
    let number = world.call_with(ann, request);
    assert_eq!(refuse_all(&mut world, &nodes).len(), limits::CALL_REFUSALS_MAX);
    assert_eq!(world.not_done(ann, number).code, Code::NoProvider);
    assert_eq!(world.census().0, 0);
}

#[test]
fn what_a_handler_answers_is_never_taken_for_a_call_that_did_not_come() {
    let mut world = World::new();
    let (one, two, ann) = (world.node("one"), world.node("two"), world.node("ann"));
    world.serve(one, "s", true);
    world.sides[two].node.serve(name("s"), true).expect("it may");
    world.run();
    let number = world.call(ann, "s", "x");
    let call = world.sides[one].given.remove(0);
    let end = CallEnd::Refused(Refusal::new(Code::NoProvider, "nobody behind it offers it"));
    let now = world.now;
    world.sides[one].node.finish(call.id, &end, now);
    world.run();
    let why = world.not_done(ann, number);
    assert_eq!((why.code, &*why.text), (Code::ProviderLost, "nobody behind it offers it"));
    assert!(world.sides[two].given.is_empty());
}
