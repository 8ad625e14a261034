//! Where a follower begins that knows nothing yet, or lacks entries that are not kept any more: with the journal's snapshot, if
//! it can take one, else with the first entry that there is.

use bytes::Bytes;

use super::{Audience, Follower};
use crate::bug::{Bug, planted};
use crate::foundation::RowKey;
use crate::frame::{self, Frame};
use crate::hub::HubState;
use crate::kept::{JournalId, Past, Snapshot, piece_in};
use crate::limits::{BASE_BYTES_MAX, SNAPSHOT_TOLD_TIME_MAX};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// The snapshot that a follower is being told.
pub(super) struct Base {
    snapshot: Snapshot,
    /// So many of its bytes were told.
    told: u64,
}

/// A newer snapshot was first turned away for the sake of those who are told the one of this number, and when.
pub(super) type Held = (u64, Time);

impl HubState {
    /// Whether the upload of a newer snapshot may begin. Who is being told the one that there is would begin anew with it, and
    /// never come to an end if that happens often enough. An upload that was under way before is taken all the same; so
    /// each begins anew twice at most, if it can take a snapshot in [`SNAPSHOT_TOLD_TIME_MAX`].
    pub(super) fn may_be_replaced(&mut self, journal: &Name) -> Result<(), Refusal> {
        let (now, all) = (self.now, &self.followers.all);
        let Some(Audience { follows, held, .. }) = self.followers.by_journal.get_mut(journal) else { return Ok(()) };
        let told = follows.iter().filter_map(|key| all[*key].base.as_ref()).map(|base| base.snapshot);
        let Some(told) = told.max_by_key(|snapshot| snapshot.number) else { return Ok(()) };
        let since = held.filter(|(number, _)| *number == told.number).map_or(now, |(_, since)| since);
        *held = Some((told.number, since));
        if now >= since + SNAPSHOT_TOLD_TIME_MAX {
            return Ok(());
        }
        let text = format!(
            "upload a snapshot of `{journal}`: the one at {} is being told to who follows, and stays until that is done, {} s \
             at most; try again later",
            told.seq,
            SNAPSHOT_TOLD_TIME_MAX.as_secs()
        );
        Err(Refusal::new(Code::Conflict, text))
    }
}

impl Base {
    /// Which piece of which upload is next.
    pub(super) fn piece(&self) -> (u64, u32) {
        (self.snapshot.number, self.snapshot.piece_at(self.told))
    }
}

impl Follower {
    /// Compares what it lacks with what is kept, and begins with something else where that is to be. False if the last entry
    /// that its node has is another one here.
    pub(super) fn past(&mut self, past: &Past, lane: &mut Vec<u8>) -> bool {
        let first = past.first();
        if self.next + 1 == first
            && let Some(expected) = self.check.take()
        {
            if expected != *past.before() {
                return false;
            }
            self.next = first;
        }
        // The entry that is looked at again is one that its node has.
        let has = if self.check.is_some() { self.next } else { self.next - 1 };
        let lacks = self.next < first;
        let snapshot = past.snapshot().filter(|snapshot| {
            let helps = has == 0 || lacks;
            helps && snapshot.seq > has && snapshot.known <= self.snapshot_max
        });
        match (&self.base, snapshot) {
            (Some(base), Some(snapshot)) if base.snapshot.number == snapshot.number => {}
            (_, Some(snapshot)) => self.base = Some(Base { snapshot: *snapshot, told: 0 }),
            (_, None) => self.base = None,
        }
        if lacks && self.base.is_none() {
            self.check = None;
            self.next = first;
            Frame::Compacted { id: self.id, first, hash: *past.before() }.encode(lane);
        }
        true
    }

    /// Tells the piece of the snapshot that was read. False if it is not there.
    pub(super) fn tell_base(
        &mut self,
        id: JournalId,
        past: &Past,
        rows: &[(RowKey, Bytes)],
        lane: &mut Vec<u8>,
    ) -> bool {
        let Some(Base { snapshot, mut told }) = self.base.take() else { return true };
        if past.snapshot().is_none_or(|newest| newest.number != snapshot.number) {
            // A newer one has come, and it begins anew with that.
            return true;
        }
        let number = (snapshot.number, snapshot.piece_at(told));
        let Some(piece) = piece_in(rows, id, number) else { return false };
        for bytes in piece.chunks(BASE_BYTES_MAX) {
            let Snapshot { seq, hash, total, .. } = snapshot;
            let seq = if planted(Bug::SnapshotOfAnotherPlace) { seq + 1 } else { seq };
            let base = frame::Base { id: self.id, seq, hash, total, offset: told, bytes };
            Frame::Base(base).encode(lane);
            self.credit -= base.frame_bytes() as i64;
            told += bytes.len() as u64;
        }
        if told < snapshot.total {
            self.base = Some(Base { snapshot, told });
        } else {
            self.check = None;
            self.next = snapshot.seq + 1;
        }
        true
    }
}
