//! The node's side of values: writes until they are answered, and what its watches get.

use super::NodeState;
use crate::frame::Value;
use crate::refusal::Refusal;
use crate::rev::Rev;

impl NodeState {
    pub(super) fn written(&mut self, _cseq: u64, _rev: Rev, _count: u32) {}

    pub(super) fn write_refused(&mut self, _cseq: u64, _why: Refusal) {}

    pub(super) fn value(&mut self, _value: &Value<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    pub(super) fn snapshot(&mut self, _id: u32, _durable: bool, _memory: bool, _first: u64) {}
}
