//! What a caller is told when its provider, its own link or the hub is lost while calls are open.

use std::time::Duration;

use convoke_core::{CallEnd, Code, Payload, limits};

use crate::world::World;

const AWAY: Duration = limits::PROVIDER_AWAY_TIME_MAX;

/// A provider and a caller with one call that was written.
fn called() -> (World, usize, usize, u64) {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    let number = world.call(ann, "s", "x");
    (world, calc, ann, number)
}

#[test]
fn what_was_not_written_goes_to_another_provider() {
    let mut world = World::new();
    let (one, ann) = (world.provider("one", "s"), world.node("ann"));
    world.sides[one].stuck = true;
    let calls: Vec<u64> = (0..4).map(|n| world.call(ann, "s", &n.to_string())).collect();
    let long = world.call(ann, "s", &"long".repeat(50_000));
    let two = world.provider("two", "s");
    world.sides[ann].node.cancel(calls[2]);
    world.run();
    world.cut(one);
    assert_eq!(world.given(two)[..3], ["0", "1", "3"]);
    assert_eq!(world.given(two).len(), 4);
    while world.handle(two) {}
    assert_eq!(world.done(ann, calls[3]), "3");
    assert_eq!(world.done(ann, long).len(), 200_000);
    assert_eq!(world.census().0, 0);
}

#[test]
fn what_was_not_written_and_nobody_else_offers_certainly_did_not_happen() {
    let mut world = World::new();
    let (one, ann) = (world.provider("one", "s"), world.node("ann"));
    world.sides[one].stuck = true;
    let number = world.call(ann, "s", "x");
    let mut request = world.request("s", "patient");
    request.wait = true;
    let patient = world.call_with(ann, request);
    world.cut(one);
    assert_eq!(world.not_done(ann, number).code, Code::NoProvider);
    assert!(world.is_open(ann, patient));
    let two = world.provider("two", "s");
    assert_eq!(world.given(two), ["patient"]);
}

#[test]
fn a_provider_that_leaves_ends_its_calls_at_once() {
    let (mut world, calc, ann, number) = called();
    let now = world.now;
    world.sides[calc].node.leave(now);
    world.run();
    let why = world.uncertain(ann, number);
    assert_eq!(why.code, Code::ProviderLost);
    assert_eq!(why.to_string(), "call to `s`: its provider `calc` was lost while it had the call");
    assert_eq!(world.census(), (0, 0, 1));
}

#[test]
fn another_program_of_its_name_ends_the_calls_of_a_provider_at_once() {
    let (mut world, calc, ann, number) = called();
    world.restart_node(calc);
    assert_eq!(world.uncertain(ann, number).code, Code::ProviderLost);
}

#[test]
fn a_provider_that_does_not_come_back_ends_its_calls_five_seconds_after_it_was_heard() {
    let (mut world, calc, ann, number) = called();
    world.pass(Duration::from_millis(500));
    let heard = Duration::from_millis(500);
    world.sides[calc].deaf = true;
    world.pass(Duration::from_millis(300));
    world.cut(calc);
    world.pass(AWAY - heard - Duration::from_millis(350));
    assert!(world.is_open(ann, number));
    world.pass(Duration::from_millis(400));
    assert_eq!(world.uncertain(ann, number).code, Code::ProviderLost);
    assert_eq!(world.census(), (0, 0, 1));
}

#[test]
fn a_provider_that_falls_silent_is_found_out_by_its_beats() {
    let (mut world, calc, ann, number) = called();
    world.sides[calc].deaf = true;
    let mut request = world.request("s", "x");
    request.timeout = Duration::from_secs(60);
    let patient = world.call_with(ann, request);
    world.pass(Duration::from_millis(6100));
    assert_eq!(world.uncertain(ann, number).code, Code::ProviderLost);
    assert_eq!(world.uncertain(ann, patient).code, Code::ProviderLost);
}

#[test]
fn a_provider_that_comes_back_in_time_goes_on() {
    let (mut world, calc, ann, number) = called();
    world.cut(calc);
    world.pass(Duration::from_secs(1));
    world.join(calc);
    assert!(world.is_open(ann, number));
    world.pass(Duration::from_secs(6));
    world.handle(calc);
    assert_eq!(world.done(ann, number), "x");
    assert_eq!(world.given(calc).len(), 0, "it was given once");
}

#[test]
fn a_reply_that_was_lost_with_the_link_is_asked_for_again() {
    let (mut world, calc, ann, number) = called();
    world.sides[calc].deaf = true;
    world.handle(calc);
    assert!(world.is_open(ann, number));
    world.cut(calc);
    world.join(calc);
    assert_eq!(world.done(ann, number), "x");
}

#[test]
fn a_call_that_was_handled_while_its_provider_was_away_is_done() {
    let (mut world, calc, ann, number) = called();
    world.cut(calc);
    world.handle(calc);
    world.join(calc);
    assert_eq!(world.done(ann, number), "x");
    assert_eq!(world.census().0, 0);
}

#[test]
fn a_call_that_its_provider_never_got_certainly_did_not_happen() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    world.sides[calc].deaf = true;
    let number = world.call(ann, "s", "x");
    world.cut(calc);
    world.join(calc);
    let why = world.not_done(ann, number);
    assert_eq!(why.code, Code::NoProvider);
    assert!(world.sides[calc].given.is_empty());
}

#[test]
fn a_provider_says_that_it_does_not_know_when_it_has_forgotten() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    let number = world.call(ann, "s", "x");
    let others: Vec<u64> = (0..8).map(|_| world.call(ann, "s", "long")).collect();
    world.cut(calc);
    world.handle(calc);
    let now = world.now;
    for call in std::mem::take(&mut world.sides[calc].given) {
        let long = CallEnd::Done(Payload::raw(vec![0; 1 << 20]));
        world.sides[calc].node.finish(call.id, &long, now);
    }
    world.join(calc);
    assert_eq!(world.uncertain(ann, number).code, Code::ProviderLost);
    assert!(matches!(world.end(ann, others[7]), CallEnd::Done(_)));
}

#[test]
fn calls_to_an_idempotent_provider_that_is_lost_go_to_another() {
    let mut world = World::new();
    let (one, ann) = (world.node("one"), world.node("ann"));
    world.serve(one, "s", true);
    let number = world.call(ann, "s", "x");
    assert_eq!(world.given(one), ["x"]);
    let two = world.node("two");
    world.serve(two, "s", true);
    world.cut(one);
    world.pass(AWAY + Duration::from_millis(10));
    assert_eq!(world.given(two), ["x"]);
    // The first comes back and answers all the same.
    world.handle(one);
    world.join(one);
    assert!(world.is_open(ann, number));
    world.handle(two);
    assert_eq!(world.done(ann, number), "x");
    assert_eq!(world.census().0, 0);
}

#[test]
fn a_caller_that_leaves_cancels_its_calls() {
    let (mut world, calc, ann, _number) = called();
    let now = world.now;
    world.sides[ann].node.leave(now);
    world.run();
    assert_eq!(world.sides[calc].cancelled.len(), 1);
    assert_eq!(world.uncertain(ann, 1).code, Code::Left);
    world.handle(calc);
    assert_eq!(world.census(), (0, 1, 1));
}

#[test]
fn a_caller_that_does_not_come_back_cancels_its_calls_after_a_while() {
    let (mut world, calc, ann, _number) = called();
    world.cut(ann);
    world.pass(AWAY - Duration::from_millis(100));
    assert!(world.sides[calc].cancelled.is_empty());
    world.pass(Duration::from_millis(200));
    assert_eq!(world.sides[calc].cancelled.len(), 1);
    world.handle(calc);
    assert_eq!(world.census(), (0, 1, 1));
}

#[test]
fn a_caller_that_comes_back_gets_its_reply() {
    for when in 0..3 {
        let (mut world, calc, ann, number) = called();
        if when == 0 {
            // Written to a link that loses it.
            world.sides[ann].deaf = true;
            world.handle(calc);
        }
        if when == 1 {
            // Not written.
            world.sides[ann].stuck = true;
            world.handle(calc);
        }
        world.cut(ann);
        world.handle(calc);
        world.join(ann);
        assert_eq!(world.done(ann, number), "x", "{when}");
        assert!(world.sides[calc].given.is_empty(), "it was handled once");
        assert_eq!(world.census().0, 0);
        world.pass(Duration::from_secs(20));
        assert!(world.sides[ann].ended.is_empty());
    }
}

#[test]
fn a_call_that_the_hub_never_got_is_made_when_its_caller_comes_back() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    let first = world.call(ann, "s", "first");
    world.sides[ann].deaf = true;
    let second = world.call(ann, "s", "second");
    let third = world.call(ann, "s", "third");
    world.sides[ann].node.cancel(first);
    world.cut(ann);
    assert_eq!(world.given(calc), ["first"]);
    world.join(ann);
    assert_eq!(world.given(calc), ["first", "second", "third"]);
    assert_eq!(world.sides[calc].cancelled.len(), 1);
    while world.handle(calc) {}
    assert_eq!((world.done(ann, second), world.done(ann, third)), ("second".into(), "third".into()));
}

#[test]
fn a_caller_without_a_hub_is_told_at_the_deadline() {
    let (mut world, calc, ann, number) = called();
    world.cut(ann);
    let mut request = world.request("s", "later");
    (request.wait, request.timeout) = (true, Duration::from_secs(20));
    let later = world.call_with(ann, request);
    let refused = world.request("s", "now");
    let now = world.now;
    assert_eq!(world.sides[ann].node.call(&refused, now).expect_err("offline").code, Code::Offline);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.uncertain(ann, number).code, Code::TimedOut);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.not_done(ann, later).code, Code::TimedOut);
    let _ = calc;
}

#[test]
fn after_the_hub_was_killed_a_running_call_goes_on() {
    let (mut world, calc, ann, number) = called();
    world.restart_hub();
    world.join(ann);
    world.pass(Duration::from_secs(1));
    world.join(calc);
    assert!(world.is_open(ann, number));
    world.pass(Duration::from_secs(6));
    world.handle(calc);
    assert_eq!(world.done(ann, number), "x");
    assert_eq!(world.census().0, 0);
}

#[test]
fn after_the_hub_was_killed_a_reply_is_found_at_its_provider() {
    for provider_first in [false, true] {
        let (mut world, calc, ann, number) = called();
        world.sides[ann].deaf = true;
        world.handle(calc);
        world.restart_hub();
        let order = if provider_first { [calc, ann] } else { [ann, calc] };
        for at in order {
            world.join(at);
        }
        assert_eq!(world.done(ann, number), "x");
        assert_eq!(world.census().0, 0);
    }
}

#[test]
fn after_the_hub_was_killed_a_call_that_nobody_knows_is_uncertain() {
    let (mut world, calc, ann, number) = called();
    world.restart_hub();
    world.join(ann);
    world.restart_node(calc);
    world.serve(calc, "s", false);
    world.pass(AWAY - Duration::from_secs(1));
    assert!(world.is_open(ann, number));
    world.pass(Duration::from_secs(1));
    let why = world.uncertain(ann, number);
    assert_eq!(why.code, Code::LinkLost);
    world.sides[calc].given.clear();
    let next = world.call(ann, "s", "next");
    assert_eq!(world.given(calc), ["next"], "{next}");
}

#[test]
fn after_the_hub_was_killed_numbers_of_calls_are_not_mixed_up() {
    let (mut world, calc, ann, number) = called();
    world.restart_hub();
    world.join(calc);
    // Its call has the same place in the new hub as the old one had.
    let ben = world.node("ben");
    let other = world.call(ben, "s", "other");
    assert_eq!(world.given(calc), ["x", "other"]);
    world.handle(calc);
    assert!(world.is_open(ben, other));
    world.join(ann);
    assert_eq!(world.done(ann, number), "x");
    world.handle(calc);
    assert_eq!(world.done(ben, other), "other");
}

#[test]
fn a_caller_that_comes_back_late_finds_the_call_that_was_given_up_for_it() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    let mut request = world.request("s", "x");
    request.timeout = Duration::from_secs(60);
    let number = world.call_with(ann, request);
    world.cut(ann);
    world.pass(AWAY + Duration::from_secs(1));
    assert_eq!(world.sides[calc].cancelled.len(), 1);
    world.join(ann);
    assert_eq!(world.census().0, 1, "it is the same call");
    world.handle(calc);
    assert_eq!(world.done(ann, number), "x");
    assert_eq!(world.census().0, 0);
}

#[test]
fn of_a_call_that_was_given_up_nothing_is_left_whatever_becomes_of_its_provider() {
    // It comes back and answers; had answered meanwhile; had never got it; does not come back.
    for story in 0..4 {
        let mut world = World::new();
        let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
        world.sides[calc].deaf = story == 2;
        let number = world.call(ann, "s", "x");
        if story % 2 == 0 {
            world.cut(calc);
        }
        world.sides[ann].node.cancel(number);
        world.run();
        assert_eq!(world.census().0, 1, "{story}: its provider may have it");
        world.cut(calc);
        match story {
            0 => {
                world.join(calc);
                assert_eq!(world.sides[calc].cancelled.len(), 1, "it is told when it is back");
                assert_eq!(world.census().0, 1);
                world.handle(calc);
            }
            1 => {
                world.handle(calc);
                world.join(calc);
            }
            2 => world.join(calc),
            _ => world.pass(AWAY + Duration::from_millis(10)),
        }
        assert_eq!(world.census().0, 0, "{story}");
        assert!(world.is_open(ann, number), "{story}: nobody is told");
        let now = world.now;
        world.sides[ann].node.leave(now);
        world.cut(calc);
        world.pass(AWAY + Duration::from_millis(10));
        assert_eq!(world.census(), (0, 0, 0), "{story}");
    }
}
