//! Calls between nodes at a hub: who gets them, in which order, and how each ends when something is lost.

mod chaos;
mod lost;
#[path = "../pair/mod.rs"]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
mod pair;
mod refusing;
mod remembered;
mod waiting;
mod world;

use std::time::Duration;

use convoke_core::frame::{Frame, Info, MasterWish};
use convoke_core::{CallEnd, Code, Headers, HubConfig, Payload, SelectDefault, Selector, limits};
use world::World;

#[test]
fn a_call_reaches_its_provider_and_its_reply_the_caller() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "math/add"), world.node("ann"));
    let headers = Headers::from_iter([("trace", "7")]);
    let mut request = world.request("math/add", "1+2");
    request.headers = &headers;
    let number = world.call_with(ann, request);
    let call = &world.sides[calc].given[0];
    assert_eq!((call.caller.as_str(), call.author.as_str(), call.headers.get("trace")), ("ann", "ann", Some("7")));
    assert_eq!(call.payload, Payload::text("1+2"));
    assert_eq!(call.deadline.since(world.now), limits::CALL_TIME_DEFAULT);
    assert_eq!(world.census().0, 1);
    world.handle(calc);
    assert_eq!(world.done(ann, number), "1+2");
    assert_eq!(world.census().0, 0);
}

#[test]
fn a_failure_of_the_program_reaches_the_caller_as_it_is() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "math/divide"), world.node("ann"));
    let number = world.call(ann, "math/divide", "1/0");
    let id = world.sides[calc].given[0].id;
    let failed =
        CallEnd::Failed { kind: "DivisionByZero".into(), message: "1 / 0".into(), payload: Payload::text("x") };
    let now = world.now;
    world.sides[calc].node.finish(id, &failed, now);
    world.run();
    assert_eq!(world.end(ann, number), failed);
}

#[test]
fn a_node_calls_itself() {
    let mut world = World::new();
    let calc = world.provider("calc", "math/add");
    let number = world.call(calc, "math/add", "x");
    assert!(world.handle(calc));
    assert_eq!(world.done(calc, number), "x");
}

#[test]
fn long_calls_and_replies_pass_whole_between_others() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "copy"), world.node("ann"));
    let long = "long ".repeat(60_000);
    let calls: Vec<(u64, String)> = (0..9)
        .map(|n| if n % 3 == 1 { format!("{n} {long}") } else { n.to_string() })
        .map(|text| (world.call(ann, "copy", &text), text))
        .collect();
    assert_eq!(world.given(calc), calls.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>());
    while world.handle(calc) {}
    for (number, text) in calls {
        assert_eq!(world.done(ann, number), text);
    }
}

#[test]
fn a_reply_too_long_for_the_hub_is_a_failure_and_no_disaster() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "fill"), world.node("ann"));
    let number = world.call(ann, "fill", "");
    let (id, now) = (world.sides[calc].given[0].id, world.now);
    world.sides[calc].node.finish(id, &CallEnd::Done(Payload::raw(vec![0; 2 << 20])), now);
    world.run();
    assert!(matches!(world.end(ann, number), CallEnd::Failed { kind, .. } if kind == "TooLarge"));
    assert!(world.sides[calc].link.is_some());
}

#[test]
fn calls_of_one_caller_reach_one_provider_in_their_order() {
    let mut world = World::new();
    let (calc, ann, ben) = (world.provider("calc", "a"), world.node("ann"), world.node("ben"));
    world.serve(calc, "b", false);
    for n in 0..500 {
        let now = world.now;
        for (who, text) in [(ann, "ann"), (ben, "ben")] {
            let request = world.request(if n % 3 == 0 { "a" } else { "b" }, &format!("{text} {n}"));
            world.sides[who].node.call(&request, now).expect("joined");
        }
    }
    world.run();
    for who in ["ann", "ben"] {
        let given: Vec<String> = world.given(calc).into_iter().filter(|text| text.starts_with(who)).collect();
        assert_eq!(given, (0..500).map(|n| format!("{who} {n}")).collect::<Vec<_>>());
    }
}

#[test]
fn without_a_provider_a_call_is_refused_at_once() {
    let mut world = World::new();
    let ann = world.node("ann");
    let number = world.call(ann, "math/add", "");
    let why = world.not_done(ann, number);
    assert_eq!(why.code, Code::NoProvider);
    assert_eq!(why.to_string(), "call to `math/add`: nobody offers it; start a provider, or wait for one");
    assert_eq!(world.census().0, 0);
}

#[test]
fn a_call_that_waits_is_given_to_who_offers_it_first_in_order() {
    let mut world = World::new();
    let ann = world.node("ann");
    let calls: Vec<u64> = (0..5)
        .map(|n| {
            let mut request = world.request("math/add", &n.to_string());
            request.wait = true;
            world.call_with(ann, request)
        })
        .collect();
    let gone = world.provider("gone", "math/other");
    assert!(world.sides[gone].given.is_empty());
    world.sides[ann].node.cancel(calls[1]);
    world.run();
    let calc = world.provider("calc", "math/add");
    assert_eq!(world.given(calc), ["0", "2", "3", "4"]);
    while world.handle(calc) {}
    assert_eq!(world.done(ann, calls[4]), "4");
}

#[test]
fn a_call_that_waits_in_vain_certainly_did_not_happen() {
    let mut world = World::new();
    let ann = world.node("ann");
    let mut request = world.request("math/add", "");
    (request.wait, request.timeout) = (true, Duration::from_secs(3));
    let number = world.call_with(ann, request);
    world.pass(Duration::from_millis(2990));
    assert!(world.is_open(ann, number));
    world.pass(Duration::from_millis(20));
    assert_eq!(world.not_done(ann, number).code, Code::TimedOut);
    let calc = world.provider("calc", "math/add");
    assert!(world.sides[calc].given.is_empty());
}

#[test]
fn the_hubs_own_names_and_names_that_are_too_long_cannot_be_offered() {
    let mut world = World::new();
    let ann = world.node("ann");
    for (service, code) in [
        ("$hub/x".to_owned(), Code::Forbidden),
        ("a".repeat(481), Code::BadName),
        (vec!["a"; 30].join("/"), Code::BadName),
    ] {
        let id = world.sides[ann].node.serve(world::name(&service), false).expect("asked");
        world.run();
        let answer = world.sides[ann].answers.iter().find(|(one, _)| *one == id).expect("an answer");
        assert_eq!(answer.1.as_ref().expect_err("refused").code, code);
    }
    world.serve(ann, &"a".repeat(480), false);
    world.serve(ann, &vec!["a"; 29].join("/"), false);
}

#[test]
fn a_withdrawn_registration_gets_no_more_calls_and_answers_those_it_has() {
    let mut world = World::new();
    let (calc, ann) = (world.node("calc"), world.node("ann"));
    let id = world.serve(calc, "math/add", false);
    let number = world.call(ann, "math/add", "kept");
    world.sides[calc].node.unserve(id);
    world.run();
    let late = world.call(ann, "math/add", "late");
    assert_eq!(world.not_done(ann, late).code, Code::NoProvider);
    assert_eq!(world.census().1, 1, "it stays for its call");
    world.handle(calc);
    assert_eq!(world.done(ann, number), "kept");
    assert_eq!(world.census().1, 0);
}

#[test]
fn a_call_that_crosses_a_withdrawal_is_certainly_not_handled() {
    let mut world = World::new();
    let (calc, ann) = (world.node("calc"), world.node("ann"));
    let id = world.serve(calc, "math/add", false);
    world.sides[calc].stuck = true;
    let number = world.call(ann, "math/add", "x");
    world.sides[calc].node.unserve(id);
    world.sides[calc].stuck = false;
    world.run();
    assert_eq!(world.not_done(ann, number).code, Code::NoProvider);
    assert!(world.sides[calc].given.is_empty());
}

/// How often each of three providers is given one of `count` calls.
fn shares(world: &mut World, select: &Selector, count: usize) -> Vec<usize> {
    let ann = world.sides.len() - 1;
    for _ in 0..count {
        let mut request = world.request("s", "x");
        request.select = select.clone();
        world.call_with(ann, request);
    }
    let shares = (0..3).map(|at| world.sides[at].given.len()).collect();
    for at in 0..3 {
        while world.handle(at) {}
    }
    assert_eq!(world.sides[ann].ended.drain(..).count(), count);
    shares
}

fn three(config: HubConfig) -> World {
    let mut world = World::with(config);
    for called in ["one", "two", "three"] {
        world.provider(called, "s");
        world.pass(Duration::from_millis(1));
    }
    world.node("ann");
    world
}

#[test]
fn a_selector_chooses_the_provider() {
    let mut world = three(HubConfig::default());
    assert_eq!(shares(&mut world, &Selector::Default, 9), [3, 3, 3], "one after the other");
    assert_eq!(shares(&mut world, &Selector::RoundRobin, 6), [2, 2, 2]);
    assert_eq!(shares(&mut world, &Selector::First, 5), [5, 0, 0]);
    assert_eq!(shares(&mut world, &Selector::Node("two".into()), 5), [0, 5, 0]);
    assert_eq!(shares(&mut world, &Selector::LeastBusy, 6), [2, 2, 2]);
    let random = shares(&mut world, &Selector::Random, 300);
    assert!(random.iter().all(|share| *share > 60), "{random:?}");
    assert_eq!(shares(&mut world, &Selector::FreeRam, 1).iter().sum::<usize>(), 1, "of equals, any");
}

#[test]
fn nobody_misses_a_turn_because_another_goes() {
    let mut world = three(HubConfig::default());
    let turn = |world: &mut World| {
        let ann = world.sides.len() - 1;
        world.call(ann, "s", "x");
        let at = (0..3).find(|at| !world.sides[*at].given.is_empty()).expect("somebody has it");
        world.handle(at);
        at
    };
    assert_eq!([turn(&mut world), turn(&mut world)], [0, 1]);
    // Who had its turn goes; then another, and the first comes back, as the last.
    world.cut(0);
    assert_eq!([turn(&mut world), turn(&mut world)], [2, 1]);
    world.cut(2);
    world.join(0);
    assert_eq!([turn(&mut world), turn(&mut world), turn(&mut world)], [0, 1, 0]);
}

#[test]
fn a_selector_knows_what_nodes_tell_about_themselves() {
    let mut world = three(HubConfig::default());
    for (at, host, cpu_permille, free_memory, master) in
        [(0, "a", 900, 5, MasterWish::Never), (1, "b", 100, 1, MasterWish::May), (2, "b", 500, 9, MasterWish::May)]
    {
        let info = Info { host, cpu_permille, free_memory, master, ..Info::default() };
        tell(&mut world, at, &Frame::Info(info));
    }
    assert_eq!(shares(&mut world, &Selector::CpuUsage, 3), [0, 3, 0]);
    assert_eq!(shares(&mut world, &Selector::FreeRam, 3), [0, 0, 3]);
    assert_eq!(shares(&mut world, &Selector::Host("b".into()), 4), [0, 2, 2]);
    assert_eq!(
        shares(&mut world, &Selector::Master, 3),
        [0, 3, 0],
        "of those that may, the one that is there the longest"
    );
    let info = Info { host: "b", master: MasterWish::Must, ..Info::default() };
    tell(&mut world, 2, &Frame::Info(info));
    assert_eq!(shares(&mut world, &Selector::Master, 3), [0, 0, 3]);
    let mut request = world.request("s", "x");
    request.select = Selector::Host("c".into());
    let number = world.call_with(3, request);
    assert_eq!(world.not_done(3, number).code, Code::NoProvider);
}

#[test]
fn who_selects_nobody_of_those_who_offer_it_is_told_how_many_they_are() {
    let mut world = World::new();
    let (calc, ann) = (world.node("calc"), world.node("ann"));
    world.serve(calc, "s", false);
    world.serve(calc, "s", false);
    let selected = |world: &mut World, select: Selector, wait: bool| {
        let mut request = world.request("s", "x");
        (request.select, request.wait) = (select, wait);
        let number = world.call_with(ann, request);
        if wait {
            world.pass(Duration::from_secs(11));
        }
        let why = world.not_done(ann, number);
        (why.code, why.to_string())
    };
    let otherwise = "; select otherwise, or wait for one that fits";
    assert_eq!(
        selected(&mut world, Selector::Node("press-1".into()), false),
        (Code::NoProvider, format!("call to `s`: 1 node offers it, and does not fit `node:press-1`{otherwise}"))
    );
    world.provider("calc-2", "s");
    for (select, word) in [
        (Selector::Node("press-1".into()), "node:press-1"),
        (Selector::Host("hall".into()), "host:hall"),
        (Selector::Master, "master"),
    ] {
        let text = format!("call to `s`: 2 nodes offer it, and none fits `{word}`{otherwise}");
        assert_eq!(selected(&mut world, select.clone(), false), (Code::NoProvider, text));
        let text = format!("call to `s`: nobody who fits `{word}` has offered it in time");
        assert_eq!(selected(&mut world, select, true), (Code::TimedOut, text));
    }
    world.cut(2);
    assert!(selected(&mut world, Selector::Master, false).1.contains("1 node offers it"));
    world.cut(calc);
    let text = "call to `s`: nobody offers it; start a provider, or wait for one".to_owned();
    assert_eq!(selected(&mut world, Selector::Node("press-1".into()), false), (Code::NoProvider, text));
}

fn tell(world: &mut World, at: usize, frame: &Frame<'_>) {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    let link = world.sides[at].link.expect("joined");
    world.hub.receive(link, &mut bytes::BytesMut::from(&bytes[..]), world.now);
}

#[test]
fn the_hub_is_configured_how_it_chooses() {
    let mut world = three(HubConfig { select: SelectDefault::First, ..HubConfig::default() });
    assert_eq!(shares(&mut world, &Selector::Default, 4), [4, 0, 0]);
}

#[test]
fn a_provider_with_too_many_calls_is_passed_over_and_then_the_call_is_refused() {
    let mut world = World::new();
    let (one, two) = (world.provider("one", "s"), world.provider("two", "s"));
    let callers = [world.node("a"), world.node("b"), world.node("c")];
    let first = Selector::First;
    for n in 0..2 * limits::CALLS_PER_PROVIDER_MAX {
        let mut request = world.request("s", "x");
        request.select = first.clone();
        let now = world.now;
        world.sides[callers[n % 3]].node.call(&request, now).expect("joined");
    }
    world.run();
    assert_eq!(world.sides[one].given.len(), limits::CALLS_PER_PROVIDER_MAX);
    assert_eq!(world.sides[two].given.len(), limits::CALLS_PER_PROVIDER_MAX);
    let number = world.call(callers[0], "s", "more");
    let why = world.not_done(callers[0], number);
    assert_eq!(why.code, Code::Busy);
    assert!(why.text.contains("try again in 50 ms"), "{why}");
    world.handle(two);
    world.call(callers[0], "s", "more");
    assert_eq!(world.given(two).last().map(String::as_str), Some("more"));
}

#[test]
fn what_a_provider_has_counts_over_all_its_services() {
    let mut world = World::new();
    let (calc, ann, ben) = (world.node("calc"), world.node("ann"), world.node("ben"));
    for service in ["a", "b", "b"] {
        world.serve(calc, service, false);
    }
    let patient: Vec<u64> = (0..3)
        .map(|n| {
            let mut request = world.request("c", &n.to_string());
            request.wait = true;
            world.call_with(ben, request)
        })
        .collect();
    let now = world.now;
    for n in 1..limits::CALLS_PER_PROVIDER_MAX {
        let request = world.request(["a", "b"][n % 2], "x");
        world.sides[ann].node.call(&request, now).expect("joined");
    }
    world.run();
    world.serve(calc, "c", false);
    assert_eq!(world.sides[calc].given.len(), limits::CALLS_PER_PROVIDER_MAX);
    assert!(world.is_open(ben, patient[0]));
    for number in [patient[1], patient[2], world.call(ben, "a", "x"), world.call(ben, "b", "x")] {
        let why = world.not_done(ben, number);
        assert_eq!(why.code, Code::Busy, "{why}");
    }
    world.handle(calc);
    let number = world.call(ben, "a", "x");
    assert!(world.is_open(ben, number));
}

#[test]
fn a_caller_has_a_bounded_number_of_open_calls() {
    let mut world = World::new();
    let (_calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    let now = world.now;
    for _ in 0..limits::CALLS_PER_CALLER_MAX {
        let request = world.request("s", "x");
        world.sides[ann].node.call(&request, now).expect("room");
    }
    let request = world.request("s", "x");
    assert_eq!(world.sides[ann].node.call(&request, now).expect_err("full").code, Code::Busy);
}

#[test]
fn a_provider_that_takes_nothing_gets_a_bounded_number_of_bytes() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    world.sides[calc].stuck = true;
    let long = "x".repeat(1 << 19);
    let refused = (0..64).find_map(|_| {
        let number = world.call(ann, "s", &long);
        (!world.is_open(ann, number)).then(|| world.not_done(ann, number))
    });
    assert_eq!(refused.expect("at some time it is enough").code, Code::Busy);
}

#[test]
fn a_cancelled_call_is_told_to_its_provider_which_has_it_until_it_has_answered() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    let number = world.call(ann, "s", "x");
    let id = world.sides[calc].given[0].id;
    world.sides[ann].node.cancel(number);
    world.run();
    assert_eq!(world.sides[calc].cancelled, [id]);
    assert_eq!(world.census().0, 1, "it counts until it has ended");
    world.handle(calc);
    assert_eq!(world.census().0, 0);
    assert!(world.is_open(ann, number), "nobody is told how it ended");
}

#[test]
fn a_cancel_never_overtakes_its_call() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    world.sides[calc].stuck = true;
    let number = world.call(ann, "s", "x");
    world.sides[ann].node.cancel(number);
    world.run();
    world.sides[calc].stuck = false;
    world.run();
    assert_eq!(world.sides[calc].cancelled, [world.sides[calc].given[0].id]);
}

#[test]
fn a_call_that_takes_too_long_ends_as_uncertain_and_is_cancelled() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    let mut request = world.request("s", "x");
    request.timeout = Duration::from_secs(2);
    let number = world.call_with(ann, request);
    let other = world.call(ann, "s", "y");
    world.pass(Duration::from_millis(1990));
    assert!(world.is_open(ann, number));
    world.pass(Duration::from_millis(20));
    let why = world.uncertain(ann, number);
    assert_eq!(why.code, Code::TimedOut);
    assert_eq!(why.to_string(), "call to `s`: its provider `calc` has not answered in time");
    assert_eq!(world.sides[calc].cancelled, [world.sides[calc].given[0].id]);
    assert!(world.is_open(ann, other));
    assert_eq!(world.census().0, 2, "it counts until its provider has answered");
    while world.handle(calc) {}
    assert_eq!(world.done(ann, other), "y");
    assert_eq!(world.census().0, 0);
    assert!(world.sides[ann].ended.is_empty(), "an end is told once");
}

#[test]
fn a_call_that_was_not_written_in_time_is_never_handled() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    world.sides[calc].stuck = true;
    let mut request = world.request("s", "short");
    request.timeout = Duration::from_secs(2);
    let number = world.call_with(ann, request);
    let other = world.call(ann, "s", "long");
    world.pass(Duration::from_secs(3));
    assert_eq!(world.not_done(ann, number).code, Code::TimedOut);
    world.sides[calc].stuck = false;
    world.run();
    assert_eq!(world.given(calc), ["long"]);
    world.handle(calc);
    assert_eq!(world.done(ann, other), "long");
}

#[test]
fn a_deadline_has_a_bound() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    let mut request = world.request("s", "x");
    request.timeout = Duration::from_secs(7200);
    let now = world.now;
    let why = world.sides[ann].node.call(&request, now).expect_err("nobody takes so long");
    assert_eq!(why.code, Code::BadRequest);
    assert_eq!(why.to_string(), "call to `s`: a call takes at most 1 h, and this one was given 7200 s");
    request.timeout = limits::CALL_TIME_MAX;
    let number = world.call_with(ann, request);
    // Of what another implementation may ask for, the hub gives no more either.
    let call = convoke_core::frame::Call {
        number: number + 1,
        left_ms: 7_200_000,
        select: Default::default(),
        wait: false,
        again: false,
        service: b"s",
        content: Default::default(),
    };
    tell(&mut world, ann, &Frame::Call(call));
    world.run();
    for call in &world.sides[calc].given {
        assert_eq!(call.deadline.since(world.now), limits::CALL_TIME_MAX);
    }
    assert_eq!(world.sides[calc].given.len(), 2);
}

#[test]
fn a_hub_that_stood_still_moves_the_deadlines_of_calls() {
    let mut world = World::new();
    let (calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    let number = world.call(ann, "s", "x");
    world.pass(Duration::from_secs(9));
    // The hub stands still for a minute; nobody else notices.
    let now = world.now + Duration::from_secs(60);
    world.hub.tick(now);
    world.run();
    assert!(world.is_open(ann, number), "{:?}", world.sides[ann].ended);
    world.hub.tick(now + Duration::from_millis(1100));
    world.run();
    assert_eq!(world.uncertain(ann, number).code, Code::TimedOut);
    assert_eq!(world.sides[calc].cancelled.len(), 1);
}

#[test]
fn numbers_of_calls_that_do_not_grow_end_the_link() {
    let mut world = World::new();
    let (_calc, ann) = (world.provider("calc", "s"), world.node("ann"));
    world.call(ann, "s", "x");
    let call = convoke_core::frame::Call {
        number: 1,
        left_ms: 0,
        select: Default::default(),
        wait: false,
        again: false,
        service: b"s",
        content: Default::default(),
    };
    tell(&mut world, ann, &Frame::Call(call));
    world.run();
    assert!(world.sides[ann].link.is_none());
}

#[test]
fn a_thousand_providers_that_come_and_go_leave_nothing_behind() {
    let mut world = World::new();
    let ann = world.node("ann");
    let before = world.hub.census();
    for n in 0..1000 {
        let calc = world.provider(&format!("calc-{n}"), "s");
        world.call(ann, "s", "x");
        match n % 3 {
            0 => {
                world.handle(calc);
                let now = world.now;
                world.sides[calc].node.leave(now);
                world.run();
            }
            1 => world.cut(calc),
            _ => {
                world.handle(calc);
                world.cut(calc);
            }
        }
        world.sides.truncate(1);
        world.pass(Duration::from_millis(7));
    }
    world.pass(Duration::from_secs(600));
    assert_eq!(world.sides[ann].ended.len(), 1000);
    let after = world.hub.census();
    assert_eq!((after.services, after.registrations, after.calls), (0, 0, 0));
    assert_eq!((after.links, after.nodes, after.timers), (before.links, before.nodes, before.timers));
    assert_eq!(after.parties, 1, "the caller");
}
