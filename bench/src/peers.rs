//! What is compared. Each peer can be served in a process of its own, and driven by clients in others.
//!
//! Adding one: a file, a variant, and an arm in each function here for what it can do.

mod async_nats;
mod client;
mod convoke;
mod floor;
mod jetstream;
mod nats;
mod redis;
mod tonic;

use std::io;
use std::time::Duration;

use crate::measure::Workload;
use crate::workload::{RoundTrips, Tally};
use floor::Floor;
use nats::Nats;

/// What a hub must keep, and so how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Nothing: events and calls only.
    Nothing,
    /// Values, as long as it runs.
    InMemory,
    /// Values, on disk before it answers.
    OnDisk,
}

impl Keeps {
    /// What it is on a command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::InMemory => "in-memory",
            Self::OnDisk => "on-disk",
        }
    }

    /// Understands a word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Nothing, Self::InMemory, Self::OnDisk].into_iter().find(|keeps| keeps.word() == word)
    }
}

/// What an idle link has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// Nothing.
    Nothing,
    /// One subscription.
    Subscription,
    /// One watch of a value.
    Watch,
}

impl Holding {
    /// All of them, in the table's order.
    pub(crate) const ALL: [Self; 3] = [Self::Nothing, Self::Subscription, Self::Watch];

    /// What it is on a command line and in a table.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Subscription => "subscription",
            Self::Watch => "watch",
        }
    }

    /// Understands a word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|holding| holding.word() == word)
    }
}

/// A program to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The bare relay in this program.
    Floor,
    /// Convoke's own hub, with real nodes on both ends.
    Convoke,
    /// A nats-server.
    Nats {
        /// Its path.
        program: String,
        /// What it says of itself.
        version: String,
    },
    /// A nats-server, driven by the client library of its users.
    AsyncNats {
        /// Its path.
        program: String,
    },
    /// A redis-server.
    Redis {
        /// Its path.
        program: String,
        /// What it says of itself.
        version: String,
    },
    /// A caller and a provider without a hub.
    Tonic,
}

impl Peer {
    /// Every kind there is, installed or not.
    pub(crate) const KINDS: [&str; 6] = ["floor", "convoke", "nats", "async-nats", "redis", "tonic"];

    /// What can be measured on this machine, in the table's order; `kinds` chooses, and all are chosen if it is empty.
    pub(crate) fn available(kinds: &[String]) -> Vec<Self> {
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        let servers = nats::installed();
        // With the first of them: what is compared is the library.
        let async_nats = servers.first().map(|(path, _)| Self::AsyncNats { program: text(path.clone()) });
        let nats = servers.into_iter().map(|(path, version)| Self::Nats { program: text(path), version });
        let redis = redis::installed().into_iter().map(|(path, version)| Self::Redis { program: text(path), version });
        let peers =
            [Self::Floor, Self::Convoke].into_iter().chain(nats).chain(async_nats).chain(redis).chain([Self::Tonic]);
        peers.filter(|peer| kinds.is_empty() || kinds.iter().any(|kind| kind == peer.kind())).collect()
    }

    /// What a person calls it on the command line.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Convoke => "convoke",
            Self::Nats { .. } => "nats",
            Self::AsyncNats { .. } => "async-nats",
            Self::Redis { .. } => "redis",
            Self::Tonic => "tonic",
        }
    }

    /// What the table calls it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Floor | Self::Convoke => self.kind().to_owned(),
            Self::Nats { version, .. } => format!("nats {version}"),
            Self::AsyncNats { .. } => "nats + async-nats".to_owned(),
            Self::Redis { version, .. } => format!("redis {version}"),
            Self::Tonic => "tonic, no hub".to_owned(),
        }
    }

    /// The program that is its hub; empty if it is this one.
    pub(crate) fn program(&self) -> &str {
        match self {
            Self::Floor | Self::Convoke | Self::Tonic => "",
            Self::Nats { program, .. } | Self::AsyncNats { program } | Self::Redis { program, .. } => program,
        }
    }

    /// Whether this peer can do that at all.
    pub(crate) fn can(&self, workload: Workload) -> bool {
        match (self, workload) {
            (Self::Convoke, _)
            | (Self::Tonic | Self::Floor | Self::Nats { .. } | Self::AsyncNats { .. }, Workload::Calls(_))
            | (Self::Floor | Self::Nats { .. } | Self::AsyncNats { .. }, Workload::Events(_) | Workload::Echo)
            | (Self::AsyncNats { .. }, Workload::Group(_))
            | (Self::Floor | Self::Redis { .. }, Workload::Sets(_) | Workload::Commands(_))
            | (Self::Redis { .. }, Workload::Journal(_))
            | (Self::Redis { .. } | Self::Nats { .. }, Workload::Values(_) | Workload::SetAndGet)
            | (Self::Floor | Self::Redis { .. } | Self::Nats { .. }, Workload::Idle(_)) => true,
            (
                Self::Nats { version, .. },
                Workload::Sets(_) | Workload::Commands(_) | Workload::Journal(_) | Workload::Followers(_),
            ) => jetstream::can_sync(version),
            _ => false,
        }
    }

    /// Whether an idle link of this peer can ask for that.
    pub(crate) fn can_hold(&self, holding: Holding) -> bool {
        match self {
            Self::Floor => holding == Holding::Nothing,
            Self::Nats { .. } | Self::Redis { .. } => holding != Holding::Watch,
            Self::Convoke | Self::AsyncNats { .. } | Self::Tonic => true,
        }
    }

    /// Whether it needs somebody beside the hub who answers calls.
    pub(crate) fn has_provider(&self) -> bool {
        *self != Self::Tonic
    }
}

/// Runs a hub of this kind until the parent ends; `ready` gets its address and the process to account for.
pub(crate) fn serve(
    kind: &str,
    program: &str,
    keeps: Keeps,
    folder: &str,
    ready: impl FnOnce(&str, u32),
) -> io::Result<()> {
    match kind {
        "floor" => floor::serve(|addr| ready(addr, std::process::id())),
        "convoke" => convoke::serve(keeps, folder, |addr| ready(addr, std::process::id())),
        "nats" | "async-nats" => nats::serve(program, keeps, folder, ready),
        "redis" => redis::serve(program, keeps, folder, ready),
        "tonic" => tonic::serve(|addr| ready(addr, std::process::id())),
        _ => Err(unknown(kind)),
    }
}

/// Publishes payloads of `size` bytes for `seconds`; returns how many.
pub(crate) fn publish(kind: &str, addr: &str, size: usize, seconds: Duration) -> io::Result<u64> {
    match kind {
        "floor" => client::publish::<Floor>(addr, size, seconds),
        "convoke" => convoke::publish(addr, size, seconds),
        "nats" => client::publish::<Nats>(addr, size, seconds),
        "async-nats" => async_nats::publish(addr, size, seconds),
        _ => Err(unknown(kind)),
    }
}

/// Receives payloads of `size` bytes until the end; returns how many, and the time from the first to the end.
pub(crate) fn subscribe(kind: &str, addr: &str, size: usize, ready: impl FnOnce()) -> io::Result<(u64, Duration)> {
    match kind {
        "floor" => client::subscribe::<Floor>(addr, size, ready),
        "convoke" => convoke::subscribe(addr, size, None, ready),
        "nats" => client::subscribe::<Nats>(addr, size, ready),
        "async-nats" => async_nats::subscribe(addr, size, None, ready),
        _ => Err(unknown(kind)),
    }
}

/// As [`subscribe`], as the only member of a group.
pub(crate) fn share(kind: &str, addr: &str, size: usize, ready: impl FnOnce()) -> io::Result<(u64, Duration)> {
    match kind {
        "convoke" => convoke::subscribe(addr, size, Some("workers"), ready),
        "async-nats" => async_nats::subscribe(addr, size, Some("workers"), ready),
        _ => Err(unknown(kind)),
    }
}

/// Sends one message after the other for `seconds`, each when the one before came back.
pub(crate) fn ping(kind: &str, addr: &str, seconds: Duration) -> io::Result<RoundTrips> {
    match kind {
        "floor" => client::ping::<Floor>(addr, seconds),
        "convoke" => convoke::ping(addr, seconds),
        "nats" => client::ping::<Nats>(addr, seconds),
        "async-nats" => async_nats::ping(addr, seconds),
        _ => Err(unknown(kind)),
    }
}

/// Sends back what comes, until the end.
pub(crate) fn echo(kind: &str, addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    match kind {
        "floor" => client::echo::<Floor>(addr, ready),
        "convoke" => convoke::echo(addr, ready),
        "nats" => client::echo::<Nats>(addr, ready),
        "async-nats" => async_nats::echo(addr, ready),
        _ => Err(unknown(kind)),
    }
}

/// Answers calls for ever, after `ready` was called.
pub(crate) fn answer(kind: &str, addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    match kind {
        "floor" => client::answer::<Floor>(addr, ready),
        "convoke" => convoke::answer(addr, ready),
        "nats" => client::answer::<Nats>(addr, ready),
        "async-nats" => async_nats::answer(addr, ready),
        _ => Err(unknown(kind)),
    }
}

/// Makes calls for `seconds`, always `in_flight` of them unanswered.
pub(crate) fn call(kind: &str, addr: &str, in_flight: usize, seconds: Duration) -> io::Result<Tally> {
    match kind {
        "floor" => client::call::<Floor>(addr, in_flight, seconds),
        "convoke" => convoke::call(addr, in_flight, seconds),
        "nats" => client::call::<Nats>(addr, in_flight, seconds),
        "async-nats" => async_nats::call(addr, in_flight, seconds),
        "tonic" => tonic::call(addr, in_flight, seconds),
        _ => Err(unknown(kind)),
    }
}

/// Sets values durably for `seconds`, always `in_flight` of them unanswered.
pub(crate) fn set(kind: &str, addr: &str, folder: &str, in_flight: usize, seconds: Duration) -> io::Result<Tally> {
    match kind {
        "floor" => floor::set(folder, in_flight, seconds),
        "convoke" => convoke::set(addr, in_flight, seconds),
        "nats" => jetstream::set(addr, in_flight, seconds),
        "redis" => redis::set(addr, in_flight, seconds),
        _ => Err(unknown(kind)),
    }
}

/// Appends commands durably for `seconds`, always `in_flight` of them unanswered.
pub(crate) fn command(kind: &str, addr: &str, folder: &str, in_flight: usize, seconds: Duration) -> io::Result<Tally> {
    match kind {
        "floor" => floor::set(folder, in_flight, seconds),
        "convoke" => convoke::command(addr, in_flight, seconds),
        "nats" => jetstream::command(addr, in_flight, seconds),
        "redis" => redis::command(addr, in_flight, seconds),
        _ => Err(unknown(kind)),
    }
}

/// Makes a journal of `count` commands.
pub(crate) fn fill(kind: &str, addr: &str, count: u64) -> io::Result<()> {
    match kind {
        "convoke" => convoke::fill(addr, count),
        "nats" => jetstream::fill(addr, count),
        "redis" => redis::fill(addr, count),
        _ => Err(unknown(kind)),
    }
}

/// Gets all commands of that journal, again and again for `seconds`; returns how long each time took.
pub(crate) fn catch_up(kind: &str, addr: &str, count: u64, seconds: Duration) -> io::Result<Vec<Duration>> {
    match kind {
        "convoke" => convoke::catch_up(addr, count, seconds),
        "nats" => jetstream::catch_up(addr, count, seconds),
        "redis" => redis::catch_up(addr, count, seconds),
        _ => Err(unknown(kind)),
    }
}

/// Follows a journal so many times for ever, and acknowledges what comes, after `ready` was called.
pub(crate) fn follow(kind: &str, addr: &str, followers: usize, ready: impl FnOnce()) -> io::Result<()> {
    match kind {
        "convoke" => convoke::follow(addr, followers, ready),
        "nats" => jetstream::follow(addr, followers, ready),
        _ => Err(unknown(kind)),
    }
}

/// Appends commands durably for `seconds`, always so many of them not yet acknowledged by all of the `followers`.
pub(crate) fn acknowledged(kind: &str, addr: &str, followers: usize, seconds: Duration) -> io::Result<Tally> {
    match kind {
        "convoke" => convoke::acknowledged(addr, followers, seconds),
        "nats" => jetstream::acknowledged(addr, followers, seconds),
        _ => Err(unknown(kind)),
    }
}

/// With a replica of that journal: undoes the last command and does it again, one after the other, for `seconds`.
pub(crate) fn undo(kind: &str, addr: &str, count: u64, seconds: Duration) -> io::Result<Tally> {
    match kind {
        "convoke" => convoke::undo(addr, count, seconds),
        _ => Err(unknown(kind)),
    }
}

/// How long it took to get many values: as somebody who comes late and stays, and by asking once.
type Arrivals = (Vec<Duration>, Vec<Duration>);

/// Makes `count` values and gets them again and again for `seconds`.
pub(crate) fn values(kind: &str, addr: &str, count: u64, seconds: Duration) -> io::Result<Arrivals> {
    match kind {
        "convoke" => convoke::values(addr, count, seconds),
        "nats" => jetstream::values(addr, count, seconds).map(|times| (times, Vec::new())),
        "redis" => redis::values(addr, count, seconds).map(|times| (times.clone(), times)),
        _ => Err(unknown(kind)),
    }
}

/// Sets one key, then reads it, one request in flight, for `seconds` in all.
pub(crate) fn set_and_get(kind: &str, addr: &str, seconds: Duration) -> io::Result<(Tally, Tally)> {
    match kind {
        "convoke" => convoke::set_and_get(addr, seconds),
        "nats" => jetstream::set_and_get(addr, seconds),
        "redis" => redis::set_and_get(addr, seconds),
        "convoke-in-process" => convoke::set_and_get_in_process(seconds),
        _ => Err(unknown(kind)),
    }
}

/// Opens `count` links, gives `done` the time that took, and keeps them.
pub(crate) fn idle(
    kind: &str,
    addr: &str,
    count: usize,
    holding: Holding,
    done: impl FnOnce(Duration) -> io::Result<()>,
) -> io::Result<()> {
    let subscribe = holding == Holding::Subscription;
    match kind {
        "convoke" => convoke::idle(addr, count, holding, done),
        "floor" => keep(floor::idle(addr, count)?, done),
        "nats" => keep(nats::idle(addr, count, subscribe)?, done),
        "redis" => keep(redis::idle(addr, count, subscribe)?, done),
        _ => Err(unknown(kind)),
    }
}

fn keep<T>(opened: (T, Duration), done: impl FnOnce(Duration) -> io::Result<()>) -> io::Result<()> {
    done(opened.1)?;
    // Until the parent has seen enough, which ends this process.
    std::thread::park();
    drop(opened.0);
    Ok(())
}

fn unknown(kind: &str) -> io::Error {
    io::Error::other(format!("no peer is called `{kind}`"))
}
