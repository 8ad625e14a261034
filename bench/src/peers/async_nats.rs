//! A nats-server as its users drive it: with `async-nats`, their client library, on both ends.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use ::async_nats::{Client, ConnectOptions, Message, Subject, Subscriber};
use tokio_stream::{Stream, StreamExt};

use super::convoke::{failed, in_flight, run};
use super::nats::subject;
use crate::workload::{
    CALL_BYTES, ECHO_BYTES, Limit, Outstanding, Receipt, RoundTrips, SILENCE_MAX, Tally, Topic, WINDOW_MESSAGES_MAX,
    end, is_end, payload,
};

const fn name(topic: Topic) -> Subject {
    Subject::from_static(subject(topic))
}

/// Connects, with room for all that may be under way: the library drops what a subscription has no room for.
async fn connect(addr: &str) -> io::Result<Client> {
    ConnectOptions::new().subscription_capacity(2 * WINDOW_MESSAGES_MAX).connect(addr).await.map_err(failed)
}

/// Subscribes; the server knows it when this returns.
async fn subscribed(client: &Client, topic: Topic) -> io::Result<Subscriber> {
    let subscriber = client.subscribe(name(topic)).await.map_err(failed)?;
    client.flush().await.map_err(failed)?;
    Ok(subscriber)
}

async fn next(subscriber: &mut Subscriber) -> io::Result<Message> {
    // What is there already needs no timer.
    let next = match poll_fn(|context| Poll::Ready(Pin::new(&mut *subscriber).poll_next(context))).await {
        Poll::Ready(next) => next,
        Poll::Pending => tokio::time::timeout(SILENCE_MAX, subscriber.next()).await?,
    };
    next.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

pub(super) fn publish(addr: &str, size: usize, seconds: Duration) -> io::Result<u64> {
    run(async {
        let client = connect(addr).await?;
        let mut acks = subscribed(&client, Topic::Ack).await?;
        let mut outstanding = Outstanding::new(size);
        let started = Instant::now();
        while started.elapsed() < seconds {
            while outstanding.has_room(1) {
                let message = payload(outstanding.sent, size).into();
                client.publish(name(Topic::Data), message).await.map_err(failed)?;
                outstanding.sent += 1;
            }
            outstanding.take(&next(&mut acks).await?.payload)?;
        }
        client.publish(name(Topic::Data), end(outstanding.sent, size).into()).await.map_err(failed)?;
        while !outstanding.all_acked {
            outstanding.take(&next(&mut acks).await?.payload)?;
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
        let client = connect(addr).await?;
        let mut data = match group {
            None => subscribed(&client, Topic::Data).await?,
            Some(group) => {
                let data = client.queue_subscribe(name(Topic::Data), group.to_owned()).await.map_err(failed)?;
                client.flush().await.map_err(failed)?;
                data
            }
        };
        ready();
        let mut receipt = Receipt::new(size);
        loop {
            receipt.take(&next(&mut data).await?.payload)?;
            if let Some(ack) = receipt.ack_due() {
                client.publish(name(Topic::Ack), ack.into()).await.map_err(failed)?;
            }
            if let Some(finished) = receipt.finished() {
                client.flush().await.map_err(failed)?;
                return Ok(finished);
            }
        }
    })
}

pub(super) fn ping(addr: &str, seconds: Duration) -> io::Result<RoundTrips> {
    run(async {
        let client = connect(addr).await?;
        let mut echoes = subscribed(&client, Topic::Ack).await?;
        let mut round_trips = RoundTrips::default();
        let started = Instant::now();
        let mut number = 0;
        while started.elapsed() < seconds {
            let sent = Instant::now();
            client.publish(name(Topic::Data), payload(number, ECHO_BYTES).into()).await.map_err(failed)?;
            next(&mut echoes).await?;
            round_trips.push(sent.elapsed());
            number += 1;
        }
        client.publish(name(Topic::Data), end(number, ECHO_BYTES).into()).await.map_err(failed)?;
        client.flush().await.map_err(failed)?;
        Ok(round_trips)
    })
}

pub(super) fn echo(addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    run(async {
        let client = connect(addr).await?;
        let mut data = subscribed(&client, Topic::Data).await?;
        ready();
        loop {
            let message = next(&mut data).await?;
            if is_end(&message.payload)? {
                return Ok(());
            }
            client.publish(name(Topic::Ack), message.payload).await.map_err(failed)?;
        }
    })
}

/// Answers calls for ever, after `ready` was called.
pub(super) fn answer(addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    run(async {
        let client = connect(addr).await?;
        let mut calls = subscribed(&client, Topic::Data).await?;
        ready();
        while let Some(call) = calls.next().await {
            let reply = call.reply.ok_or_else(|| io::Error::other("a call without a way back"))?;
            client.publish(reply, call.payload).await.map_err(failed)?;
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    })
}

/// Makes calls, always `at_once` of them unanswered.
pub(super) fn call(addr: &str, at_once: usize, seconds: Duration) -> io::Result<Tally> {
    run(async {
        let client = connect(addr).await?;
        let message = bytes::Bytes::from(payload(0, CALL_BYTES));
        in_flight(at_once, Limit::Time(seconds), move |_| {
            let (client, message) = (client.clone(), message.clone());
            async move {
                let answer = client.request(name(Topic::Data), message).await.map_err(failed)?;
                if answer.payload.len() == CALL_BYTES { Ok(()) } else { Err(io::Error::other("another payload came")) }
            }
        })
        .await
    })
}
