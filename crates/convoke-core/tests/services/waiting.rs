//! Calls that wait for a provider, and what is asked of one that comes: in their order, each once, and no more than can be.

use std::time::Duration;

use convoke_core::frame::{Frame, Info, MasterWish};
use convoke_core::limits::{CALLS_KEPT_BYTES_MAX, CALLS_WAITING_PER_NAME_MAX, REGISTRATIONS_PER_NAME_MAX};
use convoke_core::{Code, Selector};

use crate::tell;
use crate::world::{World, name};

/// A call that waits for a provider.
fn patient(world: &mut World, at: usize, select: Selector, text: &str) -> u64 {
    let mut request = world.request("s", text);
    (request.wait, request.select, request.timeout) = (true, select, Duration::from_secs(60));
    world.call_with(at, request)
}

#[test]
fn a_node_offers_one_name_a_bounded_number_of_times() {
    let mut world = World::new();
    let calc = world.node("calc");
    let mut numbers: Vec<u32> = (0..REGISTRATIONS_PER_NAME_MAX).map(|_| world.serve(calc, "s", false)).collect();
    let id = world.sides[calc].node.serve(name("s"), false).expect("asked");
    world.run();
    let answer = world.sides[calc].answers.iter().find(|(one, _)| *one == id).expect("an answer");
    let why = answer.1.as_ref().expect_err("it offers it often enough");
    assert_eq!(why.code, Code::Limit);
    assert_eq!(why.text, "service `s`: `calc` offers it 16 times, which is all it may");
    world.serve(calc, "other", false);
    world.provider("calc-2", "s");
    world.sides[calc].node.unserve(numbers.remove(3));
    world.serve(calc, "s", false);
}

#[test]
fn calls_that_wait_for_one_name_are_bounded() {
    let mut world = World::new();
    let (ann, ben) = (world.node("ann"), world.node("ben"));
    let half = CALLS_WAITING_PER_NAME_MAX / 2;
    for (at, count) in [(ann, half), (ben, CALLS_WAITING_PER_NAME_MAX - half)] {
        for _ in 0..count {
            let mut request = world.request("s", "x");
            request.wait = true;
            let now = world.now;
            world.sides[at].node.call(&request, now).expect("joined");
        }
    }
    world.run();
    assert!(world.sides[ann].ended.is_empty() && world.sides[ben].ended.is_empty());
    let more = patient(&mut world, ann, Selector::Default, "more");
    let why = world.not_done(ann, more);
    assert_eq!(why.code, Code::Busy);
    assert_eq!(why.text, "call to `s`: 4096 calls wait for a provider, which is all that can; try again later");
    let calc = world.provider("calc", "s");
    assert_eq!(world.sides[calc].given.len(), CALLS_WAITING_PER_NAME_MAX, "who comes takes them all");
}

#[test]
fn calls_that_wait_are_bounded_in_bytes() {
    let mut world = World::new();
    let ann = world.node("ann");
    let long = "x".repeat(1 << 20 >> 1);
    let calls: Vec<u64> =
        (0..CALLS_KEPT_BYTES_MAX / long.len()).map(|_| patient(&mut world, ann, Selector::Default, &long)).collect();
    let why = world.not_done(ann, calls[calls.len() - 1]);
    assert_eq!(
        (why.code, &*why.text),
        (Code::Busy, "call to `s`: no more than 67108864 bytes of calls can wait for providers")
    );
    assert!(calls[..calls.len() - 1].iter().all(|call| world.is_open(ann, *call)), "the others wait");
    let small = patient(&mut world, ann, Selector::Default, "x");
    assert!(world.is_open(ann, small), "there is room for a small one");
    let calc = world.provider("calc", "s");
    assert!(!world.sides[calc].given.is_empty());
}

#[test]
fn who_comes_is_given_what_waits_for_it_in_its_order() {
    let mut world = World::new();
    let (one, ann) = (world.provider("one", "s"), world.node("ann"));
    let info = Info { host: "a", master: MasterWish::Never, ..Info::default() };
    tell(&mut world, one, &Frame::Info(info));
    for (select, text) in [
        (Selector::Host("b".into()), "host"),
        (Selector::Node("nobody".into()), "nobody"),
        (Selector::Master, "master"),
        (Selector::Host("c".into()), "elsewhere"),
        (Selector::Node("two".into()), "node"),
    ] {
        patient(&mut world, ann, select, text);
    }
    let two = world.node("two");
    let info = Info { host: "b", master: MasterWish::May, ..Info::default() };
    tell(&mut world, two, &Frame::Info(info));
    world.serve(two, "s", false);
    assert_eq!(world.given(two), ["host", "master", "node"]);
    assert!(world.sides[one].given.is_empty());
    world.provider("nobody", "s");
    assert_eq!(world.given(3), ["nobody"]);
    assert_eq!(world.census().0, 5);
}

#[test]
fn a_provider_is_asked_once_for_a_call_however_often_it_offers_it() {
    for provider_first in [false, true] {
        let mut world = World::new();
        let (calc, ann) = (world.node("calc"), world.node("ann"));
        for _ in 0..REGISTRATIONS_PER_NAME_MAX {
            world.serve(calc, "s", false);
        }
        let number = world.call(ann, "s", "x");
        world.sides[ann].deaf = true;
        world.handle(calc);
        world.restart_hub();
        world.sides[calc].tapped = Some(Vec::new());
        for at in if provider_first { [calc, ann] } else { [ann, calc] } {
            world.join(at);
        }
        assert_eq!(world.done(ann, number), "x");
        assert_eq!(world.recalls(calc), 1, "{provider_first}");
    }
}
