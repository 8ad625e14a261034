//! Groups: each event goes to one member, whoever that is, and what waits for one that is gone goes to the others.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod pair;

use std::time::Duration;

use convoke_core::limits::GROUP_MEMBERS_PER_LINK_MAX;
use convoke_core::{
    Code, Delivery, Encoding, Headers, HubConfig, Name, NodeConfig, Pattern, Peer, Publication, SlowPolicy,
};
use pair::World;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Node `who` becomes a member of the group, and the hub has taken it.
fn share(world: &mut World, who: usize, pattern: &str, group: &str) -> u32 {
    let id = world.nodes[who].state.subscribe(Pattern::parse(pattern).unwrap(), Some(name(group))).unwrap();
    world.settle();
    id
}

fn say(world: &mut World, who: usize, topic: &str, payload: &[u8]) {
    let what = Publication { name: topic, encoding: Encoding::Raw, payload, headers: &Headers::new() };
    world.nodes[who].state.publish(what).unwrap();
}

/// Publishes so many events, each a number, and carries each before the next.
fn say_many(world: &mut World, who: usize, topic: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        say(world, who, topic, &number.to_le_bytes());
        world.settle();
    }
}

/// What a subscription has got: the numbers, and how many were lost.
fn got(world: &mut World, who: usize, id: u32) -> (Vec<u32>, u64) {
    let (mut numbers, mut lost) = (Vec::new(), 0);
    let mut number = |payload: &[u8]| numbers.push(u32::from_le_bytes(payload[..4].try_into().unwrap()));
    while let Some(delivery) = world.nodes[who].state.take(id) {
        match delivery {
            Delivery::Run(run) => run.for_each(|event| number(&event.payload.bytes)),
            Delivery::Event(event) => number(&event.payload.bytes),
            Delivery::Lagged(count) => lost += count,
            Delivery::Gap(_) => {}
            Delivery::Ended(why) => panic!("{why}"),
        }
    }
    (numbers, lost)
}

fn sorted(lists: &[Vec<u32>]) -> Vec<u32> {
    let mut all = lists.concat();
    all.sort_unstable();
    all
}

#[test]
fn each_event_goes_to_one_member_and_all_have_their_turn() {
    let mut world = World::new(4);
    let ids: Vec<u32> = (1..4).map(|who| share(&mut world, who, "jobs/#", "workers")).collect();
    say_many(&mut world, 0, "jobs/a", 0..300);
    let lists: Vec<Vec<u32>> = (1..4).map(|who| got(&mut world, who, ids[who - 1]).0).collect();
    assert_eq!(sorted(&lists), (0..300).collect::<Vec<_>>());
    assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [100; 3]);
    assert!(lists.iter().all(|list| list.is_sorted()), "of one publisher a member gets what it gets in order");
}

#[test]
fn all_have_their_turn_where_every_event_has_a_topic_of_its_own() {
    let mut world = World::new(3);
    let ids: Vec<u32> = (1..3).map(|who| share(&mut world, who, "jobs/#", "workers")).collect();
    for number in 0..100 {
        say_many(&mut world, 0, &format!("jobs/{number}"), number..number + 1);
    }
    let lists: Vec<usize> = (1..3).map(|who| got(&mut world, who, ids[who - 1]).0.len()).collect();
    assert_eq!(lists.iter().sum::<usize>(), 100);
    assert!(lists.iter().all(|count| (40..=60).contains(count)), "{lists:?}");
}

#[test]
fn a_burst_is_shared_too() {
    let mut world = World::new(5);
    let ids: Vec<u32> = (1..5).map(|who| share(&mut world, who, "jobs", "workers")).collect();
    for number in 0..1000u32 {
        say(&mut world, 0, "jobs", &number.to_le_bytes());
    }
    world.settle();
    let lists: Vec<Vec<u32>> = (1..5).map(|who| got(&mut world, who, ids[who - 1]).0).collect();
    assert_eq!(sorted(&lists), (0..1000).collect::<Vec<_>>());
    assert!(lists.iter().all(|list| list.len() == 250 && list.is_sorted()), "each gets as much as the others");
}

#[test]
fn groups_and_plain_subscriptions_do_not_take_from_one_another() {
    let mut world = World::new(3);
    let plain = world.nodes[1].state.subscribe(Pattern::parse("#").unwrap(), None).unwrap();
    let one = share(&mut world, 1, "jobs/+", "one");
    let other = share(&mut world, 2, "jobs/a", "other");
    say_many(&mut world, 0, "jobs/a", 0..20);
    let all: Vec<u32> = (0..20).collect();
    assert_eq!(got(&mut world, 1, plain), (all.clone(), 0));
    assert_eq!(got(&mut world, 1, one), (all.clone(), 0), "the only member gets all");
    assert_eq!(got(&mut world, 2, other), (all, 0));
    let confirm = world.nodes[0].state.confirm().unwrap();
    world.settle();
    assert_eq!(world.nodes[0].state.answers(), [(confirm, Ok(3))], "a group counts as one");
}

#[test]
fn members_of_one_node_and_of_several_patterns_are_members_each() {
    let mut world = World::new(2);
    let ids =
        [share(&mut world, 1, "jobs/a", "g"), share(&mut world, 1, "jobs/#", "g"), share(&mut world, 1, "x", "g")];
    say_many(&mut world, 0, "jobs/a", 0..10);
    let lists = ids.map(|id| got(&mut world, 1, id).0);
    assert_eq!(sorted(&lists), (0..10).collect::<Vec<_>>(), "once in the whole group");
    assert_eq!(lists.each_ref().map(Vec::len), [5, 5, 0]);
}

#[test]
fn who_reads_slowly_gets_less() {
    let mut world = World::new(3);
    let ids: Vec<u32> = (1..3).map(|who| share(&mut world, who, "jobs", "g")).collect();
    world.nodes[1].deaf = true;
    say_many(&mut world, 0, "jobs", 0..100);
    assert!(got(&mut world, 2, ids[1]).0.len() >= 99, "what waits for one is at most one event");
}

/// What two members get of 66 events, of which some waited for a third one that is gone.
fn left_by_one() -> Vec<u32> {
    let mut world = World::new(4);
    let ids: Vec<u32> = (1..4).map(|who| share(&mut world, who, "jobs/#", "g")).collect();
    for who in 1..4 {
        world.nodes[who].deaf = true;
    }
    say_many(&mut world, 0, "jobs/a", 0..60);
    // Long ones too, in several frames and with headers.
    let headers = Headers::from_iter([("k", "v")]);
    let mut long = vec![0; 150_000];
    for number in 60..66u32 {
        long[..4].copy_from_slice(&number.to_le_bytes());
        let what = Publication { name: "jobs/b", encoding: Encoding::Raw, payload: &long, headers: &headers };
        world.nodes[0].state.publish(what).unwrap();
        world.settle();
    }
    world.detach(1);
    world.nodes[2].deaf = false;
    world.nodes[3].deaf = false;
    world.settle();
    let lists: Vec<Vec<u32>> = (2..4).map(|who| got(&mut world, who, ids[who - 1]).0).collect();
    sorted(&lists)
}

#[test]
fn what_waits_for_a_member_that_is_gone_goes_to_the_others() {
    assert_eq!(left_by_one(), (0..66).collect::<Vec<_>>(), "nothing is missing, and nothing came twice");
}

#[cfg(feature = "sim")]
#[test]
fn it_would_be_missed() {
    convoke_core::bug::plant(Some(convoke_core::bug::Bug::OrphansForgotten));
    let got = left_by_one().len();
    convoke_core::bug::plant(None);
    assert_eq!(got, 44);
}

#[test]
fn it_goes_to_the_others_although_its_publisher_has_left() {
    let mut world = World::new(4);
    let one = share(&mut world, 1, "jobs", "g");
    let two = share(&mut world, 2, "jobs", "g");
    world.nodes[1].deaf = true;
    world.nodes[2].deaf = true;
    say_many(&mut world, 0, "jobs", 0..10);
    let now = world.now;
    world.nodes[0].state.leave(now);
    world.settle();
    // From member to member, and back again.
    world.detach(1);
    world.nodes[1].deaf = false;
    world.settle();
    let id = share(&mut world, 3, "jobs", "g");
    world.nodes[3].deaf = true;
    world.detach(2);
    world.nodes[2].deaf = false;
    world.settle();
    world.detach(3);
    world.nodes[3].deaf = false;
    world.settle();
    let lists = [got(&mut world, 1, one).0, got(&mut world, 2, two).0, got(&mut world, 3, id).0];
    assert_eq!(sorted(&lists), (0..10).collect::<Vec<_>>());
    // The publisher's number is forgotten everywhere, and those who read it are as they were.
    say_many(&mut world, 3, "jobs", 10..20);
    let lists = [got(&mut world, 1, one).0, got(&mut world, 2, two).0, got(&mut world, 3, id).0];
    assert_eq!(sorted(&lists), (10..20).collect::<Vec<_>>());
}

#[test]
fn what_waits_goes_to_the_others_when_a_member_unsubscribes() {
    let mut world = World::new(3);
    let ids: Vec<u32> = (1..3).map(|who| share(&mut world, who, "jobs", "g")).collect();
    let plain = world.nodes[1].state.subscribe(Pattern::parse("jobs").unwrap(), None).unwrap();
    world.settle();
    world.nodes[1].deaf = true;
    world.nodes[2].deaf = true;
    say_many(&mut world, 0, "jobs", 0..10);
    world.nodes[1].state.unsubscribe(ids[0]);
    world.settle();
    world.nodes[1].deaf = false;
    world.nodes[2].deaf = false;
    world.settle();
    assert_eq!(sorted(&[got(&mut world, 2, ids[1]).0]), (0..10).collect::<Vec<_>>());
    assert_eq!(got(&mut world, 1, plain).0, (0..10).collect::<Vec<_>>(), "its other subscriptions have lost nothing");
}

#[test]
fn what_a_member_loses_is_told_to_it_alone() {
    for slow in [SlowPolicy::DropOldest, SlowPolicy::DropNewest, SlowPolicy::LatestPerTopic] {
        let config = HubConfig { link_bulk_bytes_max: 4000, payload_bytes_max: 1000, ..HubConfig::default() };
        let mut world = World::with(1, config);
        let mut config = NodeConfig::new(name("slow"));
        config.slow = slow;
        let member = world.join(config, Peer::Owner);
        let id = share(&mut world, member, "jobs", "g");
        let plain = world.nodes[member].state.subscribe(Pattern::parse("other").unwrap(), None).unwrap();
        world.settle();
        say_many(&mut world, 0, "other", 0..1);
        world.nodes[member].deaf = true;
        say_many(&mut world, 0, "jobs", 0..1000);
        world.nodes[member].deaf = false;
        world.settle();
        let (numbers, lost) = got(&mut world, member, id);
        assert_eq!(numbers.len() as u64 + lost, 1000, "{slow:?}");
        assert!(lost > 500 && numbers.is_sorted(), "{slow:?}: {lost}");
        assert_eq!(got(&mut world, member, plain), (vec![0], 0), "{slow:?}");
    }
}

#[test]
fn a_member_with_room_gets_what_a_full_one_would_lose() {
    let config = HubConfig { link_bulk_bytes_max: 4000, payload_bytes_max: 1000, ..HubConfig::default() };
    let mut world = World::with(3, config);
    let ids: Vec<u32> = (1..3).map(|who| share(&mut world, who, "jobs", "g")).collect();
    world.nodes[1].deaf = true;
    for number in 0..1000u32 {
        say(&mut world, 0, "jobs", &[&number.to_le_bytes()[..], &[0; 100]].concat());
        world.settle();
    }
    world.nodes[1].deaf = false;
    world.settle();
    let (one, two) = (got(&mut world, 1, ids[0]), got(&mut world, 2, ids[1]));
    assert_eq!(sorted(&[one.0, two.0]), (0..1000).collect::<Vec<_>>());
    assert_eq!(one.1 + two.1, 0, "nobody has lost any");
}

#[test]
fn a_member_that_comes_back_is_a_member_again() {
    let mut world = World::new(2);
    let id = share(&mut world, 1, "jobs", "g");
    world.cut(1);
    say_many(&mut world, 0, "jobs", 0..5);
    assert_eq!(got(&mut world, 1, id).0, (0..5).collect::<Vec<_>>());
    world.nodes[1].state.unsubscribe(id);
    world.settle();
    say_many(&mut world, 0, "jobs", 5..6);
    assert_eq!(world.hub.census().subscriptions, 0);
}

#[test]
fn a_silent_member_is_found_out_as_soon_as_a_provider_would_be() {
    let mut world = World::new(3);
    let ids: Vec<u32> = (1..3).map(|who| share(&mut world, who, "jobs", "g")).collect();
    world.nodes[1].deaf = true;
    say_many(&mut world, 0, "jobs", 0..2);
    assert!(got(&mut world, 2, ids[1]).0.len() < 2, "one waits for the silent one");
    // Six beats of a second.
    for _ in 0..70 {
        world.now = world.now + Duration::from_millis(100);
        world.hub.tick(world.now);
        for who in [0, 2] {
            world.nodes[who].state.tick(world.now);
        }
        world.settle();
    }
    let all = got(&mut world, 2, ids[1]).0;
    assert_eq!(all.len(), 1, "and then goes to the other: {all:?}");
}

#[test]
fn where_the_table_of_topics_is_full_members_get_names() {
    let mut world = World::new(2);
    let id = share(&mut world, 1, "jobs/#", "g");
    let mut all = Vec::new();
    // More topics than a link is told numbers of.
    for number in 0..65_700 {
        say(&mut world, 0, &format!("jobs/{number}"), &u32::to_le_bytes(number));
        if number % 1000 == 999 || number == 65_699 {
            world.settle();
            let (numbers, lost) = got(&mut world, 1, id);
            assert_eq!(lost, 0);
            all.extend(numbers);
        }
    }
    assert_eq!(all, (0..65_700).collect::<Vec<_>>());
}

#[test]
fn what_a_member_has_published_itself_goes_to_the_others_too() {
    let mut world = World::new(2);
    let ids: Vec<u32> = (0..2).map(|who| share(&mut world, who, "jobs", "g")).collect();
    world.nodes[0].deaf = true;
    world.nodes[1].deaf = true;
    say_many(&mut world, 0, "jobs", 0..20);
    world.nodes[0].state.unsubscribe(ids[0]);
    world.settle();
    world.nodes[0].deaf = false;
    world.nodes[1].deaf = false;
    world.settle();
    // It is still a publisher, and known as one.
    say_many(&mut world, 0, "jobs", 20..30);
    assert_eq!(sorted(&[got(&mut world, 1, ids[1]).0]), (0..30).collect::<Vec<_>>());
    assert_eq!(world.hub.census().links, 2, "both links go on");
}

#[test]
fn two_members_of_one_link_inherit_from_one_another() {
    let mut world = World::new(1);
    let ids: Vec<u32> = (0..2).map(|_| share(&mut world, 0, "jobs", "g")).collect();
    world.nodes[0].deaf = true;
    say_many(&mut world, 0, "jobs", 0..10);
    world.nodes[0].state.unsubscribe(ids[0]);
    world.settle();
    world.nodes[0].deaf = false;
    world.settle();
    say_many(&mut world, 0, "jobs", 10..20);
    assert_eq!(sorted(&[got(&mut world, 0, ids[1]).0]), (0..20).collect::<Vec<_>>());
    assert_eq!(world.hub.census().links, 1);
}

#[test]
fn what_waits_among_much_else_is_given_to_the_others_a_little_later() {
    let mut world = World::new(3);
    let ids: Vec<u32> = (1..3).map(|who| share(&mut world, who, "jobs", "g")).collect();
    world.nodes[1].state.subscribe(Pattern::parse("other").unwrap(), None).unwrap();
    let second = share(&mut world, 1, "jobs", "g");
    world.nodes[1].deaf = true;
    world.nodes[2].deaf = true;
    say_many(&mut world, 0, "jobs", 0..30);
    for _ in 0..200 {
        say(&mut world, 0, "other", &[0; 1000]);
    }
    world.settle();
    world.nodes[1].state.unsubscribe(ids[0]);
    world.settle();
    world.nodes[1].state.unsubscribe(second);
    world.settle();
    world.now = world.now + Duration::from_millis(200);
    assert!(world.hub.deadline().is_some_and(|due| due <= world.now), "the hub asks to be called for it");
    world.hub.tick(world.now);
    world.nodes[1].deaf = false;
    world.nodes[2].deaf = false;
    world.settle();
    assert_eq!(sorted(&[got(&mut world, 2, ids[1]).0]), (0..30).collect::<Vec<_>>());
}

#[test]
fn a_link_has_a_bounded_number_of_members_of_one_group() {
    let mut world = World::new(2);
    for _ in 0..GROUP_MEMBERS_PER_LINK_MAX {
        share(&mut world, 1, "jobs/#", "g");
    }
    let another = share(&mut world, 1, "jobs/a", "g");
    let refused = world.nodes[1].state.take(another);
    assert!(matches!(&refused, Some(Delivery::Ended(why)) if why.code == Code::Limit), "{refused:?}");
    let elsewhere = share(&mut world, 1, "jobs/a", "other");
    say_many(&mut world, 0, "jobs/a", 0..1);
    assert_eq!(got(&mut world, 1, elsewhere).0, [0]);
}

#[test]
fn many_members_of_a_full_link_do_not_hide_one_with_room() {
    let config = HubConfig { link_bulk_bytes_max: 4000, payload_bytes_max: 1000, ..HubConfig::default() };
    let mut world = World::with(3, config);
    let ones: Vec<u32> = (0..GROUP_MEMBERS_PER_LINK_MAX).map(|_| share(&mut world, 1, "jobs", "g")).collect();
    let two = share(&mut world, 2, "jobs", "g");
    world.nodes[1].deaf = true;
    for number in 0..1000u32 {
        say(&mut world, 0, "jobs", &[&number.to_le_bytes()[..], &[0; 100]].concat());
        world.settle();
    }
    world.nodes[1].deaf = false;
    world.settle();
    assert_eq!(ones.iter().map(|id| got(&mut world, 1, *id).1).sum::<u64>(), 0, "nothing is lost");
    assert!(got(&mut world, 2, two).0.len() > 900);
}

#[test]
fn all_have_their_turn_whatever_is_said_in_between() {
    let mut world = World::new(3);
    let ids: Vec<u32> = (1..3).map(|who| share(&mut world, who, "jobs/#", "workers")).collect();
    for number in 0..100 {
        say_many(&mut world, 0, &format!("jobs/{number}"), number..number + 1);
        say_many(&mut world, 0, &format!("done/{number}"), number..number + 1);
    }
    let lists: Vec<usize> = (1..3).map(|who| got(&mut world, who, ids[who - 1]).0.len()).collect();
    assert_eq!(lists.iter().sum::<usize>(), 100);
    // Drawn, with a fixed seed: four standard deviations.
    assert!(lists.iter().all(|count| (30..=70).contains(count)), "{lists:?}");
}
