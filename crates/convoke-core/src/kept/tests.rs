//! That what is kept is a function of the operations: applied again, taken back from rows, or half of each.

mod audit;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::frame::{Appended, Back, Brought, Carried, Commands, Compact, Piece, Set, Terms};
use crate::journal::Origin;
use crate::proof::TokenKey;
use crate::rev::Rev;

mod snapshots;

/// The rows that a foundation holds.
type Held = BTreeMap<RowKey, Bytes>;

fn hold(held: &mut Held, kept: &mut Kept) {
    if let Some((_, rows)) = kept.take_rows() {
        change(held, rows);
    }
}

fn change(held: &mut Held, rows: Vec<(RowKey, RowChange)>) {
    for (key, change) in rows {
        match change {
            RowChange::New(row) => assert!(held.insert(key, row).is_none(), "there was none"),
            RowChange::Put(row) => drop(held.insert(key, row)),
            RowChange::Gone => drop(held.remove(&key)),
        }
    }
}

fn restored(held: &Held, pos: u64) -> Kept {
    let mut kept = rows_of(held, pos);
    kept.restored();
    kept
}

/// The same before it is known that all rows are there.
fn rows_of(held: &Held, pos: u64) -> Kept {
    let mut kept = Kept::new(0, 7);
    // Entries are read, never taken back.
    let rows = held.iter().filter(|(key, _)| key.table < crate::foundation::READ_ONLY);
    let rows: Vec<_> = rows.map(|(key, row)| (key.clone(), row.clone())).collect();
    // In pieces, as a foundation may tell them.
    for rows in rows.chunks(3) {
        kept.restore(pos, rows).unwrap();
    }
    kept
}

fn incarnation(counter: u64) -> Incarnation {
    Incarnation { epoch: 1, counter }
}

fn item<'a>(name: &'a str, payload: Option<&'a [u8]>, expect: Expect) -> Item<'a> {
    let set = payload.map(|payload| Set { encoding: Encoding::Json, payload, ttl_ms: 0, ephemeral: false });
    Item { name: name.as_bytes(), every: false, expect, set }
}

fn write(counter: u64, cseq: u64, settled: u64, items: &[Item<'_>]) -> Bytes {
    let items = Items::encode(items);
    let items = Items::encoded(&items);
    Operation::Write { incarnation: incarnation(counter), cseq, settled, author: b"ann", wall_ms: 1000, items }.encode()
}

fn done(kept: &mut Kept, operation: &[u8]) -> Result<(u64, u32), Code> {
    match kept.apply(kept.pos() + 1, operation).unwrap().answer.unwrap().2 {
        Outcome::Done { rev, count } => Ok((rev, count)),
        Outcome::Refused { code, .. } => Err(code),
    }
}

fn value(kept: &Kept, name: &str) -> Option<Vec<u8>> {
    let slot = kept.values.find(name)?;
    let mut value = None;
    kept.values.payload(slot, |payload| value = payload.map(|(_, pieces)| pieces.concat()));
    value
}

#[test]
fn a_change_happens_only_if_what_it_expects_is_so() {
    let mut kept = Kept::new(0, 1);
    let set = |expect, payload: &'static [u8]| [item("a", Some(payload), expect)];
    assert_eq!(done(&mut kept, &write(1, 1, 0, &set(Expect::Present, b"1"))), Err(Code::Conflict));
    assert_eq!(done(&mut kept, &write(1, 2, 0, &set(Expect::Absent, b"2"))), Ok((2, 1)));
    assert_eq!(done(&mut kept, &write(1, 3, 0, &set(Expect::Absent, b"3"))), Err(Code::Conflict));
    assert_eq!(done(&mut kept, &write(2, 1, 0, &set(Expect::Rev(Rev::durable(2)), b"4"))), Ok((4, 1)));
    assert_eq!(done(&mut kept, &write(1, 4, 0, &set(Expect::Rev(Rev::durable(2)), b"5"))), Err(Code::Conflict));
    assert_eq!(value(&kept, "a").unwrap(), b"4");
    assert_eq!(done(&mut kept, &write(1, 5, 0, &[item("a", None, Expect::Anything)])), Ok((6, 1)));
    assert_eq!(
        done(&mut kept, &write(1, 6, 0, &[item("a", None, Expect::Anything)])),
        Ok((0, 0)),
        "it is gone already"
    );
    assert_eq!(done(&mut kept, &write(1, 7, 0, &set(Expect::Present, b"8"))), Err(Code::Conflict));
}

#[test]
fn a_batch_happens_wholly_or_not_at_all() {
    let mut kept = Kept::new(0, 1);
    let both = [item("a", Some(b"1"), Expect::Anything), item("b", Some(b"2"), Expect::Present)];
    assert_eq!(done(&mut kept, &write(1, 1, 0, &both)), Err(Code::Conflict));
    assert_eq!(kept.values.len(), 0);
    let both = [item("a", Some(b"1"), Expect::Anything), item("b", Some(b"2"), Expect::Absent)];
    assert_eq!(done(&mut kept, &write(1, 2, 0, &both)), Ok((2, 2)));
    let twice = [item("a", Some(b"1"), Expect::Anything), item("a", None, Expect::Anything)];
    assert_eq!(done(&mut kept, &write(1, 3, 0, &twice)), Err(Code::BadRequest));
}

#[test]
fn every_key_that_matches_changes_and_no_other() {
    let mut kept = Kept::new(0, 1);
    for (cseq, name) in ["press/1/force", "press/2/force", "press/2/speed", "hall"].into_iter().enumerate() {
        done(&mut kept, &write(1, cseq as u64 + 1, 0, &[item(name, Some(b"0"), Expect::Anything)])).unwrap();
    }
    let every = |payload| Item { every: true, ..item("press/+/force", payload, Expect::Anything) };
    assert_eq!(done(&mut kept, &write(1, 9, 0, &[every(Some(b"7"))])), Ok((5, 2)));
    assert_eq!(
        ["press/1/force", "press/2/force", "press/2/speed"].map(|name| value(&kept, name).unwrap()),
        [b"7", b"7", b"0"]
    );
    assert_eq!(done(&mut kept, &write(1, 10, 0, &[every(None)])), Ok((6, 2)));
    assert_eq!(done(&mut kept, &write(1, 11, 0, &[every(Some(b"8"))])), Ok((0, 0)), "none exists any more");
}

/// Once each pattern of a batch could match as many keys as all together may be: more changes than places of one position.
#[test]
fn several_patterns_change_no_more_together_than_one_may() {
    let mut kept = Kept::new(0, 1);
    let names: Vec<String> = ["a", "b"].iter().flat_map(|top| (0..6000).map(move |n| format!("{top}/{n}"))).collect();
    for (cseq, names) in names.chunks(250).enumerate() {
        let items: Vec<_> = names.iter().map(|name| item(name, Some(b"0"), Expect::Anything)).collect();
        done(&mut kept, &write(1, cseq as u64 + 1, cseq as u64, &items)).unwrap();
    }
    let every = |pattern| Item { every: true, ..item(pattern, Some(b"1"), Expect::Anything) };
    assert_eq!(done(&mut kept, &write(1, 100, 99, &[every("a/#"), every("b/#")])), Err(Code::Limit));
    assert_eq!(value(&kept, "a/0").unwrap(), b"0", "all of it or nothing");
    assert_eq!(done(&mut kept, &write(1, 101, 100, &[every("b/#")])).unwrap().1, 6000);
}

/// Once all that matched were listed and put in order, before they were counted.
#[test]
fn a_change_of_too_many_keys_is_refused_without_looking_at_all_of_them() {
    let mut kept = Kept::new(0, 1);
    let names: Vec<String> = (0..25_000).map(|n| format!("a/{n}")).collect();
    for (cseq, names) in names.chunks(250).enumerate() {
        let items: Vec<_> = names.iter().map(|name| item(name, Some(b"0"), Expect::Anything)).collect();
        done(&mut kept, &write(1, cseq as u64 + 1, cseq as u64, &items)).unwrap();
    }
    let every = |payload| Item { every: true, ..item("a/#", payload, Expect::Anything) };
    let steps = crate::tree::tests::steps_of(|| {
        assert_eq!(done(&mut kept, &write(1, 1000, 999, &[every(Some(b"1"))])), Err(Code::Limit));
    });
    assert!(steps < EVERY_KEYS_MAX + 100, "{steps} nodes");
    for names in names[EVERY_KEYS_MAX..].chunks(250) {
        let items: Vec<_> = names.iter().map(|name| item(name, None, Expect::Anything)).collect();
        let cseq = kept.pos() + 2000;
        done(&mut kept, &write(1, cseq, cseq - 1, &items)).unwrap();
    }
    let (_, count) = done(&mut kept, &write(1, 90_000, 89_999, &[every(Some(b"1"))])).unwrap();
    assert_eq!(count as usize, EVERY_KEYS_MAX, "as many as may be");
}

/// Once what was looked up in parts could be cut within what had changed together.
#[test]
fn what_is_next_is_found_in_whole_positions_and_none_is_left_out() {
    const MAX: usize = 1000;
    let mut kept = Kept::new(0, 1);
    let names: Vec<String> = (0..7000).map(|n| format!("{}/{n}", ["a", "b", "c"][n % 3])).collect();
    for (cseq, names) in names.chunks(250).enumerate() {
        let items: Vec<_> = names.iter().map(|name| item(name, Some(b"0"), Expect::Anything)).collect();
        done(&mut kept, &write(1, cseq as u64 + 1, cseq as u64, &items)).unwrap();
    }
    // More than are found at a time change together; some go.
    let every = Item { every: true, ..item("b/#", Some(b"1"), Expect::Anything) };
    assert_eq!(done(&mut kept, &write(1, 100, 99, &[every])).unwrap().1, 2333);
    for n in 0..100 {
        done(&mut kept, &write(1, 101 + n, 100, &[item(&names[n as usize * 50], None, Expect::Anything)])).unwrap();
    }
    for (pattern, deletions) in [("a/#", true), ("b/#", true), ("+/1", true), ("#", false), ("#", true), ("c/#", false)]
    {
        let pattern = Pattern::parse(pattern).unwrap();
        let end = (kept.pos() - 10, 0);
        let naive = |from| {
            let rows = kept.values.from(from).take_while(|(place, _)| *place < end);
            let matches =
                |slot| pattern.matches_text(kept.values.name(slot)) && (deletions || kept.values.has_value(slot));
            rows.filter(|(_, slot)| matches(*slot)).collect::<Vec<_>>()
        };
        let (mut from, mut found) = ((7, 0), Vec::new());
        loop {
            let next = kept.values.next(&pattern, from..end, deletions, MAX, &mut { usize::MAX }).unwrap();
            assert!(next.places.len() <= MAX);
            let last = next.places.last().map(|((pos, _), _)| *pos);
            found.extend(next.places);
            match (next.rest, last) {
                (None, _) => break,
                (Some(rest), Some(last)) => {
                    assert!(last < rest.0, "`{pattern}`: what changed together is found together");
                    from = rest;
                }
                (Some(rest), None) => {
                    // Too many that changed together: whoever asks goes through them one by one.
                    let group: Vec<_> = naive(rest).into_iter().take_while(|((pos, _), _)| *pos == rest.0).collect();
                    assert!(group.len() > MAX, "`{pattern}`");
                    found.extend(group);
                    from = (rest.0 + 1, 0);
                }
            }
        }
        assert!(found == naive((7, 0)), "`{pattern}`: {} found", found.len());
        assert!(
            kept.values.next(&pattern, from..end, deletions, MAX, &mut 3).is_none(),
            "`{pattern}`: too much to look at"
        );
    }
}

#[test]
fn what_comes_twice_is_done_once_and_answered_twice() {
    let mut kept = Kept::new(0, 1);
    let first = write(1, 1, 0, &[item("a", Some(b"1"), Expect::Absent)]);
    assert_eq!(done(&mut kept, &first), Ok((1, 1)));
    assert_eq!(done(&mut kept, &write(2, 1, 0, &[item("a", Some(b"2"), Expect::Anything)])), Ok((2, 1)));
    // A late retry does not undo what was set since.
    assert_eq!(done(&mut kept, &first), Ok((1, 1)));
    assert_eq!(value(&kept, "a").unwrap(), b"2");
    // Who says that it has the answer is not answered again.
    assert_eq!(done(&mut kept, &write(1, 2, 1, &[item("b", Some(b"3"), Expect::Anything)])), Ok((4, 1)));
    assert_eq!(kept.apply(5, &first).unwrap(), Applied::default());
    assert_eq!(kept.window(incarnation(1)).unwrap().results.len(), 1, "only what may be asked for again is kept");
}

#[test]
fn nobody_is_told_that_nothing_was_kept_if_something_may_have_been() {
    let mut kept = Kept::new(0, 1);
    let forget = |counter, unsettled| Operation::Forget { incarnation: incarnation(counter), unsettled }.encode();
    for counter in [3, 5] {
        done(&mut kept, &write(counter, 1, 0, &[item("a", Some(b"1"), Expect::Anything)])).unwrap();
    }
    assert!(!kept.never_kept(incarnation(3)) && kept.never_kept(incarnation(4)));
    kept.apply(10, &forget(3, false)).unwrap();
    assert!(kept.never_kept(incarnation(3)), "it had all its answers, and will not come back");
    kept.apply(11, &forget(5, true)).unwrap();
    assert!(!kept.never_kept(incarnation(4)) && !kept.never_kept(incarnation(5)) && kept.never_kept(incarnation(6)));
}

#[test]
fn values_go_with_their_time_and_their_node_unless_they_were_set_again() {
    let mut kept = Kept::new(0, 1);
    let set = |ttl_ms, ephemeral| Some(Set { encoding: Encoding::Raw, payload: b"x", ttl_ms, ephemeral });
    let item = |name: &'static [u8], ttl_ms, ephemeral| Item {
        name,
        every: false,
        expect: Expect::Anything,
        set: set(ttl_ms, ephemeral),
    };
    done(&mut kept, &write(1, 1, 0, &[item(b"short", 5, false), item(b"long", 50, false), item(b"mine", 0, true)]))
        .unwrap();
    assert_eq!(kept.values.next_expiry(), Some(1005));
    assert!(kept.values.expired(1004).is_empty());
    let due = kept.values.expired(1005);
    assert_eq!(due.iter().map(|slot| kept.values.name(*slot)).collect::<Vec<_>>(), ["short"]);
    assert!(kept.values.expired(1005).is_empty(), "given once");
    let owned = kept.values.owned_by(incarnation(1));
    assert_eq!(owned.iter().map(|slot| kept.values.name(*slot)).collect::<Vec<_>>(), ["mine"]);
    assert!(kept.values.owned_by(incarnation(2)).is_empty());
    // Set again meanwhile: the older expiry does not take it away.
    done(&mut kept, &write(1, 2, 0, &[item(b"short", 0, false)])).unwrap();
    let expire = Operation::Expire { keys: vec![(b"short", 1), (b"mine", 1)], wall_ms: 1005 }.encode();
    assert_eq!(kept.apply(3, &expire).unwrap().changed, [(3, 0)]);
    assert!(value(&kept, "short").is_some() && value(&kept, "mine").is_none());
    assert!(kept.values.owners().is_empty());
}

/// Of a change that nobody knew whether it was kept, and that comes again behind one of another hub.
#[test]
fn a_change_of_rights_happens_once_and_is_answered_as_the_first_time() {
    let mut kept = Kept::new(0, 1);
    let mut apply = |hub: u8, number, change| {
        let by = GrantId { hub: [hub; 16], epoch: 1, number };
        let operation = Operation::Grant { by, name: b"cam", wall_ms: 7, change }.encode();
        let granted = kept.apply(kept.pos() + 1, &operation).unwrap().granted.unwrap();
        let rules = kept.principals.get(&granted.principal).map_or(Vec::new(), |granted| granted.rules.clone());
        (granted.done.map_err(|why| why.code), granted.again, rules.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let create = || Change::Create { key: None, rules: vec!["join a"] };
    assert_eq!(apply(1, 1, create()), (Ok(()), false, vec!["allow join a".to_owned()]));
    assert_eq!(apply(2, 1, Change::Rules(vec!["join b"])), (Ok(()), false, vec!["allow join b".to_owned()]));
    assert_eq!(apply(1, 1, create()), (Ok(()), true, vec!["allow join b".to_owned()]));
    assert_eq!(apply(1, 2, create()), (Err(Code::Conflict), false, vec!["allow join b".to_owned()]));
    assert_eq!(apply(2, 2, Change::Revoke), (Ok(()), false, vec![]));
    assert_eq!(apply(1, 2, create()), (Err(Code::Conflict), true, vec![]));
}

#[test]
fn of_too_many_hubs_the_one_that_has_asked_for_nothing_for_the_longest_time_is_forgotten() {
    use crate::limits::GRANTERS_MAX;
    let (mut kept, mut held) = (Kept::new(0, 1), Held::new());
    let mut apply = |hub: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&hub.to_le_bytes());
        let by = GrantId { hub: id, epoch: 1, number: 1 };
        let operation = Operation::Grant { by, name: b"cam", wall_ms: 7, change: Change::Revoke }.encode();
        let again = kept.apply(kept.pos() + 1, &operation).unwrap().granted.unwrap().again;
        hold(&mut held, &mut kept);
        (again, held.keys().filter(|key| key.table == rows::GRANTERS).count())
    };
    for hub in 0..GRANTERS_MAX {
        assert_eq!(apply(hub), (false, hub + 1));
    }
    assert_eq!(apply(GRANTERS_MAX), (false, GRANTERS_MAX));
    assert_eq!(apply(1), (true, GRANTERS_MAX));
    assert_eq!(apply(0), (false, GRANTERS_MAX), "it was forgotten");
}

/// Where it fails, the number has to grow, so that no program reads what another one has written in another form; then the rest
/// of the line may change.
#[test]
fn another_form_of_operations_or_rows_has_another_number() {
    let by = GrantId { hub: [5; 16], epoch: 3, number: 9 };
    let grant = |number, change| Operation::Grant { by: GrantId { number, ..by }, name: b"cam", wall_ms: 9, change };
    let secret = || TokenKey::from_bytes([7; 32]);
    let (commands, mut cseq) = (Commands::encode([(Encoding::Text, &b"a"[..]), (Encoding::Raw, b"b")].into_iter()), 3);
    let commands = Commands::encoded(&commands);
    let touching = Terms::new(Some(crate::journal::Strategy::Refuse), false, Some(b"12345678ABCDEFGH"));
    let lasting = Terms::new(Some(crate::journal::Strategy::Compensate), true, None);
    let mut append = |journal, appended| {
        cseq += 1;
        let incarnation = incarnation(1);
        let (author, wall_ms) = (&b"ann"[..], 1000);
        Operation::Append { incarnation, cseq, settled: 3, author, wall_ms, journal, appended }.encode()
    };
    let back = Back { everyone: false, target: Some(1), expect_top: None };
    let begin = |counter| Operation::Begin {
        incarnation: incarnation(counter),
        node: b"press",
        principal: b"cam",
        secret: secret(),
    };
    let operations = [
        begin(1).encode(),
        write(1, 1, 0, &[item("a", Some(b"1"), Expect::Absent), item("b", Some(b"22"), Expect::Anything)]),
        write(1, 2, 0, &[item("a", None, Expect::Present), item("c", None, Expect::Present)]),
        write(1, 3, 0, &[item("b", None, Expect::Anything)]),
        Operation::Expire { keys: vec![(b"b", 2)], wall_ms: 7 }.encode(),
        grant(1, Change::Create { key: Some(secret()), rules: vec!["allow publish cam/#", "join cam"] }).encode(),
        grant(2, Change::Rules(vec!["allow publish cam/1"])).encode(),
        grant(3, Change::Key(TokenKey::from_bytes([9; 32]))).encode(),
        begin(2).encode(),
        Operation::Forget { incarnation: incarnation(2), unsettled: true }.encode(),
        append(&b"todo"[..], Appended::Commands { commands, expect_last: Some(0), terms: Terms::default() }),
        append(&b"plan"[..], Appended::Commands { commands, expect_last: None, terms: touching }),
        append(&b"press"[..], Appended::Commands { commands, expect_last: None, terms: lasting }),
        append(&b"todo"[..], Appended::Undo(back)),
        append(&b"todo"[..], Appended::Redo(back)),
        append(&b"press"[..], begins(1, 10)),
        append(&b"press"[..], piece(1, 10, b"0123456789")),
        append(&b"press"[..], Appended::Compact(Compact { up_to: 1, keep: 0, hash: [5; 16] })),
        append(&b"press"[..], begins(2, 10)),
        append(
            &b"todo"[..],
            Appended::Carried(Carried {
                carrier: [8; 16],
                place: 3,
                hash: [9; 16],
                after: 0,
                brought: Brought::Commands {
                    origin: Origin { hub: [8; 16], seq: 3 },
                    author: b"eve",
                    terms: Terms::default(),
                    commands,
                },
            }),
        ),
        Operation::Presence {
            wall_ms: 7,
            journal: b"todo",
            node: b"ann/1",
            joined: true,
            strategy: crate::journal::Strategy::Refuse,
        }
        .encode(),
        Operation::Presence {
            wall_ms: 7,
            journal: b"todo",
            node: b"bob",
            joined: true,
            strategy: crate::journal::Strategy::Refuse,
        }
        .encode(),
        Operation::Presence {
            wall_ms: 8,
            journal: b"todo",
            node: b"bob",
            joined: false,
            strategy: crate::journal::Strategy::Replay,
        }
        .encode(),
        Operation::Fence { incarnation: incarnation(1), node: b"press", principal: b"cam" }.encode(),
    ];
    let (mut kept, mut held) = (Kept::new(0, 1), Held::new());
    let mut form = 0xcbf2_9ce4_8422_2325_u64;
    let mut digest = |bytes: &[u8]| {
        // FNV-1a.
        bytes.iter().for_each(|byte| form = (form ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    };
    for operation in &operations {
        digest(operation);
        kept.apply(kept.pos() + 1, operation).unwrap();
        hold(&mut held, &mut kept);
    }
    for (key, row) in &held {
        digest(&[key.table]);
        digest(&key.key);
        digest(row);
    }
    let kinds: Vec<u8> = (0..=u8::MAX)
        .filter(|kind| {
            let unknown = Operation::decode(&[operations[0][0], *kind]).unwrap_err();
            unknown.expected != "a kind of operation that this version knows"
        })
        .collect();
    let tables: Vec<u8> = (0..=u8::MAX)
        .filter(|table| {
            let row = (RowKey { table: *table, key: Bytes::new() }, Bytes::new());
            let unknown = Kept::new(0, 1).restore(1, &[row]).unwrap_err();
            unknown.expected != "a row of a table that this version knows"
        })
        .collect();
    // Entries and pieces are read, never taken back.
    let mut used: Vec<u8> = held.keys().map(|key| key.table).filter(|table| *table < ENTRIES).collect();
    used.dedup();
    assert_eq!(used, tables, "the operations above write into every table");
    assert_eq!(
        (crate::foundation::FORMAT, kinds, tables, form),
        (4, vec![0, 1, 2, 3, 5, 6, 7, 9], vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], 0x0dfe_3908_37f3_51b5)
    );
}

/// One operation of a random sequence.
fn operation() -> impl Strategy<Value = Bytes> {
    let name = prop::sample::select(vec!["a", "b", "a/b", "a/c", "d/e/f"]);
    let expect = prop_oneof![
        3 => Just(Expect::Anything),
        1 => Just(Expect::Absent),
        1 => Just(Expect::Present),
        1 => (1..30u64).prop_map(|n| Expect::Rev(Rev::durable(n))),
    ];
    // One in some is longer than a frame.
    let payload = prop_oneof![8 => prop::collection::vec(any::<u8>(), 0..20), 1 => Just(vec![7; 70_000])];
    let item =
        (name, expect, prop::option::weighted(0.8, (payload, 0..3u64, any::<bool>())), prop::bool::weighted(0.1));
    let write =
        (1..4u64, 1..20u64, 0..10u64, prop::collection::vec(item, 1..4)).prop_map(|(counter, cseq, settled, items)| {
            let items: Vec<Item<'_>> = items
                .iter()
                .map(|(name, expect, set, every)| Item {
                    name: if *every { b"a/#" } else { name.as_bytes() },
                    every: *every,
                    expect: *expect,
                    set: set.as_ref().map(|(payload, ttl, ephemeral)| Set {
                        encoding: Encoding::Raw,
                        payload,
                        ttl_ms: ttl * 100,
                        ephemeral: *ephemeral,
                    }),
                })
                .collect();
            write(counter, cseq, settled, &items)
        });
    let begin = (1..4u64).prop_map(|counter| {
        Operation::Begin {
            incarnation: incarnation(counter),
            node: b"press",
            principal: b"cam",
            secret: TokenKey::from_bytes([counter as u8; 32]),
        }
        .encode()
    });
    let forget = (1..4u64, any::<bool>())
        .prop_map(|(counter, unsettled)| Operation::Forget { incarnation: incarnation(counter), unsettled }.encode());
    let fence = (1..4u64).prop_map(|counter| {
        Operation::Fence { incarnation: incarnation(counter), node: b"press", principal: b"cam" }.encode()
    });
    let expire =
        (1..30u64).prop_map(|rev| Operation::Expire { keys: vec![(b"a", rev), (b"d/e/f", rev)], wall_ms: 9 }.encode());
    // Some come twice, and between the two others of another hub.
    let grant =
        (0..2u8, 1..4u64, prop::sample::select(vec!["cam", "eye"]), 0..4u8).prop_map(|(hub, number, name, change)| {
            let by = GrantId { hub: [hub; 16], epoch: 1, number };
            let change = match change {
                0 => Change::Create { key: None, rules: vec!["join cam"] },
                1 => Change::Rules(vec!["allow get a/#", "deny get a/b"]),
                2 => Change::Key(TokenKey::from_bytes([hub; 32])),
                _ => Change::Revoke,
            };
            Operation::Grant { by, name: name.as_bytes(), wall_ms: 7, change }.encode()
        });
    prop_oneof![
        8 => write, 1 => begin, 1 => forget, 1 => fence, 1 => expire, 3 => grant, 12 => append(), 2 => presence(),
        8 => carried()
    ]
}

/// The beginning of an upload, and a piece of it.
fn begins(seq: u64, total: u64) -> Appended<'static> {
    piece(seq, total, b"")
}

fn piece(seq: u64, total: u64, bytes: &'static [u8]) -> Appended<'static> {
    Appended::Snapshot(Piece { seq, known: seq, hash: [3; 16], total, offset: 0, bytes })
}

/// One append to some journal: commands, or what stands for old entries; undo or redo, by whom and of what it may be.
fn append() -> impl Strategy<Value = Bytes> {
    let names = (prop::sample::select(vec!["todo", "plan"]), prop::sample::select(vec!["ann", "bob"]));
    let terms = (0..8usize, any::<bool>(), prop::option::of(prop::collection::vec(0..4u64, 0..4)));
    let target = prop::option::weighted(0.6, 1..15u64);
    ((1..4u64, 1..20u64, 0..10u64), names, 0..9u8, 1..4usize, terms, target).prop_map(
        |((counter, cseq, settled), (journal, author), what, count, (strategy, lasting, touched), target)| {
            let commands = Commands::encode(vec![(Encoding::Raw, &b"a"[..]); count].into_iter());
            let touched: Option<Vec<u8>> =
                touched.map(|hashes| hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect());
            let strategy = crate::journal::Strategy::ALL.get(strategy).copied();
            let back = Back { everyone: true, target, expect_top: None };
            let appended = match what {
                0 | 1 => Appended::Undo(back),
                2 => Appended::Redo(back),
                6 => begins(target.unwrap_or(1), 10),
                7 => piece(target.unwrap_or(1), 10, b"0123456789"),
                8 => Appended::Compact(Compact { up_to: target.unwrap_or(1), keep: 0, hash: [5; 16] }),
                _ => Appended::Commands {
                    commands: Commands::encoded(&commands),
                    expect_last: None,
                    terms: Terms::new(strategy, lasting && count == 1, touched.as_deref()),
                },
            };
            let (incarnation, journal, author) = (incarnation(counter), journal.as_bytes(), author.as_bytes());
            Operation::Append { incarnation, cseq, settled, author, wall_ms: 7, journal, appended }.encode()
        },
    )
}

/// An entry that another hub hands over.
fn carried() -> impl Strategy<Value = Bytes> {
    let hub = || (1..3u8).prop_map(|hub| [hub; 16]);
    let origin = || (0..3u8, 1..15u64).prop_map(|(hub, seq)| Origin { hub: [hub; 16], seq });
    let which = (1..4u64, 1..20u64, prop::sample::select(vec!["todo", "plan"]));
    (which, hub(), (0..20u64, 1..3u64), origin(), origin(), 0..6u8, 1..3usize).prop_map(
        |((counter, cseq, journal), carrier, (after, more), origin, target, what, count)| {
            let commands = Commands::encode(vec![(Encoding::Raw, &b"a"[..]); count].into_iter());
            let (terms, commands) = (Terms::default(), Commands::encoded(&commands));
            let author = &b"ann"[..];
            let brought = match what {
                0..=2 => Brought::Commands { origin, author, terms, commands },
                3 | 4 => Brought::Back { origin, author, undoes: what == 3, target },
                _ => Brought::Nothing,
            };
            let place = after + more;
            let appended = Appended::Carried(Carried { carrier, place, hash: [place as u8; 16], after, brought });
            let (incarnation, journal) = (incarnation(counter), journal.as_bytes());
            Operation::Append { incarnation, cseq, settled: 0, author, wall_ms: 7, journal, appended }.encode()
        },
    )
}

/// Somebody comes or goes.
fn presence() -> impl Strategy<Value = Bytes> {
    let journal = prop::sample::select(vec!["todo", "room"]);
    (journal, prop::sample::select(vec!["ann", "bob/1"]), any::<bool>()).prop_map(|(journal, node, joined)| {
        let (journal, node) = (journal.as_bytes(), node.as_bytes());
        let strategy = crate::journal::Strategy::Replay;
        Operation::Presence { wall_ms: 7, journal, node, joined, strategy }.encode()
    })
}

proptest! {
    #[test]
    fn the_same_operations_make_the_same_rows_wherever_one_begins(
        operations in prop::collection::vec(operation(), 1..40),
        cut in 0..40usize,
        late in any::<bool>(),
    ) {
        let cut = cut.min(operations.len());
        let (mut once, mut held) = (Kept::new(0, 1), Held::new());
        let (mut half, mut half_held) = (Kept::new(0, 2), Held::new());
        let mut answers = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            if index == cut {
                hold(&mut half_held, &mut half);
                // A hub is told of operations behind the rows before it is told that all is there.
                half = if late { rows_of(&half_held, index as u64) } else { restored(&half_held, index as u64) };
            }
            let pos = index as u64 + 1;
            let applied = once.apply(pos, operation).unwrap();
            prop_assert_eq!(&half.apply(pos, operation).unwrap(), &applied, "operation {}", pos);
            answers.push(applied);
            hold(&mut held, &mut once);
        }
        half.restored();
        hold(&mut half_held, &mut half);
        prop_assert_eq!(&held, &half_held);
        // And what is in memory is what the rows say.
        let again = restored(&held, once.pos());
        prop_assert_eq!(again.values.len(), once.values.len());
        prop_assert_eq!(again.values.bytes(), once.values.bytes());
        prop_assert_eq!(again.values.next_expiry(), once.values.next_expiry());
        prop_assert_eq!(again.values.owners(), once.values.owners());
        prop_assert_eq!(again.changes.first(), once.changes.first());
        prop_assert_eq!((again.journals.len(), again.journals.units()), (once.journals.len(), once.journals.units()));
        let pasts = |kept: &Kept| kept.journals.named().map(|(_, journal)| journal.past().clone()).collect::<Vec<_>>();
        prop_assert_eq!(pasts(&again), pasts(&once));
        let places = |kept: &Kept| kept.values.from((0, 0)).map(|(place, _)| place).collect::<Vec<Place>>();
        prop_assert_eq!(places(&again), places(&once));
        for place in places(&once) {
            let frames = |kept: &Kept| kept.values.frames(kept.values.at(place).unwrap()).clone();
            prop_assert_eq!(frames(&again), frames(&once));
        }
        prop_assert_eq!(&again.windows, &once.windows);
        prop_assert_eq!(&again.principals, &once.principals);
        prop_assert_eq!(&again.granters, &once.granters);
    }
}
