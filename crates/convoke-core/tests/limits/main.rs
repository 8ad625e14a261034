//! Limits of a hub, each reached by a test, with what it counts and tells about them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../bad_frames/bench.rs"]
#[allow(dead_code, reason = "it is shared with the tests of bad frames")]
mod bench;
mod counted;
