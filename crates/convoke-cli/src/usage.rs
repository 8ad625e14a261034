//! What a wrong command line is answered with, in one line like every other failure.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error, FromArgMatches as _, ValueEnum as _};

use crate::arguments::Arguments;
use crate::exit::{Exit, Failure};
use crate::help;
use crate::screen::{self, When};

/// Reads the command line; on failure, and after `--help`, all has been said.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    let parsed = without_empty_variables(help::command())
        .try_get_matches()
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    parsed.map_err(|error| {
        screen::begin(color(env::args_os()), wants_json());
        match error.kind() {
            // The same words again, for who asked for fewer of them.
            ErrorKind::DisplayHelp if wants_short_help() => in_short(error),
            ErrorKind::DisplayHelp => answer(&help::command().try_get_matches().err().unwrap_or(error)),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => in_short(error),
            _ => answer(&error),
        }
    })
}

/// A variable that is empty is none. In the help it is named all the same.
fn without_empty_variables(command: Command) -> Command {
    let is_empty =
        |argument: &Arg| argument.get_env().is_some_and(|name| env::var_os(name).is_some_and(|it| it.is_empty()));
    command
        .mut_args(|argument| if is_empty(&argument) { argument.env(Resettable::Reset) } else { argument })
        .mut_subcommands(without_empty_variables)
}

/// The option that is told to be wrong, as the parser calls it, and its variable, if it is that which is wrong: nobody has
/// given the option.
fn variable(error: &Error, arguments: impl IntoIterator<Item = OsString>) -> Option<(String, String)> {
    fn of(command: &Command, called: &str) -> Option<(String, String)> {
        let mut arguments = command.get_arguments();
        let found = arguments.find(|argument| argument.get_env().is_some() && argument.to_string() == called);
        let own = found.and_then(|argument| {
            Some((format!("--{}", argument.get_long()?), argument.get_env()?.to_string_lossy().into_owned()))
        });
        own.or_else(|| command.get_subcommands().find_map(|verb| of(verb, called)))
    }
    let Some(ContextValue::String(called)) = error.get(ContextKind::InvalidArg) else { return None };
    let mut all = help::command();
    all.build();
    let (flag, variable) = of(&all, called)?;
    let mut given = arguments.into_iter().take_while(|argument| argument != "--");
    let is_flag = |argument: OsString| {
        let argument = argument.to_string_lossy().into_owned();
        argument.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let set = env::var_os(&variable).is_some();
    (set && !given.any(is_flag)).then(|| (called.clone(), variable))
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
        _ => {
            let line = one_line(&text, env::args_os());
            let line = match variable(error, env::args_os()) {
                Some((called, variable)) => line.replacen(&format!("'{called}'"), &format!("'{variable}'"), 1),
                None => line,
            };
            Failure::usage(line).tell(wants_json())
        }
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
    let all = help::command();
    let (mut verb, mut help) = (&all, "convoke".to_owned());
    for word in arguments {
        if let Some(found) = verb.find_subcommand(word.as_ref()) {
            verb = found;
            help = format!("{help} {}", verb.get_name());
        }
    }
    format!("{}; see `{help} --help`", line.trim_end_matches('.'))
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
        assert_eq!(
            said(&["convoke", "journal", "show", "hub", "--lst"]),
            "unexpected argument '--lst' found; tip: a similar argument exists: '--last'; see `convoke journal show --help`"
        );
    }
}
