//! The start of a log: what of it is whole, what was acknowledged and is not, and what never was.
//!
//! Segments with a footer must be whole to the last bit. In the last one the first record that is none is where a write
//! was torn; unless something behind it says that what is missing there was durable. Then, and only then, it was
//! acknowledged, and nothing may be answered without it. Otherwise the segment is written once more without the torn end,
//! with a footer: after a kill it may be in the system's memory alone, and must not be shown and then be lost.

use std::collections::VecDeque;
use std::sync::Arc;

use super::meta::{self, Meta};
use super::record::{self, Head, Kind};
use super::segment::{self, HEADER_BYTES, Header, NEW, NoHeader, SPARE, Sizes};
use super::{Current, Log, OF_ANOTHER, Own, SHORT_OF, Sealed, place};
use crate::store::disk::WatchedDisk;
use crate::store::file::Unusable;

/// Why a file of the log cannot be used, and which.
pub(in crate::store) type Refused = (String, Unusable);

fn of_the_log(why: impl Into<Unusable>) -> Refused {
    (meta::FILE.to_owned(), why.into())
}

/// Begins a log with nothing in it, in the place of one that has nothing in it.
pub(in crate::store) fn begin(disk: &WatchedDisk, own: &Own) -> Result<(), Refused> {
    for name in disk.names().map_err(of_the_log)? {
        let Some(first) = segment::first_of(&name) else { continue };
        let bytes = disk.open(&name).and_then(|file| file.whole()).map_err(|why| (name.clone(), why.into()))?;
        let has_something =
            first > 1 || bytes.get(HEADER_BYTES..).is_some_and(|rest| rest.iter().any(|byte| *byte > 0));
        if has_something {
            return Err((
                name,
                Unusable::Corrupt("what it belongs to is gone; put it back, or use a new folder".into()),
            ));
        }
    }
    begin_at(disk, own, 1)
}

/// Begins a log whose first operation will have this position.
pub(in crate::store) fn begin_at(disk: &WatchedDisk, own: &Own, first: u64) -> Result<(), Refused> {
    let header = Header { first, hash: own.seal.first_hash(), length: HEADER_BYTES as u64 };
    let begin = || {
        segment::make(disk, NEW, HEADER_BYTES as u64)?;
        place(disk, own, NEW, header)?;
        Meta::make(disk, NEW, own, first)?;
        disk.rename(NEW, meta::FILE)
    };
    begin().map_err(of_the_log)
}

/// What is in a segment.
pub(super) struct Read {
    name: String,
    header: Header,
    pub(super) bytes: Vec<u8>,
    /// Where its records end, without the footer.
    pub(super) end: usize,
    /// What the last record before the footer says.
    last: Last,
    /// The hash of the footer.
    pub(super) footer: Option<u64>,
}

impl Read {
    /// The position of its last operation, or of that before it.
    pub(super) fn last_pos(&self) -> u64 {
        self.last.pos
    }

    fn has_operations(&self) -> bool {
        self.last.pos >= self.header.first
    }
}

/// What the last record says.
#[derive(Clone, Copy)]
struct Last {
    pos: u64,
    hash: u64,
    durable_upto: u64,
}

impl Log {
    /// Opens the log, of which redb holds what came of the operations up to the position `tables`, for a new start.
    /// Nothing is changed unless all that was acknowledged is there.
    pub(in crate::store) fn open(disk: Arc<WatchedDisk>, own: Own, sizes: Sizes, tables: u64) -> Result<Log, Refused> {
        let meta = Meta::open(&disk, &own).map_err(|why| match why {
            Unusable::Io(failed) if failed.error.kind() == std::io::ErrorKind::NotFound => {
                let text = "it is gone, and with it what was kept last; put it back, or use a new folder";
                of_the_log(Unusable::Corrupt(text.into()))
            }
            why => of_the_log(why),
        })?;
        let (needed, others) = needed(&disk, &meta, tables)?;
        let mut sealed = VecDeque::new();
        let mut before: Option<(u64, u64)> = None;
        let mut tail = None;
        for (index, first) in needed.iter().enumerate() {
            let read = read(&disk, &own, *first, before).map_err(|why| (segment::name(*first), why))?;
            let is_last = index + 1 == needed.len();
            check_end(&read, &own, is_last, tables).map_err(|why| (read.name.clone(), why))?;
            before = read.footer.map(|hash| (read.last.pos + 1, hash));
            if is_last {
                tail = Some(read);
            } else {
                sealed.push_back(Sealed { name: read.name, length: read.header.length, last: read.last.pos });
            }
        }
        let tail = tail.expect("there is one, or it was refused");
        Log::go_on(disk, own, sizes, meta, tables, sealed, tail, others)
    }

    /// Seals what is there, and begins a segment of its own for this start.
    #[allow(clippy::too_many_arguments, reason = "it is the second half of one function")]
    fn go_on(
        disk: Arc<WatchedDisk>,
        own: Own,
        sizes: Sizes,
        mut meta: Meta,
        tables: u64,
        mut sealed: VecDeque<Sealed>,
        tail: Read,
        others: Vec<String>,
    ) -> Result<Log, Refused> {
        let Last { pos: last, durable_upto, .. } = tail.last;
        let refused = |why| (tail.name.clone(), Unusable::Io(why));
        // Room for what is written now.
        for name in others.iter().map(String::as_str).chain([NEW, SPARE]) {
            disk.remove(name).map_err(refused)?;
        }
        // One with nothing in it gets another one in its place, behind the same.
        let mut hash = if tail.has_operations() { tail.last.hash } else { tail.header.hash };
        if last > tables && tail.has_operations() {
            let mut bytes = tail.bytes[..tail.end].to_vec();
            let footer = Head { kind: Kind::Footer, epoch: own.epoch, pos: last, durable_upto, prev_hash: hash };
            hash = record::put(&mut bytes, own.seal, footer, &[]);
            let header = Header { length: bytes.len() as u64, ..tail.header };
            bytes[..HEADER_BYTES].copy_from_slice(&header.encode(&own));
            let copied = || {
                let file = disk.create(NEW)?;
                file.write(0, &bytes)?;
                file.sync()?;
                disk.rename(NEW, &tail.name)
            };
            copied().map_err(refused)?;
            sealed.push_back(Sealed { name: tail.name.clone(), length: bytes.len() as u64, last });
        }
        let header = Header { first: last + 1, hash, length: sizes.first };
        let mut begun = || {
            segment::make(&disk, NEW, sizes.first)?;
            let (name, file) = place(&disk, &own, NEW, header)?;
            meta.write(&own, header.first)?;
            Ok(Current {
                name,
                first: header.first,
                hash,
                file,
                length: sizes.first,
                at: HEADER_BYTES as u64,
                has_footer: false,
            })
        };
        let current = begun().map_err(refused)?;
        // Only now: until the new segment was there this was the end of the log.
        if tail.name != current.name && sealed.back().is_none_or(|sealed| sealed.name != tail.name) {
            disk.remove(&tail.name).map_err(refused)?;
        }
        Ok(Log {
            disk,
            own,
            sizes,
            meta,
            sealed,
            current,
            spare: None,
            spare_is_made: false,
            last,
            hash,
            is_marked: true,
            buffer: Vec::new(),
            doubt: None,
        })
    }
}

/// The segments with something that redb does not hold, and the last; and the names of all before, which are not needed.
fn needed(disk: &WatchedDisk, meta: &Meta, tables: u64) -> Result<(Vec<u64>, Vec<String>), Refused> {
    let names = disk.names().map_err(of_the_log)?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment::first_of(name)).collect();
    firsts.sort_unstable();
    let gone = |first| {
        let text = "it is gone, and with it what was kept last; put it back, or use a new folder";
        Err((segment::name(first), Unusable::Corrupt(text.into())))
    };
    if firsts.last().is_none_or(|last| *last < meta.newest) {
        return gone(meta.newest);
    }
    let unneeded = firsts.windows(2).take_while(|pair| pair[1] <= tables + 1).count();
    let others = firsts[..unneeded].iter().map(|first| segment::name(*first)).collect();
    let needed = firsts.split_off(unneeded);
    if needed[0] > tables + 1 {
        return gone(tables + 1);
    }
    Ok((needed, others))
}

/// Reads a segment behind what came before it, up to where there is no record, or to its footer.
pub(super) fn read(disk: &WatchedDisk, own: &Own, first: u64, expected: Option<(u64, u64)>) -> Result<Read, Unusable> {
    let name = segment::name(first);
    let bytes = disk.open(&name)?.whole()?;
    let header = Header::decode(&bytes, own).map_err(|why| match why {
        NoHeader::Format(format) => Unusable::Format(format!(
            "its format is {format}, and this program knows {}; use the program that wrote it",
            segment::FORMAT
        )),
        NoHeader::Other => Unusable::Corrupt(OF_ANOTHER.into()),
        NoHeader::Damaged => Unusable::Corrupt(SHORT_OF.into()),
    })?;
    if header.first != first || expected.is_some_and(|expected| (header.first, header.hash) != expected) {
        return Err(Unusable::Corrupt(missing(expected.map_or(first, |(first, _)| first))));
    }
    let mut last = Last { pos: first - 1, hash: header.hash, durable_upto: first - 1 };
    let (mut end, mut footer) = (HEADER_BYTES, None);
    while let Some(record) = record::read(&bytes[end..], own.seal) {
        let Head { kind, pos, durable_upto, prev_hash, .. } = record.head;
        let place = if kind == Kind::Operation { last.pos + 1 } else { last.pos };
        if pos != place || prev_hash != last.hash {
            break;
        }
        if kind == Kind::Footer {
            footer = Some(record.hash);
            break;
        }
        last = Last { pos, hash: record.hash, durable_upto };
        end += record.bytes();
    }
    Ok(Read { name, header, bytes, end, last, footer })
}

/// Whether a segment ends where it may.
pub(super) fn check_end(read: &Read, own: &Own, is_last: bool, tables: u64) -> Result<(), Unusable> {
    let next = read.last.pos + 1;
    let is_whole = match read.footer {
        Some(_) => true,
        None => is_last && !record::knows_durable(&read.bytes[read.end..], own.seal, next),
    };
    // What redb holds came of what was acknowledged.
    if !is_whole || is_last && next <= tables {
        let breaks = format!("the records end at byte {}, and ", read.end);
        return Err(Unusable::Corrupt(breaks + &missing(next)));
    }
    Ok(())
}

fn missing(pos: u64) -> String {
    format!("the operation at position {pos} was acknowledged and is not there; put a copy of the folder back")
}
