//! Who is there: every node the hub has heard of lately, and how it is.

use super::services::NodeInfo;
use super::{HubState, LinkId};
use crate::frame::Info;

impl HubState {
    /// A node tells about itself.
    pub(super) fn info(&mut self, id: LinkId, info: &Info<'_>) {
        if let Some(joined) = self.links.joined(id) {
            joined.info = NodeInfo::new(info);
        }
    }
}
