//! One direction of a link: bytes on their way, in pieces of any size, and what has arrived and was not read.

use std::collections::VecDeque;
use std::time::Duration;

use super::dice::Dice;
use crate::time::Time;

/// How a link behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) latency: Duration,
    pub(super) capacity: usize,
    pub(super) piece: usize,
}

#[derive(Debug)]
pub(super) struct Pipe {
    line: Line,
    flying: VecDeque<(Time, Vec<u8>)>,
    arrived: Vec<u8>,
    bytes: usize,
    due_last: Time,
    /// What is written from here on goes nowhere, and seems to succeed.
    dead: bool,
    /// The end is on its way behind the bytes; then whether it is there.
    end: Option<Time>,
    /// The writer waits for room.
    pub(super) blocked: bool,
}

impl Pipe {
    pub(super) fn new(line: Line) -> Pipe {
        Pipe {
            line,
            flying: VecDeque::new(),
            arrived: Vec::new(),
            bytes: 0,
            due_last: Time::START,
            dead: false,
            end: None,
            blocked: false,
        }
    }

    /// Bytes that were written and not read.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Takes what there is room for; tells how much, and when the pieces will arrive.
    pub(super) fn write(&mut self, data: &[u8], now: Time, dice: &mut Dice, arrivals: &mut Vec<Time>) -> usize {
        if self.dead {
            return data.len();
        }
        let taken = data.len().min(self.line.capacity.saturating_sub(self.bytes));
        let mut rest = &data[..taken];
        while !rest.is_empty() {
            let size = match dice.below(16) {
                0 => 1 + dice.below(8),
                _ => 1 + dice.below(self.line.piece),
            };
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            let jitter = Duration::from_nanos(dice.number() % (self.line.latency.as_nanos() as u64 / 2 + 1));
            self.due_last = self.due_last.max(now + self.line.latency + jitter);
            self.flying.push_back((self.due_last, piece.to_vec()));
            arrivals.push(self.due_last);
        }
        self.bytes += taken;
        taken
    }

    /// Puts what is due where it can be read.
    pub(super) fn arrive(&mut self, now: Time) {
        while self.flying.front().is_some_and(|(due, _)| *due <= now)
            && let Some((_, piece)) = self.flying.pop_front()
        {
            self.arrived.extend_from_slice(&piece);
        }
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        self.bytes -= self.arrived.len();
        std::mem::take(&mut self.arrived)
    }

    /// Everything was read, and the end has come.
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.arrived.is_empty() && self.flying.is_empty() && self.end.is_some_and(|end| end <= now)
    }

    /// The writer closes: what is on its way arrives, then the end. Tells when.
    pub(super) fn close(&mut self, late: Duration, now: Time) -> Time {
        self.dead = true;
        let end = self.due_last.max(now) + late;
        self.end = Some(self.end.unwrap_or(end));
        end
    }

    /// Cut: of what is on its way only a beginning arrives, up to any byte.
    pub(super) fn cut(&mut self, dice: &mut Dice) {
        self.dead = true;
        if dice.once_in(3) {
            return;
        }
        let total: usize = self.flying.iter().map(|(_, piece)| piece.len()).sum();
        let mut keep = dice.below(total + 1);
        for (_, piece) in &mut self.flying {
            let kept = piece.len().min(keep);
            self.bytes -= piece.len() - kept;
            piece.truncate(kept);
            keep -= kept;
        }
    }

    /// The whole world stood still for so long.
    pub(super) fn shift(&mut self, by: Duration) {
        for (due, _) in &mut self.flying {
            *due = *due + by;
        }
        self.due_last = self.due_last + by;
        self.end = self.end.map(|end| end + by);
    }
}
