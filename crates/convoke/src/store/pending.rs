//! Rows that the hub has asked to keep and that are not on disk yet. Until they are, their operations are.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use convoke_core::foundation::RowKey;

/// The newest of each row that was asked for since tables were written last.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    /// `None` for a row that is gone.
    rows: BTreeMap<RowKey, Option<Bytes>>,
    /// The position that they reach.
    pos: Option<u64>,
    /// Keys and rows, in bytes.
    bytes: usize,
}

impl Pending {
    /// Takes what one `Tables` asks for.
    pub(super) fn add(&mut self, pos: u64, puts: Vec<(RowKey, Bytes)>, deletes: Vec<RowKey>) {
        for (key, row) in puts {
            self.put(key, Some(row));
        }
        for key in deletes {
            self.put(key, None);
        }
        self.pos = Some(pos);
    }

    fn put(&mut self, key: RowKey, row: Option<Bytes>) {
        let key_bytes = key.key.len();
        self.bytes += key_bytes + row.as_ref().map_or(0, Bytes::len);
        if let Some(before) = self.rows.insert(key, row) {
            self.bytes -= key_bytes + before.map_or(0, |row| row.len());
        }
    }

    /// Takes rows that were asked for before these.
    pub(super) fn put_under(&mut self, older: Arc<Pending>) {
        let newer = mem::replace(self, Arc::try_unwrap(older).unwrap_or_else(|older| (*older).clone()));
        for (key, row) in newer.rows {
            self.put(key, row);
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
        self.rows.range(key..).map(|(key, row)| (key, row.as_ref()))
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
