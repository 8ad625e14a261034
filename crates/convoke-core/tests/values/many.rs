//! Watches and gets where there is much: nobody waits for another's, and what the hub holds for them is bounded.

use std::time::Duration;

use convoke_core::frame::{Expect, Item, Set, WatchMode};
use convoke_core::limits::DELETED_MAX;
use convoke_core::node::Watched;
use convoke_core::{Code, Encoding, HubConfig, Pattern};

use crate::pair::World;

fn set<'a>(name: &'a str, payload: &'a [u8]) -> Item<'a> {
    let set = Set { encoding: Encoding::Raw, payload, ttl_ms: 0, ephemeral: false };
    Item { name: name.as_bytes(), every: false, expect: Expect::Anything, set: Some(set) }
}

fn delete(name: &str) -> Item<'_> {
    Item { set: None, ..set(name, b"") }
}

fn write(world: &mut World, items: &[Item<'_>]) -> u64 {
    world.nodes[0].state.write(items).unwrap();
    world.settle();
    world.nodes[0].state.written_writes().remove(0).1.unwrap().rev.n
}

/// Sets all these, 250 at a time, or as many as a hub takes, which have one revision then.
fn fill<N: AsRef<str>>(world: &mut World, names: impl IntoIterator<Item = N>, payload: &[u8]) {
    let names: Vec<N> = names.into_iter().collect();
    for names in names.chunks(if payload.len() > 1000 { 10 } else { 250 }) {
        let items: Vec<_> = names.iter().map(|name| set(name.as_ref(), payload)).collect();
        write(world, &items);
    }
}

fn watch(world: &mut World, pattern: &str, mode: WatchMode) -> u32 {
    world.nodes[1].state.watch(Pattern::parse(pattern).unwrap(), mode, None).unwrap()
}

fn get(world: &mut World, who: usize, pattern: &str) -> u32 {
    world.nodes[who].state.get(Pattern::parse(pattern).unwrap()).unwrap()
}

/// What a watch has to tell: revision, name, and whether it has a value.
fn take(world: &mut World, id: u32) -> Vec<(u64, String, bool)> {
    let next = std::iter::from_fn(|| world.nodes[1].state.take_change(id));
    let changes = next.map(|next| match next {
        Watched::Change(change) => (change.rev.n, change.name.as_str().to_owned(), change.payload.is_some()),
        other => panic!("{other:?}"),
    });
    changes.collect()
}

/// Lets time pass until the hub has nothing to do at once; tells how often it had.
fn pass(world: &mut World) -> usize {
    let mut turns = 0;
    while let Some(due) = world.hub.deadline().filter(|due| due.since(world.now) < Duration::from_millis(100)) {
        world.now = world.now.max(due);
        world.hub.tick(world.now);
        world.settle();
        turns += 1;
    }
    turns
}

/// Takes everything that comes for a watch.
fn take_all(world: &mut World, id: u32) -> Vec<(u64, String, bool)> {
    let mut all = Vec::new();
    loop {
        world.settle();
        pass(world);
        let mut some = take(world, id);
        if some.is_empty() {
            return all;
        }
        all.append(&mut some);
    }
}

fn is_in_order(told: &[(u64, String, bool)]) -> bool {
    told.is_sorted_by_key(|(rev, ..)| *rev)
}

/// Once such a watch made a list of all that there was when it came, and the hub stood still for that.
#[test]
fn a_watch_that_finds_little_among_much_lets_others_go_on() {
    for mode in [WatchMode::Latest, WatchMode::All] {
        let mut world = World::new(2);
        let gone = ["gone/x", "back/x"];
        fill(&mut world, gone.into_iter().chain(["live"]), b"1");
        let names = (0..30_000).map(|n| if n % 5000 == 4999 { format!("k{n}/x") } else { format!("k{n}") });
        fill(&mut world, names, b"1");
        write(&mut world, &gone.map(delete));
        let live = watch(&mut world, "live", WatchMode::All);
        world.settle();
        assert_eq!(take(&mut world, live).len(), 1);
        let rare = watch(&mut world, "+/x", mode);
        world.settle();
        assert!(!world.nodes[1].state.is_caught_up(rare), "it has to look at more than it may at once");
        // What comes meanwhile for others on the same link comes at once.
        let now = write(&mut world, &[set("live", b"2")]);
        assert_eq!(take(&mut world, live), [(now, "live".to_owned(), true)]);
        // What comes for itself comes behind what there was.
        let late = write(&mut world, &[set("back/x", b"2"), delete("k29999/x")]);
        assert!(pass(&mut world) >= 5, "in parts");
        let told = take(&mut world, rare);
        assert!(world.nodes[1].state.is_caught_up(rare));
        assert!(is_in_order(&told) && told[5..].iter().all(|(rev, ..)| *rev == late), "{told:?}");
        let told: Vec<(&str, bool)> = told.iter().map(|(_, name, has)| (name.as_str(), *has)).collect();
        let first = ["k4999/x", "k9999/x", "k14999/x", "k19999/x", "k24999/x"].map(|name| (name, true));
        assert_eq!(told[..5], first);
        // Of what is gone it never knew; a watch of every change is told even so.
        let last = [("back/x", true), ("k29999/x", false)];
        assert_eq!(told[5..], last[..if mode == WatchMode::All { 2 } else { 1 }]);
    }
}

#[test]
fn what_a_watch_looks_up_in_parts_comes_whole_and_in_order() {
    let mut world = World::new(2);
    fill(&mut world, (0..12_000).map(|n| format!("{}/{n}", if n % 4 == 3 { "some" } else { "other" })), b"1");
    let every = Item { every: true, ..set("some/#", b"2") };
    let first: Vec<String> = (0..2500).map(|n| format!("some/{}", n * 4 + 3)).collect();
    // One half of them changes together, more than are looked up at a time; the rest is older.
    for name in &first[1250..] {
        write(&mut world, &[delete(name)]);
    }
    let together = write(&mut world, &[every]);
    let older: Vec<String> = (0..1100).map(|n| format!("some/more/{n}")).collect();
    fill(&mut world, &older, b"1");
    fill(&mut world, (0..9000).map(|n| format!("newer/{n}")), b"1");
    let some = watch(&mut world, "some/#", WatchMode::Latest);
    let told = take_all(&mut world, some);
    assert!(world.nodes[1].state.is_caught_up(some) && is_in_order(&told));
    assert_eq!(told.iter().filter(|(rev, ..)| *rev == together).count(), 1250 + 500);
    assert_eq!(told.len(), 1250 + 500 + 1100, "each once, and nothing that was gone before");
    assert!(told.iter().all(|(.., has)| *has));
    // What it missed while it was away, it is told with what is gone.
    world.detach(1);
    let mut gone = Vec::new();
    for name in &older[..600] {
        gone.push((write(&mut world, &[delete(name)]), name.clone(), false));
    }
    fill(&mut world, (0..9000).map(|n| format!("newer/{n}")), b"1");
    assert_eq!(take_all(&mut world, some), gone);
}

/// Once ten thousand gets that came together were all looked for together, and held what they had found.
#[test]
fn gets_of_one_link_are_told_one_after_the_other() {
    let mut world = World::new(2);
    let payload = vec![7; 20_000];
    fill(&mut world, (0..50).map(|n| format!("k/{n}")), &payload);
    world.nodes[1].deaf = true;
    let ids: Vec<u32> = (0..20).map(|_| get(&mut world, 1, "k/#")).collect();
    world.settle();
    let World { nodes, hub, .. } = &mut world;
    nodes[1].waiting_bytes(hub);
    let census = world.hub.census();
    assert!(census.gets_bytes > 0 && census.gets_bytes < 50 * 20_200, "{census:?}");
    assert_eq!(census.watches, 20);
    // The first has found what there was; the others will find what there is then.
    write(&mut world, &[set("k/49", b"new")]);
    world.nodes[1].state.abandon_get(ids[3]);
    world.nodes[1].deaf = false;
    world.settle();
    let got = world.nodes[1].state.got();
    let order: Vec<u32> = ids.iter().copied().filter(|id| *id != ids[3]).collect();
    assert_eq!(got.iter().map(|(id, _)| *id).collect::<Vec<_>>(), order);
    let new =
        |found: &[convoke_core::node::Change]| found.iter().any(|one| one.payload.as_ref().unwrap().bytes == "new");
    let news: Vec<bool> = got.iter().map(|(_, found)| new(found.as_ref().unwrap())).collect();
    assert!(!news[0] && news[1..].iter().all(|new| *new), "{news:?}");
    assert!(got.iter().all(|(_, found)| found.as_ref().unwrap().len() == 50));
    assert_eq!((world.hub.census().watches, world.hub.census().gets_bytes), (0, 0));
}

#[test]
fn what_gets_hold_is_bounded_and_given_back() {
    let mut world = World::with(5, HubConfig { gets_bytes_max: 2_500_000, ..HubConfig::default() });
    let payload = vec![7; 20_000];
    fill(&mut world, (0..60).map(|n| format!("k/{n}")), &payload);
    let ask = |world: &mut World, who: usize| {
        world.nodes[who].deaf = true;
        get(world, who, "k/#");
        world.settle();
        let World { nodes, hub, .. } = world;
        nodes[who].waiting_bytes(hub);
    };
    for who in 1..=3 {
        ask(&mut world, who);
    }
    let held = world.hub.census().gets_bytes;
    assert!(held > 2 * 20_000 * 40 && held <= 2_500_000, "{held}");
    world.nodes[3].deaf = false;
    world.settle();
    let refusal = world.nodes[3].state.got().remove(0).1.unwrap_err();
    assert_eq!(refusal.code, Code::Backpressure);
    assert!(refusal.text.contains("get of `k/#`") && refusal.text.contains("ask for less"), "{refusal}");
    // What a link takes at once is never refused; nor are others' gets once one is read, or its link is gone.
    get(&mut world, 3, "k/5");
    world.settle();
    assert_eq!(world.nodes[3].state.got().remove(0).1.unwrap().len(), 1);
    world.nodes[1].deaf = false;
    world.settle();
    assert_eq!(world.nodes[1].state.got().remove(0).1.unwrap().len(), 60);
    world.detach(2);
    assert_eq!(world.hub.census().gets_bytes, 0);
    ask(&mut world, 4);
    assert!(world.hub.census().gets_bytes > 0);
    world.nodes[4].deaf = false;
    world.settle();
    assert_eq!(world.nodes[4].state.got().remove(0).1.unwrap().len(), 60);
    assert_eq!((world.hub.census().watches, world.hub.census().gets_bytes), (0, 0));
}

#[test]
fn one_get_is_always_let_in() {
    let mut world = World::with(2, HubConfig { gets_bytes_max: 1000, ..HubConfig::default() });
    fill(&mut world, (0..60).map(|n| format!("k/{n}")), &vec![7; 20_000]);
    get(&mut world, 1, "#");
    get(&mut world, 1, "#");
    world.settle();
    assert!(world.nodes[1].state.got().into_iter().all(|(_, found)| found.unwrap().len() == 60));
}

#[test]
fn a_watch_whose_program_takes_nothing_holds_up_no_other_of_its_link() {
    let mut world = World::new(2);
    fill(&mut world, (0..150).map(|n| format!("big/{n}")), &vec![7; 20_000]);
    let big = watch(&mut world, "big/#", WatchMode::Latest);
    let small = watch(&mut world, "small", WatchMode::All);
    world.settle();
    assert!(!world.nodes[1].state.is_caught_up(big));
    let rev = write(&mut world, &[set("small", b"1")]);
    assert_eq!(take(&mut world, small), [(rev, "small".to_owned(), true)]);
    get(&mut world, 1, "small");
    world.settle();
    assert_eq!(world.nodes[1].state.got().remove(0).1.unwrap().len(), 1);
    let told = take_all(&mut world, big);
    assert_eq!((told.len(), is_in_order(&told)), (150, true));
}

/// Once a watch whose program took nothing for long was never told what had gone meanwhile, if much had.
#[test]
fn a_slow_watch_learns_what_is_gone_although_more_is_gone_than_is_remembered() {
    let mut world = World::new(2);
    let slow = watch(&mut world, "slow/#", WatchMode::Latest);
    fill(&mut world, (0..100).map(|n| format!("slow/{n}")), &[7; 20_000]);
    assert_eq!(take_all(&mut world, slow).len(), 100);
    // It takes nothing while all of that changes, and one goes.
    fill(&mut world, (0..100).map(|n| format!("slow/{n}")), &[8; 20_000]);
    write(&mut world, &[delete("slow/99")]);
    let names: Vec<String> = (0..=DELETED_MAX).map(|n| format!("k/{n}")).collect();
    for names in names.chunks(250) {
        write(&mut world, &names.iter().map(|name| set(name, b"1")).collect::<Vec<_>>());
        write(&mut world, &names.iter().map(|name| delete(name)).collect::<Vec<_>>());
    }
    let mut known = std::collections::BTreeMap::new();
    for (_, name, has) in take_all(&mut world, slow) {
        known.insert(name, has);
    }
    assert_eq!((known.len(), known.get("slow/99")), (100, Some(&false)));
    assert!(world.nodes[1].state.is_caught_up(slow));
}

/// Once each that ended was searched for among all others of its pattern.
#[test]
fn watches_of_one_pattern_end_in_any_order_and_the_others_go_on() {
    let mut world = World::new(2);
    let mut open: Vec<u32> = (0..60).map(|_| watch(&mut world, "k", WatchMode::All)).collect();
    world.settle();
    for round in 0..5 {
        // From the front, from the back, from between, and with something waiting for them.
        world.nodes[0].state.write(&[set("k", b"1")]).unwrap();
        for place in [0, open.len() - 2, (round * 7) % 40] {
            world.nodes[1].state.unwatch(open.remove(place));
        }
        world.settle();
        open.push(watch(&mut world, "k", WatchMode::All));
        world.settle();
        let rev = write_again(&mut world);
        for id in &open {
            assert_eq!(take(&mut world, *id).last(), Some(&(rev, "k".to_owned(), true)), "{id} of {open:?}");
        }
        assert_eq!(world.hub.census().watches, open.len());
    }
    for id in open {
        world.nodes[1].state.unwatch(id);
    }
    world.settle();
    assert_eq!(world.hub.census().watches, 0);
}

/// The revision of one more change of `k`.
fn write_again(world: &mut World) -> u64 {
    world.nodes[0].state.write(&[set("k", b"2")]).unwrap();
    world.settle();
    world.nodes[0].state.written_writes().pop().unwrap().1.unwrap().rev.n
}
