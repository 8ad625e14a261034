//! A line on a terminal that tells how far something long is: drawn again from time to time, never beside anything else,
//! and gone when it is done. Where stderr is no terminal, or `--json` is asked for, there is none.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::look;
use crate::{duration, render};

/// What is done sooner needs no line.
const BEFORE: Duration = Duration::from_secs(1);

/// Between two drawings: ten a second are smooth, and cost nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// How wide a terminal is that does not say so, in columns.
const COLUMNS: usize = 80;

/// Goes to the beginning of the line, and empties it.
const CLEAR: &str = "\r\u{1b}[K";

/// Whether a line is drawn now.
static DRAWN: Mutex<bool> = Mutex::new(false);

/// Whether something has the line.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nothing but the time.
    Time,
    /// What was read, in bytes.
    Bytes,
    /// How many of so many.
    Of(u64),
}

/// Something long, until it is dropped.
pub(crate) struct Progress {
    done: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    drawing: Option<JoinHandle<()>>,
}

impl Progress {
    /// Tells from now on how far `what` is, unless it is part of something that tells so already. Within the runtime only.
    pub(crate) fn of(what: impl Into<String>, unit: Unit) -> Progress {
        let done = Arc::<AtomicU64>::default();
        let over = Arc::<AtomicBool>::default();
        let draws = look().moving && !TAKEN.swap(true, Ordering::Relaxed);
        let drawing = draws.then(|| tokio::spawn(draw_again(what.into(), unit, done.clone(), over.clone())));
        Progress { done, over, drawing }
    }

    /// What is counted, to be counted elsewhere.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        self.done.clone()
    }

    /// So much more is done.
    pub(crate) fn add(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(drawing) = self.drawing.take() {
            drawing.abort();
            // It may be about to draw in this moment.
            beside(|| self.over.store(true, Ordering::Relaxed));
            TAKEN.store(false, Ordering::Relaxed);
        }
    }
}

/// Writes something else on stderr: the line is gone meanwhile.
pub(crate) fn beside<T>(write: impl FnOnce() -> T) -> T {
    let mut drawn = DRAWN.lock().expect("nothing in it panics");
    if std::mem::take(&mut *drawn) {
        let _ = io::stderr().write_all(CLEAR.as_bytes());
    }
    write()
}

async fn draw_again(what: String, unit: Unit, done: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    let begun = Instant::now();
    tokio::time::sleep(BEFORE).await;
    loop {
        draw(&line(&what, unit, done.load(Ordering::Relaxed), begun.elapsed(), columns()), &over);
        tokio::time::sleep(PAUSE).await;
    }
}

/// In one write, so that no half of it is seen; and not any more when it is over.
fn draw(line: &str, over: &AtomicBool) {
    let mut drawn = DRAWN.lock().expect("nothing in it panics");
    if over.load(Ordering::Relaxed) {
        return;
    }
    *drawn = io::stderr().write_all(format!("{CLEAR}{line}").as_bytes()).is_ok();
}

fn columns() -> usize {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => COLUMNS,
    }
}

/// A line that is shorter than the terminal is wide: in the last column some begin a new one.
fn line(what: &str, unit: Unit, done: u64, time: Duration, columns: usize) -> String {
    let time = duration::shown(Duration::from_secs(time.as_secs()));
    let far = match unit {
        Unit::Time => time,
        Unit::Bytes => format!("{}, {time}", bytes(done)),
        Unit::Of(all) => format!("{done} of {all}, {time}"),
    };
    let mut line = format!("{}: {far}", render::escaped(what));
    if let Some((end, _)) = line.char_indices().nth(columns.saturating_sub(1)) {
        line.truncate(end);
    }
    line
}

/// A number of bytes as a person likes to read it.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..0x400 => format!("{count} B"),
        0x400..0x10_0000 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_fits() {
        let said = |unit, columns| line("get of `a\u{1b}`", unit, 5_000, Duration::from_millis(3_456), columns);
        assert_eq!(said(Unit::Time, 80), "get of `a\\u001b`: 3 s");
        assert_eq!(said(Unit::Bytes, 80), "get of `a\\u001b`: 4 KiB, 3 s");
        assert_eq!(said(Unit::Of(9_000), 80), "get of `a\\u001b`: 5000 of 9000, 3 s");
        assert_eq!(said(Unit::Time, 7), "get of");
        assert_eq!(said(Unit::Time, 1), "");
    }
}
