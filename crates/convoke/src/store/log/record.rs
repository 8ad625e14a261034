//! A record of the log, to the byte: how it is written, and whether what was read is one.
//!
//! ```text
//! length u32 | crc32c u32 | type u8 | flags u8 | epoch u64 | pos u64 | durable_upto u64 | prev_hash u64 | payload
//! ```
//!
//! Numbers are little-endian, `length` is that of the payload. The checksum covers everything but itself, and begins with
//! the history, so that no record of another history is one here. `prev_hash` stands for all records before.

/// Everything before the payload, in bytes.
pub(super) const HEAD_BYTES: usize = 42;

/// Behind `length` and the checksum, in bytes.
const COVERED_FROM: usize = 8;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An operation, at its own position.
    Operation = 1,
    /// Nothing but how far all is durable; at the position of the operation before.
    Marker = 2,
    /// The end of a segment: nothing follows in it. At the position of the operation before.
    Footer = 3,
}

impl Kind {
    fn of(number: u8) -> Option<Kind> {
        [Kind::Operation, Kind::Marker, Kind::Footer].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// The start of the hub in which it was written.
    pub(super) epoch: u64,
    /// Its place, or that of the operation before.
    pub(super) pos: u64,
    /// The highest position that was known to be durable when it was written.
    pub(super) durable_upto: u64,
    /// The hash of the record before.
    pub(super) prev_hash: u64,
}

/// What makes the checksums of a history its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal(u32);

impl Seal {
    pub(super) fn of(history: &[u8; 16]) -> Seal {
        Seal(crc32c::crc32c(history))
    }

    /// The checksum of these bytes.
    pub(super) fn crc(self, parts: [&[u8]; 2]) -> u32 {
        parts.into_iter().fold(self.0, crc32c::crc32c_append)
    }

    /// The hash before the first record.
    pub(super) fn first_hash(self) -> u64 {
        hash(0, self.0)
    }
}

/// The hash of a record with this checksum behind one with that hash.
fn hash(prev: u64, crc: u32) -> u64 {
    let mut mixed = prev.rotate_left(17) ^ u64::from(crc).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Appends a record, and says its hash.
pub(super) fn put(into: &mut Vec<u8>, seal: Seal, head: Head, payload: &[u8]) -> u64 {
    let start = into.len();
    let length = u32::try_from(payload.len()).expect("an operation is shorter than a frame");
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&[head.kind as u8, 0]);
    for number in [head.epoch, head.pos, head.durable_upto, head.prev_hash] {
        into.extend_from_slice(&number.to_le_bytes());
    }
    into.extend_from_slice(payload);
    let (length, rest) = into[start..].split_at(4);
    let crc = seal.crc([length, &rest[4..]]);
    into[start + 4..start + COVERED_FROM].copy_from_slice(&crc.to_le_bytes());
    hash(head.prev_hash, crc)
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) head: Head,
    pub(super) payload: &'a [u8],
    pub(super) hash: u64,
}

impl Record<'_> {
    /// How long it is in all, in bytes.
    pub(super) fn bytes(&self) -> usize {
        HEAD_BYTES + self.payload.len()
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The head at the front of these bytes if it may be one, and its payload; without a look at the checksum.
fn look(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let kind = Kind::of(*bytes.get(COVERED_FROM)?)?;
    if *bytes.get(COVERED_FROM + 1)? != 0 {
        return None;
    }
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let payload = bytes.get(HEAD_BYTES..HEAD_BYTES.checked_add(length)?)?;
    let head = Head {
        kind,
        epoch: number(bytes, 10)?,
        pos: number(bytes, 18)?,
        durable_upto: number(bytes, 26)?,
        prev_hash: number(bytes, 34)?,
    };
    (kind == Kind::Operation || length == 0).then_some((head, payload))
}

/// The record at the front of these bytes; `None` if there is none that is whole.
pub(super) fn read(bytes: &[u8], seal: Seal) -> Option<Record<'_>> {
    let (head, payload) = look(bytes)?;
    let crc = u32::from_le_bytes(*bytes[4..].first_chunk()?);
    let covered = [&bytes[..4], &bytes[COVERED_FROM..HEAD_BYTES + payload.len()]];
    (seal.crc(covered) == crc).then(|| Record { head, payload, hash: hash(head.prev_hash, crc) })
}

/// Whether a record begins anywhere in these bytes that was written when position `pos` was durable.
pub(super) fn knows_durable(bytes: &[u8], seal: Seal, pos: u64) -> bool {
    // Each position has a record of its own, so none of these is further away.
    let furthest = pos.saturating_add((bytes.len() / HEAD_BYTES) as u64);
    (0..bytes.len()).any(|at| {
        let may_be = look(&bytes[at..])
            .is_some_and(|(head, _)| (pos..=furthest).contains(&head.durable_upto) && head.pos >= head.durable_upto);
        may_be && read(&bytes[at..], seal).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { kind: Kind::Operation, epoch: 3, pos: 5, durable_upto: 4, prev_hash: 6 };

    fn record(payload: &[u8]) -> (Vec<u8>, u64) {
        let mut bytes = Vec::new();
        let hash = put(&mut bytes, Seal::of(&[7; 16]), HEAD, payload);
        (bytes, hash)
    }

    /// Where it fails, the format's number has to grow.
    #[test]
    fn a_record_is_these_bytes() {
        let (bytes, hash) = record(b"abc");
        let expected = [
            &[3, 0, 0, 0][..],
            &bytes[4..8],
            &[1, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0],
            &[5, 0, 0, 0, 0, 0, 0, 0],
            &[4, 0, 0, 0, 0, 0, 0, 0],
            &[6, 0, 0, 0, 0, 0, 0, 0],
            b"abc",
        ];
        assert_eq!(bytes, expected.concat());
        let crc = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
        assert_eq!((crc, hash), (CRC, HASH));
        let read = read(&bytes, Seal::of(&[7; 16])).unwrap();
        assert_eq!((read.head, read.payload, read.hash, read.bytes()), (HEAD, &b"abc"[..], hash, 45));
    }

    const CRC: u32 = 1_995_572_064;
    const HASH: u64 = 4_173_096_186_128_840_468;

    #[test]
    fn a_record_with_any_bit_changed_or_of_another_history_is_none() {
        let seal = Seal::of(&[7; 16]);
        let (bytes, _) = record(b"some operation");
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&wrong, seal).is_none(), "bit {bit}");
        }
        assert!((0..bytes.len()).all(|length| read(&bytes[..length], seal).is_none()));
        assert!(read(&bytes, Seal::of(&[8; 16])).is_none());
        assert!(read(&[0; 100], seal).is_none() && read(&[255; 100], seal).is_none());
    }

    #[test]
    fn a_record_is_found_wherever_it_begins() {
        let seal = Seal::of(&[7; 16]);
        let bytes = [&[1, 0, 1, 0, 255, 3][..], &record(b"x").0, &[9; 50]].concat();
        assert!(knows_durable(&bytes, seal, 4) && knows_durable(&bytes, seal, 3));
        assert!(!knows_durable(&bytes, seal, 5), "it was not durable then");
        assert!(!knows_durable(&bytes[7..], seal, 4));
    }
}
