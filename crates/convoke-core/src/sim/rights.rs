//! Programs that may do some things only, changes of what they may, and what no link may ever be told.
//!
//! What leaves the hub on a link of such a program is read frame by frame. **No event, value, entry, call or reply leaves on a
//! link that the rules in force when the link joined do not allow; nothing of the kind is taken to be written once a
//! change of these rules is applied; every link of the principal ends in that same turn; and what was taken before has left
//! [`RIGHTS_TIME_MAX`] later, or never does.** What such a program sends has an effect only where its link's rules allow
//! it: an event that they do not allow is routed to nobody (`oracle`), a write or a command is not appended, a call is not
//! given.
//!
//! The rules here are a list of clauses that are looked through, and not the hub's own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Checker;
use super::world::{Asked, ConnId, Request, Tag, World};
use crate::frame::{Appended, Change, End, EventHead, Frame, Head, Incarnation, Kind, NAMED, REST, Reader, WatchMode};
use crate::limits::RIGHTS_TIME_MAX;
use crate::name::{Name, Pattern};
use crate::operation::{GrantId, Operation};
use crate::proof::TokenKey;

type Clause = (bool, &'static str, &'static str);

/// The same as it came to the hub: what a program says that sends nonsense may be any.
type Given = (bool, String, String);

/// In the worlds of seeds with this bit there are programs that may do some things only.
pub(super) const SEEDS: u64 = 1 << 32;

/// Who may do some things only.
const PRINCIPALS: [&str; 2] = ["cam", "eye"];

/// What they may be given: whether it is denied, the verbs, the names.
const CLAUSES: [Clause; 31] = [
    (false, "publish", "#"),
    (false, "publish", "a/#"),
    (false, "publish", "%node/#"),
    (true, "publish", "b/#"),
    (true, "publish", "+/a"),
    (false, "subscribe", "#"),
    (false, "subscribe", "+/b/#"),
    (false, "subscribe", "%node/#"),
    (true, "subscribe", "press/#"),
    (true, "subscribe", "+/c"),
    (false, "get,watch", "#"),
    (false, "watch", "k/+"),
    (false, "get", "k/#"),
    (false, "watch", "live/#"),
    (true, "get,watch", "k/a"),
    (true, "get", "k/d/#"),
    (false, "set,delete", "#"),
    (false, "set", "k/+"),
    (true, "set,delete", "k/+"),
    (true, "delete", "live/#"),
    (false, "serve,call", "#"),
    (false, "call", "s/+"),
    (true, "call", "again"),
    (true, "serve", "s/a"),
    (false, "follow", "#"),
    (false, "execute,undo", "#"),
    (false, "execute", "press/+"),
    (false, "undo", "todo"),
    (true, "follow", "press/#"),
    (true, "execute", "todo"),
    (true, "undo", "+/1"),
];

/// What lets them in. Not all that is given has it.
const JOIN: Clause = (false, "join", "#");

/// What some have beside what they are denied.
const MUCH: Clause = (false, "publish,subscribe,get,watch,set,delete,serve,call,follow,execute,undo", "#");

/// Of how many things that happen one is a change of rights, in a world with such principals.
pub(super) const GRANTS_ONCE_IN: usize = 10;

/// What is true of rights.
#[derive(Debug, Default)]
pub(super) struct Wards {
    /// There are such principals in this world.
    pub(super) some: bool,
    /// Up to where the hub has applied operations, ever.
    pos: u64,
    /// Changes that were applied: each happens once.
    applied: BTreeSet<([u8; 16], u64, u64)>,
    rules: BTreeMap<&'static str, Vec<Given>>,
    /// What was ever to be written.
    appended: BTreeSet<(Incarnation, u64)>,
    /// Who has another key than its programs know.
    other_keys: BTreeSet<&'static str>,
    /// What each call was for, and whether it was allowed when it came.
    called: BTreeMap<(Tag, u64), (String, bool)>,
}

/// What a link may be told, and what its node may do.
#[derive(Debug)]
pub(super) struct Ward {
    principal: &'static str,
    node: String,
    clauses: Vec<(bool, String, Pattern)>,
    /// Up to where the hub had applied operations when it joined.
    pos: u64,
    /// Its rights have changed.
    changed: Option<crate::time::Time>,
    /// What was asked under which number.
    watches: BTreeMap<u32, WatchMode>,
    services: BTreeMap<u32, String>,
    follows: BTreeMap<u32, String>,
}

impl Wards {
    /// The hub starts: what it was to write it has forgotten.
    pub(super) fn begins(&mut self) {
        self.appended.clear();
    }
}

impl Ward {
    pub(super) fn may(&self, verb: &str, name: &str) -> bool {
        let mut may = false;
        for (deny, verbs, pattern) in &self.clauses {
            if verbs.split(',').any(|of| of == verb) && pattern.matches_text(name) {
                if *deny {
                    return false;
                }
                may = true;
            }
        }
        may
    }
}

fn text((deny, verbs, pattern): &Clause) -> String {
    format!("{} {verbs} {pattern}", if *deny { "deny" } else { "allow" })
}

fn given(text: &str) -> Option<Given> {
    let mut words = text.split(' ').map(str::to_owned);
    let (deny, verbs, pattern) = (words.next()? == "deny", words.next()?, words.next()?);
    Some((deny, verbs, pattern))
}

/// Whether it lets everybody in.
fn lets_in((deny, verbs, pattern): &Given) -> bool {
    (*deny, &verbs[..], &pattern[..]) == JOIN
}

pub(super) fn ward_key(principal: &str) -> TokenKey {
    TokenKey::derive(principal.as_bytes())
}

impl World {
    /// Before the first start of the hub: there are principals.
    pub(super) fn makes_wards(&mut self) {
        self.wards.some = true;
        for (number, principal) in PRINCIPALS.into_iter().enumerate() {
            let rules = self.some_rules();
            let rules = rules.iter().map(String::as_str).collect();
            let change = Change::Create { key: Some(ward_key(principal)), rules };
            let by = GrantId { hub: [9; 16], epoch: 0, number: number as u64 };
            let operation = Operation::Grant { by, name: principal.as_bytes(), wall_ms: 0, change };
            self.keeps(&operation.encode());
        }
    }

    /// As whom a new program proves itself, if not as somebody who may do everything.
    pub(super) fn some_ward(&mut self) -> Option<&'static str> {
        if self.wards.some && self.dice.once_in(2) { Some(self.dice.pick(&PRINCIPALS)) } else { None }
    }

    fn some_rules(&mut self) -> Vec<String> {
        let mut rules = Vec::new();
        if !self.dice.once_in(6) {
            rules.push(text(&JOIN));
        }
        if self.dice.once_in(2) {
            rules.push(text(&MUCH));
        }
        for _ in 0..1 + self.dice.below(8) {
            rules.push(text(&self.dice.pick(&CLAUSES)));
        }
        rules
    }

    /// Somebody changes what a principal may do.
    pub(super) fn grants(&mut self) {
        let may = |(_, program): &(&Tag, &super::world::Program)| {
            program.ward.is_none() && program.node.is_joined() && !program.frozen
        };
        let admins: Vec<Tag> = self.programs.iter().filter(may).map(|(tag, _)| *tag).collect();
        if admins.is_empty() {
            return;
        }
        let tag = self.dice.pick(&admins);
        let principal = self.dice.pick(&PRINCIPALS);
        let rules = self.some_rules();
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let change = match self.dice.below(8) {
            0 => Change::Revoke,
            1 => Change::Key(ward_key(principal)),
            2..4 => Change::Create { key: Some(ward_key(principal)), rules },
            _ => Change::Rules(rules),
        };
        self.trace.line(self.now, format_args!("program {tag} changes `{principal}`: {change:?}"));
        let Some(program) = self.programs.get_mut(&tag) else { return };
        if let Ok(id) = program.node.grant(&Name::parse(principal).expect("a name"), &change) {
            program.requests.insert(id, Request { what: Asked::Grant, sent: 0, expected: None });
        }
        self.with_node(tag, |_, _| {});
    }

    /// Whether this program cannot join as things are.
    pub(super) fn is_shut_out(&self, tag: Tag) -> bool {
        let ward = self.programs.get(&tag).and_then(|program| program.ward);
        let let_in = |ward| self.wards.rules.get(ward).is_some_and(|clauses| clauses.iter().any(lets_in));
        ward.is_some_and(|ward| !let_in(ward) || self.wards.other_keys.contains(ward))
    }

    /// Whether what it is told is checked on its link only.
    pub(super) fn is_ward(&self, tag: Tag) -> bool {
        self.programs.get(&tag).is_some_and(|program| program.ward.is_some())
    }

    /// How many principals there are.
    pub(super) fn principals(&self) -> usize {
        self.wards.rules.len()
    }

    /// The hub has applied an operation: a change of rights is in force from here on.
    pub(super) fn applied(&mut self, pos: u64, operation: &[u8]) {
        if pos <= self.wards.pos {
            // After a new start.
            return;
        }
        self.wards.pos = pos;
        let Ok(Operation::Grant { by, name, change, .. }) = Operation::decode(operation) else { return };
        let Some(principal) = PRINCIPALS.into_iter().find(|principal| principal.as_bytes() == name) else { return };
        let Wards { applied, rules, other_keys, .. } = &mut self.wards;
        let is_there = rules.contains_key(principal);
        if !applied.insert((by.hub, by.epoch, by.number)) || is_there == matches!(change, Change::Create { .. }) {
            return;
        }
        if let Change::Create { key: Some(key), .. } | Change::Key(key) = &change {
            // Who sends nonsense may give any.
            if *key == ward_key(principal) {
                other_keys.remove(principal);
            } else {
                other_keys.insert(principal);
            }
        }
        match change {
            Change::Create { rules: texts, .. } | Change::Rules(texts) => {
                rules.insert(principal, texts.iter().filter_map(|text| given(text)).collect());
            }
            Change::Key(_) => {}
            Change::Revoke => drop(rules.remove(principal)),
        }
        self.report.grants += 1;
        self.trace.line(self.now, format_args!("`{principal}` may: {:?}", self.wards.rules.get(principal)));
        let now = self.now;
        for link in self.conns.values_mut() {
            if let Some(ward) = link.ward.as_mut().filter(|ward| ward.principal == principal) {
                ward.changed.get_or_insert(now);
            }
        }
    }

    /// After a turn of the hub: no link lives whose rights have changed.
    pub(super) fn check_wards(&mut self) {
        let lives = |(_, conn): &(&Name, &ConnId)| {
            let ward = self.conns.get(*conn).and_then(|link| link.ward.as_ref());
            ward.is_some_and(|ward| ward.changed.is_some())
        };
        let found = self.joined.iter().find(lives).map(|(node, conn)| (node.clone(), *conn));
        if let Some((node, conn)) = found {
            let text = format!("the rights of `{node}` have changed, and its link {conn} goes on");
            self.fail(Checker::Rights, text);
        }
    }

    /// A node has joined on this link, with the rights that are in force now.
    pub(super) fn ward_joined(&mut self, conn: ConnId, node: &Name) {
        let Some(link) = self.conns.get_mut(&conn) else { return };
        let Some(principal) = link.principal else { return };
        let clauses = self.wards.rules.get(principal).into_iter().flatten();
        let clauses = clauses.map(|(deny, verbs, pattern)| {
            let pattern = Pattern::parse(&pattern.replace("%node", node.as_str())).expect("a pattern");
            (*deny, verbs.clone(), pattern)
        });
        let clauses = clauses.collect();
        let ward = Ward {
            principal,
            node: node.to_string(),
            clauses,
            pos: self.wards.pos,
            changed: None,
            watches: BTreeMap::new(),
            services: BTreeMap::new(),
            follows: BTreeMap::new(),
        };
        if !ward.may("join", node.as_str()) {
            let text = format!("`{node}` has joined as `{principal}` at {}, who may do {:?}", ward.pos, ward.clauses);
            self.fail(Checker::Rights, text);
        }
        if let Some(link) = self.conns.get_mut(&conn) {
            link.ward = Some(ward);
        }
    }

    /// Whether the node on this link may do so. Most may do everything.
    pub(super) fn may(&self, conn: ConnId, verb: &str, name: &str) -> bool {
        self.conns.get(&conn).and_then(|link| link.ward.as_ref()).is_none_or(|ward| ward.may(verb, name))
    }

    /// The hub was handed a frame of this link.
    pub(super) fn ward_says(&mut self, conn: ConnId, frame: &Frame<'_>) {
        let Some(link) = self.conns.get_mut(&conn) else { return };
        let tag = link.tag;
        let Some(ward) = &mut link.ward else { return };
        let (number, service) = match frame {
            Frame::Watch { id, mode, .. } => {
                ward.watches.insert(*id, *mode);
                return;
            }
            Frame::Follow(follow) => {
                return drop(ward.follows.insert(follow.id, String::from_utf8_lossy(follow.journal).into_owned()));
            }
            Frame::Serve { id, service, .. } => {
                return drop(ward.services.insert(*id, String::from_utf8_lossy(service).into_owned()));
            }
            Frame::Call(call) => (call.number, call.service),
            Frame::Part(head, body) if head.kind == Kind::Call as u8 && head.flags & REST == 0 => {
                let mut fields = Reader::new(body, 0);
                let number = fields.u64("");
                let before = fields.u32("").and_then(|_| fields.u8("")).and_then(|_| fields.short_bytes(""));
                let (Ok(number), Ok(_), Ok(service)) = (number, before, fields.short_bytes("")) else { return };
                (number, service)
            }
            _ => return,
        };
        let service = String::from_utf8_lossy(service).into_owned();
        let may = ward.may("call", &service);
        let called = self.wards.called.entry((tag, number)).or_insert_with(|| (service, false));
        called.1 |= may;
    }

    /// The hub has taken a frame to be written to this link.
    pub(super) fn ward_is_told(&mut self, conn: ConnId, frame: &Frame<'_>) {
        let Some(link) = self.conns.get(&conn) else { return };
        let wrong = match frame {
            Frame::Handle(handle) => self.wrong_handle(handle.incarnation, handle.number),
            _ => None,
        };
        let what = link.ward.as_ref().and_then(|ward| {
            let topics = &link.tap.topics;
            let told = |verbs: &[&str], what: &str, name: &str| {
                let may = verbs.iter().any(|verb| ward.may(verb, name));
                let late = ward.changed.map_or("", |_| ", after its rights had changed");
                (!may || !late.is_empty()).then(|| format!("is told {what} `{name}`{late}"))
            };
            match frame {
                // Who publishes on it is told its number too. It may have waited, as answers do.
                Frame::Topic { name, .. } if ward.changed.is_none() => {
                    told(&["subscribe", "publish"], "the topic", &String::from_utf8_lossy(name))
                }
                Frame::Event(EventHead { topic, flags, .. }, body) => {
                    if flags & REST != 0 {
                        return None;
                    }
                    let name = if flags & NAMED == 0 {
                        topics.get(topic).map_or("", Name::as_str).to_owned()
                    } else {
                        String::from_utf8_lossy(body.name.unwrap_or_default()).into_owned()
                    };
                    told(&["subscribe"], "an event of", &name)
                }
                Frame::Value(value) => {
                    told(&[ward.reads(value.id)], "the value of", &String::from_utf8_lossy(value.name))
                }
                Frame::Part(head, body) if head.kind == Kind::Entry as u8 && head.flags & REST == 0 => {
                    let id = Reader::new(body, 0).u32("").ok()?;
                    told(&["follow"], "an entry of", ward.follows.get(&id)?)
                }
                Frame::Part(head, body) => {
                    let (id, name) = value_in(head, body)?;
                    told(&[ward.reads(id)], "the value of", &name)
                }
                Frame::Entry(entry) => told(&["follow"], "an entry of", ward.follows.get(&entry.id)?),
                Frame::Handle(handle) => {
                    let service = ward.services.get(&handle.registration).map_or("", String::as_str);
                    told(&["serve"], "a call to", service)
                }
                Frame::Reply(reply) if matches!(reply.end, End::Done(_) | End::Failed { .. }) => {
                    let (service, _) = self.wards.called.get(&(link.tag, reply.id))?;
                    told(&["call"], "a reply of", service)
                }
                _ => None,
            }
        });
        if let Some(what) = what.or(wrong) {
            let who = self.conns.get(&conn).and_then(|link| link.ward.as_ref());
            let who = who.map(|ward| format!("`{}` as `{}`, who may {:?},", ward.node, ward.principal, ward.clauses));
            let who = who.unwrap_or_else(|| "its provider".to_owned());
            self.fail(Checker::Rights, format!("{who} on link {conn} {what}"));
        }
    }

    /// What is wrong with a call that is given to somebody.
    fn wrong_handle(&self, incarnation: Incarnation, number: u64) -> Option<String> {
        let conn = self.signs.get(&incarnation)?.conn?;
        let link = self.conns.get(&conn)?;
        link.ward.as_ref()?;
        let (service, may) = self.wards.called.get(&(link.tag, number))?;
        (!may).then(|| format!("is given call {number} of program {} to `{service}`, who may not", link.tag))
    }

    /// What is appended may be written.
    pub(super) fn check_may_write(&mut self, operation: &[u8]) {
        let Ok(operation) = Operation::decode(operation) else { return };
        let (incarnation, cseq) = match &operation {
            Operation::Write { incarnation, cseq, .. } | Operation::Append { incarnation, cseq, .. } => {
                (incarnation, *cseq)
            }
            _ => return,
        };
        // Where the foundation does not know of it, it is appended once more, whatever its node may do by then.
        if !self.wards.appended.insert((*incarnation, cseq)) {
            return;
        }
        let Some(conn) = self.signs.get(incarnation).and_then(|sign| sign.conn) else { return };
        let Some(ward) = self.conns.get(&conn).and_then(|link| link.ward.as_ref()) else { return };
        let wrong = match &operation {
            Operation::Write { cseq, items, .. } => items.iter().find_map(|item| {
                let verb = if item.set.is_some() { "set" } else { "delete" };
                let name = String::from_utf8_lossy(item.name).into_owned();
                let pattern = Pattern::parse(&name).ok().filter(|_| item.every);
                let may_all = |pattern: &Pattern| {
                    self.truth.values.keys().filter(|key| pattern.matches_text(key)).all(|key| ward.may(verb, key))
                };
                let may = pattern.as_ref().map_or_else(|| ward.may(verb, &name), may_all);
                (!may).then(|| format!("write {cseq} of `{}` does {verb} `{name}`", ward.node))
            }),
            Operation::Append { cseq, journal, appended, .. } => {
                let verb = if let Appended::Commands { .. } = appended { "execute" } else { "undo" };
                let name = String::from_utf8_lossy(journal);
                (!ward.may(verb, &name)).then(|| format!("append {cseq} of `{}` does {verb} `{name}`", ward.node))
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            let text = format!("{wrong}, and it may {:?}", ward.clauses);
            self.fail(Checker::Rights, text);
        }
    }

    /// Something leaves the hub's end of a link.
    pub(super) fn check_leaves(&mut self, conn: ConnId, bytes: usize) {
        let Some(changed) = self.conns.get(&conn).and_then(|link| link.ward.as_ref()?.changed) else { return };
        // What stood still notices later; and who has just been woken may write before it looks at the clock.
        let since = changed.max(self.last_stood_still());
        if bytes > 0 && self.now > since + RIGHTS_TIME_MAX + Duration::from_millis(1) {
            let text = format!("the rights of link {conn} changed at {changed:?}, and {bytes} bytes leave on it now");
            self.fail(Checker::Rights, text);
        }
    }
}

impl Ward {
    /// What must be allowed of what is told under this number.
    fn reads(&self, id: u32) -> &'static str {
        if self.watches.get(&id) == Some(&WatchMode::Once) { "get" } else { "watch" }
    }
}

/// The number and the name in the first fragment of a long value.
fn value_in(head: &Head, body: &[u8]) -> Option<(u32, String)> {
    if head.kind != Kind::Value as u8 || head.flags & REST != 0 {
        return None;
    }
    let mut fields = Reader::new(body, 0);
    let id = fields.u32("").ok()?;
    fields.bytes(16, "").ok()?;
    fields.short_bytes("").ok()?;
    Some((id, String::from_utf8_lossy(fields.short_bytes("").ok()?).into_owned()))
}
