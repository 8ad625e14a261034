//! What the hub tells about itself, as values under `$hub/…`: how a node is once somebody has looked, and from then on at
//! once; and what changes all the time only while somebody looks.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{HubState, Timer};
use crate::limits;
use crate::name::{NAME_BYTES_MAX, NAME_WORDS_MAX, Name, Pattern};
use crate::report::{
    LINKS, LinkReport, MASTER, MasterReport, NODES, NodeReport, Reason, SERVICES, STATUS, StatusReport, TOPICS,
    TopicReport, node_report,
};
use crate::time::Time;

/// Who looks at what the hub tells about itself, and what was told.
#[derive(Default)]
pub(super) struct Reports {
    /// Patterns that are watched, and by how many.
    watched: BTreeMap<Pattern, u32>,
    /// Nodes whose values are not up to date, or not there yet; true if that has to be told also if nobody looks.
    stale: BTreeMap<Name, bool>,
    /// Values that are there only while somebody looks.
    pub(super) shown: BTreeSet<String>,
}

impl Reports {
    fn is_watched(&self, name: &str) -> bool {
        Name::parse(name).is_ok_and(|name| self.watched.keys().any(|pattern| pattern.matches(&name)))
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
    /// Somebody is about to get or watch values of the hub's own: those that match are brought up to date.
    pub(super) fn refresh_hub_values(&mut self, pattern: &Pattern) {
        if !pattern.is_reserved() {
            return;
        }
        self.refresh(std::slice::from_ref(pattern), false);
        if !self.reports.shown.is_empty() {
            self.arm_report();
        }
    }

    /// From now on somebody watches values of the hub's own.
    pub(super) fn hub_watch_begins(&mut self, pattern: &Pattern) {
        if pattern.is_reserved() {
            *self.reports.watched.entry(pattern.clone()).or_insert(0) += 1;
            self.refresh_hub_values(pattern);
            self.arm_report();
        }
    }

    /// Somebody watches this no longer.
    pub(super) fn hub_watch_ends(&mut self, pattern: &Pattern) {
        if let Some(count) = self.reports.watched.get_mut(pattern) {
            *count -= 1;
            if *count == 0 {
                self.reports.watched.remove(pattern);
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
        let watched: Vec<Pattern> = self.reports.watched.keys().cloned().collect();
        self.refresh(&watched, true);
        if !watched.is_empty() || !self.reports.stale.values().all(|must| !must) {
            self.arm_report();
        }
    }

    /// Brings up to date what matches any of these; and takes back what nobody looks at any more, if these are `all`.
    fn refresh(&mut self, patterns: &[Pattern], all: bool) {
        let stale: Vec<Name> =
            self.reports.stale.iter().filter(|(_, must)| **must).map(|(node, _)| node.clone()).collect();
        for node in stale {
            self.show_node(&node);
        }
        for pattern in patterns {
            match behind(pattern, NODES) {
                None => {}
                // One of them: the others need not be looked at, of which there may be as many as there are links.
                Some(node) if !node.contains(['+', '#']) => {
                    if let Some((node, _)) = self.reports.stale.get_key_value(node) {
                        let node = node.clone();
                        self.show_node(&node);
                    }
                }
                Some(_) => {
                    let stale: Vec<Name> = self.reports.stale.keys().cloned().collect();
                    for node in stale {
                        if Name::parse(&node_report(&node)).is_ok_and(|name| pattern.matches(&name)) {
                            self.show_node(&node);
                        }
                    }
                }
            }
        }
        let mut fresh = BTreeSet::new();
        self.refresh_status(patterns, &mut fresh);
        self.refresh_links(patterns, &mut fresh);
        self.refresh_services(patterns, &mut fresh);
        self.refresh_topics(patterns, &mut fresh);
        // What matches and is not there any more; or all that nobody looks at.
        let gone = |name: &String| {
            !fresh.contains(name)
                && (all || Name::parse(name).is_ok_and(|name| patterns.iter().any(|pattern| pattern.matches(&name))))
        };
        let gone: Vec<String> = self.reports.shown.iter().filter(|name| gone(name)).cloned().collect();
        for name in gone {
            self.reports.shown.remove(&name);
            self.set_hub_value(&name, None);
        }
    }

    fn refresh_status(&mut self, patterns: &[Pattern], fresh: &mut BTreeSet<String>) {
        let name = Name::parse(STATUS).expect("it is a name");
        if !patterns.iter().any(|pattern| pattern.matches(&name)) {
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

    fn refresh_links(&mut self, patterns: &[Pattern], fresh: &mut BTreeSet<String>) {
        if !patterns.iter().any(|pattern| behind(pattern, LINKS).is_some()) {
            return;
        }
        for id in self.links.ids() {
            let Some(link) = self.links.get_mut(id) else { continue };
            let name = format!("{LINKS}{}", link.opened);
            let waiting_bytes = link.lanes.bulk.bytes();
            let joined = link.joined().map(|joined| (joined.node.to_string(), joined.since, joined.seq));
            let (subscriptions, attentive) =
                link.joined().map_or((0, false), |joined| (joined.subscriptions.len(), joined.attentive > 0));
            let (node, since_ms, seq) = match joined {
                Some((node, since, seq)) => (Some(node), self.wall_at(since), seq),
                None => (None, 0, 0),
            };
            if Name::parse(&name).is_ok_and(|name| patterns.iter().any(|pattern| pattern.matches(&name))) {
                let report = LinkReport { node, since_ms, attentive, subscriptions, seq, waiting_bytes };
                self.show(name, &report, fresh);
            }
        }
    }

    fn refresh_services(&mut self, patterns: &[Pattern], fresh: &mut BTreeSet<String>) {
        if !patterns.iter().any(|pattern| behind(pattern, SERVICES).is_some()) {
            return;
        }
        for service in self.services.named() {
            let name = format!("{SERVICES}{service}");
            // A name that nobody may offer has no report.
            if Name::parse(&name).is_ok_and(|name| patterns.iter().any(|pattern| pattern.matches(&name))) {
                let report = self.services.report(&service, &self.members);
                self.show(name, &report, fresh);
            }
        }
    }

    fn refresh_topics(&mut self, patterns: &[Pattern], fresh: &mut BTreeSet<String>) {
        for wanted in patterns.iter().filter_map(|pattern| behind(pattern, TOPICS)) {
            for (topic, subscribers) in self.topics.matched_by(wanted, limits::TOPICS_LISTED_MAX) {
                let name = format!("{TOPICS}{topic}");
                // Of a topic whose name is too long for that nothing is told.
                if name.len() <= NAME_BYTES_MAX && name.split('/').count() <= NAME_WORDS_MAX {
                    self.show(name, &TopicReport { subscribers }, fresh);
                }
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
            self.reports.stale.entry(node.clone()).or_insert(false);
        }
    }

    /// What a node has told about itself has changed; `lasting` says that more than its load has.
    pub(super) fn node_is_stale(&mut self, node: &Name, lasting: bool) {
        let lasting = lasting && self.is_told(node);
        *self.reports.stale.entry(node.clone()).or_insert(false) |= lasting;
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
