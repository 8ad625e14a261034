//! The help as it is read: the verbs in groups; all of it for `--help`, what is needed most for `-h`.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use crate::arguments::Arguments;

/// What the verbs are for, in the order in which somebody new meets them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Join in", &["publish", "subscribe", "set", "get", "watch", "wait", "delete", "serve", "call", "journal", "chat"]),
    ("Look", &["list", "locate", "status", "metrics", "ping", "explain"]),
    ("Run a hub", &["hub", "config", "token", "tls", "store"]),
    ("Begin", &["demo", "completions", "man", "help"]),
];

/// How the examples at the end of a help begin.
const EXAMPLES: [&str; 2] = ["Examples:\n", "Example:\n"];

/// Options for joining that few need, and `-h` leaves out.
const SELDOM: [&str; 5] = ["name", "author", "authority", "certificate_file", "key_file"];

/// How the options for joining are headed.
const JOINING: &str = "Joining";

/// The command line, with the help of `--help`.
pub(crate) fn command() -> Command {
    let command = headed(Arguments::command());
    let template = template(&command);
    command.help_template(template)
}

/// Verbs are called so wherever there are some.
fn headed(command: Command) -> Command {
    let command = command.subcommand_value_name("VERB").subcommand_help_heading("Verbs");
    command.mut_subcommands(headed)
}

/// The command line, with the help of `-h`.
pub(crate) fn short() -> Command {
    shortened(command(), "convoke")
}

fn template(command: &Command) -> String {
    // clap makes `help` when the command line is read.
    let mut verbs: Vec<(&str, String)> = vec![("help", "Print this, or the help of a verb".to_owned())];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        verbs.push((verb.get_name(), verb.get_about().map(ToString::to_string).unwrap_or_default()));
    }
    let width = verbs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut template = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    let mut shown: Vec<&str> = Vec::new();
    for (index, (heading, names)) in GROUPS.iter().enumerate() {
        let _ = write!(template, "\n{heading}:\n");
        let last = index + 1 == GROUPS.len();
        let grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
        let listed = names.iter().filter_map(|name| verbs.iter().find(|(verb, _)| verb == name));
        // One that is in no group is not lost.
        let others = verbs.iter().filter(|(name, _)| last && !grouped(name));
        for (name, about) in listed.chain(others) {
            shown.push(name);
            let _ = writeln!(template, "  {name:width$}  {about}");
        }
    }
    template + "\nOptions:\n{options}{after-help}"
}

/// The prose at the end of a help, and its examples.
pub(crate) fn parts(command: &Command) -> (String, String) {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let begin = EXAMPLES.iter().find_map(|begin| match text.starts_with(begin) {
        true => Some(0),
        false => text.find(&format!("\n\n{begin}")),
    });
    match begin {
        Some(at) => (text[..at].trim().to_owned(), text[at..].trim().to_owned()),
        None => (text, String::new()),
    }
}

fn shortened(command: Command, called: &str) -> Command {
    let (prose, examples) = parts(&command);
    let hides = command.get_arguments().any(is_seldom);
    let names: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let mut command = command.mut_args(|argument| {
        let seldom = argument.is_hide_set() || is_seldom(&argument);
        argument.hide(seldom).hide_env(true)
    });
    for name in names {
        let called = format!("{called} {name}");
        command = command.mut_subcommand(name, |verb| shortened(verb, &called));
    }
    match prose.is_empty() && !hides {
        true => command,
        false => command.after_help(format!("{examples}\n\n`{called} --help` says more.").trim().to_owned()),
    }
}

/// Whether `-h` leaves an option out.
fn is_seldom(argument: &Arg) -> bool {
    match argument.get_help_heading() {
        Some(JOINING) => SELDOM.contains(&argument.get_id().as_str()),
        // Of the settings of a hub those without a heading matter most.
        heading => heading.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command, with what is typed to have it.
    fn all() -> Vec<(String, Command)> {
        fn add(command: &Command, called: String, all: &mut Vec<(String, Command)>) {
            for verb in command.get_subcommands() {
                add(verb, format!("{called} {}", verb.get_name()), all);
            }
            all.push((called, command.clone()));
        }
        let mut found = Vec::new();
        add(&command(), "convoke".to_owned(), &mut found);
        found
    }

    /// The words of a line as a shell would pass them on, up to a pipe, a redirection or what is said beside it.
    fn words(line: &str) -> Vec<String> {
        let said_beside =
            line.match_indices("  ").map(|(at, _)| at).find(|at| line[..*at].matches('\'').count().is_multiple_of(2));
        let mut words = Vec::new();
        for (index, part) in line[..said_beside.unwrap_or(line.len())].split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned());
                continue;
            }
            for word in part.split_whitespace() {
                if ["|", ">"].contains(&word) {
                    return words;
                }
                words.push(word.to_owned());
            }
        }
        words
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        short().debug_assert();
    }

    #[test]
    fn every_option_and_verb_has_help() {
        for (called, verb) in all() {
            assert!(verb.get_about().is_some() && verb.get_after_help().is_some(), "{called}");
            for argument in verb.get_arguments() {
                assert!(argument.get_help().is_some(), "{called} {}", argument.get_id());
            }
        }
    }

    #[test]
    fn every_example_in_the_help_is_a_command_line() {
        for (called, verb) in all() {
            let (_, examples) = parts(&verb);
            let typed: Vec<&str> =
                examples.lines().filter_map(|line| Some(&line[line.find("convoke ")? + "convoke ".len()..])).collect();
            assert!(!typed.is_empty(), "`{called}` has no example");
            for line in typed {
                let words = words(line);
                let parsed = command().try_get_matches_from(["convoke".to_owned()].into_iter().chain(words.clone()));
                assert!(parsed.is_ok(), "{words:?} of `{called}`: {}", parsed.expect_err("just seen"));
                let name = called.split(' ').nth(1).unwrap_or_default();
                assert!(examples.contains(&format!("convoke {name}")), "`{called}` does not show itself");
            }
        }
    }

    #[test]
    fn every_verb_is_in_the_help_once() {
        let help = command().render_help().to_string();
        for verb in command().get_subcommands().map(Command::get_name).chain(["help"]) {
            let lines =
                help.lines().filter(|line| line.starts_with(&format!("  {verb}  ")) || *line == format!("  {verb}"));
            assert_eq!(lines.count(), 1, "{verb}: {help}");
        }
    }

    #[test]
    fn no_help_is_wider_than_a_page() {
        for long in [command(), short()] {
            let mut long = long.term_width(80);
            long.build();
            fn look(command: &mut Command) {
                let help = command.render_help().to_string();
                let wide = help.lines().find(|line| line.chars().count() > 80);
                assert_eq!(wide, None, "{}", command.get_name());
                command.get_subcommands_mut().for_each(look);
            }
            look(&mut long);
        }
    }

    #[test]
    fn the_short_help_is_shorter_and_says_where_there_is_more() {
        for ((called, long), (_, verb)) in all().into_iter().zip({
            fn add(command: &Command, all: &mut Vec<((), Command)>) {
                command.get_subcommands().for_each(|verb| add(verb, all));
                all.push(((), command.clone()));
            }
            let mut found = Vec::new();
            add(&short(), &mut found);
            found
        }) {
            let (long, short) = (long.clone().render_help().to_string(), verb.clone().render_help().to_string());
            assert!(short.len() <= long.len() + 80, "{called}: {short}");
            if short != long {
                assert!(short.trim_end().ends_with(&format!("`{called} --help` says more.")), "{called}: {short}");
            }
        }
    }
}
