//! The cheapest client there is: blocking sockets, written to in ready-made batches of 64 KiB and read from in a tight loop.
//!
//! It is generic over the protocol, so each peer's hub is driven by the same loops and the difference is the hub's.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::workload::{self, ECHO_BYTES, Outstanding, PAYLOAD_BYTES_MIN, Receipt, RoundTrips, SILENCE_MAX, Topic};

/// One write of the publisher.
const BATCH_BYTES: usize = 64 << 10;

/// One read; must hold the largest message with its envelope.
const INBOX_BYTES: usize = 256 << 10;

/// What the bytes at the front of the inbox are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// Not complete yet.
    Half,
    /// A message; `used` bytes in all.
    Message { payload: &'a [u8], used: usize },
    /// The hub wants a sign of life.
    Ping { used: usize },
    /// The hub gave one.
    Pong { used: usize },
    /// Nothing to act on.
    Other { used: usize },
}

/// What a hub's protocol must tell the client.
pub(crate) trait Protocol {
    /// What to send first to subscribe to `topic`, and whether the hub confirms it with a [`Step::Pong`].
    fn hello(topic: Topic) -> (Vec<u8>, bool);

    /// The bytes before and after a payload of `size` bytes that is published on `topic`.
    fn envelope(topic: Topic, size: usize) -> (Vec<u8>, Vec<u8>);

    /// The answer to a [`Step::Ping`].
    const PONG: &'static [u8];

    /// Looks at the front of what was read. An error if the hub complains or cannot be understood.
    fn next(bytes: &[u8]) -> io::Result<Step<'_>>;
}

/// Publishes payloads of `size` bytes for `seconds` as fast as the window lets it; returns how many.
pub(crate) fn publish<P: Protocol>(addr: &str, size: usize, seconds: Duration) -> io::Result<u64> {
    let mut client = Client::<P>::connect(addr, Topic::Ack)?;
    let mut batch = Batch::new::<P>(size);
    let mut outstanding = Outstanding::new(size);
    let started = Instant::now();
    while started.elapsed() < seconds {
        if outstanding.has_room(batch.messages) {
            client.stream.write_all(batch.numbered_from(outstanding.sent))?;
            outstanding.sent += batch.messages;
        } else {
            client.turn(|ack| outstanding.take(ack))?;
        }
    }
    client.publish(Topic::Data, &workload::end(outstanding.sent, size))?;
    // Leaving before the subscriber has everything would let the kernel reset the link.
    while !outstanding.all_acked {
        client.turn(|ack| outstanding.take(ack))?;
    }
    Ok(outstanding.sent)
}

/// Counts payloads of `size` bytes until the end, after `ready` was called; returns how many, and the time they took.
pub(crate) fn subscribe<P: Protocol>(addr: &str, size: usize, ready: impl FnOnce()) -> io::Result<(u64, Duration)> {
    let mut client = Client::<P>::connect(addr, Topic::Data)?;
    let mut receipt = Receipt::new(size);
    ready();
    loop {
        client.turn(|payload| receipt.take(payload))?;
        if let Some(ack) = receipt.ack_due() {
            client.publish(Topic::Ack, &ack)?;
        }
        if let Some(finished) = receipt.finished() {
            return Ok(finished);
        }
    }
}

/// Sends one message at a time for `seconds` and waits for its echo.
pub(crate) fn ping<P: Protocol>(addr: &str, seconds: Duration) -> io::Result<RoundTrips> {
    let mut client = Client::<P>::connect(addr, Topic::Ack)?;
    let mut round_trips = RoundTrips::default();
    let payload = workload::payload(0, ECHO_BYTES);
    let started = Instant::now();
    while started.elapsed() < seconds {
        let sent = Instant::now();
        client.publish(Topic::Data, &payload)?;
        client.wait_for_one()?;
        round_trips.push(sent.elapsed());
    }
    client.publish(Topic::Data, &workload::end(0, ECHO_BYTES))?;
    client.wait_for_one()?;
    Ok(round_trips)
}

/// Sends back what arrives, after `ready` was called, until the end came.
pub(crate) fn echo<P: Protocol>(addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    let mut client = Client::<P>::connect(addr, Topic::Data)?;
    ready();
    let mut ended = false;
    while !ended {
        let mut echoes = Vec::new();
        client.turn(|payload| {
            ended |= workload::is_end(payload)?;
            echoes.push(payload.to_vec());
            Ok(())
        })?;
        for echo in &echoes {
            client.publish(Topic::Ack, echo)?;
        }
    }
    Ok(())
}

/// One link to a hub.
struct Client<P> {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// What was read and not handled: `inbox[start..end]`.
    start: usize,
    end: usize,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Client<P> {
    /// Returns when the hub knows that this link subscribes to `topic`, as far as its protocol can say so.
    fn connect(addr: &str, topic: Topic) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        let (hello, confirmed) = P::hello(topic);
        stream.write_all(&hello)?;
        let mut client = Self { stream, inbox: vec![0; INBOX_BYTES], start: 0, end: 0, protocol: PhantomData };
        while confirmed && !client.turn(|_| Ok(()))? {}
        Ok(client)
    }

    /// Writes one message at once.
    fn publish(&mut self, topic: Topic, payload: &[u8]) -> io::Result<()> {
        let (head, tail) = P::envelope(topic, payload.len());
        self.stream.write_all(&[&head, payload, &tail].concat())
    }

    /// Reads until one message came.
    fn wait_for_one(&mut self) -> io::Result<()> {
        let mut came = false;
        while !came {
            self.turn(|_| {
                came = true;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Reads once and hands over every message that is complete; says whether a pong was among them.
    fn turn(&mut self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        self.read()?;
        let mut pong = false;
        loop {
            let used = match P::next(&self.inbox[self.start..self.end])? {
                Step::Half => return Ok(pong),
                Step::Message { payload, used } => {
                    take(payload)?;
                    used
                }
                Step::Ping { used } => {
                    self.stream.write_all(P::PONG)?;
                    used
                }
                Step::Pong { used } => {
                    pong = true;
                    used
                }
                Step::Other { used } => used,
            };
            self.start += used;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.inbox.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        match self.stream.read(&mut self.inbox[self.end..])? {
            0 => Err(io::Error::other("the hub closed the link or sent more than a message's worth without an end")),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }
}

/// Ready-made messages of one size for a single write; only their numbers change.
struct Batch {
    bytes: Vec<u8>,
    messages: u64,
    /// From one message to the next.
    stride: usize,
    /// From a message's start to its number.
    number_at: usize,
}

impl Batch {
    fn new<P: Protocol>(size: usize) -> Self {
        let (head, tail) = P::envelope(Topic::Data, size.max(PAYLOAD_BYTES_MIN));
        let number_at = head.len();
        let message = [head, workload::payload(0, size), tail].concat();
        let messages = (BATCH_BYTES / message.len()).max(1);
        Self { bytes: message.repeat(messages), messages: messages as u64, stride: message.len(), number_at }
    }

    fn numbered_from(&mut self, first: u64) -> &[u8] {
        for (number, message) in (first..).zip(self.bytes.chunks_exact_mut(self.stride)) {
            message[self.number_at..self.number_at + 8].copy_from_slice(&number.to_le_bytes());
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::floor::Floor;

    #[test]
    fn a_batch_is_numbered_messages_and_fits_one_write() {
        let mut batch = Batch::new::<Floor>(16);
        assert_eq!(batch.messages, 3276);
        let bytes = batch.numbered_from(7);
        assert!(bytes.len() <= BATCH_BYTES);
        let Step::Message { used, .. } = Floor::next(bytes).unwrap() else { panic!("the first message is whole") };
        assert_eq!(Floor::next(&bytes[used..]).unwrap(), Step::Message { payload: &workload::payload(8, 16), used });
    }

    #[test]
    fn a_payload_larger_than_a_batch_is_sent_alone() {
        assert_eq!(Batch::new::<Floor>(64 << 10).messages, 1);
    }
}
