//! How much of each of its limits a hub uses now.

use super::HubState;
use super::links::{Link, Phase};
use super::services::Services;
use crate::kept::Kept;
use crate::limits;
use crate::report::{Excess, LimitReport};

/// What the link has that has the most of it.
#[derive(Default)]
struct Busiest {
    subscriptions: usize,
    watches: usize,
    awaits: usize,
    topics: usize,
    bulk_bytes: usize,
    control_bytes: usize,
    calls_bytes: usize,
    replies_bytes: usize,
}

impl Busiest {
    fn add(&mut self, link: &Link, services: &Services) {
        let most = |to: &mut usize, of: usize| *to = (*to).max(of);
        if let Phase::Joined(joined) = &link.phase {
            if services.is_provider(joined.party) {
                most(&mut self.calls_bytes, link.lanes.calls.len());
            }
            most(&mut self.subscriptions, joined.subscriptions.len());
            most(&mut self.watches, joined.watches.len());
            most(&mut self.awaits, joined.awaits);
            most(&mut self.topics, joined.topics.len());
        }
        most(&mut self.bulk_bytes, link.lanes.bulk.bytes());
        most(&mut self.control_bytes, link.lanes.control.len());
        most(&mut self.replies_bytes, link.lanes.calls.len());
    }
}

impl HubState {
    /// How much of each limit is used, in a fixed order. Costs a look at every link, source, node that calls or offers
    /// something, and service.
    pub fn usage(&self) -> Vec<LimitReport> {
        let mut busiest = Busiest::default();
        self.links.iter().for_each(|link| busiest.add(link, &self.services));
        let [calls, given, offers, waiting, calls_kept] = self.services.busiest();
        let (changes, changes_bytes) = self.kept.changes.size();
        let answers_bytes: usize = [&self.kept, &self.memory].map(Kept::windows_bytes).iter().sum();
        let config = &self.config;
        let (durable, memory) = (&self.kept.values, &self.memory.values);
        use Excess::{Closed, Dropped, Forgotten, Refused, Slower};
        let all = [
            ("links", self.links.len(), config.links_max, Refused),
            ("links_per_source", self.links.most_of_source(), config.links_per_source_max, Refused),
            ("subscriptions", self.subscriptions, config.subscriptions_max, Refused),
            ("subscriptions_per_link", busiest.subscriptions, limits::SUBSCRIPTIONS_PER_LINK_MAX, Refused),
            ("watches_per_link", busiest.watches, limits::WATCHES_PER_LINK_MAX, Refused),
            ("topics", self.topics.len(), limits::TOPICS_MAX, Slower),
            ("topics_per_link", busiest.topics, limits::TOPICS_PER_LINK_MAX, Slower),
            ("bulk_bytes", self.bulk_bytes, config.hub_bulk_bytes_max, Dropped),
            ("link_bulk_bytes", busiest.bulk_bytes, config.link_bulk_bytes_max, Dropped),
            ("link_control_bytes", busiest.control_bytes, limits::LINK_CONTROL_BYTES_MAX, Closed),
            ("link_calls_bytes", busiest.calls_bytes, limits::LINK_CALLS_BYTES_MAX, Refused),
            ("link_replies_bytes", busiest.replies_bytes, limits::LINK_REPLIES_BYTES_MAX, Dropped),
            ("calls_per_caller", calls, limits::CALLS_PER_CALLER_MAX, Refused),
            ("calls_per_provider", given, limits::CALLS_PER_PROVIDER_MAX, Refused),
            ("calls_waiting_per_name", waiting, limits::CALLS_WAITING_PER_NAME_MAX, Refused),
            ("calls_kept_bytes", calls_kept, limits::CALLS_KEPT_BYTES_MAX, Refused),
            ("services_per_link", offers, limits::SERVICES_PER_LINK_MAX, Refused),
            ("values", durable.len(), limits::VALUES_MAX, Refused),
            ("values_bytes", durable.bytes(), limits::VALUES_BYTES_MAX, Refused),
            ("memory_values", memory.len(), limits::VALUES_MAX, Refused),
            ("memory_values_bytes", memory.bytes(), limits::VALUES_BYTES_MAX, Refused),
            ("gets_bytes", self.watches.gets_bytes, config.gets_bytes_max, Refused),
            ("answers_bytes", answers_bytes + self.conversation.answers_bytes, limits::ANSWERS_BYTES_MAX, Refused),
            ("appending_bytes", self.conversation.appending_bytes(), limits::APPENDING_BYTES_MAX, Refused),
            ("principals", self.kept.principals.len(), limits::PRINCIPALS_MAX, Refused),
            ("journals", self.kept.journals.len(), limits::JOURNALS_MAX, Refused),
            ("undo_units", self.kept.journals.units(), limits::UNDO_UNITS_ALL_MAX, Forgotten),
            ("entries_bytes", self.kept.journals.recent_bytes(), limits::ENTRIES_RECENT_BYTES_MAX, Slower),
            ("journal_members", self.followers.members_len(), limits::JOURNAL_MEMBERS_MAX, Refused),
            ("awaits_per_link", busiest.awaits, limits::AWAITS_PER_LINK_MAX, Refused),
            ("awaits_bytes", self.followers.waits_bytes(), limits::AWAITS_BYTES_MAX, Refused),
            ("pings", self.pings.len(), limits::PINGS_MAX, Refused),
            ("changes", changes, limits::CHANGES_MAX, Forgotten),
            ("changes_bytes", changes_bytes, config.changes_bytes_max, Forgotten),
            ("deleted", durable.deleted().max(memory.deleted()), limits::DELETED_MAX, Forgotten),
            ("incarnations_away", self.sessions.away_len(), limits::INCARNATIONS_AWAY_MAX, Forgotten),
            ("members_away", self.members.away_len(), limits::MEMBERS_AWAY_MAX, Forgotten),
        ];
        let report = |(name, used, most, excess): (&str, usize, usize, Excess)| LimitReport {
            name: name.to_owned(),
            used: used as u64,
            most: most as u64,
            excess,
        };
        all.map(report).into()
    }

    /// What [`usage`](HubState::usage) looks at, in links and the like.
    pub(super) fn usage_looks_at(&self) -> usize {
        let [services, _, _, parties] = self.services.census();
        self.links.len() + services + parties
    }
}
