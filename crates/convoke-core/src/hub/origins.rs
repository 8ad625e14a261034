//! Where events were published first, on links of other hubs: each of this hub's gets a number, and what comes from others is
//! let in once, whatever ways it has come.
//!
//! Of each hub it is known up to which number its events have come on each topic. On every way they come in their order, so
//! a number that is not higher has come already; or has been lost on one way, and would come out of order on another.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Dropped, HubState, LinkId};
use crate::frame::{EVENT_HEAD_BYTES, EventHead, EventOrigin, MORE, NAMED, ORIGIN, write_event};
use crate::limits::{ORIGIN_TOPICS_MAX, ORIGINS_MAX};
use crate::name::Name;
use crate::outgoing::Run;
use crate::refusal::{Code, Refusal};

/// What is known of events of other hubs, and how many of this one's were passed on.
#[derive(Default)]
pub(super) struct Origins {
    passed: u64,
    hubs: BTreeMap<[u8; 16], Heard>,
    clock: u64,
}

/// What has come of one hub.
#[derive(Default)]
struct Heard {
    epoch: u64,
    /// The highest number on each topic.
    topics: BTreeMap<Name, u64>,
    /// On topics that are not among those, everything up to here may have come.
    floor: u64,
    /// The highest number of all.
    last: u64,
    /// When something came, as the count of all that has come.
    at: u64,
}

impl Origins {
    /// Whether it has not come before; then it has.
    fn is_news(&mut self, origin: EventOrigin, topic: &Name) -> bool {
        self.clock += 1;
        if self.hubs.len() >= ORIGINS_MAX && !self.hubs.contains_key(&origin.hub) {
            let quiet = self.hubs.iter().min_by_key(|(_, heard)| heard.at).map(|(hub, _)| *hub);
            quiet.and_then(|hub| self.hubs.remove(&hub));
        }
        let heard = self.hubs.entry(origin.hub).or_default();
        heard.at = self.clock;
        if origin.epoch < heard.epoch {
            return false;
        }
        if origin.epoch > heard.epoch {
            *heard = Heard { epoch: origin.epoch, at: self.clock, ..Heard::default() };
        }
        let known = heard.topics.get_mut(topic);
        if origin.number <= known.as_ref().map_or(heard.floor, |known| **known) {
            return false;
        }
        match known {
            Some(known) => *known = origin.number,
            None => {
                if heard.topics.len() >= ORIGIN_TOPICS_MAX {
                    heard.floor = heard.last;
                    heard.topics.clear();
                    if origin.number <= heard.floor {
                        return false;
                    }
                }
                heard.topics.insert(topic.clone(), origin.number);
            }
        }
        heard.last = heard.last.max(origin.number);
        true
    }
}

/// Takes out of the first frame of an event where it was published first.
pub(super) fn take_origin(head: EventHead, first: &mut Bytes) -> Result<(EventHead, Option<EventOrigin>), Refusal> {
    let body = head.body(first)?;
    let Some(origin) = body.origin else { return Ok((head, None)) };
    let plain = EventHead { flags: head.flags & !ORIGIN, len: head.len - EventOrigin::BYTES, ..head };
    let mut frame = plain.encode().to_vec();
    let name = first.len() - EventOrigin::BYTES - body.content.len();
    frame.extend_from_slice(&first[EVENT_HEAD_BYTES..name]);
    frame.extend_from_slice(body.content);
    *first = frame.into();
    Ok((plain, Some(origin)))
}

impl HubState {
    /// Whether this link may say where events and commands were first.
    pub(super) fn check_uplink(&mut self, id: LinkId) -> Result<(), Refusal> {
        match self.links.joined(id) {
            Some(joined) if !joined.uplink => {
                let text = "bad frame: only a link of another hub says where something was first";
                Err(Refusal::new(Code::BadFrame, text))
            }
            _ => Ok(()),
        }
    }

    /// Whether an event is let in: it is not one of this hub's that has come back, and has not come on another way.
    pub(super) fn is_news(&mut self, origin: EventOrigin, topic: &Name) -> bool {
        let news = origin.hub != self.identity.hub && self.origins.is_news(origin, topic);
        if !news {
            self.counters.count_dropped(Dropped::Echoes, 1);
        }
        news
    }

    /// Hands a run to links of other hubs, with where it was first: the hub that it has come from, or this one. It does not
    /// go back to the link that it has come on.
    pub(super) fn pass_on(
        &mut self,
        from: LinkId,
        to: &[LinkId],
        (name, run): (&Name, Run<'_>),
        origin: Option<EventOrigin>,
    ) -> u64 {
        let to: Vec<LinkId> = to.iter().copied().filter(|id| *id != from).collect();
        if to.is_empty() {
            return 0;
        }
        let mut frames = Vec::new();
        let mut write = |head: EventHead, content: &[u8]| {
            let origin = origin.unwrap_or_else(|| {
                self.origins.passed += 1;
                let (hub, epoch) = (self.identity.hub, self.identity.epoch);
                EventOrigin { hub, epoch, number: self.origins.passed }
            });
            let named = EventHead { topic: 0, flags: (head.flags | NAMED | ORIGIN) & !MORE, ..head };
            write_event(&mut frames, named, Some(name.as_str()), &origin.encode(), content);
        };
        match run {
            Run::Copied(mut run, count) => {
                while let Ok(Some(head)) = EventHead::peek(run) {
                    let (frame, rest) = run.split_at(head.len);
                    let Ok(body) = head.body(frame) else { return 0 };
                    write(head, body.content);
                    run = rest;
                }
                self.deliver(&to, Run::Copied(&frames, count))
            }
            Run::Shared(pieces) => {
                let Ok(Some(head)) = EventHead::peek(&pieces[0]) else { return 0 };
                let Ok(body) = head.body(&pieces[0]) else { return 0 };
                let mut content = body.content.to_vec();
                for piece in &pieces[1..] {
                    content.extend_from_slice(&piece[EVENT_HEAD_BYTES..]);
                }
                write(head, &content);
                let mut rest = Bytes::from(frames);
                let mut pieces = Vec::new();
                while let Ok(Some(head)) = EventHead::peek(&rest) {
                    pieces.push(rest.split_to(head.len));
                }
                self.deliver(&to, Run::Shared(&pieces))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn origin(hub: u8, epoch: u64, number: u64) -> EventOrigin {
        EventOrigin { hub: [hub; 16], epoch, number }
    }

    #[test]
    fn an_event_is_let_in_once_whatever_ways_it_comes() {
        let mut origins = Origins::default();
        let (a, b) = (name("a"), name("b"));
        assert!(origins.is_news(origin(1, 5, 1), &a) && !origins.is_news(origin(1, 5, 1), &a));
        // Another way carries other names, and is faster.
        assert!(origins.is_news(origin(1, 5, 9), &b) && origins.is_news(origin(1, 5, 2), &a));
        assert!(!origins.is_news(origin(1, 5, 2), &a) && !origins.is_news(origin(1, 5, 9), &b));
        assert!(origins.is_news(origin(2, 5, 1), &a), "of another hub");
        assert!(origins.is_news(origin(1, 7, 1), &a), "of a later start");
        assert!(!origins.is_news(origin(1, 5, 10), &a), "of a start that is over");
    }

    #[test]
    fn what_is_remembered_of_events_has_a_bound_and_none_comes_twice() {
        let mut origins = Origins::default();
        let topics: Vec<Name> = (0..=ORIGIN_TOPICS_MAX).map(|n| name(&format!("t/{n}"))).collect();
        for (number, topic) in (1..).zip(&topics) {
            assert!(origins.is_news(origin(1, 1, number), topic));
        }
        assert_eq!(origins.hubs[&[1; 16]].topics.len(), 1);
        for (number, topic) in (1..).zip(&topics) {
            assert!(!origins.is_news(origin(1, 1, number), topic), "{topic}");
        }
        for hub in 0..=ORIGINS_MAX {
            let hub = (hub as u128).to_le_bytes();
            origins.is_news(EventOrigin { hub, epoch: 1, number: 1 }, &topics[0]);
        }
        assert_eq!(origins.hubs.len(), ORIGINS_MAX);
    }
}
