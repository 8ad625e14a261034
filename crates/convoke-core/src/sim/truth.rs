//! What is true of values: computed from the sequence of operations by a few lines that share nothing with the hub's own.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use super::oracle::print;
use super::watcher::Known;
use super::world::{Tag, World};
use crate::frame::{Expect, Incarnation, Item, Items};
use crate::name::Pattern;
use crate::operation::Operation;
use crate::payload::Encoding;
use crate::rev::Rev;

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) pos: u64,
    pub(super) name: String,
    /// What the key has then, by its print.
    pub(super) print: Option<u64>,
    pub(super) author: String,
}

/// What a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Has {
    pub(super) place: (u64, usize),
    pub(super) print: u64,
    pub(super) expires_ms: u64,
    pub(super) owner: Option<Incarnation>,
}

/// What the operation at a position was, if it changed something.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) items: Vec<u8>,
    pub(super) count: usize,
}

#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) pos: u64,
    pub(super) values: BTreeMap<String, Has>,
    /// In their order.
    pub(super) facts: Vec<Fact>,
    pub(super) writes: BTreeMap<u64, Write>,
    /// What was rightly wanted to go by itself. Where the foundation does not know of that, it is wanted again.
    going: BTreeSet<(String, u64)>,
    done: BTreeMap<Incarnation, (u64, BTreeSet<u64>)>,
    /// Incarnations that are known over starts of the hub.
    pub(super) begun: BTreeSet<Incarnation>,
    /// Nothing of these is done any more.
    fenced: BTreeSet<Incarnation>,
    /// Where the writes of programs have come into effect, by the mark in their payloads.
    pub(super) effects: BTreeMap<(Tag, u64), Rev>,
    /// What a program was told certainly not to be done.
    pub(super) not_done: BTreeSet<(Tag, u64)>,
    /// Positions that were acknowledged to somebody.
    pub(super) acknowledged: BTreeSet<u64>,
    /// The last position that anybody was told of.
    pub(super) seen: u64,
    /// What was told about values in memory.
    pub(super) memory: BTreeMap<(Rev, String), Option<u64>>,
    pub(super) memory_seen: BTreeMap<String, Rev>,
}

/// The mark that programs put into payloads: who has written it, and which of its writes it is; or nothing, if a bit of it
/// was changed.
pub(super) fn mark(payload: &[u8]) -> Option<(Tag, u64, Life)> {
    let (body, check) = payload.split_at_checked(payload.len().checked_sub(8)?)?;
    let tag = u32::from_le_bytes(body.get(..4)?.try_into().ok()?);
    let number = u64::from_le_bytes(body.get(4..12)?.try_into().ok()?);
    let life = [Life::Lasting, Life::Timed, Life::Ephemeral].into_iter().find(|life| *life as u8 == body[12])?;
    (print(Encoding::Raw, body).to_le_bytes() == check).then_some((tag, number, life))
}

/// How long a value shall live, as its mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Lasting,
    Timed,
    Ephemeral,
}

/// A payload with a mark, so long.
pub(super) fn marked(tag: Tag, number: u64, life: Life, size: usize) -> Vec<u8> {
    let mut payload = [&tag.to_le_bytes()[..], &number.to_le_bytes(), &[life as u8]].concat();
    payload.resize(size.max(13), b'.');
    let check = print(Encoding::Raw, &payload);
    payload.extend_from_slice(&check.to_le_bytes());
    payload
}

impl Truth {
    /// Whether what an incarnation asks for is neither a repetition nor too late.
    fn is_due(&mut self, incarnation: Incarnation, cseq: u64, settled: u64) -> bool {
        let (known, done) = self.done.entry(incarnation).or_default();
        if cseq <= *known || !done.insert(cseq) {
            return false;
        }
        *known = (*known).max(settled.min(cseq - 1));
        // What was not done in its turn is not done behind what came after it.
        done.last().is_none_or(|last| *last <= cseq) && !self.fenced.contains(&incarnation)
    }

    /// The operation at the next position. False if it is a repetition, or too late.
    fn apply(&mut self, pos: u64, operation: &Operation<'_>) -> bool {
        self.pos = pos;
        match operation {
            Operation::Begin { incarnation, .. } => {
                self.begun.insert(*incarnation);
                self.done.entry(*incarnation).or_default();
            }
            Operation::Grant { .. } | Operation::Presence { .. } => {}
            Operation::Fence { incarnation, .. } => {
                self.fenced.insert(*incarnation);
                self.done.entry(*incarnation).or_default();
            }
            Operation::Append { incarnation, cseq, settled, .. } => {
                return self.is_due(*incarnation, *cseq, *settled);
            }
            Operation::Forget { incarnation, .. } => {
                self.begun.remove(incarnation);
                self.done.remove(incarnation);
                self.fenced.remove(incarnation);
            }
            Operation::Expire { keys, .. } => {
                for (name, rev) in keys {
                    let name = String::from_utf8_lossy(name).into_owned();
                    if self.values.get(&name).is_some_and(|has| has.place.0 == *rev) {
                        self.change(name, None, 0, None, "$hub");
                    }
                }
            }
            Operation::Write { incarnation, cseq, settled, author, wall_ms, items } => {
                if !self.is_due(*incarnation, *cseq, *settled) {
                    return false;
                }
                let Some(wanted) = self.decide(*items) else { return true };
                let count = wanted.len();
                for (name, item) in wanted {
                    let expires = item.set.filter(|set| set.ttl_ms > 0);
                    let expires = expires.map_or(0, |set| wall_ms.saturating_add(set.ttl_ms));
                    let owner = item.set.filter(|set| set.ephemeral).map(|_| *incarnation);
                    self.change(name, Some(&item), expires, owner, &String::from_utf8_lossy(author));
                }
                if count > 0 {
                    self.writes.insert(pos, Write { items: items.bytes().to_vec(), count });
                }
            }
        }
        true
    }

    /// What a write changes; `None` if it is refused.
    fn decide<'a>(&self, items: Items<'a>) -> Option<Vec<(String, Item<'a>)>> {
        let mut wanted = Vec::new();
        let mut touched = BTreeSet::new();
        for item in items.iter() {
            let name = String::from_utf8_lossy(item.name).into_owned();
            let fits = |has: Option<&Has>| match item.expect {
                Expect::Anything => true,
                Expect::Absent => has.is_none(),
                Expect::Present => has.is_some(),
                Expect::Rev(rev) => has.is_some_and(|has| Rev::durable(has.place.0) == rev),
            };
            if item.every {
                let pattern = Pattern::parse(&name).ok()?;
                let mut found: Vec<(&String, &Has)> =
                    self.values.iter().filter(|(name, _)| pattern.matches_text(name)).collect();
                found.sort_by_key(|(_, has)| has.place);
                for (name, has) in found {
                    if fits(Some(has)) && touched.insert(name.clone()) {
                        wanted.push((name.clone(), item));
                    }
                }
                continue;
            }
            let has = self.values.get(&name);
            if !touched.insert(name.clone()) || !fits(has) {
                return None;
            }
            if item.set.is_some() || has.is_some() {
                wanted.push((name, item));
            }
        }
        Some(wanted)
    }

    fn change(
        &mut self,
        name: String,
        item: Option<&Item<'_>>,
        expires_ms: u64,
        owner: Option<Incarnation>,
        author: &str,
    ) {
        let set = item.and_then(|item| item.set);
        let index = self.facts.iter().rev().take_while(|fact| fact.pos == self.pos).count();
        let print = set.map(|set| print(set.encoding, set.payload));
        match print {
            Some(print) => {
                let has = Has { place: (self.pos, index), print, expires_ms, owner };
                self.values.insert(name.clone(), has);
            }
            None => drop(self.values.remove(&name)),
        }
        self.facts.push(Fact { pos: self.pos, name, print, author: author.to_owned() });
    }

    /// The change of a key at a position.
    pub(super) fn fact(&self, pos: u64, name: &str) -> Option<&Fact> {
        self.between(pos - 1, pos + 1).find(|fact| fact.name == name)
    }

    /// The changes behind one position and before another.
    pub(super) fn between(&self, after: u64, before: u64) -> impl Iterator<Item = &Fact> {
        let start = self.facts.partition_point(|fact| fact.pos <= after);
        self.facts[start..].iter().take_while(move |fact| fact.pos < before)
    }

    /// Whether this is not the last change of its key.
    pub(super) fn is_overwritten(&self, fact: &Fact) -> bool {
        self.between(fact.pos, u64::MAX).any(|other| other.name == fact.name)
    }

    /// What the keys had at a position: name, revision and print.
    pub(super) fn at(&self, pos: u64, pattern: &Pattern) -> Known {
        let mut all = BTreeMap::new();
        for fact in self.between(0, pos + 1).filter(|fact| pattern.matches_text(&fact.name)) {
            match fact.print {
                Some(print) => drop(all.insert(fact.name.clone(), (fact.pos, print))),
                None => drop(all.remove(&fact.name)),
            }
        }
        all
    }

    /// Compares what the hub has kept: the form of its rows is the only thing that is known here.
    pub(super) fn compare_rows(&self, rows: &[(&[u8], &[u8])]) -> Option<String> {
        let mut kept = BTreeMap::new();
        for (key, row) in rows {
            let number = |at: usize| u64::from_le_bytes(row[at..at + 8].try_into().expect("8 bytes"));
            let author = usize::from(u16::from_le_bytes([row[34], row[35]]));
            let rest = &row[36 + author..];
            if let Some(encoding) = Encoding::from_number(rest[0]) {
                let name = String::from_utf8_lossy(key).into_owned();
                kept.insert(name, (number(0), print(encoding, &rest[1..])));
            }
        }
        let truth: BTreeMap<_, _> =
            self.values.iter().map(|(name, has)| (name.clone(), (has.place.0, has.print))).collect();
        (kept != truth).then(|| format!("they say {kept:?}, and it is {truth:?}"))
    }
}

impl World {
    /// The foundation has kept an operation: what comes of it is true from now on.
    pub(super) fn ordered(&mut self, pos: u64, operation: &[u8]) {
        let Ok(operation) = Operation::decode(operation) else {
            return self.fail(Checker::Kept, format!("the operation at {pos} is none"));
        };
        let facts = self.truth.facts.len();
        let is_due = self.truth.apply(pos, &operation);
        let changes = self.truth.facts.len() - facts;
        self.trace.line(self.now, format_args!("position {pos}: {changes} changes by {}", what(&operation)));
        self.report.changes += changes as u64;
        if is_due {
            self.recorded(&operation);
            self.presence_recorded(&operation);
        }
        if let Operation::Write { items, .. } = operation
            && changes > 0
        {
            for (tag, number) in marks(items) {
                self.took_effect((tag, number), Rev::durable(pos));
            }
        }
    }

    /// A write has come into effect, at this revision.
    pub(super) fn took_effect(&mut self, of: (Tag, u64), rev: Rev) {
        if self.hostile.contains(&of.0) {
            return;
        }
        // A write in memory that the hub had done before it was started again is done again, or not.
        if self.truth.not_done.contains(&of) && (rev.is_durable() || rev.epoch == self.epoch) {
            let text = format!("write {} of program {} was told not to be done, and is at {rev}", of.1, of.0);
            return self.fail(Checker::Kept, text);
        }
        let before = self.truth.effects.insert(of, rev);
        if before.is_some_and(|before| before != rev && before.epoch == rev.epoch) {
            let text = format!("write {} of program {} is at {rev} and was at {before:?}", of.1, of.0);
            return self.fail(Checker::Kept, text);
        }
        let later = self
            .truth
            .effects
            .range((of.0, of.1 + 1)..(of.0 + 1, 0))
            .find(|(_, other)| rev.epoch == other.epoch && **other < rev && before.is_none());
        if let Some((other, at)) = later {
            let text = format!("write {} of program {} is at {rev}, and {} was before it at {at}", of.1, of.0, other.1);
            self.fail(Checker::Kept, text);
        }
    }

    /// The hub wants something to be kept: what goes by itself must be due.
    pub(super) fn check_appended(&mut self, operation: &[u8]) {
        let Ok(Operation::Expire { keys, .. }) = Operation::decode(operation) else { return };
        let wall_ms = self.wall_ms();
        for (name, rev) in keys {
            let name = String::from_utf8_lossy(name).into_owned();
            let Some(has) = self.truth.values.get(&name).filter(|has| has.place.0 == rev) else { continue };
            if has.expires_ms > 0 && has.expires_ms <= wall_ms || self.truth.going.contains(&(name.clone(), rev)) {
                continue;
            }
            match has.owner {
                None => {
                    let text =
                        format!("`{name}` of revision {rev} goes {} ms early", has.expires_ms.saturating_sub(wall_ms));
                    return self.fail(Checker::Kept, text);
                }
                Some(owner) => {
                    if let Some(why) = self.lives(owner) {
                        let text = format!("`{name}` of revision {rev} goes, and its node {why}");
                        return self.fail(Checker::Kept, text);
                    }
                    self.truth.going.insert((name, rev));
                }
            }
        }
    }
}

/// The marks of what a write sets.
pub(super) fn marks(items: Items<'_>) -> BTreeSet<(Tag, u64)> {
    let sets = items.iter().filter_map(|item| item.set);
    sets.filter_map(|set| mark(set.payload)).map(|(tag, number, _)| (tag, number)).collect()
}

fn what(operation: &Operation<'_>) -> String {
    match operation {
        Operation::Begin { incarnation, .. } => format!("the begin of {incarnation:?}"),
        Operation::Grant { name, .. } => format!("the rights of {}", String::from_utf8_lossy(name)),
        Operation::Fence { incarnation, .. } => format!("the fence of {incarnation:?}"),
        Operation::Forget { incarnation, .. } => format!("the end of {incarnation:?}"),
        Operation::Expire { keys, .. } => format!("the time of {} keys", keys.len()),
        Operation::Presence { journal, .. } => format!("who is in {}", String::from_utf8_lossy(journal)),
        Operation::Append { incarnation, cseq, journal, .. } => {
            format!("append {cseq} of {incarnation:?} to {}", String::from_utf8_lossy(journal))
        }
        Operation::Write { incarnation, cseq, .. } => format!("write {cseq} of {incarnation:?}"),
    }
}
