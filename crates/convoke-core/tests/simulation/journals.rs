//! Worlds in which most of what happens has to do with journals.

use std::ops::Range;

use convoke_core::bug::Bug;
use convoke_core::sim::{Checker, Report, Sim};

use super::{caught, number, run};

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

/// Each with the checker that must catch it.
pub(crate) const BUGS: [(Bug, Checker); 25] = [
    (Bug::AppendAcknowledgedTooEarly, Checker::Journals),
    (Bug::AppendAppliedTooEarly, Checker::Journals),
    (Bug::AppendsForgotten, Checker::Journals),
    (Bug::NumbersShared, Checker::Journals),
    (Bug::LastEntryAgain, Checker::Journals),
    (Bug::LivePathBeside, Checker::Journals),
    (Bug::ResentInAnotherOrder, Checker::Journals),
    (Bug::TopNotExpected, Checker::Journals),
    (Bug::RedoSurvivesCommand, Checker::Journals),
    (Bug::GroupUndoneInPart, Checker::Journals),
    (Bug::DivergedMissed, Checker::Journals),
    (Bug::FollowerResumesLate, Checker::Journals),
    (Bug::QueueGoesWithLink, Checker::Journals),
    (Bug::EntryOfFailedCommit, Checker::Journals),
    (Bug::WindowDroppedTooEarly, Checker::Journals),
    (Bug::AuthorOfAnotherNode, Checker::Journals),
    (Bug::HorizonIgnored, Checker::Journals),
    (Bug::ScopeIgnored, Checker::Journals),
    (Bug::ExpectedLastIgnored, Checker::Journals),
    (Bug::UnitsForgotten, Checker::Journals),
    (Bug::UnitsTooLate, Checker::Journals),
    (Bug::MemoryOffByOne, Checker::Journals),
    (Bug::ReplicaTooNear, Checker::Journals),
    (Bug::CreditForgotten, Checker::Journals),
    (Bug::FollowersNotRestored, Checker::Journals),
];

#[test]
fn every_planted_bug_of_journals_is_caught_by_the_checker_of_its_promise() {
    for (bug, checker) in BUGS {
        let failure = caught(bug, checker, seeds());
        println!("{bug:?}: seed {}, {:?}: {}", failure.seed, failure.checker, failure.sentence);
    }
}
#[test]
fn survey() {
    for (bug, _) in BUGS {
        plant_and_survey(bug);
    }
}
fn plant_and_survey(bug: Bug) {
    use std::collections::BTreeMap;
    convoke_core::bug::plant(Some(bug));
    let mut seen: BTreeMap<String, (u32, u64, String)> = BTreeMap::new();
    let count: u64 = std::env::var("SURVEY").ok().and_then(|v| v.parse().ok()).unwrap_or(0);
    for seed in seeds().take(count as usize) {
        let result = std::panic::catch_unwind(|| run(seed));
        let (key, text) = match result { Ok(Err(f)) => (format!("{:?}", f.checker), f.sentence), Ok(Ok(_)) => continue, Err(_) => ("PANIC".into(), String::new()) };
        let e = seen.entry(key).or_insert((0, seed, text));
        e.0 += 1;
    }
    convoke_core::bug::plant(None);
    println!("SURVEY {bug:?}: {seen:#?}");
}
