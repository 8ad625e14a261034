//! One process: started, fed, read, and ended with all that it has started.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use convoke::Failure;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

use super::Command;

/// The longest answer, in bytes: the longest payload that any hub can be configured to take.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The longest sentence of an error, in bytes: what the library takes.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// How long a process, and what it has started, may take to end when it is asked to. Then it is killed.
const END_TIME: Duration = Duration::from_secs(1);

/// Between two looks at whether it has ended.
const END_PAUSE: Duration = Duration::from_millis(5);

/// How much longer than the process itself others may write its answer: those of a pipe that the shell has not waited for.
/// Who only holds its output open does not hold up the answer for longer.
const LAST_OUTPUT_TIME: Duration = Duration::from_secs(1);

/// How long the last words of a process are waited for after its end.
const LAST_WORDS_TIME: Duration = Duration::from_millis(500);

/// The groups of processes that run.
#[derive(Clone, Default)]
pub(super) struct Groups(Arc<Mutex<HashSet<Pid>>>);

impl Groups {
    /// Kills them all, now.
    pub(super) fn kill(&self) {
        for group in self.lock().iter() {
            let _ = kill_process_group(*group, Signal::KILL);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.0.lock().expect("nothing in it panics")
    }
}

/// A process, and all that it has started and that has not made a group of its own. Dropping it kills them.
pub(super) struct Process {
    child: Child,
    group: Group,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<BufReader<ChildStdout>>,
    said: Arc<Mutex<LastLine>>,
    saying: JoinHandle<()>,
}

/// A group that may have somebody in it. Its number is that of its first process, also when that has ended: the system
/// gives it to no other while any of the group is left, and afterwards only when it has gone through all the others, which
/// takes longer than anything here.
struct Group {
    number: Option<Pid>,
    all: Groups,
}

impl Group {
    fn new(number: Option<u32>, all: Groups) -> Group {
        let number = number.and_then(|number| i32::try_from(number).ok()).and_then(Pid::from_raw);
        all.lock().extend(number);
        Group { number, all }
    }

    fn signal(&self, signal: Signal) {
        if let Some(number) = self.number {
            // That there is nobody any more is what is wanted.
            let _ = kill_process_group(number, signal);
        }
    }

    /// Returns when nobody is left in it.
    async fn empty(&self) {
        while self.number.is_some_and(|number| test_kill_process_group(number).is_ok()) {
            tokio::time::sleep(END_PAUSE).await;
        }
    }

    /// It is no business of ours any more.
    fn forget(&mut self) {
        if let Some(number) = self.number.take() {
            self.all.lock().remove(&number);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.forget();
    }
}

impl Process {
    pub(super) fn start(command: &Command, more: &[(&'static str, String)]) -> Result<Process, Failure> {
        let mut starting = tokio::process::Command::new(&command.program);
        starting.args(&command.arguments);
        // A command that joins the hub itself is another node.
        starting.env_remove("CONVOKE_NAME");
        starting.envs(command.variables.iter().chain(more).map(|(name, value)| (name, value)));
        starting.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ended together with what it starts; and Ctrl-C is for us alone, who tell it.
        starting.process_group(0).kill_on_drop(true);
        let mut child = starting.spawn().map_err(|error| {
            let why = crate::exit::reason(&error);
            Failure::new("not started", format!("{} cannot be started: {why}", command.shown()))
        })?;
        let group = Group::new(child.id(), command.groups.clone());
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        let said = Arc::default();
        let saying = tokio::spawn(pass_on(child.stderr.take(), Arc::clone(&said)));
        Ok(Process { child, group, stdin, stdout, said, saying })
    }

    /// Feeds it, reads all that it writes, and waits until it ends.
    pub(super) async fn exchange(&mut self, input: &[u8]) -> Result<Vec<u8>, Failure> {
        let (stdin, stdout) = (self.stdin.take(), self.stdout.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program need not read what it is given.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let mut output = Vec::new();
        let read = async {
            match stdout {
                Some(stdout) => stdout.take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut output).await.map(drop),
                None => Ok(()),
            }
        };
        let ended = async {
            let _ = self.child.wait().await;
            tokio::time::sleep(LAST_OUTPUT_TIME).await;
        };
        let read = tokio::select! {
            ((), read) = async { tokio::join!(write, read) } => read,
            () = ended => {
                tracing::warn!("what a command has left running holds its output open: the call is answered without it");
                Ok(())
            }
        };
        read.map_err(|error| unreadable(&error))?;
        if output.len() > ANSWER_BYTES_MAX {
            return Err(too_long());
        }
        match self.child.wait().await {
            Ok(status) if status.success() => Ok(output),
            Ok(status) => Err(Failure::new(how(status), self.last_words().await)),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// Waits until the process itself ends, and tells how. Cancel safe.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => how(status),
            Err(error) => crate::exit::reason(&error),
        }
    }

    /// Waits until it ends, and tells how; or until it has said a line, into `said`, or as much as that may hold. Cancel
    /// safe: what it has said by then of a line is in `said`.
    pub(super) async fn ended_or_said(&mut self, said: &mut Vec<u8>, bytes_max: usize) -> Option<String> {
        let Some(stdout) = &mut self.stdout else { return Some(self.ended().await) };
        let mut limited = stdout.take(bytes_max.saturating_sub(said.len()) as u64);
        tokio::select! {
            biased;
            // Before its end: what it has said is told first.
            Ok(1..) = limited.read_until(b'\n', said) => None,
            status = self.child.wait() => Some(match status {
                Ok(status) => how(status),
                Err(error) => crate::exit::reason(&error),
            }),
        }
    }

    /// How it has ended, if it has.
    pub(super) fn has_ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(how)
    }

    /// What it has said last on stderr, once it has ended.
    pub(super) async fn last_words(&mut self) -> String {
        // What it has started may hold its stderr open; what it said itself has been read by then.
        let _ = tokio::time::timeout(LAST_WORDS_TIME, &mut self.saying).await;
        self.said.lock().map(|mut said| said.take()).unwrap_or_default()
    }

    /// Ends it and all that it has started: asks, and after a moment kills who is still there.
    pub(super) async fn end(mut self) {
        self.stdin = None;
        self.group.signal(Signal::TERM);
        let gone = async {
            let _ = self.child.wait().await;
            self.group.empty().await;
        };
        if tokio::time::timeout(END_TIME, gone).await.is_err() {
            self.group.signal(Signal::KILL);
            let _ = self.child.wait().await;
        }
        self.group.forget();
        self.saying.abort();
    }
}

/// `exit 3`, `signal 9`.
fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new("not read", format!("what the command writes cannot be read: {}", crate::exit::reason(error)))
}

pub(super) fn too_long() -> Failure {
    Failure::new("too long", format!("the answer has more than {ANSWER_BYTES_MAX} bytes"))
}

/// Passes a process's stderr on to ours, and keeps its last line.
async fn pass_on(stderr: Option<ChildStderr>, said: Arc<Mutex<LastLine>>) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = stderr.read(&mut buffer).await {
        if let Ok(mut said) = said.lock() {
            said.add(&buffer[..len]);
        }
        let mut ours = tokio::io::stderr();
        let _ = ours.write_all(&buffer[..len]).await;
        // Else the last words may still be on their way when this program ends.
        let _ = ours.flush().await;
    }
}

/// The last line that is not blank.
#[derive(Default)]
struct LastLine {
    whole: Vec<u8>,
    begun: Vec<u8>,
}

impl LastLine {
    fn add(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MESSAGE_BYTES_MAX - self.begun.len();
            self.begun.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.begun);
        if !line.trim_ascii().is_empty() {
            self.whole = line;
        }
    }

    fn take(&mut self) -> String {
        self.end_line();
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.whole)).trim().to_owned();
        // A character that is no UTF-8 becomes three bytes.
        let end = line.floor_char_boundary(MESSAGE_BYTES_MAX);
        line[..end].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something_is_kept() {
        let last = |parts: &[&[u8]]| {
            let mut said = LastLine::default();
            parts.iter().for_each(|part| said.add(part));
            said.take()
        };
        assert_eq!(last(&[b"one\ntwo\n"]), "two");
        assert_eq!(last(&[b"one\nt", b"w", b"o"]), "two");
        assert_eq!(last(&[b"one\n \r\n\n"]), "one");
        assert_eq!(last(&[]), "");
        assert_eq!(last(&[&[b'x'; 10_000], b"\n"]).len(), MESSAGE_BYTES_MAX);
        assert!(last(&[&[0xff; 10_000]]).len() <= MESSAGE_BYTES_MAX);
    }
}
