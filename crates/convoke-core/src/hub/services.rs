//! Services: who offers them, and calls on their way to a provider and back.

use super::{HubState, LinkId};
use crate::frame::{Call, Reply};

impl HubState {
    pub(super) fn serve(&mut self, _id: LinkId, _number: u32, _idempotent: bool, _service: &[u8]) {}

    /// False if there is no such registration.
    pub(super) fn unserve(&mut self, _id: LinkId, _number: u32) -> bool {
        false
    }

    pub(super) fn call(&mut self, _id: LinkId, _call: Call<'_>) {}

    pub(super) fn reply(&mut self, _id: LinkId, _reply: Reply<'_>) {}

    pub(super) fn cancel(&mut self, _id: LinkId, _number: u64) {}
}
