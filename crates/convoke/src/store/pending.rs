//! Rows that the hub has asked to keep and that are not on disk yet. Until they are, their operations are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use convoke_core::foundation::{RowChange, RowKey};

/// The newest of each row that was asked for since tables were written last.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    rows: BTreeMap<RowKey, RowChange>,
    /// The position that they reach.
    pos: Option<u64>,
    /// Keys and rows, in bytes.
    bytes: usize,
}

impl Pending {
    /// Takes what one `Tables` asks for.
    pub(super) fn add(&mut self, pos: u64, rows: Vec<(RowKey, RowChange)>) {
        for (key, change) in rows {
            self.put(key, change);
        }
        self.pos = Some(pos);
    }

    fn put(&mut self, key: RowKey, change: RowChange) {
        let bytes = |key: &RowKey, change: &RowChange| key.key.len() + change.row().map_or(0, Bytes::len);
        let more = bytes(&key, &change);
        match self.rows.entry(key) {
            Entry::Vacant(place) => {
                self.bytes += more;
                place.insert(change);
            }
            Entry::Occupied(mut place) => {
                self.bytes -= bytes(place.key(), place.get());
                match (place.get(), change) {
                    // No file has it.
                    (RowChange::New(_), RowChange::Gone) => {
                        place.remove();
                        return;
                    }
                    (RowChange::New(_), RowChange::Put(row)) => drop(place.insert(RowChange::New(row))),
                    (RowChange::Put(_) | RowChange::Gone, RowChange::New(row)) => {
                        drop(place.insert(RowChange::Put(row)));
                    }
                    (_, change) => drop(place.insert(change)),
                }
                self.bytes += more;
            }
        }
    }

    /// Takes rows that were asked for before these, and of which nobody knows whether a file has them.
    pub(super) fn put_under(&mut self, older: Arc<Pending>) {
        let newer = mem::replace(self, Arc::try_unwrap(older).unwrap_or_else(|older| (*older).clone()));
        for change in self.rows.values_mut() {
            if let RowChange::New(row) = change {
                *change = RowChange::Put(mem::take(row));
            }
        }
        for (key, change) in newer.rows {
            self.put(key, change);
        }
        self.pos = newer.pos.or(self.pos);
    }

    /// The position that the rows reach; `None` if there is nothing to write.
    pub(super) fn pos(&self) -> Option<u64> {
        self.pos
    }

    /// Keys and rows, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All rows in the order of their keys, from this key on; `None` for one that is gone.
    pub(super) fn from(&self, key: &RowKey) -> impl Iterator<Item = (&RowKey, Option<&Bytes>)> {
        self.rows.range(key..).map(|(key, change)| (key, change.row()))
    }
}

/// All rows in the order of their keys, from this key on, the newer of each; `None` for one that is gone.
pub(super) fn newest<'a>(
    older: Option<&'a Pending>,
    newer: &'a Pending,
    key: &RowKey,
) -> impl Iterator<Item = (&'a RowKey, Option<&'a Bytes>)> {
    let mut older = older.into_iter().flat_map(|older| older.from(key)).peekable();
    let mut newer = newer.from(key).peekable();
    std::iter::from_fn(move || {
        let Some((key, _)) = newer.peek() else { return older.next() };
        if let Some(before) = older.next_if(|(older, _)| older < key) {
            return Some(before);
        }
        older.next_if(|(older, _)| older == key);
        newer.next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: u8) -> RowKey {
        RowKey { table: 1, key: vec![key].into() }
    }

    fn of(changes: &[(u8, RowChange)]) -> Pending {
        let mut pending = Pending::default();
        pending.add(1, changes.iter().map(|(n, change)| (key(*n), change.clone())).collect());
        pending
    }

    /// Keys with their rows; `None` for one that is to be taken away.
    fn rows(pending: &Pending) -> Vec<(u8, Option<&[u8]>)> {
        pending.from(&key(0)).map(|(key, row)| (key.key[0], row.map(|row| &row[..]))).collect()
    }

    const OLD: RowChange = RowChange::Put(Bytes::from_static(b"old"));
    const LATER: RowChange = RowChange::Put(Bytes::from_static(b"later"));
    const NEW: RowChange = RowChange::New(Bytes::from_static(b"new"));
    const GONE: RowChange = RowChange::Gone;

    #[test]
    fn a_new_row_that_goes_before_it_is_written_is_not_written() {
        let pending = of(&[(1, NEW), (2, OLD), (3, NEW), (4, NEW), (3, LATER), (1, GONE), (2, GONE), (3, GONE)]);
        assert_eq!(rows(&pending), [(2, None), (4, Some(&b"new"[..]))]);
        assert_eq!((pending.pos(), pending.bytes()), (Some(1), 1 + 1 + 3));
        // Whether what went and came was ever written, nobody knows any more.
        assert_eq!(rows(&of(&[(1, OLD), (1, GONE), (1, NEW), (1, GONE)])), [(1, None)]);
    }

    #[test]
    fn a_row_that_may_be_written_already_is_taken_away() {
        let mut pending = of(&[(1, GONE), (2, LATER), (3, NEW)]);
        pending.put_under(Arc::new(of(&[(1, NEW), (2, NEW), (4, NEW)])));
        assert_eq!(rows(&pending), [(1, None), (2, Some(&b"later"[..])), (3, Some(b"new")), (4, Some(b"new"))]);
        pending.add(2, [2, 3, 4].map(|n| (key(n), GONE)).into());
        assert_eq!(rows(&pending), [(1, None), (2, None), (4, None)]);
        assert_eq!(pending.bytes(), 3);
    }
}
