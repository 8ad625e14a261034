//! Story: what is undone is replayed, refused or compensated, as the journal says; what programs may not even try; how it was.

mod support;

use std::collections::BTreeMap;

use convoke::{Code, Entry, Outcome, Scope, State, Strategy, Touches, UndoOptions};
use serde::{Deserialize, Serialize};
use support::*;

/// A plan of several people: what others rely on is not taken from under them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    rooms: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Book {
    room: String,
    what: String,
}

impl State for Plan {
    type Command = Book;
    type Output = ();
    const STRATEGY: Strategy = Strategy::Refuse;

    fn apply(&mut self, book: &Book, at: &Entry) {
        self.rooms.insert(book.room.clone(), format!("{} of {}", book.what, at.author));
    }

    fn touches(book: &Book) -> Touches {
        Touches::keys([&book.room])
    }
}

fn book(room: &str, what: &str) -> Book {
    Book { room: room.into(), what: what.into() }
}

/// A machine whose moves are undone by moving back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Press {
    at_mm: i64,
    rung: u32,
    stops: Vec<i64>,
}

#[derive(Serialize, Deserialize)]
enum Do {
    Move(i64),
    Ring,
    /// Has an inverse only where the press is at 5.
    Tap,
}

impl State for Press {
    type Command = Do;
    type Output = i64;
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, command: &Do, _: &Entry) -> i64 {
        match command {
            Do::Move(to) => self.at_mm = *to,
            Do::Ring => self.rung += 1,
            Do::Tap => {}
        }
        self.stops.push(self.at_mm);
        self.at_mm
    }

    fn inverse(&self, command: &Do, _: &Entry) -> Option<Do> {
        match command {
            Do::Move(_) => Some(Do::Move(self.at_mm)),
            Do::Ring => None,
            Do::Tap => (self.at_mm == 5).then_some(Do::Tap),
        }
    }
}

/// A list without any strategy of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct List(Vec<u32>);

impl State for List {
    type Command = u32;
    type Output = usize;

    fn apply(&mut self, item: &u32, _: &Entry) -> usize {
        self.0.push(*item);
        self.0.len()
    }
}

on_every_transport! {
    async fn what_others_have_gone_on_from_is_not_taken_from_under_them(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let hers = ann.follow::<Plan>("plan").await.unwrap();
        let his = bob.follow::<Plan>("plan").await.unwrap();
        soon(hers.execute(&book("blue", "a talk"))).await.unwrap();
        soon(his.execute(&book("red", "a dance"))).await.unwrap();
        soon(hers.undo()).await.unwrap();
        soon(hers.redo()).await.unwrap();
        soon(his.execute(&book("blue", "a concert"))).await.unwrap();
        let error = soon(hers.undo()).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::UndoConflict, Outcome::NotDone));
        assert!(error.to_string().contains("their entries 5 touch the same"), "{error}");
        assert_eq!(hers.read(|plan| plan.rooms["blue"].clone()), "a concert of bob");
        soon(his.undo()).await.unwrap();
        soon(hers.undo()).await.unwrap();
        assert_eq!(hers.read(|plan| plan.rooms.keys().cloned().collect::<Vec<_>>()), ["red"]);
        let group = soon(hers.group(|group| {
            group.execute(book("green", "a play"));
            group.execute(book("white", "a party"));
        })).await.unwrap();
        soon(his.execute(&book("white", "a wedding"))).await.unwrap();
        let options = UndoOptions { target: Some(group[0].seq), ..Default::default() };
        let error = soon(ann.undo("plan", options)).await.unwrap_err();
        assert_eq!(error.code(), Code::UndoConflict, "a group touches what any of it does: {error}");
    }

    async fn a_machine_moves_back(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let hers = ann.follow::<Press>("press").await.unwrap();
        let his = bob.follow::<Press>("press").await.unwrap();
        for to in [10, 20] {
            soon(hers.execute(&Do::Move(to))).await.unwrap();
        }
        soon(his.execute(&Do::Move(70))).await.unwrap();
        soon(hers.execute(&Do::Ring)).await.unwrap();
        assert_eq!(soon(hers.undo()).await.unwrap(), 5, "what has no inverse is passed by");
        assert_eq!(hers.read(|press| press.at_mm), 10, "to where it was before, not to where it would be without");
        soon(hers.redo()).await.unwrap();
        assert_eq!(hers.read(|press| (press.at_mm, press.rung, press.stops.clone())), (20, 1, vec![10, 20, 70, 70, 10, 20]));
        soon(hers.undo()).await.unwrap();
        assert_eq!(hers.read(|press| press.at_mm), 10, "from where it was done again");
        soon(his.changed(6)).await.unwrap();
        assert_eq!(his.read(Clone::clone), hers.read(Clone::clone));
        soon(his.group(|group| {
            group.execute(Do::Move(1));
            group.execute(Do::Move(2));
        })).await.unwrap();
        soon(his.undo()).await.unwrap();
        assert_eq!(his.read(|press| press.stops[7..].to_vec()), [1, 2, 1, 10], "the last first");
    }

    async fn what_turns_out_to_have_no_inverse_changes_nothing(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let press = ann.follow::<Press>("press").await.unwrap();
        soon(press.execute(&Do::Move(6))).await.unwrap();
        // By one who does not know the state, and cannot say that it has none.
        soon(bob.append("press", &Do::Tap)).await.unwrap();
        soon(press.changed(1)).await.unwrap();
        let before = press.read(Clone::clone);
        let error = soon(press.undo_with(Scope::Everyone)).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::Conflict, Outcome::NotDone));
        assert!(error.to_string().contains("entry 3 changes nothing anywhere"), "{error}");
        assert_eq!(press.read(Clone::clone), before);
        assert_eq!(soon(press.undo_with(Scope::Everyone)).await.unwrap(), 4, "what was before it can be undone");
        assert_eq!(press.read(|press| press.at_mm), 0);
    }

    async fn a_journal_has_one_way_to_undo(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let early = bob.follow::<List>("press").await.unwrap();
        let press = ann.follow::<Press>("press").await.unwrap();
        soon(press.execute(&Do::Ring)).await.unwrap();
        let why = soon(early.changed(0)).await.unwrap_err();
        assert!(why.to_string().contains("it undoes by compensate since its first entry, and this program by replay"), "{why}");
        let error = soon(early.execute(&1)).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
        let error = soon(bob.follow::<List>("press")).await.unwrap_err();
        assert!(error.to_string().contains("follow `press`: it undoes by compensate"), "{error}");
    }

    async fn what_a_check_refuses_is_not_sent(stage: Stage) {
        let ann = stage.node("ann").await;
        let list = ann.follow::<List>("todo").await.unwrap();
        list.check(|list, item| match list.0.contains(item) {
            true => Err(format!("{item} is there already")),
            false => Ok(()),
        });
        list.check(|_, item| if *item == 13 { Err("not this one".into()) } else { Ok(()) });
        soon(list.execute(&7)).await.unwrap();
        for (item, why) in [(7, "7 is there already"), (13, "not this one")] {
            let error = soon(list.clone().execute(&item)).await.unwrap_err();
            assert_eq!(error.to_string(), format!("execute in `todo`: a check refuses it: {why}"));
            assert_eq!((error.code(), error.outcome()), (Code::BadRequest, Outcome::NotDone));
        }
        let group = soon(list.group(|group| [8, 13].iter().for_each(|item| group.execute(item)))).await;
        assert!(group.is_err(), "none of it");
        assert_eq!(soon(list.execute(&9)).await.unwrap().seq, 2);
    }

    async fn the_state_of_any_time_can_be_looked_at(stage: Stage) {
        let ann = stage.node("ann").await;
        let list = ann.follow::<List>("todo").await.unwrap();
        for item in 1..=600 {
            soon(ann.append("todo", &item)).await.unwrap();
        }
        soon(list.changed(599)).await.unwrap();
        soon(list.undo()).await.unwrap();
        for item in 1..=3 {
            soon(ann.undo("todo", UndoOptions { target: Some(item), ..Default::default() })).await.unwrap();
        }
        soon(list.changed(603)).await.unwrap();
        assert_eq!(list.read(|list| list.0.len()), 596);
        let at = async |seq| soon(list.at(seq)).await.unwrap().0;
        assert_eq!((at(0).await, at(2).await), (vec![], vec![1, 2]), "what was undone later was there then");
        assert_eq!(at(600).await, (1..=600).collect::<Vec<u32>>());
        assert_eq!(at(601).await.last(), Some(&599), "what was undone before was not");
        assert_eq!(at(604).await, list.read(|list| list.0.clone()));
        let error = soon(list.at(605)).await.unwrap_err();
        assert_eq!(error.to_string(), "state of `todo` at 605: the journal ends at 604");
    }
}
