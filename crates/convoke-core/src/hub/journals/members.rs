//! The members of journals: which nodes are, what each has applied, and how long one that is away stays one.
//!
//! A node is a member from when it first follows as one until it has ended that, has left, another program has its name, or
//! its link was gone for so long that it is removed. What it has acknowledged it has acknowledged: that only grows.

use std::collections::{BTreeMap, BTreeSet};

use super::FollowKey;
use super::bases::Held;
use super::waits::AwaitKey;
use crate::bug::{Bug, planted};
use crate::frame::FollowAs;
use crate::hub::HubState;
use crate::journal::Strategy;
use crate::limits::{JOURNAL_MEMBERS_LISTED_MAX, JOURNAL_MEMBERS_MAX};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::report::{JournalMemberReport, JournalReport};
use crate::time::Time;

/// Who follows a journal, and who waits for them.
#[derive(Default)]
pub(super) struct Audience {
    pub(super) follows: BTreeSet<FollowKey>,
    observers: usize,
    pub(super) members: BTreeMap<Name, Member>,
    /// By the places that are waited for.
    pub(super) waits: BTreeSet<(u64, AwaitKey)>,
    /// Which snapshot stays for the time being.
    pub(super) held: Option<Held>,
}

impl Audience {
    pub(super) fn is_empty(&self) -> bool {
        self.follows.is_empty() && self.members.is_empty() && self.waits.is_empty()
    }
}

/// A node that is a member of a journal.
pub(super) struct Member {
    /// It has applied everything up to here.
    pub(super) applied: u64,
    /// Since when that is so.
    since: Time,
    /// What it follows with, by what of each is applied. None while it is away.
    follows: BTreeSet<(u64, FollowKey)>,
    /// The journal says that it is one.
    announced: bool,
    /// How it wants the journal to undo, also while it is away.
    pub(super) strategy: Option<Strategy>,
}

impl Member {
    fn new(now: Time) -> Member {
        Member { applied: 0, since: now, follows: BTreeSet::new(), announced: false, strategy: None }
    }

    /// Whether it follows now.
    pub(super) fn is_here(&self) -> bool {
        !self.follows.is_empty()
    }
}

/// The journals of which each node is a member.
#[derive(Default)]
pub(super) struct Memberships {
    of_nodes: BTreeMap<Name, OfNode>,
    /// Nodes that have lost their links, by when those that have not come back are removed; by the clock of membership.
    away: BTreeSet<(Time, Name)>,
    len: usize,
    /// How often one was added or removed.
    changes: u64,
}

#[derive(Default)]
struct OfNode {
    journals: BTreeSet<Name>,
    away: Option<Time>,
}

impl Memberships {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// When the next node is removed that has not come back.
    pub(super) fn next_away(&self) -> Option<&(Time, Name)> {
        self.away.first()
    }

    fn add(&mut self, node: &Name, journal: &Name) {
        self.of_nodes.entry(node.clone()).or_default().journals.insert(journal.clone());
        self.len += 1;
        self.changes += 1;
    }

    fn remove(&mut self, node: &Name, journal: &Name) {
        self.len -= 1;
        self.changes += 1;
        let Some(of_node) = self.of_nodes.get_mut(node) else { return };
        of_node.journals.remove(journal);
        if of_node.journals.is_empty()
            && let Some(of_node) = self.of_nodes.remove(node)
            && let Some(due) = of_node.away
        {
            self.away.remove(&(due, node.clone()));
        }
    }

    /// Those of which a node does not follow its journals again until then are removed.
    fn set_away(&mut self, node: &Name, due: Time) {
        let Some(of_node) = self.of_nodes.get_mut(node) else { return };
        if let Some(before) = of_node.away.replace(due) {
            self.away.remove(&(before, node.clone()));
        }
        self.away.insert((due, node.clone()));
    }
}

impl HubState {
    /// Whether this node may be a member of this journal.
    pub(super) fn check_membership(&self, journal: &Name, node: &Name) -> Result<(), Refusal> {
        let audience = self.followers.by_journal.get(journal);
        if self.followers.memberships.len < JOURNAL_MEMBERS_MAX
            || audience.is_some_and(|audience| audience.members.contains_key(node))
        {
            return Ok(());
        }
        let text = format!(
            "follow `{journal}` as a member: the journals of the hub have {JOURNAL_MEMBERS_MAX} members, which is all they \
             may have"
        );
        Err(Refusal::new(Code::Limit, text))
    }

    /// A follower is new.
    pub(super) fn audience_grows(&mut self, key: FollowKey, follow_as: FollowAs) {
        let now = self.now;
        let follower = &self.followers.all[key];
        let (journal, node, strategy) = (follower.journal.clone(), follower.member.clone(), follower.strategy);
        let audience = self.followers.by_journal.entry(journal.clone()).or_default();
        audience.follows.insert(key);
        let Some(node) = node else {
            audience.observers += 1;
            return;
        };
        let mut is_new = false;
        let member = audience.members.entry(node.clone()).or_insert_with(|| {
            is_new = true;
            Member::new(now)
        });
        member.follows.insert((0, key));
        member.announced |= follow_as == FollowAs::Announced;
        member.strategy = strategy.or(member.strategy);
        let announced = member.announced;
        if is_new {
            self.followers.memberships.add(&node, &journal);
            self.waits_see(&journal, &node, None, Some(0));
        }
        if announced {
            self.announce(&journal, &node);
        }
    }

    /// A follower that was taken out is gone; it `stays` a member if only its link is.
    pub(super) fn audience_shrinks(
        &mut self,
        key: FollowKey,
        journal: &Name,
        member: Option<(&Name, u64)>,
        stays: bool,
    ) {
        let Some(audience) = self.followers.by_journal.get_mut(journal) else { return };
        audience.follows.remove(&key);
        let Some((node, applied)) = member else {
            audience.observers -= 1;
            return self.forget_audience(journal);
        };
        let Some(member) = audience.members.get_mut(node) else { return };
        member.follows.remove(&(applied, key));
        if stays {
            // All that it follows with goes with its link, one after the other: none has come further by that.
            return;
        }
        if let Some((least, _)) = member.follows.first() {
            let least = *least;
            self.member_applied(journal, node, least);
        } else {
            self.end_membership(journal, node);
        }
    }

    /// A follower of a member has applied everything up to this place.
    pub(super) fn member_follow_applied(&mut self, key: FollowKey, before: u64, seq: u64) {
        let follower = &self.followers.all[key];
        let Some(node) = follower.member.clone() else { return };
        let journal = follower.journal.clone();
        let audience = self.followers.by_journal.get_mut(&journal);
        let Some(member) = audience.and_then(|audience| audience.members.get_mut(&node)) else { return };
        member.follows.remove(&(before, key));
        member.follows.insert((seq, key));
        let ahead = planted(Bug::FasterFollowerCounts);
        let least = if ahead { member.follows.last() } else { member.follows.first() };
        if let Some((least, _)) = least {
            let least = *least;
            self.member_applied(&journal, &node, least);
        }
    }

    /// All that a node follows a journal with has applied everything up to this place.
    fn member_applied(&mut self, journal: &Name, node: &Name, seq: u64) {
        let now = self.now;
        let audience = self.followers.by_journal.get_mut(journal);
        let Some(member) = audience.and_then(|audience| audience.members.get_mut(node)) else { return };
        if seq > member.applied {
            let before = std::mem::replace(&mut member.applied, seq);
            member.since = now;
            self.waits_see(journal, node, Some(before), Some(seq));
        }
    }

    /// A node is a member of a journal no more.
    fn end_membership(&mut self, journal: &Name, node: &Name) {
        let audience = self.followers.by_journal.get_mut(journal);
        let Some(member) = audience.and_then(|audience| audience.members.remove(node)) else { return };
        self.followers.memberships.remove(node, journal);
        self.waits_see(journal, node, Some(member.applied), None);
        if member.announced {
            self.announce(journal, node);
        }
        self.forget_audience(journal);
    }

    pub(super) fn forget_audience(&mut self, journal: &Name) {
        if self.followers.by_journal.get(journal).is_some_and(Audience::is_empty) {
            self.followers.by_journal.remove(journal);
        }
    }

    /// A node has lost its link: of which journals it does not follow again until then, it is a member no more.
    pub(in crate::hub) fn memberships_away(&mut self, node: &Name, due: Time) {
        self.followers.memberships.set_away(node, due);
    }

    /// A node has left, was removed, or another program has its name: it is a member of nothing.
    pub(in crate::hub) fn end_memberships(&mut self, node: &Name) {
        let journals = self.followers.memberships.of_nodes.get(node).map(|of_node| of_node.journals.clone());
        for journal in journals.unwrap_or_default() {
            let audience = self.followers.by_journal.get(&journal);
            if audience.and_then(|audience| audience.members.get(node)).is_some_and(|member| !member.is_here()) {
                self.end_membership(&journal, node);
            }
        }
    }

    /// Nodes that had lost their links may have been away for too long.
    pub(in crate::hub) fn expire_memberships(&mut self, clock: Time) {
        while self.followers.memberships.away.first().is_some_and(|(due, _)| *due <= clock) {
            let Some((_, node)) = self.followers.memberships.away.pop_first() else { break };
            if let Some(of_node) = self.followers.memberships.of_nodes.get_mut(&node) {
                of_node.away = None;
            }
            self.end_memberships(&node);
        }
    }

    /// When the next node is removed from journals that has not come back, by the clock of membership.
    pub(in crate::hub) fn next_membership_due(&self) -> Option<&(Time, Name)> {
        self.followers.memberships.next_away()
    }

    /// The hub was started: those of whom journals say that they are members may come back until then.
    pub(super) fn expect_members(&mut self, due: Time) {
        let HubState { kept, followers, now, .. } = self;
        for (journal, known) in kept.journals.named() {
            for node in known.present() {
                let audience = followers.by_journal.entry(journal.clone()).or_default();
                audience.members.entry(node.clone()).or_insert_with(|| {
                    followers.memberships.add(node, journal);
                    Member { announced: true, ..Member::new(*now) }
                });
                followers.memberships.set_away(node, due);
            }
        }
    }

    /// Whether entries of the journal are to say that a node is a member.
    pub(super) fn is_announced(&self, journal: &Name, node: &Name) -> bool {
        let audience = self.followers.by_journal.get(journal);
        audience.and_then(|audience| audience.members.get(node)).is_some_and(|member| member.announced)
    }

    /// Why a member cannot apply the entry behind what it has applied.
    pub(super) fn stuck(&self, member: &Member) -> Option<&str> {
        let (_, least) = member.follows.first()?;
        self.followers.all[*least].stuck.as_deref()
    }

    /// What is told of a journal, if there is one of this name or somebody follows it.
    pub(in crate::hub) fn journal_report(&self, journal: &Name) -> Option<JournalReport> {
        let known = self.kept.journals.find(journal).map(|id| self.kept.journals.get(id));
        let audience = self.followers.by_journal.get(journal);
        let audience = audience.filter(|audience| !(audience.follows.is_empty() && audience.members.is_empty()));
        if known.is_none() && audience.is_none() {
            return None;
        }
        let last = known.map_or(0, |known| known.last());
        let members = audience.map_or(0, |audience| audience.members.len());
        let report = |(node, member): (&Name, &Member)| JournalMemberReport {
            node: node.to_string(),
            applied: member.applied,
            lag: last.saturating_sub(member.applied),
            since_ms: self.wall_at(member.since),
            here: member.is_here(),
            stuck: self.stuck(member).map(str::to_owned),
        };
        let listed = audience.into_iter().flat_map(|audience| &audience.members).take(JOURNAL_MEMBERS_LISTED_MAX);
        Some(JournalReport {
            last,
            hash: crate::hub::report::hex(&known.map_or([0; 16], |known| known.hash())),
            first: known.map_or(1, |known| known.past().first()),
            snapshot: known.and_then(|known| known.past().snapshot()).map_or(0, |snapshot| snapshot.seq),
            horizon: known.map_or(1, |known| known.horizon()),
            members: listed.map(report).collect(),
            more: members.saturating_sub(JOURNAL_MEMBERS_LISTED_MAX),
            observers: audience.map_or(0, |audience| audience.observers),
            returning: self.may_return(journal),
        })
    }

    /// The journals that there are, and those that somebody follows although they have no entry yet.
    pub(in crate::hub) fn journals_named(&self) -> BTreeSet<Name> {
        let kept = self.kept.journals.named().map(|(name, _)| name);
        kept.chain(self.followers.by_journal.keys()).cloned().collect()
    }

    /// How often a member was added or removed.
    pub(in crate::hub) fn memberships_changes(&self) -> u64 {
        self.followers.memberships.changes()
    }
}
