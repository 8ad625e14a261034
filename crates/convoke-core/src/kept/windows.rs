//! What each incarnation was answered, as long as it may ask again.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::frame::{FrameError, Incarnation, Items, Reader};
use crate::name::Name;
use crate::proof::TokenKey;
use crate::refusal::{Code, Refusal};

/// What came of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done.
    Done {
        /// The position that is its revision; zero if nothing had to change.
        rev: u64,
        /// How many keys it has changed.
        count: u32,
    },
    /// It certainly changed nothing.
    Refused { code: Code, text: String },
}

/// What is held of an answer beside the text of a refusal, in bytes, for the bound.
const OVERHEAD_BYTES: usize = 64;

/// The longest text of a refusal without the name that it is about, in bytes.
const TEXT_BYTES: usize = 256;

/// What the answer to a write of this may take, in bytes.
pub(crate) fn answer_bytes(items: Items<'_>) -> usize {
    answer_bytes_for(items.iter().map(|item| item.name).max_by_key(|name| name.len()).unwrap_or_default())
}

/// What an answer that speaks of this name may take, in bytes.
pub(crate) fn answer_bytes_for(name: &[u8]) -> usize {
    OVERHEAD_BYTES + TEXT_BYTES + name.len()
}

impl Outcome {
    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Outcome::Done { .. } => OVERHEAD_BYTES,
            Outcome::Refused { text, .. } => OVERHEAD_BYTES + text.len(),
        }
    }
}

/// What one incarnation was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) node: Option<Name>,
    /// Who it was to the hub when it first wrote.
    pub(crate) principal: Option<Name>,
    pub(crate) secret: Option<TokenKey>,
    /// Nobody is this incarnation any more: what it has not done it never does.
    pub(crate) fenced: bool,
    /// It has every answer up to this one; what comes again of these is dropped.
    pub(crate) settled: u64,
    /// What it may ask for again.
    pub(crate) results: BTreeMap<u64, Outcome>,
    /// What these take, in bytes.
    pub(crate) bytes: usize,
}

/// What all incarnations were answered. That it is bounded is seen to before a write is ordered: what was ordered is
/// decided the same way by everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Windows {
    all: BTreeMap<Incarnation, Window>,
    bytes: usize,
}

impl Windows {
    pub(super) fn get(&self, incarnation: Incarnation) -> Option<&Window> {
        self.all.get(&incarnation)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Incarnation, &Window)> {
        self.all.iter().map(|(incarnation, window)| (*incarnation, window))
    }

    /// What all answers take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// That of an incarnation, made now if there was none. Answers are put and settled by the functions below.
    pub(super) fn open(&mut self, incarnation: Incarnation) -> &mut Window {
        self.all.entry(incarnation).or_default()
    }

    /// What was kept of an incarnation, but for its answers.
    pub(super) fn restore(&mut self, incarnation: Incarnation, window: Window) {
        let known = self.open(incarnation);
        let (results, bytes) = (std::mem::take(&mut known.results), known.bytes);
        *known = Window { results, bytes, ..window };
    }

    pub(super) fn remove(&mut self, incarnation: Incarnation) -> Option<Window> {
        let window = self.all.remove(&incarnation)?;
        self.bytes -= window.bytes;
        Some(window)
    }

    pub(super) fn answered(&mut self, incarnation: Incarnation, cseq: u64, outcome: Outcome) {
        let window = self.all.entry(incarnation).or_default();
        let more = outcome.bytes();
        let less = window.results.insert(cseq, outcome).map_or(0, |before| before.bytes());
        window.bytes = window.bytes + more - less;
        self.bytes = self.bytes + more - less;
    }

    /// The incarnation has every answer up to this one. Gives the numbers of those that are forgotten.
    pub(super) fn settle(&mut self, incarnation: Incarnation, settled: u64) -> Vec<u64> {
        let window = self.all.entry(incarnation).or_default();
        window.settled = settled;
        let left = window.results.split_off(&(settled + 1));
        let gone = std::mem::replace(&mut window.results, left);
        let bytes: usize = gone.values().map(Outcome::bytes).sum();
        window.bytes -= bytes;
        self.bytes -= bytes;
        gone.into_keys().collect()
    }
}

impl Window {
    pub(super) fn began(&mut self, node: &[u8], principal: &[u8]) {
        (self.node, self.principal) = (Name::from_bytes(node).ok(), Name::from_bytes(principal).ok());
    }

    /// Why what was not decided under this number never will be done.
    pub(crate) fn never(&self, cseq: u64) -> Option<Refusal> {
        if self.results.last_key_value().is_some_and(|(last, _)| *last > cseq) {
            let text = "a later write of the same node was done before it; write it again if it is still wanted";
            return Some(Refusal::new(Code::Backpressure, text));
        }
        self.fenced
            .then(|| Refusal::new(Code::Fenced, "the program that wanted it has ended before it came to the hub"))
    }

    pub(super) fn to_row(&self) -> Bytes {
        let mut row = self.settled.to_le_bytes().to_vec();
        row.push(u8::from(self.fenced) | u8::from(self.secret.is_some()) << 1);
        row.extend_from_slice(&self.secret.as_ref().map_or([0; 32], TokenKey::to_bytes));
        for name in [&self.principal, &self.node] {
            let name = name.as_ref().map_or("", Name::as_str).as_bytes();
            row.extend_from_slice(&(name.len() as u16).to_le_bytes());
            row.extend_from_slice(name);
        }
        row.into()
    }

    pub(super) fn from_row(key: &[u8], row: &[u8]) -> Result<(Incarnation, Window), FrameError> {
        let mut fields = Reader::new(row, 0);
        let settled = fields.u64("a cseq")?;
        let flags = fields.u8("flags")?;
        let secret = TokenKey::from_bytes(fields.array("a secret of 32 bytes")?);
        let secret = (flags & 2 != 0).then_some(secret);
        let principal = Name::from_bytes(fields.short_bytes("a name")?).ok();
        let node = Name::from_bytes(fields.short_bytes("a name")?).ok();
        fields.end()?;
        let fenced = flags & 1 != 0;
        let incarnation = incarnation_from_key(&mut Reader::new(key, 0))?;
        Ok((incarnation, Window { node, principal, secret, fenced, settled, ..Window::default() }))
    }
}

/// Orders as incarnations do.
pub(super) fn incarnation_key(incarnation: Incarnation) -> [u8; 16] {
    (u128::from(incarnation.epoch) << 64 | u128::from(incarnation.counter)).to_be_bytes()
}

fn incarnation_from_key(fields: &mut Reader<'_>) -> Result<Incarnation, FrameError> {
    let epoch = u64::from_be_bytes(fields.array("an epoch")?);
    Ok(Incarnation { epoch, counter: u64::from_be_bytes(fields.array("a counter")?) })
}

pub(super) fn result_key(incarnation: Incarnation, cseq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&incarnation_key(incarnation));
    key[16..].copy_from_slice(&cseq.to_be_bytes());
    key
}

pub(super) fn write_result(outcome: &Outcome, row: &mut Vec<u8>) {
    match outcome {
        Outcome::Done { rev, count } => {
            row.push(0);
            row.extend_from_slice(&rev.to_le_bytes());
            row.extend_from_slice(&count.to_le_bytes());
        }
        Outcome::Refused { code, text } => {
            row.push(1);
            row.extend_from_slice(&(*code as u16).to_le_bytes());
            row.extend_from_slice(text.as_bytes());
        }
    }
}

pub(super) fn result_from_row(key: &[u8], row: &[u8]) -> Result<(Incarnation, u64, Outcome), FrameError> {
    let mut key = Reader::new(key, 0);
    let incarnation = incarnation_from_key(&mut key)?;
    let cseq = u64::from_be_bytes(key.array("a cseq")?);
    let mut fields = Reader::new(row, 0);
    let outcome = match fields.u8("an outcome")? {
        0 => Outcome::Done { rev: fields.u64("a revision")?, count: fields.u32("a count")? },
        1 => Outcome::Refused {
            code: Code::from_number(fields.u16("a code")?),
            text: String::from_utf8_lossy(fields.rest()).into_owned(),
        },
        _ => return Err(FrameError { offset: 0, expected: "an outcome that this version knows" }),
    };
    fields.end()?;
    Ok((incarnation, cseq, outcome))
}
