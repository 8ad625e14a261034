//! Story: who is there, how that is found out, and what others are told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::time::Duration;

#[cfg(target_os = "linux")]
use convoke::Token;
use convoke::{HubOptions, MasterWish, Member, MemberState, Members, Membership, Node, NodeOptions};
#[cfg(target_os = "linux")]
use support::process;
use support::proxy::Proxy;
use support::*;

/// The next thing that becomes of this node but for its load.
async fn becomes(members: &mut Members, name: &str, state: MemberState) -> Member {
    loop {
        let member = soon(members.next()).await.expect("the watch lives").expect("nothing is missing");
        if member.name.as_str() == name && member.state == state {
            return member;
        }
    }
}

fn states(members: &Members) -> Vec<(&str, MemberState)> {
    members.list().map(|member| (member.name.as_str(), member.state)).collect()
}

/// Beats that a test can wait for.
fn quick() -> HubOptions {
    let beat = Duration::from_millis(100);
    HubOptions { membership: Membership { beat, beat_attentive: beat, ..Membership::default() }, ..Default::default() }
}

/// A hub with quick beats, somebody who looks, and a node behind a proxy that the test can do bad things with.
async fn proxied() -> (Stage, Members, Proxy, Node) {
    let stage = Stage::with(Transport::Tcp, quick()).await;
    let panel = stage.node("panel").await;
    let mut members = panel.members().await.unwrap();
    let proxy = Proxy::new(&stage.address).await;
    let press = soon(Node::connect_with(&proxy.address, stage.options("press"))).await.unwrap();
    while members.get("press").is_none_or(|press| press.pid == 0) {
        soon(members.next()).await.unwrap().unwrap();
    }
    (stage, members, proxy, press)
}

on_every_transport! {
    async fn who_asks_gets_all_nodes_and_then_what_becomes_of_them(stage: Stage) {
        let options = NodeOptions { author: Some("ann".into()), program: Some("press 1.2".into()), ..stage.options("press") };
        let press = soon(Node::connect_with(&stage.address, options)).await.unwrap();
        let panel = stage.node("panel").await;
        let mut members = soon(panel.members()).await.unwrap();
        assert_eq!(states(&members), [("panel", MemberState::Alive), ("press", MemberState::Alive)]);
        // Who it is may come a moment after it has joined.
        while members.get("press").unwrap().program.is_empty() {
            soon(members.next()).await.unwrap().unwrap();
        }
        let member = members.get("press").unwrap();
        assert_eq!((member.program.as_str(), member.pid, member.author.as_str()), ("press 1.2", std::process::id(), "ann"));
        assert_eq!((member.principal.as_str(), member.host.is_empty()), ("admin", false));
        assert!(member.since.elapsed().unwrap() < PATIENCE && member.incarnation.is_some() && member.reason.is_none());

        let hall = stage.node("hall").await;
        let joined = becomes(&mut members, "hall", MemberState::Alive).await;
        assert!(joined.view > member_view(&members, "press"));
        soon(press.leave()).await;
        let left = becomes(&mut members, "press", MemberState::Dead).await;
        assert_eq!(left.reason.unwrap().text, "it has left");
        // Dropping a node is a goodbye too.
        drop(hall);
        let left = becomes(&mut members, "hall", MemberState::Dead).await;
        assert_eq!(left.reason.unwrap().code, "Left");
        assert_eq!(members.list().len(), 3);
    }

    async fn another_program_with_the_name_is_another_incarnation(stage: Stage) {
        let panel = stage.node("panel").await;
        let mut members = soon(panel.members()).await.unwrap();
        let first = stage.node("press").await;
        let before = becomes(&mut members, "press", MemberState::Alive).await;
        let options = NodeOptions { takeover: true, ..stage.options("press") };
        let second = soon(Node::connect_with(&stage.address, options)).await.unwrap();
        let after = loop {
            let after = becomes(&mut members, "press", MemberState::Alive).await;
            if after.incarnation != before.incarnation {
                break after;
            }
        };
        assert!(after.view > before.view + 1, "that the first is dead was a change too");
        drop((first, second));
    }

    async fn who_is_there_comes_back_with_the_hub(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut members = soon(panel.members()).await.unwrap();
        let before = members.get("press").unwrap().incarnation;
        let stage = stage.restart().await;
        loop {
            let after = becomes(&mut members, "press", MemberState::Alive).await;
            if after.incarnation != before {
                break;
            }
        }
        soon(press.ready()).await.unwrap();
        drop(stage);
    }

    async fn the_longest_alive_is_master(stage: Stage) {
        let panel = soon(Node::connect_with(
            &stage.address,
            NodeOptions { master: MasterWish::Never, ..stage.options("panel") },
        ));
        let panel = panel.await.unwrap();
        assert_eq!(panel.get::<serde_json::Value>("$hub/master").await.unwrap(), None);
        let first = stage.node("first").await;
        let _second = stage.node("second").await;
        let mut watch = panel.watch("$hub/master").await.unwrap();
        let mut terms = Vec::new();
        let mut master = async |name: &str| {
            loop {
                let change = soon(watch.next()).await.unwrap().unwrap();
                let Some(payload) = change.payload else { continue };
                let report: serde_json::Value = payload.decode().unwrap();
                terms.push(report["term"].as_u64().unwrap());
                if report["node"] == name {
                    break;
                }
            }
        };
        master("first").await;
        soon(first.leave()).await;
        master("second").await;
        let must = NodeOptions { master: MasterWish::Must, ..stage.options("must") };
        let _must = soon(Node::connect_with(&stage.address, must)).await.unwrap();
        master("must").await;
        assert!(terms.is_sorted() && terms.len() >= 3, "{terms:?}");
    }

    async fn how_busy_a_node_is_comes_when_somebody_looks(stage: Stage) {
        let press = stage.node("press").await;
        let quiet = NodeOptions { share_load: false, ..stage.options("quiet") };
        let quiet = soon(Node::connect_with(&stage.address, quiet)).await.unwrap();
        let panel = stage.node("panel").await;
        let mut members = soon(panel.members()).await.unwrap();
        // It follows something, so its link looks around often.
        let _watch = press.watch("a").await.unwrap();
        while members.get("press").unwrap().memory == 0 {
            soon(members.next()).await.unwrap().unwrap();
        }
        let member = members.get("press").unwrap();
        assert!(member.memory > 100_000 && member.free_memory > 100_000 && member.cpu_permille <= 1000, "{member:?}");
        let member = members.get("quiet").unwrap();
        assert_eq!((member.memory, member.free_memory, member.pid), (0, 0, std::process::id()));
        drop(quiet);
    }
}

fn member_view(members: &Members, name: &str) -> u64 {
    members.get(name).expect("it is there").view
}

#[tokio::test]
async fn a_node_whose_link_is_cut_is_suspect_at_once_and_then_dead_and_forgotten() {
    let (stage, mut members, proxy, press) = proxied().await;
    proxy.close();
    let suspect = becomes(&mut members, "press", MemberState::Suspect).await;
    assert_eq!(suspect.reason.unwrap().code, "LinkLost");
    let dead = becomes(&mut members, "press", MemberState::Dead).await;
    assert_eq!(dead.reason.unwrap().text, "nothing was heard for 0.6 s");
    let removed = becomes(&mut members, "press", MemberState::Removed).await;
    assert_eq!((removed.incarnation, removed.pid), (dead.incarnation, std::process::id()));
    assert_eq!(states(&members), [("panel", MemberState::Alive)]);
    drop((stage, press));
}

/// A node that is a process; see [`process::play`].
#[cfg(target_os = "linux")]
#[test]
#[ignore = "it is the other process of the stories"]
fn child() {
    process::play(async |_| {
        let token = Some(Token::read(std::env::var("TOKEN").unwrap()).unwrap());
        let options = NodeOptions { token, ..NodeOptions::new("press") };
        let _press = Node::connect_with(std::env::var("HUB").unwrap(), options).await.unwrap();
        process::say("joined");
        std::future::pending().await
    });
}

/// A hub, somebody who looks, and a process that has joined.
#[cfg(target_os = "linux")]
async fn with_a_process() -> (Stage, Members, process::Process) {
    let stage = Stage::with(Transport::Tcp, quick()).await;
    let panel = stage.node("panel").await;
    let mut members = panel.members().await.unwrap();
    let token = stage.folder().join("data/admin.token");
    let variables = [("HUB", stage.address.as_str()), ("TOKEN", token.to_str().unwrap())];
    let mut press = process::Process::start("press", stage.folder(), &variables);
    assert_eq!(press.says().await, "joined");
    becomes(&mut members, "press", MemberState::Alive).await;
    (stage, members, press)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_that_is_killed_is_suspect_at_once_and_then_dead() {
    let (_stage, mut members, press) = with_a_process().await;
    press.kill().await;
    let suspect = becomes(&mut members, "press", MemberState::Suspect).await;
    assert_eq!(suspect.reason.unwrap().text, "the connection ended");
    becomes(&mut members, "press", MemberState::Dead).await;
    becomes(&mut members, "press", MemberState::Removed).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_that_stands_still_is_found_out_and_comes_back_as_what_it_was() {
    let (_stage, mut members, press) = with_a_process().await;
    let before = members.get("press").unwrap().incarnation;
    press.stop().await;
    let suspect = becomes(&mut members, "press", MemberState::Suspect).await;
    assert_eq!(suspect.reason.unwrap().text, "nothing was heard for 0.3 s");
    let dead = becomes(&mut members, "press", MemberState::Dead).await;
    assert_eq!(dead.reason.unwrap().text, "nothing was heard for 0.6 s");
    press.signal(rustix::process::Signal::CONT);
    let back = becomes(&mut members, "press", MemberState::Alive).await;
    assert_eq!((back.incarnation, back.reason), (before, None));
}
