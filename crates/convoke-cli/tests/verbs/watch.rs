//! `convoke watch`.

use rustix::process::Signal;

use crate::story::Story;

#[test]
fn first_comes_what_there_is_then_what_changes() {
    let story = Story::with_hub();
    assert_eq!(story.run(["set", "press/1/force", "1"]).code(), 0);
    let watch = story.watch(["press/#", "--count", "4"]);
    watch.prints("press/1/force 1");
    assert_eq!(story.run(["set", "press/2/force", "{\"n\": 2}"]).code(), 0);
    assert_eq!(story.run(["set", "line", "not for it"]).code(), 0);
    watch.prints("press/2/force");
    assert_eq!(story.run(["delete", "press/1/force"]).code(), 0);
    watch.prints("(deleted)");
    assert_eq!(story.run(["set", "press/1/force", "(deleted)"]).code(), 0);
    watch.ended().is(
        0,
        "press/1/force 1\npress/2/force {\"n\": 2}\npress/1/force\t(deleted)\npress/1/force (deleted)\n",
        "",
    );
}

#[test]
fn all_is_every_change_also_for_who_is_slow() {
    let story = Story::with_hub();
    let watch = story.watch(["a", "--all", "--count", "12"]);
    // While it stands still more comes than may be on its way to it.
    watch.signal(Signal::STOP);
    let long = "x".repeat(200 << 10);
    let changes: Vec<String> = (0..12).map(|n| format!("{n}{long}")).collect();
    for change in &changes {
        let file = story.file("long", change.as_bytes());
        assert_eq!(story.run(["set", "a", "--raw", &file]).code(), 0);
    }
    watch.signal(Signal::CONT);
    let ended = watch.ended();
    let expected: String = changes.iter().map(|change| format!("a {change}\n")).collect();
    assert!(ended.stdout() == expected, "{} lines, {}", ended.stdout().lines().count(), ended.stderr());
}

#[test]
fn json_tells_changes_and_deletions() {
    let story = Story::with_hub();
    let watch = story.watch(["a", "--json", "--count", "2"]);
    let set = story.run(["set", "a", "hello", "--author", "eve"]).stdout();
    watch.prints("hello");
    let deleted = story.run(["delete", "a", "--author", "eve"]).stdout();
    let line =
        |rev: &str, rest: &str| format!("{{\"name\":\"a\",\"rev\":\"{}\",\"author\":\"eve\",{rest}}}\n", rev.trim());
    let expected = line(&set, r#""encoding":"text","payload":"hello""#) + &line(&deleted, r#""deleted":true"#);
    watch.ended().is(0, &expected, "");
}

#[test]
fn what_several_patterns_match_is_printed_once() {
    let story = Story::with_hub();
    let watch = story.watch(["a/+", "a/#", "b", "--count", "2"]);
    assert_eq!(story.run(["set", "a/1", "1"]).code(), 0);
    watch.prints("a/1");
    assert_eq!(story.run(["set", "b", "2"]).code(), 0);
    watch.ended().is(0, "a/1 1\nb 2\n", "");
}

#[test]
fn it_ends_when_nothing_comes_any_more() {
    let story = Story::with_hub();
    assert_eq!(story.run(["set", "a", "1"]).code(), 0);
    story.run(["watch", "#", "--idle", "300ms"]).is(0, "a 1\n", "");
}

#[test]
fn it_goes_on_over_a_hub_that_is_killed() {
    let mut story = Story::with_hub();
    assert_eq!(story.run(["set", "a", "1"]).code(), 0);
    let watch = story.watch(["#", "--all", "--count", "3"]);
    watch.prints("a 1");
    let address = story.address().to_owned();
    story.kill_hub();
    story.start_hub(&address);
    assert_eq!(story.run(["set", "a", "2"]).code(), 0);
    assert_eq!(story.run(["set", "b", "3"]).code(), 0);
    watch.ended().is(0, "a 1\na 2\nb 3\n", "");
}

#[test]
fn it_ends_with_who_reads_it_although_nothing_comes() {
    let story = Story::with_hub();
    for verb in ["watch", "subscribe"] {
        let (reader, stdout) = std::io::pipe().unwrap();
        let mut command = story.convoke([verb, "a", "-v"]);
        command.stdout(stdout);
        let running = story.start_command(command);
        running.says(" has joined");
        drop(reader);
        running.ended().is(0, "", "");
    }
}

#[test]
fn a_link_that_is_lost_is_told_to_who_wants_to_know() {
    let mut story = Story::with_hub();
    let watch = story.watch(["a"]);
    let address = story.address().to_owned();
    story.kill_hub();
    watch.says(" has lost its link, and joins again as soon as it can: ");
    story.start_hub(&address);
    assert_eq!(story.run(["set", "a", "1"]).code(), 0);
    watch.prints("a 1");
    watch.signal(Signal::INT);
    watch.ended().is(130, "a 1\n", "");
}

#[test]
fn ctrl_c_ends_it() {
    let story = Story::with_hub();
    let watch = story.watch(["#"]);
    watch.signal(Signal::INT);
    watch.ended().is(130, "", "");
}
