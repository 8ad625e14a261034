//! The hubs that are compared. Each can be served in a process of its own, and driven by a client in two others.
//!
//! Adding one: a file, and an arm in each function here.

mod client;
mod convoke;
mod floor;
mod nats;

use std::io;
use std::time::Duration;

use crate::workload::RoundTrips;
use floor::Floor;
use nats::Nats;

/// A hub to compare.
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
}

impl Peer {
    /// What can be measured on this machine, in the table's order; `kinds` chooses, and all are chosen if it is empty.
    pub(crate) fn available(kinds: &[String]) -> Vec<Self> {
        let nats = nats::installed()
            .into_iter()
            .map(|(program, version)| Self::Nats { program: program.to_string_lossy().into_owned(), version });
        let peers = [Self::Floor, Self::Convoke].into_iter().chain(nats);
        peers.filter(|peer| kinds.is_empty() || kinds.iter().any(|kind| kind == peer.kind())).collect()
    }

    /// What a person calls it on the command line.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Convoke => "convoke",
            Self::Nats { .. } => "nats",
        }
    }

    /// What the table calls it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Floor => "floor".to_owned(),
            Self::Convoke => "convoke".to_owned(),
            Self::Nats { version, .. } => format!("nats {version}"),
        }
    }

    /// The program that is its hub; empty if it is this one.
    pub(crate) fn program(&self) -> &str {
        match self {
            Self::Floor | Self::Convoke => "",
            Self::Nats { program, .. } => program,
        }
    }
}

/// Runs a hub of this kind until the parent ends; `ready` gets its address and the process to account for.
pub(crate) fn serve(kind: &str, program: &str, ready: impl FnOnce(&str, u32)) -> io::Result<()> {
    match kind {
        "floor" => floor::serve(|addr| ready(addr, std::process::id())),
        "convoke" => convoke::serve(|addr| ready(addr, std::process::id())),
        "nats" => nats::serve(program, ready),
        _ => Err(unknown(kind)),
    }
}

/// Publishes payloads of `size` bytes for `seconds`; returns how many.
pub(crate) fn publish(kind: &str, addr: &str, size: usize, seconds: Duration) -> io::Result<u64> {
    match kind {
        "floor" => client::publish::<Floor>(addr, size, seconds),
        "convoke" => convoke::publish(addr, size, seconds),
        "nats" => client::publish::<Nats>(addr, size, seconds),
        _ => Err(unknown(kind)),
    }
}

/// Receives payloads of `size` bytes until the end; returns how many, and the time from the first to the end.
pub(crate) fn subscribe(kind: &str, addr: &str, size: usize, ready: impl FnOnce()) -> io::Result<(u64, Duration)> {
    match kind {
        "floor" => client::subscribe::<Floor>(addr, size, ready),
        "convoke" => convoke::subscribe(addr, size, ready),
        "nats" => client::subscribe::<Nats>(addr, size, ready),
        _ => Err(unknown(kind)),
    }
}

/// Sends one message after the other for `seconds`, each when the one before came back.
pub(crate) fn ping(kind: &str, addr: &str, seconds: Duration) -> io::Result<RoundTrips> {
    match kind {
        "floor" => client::ping::<Floor>(addr, seconds),
        "convoke" => convoke::ping(addr, seconds),
        "nats" => client::ping::<Nats>(addr, seconds),
        _ => Err(unknown(kind)),
    }
}

/// Sends back what comes, until the end.
pub(crate) fn echo(kind: &str, addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    match kind {
        "floor" => client::echo::<Floor>(addr, ready),
        "convoke" => convoke::echo(addr, ready),
        "nats" => client::echo::<Nats>(addr, ready),
        _ => Err(unknown(kind)),
    }
}

fn unknown(kind: &str) -> io::Error {
    io::Error::other(format!("no peer is called `{kind}`"))
}
