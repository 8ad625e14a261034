//! The calls that a node has made, until it knows how they ended.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::super::{NodeState, Phase};
use crate::bug::{Bug, planted};
use crate::frame::{Call, Content, End, Frame, Reply, Select, read_headers, write_headers};
use crate::limits::{CALL_TIME_DEFAULT, CALL_TIME_MAX, CALLS_PER_CALLER_MAX, LINK_CALLS_BYTES_MAX};
use crate::name::Name;
use crate::numbered::Numbered;
use crate::payload::{Encoding, Headers, Payload};
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// How much longer than a call's deadline a node waits for a hub to say how it ended: the hub knows better.
const GRACE: Duration = Duration::from_secs(1);

/// How one provider is chosen among several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Selector {
    /// As the hub is configured.
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
    /// The one of this name.
    Node(String),
    /// One on this host.
    Host(String),
    /// The one that is alive the longest, of those that may be master.
    Master,
    /// The one whose host uses its processors least.
    CpuUsage,
    /// The one whose host has the most free memory.
    FreeRam,
}

impl Selector {
    fn select(&self) -> Select<'_> {
        match self {
            Selector::Default => Select::Default,
            Selector::First => Select::First,
            Selector::RoundRobin => Select::RoundRobin,
            Selector::Random => Select::Random,
            Selector::LeastBusy => Select::LeastBusy,
            Selector::Node(name) => Select::Node(name.as_bytes()),
            Selector::Host(name) => Select::Host(name.as_bytes()),
            Selector::Master => Select::Master,
            Selector::CpuUsage => Select::CpuUsage,
            Selector::FreeRam => Select::FreeRam,
        }
    }
}

/// What is to be called, and how.
#[derive(Clone, Debug)]
pub struct CallRequest<'a> {
    /// The service.
    pub service: Name,
    /// Who is to handle it.
    pub select: Selector,
    /// Without a provider, or a link, it waits for one.
    pub wait: bool,
    /// How long it may take, 1 h at most: with more the call is refused. Zero for the default of 10 s.
    pub timeout: Duration,
    /// What it is called with.
    pub payload: Payload,
    /// The pairs beside it.
    pub headers: &'a Headers,
}

/// How a call has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// It was handled, with this result.
    Done(Payload),
    /// It was handled, and the provider's program answers with an error of its own.
    Failed {
        /// The type of the error, in the words of the program.
        kind: String,
        /// A sentence.
        message: String,
        /// What else it has to say.
        payload: Payload,
    },
    /// It had certainly no effect.
    Refused(Refusal),
    /// It may have happened.
    Uncertain(Refusal),
}

/// A call that has not ended.
struct Open {
    service: Name,
    select: Selector,
    wait: bool,
    due: Time,
    /// It was put on its way on this link or an earlier one.
    sent: bool,
    encoding: Encoding,
    headers: bool,
    content: Bytes,
}

/// What a node has called.
#[derive(Default)]
pub(super) struct Caller {
    open: Numbered<Open>,
    /// Calls that were given up: who knows which of them the hub was told of on a link that is cut.
    given_up: VecDeque<u64>,
    last: u64,
    due: Option<Time>,
    pub(super) ended: Vec<(u64, CallEnd)>,
}

impl Caller {
    pub(super) fn due(&self) -> Option<Time> {
        self.due
    }

    /// From now on nobody but this node watches over the deadlines.
    pub(super) fn link_lost(&mut self) {
        self.due = self.open.iter().map(|(_, open)| open.due).min();
    }

    fn due_by(&mut self, due: Time) {
        if self.due.is_none_or(|before| due < before) {
            self.due = Some(due);
        }
    }
}

impl Open {
    /// How long this node waits for its end.
    fn limit(&self, joined: bool) -> Time {
        if joined && self.sent { self.due + GRACE } else { self.due }
    }
}

impl NodeState {
    /// Calls a service, and gives the call's number; how it ended comes out of
    /// [`ended_calls`](NodeState::ended_calls), once, by its deadline and a second more at the latest. Calls of one node
    /// reach one provider in their order. A call that was sent on a link that is cut is asked for again on the next.
    ///
    /// # Errors
    ///
    /// In every case it had no effect. [`Code::Offline`] without a link, unless it is to wait; [`Code::Busy`] with too
    /// many open calls; [`Code::Backpressure`] when the link must take some of what waits first; [`Code::TooLarge`];
    /// [`Code::BadRequest`] with a timeout of more than 1 h.
    pub fn call(&mut self, request: &CallRequest<'_>, now: Time) -> Result<u64, Refusal> {
        self.now = self.now.max(now);
        let refused = |code, why: &str| Err(Refusal::new(code, format!("call to `{}`: {why}", request.service)));
        if request.timeout > CALL_TIME_MAX {
            let why = format!("a call takes at most 1 h, and this one was given {} s", request.timeout.as_secs_f64());
            return refused(Code::BadRequest, &why);
        }
        let joined = self.is_joined();
        if !joined && (!request.wait || matches!(self.phase, Phase::Ended)) {
            return Err(self.offline(&format!("call to `{}`", request.service)));
        }
        let caller = &self.services.caller;
        if caller.open.len() >= CALLS_PER_CALLER_MAX {
            let why = format!(
                "`{}` has {CALLS_PER_CALLER_MAX} open calls, which is all it may have; try again when one has ended",
                self.config.name
            );
            return refused(Code::Busy, &why);
        }
        if self.lanes.calls.len() > LINK_CALLS_BYTES_MAX {
            return refused(Code::Backpressure, &format!("{LINK_CALLS_BYTES_MAX} bytes wait for the link already"));
        }
        let mut content = request.payload.bytes.clone();
        if !request.headers.is_empty() {
            let Some(mut block) = write_headers(request.headers) else {
                return refused(Code::TooLarge, "the headers are longer than 16 KiB");
            };
            block.extend_from_slice(&content);
            content = block.into();
        }
        let max = self.welcome.payload_bytes_max as usize;
        if joined && content.len() > max {
            let why = format!("the payload has {} bytes, and this hub takes at most {max}", content.len());
            return refused(Code::TooLarge, &why);
        }
        let left = if request.timeout.is_zero() { CALL_TIME_DEFAULT } else { request.timeout };
        let open = Open {
            service: request.service.clone(),
            select: request.select.clone(),
            wait: request.wait,
            due: self.now + left,
            sent: false,
            encoding: request.payload.encoding,
            headers: !request.headers.is_empty(),
            content,
        };
        let caller = &mut self.services.caller;
        caller.last += 1;
        let number = caller.last;
        caller.due_by(if joined { open.due + GRACE } else { open.due });
        caller.open.insert(number, open);
        if joined {
            self.send_call(number);
        }
        Ok(number)
    }

    /// Nobody waits for the end of this call any more: it does not come, and the provider is told to stop.
    pub fn cancel(&mut self, number: u64) {
        let joined = self.is_joined();
        let caller = &mut self.services.caller;
        if !caller.open.remove(number).is_some_and(|open| open.sent) {
            return;
        }
        if caller.given_up.len() >= CALLS_PER_CALLER_MAX {
            // The hub has no more open calls of this node than that.
            caller.given_up.pop_front();
        }
        caller.given_up.push_back(number);
        if joined {
            Frame::Cancel { id: number }.encode(&mut self.lanes.calls);
        }
    }

    /// Calls that have ended since the last time this was asked.
    pub fn ended_calls(&mut self) -> Vec<(u64, CallEnd)> {
        std::mem::take(&mut self.services.caller.ended)
    }

    /// Calls that have not ended.
    pub fn open_calls(&self) -> usize {
        self.services.caller.open.len()
    }

    fn send_call(&mut self, number: u64) {
        let now = self.now;
        let Some(open) = self.services.caller.open.get_mut(number) else { return };
        let call = Call {
            number,
            left_ms: open.due.left_ms(now),
            select: open.select.select(),
            wait: open.wait,
            again: open.sent,
            service: open.service.as_str().as_bytes(),
            content: Content { encoding: open.encoding, headers: open.headers, bytes: &open.content },
        };
        Frame::Call(call).encode(&mut self.lanes.calls);
        open.sent = true;
    }

    /// The node has joined: the hub is asked for what became of the calls that an earlier link took, and gets those that
    /// none took, in their order.
    pub(super) fn resume_calls(&mut self, resumed: bool) {
        if !resumed {
            self.services.caller.given_up.clear();
        }
        for id in &self.services.caller.given_up {
            Frame::Cancel { id: *id }.encode(&mut self.lanes.calls);
        }
        let numbers: Vec<u64> = self.services.caller.open.iter().map(|(number, _)| number).collect();
        for number in numbers {
            self.send_call(number);
        }
    }

    /// Ends what the hub has not ended in time.
    pub(in crate::node) fn sweep_calls(&mut self) {
        let (now, joined) = (self.now, self.is_joined());
        let caller = &mut self.services.caller;
        if planted(Bug::OverdueForgotten) {
            caller.due = None;
        }
        if caller.due.is_none_or(|due| due > now) {
            return;
        }
        let late: Vec<u64> =
            caller.open.iter().filter(|(_, open)| open.limit(joined) <= now).map(|(number, _)| number).collect();
        for number in late {
            let Some(open) = caller.open.remove(number) else { continue };
            let end = if open.sent {
                // Whether it can be told at all is not known; the hub knows the deadline too.
                let text = format!("call to `{}`: no answer in time", open.service);
                CallEnd::Uncertain(Refusal::new(Code::TimedOut, text))
            } else {
                let text = format!("call to `{}`: there was no link to a hub in time", open.service);
                CallEnd::Refused(Refusal::new(Code::TimedOut, text))
            };
            caller.ended.push((number, end));
        }
        caller.due = caller.open.iter().map(|(_, open)| open.limit(joined)).min();
    }

    /// The node has ended, and all its calls with it.
    pub(super) fn end_calls(&mut self, why: &Refusal) {
        let caller = &mut self.services.caller;
        caller.due = None;
        caller.given_up.clear();
        for (number, open) in caller.open.drain() {
            let refusal = Refusal::new(why.code, format!("call to `{}`: {why}", open.service));
            let end = if open.sent { CallEnd::Uncertain(refusal) } else { CallEnd::Refused(refusal) };
            caller.ended.push((number, end));
        }
    }

    /// The hub tells how a call ended.
    pub(in crate::node) fn reply(&mut self, reply: &Reply<'_>) {
        let end = match reply.end {
            End::Done(content) => CallEnd::Done(self.payload(content)),
            End::Failed { kind, message, content } => {
                CallEnd::Failed { kind: kind.to_owned(), message: message.to_owned(), payload: self.payload(content) }
            }
            End::Refused { code, text } => CallEnd::Refused(Refusal::new(code, text.to_owned())),
            End::Uncertain { code, text } => CallEnd::Uncertain(Refusal::new(code, text.to_owned())),
            End::Running => return,
        };
        let caller = &mut self.services.caller;
        if caller.open.remove(reply.id).is_some() {
            caller.ended.push((reply.id, end));
        }
    }
}

impl NodeState {
    /// The payload of a reply; headers beside it are for gateways.
    fn payload(&mut self, content: Content<'_>) -> Payload {
        let bytes = self.copies.copy(content.bytes);
        let bytes = match content.headers.then(|| read_headers(&bytes)) {
            Some(Ok((_, payload))) => payload,
            _ => bytes,
        };
        Payload { encoding: content.encoding, bytes }
    }
}
