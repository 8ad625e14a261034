//! Topics that have a number, and the route of each: the links that its events go to.
//!
//! A number is valid on every link that was told it, for the life of that link, and is not given to another topic while
//! any of them lives.

use std::ops::ControlFlow;

use super::LinkId;
use crate::limits::TOPICS_MAX;
use crate::name::{Name, Pattern};
use crate::tree::Tree;

/// The links that a topic's events go to.
#[derive(Default)]
pub(super) struct Route {
    /// Distinguishes this route from every other, earlier ones of the same topic included. Never zero.
    pub(super) stamp: u64,
    /// Links that were told the topic's number.
    pub(super) numbered: Vec<LinkId>,
    /// Links that get its name instead.
    pub(super) named: Vec<LinkId>,
    /// Links of other hubs, which get its name and where the event was first.
    pub(super) uplinks: Vec<LinkId>,
    /// Of whom each gets a part.
    pub(super) groups: Vec<Share>,
}

/// What a route has of one group.
pub(super) struct Share {
    /// At least one.
    pub(super) members: Vec<Member>,
    /// Whose turn it was.
    pub(super) turn: usize,
}

/// A subscription that is a member of a group.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) link: LinkId,
    pub(super) subscription: u32,
    /// The topic's number, if its link was told that, else zero.
    pub(super) number: u32,
}

struct Topic {
    name: Name,
    /// Links that were told the number.
    told: u32,
    /// `None` until an event asks for it again.
    route: Option<Route>,
}

pub(super) struct Topics {
    slots: Vec<Option<Topic>>,
    free: Vec<u32>,
    by_name: Tree<u32>,
    /// Those that have a route: what a subscription that comes or goes has to look at.
    routed: Tree<u32>,
    stamp: u64,
}

impl Topics {
    pub(super) fn new(seed: u64) -> Topics {
        Topics { slots: Vec::new(), free: Vec::new(), by_name: Tree::new(seed), routed: Tree::new(seed), stamp: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The number of a topic that has one, or a new one; `None` if the table is full.
    ///
    /// A new number that is not told to any link must be given back at once.
    pub(super) fn number(&mut self, name: &Name) -> Option<u32> {
        if let Some(number) = self.by_name.get(name.as_str()) {
            return Some(*number);
        }
        if self.by_name.len() >= TOPICS_MAX {
            return None;
        }
        let topic = Some(Topic { name: name.clone(), told: 0, route: None });
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize - 1] = topic;
                number
            }
            None => {
                self.slots.push(topic);
                // Zero stands for "by name" in a frame.
                u32::try_from(self.slots.len()).expect("topics are bounded far below 4 billion")
            }
        };
        self.by_name.get_or_insert_with(name.as_str(), || number);
        Some(number)
    }

    /// The number of a topic that has one.
    pub(super) fn known(&self, name: &Name) -> Option<u32> {
        self.by_name.get(name.as_str()).copied()
    }

    #[inline]
    fn get_mut(&mut self, number: u32) -> Option<&mut Topic> {
        self.slots.get_mut((number as usize).wrapping_sub(1))?.as_mut()
    }

    pub(super) fn name(&mut self, number: u32) -> Option<&Name> {
        self.get_mut(number).map(|topic| &topic.name)
    }

    /// One more link was told the number.
    pub(super) fn told(&mut self, number: u32) {
        if let Some(topic) = self.get_mut(number) {
            topic.told += 1;
        }
    }

    /// A link that was told the number is gone. With the last one the number is free.
    pub(super) fn give_back(&mut self, number: u32) {
        let Some(topic) = self.get_mut(number) else { return };
        topic.told = topic.told.saturating_sub(1);
        if topic.told == 0 {
            let name = topic.name.clone();
            self.slots[number as usize - 1] = None;
            self.free.push(number);
            self.by_name.remove(name.as_str());
            self.routed.remove(name.as_str());
        }
    }

    /// Sets the route that was built.
    pub(super) fn set_route(&mut self, number: u32, route: Route) {
        if let Some(topic) = self.get_mut(number) {
            topic.route = Some(route);
            let name = topic.name.clone();
            self.routed.get_or_insert_with(name.as_str(), || number);
        }
    }

    /// Takes the route out to be used; it is put back with [`put_route`](Topics::put_route).
    #[inline]
    pub(super) fn take_route(&mut self, number: u32) -> Option<Route> {
        self.get_mut(number)?.route.take()
    }

    /// Puts the route back. It is still right: no link is closed while a route is in use, see `HubState::doomed`.
    #[inline]
    pub(super) fn put_route(&mut self, number: u32, route: Route) {
        if let Some(topic) = self.get_mut(number) {
            topic.route = Some(route);
        }
    }

    /// The stamp of the route; zero if it must be built.
    #[inline]
    pub(super) fn stamp(&mut self, number: u32) -> u64 {
        self.get_mut(number).and_then(|topic| topic.route.as_ref()).map_or(0, |route| route.stamp)
    }

    pub(super) fn new_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// The route of this topic is no longer right.
    pub(super) fn forget_route(&mut self, number: u32) {
        if let Some(topic) = self.get_mut(number) {
            topic.route = None;
            let name = topic.name.clone();
            self.routed.remove(name.as_str());
        }
    }

    /// The topics that match and are wanted, `max` of them at most, each with how many links its events go to, if that is
    /// known. What it looks at is taken from `steps`, and when none are left it finds no more.
    pub(super) fn matched_by(
        &self,
        pattern: &str,
        max: usize,
        steps: &mut usize,
        wants: impl Fn(&Name) -> bool,
    ) -> Vec<(Name, Option<usize>)> {
        let links = |route: &Route| route.numbered.len() + route.named.len() + route.uplinks.len() + route.groups.len();
        let mut found = Vec::new();
        // Broken off or not: these are they.
        let _ = self.by_name.search(pattern, steps, |number| {
            if found.len() >= max {
                return ControlFlow::Break(());
            }
            let topic = self.slots.get((*number as usize).wrapping_sub(1)).and_then(Option::as_ref);
            if let Some(topic) = topic.filter(|topic| wants(&topic.name)) {
                found.push((topic.name.clone(), topic.route.as_ref().map(links)));
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// The routes of all topics that match are no longer right. Costs a step for each that has one, which its next event
    /// pays for again; so whoever subscribes and unsubscribes makes nobody search.
    pub(super) fn forget_routes(&mut self, pattern: &Pattern) {
        let mut found = Vec::new();
        self.routed.matched_by(pattern.as_str(), |number| found.push(*number));
        for number in found {
            self.forget_route(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_looks_only_at_topics_that_have_a_route() {
        let mut topics = Topics::new(1);
        let names: Vec<Name> = (0..100).map(|n| Name::parse(&format!("t/{n}")).unwrap()).collect();
        let numbers: Vec<u32> = names.iter().map(|name| topics.number(name).unwrap()).collect();
        for number in &numbers {
            topics.told(*number);
        }
        let stamp = topics.new_stamp();
        topics.set_route(numbers[7], Route { stamp, ..Route::default() });
        assert_eq!((topics.routed.len(), topics.stamp(numbers[7])), (1, stamp));
        topics.forget_routes(&Pattern::parse("t/#").unwrap());
        assert_eq!((topics.routed.len(), topics.stamp(numbers[7])), (0, 0));
        topics.set_route(numbers[8], Route { stamp, ..Route::default() });
        for number in numbers {
            topics.give_back(number);
        }
        assert_eq!((topics.len(), topics.routed.len()), (0, 0));
    }
}
