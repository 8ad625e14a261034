//! Limits of a hub, each reached by a test, with what it counts and tells about them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../bad_frames/bench.rs"]
#[allow(dead_code, reason = "it is shared with the tests of bad frames")]
mod bench;
mod counted;
mod journals;
mod listed;
mod reached;
mod reports;
mod sources;

use bench::{Bench, PROOF, Wire, encoded, hello, welcome};
use convoke_core::frame::Preface;

/// One more link, joined under this name, that has heard nothing yet.
fn join(bench: &mut Bench, name: &str) -> Wire {
    let mut wire = Wire::new(&mut bench.hub);
    let words = [&Preface::OURS.encode()[..], &hello(name.as_bytes(), None), &encoded(&PROOF)].concat();
    wire.say(&mut bench.hub, &words, bench.now);
    wire.publisher = welcome(&wire.heard.split_off(Preface::BYTES + 72));
    wire.heard.clear();
    wire
}

/// How much of a limit is used, and how much there may be.
fn usage(bench: &Bench, name: &str) -> (u64, u64) {
    let all = bench.hub.usage();
    let limit = all.iter().find(|limit| limit.name == name).unwrap_or_else(|| panic!("a limit `{name}`"));
    (limit.used, limit.most)
}
