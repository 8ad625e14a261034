//! `convoke tls`, and hubs and verbs that use what it makes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::story::{Running, Story};

/// A hub on loopback that has a certificate, and what a program on another machine would have been given.
fn with_certificate() -> Story {
    let mut story = Story::without_hub();
    assert_eq!(story.run(["tls", "init", "--host", "press-hall.example"]).code(), 0);
    story.start_hub("127.0.0.1:0");
    fs::copy(story.path("state/convoke/tls/authority.pem"), story.path("authority.pem")).unwrap();
    fs::copy(story.path("state/convoke/admin.token"), story.path("admin.token")).unwrap();
    story
}

fn tls(story: &Story) -> String {
    format!("tls://{}", story.address())
}

/// A hub that says what happens, on an address over TLS only.
fn start_hub(story: &Story) -> (Running, String) {
    let hub = story.start(["hub", "-v", "--listen", "tls://127.0.0.1:0"]);
    let printed = hub.prints("listening tls://").printed();
    (hub, printed.trim_end().strip_prefix("listening ").unwrap().to_owned())
}

#[test]
fn init_says_what_a_program_elsewhere_needs_to_type() {
    let story = Story::without_hub();
    let ended = story.run(["tls", "init", "--host", "press-hall.example"]);
    let (said, authority) = (ended.stdout(), story.path("state/convoke/tls/authority.pem"));
    assert!(said.starts_with("The hub's certificate is for press-hall.example, "), "{said}");
    let rest = format!(
        "Give each machine a copy of {} and a token. There:\n\
         convoke subscribe '#' --address tls://press-hall.example:7117 --authority authority.pem --token-file admin.token\n",
        authority.display()
    );
    assert!((ended.code(), said.ends_with(&rest)) == (0, true), "{said}");
}

#[test]
fn what_init_has_made_is_what_the_hub_shows() {
    let story = with_certificate();
    let given = ["--address", &tls(&story), "--authority", "authority.pem", "--token-file", "admin.token"];
    let ended = story.run(["ping"].into_iter().chain(given));
    assert_eq!((ended.code(), ended.stderr()), (0, String::new()));
    // On the machine itself all is as before.
    assert_eq!(story.run(["ping"]).code(), 0);
}

#[test]
fn an_authority_is_not_overwritten_but_a_certificate_is_renewed() {
    let story = Story::without_hub();
    let authority = story.path("state/convoke/tls/authority.pem");
    story.run(["tls", "init", "--renew"]).is(
        78,
        "",
        &format!("convoke: `{}` is not there, so there is nothing to renew; leave --renew out\n", authority.display()),
    );
    assert_eq!(story.run(["tls", "init", "--host", "press-hall.example"]).code(), 0);
    let before = fs::read(&authority).unwrap();
    let ended = story.run(["tls", "init"]);
    assert!(ended.code() == 78 && ended.stderr().contains("--renew makes a new certificate"), "{}", ended.stderr());
    let ended = story.run(["tls", "init", "--renew", "--host", "192.0.2.7", "--json"]);
    let made = ended.stdout();
    assert!(made.contains(r#""hosts":["192.0.2.7","press-hall.example","#), "{made}");
    assert!(made.contains(r#""address":"tls://192.0.2.7:7117""#), "{made}");
    assert_eq!(fs::read(&authority).unwrap(), before);
}

#[test]
fn a_hub_takes_a_renewed_certificate_when_it_is_told_to_and_keeps_the_old_if_it_is_bad() {
    let story = Story::without_hub();
    assert_eq!(story.run(["tls", "init"]).code(), 0);
    let (hub, address) = start_hub(&story);
    let authority = story.path("state/convoke/tls/authority.pem").display().to_string();
    let ping = || story.run(["ping", "--address", &address, "--authority", &authority]).code();
    assert_eq!(ping(), 0);
    assert_eq!(story.run(["tls", "init", "--renew"]).code(), 0);
    hub.signal(Signal::HUP);
    hub.says("are shown the certificate that is there now");
    fs::write(story.path("state/convoke/tls/server.pem"), "no certificate").unwrap();
    hub.signal(Signal::HUP);
    hub.says("the hub goes on with the certificate that it has");
    assert_eq!(ping(), 0);
    hub.signal(Signal::TERM);
    assert_eq!(hub.ended().code(), 0);
}

#[test]
fn a_program_joins_with_a_certificate_as_the_one_that_it_was_issued_to() {
    let story = with_certificate();
    let made = story.run(["tls", "issue", "press/1"]);
    made.is(0, "--certificate-file press-1.pem --key-file press-1.key\n", "");
    assert_eq!(fs::metadata(story.path("press-1.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let address = tls(&story);
    let joining = ["--address", &address, "--authority", "authority.pem"];
    let shown = ["--certificate-file", "press-1.pem", "--key-file", "press-1.key"];
    let publish = |name: &'static str| story.run(["publish", name].into_iter().chain(joining).chain(shown));
    let ended = publish("press/1/opened");
    assert!(
        ended.code() == 77 && ended.stderr().ends_with("`press/1`, who has no rights here\n"),
        "{}",
        ended.stderr()
    );
    let granted = story.run(["token", "create", "press/1", "--no-secret", "--allow", "publish press/#"]);
    assert_eq!((granted.code(), granted.stderr()), (0, String::new()));
    assert_eq!(publish("press/1/opened").code(), 0);
    assert_eq!(publish("recipe").code(), 77);
    let again = story.run(["tls", "issue", "press/1"]);
    assert!(again.code() == 78 && again.stderr().contains("is there already"), "{}", again.stderr());
}

#[test]
fn who_believes_nobody_or_the_wrong_one_does_not_join() {
    let story = with_certificate();
    let address = tls(&story);
    let ended = story.run(["ping", "--address", &address]);
    let why = "it is not said whose certificates are believed; give the `authority.pem` of the hub, in the shell with --authority";
    ended.is(78, "", &format!("convoke: tls://HUB: {why}\n"));
    let other = Story::without_hub();
    assert_eq!(other.run(["tls", "init"]).code(), 0);
    let authority = other.path("state/convoke/tls/authority.pem").display().to_string();
    let ended = story.run(["ping", "--address", &address, "--authority", &authority]);
    let why = "is not signed by the authority that was given; take the `authority.pem` of that hub";
    ended.is(77, "", &format!("convoke: the certificate of the hub at tls://HUB {why}\n"));
    let ended = story.run(["ping", "--address", &address, "--authority", "nowhere.pem"]);
    ended.is(78, "", "convoke: authority `nowhere.pem`: No such file or directory\n");
}

#[test]
fn a_hub_does_not_start_with_a_key_that_others_can_read() {
    let story = Story::without_hub();
    assert_eq!(story.run(["tls", "init"]).code(), 0);
    let key = story.path("state/convoke/tls/server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = story.run(["hub", "--listen", "127.0.0.1:0"]);
    let why = format!("key `{}` can be read by others (mode 644); make it 600", key.display());
    ended.is(78, "", &format!("convoke: {why}\n"));
    let certificate = story.path("state/convoke/tls/server.pem").display().to_string();
    let ended = story.run(["hub", "--memory", "--tls-certificate", &certificate, "--tls-key", "nowhere"]);
    ended.is(78, "", "convoke: key `nowhere`: No such file or directory\n");
}

#[test]
fn what_is_no_host_and_no_name_is_told() {
    let story = Story::without_hub();
    let ended = story.run(["tls", "init", "--host", "press hall"]);
    ended.is(64, "", "convoke: --host: `press hall` is no name and no address of a host\n");
    // Nothing was begun that is in the way of the right one.
    assert!(!story.path("state").exists());
    assert_eq!(story.run(["tls", "init", "--host", "press-hall.example"]).code(), 0);
    for name in ["press/+", ""] {
        let ended = story.run(["tls", "issue", name]);
        let about = "convoke: the name of the program that the certificate is for: ";
        assert!(ended.code() == 64 && ended.stderr().starts_with(about), "{}", ended.stderr());
    }
    let ended = Story::without_hub().run(["tls", "issue", "press"]);
    assert!(
        ended.code() == 78 && ended.stderr().ends_with("; `convoke tls init` makes an authority\n"),
        "{}",
        ended.stderr()
    );
}
