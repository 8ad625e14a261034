//! What the program logs, on stderr. Whoever logs never waits for stderr: a hub whose log nobody reads any more (a stopped
//! pager, a terminal after Ctrl-S) is still a hub. What there is no room for is counted, and the count told.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::arguments::{Arguments, Verb};

/// Lines that wait for stderr: what a busy moment brings, and a bound on what a stderr that takes nothing costs.
const WAITING_LINES_MAX: usize = 4096;

/// How long the end of the program waits until what was logged is written.
const WRITE_TIME_MAX: Duration = Duration::from_millis(500);

/// The way to stderr.
#[derive(Clone)]
pub(crate) struct Log {
    lines: SyncSender<Line>,
    /// Lines for which there was no room since one was written.
    lost: Arc<AtomicU64>,
}

enum Line {
    Text(Vec<u8>),
    /// Tells when all before it is written.
    Written(SyncSender<()>),
}

/// Begins to log: of a hub, which runs for long, with the time.
pub(crate) fn begin(arguments: &Arguments) -> Log {
    let level = match arguments.verbose {
        // It tells itself, and once, what became of its event.
        0 if matches!(arguments.verb, Verb::Publish(_)) => LevelFilter::ERROR,
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let log = Log::to(io::stderr());
    let writer = log.clone();
    let format = tracing_subscriber::fmt().with_max_level(level).with_writer(move || writer.clone()).with_ansi(false);
    match arguments.verb {
        Verb::Hub(_) => format.init(),
        _ => format.without_time().with_target(false).init(),
    }
    log
}

impl Log {
    fn to(out: impl Write + Send + 'static) -> Log {
        let (lines, waiting) = sync_channel(WAITING_LINES_MAX);
        let log = Log { lines, lost: Arc::default() };
        let lost = log.lost.clone();
        // It ends with the program.
        std::thread::spawn(move || write(&waiting, &lost, out));
        log
    }

    /// Waits until what was logged so far is written; not for long.
    pub(crate) fn written(&self) {
        let (written, wait) = sync_channel(1);
        // With no room for this there is none for what comes after it either.
        if self.lines.try_send(Line::Written(written)).is_ok() {
            let _ = wait.recv_timeout(WRITE_TIME_MAX);
        }
    }
}

/// A call has one line, whole.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Line::Text(line.to_vec())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes until nobody can log any more. An `out` that fails is nobody's to be told of.
fn write(waiting: &Receiver<Line>, lost: &AtomicU64, mut out: impl Write) {
    for line in waiting {
        match line {
            Line::Text(line) => {
                let _ = out.write_all(&line);
            }
            Line::Written(written) => {
                let _ = written.send(());
            }
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => {
                let _ = writeln!(out, "{lost} later lines of this log are missing: nobody took them");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    /// Takes a line for each permit.
    struct Slow(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // Nobody gives permits any more: it takes all.
            let _ = self.0.recv();
            self.1.lock().expect("nothing panics").extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted() {
        let (permits, slow) = channel();
        let taken = Arc::<Mutex<Vec<u8>>>::default();
        let mut log = Log::to(Slow(slow, taken.clone()));
        for _ in 0..WAITING_LINES_MAX * 2 {
            log.write_all(b"a line\n").expect("it never fails");
        }
        drop(permits);
        log.lines.send(Line::Text(b"the last\n".to_vec())).expect("it writes");
        let (written, wait) = sync_channel(1);
        log.lines.send(Line::Written(written)).expect("it writes");
        wait.recv().expect("it writes");
        let taken = String::from_utf8(taken.lock().expect("nothing panics").clone()).expect("text");
        let lines = taken.lines().filter(|line| *line == "a line").count() as u64;
        let lost: u64 = taken
            .lines()
            .filter_map(|line| line.strip_suffix(" later lines of this log are missing: nobody took them"))
            .map(|lost| lost.parse::<u64>().expect("a number"))
            .sum();
        assert!(lost > 0 && taken.contains("the last\n"), "{lost}");
        assert_eq!(lines + lost, WAITING_LINES_MAX as u64 * 2);
    }
}
