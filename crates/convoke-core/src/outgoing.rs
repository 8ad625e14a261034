//! What waits to be written on one link: four lanes, each with a bound, and the order in which they leave.
//!
//! Control (beats, answers, numbers) leaves before calls, calls before values and bulk (events), always at the end of a
//! frame. Values and bulk take turns, so that neither waits for all of the other.
//! The shell takes up to [`TRANSMIT_BYTES`] at a time as a [`Transmit`], writes it, and comes back; what it took is on its
//! way and can no longer be overtaken or dropped, so a beat waits behind at most that much. Memory is held only for what
//! waits: an idle link holds none.

mod backlog;

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

pub(crate) use backlog::{Backlog, Pushed, Run};

use crate::bug::{Bug, planted};
use crate::limits::TRANSMIT_BYTES;

/// What the hub does with the events for a link that reads more slowly than they come, once its bound is reached. What is
/// lost is announced to the subscriber, with the exact count, where it is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SlowPolicy {
    /// The oldest waiting events go.
    #[default]
    DropOldest = 0,
    /// The newest events go.
    DropNewest = 1,
    /// Of each topic only the last waiting event is kept; where that frees less than a quarter of the bound, the oldest
    /// go too.
    LatestPerTopic = 2,
    /// The link is closed.
    Disconnect = 3,
}

impl SlowPolicy {
    /// All policies, in the order of their numbers.
    pub const ALL: [SlowPolicy; 4] =
        [SlowPolicy::DropOldest, SlowPolicy::DropNewest, SlowPolicy::LatestPerTopic, SlowPolicy::Disconnect];

    /// The policy with this number.
    pub const fn from_number(number: u8) -> Option<SlowPolicy> {
        match number {
            0 => Some(SlowPolicy::DropOldest),
            1 => Some(SlowPolicy::DropNewest),
            2 => Some(SlowPolicy::LatestPerTopic),
            3 => Some(SlowPolicy::Disconnect),
            _ => None,
        }
    }
}

/// Bytes that the shell has taken to write, in pieces.
#[derive(Debug, Default)]
pub struct Transmit {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// The link shall be closed once this is written.
    pub close: bool,
    /// The link shall be cut now, whatever is left to write.
    pub abort: bool,
}

impl Transmit {
    /// Nothing to write.
    pub fn new() -> Transmit {
        Transmit::default()
    }

    /// These bytes to write, for a connection that never becomes a link.
    pub fn of(bytes: Bytes) -> Transmit {
        let mut transmit = Transmit::default();
        transmit.push(bytes);
        transmit
    }

    /// How many bytes are left to write.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The pieces that are left, in order, for one vectored write.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &piece[..])
    }

    /// Takes the next piece out whole; for shells that pass bytes on instead of writing them.
    pub fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }

    /// Forgets the first `written` bytes.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn advance(&mut self, mut written: usize) {
        assert!(written <= self.bytes, "no more can be written than there was");
        self.bytes -= written;
        while written > 0 {
            let first = self.pieces.front_mut().expect("the pieces are as long as their sum");
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pieces.pop_front();
        }
    }

    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }
}

/// The four lanes of one link.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) control: Vec<u8>,
    pub(crate) calls: Vec<u8>,
    /// Calls that were put into their lane on their way to a provider, in all.
    pub(crate) calls_appended: u64,
    /// How many of them had been, when the shell took that lane last: it takes it whole.
    pub(crate) calls_taken: u64,
    pub(crate) values: Vec<u8>,
    pub(crate) bulk: Backlog,
    /// Values left last.
    bulk_next: bool,
}

impl Lanes {
    pub(crate) fn new(policy: SlowPolicy, bulk_bytes_max: usize) -> Lanes {
        Lanes {
            control: Vec::new(),
            calls: Vec::new(),
            calls_appended: 0,
            calls_taken: 0,
            values: Vec::new(),
            bulk: Backlog::new(policy, bulk_bytes_max),
            bulk_next: false,
        }
    }

    /// Forgets all events that wait.
    pub(crate) fn discard_bulk(&mut self) {
        self.bulk.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.calls.is_empty() && self.values.is_empty() && self.bulk.is_empty()
    }

    /// Moves what leaves next to `transmit`, if that is empty.
    pub(crate) fn transmit(&mut self, transmit: &mut Transmit) {
        if !transmit.is_empty() {
            return;
        }
        if planted(Bug::NumbersAfterEvents)
            && let Some(piece) = self.bulk.pop()
        {
            transmit.push(piece);
        }
        for lane in [&mut self.control, &mut self.calls] {
            if !lane.is_empty() {
                transmit.push(Bytes::from(std::mem::take(lane)));
            }
        }
        self.calls_taken = self.calls_appended;
        if !self.bulk_next && !self.values.is_empty() {
            transmit.push(Bytes::from(std::mem::take(&mut self.values)));
            self.bulk_next = true;
        } else {
            self.bulk_next = false;
        }
        while transmit.bytes < TRANSMIT_BYTES {
            let Some(piece) = self.bulk.pop() else { break };
            transmit.push(piece);
        }
        if transmit.bytes < TRANSMIT_BYTES && !self.values.is_empty() {
            transmit.push(Bytes::from(std::mem::take(&mut self.values)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LINK_VALUES_BYTES_MAX;

    /// A frame of this kind and length.
    fn frame(kind: u8, len: usize) -> Vec<u8> {
        let mut frame = (len as u32).to_le_bytes().to_vec();
        frame.resize(len, kind);
        frame
    }

    fn fill(lanes: &mut Lanes) {
        lanes.bulk.append(|out| out.extend(frame(3, 100)));
        lanes.calls.extend(frame(2, 50));
        lanes.control.extend(frame(1, 30));
        lanes.bulk.append(|out| out.extend(frame(3, 100)));
        lanes.control.extend(frame(1, 20));
    }

    fn whole(transmit: &Transmit) -> Vec<u8> {
        transmit.pieces().flatten().copied().collect()
    }

    #[test]
    fn control_leaves_before_calls_and_calls_before_bulk() {
        let mut lanes = Lanes::new(SlowPolicy::default(), 1000);
        let mut transmit = Transmit::new();
        fill(&mut lanes);
        lanes.transmit(&mut transmit);
        let expected = [frame(1, 30), frame(1, 20), frame(2, 50), frame(3, 100), frame(3, 100)].concat();
        assert_eq!(whole(&transmit), expected);
        assert!(lanes.is_empty());
    }

    /// Values of this many bytes, and so many of bulk in pieces of 60 KiB.
    fn fill_both(lanes: &mut Lanes, values: usize, bulk: usize) {
        lanes.values.extend(frame(4, values));
        let piece = Bytes::from(frame(3, 60 << 10));
        for _ in 0..bulk.div_ceil(piece.len()) {
            lanes.bulk.push(Run::Shared(std::slice::from_ref(&piece)), false, &mut Vec::new());
        }
    }

    /// The kinds of what leaves next, each once for a run of them.
    fn next(lanes: &mut Lanes) -> Vec<u8> {
        let mut transmit = Transmit::new();
        lanes.transmit(&mut transmit);
        let bytes = whole(&transmit);
        let (mut rest, mut kinds) = (&bytes[..], Vec::new());
        while let Some(&[l0, l1, l2, l3, kind]) = rest.get(..5) {
            kinds.push(kind);
            rest = &rest[u32::from_le_bytes([l0, l1, l2, l3]) as usize..];
        }
        assert!(rest.is_empty(), "whole frames");
        kinds.dedup();
        kinds
    }

    #[test]
    fn control_and_calls_leave_before_values_and_bulk() {
        let mut lanes = Lanes::new(SlowPolicy::default(), 1000);
        fill(&mut lanes);
        lanes.values.extend(frame(4, 70));
        assert_eq!(next(&mut lanes), [1, 2, 4, 3]);
        assert!(lanes.is_empty());
        lanes.values.extend(frame(4, 70));
        assert!(!lanes.is_empty(), "values wait too");
        fill(&mut lanes);
        assert_eq!(next(&mut lanes), [1, 2, 3, 4], "now it is the turn of bulk");
        assert!(lanes.is_empty());
    }

    #[test]
    fn values_and_bulk_take_turns() {
        let mut lanes = Lanes::new(SlowPolicy::default(), 10 << 20);
        fill_both(&mut lanes, TRANSMIT_BYTES, 2 << 20);
        let mut turns = Vec::new();
        while !lanes.is_empty() {
            turns.push(next(&mut lanes));
            if lanes.values.is_empty() && turns.len() < 6 {
                lanes.values.extend(frame(4, TRANSMIT_BYTES));
            }
        }
        assert_eq!(turns[..6], [[4], [3], [4], [3], [4], [3]], "neither waits for all of the other");
        assert_eq!(turns[6], [4], "what was left");
    }

    #[test]
    fn a_few_values_wait_for_one_turn_of_bulk_at_most() {
        let mut lanes = Lanes::new(SlowPolicy::default(), 10 << 20);
        fill_both(&mut lanes, 100, 4 << 20);
        assert_eq!(next(&mut lanes), [4, 3], "with room for bulk behind them");
        for _ in 0..3 {
            lanes.values.extend(frame(4, 100));
            assert_eq!(next(&mut lanes), [3]);
            assert_eq!(next(&mut lanes), [4, 3]);
        }
    }

    #[test]
    fn a_beat_waits_behind_a_bounded_part_of_values_and_bulk() {
        let mut lanes = Lanes::new(SlowPolicy::default(), 10 << 20);
        fill_both(&mut lanes, LINK_VALUES_BYTES_MAX, 4 << 20);
        for _ in 0..4 {
            let mut transmit = Transmit::new();
            lanes.transmit(&mut transmit);
            assert!(transmit.len() <= 2 * TRANSMIT_BYTES + (60 << 10), "{} bytes", transmit.len());
            lanes.values.extend(frame(4, LINK_VALUES_BYTES_MAX));
        }
        lanes.control.extend(frame(1, 16));
        assert_eq!(next(&mut lanes)[0], 1);
    }

    #[test]
    fn what_the_shell_took_is_not_overtaken() {
        let mut lanes = Lanes::new(SlowPolicy::default(), 1000);
        let mut transmit = Transmit::new();
        fill(&mut lanes);
        lanes.transmit(&mut transmit);
        let taken = whole(&transmit);
        transmit.advance(taken.len() - 1);
        lanes.control.extend(frame(1, 40));
        lanes.transmit(&mut transmit);
        assert_eq!(transmit.len(), 1, "the last byte of a frame goes before the next frame");
        transmit.advance(1);
        lanes.transmit(&mut transmit);
        assert_eq!(whole(&transmit), frame(1, 40));
    }

    #[test]
    fn a_beat_waits_behind_a_bounded_part_of_the_bulk() {
        let mut lanes = Lanes::new(SlowPolicy::default(), 10 << 20);
        let piece = Bytes::from(frame(3, 60 << 10));
        for _ in 0..50 {
            lanes.bulk.push(Run::Shared(std::slice::from_ref(&piece)), false, &mut Vec::new());
        }
        let mut transmit = Transmit::new();
        lanes.transmit(&mut transmit);
        assert!(transmit.len() < TRANSMIT_BYTES + piece.len());
        assert_eq!(transmit.len() % piece.len(), 0, "whole frames");
        lanes.control.extend(frame(1, 16));
        transmit.advance(transmit.len());
        lanes.transmit(&mut transmit);
        assert_eq!(whole(&transmit)[..16], frame(1, 16));
    }

    #[test]
    fn bytes_are_written_in_any_portions() {
        let expected = [frame(1, 50), frame(2, 50), frame(3, 200)].concat();
        for portion in 1..=expected.len() {
            let mut transmit = Transmit::new();
            for piece in [&expected[..50], &expected[50..100], &expected[100..]] {
                transmit.push(Bytes::copy_from_slice(piece));
            }
            let mut written = Vec::new();
            while !transmit.is_empty() {
                let left = whole(&transmit);
                assert_eq!(left.len(), transmit.len());
                let now = portion.min(left.len());
                written.extend_from_slice(&left[..now]);
                transmit.advance(now);
            }
            assert_eq!(written, expected, "{portion} bytes at a time");
            assert_eq!(transmit.pop(), None);
        }
    }

    #[test]
    fn policies_have_the_numbers_of_their_order() {
        for (number, policy) in SlowPolicy::ALL.into_iter().enumerate() {
            assert_eq!(SlowPolicy::from_number(number as u8), Some(policy));
        }
        assert_eq!(SlowPolicy::from_number(4), None);
    }
}
