//! Colours: for people at a terminal who have not said that they want none.

use crate::story::{Running, Story};
use crate::terminal::Terminal;

/// A terminal's name that knows colours.
const TERM: (&str, &str) = ("TERM", "xterm-256color");

const RED_WHO: &str = "\u{1b}[1;31mconvoke:\u{1b}[0m ";

/// What a person sees of a verb that is typed with this environment.
fn seen(story: &Story, environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let terminal = Terminal::new();
    let mut command = story.convoke(arguments);
    command.envs(environment.iter().copied()).stdout(terminal.end()).stderr(terminal.end());
    let running: Running = story.start_command(command);
    running.ended();
    terminal.shown()
}

#[test]
fn on_a_terminal_what_matters_has_colours() {
    let story = Story::with_hub();
    assert_eq!(story.run(["set", "press/1/force", "12.5"]).code(), 0);
    assert_eq!(seen(&story, &[TERM], &["get", "press/#"]), "\u{1b}[36mpress/1/force\u{1b}[0m 12.5\n");
    // What a value is alone may be copied.
    assert_eq!(seen(&story, &[TERM], &["get", "press/1/force"]), "12.5\n");
    let list = seen(&story, &[TERM], &["list", "values"]);
    assert!(list.starts_with("\u{1b}[1mVALUE") && list.lines().next().unwrap().ends_with("\u{1b}[0m"), "{list:?}");
    let none = "get of `nothing`: it has no value\n";
    assert_eq!(seen(&story, &[TERM], &["get", "nothing"]), format!("{RED_WHO}{none}"));
    let misspelt = seen(&story, &[TERM], &["pign"]);
    assert!(misspelt.starts_with(&format!("{RED_WHO}unrecognized verb 'pign'")), "{misspelt:?}");
    let verbose = seen(&story, &[TERM], &["ping", "-v"]);
    // A line of the log may come behind what is printed.
    let is_log = |line: &str| line.starts_with("\u{1b}[32m INFO\u{1b}[0m `ann/cli-");
    assert!(verbose.lines().any(is_log), "{verbose:?}");
}

#[test]
fn who_wants_no_colours_gets_none() {
    let story = Story::with_hub();
    assert_eq!(story.run(["set", "a", "1"]).code(), 0);
    for (environment, more) in [
        (&[][..], &[][..]),
        (&[("TERM", "dumb")], &[]),
        (&[TERM, ("NO_COLOR", "1")], &[]),
        (&[TERM, ("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], &[]),
        (&[TERM, ("CONVOKE_COLOR", "never")], &[]),
        (&[TERM], &["--color", "never"]),
        (&[TERM, ("CLICOLOR_FORCE", "1")], &["--color=never"]),
    ] {
        let arguments = |verb: &[&'static str]| [verb, more].concat();
        for verb in [
            &["get", "#"][..],
            &["list", "values"],
            &["get", "nothing"],
            &["ping", "-v"],
            &["pign"],
            &["get", "x", "y"],
        ] {
            let seen = seen(&story, environment, &arguments(verb));
            assert!(!seen.is_empty() && !seen.contains('\u{1b}'), "{environment:?} {more:?}: {seen:?}");
        }
    }
}

#[test]
fn what_no_person_reads_has_no_colours_unless_somebody_asks_for_them() {
    let story = Story::with_hub();
    assert_eq!(story.run(["set", "a", "1"]).code(), 0);
    let run = |environment: &[(&str, &str)], arguments: &[&str]| {
        let mut command = story.convoke(arguments);
        command.envs(environment.iter().copied());
        story.start_command(command).ended()
    };
    run(&[TERM], &["get", "#"]).is(0, "a 1\n", "");
    run(&[TERM], &["get", "b"]).is(69, "", "convoke: get of `b`: it has no value\n");
    let coloured = "\u{1b}[36ma\u{1b}[0m 1\n";
    run(&[("CLICOLOR_FORCE", "1")], &["get", "#"]).is(0, coloured, "");
    run(&[("CLICOLOR_FORCE", "0")], &["get", "#"]).is(0, "a 1\n", "");
    run(&[], &["get", "#", "--color", "always"]).is(0, coloured, "");
    run(&[("CONVOKE_COLOR", "always")], &["get", "b"]).is(69, "", &format!("{RED_WHO}get of `b`: it has no value\n"));
    // A program reads it.
    let json = run(&[], &["get", "#", "--color", "always", "--json"]).stdout();
    assert!(json.starts_with('{') && !json.contains('\u{1b}'), "{json}");
    assert_eq!(run(&[], &["get", "#", "--color", "green"]).code(), 64);
}

#[test]
fn what_others_have_published_has_no_colours_of_its_own() {
    let story = Story::with_hub();
    story.run(["set", "a", "\u{1b}[31mred"]).is(0, "2\n", "");
    assert_eq!(seen(&story, &[TERM], &["get", "#"]), "\u{1b}[36ma\u{1b}[0m \\u001b[31mred\n");
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    let story = Story::without_hub();
    let log = story.path("hub.log").display().to_string();
    let mut hub = story.convoke(["hub", "-vvv", "--memory", "--listen", "127.0.0.1:0", "--log-file", &log]);
    hub.env("CLICOLOR_FORCE", "1");
    let hub = story.start_command(hub);
    let address = hub.listens_at();
    assert_eq!(story.run(["ping", "--address", &address]).code(), 0);
    hub.signal(rustix::process::Signal::TERM);
    assert_eq!(hub.ended().code(), 0);
    let written = std::fs::read_to_string(&log).unwrap();
    assert!(written.lines().count() > 1 && !written.contains('\u{1b}'), "{written:?}");
}
