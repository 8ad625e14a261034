//! `convoke set`.

use rustix::process::Signal;

use crate::story::Story;

/// What `set` has printed: a revision.
fn rev(stdout: &str) -> u64 {
    stdout.strip_suffix('\n').unwrap().parse().unwrap()
}

#[test]
fn what_is_set_is_there_for_who_comes_later() {
    let story = Story::with_hub();
    let set = story.run(["set", "recipe/steps", "[\"heat\", 1.50]"]);
    assert_eq!((set.code(), set.stderr()), (0, String::new()));
    story.run(["get", "recipe/steps"]).is(0, "[\"heat\", 1.50]\n", "");
    let later = story.run(["set", "recipe/steps", "none"]);
    assert!(rev(&later.stdout()) > rev(&set.stdout()));
    story.run(["get", "recipe/steps"]).is(0, "none\n", "");
}

#[test]
fn json_tells_the_revision_as_text() {
    let story = Story::with_hub();
    let set = story.run(["set", "a", "1", "--json"]).stdout();
    let rev = set.strip_prefix(r#"{"name":"a","rev":""#).unwrap().strip_suffix("\"}\n").unwrap();
    assert_eq!(story.run(["set", "a", "2", "--if-rev", rev]).code(), 0);
}

#[test]
fn only_who_has_seen_the_last_change_may_change_it() {
    let story = Story::with_hub();
    let first = rev(&story.run(["set", "line/state", "idle"]).stdout());
    let second = rev(&story.run(["set", "line/state", "busy", "--if-rev", &first.to_string()]).stdout());
    story.run(["set", "line/state", "ready", "--if-rev", &first.to_string()]).is(
        75,
        "",
        &format!(
            "convoke: change of `line/state`: expected revision {first}, and it has revision {second} now; \
             read it again\n"
        ),
    );
    story.run(["get", "line/state"]).is(0, "busy\n", "");
}

#[test]
fn of_two_who_create_one_wins() {
    let story = Story::with_hub();
    let created = rev(&story.run(["set", "line/owner", "ann", "--create"]).stdout());
    story.run(["set", "line/owner", "bob", "--create"]).is(
        75,
        "",
        &format!("convoke: change of `line/owner`: expected no value, and it has one of revision {created}\n"),
    );
    story.run(["get", "line/owner"]).is(0, "ann\n", "");
}

#[test]
fn every_value_that_is_there_is_set_and_no_other() {
    let story = Story::with_hub();
    for name in ["press/1/force", "press/2/force", "press/1/speed"] {
        assert_eq!(story.run(["set", name, "1"]).code(), 0);
    }
    story.run(["set", "press/+/force", "12", "--existing"]).is(0, "2\n", "");
    story.run(["set", "press/3/force", "12", "--existing", "--json"]).is(0, "{\"count\":0}\n", "");
    story.run(["get", "#"]).is(0, "press/1/force 12\npress/1/speed 1\npress/2/force 12\n", "");
}

#[test]
fn a_value_goes_when_its_time_is_over() {
    let story = Story::with_hub();
    let watch = story.watch(["line/owner", "--count", "2"]);
    assert_eq!(story.run(["set", "line/owner", "ann", "--ttl", "200ms"]).code(), 0);
    watch.ended().is(0, "line/owner ann\nline/owner\t(deleted)\n", "");
    assert_eq!(story.run(["get", "line/owner"]).code(), 69);
}

#[test]
fn an_ephemeral_value_lives_as_long_as_the_command() {
    let story = Story::with_hub();
    let panel = story.start(["set", "panel/1/open", "true", "--ephemeral"]);
    panel.prints("\n");
    let watch = story.watch(["#", "--count", "2"]);
    watch.prints("panel/1/open true");
    panel.signal(Signal::INT);
    let ended = panel.ended();
    assert_eq!((ended.code(), ended.stderr()), (130, String::new()));
    watch.ended().is(0, "panel/1/open true\npanel/1/open\t(deleted)\n", "");
}

#[test]
fn bytes_come_from_a_file_or_stdin() {
    let story = Story::with_hub();
    let file = story.file("image", b"\x00\xff");
    assert_eq!(story.run(["set", "image", "--raw", &file]).code(), 0);
    assert_eq!(story.run_with_input(b"now", ["set", "clock", "--raw", "-"]).code(), 0);
    story.run(["get", "#"]).is(0, "clock now\nimage base64:AP8=\n", "");
}

#[test]
fn what_is_wrong_by_itself_is_told_without_a_hub() {
    let story = Story::without_hub();
    let missing = "convoke: a payload is missing: write JSON or text behind the name, or --raw FILE\n";
    story.run(["set", "a"]).is(64, "", missing);
    for arguments in [
        &["set", "press/+/force", "1"][..],
        &["set", "a", "1", "--ttl", "0s"],
        &["set", "a", "1", "--if-rev", "x"],
        &["set", "a", "1", "--if-rev", "1", "--create"],
        &["set", "a", "1", "--existing", "--ephemeral"],
        &["set", "a", "1", "--raw", "file"],
    ] {
        let ended = story.run(arguments);
        assert_eq!((ended.code(), ended.stdout()), (64, String::new()), "{arguments:?}: {}", ended.stderr());
        assert_eq!(ended.stderr().lines().count(), 1, "{}", ended.stderr());
    }
}

#[test]
fn a_name_of_the_hubs_own_is_not_ours_to_set() {
    let story = Story::with_hub();
    let ended = story.run(["set", "$hub/status", "1"]);
    assert_eq!((ended.code(), ended.stdout()), (77, String::new()), "{}", ended.stderr());
}

#[test]
fn a_value_that_is_too_long_is_told() {
    let story = Story::with_hub();
    let file = story.file("long", &vec![b'x'; (256 << 10) + 1]);
    let ended = story.run(["set", "a", "--raw", &file]);
    assert_eq!((ended.code(), ended.stdout()), (65, String::new()), "{}", ended.stderr());
}

#[test]
fn a_revision_is_told_where_it_is_to_be_had() {
    let story = Story::without_hub();
    for arguments in [&["set", "a", "1", "--if-rev="][..], &["delete", "a", "--if-rev", "one"]] {
        let ended = story.run(arguments);
        assert!(ended.code() == 64 && ended.stderr().contains("the `rev` of `get --json`"), "{}", ended.stderr());
    }
}
