//! The bodies of the fuzz targets, on any toolchain: what `fuzz/corpus` holds, and changes of it. See fuzz/README.md.

#[path = "../../../fuzz/bodies/frames.rs"]
mod frames;
#[path = "../../../fuzz/bodies/hub.rs"]
mod hub;
#[path = "../../../fuzz/bodies/names.rs"]
mod names;
#[path = "../../../fuzz/bodies/replay.rs"]
mod replay;
#[path = "../../../fuzz/bodies/rights.rs"]
mod rights;

use replay::replay;

/// Changes of each file: some seconds of one core together.
const CHANGES: u32 = 300;

#[test]
fn arbitrary_bytes_as_frames_hurt_nobody() {
    replay("frames", CHANGES * 4, frames::frames);
}

#[test]
fn arbitrary_bytes_as_names_are_judged_as_the_rules_say() {
    replay("names", CHANGES * 4, names::names);
}

#[test]
fn arbitrary_bytes_as_rules_are_judged_as_the_pages_say() {
    replay("rights", CHANGES, rights::rights);
}

#[test]
fn arbitrary_bytes_as_a_script_leave_a_hub_whole_and_empty() {
    replay("hub", CHANGES, hub::hub);
}
