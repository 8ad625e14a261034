//! What a watch must be told: true changes in their order, none twice, none missing, none by halves.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use super::oracle::print;
use super::truth::{Fact, Truth};
use super::world::{Tag, World};
use crate::frame::WatchMode;
use crate::name::Pattern;
use crate::node::{Change, Watched};
use crate::refusal::Code;
use crate::rev::Rev;

/// Keys with the position and the print of what they have.
pub(super) type Known = BTreeMap<String, (u64, u64)>;

/// What one watch was told so far.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) pattern: Pattern,
    mode: WatchMode,
    /// Up to here it begins with what there was, and not with every change; unknown before it was told anything.
    begin: Option<u64>,
    /// The last position that it was told of, and the keys at it.
    last: u64,
    group: BTreeSet<String>,
    memory_last: Rev,
    memory_group: BTreeSet<String>,
    /// What the program knows now.
    pub(super) durable: Known,
    pub(super) memory: BTreeMap<String, (Rev, u64)>,
    ended: bool,
}

impl Watcher {
    /// With what the program knows already, of which position.
    pub(super) fn new(pattern: Pattern, mode: WatchMode, known: Option<(u64, Known)>) -> Watcher {
        let (last, durable) = known.unwrap_or_default();
        Watcher {
            pattern,
            mode,
            begin: Some(last).filter(|last| *last > 0),
            last,
            group: BTreeSet::new(),
            memory_last: Rev::default(),
            memory_group: BTreeSet::new(),
            durable,
            memory: BTreeMap::new(),
            ended: false,
        }
    }

    pub(super) fn begins(&mut self, pos: u64) {
        self.begin.get_or_insert(pos);
    }

    /// Whether a change that matches may be left out, as far as is known now.
    fn may_skip(&self, fact: &Fact, truth: &Truth) -> bool {
        if self.mode == WatchMode::All && fact.pos > self.begin.unwrap_or(truth.pos) {
            return false;
        }
        fact.print.is_none() && !self.durable.contains_key(&fact.name) || truth.is_overwritten(fact)
    }

    /// What is missing of the changes behind a position and before another.
    fn missing<'a>(&self, after: u64, before: u64, truth: &'a Truth) -> Option<&'a Fact> {
        let mut facts = truth.between(after, before).filter(|fact| self.pattern.matches_text(&fact.name));
        facts.find(|fact| !self.may_skip(fact, truth))
    }

    /// What is missing of the last group.
    fn half<'a>(&self, truth: &'a Truth) -> Option<&'a Fact> {
        let mut facts = truth.between(self.last.saturating_sub(1), self.last + 1);
        let told = |fact: &Fact| self.group.contains(&fact.name) || !self.pattern.matches_text(&fact.name);
        facts.find(|fact| !self.group.is_empty() && !told(fact) && !self.may_skip(fact, truth))
    }

    /// Takes in a durable change; gives what is wrong with it.
    fn told(&mut self, change: &Change, print: Option<u64>, truth: &Truth) -> Result<(), String> {
        let (pos, name) = (change.rev.n, change.name.as_str());
        let fact = truth.fact(pos, name).filter(|fact| fact.print == print && fact.author == change.author.as_str());
        if fact.is_none() {
            return Err(format!("which is none: there is {:?}", truth.fact(pos, name)));
        }
        if !self.pattern.matches_text(name) {
            return Err("which does not match".to_owned());
        }
        self.begins(truth.pos);
        if pos < self.last || pos == self.last && !self.group.insert(name.to_owned()) {
            return Err(format!("after revision {}", self.last));
        }
        if pos > self.last {
            if let Some(half) = self.half(truth) {
                return Err(format!("and of revision {} not `{}`", self.last, half.name));
            }
            if let Some(missing) = self.missing(self.last, pos, truth) {
                return Err(format!("and not `{}` of revision {} before it", missing.name, missing.pos));
            }
            self.last = pos;
            self.group = [name.to_owned()].into();
        }
        match print {
            Some(print) => drop(self.durable.insert(name.to_owned(), (pos, print))),
            None => drop(self.durable.remove(name)),
        }
        Ok(())
    }

    /// Takes in a change in memory; gives what is wrong with it.
    fn told_in_memory(&mut self, change: &Change, print: Option<u64>) -> Result<(), String> {
        let (rev, name) = (change.rev, change.name.as_str().to_owned());
        match print {
            // The hub itself may say of any that it is gone.
            None if change.author.as_str() == "$hub" => {
                self.memory.remove(&name);
                return Ok(());
            }
            Some(print) => drop(self.memory.insert(name.clone(), (rev, print))),
            None => drop(self.memory.remove(&name)),
        }
        if rev < self.memory_last || rev == self.memory_last && !self.memory_group.insert(name.clone()) {
            return Err(format!("after {}", self.memory_last));
        }
        if rev > self.memory_last {
            self.memory_last = rev;
            self.memory_group = [name].into();
        }
        Ok(())
    }
}

impl World {
    /// Takes everything that waits for the watches of a program.
    pub(super) fn take_changes(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag).filter(|program| program.taking) else { return };
        let ids: Vec<u32> = program.values.watches.keys().copied().collect();
        for id in ids {
            while self.failed.is_none()
                && let Some(next) = self.programs.get_mut(&tag).and_then(|program| program.node.take_change(id))
            {
                self.check_watched(tag, id, next);
            }
            let lenient = self.hostile.contains(&tag) || self.is_ward(tag);
            let Some(program) = self.programs.get(&tag).filter(|_| !lenient) else { continue };
            let half = program.values.watches.get(&id).and_then(|watcher| watcher.half(&self.truth));
            if let Some(Fact { pos, name, .. }) = half {
                let text = format!("watch {id} of program {tag} was told of revision {pos}, and not of `{name}` in it");
                self.fail(Checker::Watches, text);
            }
        }
    }

    fn check_watched(&mut self, tag: Tag, id: u32, next: Watched) {
        // What may be told with which rights is seen on the link.
        let hostile = self.hostile.contains(&tag) || self.is_ward(tag);
        let Some(watcher) = self.programs.get_mut(&tag).and_then(|program| program.values.watches.get_mut(&id)) else {
            return;
        };
        match next {
            Watched::Change(change) => {
                self.report.watched += 1;
                let print = change.payload.as_ref().map(|payload| print(payload.encoding, &payload.bytes));
                let told = format!("`{}` of revision {} by `{}`", change.name, change.rev, change.author);
                self.trace.line(self.now, format_args!("program {tag} watch {id}: {told}, {}", print.is_some()));
                if hostile {
                    return;
                }
                let result = if change.rev.is_durable() {
                    watcher.told(&change, print, &self.truth)
                } else {
                    watcher.told_in_memory(&change, print)
                };
                if let Err(wrong) = result {
                    let text = format!("watch {id} of program {tag} was told of {told}, {wrong}");
                    return self.fail(Checker::Watches, text);
                }
                if change.rev.is_durable() {
                    self.truth.seen = self.truth.seen.max(change.rev.n);
                } else if change.payload.is_some() || change.author.as_str() != "$hub" {
                    self.check_in_memory(tag, &change);
                }
            }
            Watched::Compacted { .. } | Watched::Replaced if !hostile => {
                let text = format!("watch {id} of program {tag} was told {next:?}, and all is kept");
                self.fail(Checker::Watches, text);
            }
            Watched::Compacted { .. } | Watched::Replaced => {}
            Watched::Ended(why) => {
                self.trace.line(self.now, format_args!("program {tag} watch {id}: ended, {why}"));
                watcher.ended = true;
                let usual = matches!(why.code, Code::Left | Code::Fenced);
                if !usual && !hostile {
                    self.fail(Checker::Watches, format!("watch {id} of program {tag} has ended: {why}"));
                }
            }
        }
    }

    /// When all is quiet every watch knows what is true.
    pub(super) fn check_watches_in_the_end(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag).filter(|program| program.ward.is_none()) else { return };
        let mut wrong = None;
        for (id, watcher) in program.values.watches.iter().filter(|(_, watcher)| !watcher.ended) {
            let truth = self.truth.at(u64::MAX - 1, &watcher.pattern);
            if watcher.durable != truth {
                wrong = Some(format!("watch {id} of program {tag} knows {:?}, and it is {truth:?}", watcher.durable));
            }
            let memory: BTreeMap<String, (Rev, u64)> = self
                .left_in_memory
                .iter()
                .filter(|(name, _)| watcher.pattern.matches_text(name))
                .map(|(name, (rev, print, _))| (name.clone(), (*rev, *print)))
                .collect();
            if watcher.memory != memory {
                wrong = Some(format!("watch {id} of program {tag} knows {:?}, and it is {memory:?}", watcher.memory));
            }
            if let Some(missing) = watcher.missing(watcher.last, u64::MAX, &self.truth) {
                wrong = Some(format!("watch {id} of program {tag} was never told of {missing:?}"));
            }
        }
        if let Some(wrong) = wrong {
            self.fail(Checker::Watches, wrong);
        }
    }
}
