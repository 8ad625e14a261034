//! Story: what bad input gets from a real hub, on every way to it. What each input gets in all its forms is told in the tests
//! of the core; here some of them come over sockets and TLS.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::net::Shutdown;
use std::sync::Arc;

use convoke::{Code, Encoding};
use convoke_core::frame::{About, EVENT_HEAD_BYTES, EventHead, Frame, Hello, NAMED, Preface};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use support::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// The ways over which somebody can dial.
const WAYS: [Transport; 3] = [Transport::Unix, Transport::Tcp, Transport::Tls];

async fn dial(stage: &Stage, transport: Transport) -> Box<dyn Connection> {
    if let Some(path) = stage.address.strip_prefix("unix://") {
        return Box::new(UnixStream::connect(path).await.unwrap());
    }
    let (_, address) = stage.address.split_once("://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    if matches!(transport, Transport::Tcp) {
        return Box::new(stream);
    }
    let authority = CertificateDer::from_pem_file(stage.folder().join("data/tls/authority.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    Box::new(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

fn hello() -> Vec<u8> {
    encoded(&Frame::Hello(Hello { name: b"bad", nonce: [1; 32], ..Hello::default() }))
}

fn greeting() -> Vec<u8> {
    [&Preface::OURS.encode()[..], &hello()].concat()
}

fn joining() -> Vec<u8> {
    [greeting(), encoded(&Frame::Proof { token: [0; 32], resume: [0; 32] })].concat()
}

/// Says it whole or byte by byte; the hub may have enough of it before it has heard all.
async fn say(stream: &mut dyn Connection, bytes: &[u8], bytewise: bool) {
    for part in bytes.chunks(if bytewise { 1 } else { bytes.len() }) {
        if stream.write_all(part).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        if bytewise {
            tokio::task::yield_now().await;
        }
    }
}

/// The code of the Close that the hub ends the link with.
async fn ends_with(stream: &mut dyn Connection) -> Option<Code> {
    let mut heard = Vec::new();
    let _ = soon(stream.read_to_end(&mut heard)).await;
    let mut rest = heard.strip_prefix(&Preface::OURS.encode()).unwrap_or(&heard);
    let mut last = None;
    while let Ok(Some((frame, len))) = Frame::decode(rest) {
        assert_eq!(last, None, "{frame:?} comes behind Close");
        if let Frame::Close { code, .. } = frame {
            last = Some(code);
        }
        rest = &rest[len..];
    }
    last
}

/// Rows N1 to N17 as they come over each way, whole and byte by byte.
#[tokio::test]
async fn bad_input_ends_its_link_with_a_word_on_every_way() {
    let then = |first: Vec<u8>, bytes: &[u8]| [&first[..], bytes].concat();
    let table: Vec<(&str, Vec<u8>, Code)> = vec![
        ("N1", then(greeting(), &[0, 0, 0, 0, 6, 0, 0, 0]), Code::BadFrame),
        ("N2", then(greeting(), &[7, 0, 0, 0, 6, 0, 0, 0]), Code::BadFrame),
        ("N3", then(greeting(), &[0x19, 0, 1, 0, 0x10, 0, 0, 0]), Code::BadFrame),
        ("N4", then(greeting(), &[0xff, 0xff, 0xff, 0x7f, 6, 0, 0, 0]), Code::BadFrame),
        ("N7", b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n".to_vec(), Code::BadFrame),
        ("N7", b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00".to_vec(), Code::BadFrame),
        ("N7", b"SSH-2.0-OpenSSH_9\r\n".to_vec(), Code::BadFrame),
        ("N8", Preface { lowest: 65_535, highest: 65_535 }.encode().to_vec(), Code::VersionMismatch),
        ("N8", Preface { lowest: 0, highest: 0 }.encode().to_vec(), Code::VersionMismatch),
        ("N10", then(greeting(), &[8, 0, 0, 0, 0x7f, 0, 0, 0]), Code::BadFrame),
        ("N11", then(greeting(), &hello()), Code::BadFrame),
        ("N12", then(Preface::OURS.encode().to_vec(), &encoded(&Frame::Barrier { id: 1 })), Code::BadFrame),
        ("N13", then(greeting(), &encoded(&Frame::Done { id: 1, value: 1 })), Code::BadFrame),
        ("too much", then(Preface::OURS.encode().to_vec(), &[1, 0x40, 0, 0, 1, 0, 0, 0]), Code::TooLarge),
    ];
    for transport in WAYS {
        let stage = Stage::new(transport).await;
        let node = stage.node("witness").await;
        for (row, bytes, code) in &table {
            for bytewise in [false, true] {
                let mut stream = soon(dial(&stage, transport)).await;
                say(&mut *stream, bytes, bytewise).await;
                assert_eq!(ends_with(&mut *stream).await, Some(*code), "{row}, {transport:?}, bytewise {bytewise}");
            }
        }
        soon(node.ping(None)).await.unwrap();
        assert_eq!(stage.hub.nodes(), 1);
    }
}

/// After joining, which on a Unix socket takes no token.
#[tokio::test]
async fn bad_input_of_a_node_ends_its_link_or_is_refused() {
    let stage = Stage::new(Transport::Unix).await;
    let node = stage.node("witness").await;
    for (row, bytes) in [
        ("N1", vec![0, 0, 0, 0, 6, 0, 0, 0]),
        ("N4", vec![0, 0, 0, 0x80, 6, 0, 0, 0]),
        ("N10", vec![8, 0, 0, 0, 0x7f, 0, 0, 0]),
        ("N11", hello()),
        ("N13", encoded(&Frame::Forget { number: 1 })),
        ("N14", vec![16, 0, 0, 0, 6, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("N16", vec![17, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("N17", vec![14, 0, 0, 0, 0x11, 0, 0, 0, 1, 0, 0, 0, 9, 0]),
    ] {
        for bytewise in [false, true] {
            let mut stream = dial(&stage, Transport::Unix).await;
            say(&mut *stream, &joining(), false).await;
            say(&mut *stream, &bytes, bytewise).await;
            assert_eq!(ends_with(&mut *stream).await, Some(Code::BadFrame), "{row}, bytewise {bytewise}");
        }
    }
    // N9, N19, N21, N22, N24, N26: ignored, or refused by name; the link goes on.
    let mut stream = dial(&stage, Transport::Unix).await;
    let said = [
        joining(),
        vec![12, 0, 0, 0, 0xee, 7, 1, 2, 3, 4, 5, 6],
        encoded(&Frame::Pong { id: 7 }),
        encoded(&Frame::Subscribe { id: 1, pattern: b"a/#/b", group: b"" }),
        encoded(&Frame::Subscribe { id: 2, pattern: b"\xc0\x80", group: b"" }),
        encoded(&Frame::Subscribe { id: 3, pattern: b"", group: b"" }),
        encoded(&Frame::Unsubscribe { id: 4 }),
        encoded(&Frame::Ping { id: 5, node: b"" }),
        encoded(&Frame::Close { code: Code::Left, text: "" }),
    ];
    say(&mut *stream, &said.concat(), true).await;
    let mut heard = Vec::new();
    soon(stream.read_to_end(&mut heard)).await.unwrap();
    let (mut rest, mut answers) = (&heard[Preface::BYTES..], Vec::new());
    while let Some((frame, len)) = Frame::decode(rest).unwrap() {
        match frame {
            Frame::Refused { about: About::Request(id), code, .. } => answers.push((id, Some(code))),
            Frame::Done { id, .. } => answers.push((id, None)),
            Frame::Challenge { .. } | Frame::Welcome(_) | Frame::Close { .. } => {}
            other => panic!("{other:?}"),
        }
        rest = &rest[len..];
    }
    let (name, frame) = (Some(Code::BadName), Some(Code::BadFrame));
    assert_eq!(answers, [(1, name), (2, name), (3, name), (4, frame), (5, None)]);
    soon(node.ping(None)).await.unwrap();
    until("the other is gone", || stage.hub.nodes() == 1).await;
}

/// N36 and N37: connections that end in the middle of a frame, in order or not.
#[tokio::test]
async fn a_connection_that_breaks_off_leaves_nothing() {
    let stage = Stage::new(Transport::Tcp).await;
    let node = stage.node("witness").await;
    let address = stage.address.strip_prefix("tcp://").unwrap();
    for len in 0..greeting().len() {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&greeting()[..len]).await.unwrap();
        if len % 2 == 0 {
            // What has not been read yet is thrown away, and the other side is told that it was reset.
            stream.set_zero_linger().unwrap();
        } else {
            stream.shutdown().await.unwrap();
            soon(stream.read_to_end(&mut Vec::new())).await.unwrap();
        }
    }
    soon(node.ping(None)).await.unwrap();
    let socket = Stage::new(Transport::Unix).await;
    for len in 1..8 {
        let mut stream = dial(&socket, Transport::Unix).await;
        say(&mut *stream, &[joining(), vec![9; len]].concat(), false).await;
        until("it has joined", || socket.hub.nodes() == 1).await;
        drop(stream);
        until("it is gone", || socket.hub.nodes() == 0).await;
    }
    assert_eq!(stage.hub.nodes(), 1);
}

/// A program that leaves at once does not wait for what the hub has to say to that; the hub's words then fail before it has
/// read the rest. Here the program hears nothing any more while it still speaks.
#[tokio::test]
async fn what_a_program_says_is_heard_although_it_does_not_listen_any_more() {
    const EVENTS: u64 = 20;
    let stage = Stage::new(Transport::Unix).await;
    let node = stage.node("witness").await;
    let mut events = node.subscribe("last/words").await.unwrap();
    let mut stream = UnixStream::connect(stage.address.strip_prefix("unix://").unwrap()).await.unwrap();
    say(&mut stream, &joining(), false).await;
    let mut heard = Vec::new();
    let welcome = async {
        loop {
            stream.read_buf(&mut heard).await.unwrap();
            let mut rest = heard.get(Preface::BYTES..).unwrap_or_default();
            while let Some((frame, len)) = Frame::decode(rest).unwrap() {
                if let Frame::Welcome(welcome) = frame {
                    return welcome.publisher;
                }
                rest = &rest[len..];
            }
        }
    };
    let publisher = soon(welcome).await;
    let stream = stream.into_std().unwrap();
    stream.shutdown(Shutdown::Read).unwrap();
    let mut stream = UnixStream::from_std(stream).unwrap();
    for seq in 1..=EVENTS {
        let (name, payload) = (b"last/words", b"x");
        let len = EVENT_HEAD_BYTES + 2 + name.len() + payload.len();
        let head = EventHead { len, encoding: Encoding::Raw, flags: NAMED, topic: 0, publisher, seq };
        let short = (name.len() as u16).to_le_bytes();
        let confirm = encoded(&Frame::Confirm { id: seq as u32 });
        say(&mut stream, &[&head.encode()[..], &short, name, payload, &confirm].concat(), false).await;
        assert_eq!(event(&mut events).await.seq, seq);
    }
    drop(stream);
    until("it is gone", || stage.hub.nodes() == 1).await;
}
