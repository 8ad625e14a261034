//! What was given growing numbers, until it is taken out.

use std::collections::VecDeque;

/// Places of things that were taken out, beyond as many as there are things left, before those left move together.
const GAPS_MAX: usize = 64;

/// Things by number, in the order of their numbers, of which a new one is mostly the greatest. Finding one is mostly a look
/// at one place, and things that are taken out in about the order in which they came cost nothing to move. They lie side by
/// side: what came last is in the processor's cache, unlike in a hashed map of thousands.
#[derive(Debug)]
pub struct Numbered<T> {
    places: VecDeque<(u64, Option<T>)>,
    taken: usize,
}

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered { places: VecDeque::new(), taken: 0 }
    }
}

impl<T> Numbered<T> {
    /// How many things there are.
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Puts in a thing, in place of the one that has its number. A number smaller than the last costs the moving of those
    /// behind it.
    pub fn insert(&mut self, number: u64, thing: T) {
        if self.places.back().is_none_or(|(last, _)| *last < number) {
            self.places.push_back((number, Some(thing)));
            self.taken += 1;
            return;
        }
        match self.place(number) {
            Some(place) => self.taken += usize::from(self.places[place].1.replace(thing).is_none()),
            None => {
                let place = self.places.partition_point(|(there, _)| *there < number);
                self.places.insert(place, (number, Some(thing)));
                self.taken += 1;
            }
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        // Numbers grow by one at least, so none is further back than that; mostly it is just there.
        let (first, _) = self.places.front()?;
        let guess = usize::try_from(number.checked_sub(*first)?).ok()?;
        match self.places.get(guess) {
            Some((there, _)) if *there == number => Some(guess),
            _ => self.places.binary_search_by_key(&number, |(there, _)| *there).ok(),
        }
    }

    /// The thing with this number.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.place(number)?;
        self.places[place].1.as_mut()
    }

    /// Takes out the thing with this number.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let place = self.place(number)?;
        let thing = self.places[place].1.take()?;
        self.taken -= 1;
        while let Some((_, None)) = self.places.front() {
            self.places.pop_front();
        }
        if self.places.len() > 2 * self.taken + GAPS_MAX {
            self.places.retain(|(_, thing)| thing.is_some());
        }
        Some(thing)
    }

    /// All things with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.places.iter().filter_map(|(number, thing)| Some((*number, thing.as_ref()?)))
    }

    /// All things, in order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|(_, thing)| thing.as_mut())
    }

    /// Takes out everything, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, T)> {
        self.taken = 0;
        std::mem::take(&mut self.places).into_iter().filter_map(|(number, thing)| Some((number, thing?)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::Random;

    #[test]
    fn it_holds_what_an_ordered_map_holds() {
        let mut random = Random::new([7; 32]);
        let (mut numbered, mut map) = (Numbered::default(), BTreeMap::new());
        let mut last = 0;
        for round in 0..100_000 {
            let any = random.number();
            // Grows, and shrinks to little again and again; one in a thousand stays for long.
            if any % 100 < if round % 2_000 < 1_000 { 60 } else { 30 } {
                last += 1 + (any >> 32) % 3;
                // Now and then one comes late, or again.
                let number = if any.is_multiple_of(7) { last.saturating_sub((any >> 40) % 20) } else { last };
                numbered.insert(number, round);
                map.insert(number, round);
            } else {
                let number = (any >> 32) % (last + 2);
                let number = map.range(number..).next().map_or(number, |(number, _)| *number);
                assert_eq!(numbered.get_mut(number).copied(), map.get(&number).copied());
                assert_eq!(numbered.remove(number), map.remove(&number));
                assert_eq!(numbered.remove(number), None, "it is taken out once");
            }
            assert_eq!(numbered.len(), map.len());
            assert!(numbered.places.len() <= 2 * numbered.len() + GAPS_MAX, "gaps are bounded");
        }
        assert!(numbered.iter().map(|(number, thing)| (number, *thing)).eq(map.clone()));
        assert!(numbered.drain().eq(map));
        assert!(numbered.is_empty() && numbered.get_mut(last).is_none());
    }

    #[test]
    fn one_that_stays_does_not_keep_the_places_of_those_that_went() {
        let mut numbered = Numbered::default();
        numbered.insert(1, 1);
        for number in 2..100_000 {
            numbered.insert(number, number);
            assert_eq!(numbered.remove(number), Some(number));
        }
        assert!(numbered.places.len() <= 2 + GAPS_MAX);
        assert_eq!(numbered.remove(1), Some(1));
    }
}
