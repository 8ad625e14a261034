//! What the hub must think of its nodes.

use std::time::Duration;

use super::Checker;
use super::world::{ConnId, World};
use crate::hub::HubState;
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::report::MemberState;
use crate::time::Time;

/// A node that has no link.
#[derive(Debug)]
pub(super) struct Away {
    /// When it was last heard.
    heard: Time,
    /// It has said that it will not come back.
    goodbye: bool,
}

impl World {
    fn member(&self, node: &Name) -> Option<MemberState> {
        self.hub.as_ref().and_then(|hub| hub.member(node))
    }

    pub(super) fn member_joined(&mut self, node: &Name) {
        self.away.remove(node);
        // What follows in the same turn may have ended it again.
        let joined = self.joined.contains_key(node);
        if joined && self.member(node).is_none() {
            self.fail(Checker::Members, format!("`{node}` has joined, and the hub does not know it"));
        }
    }

    /// The hub, or the whole world, has stood still since then.
    pub(super) fn stood_still(&mut self, from: Time) {
        // What is shorter the hub may not notice.
        if self.now.since(from) > self.config.membership.beat + Duration::from_secs(1) {
            self.stalls.push((from, self.now));
        }
    }

    /// For how long the hub could have heard something since then.
    fn listening_since(&self, heard: Time) -> Duration {
        let stalls = self.stalls.iter().filter(|(_, until)| *until > heard);
        let deaf: Duration = stalls.map(|(from, until)| until.since((*from).max(heard))).sum();
        self.now.since(heard).saturating_sub(deaf)
    }

    /// Its link is gone.
    pub(super) fn member_gone(&mut self, node: &Name, conn: ConnId, why: &Refusal) {
        let heard = self.conns.get(&conn).map_or(self.now, |link| link.heard);
        let membership = &self.config.membership;
        let dead = membership.beat.min(membership.beat_attentive) * membership.dead_beats;
        let quiet = self.listening_since(heard);
        let hostile = self.conns.get(&conn).is_none_or(|link| self.hostile.contains(&link.tag));
        if why.code == Code::Silent && quiet < dead && !hostile {
            self.fail(Checker::Members, format!("`{node}` is given up, and the hub has listened for {quiet:?} only"));
        }
        self.away.insert(node.clone(), Away { heard, goodbye: matches!(why.code, Code::Left | Code::Fenced) });
    }

    /// Looks at all nodes, at some time.
    pub(super) fn check_members(&mut self) {
        if self.stalled || self.hub.as_ref().is_none_or(|hub| !HubState::is_ready(hub)) {
            return;
        }
        let membership = &self.config.membership;
        let (long, short) = (membership.beat, membership.beat.min(membership.beat_attentive));
        let mut wrong = None;
        for (node, conn) in &self.joined {
            let state = self.member(node);
            let heard = self.conns.get(conn).map_or(self.now, |link| link.heard);
            let quiet = self.now.since(heard);
            let fine = match state {
                Some(MemberState::Alive) => true,
                Some(MemberState::Suspect) => quiet >= short * membership.suspect_beats,
                _ => false,
            };
            if !fine {
                wrong = Some(format!("`{node}` is joined and was heard {quiet:?} ago, and is {state:?}"));
            }
        }
        for (node, away) in self.away.iter().filter(|(node, _)| !self.joined.contains_key(*node)) {
            let quiet = self.listening_since(away.heard);
            // In calm nothing stands still, but looks are taken beat by beat.
            let certain = self.calm
                && self
                    .calm_since
                    .is_some_and(|since| self.now.since(since.max(away.heard)) > long * (membership.dead_beats + 2));
            let state = self.member(node);
            let fine = match state {
                Some(MemberState::Suspect) => !away.goodbye && !certain,
                Some(MemberState::Dead) => away.goodbye || quiet >= short * membership.dead_beats,
                Some(MemberState::Removed) | None => quiet >= short * membership.removed_beats,
                Some(MemberState::Alive) => false,
            };
            if !fine {
                wrong = Some(format!("`{node}` was heard {quiet:?} ago, and is {state:?}: {away:?}"));
            }
        }
        if let Some(wrong) = wrong {
            self.fail(Checker::Members, wrong);
        }
    }
}
