//! What a joined node asks for with a frame of its own: subscriptions, confirmations, pings.

use std::collections::{BTreeMap, BTreeSet};

use super::links::LinkId;
use super::{Dropped, HubState, Timer};
use crate::bug::{Bug, planted};
use crate::frame::{About, Frame};
use crate::limits::{LINK_CALLS_BYTES_MAX, PING_TIME_MAX, PINGS_MAX, SUBSCRIPTIONS_PER_LINK_MAX};
use crate::name::{Name, Pattern};
use crate::refusal::{Code, Refusal};
use crate::report::NODES;
use crate::rights::{Verb, allow};

/// The links that subscribe one pattern, in their order, and how often each does. Searched by halves: a link that
/// subscribes ten thousand times what ten thousand others do must not cost the hub a search through them all each time.
#[derive(Default)]
pub(super) struct Subscribers {
    links: Vec<(LinkId, u32)>,
    /// Those that share with others: their group, and the number of the subscription.
    members: BTreeSet<(Name, LinkId, u32)>,
}

/// A subscription of a link.
#[derive(Clone)]
pub(super) struct Subscription {
    pub(super) pattern: Pattern,
    pub(super) group: Option<Name>,
}

impl Subscribers {
    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter().map(|(link, _)| *link)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &(Name, LinkId, u32)> {
        self.members.iter()
    }

    fn is_empty(&self) -> bool {
        self.links.is_empty() && self.members.is_empty()
    }

    /// True if events take another way now: it is the first of this link, or a member of a group.
    fn add(&mut self, id: LinkId, number: u32, group: Option<&Name>) -> bool {
        if let Some(group) = group {
            return self.members.insert((group.clone(), id, number));
        }
        match self.links.binary_search_by_key(&id, |(link, _)| *link) {
            Ok(place) => self.links[place].1 += 1,
            Err(place) => {
                self.links.insert(place, (id, 1));
                return true;
            }
        }
        false
    }

    /// True if events take another way now: it was the last of this link, or a member of a group.
    fn remove(&mut self, id: LinkId, number: u32, group: Option<&Name>) -> bool {
        if let Some(group) = group {
            return self.members.remove(&(group.clone(), id, number));
        }
        let Ok(place) = self.links.binary_search_by_key(&id, |(link, _)| *link) else { return false };
        self.links[place].1 -= 1;
        let last = self.links[place].1 == 0;
        if last {
            self.links.remove(place);
        }
        last
    }
}

/// Pings on their way through the hub to a node and back.
#[derive(Default)]
pub(super) struct Pings {
    open: BTreeMap<u32, Ping>,
    last: u32,
}

struct Ping {
    from: LinkId,
    id: u32,
    to: LinkId,
    node: Name,
}

impl Pings {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

impl HubState {
    /// Handles one frame of a joined link that is no event.
    pub(super) fn request(&mut self, id: LinkId, frame: Frame<'_>) -> Result<(), Refusal> {
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        match frame {
            Frame::Beat { .. } => self.beat(id),
            Frame::Subscribe { id: number, pattern, group } => {
                if let Err(refusal) = self.subscribe(id, number, pattern, group) {
                    self.refuse(id, number, &refusal);
                } else {
                    self.control(id, &Frame::Done { id: number, value: 0 });
                }
            }
            Frame::Unsubscribe { id: number } => match joined.subscriptions.get(&number).cloned() {
                Some(subscription) => self.unsubscribe(id, number, &subscription),
                None if self.unwatch(id, number) || self.unserve(id, number) => {}
                None => {
                    let text = format!("there is no subscription {number} on this link");
                    self.refuse(id, number, &Refusal::new(Code::BadFrame, text));
                }
            },
            Frame::Confirm { id: number } => {
                let value = joined.recipients;
                self.control(id, &Frame::Done { id: number, value });
            }
            Frame::Barrier { id: number } => self.control(id, &Frame::Done { id: number, value: 0 }),
            Frame::Ping { id: number, node: [] } => self.control(id, &Frame::Done { id: number, value: 0 }),
            Frame::Ping { id: number, node } => {
                if let Err(refusal) = self.ping(id, number, node) {
                    self.refuse(id, number, &refusal);
                }
            }
            Frame::Pong { id: number } => self.pong(id, number),
            Frame::Close { code, text } => {
                let why = Refusal::new(code, text.to_owned());
                self.leave(id, &why);
                self.touch(id);
            }
            Frame::Info(info) => self.info(id, &info),
            Frame::Grant(grant) => self.grant(id, &grant),
            Frame::Write(write) => self.write(id, write),
            Frame::Append(append) => self.append(id, append),
            Frame::Follow(follow) => self.follow(id, follow),
            Frame::Applied { id: number, seq, stuck } => self.follower_applied(id, number, seq, stuck),
            Frame::Await(wait) => self.wait_for_members(id, wait),
            Frame::Watch { .. } => self.watch(id, frame),
            Frame::Taken { id: number, bytes } => self.taken(id, number, bytes),
            Frame::Status { id: number, incarnation, journal, cseq } => {
                self.status(id, number, (incarnation, journal, cseq));
            }
            Frame::Serve { id: number, idempotent, service } => self.serve(id, number, idempotent, service),
            Frame::Call(call) => self.call(id, call)?,
            Frame::Reply(reply) => self.reply(id, reply),
            Frame::Cancel { id: number } => self.cancel(id, number),
            Frame::Ignored(_) => self.counters.count_dropped(Dropped::UnknownFrames, 1),
            frame => {
                let text = format!("bad frame: a node does not send {}", word(&frame));
                return Err(Refusal::new(Code::BadFrame, text));
            }
        }
        Ok(())
    }

    /// Tells a node that the hub is alive, and how far it has received.
    pub(super) fn beat(&mut self, id: LinkId) {
        let now = self.now;
        let Some(joined) = self.links.joined(id) else { return };
        joined.beat_sent = now;
        let received = joined.seq;
        self.control(id, &Frame::Beat { received });
    }

    pub(super) fn refuse(&mut self, id: LinkId, number: u32, refusal: &Refusal) {
        self.control(id, &Frame::Refused { about: About::Request(number), code: refusal.code, text: &refusal.text });
    }

    fn subscribe(&mut self, id: LinkId, number: u32, pattern: &[u8], group: &[u8]) -> Result<(), Refusal> {
        let pattern = Pattern::from_bytes(pattern).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        let group = match group {
            [] => None,
            group => Some(Name::from_bytes(group).map_err(|error| {
                let text = format!("subscription to `{pattern}`: the name of its group is none: {error}");
                Refusal::new(Code::BadName, text)
            })?),
        };
        let all = self.subscriptions;
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        if !joined.principal.rights.allow_some(Verb::Subscribe, &pattern) {
            let what = format!("subscription to `{pattern}`");
            return Err(joined.principal.forbidden(&what, Verb::Subscribe, pattern.as_str()));
        }
        let limit = |count: usize, whose: &str| {
            let text =
                format!("subscription to `{pattern}`: {whose} has {count} subscriptions, which is all it may have");
            Err(Refusal::new(Code::Limit, text))
        };
        if joined.subscriptions.contains_key(&number) || joined.watches.contains_key(&number) {
            let text = format!("subscription to `{pattern}`: the number {number} is in use on this link");
            return Err(Refusal::new(Code::BadFrame, text));
        }
        if joined.subscriptions.len() >= SUBSCRIPTIONS_PER_LINK_MAX {
            return limit(joined.subscriptions.len(), joined.node.as_str());
        }
        if all >= self.config.subscriptions_max {
            return limit(all, "the hub");
        }
        if let Some(group) = &group {
            self.join_group(id, number, group, &pattern)?;
        }
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        joined.subscriptions.insert(number, Subscription { pattern: pattern.clone(), group: group.clone() });
        joined.shares += u32::from(group.is_some());
        self.subscriptions += 1;
        let subscribers = self.patterns.get_or_insert_with(pattern.as_str(), Subscribers::default);
        if subscribers.add(id, number, group.as_ref()) && !planted(Bug::StaleRoute) {
            self.topics.forget_routes(&pattern);
        }
        if group.is_some() {
            // What waits for a member that is gone waits for as long as nobody knows that.
            self.attend(id);
        }
        Ok(())
    }

    fn unsubscribe(&mut self, id: LinkId, number: u32, subscription: &Subscription) {
        let shared = subscription.group.is_some();
        if let Some(joined) = self.links.joined(id) {
            joined.subscriptions.remove(&number);
            joined.shares -= u32::from(shared);
        }
        self.subscriptions -= 1;
        if self.remove_subscription(id, number, subscription) {
            self.topics.forget_routes(&subscription.pattern);
        }
        if let Some(group) = &subscription.group {
            self.unattend(id);
            self.withdraw(id, number, group);
        }
    }

    /// Takes a subscription of this link out of the table. True if events take another way now.
    pub(super) fn remove_subscription(&mut self, id: LinkId, number: u32, subscription: &Subscription) -> bool {
        let pattern = subscription.pattern.as_str();
        let Some(subscribers) = self.patterns.get_mut(pattern) else { return false };
        let changed = subscribers.remove(id, number, subscription.group.as_ref());
        if subscribers.is_empty() {
            self.patterns.remove(pattern);
        }
        changed
    }

    fn ping(&mut self, id: LinkId, number: u32, node: &[u8]) -> Result<(), Refusal> {
        let node = Name::from_bytes(node).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        let report = format!("{NODES}{node}");
        if let Some(joined) = self.links.joined(id)
            && !allow(&joined.principal, Verb::Status, &report)
        {
            return Err(joined.principal.forbidden(&format!("ping to `{node}`"), Verb::Status, &report));
        }
        let Some(&to) = self.nodes.get(&node) else {
            let text = format!("ping to `{node}`: no node of this name is joined to the hub");
            return Err(Refusal::new(Code::NoNode, text));
        };
        if self.pings.open.len() >= PINGS_MAX {
            let text = format!("ping to `{node}`: {PINGS_MAX} pings wait for an answer already; try again later");
            return Err(Refusal::new(Code::Limit, text));
        }
        let Some(link) = self.links.get_mut(to) else { return Ok(()) };
        if link.lanes.calls.len() > LINK_CALLS_BYTES_MAX {
            let text = format!("ping to `{node}`: too much waits for it already");
            return Err(Refusal::new(Code::Backpressure, text));
        }
        while self.pings.open.contains_key(&self.pings.last) {
            self.pings.last = self.pings.last.wrapping_add(1);
        }
        let own = self.pings.last;
        self.pings.last = own.wrapping_add(1);
        Frame::Ping { id: own, node: &[] }.encode(&mut link.lanes.calls);
        self.pings.open.insert(own, Ping { from: id, id: number, to, node });
        self.timers.set(self.now + PING_TIME_MAX, Timer::Ping(own));
        self.touch(to);
        Ok(())
    }

    /// An answer to a ping that was never sent to this link, or twice, is nobody's.
    fn pong(&mut self, id: LinkId, number: u32) {
        if self.pings.open.get(&number).is_some_and(|ping| ping.to == id)
            && let Some(ping) = self.pings.open.remove(&number)
        {
            self.timers.clear(Timer::Ping(number));
            self.control(ping.from, &Frame::Done { id: ping.id, value: 0 });
        } else {
            self.counters.count_dropped(Dropped::Strays, 1);
        }
    }

    /// A link is gone: those that it has asked need not answer, and those that wait for it are told.
    pub(super) fn end_pings(&mut self, id: LinkId) {
        let ended = self.pings.open.extract_if(.., |_, ping| ping.from == id || ping.to == id).collect::<Vec<_>>();
        for (number, ping) in ended {
            self.timers.clear(Timer::Ping(number));
            if ping.to == id && ping.from != id {
                let text = format!("ping to `{}`: its link ended before it answered", ping.node);
                self.refuse(ping.from, ping.id, &Refusal::new(Code::NoNode, text));
            }
        }
    }

    pub(super) fn expire_ping(&mut self, number: u32) {
        if let Some(ping) = self.pings.open.remove(&number) {
            let text = format!("ping to `{}` was not answered within {} s", ping.node, PING_TIME_MAX.as_secs());
            self.refuse(ping.from, ping.id, &Refusal::new(Code::TimedOut, text));
        }
    }
}

fn word(frame: &Frame<'_>) -> &'static str {
    match frame {
        Frame::Hello(_) => "a second Hello",
        Frame::Proof { .. } => "a second Proof",
        Frame::Challenge { .. } => "Challenge",
        Frame::Welcome(_) => "Welcome",
        Frame::Done { .. } => "Done",
        Frame::Refused { .. } => "Refused",
        Frame::Topic { .. } => "Topic",
        Frame::Publisher { .. } => "Publisher",
        Frame::Forget { .. } => "Forget",
        Frame::Lagged(_) => "Lagged",
        Frame::Written { .. } => "Written",
        Frame::Value(_) => "Value",
        Frame::Snapshot { .. } => "Snapshot",
        Frame::Settled { .. } => "Settled",
        Frame::Handle(_) => "Handle",
        Frame::Recall { .. } => "Recall",
        Frame::Entry(_) => "Entry",
        Frame::Acknowledged(_) => "Acknowledged",
        _ => "this frame",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::links::{Link, Links};
    use crate::hub::{Peer, Time};

    #[test]
    fn a_link_subscribes_a_pattern_until_its_last_subscription_to_it_is_gone() {
        let mut links = Links::default();
        let [one, two] = [(); 2].map(|()| links.insert(Link::new(Peer::Owner, Time::START)));
        let mut subscribers = Subscribers::default();
        assert_eq!([two, one, two].map(|link| subscribers.add(link, 1, None)), [true, true, false]);
        assert_eq!(subscribers.links().collect::<Vec<_>>(), [one, two], "each once, in their order");
        assert_eq!([two, one, one, two].map(|link| subscribers.remove(link, 1, None)), [false, true, false, true]);
        assert_eq!(subscribers.links().count(), 0);
    }
}
