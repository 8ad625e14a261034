//! The bulk lane: events that wait for one link, within a bound, and what happens when it is reached.
//!
//! Small events are copied one behind the other into a tail; long ones are shared with the other links. What is dropped
//! is counted for each topic and announced in the lane, at the place where it is missing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::SlowPolicy;
use crate::bug::{Bug, planted};
use crate::frame::{EventHead, Head, Kind, MORE, REST, write_lagged};
use crate::limits::{FRAGMENT_BYTES_MAX, LINK_LOSSES_BYTES_MAX, SHARED_FRAME_BYTES_MIN};
use crate::name::Name;

/// Whole event frames on their way to a link.
#[derive(Clone, Copy)]
pub(crate) enum Run<'a> {
    /// One after the other, so many events: to be copied.
    Copied(&'a [u8], u64),
    /// The frames of one event, each a piece: to be shared.
    Shared(&'a [Bytes]),
}

impl Run<'_> {
    #[inline]
    pub(crate) fn len(self) -> usize {
        match self {
            Run::Copied(frames, _) => frames.len(),
            Run::Shared(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits in the lane.
    Waits,
    /// It was dropped; that will be announced.
    Dropped,
    /// It does not fit, and the policy is to disconnect; or what was lost is of so many topics that telling of it would be
    /// too long.
    Overflow,
}

#[derive(Debug)]
struct Part {
    frames: Bytes,
    /// The event that ends here goes on in the next part.
    more: bool,
}

#[derive(Debug)]
pub(crate) struct Backlog {
    policy: SlowPolicy,
    bytes_max: usize,
    parts: VecDeque<Part>,
    /// Behind `parts`; becomes one of them when it is long enough.
    tail: Vec<u8>,
    /// What waits in `parts`, `tail` and `after_cut`.
    bytes: usize,
    /// Frames of the first event have already left, so that its rest must.
    cut: bool,
    /// Frames that are no events and were dropped while `cut`: they leave right behind the rest of that event.
    after_cut: Vec<u8>,
    lost: Losses,
}

/// How many events of each topic were dropped and are not yet announced. With ever new names it grows as long as the link
/// takes nothing, so it has a bound: [`LINK_LOSSES_BYTES_MAX`].
#[derive(Debug, Default)]
struct Losses {
    numbered: BTreeMap<u32, u64>,
    named: BTreeMap<Name, u64>,
    /// Of the shares that subscriptions have in groups, by their numbers.
    groups: BTreeMap<u32, u64>,
    /// The bytes of all names in `named`.
    name_bytes: usize,
    /// Those that were dropped at all, announced or not.
    ever: u64,
}

impl Losses {
    /// No less than the length of what [`announce`](Losses::announce) gives, in bytes.
    fn announcement_bytes_max(&self) -> usize {
        let entries = 12 * (self.numbered.len() + self.groups.len()) + 10 * self.named.len() + self.name_bytes;
        // Each frame that is full takes a head more, and is far longer than half a fragment.
        entries + 16 * (1 + entries / (FRAGMENT_BYTES_MAX / 2))
    }

    fn is_empty(&self) -> bool {
        self.numbered.is_empty() && self.named.is_empty() && self.groups.is_empty()
    }

    fn announce(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let skew = u64::from(planted(Bug::LaggedOffByOne));
        let lost = std::mem::replace(self, Losses { ever: self.ever, ..Losses::default() });
        write_lagged(
            &mut out,
            lost.numbered.iter().map(|(number, count)| (*number, count.saturating_sub(skew))),
            lost.groups.into_iter(),
            lost.named.iter().map(|(name, count)| (name.as_str(), *count)),
        );
        out
    }
}

impl Backlog {
    pub(crate) fn new(policy: SlowPolicy, bytes_max: usize) -> Backlog {
        Backlog {
            policy,
            bytes_max,
            parts: VecDeque::new(),
            tail: Vec::new(),
            bytes: 0,
            cut: false,
            after_cut: Vec::new(),
            lost: Losses::default(),
        }
    }

    pub(crate) fn policy(&self) -> SlowPolicy {
        self.policy
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0 && self.lost.is_empty()
    }

    /// Forgets all that waits, and what was lost before it.
    pub(crate) fn clear(&mut self) {
        *self = Backlog::new(self.policy, self.bytes_max);
    }

    /// Whether so many bytes more find room in its own bound.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.bytes + len <= self.bytes_max
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events that were dropped since it was made or cleared, announced or not.
    pub(crate) fn dropped(&self) -> u64 {
        self.lost.ever
    }

    /// Appends frames that must not be lost and are not events, such as Forget. They are few.
    pub(crate) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.bytes += self.tail.len() - before;
        self.seal_when_long();
    }

    /// Appends a run of events, or does with it what the policy says. `full` says that there is no room elsewhere.
    /// Frames that were dropped on the way and are no events (Forget) are appended to `rescued`; as all older events of
    /// that publisher are gone with them, they may go by the control lane. Where one of them is half out they stay here.
    #[inline]
    pub(crate) fn push(&mut self, run: Run<'_>, full: bool, rescued: &mut Vec<u8>) -> Pushed {
        let fits = !full && self.bytes + run.len() <= self.bytes_max;
        if fits && (self.lost.is_empty() || self.policy != SlowPolicy::DropNewest) {
            self.put(run);
            return Pushed::Waits;
        }
        self.push_slowly(run, full, rescued)
    }

    #[cold]
    fn push_slowly(&mut self, run: Run<'_>, full: bool, rescued: &mut Vec<u8>) -> Pushed {
        let pushed = self.push_or_drop(run, full, rescued);
        if self.lost.announcement_bytes_max() > LINK_LOSSES_BYTES_MAX { Pushed::Overflow } else { pushed }
    }

    fn push_or_drop(&mut self, run: Run<'_>, full: bool, rescued: &mut Vec<u8>) -> Pushed {
        let len = run.len();
        // With no room in the hub a link makes place from what it has itself.
        let bytes_max = if full { self.bytes.min(self.bytes_max) } else { self.bytes_max };
        let fits = |backlog: &Backlog| backlog.bytes + len <= bytes_max;
        if !fits(self) {
            match self.policy {
                SlowPolicy::Disconnect => return Pushed::Overflow,
                SlowPolicy::DropNewest => {}
                SlowPolicy::LatestPerTopic => {
                    let before = self.bytes;
                    self.keep_latest();
                    // Where that frees little it would be done again for every few events, each time over all that waits.
                    let low = if before - self.bytes < bytes_max / 4 { bytes_max / 4 * 3 } else { bytes_max };
                    while (!fits(self) || self.bytes > low) && self.drop_oldest(rescued) {}
                }
                SlowPolicy::DropOldest => while !fits(self) && self.drop_oldest(rescued) {},
            }
            if !fits(self) {
                self.count(run);
                return Pushed::Dropped;
            }
        } else {
            // The newest were dropped before: that is announced before what comes after them, if both find room.
            if self.bytes + self.lost.announcement_bytes_max() + len > bytes_max {
                self.count(run);
                return Pushed::Dropped;
            }
            let announcement = self.lost.announce();
            self.append(|tail| tail.extend_from_slice(&announcement));
        }
        self.put(run);
        Pushed::Waits
    }

    #[inline]
    fn put(&mut self, run: Run<'_>) {
        match run {
            Run::Copied(frames, _) => {
                self.tail.extend_from_slice(frames);
                self.bytes += frames.len();
                self.seal_when_long();
            }
            Run::Shared(pieces) => {
                self.seal();
                for (index, piece) in pieces.iter().enumerate() {
                    self.bytes += piece.len();
                    self.parts.push_back(Part { frames: piece.clone(), more: index + 1 < pieces.len() });
                }
            }
        }
    }

    fn seal_when_long(&mut self) {
        if self.tail.len() >= FRAGMENT_BYTES_MAX {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let frames = Bytes::from(std::mem::take(&mut self.tail));
            self.parts.push_back(Part { frames, more: false });
        }
    }

    /// What leaves next.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if !self.cut && !self.lost.is_empty() && (self.policy != SlowPolicy::DropNewest || self.bytes == 0) {
            let announcement = self.lost.announce();
            if !announcement.is_empty() && !planted(Bug::LossNotAnnounced) {
                return Some(Bytes::from(announcement));
            }
        }
        if self.parts.is_empty() {
            self.seal();
        }
        let part = self.parts.pop_front()?;
        self.bytes -= part.frames.len();
        self.cut = part.more;
        if !self.cut && !self.after_cut.is_empty() {
            let frames = Bytes::from(std::mem::take(&mut self.after_cut));
            self.parts.push_front(Part { frames, more: false });
        }
        Some(part.frames)
    }

    /// Drops the oldest event that has not begun to leave, with all that was copied together with it. False if there
    /// is none.
    fn drop_oldest(&mut self, rescued: &mut Vec<u8>) -> bool {
        let mut index = 0;
        if self.cut {
            while self.parts.get(index).is_some_and(|part| part.more) {
                index += 1;
            }
            index += 1;
        }
        if index >= self.parts.len() {
            self.seal();
        }
        let mut more = true;
        let mut dropped = false;
        let mut name = None;
        let before = self.after_cut.len();
        let rescued = if self.cut { &mut self.after_cut } else { rescued };
        while more && let Some(part) = self.parts.remove(index) {
            self.bytes -= part.frames.len();
            count_frames(&part.frames, &mut self.lost, &mut name, rescued);
            more = part.more;
            dropped = true;
        }
        self.bytes += self.after_cut.len() - before;
        dropped
    }

    fn count(&mut self, run: Run<'_>) {
        let mut name = None;
        let mut none = Vec::new();
        match run {
            Run::Copied(frames, _) => count_frames(frames, &mut self.lost, &mut name, &mut none),
            Run::Shared(pieces) => {
                for piece in pieces {
                    count_frames(piece, &mut self.lost, &mut name, &mut none);
                }
            }
        }
    }

    /// Keeps of each topic the last event only. Linear in what waits.
    fn keep_latest(&mut self) {
        let mut kept = self.begin_anew();
        let mut latest: BTreeMap<Topic, VecDeque<Part>> = BTreeMap::new();
        let mut order: BTreeMap<u64, Topic> = BTreeMap::new();
        let mut places: BTreeMap<Topic, u64> = BTreeMap::new();
        let mut place = 0;
        let mut event = VecDeque::new();
        let mut topic = None;
        // A Publisher is still needed before its events; other frames (Forget) do no harm behind all of them.
        let mut others = Vec::new();
        for part in std::mem::take(&mut self.parts) {
            let mut offset = 0;
            while let Ok(Some(head)) = Head::peek(&part.frames[offset..]) {
                let frame = part.frames.slice(offset..offset + head.len);
                offset += head.len;
                let Ok(Some(of_event)) = EventHead::peek(&frame) else {
                    match head.kind == Kind::Publisher as u8 {
                        true => kept.put_small(&frame),
                        false => others.extend_from_slice(&frame),
                    }
                    continue;
                };
                if of_event.flags & REST == 0 {
                    topic = Some(Topic::of(of_event, &frame));
                }
                let more = of_event.flags & MORE != 0;
                event.push_back(Part { frames: frame, more });
                if !more && let Some(topic) = topic.take() {
                    if let Some(older) = latest.insert(topic.clone(), std::mem::take(&mut event)) {
                        drop(older);
                        self.lost.add(&topic);
                    }
                    if let Some(before) = places.insert(topic.clone(), place) {
                        order.remove(&before);
                    }
                    order.insert(place, topic);
                    place += 1;
                }
            }
        }
        for event in order.into_values().filter_map(|topic| latest.remove(&topic)) {
            kept.put_event(event);
        }
        kept.put_small(&others);
        self.hold(kept);
    }

    /// Takes out the events that wait for these subscriptions of groups alone, each as its frames, in
    /// their order. What has begun to leave stays. Linear in what waits.
    pub(crate) fn take_group(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<Vec<Bytes>> {
        let mut kept = self.begin_anew();
        let mut taken = Vec::new();
        let mut event = VecDeque::new();
        let mut takes = false;
        for part in std::mem::take(&mut self.parts) {
            let mut offset = 0;
            while let Ok(Some(head)) = Head::peek(&part.frames[offset..]) {
                let frame = part.frames.slice(offset..offset + head.len);
                offset += head.len;
                let Ok(Some(head)) = EventHead::peek(&frame) else {
                    kept.put_small(&frame);
                    continue;
                };
                if head.flags & REST == 0 {
                    let subscription = head.body(&frame).ok().and_then(|body| body.subscription);
                    takes = subscription.is_some_and(&wanted);
                }
                let more = head.flags & MORE != 0;
                event.push_back(Part { frames: frame, more });
                if !more {
                    let event = std::mem::take(&mut event);
                    match takes {
                        true => taken.push(event.into_iter().map(|part| part.frames).collect()),
                        false => kept.put_event(event),
                    }
                }
            }
        }
        self.hold(kept);
        taken
    }

    /// An event that was for this subscription of a group alone cannot be told.
    pub(crate) fn lose_of_group(&mut self, subscription: u32) {
        self.lost.add(&Topic::Group(subscription, Box::new(Topic::Number(0))));
    }

    /// Begins to put together anew what waits, with what must leave first.
    fn begin_anew(&mut self) -> Anew {
        self.seal();
        let mut kept = Anew::default();
        if self.cut {
            while let Some(part) = self.parts.pop_front() {
                let more = part.more;
                kept.parts.push_back(part);
                if !more {
                    break;
                }
            }
        }
        kept
    }

    fn hold(&mut self, mut kept: Anew) {
        kept.seal();
        self.bytes = kept.parts.iter().map(|part| part.frames.len()).sum::<usize>() + self.after_cut.len();
        self.parts = kept.parts;
    }
}

/// What waits, put together anew.
#[derive(Default)]
struct Anew {
    parts: VecDeque<Part>,
    /// Behind `parts`. Small frames are copied together again: kept as slices they would pin all that was around them.
    small: Vec<u8>,
}

impl Anew {
    fn put_event(&mut self, event: VecDeque<Part>) {
        if event.len() == 1 && event[0].frames.len() < SHARED_FRAME_BYTES_MIN {
            self.put_small(&event[0].frames);
        } else {
            self.seal();
            self.parts.extend(event);
        }
    }

    fn put_small(&mut self, frames: &[u8]) {
        self.small.extend_from_slice(frames);
        if self.small.len() >= FRAGMENT_BYTES_MAX {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.parts.push_back(Part { frames: Bytes::from(std::mem::take(&mut self.small)), more: false });
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Number(u32),
    Name(Name),
    /// The topic of events that are for one subscription alone, by its number.
    Group(u32, Box<Topic>),
}

impl Topic {
    /// The topic of the first frame of an event that the hub itself wrote or checked.
    fn of(head: EventHead, frame: &[u8]) -> Topic {
        let Ok(body) = head.body(frame) else { return Topic::Number(head.topic) };
        let name = body.name.and_then(|name| Name::from_bytes(name).ok());
        let topic = name.map_or(Topic::Number(head.topic), Topic::Name);
        match body.subscription {
            Some(subscription) => Topic::Group(subscription, Box::new(topic)),
            None => topic,
        }
    }
}

impl Losses {
    fn add(&mut self, topic: &Topic) {
        self.ever += 1;
        match topic {
            Topic::Number(number) => *self.numbered.entry(*number).or_default() += 1,
            Topic::Group(subscription, _) => *self.groups.entry(*subscription).or_default() += 1,
            Topic::Name(name) => match self.named.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    self.name_bytes += name.as_str().len();
                    self.named.insert(name.clone(), 1);
                }
            },
        }
    }
}

/// Counts the events that end in `frames`. `topic` carries the topic of one that goes on from piece to piece. Frames that
/// are no events go to `rescued`.
fn count_frames(mut frames: &[u8], lost: &mut Losses, topic: &mut Option<Topic>, rescued: &mut Vec<u8>) {
    while let Ok(Some(head)) = Head::peek(frames) {
        let (frame, rest) = frames.split_at(head.len.min(frames.len()));
        frames = rest;
        if head.kind != Kind::Event as u8 {
            rescued.extend_from_slice(frame);
        } else if let Ok(Some(head)) = EventHead::peek(frame) {
            if head.flags & REST == 0 {
                *topic = Some(Topic::of(head, frame));
            }
            if head.flags & MORE == 0
                && let Some(topic) = topic.take()
            {
                lost.add(&topic);
            }
        }
    }
}

#[cfg(test)]
mod tests;
