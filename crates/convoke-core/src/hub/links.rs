//! The links of a hub, each with what is known about its node.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use foldhash::fast::FixedState;

use super::Peer;
use super::members::Beats;
use super::requests::Subscription;
use super::watches::{Asked, Turns};
use crate::frame::{Incarnation, Parts, Preface};
use crate::limits::LINK_BULK_BYTES_MAX;
use crate::name::Name;
use crate::outgoing::{Lanes, SlowPolicy};
use crate::proof::{TokenKey, Transcript};
use crate::refusal::Refusal;
use crate::rights::Principal;
use crate::time::Time;

/// One link of a hub. Never given twice to different links while the hub runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    slot: u32,
    generation: u32,
}

/// Where links come from, as far as they are counted by it: an address, or of IPv6 the network of which one subscriber of a
/// provider usually has all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source(IpAddr);

impl Source {
    /// The source of a link from this address; none if it is of the machine itself.
    pub(super) fn of(address: IpAddr) -> Option<Source> {
        match address.to_canonical() {
            address if address.is_loopback() => None,
            IpAddr::V6(address) => Some(Source(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into())),
            address => Some(Source(address)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// One live connection.
pub(super) struct Link {
    /// Its place among all links in the order in which they were opened.
    pub(super) opened: u64,
    pub(super) peer: Peer,
    pub(super) source: Option<Source>,
    pub(super) phase: Phase,
    pub(super) lanes: Lanes,
    /// By the clock of membership.
    pub(super) heard: Time,
    /// It was silent for so long that its node is suspected.
    pub(super) suspect: bool,
    /// It is in the list of links with something to write.
    pub(super) touched: bool,
    /// What waits is held back for a moment.
    pub(super) held: bool,
    /// Nothing more can be written; the connection is to be cut.
    pub(super) abort: bool,
    /// Bytes received before it joined.
    pub(super) before_join: usize,
    /// Since when, by the clock of membership, a frame has begun to come and is not whole.
    pub(super) half_since: Option<Time>,
    /// Its timer for that is set; when it comes the frame may be another one.
    pub(super) half_timed: bool,
}

pub(super) enum Phase {
    Preface,
    Hello { preface: [u8; Preface::BYTES] },
    Proof(Box<Candidate>),
    Joined(Box<Joined>),
    Closing,
}

/// A link whose Hello was read and who has yet to prove it.
pub(super) struct Candidate {
    pub(super) name: Name,
    pub(super) author: Name,
    /// `None` if the hub has no such token, which is not told.
    pub(super) key: Option<TokenKey>,
    pub(super) token: String,
    pub(super) transcript: Transcript,
    pub(super) resume: Option<Incarnation>,
    pub(super) takeover: bool,
    pub(super) uplink: bool,
    pub(super) slow: SlowPolicy,
}

/// What the hub knows about a node that is joined.
pub(super) struct Joined {
    pub(super) node: Name,
    pub(super) author: Name,
    pub(super) principal: Principal,
    pub(super) incarnation: Incarnation,
    pub(super) since: Time,
    pub(super) publisher: u32,
    pub(super) beats: Beats,
    /// It is a link of another hub.
    pub(super) uplink: bool,
    /// How many things it offers or follows.
    pub(super) attentive: u32,
    /// Its node has values that go with it, or wanted to: what lives as long as the node is something that it offers.
    pub(super) ephemeral: bool,
    /// When it was last sent a Beat.
    pub(super) beat_sent: Time,
    /// The last event received from this incarnation.
    pub(super) seq: u64,
    /// No event came on this link yet: the first may follow a gap, of what was lost with the link before.
    pub(super) fresh: bool,
    /// How many nodes its last event went to.
    pub(super) recipients: u64,
    /// The last write that came on this link.
    pub(super) cseq: u64,
    /// Writes that came on an earlier link and were refused on this one, by their numbers: they are on their way once more.
    pub(super) refused: BTreeMap<u64, Refusal>,
    pub(super) fragments: Fragments,
    /// Long frames that are no events and have begun.
    pub(super) parts: Parts,
    /// Topics whose numbers this link was told, with the stamp of the route that it may publish to; zero if it was not
    /// yet asked whether it may.
    pub(super) topics: HashMap<u32, u64, FixedState>,
    /// The topic of the last run and the stamp of its route: what a run of the same topic need not look up.
    pub(super) last: (u32, u64),
    /// Topics without a number for this link, whose routes it is in.
    pub(super) named: HashSet<u32, FixedState>,
    /// Publishers whose numbers this link was told, with their links.
    pub(super) publishers: BTreeMap<u32, LinkId>,
    /// Links that were told this publisher's number.
    pub(super) known_by: BTreeSet<LinkId>,
    pub(super) subscriptions: BTreeMap<u32, Subscription>,
    /// How many of them are members of groups.
    pub(super) shares: u32,
    /// If any is: publishers that are gone, and that this link has forgotten or will, by their numbers.
    pub(super) departed: BTreeMap<u32, Name>,
    /// Its members of groups for which something may wait: something has, since nothing did.
    pub(super) waiting: BTreeSet<u32>,
    /// Those that were withdrawn since, with their groups: what waits for them is to be given to others.
    pub(super) withdrawn: BTreeMap<u32, Name>,
    /// When that was searched for last.
    pub(super) searched: Time,
    /// The foundation was asked to remember its incarnation.
    pub(super) begun: bool,
    /// What it watches, and what it has asked for once and was not yet told.
    pub(super) watches: BTreeMap<u32, Asked>,
    /// How many of them are waits for members of journals.
    pub(super) awaits: usize,
    /// Those of them that something waits for, and that may take it.
    pub(super) turns: Turns,
    /// What it is among those who call and offer; [`NO_PARTY`](super::services::NO_PARTY) until it does.
    pub(super) party: u32,
}

/// The frames of an event of which more are to come.
#[derive(Default)]
pub(super) struct Fragments {
    pub(super) pieces: Vec<Bytes>,
    pub(super) bytes: usize,
}

impl Link {
    pub(super) fn new(peer: Peer, heard: Time) -> Link {
        Link {
            opened: 0,
            peer,
            source: None,
            phase: Phase::Preface,
            lanes: Lanes::new(SlowPolicy::default(), LINK_BULK_BYTES_MAX),
            heard,
            suspect: false,
            touched: false,
            held: false,
            abort: false,
            before_join: 0,
            half_since: None,
            half_timed: false,
        }
    }

    pub(super) const fn is_joined(&self) -> bool {
        matches!(self.phase, Phase::Joined(_))
    }

    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }

    pub(super) fn joined(&mut self) -> Option<&mut Joined> {
        match &mut self.phase {
            Phase::Joined(joined) => Some(joined),
            _ => None,
        }
    }
}

/// All links, in slots that are used again; a [`LinkId`] of an earlier use finds nothing.
#[derive(Default)]
pub(super) struct Links {
    slots: Vec<(u32, Option<Box<Link>>)>,
    free: Vec<u32>,
    opened: u64,
    /// How many each source has. Those that have none are not in it.
    sources: BTreeMap<Source, usize>,
}

impl Links {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many were ever opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// How many this source has.
    pub(super) fn of_source(&self, source: Source) -> usize {
        self.sources.get(&source).copied().unwrap_or(0)
    }

    /// How many the source has that has the most.
    pub(super) fn most_of_source(&self) -> usize {
        self.sources.values().copied().max().unwrap_or(0)
    }

    pub(super) fn insert(&mut self, mut link: Link) -> LinkId {
        self.opened += 1;
        if let Some(source) = link.source {
            *self.sources.entry(source).or_default() += 1;
        }
        link.opened = self.opened;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("links are bounded far below 4 billion")
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(Box::new(link));
        LinkId { slot, generation: *generation }
    }

    #[inline]
    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        match self.slots.get(id.slot as usize) {
            Some((generation, Some(link))) if *generation == id.generation => Some(link),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        match self.slots.get_mut(id.slot as usize) {
            Some((generation, Some(link))) if *generation == id.generation => Some(link),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn joined(&mut self, id: LinkId) -> Option<&mut Joined> {
        self.get_mut(id)?.joined()
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Box<Link>> {
        let source = self.get_mut(id)?.source;
        if let Some(source) = source
            && let Some(count) = self.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
        let (generation, place) = &mut self.slots[id.slot as usize];
        *generation = generation.wrapping_add(1);
        self.free.push(id.slot);
        place.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.slots.iter().filter_map(|(_, link)| link.as_deref())
    }

    pub(super) fn ids(&self) -> Vec<LinkId> {
        let all = self.slots.iter().enumerate();
        all.filter(|(_, (_, link))| link.is_some())
            .map(|(slot, (generation, _))| LinkId { slot: slot as u32, generation: *generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_network_and_never_the_machine_itself() {
        let shown = |text: &str| Source::of(text.parse().unwrap()).map(|source| source.to_string());
        assert_eq!(shown("127.0.0.1").or(shown("127.9.9.9")).or(shown("::1")).or(shown("::ffff:127.0.0.1")), None);
        assert_eq!(shown("192.0.2.7").unwrap(), "192.0.2.7");
        assert_eq!(shown("::ffff:192.0.2.7").unwrap(), "192.0.2.7");
        assert_eq!(shown("2001:db8:1:2:3:4:5:6").unwrap(), "2001:db8:1:2::/64");
        assert_eq!(shown("2001:db8:1:2::1"), shown("2001:db8:1:2:ffff::"));
    }

    #[test]
    fn of_a_source_without_links_nothing_is_left() {
        let mut links = Links::default();
        let source = Source::of("192.0.2.7".parse().unwrap());
        let [one, two] = [(); 2].map(|()| links.insert(Link { source, ..Link::new(Peer::Stranger, Time::START) }));
        links.insert(Link::new(Peer::Owner, Time::START));
        assert_eq!((links.of_source(source.unwrap()), links.most_of_source()), (2, 2));
        links.remove(one);
        links.remove(one);
        assert_eq!(links.most_of_source(), 1);
        links.remove(two);
        assert!(links.sources.is_empty());
    }
}
