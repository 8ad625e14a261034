//! What was kept is found whole, what is not as it was is found, and what is mended is whole again.

use super::*;
use crate::journal::Strategy;

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

/// What was lost of another hub's may come again, and nothing else of it.
#[test]
fn what_other_hubs_have_brought_and_is_lost_can_come_again() {
    const A: [u8; 16] = [0xa; 16];
    let (mut kept, mut held) = (Kept::new(0, 1), Held::new());
    let commands = Commands::encode([(Encoding::Raw, &b"a"[..])].into_iter());
    let bring = |kept: &mut Kept, seq: u64| {
        let (origin, commands) = (Origin { hub: A, seq }, Commands::encoded(&commands));
        let brought = Brought::Commands { origin, author: b"ann", terms: Terms::default(), commands };
        let appended = Appended::Carried(Carried { carrier: A, place: seq, hash: [7; 16], after: 0, brought });
        let (cseq, journal) = (kept.pos() + 1, &b"press"[..]);
        let incarnation = incarnation(1);
        let append = Operation::Append { incarnation, cseq, settled: 0, author: b"ann", wall_ms: 7, journal, appended };
        done(kept, &append.encode())
    };
    for seq in 1..=5 {
        assert_eq!(bring(&mut kept, seq), Ok((seq, 1)));
        hold(&mut held, &mut kept);
    }
    let fourth = held.keys().filter(|key| key.table == ENTRIES).nth(3).unwrap().clone();
    held.remove(&fourth);
    let (mut audit, wrong, mut good) = audited(&held, 5);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    change(&mut good, audit.mend());
    let mut mended = restored(&good, 5);
    for (seq, expected) in [(3, (0, 0)), (4, (4, 1)), (5, (5, 1)), (5, (0, 0))] {
        assert_eq!(bring(&mut mended, seq), Ok(expected), "{seq}");
    }
}

/// A hub that keeps journals, and appends to them as its links would.
struct Keeper {
    kept: Kept,
    held: Held,
}

impl Keeper {
    fn new() -> Keeper {
        Keeper { kept: Kept::new(0, 1), held: Held::new() }
    }

    fn append(&mut self, appended: Appended<'_>) -> (u64, u32) {
        let (incarnation, cseq, journal) = (incarnation(1), self.kept.pos() + 1, &b"press"[..]);
        let append = Operation::Append { incarnation, cseq, settled: 0, author: b"ann", wall_ms: 7, journal, appended };
        let place = done(&mut self.kept, &append.encode()).unwrap();
        hold(&mut self.held, &mut self.kept);
        place
    }

    fn commands(&mut self, count: usize) {
        let commands = Commands::encode([(Encoding::Raw, &b"a"[..])].into_iter());
        let (commands, terms) = (Commands::encoded(&commands), Terms::new(Some(Strategy::Compensate), false, None));
        for _ in 0..count {
            self.append(Appended::Commands { commands, expect_last: None, terms });
        }
    }

    fn joins(&mut self, journal: &str, node: &str) {
        let (journal, node, strategy) = (journal.as_bytes(), node.as_bytes(), Strategy::Compensate);
        let joins = Operation::Presence { wall_ms: 7, journal, node, joined: true, strategy };
        self.kept.apply(self.kept.pos() + 1, &joins.encode()).unwrap();
        hold(&mut self.held, &mut self.kept);
    }

    /// Rows where the hash of the last entry of the first journal is another one.
    fn ends_otherwise(&self) -> Held {
        let mut held = self.held.clone();
        let (_, row) = held.iter_mut().find(|(key, _)| key.table == rows::JOURNALS && key.key == "press").unwrap();
        let mut bytes = row.to_vec();
        // Behind a number and two places.
        bytes[20] ^= 1;
        *row = bytes.into();
        held
    }
}

/// What is found, and what is kept when that is mended; then nothing is found any more.
fn mended(held: &Held) -> (Vec<String>, Kept) {
    let (mut audit, wrong, mut good) = audited(held, 100);
    change(&mut good, audit.mend());
    let (_, again, same) = audited(&good, 100);
    assert_eq!((again, &same), (Vec::new(), &good));
    (wrong, restored(&good, 100))
}

fn members(kept: &Kept, journal: &str) -> Vec<String> {
    let id = kept.journals.find(&Name::parse(journal).unwrap()).unwrap();
    kept.journals.get(id).present().iter().map(Name::to_string).collect()
}

/// Journals of which nodes are members: of the first, entries 1 to 3 are gone, of which one has said so.
fn with_members() -> Keeper {
    let mut hub = Keeper::new();
    hub.joins("press", "node/1");
    hub.commands(4);
    hub.joins("press", "node/2");
    hub.joins("other", "node/3");
    hub.commands(2);
    let hash = |hub: &Keeper, seq| hub.kept.journals.hash_at(1, seq).unwrap();
    let begin = Piece { seq: 5, known: 5, hash: hash(&hub, 5), total: 5, offset: 0, bytes: &[] };
    hub.append(Appended::Snapshot(begin));
    assert_eq!(hub.append(Appended::Snapshot(Piece { bytes: b"state", ..begin })), (5, 1));
    let hash = hash(&hub, 3);
    assert_eq!(hub.append(Appended::Compact(Compact { up_to: 3, keep: 0, hash })), (4, 3));
    hub
}

#[test]
fn who_has_joined_with_an_entry_that_is_gone_is_a_member_all_the_same() {
    let hub = with_members();
    let (wrong, kept) = mended(&hub.held);
    assert_eq!(wrong, [""; 0]);
    assert_eq!(members(&kept, "press"), ["node/1", "node/2"]);
    // The last entry of it, and then what is behind it too.
    let mut damaged = hub.held.clone();
    let last = damaged.keys().filter(|key| key.table == ENTRIES && key.key.starts_with(&[0, 0, 0, 1])).last();
    let last = last.unwrap().clone();
    damaged.remove(&last);
    for (held, ends) in [(damaged, 7), (hub.ends_otherwise(), 5)] {
        let (wrong, kept) = mended(&held);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(kept.journals.get(1).last(), ends);
        assert_eq!(members(&kept, "press"), ["node/1", "node/2"], "nobody has said that they have left");
        assert_eq!(members(&kept, "other"), ["node/3"]);
    }
}

/// Which of its entries is another one nobody can tell, and so none counts; nor does what they have said.
#[test]
fn of_a_journal_that_ends_otherwise_no_member_is_left_and_other_hubs_bring_everything_again() {
    const A: [u8; 16] = [0xa; 16];
    let mut hub = Keeper::new();
    hub.joins("press", "node/1");
    let commands = Commands::encode([(Encoding::Raw, &b"a"[..])].into_iter());
    let terms = Terms::new(Some(Strategy::Compensate), false, None);
    let brings = |seq| {
        let (origin, commands) = (Origin { hub: A, seq }, Commands::encoded(&commands));
        let brought = Brought::Commands { origin, author: b"ann", terms, commands };
        Appended::Carried(Carried { carrier: A, place: seq, hash: [7; 16], after: 0, brought })
    };
    for seq in 1..=3 {
        assert_eq!(hub.append(brings(seq)), (seq + 1, 1));
    }
    let (wrong, kept) = mended(&hub.ends_otherwise());
    assert!(wrong[0].contains("or one behind it is not what was appended"), "{wrong:?}");
    assert_eq!((kept.journals.get(1).last(), members(&kept, "press")), (0, vec![]));
    let mut hub = Keeper { kept, held: Held::new() };
    for (seq, expected) in [(1, (1, 1)), (1, (0, 0)), (2, (2, 1)), (3, (3, 1))] {
        assert_eq!(hub.append(brings(seq)), expected, "{seq}");
    }
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
