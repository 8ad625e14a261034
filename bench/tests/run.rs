//! The program as a person runs it, with the one peer that needs no installation.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, process};

fn bench(arguments: &[&str]) -> process::Output {
    Command::new(env!("CARGO_BIN_EXE_convoke-bench")).args(arguments).output().expect("the program runs")
}

#[test]
fn a_short_run_prints_every_row_and_writes_every_pass() {
    let json: PathBuf = env::temp_dir().join(format!("convoke-bench-{}.jsonl", process::id()));
    let path = json.to_string_lossy().into_owned();
    let output = bench(&["--passes", "2", "--seconds", "0.1", "--peers", "floor", "--json", &path]);
    let lines = fs::read_to_string(&json).expect("the file was written");
    fs::remove_file(&json).expect("the file is ours");

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    for row in ["1→1, 16 B", "1→1, 128 B", "1→1, 1 KiB", "1→1, 64 KiB", "echo p50", "echo p99"] {
        assert!(printed.lines().any(|line| line.starts_with(&format!("| {row} "))), "no row {row} in {printed}");
        assert_eq!(lines.lines().filter(|line| line.contains(&format!("\"{row}\""))).count(), 2, "{lines}");
    }
}

#[test]
fn a_peer_that_is_not_there_is_named() {
    let output = bench(&["--peers", "floor,abacus"]);
    assert_eq!(output.status.code(), Some(1));
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(problem.contains("`abacus` is not installed"), "{problem}");
}

#[test]
fn a_hub_that_does_not_start_is_an_error_and_not_a_wait() {
    let output = Command::new(env!("CARGO_BIN_EXE_convoke-bench"))
        .args(["serve", "nats", "/nonexistent/nats-server"])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
}
