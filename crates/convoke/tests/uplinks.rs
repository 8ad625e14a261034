//! Story: hubs that are linked to each other pass on what was chosen, each thing once, however they are linked.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use convoke::{
    AppendOptions, Deed, Direction, Entry, Hub, HubOptions, Missed, Node, Payload, Scope, State, Strategy,
    Subscription, UndoOptions, UplinkOptions,
};
use serde::{Deserialize, Serialize};
use support::linked::{all_linked, linked};
use support::*;

/// Events that each of three hubs passes on.
const EVENTS: u32 = 10_000;

/// Commands that all hubs pass on together.
const COMMANDS: u32 = 10_000;

/// Below this it is tried whether hubs are linked.
const LINKED: &str = "plant/linked";

/// A hub in a folder that all share, under a name.
fn hub(folder: &Path, name: &str) -> HubOptions {
    HubOptions { data: Some(folder.join(format!("{name}-data"))), ..HubOptions::listen([address(folder, name)]) }
}

fn address(folder: &Path, name: &str) -> String {
    format!("unix://{}", folder.join(format!("{name}.sock")).display())
}

fn uplink(folder: &Path, to: &str) -> UplinkOptions {
    UplinkOptions {
        name: format!("to-{to}"),
        address: address(folder, to),
        events: vec!["plant/#".into(), "plant/+/x".into()],
        journals: vec!["todo".into(), "room/+".into()],
        ..UplinkOptions::default()
    }
}

async fn start(folder: &Path, name: &str, uplinks: Vec<UplinkOptions>) -> Hub {
    Hub::start(HubOptions { uplinks, ..hub(folder, name) }).await.unwrap()
}

async fn node(folder: &Path, hub: &str, name: &str) -> Node {
    Node::connect(address(folder, hub), name).await.unwrap()
}

const HUBS: [&str; 3] = ["a", "b", "c"];

async fn start_in_the_ring(folder: &Path, name: &str) -> Hub {
    let place = HUBS.iter().position(|other| *other == name).unwrap();
    start(folder, name, vec![uplink(folder, HUBS[(place + 1) % 3])]).await
}

/// Three hubs in a ring, and a node at each.
async fn ring(folder: &Path) -> (BTreeMap<&'static str, Hub>, Vec<Node>) {
    let (mut hubs, mut nodes) = (BTreeMap::new(), Vec::new());
    for name in HUBS {
        hubs.insert(name, start_in_the_ring(folder, name).await);
        nodes.push(node(folder, name, &format!("node-{name}")).await);
    }
    (hubs, nodes)
}

/// Takes events until so many have come of each that publishes, which must be all of them and in order, then `end`.
async fn each_once(subscription: &mut Subscription, publishers: u32, each: u32) {
    let mut next: BTreeMap<u32, u32> = (0..publishers).map(|publisher| (publisher, 0)).collect();
    for _ in 0..publishers * each {
        let event = soon(subscription.next()).await.unwrap().unwrap();
        let (publisher, n): (u32, u32) = event.payload.decode().unwrap();
        assert_eq!(next.insert(publisher, n + 1), Some(n), "of publisher {publisher}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hubs_in_a_ring_pass_each_event_once_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (hubs, nodes) = ring(folder).await;
    all_linked(&nodes, &[1, 1, 1], LINKED).await;
    let mut subscriptions = Vec::new();
    for node in &nodes {
        subscriptions.push(node.subscribe("plant/press/#").await.unwrap());
    }
    let publishing = nodes.iter().zip(0..).map(|(node, publisher)| {
        let node = node.clone();
        tokio::spawn(async move {
            for n in 0..EVENTS {
                node.publish(format!("plant/press/{}", n % 5), &(publisher, n)).await.unwrap();
                if n % 500 == 0 {
                    node.confirm().await.unwrap();
                }
            }
            node.publish("elsewhere", &n_of(publisher)).await.unwrap();
        })
    });
    let publishing: Vec<_> = publishing.collect();
    for subscription in &mut subscriptions {
        each_once(subscription, 3, EVENTS).await;
    }
    for task in publishing {
        task.await.unwrap();
    }
    // Whatever may still be on a longer way comes before this.
    all_linked(&nodes, &[1, 1, 1], LINKED).await;
    for subscription in &mut subscriptions {
        assert!(subscription.try_next().is_none(), "none comes twice");
    }
    for hub in hubs.into_values() {
        hub.stop().await;
    }
}

fn n_of(publisher: u32) -> (u32, u32) {
    (publisher, u32::MAX)
}

/// Appends so many commands, in order.
async fn append(node: &Node, journal: &str, hub: u32, numbers: std::ops::Range<u32>) {
    let numbers: Vec<u32> = numbers.collect();
    for some in numbers.chunks(500) {
        let all: Vec<(u32, u32)> = some.iter().map(|n| (hub, *n)).collect();
        let appended = all.iter().map(|command| node.append(journal, command));
        for answer in futures_util::future::join_all(appended).await {
            answer.unwrap();
        }
    }
}

/// The commands of a journal as far as there are so many, each with its author.
async fn commands(node: &Node, journal: &str, count: usize) -> Vec<((u32, u32), String)> {
    let mut entries = node.entries(journal, 0).await.unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let (entry, command) = soon(entries.next()).await.unwrap().unwrap();
        if let Some(command) = command {
            found.push((command.decode().unwrap(), entry.author.to_string()));
        }
    }
    found
}

/// Each of these once, and those of each hub in its order.
fn check_commands(found: &[((u32, u32), String)], hubs: u32, each: u32) {
    let mut next: BTreeMap<u32, u32> = (0..hubs).map(|hub| (hub, 0)).collect();
    for ((hub, n), author) in found {
        assert_eq!(next.insert(*hub, n + 1), Some(*n), "of hub {hub}");
        assert_eq!(author, &format!("node-{}", HUBS[*hub as usize]));
    }
    assert!(next.values().all(|next| *next == each), "{next:?}");
}

/// Waits until nothing is behind any more at any of these hubs.
async fn nothing_more(nodes: &[Node], journal: &str, last: u64) {
    for node in nodes {
        let name = format!("$hub/journals/{journal}/origins");
        let report: serde_json::Value = node.get(&name).await.unwrap().unwrap();
        assert_eq!(report["last"], last, "none is there twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hubs_in_a_ring_have_each_command_once_in_the_order_of_its_hub() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (hubs, nodes) = ring(folder).await;
    let each = COMMANDS / 3;
    let appending = nodes.iter().zip(0..).map(|(node, hub)| {
        let node = node.clone();
        tokio::spawn(async move { append(&node, "todo", hub, 0..each).await })
    });
    for appending in appending.collect::<Vec<_>>() {
        appending.await.unwrap();
    }
    for node in &nodes {
        let found = commands(node, "todo", each as usize * 3).await;
        check_commands(&found, 3, each);
    }
    // Another one in a journal that is found by its pattern, undone at another hub than that where it was said, and done again
    // at the third.
    nodes[0].append("room/lobby", &(0, 0)).await.unwrap();
    let seqs = async |count: usize| {
        let mut all = Vec::new();
        for node in &nodes {
            let mut entries = node.entries("room/lobby", 0).await.unwrap();
            let mut deeds = Vec::new();
            while deeds.len() < count {
                let (entry, _) = soon(entries.next()).await.unwrap().unwrap();
                deeds.push((entry.deed, entry.author.to_string()));
            }
            all.push(deeds);
        }
        all
    };
    seqs(1).await;
    let everyone = UndoOptions { scope: Scope::Everyone, ..UndoOptions::default() };
    nodes[1].undo("room/lobby", everyone).await.unwrap();
    seqs(2).await;
    nodes[2].redo("room/lobby", everyone).await.unwrap();
    let author = |name: &str| format!("node-{name}");
    let expected =
        vec![(Deed::Do { first: 1 }, author("a")), (Deed::Undo(1), author("b")), (Deed::Redo(1), author("c"))];
    assert_eq!(seqs(3).await, vec![expected; 3]);
    // Whatever may come twice would have come before this.
    nodes[0].append("todo", &(0, each)).await.unwrap();
    for node in &nodes {
        commands(node, "todo", each as usize * 3 + 1).await;
    }
    nothing_more(&nodes, "todo", u64::from(each) * 3 + 1).await;
    nothing_more(&nodes, "room/lobby", 3).await;
    for hub in hubs.into_values() {
        hub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_uplinks_between_the_same_hubs_and_one_that_leads_back_pass_each_event_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let here = start(folder, "a", Vec::new()).await;
    let mut twice = vec![uplink(folder, "a"), uplink(folder, "b")];
    twice.push(UplinkOptions { name: "again".into(), ..uplink(folder, "a") });
    let there = start(folder, "b", twice).await;
    let nodes = [node(folder, "a", "node-a").await, node(folder, "b", "node-b").await];
    all_linked(&nodes, &[0, 3], LINKED).await;
    let mut comes = Vec::new();
    for node in &nodes {
        comes.push(node.subscribe("plant/press").await.unwrap());
    }
    for (node, publisher) in nodes.iter().zip(0u32..) {
        for n in 0..500u32 {
            node.publish("plant/press", &(publisher, n)).await.unwrap();
        }
    }
    for subscription in &mut comes {
        each_once(subscription, 2, 500).await;
    }
    all_linked(&nodes, &[0, 3], LINKED).await;
    assert!(comes.iter_mut().all(|subscription| subscription.try_next().is_none()));
    for (node, hub) in nodes.iter().zip(0..) {
        append(node, "todo", hub, 0..300).await;
    }
    for node in &nodes {
        check_commands(&commands(node, "todo", 600).await, 2, 300);
    }
    nodes[0].append("todo", &(0, 300)).await.unwrap();
    commands(&nodes[1], "todo", 601).await;
    nothing_more(&nodes, "todo", 601).await;
    let report = soon(async {
        loop {
            let report = nodes[1].get::<serde_json::Value>("$hub/uplinks/to-b").await.unwrap();
            if let Some(report) = report.filter(|report| report["trouble"] != "") {
                break report;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(report["trouble"], "it leads to this hub itself, so nothing is passed on");
    there.stop().await;
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uplink_passes_on_only_what_was_chosen_and_only_that_way() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let far = start(folder, "far", Vec::new()).await;
    let out = UplinkOptions { direction: Direction::Out, ..uplink(folder, "far") };
    let into = UplinkOptions { direction: Direction::In, events: vec!["news".into()], ..uplink(folder, "far") };
    let near = start(folder, "near", vec![out, UplinkOptions { name: "news".into(), ..into }]).await;
    let (here, there) = (node(folder, "near", "here").await, node(folder, "far", "there").await);
    linked(&here, &there, LINKED).await;
    let master: serde_json::Value = here.get("$hub/master").await.unwrap().unwrap();
    assert_eq!(master["node"], "here", "an uplink is never master, although it was there first");
    let (mut at_near, mut at_far) = (here.subscribe("#").await.unwrap(), there.subscribe("#").await.unwrap());
    soon(async {
        while at_near.try_next().is_none() {
            there.publish("news", &1).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    there.publish("plant/far", &1).await.unwrap();
    here.publish("private", &1).await.unwrap();
    here.publish("news", &2).await.unwrap();
    here.publish("plant/near", &2).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "plant/near") {
        seen.push(event(&mut at_far).await.topic().to_string());
    }
    seen.retain(|topic| topic != "news");
    assert_eq!(seen, ["plant/far", "plant/near"]);
    while let Some(next) = at_near.try_next() {
        let event = next.unwrap();
        assert!(event.publisher().as_str() == "here" || event.topic().as_str() == "news", "{event:?}");
    }
    near.stop().await;
    far.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uplink_comes_back_when_the_other_hub_does_and_says_what_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let far = start(folder, "far", Vec::new()).await;
    let near = start(folder, "near", vec![uplink(folder, "far")]).await;
    let here = node(folder, "near", "here").await;
    let there = node(folder, "far", "there").await;
    linked(&here, &there, LINKED).await;
    linked(&there, &here, LINKED).await;
    far.stop().await;
    let mut down = here.watch("$hub/uplinks/to-far").await.unwrap();
    let mut report = async |joined: bool, lost: u64| {
        soon(async {
            loop {
                let next = down.next().await.unwrap();
                let change = match next {
                    Ok(change) => change,
                    Err(Missed::Gap(_)) => continue,
                    Err(other) => panic!("{other}"),
                };
                let Some(payload) = change.payload else { continue };
                let report: serde_json::Value = payload.decode().unwrap();
                if report["joined"] == joined && report["out"]["lost"].as_u64() >= Some(lost) {
                    break;
                }
            }
        })
        .await;
    };
    report(false, 0).await;
    for n in 0..10 {
        here.publish("plant/lost", &n).await.unwrap();
    }
    report(false, 10).await;
    let far = start(folder, "far", Vec::new()).await;
    linked(&here, &there, LINKED).await;
    linked(&there, &here, LINKED).await;
    near.stop().await;
    far.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_that_are_started_again_in_the_middle_miss_no_command_and_have_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut hubs, nodes) = ring(folder).await;
    let each = 1500;
    let appending = nodes.iter().zip(0..).map(|(node, hub)| {
        let node = node.clone();
        tokio::spawn(async move {
            for n in 0..each {
                node.append("todo", &(hub, n)).await.unwrap();
            }
        })
    });
    let appending: Vec<_> = appending.collect();
    for name in ["b", "c", "a", "b"] {
        tokio::time::sleep(Duration::from_millis(100)).await;
        hubs.remove(name).unwrap().stop().await;
        hubs.insert(name, start_in_the_ring(folder, name).await);
    }
    for appending in appending {
        appending.await.unwrap();
    }
    for node in &nodes {
        check_commands(&commands(node, "todo", each as usize * 3).await, 3, each);
    }
    nothing_more(&nodes, "todo", u64::from(each) * 3).await;
    for hub in hubs.into_values() {
        hub.stop().await;
    }
}

/// Waits until an uplink says this of what is in its way.
async fn says(node: &Node, uplink: &str, part: &str) {
    until(node, uplink, |report| report["trouble"].as_str().is_some_and(|trouble| trouble.contains(part))).await;
}

/// Waits until an uplink is like this.
async fn until(node: &Node, uplink: &str, is: impl Fn(&serde_json::Value) -> bool) {
    soon(async {
        while !is(&report(node, uplink).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn report(node: &Node, uplink: &str) -> serde_json::Value {
    node.get(format!("$hub/uplinks/{uplink}")).await.unwrap().unwrap_or_default()
}

async fn trouble(node: &Node, uplink: &str) -> String {
    report(node, uplink).await["trouble"].as_str().unwrap_or_default().to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_was_restored_from_a_backup_is_told_apart_and_nothing_more_comes_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let far = start(folder, "far", Vec::new()).await;
    let near = start(folder, "near", vec![uplink(folder, "far")]).await;
    let (here, there) = (node(folder, "near", "here").await, node(folder, "far", "there").await);
    there.append("todo", &(1, 0)).await.unwrap();
    here.append("todo", &(0, 0)).await.unwrap();
    for node in [&here, &there] {
        commands(node, "todo", 2).await;
    }
    far.stop().await;
    copy(&folder.join("far-data"), &folder.join("backup"));
    let far = start(folder, "far", Vec::new()).await;
    there.append("todo", &(1, 1)).await.unwrap();
    commands(&here, "todo", 3).await;
    far.stop().await;
    std::fs::remove_dir_all(folder.join("far-data")).unwrap();
    copy(&folder.join("backup"), &folder.join("far-data"));
    let far = start(folder, "far", Vec::new()).await;
    // Both ways: what comes has another history, and what goes has what the other hub does not know to be its own.
    says(&here, "to-far", "journal `todo` in: follow `todo`: the follower has entry 3 of another history").await;
    here.append("todo", &(0, 1)).await.unwrap();
    says(&here, "to-far", "journal `todo` out: ").await;
    let there = node(folder, "far", "there-again").await;
    let report: serde_json::Value = there.get("$hub/journals/todo/origins").await.unwrap().unwrap();
    assert_eq!(report["last"], 2);
    near.stop().await;
    far.stop().await;
}

/// What was said, of which only the count is known.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Said(u64);

impl State for Said {
    type Command = (u32, u32);
    type Output = ();
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, _: &(u32, u32), _: &Entry) {
        self.0 += 1;
    }

    fn inverse(&self, _: &(u32, u32), _: &Entry) -> Option<(u32, u32)> {
        None
    }
}

/// Appends the first command of a journal whose snapshots lie at its end.
async fn begin(node: &Node, journal: &str, command: (u32, u32)) {
    let options = AppendOptions { strategy: Some(Said::STRATEGY), ..AppendOptions::default() };
    node.append_with(journal, &[Payload::encode(&command).unwrap()], &options).await.unwrap();
}

/// Makes a snapshot of a journal, and lets go what it stands for.
async fn let_go(node: &Node, journal: &str) {
    let said = soon(node.follow::<Said>(journal)).await.unwrap();
    soon(said.snapshot()).await.unwrap();
    assert!(soon(node.compact(journal, 0)).await.unwrap().gone > 0);
}

/// Waits until a hub knows that all of another one's journal has come, up to this place.
async fn come_from(node: &Node, there: &Node, journal: &str, place: u64) {
    let id = there.get::<serde_json::Value>("$hub/status").await.unwrap().unwrap()["hub"].as_str().unwrap().to_owned();
    soon(async {
        loop {
            let report: serde_json::Value =
                node.get(format!("$hub/journals/{journal}/origins")).await.unwrap().unwrap();
            if report["hubs"][&id]["carried"] == place {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hub_has_given_to_another_may_be_let_go_there() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let far = start(folder, "far", Vec::new()).await;
    let near = start(folder, "near", vec![uplink(folder, "far")]).await;
    let (here, there) = (node(folder, "near", "node-a").await, node(folder, "far", "node-b").await);
    begin(&here, "todo", (0, 0)).await;
    append(&here, "todo", 0, 1..300).await;
    commands(&there, "todo", 300).await;
    // They are its own, so there was nothing to hand over, and yet it has got them all.
    come_from(&here, &there, "todo", 300).await;
    near.stop().await;
    let_go(&there, "todo").await;
    let near = start(folder, "near", vec![uplink(folder, "far")]).await;
    append(&there, "todo", 1, 0..1).await;
    check_last(&commands(&here, "todo", 301).await, (1, 0));
    near.stop().await;
    far.stop().await;
}

fn check_last(found: &[((u32, u32), String)], last: (u32, u32)) {
    assert_eq!(found.last().unwrap().0, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_has_got_what_is_gone_on_another_way_goes_on_on_this() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (a, b) = (start(folder, "a", Vec::new()).await, start(folder, "b", vec![uplink(folder, "a")]).await);
    let (at_a, at_b) = (node(folder, "a", "node-a").await, node(folder, "b", "node-b").await);
    begin(&at_b, "todo", (1, 0)).await;
    append(&at_b, "todo", 1, 1..10).await;
    commands(&at_a, "todo", 10).await;
    append(&at_a, "todo", 0, 0..10).await;
    commands(&at_b, "todo", 20).await;
    let_go(&at_a, "todo").await;
    // Whoever has nothing cannot have it from there, and is told.
    let c = start(folder, "c", vec![uplink(folder, "a"), uplink(folder, "b")]).await;
    let at_c = node(folder, "c", "node-c").await;
    check_commands(&commands(&at_c, "todo", 20).await, 2, 10);
    b.stop().await;
    append(&at_a, "todo", 0, 10..11).await;
    check_last(&commands(&at_c, "todo", 21).await, (0, 10));
    append(&at_c, "todo", 2, 0..1).await;
    let mut after = at_a.entries("todo", 21).await.unwrap();
    let (_, command) = soon(after.next()).await.unwrap().unwrap();
    assert_eq!(command.unwrap().decode::<(u32, u32)>().unwrap(), (2, 0));
    c.stop().await;
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uplink_has_the_rights_of_its_token_at_the_other_hub() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let far =
        Hub::start(HubOptions { listen: vec!["127.0.0.1:0".into(), address(folder, "far")], ..hub(folder, "far") });
    let far = far.await.unwrap();
    let there = node(folder, "far", "there").await;
    let tcp = far.addresses()[0].to_string();
    let token = |name: &'static str, rules: &'static [&'static str]| {
        let there = there.clone();
        async move {
            there.create_token(name, &rules.iter().map(|rule| rule.parse().unwrap()).collect::<Vec<_>>()).await.unwrap()
        }
    };
    let linked_by = |name: &str, token: convoke::Token| UplinkOptions {
        name: name.into(),
        address: tcp.clone(),
        token: Some(token),
        ..uplink(folder, "far")
    };
    let stranger = token("stranger", &["join hub/#", "all plant/#"]).await;
    let some = [
        "join,uplink hub/#",
        "publish,subscribe plant/#",
        "follow,execute,author #",
        "status $hub/#",
        "deny author mallory",
    ];
    let some_again = some.map(|rule| rule.replace("deny author mallory", "author mallory"));
    let some_again = some_again.each_ref().map(String::as_str);
    let some: &'static [&'static str] = Box::leak(Box::new(some));
    let some = token("some", some).await;
    let near = start(folder, "near", vec![linked_by("stranger", stranger), linked_by("some", some)]).await;
    let here = node(folder, "near", "here").await;
    says(&here, "stranger", "may not join as a link of another hub").await;
    linked(&here, &there, LINKED).await;
    here.append("todo", &(0, 0)).await.unwrap();
    commands(&there, "todo", 1).await;
    let options = convoke::NodeOptions { author: Some("mallory".into()), ..convoke::NodeOptions::new("m") };
    let mallory = Node::connect_with(address(folder, "near"), options).await.unwrap();
    mallory.append("todo", &(0, 1)).await.unwrap();
    says(&here, "some", "do not allow `author mallory`").await;
    // Nothing goes past it, and it is not hidden.
    here.append("todo", &(0, 2)).await.unwrap();
    until(&here, "some", |report| report["out"]["behind"] == 2).await;
    // A right for events is told of like one for journals, and until it is given.
    let rules = |rules: &[&str]| rules.iter().map(|rule| rule.parse().unwrap()).collect::<Vec<_>>();
    there.set_token_rules("some", &rules(&["join,uplink hub/#", "subscribe plant/#", "all room/#"])).await.unwrap();
    soon(async {
        while !trouble(&here, "some").await.contains("do not allow `publish plant/1`") {
            here.publish("plant/1", &0).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    there.set_token_rules("some", &rules(&some_again)).await.unwrap();
    until(&here, "some", |report| report["trouble"] == "" && report["out"]["behind"] == 0).await;
    near.stop().await;
    far.stop().await;
}
