//! What programs ask about journals, and what they must be told: who has applied an entry, and what became of what a program
//! that is gone had sent.
//!
//! A wait is never told that somebody has applied what that one has not, nor that all have while one is a member that has
//! not, nor before those of before a start of the hub may all be back; and each is answered. What is told to be done is where
//! it is told to be; what is told not to be done never is; and whoever asks again is told the same.

use std::time::Duration;

use super::Checker;
use super::journals::Wanted;
use super::world::{Asked, Request, Tag, World};
use crate::journal::{AppliedBy, Attendance, Who};
use crate::name::Name;
use crate::node::{Became, RequestId, WriteId};
use crate::op::OpId;
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// What programs may wait for at a time, so that few steps are spent on it.
const WAITS_MAX: usize = 6;

/// Questions that are remembered, to be asked once and again.
const QUESTIONS_MAX: usize = 40;

/// How long the waits are that must end well.
const PATIENCE: Duration = Duration::from_secs(10);

/// One wait without an answer.
#[derive(Debug)]
pub(super) struct Wait {
    journal: String,
    seq: u64,
    who: Who,
    due: Time,
    /// Who was a member when it was asked, on which link.
    members: Vec<(Tag, (u64, u32))>,
    /// Those that are waited for apply it in any case.
    sure: bool,
}

/// Something that a program has sent and had no answer for when it ended.
#[derive(Clone, Debug)]
pub(super) struct Question {
    op: OpId,
    /// Who has sent it, as which of what it appended.
    name: Name,
    tag: Tag,
    number: u64,
    journal: String,
}

impl World {
    /// One random question.
    pub(super) fn asks_step(&mut self, tag: Tag) {
        match self.dice.below(10) {
            0..4 => self.asks_applied(tag),
            4 => {
                let Some(program) = self.programs.get_mut(&tag) else { return };
                if let Some((id, _)) = program.journals.waits.pop_first() {
                    self.trace.line(self.now, format_args!("program {tag} gives wait {id} up"));
                    self.with_node(tag, |node, _| node.forget_await(id));
                }
            }
            _ => self.asks_status(tag),
        }
    }

    fn asks_applied(&mut self, tag: Tag) {
        let journal = self.some_journal();
        let seq = self.some_place(journal);
        let names = ["ann", "bob", "cai", "dee"];
        let who = match self.dice.below(6) {
            0..2 => Who::All,
            2 => Who::Quorum,
            3 => Who::Count(1 + self.dice.below(3) as u32),
            _ => {
                let count = 1 + self.dice.below(2);
                let mut nodes: Vec<&str> = (0..count).map(|_| self.dice.pick(&names)).collect();
                nodes.dedup();
                Who::Nodes(nodes.into_iter().map(|name| Name::parse(name).expect("a name")).collect())
            }
        };
        let time = Duration::from_millis(self.dice.pick(&[0, 20, 500, 5_000, 40_000]));
        self.awaits(tag, journal, seq, who, time, false);
    }

    fn awaits(&mut self, tag: Tag, journal: &str, seq: u64, who: Who, time: Duration, sure: bool) {
        let members = self.members_of(journal);
        let (now, name) = (self.now, Name::parse(journal).expect("a name"));
        let Some(program) = self.programs.get_mut(&tag) else { return };
        if !sure && program.journals.waits.len() >= WAITS_MAX {
            return;
        }
        if let Ok(id) = program.node.await_applied(name, seq, who.clone(), time, now) {
            self.trace.line(now, format_args!("program {tag} waits {id}: {who:?} for {seq} of `{journal}`, {time:?}"));
            let wait = Wait { journal: journal.to_owned(), seq, who, due: now + time, members, sure };
            program.journals.waits.insert(id, wait);
        }
        self.with_node(tag, |_, _| {});
    }

    /// Programs that certainly are members of a journal, each with its link.
    fn members_of(&self, journal: &str) -> Vec<(Tag, (u64, u32))> {
        let programs = self.programs.iter().filter(|(tag, _)| self.is_member(**tag, journal));
        programs.map(|(tag, program)| (*tag, program.welcomed)).collect()
    }

    fn is_member(&self, tag: Tag, journal: &str) -> bool {
        let Some(program) = self.programs.get(&tag).filter(|program| program.node.is_joined()) else { return false };
        let link = program.conn.and_then(|conn| self.conns.get(&conn));
        let there =
            link.is_some_and(|link| !link.excuse.cut) && self.joined.get(&program.name) == program.conn.as_ref();
        let follows = |(id, follower): (&RequestId, &super::follower::Follower)| {
            follower.counts_in(journal) && program.node.follows_up_to(*id).is_some()
        };
        there && !self.hostile.contains(&tag) && program.journals.follows.iter().any(follows)
    }

    /// A program has told its node what it has applied, or follows with less than before.
    pub(super) fn acknowledges(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag) else { return };
        for follower in program.journals.follows.values() {
            let all = program.journals.follows.values().filter(|other| other.counts_in(&follower.journal));
            let Some(least) = all.map(|other| other.applied).min() else { continue };
            let known = self.chronicle.applied.entry((follower.journal.clone(), program.name.to_string())).or_default();
            *known = (*known).max(least);
        }
    }

    /// The most that a node of this name can have acknowledged.
    fn applied_by(&self, journal: &str, node: &Name) -> u64 {
        self.chronicle.applied.get(&(journal.to_owned(), node.to_string())).copied().unwrap_or(0)
    }

    /// What a node says about waits.
    pub(super) fn note_waits(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        for (id, answer) in program.node.awaited() {
            let Some(wait) = self.programs.get_mut(&tag).and_then(|program| program.journals.waits.remove(&id)) else {
                self.fail(Checker::Answers, format!("program {tag} was told of wait {id}, which is not open"));
                continue;
            };
            self.trace.line(self.now, format_args!("program {tag}: wait {id} has ended: {answer:?}"));
            if self.hostile.contains(&tag) {
                continue;
            }
            let wrong = match &answer {
                Ok(by) => self.wrong_with_wait(tag, &wait, by),
                Err(why) => self.wrong_refusal(&wait, why),
            };
            if let Some(wrong) = wrong {
                let Wait { journal, seq, who, .. } = wait;
                let text = format!("program {tag} waits for {who:?} to apply {seq} of `{journal}`, and {wrong}");
                self.fail(Checker::Journals, text);
            }
        }
    }

    fn wrong_refusal(&self, wait: &Wait, why: &Refusal) -> Option<String> {
        let usual = match why.code {
            Code::Left | Code::Fenced => true,
            // The hub starts or stands still, or there is no link to it.
            Code::Backpressure | Code::TimedOut | Code::Offline | Code::LinkLost => !wait.sure,
            _ => false,
        };
        (!usual).then(|| format!("that was refused: {why}"))
    }

    fn wrong_with_wait(&mut self, tag: Tag, wait: &Wait, by: &AppliedBy) -> Option<String> {
        let Wait { journal, seq, who, due, members, sure } = wait;
        let too_much = |(node, applied): (&Name, u64)| applied > self.applied_by(journal, node);
        let listed = by.listed.iter().filter(|one| one.attendance != Attendance::Gone);
        if let Some((node, applied)) = listed.map(|one| (&one.node, one.applied)).find(|one| too_much(*one)) {
            let has = self.applied_by(journal, node);
            return Some(format!("was told that `{node}` has applied {applied}, and that has at most {has}"));
        }
        if !by.reached {
            if self.now + Duration::from_millis(1) < *due {
                return Some(format!("was told at {:?} that the time is over, which is at {due:?}", self.now));
            }
            self.report.waits_over += 1;
            return sure.then(|| format!("was told that it is in vain: {by}"));
        }
        self.report.waits_reached += 1;
        if *seq == 0 {
            // Whoever is a member has.
            return None;
        }
        let having = self.chronicle.applied.iter().filter(|((of, _), applied)| of == journal && **applied >= *seq);
        let having = having.count();
        let lagging = members.iter().find(|(tag, link)| {
            let program = self.programs.get(tag).filter(|program| program.welcomed == *link);
            self.is_member(*tag, journal)
                && program.is_some_and(|program| self.applied_by(journal, &program.name) < *seq)
        });
        // Those that were there before a start of the hub may yet come back.
        let by_this_start = self.programs.get(&tag).is_some_and(|program| program.welcomed.0 == self.epoch);
        let old = by_this_start && self.chronicle.at_start.contains(journal);
        let returning = old && self.now < self.ready_at + self.config.membership.member_away_max();
        match who {
            Who::Nodes(nodes) => {
                let not = nodes.iter().find(|node| self.applied_by(journal, node) < *seq)?;
                Some(format!("was told that they have, and `{not}` has not"))
            }
            Who::Count(count) if having < *count as usize => Some(format!("was told so, and {having} have")),
            Who::Count(_) => None,
            Who::All | Who::Quorum if returning => Some("was told so while others may come back".to_owned()),
            Who::All if by.applied < by.members || having < by.applied => {
                Some(format!("was told so: {by}; and {having} have"))
            }
            Who::All => lagging.map(|(tag, _)| format!("was told so, and program {tag} is a member that has not")),
            Who::Quorum if having * 2 <= by.members => Some(format!("was told so: {by}; and {having} have")),
            Who::Quorum => None,
        }
    }

    /// When all is quiet, every member applies all that it has, and whoever waits for that is told so.
    pub(super) fn waits_in_the_end(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag) else { return };
        let counting = |journal: &str| program.journals.follows.values().find(|one| one.counts_in(journal));
        let follows = program.journals.follows.iter().filter(|(_, follower)| counting(&follower.journal).is_some());
        let follows: Vec<(RequestId, String, u64)> =
            follows.map(|(id, follower)| (*id, follower.journal.clone(), follower.seq())).collect();
        let name = program.name.clone();
        for (id, journal, seq) in &follows {
            if self.is_member(tag, journal) {
                let all = follows.iter().filter(|(_, other, _)| other == journal);
                let least = all.map(|(.., seq)| *seq).min().unwrap_or(0);
                self.awaits(tag, journal, least, Who::Nodes(vec![name.clone()]), PATIENCE, true);
            }
            self.applies(tag, *id, *seq);
        }
        self.with_node(tag, |_, _| {});
    }

    /// A follower has applied everything up to here.
    pub(super) fn applies(&mut self, tag: Tag, id: RequestId, seq: u64) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.node.applied(id, seq);
        if let Some(follower) = program.journals.follows.get_mut(&id) {
            follower.applied = follower.applied.max(seq);
        }
        self.acknowledges(tag);
    }

    /// A program has ended without knowing what became of this.
    pub(super) fn is_open(&mut self, tag: Tag, (number, journal): (u64, &str), op: OpId) {
        let Some(program) = self.programs.get(&tag) else { return };
        // What was put back is another truth.
        if self.mode.restores || !self.mode.dense || self.hostile.contains(&tag) {
            return;
        }
        let question = Question { op, name: program.name.clone(), tag, number, journal: journal.to_owned() };
        self.chronicle.questions.push_back(question);
        if self.chronicle.questions.len() > QUESTIONS_MAX {
            self.chronicle.questions.pop_front();
        }
    }

    /// All that a program that ends without a word has no answer for.
    pub(super) fn leaves_open(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag) else { return };
        let open = program.journals.wishes.iter().filter_map(|(id, wish): (&WriteId, _)| {
            let past = matches!(wish.wanted, Wanted::Past);
            Some((wish.number, wish.journal.clone(), program.node.op(*id).filter(|_| !past)?))
        });
        for (number, journal, op) in open.collect::<Vec<_>>() {
            self.is_open(tag, (number, &journal), op);
        }
    }

    fn asks_status(&mut self, tag: Tag) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let questions = self.chronicle.questions.iter().filter(|one| one.name == program.name && one.tag != tag);
        let questions: Vec<Question> = questions.cloned().collect();
        if questions.is_empty() {
            return self.asks_applied(tag);
        }
        let question = questions[self.dice.below(questions.len())].clone();
        if let Ok(id) = program.node.status(question.op) {
            self.trace.line(self.now, format_args!("program {tag} asks {id}: what became of {}", question.op));
            program.requests.insert(id, Request { what: Asked::Status, sent: 0, expected: None });
            program.journals.questions.insert(id, question);
        }
        self.with_node(tag, |_, _| {});
    }

    /// A question was answered.
    pub(super) fn note_status(&mut self, tag: Tag, id: RequestId) {
        let Some(program) = self.programs.get_mut(&tag) else { return };
        let (became, question) = (program.node.take_status(id), program.journals.questions.remove(&id));
        let (Some(became), Some(question)) = (became, question) else { return };
        self.trace.line(self.now, format_args!("program {tag} is told {id}: {became:?}"));
        if self.hostile.contains(&tag) || self.hostile.contains(&question.tag) {
            return;
        }
        let Question { op, journal, number, tag: of, .. } = question;
        let by = (op.incarnation, op.cseq);
        let book = self.chronicle.books.get(&journal);
        let entries = || book.into_iter().flat_map(|book| &book.entries).filter(|entry| entry.by == by);
        let (first, many) = (entries().next().map(|entry| entry.seq), entries().count());
        let what = format!("program {tag} was told of append {number} of program {of} to `{journal}`");
        match became {
            Became::Done { rev, count } => {
                self.report.statuses += 1;
                if first != Some(rev.n) || many != count as usize || !rev.is_durable() {
                    let text = format!("{what} that it is {count} entries at {rev}, and there are {many} at {first:?}");
                    self.fail(Checker::Journals, text);
                }
            }
            Became::NotDone(why) => {
                self.report.statuses += 1;
                if let Some(first) = first {
                    let text = format!("{what} that it is not done ({why}), and it is entry {first}");
                    return self.fail(Checker::Journals, text);
                }
                self.chronicle.never.insert(by);
                self.certainly_not_appended(of, number);
            }
            Became::Unknown(_) => {}
        }
    }
}
