//! Story: many at once at the door of a hub that is a process of its own. They trickle, they throng, they are ten thousand;
//! who has joined goes on meanwhile.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::time::{Duration, Instant};

use convoke::{Code, Node, NodeOptions};
use convoke_core::frame::{Frame, Hello, Preface};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::hub_process::{HubProcess, hub};
use support::process::{given, play, say};
use support::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

/// What a hub may hold more than before when a crowd has gone, in bytes.
const GROWTH_MAX: u64 = 4 << 20;

/// What a process of a story does; see [`play`].
#[test]
#[ignore = "it is the other processes of the stories"]
fn child() {
    play(async |role| match role {
        "hub" => hub().await,
        "crowd" => crowd().await,
        other => panic!("there is no role {other}"),
    });
}

/// Lets this process have so many files, if the machine does.
fn may_open(files: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < files) {
        return Err(format!("a process may open {:?} files here, and {files} are needed", limit.maximum));
    }
    let current = limit.current.map(|current| current.max(files));
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).map_err(|error| error.to_string())
}

/// What a node says first, until the hub asks for its proof.
fn greeting() -> Vec<u8> {
    let mut said = Preface::OURS.encode().to_vec();
    Frame::Hello(Hello { name: b"slow", nonce: [1; 32], ..Hello::default() }).encode(&mut said);
    said
}

/// Says a byte from time to time, for ever; tells after how long it was ended, and with which words.
async fn trickle(stream: impl AsyncRead + AsyncWrite, began: Instant, pause: Duration) -> (Duration, Vec<u8>) {
    let (mut from, mut to) = tokio::io::split(stream);
    let speak = async move {
        for byte in greeting() {
            if to.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        std::future::pending::<()>().await
    };
    let mut heard = Vec::new();
    tokio::select! {
        () = speak => {}
        _ = from.read_to_end(&mut heard) => {}
    }
    (began.elapsed(), heard)
}

/// The Close at the end of what was heard.
fn close(heard: &[u8]) -> Option<(Code, String)> {
    let mut rest = heard.strip_prefix(&Preface::OURS.encode())?;
    while let Ok(Some((frame, len))) = Frame::decode(rest) {
        if let Frame::Close { code, text } = frame {
            return Some((code, text.to_owned()));
        }
        rest = &rest[len..];
    }
    None
}

/// N5, N6: hundreds of links that say a byte now and then are all ended when their time to join is over, not sooner, and the
/// hub has time for others.
#[tokio::test]
async fn those_who_trickle_are_ended_when_their_time_is_over() {
    const COUNT: usize = 300;
    const JOIN_TIME: Duration = Duration::from_millis(1500);
    let variables = [("JOIN_MS", &JOIN_TIME.as_millis().to_string()[..])];
    for hub in [HubProcess::start(&variables).await, HubProcess::start_on_a_socket(&variables).await] {
        let node = hub.node("press").await;
        soon(node.ping(None)).await.unwrap();
        let (files, memory) = (hub.process.files(), hub.process.memory());
        let mut crowd = JoinSet::new();
        for place in 0..COUNT {
            let pause = Duration::from_millis(50 + place as u64 % 50);
            // The hub may know of it before this program does.
            let began = Instant::now();
            match hub.address.strip_prefix("unix://") {
                Some(path) => {
                    let stream = UnixStream::connect(path).await.unwrap();
                    crowd.spawn(trickle(stream, began, pause));
                }
                None => {
                    let stream = TcpStream::connect(hub.address.strip_prefix("tcp://").unwrap()).await.unwrap();
                    crowd.spawn(trickle(stream, began, pause));
                }
            }
        }
        while !crowd.is_empty() {
            soon(node.ping(None)).await.unwrap();
            let Ok(ended) = tokio::time::timeout(Duration::from_millis(100), crowd.join_next()).await else { continue };
            let (after, heard) = ended.expect("not all have ended").unwrap();
            let (code, text) = close(&heard).unwrap_or_else(|| panic!("it is told why: {heard:?}"));
            assert_eq!((code, text.as_str()), (Code::TimedOut, "the link did not join within 1.5 s"));
            assert!(after >= JOIN_TIME, "one was ended after {after:?}");
        }
        until("nothing is left of them", || hub.process.files() <= files).await;
        let grown = hub.process.memory().saturating_sub(memory);
        assert!(grown < GROWTH_MAX, "{grown} bytes more than before, at {}", hub.address);
        soon(node.ping(None)).await.unwrap();
    }
}

/// Thousands connect at once: the hub has as many links as it may, tells others so or closes them, and goes on.
#[tokio::test]
async fn a_throng_at_the_door_is_turned_away_and_who_is_in_goes_on() {
    const LINKS: usize = 100;
    const THRONG: usize = 3000;
    /// Those that are being told why; see `TURNED_AWAY_MAX` of the hub's thread; and what a moment brings.
    const AT_THE_DOOR: usize = 64 + 50;
    if let Err(why) = may_open(THRONG as u64 + 500) {
        return println!("skipped: {why}");
    }
    let hub = HubProcess::start(&[("LINKS", &LINKS.to_string()), ("JOIN_MS", "60000")]).await;
    let node = hub.node("press").await;
    soon(node.ping(None)).await.unwrap();
    let (files, memory) = (hub.process.files(), hub.process.memory());
    let address = hub.address.strip_prefix("tcp://").unwrap().to_owned();
    let mut throng = JoinSet::new();
    for _ in 0..THRONG {
        let address = address.clone();
        throng.spawn(async move {
            let Ok(mut stream) = TcpStream::connect(address).await else { return None };
            // Who only listens never learns that the system has forgotten it at the door.
            let _ = stream.write_all(&Preface::OURS.encode()).await;
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
            Some(heard)
        });
    }
    let (mut told, mut ended) = (0, 0);
    while ended < THRONG - (LINKS - 1) {
        let Ok(heard) = tokio::time::timeout(PATIENCE, throng.join_next()).await else {
            panic!("{ended} have ended, {told} were told why, and the hub has {} files open", hub.process.files())
        };
        let heard = heard.expect("more are turned away").unwrap();
        ended += 1;
        if let Some((code, text)) = heard.as_deref().and_then(close) {
            assert_eq!(code, Code::Limit, "{text}");
            told += 1;
        }
        if ended % 100 == 0 {
            soon(node.ping(None)).await.unwrap();
            let open = hub.process.files();
            assert!(open <= files + LINKS + AT_THE_DOOR, "{open} files are open");
        }
    }
    assert!(told > 0, "nobody was told why");
    // The hub is as full as it may be, and has nothing to do.
    let before = hub.process.processor_time();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        soon(node.ping(None)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = hub.process.processor_time() - before;
    assert!(used < 20, "it used {used} % of a processor to do nothing");
    let refused = soon(Node::connect_with(&hub.address, hub.options("panel"))).await.unwrap_err();
    assert_eq!(refused.to_string(), "the hub has 100 links, which is all it may have; try again later");
    throng.shutdown().await;
    until("they are gone", || hub.process.files() <= files).await;
    let grown = hub.process.memory().saturating_sub(memory);
    assert!(grown < GROWTH_MAX, "{grown} bytes more than before");
    soon(hub.node("panel").await.ping(Some("press"))).await.unwrap();
}

/// So many links are waited for at a time: all together may take a slow machine longer than a story waits.
const A_PART: usize = 1000;

/// Joins `COUNT` nodes at `HUB`, says how many have, and then when each has got an event.
async fn crowd() {
    const AT_ONCE: usize = 64;
    let count: usize = given("COUNT").parse().unwrap();
    if let Err(why) = may_open(count as u64 + 100) {
        say(&why);
        return std::future::pending().await;
    }
    let mut joining = JoinSet::new();
    let (mut next, mut subscriptions) = (0, Vec::with_capacity(count));
    while subscriptions.len() < count {
        while next < count && joining.len() < AT_ONCE {
            let options = NodeOptions { timeout: PATIENCE, ..NodeOptions::new(format!("crowd/{next}")) };
            next += 1;
            joining.spawn(async move {
                let node = Node::connect_with(given("HUB"), options).await.unwrap();
                // The subscription keeps its node.
                node.subscribe("to/all").await.unwrap()
            });
        }
        subscriptions.push(joining.join_next().await.unwrap().unwrap());
        if subscriptions.len() % A_PART == 0 {
            say(&format!("{} have joined", subscriptions.len()));
        }
    }
    for subscription in &mut subscriptions {
        event(subscription).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(subscriptions.iter_mut().all(|subscription| subscription.try_next().is_none()), "one event for each");
    say("received");
    std::future::pending().await
}

/// Ten thousand links, as many as a hub takes unless it is told otherwise.
#[tokio::test]
async fn ten_thousand_links_get_an_event_each() {
    const COUNT: usize = 10_000;
    /// What a link takes in the hub with one subscription, in bytes, the numbers that it was told included.
    const LINK_BYTES_MAX: u64 = 16 << 10;
    // The limit of the other processes is that of this one; the hub lifts its own as far as it may.
    if let Err(why) = may_open(COUNT as u64 + 100) {
        return println!("skipped: {why}");
    }
    let links = (COUNT + 1).to_string();
    let hub = HubProcess::start_on_a_socket(&[("LINKS", &links)]).await;
    let press = hub.node("press").await;
    soon(press.ping(None)).await.unwrap();
    let before = hub.process.memory();
    let mut crowd = hub.start_process("crowd", "crowd", &[("COUNT", &COUNT.to_string())]);
    for joined in (A_PART..=COUNT).step_by(A_PART) {
        assert_eq!(crowd.says().await, format!("{joined} have joined"));
    }
    let each = (hub.process.memory() - before) / COUNT as u64;
    println!("{each} bytes for each link");
    assert!(each < LINK_BYTES_MAX, "{each} bytes for each link");
    let refused = soon(Node::connect_with(&hub.address, hub.options("panel"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Limit, "{refused}");
    press.publish("to/all", &1).await.unwrap();
    assert_eq!(soon(press.confirm()).await.unwrap(), COUNT as u64);
    assert_eq!(crowd.says().await, "received");
    soon(press.ping(None)).await.unwrap();
    crowd.kill().await;
    until("there is room again", || hub.process.files() < 100).await;
    soon(hub.node("panel").await.ping(Some("press"))).await.unwrap();
}
