//! Everything at once: whatever is cut and restarted, no call is handled twice, and each ends once and truly.

use std::collections::BTreeMap;
use std::time::Duration;

use convoke_core::{CallEnd, Selector, limits};

use crate::world::World;

/// A small generator, so that a failure is a number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// How a story ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Everybody joins, and what is open is handled.
    Settled,
    /// Each is cut, leaves or stays, with whatever is open.
    Broken,
}

fn story(seed: u64, idempotent: bool, ending: Ending) {
    let mut dice = Dice(seed);
    let mut world = World::new();
    let providers: Vec<usize> = (0..3).map(|n| world.node(&format!("p{n}"))).collect();
    for &provider in &providers {
        world.serve(provider, "s", idempotent);
    }
    let callers: Vec<usize> = (0..3).map(|n| world.node(&format!("c{n}"))).collect();
    let mut made: BTreeMap<(usize, u64), String> = BTreeMap::new();
    let mut handled: BTreeMap<String, u32> = BTreeMap::new();
    let mut cancelled: Vec<(usize, u64)> = Vec::new();
    let mut ends: BTreeMap<(usize, u64), CallEnd> = BTreeMap::new();
    for step in 0..400 {
        let at = dice.below(6) as usize;
        match dice.below(if step < 350 { 24 } else { 4 }) {
            0..=2 => {
                while dice.below(3) > 0 {
                    handle(&mut world, providers[dice.below(3) as usize], &mut handled);
                }
            }
            3 => world.pass(Duration::from_millis(dice.below(1500))),
            4..=13 => {
                let caller = callers[dice.below(3) as usize];
                let text = format!("{caller} {step}");
                let mut request = world.request("s", &text);
                request.wait = dice.below(2) == 0;
                request.timeout = Duration::from_millis(200 + dice.below(12_000));
                request.select = [Selector::Default, Selector::LeastBusy, Selector::Node("p1".into())]
                    [dice.below(3) as usize]
                    .clone();
                let now = world.now;
                if let Ok(number) = world.sides[caller].node.call(&request, now) {
                    made.insert((caller, number), text);
                }
                world.run();
            }
            14 => world.sides[at].stuck = true,
            15 => world.sides[at].deaf = true,
            16 => {
                if world.sides[at].link.is_some() && !world.sides[at].deaf {
                    world.sides[at].stuck = false;
                    world.run();
                }
            }
            17..=18 => world.cut(at),
            19..=21 => join(&mut world, at),
            22 if dice.below(6) == 0 => world.restart_hub(),
            22 => {
                if let Some(&(caller, number)) = made.keys().nth(dice.below(made.len().max(1) as u64) as usize)
                    && !ends.contains_key(&(caller, number))
                    && world.is_open(caller, number)
                {
                    world.sides[caller].node.cancel(number);
                    cancelled.push((caller, number));
                    world.run();
                }
            }
            _ => {
                if dice.below(3) == 0 && providers.contains(&at) {
                    // A program that dies forgets what it had.
                    world.sides[at].given.clear();
                    world.restart_node(at);
                    world.serve(at, "s", idempotent);
                }
            }
        }
        take_ends(&mut world, &callers, &mut ends, seed);
    }
    if ending == Ending::Broken {
        return breaks(&mut world, &mut dice, &format!("seed {seed}"));
    }
    for at in 0..6 {
        // A link that loses what is on it is no link; it must be cut before anything is made good.
        if world.sides[at].deaf || world.sides[at].stuck {
            world.cut(at);
        }
        join(&mut world, at);
    }
    world.run();
    for _ in 0..3 {
        for &provider in &providers {
            while handle(&mut world, provider, &mut handled) {}
        }
        world.pass(Duration::from_secs(8));
    }
    take_ends(&mut world, &callers, &mut ends, seed);
    for (text, count) in &handled {
        assert!(*count == 1 || idempotent, "seed {seed}: `{text}` was handled {count} times");
    }
    for (call, text) in &made {
        let times = handled.get(text).copied().unwrap_or_default();
        match ends.get(call) {
            None => assert!(cancelled.contains(call), "seed {seed}: {call:?} `{text}` has not ended"),
            Some(_) if cancelled.contains(call) => panic!("seed {seed}: {call:?} was cancelled, and ended"),
            Some(CallEnd::Done(payload)) => {
                assert_eq!(payload.decode::<String>().as_ref(), Ok(text), "seed {seed}");
                assert!(times > 0, "seed {seed}: {call:?} was not handled");
            }
            Some(CallEnd::Refused(why)) => assert_eq!(times, 0, "seed {seed}: {call:?} `{text}` is not done: {why}"),
            Some(CallEnd::Uncertain(_)) => {}
            Some(other) => panic!("seed {seed}: {other:?}"),
        }
    }
    let census = world.hub.census();
    assert_eq!((census.calls, census.registrations), (0, 3), "seed {seed}");
}

/// Each is cut, leaves or stays; once those who stay have handled what they have, nothing is open, whoever had called it and
/// whoever had it. Then these leave too, and nothing at all is left.
fn breaks(world: &mut World, dice: &mut Dice, seed: &str) {
    let mut staying = Vec::new();
    for at in 0..6 {
        match dice.below(3) {
            0 => world.cut(at),
            1 => leave(world, at),
            _ => staying.push(at),
        }
    }
    for &at in &staying {
        if world.sides[at].deaf || world.sides[at].stuck {
            world.cut(at);
        }
        join(world, at);
    }
    // What waits for a provider waits no longer than this either.
    for _ in 0..4 {
        world.pass(limits::PROVIDER_AWAY_TIME_MAX);
        for &at in &staying {
            while world.handle(at) {}
        }
    }
    let providers = staying.iter().filter(|at| **at < 3).count();
    let census = world.hub.census();
    assert_eq!((census.calls, census.registrations), (0, providers), "{seed}: {staying:?} stay");
    for at in staying {
        leave(world, at);
    }
    let census = world.hub.census();
    let left = (census.services, census.registrations, census.calls, census.parties, census.links);
    assert_eq!(left, (0, 0, 0, 0, 0), "{seed}");
}

fn leave(world: &mut World, at: usize) {
    let now = world.now;
    world.sides[at].node.leave(now);
    world.sides[at].stuck = false;
    world.run();
    if world.sides[at].deaf {
        world.cut(at);
    }
}

fn join(world: &mut World, at: usize) {
    if world.sides[at].link.is_none() {
        world.join(at);
    }
}

fn handle(world: &mut World, at: usize, handled: &mut BTreeMap<String, u32>) -> bool {
    if let Some(text) = world.given(at).first() {
        *handled.entry(text.clone()).or_default() += 1;
    }
    world.handle(at)
}

fn take_ends(world: &mut World, callers: &[usize], ends: &mut BTreeMap<(usize, u64), CallEnd>, seed: u64) {
    for &caller in callers {
        for (number, end) in std::mem::take(&mut world.sides[caller].ended) {
            assert!(ends.insert((caller, number), end).is_none(), "seed {seed}: an end is told once");
        }
    }
}

#[test]
fn no_call_is_handled_twice_and_each_ends_once_and_truly() {
    for seed in 0..300 {
        story(seed, false, Ending::Settled);
    }
}

#[test]
fn calls_to_idempotent_providers_end_once_and_truly() {
    for seed in 1000..1100 {
        story(seed, true, Ending::Settled);
    }
}

#[test]
fn whatever_is_cut_and_given_up_nothing_is_left_of_it() {
    for seed in 2000..2300 {
        story(seed, seed % 3 == 0, Ending::Broken);
    }
}
