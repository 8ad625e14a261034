//! Replicas that begin with a snapshot, against those that have applied every entry.

use std::fmt::Debug;

use proptest::prelude::{ProptestConfig, any, prop, prop_oneof, proptest};
use proptest::strategy::Strategy as Chosen;
use serde::Deserialize;

use super::super::*;
use super::compensate::{Machine, Move};
use super::{Journal, Note, Notes, Scope, UndoRefused, author, scope};
use crate::journal::{Origin, Provenance};
use crate::limits::SNAPSHOT_BYTES_MAX;
use crate::name::Name;

/// Of these journals little can be undone, so that snapshots lie everywhere.
const UNITS_MAX: usize = 9;

/// The same list, where nobody takes away what others have gone on from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Plan(Notes);

impl State for Plan {
    type Command = Note;
    type Output = Result<usize, String>;
    const STRATEGY: Strategy = Strategy::Refuse;

    fn apply(&mut self, command: &Note, at: &Entry) -> Self::Output {
        self.0.apply(command, at)
    }

    fn presence(&mut self, joined: bool, at: &Entry) {
        self.0.presence(joined, at);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Do(u8, Vec<u8>),
    Lasting(u8),
    Back(u8, bool, bool, Option<u64>),
    Presence(u8, bool),
    Snapshot,
}

fn step() -> impl Chosen<Value = Step> {
    let target = prop_oneof![2 => proptest::strategy::Just(None), 1 => (0..200u64).prop_map(Some)];
    prop_oneof![
        6 => (0..3u8, prop::collection::vec(any::<u8>(), 1..4)).prop_map(|(who, commands)| Step::Do(who, commands)),
        1 => (0..3u8).prop_map(Step::Lasting),
        6 => (0..3u8, any::<bool>(), any::<bool>(), target)
            .prop_map(|(who, undoes, all, target)| Step::Back(who, undoes, all, target)),
        2 => (0..3u8, any::<bool>()).prop_map(|(who, joined)| Step::Presence(who, joined)),
        2 => proptest::strategy::Just(Step::Snapshot),
    ]
}

/// What somebody sees of a replica: the state, and what each could undo and do again.
type Seen<S> = (S, Vec<(Option<u64>, Option<u64>)>);

fn seen<S: State>(replica: &Replica<S>) -> Seen<S> {
    let list = replica.undo_list();
    let tops = |who: u8, scope| (list.undo_top(&author(who), scope), list.redo_top(&author(who), scope));
    let tops = (0..3).flat_map(|who| [tops(who, Scope::Mine), tops(who, Scope::Everyone)]).collect();
    (replica.state().clone(), tops)
}

/// Lets one replica live through all steps, and for each snapshot that it makes another one from there on: from where it was
/// made the two must be the same.
fn live<S: State + PartialEq + Debug>(steps: Vec<Step>, command: fn(u8) -> S::Command) -> (Journal, Replica<S>) {
    let mut journal = Journal::default();
    let mut entries: Vec<(Entry, Option<Payload>)> = Vec::new();
    let mut replica = Replica::<S>::at(0, S::default(), UndoList::new(UNITS_MAX));
    let mut others: Vec<Replica<S>> = Vec::new();
    let lasts = S::STRATEGY == Strategy::Compensate;
    for step in steps {
        let seq = replica.seq() + 1;
        let mut next: Vec<(Name, Deed, Option<u8>)> = Vec::new();
        match step {
            Step::Do(who, commands) => {
                next.extend(commands.into_iter().map(|one| (author(who), Deed::Do { first: seq }, Some(one))));
            }
            Step::Lasting(who) if lasts => next.push((author(who), Deed::Do { first: 0 }, Some(0))),
            Step::Lasting(_) => {}
            Step::Back(who, undoes, all, target) => {
                let (who, list) = (author(who), replica.undo_list());
                let deed = match undoes {
                    true => list.check_undo(&who, scope(all), target, None).map(Deed::Undo),
                    false => list.check_redo(&who, scope(all), target, None).map(Deed::Redo),
                };
                next.extend(deed.ok().map(|deed| (who, deed, None)));
            }
            Step::Presence(who, joined) => {
                next.push((author(who), if joined { Deed::Join } else { Deed::Leave }, None));
            }
            Step::Snapshot => {
                let from = replica.snapshot_seq();
                let bytes = replica.snapshot().unwrap();
                let mut other = Replica::from_snapshot_within(from, bytes, UNITS_MAX).unwrap();
                for (entry, payload) in &entries[from as usize..] {
                    other.apply(entry, payload.as_ref()).unwrap();
                }
                assert_eq!(seen(&other), seen(&replica), "from {from} at {}", replica.seq());
                others.push(other);
            }
        }
        for (who, deed, number) in next {
            let note = number.map(|number| Note::Take(number % 4));
            let (entry, _) = journal.add(who, deed, note);
            let payload = number.map(|number| Payload::encode(&command(number)).unwrap());
            let applied = replica.apply(&entry, payload.as_ref()).unwrap();
            let commands = format!("{}", replica.commands_of(&entry, &applied).len());
            for other in &mut others {
                let also = other.apply(&entry, payload.as_ref()).unwrap();
                assert_eq!(format!("{}", other.commands_of(&entry, &also).len()), commands, "{entry:?}");
                assert_eq!(seen(other), seen(&replica), "{entry:?}");
            }
            entries.push((entry, payload));
        }
    }
    (journal, replica)
}

fn take(number: u8) -> Note {
    Note::Take(number % 4)
}

fn moves(number: u8) -> Move {
    match number % 5 {
        0 => Move::Ring,
        1 => Move::Home(number / 5 % 2),
        2 => Move::To(number / 5 % 2, i64::from(number)),
        _ => Move::By(number / 5 % 2, i64::from(number)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn who_begins_with_a_snapshot_has_what_all_have(steps in prop::collection::vec(step(), 1..160)) {
        let (journal, replica) = live::<Notes>(steps.clone(), take);
        assert_eq!(replica.state(), &journal.oracle());
        let (journal, replica) = live::<Plan>(steps.clone(), take);
        assert_eq!(replica.state(), &Plan(journal.oracle()));
        live::<Machine>(steps, moves);
    }
}

#[test]
fn what_is_no_snapshot_of_the_state_is_told() {
    let mut replica = Replica::<Notes>::new();
    assert_eq!(replica.snapshot_seq(), 0, "everything can still be undone");
    super::line(&mut replica, "a");
    let bytes = replica.snapshot().unwrap();
    assert_eq!(Replica::<Notes>::from_snapshot(7, bytes.clone()).unwrap().seq(), 7);
    let wrong = Replica::<Machine>::from_snapshot(7, bytes.clone()).unwrap_err();
    assert!(wrong.to_string().contains("payload of"), "{wrong}");
    for cut in 0..bytes.len() {
        assert!(Replica::<Notes>::from_snapshot(7, bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let later = [&[0x93, 0x02], &bytes[2..]].concat();
    let why = Replica::<Notes>::from_snapshot(7, later.into()).unwrap_err();
    assert_eq!(why.to_string(), "snapshot: it has a form that this program does not know");
}

/// Nothing comes of anything.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Nothing;

impl State for Nothing {
    type Command = ();
    type Output = ();

    fn apply(&mut self, (): &(), _: &Entry) {}
}

#[test]
fn behind_very_many_who_come_and_go_nothing_is_undone_in_replicas_either() {
    let mut replica = Replica::<Nothing>::new();
    let (seq, author) = (1, author(0));
    let entry = Entry { seq, author: author.clone(), wall_ms: 0, deed: Deed::Do { first: 1 }, provenance: None };
    replica.apply(&entry, Some(&Payload::encode(&()).unwrap())).unwrap();
    for seq in 2..=crate::limits::UNDO_BYTES_MAX as u64 / 128 + 2 {
        assert_eq!(replica.undo_list().undo_top(&author, Scope::Mine).is_some(), replica.undo_list().horizon() == 1);
        replica.apply(&Entry { seq, deed: Deed::Join, ..entry.clone() }, None).unwrap();
    }
    assert_eq!(replica.undo_list().undo_top(&author, Scope::Mine), None);
    assert!(replica.known.is_empty(), "and nothing is held for it");
}

fn entry(seq: u64, deed: Deed) -> Entry {
    Entry { seq, author: author(0), wall_ms: 0, deed, provenance: None }
}

#[test]
fn a_snapshot_reaches_to_what_can_be_undone() {
    let mut replica = Replica::<Notes>::at(0, Notes::default(), UndoList::new(1));
    super::line(&mut replica, "a");
    assert_eq!(replica.snapshot_seq(), 0);
    replica.apply(&entry(2, Deed::Undo(1)), None).unwrap();
    super::line(&mut replica, "b");
    assert_eq!(replica.snapshot_seq(), 2, "the undo cannot be taken back any more either");
    let mut other = Replica::<Notes>::from_snapshot_within(2, replica.snapshot().unwrap(), 1).unwrap();
    assert_eq!((other.state(), other.snapshot_seq()), (&Notes::default(), 2));
    let too_far = Err(UndoRefused::Horizon { first: 3 });
    for replica in [&replica, &other] {
        assert_eq!(replica.undo_list().check_undo(&author(0), Scope::Everyone, Some(1), None), too_far);
    }
    super::line(&mut other, "b");
    assert_eq!(seen(&other), seen(&replica));
}

#[test]
fn a_snapshot_says_of_commands_that_can_be_undone_all_that_is_known_of_them() {
    let mut replica = Replica::<Machine>::at(0, Machine::default(), UndoList::new(2));
    for seq in 1..=3 {
        let origin = Some(Origin { hub: [9; 16], seq: seq + 10 }).filter(|_| seq != 2);
        let provenance = Provenance { origin, ..Provenance::default() }.boxed();
        let (author, wall_ms) = (author(seq as u8), 40 + seq);
        let entry = Entry { seq, author, wall_ms, deed: Deed::Do { first: seq }, provenance };
        replica.apply(&entry, Some(&Payload::encode(&Move::By(0, 1)).unwrap())).unwrap();
    }
    let other = Replica::<Machine>::from_snapshot_within(3, replica.snapshot().unwrap(), 2).unwrap();
    let known = |replica: &Replica<Machine>| {
        let known = replica.known.iter().map(|known| (known.entry.clone(), known.first, known.done));
        known.collect::<Vec<_>>()
    };
    assert_eq!((known(&other), known(&replica).len()), (known(&replica), 2));
    assert!(known(&other)[1].0.origin().is_some());
    for replica in [&replica, &other] {
        let too_far = replica.undo_list().check_undo(&author(1), Scope::Everyone, Some(1), None);
        assert_eq!(too_far, Err(UndoRefused::Horizon { first: 2 }));
    }
}

/// The same bytes as those of [`Nothing`], undone in another way.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Inverted;

impl State for Inverted {
    type Command = ();
    type Output = ();
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, (): &(), _: &Entry) {}
}

#[test]
fn a_snapshot_of_a_state_that_undoes_in_another_way_is_none() {
    let replayed = Replica::<Nothing>::new().snapshot().unwrap();
    let inverted = Replica::<Inverted>::new().snapshot().unwrap();
    assert!(Replica::<Nothing>::from_snapshot(0, replayed.clone()).is_ok());
    assert!(Replica::<Inverted>::from_snapshot(0, inverted.clone()).is_ok());
    let one = Replica::<Inverted>::from_snapshot(0, replayed).unwrap_err();
    let other = Replica::<Nothing>::from_snapshot(0, inverted).unwrap_err();
    for why in [one, other] {
        assert_eq!(why.to_string(), "snapshot: it is of a state that undoes in another way");
    }
}

/// As long as it is.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Text(String);

impl State for Text {
    type Command = ();
    type Output = ();
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, (): &(), _: &Entry) {}
}

#[test]
fn a_snapshot_has_so_many_bytes_at_most() {
    let of = |len: usize| Replica::at(7, Text("a".repeat(len)), UndoList::new(1)).snapshot().map(|bytes| bytes.len());
    let beside = of(1 << 20).unwrap() - (1 << 20);
    assert_eq!(of(SNAPSHOT_BYTES_MAX - beside), Ok(SNAPSHOT_BYTES_MAX));
    let why = of(SNAPSHOT_BYTES_MAX - beside + 1).unwrap_err();
    assert!(why.to_string().starts_with("snapshot as MessagePack: "), "{why}");
}
