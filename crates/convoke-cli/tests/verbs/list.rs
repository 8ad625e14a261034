//! `convoke list`.

use rustix::process::Signal;

use crate::story::Story;

/// The columns of a line.
fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn nodes_are_listed_with_how_they_are() {
    let story = Story::with_hub();
    story.run(["list", "nodes"]).is(0, "", "");
    let _press = story.subscribe(["#", "--name", "press-1"]);
    let lost = story.subscribe(["#", "--name", "a/lost one"]);
    lost.signal(Signal::KILL);
    // Its link is cut by the system, at once but not at once.
    let watch = story.watch(["$hub/nodes/a/lost one"]);
    watch.prints("suspect").signal(Signal::INT);
    watch.ended();
    let list = story.run(["list", "nodes"]).stdout();
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(
        lines[0].starts_with("a/lost one  suspect  20") && lines[1].starts_with("press-1     alive    20"),
        "{list}"
    );
    let json = story.run(["list", "nodes", "--json"]).stdout();
    assert!(json.starts_with(r#"{"name":"a/lost one","state":"suspect","reason":"#), "{json}");
    assert!(json.contains("\n{\"name\":\"press-1\",\"state\":\"alive\","), "{json}");
}

#[test]
fn nodes_that_have_left_are_listed_if_asked_for() {
    let story = Story::with_hub();
    let _press = story.subscribe(["#", "--name", "press-1"]);
    assert_eq!(story.run(["set", "a", "1", "--name", "gone"]).code(), 0);
    let listed = |arguments: &[&str]| {
        let lines = story.run(["list", "nodes", "--name", "me"].iter().chain(arguments)).stdout();
        lines.lines().map(|line| columns(line)[..2].join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), ["press-1 alive"]);
    assert_eq!(listed(&["--all"]), ["gone dead", "me alive", "press-1 alive"]);
    let why = story.run(["list", "nodes", "--all"]).stdout();
    assert!(why.lines().any(|line| line.starts_with("gone ") && line.ends_with("  it has left")), "{why}");
    let refused = "convoke: --all is for `list nodes`; of everything else all are listed anyway\n";
    story.run(["list", "values", "--all"]).is(64, "", refused);
}

#[test]
fn services_are_listed_with_how_many_offer_them() {
    let story = Story::with_hub();
    let _one = story.serve(["math/add", "--", "cat"]);
    let _other = story.serve(["math/add", "--", "cat"]);
    let _upper = story.serve(["text/upper", "--", "cat"]);
    let wait = story.start(["call", "nobody", "--wait"]);
    // It counts as soon as the hub has it.
    story.until(["list", "services"], |services| services.contains("nobody"));
    story.run(["list", "services"]).is(0, "math/add    2  0\nnobody      0  1\ntext/upper  1  0\n", "");
    drop(wait);
}

#[test]
fn values_are_listed_without_what_they_are() {
    let story = Story::with_hub();
    let long = story.run(["set", "recipe/steps", "[\"heat\"]", "--author", "eve"]).stdout();
    let short = story.run(["set", "a", "1", "--author", "ann"]).stdout();
    let listed = story.run(["list", "values"]).stdout();
    let lines: Vec<_> = listed.lines().map(columns).collect();
    assert_eq!(lines, [["a", short.trim(), "1", "ann"], ["recipe/steps", long.trim(), "8", "eve"]]);
    assert!(listed.starts_with("a             "), "{listed}");
    let json = story.run(["list", "values", "--json"]).stdout();
    assert_eq!(json, story.run(["get", "#", "--json"]).stdout());
}

#[test]
fn links_are_listed_with_what_waits_for_them() {
    let story = Story::with_hub();
    let _press = story.subscribe(["#", "a", "--name", "press-1"]);
    let listed = story.run(["list", "links", "--name", "me"]).stdout();
    let lines: Vec<_> = listed.lines().map(columns).collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert_eq!((lines[0][1], &lines[0][3..]), ("press-1", &["2", "0"][..]), "{listed}");
    assert_eq!((lines[1][1], &lines[1][3..]), ("me", &["0", "0"][..]), "{listed}");
}

#[test]
fn topics_are_listed_with_how_many_subscribe() {
    let story = Story::with_hub();
    let _one = story.subscribe(["press/#"]);
    let other = story.subscribe(["#"]);
    story.run(["publish", "press/1/opened", "1"]).is(0, "", "");
    story.run(["publish", "line/stop"]).is(0, "", "");
    other.prints("line/stop");
    story.run(["list", "topics"]).is(0, "line/stop       1\npress/1/opened  2\n", "");
    story.run(["list", "topics", "--json"]).is(
        0,
        "{\"name\":\"line/stop\",\"subscribers\":1}\n{\"name\":\"press/1/opened\",\"subscribers\":2}\n",
        "",
    );
}

#[test]
fn what_cannot_be_listed_is_told() {
    let ended = Story::without_hub().run(["list", "nods"]);
    assert_eq!((ended.code(), ended.stderr().lines().count()), (64, 1));
    assert!(ended.stderr().contains("'nodes'"), "{}", ended.stderr());
}
