//! Values in Convoke's hub: set, got, and got by somebody who comes late.

use std::io;
use std::time::{Duration, Instant};

use convoke::{Hub, HubOptions, Node, Payload, SetOptions};

use super::{failed, in_flight, run};
use crate::workload::{FILL_IN_FLIGHT, Limit, SET_BYTES, SET_KEYS, SILENCE_MAX, Tally, VALUE_BYTES, key};

/// All values.
const ALL: &str = "bench/#";

fn name(number: u64) -> String {
    format!("bench/{}", key(number))
}

/// Sets keys one after the other, always `at_once` of them unanswered.
pub(crate) fn set(addr: &str, at_once: usize, seconds: Duration) -> io::Result<Tally> {
    run(async {
        let node = Node::connect(addr, "setter").await.map_err(failed)?;
        set_all(&node, at_once, Limit::Time(seconds), SET_KEYS, SET_BYTES).await
    })
}

async fn set_all(node: &Node, at_once: usize, limit: Limit, keys: u64, size: usize) -> io::Result<Tally> {
    let value = Payload::raw(vec![b'.'; size]);
    let node = node.clone();
    in_flight(at_once, limit, move |number| {
        let (node, value) = (node.clone(), value.clone());
        async move {
            node.set_payload(name(number % keys), value, SetOptions::default()).await.map_err(failed)?;
            Ok(())
        }
    })
    .await
}

/// Sets one key and reads it, one request in flight.
pub(crate) fn set_and_get(addr: &str, seconds: Duration) -> io::Result<(Tally, Tally)> {
    run(async {
        let node = Node::connect(addr, "setter").await.map_err(failed)?;
        set_then_get(&node, seconds).await
    })
}

/// The same with the hub in this process.
pub(crate) fn set_and_get_in_process(seconds: Duration) -> io::Result<(Tally, Tally)> {
    run(async {
        let hub = Hub::start(HubOptions::listen(["mem://bench"])).await.map_err(failed)?;
        let node = Node::connect("mem://bench", "setter").await.map_err(failed)?;
        let tallies = set_then_get(&node, seconds).await?;
        node.leave().await;
        hub.stop().await;
        Ok(tallies)
    })
}

async fn set_then_get(node: &Node, seconds: Duration) -> io::Result<(Tally, Tally)> {
    let limit = Limit::Time(seconds / 2);
    let set = set_all(node, 1, limit, 1, SET_BYTES).await?;
    let node = node.clone();
    let get = in_flight(1, limit, move |_| {
        let node = node.clone();
        async move {
            let value = node.get_value("bench/k0").await.map_err(failed)?;
            let size = value.map(|value| value.payload.bytes.len());
            if size == Some(SET_BYTES) {
                Ok(())
            } else {
                Err(io::Error::other(format!("a value of {size:?} bytes came")))
            }
        }
    });
    Ok((set, get.await?))
}

/// Makes `count` values, and then gets them all, again and again: watched, and asked for.
pub(crate) fn values(addr: &str, count: u64, seconds: Duration) -> io::Result<(Vec<Duration>, Vec<Duration>)> {
    run(async {
        let filler = Node::connect(addr, "filler").await.map_err(failed)?;
        set_all(&filler, FILL_IN_FLIGHT, Limit::Count(count), count, VALUE_BYTES).await?;
        let (mut watched, mut asked_for) = (Vec::new(), Vec::new());
        let started = Instant::now();
        while watched.is_empty() || started.elapsed() < seconds {
            let node = Node::connect(addr, "late").await.map_err(failed)?;
            let asked = Instant::now();
            let mut watch = node.watch(ALL).await.map_err(failed)?;
            let mut received = 0;
            while received < count {
                let next = match watch.try_next() {
                    Some(next) => Some(next),
                    None => tokio::time::timeout(SILENCE_MAX, watch.next()).await?,
                };
                let change = next.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(failed)?;
                if change.payload.is_none_or(|payload| payload.bytes.len() != VALUE_BYTES) {
                    return Err(io::Error::other("another value came"));
                }
                received += 1;
            }
            watched.push(asked.elapsed());
            drop(watch);
            node.leave().await;

            let node = Node::connect(addr, "late").await.map_err(failed)?;
            let asked = Instant::now();
            let values = node.values(ALL).await.map_err(failed)?;
            asked_for.push(asked.elapsed());
            if values.len() as u64 != count || values.iter().any(|value| value.payload.bytes.len() != VALUE_BYTES) {
                return Err(io::Error::other(format!("{} values came where {count} were set", values.len())));
            }
            node.leave().await;
        }
        Ok((watched, asked_for))
    })
}
