//! Whose turn it is on a link: its watches and gets that something waits for, one after the other, so that none waits for
//! all of another.

use std::collections::BTreeMap;

use super::{Asked, GetKey};
use crate::limits::LOOKED_AT_REFILL;
use crate::time::Time;

/// Names a turn on its link, until it has come or is not wanted any more. Zero is none.
pub(in crate::hub) type Turn = u64;

/// The turns of a link. Taking one out costs the logarithm of how many there are: ten thousand watches that end together
/// must not search for theirs through those of all others.
#[derive(Default)]
pub(in crate::hub) struct Turns {
    last: Turn,
    ready: BTreeMap<Turn, Asked>,
    /// Those that have to look at more than they may at once.
    looking: BTreeMap<Turn, Asked>,
    /// So many rows may be looked at in vain before others have their turn. Below zero if something had to be looked for at
    /// once: that is waited for later.
    pub(super) rows_left: i64,
    /// The get that is told now. It has its turns among the rest.
    pub(super) told: Option<GetKey>,
    /// Gets that wait for the end of that one.
    gets: BTreeMap<Turn, GetKey>,
    /// When it may have looked at as many anew.
    refilled: Time,
    /// Its place among the links that have to look further; zero for none.
    pub(super) looks: Turn,
}

impl Turns {
    /// Nobody waits, and so many rows may be looked at.
    pub(in crate::hub) fn new(at_once: i64) -> Turns {
        Turns { rows_left: at_once, ..Turns::default() }
    }

    fn turn(&mut self) -> Turn {
        self.last += 1;
        self.last
    }

    /// It may take something.
    pub(in crate::hub) fn push(&mut self, asked: Asked) -> Turn {
        let turn = self.turn();
        self.ready.insert(turn, asked);
        turn
    }

    /// It has to look further.
    pub(super) fn push_looking(&mut self, asked: Asked) -> Turn {
        let turn = self.turn();
        self.looking.insert(turn, asked);
        turn
    }

    /// Its turn comes when the gets before it have ended.
    pub(super) fn push_get(&mut self, get: GetKey) -> Turn {
        let turn = self.turn();
        self.gets.insert(turn, get);
        turn
    }

    /// The next get that waits for the end of another.
    pub(super) fn next_get(&mut self) -> Option<GetKey> {
        self.gets.pop_first().map(|(_, get)| get)
    }

    /// Whose turn it is. Those that look have it first as long as they may: they look for little, and what tells much would
    /// never leave room.
    pub(super) fn next(&mut self) -> Option<Asked> {
        if self.rows_left > 0
            && let Some((_, asked)) = self.looking.pop_first()
        {
            return Some(asked);
        }
        self.ready.pop_first().map(|(_, asked)| asked)
    }

    /// Whether some have to look further, and may not now.
    pub(super) fn is_looking(&self) -> bool {
        self.rows_left <= 0 && !self.looking.is_empty()
    }

    /// Others have had their turn.
    pub(super) fn may_look(&mut self, at_once: i64, now: Time) {
        (self.looks, self.refilled) = (0, now);
        self.rows_left = at_once.min(self.rows_left + at_once);
    }

    /// The link may look further without waiting for its turn if it has looked at little for long.
    pub(super) fn refill(&mut self, at_once: i64, now: Time) {
        if self.looks == 0 && now.since(self.refilled) >= LOOKED_AT_REFILL {
            self.may_look(at_once, now);
        }
    }

    /// Whether nobody waits for a turn.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.looking.is_empty()
    }

    /// It wants its turn no longer.
    pub(in crate::hub) fn remove(&mut self, turn: Turn) {
        self.ready.remove(&turn);
        self.looking.remove(&turn);
        self.gets.remove(&turn);
    }
}
