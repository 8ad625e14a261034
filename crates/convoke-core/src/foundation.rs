//! What the hub's state and its foundation say to each other.
//!
//! The foundation orders operations and keeps them, and keeps the rows of the state that come of them. It understands
//! neither. There are several: [`Memory`] keeps nothing, a store keeps on this machine, a backbone in an engine that hubs
//! share. The hub asks with [`Ask`] and is told with [`Told`]; it never waits.
//!
//! The order of the conversation:
//!
//! 1. The hub asks for `Snapshot` once, first. It is told `Rows`, as often as it takes, with the position that they reach;
//!    then `Committed` for every operation behind that position, in their order; then `Ready`.
//! 2. The hub asks to `Append` operations. Each is told `Committed` when it is ordered and kept as safely as this foundation
//!    keeps anything, in the order of positions, together with those of other hubs; or `NotDone`, when it certainly is
//!    not and never will be; or `Uncertain`, when the foundation does not know: then the hub appends it again, and drops
//!    what comes twice when it is applied. If that one is `NotDone`, the first may be kept nevertheless: but then it was told
//!    to be committed before. Operations of one hub are committed in the order in which they were appended.
//! 3. After applying what was committed the hub asks to keep the `Tables` that changed, with the position that they reach.
//!    Nothing waits for that: until it is done, the operations are kept instead.
//! 4. `Read` is told `ReadDone` with old rows, among them all that were asked to be kept before it; `Barrier` is told
//!    `BarrierDone` when everything that anybody was told to be committed before it has been told to this hub too.
//! 5. `Failed` is the last thing that is told: nothing is acknowledged any more.

use bytes::Bytes;

pub use crate::kept::{Amount, Audit};

use crate::frame::{Appended, Change};
use crate::operation::Operation;
use crate::refusal::Refusal;

/// The number of the form that operations and rows have. A foundation that keeps them for longer than the program runs keeps it
/// beside them, and gives none back that were written in another form.
///
/// It grows whenever a kind of operation or a table comes, goes, or gets another form; a test knows all that belong to it.
pub const FORMAT: u64 = 4;

/// Names an append, a read or a barrier until it is answered. The hub counts them.
pub type Ticket = u64;

/// Tables of this number and above may be long: their rows are not told with a snapshot, only to who reads them.
pub const READ_ONLY: u8 = 0x80;

/// What a row is found by: the number of its table and its key. Rows of a table are ordered by their keys' bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The table.
    pub table: u8,
    /// The key in it.
    pub key: Bytes,
}

/// What has become of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// It is there now, and none of its key ever was: one that goes before it is kept need not be.
    New(Bytes),
    /// It is this now.
    Put(Bytes),
    /// It is gone.
    Gone,
}

impl RowChange {
    /// The row, unless it is gone.
    pub fn row(&self) -> Option<&Bytes> {
        match self {
            RowChange::New(row) | RowChange::Put(row) => Some(row),
            RowChange::Gone => None,
        }
    }
}

/// What an operation does to the room on a disk that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It adds to what is kept.
    Takes,
    /// It takes values, entries or rights away: a foundation without room gives it what it has set aside for that.
    Makes,
    /// It says who is about to ask for either.
    Begins,
    /// It lets something go by itself: it is asked for again and again, and nobody waits for it.
    Unasked,
}

impl Room {
    /// That of an operation. One that this version does not know adds to what is kept.
    pub fn of(operation: &[u8]) -> Room {
        match Operation::decode(operation) {
            Ok(Operation::Write { items, .. }) if items.iter().all(|item| item.set.is_none()) => Room::Makes,
            Ok(Operation::Grant { change: Change::Revoke | Change::Rules(_) | Change::Key(_), .. }) => Room::Makes,
            Ok(Operation::Append { appended: Appended::Compact(_), .. }) => Room::Makes,
            Ok(Operation::Begin { .. }) => Room::Begins,
            Ok(Operation::Expire { .. } | Operation::Forget { .. }) => Room::Unasked,
            Ok(
                Operation::Write { .. }
                | Operation::Append { .. }
                | Operation::Presence { .. }
                | Operation::Fence { .. }
                | Operation::Grant { .. },
            )
            | Err(_) => Room::Takes,
        }
    }
}

/// What the hub asks its foundation for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Tell all that is kept.
    Snapshot,
    /// Order and keep this operation.
    Append {
        /// For the answer.
        ticket: Ticket,
        /// The operation.
        operation: Bytes,
    },
    /// Keep these rows; they are what the state is at this position.
    Tables {
        /// The position.
        pos: u64,
        /// Rows that have changed, in the order in which they did: of one that is there twice the later counts.
        rows: Vec<(RowKey, RowChange)>,
    },
    /// Tell rows of a table whose keys are in a range, from the first on.
    Read {
        /// For the answer.
        ticket: Ticket,
        /// The table.
        table: u8,
        /// The first key, itself included.
        from: Bytes,
        /// About so many bytes are enough; at least one row is told if there is one.
        bytes_max: usize,
    },
    /// Tell when everything that was committed before now has been told.
    Barrier {
        /// For the answer.
        ticket: Ticket,
    },
}

/// What the foundation tells the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Rows of the snapshot, all of the state at this position.
    Rows {
        /// The position that they reach, the same in each.
        pos: u64,
        /// Some of them.
        rows: Vec<(RowKey, Bytes)>,
    },
    /// The snapshot and what follows it was told.
    Ready,
    /// An operation is ordered and kept.
    Committed {
        /// Its place; one more than that of the one before, unless positions were used otherwise.
        pos: u64,
        /// Of the hub that appended it; `None` for one of another hub, or of an earlier start.
        ticket: Option<Ticket>,
        /// The operation.
        operation: Bytes,
    },
    /// The operation is not kept and will not be.
    NotDone {
        /// Of which.
        ticket: Ticket,
        /// Why not.
        why: Refusal,
    },
    /// Nobody knows whether the operation is kept.
    Uncertain {
        /// Of which.
        ticket: Ticket,
    },
    /// Rows that were asked for, in the order of their keys.
    ReadDone {
        /// Of which.
        ticket: Ticket,
        /// The rows.
        rows: Vec<(RowKey, Bytes)>,
    },
    /// Everything that was committed before the barrier was asked for has been told.
    BarrierDone {
        /// Of which.
        ticket: Ticket,
    },
    /// Nothing can be kept any more.
    Failed(Refusal),
}

/// The foundation of a hub that keeps nothing over its end.
#[derive(Debug, Default)]
pub struct Memory {
    pos: u64,
    rows: std::collections::BTreeMap<RowKey, Bytes>,
}

impl Memory {
    /// Answers at once.
    pub fn ask(&mut self, ask: Ask, mut tell: impl FnMut(Told)) {
        match ask {
            Ask::Snapshot => {
                let rows = self.rows.iter().filter(|(key, _)| key.table < READ_ONLY);
                let rows = rows.map(|(key, row)| (key.clone(), row.clone())).collect();
                tell(Told::Rows { pos: self.pos, rows });
                tell(Told::Ready);
            }
            Ask::Append { ticket, operation } => {
                self.pos += 1;
                tell(Told::Committed { pos: self.pos, ticket: Some(ticket), operation });
            }
            Ask::Tables { rows, .. } => {
                for (key, change) in rows {
                    let Some(row) = change.row() else {
                        self.rows.remove(&key);
                        continue;
                    };
                    // What comes may be a piece of memory that holds others, of which most are soon gone.
                    let RowKey { table, key } = key;
                    let row = if table < READ_ONLY { Bytes::copy_from_slice(row) } else { row.clone() };
                    self.rows.insert(RowKey { table, key: Bytes::copy_from_slice(&key) }, row);
                }
            }
            Ask::Read { ticket, table, from, bytes_max } => {
                let mut bytes = 0;
                let from = RowKey { table, key: from };
                let rows = self.rows.range(from..).take_while(|(key, row)| {
                    let room = key.table == table && (bytes == 0 || bytes < bytes_max);
                    bytes += key.key.len() + row.len();
                    room
                });
                let rows = rows.map(|(key, row)| (key.clone(), row.clone())).collect();
                tell(Told::ReadDone { ticket, rows });
            }
            Ask::Barrier { ticket } => tell(Told::BarrierDone { ticket }),
        }
    }
}
