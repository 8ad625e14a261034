//! Journals of Convoke's hub: appended to, followed by who comes late, undone.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke::{EntriesOptions, Entry, Node, Payload, State, Who};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{failed, in_flight, run};
use crate::workload::{ACKNOWLEDGED_IN_FLIGHT, COMMAND_BYTES, Limit, RoundTrips, SILENCE_MAX, Tally};

/// The journal.
const JOURNAL: &str = "bench";

/// Commands that are appended at once to make a journal long, and how often at the same time.
const FILL_GROUP: u64 = 250;
const FILL_GROUPS: usize = 8;

/// A state that only counts: what is measured is what undo costs beside the program's own work.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter(u64);

impl State for Counter {
    type Command = (u64, String);
    type Output = u64;

    fn apply(&mut self, (more, _): &(u64, String), _: &Entry) -> u64 {
        self.0 = self.0.wrapping_add(*more);
        self.0
    }
}

/// One more, in as many bytes as the commands of others have: three of them say where the number and the text begin.
fn command() -> io::Result<Payload> {
    let command = Payload::encode(&(1_u64, ".".repeat(COMMAND_BYTES - 3))).map_err(failed)?;
    if command.bytes.len() == COMMAND_BYTES { Ok(command) } else { Err(io::Error::other("it has another length")) }
}

/// Appends commands one by one, always `at_once` of them unanswered.
pub(crate) fn command_for(addr: &str, at_once: usize, seconds: Duration) -> io::Result<Tally> {
    run(append(addr, at_once, Limit::Time(seconds), 1))
}

/// Makes a journal of `count` commands.
pub(crate) fn fill(addr: &str, count: u64) -> io::Result<()> {
    run(async {
        append(addr, FILL_GROUPS, Limit::Count(count / FILL_GROUP), FILL_GROUP).await?;
        append(addr, 1, Limit::Count(count % FILL_GROUP), 1).await?;
        Ok(())
    })
}

async fn append(addr: &str, at_once: usize, limit: Limit, group: u64) -> io::Result<Tally> {
    let node = Node::connect(addr, "appender").await.map_err(failed)?;
    let commands: Arc<[Payload]> = vec![command()?; group as usize].into();
    let appender = node.clone();
    let tally = in_flight(at_once, limit, move |_| {
        let (node, commands) = (appender.clone(), commands.clone());
        async move {
            node.append_payloads(JOURNAL, &commands, None).await.map_err(failed)?;
            Ok(())
        }
    });
    let tally = tally.await?;
    node.leave().await;
    Ok(tally)
}

/// Gets all of a journal as somebody who comes late, again and again.
pub(crate) fn catch_up(addr: &str, count: u64, seconds: Duration) -> io::Result<Vec<Duration>> {
    run(async {
        let mut times = Vec::new();
        let started = Instant::now();
        while times.is_empty() || started.elapsed() < seconds {
            let node = Node::connect(addr, "late").await.map_err(failed)?;
            let asked = Instant::now();
            let mut entries = node.entries(JOURNAL, 0).await.map_err(failed)?;
            for number in 1..=count {
                let next = match entries.try_next() {
                    Some(next) => Some(next),
                    None => tokio::time::timeout(SILENCE_MAX, entries.next()).await?,
                };
                let (entry, command) = next.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(failed)?;
                if entry.seq != number || command.is_none_or(|command| command.bytes.len() != COMMAND_BYTES) {
                    return Err(io::Error::other(format!("{entry:?} came where {number} was due")));
                }
            }
            times.push(asked.elapsed());
            drop(entries);
            node.leave().await;
        }
        Ok(times)
    })
}

/// Follows the journal so many times for ever, and tells the hub what has come.
pub(crate) fn follow(addr: &str, followers: usize, ready: impl FnOnce()) -> io::Result<()> {
    run(async {
        let mut tasks = JoinSet::new();
        for number in 0..followers {
            let node = Node::connect(addr, &format!("follower-{number}")).await.map_err(failed)?;
            let options = EntriesOptions { member: true, ..EntriesOptions::default() };
            let mut entries = node.entries_with(JOURNAL, options).await.map_err(failed)?;
            tasks.spawn(async move {
                let mut applied = 0;
                loop {
                    let next = match entries.try_next() {
                        Some(next) => Some(next),
                        None => {
                            entries.applied(applied);
                            entries.next().await
                        }
                    };
                    let (entry, _) = next.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(failed)?;
                    applied += 1;
                    if entry.seq != applied {
                        return Err(io::Error::other(format!("{entry:?} came where {applied} was due")));
                    }
                }
            });
        }
        ready();
        if let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    })
}

/// Appends commands; each counts when all followers have acknowledged it.
pub(crate) fn acknowledged(addr: &str, followers: usize, seconds: Duration) -> io::Result<Tally> {
    run(async {
        let node = Node::connect(addr, "appender").await.map_err(failed)?;
        let command: Arc<[Payload]> = [command()?].into();
        in_flight(ACKNOWLEDGED_IN_FLIGHT, Limit::Time(seconds), move |_| {
            let (node, command) = (node.clone(), command.clone());
            async move {
                let seq = node.append_payloads(JOURNAL, &command, None).await.map_err(failed)?;
                let by = node.applied_by(JOURNAL, seq, Who::All, SILENCE_MAX).await.map_err(failed)?;
                if by.reached && by.applied == followers { Ok(()) } else { Err(io::Error::other(format!("{by:?}"))) }
            }
        })
        .await
    })
}

/// With a replica of a journal: undoes the last command and does it again, one after the other.
pub(crate) fn undo(addr: &str, count: u64, seconds: Duration) -> io::Result<Tally> {
    run(async {
        // One's own are undone.
        let node = Node::connect(addr, "appender").await.map_err(failed)?;
        let counter = node.follow::<Counter>(JOURNAL).await.map_err(failed)?;
        let mut round_trips = RoundTrips::default();
        let started = Instant::now();
        while round_trips.len() == 0 || started.elapsed() < seconds {
            let asked = Instant::now();
            counter.undo().await.map_err(failed)?;
            round_trips.push(asked.elapsed());
            let left = counter.read(|counter| counter.0);
            counter.redo().await.map_err(failed)?;
            if left >= count || counter.read(|counter| counter.0) != count {
                return Err(io::Error::other(format!("{left} of {count} commands counted after an undo")));
            }
        }
        Ok(Tally { count: round_trips.len() as u64, elapsed: started.elapsed(), round_trips })
    })
}
