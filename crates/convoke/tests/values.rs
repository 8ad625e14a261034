//! Story: programs keep values by name, and see them change.

mod support;

use std::collections::BTreeMap;
use std::task::Poll;
use std::time::Duration;

use convoke::{
    Change, Code, Error, Expect, Hub, HubOptions, Missed, Node, Outcome, Payload, Rev, SetOptions, Watch, WatchOptions,
};
use serde_json::json;
use support::proxy::Proxy;
use support::*;

/// The next change, which nothing is missing before.
async fn change(watch: &mut Watch) -> Change {
    soon(watch.next()).await.expect("the watch lives").expect("nothing is missing")
}

/// A change in a few words.
fn shown(change: &Change) -> String {
    let payload = change.payload.as_ref().map(|payload| payload.decode::<i64>().expect("a number").to_string());
    format!("{}={}", change.name, payload.as_deref().unwrap_or("-"))
}

async fn changes<const N: usize>(watch: &mut Watch) -> [String; N] {
    let mut all = [const { String::new() }; N];
    for one in &mut all {
        *one = shown(&change(watch).await);
    }
    all
}

async fn names(node: &Node, pattern: &str) -> Vec<String> {
    node.values(pattern).await.expect("they are told").iter().map(|value| value.name.to_string()).collect()
}

fn expecting(expect: Expect) -> SetOptions {
    SetOptions { expect, ..SetOptions::default() }
}

on_every_transport! {
    async fn what_one_sets_another_gets(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        assert_eq!(panel.get::<f64>("press/1/force").await.unwrap(), None);
        let rev = soon(press.set("press/1/force", &12.5)).await.unwrap();
        assert_eq!(panel.get::<f64>("convoke:press/1/force").await.unwrap(), Some(12.5));
        let value = panel.get_value("press/1/force").await.unwrap().unwrap();
        assert_eq!((value.name.as_str(), value.author.as_str(), value.rev), ("press/1/force", "press", rev));
        let later = press.set("press/1/force", &13).await.unwrap();
        assert!(later > rev);
        assert!(matches!(panel.get::<String>("press/1/force").await, Err(Error::BadPayload(_))));
    }

    async fn payloads_of_every_encoding_and_length_are_kept(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut watch = panel.watch("#").await.unwrap();
        for len in [0, 1, 65_000, 65_536, 100_000, 256 << 10] {
            for payload in [Payload::raw(vec![7; len]), Payload::text("x".repeat(len))] {
                press.set_payload("a", payload.clone(), SetOptions::default()).await.unwrap();
                assert!(panel.get_value("a").await.unwrap().unwrap().payload == payload, "{len}");
                assert!(change(&mut watch).await.payload.unwrap() == payload, "{len}");
            }
        }
        let long = Payload::raw(vec![7; (256 << 10) + 1]);
        let error = press.set_payload("a", long, SetOptions::default()).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::TooLarge, Outcome::NotDone));
    }

    async fn a_pattern_gets_what_matches_by_name(stage: Stage) {
        let press = stage.node("press").await;
        for name in ["press/2/force", "press/1", "hall", "press/1/force", "press"] {
            press.set(name, &1).await.unwrap();
        }
        assert_eq!(names(&press, "press/#").await, ["press", "press/1", "press/1/force", "press/2/force"]);
        assert_eq!(names(&press, "press/+").await, ["press/1"]);
        assert_eq!(names(&press, "+/+/force").await, ["press/1/force", "press/2/force"]);
        assert_eq!(names(&press, "nothing/#").await, [""; 0]);
    }

    async fn flat_keys_are_shown_as_a_tree(stage: Stage) {
        let press = stage.node("press").await;
        press.set("recipe", &"pizza").await.unwrap();
        press.set("recipe/steps/1", &"heat").await.unwrap();
        press.set_payload("recipe/steps/2", Payload::text("press"), SetOptions::default()).await.unwrap();
        press.set_payload("recipe/image", Payload::raw(vec![0, 255]), SetOptions::default()).await.unwrap();
        press.set_payload("recipe/size", Payload::encode_json(&json!({"cm": 30})).unwrap(), SetOptions::default())
            .await
            .unwrap();
        press.set("recipes", &0).await.unwrap();
        let tree = json!({
            "": "pizza",
            "image": {"base64": "AP8="},
            "size": {"cm": 30},
            "steps": {"1": "heat", "2": "press"},
        });
        assert_eq!(press.tree("recipe").await.unwrap(), tree);
        assert_eq!(press.tree("recipe/steps/1").await.unwrap(), json!("heat"));
        assert_eq!(press.tree("nothing").await.unwrap(), json!(null));
        // The longest names have nothing below them.
        let long = ["a"; 32].join("/");
        press.set(&long, &1).await.unwrap();
        assert_eq!(press.tree(&long).await.unwrap(), json!(1));
    }

    async fn a_late_watcher_gets_what_is_there_and_then_what_changes(stage: Stage) {
        let press = stage.node("press").await;
        for (name, value) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            press.set(name, &value).await.unwrap();
        }
        assert!(press.delete("c").await.unwrap());
        let panel = stage.node("panel").await;
        let mut watch = panel.watch("#").await.unwrap();
        let snapshot = soon(watch.snapshot()).await.unwrap();
        assert_eq!(snapshot.iter().map(shown).collect::<Vec<_>>(), ["b=2", "a=3"]);
        assert!(watch.is_synced());
        press.set("d", &5).await.unwrap();
        press.delete("a").await.unwrap();
        assert_eq!(changes(&mut watch).await, ["d=5", "a=-"]);
        assert!(watch.try_next().is_none());
    }

    async fn an_empty_watch_is_synced_at_once(stage: Stage) {
        let panel = stage.node("panel").await;
        let mut watch = panel.watch("nothing/#").await.unwrap();
        assert_eq!(soon(watch.snapshot()).await, Ok(vec![]));
    }

    async fn a_watch_is_a_stream(stage: Stage) {
        let press = stage.node("press").await;
        let mut watch = std::pin::pin!(press.watch("a").await.unwrap());
        for n in 0..20 {
            press.set("a", &n).await.unwrap();
            let next = std::future::poll_fn(|context| futures_core::Stream::poll_next(watch.as_mut(), context));
            assert_eq!(shown(&soon(next).await.unwrap().unwrap()), format!("a={n}"));
        }
    }

    async fn who_wants_every_change_gets_every_change(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let options = WatchOptions { all: true, ..WatchOptions::default() };
        let mut watch = panel.watch_with("#", options).await.unwrap();
        soon(watch.snapshot()).await.unwrap();
        let mut last = Rev::default();
        for n in 0..500 {
            last = press.set(format!("a/{}", n % 3), &n).await.unwrap();
        }
        let mut before = Rev::default();
        for n in 0..500 {
            let change = change(&mut watch).await;
            assert_eq!(shown(&change), format!("a/{}={n}", n % 3));
            assert!(change.rev > before);
            before = change.rev;
        }
        assert_eq!(before, last);
    }

    async fn a_watch_can_begin_behind_a_revision(stage: Stage) {
        let press = stage.node("press").await;
        press.set("a", &1).await.unwrap();
        press.set("b", &1).await.unwrap();
        let after = press.set("a", &2).await.unwrap();
        press.set("a", &3).await.unwrap();
        press.delete("b").await.unwrap();
        press.set("a", &4).await.unwrap();
        let mut all = press.watch_with("#", WatchOptions { all: true, after: Some(after) }).await.unwrap();
        assert_eq!(changes(&mut all).await, ["a=3", "b=-", "a=4"]);
        let mut latest = press.watch_with("#", WatchOptions { all: false, after: Some(after) }).await.unwrap();
        assert_eq!(changes(&mut latest).await, ["b=-", "a=4"]);
    }

    async fn a_slow_watcher_gets_the_last_of_each_key(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut watch = panel.watch("#").await.unwrap();
        // More than may wait on the way, so that the hub must hold it back.
        let long = "x".repeat(100_000);
        for n in 0..60 {
            press.set(format!("a/{}", n % 4), &(n, &long)).await.unwrap();
        }
        let mut last = [0; 4];
        while last != [56, 57, 58, 59] {
            let change = change(&mut watch).await;
            let (n, _) = change.payload.unwrap().decode::<(usize, String)>().unwrap();
            assert!(n >= last[n % 4], "in order");
            last[n % 4] = n;
        }
    }

    async fn many_values_reach_a_late_watcher(stage: Stage) {
        let press = stage.node("press").await;
        let mut batches = Vec::new();
        for n in 0..20 {
            let mut batch = press.batch();
            for m in 0..200 {
                batch = batch.set(format!("k/{n}/{m}"), &(n * 200 + m)).unwrap();
            }
            batches.push(batch.commit().await.unwrap());
        }
        let panel = stage.node("panel").await;
        let mut watch = panel.watch("k/#").await.unwrap();
        let snapshot = soon(watch.snapshot()).await.unwrap();
        assert_eq!(snapshot.len(), 4000);
        let revs: std::collections::BTreeSet<Rev> = snapshot.iter().map(|change| change.rev).collect();
        assert_eq!(revs.into_iter().collect::<Vec<_>>(), batches);
        assert_eq!(panel.values("k/#").await.unwrap().len(), 4000);
    }

    async fn who_waits_is_woken_when_it_is_so(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let wait = panel.wait("line/state", |state: &String| state == "ready", PATIENCE);
        let set = async {
            for state in ["idle", "busy", "ready"] {
                press.set("line/state", &state).await.unwrap();
            }
        };
        let (state, ()) = tokio::join!(wait, set);
        assert_eq!(state.unwrap(), "ready");
        // It is so already.
        assert_eq!(soon(panel.wait("line/state", |_: &String| true, PATIENCE)).await.unwrap(), "ready");
        let short = Duration::from_millis(20);
        let error = panel.wait("line/state", |state: &String| state == "idle", short).await.unwrap_err();
        assert_eq!(error.to_string(), "wait for `line/state`: it has not become so within 20ms");
        assert_eq!(error.code(), Code::TimedOut);
        assert!(matches!(soon(panel.wait("line/state", |_: &i64| true, PATIENCE)).await, Err(Error::BadPayload(_))));
    }

    async fn only_one_of_two_creates(stage: Stage) {
        let one = stage.node("one").await;
        let two = stage.node("two").await;
        let options = expecting(Expect::Absent);
        let (first, second) =
            tokio::join!(one.set_with("lock", &1, options), two.set_with("lock", &2, options));
        let (won, lost) = if first.is_ok() { (1, second) } else { (2, first) };
        let error = lost.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotDone);
        assert_eq!(one.get::<i64>("lock").await.unwrap(), Some(won));
        one.delete("lock").await.unwrap();
        two.set_with("lock", &3, options).await.unwrap();
    }

    async fn a_value_is_changed_only_if_it_is_still_what_was_read(stage: Stage) {
        let nodes = [stage.node("one").await, stage.node("two").await, stage.node("three").await];
        nodes[0].set("count", &0).await.unwrap();
        let add = |node: Node| async move {
            let mut added = 0;
            while added < 20 {
                let value = node.get_value("count").await.unwrap().unwrap();
                let next = value.payload.decode::<i64>().unwrap() + 1;
                match node.set_with("count", &next, expecting(Expect::Rev(value.rev))).await {
                    Ok(_) => added += 1,
                    Err(Error::Conflict(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let tasks = nodes.clone().map(|node| tokio::spawn(add(node)));
        for task in tasks {
            soon(task).await.unwrap();
        }
        assert_eq!(nodes[0].get::<i64>("count").await.unwrap(), Some(60));
    }

    async fn expectations_hold_for_deletes_too(stage: Stage) {
        let press = stage.node("press").await;
        let old = press.set("a", &1).await.unwrap();
        let new = press.set("a", &2).await.unwrap();
        assert!(matches!(press.delete_with("a", Expect::Rev(old)).await, Err(Error::Conflict(_))));
        assert!(press.delete_with("a", Expect::Rev(new)).await.unwrap());
        assert!(!press.delete("a").await.unwrap(), "there is none any more");
        assert!(matches!(press.delete_with("a", Expect::Present).await, Err(Error::Conflict(_))));
        assert!(matches!(press.set_with("a", &1, expecting(Expect::Present)).await, Err(Error::Conflict(_))));
    }

    async fn a_batch_happens_whole_or_not_at_all(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        press.set("old", &0).await.unwrap();
        let mut watch = panel.watch("#").await.unwrap();
        assert_eq!(changes(&mut watch).await, ["old=0"]);
        let batch = press.batch().set("a", &1).unwrap().set("b", &2).unwrap().delete("old").unwrap();
        let rev = batch.commit().await.unwrap();
        let first = change(&mut watch).await;
        // When the first is there, the others are.
        let mut all = vec![first];
        while let Some(next) = watch.try_next() {
            all.push(next.unwrap());
        }
        assert!(all.iter().all(|change| change.rev == rev));
        let mut all: Vec<String> = all.iter().map(shown).collect();
        all.sort();
        assert_eq!(all, ["a=1", "b=2", "old=-"]);
        let bad = press.batch().set("c", &3).unwrap().set_with("a", &9, expecting(Expect::Absent)).unwrap();
        assert!(matches!(bad.commit().await, Err(Error::Conflict(_))));
        assert_eq!(names(&press, "#").await, ["a", "b"]);
        assert_eq!(press.batch().commit().await.unwrap_err().code(), Code::BadRequest);
        let twice = press.batch().set("a", &1).unwrap().delete("a").unwrap();
        assert_eq!(twice.commit().await.unwrap_err().code(), Code::BadRequest);
    }

    async fn every_key_that_exists_is_changed(stage: Stage) {
        let press = stage.node("press").await;
        for n in 0..5 {
            press.set(format!("press/{n}/force"), &n).await.unwrap();
        }
        press.set("press/1/state", &1).await.unwrap();
        let mut watch = press.watch("press/#").await.unwrap();
        soon(watch.snapshot()).await.unwrap();
        assert_eq!(press.set_every("press/+/force", &7).await.unwrap(), 5);
        let mut told = changes::<5>(&mut watch).await;
        told.sort();
        assert_eq!(told, [0, 1, 2, 3, 4].map(|n| format!("press/{n}/force=7")));
        assert_eq!(press.set_every("nothing/#", &7).await.unwrap(), 0);
        assert_eq!(press.delete_every("press/+/force").await.unwrap(), 5);
        assert_eq!(names(&press, "#").await, ["press/1/state"]);
    }

    async fn a_value_goes_when_its_time_is_over(stage: Stage) {
        let press = stage.node("press").await;
        let mut watch = press.watch("a").await.unwrap();
        let options = SetOptions { ttl: Some(Duration::from_millis(50)), ..SetOptions::default() };
        press.set_with("a", &1, options).await.unwrap();
        assert_eq!(changes(&mut watch).await, ["a=1", "a=-"]);
        assert_eq!(press.get::<i64>("a").await.unwrap(), None);
        // Who sets it again without a time keeps it.
        press.set_with("a", &2, SetOptions { ttl: Some(PATIENCE), ..SetOptions::default() }).await.unwrap();
        press.set("a", &3).await.unwrap();
        assert_eq!(changes(&mut watch).await, ["a=2", "a=3"]);
    }

    async fn an_ephemeral_value_goes_with_its_node(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut watch = panel.watch("#").await.unwrap();
        let options = SetOptions { ephemeral: true, ..SetOptions::default() };
        press.set_with("press/here", &1, options).await.unwrap();
        press.set("press/kept", &2).await.unwrap();
        assert_eq!(changes(&mut watch).await, ["press/here=1", "press/kept=2"]);
        press.leave().await;
        assert_eq!(changes(&mut watch).await, ["press/here=-"]);
        assert_eq!(names(&panel, "#").await, ["press/kept"]);
    }

    async fn the_hubs_own_names_are_not_for_nodes(stage: Stage) {
        let press = stage.node("press").await;
        let error = press.set("$hub/x", &1).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::Forbidden, Outcome::NotDone));
        assert_eq!(press.delete("$hub/x").await.unwrap_err().code(), Code::Forbidden);
        assert!(matches!(press.set("a//b", &1).await, Err(Error::BadName(_))));
        assert!(matches!(press.watch("a/#/b").await, Err(Error::BadName(_))));
    }

    async fn what_is_written_in_a_row_happens_in_that_row(stage: Stage) {
        let press = stage.node("press").await;
        let options = WatchOptions { all: true, ..WatchOptions::default() };
        let mut watch = press.watch_with("#", options).await.unwrap();
        for n in 0..300 {
            // It is on its way with the first look at it, and then nobody waits for its answer.
            let mut set = std::pin::pin!(press.set("a", &n));
            let _ = std::future::poll_fn(|context| Poll::Ready(set.as_mut().poll(context))).await;
        }
        for n in 0..300 {
            assert_eq!(shown(&change(&mut watch).await), format!("a={n}"));
        }
    }

    async fn a_dropped_watch_is_gone_from_the_hub(stage: Stage) {
        let press = stage.node("press").await;
        for n in 0..100 {
            let mut watch = press.watch("a").await.unwrap();
            press.set("a", &n).await.unwrap();
            while shown(&change(&mut watch).await) != format!("a={n}") {}
        }
        let kept = press.watch("b").await.unwrap();
        drop(kept);
        press.barrier().await.unwrap();
    }

    async fn values_and_watches_survive_a_restart_of_the_hub(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let options = WatchOptions { all: true, ..WatchOptions::default() };
        let mut watch = panel.watch_with("#", options).await.unwrap();
        press.set("a", &1).await.unwrap();
        press.set("b", &2).await.unwrap();
        assert_eq!(changes(&mut watch).await, ["a=1", "b=2"]);
        let stopped = stage.stop().await;
        until_offline(&press).await;
        assert!(matches!(press.get::<i64>("a").await, Err(Error::Offline(_))), "a get does not wait");
        // A set does.
        let set = tokio::spawn({
            let press = press.clone();
            async move { press.set("c", &3).await }
        });
        let stage = stopped.start().await;
        soon(set).await.unwrap().unwrap();
        assert_eq!(changes(&mut watch).await, ["c=3"], "no gap and no repeat");
        soon(press.ready()).await.unwrap();
        assert_eq!(names(&press, "#").await, ["a", "b", "c"]);
        drop(stage);
    }

    async fn who_leaves_is_told_what_was_never_sent(stage: Stage) {
        let press = stage.node("press").await;
        let stopped = stage.stop().await;
        until_offline(&press).await;
        let set = tokio::spawn({
            let press = press.clone();
            async move { press.set("a", &1).await }
        });
        let mut watch_set = Box::pin(async { soon(set).await.unwrap() });
        // It waits for a link.
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut watch_set).await.is_err());
        press.leave().await;
        let error = watch_set.await.unwrap_err();
        assert_eq!(error.to_string(), "set of `a`: the node has left");
        assert_eq!((error.code(), error.outcome()), (Code::Left, Outcome::NotDone));
        drop(stopped);
    }
}

#[tokio::test]
async fn a_watch_ends_with_its_node() {
    let stage = Stage::new(Transport::Mem).await;
    let press = stage.node("press").await;
    let mut watch = press.watch("#").await.unwrap();
    press.leave().await;
    assert!(matches!(soon(watch.next()).await, Some(Err(Missed::Ended(_)))));
    assert!(soon(watch.next()).await.is_none());
    assert!(!watch.is_synced());
}

/// A link that is cut again and again, at any moment, in both directions.
#[tokio::test]
async fn cut_links_make_no_write_happen_twice_and_no_change_be_missed() {
    const WRITES: i64 = 2000;
    let stage = Stage::new(Transport::Tcp).await;
    let proxy = Proxy::new(&stage.address).await;
    let press = Node::connect_with(&proxy.address, stage.options("press")).await.unwrap();
    let panel = Node::connect_with(&proxy.address, stage.options("panel")).await.unwrap();
    let options = WatchOptions { all: true, ..WatchOptions::default() };
    let mut all = panel.watch_with("#", options).await.unwrap();
    let mut latest = panel.watch("#").await.unwrap();
    let writing = async {
        let mut last = Rev::default();
        for start in (0..WRITES).step_by(20) {
            // Many at a time, so that some are on their way when the link is cut.
            let set = |n: i64| {
                let batch = press.batch().set("a", &n).unwrap().set("b", &-n).unwrap();
                // On this runtime they run in this order.
                tokio::spawn(batch.commit())
            };
            for set in (start..start + 20).map(set).collect::<Vec<_>>() {
                let rev = set.await.unwrap().unwrap();
                assert!(rev > last);
                last = rev;
            }
        }
    };
    let watching = async {
        for n in 0..WRITES {
            let told = changes::<2>(&mut all).await;
            assert_eq!(told, [format!("a={n}"), format!("b={}", -n)]);
        }
    };
    let following = async {
        let mut last = [-1, -1];
        while last != [WRITES - 1; 2] {
            let change = change(&mut latest).await;
            let n = change.payload.unwrap().decode::<i64>().unwrap();
            let of = usize::from(change.name.as_str() == "b");
            assert!(n.abs() > last[of] || n == 0, "{} after {}", n, last[of]);
            last[of] = n.abs();
        }
    };
    let cutting = async {
        loop {
            tokio::time::sleep(Duration::from_millis(25)).await;
            proxy.cut();
        }
    };
    soon(async {
        tokio::select! {
            _ = async { tokio::join!(writing, watching, following) } => {}
            () = cutting => {}
        }
    })
    .await;
}

#[tokio::test]
async fn another_hub_at_the_same_address_replaces_what_was_known() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("mem://{}", folder.path().display());
    let start = |data: &str| {
        Hub::start(HubOptions { data: Some(folder.path().join(data)), ..HubOptions::listen([name.clone()]) })
    };
    let hub = start("one").await.unwrap();
    let press = Node::connect(&name, "press").await.unwrap();
    let mut latest = press.watch("#").await.unwrap();
    let mut all = press.watch_with("#", WatchOptions { all: true, ..WatchOptions::default() }).await.unwrap();
    for (name, value) in [("a", 1), ("b", 1), ("b", 2)] {
        press.set(name, &value).await.unwrap();
    }
    assert_eq!(shown(&change(&mut latest).await), "a=1");
    while shown(&change(&mut latest).await) != "b=2" {}
    assert_eq!(changes(&mut all).await, ["a=1", "b=1", "b=2"]);
    hub.stop().await;
    until_offline(&press).await;
    let hub = start("two").await.unwrap();
    let other = Node::connect(&name, "other").await.unwrap();
    other.set("b", &7).await.unwrap();
    soon(press.ready()).await.unwrap();
    assert_eq!(soon(all.next()).await, Some(Err(Missed::Replaced)));
    for watch in [&mut latest, &mut all] {
        // Whether it was set before or after the node came back.
        let mut known = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        while known != BTreeMap::from([("b".to_owned(), 7)]) {
            let change = change(watch).await;
            match change.payload {
                Some(payload) => known.insert(change.name.to_string(), payload.decode().unwrap()),
                None => known.remove(change.name.as_str()),
            };
        }
    }
    hub.stop().await;
}
