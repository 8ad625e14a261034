//! Looks through all that a hub keeps, without a hub: whether each row is one, and whether each journal is what was appended
//! to it, from its first entry to its last. And what is good of it where something is not.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::journals::JournalId;
use super::rows::{self, ENTRIES, PIECES, value_from_row};
use super::snapshots::{Snapshot, piece_from_key};
use super::{Kept, Values, entry_key};
use crate::foundation::{READ_ONLY, RowChange, RowKey};
use crate::frame::{Expect, Frame, FrameError, Incarnation, Told};
use crate::journal::{Deed, Origin, chained};
use crate::name::Name;
use crate::operation::Operation;

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Values that are set.
    pub values: u64,
    /// Journals.
    pub journals: u64,
    /// Entries of all journals.
    pub entries: u64,
    /// Tokens, and others that may join.
    pub tokens: u64,
}

/// A journal as far as its entries were looked at.
struct Chain {
    name: Name,
    /// What its row says.
    last: u64,
    hash: [u8; 16],
    /// Its last good entry, and the hash of that.
    good: u64,
    good_hash: [u8; 16],
    /// The last entry that was said to count, when it was looked at.
    given: u64,
    /// Members, as its good entries say.
    present: BTreeSet<Name>,
    /// The last that each other hub has in its good entries; `None` where entries are not all there from the first on.
    known: Option<BTreeMap<[u8; 16], u64>>,
    /// Why no entry behind the last good one counts.
    broken: Option<&'static str>,
}

/// Looks through what a hub keeps: give it the rows in the order of their keys, then [`end`](Audit::end) them, then the
/// operations behind them. Holds in memory what a hub would.
pub struct Audit {
    kept: Kept,
    pos: u64,
    chains: BTreeMap<JournalId, Chain>,
    /// Rows are missing, and nobody knows which.
    lossy: bool,
    units: Vec<Bytes>,
    present: Vec<Bytes>,
    /// How long the good pieces of each upload are together, with their keys.
    pieces: BTreeMap<(JournalId, u64), (u64, Vec<Bytes>)>,
    forgotten: Incarnation,
    /// The highest position that a value speaks of.
    highest: u64,
}

impl Audit {
    /// Of rows that reach this position.
    pub fn new(pos: u64) -> Audit {
        Audit {
            kept: Kept::new(0, 0),
            pos,
            chains: BTreeMap::new(),
            lossy: false,
            units: Vec::new(),
            present: Vec::new(),
            pieces: BTreeMap::new(),
            forgotten: Incarnation::default(),
            highest: 0,
        }
    }

    /// Rows are missing: what depended on them is not decided anew.
    pub fn rows_are_missing(&mut self) {
        self.lossy = true;
    }

    /// All rows were given, and nobody knows which position they reach: it is taken to be that of the last value, and given.
    pub fn ends_at_the_last_value(&mut self) -> u64 {
        (self.pos, self.kept.pos) = (self.highest, self.highest);
        self.highest
    }

    /// The next row. False if it is an entry behind one that is missing or not what was appended, or this one.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence. The audit goes on without it.
    pub fn row(&mut self, key: &RowKey, row: &Bytes) -> Result<bool, String> {
        if key.table == ENTRIES {
            return self.entry(&key.key, row);
        }
        if key.table == PIECES {
            return self.piece(&key.key, row).map(|()| true);
        }
        let bad = |error: FrameError| format!("a row of {} is none: {error}", table(key.table));
        if key.table == rows::VALUES {
            let value = value_from_row(&key.key, row).map_err(bad)?;
            Name::parse(value.name).map_err(|error| format!("a value has a name that is none: {error}"))?;
            if value.place.0 > self.pos {
                return Err(format!("the value of `{}` is of a time that has not been yet", value.name));
            }
            self.highest = self.highest.max(value.place.0);
        }
        if let rows::UNITS | rows::PRESENT | rows::PASTS | rows::COME | rows::FOREIGN = key.table {
            let id = key.key.first_chunk().map(|id| JournalId::from_be_bytes(*id));
            if !id.is_some_and(|id| self.chains.contains_key(&id)) {
                return Err(format!("a row of {} belongs to a journal that is not there", table(key.table)));
            }
        }
        self.kept.restore(self.pos, &[(key.clone(), row.clone())]).map_err(bad)?;
        match key.table {
            rows::UNITS => self.units.push(key.key.clone()),
            rows::PRESENT => self.present.push(key.key.clone()),
            rows::PASTS => {
                // What is looked at next are the entries, from the first that is kept.
                let id = key.key.first_chunk().map_or(0, |id| JournalId::from_be_bytes(*id));
                if let (Some(past), Some(chain)) = (self.kept.journals.past_of(id), self.chains.get_mut(&id)) {
                    (chain.good, chain.good_hash) = (past.first() - 1, *past.before());
                    if past.first() > 1 {
                        chain.known = None;
                        // Of those who joined before that, only these rows tell. Entries say who left since.
                        let of_it = self.present.iter().filter(|key| key.starts_with(&id.to_be_bytes()));
                        chain.present.extend(of_it.filter_map(|key| Name::from_bytes(&key[4..]).ok()));
                    }
                }
            }
            rows::JOURNALS => {
                let name = Name::from_bytes(&key.key).map_err(|error| error.to_string())?;
                let Some(id) = self.kept.journals.find(&name) else { return Ok(false) };
                let journal = self.kept.journals.get(id);
                let (last, hash) = (journal.last(), journal.hash());
                let chain = Chain {
                    name,
                    last,
                    hash,
                    good: 0,
                    good_hash: [0; 16],
                    given: 0,
                    present: BTreeSet::new(),
                    known: Some(BTreeMap::new()),
                    broken: None,
                };
                self.chains.insert(id, chain);
            }
            rows::WINDOWS => {
                let found = key.key.first_chunk::<16>().map(|key| key.split_at(8));
                if let Some((epoch, counter)) = found {
                    let number = |bytes: &[u8]| u64::from_be_bytes(*bytes.first_chunk().expect("it is half of 16"));
                    let incarnation = Incarnation { epoch: number(epoch), counter: number(counter) };
                    self.forgotten = self.forgotten.max(incarnation);
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// An entry, behind those before it.
    fn entry(&mut self, key: &[u8], frames: &Bytes) -> Result<bool, String> {
        let place = key.first_chunk::<4>().zip(key.get(4..12).and_then(|seq| seq.first_chunk::<8>()));
        let Some((id, seq)) = place.filter(|_| key.len() == 12) else {
            return Err("an entry has no place".to_owned());
        };
        let (id, seq) = (JournalId::from_be_bytes(*id), u64::from_be_bytes(*seq));
        let Some(chain) = self.chains.get_mut(&id) else {
            return Err(format!("entry {seq} belongs to a journal that is not there (number {id})"));
        };
        if chain.broken.is_none() {
            chain.broken = chain.take(seq, frames).err();
        }
        Ok(chain.broken.is_none())
    }

    /// A piece of a snapshot, behind those before it.
    fn piece(&mut self, key: &Bytes, row: &Bytes) -> Result<(), String> {
        let unknown = || "a piece of a snapshot belongs to none that is known".to_owned();
        let ((id, number), piece) = piece_from_key(key).ok_or_else(unknown)?;
        let past = self.kept.journals.past_of(id).ok_or_else(unknown)?;
        let (came, keys) = self.pieces.entry((id, number)).or_default();
        if !past.is_next_piece(number, piece, *came, row.len()) {
            let name = self.chains.get(&id).map_or("?", |chain| chain.name.as_str());
            return Err(format!("journal `{name}`: a piece of its snapshot is missing, or is not what was uploaded"));
        }
        *came += row.len() as u64;
        keys.push(key.clone());
        Ok(())
    }

    /// Whether all of the snapshot of a journal is there.
    fn is_whole(&self, id: JournalId, snapshot: &Snapshot) -> bool {
        self.pieces.get(&(id, snapshot.number)).is_some_and(|(bytes, _)| *bytes == snapshot.total)
    }

    /// All rows were given. What is wrong with journals as a whole, as sentences.
    pub fn end(&mut self) -> Vec<String> {
        self.kept.restored();
        let mut wrong = Vec::new();
        for (id, chain) in &mut self.chains {
            if chain.broken.is_none() && chain.good < chain.last {
                chain.broken = Some("is missing");
            } else if chain.broken.is_none() && chain.good_hash != chain.hash {
                // Which of them is another one, nobody can tell.
                let past = self.kept.journals.get(*id).past();
                (chain.good, chain.good_hash) = (past.first() - 1, *past.before());
                if past.first() == 1 {
                    chain.present.clear();
                }
                chain.known.iter_mut().for_each(BTreeMap::clear);
                chain.broken = Some("or one behind it is not what was appended");
            }
            if chain.broken.is_none() && *self.kept.journals.get(*id).present() != chain.present {
                wrong.push(format!("journal `{}`: its members are others than its entries say", chain.name));
            }
            if let Some(why) = chain.broken {
                let (name, first) = (&chain.name, chain.good + 1);
                wrong.push(match chain.last.saturating_sub(chain.good) {
                    0 | 1 => format!("journal `{name}`: entry {first} {why}"),
                    _ => format!("journal `{name}`: entry {first} {why}, and so none up to {} counts", chain.last),
                });
            }
        }
        for (id, chain) in &self.chains {
            let past = self.kept.journals.get(*id).past();
            let came = |number| self.pieces.get(&(*id, number)).map_or(0, |(bytes, _)| *bytes);
            if past.snapshot().is_some_and(|snapshot| !self.is_whole(*id, snapshot))
                || past.uploading().is_some_and(|(number, received)| came(number) != received)
            {
                wrong.push(format!("journal `{}`: not all of its snapshot is there", chain.name));
            }
        }
        wrong
    }

    /// An operation behind the rows, at the position behind the one before it. Where rows are missing, or a journal breaks,
    /// what depends on these is not done; `false` then.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence.
    pub fn operation(&mut self, pos: u64, operation: &[u8]) -> Result<bool, String> {
        self.pos = pos;
        let depends = match Operation::decode(operation) {
            Ok(Operation::Append { journal, .. } | Operation::Presence { journal, .. }) => {
                self.chains.values().any(|chain| chain.broken.is_some() && chain.name.as_str().as_bytes() == journal)
                    || self.lossy
                        && Name::from_bytes(journal).is_ok_and(|name| self.kept.journals.find(&name).is_none())
            }
            Ok(Operation::Write { items, .. }) => {
                self.lossy && items.iter().any(|item| item.every || item.expect != Expect::Anything)
            }
            _ => false,
        };
        if depends {
            return Ok(false);
        }
        let applied = self.kept.apply(pos, operation);
        applied.map(|_| true).map_err(|error| format!("the operation at position {pos} is none: {error}"))
    }

    /// What operations have changed since the last call, in the order in which they did.
    pub fn changes(&mut self) -> Vec<(RowKey, RowChange)> {
        self.kept.take_rows().map(|(_, rows)| rows).unwrap_or_default()
    }

    /// To be called behind [`end`](Audit::end) and before operations: what is to be changed in the rows that were good so that
    /// nothing speaks of what is gone. Journals that break end with their last good entry, and what is in them can be undone
    /// no more; who watches every change begins anew; and no program is told that nothing was kept of it.
    pub fn mend(&mut self) -> Vec<(RowKey, RowChange)> {
        let mut rows = self.mend_snapshots();
        let gone = |table: u8| move |key: &Bytes| (RowKey { table, key: key.clone() }, RowChange::Gone);
        for (id, chain) in &self.chains {
            let of_it = |key: &&Bytes| key.starts_with(&id.to_be_bytes());
            if chain.broken.is_some() || *self.kept.journals.get(*id).present() != chain.present {
                let members: Vec<Bytes> = chain.present.iter().map(|node| present_key(*id, node)).collect();
                let others = self.present.iter().filter(|key| !members.contains(key)).filter(of_it);
                rows.extend(others.map(gone(rows::PRESENT)));
                let here = |key| (RowKey { table: rows::PRESENT, key }, RowChange::Put(Bytes::new()));
                rows.extend(members.into_iter().map(here));
                self.kept.journals.set_present(*id, chain.present.clone());
            }
            if chain.broken.is_some() {
                let behind = (chain.good + 1..=chain.given)
                    .map(|seq| RowKey { table: ENTRIES, key: Bytes::copy_from_slice(&entry_key(*id, seq)) });
                rows.extend(behind.map(|key| (key, RowChange::Gone)));
                let units = self.units.iter().filter(of_it);
                rows.extend(units.map(gone(rows::UNITS)));
                rows.extend(self.kept.journals.cut_origins(*id, chain.known.as_ref()));
                let row = self.kept.journals.cut(*id, chain.good, chain.good_hash);
                let key = Bytes::copy_from_slice(chain.name.as_str().as_bytes());
                rows.push((RowKey { table: rows::JOURNALS, key }, RowChange::Put(row)));
            }
        }
        if self.lossy {
            let forgotten = Incarnation { epoch: self.forgotten.epoch, counter: u64::MAX };
            let pos = self.kept.pos;
            self.kept.values.set_floor(pos);
            self.kept.changes.set_gone(pos);
            self.kept.forgotten = forgotten;
            let (key, row) = rows::marks_row(rows::Marks { floor: pos, gone: pos, forgotten });
            rows.push((key, RowChange::Put(row)));
        }
        rows
    }

    /// The last start of the hub of which a row of a program speaks.
    pub fn epoch(&self) -> u64 {
        self.forgotten.epoch
    }

    /// Whether a row tells how a value has changed.
    pub fn is_change(key: &RowKey) -> bool {
        key.table == rows::CHANGES
    }

    /// A snapshot that is not whole goes. One that is whole stands for what breaks before its place: then the journal ends
    /// there.
    fn mend_snapshots(&mut self) -> Vec<(RowKey, RowChange)> {
        let mut rows = Vec::new();
        for (id, chain) in &mut self.chains {
            let past = self.kept.journals.get(*id).past();
            let came = |number| self.pieces.get(&(*id, number)).map_or(0, |(bytes, _)| *bytes);
            let whole = past.snapshot().copied().filter(|snapshot| came(snapshot.number) == snapshot.total);
            let stands = whole.filter(|snapshot| chain.broken.is_some() && snapshot.seq > chain.good);
            let is_half = past.uploading().is_some_and(|(number, received)| came(number) != received);
            if stands.is_none() && !is_half && whole.is_some() == past.snapshot().is_some() {
                continue;
            }
            if let Some(snapshot) = stands {
                let gone = (past.first()..=chain.given)
                    .map(|seq| RowKey { table: ENTRIES, key: Bytes::copy_from_slice(&entry_key(*id, seq)) });
                rows.extend(gone.map(|key| (key, RowChange::Gone)));
                (chain.good, chain.good_hash, chain.known) = (snapshot.seq, snapshot.hash, None);
            }
            let others = self.pieces.range((*id, 0)..=(*id, u64::MAX));
            let others = others.filter(|((_, number), _)| whole.is_none_or(|snapshot| snapshot.number != *number));
            let keys = others.flat_map(|(_, (_, keys))| keys);
            rows.extend(keys.map(|key| (RowKey { table: PIECES, key: key.clone() }, RowChange::Gone)));
            let past = self.kept.journals.mend_past(*id, whole, stands);
            let key = RowKey { table: rows::PASTS, key: Bytes::copy_from_slice(&id.to_be_bytes()) };
            rows.push((key, RowChange::Put(past)));
        }
        rows
    }

    /// How much there is of what was good so far.
    pub fn amount(&self) -> Amount {
        let journals = || self.kept.journals.named();
        Amount {
            values: self.kept.values.len() as u64,
            journals: journals().count() as u64,
            entries: journals().map(|(_, journal)| (journal.last() + 1).saturating_sub(journal.past().first())).sum(),
            tokens: self.kept.principals.len() as u64,
        }
    }

    /// What a change of a value that is kept says of the value now: its row, if there is none of it that is newer. For where
    /// rows of values are missing.
    pub fn value_of_change(&self, key: &RowKey, row: &Bytes) -> Option<(RowKey, Bytes)> {
        if key.table != rows::CHANGES {
            return None;
        }
        let length = usize::from(u16::from_le_bytes(*row.first_chunk()?));
        let (name, value) = (row.get(2..2 + length)?, row.slice(2 + length..));
        let place = value_from_row(name, &value).ok()?.place;
        let text = std::str::from_utf8(name).ok()?;
        let values: &Values = &self.kept.values;
        let is_known = values.find(text).is_some_and(|slot| values.place(slot) >= place);
        (!is_known).then(|| (RowKey { table: rows::VALUES, key: Bytes::copy_from_slice(name) }, value))
    }
}

impl Chain {
    fn take(&mut self, seq: u64, frames: &[u8]) -> Result<(), &'static str> {
        if seq != self.good + 1 || seq > self.last {
            return Err("is missing");
        }
        let wrong = "is not what was appended";
        let mut hashed = frames.to_vec();
        let hash = Told::hash_in(&hashed).ok_or(wrong)?;
        Told::set_hash(&mut hashed, &[0; 16]);
        if chained(&self.good_hash, &hashed) != hash {
            return Err(wrong);
        }
        let (deed, node, origin) = deed(frames).ok_or(wrong)?;
        if let (Some(known), Some(Origin { hub, seq })) = (&mut self.known, origin) {
            known.insert(hub, seq);
        }
        match (deed, node) {
            (Deed::Join, node) => drop(self.present.insert(node)),
            (Deed::Leave, node) => drop(self.present.remove(&node)),
            _ => {}
        }
        (self.good, self.good_hash, self.given) = (seq, hash, seq);
        Ok(())
    }
}

/// Where it stands that a node is a member of a journal.
fn present_key(id: JournalId, node: &Name) -> Bytes {
    [&id.to_be_bytes()[..], node.as_str().as_bytes()].concat().into()
}

/// What an entry says, who is answerable for it, and where it was first if that was not here.
fn deed(frames: &[u8]) -> Option<(Deed, Name, Option<Origin>)> {
    let told = match Frame::decode(frames) {
        Ok(Some((Frame::Entry(told), _))) => told,
        // Its first fragment begins with the same fields.
        Ok(Some((Frame::Part(head, body), _))) => Told::read_first(head.encoding, body)?,
        _ => return None,
    };
    Some((told.deed, Name::from_bytes(told.author).ok()?, told.provenance.origin))
}

/// A table in words.
fn table(number: u8) -> &'static str {
    match number {
        rows::VALUES => "values",
        rows::CHANGES => "changes",
        rows::WINDOWS => "incarnations",
        rows::RESULTS => "answers",
        rows::MARKS => "marks",
        rows::PRINCIPALS => "tokens",
        rows::GRANTERS => "changes of rights",
        rows::JOURNALS => "journals",
        rows::UNITS => "what can be undone",
        rows::PRESENT => "members of journals",
        rows::PASTS => "old entries of journals",
        rows::COME => "what has come of other hubs",
        rows::FOREIGN => "where commands were first",
        _ if number >= READ_ONLY => "entries",
        _ => "a table that this version does not know",
    }
}
