//! Hubs that are linked by their configuration files, each a process of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use convoke::{Node, Subscription};
use rustix::process::Signal;

use crate::linked::all_linked;
use crate::story::{Running, Story};

const HUBS: [&str; 3] = ["a", "b", "c"];

/// Of each hub; together these are ten thousand.
const EACH: u32 = 3_334;

fn address(story: &Story, hub: &str) -> String {
    format!("unix://{}", story.path(&format!("{hub}.sock")).display())
}

/// Starts a hub with an uplink to another one.
fn start(story: &Story, hub: &str, to: &str, more: &str) -> Running {
    let (listen, there) = (address(story, hub), address(story, to));
    let configuration = format!(
        "[hub]\nlisten = ['{listen}']\ndata = '{hub}-data'\n{more}\n[[uplink]]\nname = 'to-{to}'\naddress = '{there}'\n\
         events = ['press/#']\njournals = ['todo']\n"
    );
    let configuration = story.file(&format!("{hub}.toml"), configuration.as_bytes());
    let hub = story.start(["hub", "--config", &configuration]);
    hub.prints("listening");
    hub
}

fn ring(story: &Story) -> BTreeMap<&'static str, Running> {
    HUBS.into_iter().enumerate().map(|(place, hub)| (hub, start(story, hub, HUBS[(place + 1) % 3], ""))).collect()
}

async fn join(story: &Story) -> Vec<Node> {
    let mut nodes = Vec::new();
    for hub in HUBS {
        nodes.push(Node::connect(address(story, hub), format!("node-{hub}")).await.unwrap());
    }
    nodes
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Takes what all three have published: each once, and in order.
async fn take_events(events: &mut Subscription) {
    let mut next = [0; 3];
    for _ in 0..EACH * 3 {
        let event = tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap().unwrap();
        let (hub, n): (usize, u32) = event.payload.decode().unwrap();
        assert_eq!(n, next[hub], "of hub {hub}");
        next[hub] += 1;
    }
}

/// What is in the journal of a hub, of all three: each once, and in order.
async fn check_journal(node: &Node) {
    let mut entries = node.entries("todo", 0).await.unwrap();
    let mut next = [0; 3];
    while next.iter().sum::<u32>() < EACH * 3 {
        let next_entry = tokio::time::timeout(Duration::from_secs(120), entries.next()).await;
        let (entry, command) = next_entry.unwrap_or_else(|_| panic!("{next:?}")).unwrap().unwrap();
        let (hub, n): (usize, u32) = command.unwrap().decode().unwrap();
        assert_eq!(n, next[hub], "of hub {hub}");
        assert_eq!(entry.author.as_str(), format!("node-{}", HUBS[hub]));
        next[hub] += 1;
    }
}

#[test]
fn three_hubs_in_a_ring_pass_ten_thousand_events_and_commands_once_each_also_when_they_are_killed() {
    let story = Story::without_hub();
    let mut hubs = ring(&story);
    let runtime = runtime();
    let nodes = runtime.block_on(join(&story));
    runtime.block_on(async {
        all_linked(&nodes, &[1; 3], "press/linked").await;
        let mut subscriptions = Vec::new();
        for node in &nodes {
            subscriptions.push(node.subscribe("press/1").await.unwrap());
        }
        for (node, hub) in nodes.iter().cloned().zip(0u32..) {
            tokio::spawn(async move {
                for n in 0..EACH {
                    node.publish("press/1", &(hub, n)).await.unwrap();
                }
            });
        }
        for subscription in &mut subscriptions {
            take_events(subscription).await;
        }
        all_linked(&nodes, &[1; 3], "press/linked").await;
        assert!(subscriptions.iter_mut().all(|subscription| subscription.try_next().is_none()));
    });
    let appending: Vec<_> = nodes
        .iter()
        .cloned()
        .zip(0u32..)
        .map(|(node, hub)| {
            runtime.spawn(async move {
                for n in 0..EACH {
                    node.append("todo", &(hub, n)).await.unwrap();
                }
            })
        })
        .collect();
    for (place, pause) in [(1, 200), (2, 400), (0, 300), (1, 100), (2, 100)] {
        std::thread::sleep(Duration::from_millis(pause));
        // As a power cut would.
        drop(hubs.remove(HUBS[place]));
        hubs.insert(HUBS[place], start(&story, HUBS[place], HUBS[(place + 1) % 3], ""));
    }
    runtime.block_on(async {
        for appending in appending {
            appending.await.unwrap();
        }
        for node in &nodes {
            check_journal(node).await;
        }
        // What might come twice would be there by the time that another has gone all round.
        nodes[0].append("todo", &(0, EACH)).await.unwrap();
        for node in &nodes {
            let mut last = 0;
            for _ in 0..1000 {
                let report: serde_json::Value = node.get("$hub/journals/todo/origins").await.unwrap().unwrap();
                last = report["last"].as_u64().unwrap();
                if last > u64::from(EACH) * 3 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(last, u64::from(EACH) * 3 + 1);
        }
    });
}

#[test]
fn uplinks_are_listed_with_what_they_have_passed_on() {
    let story = Story::without_hub();
    let far = start(&story, "b", "nowhere", "");
    let _near = start(&story, "a", "b", "");
    let at = |hub: &str| ["--address".to_owned(), address(&story, hub)];
    let (near, far_at) = (at("a"), at("b"));
    let list: Vec<&str> = ["list", "uplinks"].into_iter().chain(near.iter().map(String::as_str)).collect();
    story.until(list.clone(), |printed| printed.starts_with("to-b  unix://") && printed.contains(" joined "));
    story.until(["list", "uplinks"].into_iter().chain(far_at.iter().map(String::as_str)), |printed| {
        printed.contains("nowhere.sock") && printed.contains(" away ")
    });
    let append = ["journal", "append", "todo", "wash up"].into_iter().chain(near.iter().map(String::as_str));
    assert_eq!(story.run(append).code(), 0);
    let show: Vec<&str> = ["journal", "show", "todo"].into_iter().chain(far_at.iter().map(String::as_str)).collect();
    story.until(show, |printed| printed.ends_with("wash up\n"));
    let json: Vec<&str> = list.iter().copied().chain(["--json"]).collect();
    story.until(json, |printed| printed.contains(r#""out":{"wanted":true,"events":0,"lost":0,"entries":1,"#));
    let metrics = story.run(["metrics"].into_iter().chain(near.iter().map(String::as_str))).stdout();
    for line in [
        "convoke_uplink_joined{uplink=\"to-b\"} 1",
        "convoke_uplink_behind{uplink=\"to-b\",way=\"out\"} 0",
        "convoke_uplink_events_total{uplink=\"to-b\",way=\"in\"} 0",
        "convoke_uplink_events_lost_total{uplink=\"to-b\",way=\"out\"} 0",
        "convoke_uplink_entries_total{uplink=\"to-b\",way=\"out\"} 1",
        "convoke_uplink_entries_left_out_total{uplink=\"to-b\",way=\"in\"} 0",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line}: {metrics}");
    }
    drop(far);
    story.until(list, |printed| printed.contains(" away "));
}

#[test]
fn what_is_in_the_way_of_a_journal_is_logged_once_and_not_at_every_try() {
    let story = Story::without_hub();
    let far = start(&story, "b", "nowhere", "");
    let log = "[log]\nfile = 'near.log'\n";
    for (hub, strategy) in [("a", "refuse"), ("b", "compensate")] {
        let alone = (hub == "a").then(|| start(&story, "a", "nowhere", log));
        let (hub, strategy) = (address(&story, hub), ["--strategy", strategy]);
        let append = ["journal", "append", "todo", "wash up", "--address", &hub].into_iter().chain(strategy);
        assert_eq!(story.run(append).code(), 0);
        drop(alone);
    }
    let _near = start(&story, "a", "b", log);
    let logged = || {
        let text = std::fs::read_to_string(story.path("near.log")).unwrap();
        ["in", "out"].map(|way| text.matches(&format!("journal `todo` {way}: append to `todo`: it undoes by")).count())
    };
    for _ in 0..1500 {
        if logged().iter().all(|count| *count > 0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // It tries every other second.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(logged(), [1, 1]);
    drop(far);
}

#[test]
fn a_configuration_of_uplinks_that_is_wrong_starts_nothing() {
    let story = Story::without_hub();
    let right = "[[uplink]]\nname = 'plant'\naddress = '127.0.0.1:9'\nevents = ['press/#']\n";
    story.file("a.toml", format!("{right}journal = ['todo']\n").as_bytes());
    let ended = story.run(["hub", "--config", "a.toml", "--memory"]);
    assert_eq!(ended.code(), 78);
    let stderr = ended.stderr();
    assert!(stderr.contains("a.toml:5:1: there is no `journal` in `[[uplink]]`; did you mean `journals`?"), "{stderr}");
    story.file("a.toml", format!("{right}token-file = 'nobody.token'\n").as_bytes());
    let ended = story.run(["hub", "--config", "a.toml", "--memory"]);
    assert_eq!(ended.code(), 78);
    assert!(ended.stderr().contains("a.toml:1:1: uplink `plant`: "), "{}", ended.stderr());
    story.file("a.toml", right.as_bytes());
    story.run(["config", "check", "a.toml"]).is(0, "`a.toml` is right: settings: 1\n", "");
    let explained = story.run(["config", "explain", "--config", "a.toml"]).stdout();
    assert!(
        explained.contains("uplink plant") && explained.contains("127.0.0.1:9 (events press/#), both"),
        "{explained}"
    );
}

#[test]
fn uplinks_that_have_changed_take_a_start_of_the_hub() {
    let story = Story::without_hub();
    let hub = start(&story, "a", "b", "[log]\nlevel = 'info'\n");
    let configuration = std::fs::read_to_string(story.path("a.toml")).unwrap();
    story.file("a.toml", configuration.replace("press/#", "line/#").as_bytes());
    hub.signal(Signal::HUP);
    hub.says("the `[[uplink]]` tables are different, which takes a start of the hub; its links are as they were\n");
}
