//! Numbered places that are used again.

use std::ops::{Index, IndexMut};

/// What is in a place.
pub(crate) enum Place<T> {
    Taken(T),
    /// The next free place, or [`END`].
    Free(u32),
}

/// The end of the chain of free places.
const END: u32 = u32::MAX;

/// Things in numbered places. Taking one out leaves a free place, which the next one gets.
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: u32,
    taken: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { places: Vec::new(), free: END, taken: 0 }
    }

    /// How many places are taken.
    pub(crate) fn len(&self) -> usize {
        self.taken
    }

    /// How many places there are, taken or free.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// What is in all places that are taken.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| match place {
            Place::Taken(thing) => Some(thing),
            Place::Free(_) => None,
        })
    }

    /// Puts something in; its place stays the same until it is removed.
    pub(crate) fn insert(&mut self, thing: T) -> u32 {
        self.taken += 1;
        if self.free == END {
            let place = u32::try_from(self.places.len()).ok().filter(|&place| place < END);
            let place = place.expect("the hub's limits keep every table far below 2^32 places");
            self.places.push(Place::Taken(thing));
            return place;
        }
        let place = self.free;
        match std::mem::replace(&mut self.places[place as usize], Place::Taken(thing)) {
            Place::Free(next) => self.free = next,
            Place::Taken(_) => unreachable!("only free places are in the chain of free places"),
        }
        place
    }

    /// Takes out what is in this place.
    pub(crate) fn remove(&mut self, place: u32) -> T {
        match std::mem::replace(&mut self.places[place as usize], Place::Free(self.free)) {
            Place::Taken(thing) => {
                self.free = place;
                self.taken -= 1;
                thing
            }
            Place::Free(_) => unreachable!("a place is freed once"),
        }
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, place: u32) -> &T {
        match &self.places[place as usize] {
            Place::Taken(thing) => thing,
            Place::Free(_) => unreachable!("nobody keeps the number of a place that is free"),
        }
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, place: u32) -> &mut T {
        match &mut self.places[place as usize] {
            Place::Taken(thing) => thing,
            Place::Free(_) => unreachable!("nobody keeps the number of a place that is free"),
        }
    }
}
