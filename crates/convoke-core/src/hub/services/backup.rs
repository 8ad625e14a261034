//! The one service that the hub offers itself: a backup of all that it keeps, a piece for each call. What is in a piece, and
//! where it comes from, its shell knows.

use bytes::Bytes;

use super::{HubState, LinkId, NO_PARTY};
use crate::frame::{Call, Content, End};
use crate::hub::HubIdentity;
use crate::limits::BACKUP_PIECE_BYTES_MAX;
use crate::payload::Encoding;
use crate::refusal::{Code, Refusal};
use crate::rights::Rights;

/// The name of the service.
pub const SERVICE: &str = "$hub/backup";

/// A call of [`SERVICE`] that is to be [answered](HubState::answer_backup).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupCall {
    /// The caller's link.
    pub link: LinkId,
    /// The caller's number for it.
    pub number: u64,
    /// What it is called with, without headers.
    pub wanted: Bytes,
}

impl HubState {
    /// A node wants a piece of a backup. Everything that is kept is in one, so that only who may do everything gets it.
    pub(super) fn want_backup(&mut self, id: LinkId, call: &Call<'_>) -> Result<(), Refusal> {
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        if joined.principal.rights != Rights::everything() {
            let who = &joined.principal.name;
            let text = format!("backup: only the hub's owner gets it, and `{who}` is another; give it the admin token");
            return Err(Refusal::new(Code::Forbidden, text));
        }
        if call.content.headers {
            return Err(Refusal::new(Code::BadRequest, "backup: a call of it has no headers"));
        }
        let wanted = Bytes::copy_from_slice(call.content.bytes);
        self.backup_calls.push(BackupCall { link: id, number: call.number, wanted });
        Ok(())
    }

    /// Whether there are [calls for backups](HubState::backup_calls).
    pub fn has_backup_calls(&self) -> bool {
        !self.backup_calls.is_empty()
    }

    /// Which hub it is, and how long a piece of a backup may be that it gives, in bytes.
    pub fn gives_backups_of(&self) -> (HubIdentity, usize) {
        (self.identity, BACKUP_PIECE_BYTES_MAX.min(self.config.payload_bytes_max))
    }

    /// Calls for backups since the last time that it was asked. Whoever runs the hub answers each.
    pub fn backup_calls(&mut self) -> Vec<BackupCall> {
        std::mem::take(&mut self.backup_calls)
    }

    /// Whether a node is joined on a link still. Once it is not it never is again: a node that comes back has another one.
    pub fn is_joined(&mut self, link: LinkId) -> bool {
        self.links.joined(link).is_some()
    }

    /// Answers one. That of a link that is gone is nobody's.
    pub fn answer_backup(&mut self, link: LinkId, number: u64, piece: Result<&[u8], Refusal>) {
        let caller = self.links.joined(link).map(|joined| joined.party);
        let Some(caller) = caller.filter(|caller| *caller != NO_PARTY) else { return };
        match piece {
            Ok(bytes) => {
                let content = Content { encoding: Encoding::Raw, headers: false, bytes };
                self.answer(caller, number, End::Done(content));
            }
            Err(why) => self.answer(caller, number, End::Refused { code: why.code, text: &why.text }),
        }
    }
}
