//! `convoke token` and `convoke explain`.

use crate::story::Story;

#[test]
fn a_token_does_what_its_rules_allow_and_nothing_else() {
    let story = Story::with_hub();
    let create = ["token", "create", "cam", "--allow", "publish cam/#", "--deny", "publish cam/secret"];
    story.run(create).is(0, "cam.token\n", "");
    let publish = |topic| story.run(["publish", topic, "1", "--token-file", "cam.token"]);
    publish("cam/1").is(0, "", "");
    publish("cam/secret").is(
        77,
        "",
        "convoke: publish on `cam/secret`: the rights of `cam` do not allow `publish cam/secret`\n",
    );
    publish("lamp").is(77, "", "convoke: publish on `lamp`: the rights of `cam` do not allow `publish lamp`\n");
    story.run(["get", "a", "--token-file", "cam.token"]).is(
        77,
        "",
        "convoke: values of `a`: the rights of `cam` do not allow `get a`\n",
    );
    story.run(["status", "--token-file", "cam.token"]).is(
        77,
        "",
        "convoke: values of `$hub/status`: the rights of `cam` do not allow `status $hub/status`\n",
    );
    story.run(["publish", "cam/1", "1", "--token-file", "cam.token", "--name", "lamp"]).is(
        77,
        "",
        "convoke: `lamp` may not join: the rights of `cam` do not allow `join lamp`\n",
    );
}

#[test]
fn tokens_are_listed_shown_and_changed() {
    let story = Story::with_hub();
    story.run(["token", "create", "cam/1", "--allow", "publish cam/#"]).is(0, "cam-1.token\n", "");
    story.run(["token", "create", "lab", "--no-secret", "--allow", "status"]).is(0, "", "");
    let list = story.run(["token", "list"]).stdout();
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines.iter().map(|line| (line[0], line[2], line[3])).collect::<Vec<_>>(),
        [("cam/1", "2", "secret"), ("lab", "2", "certificate")]
    );
    let rules = "allow publish cam/#\nallow join cam/1/#\n";
    story.run(["token", "show", "cam/1"]).is(0, rules, "");
    story.run(["token", "change", "cam/1", "--allow", "get #", "--allow", "join +"]).is(0, "", "");
    story.run(["token", "show", "cam/1"]).is(0, "allow get #\nallow join +\n", "");
    let json = story.run(["token", "show", "lab", "--json"]).stdout();
    assert!(json.starts_with(r#"{"name":"lab","rules":["allow status $hub/#","allow join lab/#"],"#), "{json}");
}

#[test]
fn a_token_that_is_not_there_is_told_alike_whatever_is_to_be_done_with_it() {
    let story = Story::with_hub();
    let none = "convoke: token `lamp`: there is none of this name; `convoke token list` shows those that there are\n";
    for what in
        [&["show", "lamp"][..], &["revoke", "lamp"], &["rotate", "lamp"], &["change", "lamp", "--allow", "get #"]]
    {
        story.run([&["token"], what].concat()).is(69, "", none);
    }
    assert!(!story.path("lamp.token").exists());
    let json = story.run(["token", "revoke", "lamp", "--json"]).stderr();
    assert!(json.starts_with(r#"{"error":{"kind":"NoToken","message":"token `lamp`: "#), "{json}");
}

#[test]
fn a_token_with_too_many_rules_is_refused_before_a_hub_is_asked_for() {
    let story = Story::without_hub();
    let rules =
        |count: usize| (0..count).flat_map(|n| ["--allow".to_owned(), format!("get a/{n}")]).collect::<Vec<_>>();
    let create = |count: usize| ["token", "create", "cam"].map(str::to_owned).into_iter().chain(rules(count));
    story.run(create(64)).is(
        64,
        "",
        "convoke: token `cam`: these are 65 rules, with the rule `join cam/#` that is added where none says `join`, and it has \
         at most 64\n",
    );
    let join = ["--allow", "join cam"].map(str::to_owned);
    let too_many = "convoke: token `cam`: these are 65 rules, and it has at most 64\n";
    story.run(create(64).chain(join.clone())).is(64, "", too_many);
    assert!(!story.path("cam.token").exists());
    let story = Story::with_hub();
    story.run(create(63).chain(join)).is(0, "cam.token\n", "");
}

#[test]
fn a_name_that_is_too_long_for_a_file_is_told_what_to_do() {
    let story = Story::with_hub();
    let name = ["x"; 120].join("/");
    assert_eq!(story.run(["token", "create", &name]).code(), 64, "a name has 32 words");
    let name = "x".repeat(250);
    story.run(["token", "create", &name]).is(
        73,
        "",
        &format!(
            "convoke: token `{name}`: a file cannot have so long a name as `{name}.token`; choose one with --out\n"
        ),
    );
}

#[test]
fn rights_of_a_node_that_is_not_joined_are_explained() {
    let story = Story::with_hub();
    let rules =
        ["--allow", "join lab/+", "--allow", "set %node/#", "--allow", "get by/%author", "--allow", "author ann"];
    story.run(["token", "create", "lab"].into_iter().chain(rules)).is(0, "lab.token\n", "");
    let explain = |what: &[&str]| story.run(["explain", "allow", "lab"].iter().chain(what));
    let as_lab = "as node `lab` with author `lab`";
    explain(&["set", "lab/a"]).is(0, &format!("allowed by `allow set lab/#` of `lab`, {as_lab}\n"), "");
    explain(&["set", "lab/x/a", "--as-node", "lab/x"]).is(
        0,
        "allowed by `allow set lab/x/#` of `lab`, as node `lab/x` with author `lab`\n",
        "",
    );
    explain(&["set", "lab/y/a", "--as-node", "lab/x"]).is(
        77,
        "not allowed: no rule of `lab` allows `set lab/y/a`, as node `lab/x` with author `lab`\n",
        "",
    );
    explain(&["get", "by/ann", "--as-node", "lab/x", "--as-author", "ann"]).is(
        0,
        "allowed by `allow get by/ann` of `lab`, as node `lab/x` with author `ann`\n",
        "",
    );
    // Who could not join like that may do nothing.
    explain(&["set", "hall/a", "--as-node", "hall"]).is(
        77,
        "not allowed: no rule of `lab` allows `join hall`, as node `hall` with author `lab`\n",
        "",
    );
    explain(&["get", "by/eve", "--as-node", "lab/x", "--as-author", "eve"]).is(
        77,
        "not allowed: no rule of `lab` allows `author eve`, as node `lab/x` with author `eve`\n",
        "",
    );
    story.run(["explain", "allow", "lamp", "get", "a", "--as-node", "lamp/1"]).is(
        69,
        "",
        "convoke: explain `lamp`: there is no such token, of which --as-node and --as-author could speak\n",
    );
}

#[test]
fn a_program_whose_token_is_revoked_or_rotated_is_out() {
    let story = Story::with_hub();
    for (name, end) in [("a", vec!["revoke", "a"]), ("b", vec!["rotate", "b", "--out", "new.token"])] {
        let file = format!("{name}.token");
        assert_eq!(story.run(["token", "create", name, "--allow", "subscribe #"]).code(), 0);
        let reader = story.subscribe(["#", "--token-file", &file]);
        assert_eq!(story.run(["token"].into_iter().chain(end)).code(), 0);
        let reader = reader.ended();
        assert!(reader.code() == 77 && reader.stderr().contains(&format!("token `{name}`")), "{}", reader.stderr());
        let again = story.run(["subscribe", "#", "--token-file", &file]);
        assert_eq!(again.code(), 77, "{}", again.stderr());
    }
    story.subscribe(["#", "--token-file", "new.token"]);
}

#[test]
fn a_change_of_rules_reaches_who_has_joined_already() {
    let story = Story::with_hub();
    story.run(["token", "create", "eye", "--allow", "watch #"]).is(0, "eye.token\n", "");
    let eye = story.watch(["#", "--token-file", "eye.token", "--count", "2"]);
    assert_eq!(story.run(["set", "a", "1"]).code(), 0);
    eye.prints("a 1\n");
    story.run(["token", "change", "eye", "--allow", "watch b"]).is(0, "", "");
    assert_eq!(story.run(["set", "a", "2"]).code(), 0);
    assert_eq!(story.run(["set", "b", "1"]).code(), 0);
    assert_eq!(eye.ended().stdout(), "a 1\nb 1\n");
}

#[test]
fn which_rule_decides_is_explained() {
    let story = Story::with_hub();
    story.run(["token", "create", "cam", "--allow", "publish cam/#", "--deny", "publish cam/+/x"]).is(
        0,
        "cam.token\n",
        "",
    );
    let explain = |what: [&str; 3]| story.run(["explain", "allow"].into_iter().chain(what));
    explain(["cam", "publish", "cam/1"]).is(0, "allowed by `allow publish cam/#` of `cam`\n", "");
    explain(["cam", "publish", "cam/1/x"]).is(77, "denied by `deny publish cam/+/x` of `cam`\n", "");
    explain(["cam", "get", "cam"]).is(77, "not allowed: no rule of `cam` allows `get cam`\n", "");
    explain(["cam", "set", "$hub/x"]).is(77, "not allowed: names that begin with `$` are the hub's own\n", "");
    explain(["lamp", "set", "a"]).is(
        69,
        "",
        "convoke: explain `lamp`: there is neither such a node nor such a token\n",
    );
    let _press = story.subscribe(["#", "--name", "press-1"]);
    let everything = "allowed: `press-1` has joined as `admin`, who may do everything\n";
    explain(["press-1", "set", "a"]).is(0, everything, "");
    assert_eq!(explain(["cam", "publsh", "a"]).code(), 64);
    let json = story.run(["explain", "allow", "cam", "publish", "cam/1", "--json"]).stdout();
    assert_eq!(json, "{\"allowed\":true,\"principal\":\"cam\",\"rule\":\"allow publish cam/#\"}\n");
}

#[test]
fn a_secret_overwrites_nothing_and_a_bad_rule_makes_nothing() {
    let story = Story::with_hub();
    story.file("cam.token", b"mine");
    let there = "convoke: the file `cam.token` is there already; choose another with --out\n";
    story.run(["token", "create", "cam"]).is(73, "", there);
    let bad = story.run(["token", "create", "eye", "--allow", "publsh #"]);
    assert_eq!((bad.code(), bad.stdout()), (64, String::new()));
    assert!(bad.stderr().starts_with("convoke: `publsh #` is no rule: `publsh` is none of the verbs publish, "));
    story.run(["token", "list"]).is(0, "", "");
    story.run(["token", "create", "admin", "--out", "x"]).is(
        65,
        "",
        "convoke: token `admin`: it is the hub's own, and stays as it is in the folder of the hub\n",
    );
}

#[test]
fn rights_survive_the_end_of_the_hub() {
    let mut story = Story::with_hub();
    story.run(["token", "create", "cam", "--allow", "publish cam/#"]).is(0, "cam.token\n", "");
    story.kill_hub();
    story.start_hub("127.0.0.1:0");
    story.run(["publish", "cam/1", "1", "--token-file", "cam.token"]).is(0, "", "");
    assert_eq!(story.run(["publish", "lamp", "1", "--token-file", "cam.token"]).code(), 77);
}
