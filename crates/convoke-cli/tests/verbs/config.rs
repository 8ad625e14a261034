//! `convoke config`, and what a hub makes of its configuration when it starts.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::process::Signal;

use crate::story::{Story, run};
use crate::terminal::Terminal;

/// Every setting there is, as `explain` lists them.
fn keys(story: &Story) -> Vec<String> {
    let listed = story.run(["config", "explain"]).stdout();
    let keys = listed.lines().filter_map(|line| line.split_whitespace().next());
    keys.map(str::to_owned).collect()
}

#[test]
fn a_file_is_begun_checked_and_explained() {
    let story = Story::without_hub();
    let file = story.path("state/convoke/convoke.toml");
    let shown = file.display();
    story.run(["config", "init"]).is(0, &format!("wrote `{shown}`\n"), "");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    story.run(["config", "check"]).is(0, &format!("`{shown}` is right: settings: 0\n"), "");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("#links = 10000", "links = 500")).unwrap();
    story.run(["config", "check", "--json"]).is(0, &format!("{{\"file\":\"{shown}\",\"settings\":1}}\n"), "");
    let explained = story.run(["config", "explain", "limits.links"]).stdout();
    assert!(explained.starts_with(&format!("limits.links = 500\nfrom {shown}:")), "{explained}");
    assert!(explained.contains("--limits-links") && explained.contains("CONVOKE_LIMITS_LINKS"), "{explained}");
}

#[test]
fn a_file_that_is_there_is_not_begun_anew() {
    let story = Story::without_hub();
    let file = story.file("a.toml", b"[hub]\n");
    story.run(["config", "init", &file]).is(
        73,
        "",
        &format!("convoke: configuration file `{file}` cannot be made: it is there already, and left as it is\n"),
    );
    assert_eq!(fs::read(&file).unwrap(), b"[hub]\n");
}

#[test]
fn the_file_to_begin_with_names_every_setting() {
    let story = Story::without_hub();
    let begun = story.run(["config", "init", "-"]).stdout();
    let keys = keys(&story);
    assert!(keys.len() >= 17 && begun.lines().count() <= 62, "{keys:?}\n{begun}");
    for key in keys {
        let word = key.split_once('.').unwrap().1;
        assert!(begun.contains(&format!("\n#{word} = ")), "{word}");
        let explained = story.run(["config", "explain", &key]).stdout();
        assert!(explained.starts_with(&format!("{key} = ")) && explained.lines().count() == 5, "{explained}");
    }
}

/// C: nothing is started, and the data folder is untouched.
#[test]
fn each_mistake_is_a_line_with_its_place() {
    let story = Story::without_hub();
    let file = story.file("a.toml", b"[hub]\nlisen = 'a'\n[limits]\nlinks = 0\n");
    let first = format!("{file}:2:1: there is no `lisen` in `[hub]`; did you mean `listen`?");
    let second = format!("{file}:4:9: `limits.links` is 0: it must be a whole number from 1 to 1000000");
    story.run(["config", "check", &file]).is(78, "", &format!("{first}\n{second}\n"));
    story.run(["hub", "--config", &file]).is(78, "", &format!("{first}; 1 more: see `convoke config check`\n"));
    let ended = story.run(["hub", "--config", &file, "--json"]);
    assert!(ended.stderr().starts_with(r#"{"error":{"kind":"Configuration","message":""#), "{}", ended.stderr());
    // Nothing was begun.
    assert!(!story.path("state").exists());
}

#[test]
fn a_certificate_without_its_key_is_a_mistake() {
    let story = Story::without_hub();
    let file = story.file("a.toml", b"[tls]\ncertificate = '/nope'\n");
    let said = format!("{file}:2:15: `tls.certificate` is set, which takes `tls.key` too\n");
    story.run(["config", "check", &file]).is(78, "", &said);
    story.run(["hub", "--config", &file]).is(78, "", &said);
}

#[test]
fn what_keeps_a_hub_from_starting_here_is_told_and_of_a_named_file_as_a_warning() {
    let story = Story::without_hub();
    for (text, place, says) in [
        ("[hub]\nlisten = ['0.0.0.0:7117']\n", "2:10", "`hub.listen` has `0.0.0.0:7117`, which takes a certificate"),
        (
            "[tls]\ncertificate = 'no.pem'\nkey = 'no.key'\n",
            "2:15",
            "`tls.certificate`: certificate `FOLDER/no.pem`: No such",
        ),
        ("[log]\nfile = '/'\n", "2:8", "`log.file`: log file `/` cannot be written: Is a directory"),
        ("[log]\nfile = 'no/a.log'\n", "2:8", "`log.file`: log file `FOLDER/no/a.log` cannot be written: No such file"),
    ] {
        let file = story.file("a.toml", text.as_bytes());
        let says = says.replace("FOLDER/", file.trim_end_matches("a.toml"));
        let said = story.run(["config", "check", &file]);
        let warning = format!(" WARN on this machine: {file}:{place}: {says}");
        assert!(said.code() == 0 && said.stderr().starts_with(&warning), "{}", said.stderr());
        let mut check = story.convoke(["config", "check"]);
        check.env("CONVOKE_CONFIG", &file);
        let said = run(check);
        assert!(
            said.code() == 78 && said.stderr().starts_with(&format!("{file}:{place}: {says}")),
            "{}",
            said.stderr()
        );
    }
    // Nothing was made, and what can be made when the hub starts is no mistake.
    let file = story.file("a.toml", b"[log]\nfile = 'a.log'\n");
    story.run(["config", "check", &file]).is(0, &format!("`{file}` is right: settings: 1\n"), "");
    assert!(!story.path("state").exists() && !story.path("a.log").exists());
}

#[test]
fn on_a_terminal_a_mistake_is_shown_where_it_stands() {
    let story = Story::without_hub();
    let file = story.file("a.toml", b"[limits]\nlinks = \"5\"\n");
    let terminal = Terminal::new();
    let mut check = story.convoke(["config", "check", &file]);
    check.stderr(terminal.end());
    assert_eq!(run(check).code(), 78);
    let shown = terminal.shown();
    assert!(shown.ends_with("without quotes\n  |\n2 | links = \"5\"\n  |         ^^^\n"), "{shown}");
}

/// C24.
#[test]
fn a_flag_counts_before_the_environment_before_the_file_before_the_default() {
    let story = Story::without_hub();
    let socket = |name: &str| format!("unix://{}", story.path(name).display());
    story.file("a.toml", format!("[hub]\nlisten = ['{}']\nmemory = true\n", socket("file")).as_bytes());
    for (variable, flag, listens) in
        [(None, None, "file"), (Some("environment"), None, "environment"), (Some("environment"), Some("flag"), "flag")]
    {
        let mut hub = story.convoke(["hub", "--config", "a.toml"]);
        hub.envs(variable.map(|name| ("CONVOKE_LISTEN", socket(name))));
        hub.args(flag.map(|name| format!("--listen={}", socket(name))));
        let hub = story.start_command(hub);
        hub.prints("listening");
        hub.signal(Signal::TERM);
        let ended = hub.ended();
        assert_eq!((ended.code(), ended.stdout()), (0, format!("listening {}\n", socket(listens))));
        assert_eq!(ended.stderr(), "");
    }
    // Which file that was is told to who asks.
    let hub = story.start(["hub", "--config", "a.toml", "--log-level", "config=info"]);
    hub.prints("listening");
    hub.signal(Signal::TERM);
    let said = hub.ended().stderr();
    assert!(said.ends_with(" INFO config: configured by `a.toml`\n"), "{said}");
    let mut explain = story.convoke(["config", "explain", "hub.listen", "--config", "a.toml", "--json"]);
    explain.env("CONVOKE_LISTEN", "127.0.0.1:1");
    let explained = run(explain).stdout();
    assert!(explained.contains(r#""value":"[\"127.0.0.1:1\"]","from":"environment""#), "{explained}");
    let explained = story.run(["config", "explain", "hub.listen"]).stdout();
    assert!(explained.starts_with("hub.listen = (port 7117 of "), "{explained}");
}

#[test]
fn the_file_is_that_of_the_flag_or_the_environment_or_the_hubs_folder() {
    let story = Story::without_hub();
    let of = |name: &str, links: u32| story.file(name, format!("[limits]\nlinks = {links}\n").as_bytes());
    fs::create_dir_all(story.path("state/convoke")).unwrap();
    let (flag, variable, _folder) = (of("flag.toml", 1), of("variable.toml", 2), of("state/convoke/convoke.toml", 3));
    let explained = |arguments: &[&str], config: Option<&str>| {
        let mut explain = story.convoke(["config", "explain", "limits.links"].iter().chain(arguments));
        explain.envs(config.map(|file| ("CONVOKE_CONFIG", file)));
        run(explain).stdout().lines().next().unwrap().to_owned()
    };
    assert_eq!(explained(&["--config", &flag], Some(&variable)), "limits.links = 1");
    assert_eq!(explained(&[], Some(&variable)), "limits.links = 2");
    assert_eq!(explained(&[], Some("")), "limits.links = 3");
    let mut elsewhere = story.convoke(["config", "explain", "limits.links"]);
    elsewhere.env("CONVOKE_DATA", story.path("elsewhere"));
    assert!(run(elsewhere).stdout().starts_with("limits.links = 10000\n"));
}

/// C1.
#[test]
fn a_file_that_is_named_must_be_there() {
    let story = Story::without_hub();
    let said = "convoke: configuration file `none.toml`: No such file or directory\n";
    story.run(["hub", "--config", "none.toml"]).is(78, "", said);
    story.run(["config", "check", "none.toml"]).is(78, "", said);
    let mut hub = story.convoke(["hub"]);
    hub.env("CONVOKE_CONFIG", "none.toml");
    run(hub).is(78, "", said);
    symlink(story.path("nowhere"), story.path("link.toml")).unwrap();
    assert_eq!(story.run(["hub", "--config", "link.toml"]).code(), 78);
}

#[test]
fn what_a_flag_or_the_environment_says_wrong_is_told_in_its_own_words() {
    let story = Story::without_hub();
    let says = "must be a size from 1KiB to 64MiB, such as `8MiB`";
    story.run(["hub", "--limits-payload", "1GiB"]).is(
        64,
        "",
        &format!("convoke: `--limits-payload` is `1GiB`: it {says}\n"),
    );
    let mut hub = story.convoke(["hub"]);
    hub.env("CONVOKE_LIMITS_PAYLOAD", "1GiB");
    run(hub).is(78, "", &format!("convoke: `CONVOKE_LIMITS_PAYLOAD` is `1GiB`: it {says}\n"));
    let ended = story.run(["hub", "--limits-links", "-5"]);
    assert_eq!(ended.code(), 64, "{}", ended.stderr());
    let ended = story.run(["hub", "--listen", "tcp://ann:sesame@host:1"]);
    assert_eq!(ended.code(), 64);
    assert!(!ended.stderr().contains("sesame"), "{}", ended.stderr());
}

#[test]
fn a_setting_or_a_variable_that_does_not_exist_is_told_with_what_was_meant() {
    let story = Story::without_hub();
    story.run(["config", "explain", "limits.lnks"]).is(
        64,
        "",
        "convoke: there is no setting `limits.lnks`; did you mean `limits.links`?\n",
    );
    let mut ping = story.convoke(["config", "explain", "limits.links"]);
    ping.env("CONVOKE_LIMIT_LINKS", "5");
    let said = run(ping).stderr();
    assert_eq!(said, " WARN `CONVOKE_LIMIT_LINKS` means nothing; did you mean `CONVOKE_LIMITS_LINKS`?\n");
}

#[test]
fn names_may_be_kept_in_memory_only() {
    let story = Story::without_hub();
    let hub = story.start(["hub", "--listen", "127.0.0.1:0", "--memory=press,line/1"]);
    hub.prints("listening");
    assert!(story.path("state/convoke/admin.token").is_file());
    let said = story.run(["hub", "--memory=a/#"]).stderr();
    assert!(said.starts_with("convoke: `--memory`: "), "{said}");
}

#[test]
fn a_hub_with_the_times_of_nope_has_them() {
    let story = Story::without_hub();
    story.file("a.toml", b"[membership]\nprofile = 'nope'\n");
    let explained = story.run(["config", "explain", "membership.beat", "--config", "a.toml"]).stdout();
    assert!(explained.starts_with("membership.beat = \"500ms\"\nfrom `membership.profile`\n"), "{explained}");
}

#[test]
fn each_of_its_verbs_has_help_and_says_what_is_missing() {
    let story = Story::without_hub();
    for verb in ["check", "explain", "init"] {
        let ended = story.run(["config", verb, "--help"]);
        assert_eq!((ended.code(), ended.stderr()), (0, String::new()), "{verb}");
        assert!(ended.stdout().contains("Example"), "{}", ended.stdout());
    }
    assert_eq!(story.run(["config"]).code(), 64);
    let ended = story.run(["config", "chekc"]);
    assert!(ended.code() == 64 && ended.stderr().contains("'check'"), "{}", ended.stderr());
    let ended = story.run(["hub", "--limits-link", "5"]);
    assert!(ended.code() == 64 && ended.stderr().contains("'--limits-links'"), "{}", ended.stderr());
    let ended = story.run(["hub", "--limits-links", "5", "--limits-links", "6"]);
    assert_eq!(ended.code(), 64, "{}", ended.stderr());
}
