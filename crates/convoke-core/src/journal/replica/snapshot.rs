//! Snapshots of a replica: what another one needs to go on from there as if it had applied all entries up to it.
//!
//! Where a journal undoes by replaying, that is the state before everything that can be undone. Where it compensates, it is
//! the state at the end with the inverses of all that can be undone, since nobody can compute them later.

use std::collections::VecDeque;
use std::io::{self, Write};

use bytes::Bytes;

use super::{Known, Replica, State};
use crate::journal::{Deed, Entry, Origin, Provenance, Strategy, UndoList, Unit};
use crate::limits::{SNAPSHOT_BYTES_MAX, UNDO_UNITS_MAX};
use crate::name::Name;
use crate::payload::{Encoding, Payload, PayloadError};

/// The form of a snapshot, which is the first that is in it.
const FORM: u8 = 1;

/// Another hub, and a place there.
type OriginRow = ([u8; 16], u64);

/// A command that can be undone: place, author, time, where its unit begins, whether it is done; it, and its inverse; where
/// it was first, if that is another hub.
type KnownRow<N, C> = (u64, N, u64, u64, bool, C, Option<C>, Option<OriginRow>);

/// A unit that can be undone: where it begins, author, the place that made it as it is, how it stands (0 done, 1 undone, 2
/// undone for good), who has undone it, the length of its commands.
type UnitRow = (u64, String, u64, u8, String, u64);

/// What is known beside the state where it compensates: nothing before the first number can be undone; units; commands.
type Undoable<N, C> = (u64, Vec<UnitRow>, Vec<KnownRow<N, C>>);

impl<S: State> Replica<S> {
    /// The entry of whose end [`snapshot`](Replica::snapshot) would be the state now; zero if everything can still be undone.
    pub fn snapshot_seq(&self) -> u64 {
        match &self.lagging {
            // Between the two there is nothing but what is undone or done again before them.
            Some(lagging) => lagging.base_seq().max(self.undo.horizon() - 1),
            None => self.seq,
        }
    }

    /// Makes a snapshot, as the bytes that [`from_snapshot`](Replica::from_snapshot) takes with its place, which is
    /// [`snapshot_seq`](Replica::snapshot_seq). Costs what it costs to encode the state.
    ///
    /// # Errors
    ///
    /// What serde cannot write, or more than [`SNAPSHOT_BYTES_MAX`].
    pub fn snapshot(&self) -> Result<Bytes, PayloadError> {
        let undoable: Option<Undoable<&str, &S::Command>> =
            self.lagging.is_none().then(|| (self.undo.horizon(), self.unit_rows(), self.known_rows()));
        let state = self.lagging.as_ref().map_or(&self.end.state, |lagging| lagging.base_state());
        let mut out = Bounded(Vec::new());
        match rmp_serde::encode::write_named(&mut out, &(FORM, state, undoable)) {
            Ok(()) => Ok(out.0.into()),
            Err(error) => Err(PayloadError::new(format!("snapshot as MessagePack: {error}"))),
        }
    }

    fn unit_rows(&self) -> Vec<UnitRow> {
        let row = |first: u64| {
            let Unit { author, place, undone, bytes, .. } = self.undo.unit(first)?;
            let (how, by) = match undone {
                None => (0, String::new()),
                Some(Some(by)) => (1, by.to_string()),
                Some(None) => (2, String::new()),
            };
            Some((first, author.to_string(), place, how, by, bytes))
        };
        self.undo.firsts().filter_map(row).collect()
    }

    fn known_rows(&self) -> Vec<KnownRow<&str, &S::Command>> {
        let mut rows = Vec::with_capacity(self.known.len());
        for Known { entry, first, done, command, inverse } in &self.known {
            // One that is never undone is there for who asks for the last only.
            if let Some(command) = command.as_ref().filter(|_| *first != 0) {
                let Entry { seq, author, wall_ms, .. } = entry;
                let origin = entry.origin().map(|Origin { hub, seq }| (hub, seq));
                rows.push((*seq, author.as_str(), *wall_ms, *first, *done, command, inverse.as_ref(), origin));
            }
        }
        rows
    }

    /// The replica that goes on from a snapshot, which another program may have made: it is as if it had applied all entries up
    /// to `seq`. What was undone and can be is the same as elsewhere as soon as it has come to where the snapshot was made.
    ///
    /// # Errors
    ///
    /// It is none of such a state.
    pub fn from_snapshot(seq: u64, bytes: Bytes) -> Result<Replica<S>, PayloadError> {
        Replica::from_snapshot_within(seq, bytes, UNDO_UNITS_MAX)
    }

    /// The same, of a journal of which so many units can be undone.
    pub(crate) fn from_snapshot_within(seq: u64, bytes: Bytes, units_max: usize) -> Result<Replica<S>, PayloadError> {
        let bad = |why: &str| PayloadError::new(format!("snapshot: {why}"));
        let payload = Payload { encoding: Encoding::MessagePack, bytes };
        let (form, state, undoable): (u8, S, Option<Undoable<String, S::Command>>) = payload.decode()?;
        if form != FORM {
            return Err(bad("it has a form that this program does not know"));
        }
        if undoable.is_some() != (S::STRATEGY == Strategy::Compensate) {
            return Err(bad("it is of a state that undoes in another way"));
        }
        let (mut undo, mut known) = (UndoList::new(units_max), VecDeque::new());
        let Some((horizon, units, commands)) = undoable else {
            undo.forget_before(seq + 1);
            return Ok(Replica::at(seq, state, undo));
        };
        let name = |text: &str| Name::parse(text).map_err(|error| bad(&error.to_string()));
        undo.forget_before(horizon);
        for (first, author, place, how, by, bytes) in units {
            let undone = match how {
                0 => None,
                1 => Some(Some(name(&by)?)),
                2 => Some(None),
                _ => return Err(bad("a unit stands in no way that there is")),
            };
            undo.restore(first, &Unit { author: name(&author)?, place, undone, bytes, touches: None });
        }
        for (seq, author, wall_ms, first, done, command, inverse, origin) in commands {
            let origin = origin.map(|(hub, seq)| Origin { hub, seq });
            let provenance = Provenance { origin, ..Provenance::default() }.boxed();
            let entry = Entry { seq, author: name(&author)?, wall_ms, deed: Deed::Do { first }, provenance };
            known.push_back(Known { entry, first, done, command: Some(command), inverse });
        }
        let mut replica = Replica::at(seq, state, undo);
        replica.known = known;
        Ok(replica)
    }
}

/// Bytes, as many as a snapshot may have.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > SNAPSHOT_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {SNAPSHOT_BYTES_MAX} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
