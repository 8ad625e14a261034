//! One of those who append: what it is about to do, and what it was told, written down as it happens.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use convoke::{Error, Node, Outcome, Payload, UndoOptions};
use serde::{Deserialize, Serialize};

use super::JOURNAL;
use super::support::soon;

/// The most commands of a group.
const GROUP: u64 = 16;

/// A command: the how manyth of which writer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Command {
    pub writer: String,
    pub number: u64,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Tried {
    /// So many commands, from this number on, as a group.
    Do { first: u64, count: u64 },
    /// The last of its own commands is undone.
    Undo,
    /// It is done again.
    Redo,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// At this place.
    Done(u64),
    /// Certainly nothing.
    NotDone(String),
    /// Nobody knows.
    Uncertain(String),
}

/// What happened, in the order of the writer. The moments are comparable among the writers of one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Line {
    Try { op: u64, moment: u64, tried: Tried },
    End { op: u64, moment: u64, told: Told },
}

/// What the writers of one process have in common.
#[derive(Default)]
pub(crate) struct Common {
    moment: AtomicU64,
    /// Commands that are known to be done.
    pub acknowledged: AtomicU64,
    /// Operations that are known not to be done.
    pub refused: AtomicU64,
}

pub(crate) struct Writer {
    node: Node,
    name: String,
    enough: PathBuf,
    history: File,
    common: Arc<Common>,
    ops: u64,
    commands: u64,
}

impl Writer {
    /// It writes its history into a file of its name in this folder.
    pub(crate) fn new(node: Node, histories: &Path, enough: &Path, common: Arc<Common>) -> Writer {
        let name = node.name().to_string();
        let history = File::create(histories.join(&name)).unwrap();
        Writer { node, name, enough: enough.to_owned(), history, common, ops: 0, commands: 0 }
    }

    /// Appends until the file `enough` is there: groups of all sizes, several on their way at once; now and then what it has
    /// done last is undone, and done again.
    pub(crate) async fn write_until_enough(&mut self) {
        while !self.enough.exists() {
            let sizes = [1, GROUP, 2 + self.ops % GROUP.min(14), 1, 7, GROUP, 3];
            let ops = sizes.map(|count| self.tries_to_do(count));
            let commands = ops.map(|(_, first, count)| self.payloads(first, count));
            let node = self.node.clone();
            let append = |at: usize| node.append_payloads(JOURNAL, &commands[at], None);
            let undo = self.tries(Tried::Undo);
            let redo = self.tries(Tried::Redo);
            // They are asked for in this order, and answered when they are.
            let all = soon(async {
                tokio::join!(
                    append(0),
                    append(1),
                    append(2),
                    append(3),
                    append(4),
                    append(5),
                    append(6),
                    node.undo(JOURNAL, UndoOptions::default()),
                    node.redo(JOURNAL, UndoOptions::default()),
                )
            });
            let (a, b, c, d, e, f, g, undone, redone) = all.await;
            for ((op, _, count), end) in ops.into_iter().zip([a, b, c, d, e, f, g]) {
                self.ends(op, count, end);
            }
            self.ends(undo, 0, undone);
            self.ends(redo, 0, redone);
        }
    }

    fn payloads(&self, first: u64, count: u64) -> Vec<Payload> {
        let command = |number| Payload::encode(&Command { writer: self.name.clone(), number }).unwrap();
        (first..first + count).map(command).collect()
    }

    fn tries_to_do(&mut self, count: u64) -> (u64, u64, u64) {
        let first = self.commands + 1;
        self.commands += count;
        (self.tries(Tried::Do { first, count }), first, count)
    }

    fn tries(&mut self, tried: Tried) -> u64 {
        self.ops += 1;
        let moment = self.common.moment.fetch_add(1, Ordering::SeqCst);
        self.notes(&Line::Try { op: self.ops, moment, tried });
        self.ops
    }

    fn ends(&mut self, op: u64, commands: u64, end: Result<u64, Error>) {
        let told = match end {
            Ok(seq) => {
                self.common.acknowledged.fetch_add(commands, Ordering::SeqCst);
                Told::Done(seq)
            }
            Err(error) => match error.outcome() {
                Outcome::NotDone => {
                    self.common.refused.fetch_add(1, Ordering::SeqCst);
                    Told::NotDone(error.to_string())
                }
                _ => Told::Uncertain(error.to_string()),
            },
        };
        let moment = self.common.moment.fetch_add(1, Ordering::SeqCst);
        self.notes(&Line::End { op, moment, told });
    }

    /// Before it is tried, and after it is told; a process that is killed has written down all that.
    fn notes(&mut self, line: &Line) {
        let mut text = serde_json::to_string(line).unwrap();
        text.push('\n');
        self.history.write_all(text.as_bytes()).unwrap();
    }
}
