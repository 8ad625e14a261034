//! `convoke ping`, and joining in general.

use rustix::process::Signal;

use crate::story::Story;

#[test]
fn the_hub_answers() {
    let story = Story::with_hub();
    let ended = story.run(["ping"]);
    assert_eq!((ended.code(), ended.stderr()), (0, String::new()));
    let line = ended.stdout();
    assert!(line.starts_with("hub answered in ") && (line.ends_with(" µs\n") || line.ends_with(" ms\n")), "{line}");
}

#[test]
fn a_node_answers_through_the_hub() {
    let story = Story::with_hub();
    let _press = story.subscribe(["#", "--name", "press-1"]);
    let ended = story.run(["ping", "press-1", "--json", "--count", "2"]);
    assert_eq!((ended.code(), ended.stderr()), (0, String::new()));
    let lines = ended.stdout();
    assert_eq!(
        lines.lines().filter(|line| line.starts_with(r#"{"node":"press-1","microseconds":"#)).count(),
        2,
        "{lines}"
    );
}

#[test]
fn a_node_that_is_not_there_is_told() {
    let story = Story::with_hub();
    story.run(["ping", "nobody"]).is(69, "", "convoke: ping to `nobody`: no node of this name is joined to the hub\n");
}

#[test]
fn where_no_hub_answers_the_way_out_is_told() {
    let story = Story::without_hub();
    story.run(["ping", "--timeout", "1s"]).is(69, "", "convoke: no hub answers at HUB; start one with `convoke hub`\n");
    story.run(["ping", "--timeout", "100ms", "--json"]).is(
        69,
        "",
        "{\"error\":{\"kind\":\"Unreachable\",\"message\":\"no hub answers at HUB; start one with `convoke hub`\"}}\n",
    );
}

#[test]
fn where_a_hub_of_ones_own_is_no_way_out_the_reason_is_told() {
    // It reaches this machine, but is the address of none.
    let ended = Story::without_hub().run(["ping", "--address", "0.0.0.0:1", "--timeout", "1s"]);
    assert_eq!(ended.code(), 69);
    let said = ended.stderr();
    assert!(said.starts_with("convoke: no hub answers at tcp://0.0.0.0:1: "), "{said}");
    assert!(!said.contains("convoke hub"), "{said}");
}

#[test]
fn a_hub_that_is_started_a_moment_later_is_waited_for() {
    // A free port that was a hub's.
    let mut story = Story::with_hub();
    let address = story.address().to_owned();
    story.kill_hub();
    let ping = story.start(["ping", "--timeout", "30s", "-vvv"]);
    story.start_hub(&address);
    assert_eq!(ping.ended().code(), 0);
}

#[test]
fn a_name_that_is_taken_is_told() {
    let story = Story::with_hub();
    let _first = story.subscribe(["#", "--name", "press-1"]);
    let ended = story.run(["ping", "--name", "press-1"]);
    assert_eq!(ended.code(), 75);
    assert!(ended.stderr().starts_with("convoke: ") && ended.stderr().contains("`press-1`"), "{}", ended.stderr());
}

#[test]
fn who_cannot_prove_the_token_is_not_let_in() {
    let story = Story::with_hub();
    let token = story.file("token", b"admin:0123456789abcdef0123456789abcdef\n");
    let readable_by_others = story.run(["ping", "--token-file", &token]);
    assert_eq!(readable_by_others.code(), 78);
    assert!(readable_by_others.stderr().contains("can be read by others"), "{}", readable_by_others.stderr());
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let wrong = story.run(["ping", "--token-file", &token]);
    assert_eq!(wrong.code(), 77, "{}", wrong.stderr());
    let mut stranger = story.convoke(["ping"]);
    stranger.env("XDG_RUNTIME_DIR", story.path("elsewhere")).env("XDG_STATE_HOME", story.path("elsewhere"));
    let stranger = crate::story::run(stranger);
    assert_eq!(stranger.code(), 77, "{}", stranger.stderr());
    let remedy = "; give the hub's token with --token-file or CONVOKE_TOKEN";
    assert!(stranger.stderr().ends_with(&format!("may not join without a token{remedy}\n")), "{}", stranger.stderr());
    let mut stranger = story.convoke(["ping"]);
    stranger.env_remove("XDG_RUNTIME_DIR").env("XDG_STATE_HOME", story.path("elsewhere"));
    let said = crate::story::run(stranger).stderr();
    assert!(said.contains(remedy) && said.contains("XDG_RUNTIME_DIR"), "{said}");
}

#[test]
fn a_name_that_is_none_is_told_with_whose_it_would_be() {
    let said = Story::without_hub().run(["ping", ""]).stderr();
    assert!(said.starts_with("convoke: the node that shall answer: "), "{said}");
}

#[test]
fn who_may_not_have_a_name_is_not_told_to_give_a_token() {
    let told = "convoke: `$x` is not for nodes: names that begin with `$` are the hub's own\n";
    Story::with_hub().run(["ping", "--name", "$x"]).is(77, "", told);
}

#[test]
fn the_hubs_own_token_opens_the_door() {
    let story = Story::with_hub();
    let mut stranger = story.convoke(["ping", "--token-file"]);
    stranger.arg(story.path("state/convoke/admin.token")).env("XDG_RUNTIME_DIR", story.path("elsewhere"));
    assert_eq!(crate::story::run(stranger).code(), 0);
}

#[test]
fn a_token_as_an_argument_is_refused_and_not_repeated() {
    let ended = Story::without_hub().run(["ping", "--token", "admin:0123456789abcdef"]);
    ended.is(
        64,
        "",
        "convoke: a token is not given as an argument, where every user of the machine can read it; \
         write it to a file and use --token-file, or set CONVOKE_TOKEN\n",
    );
}

#[test]
fn a_bad_address_is_told_without_its_password() {
    let story = Story::without_hub();
    for (address, says) in [
        ("ftp://host", "begins with `tcp://`"),
        ("", "names no host"),
        ("host:99999", "a port is a number"),
        ("tcp://ann:sesame@host", "a token file instead"),
    ] {
        let ended = story.run(["ping", "--address", address]);
        assert_eq!((ended.code(), ended.stdout()), (64, String::new()), "{address}");
        let said = ended.stderr();
        assert!(said.contains(says) && said.lines().count() == 1 && !said.contains("sesame"), "{said}");
    }
}

#[test]
fn ctrl_c_ends_it_while_it_waits_for_a_hub() {
    let story = Story::without_hub();
    let ping = story.start(["ping", "--timeout", "1h", "-v"]);
    ping.says("joins the hub at");
    ping.signal(Signal::INT);
    ping.ended().is(130, "", "");
}

#[test]
fn ctrl_c_ends_it_with_130() {
    let story = Story::with_hub();
    let ping = story.start(["ping", "--count", "1000"]);
    ping.prints("hub answered");
    ping.signal(Signal::INT);
    assert_eq!(ping.ended().code(), 130);
}

#[test]
fn a_token_may_come_from_the_environment() {
    let story = Story::with_hub();
    let token = std::fs::read_to_string(story.path("state/convoke/admin.token")).unwrap();
    let wrong = format!("admin:{}", "0".repeat(64));
    for (given, code) in [("", 77), (token.as_str(), 0), (wrong.as_str(), 77), ("nothing", 78)] {
        let mut ping = story.convoke(["ping"]);
        // As a program that cannot see the hub's socket.
        ping.env("XDG_RUNTIME_DIR", story.path("elsewhere")).env("CONVOKE_TOKEN", given);
        let ended = crate::story::run(ping);
        assert_eq!(ended.code(), code, "{given}: {}", ended.stderr());
        assert!(given.len() < 20 || !ended.stderr().contains(given.trim()), "{}", ended.stderr());
    }
}
