//! The program as a person runs it: all rows, briefly, with the peers that need no installation, and with others where they are
//! installed.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, process};

fn bench(arguments: &[&str]) -> process::Output {
    Command::new(env!("CARGO_BIN_EXE_convoke-bench")).args(arguments).output().expect("the program runs")
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// Runs each row briefly and expects each of these figures of it from each of these peers.
fn expect_figures(rows: &str, peers: &[&str], figures: &[&str]) {
    let output = bench(&["--passes", "1", "--seconds", "0.1", "--rows", rows, "--peers", &peers.join(",")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    for peer in peers {
        for figure in figures {
            let found = printed.lines().filter(|line| line.starts_with('|')).map(cells);
            let found: Vec<_> = found.filter(|cells| cells[0] == *figure && cells[1].starts_with(peer)).collect();
            assert_eq!(found.len(), 1, "`{figure}` of {peer} in {printed}");
        }
    }
}

#[test]
fn a_short_run_prints_every_row_and_writes_every_pass() {
    let json: PathBuf = env::temp_dir().join(format!("convoke-bench-{}.jsonl", process::id()));
    let path = json.to_string_lossy().into_owned();
    let rows = "16,128,1024,65536,echo,calls1,calls8,sets1,sets8,idle10";
    let output = bench(&["--passes", "2", "--seconds", "0.1", "--peers", "floor", "--rows", rows, "--json", &path]);
    let lines = fs::read_to_string(&json).expect("the file was written");
    fs::remove_file(&json).expect("the file is ours");

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    for row in [
        "1→1, 16 B",
        "1→1, 128 B",
        "1→1, 1 KiB",
        "1→1, 64 KiB",
        "echo p50",
        "echo p99",
        "call p50",
        "call p99",
        "calls, 8 in flight",
        "durable sets, 1 in flight",
        "durable set p50",
        "durable sets, 8 in flight",
        "10 idle links: memory of each",
        "10 idle links: connects",
        "10 idle links: processor",
    ] {
        assert!(printed.lines().any(|line| line.starts_with(&format!("| {row} "))), "no row {row} in {printed}");
        assert_eq!(lines.lines().filter(|line| line.contains(&format!("\"{row}\""))).count(), 2, "{lines}");
    }
}

#[test]
fn convoke_can_be_measured_in_every_row() {
    expect_figures(
        "16,echo,calls1,calls8,sets1,sets8,commands1,commands8,journal1000,setget,values1000,idle10",
        &["convoke"],
        &[
            "1→1, 16 B",
            "echo p50",
            "call p50",
            "calls, 8 in flight",
            "durable sets, 1 in flight",
            "durable sets, 8 in flight",
            "durable commands, 1 in flight",
            "durable command p50",
            "durable commands, 8 in flight",
            "1,000 commands: all of them, late",
            "1,000 commands: undo p50",
            "1,000 commands: undo p99",
            "1,000 commands: start after a kill",
            "set p50",
            "get p50",
            "set p50, in process",
            "get p50, in process",
            "1,000 values, watched",
            "1,000 values, asked for",
            "10 idle links: memory of each",
            "10 idle links, subscribed: memory of each",
            "10 idle links, watching: memory of each",
        ],
    );
}

#[test]
fn calls_without_a_hub_are_measured_beside_it() {
    expect_figures("calls1,calls8", &["tonic"], &["call p50", "call p99", "calls, 8 in flight"]);
}

#[test]
fn a_peer_that_is_not_there_is_named_and_the_others_are_measured() {
    let output = Command::new(env!("CARGO_BIN_EXE_convoke-bench"))
        .args(["--peers", "floor,redis", "--rows", "sets1", "--passes", "1", "--seconds", "0.1"])
        .env("REDIS_SERVER", "/nonexistent/redis-server")
        .output()
        .expect("the program runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("skipped: redis is not installed"), "{printed}");
    assert!(printed.contains("| durable sets, 1 in flight | floor"), "{printed}");
}

/// Only where they are installed: elsewhere it says so.
#[test]
fn servers_of_others_are_measured_where_they_are_installed() {
    let rows = "16,calls8,sets8,commands8,journal1000,setget,values1000,idle10";
    let output = bench(&["--passes", "1", "--seconds", "0.1", "--rows", rows, "--peers", "nats,redis"]);
    let problem = String::from_utf8_lossy(&output.stderr);
    if problem.contains("none of `nats,redis` is installed") {
        eprintln!("neither nats-server nor redis-server is installed: nothing to test");
        return;
    }
    assert!(output.status.success(), "{problem}");
}

#[test]
fn a_hub_that_does_not_start_is_an_error_and_not_a_wait() {
    let output = Command::new(env!("CARGO_BIN_EXE_convoke-bench"))
        .args(["serve", "nats", "/nonexistent/nats-server", "nothing", ""])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
}
