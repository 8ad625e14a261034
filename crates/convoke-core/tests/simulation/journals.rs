//! Worlds in which most of what happens has to do with journals.

use std::ops::Range;

use convoke_core::bug::Bug;
use convoke_core::sim::{Checker, Report, Sim};

use super::{caught, fresh_seed, number, run};

/// Seeds that every run tries: some thirty seconds of one core.
const SEEDS: u64 = 3000;

/// Fresh seeds that every run tries beside them.
const SEEDS_FRESH: u64 = 20;

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
            (&mut all.presence, report.presence),
            (&mut all.restores, report.restores),
            (&mut all.diverged, report.diverged),
            (&mut all.reads, report.reads),
            (&mut all.unknown_writes, report.unknown_writes),
            (&mut all.not_kept, report.not_kept),
            (&mut all.uncertain, report.uncertain),
            (&mut all.hub_starts, report.hub_starts),
            (&mut all.resumed, report.resumed),
            (&mut all.fenced, report.fenced),
            (&mut all.waits_reached, report.waits_reached),
            (&mut all.waits_over, report.waits_over),
            (&mut all.statuses, report.statuses),
            (&mut all.snapshots, report.snapshots),
            (&mut all.based, report.based),
            (&mut all.compacted, report.compacted),
        ] {
            *sum += more;
        }
    }
    println!("{all:?}");
    // Worlds in which little happens prove little.
    assert!(all.appended > 50 * SEEDS && all.undone > 5 * SEEDS && all.appends_refused > 20 * SEEDS, "{all:?}");
    assert!(all.followed > 100 * SEEDS && all.replicas > 20 * SEEDS && all.reads > 20 * SEEDS, "{all:?}");
    assert!(all.hub_starts > 2 * SEEDS && all.resumed > 2 * SEEDS && all.fenced > SEEDS / 4, "{all:?}");
    assert!(all.not_kept > 5 * SEEDS && all.uncertain > 5 * SEEDS && all.unknown_writes > 5 * SEEDS, "{all:?}");
    assert!(all.waits_reached > SEEDS && all.waits_over > SEEDS / 2 && all.statuses > SEEDS / 40, "{all:?}");
    assert!(all.snapshots > SEEDS / 20 && all.based > SEEDS / 60 && all.compacted > SEEDS / 300, "{all:?}");
    assert!(all.restores > SEEDS / 10 && all.diverged > SEEDS / 20 && all.presence > SEEDS, "{all:?}");
}

#[test]
fn every_promise_of_journals_holds_in_fresh_worlds() {
    let first = fresh_seed() & !Sim::RIGHTS | Sim::JOURNALS;
    let count = number("CONVOKE_SEEDS").unwrap_or(SEEDS_FRESH);
    println!("seeds {first} and the {} after it", count - 1);
    for place in 0..count {
        run(first + place).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn a_seed_decides_everything_about_journals() {
    let hash = |seed| run(seed).unwrap_or_else(|failure| panic!("{failure}")).trace_hash;
    for seed in seeds().take(8) {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
    }
}

/// Each with the checker that must catch it.
pub(crate) const BUGS: [(Bug, Checker); 34] = [
    (Bug::AppendAcknowledgedTooEarly, Checker::Journals),
    (Bug::AppendAppliedTooEarly, Checker::Journals),
    (Bug::AppendsForgotten, Checker::Journals),
    (Bug::NumbersShared, Checker::Journals),
    (Bug::LastEntryAgain, Checker::Journals),
    (Bug::LivePathBeside, Checker::Protocol),
    (Bug::ResentInAnotherOrder, Checker::Journals),
    (Bug::TopNotExpected, Checker::Journals),
    (Bug::RedoSurvivesCommand, Checker::Undo),
    (Bug::GroupUndoneInPart, Checker::Undo),
    (Bug::DivergedMissed, Checker::Journals),
    (Bug::FollowerResumesLate, Checker::Protocol),
    (Bug::QueueGoesWithLink, Checker::Journals),
    (Bug::EntryOfFailedCommit, Checker::Journals),
    (Bug::WindowDroppedTooEarly, Checker::Answers),
    (Bug::AuthorOfAnotherNode, Checker::Journals),
    (Bug::HorizonIgnored, Checker::Undo),
    (Bug::ScopeIgnored, Checker::Journals),
    (Bug::ExpectedLastIgnored, Checker::Journals),
    (Bug::UnitsForgotten, Checker::Journals),
    (Bug::UnitsTooLate, Checker::Journals),
    (Bug::MemoryOffByOne, Checker::Protocol),
    (Bug::ReplicaTooNear, Checker::Undo),
    (Bug::FollowersNotRestored, Checker::Journals),
    (Bug::WayIgnored, Checker::Journals),
    (Bug::MembersForgotten, Checker::Journals),
    (Bug::InversesInOrder, Checker::Undo),
    (Bug::LastMemberNotAwaited, Checker::Journals),
    (Bug::WaitsNotPassed, Checker::Journals),
    (Bug::ReturnNotAwaited, Checker::Journals),
    (Bug::FasterFollowerCounts, Checker::Journals),
    (Bug::StatusNotFenced, Checker::Journals),
    (Bug::CompactsBeyondSnapshot, Checker::Journals),
    (Bug::SnapshotOfAnotherPlace, Checker::Journals),
];

#[test]
fn every_planted_bug_of_journals_is_caught_by_the_checker_of_its_promise() {
    for (bug, checker) in BUGS {
        let failure = caught(bug, checker, seeds());
        println!("{bug:?}: seed {}, {:?}: {}", failure.seed, failure.checker, failure.sentence);
    }
}
