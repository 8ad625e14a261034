//! Style is a test: what nobody should have to argue about in a review.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// The longest source file, in lines: beyond it a file has more than one subject.
const FILE_LINES_MAX: usize = 700;

/// The longest line of a script or a source file, in characters: rustfmt breaks code at 120 and leaves comments alone.
const LINE_CHARS_MAX: usize = 128;

/// What is not ours but git's, cargo's and npm's.
const SKIPPED: [&str; 3] = [".git", "target", "node_modules"];

struct File {
    /// Relative to the root of the project.
    path: String,
    text: String,
}

impl File {
    fn is_code(&self) -> bool {
        self.path.ends_with(".rs") || [".ci/run", "test"].contains(&self.path.as_str())
    }

    fn is(&self, path: &str) -> bool {
        self.path == path
    }
}

/// Every text file of the project.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let path: PathBuf = entry.path();
            if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push(File { path: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.iter().any(|file| file.is("Cargo.toml")), "this is not the project");
    found
}

/// Fails with all that is wrong, a line each.
fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn lines_with(file: &File, marks: &[String]) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    let found = lines.filter(|(_, line)| marks.iter().any(|mark| line.contains(mark.as_str())));
    found.map(|(number, line)| format!("{}:{}: {}", file.path, number + 1, line.trim())).collect()
}

#[test]
fn no_work_is_left_behind_as_a_marker() {
    // Put together here, so that this file does not contain them.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    none(files().iter().filter(|file| file.is_code()).flat_map(|file| lines_with(file, &marks)).collect());
}

#[test]
fn no_file_knows_a_particular_machine() {
    let marks = [["/wo", "rk/"], ["/ro", "ot/"], ["/home/", "ann"], ["/Us", "ers/"], ["/tmp", "/wt"]];
    let marks = marks.map(|halves| halves.concat());
    none(files().iter().flat_map(|file| lines_with(file, &marks)).collect());
}

#[test]
fn a_file_has_one_subject() {
    let files = files();
    let long = files.iter().filter(|file| file.path.ends_with(".rs") && file.text.lines().count() > FILE_LINES_MAX);
    none(long.map(|file| format!("{} has {} lines", file.path, file.text.lines().count())).collect());
}

#[test]
fn a_source_file_opens_with_what_it_is_for() {
    let files = files();
    let silent = files.iter().filter(|file| file.path.ends_with(".rs") && !file.text.starts_with("//!"));
    none(silent.map(|file| format!("{} does not open with `//!`", file.path)).collect());
}

#[test]
fn a_module_with_parts_is_a_file_beside_its_folder() {
    let files = files();
    let old = files.iter().filter(|file| file.path.ends_with("/mod.rs") && !file.path.contains("/tests/"));
    none(old.map(|file| format!("{}: name it after its folder, beside it", file.path)).collect());
}

#[test]
fn lines_fit_and_end_cleanly() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| file.is_code()) {
        for (number, line) in file.text.lines().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX && !line.contains("https://") && !line.contains('"') {
                wrong.push(format!("{}:{}: {} characters", file.path, number + 1, line.chars().count()));
            }
            if line.ends_with([' ', '\t']) || line.contains('\r') {
                wrong.push(format!("{}:{}: white space at the end", file.path, number + 1));
            }
        }
        if !file.text.ends_with('\n') || file.text.ends_with("\n\n") {
            wrong.push(format!("{}: ends with exactly one line break", file.path));
        }
    }
    none(wrong);
}

#[test]
fn every_crate_forbids_unsafe_code_and_has_the_shared_lints() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| file.path.starts_with("crates/")) {
        let is_root = file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
        if is_root && !file.text.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{} does not forbid unsafe code", file.path));
        }
        if file.path.ends_with("/Cargo.toml") && !file.text.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{} does not have the lints of the workspace", file.path));
        }
    }
    none(wrong);
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| file.path.starts_with("crates/") && file.path.ends_with("Cargo.toml")) {
        let Some((_, rest)) = file.text.split_once("[dependencies]\n") else { continue };
        let (mut said, mut before) = (false, "");
        for line in rest.lines().take_while(|line| !line.starts_with('[')) {
            let own = line.starts_with("convoke");
            // A line right below another dependency shares its reason.
            said = line.starts_with('#') || (said && !line.is_empty() && !before.is_empty());
            if !line.is_empty() && !said && !own {
                wrong.push(format!("{}: {line}", file.path));
            }
            before = line;
        }
    }
    none(wrong);
}

#[test]
fn the_tool_chain_is_one_that_every_machine_has() {
    let files = files();
    let toolchain = files.iter().find(|file| file.is("rust-toolchain.toml")).expect("it is there");
    assert_eq!(toolchain.text, "[toolchain]\nchannel = \"stable\"\n", "components would be downloaded");
}
