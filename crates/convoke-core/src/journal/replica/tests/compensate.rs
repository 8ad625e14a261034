//! Replicas that compensate, against the words of the promise: in the place of an undo the inverses that were computed before
//! the commands were applied, and in the place of a redo the commands anew.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_oneof, proptest};
use proptest::strategy::Strategy as Chosen;
use serde::Deserialize;

use super::super::*;
use super::{Scope, author, scope};
use crate::name::Name;

/// A machine: positions of axes, and what it has done in the world, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    axes: BTreeMap<u8, i64>,
    moved: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Move {
    To(u8, i64),
    By(u8, i64),
    /// Refused, and not to be taken back, where the axis is already.
    Home(u8),
    /// Nobody takes it back.
    Ring,
}

impl State for Machine {
    type Command = Move;
    type Output = Result<i64, String>;
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, command: &Move, at: &Entry) -> Self::Output {
        let (axis, to) = match command {
            Move::To(axis, to) => (*axis, *to),
            Move::By(axis, by) => (*axis, self.at(*axis) + by),
            Move::Home(axis) if self.at(*axis) == 0 => return Err(format!("{axis} is at home")),
            Move::Home(axis) => (*axis, 0),
            Move::Ring => (u8::MAX, 0),
        };
        self.axes.insert(axis, to);
        self.moved.push(format!("{axis} to {to} by {} at {}", at.author, at.seq));
        Ok(to)
    }

    fn inverse(&self, command: &Move, _: &Entry) -> Option<Move> {
        match command {
            Move::To(axis, _) => Some(Move::To(*axis, self.at(*axis))),
            Move::By(axis, by) => Some(Move::By(*axis, -by)),
            Move::Home(axis) => (self.at(*axis) != 0).then(|| Move::To(*axis, self.at(*axis))),
            Move::Ring => None,
        }
    }
}

impl Machine {
    fn at(&self, axis: u8) -> i64 {
        self.axes.get(&axis).copied().unwrap_or_default()
    }
}

/// What all entries come to, one after the other, with nothing but lists.
#[derive(Default)]
struct Oracle {
    state: Machine,
    units: BTreeMap<u64, Unit>,
}

#[derive(Default)]
struct Unit {
    commands: Vec<Move>,
    inverses: Vec<Option<Move>>,
    /// Its undo has changed nothing.
    kept: bool,
}

impl Oracle {
    /// Gives the commands that are applied in this place.
    fn say(&mut self, entry: &Entry, command: Option<&Move>) -> Vec<Move> {
        let applied = match entry.deed {
            Deed::Do { first } => {
                let command = command.unwrap().clone();
                let unit = self.units.entry(first).or_default();
                unit.inverses.push(self.state.inverse(&command, entry));
                unit.commands.push(command.clone());
                vec![command]
            }
            Deed::Undo(first) => {
                let unit = self.units.get_mut(&first).unwrap();
                unit.kept = unit.inverses.iter().any(Option::is_none);
                match unit.kept {
                    true => Vec::new(),
                    false => unit.inverses.iter().rev().flatten().cloned().collect(),
                }
            }
            Deed::Redo(first) => {
                let unit = self.units.get_mut(&first).unwrap();
                if unit.kept {
                    return Vec::new();
                }
                unit.inverses.clear();
                for command in &unit.commands {
                    unit.inverses.push(self.state.inverse(command, entry));
                    let _ = self.state.apply(command, entry);
                }
                return unit.commands.clone();
            }
            Deed::Join | Deed::Leave => Vec::new(),
        };
        for command in &applied {
            let _ = self.state.apply(command, entry);
        }
        applied
    }
}

#[derive(Clone, Debug)]
enum Step {
    Do(u8, Vec<Move>),
    Lasting(u8),
    Back(u8, bool, bool, Option<u64>),
}

fn step() -> impl Chosen<Value = Step> {
    let one = prop_oneof![
        (0..3u8, -9..9i64).prop_map(|(axis, to)| Move::To(axis, to)),
        (0..3u8, -9..9i64).prop_map(|(axis, by)| Move::By(axis, by)),
        (0..3u8).prop_map(Move::Home),
        Just(Move::Ring),
    ];
    let target = prop_oneof![2 => Just(None), 1 => (0..400u64).prop_map(Some)];
    prop_oneof![
        5 => (0..3u8, prop::collection::vec(one, 1..4)).prop_map(|(who, moves)| Step::Do(who, moves)),
        1 => (0..3u8).prop_map(Step::Lasting),
        5 => (0..3u8, any::<bool>(), any::<bool>(), target)
            .prop_map(|(who, undoes, all, target)| Step::Back(who, undoes, all, target)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_inverses_are_applied_in_the_place_of_the_undo(steps in prop::collection::vec(step(), 1..300)) {
        let (mut replica, mut oracle) = (Replica::<Machine>::new(), Oracle::default());
        let mut say = |who: Name, deed: Deed, command: Option<Move>, replica: &mut Replica<Machine>| {
            let entry = Entry { seq: replica.seq() + 1, author: who, wall_ms: 0, deed, provenance: None };
            let payload = command.as_ref().map(|command| Payload::encode(command).unwrap());
            let applied = replica.apply(&entry, payload.as_ref()).unwrap();
            let expected = match deed {
                // Nothing has to be known of it.
                Deed::Do { first: 0 } => {
                    let _ = oracle.state.apply(&Move::Ring, &entry);
                    vec![Move::Ring]
                }
                _ => oracle.say(&entry, command.as_ref()),
            };
            let commands: Vec<Move> = replica.commands_of(&entry, &applied).into_iter().cloned().collect();
            assert_eq!(commands, expected, "{applied:?} of {entry:?}");
            assert_eq!(replica.state(), &oracle.state, "{applied:?} of {entry:?}");
        };
        for step in steps {
            match step {
                Step::Do(who, moves) => {
                    let first = replica.seq() + 1;
                    for one in moves {
                        say(author(who), Deed::Do { first }, Some(one), &mut replica);
                    }
                }
                Step::Lasting(who) => say(author(who), Deed::Do { first: 0 }, Some(Move::Ring), &mut replica),
                Step::Back(who, undoes, all, target) => {
                    let (who, list) = (author(who), replica.undo_list());
                    let deed = match undoes {
                        true => list.check_undo(&who, scope(all), target, None).map(Deed::Undo),
                        false => list.check_redo(&who, scope(all), target, None).map(Deed::Redo),
                    };
                    if let Ok(deed) = deed {
                        say(who, deed, None, &mut replica);
                    }
                }
            }
        }
    }
}

fn say(replica: &mut Replica<Machine>, deed: Deed, command: Option<Move>) -> Applied<Result<i64, String>> {
    let entry = Entry { seq: replica.seq() + 1, author: author(0), wall_ms: 0, deed, provenance: None };
    replica.apply(&entry, command.map(|command| Payload::encode(&command).unwrap()).as_ref()).unwrap()
}

#[test]
fn what_has_no_inverse_is_not_undone_and_not_done_twice() {
    let mut replica = Replica::<Machine>::new();
    say(&mut replica, Deed::Do { first: 1 }, Some(Move::To(1, 5)));
    say(&mut replica, Deed::Do { first: 1 }, Some(Move::Ring));
    let before = replica.state().clone();
    assert_eq!(say(&mut replica, Deed::Undo(1), None), Applied::NoInverse { first: 1 }, "not half of it either");
    assert_eq!(say(&mut replica, Deed::Redo(1), None), Applied::NoInverse { first: 1 });
    assert_eq!(replica.state(), &before);
}

#[test]
fn what_is_never_undone_takes_no_memory() {
    let mut replica = Replica::<Machine>::new();
    for _ in 0..1_000 {
        say(&mut replica, Deed::Do { first: 0 }, Some(Move::Ring));
    }
    assert_eq!((replica.known.len(), replica.undo_list().undo_top(&author(0), Scope::Everyone)), (1, None));
}

#[test]
#[cfg(debug_assertions)]
fn an_inverse_that_changes_by_itself_is_told() {
    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    struct Forgetful;

    impl State for Forgetful {
        type Command = u64;
        type Output = ();
        const STRATEGY: Strategy = Strategy::Compensate;

        fn apply(&mut self, _: &u64, _: &Entry) {}

        fn inverse(&self, _: &u64, _: &Entry) -> Option<u64> {
            use std::sync::atomic::{AtomicU64, Ordering};
            static COUNT: AtomicU64 = AtomicU64::new(0);
            Some(COUNT.fetch_add(1, Ordering::Relaxed))
        }
    }

    let entry = Entry { seq: 1, author: author(0), wall_ms: 0, deed: Deed::Do { first: 1 }, provenance: None };
    let stuck = Replica::<Forgetful>::new().apply(&entry, Some(&Payload::encode(&1u64).unwrap())).unwrap_err();
    assert!(matches!(stuck, Stuck::Impure { seq: 1, function: "inverse", .. }), "{stuck:?}");
}
