//! What is true of journals, from the sequence of operations: every entry of each, with who wrote it and what it says.
//!
//! An entry that was ordered is final, unless an older copy of everything was put back: then what was behind the copy is
//! lost, and remembered here as lost, since who has it must be told so and nobody else may ever get it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::Checker;
use super::asking::Question;
use super::ledger::Ledger;
use super::oracle::print;
use super::world::{Tag, World};
use crate::frame::{Appended, Incarnation};
use crate::journal::{Deed, Entry, State, Strategy};
use crate::operation::Operation;
use crate::payload::{Encoding, Payload};

/// A command, as it is on a link.
type Encoded<'a> = (Encoding, &'a [u8]);

/// An entry with its command, as a program was told it.
pub(super) type ToldEntry = (Entry, Option<Payload>);

/// Who wrote a command, which of what it appended it was in, and where in that.
pub(super) type Mark = (Tag, u64, u32);

/// A command of the simulated programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) tag: Tag,
    pub(super) number: u64,
    pub(super) index: u32,
    pub(super) fill: String,
    /// It takes another back: all is as it was then.
    back_to: Option<(u64, u64, u64)>,
}

impl Command {
    pub(super) fn new((tag, number, index): Mark, fill: usize) -> Command {
        Command { tag, number, index, fill: ".".repeat(fill), back_to: None }
    }
}

/// A state in which the order of all commands shows, of a journal that undoes by the strategy of this place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally<const STRATEGY: usize> {
    sum: u64,
    count: u64,
    refused: u64,
}

impl<const STRATEGY: usize> State for Tally<STRATEGY> {
    type Command = Command;
    type Output = Result<u64, u64>;

    const STRATEGY: Strategy = Strategy::ALL[STRATEGY];

    fn inverse(&self, command: &Command, _: &Entry) -> Option<Command> {
        // Some cannot be taken back.
        let back_to = Some((self.sum, self.count, self.refused));
        (!command.number.is_multiple_of(7)).then(|| Command { back_to, ..command.clone() })
    }

    fn apply(&mut self, command: &Command, at: &Entry) -> Self::Output {
        if let Some(back_to) = command.back_to {
            (self.sum, self.count, self.refused) = back_to;
            return Ok(self.sum);
        }
        // Some are refused by the state, which depends on all before them.
        if command.number.is_multiple_of(5) && self.sum.is_multiple_of(2) {
            self.refused += 1;
            return Err(self.refused);
        }
        let what = u64::from(command.tag) << 40 ^ command.number << 8 ^ u64::from(command.index) ^ at.seq << 20;
        self.sum = (self.sum ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.count += 1;
        Ok(self.sum)
    }
}

/// An entry that was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) seq: u64,
    pub(super) author: String,
    pub(super) wall_ms: u64,
    pub(super) deed: Deed,
    /// What its command is recognised by; nothing of an undo or redo.
    pub(super) print: u64,
    pub(super) mark: Option<Mark>,
    /// Of which incarnation, and which of its writes.
    pub(super) by: (Incarnation, u64),
    /// Of this entry and of all before it.
    pub(super) chain: u64,
}

impl Recorded {
    /// What is the same for all who are told of it.
    pub(super) fn says(&self, entry: &Entry, print: u64) -> bool {
        let Recorded { seq, author, wall_ms, deed, print: of, .. } = self;
        (*seq, &author[..], *wall_ms, *deed, *of)
            == (entry.seq, entry.author.as_str(), entry.wall_ms, entry.deed, print)
    }
}

/// What two followers have in common if it is the same.
pub(super) fn chained(chain: u64, entry: &Entry, print: u64) -> u64 {
    let deed = match entry.deed {
        Deed::Do { first } => first << 2,
        Deed::Undo(first) => first << 2 | 1,
        Deed::Redo(first) => first << 2 | 2,
        Deed::Join => 3,
        Deed::Leave => 7,
    };
    let author = super::oracle::print(Encoding::Text, entry.author.as_str().as_bytes());
    [entry.seq, entry.wall_ms, deed, author, print]
        .into_iter()
        .fold(chain, |chain, part| (chain ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23))
}

/// What a command is recognised by.
pub(super) fn command_print(command: Option<Encoded<'_>>) -> u64 {
    command.map_or(0, |(encoding, bytes)| print(encoding, bytes))
}

#[derive(Debug)]
pub(super) struct Book {
    pub(super) entries: Vec<Recorded>,
    pub(super) ledger: Ledger,
    pub(super) strategy: Strategy,
    /// Nodes of which its entries say that they are members.
    pub(super) present: BTreeSet<String>,
    /// Snapshots that were begun, by whom and at which place, and what each maker knew.
    pub(super) begun: BTreeMap<(Incarnation, u64), u64>,
    /// Places of which there may be a snapshot, and the most that a maker of one knew.
    pub(super) snapshots: BTreeMap<u64, u64>,
}

impl Book {
    fn new(units_max: usize, strategy: Strategy) -> Book {
        Book {
            entries: Vec::new(),
            ledger: Ledger::new(units_max),
            strategy,
            present: BTreeSet::new(),
            begun: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        }
    }

    /// The next entry.
    fn push(
        &mut self,
        (author, wall_ms, deed): (&str, u64, Deed),
        print: u64,
        mark: Option<Mark>,
        by: (Incarnation, u64),
    ) {
        let seq = self.entries.len() as u64 + 1;
        let name = crate::name::Name::parse(author).expect("the hub has checked it");
        let chain = self.entries.last().map_or(0, |entry| entry.chain);
        let chain = chained(chain, &Entry { seq, author: name, wall_ms, deed, provenance: None }, print);
        let author = author.to_owned();
        self.entries.push(Recorded { seq, author, wall_ms, deed, print, mark, by, chain });
        self.ledger.apply(seq, &self.entries[seq as usize - 1].author, deed);
    }
}

/// Who an incarnation is.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) tag: Tag,
    author: String,
}

/// What a follower that is gone has left, for one that goes on where it was.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) journal: String,
    pub(super) hash: [u8; 16],
    pub(super) chain: u64,
    pub(super) entries: Vec<ToldEntry>,
}

/// The truth of all journals.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    pub(super) books: BTreeMap<String, Book>,
    /// Entries that an older copy did not have.
    lost: BTreeMap<(String, u64), Vec<Recorded>>,
    /// How often an older copy was put back.
    pub(super) restored: u32,
    /// Where commands have come into effect; and the last of each program.
    effects: BTreeMap<Mark, (String, u64)>,
    last: BTreeMap<Tag, u64>,
    /// What a program was told certainly not to be done.
    not_done: BTreeSet<(Tag, u64)>,
    /// Undo and redo entries of each program.
    pub(super) backs: BTreeMap<Tag, u64>,
    pub(super) acknowledged: BTreeSet<(String, u64, u64)>,
    /// The last entry of each that anybody was told of.
    pub(super) seen: BTreeMap<String, u64>,
    pub(super) who: BTreeMap<Incarnation, Who>,
    pub(super) saved: Vec<Saved>,
    /// The most that a node of this name has ever said to have applied of a journal.
    pub(super) applied: BTreeMap<(String, String), u64>,
    /// Journals that were there when the hub was started last.
    pub(super) at_start: BTreeSet<String>,
    /// What programs that are gone had no answer for.
    pub(super) questions: VecDeque<Question>,
    /// What was told to be not done, and never to be.
    pub(super) never: BTreeSet<(Incarnation, u64)>,
}

impl Chronicle {
    /// The place of the last entry.
    pub(super) fn last(&self, journal: &str) -> u64 {
        self.books.get(journal).map_or(0, |book| book.entries.len() as u64)
    }

    /// The entry at this place as it is now, and those that it was before older copies were put back.
    pub(super) fn at(&self, journal: &str, seq: u64) -> impl Iterator<Item = &Recorded> {
        let now = seq.checked_sub(1).and_then(|place| self.books.get(journal)?.entries.get(place as usize));
        now.into_iter().chain(self.lost.get(&(journal.to_owned(), seq)).into_iter().flatten())
    }

    /// Whether who has followed so far has what there is now.
    pub(super) fn is_current(&self, journal: &str, seq: u64, chain: u64) -> bool {
        let book = self.books.get(journal);
        seq == 0 || book.and_then(|book| book.entries.get(seq as usize - 1)).is_some_and(|entry| entry.chain == chain)
    }

    pub(super) fn is_seen(&mut self, journal: &str, seq: u64) {
        let seen = self.seen.entry(journal.to_owned()).or_default();
        *seen = (*seen).max(seq);
    }

    /// All that follows from operations is to be told anew; what there was is lost, as far as it does not come again.
    pub(super) fn begins_anew(&mut self) {
        self.restored += 1;
        for (name, book) in std::mem::take(&mut self.books) {
            for entry in book.entries {
                let lost = self.lost.entry((name.clone(), entry.seq)).or_default();
                if !lost.iter().any(|other| other.chain == entry.chain) {
                    lost.push(entry);
                }
            }
        }
        self.effects.clear();
        self.last.clear();
        self.backs.clear();
    }

    /// What there is again is not lost; and of what is lost nobody was told yet.
    pub(super) fn has_begun_anew(&mut self) {
        for (name, book) in &self.books {
            for entry in &book.entries {
                if let Some(lost) = self.lost.get_mut(&(name.clone(), entry.seq)) {
                    lost.retain(|other| other.chain != entry.chain);
                }
            }
        }
        let Chronicle { seen, books, .. } = self;
        for (name, seen) in seen {
            *seen = (*seen).min(books.get(name).map_or(0, |book| book.entries.len() as u64));
        }
    }
}

impl World {
    /// It is ordered that a node is a member of a journal, or is one no more.
    pub(super) fn presence_recorded(&mut self, operation: &Operation<'_>) {
        let Operation::Presence { wall_ms, journal, node, joined, strategy } = operation else { return };
        let (name, node) = (String::from_utf8_lossy(journal).into_owned(), String::from_utf8_lossy(node));
        let units_max = self.mode.bounds.units;
        if self.chronicle.books.get(&name).is_some_and(|book| book.present.contains(&*node)) == *joined {
            return;
        }
        let book = self.chronicle.books.entry(name).or_insert_with(|| Book::new(units_max, *strategy));
        if *joined {
            book.present.insert(node.clone().into_owned());
        } else {
            book.present.remove(&*node);
        }
        let deed = if *joined { Deed::Join } else { Deed::Leave };
        book.push((&node, *wall_ms, deed), 0, None, Default::default());
        self.report.entries += 1;
        self.report.presence += 1;
    }

    /// An append was ordered, and is neither a repetition nor too late: what comes of it is true from now on.
    pub(super) fn recorded(&mut self, operation: &Operation<'_>) {
        let Operation::Append { incarnation, cseq, author, wall_ms, journal, appended, .. } = operation else { return };
        let (name, author) = (String::from_utf8_lossy(journal).into_owned(), String::from_utf8_lossy(author));
        let bounds = self.mode.bounds;
        let others = self.chronicle.books.iter().filter(|(other, _)| **other != name);
        let others: usize = others.map(|(_, book)| book.ledger.weight()).sum();
        let (last, book) = (self.chronicle.last(&name), self.chronicle.books.get(&name));
        let (mut strategy, mut touches) = (Strategy::default(), None);
        let deeds: Vec<(Deed, Option<Encoded<'_>>)> = match appended {
            Appended::Commands { commands, expect_last, terms } => {
                strategy = book.map(|book| book.strategy).or(terms.strategy).unwrap_or_default();
                let other = terms.strategy.is_some_and(|wanted| wanted != strategy);
                let lasts = terms.lasting && strategy != Strategy::Compensate;
                if other || lasts || expect_last.is_some_and(|expected| expected != last) {
                    return;
                }
                touches = (strategy == Strategy::Refuse).then(|| terms.touches());
                let deed = Deed::Do { first: if terms.lasting { 0 } else { last + 1 } };
                commands.iter().map(|command| (deed, Some(command))).collect()
            }
            Appended::Undo(back) | Appended::Redo(back) => {
                let undo = matches!(appended, Appended::Undo(_));
                let Some(first) = book.and_then(|book| book.ledger.taken(undo, &author, back)) else { return };
                vec![(if undo { Deed::Undo(first) } else { Deed::Redo(first) }, None)]
            }
            Appended::Snapshot(_) | Appended::Compact(_) => return self.past_recorded(*incarnation, &name, appended),
            Appended::Carried(_) => unreachable!("no node of the simulator is a link of another hub"),
        };
        let who = self.chronicle.who.get(incarnation).cloned();
        let hostile = who.as_ref().is_some_and(|who| self.hostile.contains(&who.tag));
        if let Some(who) = who.as_ref().filter(|who| !hostile && who.author != author) {
            let text = format!("what `{}` appends to `{name}` is ordered as that of `{author}`", who.author);
            return self.fail(Checker::Journals, text);
        }
        if self.chronicle.never.contains(&(*incarnation, *cseq)) {
            let text = format!("{cseq} of {incarnation:?} is done in `{name}`, and was told never to be");
            return self.fail(Checker::Journals, text);
        }
        let book = self.chronicle.books.entry(name.clone()).or_insert_with(|| Book::new(bounds.units, strategy));
        let mut marks = Vec::new();
        for (deed, command) in deeds {
            let mark = command.and_then(|(encoding, bytes)| mark(encoding, bytes));
            let before = book.ledger.weight();
            book.push((&author, *wall_ms, deed), command_print(command), mark, (*incarnation, *cseq));
            if touches.is_some() {
                book.ledger.touches(touches.take());
            }
            // Who appends while there is too much pays for it.
            book.ledger.shrink(bounds.units_all.saturating_sub(others), before);
            marks.extend(mark.map(|mark| (mark, book.entries.len() as u64)));
            self.report.entries += 1;
            if command.is_none()
                && let Some(who) = &who
            {
                *self.chronicle.backs.entry(who.tag).or_default() += 1;
            }
        }
        for (mark, seq) in marks {
            if !self.hostile.contains(&mark.0) {
                self.command_took_effect(mark, &name, seq);
            }
        }
    }

    fn command_took_effect(&mut self, mark: Mark, journal: &str, seq: u64) {
        let (tag, number, index) = mark;
        let chronicle = &mut self.chronicle;
        let what = format!("command {index} of append {number} of program {tag} is entry {seq} of `{journal}`");
        let before = chronicle.effects.insert(mark, (journal.to_owned(), seq));
        let last = chronicle.last.insert(tag, number).unwrap_or(0);
        let wrong = if let Some((journal, seq)) = before {
            format!("{what}, and entry {seq} of `{journal}` as well")
        } else if last > number {
            format!("{what}, behind what is in append {last}")
        } else if chronicle.not_done.contains(&(tag, number)) {
            format!("{what}, and was told not to be done")
        } else {
            return;
        };
        self.fail(Checker::Journals, wrong);
    }

    /// A program was told that something is certainly not done.
    pub(super) fn certainly_not_appended(&mut self, tag: Tag, number: u64) {
        let effect = self.chronicle.effects.range((tag, number, 0)..(tag, number + 1, 0)).next();
        if let Some((_, (journal, seq))) = effect {
            let text =
                format!("append {number} of program {tag} was told not to be done, and is entry {seq} of `{journal}`");
            return self.fail(Checker::Journals, text);
        }
        self.chronicle.not_done.insert((tag, number));
    }

    /// A program has joined as this incarnation.
    pub(super) fn incarnation_is(&mut self, incarnation: Incarnation, tag: Tag) {
        if let Some(program) = self.programs.get(&tag) {
            let author = program.author.as_ref().unwrap_or(&program.name).to_string();
            self.chronicle.who.insert(incarnation, Who { tag, author });
        }
    }
}

fn mark(encoding: Encoding, bytes: &[u8]) -> Option<Mark> {
    let payload = Payload { encoding, bytes: bytes::Bytes::copy_from_slice(bytes) };
    let command: Command = payload.decode().ok()?;
    Some((command.tag, command.number, command.index))
}
