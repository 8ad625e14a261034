//! Services: what a program lets others call.
//!
//! Each registration has a task of its own that runs its handlers, so that they begin in the order in which their calls
//! came, and a program that offers two services does not hold up one for the other.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use convoke_core::{CallEnd, Code, Headers, Incoming, IncomingCall, Name, NodeState, Payload, Refusal, Time};
use futures_core::Stream;
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::{Node, NodeShared, left};
use crate::clock::now;
use crate::error::{Error, Failure};
use crate::transport::mem;

/// How many calls one registration handles at a time unless told otherwise.
const CONCURRENCY: usize = 256;

tokio::task_local! {
    /// Until when the call must be answered that is being handled.
    static DEADLINE: Time;
}

/// What is left of the time of the call that is being handled here; `None` outside of handlers.
pub(super) fn time_left() -> Option<Duration> {
    DEADLINE.try_with(|deadline| deadline.since(now())).ok()
}

/// How a service is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Handling a call twice does no harm: the hub may give it to another provider when this one is lost with it.
    pub idempotent: bool,
    /// How many calls are handled at a time, at least one; others wait. With 1 they are handled strictly one after the
    /// other.
    pub concurrency: usize,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions { idempotent: false, concurrency: CONCURRENCY }
    }
}

/// A call as its handler gets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The node that calls.
    pub caller: Name,
    /// Who is answerable for it.
    pub author: Name,
    /// What it is called with.
    pub payload: Payload,
    /// The pairs beside it.
    pub headers: Headers,
    deadline: Time,
}

impl Call {
    /// For how long its caller will wait yet. Calls that the handler makes itself get no more than this.
    pub fn time_left(&self) -> Duration {
        self.deadline.since(now())
    }
}

/// A service that this program offers. Dropping it withdraws it: no more calls come, and those that are being handled, or
/// wait for that, are answered still.
#[derive(Debug)]
pub struct Registration {
    node: Node,
    id: u32,
    service: Name,
}

impl Registration {
    /// The service.
    pub fn service(&self) -> &Name {
        &self.service
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let shared = &self.node.handle.shared;
        let mut inner = shared.lock();
        inner.answers.remove(&self.id);
        inner.state.unserve(self.id);
        inner.providers.withdraw(self.id);
        let mem = shared.flush_soon(&mut inner);
        drop(inner);
        if let Some(mem) = mem {
            mem::pump(&mem);
        }
    }
}

/// The tasks that handle calls, by registration.
#[derive(Default)]
pub(super) struct Providers(HashMap<u32, mpsc::UnboundedSender<Incoming>>);

impl Providers {
    /// Hands out what has come. The hub bounds how many calls it gives to one node.
    pub(super) fn settle(&mut self, state: &mut NodeState) {
        for incoming in state.incoming() {
            let id = match &incoming {
                Incoming::Call(call) => call.registration,
                Incoming::Cancel { registration, .. } => *registration,
                Incoming::Ended { registration, why } => {
                    tracing::debug!("`{}`: a registration has ended: {why}", state.name());
                    *registration
                }
            };
            let undone = match self.0.get(&id) {
                Some(sender) => sender.send(incoming).err().map(|mpsc::error::SendError(incoming)| incoming),
                None => Some(incoming),
            };
            if let Some(Incoming::Call(call)) = undone {
                // Its task is gone with its runtime.
                let why = Refusal::new(Code::ProviderLost, "the provider is ending");
                state.finish(call.id, &CallEnd::Refused(why), now());
            }
        }
    }

    fn withdraw(&mut self, id: u32) {
        if let Some(sender) = self.0.get(&id) {
            let why = Refusal::new(Code::Left, "it was withdrawn");
            let _ = sender.send(Incoming::Ended { registration: id, why });
        }
    }
}

impl Node {
    /// Offers a service: from now on `handler` is called with what others call it with, and its answer goes back to them.
    /// Returns when the hub has taken it. Without a link it waits for one; over reconnections the registration comes back
    /// by itself. Dropping it withdraws the service.
    ///
    /// Several programs can offer the same service: callers choose. Handlers begin in the order in which their calls came,
    /// run in one task, up to 256 at a time ([`serve_with`](Node::serve_with) changes that), and so must not block. Each
    /// runs at most once for a call. When its caller does not want the answer any more, or its time is over, a handler is
    /// dropped where it waits. One that panics answers with the failure `panic` and harms nobody else.
    ///
    /// What it answers with an `Err` reaches the caller as [`Error::Failed`]; `?` works on any error. Calls that it makes
    /// itself get no more time than is left of the one that it handles.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`], also for a name of more than 480 bytes or 29 words; [`Error::Unauthorized`], also for a name of
    /// the hub's own; [`Error::Refused`] at a limit: a node offers at most 10,000 services, and one name 16 times;
    /// [`Error::Backpressure`]; [`Error::Offline`] if the node has left.
    ///
    /// Cancel safe: a serve that was cancelled offers nothing.
    pub async fn serve<A, R, F, H>(&self, service: impl AsRef<str>, handler: H) -> Result<Registration, Error>
    where
        A: DeserializeOwned + Send + 'static,
        R: Serialize,
        F: Future<Output = Result<R, Failure>> + Send + 'static,
        H: FnMut(A) -> F + Send + 'static,
    {
        self.serve_with(service, ServeOptions::default(), handler).await
    }

    /// As [`serve`](Node::serve), with options.
    ///
    /// # Errors
    ///
    /// As [`serve`](Node::serve).
    pub async fn serve_with<A, R, F, H>(
        &self,
        service: impl AsRef<str>,
        options: ServeOptions,
        mut handler: H,
    ) -> Result<Registration, Error>
    where
        A: DeserializeOwned + Send + 'static,
        R: Serialize,
        F: Future<Output = Result<R, Failure>> + Send + 'static,
        H: FnMut(A) -> F + Send + 'static,
    {
        let service = Name::parse(service.as_ref())?;
        let name = service.clone();
        let handle = move |call: Call| {
            // What cannot be read is never handled.
            let handled = call.payload.decode().map(&mut handler).map_err(|error| {
                let text = format!("call to `{name}`: it takes something else: {error}");
                CallEnd::Refused(Refusal::new(Code::BadRequest, text))
            });
            async move {
                match handled {
                    Ok(handled) => ended(handled.await.and_then(|result| Ok(Payload::encode(&result)?))),
                    Err(refused) => refused,
                }
            }
        };
        self.serve_ends(service, options, handle).await
    }

    /// As [`serve`](Node::serve), for handlers that take a call as it came, with who called and what was beside it, and
    /// answer with a payload.
    ///
    /// # Errors
    ///
    /// As [`serve`](Node::serve).
    pub async fn serve_payload<F, H>(
        &self,
        service: impl AsRef<str>,
        options: ServeOptions,
        mut handler: H,
    ) -> Result<Registration, Error>
    where
        F: Future<Output = Result<Payload, Failure>> + Send + 'static,
        H: FnMut(Call) -> F + Send + 'static,
    {
        let service = Name::parse(service.as_ref())?;
        self.serve_ends(service, options, move |call| handler(call).map(ended)).await
    }

    async fn serve_ends<F, H>(&self, service: Name, options: ServeOptions, handler: H) -> Result<Registration, Error>
    where
        F: Future<Output = CallEnd> + Send + 'static,
        H: FnMut(Call) -> F + Send + 'static,
    {
        let shared = &self.handle.shared;
        let (sender, incoming) = mpsc::unbounded_channel();
        let (answered, answer) = oneshot::channel();
        let id = {
            let mut inner = shared.lock();
            let id = inner.state.serve(service.clone(), options.idempotent)?;
            inner.answers.insert(id, answered);
            // Before the hub is asked: a call may come with its answer.
            inner.providers.0.insert(id, sender);
            shared.flush(inner);
            id
        };
        let task = Task {
            node: self.clone(),
            id,
            incoming,
            handler,
            concurrency: options.concurrency.max(1),
            waiting: VecDeque::new(),
            running: FuturesUnordered::new(),
            aborts: HashMap::new(),
            ends: Vec::new(),
            withdrawn: false,
        };
        shared.runtime.spawn(task);
        let registration = Registration { node: self.clone(), id, service };
        answer.await.map_err(|_| left(self.name()))??;
        Ok(registration)
    }
}

fn ended(result: Result<Payload, Failure>) -> CallEnd {
    match result {
        Ok(payload) => CallEnd::Done(payload),
        Err(Failure { kind, message, payload }) => CallEnd::Failed { kind, message, payload },
    }
}

type Handling = Pin<Box<dyn Future<Output = (u64, CallEnd)> + Send>>;

/// Handles the calls of one registration, until it is withdrawn and all of them are answered.
struct Task<H> {
    /// Keeps the node while something is being handled.
    node: Node,
    id: u32,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    handler: H,
    concurrency: usize,
    /// Calls that wait for others to be done.
    waiting: VecDeque<IncomingCall>,
    running: FuturesUnordered<Handling>,
    aborts: HashMap<u64, AbortHandle>,
    /// Calls that have been handled, and whose callers are yet to be told.
    ends: Vec<(u64, CallEnd)>,
    withdrawn: bool,
}

impl<H> Unpin for Task<H> {}

impl<F, H> Future for Task<H>
where
    F: Future<Output = CallEnd> + Send + 'static,
    H: FnMut(Call) -> F + Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        loop {
            task.take_incoming(context);
            task.begin_waiting();
            while let Poll::Ready(Some((id, end))) = Pin::new(&mut task.running).poll_next(context) {
                task.aborts.remove(&id);
                task.ends.push((id, end));
                task.begin_waiting();
            }
            if task.ends.is_empty() {
                break;
            }
            // All at once: one lock, and one write.
            task.node.handle.shared.finish(&mut task.ends);
        }
        if task.withdrawn && task.running.is_empty() && task.waiting.is_empty() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<F, H> Task<H>
where
    F: Future<Output = CallEnd> + Send + 'static,
    H: FnMut(Call) -> F + Send + 'static,
{
    fn take_incoming(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(incoming) = self.incoming.poll_recv(context) {
            match incoming {
                Some(Incoming::Call(call)) => self.waiting.push_back(call),
                Some(Incoming::Cancel { id, .. }) => match self.aborts.get(&id) {
                    Some(abort) => abort.abort(),
                    None => self.cancel_waiting(id),
                },
                Some(Incoming::Ended { .. }) => self.withdrawn = true,
                None => {
                    self.withdrawn = true;
                    return;
                }
            }
        }
    }

    fn cancel_waiting(&mut self, id: u64) {
        if let Some(place) = self.waiting.iter().position(|call| call.id == id) {
            self.waiting.remove(place);
            let why = Refusal::new(Code::Cancelled, "its caller did not want it any more");
            self.ends.push((id, CallEnd::Refused(why)));
        }
    }

    fn begin_waiting(&mut self) {
        while self.running.len() < self.concurrency
            && let Some(call) = self.waiting.pop_front()
        {
            self.begin(call);
        }
    }

    fn begin(&mut self, incoming: IncomingCall) {
        let IncomingCall { id, caller, author, deadline, headers, payload, .. } = incoming;
        let call = Call { caller, author, payload, headers, deadline };
        let handler = &mut self.handler;
        // What a handler does before it first waits is its own work too.
        let begun = DEADLINE.sync_scope(deadline, || catch_unwind(AssertUnwindSafe(|| handler(call))));
        let handling = match begun {
            Ok(handling) => handling,
            Err(panic) => return self.ends.push((id, panicked(&*panic))),
        };
        let (abort, aborted) = AbortHandle::new_pair();
        let handling = Abortable::new(DEADLINE.scope(deadline, AssertUnwindSafe(handling).catch_unwind()), aborted);
        self.aborts.insert(id, abort);
        self.running.push(Box::pin(handling.map(move |ended| {
            let end = match ended {
                Ok(Ok(end)) => end,
                Ok(Err(panic)) => panicked(&*panic),
                Err(_) => {
                    let why = Refusal::new(Code::Cancelled, "its caller did not want it any more");
                    CallEnd::Uncertain(why)
                }
            };
            (id, end)
        })));
    }
}

impl<H> Drop for Task<H> {
    fn drop(&mut self) {
        self.node.handle.shared.lock().providers.0.remove(&self.id);
    }
}

fn panicked(panic: &(dyn Any + Send)) -> CallEnd {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!("the handler panicked: {}", said.unwrap_or("no reason given"));
    CallEnd::Failed { kind: "panic".to_owned(), message, payload: Payload::default() }
}

impl NodeShared {
    /// Answers calls.
    fn finish(&self, ends: &mut Vec<(u64, CallEnd)>) {
        let mut inner = self.lock();
        let now = now();
        for (id, end) in ends.drain(..) {
            inner.state.finish(id, &end, now);
        }
        let mem = self.flush_soon(&mut inner);
        drop(inner);
        if let Some(mem) = mem {
            mem::pump(&mem);
        }
    }
}
