//! Joins and leaves as entries: journals are made to say who is a member, for those members that want it.
//!
//! What a journal says is compared with what is so whenever one of the two changes, and one entry is on its way for each
//! member at most. So whatever the foundation refuses or does twice, in the end the journal says what is so.

use std::collections::BTreeSet;

use crate::hub::{HubState, Timer};
use crate::limits::APPEND_RETRY_TIME;
use crate::name::Name;
use crate::operation::Operation;

/// What journals are being made to say.
#[derive(Default)]
pub(super) struct Announcements {
    /// Of which journals and nodes an entry is on its way.
    on_the_way: BTreeSet<(Name, Name)>,
    /// Those for which there was no room.
    later: BTreeSet<(Name, Name)>,
}

impl HubState {
    /// Whether a node is a member of a journal that is to say so, or what it says, may have changed.
    pub(super) fn announce(&mut self, journal: &Name, node: &Name) {
        let pair = (journal.clone(), node.clone());
        let joined = self.is_announced(journal, node);
        let ready = self.is_ready();
        let announcements = &mut self.followers.announcements;
        if !ready || announcements.on_the_way.contains(&pair) || self.kept.journals.is_present(journal, node) == joined
        {
            return;
        }
        if self.conversation.check_room().is_err() {
            return self.announce_later(pair);
        }
        announcements.on_the_way.insert(pair);
        let strategy = self.followers.wanted_strategy(journal);
        let (journal, node) = (journal.as_str().as_bytes(), node.as_str().as_bytes());
        self.conversation.append(&Operation::Presence { wall_ms: self.wall_ms(), journal, node, joined, strategy });
    }

    fn announce_later(&mut self, pair: (Name, Name)) {
        self.followers.announcements.later.insert(pair);
        if !self.timers.is_set(Timer::Announce) {
            self.timers.set(self.now + APPEND_RETRY_TIME, Timer::Announce);
        }
    }

    /// There may be room now.
    pub(in crate::hub) fn expire_announce(&mut self) {
        for (journal, node) in std::mem::take(&mut self.followers.announcements.later) {
            self.announce(&journal, &node);
        }
    }

    /// An entry that says whether a node is a member was decided on. One that was uncertain comes twice, and the second time
    /// it may not be on the way any more, and another be there since.
    pub(in crate::hub) fn announced(&mut self, journal: Name, node: Name, joined: bool, is_ours: bool) {
        let pair = (journal, node);
        let was_on_the_way = self.followers.announcements.on_the_way.remove(&pair);
        if !is_ours && !was_on_the_way && !self.is_announced(&pair.0, &pair.1) {
            // Another hub has asked for it, and knows why.
            return;
        }
        if self.kept.journals.is_present(&pair.0, &pair.1) == joined {
            self.announce(&pair.0, &pair.1);
        } else {
            // The hub has all the journals that it may have.
            self.announce_later(pair);
        }
    }

    /// The foundation did not take it.
    pub(in crate::hub) fn not_announced(&mut self, journal: &[u8], node: &[u8]) {
        if let (Ok(journal), Ok(node)) = (Name::from_bytes(journal), Name::from_bytes(node)) {
            let pair = (journal, node);
            self.followers.announcements.on_the_way.remove(&pair);
            self.announce_later(pair);
        }
    }
}
