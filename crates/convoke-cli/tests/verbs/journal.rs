//! `convoke journal`.

use crate::story::Story;

#[test]
fn what_is_appended_is_there_in_its_place() {
    let story = Story::with_hub();
    story.run(["journal", "append", "todo", "{\"add\": \"milk\"}", "--author", "ann"]).is(0, "1\n", "");
    story.run(["journal", "append", "todo", "wash up", "--author", "bob"]).is(0, "2\n", "");
    story.run(["journal", "show", "todo"]).is(0, "1 ann {\"add\": \"milk\"}\n2 bob wash up\n", "");
    story.run(["journal", "show", "todo", "--last", "1"]).is(0, "2 bob wash up\n", "");
    story.run(["journal", "show", "todo", "--from", "2"]).is(0, "2 bob wash up\n", "");
    story.run(["journal", "show", "nothing"]).is(0, "", "");
    story.run(["journal", "append", "todo", "late", "--if-last", "1"]).is(
        75,
        "",
        "convoke: append to `todo`: expected entry 1 to be its last, and that is 2 now\n",
    );
}

#[test]
fn who_follows_gets_what_comes() {
    let story = Story::with_hub();
    story.run(["journal", "append", "todo", "1", "--author", "ann"]).is(0, "1\n", "");
    let all = story.follow(["todo", "--count", "3"]);
    let later = story.follow(["todo", "--from", "3", "--idle", "2s"]);
    story.run(["journal", "append", "todo", "2", "--author", "ann"]).is(0, "2\n", "");
    story.run(["journal", "append", "todo", "3", "--author", "ann"]).is(0, "3\n", "");
    all.ended().is(0, "1 ann 1\n2 ann 2\n3 ann 3\n", "");
    later.ended().is(0, "3 ann 3\n", "");
}

#[test]
fn what_was_done_last_is_undone_first() {
    let story = Story::with_hub();
    let run = |arguments: &[&str], author: &str| {
        story.run(["journal"].iter().chain(arguments).copied().chain(["--author", author]).collect::<Vec<_>>())
    };
    run(&["append", "todo", "a"], "ann").is(0, "1\n", "");
    run(&["append", "todo", "b"], "bob").is(0, "2\n", "");
    run(&["undo", "todo"], "ann").is(0, "3\n", "");
    run(&["undo", "todo"], "ann").is(75, "", "convoke: undo in `todo`: there is nothing left of your own to take\n");
    run(&["undo", "todo", "--scope", "everyone", "--if-next", "1"], "ann").is(
        75,
        "",
        "convoke: undo in `todo`: somebody was faster: the next is 2 now\n",
    );
    run(&["undo", "todo", "--scope", "everyone"], "ann").is(0, "4\n", "");
    run(&["redo", "todo"], "ann").is(0, "5\n", "");
    story.run(["journal", "show", "todo"]).is(0, "1 ann a\n2 bob b\n3 ann undo 1\n4 ann undo 2\n5 ann redo 2\n", "");
    let exported = story.run(["journal", "export", "todo"]);
    let lines: Vec<serde_json::Value> =
        exported.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!((&lines[0]["command"], &lines[0]["kind"], &lines[3]["target"]), (&"a".into(), &"do".into(), &2.into()));
}

#[test]
fn how_a_journal_undoes_is_said_with_its_first_command() {
    let story = Story::with_hub();
    let append = |strategy: &str, author: &str| {
        story.run(["journal", "append", "plan", "a", "--strategy", strategy, "--author", author])
    };
    append("refuse", "ann").is(0, "1\n", "");
    append("refuse", "bob").is(0, "2\n", "");
    append("replay", "ann").is(
        65,
        "",
        "convoke: append to `plan`: it undoes by refuse since its first entry, and this program by replay; take another \
         journal, or a state with the same strategy\n",
    );
    story.run(["journal", "undo", "plan", "--author", "ann"]).is(
        75,
        "",
        "convoke: undo in `plan`: others have gone on from it: their entries 2 touch the same; they are to be undone first, or \
         to stay with it\n",
    );
}

#[test]
fn it_survives_the_hub() {
    let mut story = Story::with_hub();
    story.run(["journal", "append", "todo", "1", "--author", "ann"]).is(0, "1\n", "");
    story.run(["journal", "undo", "todo", "--author", "ann"]).is(0, "2\n", "");
    story.kill_hub();
    let address = story.address().to_owned();
    story.start_hub(&address);
    story.run(["journal", "redo", "todo", "--author", "ann"]).is(0, "3\n", "");
    story.run(["journal", "show", "todo"]).is(0, "1 ann 1\n2 ann undo 1\n3 ann redo 1\n", "");
}

/// What the hub tells of the members of `todo`, without the moments.
fn followers(story: &Story) -> Vec<String> {
    let lines = story.run(["journal", "followers", "todo"]).stdout();
    let columns = |line: &str| {
        let mut cells: Vec<&str> = line.split_whitespace().collect();
        cells.remove(3);
        cells.join(" ")
    };
    lines.lines().map(columns).collect()
}

#[test]
fn who_appends_learns_who_has_it() {
    let story = Story::with_hub();
    story.run(["journal", "followers", "todo"]).is(0, "", "");
    let append = |command: &str, who: &str| {
        story.run(["journal", "append", "todo", command, "--applied-by", who, "--timeout", "400ms"])
    };
    append("1", "all").is(0, "1\n", "");
    append("2", "1").is(75, "2\n", "convoke: append to `todo`: after 400 ms entry 2 is applied by 0 of 0\n");
    append("3", "ann").is(
        75,
        "3\n",
        "convoke: append to `todo`: after 400 ms entry 3 is applied by 0 of 1: `ann` is no member\n",
    );
    let ann = story.follow(["todo", "--member", "--name", "ann"]);
    let _reads = story.follow(["todo"]);
    for who in ["all", "quorum", "1", "ann", "ann,"] {
        let appended = story.run(["journal", "append", "todo", "x", "--applied-by", who]);
        assert_eq!((appended.code(), appended.stderr()), (0, String::new()), "{who}");
    }
    assert_eq!(followers(&story), ["ann 8 0 here"]);
    let json = story.run(["journal", "followers", "todo", "--json"]).stdout();
    assert!(json.starts_with(r#"{"node":"ann","applied":8,"lag":0,"since_ms":1"#), "{json}");
    let listed = story.run(["list", "journals"]).stdout();
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["todo", "8", "1", "1"]);
    ann.signal(rustix::process::Signal::KILL);
    story.until(["journal", "followers", "todo"], |followers| followers.contains("away"));
    append("9", "all").is(
        75,
        "9\n",
        "convoke: append to `todo`: after 400 ms entry 9 is applied by 0 of 1: `ann` is away, 1 behind\n",
    );
    let json = story.run(["journal", "append", "todo", "x", "--applied-by", "all", "--timeout", "400ms", "--json"]);
    assert_eq!((json.code(), json.stdout().as_str()), (75, "{\"journal\":\"todo\",\"seq\":10}\n"));
    assert!(
        json.stderr().starts_with(r#"{"error":{"kind":"TimedOut","message":"append to `todo`: "#),
        "{}",
        json.stderr()
    );
    let refused = story.run(["journal", "append", "todo", "x", "--applied-by", "a//b"]);
    assert_eq!(refused.code(), 64, "{}", refused.stderr());
    assert_eq!(story.run(["journal", "append", "todo", "x", "--applied-by", "0"]).code(), 64);
}

#[test]
fn who_comes_and_goes_is_said_in_the_journal() {
    let story = Story::with_hub();
    let ann = story.follow(["room", "--presence", "--name", "ann"]);
    let all = story.follow(["room", "--count", "3"]);
    story.run(["journal", "append", "room", "hello", "--author", "bob"]).is(0, "2\n", "");
    ann.prints("2 bob hello").signal(rustix::process::Signal::INT);
    ann.ended().is(130, "1 ann joins\n2 bob hello\n", "");
    all.ended().is(0, "1 ann joins\n2 bob hello\n3 ann leaves\n", "");
    let exported = story.run(["journal", "export", "room"]).stdout();
    let kinds: Vec<String> = exported
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["join", "do", "leave"]);
}

#[test]
fn without_a_hub_nothing_is_appended_and_that_is_said() {
    let story = Story::without_hub();
    story.run(["journal", "append", "todo", "1", "--timeout", "1s"]).is(
        69,
        "",
        "convoke: no hub answers at HUB; start one with `convoke hub`; nothing was appended\n",
    );
}
