//! The frames of journals: what is to be appended, who follows, what follows.

use super::carried::Carried;
use super::long::write_long;
use super::values::read_numbers;
use super::{Compact, Frame, FrameError, HEAD_BYTES, Kind, Piece, Reader, put_short, put_u32, write};
use crate::journal::{Origin, Provenance, Strategy, Touches};
use crate::limits::{BATCH_ITEMS_MAX, FRAGMENT_BYTES_MAX, TOUCHED_MAX};
use crate::payload::Encoding;

/// In the place of an expected place: whatever it is.
const ANY: u64 = u64::MAX;

const COMMANDS: u8 = 0;
const UNDO: u8 = 1;
const REDO: u8 = 2;
/// Of what is appended only.
const SNAPSHOT: u8 = 3;
const COMPACT: u8 = 4;

/// Of what an entry says only.
const JOIN: u8 = 3;
const LEAVE: u8 = 4;

/// Of what is appended only.
const CARRIED: u8 = 5;

/// Beside what an entry says: where it was first stands behind the author; where what it undoes was first stands there too; its
/// group goes on.
const OF_HUB: u8 = 0x10;
const TARGET_OF_HUB: u8 = 0x20;
const MORE_OF_GROUP: u8 = 0x40;

/// What a node wants to append to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append<'a> {
    /// The node's number for it within its incarnation, from 1, growing; among its writes.
    pub cseq: u64,
    /// The node has every answer up to this number.
    pub settled: u64,
    /// The journal, not validated.
    pub journal: &'a [u8],
    /// What.
    pub appended: Appended<'a>,
}

/// What is appended to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended<'a> {
    /// Commands, which are done and undone together.
    Commands {
        /// What they are.
        commands: Commands<'a>,
        /// The last entry must be this one; zero for none.
        expect_last: Option<u64>,
        /// How they are undone.
        terms: Terms<'a>,
    },
    /// An earlier command is undone, with all of its group.
    Undo(Back),
    /// It is done again.
    Redo(Back),
    /// No entry: a piece of a snapshot.
    Snapshot(Piece<'a>),
    /// No entry: old ones go.
    Compact(Compact),
    /// An entry of another hub's journal, from a link of that hub only.
    Carried(Carried<'a>),
}

impl Appended<'_> {
    /// How a sentence about it begins, before the name of the journal.
    pub(crate) fn tried(&self) -> &'static str {
        match self {
            Appended::Commands { .. } => "append to",
            Appended::Undo(_) => "undo in",
            Appended::Redo(_) => "redo in",
            Appended::Snapshot(_) => "upload a snapshot of",
            Appended::Compact(_) => "compact",
            Appended::Carried(_) => "pass on to",
        }
    }
}

/// How commands are undone, as far as who appends them knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms<'a> {
    /// The journal must undo in this way, and does if these are its first entries; otherwise as it does.
    pub strategy: Option<Strategy>,
    /// They can never be undone. Only with [`Strategy::Compensate`].
    pub lasting: bool,
    /// Hashes of the keys that they touch together, each a `u64`; everything if it is missing.
    touched: Option<&'a [u8]>,
}

/// In the place of the number of keys: everything.
const EVERYTHING: u8 = u8::MAX;

impl<'a> Terms<'a> {
    /// With hashes of keys that [`Terms::hashes`] has written.
    pub fn new(strategy: Option<Strategy>, lasting: bool, touched: Option<&'a [u8]>) -> Terms<'a> {
        Terms { strategy, lasting, touched }
    }

    /// What is touched, for [`Terms::new`].
    pub fn hashes(touches: &Touches) -> Option<Vec<u8>> {
        Some(touches.hashes()?.iter().flat_map(|hash| hash.to_le_bytes()).collect())
    }

    /// What they touch together.
    pub fn touches(self) -> Touches {
        let hash = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("they are eight"));
        Touches::from_hashes(self.touched.map(|touched| touched.chunks_exact(size_of::<u64>()).map(hash)))
    }

    pub(super) fn read(fields: &mut Reader<'a>) -> Result<Terms<'a>, FrameError> {
        let strategy = read_strategy(fields)?;
        let offset = fields.offset();
        let lasting = match fields.u8("whether they can be undone")? {
            0 => false,
            1 => true,
            _ => return Err(FrameError { offset, expected: "0 (can be undone) or 1 (never)" }),
        };
        let offset = fields.offset();
        let touched = match fields.u8("how many keys are touched")? {
            EVERYTHING => None,
            count if usize::from(count) <= TOUCHED_MAX => {
                Some(fields.bytes(usize::from(count) * size_of::<u64>(), "the hashes of keys")?)
            }
            _ => return Err(FrameError { offset, expected: "0 to 16 keys, or 255 (everything)" }),
        };
        Ok(Terms { strategy, lasting, touched })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.push(self.strategy.map_or(0, Strategy::number));
        out.push(u8::from(self.lasting));
        match self.touched {
            None => out.push(EVERYTHING),
            Some(touched) => {
                out.push((touched.len() / size_of::<u64>()) as u8);
                out.extend_from_slice(touched);
            }
        }
    }
}

fn read_strategy(fields: &mut Reader<'_>) -> Result<Option<Strategy>, FrameError> {
    let offset = fields.offset();
    let expected = "0 (as it is), 1 (replay), 2 (refuse) or 3 (compensate)";
    match fields.u8("a strategy")? {
        0 => Ok(None),
        number => Strategy::from_number(number).map(Some).ok_or(FrameError { offset, expected }),
    }
}

/// Which command is undone or done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Back {
    /// Also those of other authors.
    pub everyone: bool,
    /// Where it or its group begins; otherwise what is next.
    pub target: Option<u64>,
    /// What is next must be this one; zero for none.
    pub expect_top: Option<u64>,
}

/// One or several commands, as they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commands<'a>(&'a [u8]);

impl<'a> Commands<'a> {
    pub(super) fn read(fields: &mut Reader<'a>) -> Result<Commands<'a>, FrameError> {
        let mut check = fields.clone();
        let offset = check.offset();
        let count = check.u16("how many commands there are")?;
        if count == 0 || usize::from(count) > BATCH_ITEMS_MAX {
            return Err(FrameError { offset, expected: "1 to 256 commands" });
        }
        for _ in 0..count {
            read_command(&mut check)?;
        }
        check.end()?;
        Ok(Commands(fields.rest()))
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// How many there are.
    pub fn len(self) -> usize {
        Reader::new(self.0, 0).u16("").map_or(0, usize::from)
    }

    /// Whether there are none, which never is so.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// One after the other, in the order given.
    pub fn iter(self) -> impl Iterator<Item = (Encoding, &'a [u8])> {
        let mut rest = Reader::new(self.0.get(2..).unwrap_or_default(), 0);
        std::iter::from_fn(move || if rest.is_empty() { None } else { read_command(&mut rest).ok() })
    }

    /// Encodes them.
    ///
    /// # Panics
    ///
    /// With none, or with more than [`BATCH_ITEMS_MAX`].
    pub fn encode<'c>(commands: impl ExactSizeIterator<Item = (Encoding, &'c [u8])>) -> Vec<u8> {
        assert!((1..=BATCH_ITEMS_MAX).contains(&commands.len()), "a group has 1 to 256 commands");
        let mut out = (commands.len() as u16).to_le_bytes().to_vec();
        for (encoding, payload) in commands {
            out.push(encoding as u8);
            put_u32(&mut out, u32::try_from(payload.len()).expect("a payload is far shorter than 4 GiB"));
            out.extend_from_slice(payload);
        }
        out
    }

    /// What [`Commands::encode`] has written.
    pub fn encoded(bytes: &'a [u8]) -> Commands<'a> {
        Commands(bytes)
    }
}

fn read_command<'a>(fields: &mut Reader<'a>) -> Result<(Encoding, &'a [u8]), FrameError> {
    let offset = fields.offset();
    let encoding = Encoding::from_number(fields.u8("an encoding")?)
        .ok_or(FrameError { offset, expected: "an encoding that exists" })?;
    let len = fields.u32("the length of a command")? as usize;
    Ok((encoding, fields.bytes(len, "a command as long as it says")?))
}

impl<'a> Appended<'a> {
    pub(crate) fn read(fields: &mut Reader<'a>) -> Result<Appended<'a>, FrameError> {
        let offset = fields.offset();
        let what = fields.u8("what is appended")?;
        let expected = |number: u64| (number != ANY).then_some(number);
        let appended = match what {
            COMMANDS => Appended::Commands {
                expect_last: expected(fields.u64("a place")?),
                terms: Terms::read(fields)?,
                commands: Commands::read(fields)?,
            },
            UNDO | REDO => {
                let offset = fields.offset();
                let everyone = match fields.u8("whose")? {
                    0 => false,
                    1 => true,
                    _ => return Err(FrameError { offset, expected: "0 (mine) or 1 (everyone)" }),
                };
                let (target, expect_top) = (expected(fields.u64("a place")?), expected(fields.u64("a place")?));
                let back = Back { everyone, target, expect_top };
                if what == UNDO { Appended::Undo(back) } else { Appended::Redo(back) }
            }
            SNAPSHOT => Appended::Snapshot(Piece::read(fields)?),
            COMPACT => Appended::Compact(Compact::read(fields)?),
            CARRIED => Appended::Carried(Carried::read(fields)?),
            _ => {
                let expected = "0 (commands), 1 (undo), 2 (redo), 3 (a snapshot), 4 (compaction) or 5 (carried)";
                return Err(FrameError { offset, expected });
            }
        };
        Ok(appended)
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        // No journal gets as far as this; what is expected there must not become whatever it is.
        let number = |expected: Option<u64>| expected.map_or(ANY, |place| place.min(ANY - 1)).to_le_bytes();
        match self {
            Appended::Commands { commands, expect_last, terms } => {
                out.push(COMMANDS);
                out.extend_from_slice(&number(*expect_last));
                terms.write(out);
                out.extend_from_slice(commands.0);
            }
            Appended::Undo(back) | Appended::Redo(back) => {
                out.push(if let Appended::Undo(_) = self { UNDO } else { REDO });
                out.push(u8::from(back.everyone));
                out.extend_from_slice(&number(back.target));
                out.extend_from_slice(&number(back.expect_top));
            }
            Appended::Snapshot(piece) => {
                out.push(SNAPSHOT);
                piece.write(out);
            }
            Appended::Compact(compact) => {
                out.push(COMPACT);
                compact.write(out);
            }
            Appended::Carried(carried) => {
                out.push(CARRIED);
                carried.write(out);
            }
        }
    }
}

impl<'a> Append<'a> {
    pub(super) fn read(fields: &mut Reader<'a>) -> Result<Append<'a>, FrameError> {
        let (cseq, settled) = read_numbers(fields, "a cseq below that of the append itself")?;
        let journal = fields.short_bytes("a name")?;
        let appended = Appended::read(fields)?;
        fields.clone().end()?;
        Ok(Append { cseq, settled, journal, appended })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut fields = self.cseq.to_le_bytes().to_vec();
        fields.extend_from_slice(&self.settled.to_le_bytes());
        put_short(&mut fields, self.journal);
        self.appended.write(&mut fields);
        write_long(out, Kind::Append, 0, 0, &fields, &[]);
    }
}

/// As what a node follows a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FollowAs {
    /// It only reads.
    #[default]
    Observer = 0,
    /// It is one of those whose acknowledgement counts.
    Member = 1,
    /// The same, and entries of the journal say when it has become one and when it is one no more.
    Announced = 2,
}

impl FollowAs {
    const ALL: [FollowAs; 3] = [FollowAs::Observer, FollowAs::Member, FollowAs::Announced];
}

/// A node follows a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow<'a> {
    /// The node's number for it and for the answer.
    pub id: u32,
    /// As what.
    pub follow_as: FollowAs,
    /// Bytes of Entry frames that may be on their way before the node says Taken.
    pub window: u32,
    /// The node has every entry up to this one.
    pub after: u64,
    /// The hash of that one; zero if the node does not know it.
    pub hash: [u8; 16],
    /// The journal must undo in this way, also if it is made only later.
    pub strategy: Option<Strategy>,
    /// The node can begin with a snapshot of the journal, or go on from one, whose maker knew entries up to here at most;
    /// zero for none.
    pub snapshot: u64,
    /// The journal, not validated.
    pub journal: &'a [u8],
}

impl<'a> Follow<'a> {
    pub(super) fn read(mut fields: Reader<'a>) -> Result<Follow<'a>, FrameError> {
        let id = fields.u32("a number")?;
        let offset = fields.offset();
        let number = fields.u8("as what it follows")?;
        let expected = "0 (an observer), 1 (a member) or 2 (a member that is announced)";
        let follow_as = *FollowAs::ALL.get(usize::from(number)).ok_or(FrameError { offset, expected })?;
        let follow = Follow {
            id,
            follow_as,
            window: fields.u32("a window")?,
            after: fields.u64("a place")?,
            hash: fields.array("a hash of 16 bytes")?,
            strategy: read_strategy(&mut fields)?,
            snapshot: fields.u64("a place")?,
            journal: fields.short_bytes("a name")?,
        };
        fields.end()?;
        Ok(follow)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write(out, Kind::Follow, |out| {
            put_u32(out, self.id);
            out.push(self.follow_as as u8);
            put_u32(out, self.window);
            out.extend_from_slice(&self.after.to_le_bytes());
            out.extend_from_slice(&self.hash);
            out.push(self.strategy.map_or(0, Strategy::number));
            out.extend_from_slice(&self.snapshot.to_le_bytes());
            put_short(out, self.journal);
        });
    }
}

/// What an entry says, as it is encoded: a number for what it is, and a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// The number of the follower.
    pub id: u32,
    /// Its place in the journal.
    pub seq: u64,
    /// When the hub took it, in milliseconds since 1970.
    pub wall_ms: u64,
    /// Of it and of all entries before it.
    pub hash: [u8; 16],
    /// What it says.
    pub deed: crate::journal::Deed,
    /// Who is answerable for it, not validated.
    pub author: &'a [u8],
    /// Where it was first, and more of that kind.
    pub provenance: Provenance,
    /// The command; nothing in all others.
    pub payload: (Encoding, &'a [u8]),
}

/// Where the hash stands in the first frame of an entry, and how long it is.
const HASH: std::ops::Range<usize> = HEAD_BYTES + 20..HEAD_BYTES + 36;

impl<'a> Told<'a> {
    pub(super) fn read(encoding: u8, flags: u16, mut fields: Reader<'a>) -> Result<Told<'a>, FrameError> {
        use crate::journal::Deed;
        let encoding =
            Encoding::from_number(encoding).ok_or(FrameError { offset: 5, expected: "an encoding that exists" })?;
        if flags != 0 {
            return Err(FrameError { offset: 6, expected: "flags of an entry" });
        }
        let (id, seq, wall_ms) = (fields.u32("a number")?, fields.u64("a place")?, fields.u64("milliseconds")?);
        let hash = fields.array("a hash of 16 bytes")?;
        let offset = fields.offset();
        let (what, place) = (fields.u8("what it says")?, fields.u64("a place")?);
        let deed = match what & !(OF_HUB | TARGET_OF_HUB | MORE_OF_GROUP) {
            COMMANDS => Deed::Do { first: place },
            UNDO => Deed::Undo(place),
            REDO => Deed::Redo(place),
            JOIN if place == 0 => Deed::Join,
            LEAVE if place == 0 => Deed::Leave,
            JOIN | LEAVE => {
                return Err(FrameError { offset: offset + 1, expected: "0 where nothing else can be meant" });
            }
            _ => {
                let expected = "0 (a command), 1 (undo), 2 (redo), 3 (a join) or 4 (a leave)";
                return Err(FrameError { offset, expected });
            }
        };
        let goes_back = matches!(deed, Deed::Undo(_) | Deed::Redo(_));
        if what & TARGET_OF_HUB != 0 && !goes_back || what & MORE_OF_GROUP != 0 && !matches!(deed, Deed::Do { .. }) {
            let expected = "the target of an undo or redo, or that a group goes on, only where there is one";
            return Err(FrameError { offset, expected });
        }
        let author = fields.short_bytes("a name")?;
        let mut of_hub = |bit| (what & bit != 0).then(|| Origin::read(&mut fields)).transpose();
        let (origin, target) = (of_hub(OF_HUB)?, of_hub(TARGET_OF_HUB)?);
        let provenance = Provenance { origin, target, more: what & MORE_OF_GROUP != 0 };
        Ok(Told { id, seq, wall_ms, hash, deed, author, provenance, payload: (encoding, fields.rest()) })
    }

    /// Reads it from the body of the first of its fragments: of its payload not all is there.
    pub(crate) fn read_first(encoding: u8, body: &'a [u8]) -> Option<Told<'a>> {
        Told::read(encoding, 0, Reader::new(body, HEAD_BYTES)).ok()
    }

    /// Writes it. Gives it as it is when it is written for follower 0, with the hash zero: what is hashed.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        use crate::journal::Deed;
        let (what, place) = match self.deed {
            Deed::Do { first } => (COMMANDS, first),
            Deed::Undo(place) => (UNDO, place),
            Deed::Redo(place) => (REDO, place),
            Deed::Join => (JOIN, 0),
            Deed::Leave => (LEAVE, 0),
        };
        let mut fields = self.id.to_le_bytes().to_vec();
        fields.extend_from_slice(&self.seq.to_le_bytes());
        fields.extend_from_slice(&self.wall_ms.to_le_bytes());
        fields.extend_from_slice(&self.hash);
        let Provenance { origin, target, more } = self.provenance;
        let mut bits = origin.map_or(0, |_| OF_HUB) | target.map_or(0, |_| TARGET_OF_HUB);
        if more {
            bits |= MORE_OF_GROUP;
        }
        fields.push(what | bits);
        fields.extend_from_slice(&place.to_le_bytes());
        put_short(&mut fields, self.author);
        for of_hub in [origin, target].into_iter().flatten() {
            of_hub.write(&mut fields);
        }
        let (encoding, payload) = self.payload;
        write_long(out, Kind::Entry, encoding as u8, 0, &fields, payload);
    }

    /// Whether it is the entry behind the one of this hash, as its own hash says. Costs a hash of all of it.
    pub(crate) fn follows(&self, before: &[u8; 16]) -> bool {
        let told = Told { id: 0, hash: [0; 16], ..*self };
        let mut frames = Vec::with_capacity(told.frame_bytes());
        told.write(&mut frames);
        crate::journal::chained(before, &frames) == self.hash
    }

    /// How long its frames are together, in bytes: what a follower counts.
    pub fn frame_bytes(&self) -> usize {
        let Provenance { origin, target, .. } = self.provenance;
        let of_hubs = [origin, target].into_iter().flatten().count() * Origin::BYTES;
        let body = HASH.end - HEAD_BYTES + 1 + 8 + 2 + self.author.len() + of_hubs + self.payload.1.len();
        body + HEAD_BYTES * body.div_ceil(FRAGMENT_BYTES_MAX)
    }

    /// Sets the hash in the frames of an entry.
    pub(crate) fn set_hash(frames: &mut [u8], hash: &[u8; 16]) {
        frames[HASH].copy_from_slice(hash);
    }

    /// The hash in the frames of an entry.
    pub(crate) fn hash_in(frames: &[u8]) -> Option<[u8; 16]> {
        frames.get(HASH)?.try_into().ok()
    }

    /// Writes the frames of an entry, as [`Told::write`] has made them for another follower, for this one.
    pub(crate) fn copy_for(out: &mut Vec<u8>, frames: &[u8], id: u32) {
        let start = out.len();
        out.extend_from_slice(frames);
        out[start + HEAD_BYTES..start + HEAD_BYTES + 4].copy_from_slice(&id.to_le_bytes());
    }
}

impl Frame<'_> {
    pub(super) fn write_applied(out: &mut Vec<u8>, id: u32, seq: u64, stuck: &str) {
        write(out, Kind::Applied, |out| {
            put_u32(out, id);
            out.extend_from_slice(&seq.to_le_bytes());
            put_short(out, stuck.as_bytes());
        });
    }
}
