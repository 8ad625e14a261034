//! Hello and Welcome: fields with tags, so that either side may learn new ones. A field whose tag has its highest bit
//! set may be ignored by a receiver that does not know it; any other must be understood.

use super::{FrameError, Reader};
use crate::outgoing::SlowPolicy;

/// One run of one program as the hub knows it: kept over reconnections, new after a restart. Never given twice in one
/// history: `epoch` grows with each start of the hub, `counter` the programs that joined since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// The start of the hub that gave it.
    pub epoch: u64,
    /// Counts from 1 within the epoch.
    pub counter: u64,
}

/// What a node says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Its name, not yet validated.
    pub name: &'a [u8],
    /// Who is answerable for what it does, not yet validated; empty for its name.
    pub author: &'a [u8],
    /// Random bytes of the node.
    pub nonce: [u8; 32],
    /// The name of the token that it will prove, empty if it has none. The token itself is never sent.
    pub token: &'a [u8],
    /// The incarnation that it was, if it resumes.
    pub resume: Option<Incarnation>,
    /// Take the name over from a live node of the same principal.
    pub takeover: bool,
    /// It is a link of another hub: its events and commands say where they were first, and so do those that it gets.
    pub uplink: bool,
    /// What the hub shall do when this link reads too slowly.
    pub slow: SlowPolicy,
}

const OPTIONAL: u8 = 0x80;

const HELLO_NAME: u8 = 1;
const HELLO_AUTHOR: u8 = 2;
const HELLO_NONCE: u8 = 3;
const HELLO_TOKEN: u8 = 4;
const HELLO_RESUME: u8 = 5;
const HELLO_TAKEOVER: u8 = 6;
const HELLO_SLOW: u8 = 7;
const HELLO_UPLINK: u8 = 8;

impl<'a> Hello<'a> {
    pub(super) fn read(mut fields: Reader<'a>) -> Result<Hello<'a>, FrameError> {
        let mut hello = Hello::default();
        let mut seen = Seen::default();
        while !fields.is_empty() {
            let (tag, mut value) = seen.field(&mut fields)?;
            match tag {
                HELLO_NAME => hello.name = value.rest(),
                HELLO_AUTHOR => hello.author = value.rest(),
                HELLO_NONCE => hello.nonce = value.array("a nonce of 32 bytes")?,
                HELLO_TOKEN => hello.token = value.rest(),
                HELLO_RESUME => hello.resume = Some(read_incarnation(&mut value)?),
                HELLO_TAKEOVER => hello.takeover = true,
                HELLO_UPLINK => hello.uplink = true,
                HELLO_SLOW => {
                    let offset = value.offset();
                    hello.slow = SlowPolicy::from_number(value.u8("a slow policy")?)
                        .ok_or(FrameError { offset, expected: "a slow policy that exists" })?;
                }
                _ => ignore(tag, &mut value)?,
            }
            value.end()?;
        }
        seen.require(HELLO_NAME, "the field name", &fields)?;
        seen.require(HELLO_NONCE, "the field nonce", &fields)?;
        Ok(hello)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, HELLO_NAME, self.name);
        if !self.author.is_empty() {
            put(out, HELLO_AUTHOR, self.author);
        }
        put(out, HELLO_NONCE, &self.nonce);
        if !self.token.is_empty() {
            put(out, HELLO_TOKEN, self.token);
        }
        if let Some(incarnation) = self.resume {
            put(out, HELLO_RESUME, &write_incarnation(incarnation));
        }
        if self.takeover {
            put(out, HELLO_TAKEOVER, &[]);
        }
        if self.uplink {
            put(out, HELLO_UPLINK, &[]);
        }
        put(out, HELLO_SLOW, &[self.slow as u8]);
    }
}

/// What the hub answers when a node has joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    /// Made once for a hub.
    pub hub: [u8; 16],
    /// New after init, restore or an accepted loss.
    pub history: [u8; 16],
    /// Counts the starts of the hub.
    pub epoch: u64,
    /// What the node is to the hub.
    pub incarnation: Incarnation,
    /// Whether the node goes on as the incarnation that it asked for.
    pub resumed: bool,
    /// The node's number as a publisher, on this link.
    pub publisher: u32,
    /// The `seq` of the last event that the hub received from this incarnation.
    pub received: u64,
    /// How often an idle link says that it is alive, in milliseconds; zero for never.
    pub beat_ms: u32,
    /// The same for a link that offers or follows something.
    pub beat_attentive_ms: u32,
    /// The longest payload the hub takes, in bytes, headers included.
    pub payload_bytes_max: u32,
    /// How many subscriptions this link may have.
    pub subscriptions_max: u32,
    /// What may wait for this link before its slow policy decides, in bytes.
    pub bulk_bytes_max: u64,
    /// Nothing that the incarnation asked for has ever asked to be kept was kept; said only if it is not resumed.
    pub nothing_kept: bool,
}

const WELCOME_HUB: u8 = 1;
const WELCOME_HISTORY: u8 = 2;
const WELCOME_EPOCH: u8 = 3;
const WELCOME_INCARNATION: u8 = 4;
const WELCOME_RESUMED: u8 = 5;
const WELCOME_PUBLISHER: u8 = 6;
const WELCOME_RECEIVED: u8 = 7;
const WELCOME_BEAT: u8 = 8;
const WELCOME_BEAT_ATTENTIVE: u8 = 9;
const WELCOME_PAYLOAD: u8 = 10;
const WELCOME_SUBSCRIPTIONS: u8 = 11;
const WELCOME_BULK: u8 = 12;
const WELCOME_NOTHING_KEPT: u8 = 13;

impl Welcome {
    pub(super) fn read(mut fields: Reader<'_>) -> Result<Welcome, FrameError> {
        let mut welcome = Welcome::default();
        let mut seen = Seen::default();
        while !fields.is_empty() {
            let (tag, mut value) = seen.field(&mut fields)?;
            match tag {
                WELCOME_HUB => welcome.hub = value.array("an id of 16 bytes")?,
                WELCOME_HISTORY => welcome.history = value.array("an id of 16 bytes")?,
                WELCOME_EPOCH => welcome.epoch = value.u64("an epoch")?,
                WELCOME_INCARNATION => welcome.incarnation = read_incarnation(&mut value)?,
                WELCOME_RESUMED => welcome.resumed = true,
                WELCOME_PUBLISHER => welcome.publisher = value.u32("a publisher")?,
                WELCOME_RECEIVED => welcome.received = value.u64("a seq")?,
                WELCOME_BEAT => welcome.beat_ms = value.u32("milliseconds")?,
                WELCOME_BEAT_ATTENTIVE => welcome.beat_attentive_ms = value.u32("milliseconds")?,
                WELCOME_PAYLOAD => welcome.payload_bytes_max = value.u32("bytes")?,
                WELCOME_SUBSCRIPTIONS => welcome.subscriptions_max = value.u32("a count")?,
                WELCOME_BULK => welcome.bulk_bytes_max = value.u64("bytes")?,
                WELCOME_NOTHING_KEPT => welcome.nothing_kept = true,
                _ => ignore(tag, &mut value)?,
            }
            value.end()?;
        }
        for (tag, expected) in [
            (WELCOME_HUB, "the field hub"),
            (WELCOME_HISTORY, "the field history"),
            (WELCOME_EPOCH, "the field epoch"),
            (WELCOME_INCARNATION, "the field incarnation"),
            (WELCOME_PUBLISHER, "the field publisher"),
            (WELCOME_PAYLOAD, "the field payload"),
        ] {
            seen.require(tag, expected, &fields)?;
        }
        Ok(welcome)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put(out, WELCOME_HUB, &self.hub);
        put(out, WELCOME_HISTORY, &self.history);
        put(out, WELCOME_EPOCH, &self.epoch.to_le_bytes());
        put(out, WELCOME_INCARNATION, &write_incarnation(self.incarnation));
        if self.resumed {
            put(out, WELCOME_RESUMED, &[]);
        }
        put(out, WELCOME_PUBLISHER, &self.publisher.to_le_bytes());
        put(out, WELCOME_RECEIVED, &self.received.to_le_bytes());
        put(out, WELCOME_BEAT, &self.beat_ms.to_le_bytes());
        put(out, WELCOME_BEAT_ATTENTIVE, &self.beat_attentive_ms.to_le_bytes());
        put(out, WELCOME_PAYLOAD, &self.payload_bytes_max.to_le_bytes());
        put(out, WELCOME_SUBSCRIPTIONS, &self.subscriptions_max.to_le_bytes());
        put(out, WELCOME_BULK, &self.bulk_bytes_max.to_le_bytes());
        if self.nothing_kept {
            put(out, WELCOME_NOTHING_KEPT, &[]);
        }
    }
}

/// Which tags have come: none may come twice.
#[derive(Default)]
pub(super) struct Seen(u128);

impl Seen {
    pub(super) fn field<'a>(&mut self, fields: &mut Reader<'a>) -> Result<(u8, Reader<'a>), FrameError> {
        let offset = fields.offset();
        let tag = fields.u8("a tag")?;
        let bit = 1u128 << (tag & !OPTIONAL);
        if tag & OPTIONAL == 0 && self.0 & bit != 0 {
            return Err(FrameError { offset, expected: "each field only once" });
        }
        if tag & OPTIONAL == 0 {
            self.0 |= bit;
        }
        let value = fields.short_bytes("a field as long as it says")?;
        Ok((tag, Reader::new(value, fields.offset() - value.len())))
    }

    fn require(&self, tag: u8, expected: &'static str, fields: &Reader<'_>) -> Result<(), FrameError> {
        if self.0 & (1 << tag) != 0 { Ok(()) } else { Err(FrameError { offset: fields.offset(), expected }) }
    }
}

pub(super) fn ignore(tag: u8, value: &mut Reader<'_>) -> Result<(), FrameError> {
    if tag & OPTIONAL == 0 {
        return Err(FrameError { offset: value.offset(), expected: "a field that this version knows" });
    }
    value.rest();
    Ok(())
}

pub(super) fn put(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    super::put_short(out, value);
}

fn read_incarnation(value: &mut Reader<'_>) -> Result<Incarnation, FrameError> {
    Ok(Incarnation { epoch: value.u64("an epoch")?, counter: value.u64("a counter")? })
}

fn write_incarnation(incarnation: Incarnation) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&incarnation.epoch.to_le_bytes());
    bytes[8..].copy_from_slice(&incarnation.counter.to_le_bytes());
    bytes
}
