//! The cheapest client there is: blocking sockets, written to in ready-made batches of 64 KiB and read from in a tight loop.
//!
//! It is generic over the protocol, so each peer's hub is driven by the same loops and the difference is the hub's.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::workload::{
    self, CALL_BYTES, ECHO_BYTES, Limit, Outstanding, PAYLOAD_BYTES_MIN, Receipt, RoundTrips, SILENCE_MAX, Tally, Topic,
};

/// One write of the publisher.
const BATCH_BYTES: usize = 64 << 10;

/// One read; must hold the largest message with its envelope.
const INBOX_BYTES: usize = 256 << 10;

/// The same on a link that will be idle: a server's first words.
const IDLE_INBOX_BYTES: usize = 4096;

/// Links that are being opened at one time.
pub(crate) const CONNECTING_MAX: usize = 16;

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

    /// The answer to a [`Step::Ping`].
    const PONG: &'static [u8];

    /// Looks at the front of what was read. An error if the hub complains or cannot be understood.
    fn next(bytes: &[u8]) -> io::Result<Step<'_>>;
}

/// The same of a hub that relays events.
pub(crate) trait Relays: Protocol {
    /// The bytes before and after a payload of `size` bytes that is published on `topic`.
    fn envelope(topic: Topic, size: usize) -> (Vec<u8>, Vec<u8>);

    /// The bytes around a payload that asks for an answer on [`Topic::Ack`].
    fn request(size: usize) -> (Vec<u8>, Vec<u8>) {
        Self::envelope(Topic::Data, size)
    }
}

/// Publishes payloads of `size` bytes for `seconds` as fast as the window lets it; returns how many.
pub(crate) fn publish<P: Relays>(addr: &str, size: usize, seconds: Duration) -> io::Result<u64> {
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
pub(crate) fn subscribe<P: Relays>(addr: &str, size: usize, ready: impl FnOnce()) -> io::Result<(u64, Duration)> {
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
pub(crate) fn ping<P: Relays>(addr: &str, seconds: Duration) -> io::Result<RoundTrips> {
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
pub(crate) fn echo<P: Relays>(addr: &str, ready: impl FnOnce()) -> io::Result<()> {
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

/// Makes calls, always `in_flight` of them unanswered.
pub(crate) fn call<P: Relays>(addr: &str, in_flight: usize, seconds: Duration) -> io::Result<Tally> {
    let mut client = Client::<P>::connect(addr, Topic::Ack)?;
    let payload = workload::payload(0, CALL_BYTES);
    let (head, tail) = P::request(CALL_BYTES);
    let message = [head, payload, tail].concat();
    client.pipeline(in_flight, Limit::Time(seconds), |_, bytes| bytes.extend_from_slice(&message))
}

/// Answers calls for ever, all that came in one read with one write, after `ready` was called.
pub(crate) fn answer<P: Relays>(addr: &str, ready: impl FnOnce()) -> io::Result<()> {
    let mut client = Client::<P>::connect(addr, Topic::Data)?;
    ready();
    let (head, tail) = P::envelope(Topic::Ack, CALL_BYTES);
    let mut answers = Vec::new();
    loop {
        client.turn(|payload| {
            answers.extend_from_slice(&head);
            answers.extend_from_slice(payload);
            answers.extend_from_slice(&tail);
            Ok(())
        })?;
        client.stream.write_all(&answers)?;
        answers.clear();
    }
}

/// Opens links from some threads at once, hands them over as soon as the hub has answered on each, and tells how long
/// that took.
pub(crate) fn open_idle<P: Protocol + Send>(
    addr: &str,
    count: usize,
    hello: &(dyn Fn(&mut Client<P>) -> io::Result<()> + Sync),
) -> io::Result<(Vec<Client<P>>, Duration)> {
    let started = Instant::now();
    let opened = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTING_MAX)
            .map(|thread| {
                scope.spawn(move || {
                    let own = count / CONNECTING_MAX + usize::from(thread < count % CONNECTING_MAX);
                    let open = |_| {
                        let mut client = Client::open(addr, IDLE_INBOX_BYTES)?;
                        hello(&mut client)?;
                        Ok(client)
                    };
                    (0..own).map(open).collect::<io::Result<Vec<_>>>()
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, io::Result<Vec<Client<P>>>>| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread that connects panicked")))
        };
        threads.into_iter().map(join).collect::<io::Result<Vec<_>>>()
    })?;
    Ok((opened.into_iter().flatten().collect(), started.elapsed()))
}

/// One link to a hub.
pub(crate) struct Client<P> {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// What was read and not handled: `inbox[start..end]`.
    start: usize,
    end: usize,
    protocol: PhantomData<P>,
}

impl<P: Relays> Client<P> {
    /// Writes one message at once.
    fn publish(&mut self, topic: Topic, payload: &[u8]) -> io::Result<()> {
        let (head, tail) = P::envelope(topic, payload.len());
        self.stream.write_all(&[&head, payload, &tail].concat())
    }
}

impl<P: Protocol> Client<P> {
    /// Returns when the hub knows that this link subscribes to `topic`, as far as its protocol can say so.
    pub(crate) fn connect(addr: &str, topic: Topic) -> io::Result<Self> {
        let mut client = Self::open(addr, INBOX_BYTES)?;
        let (hello, confirmed) = P::hello(topic);
        client.stream.write_all(&hello)?;
        while confirmed && !client.turn(|_| Ok(()))? {}
        Ok(client)
    }

    fn open(addr: &str, inbox_bytes: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Self { stream, inbox: vec![0; inbox_bytes], start: 0, end: 0, protocol: PhantomData })
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Silence is no error from now on.
    pub(crate) fn never_gives_up(&self) -> io::Result<()> {
        self.stream.set_read_timeout(None)
    }

    /// Makes requests one after the other, always `in_flight` of them unanswered, and all of a moment in one write. The
    /// answers come in their order, one message each.
    pub(crate) fn pipeline(
        &mut self,
        in_flight: usize,
        limit: Limit,
        request: impl FnMut(u64, &mut Vec<u8>),
    ) -> io::Result<Tally> {
        self.pipeline_by(in_flight, limit, request, |_| Ok(1))
    }

    /// The same where a message may answer none, or several: `answers` tells how many.
    pub(crate) fn pipeline_by(
        &mut self,
        in_flight: usize,
        limit: Limit,
        mut request: impl FnMut(u64, &mut Vec<u8>),
        mut answers: impl FnMut(&[u8]) -> io::Result<u64>,
    ) -> io::Result<Tally> {
        let started = Instant::now();
        let mut round_trips = RoundTrips::default();
        let mut asked: VecDeque<Instant> = VecDeque::new();
        let (mut made, mut bytes) = (0, Vec::new());
        loop {
            bytes.clear();
            let now = Instant::now();
            if limit.allows(made, now - started) {
                while asked.len() < in_flight && limit.allows(made, now - started) {
                    request(made, &mut bytes);
                    asked.push_back(now);
                    made += 1;
                }
                self.stream.write_all(&bytes)?;
            }
            if asked.is_empty() {
                return Ok(Tally { count: made, elapsed: started.elapsed(), round_trips });
            }
            let mut answered = 0;
            self.turn(|message| {
                answered += answers(message)?;
                Ok(())
            })?;
            let now = Instant::now();
            for _ in 0..answered {
                let asked = asked.pop_front().ok_or_else(|| io::Error::other("an answer to nothing arrived"))?;
                round_trips.push(now - asked);
            }
        }
    }

    /// Reads until one message came.
    pub(crate) fn wait_for_one(&mut self) -> io::Result<()> {
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
    pub(crate) fn turn(&mut self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
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
    fn new<P: Relays>(size: usize) -> Self {
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
