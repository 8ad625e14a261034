//! Journals: sequences of commands that every follower applies in the same order, and of which any can be undone.
//!
//! An entry says that a command is done, or that an earlier one is undone, or done again. Entries are never changed: what
//! counts as done is a function of all of them, computed by [`UndoList`] in the hub and in every replica alike.
//!
//! The state of a replica is what comes of all commands that count as done, in the order of their places, as if those that
//! are undone had never been. [`Replica`] computes it; that is the whole meaning of undo.

mod acks;
mod replica;
mod strategy;
mod undo;

pub use acks::{AppliedBy, Attendance, MemberApplied, Who};
pub use replica::{Applied, Replica, State, Stuck};
pub use strategy::{Strategy, Touches};
pub(crate) use undo::Unit;
pub use undo::{Scope, UndoList, UndoRefused};

use sha2::{Digest, Sha256};

use crate::name::Name;

/// What an entry of a journal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// A command is done. `first` is the place of the first command of its group, all of which are undone as one; its own
    /// if it is alone or the first; zero if it can never be undone.
    Do {
        /// The place of the first command of the group.
        first: u64,
    },
    /// The command at this place, or the group that begins there, is undone.
    Undo(u64),
    /// It is done again, where it was.
    Redo(u64),
    /// The author, a node, has become a member that says so: from here on it is one.
    Join,
    /// The author is a member no more: it has ended that, has left, or was away for too long.
    Leave,
}

/// Where an entry was first: which hub, and its place in that hub's journal of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The hub.
    pub hub: [u8; 16],
    /// The place there.
    pub seq: u64,
}

/// What is known of an entry where hubs pass journals on to each other, and of commands in groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Where it was first; `None` for here.
    pub origin: Option<Origin>,
    /// Of an undo or redo: where the command, or the first of the group, was first; `None` for here.
    pub target: Option<Origin>,
    /// The group that it is of goes on with the next entry.
    pub more: bool,
}

impl Provenance {
    /// As an entry has it: most have nothing to say.
    pub(crate) fn boxed(self) -> Option<Box<Provenance>> {
        (self != Provenance::default()).then(|| Box::new(self))
    }
}

/// An entry of a journal, without its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the journal: 1 for the first, and one more for each that follows.
    pub seq: u64,
    /// Who is answerable for it.
    pub author: Name,
    /// When the hub took it, in milliseconds since 1970 by the hub's clock. Nothing is decided by it.
    pub wall_ms: u64,
    /// What it says.
    pub deed: Deed,
    /// Where it was first, if that is another hub, and more of that kind.
    pub provenance: Option<Box<Provenance>>,
}

impl Entry {
    /// Where it was first, if that is another hub.
    pub fn origin(&self) -> Option<Origin> {
        self.provenance.as_ref()?.origin
    }
}

/// The hash of an entry: of the hash before it, and of its frames with nothing in the place of the hash.
pub(crate) fn chained(before: &[u8; 16], frames: &[u8]) -> [u8; 16] {
    let digest = Sha256::new().chain_update(before).chain_update(frames).finalize();
    digest[..16].try_into().expect("it has 32 bytes")
}
