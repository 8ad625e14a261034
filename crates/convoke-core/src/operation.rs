//! Operations: what is ordered and kept, and decided only when it comes back.
//!
//! An operation says what is to happen, with what it expects; it does not say what comes of it. So the state that is kept is
//! a function of the sequence of operations, whoever computes it.

use bytes::Bytes;

use crate::frame::{Appended, Change, FrameError, Incarnation, Items, Reader};
use crate::journal::Strategy;
use crate::proof::TokenKey;

/// The form in which operations are encoded. It is part of what is kept on disk.
const FORMAT: u8 = 1;

const WRITE: u8 = 0;
const BEGIN: u8 = 1;
const EXPIRE: u8 = 2;
const FORGET: u8 = 3;
const GRANT: u8 = 5;
const APPEND: u8 = 6;
const FENCE: u8 = 9;
const PRESENCE: u8 = 7;

/// Which change of rights it is, of all that ever were. A hub appends one only when it knows what came of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrantId {
    /// The hub that appends it.
    pub(crate) hub: [u8; 16],
    /// The start of that hub.
    pub(crate) epoch: u64,
    /// Which of this start's it is.
    pub(crate) number: u64,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// An incarnation asks for something to be kept for the first time.
    Begin {
        incarnation: Incarnation,
        /// The node's name.
        node: &'a [u8],
        /// Who it is to the hub: what is asked about it later is told to nobody else.
        principal: &'a [u8],
        /// That by which it proves to be this incarnation.
        secret: TokenKey,
    },
    /// Changes of values.
    Write {
        incarnation: Incarnation,
        /// Which of the incarnation's operations it is.
        cseq: u64,
        /// The node has every answer up to this one.
        settled: u64,
        /// Who is answerable for it.
        author: &'a [u8],
        /// Wall time at which it was appended, in milliseconds since 1970, for what has a time to live.
        wall_ms: u64,
        items: Items<'a>,
    },
    /// Entries of a journal.
    Append {
        incarnation: Incarnation,
        /// Which of the incarnation's operations it is.
        cseq: u64,
        /// The node has every answer up to this one.
        settled: u64,
        /// Who is answerable for it.
        author: &'a [u8],
        wall_ms: u64,
        /// The journal's name.
        journal: &'a [u8],
        appended: Appended<'a>,
    },
    /// A node has become a member of a journal, or is one no more. Says nothing of one of whom the journal says so already.
    Presence {
        wall_ms: u64,
        /// The journal's name.
        journal: &'a [u8],
        /// The node.
        node: &'a [u8],
        joined: bool,
        /// How the journal undoes if it is made now.
        strategy: Strategy,
    },
    /// These keys lose their values, where these are still of these revisions: their time is over, or their node is gone.
    Expire { keys: Vec<(&'a [u8], u64)>, wall_ms: u64 },
    /// The incarnation will not come back, or would not be known any more.
    Forget {
        incarnation: Incarnation,
        /// It was not known to have all its answers.
        unsettled: bool,
    },
    /// Nobody is this incarnation any more: nothing that it wants is done behind this.
    Fence {
        incarnation: Incarnation,
        /// The node's name.
        node: &'a [u8],
        /// Who it was to the hub.
        principal: &'a [u8],
    },
    /// A principal gets or loses rights, or proves who it is in another way.
    Grant {
        /// Which change of which hub it is: appended again, it is done once.
        by: GrantId,
        /// The principal.
        name: &'a [u8],
        wall_ms: u64,
        change: Change<'a>,
    },
}

impl<'a> Operation<'a> {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        self.write(&mut out);
        out.into()
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        let put_incarnation = |out: &mut Vec<u8>, incarnation: &Incarnation| {
            out.extend_from_slice(&incarnation.epoch.to_le_bytes());
            out.extend_from_slice(&incarnation.counter.to_le_bytes());
        };
        match self {
            Operation::Begin { incarnation, node, principal, secret } => {
                out.push(BEGIN);
                put_incarnation(out, incarnation);
                out.extend_from_slice(&secret.to_bytes());
                put_short(out, principal);
                out.extend_from_slice(node);
            }
            Operation::Write { incarnation, cseq, settled, author, wall_ms, items } => {
                out.push(WRITE);
                put_incarnation(out, incarnation);
                for number in [cseq, settled, wall_ms] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                put_short(out, author);
                out.extend_from_slice(items.bytes());
            }
            Operation::Append { incarnation, cseq, settled, author, wall_ms, journal, appended } => {
                out.push(APPEND);
                put_incarnation(out, incarnation);
                for number in [cseq, settled, wall_ms] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                put_short(out, author);
                put_short(out, journal);
                appended.write(out);
            }
            Operation::Presence { wall_ms, journal, node, joined, strategy } => {
                out.push(PRESENCE);
                out.extend_from_slice(&wall_ms.to_le_bytes());
                put_short(out, journal);
                put_short(out, node);
                out.extend_from_slice(&[u8::from(*joined), strategy.number()]);
            }
            Operation::Expire { keys, wall_ms } => {
                out.push(EXPIRE);
                out.extend_from_slice(&wall_ms.to_le_bytes());
                for (name, rev) in keys {
                    put_short(out, name);
                    out.extend_from_slice(&rev.to_le_bytes());
                }
            }
            Operation::Forget { incarnation, unsettled } => {
                out.push(FORGET);
                put_incarnation(out, incarnation);
                out.push(u8::from(*unsettled));
            }
            Operation::Fence { incarnation, node, principal } => {
                out.push(FENCE);
                put_incarnation(out, incarnation);
                put_short(out, principal);
                out.extend_from_slice(node);
            }
            Operation::Grant { by, name, wall_ms, change } => {
                out.push(GRANT);
                out.extend_from_slice(&by.hub);
                out.extend_from_slice(&by.epoch.to_le_bytes());
                out.extend_from_slice(&by.number.to_le_bytes());
                out.extend_from_slice(&wall_ms.to_le_bytes());
                put_short(out, name);
                change.write(out);
            }
        }
    }

    /// Reads an operation that came back from a foundation.
    ///
    /// # Errors
    ///
    /// It was written by a newer version, or is not what was written.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Operation<'a>, FrameError> {
        let mut fields = Reader::new(bytes, 0);
        if fields.u8("the format of an operation")? != FORMAT {
            return Err(FrameError { offset: 0, expected: "an operation in a format that this version knows" });
        }
        let incarnation = |fields: &mut Reader<'a>| -> Result<Incarnation, FrameError> {
            Ok(Incarnation { epoch: fields.u64("an epoch")?, counter: fields.u64("a counter")? })
        };
        let operation = match fields.u8("the kind of an operation")? {
            WRITE => Operation::Write {
                incarnation: incarnation(&mut fields)?,
                cseq: fields.u64("a cseq")?,
                settled: fields.u64("a cseq")?,
                wall_ms: fields.u64("milliseconds")?,
                author: fields.short_bytes("a name")?,
                items: Items::read(&mut fields)?,
            },
            APPEND => Operation::Append {
                incarnation: incarnation(&mut fields)?,
                cseq: fields.u64("a cseq")?,
                settled: fields.u64("a cseq")?,
                wall_ms: fields.u64("milliseconds")?,
                author: fields.short_bytes("a name")?,
                journal: fields.short_bytes("a name")?,
                appended: Appended::read(&mut fields)?,
            },
            PRESENCE => Operation::Presence {
                wall_ms: fields.u64("milliseconds")?,
                journal: fields.short_bytes("a name")?,
                node: fields.short_bytes("a name")?,
                joined: fields.u8("whether it has joined")? != 0,
                strategy: {
                    let (offset, number) = (fields.offset(), fields.u8("a strategy")?);
                    Strategy::from_number(number).ok_or(FrameError { offset, expected: "a strategy of undo" })?
                },
            },
            BEGIN => Operation::Begin {
                incarnation: incarnation(&mut fields)?,
                secret: TokenKey::from_bytes(fields.array("a secret of 32 bytes")?),
                principal: fields.short_bytes("a name")?,
                node: fields.rest(),
            },
            FENCE => Operation::Fence {
                incarnation: incarnation(&mut fields)?,
                principal: fields.short_bytes("a name")?,
                node: fields.rest(),
            },
            EXPIRE => {
                let wall_ms = fields.u64("milliseconds")?;
                let mut keys = Vec::new();
                while !fields.is_empty() {
                    keys.push((fields.short_bytes("a name")?, fields.u64("a revision")?));
                }
                Operation::Expire { keys, wall_ms }
            }
            FORGET => Operation::Forget {
                incarnation: incarnation(&mut fields)?,
                unsettled: fields.u8("whether it was unsettled")? != 0,
            },
            GRANT => Operation::Grant {
                by: GrantId {
                    hub: fields.array("a hub")?,
                    epoch: fields.u64("an epoch")?,
                    number: fields.u64("a number")?,
                },
                wall_ms: fields.u64("milliseconds")?,
                name: fields.short_bytes("a name")?,
                change: Change::read(&mut fields)?,
            },
            _ => return Err(FrameError { offset: 1, expected: "a kind of operation that this version knows" }),
        };
        fields.end()?;
        Ok(operation)
    }
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foundation::Room;
    use crate::frame::{Back, Expect, Item, Set};
    use crate::payload::Encoding;

    #[test]
    fn an_operation_is_read_as_it_was_written() {
        let incarnation = Incarnation { epoch: 3, counter: 9 };
        let items = Items::encode(&[Item { name: b"a/b", every: false, expect: Expect::Present, set: None }]);
        let items = Items::encoded(&items);
        let by = GrantId { hub: [5; 16], epoch: 3, number: 1 << 40 };
        let appended = Appended::Undo(Back { everyone: true, target: None, expect_top: Some(9) });
        for operation in [
            Operation::Append {
                incarnation,
                cseq: 8,
                settled: 5,
                author: b"ann",
                wall_ms: 1 << 41,
                journal: b"room",
                appended,
            },
            Operation::Begin {
                incarnation,
                node: b"press/1",
                principal: b"cam",
                secret: TokenKey::from_bytes([7; 32]),
            },
            Operation::Write { incarnation, cseq: 8, settled: 5, author: b"ann", wall_ms: 1 << 41, items },
            Operation::Expire { keys: vec![(b"a", 3), (b"b/c", 1 << 40)], wall_ms: 7 },
            Operation::Forget { incarnation, unsettled: true },
            Operation::Fence { incarnation, node: b"press/1", principal: b"cam" },
            Operation::Presence {
                wall_ms: 7,
                journal: b"room",
                node: b"ann/1",
                joined: true,
                strategy: Strategy::Refuse,
            },
            Operation::Grant { by, name: b"cam", wall_ms: 9, change: Change::Rules(vec!["allow publish cam/#"]) },
            Operation::Grant { by, name: b"cam", wall_ms: 9, change: Change::Key(TokenKey::from_bytes([9; 32])) },
        ] {
            let bytes = operation.encode();
            assert_eq!(Operation::decode(&bytes).unwrap(), operation);
            for cut in 0..bytes.len() {
                assert_ne!(Operation::decode(&bytes[..cut]).ok(), Some(operation.clone()), "cut at {cut}");
            }
        }
    }

    #[test]
    fn what_takes_values_or_rights_away_makes_room() {
        let incarnation = Incarnation { epoch: 3, counter: 9 };
        let delete = Item { name: b"a/#", every: true, expect: Expect::Anything, set: None };
        let payload = Set { encoding: Encoding::Json, payload: b"1", ttl_ms: 0, ephemeral: false };
        let set = Item { set: Some(payload), ..delete };
        let write = |items: &[Item<'_>]| {
            let items = Items::encode(items);
            let items = Items::encoded(&items);
            Room::of(&Operation::Write { incarnation, cseq: 8, settled: 5, author: b"ann", wall_ms: 0, items }.encode())
        };
        assert_eq!(write(&[delete, delete]), Room::Makes);
        assert_eq!(write(&[delete, set]), Room::Takes);
        let grant = |change| {
            Room::of(
                &Operation::Grant {
                    by: GrantId { hub: [5; 16], epoch: 3, number: 1 },
                    name: b"cam",
                    wall_ms: 9,
                    change,
                }
                .encode(),
            )
        };
        assert_eq!(grant(Change::Revoke), Room::Makes);
        assert_eq!(grant(Change::Create { key: None, rules: Vec::new() }), Room::Takes);
        let begin = Operation::Begin {
            incarnation,
            node: b"press/1",
            principal: b"cam",
            secret: TokenKey::from_bytes([7; 32]),
        };
        assert_eq!(Room::of(&begin.encode()), Room::Begins);
        assert_eq!(Room::of(b"something else"), Room::Takes);
    }
}
