//! What a node asks its hub for and waits for: subscriptions, and questions with one answer.

use super::inbox::{Delivery, Inbox};
use super::{NodeState, Phase, RequestId};
use crate::frame::{Change, Frame, Grant};
use crate::limits;
use crate::name::{Name, Pattern};
use crate::refusal::{Code, Refusal};

/// What a confirmation is called in errors.
pub(super) const CONFIRMATION: &str = "confirmation of an event";

/// A subscription of the node's own.
pub(super) struct Subscription {
    pub(super) pattern: Pattern,
    /// The group whose events it shares.
    pub(super) group: Option<Name>,
    pub(super) inbox: Inbox,
    /// The hub has taken it since the link was made. Before that nothing is its: what comes for others is not promised to
    /// it, and what is missing of that would not be told.
    pub(super) active: bool,
    /// The hub has taken it at least once.
    pub(super) begun: bool,
    /// The hub has been asked, and has not answered.
    pub(super) asked: bool,
}

impl NodeState {
    /// Begins a subscription. Its number is also that of the request, which is answered when the hub has taken it. While
    /// there is no link it waits for one; over reconnections it comes back by itself.
    ///
    /// As a member of a `group` it gets a part of what matches: each event goes to one of the group's subscriptions, on
    /// whatever nodes they are.
    ///
    /// # Errors
    ///
    /// The node has ended; [`Code::Backpressure`] when the link has yet to take what was asked before.
    pub fn subscribe(&mut self, pattern: Pattern, group: Option<Name>) -> Result<RequestId, Refusal> {
        if let Phase::Ended = self.phase {
            return Err(self.offline(&format!("subscription to `{pattern}`")));
        }
        if self.lanes.control.len() > limits::LINK_CONTROL_BYTES_MAX {
            let text = format!("subscription to `{pattern}`: too much waits for the link already");
            return Err(Refusal::new(Code::Backpressure, text));
        }
        let id = self.next_id();
        if group.is_some() {
            self.attend();
        } else {
            self.patterns.get_or_insert_with(pattern.as_str(), Vec::new).push(id);
            self.stamp += 1;
        }
        let inbox = Inbox::new(self.config.subscription_bytes_max);
        let subscription = Subscription { pattern, group, inbox, active: false, begun: false, asked: false };
        self.subscriptions.insert(id, subscription);
        if self.is_joined() {
            self.ask_subscription(id);
        }
        Ok(id)
    }

    pub(super) fn ask_subscription(&mut self, id: u32) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.asked = true;
            let pattern = subscription.pattern.as_str().as_bytes();
            let group = subscription.group.as_ref().map_or("", Name::as_str).as_bytes();
            Frame::Subscribe { id, pattern, group }.encode(&mut self.lanes.control);
        }
    }

    /// Ends a subscription at once; what waits for it is dropped.
    pub fn unsubscribe(&mut self, id: RequestId) {
        let Some(subscription) = self.remove_subscription(id) else { return };
        if self.is_joined() && (subscription.active || subscription.asked) {
            Frame::Unsubscribe { id }.encode(&mut self.lanes.control);
        }
    }

    pub(super) fn remove_subscription(&mut self, id: u32) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&id)?;
        if !subscription.inbox.is_ended() {
            self.forget_pattern(id, &subscription.pattern, subscription.group.is_some());
        }
        Some(subscription)
    }

    fn forget_pattern(&mut self, id: u32, pattern: &Pattern, shared: bool) {
        if shared {
            self.unattend();
            return;
        }
        if let Some(ids) = self.patterns.get_mut(pattern.as_str()) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.patterns.remove(pattern.as_str());
            }
        }
        self.stamp += 1;
    }

    /// The hub will not serve it any more: that is the last thing its reader gets.
    pub(super) fn end_subscription(&mut self, id: u32, why: Refusal) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        if subscription.inbox.is_ended() {
            return;
        }
        subscription.active = false;
        subscription.inbox.end(why);
        let (pattern, shared) = (subscription.pattern.clone(), subscription.group.is_some());
        self.forget_pattern(id, &pattern, shared);
        self.woken.push(id);
    }

    /// Takes what is next for a subscription. `None` if nothing waits.
    pub fn take(&mut self, id: RequestId) -> Option<Delivery> {
        self.subscriptions.get_mut(&id)?.inbox.take()
    }

    /// Asks when the hub has taken all events published so far, and to how many nodes the last of them went. If the hub has
    /// refused one of those that were not confirmed yet, the answer is why it has refused the first.
    ///
    /// # Errors
    ///
    /// [`Code::Offline`] without a link, [`Code::Backpressure`] with too many open requests; so do the next three.
    pub fn confirm(&mut self) -> Result<RequestId, Refusal> {
        let id = self.request(CONFIRMATION, self.seq)?;
        self.lanes.bulk.append(|out| Frame::Confirm { id }.encode(out));
        Ok(id)
    }

    /// Asks when the hub has handled everything sent so far.
    pub fn barrier(&mut self) -> Result<RequestId, Refusal> {
        let id = self.request("barrier", self.seq)?;
        self.lanes.bulk.append(|out| Frame::Barrier { id }.encode(out));
        Ok(id)
    }

    /// Asks the hub, or through it a node, for a sign of life.
    pub fn ping(&mut self, node: Option<&Name>) -> Result<RequestId, Refusal> {
        // It may overtake events, so its answer says nothing of them.
        let id = self.request("ping", 0)?;
        let node = node.map_or("", Name::as_str).as_bytes();
        Frame::Ping { id, node }.encode(&mut self.lanes.calls);
        Ok(id)
    }

    /// Asks the hub to change who may do what: a new principal, its rules, the key by which it proves who it is, or that
    /// there is none any more. Answered when the change is kept and in force.
    pub fn grant(&mut self, name: &Name, change: &Change<'_>) -> Result<RequestId, Refusal> {
        let id = self.request("change of rights", 0)?;
        Frame::Grant(Grant { id, name: name.as_str().as_bytes(), change: change.clone() })
            .encode(&mut self.lanes.control);
        Ok(id)
    }

    pub(super) fn request(&mut self, what: &'static str, behind: u64) -> Result<RequestId, Refusal> {
        if !self.is_joined() {
            return Err(self.offline(what));
        }
        if self.requests.len() >= limits::REQUESTS_MAX {
            let text = format!("{what}: {} requests wait for an answer already", limits::REQUESTS_MAX);
            return Err(Refusal::new(Code::Backpressure, text));
        }
        let id = self.next_id();
        self.requests.insert(id, (what, behind));
        Ok(id)
    }

    /// Nobody waits for the answer to this request any more.
    pub fn abandon(&mut self, id: RequestId) {
        self.requests.remove(&id);
        self.asking.forget(id);
    }
}
