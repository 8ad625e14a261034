//! Many small worlds in which everything goes wrong that can. Each is a seed; a failure says which, and runs again:
//!
//! ```text
//! CONVOKE_SEED=17 cargo test -p convoke-core --features sim --test simulation     one seed
//! CONVOKE_SEEDS=5000 cargo test -p convoke-core --features sim --test simulation  so many fresh ones
//! ```

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use convoke_core::sim::{Failure, Report, Sim};

/// Random things that happen in one world.
const STEPS: u32 = 300;

/// Seeds that every run tries.
const SEEDS: u64 = 300;

fn run(seed: u64) -> Result<Report, Failure> {
    Sim::new(seed).run(STEPS)
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn all(seeds: impl Iterator<Item = u64>) -> Vec<Report> {
    seeds.map(|seed| run(seed).unwrap_or_else(|failure| panic!("{failure}"))).collect()
}

#[test]
fn every_promise_holds_in_every_fixed_world() {
    if let Some(seed) = number("CONVOKE_SEED") {
        println!("{:#?}", all([seed].into_iter()));
        return;
    }
    let reports = all(0..SEEDS);
    println!("{:#?}", reports[0]);
}

#[test]
fn every_promise_holds_in_fresh_worlds() {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_nanos() as u64;
    let first = time ^ u64::from(std::process::id()) << 40;
    let count = number("CONVOKE_SEEDS").unwrap_or(3);
    for seed in (0..count).map(|place| first.wrapping_add(place)) {
        if count < 10 {
            println!("seed {seed}");
        }
        run(seed).unwrap_or_else(|failure| panic!("{failure}"));
    }
}
