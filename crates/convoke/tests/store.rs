//! Story: what a hub keeps is there again when it comes back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::path::Path;

use convoke::{Code, Error, Hub, HubOptions, Node};
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
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.truncate(20_000);
    std::fs::write(&file, &bytes).unwrap();
    for _ in 0..2 {
        let error = Hub::start(options("mem://corrupt", folder.path())).await.unwrap_err();
        assert_eq!(error.code(), Code::StorageFailed);
        let begin = format!("`{}` is corrupt: ", file.display());
        assert!(error.to_string().starts_with(&begin), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_hub_whose_store_is_gone_does_not_start_although_it_ran_only_once() {
    let folder = tempfile::tempdir().unwrap();
    Hub::start(options("mem://ran-once", folder.path())).await.unwrap().stop().await;
    std::fs::remove_file(folder.path().join("store.redb")).unwrap();
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
