//! What holds for every verb: help, wrong arguments, odd surroundings.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::story::{Story, full_disk, run};

#[test]
fn without_arguments_there_is_help_and_64() {
    let ended = Story::without_hub().run([""; 0]);
    assert_eq!((ended.code(), ended.stdout()), (64, String::new()));
    assert!(ended.stderr().contains("Usage: convoke [OPTIONS] <VERB>"), "{}", ended.stderr());
}

#[test]
fn help_and_version_are_there_for_every_verb() {
    let story = Story::without_hub();
    story.run(["--version"]).is(0, concat!("convoke ", env!("CARGO_PKG_VERSION"), "\n"), "");
    for verb in story.verbs().iter().filter(|verb| *verb != "help") {
        let ended = story.run([verb, "--help"]);
        assert_eq!((ended.code(), ended.stderr()), (0, String::new()), "{verb}");
        let short = story.run([verb, "-h"]);
        assert_eq!((short.code(), short.stderr()), (0, String::new()), "{verb}");
        assert!(short.stdout().len() < ended.stdout().len() + 80, "{}", short.stdout());
        assert!(ended.stdout().contains(&format!("Usage: convoke {verb}")), "{}", ended.stdout());
        assert!(ended.stdout().contains("Example") && !ended.stdout().contains('\u{1b}'), "{}", ended.stdout());
    }
}

#[test]
fn help_on_a_full_disk_is_told() {
    let story = Story::without_hub();
    let mut command = story.convoke(["--help"]);
    command.stdout(full_disk());
    run(command).is(74, "", "convoke: cannot write to standard output: No space left on device\n");
}

#[test]
fn what_is_misspelt_is_told_in_one_line() {
    let story = Story::without_hub();
    story.run(["pign"]).is(
        64,
        "",
        "convoke: unrecognized verb 'pign'; tip: a similar verb exists: 'ping'; see `convoke --help`\n",
    );
    story.run(["ping", "--jsn"]).is(
        64,
        "",
        "convoke: unexpected argument '--jsn' found; tip: a similar argument exists: '--json'; see `convoke ping --help`\n",
    );
    let ended = story.run(["ping", "--json", "--count", "-1"]);
    assert_eq!(ended.code(), 64);
    assert!(ended.stderr().starts_with(r#"{"error":{"kind":"Usage","message":""#), "{}", ended.stderr());
}

#[test]
fn wrong_values_are_usage_errors() {
    let story = Story::without_hub();
    for arguments in [
        &["ping", "--timeout", "5"][..],
        &["ping", "--timeout="],
        &["ping", "--timeout", "99999999999999999999h"],
        &["ping", "--timeout", "1s", "--timeout", "2s"],
        &["ping", "--count", "0"],
        &["ping", "--count", "18446744073709551616"],
        &["ping", "--name", "a/+"],
        &["ping", "--author", ""],
        &["ping", "one", "two"],
        &["subscribe", "#", "--idle", "-1s"],
        &["subscribe", "#", "--count"],
        &["subscribe", "#", "--count", "1e3"],
        &["publish"],
        &["demo", "extra"],
    ] {
        let ended = story.run(arguments);
        assert_eq!((ended.code(), ended.stdout()), (64, String::new()), "{arguments:?}: {}", ended.stderr());
        assert_eq!(ended.stderr().lines().count(), 1, "{}", ended.stderr());
        assert!(ended.stderr().starts_with("convoke: "), "{}", ended.stderr());
    }
}

#[test]
fn what_was_typed_does_not_act_on_the_terminal() {
    let story = Story::without_hub();
    for arguments in [
        &["ping", "--\u{1b}[2J"][..],
        &["\u{1b}]0;x\u{7}"],
        &["publish", "a\u{1b}b", "1"],
        &["publish", "a", "--header", "\u{1b}"],
    ] {
        let ended = story.run(arguments);
        assert_eq!(ended.code(), 64);
        assert!(!ended.stderr().contains(['\u{1b}', '\u{7}']), "{:?}", ended.stderr());
    }
}

#[test]
fn arguments_that_are_no_text_are_refused() {
    let ended = Story::without_hub().run([OsStr::new("publish"), OsStr::new("a"), OsStr::from_bytes(b"\xff")]);
    assert_eq!((ended.code(), ended.stderr().lines().count()), (64, 1), "{}", ended.stderr());
}

#[test]
fn a_payload_may_look_like_a_flag() {
    let story = Story::with_hub();
    let panel = story.subscribe(["#", "--count", "2"]);
    story.run(["publish", "a", "-1"]).is(0, "", "");
    story.run(["publish", "a", "--", "--confirm"]).is(0, "", "");
    panel.ended().is(0, "a -1\na --confirm\n", "");
}

#[test]
fn ten_thousand_patterns_are_fine_and_one_more_is_told() {
    let story = Story::with_hub();
    let patterns: Vec<String> = (0..9_999).map(|n| format!("a/{n}")).collect();
    let arguments = patterns.iter().map(String::as_str).chain(["b", "--count", "1"]);
    let panel = story.subscribe(arguments);
    story.run(["publish", "b", "1"]).is(0, "", "");
    panel.ended().is(0, "b 1\n", "");
    let too_many = story
        .run(["subscribe", "--timeout", "30s", "one", "two"].into_iter().chain(patterns.iter().map(String::as_str)));
    assert_eq!(too_many.code(), 75, "{}", too_many.stderr());
}

#[test]
fn a_bare_environment_is_enough() {
    let story = Story::with_hub();
    let mut command = story.convoke(["ping", "--address", story.address(), "--token-file"]);
    command.arg(story.path("state/convoke/admin.token")).env_clear();
    assert_eq!(run(command).code(), 0);
}

#[test]
fn the_environment_says_what_no_flag_says() {
    let story = Story::with_hub();
    let panel = story.subscribe(["#", "--json", "--count", "1"]);
    let mut command = story.convoke(["publish", "a", "1", "--author", "eve", "--confirm"]);
    command.env("CONVOKE_NAME", "press-1").env("CONVOKE_AUTHOR", "a/+").env("CONVOKE_JSON", "1");
    run(command).is(0, "{\"nodes\":1}\n", "");
    assert!(panel.ended().stdout().contains(r#""publisher":"press-1""#));
    let mut command = story.convoke(["ping"]);
    command.env("CONVOKE_TIMEOUT", "5").env("CONVOKE_JSON", "0");
    let ended = run(command);
    assert_eq!(ended.code(), 64);
    assert!(ended.stderr().starts_with("convoke: invalid value '5' for 'CONVOKE_TIMEOUT': "), "{}", ended.stderr());
    // What the command line says counts, and is told by its own name.
    let mut command = story.convoke(["ping", "--timeout", "6"]);
    command.env("CONVOKE_TIMEOUT", "5");
    let said = run(command).stderr();
    assert!(said.starts_with("convoke: invalid value '6' for '--timeout <TIME>': "), "{said}");
}

#[test]
fn a_variable_that_is_empty_is_none() {
    let story = Story::without_hub();
    let mut command = story.convoke(["ping", "--timeout", "1ms"]);
    for variable in ["NAME", "AUTHOR", "TOKEN", "TOKEN_FILE", "AUTHORITY", "JSON", "COLOR", "TIMEOUT"] {
        command.env(format!("CONVOKE_{variable}"), "");
    }
    let ended = run(command);
    assert_eq!(ended.code(), 69, "{}", ended.stderr());
    let mut command = story.convoke(["ping", "--help"]);
    command.env("CONVOKE_ADDRESS", "");
    assert!(run(command).stdout().contains("[env: CONVOKE_ADDRESS="));
}

#[test]
fn the_common_options_are_known_to_every_verb() {
    let story = Story::without_hub();
    for verb in story.verbs() {
        let verb: &[&str] = match verb.as_str() {
            // They take neither an address nor a time.
            "help" | "config" | "tls" => continue,
            "token" => &["token", "list"],
            "explain" => &["explain", "allow"],
            "journal" => &["journal", "show"],
            "store" => &["store", "backup"],
            verb => &[verb],
        };
        let common = ["--address", "mem://x", "--name", "a", "--author", "b", "--token-file", "c", "--timeout", "1s"];
        let common = [&common[..], &["--color", "never", "--json", "-v", "--no-such-option"]].concat();
        // The last option does not exist, and is the only one that is complained about.
        let ended = story.run([verb, &common].concat());
        assert_eq!(ended.code(), 64, "{verb:?}");
        assert!(ended.stderr().contains("--no-such-option"), "{verb:?}: {}", ended.stderr());
    }
}
