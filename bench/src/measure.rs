//! Passes, and what is made of them: a row's figures come from interleaved passes, as median and spread.

use std::io;
use std::time::Duration;

use crate::peers::Peer;
use crate::process::{self, Role};
use crate::workload::{ECHO_BYTES, PAYLOAD_BYTES_MAX, SILENCE_MAX};

/// How long a hub or a client may take to be there.
const START_MAX: Duration = Duration::from_secs(10);

/// What one measurement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// One publisher, one subscriber, payloads of this many bytes.
    Events(usize),
    /// One message in flight, there and back.
    Echo,
}

impl Workload {
    /// All of them, in the table's order.
    pub(crate) const ALL: [Self; 5] =
        [Self::Events(16), Self::Events(128), Self::Events(1 << 10), Self::Events(PAYLOAD_BYTES_MAX), Self::Echo];

    /// What a person calls it on the command line.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Events(size) => size.to_string(),
            Self::Echo => "echo".to_owned(),
        }
    }
}

/// What a figure counts, and so how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// More is better.
    PerSecond,
    /// Less is better.
    Micros,
}

/// One figure of one pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// The table's row.
    pub(crate) row: String,
    /// What `value` is in.
    pub(crate) unit: Unit,
    /// The figure.
    pub(crate) value: f64,
    /// Processor time of the hub for each message it took in, in microseconds.
    pub(crate) hub_micros: f64,
}

/// One measurement with a fresh hub: hub, publisher and subscriber are processes of their own.
pub(crate) fn measure(peer: &Peer, workload: Workload, seconds: Duration) -> io::Result<Vec<Figure>> {
    let hub = Role::start("the hub", &["serve", peer.kind(), peer.program()])?;
    let listening = hub.says("listening", START_MAX)?;
    let [addr, pid] = listening.as_slice() else { return Err(io::Error::other("the hub told no address")) };
    let pid = pid.parse().map_err(io::Error::other)?;

    let size = match workload {
        Workload::Events(size) => size,
        Workload::Echo => ECHO_BYTES,
    }
    .to_string();
    let millis = seconds.as_millis().to_string();
    let (publisher, subscriber) = match workload {
        Workload::Events(_) => ("publish", "subscribe"),
        Workload::Echo => ("ping", "echo"),
    };
    let client = |role| Role::start(role, &["client", role, peer.kind(), addr, &size, &millis]);
    let subscriber = client(subscriber)?;
    subscriber.says("ready", START_MAX)?;
    let before = process::cpu_time(pid)?;
    let publisher = client(publisher)?;
    // The publisher needs its time, the window to drain, and every wait of its own is bounded by the silence.
    let within = seconds + SILENCE_MAX + START_MAX;
    let published = numbers(&publisher.says("result", within)?)?;
    let received = numbers(&subscriber.says("result", within)?)?;
    let used = process::cpu_time(pid)?.saturating_sub(before);

    match (workload, published.as_slice(), received.as_slice()) {
        (Workload::Events(size), &[sent], &[received, nanos]) if sent == received && nanos > 0.0 => Ok(vec![Figure {
            row: format!("1→1, {}", bytes(size)),
            unit: Unit::PerSecond,
            value: received / nanos * 1e9,
            hub_micros: per_message(used, received),
        }]),
        (Workload::Echo, &[rounds, p50, p99], _) if rounds > 0.0 => {
            // A round trip is two messages.
            let hub_micros = per_message(used, rounds * 2.0);
            let row =
                |row: &str, nanos| Figure { row: row.to_owned(), unit: Unit::Micros, value: nanos / 1e3, hub_micros };
            Ok(vec![row("echo p50", p50), row("echo p99", p99)])
        }
        _ => Err(io::Error::other(format!("published {published:?}, received {received:?}"))),
    }
}

fn numbers(words: &[String]) -> io::Result<Vec<f64>> {
    words.iter().map(|word| word.parse().map_err(io::Error::other)).collect()
}

fn per_message(used: Duration, messages: f64) -> f64 {
    used.as_secs_f64() * 1e6 / messages
}

/// `64 KiB`, `16 B`.
fn bytes(size: usize) -> String {
    if size.is_multiple_of(1024) { format!("{} KiB", size / 1024) } else { format!("{size} B") }
}

/// Several passes of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle one; with an even number of passes, the mean of the two in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `values`, unless there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let upper = values.len() / 2;
        let lower = (values.len() - 1) / 2;
        Some(Self { median: f64::midpoint(values[lower], values[upper]), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_of_passes_is_one_of_them() {
        assert_eq!(Spread::of([3.0, 1.0, 100.0]), Some(Spread { median: 3.0, min: 1.0, max: 100.0 }));
    }

    #[test]
    fn the_median_of_an_even_number_of_passes_is_between_two() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 8.0]), Some(Spread { median: 3.0, min: 1.0, max: 8.0 }));
    }

    #[test]
    fn one_pass_has_no_width_and_none_has_no_figure() {
        assert_eq!(Spread::of([5.0]), Some(Spread { median: 5.0, min: 5.0, max: 5.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn sizes_are_written_as_people_say_them() {
        assert_eq!([16, 128, 1 << 10, 64 << 10].map(bytes), ["16 B", "128 B", "1 KiB", "64 KiB"]);
    }
}
