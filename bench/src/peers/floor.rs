//! The floor: a bare relay, which is what is left when a hub does nothing else.
//!
//! One epoll loop; length-prefixed frames leave as they came, to every other link. No names, no rights, no encoding.
//! A hub of this kind cannot be faster, so the distance to it is the price of everything a hub adds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::client::{Client, Protocol, Relays, Step, open_idle};
use crate::process;
use crate::workload::{PAYLOAD_BYTES_MAX, RoundTrips, Tally, Topic};

/// The length before each payload.
const HEAD_BYTES: usize = 4;

/// A durable set in the floor's file: a key, a value of 32 B and a head.
const RECORD_BYTES: usize = 64;

/// What one link is read at a time.
const INBOX_BYTES: usize = 256 << 10;

/// What may wait for one link: several windows, so only a broken reader reaches it.
const OUTGOING_BYTES_MAX: usize = 16 << 20;

const LISTENER: Token = Token(0);

/// The floor's protocol: a length (u32, little-endian) and a payload, to everybody else.
pub(crate) struct Floor;

impl Protocol for Floor {
    fn hello(_: Topic) -> (Vec<u8>, bool) {
        // The relay accepts in order, so whoever connects later finds this link served.
        (Vec::new(), false)
    }

    const PONG: &'static [u8] = b"";

    fn next(bytes: &[u8]) -> io::Result<Step<'_>> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(Step::Half) };
        let size = u32::from_le_bytes(*head) as usize;
        if size > PAYLOAD_BYTES_MAX {
            return Err(io::Error::other(format!("a frame of {size} bytes is too long")));
        }
        match rest.get(..size) {
            None => Ok(Step::Half),
            Some(payload) => Ok(Step::Message { payload, used: HEAD_BYTES + size }),
        }
    }
}

impl Relays for Floor {
    fn envelope(_: Topic, size: usize) -> (Vec<u8>, Vec<u8>) {
        let size = u32::try_from(size).expect("payloads are at most 64 KiB");
        (size.to_le_bytes().to_vec(), Vec::new())
    }
}

/// What is left of durable sets without a hub: a record for each at the end of a file, and one `fdatasync` for all that
/// are in flight.
pub(crate) fn set(folder: &str, in_flight: usize, seconds: Duration) -> io::Result<Tally> {
    let mut file = File::create(Path::new(folder).join("records"))?;
    let records = vec![b'.'; RECORD_BYTES * in_flight];
    let mut round_trips = RoundTrips::default();
    let mut count = 0;
    let started = Instant::now();
    while started.elapsed() < seconds {
        let asked = Instant::now();
        file.write_all(&records)?;
        file.sync_data()?;
        count += in_flight as u64;
        round_trips.push(asked.elapsed());
    }
    Ok(Tally { count, elapsed: started.elapsed(), round_trips })
}

/// Opens links and does nothing with them.
pub(crate) fn idle(addr: &str, count: usize) -> io::Result<(Vec<Client<Floor>>, Duration)> {
    open_idle(addr, count, &|_| Ok(()))
}

/// Relays until this process is told to stop; calls `ready` with the address.
pub(crate) fn serve(ready: impl FnOnce(&str)) -> io::Result<()> {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    ready(&listener.local_addr()?.to_string());
    process::exit_with_parent();
    let mut relay = Relay { poll, links: BTreeMap::new(), next: LISTENER.0 + 1 };
    relay.run(&listener)
}

struct Relay {
    poll: Poll,
    links: BTreeMap<Token, Link>,
    next: usize,
}

struct Link {
    stream: TcpStream,
    inbox: Vec<u8>,
    filled: usize,
    /// What the socket did not take at once; `outgoing[..written]` is gone.
    outgoing: Vec<u8>,
    written: usize,
}

impl Relay {
    fn run(&mut self, listener: &TcpListener) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(listener)?,
                    token => {
                        // A link that fails is gone; the others go on.
                        let served = self.write(token).and_then(|()| self.read(token));
                        if served.is_err() {
                            self.links.remove(&token);
                        }
                    }
                }
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let token = Token(self.next);
            self.next += 1;
            self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            let link = Link { stream, inbox: vec![0; INBOX_BYTES], filled: 0, outgoing: Vec::new(), written: 0 };
            self.links.insert(token, link);
        }
    }

    /// Writes what waited for this link.
    fn write(&mut self, token: Token) -> io::Result<()> {
        match self.links.get_mut(&token) {
            Some(link) => link.flush(),
            None => Ok(()),
        }
    }

    /// Reads this link dry (events come on edges only) and relays what is whole after each read.
    fn read(&mut self, token: Token) -> io::Result<()> {
        // Taken out, so that the others can be written to from its inbox.
        let Some(mut link) = self.links.remove(&token) else { return Ok(()) };
        loop {
            let room = INBOX_BYTES - link.filled;
            let count = match link.stream.read(&mut link.inbox[link.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            link.filled += count;
            let whole = whole(&link.inbox[..link.filled])?;
            self.links.retain(|_, other| other.send(&link.inbox[..whole]).is_ok());
            link.inbox.copy_within(whole..link.filled, 0);
            link.filled -= whole;
            if count < room {
                break;
            }
        }
        self.links.insert(token, link);
        Ok(())
    }
}

impl Link {
    /// Writes `run` at once and keeps what the socket does not take.
    fn send(&mut self, run: &[u8]) -> io::Result<()> {
        if self.outgoing.len() + run.len() > OUTGOING_BYTES_MAX {
            return Err(io::Error::other("a link does not read"));
        }
        let mut rest = run;
        if self.outgoing.is_empty() {
            while !rest.is_empty() {
                match self.stream.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        self.outgoing.extend_from_slice(rest);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(())
    }
}

/// How many bytes at the front are whole frames.
fn whole(bytes: &[u8]) -> io::Result<usize> {
    let mut whole = 0;
    while let Step::Message { used, .. } = Floor::next(&bytes[whole..])? {
        whole += used;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_frames_are_relayed() {
        let bytes = b"\x02\0\0\0ab\x01\0\0\0c\x03\0\0\0de";
        assert_eq!(whole(bytes).unwrap(), 11);
        assert_eq!(whole(&bytes[..3]).unwrap(), 0);
    }

    #[test]
    fn a_frame_that_could_never_fit_ends_the_link() {
        assert!(whole(b"\xff\xff\xff\xff").is_err());
    }
}
