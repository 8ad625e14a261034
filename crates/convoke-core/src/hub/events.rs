//! The way of an event through the hub: checked, numbered, routed, copied to the lanes of the links it goes to.
//!
//! The delivered bytes are the published bytes. Events that follow one another with the same topic are one run, which is
//! routed once and copied to each link once.

use bytes::{Buf, Bytes, BytesMut};

use super::HubState;
use super::links::{LinkId, Phase};
use super::origins::take_origin;
use super::topics::{Member, Route, Share};
use crate::bug::{Bug, planted};
use crate::frame::{
    About, EVENT_HEAD_BYTES, EventHead, EventOrigin, Frame, GROUP, HEADERS, MORE, NAMED, ORIGIN, REST, read_headers,
    write_event,
};
use crate::limits::{FRAGMENT_BYTES_MAX, LINK_NUMBERS_BYTES_MAX, SHARED_FRAME_BYTES_MIN, TOPICS_PER_LINK_MAX};
use crate::name::{NAME_BYTES_MAX, Name};
use crate::outgoing::{Pushed, Run, SlowPolicy};
use crate::refusal::{Code, Refusal};
use crate::rights::{Verb, allow};

/// What may stand before headers and payload of an event and is no part of them, in bytes: its name, and where it was first.
const BESIDE_BYTES_MAX: usize = 2 + NAME_BYTES_MAX + EventOrigin::BYTES;

impl HubState {
    /// Reads the events that `input` begins with. False if the first is not all there yet.
    pub(super) fn read_events(&mut self, id: LinkId, input: &mut BytesMut) -> Result<bool, Refusal> {
        let Some(head) = EventHead::peek(input)? else { return Ok(false) };
        if input.len() < head.len {
            return Ok(false);
        }
        let payload_bytes_max = self.config.payload_bytes_max;
        let frame_bytes_max = EVENT_HEAD_BYTES + payload_bytes_max + BESIDE_BYTES_MAX;
        let Some(link) = self.links.get_mut(id) else { return Ok(false) };
        let Phase::Joined(joined) = &mut link.phase else { return Ok(false) };
        check_publisher(&head, joined.publisher)?;
        if head.flags & GROUP != 0 {
            return Err(Refusal::new(
                Code::BadFrame,
                "bad frame: only the hub says which member of a group gets an event",
            ));
        }
        if head.flags & ORIGIN != 0 && !joined.uplink {
            return self.check_uplink(id).map(|()| true);
        }
        if head.len > frame_bytes_max {
            return Err(too_large(head.seq, &joined.node, payload_bytes_max));
        }
        if head.flags & REST != 0 || !joined.fragments.pieces.is_empty() {
            return self.read_fragment(id, head, input).map(|()| true);
        }
        let follows = Some(head.seq) == joined.seq.checked_add(1);
        if !(follows || joined.fresh && head.seq > joined.seq) {
            let text = format!(
                "event {} from `{}` came after event {}; events are counted one by one",
                head.seq, joined.node, joined.seq
            );
            return Err(Refusal::new(Code::BadFrame, text));
        }
        joined.fresh = false;
        if head.flags & MORE != 0 {
            return self.read_fragment(id, head, input).map(|()| true);
        }
        joined.seq = head.seq;
        if head.flags == 0 && head.len < SHARED_FRAME_BYTES_MIN {
            let (mut end, mut seq) = (head.len, head.seq);
            // What follows a bad frame is lost, not what comes before it.
            while let Ok(Some(next)) = EventHead::peek(&input[end..]) {
                let fits = next.topic == head.topic
                    && next.flags == 0
                    && next.publisher == head.publisher
                    && Some(next.seq) == seq.checked_add(1)
                    && next.len < SHARED_FRAME_BYTES_MIN.min(frame_bytes_max)
                    // A run is taken or dropped as one.
                    && end + next.len <= FRAGMENT_BYTES_MAX
                    && input.len() - end >= next.len;
                if !fits {
                    break;
                }
                (end, seq) = (end + next.len, next.seq);
            }
            joined.seq = seq;
            let run = Run::Copied(&input[..end], seq - head.seq + 1);
            self.publish(id, head, run, None)?;
            input.advance(end);
            return Ok(true);
        }
        if head.len < SHARED_FRAME_BYTES_MIN {
            let frame = BytesMut::from(&input[..head.len]).freeze();
            input.advance(head.len);
            self.publish_one(id, head, vec![frame])?;
        } else {
            let frame = input.split_to(head.len).freeze();
            self.publish_one(id, head, vec![frame])?;
        }
        Ok(true)
    }

    /// Collects the frames of an event until its last has come: it is routed whole, so that no other event is between
    /// its frames on any link, and a subscriber gets all of it or none.
    fn read_fragment(&mut self, id: LinkId, head: EventHead, input: &mut BytesMut) -> Result<(), Refusal> {
        let payload_bytes_max = self.config.payload_bytes_max;
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        let fragments = &mut joined.fragments;
        if let Some(first) = fragments.pieces.first() {
            let first = EventHead::peek(first)?.expect("it was read as an event");
            let same = first.seq == head.seq
                && first.topic == head.topic
                && first.encoding == head.encoding
                && first.flags & HEADERS == head.flags & HEADERS;
            if head.flags & REST == 0 || !same {
                let text = format!(
                    "bad frame: event {} from `{}` was not finished before the next began",
                    first.seq, joined.node
                );
                return Err(Refusal::new(Code::BadFrame, text));
            }
        } else if head.flags & REST != 0 {
            return Err(Refusal::new(Code::BadFrame, "bad frame: the rest of an event that never began"));
        }
        fragments.bytes += head.len - EVENT_HEAD_BYTES;
        if fragments.bytes > payload_bytes_max + BESIDE_BYTES_MAX {
            return Err(too_large(head.seq, &joined.node, payload_bytes_max));
        }
        fragments.pieces.push(input.split_to(head.len).freeze());
        if head.flags & MORE != 0 {
            // An event of many tiny fragments would cost more to keep than it has bytes.
            if fragments.pieces.len() > 16 + fragments.bytes / 1024 {
                return Err(Refusal::new(Code::BadFrame, "bad frame: fragments of an event carry at least 1 KiB"));
            }
            return Ok(());
        }
        let pieces = std::mem::take(fragments).pieces;
        joined.seq = head.seq;
        let Some(first) = EventHead::peek(&pieces[0])? else { return Ok(()) };
        self.publish_one(id, first, pieces)
    }

    /// Publishes one event that is long, has headers or goes by name.
    fn publish_one(&mut self, id: LinkId, head: EventHead, mut pieces: Vec<Bytes>) -> Result<(), Refusal> {
        let (head, origin) = take_origin(head, &mut pieces[0])?;
        let body = head.body(&pieces[0])?;
        if head.flags & HEADERS != 0 {
            // Headers longer than a fragment do not exist, so the first two hold them.
            let mut start = body.content.to_vec();
            start.extend(pieces.get(1).iter().flat_map(|piece| piece[EVENT_HEAD_BYTES..].iter().copied()));
            read_headers(&Bytes::from(start))?;
        }
        let Some(name) = body.name else {
            return match &pieces[..] {
                [one] if one.len() < SHARED_FRAME_BYTES_MIN => self.publish(id, head, Run::Copied(one, 1), origin),
                pieces => self.publish(id, head, Run::Shared(pieces), origin),
            };
        };
        let name = match Name::from_bytes(name) {
            Ok(name) => name,
            Err(error) => {
                self.refuse_event(id, head.seq, Code::BadName, &error.to_string());
                return Ok(());
            }
        };
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        if !allow(&joined.principal, Verb::Publish, name.as_str()) {
            self.refuse_publish(id, head.seq, &name);
            return Ok(());
        }
        let Some(number) = self.topic_for_publisher(id, &name) else {
            self.publish_unnumbered(id, &name, &pieces, origin);
            return Ok(());
        };
        // From here on the event travels under its number.
        let content = body.content.to_vec();
        let numbered =
            EventHead { topic: number, flags: head.flags & !NAMED, len: EVENT_HEAD_BYTES + content.len(), ..head };
        let mut first = numbered.encode().to_vec();
        first.extend_from_slice(&content);
        pieces[0] = Bytes::from(first);
        for piece in &mut pieces[1..] {
            let mut head = EventHead::peek(piece)?.expect("it was read as an event");
            head.topic = number;
            let mut frame = head.encode().to_vec();
            frame.extend_from_slice(&piece[EVENT_HEAD_BYTES..]);
            *piece = Bytes::from(frame);
        }
        match &pieces[..] {
            [one] if one.len() < SHARED_FRAME_BYTES_MIN => self.publish(id, numbered, Run::Copied(one, 1), origin),
            pieces => self.publish(id, numbered, Run::Shared(pieces), origin),
        }
    }

    /// The number of a topic, told to the link that publishes on it; `None` where a name must do.
    fn topic_for_publisher(&mut self, id: LinkId, name: &Name) -> Option<u32> {
        let number = self.topics.number(name)?;
        let link = self.links.get_mut(id)?;
        let crowded = link.lanes.control.len() > LINK_NUMBERS_BYTES_MAX;
        let joined = link.joined()?;
        if joined.topics.contains_key(&number) {
            return Some(number);
        }
        if crowded || joined.topics.len() >= TOPICS_PER_LINK_MAX {
            // Without a link that was told it, a new number must go back.
            self.topics.told(number);
            self.topics.give_back(number);
            return None;
        }
        joined.topics.insert(number, 0);
        self.topics.told(number);
        self.control(id, &Frame::Topic { number, name: name.as_str().as_bytes() });
        Some(number)
    }

    /// Routes a run under its topic's number. Of one that comes from another hub it is known where it was first.
    #[inline]
    fn publish(
        &mut self,
        id: LinkId,
        head: EventHead,
        run: Run<'_>,
        origin: Option<EventOrigin>,
    ) -> Result<(), Refusal> {
        let topic = head.topic;
        let stamp = self.topics.stamp(topic);
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        if (stamp == 0 || joined.last != (topic, stamp)) && !self.enter_route(id, topic)? {
            self.refuse_run(id, head, run);
            return Ok(());
        }
        if origin.is_some_and(|origin| self.has_come(id, topic, origin)) {
            return Ok(());
        }
        let Some(mut route) = self.topics.take_route(topic) else { return Ok(()) };
        let mut recipients = self.deliver(&route.numbered, run) + self.deliver_named(&route, topic, run);
        if !route.groups.is_empty() {
            recipients += self.share_run(&mut route.groups, topic, run);
        }
        if !route.uplinks.is_empty()
            && let Some(name) = self.topics.name(topic).cloned()
        {
            recipients += self.pass_on(id, &route.uplinks, (&name, run), origin);
        }
        self.topics.put_route(topic, route);
        if let Some(joined) = self.links.joined(id) {
            joined.recipients = recipients;
        }
        Ok(())
    }

    /// Whether an event of another hub has come before.
    #[cold]
    fn has_come(&mut self, id: LinkId, topic: u32, origin: EventOrigin) -> bool {
        let Some(name) = self.topics.name(topic).cloned() else { return true };
        let has_come = !self.is_news(origin, &name);
        if has_come && let Some(joined) = self.links.joined(id) {
            joined.recipients = 0;
        }
        has_come
    }

    /// What is done once for each publisher, topic and route: rights are asked, the route is built, and its links are
    /// told the publisher's number. False if the event must not be routed.
    #[cold]
    fn enter_route(&mut self, id: LinkId, topic: u32) -> Result<bool, Refusal> {
        let Some(joined) = self.links.joined(id) else { return Ok(false) };
        let granted = joined.topics.get(&topic).copied();
        let allowed = match (granted, self.topics.name(topic)) {
            (Some(_), Some(name)) => allow(&joined.principal, Verb::Publish, name.as_str()),
            _ => false,
        };
        if !allowed {
            return Ok(false);
        }
        if self.topics.stamp(topic) == 0 {
            self.build_route(topic);
        }
        let Some(route) = self.topics.take_route(topic) else { return Ok(false) };
        let stamp = route.stamp;
        if granted != Some(stamp) {
            self.tell_publisher(id, &route);
        }
        self.topics.put_route(topic, route);
        if let Some(joined) = self.links.joined(id) {
            joined.topics.insert(topic, stamp);
            joined.last = (topic, stamp);
        }
        Ok(true)
    }

    /// Finds the links whose subscriptions match, and tells them the topic's number.
    fn build_route(&mut self, topic: u32) {
        let Some(name) = self.topics.name(topic).cloned() else { return };
        let mut route = Route { stamp: self.topics.new_stamp(), ..self.find_route(&name) };
        let mut numbered = Vec::new();
        for id in std::mem::take(&mut route.named) {
            match self.tell_topic(id, topic, &name) {
                true => numbered.push(id),
                false => route.named.push(id),
            }
        }
        route.numbered = numbered;
        for id in &route.uplinks {
            if let Some(joined) = self.links.joined(*id) {
                joined.named.insert(topic);
            }
        }
        for member in route.groups.iter_mut().flat_map(|share| &mut share.members) {
            if self.tell_topic(member.link, topic, &name) {
                member.number = topic;
            }
        }
        self.topics.set_route(topic, route);
    }

    /// Tells a subscriber's link the number of a topic. False if it must get the name instead.
    fn tell_topic(&mut self, id: LinkId, topic: u32, name: &Name) -> bool {
        let Some(link) = self.links.get_mut(id) else { return false };
        let crowded = link.lanes.control.len() > LINK_NUMBERS_BYTES_MAX;
        let Some(joined) = link.joined() else { return false };
        if joined.topics.contains_key(&topic) {
            return true;
        }
        if crowded || joined.topics.len() >= TOPICS_PER_LINK_MAX {
            joined.named.insert(topic);
            return false;
        }
        joined.topics.insert(topic, 0);
        self.topics.told(topic);
        self.control(id, &Frame::Topic { number: topic, name: name.as_str().as_bytes() });
        true
    }

    /// The links with a subscription that matches, each once, in a fixed order, that may receive it; all by name.
    pub(super) fn find_route(&mut self, name: &Name) -> Route {
        let (mut found, mut members) = (Vec::new(), Vec::new());
        self.patterns.matching(name.as_str(), |subscribers| {
            found.extend(subscribers.links());
            members.extend(subscribers.members().cloned());
        });
        found.sort_unstable();
        found.dedup();
        members.sort_unstable();
        let mut may = |id: LinkId| {
            let joined = self.links.joined(id);
            let may = joined.is_some_and(|joined| allow(&joined.principal, Verb::Subscribe, name.as_str()));
            may || planted(Bug::RouteIgnoresRights)
        };
        found.retain(|id| may(*id));
        let mut last = None;
        members.retain(|(_, id, _)| match last {
            Some((of, allowed)) if of == *id => allowed,
            _ => {
                let allowed = may(*id);
                last = Some((*id, allowed));
                allowed
            }
        });
        // Where every event has a topic of its own, and so a route of its own, all get their turn too.
        let turn = if members.is_empty() { 0 } else { self.random.number() as usize };
        let groups = members.chunk_by(|one, other| one.0 == other.0).map(|members| Share {
            members: members.iter().map(|&(_, link, subscription)| Member { link, subscription, number: 0 }).collect(),
            turn: turn % members.len(),
        });
        let groups = groups.collect();
        let (uplinks, named) = found.into_iter().partition(|id| self.links.joined(*id).is_some_and(|one| one.uplink));
        Route { stamp: 0, numbered: Vec::new(), named, uplinks, groups }
    }

    fn tell_publisher(&mut self, id: LinkId, route: &Route) {
        for &to in route.numbered.iter().chain(&route.named).chain(&route.uplinks) {
            self.tell_publisher_to(id, to);
        }
        for member in route.groups.iter().flat_map(|share| &share.members) {
            self.tell_publisher_to(id, member.link);
        }
    }

    /// Tells a link the name of the publisher with that link, if it was not told before.
    pub(super) fn tell_publisher_to(&mut self, id: LinkId, to: LinkId) {
        let Some(joined) = self.links.joined(id) else { return };
        let (number, node) = (joined.publisher, joined.node.clone());
        if self.links.joined(to).is_some_and(|joined| joined.publishers.insert(number, id).is_none()) {
            if let Some(joined) = self.links.joined(id) {
                joined.known_by.insert(to);
            }
            self.control(to, &Frame::Publisher { number, name: node.as_str().as_bytes() });
        }
    }

    /// Appends a run to the bulk lanes of these links. Tells how many took it.
    #[inline]
    pub(super) fn deliver(&mut self, to: &[LinkId], run: Run<'_>) -> u64 {
        let mut taken = 0;
        let mut rescued = Vec::new();
        let HubState { links, touched, doomed, bulk_bytes, config, .. } = self;
        // What nobody can take from a link, however many others do not read.
        let share = config.hub_bulk_bytes_max / config.links_max.max(1);
        for &id in to {
            let Some(link) = links.get_mut(id) else { continue };
            let before = link.lanes.bulk.bytes();
            let full = *bulk_bytes >= config.hub_bulk_bytes_max && before + run.len() > share;
            match link.lanes.bulk.push(run, full, &mut rescued) {
                Pushed::Waits => taken += 1,
                Pushed::Dropped => {}
                Pushed::Overflow => doomed.push((id, overflowed(link.lanes.bulk.policy()))),
            }
            *bulk_bytes = *bulk_bytes + link.lanes.bulk.bytes() - before;
            if !rescued.is_empty() {
                link.lanes.control.append(&mut rescued);
            }
            if !link.touched {
                link.touched = true;
                touched.push(id);
            }
        }
        taken
    }

    fn deliver_named(&mut self, route: &Route, topic: u32, run: Run<'_>) -> u64 {
        if route.named.is_empty() {
            return 0;
        }
        let Some(name) = self.topics.name(topic).cloned() else { return 0 };
        let mut renamed = std::mem::take(&mut self.scratch);
        renamed.clear();
        let taken = match run {
            Run::Copied(mut frames, count) => {
                while let Ok(Some(head)) = EventHead::peek(frames) {
                    let (frame, rest) = frames.split_at(head.len);
                    let named = EventHead { topic: 0, flags: head.flags | NAMED, ..head };
                    write_event(&mut renamed, named, Some(name.as_str()), &[], &frame[EVENT_HEAD_BYTES..]);
                    frames = rest;
                }
                self.deliver(&route.named, Run::Copied(&renamed, count))
            }
            Run::Shared(pieces) => {
                let mut body = Vec::new();
                for piece in pieces {
                    body.extend_from_slice(&piece[EVENT_HEAD_BYTES..]);
                }
                let Ok(Some(head)) = EventHead::peek(&pieces[0]) else { return 0 };
                let named = EventHead { topic: 0, flags: (head.flags | NAMED) & !MORE, ..head };
                let mut frames = Vec::new();
                write_event(&mut frames, named, Some(name.as_str()), &[], &body);
                let mut rest = Bytes::from(frames);
                let mut pieces = Vec::new();
                while let Ok(Some(head)) = EventHead::peek(&rest) {
                    pieces.push(rest.split_to(head.len));
                }
                self.deliver(&route.named, Run::Shared(&pieces))
            }
        };
        self.scratch = renamed;
        taken
    }

    /// Routes an event whose topic has no number. Slower, and only where the table is full.
    fn publish_unnumbered(&mut self, id: LinkId, name: &Name, pieces: &[Bytes], origin: Option<EventOrigin>) {
        if origin.is_some_and(|origin| !self.is_news(origin, name)) {
            return;
        }
        let mut route = self.find_route(name);
        self.tell_publisher(id, &route);
        let mut recipients = match pieces {
            [one] if one.len() < SHARED_FRAME_BYTES_MIN => self.deliver(&route.named, Run::Copied(one, 1)),
            pieces => self.deliver(&route.named, Run::Shared(pieces)),
        };
        if !route.groups.is_empty() {
            recipients += self.share_named(&mut route.groups, name, pieces);
        }
        if !route.uplinks.is_empty() {
            recipients += self.pass_on(id, &route.uplinks, (name, Run::Shared(pieces)), origin);
        }
        if let Some(joined) = self.links.joined(id) {
            joined.recipients = recipients;
        }
    }

    /// Refuses each event of a run, as nobody but its publisher can count them.
    #[cold]
    fn refuse_run(&mut self, id: LinkId, head: EventHead, run: Run<'_>) {
        let Some(joined) = self.links.joined(id) else { return };
        // The same for a number that does not exist and one that is not for this link.
        let text = format!("`{}` may not publish on topic number {}", joined.node, head.topic);
        let count = match run {
            Run::Copied(_, count) => count,
            Run::Shared(_) => 1,
        };
        for seq in head.seq..=head.seq.saturating_add(count.saturating_sub(1)) {
            self.refuse_event(id, seq, Code::Forbidden, &text);
        }
    }

    fn refuse_publish(&mut self, id: LinkId, seq: u64, name: &Name) {
        let Some(joined) = self.links.joined(id) else { return };
        let why = joined.principal.forbidden(&format!("publish on `{name}`"), Verb::Publish, name.as_str());
        self.refuse_event(id, seq, why.code, &why.text);
    }

    fn refuse_event(&mut self, id: LinkId, seq: u64, code: Code, text: &str) {
        if let Some(joined) = self.links.joined(id) {
            joined.recipients = 0;
        }
        self.control(id, &Frame::Refused { about: About::Event(seq), code, text });
    }
}

fn overflowed(policy: SlowPolicy) -> Refusal {
    let text = match policy {
        SlowPolicy::Disconnect => {
            "the link read too slowly: what may wait for it is full, and its policy is to disconnect"
        }
        _ => "the link read too slowly: it has lost events of more names than could still be told",
    };
    Refusal::new(Code::SlowLink, text)
}

fn too_large(seq: u64, node: &Name, max: usize) -> Refusal {
    let text = format!("the payload of event {seq} from `{node}` is longer than the {max} bytes this hub takes");
    Refusal::new(Code::TooLarge, text)
}

fn check_publisher(head: &EventHead, publisher: u32) -> Result<(), Refusal> {
    if head.publisher == publisher {
        return Ok(());
    }
    let text = format!("bad frame: an event of publisher {} on the link of publisher {publisher}", head.publisher);
    Err(Refusal::new(Code::BadFrame, text))
}
