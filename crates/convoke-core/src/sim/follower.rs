//! What a follower must be told: every entry once, in its order, the same as everybody; and what its replica must be then.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Checker;
use super::chronicle::{Command, Recorded, Saved, Tally, ToldEntry, chained, command_print};
use super::journals::Mode;
use super::ledger::Ledger;
use super::world::{Tag, World};
use crate::journal::{Deed, Entry, Replica, Scope, State, Strategy, Stuck, UndoList};
use crate::name::Name;
use crate::node::Followed;
use crate::payload::Payload;
use crate::refusal::Code;

/// Of so many entries that are no undo, one is compared.
const COMPARED_ONCE_IN: u64 = 8;

/// One follower, and what it was told so far.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) journal: String,
    /// The last entry that it was told.
    pub(super) seq: u64,
    /// Of what it was told; unknown before the first, if it does not begin with the first of all.
    pub(super) chain: Option<u64>,
    pub(super) copy: Option<Copy>,
    /// Entries are to say that its node is a member.
    pub(super) announced: bool,
    /// Its node is a member by it, and it has said that it has applied so much.
    pub(super) member: bool,
    pub(super) applied: u64,
    pub(super) ended: bool,
}

/// A replica, and the simple copy that it is held against.
pub(super) struct Copy {
    /// It began with a snapshot of this place, whose maker knew entries up to that one.
    based: (u64, u64),
    entries: Vec<ToldEntry>,
    commands: Vec<Option<Command>>,
    ledger: Ledger,
    replica: Box<dyn AnyReplica>,
}

/// A replica of a journal, however that undoes.
trait AnyReplica {
    fn apply(&mut self, entry: &Entry, payload: Option<&Payload>) -> Result<(), Stuck>;
    fn list(&self) -> &UndoList;
    /// A snapshot, and its place.
    fn snapshot(&self) -> Option<(u64, Bytes)>;
    /// What is wrong with the state; `is_done` tells of each place whether what begins there counts as done.
    fn wrong(&self, entries: &[(&Entry, Option<&Command>)], is_done: &dyn Fn(u64) -> bool) -> Option<String>;
}

impl<const STRATEGY: usize> AnyReplica for Replica<Tally<STRATEGY>> {
    fn apply(&mut self, entry: &Entry, payload: Option<&Payload>) -> Result<(), Stuck> {
        Replica::apply(self, entry, payload).map(|_| ())
    }

    fn list(&self) -> &UndoList {
        self.undo_list()
    }

    fn snapshot(&self) -> Option<(u64, Bytes)> {
        Some((self.snapshot_seq(), Replica::snapshot(self).ok()?))
    }

    fn wrong(&self, entries: &[(&Entry, Option<&Command>)], is_done: &dyn Fn(u64) -> bool) -> Option<String> {
        let right: Tally<STRATEGY> = match <Tally<STRATEGY> as State>::STRATEGY {
            Strategy::Compensate => compensated(entries),
            Strategy::Replay | Strategy::Refuse => replayed(entries, is_done),
        };
        let (is, seq) = (self.state(), self.seq());
        (*is != right || seq != entries.len() as u64)
            .then(|| format!("its replica at {seq} is {is:?}, and what the journal makes is {right:?}"))
    }
}

/// What all commands make that are not undone, as if the others had never been.
fn replayed<S: State<Command = Command>>(entries: &[(&Entry, Option<&Command>)], is_done: &dyn Fn(u64) -> bool) -> S {
    let mut state = S::default();
    for (entry, command) in entries {
        if let (Deed::Do { first }, Some(command)) = (entry.deed, command)
            && is_done(first)
        {
            state.apply(command, entry);
        }
    }
    state
}

/// What all commands make, and in their turn the inverses of those that are undone, and commands that are done again.
fn compensated<S: State<Command = Command>>(entries: &[(&Entry, Option<&Command>)]) -> S {
    let mut state = S::default();
    // The commands of each unit with their inverses, and whether it is done.
    type Unit<'a> = (Vec<(&'a Command, Option<Command>)>, bool);
    let mut units: BTreeMap<u64, Unit<'_>> = BTreeMap::new();
    for (entry, command) in entries {
        match (entry.deed, command) {
            (Deed::Do { first }, Some(command)) => {
                let inverse = state.inverse(command, entry);
                state.apply(command, entry);
                if first != 0 {
                    units.entry(first).or_insert((Vec::new(), true)).0.push((command, inverse));
                }
            }
            (Deed::Undo(first), _) => {
                let Some((commands, done)) = units.get_mut(&first) else { continue };
                if *done && commands.iter().all(|(_, inverse)| inverse.is_some()) {
                    for inverse in commands.iter().rev().filter_map(|(_, inverse)| inverse.as_ref()) {
                        state.apply(inverse, entry);
                    }
                    *done = false;
                }
            }
            (Deed::Redo(first), _) => {
                let Some((commands, done)) = units.get_mut(&first).filter(|(_, done)| !done) else { continue };
                for (command, inverse) in commands {
                    *inverse = state.inverse(command, entry);
                    state.apply(command, entry);
                }
                *done = true;
            }
            _ => {}
        }
    }
    state
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "copy of {} entries", self.entries.len())
    }
}

impl Copy {
    fn new(mode: Mode, strategy: Strategy) -> Copy {
        fn replica<const STRATEGY: usize>(mode: Mode) -> Box<dyn AnyReplica> {
            let undo = UndoList::new(mode.bounds.units);
            Box::new(Replica::<Tally<STRATEGY>>::at(0, Tally::default(), undo).lagging(mode.near_behind.max(1)))
        }
        let units = mode.bounds.units;
        let replica = match strategy {
            Strategy::Replay => replica::<0>(mode),
            Strategy::Refuse => replica::<1>(mode),
            Strategy::Compensate => replica::<2>(mode),
        };
        Copy { based: (0, 0), entries: Vec::new(), commands: Vec::new(), ledger: Ledger::new(units), replica }
    }

    /// What comes of a snapshot, held against all entries up to it.
    pub(super) fn based(
        mode: Mode,
        strategy: Strategy,
        before: Vec<(Entry, Option<Command>)>,
        known: u64,
        state: Vec<u8>,
    ) -> Result<Copy, String> {
        fn replica<const STRATEGY: usize>(seq: u64, state: Bytes, units: usize) -> Result<Box<dyn AnyReplica>, String> {
            let replica = Replica::<Tally<STRATEGY>>::from_snapshot_within(seq, state, units);
            Ok(Box::new(replica.map_err(|error| format!("was told a snapshot at {seq} that is none: {error}"))?))
        }
        let (seq, units, state) = (before.len() as u64, mode.bounds.units, Bytes::from(state));
        let replica = match strategy {
            Strategy::Replay => replica::<0>(seq, state, units)?,
            Strategy::Refuse => replica::<1>(seq, state, units)?,
            Strategy::Compensate => replica::<2>(seq, state, units)?,
        };
        let mut ledger = Ledger::new(units);
        let (mut entries, mut commands) = (Vec::new(), Vec::new());
        for (entry, command) in before {
            ledger.apply(entry.seq, entry.author.as_str(), entry.deed);
            entries.push((entry, None));
            commands.push(command);
        }
        Ok(Copy { based: (seq, known), entries, commands, ledger, replica })
    }

    /// Takes the next entry in. True if the replica goes on.
    fn apply(&mut self, entry: &Entry, payload: Option<&Payload>) -> Result<bool, String> {
        let command: Option<Command> = match entry.deed {
            Deed::Do { .. } => payload.and_then(|payload| payload.decode().ok()),
            _ => None,
        };
        let known = command.is_some() || !matches!(entry.deed, Deed::Do { .. });
        match self.replica.apply(entry, payload) {
            Ok(()) if known => {}
            Err(Stuck::Unknown { seq, .. }) if !known && seq == entry.seq => return Ok(false),
            other => return Err(format!("its replica was told entry {}, and says {other:?}", entry.seq)),
        }
        self.ledger.apply(entry.seq, entry.author.as_str(), entry.deed);
        self.entries.push((entry.clone(), payload.cloned()));
        self.commands.push(command);
        Ok(true)
    }

    /// What is wrong with the replica.
    fn wrong(&self) -> Option<String> {
        let (based, known) = self.based;
        if (self.entries.len() as u64) < known {
            // What was undone up to there is undone in the snapshot already.
            return None;
        }
        let entries = self.entries.iter().zip(&self.commands);
        let entries: Vec<_> = entries.map(|((entry, _), command)| (entry, command.as_ref())).collect();
        if let Some(wrong) = self.replica.wrong(&entries, &|first| self.ledger.is_done(first)) {
            return Some(wrong);
        }
        let list = self.replica.list();
        if list.horizon().max(based + 1) != self.ledger.horizon().max(based + 1) {
            return Some(format!(
                "its replica can undo from {} on, and not from {}",
                list.horizon(),
                self.ledger.horizon()
            ));
        }
        for author in self.ledger.authors() {
            let name = Name::parse(author).expect("it was told as one");
            for scope in [Scope::Mine, Scope::Everyone] {
                let everyone = scope == Scope::Everyone;
                let tops = [list.undo_top(&name, scope), list.redo_top(&name, scope)];
                let right = [true, false].map(|undo| self.ledger.top(undo, author, everyone));
                if tops != right {
                    return Some(format!(
                        "its replica would undo and redo {tops:?} for `{author}` ({scope:?}), and right is {right:?}"
                    ));
                }
            }
        }
        let mut units = self.ledger.units().filter(|(first, _)| *first > based);
        let unit = units.find(|(first, done)| list.is_done(*first) != Some(*done))?;
        Some(format!(
            "its replica says of {} that it is done: {:?}, and right is {}",
            unit.0,
            list.is_done(unit.0),
            unit.1
        ))
    }
}

impl Follower {
    /// From the beginning.
    pub(super) fn new(journal: &str, mode: Mode, strategy: Strategy) -> Follower {
        let copy = Some(Copy::new(mode, strategy));
        Follower {
            journal: journal.to_owned(),
            seq: 0,
            chain: Some(0),
            copy,
            announced: false,
            member: false,
            applied: 0,
            ended: false,
        }
    }

    /// Behind this entry, and without what there is before it.
    pub(super) fn behind(journal: &str, after: u64) -> Follower {
        let chain = (after == 0).then_some(0);
        Follower {
            journal: journal.to_owned(),
            seq: after,
            chain,
            copy: None,
            announced: false,
            member: false,
            applied: 0,
            ended: false,
        }
    }

    /// Where another has ended.
    pub(super) fn again(saved: Saved, mode: Mode, strategy: Strategy) -> Follower {
        let mut copy = Copy::new(mode, strategy);
        let all = saved.entries.iter().all(|(entry, payload)| copy.apply(entry, payload.as_ref()) == Ok(true));
        let copy = Some(copy).filter(|_| all);
        let seq = saved.entries.len() as u64;
        Follower {
            journal: saved.journal,
            seq,
            chain: Some(saved.chain),
            copy,
            announced: false,
            member: false,
            applied: 0,
            ended: false,
        }
    }

    /// Whether what it has applied counts in this journal.
    pub(super) fn counts_in(&self, journal: &str) -> bool {
        self.member && !self.ended && self.journal == journal
    }

    /// The last entry that it was told.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// What it could keep.
    pub(super) fn saved(&self) -> Option<(u64, Vec<ToldEntry>)> {
        let copy = self.copy.as_ref().filter(|copy| copy.based.0 == 0)?;
        Some((self.chain.filter(|_| !self.ended)?, copy.entries.clone()))
    }

    /// A snapshot of its replica, and its place.
    pub(super) fn snapshot(&self) -> Option<(u64, Bytes)> {
        self.copy.as_ref()?.replica.snapshot()
    }
}

impl World {
    /// Takes everything that waits for the followers of a program.
    pub(super) fn take_entries(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag).filter(|program| !program.journals.idle) else { return };
        let ids: Vec<u32> = program.journals.follows.keys().copied().collect();
        for id in ids {
            while self.failed.is_none()
                && let Some(next) = self.programs.get_mut(&tag).and_then(|program| program.node.take_entry(id))
            {
                self.check_followed(tag, id, next);
            }
            let Some(program) = self.programs.get_mut(&tag) else { return };
            let Some(seq) = program.journals.follows.get(&id).map(Follower::seq) else { continue };
            if seq % 3 == 0 {
                self.applies(tag, id, seq);
            }
            let Some(program) = self.programs.get_mut(&tag) else { return };
            let (all, received) = (program.node.follows_up_to(id), program.node.followed_hash(id));
            if let (Some(all), Some((received, _))) = (all, received)
                && all > received
                && !self.hostile.contains(&tag)
            {
                let text = format!("follower {id} of program {tag} was told that {all} is all, and has {received}");
                self.fail(Checker::Journals, text);
            }
        }
    }

    fn check_followed(&mut self, tag: Tag, id: u32, next: Followed) {
        let Some(program) = self.programs.get(&tag) else { return };
        let Some(follower) = program.journals.follows.get(&id) else { return };
        let what = format!("follower {id} of program {tag} at entry {} of `{}`", follower.seq, follower.journal);
        match next {
            Followed::Entry(entry, payload) => {
                self.report.followed += 1;
                self.trace.line(self.now, format_args!("{what}: {} {:?}", entry.seq, entry.deed));
                if self.hostile.contains(&tag) {
                    return;
                }
                if let Err(wrong) = self.told_entry(tag, id, &entry, payload.as_ref()) {
                    self.fail(Checker::Journals, format!("{what} {wrong}"));
                }
            }
            Followed::Base { .. } | Followed::Compacted { .. } if self.hostile.contains(&tag) => {}
            Followed::Base { seq, state } => {
                self.trace.line(self.now, format_args!("{what}: a snapshot at {seq} of {} bytes", state.len()));
                if let Err(wrong) = self.told_base(tag, id, seq, state) {
                    self.fail(Checker::Journals, format!("{what} {wrong}"));
                }
            }
            Followed::Compacted { first } => {
                self.trace.line(self.now, format_args!("{what}: the first is {first}"));
                if let Err(wrong) = self.told_compacted(tag, id, first) {
                    self.fail(Checker::Journals, format!("{what} {wrong}"));
                }
            }
            Followed::Ended(why) => {
                self.trace.line(self.now, format_args!("{what}: ended, {why}"));
                let has = follower.chain.map_or(follower.seq == 0, |chain| {
                    self.chronicle.is_current(&follower.journal, follower.seq, chain)
                });
                let usual = match why.code {
                    Code::Left | Code::Fenced => true,
                    Code::Diverged => !has,
                    Code::Forbidden => self.is_ward(tag),
                    _ => false,
                };
                if !usual && !self.hostile.contains(&tag) {
                    return self.fail(Checker::Journals, format!("{what} has ended: {why}"));
                }
                self.report.diverged += u64::from(why.code == Code::Diverged);
                if let Some(program) = self.programs.get_mut(&tag)
                    && let Some(follower) = program.journals.follows.get_mut(&id)
                {
                    follower.ended = true;
                }
            }
        }
    }

    fn told_entry(&mut self, tag: Tag, id: u32, entry: &Entry, payload: Option<&Payload>) -> Result<(), String> {
        let World { programs, chronicle, report, .. } = self;
        let follower = programs.get_mut(&tag).and_then(|program| program.journals.follows.get_mut(&id));
        let Some(follower) = follower else { return Ok(()) };
        if entry.seq != follower.seq + 1 {
            return Err(format!("was told entry {}", entry.seq));
        }
        let print = command_print(payload.map(|payload| (payload.encoding, &payload.bytes[..])));
        let chain = follower.chain.map(|chain| chained(chain, entry, print));
        let fits = |other: &&Recorded| other.says(entry, print) && chain.is_none_or(|chain| chain == other.chain);
        let Some(found) = chronicle.at(&follower.journal, entry.seq).find(fits).map(|found| found.chain) else {
            let there = chronicle.at(&follower.journal, entry.seq).next();
            return Err(format!("was told {entry:?} of print {print:x}, and there is {there:?}"));
        };
        follower.chain = Some(found);
        follower.seq = entry.seq;
        if let Some(copy) = &mut follower.copy {
            if !copy.apply(entry, payload)? {
                // Somebody has sent nonsense: it never goes on.
                follower.copy = None;
            } else if !matches!(entry.deed, Deed::Do { .. }) || entry.seq.is_multiple_of(COMPARED_ONCE_IN) {
                report.replicas += 1;
                if let Some(wrong) = copy.wrong() {
                    self.fail(Checker::Undo, format!("follower {id} of program {tag}: {wrong}"));
                    return Ok(());
                }
            }
        }
        if self.chronicle.is_current(&follower.journal, entry.seq, found) {
            let journal = follower.journal.clone();
            self.chronicle.is_seen(&journal, entry.seq);
        }
        Ok(())
    }

    /// When all is quiet every follower has all that there is, or knows that it had something else.
    pub(super) fn check_followers_in_the_end(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag) else { return };
        let mut failures = Vec::new();
        for (id, follower) in program.journals.follows.iter().filter(|(_, follower)| !follower.ended) {
            let last = self.chronicle.last(&follower.journal);
            let what = format!("follower {id} of program {tag} has {} entries of `{}`", follower.seq, follower.journal);
            let current =
                follower.chain.is_none_or(|chain| self.chronicle.is_current(&follower.journal, follower.seq, chain));
            if !current {
                failures.push((Checker::Journals, format!("{what}, not those of now, and was not told so")));
            }
            if follower.seq < last || follower.seq > last && follower.chain.is_some() {
                failures.push((Checker::Journals, format!("{what}, and there are {last}")));
            }
            let book = self.chronicle.books.get(&follower.journal);
            if follower.announced && !book.is_some_and(|book| book.present.contains(program.name.as_str())) {
                failures.push((
                    Checker::Journals,
                    format!("{what}, and no entry says that `{}` is a member", program.name),
                ));
            }
            let all = program.node.follows_up_to(*id);
            if all.is_none_or(|all| all > last) {
                failures.push((Checker::Journals, format!("{what} of {last}, and was told that {all:?} is all")));
            }
            if let Some(wrong) = follower.copy.as_ref().and_then(Copy::wrong) {
                failures.push((Checker::Undo, format!("{what}: {wrong}")));
            }
        }
        for (checker, text) in failures {
            self.fail(checker, text);
        }
    }
}
