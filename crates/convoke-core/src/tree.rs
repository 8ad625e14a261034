//! The tree of names or patterns that every table of the hub is kept in, so that finding what concerns a name takes the
//! same time however much else there is.
//!
//! Each node is one word below its parent. Holding patterns, it is walked by a name and finds all patterns that match
//! ([`Tree::matching`]); holding names, it is walked by a pattern and finds all names matched ([`Tree::matched_by`]).
//!
//! A hub holds millions of entries, so they are packed: nodes, words and values are numbered places in vectors, a node
//! is six numbers, and the two tables that find "this word" and "the child of this node with this word" hold nothing
//! but such numbers. `dev/<i>/+/x` costs about 140 bytes beside its value. What came to an end leaves a free place for
//! the next; the memory goes back when the last entry is removed.

use std::hash::Hasher;
use std::ops::ControlFlow;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use hashbrown::HashTable;

use crate::name::NAME_WORDS_MAX;

pub(crate) mod slab;
#[cfg(test)]
pub(crate) mod tests;
mod words;

use slab::Slab;
use words::{PLUS, REST, WordId, Words};

/// The place of a node.
type NodeId = u32;

/// The node of no words, always there.
const ROOT: NodeId = 0;

/// Where a node or value would be numbered and there is none.
const NONE: u32 = u32::MAX;

/// With fewer places for nodes a tree keeps them when its last entry goes: an entry that comes and goes costs nothing.
const KEPT_PLACES: usize = 1024;

/// One word of at least one entry.
struct Node {
    parent: NodeId,
    /// Its word; that of the root is not looked at.
    word: WordId,
    first_child: NodeId,
    /// The sibling that came after it.
    next: NodeId,
    /// The sibling that came before it; for the first the last one, so that appending needs no field of its own.
    previous: NodeId,
    /// The place of the value, if an entry ends here.
    value: u32,
}

/// Names or patterns, each with a `T`.
///
/// The caller hands in the text of a checked name or pattern. Entries are visited in an order that depends only on the
/// order in which they came and went, never on the seed.
pub(crate) struct Tree<T> {
    nodes: Slab<Node>,
    values: Slab<T>,
    words: Words,
    /// Every node but the root, found by its parent and word.
    children: HashTable<NodeId>,
    seed: Seed,
}

impl<T> Tree<T> {
    /// An empty tree. The seed is secret and random, so that nobody can choose words that collide.
    pub(crate) fn new(seed: u64) -> Tree<T> {
        Tree::with(Seed(SharedSeed::from_u64(seed)))
    }

    fn with(seed: Seed) -> Tree<T> {
        let mut nodes = Slab::new();
        let root = Node { parent: NONE, word: PLUS, first_child: NONE, next: NONE, previous: NONE, value: NONE };
        assert_eq!(nodes.insert(root), ROOT, "a new slab counts from 0");
        Tree { nodes, values: Slab::new(), words: Words::new(&seed), children: HashTable::new(), seed }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of exactly this name or pattern: `+` and `#` stand for themselves here.
    pub(crate) fn get(&self, path: &str) -> Option<&T> {
        let value = self.nodes[self.find(path)?].value;
        (value != NONE).then(|| &self.values[value])
    }

    /// The value of exactly this name or pattern, to be changed.
    pub(crate) fn get_mut(&mut self, path: &str) -> Option<&mut T> {
        let value = self.nodes[self.find(path)?].value;
        (value != NONE).then(|| &mut self.values[value])
    }

    /// The value of exactly this name or pattern, made now if there was none.
    pub(crate) fn get_or_insert_with(&mut self, path: &str, make: impl FnOnce() -> T) -> &mut T {
        let value = match self.find(path).map(|node| self.nodes[node].value) {
            Some(value) if value != NONE => value,
            _ => {
                // Before the nodes, so that a panic in it leaves nothing behind.
                let value = self.values.insert(make());
                let node = self.grow(path);
                self.nodes[node].value = value;
                value
            }
        };
        &mut self.values[value]
    }

    /// Takes the entry of exactly this name or pattern out, with all that only it needed.
    pub(crate) fn remove(&mut self, path: &str) -> Option<T> {
        let node = self.find(path)?;
        let value = std::mem::replace(&mut self.nodes[node].value, NONE);
        if value == NONE {
            return None;
        }
        let value = self.values.remove(value);
        self.prune(node);
        if self.is_empty() && self.nodes.places() > KEPT_PLACES {
            *self = Tree::with(self.seed.clone());
        }
        Some(value)
    }

    /// In a tree of patterns: visits the values of all that match this name.
    ///
    /// Looks only at nodes whose words match a beginning of the name. Allocates nothing.
    pub(crate) fn matching<'a>(&'a self, name: &str, mut visit: impl FnMut(&'a T)) {
        let all = self.matching_until(name, |value| {
            visit(value);
            ControlFlow::Continue(())
        });
        debug_assert!(all.is_continue(), "nobody has broken it off");
    }

    /// In a tree of patterns: whether one matches this name. Looks no further than the first that does.
    pub(crate) fn is_matched(&self, name: &str) -> bool {
        self.matching_until(name, |_| ControlFlow::Break(())).is_break()
    }

    fn matching_until<'a>(&'a self, name: &str, mut visit: impl FnMut(&'a T) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut ids = [None; NAME_WORDS_MAX];
        let Some(words) = self.look_up(name, &mut ids) else { return ControlFlow::Continue(()) };
        if name.starts_with('$') {
            // Wildcards in the first word leave the hub's own names out.
            match words[0].and_then(|word| self.child(ROOT, word)) {
                Some(node) => self.matching_below(node, &words[1..], &mut visit),
                None => ControlFlow::Continue(()),
            }
        } else {
            self.matching_below(ROOT, words, &mut visit)
        }
    }

    /// In a tree of names: visits the values of all that this pattern matches.
    ///
    /// Looks only at nodes whose words match a beginning of the pattern. Allocates nothing.
    pub(crate) fn matched_by<'a>(&'a self, pattern: &str, mut visit: impl FnMut(&'a T)) {
        let all = self.search(pattern, &mut { usize::MAX }, |value| {
            visit(value);
            ControlFlow::Continue(())
        });
        debug_assert!(all.is_continue(), "nobody has broken it off");
    }

    /// The same, until `visit` breaks it off, or until so many nodes as `steps` says were looked at, from which these are
    /// taken: then it breaks too.
    pub(crate) fn search<'a>(
        &'a self,
        pattern: &str,
        steps: &mut usize,
        visit: impl FnMut(&'a T) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut ids = [None; NAME_WORDS_MAX];
        let Some(words) = self.look_up(pattern, &mut ids) else { return ControlFlow::Continue(()) };
        self.matched_below(ROOT, words, &mut Walk { steps, visit })
    }

    /// Recurses at most [`NAME_WORDS_MAX`] deep.
    fn matching_below<'a>(
        &'a self,
        node: NodeId,
        words: &[Option<WordId>],
        visit: &mut impl FnMut(&'a T) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.step();
        if self.nodes[node].first_child != NONE {
            if let Some(rest) = self.child(node, REST) {
                self.visit_value(rest, visit)?;
            }
            if let Some((&word, words)) = words.split_first() {
                if let Some(one) = self.child(node, PLUS) {
                    self.matching_below(one, words, visit)?;
                }
                if let Some(same) = word.and_then(|word| self.child(node, word)) {
                    self.matching_below(same, words, visit)?;
                }
            }
        }
        if words.is_empty() { self.visit_value(node, visit) } else { ControlFlow::Continue(()) }
    }

    /// Recurses at most [`NAME_WORDS_MAX`] deep.
    fn matched_below<'a, F: FnMut(&'a T) -> ControlFlow<()>>(
        &'a self,
        node: NodeId,
        words: &[Option<WordId>],
        walk: &mut Walk<'_, F>,
    ) -> ControlFlow<()> {
        self.step();
        walk.step()?;
        let Some((&word, words)) = words.split_first() else { return self.show(node, walk) };
        match word {
            Some(REST) if node == ROOT => {
                for child in self.visible_children(ROOT) {
                    self.show_all(child, walk)?;
                }
            }
            Some(REST) => self.show_all(node, walk)?,
            Some(PLUS) => {
                for child in self.visible_children(node) {
                    self.matched_below(child, words, walk)?;
                }
            }
            Some(word) => {
                if let Some(child) = self.child(node, word) {
                    self.matched_below(child, words, walk)?;
                }
            }
            None => {}
        }
        ControlFlow::Continue(())
    }

    /// The children that a wildcard stands for: all, but of the root not the hub's own.
    fn visible_children(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let first = self.nodes[node].first_child;
        std::iter::successors((first != NONE).then_some(first), |&child| {
            let next = self.nodes[child].next;
            (next != NONE).then_some(next)
        })
        .filter(move |&child| node != ROOT || !self.words.is_reserved(self.nodes[child].word))
    }

    /// Visits the values of a node and of everything below it, parents first.
    fn show_all<'a, F: FnMut(&'a T) -> ControlFlow<()>>(
        &'a self,
        top: NodeId,
        walk: &mut Walk<'_, F>,
    ) -> ControlFlow<()> {
        let mut node = top;
        loop {
            self.step();
            walk.step()?;
            self.show(node, walk)?;
            if self.nodes[node].first_child != NONE {
                node = self.nodes[node].first_child;
                continue;
            }
            while node != top && self.nodes[node].next == NONE {
                node = self.nodes[node].parent;
            }
            if node == top {
                return ControlFlow::Continue(());
            }
            node = self.nodes[node].next;
        }
    }

    fn show<'a, F: FnMut(&'a T) -> ControlFlow<()>>(&'a self, node: NodeId, walk: &mut Walk<'_, F>) -> ControlFlow<()> {
        let value = self.nodes[node].value;
        if value == NONE { ControlFlow::Continue(()) } else { (walk.visit)(&self.values[value]) }
    }

    fn visit_value<'a>(&'a self, node: NodeId, visit: &mut impl FnMut(&'a T) -> ControlFlow<()>) -> ControlFlow<()> {
        match self.nodes[node].value {
            NONE => ControlFlow::Continue(()),
            value => visit(&self.values[value]),
        }
    }

    /// The words of a path as the tree knows them, none for a word that only a wildcard can match; or none at all if
    /// they are more than any name has.
    fn look_up<'i>(&self, path: &str, ids: &'i mut [Option<WordId>; NAME_WORDS_MAX]) -> Option<&'i [Option<WordId>]> {
        let mut count = 0;
        for word in path.split('/') {
            *ids.get_mut(count)? = self.words.find(word, &self.seed);
            count += 1;
        }
        Some(&ids[..count])
    }

    fn find(&self, path: &str) -> Option<NodeId> {
        path.split('/').try_fold(ROOT, |node, word| self.child(node, self.words.find(word, &self.seed)?))
    }

    fn child(&self, parent: NodeId, word: WordId) -> Option<NodeId> {
        let hash = self.seed.child(parent, word);
        self.children
            .find(hash, |&child| {
                let child = &self.nodes[child];
                child.parent == parent && child.word == word
            })
            .copied()
    }

    /// The node of a path, with those before it, made where they are missing.
    fn grow(&mut self, path: &str) -> NodeId {
        let mut node = ROOT;
        for word in path.split('/') {
            let known = self.words.find(word, &self.seed).and_then(|word| self.child(node, word));
            node = known.unwrap_or_else(|| self.add_child(node, word));
        }
        node
    }

    fn add_child(&mut self, parent: NodeId, word: &str) -> NodeId {
        let word = self.words.hold(word, &self.seed);
        let first = self.nodes[parent].first_child;
        let last = if first == NONE { NONE } else { self.nodes[first].previous };
        let child =
            self.nodes.insert(Node { parent, word, first_child: NONE, next: NONE, previous: last, value: NONE });
        if first == NONE {
            self.nodes[parent].first_child = child;
            self.nodes[child].previous = child;
        } else {
            self.nodes[last].next = child;
            self.nodes[first].previous = child;
        }
        let Tree { nodes, children, seed, .. } = self;
        children.insert_unique(seed.child(parent, word), child, |&other| {
            let other = &nodes[other];
            seed.child(other.parent, other.word)
        });
        child
    }

    /// Takes out a node that holds nothing any more, and those before it that were there only for it.
    fn prune(&mut self, mut node: NodeId) {
        while node != ROOT && self.nodes[node].value == NONE && self.nodes[node].first_child == NONE {
            let parent = self.nodes[node].parent;
            self.remove_child(node);
            node = parent;
        }
    }

    fn remove_child(&mut self, child: NodeId) {
        let Node { parent, word, next, previous, .. } = self.nodes.remove(child);
        match self.children.find_entry(self.seed.child(parent, word), |&other| other == child) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("every node but the root is in the table of children"),
        }
        self.words.let_go(word, &self.seed);
        let first = self.nodes[parent].first_child;
        if first == child {
            self.nodes[parent].first_child = next;
        } else {
            self.nodes[previous].next = next;
        }
        if next != NONE {
            // If the child was the first, this hands its link to the last one on to the new first.
            self.nodes[next].previous = previous;
        } else if first != child {
            self.nodes[first].previous = previous;
        }
    }

    /// Counts the nodes a walk looks at, for the test that shows how few they are.
    fn step(&self) {
        #[cfg(test)]
        tests::count_step();
    }
}

/// A walk through the names that a pattern matches.
struct Walk<'s, F> {
    /// How many nodes may still be looked at.
    steps: &'s mut usize,
    visit: F,
}

impl<F> Walk<'_, F> {
    fn step(&mut self) -> ControlFlow<()> {
        match self.steps.checked_sub(1) {
            Some(left) => *self.steps = left,
            None => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }
}

/// What makes the places of words and children in their tables unpredictable to whoever chooses names.
///
/// All six numbers of it are secret: with the fixed ones of foldhash, and only a start that is secret, there are words
/// that collide whatever the start is.
#[derive(Clone)]
struct Seed(SharedSeed);

impl Seed {
    fn word(&self, word: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(0, &self.0);
        hasher.write(word);
        hasher.finish()
    }

    fn child(&self, parent: NodeId, word: WordId) -> u64 {
        let mut hasher = FoldHasher::with_seed(1, &self.0);
        hasher.write_u64(u64::from(parent) << 32 | u64::from(word.get()));
        hasher.finish()
    }
}
