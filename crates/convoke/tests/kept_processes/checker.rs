//! Compares what writers were told with what a watch of every change has seen and with what is there at the end. It knows
//! nothing of hubs, links or retries.

use std::collections::BTreeMap;

use convoke::{Change, Value};

use super::END;
use super::writer::{History, Line, Tag, Told, Tried};

/// With fewer acknowledged operations of a writer there is too little to check.
pub(crate) const ENOUGH: usize = 20;

/// One operation of one writer.
struct Op {
    tried: Tried,
    told: Option<Told>,
    /// No earlier revision than this is possible: something was acknowledged under it before this was tried.
    after: u64,
    /// What became of it, as the watch has seen it: its revision, and its keys.
    seen: Option<(u64, Vec<String>)>,
}

type Ops = BTreeMap<(String, u64), Op>;

/// Panics where a promise was broken.
pub(crate) fn check(histories: &[History], seen: &[Change], values: &[Value]) {
    let mut ops = read(histories);
    tell(&ops, seen);
    changes_are_in_order(seen);
    every_change_was_wanted(&mut ops, seen);
    what_was_told_is_so(&ops);
    counters_count(&ops, seen);
    the_last_changes_are_what_is_there(seen, values);
}

/// Says how much there was to check, and how much of it was refused or is not known.
fn tell(ops: &Ops, seen: &[Change]) {
    let count = |what: fn(&Option<Told>) -> bool| ops.values().filter(|op| what(&op.told)).count();
    println!(
        "{} operations, {} of them not done and {} uncertain; {} changes",
        ops.len(),
        count(|told| matches!(told, Some(Told::NotDone(_)))),
        count(|told| !matches!(told, Some(Told::Done(_) | Told::NotDone(_)))),
        seen.len()
    );
}

fn read(histories: &[History]) -> Ops {
    let mut ops = Ops::new();
    for History { writer, lines } in histories {
        let mut after = 0;
        let mut acknowledged = 0;
        for line in lines {
            match line.clone() {
                Line::Try(op, tried) => {
                    ops.insert((writer.clone(), op), Op { tried, told: None, after, seen: None });
                }
                Line::End(op, told) => {
                    if let Told::Done(rev) = told {
                        acknowledged += 1;
                        after = after.max(rev.unwrap_or_default());
                    }
                    let op = ops.get_mut(&(writer.clone(), op)).expect("it was tried");
                    assert!(op.told.is_none(), "it ends once");
                    op.told = Some(told);
                }
            }
        }
        assert!(acknowledged > ENOUGH, "only {acknowledged} operations of {writer} were acknowledged");
    }
    ops
}

fn changes_are_in_order(seen: &[Change]) {
    for pair in seen.windows(2) {
        let together = pair[0].rev == pair[1].rev && pair[0].name != pair[1].name;
        assert!(pair[0].rev < pair[1].rev || together, "{:?} is followed by {:?}", pair[0], pair[1]);
    }
}

/// Every change is one that somebody has tried, once, and no earlier than it was tried.
fn every_change_was_wanted(ops: &mut Ops, seen: &[Change]) {
    let mut gone: BTreeMap<&str, u64> = BTreeMap::new();
    for change in seen {
        let (name, rev) = (change.name.as_str(), change.rev.n);
        let Some(op) = op_of(change, &mut gone) else { continue };
        let op = ops.get_mut(&op).unwrap_or_else(|| panic!("nobody has tried {change:?}"));
        let wanted = match &change.payload {
            Some(_) => op.tried.sets.iter().any(|key| key == name),
            None => op.tried.deletes.as_deref() == Some(name),
        };
        assert!(wanted, "{change:?} is not what was tried: {:?}", op.tried);
        assert!(rev > op.after, "{change:?} was tried when {} was acknowledged already", op.after);
        let (at, keys) = op.seen.get_or_insert((rev, Vec::new()));
        assert_eq!(*at, rev, "{change:?} happened before, or only in part");
        assert!(!keys.iter().any(|key| key == name), "{change:?} happened before");
        keys.push(name.to_owned());
    }
}

/// Which operation a change is of; none where the story itself has written. A key is deleted by the operation behind the one
/// that has set it.
fn op_of<'a>(change: &'a Change, gone: &mut BTreeMap<&'a str, u64>) -> Option<(String, u64)> {
    let name = change.name.as_str();
    if name == END || name == "half" {
        return None;
    }
    let author = change.author.as_str();
    let op = match &change.payload {
        Some(payload) => {
            let tag: Tag = payload.decode().unwrap();
            assert_eq!(tag.writer, author, "{change:?}");
            gone.insert(name, tag.op);
            tag.op
        }
        None => gone.remove(name).expect("what is deleted was there") + 1,
    };
    Some((author.to_owned(), op))
}

fn what_was_told_is_so(ops: &Ops) {
    for (name, op) in ops {
        match &op.told {
            Some(Told::Done(rev)) => {
                let Some((at, keys)) = &op.seen else {
                    panic!("{name:?} was acknowledged and never seen: {:?}", op.tried)
                };
                assert!(rev.is_none_or(|rev| rev == *at), "{name:?} was acknowledged as {rev:?} and is {at}");
                assert_eq!(keys.len(), op.tried.sets.len() + usize::from(op.tried.deletes.is_some()), "{name:?}");
            }
            Some(Told::NotDone(why)) => assert_eq!(op.seen, None, "{name:?} was not done: {why}"),
            Some(Told::Uncertain(_)) | None => {
                let whole = op.tried.sets.len() + usize::from(op.tried.deletes.is_some());
                assert!(op.seen.as_ref().is_none_or(|(_, keys)| keys.len() == whole), "{name:?} happened in part");
            }
        }
    }
}

/// Each counts what the last one found, from one on.
fn counters_count(ops: &Ops, seen: &[Change]) {
    let mut counters: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for change in seen.iter().filter(|change| change.name.as_str().starts_with("shared/")) {
        let tag: Tag = change.payload.as_ref().expect("nobody deletes it").decode().unwrap();
        let before = counters.insert(change.name.as_str(), (tag.count, change.rev.n));
        let (count, rev) = before.unwrap_or_default();
        assert_eq!(tag.count, count + 1, "{change:?} is not the next");
        let op = &ops[&(tag.writer, tag.op)];
        assert_eq!(op.tried.expects, Some(rev), "{change:?} expected another one before it");
    }
    for (counter, (count, _)) in counters {
        let of_it = |op: &&Op| op.tried.sets.first().is_some_and(|key| key == counter);
        let done = ops.values().filter(of_it).filter(|op| matches!(op.told, Some(Told::Done(_)))).count() as u64;
        let maybe = |op: &&Op| matches!(op.told, None | Some(Told::Uncertain(_)));
        let maybe = ops.values().filter(of_it).filter(maybe).count() as u64;
        assert!((done..=done + maybe).contains(&count), "{counter} is {count}; {done} were told so, {maybe} may be");
    }
}

fn the_last_changes_are_what_is_there(seen: &[Change], values: &[Value]) {
    let mut last = BTreeMap::new();
    for change in seen {
        match &change.payload {
            Some(payload) => last.insert(&change.name, (payload, change.rev, &change.author)),
            None => last.remove(&change.name),
        };
    }
    let there: BTreeMap<_, _> =
        values.iter().map(|value| (&value.name, (&value.payload, value.rev, &value.author))).collect();
    assert_eq!(there, last);
}
