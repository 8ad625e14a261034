//! Story: programs execute commands together, in one order, and take them back.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use convoke::{Code, Deed, Entry, Error, Outcome, Payload, Scope, State, UndoOptions, Who};
use serde::{Deserialize, Serialize};
use support::*;

/// A board on which programs draw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Board {
    strokes: BTreeMap<u32, String>,
}

#[derive(Serialize, Deserialize)]
enum Edit {
    Add(u32, String),
    Clear,
}

impl State for Board {
    type Command = Edit;
    /// How many strokes there are, or who was faster.
    type Output = Result<usize, String>;

    fn apply(&mut self, edit: &Edit, at: &Entry) -> Self::Output {
        match edit {
            Edit::Add(place, _) if self.strokes.contains_key(place) => return Err(self.strokes[place].clone()),
            Edit::Add(place, what) => drop(self.strokes.insert(*place, format!("{what} by {}", at.author))),
            Edit::Clear => self.strokes.clear(),
        }
        Ok(self.strokes.len())
    }
}

/// A state with a mistake in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Fragile;

impl State for Fragile {
    type Command = String;
    type Output = ();

    fn apply(&mut self, command: &String, _: &Entry) {
        assert_ne!(command, "hammer", "it breaks");
    }
}

fn add(place: u32) -> Edit {
    Edit::Add(place, format!("line {place}"))
}

on_every_transport! {
    async fn a_group_of_none_or_of_too_many_is_refused_and_the_node_goes_on(stage: Stage) {
        let board = stage.node("ann").await.follow::<Board>("room/lobby").await.unwrap();
        for count in [0, 257] {
            let fill = board.group(|group| (0..count).for_each(|place| group.execute(add(place))));
            let error = soon(fill).await.unwrap_err();
            assert_eq!((error.code(), error.outcome()), (Code::BadRequest, Outcome::NotDone), "{error}");
            assert!(error.to_string().contains(&format!("it has {count} commands, and 1 to 256 are")), "{error}");
        }
        let done = soon(board.group(|group| (0..256).for_each(|place| group.execute(add(place))))).await.unwrap();
        assert_eq!((done.len(), done[0].seq), (256, 1));
    }

    async fn what_one_executes_all_have(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let hers = ann.follow::<Board>("room/lobby").await.unwrap();
        let his = bob.follow::<Board>("room/lobby").await.unwrap();
        let done = soon(hers.execute(&add(1))).await.unwrap();
        assert_eq!((done.seq, done.output), (1, Ok(1)));
        assert_eq!(hers.read(|board| board.strokes[&1].clone()), "line 1 by ann", "read your own writes");
        let refused = soon(his.execute(&add(1))).await.unwrap();
        assert_eq!((refused.seq, refused.output), (2, Err("line 1 by ann".into())), "the same everywhere");
        assert_eq!(soon(his.execute(&add(2))).await.unwrap().output, Ok(2));
        assert_eq!(soon(hers.changed(2)).await.unwrap(), 3);
        assert_eq!(hers.read(Clone::clone), his.read(Clone::clone));
        let late = stage.node("cai").await.follow::<Board>("room/lobby").await.unwrap();
        assert_eq!((late.seq(), late.read(Clone::clone)), (3, his.read(Clone::clone)));
    }

    async fn anybody_can_take_it_back(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let hers = ann.follow::<Board>("room").await.unwrap();
        let his = bob.follow::<Board>("room").await.unwrap();
        for place in 1..=3 {
            soon(hers.execute(&add(place))).await.unwrap();
        }
        soon(his.execute(&Edit::Clear)).await.unwrap();
        soon(his.execute(&add(4))).await.unwrap();
        assert_eq!(soon(his.undo()).await.unwrap(), 6);
        assert_eq!(his.read(|board| board.strokes.len()), 0);
        soon(his.undo()).await.unwrap();
        assert_eq!(his.read(|board| board.strokes.len()), 3, "as if it had never been cleared");
        soon(his.undo_with(Scope::Everyone)).await.unwrap();
        assert_eq!(his.read(|board| board.strokes.len()), 2);
        let error = soon(his.undo()).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::BadRequest, Outcome::NotDone), "{error}");
        soon(his.redo()).await.unwrap();
        soon(hers.changed(8)).await.unwrap();
        assert_eq!(hers.read(|board| board.strokes.keys().copied().collect::<Vec<_>>()), [1, 2, 3]);
        let group = soon(hers.group(|group| {
            group.execute(add(5));
            group.execute(add(6));
        })).await.unwrap();
        assert_eq!(group.iter().map(|done| done.output.clone()).collect::<Vec<_>>(), [Ok(4), Ok(5)]);
        soon(hers.undo()).await.unwrap();
        assert_eq!(hers.read(|board| board.strokes.len()), 3, "both at once");
    }

    async fn a_journal_is_read_without_a_state_too(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let mut entries = bob.entries("todo", 0).await.unwrap();
        for number in 1..=300u32 {
            assert_eq!(soon(ann.append("todo", &number)).await.unwrap(), u64::from(number));
        }
        let seq = soon(ann.undo("todo", UndoOptions::default())).await.unwrap();
        for number in 1..=300u32 {
            let (entry, command) = soon(entries.next()).await.unwrap().unwrap();
            assert_eq!((entry.seq, entry.author.as_str(), entry.deed), (number.into(), "ann", Deed::Do { first: number.into() }));
            assert_eq!(command.unwrap().decode::<u32>().unwrap(), number);
        }
        let (entry, command) = soon(entries.next()).await.unwrap().unwrap();
        assert_eq!((entry.seq, entry.deed, command), (seq, Deed::Undo(300), None));
    }

    async fn ten_programs_execute_at_once_and_agree(stage: Stage) {
        let mut boards = Vec::new();
        for number in 0..10u32 {
            boards.push(stage.node(&format!("node/{number}")).await.follow::<Board>("busy").await.unwrap());
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (number, board) in (0u32..).zip(boards.clone()) {
            tasks.spawn(async move {
                for place in 0..20 {
                    board.execute(&add(number * 5 + place)).await.unwrap();
                    if place % 7 == 6 {
                        match board.undo().await {
                            Ok(_) => {}
                            Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error}"),
                        }
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let last = boards.iter().map(|board| board.seq()).max().unwrap();
        for board in &boards {
            soon(board.changed(last - 1)).await.unwrap();
            assert_eq!(board.read(Clone::clone), boards[0].read(Clone::clone));
        }
    }

    async fn a_program_stops_at_a_command_that_it_does_not_know(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let board = ann.follow::<Board>("room").await.unwrap();
        soon(board.execute(&add(1))).await.unwrap();
        bob.append_payloads("room", &[Payload::text("paint it")], None).await.unwrap();
        let why = soon(board.changed(1)).await.unwrap_err();
        assert!(why.to_string().contains("the command at 2 is none that this program knows"), "{why}");
        assert_eq!(board.seq(), 1, "it leaves nothing out");
        // It is known which program that is, as long as it runs.
        let by = soon(bob.applied_by("room", 2, Who::All, Duration::from_millis(50))).await.unwrap();
        assert_eq!(by.to_string(), "entry 2 is applied by 0 of 1: `ann` cannot apply entry 2");
        let told = bob.get_value("$hub/journals/room/followers").await.unwrap().unwrap();
        let told: serde_json::Value = told.payload.decode().unwrap();
        let stuck = told["members"][0]["stuck"].as_str().unwrap();
        assert!(stuck.starts_with("the command at 2 is none that this program knows"), "{told}");
        drop(board);
        let by = soon(bob.applied_by("room", 2, Who::All, Duration::from_secs(30))).await.unwrap();
        assert!(by.reached && by.members == 0, "{by}");
        let error = bob.follow::<Board>("room").await.unwrap_err();
        assert!(error.to_string().contains("the command at 2"), "{error}");
    }
}

/// Who waited for such an entry once waited for ever: what tells that more is applied was in its own hands.
#[tokio::test]
async fn who_waits_for_a_state_that_panics_is_told() {
    let stage = Stage::new(Transport::Mem).await;
    let ann = stage.node("ann").await;
    let vase = ann.follow::<Fragile>("vase").await.unwrap();
    soon(vase.execute("feather".to_owned())).await.unwrap();
    let waits = tokio::spawn({
        let vase = vase.clone();
        async move { vase.changed(1).await }
    });
    let error = soon(vase.execute("hammer".to_owned())).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Indeterminate);
    assert!(error.to_string().starts_with("entry 2 of `vase` is kept, but not applied here: "), "{error}");
    assert!(error.to_string().contains("the program panicked when it applied entry 2"), "{error}");
    soon(waits).await.unwrap().unwrap_err();
    // Nothing more is sent by it, and nothing waits for what it could still do.
    let error = soon(vase.execute("feather".to_owned())).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
    soon(vase.snapshot()).await.unwrap_err();
}
