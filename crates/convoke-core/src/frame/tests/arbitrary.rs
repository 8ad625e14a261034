//! Arbitrary frames come out as they went in, and arbitrary bytes are a frame or an error in them, never a panic.

use proptest::prelude::*;

use super::encoded;
use crate::frame::*;
use crate::journal::{Deed, Origin, Provenance, Touches};
use crate::limits::FRAGMENT_BYTES_MAX;
use crate::outgoing::SlowPolicy;
use crate::payload::{Encoding, Headers as Pairs};
use crate::proof::TokenKey;

/// Everything that a frame can be made of, owned.
#[derive(Clone, Debug)]
struct Made {
    kind: Kind,
    number: u32,
    long: u64,
    bytes: Vec<u8>,
    text: String,
    array: [u8; 32],
    flag: bool,
    losses: Vec<(u32, u64, String)>,
}

fn made() -> impl Strategy<Value = Made> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 500..600),
        // The longest that is not cut.
        prop::collection::vec(any::<u8>(), 4096),
    ];
    let losses = prop::collection::vec((any::<u32>(), any::<u64>(), "[a-z/]{1,20}"), 0..6);
    let all: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Event).collect();
    (prop::sample::select(all), any::<u32>(), any::<u64>(), bytes, ".{0,40}", any::<[u8; 32]>(), any::<bool>(), losses)
        .prop_map(|(kind, number, long, bytes, text, array, flag, losses)| Made {
            kind,
            number,
            long,
            bytes,
            text,
            array,
            flag,
            losses,
        })
}

impl Made {
    fn incarnation(&self) -> Incarnation {
        Incarnation { epoch: self.long, counter: u64::from(self.number) }
    }

    fn encoding(&self) -> Encoding {
        Encoding::ALL[self.number as usize % Encoding::ALL.len()]
    }

    fn rev(&self) -> Rev {
        Rev { epoch: u64::from(self.number % 3), n: self.long }
    }

    fn lagged(&self) -> (Vec<u8>, Vec<u8>) {
        let numbered = self.losses.iter().flat_map(|(topic, count, _)| {
            let mut loss = topic.to_le_bytes().to_vec();
            loss.extend(count.to_le_bytes());
            loss
        });
        let named = self.losses.iter().flat_map(|(_, count, name)| {
            let mut loss = (name.len() as u16).to_le_bytes().to_vec();
            loss.extend_from_slice(name.as_bytes());
            loss.extend(count.to_le_bytes());
            loss
        });
        (numbered.collect(), named.collect())
    }

    /// One change, and one more for each loss: of every form.
    fn items(&self) -> Vec<u8> {
        let set = Set { encoding: self.encoding(), payload: &self.bytes, ttl_ms: self.long, ephemeral: self.flag };
        let mut items =
            vec![Item { name: &self.bytes, every: self.flag, expect: Expect::Rev(self.rev()), set: Some(set) }];
        for (number, ttl_ms, name) in &self.losses {
            let expect = match number % 4 {
                0 => Expect::Anything,
                1 => Expect::Absent,
                2 => Expect::Present,
                _ => Expect::Rev(Rev { epoch: *ttl_ms, n: u64::from(*number) }),
            };
            let (name, every) = (name.as_bytes(), number % 5 == 0);
            let ttl_ms = if number % 7 > 3 { *ttl_ms } else { 0 };
            let set = (number % 3 > 0).then_some(Set { payload: self.text.as_bytes(), ttl_ms, ..set });
            items.push(Item { name, every, expect, set });
        }
        Items::encode(&items)
    }

    /// A headers block, if there is to be one, and a payload.
    fn content(&self) -> Vec<u8> {
        let pairs = Pairs::from_iter(self.losses.iter().map(|(number, _, name)| (name.clone(), number.to_string())));
        let mut content = if self.flag { write_headers(&pairs).unwrap() } else { Vec::new() };
        content.extend_from_slice(&self.bytes);
        content
    }

    fn select(&self) -> Select<'_> {
        let selects = [
            Select::Default,
            Select::First,
            Select::RoundRobin,
            Select::Random,
            Select::LeastBusy,
            Select::Node(&self.bytes),
            Select::Host(self.text.as_bytes()),
            Select::Master,
            Select::CpuUsage,
            Select::FreeRam,
        ];
        selects[self.long as usize % selects.len()]
    }

    /// Makes the frame, and hands it to `take`.
    fn with<R>(&self, take: impl FnOnce(&Frame<'_>) -> R) -> R {
        let Made { number, long, array, flag, text, .. } = self;
        let (id, value, number, flag) = (*number, *long, *number, *flag);
        let code = Code::ALL[id as usize % Code::ALL.len()];
        let incarnation = self.incarnation();
        let ((numbered, named), items, content) = (self.lagged(), self.items(), self.content());
        let commands =
            Commands::encode([(self.encoding(), &self.bytes[..]), (Encoding::Raw, text.as_bytes())].into_iter());
        let touched = Terms::hashes(&Touches::keys(self.bytes.chunks(3)));
        let strategy = crate::journal::Strategy::ALL.get(id as usize % 5).copied();
        let content = Content { encoding: self.encoding(), headers: flag, bytes: &content };
        let names = Nodes::encode([&self.bytes[..], text.as_bytes()].into_iter());
        let attendance = [Attendance::Gone, Attendance::Away, Attendance::Here, Attendance::Stuck][id as usize % 4];
        let listed =
            Listed::encode([(&self.bytes[..], attendance, *long), (text.as_bytes(), attendance, !*long)].into_iter());
        take(&match self.kind {
            Kind::Event => unreachable!("not made here"),
            Kind::Append => {
                let back = Back {
                    everyone: flag,
                    target: flag.then_some(*long / 2),
                    expect_top: (!flag).then_some(*long / 3),
                };
                let (hub, seq) = (array[..16].try_into().unwrap(), *long / 2);
                let (origin, target) = (Origin { hub, seq }, Origin { hub, seq: !seq });
                let (commands, author) = (Commands::encoded(&commands), &self.bytes[..]);
                let terms = Terms::new(strategy, flag, touched.as_deref());
                let brought = match id % 7 {
                    0..=2 => Brought::Commands { origin, author, terms, commands },
                    3..=5 => Brought::Back { origin, author, undoes: flag, target },
                    _ => Brought::Nothing,
                };
                let carried = Carried {
                    carrier: hub,
                    place: seq + 1,
                    hash: array[16..].try_into().unwrap(),
                    after: seq,
                    brought,
                };
                let (place, total) = (*long, u64::from(id) % (64 << 20) + 1);
                let piece = Piece { seq: place, known: !place, hash: hub, total, offset: seq, bytes: &self.bytes };
                let appended = match id % 6 {
                    0 => Appended::Commands { commands, expect_last: flag.then_some(*long / 2), terms },
                    1 => Appended::Undo(back),
                    2 => Appended::Redo(back),
                    3 => Appended::Snapshot(piece),
                    4 => Appended::Compact(Compact { up_to: place, keep: !place, hash: hub }),
                    _ => Appended::Carried(carried),
                };
                Frame::Append(Append { cseq: (*long).max(1), settled: *long / 2, journal: &self.bytes, appended })
            }
            Kind::Follow => {
                let hash = array[..16].try_into().unwrap();
                let follow_as = [FollowAs::Observer, FollowAs::Member, FollowAs::Announced][id as usize % 3];
                let (window, after, snapshot) = (!id, *long, !*long);
                Frame::Follow(Follow { id, follow_as, window, after, hash, strategy, snapshot, journal: &self.bytes })
            }
            Kind::Entry => {
                let hash = array[..16].try_into().unwrap();
                let deeds = [Deed::Do { first: *long }, Deed::Undo(*long), Deed::Redo(*long), Deed::Join, Deed::Leave];
                let deed = deeds[id as usize % 5];
                let payload = (self.encoding(), text.as_bytes());
                let origin = flag.then_some(Origin { hub: hash, seq: *long });
                let goes_back = matches!(deed, Deed::Undo(_) | Deed::Redo(_));
                let target = goes_back.then_some(Origin { hub: hash, seq: !long }).filter(|_| id % 2 == 0);
                let provenance = Provenance { origin, target, more: flag && matches!(deed, Deed::Do { .. }) };
                let author = &self.bytes[..];
                Frame::Entry(Told { id, seq: *long, wall_ms: !long, hash, deed, author, provenance, payload })
            }
            Kind::Applied => Frame::Applied { id, seq: *long, stuck: text },
            Kind::Base => {
                let hash = array[..16].try_into().unwrap();
                Frame::Base(Base { id, seq: *long, hash, total: !*long, offset: *long / 2, bytes: &self.bytes })
            }
            Kind::Compacted => Frame::Compacted { id, first: *long, hash: array[..16].try_into().unwrap() },
            Kind::Await => {
                let names = Whom::Nodes(Nodes::encoded(&names));
                let whom = [Whom::All, Whom::Quorum, Whom::Count(!id), names][id as usize % 4];
                Frame::Await(Await { id, seq: *long, remaining_ms: !id, journal: &self.bytes, whom })
            }
            Kind::Acknowledged => {
                let (reached, returning, last, members, applied) = (flag, !flag, *long / 2, !id, id / 2);
                let listed = Listed::encoded(&listed);
                Frame::Acknowledged(Acknowledged { id, reached, returning, last, members, applied, listed })
            }
            Kind::Hello => Frame::Hello(Hello {
                name: &self.bytes,
                author: text.as_bytes(),
                nonce: *array,
                token: if flag { &self.bytes } else { &[] },
                resume: flag.then_some(incarnation),
                takeover: flag,
                uplink: !flag,
                slow: SlowPolicy::ALL[id as usize % 4],
            }),
            Kind::Welcome => Frame::Welcome(Welcome {
                hub: array[..16].try_into().unwrap(),
                history: array[16..].try_into().unwrap(),
                epoch: *long,
                incarnation,
                resumed: flag,
                publisher: id,
                received: *long,
                beat_ms: id,
                beat_attentive_ms: !id,
                payload_bytes_max: id,
                subscriptions_max: id,
                bulk_bytes_max: *long,
                nothing_kept: !flag,
            }),
            Kind::Challenge => Frame::Challenge { nonce: *array, proof: *array },
            Kind::Proof => Frame::Proof { token: *array, resume: [3; 32] },
            Kind::Close => Frame::Close { code, text },
            Kind::Beat => Frame::Beat { received: *long },
            Kind::Subscribe => Frame::Subscribe { id, pattern: &self.bytes, group: text.as_bytes() },
            Kind::Unsubscribe => Frame::Unsubscribe { id },
            Kind::Confirm => Frame::Confirm { id },
            Kind::Barrier => Frame::Barrier { id },
            Kind::Done => Frame::Done { id, value },
            Kind::Refused => {
                let about = [About::Event(*long), About::Request(id), About::Write(*long)][id as usize % 3];
                Frame::Refused { about, code, text }
            }
            Kind::Topic => Frame::Topic { number, name: &self.bytes },
            Kind::Publisher => Frame::Publisher { number, name: &self.bytes },
            Kind::Forget => Frame::Forget { number },
            Kind::Lagged => Frame::Lagged(Lagged { numbered: &numbered, groups: &numbered, named: &named }),
            Kind::Ping => Frame::Ping { id, node: &self.bytes },
            Kind::Pong => Frame::Pong { id },
            Kind::Grant => {
                let (key, rules) = (TokenKey::from_bytes(*array), vec![text.as_str(), "get a"]);
                let change = match id % 5 {
                    0 => Change::Create { key: None, rules },
                    1 => Change::Create { key: Some(key), rules },
                    2 => Change::Rules(rules),
                    3 => Change::Key(key),
                    _ => Change::Revoke,
                };
                Frame::Grant(Grant { id, name: &self.bytes, change })
            }
            Kind::Info => Frame::Info(Info {
                host: text,
                pid: id,
                program: if flag { text } else { "" },
                cpu_permille: id,
                own_cpu_permille: !id,
                memory: *long,
                free_memory: !*long,
                master: [MasterWish::May, MasterWish::Must, MasterWish::Never][id as usize % 3],
            }),
            Kind::Write => {
                let cseq = (*long).max(1);
                Frame::Write(Write { cseq, settled: !*long % cseq, items: Items::encoded(&items) })
            }
            Kind::Written => Frame::Written { cseq: *long, rev: self.rev(), count: id },
            Kind::Watch => Frame::Watch {
                id,
                mode: WatchMode::ALL[id as usize % 3],
                window: !id,
                after: *long,
                after_memory: self.rev(),
                pattern: &self.bytes,
            },
            Kind::Value => Frame::Value(Value {
                id,
                rev: self.rev(),
                author: text.as_bytes(),
                name: &self.bytes,
                payload: (id % 2 == 0).then_some((self.encoding(), &self.bytes[..])),
                together: flag,
            }),
            Kind::Snapshot => Frame::Snapshot { id, durable: flag, memory: !flag || id % 2 == 0, first: *long },
            Kind::Taken => Frame::Taken { id, bytes: !id },
            Kind::Status => Frame::Status { id, incarnation, journal: flag, cseq: *long },
            Kind::Settled => {
                let fates =
                    [Fate::Done { rev: self.rev(), count: id }, Fate::NotDone { code, text }, Fate::Unknown { text }];
                Frame::Settled { id, fate: fates[id as usize % fates.len()] }
            }
            Kind::Serve => Frame::Serve { id, idempotent: flag, service: &self.bytes },
            Kind::Call => Frame::Call(Call {
                number: *long,
                left_ms: id,
                select: self.select(),
                wait: flag,
                again: id % 2 == 0,
                service: &self.bytes,
                content,
            }),
            Kind::Handle => Frame::Handle(Handle {
                id: *long,
                registration: id,
                left_ms: !id,
                incarnation,
                number: !*long,
                caller: &self.bytes,
                author: text.as_bytes(),
                content,
            }),
            Kind::Reply => {
                let ends = [
                    End::Done(content),
                    End::Failed { kind: text, message: text, content },
                    End::Refused { code, text },
                    End::Uncertain { code, text },
                    End::Running,
                ];
                Frame::Reply(Reply { id: *long, end: ends[id as usize % ends.len()] })
            }
            Kind::Cancel => Frame::Cancel { id: *long },
            Kind::Recall => Frame::Recall { id: *long, incarnation, number: !*long, caller: text.as_bytes() },
        })
    }

    fn encode(&self) -> Vec<u8> {
        self.with(encoded)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_encoded_is_decoded_to_the_same(all in prop::collection::vec(made(), 1..6)) {
        let stream: Vec<u8> = all.iter().flat_map(Made::encode).collect();
        let mut rest = &stream[..];
        for made in &all {
            let (frame, len) = Frame::decode(rest).unwrap().unwrap();
            assert_eq!(rest[4], made.kind as u8);
            assert_eq!(encoded(&frame), &rest[..len]);
            made.with(|made| assert_eq!(&frame, made));
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn half_a_frame_is_no_error(made in made()) {
        let bytes = made.encode();
        for len in 0..bytes.len() {
            assert_eq!(Frame::decode(&bytes[..len]), Ok(None), "{len} bytes");
        }
    }

    #[test]
    fn arbitrary_bytes_are_a_frame_or_an_error_in_them(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_any(&bytes);
        // Most random lengths are out of bounds: once more with the right one, and with a kind that exists.
        if bytes.len() >= HEAD_BYTES {
            let len = bytes.len() as u32;
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            bytes[4] = Kind::ALL[bytes[4] as usize % Kind::ALL.len()] as u8;
            check_any(&bytes);
            bytes[5..8].fill(0);
            check_any(&bytes);
        }
    }

    #[test]
    fn a_changed_byte_is_a_frame_or_an_error_in_it(made in made(), place in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = made.encode();
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = to;
            check_any(&bytes);
        }
    }

    #[test]
    fn an_event_comes_out_as_it_went_in(
        named in any::<bool>(),
        headers in prop::collection::vec(("[a-z]{0,9}", ".{0,30}"), 0..4),
        len in prop_oneof![0..100usize, FRAGMENT_BYTES_MAX - 100..FRAGMENT_BYTES_MAX + 100, 150_000..200_000usize],
        seq in any::<u64>(),
    ) {
        let pairs = Pairs::from_iter(headers);
        round_trip(named.then_some("press/1/opened"), &pairs, len, seq);
    }
}

fn check_any(bytes: &[u8]) {
    match Frame::decode(bytes) {
        Ok(None) => assert!(Head::peek(bytes).unwrap().is_none_or(|head| head.len > bytes.len())),
        Ok(Some((frame, len))) => {
            assert!(len <= bytes.len());
            match frame {
                // Both must be readable to the end.
                Frame::Lagged(lagged) => {
                    assert!(lagged.numbered().count() * 12 + lagged.named().count() * 10 <= len);
                }
                Frame::Write(write) => assert_eq!(write.items.iter().count(), write.items.len()),
                _ => {}
            }
        }
        Err(error) => {
            // A field that is missing is missing at the end.
            assert!(error.offset <= bytes.len(), "{error} in {} bytes", bytes.len());
            assert!(!error.expected.is_empty());
        }
    }
}

/// Writes an event and puts its frames together again.
fn round_trip(name: Option<&str>, pairs: &Pairs, len: usize, seq: u64) {
    let headers = if pairs.is_empty() { Vec::new() } else { write_headers(pairs).unwrap() };
    let payload: Vec<u8> = (0..len).map(|index| (index * 31) as u8).collect();
    let flags = if name.is_some() { NAMED } else { 0 } | if pairs.is_empty() { 0 } else { HEADERS };
    let topic = if name.is_some() { 0 } else { 77 };
    let head = EventHead { len: 0, encoding: Encoding::Text, flags, topic, publisher: 8, seq };
    let mut out = b"before".to_vec();
    write_event(&mut out, head, name, &headers, &payload);
    let mut rest = &out[6..];
    let mut content = Vec::new();
    let mut first = true;
    loop {
        let (frame, len) = Frame::decode(rest).unwrap().unwrap();
        let Frame::Event(got, body) = frame else { panic!("{frame:?}") };
        assert_eq!((got.encoding, got.topic, got.publisher, got.seq), (Encoding::Text, topic, 8, seq));
        assert_eq!(got.len, len);
        assert_eq!(EventHead::peek(rest), Ok(Some(got)));
        assert_eq!(got.flags & REST == 0, first);
        assert_eq!(got.flags & HEADERS, flags & HEADERS, "every frame says whether there are headers");
        assert_eq!(body.name.map(<[u8]>::to_vec), name.filter(|_| first).map(|name| name.as_bytes().to_vec()));
        content.extend_from_slice(body.content);
        rest = &rest[len..];
        first = false;
        if got.flags & MORE == 0 {
            break;
        }
        assert_eq!(len, FRAME_BYTES_MAX, "all but the last are full");
    }
    assert!(rest.is_empty());
    let got = if pairs.is_empty() {
        content.into()
    } else {
        let (got, payload) = read_headers(&content.into()).unwrap();
        assert_eq!(&got, pairs);
        payload
    };
    assert!(got == payload, "the payload is the same");
}
