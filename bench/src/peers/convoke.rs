//! Convoke: the real `Hub` in a process of its own, and the real `Node` on both ends.

mod calls;
mod journals;
mod kept;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use convoke::{Event, Hub, HubOptions, Node, SubscribeOptions, Subscription, Watch};
use tokio::task::{JoinSet, LocalSet};

pub(super) use calls::{answer, call};
pub(super) use journals::{acknowledged, catch_up, command_for as command, fill, follow, undo};
pub(super) use kept::{set, set_and_get, set_and_get_in_process, values};

use super::client::CONNECTING_MAX;
use super::{Holding, Keeps};
use crate::process;
use crate::workload::{ECHO_BYTES, Limit, Outstanding, Receipt, RoundTrips, SILENCE_MAX, Tally, end, is_end, payload};

/// Where the publisher's messages go.
const DATA: &str = "bench/data";

/// Where the subscriber's go back.
const ACK: &str = "bench/ack";

/// Runs a hub until this process is told to stop; calls `ready` with the address.
pub(super) fn serve(keeps: Keeps, folder: &str, ready: impl FnOnce(&str)) -> io::Result<()> {
    run(async {
        let mut options = HubOptions::listen(["127.0.0.1:0"]);
        if keeps == Keeps::OnDisk {
            options.data = Some(folder.into());
        }
        let hub = Hub::start(options).await.map_err(failed)?;
        ready(&hub.addresses()[0].to_string());
        process::exit_with_parent();
        std::future::pending().await
    })
}

pub(super) fn publish(addr: &str, size: usize, seconds: Duration) -> io::Result<u64> {
    run(async {
        let node = Node::connect(addr, "publisher").await.map_err(failed)?;
        let mut acks = node.subscribe(ACK).await.map_err(failed)?;
        let mut outstanding = Outstanding::new(size);
        let mut message = payload(0, size);
        let started = Instant::now();
        while started.elapsed() < seconds {
            while outstanding.has_room(1) {
                message[..8].copy_from_slice(&outstanding.sent.to_le_bytes());
                node.publish_raw(DATA, &message).await.map_err(failed)?;
                outstanding.sent += 1;
            }
            outstanding.take(&next(&mut acks).await?.payload.bytes)?;
        }
        node.publish_raw(DATA, &end(outstanding.sent, size)).await.map_err(failed)?;
        while !outstanding.all_acked {
            outstanding.take(&next(&mut acks).await?.payload.bytes)?;
        }
        Ok(outstanding.sent)
    })
}

pub(super) fn subscribe(
    addr: &str,
    size: usize,
    group: Option<&str>,
    ready: impl FnOnce(),
) -> io::Result<(u64, Duration)> {
    run(async {
        let node = Node::connect(addr, "subscriber").await.map_err(failed)?;
        let options = SubscribeOptions { group: group.map(str::to_owned) };
        let mut data = node.subscribe_with(DATA, &options).await.map_err(failed)?;
        ready();
        let mut receipt = Receipt::new(size);
        loop {
            receipt.take(&next(&mut data).await?.payload.bytes)?;
            if let Some(ack) = receipt.ack_due() {
                node.publish_raw(ACK, &ack).await.map_err(failed)?;
            }
            if let Some(finished) = receipt.finished() {
                node.leave().await;
                return Ok(finished);
            }
        }
    })
}

pub(super) fn ping(addr: &str, seconds: Duration) -> io::Result<RoundTrips> {
    run(async {
        let node = Node::connect(addr, "publisher").await.map_err(failed)?;
        let mut echoes = node.subscribe(ACK).await.map_err(failed)?;
        let mut round_trips = RoundTrips::default();
        let started = Instant::now();
        let mut number = 0;
        while started.elapsed() < seconds {
            let sent = Instant::now();
            node.publish_raw(DATA, &payload(number, ECHO_BYTES)).await.map_err(failed)?;
            next(&mut echoes).await?;
            round_trips.push(sent.elapsed());
            number += 1;
        }
        node.publish_raw(DATA, &end(number, ECHO_BYTES)).await.map_err(failed)?;
        node.leave().await;
        Ok(round_trips)
    })
}

pub(super) fn echo(addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    run(async {
        let node = Node::connect(addr, "subscriber").await.map_err(failed)?;
        let mut data = node.subscribe(DATA).await.map_err(failed)?;
        ready();
        loop {
            let event = next(&mut data).await?;
            if is_end(&event.payload.bytes)? {
                node.leave().await;
                return Ok(());
            }
            node.publish_raw(ACK, &event.payload.bytes).await.map_err(failed)?;
        }
    })
}

/// What an idle link is kept with: dropping it would end it.
pub(super) struct Idle {
    _node: Node,
    _subscription: Option<Subscription>,
    _watch: Option<Watch>,
}

/// Opens links, some at a time, gives them to `done` with the time that took, and keeps them until that returns.
pub(super) fn idle(
    addr: &str,
    count: usize,
    holding: Holding,
    done: impl FnOnce(Duration) -> io::Result<()>,
) -> io::Result<()> {
    let tasks = LocalSet::new();
    run(tasks.run_until(async {
        let started = Instant::now();
        let mut connecting = JoinSet::new();
        let addr: Rc<str> = addr.into();
        let mut idle: Vec<Idle> = Vec::new();
        for number in 0..count {
            if connecting.len() == CONNECTING_MAX
                && let Some(opened) = connecting.join_next().await
            {
                idle.push(opened??);
            }
            connecting.spawn_local(open(addr.clone(), number, holding));
        }
        while let Some(opened) = connecting.join_next().await {
            idle.push(opened??);
        }
        done(started.elapsed())?;
        // The nodes go on living in this runtime.
        std::future::pending().await
    }))
}

async fn open(addr: Rc<str>, number: usize, holding: Holding) -> io::Result<Idle> {
    let node = Node::connect(&*addr, &format!("idle-{number}")).await.map_err(failed)?;
    let mut idle = Idle { _node: node.clone(), _subscription: None, _watch: None };
    match holding {
        Holding::Nothing => {}
        Holding::Subscription => idle._subscription = Some(node.subscribe(DATA).await.map_err(failed)?),
        Holding::Watch => idle._watch = Some(node.watch(DATA).await.map_err(failed)?),
    }
    Ok(idle)
}

/// Makes requests, always `at_once` of them unanswered: as many tasks that each make one after the other, as a program
/// with much to do would.
pub(super) async fn in_flight<F, R>(at_once: usize, limit: Limit, request: F) -> io::Result<Tally>
where
    F: Fn(u64) -> R + Clone + Send + 'static,
    R: Future<Output = io::Result<()>> + Send,
{
    let made = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let (made, request) = (made.clone(), request.clone());
        tasks.spawn(async move {
            let mut round_trips = RoundTrips::default();
            // The clock is read once for each: when one is answered the next is made.
            let mut asked = started;
            loop {
                let number = made.fetch_add(1, Ordering::Relaxed);
                if !limit.allows(number, asked - started) {
                    return Ok::<_, io::Error>(round_trips);
                }
                request(number).await?;
                let answered = Instant::now();
                round_trips.push(answered - asked);
                asked = answered;
            }
        });
    }
    let mut round_trips = RoundTrips::default();
    while let Some(done) = tasks.join_next().await {
        round_trips.extend(done??);
    }
    Ok(Tally { count: round_trips.len() as u64, elapsed: started.elapsed(), round_trips })
}

async fn next(subscription: &mut Subscription) -> io::Result<Event> {
    // What is there already needs no timer.
    let next = match subscription.try_next() {
        Some(next) => Some(next),
        None => tokio::time::timeout(SILENCE_MAX, subscription.next()).await?,
    };
    match next {
        Some(Ok(event)) => Ok(event),
        Some(Err(missed)) => Err(failed(missed)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

pub(super) fn run<T>(program: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(program)
}

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
