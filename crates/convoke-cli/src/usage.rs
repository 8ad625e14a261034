//! What a wrong command line is answered with, in one line like every other failure.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, Error, FromArgMatches as _, ValueEnum as _};

use crate::arguments::Arguments;
use crate::exit::{Exit, Failure};
use crate::help;
use crate::screen::{self, When};

/// Reads the command line; on failure, and after `--help`, all has been said.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    let parsed = help::command().try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches));
    parsed.map_err(|error| {
        screen::begin(color(env::args_os()), wants_json());
        match error.kind() {
            // The same words again, for who asked for fewer of them.
            ErrorKind::DisplayHelp if wants_short_help() => in_short(error),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => in_short(error),
            _ => answer(&error),
        }
    })
}

fn in_short(error: Error) -> ExitCode {
    answer(&help::short().try_get_matches().err().unwrap_or(error))
}

/// Words that are options, as far as a command line says that could not be read.
fn options() -> impl Iterator<Item = OsString> {
    env::args_os().skip(1).take_while(|argument| argument != "--")
}

/// Whether it is `-h` that was given, and not `--help`.
fn wants_short_help() -> bool {
    options().any(|option| option == "-h") && !options().any(|option| option == "--help")
}

/// What `--color` says, as far as a command line says that could not be read.
fn color(arguments: impl IntoIterator<Item = OsString>) -> When {
    let mut arguments = arguments.into_iter().take_while(|argument| argument != "--");
    let mut when = env::var("CONVOKE_COLOR").ok();
    while let Some(argument) = arguments.next() {
        let argument = argument.to_string_lossy().into_owned();
        if argument == "--color" {
            when = arguments.next().map(|value| value.to_string_lossy().into_owned());
        } else if let Some(value) = argument.strip_prefix("--color=") {
            when = Some(value.to_owned());
        }
    }
    when.and_then(|when| When::from_str(&when, false).ok()).unwrap_or_default()
}

fn answer(error: &Error) -> ExitCode {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut stdout = io::stdout().lock();
            match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Failure::write("standard output", &error).tell(wants_json())
                }
                _ => ExitCode::SUCCESS,
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(Exit::Usage as u8)
        }
        _ => Failure::usage(one_line(&text, env::args_os())).tell(wants_json()),
    }
}

/// Whether `--json` was asked for, as far as a command line says that could not be read.
fn wants_json() -> bool {
    options().any(|option| option == "--json")
}

/// The parser's paragraphs as one sentence: what is wrong, what may have been meant, where to read on.
fn one_line(text: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    // One word for one thing.
    let text =
        &text.replace("unrecognized subcommand '", "unrecognized verb '").replace("similar subcommand", "similar verb");
    let said = text.split("\n\nUsage: ").next().unwrap_or(text);
    let said = said.split("\n\nFor more information").next().unwrap_or(said);
    let mut parts = said.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut line = parts.next().unwrap_or_default();
    for part in parts.filter(|part| !part.is_empty()) {
        line.push_str("; ");
        line.push_str(&part);
    }
    let verbs = help::command();
    let verb = arguments.into_iter().find_map(|word| verbs.find_subcommand(word.as_ref()).map(Command::get_name));
    let help = verb.map_or("convoke --help".to_owned(), |verb| format!("convoke {verb} --help"));
    format!("{}; see `{help}`", line.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_one_sentence() {
        let said = |arguments: &[&str]| {
            one_line(
                &help::command().try_get_matches_from(arguments).expect_err("wrong").render().to_string(),
                arguments,
            )
        };
        assert_eq!(
            said(&["convoke", "publish", "a", "--confrim"]),
            "unexpected argument '--confrim' found; tip: a similar argument exists: '--confirm'; see `convoke publish --help`"
        );
        assert_eq!(
            said(&["convoke", "pign"]),
            "unrecognized verb 'pign'; tip: a similar verb exists: 'ping'; see `convoke --help`"
        );
        assert_eq!(
            said(&["convoke", "publish"]),
            "the following required arguments were not provided: <NAME>; see `convoke publish --help`"
        );
        assert_eq!(
            said(&["convoke", "ping", "--timeout", "5"]),
            "invalid value '5' for '--timeout <TIME>': a time needs its unit: write `5s` for 5 seconds, or use ms, m or h; \
             see `convoke ping --help`"
        );
        assert_eq!(
            said(&["convoke", "watch", "a", "--count", "0"]),
            "invalid value '0' for '--count <N>': it is a whole number, at least 1; see `convoke watch --help`"
        );
    }
}
