//! Events that arrive, handed to the node's own subscriptions.

use bytes::{Buf, Bytes, BytesMut};

use super::inbox::{Event, Origin};
use super::{NodeState, Topic};
use crate::frame::{EVENT_HEAD_BYTES, EventHead, GROUP, HEADERS, Lagged, MORE, NAMED, REST, read_headers};
use crate::limits::{PAYLOAD_BYTES_MAX, SHARED_FRAME_BYTES_MIN};
use crate::name::Name;
use crate::payload::{Headers, Payload};
use crate::refusal::{Code, Refusal};

impl NodeState {
    /// Reads the events that `input` begins with. False if the first is not all there yet.
    pub(super) fn read_events(&mut self, input: &mut BytesMut) -> Result<bool, Refusal> {
        let Some(head) = EventHead::peek(input)? else { return Ok(false) };
        if input.len() < head.len {
            return Ok(false);
        }
        if head.flags & REST == 0 && !self.fragments.is_empty() {
            // The hub drops events whole, and what is left of one goes with its link.
            return Err(Refusal::new(
                Code::BadFrame,
                "bad frame: an event began before the one before it was finished",
            ));
        }
        if head.flags == GROUP && head.len < SHARED_FRAME_BYTES_MIN {
            self.read_share(head, input)?;
            return Ok(true);
        }
        if head.flags != 0 || head.len >= SHARED_FRAME_BYTES_MIN {
            let frame = if head.len < SHARED_FRAME_BYTES_MIN {
                let frame = Bytes::copy_from_slice(&input[..head.len]);
                input.advance(head.len);
                frame
            } else {
                input.split_to(head.len).freeze()
            };
            self.read_one(head, frame)?;
            return Ok(true);
        }
        let (mut end, mut count) = (head.len, 1);
        while let Some(next) = EventHead::peek(&input[end..])? {
            let fits = next.topic == head.topic
                && next.publisher == head.publisher
                && next.flags == 0
                && next.len < SHARED_FRAME_BYTES_MIN
                && input.len() - end >= next.len;
            if !fits {
                break;
            }
            (end, count) = (end + next.len, count + 1);
        }
        let shared = (end >= SHARED_FRAME_BYTES_MIN).then(|| input.split_to(end).freeze());
        let run = shared.as_deref().unwrap_or(&input[..end.min(input.len())]);
        let NodeState { topics, publishers, subscriptions, patterns, stamp, woken, .. } = self;
        let topic = topics.get_mut(&head.topic).ok_or_else(|| unknown("topic", head.topic))?;
        let publisher = publishers.get(&head.publisher).ok_or_else(|| unknown("publisher", head.publisher))?;
        topic.refresh(patterns, *stamp);
        for id in &topic.subscriptions {
            let Some(subscription) = subscriptions.get_mut(id).filter(|one| one.active) else { continue };
            let origin = || Origin { topic: topic.name.clone(), publisher: publisher.clone(), first: None };
            if subscription.inbox.push_run((head.topic, head.publisher), origin, run, shared.as_ref(), count) {
                woken.push(*id);
            }
        }
        if shared.is_none() {
            input.advance(end);
        }
        Ok(true)
    }

    /// Reads small events that are for one subscription alone, one after the other.
    fn read_share(&mut self, head: EventHead, input: &mut BytesMut) -> Result<(), Refusal> {
        let id = head.body(input)?.subscription;
        let (mut end, mut count) = (head.len, 1);
        while let Some(next) = EventHead::peek(&input[end..])? {
            let fits = (next.topic, next.publisher, next.flags) == (head.topic, head.publisher, GROUP)
                && next.len < SHARED_FRAME_BYTES_MIN
                && input.len() - end >= next.len
                && next.body(&input[end..])?.subscription == id;
            if !fits {
                break;
            }
            (end, count) = (end + next.len, count + 1);
        }
        let topic = self.topics.get(&head.topic).ok_or_else(|| unknown("topic", head.topic))?;
        let publisher = self.publishers.get(&head.publisher).ok_or_else(|| unknown("publisher", head.publisher))?;
        // One that was ended here may still get what was on its way.
        if let Some((id, subscription)) = id.and_then(|id| Some((id, self.subscriptions.get_mut(&id)?)))
            && subscription.active
        {
            let origin = || Origin { topic: topic.name.clone(), publisher: publisher.clone(), first: None };
            if subscription.inbox.push_run((head.topic, head.publisher), origin, &input[..end], None, count) {
                self.woken.push(id);
            }
        }
        input.advance(end);
        Ok(())
    }

    /// Reads one frame that is not simply small: with a name, headers, long, or a fragment.
    fn read_one(&mut self, head: EventHead, frame: Bytes) -> Result<(), Refusal> {
        if head.flags & REST != 0 && self.fragments.is_empty() {
            return Err(Refusal::new(Code::BadFrame, "bad frame: the rest of an event that never began"));
        }
        let bytes: usize = self.fragments.iter().map(Bytes::len).sum();
        if bytes + frame.len() > PAYLOAD_BYTES_MAX * 2 {
            return Err(Refusal::new(Code::TooLarge, "an event of more than 64 MiB arrived"));
        }
        if head.flags & MORE != 0 {
            self.fragments.push(frame);
            return Ok(());
        }
        let pieces = std::mem::take(&mut self.fragments);
        let first = pieces.first().unwrap_or(&frame);
        let first_head = EventHead::peek(first)?.unwrap_or(head);
        let body = first_head.body(first)?;
        let (name, only, origin) = (body.name, body.subscription, body.origin);
        let before = first.len() - body.content.len();
        let content = if pieces.is_empty() {
            frame.slice(before..)
        } else {
            let mut whole = BytesMut::with_capacity(bytes + frame.len());
            whole.extend_from_slice(&first[before..]);
            for piece in pieces[1..].iter().chain([&frame]) {
                whole.extend_from_slice(&piece[EVENT_HEAD_BYTES..]);
            }
            whole.freeze()
        };
        let (headers, payload) = match first_head.flags & HEADERS {
            0 => (Headers::new(), content),
            _ => read_headers(&content)?,
        };
        let publisher =
            self.publishers.get(&head.publisher).ok_or_else(|| unknown("publisher", head.publisher))?.clone();
        let (topic, matching) = match name {
            Some(name) if first_head.flags & NAMED != 0 => {
                let name = super::named(name)?;
                let matching = self.matching(&name);
                (name, matching)
            }
            _ => {
                let topic = self.topics.get_mut(&head.topic).ok_or_else(|| unknown("topic", head.topic))?;
                topic.refresh(&self.patterns, self.stamp);
                (topic.name.clone(), topic.subscriptions.clone())
            }
        };
        let event = Event::new(
            Origin { topic, publisher, first: origin },
            head.seq,
            headers,
            Payload { encoding: head.encoding, bytes: payload },
        );
        // A link of another hub passes each on once, in the order in which they come, whatever its patterns are.
        let matching = if self.config.uplink && !matching.is_empty() { self.first_subscription() } else { matching };
        for id in only.map_or(matching, |only| vec![only]) {
            if let Some(subscription) = self.subscriptions.get_mut(&id).filter(|one| one.active)
                && subscription.inbox.push_event(event.clone())
            {
                self.woken.push(id);
            }
        }
        Ok(())
    }

    fn first_subscription(&self) -> Vec<u32> {
        self.subscriptions.iter().find(|(_, one)| one.active).map(|(id, _)| *id).into_iter().collect()
    }

    fn matching(&self, name: &Name) -> Vec<u32> {
        let mut found = Vec::new();
        self.patterns.matching(name.as_str(), |ids| found.extend_from_slice(ids));
        found
    }

    /// Tells each subscription how many events it lost here.
    pub(super) fn deliver_losses(&mut self, lagged: Lagged<'_>) -> Result<(), Refusal> {
        for (number, count) in lagged.numbered() {
            let topic = self.topics.get_mut(&number).ok_or_else(|| unknown("topic", number))?;
            topic.refresh(&self.patterns, self.stamp);
            let ids = topic.subscriptions.clone();
            self.lose(&ids, count);
        }
        for (id, count) in lagged.groups() {
            self.lose(&[id], count);
        }
        for (name, count) in lagged.named() {
            let ids = self.matching(&super::named(name)?);
            self.lose(&ids, count);
        }
        Ok(())
    }

    fn lose(&mut self, ids: &[u32], count: u64) {
        for id in ids {
            if let Some(subscription) = self.subscriptions.get_mut(id).filter(|one| one.active) {
                subscription.inbox.lagged(count);
                self.woken.push(*id);
            }
        }
    }
}

impl Topic {
    /// Finds the subscriptions again if they have changed.
    fn refresh(&mut self, patterns: &crate::tree::Tree<Vec<u32>>, stamp: u64) {
        if self.stamp != stamp {
            self.subscriptions.clear();
            patterns.matching(self.name.as_str(), |ids| self.subscriptions.extend_from_slice(ids));
            self.stamp = stamp;
        }
    }
}

fn unknown(what: &str, number: u32) -> Refusal {
    Refusal::new(Code::BadFrame, format!("bad frame: the hub never told {what} number {number}"))
}
