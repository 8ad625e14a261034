//! A node, and a hub that says whatever a test wants.

use std::time::Duration;

use bytes::BytesMut;
use convoke_core::frame::{Expect, Frame, Incarnation, Item, Preface, Set, Value, WatchMode, Welcome};
use convoke_core::node::{Change, NotWritten, Watched, Wrote};
use convoke_core::{
    Code, Encoding, Name, NodeConfig, NodeState, Pattern, Payload, Refusal, Rev, Standing, Time, Transmit,
};

/// A node and the other end of its link.
pub(crate) struct Bench {
    pub(crate) node: NodeState,
    pub(crate) now: Time,
    /// Counts the joins.
    joins: u64,
}

/// The revision that a write has made; or whether it certainly had no effect, and why.
pub(crate) type Ended = Result<u64, (bool, Code)>;

/// What the node says about values and journals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Write { cseq: u64, settled: u64, names: Vec<String> },
    Watch { id: u32, mode: WatchMode, window: u32, after: u64, after_memory: Rev, pattern: String },
    Follow { id: u32, window: u32, after: u64 },
    Taken { id: u32, bytes: u32 },
    Unsubscribe(u32),
    Close,
}

pub(crate) fn durable(n: u64) -> Rev {
    Rev::durable(n)
}

/// The welcome of a hub that the node meets for the first time.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        hub: [1; 16],
        history: [2; 16],
        epoch: 1,
        incarnation: Incarnation { epoch: 1, counter: 1 },
        publisher: 1,
        payload_bytes_max: 1 << 20,
        ..Welcome::default()
    }
}

/// The welcome of the same hub when the node comes back as what it was.
pub(crate) fn resumed() -> Welcome {
    Welcome { resumed: true, ..welcome() }
}

/// The welcome of the same hub, started again, which has not kept the incarnation.
pub(crate) fn forgotten() -> Welcome {
    Welcome { epoch: 2, incarnation: Incarnation { epoch: 2, counter: 1 }, ..welcome() }
}

impl Bench {
    /// A node that was never joined.
    pub(crate) fn new() -> Bench {
        let config = NodeConfig::new(Name::parse("ann").expect("a name"));
        Bench { node: NodeState::new(config, [4; 32], Time::START), now: Time::START, joins: 0 }
    }

    /// A node that has joined.
    pub(crate) fn joined() -> Bench {
        let mut bench = Bench::new();
        assert_eq!(bench.join(welcome()), []);
        bench
    }

    /// Makes a link, on which the hub says this; tells what the node says then.
    pub(crate) fn join(&mut self, welcome: Welcome) -> Vec<Said> {
        if self.joins > 0 {
            self.now = self.now + Duration::from_secs(10);
            self.node.tick(self.now);
        }
        self.joins += 1;
        assert!(self.node.wants_link());
        self.node.connected(true, self.now);
        let hello = self.bytes();
        let (frame, _) = Frame::decode(&hello[Preface::BYTES..]).expect("a frame").expect("all of it");
        assert!(matches!(frame, Frame::Hello(_)));
        self.node.receive(&mut BytesMut::from(&Preface::OURS.encode()[..]), self.now);
        self.hear(&Frame::Challenge { nonce: [5; 32], proof: [0; 32] });
        self.bytes();
        self.hear(&Frame::Welcome(welcome));
        assert!(self.node.is_joined());
        self.said()
    }

    pub(crate) fn cut(&mut self) {
        self.node.disconnected(Refusal::new(Code::LinkLost, "the link was cut"), self.now);
    }

    fn bytes(&mut self) -> Vec<u8> {
        let (mut transmit, mut bytes) = (Transmit::new(), Vec::new());
        while self.node.has_output() {
            self.node.transmit(&mut transmit);
            while let Some(piece) = transmit.pop() {
                bytes.extend_from_slice(&piece);
            }
        }
        bytes
    }

    /// Lets the node say what it wants.
    pub(crate) fn say(&mut self) {
        self.bytes();
    }

    /// What the node has said about values and journals since the last call.
    pub(crate) fn said(&mut self) -> Vec<Said> {
        let bytes = self.bytes();
        let mut rest = &bytes[..];
        let mut said = Vec::new();
        while let Some((frame, len)) = Frame::decode(rest).expect("a frame") {
            rest = &rest[len..];
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            said.push(match frame {
                Frame::Write(write) => Said::Write {
                    cseq: write.cseq,
                    settled: write.settled,
                    names: write.items.iter().map(|item| text(item.name)).collect(),
                },
                Frame::Watch { id, mode, window, after, after_memory, pattern } => {
                    Said::Watch { id, mode, window, after, after_memory, pattern: text(pattern) }
                }
                Frame::Follow(follow) => Said::Follow { id: follow.id, window: follow.window, after: follow.after },
                Frame::Taken { id, bytes } => Said::Taken { id, bytes },
                Frame::Unsubscribe { id } => Said::Unsubscribe(id),
                Frame::Close { .. } => Said::Close,
                Frame::Beat { .. } => continue,
                other => panic!("{other:?}"),
            });
        }
        assert!(rest.is_empty(), "whole frames");
        said
    }

    /// The hub says this.
    pub(crate) fn hear(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.node.receive(&mut BytesMut::from(&bytes[..]), self.now);
        assert!(self.node.has_link(), "{frame:?} is taken");
    }

    /// The hub says this, and the node ends the link: why.
    pub(crate) fn hear_badly(&mut self, frame: &Frame<'_>) -> (Code, String) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.node.receive(&mut BytesMut::from(&bytes[..]), self.now);
        assert!(!self.node.has_link(), "{frame:?} is taken");
        match self.node.standing() {
            Standing::Offline(Some(why)) => (why.code, why.text.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn set(&mut self, name: &str) -> u64 {
        let set = Set { encoding: Encoding::Text, payload: b"x", ttl_ms: 0, ephemeral: false };
        let item = Item { name: name.as_bytes(), every: false, expect: Expect::Anything, set: Some(set) };
        self.node.write(&[item]).expect("room")
    }

    pub(crate) fn written(&mut self, cseq: u64, rev: u64) {
        self.hear(&Frame::Written { cseq, rev: durable(rev), count: 1 });
    }

    /// Writes that have ended.
    pub(crate) fn ended(&mut self) -> Vec<(u64, Ended)> {
        let ended = self.node.written_writes();
        let result = |result: Result<Wrote, NotWritten>| match result {
            Ok(wrote) => Ok(wrote.rev.n),
            Err(not) => Err((not.certain, not.why.code)),
        };
        ended.into_iter().map(|(id, end)| (id, result(end))).collect()
    }

    /// Begins a watch of everything; the request must say this.
    pub(crate) fn watch(&mut self, mode: WatchMode, after: Option<Rev>) -> u32 {
        self.node.watch(Pattern::parse("#").expect("a pattern"), mode, after).expect("room")
    }

    /// The hub tells a watch a value that has nothing but a revision.
    pub(crate) fn value(&mut self, id: u32, rev: Rev, name: &str) {
        self.tell(id, rev, name, Some("x"), false);
    }

    pub(crate) fn tell(&mut self, id: u32, rev: Rev, name: &str, payload: Option<&str>, together: bool) {
        let payload = payload.map(|text| (Encoding::Text, text.as_bytes()));
        let name = name.as_bytes();
        self.hear(&Frame::Value(Value { id, rev, author: b"bob", name, payload, together }));
    }

    pub(crate) fn done(&mut self, id: u32, value: u64) {
        self.hear(&Frame::Done { id, value });
    }

    /// All that a watch gives now, each as a few words.
    pub(crate) fn taken(&mut self, id: u32) -> Vec<String> {
        std::iter::from_fn(|| self.node.take_change(id)).map(|watched| shown(&watched)).collect()
    }
}

fn shown(watched: &Watched) -> String {
    match watched {
        Watched::Change(Change { name, payload: Some(_), rev, .. }) => format!("{name}@{rev}"),
        Watched::Change(Change { name, payload: None, rev, .. }) => format!("{name}-@{rev}"),
        Watched::Compacted { first } => format!("compacted {first}"),
        Watched::Replaced => "replaced".into(),
        Watched::Ended(why) => format!("ended {}", why.code.word()),
    }
}

/// The write of one key, as it must be on the link.
pub(crate) fn write(cseq: u64, settled: u64, name: &str) -> Said {
    Said::Write { cseq, settled, names: vec![name.into()] }
}

/// Where a watch of everything begins.
pub(crate) fn ask(id: u32, mode: WatchMode, after: u64, after_memory: Rev) -> Said {
    let window = convoke_core::limits::WATCH_WINDOW_BYTES as u32;
    Said::Watch { id, mode, window, after, after_memory, pattern: "#".into() }
}

/// A payload of a queue, for those who look at it.
pub(crate) fn text(text: &str) -> Option<Payload> {
    Some(Payload::text(text))
}
