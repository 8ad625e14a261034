//! One process for all calls: a line of JSON in, a line out, one call after the other.
//!
//! What it says before its first call is a greeting, and no answer: it is dropped, with a word. Where it is started again,
//! for a call that waits, the same words are its greeting again.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use convoke::{Failure, Payload};
use tokio::io::{AsyncBufRead as _, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::process::{ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX, Process, too_long};
use super::{Answer, Command, Job, over, reply};
use crate::render;

/// Between two starts of the process: one that ends at once must not keep the machine busy.
const RESTART_PAUSE: Duration = Duration::from_millis(250);

/// Calls on their way to the process, in a count; what waits beyond them waits in the node.
const WAITING_MAX: usize = 16;

/// How much of a greeting is known again, in lines; and how long it is, in bytes. Who says more before any call wants
/// nothing of us.
const GREETING_LINES_MAX: usize = 64;
const GREETING_BYTES_MAX: usize = 64 << 10;

/// How much of a line a sentence shows, in characters.
const SHOWN_CHARS_MAX: usize = 100;

type Waiting = (Job, Instant, oneshot::Sender<Answer>);

/// What there is to do.
enum Task {
    /// To be there before the first call.
    Start,
    Handle(Waiting),
}

/// The way to the one process.
#[derive(Clone)]
pub(super) struct Lines {
    tasks: mpsc::Sender<Task>,
}

impl Lines {
    pub(super) fn new(command: Arc<Command>, stopping: watch::Receiver<bool>, alive: mpsc::Sender<()>) -> Lines {
        let (tasks, waiting) = mpsc::channel(WAITING_MAX);
        let worker = Worker {
            command,
            stopping,
            process: None,
            started: None,
            called: false,
            said: Vec::new(),
            greeting: Vec::new(),
        };
        tokio::spawn(async move {
            worker.run(waiting).await;
            drop(alive);
        });
        Lines { tasks }
    }

    pub(super) async fn begin(&self) {
        // If it has stopped, so does all else.
        let _ = self.tasks.send(Task::Start).await;
    }

    pub(super) async fn handle(&self, job: Job, answer: oneshot::Sender<Answer>) {
        // If it has stopped, who waits for the answer is told by that it is dropped.
        let _ = self.tasks.send(Task::Handle((job, Instant::now(), answer))).await;
    }
}

struct Worker {
    command: Arc<Command>,
    stopping: watch::Receiver<bool>,
    process: Option<Process>,
    /// When it was started last.
    started: Option<Instant>,
    /// It has had a call, ever.
    called: bool,
    /// What it has said before its first call, up to the end of a line.
    said: Vec<u8>,
    /// What it has said before the first call of all, line by line.
    greeting: Vec<Vec<u8>>,
}

/// What may come while no call is handled.
enum Next {
    Task(Option<Task>),
    Ended(String),
    /// A line is in `said`.
    Said,
}

impl Worker {
    async fn run(mut self, mut waiting: mpsc::Receiver<Task>) {
        let mut stopping = self.stopping.clone();
        loop {
            let next = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => Next::Task(None),
                // Before a call, whose answer it would be taken for.
                next = idle(&mut self.process, (!self.called).then_some(&mut self.said)) => next,
                next = waiting.recv() => Next::Task(next),
            };
            let (job, came, mut answer) = match next {
                Next::Task(Some(Task::Handle(next))) => next,
                Next::Task(Some(Task::Start)) => {
                    if let Err(failure) = self.running().await {
                        tracing::warn!("{failure}; it is tried again when a call comes");
                    }
                    continue;
                }
                Next::Task(None) => break,
                Next::Ended(how) => {
                    self.has_ended_idly(&how).await;
                    continue;
                }
                Next::Said => {
                    let said = std::mem::take(&mut self.said);
                    self.greets(&said).await;
                    continue;
                }
            };
            let left = job.left.saturating_sub(came.elapsed());
            let mut stopping = self.stopping.clone();
            let done = tokio::select! {
                done = self.exchange(&job.payload) => Some(done),
                () = over(&mut answer, left, &mut stopping) => None,
            };
            match done {
                Some(done) => drop(answer.send(done)),
                // What it would still answer would be taken for the answer to the next call.
                None => self.end().await,
            }
        }
        self.end().await;
    }

    /// It has said a line before the first call: that is no answer.
    async fn greets(&mut self, line: &[u8]) {
        let command = self.command.shown();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let bytes: usize = self.greeting.iter().map(Vec::len).sum();
        if self.greeting.len() >= GREETING_LINES_MAX || bytes + line.len() > GREETING_BYTES_MAX {
            tracing::warn!(
                "{command} says too much before the first call: it is ended, and started again when a call comes"
            );
            return self.end().await;
        }
        tracing::warn!("{command} has written {} before the first call: it is dropped, and no answer", shown(line));
        self.greeting.push(line.to_vec());
    }

    /// The first call has come: what was said until now, be it half a line, is no part of its answer.
    async fn listen_from_here(&mut self) {
        let mut said = std::mem::take(&mut self.said);
        if let Some(process) = &mut self.process {
            while let Some(more) = more_said(process).await.filter(|_| said.len() <= GREETING_BYTES_MAX) {
                said.extend_from_slice(&more);
            }
        }
        for line in said.split_inclusive(|byte| *byte == b'\n') {
            self.greets(line).await;
        }
        self.called = true;
    }

    async fn exchange(&mut self, payload: &Payload) -> Answer {
        let mut line = render::json_alone(payload).into_bytes();
        line.push(b'\n');
        if !self.called {
            self.listen_from_here().await;
        }
        let before = self.started;
        self.running().await?;
        // What it says when it is started is known from the first time.
        let again = before.is_some() && self.started != before;
        let mut greeting = if again { self.greeting.clone() } else { Vec::new() }.into_iter();
        let process = self.process.as_mut().expect("it runs, as of two lines above");
        let mut answer = exchange(process, &line).await;
        while let (Ok(Some(said)), Some(expected)) = (&answer, greeting.next()) {
            if *said != expected {
                break;
            }
            answer = next_line(process).await;
        }
        let failure = match answer {
            Ok(Some(answer)) => return Ok(reply(answer)),
            Err(failure) => failure,
            Ok(None) => {
                // It has closed its output; it sees that nothing more comes, and ends.
                process.stdin = None;
                let how = process.ended().await;
                let words = process.last_words().await;
                let sentence = self.has_ended(&how, "without an answer");
                tracing::warn!("{sentence}");
                Failure::new(how, with_words(words, &sentence))
            }
        };
        self.end().await;
        Err(failure)
    }

    /// That it has ended, and what now.
    fn has_ended(&self, how: &str, when: &str) -> String {
        let (command, pause) = (self.command.shown(), RESTART_PAUSE.as_millis());
        format!("{command} has ended ({how}) {when}; it is started again for the next call, at most once in {pause} ms")
    }

    async fn has_ended_idly(&mut self, how: &str) {
        let when = if self.called { "between two calls" } else { "before the first call" };
        tracing::warn!("{}", self.has_ended(how, when));
        self.end().await;
    }

    /// The process, started if there is none.
    async fn running(&mut self) -> Result<&mut Process, Failure> {
        if let Some(process) = &mut self.process {
            if more_said(process).await.is_some() {
                // Taken for the answer to this call, it would give everybody that of somebody else from now on.
                let command = self.command.shown();
                tracing::warn!("{command} has written more than one line for a call: it is started again");
                self.end().await;
            } else if let Some(how) = process.has_ended() {
                self.has_ended_idly(&how).await;
            }
        }
        if self.process.is_none() {
            if let Some(started) = self.started {
                tokio::time::sleep_until(started + RESTART_PAUSE).await;
            }
            self.started = Some(Instant::now());
            self.process = Some(Process::start(&self.command, &[])?);
        }
        Ok(self.process.as_mut().expect("it was started above"))
    }

    async fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.end().await;
        }
    }
}

/// Waits until the process ends, if there is one, or says a line that is wanted. Cancel safe.
async fn idle(process: &mut Option<Process>, said: Option<&mut Vec<u8>>) -> Next {
    match (process, said) {
        (Some(process), Some(said)) => {
            process.ended_or_said(said, GREETING_BYTES_MAX + 1).await.map_or(Next::Said, Next::Ended)
        }
        (Some(process), None) => Next::Ended(process.ended().await),
        (None, _) => std::future::pending().await,
    }
}

/// A line in a sentence.
fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// The last words of a process before a sentence about it, as far as there is room.
pub(super) fn with_words(mut words: String, sentence: &str) -> String {
    const BETWEEN: &str = "; ";
    if words.is_empty() {
        return sentence.to_owned();
    }
    words.truncate(words.floor_char_boundary(MESSAGE_BYTES_MAX - sentence.len() - BETWEEN.len()));
    words + BETWEEN + sentence
}

/// Output that no call has asked for, if there is any by now.
async fn more_said(process: &mut Process) -> Option<Vec<u8>> {
    let stdout = process.stdout.as_mut()?;
    let said = poll_fn(|context| match Pin::new(&mut *stdout).poll_fill_buf(context) {
        Poll::Ready(Ok(bytes)) => Poll::Ready(bytes.to_vec()),
        _ => Poll::Ready(Vec::new()),
    })
    .await;
    stdout.consume(said.len());
    (!said.is_empty()).then_some(said)
}

/// Writes a line and reads one, without its end; none if there will be none.
async fn exchange(process: &mut Process, line: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let (Some(stdin), Some(stdout)) = (&mut process.stdin, &mut process.stdout) else { return Ok(None) };
    let (_, answer) = tokio::join!(
        // Whether it is read shows in whether there is an answer.
        async { stdin.write_all(line).await.is_ok() && stdin.flush().await.is_ok() },
        read_line(stdout),
    );
    answer
}

/// Reads one more line of what it has been given before.
async fn next_line(process: &mut Process) -> Result<Option<Vec<u8>>, Failure> {
    match &mut process.stdout {
        Some(stdout) => read_line(stdout).await,
        None => Ok(None),
    }
}

async fn read_line(stdout: &mut BufReader<ChildStdout>) -> Result<Option<Vec<u8>>, Failure> {
    let mut answer = Vec::new();
    let read = stdout.take(ANSWER_BYTES_MAX as u64 + 1).read_until(b'\n', &mut answer).await;
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(too_long());
    }
    let whole = read.is_ok() && answer.pop_if(|last| *last == b'\n').is_some();
    Ok(whole.then_some(answer))
}
