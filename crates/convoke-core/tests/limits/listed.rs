//! docs/metrics.md against the code: every limit and every label is there, and every test that it names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use convoke_core::{Dropped, LinkRefusal, ProtocolError};

use crate::bench::Bench;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The cells of the rows of the table that begins so.
fn table(page: &str, head: &str) -> Vec<Vec<String>> {
    let (_, rows) = page.split_once(&format!("\n{head}\n")).unwrap_or_else(|| panic!("a table `{head}`"));
    let rows = rows.lines().skip(1).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/metrics.md")).unwrap()
}

#[test]
fn every_limit_is_on_the_page_with_what_happens_beyond_it() {
    let rows = table(&page(), "| limit | set by, or fixed | what is more is | reached by |");
    let told: Vec<(String, String)> = rows.iter().map(|row| (row[0].replace('`', ""), row[2].clone())).collect();
    let excess = |excess| serde_json::to_string(&excess).unwrap().replace('"', "");
    let all = Bench::new().hub.usage();
    assert!(all.iter().all(|limit| limit.most > 0 && limit.used <= limit.most), "{all:?}");
    let all: Vec<(String, String)> = all.into_iter().map(|limit| (limit.name, excess(limit.excess))).collect();
    assert_eq!(told, all);
}

#[test]
fn every_label_is_on_the_page() {
    let rows = table(&page(), "| label | of | means |");
    let told: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let kinds = ProtocolError::ALL.iter().map(|kind| format!("`kind=\"{}\"`", kind.word()));
    let reasons = LinkRefusal::ALL.iter().map(|why| format!("`reason=\"{}\"`", why.word()));
    let dropped = Dropped::ALL.iter().map(|what| format!("`what=\"{}\"`", what.word()));
    assert_eq!(told, kinds.chain(reasons).chain(dropped).collect::<Vec<_>>());
}

#[test]
fn every_test_that_the_page_names_exists() {
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    let mut rows = table(&page(), "| limit | set by, or fixed | what is more is | reached by |");
    rows.extend(table(&page(), "| limit | counted by | reached by |"));
    assert!(rows.len() > 40, "{} rows", rows.len());
    for row in rows {
        let named: Vec<&str> = row[row.len() - 1].split('`').filter(|part| !part.trim().is_empty()).collect();
        let [file, test] = named[..] else { panic!("a file and a test: {row:?}") };
        let source = sources.entry(file.to_owned()).or_insert_with(|| fs::read_to_string(root().join(file)).unwrap());
        let at = source.find(&format!("fn {test}()")).unwrap_or_else(|| panic!("{file} has no test `{test}`"));
        assert!(source[..at].trim_end().ends_with("#[test]"), "{file}: `{test}` is no test");
    }
}
