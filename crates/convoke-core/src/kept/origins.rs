//! Journals that hubs pass on to each other: what has come of each other hub, and where its commands are here.
//!
//! Each hub has its own journal in its own order. An entry of another hub is let in if the place that it had there first is
//! higher than all that have come from that hub; so it is there once, whatever ways it has come. What a hub hands over it
//! hands over in its order and without a hole, so nothing is ever missing before something that is there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::journals::{JournalId, Journals};
use super::rows::{COME, FOREIGN, Rows, entry_key};
use crate::foundation::{RowChange, RowKey};
use crate::frame::{Brought, Carried, FrameError, Reader};
use crate::journal::{Deed, Origin, Provenance, Scope, Strategy, UndoRefused};
use crate::limits::JOURNAL_ORIGINS_MAX;
use crate::name::Name;
use crate::payload::Encoding;
use crate::refusal::{Code, Refusal};

/// In the place of a hub: the one that keeps this.
pub(crate) const HERE: [u8; 16] = [0; 16];

/// What has come of one other hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Come {
    /// The highest place that something had there that was there first.
    pub(crate) known: u64,
    /// Everything in its journal up to this place has come, from it or from others, and the hash of the entry there.
    pub(crate) carried: (u64, [u8; 16]),
}

/// What one journal has of other hubs.
#[derive(Debug, Default)]
pub(super) struct Origins {
    come: BTreeMap<[u8; 16], Come>,
    /// Units that were first elsewhere, of those that can be undone: where they are here, and where they were first.
    here: BTreeMap<Origin, u64>,
    first: BTreeMap<u64, Origin>,
}

impl Origins {
    /// Where a unit was first, if that was not here.
    pub(super) fn of_unit(&self, first: u64) -> Option<Origin> {
        self.first.get(&first).copied()
    }

    /// A unit cannot be undone any more.
    pub(super) fn forget_unit(&mut self, first: u64) -> bool {
        let known = self.first.remove(&first);
        known.is_some_and(|origin| self.here.remove(&origin).is_some())
    }

    fn note_unit(&mut self, first: u64, origin: Origin) {
        self.first.insert(first, origin);
        self.here.insert(origin, first);
    }

    /// Whether something can be known of all these hubs, each other than this one.
    fn has_room(&self, hubs: impl Iterator<Item = [u8; 16]>) -> bool {
        let new: BTreeSet<[u8; 16]> = hubs.filter(|hub| !self.come.contains_key(hub)).collect();
        self.come.len() + new.len() <= JOURNAL_ORIGINS_MAX
    }
}

/// What came of entries that were handed over.
pub(super) struct Done {
    pub(super) journal: Option<JournalId>,
    pub(super) seq: u64,
    pub(super) count: u32,
}

const KNOWN: Done = Done { journal: None, seq: 0, count: 0 };

impl Journals {
    /// What has come of other hubs into a journal.
    pub(crate) fn come(&self, id: JournalId) -> impl Iterator<Item = (&[u8; 16], &Come)> {
        self.origins.get(&id).into_iter().flat_map(|origins| &origins.come)
    }

    /// Decides what comes of an entry of another hub. What cannot be undone or done again here is left out, which is a refusal
    /// with [`Code::UndoConflict`] or [`Code::UndoHorizon`]; with any other nothing has changed.
    pub(super) fn carry(
        &mut self,
        name: &[u8],
        wall_ms: u64,
        carried: &Carried<'_>,
        rows: &mut Rows,
    ) -> Result<Done, Refusal> {
        let name = Name::from_bytes(name).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        let found = self.find(&name);
        let none = Origins::default();
        let origins = found.and_then(|id| self.origins.get(&id)).unwrap_or(&none);
        let before = origins.come.get(&carried.carrier).map_or(0, |come| come.carried.0);
        if carried.place <= before {
            return Ok(KNOWN);
        }
        if carried.after > before {
            let text = format!(
                "append to `{name}`: entries {} to {} of the other hub's journal are missing before this one",
                before + 1,
                carried.after
            );
            return Err(Refusal::new(Code::Conflict, text));
        }
        let hubs = [Some(carried.carrier), carried.brought.from().map(|(origin, _)| origin.hub)];
        if !origins.has_room(hubs.into_iter().flatten().filter(|hub| *hub != HERE)) {
            let text = format!(
                "append to `{name}`: it has entries of {} other hubs, which is all it may have",
                origins.come.len()
            );
            return Err(Refusal::new(Code::Limit, text));
        }
        let last = found.map_or(0, |id| self.get(id).last());
        let known = match carried.brought.from() {
            // An entry of this hub's own has come back.
            Some((Origin { hub: HERE, seq }, _)) if seq > last => {
                let text = format!(
                    "append to `{name}`: another hub knows entry {seq} of this one, which has {last}; was it restored from a \
                     backup? find out which of the two is right"
                );
                return Err(Refusal::new(Code::Diverged, text));
            }
            None | Some((Origin { hub: HERE, .. }, _)) => true,
            Some((origin, _)) => origins.come.get(&origin.hub).is_some_and(|come| origin.seq <= come.known),
        };
        let done = if known { Ok(KNOWN) } else { self.bring(&name, wall_ms, carried, rows)? };
        if let Some(id) = self.find(&name) {
            let origins = self.origins.entry(id).or_default();
            let mut note = |hub: [u8; 16], change: &dyn Fn(&mut Come)| {
                let come = origins.come.entry(hub).or_default();
                change(come);
                rows.put_come(id, hub, come);
            };
            note(carried.carrier, &|come| come.carried = (carried.place, carried.hash));
            if let Some((origin, _)) = carried.brought.from().filter(|_| !known) {
                let more =
                    if let Brought::Commands { commands, .. } = carried.brought { commands.len() - 1 } else { 0 };
                note(origin.hub, &|come| come.known = origin.seq + more as u64);
            }
        }
        done
    }

    /// Appends what is new. Fails if nothing may change; the inner result is an error if only this is left out.
    fn bring(
        &mut self,
        name: &Name,
        wall_ms: u64,
        carried: &Carried<'_>,
        rows: &mut Rows,
    ) -> Result<Result<Done, Refusal>, Refusal> {
        let author =
            |author: &[u8]| Name::from_bytes(author).map_err(|error| Refusal::new(Code::BadName, error.to_string()));
        let found = self.find(name);
        match carried.brought {
            Brought::Nothing => Ok(Ok(KNOWN)),
            Brought::Commands { origin, author: by, terms, commands } => {
                let author = author(by)?;
                let strategy = self.check_commands(name, &terms, commands)?;
                let id = found.unwrap_or_else(|| self.make(name.clone(), strategy));
                let first = self.get(id).last() + 1;
                if !terms.lasting {
                    self.origins.entry(id).or_default().note_unit(first, origin);
                    rows.put_foreign(id, first, Some(origin));
                }
                let mut touches = (strategy == Strategy::Refuse).then(|| terms.touches());
                let count = commands.len();
                for (place, command) in commands.iter().enumerate() {
                    let origin = Origin { seq: origin.seq + place as u64, ..origin };
                    let more = !terms.lasting && place + 1 < count;
                    let provenance = Provenance { origin: Some(origin), target: None, more };
                    let deed = Deed::Do { first: if terms.lasting { 0 } else { first } };
                    self.push(id, (&author, provenance), wall_ms, (deed, touches.take()), command, rows);
                }
                rows.put_journal(id);
                Ok(Ok(Done { journal: Some(id), seq: first, count: count as u32 }))
            }
            Brought::Back { origin, author: by, undoes, target } => {
                let author = author(by)?;
                let what = if undoes { "undo" } else { "redo" };
                let Some(id) = found else {
                    let text =
                        format!("{what} in `{name}`: the command is missing before it; the journal has no entry yet");
                    return Err(Refusal::new(Code::Conflict, text));
                };
                let known = self.origins.get(&id).and_then(|origins| origins.here.get(&target).copied());
                let first = if target.hub == HERE { Some(target.seq) } else { known };
                let checked = first.ok_or(UndoRefused::NoCommand).and_then(|first| {
                    let undo = self.get(id).undo();
                    match undoes {
                        true => undo.check_undo(&author, Scope::Everyone, Some(first), None),
                        false => undo.check_redo(&author, Scope::Everyone, Some(first), None),
                    }
                });
                let first = match checked {
                    Ok(first) => first,
                    Err(why) => return Ok(Err(left_out(what, name, target, &why))),
                };
                let provenance = Provenance {
                    origin: Some(origin),
                    target: Some(target).filter(|target| target.hub != HERE),
                    more: false,
                };
                let deed = if undoes { Deed::Undo(first) } else { Deed::Redo(first) };
                self.push(id, (&author, provenance), wall_ms, (deed, None), (Encoding::Raw, &[]), rows);
                rows.put_journal(id);
                Ok(Ok(Done { journal: Some(id), seq: self.get(id).last(), count: 1 }))
            }
        }
    }

    /// Entries at the end of a journal are gone, and nothing in it can be undone any more. What other hubs have had in it may
    /// come again from where it is `known`, if it is. Gives the rows that are others now, and those that go.
    pub(super) fn cut_origins(
        &mut self,
        id: JournalId,
        known: Option<&BTreeMap<[u8; 16], u64>>,
    ) -> Vec<(RowKey, RowChange)> {
        let Some(origins) = self.origins.get_mut(&id) else { return Vec::new() };
        origins.here.clear();
        let foreign = std::mem::take(&mut origins.first).into_keys();
        let foreign =
            foreign.map(|first| RowKey { table: FOREIGN, key: Bytes::copy_from_slice(&entry_key(id, first)) });
        let come = origins.come.iter_mut().filter_map(|(hub, come)| {
            *come = Come { known: known?.get(hub).copied().unwrap_or(0), carried: (0, [0; 16]) };
            let key = [&id.to_be_bytes()[..], hub].concat().into();
            Some((RowKey { table: COME, key }, RowChange::Put(come.to_row())))
        });
        come.chain(foreign.map(|key| (key, RowChange::Gone))).collect()
    }

    /// Takes back what has come of another hub.
    pub(super) fn restore_come(&mut self, key: &[u8], row: &[u8]) -> Result<(), FrameError> {
        let mut key = Reader::new(key, 0);
        let id = u32::from_be_bytes(key.array("a number")?);
        let hub = key.array("a hub of 16 bytes")?;
        let mut fields = Reader::new(row, 0);
        let come = Come {
            known: fields.u64("a place")?,
            carried: (fields.u64("a place")?, fields.array("a hash of 16 bytes")?),
        };
        fields.end()?;
        self.origins.entry(id).or_default().come.insert(hub, come);
        Ok(())
    }

    /// Takes back where a unit was first.
    pub(super) fn restore_foreign(&mut self, key: &[u8], row: &[u8]) -> Result<(), FrameError> {
        let mut key = Reader::new(key, 0);
        let id = u32::from_be_bytes(key.array("a number")?);
        let first = u64::from_be_bytes(key.array("a place")?);
        let mut fields = Reader::new(row, 0);
        let origin = Origin { hub: fields.array("a hub of 16 bytes")?, seq: fields.u64("a place")? };
        fields.end()?;
        self.origins.entry(id).or_default().note_unit(first, origin);
        Ok(())
    }
}

impl Come {
    pub(super) fn to_row(self) -> Bytes {
        let mut row = self.known.to_le_bytes().to_vec();
        row.extend_from_slice(&self.carried.0.to_le_bytes());
        row.extend_from_slice(&self.carried.1);
        row.into()
    }
}

/// Why an undo or redo of another hub is not done here.
fn left_out(what: &str, journal: &Name, target: Origin, why: &UndoRefused) -> Refusal {
    let (code, why) = match why {
        UndoRefused::Already => (Code::UndoConflict, "it stands otherwise here than where that was said"),
        UndoRefused::InTheWay { .. } => (Code::UndoConflict, "others have gone on from it here"),
        _ => (Code::UndoHorizon, "it is too far back here, or was never a command here"),
    };
    Refusal::new(code, format!("{what} in `{journal}` of what is entry {} of its hub: {why}", target.seq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Appended, Back, Commands, Terms};
    use crate::kept::windows::Windows;

    const A: [u8; 16] = [0xa; 16];
    const B: [u8; 16] = [0xb; 16];

    /// One hub's journals, to which others hand over.
    struct Hub {
        journals: Journals,
        rows: Rows,
    }

    impl Hub {
        fn new() -> Hub {
            Hub { journals: Journals::default(), rows: Rows::new(false) }
        }

        fn hand_over(
            &mut self,
            carrier: [u8; 16],
            (after, place): (u64, u64),
            brought: Brought<'_>,
        ) -> Result<u64, Code> {
            let carried = Carried { carrier, place, hash: [place as u8; 16], after, brought };
            self.journals.carry(b"todo", 7, &carried, &mut self.rows).map(|done| done.seq).map_err(|why| why.code)
        }

        /// A command that was first at this place of this hub.
        fn command(&mut self, carrier: [u8; 16], places: (u64, u64), (hub, seq): ([u8; 16], u64)) -> Result<u64, Code> {
            let commands = Commands::encode([(Encoding::Raw, &b"a"[..])].into_iter());
            let (terms, commands) = (Terms::default(), Commands::encoded(&commands));
            let brought = Brought::Commands { origin: Origin { hub, seq }, author: b"ann", terms, commands };
            self.hand_over(carrier, places, brought)
        }

        fn back(
            &mut self,
            places: (u64, u64),
            undoes: bool,
            (seq, target): (u64, ([u8; 16], u64)),
        ) -> Result<u64, Code> {
            let target = Origin { hub: target.0, seq: target.1 };
            let brought = Brought::Back { origin: Origin { hub: A, seq }, author: b"ann", undoes, target };
            self.hand_over(A, places, brought)
        }

        /// One of its own.
        fn append(&mut self, appended: &Appended<'_>) -> u64 {
            self.journals.append(b"todo", b"bob", 7, appended, &mut self.rows).unwrap().1
        }

        fn append_command(&mut self) -> u64 {
            let commands = Commands::encode([(Encoding::Raw, &b"a"[..])].into_iter());
            let (terms, commands) = (Terms::default(), Commands::encoded(&commands));
            self.append(&Appended::Commands { commands, expect_last: None, terms })
        }

        fn come(&self, hub: [u8; 16]) -> (u64, u64) {
            let id = self.journals.find(&Name::parse("todo").unwrap()).unwrap();
            let come = self.journals.come(id).find(|(other, _)| **other == hub).map(|(_, come)| *come);
            come.map_or((0, 0), |come| (come.known, come.carried.0))
        }
    }

    #[test]
    fn an_entry_of_another_hub_is_there_once_whatever_ways_it_comes() {
        let mut hub = Hub::new();
        assert_eq!(hub.command(A, (0, 1), (A, 1)), Ok(1));
        assert_eq!(hub.command(A, (0, 1), (A, 1)), Ok(0), "sent again");
        assert_eq!(hub.command(B, (0, 4), (A, 1)), Ok(0), "by another hub");
        assert_eq!((hub.come(A), hub.come(B)), ((1, 1), (0, 4)));
        assert_eq!(hub.command(B, (4, 5), (A, 2)), Ok(2));
        assert_eq!(hub.command(A, (1, 2), (A, 2)), Ok(0));
        assert_eq!(hub.hand_over(A, (2, 9), Brought::Nothing), Ok(0));
        assert_eq!((hub.come(A), hub.come(B)), ((2, 9), (0, 5)));
        assert_eq!(hub.command(A, (0, 1), (A, 1)), Ok(0), "very late");
        assert_eq!(hub.come(A), (2, 9), "it goes on from where it was");
    }

    #[test]
    fn nothing_is_let_in_before_what_was_before_it() {
        let mut hub = Hub::new();
        assert_eq!(hub.command(A, (0, 1), (A, 1)), Ok(1));
        assert_eq!(hub.command(A, (2, 3), (A, 3)), Err(Code::Conflict));
        assert_eq!(hub.come(A), (1, 1));
        // What is between was passed by, since it is no command, or known.
        assert_eq!(hub.command(A, (1, 3), (A, 3)), Ok(2));
        assert_eq!(hub.come(A), (3, 3));
    }

    #[test]
    fn a_hub_that_has_lost_entries_which_others_have_is_told() {
        let mut hub = Hub::new();
        hub.append_command();
        assert_eq!(hub.command(A, (0, 1), (HERE, 1)), Ok(0), "its own has come back");
        assert_eq!(hub.command(A, (1, 2), (HERE, 2)), Err(Code::Diverged));
        assert_eq!(hub.come(A), (0, 1));
    }

    #[test]
    fn an_undo_finds_its_command_or_is_left_out() {
        let mut hub = Hub::new();
        hub.append_command();
        assert_eq!(hub.command(A, (0, 1), (A, 1)), Ok(2));
        assert_eq!(hub.back((1, 2), true, (2, (A, 1))), Ok(3));
        assert_eq!(hub.back((2, 3), true, (3, (A, 1))), Err(Code::UndoConflict), "it is undone");
        assert_eq!(hub.back((3, 4), false, (4, (A, 1))), Ok(4));
        assert_eq!(hub.back((4, 5), true, (5, (HERE, 1))), Ok(5), "one of its own");
        assert_eq!(hub.back((5, 6), true, (6, (B, 1))), Err(Code::UndoHorizon), "it was never here");
        assert_eq!(hub.come(A), (6, 6), "what is left out has come all the same");
        // An undo that is said here says where its command was first.
        let back = Back { everyone: true, target: Some(2), expect_top: None };
        let seq = hub.append(&Appended::Undo(back));
        let id = hub.journals.find(&Name::parse("todo").unwrap()).unwrap();
        let frames = hub.journals.get(id).recent(seq).next().unwrap().clone();
        let Ok(Some((crate::frame::Frame::Entry(told), _))) = crate::frame::Frame::decode(&frames) else {
            panic!("an entry")
        };
        let expected = Provenance { origin: None, target: Some(Origin { hub: A, seq: 1 }), more: false };
        assert_eq!(told.provenance, expected);
    }

    #[test]
    fn where_commands_were_first_is_kept_as_long_as_they_can_be_undone() {
        let mut hub = Hub { journals: Journals::default(), rows: Rows::new(true) };
        hub.journals.bounds.units = 2;
        for seq in 1..=5 {
            assert_eq!(hub.command(A, (seq - 1, seq), (A, seq)), Ok(seq));
        }
        let mut kept = BTreeSet::new();
        for (key, change) in hub.rows.take(&hub.journals, &Windows::default()) {
            match change.row() {
                Some(_) => kept.insert(key),
                None => kept.remove(&key),
            };
        }
        let foreign: Vec<_> = kept.iter().filter(|key| key.table == FOREIGN).map(|key| &key.key[..]).collect();
        assert_eq!(foreign, [entry_key(1, 4), entry_key(1, 5)]);
        assert_eq!(hub.back((5, 6), true, (6, (A, 3))), Err(Code::UndoHorizon));
        assert_eq!(hub.back((6, 7), true, (7, (A, 4))), Ok(6));
    }

    #[test]
    fn what_no_program_could_append_no_hub_brings() {
        let mut hub = Hub::new();
        hub.append_command();
        let commands = |payload: &[u8]| Commands::encode([(Encoding::Raw, payload)].into_iter());
        let mut bring = |strategy, lasting, payload: &[u8]| {
            let (commands, origin) = (commands(payload), Origin { hub: A, seq: 1 });
            let (terms, commands) = (Terms::new(strategy, lasting, None), Commands::encoded(&commands));
            hub.hand_over(A, (0, 1), Brought::Commands { origin, author: b"ann", terms, commands })
        };
        // Replicas that replay could not undo what is before it.
        assert_eq!(bring(None, true, b"a"), Err(Code::BadRequest));
        assert_eq!(bring(Some(Strategy::Refuse), false, b"a"), Err(Code::BadRequest));
        assert_eq!(bring(None, false, &vec![0; crate::limits::COMMAND_BYTES_MAX + 1]), Err(Code::TooLarge));
        assert_eq!(bring(Some(Strategy::Replay), false, b"a"), Ok(2));
    }

    #[test]
    fn what_journals_know_of_other_hubs_has_a_bound() {
        let mut hub = Hub::new();
        for number in 1..=JOURNAL_ORIGINS_MAX as u128 {
            let other = number.to_le_bytes();
            assert!(hub.command(other, (0, 1), (other, 1)).is_ok());
        }
        assert_eq!(hub.command(A, (0, 1), (A, 1)), Err(Code::Limit));
        let first = 1u128.to_le_bytes();
        let mut almost = Hub::new();
        for number in 1..JOURNAL_ORIGINS_MAX as u128 {
            let other = number.to_le_bytes();
            assert!(almost.command(other, (0, 1), (other, 1)).is_ok());
        }
        assert_eq!(almost.command(A, (0, 1), (B, 1)), Err(Code::Limit), "of two that are new there is room for one");
        assert!(almost.command(A, (0, 1), (A, 1)).is_ok());
        assert!(hub.command(first, (1, 2), (first, 2)).is_ok());
    }
}
