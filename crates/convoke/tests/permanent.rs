//! Story: a link is permanent. It comes back by itself, and what was missed is told where it is missing.

mod support;

use convoke::{
    Code, Error, Gap, Headers, Hub, HubOptions, Missed, Node, NodeOptions, Outcome, Payload, Standing, Subscription,
};
use convoke_core::frame::Preface;
use support::proxy::Proxy;
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

on_every_transport! {
    async fn subscriptions_come_back_after_a_restart_and_are_told_once(stage: Stage) {
        let press = stage.node("press").await;
        let panel = stage.node("panel").await;
        let mut one = panel.subscribe("#").await.unwrap();
        let mut two = panel.subscribe("press/+").await.unwrap();
        press.publish("press/1", &0).await.unwrap();
        event(&mut one).await;
        event(&mut two).await;
        for round in 1..=3 {
            stage = stage.restart().await;
            for subscription in [&mut one, &mut two] {
                assert_eq!(next(subscription).await.unwrap_err(), Missed::Gap(Gap::HubRestarted));
            }
            soon(press.ready()).await.unwrap();
            // The hub has every subscription of a link when it answers to what came behind them.
            soon(panel.barrier()).await.unwrap();
            press.publish("press/1", &round).await.unwrap();
            for subscription in [&mut one, &mut two] {
                assert_eq!(event(subscription).await.payload.decode::<i32>().unwrap(), round);
                assert!(subscription.try_next().is_none());
            }
        }
    }

    async fn what_is_published_while_the_hub_is_away_is_refused(stage: Stage) {
        let press = stage.node("press").await;
        press.publish("a", &1).await.unwrap();
        let stopped = stage.stop().await;
        until_offline(&press).await;
        let error = press.publish("a", &2).await.unwrap_err();
        assert!(error.to_string().starts_with("publish on `a`: `press` is not joined to a hub: "), "{error}");
        assert!(matches!(error, Error::Offline(_)) && error.outcome() == Outcome::NotDone);
        let error = press.confirm().await.unwrap_err();
        assert!(matches!(error, Error::Offline(_)) && error.outcome() == Outcome::NotDone);
        let _stage = stopped.start().await;
        until_standing(&press, |standing| *standing == Standing::Joined).await;
        let mut all = soon(press.subscribe("#")).await.unwrap();
        press.publish("a", &3).await.unwrap();
        assert_eq!(event(&mut all).await.payload.decode::<i32>().unwrap(), 3);
    }

    async fn what_may_wait_for_a_hub_is_delivered_in_its_order(stage: Stage) {
        let options = NodeOptions { offline_bytes_max: 64 << 10, ..stage.options("press") };
        let press = Node::connect_with(&stage.address, options).await.unwrap();
        let mut own = press.subscribe("#").await.unwrap();
        let stopped = stage.stop().await;
        until_offline(&press).await;
        let mut kept = 0;
        let error = loop {
            let payload = Payload::text(format!("{kept:01000}"));
            match press.publish_payload(format!("t/{}", kept % 3), &payload, &Headers::new()).await {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!((50..66).contains(&kept), "{kept} events of 1000 bytes in 64 KiB");
        assert_eq!(
            error.to_string(),
            format!("publish on `t/{}`: `press` is offline, and the 65536 bytes that may wait for a link are used up", kept % 3)
        );
        assert!(matches!(error, Error::Backpressure(_)) && error.outcome() == Outcome::NotDone);
        let _stage = stopped.start().await;
        assert_eq!(next(&mut own).await.unwrap_err(), Missed::Gap(Gap::HubRestarted));
        for n in 0..kept {
            let event = event(&mut own).await;
            assert_eq!(event.topic().as_str(), format!("t/{}", n % 3));
            assert_eq!(event.payload.decode::<String>().unwrap(), format!("{n:01000}"));
        }
        // There is room again.
        press.publish("t/0", &()).await.unwrap();
        event(&mut own).await;
    }

    async fn what_was_confirmed_is_not_counted_as_lost_with_a_restart(stage: Stage) {
        let press = stage.node("press").await;
        let mut lost = press.watch_lost();
        for n in 0..100 {
            press.publish("a", &n).await.unwrap();
        }
        soon(press.confirm()).await.unwrap();
        let _again = stage.restart().await;
        soon(press.ready()).await.unwrap();
        // The hub that took them is gone, and cannot say so any more.
        soon(press.barrier()).await.unwrap();
        assert_eq!(*lost.borrow_and_update(), 0);
    }

    async fn a_request_that_the_restart_cuts_off_is_told(stage: Stage) {
        let press = stage.node("press").await;
        for _ in 0..10 {
            let asking: Vec<_> = (0..20)
                .map(|_| tokio::spawn({
                    let press = press.clone();
                    async move { press.barrier().await }
                }))
                .collect();
            stage = stage.restart().await;
            for asked in asking {
                match soon(asked).await.unwrap() {
                    Ok(()) | Err(Error::Unanswered(..) | Error::Offline(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            until_standing(&press, |standing| *standing == Standing::Joined).await;
        }
    }
}

#[tokio::test]
async fn a_cut_link_is_told_once_and_what_follows_arrives() {
    let stage = Stage::new(Transport::Tcp).await;
    let proxy = Proxy::new(&stage.address).await;
    let panel = Node::connect_with(&proxy.address, stage.options("panel")).await.unwrap();
    let press = stage.node("press").await;
    let mut one = panel.subscribe("#").await.unwrap();
    let mut two = panel.subscribe("a").await.unwrap();
    for round in 0..5 {
        press.publish("a", &round).await.unwrap();
        for subscription in [&mut one, &mut two] {
            assert_eq!(event(subscription).await.payload.decode::<i32>().unwrap(), round);
        }
        proxy.close();
        until_offline(&panel).await;
        until("the hub knows", || stage.hub.nodes() == 1).await;
        press.publish("a", &-1).await.unwrap();
        assert_eq!(soon(press.confirm()).await.unwrap(), 0);
        proxy.open();
        for subscription in [&mut one, &mut two] {
            assert_eq!(next(subscription).await.unwrap_err(), Missed::Gap(Gap::LinkLost));
        }
        soon(panel.barrier()).await.unwrap();
    }
    assert!(one.try_next().is_none() && two.try_next().is_none());
}

/// How many events have arrived at the hub, and whether it is the last. Those that came faster than they are read here did so
/// too.
async fn arrived(all: &mut Subscription) -> (u64, bool) {
    match next(all).await {
        Ok(event) => (1, event.topic().as_str() == "end"),
        Err(Missed::Lagged(count)) => (count, false),
        Err(missed) => panic!("{missed}"),
    }
}

#[tokio::test]
async fn a_publisher_learns_exactly_how_many_events_were_lost_with_its_link() {
    let stage = Stage::new(Transport::Tcp).await;
    let proxy = Proxy::new(&stage.address).await;
    let press = Node::connect_with(&proxy.address, stage.options("press")).await.unwrap();
    let panel = stage.node("panel").await;
    let mut all = panel.subscribe("#").await.unwrap();
    let mut lost = press.watch_lost();
    let (mut published, mut received) = (0u64, 0u64);
    for round in 0..10 {
        // Cut at any moment: some events wait in the node, some are on their way, some have arrived.
        let publishing = async {
            loop {
                match press.publish_payload("a", &Payload::raw(vec![0; 1000]), &Headers::new()).await {
                    Ok(()) => published += 1,
                    Err(Error::Offline(_)) => break,
                    Err(other) => panic!("{other}"),
                }
                if published.is_multiple_of(100) {
                    tokio::task::yield_now().await;
                }
            }
        };
        let cutting = async {
            for _ in 0..round * 7 {
                received += arrived(&mut all).await.0;
            }
            proxy.close();
        };
        soon(async { tokio::join!(publishing, cutting) }).await;
        proxy.open();
        until_standing(&press, |standing| *standing == Standing::Joined).await;
    }
    press.publish("end", &()).await.unwrap();
    loop {
        let (count, ended) = arrived(&mut all).await;
        if ended {
            break;
        }
        received += count;
    }
    assert_eq!(received + *lost.borrow_and_update(), published);
}

/// A hub that stops waits a moment for links whose programs do not read. A node in memory, which learns at once that its
/// link is closed, came back to that same hub in the meantime, and was told of two gaps.
#[tokio::test]
async fn a_hub_that_is_stopping_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let mem = format!("mem://{}", folder.path().display());
    let hub = Hub::start(HubOptions::listen([mem.as_str(), "127.0.0.1:0"])).await.unwrap();
    let tcp = hub.addresses()[1].to_string();
    let _mute = TcpStream::connect(tcp.strip_prefix("tcp://").unwrap()).await.unwrap();
    let node = Node::connect(&mem, "press").await.unwrap();
    let mut all = node.subscribe("#").await.unwrap();
    until("the hub has both links", || hub.nodes() == 1).await;
    soon(hub.stop()).await;
    let hub = Hub::start(HubOptions::listen([mem.as_str()])).await.unwrap();
    assert_eq!(next(&mut all).await.unwrap_err(), Missed::Gap(Gap::HubRestarted));
    soon(node.barrier()).await.unwrap();
    assert!(all.try_next().is_none());
    hub.stop().await;
}

/// Somebody who takes the name while the link is cut may not be thrown out when it comes back.
#[tokio::test]
async fn a_node_that_comes_back_to_find_its_name_taken_is_told() {
    let stage = Stage::new(Transport::Tcp).await;
    let proxy = Proxy::new(&stage.address).await;
    let away = Node::connect_with(&proxy.address, stage.options("press")).await.unwrap();
    proxy.close();
    until_offline(&away).await;
    until("the hub knows", || stage.hub.nodes() == 0).await;
    let other = stage.node("press").await;
    proxy.open();
    let error = soon(async {
        loop {
            match away.ready().await {
                Err(error) => break error,
                Ok(()) => tokio::task::yield_now().await,
            }
        }
    });
    let error = error.await;
    assert!(matches!(&error, Error::InUse(_)), "{error}");
    soon(other.ping(None)).await.unwrap();
    assert!(matches!(error.code(), Code::NodeInUse | Code::Fenced));
}

/// Nodes bring the incarnations that the hub before gave them. When a hub without a folder began to count where the one
/// before had begun, a node that came second found its own in use, was taken for an impostor and ended for good.
#[tokio::test]
async fn nodes_come_back_to_a_hub_that_remembers_nothing() {
    let listen = || HubOptions::listen(["mem://nodes-come-back-to-a-hub-that-remembers-nothing"]);
    let mut hub = Hub::start(listen()).await.unwrap();
    let mut nodes = Vec::new();
    for number in 0..8 {
        nodes.push(Node::connect(hub.addresses()[0].to_string(), format!("node/{number}")).await.unwrap());
    }
    for _ in 0..2 {
        hub.stop().await;
        for node in &nodes {
            until_offline(node).await;
        }
        hub = Hub::start(listen()).await.unwrap();
        for node in &nodes {
            until_standing(node, |standing| *standing == Standing::Joined).await;
        }
    }
}

/// A hub that was stopping took the socket file away at the very end. By then it was that of the hub that came after it,
/// which nobody could reach any more.
#[cfg(unix)]
#[tokio::test]
async fn a_hub_that_stops_leaves_the_socket_of_the_next_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.sock");
    let listen = || HubOptions::listen([format!("unix://{}", path.display())]);
    let first = Hub::start(listen()).await.unwrap();
    // The hub gives it a second to read why it ends.
    let mut silent = tokio::net::UnixStream::connect(&path).await.unwrap();
    silent.write_all(&Preface::OURS.encode()).await.unwrap();
    silent.read_exact(&mut [0; Preface::BYTES]).await.unwrap();
    let stopping = tokio::spawn(first.stop());
    let second = soon(async {
        loop {
            match Hub::start(listen()).await {
                Err(Error::InUse(_)) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                other => return other.unwrap(),
            }
        }
    })
    .await;
    assert!(!stopping.is_finished(), "the first still has a link to close");
    stopping.await.unwrap();
    drop(silent);
    Node::connect(second.addresses()[0].to_string(), "press").await.unwrap();
}

#[tokio::test]
async fn what_waited_for_a_hub_and_does_not_arrive_is_told() {
    let address = "mem://what-waited-for-a-hub-and-does-not-arrive-is-told";
    let press = NodeOptions { offline_bytes_max: 1 << 20, ..NodeOptions::new("press") };
    let press = Node::open(address, press).unwrap();
    let mut lost = press.watch_lost();
    press.publish_raw("too/long", &[0; 100 << 10]).await.unwrap();
    press.publish("short", &1).await.unwrap();
    let hub = Hub::start(HubOptions { payload_bytes_max: 64 << 10, ..HubOptions::listen([address]) }).await.unwrap();
    soon(lost.wait_for(|lost| *lost > 0)).await.unwrap();
    assert_eq!(soon(press.confirm()).await.unwrap(), 0, "the hub has taken the short one");
    assert_eq!(*lost.borrow(), 1);
    hub.stop().await;
    until_offline(&press).await;
    for n in 0..3 {
        press.publish("short", &n).await.unwrap();
    }
    press.leave().await;
    assert_eq!(*lost.borrow(), 4);
}
