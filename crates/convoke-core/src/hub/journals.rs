//! Journals: what is appended, on its way to the foundation; and who follows, each a cursor over the entries.
//!
//! Catching up and following live are the same read: from memory where the entries are there, else from the foundation. A
//! follower that is slow costs nothing but its place.
//!
//! The parts, each a file: `carried` takes what links of other hubs append, `members` knows who is a member and what each has
//! applied, `waits` who waits for them, `presence` makes journals say who is one, `looks` looks at entries before what
//! concerns them is ordered, `bases` tells followers the snapshot that they begin with.

mod bases;
mod carried;
mod looks;
mod members;
mod presence;
mod waits;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::foundation::Reads;
use super::links::Phase;
use super::watches::{Asked, Turn};
use super::{HubState, LinkId};
use crate::bug::{Bug, planted};
use crate::foundation::{RowKey, Ticket};
use crate::frame::{Append, Follow, FollowAs, Frame, Told};
use crate::journal::Strategy;
use crate::kept::{
    ENTRIES, JournalId, Outcome, PIECES, answer_bytes_for, entry_key, other_strategy, piece_key, seq_from_key,
};
use crate::limits::{LINK_VALUES_BYTES_MAX, STUCK_BYTES_MAX, WATCHES_PER_LINK_MAX};
use crate::name::Name;
use crate::operation::Operation;
use crate::refusal::{Code, Refusal};
use crate::rights::{Verb, allow};
use crate::tree::slab::Slab;
use bases::Base;
use carried::verb_of;
use looks::Look;
pub(super) use looks::LookKey;
use members::{Audience, Memberships};
use presence::Announcements;
pub(super) use waits::AwaitKey;
use waits::{Returning, Wait};

/// The number of a follower in the hub. Used again, and so never kept beyond the follower.
pub(super) type FollowKey = u32;

/// No journal gets as far as behind this place.
const NEVER: u64 = u64::MAX - 2;

/// All followers of a hub.
pub(super) struct Followers {
    all: Slab<Follower>,
    by_journal: BTreeMap<Name, Audience>,
    memberships: Memberships,
    waits: Slab<Wait>,
    waits_bytes: usize,
    announcements: Announcements,
    returning: Option<Returning>,
    looks: BTreeMap<LookKey, Look>,
}

struct Follower {
    link: LinkId,
    /// The node's number for it.
    id: u32,
    journal: Name,
    /// Its node, if that is a member by it.
    member: Option<Name>,
    /// The entry that is told next.
    next: u64,
    /// The entry before is to have this hash, or the node knows another journal.
    check: Option<[u8; 16]>,
    /// The journal must undo in this way.
    strategy: Option<Strategy>,
    /// It can begin with a snapshot whose maker knew entries up to here at most.
    snapshot_max: u64,
    /// The snapshot that it is being told.
    base: Option<Base>,
    /// The node has applied everything up to here.
    applied: u64,
    /// Why it cannot apply the next.
    stuck: Option<Box<str>>,
    /// Bytes that the node still takes.
    credit: i64,
    /// It was told that it has all that there is.
    told: bool,
    /// When it may take something; zero if it has nothing to take.
    turn: Turn,
    reading: Option<Ticket>,
}

/// Why a follower stops.
enum Stop {
    /// Nothing more can be told now.
    Waits,
    /// There is more, and no room.
    Full,
    /// The node knows another journal.
    Diverged,
    /// The node's state undoes in another way: first what it wants, then what the journal does.
    Strategy(Strategy, Strategy),
}

impl Followers {
    pub(super) fn new() -> Followers {
        Followers {
            all: Slab::new(),
            by_journal: BTreeMap::new(),
            memberships: Memberships::default(),
            waits: Slab::new(),
            waits_bytes: 0,
            announcements: Announcements::default(),
            returning: None,
            looks: BTreeMap::new(),
        }
    }

    /// How many there are, waits included.
    pub(super) fn len(&self) -> usize {
        self.all.len() + self.waits.len()
    }

    /// Members of all journals.
    pub(super) fn members_len(&self) -> usize {
        self.memberships.len()
    }

    /// What waits take, in bytes.
    pub(super) fn waits_bytes(&self) -> usize {
        self.waits_bytes
    }

    /// How those who follow it want a journal to undo that is not there yet.
    fn wanted_strategy(&self, journal: &Name) -> Strategy {
        let Some(audience) = self.by_journal.get(journal) else { return Strategy::default() };
        let follows = audience.follows.iter().filter_map(|key| self.all[*key].strategy);
        let members = audience.members.values().filter_map(|member| member.strategy);
        follows.chain(members).next().unwrap_or_default()
    }
}

impl HubState {
    /// A node wants to append to a journal.
    pub(super) fn append(&mut self, id: LinkId, append: Append<'_>) {
        let Some(joined) = self.links.joined(id) else { return };
        let (incarnation, cseq) = (joined.incarnation, append.cseq);
        if self.came_before(incarnation, cseq) {
            return;
        }
        if let Err(refusal) = self.try_append(id, append) {
            let outcome = Outcome::Refused { code: refusal.code, text: refusal.text.into_owned() };
            self.answer_write(incarnation, cseq, &outcome, 0);
        }
    }

    fn try_append(&mut self, id: LinkId, append: Append<'_>) -> Result<(), Refusal> {
        let journal =
            Name::from_bytes(append.journal).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        let (append, of_other) = self.take_carried(id, &journal, append)?;
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        let verb = if planted(Bug::UndoIsExecute) { Verb::Execute } else { verb_of(&append.appended) };
        if !allow(&joined.principal, verb, journal.as_str()) && !planted(Bug::AppendsNotAsked) {
            let what = format!("{} `{journal}`", append.appended.tried());
            return Err(joined.principal.forbidden(&what, verb, journal.as_str()));
        }
        if self.look_first(id, &append, &journal)? {
            return Ok(());
        }
        self.order_append(id, append, of_other)
    }

    /// Hands what may be appended to the foundation; in the name of the author of another hub, if there is one.
    fn order_append(&mut self, id: LinkId, append: Append<'_>, of_other: Option<Name>) -> Result<(), Refusal> {
        let wall_ms = self.wall_ms();
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        let (incarnation, author) = (joined.incarnation, joined.author.clone());
        let author = if planted(Bug::AuthorOfAnotherNode) { self.nodes.keys().next().cloned() } else { Some(author) };
        let author = of_other.or(author).expect("the node itself is one of them");
        self.check_answers(id, (append.cseq, append.settled), answer_bytes_for(append.journal), false)?;
        self.conversation.check_room()?;
        self.begin_keeping(id, incarnation);
        let operation = Operation::Append {
            incarnation,
            cseq: append.cseq,
            settled: append.settled,
            author: author.as_str().as_bytes(),
            wall_ms,
            journal: append.journal,
            appended: append.appended,
        };
        self.conversation.append(&operation);
        if planted(Bug::AppendAppliedTooEarly)
            && let Ok(applied) = self.kept.apply(self.kept.pos() + 1, &operation.encode())
        {
            self.applied(applied, 0);
        }
        if planted(Bug::AppendAcknowledgedTooEarly) {
            let journal = Name::from_bytes(append.journal).ok();
            let last = journal
                .and_then(|journal| self.kept.journals.find(&journal))
                .map_or(0, |id| self.kept.journals.get(id).last());
            self.answer_write(incarnation, append.cseq, &Outcome::Done { rev: last + 1, count: 1 }, 0);
        }
        Ok(())
    }

    /// A node wants to follow a journal.
    pub(super) fn follow(&mut self, id: LinkId, follow: Follow<'_>) {
        if let Err(refusal) = self.try_follow(id, follow) {
            self.refuse(id, follow.id, &refusal);
        }
    }

    fn try_follow(&mut self, id: LinkId, follow: Follow<'_>) -> Result<(), Refusal> {
        let journal =
            Name::from_bytes(follow.journal).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        if !self.is_ready() {
            let text = format!("follow `{journal}`: the hub is starting; try again in a moment");
            return Err(Refusal::new(Code::Backpressure, text));
        }
        let number = follow.id;
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        if !allow(&joined.principal, Verb::Follow, journal.as_str()) && !planted(Bug::EntriesNotAsked) {
            return Err(joined.principal.forbidden(&format!("follow `{journal}`"), Verb::Follow, journal.as_str()));
        }
        // That it comes and goes is entries.
        if follow.follow_as == FollowAs::Announced && !allow(&joined.principal, Verb::Execute, journal.as_str()) {
            let what = format!("follow `{journal}` with entries that say so");
            return Err(joined.principal.forbidden(&what, Verb::Execute, journal.as_str()));
        }
        if joined.watches.contains_key(&number) || joined.subscriptions.contains_key(&number) {
            let text = format!("follow `{journal}`: the number {number} is in use on this link");
            return Err(Refusal::new(Code::BadFrame, text));
        }
        if joined.watches.len() >= WATCHES_PER_LINK_MAX {
            let text = format!(
                "follow `{journal}`: `{}` has {WATCHES_PER_LINK_MAX} watches and followers, which is all it may have",
                joined.node
            );
            return Err(Refusal::new(Code::Limit, text));
        }
        let member = (follow.follow_as != FollowAs::Observer).then(|| joined.node.clone());
        if let Some(node) = &member {
            self.check_membership(&journal, node)?;
        }
        let last = self.kept.journals.find(&journal).map_or(0, |id| self.kept.journals.get(id).last());
        let checks = follow.after > 0 && follow.hash != [0; 16] && !planted(Bug::DivergedMissed);
        if checks && follow.after > last {
            return Err(diverged(&journal, follow.after, last));
        }
        let follower = Follower {
            link: id,
            id: number,
            journal,
            member,
            // The one that it has is looked at again, to see whether it is the same.
            next: if checks { follow.after } else { follow.after.min(NEVER) + 1 },
            check: checks.then_some(follow.hash),
            strategy: follow.strategy,
            snapshot_max: follow.snapshot,
            base: None,
            applied: 0,
            stuck: None,
            credit: i64::from(follow.window),
            told: false,
            turn: 0,
            reading: None,
        };
        let key = self.followers.all.insert(follower);
        if let Some(joined) = self.links.joined(id) {
            joined.watches.insert(number, Asked::Follow(key));
        }
        self.attend(id);
        self.audience_grows(key, follow.follow_as);
        self.follower_hungry(key);
        Ok(())
    }

    /// The node has taken so much of what a follower got.
    pub(super) fn followed_taken(&mut self, key: FollowKey, bytes: u32) {
        let follower = &mut self.followers.all[key];
        if !planted(Bug::CreditForgotten) {
            follower.credit = follower.credit.saturating_add(i64::from(bytes));
        }
        self.follower_hungry(key);
    }

    /// The node has applied everything up to this entry; and if it says why, it cannot apply the next.
    pub(super) fn follower_applied(&mut self, id: LinkId, number: u32, seq: u64, stuck: &str) {
        let asked = self.links.joined(id).and_then(|joined| joined.watches.get(&number));
        let Some(&Asked::Follow(key)) = asked else { return };
        let follower = &mut self.followers.all[key];
        // The entry that is looked at again is one that it has.
        let has = if follower.check.is_some() { follower.next } else { follower.next - 1 };
        let before = follower.applied;
        follower.applied = before.max(seq.min(has));
        let stuck = &stuck[..stuck.floor_char_boundary(STUCK_BYTES_MAX)];
        follower.stuck = (!stuck.is_empty()).then(|| stuck.into());
        if follower.applied > before {
            let seq = follower.applied;
            self.member_follow_applied(key, before, seq);
        }
    }

    /// It is not among those of its link any more.
    pub(super) fn end_follow(&mut self, key: FollowKey) {
        let follower = self.followers.all.remove(key);
        let mut link_is_gone = true;
        if let Some(joined) = self.links.joined(follower.link) {
            joined.turns.remove(follower.turn);
            link_is_gone = false;
        }
        if let Some(ticket) = follower.reading {
            self.conversation.forget_read(ticket);
        }
        self.unattend(follower.link);
        let member = follower.member.as_ref().map(|node| (node, follower.applied));
        self.audience_shrinks(key, &follower.journal, member, link_is_gone);
    }

    /// A journal has new entries: those who follow are behind.
    pub(super) fn appended(&mut self, journal: JournalId) {
        let known = self.kept.journals.get(journal);
        let (name, last) = (known.name(), known.last());
        let audience = self.followers.by_journal.get(name);
        let follows: Vec<FollowKey> = audience.into_iter().flat_map(|audience| &audience.follows).copied().collect();
        for key in follows {
            if planted(Bug::LivePathBeside) {
                self.followers.all[key].next = last;
            }
            self.follower_hungry(key);
        }
    }

    /// All that was kept is here again: members of before may come back.
    pub(super) fn journals_ready(&mut self) {
        let away = self.config.membership.member_away_max();
        // Where hubs share a foundation, they may be members at another one.
        if !self.config.shared_foundation {
            self.expect_members(self.membership_clock() + away);
        }
        self.expect_return(self.now + away);
        self.arm_members();
    }

    /// A follower may take something.
    fn follower_hungry(&mut self, key: FollowKey) {
        let follower = &mut self.followers.all[key];
        let link = follower.link;
        if follower.turn == 0
            && let Some(joined) = self.links.joined(link)
        {
            follower.turn = joined.turns.push(Asked::Follow(key));
            self.touch(link);
        }
    }

    /// Lets a follower take what its link has room for.
    pub(super) fn feed_follow(&mut self, id: LinkId, key: FollowKey) {
        let HubState { links, followers, kept, conversation, .. } = self;
        let Some(link) = links.get_mut(id) else { return };
        let Phase::Joined(joined) = &mut link.phase else { return };
        let follower = &mut followers.all[key];
        let journal = kept.journals.find(&follower.journal);
        follower.turn = 0;
        let stop = match journal {
            Some(journal) => {
                let known = kept.journals.get(journal);
                let mut stop = Stop::Waits;
                if let Some(wanted) = follower.strategy.take().filter(|wanted| *wanted != known.strategy()) {
                    stop = Stop::Strategy(wanted, known.strategy());
                } else if follower.reading.is_some() {
                    // What was read is told first.
                } else if !follower.past(known.past(), &mut link.lanes.values) {
                    stop = Stop::Diverged;
                } else if let Some(base) = &follower.base {
                    if follower.has_room(&link.lanes.values) {
                        let from = piece_key(journal, base.piece());
                        follower.reading = Some(conversation.read(Reads::Follow(key), PIECES, &from, 1));
                    } else {
                        stop = Stop::Full;
                    }
                } else if follower.next + u64::from(planted(Bug::MemoryOffByOne)) >= known.recent_first() {
                    stop = follower.tell(known.recent(follower.next), &mut link.lanes.values);
                } else if follower.next <= known.last() {
                    if follower.has_room(&link.lanes.values) {
                        let from = entry_key(journal, follower.next);
                        follower.reading =
                            Some(conversation.read(Reads::Follow(key), ENTRIES, &from, kept.journals.bounds.read));
                    } else {
                        stop = Stop::Full;
                    }
                }
                if !matches!(stop, Stop::Strategy(..)) {
                    follower.tell_all(known.last(), &mut link.lanes.values);
                }
                stop
            }
            None => {
                follower.tell_all(0, &mut link.lanes.values);
                Stop::Waits
            }
        };
        match stop {
            // Without credit it waits until the node has taken some.
            Stop::Full if follower.credit > 0 => follower.turn = joined.turns.push(Asked::Follow(key)),
            Stop::Full | Stop::Waits => {}
            Stop::Diverged => self.follower_diverged(id, key),
            Stop::Strategy(wanted, has) => {
                let what = format!("follow `{}`", self.followers.all[key].journal);
                self.refuse_follower(id, key, &other_strategy(&what, wanted, has));
            }
        }
    }

    /// Old entries that a follower has asked for.
    pub(super) fn follower_read(&mut self, key: FollowKey, rows: &[(RowKey, Bytes)]) {
        let follower = &mut self.followers.all[key];
        follower.reading = None;
        let (id, next) = (follower.link, follower.next);
        let Some(journal) = self.kept.journals.find(&follower.journal) else { return };
        let Some(link) = self.links.get_mut(id) else { return };
        let known = self.kept.journals.get(journal);
        if follower.base.is_some() {
            let name = follower.journal.clone();
            if !follower.tell_base(journal, known.past(), rows, &mut link.lanes.values) {
                let text = format!("the snapshot of `{name}` is not where it was kept");
                return self.foundation_failed(Refusal::new(Code::StorageFailed, text));
            }
            return self.follower_hungry(key);
        }
        if next < known.past().first() {
            // They have gone since.
            return self.follower_hungry(key);
        }
        let mut expected = next;
        let entries = rows.iter().map_while(|(row, frames)| {
            let seq = seq_from_key(journal, &row.key)?;
            let follows = seq == expected;
            expected += 1;
            follows.then_some(frames)
        });
        let stop = follower.tell(entries, &mut link.lanes.values);
        if follower.next == next && matches!(stop, Stop::Waits) {
            let text = format!("entry {next} of `{}` is not where it was kept", follower.journal);
            return self.foundation_failed(Refusal::new(Code::StorageFailed, text));
        }
        match stop {
            Stop::Diverged => self.follower_diverged(id, key),
            Stop::Full | Stop::Waits | Stop::Strategy(..) => self.follower_hungry(key),
        }
    }

    fn follower_diverged(&mut self, id: LinkId, key: FollowKey) {
        let follower = &self.followers.all[key];
        let (journal, had) = (follower.journal.clone(), follower.next);
        let last = self.kept.journals.find(&journal).map_or(0, |id| self.kept.journals.get(id).last());
        self.refuse_follower(id, key, &diverged(&journal, had, last));
    }

    /// A follower gets nothing more, and is told why.
    fn refuse_follower(&mut self, id: LinkId, key: FollowKey, why: &Refusal) {
        let number = self.followers.all[key].id;
        if let Some(joined) = self.links.joined(id) {
            joined.watches.remove(&number);
        }
        self.end_follow(key);
        self.refuse(id, number, why);
    }
}

impl Follower {
    fn has_room(&self, lane: &[u8]) -> bool {
        lane.len() < LINK_VALUES_BYTES_MAX && self.credit > 0
    }

    /// Tells entries from the next on, as far as there is room.
    fn tell<'a>(&mut self, entries: impl Iterator<Item = &'a Bytes>, lane: &mut Vec<u8>) -> Stop {
        for frames in entries {
            if let Some(expected) = self.check.take() {
                if Told::hash_in(frames) != Some(expected) {
                    return Stop::Diverged;
                }
                self.next += 1 + u64::from(planted(Bug::FollowerResumesLate));
                continue;
            }
            if !self.has_room(lane) {
                return Stop::Full;
            }
            Told::copy_for(lane, frames, self.id);
            self.credit -= frames.len() as i64;
            self.next += 1;
        }
        Stop::Waits
    }

    /// Says once that it has all that there is.
    fn tell_all(&mut self, last: u64, lane: &mut Vec<u8>) {
        if !self.told && self.next > last {
            self.told = true;
            Frame::Done { id: self.id, value: last }.encode(lane);
        }
    }
}

fn diverged(journal: &Name, had: u64, now: u64) -> Refusal {
    let text = format!(
        "follow `{journal}`: the follower has entry {had} of another history, and the journal has {now} entries now; begin \
         anew, or find out which of the two is right"
    );
    Refusal::new(Code::Diverged, text)
}
