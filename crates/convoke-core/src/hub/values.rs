//! Values: writes on their way to the foundation and back, and watches.

use super::{HubState, LinkId};
use crate::frame::{Frame, Write};

impl HubState {
    pub(super) fn write(&mut self, _id: LinkId, _write: Write<'_>) {}

    pub(super) fn watch(&mut self, _id: LinkId, _watch: Frame<'_>) {}

    pub(super) fn taken(&mut self, _id: LinkId, _number: u32, _bytes: u32) {}

    /// Sets a value of the hub's own in memory, or deletes it.
    pub(super) fn set_hub_value(&mut self, name: &str, json: Option<String>) {
        #[cfg(test)]
        match json {
            Some(json) => self.told.insert(name.to_owned(), json),
            None => self.told.remove(name),
        };
        #[cfg(not(test))]
        let _ = (name, json);
    }

    /// False if there is no such watch.
    pub(super) fn unwatch(&mut self, _id: LinkId, _number: u32) -> bool {
        false
    }
}
