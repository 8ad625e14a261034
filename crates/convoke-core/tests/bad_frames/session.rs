//! Whole sessions with something wrong in them: a bit here or there, or everything.

use bytes::BytesMut;
use convoke_core::frame::{
    About, Call, Content, End, Expect, Frame, Hello, Item, Items, Kind, Preface, Reply, Select, Set, WatchMode,
};
use convoke_core::{
    Census, Code, Encoding, HubConfig, HubIdentity, HubState, LinkId, Name, Notice, Peer, Rev, Time, TokenKey, Transmit,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::bench::{Bench, Stage, encoded, named_event};

const SECRET: &[u8] = b"the secret of this test";

/// A hub with one stranger, who is to prove a token; the same at every start.
struct Door {
    hub: HubState,
    link: LinkId,
    foundation: convoke_core::foundation::Memory,
    heard: Vec<u8>,
    closed: bool,
}

impl Door {
    fn new() -> Door {
        let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 1 };
        let mut hub = HubState::new(HubConfig::default(), identity, [3; 32], Time::START);
        hub.add_token(Name::parse("admin").expect("a name"), TokenKey::derive(SECRET));
        let link = hub.open(Peer::Stranger, Time::START).expect("room for a link");
        let foundation = convoke_core::foundation::Memory::default();
        let mut door = Door { hub, link, foundation, heard: Vec::new(), closed: false };
        door.keep();
        door
    }

    fn keep(&mut self) {
        loop {
            let asks = self.hub.asks();
            if asks.is_empty() {
                return;
            }
            for ask in asks {
                self.foundation.ask(ask, |told| self.hub.told(told, Time::START));
            }
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.hub.receive(self.link, &mut BytesMut::from(bytes), Time::START);
        self.keep();
        loop {
            let mut transmit = Transmit::new();
            self.hub.transmit(self.link, &mut transmit);
            self.closed |= transmit.close;
            if transmit.is_empty() {
                return;
            }
            while let Some(piece) = transmit.pop() {
                self.heard.extend_from_slice(&piece);
            }
        }
    }

    /// The names of those who have joined.
    fn joined(&mut self) -> Vec<(String, String)> {
        let notices = self.hub.notices().into_iter();
        let joined = notices.filter_map(|notice| match notice {
            Notice::Joined { node, author, .. } => Some((node.to_string(), author.to_string())),
            _ => None,
        });
        joined.collect()
    }
}

fn mac(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    message.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// What `ann` says from the first byte to the last, and how much of it comes before she has joined.
fn session() -> (Vec<u8>, usize) {
    let hello = Hello { name: b"ann", author: b"eve", nonce: [1; 32], token: b"admin", ..Hello::default() };
    let hello = encoded(&Frame::Hello(hello));
    let preface = Preface::OURS.encode();
    let mut door = Door::new();
    let mut said = [&preface[..], &hello].concat();
    door.say(&said);
    let Ok(Some((Frame::Challenge { nonce, .. }, _))) = Frame::decode(&door.heard[Preface::BYTES..]) else {
        panic!("the hub asks for a proof")
    };
    let digest = Sha256::new().chain_update(preface).chain_update(preface).chain_update(&hello).chain_update(nonce);
    let transcript: [u8; 32] = digest.finalize().into();
    let key = mac(SECRET, &[b"convoke 1 token"]);
    let token = mac(&key, &[b"convoke 1 node", &transcript]);
    said.extend(encoded(&Frame::Proof { token, resume: [0; 32] }));
    let before = said.len();
    let (content, publisher) = (Content { encoding: Encoding::Raw, headers: false, bytes: b"x" }, 1);
    let set = Some(Set { encoding: Encoding::Json, payload: b"1", ttl_ms: 5, ephemeral: true });
    let items = Items::encode(&[
        Item { name: b"press/1", every: false, expect: Expect::Absent, set },
        Item { name: b"press/2", every: false, expect: Expect::Rev(Rev::durable(7)), set: None },
    ]);
    let body = [&1_u64.to_le_bytes()[..], &[0; 8], &items].concat();
    let (mode, after_memory) = (WatchMode::All, Rev::default());
    let call = Call {
        number: 1,
        left_ms: 1000,
        select: Select::Node(b"ann"),
        wait: true,
        again: false,
        service: b"add",
        content,
    };
    for frame in [
        encoded(&Frame::Subscribe { id: 1, pattern: b"press/#", group: b"" }),
        named_event(publisher, 1, b"press/1", b"12"),
        encoded(&Frame::Confirm { id: 2 }),
        encoded(&Frame::Barrier { id: 3 }),
        [&((8 + body.len()) as u32).to_le_bytes()[..], &[Kind::Write as u8, 0, 0, 0], &body].concat(),
        encoded(&Frame::Watch { id: 4, mode, window: 1 << 20, after: 0, after_memory, pattern: b"press/+" }),
        encoded(&Frame::Taken { id: 4, bytes: 10 }),
        encoded(&Frame::Serve { id: 5, idempotent: true, service: b"add" }),
        encoded(&Frame::Call(call)),
        encoded(&Frame::Reply(Reply { id: 1, end: End::Done(content) })),
        encoded(&Frame::Cancel { id: 9 }),
        encoded(&Frame::Ping { id: 6, node: b"ann" }),
        encoded(&Frame::Unsubscribe { id: 1 }),
        encoded(&Frame::Beat { received: 1 }),
        encoded(&Frame::Close { code: Code::Left, text: "" }),
    ] {
        said.extend(frame);
    }
    (said, before)
}

fn says_whole_frames(heard: &[u8], case: &dyn std::fmt::Debug) {
    let mut rest = heard.strip_prefix(&Preface::OURS.encode()).unwrap_or(heard);
    let mut over = false;
    while let Some((frame, len)) = Frame::decode(rest).expect("the hub says frames") {
        assert!(!over, "{case:?}: {frame:?} behind Close");
        over = matches!(frame, Frame::Close { .. });
        if let Frame::Refused { about: About::Request(_), text, .. } = frame {
            assert!(!text.contains(char::is_control), "{case:?}: {text:?}");
        }
        rest = &rest[len..];
    }
    assert!(rest.is_empty(), "{case:?}: half a frame");
}

/// N40: whoever joins is who she was before; what was wrong before she had joined keeps her out.
#[test]
fn a_bit_that_is_wrong_never_makes_somebody_else_of_her() {
    let (session, before) = session();
    let whole = Door::new().hub.census();
    let ann = || vec![("ann".to_owned(), "eve".to_owned())];
    let mut door = Door::new();
    door.say(&session);
    assert_eq!(door.joined(), ann(), "nothing is wrong");
    // What a node says to prove that it was another is not looked at, as it does not say so.
    let ignored = before - 32..before;
    for at in 0..session.len() {
        for bit in 0..8 {
            let mut spoiled = session.clone();
            spoiled[at] ^= 1 << bit;
            let mut door = Door::new();
            door.say(&spoiled);
            let joined = door.joined();
            let case = (at, bit);
            if at >= before || ignored.contains(&at) {
                assert_eq!(joined, ann(), "{case:?}");
            } else {
                assert_eq!(joined, [], "{case:?}");
            }
            says_whole_frames(&door.heard, &case);
            door.hub.closed(door.link, Time::START);
            door.keep();
            let Census { links, nodes, subscriptions, patterns, topics, bulk_bytes, .. } = door.hub.census();
            assert_eq!(
                [links, nodes, subscriptions, patterns, topics, bulk_bytes],
                [0; 6],
                "{case:?}, before {whole:?}"
            );
        }
    }
}

/// N40: the same session, cut off at every byte.
#[test]
fn a_session_that_ends_anywhere_leaves_nothing() {
    let (session, _) = session();
    for len in 0..session.len() {
        let mut door = Door::new();
        door.say(&session[..len]);
        says_whole_frames(&door.heard, &len);
        door.hub.closed(door.link, Time::START);
        door.keep();
        let Census { links, nodes, subscriptions, topics, bulk_bytes, pings, watches, .. } = door.hub.census();
        assert_eq!([links, nodes, subscriptions, topics, bulk_bytes, pings, watches], [0; 7], "{len} bytes");
    }
}

/// N39: ten thousand links of noise, from a byte to 64 KiB, on one hub. Whatever comes, the witness does not notice, and
/// nothing is left of any of them.
#[test]
fn noise_never_hurts_another_link() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bench = Bench::at(Stage::Connected);
    let empty = bench.hub.census();
    for round in 0..10_000_u32 {
        let stage = [Stage::Connected, Stage::Greeted, Stage::Challenged, Stage::Joined][round as usize % 4];
        bench.reach(stage);
        let len = random() as usize % (1 << (random() % 17));
        let mut bytes = vec![0; len];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&random().to_le_bytes()[..part.len()]);
        }
        if let Some(head) = bytes.get_mut(..8).filter(|_| stage != Stage::Connected) {
            // A length that fits, and often a kind that exists.
            head[..4].copy_from_slice(&(8 + (random() as u32 % 40)).to_le_bytes());
            head[4] = Kind::ALL[random() as usize % Kind::ALL.len()] as u8;
            head[5..8].fill(0);
        }
        bench.say(&bytes);
        if round % 16 < 4 {
            bench.expect_witness_unhurt(&round);
        }
        bench.replace();
    }
    bench.expect_witness_unhurt(&"at the end");
    let Census { links, nodes, subscriptions, bulk_bytes, pings, watches, calls, .. } = bench.hub.census();
    let Census { links: links_before, nodes: nodes_before, subscriptions: subscriptions_before, .. } = empty;
    assert_eq!([links, nodes, subscriptions], [links_before, nodes_before, subscriptions_before]);
    assert_eq!([bulk_bytes, pings, watches, calls], [0; 4]);
}
