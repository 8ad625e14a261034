//! The node's side of services: what it offers, the calls it handles, and the calls it makes.

use super::NodeState;
use crate::frame::{Handle, Incarnation, Reply};

impl NodeState {
    pub(super) fn handle_call(&mut self, _call: &Handle<'_>) {}

    pub(super) fn reply(&mut self, _reply: &Reply<'_>) {}

    pub(super) fn cancelled(&mut self, _id: u64) {}

    pub(super) fn recalled(&mut self, _id: u64, _incarnation: Incarnation, _number: u64) {}
}
