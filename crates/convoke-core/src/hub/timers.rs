//! The deadlines of a hub, each at most once, in the order in which they come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::LinkId;
use super::journals::AwaitKey;
use crate::frame::Incarnation;
use crate::time::Time;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The link must have joined.
    Join(LinkId),
    /// Something must have been heard from the link.
    Silent(LinkId),
    /// The link must have taken something.
    Stuck(LinkId),
    /// The frame that has begun to come must be whole.
    Frame(LinkId),
    /// A refusal that was held back may go.
    Release(LinkId),
    /// The ping must have been answered.
    Ping(u32),
    /// Some node without a link may be dead, or removed.
    Members,
    /// Those who watch the hub are told what has changed.
    Report,
    /// The watches of the next link may look further.
    Look,
    /// Values whose time is over go.
    Expire,
    /// What nobody will ask for again is to be forgotten, and there was no room to keep that.
    Forget,
    /// What withdrawn members of groups have left may be searched for again.
    Adopt,
    /// The wait for members of a journal is answered in any case.
    Await(AwaitKey),
    /// Members of before the hub's start must have come back.
    Returned,
    /// There may be room for entries that say who is a member.
    Announce,
    /// The incarnation must have come back, or what belongs to it goes.
    Owner(Incarnation),
}

/// All deadlines. Setting and clearing one costs the logarithm of how many there are.
#[derive(Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Time, Timer)>,
    due: BTreeMap<Timer, Time>,
}

impl Timers {
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// Sets a deadline, in place of an earlier one for the same.
    pub(super) fn set(&mut self, due: Time, timer: Timer) {
        if let Some(before) = self.due.insert(timer, due) {
            self.by_time.remove(&(before, timer));
        }
        self.by_time.insert((due, timer));
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.due.contains_key(&timer)
    }

    /// For when it is set.
    pub(super) fn due(&self, timer: Timer) -> Option<Time> {
        self.due.get(&timer).copied()
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(due) = self.due.remove(&timer) {
            self.by_time.remove(&(due, timer));
        }
    }

    /// When the next one comes.
    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Takes the next one out, if it has come.
    pub(super) fn pop(&mut self, now: Time) -> Option<Timer> {
        let &(due, timer) = self.by_time.first()?;
        if due > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }

    /// Moves all by the same time.
    pub(super) fn postpone(&mut self, by: Duration) {
        for due in self.due.values_mut() {
            *due = *due + by;
        }
        self.by_time = self.due.iter().map(|(timer, due)| (*due, *timer)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_set_again_cleared_and_postponed() {
        let at = |seconds: u64| Time::START + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.set(at(2), Timer::Ping(1));
        timers.set(at(1), Timer::Ping(2));
        timers.set(at(3), Timer::Ping(2));
        assert_eq!((timers.len(), timers.next()), (2, Some(at(2))));
        timers.postpone(Duration::from_secs(10));
        assert_eq!(timers.pop(at(11)), None);
        assert_eq!(timers.pop(at(12)), Some(Timer::Ping(1)));
        timers.clear(Timer::Ping(2));
        assert_eq!((timers.len(), timers.next(), timers.pop(at(99))), (0, None, None));
    }
}
