//! The bulk lane on its own: whatever is pushed and popped, every event comes out or is counted where it is missing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::frame::{EVENT_HEAD_BYTES, Frame, NAMED, write_event};
use crate::payload::Encoding;

/// Topics of these tests: those up to here have numbers, those above go by name.
const NUMBERED: u32 = 3;

fn name(topic: u32) -> String {
    format!("topic/{topic}")
}

/// One event as whole frames: one, or as many as `pieces` says.
fn event(topic: u32, publisher: u32, seq: u64, len: usize, pieces: usize) -> Vec<Bytes> {
    let named = topic > NUMBERED;
    let head = EventHead {
        len: 0,
        encoding: Encoding::Raw,
        flags: if named { NAMED } else { 0 },
        topic: if named { 0 } else { topic },
        publisher,
        seq,
    };
    let mut first = Vec::new();
    write_event(&mut first, head, named.then(|| name(topic)).as_deref(), &[], &vec![b'x'; len]);
    let mut frames = vec![Bytes::from(first)];
    for piece in 1..pieces {
        let flags = if piece + 1 < pieces { MORE | REST } else { REST };
        let mut rest = EventHead { len: EVENT_HEAD_BYTES + len, topic: head.topic, flags, ..head }.encode().to_vec();
        rest.resize(EVENT_HEAD_BYTES + len, b'y');
        frames.push(Bytes::from(rest));
    }
    if pieces > 1 {
        let mut first = frames[0].to_vec();
        first[6] |= MORE as u8;
        frames[0] = Bytes::from(first);
    }
    frames
}

#[derive(Clone, Debug)]
enum Shape {
    Copied { events: u64, len: usize },
    Shared { len: usize, pieces: usize },
}

#[derive(Clone, Debug)]
enum Step {
    Push { topic: u32, publisher: usize, shape: Shape, full: bool },
    Forget { publisher: usize },
    Pop,
}

fn step() -> impl Strategy<Value = Step> {
    let shape = prop_oneof![
        4 => (1..5u64, 0..120usize).prop_map(|(events, len)| Shape::Copied { events, len }),
        1 => (1..3u64, 15_000..16_000usize).prop_map(|(events, len)| Shape::Copied { events, len }),
        2 => (0..120usize, 1..5usize).prop_map(|(len, pieces)| Shape::Shared { len, pieces }),
        1 => (17_000..30_000usize, 1..4usize).prop_map(|(len, pieces)| Shape::Shared { len, pieces }),
    ];
    prop_oneof![
        6 => (1..=NUMBERED + 2, 0..3usize, shape, prop::bool::weighted(0.05))
            .prop_map(|(topic, publisher, shape, full)| Step::Push { topic, publisher, shape, full }),
        1 => (0..3usize).prop_map(|publisher| Step::Forget { publisher }),
        3 => Just(Step::Pop),
    ]
}

/// A backlog, and what must be true of it.
struct Watched {
    backlog: Backlog,
    bytes_max: usize,
    seq: u64,
    /// The numbers of the three publishers; who is forgotten gets another.
    publishers: [u32; 3],
    publisher_last: u32,
    /// The topics of the events that were taken or dropped, by seq.
    pushed: BTreeMap<u64, u32>,
    /// Per topic: how many came out, how many were announced.
    popped: BTreeMap<u32, u64>,
    announced: BTreeMap<u32, u64>,
    /// The last event that began to come out, and whether it goes on.
    last: (u64, bool),
    forgotten: Vec<u32>,
    told: Vec<u32>,
}

impl Watched {
    fn new(policy: SlowPolicy, bytes_max: usize) -> Watched {
        Watched {
            backlog: Backlog::new(policy, bytes_max),
            bytes_max,
            seq: 0,
            publishers: [1, 2, 3],
            publisher_last: 3,
            pushed: BTreeMap::new(),
            popped: BTreeMap::new(),
            announced: BTreeMap::new(),
            last: (0, false),
            forgotten: Vec::new(),
            told: Vec::new(),
        }
    }

    fn push(&mut self, topic: u32, publisher: usize, shape: &Shape, full: bool) -> Pushed {
        let publisher = self.publishers[publisher];
        let before = self.backlog.bytes();
        let first = self.seq + 1;
        let mut rescued = Vec::new();
        let pushed = match *shape {
            Shape::Copied { events, len } => {
                let frames: Vec<u8> =
                    (first..first + events).flat_map(|seq| event(topic, publisher, seq, len, 1).concat()).collect();
                self.seq += events;
                self.backlog.push(Run::Copied(&frames, events), full, &mut rescued)
            }
            Shape::Shared { len, pieces } => {
                self.seq += 1;
                self.backlog.push(Run::Shared(&event(topic, publisher, first, len, pieces)), full, &mut rescued)
            }
        };
        if pushed == Pushed::Overflow {
            assert_eq!(self.backlog.bytes(), before, "a run that overflows changes nothing");
        } else {
            self.pushed.extend((first..=self.seq).map(|seq| (seq, topic)));
        }
        let bound = if full { before } else { before.max(self.bytes_max) };
        assert!(self.backlog.bytes() <= bound, "{} bytes wait, {bound} may", self.backlog.bytes());
        // The control lane leaves before all that waits here.
        self.see(&rescued);
        self.check_sum();
        pushed
    }

    fn forget(&mut self, publisher: usize) {
        let number = self.publishers[publisher];
        self.backlog.append(|out| Frame::Forget { number }.encode(out));
        self.forgotten.push(number);
        self.publisher_last += 1;
        self.publishers[publisher] = self.publisher_last;
        self.check_sum();
    }

    fn pop(&mut self) -> bool {
        let piece = self.backlog.pop();
        self.check_sum();
        assert_eq!(piece.is_none(), self.backlog.is_empty() && piece.is_none());
        let Some(piece) = piece else { return false };
        self.see(&piece);
        true
    }

    /// Reads what leaves.
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (frame, len) = Frame::decode(bytes).expect("a frame").expect("a whole frame");
            match frame {
                Frame::Event(head, body) => self.see_event(head, body.name),
                Frame::Forget { number } => self.told.push(number),
                Frame::Lagged(lagged) => {
                    assert!(!self.last.1, "nothing of the lane between the frames of an event");
                    for (topic, count) in lagged.numbered() {
                        *self.announced.entry(topic).or_default() += count;
                    }
                    for (given, count) in lagged.named() {
                        let topic = (NUMBERED + 1..=NUMBERED + 2).find(|topic| name(*topic).as_bytes() == given);
                        *self.announced.entry(topic.expect("a topic that was pushed")).or_default() += count;
                    }
                }
                other => panic!("{other:?} was never pushed"),
            }
            bytes = &bytes[len..];
        }
    }

    fn see_event(&mut self, head: EventHead, given: Option<&[u8]>) {
        assert!(!self.told.contains(&head.publisher), "an event of publisher {} after its Forget", head.publisher);
        let (last, goes_on) = self.last;
        assert_eq!(head.flags & REST != 0, goes_on, "an event comes out whole or not at all");
        if goes_on {
            assert_eq!(head.seq, last);
        } else {
            assert!(head.seq > last, "events come out in order");
            let topic = self.pushed[&head.seq];
            assert_eq!(given.map(<[u8]>::to_vec), (topic > NUMBERED).then(|| name(topic).into_bytes()));
            let older = self.pushed.range(..head.seq).filter(|(_, of)| **of == topic).count() as u64;
            let accounted = self.of(&self.popped, topic) + self.of(&self.announced, topic);
            assert_eq!(accounted, older, "what is missing before event {} is announced before it", head.seq);
            *self.popped.entry(topic).or_default() += 1;
        }
        self.last = (head.seq, head.flags & MORE != 0);
    }

    fn of(&self, counts: &BTreeMap<u32, u64>, topic: u32) -> u64 {
        counts.get(&topic).copied().unwrap_or(0)
    }

    fn check_sum(&self) {
        let Backlog { parts, tail, after_cut, .. } = &self.backlog;
        let whole = parts.iter().map(|part| part.frames.len()).sum::<usize>() + tail.len() + after_cut.len();
        assert_eq!(self.backlog.bytes(), whole);
    }

    /// Takes all that is left, and settles the accounts.
    fn finish(mut self) {
        while self.pop() {}
        assert!(self.backlog.is_empty());
        assert!(!self.last.1, "what has begun is finished");
        for topic in 1..=NUMBERED + 2 {
            let pushed = self.pushed.values().filter(|of| **of == topic).count() as u64;
            assert_eq!(self.of(&self.popped, topic) + self.of(&self.announced, topic), pushed, "topic {topic}");
        }
        self.told.sort_unstable();
        self.forgotten.sort_unstable();
        assert_eq!(self.told, self.forgotten, "each Forget comes out once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_event_comes_out_or_is_counted_where_it_is_missing(
        policy in prop::sample::select(SlowPolicy::ALL.to_vec()),
        bytes_max in prop::sample::select(vec![100, 400, 2000, 40_000, 200_000]),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut watched = Watched::new(policy, bytes_max);
        for step in &steps {
            match step {
                Step::Push { topic, publisher, shape, full } => {
                    watched.push(*topic, *publisher, shape, *full);
                }
                Step::Forget { publisher } => watched.forget(*publisher),
                Step::Pop => {
                    watched.pop();
                }
            }
        }
        watched.finish();
    }
}

fn small(events: u64) -> Shape {
    Shape::Copied { events, len: 76 }
}

/// An event of [`small`], in bytes.
const SMALL: usize = EVENT_HEAD_BYTES + 76;

#[test]
fn forget_waits_for_the_event_that_is_half_out() {
    let mut watched = Watched::new(SlowPolicy::DropOldest, 5 * SMALL);
    watched.push(1, 0, &Shape::Shared { len: 76, pieces: 3 }, false);
    assert!(watched.pop(), "the first of three frames leaves");
    watched.forget(0);
    watched.push(2, 1, &small(1), false);
    watched.push(2, 1, &small(3), false);
    watched.push(2, 1, &small(3), false);
    assert!(watched.told.is_empty(), "publisher 1 has two frames to come");
    watched.finish();
}

#[test]
fn oldest_go_and_are_announced_first() {
    let mut watched = Watched::new(SlowPolicy::DropOldest, 3 * SMALL);
    for _ in 0..5 {
        // Long enough to be shared, so that each is dropped alone.
        watched.push(1, 0, &Shape::Shared { len: 76, pieces: 1 }, false);
    }
    assert!(watched.pop());
    assert_eq!((watched.of(&watched.announced, 1), watched.last.0), (2, 0), "the announcement comes first");
    assert!(watched.pop());
    assert_eq!(watched.last.0, 3);
    watched.finish();
}

#[test]
fn newest_go_and_are_announced_where_they_are_missing() {
    let mut watched = Watched::new(SlowPolicy::DropNewest, 3 * SMALL);
    assert_eq!(watched.push(1, 0, &small(3), false), Pushed::Waits);
    assert_eq!(watched.push(1, 0, &small(2), false), Pushed::Dropped);
    assert!(watched.pop());
    assert_eq!((watched.of(&watched.announced, 1), watched.last.0), (0, 3), "what came in time comes first");
    assert_eq!(watched.push(1, 0, &small(1), false), Pushed::Waits);
    assert!(watched.pop());
    assert_eq!((watched.of(&watched.announced, 1), watched.last.0), (2, 6));
    watched.finish();
}

#[test]
fn of_each_topic_the_last_stays() {
    let mut watched = Watched::new(SlowPolicy::LatestPerTopic, 6 * SMALL);
    for topic in [1, 2, 1, 3, 1, 2] {
        watched.push(topic, 0, &small(1), false);
    }
    assert_eq!(watched.push(3, 0, &small(1), false), Pushed::Waits);
    while watched.pop() {}
    assert_eq!(watched.popped, BTreeMap::from([(1, 1), (2, 1), (3, 2)]), "the last of topic 3 is the one that came");
    assert_eq!(watched.announced, BTreeMap::from([(1, 2), (2, 1)]));
    watched.finish();
}

#[test]
fn a_link_that_wants_to_be_closed_loses_nothing_before() {
    let mut watched = Watched::new(SlowPolicy::Disconnect, 3 * SMALL);
    assert_eq!(watched.push(1, 0, &small(3), false), Pushed::Waits);
    assert_eq!(watched.push(1, 0, &small(1), false), Pushed::Overflow);
    assert!(watched.announced.is_empty());
    watched.finish();
}

#[test]
fn a_full_hub_takes_no_more_bytes_from_any_link() {
    for policy in [SlowPolicy::DropOldest, SlowPolicy::LatestPerTopic, SlowPolicy::DropNewest] {
        let mut watched = Watched::new(policy, 100 * SMALL);
        watched.push(1, 0, &small(3), false);
        watched.push(2, 0, &small(2), true);
        assert!(watched.backlog.bytes() <= 3 * SMALL, "{policy:?}");
        watched.finish();
    }
}

#[test]
fn what_is_forgotten_on_purpose_is_not_announced() {
    let mut watched = Watched::new(SlowPolicy::DropOldest, 3 * SMALL);
    watched.push(1, 0, &small(3), false);
    watched.push(1, 0, &small(3), false);
    watched.backlog.clear();
    assert!(watched.backlog.is_empty());
    assert_eq!(watched.backlog.pop(), None);
}

#[test]
fn a_link_that_loses_events_of_ever_new_names_is_closed() {
    for policy in [SlowPolicy::DropOldest, SlowPolicy::DropNewest, SlowPolicy::LatestPerTopic] {
        let mut backlog = Backlog::new(policy, 10_000);
        let overflow = (NUMBERED + 1..1_000_000).find(|topic| {
            let frames = event(*topic, 0, 1, 10, 1);
            backlog.push(Run::Copied(&frames[0], 1), false, &mut Vec::new()) == Pushed::Overflow
        });
        assert!(overflow.is_some(), "{policy:?}: what it keeps for the announcement has no bound");
        // All that was copied together is dropped together.
        let announcement = backlog.lost.announce().len();
        assert!(announcement <= LINK_LOSSES_BYTES_MAX + FRAGMENT_BYTES_MAX, "{policy:?}: {announcement}");
    }
}
