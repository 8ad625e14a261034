//! One of those who follow: what it got, written down as it came.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use convoke::{Deed, Entry, Node, Payload};
use serde::{Deserialize, Serialize};

use super::writer::Command;
use super::{END, JOURNAL};

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Says {
    /// A command, in the group that begins there.
    Do(u64, Command),
    Undo(u64),
    Redo(u64),
    /// The last of all.
    End,
}

/// An entry as it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Got {
    pub seq: u64,
    pub author: String,
    pub wall_ms: u64,
    pub says: Says,
}

impl Got {
    fn of(entry: &Entry, command: Option<Payload>) -> Got {
        let says = match entry.deed {
            Deed::Do { first } => {
                let command = command.expect("a command has a payload");
                match command.decode::<String>() {
                    Ok(end) if end == END => Says::End,
                    _ => Says::Do(first, command.decode().unwrap()),
                }
            }
            Deed::Undo(first) => Says::Undo(first),
            Deed::Redo(first) => Says::Redo(first),
            Deed::Join | Deed::Leave => unreachable!("nobody has asked for it"),
        };
        Got { seq: entry.seq, author: entry.author.to_string(), wall_ms: entry.wall_ms, says }
    }
}

/// Follows behind an entry up to the last of all.
pub(crate) async fn follow(node: Node, after: u64, mut got: impl FnMut(Got)) {
    let mut entries = node.entries(JOURNAL, after).await.unwrap();
    loop {
        let (entry, command) = entries.next().await.expect("it goes on").expect("nothing is missing");
        let entry = Got::of(&entry, command);
        let ends = entry.says == Says::End;
        got(entry);
        if ends {
            return;
        }
    }
}

/// As a process: writes each entry into a file, and goes on behind the last one that is in it already.
pub(crate) async fn follow_into(node: Node, file: &Path) {
    let after = read(file).last().map_or(0, |last| last.seq);
    let file = File::options().append(true).create(true).open(file).unwrap();
    let mut lines = BufWriter::new(file);
    follow(node, after, |entry| {
        serde_json::to_writer(&mut lines, &entry).unwrap();
        // Whole lines only, each by itself: whoever is killed has written down what it has applied, and no more.
        lines.write_all(b"\n").unwrap();
        lines.flush().unwrap();
    })
    .await;
}

/// What was written into a file. Who was killed may have left half a line, which whoever goes on there takes away.
pub(crate) fn read(file: &Path) -> Vec<Got> {
    let Ok(text) = std::fs::read_to_string(file) else { return Vec::new() };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        File::options().write(true).open(file).unwrap().set_len(whole as u64).unwrap();
    }
    text[..whole].lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
