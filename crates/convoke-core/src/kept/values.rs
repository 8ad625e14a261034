//! The table of values: found by name, by pattern, and by the place of their last change.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::{ControlFlow, Range};

use bytes::Bytes;

use crate::bug::{Bug, planted};
use crate::frame::{Frame, Incarnation, Value};
use crate::limits::{DELETED_MAX, VALUES_BYTES_MAX, VALUES_MAX};
use crate::name::Pattern;
use crate::payload::Encoding;
use crate::refusal::{Code, Refusal};
use crate::rev::Rev;
use crate::tree::Tree;
use crate::tree::slab::Slab;

/// The place of one change: the position of its operation, and which of its changes it is.
pub(crate) type Place = (u64, u16);

/// The number of a key while it is in the table.
pub(crate) type Slot = u32;

/// Where the name begins in the first frame of a value: behind the head, the number of the watch and the revision.
const NAMES_OFFSET: usize = crate::frame::HEAD_BYTES + 4 + 16;

/// Changes that come next for somebody.
pub(crate) struct Next {
    /// Whole positions, in order.
    pub(crate) places: Vec<(Place, Slot)>,
    /// Where there is more.
    pub(crate) rest: Option<Place>,
}

/// What a key is to get.
pub(crate) struct New<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) payload: &'a [u8],
    pub(crate) ttl_ms: u64,
    pub(crate) ephemeral: bool,
}

/// A value as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) place: Place,
    pub(crate) author: &'a [u8],
    /// `None`: it was deleted.
    pub(crate) payload: Option<(Encoding, &'a [u8])>,
    /// Wall time in milliseconds at which it goes; zero for never.
    pub(crate) expires_ms: u64,
    /// It goes with this incarnation.
    pub(crate) owner: Option<Incarnation>,
}

struct Entry {
    /// Its last change; zero before the first.
    place: Place,
    /// The Value frames that tell it, ready to be copied, for the watch 0.
    frames: Bytes,
    set: bool,
    /// Of name and payload.
    bytes: u32,
    expires_ms: u64,
    owner: Option<Incarnation>,
    /// It was asked that it goes; asking again would change nothing.
    going: bool,
}

/// All keys of one sort: those kept durably, or those in memory.
pub(crate) struct Values {
    epoch: u64,
    names: Tree<Slot>,
    entries: Slab<Entry>,
    /// Every key by its last change.
    by_place: BTreeMap<Place, Slot>,
    /// Keys without a value, by their last change.
    deleted: BTreeSet<Place>,
    /// Deletions up to this position are forgotten.
    floor: u64,
    bytes: usize,
    expiring: BTreeSet<(u64, Place)>,
    owned: BTreeSet<(Incarnation, Place)>,
}

impl Values {
    pub(crate) fn new(epoch: u64, seed: u64) -> Values {
        Values {
            epoch,
            names: Tree::new(seed),
            entries: Slab::new(),
            by_place: BTreeMap::new(),
            deleted: BTreeSet::new(),
            floor: 0,
            bytes: 0,
            expiring: BTreeSet::new(),
            owned: BTreeSet::new(),
        }
    }

    /// How many keys have a value.
    pub(crate) fn len(&self) -> usize {
        self.by_place.len() - self.deleted.len()
    }

    /// How many rows there are to look through: keys with a value, and those whose deletion is still known.
    pub(crate) fn rows(&self) -> usize {
        self.by_place.len()
    }

    /// How many keys have none, and are still known.
    pub(crate) fn deleted(&self) -> usize {
        self.deleted.len()
    }

    /// Names and payloads of all values, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn find(&self, name: &str) -> Option<Slot> {
        self.names.get(name).copied()
    }

    /// The keys with a value that match, in the order of their last changes; `None` if there are more than `max`, which is
    /// found out without looking at all of them.
    pub(crate) fn matched(&self, pattern: &Pattern, max: usize) -> Option<Vec<Slot>> {
        let mut found = Vec::new();
        let all = self.search(pattern, &mut { usize::MAX }, |place, slot| {
            found.push((place, slot));
            if found.len() > max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found.sort_unstable();
        all.is_continue().then(|| found.into_iter().map(|(_, slot)| slot).collect())
    }

    /// Looks through the keys with a value that match, in no order, until `visit` breaks it off. Takes from `steps` how much
    /// there was to look at.
    pub(crate) fn search(
        &self,
        pattern: &Pattern,
        steps: &mut usize,
        mut visit: impl FnMut(Place, Slot) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.names.search(pattern.as_str(), steps, |slot| match &self.entries[*slot] {
            entry if entry.set => visit(entry.place, *slot),
            _ => ControlFlow::Continue(()),
        })
    }

    /// The first of the last changes of keys that match, from a place on and before another, in order, `max` of them at
    /// most; those of keys without a value only with `deletions`. `None` if there is more to look at than `steps` says, from
    /// which that is taken.
    pub(crate) fn next(
        &self,
        pattern: &Pattern,
        range: Range<Place>,
        deletions: bool,
        max: usize,
        steps: &mut usize,
    ) -> Option<Next> {
        let mut first = BinaryHeap::new();
        let mut rest: Option<Place> = None;
        let all = self.names.search(pattern.as_str(), steps, |slot| {
            let entry = &self.entries[*slot];
            if range.contains(&entry.place) && (entry.set || deletions) {
                first.push((entry.place, *slot));
                if first.len() > max {
                    let last = first.pop().map(|(place, _)| place);
                    rest = rest.min(last).or(last);
                }
            }
            ControlFlow::Continue(())
        });
        if all.is_break() {
            return None;
        }
        let mut places = first.into_sorted_vec();
        let rest = rest.map(|(pos, _)| {
            // Of its position not all are here, and nobody is told a part.
            places.truncate(places.partition_point(|((of, _), _)| *of < pos));
            range.start.max((pos, 0))
        });
        Some(Next { places, rest })
    }

    /// Whether the key has a value.
    pub(crate) fn has_value(&self, slot: Slot) -> bool {
        self.entries[slot].set
    }

    /// The revision of the key's value, if it has one.
    pub(crate) fn rev(&self, slot: Slot) -> Option<Rev> {
        let entry = &self.entries[slot];
        entry.set.then_some(Rev { epoch: self.epoch, n: entry.place.0 })
    }

    /// Whether the key has the value of this position.
    pub(crate) fn is_set(&self, slot: Slot, pos: u64) -> bool {
        let entry = &self.entries[slot];
        entry.set && entry.place.0 == pos
    }

    /// The key whose last change is at this place.
    pub(crate) fn at(&self, place: Place) -> Option<Slot> {
        self.by_place.get(&place).copied()
    }

    /// The last changes from a place on, in order.
    pub(crate) fn from(&self, place: Place) -> impl Iterator<Item = (Place, Slot)> {
        self.by_place.range(place..).map(|(place, slot)| (*place, *slot))
    }

    pub(crate) fn place(&self, slot: Slot) -> Place {
        self.entries[slot].place
    }

    /// The Value frames that tell what the key has, for the watch 0.
    pub(crate) fn frames(&self, slot: Slot) -> &Bytes {
        &self.entries[slot].frames
    }

    pub(crate) fn name(&self, slot: Slot) -> &str {
        name_in(&self.entries[slot].frames)
    }

    /// When it goes by itself, and with whom.
    pub(super) fn life(&self, slot: Slot) -> (u64, Option<Incarnation>) {
        let entry = &self.entries[slot];
        (entry.expires_ms, entry.owner)
    }

    /// Hands out the payload in pieces; nothing for a key without a value.
    pub(super) fn payload(&self, slot: Slot, with: impl FnOnce(Option<(Encoding, Vec<&[u8]>)>)) {
        let entry = &self.entries[slot];
        with(if entry.set { super::rows::payload_pieces(&entry.frames) } else { None });
    }

    /// Whether the key has exactly this payload.
    pub(super) fn has_payload(&self, slot: Slot, payload: &[u8]) -> bool {
        let mut same = false;
        self.payload(slot, |has| same = has.is_some_and(|(_, pieces)| pieces.concat() == payload));
        same
    }

    pub(crate) fn bytes_of(&self, slot: Slot) -> usize {
        self.entries[slot].bytes as usize
    }

    /// Deletions up to this position are forgotten: who knows nothing newer needs a snapshot.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    /// Whether so many more keys and bytes fit.
    pub(crate) fn check_room(&self, keys: usize, bytes: usize) -> Result<(), Refusal> {
        if self.len() + keys > VALUES_MAX {
            let text = format!("set: the hub has {} values, which is all it may have", self.len());
            return Err(Refusal::new(Code::Limit, text));
        }
        if self.bytes + bytes > VALUES_BYTES_MAX && bytes > 0 {
            let text = format!("set: the hub's values have {} bytes, and may have {VALUES_BYTES_MAX}", self.bytes);
            return Err(Refusal::new(Code::Limit, text));
        }
        Ok(())
    }

    /// A place in the table for a new key. Its first change must follow.
    pub(crate) fn make(&mut self, name: &str) -> Slot {
        let Values { names, entries, .. } = self;
        *names.get_or_insert_with(name, || {
            // The name is where it is looked for, as in every value.
            let (frames, _) = encode(0, name, &[], (0, 0), None);
            entries.insert(Entry {
                place: (0, 0),
                frames,
                set: false,
                bytes: 0,
                expires_ms: 0,
                owner: None,
                going: false,
            })
        })
    }

    /// Changes a key.
    pub(crate) fn change(
        &mut self,
        slot: Slot,
        place: Place,
        new: Option<New<'_>>,
        author: &[u8],
        wall_ms: u64,
        owner: Option<Incarnation>,
    ) {
        let before = self.entries[slot].frames.clone();
        let payload = new.as_ref().map(|new| (new.encoding, new.payload));
        let (ttl_ms, ephemeral) = new.as_ref().map_or((0, false), |new| (new.ttl_ms, new.ephemeral));
        self.put(
            slot,
            &Row {
                name: name_in(&before),
                place,
                author,
                payload,
                expires_ms: if ttl_ms > 0 {
                    wall_ms.saturating_add(ttl_ms >> u8::from(planted(Bug::HalfTheTimeToLive)))
                } else {
                    0
                },
                owner: owner.filter(|_| ephemeral),
            },
        );
    }

    /// Takes back a row that was kept.
    pub(crate) fn restore(&mut self, row: &Row<'_>) {
        let slot = self.make(row.name);
        self.put(slot, row);
    }

    fn put(&mut self, slot: Slot, row: &Row<'_>) {
        self.take_out(slot);
        let (frames, bytes) = encode(self.epoch, row.name, row.author, row.place, row.payload);
        let set = row.payload.is_some();
        self.by_place.insert(row.place, slot);
        if set {
            self.bytes += bytes;
        } else {
            self.deleted.insert(row.place);
        }
        if row.expires_ms > 0 {
            self.expiring.insert((row.expires_ms, row.place));
        }
        if let Some(owner) = row.owner {
            self.owned.insert((owner, row.place));
        }
        let bytes = bytes as u32;
        self.entries[slot] =
            Entry { place: row.place, frames, set, bytes, expires_ms: row.expires_ms, owner: row.owner, going: false };
    }

    /// Takes a key out of all that is found by its last change.
    fn take_out(&mut self, slot: Slot) {
        let entry = &self.entries[slot];
        self.by_place.remove(&entry.place);
        if entry.set {
            self.bytes -= entry.bytes as usize;
        } else {
            self.deleted.remove(&entry.place);
        }
        if entry.expires_ms > 0 {
            self.expiring.remove(&(entry.expires_ms, entry.place));
        }
        if let Some(owner) = entry.owner {
            self.owned.remove(&(owner, entry.place));
        }
    }

    /// Forgets the oldest deletion, if there are too many; gives the name of its key.
    pub(crate) fn forget_deleted(&mut self) -> Option<String> {
        if self.deleted.len() <= DELETED_MAX {
            return None;
        }
        let place = *self.deleted.first()?;
        let slot = self.by_place.get(&place).copied()?;
        self.floor = self.floor.max(place.0);
        self.take_out(slot);
        let entry = self.entries.remove(slot);
        let name = name_in(&entry.frames).to_owned();
        self.names.remove(&name);
        Some(name)
    }

    /// When the next value goes by itself, in wall time.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.expiring.first().map(|(expires_ms, _)| *expires_ms)
    }

    /// Keys whose time is over that were not given before. All at once: looking again for what is left would go through
    /// all that are on their way each time.
    pub(crate) fn expired(&mut self, wall_ms: u64) -> Vec<Slot> {
        let due = self.expiring.iter().take_while(|(expires_ms, _)| *expires_ms <= wall_ms);
        let due: Vec<Slot> = due.filter_map(|(_, place)| self.at(*place)).collect();
        self.going(due)
    }

    /// Keys that go with this incarnation and were not given before, all at once.
    pub(crate) fn owned_by(&mut self, owner: Incarnation) -> Vec<Slot> {
        let range = (owner, (0, 0))..=(owner, (u64::MAX, u16::MAX));
        let owned = self.owned.range(range).filter_map(|(_, place)| self.at(*place)).collect();
        self.going(owned)
    }

    /// The incarnations that own values.
    pub(crate) fn owners(&self) -> Vec<Incarnation> {
        let mut owners: Vec<Incarnation> = self.owned.iter().map(|(owner, _)| *owner).collect();
        owners.dedup();
        owners
    }

    /// Whether the incarnation owns values.
    pub(crate) fn is_owner(&self, owner: Incarnation) -> bool {
        self.owned.range((owner, (0, 0))..).next().is_some_and(|(first, _)| *first == owner)
    }

    fn going(&mut self, mut slots: Vec<Slot>) -> Vec<Slot> {
        slots.retain(|slot| !self.entries[*slot].going);
        for slot in &slots {
            self.entries[*slot].going = true;
        }
        slots
    }

    /// It was not done: it may be given again. Gives with whom it goes.
    pub(crate) fn stay(&mut self, slot: Slot) -> Option<Incarnation> {
        self.entries[slot].going = false;
        self.entries[slot].owner
    }
}

/// The frames of a value, and how many bytes its name and payload have.
pub(super) fn encode(
    epoch: u64,
    name: &str,
    author: &[u8],
    place: Place,
    payload: Option<(Encoding, &[u8])>,
) -> (Bytes, usize) {
    let length = payload.map_or(0, |(_, payload)| payload.len());
    let mut frames = Vec::with_capacity(NAMES_OFFSET + 4 + name.len() + author.len() + length);
    let rev = Rev { epoch, n: place.0 };
    Frame::Value(Value { id: 0, rev, author, name: name.as_bytes(), payload, together: false }).encode(&mut frames);
    (frames.into(), name.len() + length)
}

/// The name in the frames of a value: behind the author.
pub(crate) fn name_in(frames: &[u8]) -> &str {
    short_at(frames, 1)
}

/// The author in the frames of a value.
pub(super) fn author_in(frames: &[u8]) -> &str {
    short_at(frames, 0)
}

fn short_at(frames: &[u8], which: usize) -> &str {
    let mut fields = crate::frame::Reader::new(&frames[NAMES_OFFSET..], NAMES_OFFSET);
    for _ in 0..which {
        fields.short_bytes("").expect("the frames of a value have an author");
    }
    fields.short_text("").expect("the frames of a value have a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_has_so_many_values_and_no_more() {
        let mut values = Values::new(0, 1);
        values.by_place.extend((0..VALUES_MAX as u64 - 1).map(|n| ((n, 0), 0)));
        values.check_room(1, 10).unwrap();
        let refused = values.check_room(2, 10).unwrap_err();
        assert_eq!(refused.code, Code::Limit);
        assert_eq!(refused.text, "set: the hub has 999999 values, which is all it may have");
        values.deleted.insert((0, 0));
        values.check_room(2, 10).unwrap();
    }

    #[test]
    fn values_have_so_many_bytes_and_no_more() {
        let mut values = Values::new(0, 1);
        values.bytes = VALUES_BYTES_MAX - 10;
        values.check_room(1, 10).unwrap();
        let refused = values.check_room(1, 11).unwrap_err();
        assert_eq!(refused.code, Code::Limit);
        assert_eq!(refused.text, "set: the hub's values have 1073741814 bytes, and may have 1073741824");
        values.bytes += 20;
        values.check_room(0, 0).expect("what makes it no longer is always let in");
    }
}
