//! Story: what a hub keeps is there again when it comes back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::fs;
use std::path::Path;

use convoke::{Code, Error, Hub, HubOptions, Node, StoreFolder};
use support::*;

fn options(listen: &str, data: &Path) -> HubOptions {
    HubOptions { data: Some(data.to_owned()), ..HubOptions::listen([listen]) }
}

async fn values_are_there_again(transport: Transport) {
    let stage = Stage::new(transport).await;
    let press = stage.node("press").await;
    let long = "x".repeat(200_000);
    for n in 0..20 {
        soon(press.set(format!("long/{n}"), &long)).await.unwrap();
    }
    soon(press.set("gone", &1)).await.unwrap();
    soon(press.delete("gone")).await.unwrap();
    let rev = soon(press.set("press/force", &12.5)).await.unwrap();
    let stage = stage.restart().await;
    let panel = stage.node("panel").await;
    let value = soon(panel.get_value("press/force")).await.unwrap().unwrap();
    assert_eq!((value.rev, value.payload.decode::<f64>().unwrap()), (rev, 12.5));
    assert_eq!(soon(panel.values("long/+")).await.unwrap().len(), 20);
    assert_eq!(soon(panel.get::<i32>("gone")).await.unwrap(), None);
    // What was there before is followed by what comes now.
    assert!(soon(panel.set("press/force", &13)).await.unwrap() > rev);
    stage.stop().await;
}

#[tokio::test]
async fn values_are_there_again_in_memory() {
    values_are_there_again(Transport::Mem).await;
}

#[tokio::test]
async fn values_are_there_again_over_tcp() {
    values_are_there_again(Transport::Tcp).await;
}

#[tokio::test]
async fn values_are_there_again_over_a_unix_socket() {
    values_are_there_again(Transport::Unix).await;
}

#[tokio::test]
async fn a_hub_without_a_folder_keeps_values_while_it_runs() {
    let mem = "mem://without-a-folder";
    let hub = Hub::start(HubOptions::listen([mem])).await.unwrap();
    let press = Node::connect(mem, "press").await.unwrap();
    soon(press.set("a", &1)).await.unwrap();
    assert_eq!(soon(press.get::<i32>("a")).await.unwrap(), Some(1));
    hub.stop().await;
    let hub = Hub::start(HubOptions::listen([mem])).await.unwrap();
    let panel = Node::connect(mem, "panel").await.unwrap();
    assert_eq!(soon(panel.get::<i32>("a")).await.unwrap(), None);
    hub.stop().await;
}

#[tokio::test]
async fn a_hub_that_could_not_listen_has_let_go_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let other = Hub::start(HubOptions::listen(["mem://has-the-name"])).await.unwrap();
    for _ in 0..5 {
        let refused = Hub::start(options("mem://has-the-name", folder.path())).await.unwrap_err();
        assert!(refused.to_string().contains("another hub of this process has this name"), "{refused}");
    }
    let hub = Hub::start(options("mem://has-another", folder.path())).await.unwrap();
    let second = Hub::start(options("mem://second", folder.path())).await.unwrap_err();
    assert!(
        matches!(&second, Error::InUse(why) if why.text.contains("another hub is running on it (process ")),
        "{second}"
    );
    hub.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_corrupt_store_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    Hub::start(options("mem://corrupt", folder.path())).await.unwrap().stop().await;
    let file = folder.path().join("store.redb");
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(20_000);
    fs::write(&file, &bytes).unwrap();
    for _ in 0..2 {
        let error = Hub::start(options("mem://corrupt", folder.path())).await.unwrap_err();
        assert_eq!(error.code(), Code::StorageFailed);
        let begin = format!("`{}` is corrupt: ", file.display());
        assert!(error.to_string().starts_with(&begin), "{error}");
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_hub_whose_store_is_gone_does_not_start_although_it_ran_only_once() {
    let folder = tempfile::tempdir().unwrap();
    Hub::start(options("mem://ran-once", folder.path())).await.unwrap().stop().await;
    fs::remove_file(folder.path().join("store.redb")).unwrap();
    let error = Hub::start(options("mem://ran-once", folder.path())).await.unwrap_err();
    assert_eq!(error.code(), Code::StorageFailed);
    assert!(error.to_string().contains("store.redb is gone"), "{error}");
}

#[tokio::test]
async fn a_hub_does_not_start_if_what_it_has_kept_were_to_be_kept_in_memory_only() {
    let folder = tempfile::tempdir().unwrap();
    let durable = options("mem://kept-before", folder.path());
    let in_memory = HubOptions { memory: vec!["sensor".into()], ..durable.clone() };
    let hub = Hub::start(durable.clone()).await.unwrap();
    let node = Node::connect("mem://kept-before", "node").await.unwrap();
    for name in ["sensors/1", "sensor/gone", "sensor/2", "sensor", "sensor/3"] {
        soon(node.set(name, &1)).await.unwrap();
    }
    soon(node.delete("sensor/gone")).await.unwrap();
    hub.stop().await;
    for _ in 0..3 {
        let refused = Hub::start(in_memory.clone()).await.unwrap_err();
        assert!(matches!(refused, Error::Configuration(_)), "{refused:?}");
        assert_eq!(
            refused.to_string(),
            "`sensor/2` and 2 other values of the data folder would be kept in memory only, and be lost; start the hub once \
             more with these names kept as before, and delete the values, or keep the names so"
        );
    }
    let hub = Hub::start(durable).await.unwrap();
    assert_eq!(soon(node.delete_every("sensor/#")).await.unwrap(), 3);
    hub.stop().await;
    let hub = Hub::start(in_memory).await.unwrap();
    soon(node.set("sensor/2", &2)).await.unwrap();
    assert_eq!(soon(node.values("#")).await.unwrap().len(), 2, "one in memory, and one beside it");
    hub.stop().await;
}

/// Which of its starts a hub has counted last.
fn start_in(data: &Path) -> u64 {
    let said: serde_json::Value = serde_json::from_slice(&fs::read(data.join("hub.json")).unwrap()).unwrap();
    said["epoch"].as_u64().unwrap()
}

/// An older one once made it count starts that it had counted before: then a revision of a value in memory, or a program's
/// number, could be one that was given already.
#[tokio::test]
async fn an_older_hub_json_is_refused_and_no_start_is_counted_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path(), folder.path().join("hub.json"));
    let hub = Hub::start(options("mem://older-hub-json", data)).await.unwrap();
    hub.stop().await;
    let older = fs::read(&file).unwrap();
    // Of this start nothing but itself is kept.
    Hub::start(options("mem://older-hub-json", data)).await.unwrap().stop().await;
    let (newest, last) = (fs::read(&file).unwrap(), start_in(data));
    fs::write(&file, &older).unwrap();
    let said = format!(
        "data folder `{}`: hub.json knows of the hub's start {}, and its log of start {last}: it is an older copy; put the \
         newest back",
        data.display(),
        start_in(data)
    );
    for _ in 0..3 {
        let refused = Hub::start(options("mem://older-hub-json", data)).await.unwrap_err();
        assert_eq!((refused.code(), refused.to_string()), (Code::StorageFailed, said.clone()));
        let seen = StoreFolder::open(data).unwrap().verify(&mut |_| true).unwrap_err();
        assert_eq!((seen.code(), seen.to_string()), (Code::StorageFailed, said.clone()));
        assert_eq!(fs::read(&file).unwrap(), older);
    }
    fs::write(&file, &newest).unwrap();
    Hub::start(options("mem://older-hub-json", data)).await.unwrap().stop().await;
    assert!(start_in(data) > last);
    // Repaired, it counts on from behind all that were.
    let last = start_in(data);
    for damaged in [&older[..], b"no"] {
        fs::write(&file, damaged).unwrap();
        StoreFolder::open(data).unwrap().repair(&mut |_| true).unwrap().unwrap();
        assert!(start_in(data) > last);
    }
    Hub::start(options("mem://older-hub-json", data)).await.unwrap().stop().await;
}

/// What redb holds needs no log; but nobody can tell then that the log has nothing more.
#[tokio::test]
async fn of_a_bit_of_the_log_that_has_changed_since_a_hub_was_stopped_nothing_comes_but_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (data, spoilt) = (folder.path().join("data"), folder.path().join("spoilt"));
    let hub = Hub::start(options("mem://spoilt-log", &data)).await.unwrap();
    let node = Node::connect("mem://spoilt-log", "press").await.unwrap();
    for n in 0..10 {
        soon(node.append("todo", &n)).await.unwrap();
        soon(node.set(format!("press/{n}"), &n)).await.unwrap();
    }
    soon(node.leave()).await;
    hub.stop().await;
    let names = |folder: &Path| -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let (mut refused, mut started) = (0, 0);
    for name in names(&data).into_iter().filter(|name| name.starts_with("log.") && name != "log.spare") {
        let whole = fs::read(data.join(&name)).unwrap();
        let end = whole.iter().rposition(|byte| *byte > 0).unwrap();
        for at in (0..=end).step_by(if name == "log.meta" { 331 } else { 41 }) {
            let _ = fs::remove_dir_all(&spoilt);
            fs::create_dir(&spoilt).unwrap();
            for name in names(&data).into_iter().filter(|name| name != "reserve") {
                fs::copy(data.join(&name), spoilt.join(&name)).unwrap();
            }
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(spoilt.join(&name), &changed).unwrap();
            match Hub::start(options("mem://spoilt-log", &spoilt)).await {
                Err(error) => {
                    let (code, error) = (error.code(), error.to_string());
                    assert_eq!(code, Code::StorageFailed, "{name} at {at}: {error}");
                    assert!(error.contains(&format!("{name}` is corrupt: ")), "{name} at {at}: {error}");
                    assert!(error.contains("; put "), "{name} at {at}: {error}");
                    assert_eq!(fs::read(spoilt.join(&name)).unwrap(), changed, "it is left as it is");
                    refused += 1;
                }
                Ok(hub) => {
                    let node = Node::connect("mem://spoilt-log", "panel").await.unwrap();
                    assert_eq!(soon(node.values("press/+")).await.unwrap().len(), 10, "{name} at {at}");
                    assert_eq!(soon(node.append("todo", &10)).await.unwrap(), 11, "{name} at {at}");
                    soon(node.leave()).await;
                    hub.stop().await;
                    started += 1;
                }
            }
        }
    }
    assert!(refused > 20, "{refused} were refused, and {started} were not");
}
