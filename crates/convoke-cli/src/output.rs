//! Stdout, where the two ways it can go away differ: a reader that has seen enough is no error, a full disk is one.

use std::io::{self, IsTerminal as _, Write};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::exit::Failure;

/// What is gathered before it is written although more is at hand, in bytes: what a pipe takes at once.
const GATHERED_BYTES_MAX: usize = 64 << 10;

/// What is still to be written to stdout.
#[derive(Default)]
pub(crate) struct Output {
    gathered: Vec<u8>,
}

/// Whether anyone still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Reader {
    Reading,
    /// Closed its end, as `head -1` does. Nothing more needs to be done.
    Gone,
}

impl Output {
    /// Adds bytes as they are. They are written once [`flush`](Output::flush) is called, or enough has gathered.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<Reader, Failure> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED_BYTES_MAX { self.flush() } else { Ok(Reader::Reading) }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, line: &str) -> Result<Reader, Failure> {
        self.gathered.extend_from_slice(line.as_bytes());
        self.bytes(b"\n")
    }

    /// Writes what has gathered.
    pub(crate) fn flush(&mut self) -> Result<Reader, Failure> {
        if self.gathered.is_empty() {
            return Ok(Reader::Reading);
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.gathered).and_then(|()| stdout.flush());
        self.gathered.clear();
        match written {
            Ok(()) => Ok(Reader::Reading),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(Failure::write("standard output", &error)),
        }
    }
}

/// Writes one line now, for verbs that have one thing to say.
pub(crate) fn say(line: &str) -> Result<Reader, Failure> {
    let mut output = Output::default();
    match output.line(line)? {
        Reader::Gone => Ok(Reader::Gone),
        Reader::Reading => output.flush(),
    }
}

/// Returns when whoever reads stdout has closed its end: what waits for more to print, perhaps for ever, waits in vain
/// then. A terminal that goes away says so by a signal.
pub(crate) async fn reader_gone() {
    if !io::stdout().is_terminal() {
        let (gone, told) = oneshot::channel();
        // It may wait for as long as the program runs, and ends with it.
        std::thread::spawn(move || {
            let stdout = io::stdout();
            let mut looked_at = [PollFd::new(&stdout, PollFlags::empty())];
            while poll(&mut looked_at, None) == Err(Errno::INTR) {}
            if looked_at[0].revents().contains(PollFlags::ERR) {
                let _ = gone.send(());
            }
        });
        if told.await.is_ok() {
            return;
        }
    }
    std::future::pending().await
}
