//! What can be ordered only when an entry was looked at: that a snapshot begins, since its maker must know the same journal;
//! and that entries go, since the hash of the last of them is kept.
//!
//! What such an operation says of the hash of an entry, the hub has read itself. So whoever applies it need not.

use bytes::Bytes;

use crate::bug::{Bug, planted};
use crate::foundation::RowKey;
use crate::frame::{Append, Appended, Compact, Incarnation, Piece, Told};
use crate::hub::foundation::Reads;
use crate::hub::{HubState, LinkId};
use crate::kept::{ENTRIES, Outcome, entry_key, seq_from_key};
use crate::limits::{ENTRIES_COMPACTED_MAX, LOOKS_PER_LINK_MAX};
use crate::name::Name;
use crate::refusal::{Code, Refusal};

/// Names a look: the link on which it was asked for, and the number of the append there.
pub(in crate::hub) type LookKey = (LinkId, u64);

/// What waits for an entry to be looked at.
#[derive(Clone)]
pub(super) struct Look {
    incarnation: Incarnation,
    settled: u64,
    journal: Name,
    wants: Wants,
    /// The entry.
    at: u64,
}

/// What for.
#[derive(Clone, Copy)]
enum Wants {
    /// The entry must have this hash; then a snapshot of this place and length may begin.
    Same([u8; 16], (u64, u64)),
    /// It is the one of which a snapshot is the state, made by who knew this entry, and so long.
    Begin(u64, u64),
    /// It is the last that goes.
    Compact,
}

impl HubState {
    /// A node wants something for which an entry must be looked at. False if this is nothing of that kind.
    pub(super) fn look_first(&mut self, id: LinkId, append: &Append<'_>, journal: &Name) -> Result<bool, Refusal> {
        let (wants, at) = match append.appended {
            Appended::Snapshot(Piece { seq, known, hash, total, bytes: [], .. }) => {
                self.may_be_replaced(journal)?;
                (Wants::Same(hash, (seq, total)), known)
            }
            Appended::Compact(compact) => (Wants::Compact, self.may_go(journal, &compact)?),
            _ => return Ok(false),
        };
        let Some(joined) = self.links.joined(id) else { return Ok(true) };
        let incarnation = joined.incarnation;
        let look = Look { incarnation, settled: append.settled, journal: journal.clone(), wants, at };
        self.look(((id, append.cseq), look), None)?;
        Ok(true)
    }

    /// Up to where entries may go with one operation.
    fn may_go(&self, journal: &Name, compact: &Compact) -> Result<u64, Refusal> {
        let Some(id) = self.kept.journals.find(journal) else { return Ok(0) };
        let past = self.kept.journals.get(id).past();
        let behind = past.snapshot().map_or(0, |snapshot| snapshot.seq.saturating_sub(compact.keep));
        let behind = if planted(Bug::CompactsBeyondSnapshot) { self.kept.journals.get(id).last() } else { behind };
        Ok(compact.up_to.min(behind).min(past.first() - 1 + ENTRIES_COMPACTED_MAX as u64))
    }

    /// The entry was read, or is not there.
    pub(in crate::hub) fn looked(&mut self, key: LookKey, rows: &[(RowKey, Bytes)]) {
        let Some(look) = self.followers.looks.remove(&key) else { return };
        let (incarnation, cseq) = (look.incarnation, key.1);
        if self.links.joined(key.0).is_none() {
            // Whoever it is will ask again.
            return;
        }
        let Some(id) = self.kept.journals.find(&look.journal) else { return };
        let row = rows.first().filter(|(row, _)| seq_from_key(id, &row.key) == Some(look.at));
        let hash = row.and_then(|(_, frames)| Told::hash_in(frames));
        // It may have gone since.
        if hash.is_none() && look.at >= self.kept.journals.get(id).past().first() {
            let text = format!("entry {} of `{}` is not where it was kept", look.at, look.journal);
            return self.foundation_failed(Refusal::new(Code::StorageFailed, text));
        }
        if let Err(refusal) = self.look((key, look), hash) {
            let outcome = Outcome::Refused { code: refusal.code, text: refusal.text.into_owned() };
            self.answer_write(incarnation, cseq, &outcome, 0);
        }
    }

    /// Looks at an entry, of which the hash may be known already, and goes on as far as that is possible now.
    fn look(&mut self, (key, mut look): (LookKey, Look), mut hash: Option<[u8; 16]>) -> Result<(), Refusal> {
        loop {
            let refused = |code, why: String| {
                let what = if let Wants::Compact = look.wants { "compact" } else { "upload a snapshot of" };
                Err(Refusal::new(code, format!("{what} `{}`: {why}", look.journal)))
            };
            let journal = self.kept.journals.find(&look.journal);
            let (first, last) = journal.map_or((1, 0), |id| {
                let journal = self.kept.journals.get(id);
                (journal.past().first(), journal.last())
            });
            if look.at > last {
                let why = format!("its maker knows entry {}, and the journal has {last} entries now", look.at);
                return refused(Code::Diverged, why);
            }
            if let Wants::Compact = look.wants
                && look.at < first
            {
                // Nothing goes, and no hash is asked for.
                hash = Some([0; 16]);
            }
            let found = hash.take().or_else(|| self.kept.journals.hash_at(journal?, look.at));
            let Some(found) = found else {
                if look.at + 1 < first {
                    return refused(Code::Compacted, format!("entry {} is not kept any more", look.at));
                }
                let looks = &mut self.followers.looks;
                if looks.range((key.0, 0)..=(key.0, u64::MAX)).count() >= LOOKS_PER_LINK_MAX {
                    return refused(Code::Backpressure, "too much of that waits for the hub's disk; try again".into());
                }
                let from = entry_key(journal.expect("it has an entry"), look.at);
                self.conversation.read(Reads::Look(key), ENTRIES, &from, 1);
                looks.insert(key, look);
                return Ok(());
            };
            let appended = match look.wants {
                Wants::Same(expected, (seq, total)) => {
                    if found != expected {
                        let why = format!("entry {} is another one here than where it was made", look.at);
                        return refused(Code::Diverged, why);
                    }
                    hash = (seq == look.at).then_some(found);
                    (look.wants, look.at) = (Wants::Begin(look.at, total), seq);
                    continue;
                }
                Wants::Begin(known, total) => {
                    let seq = look.at;
                    Appended::Snapshot(Piece { seq, known, hash: found, total, offset: 0, bytes: &[] })
                }
                Wants::Compact => Appended::Compact(Compact { up_to: look.at, keep: 0, hash: found }),
            };
            let journal = look.journal.as_str().as_bytes();
            let append = Append { cseq: key.1, settled: look.settled, journal, appended };
            return self.order_append(key.0, append, None);
        }
    }
}
