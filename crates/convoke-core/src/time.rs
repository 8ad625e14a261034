//! Time as the core sees it: a number of nanoseconds that only grows, given by whoever runs the state machine.

use std::ops::Add;
use std::time::Duration;

/// A point in monotonic time, in nanoseconds since a start that the shell chose.
///
/// The core never reads a clock. Every function that needs the time takes it as its last argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The shell's start.
    pub const START: Time = Time(0);

    /// Later than anything that is due.
    pub(crate) const FAR: Time = Time(u64::MAX);

    /// The point `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long it is until then, in whole milliseconds, of which one is never over too soon: zero would say something else.
    pub(crate) fn left_ms(self, now: Time) -> u32 {
        u32::try_from(self.since(now).as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates after 584 years.
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}
