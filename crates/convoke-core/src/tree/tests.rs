//! The tree finds what the plain definition of matching finds, looks at little else, and leaves nothing behind.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::{KEPT_PLACES, Node, ROOT, Tree};
use crate::name::tests::{some_name, some_pattern, stands_for};

thread_local! {
    static STEPS: Cell<usize> = const { Cell::new(0) };
}

/// Called for every node a walk looks at.
pub(super) fn count_step() {
    STEPS.set(STEPS.get() + 1);
}

/// How many nodes a walk looks at.
pub(crate) fn steps_of(walk: impl FnOnce()) -> usize {
    STEPS.set(0);
    walk();
    STEPS.get()
}

fn tree_of<'a>(entries: &[&'a str]) -> Tree<&'a str> {
    let mut tree = Tree::new(7);
    for entry in entries {
        tree.get_or_insert_with(entry, || *entry);
    }
    tree
}

fn matching<T: Copy>(tree: &Tree<T>, name: &str) -> Vec<T> {
    let mut found = Vec::new();
    tree.matching(name, |value| found.push(*value));
    found
}

fn matched_by<T: Copy>(tree: &Tree<T>, pattern: &str) -> Vec<T> {
    let mut found = Vec::new();
    tree.matched_by(pattern, |value| found.push(*value));
    found
}

/// Nodes beside the root, edges, words beside the wildcards, values.
fn sizes<T>(tree: &Tree<T>) -> [usize; 4] {
    [tree.nodes.len() - 1, tree.children.len(), tree.words.len() - 2, tree.values.len()]
}

#[test]
fn a_name_finds_the_patterns_that_match() {
    let tree = tree_of(&["a/b", "a/+", "a/#", "#", "+/b", "a", "+", "a/b/#", "a/b/+", "b/#", "$hub/#"]);
    assert_eq!(matching(&tree, "a/b"), ["#", "+/b", "a/#", "a/+", "a/b/#", "a/b"]);
    assert_eq!(matching(&tree, "a"), ["#", "+", "a/#", "a"]);
    assert_eq!(matching(&tree, "x/y"), ["#"], "words nobody asked for are for wildcards only");
    assert_eq!(matching(&tree, "$hub/nodes"), ["$hub/#"]);
    assert_eq!(matching(&tree, "$hub"), ["$hub/#"]);
    assert_eq!(matching(&tree, "$other"), [""; 0]);
}

#[test]
fn a_pattern_finds_the_names_in_the_order_they_came() {
    let tree = tree_of(&["b/2", "a", "b/1", "$hub/nodes", "b/2/x", "a/1", "b"]);
    assert_eq!(matched_by(&tree, "#"), ["b", "b/2", "b/2/x", "b/1", "a", "a/1"]);
    assert_eq!(matched_by(&tree, "+"), ["b", "a"]);
    assert_eq!(matched_by(&tree, "+/1"), ["b/1", "a/1"]);
    assert_eq!(matched_by(&tree, "b/#"), ["b", "b/2", "b/2/x", "b/1"]);
    assert_eq!(matched_by(&tree, "b/1/#"), ["b/1"]);
    assert_eq!(matched_by(&tree, "b/1"), ["b/1"]);
    assert_eq!(matched_by(&tree, "$hub/#"), ["$hub/nodes"]);
    assert_eq!(matched_by(&tree, "c/#"), [""; 0]);
}

#[test]
fn a_search_ends_where_it_is_broken_off() {
    let tree = tree_of(&["b/2", "a", "b/1", "b/2/x", "a/1", "b"]);
    let search = |pattern: &str, mut steps: usize, max: usize| {
        let mut found = Vec::new();
        let all = tree.search(pattern, &mut steps, |name| {
            found.push(*name);
            if found.len() < max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        (found, all.is_continue(), steps)
    };
    assert_eq!(search("#", 100, 100), (vec!["b", "b/2", "b/2/x", "b/1", "a", "a/1"], true, 93));
    assert_eq!(search("#", 100, 3), (vec!["b", "b/2", "b/2/x"], false, 96));
    assert_eq!(search("#", 7, 100), (vec!["b", "b/2", "b/2/x", "b/1", "a", "a/1"], true, 0));
    assert_eq!(search("#", 6, 100), (vec!["b", "b/2", "b/2/x", "b/1", "a"], false, 0));
    assert_eq!(search("+/1", 5, 100), (vec!["b/1", "a/1"], true, 0));
    assert_eq!(search("+/1", 4, 100), (vec!["b/1"], false, 0));
    assert_eq!(search("b/+/y", 9, 100).0, [""; 0]);
}

#[test]
fn an_entry_is_kept_once_and_can_be_changed() {
    let mut tree = Tree::new(0);
    *tree.get_or_insert_with("a/+", || 1) += 1;
    *tree.get_or_insert_with("a/+", || unreachable!("it is there")) += 1;
    assert_eq!((tree.len(), tree.get("a/+"), tree.get("a"), tree.get("a/b")), (1, Some(&3), None, None));
    *tree.get_mut("a/+").unwrap() = 9;
    assert!(tree.get_mut("a").is_none() && tree.remove("a").is_none() && tree.remove("a/+/b").is_none());
    assert_eq!((tree.remove("a/+"), tree.remove("a/+"), tree.is_empty()), (Some(9), None, true));
}

#[test]
fn what_is_no_name_finds_nothing() {
    let tree = tree_of(&["#", "a"]);
    assert_eq!(matching(&tree, &["a"; 33].join("/")), [""; 0]);
    assert_eq!(matched_by(&tree, &["a"; 33].join("/")), [""; 0]);
    assert_eq!(tree.get(""), None);
}

#[test]
fn a_node_is_six_numbers() {
    assert_eq!(size_of::<super::slab::Place<Node>>(), 24);
}

#[test]
fn others_entries_do_not_slow_a_walk_down() {
    let steps = |others: usize| {
        let mut tree = Tree::new(5);
        for pattern in ["press/+/opened", "#"] {
            tree.get_or_insert_with(pattern, || 0);
        }
        for i in 0..others {
            tree.get_or_insert_with(&format!("dev/{i}/+/x"), || i);
            tree.get_or_insert_with(&format!("press/{i}/closed"), || i);
        }
        let found = Cell::new(0);
        let steps = steps_of(|| tree.matching("press/x1/opened", |_| found.set(found.get() + 1)));
        assert_eq!(found.get(), 2);
        let back = steps_of(|| tree.matched_by("press/x1/#", |_| unreachable!("there is no such name")));
        (steps, back)
    };
    assert_eq!(steps(1), (4, 2));
    assert_eq!(steps(50_000), (4, 2));
}

#[test]
fn a_hostile_set_of_patterns_costs_no_more_than_its_size() {
    // All ways to replace words of one name by `+`: all of them match, and each node is looked at once.
    let words = 12;
    let mut tree = Tree::new(1);
    for mask in 0..1_u32 << words {
        let pattern: Vec<&str> = (0..words).map(|bit| if mask >> bit & 1 == 1 { "+" } else { "w" }).collect();
        tree.get_or_insert_with(&pattern.join("/"), || mask);
    }
    let mut found = 0;
    let steps = steps_of(|| tree.matching(&vec!["w"; words].join("/"), |_| found += 1));
    assert_eq!((found, steps), (1 << words, tree.nodes.len()));
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut tree = Tree::new(3);
    // One that stays keeps the tree from simply starting anew.
    tree.get_or_insert_with("stays/here", || 0);
    let before = sizes(&tree);
    let mut entries = BTreeMap::new();
    for i in 0..10_000 {
        let words = (0..1 + random(5)).map(|_| match random(20) {
            0 => "+".to_owned(),
            1 => format!("a word of more than eighteen bytes {}", random(50)),
            _ => format!("w{}", random(30)),
        });
        let path = words.collect::<Vec<_>>().join("/");
        tree.get_or_insert_with(&path, || i);
        entries.entry(path).or_insert(i);
    }
    assert_eq!(tree.len(), entries.len() + 1);
    let mut places = 0;
    for round in 0..2 {
        for (path, i) in &entries {
            assert_eq!(tree.remove(path), Some(*i), "{path}");
        }
        assert_eq!(sizes(&tree), before);
        if round == 0 {
            places = tree.nodes.places();
            for (path, i) in entries.iter().rev() {
                tree.get_or_insert_with(path, || *i);
            }
        }
    }
    assert_eq!(tree.nodes.places(), places, "places are used again");
    assert!(places > KEPT_PLACES);
    assert_eq!(tree.remove("stays/here"), Some(0));
    assert_eq!((sizes(&tree), tree.nodes.places()), ([0; 4], 1), "the memory is given back with the last entry");
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String),
    /// Removes one of those that are there.
    Remove(prop::sample::Index),
    RemoveMaybe(String),
}

fn some_steps(paths: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => paths.clone().prop_map(Step::Insert),
        2 => any::<prop::sample::Index>().prop_map(Step::Remove),
        1 => paths.prop_map(Step::RemoveMaybe),
    ];
    prop::collection::vec(step, 0..60)
}

/// Does the same to a tree and to an ordered map, comparing `walk` with the plain definition after each step.
fn compare(
    seed: u64,
    steps: Vec<Step>,
    mut walk: impl FnMut(&Tree<usize>, &BTreeMap<String, usize>) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut tree = Tree::new(seed);
    let mut model: BTreeMap<String, usize> = BTreeMap::new();
    for (i, step) in steps.into_iter().enumerate() {
        match step {
            Step::Insert(path) => {
                let value = *tree.get_or_insert_with(&path, || i);
                prop_assert_eq!(value, *model.entry(path).or_insert(i));
            }
            Step::Remove(index) if !model.is_empty() => {
                let path = index.get(&model.keys().cloned().collect::<Vec<_>>()).clone();
                prop_assert_eq!(tree.remove(&path), model.remove(&path));
            }
            Step::Remove(_) => {}
            Step::RemoveMaybe(path) => prop_assert_eq!(tree.remove(&path), model.remove(&path)),
        }
        prop_assert_eq!(tree.len(), model.len());
        for (path, value) in &model {
            prop_assert_eq!(tree.get(path), Some(value));
        }
        walk(&tree, &model)?;
    }
    for path in model.keys() {
        prop_assert!(tree.remove(path).is_some());
    }
    prop_assert_eq!(sizes(&tree), [0; 4]);
    prop_assert_eq!(tree.nodes[ROOT].first_child, super::NONE);
    Ok(())
}

fn sorted(mut found: Vec<usize>) -> Vec<usize> {
    found.sort_unstable();
    found
}

proptest! {
    #[test]
    fn a_name_finds_exactly_the_patterns_that_match(
        seed: u64, steps in some_steps(some_pattern().boxed()), names in prop::collection::vec(some_name(), 4),
    ) {
        compare(seed, steps, |tree, model| {
            for name in &names {
                let wanted = model.iter().filter(|(path, _)| stands_for(path, name)).map(|(_, i)| *i).collect();
                prop_assert_eq!(sorted(matching(tree, name)), sorted(wanted), "{}", name);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_pattern_finds_exactly_the_names_it_matches(
        seed: u64, steps in some_steps(some_name().boxed()), patterns in prop::collection::vec(some_pattern(), 4),
    ) {
        compare(seed, steps, |tree, model| {
            for pattern in &patterns {
                let wanted = model.iter().filter(|(path, _)| stands_for(pattern, path)).map(|(_, i)| *i).collect();
                prop_assert_eq!(sorted(matched_by(tree, pattern)), sorted(wanted), "{}", pattern);
            }
            Ok(())
        })?;
    }

    #[test]
    fn the_order_does_not_depend_on_the_seed(seeds: [u64; 2], steps in some_steps(some_name().boxed())) {
        let walks = seeds.map(|seed| {
            let mut walks = Vec::new();
            compare(seed, steps.clone(), |tree, _| {
                walks.push(matched_by(tree, "#"));
                Ok(())
            }).map(|()| walks)
        });
        let [one, other] = walks;
        prop_assert_eq!(one?, other?);
    }
}

#[test]
fn whether_one_matches_is_found_without_looking_at_all_that_do() {
    let name = ["w"; 10].join("/");
    let mut tree = Tree::new(7);
    for which in 0..1 << 10 {
        let words: Vec<&str> = (0..10).map(|word| if which >> word & 1 == 1 { "+" } else { "w" }).collect();
        tree.get_or_insert_with(&words.join("/"), || which);
    }
    assert_eq!(matching(&tree, &name).len(), 1 << 10);
    let steps = steps_of(|| assert!(tree.is_matched(&name)));
    assert!(steps < 20, "{steps} steps");
    assert!(!tree.is_matched("w/w") && !tree.is_matched(&(name + "/w")));
}
