//! Who is there: every node the hub has heard of lately, and how it is.

use super::{HubState, LinkId};
use crate::frame::Info;

impl HubState {
    /// A node tells about itself.
    pub(super) fn info(&mut self, _id: LinkId, _info: &Info<'_>) {}
}
