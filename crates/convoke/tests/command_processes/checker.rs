//! Whether what the writers were told and what the followers got is one history. It knows nothing of how a journal works
//! but what is promised of it.

use std::collections::BTreeMap;
use std::path::Path;

use super::follower::{Got, Says};
use super::writer::{Line, Told, Tried};

/// An operation of a writer, as far as it knows.
#[derive(Debug)]
struct Op {
    tried: Tried,
    tried_at: u64,
    ended_at: Option<u64>,
    told: Option<Told>,
    /// Where the journal has it.
    seq: Option<u64>,
}

type Ops = BTreeMap<String, BTreeMap<u64, Op>>;

/// Reads what all writers wrote down, by their names.
fn ops(folder: &Path) -> Ops {
    let mut all = Ops::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let ops = all.entry(entry.file_name().into_string().unwrap()).or_default();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            match serde_json::from_str(line).unwrap() {
                Line::Try { op, moment, tried } => {
                    let new = Op { tried, tried_at: moment, ended_at: None, told: None, seq: None };
                    assert!(ops.insert(op, new).is_none());
                }
                Line::End { op, moment, told } => {
                    let op = ops.get_mut(&op).unwrap();
                    (op.ended_at, op.told) = (Some(moment), Some(told));
                }
            }
        }
    }
    all
}

/// Checks the journal against what writers wrote down in this folder, and gives how many commands were acknowledged. Those
/// whose names begin with `together` lived in one process, and their moments are comparable.
pub(crate) fn check(folder: &Path, journal: &[Got], together: &str) -> u64 {
    let mut ops = ops(folder);
    places_have_no_gap(journal);
    every_entry_was_wanted_once(&mut ops, journal);
    what_was_told_is_so(&ops);
    first_in_first_out(&ops);
    what_was_done_before_comes_before(&ops, together);
    undone_is_what_was_next(journal);
    let done = ops.values().flat_map(BTreeMap::values).filter_map(|op| match (&op.told, op.tried) {
        (Some(Told::Done(_)), Tried::Do { count, .. }) => Some(count),
        _ => None,
    });
    done.sum()
}

fn places_have_no_gap(journal: &[Got]) {
    for (at, entry) in journal.iter().enumerate() {
        assert_eq!(entry.seq, at as u64 + 1);
    }
}

fn every_entry_was_wanted_once(ops: &mut Ops, journal: &[Got]) {
    // By the first command of each.
    let mut groups: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for (writer, ops) in ops.iter() {
        groups.extend(ops.iter().filter_map(|(number, op)| match op.tried {
            Tried::Do { first, .. } => Some(((writer.clone(), first), *number)),
            _ => None,
        }));
    }
    // Undo and redo say nothing about themselves: they are those of their author, in their order.
    let mut backs: BTreeMap<(String, bool), Vec<u64>> = BTreeMap::new();
    for entry in journal {
        match &entry.says {
            Says::End => assert_eq!(entry.seq, journal.len() as u64),
            Says::Undo(_) => backs.entry((entry.author.clone(), true)).or_default().push(entry.seq),
            Says::Redo(_) => backs.entry((entry.author.clone(), false)).or_default().push(entry.seq),
            Says::Do(first, command) => {
                assert_eq!(command.writer, entry.author);
                let up_to = (command.writer.clone(), command.number);
                let group = groups.range(..=up_to).next_back().filter(|((writer, _), _)| *writer == command.writer);
                let ((writer, from), op) = group.unwrap_or_else(|| panic!("nobody wanted {entry:?}"));
                let op = ops.get_mut(writer).and_then(|ops| ops.get_mut(op)).expect("it is one of them");
                let Tried::Do { count, .. } = op.tried else { unreachable!("only those have commands") };
                assert!(command.number < from + count, "nobody wanted {entry:?}");
                assert_eq!(entry.seq - first, command.number - from, "its place in the group: {entry:?}");
                assert_eq!(*op.seq.get_or_insert(*first), *first, "all of a group stand together, once: {entry:?}");
            }
        }
    }
    let mut numbers: Vec<(&str, u64)> = journal
        .iter()
        .filter_map(|entry| match &entry.says {
            Says::Do(_, command) => Some((&*command.writer, command.number)),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    assert!(numbers.is_sorted_by(|a, b| a < b), "a command is there twice");
    for (writer, ops) in ops.iter_mut() {
        for op in ops.values_mut() {
            // A group is there wholly or not at all.
            if let (Some(seq), Tried::Do { first, count }) = (op.seq, op.tried) {
                for n in 0..count {
                    let entry = &journal[(seq + n) as usize - 1];
                    assert!(
                        matches!(&entry.says, Says::Do(_, command) if command.writer == *writer && command.number == first + n),
                        "{op:?} of {writer}: {entry:?}"
                    );
                }
            }
            // What is told to be done is at its place; what is not known stays unplaced.
            if let (Some(Told::Done(seq)), Tried::Undo | Tried::Redo) = (&op.told, op.tried) {
                let undo = matches!(op.tried, Tried::Undo);
                let backs = backs.get_mut(&(writer.clone(), undo)).expect("it is told to be done");
                let at = backs.binary_search(seq).unwrap_or_else(|_| panic!("{op:?} of {writer} is not there"));
                backs.remove(at);
                op.seq = Some(*seq);
            }
        }
    }
    for ((writer, undo), left) in backs {
        let unknown = ops[&writer].values().filter(|op| {
            !matches!(op.told, Some(Told::Done(_) | Told::NotDone(_)))
                && matches!((op.tried, undo), (Tried::Undo, true) | (Tried::Redo, false))
        });
        assert!(left.len() <= unknown.count(), "{writer} has not asked for what is at {left:?}");
    }
}

fn what_was_told_is_so(ops: &Ops) {
    for (writer, ops) in ops {
        for op in ops.values() {
            match &op.told {
                Some(Told::Done(seq)) => {
                    assert_eq!(op.seq, Some(*seq), "{op:?} of {writer} is not where it was told to be")
                }
                Some(Told::NotDone(_)) => assert_eq!(op.seq, None, "{op:?} of {writer} is there"),
                Some(Told::Uncertain(_)) | None => {}
            }
        }
    }
}

fn first_in_first_out(ops: &Ops) {
    for (writer, ops) in ops {
        let places: Vec<u64> = ops.values().filter_map(|op| op.seq).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "what {writer} asked for is in another order");
    }
}

fn what_was_done_before_comes_before(ops: &Ops, together: &str) {
    let mut moments = BTreeMap::new();
    for op in ops.iter().filter(|(writer, _)| writer.starts_with(together)).flat_map(|(_, ops)| ops.values()) {
        let Some(seq) = op.seq else { continue };
        moments.insert(op.tried_at, (seq, true));
        if let (Some(Told::Done(_)), Some(ended_at)) = (&op.told, op.ended_at) {
            moments.insert(ended_at, (seq, false));
        }
    }
    let mut last = 0;
    for (seq, is_tried) in moments.into_values() {
        match is_tried {
            true => assert!(seq > last, "{seq} was asked for when {last} was acknowledged"),
            false => last = last.max(seq),
        }
    }
    assert!(last > 0, "nobody has a name that begins with `{together}`");
}

/// Each undo and redo is of what the author's own list has next.
fn undone_is_what_was_next(journal: &[Got]) {
    #[derive(Default)]
    struct List {
        /// Since which entry, and where the unit begins.
        done: BTreeMap<u64, u64>,
        undone: Vec<u64>,
    }
    let mut lists: BTreeMap<&str, List> = BTreeMap::new();
    for entry in journal {
        let list = lists.entry(&entry.author).or_default();
        match &entry.says {
            Says::End => {}
            Says::Do(first, _) => {
                list.undone.clear();
                list.done.insert(*first, *first);
            }
            Says::Undo(first) => {
                assert_eq!(list.done.pop_last().map(|(_, unit)| unit), Some(*first), "{entry:?}");
                list.undone.push(*first);
            }
            Says::Redo(first) => {
                assert_eq!(list.undone.pop(), Some(*first), "{entry:?}");
                list.done.insert(entry.seq, *first);
            }
        }
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    use super::writer::Command;
    let folder = tempfile::tempdir().unwrap();
    let line = |line: &Line| serde_json::to_string(line).unwrap() + "\n";
    let tried = |op, moment, first, count| line(&Line::Try { op, moment, tried: Tried::Do { first, count } });
    let told = |op, moment, told| line(&Line::End { op, moment, told });
    let history = [
        tried(1, 0, 1, 2),
        tried(2, 1, 3, 1),
        told(1, 2, Told::Done(1)),
        told(2, 3, Told::NotDone("no".into())),
        tried(3, 4, 4, 1),
        told(3, 5, Told::Done(3)),
    ];
    std::fs::write(folder.path().join("here-1"), history.concat()).unwrap();
    let command = |seq, first, number| Got {
        seq,
        author: "here-1".into(),
        wall_ms: 0,
        says: Says::Do(first, Command { writer: "here-1".into(), number }),
    };
    let good = [command(1, 1, 1), command(2, 1, 2), command(3, 3, 4)];
    assert_eq!(check(folder.path(), &good, "here"), 3);
    let wrong: [Vec<Got>; 6] = [
        vec![command(1, 1, 1), command(2, 1, 2)],
        vec![command(1, 1, 1), command(2, 1, 2), command(4, 4, 4)],
        vec![command(1, 1, 1), command(2, 1, 2), command(3, 3, 3), command(4, 4, 4)],
        vec![command(1, 1, 1), command(2, 1, 2), command(3, 3, 4), command(4, 4, 4)],
        vec![command(1, 1, 1), command(2, 2, 4), command(3, 1, 2)],
        vec![command(1, 1, 4), command(2, 2, 1), command(3, 2, 2)],
    ];
    for journal in wrong {
        let checked = std::panic::catch_unwind(|| check(folder.path(), &journal, "here"));
        assert!(checked.is_err(), "{journal:?}");
    }
}
