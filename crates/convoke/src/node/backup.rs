//! A backup of all that a hub keeps, made while it runs.

use std::path::Path;
use std::time::Duration;

use convoke_core::{BACKUP_SERVICE, Payload};

use super::{CallOptions, Node};
use crate::error::Error;
use crate::store_folder::{Target, stopped};
use crate::{StoreProgress, StoreReport};

/// How long a piece is waited for. The first is the one that takes longest: whatever was asked for before is done first.
const PIECE_TIME: Duration = Duration::from_secs(30);

/// How often a piece is asked for whose reply was lost.
const TRIES_MAX: usize = 4;

impl Node {
    /// Writes a backup of all that the hub keeps into a file of this machine that is not there yet, while the hub goes on.
    /// What was acknowledged before is in it, what is acknowledged later is not, and all of it is as of one moment. It is
    /// there, whole and durable, when this returns, and not at all after an error. Only its owner can read it, since keys of
    /// tokens are in it.
    ///
    /// Only the hub's owner gets one: a node on a Unix socket of the hub's user, in its process, or with its admin token. The
    /// hub gives one at a time. It is read there by a thread of its own; room that is in it is not given back meanwhile, so the
    /// file of a busy hub may grow. `progress` is told how many bytes more were written, and says whether to go on. The file is
    /// written by whoever polls this, and read once more at the end. Cancel safe: nothing is left of it.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorized`] for anybody else. [`Error::Backpressure`] while another one is made. [`Error::Io`], of the kind
    /// [`AlreadyExists`](std::io::ErrorKind::AlreadyExists) if there is such a file. [`Error::Refused`] with
    /// [`Code::BadRequest`](crate::Code::BadRequest) if the hub keeps nothing, with
    /// [`Code::Cancelled`](crate::Code::Cancelled) if `progress` has said so, and with
    /// [`Code::StorageFailed`](crate::Code::StorageFailed) if what came is not what a hub writes. [`Error::Conflict`] if the
    /// hub was asked for nothing for a minute, or was started anew.
    pub async fn back_up(&self, to: impl AsRef<Path>, progress: &mut StoreProgress<'_>) -> Result<StoreReport, Error> {
        let mut target = Target::create(to.as_ref())?;
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|error| Error::io("random bytes for a backup", error.into()))?;
        let mut at = 0_u64;
        loop {
            let wanted = [id, at.to_le_bytes()].concat();
            let piece = self.piece(wanted).await?;
            if piece.is_empty() {
                return target.finish(progress);
            }
            target.write(&piece)?;
            at += piece.len() as u64;
            if !progress(piece.len() as u64) {
                return Err(stopped());
            }
        }
    }

    async fn piece(&self, wanted: Vec<u8>) -> Result<bytes::Bytes, Error> {
        let mut tries = 1;
        loop {
            let options = CallOptions { timeout: Some(PIECE_TIME), ..CallOptions::default() };
            match self.call_payload(BACKUP_SERVICE, Payload::raw(wanted.clone()), options).await {
                Ok(piece) => return Ok(piece.bytes),
                // The piece that was given last is given again.
                Err(Error::Unanswered(..)) if tries < TRIES_MAX => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }
}
