//! Every bound of the core, with its unit and its reason. docs/protocol.md lists those a foreign implementation meets.

use std::time::Duration;

/// What one fragment of an event carries at most, in bytes: at 1 Gbit/s it keeps the lanes before it waiting half a
/// millisecond.
pub const FRAGMENT_BYTES_MAX: usize = 64 << 10;

/// The longest frame: an event's head and one fragment.
pub const FRAME_BYTES_MAX: usize = crate::frame::EVENT_HEAD_BYTES + FRAGMENT_BYTES_MAX;

/// What a hub accepts as one payload (headers included) unless configured otherwise, in bytes.
pub const PAYLOAD_BYTES_DEFAULT: usize = 1 << 20;

/// What a hub can be configured to accept as one payload, in bytes. A payload is collected whole before it is routed.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// Names and values of one event's headers together, in bytes: trace context and a few dozen pairs.
pub const HEADERS_BYTES_MAX: usize = 16 << 10;

/// The first frame of a link, in bytes: a Hello with the longest names is a tenth of it.
pub const HELLO_BYTES_MAX: usize = 16 << 10;

/// All that a link may send before it has joined, in bytes.
pub const BEFORE_JOIN_BYTES_MAX: usize = 64 << 10;

/// How long a link may take to join: a slow human is not on the other end.
pub const JOIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Links of a hub. An idle one costs about a kilobyte.
pub const LINKS_MAX: usize = 10_000;

/// Subscriptions of one link.
pub const SUBSCRIPTIONS_PER_LINK_MAX: usize = 10_000;

/// Subscriptions of a hub.
pub const SUBSCRIPTIONS_MAX: usize = 2_000_000;

/// What may wait in the bulk lane of one link before its slow policy decides, in bytes: a second of a busy 64 Mbit/s
/// reader.
pub const LINK_BULK_BYTES_MAX: usize = 8 << 20;

/// What may wait in the bulk lanes of all links of a hub, in bytes. When it is reached every link counts as full that has
/// its share of it, which is the same for all links that there may be: those who read feel nothing. So it may be exceeded
/// by as much again.
pub const HUB_BULK_BYTES_MAX: usize = 1 << 30;

/// What may wait in the control lane of one link, in bytes. Beats, answers and numbers are a few dozen bytes each; a
/// link that lets so many pile up does not read, and is closed.
pub const LINK_CONTROL_BYTES_MAX: usize = 1 << 20;

/// What the announcement of events that a link lost may have, in bytes, before the link is closed: some ten thousand names
/// without a number. Until a link takes something each such name that it lost an event of is kept for the announcement,
/// and a publisher can make up new ones for ever.
pub const LINK_LOSSES_BYTES_MAX: usize = 1 << 20;

/// Above this many bytes waiting in the control lane no more topic numbers are given to a link; it gets names instead.
pub const LINK_NUMBERS_BYTES_MAX: usize = 256 << 10;

/// What may wait in the calls lane of one link, in bytes.
pub const LINK_CALLS_BYTES_MAX: usize = 8 << 20;

/// What the shell is handed to write at once, in bytes: what a loopback socket takes well, and what a beat may wait
/// behind.
pub const TRANSMIT_BYTES: usize = 256 << 10;

/// Frames at least this long are shared between links instead of copied to each. Smaller ones cost less to copy than
/// to count, and would pin the whole buffer that they were read into.
pub const SHARED_FRAME_BYTES_MIN: usize = 16 << 10;

/// Topics that have a number in a hub at one time. Beyond it events travel under their names: slower, not lost.
pub const TOPICS_MAX: usize = 1 << 18;

/// Topic numbers one link may hold, so that no link takes the whole table.
pub const TOPICS_PER_LINK_MAX: usize = 1 << 16;

/// Incarnations a hub remembers for nodes that are away, oldest forgotten first.
pub const SESSIONS_AWAY_MAX: usize = 10_000;

/// How long an incarnation is remembered after its node was last heard.
pub const SESSION_AWAY_TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Pings a hub has forwarded and not yet seen answered.
pub const PINGS_MAX: usize = 4096;

/// How long the hub waits for a node to answer a ping.
pub const PING_TIME_MAX: Duration = Duration::from_secs(10);

/// How often a link that offers or follows nothing says that it is alive.
pub const BEAT: Duration = Duration::from_secs(15);

/// How often a link that offers or follows something says that it is alive.
pub const BEAT_ATTENTIVE: Duration = Duration::from_secs(1);

/// After so many beats without a byte a link is dead.
pub const BEATS_DEAD: u32 = 6;

/// A link that takes nothing for so long, although something waits for it, is closed.
pub const STUCK_TIME_MAX: Duration = Duration::from_secs(10);

/// A turn that comes later than this after it was due means that the hub itself stood still; what others owed it in
/// that time is forgiven.
pub const STALL: Duration = Duration::from_millis(250);

/// The shortest and the longest pause before a node tries its address again; the real one is random below the bound
/// that doubles from the first to the second.
pub const RETRY_MIN: Duration = Duration::from_millis(50);
/// See [`RETRY_MIN`].
pub const RETRY_MAX: Duration = Duration::from_secs(5);

/// What may wait for one subscription that its program does not read, in bytes.
pub const SUBSCRIPTION_BYTES_MAX: usize = 8 << 20;

/// What a node's own outgoing buffer takes before `publish` waits, in bytes.
pub const NODE_BULK_BYTES_MAX: usize = 2 << 20;

/// Requests (subscribe, confirm, ping, barrier) of one node without an answer yet.
pub const REQUESTS_MAX: usize = 65_536;
