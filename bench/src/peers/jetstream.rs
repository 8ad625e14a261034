//! What nats-server keeps: JetStream, used as its key-value store uses it, one subject for each key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Keeps;
use super::client::Client;
use super::nats::{Nats, subject};
use crate::workload::{
    ACKNOWLEDGED_IN_FLIGHT, COMMAND_BYTES, FILL_IN_FLIGHT, Limit, SET_BYTES, SET_KEYS, Tally, Topic, VALUE_BYTES, key,
};

/// The stream behind the keys.
const STREAM: &str = "BENCH";

/// Keys that are made ready beforehand; more are written as they come.
const KEY_LINES_MAX: u64 = 1000;

/// Writes the server's configuration and tells where it is.
pub(super) fn configure(keeps: Keeps, folder: &str) -> io::Result<PathBuf> {
    let sync = if keeps == Keeps::OnDisk { "sync_interval: always" } else { "" };
    let path = Path::new(folder).join("nats.conf");
    fs::write(&path, format!("listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: \"{folder}\"\n{sync} }}\n"))?;
    Ok(path)
}

/// Whether a server of this version can sync before it answers.
pub(super) fn can_sync(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(2), Some(10))
}

/// A link to a server with an empty stream that keeps the last value of each key.
fn connect(addr: &str, keeps: Keeps) -> io::Result<Client<Nats>> {
    connect_with(addr, keeps, 1)
}

/// A link to a server with an empty stream that keeps so many messages of each subject; −1 for all.
fn connect_with(addr: &str, keeps: Keeps, each: i32) -> io::Result<Client<Nats>> {
    let mut client = Client::<Nats>::connect(addr, Topic::Ack)?;
    let storage = if keeps == Keeps::OnDisk { "file" } else { "memory" };
    let config = format!(
        r#"{{"name":"{STREAM}","subjects":["kv.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":{each},"storage":"{storage}","discard":"new","num_replicas":1,"allow_direct":true}}"#
    );
    ask(&mut client, &format!("$JS.API.STREAM.CREATE.{STREAM}"), &config)?;
    Ok(client)
}

/// One request of the API.
fn ask(client: &mut Client<Nats>, what: &str, body: &str) -> io::Result<()> {
    client.write(format!("PUB {what} {} {}\r\n{body}\r\n", subject(Topic::Ack), body.len()).as_bytes())?;
    let mut answer = Vec::new();
    while answer.is_empty() {
        client.turn(|payload| {
            answer.extend_from_slice(payload);
            Ok(())
        })?;
    }
    let answer = String::from_utf8_lossy(&answer);
    if answer.contains("\"error\"") { Err(io::Error::other(format!("nats-server answered {answer}"))) } else { Ok(()) }
}

/// Lines that set keys, ready-made.
fn lines(size: usize) -> Vec<Vec<u8>> {
    (0..KEY_LINES_MAX).map(|number| line(number, size)).collect()
}

fn line(number: u64, size: usize) -> Vec<u8> {
    let value = ".".repeat(size);
    format!("PUB kv.{} {} {size}\r\n{value}\r\n", key(number), subject(Topic::Ack)).into_bytes()
}

pub(super) fn set(addr: &str, in_flight: usize, seconds: Duration) -> io::Result<Tally> {
    let mut client = connect(addr, Keeps::OnDisk)?;
    let lines = lines(SET_BYTES);
    client.pipeline(in_flight, Limit::Time(seconds), |number, bytes| {
        bytes.extend_from_slice(&lines[(number % SET_KEYS) as usize]);
    })
}

/// Adds messages to a stream that keeps all of them.
pub(super) fn command(addr: &str, in_flight: usize, seconds: Duration) -> io::Result<Tally> {
    add(addr, in_flight, Limit::Time(seconds))
}

pub(super) fn fill(addr: &str, count: u64) -> io::Result<()> {
    add(addr, FILL_IN_FLIGHT, Limit::Count(count)).map(drop)
}

fn add(addr: &str, in_flight: usize, limit: Limit) -> io::Result<Tally> {
    let mut client = connect_with(addr, Keeps::OnDisk, -1)?;
    let line = line(0, COMMAND_BYTES);
    client.pipeline(in_flight, limit, |_, bytes| bytes.extend_from_slice(&line))
}

/// Gets all messages of the stream with a consumer that is sent them, again and again.
pub(super) fn catch_up(addr: &str, count: u64, seconds: Duration) -> io::Result<Vec<Duration>> {
    all(addr, "all", COMMAND_BYTES, count, seconds)
}

/// Where followers tell the writer what they have.
const ACKNOWLEDGED: &str = "bench.acknowledged";

/// What a follower tells: so many messages have come to it, and which follower it is, both little-endian. The server's own
/// answers are longer.
const ACKNOWLEDGEMENT_BYTES: usize = 16;

/// Follows the stream so many times for ever, each with a consumer of its own and a thread, and tells the writer what has
/// come: once for all that came in one read.
pub(super) fn follow(addr: &str, followers: usize, ready: impl FnOnce()) -> io::Result<()> {
    drop(connect_with(addr, Keeps::OnDisk, -1)?);
    let mut threads = Vec::new();
    for number in 0..followers {
        let mut client = Client::<Nats>::connect(addr, Topic::Ack)?;
        let to = format!("bench.follower.{number}");
        client.write(format!("SUB {to} 2\r\n").as_bytes())?;
        let body = format!(
            r#"{{"stream_name":"{STREAM}","config":{{"deliver_subject":"{to}","deliver_policy":"all","ack_policy":"none","replay_policy":"instant","mem_storage":true,"num_replicas":1}}}}"#
        );
        ask(&mut client, &format!("$JS.API.CONSUMER.CREATE.{STREAM}"), &body)?;
        // What is answered to others is nothing to this one.
        client.write(b"UNSUB 1\r\n")?;
        client.never_gives_up()?;
        threads.push(std::thread::spawn(move || -> io::Result<()> {
            let mut received: u64 = 0;
            loop {
                let before = received;
                client.turn(|payload| {
                    received += u64::from(payload.len() == COMMAND_BYTES);
                    Ok(())
                })?;
                if received > before {
                    let mut line = format!("PUB {ACKNOWLEDGED} {ACKNOWLEDGEMENT_BYTES}\r\n").into_bytes();
                    line.extend_from_slice(&received.to_le_bytes());
                    line.extend_from_slice(&(number as u64).to_le_bytes());
                    line.extend_from_slice(b"\r\n");
                    client.write(&line)?;
                }
            }
        }));
    }
    ready();
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a follower panicked"))??;
    }
    Ok(())
}

/// Adds messages; each counts when all followers have told that it came.
pub(super) fn acknowledged(addr: &str, followers: usize, seconds: Duration) -> io::Result<Tally> {
    let mut client = Client::<Nats>::connect(addr, Topic::Ack)?;
    client.write(format!("SUB {ACKNOWLEDGED} 2\r\n").as_bytes())?;
    let line = line(0, COMMAND_BYTES);
    let mut received = vec![0_u64; followers];
    let mut all = 0;
    client.pipeline_by(
        ACKNOWLEDGED_IN_FLIGHT,
        Limit::Time(seconds),
        |_, bytes| bytes.extend_from_slice(&line),
        |payload| {
            if payload.len() != ACKNOWLEDGEMENT_BYTES {
                return Ok(0);
            }
            let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| payload[at + byte]));
            let of = usize::try_from(number(8)).ok().and_then(|follower| received.get_mut(follower));
            *of.ok_or_else(|| io::Error::other("an unknown follower acknowledged"))? = number(0);
            let before = std::mem::replace(&mut all, received.iter().copied().min().unwrap_or(0));
            Ok(all - before)
        },
    )
}

/// Sets one key and reads it, one request in flight.
pub(super) fn set_and_get(addr: &str, seconds: Duration) -> io::Result<(Tally, Tally)> {
    let mut client = connect(addr, Keeps::InMemory)?;
    let line = line(0, SET_BYTES);
    let set = client.pipeline(1, Limit::Time(seconds / 2), |_, bytes| bytes.extend_from_slice(&line))?;
    let line = format!("PUB $JS.API.DIRECT.GET.{STREAM}.kv.{} {} 0\r\n\r\n", key(0), subject(Topic::Ack));
    let get = client.pipeline(1, Limit::Time(seconds / 2), |_, bytes| bytes.extend_from_slice(line.as_bytes()))?;
    Ok((set, get))
}

/// Makes `count` values and then gets them all, again and again: as the key-value store's watch does it, with a consumer
/// that is sent the last of each subject.
pub(super) fn values(addr: &str, count: u64, seconds: Duration) -> io::Result<Vec<Duration>> {
    let mut filler = connect(addr, Keeps::InMemory)?;
    filler.pipeline(FILL_IN_FLIGHT, Limit::Count(count), |number, bytes| {
        bytes.extend_from_slice(&line(number, VALUE_BYTES));
    })?;
    all(addr, "last_per_subject", VALUE_BYTES, count, seconds)
}

/// Gets what a consumer with this policy is sent: `count` messages of `size` bytes, again and again.
fn all(addr: &str, policy: &str, size: usize, count: u64, seconds: Duration) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let started = Instant::now();
    while times.is_empty() || started.elapsed() < seconds {
        let mut client = Client::<Nats>::connect(addr, Topic::Data)?;
        let body = format!(
            r#"{{"stream_name":"{STREAM}","config":{{"deliver_subject":"{}","deliver_policy":"{policy}","filter_subject":"kv.>","ack_policy":"none","replay_policy":"instant","mem_storage":true,"num_replicas":1,"inactive_threshold":1000000000}}}}"#,
            subject(Topic::Data)
        );
        let asked = Instant::now();
        // Its answer goes nowhere: what counts is what comes.
        let line = format!("PUB $JS.API.CONSUMER.CREATE.{STREAM} bench.answer {}\r\n{body}\r\n", body.len());
        client.write(line.as_bytes())?;
        let mut received = 0;
        while received < count {
            client.turn(|payload| {
                received += u64::from(payload.len() == size);
                Ok(())
            })?;
        }
        times.push(asked.elapsed());
    }
    Ok(times)
}
