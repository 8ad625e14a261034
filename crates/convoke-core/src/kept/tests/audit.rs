//! What was kept is found whole, what is not as it was is found, and what is mended is whole again.

use super::*;

/// The audit of rows, what is wrong with them, and those that count.
fn audited(held: &Held, pos: u64) -> (Audit, Vec<String>, Held) {
    let (mut audit, mut wrong, mut good) = (Audit::new(pos), Vec::new(), Held::new());
    for (key, row) in held {
        match audit.row(key, row) {
            Ok(true) => drop(good.insert(key.clone(), row.clone())),
            Ok(false) => {}
            Err(why) => wrong.push(why),
        }
    }
    wrong.extend(audit.end());
    (audit, wrong, good)
}

/// A row that was damaged where it is kept may say anything; what counts then hangs together again.
#[test]
fn rows_of_journals_that_say_nonsense_hurt_nobody() {
    let whole = snapshots::kept();
    for key in whole.keys().filter(|key| key.table < ENTRIES) {
        for bit in 0..whole[key].len() * 8 {
            let (mut held, mut row) = (whole.clone(), whole[key].to_vec());
            row[bit / 8] ^= 1 << (bit % 8);
            held.insert(key.clone(), row.into());
            let (mut audit, _, mut good) = audited(&held, 100);
            change(&mut good, audit.mend());
            audit.amount();
            audited(&good, 100).0.amount();
        }
    }
}

proptest! {
    #[test]
    fn an_audit_finds_what_is_not_as_it_was_and_mends_it(
        operations in prop::collection::vec(operation(), 1..60),
        cut in 0..60usize,
        victim in any::<prop::sample::Index>(),
        bit in prop::option::of(any::<prop::sample::Index>()),
    ) {
        // Rows of the first, and the others behind them.
        let cut = cut.min(operations.len());
        let (mut once, mut held, mut first) = (Kept::new(0, 1), Held::new(), Held::new());
        for (index, operation) in operations.iter().enumerate() {
            if index == cut {
                first = held.clone();
            }
            once.apply(index as u64 + 1, operation).unwrap();
            hold(&mut held, &mut once);
        }
        if cut == operations.len() {
            first = held.clone();
        }
        let (mut audit, wrong, good) = audited(&first, cut as u64);
        prop_assert_eq!(wrong, Vec::<String>::new());
        prop_assert_eq!(&good, &first);
        for (index, operation) in operations.iter().enumerate().skip(cut) {
            prop_assert_eq!(audit.operation(index as u64 + 1, operation), Ok(true));
        }
        change(&mut first, audit.changes());
        prop_assert_eq!(&first, &held);
        let amount = audit.amount();
        prop_assert_eq!((amount.values, amount.journals), (once.values.len() as u64, once.journals.len() as u64));

        // One entry is missing, or another.
        let entries: Vec<RowKey> = held.keys().filter(|key| key.table == ENTRIES).cloned().collect();
        if entries.is_empty() {
            return Ok(());
        }
        let victim = victim.get(&entries);
        match bit {
            None => drop(held.remove(victim)),
            Some(bit) => {
                let mut row = held[victim].to_vec();
                let bit = bit.index(row.len() * 8);
                row[bit / 8] ^= 1 << (bit % 8);
                held.insert(victim.clone(), row.into());
            }
        }
        let pos = operations.len() as u64;
        let (mut audit, wrong, mut good) = audited(&held, pos);
        prop_assert_eq!(wrong.len(), 1, "{:?}", wrong);
        let lost = audit.mend();
        change(&mut good, lost);
        let (again, wrong, same) = audited(&good, pos);
        prop_assert_eq!(wrong, Vec::<String>::new());
        prop_assert_eq!(&same, &good);
        prop_assert_eq!(again.amount(), audit.amount());
        prop_assert_eq!(again.amount().values, amount.values);
        prop_assert!(again.amount().entries < amount.entries);
    }
}
