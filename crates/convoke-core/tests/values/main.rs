//! Values from one node to another, through a real hub whose foundation the test holds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod forgotten;
mod many;
#[path = "../pair/mod.rs"]
mod pair;

use std::time::Duration;

use convoke_core::foundation::{Ask, RowKey, Told};
use convoke_core::frame::{Expect, Item, Set, WatchMode};
use convoke_core::node::{NotWritten, Watched, Wrote};
use convoke_core::{Code, Encoding, HubConfig, Name, Notice, Pattern, Refusal, Rev};
use pair::World;

fn set<'a>(name: &'a str, payload: &'a str) -> Item<'a> {
    let set = Set { encoding: Encoding::Text, payload: payload.as_bytes(), ttl_ms: 0, ephemeral: false };
    Item { name: name.as_bytes(), every: false, expect: Expect::Anything, set: Some(set) }
}

fn delete(name: &str) -> Item<'_> {
    Item { name: name.as_bytes(), every: false, expect: Expect::Anything, set: None }
}

/// What a watch has to tell, as words.
fn take(world: &mut World, who: usize, id: u32) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(next) = world.nodes[who].state.take_change(id) {
        all.push(match next {
            Watched::Change(change) => {
                let payload = change.payload.map(|payload| String::from_utf8(payload.bytes.to_vec()).unwrap());
                format!("{} {} {}", change.rev, change.name, payload.as_deref().unwrap_or("-"))
            }
            Watched::Compacted { first } => format!("compacted {first}"),
            Watched::Replaced => "replaced".to_owned(),
            Watched::Ended(why) => format!("ended {why}"),
        });
    }
    all
}

fn watch(world: &mut World, who: usize, pattern: &str, mode: WatchMode) -> u32 {
    let id = world.nodes[who].state.watch(Pattern::parse(pattern).unwrap(), mode, None).unwrap();
    world.settle();
    id
}

fn write(world: &mut World, who: usize, items: &[Item<'_>]) -> Result<Wrote, NotWritten> {
    let id = world.nodes[who].state.write(items).unwrap();
    world.settle();
    let mut written = world.nodes[who].state.written_writes();
    assert_eq!(written.len(), 1);
    let (of, result) = written.remove(0);
    assert_eq!(of, id);
    result
}

fn done(n: u64, count: u32) -> Result<Wrote, NotWritten> {
    Ok(Wrote { rev: Rev::durable(n), count })
}

#[test]
fn a_value_is_set_watched_and_deleted() {
    let mut world = World::new(2);
    // The first operation says who it is.
    assert_eq!(write(&mut world, 0, &[set("press/1", "a")]), done(2, 1));
    let watch = watch(&mut world, 1, "press/#", WatchMode::Latest);
    assert!(world.nodes[1].state.is_caught_up(watch) || !take(&mut world, 1, watch).is_empty());
    assert_eq!(write(&mut world, 0, &[set("press/2", "b"), set("hall", "c")]), done(3, 2));
    assert_eq!(write(&mut world, 0, &[delete("press/1")]), done(4, 1));
    assert_eq!(take(&mut world, 1, watch), ["3 press/2 b", "4 press/1 -"]);
    let id = world.nodes[1].state.get(Pattern::parse("#").unwrap()).unwrap();
    world.settle();
    let (of, found) = world.nodes[1].state.got().remove(0);
    assert_eq!(of, id);
    assert_eq!(found.unwrap().iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["hall", "press/2"]);
}

/// Once a get gave nothing for a key that somebody changed between the question and the answer, although it had a value
/// before and after.
#[test]
fn a_value_that_changes_while_it_is_asked_for_is_found() {
    let mut world = World::new(2);
    write(&mut world, 0, &[set("a", "1"), set("b", "1")]).unwrap();
    world.nodes[1].deaf = true;
    world.nodes[1].state.get(Pattern::parse("#").unwrap()).unwrap();
    world.settle();
    write(&mut world, 0, &[set("a", "2")]).unwrap();
    write(&mut world, 0, &[delete("b")]).unwrap();
    world.nodes[1].deaf = false;
    world.settle();
    let (_, found) = world.nodes[1].state.got().remove(0);
    let found = found.unwrap();
    let shown = found.iter().map(|one| (one.name.as_str(), one.rev.n, one.payload.is_some())).collect::<Vec<_>>();
    // All as it was at one moment.
    assert_eq!(shown, [("a", 2, true), ("b", 2, true)]);
}

/// Once a watch of every change whose link was cut before anything was ever set got only the last of what was set meanwhile.
#[test]
fn a_watch_of_nothing_yet_goes_on_too() {
    let mut world = World::new(2);
    let all = watch(&mut world, 1, "#", WatchMode::All);
    assert!(world.nodes[1].state.is_caught_up(all));
    // It happens while there is no link.
    world.hold = true;
    world.nodes[0].state.write(&[set("a", "1")]).unwrap();
    world.nodes[0].state.write(&[set("a", "2")]).unwrap();
    world.settle();
    world.detach(1);
    world.hold = false;
    world.settle();
    assert_eq!(take(&mut world, 1, all), ["2 a 1", "3 a 2"]);
}

#[test]
fn nobody_sees_what_is_not_kept_yet() {
    let mut world = World::new(2);
    let watch = watch(&mut world, 1, "#", WatchMode::All);
    world.hold = true;
    world.nodes[0].state.write(&[set("a", "1")]).unwrap();
    world.settle();
    assert!(world.nodes[0].state.written_writes().is_empty() && take(&mut world, 1, watch).is_empty());
    world.hold = false;
    world.settle();
    assert_eq!(world.nodes[0].state.written_writes().len(), 1);
    assert_eq!(take(&mut world, 1, watch), ["2 a 1"]);
}

#[test]
fn what_the_foundation_does_not_take_is_certainly_not_done() {
    let mut world = World::new(1);
    world.hold = true;
    world.nodes[0].state.write(&[set("a", "1")]).unwrap();
    world.settle();
    for ask in std::mem::take(&mut world.held) {
        if let Ask::Append { ticket, .. } = ask {
            let why = Refusal::new(Code::StorageFull, "no room");
            world.tell(Told::NotDone { ticket, why });
        }
    }
    world.hold = false;
    world.settle();
    let (_, result) = world.nodes[0].state.written_writes().remove(0);
    let not = result.unwrap_err();
    assert_eq!((not.certain, not.why.code), (true, Code::StorageFull));
    // It heals: who it is is told again, since that was not kept either.
    assert_eq!(write(&mut world, 0, &[set("a", "2")]), done(2, 1));
}

#[test]
fn an_uncertain_append_is_appended_again_and_done_once() {
    let mut world = World::new(1);
    let watch = watch(&mut world, 0, "#", WatchMode::All);
    world.hold = true;
    world.nodes[0].state.write(&[set("a", "1")]).unwrap();
    world.settle();
    // It was kept all the same, and the foundation does not know.
    for ask in std::mem::take(&mut world.held) {
        if let Ask::Append { ticket, operation } = ask {
            world.commit(None, operation);
            world.tell(Told::Uncertain { ticket });
        }
    }
    world.hold = false;
    world.settle();
    assert_eq!(take(&mut world, 0, watch), ["2 a 1"]);
    assert_eq!(world.nodes[0].state.written_writes().len(), 1);
}

#[test]
fn every_change_comes_once_over_cut_links_and_starts_of_the_hub() {
    let mut world = World::new(2);
    let watch = watch(&mut world, 1, "n/+", WatchMode::All);
    let mut seen = Vec::new();
    for n in 0..40u32 {
        world.nodes[0].state.write(&[set("n/a", &n.to_string()), set("other", "x")]).unwrap();
        match n % 8 {
            3 => world.cut(1),
            5 => world.restart_hub(),
            6 => world.cut(0),
            _ => world.settle(),
        }
        seen.append(&mut take(&mut world, 1, watch));
    }
    world.settle();
    seen.append(&mut take(&mut world, 1, watch));
    let values: Vec<&str> = seen.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(values, (0..40).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    assert_eq!(world.nodes[0].state.written_writes().into_iter().filter(|(_, result)| result.is_ok()).count(), 40);
}

#[test]
fn who_was_away_for_long_learns_what_is_gone() {
    let mut world = World::new(2);
    for name in ["a", "b", "c"] {
        write(&mut world, 0, &[set(name, "1")]).unwrap();
    }
    let watch = watch(&mut world, 1, "#", WatchMode::Latest);
    assert_eq!(take(&mut world, 1, watch).len(), 3);
    world.detach(1);
    write(&mut world, 0, &[delete("b")]).unwrap();
    write(&mut world, 0, &[set("c", "2")]).unwrap();
    world.settle();
    let mut news = take(&mut world, 1, watch);
    news.sort();
    assert_eq!(news, ["5 b -", "6 c 2"]);
}

#[test]
fn a_slow_reader_is_told_the_last_of_each_and_costs_a_bounded_number_of_bytes() {
    let mut world = World::new(2);
    let watch = watch(&mut world, 1, "#", WatchMode::Latest);
    world.nodes[1].deaf = true;
    let payload = "x".repeat(100_000);
    for n in 0..100 {
        write(&mut world, 0, &[set(&format!("k/{}", n % 20), &format!("{n} {payload}"))]).unwrap();
    }
    let waits = world.nodes[1].waiting_bytes(&mut world.hub);
    assert!(waits < 800_000, "{waits} bytes wait");
    world.nodes[1].deaf = false;
    let mut last = std::collections::BTreeMap::new();
    loop {
        world.settle();
        let news = take(&mut world, 1, watch);
        if news.is_empty() {
            break;
        }
        for line in news {
            let mut words = line.split(' ').skip(1);
            last.insert(words.next().unwrap().to_owned(), words.next().unwrap().parse::<u32>().unwrap());
        }
    }
    let expected = (0..20).map(|key| (format!("k/{key}"), 80 + key)).collect();
    assert_eq!(last, expected);
}

#[test]
fn values_of_memory_prefixes_begin_anew_with_the_hub() {
    let mut world = World::with(2, HubConfig { memory: vec![Name::parse("live").unwrap()], ..HubConfig::default() });
    let watch = watch(&mut world, 1, "#", WatchMode::Latest);
    let wrote = write(&mut world, 0, &[set("live/x", "1")]).unwrap();
    assert!(!wrote.rev.is_durable());
    write(&mut world, 0, &[set("kept", "2")]).unwrap();
    let mixed = write(&mut world, 0, &[set("live/x", "1"), set("kept", "3")]).unwrap_err();
    assert_eq!((mixed.certain, mixed.why.code), (true, Code::BadRequest));
    assert_eq!(take(&mut world, 1, watch).len(), 2);
    world.restart_hub();
    world.settle();
    let news = take(&mut world, 1, watch);
    assert!(matches!(&news[..], [gone] if gone.ends_with(" live/x -")), "{news:?}");
}

#[test]
fn a_get_of_a_foundation_that_hubs_share_waits_for_what_was_committed_before_it() {
    let mut world = World::with(1, HubConfig { shared_foundation: true, ..HubConfig::default() });
    write(&mut world, 0, &[set("a", "1")]).unwrap();
    world.hold = true;
    let id = world.nodes[0].state.get(Pattern::parse("a").unwrap()).unwrap();
    world.settle();
    assert!(world.nodes[0].state.got().is_empty());
    // Another hub has had a value kept, and this hub learns of it before the barrier is done.
    let mut other = World::new(2);
    other.hold = true;
    other.nodes[1].state.write(&[set("a", "2")]).unwrap();
    other.settle();
    for ask in other.held {
        if let Ask::Append { operation, .. } = ask {
            world.commit(None, operation);
        }
    }
    world.hold = false;
    world.settle();
    let (of, found) = world.nodes[0].state.got().remove(0);
    assert_eq!(of, id);
    assert_eq!(found.unwrap()[0].payload.as_ref().unwrap().bytes, "2");
}

#[test]
fn who_watched_every_change_from_before_the_first_misses_none_of_them() {
    let mut world = World::new(2);
    let watch = watch(&mut world, 1, "#", WatchMode::All);
    world.detach(1);
    for payload in ["1", "2"] {
        world.nodes[0].state.write(&[set("a", payload)]).unwrap();
    }
    world.settle();
    assert_eq!(take(&mut world, 1, watch), ["2 a 1", "3 a 2"]);
}

#[test]
fn a_write_that_was_refused_is_not_done_behind_a_later_one() {
    let mut world = World::new(1);
    write(&mut world, 0, &[set("a", "0")]).unwrap();
    world.hold = true;
    for payload in ["1", "2"] {
        world.nodes[0].state.write(&[set("a", payload)]).unwrap();
    }
    world.settle();
    // The disk is full for a moment, and the answer is lost with the link: so the first is sent again.
    world.detach(0);
    let why = Refusal::new(Code::StorageFull, "no room");
    for (place, ask) in
        std::mem::take(&mut world.held).into_iter().filter(|ask| matches!(ask, Ask::Append { .. })).enumerate()
    {
        match ask {
            Ask::Append { ticket, .. } if place == 0 => world.tell(Told::NotDone { ticket, why: why.clone() }),
            Ask::Append { ticket, operation } => world.commit(Some(ticket), operation),
            _ => {}
        }
    }
    world.hold = false;
    world.settle();
    let mut ended = world.nodes[0].state.written_writes();
    ended.sort_by_key(|(id, _)| *id);
    let certain: Vec<bool> = ended.iter().map(|(_, result)| result.as_ref().is_err_and(|not| not.certain)).collect();
    assert_eq!(certain, [true, false]);
    let watch = watch(&mut world, 0, "a", WatchMode::Latest);
    assert_eq!(take(&mut world, 0, watch), ["3 a 2"]);
}

/// Handles the deadlines of the hub that come within this time.
fn pass(world: &mut World, millis: u64) {
    let end = world.now + Duration::from_millis(millis);
    while let Some(due) = world.hub.deadline().filter(|due| *due <= end) {
        world.now = world.now.max(due);
        world.hub.tick(world.now);
        world.settle();
    }
    world.now = world.now.max(end);
}

fn set_for(name: &str, ttl_ms: u64) -> Item<'_> {
    let set = Set { encoding: Encoding::Text, payload: b"x", ttl_ms, ephemeral: false };
    Item { name: name.as_bytes(), every: false, expect: Expect::Anything, set: Some(set) }
}

/// Once it stayed until the other one went, an hour later.
#[test]
fn a_value_whose_time_is_over_before_it_is_kept_goes_at_once() {
    let mut world = World::new(2);
    let watch = watch(&mut world, 1, "#", WatchMode::All);
    write(&mut world, 0, &[set_for("long", 3_600_000)]).unwrap();
    world.hold = true;
    world.nodes[0].state.write(&[set_for("short", 5)]).unwrap();
    world.settle();
    pass(&mut world, 20);
    world.hold = false;
    world.settle();
    pass(&mut world, 20);
    assert_eq!(take(&mut world, 1, watch), ["2 long x", "3 short x", "4 short -"]);
}

/// Once only 256 went each second.
#[test]
fn all_values_whose_time_is_over_go_together() {
    let mut world = World::new(1);
    let names: Vec<String> = (0..1000).map(|key| format!("key/{key}")).collect();
    for names in names.chunks(250) {
        let items: Vec<_> = names.iter().map(|name| set_for(name, 5)).collect();
        write(&mut world, 0, &items).unwrap();
    }
    pass(&mut world, 20);
    world.nodes[0].state.get(Pattern::parse("key/#").unwrap()).unwrap();
    world.settle();
    assert_eq!(world.nodes[0].state.got().remove(0).1.unwrap(), []);
}

/// Once each expiry that the disk had no room for made the hub look after all who own a value.
#[test]
fn what_there_was_no_room_to_expire_concerns_nobody_else() {
    let mut world = World::new(4);
    for who in 1..4 {
        let set = Set { encoding: Encoding::Text, payload: b"x", ttl_ms: 0, ephemeral: true };
        let name = format!("of/{who}");
        let item = Item { name: name.as_bytes(), every: false, expect: Expect::Anything, set: Some(set) };
        world.nodes[who].state.write(&[item]).unwrap();
    }
    write(&mut world, 0, &[set_for("short", 5)]).unwrap();
    let timers = world.hub.census().timers;
    world.hold = true;
    pass(&mut world, 20);
    for ask in std::mem::take(&mut world.held) {
        if let Ask::Append { ticket, .. } = ask {
            world.tell(Told::NotDone { ticket, why: Refusal::new(Code::StorageFull, "no room") });
        }
    }
    assert_eq!(world.hub.census().timers, timers, "it is tried again, and nothing else");
    world.hold = false;
    pass(&mut world, 1500);
    world.nodes[0].state.get(Pattern::parse("#").unwrap()).unwrap();
    world.settle();
    assert_eq!(world.nodes[0].state.got().remove(0).1.unwrap().len(), 3);
}

/// Once a change that could not be read was left out, and nobody was told.
#[test]
fn a_kept_change_that_cannot_be_read_is_a_failure_of_the_disk() {
    let mut world = World::new(2);
    let payload = "x".repeat(200_000);
    for n in 0..40 {
        write(&mut world, 0, &[set("a", &format!("{n} {payload}"))]).unwrap();
    }
    world.hold = true;
    // So far back that it has to be asked for.
    let after = Some(Rev::durable(2));
    world.nodes[1].state.watch(Pattern::parse("a").unwrap(), WatchMode::All, after).unwrap();
    world.settle();
    let held = std::mem::take(&mut world.held);
    let Some(Ask::Read { ticket, table, from, .. }) = held.into_iter().find(|ask| matches!(ask, Ask::Read { .. }))
    else {
        panic!("it has to be asked for")
    };
    world.hub.notices();
    let row = (RowKey { table, key: from }, "no change".into());
    world.tell(Told::ReadDone { ticket, rows: vec![row] });
    let notices = world.hub.notices();
    let [Notice::Failed(why)] = &notices[..] else { panic!("{notices:?}") };
    assert!(why.code == Code::StorageFailed && why.text.contains("a change that was kept cannot be read"), "{why}");
}
