//! The node's side of values: what it shares of a link and of its numbers.
//!
//! `writes` keeps what is to be written until it is answered; `watch` is what one watch knows and what waits in it. Here
//! is how frames get to them, and what becomes of both when a link comes or goes.

mod watch;
mod writes;

use std::collections::BTreeMap;

use crate::copies::Copies;
use crate::frame::{Appended, Frame, Incarnation, Item, Items, Value, WatchMode};
use crate::limits;
use crate::name::{Name, Pattern};
use crate::outgoing::Lanes;
use crate::payload::Payload;
use crate::refusal::{Code, Refusal};
use crate::rev::Rev;

use super::{NodeState, Phase, RequestId, named};
use watch::Watch;
pub use watch::{Change, Watched};
use writes::{Fate, Writes};
pub use writes::{NotWritten, Note, WriteId, Wrote};

/// All that a node knows of values.
#[derive(Default)]
pub(super) struct Values {
    pub(super) writes: Writes,
    watches: BTreeMap<RequestId, Watch>,
    /// It has written a value that goes with it. Whether it still has one is not known here, as others can set and delete it.
    ephemeral: bool,
    /// What is asked for once, with what has come of it.
    gets: BTreeMap<RequestId, Get>,
    got: Vec<(RequestId, Result<Vec<Change>, Refusal>)>,
}

struct Get {
    pattern: Pattern,
    found: Vec<Change>,
}

impl Values {
    /// Whether a watch or a get has this number.
    pub(super) fn has(&self, id: RequestId) -> bool {
        self.watches.contains_key(&id) || self.gets.contains_key(&id) || self.writes.has(id)
    }

    /// The link is gone. Writes and watches wait for the next one; who asked for what is there now is told that nobody
    /// knows.
    pub(super) fn link_lost(&mut self) {
        self.writes.forget_asked();
        for watch in self.watches.values_mut() {
            watch.link_lost();
        }
        for (id, get) in std::mem::take(&mut self.gets) {
            let text = format!("get of `{}`: the link to the hub was cut before all had come", get.pattern);
            self.got.push((id, Err(Refusal::new(Code::Offline, text))));
        }
    }

    /// Whether any write was put on a link and has no answer.
    pub(super) fn has_writes(&self) -> bool {
        self.writes.has_sent()
    }

    /// No link will come any more. Gives back the watches that had not begun.
    pub(super) fn end(&mut self, why: &Refusal) -> Vec<RequestId> {
        self.writes.end(why);
        let mut never = Vec::new();
        for (id, watch) in &mut self.watches {
            if watch.end(why.clone()) {
                never.push(*id);
            }
        }
        never
    }

    /// A link has come: what waits for one goes on. Gives back the watches that have news.
    pub(super) fn joined(&mut self, lanes: &mut Lanes, payload_bytes_max: usize, before: Before) -> Vec<RequestId> {
        let Before { resumed, nothing_kept, same_history, now } = before;
        let fate = match (resumed, nothing_kept) {
            (true, _) if same_history => Fate::Again,
            (false, true) if same_history => Fate::Anew,
            (resumed, _) => Fate::Unknown { resumed },
        };
        self.writes.joined(fate, now);
        self.writes.send(lanes, payload_bytes_max);
        let mut woken = Vec::new();
        for (id, watch) in &mut self.watches {
            if !same_history && watch.other_history() {
                woken.push(*id);
            }
            watch.ask(*id, &mut lanes.control);
        }
        woken
    }
}

/// What the hub that was joined knows of what was before.
pub(super) struct Before {
    /// It goes on with the same incarnation.
    pub(super) resumed: bool,
    /// It certainly has nothing of what the incarnation wanted to be kept.
    pub(super) nothing_kept: bool,
    /// It is the hub of before, with all that it had promised to keep.
    pub(super) same_history: bool,
    /// Its history, and what the node is to it now.
    pub(super) now: ([u8; 16], Incarnation),
}

impl NodeState {
    /// Takes changes of values that happen together or not at all, 1 to 256 of them. Names and patterns must be valid; a
    /// name must not come twice. It is answered by [`written_writes`](NodeState::written_writes), and until then kept and
    /// sent again as often as links come: it happens once. Without a link it waits for one.
    ///
    /// Writes of one node happen in the order in which they were given. From the first on that sets an ephemeral value its
    /// link beats as often as that of a node that offers a service, so that the value goes as soon.
    ///
    /// # Errors
    ///
    /// In every case it certainly will not happen. [`Code::Backpressure`] when too much waits already;
    /// [`Code::TooLarge`]; [`Code::Forbidden`] for a name of the hub's own; [`Code::BadRequest`]; the node has ended.
    pub fn write(&mut self, items: &[Item<'_>]) -> Result<WriteId, Refusal> {
        writes::check(items)?;
        let ephemeral = items.iter().any(|item| item.set.is_some_and(|set| set.ephemeral));
        let items = Items::encode(items);
        if let Phase::Ended = self.phase {
            return Err(self.offline(&writes::what(&items)));
        }
        let payload_bytes_max = self.welcome.payload_bytes_max as usize;
        // Before the first link nobody knows how much the hub takes.
        if payload_bytes_max > 0 {
            writes::fits(&items, payload_bytes_max)?;
        }
        let id = self.values.writes.push(items)?;
        if ephemeral && !std::mem::replace(&mut self.values.ephemeral, true) {
            self.attend();
        }
        if self.is_joined() {
            self.values.writes.send(&mut self.lanes, payload_bytes_max);
        }
        Ok(id)
    }

    pub(super) fn write_appended(&mut self, journal: &Name, appended: Appended<'_>) -> Result<WriteId, Refusal> {
        let mut bytes = Vec::new();
        appended.write(&mut bytes);
        let payload_bytes_max = self.welcome.payload_bytes_max as usize;
        let known = (payload_bytes_max > 0).then_some(payload_bytes_max);
        let durable = self.config.outbox;
        let id = self.values.writes.push_append(journal.clone(), bytes, known, durable)?;
        if self.is_joined() {
            self.values.writes.send(&mut self.lanes, payload_bytes_max);
        }
        Ok(id)
    }

    /// Writes that have come to their end since the last call.
    pub fn written_writes(&mut self) -> Vec<(WriteId, Result<Wrote, NotWritten>)> {
        self.values.writes.ended()
    }

    /// Begins to watch the values whose names match. Its number is also that of the request, which is answered when the
    /// first of it has come from the hub. While there is no link it waits for one; over reconnections it goes on where it
    /// was. With `after` it begins behind that revision, of which and of all before it the program knows.
    ///
    /// # Errors
    ///
    /// The node has ended; [`Code::Backpressure`] when the link has yet to take what was asked before.
    ///
    /// # Panics
    ///
    /// With [`WatchMode::Once`], which is [`get`](NodeState::get).
    pub fn watch(&mut self, pattern: Pattern, mode: WatchMode, after: Option<Rev>) -> Result<RequestId, Refusal> {
        assert_ne!(mode, WatchMode::Once, "what is asked for once is no watch");
        if let Phase::Ended = self.phase {
            return Err(self.offline(&format!("watch of `{pattern}`")));
        }
        self.check_control("watch", &pattern)?;
        self.attend();
        let id = self.next_id();
        let mut watch = Watch::new(pattern, mode, after);
        if self.is_joined() {
            watch.ask(id, &mut self.lanes.control);
        }
        self.values.watches.insert(id, watch);
        Ok(id)
    }

    /// Ends a watch at once; what waits in it is dropped.
    pub fn unwatch(&mut self, id: RequestId) {
        let Some(watch) = self.values.watches.remove(&id) else { return };
        if self.is_joined() && watch.is_asked() {
            Frame::Unsubscribe { id }.encode(&mut self.lanes.control);
        }
        if !watch.is_ended() {
            self.unattend();
        }
    }

    /// Takes what is next for a watch, and tells the hub from time to time that there is room again: so what waits for the
    /// link is to be written after this. `None` if nothing waits.
    pub fn take_change(&mut self, id: RequestId) -> Option<Watched> {
        let watch = self.values.watches.get_mut(&id)?;
        watch.take(id, &mut self.lanes.control)
    }

    /// Whether all is taken that there was when the watch had last caught up with the hub, on the link that there is now.
    pub fn is_caught_up(&self, id: RequestId) -> bool {
        self.values.watches.get(&id).is_some_and(Watch::is_caught_up)
    }

    /// Asks for the values whose names match, as they are now. Answered by [`got`](NodeState::got).
    ///
    /// # Errors
    ///
    /// [`Code::Offline`] without a link, [`Code::Backpressure`] with too many open requests.
    pub fn get(&mut self, pattern: Pattern) -> Result<RequestId, Refusal> {
        if !self.is_joined() {
            return Err(self.offline(&format!("get of `{pattern}`")));
        }
        self.check_control("get", &pattern)?;
        if self.values.gets.len() >= limits::REQUESTS_MAX {
            let text = format!("get of `{pattern}`: {} others wait for an answer already", limits::REQUESTS_MAX);
            return Err(Refusal::new(Code::Backpressure, text));
        }
        let id = self.next_id();
        let (mode, window, after_memory) = (WatchMode::Once, u32::MAX, Rev::default());
        Frame::Watch { id, mode, window, after: 0, after_memory, pattern: pattern.as_str().as_bytes() }
            .encode(&mut self.lanes.control);
        self.values.gets.insert(id, Get { pattern, found: Vec::new() });
        Ok(id)
    }

    /// What came of gets since the last call: their values, in the order of their names.
    pub fn got(&mut self) -> Vec<(RequestId, Result<Vec<Change>, Refusal>)> {
        std::mem::take(&mut self.values.got)
    }

    /// Nobody waits for this get any more.
    pub fn abandon_get(&mut self, id: RequestId) {
        if self.values.gets.remove(&id).is_some() && self.is_joined() {
            Frame::Unsubscribe { id }.encode(&mut self.lanes.control);
        }
    }

    fn check_control(&self, what: &str, pattern: &Pattern) -> Result<(), Refusal> {
        if self.lanes.control.len() > limits::LINK_CONTROL_BYTES_MAX {
            let text = format!("{what} of `{pattern}`: too much waits for the link already");
            return Err(Refusal::new(Code::Backpressure, text));
        }
        Ok(())
    }

    pub(super) fn written(&mut self, cseq: u64, rev: Rev, count: u32) {
        self.values.writes.answer(cseq, Ok(Wrote { rev, count }));
    }

    pub(super) fn write_refused(&mut self, cseq: u64, why: Refusal) {
        self.values.writes.answer(cseq, Err(why));
    }

    pub(super) fn value(&mut self, value: &Value<'_>) -> Result<(), Refusal> {
        let id = value.id;
        if let Some(get) = self.values.gets.get_mut(&id) {
            let author = author(value.author, get.found.last().map(|last| &last.author))?;
            get.found.push(change(value, author, &mut self.copies)?);
            return Ok(());
        }
        // Otherwise it was on its way when the watch was ended.
        let Some(watch) = self.values.watches.get_mut(&id).filter(|watch| watch.is_asked()) else { return Ok(()) };
        if watch.begins() {
            self.answers.push((id, Ok(0)));
        }
        if watch.arrived(value, &mut self.lanes.control, &mut self.copies)? {
            self.woken.push(id);
        }
        Ok(())
    }

    pub(super) fn snapshot(&mut self, id: u32, durable: bool, memory: bool, first: u64) {
        let Some(watch) = self.values.watches.get_mut(&id).filter(|watch| watch.is_asked()) else { return };
        if watch.begins() {
            self.answers.push((id, Ok(0)));
        }
        if watch.snapshot(durable, memory, first) {
            self.woken.push(id);
        }
    }

    /// The hub is done with a watch or a get, as far as that goes. False if it is neither.
    pub(super) fn answer_values(&mut self, id: RequestId, result: &Result<u64, Refusal>) -> bool {
        if let Some(mut get) = self.values.gets.remove(&id) {
            // What has changed while it was told may have come twice; the last that came is the newest.
            get.found.reverse();
            get.found.sort_by(|one, other| one.name.cmp(&other.name));
            get.found.dedup_by(|later, first| later.name == first.name);
            self.values.got.push((id, result.clone().map(|_| get.found)));
            return true;
        }
        let epoch = self.welcome.epoch;
        let Some(watch) = self.values.watches.get_mut(&id) else { return false };
        if !watch.is_asked() {
            // It has ended.
            return true;
        }
        match result {
            Ok(durable) => {
                if watch.begins() {
                    self.answers.push((id, Ok(0)));
                }
                watch.caught_up(*durable, epoch);
            }
            Err(why) => {
                if watch.end(why.clone()) {
                    self.answers.push((id, Err(why.clone())));
                }
                self.unattend();
            }
        }
        self.woken.push(id);
        true
    }

    /// What the end of the node means for its writes and watches.
    pub(super) fn end_values(&mut self, why: &Refusal) {
        for id in self.values.end(why) {
            self.answers.push((id, Err(why.clone())));
        }
        self.woken.extend(self.values.watches.keys());
    }
}

/// A value as it came; its author was read before.
fn change(value: &Value<'_>, author: Name, copies: &mut Copies) -> Result<Change, Refusal> {
    let payload = value.payload.map(|(encoding, bytes)| Payload { encoding, bytes: copies.copy(bytes) });
    Ok(Change { name: named(value.name)?, payload, rev: value.rev, author })
}

/// Who is answerable; most often that is who was so for the value before it.
fn author(bytes: &[u8], before: Option<&Name>) -> Result<Name, Refusal> {
    match before {
        Some(before) if before.as_str().as_bytes() == bytes => Ok(before.clone()),
        _ if bytes.is_empty() => Ok(watch::hub()),
        _ => named(bytes),
    }
}
