//! What a node wants to be written, until it is answered: in order, with the number under which the hub drops what comes
//! twice.

use std::collections::{BTreeMap, VecDeque};

use crate::bug::{Bug, planted};
use crate::frame::{Append, Appended, Frame, Incarnation, Item, Items, Reader, Write};
use crate::limits::{BATCH_ITEMS_MAX, VALUE_BYTES_MAX, WRITES_BYTES_MAX, WRITES_MAX};
use crate::name::Name;
use crate::node::RequestId;
use crate::op::OpId;
use crate::outgoing::Lanes;
use crate::refusal::{Code, Refusal};
use crate::rev::Rev;

/// Counts the writes of a node, over all its links and incarnations.
pub type WriteId = u64;

/// A write that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrote {
    /// The revision that it made; the default one if it changed nothing.
    pub rev: Rev,
    /// How many keys it changed.
    pub count: u32,
}

/// A write that was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotWritten {
    /// It certainly had no effect. Otherwise it may have been written.
    pub certain: bool,
    /// Why.
    pub why: Refusal,
    /// Which it was, if it was ever put on a link: what became of it can be asked for.
    pub op: Option<OpId>,
    /// It waits where it was noted, for the next program that takes it from there.
    pub waits: bool,
}

impl NotWritten {
    fn certainly(why: Refusal) -> NotWritten {
        NotWritten { certain: true, why, op: None, waits: false }
    }
}

/// Something that is kept elsewhere too: it is put on a link only when it was noted there under which name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which of the node's writes.
    pub id: WriteId,
    /// What the hub will know it by.
    pub op: OpId,
}

/// What a write costs beside its items, in bytes: so that many tiny ones are bounded too.
const WRITE_BYTES: usize = 64;

/// Appends that are remembered when they are done, until they have come back as entries to who follows: what a link carries
/// between the two.
const LATELY_MAX: usize = 256;

/// The same, in bytes.
const LATELY_BYTES_MAX: usize = 1 << 20;

struct Open {
    what: Kept,
    /// Its number in the incarnation that there is; zero for none yet.
    cseq: u64,
    /// It was put on a link under that number.
    put: bool,
    /// It is kept elsewhere too: what becomes of it is noted there before the hub may forget it.
    durable: bool,
    noted: Noted,
    /// As what an earlier program of this name has sent it: what became of that must be known first.
    former: Option<OpId>,
}

impl Open {
    fn new(what: Kept, durable: bool, former: Option<OpId>) -> Open {
        let noted = if durable { Noted::Not } else { Noted::Yes };
        Open { what, cseq: 0, put: false, durable, noted, former }
    }

    /// It has no number any more, since the hub knows nothing of it.
    fn anew(&mut self) {
        (self.cseq, self.put) = (0, false);
        if self.durable {
            self.noted = Noted::Not;
        }
    }
}

/// Whether its number is noted where it is kept too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noted {
    Not,
    Asked,
    Yes,
}

/// What is to be kept.
enum Kept {
    /// Changes of values.
    Items(Vec<u8>),
    /// Something for a journal, as it is encoded.
    Append(Name, Vec<u8>),
}

/// What was put into [`Kept::Append`].
fn encoded(appended: &[u8]) -> Appended<'_> {
    Appended::read(&mut Reader::new(appended, 0)).expect("it was encoded right here")
}

impl Kept {
    fn len(&self) -> usize {
        match self {
            Kept::Items(bytes) | Kept::Append(_, bytes) => bytes.len(),
        }
    }

    fn encode(&self, cseq: u64, settled: u64, out: &mut Vec<u8>) {
        match self {
            Kept::Items(items) => {
                Frame::Write(Write { cseq, settled, items: Items::encoded(items) }).encode(out);
            }
            Kept::Append(journal, appended) => {
                let appended = encoded(appended);
                let journal = journal.as_str().as_bytes();
                Frame::Append(Append { cseq, settled, journal, appended }).encode(out);
            }
        }
    }

    /// What it is, for a sentence.
    fn what(&self) -> String {
        match self {
            Kept::Items(items) => what(items),
            Kept::Append(journal, appended) => format!("{} `{journal}`", encoded(appended).tried()),
        }
    }

    /// Whether a hub that takes payloads of this length takes it.
    fn fits(&self, payload_bytes_max: usize) -> Result<(), Refusal> {
        match self {
            Kept::Items(items) => fits(items, payload_bytes_max),
            Kept::Append(_, bytes) if bytes.len() <= payload_bytes_max => Ok(()),
            Kept::Append(journal, bytes) => {
                let len = bytes.len();
                let text = format!(
                    "append to `{journal}`: it has {len} bytes, and this hub takes at most {payload_bytes_max}"
                );
                Err(Refusal::new(Code::TooLarge, text))
            }
        }
    }
}

/// What the hub of a new link knows of what was put on another link and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Fate {
    /// It goes on with the same incarnation: what comes twice is dropped, and answered as the first time.
    Again,
    /// It certainly has none of it.
    Anew,
    /// It cannot say.
    Unknown {
        /// But the numbers go on.
        resumed: bool,
    },
}

#[derive(Default)]
pub(in crate::node) struct Writes {
    /// All that is not answered. What was put on a link comes before what was not.
    open: BTreeMap<WriteId, Open>,
    bytes: usize,
    last_id: WriteId,
    /// What was put on a link and is not answered, by `cseq`.
    sent: BTreeMap<u64, WriteId>,
    last_cseq: u64,
    /// Which history and incarnation the numbers belong to.
    of: Option<([u8; 16], Incarnation)>,
    /// All up to here has a number, and fits the hub that there is now.
    numbered: WriteId,
    /// All up to here is put on the link that there is now.
    through: WriteId,
    /// What is to be noted elsewhere before it is put on a link.
    notes: Vec<Note>,
    /// What is answered, and not yet known to be noted where it is kept too, with its number.
    held: BTreeMap<WriteId, u64>,
    /// Appends that were done lately, and may not have come back as entries, with the places of their first entries.
    lately: VecDeque<(u64, Name, Vec<u8>)>,
    lately_bytes: usize,
    /// What was asked about former ones, on the link that there is now.
    asked: BTreeMap<RequestId, WriteId>,
    ended: Vec<(WriteId, Result<Wrote, NotWritten>)>,
}

impl Writes {
    pub(in crate::node) fn push(&mut self, items: Vec<u8>) -> Result<WriteId, Refusal> {
        self.push_open(Open::new(Kept::Items(items), false, None))
    }

    /// With `durable` it is kept elsewhere too.
    pub(in crate::node) fn push_append(
        &mut self,
        journal: Name,
        appended: Vec<u8>,
        payload_bytes_max: Option<usize>,
        durable: bool,
    ) -> Result<WriteId, Refusal> {
        let kept = Kept::Append(journal, appended);
        if let Some(max) = payload_bytes_max {
            kept.fits(max)?;
        }
        self.push_open(Open::new(kept, durable, None))
    }

    /// What an earlier program has left.
    pub(in crate::node) fn push_again(
        &mut self,
        journal: Name,
        appended: Vec<u8>,
        former: Option<OpId>,
    ) -> Result<WriteId, Refusal> {
        self.push_open(Open::new(Kept::Append(journal, appended), true, former))
    }

    fn push_open(&mut self, open: Open) -> Result<WriteId, Refusal> {
        let bytes = open.what.len() + WRITE_BYTES;
        if self.open.len() >= WRITES_MAX || self.bytes + bytes > WRITES_BYTES_MAX {
            let text = format!(
                "{}: {} writes with {} bytes wait for an answer already",
                open.what.what(),
                self.open.len(),
                self.bytes
            );
            return Err(Refusal::new(Code::Backpressure, text));
        }
        self.bytes += bytes;
        self.last_id += 1;
        self.open.insert(self.last_id, open);
        Ok(self.last_id)
    }

    /// The journal and the bytes of an append that is not answered.
    pub(in crate::node) fn appended(&self, id: WriteId) -> Option<(&Name, &[u8])> {
        match &self.open.get(&id)?.what {
            Kept::Append(journal, bytes) => Some((journal, bytes)),
            Kept::Items(_) => None,
        }
    }

    /// All appends that are not answered, in their order; they have no place.
    pub(in crate::node) fn appends(&self) -> impl Iterator<Item = (Option<u64>, &Name, &[u8])> {
        self.open.keys().filter_map(|id| self.appended(*id).map(|(journal, bytes)| (None, journal, bytes)))
    }

    /// Appends that were done lately, with the places of their first entries.
    pub(in crate::node) fn lately(&self) -> impl Iterator<Item = (Option<u64>, &Name, &[u8])> {
        self.lately.iter().map(|(first, journal, bytes)| (Some(*first), journal, &bytes[..]))
    }

    /// Gives a number to all that has none, up to what must be asked about first.
    fn number(&mut self, payload_bytes_max: usize) {
        let mut refused = Vec::new();
        for (id, open) in self.open.range_mut(self.numbered + 1..) {
            if open.former.is_some() {
                break;
            }
            self.numbered = *id;
            if let Err(why) = open.what.fits(payload_bytes_max) {
                // One that an earlier link has taken may have been written by a hub that took more.
                refused.push((*id, open.put, why));
                continue;
            }
            if open.cseq == 0 {
                self.last_cseq += 1;
                open.cseq = self.last_cseq;
                self.sent.insert(open.cseq, *id);
            }
            if open.noted == Noted::Not
                && let Some((history, incarnation)) = self.of
            {
                open.noted = Noted::Asked;
                let journal = matches!(open.what, Kept::Append(..));
                self.notes.push(Note { id: *id, op: OpId { history, incarnation, journal, cseq: open.cseq } });
            }
        }
        for (id, put, why) in refused {
            let op = self.op(id);
            self.finish(id, Err(NotWritten { certain: !put, why, op, waits: false }));
        }
    }

    /// Whether any was put on a link and has no answer.
    pub(in crate::node) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Puts all on the link that is not on it, as far as it may be.
    pub(in crate::node) fn send(&mut self, lanes: &mut Lanes, payload_bytes_max: usize) {
        self.number(payload_bytes_max);
        let held = self.held.first_key_value().map(|(_, cseq)| *cseq);
        for (id, open) in self.open.range_mut(self.through + 1..) {
            if open.noted != Noted::Yes || *id > self.numbered {
                break;
            }
            self.through = *id;
            open.put = true;
            let settled = if planted(Bug::SettledTooEarly) { open.cseq - 1 } else { 0 };
            let first = self.sent.first_key_value().map_or(open.cseq, |(first, _)| *first);
            let settled = settled.max(first.min(held.unwrap_or(first)) - 1);
            lanes.bulk.append(|out| open.what.encode(open.cseq, settled, out));
        }
    }

    /// What is to be noted where it is kept too, since the last call.
    pub(in crate::node) fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// It is noted, if that is still the number that it has.
    pub(in crate::node) fn noted(&mut self, note: Note) {
        if self.op(note.id) == Some(note.op)
            && let Some(open) = self.open.get_mut(&note.id)
        {
            open.noted = Noted::Yes;
        }
    }

    /// What became of it is noted: the hub may forget it.
    pub(in crate::node) fn recorded(&mut self, id: WriteId) {
        self.held.remove(&id);
    }

    /// It could not be noted, and will not be put on a link.
    pub(in crate::node) fn give_up(&mut self, id: WriteId, certain: bool, why: Refusal) {
        if self.open.get(&id).is_some_and(|open| !open.put) {
            self.finish(id, Err(NotWritten { certain, why, op: None, waits: false }));
        }
    }

    /// Asks about the former ones, all that was not asked on this link.
    pub(in crate::node) fn ask_former(&mut self, mut next_id: impl FnMut() -> RequestId, lanes: &mut Lanes) {
        let history = self.of.map(|(history, _)| history);
        let mut elsewhere = Vec::new();
        for (id, open) in &self.open {
            let Some(op) = open.former else { continue };
            if Some(op.history) != history {
                elsewhere.push(*id);
                continue;
            }
            let number = next_id();
            self.asked.insert(number, *id);
            let OpId { incarnation, journal, cseq, .. } = op;
            lanes.bulk.append(|out| Frame::Status { id: number, incarnation, journal, cseq }.encode(out));
        }
        for id in elsewhere {
            let what = self.what(id);
            let text = format!(
                "{what}: it was sent to another hub, or to this one before it was restored, and is not sent to this one by \
                 itself; look whether it was done, and append it again if it was not"
            );
            let op = self.op(id);
            let why = Refusal::new(Code::Diverged, text);
            self.finish(id, Err(NotWritten { certain: false, why, op, waits: false }));
        }
    }

    /// Whether a question about a former one has this number.
    pub(in crate::node) fn has(&self, id: RequestId) -> bool {
        self.asked.contains_key(&id)
    }

    /// How many must be asked about.
    pub(in crate::node) fn former_count(&self) -> usize {
        self.open.values().filter(|open| open.former.is_some()).count()
    }

    /// Questions of before have no answer any more.
    pub(in crate::node) fn forget_asked(&mut self) {
        self.asked.clear();
    }

    /// The hub has told what became of a former one. False if that was not asked for here.
    pub(in crate::node) fn former_known(&mut self, number: RequestId, fate: &crate::frame::Fate<'_>) -> bool {
        use crate::frame::Fate;
        let Some(id) = self.asked.remove(&number) else { return false };
        let (what, op) = (self.what(id), self.op(id));
        match *fate {
            Fate::Done { rev, count } => self.finish(id, Ok(Wrote { rev, count })),
            Fate::NotDone { code: Code::Fenced, .. } => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.former = None;
                }
            }
            Fate::NotDone { code, text } => {
                self.finish(id, Err(NotWritten::certainly(Refusal::new(code, format!("{what}: {text}")))));
            }
            Fate::Unknown { text } => {
                let text = format!(
                    "{what}: it was sent by an earlier program of this name, and {text}; look whether it was done, and \
                     append it again if it was not"
                );
                let why = Refusal::new(Code::LinkLost, text);
                self.finish(id, Err(NotWritten { certain: false, why, op, waits: false }));
            }
        }
        true
    }

    pub(in crate::node) fn answer(&mut self, cseq: u64, result: Result<Wrote, Refusal>) {
        // Otherwise it was answered before.
        if let Some(id) = self.sent.get(&cseq) {
            self.finish(*id, result.map_err(NotWritten::certainly));
        }
    }

    fn finish(&mut self, id: WriteId, result: Result<Wrote, NotWritten>) {
        if let Some(open) = self.open.remove(&id) {
            self.bytes -= open.what.len() + WRITE_BYTES;
            self.sent.remove(&open.cseq);
            if open.durable && open.put {
                self.held.insert(id, open.cseq);
            }
            if let (Kept::Append(journal, bytes), Ok(wrote)) = (open.what, &result) {
                self.lately_bytes += bytes.len();
                self.lately.push_back((wrote.rev.n, journal, bytes));
                while self.lately.len() > LATELY_MAX || self.lately_bytes > LATELY_BYTES_MAX {
                    let (_, _, bytes) = self.lately.pop_front().expect("there is more than none");
                    self.lately_bytes -= bytes.len();
                }
            }
            self.ended.push((id, result));
        }
    }

    /// A link has come, to a hub of this history, as this incarnation.
    pub(in crate::node) fn joined(&mut self, fate: Fate, of: ([u8; 16], Incarnation)) {
        if planted(Bug::ResentInAnotherOrder)
            && let (Some(mut first), Some(mut last)) = (self.open.pop_first(), self.open.pop_last())
        {
            std::mem::swap(&mut first.1.what, &mut last.1.what);
            self.open.extend([first, last]);
        }
        match fate {
            Fate::Again if planted(Bug::ResentAsAnother) => {
                self.open.values_mut().for_each(Open::anew);
                self.sent.clear();
            }
            Fate::Again => {}
            Fate::Anew => {
                self.open.values_mut().for_each(Open::anew);
                self.sent.clear();
                self.held.clear();
                self.last_cseq = 0;
            }
            Fate::Unknown { resumed } => {
                for id in std::mem::take(&mut self.sent).into_values() {
                    if let Some(open) = self.open.get_mut(&id).filter(|open| !open.put) {
                        open.anew();
                        continue;
                    }
                    let why =
                        self.unknown(id, "the link was cut before the answer came, and the hub cannot tell any more");
                    let op = self.op(id);
                    self.finish(id, Err(NotWritten { certain: false, why, op, waits: false }));
                }
                self.held.clear();
                if !resumed {
                    self.last_cseq = 0;
                }
            }
        }
        self.of = Some(of);
        (self.numbered, self.through) = (0, 0);
        self.asked.clear();
    }

    /// Whether the hub has all the answers that it has to keep for this node taken off it.
    pub(in crate::node) fn is_settled(&self) -> bool {
        self.held.is_empty() && !self.open.values().any(|open| open.put)
    }

    /// No link will come any more.
    pub(in crate::node) fn end(&mut self, why: &Refusal) {
        let ids: Vec<(WriteId, bool, bool)> =
            self.open.iter().map(|(id, open)| (*id, !open.put, open.durable)).collect();
        for (id, certain, durable) in ids {
            let op = self.op(id);
            let why = if durable {
                let text =
                    format!("{}: {why}; it waits in the outbox, for the next start of this program", self.what(id));
                Refusal::new(why.code, text)
            } else if certain {
                Refusal::new(why.code, format!("{}: {why}", self.what(id)))
            } else {
                self.unknown(id, &why.text)
            };
            self.finish(id, Err(NotWritten { certain: certain && !durable, why, op, waits: durable }));
        }
    }

    /// What the hub knows it by, if it was ever to be put on a link.
    pub(in crate::node) fn op(&self, id: WriteId) -> Option<OpId> {
        let open = self.open.get(&id)?;
        let (history, incarnation) = self.of.filter(|_| open.cseq > 0).or_else(|| {
            let op = open.former?;
            Some((op.history, op.incarnation))
        })?;
        let cseq = if open.cseq > 0 { open.cseq } else { open.former?.cseq };
        Some(OpId { history, incarnation, journal: matches!(open.what, Kept::Append(..)), cseq })
    }

    fn what(&self, id: WriteId) -> String {
        self.open.get(&id).map_or_else(String::new, |open| open.what.what())
    }

    fn unknown(&self, id: WriteId, why: &str) -> Refusal {
        Refusal::new(Code::LinkLost, format!("{}: {why}; it may have been written", self.what(id)))
    }

    pub(in crate::node) fn ended(&mut self) -> Vec<(WriteId, Result<Wrote, NotWritten>)> {
        std::mem::take(&mut self.ended)
    }
}

/// What these items are, for a sentence.
pub(super) fn what(items: &[u8]) -> String {
    let items = Items::encoded(items);
    let first = items.iter().next();
    let name = first.map_or_else(String::new, |first| String::from_utf8_lossy(first.name).into_owned());
    match (items.len(), first) {
        (1, Some(Item { set: None, .. })) => format!("delete of `{name}`"),
        (1, _) => format!("set of `{name}`"),
        (count, _) => format!("batch of {count} changes from `{name}` on"),
    }
}

/// Whether a hub that takes payloads of this length takes these items.
pub(super) fn fits(items: &[u8], payload_bytes_max: usize) -> Result<(), Refusal> {
    let len: usize = Items::encoded(items).iter().filter_map(|item| item.set).map(|set| set.payload.len()).sum();
    if len <= payload_bytes_max {
        return Ok(());
    }
    let text = format!("{}: it has {len} bytes, and this hub takes at most {payload_bytes_max}", what(items));
    Err(Refusal::new(Code::TooLarge, text))
}

/// Refuses what no hub would take.
pub(super) fn check(items: &[Item<'_>]) -> Result<(), Refusal> {
    if items.is_empty() || items.len() > BATCH_ITEMS_MAX {
        let text = format!("batch: it has {} changes, and 1 to {BATCH_ITEMS_MAX} are possible", items.len());
        return Err(Refusal::new(Code::BadRequest, text));
    }
    for item in items {
        let name = String::from_utf8_lossy(item.name);
        if name.starts_with('$') {
            let text = format!("change of `{name}`: names that begin with `$` are the hub's own");
            return Err(Refusal::new(Code::Forbidden, text));
        }
        let len = item.set.map_or(0, |set| set.payload.len());
        if len > VALUE_BYTES_MAX {
            let text = format!("set of `{name}`: it has {len} bytes, and a value at most {VALUE_BYTES_MAX}");
            return Err(Refusal::new(Code::TooLarge, text));
        }
    }
    let mut names: Vec<&[u8]> = items.iter().map(|item| item.name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let text = format!("batch: `{}` comes twice in it", String::from_utf8_lossy(pair[0]));
        return Err(Refusal::new(Code::BadRequest, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Expect, Set};
    use crate::outgoing::SlowPolicy;
    use crate::payload::Encoding;

    #[test]
    fn what_an_earlier_link_has_taken_may_be_written_although_the_next_takes_less() {
        let mut lanes = Lanes::new(SlowPolicy::Disconnect, usize::MAX);
        let mut writes = Writes::default();
        let set = Set { encoding: Encoding::Raw, payload: &[7; 1000], ttl_ms: 0, ephemeral: false };
        let item = Item { name: b"a", every: false, expect: Expect::Anything, set: Some(set) };
        writes.push(Items::encode(&[item])).unwrap();
        writes.send(&mut lanes, 2000);
        writes.push(Items::encode(&[item])).unwrap();
        writes.joined(Fate::Again, ([1; 16], Incarnation { epoch: 1, counter: 1 }));
        writes.send(&mut lanes, 500);
        let certain: Vec<bool> = writes.ended().into_iter().map(|(_, end)| end.unwrap_err().certain).collect();
        assert_eq!(certain, [false, true]);
    }
}
