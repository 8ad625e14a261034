//! What one watch knows, and what waits in it until its program takes it.
//!
//! Changes come in the order of their revisions, of which there are two sequences: values that are kept durably, and those
//! in memory. In each the watch knows up to where it has everything; from there it goes on when a link comes back. Where
//! the hub cannot go on from there it lists all values anew, and the watch finds out which are gone.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::{author, change};
use crate::bug::{Bug, planted};
use crate::copies::Copies;
use crate::frame::{AFTER_NOTHING, Frame, Value, WatchMode};
use crate::limits::WATCH_WINDOW_BYTES;
use crate::name::{Name, Pattern};
use crate::payload::Payload;
use crate::refusal::Refusal;
use crate::rev::Rev;

/// The hub is told that there is room again when so many bytes were taken since it was last told: often enough that it
/// never waits for a program that is quick.
const TAKEN_BYTES_MIN: usize = WATCH_WINDOW_BYTES / 2;

/// A change of one value, or what the value is when the watch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub name: Name,
    /// What it has now; `None` for nothing any more.
    pub payload: Option<Payload>,
    /// Which change it is. Those of one batch have the same.
    pub rev: Rev,
    /// Who is answerable for it. `$hub` is the hub itself, also where a value was found to be gone and nobody knows who
    /// deleted it.
    pub author: Name,
}

/// What a watch gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// A change.
    Change(Change),
    /// Of the changes here only those from this revision on are still kept. What is there now follows, then what is gone,
    /// then every change again.
    Compacted {
        /// The first that is still kept.
        first: u64,
    },
    /// The hub is another one, was restored, or knows no more of what was before: what it has now follows, then what is
    /// gone.
    Replaced,
    /// The watch has ended; nothing follows.
    Ended(Refusal),
}

/// Who is answerable for what nobody else is.
pub(super) fn hub() -> Name {
    Name::parse("$hub").expect("a name")
}

/// One of the two sequences of revisions.
#[derive(Default)]
struct Domain {
    /// Everything up to here has come.
    cursor: Rev,
    /// Counts how often the hub has begun to list all values anew.
    round: u32,
    /// Revisions that were heard in rounds before this one are those of another history.
    history: u32,
    /// What was not heard of in this round is gone once the hub says that it was all.
    listing: bool,
    /// The program knows of values that this watch was never told.
    blind: bool,
    /// It was told that it has all up to the cursor, also where there was nothing yet.
    complete: bool,
}

impl Domain {
    fn list_anew(&mut self) {
        self.round += 1;
        self.listing = true;
        self.cursor = Rev::default();
        self.complete = false;
    }
}

/// The last that was heard of a key that has a value.
struct Known {
    rev: Rev,
    round: u32,
}

pub(super) struct Watch {
    pattern: Pattern,
    mode: WatchMode,
    durable: Domain,
    memory: Domain,
    known: HashMap<Name, Known, FixedState>,
    /// Of the change before.
    author: Option<Name>,
    /// Changes that happened together, until all of them are there, and their revision.
    group: Vec<(Change, usize)>,
    group_rev: Option<Rev>,
    /// What was read on this link and neither taken nor queued.
    group_bytes: usize,
    queue: VecDeque<(Watched, usize)>,
    queued_bytes: usize,
    /// Bytes that were taken since the hub was told.
    taken: usize,
    /// The hub was asked, on the link that there is now.
    asked: bool,
    /// It has answered at least once.
    begun: bool,
    /// On the link that there is now the hub has said that it was all.
    caught_up: bool,
    /// So many of what is queued are from before that.
    behind: usize,
    ended: bool,
}

impl Watch {
    pub(super) fn new(pattern: Pattern, mode: WatchMode, after: Option<Rev>) -> Watch {
        let mut durable = Domain::default();
        let mut memory = Domain::default();
        if let Some(after) = after {
            let domain = if after.is_durable() { &mut durable } else { &mut memory };
            domain.cursor = after;
            domain.blind = true;
        }
        Watch {
            pattern,
            mode,
            durable,
            memory,
            known: HashMap::default(),
            author: None,
            group: Vec::new(),
            group_rev: None,
            group_bytes: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            taken: 0,
            asked: false,
            begun: false,
            caught_up: false,
            behind: 0,
            ended: false,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// Asks the hub for what comes behind what is known.
    pub(super) fn ask(&mut self, id: u32, control: &mut Vec<u8>) {
        if self.ended {
            return;
        }
        self.asked = true;
        self.taken = 0;
        // What waits here from a link before is taken from the room, and given back when the program takes it.
        let window = WATCH_WINDOW_BYTES.saturating_sub(self.queued_bytes) as u32;
        Frame::Watch {
            id,
            mode: self.mode,
            window,
            after: match self.durable {
                Domain { cursor: Rev { n: 0, .. }, complete: true, .. } => AFTER_NOTHING,
                Domain { cursor, .. } if cursor.n > 0 && planted(Bug::CursorOffByOne) => cursor.n + 1,
                Domain { cursor, .. } => cursor.n,
            },
            after_memory: self.memory.cursor,
            pattern: self.pattern.as_str().as_bytes(),
        }
        .encode(control);
    }

    /// True the first time that the hub is heard about this watch.
    pub(super) fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    pub(super) fn link_lost(&mut self) {
        self.asked = false;
        self.caught_up = false;
        // What was not whole comes again whole.
        self.group.clear();
        self.group_rev = None;
        self.group_bytes = 0;
    }

    /// The hub of the next link is not the one of before, or has not all that it had: nothing that is known counts. True
    /// if the program is to be woken.
    pub(super) fn other_history(&mut self) -> bool {
        let blind = self.durable.blind || self.memory.blind;
        for domain in [&mut self.durable, &mut self.memory] {
            domain.list_anew();
            domain.history = domain.round;
            domain.blind = false;
        }
        let told = !self.ended && (blind || self.begun && self.mode == WatchMode::All);
        if told {
            self.queue.push_back((Watched::Replaced, 0));
        }
        told
    }

    /// The hub lists all values anew. True if the program is to be woken.
    pub(super) fn snapshot(&mut self, durable: bool, memory: bool, first: u64) -> bool {
        self.close_group();
        let mut blind = false;
        for (domain, concerned) in [(&mut self.durable, durable), (&mut self.memory, memory)] {
            if concerned {
                domain.list_anew();
                blind |= std::mem::take(&mut domain.blind);
            }
        }
        self.caught_up = false;
        let news = match first {
            1.. if self.mode == WatchMode::All => Watched::Compacted { first },
            _ if blind => Watched::Replaced,
            _ => return !self.queue.is_empty(),
        };
        self.queue.push_back((news, 0));
        true
    }

    /// Takes a change in. True if the program is to be woken.
    pub(super) fn arrived(
        &mut self,
        value: &Value<'_>,
        control: &mut Vec<u8>,
        copies: &mut Copies,
    ) -> Result<bool, Refusal> {
        let was_empty = self.queue.is_empty();
        if self.group_rev.is_some_and(|rev| rev != value.rev) {
            // What the rest of the group has set was overwritten meanwhile.
            self.close_group();
        }
        self.group_rev = Some(value.rev);
        let bytes = value.frame_bytes();
        let author = author(value.author, self.author.as_ref())?;
        if self.author.as_ref() != Some(&author) {
            self.author = Some(author.clone());
        }
        let change = change(value, author, copies)?;
        if self.is_news(&change) {
            self.group.push((change, bytes));
            self.group_bytes += bytes;
        } else {
            self.credit(value.id, bytes, control);
        }
        if !value.together || planted(Bug::GroupsTornApart) {
            self.close_group();
        } else if self.taken + self.group_bytes >= TAKEN_BYTES_MIN {
            // A group may be longer than the window, and the program gets nothing of it before it is whole.
            for (_, bytes) in &mut self.group {
                *bytes = 0;
            }
            let bytes = std::mem::take(&mut self.group_bytes);
            self.credit(value.id, bytes, control);
        }
        Ok(was_empty && !self.queue.is_empty())
    }

    /// Whether the program has not been told this change, or a later one of its key.
    fn is_news(&mut self, change: &Change) -> bool {
        let domain = if change.rev.is_durable() { &self.durable } else { &self.memory };
        if self.mode == WatchMode::All && change.rev <= domain.cursor {
            return false;
        }
        match self.known.get_mut(&change.name) {
            Some(known) if known.rev.is_durable() == change.rev.is_durable() => {
                let told = known.round >= domain.history && change.rev <= known.rev;
                if told {
                    known.round = domain.round;
                }
                !told
            }
            Some(_) => true,
            // That it has no value is no news to a program that never knew that it had one.
            None => change.payload.is_some() || self.mode == WatchMode::All || domain.blind,
        }
    }

    /// Hands out what happened together.
    fn close_group(&mut self) {
        let Some(rev) = self.group_rev.take() else { return };
        let domain = if rev.is_durable() { &mut self.durable } else { &mut self.memory };
        domain.cursor = domain.cursor.max(rev);
        self.group_bytes = 0;
        for (change, bytes) in self.group.drain(..) {
            if change.payload.is_some() {
                let known = Known { rev, round: domain.round };
                self.known.insert(change.name.clone(), known);
            } else {
                self.known.remove(&change.name);
            }
            self.queued_bytes += bytes;
            self.queue.push_back((Watched::Change(change), bytes));
        }
    }

    /// The hub has told all that there is, up to this durable revision. `epoch` is its own.
    pub(super) fn caught_up(&mut self, durable: u64, epoch: u64) {
        self.close_group();
        self.durable.cursor = self.durable.cursor.max(Rev::durable(durable));
        self.durable.complete = true;
        if self.durable.listing || self.memory.listing {
            self.delete_unlisted(epoch);
        }
        self.caught_up = true;
        self.behind = self.queue.len();
    }

    /// What the hub did not list is gone.
    fn delete_unlisted(&mut self, epoch: u64) {
        let (durable, memory) = (&self.durable, &self.memory);
        let is_gone = |known: &Known| {
            let domain = if known.rev.is_durable() { durable } else { memory };
            domain.listing && known.round != domain.round
        };
        let mut gone: Vec<(Name, Rev)> = Vec::new();
        self.known.retain(|name, known| {
            let keep = !is_gone(known);
            if !keep {
                gone.push((name.clone(), known.rev));
            }
            keep
        });
        gone.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (name, rev) in gone {
            let rev = match rev.is_durable() {
                true => durable.cursor,
                false if memory.cursor.epoch == epoch => memory.cursor,
                false => Rev { epoch, n: 0 },
            };
            let change = Change { name, payload: None, rev, author: hub() };
            self.queue.push_back((Watched::Change(change), 0));
        }
        self.durable.listing = false;
        self.memory.listing = false;
    }

    /// The hub will not serve it any more, or the node has ended. True if it had never begun.
    pub(super) fn end(&mut self, why: Refusal) -> bool {
        if self.ended {
            return false;
        }
        self.link_lost();
        self.ended = true;
        self.queue.push_back((Watched::Ended(why), 0));
        self.begins()
    }

    pub(super) fn take(&mut self, id: u32, control: &mut Vec<u8>) -> Option<Watched> {
        let (next, bytes) = self.queue.pop_front()?;
        self.behind = self.behind.saturating_sub(1);
        self.queued_bytes -= bytes;
        self.credit(id, bytes, control);
        Some(next)
    }

    /// So many bytes are taken; the hub is told when they are many.
    fn credit(&mut self, id: u32, bytes: usize, control: &mut Vec<u8>) {
        if !self.asked {
            return;
        }
        self.taken += bytes;
        if self.taken >= TAKEN_BYTES_MIN {
            let bytes = std::mem::take(&mut self.taken) as u32;
            Frame::Taken { id, bytes }.encode(control);
        }
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.caught_up && self.behind == 0
    }
}
