//! What the program logs: on stderr, or a hub into a file. Whoever logs never waits for where it goes: a hub whose log
//! nobody reads any more (a stopped pager, a terminal after Ctrl-S) or whose disk is full is still a hub. What there is no
//! room for is counted, and the count told as soon as there is.
//!
//! [`levels`] says which lines are wanted, [`lines`] what they look like. Both can change while the program runs.

pub(crate) mod levels;
mod lines;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use rustix::fs::OFlags;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::arguments::{Arguments, Verb};
use crate::exit::{Exit, Failure, reason};
use crate::screen::progress::beside;
use crate::screen::{self, On};
use levels::Levels;

/// Lines that wait to be written: what a busy moment brings, and a bound on what it costs when nothing takes them.
const WAITING_LINES_MAX: usize = 4096;

/// How long the end of the program waits until what was logged is written.
const WRITE_TIME_MAX: Duration = Duration::from_millis(500);

/// How a hub's log is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) levels: Levels,
    pub(crate) json: bool,
    /// `None` for stderr.
    pub(crate) file: Option<PathBuf>,
}

/// The way to the log.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    lines: SyncSender<Line>,
    /// Lines for which there was no room since one was written.
    lost: AtomicU64,
    rules: RwLock<Arc<Rules>>,
    /// Where lines go from the next one on, if that is elsewhere.
    next: Mutex<Option<Out>>,
    /// The file that they go to now.
    file: Mutex<Option<PathBuf>>,
}

/// Which lines are written, and how.
struct Rules {
    levels: Levels,
    form: Form,
    /// The levels of lines have colours.
    colours: bool,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// For verbs that come and go: what happened.
    Short,
    /// With the time, and of which part it is.
    Text,
    Json,
}

type Out = Box<dyn Write + Send>;

/// Where the lines go that go into no file.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        beside(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

enum Line {
    Text(String),
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
    let form = if matches!(arguments.verb, Verb::Hub(_)) { Form::Text } else { Form::Short };
    let colours = screen::has_colours(On::Stderr);
    let log = Log::to(Box::new(Stderr), Rules { levels: Levels::all(level), form, colours });
    tracing::subscriber::set_global_default(lines::Lines(log.clone())).expect("it is set once");
    log
}

impl Log {
    fn to(out: Out, rules: Rules) -> Log {
        let (lines, waiting) = sync_channel(WAITING_LINES_MAX);
        let log = Log(Arc::new(Shared {
            lines,
            lost: AtomicU64::new(0),
            rules: RwLock::new(Arc::new(rules)),
            next: Mutex::default(),
            file: Mutex::default(),
        }));
        let writer = Writer { log: log.clone(), out, failed: None };
        // It ends with the program.
        std::thread::spawn(move || writer.write_all(&waiting));
        log
    }

    /// Logs as these settings say from now on. On failure nothing changes.
    pub(crate) fn set(&self, settings: &LogSettings) -> Result<(), Failure> {
        let now = self.0.file.lock().expect("nothing in it panics").clone();
        if now != settings.file {
            self.open(settings.file.as_deref())?;
        }
        let form = if settings.json { Form::Json } else { Form::Text };
        let colours = settings.file.is_none() && screen::has_colours(On::Stderr);
        let rules = Rules { levels: settings.levels.clone(), form, colours };
        *self.0.rules.write().expect("nothing in it panics") = Arc::new(rules);
        Ok(())
    }

    /// Opens the file again that it writes to, if it does: what it has written may have another name now. On failure it
    /// goes on with the file that it has.
    pub(crate) fn reopen(&self) -> Result<(), Failure> {
        let now = self.0.file.lock().expect("nothing in it panics").clone();
        if now.is_some() { self.open(now.as_deref()) } else { Ok(()) }
    }

    fn open(&self, file: Option<&Path>) -> Result<(), Failure> {
        let out: Out = match file {
            Some(path) => Box::new(append(path, true)?),
            None => Box::new(Stderr),
        };
        *self.0.next.lock().expect("nothing in it panics") = Some(out);
        *self.0.file.lock().expect("nothing in it panics") = file.map(Path::to_owned);
        Ok(())
    }

    /// Waits until what was logged so far is written; not for long.
    pub(crate) fn written(&self) {
        let (written, wait) = sync_channel(1);
        // With no room for this there is none for what comes after it either.
        if self.0.lines.try_send(Line::Written(written)).is_ok() {
            let _ = wait.recv_timeout(WRITE_TIME_MAX);
        }
    }

    fn rules(&self) -> Arc<Rules> {
        self.0.rules.read().expect("nothing in it panics").clone()
    }

    fn send(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.0.lines.try_send(Line::Text(line)) {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether a log file can be written, as far as can be said without making it.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match path.symlink_metadata().is_err() && folder.is_dir() {
        true => Ok(()),
        false => append(path, false).map(|_| ()),
    }
}

/// Opens a log file to append to, or makes it, for this user alone.
fn append(path: &Path, make: bool) -> Result<File, Failure> {
    let cannot = |why: &str| {
        let message = format!("log file `{}` cannot be written: {why}", path.display());
        Failure::new(Exit::CannotCreate, "CannotCreate", message)
    };
    // A pipe that nobody reads would be waited for.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().create(make).append(true).mode(0o600).custom_flags(nonblocking).open(path);
    let file = file.map_err(|error| cannot(&reason(&error)))?;
    let kind = file.metadata().map_err(|error| cannot(&reason(&error)))?.file_type();
    match kind.is_file() || kind.is_char_device() {
        true => Ok(file),
        false => Err(cannot("it is no file")),
    }
}

/// What writes the lines, in a thread of its own.
struct Writer {
    log: Log,
    out: Out,
    /// Lines that could not be written since one was, and why.
    failed: Option<(u64, String)>,
}

impl Writer {
    /// Writes until nobody can log any more.
    fn write_all(mut self, waiting: &Receiver<Line>) {
        for line in waiting {
            let next = self.log.0.next.lock().expect("nothing in it panics").take();
            self.out = next.unwrap_or(self.out);
            match line {
                Line::Text(line) => self.write(&line),
                Line::Written(written) => {
                    let _ = written.send(());
                }
            }
            match self.log.0.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => self.note(&format!("{lost} later lines of this log are missing: nobody took them")),
            }
        }
    }

    /// Writes a line, and before it how many are missing.
    fn write(&mut self, line: &str) {
        if let Some((lines, why)) = self.failed.take() {
            // Whatever was written of the first of them ends here.
            let note = self.line(&format!("{lines} lines of this log are missing: {why}"));
            if self.out.write_all(format!("\n{note}").as_bytes()).is_err() {
                self.failed = Some((lines + 1, why));
                return;
            }
        }
        if let Err(error) = self.out.write_all(line.as_bytes()) {
            self.failed = Some((1, reason(&error)));
        }
    }

    /// Says something about the log itself.
    fn note(&mut self, what: &str) {
        let line = self.line(what);
        self.write(&line);
    }

    fn line(&self, what: &str) -> String {
        lines::line(&self.log.rules(), Level::WARN, "log", what)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn log(out: impl Write + Send + 'static) -> Log {
        Log::to(Box::new(out), Rules { levels: Levels::all(LevelFilter::WARN), form: Form::Short, colours: false })
    }

    /// Waits, however long it takes.
    fn wait_until_written(log: &Log) {
        let (written, wait) = sync_channel(1);
        log.0.lines.send(Line::Written(written)).expect("it writes");
        wait.recv().expect("it writes");
    }

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
        let log = log(Slow(slow, taken.clone()));
        for _ in 0..WAITING_LINES_MAX * 2 {
            log.send("a line\n".to_owned());
        }
        drop(permits);
        log.0.lines.send(Line::Text("the last\n".to_owned())).expect("it writes");
        wait_until_written(&log);
        let taken = String::from_utf8(taken.lock().expect("nothing panics").clone()).expect("text");
        let lines = taken.lines().filter(|line| *line == "a line").count() as u64;
        let lost: u64 = taken
            .lines()
            .filter_map(|line| line.strip_suffix(" later lines of this log are missing: nobody took them"))
            .map(|lost| lost.trim_start_matches(" WARN ").parse::<u64>().expect("a number"))
            .sum();
        assert!(lost > 0 && taken.contains("the last\n"), "{lost}");
        assert_eq!(lines + lost, WAITING_LINES_MAX as u64 * 2);
    }

    /// A disk with room for so many bytes.
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().expect("nothing panics");
            let taken = line.len().min(disk.0);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0 -= taken;
            disk.1.extend_from_slice(&line[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_lines_that_are_counted_and_nothing_else() {
        let disk = Arc::new(Mutex::new((10, Vec::new())));
        let log = log(Disk(disk.clone()));
        for line in ["first\n", "second\n", "third\n"] {
            log.send(line.to_owned());
        }
        wait_until_written(&log);
        disk.lock().expect("nothing panics").0 = 1000;
        log.send("fourth\n".to_owned());
        wait_until_written(&log);
        let written = String::from_utf8(disk.lock().expect("nothing panics").1.clone()).expect("text");
        assert_eq!(written, "first\nseco\n WARN 2 lines of this log are missing: no storage space\nfourth\n");
    }
}
