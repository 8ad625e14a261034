//! Transports: ways to make links. Each is a file with two functions, `connect` and `listen`; what they give is a
//! [`Stream`] or a [`Listener`]. Links in memory have neither: see `mem`.

pub(crate) mod buffers;
#[cfg(feature = "hub")]
pub(crate) mod mem;
#[cfg(not(feature = "hub"))]
#[path = "transport/without_mem.rs"]
pub(crate) mod mem;
pub(crate) mod pipe;
pub(crate) mod tcp;
#[cfg(unix)]
pub(crate) mod unix;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::IpAddr;

use buffers::{Buffers, Turn};
use bytes::BytesMut;
use convoke_core::{Peer, Refusal, Transmit};

/// What is written with one call at most, in pieces.
const PIECES_MAX: usize = 64;

/// A connection; all that happens on it is without waiting, or waits for nothing but readiness.
pub(crate) enum Stream {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    /// To a task that carries it further.
    Pipe(pipe::End),
}

/// Calls the same method whatever the transport.
macro_rules! each {
    ($of:expr, $stream:ident => $call:expr) => {
        match $of {
            Stream::Tcp($stream) => $call,
            #[cfg(unix)]
            Stream::Unix($stream) => $call,
            Stream::Pipe($stream) => $call,
        }
    };
}

impl Stream {
    /// Waits until there may be something to read. One task at a time may wait for it: that needs no memory but the
    /// runtime's, of which a hub of many idle links has one for each.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| each!(self, stream => stream.poll_read_ready(context))).await
    }

    /// Waits until the socket may take more. One task at a time may wait for it.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll_fn(|context| each!(self, stream => stream.poll_write_ready(context))).await
    }

    /// Reads once what is there, as far as `input` has room. Zero means that the other side has ended.
    ///
    /// A read that leaves room has emptied the socket. The runtime is told so, which would otherwise let a further read
    /// find it out: with one frame under way that were a third of all system calls. What arrives while this reads is not
    /// missed, since the runtime takes back only the readiness that it had before.
    pub(crate) fn try_read(&self, input: &mut BytesMut) -> io::Result<usize> {
        let room = input.capacity() - input.len();
        let mut read = Err(io::ErrorKind::WouldBlock.into());
        // It is told by an error; what was read is in `read`.
        let _ = each!(self, stream => stream.try_io(tokio::io::Interest::READABLE, || {
            read = stream.try_read_buf(input);
            match &read {
                Ok(len) if *len < room => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        }));
        read
    }

    /// Writes until all is written or the socket takes no more; tells which.
    pub(crate) fn try_write(&self, transmit: &mut Transmit) -> io::Result<bool> {
        while !transmit.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(transmit.pieces()) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let written = match &slices[..count] {
                [one] => each!(self, stream => stream.try_write(one)),
                all => each!(self, stream => stream.try_write_vectored(all)),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => transmit.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Tells the other side that nothing more comes, but still reads.
    pub(crate) fn end(&self) {
        // It fails only if the connection is gone already.
        let _ = match self {
            Stream::Tcp(stream) => rustix::net::shutdown(stream, rustix::net::Shutdown::Write),
            #[cfg(unix)]
            Stream::Unix(stream) => rustix::net::shutdown(stream, rustix::net::Shutdown::Write),
            Stream::Pipe(stream) => {
                stream.end();
                Ok(())
            }
        };
    }

    /// Why the other side has ended the connection, if what carries it knows.
    pub(crate) fn why(&self) -> Option<Refusal> {
        match self {
            Stream::Pipe(stream) => stream.why(),
            _ => None,
        }
    }
}

impl Stream {
    /// Reads and drops what still comes until the other side has ended. Closing with unread input would take from it
    /// what was written last.
    pub(crate) async fn drain(&self) {
        let mut buffers = Buffers::default();
        while self.readable().await.is_ok() {
            let mut unread = buffers.take();
            if buffers.read(self, &mut unread) == Turn::Ended {
                return;
            }
            buffers.give_back(unread);
            // Others have their turn, however much comes.
            tokio::task::yield_now().await;
        }
    }
}

/// Something that accepts connections.
pub(crate) enum Listener {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

impl Listener {
    /// Waits for the next connection, and tells who is on its other end as far as the transport knows, and from which address
    /// of a network it comes.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer, Option<IpAddr>)> {
        match self {
            Listener::Tcp(listener) => tcp::accept(listener).await,
            #[cfg(unix)]
            Listener::Unix(listener) => unix::accept(listener).await,
        }
    }
}
