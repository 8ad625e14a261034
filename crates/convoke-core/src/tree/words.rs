//! The words of a tree, each kept once and known by a number.

use std::num::NonZeroU32;

use hashbrown::HashTable;

use super::Seed;
use super::slab::Slab;

/// The number of a word while something in the tree uses it. Never zero, which lets a free place of the tree take no
/// more room than a node.
pub(super) type WordId = NonZeroU32;

/// `+`, which stands for one word.
pub(super) const PLUS: WordId = NonZeroU32::MIN;

/// `#`, which stands for the rest.
pub(super) const REST: WordId = PLUS.saturating_add(1);

/// The longest word kept beside its count instead of on the heap, in bytes: what makes both kinds 24 bytes.
const SHORT_BYTES_MAX: usize = 18;

/// A word and how many nodes of the tree use it.
enum Word {
    Short { length: u8, bytes: [u8; SHORT_BYTES_MAX], users: u32 },
    Long { bytes: Box<[u8]>, users: u32 },
}

impl Word {
    fn new(text: &str) -> Word {
        let text = text.as_bytes();
        let mut bytes = [0; SHORT_BYTES_MAX];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(text);
                Word::Short { length, bytes, users: 0 }
            }
            _ => Word::Long { bytes: text.into(), users: 0 },
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Word::Short { length, bytes, .. } => &bytes[..usize::from(*length)],
            Word::Long { bytes, .. } => bytes,
        }
    }

    fn users(&mut self) -> &mut u32 {
        match self {
            Word::Short { users, .. } | Word::Long { users, .. } => users,
        }
    }
}

/// All words of a tree. The two wildcards are always there.
pub(super) struct Words {
    words: Slab<Word>,
    /// Every word, found by its bytes.
    index: HashTable<WordId>,
}

impl Words {
    pub(super) fn new(seed: &Seed) -> Words {
        let mut words = Words { words: Slab::new(), index: HashTable::new() };
        assert_eq!(words.hold("+", seed), PLUS, "a new slab counts from 0");
        assert_eq!(words.hold("#", seed), REST, "a new slab counts on");
        words
    }

    /// How many words there are, wildcards included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.words.len(), self.index.len());
        self.words.len()
    }

    /// The number of a word; none if nothing in the tree uses it.
    pub(super) fn find(&self, text: &str, seed: &Seed) -> Option<WordId> {
        let hash = seed.word(text.as_bytes());
        self.index.find(hash, |&id| self.words[place(id)].bytes() == text.as_bytes()).copied()
    }

    /// The number of a word that one node more uses from now on.
    pub(super) fn hold(&mut self, text: &str, seed: &Seed) -> WordId {
        let id = self.find(text, seed).unwrap_or_else(|| self.add(text, seed));
        let users = self.words[place(id)].users();
        *users = users.checked_add(1).expect("there are fewer than 2^32 nodes to use a word");
        id
    }

    /// One node less uses this word; the last one takes it out.
    pub(super) fn let_go(&mut self, id: WordId, seed: &Seed) {
        let word = &mut self.words[place(id)];
        *word.users() -= 1;
        if *word.users() > 0 {
            return;
        }
        match self.index.find_entry(seed.word(word.bytes()), |&other| other == id) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("every word is in the index"),
        }
        self.words.remove(place(id));
    }

    /// Whether a word, standing first, makes a name the hub's own.
    pub(super) fn is_reserved(&self, id: WordId) -> bool {
        self.words[place(id)].bytes().starts_with(b"$")
    }

    fn add(&mut self, text: &str, seed: &Seed) -> WordId {
        let place_of_word = self.words.insert(Word::new(text));
        let id = WordId::MIN.saturating_add(place_of_word);
        let Words { words, index } = self;
        index.insert_unique(seed.word(text.as_bytes()), id, |&other| seed.word(words[place(other)].bytes()));
        id
    }
}

fn place(id: WordId) -> u32 {
    id.get() - 1
}
