//! Story: who comes late begins with a snapshot, old entries go, and nothing that anybody relies on goes with them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::sync::{Arc, Mutex};

use convoke::{
    Code, Compacted, EntriesOptions, Entry, FollowOptions, Follower, Missed, Outcome, PositionFiles, State, Strategy,
};
use serde::{Deserialize, Serialize};
use support::*;

/// A press, whose moves are undone by moving back: its snapshots lie at the end of its journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Press {
    at_mm: i64,
    moves: u32,
}

#[derive(Serialize, Deserialize)]
struct MoveTo(i64);

impl State for Press {
    type Command = MoveTo;
    type Output = u32;
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, command: &MoveTo, _: &Entry) -> u32 {
        self.at_mm = command.0;
        self.moves += 1;
        self.moves
    }

    fn inverse(&self, _: &MoveTo, _: &Entry) -> Option<MoveTo> {
        Some(MoveTo(self.at_mm))
    }
}

/// The same press as a program of another version knows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct OtherPress {
    at_inch: String,
}

impl State for OtherPress {
    type Command = MoveTo;
    type Output = ();
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, command: &MoveTo, _: &Entry) {
        self.at_inch = format!("{}", command.0);
    }

    fn inverse(&self, _: &MoveTo, _: &Entry) -> Option<MoveTo> {
        None
    }
}

/// What was said, of which the last is known: short, however long its journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    count: u64,
    last: String,
}

impl State for Said {
    type Command = String;
    type Output = ();

    fn apply(&mut self, text: &String, _: &Entry) {
        self.count += 1;
        self.last = text[..text.len().min(8)].to_owned();
    }
}

async fn moved(press: &Follower<Press>, to: std::ops::RangeInclusive<i64>) {
    for to in to {
        soon(press.execute(MoveTo(to))).await.unwrap();
    }
}

on_every_transport! {
    async fn who_comes_late_begins_with_the_snapshot(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let hers = ann.follow::<Press>("press").await.unwrap();
        moved(&hers, 1..=10).await;
        assert_eq!(soon(hers.snapshot()).await.unwrap(), 10);
        moved(&hers, 11..=12).await;
        assert_eq!(soon(ann.compact("press", 0)).await.unwrap(), Compacted { first: 11, gone: 10 });
        let his = soon(bob.follow::<Press>("press")).await.unwrap();
        assert_eq!(his.read(Clone::clone), Press { at_mm: 12, moves: 12 });
        // What lies before it is undone as ever.
        for at_mm in [11, 10, 9, 8] {
            let seq = soon(hers.undo()).await.unwrap();
            soon(his.changed(seq - 1)).await.unwrap();
            assert_eq!(his.read(|press| press.at_mm), at_mm);
        }
        soon(hers.redo()).await.unwrap();
        assert_eq!(hers.read(|press| press.at_mm), 9);
        soon(his.execute(MoveTo(70))).await.unwrap();
        assert_eq!(his.read(Clone::clone), hers.read(Clone::clone));
        assert_eq!(soon(his.undo()).await.unwrap(), his.seq());
        soon(hers.changed(his.seq() - 1)).await.unwrap();
        assert_eq!(his.read(Clone::clone), hers.read(Clone::clone));
    }

    async fn a_snapshot_survives_the_end_of_the_hub(stage: Stage) {
        let ann = stage.node("ann").await;
        let hers = ann.follow::<Press>("press").await.unwrap();
        moved(&hers, 1..=5).await;
        soon(hers.snapshot()).await.unwrap();
        soon(ann.compact("press", 0)).await.unwrap();
        moved(&hers, 6..=6).await;
        let stage = stage.restart().await;
        let bob = stage.node("bob").await;
        let his = soon(bob.follow::<Press>("press")).await.unwrap();
        assert_eq!((his.seq(), his.read(Clone::clone)), (6, Press { at_mm: 6, moves: 6 }));
        moved(&his, 7..=7).await;
        if hers.seq() < 7 {
            soon(hers.changed(6)).await.unwrap();
        }
        assert_eq!(hers.read(Clone::clone), his.read(Clone::clone));
    }

    async fn who_reads_entries_is_told_where_they_are_missing(stage: Stage) {
        let ann = stage.node("ann").await;
        let hers = ann.follow::<Press>("press").await.unwrap();
        moved(&hers, 1..=10).await;
        let error = soon(ann.compact("press", 0)).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::Conflict, Outcome::NotDone));
        assert!(error.to_string().starts_with("compact `press`: it has no snapshot that could stand for"), "{error}");
        soon(hers.snapshot()).await.unwrap();
        assert_eq!(soon(ann.compact("press", 3)).await.unwrap(), Compacted { first: 8, gone: 7 });
        assert_eq!(soon(ann.compact("press", 3)).await.unwrap(), Compacted { first: 8, gone: 0 });
        let mut entries = soon(ann.entries_with("press", EntriesOptions { verify: true, ..Default::default() })).await.unwrap();
        assert_eq!(soon(entries.next()).await, Some(Err(Missed::Compacted { first: 8 })));
        for seq in 8..=10 {
            assert_eq!(soon(entries.next()).await.unwrap().unwrap().0.seq, seq);
        }
        moved(&hers, 11..=11).await;
        assert_eq!(soon(entries.next()).await.unwrap().unwrap().0.seq, 11);
        // How it was is known as far as it is kept.
        assert_eq!(soon(hers.at(10)).await.unwrap(), Press { at_mm: 10, moves: 10 });
        let error = soon(hers.at(9)).await.unwrap_err();
        assert_eq!(error.code(), Code::Compacted, "{error}");
    }

    async fn an_executor_that_is_too_late_says_so_and_the_others_go_on(stage: Stage) {
        let ann = stage.node("ann").await;
        let hers = ann.follow::<Press>("press").await.unwrap();
        let world = Arc::new(Mutex::new(Vec::new()));
        let positions = stage.folder().join("positions");
        let executor = |name: &str| {
            let (world, name) = (world.clone(), name.to_owned());
            move |effect: &convoke::Effect<'_, Press>| {
                world.lock().unwrap().push(format!("{name} {}: {}", effect.entry.seq, effect.state.at_mm));
                Ok(())
            }
        };
        let take = || std::mem::take(&mut *world.lock().unwrap());
        moved(&hers, 1..=3).await;
        {
            let mut effects = hers.executors(PositionFiles::new(&positions)).unwrap();
            effects.executor("slow", 2, executor("slow")).unwrap();
        }
        moved(&hers, 4..=6).await;
        soon(hers.snapshot()).await.unwrap();
        soon(ann.compact("press", 0)).await.unwrap();
        moved(&hers, 7..=8).await;
        let mut effects = hers.executors(PositionFiles::new(&positions)).unwrap();
        effects.executor("slow", 0, executor("slow")).unwrap();
        effects.executor("quick", 6, executor("quick")).unwrap();
        let mut progress = effects.progress();
        while progress.left > 0 {
            soon(effects.due()).await;
            progress = effects.poll(100);
            assert_eq!(progress.ended, None);
        }
        assert_eq!(take(), ["quick 7: 7", "quick 8: 8"]);
        let [stopped] = &progress.stopped[..] else { panic!("{progress:?}") };
        assert_eq!((stopped.executor.as_str(), stopped.seq, stopped.why.kind.as_str()), ("slow", 3, "Compacted"));
        assert!(stopped.why.message.contains("`slow` of `ann` in `press` has come to entry 2, and of what came before entry 7"));
    }

    async fn a_program_of_another_version_applies_every_entry_or_says_so(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let hers = ann.follow::<Press>("press").await.unwrap();
        moved(&hers, 1..=10).await;
        soon(hers.snapshot()).await.unwrap();
        let his = soon(bob.follow::<OtherPress>("press")).await.unwrap();
        assert_eq!(his.read(|press| press.at_inch.clone()), "10");
        soon(ann.compact("press", 0)).await.unwrap();
        moved(&hers, 11..=11).await;
        let error = soon(bob.follow::<OtherPress>("press")).await.unwrap_err();
        assert!(error.to_string().contains("the snapshot at 10 is none of this program's state"), "{error}");
    }

    async fn snapshots_are_made_by_themselves(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let options = FollowOptions { snapshot_every: Some(10), ..Default::default() };
        // Of several programs, too.
        let hers = ann.follow_with::<Press>("press", options).await.unwrap();
        let _his = bob.follow_with::<Press>("press", options).await.unwrap();
        for to in 1..=1000 {
            moved(&hers, to..=to).await;
            // Old entries can go from the first on.
            if let Ok(Compacted { first, .. }) = soon(ann.compact("press", 0)).await
                && first > 20
            {
                return;
            }
        }
        panic!("no snapshot was made in 1000 entries");
    }
}

/// So long that its snapshot goes in several pieces.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Pile(String);

impl State for Pile {
    type Command = String;
    type Output = ();
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, text: &String, _: &Entry) {
        self.0.push_str(text);
    }

    fn inverse(&self, _: &String, _: &Entry) -> Option<String> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_snapshots_that_one_follower_is_asked_for_at_once_each_comes_to_its_end() {
    let stage = Stage::new(Transport::Tcp).await;
    let ann = stage.node("ann").await;
    let options = FollowOptions { snapshot_every: Some(1), ..FollowOptions::default() };
    let pile = ann.follow_with::<Pile>("pile", options).await.unwrap();
    for _ in 0..20 {
        soon(pile.execute("x".repeat(200_000))).await.unwrap();
        let all = async { tokio::join!(pile.snapshot(), pile.snapshot(), pile.snapshot()) };
        let (one, other, third) = soon(all).await;
        assert_eq!([one, other, third].map(Result::unwrap), [pile.seq(); 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_journal_only_what_can_be_undone_is_applied_one_by_one() {
    let stage = Stage::new(Transport::Mem).await;
    let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
    let hers = ann.follow::<Said>("talk").await.unwrap();
    let error = soon(hers.snapshot()).await.unwrap_err();
    assert!(error.to_string().contains("all that was done in it can still be undone"), "{error}");
    let (filler, mut undone) = ("x".repeat(250_000), 0);
    for number in 1..=280 {
        soon(hers.execute(format!("{number:08}{filler}"))).await.unwrap();
        if number % 40 == 0 {
            soon(hers.undo()).await.unwrap();
            undone += 1;
        }
    }
    let place = soon(hers.snapshot()).await.unwrap();
    assert!((5..40).contains(&place), "{place}");
    assert_eq!(soon(ann.compact("talk", 0)).await.unwrap(), Compacted { first: place + 1, gone: place });
    let his = soon(bob.follow::<Said>("talk")).await.unwrap();
    assert_eq!(his.read(Clone::clone), hers.read(Clone::clone));
    assert_eq!(his.read(|said| (said.count, said.last.clone())), (280 - undone, "00000279".to_owned()));
    // Both can undo as much, and to the same.
    for _ in 0..20 {
        soon(hers.undo()).await.unwrap();
    }
    if his.seq() < hers.seq() {
        soon(his.changed(hers.seq() - 1)).await.unwrap();
    }
    assert_eq!(his.read(Clone::clone), hers.read(Clone::clone));
}
