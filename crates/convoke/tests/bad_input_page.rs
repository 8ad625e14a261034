//! docs/bad-input.md names a test for every row, and each of them is there; and what is fuzzed is all that can be.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How many rows there are of each table.
const ROWS: [(&str, usize); 3] = [("N", 42), ("C", 24), ("X", 27)];

/// What the corpus of all targets may be together: every clone has it.
const CORPUS_FILES_MAX: usize = 300;
const CORPUS_BYTES_MAX: u64 = 1 << 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether this file of a crate has a test of this name.
fn has_test(file: &str, name: &str) -> bool {
    let Ok(text) = fs::read_to_string(root().join("crates").join(file)) else { return false };
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else { return false };
    // A story that is told once for every way to a hub has its mark where it is told.
    let mark = before.rfind("#[test]").max(before.rfind("#[tokio::test]"));
    mark.is_some_and(|mark| !before[mark..].contains("\n}")) || before.contains("on_every_transport! {")
}

#[test]
fn every_row_of_bad_input_has_its_test_or_no_subject() {
    let page = read("docs/bad-input.md");
    let mut wrong = Vec::new();
    for (letter, count) in ROWS {
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with(&format!("| {letter}"))).collect();
        let numbers: Vec<String> = rows.iter().map(|row| row.split('|').nth(1).unwrap().trim().to_owned()).collect();
        let expected: Vec<String> = (1..=count).map(|number| format!("{letter}{number}")).collect();
        assert_eq!(numbers, expected);
        for row in rows {
            let shown = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
            let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
            if tests.is_empty() && !shown.starts_with("no subject") {
                wrong.push(format!("neither a test nor a reason: {row}"));
            }
            for test in tests {
                let (file, name) = test.split_once("::").unwrap_or((test, ""));
                if !has_test(file, name) {
                    wrong.push(format!("there is no test {test}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The targets, as the manifest of the fuzzers has them.
fn targets() -> BTreeSet<String> {
    let manifest = read("fuzz/Cargo.toml");
    let bins = manifest.split("[[bin]]").skip(1);
    bins.map(|bin| bin.split('"').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn every_fuzz_target_has_a_body_a_corpus_and_a_test() {
    let page = read("fuzz/README.md");
    let replayed = read("crates/convoke-core/tests/fuzz.rs") + &read("crates/convoke-cli/src/settings/file/tests.rs");
    let (mut files, mut bytes) = (0, 0);
    let targets = targets();
    assert_eq!(targets.len(), 5);
    for target in &targets {
        assert!(root().join(format!("fuzz/bodies/{target}.rs")).exists(), "{target} has no body");
        assert!(page.contains(&format!("| `{target}` |")), "{target} is not on the page");
        assert!(replayed.contains(&format!("(\"{target}\", ")), "the corpus of {target} is not replayed");
        for file in fs::read_dir(root().join("fuzz/corpus").join(target)).unwrap() {
            files += 1;
            bytes += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!(files <= CORPUS_FILES_MAX && bytes <= CORPUS_BYTES_MAX, "{files} files with {bytes} bytes");
}

/// The program is no library, so that the target for its configuration has its modules one by one.
#[test]
fn the_target_for_the_configuration_has_the_modules_of_the_program() {
    let modules = |path: &str, before: &str| -> BTreeSet<String> {
        let text = read(path);
        let lines = text.lines().filter_map(|line| line.strip_prefix(before)?.strip_suffix(';'));
        lines.map(str::to_owned).collect()
    };
    let target = modules("fuzz/fuzz_targets/configuration.rs", "    pub(crate) mod ");
    assert_eq!(target, modules("crates/convoke-cli/src/main.rs", "mod "));
}
