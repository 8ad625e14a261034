//! What programs do with values at random, and what they must be told about their writes and gets.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use super::oracle::print;
use super::truth::{Life, mark, marked, marks};
use super::watcher::Watcher;
use super::world::{Asked, Request, Tag, World};
use crate::frame::{Expect, Incarnation, Item, Items, Set, WatchMode};
use crate::name::{Name, Pattern};
use crate::node::{Change, NotWritten, RequestId, WriteId, Wrote};
use crate::payload::Encoding;
use crate::refusal::{Code, Refusal};
use crate::rev::Rev;
use crate::time::Time;

/// Keys; few, so that programs meet in them. Those below `live` are in memory.
const KEYS: [&str; 8] = ["k/a", "k/b", "k/c", "k/d/e", "other", "live/a", "live/b", "live/c"];

const PATTERNS: [&str; 6] = ["#", "k/#", "k/+", "k/a", "live/#", "other"];

/// Watches of one program.
const WATCHES_MAX: usize = 4;

/// What one program does with values, beside its node.
#[derive(Debug, Default)]
pub(super) struct User {
    number: u64,
    pub(super) writes: BTreeMap<WriteId, Wish>,
    pub(super) watches: BTreeMap<RequestId, Watcher>,
    pub(super) gets: BTreeMap<RequestId, Get>,
}

/// A write without an answer.
#[derive(Debug)]
pub(super) struct Wish {
    items: Vec<u8>,
    /// It cannot be done without changing something.
    changes: bool,
}

/// A get without an answer.
#[derive(Debug)]
pub(super) struct Get {
    pattern: Pattern,
    /// What anybody had been told when it began.
    seen: u64,
    memory_seen: BTreeMap<String, Rev>,
}

/// When an incarnation was last heard, and how it is with its link.
#[derive(Debug)]
pub(super) struct Sign {
    pub(super) name: Name,
    pub(super) conn: Option<super::world::ConnId>,
    pub(super) heard: Time,
    /// It will not come back.
    pub(super) gone: bool,
}

impl World {
    /// One random thing with values.
    pub(super) fn values_step(&mut self, tag: Tag) {
        match self.dice.below(100) {
            0..70 => {
                let count = self.dice.pick(&[1, 1, 1, 2, 6]);
                for _ in 0..count {
                    self.writes(tag);
                }
            }
            70..82 => self.watches(tag),
            82..86 => {
                let Some(program) = self.programs.get_mut(&tag) else { return };
                let ids: Vec<u32> = program.values.watches.keys().copied().collect();
                if !ids.is_empty() {
                    let id = self.dice.pick(&ids);
                    self.trace.line(self.now, format_args!("program {tag} ends watch {id}"));
                    program.values.watches.remove(&id);
                    program.requests.remove(&id);
                    self.with_node(tag, |node, _| node.unwatch(id));
                }
            }
            _ => {
                let pattern = self.dice.pick(&PATTERNS);
                self.gets(tag, pattern);
            }
        }
    }

    fn some_expectation(&mut self, name: &str) -> Expect {
        match self.dice.below(8) {
            0 => Expect::Absent,
            1 => Expect::Present,
            2..4 => {
                let now = self.truth.values.get(name).map(|has| Rev::durable(has.place.0));
                let seen = self.truth.memory_seen.get(name).copied();
                match (now.or(seen), self.dice.once_in(3)) {
                    (Some(rev), true) => Expect::Rev(Rev { n: rev.n.saturating_sub(1), ..rev }),
                    (Some(rev), false) => Expect::Rev(rev),
                    _ => Expect::Absent,
                }
            }
            _ => Expect::Anything,
        }
    }

    /// Writes something, and notes it.
    pub(super) fn writes(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.values.number += 1;
        let (number, big) = (program.values.number, self.capacity_min > 0);
        let memory = self.dice.once_in(4);
        let names: Vec<&str> = KEYS.into_iter().filter(|key| key.starts_with("live") == memory).collect();
        let life = match self.dice.below(10) {
            0 => Life::Timed,
            1..3 => Life::Ephemeral,
            _ => Life::Lasting,
        };
        let sizes: &[usize] = if big { &[20, 3000, 60_000, 150_000] } else { &[13, 20, 200] };
        let size = self.dice.pick(sizes).min(self.config.payload_bytes_max / 4);
        let payload = marked(tag, number, life, size);
        let ttl_ms = if life == Life::Timed { 1 + self.dice.number() % 20_000 } else { 0 };
        let ephemeral = life == Life::Ephemeral;
        let set = Set { encoding: self.dice.pick(&Encoding::ALL), payload: &payload, ttl_ms, ephemeral };
        let mut items = Vec::new();
        let mut wanted = BTreeSet::new();
        let count = self.dice.pick(&[1, 1, 1, 2, 3]);
        while wanted.len() < count {
            wanted.insert(self.dice.pick(&names));
        }
        for name in wanted {
            let delete = self.dice.once_in(5);
            let expect = self.some_expectation(name);
            items.push(Item { name: name.as_bytes(), every: false, expect, set: Some(set).filter(|_| !delete) });
        }
        if self.dice.once_in(12) {
            let pattern: &[u8] = if memory { b"live/+" } else { b"k/+" };
            let delete = self.dice.once_in(3);
            items.clear();
            items.push(Item {
                name: pattern,
                every: true,
                expect: Expect::Anything,
                set: Some(set).filter(|_| !delete),
            });
        }
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let wish =
            Wish { changes: items.iter().any(|item| !item.every && item.set.is_some()), items: Items::encode(&items) };
        self.trace.line(self.now, format_args!("program {tag} writes {number}: {:?}", words(&items)));
        match program.node.write(&items) {
            Ok(id) => drop(program.values.writes.insert(id, wish)),
            Err(why) => {
                let expected = matches!(why.code, Code::Left | Code::Fenced | Code::TooLarge);
                self.certainly_not(tag, &wish);
                if !expected {
                    self.fail(Checker::Kept, format!("program {tag} may not write: {why}"));
                }
            }
        }
        self.with_node(tag, |_, _| {});
    }

    fn watches(&mut self, tag: Tag) {
        let pattern = Pattern::parse(self.dice.pick(&PATTERNS)).expect("a pattern");
        let mode = self.dice.pick(&[WatchMode::Latest, WatchMode::All]);
        let after = Rev::durable(if self.dice.once_in(4) { self.truth.seen } else { 0 });
        let after = Some(after).filter(|after| after.n > 0);
        let Some(program) = self.programs.get_mut(&tag) else { return };
        if program.values.watches.len() >= WATCHES_MAX {
            return;
        }
        if let Ok(id) = program.node.watch(pattern.clone(), mode, after) {
            self.trace
                .line(self.now, format_args!("program {tag} watches `{pattern}` as {id}, {mode:?}, after {after:?}"));
            program.requests.insert(id, Request { what: Asked::Watch, sent: 0, expected: None });
            let known = after.map(|after| (after.n, self.truth.at(after.n, &pattern)));
            let Some(program) = self.programs.get_mut(&tag) else { return };
            program.values.watches.insert(id, Watcher::new(pattern, mode, known));
        }
        self.with_node(tag, |_, _| {});
    }

    pub(super) fn gets(&mut self, tag: Tag, pattern: &str) {
        let pattern = Pattern::parse(pattern).expect("a pattern");
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let joined = program.node.is_joined();
        match program.node.get(pattern.clone()) {
            Ok(id) => {
                let get = Get { pattern, seen: self.truth.seen, memory_seen: self.truth.memory_seen.clone() };
                program.values.gets.insert(id, get);
            }
            Err(why) if joined => self.fail(Checker::Answers, format!("program {tag} may not get: {why}")),
            Err(_) => {}
        }
        self.with_node(tag, |_, _| {});
    }

    /// What a program was told certainly not to be done never is.
    fn certainly_not(&mut self, tag: Tag, wish: &Wish) {
        for of in marks(Items::encoded(&wish.items)) {
            if self.hostile.contains(&of.0) {
                continue;
            }
            let effect = self.truth.effects.get(&of);
            if let Some(rev) = effect.filter(|rev| rev.is_durable() || rev.epoch == self.epoch) {
                let text = format!("write {} of program {tag} was told not to be done, and is at {rev}", of.1);
                return self.fail(Checker::Kept, text);
            }
            self.truth.not_done.insert(of);
        }
    }

    /// What a node says about its writes and gets.
    pub(super) fn note_values(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let written = program.node.written_writes();
        let got = program.node.got();
        for (id, result) in written {
            if self.note_appended(tag, id, &result) {
                continue;
            }
            let Some(wish) = self.programs.get_mut(&tag).and_then(|program| program.values.writes.remove(&id)) else {
                return self
                    .fail(Checker::Answers, format!("program {tag} got an answer to write {id}, which has none open"));
            };
            if !self.hostile.contains(&tag) {
                self.check_written(tag, &wish, result);
            }
        }
        for (id, result) in got {
            let Some(get) = self.programs.get_mut(&tag).and_then(|program| program.values.gets.remove(&id)) else {
                return self
                    .fail(Checker::Answers, format!("program {tag} got values for get {id}, which is not open"));
            };
            if !self.hostile.contains(&tag) && !self.is_ward(tag) {
                self.check_got(tag, &get, result);
            }
        }
        self.take_changes(tag);
        self.take_entries(tag);
    }

    fn check_written(&mut self, tag: Tag, wish: &Wish, result: Result<Wrote, NotWritten>) {
        let marks = marks(Items::encoded(&wish.items));
        match result {
            Err(NotWritten { certain: false, .. }) => self.report.unknown_writes += 1,
            Err(NotWritten { why, .. }) => {
                self.trace.line(self.now, format_args!("program {tag}: writes {marks:?} not done: {why}"));
                self.certainly_not(tag, wish);
                let usual =
                    [Code::Conflict, Code::StorageFull, Code::Backpressure, Code::TooLarge, Code::StorageFailed];
                let forbidden = why.code == Code::Forbidden && self.is_ward(tag);
                self.report.forbidden += u64::from(forbidden);
                if !forbidden && !usual.contains(&why.code) && !matches!(why.code, Code::Left | Code::Fenced) {
                    self.fail(Checker::Kept, format!("a write of program {tag} was refused: {why}"));
                }
                self.report.conflicts += u64::from(why.code == Code::Conflict);
            }
            Ok(Wrote { rev, count }) => {
                self.report.written += 1;
                self.trace.line(self.now, format_args!("program {tag}: writes {marks:?} are at {rev}, {count} keys"));
                if count == 0 || rev == Rev::default() {
                    if wish.changes || count > 0 || rev != Rev::default() {
                        self.fail(Checker::Kept, format!("program {tag} was told {count} changes at {rev}"));
                    }
                    return;
                }
                if !rev.is_durable() {
                    for of in marks {
                        self.took_effect(of, rev);
                    }
                    return;
                }
                let write = self.truth.writes.get(&rev.n);
                let right = write.is_some_and(|write| write.items == wish.items && write.count == count as usize);
                if !right || !self.truth.acknowledged.insert(rev.n) {
                    let what = write.map(|write| write.count);
                    let text = format!(
                        "program {tag} was told that its writes {marks:?} are at {rev} with {count} changes, \
                         and there is a write of {what:?} (acknowledged before: {right})"
                    );
                    return self.fail(Checker::Kept, text);
                }
                self.truth.seen = self.truth.seen.max(rev.n);
            }
        }
    }

    /// A get tells what was there at one moment between its question and its answer.
    fn check_got(&mut self, tag: Tag, get: &Get, result: Result<Vec<Change>, Refusal>) {
        let Ok(found) = result else { return };
        self.report.got += 1;
        let mut durable = BTreeMap::new();
        for change in found {
            let Some(payload) = &change.payload else {
                return self.fail(Checker::Kept, format!("program {tag} got `{}` without a value", change.name));
            };
            let name = change.name.as_str().to_owned();
            let print = print(payload.encoding, &payload.bytes);
            if change.rev.is_durable() {
                durable.insert(name, (change.rev.n, print));
            } else {
                let seen = get.memory_seen.get(&name).copied().unwrap_or_default();
                if seen.epoch == change.rev.epoch && seen > change.rev {
                    let text = format!("program {tag} got `{name}` of {}, and {seen} was known before", change.rev);
                    return self.fail(Checker::Kept, text);
                }
                self.check_in_memory(tag, &change);
                if self.calm {
                    let life = mark(&payload.bytes).map_or(Life::Lasting, |(.., life)| life);
                    self.left_in_memory.insert(name, (change.rev, print, life));
                }
            }
        }
        let last = durable.values().map(|(pos, _)| *pos).max().unwrap_or(0);
        let moments =
            [get.seen.max(last)].into_iter().chain(self.truth.between(get.seen, u64::MAX).map(|fact| fact.pos));
        let fits = moments.filter(|pos| *pos >= last).any(|pos| self.truth.at(pos, &get.pattern) == durable);
        if !fits {
            let text = format!(
                "program {tag} got {durable:?} of `{}`, which was so at no time from revision {} on; it is {:?}",
                get.pattern,
                get.seen,
                self.truth.at(u64::MAX - 1, &get.pattern)
            );
            return self.fail(Checker::Kept, text);
        }
        self.truth.seen = self.truth.seen.max(last);
    }

    /// What is told of a value in memory is told alike to all.
    pub(super) fn check_in_memory(&mut self, tag: Tag, change: &Change) {
        let name = change.name.as_str().to_owned();
        let print = change.payload.as_ref().map(|payload| print(payload.encoding, &payload.bytes));
        let told = self.truth.memory.insert((change.rev, name.clone()), print);
        if told.is_some_and(|told| told != print) {
            let text = format!("program {tag} was told of another `{name}` of {} than others", change.rev);
            return self.fail(Checker::Watches, text);
        }
        let seen = self.truth.memory_seen.entry(name).or_default();
        *seen = (*seen).max(change.rev);
        if let Some((by, number, _)) = change.payload.as_ref().and_then(|payload| mark(&payload.bytes)) {
            self.took_effect((by, number), change.rev);
        }
    }

    /// Why a node with this incarnation is not dead for certain.
    pub(super) fn lives(&self, incarnation: Incarnation) -> Option<String> {
        let beat = self.config.membership.beat.min(self.config.membership.beat_attentive);
        let dead = beat * self.config.membership.dead_beats;
        let Some(sign) = self.signs.get(&incarnation) else {
            let since = self.now.since(self.ready_at);
            return (since < dead).then(|| format!("may come back: the hub is ready for {since:?}"));
        };
        if let Some(conn) = sign.conn {
            return Some(format!("`{}` is joined on link {conn}", sign.name));
        }
        let since = self.now.since(sign.heard);
        (!sign.gone && since < dead).then(|| format!("`{}` was heard {since:?} ago", sign.name))
    }
}

fn words(items: &[Item<'_>]) -> Vec<String> {
    let word = |item: &Item<'_>| {
        let name = String::from_utf8_lossy(item.name);
        let how = match item.set {
            Some(Set { ttl_ms: 1.., .. }) => "timed",
            Some(Set { ephemeral: true, .. }) => "ephemeral",
            Some(_) => "set",
            None => "delete",
        };
        format!("{how} {name} if {:?}", item.expect)
    };
    items.iter().map(word).collect()
}
