//! What is read from an outbox that was cut off or broken at any byte.

use super::*;

const OP: OpId = OpId { history: [3; 16], incarnation: Incarnation { epoch: 4, counter: 5 }, journal: true, cseq: 6 };

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn put(number: u64) -> Record {
    Record::Put { number, journal: name("todo"), appended: format!("command {number}").into_bytes() }
}

/// An outbox into which batches of records were put, and how long it was before each, and at the end.
fn filled(folder: &Path, batches: &[Vec<Record>]) -> (Vec<u8>, Vec<(u64, Contents)>) {
    let mut file = OutboxFile::open(folder, &name("press")).unwrap();
    let mut steps = vec![(file.len, file.contents.clone())];
    for batch in batches {
        file.add(batch.clone()).unwrap();
        steps.push((file.len, file.contents.clone()));
    }
    (fs::read(folder.join(FILE)).unwrap(), steps)
}

fn batches() -> Vec<Vec<Record>> {
    let unknown = End::Unknown(Refusal::new(Code::LinkLost, "nobody knows"), Some(OP));
    vec![
        vec![put(1), put(2), put(3), put(4)],
        vec![Record::Note { number: 1, op: OP }, Record::Note { number: 2, op: OpId { cseq: 7, ..OP } }],
        vec![Record::End { number: 1, end: End::Done(9), told: false }, put(5)],
        vec![Record::End { number: 2, end: End::NotDone(Refusal::new(Code::Limit, "no")), told: false }],
        vec![Record::Told { number: 1 }, Record::End { number: 3, end: unknown, told: false }],
        vec![Record::End { number: 5, end: End::Done(10), told: true }],
    ]
}

#[test]
fn an_outbox_is_read_as_it_was_left_however_often_it_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (_, steps) = filled(folder.path(), &batches());
    let (_, left) = steps.last().unwrap();
    assert_eq!(left.open.keys().collect::<Vec<_>>(), [&4]);
    assert_eq!(left.ends.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(left.last, 5);
    for _ in 0..3 {
        let file = OutboxFile::open(folder.path(), &name("press")).unwrap();
        assert_eq!(file.contents(), left);
    }
}

#[test]
fn an_outbox_that_was_cut_off_while_it_was_written_has_all_that_was_safe() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, steps) = filled(folder.path(), &batches());
    let (begin, _) = steps[0];
    for cut in 0..bytes.len() {
        let read = read(&bytes[..cut]);
        if (cut as u64) < begin - 17 {
            read.expect_err("the beginning was whole before it had its name");
            continue;
        }
        let (owner, contents, _) = read.unwrap_or_else(|why| panic!("cut at {cut}: {why}"));
        assert_eq!(owner, name("press"));
        // A step is there from when all of it was, which is before its mark.
        let safe = steps.iter().rev().find(|(len, _)| *len <= cut as u64);
        if let Some((_, safe)) = safe {
            assert!(contents.last >= safe.last, "cut at {cut}: {contents:?} has not what was safe: {safe:?}");
            for number in safe.open.keys() {
                let ended = contents.ends.iter().any(|(of, ..)| of == number);
                let told = steps.iter().any(|(_, step)| step.last >= *number && !step.open.contains_key(number));
                assert!(contents.open.contains_key(number) || ended || told, "cut at {cut}: {number} is lost");
            }
        }
    }
}

#[test]
fn a_broken_byte_in_what_was_safe_is_found_and_nothing_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, steps) = filled(folder.path(), &batches());
    let (len, whole) = steps.last().unwrap();
    assert_eq!(*len, bytes.len() as u64);
    // Only the last mark speaks for nothing but itself.
    let mark = bytes.len() - RECORD_HEAD_BYTES - 1;
    for place in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[place] ^= 0x40;
        match read(&broken) {
            Err(why) => assert!(place < mark, "{place}: {why}"),
            Ok((_, contents, _)) => {
                assert!(place >= mark, "a broken byte at {place} was not found");
                assert_eq!(&contents, whole);
            }
        }
    }
}

#[test]
fn a_broken_outbox_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut bytes, _) = filled(folder.path(), &batches());
    bytes[100] ^= 1;
    fs::write(folder.path().join(FILE), &bytes).unwrap();
    let error = OutboxFile::open(folder.path(), &name("press")).unwrap_err();
    assert_eq!(error.code(), Code::StorageFailed);
    assert!(error.to_string().contains("outbox is broken: what is at byte"), "{error}");
    assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), bytes);
}

#[test]
fn what_a_command_says_is_never_taken_for_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, _) = filled(folder.path(), &batches());
    // A command that is a whole outbox, in an outbox that is cut off behind it.
    let within = Record::Put { number: 6, journal: name("todo"), appended: bytes };
    let folder = tempfile::tempdir().unwrap();
    let (bytes, steps) = filled(folder.path(), &[vec![put(1)], vec![within]]);
    let (before, safe) = &steps[1];
    for cut in [20, 400, 700] {
        let cut = *before as usize + cut;
        assert_eq!(&read(&bytes[..cut]).unwrap().1, safe, "cut at {cut}");
    }
}

#[test]
fn an_outbox_is_of_one_node_and_one_program() {
    let folder = tempfile::tempdir().unwrap();
    let file = OutboxFile::open(folder.path(), &name("press")).unwrap();
    let error = OutboxFile::open(folder.path(), &name("press")).unwrap_err();
    assert!(matches!(&error, Error::InUse(why) if why.text.contains("another program has it")), "{error}");
    drop(file);
    let error = OutboxFile::open(folder.path(), &name("hall")).unwrap_err();
    assert!(error.to_string().ends_with("it is that of `press`; give `hall` a folder of its own"), "{error}");
    OutboxFile::open(folder.path(), &name("press")).unwrap();
}

#[test]
fn an_outbox_does_not_grow_with_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = OutboxFile::open(folder.path(), &name("press")).unwrap();
    file.add(vec![put(1)]).unwrap();
    for number in 2..60 {
        let appended = vec![7; 200_000];
        file.add(vec![
            Record::Put { number, journal: name("todo"), appended },
            Record::End { number, end: End::Done(number), told: true },
        ])
        .unwrap();
    }
    assert!(fs::metadata(folder.path().join(FILE)).unwrap().len() < 2 << 20);
    drop(file);
    let file = OutboxFile::open(folder.path(), &name("press")).unwrap();
    assert_eq!((file.contents().open.len(), file.contents().last), (1, 59));
}
