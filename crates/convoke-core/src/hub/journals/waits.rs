//! Waits for what members of journals have applied.
//!
//! Each wait counts those that it waits for and that have applied its entry. So a member that goes on costs a step for
//! each wait that it passes, however many members and waits there are.

use std::collections::BTreeSet;

use crate::bug::{Bug, planted};
use crate::frame::{Acknowledged, Attendance, Await, Frame, Listed, Whom};
use crate::hub::links::Phase;
use crate::hub::watches::{Asked, Turn};
use crate::hub::{HubState, LinkId, Timer};
use crate::kept::JournalId;
use crate::limits::{AWAIT_TIME_MAX, AWAITS_BYTES_MAX, AWAITS_PER_LINK_MAX};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::rights::{Verb, allow};
use crate::time::Time;

/// The number of a wait in the hub. Used again, and so never kept beyond the wait.
pub(in crate::hub) type AwaitKey = u32;

/// What a wait takes beside its names, in bytes.
const WAIT_BYTES: usize = 256;

/// What a name in it takes beside its text, in bytes.
const NAME_BYTES: usize = 64;

/// One wait.
pub(super) struct Wait {
    link: LinkId,
    /// The node's number for it.
    id: u32,
    journal: Name,
    seq: u64,
    whom: Who,
    /// So many of them have applied it.
    applied: usize,
    /// What it takes, in bytes.
    bytes: usize,
    /// Whether all have, once that is to be told.
    reached: Option<bool>,
    /// When that is told; zero until then.
    turn: Turn,
}

enum Who {
    All,
    Quorum,
    Count(usize),
    Nodes(BTreeSet<Name>),
}

impl Wait {
    /// Whether it waits for this one.
    fn is_for(&self, node: &Name) -> bool {
        match &self.whom {
            Who::Nodes(names) => names.contains(node),
            _ => true,
        }
    }
}

/// Journals that were there before the hub was started. Their members of before are not known until they have come back, or
/// would have been removed.
#[derive(Clone, Copy)]
pub(super) struct Returning {
    journals_to: JournalId,
}

impl HubState {
    /// A node waits until members of a journal have applied an entry.
    pub(in crate::hub) fn wait_for_members(&mut self, id: LinkId, frame: Await<'_>) {
        if let Err(refusal) = self.try_wait_for_members(id, frame) {
            self.refuse(id, frame.id, &refusal);
        }
    }

    fn try_wait_for_members(&mut self, id: LinkId, frame: Await<'_>) -> Result<(), Refusal> {
        let bad_name = |error: crate::name::NameError| Refusal::new(Code::BadName, error.to_string());
        let journal = Name::from_bytes(frame.journal).map_err(bad_name)?;
        let what = format!("wait for members of `{journal}`");
        if !self.is_ready() {
            return Err(Refusal::new(
                Code::Backpressure,
                format!("{what}: the hub is starting; try again in a moment"),
            ));
        }
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        if !allow(&joined.principal, Verb::Follow, journal.as_str()) {
            return Err(joined.principal.forbidden(&what, Verb::Follow, journal.as_str()));
        }
        if joined.watches.contains_key(&frame.id) || joined.subscriptions.contains_key(&frame.id) {
            let text = format!("{what}: the number {} is in use on this link", frame.id);
            return Err(Refusal::new(Code::BadFrame, text));
        }
        if joined.awaits >= AWAITS_PER_LINK_MAX {
            let text = format!("{what}: `{}` waits {AWAITS_PER_LINK_MAX} times, which is all it may", joined.node);
            return Err(Refusal::new(Code::Limit, text));
        }
        let whom = match frame.whom {
            Whom::All => Who::All,
            Whom::Quorum => Who::Quorum,
            Whom::Count(count) => Who::Count(count as usize),
            Whom::Nodes(names) => {
                Who::Nodes(names.iter().map(Name::from_bytes).collect::<Result<_, _>>().map_err(bad_name)?)
            }
        };
        let bytes = match &whom {
            Who::Nodes(names) => names.iter().map(|name| name.as_str().len() + NAME_BYTES).sum::<usize>() + WAIT_BYTES,
            _ => WAIT_BYTES,
        };
        if self.followers.waits_bytes + bytes > AWAITS_BYTES_MAX {
            let text = format!("{what}: what waits at the hub takes {AWAITS_BYTES_MAX} bytes already; try again later");
            return Err(Refusal::new(Code::Backpressure, text));
        }
        let audience = self.followers.by_journal.entry(journal.clone()).or_default();
        let mut wait =
            Wait { link: id, id: frame.id, journal, seq: frame.seq, whom, applied: 0, bytes, reached: None, turn: 0 };
        let applied = audience.members.iter().filter(|(_, member)| member.applied >= wait.seq);
        wait.applied = applied.filter(|(node, _)| wait.is_for(node)).count();
        let key = self.followers.waits.insert(wait);
        audience.waits.insert((frame.seq, key));
        self.followers.waits_bytes += bytes;
        if let Some(joined) = self.links.joined(id) {
            joined.awaits += 1;
            joined.watches.insert(frame.id, Asked::Await(key));
        }
        let remaining = std::time::Duration::from_millis(frame.remaining_ms.into()).min(AWAIT_TIME_MAX);
        self.timers.set(self.now + remaining, Timer::Await(key));
        self.check_wait(key);
        Ok(())
    }

    /// What a member of a journal has applied has changed; `None` before it was one, and when it is one no more.
    pub(super) fn waits_see(&mut self, journal: &Name, node: &Name, before: Option<u64>, after: Option<u64>) {
        let Some(audience) = self.followers.by_journal.get(journal).filter(|audience| !audience.waits.is_empty())
        else {
            return;
        };
        let to = before.max(after).unwrap_or(0);
        // Who is not one had applied nothing, not even the entry before the first.
        let passed = match before.min(after) {
            Some(from) => audience.waits.range((from + 1, 0)..=(to, AwaitKey::MAX)),
            None => audience.waits.range(..=(to, AwaitKey::MAX)),
        };
        let passed: Vec<AwaitKey> = passed.map(|(_, key)| *key).collect();
        for key in &passed {
            let wait = &mut self.followers.waits[*key];
            if wait.is_for(node) {
                wait.applied = if after > before { wait.applied + 1 } else { wait.applied - 1 };
            }
        }
        if after.is_some() {
            let passed = if planted(Bug::WaitsNotPassed) { Vec::new() } else { passed };
            passed.into_iter().for_each(|key| self.check_wait(key));
        } else {
            // Of fewer members all and most are fewer.
            self.check_waits(journal);
        }
    }

    fn check_waits(&mut self, journal: &Name) {
        let audience = self.followers.by_journal.get(journal);
        let waits: Vec<AwaitKey> =
            audience.into_iter().flat_map(|audience| &audience.waits).map(|(_, key)| *key).collect();
        waits.into_iter().for_each(|key| self.check_wait(key));
    }

    /// If all that are waited for have applied it, that is to be told.
    fn check_wait(&mut self, key: AwaitKey) {
        let wait = &self.followers.waits[key];
        let members = self.followers.by_journal.get(&wait.journal).map_or(0, |audience| audience.members.len());
        let all_known = || !self.may_return(&wait.journal) || planted(Bug::ReturnNotAwaited);
        let reached = match &wait.whom {
            Who::All if planted(Bug::LastMemberNotAwaited) => wait.applied + 1 >= members && all_known(),
            Who::All => wait.applied >= members && all_known(),
            Who::Quorum => wait.applied * 2 > members && all_known(),
            Who::Count(count) => wait.applied >= *count,
            Who::Nodes(names) => wait.applied >= names.len(),
        };
        if reached {
            self.wait_ends(key, true);
        }
    }

    /// The time of a wait is over.
    pub(in crate::hub) fn expire_wait(&mut self, key: AwaitKey) {
        self.wait_ends(key, false);
    }

    /// What has come of a wait is told as soon as its link has room.
    fn wait_ends(&mut self, key: AwaitKey, reached: bool) {
        self.timers.clear(Timer::Await(key));
        let wait = &mut self.followers.waits[key];
        wait.reached = Some(reached);
        let link = wait.link;
        if let Some(audience) = self.followers.by_journal.get_mut(&wait.journal) {
            audience.waits.remove(&(wait.seq, key));
        }
        if let Some(joined) = self.links.joined(link) {
            wait.turn = joined.turns.push(Asked::Await(key));
            self.touch(link);
        }
        let journal = self.followers.waits[key].journal.clone();
        self.forget_audience(&journal);
    }

    /// It is not among those of its link any more.
    pub(in crate::hub) fn end_wait(&mut self, key: AwaitKey) {
        self.timers.clear(Timer::Await(key));
        let wait = self.followers.waits.remove(key);
        self.followers.waits_bytes -= wait.bytes;
        if let Some(joined) = self.links.joined(wait.link) {
            joined.awaits -= 1;
            joined.turns.remove(wait.turn);
        }
        if let Some(audience) = self.followers.by_journal.get_mut(&wait.journal) {
            audience.waits.remove(&(wait.seq, key));
        }
        self.forget_audience(&wait.journal);
    }

    /// Tells what has come of a wait.
    pub(in crate::hub) fn feed_wait(&mut self, id: LinkId, key: AwaitKey) {
        let wait = &self.followers.waits[key];
        let (number, seq) = (wait.id, wait.seq);
        let audience = self.followers.by_journal.get(&wait.journal);
        let member = |node: &Name| audience.and_then(|audience| audience.members.get(node));
        let stands = |node| match member(node) {
            None => (node, Attendance::Gone, 0),
            Some(member) if self.stuck(member).is_some() => (node, Attendance::Stuck, member.applied),
            Some(member) if member.is_here() => (node, Attendance::Here, member.applied),
            Some(member) => (node, Attendance::Away, member.applied),
        };
        let all = || audience.into_iter().flat_map(|audience| audience.members.keys());
        let mut asked: Vec<(&Name, Attendance, u64)> = match &wait.whom {
            Who::Nodes(names) => names.iter().map(stands).collect(),
            _ => all().map(stands).collect(),
        };
        let has =
            |(_, attendance, applied): &(&Name, Attendance, u64)| *attendance != Attendance::Gone && *applied >= seq;
        let (members, applied) = (asked.len(), asked.iter().filter(|one| has(one)).count());
        asked.sort_by_key(|one| has(one));
        let listed = asked.iter().map(|(node, attendance, applied)| (node.as_str().as_bytes(), *attendance, *applied));
        let listed = Listed::encode(listed);
        let journal = self.kept.journals.find(&wait.journal);
        let frame = Acknowledged {
            id: number,
            reached: wait.reached == Some(true),
            returning: self.may_return(&wait.journal),
            last: journal.map_or(0, |journal| self.kept.journals.get(journal).last()),
            members: u32::try_from(members).unwrap_or(u32::MAX),
            applied: u32::try_from(applied).unwrap_or(u32::MAX),
            listed: Listed::encoded(&listed),
        };
        if let Some(link) = self.links.get_mut(id)
            && let Phase::Joined(joined) = &mut link.phase
        {
            Frame::Acknowledged(frame).encode(&mut link.lanes.values);
            joined.watches.remove(&number);
        }
        self.end_wait(key);
    }

    /// The hub was started: until then members of before may come back to the journals that there are.
    pub(super) fn expect_return(&mut self, until: Time) {
        let last = self.kept.journals.last_id();
        if let Some(journals_to) = last {
            self.followers.returning = Some(Returning { journals_to });
            self.timers.set(until, Timer::Returned);
        }
    }

    /// Whether members of a journal that are not known may come back to it.
    pub(super) fn may_return(&self, journal: &Name) -> bool {
        let Some(Returning { journals_to }) = self.followers.returning else { return false };
        self.kept.journals.find(journal).is_some_and(|id| id <= journals_to)
    }

    /// Who has not come back by now is a member no more.
    pub(in crate::hub) fn expire_returning(&mut self) {
        self.followers.returning = None;
        let journals: Vec<Name> = self.followers.by_journal.keys().cloned().collect();
        journals.iter().for_each(|journal| self.check_waits(journal));
    }
}
