//! Story: a program uses what another offers as if it were its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use convoke::{
    CallOptions, Code, Error, Failure, Headers, Name, Node, NodeOptions, Outcome, Payload, Registration, Selector,
    ServeOptions,
};
use support::*;
use tokio::sync::{Notify, Semaphore};

/// Offers to say who it is.
async fn who(node: &Node) -> Registration {
    let name = node.name().to_string();
    node.serve("who", move |(): ()| std::future::ready(Ok(name.clone()))).await.unwrap()
}

fn select(select: Selector) -> CallOptions {
    CallOptions { select, ..CallOptions::default() }
}

fn within(time: Duration) -> CallOptions {
    CallOptions { timeout: Some(time), ..CallOptions::default() }
}

/// How many calls the hub has that have not ended.
async fn open_calls(node: &Node) -> u64 {
    #[derive(serde::Deserialize)]
    struct Status {
        calls: u64,
    }
    soon(node.get::<Status>("$hub/status")).await.unwrap().unwrap().calls
}

/// Tells when it is dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

on_every_transport! {
    async fn a_service_is_called_like_a_function(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let _add = calc.serve("math/add", |(a, b): (i64, i64)| async move { Ok(a + b) }).await.unwrap();
        let sum: i64 = soon(panel.call("math/add", &(1, 2))).await.unwrap();
        assert_eq!(sum, 3);
        let sum: i64 = soon(calc.call("convoke:math/add", &(3, 4))).await.unwrap();
        assert_eq!(sum, 7);
    }

    async fn a_handler_knows_who_calls_and_what_was_beside_it(stage: Stage) {
        let calc = stage.node("calc").await;
        let options = NodeOptions { author: Some("ann".into()), ..stage.options("panel") };
        let panel = Node::connect_with(&stage.address, options).await.unwrap();
        let _seen = calc.serve_payload("seen", ServeOptions::default(), |call| async move {
            assert!(call.time_left() > Duration::from_secs(4) && call.time_left() <= Duration::from_secs(5));
            let trace = call.headers.get("trace").unwrap_or_default().to_owned();
            let text: String = call.payload.decode()?;
            Ok(Payload::text(format!("{} {} {trace} {text}", call.caller, call.author)))
        }).await.unwrap();
        let headers = Headers::from_iter([("trace", "7")]);
        let options = CallOptions { headers, ..within(Duration::from_secs(5)) };
        let reply = soon(panel.call_payload("seen", Payload::text("hello"), options)).await.unwrap();
        assert_eq!(reply, Payload::text("panel ann 7 hello"));
    }

    async fn many_calls_in_flight_are_each_answered_right(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let _square = calc.serve("square", |n: u64| async move { Ok(n * n) }).await.unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for lane in 0..64u64 {
            let panel = panel.clone();
            calls.spawn(async move {
                for n in lane * 100..lane * 100 + 100 {
                    assert_eq!(panel.call::<_, u64>("square", &n).await.unwrap(), n * n);
                }
            });
        }
        soon(calls.join_all()).await;
        assert_eq!(open_calls(&panel).await, 0);
    }

    async fn long_payloads_pass(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let _copy = calc.serve("copy", |text: String| async move { Ok(text) }).await.unwrap();
        let long = "0123456789".repeat(50_000);
        assert_eq!(soon(panel.call::<_, String>("copy", &long)).await.unwrap(), long);
        let _fill = calc.serve("fill", |n: usize| async move { Ok("x".repeat(n)) }).await.unwrap();
        let error = soon(panel.call::<_, String>("fill", &(2 << 20))).await.unwrap_err();
        assert!(matches!(&error, Error::Failed(failure) if failure.kind == "TooLarge"), "{error}");
        let error = soon(panel.call::<_, String>("copy", &"x".repeat(2 << 20))).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::TooLarge, Outcome::NotDone));
        assert_eq!(soon(panel.call::<_, String>("copy", "still there")).await.unwrap(), "still there");
    }

    async fn handlers_begin_in_the_order_of_their_calls(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(0));
        let _note = calc.serve("note", {
            let (seen, gate) = (seen.clone(), gate.clone());
            move |n: u32| {
                let (seen, gate) = (seen.clone(), gate.clone());
                async move {
                    seen.lock().unwrap().push(n);
                    // None is done before all have begun, which is as many as run at a time.
                    drop(gate.acquire().await?);
                    Ok(())
                }
            }
        }).await.unwrap();
        let calls = futures(&panel, "note", 0..200).await;
        until("all have begun", || seen.lock().unwrap().len() == 200).await;
        assert_eq!(*seen.lock().unwrap(), (0..200).collect::<Vec<_>>());
        gate.close();
        for call in calls {
            // The gate is closed, which is an error of the program's.
            let error = soon(call).await.unwrap().unwrap_err();
            assert!(matches!(&error, Error::Failed(failure) if failure.kind == "AcquireError"), "{error}");
        }
    }

    async fn one_at_a_time_is_one_at_a_time(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let busy = Arc::new(AtomicUsize::new(0));
        let options = ServeOptions { concurrency: 1, ..ServeOptions::default() };
        let _slow = calc.serve_with("slow", options, move |n: u32| {
            let busy = busy.clone();
            async move {
                assert_eq!(busy.fetch_add(1, Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                busy.fetch_sub(1, Ordering::SeqCst);
                Ok(n)
            }
        }).await.unwrap();
        for (n, call) in futures(&panel, "slow", 0..50).await.into_iter().enumerate() {
            assert_eq!(soon(call).await.unwrap().unwrap(), n as u32);
        }
    }

    async fn what_went_wrong_is_told_apart(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let error = soon(panel.call::<_, ()>("nobody", &())).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)));
        assert_eq!((error.code(), error.outcome()), (Code::NoProvider, Outcome::NotDone));

        let _fails = calc.serve("fails", |(): ()| async move {
            Err::<(), _>(Failure { payload: Payload::text("more"), ..Failure::new("Jammed", "the press is jammed") })
        }).await.unwrap();
        let error = soon(panel.call::<_, ()>("fails", &())).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::Failed, Outcome::Done));
        assert_eq!(error.to_string(), "Jammed: the press is jammed");
        assert!(matches!(error, Error::Failed(failure) if failure.payload == Payload::text("more")));

        let _parses = calc.serve("parses", |text: String| async move { Ok(text.parse::<i64>()?) }).await.unwrap();
        let error = soon(panel.call::<_, i64>("parses", "x")).await.unwrap_err();
        assert!(matches!(&error, Error::Failed(failure) if failure.kind == "ParseIntError"), "{error}");

        let error = soon(panel.call::<_, i64>("parses", &[1])).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::BadRequest, Outcome::NotDone));
        let error = soon(panel.call::<_, String>("parses", "1")).await.unwrap_err();
        assert!(matches!(&error, Error::Failed(failure) if failure.kind == "BadPayload"), "{error}");
        assert_eq!(error.outcome(), Outcome::Done);

        let _panics = calc.serve("panics", |now: bool| {
            assert!(!now, "at once");
            async move { if true { panic!("later") } else { Ok(()) } }
        }).await.unwrap();
        for now in [true, false] {
            let error = soon(panel.call::<_, ()>("panics", &now)).await.unwrap_err();
            assert!(matches!(&error, Error::Failed(failure) if failure.kind == "panic"), "{error}");
        }

        let _sleeps = calc.serve("sleeps", |(): ()| async move {
            std::future::pending::<()>().await;
            Ok(())
        }).await.unwrap();
        let started = Instant::now();
        let error = soon(panel.call_with::<_, ()>("sleeps", &(), within(Duration::from_millis(100)))).await.unwrap_err();
        assert!(matches!(error, Error::Unanswered(..)) && started.elapsed() >= Duration::from_millis(100));
        assert_eq!((error.code(), error.outcome()), (Code::TimedOut, Outcome::Indeterminate));

        let error = soon(panel.call::<_, ()>("a//b", &())).await.unwrap_err();
        assert!(matches!(error, Error::BadName(_)));
        let error = soon(panel.serve("$hub/x", |(): ()| async move { Ok(()) })).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized(_)));
    }

    async fn a_call_that_waits_is_answered_by_who_comes(stage: Stage) {
        let panel = stage.node("panel").await;
        let options = CallOptions { wait_for_provider: true, ..CallOptions::default() };
        let (address, node) = (stage.address.clone(), stage.options("calc"));
        let (answer, calc) = tokio::join!(soon(panel.call_with::<_, i64>("math/add", &(1, 2), options)), async {
            let calc = Node::connect_with(&address, node).await.unwrap();
            let add = calc.serve("math/add", |(a, b): (i64, i64)| async move { Ok(a + b) }).await.unwrap();
            (calc, add)
        });
        assert_eq!(answer.unwrap(), 3);
        drop(calc);
        let options = CallOptions { wait_for_provider: true, ..within(Duration::from_millis(50)) };
        let error = soon(panel.call_with::<_, i64>("math/never", &(1, 2), options)).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::TimedOut, Outcome::NotDone));
    }

    async fn a_call_that_is_dropped_is_cancelled(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let _sleeps = calc.serve("sleeps", {
            let (begun, dropped) = (begun.clone(), dropped.clone());
            move |(): ()| {
                let (begun, dropped) = (begun.clone(), Dropped(dropped.clone()));
                async move {
                    begun.notify_one();
                    std::future::pending::<()>().await;
                    drop(dropped);
                    Ok(())
                }
            }
        }).await.unwrap();
        tokio::select! {
            _ = panel.call::<_, ()>("sleeps", &()) => unreachable!("it sleeps"),
            () = soon(begun.notified()) => {}
        }
        soon(dropped.notified()).await;
        // So it is when its caller leaves, and when its time is over.
        let call = tokio::spawn({
            let panel = panel.clone();
            async move { panel.call::<_, ()>("sleeps", &()).await }
        });
        soon(begun.notified()).await;
        panel.leave().await;
        soon(dropped.notified()).await;
        let error = soon(call).await.unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Indeterminate);
        let other = stage.node("other").await;
        let call = other.call_with::<_, ()>("sleeps", &(), within(Duration::from_millis(50)));
        assert_eq!(soon(call).await.unwrap_err().code(), Code::TimedOut);
        soon(dropped.notified()).await;
        soon(async { while open_calls(&other).await > 0 {} }).await;
    }

    async fn a_dropped_registration_lets_its_handlers_finish(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = calc.serve("slow", {
            let (begun, go_on) = (begun.clone(), go_on.clone());
            move |(): ()| {
                let (begun, go_on) = (begun.clone(), go_on.clone());
                async move {
                    begun.notify_one();
                    go_on.notified().await;
                    Ok("done")
                }
            }
        }).await.unwrap();
        assert_eq!(slow.service().as_str(), "slow");
        let call = tokio::spawn({
            let panel = panel.clone();
            async move { panel.call::<_, String>("slow", &()).await }
        });
        soon(begun.notified()).await;
        drop(slow);
        soon(calc.barrier()).await.unwrap();
        assert_eq!(soon(panel.call::<_, ()>("slow", &())).await.unwrap_err().code(), Code::NoProvider);
        // Not even the last handle to its node is needed.
        drop(calc);
        go_on.notify_one();
        assert_eq!(soon(call).await.unwrap().unwrap(), "done");
    }

    async fn a_nested_call_has_no_more_time_than_is_left(stage: Stage) {
        let (outer, inner) = (stage.node("outer").await, stage.node("inner").await);
        let _inner = inner.serve_payload("inner", ServeOptions::default(), |call| async move {
            Ok(Payload::encode(&call.time_left())?)
        }).await.unwrap();
        let _outer = outer.serve("outer", {
            let outer = outer.clone();
            move |timeout: Option<Duration>| {
                let outer = outer.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let options = CallOptions { timeout, ..CallOptions::default() };
                    Ok(outer.call_with::<_, Duration>("inner", &(), options).await?)
                }
            }
        }).await.unwrap();
        let panel = stage.node("panel").await;
        for (own, most) in [(None, 2900), (Some(Duration::from_secs(60)), 2900), (Some(Duration::from_secs(1)), 1000)] {
            let call = panel.call_with::<_, Duration>("outer", &own, within(Duration::from_secs(3)));
            let left = soon(call).await.unwrap();
            assert!(left <= Duration::from_millis(most) && left > Duration::from_millis(most / 2), "{own:?}: {left:?}");
        }
    }

    async fn an_error_of_a_nested_call_reaches_the_first_caller_as_it_was(stage: Stage) {
        let calc = stage.node("calc").await;
        let _inner = calc.serve("inner", |(): ()| async move { Err::<(), _>(Failure::new("Jammed", "no")) }).await.unwrap();
        let _outer = calc.serve("outer", {
            let calc = calc.clone();
            move |name: String| {
                let calc = calc.clone();
                async move { Ok(calc.call::<_, ()>(name, &()).await?) }
            }
        }).await.unwrap();
        for (name, expected) in [("inner", "Jammed: no"), ("none", "NoProvider: call to `none`: nobody offers it")] {
            let error = soon(calc.call::<_, ()>("outer", name)).await.unwrap_err();
            assert!(matches!(&error, Error::Failed(_)) && error.to_string().starts_with(expected), "{error}");
        }
    }

    async fn a_selector_chooses_who_handles_it(stage: Stage) {
        let nodes = [stage.node("one").await, stage.node("two").await, stage.node("three").await];
        let mut offered = Vec::new();
        for node in &nodes {
            offered.push(who(node).await);
        }
        let panel = stage.node("panel").await;
        let ask = async |choice: Selector| panel.call_with::<_, String>("who", &(), select(choice)).await.unwrap();
        let mut turn = Vec::new();
        for _ in 0..6 {
            turn.push(ask(Selector::RoundRobin).await);
        }
        assert_eq!(turn[..3], turn[3..], "one after the other");
        assert_eq!(ask(Selector::First).await, "one");
        assert_eq!(ask(Selector::Node("two".into())).await, "two");
        let choose: convoke::Choose = Arc::new(|all| {
            assert_eq!(all.iter().map(|one| one.node.as_str()).collect::<Vec<_>>(), ["one", "two", "three"]);
            all.last().map(|one| one.node.clone())
        });
        assert_eq!(ask(Selector::Choose(choose)).await, "three");
        let none: convoke::Choose = Arc::new(|_| None);
        let error = panel.call_with::<_, String>("who", &(), select(Selector::Choose(none))).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::NoProvider, Outcome::NotDone));
        for choice in [Selector::Default, Selector::Random, Selector::LeastBusy, Selector::CpuUsage, Selector::FreeRam] {
            ask(choice).await;
        }
        let error = panel.call_with::<_, String>("who", &(), select(Selector::Node("four".into()))).await.unwrap_err();
        assert_eq!(error.code(), Code::NoProvider);
    }

    async fn all_who_offer_it_are_called(stage: Stage) {
        let nodes = [stage.node("one").await, stage.node("two").await];
        let mut offered = Vec::new();
        for node in &nodes {
            offered.push(who(node).await);
        }
        let odd = stage.node("odd").await;
        let _odd = odd.serve("who", |(): ()| async move { Err::<String, _>(Failure::new("Odd", "")) }).await.unwrap();
        let panel = stage.node("panel").await;
        let all: Vec<(Name, Result<String, Error>)> =
            soon(panel.call_all("who", &(), CallOptions::default())).await.unwrap();
        let all: Vec<(&str, Result<&str, Code>)> = all.iter().map(|(node, reply)| {
            (node.as_str(), reply.as_ref().map(String::as_str).map_err(Error::code))
        }).collect();
        assert_eq!(all, [("one", Ok("one")), ("two", Ok("two")), ("odd", Err(Code::Failed))]);
        let none = soon(panel.call_all::<_, ()>("nobody", &(), CallOptions::default())).await.unwrap();
        assert!(none.is_empty());
    }

    async fn a_provider_that_leaves_ends_its_calls_at_once(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let begun = Arc::new(Notify::new());
        let _sleeps = calc.serve("sleeps", {
            let begun = begun.clone();
            move |(): ()| {
                begun.notify_one();
                std::future::pending::<Result<(), Failure>>()
            }
        }).await.unwrap();
        let call = tokio::spawn({
            let panel = panel.clone();
            async move { panel.call::<_, ()>("sleeps", &()).await }
        });
        soon(begun.notified()).await;
        let started = Instant::now();
        calc.leave().await;
        let error = soon(call).await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::ProviderLost, Outcome::Indeterminate));
        assert!(started.elapsed() < Duration::from_secs(3));
    }

    async fn services_come_back_after_the_hub_was_restarted(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let begun = Arc::new(Notify::new());
        let go_on = Arc::new(Notify::new());
        let handled = Arc::new(AtomicUsize::new(0));
        let _slow = calc.serve("slow", {
            let (begun, go_on, handled) = (begun.clone(), go_on.clone(), handled.clone());
            move |n: u32| {
                let (begun, go_on, handled) = (begun.clone(), go_on.clone(), handled.clone());
                async move {
                    handled.fetch_add(1, Ordering::SeqCst);
                    begun.notify_one();
                    if n == 0 {
                        go_on.notified().await;
                    }
                    Ok(n)
                }
            }
        }).await.unwrap();
        let call = tokio::spawn({
            let panel = panel.clone();
            async move { panel.call_with::<_, u32>("slow", &0, within(PATIENCE)).await }
        });
        soon(begun.notified()).await;
        let stage = stage.restart().await;
        let options = CallOptions { wait_for_provider: true, ..within(PATIENCE) };
        assert_eq!(soon(panel.call_with::<_, u32>("slow", &1, options)).await.unwrap(), 1);
        go_on.notify_one();
        assert_eq!(soon(call).await.unwrap().unwrap(), 0, "the call of before the restart is answered");
        assert_eq!(handled.load(Ordering::SeqCst), 2, "and was handled once");
        drop(stage);
    }

    async fn without_a_link_a_call_is_refused_or_waits(stage: Stage) {
        let calc = stage.node("calc").await;
        let panel = stage.node("panel").await;
        let _copy = calc.serve("copy", |n: u32| async move { Ok(n) }).await.unwrap();
        let stopped = stage.stop().await;
        until_offline(&panel).await;
        let error = panel.call::<_, u32>("copy", &1).await.unwrap_err();
        assert!(matches!(error, Error::Offline(_)) && error.outcome() == Outcome::NotDone);
        let options = CallOptions { wait_for_provider: true, ..within(Duration::from_millis(50)) };
        let error = soon(panel.call_with::<_, u32>("copy", &1, options)).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::TimedOut, Outcome::NotDone));
        let options = CallOptions { wait_for_provider: true, ..within(PATIENCE) };
        let (stage, reply) = tokio::join!(stopped.start(), soon(panel.call_with::<_, u32>("copy", &2, options)));
        assert_eq!(reply.unwrap(), 2);
        drop(stage);
    }

    async fn an_idempotent_call_goes_to_another_provider_when_its_own_is_lost(stage: Stage) {
        let (one, two) = (stage.node("one").await, stage.node("two").await);
        let panel = stage.node("panel").await;
        let begun = Arc::new(Notify::new());
        let options = ServeOptions { idempotent: true, ..ServeOptions::default() };
        let _one = one.serve_with("s", options, {
            let begun = begun.clone();
            move |(): ()| {
                begun.notify_one();
                std::future::pending::<Result<String, Failure>>()
            }
        }).await.unwrap();
        let call = tokio::spawn({
            let panel = panel.clone();
            async move { panel.call::<_, String>("s", &()).await }
        });
        soon(begun.notified()).await;
        let _two = two.serve_with("s", options, |(): ()| async move { Ok("two") }).await.unwrap();
        one.leave().await;
        assert_eq!(soon(call).await.unwrap().unwrap(), "two");
    }
}

#[tokio::test]
async fn a_call_that_waits_ends_in_time_while_nobody_answers_at_the_address() {
    // Somebody listens there and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let node = Node::open(address, NodeOptions::new("panel")).unwrap();
    let started = Instant::now();
    let options = CallOptions { wait_for_provider: true, ..within(Duration::from_millis(300)) };
    let error = soon(node.call_with::<_, ()>("s", &(), options)).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Code::TimedOut, Outcome::NotDone));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

type Pending = tokio::task::JoinHandle<Result<u32, Error>>;

/// Calls with each of these, in their order.
async fn futures(node: &Node, service: &'static str, numbers: std::ops::Range<u32>) -> Vec<Pending> {
    let mut calls = Vec::new();
    for n in numbers {
        let node = node.clone();
        let (sent, made) = tokio::sync::oneshot::channel();
        calls.push(tokio::spawn(async move {
            let mut call = std::pin::pin!(node.call::<_, u32>(service, &n));
            // Polled once, it is on its way.
            let first = std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context))).await;
            let _ = sent.send(());
            match first {
                std::task::Poll::Ready(reply) => reply,
                std::task::Poll::Pending => call.await,
            }
        }));
        made.await.unwrap();
    }
    calls
}
