//! The open calls of a hub, in numbered places, and the lists that each of them stands in.

use crate::frame::{Content, Incarnation, Select};
use crate::payload::Encoding;
use crate::time::Time;

/// Where a number would be and there is none.
pub(super) const NONE: u32 = u32::MAX;

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The place is free.
    Free,
    /// It waits for a provider; `place` is the service.
    Waiting,
    /// It was sent to an earlier start of the hub, or ended without its caller knowing how: providers were asked who has
    /// it. `place` is the service.
    Sought,
    /// A provider has it; `place` is the registration.
    Given,
}

/// One open call.
pub(super) struct Call {
    /// How often the place was used before: with the place, the hub's number for the call.
    pub(super) generation: u32,
    pub(super) state: State,
    /// The party that called, or [`NONE`] if nobody waits for the end any more.
    pub(super) caller: u32,
    /// See [`State`].
    pub(super) place: u32,
    /// The party that has it.
    pub(super) provider: u32,
    /// The calls before and after it in its list; the next free place.
    previous: u32,
    next: u32,
    /// The caller's number for it.
    pub(super) number: u64,
    /// The caller, also for those that ask who has it.
    pub(super) incarnation: Incarnation,
    /// When it must have ended.
    pub(super) due: Time,
    /// Until when it is sought.
    pub(super) sought: Time,
    /// Which of the calls given to its provider's link it is; zero once it was certainly written.
    pub(super) order: u64,
    pub(super) wait: bool,
    /// A provider had it that was lost: nothing that comes of it now makes it certain that it was not handled.
    pub(super) doubtful: bool,
    /// How its provider is chosen.
    pub(super) select: Selected,
    /// The ages of the registrations that it was given to and that have refused it.
    pub(super) refused_by: Vec<u64>,
    /// What it is called with, while the hub must be able to give it to another.
    pub(super) kept: Option<Box<Kept>>,
}

/// What a call is called with.
pub(super) struct Kept {
    encoding: Encoding,
    headers: bool,
    bytes: Box<[u8]>,
}

impl Kept {
    pub(super) fn new(content: Content<'_>) -> Box<Kept> {
        Box::new(Kept { encoding: content.encoding, headers: content.headers, bytes: content.bytes.into() })
    }

    pub(super) fn content(&self) -> Content<'_> {
        Content { encoding: self.encoding, headers: self.headers, bytes: &self.bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() + size_of::<Kept>()
    }
}

/// A selector that is kept. Only those with a name need memory of their own.
pub(super) enum Selected {
    Simple(Select<'static>),
    Node(Box<[u8]>),
    Host(Box<[u8]>),
}

impl Selected {
    pub(super) fn new(select: Select<'_>) -> Selected {
        Selected::Simple(match select {
            Select::Node(name) => return Selected::Node(name.into()),
            Select::Host(name) => return Selected::Host(name.into()),
            Select::Default => Select::Default,
            Select::First => Select::First,
            Select::RoundRobin => Select::RoundRobin,
            Select::Random => Select::Random,
            Select::LeastBusy => Select::LeastBusy,
            Select::Master => Select::Master,
            Select::CpuUsage => Select::CpuUsage,
            Select::FreeRam => Select::FreeRam,
        })
    }

    pub(super) fn select(&self) -> Select<'_> {
        match self {
            Selected::Simple(select) => *select,
            Selected::Node(name) => Select::Node(name),
            Selected::Host(name) => Select::Host(name),
        }
    }
}

/// Calls in their order. Each is in one list at a time.
#[derive(Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
    len: u32,
}

impl List {
    pub(super) const EMPTY: List = List { first: NONE, last: NONE, len: 0 };

    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }

    /// How many there are.
    pub(super) fn len(self) -> usize {
        self.len as usize
    }
}

/// All places.
pub(super) struct Calls {
    places: Vec<Call>,
    free: u32,
    open: usize,
    /// What the generation of a new place begins with: no number of a call is ever given twice.
    generation: u32,
}

/// With fewer places they are kept when the last call ends.
const KEPT_PLACES: usize = 1 << 16;

impl Calls {
    pub(super) fn new() -> Calls {
        Calls { places: Vec::new(), free: NONE, open: 0, generation: 0 }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// A new call of this caller, in no list yet.
    pub(super) fn insert(&mut self, caller: u32, incarnation: Incarnation, number: u64, due: Time) -> u32 {
        self.open += 1;
        let call = |generation| Call {
            generation,
            state: State::Waiting,
            caller,
            place: NONE,
            provider: NONE,
            previous: NONE,
            next: NONE,
            number,
            incarnation,
            due,
            sought: due,
            order: 0,
            wait: false,
            doubtful: false,
            select: Selected::Simple(Select::Default),
            refused_by: Vec::new(),
            kept: None,
        };
        if self.free == NONE {
            let place = u32::try_from(self.places.len()).ok().filter(|&place| place < NONE);
            let place = place.expect("callers and their open calls are bounded far below 2^32 together");
            self.places.push(call(self.generation));
            return place;
        }
        let place = self.free;
        let old = &mut self.places[place as usize];
        self.free = old.next;
        *old = call(old.generation);
        place
    }

    /// Frees the place of a call that is in no list.
    pub(super) fn remove(&mut self, place: u32) {
        let call = &mut self.places[place as usize];
        debug_assert!(call.state != State::Free, "a call ends once");
        call.state = State::Free;
        call.generation = call.generation.wrapping_add(1);
        (call.select, call.refused_by, call.kept) = (Selected::Simple(Select::Default), Vec::new(), None);
        call.next = self.free;
        self.free = place;
        self.open -= 1;
        if self.open == 0 && self.places.len() > KEPT_PLACES {
            // What a burst took goes back.
            self.generation = self.places.iter().map(|call| call.generation).max().unwrap_or_default();
            (self.places, self.free) = (Vec::new(), NONE);
        }
    }

    /// The hub's number for the call in this place.
    pub(super) fn id(&self, place: u32) -> u64 {
        u64::from(self.places[place as usize].generation) << 32 | u64::from(place)
    }

    /// The place of the call with this number, while it is open.
    #[inline]
    pub(super) fn find(&self, id: u64) -> Option<u32> {
        let place = id as u32;
        let call = self.places.get(place as usize)?;
        (call.state != State::Free && u64::from(call.generation) == id >> 32).then_some(place)
    }

    /// Every open call.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Call)> {
        (0..).zip(&self.places).filter(|(_, call)| call.state != State::Free)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.places.iter_mut().filter(|call| call.state != State::Free)
    }

    /// Puts a call at the end of a list.
    #[inline]
    pub(super) fn push(&mut self, list: &mut List, place: u32) {
        let call = &mut self.places[place as usize];
        (call.previous, call.next) = (list.last, NONE);
        match list.last {
            NONE => list.first = place,
            last => self.places[last as usize].next = place,
        }
        list.last = place;
        list.len += 1;
    }

    /// Takes a call out of the list that it is in.
    #[inline]
    pub(super) fn unlink(&mut self, list: &mut List, place: u32) {
        let Call { previous, next, .. } = self.places[place as usize];
        match previous {
            NONE => list.first = next,
            previous => self.places[previous as usize].next = next,
        }
        match next {
            NONE => list.last = previous,
            next => self.places[next as usize].previous = previous,
        }
        list.len -= 1;
    }

    /// The calls of a list, in their order.
    pub(super) fn of(&self, list: List) -> Vec<u32> {
        let next = |place: &u32| Some(self.places[*place as usize].next).filter(|next| *next != NONE);
        std::iter::successors(Some(list.first).filter(|first| *first != NONE), next).collect()
    }
}

impl std::ops::Index<u32> for Calls {
    type Output = Call;

    fn index(&self, place: u32) -> &Call {
        &self.places[place as usize]
    }
}

impl std::ops::IndexMut<u32> for Calls {
    fn index_mut(&mut self, place: u32) -> &mut Call {
        &mut self.places[place as usize]
    }
}
