//! What a hub tells about itself, as metrics in the text format of Prometheus (version 0.0.4). The metrics are one table,
//! [`METRICS`], which docs/metrics.md repeats; their names and labels never change.

use serde_json::{Map, Value as Json};

/// One metric, under a name that begins with `convoke_`.
pub(crate) struct Metric {
    /// Without `convoke_`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What it is, in one line.
    pub(crate) help: &'static str,
    pub(crate) source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows, until the hub is started again.
    Counter,
}

/// Where its number stands in what the hub tells.
pub(crate) enum Source {
    /// Always 1; these texts of the hub's status are its labels.
    Info(&'static [&'static str]),
    /// A number of the hub's status.
    Status(&'static str),
    /// The same, in milliseconds since 1970 there and in seconds here.
    Moment(&'static str),
    /// How much of this limit is used. How much there may be is a metric beside it.
    Limit(&'static str),
    /// A number of its counters.
    Counter(&'static str),
    /// Numbers of its counters, told apart by this label.
    Counters(&'static str, &'static str),
    /// Of each of its links to other hubs, whether this is so: 1 or 0.
    Uplinks(&'static str),
    /// Of each of them, a number of what it has passed on each way.
    Passed(&'static str),
}

const fn gauge(name: &'static str, source: Source, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help, source }
}

const fn counter(name: &'static str, source: Source, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, help, source }
}

const fn limit(name: &'static str, help: &'static str) -> Metric {
    gauge(name, Source::Limit(name), help)
}

/// All metrics, in the order in which they are printed.
pub(crate) static METRICS: &[Metric] = &[
    gauge("hub_info", Source::Info(&["hub", "history", "version"]), "Which hub it is: always 1"),
    gauge("start_time_seconds", Source::Moment("started_ms"), "When the hub was started, in seconds since 1970"),
    gauge("nodes", Source::Status("nodes"), "Nodes that are joined"),
    gauge("members", Source::Status("members"), "Nodes that the hub knows of, joined or not"),
    gauge("patterns", Source::Status("patterns"), "Patterns that somebody subscribes"),
    gauge("watches", Source::Status("watches"), "Watches, and gets that are not answered"),
    gauge("services", Source::Status("services"), "Services that are offered, or that calls wait for"),
    gauge("registrations", Source::Status("registrations"), "Registrations of services"),
    gauge("calls", Source::Status("calls"), "Calls that have not ended"),
    gauge("incarnations", Source::Status("incarnations"), "Runs of programs that are remembered, joined or away"),
    gauge("timers", Source::Status("timers"), "Deadlines that the hub waits for"),
    limit("links", "Links, joined or not"),
    limit("links_per_source", "Links of the address or IPv6 network that has the most, this machine excepted"),
    limit("subscriptions", "Subscriptions"),
    limit("subscriptions_per_link", "Subscriptions of the link that has the most"),
    limit("watches_per_link", "Watches of the link that has the most"),
    limit("topics", "Topics that have a number; others go by name, which is slower"),
    limit("topics_per_link", "Topic numbers of the link that has the most"),
    limit("bulk_bytes", "Events that wait for links"),
    limit("link_bulk_bytes", "Events that wait for the link for which the most wait"),
    limit("link_control_bytes", "Answers that wait for the link for which the most wait"),
    limit("link_calls_bytes", "Calls that wait for the provider for which the most wait, replies to its own included"),
    limit("link_replies_bytes", "Replies that wait for the caller for which the most wait, calls to it included"),
    limit("calls_per_caller", "Open calls of the caller that has the most"),
    limit("calls_per_provider", "Calls of the provider that has the most and has not answered them"),
    limit("calls_waiting_per_name", "Calls that wait for a provider of the service for which the most wait"),
    limit("calls_kept_bytes", "Calls that the hub holds, to give them out later"),
    limit("services_per_link", "Registrations of the link that has the most"),
    limit("values", "Values that are kept on disk"),
    limit("values_bytes", "Their names and payloads"),
    limit("memory_values", "Values that are kept in memory only, those of the hub itself included"),
    limit("memory_values_bytes", "Their names and payloads"),
    limit("gets_bytes", "What gets have found and their links have not taken"),
    limit("answers_bytes", "Answers to writes of which the nodes have not said that they have them"),
    limit("appending_bytes", "Writes that are on their way to the disk"),
    limit("principals", "Principals that have rights of their own"),
    limit("journals", "Journals"),
    limit("undo_units", "Commands and groups of all journals that can be undone; those of who appends go"),
    limit("entries_bytes", "Entries of journals that are in memory; older ones are read from the disk"),
    limit("journal_members", "Nodes that are members of journals, each once for each journal"),
    limit("awaits_per_link", "Waits for members of journals of the link that has the most"),
    limit("awaits_bytes", "What all such waits take"),
    limit("pings", "Pings of nodes that are not answered"),
    limit("changes", "Changes that are kept for those who watch every one; the oldest go"),
    limit("changes_bytes", "The same, in bytes"),
    limit("deleted", "Deleted keys that are still known; the oldest go"),
    limit("incarnations_away", "Runs of programs that are away and may come back; the oldest go"),
    limit("members_away", "Nodes that have no link and are still known; the oldest go"),
    counter("links_opened_total", Source::Counter("links_opened"), "Connections that were let in, joined or not"),
    counter("links_joined_total", Source::Counter("links_joined"), "Links on which a node has joined"),
    counter(
        "links_refused_total",
        Source::Counters("links_refused", "reason"),
        "Connections on which no node has joined, by why not",
    ),
    counter(
        "links_closed_total",
        Source::Counters("links_closed", "code"),
        "Links of joined nodes that have ended, by the code of why",
    ),
    counter(
        "refused_total",
        Source::Counters("refused", "code"),
        "Requests, writes and events that were refused, by code",
    ),
    counter(
        "calls_refused_total",
        Source::Counters("calls_refused", "code"),
        "Calls that ended without an answer of a program, by code",
    ),
    counter(
        "protocol_errors_total",
        Source::Counters("protocol_errors", "kind"),
        "What came that was wrong, by what was wrong with it",
    ),
    counter("dropped_total", Source::Counters("dropped", "what"), "What was dropped or forgotten"),
    gauge("uplink_joined", Source::Uplinks("joined"), "Whether a link to another hub is joined there: 1 or 0"),
    gauge("uplink_behind", Source::Passed("behind"), "Entries of journals that have yet to go over it"),
    counter("uplink_events_total", Source::Passed("events"), "Events that it has passed on"),
    counter("uplink_events_lost_total", Source::Passed("lost"), "Events that it has not passed on"),
    counter("uplink_entries_total", Source::Passed("entries"), "Entries of journals that it has passed on"),
    counter(
        "uplink_entries_left_out_total",
        Source::Passed("left_out"),
        "Undos and redos that could not be done in the other journal",
    ),
    counter("report_rows_total", Source::Counter("report_rows"), "What was looked at to tell about the hub, in rows"),
];

/// What a hub has told.
pub(crate) struct Told {
    pub(crate) status: Map<String, Json>,
    pub(crate) limits: Vec<Json>,
    pub(crate) counters: Map<String, Json>,
    /// How each of its links to other hubs is, by its name.
    pub(crate) uplinks: Vec<(String, Json)>,
}

/// A metric with its numbers.
pub(crate) struct Family {
    /// Its whole name.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// One number, in digits, and what tells it apart from others of the metric.
pub(crate) struct Sample {
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: String,
}

/// The metrics of all that the hub has told. Of what it does not tell, as an older one may not, there is none.
pub(crate) fn families(told: &Told) -> Vec<Family> {
    METRICS.iter().flat_map(|metric| metric.families(told)).collect()
}

/// How the metric of a limit is named beside that of how much is used.
pub(crate) fn most(name: &str) -> String {
    match name.strip_suffix("_bytes") {
        Some(what) => format!("{what}_limit_bytes"),
        None => format!("{name}_limit"),
    }
}

impl Metric {
    fn families(&self, told: &Told) -> Vec<Family> {
        let one = |value: Option<String>| Vec::from_iter(value.map(|value| Sample { labels: Vec::new(), value }));
        let number = |of: &Map<String, Json>, key: &str| of.get(key).and_then(Json::as_u64);
        let samples = match self.source {
            Source::Info(labels) => {
                let text = |key: &&'static str| Some((*key, told.status.get(*key)?.as_str()?.to_owned()));
                vec![Sample { labels: labels.iter().filter_map(text).collect(), value: "1".to_owned() }]
            }
            Source::Status(key) => one(number(&told.status, key).map(|number| number.to_string())),
            Source::Moment(key) => one(number(&told.status, key).map(|ms| format!("{}.{:03}", ms / 1000, ms % 1000))),
            Source::Counter(key) => one(number(&told.counters, key).map(|number| number.to_string())),
            Source::Counters(key, label) => {
                let counts = told.counters.get(key).and_then(Json::as_object).into_iter().flatten();
                let sample = |(word, count): (&String, &Json)| {
                    Some(Sample { labels: vec![(label, word.clone())], value: count.as_u64()?.to_string() })
                };
                counts.filter_map(sample).collect()
            }
            Source::Uplinks(key) => {
                let sample = |(name, uplink): &(String, Json)| {
                    let value = u8::from(uplink.get(key)?.as_bool()?).to_string();
                    Some(Sample { labels: vec![("uplink", name.clone())], value })
                };
                told.uplinks.iter().filter_map(sample).collect()
            }
            Source::Passed(key) => {
                let ways = told.uplinks.iter().flat_map(|(name, uplink)| ["out", "in"].map(|way| (name, uplink, way)));
                let sample = |(name, uplink, way): (&String, &Json, &'static str)| {
                    let passed =
                        uplink.get(way).filter(|passed| passed.get("wanted").is_some_and(|wanted| wanted == true))?;
                    let labels = vec![("uplink", name.clone()), ("way", way.to_owned())];
                    Some(Sample { labels, value: passed.get(key)?.as_u64()?.to_string() })
                };
                ways.filter_map(sample).collect()
            }
            Source::Limit(name) => {
                let limit = told.limits.iter().find(|limit| limit.get("name").is_some_and(|told| told == name));
                let read = |key: &str| Some(limit?.get(key)?.as_u64()?.to_string());
                let used = self.family(self.name.to_owned(), self.help.to_owned(), one(read("used")));
                let help = format!("What convoke_{} may be at most", self.name);
                let most = self.family(most(self.name), help, one(read("most")));
                return used.into_iter().chain(most).collect();
            }
        };
        self.family(self.name.to_owned(), self.help.to_owned(), samples).into_iter().collect()
    }

    fn family(&self, name: String, help: String, samples: Vec<Sample>) -> Option<Family> {
        let family = Family { name: format!("convoke_{name}"), kind: self.kind, help, samples };
        (!family.samples.is_empty()).then_some(family)
    }
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        }
    }
}

/// The text of all these metrics.
pub(crate) fn text(families: &[Family]) -> String {
    let mut out = String::new();
    for Family { name, kind, help, samples } in families {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.word()));
        for Sample { labels, value } in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, text)| format!("{label}=\"{}\"", quoted(text))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            out.push_str(&format!("{name}{labels} {value}\n"));
        }
    }
    out
}

/// The text of a label as it stands between quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Map<String, Json> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_a_hub_tells_becomes_text() {
        let told = Told {
            status: object(r#"{"hub":"a\"b\\c\nd","version":"1.2.3","started_ms":1795307392044,"nodes":2}"#),
            limits: vec![Json::Object(object(r#"{"name":"bulk_bytes","used":3,"most":9,"excess":"dropped"}"#))],
            counters: object(r#"{"links_opened":7,"dropped":{"events":1,"members":0}}"#),
            uplinks: vec![(
                "plant".to_owned(),
                Json::Object(object(
                    r#"{"joined":true,"out":{"wanted":true,"entries":5},"in":{"wanted":false,"entries":0}}"#,
                )),
            )],
        };
        let expected = concat!(
            "# HELP convoke_hub_info Which hub it is: always 1\n# TYPE convoke_hub_info gauge\n",
            "convoke_hub_info{hub=\"a\\\"b\\\\c\\nd\",version=\"1.2.3\"} 1\n",
            "# HELP convoke_start_time_seconds When the hub was started, in seconds since 1970\n",
            "# TYPE convoke_start_time_seconds gauge\nconvoke_start_time_seconds 1795307392.044\n",
            "# HELP convoke_nodes Nodes that are joined\n# TYPE convoke_nodes gauge\nconvoke_nodes 2\n",
            "# HELP convoke_bulk_bytes Events that wait for links\n# TYPE convoke_bulk_bytes gauge\n",
            "convoke_bulk_bytes 3\n",
            "# HELP convoke_bulk_limit_bytes What convoke_bulk_bytes may be at most\n",
            "# TYPE convoke_bulk_limit_bytes gauge\nconvoke_bulk_limit_bytes 9\n",
            "# HELP convoke_links_opened_total Connections that were let in, joined or not\n",
            "# TYPE convoke_links_opened_total counter\nconvoke_links_opened_total 7\n",
            "# HELP convoke_dropped_total What was dropped or forgotten\n# TYPE convoke_dropped_total counter\n",
            "convoke_dropped_total{what=\"events\"} 1\nconvoke_dropped_total{what=\"members\"} 0\n",
            "# HELP convoke_uplink_joined Whether a link to another hub is joined there: 1 or 0\n",
            "# TYPE convoke_uplink_joined gauge\nconvoke_uplink_joined{uplink=\"plant\"} 1\n",
            "# HELP convoke_uplink_entries_total Entries of journals that it has passed on\n",
            "# TYPE convoke_uplink_entries_total counter\n",
            "convoke_uplink_entries_total{uplink=\"plant\",way=\"out\"} 5\n",
        );
        assert_eq!(text(&families(&told)), expected);
    }

    #[test]
    fn names_are_those_that_prometheus_likes() {
        let mut seen = std::collections::BTreeSet::new();
        for Metric { name, kind, help, .. } in METRICS {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(!help.ends_with('.') && !help.contains('\n') && seen.insert(*name), "{name}");
        }
    }

    /// The page has a row for each metric, in its order, in the words of its help.
    #[test]
    fn the_page_lists_all_metrics() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `convoke_")).collect();
        let row = |metric: &Metric| {
            let name = match metric.source {
                Source::Limit(_) => format!("`convoke_{}`, `convoke_{}`", metric.name, most(metric.name)),
                _ => format!("`convoke_{}`", metric.name),
            };
            let labels = match metric.source {
                Source::Info(labels) => labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", "),
                Source::Counters(_, label) => format!("`{label}`"),
                Source::Uplinks(_) => "`uplink`".to_owned(),
                Source::Passed(_) => "`uplink`, `way`".to_owned(),
                _ => String::new(),
            };
            let row = format!("| {name} | {} | {labels} | {} |", metric.kind.word(), metric.help);
            row.replace("|  |", "| |")
        };
        let expected: Vec<String> = METRICS.iter().map(row).collect();
        assert_eq!(rows, expected, "docs/metrics.md should say:\n{}\n", expected.join("\n"));
    }
}
