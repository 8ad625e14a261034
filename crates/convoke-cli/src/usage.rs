//! What a wrong command line is answered with, in one line like every other failure.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _, Error, Parser};

use crate::arguments::Arguments;
use crate::exit::{Exit, Failure};

/// Reads the command line; on failure, and after `--help`, all has been said.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    Arguments::try_parse().map_err(|error| answer(&error))
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
        _ => Failure::usage(one_line(&text, std::env::args_os())).tell(wants_json()),
    }
}

/// Whether `--json` was asked for, as far as a command line says that could not be read.
fn wants_json() -> bool {
    std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// The parser's paragraphs as one sentence: what is wrong, what may have been meant, where to read on.
fn one_line(text: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let said = text.split("\n\nUsage: ").next().unwrap_or(text);
    let said = said.split("\n\nFor more information").next().unwrap_or(said);
    let mut parts = said.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut line = parts.next().unwrap_or_default();
    for part in parts.filter(|part| !part.is_empty()) {
        line.push_str("; ");
        line.push_str(&part);
    }
    let verbs = Arguments::command();
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
            one_line(&Arguments::try_parse_from(arguments).expect_err("wrong").render().to_string(), arguments)
        };
        assert_eq!(
            said(&["convoke", "publish", "a", "--confrim"]),
            "unexpected argument '--confrim' found; tip: a similar argument exists: '--confirm'; see `convoke publish --help`"
        );
        assert_eq!(
            said(&["convoke", "pign"]),
            "unrecognized subcommand 'pign'; tip: a similar subcommand exists: 'ping'; see `convoke --help`"
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
