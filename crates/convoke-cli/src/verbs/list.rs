//! `convoke list`: what the hub knows, all of it read from values under `$hub/`.

use std::process::ExitCode;

use convoke::{Node, Value};
use serde_json::{Map, Value as Json};

use crate::arguments::{ListArguments, Listed, NodeArguments};
use crate::exit::Failure;
use crate::join::{with_node, within};
use crate::output::{Output, Reader};
use crate::render;
use crate::signals::Signals;
use crate::table::{Table, moment};

pub(crate) async fn run(arguments: ListArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    if arguments.all && arguments.what != Listed::Nodes {
        return Err(Failure::usage("--all is for `list nodes`; of everything else all are listed anyway"));
    }
    with_node(&arguments.node, signals, async |node| {
        match arguments.what {
            Listed::Values => values(node, &arguments.node, json).await?,
            what => {
                let kind = Kind::of(what);
                let mut reports = reports(node, &arguments.node, kind.prefix).await?;
                if what == Listed::Nodes && !arguments.all {
                    // Who asks is not looking for itself.
                    reports.retain(|report| report.is_there() && report.name != node.name().as_str());
                }
                if json { lines(&reports)? } else { (kind.table)(&reports).print()? }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Where something is listed, and how it is shown.
struct Kind {
    prefix: &'static str,
    table: fn(&[Report]) -> Table,
}

impl Kind {
    fn of(what: Listed) -> Kind {
        let (prefix, table): (_, fn(&[Report]) -> Table) = match what {
            Listed::Nodes => (NODES, nodes),
            Listed::Services => (SERVICES, services),
            Listed::Journals => (JOURNALS, journals),
            Listed::Links => (LINKS, links),
            Listed::Uplinks => (UPLINKS, uplinks),
            Listed::Topics | Listed::Values => (TOPICS, topics),
        };
        Kind { prefix, table }
    }
}

pub(super) const NODES: &str = "$hub/nodes/";
pub(super) const TOKENS: &str = "$hub/tokens/";
pub(super) const SERVICES: &str = "$hub/services/";
pub(super) const JOURNALS: &str = "$hub/journals/";
const LINKS: &str = "$hub/links/";
const TOPICS: &str = "$hub/topics/";
pub(super) const UPLINKS: &str = "$hub/uplinks/";

/// How the names of reports on journals end.
pub(super) const FOLLOWERS: &str = "/followers";

/// What the hub tells about one thing.
pub(super) struct Report {
    /// The thing: what is behind the prefix.
    pub(super) name: String,
    /// What is told.
    about: Map<String, Json>,
}

impl Report {
    fn of(value: &Value, prefix: &str) -> Report {
        let name = value.name.as_str();
        let about = match render::json_value(&value.payload) {
            Some(Json::Object(about)) => about,
            // A hub of another version may tell it otherwise; then nothing is known of it but its name.
            _ => Map::new(),
        };
        let mut name = name.strip_prefix(prefix).unwrap_or(name);
        if prefix == JOURNALS {
            name = name.strip_suffix(FOLLOWERS).unwrap_or(name);
        }
        Report { name: name.to_owned(), about }
    }

    /// Its name, and all that is told.
    pub(super) fn into_json(self) -> (String, Json) {
        (self.name, Json::Object(self.about))
    }

    /// Text or a number as it is; empty for what is not told.
    pub(super) fn text(&self, key: &str) -> String {
        match self.about.get(key) {
            Some(Json::String(text)) => text.clone(),
            Some(Json::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// Whether a node is alive, or may be.
    fn is_there(&self) -> bool {
        self.text("state") != DEAD
    }

    /// Why a node is no longer alive.
    fn reason(&self) -> String {
        let text = self.about.get("reason").and_then(|reason| reason.get("text")).and_then(Json::as_str);
        text.unwrap_or_default().to_owned()
    }

    /// A number; zero for what is not told.
    pub(super) fn number(&self, key: &str) -> u64 {
        self.about.get(key).and_then(Json::as_u64).unwrap_or(0)
    }

    fn moment(&self, key: &str) -> String {
        moment(self.number(key))
    }
}

/// All that the hub tells under a prefix.
pub(super) async fn reports(node: &Node, arguments: &NodeArguments, prefix: &str) -> Result<Vec<Report>, Failure> {
    let what = format!("get of `{prefix}#`");
    let values = within(arguments, &what, node.values(format!("{prefix}#"))).await?;
    // Beside those on the followers of journals there may be others, that somebody has asked for.
    let wanted = values.iter().filter(|value| prefix != JOURNALS || value.name.as_str().ends_with(FOLLOWERS));
    Ok(wanted.map(|value| Report::of(value, prefix)).collect())
}

/// A report as `--json` shows it: its name before all else.
fn lines(reports: &[Report]) -> Result<(), Failure> {
    let named = reports.iter().map(|report| {
        let name = ("name".to_owned(), Json::String(report.name.clone()));
        let about = report.about.iter().map(|(key, value)| (key.clone(), value.clone()));
        render::json(&[name].into_iter().chain(about).collect::<Map<String, Json>>())
    });
    print(named)
}

pub(super) fn print(lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let mut output = Output::default();
    for line in lines {
        if output.line(&line)? == Reader::Gone {
            return Ok(());
        }
    }
    output.flush().map(|_| ())
}

/// The state of a node that has left, or was not heard for long.
const DEAD: &str = "dead";

/// What a program that has not told its process has instead of its number.
const NO_PROCESS: &str = "0";

fn nodes(reports: &[Report]) -> Table {
    let mut titles = vec!["NODE", "STATE", "SINCE", "HOST", "PROCESS", "PROGRAM"];
    // Where all are alive there is nothing to explain.
    if reports.iter().any(|node| !node.reason().is_empty()) {
        titles.push("WHY");
    }
    let mut table = Table::new(&titles);
    for node in reports {
        let process = Some(node.text("pid")).filter(|pid| pid != NO_PROCESS).unwrap_or_default();
        let since = node.moment("since_ms");
        let about = [node.name.clone(), node.text("state"), since, node.text("host"), process, node.text("program")];
        table.row(about.into_iter().chain([node.reason()]).take(titles.len()));
    }
    table
}

fn uplinks(reports: &[Report]) -> Table {
    let passed = |uplink: &Report, way: &str, what: &str| {
        uplink.about.get(way).and_then(|passed| passed.get(what)?.as_u64()).unwrap_or(0)
    };
    let mut titles =
        vec!["UPLINK", "ADDRESS", "STATE", "SINCE", "EVENTS OUT", "IN", "LOST", "ENTRIES OUT", "IN", "BEHIND"];
    // Where nothing is in the way there is nothing to explain.
    if reports.iter().any(|uplink| !uplink.text("trouble").is_empty()) {
        titles.push("WHY");
    }
    let mut table = Table::new(&titles);
    for uplink in reports {
        let joined = uplink.about.get("joined").and_then(Json::as_bool) == Some(true);
        let both = |what: &str| passed(uplink, "out", what) + passed(uplink, "in", what);
        let row = [
            uplink.name.clone(),
            uplink.text("address"),
            if joined { "joined" } else { "away" }.to_owned(),
            uplink.moment("since_ms"),
            passed(uplink, "out", "events").to_string(),
            passed(uplink, "in", "events").to_string(),
            both("lost").to_string(),
            passed(uplink, "out", "entries").to_string(),
            passed(uplink, "in", "entries").to_string(),
            both("behind").to_string(),
        ];
        table.row(row.into_iter().chain([uplink.text("trouble")]).take(titles.len()));
    }
    table
}

fn services(reports: &[Report]) -> Table {
    let mut table = Table::new(&["SERVICE", "PROVIDERS", "WAITING CALLS"]);
    for service in reports {
        let listed = service.about.get("providers").and_then(Json::as_array).map_or(0, Vec::len) as u64;
        // Of very many not all are listed.
        let providers = listed + service.number("more");
        table.row([service.name.clone(), providers.to_string(), service.number("waiting").to_string()]);
    }
    table
}

fn journals(reports: &[Report]) -> Table {
    let mut table = Table::new(&["JOURNAL", "LAST", "MEMBERS", "OBSERVERS"]);
    for journal in reports {
        let listed = journal.about.get("members").and_then(Json::as_array).map_or(0, Vec::len) as u64;
        let members = listed + journal.number("more");
        table.row([journal.name.clone(), journal.text("last"), members.to_string(), journal.text("observers")]);
    }
    table
}

fn links(reports: &[Report]) -> Table {
    // In the order of their numbers, not of their digits.
    let mut reports: Vec<&Report> = reports.iter().collect();
    reports.sort_by_key(|link| link.name.parse::<u64>().unwrap_or(u64::MAX));
    let mut table = Table::new(&["LINK", "NODE", "SINCE", "SUBSCRIPTIONS", "WAITING BYTES"]);
    for link in reports {
        let (node, since) = (link.text("node"), link.moment("since_ms"));
        table.row([link.name.clone(), node, since, link.text("subscriptions"), link.text("waiting_bytes")]);
    }
    table
}

fn topics(reports: &[Report]) -> Table {
    let mut table = Table::new(&["TOPIC", "SUBSCRIBERS"]);
    for topic in reports {
        table.row([topic.name.clone(), topic.text("subscribers")]);
    }
    table
}

async fn values(node: &Node, arguments: &NodeArguments, json: bool) -> Result<(), Failure> {
    let values = within(arguments, "list of the values", node.values("#")).await?;
    if json {
        let line = |value: &Value| {
            render::value_json(value.name.as_str(), Some(&value.payload), value.rev, value.author.as_str())
        };
        return print(values.iter().map(line));
    }
    let mut table = Table::new(&["VALUE", "REVISION", "BYTES", "AUTHOR"]);
    for value in values {
        let (rev, bytes) = (value.rev.to_string(), value.payload.bytes.len().to_string());
        table.row([value.name.to_string(), rev, bytes, value.author.to_string()]);
    }
    table.print()
}
