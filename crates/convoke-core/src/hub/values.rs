//! Writes of values, on their way to the foundation and back; values that go by themselves; and the hub's own.

use super::sessions::Session;
use super::{Dropped, HubState, LinkId, Timer};
use crate::bug::{Bug, planted};
use crate::frame::{About, Frame, Incarnation, Item, Write};
use crate::kept::{Kept, Outcome, Slot, answer_bytes};
use crate::limits::{ANSWERS_BYTES_MAX, BATCH_ITEMS_MAX, WRITES_MAX};
use crate::name::Name;
use crate::operation::Operation;
use crate::payload::Encoding;
use crate::refusal::{Code, Refusal};
use crate::rev::Rev;
use crate::rights::{Verb, allow};

impl HubState {
    /// A node wants to change values.
    pub(super) fn write(&mut self, id: LinkId, write: Write<'_>) {
        let Some(joined) = self.links.joined(id) else { return };
        let (incarnation, cseq) = (joined.incarnation, write.cseq);
        // Whatever becomes of it: the node counts from when it sends it, and does not count back.
        if write.items.iter().any(|item| item.set.is_some_and(|set| set.ephemeral)) {
            self.attend_ephemeral(id);
        }
        if self.came_before(incarnation, cseq) {
            return;
        }
        if let Err(refusal) = self.try_write(id, write) {
            let outcome = Outcome::Refused { code: refusal.code, text: refusal.text.into_owned() };
            self.answer_write(incarnation, cseq, &outcome, 0);
        }
    }

    /// Whether this was asked for before; if it is known what came of it, that is told again.
    pub(super) fn came_before(&mut self, incarnation: Incarnation, cseq: u64) -> bool {
        if let Some(link) = self.live_link(incarnation)
            && let Some(joined) = self.links.joined(link)
        {
            joined.cseq = joined.cseq.max(cseq);
            if let Some(why) = joined.refused.remove(&cseq) {
                // It was on its way when its node was told that it certainly is not done.
                let outcome = Outcome::Refused { code: why.code, text: why.text.into_owned() };
                self.answer_write(incarnation, cseq, &outcome, 0);
                return true;
            }
        }
        for epoch in [0, self.memory_epoch] {
            let kept = if epoch == 0 { &self.kept } else { &self.memory };
            let Some(window) = kept.window(incarnation) else { continue };
            if cseq <= window.settled {
                // It has had its answer.
                self.counters.count_dropped(Dropped::Repeats, 1);
                return true;
            }
            if let Some(outcome) = window.results.get(&cseq).cloned() {
                self.answer_write(incarnation, cseq, &outcome, epoch);
                return true;
            }
        }
        self.conversation.is_appending(incarnation, cseq)
    }

    fn try_write(&mut self, id: LinkId, write: Write<'_>) -> Result<(), Refusal> {
        let wall_ms = self.wall_ms();
        let mut in_memory = 0;
        for item in write.items.iter() {
            in_memory += usize::from(self.check_item(id, &item)?);
        }
        if in_memory != 0 && in_memory != write.items.len() {
            let text = "write: values that are kept in memory only cannot be changed together with others";
            return Err(Refusal::new(Code::BadRequest, text));
        }
        self.check_answers(id, (write.cseq, write.settled), answer_bytes(write.items), in_memory != 0)?;
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        let incarnation = joined.incarnation;
        let author = joined.author.clone();
        let operation = Operation::Write {
            incarnation,
            cseq: write.cseq,
            settled: write.settled,
            author: author.as_str().as_bytes(),
            wall_ms,
            items: write.items,
        };
        if in_memory != 0 {
            let pos = self.memory.pos() + 1;
            let applied = self.memory.apply(pos, &operation.encode());
            let applied = applied.map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))?;
            self.applied(applied, self.memory_epoch);
            return Ok(());
        }
        self.conversation.check_room()?;
        self.begin_keeping(id, incarnation);
        self.conversation.append(&operation);
        if planted(Bug::AppliedTooEarly)
            && let Ok(applied) = self.kept.apply(self.kept.pos() + 1, &operation.encode())
        {
            self.applied(applied, 0);
        }
        if planted(Bug::AcknowledgedTooEarly) {
            let outcome = Outcome::Done { rev: self.kept.pos() + 1, count: write.items.len() as u32 };
            self.answer_write(incarnation, write.cseq, &outcome, 0);
        }
        Ok(())
    }

    /// An incarnation asks for something to be kept: it is kept itself, before that.
    pub(super) fn begin_keeping(&mut self, id: LinkId, incarnation: Incarnation) {
        let Some(joined) = self.links.joined(id) else { return };
        if !std::mem::replace(&mut joined.begun, true)
            && self.kept.window(incarnation).is_none_or(|window| window.secret.is_none())
            && let Some(session) = self.sessions.get(incarnation)
        {
            let Session { node, principal, secret, .. } = session;
            let (node, principal, secret) = (node.as_str().as_bytes(), principal.as_str().as_bytes(), secret.clone());
            self.conversation.append(&Operation::Begin { incarnation, node, principal, secret });
        }
    }

    /// Whether the hub can keep one more answer for a node until it says that it has it. Nobody may have more than what is
    /// left for all others: so who never says so is refused long before those who do.
    pub(super) fn check_answers(
        &mut self,
        id: LinkId,
        (cseq, settled): (u64, u64),
        more: usize,
        in_memory: bool,
    ) -> Result<(), Refusal> {
        let Some(joined) = self.links.joined(id) else { return Ok(()) };
        let (node, incarnation) = (&joined.node, joined.incarnation);
        let settled = settled.min(cseq.saturating_sub(1));
        // This is decided by no operation, and need not wait for one.
        self.memory.settle(incarnation, settled);
        let kept = [&self.kept, &self.memory];
        let windows = kept.map(|kept| kept.window(incarnation));
        let on_the_way = self.conversation.on_the_way(incarnation);
        let mut count = windows[usize::from(in_memory)].map_or(0, |window| window.results.len());
        count += if in_memory { 0 } else { on_the_way.writes };
        let mut own =
            on_the_way.answers_bytes + windows.into_iter().flatten().map(|window| window.bytes).sum::<usize>();
        let mut all = self.conversation.answers_bytes + kept.map(Kept::windows_bytes).iter().sum::<usize>();
        let is_full =
            |count: usize, own, all| count >= WRITES_MAX || own + more > ANSWERS_BYTES_MAX.saturating_sub(all);
        if !is_full(count, own, all) {
            return Ok(());
        }
        if let Some(window) = windows[0].filter(|_| !in_memory) {
            // These go when the write is ordered: else nobody who has too many could ever say so.
            let gone = window.results.range(..=settled).map(|(_, outcome)| outcome.bytes());
            let (fewer, less) = gone.fold((0, 0), |(count, bytes), more| (count + 1, bytes + more));
            (count, own, all) = (count - fewer, own - less, all - less);
        }
        if !is_full(count, own, all) {
            return Ok(());
        }
        let (code, text) = if count >= WRITES_MAX {
            (
                Code::Limit,
                format!(
                    "write: `{node}` has not said that it has its answers to {count} writes; it may have {WRITES_MAX}"
                ),
            )
        } else {
            let text = format!(
                "write: `{node}` has not said that it has answers of {own} bytes, and all nodes together have not said so \
                 of {all}, of {ANSWERS_BYTES_MAX} that the hub keeps; try again later"
            );
            (Code::Backpressure, text)
        };
        Err(Refusal::new(code, text))
    }

    /// Whether the item is of a value in memory.
    fn check_item(&mut self, id: LinkId, item: &Item<'_>) -> Result<bool, Refusal> {
        let bad = |error: crate::name::NameError| Refusal::new(Code::BadName, error.to_string());
        let verb = if item.set.is_some() { Verb::Set } else { Verb::Delete };
        let Some(principal) = self.links.joined(id).map(|joined| joined.principal.clone()) else { return Ok(false) };
        let (name, allowed) = if item.every {
            // Which keys it will change is not known before it is ordered: all that it may change must be allowed.
            let pattern = crate::name::Pattern::from_bytes(item.name).map_err(bad)?;
            (pattern.as_str().to_owned(), principal.rights.allow_all(verb, &pattern))
        } else {
            let name = Name::from_bytes(item.name).map_err(bad)?;
            (name.as_str().to_owned(), allow(&principal, verb, name.as_str()))
        };
        if !allowed && !planted(Bug::WritesNotAsked) {
            return Err(principal.forbidden(&format!("change of `{name}`"), verb, &name));
        }
        Ok(self.is_in_memory(&name))
    }

    /// Whether values of this name, or matched by this pattern, are kept in memory only.
    pub(super) fn is_in_memory(&self, name: &str) -> bool {
        name.starts_with('$')
            || self.config.memory.iter().any(|prefix| {
                name.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    /// Tells a node what came of its write, on whatever link it has now.
    pub(super) fn answer_write(&mut self, incarnation: Incarnation, cseq: u64, outcome: &Outcome, epoch: u64) {
        let Some(link) = self.live_link(incarnation) else { return };
        match outcome {
            Outcome::Done { rev, count } => {
                let rev = if *rev == 0 { Rev::default() } else { Rev { epoch, n: *rev } };
                self.control(link, &Frame::Written { cseq, rev, count: *count });
            }
            Outcome::Refused { code, text } => {
                self.control(link, &Frame::Refused { about: About::Write(cseq), code: *code, text });
            }
        }
    }

    /// Sets a value of the hub's own, as JSON, or deletes it. One that is as it should be is left alone.
    pub(super) fn set_hub_value(&mut self, name: &str, json: Option<&str>) {
        debug_assert!(name.starts_with('$'), "the hub's own names begin with `$`");
        let new = json.map(|json| (Encoding::Json, json.as_bytes()));
        let changed = self.memory.set_own(name, new);
        self.changed(&changed, self.memory_epoch);
    }

    /// The timer for the value that goes next.
    pub(super) fn set_expiry(&mut self) {
        let next = [self.kept.values.next_expiry(), self.memory.values.next_expiry()].into_iter().flatten().min();
        match next {
            Some(expires_ms) => {
                let wait = std::time::Duration::from_millis(expires_ms.saturating_sub(self.wall_ms()));
                // One that is overdue may be on its way already: then the timer is set for when to try again.
                let retry = self.now + crate::limits::APPEND_RETRY_TIME;
                if !wait.is_zero() || self.timers.due(Timer::Expire).is_none_or(|due| due > retry) {
                    self.timers.set(self.now + wait, Timer::Expire);
                }
            }
            None => self.timers.clear(Timer::Expire),
        }
    }

    /// Values whose time is over go, as ordinary changes.
    pub(super) fn expire_values(&mut self) {
        let wall_ms = self.wall_ms();
        let due = self.memory.values.expired(wall_ms);
        self.expire_in_memory(&due);
        if self.conversation.check_room().is_ok() {
            let due = self.kept.values.expired(wall_ms);
            self.append_expiry(&due);
        }
        let more = |values: &crate::kept::Values| values.next_expiry().is_some_and(|next| next <= wall_ms);
        if more(&self.kept.values) || more(&self.memory.values) {
            // Those that are on their way, or that there was no room for.
            self.timers.set(self.now + crate::limits::APPEND_RETRY_TIME, Timer::Expire);
        } else {
            self.set_expiry();
        }
    }

    /// The node of this incarnation is dead: its ephemeral values go, as ordinary changes.
    pub(super) fn node_dead(&mut self, incarnation: Incarnation) {
        let owned = self.memory.values.owned_by(incarnation);
        self.expire_in_memory(&owned);
        let mut all = true;
        if self.conversation.check_room().is_ok() {
            let owned = self.kept.values.owned_by(incarnation);
            all = self.append_expiry(&owned);
        }
        if !all || self.kept.values.is_owner(incarnation) && self.conversation.check_room().is_err() {
            self.timers.set(self.now + crate::limits::APPEND_RETRY_TIME, Timer::Owner(incarnation));
        }
    }

    /// False if there was not room for all.
    fn append_expiry(&mut self, slots: &[Slot]) -> bool {
        let wall_ms = self.wall_ms();
        let mut all = true;
        for slots in slots.chunks(BATCH_ITEMS_MAX) {
            if self.conversation.check_room().is_ok() {
                self.conversation.append(&expiry(&self.kept.values, slots, wall_ms));
            } else {
                for slot in slots {
                    self.kept.values.stay(*slot);
                }
                all = false;
            }
        }
        all
    }

    fn expire_in_memory(&mut self, slots: &[Slot]) {
        for slots in slots.chunks(BATCH_ITEMS_MAX) {
            let operation = expiry(&self.memory.values, slots, self.wall_ms()).encode();
            let pos = self.memory.pos() + 1;
            let applied = self.memory.apply(pos, &operation).expect("it was encoded right here");
            self.applied(applied, self.memory_epoch);
        }
    }
}

fn expiry<'a>(values: &'a crate::kept::Values, slots: &[Slot], wall_ms: u64) -> Operation<'a> {
    let keys = slots.iter().map(|slot| (values.name(*slot).as_bytes(), values.place(*slot).0)).collect();
    Operation::Expire { keys, wall_ms }
}
