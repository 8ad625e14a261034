//! How what is undone is undone, and what has to be known of a command for that.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::limits::TOUCHED_MAX;

/// How a journal undoes. It is fixed by the first entry of the journal, and said by every program's state
/// ([`State::STRATEGY`](super::State::STRATEGY)); a program whose state says another is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The state is that of the journal without what is undone, whatever came later. For documents, boards, texts: whatever is
    /// only a state. An undo always works, and may change what others have built on it since.
    #[default]
    Replay,
    /// As [`Replay`](Strategy::Replay), but what others have gone on from is not taken from under them: while a later command
    /// of another author touches what the undone one touched ([`State::touches`](super::State::touches)), the hub refuses
    /// the undo, and says which entries are in the way; a redo too. For plans, orders and recipes that several people rely on.
    Refuse,
    /// What was done stays done, and its inverse ([`State::inverse`](super::State::inverse)) is applied in the place of the
    /// undo: nothing is ever applied again in the past. For effects outside the state: a machine that moved must move back.
    Compensate,
}

impl Strategy {
    /// All, by their numbers on a link, from 1.
    pub const ALL: [Strategy; 3] = [Strategy::Replay, Strategy::Refuse, Strategy::Compensate];

    /// Its number on a link and where it is kept.
    pub(crate) fn number(self) -> u8 {
        self as u8 + 1
    }

    pub(crate) fn from_number(number: u8) -> Option<Strategy> {
        Strategy::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// As one word: `replay`, `refuse` or `compensate`.
impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::Replay => "replay",
            Strategy::Refuse => "refuse",
            Strategy::Compensate => "compensate",
        })
    }
}

/// What a command touches: keys of the program's own, of which only short hashes are sent and kept. Two commands are
/// independent if they have no key in common. Once in some 10^19 pairs of keys two are taken for the same; then an undo is
/// refused that need not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touches(Option<Vec<u64>>);

impl Touches {
    /// Everything: it is independent of no other command that touches anything.
    pub fn everything() -> Touches {
        Touches(None)
    }

    /// Nothing, such as a command that only asks.
    pub fn nothing() -> Touches {
        Touches(Some(Vec::new()))
    }

    /// These keys, in the program's own words, such as the name of a row. More than 16 together count as everything.
    pub fn keys<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Touches {
        keys.into_iter().fold(Touches::nothing(), |touches, key| {
            let digest = Sha256::digest(key.as_ref());
            let hash = u64::from_le_bytes(digest[..8].try_into().expect("it has 32 bytes"));
            touches.and(&Touches(Some(vec![hash])))
        })
    }

    /// This and what another one touches.
    #[must_use]
    pub fn and(self, other: &Touches) -> Touches {
        let (Some(mut keys), Some(others)) = (self.0, &other.0) else { return Touches(None) };
        for key in others {
            if let Err(place) = keys.binary_search(key) {
                keys.insert(place, *key);
            }
        }
        Touches((keys.len() <= TOUCHED_MAX).then_some(keys))
    }

    /// The hashes of the keys, in their order; `None` for everything.
    pub fn hashes(&self) -> Option<&[u64]> {
        self.0.as_deref()
    }

    /// From hashes in any order; `None` for everything.
    pub(crate) fn from_hashes(hashes: Option<impl Iterator<Item = u64>>) -> Touches {
        match hashes {
            None => Touches::everything(),
            Some(hashes) => hashes.fold(Touches::nothing(), |touches, hash| touches.and(&Touches(Some(vec![hash])))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_keys_than_are_sent_are_everything() {
        let keys = |count: usize| Touches::keys((0..count).map(|key| key.to_string()));
        assert_eq!(keys(TOUCHED_MAX).hashes().unwrap().len(), TOUCHED_MAX);
        assert_eq!(keys(TOUCHED_MAX + 1), Touches::everything());
        assert_eq!(keys(TOUCHED_MAX).and(&keys(3)), keys(TOUCHED_MAX), "the same keys count once");
        assert_eq!(Touches::everything().and(&Touches::nothing()), Touches::everything());
        assert_eq!(Touches::keys(["b", "a", "b"]), Touches::keys(["a", "b"]));
    }

    #[test]
    fn the_hash_of_a_key_is_the_same_in_every_program() {
        assert_eq!(Touches::keys(["row/1"]).hashes(), Some(&[HASH][..]));
    }

    /// The first eight bytes of SHA-256 of `row/1`, least significant first.
    const HASH: u64 = 0xe932_ec92_681f_c8e6;
}
