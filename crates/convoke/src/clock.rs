//! The clock of this process: one for all its hubs and nodes.

use std::sync::OnceLock;
use std::time::Instant;

use convoke_core::Time;

/// The time since this was first asked.
pub(crate) fn now() -> Time {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    Time::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
