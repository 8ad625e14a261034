//! The hub's side of the conversation with its foundation: what was asked, and what comes of the answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::journals::{FollowKey, LookKey};
use super::sessions::Session;
use super::watches::{GetKey, WatchKey};
use super::{HubState, LinkId, Notice, Timer};
use crate::bug::{Bug, planted};
use crate::copies::Copies;
use crate::foundation::{Ask, Ticket, Told};
use crate::frame::Incarnation;
use crate::kept::{self, Applied, Granted, Outcome, Window};
use crate::limits::{APPEND_RETRY_TIME, APPENDING_BYTES_MAX};
use crate::name::Name;
use crate::operation::Operation;
use crate::refusal::{Code, Refusal};
use crate::time::Time;

/// What was asked and is not yet answered.
#[derive(Default)]
pub(super) struct Conversation {
    pub(super) asks: Vec<Ask>,
    ticket_last: Ticket,
    /// Operations that are on their way; appended again if the foundation does not know what became of them.
    appending: BTreeMap<Ticket, Bytes>,
    appending_bytes: usize,
    /// Where operations are put.
    copies: Copies,
    /// Writes among them: one that is sent again meanwhile is not appended twice.
    writes: BTreeSet<(Incarnation, u64)>,
    /// What of each incarnation is on its way.
    busy: BTreeMap<Incarnation, OnTheWay>,
    /// What the answers to all writes that are on their way may take, in bytes.
    pub(super) answers_bytes: usize,
    /// Incarnations that are to be forgotten once none is: one that is appended again behind its end would be done again.
    forgetting: BTreeMap<Incarnation, bool>,
    reads: BTreeMap<Ticket, Reads>,
    /// The change of rights that is on its way, and who has asked for it.
    granting: Option<(Ticket, LinkId, u32)>,
    /// Those that wait for it to come back, so that of each hub only the last need be remembered; with who asked for them.
    grants: VecDeque<(Bytes, LinkId, u32)>,
    /// How many there were.
    grant_last: u64,
    /// Gets that wait until everything is known that was committed before them.
    barriers: BTreeMap<Ticket, GetKey>,
    ready: bool,
    failed: Option<Refusal>,
}

/// Who reads what is kept.
#[derive(Clone, Copy)]
pub(super) enum Reads {
    Watch(WatchKey),
    Follow(FollowKey),
    Look(LookKey),
}

/// What of an incarnation is on its way.
#[derive(Clone, Copy, Default)]
pub(super) struct OnTheWay {
    operations: usize,
    pub(super) writes: usize,
    /// What the answers to these writes may take, in bytes.
    pub(super) answers_bytes: usize,
}

impl Conversation {
    pub(super) fn new() -> Conversation {
        Conversation { asks: vec![Ask::Snapshot], ..Conversation::default() }
    }

    fn ticket(&mut self) -> Ticket {
        self.ticket_last += 1;
        self.ticket_last
    }

    pub(super) fn is_appending(&self, incarnation: Incarnation, cseq: u64) -> bool {
        self.writes.contains(&(incarnation, cseq))
    }

    pub(super) fn append(&mut self, operation: &Operation<'_>) -> Ticket {
        let ticket = self.ticket();
        if let Some(incarnation) = of(operation) {
            let bytes = answer_bytes(operation);
            let busy = self.busy.entry(incarnation).or_default();
            busy.operations += 1;
            busy.answers_bytes += bytes;
            self.answers_bytes += bytes;
            if let Operation::Write { cseq, .. } | Operation::Append { cseq, .. } = operation {
                busy.writes += 1;
                self.writes.insert((incarnation, *cseq));
            }
        }
        let operation = self.copies.written(|out| operation.write(out));
        self.appending_bytes += operation.len();
        self.appending.insert(ticket, operation.clone());
        self.asks.push(Ask::Append { ticket, operation });
        ticket
    }

    /// The number of the next change of rights.
    pub(super) fn next_grant(&mut self) -> u64 {
        self.grant_last += 1;
        self.grant_last
    }

    /// Changes rights, once those are done that were asked for before.
    pub(super) fn wait_grant(&mut self, operation: &Operation<'_>, link: LinkId, number: u32) {
        let operation = operation.encode();
        self.appending_bytes += operation.len();
        self.grants.push_back((operation, link, number));
    }

    /// What is on its way was decided, or certainly was not done. Gives who has asked for it, if it is a change of rights.
    fn end_grant(&mut self, ticket: Ticket) -> Option<(LinkId, u32)> {
        let (_, link, number) = self.granting.take_if(|(of, ..)| *of == ticket)?;
        Some((link, number))
    }

    pub(super) fn read(&mut self, who: Reads, table: u8, from: &[u8], bytes_max: usize) -> Ticket {
        let ticket = self.ticket();
        self.reads.insert(ticket, who);
        let from = Bytes::copy_from_slice(from);
        self.asks.push(Ask::Read { ticket, table, from, bytes_max });
        ticket
    }

    /// A get is answered when all is known that anybody was told to be committed before it.
    pub(super) fn barrier(&mut self, get: GetKey) -> Ticket {
        let ticket = self.ticket();
        self.barriers.insert(ticket, get);
        self.asks.push(Ask::Barrier { ticket });
        ticket
    }

    /// The get has ended: what it waits for is nobody's.
    pub(super) fn forget_barrier(&mut self, ticket: Ticket) {
        self.barriers.remove(&ticket);
    }

    /// The watch has ended: what it has asked for is nobody's.
    pub(super) fn forget_read(&mut self, ticket: Ticket) {
        self.reads.remove(&ticket);
    }

    /// What is on its way, in bytes.
    pub(super) fn appending_bytes(&self) -> usize {
        self.appending_bytes
    }

    /// Whether more may be appended now.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if !self.ready {
            return Err(Refusal::new(Code::Backpressure, "the hub is starting; try again in a moment"));
        }
        if self.appending_bytes > APPENDING_BYTES_MAX {
            let text = "too much waits for the hub's disk already; try again later";
            return Err(Refusal::new(Code::Backpressure, text));
        }
        Ok(())
    }

    fn answered(&mut self, ticket: Ticket) -> Option<Bytes> {
        let operation = self.appending.remove(&ticket)?;
        self.appending_bytes -= operation.len();
        if let Ok(decoded) = Operation::decode(&operation)
            && let Some(incarnation) = of(&decoded)
            && let Some(busy) = self.busy.get_mut(&incarnation)
        {
            let bytes = answer_bytes(&decoded);
            busy.operations -= 1;
            busy.answers_bytes -= bytes;
            self.answers_bytes -= bytes;
            if let Operation::Write { cseq, .. } | Operation::Append { cseq, .. } = decoded {
                busy.writes -= 1;
                self.writes.remove(&(incarnation, cseq));
            }
            if busy.operations == 0 {
                self.busy.remove(&incarnation);
            }
        }
        Some(operation)
    }

    /// Whether nothing of this incarnation is on its way.
    pub(super) fn is_idle(&self, incarnation: Incarnation) -> bool {
        !self.busy.contains_key(&incarnation)
    }

    /// What of this incarnation is on its way.
    pub(super) fn on_the_way(&self, incarnation: Incarnation) -> OnTheWay {
        self.busy.get(&incarnation).copied().unwrap_or_default()
    }
}

/// What the answer to an operation may take, in bytes.
fn answer_bytes(operation: &Operation<'_>) -> usize {
    match operation {
        Operation::Write { items, .. } => kept::answer_bytes(*items),
        Operation::Append { journal, .. } => kept::answer_bytes_for(journal),
        _ => 0,
    }
}

/// The incarnation of which what comes twice is dropped.
fn of(operation: &Operation<'_>) -> Option<Incarnation> {
    match operation {
        Operation::Begin { incarnation, .. }
        | Operation::Write { incarnation, .. }
        | Operation::Append { incarnation, .. } => Some(*incarnation),
        Operation::Presence { .. }
        | Operation::Expire { .. }
        | Operation::Forget { .. }
        | Operation::Fence { .. }
        | Operation::Grant { .. } => None,
    }
}

impl HubState {
    /// What the foundation is asked for since the last call, in order. The first of all is the snapshot.
    pub fn asks(&mut self) -> Vec<Ask> {
        let rows = if planted(Bug::TablesForgotten) { None } else { self.kept.take_rows() };
        if self.conversation.asks.is_empty() && rows.is_none() {
            return Vec::new();
        }
        let mut asks = Vec::with_capacity(1 + self.conversation.asks.len());
        if let Some((pos, rows)) = rows {
            // Before the reads of the same turn: a watch reads up to where the changes are in memory, and these are among
            // them as soon as they are applied.
            asks.push(Ask::Tables { pos, rows });
        }
        asks.append(&mut self.conversation.asks);
        asks
    }

    /// What the foundation tells.
    pub fn told(&mut self, told: Told, now: Time) {
        self.advance(now);
        match told {
            Told::Rows { pos, rows } => {
                if let Err(error) = self.kept.restore(pos, &rows) {
                    self.foundation_failed(Refusal::new(
                        Code::StorageFailed,
                        format!("what is kept cannot be read: {error}"),
                    ));
                }
            }
            Told::Ready => self.ready(),
            Told::Committed { pos, ticket, operation } => {
                let asked = ticket.and_then(|ticket| {
                    self.conversation.answered(ticket);
                    self.conversation.end_grant(ticket)
                });
                self.apply(pos, &operation, asked, ticket.is_some());
                self.fence_ended(ticket, None);
            }
            Told::NotDone { ticket, why } => {
                self.fence_ended(Some(ticket), Some(&why));
                let asked = self.conversation.end_grant(ticket);
                if let Some(operation) = self.conversation.answered(ticket) {
                    if planted(Bug::EntryOfFailedCommit)
                        && let Ok(Operation::Append { .. }) = Operation::decode(&operation)
                        && let Ok(applied) = self.kept.apply(self.kept.pos(), &operation)
                    {
                        self.applied(Applied { answer: None, ..applied }, 0);
                    }
                    self.not_done(&operation, why, asked);
                }
            }
            Told::Uncertain { ticket } if planted(Bug::UncertainIsNotDone) => {
                let asked = self.conversation.end_grant(ticket);
                if let Some(operation) = self.conversation.answered(ticket) {
                    self.not_done(&operation, Refusal::new(Code::StorageFull, "nobody knows"), asked);
                }
            }
            Told::Uncertain { ticket } => {
                if let Some(operation) = self.conversation.appending.get(&ticket).cloned() {
                    self.conversation.asks.push(Ask::Append { ticket, operation });
                }
            }
            Told::ReadDone { ticket, rows } => match self.conversation.reads.remove(&ticket) {
                Some(Reads::Watch(watch)) => self.watch_read(watch, &rows),
                Some(Reads::Follow(follower)) => self.follower_read(follower, &rows),
                Some(Reads::Look(look)) => self.looked(look, &rows),
                None => {}
            },
            Told::BarrierDone { ticket } => {
                if let Some(get) = self.conversation.barriers.remove(&ticket) {
                    self.get_may_begin(get);
                }
            }
            Told::Failed(why) => self.foundation_failed(why),
        }
        self.append_grant();
        self.forget_idle();
        self.close_doomed();
        self.adopt();
    }

    /// Whether all that was kept has come back. Before that a hub serves no values.
    pub fn is_ready(&self) -> bool {
        self.conversation.ready
    }

    /// Values that are kept durably although their names are configured to be kept in memory only: the one that was set
    /// first, and how many there are. They would be there beside values of the same names.
    pub fn kept_although_in_memory(&self) -> Option<(Name, usize)> {
        if self.config.memory.is_empty() {
            return None;
        }
        let values = &self.kept.values;
        let mut kept = values.from((0, 0)).filter_map(|(_, slot)| {
            values.rev(slot)?;
            Some(values.name(slot)).filter(|name| self.is_in_memory(name))
        });
        let first = Name::parse(kept.next()?).expect("it was checked when it was set");
        Some((first, 1 + kept.count()))
    }

    /// The wall time at this moment, in milliseconds since 1970; read once, for what has a time to live.
    pub fn set_wall(&mut self, wall_ms: u64, now: Time) {
        self.wall = (wall_ms, now);
    }

    pub(super) fn wall_ms(&self) -> u64 {
        let (wall_ms, since) = self.wall;
        wall_ms.saturating_add(u64::try_from(self.now.since(since).as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn foundation_failed(&mut self, why: Refusal) {
        if self.conversation.failed.is_none() {
            self.conversation.failed = Some(why.clone());
            self.notices.push(Notice::Failed(why));
        }
    }

    /// All that was kept is here again: who was known may come back, and what belongs to somebody who does not goes.
    fn ready(&mut self) {
        self.kept.restored();
        self.conversation.ready = true;
        self.tell_tokens();
        self.journals_ready();
        let known: Vec<_> = self
            .kept
            .windows()
            .map(|(incarnation, window)| {
                let Window { node, principal, secret, fenced, .. } = window;
                (incarnation, node.clone().zip(principal.clone()), secret.clone(), *fenced)
            })
            .collect();
        for (incarnation, names, secret, fenced) in known {
            if let (Some((node, principal)), Some(secret)) = (names, secret) {
                // Which calls it had made is not kept: of any that it asks for again nothing is certain.
                let former = Some(incarnation);
                let at = Err(self.now);
                let session = Session { node, principal, fenced, secret, received: 0, calls: 0, former, at };
                self.sessions.joined(incarnation, session);
                self.forget_sessions_of(incarnation);
            } else if !self.config.shared_foundation {
                // The disk was full when it began, and had room for what it wrote then: nobody can come back as it. Where
                // hubs share a foundation it may be joined to another, which will say so.
                self.forget_kept(incarnation, true);
            }
        }
        for owner in self.kept.values.owners() {
            if planted(Bug::EphemeralOutlivesHub) {
                break;
            }
            self.timers.set(self.now + self.config.membership.away_max(), Timer::Owner(owner));
        }
        self.set_expiry();
    }

    fn forget_sessions_of(&mut self, incarnation: Incarnation) {
        for gone in self.sessions.away(incarnation, 0, self.now) {
            self.forget_kept(gone, true);
        }
    }

    /// Applies what was ordered, and tells whom it concerns.
    fn apply(&mut self, pos: u64, operation: &[u8], asked: Option<(LinkId, u32)>, is_ours: bool) {
        if self.conversation.failed.is_some() {
            return;
        }
        match self.kept.apply(pos, operation) {
            Ok(mut applied) => {
                if let Some(granted) = applied.granted.take() {
                    self.granted(granted, asked);
                }
                let presence = applied.presence.take();
                self.applied(applied, 0);
                if let Some((journal, node, joined)) = presence {
                    // What is uncertain was asked for by this hub too, although it comes without a ticket.
                    let is_ours = is_ours || self.conversation.appending.values().any(|asked| asked[..] == *operation);
                    self.announced(journal, node, joined, is_ours);
                }
            }
            Err(error) => self.foundation_failed(Refusal::new(
                Code::StorageFailed,
                format!("an operation cannot be applied: {error}; was it written by a newer program?"),
            )),
        }
    }

    /// Answers who asked, and feeds the watches. `epoch` is that of the revisions.
    pub(super) fn applied(&mut self, applied: Applied, epoch: u64) {
        if let Some((incarnation, cseq, outcome)) = applied.answer {
            self.answer_write(incarnation, cseq, &outcome, epoch);
            if epoch == 0 && !applied.changed.is_empty() {
                self.check_owner(incarnation);
            }
        }
        self.changed(&applied.changed, epoch);
        if let Some(journal) = applied.journal {
            self.appended(journal);
        }
        self.set_expiry();
    }

    /// What a node has written may be ordered only when the node is gone already: then what shall go with it goes too.
    fn check_owner(&mut self, incarnation: Incarnation) {
        if self.live_link(incarnation).is_none() && self.kept.values.is_owner(incarnation) {
            let known = self.sessions.get(incarnation).is_some();
            let wait = if known { self.config.membership.away_max() } else { std::time::Duration::ZERO };
            self.timers.set(self.now + wait, Timer::Owner(incarnation));
        }
    }

    /// The foundation did not take an operation. Of one that was uncertain before it may have kept the first: then it is
    /// done, whatever is said of the second.
    fn not_done(&mut self, operation: &[u8], why: Refusal, asked: Option<(LinkId, u32)>) {
        match Operation::decode(operation) {
            Ok(Operation::Write { incarnation, cseq, .. } | Operation::Append { incarnation, cseq, .. }) => {
                let window = self.kept.window(incarnation).filter(|_| !planted(Bug::KeptIsNotDone));
                if window.is_some_and(|window| cseq <= window.settled) {
                    return;
                }
                let outcome = window.and_then(|window| window.results.get(&cseq)).cloned().unwrap_or_else(|| {
                    self.refused_for_good(incarnation, cseq, &why);
                    Outcome::Refused { code: why.code, text: why.text.into_owned() }
                });
                self.answer_write(incarnation, cseq, &outcome, 0);
            }
            Ok(Operation::Expire { keys, .. }) => {
                let mut owners = BTreeSet::new();
                for (name, _) in keys {
                    if let Some(slot) = std::str::from_utf8(name).ok().and_then(|name| self.kept.values.find(name)) {
                        owners.extend(self.kept.values.stay(slot));
                    }
                }
                self.timers.set(self.now + APPEND_RETRY_TIME, Timer::Expire);
                for owner in owners {
                    // One that is set is that of an owner who may still come back.
                    if !self.timers.is_set(Timer::Owner(owner)) {
                        self.timers.set(self.now + APPEND_RETRY_TIME, Timer::Owner(owner));
                    }
                }
            }
            Ok(Operation::Begin { incarnation, .. }) => {
                if let Some(link) = self.live_link(incarnation)
                    && let Some(joined) = self.links.joined(link)
                {
                    joined.begun = false;
                }
            }
            Ok(Operation::Forget { incarnation, unsettled }) => self.forget_later(incarnation, unsettled),
            Ok(Operation::Grant { by, name, .. }) => {
                let done = self.kept.granted_before(by).unwrap_or(Err(why));
                if let Ok(principal) = Name::from_bytes(name) {
                    self.granted(Granted { principal, done, again: true }, asked);
                }
            }
            Ok(Operation::Presence { journal, node, .. }) => self.not_announced(journal, node),
            // Who waits for it is told.
            Ok(Operation::Fence { .. }) | Err(_) => {}
        }
    }

    /// A node is told that a write is certainly not done. If it came on an earlier link, it comes once more on this one.
    fn refused_for_good(&mut self, incarnation: Incarnation, cseq: u64, why: &Refusal) {
        if let Some(link) = self.live_link(incarnation)
            && let Some(joined) = self.links.joined(link)
            && cseq > joined.cseq
            && !planted(Bug::RefusedComesAgain)
        {
            joined.refused.insert(cseq, why.clone());
        }
    }

    /// Appends the next change of rights, unless one is on its way. What somebody wanted whose link has ended since is not
    /// done: it may have lost the right to want it.
    pub(super) fn append_grant(&mut self) {
        while self.conversation.granting.is_none()
            && let Some((operation, link, number)) = self.conversation.grants.pop_front()
        {
            self.conversation.appending_bytes -= operation.len();
            if self.links.joined(link).is_some()
                && let Ok(operation) = Operation::decode(&operation)
            {
                let ticket = self.conversation.append(&operation);
                self.conversation.granting = Some((ticket, link, number));
            }
        }
    }

    /// The link of a node that is joined as this incarnation.
    pub(super) fn live_link(&self, incarnation: Incarnation) -> Option<LinkId> {
        self.sessions.get(incarnation)?.at.ok()
    }

    /// Forgets those of whom nothing is on its way any more.
    pub(super) fn forget_idle(&mut self) {
        let Conversation { busy, forgetting, .. } = &mut self.conversation;
        if forgetting.is_empty() || self.timers.is_set(Timer::Forget) {
            return;
        }
        let idle: Vec<(Incarnation, bool)> =
            forgetting.extract_if(.., |incarnation, _| !busy.contains_key(incarnation)).collect();
        for (incarnation, unsettled) in idle {
            self.forget_kept(incarnation, unsettled);
        }
    }

    /// Whether it is certain that nothing of an incarnation, which is not known, was ever kept or is on its way to be.
    pub(super) fn never_kept(&self, incarnation: Incarnation) -> bool {
        self.kept.never_kept(incarnation)
            && self.memory.never_kept(incarnation)
            && !self.conversation.busy.contains_key(&incarnation)
    }

    /// Nobody comes back as this incarnation: what it was answered need not be known any more.
    pub(super) fn forget_kept(&mut self, incarnation: Incarnation, unsettled: bool) {
        let operation = Operation::Forget { incarnation, unsettled };
        if self.memory.window(incarnation).is_some() {
            let pos = self.memory.pos() + 1;
            self.memory.apply(pos, &operation.encode()).expect("it was encoded right here");
        }
        if self.conversation.busy.contains_key(&incarnation) {
            self.conversation.forgetting.insert(incarnation, unsettled);
        } else if self.kept.window(incarnation).is_some() {
            if self.conversation.check_room().is_ok() {
                self.conversation.append(&operation);
            } else {
                self.forget_later(incarnation, unsettled);
            }
        }
    }

    /// There was no room for that: it is tried again, since nobody else will ever ask for it.
    fn forget_later(&mut self, incarnation: Incarnation, unsettled: bool) {
        self.conversation.forgetting.insert(incarnation, unsettled);
        if !self.timers.is_set(Timer::Forget) {
            self.timers.set(self.now + APPEND_RETRY_TIME, Timer::Forget);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{HubConfig, HubIdentity};
    use crate::proof::TokenKey;

    /// Else a watch of every change could read past what was just applied, and never be told of it.
    #[test]
    fn what_is_read_in_a_turn_is_read_behind_the_rows_of_that_turn() {
        let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 3 };
        let mut hub = HubState::new(HubConfig::default(), identity, [4; 32], Time::START);
        assert!(matches!(hub.asks()[..], [Ask::Snapshot]));
        hub.told(Told::Ready, Time::START);
        let incarnation = Incarnation { epoch: 1, counter: 1 };
        let begin =
            Operation::Begin { incarnation, node: b"press", principal: b"cam", secret: TokenKey::from_bytes([7; 32]) };
        hub.conversation.append(&begin);
        hub.conversation.read(Reads::Watch(0), 2, &[], 100);
        hub.told(Told::Committed { pos: 1, ticket: None, operation: begin.encode() }, Time::START);
        let asks = hub.asks();
        assert!(matches!(asks[..], [Ask::Tables { pos: 1, .. }, Ask::Append { .. }, Ask::Read { .. }]), "{asks:?}");
    }
}
