//! How one provider is chosen among several.

use std::cmp::Reverse;

use super::{HubState, NO_PARTY, Service, Services};
use crate::frame::{InfoOwned, MasterWish, Select};
use crate::hub::links::Links;
use crate::hub::members::Members;
use crate::limits::{CALLS_PER_PROVIDER_MAX, LINK_CALLS_BYTES_MAX};

/// How a hub chooses a provider for a call that does not say how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SelectDefault {
    /// The one that has offered it the longest.
    First,
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The one with the fewest open calls.
    LeastBusy,
    /// The one that is alive the longest, of those that may be master.
    Master,
    /// The one whose host uses its processors least.
    CpuUsage,
    /// The one whose host has the most free memory.
    FreeRam,
}

/// Why there is nobody to give a call to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nobody offers it.
    Provider,
    /// So many nodes offer it, and none of them fits.
    Fitting(usize),
    /// All that fit were given it, and have refused it.
    Willing,
    /// All that fit have too much to do; so many they are.
    Room(usize),
}

impl Missing {
    /// Whether somebody may come who has not been asked.
    pub(super) fn can_be_waited_for(self) -> bool {
        !matches!(self, Missing::Room(_))
    }
}

impl HubState {
    /// The registration that a call is to be given to, which is none of those of these ages.
    #[inline]
    pub(super) fn choose(&mut self, service: u32, select: Select<'_>, refused_by: &[u64]) -> Result<u32, Missing> {
        let select = self.meant(select);
        let HubState { links, services, random, members, nodes, .. } = self;
        let count = services.all[service].listed.len();
        if count == 0 {
            return Err(Missing::Provider);
        }
        let from = match select {
            Select::RoundRobin => {
                let service = &mut services.all[service];
                let from = if service.next < count { service.next } else { 0 };
                service.next = from + 1;
                from
            }
            Select::Random => (random.number() % count as u64) as usize,
            _ => 0,
        };
        // A node that is named is found without looking at all the others.
        let named = match select {
            Select::Node(name) => str::from_utf8(name).ok().and_then(|name| nodes.get(name)),
            _ => None,
        };
        let named = named.and_then(|link| links.joined(*link)).map(|joined| joined.party);
        let named = named.filter(|party| *party != NO_PARTY);
        let Service { listed, nodes, .. } = &services.all[service];
        let choice = Choice { links, members, services, listed, nodes: *nodes, refused_by };
        match select {
            // The first from there on that has room.
            Select::First | Select::RoundRobin | Select::Random | Select::Default => {
                let (before, after) = choice.listed.split_at(from);
                let room = after.iter().chain(before).position(|offer| choice.can_have_it(*offer));
                let place = room.map(|place| (from + place) % count);
                let place = place.ok_or_else(|| choice.missing(choice.listed.iter().copied()))?;
                let offer = choice.listed[place];
                if select == Select::RoundRobin {
                    services.all[service].next = place + 1;
                }
                Ok(offer)
            }
            Select::LeastBusy => choice.least(|_| true, |offer| services.offers[offer].open),
            Select::Node(_) => {
                let own = |party: u32| services.parties[party].offers_of(service);
                choice.least_of(named.into_iter().flat_map(own), |_| ())
            }
            Select::Host(_) => choice.least(|offer| choice.fits(offer, select), |offer| services.offers[offer].open),
            Select::Master => {
                let must = |offer| choice.wishes(offer) == Some(MasterWish::Must);
                let forced = choice.listed.iter().copied().any(must);
                choice
                    .least(|offer| choice.fits(offer, select) && (!forced || must(offer)), |offer| choice.since(offer))
            }
            Select::CpuUsage => choice.least(
                |_| true,
                |offer| {
                    let cpu = choice.info(offer).map_or(u32::MAX, |info| info.cpu_permille);
                    (cpu, services.offers[offer].open)
                },
            ),
            Select::FreeRam => choice.least(
                |_| true,
                |offer| {
                    let free = choice.info(offer).map_or(0, |info| info.free_memory);
                    (Reverse(free), services.offers[offer].open)
                },
            ),
        }
    }

    /// What this selector means at this hub.
    pub(super) fn meant<'a>(&self, select: Select<'a>) -> Select<'a> {
        match (select, self.config.select) {
            (Select::Default, SelectDefault::First) => Select::First,
            (Select::Default, SelectDefault::RoundRobin) => Select::RoundRobin,
            (Select::Default, SelectDefault::Random) => Select::Random,
            (Select::Default, SelectDefault::LeastBusy) => Select::LeastBusy,
            (Select::Default, SelectDefault::Master) => Select::Master,
            (Select::Default, SelectDefault::CpuUsage) => Select::CpuUsage,
            (Select::Default, SelectDefault::FreeRam) => Select::FreeRam,
            (other, _) => other,
        }
    }

    fn alone(&self) -> Choice<'_> {
        Choice {
            links: &self.links,
            members: &self.members,
            services: &self.services,
            listed: &[],
            nodes: 0,
            refused_by: &[],
        }
    }

    /// Whether this registration could be chosen, if there were no other.
    pub(super) fn fits(&self, offer: u32, select: Select<'_>) -> bool {
        self.alone().fits(offer, select)
    }

    /// Whether its provider can be given one call more.
    pub(super) fn has_room(&self, offer: u32) -> bool {
        self.alone().has_room(offer)
    }
}

/// Whom there is to choose from.
#[derive(Clone, Copy)]
struct Choice<'a> {
    links: &'a Links,
    members: &'a Members,
    services: &'a Services,
    listed: &'a [u32],
    /// Of how many nodes these are.
    nodes: usize,
    refused_by: &'a [u64],
}

impl<'a> Choice<'a> {
    fn has_refused(self, offer: u32) -> bool {
        self.refused_by.contains(&self.services.offers[offer].age)
    }

    fn can_have_it(self, offer: u32) -> bool {
        self.has_room(offer) && !self.has_refused(offer)
    }

    /// What its provider has of other services counts too.
    fn has_room(self, offer: u32) -> bool {
        let party = &self.services.parties[self.services.offers[offer].party];
        let link = party.link.and_then(|link| self.links.get(link));
        party.handling.len() < CALLS_PER_PROVIDER_MAX
            && link.is_some_and(|link| link.lanes.calls.len() <= LINK_CALLS_BYTES_MAX)
    }

    /// Whether it could be chosen by such a selector, whoever else there is.
    fn fits(self, offer: u32, select: Select<'_>) -> bool {
        match select {
            Select::Node(name) => {
                self.services.parties[self.services.offers[offer].party].node.as_str().as_bytes() == name
            }
            Select::Host(name) => self.info(offer).is_some_and(|info| info.host.as_bytes() == name),
            Select::Master => matches!(self.wishes(offer), Some(MasterWish::May | MasterWish::Must)),
            Select::Default
            | Select::First
            | Select::RoundRobin
            | Select::Random
            | Select::LeastBusy
            | Select::CpuUsage
            | Select::FreeRam => true,
        }
    }

    /// Whether its node can be master, if it has told.
    fn wishes(self, offer: u32) -> Option<MasterWish> {
        self.info(offer).map(|info| info.master)
    }

    fn info(self, offer: u32) -> Option<&'a InfoOwned> {
        let node = &self.services.parties[self.services.offers[offer].party].node;
        self.members.get(node)?.info.as_ref()
    }

    /// Since when its node is there; nodes that came in the same moment are told apart by their names.
    fn since(self, offer: u32) -> impl Ord + use<'a> {
        let node = &self.services.parties[self.services.offers[offer].party].node;
        (self.members.get(node).map(|member| member.since), node)
    }

    /// Of those that fit and have room, the first with the least.
    fn least<K: Ord>(self, fits: impl Fn(u32) -> bool, key: impl Fn(u32) -> K) -> Result<u32, Missing> {
        self.least_of(self.listed.iter().copied().filter(|offer| fits(*offer)), key)
    }

    fn least_of<K: Ord>(
        self,
        fitting: impl Iterator<Item = u32> + Clone,
        key: impl Fn(u32) -> K,
    ) -> Result<u32, Missing> {
        let found = fitting.clone().filter(|offer| self.can_have_it(*offer)).min_by_key(|offer| key(*offer));
        found.ok_or_else(|| self.missing(fitting))
    }

    /// Why none of those that fit can have it.
    fn missing(self, fitting: impl Iterator<Item = u32>) -> Missing {
        let (mut count, mut willing) = (0, 0);
        for offer in fitting {
            count += 1;
            willing += usize::from(!self.has_refused(offer));
        }
        match (count, willing) {
            (0, _) => Missing::Fitting(self.nodes),
            (_, 0) => Missing::Willing,
            (_, willing) => Missing::Room(willing),
        }
    }
}
