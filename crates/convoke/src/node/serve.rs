//! Services: what a program lets others call.
//!
//! Each registration has a task of its own that runs its handlers, so that they begin in the order in which their calls
//! came, and a program that offers two services does not hold up one for the other.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use convoke_core::{CallEnd, Code, Headers, Incoming, IncomingCall, Name, NodeState, Payload, Refusal, Time};
use futures_core::Stream;
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, CatchUnwind};
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::futures::TaskLocalFuture;

use super::{Node, left};
use crate::clock::now;
use crate::error::{Error, Failure};
use crate::transport::mem;

/// How many calls one registration handles at a time unless told otherwise.
const CONCURRENCY: usize = 256;

/// So many calls are answered together at most: then their callers are told, before more are handled.
const ENDS_MAX: usize = 256;

/// How often the task of a registration looks for more before other tasks have their turn.
const TURNS_MAX: usize = 16;

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

/// What has come for the tasks that handle calls, by registration.
#[derive(Default)]
pub(super) struct Providers(BTreeMap<u32, Queue>);

/// What has come for one of them. The hub bounds how many calls it gives to one node.
#[derive(Default)]
struct Queue {
    incoming: Vec<Incoming>,
    /// To be woken when something comes.
    task: Option<Waker>,
}

impl Queue {
    fn push(&mut self, incoming: Incoming) {
        self.incoming.push(incoming);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

impl Providers {
    /// Hands out what has come.
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
            match (self.0.get_mut(&id), incoming) {
                (Some(queue), incoming) => queue.push(incoming),
                (None, Incoming::Call(call)) => {
                    // Its task is gone with its runtime.
                    let why = Refusal::new(Code::ProviderLost, "the provider is ending");
                    state.finish(call.id, &CallEnd::Refused(why), now());
                }
                (None, _) => {}
            }
        }
    }

    fn withdraw(&mut self, id: u32) {
        if let Some(queue) = self.0.get_mut(&id) {
            let why = Refusal::new(Code::Left, "it was withdrawn");
            queue.push(Incoming::Ended { registration: id, why });
        }
    }

    /// Moves what has come for a task to `taken`, which is empty. If nothing has, the task is woken when something does.
    fn take(&mut self, id: u32, taken: &mut Vec<Incoming>, task: &Waker) {
        let Some(queue) = self.0.get_mut(&id) else { return };
        std::mem::swap(&mut queue.incoming, taken);
        if taken.is_empty() {
            queue.task = Some(task.clone());
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
        let (answered, answer) = oneshot::channel();
        let id = {
            let mut inner = shared.lock();
            let id = inner.state.serve(service.clone(), options.idempotent)?;
            inner.answers.insert(id, answered);
            // Before the hub is asked: a call may come with its answer.
            inner.providers.0.insert(id, Queue::default());
            shared.flush(inner);
            id
        };
        let task = Task {
            node: self.clone(),
            id,
            incoming: Vec::new(),
            handler,
            concurrency: options.concurrency.max(1),
            waiting: VecDeque::new(),
            spare: None,
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

/// A handler at work.
type Handling<F> = TaskLocalFuture<Time, CatchUnwind<AssertUnwindSafe<F>>>;

/// A handler that had to wait for something.
struct Running<F> {
    id: u64,
    handling: Abortable<Pin<Box<Handling<F>>>>,
}

impl<F: Future<Output = CallEnd>> Future for Running<F> {
    type Output = (u64, CallEnd);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<(u64, CallEnd)> {
        Pin::new(&mut self.handling).poll(context).map(|handled| {
            let end = handled.map_or_else(
                |_| CallEnd::Uncertain(Refusal::new(Code::Cancelled, "its caller did not want it any more")),
                handled_or_panicked,
            );
            (self.id, end)
        })
    }
}

/// Handles the calls of one registration, until it is withdrawn and all of them are answered.
struct Task<F, H> {
    /// Keeps the node while something is being handled.
    node: Node,
    id: u32,
    incoming: Vec<Incoming>,
    handler: H,
    concurrency: usize,
    /// Calls that wait for others to be done.
    waiting: VecDeque<IncomingCall>,
    /// Where a handler was at work that did not have to wait: the next one needs no memory of its own.
    spare: Option<Pin<Box<Handling<F>>>>,
    running: FuturesUnordered<Running<F>>,
    aborts: HashMap<u64, AbortHandle>,
    /// Calls that have been handled, and whose callers are yet to be told.
    ends: Vec<(u64, CallEnd)>,
    withdrawn: bool,
}

impl<F, H> Unpin for Task<F, H> {}

impl<F, H> Future for Task<F, H>
where
    F: Future<Output = CallEnd> + Send + 'static,
    H: FnMut(Call) -> F + Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        for _ in 0..TURNS_MAX {
            task.exchange(context);
            let came = !task.incoming.is_empty();
            task.sort_incoming();
            task.begin_waiting();
            while let Poll::Ready(Some((id, end))) = Pin::new(&mut task.running).poll_next(context) {
                task.aborts.remove(&id);
                task.ends.push((id, end));
                task.begin_waiting();
            }
            if task.ends.is_empty() && !came {
                let done = task.withdrawn && task.running.is_empty() && task.waiting.is_empty();
                return if done { Poll::Ready(()) } else { Poll::Pending };
            }
        }
        // Others have their turn, however much comes.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<F, H> Task<F, H>
where
    F: Future<Output = CallEnd> + Send + 'static,
    H: FnMut(Call) -> F + Send + 'static,
{
    /// Tells how calls have ended and takes what has come, with one lock and one write.
    fn exchange(&mut self, context: &Context<'_>) {
        let shared = &self.node.handle.shared;
        let mut inner = shared.lock();
        inner.providers.take(self.id, &mut self.incoming, context.waker());
        if self.ends.is_empty() {
            return;
        }
        let now = now();
        for (id, end) in self.ends.drain(..) {
            inner.state.finish(id, &end, now);
        }
        let mem = shared.flush_soon(&mut inner);
        drop(inner);
        if let Some(mem) = mem {
            mem::pump(&mem);
        }
    }

    fn sort_incoming(&mut self) {
        let mut came = std::mem::take(&mut self.incoming);
        for incoming in came.drain(..) {
            match incoming {
                Incoming::Call(call) => self.waiting.push_back(call),
                Incoming::Cancel { id, .. } => match self.aborts.get(&id) {
                    Some(abort) => abort.abort(),
                    None => self.cancel_waiting(id),
                },
                Incoming::Ended { .. } => self.withdrawn = true,
            }
        }
        self.incoming = came;
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
            && self.ends.len() < ENDS_MAX
            && let Some(call) = self.waiting.pop_front()
        {
            self.begin(call);
        }
    }

    /// Begins to handle a call. One that need not wait for anything is handled then.
    fn begin(&mut self, incoming: IncomingCall) {
        let IncomingCall { id, caller, author, deadline, headers, payload, .. } = incoming;
        let call = Call { caller, author, payload, headers, deadline };
        let handler = &mut self.handler;
        // What a handler does before it first waits is its own work too.
        let begun = DEADLINE.sync_scope(deadline, || catch_unwind(AssertUnwindSafe(|| handler(call))));
        let handling = match begun {
            Ok(handling) => DEADLINE.scope(deadline, AssertUnwindSafe(handling).catch_unwind()),
            Err(panic) => return self.ends.push((id, panicked(&*panic))),
        };
        let mut handling = match self.spare.take() {
            Some(mut spare) => {
                spare.set(handling);
                spare
            }
            None => Box::pin(handling),
        };
        // Whatever it waits for need not wake anybody yet: what runs is asked once more below.
        if let Poll::Ready(handled) = handling.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            self.spare = Some(handling);
            return self.ends.push((id, handled_or_panicked(handled)));
        }
        let (abort, aborted) = AbortHandle::new_pair();
        self.aborts.insert(id, abort);
        self.running.push(Running { id, handling: Abortable::new(handling, aborted) });
    }
}

impl<F, H> Drop for Task<F, H> {
    fn drop(&mut self) {
        self.node.handle.shared.lock().providers.0.remove(&self.id);
    }
}

fn handled_or_panicked(handled: Result<CallEnd, Box<dyn Any + Send>>) -> CallEnd {
    handled.unwrap_or_else(|panic| panicked(&*panic))
}

fn panicked(panic: &(dyn Any + Send)) -> CallEnd {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!("the handler panicked: {}", said.unwrap_or("no reason given"));
    CallEnd::Failed { kind: "panic".to_owned(), message, payload: Payload::default() }
}
