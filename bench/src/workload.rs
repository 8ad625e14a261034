//! What is sent, how much of it may be under way, and how it is counted: the same for every peer.
//!
//! A payload begins with its number (u64, little-endian), so the subscriber sees at once when one is lost or out of order.
//! The number `END` says that nothing follows and how many came before; the acknowledgement of it is `END` too.

use std::io;
use std::time::{Duration, Instant};

/// What may be published and not yet acknowledged: enough for every hub here to have batches, too little to hide a queue.
const WINDOW_BYTES_MAX: usize = 2 << 20;

/// The same in messages, so that tiny payloads do not make the window a second long.
pub(crate) const WINDOW_MESSAGES_MAX: usize = 64 << 10;

/// How many acknowledgements fit a window: often enough that the publisher does not run dry, too seldom to cost anything.
const ACKS_PER_WINDOW: u64 = 8;

/// Echoes that are not counted: sockets, caches and branch predictors are cold.
const ECHO_WARMUP_ROUNDS: usize = 200;

/// The payload of the echo row.
pub(crate) const ECHO_BYTES: usize = 128;

/// The payload of a call, and of its reply.
pub(crate) const CALL_BYTES: usize = 32;

/// A value that is set durably, or set and read alone.
pub(crate) const SET_BYTES: usize = 32;

/// Keys that are set one after the other: all have values after a moment, so that a set replaces one.
pub(crate) const SET_KEYS: u64 = 1000;

/// A command of a journal.
pub(crate) const COMMAND_BYTES: usize = 32;

/// Commands that are appended at a time and not yet acknowledged by all followers.
pub(crate) const ACKNOWLEDGED_IN_FLIGHT: usize = 64;

/// Each of the many values that somebody who comes late gets.
pub(crate) const VALUE_BYTES: usize = 100;

/// Sets in flight while many values are made, before anything is measured.
pub(crate) const FILL_IN_FLIGHT: usize = 256;

/// Number and count of the last message must fit the smallest payload.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 16;

/// The largest payload that is measured; buffers are sized for it.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// How long a peer may be silent in the middle of a measurement before it counts as failed.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// In place of a payload's number: nothing follows.
const END: u64 = u64::MAX;

/// The two directions; every peer has one topic for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// From the publisher to the subscriber.
    Data,
    /// Back: acknowledgements, or echoes.
    Ack,
}

/// How far the publisher may be ahead of the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Messages that may be unacknowledged.
    pub(crate) messages: u64,
    /// The subscriber acknowledges whenever this many arrived since the last time.
    pub(crate) ack_every: u64,
}

impl Window {
    /// The window for payloads of `size` bytes.
    pub(crate) fn of(size: usize) -> Self {
        let messages = (WINDOW_BYTES_MAX / size).clamp(ACKS_PER_WINDOW as usize, WINDOW_MESSAGES_MAX) as u64;
        Self { messages, ack_every: messages / ACKS_PER_WINDOW }
    }
}

/// A payload of `size` bytes with `number` in it.
pub(crate) fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut payload = vec![b'.'; size.max(PAYLOAD_BYTES_MIN)];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

/// The payload that says that `sent` messages came before and none follows.
pub(crate) fn end(sent: u64, size: usize) -> Vec<u8> {
    let mut payload = payload(END, size);
    payload[8..16].copy_from_slice(&sent.to_le_bytes());
    payload
}

fn u64_at(payload: &[u8], offset: usize) -> io::Result<u64> {
    payload
        .get(offset..offset + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes)
        .ok_or_else(|| io::Error::other(format!("a payload of {} bytes arrived", payload.len())))
}

/// The publisher's side of the window.
#[derive(Debug)]
pub(crate) struct Outstanding {
    window: Window,
    /// Messages published so far; the number of the next one.
    pub(crate) sent: u64,
    acked: u64,
    /// The subscriber has everything.
    pub(crate) all_acked: bool,
}

impl Outstanding {
    pub(crate) fn new(size: usize) -> Self {
        Self { window: Window::of(size), sent: 0, acked: 0, all_acked: false }
    }

    /// Whether `count` more messages fit the window.
    pub(crate) fn has_room(&self, count: u64) -> bool {
        self.sent + count - self.acked <= self.window.messages
    }

    /// Takes an acknowledgement's payload.
    pub(crate) fn take(&mut self, ack: &[u8]) -> io::Result<()> {
        match u64_at(ack, 0)? {
            END => self.all_acked = true,
            acked => self.acked = acked,
        }
        Ok(())
    }
}

/// The subscriber's side: counts, checks order and completeness, and says when to acknowledge.
#[derive(Debug)]
pub(crate) struct Receipt {
    size: usize,
    window: Window,
    received: u64,
    acked: u64,
    started: Option<Instant>,
    elapsed: Option<Duration>,
}

impl Receipt {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, window: Window::of(size), received: 0, acked: 0, started: None, elapsed: None }
    }

    /// Counts a payload; an error if it is not the one that is due.
    pub(crate) fn take(&mut self, payload: &[u8]) -> io::Result<()> {
        let number = u64_at(payload, 0)?;
        if payload.len() == self.size && number == self.received {
            if number == 0 {
                self.started = Some(Instant::now());
            }
            self.received += 1;
            return Ok(());
        }
        if number == END && u64_at(payload, 8)? == self.received {
            self.elapsed = Some(self.started.map(|started| started.elapsed()).unwrap_or_default());
            return Ok(());
        }
        Err(io::Error::other(format!(
            "message {number} of {} bytes arrived where message {} of {} bytes was due",
            payload.len(),
            self.received,
            self.size
        )))
    }

    /// The payload of the acknowledgement to publish now, if one is due.
    pub(crate) fn ack_due(&mut self) -> Option<Vec<u8>> {
        if self.elapsed.is_some() {
            return Some(payload(END, PAYLOAD_BYTES_MIN));
        }
        if self.received - self.acked < self.window.ack_every {
            return None;
        }
        self.acked = self.received;
        Some(payload(self.received, PAYLOAD_BYTES_MIN))
    }

    /// Messages received and the time from the first to the end, once the end came.
    pub(crate) fn finished(&self) -> Option<(u64, Duration)> {
        self.elapsed.map(|elapsed| (self.received, elapsed))
    }
}

/// Whether an echo server should stop after this payload.
pub(crate) fn is_end(payload: &[u8]) -> io::Result<bool> {
    Ok(u64_at(payload, 0)? == END)
}

/// Round trips, one message in flight.
#[derive(Debug, Default)]
pub(crate) struct RoundTrips {
    nanos: Vec<u64>,
}

impl RoundTrips {
    pub(crate) fn push(&mut self, round_trip: Duration) {
        self.nanos.push(u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn len(&self) -> usize {
        self.nanos.len()
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.nanos.extend(others.nanos);
    }

    /// How many there were, and the 50th and the 99th percentile in nanoseconds. The first ones are not in the percentiles.
    pub(crate) fn summary(mut self) -> Option<(usize, u64, u64)> {
        let rounds = self.nanos.len();
        // A run that short says little, but it says something.
        let warmup = if rounds > ECHO_WARMUP_ROUNDS { ECHO_WARMUP_ROUNDS } else { rounds / 2 };
        let counted = self.nanos.get_mut(warmup..).filter(|counted| !counted.is_empty())?;
        counted.sort_unstable();
        let at = |percent: usize| counted[(counted.len() - 1) * percent / 100];
        Some((rounds, at(50), at(99)))
    }
}

/// How long requests go on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// For this time; then those that are in flight come to their end.
    Time(Duration),
    /// Until this many were made.
    Count(u64),
}

impl Limit {
    /// Whether one more is to be made after `made`, when the run has taken this long.
    pub(crate) fn allows(self, made: u64, elapsed: Duration) -> bool {
        match self {
            Self::Time(time) => elapsed < time,
            Self::Count(count) => made < count,
        }
    }
}

/// Requests that were made and answered.
#[derive(Debug)]
pub(crate) struct Tally {
    /// How many.
    pub(crate) count: u64,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// How long each took.
    pub(crate) round_trips: RoundTrips,
}

impl Tally {
    /// Its figures in the order in which a client tells them: count, nanoseconds in all, p50, p99.
    pub(crate) fn words(self) -> io::Result<String> {
        let nanos = self.elapsed.as_nanos();
        let (_, p50, p99) =
            self.round_trips.summary().ok_or_else(|| io::Error::other("too few answers in this time"))?;
        Ok(format!("{} {nanos} {p50} {p99}", self.count))
    }
}

/// The key of a number.
pub(crate) fn key(number: u64) -> String {
    format!("k{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_bounded_in_bytes_and_in_messages() {
        assert_eq!(Window::of(16), Window { messages: 65_536, ack_every: 8_192 });
        assert_eq!(Window::of(1024), Window { messages: 2_048, ack_every: 256 });
        assert_eq!(Window::of(64 << 10), Window { messages: 32, ack_every: 4 });
    }

    #[test]
    fn the_publisher_waits_at_the_window_until_an_ack_comes() {
        let mut outstanding = Outstanding::new(64 << 10);
        outstanding.sent = 32;
        assert!(!outstanding.has_room(1));
        outstanding.take(&payload(4, PAYLOAD_BYTES_MIN)).unwrap();
        assert!(outstanding.has_room(4));
        assert!(!outstanding.has_room(5));
    }

    #[test]
    fn a_lost_message_is_an_error() {
        let mut receipt = Receipt::new(16);
        receipt.take(&payload(0, 16)).unwrap();
        let error = receipt.take(&payload(2, 16)).unwrap_err();
        assert_eq!(error.to_string(), "message 2 of 16 bytes arrived where message 1 of 16 bytes was due");
    }

    #[test]
    fn a_message_lost_at_the_end_is_an_error() {
        let mut receipt = Receipt::new(16);
        receipt.take(&payload(0, 16)).unwrap();
        assert!(receipt.take(&end(2, 16)).is_err());
        receipt.take(&end(1, 16)).unwrap();
        assert_eq!(receipt.finished().unwrap().0, 1);
    }

    #[test]
    fn acks_come_at_the_agreed_distance_and_at_the_end() {
        let mut receipt = Receipt::new(64 << 10);
        let acks = (0..8).filter_map(|number| {
            receipt.take(&payload(number, 64 << 10)).unwrap();
            receipt.ack_due()
        });
        assert_eq!(acks.collect::<Vec<_>>(), [payload(4, 16), payload(8, 16)]);
        receipt.take(&end(8, 64 << 10)).unwrap();
        assert!(is_end(&receipt.ack_due().unwrap()).unwrap());
    }

    #[test]
    fn percentiles_leave_out_the_warm_up() {
        let mut round_trips = RoundTrips::default();
        (0..ECHO_WARMUP_ROUNDS).for_each(|_| round_trips.push(Duration::from_secs(1)));
        (1..=101).for_each(|nanos| round_trips.push(Duration::from_nanos(nanos)));
        assert_eq!(round_trips.summary(), Some((ECHO_WARMUP_ROUNDS + 101, 51, 100)));
    }
}
