//! What a link of another hub appends to a journal: an entry of that hub's journal, or a group, with where it was first.

use super::journals::{Commands, Terms};
use super::{FrameError, Reader, put_short};
use crate::journal::Origin;

const COMMANDS: u8 = 0;
const UNDO: u8 = 1;
const REDO: u8 = 2;
const NOTHING: u8 = 3;

/// Entries of another hub's journal, on their way into this hub's of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried<'a> {
    /// The hub that they come from: not always the one where they were first.
    pub carrier: [u8; 16],
    /// The place of the last of them in that hub's journal.
    pub place: u64,
    /// The hash of that one.
    pub hash: [u8; 16],
    /// Everything of that hub's journal up to here is known to have come, on whatever way.
    pub after: u64,
    /// What they say.
    pub brought: Brought<'a>,
}

/// What an entry of another hub's journal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought<'a> {
    /// Commands, which are one group.
    Commands {
        /// Where the first of them was first; the others follow it there.
        origin: Origin,
        /// Who is answerable for them, not validated.
        author: &'a [u8],
        /// How they are undone.
        terms: Terms<'a>,
        /// What they are.
        commands: Commands<'a>,
    },
    /// A command is undone or done again.
    Back {
        /// Where this was said first.
        origin: Origin,
        /// Who is answerable for it, not validated.
        author: &'a [u8],
        /// It is undone, and not done again.
        undoes: bool,
        /// Where the command, or the first of its group, was first.
        target: Origin,
    },
    /// Nothing that is not known: only that all up to here has come.
    Nothing,
}

impl Origin {
    /// Its length in a frame, in bytes.
    pub(super) const BYTES: usize = 24;

    pub(super) fn read(fields: &mut Reader<'_>) -> Result<Origin, FrameError> {
        Ok(Origin { hub: fields.array("a hub of 16 bytes")?, seq: fields.u64("a place")? })
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hub);
        out.extend_from_slice(&self.seq.to_le_bytes());
    }
}

impl<'a> Brought<'a> {
    /// Where it was first, and who is answerable for it.
    pub(crate) fn from(&self) -> Option<(Origin, &'a [u8])> {
        match *self {
            Brought::Commands { origin, author, .. } | Brought::Back { origin, author, .. } => Some((origin, author)),
            Brought::Nothing => None,
        }
    }
}

impl<'a> Carried<'a> {
    pub(super) fn read(fields: &mut Reader<'a>) -> Result<Carried<'a>, FrameError> {
        let carrier = fields.array("a hub of 16 bytes")?;
        let place = fields.u64("a place")?;
        let hash = fields.array("a hash of 16 bytes")?;
        let offset = fields.offset();
        let after = fields.u64("a place")?;
        if after >= place {
            return Err(FrameError { offset, expected: "a place before that of the entry" });
        }
        let offset = fields.offset();
        let brought = match fields.u8("what is carried")? {
            COMMANDS => {
                let offset = fields.offset();
                let origin = Origin::read(fields)?;
                let author = fields.short_bytes("a name")?;
                let terms = Terms::read(fields)?;
                let commands = Commands::read(fields)?;
                // The others of a group follow the first.
                if origin.seq.checked_add(commands.len() as u64).is_none() {
                    return Err(FrameError { offset, expected: "a place that the whole group can have" });
                }
                Brought::Commands { origin, author, terms, commands }
            }
            what @ (UNDO | REDO) => Brought::Back {
                origin: Origin::read(fields)?,
                author: fields.short_bytes("a name")?,
                undoes: what == UNDO,
                target: Origin::read(fields)?,
            },
            NOTHING => Brought::Nothing,
            _ => return Err(FrameError { offset, expected: "0 (commands), 1 (undo), 2 (redo) or 3 (nothing)" }),
        };
        Ok(Carried { carrier, place, hash, after, brought })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.carrier);
        out.extend_from_slice(&self.place.to_le_bytes());
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.after.to_le_bytes());
        match self.brought {
            Brought::Commands { origin, author, terms, commands } => {
                out.push(COMMANDS);
                origin.write(out);
                put_short(out, author);
                terms.write(out);
                out.extend_from_slice(commands.bytes());
            }
            Brought::Back { origin, author, undoes, target } => {
                out.push(if undoes { UNDO } else { REDO });
                origin.write(out);
                put_short(out, author);
                target.write(out);
            }
            Brought::Nothing => out.push(NOTHING),
        }
    }
}
