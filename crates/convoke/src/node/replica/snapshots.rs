//! Snapshots of a follower's state: made and uploaded, so that others need not apply every entry; and begun with.

use std::sync::Arc;

use bytes::Bytes;
use convoke_core::frame::Piece;
use convoke_core::journal::{Replica, State};
use convoke_core::limits::SNAPSHOT_PIECE_BYTES_MIN;
use convoke_core::{Code, Name, Refusal};

use super::super::Node;
use super::{Follower, Shared, Task, why_ended};
use crate::error::Error;

/// What was made: the state behind this entry, by who knew that one.
struct Made {
    seq: u64,
    known: u64,
    bytes: Bytes,
}

/// Held by who uploads: an upload would throw out another one of the same node. In it is the place of the last that is
/// there.
pub(super) type Uploading = tokio::sync::Mutex<u64>;

impl<S: State> Shared<S> {
    /// Goes on from a snapshot. The sentence says why it cannot.
    pub(super) fn begin_at(&self, seq: u64, state: Bytes) -> Result<(), String> {
        let replica = Replica::from_snapshot(seq, state).map_err(|why| {
            format!(
                "the snapshot at {seq} is none of this program's state ({why}); if the program is older than the one that has \
                 made it, update it, and else have that one make another"
            )
        })?;
        let mut inner = self.lock();
        (inner.replica, inner.began_at) = (replica, seq);
        Ok(())
    }

    fn make(&self, what: &str) -> Result<Made, Error> {
        let (seq, known, bytes) = {
            let inner = self.lock();
            if let Some(ended) = &inner.ended {
                return Err(why_ended(what, ended));
            }
            let seq = inner.replica.snapshot_seq();
            if seq == 0 {
                let text = format!("{what}: all that was done in it can still be undone, and so has to stay");
                return Err(Error::Refused(Refusal::new(Code::BadRequest, text)));
            }
            (seq, inner.replica.seq(), inner.replica.snapshot()?)
        };
        // What cannot be read again is noticed by who makes it.
        Replica::<S>::from_snapshot(seq, bytes.clone())?;
        Ok(Made { seq, known, bytes })
    }

    /// The hash of an entry that was applied, at this place or behind it.
    async fn known(&self, seq: u64, what: &str) -> Result<(u64, [u8; 16]), Error> {
        let mut applied = self.applied.subscribe();
        loop {
            {
                let inner = self.lock();
                if inner.known.0 >= seq {
                    return Ok(inner.known);
                }
                if let Some(ended) = &inner.ended {
                    return Err(why_ended(what, ended));
                }
            }
            applied.changed().await.expect("the sender is in self");
        }
    }
}

impl<S> Follower<S>
where
    S: State + Send + 'static,
    S::Command: Send,
    S::Output: Send,
{
    /// Makes a snapshot of the state and uploads it to the hub, and gives its place: that of the last entry that cannot be
    /// undone any more, or with [`Strategy::Compensate`](crate::Strategy::Compensate) that of the last that was applied. Who
    /// follows from then on begins with it and applies only what came behind it; the entries before it stay until somebody
    /// lets them go ([`Node::compact`]). The newest snapshot takes the place of the one before. If this follower is uploading
    /// one already, that one is waited for first.
    ///
    /// A snapshot is the state as MessagePack with named fields: programs that share the journal must be able to read each
    /// other's. One that cannot applies every entry as long as they are kept, and is [stuck](crate::Missed::Stuck) then.
    /// Who reads the state meanwhile waits until it is encoded. It has 64 MiB at most.
    ///
    /// # Errors
    ///
    /// As [`append`](Node::append). [`Error::Refused`] if all commands of the journal can still be undone (the last 100,000
    /// can, or fewer if they are long), or at the limit; [`Error::Conflict`] if there is a newer one, somebody is
    /// uploading one, or somebody who follows is being told the one that there is, for which it stays, ten minutes at most;
    /// [`Error::BadPayload`] if the state cannot be written as MessagePack, or not be read again.
    ///
    /// Dropping the future leaves half an upload at the hub, which goes with the next one.
    pub async fn snapshot(&self) -> Result<u64, Error> {
        snapshot(&self.node, &self.journal, &self.shared).await
    }
}

async fn snapshot<S>(node: &Node, journal: &Name, shared: &Arc<Shared<S>>) -> Result<u64, Error>
where
    S: State + Send + 'static,
    S::Command: Send,
    S::Output: Send,
{
    let what = format!("snapshot of `{journal}`");
    let mut uploaded = shared.uploading.lock().await;
    let (there, of) = (shared.clone(), what.clone());
    let made = tokio::task::spawn_blocking(move || there.make(&of)).await;
    let Made { seq, known, bytes } = made.map_err(|_| {
        let text = format!("{what}: the program panicked while it made it");
        Error::Refused(Refusal::new(Code::BadRequest, text))
    })??;
    if seq == *uploaded {
        return Ok(seq);
    }
    let (known, hash) = shared.known(known, &what).await?;
    let total = bytes.len() as u64;
    let piece = |offset: usize, bytes| Piece { seq, known, hash, total, offset: offset as u64, bytes };
    node.ask_journal(|state| state.upload(journal, piece(0, &[]))).await?;
    let step = node.handle.shared.lock().state.snapshot_piece_bytes().max(SNAPSHOT_PIECE_BYTES_MIN);
    for (place, part) in bytes.chunks(step).enumerate() {
        node.ask_journal(|state| state.upload(journal, piece(place * step, part))).await?;
    }
    *uploaded = seq;
    Ok(seq)
}

/// Has a snapshot made by itself every so many entries.
pub(super) struct Snapshots {
    node: Node,
    journal: Name,
    every: u64,
    /// Where the last was made, or could have been.
    last: u64,
    uploading: Option<Task>,
}

impl Snapshots {
    pub(super) fn new<S: State>(node: Node, journal: Name, every: u64, shared: &Shared<S>) -> Snapshots {
        let last = shared.lock().began_at;
        Snapshots { node, journal, every: every.max(1), last, uploading: None }
    }

    /// Makes one if it is time for it, and none is being uploaded.
    pub(super) fn look<S>(&mut self, shared: &Arc<Shared<S>>)
    where
        S: State + Send + 'static,
        S::Command: Send,
        S::Output: Send,
    {
        let seq = shared.lock().replica.snapshot_seq();
        if seq < self.last.saturating_add(self.every) || self.uploading.as_ref().is_some_and(|task| !task.is_done()) {
            return;
        }
        self.last = seq;
        let (node, journal, shared) = (self.node.clone(), self.journal.clone(), shared.clone());
        let task = tokio::spawn(async move {
            // Somebody else may be faster, or nobody may at all: the next is tried all the same.
            let _ = snapshot(&node, &journal, &shared).await;
        });
        self.uploading = Some(Task(task.abort_handle()));
    }
}
