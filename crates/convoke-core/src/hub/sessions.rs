//! Who may come back: the incarnations that the hub gave, as long as it remembers them.

use std::collections::{BTreeMap, BTreeSet};

use super::LinkId;
use crate::frame::Incarnation;
use crate::limits::{INCARNATION_AWAY_TIME_MAX, INCARNATIONS_AWAY_MAX};
use crate::name::Name;
use crate::proof::TokenKey;
use crate::time::Time;

/// What is kept of an incarnation.
pub(super) struct Session {
    pub(super) node: Name,
    /// Who it is to the hub, on its last link.
    pub(super) principal: Name,
    /// Nobody may come back as it.
    pub(super) fenced: bool,
    /// Proves that who comes back is who left.
    pub(super) secret: TokenKey,
    /// The last event received from it.
    pub(super) received: u64,
    /// The highest number of its calls.
    pub(super) calls: u64,
    /// As what it may have made calls that this start of the hub knows nothing of: what it said it was when it joined first,
    /// and could not prove since the hub had forgotten it; or what it is, if the hub was started again since.
    pub(super) former: Option<Incarnation>,
    /// Its link, or since when it has none.
    pub(super) at: Result<LinkId, Time>,
}

/// All incarnations, with a bound on those that are away.
#[derive(Default)]
pub(super) struct Sessions {
    /// Boxed, since a tree that only ever grows at its end is half empty.
    all: BTreeMap<Incarnation, Box<Session>>,
    away: BTreeSet<(Time, Incarnation)>,
    counter: u64,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many of them are away.
    pub(super) fn away_len(&self) -> usize {
        self.away.len()
    }

    pub(super) fn next(&mut self, epoch: u64) -> Incarnation {
        self.counter += 1;
        Incarnation { epoch, counter: self.counter }
    }

    pub(super) fn get(&self, incarnation: Incarnation) -> Option<&Session> {
        self.all.get(&incarnation).map(|session| &**session)
    }

    /// Nobody may come back as this incarnation from now on.
    pub(super) fn fence(&mut self, incarnation: Incarnation) {
        if let Some(session) = self.all.get_mut(&incarnation) {
            session.fenced = true;
        }
    }

    /// Whether it was ever given, as far as that can be told in this epoch.
    pub(super) fn was_given(&self, incarnation: Incarnation, epoch: u64) -> bool {
        incarnation.epoch < epoch || incarnation.epoch == epoch && incarnation.counter <= self.counter
    }

    /// The highest number of its calls.
    pub(super) fn called(&mut self, incarnation: Incarnation, last: u64) {
        if let Some(session) = self.all.get_mut(&incarnation) {
            session.calls = last;
        }
    }

    /// A node has joined as this incarnation.
    pub(super) fn joined(&mut self, incarnation: Incarnation, session: Session) {
        if let Some(Err(since)) = self.all.insert(incarnation, Box::new(session)).map(|before| before.at) {
            self.away.remove(&(since, incarnation));
        }
    }

    /// Its link is gone; it may come back. Gives those that are forgotten now, as there are too many or it is too long ago.
    pub(super) fn away(&mut self, incarnation: Incarnation, received: u64, now: Time) -> Vec<Incarnation> {
        let mut forgotten = Vec::new();
        let Some(session) = self.all.get_mut(&incarnation) else { return forgotten };
        session.received = received;
        session.at = Err(now);
        self.away.insert((now, incarnation));
        while let Some(&(since, oldest)) = self.away.first()
            && (self.away.len() > INCARNATIONS_AWAY_MAX || now.since(since) > INCARNATION_AWAY_TIME_MAX)
        {
            self.forget(oldest);
            forgotten.push(oldest);
        }
        forgotten
    }

    /// It left for good, or is fenced.
    pub(super) fn forget(&mut self, incarnation: Incarnation) {
        if let Some(Err(since)) = self.all.remove(&incarnation).map(|before| before.at) {
            self.away.remove(&(since, incarnation));
        }
    }
}
