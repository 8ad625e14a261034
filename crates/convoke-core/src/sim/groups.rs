//! What the members of a group must be told together: each event goes to one of them, and to no second one.
//!
//! Which one is the hub's choice, so the truth of a group is a set: what had to go to it, and what came.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use super::oracle::print;
use super::world::{Asked, ConnId, Request, Tag, World};
use crate::frame::write_headers;
use crate::name::{Name, Pattern};
use crate::node::{Delivery, Event};

/// Names of groups; few, so that programs meet in them.
const GROUPS: [&str; 2] = ["g", "g/b"];

/// The truth of one group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Events that had to go to it, by their places among all, and those that may have had to.
    expected: BTreeSet<u32>,
    maybe: BTreeSet<u32>,
    delivered: BTreeSet<u32>,
    /// What its members were told to have lost.
    told: u64,
    /// A member was cut or went with something on its way, or keeps little itself: events may be missing untold.
    pub(super) excused: bool,
}

impl World {
    pub(super) fn shares(&mut self, tag: Tag, pattern: Pattern) {
        let group = Name::parse(self.dice.pick(&GROUPS)).expect("a name");
        let Some(program) = self.programs.get_mut(&tag) else { return };
        if let Ok(id) = program.node.subscribe(pattern.clone(), Some(group.clone())) {
            self.trace.line(self.now, format_args!("program {tag} subscribes `{pattern}` in group `{group}` as {id}"));
            program.requests.insert(id, Request { what: Asked::Subscribe, sent: 0, expected: None });
            let excused = program.small_inbox || program.hostile;
            program.shares.insert(id, (pattern, group.clone()));
            self.groups.entry(group).or_default().excused |= excused;
        }
        self.with_node(tag, |_, _| {});
    }

    /// What was on its way to this member may never come.
    pub(super) fn share_ends(&mut self, group: &Name) {
        self.groups.entry(group.clone()).or_default().excused = true;
    }

    /// An event was taken: to how many groups it goes.
    pub(super) fn share_taken(&mut self, number: u32, topic: &Name, maybe: bool) -> u64 {
        let groups: BTreeSet<Name> = self
            .joined
            .values()
            .filter(|conn| self.may(**conn, "subscribe", topic.as_str()))
            .filter_map(|conn| self.routed.get(conn))
            .flat_map(|routed| routed.shares.values())
            .filter(|(pattern, _)| pattern.matches(topic))
            .map(|(_, group)| group.clone())
            .collect();
        for name in &groups {
            let group = self.groups.entry(name.clone()).or_default();
            if maybe {
                group.maybe.insert(number)
            } else {
                group.expected.insert(number)
            };
        }
        groups.len() as u64
    }

    pub(super) fn link_of_members_gone(&mut self, conn: ConnId) {
        let Some(routed) = self.routed.get(&conn) else { return };
        let groups: BTreeMap<Name, ()> = routed.shares.values().map(|(_, group)| (group.clone(), ())).collect();
        for group in groups.into_keys() {
            self.share_ends(&group);
        }
    }

    pub(super) fn check_share(&mut self, tag: Tag, id: u32, delivery: Delivery) {
        let Some(program) = self.programs.get(&tag) else { return };
        let Some((pattern, name)) = program.shares.get(&id).cloned() else { return };
        let hostile = program.hostile;
        match delivery {
            Delivery::Run(run) => {
                for event in run {
                    self.check_shared_event((tag, id), &pattern, &name, &event, hostile);
                }
            }
            Delivery::Event(event) => self.check_shared_event((tag, id), &pattern, &name, &event, hostile),
            Delivery::Lagged(count) => {
                self.trace.line(self.now, format_args!("program {tag} share {id}: lagged {count}"));
                self.groups.entry(name).or_default().told += count;
            }
            Delivery::Gap(gap) => self.trace.line(self.now, format_args!("program {tag} share {id}: gap {gap:?}")),
            Delivery::Ended(why) => self.trace.line(self.now, format_args!("program {tag} share {id}: ended, {why}")),
        }
    }

    fn check_shared_event(
        &mut self,
        (tag, id): (Tag, u32),
        pattern: &Pattern,
        name: &Name,
        event: &Event,
        hostile: bool,
    ) {
        if hostile {
            return;
        }
        self.report.shared += 1;
        let told = format!(
            "program {tag} subscription {id} to `{pattern}` in group `{name}` got event {} of `{}` on `{}`",
            event.seq,
            event.publisher(),
            event.topic()
        );
        if !pattern.matches(event.topic()) {
            return self.fail(Checker::Groups, format!("{told}, which does not match"));
        }
        let mut content =
            if event.headers.is_empty() { Vec::new() } else { write_headers(&event.headers).unwrap_or_default() };
        content.extend_from_slice(&event.payload.bytes);
        let print = print(event.payload.encoding, &content);
        let group = self.groups.entry(name.clone()).or_default();
        let same = |number: &&u32| {
            let taken = &self.taken[**number as usize];
            (taken.seq, taken.print, &taken.topic, &taken.publisher)
                == (event.seq, print, event.topic(), event.publisher())
        };
        let mut found: Vec<u32> = group.expected.iter().chain(&group.maybe).filter(same).copied().collect();
        found.sort_unstable();
        if found.is_empty() {
            return self.fail(Checker::Groups, format!("{told}, which the hub was not handed for it"));
        }
        // The same bytes may have been published twice, by different programs of one name.
        match found.into_iter().find(|number| !group.delivered.contains(number)) {
            Some(number) => {
                group.delivered.insert(number);
            }
            None => self.fail(Checker::Groups, format!("{told}, which a member of the group had got already")),
        }
    }

    /// When all is quiet each event was got by one, or announced as lost.
    pub(super) fn check_groups_in_the_end(&mut self) {
        for (name, group) in &self.groups {
            let missing = group.expected.difference(&group.delivered).count() as u64;
            let most = missing + group.maybe.difference(&group.delivered).count() as u64;
            if !group.excused && !(missing..=most).contains(&group.told) {
                let told = group.told;
                let text = format!(
                    "the group `{name}` did not get {missing} events (and may miss {most}), and was told of {told}"
                );
                return self.fail(Checker::Groups, text);
            }
        }
    }
}
