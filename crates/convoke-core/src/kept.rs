//! What a hub keeps, as a function of the operations that were ordered.
//!
//! Nothing here knows a link, a clock or a disk. [`Kept::apply`] takes one operation at its position, decides what comes of
//! it, and changes the state; whoever applies the same operations gets the same state, row by row. There are two of them
//! in a hub: one for what is kept durably, fed by the foundation, and one for values in memory, fed directly.
//!
//! The parts, each a file: `values` is the table of values, `changes` the changes that are still known, `windows` what each
//! incarnation was answered, `principals` who may do what, `snapshots` what stands for
//! old entries of journals, `rows` the form in which all that is kept.

mod audit;
mod changes;
mod journals;
mod origins;
mod principals;
mod rows;
mod snapshots;
#[cfg(test)]
mod tests;
mod values;
mod windows;

use bytes::Bytes;

pub use audit::{Amount, Audit};
pub(crate) use changes::Reach;
#[cfg(feature = "sim")]
pub(crate) use journals::JournalBounds;
pub(crate) use journals::{JournalId, Journals, other_strategy};
pub(crate) use origins::HERE;
pub(crate) use rows::{CHANGES, ENTRIES, PIECES, Rows, change_from_row, entry_key, place_key, seq_from_key};
pub(crate) use snapshots::{Past, Snapshot, piece_in, piece_key};
pub(crate) use values::{Place, Slot, Values, name_in};
pub(crate) use windows::{Outcome, Window, answer_bytes, answer_bytes_for};

use crate::bug::{Bug, planted};
use crate::foundation::{RowChange, RowKey};
use crate::frame::{Appended, Change, Expect, FrameError, Incarnation, Item, Items};
use crate::limits::{EVERY_BYTES_MAX, EVERY_KEYS_MAX, VALUE_BYTES_MAX};
use crate::name::{Name, Pattern};
use crate::operation::{GrantId, Operation};
use crate::payload::Encoding;
use crate::refusal::{Code, Refusal};
use changes::Changes;
use principals::Granters;
pub(crate) use principals::Principals;
use values::New;
use windows::Windows;

/// The state that comes of operations.
pub(crate) struct Kept {
    /// The epoch of its revisions: zero for what is kept durably.
    epoch: u64,
    pos: u64,
    pub(crate) values: Values,
    pub(crate) changes: Changes,
    windows: Windows,
    pub(crate) principals: Principals,
    granters: Granters,
    pub(crate) journals: Journals,
    /// The highest incarnation that was forgotten before it had all its answers.
    forgotten: Incarnation,
    rows: Rows,
}

/// What came of an operation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Who is to be answered, and what.
    pub(crate) answer: Option<(Incarnation, u64, Outcome)>,
    /// The places of what has changed, in their order.
    pub(crate) changed: Vec<Place>,
    /// The principal that was to change, and what came of it.
    pub(crate) granted: Option<Granted>,
    /// The journal that has new entries.
    pub(crate) journal: Option<JournalId>,
    /// The journal and the node of which one was to say whether the other is a member, and whether it is.
    pub(crate) presence: Option<(Name, Name, bool)>,
}

/// What came of a change of rights.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) principal: Name,
    pub(crate) done: Result<(), Refusal>,
    /// It was applied before, and has changed nothing now.
    pub(crate) again: bool,
}

/// One item of a write, checked.
enum Wanted<'a> {
    Set(New<'a>),
    Delete,
}

impl Kept {
    /// Nothing yet. With `durable` every change of a row is noted for the foundation.
    pub(crate) fn new(epoch: u64, seed: u64) -> Kept {
        Kept {
            epoch,
            pos: 0,
            values: Values::new(epoch, seed),
            changes: Changes::default(),
            windows: Windows::default(),
            principals: Principals::default(),
            granters: Granters::default(),
            journals: Journals::default(),
            forgotten: Incarnation::default(),
            rows: Rows::new(epoch == 0),
        }
    }

    /// Of the changes no more bytes are to be kept than these.
    pub(crate) fn keeping(mut self, changes_bytes_max: usize) -> Kept {
        self.changes.bytes_max = changes_bytes_max;
        self
    }

    /// The position of the last operation.
    pub(crate) fn pos(&self) -> u64 {
        self.pos
    }

    /// What an incarnation was answered, if it ever asked for something to be kept.
    pub(crate) fn window(&self, incarnation: Incarnation) -> Option<&Window> {
        self.windows.get(incarnation)
    }

    /// What the answers to all incarnations take, in bytes.
    pub(crate) fn windows_bytes(&self) -> usize {
        self.windows.bytes()
    }

    /// All incarnations with what they were answered.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (Incarnation, &Window)> {
        self.windows.iter()
    }

    /// Whether it is certain that nothing was ever kept for this incarnation, which is not known.
    pub(crate) fn never_kept(&self, incarnation: Incarnation) -> bool {
        incarnation > self.forgotten && self.windows.get(incarnation).is_none()
    }

    /// Rows that have changed since the last call, in the order in which they did, with the position that they reach.
    pub(crate) fn take_rows(&mut self) -> Option<(u64, Vec<(RowKey, RowChange)>)> {
        let rows = self.rows.take(&self.journals, &self.windows);
        (!rows.is_empty()).then_some((self.pos, rows))
    }

    /// Takes back rows that were kept, in any order, before anything is applied.
    ///
    /// # Errors
    ///
    /// A row that is none.
    pub(crate) fn restore(&mut self, pos: u64, rows: &[(RowKey, Bytes)]) -> Result<(), FrameError> {
        self.pos = pos;
        for (key, row) in rows {
            match key.table {
                rows::VALUES => {
                    let value = rows::value_from_row(&key.key, row)?;
                    self.values.restore(&value);
                }
                CHANGES => {
                    let (place, bytes) = rows::change_size(&key.key, row)?;
                    self.changes.restore(place, bytes);
                }
                rows::WINDOWS => {
                    let (incarnation, window) = Window::from_row(&key.key, row)?;
                    self.windows.restore(incarnation, window);
                }
                rows::RESULTS if planted(Bug::AnswersForgotten) => {}
                rows::RESULTS => {
                    let (incarnation, cseq, outcome) = windows::result_from_row(&key.key, row)?;
                    self.windows.answered(incarnation, cseq, outcome);
                }
                rows::JOURNALS => self.journals.restore(&key.key, row)?,
                rows::PRESENT if planted(Bug::MembersForgotten) => {}
                rows::PRESENT => self.journals.restore_present(&key.key)?,
                rows::PASTS => self.journals.restore_past(&key.key, row)?,
                rows::UNITS if planted(Bug::UnitsForgotten) => {}
                rows::UNITS => self.journals.restore_unit(&key.key, row)?,
                rows::COME => self.journals.restore_come(&key.key, row)?,
                rows::FOREIGN => self.journals.restore_foreign(&key.key, row)?,
                rows::PRINCIPALS => self.principals.restore(&key.key, row)?,
                rows::GRANTERS => self.granters.restore(&key.key, row)?,
                rows::MARKS => {
                    let marks = rows::marks_from_row(row)?;
                    self.values.set_floor(marks.floor);
                    self.changes.set_gone(marks.gone);
                    self.forgotten = marks.forgotten;
                }
                _ => return Err(FrameError { offset: 0, expected: "a row of a table that this version knows" }),
            }
        }
        Ok(())
    }

    /// All rows came back; what follows is applied.
    pub(crate) fn restored(&mut self) {
        self.changes.restored();
        self.journals.restored();
    }

    /// Applies the operation at this position.
    ///
    /// # Errors
    ///
    /// An operation that this version does not know. The state has not changed.
    pub(crate) fn apply(&mut self, pos: u64, operation: &[u8]) -> Result<Applied, FrameError> {
        let operation = Operation::decode(operation)?;
        if !planted(Bug::UnitsTooLate) {
            // Operations behind the rows come before it is said that all is there.
            self.journals.restored();
        }
        self.pos = pos;
        let mut applied = Applied::default();
        match operation {
            Operation::Begin { incarnation, node, principal, secret } => {
                let window = self.windows.open(incarnation);
                window.began(node, principal);
                window.secret = Some(secret);
                self.rows.put_window(incarnation);
            }
            Operation::Fence { incarnation, node, principal } => {
                let window = self.windows.open(incarnation);
                window.began(node, principal);
                window.fenced = true;
                self.rows.put_window(incarnation);
            }
            Operation::Forget { incarnation, unsettled } => {
                if let Some(window) = self.windows.remove(incarnation) {
                    self.rows.delete_window(incarnation, &window);
                    if unsettled && incarnation > self.forgotten {
                        self.forgotten = incarnation;
                        self.put_marks();
                    }
                }
            }
            Operation::Expire { keys, wall_ms } => {
                for (name, rev) in keys {
                    let current = std::str::from_utf8(name).ok().and_then(|name| self.values.find(name));
                    if let Some(slot) = current.filter(|slot| self.values.is_set(*slot, rev)) {
                        self.change(slot, None, b"$hub", wall_ms, None, &mut applied.changed);
                    }
                }
                self.trim();
            }
            Operation::Grant { by, name, wall_ms, change } => {
                let principal = Name::from_bytes(name).map_err(|_| FrameError { offset: 0, expected: "a name" })?;
                let before = self.granters.outcome(by).filter(|_| !planted(Bug::GrantedTwice));
                let again = before.is_some();
                let done = before.unwrap_or_else(|| self.grant(by, &principal, &change, wall_ms));
                applied.granted = Some(Granted { principal, done, again });
            }
            Operation::Write { incarnation, cseq, settled, author, wall_ms, items } => {
                let outcome = self.once(incarnation, cseq, settled, |kept| {
                    kept.write(incarnation, author, wall_ms, items, &mut applied.changed)
                });
                applied.answer = outcome.map(|outcome| (incarnation, cseq, outcome));
                self.trim();
            }
            Operation::Presence { wall_ms, journal, node, joined, strategy } => {
                let name = |bytes| Name::from_bytes(bytes).map_err(|_| FrameError { offset: 0, expected: "a name" });
                let (journal, node) = (name(journal)?, name(node)?);
                applied.journal = self.journals.presence((&journal, strategy), &node, joined, wall_ms, &mut self.rows);
                applied.presence = Some((journal, node, joined));
            }
            Operation::Append { incarnation, cseq, settled, author, wall_ms, journal, appended } => {
                let known = |(_, window): (Incarnation, &Window)| window.results.get(&cseq).cloned();
                if planted(Bug::NumbersShared)
                    && let Some(outcome) = self.windows.iter().find_map(known)
                {
                    applied.answer = Some((incarnation, cseq, outcome));
                    return Ok(applied);
                }
                let settled = if planted(Bug::WindowDroppedTooEarly) { cseq - 1 } else { settled };
                let outcome = self.once(incarnation, cseq, settled, |kept| {
                    let Kept { journals, rows, .. } = kept;
                    let (rev, count) = match &appended {
                        Appended::Snapshot(piece) => journals.piece(journal, incarnation, wall_ms, piece, rows)?,
                        Appended::Compact(compact) => journals.compact(journal, compact, rows)?,
                        Appended::Carried(carried) => {
                            let done = journals.carry(journal, wall_ms, carried, rows)?;
                            applied.journal = done.journal;
                            (done.seq, done.count)
                        }
                        _ => {
                            let (id, first, count) = journals.append(journal, author, wall_ms, &appended, rows)?;
                            applied.journal = Some(id);
                            (first, count)
                        }
                    };
                    Ok(Outcome::Done { rev, count })
                });
                if planted(Bug::AppendsForgotten) {
                    self.rows.delete_result(incarnation, cseq);
                }
                applied.answer = outcome.map(|outcome| (incarnation, cseq, outcome));
            }
        }
        Ok(applied)
    }

    /// What came of a change of rights, if it was applied before.
    pub(crate) fn granted_before(&self, by: GrantId) -> Option<Result<(), Refusal>> {
        self.granters.outcome(by)
    }

    /// Changes a principal, if that makes sense now, and remembers what came of it.
    fn grant(&mut self, by: GrantId, name: &Name, change: &Change<'_>, wall_ms: u64) -> Result<(), Refusal> {
        let done = self.principals.change(name, change, wall_ms);
        if done.is_ok() {
            self.rows.put_principal(name, self.principals.get(name));
        }
        let (last, forgotten) = self.granters.granted(by, self.pos, done.clone());
        self.rows.put_granter(by.hub, Some(last));
        if let Some(forgotten) = forgotten {
            self.rows.put_granter(forgotten, None);
        }
        done
    }

    /// Does what an incarnation asks for, once; asked again it gives what came of it. `None` for a duplicate that nobody
    /// waits for any more.
    fn once(
        &mut self,
        incarnation: Incarnation,
        cseq: u64,
        settled: u64,
        decide: impl FnOnce(&mut Kept) -> Result<Outcome, Refusal>,
    ) -> Option<Outcome> {
        let is_new = self.windows.get(incarnation).is_none();
        let window = self.windows.open(incarnation);
        if cseq <= window.settled {
            return None;
        }
        if let Some(outcome) = window.results.get(&cseq).filter(|_| !planted(Bug::DuplicateApplied)) {
            return Some(outcome.clone());
        }
        // One that was refused before it was ordered, and whose answer was lost: it must not happen behind what was written
        // after it.
        let decided = match window.never(cseq) {
            Some(why) => Err(why),
            None => decide(self),
        };
        let outcome = match decided {
            Ok(outcome) => outcome,
            Err(refusal) => Outcome::Refused { code: refusal.code, text: refusal.text.into_owned() },
        };
        let is_settled = self.settle(incarnation, settled.min(cseq.saturating_sub(1)));
        self.rows.put_result(incarnation, cseq, &outcome);
        self.windows.answered(incarnation, cseq, outcome.clone());
        if is_new || is_settled {
            self.rows.put_window(incarnation);
        }
        Some(outcome)
    }

    fn write(
        &mut self,
        incarnation: Incarnation,
        author: &[u8],
        wall_ms: u64,
        items: Items<'_>,
        changed: &mut Vec<Place>,
    ) -> Result<Outcome, Refusal> {
        for (slot_or_name, wanted) in self.decide(items)? {
            let slot = slot_or_name.unwrap_or_else(|name| self.values.make(name));
            match wanted {
                Wanted::Set(new) => self.change(slot, Some(new), author, wall_ms, Some(incarnation), changed),
                Wanted::Delete => self.change(slot, None, author, wall_ms, None, changed),
            }
        }
        let pos = if changed.is_empty() { 0 } else { self.pos };
        Ok(Outcome::Done { rev: pos, count: changed.len() as u32 })
    }

    /// An incarnation has every answer up to this one. False if that was known.
    pub(crate) fn settle(&mut self, incarnation: Incarnation, settled: u64) -> bool {
        if self.windows.get(incarnation).is_none_or(|window| settled <= window.settled) {
            return false;
        }
        for cseq in self.windows.settle(incarnation, settled) {
            self.rows.delete_result(incarnation, cseq);
        }
        true
    }

    /// Decides whether a write happens: all of it, or nothing. Gives what is to change, by slot where the key is known.
    #[expect(clippy::type_complexity, reason = "it is used once, right above")]
    fn decide<'a>(&self, items: Items<'a>) -> Result<Vec<(Result<Slot, &'a str>, Wanted<'a>)>, Refusal> {
        let mut wanted = Vec::with_capacity(items.len());
        let mut seen = std::collections::BTreeSet::new();
        let (mut new_keys, mut more_bytes) = (0, 0);
        // Of all items together: several patterns must not change more at once than one may.
        let (mut every_keys, mut every_bytes) = (0, 0);
        for item in items.iter() {
            if item.every {
                let pattern = Pattern::from_bytes(item.name).map_err(|error| bad_name(&error))?;
                let Some(slots) = self.values.matched(&pattern, EVERY_KEYS_MAX - every_keys) else {
                    return Err(too_many(&pattern));
                };
                every_keys += slots.len();
                every_bytes += slots.len() * item.set.as_ref().map_or(0, |set| set.payload.len());
                check_every(&pattern, &item, every_keys, every_bytes)?;
                for slot in slots {
                    if expectation(self.values.rev(slot), item.expect) && seen.insert(Ok(slot)) {
                        more_bytes += self.more_bytes(Some(slot), &item);
                        wanted.push((Ok(slot), want(&item)));
                    }
                }
                continue;
            }
            let name = Name::from_bytes(item.name).map_err(|error| bad_name(&error))?;
            let text = std::str::from_utf8(item.name).expect("it is a name");
            let slot = self.values.find(text);
            if !seen.insert(slot.ok_or(text)) {
                let text = format!("change of `{name}`: a batch changes each key at most once");
                return Err(Refusal::new(Code::BadRequest, text));
            }
            let rev = slot.and_then(|slot| self.values.rev(slot));
            let expected = expectation(rev, item.expect) || planted(Bug::CompareAndSetAlways);
            if !expected {
                return Err(conflict(&name, item.expect, rev));
            }
            if item.set.as_ref().is_some_and(|set| set.payload.len() > VALUE_BYTES_MAX) {
                let text = format!("set `{name}`: a value has at most {VALUE_BYTES_MAX} bytes");
                return Err(Refusal::new(Code::TooLarge, text));
            }
            if item.set.is_none() && rev.is_none() {
                // Nothing to delete: that is how it should be.
                continue;
            }
            new_keys += usize::from(rev.is_none());
            more_bytes += self.more_bytes(slot, &item);
            wanted.push((slot.ok_or(text), want(&item)));
        }
        self.values.check_room(new_keys, more_bytes)?;
        Ok(wanted)
    }

    /// How many more bytes of names and payloads there are after it, at most.
    fn more_bytes(&self, slot: Option<Slot>, item: &Item<'_>) -> usize {
        let payload = item.set.as_ref().map_or(0, |set| set.payload.len());
        (item.name.len() + payload).saturating_sub(slot.map_or(0, |slot| self.values.bytes_of(slot)))
    }

    fn change(
        &mut self,
        slot: Slot,
        new: Option<New<'_>>,
        author: &[u8],
        wall_ms: u64,
        owner: Option<Incarnation>,
        changed: &mut Vec<Place>,
    ) {
        let place = (self.pos, changed.len() as u16);
        self.values.change(slot, place, new, author, wall_ms, owner);
        changed.push(place);
        let bytes = self.rows.put_change(place, &self.values, slot);
        self.changes.push(place, bytes, self.values.frames(slot).clone());
    }

    /// Forgets what is beyond the bounds.
    fn trim(&mut self) {
        let marks = (self.values.floor(), self.changes.gone());
        while let Some(name) = self.values.forget_deleted() {
            self.rows.delete_value(&name);
        }
        for place in self.changes.forget(self.epoch == 0) {
            self.rows.delete_change(place);
        }
        if (self.values.floor(), self.changes.gone()) != marks {
            self.put_marks();
        }
    }

    fn put_marks(&mut self) {
        let (floor, gone) = (self.values.floor(), self.changes.gone());
        self.rows.put_marks(rows::Marks { floor, gone, forgotten: self.forgotten });
    }

    /// Sets or deletes a value of the hub's own, which no node asked for.
    pub(crate) fn set_own(&mut self, name: &str, new: Option<(Encoding, &[u8])>) -> Vec<Place> {
        let mut changed = Vec::new();
        let slot = self.values.find(name);
        let set = slot.is_some_and(|slot| self.values.rev(slot).is_some());
        let same = match (slot, new) {
            (Some(slot), Some((_, payload))) if set => self.values.has_payload(slot, payload),
            (_, None) => !set,
            _ => false,
        };
        if !same {
            self.pos += 1;
            let slot = slot.unwrap_or_else(|| self.values.make(name));
            let new = new.map(|(encoding, payload)| New { encoding, payload, ttl_ms: 0, ephemeral: false });
            self.change(slot, new, b"$hub", 0, None, &mut changed);
            self.trim();
        }
        changed
    }
}

fn want<'a>(item: &Item<'a>) -> Wanted<'a> {
    match item.set {
        None => Wanted::Delete,
        Some(set) => Wanted::Set(New {
            encoding: set.encoding,
            payload: set.payload,
            ttl_ms: set.ttl_ms,
            ephemeral: set.ephemeral,
        }),
    }
}

/// Whether a key with a value of this revision, or without one, is as expected.
fn expectation(rev: Option<crate::rev::Rev>, expect: Expect) -> bool {
    match expect {
        Expect::Anything => true,
        Expect::Absent => rev.is_none(),
        Expect::Present => rev.is_some(),
        Expect::Rev(expected) => rev == Some(expected),
    }
}

fn conflict(name: &Name, expect: Expect, rev: Option<crate::rev::Rev>) -> Refusal {
    let text = match (expect, rev) {
        (Expect::Rev(expected), Some(rev)) => {
            format!("change of `{name}`: expected revision {expected}, and it has revision {rev} now; read it again")
        }
        (Expect::Rev(expected), None) => {
            format!("change of `{name}`: expected revision {expected}, and it has no value now")
        }
        (_, Some(rev)) => format!("change of `{name}`: expected no value, and it has one of revision {rev}"),
        (_, None) => format!("change of `{name}`: expected a value, and it has none"),
    };
    Refusal::new(Code::Conflict, text)
}

fn too_many(pattern: &Pattern) -> Refusal {
    let text = format!(
        "change of every `{pattern}`: more keys match than the {EVERY_KEYS_MAX} that are changed together at most; change \
         them in parts"
    );
    Refusal::new(Code::Limit, text)
}

fn check_every(pattern: &Pattern, item: &Item<'_>, keys: usize, bytes: usize) -> Result<(), Refusal> {
    let payload = item.set.as_ref().map_or(0, |set| set.payload.len());
    if payload > VALUE_BYTES_MAX || bytes > EVERY_BYTES_MAX {
        let text = format!(
            "change of every `{pattern}`: {keys} keys with {bytes} bytes in all are too much to change together"
        );
        return Err(Refusal::new(Code::TooLarge, text));
    }
    Ok(())
}

fn bad_name(error: &crate::name::NameError) -> Refusal {
    Refusal::new(Code::BadName, error.to_string())
}
