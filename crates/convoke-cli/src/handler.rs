//! What handles the calls of `serve`: a process for each, or one for all.
//!
//! Each process is the first of a group of its own, and is ended with all that it has started when it has answered, or
//! when nobody waits for its answer any more. Whoever is ended is also waited for, so that nothing is left behind when the
//! program ends.

mod lines;
mod process;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use convoke::{Encoding, Failure, Payload};
use tokio::sync::{mpsc, oneshot, watch};

use crate::render;
use lines::Lines;
use process::{Groups, Process};

/// What there is to do, and for whom.
pub(crate) struct Job {
    pub(crate) payload: Payload,
    /// The node that calls.
    pub(crate) caller: String,
    /// Who is answerable for it.
    pub(crate) author: String,
    /// Time that is left.
    pub(crate) left: Duration,
}

/// How much longer than a call may take its end is waited for: the library knows better who still waits for it, and gives
/// it up.
const GRACE: Duration = Duration::from_secs(1);

/// What becomes of a call.
type Answer = Result<Payload, Failure>;

/// What is started.
struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    /// Variables of the environment, beside those of this program.
    variables: Vec<(&'static str, String)>,
    /// What runs of it.
    groups: Groups,
}

/// How much of a program's name a sentence shows, in characters.
const SHOWN_CHARS_MAX: usize = 200;

impl Command {
    /// The program in a sentence.
    fn shown(&self) -> String {
        let program = self.program.to_string_lossy();
        match program.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((end, _)) => format!("`{}…`", &program[..end]),
            None => format!("`{program}`"),
        }
    }
}

/// Handles calls until it is dropped.
#[derive(Clone)]
pub(crate) struct Handler {
    command: Arc<Command>,
    lines: Option<Lines>,
    /// All processes shall end.
    stopping: watch::Receiver<bool>,
    /// Held, while it lives, by every process.
    alive: mpsc::WeakSender<()>,
}

/// Ends what a [`Handler`] has started.
pub(crate) struct Ending {
    stop: watch::Sender<bool>,
    alive: mpsc::Sender<()>,
    dead: mpsc::Receiver<()>,
    groups: Groups,
}

impl Ending {
    /// For an end that cannot be waited for: kills what still runs, at once.
    pub(crate) fn kill(&self) -> impl FnOnce() + Send + 'static {
        let groups = self.groups.clone();
        move || groups.kill()
    }

    /// Ends what still runs, and returns when all is gone.
    pub(crate) async fn ended(mut self) {
        self.stop.send_replace(true);
        drop(self.alive);
        // Nothing is ever sent: this returns when nobody holds the other end.
        self.dead.recv().await;
    }
}

impl Handler {
    /// Nothing is started before [`begin`](Handler::begin), or the first call. `address` is where the hub is, for what the
    /// command itself may ask of it.
    pub(crate) fn new(command: Vec<OsString>, lines: bool, service: &str, address: &str) -> (Handler, Ending) {
        let (stop, stopping) = watch::channel(false);
        let (alive, dead) = mpsc::channel(1);
        let mut words = command.into_iter();
        let program = words.next().unwrap_or_default();
        let variables = vec![("CONVOKE_SERVICE", service.to_owned()), ("CONVOKE_ADDRESS", address.to_owned())];
        let groups = Groups::default();
        let command = Arc::new(Command { program, arguments: words.collect(), variables, groups: groups.clone() });
        let lines = lines.then(|| Lines::new(command.clone(), stopping.clone(), alive.clone()));
        (Handler { command, lines, stopping, alive: alive.downgrade() }, Ending { stop, alive, dead, groups })
    }

    /// Starts what handles all calls, if that is one process: what it says before the first call is none of the answers.
    pub(crate) async fn begin(&self) {
        if let Some(lines) = &self.lines {
            lines.begin().await;
        }
    }

    /// Handles one call. When the future is dropped, or the time of the call is over, its process is ended.
    pub(crate) async fn handle(&self, job: Job) -> Answer {
        let stopped = || Failure::new("stopped", "what handles the calls was stopped");
        let (answer, answered) = oneshot::channel();
        match &self.lines {
            Some(lines) => lines.handle(job, answer).await,
            None => {
                let (command, stopping) = (self.command.clone(), self.stopping.clone());
                let alive = self.alive.upgrade().ok_or_else(stopped)?;
                tokio::spawn(async move {
                    handle_alone(&command, job, answer, stopping).await;
                    drop(alive);
                });
            }
        }
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

/// Handles one call with a process of its own.
async fn handle_alone(
    command: &Command,
    job: Job,
    mut answer: oneshot::Sender<Answer>,
    mut stopping: watch::Receiver<bool>,
) {
    let more = [
        ("CONVOKE_CALLER", job.caller),
        ("CONVOKE_AUTHOR", job.author),
        ("CONVOKE_DEADLINE_MS", job.left.as_millis().to_string()),
    ];
    let mut process = match Process::start(command, &more) {
        Ok(process) => process,
        Err(failure) => return drop(answer.send(Err(failure))),
    };
    let input = render::for_program(&job.payload);
    let done = tokio::select! {
        done = process.exchange(&input) => Some(done),
        () = over(&mut answer, job.left, &mut stopping) => None,
    };
    if let Some(done) = done {
        // Who asked may have given up in this moment.
        let _ = answer.send(done.map(reply));
    }
    process.end().await;
}

/// Returns when nobody waits for the answer any more.
async fn over(answer: &mut oneshot::Sender<Answer>, left: Duration, stopping: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = answer.closed() => {}
        () = tokio::time::sleep(left + GRACE) => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

/// What a program has written, as a payload: JSON where it is JSON, else text without the line break at its end.
fn reply(mut bytes: Vec<u8>) -> Payload {
    let Ok(text) = std::str::from_utf8(&bytes) else { return Payload::raw(bytes) };
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let encoding = if render::is_json(line) { Encoding::Json } else { Encoding::Text };
    bytes.truncate(line.len());
    Payload { encoding, bytes: bytes.into() }
}

#[cfg(test)]
mod tests;
