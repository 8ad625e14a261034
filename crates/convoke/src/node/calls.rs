//! Calls: a service of another program, used as if it were a function.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use convoke_core::limits::{CALL_TIME_DEFAULT, CALL_TIME_MAX};
use convoke_core::report::{ProviderReport, SERVICES, ServiceReport};
use convoke_core::{CallEnd, CallRequest, Code, Headers, Name, NodeState, Numbered, Payload, Refusal, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::serve::time_left;
use super::{Node, NodeShared};
use crate::clock::now;
use crate::error::{Error, Failure};
use crate::transport::mem;

/// Chooses one of the providers, or none; see [`Selector::Choose`].
pub type Choose = Arc<dyn Fn(&[Provider]) -> Option<Name> + Send + Sync>;

/// How one provider is chosen among several. The hub chooses, but for `Choose`, which asks it first who there is.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Selector {
    /// As the hub is configured: one after the other, unless it says otherwise.
    #[default]
    Default,
    /// The one that has offered it the longest.
    First,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The one with the fewest open calls.
    LeastBusy,
    /// The node of this name.
    Node(String),
    /// One on this host.
    Host(String),
    /// The one that is alive the longest, of those that may be master; see
    /// [`NodeOptions::master`](crate::NodeOptions::master).
    Master,
    /// The one whose host uses its processors least.
    CpuUsage,
    /// The one whose host has the most free memory.
    FreeRam,
    /// The program's own choice. It costs a question to the hub before each call.
    Choose(Choose),
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Selector::Default => "Default",
            Selector::First => "First",
            Selector::RoundRobin => "RoundRobin",
            Selector::Random => "Random",
            Selector::LeastBusy => "LeastBusy",
            Selector::Node(name) => return f.debug_tuple("Node").field(name).finish(),
            Selector::Host(name) => return f.debug_tuple("Host").field(name).finish(),
            Selector::Master => "Master",
            Selector::CpuUsage => "CpuUsage",
            Selector::FreeRam => "FreeRam",
            Selector::Choose(_) => "Choose",
        })
    }
}

/// A node that offers a service, as the hub knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provider {
    /// Its name.
    pub node: Name,
    /// Its host; empty if it has not told. So are the next.
    pub host: String,
    /// How busy its host's processors are, in thousandths of all of them.
    pub cpu_permille: u32,
    /// The host's memory that is free, in bytes.
    pub free_memory: u64,
    /// Calls of the service that it has and has not yet answered.
    pub open: u64,
    /// A call may be given to another provider when it is not known whether this one has handled it.
    pub idempotent: bool,
}

/// How a service is called.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// Who is to handle it.
    pub select: Selector,
    /// How long it may take, at most [`TIMEOUT_MAX`](CallOptions::TIMEOUT_MAX): with more the call is refused. 10 s if `None`.
    /// In a handler, no longer than is left of the call that it handles.
    pub timeout: Option<Duration>,
    /// Without a provider it waits for one, and without a link for a link, as long as it may take. For one service 4096 calls
    /// can wait.
    pub wait_for_provider: bool,
    /// The pairs beside the payload.
    pub headers: Headers,
}

impl CallOptions {
    /// The longest that a call can be given: 1 h. What takes longer is started by one call, and asked for by others.
    pub const TIMEOUT_MAX: Duration = CALL_TIME_MAX;
}

/// Who waits for the end of which call.
#[derive(Default)]
pub(super) struct Waiting(Numbered<Waits>);

enum Waits {
    /// To be woken.
    For(Waker),
    /// It has ended, and is to be taken.
    Ended(CallEnd),
}

impl Waiting {
    /// Hands out what has come. Who asked may have given up.
    pub(super) fn settle(&mut self, state: &mut NodeState) {
        for (number, end) in state.ended_calls() {
            if let Some(waits) = self.0.get_mut(number)
                && let Waits::For(task) = std::mem::replace(waits, Waits::Ended(end))
            {
                task.wake();
            }
        }
    }

    /// The end of a call, or `None` if it is yet to come; then `task` is woken when it does.
    fn take(&mut self, number: u64, task: &Waker) -> Option<CallEnd> {
        if let Some(Waits::For(waker)) = self.0.get_mut(number) {
            waker.clone_from(task);
            return None;
        }
        match self.0.remove(number) {
            Some(Waits::Ended(end)) => Some(end),
            _ => unreachable!("who waits for a call takes its end, once"),
        }
    }
}

impl Node {
    /// Calls a service with a value, as MessagePack with named fields, and returns what it answers. A tuple is how several
    /// arguments are given. The hub chooses a provider; the handler runs at most once.
    ///
    /// Calls of one node to one provider arrive in the order in which they were made. A link that is cut meanwhile does
    /// not end the call: what became of it is asked for when there is a link again.
    ///
    /// # Errors
    ///
    /// [`Error::outcome`] tells whether the handler may have run, [`Error::code`] why not:
    ///
    /// * It certainly has not: [`Error::Refused`] with [`Code::NoProvider`] (nobody offers it, or nobody who was
    ///   selected) or [`Code::TimedOut`] (it was not given to a provider in time); [`Error::Backpressure`] with
    ///   [`Code::Busy`] (all who offer it have too much to do, or this node has 4096 open calls);
    ///   [`Error::Offline`] without a link; [`Error::Unauthorized`]; [`Error::BadName`]; [`Error::BadPayload`];
    ///   [`Error::Refused`] with [`Code::BadRequest`] if it cannot be read as what the handler takes.
    /// * It may have: [`Error::Unanswered`] with [`Code::TimedOut`] after 10 s, [`Code::ProviderLost`] if the provider
    ///   was lost meanwhile and did not come back within 5 s, [`Code::LinkLost`], [`Code::Cancelled`].
    /// * It has: [`Error::Failed`] is what the program answers; also with the kind `BadPayload` if the answer cannot be read
    ///   as what is wanted here.
    ///
    /// Cancel safe: dropping the future cancels the call, and its handler is dropped wherever it is.
    pub async fn call<A, R>(&self, service: impl AsRef<str>, args: &A) -> Result<R, Error>
    where
        A: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        self.call_with(service, args, CallOptions::default()).await
    }

    /// As [`call`](Node::call), with options.
    ///
    /// # Errors
    ///
    /// As [`call`](Node::call); and [`Error::Refused`] with [`Code::BadRequest`] if it is given more than 1 h.
    pub async fn call_with<A, R>(&self, service: impl AsRef<str>, args: &A, options: CallOptions) -> Result<R, Error>
    where
        A: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let payload = Payload::encode(args)?;
        decoded(&self.call_payload(service, payload, options).await?)
    }

    /// Calls a service with a payload as it is.
    ///
    /// # Errors
    ///
    /// As [`call`](Node::call), which also says what is promised.
    pub async fn call_payload(
        &self,
        service: impl AsRef<str>,
        payload: Payload,
        options: CallOptions,
    ) -> Result<Payload, Error> {
        let service = Name::parse(service.as_ref())?;
        let CallOptions { select, timeout, wait_for_provider, headers } = options;
        let timeout = match (timeout.unwrap_or(CALL_TIME_DEFAULT), time_left()) {
            (timeout, Some(left)) => timeout.min(left),
            (timeout, None) => timeout,
        };
        if timeout.is_zero() {
            let text = format!("call to `{service}`: no time is left for it");
            return Err(Error::not_done(Refusal::new(Code::TimedOut, text)));
        }
        let begun = now();
        let mut at = begun;
        let select = match select {
            Selector::Choose(choose) => {
                let Some(node) = choose(&self.providers(&service, timeout).await?) else {
                    let text = format!("call to `{service}`: the program chose no provider");
                    return Err(Error::not_done(Refusal::new(Code::NoProvider, text)));
                };
                at = now();
                convoke_core::Selector::Node(node.to_string())
            }
            Selector::Default => convoke_core::Selector::Default,
            Selector::First => convoke_core::Selector::First,
            Selector::RoundRobin => convoke_core::Selector::RoundRobin,
            Selector::Random => convoke_core::Selector::Random,
            Selector::LeastBusy => convoke_core::Selector::LeastBusy,
            Selector::Node(name) => convoke_core::Selector::Node(name),
            Selector::Host(name) => convoke_core::Selector::Host(name),
            Selector::Master => convoke_core::Selector::Master,
            Selector::CpuUsage => convoke_core::Selector::CpuUsage,
            Selector::FreeRam => convoke_core::Selector::FreeRam,
        };
        let mut request = CallRequest { service, select, wait: wait_for_provider, timeout, payload, headers: &headers };
        let shared = &self.handle.shared;
        let open = loop {
            // Choosing took some of it, and so does waiting for room.
            request.timeout = timeout.saturating_sub(at.since(begun)).max(Duration::from_millis(1));
            // Before it is tried, so that no room goes unnoticed.
            let room = shared.room.notified();
            let open = poll_fn(|context| Poll::Ready(shared.call(&request, at, context.waker()))).await;
            if let Some(open) = open.map_err(Error::not_done)? {
                break open;
            }
            room.await;
            at = now();
        };
        match open.await {
            CallEnd::Done(payload) => Ok(payload),
            CallEnd::Failed { kind, message, payload } => Err(Error::Failed(Failure { kind, message, payload })),
            CallEnd::Refused(why) => Err(Error::not_done(why)),
            CallEnd::Uncertain(why) => Err(Error::uncertain(why, None)),
        }
    }

    /// Calls every node that offers a service now, all at once, and tells of each what came of it, in the order in which
    /// they have begun to offer it. The selector of `options` counts for nothing.
    ///
    /// # Errors
    ///
    /// Of the whole, if the hub cannot be asked who offers it; of each call as [`call`](Node::call).
    pub async fn call_all<A, R>(
        &self,
        service: impl AsRef<str>,
        args: &A,
        options: CallOptions,
    ) -> Result<Vec<(Name, Result<R, Error>)>, Error>
    where
        A: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let replies = self.call_all_payload(service, Payload::encode(args)?, options).await?;
        let decode = |reply: Result<Payload, Error>| reply.and_then(|payload| decoded(&payload));
        Ok(replies.into_iter().map(|(node, reply)| (node, decode(reply))).collect())
    }

    /// As [`call_all`](Node::call_all), with a payload as it is.
    ///
    /// # Errors
    ///
    /// As [`call_all`](Node::call_all).
    pub async fn call_all_payload(
        &self,
        service: impl AsRef<str>,
        payload: Payload,
        options: CallOptions,
    ) -> Result<Vec<(Name, Result<Payload, Error>)>, Error> {
        let service = Name::parse(service.as_ref())?;
        let mut nodes: Vec<Name> = Vec::new();
        let timeout = options.timeout.unwrap_or(CALL_TIME_DEFAULT);
        for provider in self.providers(&service, timeout).await? {
            // One that offers it twice is one provider.
            if !nodes.contains(&provider.node) {
                nodes.push(provider.node);
            }
        }
        let calls = nodes.into_iter().map(|node| {
            let options = CallOptions { select: Selector::Node(node.to_string()), ..options.clone() };
            let (service, payload) = (&service, payload.clone());
            async move { (node, self.call_payload(service, payload, options).await) }
        });
        Ok(futures_util::future::join_all(calls).await)
    }
}

impl Node {
    /// The nodes that offer a service now, in the order in which they have begun to.
    ///
    /// # Errors
    ///
    /// As [`get`](Node::get); and [`Error::Refused`] if there are too many to be listed, which is more than 4096.
    async fn providers(&self, service: &Name, timeout: Duration) -> Result<Vec<Provider>, Error> {
        let late = {
            let _entered = self.handle.shared.runtime.enter();
            tokio::time::sleep(timeout)
        };
        let report: Option<ServiceReport> = tokio::select! {
            report = self.get(format!("{SERVICES}{service}")) => report?,
            () = late => {
                let text = format!("call to `{service}`: the hub has not told in time who offers it");
                return Err(Error::not_done(Refusal::new(Code::TimedOut, text)));
            }
        };
        let report = report.unwrap_or_default();
        if report.more > 0 {
            let text = format!("`{service}` has {} providers more than can be listed", report.more);
            return Err(Error::not_done(Refusal::new(Code::Limit, text)));
        }
        let provider = |one: ProviderReport| {
            Ok(Provider {
                node: Name::parse(&one.node)?,
                host: one.host,
                cpu_permille: one.cpu_permille,
                free_memory: one.free_memory,
                open: one.open as u64,
                idempotent: one.idempotent,
            })
        };
        report.providers.into_iter().map(provider).collect()
    }
}

/// A reply as a value. That it cannot be read does not undo the call.
fn decoded<R: DeserializeOwned>(payload: &Payload) -> Result<R, Error> {
    payload.decode().map_err(|error| Error::Failed(Failure::new("BadPayload", error.to_string())))
}

/// A call that has not ended: cancelled when this is dropped.
struct Open<'a> {
    shared: &'a NodeShared,
    number: u64,
    /// Who waits was told with the call, and need not be told again.
    fresh: bool,
    ended: bool,
}

impl Future for Open<'_> {
    type Output = CallEnd;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CallEnd> {
        if std::mem::take(&mut self.fresh) {
            return Poll::Pending;
        }
        let end = self.shared.lock().calls.take(self.number, context.waker());
        self.ended = end.is_some();
        end.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut inner = self.shared.lock();
        inner.calls.0.remove(self.number);
        inner.state.cancel(self.number);
        let mem = self.shared.flush_soon(&mut inner);
        drop(inner);
        if let Some(mem) = mem {
            mem::pump(&mem);
        }
    }
}

impl NodeShared {
    /// `None` if the link must take some of what waits first. `task` is woken when the call has ended.
    fn call(&self, request: &CallRequest<'_>, now: Time, task: &Waker) -> Result<Option<Open<'_>>, Refusal> {
        let mut inner = self.lock();
        let number = match inner.state.call(request, now) {
            Ok(number) => number,
            Err(refusal) if refusal.code == Code::Backpressure && inner.state.is_joined() => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        inner.calls.0.insert(number, Waits::For(task.clone()));
        let looks_at = inner.looks_at;
        if inner.state.deadline().is_some_and(|due| looks_at.is_none_or(|looks_at| due < looks_at)) {
            self.wake.notify_one();
        }
        let open = Open { shared: self, number, fresh: true, ended: false };
        let mem = self.flush_soon(&mut inner);
        drop(inner);
        if let Some(mem) = mem {
            mem::pump(&mem);
        }
        Ok(Some(open))
    }
}
