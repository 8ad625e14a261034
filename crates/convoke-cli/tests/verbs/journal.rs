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
    run(&["undo", "todo"], "ann").is(
        65,
        "",
        "convoke: undo in `todo`: `ann` has nothing left to undo; --scope everyone undoes what others have done, and \
         `convoke journal redo` does again what was undone\n",
    );
    run(&["redo", "todo"], "bob").is(
        65,
        "",
        "convoke: redo in `todo`: `bob` has nothing left to redo; --scope everyone does again what others have undone\n",
    );
    run(&["redo", "none", "--scope", "everyone"], "bob").is(
        65,
        "",
        "convoke: redo in `none`: nothing is left to redo\n",
    );
    run(&["undo", "todo", "--target", "2"], "ann").is(
        77,
        "",
        "convoke: undo of 2 in `todo`: it is another author's; --scope everyone takes it too\n",
    );
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
fn who_is_not_logged_in_is_told_how_to_undo_what_one_has_done() {
    let story = Story::with_hub();
    story.run(["journal", "append", "todo", "a"]).is(0, "1\n", "");
    let mut command = story.convoke(["journal", "undo", "todo"]);
    let ended = command.env_remove("USER").output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.ends_with("so each program is an author of its own: say with --author who you are\n"), "{said}");
    assert_eq!(ended.status.code(), Some(65));
}

#[test]
fn who_may_not_is_told_so_in_the_words_of_what_was_asked() {
    let story = Story::with_hub();
    story.run(["journal", "append", "todo", "a"]).is(0, "1\n", "");
    story.run(["token", "create", "cam", "--allow", "execute,follow todo"]).is(0, "cam.token\n", "");
    let refused = |verb: &str, says: &str| {
        let ended = story.run(["journal", verb, "todo", "--token-file", "cam.token"]);
        ended.is(77, "", &format!("convoke: {says}\n"));
    };
    refused("undo", "undo in `todo`: the rights of `cam` do not allow `undo todo`");
    refused("redo", "redo in `todo`: the rights of `cam` do not allow `undo todo`");
    refused("followers", "followers of `todo`: the rights of `cam` do not allow `status $hub/journals/todo/followers`");
}

#[test]
fn a_name_that_is_in_use_is_told_with_what_can_be_done_in_a_shell() {
    let story = Story::with_hub();
    let _ann = story.follow(["todo", "--name", "desk"]);
    let ended = story.run(["journal", "show", "todo", "--name", "desk"]);
    assert_eq!(ended.code(), 75);
    let said = ended.stderr();
    assert!(said.starts_with("convoke: the name `desk` is in use by a node that joined "), "{said}");
    assert!(said.ends_with(" s ago; choose another with --name\n"), "{said}");
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
    for nobody in ["0", "", ",", "4294967296"] {
        let refused = story.run(["journal", "append", "todo", "x", "--applied-by", nobody]);
        assert_eq!(refused.code(), 64, "{nobody}: {}", refused.stderr());
    }
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

#[test]
fn with_an_outbox_nothing_is_lost_without_a_hub() {
    let mut story = Story::with_hub();
    let address = story.address().to_owned();
    story.kill_hub();
    let append = |story: &Story, arguments: &[&str], timeout: &str| {
        let begin = ["journal", "append", "made"].iter().chain(arguments);
        story.run(begin.chain(&["--name", "press", "--outbox", "out", "--timeout", timeout]))
    };
    let waits = |count: &str| {
        format!(
            "convoke: outbox `out`: {count} there, and the next run with it sends what is left: no hub answers at HUB; \
             start one with `convoke hub`\n"
        )
    };
    append(&story, &["lid"], "100ms").is(75, "waiting\n", &waits("one command waits"));
    append(&story, &["box", "--json"], "100ms").is(
        75,
        "{\"journal\":\"made\",\"waiting\":true}\n",
        &format!(
            "{}\n",
            serde_json::json!({"error": {"kind": "Waiting", "message": waits("2 commands wait")
            .strip_prefix("convoke: ").unwrap().trim_end()}})
        ),
    );
    append(&story, &[], "100ms").is(75, "", &waits("2 commands wait"));
    append(&story, &["never", "--if-last", "9"], "100ms").is(75, "waiting\n", &waits("3 commands wait"));
    story.start_hub(&address);
    append(&story, &["tray"], "10s").is(
        75,
        "1\n2\n3\n",
        "convoke: append to `made`: expected entry 9 to be its last, and that is 2 now\n",
    );
    append(&story, &["cup"], "10s").is(0, "4\n", "");
    append(&story, &[], "10s").is(0, "", "");
    story.run(["journal", "show", "made"]).is(0, "1 ann lid\n2 ann box\n3 ann tray\n4 ann cup\n", "");
    let nameless = story.run(["journal", "append", "made", "x", "--outbox", "out"]);
    assert_eq!((nameless.code(), nameless.stdout()), (64, String::new()));
    assert!(nameless.stderr().contains("--name"), "{}", nameless.stderr());
}

#[test]
fn one_run_with_an_outbox_waits_for_another() {
    let mut story = Story::with_hub();
    let address = story.address().to_owned();
    story.kill_hub();
    let append = |command: &str, timeout: &str| {
        let begin = ["journal", "append", "made", command, "-v"];
        story.start(begin.iter().chain(&["--name", "press", "--outbox", "out", "--timeout", timeout]))
    };
    let first = append("1", "30s");
    first.says("`press` has its outbox");
    let second = append("2", "30s");
    second.says("waiting for another run: ");
    drop(first);
    second.says("`press` has its outbox");
    second.signal(rustix::process::Signal::INT);
    assert_eq!(second.ended().code(), 130);
    story.start_hub(&address);
    let sent = story.run(["journal", "append", "made", "3", "--name", "press", "--outbox", "out"]);
    assert_eq!(sent.code(), 0, "{}", sent.stderr());
    assert!(sent.stdout().ends_with("3\n") || sent.stdout().ends_with("2\n"), "{}", sent.stdout());
}
