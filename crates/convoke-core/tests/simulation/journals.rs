//! Worlds in which most of what happens has to do with journals.

use std::ops::Range;

use convoke_core::sim::{Report, Sim};

use super::{number, run};

/// Seeds that every run tries: some forty seconds of one core.
const SEEDS: u64 = 2000;

fn seeds() -> Range<u64> {
    Sim::JOURNALS..Sim::JOURNALS + SEEDS
}

#[test]
fn every_promise_of_journals_holds_in_every_fixed_world() {
    if number("CONVOKE_SEED").is_some() {
        return;
    }
    println!("seeds {} to {}", seeds().start, seeds().end - 1);
    let mut all = Report::default();
    for seed in seeds() {
        let report = run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        for (sum, more) in [
            (&mut all.entries, report.entries),
            (&mut all.appended, report.appended),
            (&mut all.undone, report.undone),
            (&mut all.appends_refused, report.appends_refused),
            (&mut all.followed, report.followed),
            (&mut all.replicas, report.replicas),
            (&mut all.restores, report.restores),
            (&mut all.diverged, report.diverged),
            (&mut all.reads, report.reads),
            (&mut all.unknown_writes, report.unknown_writes),
            (&mut all.not_kept, report.not_kept),
            (&mut all.uncertain, report.uncertain),
            (&mut all.hub_starts, report.hub_starts),
            (&mut all.resumed, report.resumed),
            (&mut all.fenced, report.fenced),
        ] {
            *sum += more;
        }
    }
    println!("{all:?}");
}
