//! The node's side of waiting for members of journals: asked again on each link, until the time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{NodeState, Phase, RequestId, named};
use crate::frame::{Acknowledged, Await, Frame, Nodes, Whom};
use crate::journal::{AppliedBy, MemberApplied, Who};
use crate::limits::{AWAIT_NODES_MAX, AWAIT_TIME_MAX, AWAITS_PER_LINK_MAX};
use crate::name::Name;
use crate::outgoing::Lanes;
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// How much longer than the time of a wait a node waits for the hub to say what has come of it: the hub knows better.
const GRACE: Duration = Duration::from_secs(1);

/// Waits that are not answered.
#[derive(Default)]
pub(super) struct Awaits {
    open: BTreeMap<RequestId, Open>,
    answered: Vec<(RequestId, Result<AppliedBy, Refusal>)>,
}

struct Open {
    journal: Name,
    seq: u64,
    who: Who,
    due: Time,
    /// The hub was asked, on the link that there is now.
    asked: bool,
}

impl Awaits {
    pub(super) fn has(&self, id: RequestId) -> bool {
        self.open.contains_key(&id)
    }

    pub(super) fn link_lost(&mut self) {
        self.open.values_mut().for_each(|open| open.asked = false);
    }

    fn end(&mut self, id: RequestId, why: Refusal) {
        if self.open.remove(&id).is_some() {
            self.answered.push((id, Err(why)));
        }
    }

    /// When nothing more is waited for.
    pub(super) fn due(&self) -> Option<Time> {
        self.open.values().map(Open::ends).min()
    }
}

impl Open {
    /// Without a link nobody can say any more what has come of it.
    fn ends(&self) -> Time {
        if self.asked { self.due + GRACE } else { self.due }
    }

    fn ask(&mut self, id: RequestId, now: Time, lanes: &mut Lanes) {
        self.asked = true;
        let names;
        let whom = match &self.who {
            Who::All => Whom::All,
            Who::Quorum => Whom::Quorum,
            Who::Count(count) => Whom::Count(*count),
            Who::Nodes(nodes) => {
                names = Nodes::encode(nodes.iter().map(|node| node.as_str().as_bytes()));
                Whom::Nodes(Nodes::encoded(&names))
            }
        };
        // Rounded up: it is not to be over before its time.
        let remaining = self.due.since(now).as_nanos().div_ceil(1_000_000);
        let remaining_ms = u32::try_from(remaining).unwrap_or(u32::MAX);
        let journal = self.journal.as_str().as_bytes();
        Frame::Await(Await { id, seq: self.seq, remaining_ms, journal, whom }).encode(&mut lanes.control);
    }
}

impl NodeState {
    /// Waits until members of a journal have applied an entry, or as long as is said, an hour at most; without a link it waits
    /// for one. Answered by [`awaited`](NodeState::awaited) in either case.
    ///
    /// # Errors
    ///
    /// The node has ended; [`Code::BadRequest`] for too many names; [`Code::Limit`] when it waits too often already.
    pub fn await_applied(
        &mut self,
        journal: Name,
        seq: u64,
        who: Who,
        time: Duration,
        now: Time,
    ) -> Result<RequestId, Refusal> {
        self.now = self.now.max(now);
        let what = format!("wait for members of `{journal}`");
        if let Phase::Ended = self.phase {
            return Err(self.offline(&what));
        }
        if let Who::Nodes(nodes) = &who
            && nodes.len() > AWAIT_NODES_MAX
        {
            let text = format!("{what}: it names {} nodes, and {AWAIT_NODES_MAX} at most are waited for", nodes.len());
            return Err(Refusal::new(Code::BadRequest, text));
        }
        if self.awaits.open.len() >= AWAITS_PER_LINK_MAX {
            let text = format!("{what}: `{}` waits {AWAITS_PER_LINK_MAX} times, which is all it may", self.name());
            return Err(Refusal::new(Code::Limit, text));
        }
        let id = self.next_id();
        let mut open = Open { journal, seq, who, due: self.now + time.min(AWAIT_TIME_MAX), asked: false };
        if self.is_joined() {
            open.ask(id, self.now, &mut self.lanes);
        }
        self.awaits.open.insert(id, open);
        Ok(id)
    }

    /// Nobody waits for the answer any more.
    pub fn forget_await(&mut self, id: RequestId) {
        if self.awaits.open.remove(&id).is_some_and(|open| open.asked) && self.is_joined() {
            Frame::Unsubscribe { id }.encode(&mut self.lanes.control);
        }
    }

    /// What has come since the last call of waits for members of journals.
    pub fn awaited(&mut self) -> Vec<(RequestId, Result<AppliedBy, Refusal>)> {
        std::mem::take(&mut self.awaits.answered)
    }

    pub(super) fn acknowledged(&mut self, frame: &Acknowledged<'_>) -> Result<(), Refusal> {
        // Otherwise it was on its way when it was given up.
        let Some(open) = self.awaits.open.remove(&frame.id) else { return Ok(()) };
        let member = |(node, attendance, applied)| Ok(MemberApplied { node: named(node)?, attendance, applied });
        let listed = frame.listed.iter().map(member).collect::<Result<_, Refusal>>()?;
        let by = AppliedBy {
            seq: open.seq,
            reached: frame.reached,
            last: frame.last,
            members: frame.members as usize,
            applied: frame.applied as usize,
            listed,
            returning: frame.returning,
        };
        self.awaits.answered.push((frame.id, Ok(by)));
        Ok(())
    }

    /// The hub refuses to wait. False if it was not asked to.
    pub(super) fn answer_await(&mut self, id: RequestId, result: &Result<u64, Refusal>) -> bool {
        if !self.awaits.has(id) {
            return false;
        }
        if let Err(why) = result {
            self.awaits.end(id, why.clone());
        }
        true
    }

    pub(super) fn awaits_joined(&mut self) {
        for (id, open) in &mut self.awaits.open {
            open.ask(*id, self.now, &mut self.lanes);
        }
    }

    /// Ends those whose time is over, and of which the hub says nothing.
    pub(super) fn sweep_awaits(&mut self) {
        let over: Vec<RequestId> =
            self.awaits.open.iter().filter(|(_, open)| open.ends() <= self.now).map(|(id, _)| *id).collect();
        for id in over {
            let Some(open) = self.awaits.open.get(&id) else { continue };
            let what = format!("wait for members of `{}` to apply entry {}", open.journal, open.seq);
            let why = match self.is_joined() {
                true => Refusal::new(Code::TimedOut, format!("{what}: the hub has not answered")),
                false => self.offline(&what),
            };
            self.awaits.end(id, why);
        }
    }

    /// No link will come any more.
    pub(super) fn end_awaits(&mut self, why: &Refusal) {
        for (id, _) in std::mem::take(&mut self.awaits.open) {
            self.awaits.answered.push((id, Err(why.clone())));
        }
    }
}
