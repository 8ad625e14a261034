//! Services: who offers them, and calls on their way to a provider and back.
//!
//! A call stands in one place from its Call frame to its end; the hub's number for it is that place, so that a reply
//! finds it at once. Who calls and who handles is a *party*: a node of one incarnation, which outlives its link for a
//! few seconds, with its open calls. The parts: `calls` holds what is open, `choose` finds a provider, `way` brings a call
//! there and its end back, `lost` is what becomes of calls when a link is cut and when its node comes back, `due` ends
//! what took too long.

pub(super) mod backup;
mod calls;
mod choose;
mod due;
mod lost;
mod way;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FixedState;
use foldhash::quality::FoldHasher;
use hashbrown::HashTable;

use super::members::Members;
use super::{HubState, LinkId};
use calls::{Calls, List};
pub use choose::SelectDefault;

use crate::frame::{Frame, Incarnation};
use crate::limits::{
    PROVIDERS_LISTED_MAX, REGISTRATIONS_PER_NAME_MAX, SERVICE_NAME_BYTES_MAX, SERVICE_NAME_WORDS_MAX,
    SERVICES_PER_LINK_MAX,
};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::report::{ProviderReport, ServiceReport};
use crate::rights::{Principal, Verb, allow};
use crate::time::Time;
use crate::tree::slab::Slab;

/// The party of a link that has neither called nor offered anything.
pub(super) const NO_PARTY: u32 = calls::NONE;

/// A name that is offered, or that calls wait for.
struct Service {
    name: Name,
    /// The registrations, oldest first: in the order of their ages.
    listed: Vec<u32>,
    /// Of how many nodes they are.
    nodes: usize,
    /// Whose turn it is, as a place in `listed`.
    next: usize,
    /// Calls that wait for a provider.
    waiting: List,
    /// Calls that providers are asked for.
    sought: List,
}

/// A registration.
struct Offer {
    name: Name,
    party: u32,
    /// The provider's number for it.
    number: u32,
    /// Which of all registrations that ever were it is: it tells apart those that have had the same place.
    age: u64,
    idempotent: bool,
    /// Calls that it has and has not yet answered.
    open: usize,
    /// New calls may be given to it. One that is withdrawn stays until its calls have ended.
    listed: bool,
}

/// A node that has called or offered something, in one incarnation.
struct Party {
    node: Name,
    /// With which rights it called what is open, and was given what is kept for it.
    principal: Principal,
    author: Name,
    incarnation: Incarnation,
    /// What the node was before the hub forgot it: calls that it asks for again may have been made as that.
    former: Option<Incarnation>,
    link: Option<LinkId>,
    /// How long it is waited for, if it has no link.
    until: Time,
    /// The highest number of its calls.
    last: u64,
    /// Its open calls, by its own numbers.
    numbers: HashMap<u64, u32, FixedState>,
    /// Ends of its calls that it did not get with its last link, as frames.
    kept: BTreeMap<u64, Vec<u8>>,
    kept_bytes: usize,
    /// Its registrations on this link, by its own numbers.
    offers: BTreeMap<u32, u32>,
    /// The same by their services and ages. What is here is listed there, so no number of a service changes hands meanwhile.
    by_service: BTreeMap<(u32, u64), u32>,
    /// The calls that it has, in the order in which they were given to it.
    handling: List,
}

impl Party {
    /// Its registrations of this service, oldest first.
    fn offers_of(&self, service: u32) -> impl Iterator<Item = u32> + Clone {
        self.by_service.range((service, 0)..=(service, u64::MAX)).map(|(_, offer)| *offer)
    }
}

/// Everything about services. See the module's documentation.
pub(super) struct Services {
    seed: SharedSeed,
    names: HashTable<u32>,
    all: Slab<Service>,
    offers: Slab<Offer>,
    /// Registrations that ever were.
    offered: u64,
    parties: Slab<Party>,
    /// Parties without a link.
    away: BTreeMap<Name, u32>,
    calls: Calls,
    /// Calls that a provider has and nobody waits for any more, by their callers' incarnations and numbers: one of them may
    /// be asked for again. With the place of each, and the node that called.
    orphans: BTreeMap<(Incarnation, u64, u32), Name>,
    /// Not later than the first deadline of a call or a party.
    due: Option<Time>,
    /// Bytes of what calls are called with that are kept here.
    kept_bytes: usize,
    /// Counts what is offered, and what is not any more.
    changes: u64,
}

impl Services {
    pub(super) fn new(seed: u64) -> Services {
        Services {
            seed: SharedSeed::from_u64(seed),
            names: HashTable::new(),
            all: Slab::new(),
            offers: Slab::new(),
            offered: 0,
            parties: Slab::new(),
            away: BTreeMap::new(),
            calls: Calls::new(),
            orphans: BTreeMap::new(),
            due: None,
            kept_bytes: 0,
            changes: 0,
        }
    }

    /// Another number than before if something is offered, or is not any more.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether it is offered or waited for.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.find(name.as_str().as_bytes()).is_some()
    }

    /// The highest number of a party's calls.
    pub(super) fn last_call(&self, party: u32) -> u64 {
        self.parties[party].last
    }

    /// When [`HubState::sweep_calls`] must run at the latest.
    pub(super) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Services, registrations, open calls, parties.
    pub(super) fn census(&self) -> [usize; 4] {
        debug_assert!(self.orphans.len() <= self.calls.len(), "who is given up is an open call");
        debug_assert!(self.kept_bytes == 0 || self.calls.len() > 0, "what is kept is an open call's");
        debug_assert!(self.away.len() <= self.parties.len(), "who is away is a party");
        [self.all.len(), self.offers.len(), self.calls.len(), self.parties.len()]
    }

    /// Whether this party, if it is one, offers something.
    pub(super) fn is_provider(&self, party: u32) -> bool {
        party != NO_PARTY && !self.parties[party].offers.is_empty()
    }

    /// What the party has that has the most (open calls that it made, calls that it has, registrations), the calls that wait
    /// for the name for which the most wait, and what is kept of calls, in bytes.
    pub(super) fn busiest(&self) -> [usize; 5] {
        let most = |of: fn(&Party) -> usize| self.parties.iter().map(of).max().unwrap_or(0);
        let made = most(|party| party.numbers.len());
        let given = most(|party| party.handling.len());
        let offers = most(|party| party.offers.len());
        let waiting = self.all.iter().map(|service| service.waiting.len()).max().unwrap_or(0);
        [made, given, offers, waiting, self.kept_bytes]
    }

    /// The names that are offered or waited for.
    pub(super) fn named(&self) -> Vec<Name> {
        self.all.iter().map(|service| service.name.clone()).collect()
    }

    /// What can be told about a service.
    pub(super) fn report(&self, name: &Name, members: &Members) -> ServiceReport {
        let Some(service) = self.find(name.as_str().as_bytes()) else { return ServiceReport::default() };
        let Service { listed, waiting, .. } = &self.all[service];
        let providers = listed.iter().take(PROVIDERS_LISTED_MAX).map(|offer| {
            let Offer { party, idempotent, open, .. } = &self.offers[*offer];
            let node = &self.parties[*party].node;
            let info = members.get(node).and_then(|member| member.info.as_ref());
            ProviderReport {
                node: node.to_string(),
                open: *open,
                idempotent: *idempotent,
                host: info.map_or(String::new(), |info| info.host.clone()),
                cpu_permille: info.map_or(0, |info| info.cpu_permille),
                free_memory: info.map_or(0, |info| info.free_memory),
            }
        });
        ServiceReport {
            providers: providers.collect(),
            more: listed.len().saturating_sub(PROVIDERS_LISTED_MAX),
            waiting: waiting.len(),
        }
    }

    #[inline]
    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(0, &self.seed);
        hasher.write(name);
        hasher.finish()
    }

    /// The service of this name, if it is offered or waited for.
    #[inline]
    fn find(&self, name: &[u8]) -> Option<u32> {
        let same = |service: &u32| self.all[*service].name.as_str().as_bytes() == name;
        self.names.find(self.hash(name), same).copied()
    }

    fn find_or_insert(&mut self, name: &Name) -> u32 {
        if let Some(service) = self.find(name.as_str().as_bytes()) {
            return service;
        }
        let service = Service {
            name: name.clone(),
            listed: Vec::new(),
            nodes: 0,
            next: 0,
            waiting: List::EMPTY,
            sought: List::EMPTY,
        };
        let service = self.all.insert(service);
        self.changes += 1;
        let hash = self.hash(name.as_str().as_bytes());
        let Services { names, all, seed, .. } = self;
        names.insert_unique(hash, service, |other| {
            let mut hasher = FoldHasher::with_seed(0, seed);
            hasher.write(all[*other].name.as_str().as_bytes());
            hasher.finish()
        });
        service
    }

    /// Forgets a service that nobody offers and nobody waits for.
    fn drop_unused(&mut self, service: u32) {
        let Service { name, listed, waiting, sought, .. } = &self.all[service];
        if !listed.is_empty() || !waiting.is_empty() || !sought.is_empty() {
            return;
        }
        let hash = self.hash(name.as_str().as_bytes());
        if let Ok(entry) = self.names.find_entry(hash, |other| *other == service) {
            entry.remove();
        }
        self.all.remove(service);
        self.changes += 1;
    }

    /// No new call goes to this registration.
    fn unlist(&mut self, offer: u32) {
        if !std::mem::take(&mut self.offers[offer].listed) {
            return;
        }
        self.changes += 1;
        let Offer { name, party, age, .. } = &self.offers[offer];
        let (party, age) = (*party, *age);
        if let Some(service) = self.find(name.as_str().as_bytes()) {
            self.parties[party].by_service.remove(&(service, age));
            let last = self.parties[party].offers_of(service).next().is_none();
            let Service { listed, nodes, next, .. } = &mut self.all[service];
            let at = listed.partition_point(|other| self.offers[*other].age < age);
            debug_assert_eq!(listed.get(at), Some(&offer), "what is listed is in its place");
            listed.remove(at);
            *nodes -= usize::from(last);
            // Nobody misses a turn because an older one goes.
            *next -= usize::from(at < *next);
            self.drop_unused(service);
        }
        if self.offers[offer].open == 0 {
            self.offers.remove(offer);
        }
    }

    /// Makes sure that what is due then is not overlooked.
    #[inline]
    fn due_by(&mut self, due: Time) {
        if self.due.is_none_or(|before| due < before) {
            self.due = Some(due);
        }
    }
}

impl HubState {
    /// The party of a joined link.
    fn party(&mut self, id: LinkId) -> Option<u32> {
        let joined = self.links.joined(id)?;
        if joined.party != NO_PARTY {
            return Some(joined.party);
        }
        let (last, former) =
            self.sessions.get(joined.incarnation).map_or((0, None), |session| (session.calls, session.former));
        let party = self.services.parties.insert(Party {
            node: joined.node.clone(),
            principal: joined.principal.clone(),
            author: joined.author.clone(),
            incarnation: joined.incarnation,
            former,
            link: Some(id),
            until: Time::START,
            last,
            numbers: HashMap::default(),
            kept: BTreeMap::new(),
            kept_bytes: 0,
            offers: BTreeMap::new(),
            by_service: BTreeMap::new(),
            handling: List::EMPTY,
        });
        joined.party = party;
        Some(party)
    }

    /// A node offers a service.
    pub(super) fn serve(&mut self, id: LinkId, number: u32, idempotent: bool, service: &[u8]) {
        match self.try_serve(id, number, idempotent, service) {
            Ok((service, offer)) => {
                self.control(id, &Frame::Done { id: number, value: 0 });
                self.offered(id, service, offer);
            }
            Err(refusal) => self.refuse(id, number, &refusal),
        }
    }

    fn try_serve(&mut self, id: LinkId, number: u32, idempotent: bool, service: &[u8]) -> Result<(u32, u32), Refusal> {
        let name = Name::from_bytes(service).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        let refused = |code, why: &str| Err(Refusal::new(code, format!("service `{name}`: {why}")));
        if name.as_str().len() > SERVICE_NAME_BYTES_MAX || name.words().count() > SERVICE_NAME_WORDS_MAX {
            let why = format!(
                "the name of a service has at most {SERVICE_NAME_BYTES_MAX} bytes and {SERVICE_NAME_WORDS_MAX} words"
            );
            return refused(Code::BadName, &why);
        }
        let Some(party) = self.party(id) else { return refused(Code::Left, "the node has left") };
        if let Some(joined) = self.links.joined(id)
            && !allow(&joined.principal, Verb::Serve, name.as_str())
        {
            return Err(joined.principal.forbidden(&format!("service `{name}`"), Verb::Serve, name.as_str()));
        }
        let Party { node, offers, .. } = &self.services.parties[party];
        if offers.contains_key(&number) {
            return refused(Code::BadFrame, &format!("the number {number} is in use on this link"));
        }
        if offers.len() >= SERVICES_PER_LINK_MAX {
            return refused(Code::Limit, &format!("`{node}` offers {SERVICES_PER_LINK_MAX}, which is all it may"));
        }
        let before = self.services.find(name.as_str().as_bytes());
        let same = before.map_or(0, |service| self.services.parties[party].offers_of(service).count());
        if same >= REGISTRATIONS_PER_NAME_MAX {
            let why = format!("`{node}` offers it {REGISTRATIONS_PER_NAME_MAX} times, which is all it may");
            return refused(Code::Limit, &why);
        }
        let services = &mut self.services;
        let service = before.unwrap_or_else(|| services.find_or_insert(&name));
        services.offered += 1;
        let age = services.offered;
        let offer = services.offers.insert(Offer { name, party, number, age, idempotent, open: 0, listed: true });
        services.all[service].listed.push(offer);
        services.changes += 1;
        services.all[service].nodes += usize::from(same == 0);
        services.parties[party].offers.insert(number, offer);
        services.parties[party].by_service.insert((service, age), offer);
        self.attend(id);
        Ok((service, offer))
    }

    /// Withdraws a registration; calls that its provider has go on. False if there is no such registration.
    pub(super) fn unserve(&mut self, id: LinkId, number: u32) -> bool {
        let party = self.links.joined(id).map_or(NO_PARTY, |joined| joined.party);
        if party == NO_PARTY {
            return false;
        }
        let Some(offer) = self.services.parties[party].offers.remove(&number) else { return false };
        self.services.unlist(offer);
        self.unattend(id);
        true
    }
}
