//! The pages say what is there: ARCHITECTURE.md names every source file, links lead somewhere, and the bounds that the
//! guide tells are those of the code.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use convoke_core::limits;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The files below `folder` with this ending, relative to it.
fn files(folder: &Path, ending: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// Every page that is ours to keep true.
fn pages() -> Vec<(PathBuf, String)> {
    let root = root();
    let mut paths: Vec<PathBuf> = ["README", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG", "bench/README"]
        .iter()
        .map(|name| root.join(format!("{name}.md")))
        .collect();
    paths.extend(files(&root.join("docs"), "md").into_iter().map(|name| root.join("docs").join(name)));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The text between backquotes, code blocks left out.
fn quoted(page: &str) -> Vec<&str> {
    let outside = page.split("```").step_by(2);
    outside.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_code_map_names_every_source_file_and_no_other() {
    let root = root();
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    for member in fs::read_dir(root.join("crates")).unwrap() {
        let member = member.unwrap().file_name().into_string().unwrap();
        let heading = format!("### `crates/{member}/src/`\n");
        let (_, map) = page.split_once(&heading).unwrap_or_else(|| panic!("ARCHITECTURE.md has no {heading}"));
        let map = map.split("\n#").next().unwrap();
        let rows = map.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let named: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
        let there = files(&root.join("crates").join(&member).join("src"), "rs");
        let missing: Vec<_> = there.difference(&named).collect();
        let gone: Vec<_> = named.difference(&there).collect();
        assert!(missing.is_empty(), "{member}: ARCHITECTURE.md does not name {missing:?}");
        assert!(gone.is_empty(), "{member}: ARCHITECTURE.md names {gone:?}, which are not there");
    }
}

#[test]
fn files_that_a_page_names_exist() {
    let root = root();
    for (path, page) in pages() {
        for name in quoted(&page).into_iter().filter(|name| name.starts_with("crates/") && !name.contains(' ')) {
            assert!(root.join(name).exists(), "{} names `{name}`", path.display());
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for (path, page) in pages() {
        let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, section) =
                target.split_once('#').map_or((target, None), |(file, section)| (file, Some(section)));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(file.exists(), "{} links to {target}", path.display());
            let Some(section) = section else { continue };
            let text = fs::read_to_string(&file).unwrap();
            let found = text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == section);
            assert!(found, "{} links to {target}, and there is no such heading", path.display());
        }
    }
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[test]
fn the_index_of_the_guide_names_every_page() {
    let guide = root().join("docs/guide");
    let index = fs::read_to_string(guide.join("README.md")).unwrap();
    for page in files(&guide, "md").into_iter().filter(|page| page != "README.md") {
        assert!(index.contains(&format!("]({page})")), "docs/guide/README.md does not name {page}");
    }
}

#[test]
fn bounds_told_in_the_guide_are_those_of_the_code() {
    let page = |name: &str| fs::read_to_string(root().join("docs/guide").join(name)).unwrap().replace('\n', " ");
    let (events, links) = (page("events.md"), page("permanent-links.md"));
    let mib = |bytes: usize| format!("{} MiB", bytes >> 20);
    let says = |page: &str, sentence: String| assert!(page.contains(&sentence), "no page says: {sentence}");

    let values = page("values.md");
    says(
        &values,
        format!(
            "up to {},{:03} writes or {}",
            limits::WRITES_MAX / 1000,
            limits::WRITES_MAX % 1000,
            mib(limits::WRITES_BYTES_MAX)
        ),
    );
    says(&values, format!("at most {} KiB: what is longer", limits::VALUE_BYTES_MAX >> 10));
    says(&values, format!("up to {} changes", limits::BATCH_ITEMS_MAX));
    says(&events, format!("at once unless {} wait", mib(limits::NODE_BULK_BYTES_MAX)));
    says(&events, format!("{} together at most", format_args!("{} KiB", limits::HEADERS_BYTES_MAX >> 10)));
    says(&events, format!("at most {} unless", mib(limits::PAYLOAD_BYTES_DEFAULT)));
    says(&events, format!("({} at most)", mib(limits::PAYLOAD_BYTES_MAX)));
    says(&events, format!("above {} KiB it travels in pieces", limits::FRAGMENT_BYTES_MAX >> 10));
    says(&events, format!("{} in the hub for each link", mib(limits::LINK_BULK_BYTES_MAX)));
    says(&events, format!("{} in the node for each subscription", mib(limits::SUBSCRIPTION_BYTES_MAX)));
    says(&events, format!("takes nothing at all for {} s", limits::STUCK_TIME_MAX.as_secs()));
    let (shortest, longest) = (limits::RETRY_MIN.as_millis(), limits::RETRY_MAX.as_secs());
    says(&links, format!("doubles from {shortest} ms to {longest} s"));
    let silence = limits::BEAT * limits::BEATS_DEAD;
    says(&links, format!("nothing was heard for {} s", silence.as_secs()));
    says(&links, format!("says every {} s", limits::BEAT.as_secs()));
}
