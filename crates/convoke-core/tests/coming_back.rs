//! A node that comes back is let in as what it was, whatever was lost with the link it had.

use bytes::BytesMut;
use convoke_core::frame::{Frame, Hello, Incarnation, Preface, Welcome};
use convoke_core::{Code, HubConfig, HubIdentity, HubState, Peer, Time, Transmit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

type Bytes32 = [u8; 32];

fn mac(key: &[u8], label: &str, transcript: &[u8]) -> Bytes32 {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(label.as_bytes());
    mac.update(transcript);
    mac.finalize().into_bytes().into()
}

fn hub() -> HubState {
    let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 1 };
    HubState::new(HubConfig::default(), identity, [3; 32], Time::START)
}

/// Joins as `ann` on a trusted link of its own, as this incarnation with this secret; then the link is cut. Tells what
/// the hub said at last, and the secret of this link.
fn join(hub: &mut HubState, resume: Option<(Incarnation, Bytes32)>) -> (Result<Welcome, Code>, Bytes32) {
    let link = hub.open(Peer::Owner, Time::START).expect("room for a link");
    let mut hello = Vec::new();
    let resumed = resume.map(|(incarnation, _)| incarnation);
    Frame::Hello(Hello { name: b"ann", nonce: [7; 32], resume: resumed, ..Hello::default() }).encode(&mut hello);
    let preface = Preface::OURS.encode();
    let heard = say(hub, link, &[&preface[..], &hello].concat());
    let Ok(Some((Frame::Challenge { nonce, .. }, _))) = Frame::decode(&heard[Preface::BYTES..]) else {
        panic!("a Challenge")
    };
    let transcript = Sha256::digest([&preface[..], &preface, &hello, &nonce].concat());
    let resume = resume.map_or([0; 32], |(_, secret)| mac(&secret, "convoke 1 resumed", &transcript));
    let mut proof = Vec::new();
    Frame::Proof { token: [0; 32], resume }.encode(&mut proof);
    let heard = say(hub, link, &proof);
    let answer = match Frame::decode(&heard) {
        Ok(Some((Frame::Welcome(welcome), _))) => Ok(welcome),
        Ok(Some((Frame::Close { code, .. }, _))) => Err(code),
        other => panic!("{other:?}"),
    };
    hub.closed(link, Time::START);
    (answer, mac(&[0; 32], "convoke 1 resume", &transcript))
}

fn say(hub: &mut HubState, link: convoke_core::LinkId, bytes: &[u8]) -> Vec<u8> {
    hub.receive(link, &mut BytesMut::from(bytes), Time::START);
    let (mut transmit, mut heard) = (Transmit::new(), Vec::new());
    hub.transmit(link, &mut transmit);
    while let Some(piece) = transmit.pop() {
        heard.extend_from_slice(&piece);
    }
    heard
}

#[test]
fn a_node_whose_welcome_was_lost_comes_back() {
    let mut hub = hub();
    let (welcome, first) = join(&mut hub, None);
    let incarnation = welcome.expect("a Welcome").incarnation;
    // The hub's Welcome is lost with the link, again and again: the node still has the secret of the first.
    for _ in 0..3 {
        let (welcome, _) = join(&mut hub, Some((incarnation, first)));
        let welcome = welcome.expect("nobody has taken over");
        assert_eq!((welcome.resumed, welcome.incarnation), (true, incarnation));
    }
    // The secret is that of the incarnation, not of the link.
    let (_, second) = join(&mut hub, Some((incarnation, first)));
    assert_eq!(join(&mut hub, Some((incarnation, second))).0, Err(Code::Fenced));
    assert_eq!(hub.census().incarnations, 1);
}

#[test]
fn a_secret_that_was_never_given_lets_nobody_in() {
    let mut hub = hub();
    let (welcome, _) = join(&mut hub, None);
    let incarnation = welcome.expect("a Welcome").incarnation;
    for secret in [[0; 32], [9; 32]] {
        assert_eq!(join(&mut hub, Some((incarnation, secret))).0, Err(Code::Fenced));
    }
}
