//! What a hub has counted since it started: what it has refused, which links it has not let in and why others have ended,
//! what came that was wrong, and what was dropped; and what it holds. Plain numbers, which nothing is decided by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::HubState;
use super::links::Phase;
use crate::refusal::{Code, Refusal};
use crate::report::CountersReport;

/// One for each code, and one for those that this version does not know.
const CODES: usize = Code::ALL.len() + 1;

macro_rules! kinds {
    ($(#[$of:meta])* $kind:ident { $($(#[$doc:meta])* $name:ident = $word:literal,)* }) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $kind {
            $($(#[$doc])* $name,)*
        }

        impl $kind {
            /// All of them, in their order.
            pub const ALL: &'static [$kind] = &[$($kind::$name),*];

            /// Its word in reports and metrics; never changed.
            pub const fn word(self) -> &'static str {
                match self {
                    $($kind::$name => $word,)*
                }
            }
        }
    };
}

kinds! {
    /// What was wrong with what came on a link. All but [`Request`](ProtocolError::Request) have closed it.
    ProtocolError {
        /// It did not begin as a link does.
        Preface = "preface",
        /// It speaks no version that the hub speaks.
        Version = "version",
        /// What came before it had joined was no frame, or not the one that was its turn.
        Hello = "hello",
        /// A frame that is none, or has no business there, of a node that has joined.
        Frame = "frame",
        /// More than may come at once.
        TooLarge = "too_large",
        /// Its node or its author has a name that is none.
        Name = "name",
        /// A request that could be read and is wrong in itself: a name that is none, a number in use, items that make no
        /// sense together. It was refused, and the link goes on.
        Request = "request",
    }
}

kinds! {
    /// Why a connection has not become the link of a node.
    LinkRefusal {
        /// The hub has all the links that it may have.
        TooMany = "too_many",
        /// Its source has all that it may have.
        TooManyOfSource = "too_many_of_source",
        /// It took too long to join.
        Slow = "slow",
        /// It could not prove who it is.
        Unauthorized = "unauthorized",
        /// It may not join, or not under this name or author.
        Forbidden = "forbidden",
        /// Another node has its name.
        NameInUse = "name_in_use",
        /// It cannot come back as what it was.
        Fenced = "fenced",
        /// What it said was wrong; see [`ProtocolError`].
        BadInput = "bad_input",
        /// The hub was about to stop.
        Stopping = "stopping",
        /// The other side has ended the connection before.
        Gone = "gone",
        /// Anything else.
        Other = "other",
    }
}

kinds! {
    /// What was taken, and has then gone nowhere or is not known any more.
    Dropped {
        /// Events for links that read too slowly, as their policies say. Each is announced to its subscriber.
        Events = "events",
        /// The payloads of replies to callers that did not take those before, and the ends of calls of callers that are
        /// away. The caller is told that its call's end is not known.
        Replies = "replies",
        /// Answers to calls and pings that nobody waits for, any more or at all.
        Strays = "strays",
        /// Writes that came again when their node had their answers already.
        Repeats = "repeats",
        /// Frames of kinds that this version does not know, and that may be ignored.
        UnknownFrames = "unknown_frames",
        /// Incarnations of nodes that were away for too long, or were too many: who comes back begins anew.
        Incarnations = "incarnations",
        /// Nodes that were removed before their time, since too many were away.
        Members = "members",
        /// Events of other hubs that have come already on another way, or are this hub's own: with several ways that is usual.
        Echoes = "echoes",
    }
}

/// What a hub has counted since it started. Each only grows.
#[derive(Clone, Debug)]
pub struct Counters {
    refused: [u64; CODES],
    calls_refused: [u64; CODES],
    links_closed: [u64; CODES],
    links_refused: [u64; LinkRefusal::ALL.len()],
    protocol_errors: [u64; ProtocolError::ALL.len()],
    dropped: [u64; Dropped::ALL.len()],
    joined: u64,
    report_rows: u64,
}

/// The place of a code: its number, and the last for all that have none.
fn place(code: Code) -> usize {
    (code as usize).min(CODES - 1)
}

impl Counters {
    pub(super) fn new() -> Counters {
        Counters {
            refused: [0; CODES],
            calls_refused: [0; CODES],
            links_closed: [0; CODES],
            links_refused: [0; LinkRefusal::ALL.len()],
            protocol_errors: [0; ProtocolError::ALL.len()],
            dropped: [0; Dropped::ALL.len()],
            joined: 0,
            report_rows: 0,
        }
    }

    /// Requests, writes and events that were refused with this code. One that asks for what is not there, or expects
    /// what is not so, is among them.
    pub fn refused(&self, code: Code) -> u64 {
        self.refused[place(code)]
    }

    /// Calls that have ended without an answer of a program, by the code that their callers were told.
    pub fn calls_refused(&self, code: Code) -> u64 {
        self.calls_refused[place(code)]
    }

    /// Links of joined nodes that have ended, by the code of why.
    pub fn links_closed(&self, code: Code) -> u64 {
        self.links_closed[place(code)]
    }

    /// Connections that have not become the link of a node, by why not.
    pub fn links_refused(&self, why: LinkRefusal) -> u64 {
        self.links_refused[why as usize]
    }

    /// What came that was wrong, by what was wrong with it.
    pub fn protocol_errors(&self, kind: ProtocolError) -> u64 {
        self.protocol_errors[kind as usize]
    }

    /// What was dropped.
    pub fn dropped(&self, what: Dropped) -> u64 {
        self.dropped[what as usize]
    }

    /// Links that have joined.
    pub fn joined(&self) -> u64 {
        self.joined
    }

    /// What was looked at to tell about the hub itself, in rows that are looked at in vain.
    pub fn report_rows(&self) -> u64 {
        self.report_rows
    }

    pub(super) fn count_report_rows(&mut self, rows: i64) {
        self.report_rows += rows.unsigned_abs();
    }

    pub(super) fn count_refused(&mut self, code: Code) {
        self.refused[place(code)] += 1;
        if matches!(code, Code::BadFrame | Code::BadName | Code::BadRequest | Code::TooLarge) {
            self.protocol_errors[ProtocolError::Request as usize] += 1;
        }
    }

    pub(super) fn count_call_refused(&mut self, code: Code) {
        self.calls_refused[place(code)] += 1;
        if matches!(code, Code::BadName | Code::BadRequest | Code::TooLarge) {
            self.protocol_errors[ProtocolError::Request as usize] += 1;
        }
    }

    pub(super) fn count_link_refused(&mut self, why: LinkRefusal) {
        self.links_refused[why as usize] += 1;
    }

    pub(super) fn count_joined(&mut self) {
        self.joined += 1;
    }

    pub(super) fn count_closed(&mut self, code: Code) {
        self.links_closed[place(code)] += 1;
    }

    pub(super) fn count_dropped(&mut self, what: Dropped, count: u64) {
        self.dropped[what as usize] += count;
    }

    /// The hub closes a link that has come so far. What a joined one ends with is counted when it leaves.
    pub(super) fn count_close(&mut self, phase: &Phase, why: &Refusal) {
        let joined = matches!(phase, Phase::Joined(_));
        let error = match why.code {
            Code::BadFrame if joined => Some(ProtocolError::Frame),
            Code::BadFrame if matches!(phase, Phase::Preface) => Some(ProtocolError::Preface),
            Code::BadFrame => Some(ProtocolError::Hello),
            Code::VersionMismatch => Some(ProtocolError::Version),
            Code::TooLarge => Some(ProtocolError::TooLarge),
            Code::BadName => Some(ProtocolError::Name),
            _ => None,
        };
        if let Some(error) = error {
            self.protocol_errors[error as usize] += 1;
        }
        if !joined {
            self.count_link_refused(match why.code {
                _ if error.is_some() => LinkRefusal::BadInput,
                Code::TimedOut => LinkRefusal::Slow,
                Code::Unauthorized => LinkRefusal::Unauthorized,
                Code::Forbidden => LinkRefusal::Forbidden,
                Code::NodeInUse => LinkRefusal::NameInUse,
                Code::Fenced => LinkRefusal::Fenced,
                Code::Limit => LinkRefusal::TooMany,
                Code::HubStopping => LinkRefusal::Stopping,
                Code::LinkLost => LinkRefusal::Gone,
                _ => LinkRefusal::Other,
            });
        }
    }

    /// All of it, of a hub that has opened so many links.
    pub(super) fn report(&self, links_opened: u64) -> CountersReport {
        let codes = |counts: &[u64; CODES]| {
            let all = Code::ALL.iter().chain(&[Code::Unknown]);
            all.map(|code| (code.word().to_owned(), counts[place(*code)])).collect::<BTreeMap<_, _>>()
        };
        let refused = LinkRefusal::ALL.iter().map(|why| (why.word().to_owned(), self.links_refused(*why)));
        let errors = ProtocolError::ALL.iter().map(|kind| (kind.word().to_owned(), self.protocol_errors(*kind)));
        let dropped = Dropped::ALL.iter().map(|what| (what.word().to_owned(), self.dropped(*what)));
        CountersReport {
            links_opened,
            links_joined: self.joined,
            links_refused: refused.collect(),
            links_closed: codes(&self.links_closed),
            refused: codes(&self.refused),
            calls_refused: codes(&self.calls_refused),
            protocol_errors: errors.collect(),
            dropped: dropped.collect(),
            report_rows: self.report_rows,
        }
    }
}

impl HubState {
    /// What it has counted since it started. Costs a look at every link, since each counts the events that it loses.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.count_dropped(Dropped::Events, self.links.iter().map(|link| link.lanes.bulk.dropped()).sum());
        counters
    }
}

/// How much of everything a hub holds; for tests, and for those who watch it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Census {
    /// Links, joined or not.
    pub links: usize,
    /// Nodes that are joined.
    pub nodes: usize,
    /// Nodes that it has heard of lately, joined or not.
    pub members: usize,
    /// Patterns that somebody subscribes.
    pub patterns: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Topics with a number.
    pub topics: usize,
    /// Bytes in all bulk lanes.
    pub bulk_bytes: usize,
    /// Incarnations that are remembered, joined or away.
    pub incarnations: usize,
    /// Pings without an answer.
    pub pings: usize,
    /// Deadlines.
    pub timers: usize,
    /// Keys with a value, the hub's own included.
    pub values: usize,
    /// Names and payloads of all values, in bytes.
    pub values_bytes: usize,
    /// Watches, and gets that are not answered.
    pub watches: usize,
    /// What gets have found and their links have not taken, in bytes.
    pub gets_bytes: usize,
    /// Services that are offered, or that calls wait for.
    pub services: usize,
    /// Registrations, with those that are withdrawn and have open calls.
    pub registrations: usize,
    /// Calls that have not ended.
    pub calls: usize,
    /// Nodes that have called or offered something, with those that may come back to their open calls.
    pub parties: usize,
}

impl HubState {
    /// Counts what the hub holds. Costs no more than reading some lengths.
    pub fn census(&self) -> Census {
        let [services, registrations, calls, parties] = self.services.census();
        Census {
            links: self.links.len(),
            nodes: self.nodes.len(),
            members: self.members.len(),
            patterns: self.patterns.len(),
            subscriptions: self.subscriptions,
            topics: self.topics.len(),
            bulk_bytes: self.bulk_bytes,
            incarnations: self.sessions.len(),
            pings: self.pings.len(),
            timers: self.timers.len(),
            values: self.kept.values.len() + self.memory.values.len(),
            values_bytes: self.kept.values.bytes() + self.memory.values.bytes(),
            watches: self.watches.len() + self.followers.len(),
            gets_bytes: self.watches.gets_bytes,
            services,
            registrations,
            calls,
            parties,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_place_of_its_own() {
        for (number, code) in Code::ALL.iter().enumerate() {
            assert_eq!(place(*code), number, "{code:?}: the numbers of codes have no gaps");
        }
        assert_eq!(place(Code::Unknown), CODES - 1);
    }

    #[test]
    fn words_are_those_of_labels() {
        let words = ProtocolError::ALL.iter().map(|kind| kind.word());
        let words = words.chain(LinkRefusal::ALL.iter().map(|why| why.word()));
        for word in words.chain(Dropped::ALL.iter().map(|what| what.word())) {
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{word}");
        }
    }
}
