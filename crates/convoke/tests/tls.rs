//! Story: what goes over TLS, who believes whom, and what happens to those who do not play along.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use convoke::{
    Authority, Certificate, Code, Error, Hub, HubOptions, Node, NodeOptions, OwnAuthority, TlsOptions, Token,
};
use convoke_core::frame::{Frame, Preface};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use support::*;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What TLS begins with: a ClientHello of which half is missing.
const HALF_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

async fn dial(address: &str) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port(address))).await.unwrap()
}

/// Reads until the other side has ended, however it ends.
async fn to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = soon(stream.read_to_end(&mut all)).await;
    all
}

/// An authority of a test's own, which signs whatever it is given.
struct Signer {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Signer {
    fn new() -> Signer {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Signer { pem, issuer: Issuer::new(params, key) }
    }

    fn authority(&self) -> Authority {
        Authority::parse(&self.pem).unwrap()
    }

    /// Writes a certificate and its key into a folder.
    fn sign(&self, folder: &Path, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> TlsOptions {
        let mut params =
            CertificateParams::new(hosts.iter().map(|&host| host.into()).collect::<Vec<String>>()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |name: &str| folder.join(name);
        fs::write(path("own.pem"), certificate.pem()).unwrap();
        fs::write(path("own.key"), key.serialize_pem()).unwrap();
        fs::write(path("whom.pem"), &self.pem).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(path("own.key"), fs::Permissions::from_mode(0o600)).unwrap();
        }
        TlsOptions { certificate: path("own.pem"), key: path("own.key"), client_authority: Some(path("whom.pem")) }
    }
}

fn server(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

async fn hub_with(tls: TlsOptions) -> (Hub, String) {
    let hub = Hub::start(HubOptions { tls: Some(tls), ..HubOptions::listen(["tls://127.0.0.1:0"]) }).await.unwrap();
    let address = hub.addresses()[0].to_string();
    (hub, address)
}

fn believing(hub: &Hub, authority: Authority) -> NodeOptions {
    let (token, authority) = (Some(hub.token().clone()), Some(authority));
    NodeOptions { token, authority, timeout: PATIENCE, ..NodeOptions::new("press") }
}

async fn refused(address: &str, options: NodeOptions) -> (Code, String) {
    let error = soon(Node::connect_with(address, options)).await.unwrap_err();
    (error.code(), error.to_string().replace(address, "HUB"))
}

#[tokio::test]
async fn one_port_takes_links_with_and_without_tls() {
    let stage = Stage::new(Transport::Tls).await;
    let options = HubOptions { tls: stage.tls(), ..HubOptions::listen(["tcp://127.0.0.1:0"]) };
    let hub = Hub::start(options).await.unwrap();
    let plain = hub.addresses()[0].to_string();
    assert!(plain.starts_with("tcp://"));
    let token = Some(hub.token().clone());
    let one = Node::connect_with(&plain, NodeOptions { token, ..NodeOptions::new("plain") }).await.unwrap();
    let mut all = one.subscribe("#").await.unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let address = format!("tls://{host}:{}", port(&plain));
        let node = Node::connect_with(&address, believing(&hub, stage.authority().unwrap())).await.unwrap();
        // Longer than all that may wait on the way.
        let long = vec![7; 900_000];
        node.publish_raw("long", &long).await.unwrap();
        assert_eq!(event(&mut all).await.payload.bytes, long);
        soon(node.leave()).await;
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_thousand_who_only_say_hello_keep_nobody_out_and_are_closed() {
    let stage =
        Stage::with(Transport::Tls, HubOptions { join_time: Duration::from_secs(3), ..HubOptions::default() }).await;
    let mut half = Vec::new();
    for _ in 0..1000 {
        let mut stream = dial(&stage.address).await;
        stream.write_all(HALF_HELLO).await.unwrap();
        half.push(stream);
    }
    let node = soon(Node::connect_with(&stage.address, stage.options("press"))).await.unwrap();
    soon(node.ping(None)).await.unwrap();
    for stream in &mut half {
        to_the_end(stream).await;
    }
    soon(node.ping(None)).await.unwrap();
    assert_eq!(stage.hub.nodes(), 1);
}

#[tokio::test]
async fn who_takes_too_long_to_agree_or_says_nothing_is_closed_in_time() {
    let options = HubOptions { join_time: Duration::from_millis(100), ..HubOptions::default() };
    let stage = Stage::with(Transport::Tls, options).await;
    for said in [&b""[..], HALF_HELLO] {
        let mut stream = dial(&stage.address).await;
        stream.write_all(said).await.unwrap();
        let answer = to_the_end(&mut stream).await;
        if said.is_empty() {
            let (frame, _) = Frame::decode(&answer[Preface::BYTES..]).unwrap().unwrap();
            let text = "the link did not join within 0.1 s";
            assert_eq!(frame, Frame::Close { code: Code::TimedOut, text });
        }
    }
}

#[tokio::test]
async fn noise_in_place_of_tls_is_closed_and_nobody_else_feels_it() {
    let stage = Stage::new(Transport::Tls).await;
    let node = stage.node("press").await;
    let garbage = [HALF_HELLO, &[0xff; 600]].concat();
    // A ClientHello that would never end, in whole records.
    let endless: Vec<u8> = [0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff].into_iter().chain([0; 0x4000 - 4]).collect();
    let endless = [endless, [&[0x16, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat().repeat(8)].concat();
    let old = [0x16, 3, 0, 0, 4, 1, 0, 0, 0];
    for noise in [&garbage[..], &endless, &[0x16], &[0x16, 3, 1, 0, 0], &old] {
        let mut stream = dial(&stage.address).await;
        // The hub may have closed it before all is written.
        let _ = stream.write_all(noise).await;
        let _ = stream.shutdown().await;
        let answer = to_the_end(&mut stream).await;
        assert!(answer.is_empty() || answer[0] == 0x15, "an alert, if anything: {answer:?}");
    }
    soon(node.ping(None)).await.unwrap();
    assert_eq!(stage.hub.nodes(), 1);
}

#[tokio::test]
async fn who_does_not_speak_tls_where_it_must_is_told() {
    let stage = Stage::new(Transport::Tls).await;
    let plain = stage.address.replace("tls://", "tcp://");
    let (code, text) = refused(&plain, stage.options("press")).await;
    let words = "this address takes links over TLS only: write it with `tls://`, and give the authority of the hub";
    assert_eq!((code, text.as_str()), (Code::Unauthorized, words));
    let mut stream = dial(&stage.address).await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = to_the_end(&mut stream).await;
    let (frame, _) = Frame::decode(&answer[Preface::BYTES..]).unwrap().unwrap();
    assert_eq!(frame, Frame::Close { code: Code::Unauthorized, text: words });
}

#[tokio::test]
async fn who_speaks_tls_to_a_hub_without_a_certificate_is_told() {
    let (stage, other) = (Stage::new(Transport::Tcp).await, Signer::new());
    let address = stage.address.replace("tcp://", "tls://");
    let (code, text) = refused(&address, believing(&stage.hub, other.authority())).await;
    let words = "the hub at HUB does not speak TLS: give it a certificate with `convoke tls init`, or, on its own machine, \
                 use `tcp://`";
    assert_eq!((code, text.as_str()), (Code::Unauthorized, words));
}

#[tokio::test]
async fn without_an_authority_nobody_is_believed() {
    let stage = Stage::new(Transport::Tls).await;
    let options = NodeOptions { authority: None, ..stage.options("press") };
    let error = soon(Node::connect_with(&stage.address, options)).await.unwrap_err();
    assert!(matches!(&error, Error::Configuration(text) if text.ends_with("in the shell with --authority")), "{error}");
}

#[tokio::test]
async fn a_hub_that_cannot_be_believed_is_told_by_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, other) = (Signer::new(), Signer::new());
    let day = |n: i64| OffsetDateTime::from_unix_timestamp(n * 86_400).unwrap();

    let (hub, address) = hub_with(signer.sign(folder.path(), &["localhost", "127.0.0.2"], server)).await;
    let (code, text) = refused(&address, believing(&hub, signer.authority())).await;
    let words = "the certificate of the hub at HUB is not for `127.0.0.1`, but for localhost, 127.0.0.2; use a name that it is \
                 for, or add this one there with `convoke tls init --renew --host`";
    assert_eq!((code, text.as_str()), (Code::Unauthorized, words));

    let (hub, address) = hub_with(signer.sign(folder.path(), &["127.0.0.1"], server)).await;
    let (code, text) = refused(&address, believing(&hub, other.authority())).await;
    let words = "the certificate of the hub at HUB is not signed by the authority that was given; take the `authority.pem` of \
                 that hub";
    assert_eq!((code, text.as_str()), (Code::Unauthorized, words));
    soon(Node::connect_with(&address, believing(&hub, signer.authority()))).await.unwrap();

    for (from, to, says) in [
        (10_000, 20_000, "has expired on 2024-10-04; renew it there with `convoke tls init --renew`"),
        (40_000, 50_000, "is not valid yet; is the clock of this machine right?"),
    ] {
        let tls = signer.sign(folder.path(), &["127.0.0.1"], |params| {
            server(params);
            (params.not_before, params.not_after) = (day(from), day(to));
        });
        let (hub, address) = hub_with(tls).await;
        let (code, text) = refused(&address, believing(&hub, signer.authority())).await;
        assert_eq!((code, text), (Code::Unauthorized, format!("the certificate of the hub at HUB {says}")));
    }

    let tls = signer.sign(folder.path(), &["127.0.0.1"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let (hub, address) = hub_with(tls).await;
    let (code, text) = refused(&address, believing(&hub, signer.authority())).await;
    let words = "the certificate of the hub at HUB is not one for hubs; take one that is for servers";
    assert_eq!((code, text.as_str()), (Code::Unauthorized, words));
}

#[tokio::test]
async fn a_token_is_proved_over_tls_too() {
    let stage = Stage::new(Transport::Tls).await;
    let token = Some(Token::parse("admin:0123456789abcdef0123456789abcdef").unwrap());
    let (code, text) = refused(&stage.address, NodeOptions { token, ..stage.options("press") }).await;
    assert!(code == Code::Unauthorized && text.contains("could not prove that it knows the token `admin`"), "{text}");
    // The same user on the same machine finds it.
    let options = NodeOptions { token: None, ..stage.options("press") };
    soon(Node::connect_with(&stage.address, options)).await.unwrap();
}

/// A certificate of the hub's own authority for this name.
fn issued(stage: &Stage, name: &str) -> Certificate {
    let own = OwnAuthority::open(stage.folder().join("data")).unwrap();
    let file = |ending: &str| stage.folder().join(format!("{}.{ending}", name.replace('/', "-")));
    own.certify_node(name, file("pem"), file("key")).unwrap();
    Certificate::read(file("pem"), file("key")).unwrap()
}

#[tokio::test]
async fn who_shows_a_certificate_joins_as_the_one_in_it() {
    let stage = Stage::new(Transport::Tls).await;
    let shows = |certificate: Certificate| NodeOptions {
        token: None,
        certificate: Some(certificate),
        ..stage.options("press/1")
    };
    let owner = soon(Node::connect_with(&stage.address, shows(issued(&stage, "admin")))).await.unwrap();
    owner.set("a", &1).await.unwrap();
    soon(owner.leave()).await;
    let (code, text) = refused(&stage.address, shows(issued(&stage, "press/1"))).await;
    let words = "`press/1` may not join: its certificate is that of `press/1`, who has no rights here";
    assert_eq!((code, text.as_str()), (Code::Unauthorized, words));
    // Without one it is asked for a token as ever.
    stage.node("press/1").await;
}

#[tokio::test]
async fn a_certificate_that_the_hub_does_not_believe_lets_nobody_in() {
    let stage = Stage::new(Transport::Tls).await;
    let (other, folder) = (Signer::new(), tempfile::tempdir().unwrap());
    let client = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let TlsOptions { certificate, key, .. } = other.sign(folder.path(), &["admin.example"], client);
    let foreign = Certificate::read(certificate, key).unwrap();
    // The hub's own certificate is not one to join with.
    let tls = stage.folder().join("data/tls");
    let servers = Certificate::read(tls.join("server.pem"), tls.join("server.key")).unwrap();
    for (certificate, why) in
        [(foreign, "it is not signed by an authority that the hub believes"), (servers, "it is not one for programs")]
    {
        let options = NodeOptions { certificate: Some(certificate), ..stage.options("press") };
        let (code, text) = refused(&stage.address, options).await;
        let words = format!(
            "the hub at HUB does not believe the certificate of this program: {why}; take one that `convoke tls issue` has \
             made there, or a token"
        );
        assert_eq!((code, text), (Code::Unauthorized, words));
    }
    assert_eq!(stage.hub.nodes(), 0);
}

#[tokio::test]
async fn where_nobody_asks_for_a_certificate_a_token_is_proved() {
    let stage = Stage::new(Transport::Tls).await;
    let (hub, address) = hub_with(stage.tls().unwrap()).await;
    let certificate = Some(issued(&stage, "admin"));
    let options = NodeOptions { certificate, ..believing(&hub, stage.authority().unwrap()) };
    soon(Node::connect_with(&address, options)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_renewed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (Signer::new(), Signer::new());
    let (hub, address) = hub_with(before.sign(folder.path(), &["127.0.0.1"], server)).await;
    let node = Node::connect_with(&address, believing(&hub, before.authority())).await.unwrap();

    fs::write(folder.path().join("own.pem"), "no certificate").unwrap();
    let error = hub.reload_tls().unwrap_err();
    assert!(matches!(&error, Error::Configuration(text) if text.contains("there is no certificate in it")), "{error}");
    let second = NodeOptions { name: "second".into(), ..believing(&hub, before.authority()) };
    let second = soon(Node::connect_with(&address, second)).await.unwrap();

    after.sign(folder.path(), &["127.0.0.1"], server);
    hub.reload_tls().unwrap();
    let third = NodeOptions { name: "third".into(), ..believing(&hub, after.authority()) };
    soon(Node::connect_with(&address, third)).await.unwrap();
    // Links that are there stay.
    for node in [&node, &second] {
        soon(node.ping(Some("third"))).await.unwrap_err();
        soon(node.ping(None)).await.unwrap();
    }
    hub.stop().await;
    let plain = Hub::start(HubOptions::listen(["127.0.0.1:0"])).await.unwrap();
    assert!(!plain.has_tls());
    assert!(matches!(plain.reload_tls(), Err(Error::Configuration(_))));
}

#[tokio::test]
async fn a_hub_does_not_start_with_a_certificate_that_it_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, path) = (Signer::new(), |name: &str| folder.path().join(name));
    let tls = signer.sign(folder.path(), &["127.0.0.1"], server);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = signer.sign(elsewhere.path(), &["127.0.0.1"], server);
    let encrypted = path("encrypted.key");
    let key = fs::read_to_string(&tls.key).unwrap().replace(" PRIVATE KEY", " ENCRYPTED PRIVATE KEY");
    fs::write(&encrypted, key).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&encrypted, fs::Permissions::from_mode(0o600)).unwrap();
    }
    for (tls, says) in [
        (
            TlsOptions { key: encrypted, ..tls.clone() },
            "the key is encrypted; take the passphrase off, and make the file readable for its owner only",
        ),
        (TlsOptions { key: other.key, ..tls.clone() }, "own.key` is not its key"),
        (TlsOptions { certificate: path("nowhere"), ..tls.clone() }, "nowhere`: No such file or directory"),
        (
            TlsOptions { client_authority: Some(path("own.key")), ..tls },
            "there is no certificate of an authority in it",
        ),
    ] {
        let options = HubOptions { tls: Some(tls), ..HubOptions::listen(["127.0.0.1:0"]) };
        let error = Hub::start(options).await.unwrap_err();
        assert!(matches!(&error, Error::Configuration(text) if text.ends_with(says)), "{error}");
    }
}

#[tokio::test]
async fn beyond_this_machine_a_hub_takes_links_over_tls_only() {
    for address in ["0.0.0.0:0", "tls://127.0.0.1:0"] {
        let error = Hub::start(HubOptions::listen([address])).await.unwrap_err();
        assert!(matches!(&error, Error::Configuration(text) if text.contains("`convoke tls init` makes")), "{error}");
    }
    let (folder, signer) = (tempfile::tempdir().unwrap(), Signer::new());
    let tls = Some(signer.sign(folder.path(), &["127.0.0.1"], server));
    let hub = Hub::start(HubOptions { tls, ..HubOptions::listen(["0.0.0.0:0"]) }).await.unwrap();
    let address = hub.addresses()[0].to_string();
    assert!(address.starts_with("tls://0.0.0.0:"), "{address}");
    let here = format!("127.0.0.1:{}", port(&address));
    let (code, text) = refused(&here, believing(&hub, signer.authority())).await;
    assert!(code == Code::Unauthorized && text.starts_with("this address takes links over TLS only"), "{text}");
    soon(Node::connect_with(format!("tls://{here}"), believing(&hub, signer.authority()))).await.unwrap();
}

/// An address of this machine that is not only its own, if it has one. Nothing is sent to find out.
fn address_in_a_network() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn one_source_has_only_so_many_links_and_this_machine_as_many_as_it_likes() {
    let Some(own) = address_in_a_network() else { return println!("skipped: this machine is in no network") };
    let folder = tempfile::tempdir().unwrap();
    let tls = Some(Signer::new().sign(folder.path(), &["localhost"], server));
    let options = HubOptions { tls, links_per_source_max: 2, ..HubOptions::listen(["0.0.0.0:0"]) };
    let hub = Hub::start(options).await.unwrap();
    let address = hub.addresses()[0].to_string();
    let port = port(&address);
    let mut links = Vec::new();
    for _ in 0..2 {
        let mut link = TcpStream::connect((own, port)).await.unwrap();
        link.write_all(HALF_HELLO).await.unwrap();
        links.push(link);
    }
    let refused = to_the_end(&mut TcpStream::connect((own, port)).await.unwrap()).await;
    let refused = String::from_utf8_lossy(&refused).into_owned();
    let told = format!("the hub has 2 links from {own}, which is all it may have of one source; try again later");
    assert!(refused.contains(&told), "{refused}");
    for _ in 0..5 {
        let mut link = dial(&address).await;
        link.write_all(HALF_HELLO).await.unwrap();
        links.push(link);
    }
    for link in &mut links {
        let mut byte = [0];
        let waits = tokio::time::timeout(Duration::from_millis(20), link.peek(&mut byte)).await;
        assert!(waits.is_err(), "the hub waits for more: {waits:?}");
    }
    // With one link less there is room for another.
    links.remove(0);
    loop {
        let mut again = TcpStream::connect((own, port)).await.unwrap();
        again.write_all(HALF_HELLO).await.unwrap();
        if tokio::time::timeout(Duration::from_millis(100), again.peek(&mut [0])).await.is_err() {
            break;
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_hub_that_stops_ends_links_that_have_not_yet_agreed() {
    let stage = Stage::new(Transport::Tls).await;
    let mut stream = dial(&stage.address).await;
    stream.write_all(HALF_HELLO).await.unwrap();
    let mut mute = dial(&stage.address).await;
    let node = stage.node("press").await;
    soon(stage.hub.stop()).await;
    to_the_end(&mut stream).await;
    to_the_end(&mut mute).await;
    until_offline(&node).await;
}

#[test]
fn an_authority_is_made_once_and_its_certificates_are_for_those_who_were_named() {
    let folder = tempfile::tempdir().unwrap();
    let own = OwnAuthority::create(folder.path()).unwrap();
    let hosts = own.certify_hub(&["press-hall.example".into(), "[2001:db8::1]".into()]).unwrap();
    assert_eq!(hosts[..2], ["press-hall.example", "2001:db8::1"]);
    for host in ["localhost", "127.0.0.1", "::1"] {
        assert!(hosts.iter().any(|one| one == host), "{hosts:?}");
    }
    let error = OwnAuthority::create(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
    // Renewed, it is for the same and more.
    let again = OwnAuthority::open(folder.path()).unwrap().certify_hub(&["192.0.2.7".into()]).unwrap();
    assert_eq!(again[0], "192.0.2.7");
    assert!(hosts.iter().all(|host| again.contains(host)), "{again:?}");
    for bad in ["", "a b", "a/b", "-"] {
        let error = own.certify_hub(&[bad.into()]).unwrap_err().to_string();
        assert!(error.ends_with("is no name and no address of a host"), "{error}");
    }
    let file = |name: &str| folder.path().join(name);
    own.certify_node("press/1", file("one.pem"), file("one.key")).unwrap();
    let error = own.certify_node("press/1", file("two.pem"), file("one.key")).unwrap_err().to_string();
    assert!(error.contains("one.key` is there already"), "{error}");
    assert!(own.certify_node("$hub", file("two.pem"), file("two.key")).is_err());
    #[cfg(unix)]
    for secret in ["tls/authority.key", "tls/server.key", "one.key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(file(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
}
