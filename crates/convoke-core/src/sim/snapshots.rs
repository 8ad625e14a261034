//! Snapshots in a simulated world: replicas upload them, old entries go, and who comes late begins with one.
//!
//! The truth keeps every entry. So a follower that begins with a snapshot is held against the journal from its first entry on,
//! as soon as it has come to where the snapshot was made; and what is gone must be such that a snapshot stands for it.

use super::Checker;
use super::chronicle::{Command, Recorded};
use super::follower::{Copy, Follower};
use super::journals::{Wanted, Wish};
use super::world::{Tag, World};
use crate::frame::{Appended, Incarnation, Piece};
use crate::journal::{Deed, Entry};
use crate::name::Name;
use crate::node::{NodeState, RequestId, WriteId};
use crate::refusal::Refusal;

impl World {
    /// One random thing with snapshots.
    pub(super) fn snapshots_step(&mut self, tag: Tag) {
        if self.dice.once_in(4) {
            let journal = self.some_journal();
            let up_to = if self.dice.once_in(2) { u64::MAX } else { self.some_place(journal) };
            let keep = self.dice.pick(&[0, 1, 5]);
            let name = Name::parse(journal).expect("a name");
            self.trace.line(self.now, format_args!("program {tag} compacts `{journal}` up to {up_to}, keeps {keep}"));
            self.asks_for_past(tag, journal, |node| node.compact(&name, up_to, keep));
        } else {
            self.uploads(tag);
        }
    }

    fn asks_for_past(&mut self, tag: Tag, journal: &str, ask: impl FnOnce(&mut NodeState) -> Result<WriteId, Refusal>) {
        let restored = self.chronicle.restored;
        let Some(program) = self.programs.get_mut(&tag) else { return };
        program.journals.number += 1;
        let number = program.journals.number;
        let wish = Wish { journal: journal.to_owned(), number, wanted: Wanted::Past, seen: 0, restored };
        if let Ok(id) = ask(&mut program.node) {
            program.journals.wishes.insert(id, wish);
        }
        self.with_node(tag, |_, _| {});
    }

    /// A replica of this program makes a snapshot, all pieces of which are uploaded at once.
    fn uploads(&mut self, tag: Tag) {
        let Some(program) = self.programs.get(&tag) else { return };
        let follows: Vec<RequestId> = program.journals.follows.keys().copied().collect();
        if follows.is_empty() || self.hostile.contains(&tag) {
            return;
        }
        let id = self.dice.pick(&follows);
        let Some(program) = self.programs.get(&tag) else { return };
        let Some(follower) = program.journals.follows.get(&id).filter(|follower| !follower.ended) else { return };
        let (Some((seq, state)), Some((known, hash))) = (follower.snapshot(), program.node.taken_hash(id)) else {
            return;
        };
        if seq == 0 || known != follower.seq() {
            return;
        }
        let (journal, total) = (follower.journal.clone(), state.len() as u64);
        let (name, most) = (Name::parse(&journal).expect("a name"), program.node.snapshot_piece_bytes());
        self.trace.line(
            self.now,
            format_args!("program {tag} uploads a snapshot of `{journal}` at {seq}, which knows {known}, of {total}"),
        );
        let begin = Piece { seq, known, hash, total, offset: 0, bytes: &[] };
        self.asks_for_past(tag, &journal, |node| node.upload(&name, begin));
        for (place, bytes) in state.chunks(most.max(1)).enumerate() {
            let offset = (place * most) as u64;
            self.asks_for_past(tag, &journal, |node| node.upload(&name, Piece { offset, bytes, ..begin }));
        }
    }

    /// It is ordered that a snapshot begins, or goes on. What is not taken of that is of no account here.
    pub(super) fn past_recorded(&mut self, by: Incarnation, journal: &str, appended: &Appended<'_>) {
        let Some(book) = self.chronicle.books.get_mut(journal) else { return };
        match appended {
            Appended::Snapshot(Piece { seq, known, bytes: [], .. }) => {
                book.begun.insert((by, *seq), *known);
            }
            Appended::Snapshot(Piece { seq, .. }) => {
                if let Some(known) = book.begun.get(&(by, *seq)) {
                    let most = book.snapshots.entry(*seq).or_default();
                    *most = (*most).max(*known);
                }
            }
            _ => {}
        }
    }

    /// A follower begins with a snapshot, or goes on with one.
    pub(super) fn told_base(&mut self, tag: Tag, id: RequestId, seq: u64, state: Vec<u8>) -> Result<(), String> {
        self.report.based += 1;
        let World { programs, chronicle, mode, .. } = self;
        let follower = programs.get_mut(&tag).and_then(|program| program.journals.follows.get_mut(&id));
        let Some(follower) = follower else { return Ok(()) };
        let Some(book) = chronicle.books.get(&follower.journal) else {
            return Err(format!("was told a snapshot at {seq} of a journal that is not there"));
        };
        let (Some(known), Some(last)) = (book.snapshots.get(&seq), book.entries.get(seq as usize - 1)) else {
            return Err(format!("was told a snapshot at {seq}, and nobody has made one there"));
        };
        if seq <= follower.seq() {
            return Err(format!("was told a snapshot at {seq}"));
        }
        let entry = |of: &Recorded| {
            let Recorded { seq, author, wall_ms, deed, mark, .. } = of;
            let author = Name::parse(author).expect("the hub has checked it");
            let entry = Entry { seq: *seq, author, wall_ms: *wall_ms, deed: *deed, provenance: None };
            let command = mark.map(|mark| Command::new(mark, 0));
            // Who was told nonsense would not have gone on.
            (command.is_some() || !matches!(deed, Deed::Do { .. })).then_some((entry, command))
        };
        let before: Option<Vec<_>> = book.entries[..seq as usize].iter().map(entry).collect();
        let copy = before.map(|before| Copy::based(*mode, book.strategy, before, *known, state)).transpose()?;
        follower.begins_at(seq, Some(last.chain), copy);
        Ok(())
    }

    /// Entries are gone that a follower lacks, which takes no snapshot.
    pub(super) fn told_compacted(&mut self, tag: Tag, id: RequestId, first: u64) -> Result<(), String> {
        self.report.compacted += 1;
        let World { programs, chronicle, .. } = self;
        let follower = programs.get_mut(&tag).and_then(|program| program.journals.follows.get_mut(&id));
        let Some(follower) = follower else { return Ok(()) };
        let stands = chronicle.books.get(&follower.journal).and_then(|book| book.snapshots.last_key_value());
        let stands = stands.map_or(0, |(seq, _)| *seq);
        if first <= follower.seq() + 1 || first > stands + 1 {
            return Err(format!("was told that {first} is the first, and a snapshot stands for {stands} at most"));
        }
        follower.begins_at(first - 1, None, None);
        Ok(())
    }

    /// What came of a snapshot's piece or of a compaction.
    pub(super) fn note_past(&mut self, tag: Tag, why_not: Option<&Refusal>) {
        use crate::refusal::Code;
        match why_not {
            None => self.report.snapshots += 1,
            Some(why) => {
                let usual = matches!(
                    why.code,
                    Code::Conflict | Code::BadRequest | Code::Compacted | Code::StorageFull | Code::Backpressure
                ) || matches!(why.code, Code::TooLarge | Code::StorageFailed | Code::Left | Code::Fenced);
                if !usual {
                    self.fail(Checker::Journals, format!("what program {tag} wants of old entries was refused: {why}"));
                }
            }
        }
    }
}

impl Follower {
    /// It goes on behind this place with something else than the entries before.
    fn begins_at(&mut self, seq: u64, chain: Option<u64>, copy: Option<Copy>) {
        (self.seq, self.chain, self.copy) = (seq, chain, copy);
    }
}
