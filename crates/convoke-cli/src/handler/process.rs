//! One process: started, fed, read, and killed with all that it has started.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use convoke::Failure;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

use super::Command;

/// The longest answer, in bytes: the longest payload that any hub can be configured to take.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The longest sentence of an error, in bytes: what the library takes.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// A process that runs.
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<BufReader<ChildStdout>>,
    said: Arc<Mutex<LastLine>>,
    saying: JoinHandle<()>,
}

impl Process {
    pub(super) fn start(command: &Command, more: &[(&'static str, String)]) -> Result<Process, Failure> {
        let mut starting = tokio::process::Command::new(&command.program);
        starting.args(&command.arguments);
        // A command that joins the hub itself is another node.
        starting.env_remove("CONVOKE_NAME");
        starting.envs(command.variables.iter().chain(more).map(|(name, value)| (name, value)));
        starting.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Killed together with what it starts; and Ctrl-C is for us alone, who tell it.
        starting.process_group(0).kill_on_drop(true);
        let mut child = starting.spawn().map_err(|error| {
            let program = command.program.to_string_lossy();
            Failure::new("not started", format!("`{program}` cannot be started: {}", crate::exit::reason(&error)))
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
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
        let read = async {
            let mut output = Vec::new();
            let limit = ANSWER_BYTES_MAX as u64 + 1;
            let read = match stdout {
                Some(stdout) => stdout.take(limit).read_to_end(&mut output).await.map(drop),
                None => Ok(()),
            };
            read.map(|()| output)
        };
        let ((), output) = tokio::join!(write, read);
        let output = output.map_err(|error| unreadable(&error))?;
        if output.len() > ANSWER_BYTES_MAX {
            self.kill().await;
            return Err(too_long());
        }
        match self.child.wait().await {
            Ok(status) if status.success() => Ok(output),
            Ok(status) => Err(self.failure(status).await),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// Whether it still runs.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// It has closed its output: waits until it ends, for why.
    pub(super) async fn ended(&mut self) -> Failure {
        self.stdin = None;
        match self.child.wait().await {
            Ok(status) => self.failure(status).await,
            Err(error) => unreadable(&error),
        }
    }

    /// Kills it and all that it has started, and waits until it is gone.
    pub(super) async fn kill(&mut self) {
        // Not after it was waited for: its number may be another's by then.
        if self.child.id().is_some()
            && let Some(group) = self.group
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        self.saying.abort();
    }

    /// How it has ended, with what it said last.
    async fn failure(&mut self, status: ExitStatus) -> Failure {
        let kind = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        // What it has started may hold its stderr open; what it said itself has been read by then.
        let _ = tokio::time::timeout(LAST_WORDS_TIME, &mut self.saying).await;
        let said = self.said.lock().map(|mut said| said.take()).unwrap_or_default();
        Failure::new(kind, said)
    }
}

/// How long the last words of a process are waited for after its end.
const LAST_WORDS_TIME: std::time::Duration = std::time::Duration::from_millis(500);

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.id().is_some()
            && let Some(group) = self.group
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
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
        let _ = tokio::io::stderr().write_all(&buffer[..len]).await;
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
