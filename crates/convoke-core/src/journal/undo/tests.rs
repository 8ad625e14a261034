//! What is undone and what can be, as an editor's user sees it; what is in the way, against a naive reference.

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_oneof, proptest};
use proptest::strategy::Strategy;

use super::*;
use crate::limits::{UNDO_BYTES_MAX, UNDO_UNITS_MAX};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Entries of authors, one after the other; gives the list.
struct Written {
    list: UndoList,
    seq: u64,
}

impl Written {
    fn new() -> Written {
        Written { list: UndoList::new(UNDO_UNITS_MAX), seq: 0 }
    }

    fn say(&mut self, author: &str, deed: impl FnOnce(u64) -> Deed) -> u64 {
        self.seq += 1;
        self.list.apply(self.seq, &name(author), deed(self.seq));
        self.seq
    }

    fn does(&mut self, author: &str) -> u64 {
        self.say(author, |first| Deed::Do { first })
    }

    fn undoes(&mut self, author: &str, scope: Scope) -> Result<u64, UndoRefused> {
        let target = self.list.check_undo(&name(author), scope, None, None)?;
        self.say(author, |_| Deed::Undo(target));
        Ok(target)
    }

    fn redoes(&mut self, author: &str, scope: Scope) -> Result<u64, UndoRefused> {
        let target = self.list.check_redo(&name(author), scope, None, None)?;
        self.say(author, |_| Deed::Redo(target));
        Ok(target)
    }
}

#[test]
fn undo_and_redo_go_back_and_forth_as_in_any_editor() {
    let mut journal = Written::new();
    let all: Vec<u64> = (0..3).map(|_| journal.does("ann")).collect();
    for done in all.iter().rev() {
        assert_eq!(journal.undoes("ann", Scope::Mine), Ok(*done));
    }
    assert_eq!(journal.undoes("ann", Scope::Mine), Err(UndoRefused::Nothing));
    for undone in &all {
        assert_eq!(journal.redoes("ann", Scope::Mine), Ok(*undone));
    }
    assert_eq!(journal.redoes("ann", Scope::Mine), Err(UndoRefused::Nothing));
    assert_eq!(journal.undoes("ann", Scope::Mine), Ok(all[2]));
    journal.does("ann");
    assert_eq!(journal.redoes("ann", Scope::Mine), Err(UndoRefused::Nothing), "something else was done since");
}

#[test]
fn each_undoes_its_own_unless_it_says_everyone() {
    let mut journal = Written::new();
    let (ann, bob) = (journal.does("ann"), journal.does("bob"));
    assert_eq!(journal.undoes("ann", Scope::Mine), Ok(ann));
    assert_eq!(journal.redoes("bob", Scope::Mine), Err(UndoRefused::Nothing), "it is ann's to do again");
    assert_eq!(journal.undoes("ann", Scope::Everyone), Ok(bob));
    journal.does("bob");
    assert_eq!(journal.redoes("ann", Scope::Mine), Ok(bob), "bob's new command clears what bob has undone: nothing");
    assert_eq!(journal.redoes("bob", Scope::Everyone), Ok(ann));
}

#[test]
fn of_two_who_race_one_wins() {
    let mut journal = Written::new();
    let (one, two) = (journal.does("ann"), journal.does("ann"));
    let undo = |journal: &Written, top| journal.list.check_undo(&name("ann"), Scope::Mine, None, Some(top));
    assert_eq!(undo(&journal, two), Ok(two));
    journal.undoes("ann", Scope::Mine).unwrap();
    assert_eq!(undo(&journal, two), Err(UndoRefused::Conflict { top: one }));
    journal.undoes("ann", Scope::Mine).unwrap();
    assert_eq!(undo(&journal, two), Err(UndoRefused::Conflict { top: 0 }));
}

#[test]
fn of_authors_only_those_are_known_of_whose_commands_something_is() {
    let mut journal = Written { list: UndoList::noting(10), seq: 0 };
    let touched = |journal: &mut Written, author: &str| {
        let place = journal.does(author);
        journal.list.touches(place, Touches::keys([author]));
        place
    };
    touched(&mut journal, "ann");
    touched(&mut journal, "bob");
    journal.list.take_changed();
    for number in 0..5000 {
        // They take turns with one command that is undone and done again.
        let author = format!("author/{number}");
        if number % 2 == 0 {
            assert_eq!(journal.undoes(&author, Scope::Everyone), Ok(2));
        } else {
            assert_eq!(journal.redoes(&author, Scope::Everyone), Ok(2));
        }
        assert!(journal.list.authors.len() <= AUTHORS_SPARE + 11, "{}", journal.list.authors.len());
        assert_eq!((journal.list.authors.len(), journal.list.take_changed()), (journal.list.by_name.len(), vec![2]));
    }
    let places: Vec<u64> = (0..5000).map(|number| touched(&mut journal, &format!("other/{number}"))).collect();
    assert!(journal.list.authors.len() <= AUTHORS_SPARE + 51, "{}", journal.list.authors.len());
    assert_eq!((journal.list.len(), journal.list.horizon()), (10, places[4990]));
    assert_eq!(journal.undoes("ann", Scope::Mine), Err(UndoRefused::Nothing));
    assert_eq!(journal.undoes("other/4991", Scope::Mine), Ok(places[4991]));
    assert_eq!(journal.undoes("other/4999", Scope::Everyone), Ok(places[4999]));
    assert_eq!(journal.redoes("other/4991", Scope::Mine), Ok(places[4991]));
    let last = journal.does("eve");
    journal.list.touches(last, Touches::keys(["other/4995"]));
    let undo = |author: &str| journal.list.check_undo(&name(author), Scope::Mine, None, None);
    assert_eq!(undo("other/4995"), Err(UndoRefused::InTheWay { places: vec![last] }));
    assert_eq!(undo("other/4996"), Ok(places[4996]));
}

#[test]
fn a_group_is_undone_as_one() {
    let mut journal = Written::new();
    let first = journal.does("ann");
    journal.say("ann", |_| Deed::Do { first });
    assert_eq!(journal.list.check_undo(&name("ann"), Scope::Mine, Some(first + 1), None), Err(UndoRefused::NoCommand));
    assert_eq!(journal.undoes("ann", Scope::Mine), Ok(first));
    assert_eq!(journal.undoes("ann", Scope::Mine), Err(UndoRefused::Nothing));
}

#[test]
fn what_is_no_command_of_ones_own_is_not_undone() {
    let mut journal = Written::new();
    let (ann, bob) = (journal.does("ann"), journal.does("bob"));
    let undone = journal.undoes("bob", Scope::Mine).unwrap();
    let undo = |target| journal.list.check_undo(&name("ann"), Scope::Mine, Some(target), None);
    let refused = [(0, UndoRefused::NoCommand), (99, UndoRefused::NoCommand), (undone + 1, UndoRefused::NoCommand)];
    for (target, why) in refused {
        assert_eq!(undo(target), Err(why), "{target}");
    }
    assert_eq!(undo(ann), Ok(ann));
    assert_eq!(undo(bob), Err(UndoRefused::Already));
    let redo = |target, scope| journal.list.check_redo(&name("ann"), scope, Some(target), None);
    assert_eq!(redo(bob, Scope::Mine), Err(UndoRefused::NotYours));
    assert_eq!(redo(bob, Scope::Everyone), Ok(bob));
    assert_eq!(redo(ann, Scope::Everyone), Err(UndoRefused::Already));
}

#[test]
fn what_is_too_far_back_stays_as_it_is() {
    let mut journal = Written::new();
    let first = journal.does("ann");
    for _ in 0..UNDO_UNITS_MAX {
        journal.does("bob");
    }
    let undo = |target| journal.list.check_undo(&name("ann"), Scope::Mine, target, None);
    assert_eq!(undo(Some(first)), Err(UndoRefused::Horizon { first: 2 }));
    assert_eq!(undo(None), Err(UndoRefused::Nothing));
    assert_eq!(journal.list.units.len(), UNDO_UNITS_MAX);
    journal.list.forget_before(journal.seq);
    assert_eq!((journal.list.units.len(), journal.list.done.len(), journal.list.done_by.len()), (1, 1, 1));
}

/// What of others is in the way, said without any index: looked for in all that was ever done.
#[derive(Default)]
struct Naive {
    units: Vec<(u64, String, Touches, bool)>,
}

impl Naive {
    fn in_the_way(&self, of: u64) -> Vec<u64> {
        let (_, author, touches, _) = self.units.iter().find(|unit| unit.0 == of).unwrap();
        let meets = |other: &Touches| match (touches.hashes(), other.hashes()) {
            (Some(these), Some(those)) => these.iter().any(|key| those.contains(key)),
            (None, Some(keys)) | (Some(keys), None) => !keys.is_empty(),
            (None, None) => true,
        };
        let later = self
            .units
            .iter()
            .filter(|(first, by, touches, done)| *done && *first > of && by != author && meets(touches));
        later.map(|unit| unit.0).take(IN_THE_WAY_MAX).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Do(u8, Option<Vec<u8>>),
    Undo(u8, Option<u64>),
    Redo(u8, Option<u64>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = || prop_oneof![1 => Just(None), 12 => prop::collection::vec(0..6u8, 0..3).prop_map(Some)];
    let target = || prop_oneof![1 => Just(None), 2 => (1..120u64).prop_map(Some)];
    let step = prop_oneof![
        3 => (0..4u8, keys()).prop_map(|(who, keys)| Step::Do(who, keys)),
        3 => (0..4u8, target()).prop_map(|(who, target)| Step::Undo(who, target)),
        1 => (0..4u8, target()).prop_map(|(who, target)| Step::Redo(who, target)),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_others_have_gone_on_from_is_not_undone(steps in steps(), restarts in any::<bool>()) {
        let (mut journal, mut naive) = (Written::new(), Naive::default());
        let author = |who: u8| ["ann", "bob", "cai", "dan"][usize::from(who)];
        for step in steps {
            if restarts {
                // As the hub knows it after a start: from its rows.
                let mut list = UndoList::noting(UNDO_UNITS_MAX);
                for (first, ..) in &naive.units {
                    list.restore(*first, &journal.list.unit(*first).unwrap());
                }
                assert_eq!(list.weight(), journal.list.weight());
                journal.list = list;
            }
            match step {
                Step::Do(who, keys) => {
                    let touches = keys.map_or(Touches::everything(), |keys| Touches::keys(keys.iter().map(|key| [*key])));
                    let first = journal.does(author(who));
                    journal.list.touches(first, touches.clone());
                    naive.units.push((first, author(who).into(), touches, true));
                }
                Step::Undo(who, target) | Step::Redo(who, target) => {
                    let undoes = matches!(step, Step::Undo(..));
                    let (who, list) = (name(author(who)), &journal.list);
                    let (top, checked) = match undoes {
                        true => (list.undo_top(&who, Scope::Everyone), list.check_undo(&who, Scope::Everyone, target, None)),
                        false => (list.redo_top(&who, Scope::Everyone), list.check_redo(&who, Scope::Everyone, target, None)),
                    };
                    match checked {
                        Ok(first) => {
                            assert_eq!(naive.in_the_way(first), Vec::<u64>::new());
                            naive.units.iter_mut().find(|unit| unit.0 == first).unwrap().3 = !undoes;
                            journal.say(who.as_str(), |_| if undoes { Deed::Undo(first) } else { Deed::Redo(first) });
                        }
                        Err(UndoRefused::InTheWay { places }) => {
                            assert!(!places.is_empty());
                            assert_eq!(places, naive.in_the_way(target.or(top).unwrap()));
                        }
                        Err(_) => {}
                    }
                }
            }
        }
    }
}

#[test]
fn an_undo_in_whose_way_others_are_names_them() {
    let mut journal = Written::new();
    let does = |journal: &mut Written, author, keys: &[&str]| {
        let first = journal.does(author);
        journal.list.touches(first, Touches::keys(keys));
        first
    };
    let ann = does(&mut journal, "ann", &["row/1", "row/2"]);
    does(&mut journal, "bob", &["row/3"]);
    does(&mut journal, "ann", &["row/1"]);
    let bob = does(&mut journal, "bob", &["row/2"]);
    let undo = |journal: &Written| journal.list.check_undo(&name("ann"), Scope::Mine, Some(ann), None);
    assert_eq!(undo(&journal), Err(UndoRefused::InTheWay { places: vec![bob] }));
    journal.undoes("bob", Scope::Mine).unwrap();
    assert_eq!(undo(&journal), Ok(ann), "it is out of the way when it is undone");
    journal.say("ann", |_| Deed::Undo(ann));
    journal.redoes("bob", Scope::Mine).unwrap();
    let redo = journal.list.check_redo(&name("ann"), Scope::Mine, Some(ann), None);
    assert_eq!(redo, Err(UndoRefused::InTheWay { places: vec![bob] }), "bob's would be on another ground");
}

#[test]
fn what_is_never_undone_still_ends_what_could_be_done_again() {
    let mut journal = Written::new();
    let first = journal.does("ann");
    journal.undoes("ann", Scope::Mine).unwrap();
    let lasting = journal.say("ann", |_| Deed::Do { first: 0 });
    assert_eq!(journal.redoes("ann", Scope::Mine), Err(UndoRefused::Nothing));
    let undo = |target| journal.list.check_undo(&name("ann"), Scope::Mine, target, None);
    assert_eq!(undo(Some(lasting)), Err(UndoRefused::NoCommand));
    assert_eq!(undo(Some(first)), Err(UndoRefused::Already));
    assert_eq!(undo(None), Err(UndoRefused::Nothing));
}

#[test]
fn what_is_known_of_what_is_touched_goes_with_the_unit() {
    let mut journal = Written::new();
    for number in 0..10u8 {
        let first = journal.does("ann");
        journal.list.touches(first, Touches::keys((0..number).map(|key| [key])));
    }
    assert_eq!(journal.list.weight(), 10 + 45 / KEYS_PER_UNIT);
    journal.list.forget_before(10);
    assert_eq!((journal.list.weight(), journal.list.touching.len(), journal.list.touches.len()), (1 + 9 / 4, 10, 1));
}

#[test]
fn what_followers_hold_for_undo_has_a_bound_in_bytes() {
    let mut journal = Written::new();
    let does = |journal: &mut Written, bytes: usize| {
        let first = journal.does("ann");
        journal.list.grow(first, bytes);
        first
    };
    for _ in 0..8 {
        does(&mut journal, UNDO_BYTES_MAX / 8);
    }
    assert_eq!(journal.list.horizon(), 1);
    does(&mut journal, 1);
    assert_eq!(journal.list.horizon(), 2, "the oldest has made room");
    let mut again = UndoList::noting(UNDO_UNITS_MAX);
    (2..=9).for_each(|first| again.restore(first, &journal.list.unit(first).unwrap()));
    journal.list = again;
    let first = does(&mut journal, UNDO_BYTES_MAX / 8);
    assert_eq!(journal.list.horizon(), 3, "it is known after a start too");
    journal.say("ann", |_| Deed::Do { first });
    journal.list.grow(first, UNDO_BYTES_MAX);
    assert_eq!((journal.list.horizon(), journal.list.len()), (first, 1), "a group counts as a whole");
    assert_eq!(journal.undoes("ann", Scope::Mine), Ok(first), "and the last can always be undone");
}

#[test]
fn who_comes_and_goes_for_ever_is_not_held_for_ever() {
    let mut journal = Written::new();
    let all: Vec<u64> = (0..2).map(|_| journal.does("ann")).collect();
    let too_many = UNDO_BYTES_MAX as u64 / PRESENCE_BYTES + 1;
    for _ in 0..too_many {
        assert_eq!(journal.list.undo_top(&name("ann"), Scope::Mine), Some(all[1]));
        journal.say("bob", |_| Deed::Join);
    }
    assert_eq!((journal.list.horizon(), journal.list.len()), (journal.seq, 0));
    assert_eq!(journal.undoes("ann", Scope::Mine), Err(UndoRefused::Nothing));
}
