//! Frames: what travels on a link, to the byte. docs/protocol.md is the normative text; a test compares the two.
//!
//! A link begins with a [`Preface`] in each direction and is frames from then on. Every frame begins with a head of
//! eight bytes; an event has sixteen more, fixed, so that it can be routed without being parsed. All integers are
//! little-endian. Decoding borrows from the input, copies no payload, allocates nothing, and is linear. Half a frame is
//! a value, `Ok(None)`; a bad one is a [`FrameError`] that says where and what was expected.

mod awaits;
mod calls;
mod carried;
mod event;
mod fields;
mod grant;
mod info;
mod join;
mod journals;
mod kind;
mod lagged;
mod long;
mod preface;
mod snapshots;
mod status;
mod values;

pub use awaits::{Acknowledged, Attendance, Await, Listed, Nodes, Whom};
pub use calls::{AGAIN, Call, Content, End, Handle, Reply, Select, WAIT};
pub use carried::{Brought, Carried};
pub use event::{EVENT_HEAD_BYTES, EventBody, EventHead, EventOrigin, GROUP, HEADERS, MORE, NAMED, ORIGIN, REST};
pub(crate) use event::{GROUP_BYTES, read_headers, write_event, write_headers};
pub(crate) use fields::put_short;
pub use fields::{FrameError, Reader};
use fields::{put_named, put_u32};
pub use grant::{Change, Grant};
pub use info::{Info, InfoOwned, MasterWish};
pub use join::{Hello, Incarnation, Welcome};
pub use journals::{Append, Appended, Back, Commands, Follow, FollowAs, Terms, Told};
pub use kind::{KIND_OPTIONAL, Kind};
pub use lagged::Lagged;
pub(crate) use lagged::write_lagged;
pub(crate) use long::Parts;
pub use preface::Preface;
pub use snapshots::{Base, Compact, Piece};
pub use status::Fate;
pub use values::{AFTER_NOTHING, DELETED, Expect, Item, Items, Set, TOGETHER, Value, Write};
pub(crate) use values::{put_rev, read_rev};

use crate::limits::FRAME_BYTES_MAX;
use crate::refusal::Code;
use crate::rev::Rev;

/// Length of the head of every frame, in bytes.
pub const HEAD_BYTES: usize = 8;

/// The head that every frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length of the whole frame in bytes, this head included.
    pub len: usize,
    /// The number of its kind.
    pub kind: u8,
    /// The encoding of an event's payload; zero in all other frames.
    pub encoding: u8,
    /// Flags of its kind; those that are not defined are zero.
    pub flags: u16,
}

impl Head {
    /// Reads the head of the frame that `input` begins with; `None` while it is not all there. The rest of the frame
    /// need not be there: a length out of bounds is told before its bytes arrive.
    ///
    /// # Errors
    ///
    /// A length shorter than a head or longer than any frame.
    pub fn peek(input: &[u8]) -> Result<Option<Head>, FrameError> {
        let Some(&[l0, l1, l2, l3, kind, encoding, f0, f1]) = input.get(..HEAD_BYTES) else { return Ok(None) };
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len < HEAD_BYTES {
            return Err(FrameError { offset: 0, expected: "a length of at least 8" });
        }
        if len > FRAME_BYTES_MAX {
            return Err(FrameError { offset: 0, expected: "a length of at most 65560" });
        }
        Ok(Some(Head { len, kind, encoding, flags: u16::from_le_bytes([f0, f1]) }))
    }
}

/// A decoded frame; what is long in it is borrowed from the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// See [`Kind::Hello`].
    Hello(Hello<'a>),
    /// See [`Kind::Challenge`].
    Challenge {
        /// Random bytes of the hub.
        nonce: [u8; 32],
        /// That the hub knows the token; zero where none is needed.
        proof: [u8; 32],
    },
    /// See [`Kind::Proof`].
    Proof {
        /// That the node knows the token; zero where none is needed.
        token: [u8; 32],
        /// That the node is the incarnation it resumes; zero if it resumes none.
        resume: [u8; 32],
    },
    /// See [`Kind::Welcome`].
    Welcome(Welcome),
    /// See [`Kind::Close`].
    Close {
        /// Why.
        code: Code,
        /// The sentence for people.
        text: &'a str,
    },
    /// See [`Kind::Beat`].
    Beat {
        /// From the hub, the `seq` of the last event it received on this link; from a node, zero.
        received: u64,
    },
    /// See [`Kind::Event`]. One fragment of it, where it is longer than one frame.
    Event(EventHead, EventBody<'a>),
    /// See [`Kind::Subscribe`].
    Subscribe {
        /// The node's number for this subscription and for the answer.
        id: u32,
        /// The pattern, not yet validated.
        pattern: &'a [u8],
        /// The group of which the subscription is a member, not yet validated; empty for none.
        group: &'a [u8],
    },
    /// See [`Kind::Unsubscribe`].
    Unsubscribe {
        /// The number given in Subscribe. Not answered.
        id: u32,
    },
    /// See [`Kind::Confirm`].
    Confirm {
        /// The number for the answer, which is Done with the count of nodes.
        id: u32,
    },
    /// See [`Kind::Barrier`].
    Barrier {
        /// The number for the answer.
        id: u32,
    },
    /// See [`Kind::Done`].
    Done {
        /// The number of the request.
        id: u32,
        /// What the request asks for; zero where it asks for nothing.
        value: u64,
    },
    /// See [`Kind::Refused`].
    Refused {
        /// What is refused.
        about: About,
        /// Why.
        code: Code,
        /// The sentence for people.
        text: &'a str,
    },
    /// See [`Kind::Topic`].
    Topic {
        /// The number.
        number: u32,
        /// The topic's name, not yet validated.
        name: &'a [u8],
    },
    /// See [`Kind::Publisher`].
    Publisher {
        /// The number.
        number: u32,
        /// The node's name, not yet validated.
        name: &'a [u8],
    },
    /// See [`Kind::Forget`].
    Forget {
        /// The number, which is not given again while the hub runs.
        number: u32,
    },
    /// See [`Kind::Lagged`].
    Lagged(Lagged<'a>),
    /// See [`Kind::Ping`].
    Ping {
        /// The number for the answer.
        id: u32,
        /// To the hub: the node to reach, empty for the hub itself. To a node: empty.
        node: &'a [u8],
    },
    /// See [`Kind::Pong`].
    Pong {
        /// The number of the ping.
        id: u32,
    },
    /// See [`Kind::Info`].
    Info(Info<'a>),
    /// See [`Kind::Grant`].
    Grant(Grant<'a>),
    /// See [`Kind::Write`].
    Write(Write<'a>),
    /// See [`Kind::Written`].
    Written {
        /// The number of the write.
        cseq: u64,
        /// The revision that it made; zero if it changed nothing.
        rev: Rev,
        /// How many keys it changed.
        count: u32,
    },
    /// See [`Kind::Watch`].
    Watch {
        /// The node's number for this watch and for the answer.
        id: u32,
        /// How it is to be watched.
        mode: WatchMode,
        /// Bytes of Value frames that may be on their way before the node says Taken.
        window: u32,
        /// The node has every change up to this durable revision; zero for none, [`AFTER_NOTHING`] if there was none yet when
        /// it was told that it has all.
        after: u64,
        /// The same of values in memory.
        after_memory: Rev,
        /// The pattern, not yet validated.
        pattern: &'a [u8],
    },
    /// See [`Kind::Value`].
    Value(Value<'a>),
    /// See [`Kind::Snapshot`].
    Snapshot {
        /// The number of the watch.
        id: u32,
        /// What it is a snapshot of: the values that are kept durably.
        durable: bool,
        /// The values in memory.
        memory: bool,
        /// The first durable change that is still kept, if those that the node lacks are not; else zero.
        first: u64,
    },
    /// See [`Kind::Taken`].
    Taken {
        /// The number of the watch.
        id: u32,
        /// So many bytes of its Value frames.
        bytes: u32,
    },
    /// See [`Kind::Status`].
    Status {
        /// The node's number for the answer.
        id: u32,
        /// The incarnation that has sent it.
        incarnation: Incarnation,
        /// It was an append to a journal; otherwise a write of values.
        journal: bool,
        /// Its number within that incarnation.
        cseq: u64,
    },
    /// See [`Kind::Settled`].
    Settled {
        /// The number of the question.
        id: u32,
        /// What became of it.
        fate: Fate<'a>,
    },
    /// See [`Kind::Serve`].
    Serve {
        /// The node's number for this registration and for the answer.
        id: u32,
        /// A call may be given to another provider when it is not known whether it was handled.
        idempotent: bool,
        /// The service, not yet validated.
        service: &'a [u8],
    },
    /// See [`Kind::Call`].
    Call(Call<'a>),
    /// See [`Kind::Handle`].
    Handle(Handle<'a>),
    /// See [`Kind::Reply`].
    Reply(Reply<'a>),
    /// See [`Kind::Cancel`].
    Cancel {
        /// To the hub, the caller's number for the call; to the provider, the hub's.
        id: u64,
    },
    /// See [`Kind::Recall`].
    Recall {
        /// The hub's number for the call, for the answer.
        id: u64,
        /// The incarnation of the caller.
        incarnation: Incarnation,
        /// The caller's number for it.
        number: u64,
        /// The node that called: of another's calls the provider tells nothing.
        caller: &'a [u8],
    },
    /// See [`Kind::Append`].
    Append(Append<'a>),
    /// See [`Kind::Follow`].
    Follow(Follow<'a>),
    /// See [`Kind::Entry`].
    Entry(Told<'a>),
    /// See [`Kind::Applied`].
    Applied {
        /// The number of the follower.
        id: u32,
        /// The place of the entry.
        seq: u64,
        /// Why it cannot apply the entry behind that and is stuck; empty if it goes on.
        stuck: &'a str,
    },
    /// See [`Kind::Base`].
    Base(Base<'a>),
    /// See [`Kind::Compacted`].
    Compacted {
        /// The number of the follower.
        id: u32,
        /// The first entry that is still kept; the next that follows.
        first: u64,
        /// The hash of the entry before it.
        hash: [u8; 16],
    },
    /// See [`Kind::Await`].
    Await(Await<'a>),
    /// See [`Kind::Acknowledged`].
    Acknowledged(Acknowledged<'a>),
    /// A fragment of a frame that is too long for one.
    Part(Head, &'a [u8]),
    /// A frame of a kind that this version does not know and that may be ignored.
    Ignored(u8),
}

/// How values are to be watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WatchMode {
    /// What is there, then at least the last change of each key.
    #[default]
    Latest = 0,
    /// What is there, then every change.
    All = 1,
    /// What is there, once.
    Once = 2,
}

impl WatchMode {
    /// All modes, in the order of their numbers.
    pub const ALL: [WatchMode; 3] = [WatchMode::Latest, WatchMode::All, WatchMode::Once];

    /// The mode with this number.
    pub const fn from_number(number: u8) -> Option<WatchMode> {
        match number {
            0 => Some(WatchMode::Latest),
            1 => Some(WatchMode::All),
            2 => Some(WatchMode::Once),
            _ => None,
        }
    }
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The request of this number.
    Request(u32),
    /// The event of this `seq`.
    Event(u64),
    /// The write of this `cseq`.
    Write(u64),
}

impl<'a> Frame<'a> {
    /// Decodes the frame that `input` begins with and tells its length; `None` while it is not all there.
    ///
    /// # Errors
    ///
    /// Any byte that is not as docs/protocol.md says, bytes left over after the last field included.
    #[inline]
    pub fn decode(input: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, FrameError> {
        let Some(head) = Head::peek(input)? else { return Ok(None) };
        let Some(bytes) = input.get(..head.len) else { return Ok(None) };
        Ok(Some((Frame::decode_whole(head, bytes)?, head.len)))
    }

    #[inline]
    fn decode_whole(head: Head, bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let Some(kind) = Kind::from_number(head.kind) else {
            return match head.kind & KIND_OPTIONAL {
                0 => Err(FrameError { offset: 4, expected: "a kind of frame that this version knows" }),
                _ => Ok(Frame::Ignored(head.kind)),
            };
        };
        if kind == Kind::Event {
            let event = EventHead::read(head, bytes)?;
            return Ok(Frame::Event(event, event.body(bytes)?));
        }
        if kind.is_long() {
            return if head.flags & (MORE | REST) == 0 {
                Frame::read_long(head, &bytes[HEAD_BYTES..])
            } else {
                Ok(Frame::Part(head, &bytes[HEAD_BYTES..]))
            };
        }
        if head.encoding != 0 {
            return Err(FrameError { offset: 5, expected: "no encoding in a frame without a payload" });
        }
        if head.flags != 0 {
            return Err(FrameError { offset: 6, expected: "no flags in this kind of frame" });
        }
        let mut fields = Reader::new(&bytes[HEAD_BYTES..], HEAD_BYTES);
        let frame = match kind {
            Kind::Event | Kind::Write | Kind::Value | Kind::Call | Kind::Handle | Kind::Reply => {
                unreachable!("handled above")
            }
            Kind::Append | Kind::Entry => unreachable!("handled above"),
            Kind::Follow => return Ok(Frame::Follow(Follow::read(fields)?)),
            Kind::Applied => Frame::Applied {
                id: fields.u32("a number")?,
                seq: fields.u64("a place")?,
                stuck: fields.short_text("a sentence in UTF-8")?,
            },
            Kind::Base => return Ok(Frame::Base(Base::read(fields)?)),
            Kind::Compacted => Frame::Compacted {
                id: fields.u32("a number")?,
                first: fields.u64("a place")?,
                hash: fields.array("a hash of 16 bytes")?,
            },
            Kind::Await => return Ok(Frame::Await(Await::read(fields)?)),
            Kind::Acknowledged => return Ok(Frame::Acknowledged(Acknowledged::read(fields)?)),
            Kind::Grant => return Ok(Frame::Grant(Grant::read(fields)?)),
            Kind::Info => return Ok(Frame::Info(Info::read(fields)?)),
            Kind::Hello => return Ok(Frame::Hello(Hello::read(fields)?)),
            Kind::Welcome => return Ok(Frame::Welcome(Welcome::read(fields)?)),
            Kind::Challenge => Frame::Challenge {
                nonce: fields.array("a nonce of 32 bytes")?,
                proof: fields.array("a proof of 32 bytes")?,
            },
            Kind::Proof => Frame::Proof {
                token: fields.array("a proof of 32 bytes")?,
                resume: fields.array("a proof of 32 bytes")?,
            },
            Kind::Close => Frame::Close {
                code: Code::from_number(fields.u16("a code")?),
                text: fields.short_text("a sentence in UTF-8")?,
            },
            Kind::Beat => Frame::Beat { received: fields.u64("a seq")? },
            Kind::Subscribe => Frame::Subscribe {
                id: fields.u32("a number")?,
                pattern: fields.short_bytes("a pattern")?,
                group: fields.short_bytes("a group")?,
            },
            Kind::Unsubscribe => Frame::Unsubscribe { id: fields.u32("a number")? },
            Kind::Confirm => Frame::Confirm { id: fields.u32("a number")? },
            Kind::Barrier => Frame::Barrier { id: fields.u32("a number")? },
            Kind::Done => Frame::Done { id: fields.u32("a number")?, value: fields.u64("a value")? },
            Kind::Refused => Frame::Refused {
                about: match fields.u8("what is refused")? {
                    0 => About::Request(
                        u32::try_from(fields.u64("a number")?)
                            .map_err(|_| FrameError { offset: 9, expected: "the number of a request" })?,
                    ),
                    1 => About::Event(fields.u64("a seq")?),
                    2 => About::Write(fields.u64("a cseq")?),
                    _ => return Err(FrameError { offset: 8, expected: "0 (a request), 1 (an event) or 2 (a write)" }),
                },
                code: Code::from_number(fields.u16("a code")?),
                text: fields.short_text("a sentence in UTF-8")?,
            },
            Kind::Topic => Frame::Topic { number: fields.u32("a number")?, name: fields.short_bytes("a name")? },
            Kind::Publisher => {
                Frame::Publisher { number: fields.u32("a number")?, name: fields.short_bytes("a name")? }
            }
            Kind::Forget => Frame::Forget { number: fields.u32("a number")? },
            Kind::Lagged => return Ok(Frame::Lagged(Lagged::read(fields)?)),
            Kind::Ping => Frame::Ping { id: fields.u32("a number")?, node: fields.short_bytes("a name")? },
            Kind::Pong => Frame::Pong { id: fields.u32("a number")? },
            Kind::Written => Frame::Written {
                cseq: fields.u64("a cseq")?,
                rev: read_rev(&mut fields)?,
                count: fields.u32("a count")?,
            },
            Kind::Watch => Frame::Watch {
                id: fields.u32("a number")?,
                mode: {
                    let offset = fields.offset();
                    WatchMode::from_number(fields.u8("how to watch")?)
                        .ok_or(FrameError { offset, expected: "0 (latest), 1 (all) or 2 (once)" })?
                },
                window: fields.u32("a window")?,
                after: fields.u64("a revision")?,
                after_memory: read_rev(&mut fields)?,
                pattern: fields.short_bytes("a pattern")?,
            },
            Kind::Snapshot => {
                let id = fields.u32("a number")?;
                let offset = fields.offset();
                let of = fields.u8("what it is a snapshot of")?;
                if !(1..=3).contains(&of) {
                    return Err(FrameError { offset, expected: "1 (durable), 2 (memory) or 3 (both)" });
                }
                Frame::Snapshot { id, durable: of & 1 != 0, memory: of & 2 != 0, first: fields.u64("a revision")? }
            }
            Kind::Taken => Frame::Taken { id: fields.u32("a number")?, bytes: fields.u32("bytes")? },
            Kind::Status => Frame::Status {
                id: fields.u32("a number")?,
                incarnation: Incarnation { epoch: fields.u64("an epoch")?, counter: fields.u64("a counter")? },
                journal: {
                    let offset = fields.offset();
                    match fields.u8("what it was")? {
                        0 => false,
                        1 => true,
                        _ => return Err(FrameError { offset, expected: "0 (values) or 1 (a journal)" }),
                    }
                },
                cseq: fields.u64("a cseq")?,
            },
            Kind::Settled => Frame::Settled { id: fields.u32("a number")?, fate: Fate::read(&mut fields)? },
            Kind::Serve => Frame::Serve {
                id: fields.u32("a number")?,
                idempotent: {
                    let offset = fields.offset();
                    match fields.u8("whether it is idempotent")? {
                        0 => false,
                        1 => true,
                        _ => return Err(FrameError { offset, expected: "0 or 1" }),
                    }
                },
                service: fields.short_bytes("a name")?,
            },
            Kind::Cancel => Frame::Cancel { id: fields.u64("a number")? },
            Kind::Recall => Frame::Recall {
                id: fields.u64("a number")?,
                incarnation: Incarnation { epoch: fields.u64("an epoch")?, counter: fields.u64("a counter")? },
                number: fields.u64("a number")?,
                caller: fields.short_bytes("a name")?,
            },
        };
        fields.end()?;
        Ok(frame)
    }

    /// Reads a frame of a kind that may be cut into fragments, from its whole body.
    #[inline]
    fn read_long(head: Head, body: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let mut fields = Reader::new(body, HEAD_BYTES);
        let (encoding, flags) = (head.encoding, head.flags);
        match Kind::from_number(head.kind) {
            Some(Kind::Write) if encoding != 0 || flags != 0 => {
                Err(FrameError { offset: 5, expected: "no encoding and no flags in a Write" })
            }
            Some(Kind::Write) => Ok(Frame::Write(Write::read(&mut fields)?)),
            Some(Kind::Append) if encoding != 0 || flags != 0 => {
                Err(FrameError { offset: 5, expected: "no encoding and no flags in an Append" })
            }
            Some(Kind::Append) => Ok(Frame::Append(Append::read(&mut fields)?)),
            Some(Kind::Entry) => Ok(Frame::Entry(Told::read(encoding, flags, fields)?)),
            Some(Kind::Value) => Ok(Frame::Value(Value::read(encoding, flags, fields)?)),
            Some(Kind::Call) => Ok(Frame::Call(Call::read(encoding, flags, fields)?)),
            Some(Kind::Handle) => Ok(Frame::Handle(Handle::read(encoding, flags, fields)?)),
            Some(Kind::Reply) => Ok(Frame::Reply(Reply::read(encoding, flags, fields)?)),
            _ => Err(FrameError { offset: 4, expected: "a kind of frame that may be long" }),
        }
    }

    /// Appends the frame to `out`. Events are written by those who have their payload at hand; see `write_event`.
    ///
    /// # Panics
    ///
    /// On [`Frame::Event`], [`Frame::Part`] and [`Frame::Ignored`], which nobody writes this way.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Frame::Hello(hello) => write(out, Kind::Hello, |out| hello.write(out)),
            Frame::Welcome(welcome) => write(out, Kind::Welcome, |out| welcome.write(out)),
            Frame::Challenge { nonce, proof } => write(out, Kind::Challenge, |out| {
                out.extend_from_slice(nonce);
                out.extend_from_slice(proof);
            }),
            Frame::Proof { token, resume } => write(out, Kind::Proof, |out| {
                out.extend_from_slice(token);
                out.extend_from_slice(resume);
            }),
            Frame::Close { code, text } => write(out, Kind::Close, |out| {
                out.extend_from_slice(&(*code as u16).to_le_bytes());
                put_short(out, text.as_bytes());
            }),
            Frame::Beat { received } => write(out, Kind::Beat, |out| out.extend_from_slice(&received.to_le_bytes())),
            Frame::Subscribe { id, pattern, group } => write(out, Kind::Subscribe, |out| {
                put_named(out, *id, pattern);
                put_short(out, group);
            }),
            Frame::Unsubscribe { id } => write(out, Kind::Unsubscribe, |out| put_u32(out, *id)),
            Frame::Confirm { id } => write(out, Kind::Confirm, |out| put_u32(out, *id)),
            Frame::Barrier { id } => write(out, Kind::Barrier, |out| put_u32(out, *id)),
            Frame::Done { id, value } => write(out, Kind::Done, |out| {
                put_u32(out, *id);
                out.extend_from_slice(&value.to_le_bytes());
            }),
            Frame::Refused { about, code, text } => write(out, Kind::Refused, |out| {
                let (what, number) = match about {
                    About::Request(id) => (0, u64::from(*id)),
                    About::Event(seq) => (1, *seq),
                    About::Write(cseq) => (2, *cseq),
                };
                out.push(what);
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&(*code as u16).to_le_bytes());
                put_short(out, text.as_bytes());
            }),
            Frame::Topic { number, name } => write(out, Kind::Topic, |out| put_named(out, *number, name)),
            Frame::Publisher { number, name } => write(out, Kind::Publisher, |out| put_named(out, *number, name)),
            Frame::Forget { number } => write(out, Kind::Forget, |out| put_u32(out, *number)),
            Frame::Lagged(lagged) => write(out, Kind::Lagged, |out| lagged.write(out)),
            Frame::Ping { id, node } => write(out, Kind::Ping, |out| put_named(out, *id, node)),
            Frame::Pong { id } => write(out, Kind::Pong, |out| put_u32(out, *id)),
            Frame::Info(info) => write(out, Kind::Info, |out| info.write(out)),
            Frame::Grant(grant) => grant.write(out),
            Frame::Write(write) => write.write(out),
            Frame::Written { cseq, rev, count } => write(out, Kind::Written, |out| {
                out.extend_from_slice(&cseq.to_le_bytes());
                put_rev(out, *rev);
                put_u32(out, *count);
            }),
            Frame::Watch { id, mode, window, after, after_memory, pattern } => write(out, Kind::Watch, |out| {
                put_u32(out, *id);
                out.push(*mode as u8);
                put_u32(out, *window);
                out.extend_from_slice(&after.to_le_bytes());
                put_rev(out, *after_memory);
                put_short(out, pattern);
            }),
            Frame::Value(value) => value.write(out),
            Frame::Snapshot { id, durable, memory, first } => write(out, Kind::Snapshot, |out| {
                put_u32(out, *id);
                out.push(u8::from(*durable) | u8::from(*memory) << 1);
                out.extend_from_slice(&first.to_le_bytes());
            }),
            Frame::Taken { id, bytes } => write(out, Kind::Taken, |out| {
                put_u32(out, *id);
                put_u32(out, *bytes);
            }),
            Frame::Status { id, incarnation, journal, cseq } => write(out, Kind::Status, |out| {
                put_u32(out, *id);
                out.extend_from_slice(&incarnation.epoch.to_le_bytes());
                out.extend_from_slice(&incarnation.counter.to_le_bytes());
                out.push(u8::from(*journal));
                out.extend_from_slice(&cseq.to_le_bytes());
            }),
            Frame::Settled { id, fate } => write(out, Kind::Settled, |out| {
                put_u32(out, *id);
                fate.write(out);
            }),
            Frame::Serve { id, idempotent, service } => write(out, Kind::Serve, |out| {
                put_u32(out, *id);
                out.push(u8::from(*idempotent));
                put_short(out, service);
            }),
            Frame::Call(call) => call.write(out),
            Frame::Handle(handle) => handle.write(out),
            Frame::Reply(reply) => reply.write(out),
            Frame::Cancel { id } => write(out, Kind::Cancel, |out| out.extend_from_slice(&id.to_le_bytes())),
            Frame::Recall { id, incarnation, number, caller } => write(out, Kind::Recall, |out| {
                for field in [*id, incarnation.epoch, incarnation.counter, *number] {
                    out.extend_from_slice(&field.to_le_bytes());
                }
                put_short(out, caller);
            }),
            Frame::Append(append) => append.write(out),
            Frame::Follow(follow) => follow.write(out),
            Frame::Base(base) => base.write(out),
            Frame::Compacted { id, first, hash } => Frame::write_compacted(out, *id, *first, hash),
            Frame::Await(frame) => frame.write(out),
            Frame::Acknowledged(frame) => frame.write(out),
            Frame::Entry(entry) => entry.write(out),
            Frame::Applied { id, seq, stuck } => Frame::write_applied(out, *id, *seq, stuck),
            Frame::Event(..) | Frame::Part(..) | Frame::Ignored(_) => unreachable!("not written this way"),
        }
    }
}

/// Writes a head, lets `fields` write the rest, and sets the length.
fn write(out: &mut Vec<u8>, kind: Kind, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind as u8, 0, 0, 0]);
    fields(out);
    let len = out.len() - start;
    debug_assert!(len <= FRAME_BYTES_MAX, "every field of a control frame is bounded");
    out[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
}

#[cfg(test)]
mod tests;
