//! A hub with two links: one that misbehaves, and a witness that must not notice.

use std::fmt::Debug;
use std::time::Duration;

use bytes::BytesMut;
use convoke_core::foundation::Memory;
use convoke_core::frame::{About, EVENT_HEAD_BYTES, EventHead, Frame, Hello, Incarnation, NAMED, Preface};
use convoke_core::{Code, Encoding, HubConfig, HubIdentity, HubState, LinkId, Peer, ProtocolError, Time, Transmit};

/// A hub with a witness that is joined, and the link that misbehaves.
pub(crate) struct Bench {
    pub(crate) hub: HubState,
    pub(crate) witness: Wire,
    pub(crate) bad: Wire,
    pub(crate) now: Time,
    foundation: Memory,
    /// Of what the hub had counted as wrong when it was looked at last: what ended links, and what was refused.
    counted: [u64; 2],
}

/// One link of it, from outside.
pub(crate) struct Wire {
    pub(crate) link: LinkId,
    pub(crate) input: BytesMut,
    pub(crate) heard: Vec<u8>,
    /// The hub wants the connection closed.
    pub(crate) closed: bool,
    pub(crate) publisher: u32,
    pub(crate) seq: u64,
}

/// How far the link that misbehaves has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing was said.
    Connected,
    /// The prefaces were.
    Greeted,
    /// The hub has answered Hello.
    Challenged,
    Joined,
}

/// How the bytes come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Portion {
    Whole,
    Bytewise,
}

pub(crate) const PORTIONS: [Portion; 2] = [Portion::Whole, Portion::Bytewise];
pub(crate) const NOT_JOINED: [Stage; 2] = [Stage::Greeted, Stage::Challenged];
pub(crate) const GREETED: [Stage; 3] = [Stage::Greeted, Stage::Challenged, Stage::Joined];

pub(crate) fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

pub(crate) fn hello(name: &[u8], resume: Option<Incarnation>) -> Vec<u8> {
    encoded(&Frame::Hello(Hello { name, nonce: [1; 32], resume, ..Hello::default() }))
}

pub(crate) const PROOF: Frame<'static> = Frame::Proof { token: [0; 32], resume: [0; 32] };

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with(HubConfig::default())
    }

    pub(crate) fn with(config: HubConfig) -> Bench {
        let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 1 };
        let mut hub = HubState::new(config, identity, [3; 32], Time::START);
        let (witness, bad) = (Wire::new(&mut hub), Wire::new(&mut hub));
        let mut bench = Bench { hub, witness, bad, now: Time::START, foundation: Memory::default(), counted: [0; 2] };
        bench.keep();
        bench.join_witness();
        bench
    }

    pub(crate) fn at(stage: Stage) -> Bench {
        let mut bench = Bench::new();
        bench.reach(stage);
        bench
    }

    /// Brings the link that misbehaves, which has said nothing, as far as this.
    pub(crate) fn reach(&mut self, stage: Stage) {
        if stage != Stage::Connected {
            self.say(&Preface::OURS.encode());
            assert_eq!(self.bad.heard.split_off(0), Preface::OURS.encode());
        }
        if [Stage::Challenged, Stage::Joined].contains(&stage) {
            self.say(&hello(b"bad", None));
            assert!(matches!(self.answers()[..], [Answer::Other("Challenge")]));
        }
        if stage == Stage::Joined {
            self.say(&encoded(&PROOF));
            self.bad.publisher = welcome(&self.bad.heard.split_off(0));
        }
    }

    /// The link that misbehaves ends, and another takes its place that has said nothing.
    pub(crate) fn replace(&mut self) {
        self.hub.closed(self.bad.link, self.now);
        self.bad = Wire::new(&mut self.hub);
    }

    pub(crate) fn join_witness(&mut self) {
        let hello = hello(b"witness", None);
        let subscribe = encoded(&Frame::Subscribe { id: 1, pattern: b"#", group: b"" });
        let Bench { hub, witness, .. } = self;
        witness.say(hub, &[&Preface::OURS.encode()[..], &hello, &encoded(&PROOF)].concat(), Time::START);
        witness.heard.drain(..Preface::BYTES + 72);
        witness.publisher = welcome(&witness.heard.split_off(0));
        witness.say(hub, &subscribe, Time::START);
        assert_eq!(witness.heard.split_off(0), encoded(&Frame::Done { id: 1, value: 0 }));
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.bad.say(&mut self.hub, bytes, self.now);
        self.keep();
        self.bad.listen(&mut self.hub);
    }

    /// What the hub wants to be kept is.
    pub(crate) fn keep(&mut self) {
        loop {
            let asks = self.hub.asks();
            if asks.is_empty() {
                return;
            }
            for ask in asks {
                self.foundation.ask(ask, |told| self.hub.told(told, self.now));
            }
        }
    }

    pub(crate) fn say_in(&mut self, portion: Portion, bytes: &[u8]) {
        match portion {
            Portion::Whole => self.say(bytes),
            Portion::Bytewise => bytes.chunks(1).for_each(|byte| self.say(byte)),
        }
    }

    /// What the hub has said to the link since the last call.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        answers(&self.bad.heard.split_off(0))
    }

    /// Time passes; every deadline is kept.
    pub(crate) fn wait(&mut self, how_long: Duration) {
        let end = self.now + how_long;
        while let Some(due) = self.hub.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.hub.tick(self.now);
        }
        self.now = end;
        self.bad.listen(&mut self.hub);
    }

    /// How much more the hub has counted as wrong since the last call: what ended links, and what was refused.
    fn counted(&mut self) -> [u64; 2] {
        let counters = self.hub.counters();
        let refused = counters.protocol_errors(ProtocolError::Request);
        let all: u64 = ProtocolError::ALL.iter().map(|kind| counters.protocol_errors(*kind)).sum();
        let before = std::mem::replace(&mut self.counted, [all - refused, refused]);
        [self.counted[0] - before[0], self.counted[1] - before[1]]
    }

    /// The one answer is a Close, and the hub wants the link closed.
    pub(crate) fn expect_close(&mut self, code: Code, sentence: &str, case: &dyn Debug) {
        let answers = self.answers();
        let [Answer::Close(got, text)] = &answers[..] else { panic!("{case:?}: a Close, not {answers:?}") };
        assert_eq!(*got, code, "{case:?}: {text}");
        assert!(text.contains(sentence), "{case:?}: `{text}` says `{sentence}`");
        assert!(self.bad.closed, "{case:?}: the hub wants the link closed");
        let wrong = [Code::BadFrame, Code::BadName, Code::TooLarge, Code::VersionMismatch].contains(&code);
        assert_eq!(self.counted()[0], u64::from(wrong), "{case:?}: it is counted, once");
        self.expect_witness_unhurt(case);
        self.hub.closed(self.bad.link, self.now);
        let census = self.hub.census();
        assert_eq!((census.links, census.nodes, census.pings), (1, 1, 0), "{case:?}: nothing of the link is left");
    }

    /// The one answer is a Refused.
    pub(crate) fn expect_refused(&mut self, about: About, code: Code, sentence: &str, case: &dyn Debug) {
        let answers = self.answers();
        let [Answer::Refused(of, got, text)] = &answers[..] else { panic!("{case:?}: one Refused, not {answers:?}") };
        assert_eq!((*of, *got), (about, code), "{case:?}: {text}");
        assert!(text.contains(sentence), "{case:?}: `{text}` says `{sentence}`");
        let wrong = [Code::BadFrame, Code::BadName, Code::BadRequest, Code::TooLarge].contains(&code);
        assert!(!wrong || self.counted()[1] > 0, "{case:?}: it is counted");
    }

    /// The link still works.
    pub(crate) fn expect_alive(&mut self, case: &dyn Debug) {
        assert_eq!(self.answers(), [], "{case:?}");
        self.say(&encoded(&Frame::Ping { id: 0xaaaa, node: b"" }));
        assert_eq!(self.answers(), [Answer::Done(0xaaaa, 0)], "{case:?}");
        self.expect_witness_unhurt(case);
    }

    /// The witness publishes, and receives it, and nothing that it should not.
    pub(crate) fn expect_witness_unhurt(&mut self, case: &dyn Debug) {
        let Bench { hub, witness, now, .. } = self;
        witness.listen(hub);
        witness.heard.clear();
        let (event, _) = witness.event(b"witness/saw", b"it");
        witness.say(hub, &event, *now);
        let heard = witness.heard.split_off(0);
        let mut rest = &heard[..];
        let mut payloads = Vec::new();
        while let Some((frame, len)) = Frame::decode(rest).expect("a frame") {
            if let Frame::Event(_, body) = frame {
                payloads.push(body.content.to_vec());
            }
            rest = &rest[len..];
        }
        assert_eq!(payloads, [b"it".to_vec()], "{case:?}: the witness");
        assert!(!witness.closed, "{case:?}: the witness");
    }
}

impl Wire {
    pub(crate) fn new(hub: &mut HubState) -> Wire {
        let link = hub.open(Peer::Owner, Time::START).expect("room for a link");
        Wire { link, input: BytesMut::new(), heard: Vec::new(), closed: false, publisher: 0, seq: 0 }
    }

    pub(crate) fn say(&mut self, hub: &mut HubState, bytes: &[u8], now: Time) {
        self.input.extend_from_slice(bytes);
        hub.receive(self.link, &mut self.input, now);
        self.listen(hub);
    }

    pub(crate) fn listen(&mut self, hub: &mut HubState) {
        loop {
            let mut transmit = Transmit::new();
            hub.transmit(self.link, &mut transmit);
            self.closed |= transmit.close;
            if transmit.is_empty() {
                return;
            }
            while let Some(piece) = transmit.pop() {
                self.heard.extend_from_slice(&piece);
            }
        }
    }

    /// The next event of this link, by name, and its seq.
    pub(crate) fn event(&mut self, name: &[u8], payload: &[u8]) -> (Vec<u8>, u64) {
        self.seq += 1;
        (named_event(self.publisher, self.seq, name, payload), self.seq)
    }
}

pub(crate) fn named_event(publisher: u32, seq: u64, name: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = EVENT_HEAD_BYTES + 2 + name.len() + payload.len();
    let head = EventHead { len, encoding: Encoding::Raw, flags: NAMED, topic: 0, publisher, seq };
    [&head.encode()[..], &(name.len() as u16).to_le_bytes(), name, payload].concat()
}

pub(crate) fn numbered_event(publisher: u32, seq: u64, topic: u32, flags: u16, payload: &[u8]) -> Vec<u8> {
    let len = EVENT_HEAD_BYTES + payload.len();
    let head = EventHead { len, encoding: Encoding::Raw, flags, topic, publisher, seq };
    [&head.encode()[..], payload].concat()
}

/// What a test looks at in a frame of the hub.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Close(Code, String),
    Refused(About, Code, String),
    Done(u32, u64),
    Other(&'static str),
}

pub(crate) fn answers(mut heard: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    // To a link that has said nothing sensible yet, the hub says its preface first.
    heard = heard.strip_prefix(&Preface::OURS.encode()).unwrap_or(heard);
    while let Some((frame, len)) = Frame::decode(heard).expect("the hub says frames") {
        answers.push(match frame {
            Frame::Close { code, text } => Answer::Close(code, text.to_owned()),
            Frame::Refused { about, code, text } => Answer::Refused(about, code, text.to_owned()),
            Frame::Done { id, value } => Answer::Done(id, value),
            Frame::Challenge { .. } => Answer::Other("Challenge"),
            Frame::Welcome(_) => Answer::Other("Welcome"),
            Frame::Topic { .. } => Answer::Other("Topic"),
            Frame::Ping { .. } => Answer::Other("Ping"),
            Frame::Beat { .. } => Answer::Other("Beat"),
            Frame::Written { .. } => Answer::Other("Written"),
            Frame::Value(_) => Answer::Other("Value"),
            Frame::Reply(_) => Answer::Other("Reply"),
            other => panic!("{other:?}"),
        });
        heard = &heard[len..];
    }
    assert!(heard.is_empty(), "the hub says whole frames");
    answers
}

pub(crate) fn welcome(heard: &[u8]) -> u32 {
    match Frame::decode(heard) {
        Ok(Some((Frame::Welcome(welcome), len))) if len == heard.len() => welcome.publisher,
        other => panic!("a Welcome, not {other:?}"),
    }
}
