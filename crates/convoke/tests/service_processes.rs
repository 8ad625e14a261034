//! Story: those who offer services are processes, which are killed, stopped, and come and go.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use convoke::{CallOptions, Code, Error, Member, MemberState, Members, Node, Outcome, Registration, Selector};
use rustix::process::Signal;
use support::hub_process::{HubProcess, hub, node_of_a_process};
use support::process::{Process, given, play, say};
use support::*;
use tokio::task::JoinSet;

/// What a call of a story may take: longer than the story.
const DEADLINE: Duration = Duration::from_secs(60);

/// After this a call of a provider that is gone has ended: the five seconds that it has to come back, and a busy machine.
const TOLD: Duration = Duration::from_secs(15);

/// What a process of a story does; see [`play`].
#[test]
#[ignore = "it is the other processes of the stories"]
fn child() {
    play(async |role| match role {
        "hub" => hub().await,
        "provider" => provider().await,
        other => panic!("there is no role {other}"),
    });
}

/// Offers `work`, and writes down each call before it does anything else.
async fn provider() {
    let node = node_of_a_process().await;
    let log = Arc::new(File::options().create(true).append(true).open(given("LOG")).unwrap());
    let name = node.name().to_string();
    let _work = node
        .serve("work", move |(call, hold, _): (u64, Duration, String)| {
            (&*log).write_all(format!("{call}\n").as_bytes()).unwrap();
            let name = name.clone();
            async move {
                tokio::time::sleep(hold).await;
                Ok(name)
            }
        })
        .await
        .unwrap();
    say("serving");
    std::future::pending().await
}

/// A hub, and who calls its providers.
struct Work {
    hub: HubProcess,
    caller: Caller,
}

/// Who calls, and counts the calls.
#[derive(Clone)]
struct Caller {
    panel: Node,
    call_last: Arc<AtomicU64>,
}

impl Caller {
    /// Calls `work`, and tells it to hold the call for some time.
    async fn call(self, select: Selector, hold: Duration, filler: usize) -> Ended {
        let call = self.call_last.fetch_add(1, Ordering::Relaxed) + 1;
        let options = CallOptions { select, timeout: Some(DEADLINE), ..CallOptions::default() };
        let begun = Instant::now();
        let end = self.panel.call_with("work", &(call, hold, "x".repeat(filler)), options).await;
        Ended { call, end, took: begun.elapsed() }
    }
}

/// What came of a call.
struct Ended {
    call: u64,
    end: Result<String, Error>,
    took: Duration,
}

impl Work {
    async fn new(variables: &[(&'static str, &str)]) -> Work {
        let hub = HubProcess::start(variables).await;
        let panel = hub.node("panel").await;
        Work { hub, caller: Caller { panel, call_last: Arc::default() } }
    }

    fn log(&self, provider: &str) -> PathBuf {
        self.hub.folder.path().join(provider)
    }

    async fn provider(&self, name: &str) -> Process {
        let log = self.log(name).display().to_string();
        let mut process = self.hub.start_process("provider", name, &[("LOG", &log)]);
        assert_eq!(process.says().await, "serving");
        process
    }

    fn call(&self, select: Selector, hold: Duration, filler: usize) -> impl Future<Output = Ended> + use<> {
        self.caller.clone().call(select, hold, filler)
    }

    /// Calls the providers in turn, one after the other, until it is enough.
    fn load(&self, lanes: &mut JoinSet<Vec<Ended>>, enough: &Arc<AtomicBool>) {
        for _ in 0..8 {
            let (caller, enough) = (self.caller.clone(), enough.clone());
            lanes.spawn(async move {
                let mut ended = Vec::new();
                while !enough.load(Ordering::SeqCst) {
                    ended.push(caller.clone().call(Selector::RoundRobin, Duration::ZERO, 0).await);
                }
                ended
            });
        }
    }

    /// Compares what callers were told with what providers have written down.
    fn check(&self, ended: &[Ended], providers: &[&str]) {
        let mut handled: BTreeMap<u64, &str> = BTreeMap::new();
        for provider in providers {
            for call in read_log(&self.log(provider)) {
                if let Some(before) = handled.insert(call, provider) {
                    panic!("call {call} was handled by {before} and by {provider}");
                }
            }
        }
        for Ended { call, end, took } in ended {
            assert!(*took < DEADLINE / 2, "call {call} took {took:?}");
            match end {
                Ok(by) => assert_eq!(handled.get(call).copied(), Some(by.as_str()), "call {call}"),
                Err(error) if error.outcome() == Outcome::NotDone => {
                    assert_eq!(handled.get(call), None, "call {call} was not done: {error}");
                }
                Err(error) => assert_eq!(error.code(), Code::ProviderLost, "{error}"),
            }
        }
    }
}

/// The calls that a provider has handled; the last line may be half written.
fn read_log(log: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(|line| line.parse().unwrap()).collect()
}

fn lost(ended: &Ended) -> bool {
    ended.end.as_ref().is_err_and(|error| error.outcome() == Outcome::Indeterminate)
}

fn by(ended: &Ended, provider: &str) -> bool {
    ended.end.as_ref().is_ok_and(|by| by == provider)
}

#[tokio::test]
async fn calls_of_a_provider_that_is_killed_end_long_before_their_time_is_over() {
    const HELD: usize = 16;
    let work = Work::new(&[]).await;
    let first = work.provider("press-1").await;
    let second = work.provider("press-2").await;
    let (mut lanes, enough) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    work.load(&mut lanes, &enough);
    let mut held = JoinSet::new();
    for _ in 0..HELD {
        held.spawn(work.call(Selector::Node("press-1".into()), DEADLINE, 0));
    }
    // All that are held are among them, since they come in turn with the others; then some more.
    let handled = |provider: &str| read_log(&work.log(provider)).len();
    until("some calls are handled", || handled("press-1") > HELD + 50 && handled("press-2") > 50).await;
    first.kill().await;
    let killed = Instant::now();
    let mut ended = soon(held.join_all()).await;
    assert!(killed.elapsed() < TOLD, "it took {:?}", killed.elapsed());
    assert!(ended.iter().all(lost), "what is held by who is gone may have been done");
    // The other one goes on, and one that comes back takes its part again.
    let before = handled("press-2");
    until("the other one goes on", || handled("press-2") > before + 50).await;
    let before = handled("press-1");
    let first = work.provider("press-1").await;
    until("it is back", || handled("press-1") > before + 50).await;
    enough.store(true, Ordering::SeqCst);
    let loaded: Vec<Ended> = soon(lanes.join_all()).await.into_iter().flatten().collect();
    let lost_of_load = loaded.iter().filter(|ended| lost(ended)).count();
    // Each lane had one call under way.
    assert!(lost_of_load <= 8, "{lost_of_load} were lost");
    assert!(loaded.iter().all(|ended| lost(ended) || ended.end.is_ok()), "there was always somebody who could do it");
    ended.extend(loaded);
    work.check(&ended, &["press-1", "press-2"]);
    drop((first, second));
}

#[tokio::test]
async fn calls_that_never_reached_who_was_killed_are_handled_by_another() {
    const CALLS: usize = 100;
    const BYTES: usize = 200_000;
    let work = Work::new(&[]).await;
    let first = work.provider("press-1").await;
    let second = work.provider("press-2").await;
    // What it is sent waits in its socket until that is full, and then in the hub.
    first.stop().await;
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        calls.spawn(work.call(Selector::First, Duration::ZERO, BYTES));
    }
    let open = || async { census(&work.caller.panel).await["calls"].as_u64().unwrap() };
    let some = async {
        let mut open_last = 0;
        // Until no more come: those that have no room with the first have gone to the second, and are done.
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let open = open().await;
            if open > 10 && open == open_last {
                return open;
            }
            open_last = open;
        }
    };
    let open = soon(some).await as usize;
    first.kill().await;
    let ended = soon(calls.join_all()).await;
    assert!(ended.iter().all(|ended| ended.took < TOLD), "each is told soon");
    let (lost, done) =
        (ended.iter().filter(|one| lost(one)).count(), ended.iter().filter(|one| by(one, "press-2")).count());
    assert_eq!(lost + done, CALLS);
    assert!(lost > 0 && lost < open, "{lost} of {open} were written to it");
    work.check(&ended, &["press-1", "press-2"]);
    drop(second);
}

#[tokio::test]
async fn what_was_under_way_with_who_comes_back_as_another_is_told_at_once() {
    let work = Work::new(&[]).await;
    let first = work.provider("press-1").await;
    let mut held = JoinSet::new();
    for _ in 0..8 {
        held.spawn(work.call(Selector::Default, DEADLINE, 0));
    }
    until("all are under way", || read_log(&work.log("press-1")).len() == 8).await;
    first.kill().await;
    let again = work.provider("press-1").await;
    let back = Instant::now();
    let ended = soon(held.join_all()).await;
    assert!(back.elapsed() < Duration::from_secs(3), "it took {:?}", back.elapsed());
    assert!(ended.iter().all(lost), "who comes back as another does not know of them");
    let more = soon(work.call(Selector::Default, Duration::ZERO, 0)).await;
    assert!(by(&more, "press-1"));
    work.check(&ended, &["press-1"]);
    drop(again);
}

/// The next thing that becomes of this node but for its load.
async fn becomes(members: &mut Members, name: &str, state: MemberState) -> Member {
    loop {
        let member = soon(members.next()).await.expect("the watch lives").expect("nothing is missing");
        if member.name.as_str() == name && member.state == state {
            return member;
        }
    }
}

#[tokio::test]
async fn a_provider_that_stands_still_is_given_up_and_serves_again_when_it_goes_on() {
    let work = Work::new(&[("BEAT_MS", "200")]).await;
    let mut members = work.caller.panel.members().await.unwrap();
    let press = work.provider("press-1").await;
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        calls.spawn(work.call(Selector::Default, DEADLINE, 0));
    }
    until("all are under way", || read_log(&work.log("press-1")).len() == 8).await;
    becomes(&mut members, "press-1", MemberState::Alive).await;
    press.stop().await;
    let stopped = Instant::now();
    // These it gets, but nobody knows that it does nothing with them.
    for _ in 0..8 {
        calls.spawn(work.call(Selector::Default, Duration::ZERO, 0));
    }
    becomes(&mut members, "press-1", MemberState::Suspect).await;
    becomes(&mut members, "press-1", MemberState::Dead).await;
    let mut ended = soon(calls.join_all()).await;
    assert!(stopped.elapsed() < TOLD, "it took {:?}", stopped.elapsed());
    assert!(ended.iter().all(lost), "what it has may be done");
    let refused = soon(work.call(Selector::Default, Duration::ZERO, 0)).await;
    let error = refused.end.as_ref().unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Code::NoProvider, Outcome::NotDone), "{error}");
    ended.push(refused);

    press.signal(Signal::CONT);
    becomes(&mut members, "press-1", MemberState::Alive).await;
    let options = CallOptions { wait_for_provider: true, timeout: Some(PATIENCE), ..CallOptions::default() };
    let next = work.caller.call_last.fetch_add(1, Ordering::Relaxed) + 1;
    let answer: String = soon(work.caller.panel.call_with("work", &(next, Duration::ZERO, ""), options)).await.unwrap();
    assert_eq!(answer, "press-1");
    for _ in 0..20 {
        let more = soon(work.call(Selector::Default, Duration::ZERO, 0)).await;
        assert!(by(&more, "press-1"));
        ended.push(more);
    }
    work.check(&ended, &["press-1"]);
}

#[tokio::test]
async fn what_a_provider_had_when_it_stood_still_for_a_moment_is_answered() {
    let work = Work::new(&[("BEAT_MS", "200")]).await;
    let mut members = work.caller.panel.members().await.unwrap();
    let press = work.provider("press-1").await;
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        calls.spawn(work.call(Selector::Default, Duration::from_secs(1), 0));
    }
    until("all are under way", || read_log(&work.log("press-1")).len() == 8).await;
    becomes(&mut members, "press-1", MemberState::Alive).await;
    press.stop().await;
    for _ in 0..8 {
        calls.spawn(work.call(Selector::Default, Duration::ZERO, 0));
    }
    becomes(&mut members, "press-1", MemberState::Dead).await;
    press.signal(Signal::CONT);
    let ended = soon(calls.join_all()).await;
    assert!(
        ended.iter().all(|ended| by(ended, "press-1")),
        "{:?}",
        ended.iter().map(|one| &one.end).collect::<Vec<_>>()
    );
    work.check(&ended, &["press-1"]);
}

/// All that the hub counts.
async fn census(node: &Node) -> serde_json::Value {
    soon(node.get("$hub/status")).await.unwrap().unwrap()
}

/// What the hub holds for those who are there, and nothing else.
const OF_THOSE_WHO_ARE_THERE: [&str; 14] = [
    "links",
    "nodes",
    "members",
    "patterns",
    "subscriptions",
    "topics",
    "pings",
    "timers",
    "values",
    "watches",
    "services",
    "registrations",
    "calls",
    "parties",
];

/// Providers that come, offer something that all do and something of their own, and are called.
async fn come(hub: &HubProcess, panel: &Node, round: usize) -> Vec<(Node, Vec<Registration>)> {
    let mut nodes = Vec::new();
    for n in 0..50 {
        let node = hub.node(&format!("comes/{round}/{n}")).await;
        // Of this round: who came in the one before may still be about to leave, and would be called as well.
        let own = format!("own/{round}/{n}");
        let work = node.serve("work", |n: u64| async move {
            // Some are under way whenever it goes.
            tokio::time::sleep(Duration::from_millis(n % 20)).await;
            Ok(n)
        });
        let work = work.await.unwrap();
        let own_work = node.serve(&own, |n: u64| async move { Ok(n) }).await.unwrap();
        nodes.push((node, vec![work, own_work]));
        assert_eq!(soon(panel.call::<_, u64>(&own, &n)).await.unwrap(), n);
    }
    nodes
}

/// Calls whoever is there, again and again, without waiting for an answer first: those who are gone take their time.
async fn load(panel: Node, answered: Arc<AtomicU64>, enough: Arc<AtomicBool>) {
    let mut calls = JoinSet::new();
    for n in 0_u64.. {
        if enough.load(Ordering::SeqCst) {
            break;
        }
        let (panel, answered) = (panel.clone(), answered.clone());
        calls.spawn(async move {
            let options = CallOptions { wait_for_provider: n.is_multiple_of(2), ..CallOptions::default() };
            match panel.call_with::<_, u64>("work", &n, options).await {
                Ok(answer) => {
                    assert_eq!(answer, n);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => assert!(matches!(error.code(), Code::NoProvider | Code::ProviderLost), "{error}"),
            }
        });
        tokio::time::sleep(Duration::from_millis(3)).await;
        while let Some(ended) = calls.try_join_next() {
            ended.unwrap();
        }
    }
    calls.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thousand_providers_that_come_and_go_leave_nothing_behind() {
    const ROUNDS: usize = 20;
    /// What the hub's memory may grow by while it stays as busy as it was, in bytes.
    const GROWTH_MAX: u64 = 8 << 20;
    let hub = HubProcess::start_on_a_socket(&[("BEAT_MS", "100")]).await;
    let panel = hub.node("panel").await;
    soon(panel.call::<_, u64>("nobody", &0)).await.unwrap_err();
    let before = census(&panel).await;
    let enough = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let load = tokio::spawn(load(panel.clone(), answered.clone(), enough.clone()));
    let mut memory = 0;
    for round in 0..ROUNDS {
        let before = answered.load(Ordering::SeqCst);
        let called = until("they are called", || answered.load(Ordering::SeqCst) > before + 10);
        if round % 2 == 0 {
            let here = come(&hub, &panel, round).await;
            called.await;
            // They say goodbye.
            drop(here);
        } else {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let come = come(&hub, &panel, round);
            let here = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(come)).join().unwrap());
            called.await;
            // Their program is gone, with all that it was doing.
            runtime.shutdown_background();
            drop(here);
        }
        if round == ROUNDS / 4 {
            memory = hub.process.memory();
        }
    }
    enough.store(true, Ordering::SeqCst);
    soon(load).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = census(&panel).await;
        let left: Vec<_> = OF_THOSE_WHO_ARE_THERE
            .into_iter()
            .filter(|what| now[*what] != before[*what])
            .map(|what| format!("{what}: {} and not {}", now[what], before[what]))
            .collect();
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{left:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let grown = hub.process.memory().saturating_sub(memory);
    assert!(grown < GROWTH_MAX, "from {memory} by {grown} bytes");
    println!("{} calls were answered; the hub's memory grew by {grown} bytes", answered.load(Ordering::SeqCst));
}
