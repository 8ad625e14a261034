//! One process for all calls: a line of JSON in, a line out, one call after the other.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use convoke::{Failure, Payload};
use tokio::io::{AsyncBufRead as _, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::process::{ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX, Process, too_long};
use super::{Answer, Command, Job, over, reply};
use crate::render;

/// Between two starts of the process: one that ends at once must not keep the machine busy.
const RESTART_PAUSE: Duration = Duration::from_millis(250);

/// Calls on their way to the process, in a count; what waits beyond them waits in the node.
const WAITING_MAX: usize = 16;

type Waiting = (Job, Instant, oneshot::Sender<Answer>);

/// The way to the one process.
#[derive(Clone)]
pub(super) struct Lines {
    jobs: mpsc::Sender<Waiting>,
}

impl Lines {
    pub(super) fn new(command: Arc<Command>, stopping: watch::Receiver<bool>, alive: mpsc::Sender<()>) -> Lines {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            Worker { command, stopping, process: None, started: None }.run(waiting).await;
            drop(alive);
        });
        Lines { jobs }
    }

    pub(super) async fn handle(&self, job: Job, answer: oneshot::Sender<Answer>) {
        // If it has stopped, who waits for the answer is told by that it is dropped.
        let _ = self.jobs.send((job, Instant::now(), answer)).await;
    }
}

struct Worker {
    command: Arc<Command>,
    stopping: watch::Receiver<bool>,
    process: Option<Process>,
    /// When it was started last.
    started: Option<Instant>,
}

impl Worker {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut stopping = self.stopping.clone();
        loop {
            let next = tokio::select! {
                next = waiting.recv() => Ok(next),
                _ = stopping.wait_for(|stopping| *stopping) => Ok(None),
                how = ended(&mut self.process) => Err(how),
            };
            let (job, came, mut answer) = match next {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(how) => {
                    self.has_ended_idly(&how).await;
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

    async fn exchange(&mut self, payload: &Payload) -> Answer {
        let mut line = render::json_alone(payload).into_bytes();
        line.push(b'\n');
        let process = self.running().await?;
        let failure = match exchange(process, &line).await {
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
        tracing::warn!("{}", self.has_ended(how, "between two calls"));
        self.end().await;
    }

    /// The process, started if there is none.
    async fn running(&mut self) -> Result<&mut Process, Failure> {
        if let Some(process) = &mut self.process {
            if has_said_more(process).await {
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

/// Waits until the process ends, if there is one, and tells how.
async fn ended(process: &mut Option<Process>) -> String {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
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

/// Whether there is output that no call has asked for.
async fn has_said_more(process: &mut Process) -> bool {
    let Some(stdout) = &mut process.stdout else { return false };
    poll_fn(|context| match Pin::new(&mut *stdout).poll_fill_buf(context) {
        Poll::Ready(Ok(bytes)) => Poll::Ready(!bytes.is_empty()),
        _ => Poll::Ready(false),
    })
    .await
}

/// Writes a line and reads one, without its end; none if there will be none.
async fn exchange(process: &mut Process, line: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let (Some(stdin), Some(stdout)) = (&mut process.stdin, &mut process.stdout) else { return Ok(None) };
    let mut answer = Vec::new();
    let mut limited = stdout.take(ANSWER_BYTES_MAX as u64 + 1);
    let (_, read) = tokio::join!(
        // Whether it is read shows in whether there is an answer.
        async { stdin.write_all(line).await.is_ok() && stdin.flush().await.is_ok() },
        limited.read_until(b'\n', &mut answer),
    );
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(too_long());
    }
    let whole = read.is_ok() && answer.pop_if(|last| *last == b'\n').is_some();
    Ok(whole.then_some(answer))
}
