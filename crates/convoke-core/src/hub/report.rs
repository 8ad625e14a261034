//! What the hub tells about itself, as values under `$hub/…`: how a node is once somebody has looked, and from then on at
//! once; and what changes all the time only while somebody looks.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{HubState, Timer};
use crate::limits;
use crate::name::{NAME_BYTES_MAX, NAME_WORDS_MAX, Name, Pattern};
use crate::report::{
    COUNTERS, LINKS, LinkReport, MASTER, MasterReport, NODES, NodeReport, Reason, SERVICES, STATUS, StatusReport,
    TOPICS, TopicReport, node_report,
};
use crate::time::Time;
use crate::tree::Tree;

/// What it costs to make one report, in rows that are looked at in vain.
const REPORT_ROWS: i64 = 8;

/// Topics that are watched by so few patterns are looked up for each; those that are watched by more are found among all.
const TOPIC_PATTERNS_MAX: usize = 16;

/// Patterns of which it is remembered that what they match is up to date.
const COVERED_MAX: usize = 1000;

/// Who looks at what the hub tells about itself, and what was told.
pub(super) struct Reports {
    /// Patterns that are watched, and by how many; and the same to be found by what they match.
    watched: BTreeMap<Pattern, u32>,
    watching: Tree<()>,
    /// Nodes whose values are not up to date, which is told also if nobody looks.
    changed: BTreeSet<Name>,
    /// Those that have no value yet, or whose load only is not up to date.
    stale: BTreeSet<Name>,
    /// Values that are there only while somebody looks.
    pub(super) shown: BTreeSet<String>,
    /// Patterns with wildcards whose values were brought up to date within this pause.
    covered: BTreeSet<Pattern>,
    /// Which links and services there were then.
    covered_as_of: (u64, usize, u64, u64),
}

impl Reports {
    pub(super) fn new(seed: u64) -> Reports {
        Reports {
            watched: BTreeMap::new(),
            watching: Tree::new(seed),
            changed: BTreeSet::new(),
            stale: BTreeSet::new(),
            shown: BTreeSet::new(),
            covered: BTreeSet::new(),
            covered_as_of: (0, 0, 0, 0),
        }
    }

    fn is_watched(&self, name: &str) -> bool {
        let mut watched = false;
        self.watching.matching(name, |()| watched = true);
        watched
    }

    /// Whether this is to be brought up to date for one pattern, or else for all that are watched.
    fn wants(&self, one: Option<&Pattern>, name: &str) -> bool {
        one.map_or_else(|| self.is_watched(name), |pattern| pattern.matches_text(name))
    }

    /// The same for any whose names begin so.
    fn wants_any(&self, one: Option<&Pattern>, prefix: &str) -> bool {
        let wants = |pattern: &Pattern| behind(pattern, prefix).is_some();
        one.map_or_else(|| self.watched.keys().any(wants), wants)
    }
}

/// What of a pattern is behind this prefix of two words and a slash; `None` if no name that begins so matches.
fn behind<'a>(pattern: &'a Pattern, prefix: &str) -> Option<&'a str> {
    let mut rest = pattern.as_str();
    for (place, word) in prefix.trim_end_matches('/').split('/').enumerate() {
        let (wanted, after) = rest.split_once('/').unwrap_or((rest, ""));
        match wanted {
            "#" if place > 0 => return Some("#"),
            "+" if place > 0 => {}
            wanted if wanted == word => {}
            _ => return None,
        }
        rest = after;
    }
    Some(rest).filter(|rest| !rest.is_empty())
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl HubState {
    /// Somebody is about to get or watch values of the hub's own: those that match are brought up to date. What changes all
    /// the time and is asked for with a wildcard is so at most once in a pause for each pattern, unless links or services
    /// came or went meanwhile. Gives what that has cost, in rows that are looked at in vain.
    pub(super) fn refresh_hub_values(&mut self, pattern: &Pattern) -> i64 {
        if !pattern.is_reserved() {
            return 0;
        }
        let mut cost = self.refresh_nodes(pattern);
        let as_of = (self.links.opened(), self.links.len(), self.members.view, self.services.changes());
        if as_of != self.reports.covered_as_of {
            self.reports.covered.clear();
            self.reports.covered_as_of = as_of;
        }
        if self.reports.covered.contains(pattern) {
            self.refresh_status(Some(pattern), &mut BTreeSet::new());
            return cost + REPORT_ROWS;
        }
        cost += self.refresh(Some(pattern));
        if !self.reports.shown.is_empty() {
            if pattern.as_name().is_none() && self.reports.covered.len() < COVERED_MAX {
                self.reports.covered.insert(pattern.clone());
            }
            self.arm_report();
        }
        cost
    }

    /// From now on somebody watches values of the hub's own. Gives what it costs to bring them up to date.
    pub(super) fn hub_watch_begins(&mut self, pattern: &Pattern) -> i64 {
        self.hub_watch_adds(pattern);
        self.refresh_hub_values(pattern)
    }

    /// The same for somebody who has had so much lately that the values are brought up to date only after the next pause.
    pub(super) fn hub_watch_adds(&mut self, pattern: &Pattern) {
        if pattern.is_reserved() {
            *self.reports.watched.entry(pattern.clone()).or_insert(0) += 1;
            self.reports.watching.get_or_insert_with(pattern.as_str(), || ());
            self.arm_report();
        }
    }

    /// Somebody watches this no longer.
    pub(super) fn hub_watch_ends(&mut self, pattern: &Pattern) {
        if let Some(count) = self.reports.watched.get_mut(pattern) {
            *count -= 1;
            if *count == 0 {
                self.reports.watched.remove(pattern);
                self.reports.watching.remove(pattern.as_str());
            }
        }
    }

    fn arm_report(&mut self) {
        if !self.timers.is_set(Timer::Report) {
            self.timers.set(self.now + limits::REPORT_PAUSE, Timer::Report);
        }
    }

    /// A pause is over: those who watch are told what has changed.
    pub(super) fn expire_report(&mut self) {
        self.reports.covered.clear();
        self.show_changed_nodes();
        let (watched, stale) = (&self.reports.watched, &self.reports.stale);
        if watched.keys().any(|pattern| behind(pattern, NODES).is_some()) {
            let stale: Vec<Name> =
                stale.iter().filter(|node| self.reports.is_watched(&node_report(node))).cloned().collect();
            for node in stale {
                self.show_node(&node);
            }
        }
        self.refresh(None);
        if !self.reports.watched.is_empty() {
            self.arm_report();
        }
    }

    /// Brings the values of nodes up to date: of all that have changed, and the load of those that somebody looks at.
    fn refresh_nodes(&mut self, pattern: &Pattern) -> i64 {
        self.show_changed_nodes();
        let Some(wanted) = behind(pattern, NODES) else { return 0 };
        let mut looked_at = 1;
        let stale: Vec<Name> = match Name::parse(wanted) {
            Ok(node) => self.reports.stale.get(&node).cloned().into_iter().collect(),
            Err(_) => {
                looked_at = self.reports.stale.len() as i64;
                let stale = self.reports.stale.iter();
                stale.filter(|node| pattern.matches_text(&node_report(node))).cloned().collect()
            }
        };
        for node in &stale {
            self.show_node(node);
        }
        looked_at + stale.len() as i64 * REPORT_ROWS
    }

    fn show_changed_nodes(&mut self) {
        while let Some(node) = self.reports.changed.first().cloned() {
            self.show_node(&node);
        }
    }

    /// Brings up to date what is told only while somebody looks: what matches this, or all that is watched. Takes back what
    /// matches and is not there any more; or all that nobody looks at. Gives what that has cost.
    fn refresh(&mut self, one: Option<&Pattern>) -> i64 {
        let mut fresh = BTreeSet::new();
        self.refresh_status(one, &mut fresh);
        self.refresh_counters(one, &mut fresh);
        self.refresh_links(one, &mut fresh);
        self.refresh_services(one, &mut fresh);
        self.refresh_topics(one, &mut fresh);
        let mut cost = fresh.len() as i64 * REPORT_ROWS;
        let shown = &self.reports.shown;
        let gone: Vec<String> = match one.map(|pattern| (pattern, pattern.as_name())) {
            Some((pattern, Some(_))) => shown.get(pattern.as_str()).into_iter().cloned().collect(),
            Some((pattern, None)) => {
                cost += shown.len() as i64;
                shown.iter().filter(|name| pattern.matches_text(name)).cloned().collect()
            }
            None => shown.iter().cloned().collect(),
        };
        for name in gone.iter().filter(|name| !fresh.contains(*name)) {
            self.reports.shown.remove(name);
            self.set_hub_value(name, None);
        }
        cost
    }

    fn refresh_status(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) {
        if !self.reports.wants(one, STATUS) {
            return;
        }
        let report = StatusReport {
            hub: hex(&self.identity.hub),
            history: hex(&self.identity.history),
            epoch: self.identity.epoch.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.wall_at(self.started),
            view: self.members.view,
            census: self.census(),
        };
        self.show(STATUS.to_owned(), &report, fresh);
    }

    fn refresh_counters(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) {
        if self.reports.wants(one, COUNTERS) {
            let report = self.counters().report(self.links.opened());
            self.show(COUNTERS.to_owned(), &report, fresh);
        }
    }

    fn refresh_links(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) {
        if !self.reports.wants_any(one, LINKS) {
            return;
        }
        // One that is asked for alone need not be looked for by name.
        let alone =
            one.and_then(Pattern::as_name).and_then(|name| name.as_str().strip_prefix(LINKS)?.parse::<u64>().ok());
        for id in self.links.ids() {
            let Some(link) = self.links.get_mut(id) else { continue };
            if alone.is_some_and(|alone| alone != link.opened) {
                continue;
            }
            let name = format!("{LINKS}{}", link.opened);
            if !self.reports.wants(one, &name) {
                continue;
            }
            let waiting_bytes = link.lanes.bulk.bytes();
            let joined = link.joined().map(|joined| (joined.node.to_string(), joined.since, joined.seq));
            let (subscriptions, attentive) =
                link.joined().map_or((0, false), |joined| (joined.subscriptions.len(), joined.attentive > 0));
            let (node, since_ms, seq) = match joined {
                Some((node, since, seq)) => (Some(node), self.wall_at(since), seq),
                None => (None, 0, 0),
            };
            let report = LinkReport { node, since_ms, attentive, subscriptions, seq, waiting_bytes };
            self.show(name, &report, fresh);
        }
    }

    fn refresh_services(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) {
        if !self.reports.wants_any(one, SERVICES) {
            return;
        }
        let alone =
            one.and_then(Pattern::as_name).and_then(|name| Name::parse(name.as_str().strip_prefix(SERVICES)?).ok());
        let services = match alone {
            Some(alone) => Some(alone).filter(|alone| self.services.has(alone)).into_iter().collect(),
            None => self.services.named(),
        };
        for service in services {
            let name = format!("{SERVICES}{service}");
            // A name that nobody may offer has no report.
            if self.reports.wants(one, &name) && Name::parse(&name).is_ok() {
                let report = self.services.report(&service, &self.members);
                self.show(name, &report, fresh);
            }
        }
    }

    fn refresh_topics(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) {
        let watched: Vec<&Pattern> = match one {
            Some(pattern) => vec![pattern],
            None => self.reports.watched.keys().collect(),
        };
        let mut wanted: BTreeSet<&str> = watched.into_iter().filter_map(|pattern| behind(pattern, TOPICS)).collect();
        if wanted.len() > TOPIC_PATTERNS_MAX {
            wanted = ["#"].into();
        }
        let mut found = BTreeMap::new();
        for wanted in wanted {
            let wants = |name: &Name| self.reports.wants(one, &format!("{TOPICS}{name}"));
            let max = limits::TOPICS_LISTED_MAX - found.len();
            found.extend(self.topics.matched_by(wanted, max, wants));
        }
        for (topic, subscribers) in found {
            let name = format!("{TOPICS}{topic}");
            // Of a topic whose name is too long for that nothing is told.
            if name.len() <= NAME_BYTES_MAX && name.split('/').count() <= NAME_WORDS_MAX {
                self.show(name, &TopicReport { subscribers }, fresh);
            }
        }
    }

    /// Sets a value that is there only while somebody looks.
    fn show(&mut self, name: String, report: &impl Serialize, fresh: &mut BTreeSet<String>) {
        self.set_hub_value(&name, Some(&json(report)));
        self.reports.shown.insert(name.clone());
        fresh.insert(name);
    }

    /// How a node is has changed. Its value is set now if somebody has looked at it before, or looks; of a node that nobody
    /// has asked about there is none, which spares a hub of many links half a KiB for each.
    pub(super) fn node_changed(&mut self, node: &Name) {
        if self.is_told(node) {
            self.show_node(node);
        } else {
            self.reports.stale.insert(node.clone());
        }
    }

    /// What a node has told about itself has changed; `lasting` says that more than its load has.
    pub(super) fn node_is_stale(&mut self, node: &Name, lasting: bool) {
        let lasting = lasting && self.is_told(node);
        let nodes = if lasting { &mut self.reports.changed } else { &mut self.reports.stale };
        nodes.insert(node.clone());
        if lasting || self.reports.is_watched(&node_report(node)) {
            self.arm_report();
        }
    }

    /// Whether the value that says how a node is has been set, or is watched.
    fn is_told(&self, node: &Name) -> bool {
        let name = node_report(node);
        let values = &self.memory.values;
        values.find(&name).is_some_and(|slot| values.rev(slot).is_some()) || self.reports.is_watched(&name)
    }

    /// Sets the value that says how a node is.
    pub(super) fn show_node(&mut self, node: &Name) {
        self.reports.changed.remove(node);
        self.reports.stale.remove(node);
        let Some(member) = self.members.get(node) else { return };
        let info = member.info.clone().unwrap_or_default();
        let report = NodeReport {
            state: member.state,
            reason: member
                .reason
                .as_ref()
                .map(|why| Reason { code: why.code.word().to_owned(), text: why.text.to_string() }),
            since_ms: self.wall_at(member.since),
            view: member.view,
            incarnation: member.incarnation.to_string(),
            author: member.author.to_string(),
            principal: member.principal.to_string(),
            host: info.host,
            pid: info.pid,
            program: info.program,
            cpu_permille: info.cpu_permille,
            own_cpu_permille: info.own_cpu_permille,
            memory: info.memory,
            free_memory: info.free_memory,
            master: info.master,
        };
        self.set_hub_value(&node_report(node), Some(&json(&report)));
    }

    /// Takes back the value that says how a node is.
    pub(super) fn unshow_node(&mut self, node: &Name) {
        self.reports.changed.remove(node);
        self.reports.stale.remove(node);
        self.set_hub_value(&node_report(node), None);
    }

    /// Sets the value that says who is master.
    pub(super) fn show_master(&mut self) {
        let (epoch, term) = (self.identity.epoch.to_string(), self.members.term);
        let report = self.members.master().map(|node| json(&MasterReport { node: node.to_string(), epoch, term }));
        self.set_hub_value(MASTER, report.as_deref());
    }

    /// A time as reports have it: in milliseconds since 1970.
    fn wall_at(&self, time: Time) -> u64 {
        self.wall_ms().saturating_sub(u64::try_from(self.now.since(time).as_millis()).unwrap_or(u64::MAX))
    }
}

fn json(report: &impl Serialize) -> String {
    serde_json::to_string(report).expect("reports have text for keys and no strange numbers")
}
