//! Replicas against the oracle: the journal replayed without what is undone.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Chosen;
use serde::Deserialize;

use super::super::{Scope, UndoRefused};
use super::lagging::NEAR;
use super::*;
use crate::name::Name;

mod compensate;
mod snapshots;

/// A list in which the order of all commands shows, and whose commands may be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Notes {
    lines: Vec<String>,
    taken: BTreeMap<u8, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Note {
    Line(String),
    /// Doubles what there is, for an order that cannot be exchanged.
    Double,
    /// Refused if somebody else has it.
    Take(u8),
}

impl State for Notes {
    type Command = Note;
    type Output = Result<usize, String>;

    fn apply(&mut self, command: &Note, at: &Entry) -> Self::Output {
        match command {
            Note::Line(text) => self.lines.push(format!("{} {text}", at.author)),
            Note::Double => {
                let half = self.lines.len().min(8);
                self.lines.extend_from_within(..half);
                self.lines.truncate(64);
            }
            Note::Take(what) => {
                if let Some(owner) = self.taken.get(what) {
                    return Err(owner.clone());
                }
                self.taken.insert(*what, at.author.to_string());
            }
        }
        Ok(self.lines.len())
    }

    fn presence(&mut self, joined: bool, at: &Entry) {
        self.lines.push(format!("{} {}", if joined { "+" } else { "-" }, at.author));
    }
}

/// What can be undone in these journals.
const UNITS_MAX: usize = 700;

/// All entries, as a hub would keep them.
#[derive(Default)]
struct Journal {
    entries: Vec<(Entry, Option<Note>)>,
}

fn author(number: u8) -> Name {
    Name::parse(["ann", "bob", "cai"][usize::from(number) % 3]).unwrap()
}

impl Journal {
    fn add(&mut self, author: Name, deed: Deed, note: Option<Note>) -> (Entry, Option<Payload>) {
        let entry = Entry { seq: self.entries.len() as u64 + 1, author, wall_ms: 0, deed, provenance: None };
        let payload = note.as_ref().map(|note| Payload::encode(note).unwrap());
        self.entries.push((entry.clone(), note));
        (entry, payload)
    }

    /// Which units are done: said without lists, from the words of the promise.
    fn undone(&self) -> BTreeMap<u64, bool> {
        let mut undone = BTreeMap::new();
        for (entry, _) in &self.entries {
            match entry.deed {
                Deed::Do { first } => drop(undone.insert(first, false)),
                Deed::Undo(first) => drop(undone.insert(first, true)),
                Deed::Redo(first) => drop(undone.insert(first, false)),
                Deed::Join | Deed::Leave => {}
            }
        }
        undone
    }

    fn oracle(&self) -> Notes {
        let undone = self.undone();
        let mut state = Notes::default();
        for (entry, note) in &self.entries {
            if let (Deed::Do { first }, Some(note)) = (entry.deed, note)
                && !undone[&first]
            {
                let _ = state.apply(note, entry);
            }
            if let Deed::Join | Deed::Leave = entry.deed {
                state.presence(entry.deed == Deed::Join, entry);
            }
        }
        state
    }
}

#[derive(Clone, Debug)]
enum Step {
    Do(u8, Note),
    Group(u8, Vec<Note>),
    Undo(u8, bool, Option<u64>),
    Redo(u8, bool, Option<u64>),
    Presence(u8, bool),
}

fn note() -> impl Chosen<Value = Note> {
    prop_oneof!["[a-z]{0,12}".prop_map(Note::Line), Just(Note::Double), (0..4u8).prop_map(Note::Take)]
}

fn step() -> impl Chosen<Value = Step> {
    let target = || prop_oneof![2 => Just(None), 1 => (0..1800u64).prop_map(Some)];
    prop_oneof![
        6 => (0..3u8, note()).prop_map(|(who, note)| Step::Do(who, note)),
        1 => (0..3u8, prop::collection::vec(note(), 1..5)).prop_map(|(who, notes)| Step::Group(who, notes)),
        3 => (0..3u8, any::<bool>(), target()).prop_map(|(who, all, target)| Step::Undo(who, all, target)),
        2 => (0..3u8, any::<bool>(), target()).prop_map(|(who, all, target)| Step::Redo(who, all, target)),
        1 => (0..3u8, any::<bool>()).prop_map(|(who, joined)| Step::Presence(who, joined)),
    ]
}

fn scope(all: bool) -> Scope {
    if all { Scope::Everyone } else { Scope::Mine }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Long enough that both states that lag behind are used.
    #[test]
    fn a_replica_is_the_journal_replayed_without_what_is_undone(steps in prop::collection::vec(step(), 1..1500)) {
        let mut journal = Journal::default();
        let mut replica = Replica::at(0, Notes::default(), UndoList::new(UNITS_MAX));
        let apply = |replica: &mut Replica<Notes>, (entry, payload): (Entry, Option<Payload>)| {
            replica.apply(&entry, payload.as_ref()).unwrap()
        };
        for step in steps {
            match step {
                Step::Do(who, note) => {
                    let first = journal.entries.len() as u64 + 1;
                    let added = journal.add(author(who), Deed::Do { first }, Some(note));
                    apply(&mut replica, added);
                }
                Step::Group(who, notes) => {
                    let first = journal.entries.len() as u64 + 1;
                    for note in notes {
                        let added = journal.add(author(who), Deed::Do { first }, Some(note));
                        apply(&mut replica, added);
                    }
                }
                Step::Undo(who, all, target) => {
                    if let Ok(first) = replica.undo_list().check_undo(&author(who), scope(all), target, None) {
                        prop_assert!(!journal.undone()[&first], "only what is done is undone");
                        let added = journal.add(author(who), Deed::Undo(first), None);
                        apply(&mut replica, added);
                    }
                }
                Step::Redo(who, all, target) => {
                    if let Ok(first) = replica.undo_list().check_redo(&author(who), scope(all), target, None) {
                        prop_assert!(journal.undone()[&first], "only what is undone is done again");
                        let added = journal.add(author(who), Deed::Redo(first), None);
                        apply(&mut replica, added);
                    }
                }
                Step::Presence(who, joined) => {
                    let deed = if joined { Deed::Join } else { Deed::Leave };
                    let added = journal.add(author(who), deed, None);
                    apply(&mut replica, added);
                }
            }
            prop_assert_eq!(replica.state(), &journal.oracle());
        }
    }
}

fn line(replica: &mut Replica<Notes>, text: &str) {
    let seq = replica.seq() + 1;
    let entry = Entry { seq, author: author(0), wall_ms: 0, deed: Deed::Do { first: seq }, provenance: None };
    replica.apply(&entry, Some(&Payload::encode(&Note::Line(text.into())).unwrap())).unwrap();
}

#[test]
fn a_recent_undo_costs_little_however_long_the_journal_is() {
    let mut replica = Replica::<Notes>::new();
    for number in 0..3_000 {
        line(&mut replica, &number.to_string());
    }
    for undone in 1..=200 {
        let first = replica.undo_list().check_undo(&author(0), Scope::Mine, None, None).unwrap();
        let entry =
            Entry { seq: replica.seq() + 1, author: author(0), wall_ms: 0, deed: Deed::Undo(first), provenance: None };
        let Applied::Changed { again, .. } = replica.apply(&entry, None).unwrap() else { panic!("an undo") };
        assert!(again <= 2 * NEAR, "{again} commands were applied again for {first} of {}", entry.seq);
        assert_eq!(replica.state().lines.len(), 3_000 - undone);
    }
    assert_eq!(replica.state().lines.last().unwrap(), "ann 2799");
}

#[test]
fn a_replica_holds_no_more_than_can_be_undone() {
    let mut replica = Replica::<Notes>::new();
    let long = "a".repeat(1 << 20);
    for _ in 0..100 {
        line(&mut replica, &long);
    }
    let held: usize = replica
        .known
        .iter()
        .map(|known| match &known.command {
            Some(Note::Line(text)) => text.len(),
            _ => 0,
        })
        .sum();
    assert!((32 << 20..=64 << 20).contains(&held), "{held} bytes");
    let horizon = replica.undo_list().horizon();
    let refused = replica.undo_list().check_undo(&author(0), Scope::Mine, Some(horizon - 1), None);
    assert_eq!(refused, Err(UndoRefused::Horizon { first: horizon }));
    for _ in 0..3 {
        let first = replica.undo_list().check_undo(&author(0), Scope::Mine, None, None).unwrap();
        let entry =
            Entry { seq: replica.seq() + 1, author: author(0), wall_ms: 0, deed: Deed::Undo(first), provenance: None };
        replica.apply(&entry, None).unwrap();
    }
    assert_eq!(replica.state().lines.len(), 97);
}

#[test]
fn it_stops_at_what_it_does_not_know() {
    let mut replica = Replica::<Notes>::new();
    line(&mut replica, "a");
    let entry = Entry { seq: 2, author: author(0), wall_ms: 0, deed: Deed::Do { first: 2 }, provenance: None };
    let unknown = Payload::encode(&BTreeMap::from([("Paint", "red")])).unwrap();
    let stuck = replica.apply(&entry, Some(&unknown)).unwrap_err();
    assert!(matches!(stuck, Stuck::Unknown { seq: 2, .. }), "{stuck}");
    assert_eq!((replica.seq(), replica.state().lines.len()), (1, 1));
    let later = Entry { seq: 3, ..entry };
    let stuck = replica.apply(&later, None).unwrap_err();
    assert_eq!(stuck, Stuck::OutOfOrder { expected: 2, got: 3 }, "it never skips");
    assert_eq!(replica.undo_list().check_redo(&author(0), Scope::Mine, None, None), Err(UndoRefused::Nothing));
}

/// Counts how often it was applied in the whole program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Impure(u64);

impl State for Impure {
    type Command = ();
    type Output = ();

    fn apply(&mut self, (): &(), _: &Entry) {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.0 = COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
#[cfg(debug_assertions)]
fn an_impure_state_is_told_by_its_name() {
    let mut replica = Replica::<Impure>::new();
    let entry = Entry { seq: 1, author: author(0), wall_ms: 0, deed: Deed::Do { first: 1 }, provenance: None };
    let stuck = replica.apply(&entry, Some(&Payload::encode(&()).unwrap())).unwrap_err();
    assert!(matches!(stuck, Stuck::Impure { seq: 1, function: "apply", .. }), "{stuck:?}");
    assert!(stuck.to_string().contains("`apply` of `convoke_core::journal::replica::tests::Impure`"), "{stuck}");
}

#[test]
#[cfg(debug_assertions)]
fn a_large_state_is_tried_out_seldom_enough_to_be_followed() {
    let mut replica = Replica::<Long>::new();
    for seq in 1..=2_000 {
        let entry = Entry { seq, author: author(0), wall_ms: 0, deed: Deed::Do { first: seq }, provenance: None };
        replica.apply(&entry, Some(&Payload::encode(&()).unwrap())).unwrap();
    }
    let copied = COPIED.load(std::sync::atomic::Ordering::Relaxed);
    // Each trial copies twice; at the end one costs some hundred kilobytes.
    assert!((100..600).contains(&copied), "copied {copied} times in 2,000 commands");
}

#[cfg(debug_assertions)]
static COPIED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Grows with every command, and counts how often it is copied.
#[derive(Debug, Default, Serialize, Deserialize)]
#[cfg(debug_assertions)]
struct Long(Vec<String>);

#[cfg(debug_assertions)]
impl Clone for Long {
    fn clone(&self) -> Long {
        COPIED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Long(self.0.clone())
    }
}

#[cfg(debug_assertions)]
impl State for Long {
    type Command = ();
    type Output = ();

    fn apply(&mut self, (): &(), at: &Entry) {
        self.0.push(format!("{:100}", at.seq));
    }
}
