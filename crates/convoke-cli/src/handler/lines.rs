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

use super::process::{ANSWER_BYTES_MAX, Process, too_long};
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
                next = waiting.recv() => next,
                _ = stopping.wait_for(|stopping| *stopping) => None,
            };
            let Some((job, came, mut answer)) = next else { break };
            let left = job.left.saturating_sub(came.elapsed());
            let mut stopping = self.stopping.clone();
            let done = tokio::select! {
                done = self.exchange(&job.payload) => Some(done),
                () = over(&mut answer, left, &mut stopping) => None,
            };
            match done {
                Some(done) => drop(answer.send(done)),
                // What it would still answer would be taken for the answer to the next call.
                None => self.kill().await,
            }
        }
        self.kill().await;
    }

    async fn exchange(&mut self, payload: &Payload) -> Answer {
        let mut line = render::json_alone(payload).into_bytes();
        line.push(b'\n');
        let process = self.running().await?;
        let answer = match exchange(process, &line).await {
            Ok(Some(answer)) => return Ok(reply(answer)),
            Ok(None) => process.ended().await,
            Err(failure) => failure,
        };
        self.kill().await;
        Err(answer)
    }

    /// The process, started if there is none.
    async fn running(&mut self) -> Result<&mut Process, Failure> {
        if let Some(process) = &mut self.process {
            let more = has_said_more(process).await;
            if more {
                // Taken for the answer to this call, it would give everybody that of somebody else from now on.
                tracing::warn!("what handles the calls has written more than one line for a call: it is started again");
            }
            if more || !process.is_running() {
                self.kill().await;
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

    async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }
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
