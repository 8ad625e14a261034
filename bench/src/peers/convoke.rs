//! Convoke: the real `Hub` in a process of its own, and the real `Node` on both ends.

use std::io;
use std::time::{Duration, Instant};

use convoke::{Event, Hub, HubOptions, Node, Subscription};

use crate::process;
use crate::workload::{ECHO_BYTES, Outstanding, Receipt, RoundTrips, SILENCE_MAX, end, is_end, payload};

/// Where the publisher's messages go.
const DATA: &str = "bench/data";

/// Where the subscriber's go back.
const ACK: &str = "bench/ack";

/// Runs a hub until this process is told to stop; calls `ready` with the address.
pub(super) fn serve(ready: impl FnOnce(&str)) -> io::Result<()> {
    run(async {
        let hub = Hub::start(HubOptions::listen(["127.0.0.1:0"])).await.map_err(failed)?;
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

pub(super) fn subscribe(addr: &str, size: usize, ready: impl FnOnce()) -> io::Result<(u64, Duration)> {
    run(async {
        let node = Node::connect(addr, "subscriber").await.map_err(failed)?;
        let mut data = node.subscribe(DATA).await.map_err(failed)?;
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

fn run<T>(program: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(program)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
