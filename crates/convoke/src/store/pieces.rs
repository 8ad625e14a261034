//! A table whose rows may be long. redb gives a row that does not fit into a page one of the next power of two, which for
//! one a little longer than a power of two is twice what it needs. So a long row is cut here into pieces that each fill a
//! page of their own, and a rest that shares one with others.

use std::ops::Bound;

use bytes::Bytes;
use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, StorageError, Table, TableDefinition, WriteTransaction};

use super::file::Unusable;

/// redb's smallest page, in bytes.
const PAGE_BYTES: usize = 4 << 10;

/// The longest pages for pieces are so many times longer, as a power of two: with few sizes a page that is given back fits
/// what comes next.
const ORDER_MAX: u32 = 4;

/// What redb writes into a page beside one key and its row, in bytes, and what is written here: the number of a piece, or
/// of the pieces.
const HEAD_BYTES: usize = 4 + 2 * size_of::<u32>() + size_of::<u16>();

/// The longest key, in bytes: names are shorter.
const KEY_BYTES_MAX: usize = 1 << 10;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Where the rows of a table are.
#[derive(Clone, Copy)]
pub(super) struct LongTable {
    /// How many pieces come before it, as a u16 in little-endian order, and the rest of the row.
    rests: Definition,
    /// By the row's key and the number of the piece, as a u16 in big-endian order.
    pieces: Definition,
}

impl LongTable {
    pub(super) const fn new(rests: &'static str, pieces: &'static str) -> LongTable {
        LongTable { rests: TableDefinition::new(rests), pieces: TableDefinition::new(pieces) }
    }

    /// Opens it to be changed; made if it is not there.
    pub(super) fn write<'t>(&self, transaction: &'t WriteTransaction) -> Result<Writing<'t>, Unusable> {
        let (rests, pieces) = (transaction.open_table(self.rests)?, transaction.open_table(self.pieces)?);
        Ok(Writing { rests, pieces, rest: Vec::new(), piece_key: Vec::new() })
    }

    /// Opens it to be read.
    pub(super) fn read(&self, transaction: &ReadTransaction) -> Result<Reading, Unusable> {
        Ok(Reading { rests: transaction.open_table(self.rests)?, pieces: transaction.open_table(self.pieces)? })
    }
}

/// How much of a row fits into a page of this order, alone with its key.
fn room(order: u32, key: &[u8]) -> usize {
    (PAGE_BYTES << order) - HEAD_BYTES - key.len()
}

/// The next piece of a row of which so much is left; none for what shares a page.
fn next_piece(left: usize, key: &[u8]) -> Option<usize> {
    (0..=ORDER_MAX).rev().map(|order| room(order, key)).find(|room| left >= *room)
}

fn number_of_pieces(rest: &[u8]) -> Result<(u16, &[u8]), Unusable> {
    let (count, rest) = rest.split_first_chunk().ok_or_else(|| Unusable::Corrupt("a row has no beginning".into()))?;
    Ok((u16::from_le_bytes(*count), rest))
}

fn name_piece(key: &[u8], number: u16, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(key);
    into.extend_from_slice(&number.to_be_bytes());
}

/// A row of which this is the rest, and whose pieces can be had by their keys; `None` if one is missing.
pub(super) fn put_together(key: &[u8], rest: &[u8], piece: impl Fn(&[u8]) -> Option<Bytes>) -> Option<Bytes> {
    let (count, rest) = number_of_pieces(rest).ok()?;
    let (mut row, mut piece_key) = (Vec::new(), Vec::new());
    for number in 0..count {
        name_piece(key, number, &mut piece_key);
        row.extend_from_slice(&piece(&piece_key)?);
    }
    row.extend_from_slice(rest);
    Some(row.into())
}

/// A table in a transaction that changes it.
pub(super) struct Writing<'t> {
    rests: Table<'t, &'static [u8], &'static [u8]>,
    pieces: Table<'t, &'static [u8], &'static [u8]>,
    /// Used again and again.
    rest: Vec<u8>,
    piece_key: Vec<u8>,
}

impl Writing<'_> {
    /// Puts a row, in the place of another perhaps.
    pub(super) fn put(&mut self, key: &[u8], row: &[u8]) -> Result<(), Unusable> {
        assert!(key.len() <= KEY_BYTES_MAX, "keys are names, or shorter");
        let (mut left, mut count) = (row, 0_u16);
        while let Some(len) = next_piece(left.len(), key) {
            let (piece, behind) = left.split_at(len);
            name_piece(key, count, &mut self.piece_key);
            self.pieces.insert(&self.piece_key[..], piece)?;
            (left, count) = (behind, count.checked_add(1).expect("a row is shorter than 64 Ki pages"));
        }
        self.rest.clear();
        self.rest.extend_from_slice(&count.to_le_bytes());
        self.rest.extend_from_slice(left);
        let before = count_before(self.rests.insert(key, &self.rest[..])?.as_ref())?;
        self.remove_pieces(key, count, before)
    }

    /// Takes a row out, if it is there.
    pub(super) fn remove(&mut self, key: &[u8]) -> Result<(), Unusable> {
        let before = count_before(self.rests.remove(key)?.as_ref())?;
        self.remove_pieces(key, 0, before)
    }

    fn remove_pieces(&mut self, key: &[u8], from: u16, to: u16) -> Result<(), Unusable> {
        for number in from..to {
            name_piece(key, number, &mut self.piece_key);
            self.pieces.remove(&self.piece_key[..])?;
        }
        Ok(())
    }
}

/// How many pieces a row had that is not there any more.
fn count_before(rest: Option<&AccessGuard<'_, &[u8]>>) -> Result<u16, Unusable> {
    rest.map_or(Ok(0), |rest| Ok(number_of_pieces(rest.value())?.0))
}

/// A table at one moment.
pub(super) struct Reading {
    rests: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pieces: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Reading {
    /// The keys from this one on, in their order; the row of each can be asked for.
    pub(super) fn from(&self, key: &[u8]) -> Result<impl Iterator<Item = Result<Row<'_>, StorageError>>, StorageError> {
        let found = self.rests.range::<&[u8]>((Bound::Included(key), Bound::Unbounded))?;
        Ok(found.map(move |found| found.map(|(key, rest)| Row { key, rest, pieces: &self.pieces })))
    }
}

/// A row that was found.
pub(super) struct Row<'t> {
    key: AccessGuard<'t, &'static [u8]>,
    rest: AccessGuard<'t, &'static [u8]>,
    pieces: &'t ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Row<'_> {
    pub(super) fn key(&self) -> &[u8] {
        self.key.value()
    }

    /// All of it.
    pub(super) fn whole(&self) -> Result<Bytes, Unusable> {
        let (count, rest) = number_of_pieces(self.rest.value())?;
        if count == 0 {
            return Ok(Bytes::copy_from_slice(rest));
        }
        let (mut row, mut piece_key) = (Vec::new(), Vec::new());
        for number in 0..count {
            name_piece(self.key(), number, &mut piece_key);
            let piece = self.pieces.get(&piece_key[..])?;
            let piece = piece.ok_or_else(|| Unusable::Corrupt("a piece of a long row is missing".into()))?;
            row.extend_from_slice(piece.value());
        }
        row.extend_from_slice(rest);
        Ok(row.into())
    }
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _, backends::InMemoryBackend};

    use super::*;

    const TABLE: LongTable = LongTable::new("rests", "pieces");

    fn change(database: &Database, change: impl FnOnce(&mut Writing<'_>)) {
        let transaction = database.begin_write().unwrap();
        change(&mut TABLE.write(&transaction).unwrap());
        transaction.commit().unwrap();
    }

    fn all(database: &Database) -> Vec<(Vec<u8>, usize)> {
        let table = TABLE.read(&database.begin_read().unwrap()).unwrap();
        let rows = table.from(&[]).unwrap().map(|row| {
            let row = row.unwrap();
            let whole = row.whole().unwrap();
            assert!(whole.iter().enumerate().all(|(at, byte)| *byte == (at / 7) as u8), "{:?}", row.key());
            (row.key().to_vec(), whole.len())
        });
        rows.collect()
    }

    fn row(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 7) as u8).collect()
    }

    #[test]
    fn a_row_of_any_length_is_what_was_put_last() {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let around = |len: usize| (len - 40)..(len + 40);
        let mut lens: Vec<usize> = around(4096).chain(around(8192)).chain(around(65_536)).collect();
        lens.extend([0, 1, 100, 300_000, 1 << 20, 0, 262_144, 50]);
        for len in lens {
            change(&database, |table| {
                for key in [&b"a"[..], b"a/b", &[b'x'; 512]] {
                    table.put(key, &row(len)).unwrap();
                }
            });
            let expected = [b"a".to_vec(), b"a/b".to_vec(), vec![b'x'; 512]].map(|key| (key, len));
            assert_eq!(all(&database), expected);
        }
        change(&database, |table| table.put(b"a", &row(300_000)).unwrap());
        change(&database, |table| table.remove(b"a/b").unwrap());
        assert_eq!(all(&database).len(), 2);
        // Longer than the one before it, and behind it.
        change(&database, |table| table.put(b"a\0", &row(300_000)).unwrap());
        change(&database, |table| table.remove(b"a").unwrap());
        assert_eq!(all(&database), [(b"a\0".to_vec(), 300_000), (vec![b'x'; 512], 50)]);
        change(&database, |table| {
            table.remove(b"a\0").unwrap();
            table.remove(&[b'x'; 512]).unwrap();
        });
        // Nothing of them stays behind.
        let transaction = database.begin_read().unwrap();
        let table = TABLE.read(&transaction).unwrap();
        assert_eq!((table.rests.len().unwrap(), table.pieces.len().unwrap()), (0, 0));
    }

    #[test]
    fn a_long_row_takes_little_more_than_its_length() {
        const ROWS: u64 = 40;
        for len in [4_300, 70_000, 131_200, 262_400] {
            let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
            let used = || {
                let transaction = database.begin_write().unwrap();
                let stats = transaction.stats().unwrap();
                transaction.abort().unwrap();
                stats.allocated_pages() * stats.page_size() as u64
            };
            change(&database, |_| {});
            let before = used();
            change(&database, |table| {
                for key in 0..ROWS {
                    table.put(&key.to_be_bytes(), &row(len)).unwrap();
                }
            });
            // So that what the changes before have freed is free.
            change(&database, |_| {});
            change(&database, |_| {});
            let (used, held) = (used() - before, ROWS * len as u64);
            assert!(used < held + held / 4, "{used} for {held} in rows of {len}");
        }
    }
}
