//! The journals that are kept: the end of each, what of it is undone, and its last entries.
//!
//! Older entries are only in the foundation, and read from there by who follows from far back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::origins::Origins;
use super::rows::Rows;
use super::snapshots::Past;
use crate::bug::{Bug, planted};
use crate::copies::Copies;
use crate::frame::{Appended, Back, Commands, FrameError, Reader, Terms, Told, put_short};
use crate::journal::{Deed, Provenance, Scope, Strategy, Touches, UndoList, UndoRefused, Unit, chained};
use crate::limits::{
    COMMAND_BYTES_MAX, ENTRIES_RECENT_BYTES_MAX, IN_THE_WAY_MAX, JOURNALS_MAX, UNDO_UNITS_ALL_MAX, UNDO_UNITS_MAX,
};
use crate::name::Name;
use crate::payload::Encoding;
use crate::refusal::{Code, Refusal};

/// What is read at a time for a follower that is far behind, in bytes.
const ENTRIES_READ_BYTES: usize = 256 << 10;

/// The number of a journal in its hub.
pub(crate) type JournalId = u32;

/// One journal.
pub(crate) struct Journal {
    name: Name,
    strategy: Strategy,
    last: u64,
    hash: [u8; 16],
    undo: UndoList,
    /// Nodes of which it says that they are members.
    present: BTreeSet<Name>,
    /// The frames of its last entries, as they are for follower 0.
    recent: VecDeque<Bytes>,
    past: Past,
}

/// How much of journals is in memory, read at a time, and undone at most. The same in all starts of a hub.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalBounds {
    /// Bytes of entries in memory.
    pub(crate) recent: usize,
    /// Bytes that are read at a time for a follower that is far behind.
    pub(crate) read: usize,
    /// Units of one journal that can be undone.
    pub(crate) units: usize,
    /// Units of all of them.
    pub(crate) units_all: usize,
}

impl Default for JournalBounds {
    fn default() -> JournalBounds {
        JournalBounds {
            recent: ENTRIES_RECENT_BYTES_MAX,
            read: ENTRIES_READ_BYTES,
            units: UNDO_UNITS_MAX,
            units_all: UNDO_UNITS_ALL_MAX,
        }
    }
}

/// All journals.
#[derive(Default)]
pub(crate) struct Journals {
    pub(crate) bounds: JournalBounds,
    all: BTreeMap<JournalId, Journal>,
    by_name: BTreeMap<Name, JournalId>,
    /// Of which journals the entries in memory are, in the order in which they came.
    recent: VecDeque<JournalId>,
    recent_bytes: usize,
    /// Where entries are put.
    copies: Copies,
    /// What of all journals can be undone.
    units: usize,
    /// Rows that came before those of their journals.
    restored: BTreeMap<(JournalId, u64), Unit>,
    restored_present: BTreeSet<(JournalId, Name)>,
    pub(super) restored_past: BTreeMap<JournalId, Past>,
    /// What journals have of other hubs.
    pub(super) origins: BTreeMap<JournalId, Origins>,
}

impl Journal {
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// How it undoes.
    pub(crate) fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The place of its last entry; zero if it has none.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The hash of its last entry, and of all before it.
    pub(crate) fn hash(&self) -> [u8; 16] {
        self.hash
    }

    /// The first place of which something can be undone.
    pub(crate) fn horizon(&self) -> u64 {
        self.undo.horizon()
    }

    /// The first place of which something can be undone, if anything can.
    pub(super) fn undoable_from(&self) -> Option<u64> {
        self.undo.first()
    }

    /// What stands for its old entries.
    pub(crate) fn past(&self) -> &Past {
        &self.past
    }

    pub(super) fn past_mut(&mut self) -> &mut Past {
        &mut self.past
    }

    pub(super) fn undo(&self) -> &UndoList {
        &self.undo
    }

    /// Nodes of which it says that they are members.
    pub(crate) fn present(&self) -> &BTreeSet<Name> {
        &self.present
    }

    /// The first entry that is in memory.
    pub(crate) fn recent_first(&self) -> u64 {
        self.last + 1 - self.recent.len() as u64
    }

    /// The frames of entries in memory, from this place on.
    pub(crate) fn recent(&self, from: u64) -> impl Iterator<Item = &Bytes> {
        let skip = from.saturating_sub(self.recent_first()) as usize;
        self.recent.iter().skip(skip)
    }
}

impl Journals {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// What of all of them can be undone.
    pub(crate) fn units(&self) -> usize {
        self.units
    }

    /// What entries in memory take, in bytes.
    pub(crate) fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    /// The number of the last that was made.
    pub(crate) fn last_id(&self) -> Option<JournalId> {
        self.all.last_key_value().map(|(id, _)| *id)
    }

    /// All of them, by their names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&Name, &Journal)> {
        self.by_name.iter().map(|(name, id)| (name, self.get(*id)))
    }

    pub(crate) fn find(&self, name: &Name) -> Option<JournalId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, id: JournalId) -> &Journal {
        &self.all[&id]
    }

    pub(super) fn get_mut(&mut self, id: JournalId) -> &mut Journal {
        self.all.get_mut(&id).expect("it was found")
    }

    /// Decides what comes of an append, and does it. Gives the place of its first entry, and how many there are.
    pub(super) fn append(
        &mut self,
        name: &[u8],
        author: &[u8],
        wall_ms: u64,
        appended: &Appended<'_>,
        rows: &mut Rows,
    ) -> Result<(JournalId, u64, u32), Refusal> {
        let bad = |error: crate::name::NameError| Refusal::new(Code::BadName, error.to_string());
        let (name, author) = (Name::from_bytes(name).map_err(bad)?, Name::from_bytes(author).map_err(bad)?);
        let known = self.find(&name);
        let last = known.map_or(0, |id| self.get(id).last);
        let mut strategy = Strategy::default();
        let mut touches = None;
        let deeds: Vec<(Deed, Encoding, &[u8])> = match appended {
            Appended::Commands { commands, expect_last, terms } => {
                strategy = self.check_commands(&name, terms, *commands)?;
                touches = (strategy == Strategy::Refuse).then(|| terms.touches());
                if expect_last.is_some_and(|expected| expected != last) && !planted(Bug::ExpectedLastIgnored) {
                    let text = format!("append to `{name}`: expected {}, and {}", is_last(*expect_last), is_now(last));
                    return Err(Refusal::new(Code::Conflict, text));
                }
                let deed = Deed::Do { first: if terms.lasting { 0 } else { last + 1 } };
                commands.iter().map(|(encoding, payload)| (deed, encoding, payload)).collect()
            }
            Appended::Undo(back) | Appended::Redo(back) => {
                let undoes = matches!(appended, Appended::Undo(_));
                let what = if undoes { "undo" } else { "redo" };
                let id = known.ok_or_else(|| refused(what, (&name, &author), UndoRefused::Nothing, back))?;
                let scope = if back.everyone { Scope::Everyone } else { Scope::Mine };
                let undo = &self.get(id).undo;
                let target = match undoes {
                    true => undo.check_undo(&author, scope, back.target, back.expect_top),
                    false => undo.check_redo(&author, scope, back.target, back.expect_top),
                };
                let target = target.map_err(|why| refused(what, (&name, &author), why, back))?;
                let deed = if undoes { Deed::Undo(target) } else { Deed::Redo(target) };
                vec![(deed, Encoding::Raw, &[])]
            }
            Appended::Snapshot(_) | Appended::Compact(_) | Appended::Carried(_) => {
                unreachable!("these are taken elsewhere")
            }
        };
        let id = known.unwrap_or_else(|| self.make(name, strategy));
        let count = deeds.len() as u32;
        for (place, (deed, encoding, payload)) in (1..).zip(deeds) {
            // What they touch is said of all of them with the first.
            let provenance = self.provenance(id, deed, place < count);
            self.push(id, (&author, provenance), wall_ms, (deed, touches.take()), (encoding, payload), rows);
        }
        rows.put_journal(id);
        Ok((id, last + 1, count))
    }

    /// Whether a journal takes these commands, whoever brings them. Gives how it undoes.
    pub(super) fn check_commands(
        &self,
        name: &Name,
        terms: &Terms<'_>,
        commands: Commands<'_>,
    ) -> Result<Strategy, Refusal> {
        let known = self.find(name);
        let has = known.map(|id| self.get(id).strategy);
        let strategy = has.or(terms.strategy).unwrap_or_default();
        if let Some(wanted) = terms.strategy.filter(|wanted| *wanted != strategy) {
            return Err(other_strategy(&format!("append to `{name}`"), wanted, strategy));
        }
        if terms.lasting && strategy != Strategy::Compensate {
            let text = format!(
                "append to `{name}`: it undoes by {strategy}, and only where it is by compensate can a command be one that \
                 is never undone"
            );
            return Err(Refusal::new(Code::BadRequest, text));
        }
        if let Some((_, payload)) = commands.iter().find(|(_, payload)| payload.len() > COMMAND_BYTES_MAX) {
            let len = payload.len();
            let text = format!("append to `{name}`: a command has {len} bytes, and {COMMAND_BYTES_MAX} at most");
            return Err(Refusal::new(Code::TooLarge, text));
        }
        if known.is_none() && self.all.len() >= JOURNALS_MAX {
            let text = format!("append to `{name}`: the hub has {JOURNALS_MAX} journals, which is all it may have");
            return Err(Refusal::new(Code::Limit, text));
        }
        Ok(strategy)
    }

    /// A node has become a member, or is one no more: an entry says so, unless the journal does already. `None` if there is
    /// none, also for lack of room.
    pub(super) fn presence(
        &mut self,
        (name, strategy): (&Name, Strategy),
        node: &Name,
        joined: bool,
        wall_ms: u64,
        rows: &mut Rows,
    ) -> Option<JournalId> {
        let known = self.find(name);
        if self.is_present(name, node) == joined || (known.is_none() && self.all.len() >= JOURNALS_MAX) {
            return None;
        }
        let id = known.unwrap_or_else(|| self.make(name.clone(), strategy));
        let present = &mut self.all.get_mut(&id).expect("it was found or made").present;
        if joined {
            present.insert(node.clone());
        } else {
            present.remove(node);
        }
        rows.put_present(id, node, joined);
        let deed = if joined { Deed::Join } else { Deed::Leave };
        self.push(id, (node, Provenance::default()), wall_ms, (deed, None), (Encoding::Raw, &[]), rows);
        rows.put_journal(id);
        Some(id)
    }

    /// Whether the journal says that a node is a member.
    pub(crate) fn is_present(&self, name: &Name, node: &Name) -> bool {
        self.find(name).is_some_and(|id| self.get(id).present.contains(node))
    }

    /// Of an entry that is here first: whether its group goes on, and where what it undoes was first.
    fn provenance(&self, id: JournalId, deed: Deed, more: bool) -> Provenance {
        let target = match deed {
            Deed::Undo(first) | Deed::Redo(first) => self.origins.get(&id).and_then(|origins| origins.of_unit(first)),
            _ => None,
        };
        Provenance { origin: None, target, more: more && matches!(deed, Deed::Do { first: 1.. }) }
    }

    pub(super) fn make(&mut self, name: Name, strategy: Strategy) -> JournalId {
        let id = self.all.last_key_value().map_or(1, |(last, _)| last + 1);
        self.by_name.insert(name.clone(), id);
        let undo = UndoList::noting(self.bounds.units);
        let (present, recent) = (BTreeSet::new(), VecDeque::new());
        let past = Past::default();
        self.all.insert(id, Journal { name, strategy, last: 0, hash: [0; 16], undo, present, recent, past });
        id
    }

    pub(super) fn push(
        &mut self,
        id: JournalId,
        (author, provenance): (&Name, Provenance),
        wall_ms: u64,
        (deed, touches): (Deed, Option<Touches>),
        payload: (Encoding, &[u8]),
        rows: &mut Rows,
    ) {
        let journal = self.all.get_mut(&id).expect("it was found or made");
        journal.last += 1;
        let seq = journal.last;
        let author_bytes = author.as_str().as_bytes();
        let told = Told { id: 0, seq, wall_ms, hash: [0; 16], deed, author: author_bytes, provenance, payload };
        let frames = self.copies.written(|frames| {
            frames.reserve(told.frame_bytes());
            told.write(frames);
            journal.hash = chained(&journal.hash, frames);
            Told::set_hash(frames, &journal.hash);
        });
        rows.put_entry(id, seq, &frames);
        let before = journal.undo.weight();
        journal.undo.apply(seq, author, deed);
        if let Deed::Do { first } = deed {
            journal.undo.grow(first, payload.1.len());
        }
        if let Some(touches) = touches {
            journal.undo.touches(seq, touches);
        }
        let others = self.units - before;
        while others + journal.undo.weight() > self.bounds.units_all
            && journal.undo.weight() > before
            && journal.undo.len() > 1
        {
            // Who appends pays for it: what all know of is no more than before.
            journal.undo.forget_first();
        }
        self.units = others + journal.undo.weight();
        for first in journal.undo.take_changed() {
            let unit = journal.undo.unit(first);
            if unit.is_none() && self.origins.get_mut(&id).is_some_and(|origins| origins.forget_unit(first)) {
                rows.put_foreign(id, first, None);
            }
            rows.put_unit(id, first, unit);
        }
        self.recent_bytes += frames.len();
        journal.recent.push_back(frames);
        self.recent.push_back(id);
        while self.recent_bytes > self.bounds.recent
            && let Some(oldest) = self.recent.pop_front()
        {
            let gone = self.all.get_mut(&oldest).and_then(|journal| journal.recent.pop_front());
            self.recent_bytes -= gone.map_or(0, |frames| frames.len());
        }
    }

    /// Takes back a journal that was kept.
    pub(super) fn restore(&mut self, key: &[u8], row: &[u8]) -> Result<(), FrameError> {
        let name = Name::from_bytes(key).map_err(|_| FrameError { offset: 0, expected: "a name" })?;
        let mut fields = Reader::new(row, 0);
        let id = fields.u32("a number")?;
        let (last, horizon) = (fields.u64("a place")?, fields.u64("a place")?);
        let hash = fields.array("a hash of 16 bytes")?;
        let offset = fields.offset();
        let strategy = Strategy::from_number(fields.u8("a strategy")?)
            .ok_or(FrameError { offset, expected: "1 (replay), 2 (refuse) or 3 (compensate)" })?;
        fields.end()?;
        let last = last - u64::from(planted(Bug::LastEntryAgain));
        let mut undo = UndoList::noting(self.bounds.units);
        undo.forget_before(horizon);
        let (present, recent) = (BTreeSet::new(), VecDeque::new());
        let past = Past::default();
        self.all.insert(id, Journal { name: name.clone(), strategy, last, hash, undo, present, recent, past });
        self.by_name.insert(name, id);
        Ok(())
    }

    /// Takes back what is known of a command, or of a group.
    pub(super) fn restore_unit(&mut self, key: &[u8], row: &[u8]) -> Result<(), FrameError> {
        let mut fields = Reader::new(key, 0);
        let id = u32::from_be_bytes(fields.array("a number")?);
        let first = u64::from_be_bytes(fields.array("a place")?);
        self.restored.insert((id, first), Unit::from_row(row)?);
        Ok(())
    }

    /// Takes back that a node is a member.
    pub(super) fn restore_present(&mut self, key: &[u8]) -> Result<(), FrameError> {
        let mut fields = Reader::new(key, 0);
        let id = u32::from_be_bytes(fields.array("a number")?);
        let node = Name::from_bytes(fields.rest()).map_err(|_| FrameError { offset: 4, expected: "a name" })?;
        self.restored_present.insert((id, node));
        Ok(())
    }

    /// Says who is a member of a journal that says so.
    pub(super) fn set_present(&mut self, id: JournalId, present: BTreeSet<Name>) {
        self.all.get_mut(&id).expect("who says so has seen its row").present = present;
    }

    /// Lets a journal end with this entry; nothing of what is in it can be undone then. Gives its row.
    pub(super) fn cut(&mut self, id: JournalId, last: u64, hash: [u8; 16]) -> Bytes {
        let journal = self.all.get_mut(&id).expect("who cuts it has seen its row");
        (journal.last, journal.hash) = (last, hash);
        self.units -= journal.undo.weight();
        journal.undo = UndoList::noting(self.bounds.units);
        journal.undo.forget_before(last + 1);
        journal.to_row(id)
    }

    /// All rows came back. Costs nothing when none has since the last call.
    pub(super) fn restored(&mut self) {
        for (id, past) in std::mem::take(&mut self.restored_past) {
            if let Some(journal) = self.all.get_mut(&id) {
                journal.past = past;
            }
        }
        for (id, node) in std::mem::take(&mut self.restored_present) {
            if let Some(journal) = self.all.get_mut(&id) {
                journal.present.insert(node);
            }
        }
        for ((id, first), unit) in std::mem::take(&mut self.restored) {
            if let Some(journal) = self.all.get_mut(&id) {
                let before = journal.undo.weight();
                journal.undo.restore(first, &unit);
                self.units += journal.undo.weight() - before;
            }
        }
    }
}

impl Journal {
    pub(super) fn to_row(&self, id: JournalId) -> Bytes {
        let mut row = id.to_le_bytes().to_vec();
        row.extend_from_slice(&self.last.to_le_bytes());
        row.extend_from_slice(&self.undo.horizon().to_le_bytes());
        row.extend_from_slice(&self.hash);
        row.push(self.strategy.number());
        row.into()
    }
}

impl Unit {
    pub(super) fn write_row(&self, row: &mut Vec<u8>) {
        let (what, place, by) = match &self.undone {
            None => (0, self.place, ""),
            Some(Some(by)) => (1, self.place, by.as_str()),
            Some(None) => (2, self.place, ""),
        };
        row.push(what);
        row.extend_from_slice(&place.to_le_bytes());
        put_short(row, self.author.as_str().as_bytes());
        put_short(row, by.as_bytes());
        row.extend_from_slice(&self.bytes.to_le_bytes());
        if let Some(touches) = &self.touches {
            // Nothing behind the mark for everything.
            row.push(u8::from(touches.hashes().is_none()));
            for hash in touches.hashes().unwrap_or_default() {
                row.extend_from_slice(&hash.to_le_bytes());
            }
        }
    }

    fn from_row(row: &[u8]) -> Result<Unit, FrameError> {
        let name = |bytes: &[u8]| Name::from_bytes(bytes).map_err(|_| FrameError { offset: 0, expected: "a name" });
        let mut fields = Reader::new(row, 0);
        let what = fields.u8("how a command stands")?;
        let place = fields.u64("a place")?;
        let author = name(fields.short_bytes("a name")?)?;
        let by = fields.short_bytes("a name")?;
        let bytes = fields.u64("the length of commands")?;
        let undone = match what {
            0 => None,
            1 => Some(Some(name(by)?)),
            2 => Some(None),
            _ => return Err(FrameError { offset: 0, expected: "0 (done), 1 (undone) or 2 (undone for good)" }),
        };
        let mut touches = None;
        if !fields.is_empty() {
            let everything = fields.u8("whether everything is touched")? != 0;
            let mut hashes = Vec::new();
            while !fields.is_empty() {
                hashes.push(fields.u64("the hash of a key")?);
            }
            touches = Some(Touches::from_hashes((!everything).then(|| hashes.into_iter())));
        }
        Ok(Unit { author, place, undone, bytes, touches })
    }
}

fn in_the_way(places: &[u64]) -> String {
    let more = if places.len() < IN_THE_WAY_MAX { "" } else { " and perhaps more" };
    let places = places.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "others have gone on from it: their entries {places}{more} touch the same; they are to be undone first, or to stay \
         with it"
    )
}

/// Why a journal does not serve a program whose state undoes otherwise.
pub(crate) fn other_strategy(what: &str, wanted: Strategy, has: Strategy) -> Refusal {
    let text = format!(
        "{what}: it undoes by {has} since its first entry, and this program by {wanted}; take another journal, or a state \
         with the same strategy"
    );
    Refusal::new(Code::BadRequest, text)
}

fn is_last(place: Option<u64>) -> String {
    match place {
        None | Some(0) => "no entry in it".into(),
        Some(place) => format!("entry {place} to be its last"),
    }
}

fn is_now(last: u64) -> String {
    if last == 0 { "it has none".into() } else { format!("that is {last} now") }
}

fn refused(what: &str, (journal, author): (&Name, &Name), why: UndoRefused, back: &Back) -> Refusal {
    let target = back.target.map_or_else(String::new, |target| format!(" of {target}"));
    let (code, why) = match why {
        UndoRefused::Nothing if back.everyone => (Code::BadRequest, format!("nothing is left to {what}")),
        UndoRefused::Nothing => (Code::BadRequest, format!("`{author}` has nothing left to {what}")),
        UndoRefused::Conflict { top: 0 } => (Code::UndoConflict, "somebody was faster, and nothing is left".to_owned()),
        UndoRefused::Conflict { top } => (Code::UndoConflict, format!("somebody was faster: the next is {top} now")),
        UndoRefused::NotYours => (Code::Forbidden, "it is another author's; ask for the scope of everyone".to_owned()),
        UndoRefused::Already => (Code::Conflict, format!("it cannot be taken for {what} as it stands now")),
        UndoRefused::Horizon { first } => {
            (Code::UndoHorizon, format!("it is too far back: entries before {first} stay as they are"))
        }
        UndoRefused::NoCommand => (Code::BadRequest, "no command or group that can be undone begins there".to_owned()),
        UndoRefused::InTheWay { places } => (Code::UndoConflict, in_the_way(&places)),
    };
    Refusal::new(code, format!("{what}{target} in `{journal}`: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_can_be_undone_the_last_is_known() {
        let (mut journals, mut rows) = (Journals::default(), Rows::new(false));
        let mut append = |journals: &mut Journals, name: &str, count: u64| {
            let commands = Commands::encode([(Encoding::Raw, &b"a"[..])].into_iter());
            let (commands, terms) = (Commands::encoded(&commands), Terms::new(None, false, Some(&[])));
            let appended = Appended::Commands { commands, expect_last: None, terms };
            for _ in 0..count {
                journals.append(name.as_bytes(), b"ann", 7, &appended, &mut rows).unwrap();
            }
        };
        let horizon = |journals: &Journals, name: &str| {
            let name = Name::parse(name).unwrap();
            journals.get(journals.find(&name).unwrap()).horizon()
        };
        append(&mut journals, "todo", 5);
        append(&mut journals, "room", 5);
        assert_eq!((journals.units(), horizon(&journals, "todo")), (10, 1));
        // As if others had what is missing to the bound.
        journals.units = UNDO_UNITS_ALL_MAX - 2;
        append(&mut journals, "todo", 5);
        assert_eq!(journals.units(), UNDO_UNITS_ALL_MAX);
        assert_eq!((horizon(&journals, "todo"), horizon(&journals, "room")), (4, 1), "who appends pays for it");
        append(&mut journals, "new", 3);
        assert_eq!(horizon(&journals, "new"), 3, "the last can always be undone");
    }
}
