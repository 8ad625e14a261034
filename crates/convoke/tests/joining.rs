//! Story: who may join, under which name, and what the others are told.

mod support;

use std::time::{Duration, Instant};

use convoke::{Code, Error, Hub, HubOptions, Node, NodeOptions, Outcome, Standing, Token};
use convoke_core::frame::{Frame, Hello, Preface};
use support::proxy::Proxy;
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

on_every_transport! {
    async fn a_name_belongs_to_one_node_at_a_time(stage: Stage) {
        let first = stage.node("press").await;
        let error = soon(Node::connect_with(&stage.address, stage.options("press"))).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the name `press` is in use by a node that joined 0 s ago; choose another, or take it over"
        );
        assert!(matches!(error, Error::InUse(_)) && error.code() == Code::NodeInUse);
        soon(first.ping(None)).await.unwrap();
    }

    async fn a_node_that_is_refused_for_its_name_joins_when_the_name_is_free(stage: Stage) {
        let first = stage.node("press").await;
        let waiting = Node::open(&stage.address, stage.options("press")).unwrap();
        assert!(matches!(soon(waiting.ready()).await, Err(Error::InUse(_))));
        soon(first.leave()).await;
        until_standing(&waiting, |standing| *standing == Standing::Joined).await;
        soon(waiting.ping(None)).await.unwrap();
    }

    async fn a_takeover_fences_the_other_which_is_told(stage: Stage) {
        let first = stage.node("press").await;
        let mut events = first.subscribe("#").await.unwrap();
        let options = NodeOptions { takeover: true, ..stage.options("press") };
        let second = soon(Node::connect_with(&stage.address, options)).await.unwrap();
        let words = "another program has taken over this node's name";
        until_standing(&first, |standing| matches!(standing, Standing::Ended(_))).await;
        let error = soon(first.ready()).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.code()), (words, Code::Fenced));
        assert!(matches!(error, Error::InUse(_)));
        for error in [
            first.publish("a", &1).await.unwrap_err(),
            first.confirm().await.unwrap_err(),
            first.subscribe("a").await.map(drop).unwrap_err(),
        ] {
            assert!(error.to_string().ends_with(&format!("`press` has ended: {words}")), "{error}");
            assert_eq!((error.code(), error.outcome()), (Code::Fenced, Outcome::NotDone));
        }
        assert_eq!(next(&mut events).await.unwrap_err().to_string(), format!("the subscription has ended: {words}"));
        assert!(soon(events.next()).await.is_none() && events.try_next().is_none());
        soon(second.ping(None)).await.unwrap();
        assert_eq!(stage.hub.nodes(), 1);
    }

    async fn a_bad_name_is_told_before_anything_happens(stage: Stage) {
        for (name, words) in [
            ("", "a name cannot be empty: it has 1 to 512 bytes"),
            ("press/+", "`press/+` has a `+`, which only a pattern may have: a name stands for one thing"),
        ] {
            let error = soon(Node::connect_with(&stage.address, stage.options(name))).await.unwrap_err();
            assert_eq!(error.to_string(), words);
            let options = NodeOptions { author: Some(name.into()), ..stage.options("press") };
            let error = soon(Node::connect_with(&stage.address, options)).await.unwrap_err();
            assert_eq!(error.to_string(), words);
        }
        let error = soon(Node::connect_with(&stage.address, stage.options("$hub/a"))).await.unwrap_err();
        assert_eq!(error.to_string(), "`$hub/a` is not for nodes: names that begin with `$` are the hub's own");
        assert!(matches!(error, Error::Unauthorized(_)));
    }

    async fn a_node_may_act_for_an_author(stage: Stage) {
        let options = NodeOptions { author: Some("ann".into()), ..stage.options("ann/cli-1") };
        let node = soon(Node::connect_with(&stage.address, options)).await.unwrap();
        // Two nodes may have one author.
        let options = NodeOptions { author: Some("ann".into()), ..stage.options("ann/cli-2") };
        let other = soon(Node::connect_with(&stage.address, options)).await.unwrap();
        soon(node.ping(Some("ann/cli-2"))).await.unwrap();
        drop(other);
    }

    async fn a_node_that_is_opened_before_its_hub_joins_when_the_hub_starts(stage: Stage) {
        let options = stage.options("early");
        let stopped = stage.stop().await;
        let early = Node::open(&stopped.address, options).unwrap();
        // Subscribing waits for the hub.
        let subscribing = tokio::spawn({
            let early = early.clone();
            async move { early.subscribe("#").await.unwrap() }
        });
        until_offline(&early).await;
        assert!(matches!(early.publish("a", &1).await, Err(Error::Offline(_))));
        let stage = stopped.start().await;
        soon(early.ready()).await.unwrap();
        let mut all = soon(subscribing).await.unwrap();
        early.publish("a", &1).await.unwrap();
        assert_eq!(event(&mut all).await.payload.decode::<i32>().unwrap(), 1, "without a gap before it");
        assert_eq!(stage.hub.nodes(), 1);
    }

    async fn whoever_connects_to_nobody_is_told_in_time(stage: Stage) {
        let options = NodeOptions { timeout: Duration::from_millis(300), ..stage.options("press") };
        let address = stage.stop().await.address;
        let started = Instant::now();
        let error = soon(Node::connect_with(&address, options)).await.unwrap_err();
        assert!(started.elapsed() >= Duration::from_millis(300) && matches!(error, Error::Offline(_)));
        let text = error.to_string();
        let start = format!("no hub has let `press` in at {address} within 300ms: no ");
        assert!(text.starts_with(&start), "{text}");
        let why = match address.split("://").next().unwrap() {
            "tcp" | "tls" => "connection refused",
            "unix" => "no such file or directory",
            _ => "no hub of this process listens on",
        };
        assert!(text.contains(why), "{text}");
    }

    async fn the_name_of_a_node_that_leaves_is_free_at_once(stage: Stage) {
        for n in 0..50 {
            let node = stage.node("press").await;
            node.publish("a", &n).await.unwrap();
            soon(node.leave()).await;
        }
        for n in 0..50 {
            let node = stage.node("press").await;
            node.publish("a", &n).await.unwrap();
            drop(node);
        }
    }

    async fn a_node_that_has_left_can_do_nothing_more(stage: Stage) {
        let node = stage.node("press").await;
        let mut events = node.subscribe("#").await.unwrap();
        soon(node.clone().leave()).await;
        assert_eq!(stage.hub.nodes(), 0);
        for error in [
            node.publish("a", &1).await.unwrap_err(),
            node.confirm().await.unwrap_err(),
            node.subscribe("a").await.map(drop).unwrap_err(),
            node.ready().await.unwrap_err(),
        ] {
            assert!(error.to_string().ends_with("has left its hub") || error.to_string() == "the node has left", "{error}");
            assert!(matches!(error, Error::Offline(_)) && error.code() == Code::Left);
        }
        assert_eq!(next(&mut events).await.unwrap_err().to_string(), "the subscription has ended: the node has left");
        soon(node.leave()).await;
    }

    async fn what_was_published_before_leaving_arrives(stage: Stage) {
        let panel = stage.node("panel").await;
        let mut all = panel.subscribe("from/press").await.unwrap();
        let press = stage.node("press").await;
        // Events that it does not read are no reason to lose those that it wrote.
        let _unread = press.subscribe("#").await.unwrap();
        for n in 0..20_000 {
            press.publish("from/press", &n).await.unwrap();
        }
        soon(press.leave()).await;
        for n in 0..20_000 {
            assert_eq!(event(&mut all).await.payload.decode::<i32>().unwrap(), n);
        }
    }

    async fn a_connect_that_is_given_up_leaves_nothing_behind(stage: Stage) {
        for n in 0..200 {
            let connecting = Node::connect_with(&stage.address, stage.options(&format!("node-{n}")));
            let _ = tokio::time::timeout(Duration::from_micros(n * 5), connecting).await;
        }
        until("all are gone", || stage.hub.nodes() == 0).await;
        let _node = stage.node("node-0").await;
        assert_eq!(stage.hub.nodes(), 1);
    }

    async fn a_subscription_keeps_its_node(stage: Stage) {
        let panel = stage.node("panel").await;
        let press = stage.node("press").await;
        let mut all = panel.subscribe("#").await.unwrap();
        drop(panel);
        press.publish("a", &1).await.unwrap();
        event(&mut all).await;
        drop(all);
        until("the node has left", || stage.hub.nodes() == 1).await;
    }
}

/// A runtime that is shut down takes the tasks of its nodes with it. Their names were in use until the hub had heard
/// nothing for a minute and a half, and `leave` waited for ever.
#[test]
fn a_node_whose_runtime_has_ended_has_left() {
    let new = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for transport in [Transport::Mem, Transport::Tcp, Transport::Tls, Transport::Unix] {
        let runtime = new();
        runtime.block_on(async {
            let stage = Stage::new(transport).await;
            let (address, options) = (stage.address.clone(), stage.options("press"));
            let node = std::thread::spawn(move || {
                let short = new();
                short.block_on(Node::connect_with(address, options)).unwrap()
            });
            let node = tokio::task::spawn_blocking(move || node.join().unwrap()).await.unwrap();
            until("the node has left", || stage.hub.nodes() == 0).await;
            assert!(matches!(node.publish("a", &1).await, Err(Error::Offline(_))));
            soon(node.leave()).await;
            stage.node("press").await;
        });
    }
}

#[tokio::test]
async fn who_does_not_know_the_token_does_not_join_over_tcp() {
    let stage = Stage::new(Transport::Tcp).await;
    // Through another address, so that the file for this user's programs is not found.
    let proxy = Proxy::new(&stage.address).await;
    let error = soon(Node::connect(&proxy.address, "press")).await.unwrap_err();
    assert_eq!(error.to_string(), "`press` may not join without a token; give it the hub's token file");
    assert!(matches!(error, Error::Unauthorized(_)) && error.outcome() == Outcome::NotDone);
    for wrong in ["admin:0123456789abcdef0123456789abcdef", "nobody:0123456789abcdef0123456789abcdef"] {
        let token = Token::parse(wrong).unwrap();
        let name = token.name().clone();
        let options = NodeOptions { token: Some(token), ..NodeOptions::new("press") };
        let error = soon(Node::connect_with(&proxy.address, options)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the hub could not prove that it knows the token `{name}`; is it another hub, or was the token changed?"
            )
        );
        assert!(matches!(error, Error::Unauthorized(_)) && error.outcome() == Outcome::NotDone);
    }
    assert_eq!(stage.hub.nodes(), 0);
    soon(Node::connect_with(&proxy.address, stage.options("press"))).await.unwrap();
}

#[tokio::test]
async fn a_program_of_another_version_is_told_both_versions() {
    let stage = Stage::new(Transport::Tcp).await;
    let mut stream = TcpStream::connect(stage.address.strip_prefix("tcp://").unwrap()).await.unwrap();
    stream.write_all(&Preface { lowest: 7, highest: 9 }.encode()).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    let (preface, rest) = answer.split_at(Preface::BYTES);
    assert_eq!(preface, Preface::OURS.encode());
    let (frame, len) = Frame::decode(rest).unwrap().unwrap();
    let text = "the hub speaks versions 1 to 1 of the protocol, the node 7 to 9; update the older program";
    assert_eq!((frame, len), (Frame::Close { code: Code::VersionMismatch, text }, rest.len()));
}

#[tokio::test]
async fn a_hub_of_another_version_is_told_to_whoever_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hub = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&Preface { lowest: 7, highest: 9 }.encode()).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let error = soon(Node::connect(&address, "press")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the hub speaks versions 7 to 9 of the protocol, this program 1 to 1; update the older one"
    );
    assert_eq!((error.code(), error.outcome()), (Code::VersionMismatch, Outcome::NotDone));
    soon(hub).await.unwrap();
}

#[tokio::test]
async fn what_is_no_link_is_closed_and_nobody_else_feels_it() {
    let stage = Stage::new(Transport::Tcp).await;
    let node = stage.node("press").await;
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0, 200], &[0; 1000]] {
        let mut stream = TcpStream::connect(stage.address.strip_prefix("tcp://").unwrap()).await.unwrap();
        // The hub may have closed it before all is written.
        let _ = stream.write_all(noise).await;
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        let words = answer.strip_prefix(&Preface::OURS.encode()).unwrap_or(&answer);
        let (frame, _) = Frame::decode(words).unwrap().expect("a sentence comes before the end");
        assert!(matches!(frame, Frame::Close { code: Code::BadFrame, .. }), "{frame:?}");
    }
    soon(node.ping(None)).await.unwrap();
}

#[tokio::test]
async fn a_hub_that_is_full_says_so_and_lets_in_when_there_is_room() {
    let options = HubOptions { links_max: 2, ..HubOptions::default() };
    for transport in [Transport::Mem, Transport::Tcp, Transport::Tls, Transport::Unix] {
        let stage = Stage::with(transport, options.clone()).await;
        let one = stage.node("one").await;
        let _two = stage.node("two").await;
        let error = soon(Node::connect_with(&stage.address, stage.options("three"))).await.unwrap_err();
        assert_eq!(error.to_string(), "the hub has 2 links, which is all it may have; try again later");
        assert_eq!(error.code(), Code::Limit);
        soon(one.leave()).await;
        let three = Node::open(&stage.address, stage.options("three")).unwrap();
        until_standing(&three, |standing| *standing == Standing::Joined).await;
    }
}

#[tokio::test]
async fn an_address_belongs_to_one_hub_at_a_time() {
    for transport in [Transport::Mem, Transport::Tcp, Transport::Tls, Transport::Unix] {
        let stage = Stage::new(transport).await;
        let options = HubOptions { tls: stage.tls(), ..HubOptions::listen([stage.address.clone()]) };
        let error = soon(Hub::start(options)).await.unwrap_err();
        assert!(matches!(error, Error::InUse(_)), "{error}");
        stage.node("press").await;
        let stopped = stage.stop().await;
        stopped.start().await.node("press").await;
    }
}

/// Its thread took the file of its Unix socket away when its last link had gone, also if that was another hub's by then;
/// and a program that ended with its hub left the file behind.
#[tokio::test]
async fn a_hub_that_is_dropped_leaves_its_place_to_another_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hub.sock");
    let listen = [format!("unix://{}", socket.display()), format!("mem://{}", folder.path().display())];
    let hub = Hub::start(HubOptions::listen(listen.clone())).await.unwrap();
    // A link that does not read keeps the thread of a hub that stops for a moment.
    let mut mute = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let node = Node::connect(&listen[0], "press").await.unwrap();
    drop(hub);
    assert!(!socket.exists());
    let hub = Hub::start(HubOptions::listen(listen.clone())).await.unwrap();
    soon(mute.read_to_end(&mut Vec::new())).await.unwrap();
    until_standing(&node, |standing| *standing == Standing::Joined).await;
    drop(mute);
    for address in &listen {
        soon(Node::connect(address, "panel")).await.unwrap().leave().await;
    }
    assert!(socket.exists());
    soon(hub.stop()).await;
    assert!(!socket.exists());
}

/// A program that says all it has to say and then ends its own direction is answered before the link ends.
#[cfg(unix)]
#[tokio::test]
async fn who_has_said_everything_still_gets_the_answers() {
    let stage = Stage::new(Transport::Unix).await;
    let path = stage.address.strip_prefix("unix://").unwrap();
    for _ in 0..20 {
        let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
        let mut hello = Preface::OURS.encode().to_vec();
        Frame::Hello(Hello { name: b"brief", nonce: [1; 32], ..Hello::default() }).encode(&mut hello);
        stream.write_all(&hello).await.unwrap();
        let mut rest = Vec::new();
        // Proof, where the uid is one, is a formality; what follows it needs no more of the hub than what came.
        Frame::Proof { token: [0; 32], resume: [0; 32] }.encode(&mut rest);
        for id in 1..=100 {
            Frame::Ping { id, node: b"" }.encode(&mut rest);
        }
        stream.write_all(&rest).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answers = Vec::new();
        soon(stream.read_to_end(&mut answers)).await.unwrap();
        let (mut rest, mut done) = (&answers[Preface::BYTES..], 0);
        while let Some((frame, len)) = Frame::decode(rest).unwrap() {
            done += u32::from(matches!(frame, Frame::Done { .. }));
            rest = &rest[len..];
        }
        assert_eq!(done, 100);
    }
}
