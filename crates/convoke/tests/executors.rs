//! Story: what is executed together happens in the world too, in order, again after a crash, and nothing is left out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke::{
    AppendOptions, Code, Deed, Effect, Entry, Executors, Failure, Follower, Node, NotKept, Payload, PositionFiles,
    Progress, State, Strategy,
};
use serde::{Deserialize, Serialize};
use support::*;

/// A lamp that is on or off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Lamp {
    is_on: bool,
    switched: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Switch(bool);

impl State for Lamp {
    type Command = Switch;
    type Output = u32;
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, switch: &Switch, _: &Entry) -> u32 {
        self.is_on = switch.0;
        self.switched += 1;
        self.switched
    }

    fn inverse(&self, _: &Switch, _: &Entry) -> Option<Switch> {
        Some(Switch(self.is_on))
    }
}

/// What has happened in the world, in order.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Vec<String>>>);

impl World {
    fn say(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// An executor that says what it was called with.
    fn executor(&self, name: &str) -> impl FnMut(&Effect<'_, Lamp>) -> Result<(), Failure> + Send + 'static {
        let (world, name) = (self.clone(), name.to_owned());
        move |effect| {
            let done: Vec<_> =
                effect.done.iter().map(|(switch, output)| format!("{} gives {output}", switch.0)).collect();
            assert_eq!(effect.done.last().map(|(switch, _)| switch.0), Some(effect.state.is_on), "the state behind it");
            world.say(format!("{name} {}: {}", effect.entry.seq, done.join(", ")));
            Ok(())
        }
    }
}

/// By one who only appends.
async fn switch(node: &Node, on: bool) {
    let options = AppendOptions { strategy: Some(Strategy::Compensate), ..Default::default() };
    soon(node.append_with("lamp", &[Payload::encode(&Switch(on)).unwrap()], &options)).await.unwrap();
}

async fn switched(node: &Node, lamp: &Follower<Lamp>, times: u64) {
    for time in 1..=times {
        switch(node, time % 2 == 1).await;
    }
    let seq = lamp.seq();
    if seq < times {
        soon(lamp.changed(times - 1)).await.unwrap();
    }
}

/// Does what there is to do, all of which may not have come yet.
async fn all_done<S>(effects: &mut Executors<S>) -> Progress
where
    S: State + Send + 'static,
    S::Command: Send,
    S::Output: Send,
{
    while effects.progress().left > 0 {
        soon(effects.due()).await;
        effects.poll(100);
    }
    effects.progress()
}

on_every_transport! {
    async fn a_window_runs_what_is_due_in_its_own_loop(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let lamp = ann.follow::<Lamp>("lamp").await.unwrap();
        switched(&bob, &lamp, 3).await;
        let (world, window) = (World::default(), std::thread::current().id());
        let mut effects = lamp.executors(NotKept).unwrap();
        let mut call = world.executor("window");
        effects.executor("window", lamp.seq(), move |effect| {
            assert_eq!(std::thread::current().id(), window, "only ever on the thread of the window");
            call(effect)
        }).unwrap();
        effects.executor("light", lamp.seq(), world.executor("light")).unwrap();
        soon(lamp.execute(&Switch(true))).await.unwrap();
        soon(lamp.group(|group| [false, true].iter().for_each(|on| group.execute(Switch(*on))))).await.unwrap();
        soon(lamp.undo()).await.unwrap();
        soon(lamp.redo()).await.unwrap();
        let mut left = Vec::new();
        while left.last() != Some(&0) {
            soon(effects.due()).await;
            left.push(effects.poll(2).left);
        }
        assert!(left.is_sorted_by(|one, next| one > next) && left.len() >= 4, "a little at a time: {left:?}");
        let expected = [
            "4: true gives 4", "5: false gives 5", "6: true gives 6",
            "7: false gives 7, true gives 8", "8: false gives 9, true gives 10",
        ];
        let both = expected.iter().flat_map(|what| ["window", "light"].map(|name| format!("{name} {what}")));
        assert_eq!(world.take(), both.collect::<Vec<_>>(), "in the order in which they were declared");
        let progress = effects.poll(100);
        assert_eq!((progress.seq, progress.left, progress.ended), (8, 0, None));
        assert_eq!(world.take(), [""; 0], "each once");
    }

    async fn one_that_fails_stops_there_and_says_so_and_the_others_go_on(stage: Stage) {
        let ann = stage.node("ann").await;
        let lamp = ann.follow::<Lamp>("lamp").await.unwrap();
        let (world, broken) = (World::default(), Arc::new(Mutex::new(true)));
        let mut effects = lamp.executors(PositionFiles::new(stage.folder().join("positions"))).unwrap();
        let (mut call, is_broken) = (world.executor("bulb"), broken.clone());
        effects.executor("bulb", 0, move |effect| match effect.entry.seq == 3 && *is_broken.lock().unwrap() {
            true => Err(Failure::new("Broken", "the bulb is broken")),
            false => call(effect),
        }).unwrap();
        effects.executor("light", 0, world.executor("light")).unwrap();
        switched(&ann, &lamp, 5).await;
        let mut progress = effects.poll(0);
        while progress.left > 0 {
            soon(effects.due()).await;
            progress = effects.poll(100);
        }
        let [stopped] = &progress.stopped[..] else { panic!("{progress:?}") };
        assert_eq!((stopped.executor.as_str(), stopped.seq), ("bulb", 3));
        assert_eq!(stopped.why.to_string(), "Broken: the bulb is broken");
        let seen = world.take();
        let of = |name: &str| -> Vec<String> {
            let calls = seen.iter().filter_map(|call| call.strip_prefix(name));
            calls.map(|call| call.trim().split(':').next().unwrap().to_owned()).collect()
        };
        assert_eq!(of("bulb"), ["1", "2"]);
        assert_eq!(of("light"), ["1", "2", "3", "4", "5"]);
        *broken.lock().unwrap() = false;
        effects.retry().unwrap();
        while effects.progress().left > 0 {
            soon(effects.due()).await;
            effects.poll(100);
        }
        assert_eq!(world.take(), ["bulb 3: true gives 3", "bulb 4: false gives 4", "bulb 5: true gives 5"]);
        assert_eq!(effects.progress().stopped, []);
    }

    async fn the_library_runs_them_as_entries_come(stage: Stage) {
        let ann = stage.node("ann").await;
        let lamp = ann.follow::<Lamp>("lamp").await.unwrap();
        let world = World::default();
        let mut effects = lamp.executors(NotKept).unwrap();
        let (slow, mut call) = (lamp.clone(), world.executor("light"));
        effects.executor("light", 0, move |effect| {
            // It may wait, and look at what the follower has: never less than it is called with itself.
            std::thread::sleep(Duration::from_millis(1));
            assert!(slow.seq() >= effect.entry.seq);
            call(effect)
        }).unwrap();
        let mut running = effects.run();
        for time in 0..150 {
            soon(lamp.execute(&Switch(time % 2 == 0))).await.unwrap();
        }
        let progress = soon(running.wait(|progress| progress.seq == 150)).await;
        assert_eq!((progress.seq, progress.left, progress.stopped.len(), progress.ended), (150, 0, 0, None));
        assert_eq!(world.take().len(), 150);
        drop(running);
        soon(lamp.execute(&Switch(true))).await.unwrap();
        assert_eq!(world.take(), [""; 0], "nobody runs them any more");
    }

    async fn a_program_that_comes_back_goes_on_where_it_was(stage: Stage) {
        let (bob, world) = (stage.node("bob").await, World::default());
        let follower = bob.follow::<Lamp>("lamp").await.unwrap();
        let positions = stage.folder().join("positions");
        for from in [1, 4, 7] {
            let ann = stage.node("ann").await;
            let lamp = ann.follow::<Lamp>("lamp").await.unwrap();
            let mut effects = lamp.executors(PositionFiles::new(&positions)).unwrap();
            effects.executor("light", lamp.seq(), world.executor("light")).unwrap();
            let error = lamp.executors(PositionFiles::new(&positions)).unwrap()
                .executor("light", 0, |_| Ok(())).unwrap_err();
            assert!(error.to_string().contains("another program, or another part of this one"), "{error}");
            for seq in from..from + 2 {
                switch(&bob, seq % 2 == 1).await;
            }
            soon(lamp.changed(from)).await.unwrap();
            while effects.progress().left > 0 {
                soon(effects.due()).await;
                effects.poll(100);
            }
            // The program ends, and something is done while it is away.
            drop((effects, lamp));
            ann.leave().await;
            switch(&bob, from % 2 == 1).await;
        }
        let calls: Vec<u64> =
            world.take().iter().map(|call| call[6..].split(':').next().unwrap().parse().unwrap()).collect();
        assert_eq!(calls, (1..=8).collect::<Vec<u64>>(), "each once, none left out; the last is still to come");
        soon(follower.changed(8)).await.unwrap();
    }

    async fn one_that_is_added_while_a_snapshot_is_on_its_way_is_called_with_every_entry(stage: Stage) {
        let lamp = stage.node("ann").await.follow::<Lamp>("lamp").await.unwrap();
        for time in 0..4 {
            soon(lamp.execute(&Switch(time % 2 == 0))).await.unwrap();
        }
        assert_eq!(soon(lamp.snapshot()).await.unwrap(), 4);
        let world = World::default();
        let mut effects = lamp.executors(NotKept).unwrap();
        effects.executor("bulb", 4, world.executor("bulb")).unwrap();
        // It has handled what the snapshot stands for, and so asks for that.
        effects.poll(1);
        effects.executor("light", 0, world.executor("light")).unwrap();
        soon(lamp.execute(&Switch(true))).await.unwrap();
        all_done(&mut effects).await;
        let calls: Vec<String> = world.take().iter().map(|call| call.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(calls, ["light 1", "light 2", "light 3", "light 4", "bulb 5", "light 5"]);
    }
}

#[tokio::test]
async fn what_was_handled_without_its_position_is_done_again() {
    let stage = Stage::new(Transport::Mem).await;
    let ann = stage.node("ann").await;
    let lamp = ann.follow::<Lamp>("lamp").await.unwrap();
    switched(&ann, &lamp, 4).await;
    let world = World::default();
    let positions = stage.folder().join("positions");
    for crashes_at in [Some(3), None] {
        let mut effects = lamp.executors(PositionFiles::new(&positions)).unwrap();
        let mut call = world.executor("light");
        effects
            .executor("light", 0, move |effect| {
                call(effect)?;
                assert_ne!(Some(effect.entry.seq), crashes_at, "the program crashes behind the effect");
                Ok(())
            })
            .unwrap();
        let crashed = loop {
            soon(effects.due()).await;
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| effects.poll(100))) {
                Ok(progress) if progress.left > 0 => {}
                ended => break ended.is_err(),
            }
        };
        assert_eq!(crashed, crashes_at.is_some());
        if crashed {
            let stopped = &effects.poll(100).stopped[0];
            assert_eq!((stopped.seq, stopped.why.kind.as_str()), (3, "Panicked"), "it is not called with the next");
        }
    }
    let seqs: Vec<String> = world.take().iter().map(|call| call[6..7].to_owned()).collect();
    assert_eq!(seqs, ["1", "2", "3", "3", "4"], "at least once, and known by its place");
}

#[tokio::test]
async fn a_position_in_another_journal_is_told() {
    let (stage, positions) = (Stage::new(Transport::Mem).await, tempfile::tempdir().unwrap());
    let ann = stage.node("ann").await;
    let lamp = ann.follow::<Lamp>("lamp").await.unwrap();
    switched(&ann, &lamp, 4).await;
    let mut effects = lamp.executors(PositionFiles::new(positions.path())).unwrap();
    effects.executor("light", 0, |_| Ok(())).unwrap();
    assert_eq!(all_done(&mut effects).await.seq, 4);
    drop(effects);
    // A hub with another journal of this name: first a shorter one, then one that is as long.
    let other = Stage::new(Transport::Mem).await;
    let ann = other.node("ann").await;
    let lamp = ann.follow::<Lamp>("lamp").await.unwrap();
    let mut effects = lamp.executors(PositionFiles::new(positions.path())).unwrap();
    let error = effects.executor("light", 0, |_| Ok(())).unwrap_err();
    assert_eq!(error.code(), Code::Diverged, "{error}");
    assert!(error.to_string().contains("has come to entry 4, and the journal has 0 entries"), "{error}");
    drop(effects);
    switched(&ann, &lamp, 5).await;
    let world = World::default();
    let mut effects = lamp.executors(PositionFiles::new(positions.path())).unwrap();
    effects.executor("light", 0, world.executor("light")).unwrap();
    let [stopped] = &all_done(&mut effects).await.stopped[..] else { panic!("it goes on with what it does not know") };
    assert_eq!((stopped.seq, stopped.why.kind.as_str()), (4, "Diverged"), "{}", stopped.why);
    assert_eq!(world.take(), [""; 0]);
}

/// A board on which everything can be taken back as if it had never been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Board(Vec<u32>);

impl State for Board {
    type Command = u32;
    type Output = ();

    fn apply(&mut self, stroke: &u32, _: &Entry) {
        self.0.push(*stroke);
    }
}

#[tokio::test]
async fn where_the_past_changes_the_state_is_all_that_there_is_to_show() {
    let stage = Stage::new(Transport::Mem).await;
    let board = stage.node("ann").await.follow::<Board>("board").await.unwrap();
    let drawn = Arc::new(Mutex::new(Vec::new()));
    let mut effects = board.executors(NotKept).unwrap();
    let drawing = drawn.clone();
    effects
        .executor("window", 0, move |effect| {
            drawing.lock().unwrap().push((effect.entry.deed, effect.done.len(), effect.state.0.clone()));
            Ok(())
        })
        .unwrap();
    for stroke in [1, 2] {
        soon(board.execute(&stroke)).await.unwrap();
    }
    soon(board.undo()).await.unwrap();
    all_done(&mut effects).await;
    let drawn = drawn.lock().unwrap().clone();
    let of = |first| Deed::Do { first };
    assert_eq!(drawn, [(of(1), 1, vec![1]), (of(2), 1, vec![1, 2]), (Deed::Undo(2), 0, vec![1])]);
}
