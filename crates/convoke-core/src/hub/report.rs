//! What the hub tells about itself, as values under `$hub/…`: how a node is once somebody has looked, and from then on at
//! once; and what changes all the time only while somebody looks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::{HubState, Timer};
use crate::limits::{self, REPORT_PAUSE};
use crate::name::{NAME_BYTES_MAX, NAME_WORDS_MAX, Name, Pattern};
use crate::report::{
    COUNTERS, ComeReport, FOLLOWERS, JOURNALS, LIMITS, LINKS, LinkReport, MASTER, MasterReport, NODES, NodeReport,
    ORIGINS, OriginsReport, Reason, SERVICES, STATUS, StatusReport, TOPICS, TopicReport, UPLINKS, UplinkReport,
    journal_report, node_report, origins_report,
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
    /// How many of these patterns match something of each part, and those that match topics.
    wanted: [usize; PARTS.len()],
    of_topics: BTreeSet<Pattern>,
    /// Nodes whose values are not up to date, which is told also if nobody looks.
    changed: BTreeSet<Name>,
    /// Those that have no value yet, or whose load only is not up to date.
    stale: BTreeSet<Name>,
    /// Values that are there only while somebody looks.
    pub(super) shown: BTreeSet<String>,
    /// Patterns with wildcards whose values were brought up to date within this pause.
    covered: BTreeSet<Pattern>,
    /// Which links, services and members of journals there were then.
    covered_as_of: [u64; 5],
    /// What was looked at for those who asked, in rows, and since when that is counted: for no longer than a pause.
    looked_at: i64,
    looked_since: Time,
    /// Parts that were brought up to date wholly in this pause, after too much was looked at.
    whole: BTreeSet<&'static str>,
}

/// Parts of what the hub tells that have many names.
const PARTS: [&str; 5] = [NODES, LINKS, SERVICES, JOURNALS, TOPICS];

impl Reports {
    pub(super) fn new(seed: u64) -> Reports {
        Reports {
            watched: BTreeMap::new(),
            watching: Tree::new(seed),
            changed: BTreeSet::new(),
            stale: BTreeSet::new(),
            shown: BTreeSet::new(),
            covered: BTreeSet::new(),
            covered_as_of: [0; 5],
            looked_at: 0,
            looked_since: Time::START,
            whole: BTreeSet::new(),
            wanted: [0; PARTS.len()],
            of_topics: BTreeSet::new(),
        }
    }

    fn is_watched(&self, name: &str) -> bool {
        self.watching.is_matched(name)
    }

    /// From now on what was looked at is not known any more.
    fn begin_pause(&mut self, now: Time) {
        self.covered.clear();
        self.whole.clear();
        (self.looked_at, self.looked_since) = (0, now);
    }

    /// A pattern is watched that was not, or is not any more.
    fn count(&mut self, pattern: &Pattern, more: bool) {
        for (part, wanted) in PARTS.into_iter().zip(&mut self.wanted) {
            if behind(pattern, part).is_some() {
                *wanted = if more { *wanted + 1 } else { *wanted - 1 };
            }
        }
        if behind(pattern, TOPICS).is_some() {
            if more {
                self.of_topics.insert(pattern.clone());
            } else {
                self.of_topics.remove(pattern);
            }
        }
    }

    /// Whether this is to be brought up to date for one pattern, or else for all that are watched.
    fn wants(&self, one: Option<&Pattern>, name: &str) -> bool {
        one.map_or_else(|| self.is_watched(name), |pattern| pattern.matches_text(name))
    }

    /// The same for any whose names begin so.
    fn wants_any(&self, one: Option<&Pattern>, part: &str) -> bool {
        match one {
            Some(pattern) => behind(pattern, part).is_some(),
            None => PARTS.iter().zip(self.wanted).any(|(of, wanted)| *of == part && wanted > 0),
        }
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

pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl HubState {
    /// Tells how one of the hub's links to other hubs is, as its program knows, and since when it is joined or is not;
    /// with `None` that there is none of this name any more.
    pub fn report_uplink(&mut self, name: &Name, report: Option<(UplinkReport, Time)>) {
        let key = format!("{UPLINKS}{name}");
        let report = report.map(|(report, since)| json(&UplinkReport { since_ms: self.wall_at(since), ..report }));
        self.set_hub_value(&key, report.as_deref());
    }

    /// Somebody is about to get or watch values of the hub's own: those that match are brought up to date. What changes all
    /// the time and is asked for with a wildcard is so at most once in a pause for each pattern, unless links or services
    /// came or went meanwhile; and all that is asked for together only until too much was looked at in the pause. Then each
    /// part is brought up to date once more, and stays as it is until the next. Gives what that has cost, in rows that are
    /// looked at in vain.
    pub(super) fn refresh_hub_values(&mut self, pattern: &Pattern) -> i64 {
        if !pattern.is_reserved() {
            return 0;
        }
        self.show_changed_nodes();
        let (links, view, services) = (self.links.len() as u64, self.members.view, self.services.changes());
        let as_of = [self.links.opened(), links, view, services, self.memberships_changes()];
        if as_of != self.reports.covered_as_of {
            self.reports.covered.clear();
            self.reports.covered_as_of = as_of;
        }
        if self.now.since(self.reports.looked_since) >= REPORT_PAUSE {
            self.reports.begin_pause(self.now);
        }
        let mut cost = REPORT_ROWS;
        if self.reports.looked_at > limits::REPORT_ROWS_MAX {
            cost += self.refresh_parts(pattern);
        } else {
            cost += self.refresh_nodes(pattern);
            if self.reports.covered.contains(pattern) {
                self.refresh_status(Some(pattern), &mut BTreeSet::new());
            } else {
                cost += self.refresh(Some(pattern));
            }
            if pattern.as_name().is_none() && self.reports.covered.len() < COVERED_MAX {
                self.reports.covered.insert(pattern.clone());
            }
        }
        self.reports.looked_at += cost;
        if !self.reports.shown.is_empty() {
            self.arm_report(REPORT_PAUSE);
        }
        cost
    }

    /// Brings up to date what costs little, and of the rest each part that is asked for, if that was not done in this pause.
    fn refresh_parts(&mut self, pattern: &Pattern) -> i64 {
        if [NODES, SERVICES, JOURNALS, TOPICS].iter().any(|part| pattern.as_str().starts_with(part))
            && pattern.as_name().is_some()
        {
            return self.refresh_nodes(pattern) + self.refresh(Some(pattern));
        }
        self.refresh_status(Some(pattern), &mut BTreeSet::new());
        let mut cost = 0;
        if behind(pattern, NODES).is_some() && self.reports.whole.insert(NODES) {
            cost += self.refresh_nodes(&Pattern::parse("$hub/nodes/#").expect("it is a pattern"));
        }
        for (part, all) in [
            (LINKS, "$hub/links/#"),
            (SERVICES, "$hub/services/#"),
            (JOURNALS, "$hub/journals/#"),
            (TOPICS, "$hub/topics/#"),
        ] {
            if behind(pattern, part).is_some() && self.reports.whole.insert(part) {
                cost += self.refresh(Some(&Pattern::parse(all).expect("it is a pattern")));
            }
        }
        for part in [LIMITS, COUNTERS] {
            if pattern.matches_text(part) && self.reports.whole.insert(part) {
                cost += self.refresh(Some(&Pattern::parse(part).expect("it is a pattern")));
            }
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
            let count = self.reports.watched.entry(pattern.clone()).or_insert(0);
            *count += 1;
            if *count == 1 {
                self.reports.count(pattern, true);
            }
            self.reports.watching.get_or_insert_with(pattern.as_str(), || ());
            self.arm_report(REPORT_PAUSE);
        }
    }

    /// Somebody watches this no longer.
    pub(super) fn hub_watch_ends(&mut self, pattern: &Pattern) {
        if let Some(count) = self.reports.watched.get_mut(pattern) {
            *count -= 1;
            if *count == 0 {
                self.reports.watched.remove(pattern);
                self.reports.watching.remove(pattern.as_str());
                self.reports.count(pattern, false);
            }
        }
    }

    fn arm_report(&mut self, pause: Duration) {
        if !self.timers.is_set(Timer::Report) {
            self.timers.set(self.now + pause, Timer::Report);
        }
    }

    /// A pause is over: those who watch are told what has changed.
    pub(super) fn expire_report(&mut self) {
        self.reports.begin_pause(self.now);
        self.show_changed_nodes();
        let mut cost = 0;
        if self.reports.wants_any(None, NODES) {
            cost = self.reports.stale.len() as i64;
            let stale = self.reports.stale.iter();
            let stale: Vec<Name> = stale.filter(|node| self.reports.is_watched(&node_report(node))).cloned().collect();
            for node in stale {
                self.show_node(&node);
            }
        }
        cost += self.refresh(None);
        if !self.reports.watched.is_empty() {
            // Where there is much to look at, it is done less often.
            let pauses = u32::try_from(1 + cost / limits::REPORT_ROWS_MAX).unwrap_or(u32::MAX);
            self.arm_report(REPORT_PAUSE.saturating_mul(pauses));
        }
    }

    /// Brings the values of nodes up to date that somebody looks at: those that have none yet, or whose load has changed.
    fn refresh_nodes(&mut self, pattern: &Pattern) -> i64 {
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
        let cost = looked_at + stale.len() as i64 * REPORT_ROWS;
        self.counters.count_report_rows(cost);
        cost
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
        let mut cost = self.refresh_usage(one, &mut fresh);
        cost += self.refresh_links(one, &mut fresh);
        cost += self.refresh_services(one, &mut fresh);
        cost += self.refresh_journals(one, &mut fresh);
        cost += self.refresh_topics(one, &mut fresh);
        cost += fresh.len() as i64 * REPORT_ROWS;
        let shown = &self.reports.shown;
        let gone: Vec<String> = match one.map(|pattern| (pattern, pattern.as_name())) {
            Some((pattern, Some(_))) => shown.get(pattern.as_str()).into_iter().cloned().collect(),
            Some((pattern, None)) => {
                cost += shown.len() as i64;
                shown.iter().filter(|name| pattern.matches_text(name)).cloned().collect()
            }
            None => {
                cost += shown.len() as i64;
                shown.iter().cloned().collect()
            }
        };
        for name in gone.iter().filter(|name| !fresh.contains(*name)) {
            self.reports.shown.remove(name);
            self.set_hub_value(name, None);
        }
        self.counters.count_report_rows(cost);
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

    /// What is used of limits, and what was counted. Gives what was looked at for it.
    fn refresh_usage(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) -> i64 {
        let mut looked_at = 0;
        if self.reports.wants(one, LIMITS) {
            looked_at += self.usage_looks_at();
            let report = self.usage();
            self.show(LIMITS.to_owned(), &report, fresh);
        }
        if self.reports.wants(one, COUNTERS) {
            looked_at += self.links.len();
            let report = self.counters().report(self.links.opened());
            self.show(COUNTERS.to_owned(), &report, fresh);
        }
        looked_at as i64
    }

    fn refresh_links(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) -> i64 {
        if !self.reports.wants_any(one, LINKS) {
            return 0;
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
        self.links.len() as i64
    }

    fn refresh_services(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) -> i64 {
        if !self.reports.wants_any(one, SERVICES) {
            return 0;
        }
        let alone =
            one.and_then(Pattern::as_name).and_then(|name| Name::parse(name.as_str().strip_prefix(SERVICES)?).ok());
        let services = match alone {
            Some(alone) => Some(alone).filter(|alone| self.services.has(alone)).into_iter().collect(),
            None => self.services.named(),
        };
        let mut looked_at = services.len();
        for service in services {
            let name = format!("{SERVICES}{service}");
            // A name that nobody may offer has no report.
            if self.reports.wants(one, &name) && Name::parse(&name).is_ok() {
                let report = self.services.report(&service, &self.members);
                looked_at += report.providers.len();
                self.show(name, &report, fresh);
            }
        }
        looked_at as i64
    }

    fn refresh_journals(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) -> i64 {
        if !self.reports.wants_any(one, JOURNALS) {
            return 0;
        }
        let name = one.and_then(Pattern::as_name);
        if let Some(of) = name.as_ref().and_then(|name| name.as_str().strip_prefix(JOURNALS)?.strip_suffix(ORIGINS))
            && let Ok(journal) = Name::parse(of)
        {
            let report = self.origins_report(&journal);
            self.show(origins_report(&journal), &report, fresh);
            return 1;
        }
        let alone =
            name.and_then(|name| name.as_str().strip_prefix(JOURNALS)?.strip_suffix(FOLLOWERS).map(Name::parse));
        let journals = match alone {
            Some(alone) => alone.into_iter().collect(),
            None => self.journals_named(),
        };
        let mut looked_at = journals.len();
        for journal in journals {
            let name = journal_report(&journal);
            // Of a journal whose name is too long for that nothing is told.
            if self.reports.wants(one, &name)
                && Name::parse(&name).is_ok()
                && let Some(report) = self.journal_report(&journal)
            {
                looked_at += report.members.len();
                self.show(name, &report, fresh);
            }
        }
        looked_at as i64
    }

    fn origins_report(&self, journal: &Name) -> OriginsReport {
        let Some(id) = self.kept.journals.find(journal) else { return OriginsReport::default() };
        let known = self.kept.journals.get(id);
        let come = self.kept.journals.come(id).map(|(hub, come)| {
            let (carried, hash) = come.carried;
            (hex(hub), ComeReport { known: come.known, carried, hash: hex(&hash) })
        });
        OriginsReport { last: known.last(), strategy: known.strategy().to_string(), hubs: come.collect() }
    }

    fn refresh_topics(&mut self, one: Option<&Pattern>, fresh: &mut BTreeSet<String>) -> i64 {
        let of_topics = &self.reports.of_topics;
        let mut wanted: BTreeSet<&str> = match one {
            Some(pattern) => behind(pattern, TOPICS).into_iter().collect(),
            None if of_topics.len() > TOPIC_PATTERNS_MAX => ["#"].into(),
            None => of_topics.iter().filter_map(|pattern| behind(pattern, TOPICS)).collect(),
        };
        let mut found = BTreeMap::new();
        let mut looked_at = 0;
        while let Some(pattern) = wanted.pop_first() {
            let wants = |name: &Name| self.reports.wants(one, &format!("{TOPICS}{name}"));
            let max = limits::TOPICS_LISTED_MAX - found.len();
            let mut steps = usize::MAX;
            found.extend(self.topics.matched_by(pattern, max, &mut steps, wants));
            looked_at += usize::MAX - steps;
            if wanted.len() > 1 && looked_at > self.topics.len() {
                // To look at all once for all of them is quicker.
                wanted = ["#"].into();
            }
        }
        for (topic, subscribers) in found {
            let name = format!("{TOPICS}{topic}");
            // Of a topic whose name is too long for that nothing is told.
            if name.len() <= NAME_BYTES_MAX && name.split('/').count() <= NAME_WORDS_MAX {
                self.show(name, &TopicReport { subscribers }, fresh);
            }
        }
        looked_at as i64
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
            self.arm_report(REPORT_PAUSE);
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
    pub(super) fn wall_at(&self, time: Time) -> u64 {
        self.wall_ms().saturating_sub(u64::try_from(self.now.since(time).as_millis()).unwrap_or(u64::MAX))
    }
}

fn json(report: &impl Serialize) -> String {
    serde_json::to_string(report).expect("reports have text for keys and no strange numbers")
}
