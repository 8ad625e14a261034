//! `convoke metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::story::Story;

/// What a scrape holds: each number by its name and labels as they are written, and the type of each metric.
struct Scrape {
    numbers: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads the text format, version 0.0.4, and nothing else.
    fn read(text: &str) -> Scrape {
        let (mut numbers, mut types, mut helped) = (BTreeMap::new(), BTreeMap::new(), None::<String>);
        assert!(text.ends_with('\n') && !text.contains('\r'), "lines that end");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("a name and a help: {line}"));
                assert!(is_name(name) && !help.is_empty() && !types.contains_key(name), "{line}");
                helped = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, of) = rest.split_once(' ').unwrap_or_else(|| panic!("a name and a type: {line}"));
                assert_eq!(helped.as_deref(), Some(name), "a help before the type: {line}");
                assert!(["gauge", "counter"].contains(&of), "{line}");
                types.insert(name.to_owned(), of.to_owned());
            } else {
                let (sample, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a sample: {line}"));
                let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
                assert_eq!(helped.as_deref(), Some(name), "all of a metric together: {line}");
                assert!(types.contains_key(name) && (labels.is_empty() || are_labels(labels)), "{line}");
                let number: f64 = number.parse().unwrap_or_else(|_| panic!("a number: {line}"));
                assert!(number.is_finite() && number >= 0.0, "{line}");
                assert!(numbers.insert(sample.to_owned(), number).is_none(), "twice: {line}");
            }
        }
        Scrape { numbers, types }
    }

    #[track_caller]
    fn number(&self, sample: &str) -> f64 {
        self.numbers.get(sample).copied().unwrap_or_else(|| panic!("nothing of `{sample}`: {:?}", self.numbers))
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    name.starts_with("convoke_") && name.bytes().all(fits)
}

/// `name="text",…}`, with backslashes only before themselves, quotes and `n`.
fn are_labels(mut rest: &str) -> bool {
    loop {
        let Some((name, text)) = rest.split_once("=\"") else { return false };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return false;
        }
        let mut escaped = false;
        let end = text.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            assert!(!escaped || [b'\\', b'"', b'n'].contains(&byte), "{rest}");
            escaped = byte == b'\\' && !escaped;
            ends
        });
        match end.map(|end| &text[end + 1..]) {
            Some("}") => return true,
            Some(more) if more.starts_with(',') => rest = &more[1..],
            _ => return false,
        }
    }
}

fn scrape(story: &Story) -> Scrape {
    let metrics = story.run(["metrics"]);
    assert_eq!((metrics.code(), metrics.stderr()), (0, String::new()));
    Scrape::read(&metrics.stdout())
}

#[test]
fn all_that_the_hub_counts_and_bounds_is_told() {
    let story = Story::with_hub();
    let _press = story.subscribe(["#", "--name", "press-1"]);
    story.run(["set", "a", "1"]);
    let told = scrape(&story);
    assert_eq!((told.number("convoke_links"), told.number("convoke_links_limit")), (2.0, 10_000.0));
    assert_eq!((told.number("convoke_subscriptions"), told.number("convoke_values")), (1.0, 1.0));
    assert_eq!(told.number("convoke_links_joined_total"), 3.0, "the press, who has set, who asks");
    assert_eq!(told.number("convoke_links_closed_total{code=\"Left\"}"), 1.0);
    assert_eq!(told.number("convoke_protocol_errors_total{kind=\"preface\"}"), 0.0, "there from the start");
    assert_eq!(told.types["convoke_bulk_bytes"], "gauge");
    assert_eq!(told.types["convoke_refused_total"], "counter");
    let info = told.numbers.keys().find(|sample| sample.starts_with("convoke_hub_info{")).unwrap();
    assert!(info.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")), "{info}");
    let started = told.number("convoke_start_time_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(started <= now && started > now - 600.0, "{started}");
}

/// Of every limit that the hub has there is a metric, and of every metric on the page a number.
#[test]
fn no_limit_and_no_metric_is_missing() {
    let story = Story::with_hub();
    let told = scrape(&story);
    let status: serde_json::Value = serde_json::from_str(&story.run(["status", "--json"]).stdout()).unwrap();
    let limits = status["limits"].as_array().unwrap();
    assert!(limits.len() > 20, "{limits:?}");
    for limit in limits {
        let name = limit["name"].as_str().unwrap();
        told.number(&format!("convoke_{name}"));
        let most = match name.strip_suffix("_bytes") {
            Some(what) => told.number(&format!("convoke_{what}_limit_bytes")),
            None => told.number(&format!("convoke_{name}_limit")),
        };
        assert_eq!(Some(most), limit["most"].as_f64(), "{name}");
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rows) = page.split_once("| metric | type | labels | what |\n").unwrap();
    let rows = rows.lines().skip(1).take_while(|line| line.starts_with('|'));
    let listed: BTreeSet<String> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`').map(str::to_owned).collect::<Vec<_>>())
        .filter(|name| name.starts_with("convoke_"))
        // This hub has no uplinks; the story of those that have counts these.
        .filter(|name| !name.starts_with("convoke_uplink_"))
        .collect();
    assert_eq!(listed, told.types.into_keys().collect());
}

#[test]
fn what_is_refused_is_counted() {
    let story = Story::with_hub();
    story.run(["call", "math/add", "1"]);
    story.run(["ping", "nobody"]);
    TcpStream::connect(story.address()).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    story.until(["metrics"], |text| {
        let told = Scrape::read(text);
        let counted = [
            "calls_refused_total{code=\"NoProvider\"}",
            "refused_total{code=\"NoNode\"}",
            "protocol_errors_total{kind=\"preface\"}",
            "links_refused_total{reason=\"bad_input\"}",
        ];
        counted.iter().all(|sample| told.number(&format!("convoke_{sample}")) == 1.0)
    });
}

#[test]
fn with_json_each_number_is_a_line() {
    let story = Story::with_hub();
    let metrics = story.run(["metrics", "--json"]);
    let links = r#"{"name":"convoke_links","type":"gauge","labels":{},"value":1}"#;
    assert!(metrics.stdout().lines().any(|line| line == links), "{}", metrics.stdout());
    for line in metrics.stdout().lines() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(told["value"].is_number() && told["labels"].is_object(), "{line}");
    }
}

#[test]
fn who_may_read_what_the_hub_tells_may_read_its_metrics_and_nobody_else() {
    let story = Story::with_hub();
    story.run(["token", "create", "metrics", "--allow", "status"]).is(0, "metrics.token\n", "");
    let metrics = story.run(["metrics", "--token-file", "metrics.token"]);
    assert_eq!((metrics.code(), metrics.stderr()), (0, String::new()));
    assert!(metrics.stdout().contains("\nconvoke_links 1\n"), "{}", metrics.stdout());
    story.run(["token", "create", "cam", "--allow", "publish cam/#"]).is(0, "cam.token\n", "");
    story.run(["metrics", "--token-file", "cam.token"]).is(
        77,
        "",
        "convoke: values of `$hub/status`: the rights of `cam` do not allow `status $hub/status`\n",
    );
}

#[test]
fn without_a_hub_nothing_is_printed_and_that_is_told() {
    let told = "convoke: no hub answers at HUB; start one with `convoke hub`\n";
    Story::without_hub().run(["metrics", "--timeout", "100ms"]).is(69, "", told);
}

/// Reads its input as Prometheus' own library for Python does, and counts the metrics.
const READ: &str = "\
import sys
from prometheus_client.parser import text_string_to_metric_families as read
print(len(list(read(sys.stdin.read()))))";

/// What this says and how it ends, given that input; none if it is not installed.
fn given(input: &[u8], command: &mut Command) -> Option<(bool, String)> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
    // One that ends without reading is judged by what it says.
    let _ = child.stdin.take().unwrap().write_all(input);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    Some((ended.status.success(), said))
}

/// With what Prometheus has itself to check the format, where that is installed; `./test` installs the library.
#[test]
fn prometheus_reads_it() {
    let story = Story::with_hub();
    let metrics = story.run(["metrics"]);
    let mut checked = 0;
    if let Some(said) = given(metrics.stdout_bytes(), Command::new("promtool").args(["check", "metrics"])) {
        assert_eq!(said, (true, String::new()));
        checked += 1;
    }
    if given(b"", Command::new("python3").args(["-c", READ])) == Some((true, "0\n".to_owned())) {
        let types = metrics.stdout().lines().filter(|line| line.starts_with("# TYPE ")).count();
        let said = given(metrics.stdout_bytes(), Command::new("python3").args(["-c", READ]));
        assert_eq!(said, Some((true, format!("{types}\n"))));
        checked += 1;
    }
    if checked == 0 {
        println!("skipped: neither promtool nor prometheus_client is installed");
    }
}
