//! One of those who write, and what it writes down about it: what it is about to do, and what it was told.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use convoke::{Code, Error, Expect, Node, Outcome, Rev, SetOptions, Value};
use serde::{Deserialize, Serialize};

use super::support::soon;

/// Counters that all writers count up.
const COUNTERS: u64 = 2;

/// The file whose presence tells the writers to stop.
const ENOUGH: &str = "enough";

/// What every value has: who set it, in which of its operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub writer: String,
    pub op: u64,
    /// Of a counter: where it stands.
    pub count: u64,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tried {
    /// The keys that it sets.
    pub sets: Vec<String>,
    /// The key that it deletes.
    pub deletes: Option<String>,
    /// Of a counter: the revision that it must have, zero if it must not be there.
    pub expects: Option<u64>,
}

impl Tried {
    fn set(keys: &[String]) -> Tried {
        Tried { sets: keys.to_vec(), deletes: None, expects: None }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// Under this revision, where it is told.
    Done(Option<u64>),
    /// Certainly nothing.
    NotDone(String),
    /// Nobody knows.
    Uncertain(String),
}

/// A line of a history: an operation is tried, or has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Line {
    Try(u64, Tried),
    End(u64, Told),
}

/// All that one writer did, as it knew it, in its order.
pub(crate) struct History {
    pub writer: String,
    pub lines: Vec<Line>,
}

impl History {
    /// How many operations it knows to be done.
    pub(crate) fn acknowledged(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line, Line::End(_, Told::Done(_)))).count()
    }
}

/// Reads what all writers wrote down.
pub(crate) fn histories(folder: &Path) -> Vec<History> {
    let mut histories = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let writer = entry.file_name().into_string().unwrap();
        if writer != ENOUGH {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            // Who was killed may have left half a line.
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let lines = whole.map(|line| serde_json::from_str(line).unwrap()).collect();
            histories.insert(writer, lines);
        }
    }
    histories.into_iter().map(|(writer, lines)| History { writer, lines }).collect()
}

pub(crate) struct Writer {
    node: Node,
    name: String,
    enough: std::path::PathBuf,
    history: File,
    op_last: u64,
}

impl Writer {
    pub(crate) fn new(node: Node, histories: &Path) -> Writer {
        let name = node.name().to_string();
        let history = File::create(histories.join(&name)).unwrap();
        Writer { node, name, enough: histories.join(ENOUGH), history, op_last: 0 }
    }

    /// Tells all writers to stop.
    pub(crate) fn enough(histories: &Path) {
        File::create(histories.join(ENOUGH)).unwrap();
    }

    /// Writes until it is enough, and counts what is acknowledged.
    pub(crate) async fn write_until_enough(&mut self, acknowledged: &AtomicU64) {
        for round in 0.. {
            if self.enough.exists() {
                return;
            }
            let node = self.node.clone();
            let key = |word: &str| format!("own/{}/{word}", self.name);
            let (a, b, together, gone) = (key("a"), key(&format!("b{}", round % 5)), [key("x"), key("y")], key("gone"));
            // Several at once: they happen in the order in which they are asked for.
            let op_a = self.tries(Tried::set(std::slice::from_ref(&a)));
            let op_b = self.tries(Tried::set(std::slice::from_ref(&b)));
            let op_together = self.tries(Tried::set(&together));
            let op_gone = self.tries(Tried::set(std::slice::from_ref(&gone)));
            let deletes = Tried { sets: Vec::new(), deletes: Some(gone.clone()), expects: None };
            let op_delete = self.tries(deletes);
            let (tag_a, tag_b) = (self.tag(op_a, 0), self.tag(op_b, 0));
            let (tag_together, tag_gone) = (self.tag(op_together, 0), self.tag(op_gone, 0));
            let batch = node.batch().set(&together[0], &tag_together).unwrap();
            let batch = batch.set(&together[1], &tag_together).unwrap();
            let ends = soon(async {
                tokio::join!(
                    node.set(&a, &tag_a),
                    node.set(&b, &tag_b),
                    batch.commit(),
                    node.set(&gone, &tag_gone),
                    node.delete(&gone),
                )
            });
            let (end_a, end_b, end_together, end_gone, end_delete) = ends.await;
            for (op, end) in [(op_a, end_a), (op_b, end_b), (op_together, end_together), (op_gone, end_gone)] {
                self.ends(op, end.map(Some), acknowledged);
            }
            let end_delete = end_delete.map(|there| {
                assert!(there, "nobody else has deleted it");
                None
            });
            self.ends(op_delete, end_delete, acknowledged);
            self.count(round % COUNTERS, acknowledged).await;
        }
    }

    /// Counts up, if nobody else does so at the same time.
    async fn count(&mut self, counter: u64, acknowledged: &AtomicU64) {
        let key = format!("shared/{counter}");
        let value: Option<Value> = match soon(self.node.get_value(&key)).await {
            Ok(value) => value,
            // Without a link there is nothing to get; the next round waits for one.
            Err(error) => {
                assert!(matches!(error.code(), Code::Offline | Code::Unreachable | Code::Backpressure), "{error}");
                return;
            }
        };
        let before = value.as_ref().map_or(0, |value| value.payload.decode::<Tag>().unwrap().count);
        let rev = value.map(|value| value.rev);
        let expect = rev.map_or(Expect::Absent, Expect::Rev);
        let op =
            self.tries(Tried { expects: Some(rev.map_or(0, |rev| rev.n)), ..Tried::set(std::slice::from_ref(&key)) });
        let tag = self.tag(op, before + 1);
        let end = soon(self.node.set_with(&key, &tag, SetOptions { expect, ..SetOptions::default() })).await;
        self.ends(op, end.map(Some), acknowledged);
    }

    fn tag(&self, op: u64, count: u64) -> Tag {
        Tag { writer: self.name.clone(), op, count }
    }

    fn tries(&mut self, tried: Tried) -> u64 {
        self.op_last += 1;
        self.notes(&Line::Try(self.op_last, tried));
        self.op_last
    }

    fn ends(&mut self, op: u64, end: Result<Option<Rev>, Error>, acknowledged: &AtomicU64) {
        let told = match end {
            Ok(rev) => {
                acknowledged.fetch_add(1, Ordering::SeqCst);
                Told::Done(rev.map(|rev| rev.n))
            }
            Err(error) => match error.outcome() {
                Outcome::NotDone => Told::NotDone(error.to_string()),
                _ => Told::Uncertain(error.to_string()),
            },
        };
        self.notes(&Line::End(op, told));
    }

    /// Before it is tried, and after it is told; a process that is killed has written down all that.
    fn notes(&mut self, line: &Line) {
        let mut text = serde_json::to_string(line).unwrap();
        text.push('\n');
        self.history.write_all(text.as_bytes()).unwrap();
    }
}
