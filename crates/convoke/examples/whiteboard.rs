//! A whiteboard that two programs draw on at the same time, and that both can take back from.
//!
//! `cargo run -p convoke --example whiteboard` says what each sees, and ends by itself. The hub is in memory here; with the
//! address of one that runs, such as `127.0.0.1:7117`, each node can be in a program of its own, and nothing else changes.

use std::collections::BTreeMap;
use std::time::Duration;

use convoke::{Entry, Error, Hub, HubOptions, Node, Scope, State, Who};
use serde::{Deserialize, Serialize};

/// What everybody has: the strokes, by their numbers. It changes in `apply` and nowhere else, so it is the same everywhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Board {
    strokes: BTreeMap<u64, Stroke>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stroke {
    from: (i32, i32),
    to: (i32, i32),
    colour: String,
}

/// What can be done with it. This is all that travels, and all that is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Edit {
    Add(Stroke),
    Recolour { stroke: u64, colour: String },
    Clear,
}

/// There is no such stroke, or not any more.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gone;

impl State for Board {
    type Command = Edit;
    /// The number of the stroke, if it is about one. That somebody was faster is an answer too, and the same everywhere.
    type Output = Result<u64, Gone>;

    fn apply(&mut self, edit: &Edit, at: &Entry) -> Self::Output {
        match edit {
            // The place in the journal is a number that nobody else has.
            Edit::Add(stroke) => drop(self.strokes.insert(at.seq, stroke.clone())),
            Edit::Recolour { stroke, colour } => {
                let known = self.strokes.get_mut(stroke).ok_or(Gone)?;
                known.colour.clone_from(colour);
                return Ok(*stroke);
            }
            Edit::Clear => self.strokes.clear(),
        }
        Ok(at.seq)
    }
}

fn line(y: i32, colour: &str) -> Edit {
    Edit::Add(Stroke { from: (0, y), to: (100, y), colour: colour.to_owned() })
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let hub = Hub::start(HubOptions::listen(["mem://whiteboard"])).await?;
    let ann = Node::connect("mem://whiteboard", "ann").await?;
    let bob = Node::connect("mem://whiteboard", "bob").await?;
    let hers = ann.follow::<Board>("room/lobby").await?;
    let his = bob.follow::<Board>("room/lobby").await?;

    // Both draw at once. Each has its answer when its stroke is kept on the hub and is in its own copy.
    let (red, blue) = tokio::join!(hers.execute(line(10, "red")), his.execute(line(20, "blue")));
    let (red, blue) = (red?.seq, blue?.seq);
    println!("ann has drawn stroke {red}, and bob stroke {blue}");

    // They may see it at different times, but never differently. Who must know asks.
    let everybody = async |seq| hers.applied_by(seq, Who::All, Duration::from_secs(10)).await;
    let by = everybody(red.max(blue)).await?;
    println!("{by}");
    assert!(by.reached);
    assert_eq!(hers.read(Clone::clone), his.read(Clone::clone));
    assert_eq!(hers.read(|board| board.strokes.len()), 2);

    // Both change the same stroke. Who is later counts; and each can still take back its own change, whoever was later.
    let recolour = |colour: &str| Edit::Recolour { stroke: red, colour: colour.to_owned() };
    let (hers_done, his_done) = tokio::join!(hers.execute(recolour("green")), his.execute(recolour("black")));
    let (hers_done, his_done) = (hers_done?, his_done?);
    assert_eq!((hers_done.output, his_done.output), (Ok(red), Ok(red)));
    let later = if hers_done.seq > his_done.seq { "green" } else { "black" };
    everybody(hers_done.seq.max(his_done.seq)).await?;
    assert_eq!(hers.read(|board| board.strokes[&red].colour.clone()), later);
    hers.undo().await?;
    assert_eq!(hers.read(|board| board.strokes[&red].colour.clone()), "black", "as if she had never coloured it");
    let undone = his.undo().await?;
    everybody(undone).await?;
    assert_eq!(hers.read(|board| board.strokes[&red].colour.clone()), "red");
    println!("both have coloured stroke {red}, and taken that back: it is red again");

    // Several edits as one: they stand together in the journal, and are undone together.
    let framed = hers
        .group(|group| {
            for y in [0, 100] {
                group.execute(line(y, "black"));
            }
        })
        .await?;
    assert_eq!(framed.len(), 2);
    assert_eq!(hers.read(|board| board.strokes.len()), 4);
    hers.undo().await?;
    assert_eq!(hers.read(|board| board.strokes.len()), 2);
    let redone = hers.redo().await?;

    // Anybody can take back what anybody has done, if asked to.
    everybody(redone).await?;
    his.execute(Edit::Clear).await?;
    let answer = his.execute(recolour("white")).await?;
    assert_eq!(answer.output, Err(Gone), "what cannot be done any more is answered, and changes nothing");
    everybody(answer.seq).await?;
    for _ in 0..2 {
        hers.undo_with(Scope::Everyone).await?;
    }
    assert_eq!(hers.read(|board| board.strokes.len()), 4, "as if bob had never cleared the board");
    println!("bob has cleared the board, and ann has taken that back: there are 4 strokes");

    // What it was before is not lost.
    assert_eq!(hers.at(answer.seq).await?.strokes.len(), 0, "then bob had cleared it");

    // Who comes late has the same board.
    let cai = Node::connect("mem://whiteboard", "cai").await?;
    let late = cai.follow::<Board>("room/lobby").await?;
    assert_eq!(late.read(Clone::clone), hers.read(Clone::clone));
    println!("cai has come late, and has the same board");

    hub.stop().await;
    Ok(())
}
