//! Who is there: every node the hub has heard of lately, and how it is.
//!
//! A node that has joined is *alive*. It is *suspect* as soon as its link is gone, or when nothing was heard for some
//! beats of its link; *dead* when it was silent for longer, at once if it has said goodbye or another program has its
//! name; and *removed* after many more beats. Every byte is a sign of life, and the hub's own stalls do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Dropped, HubState, LinkId, Timer};
use crate::bug::{Bug, planted};
use crate::frame::{Incarnation, Info, InfoOwned, MasterWish};
use crate::limits;
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::report::MemberState;
use crate::time::Time;

/// How a hub judges who is alive: how often a link says that it is, and after how many beats of silence what is thought of
/// its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// How often an idle link says that it is alive; zero switches beats off for those that offer and follow nothing.
    pub beat: Duration,
    /// The same for a link that offers or follows something, if it is shorter; zero for no other.
    pub beat_attentive: Duration,
    /// A node is suspected after so many beats of its link without a byte; and as soon as its link is gone.
    pub suspect_beats: u32,
    /// It is dead after so many.
    pub dead_beats: u32,
    /// It is forgotten after so many.
    pub removed_beats: u32,
}

impl Default for Membership {
    fn default() -> Membership {
        Membership {
            beat: limits::BEAT,
            beat_attentive: limits::BEAT_ATTENTIVE,
            suspect_beats: limits::BEATS_SUSPECT,
            dead_beats: limits::BEATS_DEAD,
            removed_beats: limits::BEATS_REMOVED,
        }
    }
}

impl Membership {
    /// The times of NoPE: a beat every 0.5 s; suspect after 1 s (NoPE's slow; from 2 s on its warning), dead after 5 s,
    /// removed after 10 s.
    pub fn nope() -> Membership {
        let beat = Duration::from_millis(500);
        Membership { beat, beat_attentive: beat, suspect_beats: 2, dead_beats: 10, removed_beats: 20 }
    }

    /// Nobody is suspected before a beat is over, or dead before being suspected.
    pub(super) fn put_in_order(&mut self) {
        self.suspect_beats = self.suspect_beats.max(1);
        self.dead_beats = self.dead_beats.max(self.suspect_beats);
        self.removed_beats = self.removed_beats.max(self.dead_beats);
    }

    /// What a link that joins now is told.
    pub(super) fn beats(&self) -> Beats {
        let millis = |beat: Duration| u32::try_from(beat.as_millis()).unwrap_or(u32::MAX);
        Beats { usual_ms: millis(self.beat), attentive_ms: millis(self.beat_attentive) }
    }

    /// How long a member of a journal may be away, and so how long one that was there before the hub started may take to
    /// come back.
    pub(crate) fn member_away_max(&self) -> Duration {
        self.beats().away(true) * self.removed_beats
    }

    /// How long a node that was there before the hub started may take to come back.
    pub(super) fn away_max(&self) -> Duration {
        self.beats().away(false) * self.dead_beats
    }
}

/// How often a link beats, as its node was told when it joined: what is set later holds for those that join later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beats {
    pub(super) usual_ms: u32,
    pub(super) attentive_ms: u32,
}

impl Beats {
    /// How often a link says that it is alive; `None` for never.
    fn of(self, attentive: bool) -> Option<Duration> {
        let time = |ms: u32| Duration::from_millis(ms.into());
        beat_of(time(self.usual_ms), time(self.attentive_ms), attentive)
    }

    /// By which beat a node without a link is judged.
    fn away(self, attentive: bool) -> Duration {
        self.of(attentive).unwrap_or(if attentive { limits::BEAT_ATTENTIVE } else { limits::BEAT })
    }
}

/// The one rule by which both ends of a link know how often it beats.
pub(crate) fn beat_of(beat: Duration, beat_attentive: Duration, attentive: bool) -> Option<Duration> {
    let shorter = Some(beat_attentive).filter(|_| attentive);
    [Some(beat), shorter].into_iter().flatten().filter(|beat| !beat.is_zero()).min()
}

/// What the hub knows about a node, joined or not.
pub(super) struct Member {
    pub(super) incarnation: Incarnation,
    pub(super) author: Name,
    pub(super) principal: Name,
    pub(super) state: MemberState,
    /// Why it is no longer alive.
    pub(super) reason: Option<Refusal>,
    /// Since when it is in this state.
    pub(super) since: Time,
    /// The number of the change that brought it there.
    pub(super) view: u64,
    /// What it has told about itself. Until it has, it is not master: it may not want to be.
    pub(super) info: Option<InfoOwned>,
    /// Its link has told it.
    told: bool,
    link: Option<LinkId>,
    /// When it was last heard, once it has no link; by the clock of membership.
    heard: Time,
    /// The beat that it is judged by, once it has no link.
    beat: Duration,
    /// When it is dead and when it is removed, once it has no link; by the clock of membership.
    dead: Time,
    removed: Time,
}

/// Every node that the hub has heard of lately.
#[derive(Default)]
pub(super) struct Members {
    /// Boxed, since a tree keeps room for more than it holds.
    all: BTreeMap<Name, Box<Member>>,
    /// Suspects without a link, by the time at which they are dead; by the clock of membership.
    fading: BTreeSet<(Time, Name)>,
    /// The dead, by the time at which they are removed; by the clock of membership.
    dead: BTreeSet<(Time, Name)>,
    /// Those that are alive and can be master, the one that shall be first.
    candidates: BTreeSet<(u8, Time, Name)>,
    master: Option<Name>,
    pub(super) term: u64,
    pub(super) view: u64,
}

impl Members {
    /// How many have no link and are not yet removed.
    pub(super) fn away_len(&self) -> usize {
        self.fading.len() + self.dead.len()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, node: &Name) -> Option<&Member> {
        self.all.get(node).map(|member| &**member)
    }

    /// Who is master, if anybody is.
    pub(super) fn master(&self) -> Option<&Name> {
        self.master.as_ref()
    }

    /// It is not to become dead or removed by itself any more.
    fn settle(&mut self, node: &Name) {
        if let Some(member) = self.all.get(node) {
            self.fading.remove(&(member.dead, node.clone()));
            self.dead.remove(&(member.removed, node.clone()));
        }
    }
}

fn candidate(node: &Name, member: &Member) -> Option<(u8, Time, Name)> {
    let rank = match member.info.as_ref()?.master {
        MasterWish::Must => 0,
        MasterWish::May => 1,
        MasterWish::Never => return None,
    };
    (member.state == MemberState::Alive).then(|| (rank, member.since, node.clone()))
}

/// `6 s`, `0.5 s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn silent(time: Duration) -> Refusal {
    Refusal::new(Code::Silent, format!("nothing was heard for {}", seconds(time)))
}

impl HubState {
    /// How a node is; `None` if the hub has not heard of it lately.
    pub fn member(&self, node: &Name) -> Option<MemberState> {
        self.members.get(node).map(|member| member.state)
    }

    /// Whether the node of this incarnation is joined, or suspect only: what lives with it stays.
    pub(super) fn may_live(&self, incarnation: Incarnation) -> bool {
        let Some(session) = self.sessions.get(incarnation) else { return false };
        let member = self.members.get(&session.node).filter(|member| member.incarnation == incarnation);
        session.at.is_ok() || member.is_some_and(|member| member.state != MemberState::Dead)
    }

    /// Who is master, and the term, which grows with every change of it.
    pub fn master(&self) -> (Option<&Name>, u64) {
        (self.members.master(), self.members.term)
    }

    /// A link has joined: its node is alive.
    pub(super) fn member_joined(&mut self, id: LinkId) {
        let Some(joined) = self.links.joined(id) else { return };
        let (node, author, principal) = (joined.node.clone(), joined.author.clone(), joined.principal.name.clone());
        let incarnation = joined.incarnation;
        self.members.settle(&node);
        if self.members.get(&node).is_some_and(|other| other.incarnation != incarnation) {
            if self.member(&node) != Some(MemberState::Dead) {
                let why = Refusal::new(Code::Fenced, "another program has its name now");
                self.member_changes(&node, MemberState::Dead, Some(why));
            }
            self.members.all.remove(&node);
            self.end_memberships(&node);
        }
        let now = self.now;
        let member = self.members.all.entry(node.clone()).or_insert_with(|| {
            Box::new(Member {
                incarnation,
                author: author.clone(),
                principal: principal.clone(),
                state: MemberState::Dead,
                reason: None,
                since: now,
                view: 0,
                info: None,
                told: false,
                link: None,
                heard: Time::START,
                beat: Duration::ZERO,
                dead: Time::START,
                removed: Time::START,
            })
        });
        (member.author, member.principal) = (author, principal);
        (member.link, member.told) = (Some(id), false);
        self.member_changes(&node, MemberState::Alive, None);
        self.arm_members();
        self.arm_silence(id);
    }

    /// Another link of the same incarnation is about to be its link: what becomes of this one says nothing about it.
    pub(super) fn member_moves(&mut self, node: &Name) {
        if let Some(member) = self.members.all.get_mut(node) {
            member.link = None;
        }
    }

    /// A link is gone: its node is suspect, or dead if it has said goodbye.
    pub(super) fn member_left(
        &mut self,
        node: &Name,
        id: LinkId,
        (beats, attentive): (Beats, bool),
        heard: Time,
        why: &Refusal,
    ) {
        let Membership { dead_beats, removed_beats, .. } = self.config.membership;
        // Who has said goodbye is missed by nobody: programs that come and go are not to pile up.
        let attentive = attentive || why.code == Code::Left;
        let (beat, clock) = (beats.away(attentive), self.membership_clock());
        // Without beats its silence said nothing.
        let heard = if beats.of(attentive).is_some() { heard } else { clock };
        let (dead, removed) = (heard + beat * dead_beats, heard + beat * removed_beats);
        self.memberships_away(node, removed);
        let Some(member) = self.members.all.get_mut(node).filter(|member| member.link == Some(id)) else { return };
        (member.link, member.heard, member.beat) = (None, heard, beat);
        (member.dead, member.removed) = (dead, removed);
        if planted(Bug::EphemeralGoesWithLink) {
            let incarnation = member.incarnation;
            self.node_dead(incarnation);
        }
        if why.code == Code::Left {
            let why = Refusal::new(Code::Left, "it has left");
            self.members.dead.insert((removed, node.clone()));
            self.member_changes(node, MemberState::Dead, Some(why));
            self.end_memberships(node);
        } else if dead <= clock || planted(Bug::SuspectIsDead) {
            self.members.dead.insert((removed, node.clone()));
            self.member_changes(node, MemberState::Dead, Some(why.clone()));
        } else {
            self.members.fading.insert((dead, node.clone()));
            self.member_changes(node, MemberState::Suspect, Some(why.clone()));
        }
        while self.members.away_len() > limits::MEMBERS_AWAY_MAX {
            match self.members.dead.pop_first() {
                Some((_, oldest)) => {
                    self.counters.count_dropped(Dropped::Members, 1);
                    self.remove_member(&oldest);
                }
                None => self.next_suspect_dies(),
            }
        }
        self.arm_members();
    }

    /// How often this link beats; `None` for never.
    fn link_beat(&mut self, id: LinkId) -> Option<Duration> {
        let joined = self.links.joined(id)?;
        joined.beats.of(joined.attentive > 0)
    }

    /// The link offers or follows one thing more.
    pub(super) fn attend(&mut self, id: LinkId) {
        let Some(joined) = self.links.joined(id) else { return };
        joined.attentive += 1;
        if joined.attentive == 1 {
            self.arm_silence(id);
        }
    }

    /// The link's node has values that go with it: it is judged as one that offers something, until the link ends.
    pub(super) fn attend_ephemeral(&mut self, id: LinkId) {
        let Some(joined) = self.links.joined(id) else { return };
        if !std::mem::replace(&mut joined.ephemeral, true) {
            self.attend(id);
        }
    }

    /// The link offers or follows one thing less.
    pub(super) fn unattend(&mut self, id: LinkId) {
        let Some(joined) = self.links.joined(id) else { return };
        joined.attentive = joined.attentive.saturating_sub(1);
        if joined.attentive == 0 {
            self.arm_silence(id);
        }
    }

    /// Looks after the silence of a link, from now on by its present beat.
    fn arm_silence(&mut self, id: LinkId) {
        match self.link_beat(id) {
            Some(beat) => self.timers.set(self.now + beat, Timer::Silent(id)),
            None => self.timers.clear(Timer::Silent(id)),
        }
    }

    /// A beat is over: was anything heard?
    pub(super) fn expire_silence(&mut self, id: LinkId) {
        let Some(beat) = self.link_beat(id) else { return };
        let Membership { suspect_beats, dead_beats, .. } = self.config.membership;
        let clock = self.membership_clock();
        let Some(link) = self.links.get_mut(id) else { return };
        let (heard, was_suspect) = (link.heard, link.suspect);
        let Some(joined) = link.joined() else { return };
        let (node, beat_sent) = (joined.node.clone(), joined.beat_sent);
        let quiet = clock.since(heard);
        if quiet >= beat * dead_beats {
            return self.close(id, silent(beat * dead_beats));
        }
        let suspect = quiet >= beat * suspect_beats;
        if suspect && !was_suspect {
            link.suspect = true;
            self.member_changes(&node, MemberState::Suspect, Some(silent(beat * suspect_beats)));
        }
        let next = beat * if suspect { dead_beats } else { suspect_beats };
        // At least every beat, so that a stall is seen as one: it may be as long as the silence that is allowed.
        self.timers.set(self.now + (next - quiet).min(beat), Timer::Silent(id));
        if self.now.since(beat_sent) > beat * 2 {
            // The node's own Beat, which is answered, waits behind its events.
            self.beat(id);
        }
    }

    /// A link that was silent has said something.
    pub(super) fn heard_again(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.suspect = false;
        if let Some(node) = link.joined().map(|joined| joined.node.clone())
            && self.members.get(&node).is_some_and(|member| member.link == Some(id))
        {
            self.member_changes(&node, MemberState::Alive, None);
        }
        self.arm_silence(id);
    }

    /// Sets the timer for those that have no link.
    pub(super) fn arm_members(&mut self) {
        let clock = self.membership_clock();
        let next = [self.members.fading.first(), self.members.dead.first(), self.next_membership_due()];
        let next = next.into_iter().flatten().min();
        let Some((due, node)) = next else { return self.timers.clear(Timer::Members) };
        // At least every beat: see expire_silence.
        let beat = self.members.get(node).map(|member| member.beat).filter(|beat| !beat.is_zero());
        let beat = beat.unwrap_or(limits::BEAT);
        self.timers.set(self.now + due.since(clock).min(beat), Timer::Members);
    }

    /// Some that have no link may be dead now, or removed.
    pub(super) fn expire_members(&mut self) {
        let clock = self.membership_clock();
        while self.members.fading.first().is_some_and(|(due, _)| *due <= clock) {
            self.next_suspect_dies();
        }
        while self.members.dead.first().is_some_and(|(due, _)| *due <= clock) {
            let Some((_, node)) = self.members.dead.pop_first() else { break };
            if planted(Bug::DeadStay) {
                break;
            }
            self.remove_member(&node);
        }
        self.expire_memberships(clock);
        self.arm_members();
    }

    fn next_suspect_dies(&mut self) {
        let Some((_, node)) = self.members.fading.pop_first() else { return };
        let Some(member) = self.members.get(&node) else { return };
        let why = silent(member.dead.since(member.heard));
        self.members.dead.insert((member.removed, node.clone()));
        self.member_changes(&node, MemberState::Dead, Some(why));
    }

    fn remove_member(&mut self, node: &Name) {
        self.members.all.remove(node);
        self.members.view += 1;
        self.unshow_node(node);
        self.end_memberships(node);
    }

    /// The one place where the state of a node changes.
    fn member_changes(&mut self, node: &Name, state: MemberState, reason: Option<Refusal>) {
        let now = self.now;
        let Some(member) = self.members.all.get_mut(node) else { return };
        let before = candidate(node, member);
        let dies = state == MemberState::Dead && member.state != state;
        let incarnation = member.incarnation;
        if member.state != state {
            member.since = now;
        } else if member.reason == reason && member.view > 0 {
            return;
        }
        (member.state, member.reason) = (state, reason);
        self.members.view += 1;
        member.view = self.members.view;
        let after = candidate(node, member);
        self.elect(before, after);
        self.node_changed(node);
        if dies {
            self.node_dead(incarnation);
        }
    }

    /// A node tells about itself.
    pub(super) fn info(&mut self, id: LinkId, info: &Info<'_>) {
        let Some(node) = self.links.joined(id).map(|joined| joined.node.clone()) else { return };
        let Some(member) = self.members.all.get_mut(&node).filter(|member| member.link == Some(id)) else { return };
        let info = InfoOwned::from(info);
        let before = candidate(&node, member);
        let lasting = member.info.as_ref().is_none_or(|known| known.lasting() != info.lasting());
        let first = !std::mem::replace(&mut member.told, true);
        member.info = Some(info);
        let after = candidate(&node, member);
        self.elect(before, after);
        if first {
            self.node_changed(&node);
        } else {
            self.node_is_stale(&node, lasting);
        }
    }

    /// A node is a candidate for master no longer, or from now on, or otherwise.
    fn elect(&mut self, before: Option<(u8, Time, Name)>, after: Option<(u8, Time, Name)>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.members.candidates.remove(&before);
        }
        self.members.candidates.extend(after);
        let master = self.members.candidates.first().map(|(_, _, node)| node.clone());
        if master != self.members.master {
            self.members.master = master;
            self.members.term += 1;
            self.show_master();
        }
    }
}

#[cfg(test)]
mod tests;
