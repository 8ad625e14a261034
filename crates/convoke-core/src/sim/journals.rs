//! What programs do with journals at random, and what they must be told about what they append, undo and do again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Checker;
use super::asking::{Question, Wait};
use super::chronicle::{Command, Saved};
use super::follower::Follower;
use super::rights;
use super::world::{Asked, Request, Tag, World};
use crate::frame::{Back, FollowAs, Terms};
use crate::journal::{Deed, Strategy, Touches};
use crate::kept::JournalBounds;
use crate::name::Name;
use crate::node::{FollowWish, NotWritten, RequestId, Standing, WriteId, Wrote};
use crate::payload::{Encoding, Payload};
use crate::refusal::{Code, Refusal};
use crate::rev::Rev;

/// In the worlds of seeds with this bit, and not that of rights, most of what happens has to do with journals.
pub(super) const SEEDS: u64 = 1 << 33;

/// Journals; few, so that programs meet in them.
const JOURNALS: [&str; 3] = ["todo", "press/1", "press/2"];

/// What some write as, beside their own names.
const AUTHOR: &str = "team";

/// Journals that one program follows.
const FOLLOWS_MAX: usize = 3;

/// Programs at one time, where most has to do with journals.
const PROGRAMS_MAX: usize = 6;

/// What is left by followers that are gone.
const SAVED_MAX: usize = 4;

/// What kind of world it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mode {
    /// Most of what happens has to do with journals.
    pub(super) dense: bool,
    /// Now and then an older copy of everything is put back.
    pub(super) restores: bool,
    /// Replicas upload snapshots, and old entries go.
    pub(super) snapshots: bool,
    /// Nobody sends nonsense.
    pub(super) honest: bool,
    journals: usize,
    /// How each of them undoes.
    strategies: [Strategy; JOURNALS.len()],
    /// Commands are long.
    pub(super) big: bool,
    pub(super) bounds: JournalBounds,
    /// How many commands the states of replicas lag behind.
    pub(super) near_behind: usize,
}

/// What one program does with journals, beside its node.
#[derive(Debug, Default)]
pub(super) struct Scribe {
    pub(super) number: u64,
    pub(super) wishes: BTreeMap<WriteId, Wish>,
    pub(super) follows: BTreeMap<RequestId, Follower>,
    pub(super) waits: BTreeMap<RequestId, Wait>,
    pub(super) questions: BTreeMap<RequestId, Question>,
    /// It takes nothing of what it follows.
    pub(super) idle: bool,
    /// Undos and redos that were acknowledged, and those of which nobody knows.
    backs: (u64, u64),
}

/// Something that is to be appended, without an answer.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) journal: String,
    pub(super) number: u64,
    pub(super) wanted: Wanted,
    /// The last entry that anybody had been told of before.
    pub(super) seen: u64,
    /// How often an older copy had been put back before.
    pub(super) restored: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// A piece of a snapshot, or that old entries go.
    Past,
    Commands {
        count: u32,
        expect_last: Option<u64>,
        lasting: bool,
        strategy: Option<Strategy>,
    },
    Back {
        undo: bool,
        back: Back,
    },
}

impl World {
    /// What kind of world this is. The others are as they were, whatever is thrown for these.
    pub(super) fn some_mode(&mut self) -> Mode {
        let dense = self.seed & (SEEDS | rights::SEEDS) == SEEDS;
        let dice = &mut self.dice;
        let units = dice.pick(&[3, 12, 100_000]);
        let restores = dense && dice.once_in(3);
        let snapshots = dense && !restores && dice.once_in(2);
        // Of what can be undone for ever there is no snapshot.
        let units = if snapshots { units.min(12) } else { units };
        Mode {
            dense,
            restores,
            snapshots,
            honest: dense && !dice.once_in(4),
            journals: dice.pick(&[1, 2, 3]),
            strategies: [(); JOURNALS.len()].map(|()| dice.pick(&Strategy::ALL)),
            big: dense && dice.once_in(12),
            bounds: JournalBounds {
                recent: dice.pick(&[0, 300, 2000, 64 << 20]),
                read: dice.pick(&[1, 500, 256 << 10]),
                units,
                units_all: if dice.once_in(3) { 7 } else { 1_000_000 },
            },
            near_behind: dice.pick(&[1, 4, 256]),
        }
    }

    /// How a journal of this world undoes.
    pub(super) fn strategy_of(&self, journal: &str) -> Strategy {
        let place = JOURNALS.iter().position(|name| *name == journal);
        place.map_or(Strategy::default(), |place| self.mode.strategies[place])
    }

    /// What an append says about how it is undone; and whether it says something wrong.
    fn some_terms(&mut self, journal: &str) -> (Option<Strategy>, bool, Touches) {
        let strategy = self.strategy_of(journal);
        let lasting = self.dice.once_in(if strategy == Strategy::Compensate { 5 } else { 60 });
        let touches = match self.dice.below(6) {
            0 => Touches::everything(),
            1 => Touches::nothing(),
            _ => Touches::keys((0..1 + self.dice.below(6)).map(|_| self.dice.below(8).to_string())),
        };
        let made = self.chronicle.books.contains_key(journal) && !self.mode.restores;
        let said = match self.dice.below(40) {
            0 if made => Some(self.dice.pick(&Strategy::ALL)),
            1..4 if made => None,
            _ => Some(strategy),
        };
        (said, lasting, touches)
    }

    /// As whom a new program writes, if not as itself.
    pub(super) fn some_author(&mut self) -> Option<Name> {
        (self.mode.dense && self.dice.once_in(4)).then(|| Name::parse(AUTHOR).expect("a name"))
    }

    /// One random thing of a world of journals.
    pub(super) fn dense_step(&mut self, tag: Tag) {
        match self.dice.below(1000) {
            0..660 => self.journals_step(tag),
            660..690 if !self.mode.restores => self.values_step(tag),
            690..710 => self.publish(tag, "a", 20),
            710..725 => {
                let what = self.dice.pick(&[Asked::Confirm, Asked::Barrier, Asked::Ping]);
                self.asks(tag, what);
            }
            725..765 => self.foundation_trouble(),
            765..830 => self.cuts(),
            830..860 => self.stops_reading(tag),
            860..875 => self.freezes(tag),
            875..900 => self.crashes(tag),
            900..910 => self.leaves(tag),
            910..940 => {
                if self.programs.len() < PROGRAMS_MAX {
                    self.start_program();
                }
            }
            940..947 => self.hub_stalls(),
            947..952 => {
                let by = Duration::from_secs(self.dice.pick(&[1, 30, 600]));
                self.jump(by);
            }
            952..968 => {
                if self.hub.is_some() && !self.stalled {
                    let politely = self.dice.once_in(4);
                    self.hub_crashes(politely);
                }
            }
            968..980 if self.mode.restores => self.backs_up(),
            980..990 if self.mode.restores => self.restores(),
            990..994 if !self.mode.honest => self.hostile_bytes(),
            994..996 if !self.mode.honest => self.turns_hostile(tag),
            _ => self.journals_step(tag),
        }
    }

    /// One random thing with journals.
    pub(super) fn journals_step(&mut self, tag: Tag) {
        if self.mode.dense && self.dice.once_in(7) {
            return self.asks_step(tag);
        }
        if self.mode.snapshots && self.dice.once_in(6) {
            return self.snapshots_step(tag);
        }
        match self.dice.below(100) {
            // Who has ended is refused everything.
            0..80 if self.programs.get(&tag).is_some_and(|one| !matches!(one.node.standing(), Standing::Ended(_))) => {
                let count = self.dice.pick(&[1, 1, 1, 2, 5]);
                for _ in 0..count {
                    self.appends(tag);
                }
            }
            0..90 => self.follows(tag),
            90..93 => {
                let Some(program) = self.programs.get(&tag) else { return };
                let ids: Vec<RequestId> = program.journals.follows.keys().copied().collect();
                if !ids.is_empty() {
                    let id = self.dice.pick(&ids);
                    self.unfollows(tag, id);
                }
            }
            _ => {
                let Some(program) = self.programs.get_mut(&tag) else { return };
                program.journals.idle = !program.journals.idle;
                self.with_node(tag, |_, _| {});
            }
        }
    }

    pub(super) fn some_journal(&mut self) -> &'static str {
        let count = self.mode.journals.max(1);
        JOURNALS[self.dice.below(count)]
    }

    /// Something near the end of a journal, or nothing of it.
    pub(super) fn some_place(&mut self, journal: &str) -> u64 {
        let last = self.chronicle.seen.get(journal).copied().unwrap_or(0) as usize;
        (last + 1).saturating_sub(self.dice.below(8)) as u64
    }

    fn some_back(&mut self, tag: Tag, journal: &str, undo: bool) -> Back {
        let everyone = self.dice.once_in(2);
        let target = self.dice.once_in(6).then(|| self.some_place(journal));
        let author =
            self.programs.get(&tag).map(|program| program.author.as_ref().unwrap_or(&program.name).to_string());
        let expect_top = match self.dice.below(8) {
            // As a replica does that has all.
            0..3 => {
                let book = self.chronicle.books.get(journal);
                let top = book.and_then(|book| book.ledger.top(undo, author.as_deref().unwrap_or(""), everyone));
                Some(top.unwrap_or(0))
            }
            3 => Some(self.some_place(journal)),
            _ => None,
        };
        Back { everyone, target, expect_top }
    }

    /// Appends something, and notes it.
    pub(super) fn appends(&mut self, tag: Tag) {
        let journal = self.some_journal();
        let name = Name::parse(journal).expect("a name");
        let kind = self.dice.below(100);
        let undo = kind < 89;
        let expect_last = match self.dice.below(12) {
            0 => Some(self.some_place(journal)),
            1 | 2 => Some(self.chronicle.last(journal)),
            _ => None,
        };
        let count = if self.dice.once_in(5) { 2 + self.dice.below(3) } else { 1 };
        let sizes: &[usize] = if self.mode.big { &[0, 3000, 40_000, 100_000] } else { &[0, 0, 10, 200] };
        let fill = self.dice.pick(sizes).min(self.config.payload_bytes_max / 8);
        let back = self.some_back(tag, journal, undo);
        let (strategy, lasting, touches) = self.some_terms(journal);
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.journals.number += 1;
        let number = program.journals.number;
        let (wanted, result) = if kind < 76 {
            let commands: Vec<Payload> = (0..count as u32)
                .map(|index| Command::new((tag, number, index), fill))
                .map(|command| Payload::encode(&command).expect("numbers and text"))
                .collect();
            let commands = commands.iter().map(|command| (Encoding::MessagePack, &command.bytes[..]));
            let wanted = Wanted::Commands { count: count as u32, expect_last, lasting, strategy };
            let hashes = Terms::hashes(&touches);
            let terms = Terms::new(strategy, lasting, hashes.as_deref());
            (wanted, program.node.append_on(&name, commands, expect_last, terms))
        } else if undo {
            (Wanted::Back { undo, back }, program.node.undo(&name, back))
        } else {
            (Wanted::Back { undo, back }, program.node.redo(&name, back))
        };
        let seen = self.chronicle.seen.get(journal).copied().unwrap_or(0);
        let restored = self.chronicle.restored;
        let wish = Wish { journal: journal.to_owned(), number, wanted, seen, restored };
        self.trace.line(self.now, format_args!("program {tag} appends {number} to `{journal}`: {wanted:?}"));
        match result {
            Ok(id) => {
                let Some(program) = self.programs.get_mut(&tag) else { return };
                program.journals.wishes.insert(id, wish);
            }
            Err(why) => {
                self.certainly_not_appended(tag, number);
                if !matches!(why.code, Code::Left | Code::Fenced | Code::TooLarge) {
                    self.fail(Checker::Journals, format!("program {tag} may not append: {why}"));
                }
            }
        }
        self.with_node(tag, |_, _| {});
    }

    fn follows(&mut self, tag: Tag) {
        let journal = self.some_journal();
        let Some(program) = self.programs.get(&tag) else { return };
        if program.journals.follows.len() >= FOLLOWS_MAX {
            return;
        }
        let follow_as = self.dice.pick(&[FollowAs::Observer, FollowAs::Member, FollowAs::Announced]);
        let kind = self.dice.below(8);
        let saved = if kind < 3 && !self.chronicle.saved.is_empty() {
            let place = self.dice.below(self.chronicle.saved.len());
            Some(self.chronicle.saved.swap_remove(place))
        } else {
            None
        };
        let behind = kind == 3 && !self.mode.restores;
        let (hash, follower) = match saved {
            Some(saved) => {
                let strategy = self.strategy_of(&saved.journal);
                (saved.hash, Follower::again(saved, self.mode, strategy))
            }
            // Somewhere, whatever there is before it; also beyond the end.
            None if behind => ([0; 16], Follower::behind(journal, self.some_place(journal))),
            None => ([0; 16], Follower::new(journal, self.mode, self.strategy_of(journal))),
        };
        let strategy = self.strategy_of(&follower.journal);
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let name = Name::parse(&follower.journal).expect("a name");
        let after = follower.seq();
        let snapshot_max = if self.dice.once_in(3) { 0 } else { u64::MAX };
        let verify = self.dice.once_in(2);
        let wish = FollowWish { after, hash, follow_as, strategy: Some(strategy), snapshot_max, verify };
        if let Ok(id) = program.node.follow(name, wish) {
            self.trace.line(
                self.now,
                format_args!("program {tag} follows `{}` behind {after} as {id}, {follow_as:?}", follower.journal),
            );
            let mut follower = follower;
            follower.announced = follow_as == FollowAs::Announced;
            follower.member = follow_as != FollowAs::Observer;
            program.requests.insert(id, Request { what: Asked::Follow, sent: 0, expected: None });
            program.journals.follows.insert(id, follower);
        }
        self.with_node(tag, |_, _| {});
    }

    fn unfollows(&mut self, tag: Tag, id: RequestId) {
        self.trace.line(self.now, format_args!("program {tag} ends follower {id}"));
        self.saves(tag, id);
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.journals.follows.remove(&id);
        program.requests.remove(&id);
        self.acknowledges(tag);
        self.with_node(tag, |node, _| node.unfollow(id));
    }

    /// What a follower has, for one that will go on there.
    pub(super) fn saves(&mut self, tag: Tag, id: RequestId) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let Some((received, hash)) = program.node.followed_hash(id) else { return };
        let Some(follower) = program.journals.follows.get(&id) else { return };
        if let Some((chain, entries)) = follower.saved()
            && received == follower.seq()
            && received > 0
            && self.chronicle.saved.len() < SAVED_MAX
        {
            let saved = Saved { journal: follower.journal.clone(), hash, chain, entries };
            self.chronicle.saved.push(saved);
        }
    }

    /// A program ends without a word: what it has applied, it may have kept.
    pub(super) fn saves_all(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag) else { return };
        let ids: Vec<RequestId> = program.journals.follows.keys().copied().collect();
        for id in ids {
            self.saves(tag, id);
        }
    }

    /// What a node says about what is to be appended. False if it is about something else.
    pub(super) fn note_appended(&mut self, tag: Tag, id: WriteId, result: &Result<Wrote, NotWritten>) -> bool {
        let Some(program) = self.programs.get_mut(&tag) else { return true };
        let Some(wish) = program.journals.wishes.remove(&id) else { return false };
        if self.hostile.contains(&tag) {
            return true;
        }
        let number = wish.number;
        if let Wanted::Past = wish.wanted {
            match result {
                Err(NotWritten { certain: false, .. }) => {}
                Err(NotWritten { why, .. }) => self.note_past(tag, Some(why)),
                Ok(_) => self.note_past(tag, None),
            }
            return true;
        }
        match result {
            Err(NotWritten { certain: false, why, op, .. }) => {
                if let Some(op) = op {
                    self.is_open(tag, (number, &wish.journal), *op);
                }
                self.trace.line(self.now, format_args!("program {tag}: nobody knows of append {number}: {why}"));
                self.report.unknown_writes += 1;
                if let Wanted::Back { .. } = wish.wanted
                    && let Some(program) = self.programs.get_mut(&tag)
                {
                    program.journals.backs.1 += 1;
                }
            }
            Err(NotWritten { why, .. }) => {
                self.trace.line(self.now, format_args!("program {tag}: append {number} is not done: {why}"));
                self.not_appended(tag, &wish, why);
            }
            Ok(Wrote { rev, count }) => {
                self.trace.line(self.now, format_args!("program {tag}: append {number} is at {rev}, {count} entries"));
                self.is_appended(tag, &wish, *rev, *count);
            }
        }
        true
    }

    fn not_appended(&mut self, tag: Tag, wish: &Wish, why: &Refusal) {
        self.report.appends_refused += 1;
        self.certainly_not_appended(tag, wish.number);
        let everybody = matches!(why.code, Code::StorageFull | Code::Backpressure | Code::TooLarge)
            || matches!(why.code, Code::StorageFailed | Code::Left | Code::Fenced);
        let usual = match wish.wanted {
            Wanted::Commands { expect_last, lasting, strategy, .. } => {
                let right = self.strategy_of(&wish.journal);
                let other = strategy.is_some_and(|strategy| strategy != right);
                expect_last.is_some() && why.code == Code::Conflict
                    || (other || lasting && right != Strategy::Compensate) && why.code == Code::BadRequest
            }
            Wanted::Past => true,
            Wanted::Back { back, .. } => match why.code {
                Code::Conflict => back.target.is_some(),
                Code::BadRequest => true,
                Code::UndoConflict => back.expect_top.is_some() || self.strategy_of(&wish.journal) == Strategy::Refuse,
                Code::UndoHorizon => back.target.is_some(),
                Code::Forbidden => back.target.is_some() && !back.everyone,
                _ => false,
            },
        };
        if self.is_ward(tag) && why.code == Code::Forbidden {
            self.report.forbidden += 1;
        } else if !everybody && !usual {
            let text = format!("append {} of program {tag} ({:?}) was refused: {why}", wish.number, wish.wanted);
            self.fail(Checker::Journals, text);
        }
    }

    /// What was acknowledged is in the journal, at the place that was told, and behind all that anybody knew before.
    fn is_appended(&mut self, tag: Tag, wish: &Wish, rev: Rev, count: u32) {
        let Wish { journal, number, .. } = wish;
        let first = rev.n;
        let fits = |entry: &&super::chronicle::Recorded, index: u32| {
            let who = self.chronicle.who.get(&entry.by.0).map(|who| who.tag);
            who == Some(tag)
                && match wish.wanted {
                    Wanted::Past => false,
                    Wanted::Commands { expect_last, lasting, .. } => {
                        entry.mark == Some((tag, *number, index))
                            && entry.deed == Deed::Do { first: if lasting { 0 } else { first } }
                            && expect_last.is_none_or(|last| last + 1 == first)
                    }
                    Wanted::Back { undo, back } => {
                        let about = match entry.deed {
                            Deed::Undo(about) if undo => about,
                            Deed::Redo(about) if !undo => about,
                            _ => return false,
                        };
                        back.target.is_none_or(|target| target == about)
                            && (back.target.is_some() || back.expect_top.is_none_or(|top| top == about))
                    }
                }
        };
        let wanted = if let Wanted::Commands { count, .. } = wish.wanted { count } else { 1 };
        let entry = |index: u32| self.chronicle.at(journal, first + u64::from(index)).find(|entry| fits(entry, index));
        let found = (0..wanted).all(|index| entry(index).is_some());
        let chain = entry(0).map_or(0, |entry| entry.chain);
        let what = format!("program {tag} was told that its append {number} is entry {first} of `{journal}`");
        if !found || count != wanted || !rev.is_durable() {
            let there = self.chronicle.at(journal, first).next();
            let text = format!("{what} ({count} entries at {rev}), and wanted {:?}; there is {there:?}", wish.wanted);
            return self.fail(Checker::Journals, text);
        }
        if !self.chronicle.acknowledged.insert((journal.clone(), first, chain)) {
            return self.fail(Checker::Journals, format!("{what}, and somebody else as well"));
        }
        if wish.restored == self.chronicle.restored && first <= wish.seen {
            let text = format!("{what}, and entry {} was known before it wanted that", wish.seen);
            return self.fail(Checker::Journals, text);
        }
        self.report.appended += 1;
        if let Wanted::Back { .. } = wish.wanted {
            self.report.undone += 1;
            if let Some(program) = self.programs.get_mut(&tag) {
                program.journals.backs.0 += 1;
            }
        }
        if self.chronicle.is_current(journal, first, chain) {
            let last = first + u64::from(wanted) - 1;
            self.chronicle.is_seen(journal, last);
        }
    }

    /// When nobody is left, and none may come back, journals say so.
    pub(super) fn check_presence_in_the_end(&mut self) {
        // Where hubs share a foundation, those who were there before a start may be members at another one.
        if self.config.shared_foundation && self.report.hub_starts > 1 {
            return;
        }
        let left = self.chronicle.books.iter().find(|(_, book)| !book.present.is_empty());
        if let Some((name, book)) = left {
            let text = format!("everybody has left, and `{name}` says that {:?} are members", book.present);
            self.fail(Checker::Journals, text);
        }
    }

    /// When all is quiet every undo and redo that was ordered was acknowledged, or nobody knows of it.
    pub(super) fn check_journals_in_the_end(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag) else { return };
        let open = program.journals.wishes.len();
        if open > 0 {
            return self.fail(Checker::Answers, format!("{open} appends of program {tag} have no answer"));
        }
        let waits = program.journals.waits.len();
        if waits > 0 {
            return self.fail(Checker::Answers, format!("{waits} waits of program {tag} have no answer"));
        }
        let (known, unknown) = program.journals.backs;
        let ordered = self.chronicle.backs.get(&tag).copied().unwrap_or(0);
        if self.chronicle.restored == 0 && !(known..=known + unknown).contains(&ordered) {
            let text = format!(
                "of program {tag} {ordered} undos and redos are in journals, and it was told of {known}, and not of {unknown}"
            );
            return self.fail(Checker::Journals, text);
        }
        self.check_followers_in_the_end(tag);
    }
}
