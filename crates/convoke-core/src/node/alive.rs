//! How a node shows that it is alive, how it knows that its hub is, and what it tells about itself.

use std::time::Duration;

use super::NodeState;
use crate::frame::{Frame, InfoOwned};
use crate::hub::beat_of;
use crate::limits;

/// Beats of one link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beats {
    pub(super) sent: u64,
    pub(super) heard: u64,
    /// Once so many were heard, the hub has answered one that was sent behind what makes the link beat more often.
    pub(super) known: u64,
}

impl NodeState {
    /// How often this link says that it is alive; `None` for never.
    pub(super) fn beat(&self, attentive: bool) -> Option<Duration> {
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        beat_of(millis(self.welcome.beat_ms), millis(self.welcome.beat_attentive_ms), attentive)
    }

    /// After how long without a byte the hub is gone.
    pub(super) fn hub_silence(&self) -> Option<Duration> {
        let usual = self.beat(false).map(|beat| beat * limits::BEATS_DEAD);
        // Until the hub knows of it, it beats as before.
        let is_known = self.beats.heard >= self.beats.known || usual.is_none();
        if self.attentive == 0 || !is_known {
            return usual;
        }
        let attentive = self.beat(true).map(|beat| beat * limits::BEATS_DEAD);
        // Before it became attentive nothing was to be heard so often.
        let before = self.attentive_since.since(self.heard);
        [usual, attentive.map(|attentive| attentive + before)].into_iter().flatten().min()
    }

    pub(super) fn send_beat(&mut self) {
        self.beat_at = self.beat(self.attentive > 0).map(|beat| self.now + beat);
        if self.beat_at.is_some() {
            self.beats.sent += 1;
            Frame::Beat { received: 0 }.encode(&mut self.lanes.control);
        }
    }

    /// The node offers or follows one thing more: as long as there is any, its link beats more often.
    pub(crate) fn attend(&mut self) {
        self.attentive += 1;
        if self.attentive == 1 {
            // On a slow link what makes the difference waits behind what was handed to the transport before.
            let waits = self.seq > self.received || self.values.has_writes();
            self.beats.known = if waits { self.beats.sent + 1 } else { 0 };
            self.change_beat();
        }
    }

    /// The node offers or follows one thing less.
    pub(crate) fn unattend(&mut self) {
        self.attentive = self.attentive.saturating_sub(1);
        if self.attentive == 0 {
            self.change_beat();
        }
    }

    /// Who calls for a registration or a watch does not say what time it is.
    pub(super) fn change_beat(&mut self) {
        if self.is_joined() && (self.beat(true), self.beat(false)) != (None, None) {
            self.beat_changed = true;
            self.beat_at = Some(self.now);
        }
    }

    /// What the node tells the hub about itself, now and whenever it joins again.
    pub fn set_info(&mut self, info: InfoOwned) {
        self.info = Some(info);
        self.send_info();
    }

    pub(super) fn send_info(&mut self) {
        if let Some(info) = &self.info
            && self.is_joined()
            && self.lanes.control.len() < limits::LINK_CONTROL_BYTES_MAX
        {
            Frame::Info(info.as_info()).encode(&mut self.lanes.control);
        }
    }
}
