//! What waits for one subscription until its program reads it: events, and what is missing between them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::frame::{EVENT_HEAD_BYTES, EventHead, EventOrigin, GROUP, GROUP_BYTES};
use crate::limits::FRAGMENT_BYTES_MAX;
use crate::name::Name;
use crate::payload::{Headers, Payload};
use crate::refusal::Refusal;

/// Where events come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) topic: Name,
    pub(super) publisher: Name,
    /// On a link of another hub: where the event was first. Such events come one by one.
    pub(super) first: Option<EventOrigin>,
}

/// One event. Cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    origin: Arc<Origin>,
    /// Its place among all events of its publisher, other topics included; grows, by more than one where the
    /// subscription does not match or something was lost.
    pub seq: u64,
    /// The pairs beside the payload.
    pub headers: Headers,
    /// The payload as it was published.
    pub payload: Payload,
}

impl Event {
    pub(super) fn new(origin: Origin, seq: u64, headers: Headers, payload: Payload) -> Event {
        Event { origin: Arc::new(origin), seq, headers, payload }
    }

    /// The name that it was published on.
    pub fn topic(&self) -> &Name {
        &self.origin.topic
    }

    /// The node that published it.
    pub fn publisher(&self) -> &Name {
        &self.origin.publisher
    }

    /// Where it was published first, if this node is a link of another hub.
    pub fn first_published(&self) -> Option<EventOrigin> {
        self.origin.first
    }
}

/// Why events may be missing where a link was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// The link to the hub was cut, and is back.
    LinkLost,
    /// The hub was restarted, or it is another one.
    HubRestarted,
}

/// What a subscription gets next.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Events of one topic and publisher, one after the other.
    Run(Run),
    /// One event.
    Event(Event),
    /// So many events are missing here: they came faster than they were read.
    Lagged(u64),
    /// What was published while there was no link is missing here, however much it was.
    Gap(Gap),
    /// The subscription has ended; nothing follows.
    Ended(Refusal),
}

/// Small events of one topic and publisher, still as they came. Iterate to get them; each shares this buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    origin: Arc<Origin>,
    frames: Bytes,
    count: u64,
}

impl Run {
    /// How many events are left.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Iterator for Run {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        let head = EventHead::peek(&self.frames).ok()??;
        let before = EVENT_HEAD_BYTES + if head.flags & GROUP == 0 { 0 } else { GROUP_BYTES };
        let bytes = self.frames.slice(before..head.len);
        self.frames.advance(head.len);
        self.count -= 1;
        let payload = Payload { encoding: head.encoding, bytes };
        Some(Event { origin: self.origin.clone(), seq: head.seq, headers: Headers::new(), payload })
    }
}

/// The run that is still growing.
struct Tail {
    /// The numbers of its topic and publisher.
    numbers: (u32, u32),
    origin: Arc<Origin>,
    frames: Vec<u8>,
    count: u64,
}

/// What a header costs beside its texts, in bytes.
const HEADER_BYTES: usize = 48;

pub(super) struct Inbox {
    bytes_max: usize,
    bytes: usize,
    queue: VecDeque<Delivery>,
    tail: Option<Tail>,
    /// Dropped before everything that waits.
    lost: u64,
    /// Was before everything that waits, but behind what was dropped.
    gap: Option<Gap>,
    ended: bool,
}

/// What an entry costs beside its payload, in bytes: so that many tiny ones are bounded too.
const ENTRY_BYTES: usize = 128;

impl Inbox {
    pub(super) fn new(bytes_max: usize) -> Inbox {
        Inbox { bytes_max, bytes: 0, queue: VecDeque::new(), tail: None, lost: 0, gap: None, ended: false }
    }

    /// Appends a run of small events; `shared` is the same run where it need not be copied. True if the inbox was empty.
    pub(super) fn push_run(
        &mut self,
        numbers: (u32, u32),
        origin: impl FnOnce() -> Origin,
        run: &[u8],
        shared: Option<&Bytes>,
        count: u64,
    ) -> bool {
        if self.ended {
            return false;
        }
        let was_empty = self.is_empty();
        match &mut self.tail {
            Some(tail) if tail.numbers == numbers && shared.is_none() && tail.frames.len() < FRAGMENT_BYTES_MAX => {
                tail.frames.extend_from_slice(run);
                tail.count += count;
                self.bytes += run.len();
            }
            tail => {
                let origin = match tail {
                    Some(tail) if tail.numbers == numbers => tail.origin.clone(),
                    _ => Arc::new(origin()),
                };
                self.seal();
                self.bytes += run.len() + ENTRY_BYTES;
                match shared {
                    Some(frames) => self.queue.push_back(Delivery::Run(Run { origin, frames: frames.clone(), count })),
                    None => self.tail = Some(Tail { numbers, origin, frames: run.to_vec(), count }),
                }
            }
        }
        self.make_room();
        was_empty
    }

    /// Appends one event. True if the inbox was empty.
    pub(super) fn push_event(&mut self, event: Event) -> bool {
        if self.ended {
            return false;
        }
        let was_empty = self.is_empty();
        self.seal();
        let event = Delivery::Event(event);
        self.bytes += cost(&event);
        self.queue.push_back(event);
        self.make_room();
        was_empty
    }

    /// So many events are missing at this place.
    pub(super) fn lagged(&mut self, count: u64) {
        if self.ended || count == 0 {
            return;
        }
        self.seal();
        match self.queue.back_mut() {
            Some(Delivery::Lagged(before)) => *before += count,
            _ => {
                self.bytes += ENTRY_BYTES;
                self.queue.push_back(Delivery::Lagged(count));
            }
        }
    }

    /// The link was cut at this place.
    pub(super) fn gap(&mut self, gap: Gap) {
        if !self.ended {
            self.seal();
            self.bytes += ENTRY_BYTES;
            self.queue.push_back(Delivery::Gap(gap));
            self.make_room();
        }
    }

    /// Nothing comes after what waits.
    pub(super) fn end(&mut self, why: Refusal) {
        if !self.ended {
            self.seal();
            self.ended = true;
            self.queue.push_back(Delivery::Ended(why));
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.tail.is_none() && self.lost == 0 && self.gap.is_none()
    }

    /// What comes next begins a new run: the numbers may mean something else.
    pub(super) fn seal(&mut self) {
        if let Some(Tail { origin, frames, count, .. }) = self.tail.take() {
            self.queue.push_back(Delivery::Run(Run { origin, frames: Bytes::from(frames), count }));
        }
    }

    /// Drops the oldest until what waits is within its bound; remembers how many events that were, and that there was a
    /// gap. What came last always stays, so that a reader makes progress whatever the bound.
    fn make_room(&mut self) {
        while self.bytes > self.bytes_max && self.queue.len() + usize::from(self.tail.is_some()) > 1 {
            let Some(oldest) = self.queue.pop_front() else { return };
            self.bytes -= cost(&oldest);
            match oldest {
                Delivery::Run(run) => self.lost += run.count,
                Delivery::Event(_) => self.lost += 1,
                Delivery::Lagged(count) => self.lost += count,
                // Of several the graver stays: nothing from before a restart is valid behind it.
                Delivery::Gap(gap) => self.gap = self.gap.filter(|gap| *gap == Gap::HubRestarted).or(Some(gap)),
                Delivery::Ended(_) => unreachable!("nothing is put behind the end"),
            }
        }
    }

    pub(super) fn take(&mut self) -> Option<Delivery> {
        if self.lost > 0 {
            return Some(Delivery::Lagged(std::mem::take(&mut self.lost)));
        }
        if let Some(gap) = self.gap.take() {
            return Some(Delivery::Gap(gap));
        }
        if self.queue.is_empty() {
            self.seal();
        }
        let next = self.queue.pop_front()?;
        if !matches!(next, Delivery::Ended(_)) {
            self.bytes -= cost(&next);
        }
        Some(next)
    }
}

fn cost(delivery: &Delivery) -> usize {
    ENTRY_BYTES
        + match delivery {
            Delivery::Run(run) => run.frames.len(),
            Delivery::Event(event) => {
                let headers = event.headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_BYTES);
                event.payload.bytes.len() + headers.sum::<usize>()
            }
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_told_although_it_had_to_make_room() {
        let mut inbox = Inbox::new(2 * ENTRY_BYTES);
        for gap in [Gap::HubRestarted, Gap::LinkLost, Gap::LinkLost, Gap::LinkLost] {
            inbox.gap(gap);
        }
        let told: Vec<Delivery> = std::iter::from_fn(|| inbox.take()).collect();
        assert_eq!(told.first(), Some(&Delivery::Gap(Gap::HubRestarted)));
        assert_eq!(told.len(), 3, "{told:?}");
    }
}
