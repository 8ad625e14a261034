//! `convoke publish`.

use rustix::process::Signal;

use crate::story::{Story, full_disk, run};

#[test]
fn an_event_reaches_who_has_subscribed() {
    let story = Story::with_hub();
    let panel = story.subscribe(["press/+/opened", "--count", "1"]);
    story.run(["publish", "press/1/opened", r#"{"force": 12.50}"#]).is(0, "", "");
    panel.ended().is(0, "press/1/opened {\"force\": 12.50}\n", "");
}

#[test]
fn confirm_tells_to_how_many_nodes_it_went() {
    let story = Story::with_hub();
    story.run(["publish", "a", "1", "--confirm"]).is(0, "0\n", "");
    let _one = story.subscribe(["a"]);
    story.run(["publish", "a", "1", "--confirm"]).is(0, "1\n", "");
    let _two = story.subscribe(["#"]);
    story.run(["publish", "a", "1", "--confirm", "--json"]).is(0, "{\"nodes\":2}\n", "");
}

#[test]
fn json_stays_as_it_was_typed_and_all_else_is_text() {
    let story = Story::with_hub();
    let panel = story.subscribe(["#", "--json", "--count", "5"]);
    for payload in ["{ \"b\": 1.50, \"a\": 9007199254740993 }", "-1e400", "hello \"you\"", "@file"] {
        story.run(["publish", "a", payload]).is(0, "", "");
    }
    story.run(["publish", "a"]).is(0, "", "");
    let shown: Vec<String> = panel
        .ended()
        .stdout()
        .lines()
        .map(|line| line[line.find("\"encoding\"").unwrap()..line.find(",\"headers\"").unwrap()].to_owned())
        .collect();
    assert_eq!(
        shown,
        [
            r#""encoding":"json","payload":{ "b": 1.50, "a": 9007199254740993 }"#,
            r#""encoding":"json","payload":-1e400"#,
            r#""encoding":"text","payload":"hello \"you\"""#,
            r#""encoding":"text","payload":"@file""#,
            r#""encoding":"raw","payload":{"base64":""}"#,
        ]
    );
}

#[test]
fn bytes_come_from_a_file_or_from_stdin() {
    let story = Story::with_hub();
    let panel = story.subscribe(["#", "--raw", "--count", "2"]);
    let file = story.file("image", b"\x00\xff\n");
    story.run(["publish", "image", "--raw", &file]).is(0, "", "");
    story.run_with_input(b"\x1b[2J", ["publish", "image", "--raw", "-"]).is(0, "", "");
    assert_eq!(panel.ended().stdout_bytes(), b"\x00\xff\n\x1b[2J");
}

#[test]
fn headers_go_beside_the_payload() {
    let story = Story::with_hub();
    let panel = story.subscribe(["a", "--json", "--count", "1"]);
    story
        .run(["publish", "a", "1", "--name", "b", "--header", "x=1", "--header", "y=a=b", "--header", "x="])
        .is(0, "", "");
    let line = concat!(
        r#"{"name":"a","publisher":"b","seq":1,"encoding":"json","payload":1,"headers":{"x":["1",""],"y":"a=b"}}"#,
        "\n"
    );
    panel.ended().is(0, line, "");
}

#[test]
fn a_header_without_a_value_is_refused() {
    let story = Story::without_hub();
    story.run(["publish", "a", "1", "--header", "reason"]).is(
        64,
        "",
        "convoke: `reason` is no header: write NAME=VALUE, such as `reason=test`\n",
    );
}

#[test]
fn a_wildcard_in_the_name_is_refused_before_a_hub_is_asked_for() {
    let story = Story::without_hub();
    story.run(["publish", "press/+", "1"]).is(
        64,
        "",
        "convoke: `press/+` has a `+`, which only a pattern may have: a name stands for one thing\n",
    );
    story.run(["publish", "", "1", "--json"]).is(
        64,
        "",
        "{\"error\":{\"kind\":\"BadName\",\"message\":\"a name cannot be empty: it has 1 to 512 bytes\"}}\n",
    );
}

#[test]
fn the_hubs_own_names_are_forbidden() {
    let story = Story::with_hub();
    story.run(["publish", "$hub/nodes", "1"]).is(
        77,
        "",
        "convoke: publish on `$hub/nodes`: names that begin with `$` are the hub's own\n",
    );
}

#[test]
fn a_payload_that_the_hub_does_not_take_is_refused() {
    let story = Story::with_hub();
    let file = story.file("large", &vec![0; (1 << 20) + 1]);
    story.run(["publish", "a", "--raw", &file]).is(
        65,
        "",
        "convoke: publish on `a`: the payload has 1048577 bytes, and this hub takes at most 1048576\n",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let story = Story::without_hub();
    story.run(["publish", "a", "--raw", "gone"]).is(74, "", "convoke: cannot read `gone`: No such file or directory\n");
    story.run(["publish", "a", "--raw", "."]).is(74, "", "convoke: cannot read `.`: Is a directory\n");
}

#[test]
fn ctrl_c_ends_it_although_its_payload_has_no_end() {
    let story = Story::without_hub();
    let mut command = story.convoke(["publish", "a", "--raw", "-", "-v"]);
    let (reader, _writer) = std::io::pipe().unwrap();
    command.stdin(reader);
    let publish = story.start_command(command);
    publish.says("reading `-`");
    publish.signal(Signal::INT);
    publish.ended().is(130, "", "");
}

#[test]
fn a_hub_that_goes_away_is_told() {
    let mut story = Story::with_hub();
    // It takes the link, but never answers.
    story.hub().signal(Signal::STOP);
    story.run(["publish", "a", "1", "--timeout", "300ms"]).is(
        69,
        "",
        "convoke: nothing at HUB has answered within 300 ms; is that a hub, and does it run? --timeout waits longer\n",
    );
    let waiting = story.start(["publish", "a", "1", "-v"]);
    waiting.says("joins the hub at");
    story.kill_hub();
    assert_eq!(waiting.ended().code(), 69);
}

#[test]
fn a_payload_twice_is_refused() {
    let ended = Story::without_hub().run(["publish", "a", "1", "--raw", "-"]);
    assert_eq!(ended.code(), 64);
    assert!(
        ended.stderr().starts_with("convoke: the argument '[PAYLOAD]' cannot be used with '--raw <FILE>'"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn a_full_disk_is_told() {
    let story = Story::with_hub();
    let mut command = story.convoke(["publish", "a", "1", "--confirm"]);
    command.stdout(full_disk());
    run(command).is(74, "", "convoke: cannot write to standard output: No space left on device\n");
}
