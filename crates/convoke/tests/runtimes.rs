//! Story: programs run on one thread or on many, and may publish in a loop that never pauses.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use convoke::Missed;
use support::*;

/// Publishes in a tight loop to a subscriber on the same runtime. What it loses, it is told.
async fn a_loop_that_never_pauses(transport: Transport) {
    const COUNT: u64 = 200_000;
    let stage = Stage::new(transport).await;
    let press = stage.node("press").await;
    let panel = stage.node("panel").await;
    let mut all = panel.subscribe("a").await.unwrap();
    let mut own = press.subscribe("a").await.unwrap();
    let reading = [
        tokio::spawn(async move { tally(&mut all, 1, COUNT).await }),
        tokio::spawn(async move { tally(&mut own, 1, COUNT).await }),
    ];
    let publishing = tokio::spawn(async move {
        for n in 0..COUNT {
            press.publish("a", &n).await.unwrap();
        }
        press.confirm().await.unwrap();
        press
    });
    let press = soon(publishing).await.unwrap();
    for read in reading {
        let tally = soon(read).await.unwrap();
        assert_eq!(tally.received + tally.lagged, COUNT, "{tally:?}");
    }
    soon(press.leave()).await;
}

/// A subscription that is always readable does not keep the others of its thread waiting.
async fn a_reader_that_is_flooded_leaves_room_for_others(transport: Transport) {
    let stage = Stage::new(transport).await;
    let panel = stage.node("panel").await;
    let mut all = panel.subscribe("a").await.unwrap();
    let (address, options) = (stage.address.clone(), stage.options("press"));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let flooding = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let press = convoke::Node::connect_with(address, options).await.unwrap();
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                for _ in 0..100 {
                    press.publish_raw("a", &[0; 1000]).await.unwrap();
                }
            }
        });
    });
    let reading = tokio::spawn(async move {
        let mut last = 0;
        while let Some(got) = all.next().await {
            match got {
                Ok(event) => {
                    assert_eq!(event.seq, last + 1);
                    last = event.seq;
                }
                Err(Missed::Lagged(count)) => last += count,
                Err(missed) => panic!("{missed}"),
            }
        }
    });
    // Another node of the same thread, and the flooded one itself, are answered all the while.
    let other = stage.node("other").await;
    for _ in 0..30 {
        soon(other.ping(None)).await.unwrap();
        soon(panel.ping(Some("other"))).await.unwrap();
        soon(other.ping(Some("panel"))).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert!(!reading.is_finished());
    reading.abort();
    stop.send(()).unwrap();
    until("the publisher has ended", || flooding.is_finished()).await;
}

macro_rules! on_every_runtime {
    ($($story:ident)*) => {$(
        mod $story {
            use super::*;

            on_every_runtime! { @ $story, mem, Mem }
            on_every_runtime! { @ $story, tcp, Tcp }
            on_every_runtime! { @ $story, unix, Unix }
        }
    )*};
    (@ $story:ident, $module:ident, $transport:ident) => {
        mod $module {
            use super::*;

            #[tokio::test]
            async fn on_one_thread() {
                $story(Transport::$transport).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_many_threads() {
                $story(Transport::$transport).await;
            }
        }
    };
}

on_every_runtime! {
    a_loop_that_never_pauses
    a_reader_that_is_flooded_leaves_room_for_others
}
