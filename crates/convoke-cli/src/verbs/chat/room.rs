//! What is said in a room: the state that comes of its journal, the same for everybody who is in it.
//!
//! This is all that there is to keep in step. That everybody applies the same commands in the same order, late joiners and
//! those who were away too, and that what is undone is as if it had never been said, is what a journal is.

use std::collections::{BTreeSet, VecDeque};

use convoke::{Deed, Entry, Payload, PayloadError, State};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// How many lines a room remembers; the others are in its journal only. What one can scroll through, and some megabytes.
pub(crate) const LINES_MAX: usize = 10_000;

/// The longest line, in bytes: a long paragraph. The rest of a longer one is in the journal only.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 10;

/// A room: the last lines, and who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Room {
    pub(crate) lines: VecDeque<Line>,
    /// Who is in it, by the names of their nodes.
    pub(crate) here: BTreeSet<String>,
}

/// What somebody has said or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Its place in the journal.
    pub(crate) seq: u64,
    /// The place of the first of those that are undone as one with it; its own if it is alone.
    pub(crate) first: u64,
    pub(crate) author: String,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Says,
    Does,
}

/// What is executed, as `convoke journal show` prints it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Command {
    Says {
        says: String,
    },
    Does {
        does: String,
    },
    /// From a program that appends text, and knows nothing of chats.
    Text(String),
    /// From one that is newer than this one, or means something else: nobody is to be locked out of the room by it.
    #[serde(skip_serializing)]
    Other(IgnoredAny),
}

impl State for Room {
    type Command = Command;
    /// What is to be shown, if anything.
    type Output = Option<Line>;

    /// Bytes that are no value at all lock nobody out either: they would stand in the room for ever.
    fn decode(payload: &Payload) -> Result<Command, PayloadError> {
        Ok(payload.decode().unwrap_or(Command::Other(IgnoredAny)))
    }

    fn apply(&mut self, command: &Command, at: &Entry) -> Option<Line> {
        let line = Line::new(command, at)?;
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line.clone());
        Some(line)
    }

    fn presence(&mut self, joined: bool, at: &Entry) {
        match joined {
            true => self.here.insert(at.author.to_string()),
            false => self.here.remove(at.author.as_str()),
        };
    }
}

impl Line {
    fn new(command: &Command, at: &Entry) -> Option<Line> {
        let (kind, text) = match command {
            Command::Says { says: text } | Command::Text(text) => (Kind::Says, text),
            Command::Does { does: text } => (Kind::Does, text),
            Command::Other(_) => return None,
        };
        let text = text[..text.floor_char_boundary(LINE_BYTES_MAX)].to_owned();
        let Deed::Do { first } = at.deed else { return None };
        Some(Line { seq: at.seq, first, author: at.author.to_string(), kind, text })
    }
}
