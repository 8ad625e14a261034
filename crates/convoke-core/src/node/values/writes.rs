//! What a node wants to be written, until it is answered: in order, with the number under which the hub drops what comes
//! twice.

use std::collections::BTreeMap;

use crate::bug::{Bug, planted};
use crate::frame::{Append, Appended, Frame, Item, Items, Reader, Write};
use crate::limits::{BATCH_ITEMS_MAX, VALUE_BYTES_MAX, WRITES_BYTES_MAX, WRITES_MAX};
use crate::name::Name;
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
}

/// What a write costs beside its items, in bytes: so that many tiny ones are bounded too.
const WRITE_BYTES: usize = 64;

struct Open {
    what: Kept,
    /// Zero for one that was never put on a link.
    cseq: u64,
}

/// What is to be kept.
enum Kept {
    /// Changes of values.
    Items(Vec<u8>),
    /// Something for a journal, as it is encoded.
    Append(Name, Vec<u8>),
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
                let appended = Appended::read(&mut Reader::new(appended, 0)).expect("it was encoded right here");
                let journal = journal.as_str().as_bytes();
                Frame::Append(Append { cseq, settled, journal, appended }).encode(out);
            }
        }
    }

    /// What it is, for a sentence.
    fn what(&self) -> String {
        match self {
            Kept::Items(items) => what(items),
            Kept::Append(journal, _) => format!("append to `{journal}`"),
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
pub(super) enum Fate {
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
pub(super) struct Writes {
    /// All that is not answered. What was put on a link comes before what was not.
    open: BTreeMap<WriteId, Open>,
    bytes: usize,
    last_id: WriteId,
    /// What was put on a link and is not answered, by `cseq`.
    sent: BTreeMap<u64, WriteId>,
    last_cseq: u64,
    /// All up to here is put on the link that there is now.
    through: WriteId,
    ended: Vec<(WriteId, Result<Wrote, NotWritten>)>,
}

impl Writes {
    pub(super) fn push(&mut self, items: Vec<u8>) -> Result<WriteId, Refusal> {
        self.push_kept(Kept::Items(items))
    }

    pub(super) fn push_append(
        &mut self,
        journal: Name,
        appended: Vec<u8>,
        payload_bytes_max: Option<usize>,
    ) -> Result<WriteId, Refusal> {
        let kept = Kept::Append(journal, appended);
        if let Some(max) = payload_bytes_max {
            kept.fits(max)?;
        }
        self.push_kept(kept)
    }

    fn push_kept(&mut self, kept: Kept) -> Result<WriteId, Refusal> {
        let bytes = kept.len() + WRITE_BYTES;
        if self.open.len() >= WRITES_MAX || self.bytes + bytes > WRITES_BYTES_MAX {
            let text = format!(
                "{}: {} writes with {} bytes wait for an answer already",
                kept.what(),
                self.open.len(),
                self.bytes
            );
            return Err(Refusal::new(Code::Backpressure, text));
        }
        self.bytes += bytes;
        self.last_id += 1;
        self.open.insert(self.last_id, Open { what: kept, cseq: 0 });
        Ok(self.last_id)
    }

    /// Puts all on the link that is not on it.
    pub(super) fn send(&mut self, lanes: &mut Lanes, payload_bytes_max: usize) {
        let mut refused = Vec::new();
        for (id, open) in self.open.range_mut(self.through + 1..) {
            self.through = *id;
            if let Err(why) = open.what.fits(payload_bytes_max) {
                // One that an earlier link has taken may have been written by a hub that took more.
                refused.push((*id, NotWritten { certain: open.cseq == 0, why }));
                continue;
            }
            if open.cseq == 0 {
                self.last_cseq += 1;
                open.cseq = self.last_cseq;
                self.sent.insert(open.cseq, *id);
            }
            let settled = if planted(Bug::SettledTooEarly) { open.cseq - 1 } else { 0 };
            let settled = settled.max(self.sent.first_key_value().map_or(open.cseq, |(first, _)| *first) - 1);
            lanes.bulk.append(|out| open.what.encode(open.cseq, settled, out));
        }
        for (id, why) in refused {
            self.finish(id, Err(why));
        }
    }

    pub(super) fn answer(&mut self, cseq: u64, result: Result<Wrote, NotWritten>) {
        // Otherwise it was answered before.
        if let Some(id) = self.sent.get(&cseq) {
            self.finish(*id, result);
        }
    }

    fn finish(&mut self, id: WriteId, result: Result<Wrote, NotWritten>) {
        if let Some(open) = self.open.remove(&id) {
            self.bytes -= open.what.len() + WRITE_BYTES;
            self.sent.remove(&open.cseq);
            self.ended.push((id, result));
        }
    }

    pub(super) fn joined(&mut self, fate: Fate) {
        if planted(Bug::ResentInAnotherOrder)
            && let (Some(mut first), Some(mut last)) = (self.open.pop_first(), self.open.pop_last())
        {
            std::mem::swap(&mut first.1.what, &mut last.1.what);
            self.open.extend([first, last]);
        }
        match fate {
            Fate::Again if planted(Bug::ResentAsAnother) => {
                for open in self.open.values_mut() {
                    open.cseq = 0;
                }
                self.sent.clear();
            }
            Fate::Again => {}
            Fate::Anew => {
                for open in self.open.values_mut() {
                    open.cseq = 0;
                }
                self.sent.clear();
                self.last_cseq = 0;
            }
            Fate::Unknown { resumed } => {
                for id in std::mem::take(&mut self.sent).into_values() {
                    let why =
                        self.unknown(id, "the link was cut before the answer came, and the hub cannot tell any more");
                    self.finish(id, Err(NotWritten { certain: false, why }));
                }
                if !resumed {
                    self.last_cseq = 0;
                }
            }
        }
        self.through = 0;
    }

    /// No link will come any more.
    pub(super) fn end(&mut self, why: &Refusal) {
        let ids: Vec<(WriteId, bool)> = self.open.iter().map(|(id, open)| (*id, open.cseq == 0)).collect();
        for (id, certain) in ids {
            let why = if certain {
                let what = self.open.get(&id).map_or_else(String::new, |open| open.what.what());
                Refusal::new(why.code, format!("{what}: {why}"))
            } else {
                self.unknown(id, &why.text)
            };
            self.finish(id, Err(NotWritten { certain, why }));
        }
    }

    fn unknown(&self, id: WriteId, why: &str) -> Refusal {
        let what = self.open.get(&id).map_or_else(String::new, |open| open.what.what());
        Refusal::new(Code::LinkLost, format!("{what}: {why}; it may have been written"))
    }

    pub(super) fn ended(&mut self) -> Vec<(WriteId, Result<Wrote, NotWritten>)> {
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
        writes.joined(Fate::Again);
        writes.send(&mut lanes, 500);
        let certain: Vec<bool> = writes.ended().into_iter().map(|(_, end)| end.unwrap_err().certain).collect();
        assert_eq!(certain, [false, true]);
    }
}
