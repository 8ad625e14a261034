//! How the program ends: its exit codes, and the one line on stderr that says why.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use convoke::{Address, Code, Error, NameError, Refusal};
use serde::Serialize;

use crate::render;
use crate::screen::progress::beside;
use crate::screen::{On, Part, coloured};

/// The exit codes, as scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The command line is wrong.
    Usage = 64,
    /// What was to be published, set or called with is wrong, or the service that was called says so.
    Data = 65,
    /// No hub, no such node or value, nobody who offers the service, or no answer in time.
    Unavailable = 69,
    /// A mistake of the program itself.
    Bug = 70,
    /// A file or folder cannot be made.
    CannotCreate = 73,
    /// Reading or writing failed.
    InputOutput = 74,
    /// May work if tried again later.
    Temporary = 75,
    /// Who asks is not known, or may not.
    Rights = 77,
    /// How the hub is to run is wrong or unsafe.
    Configuration = 78,
}

/// Why the program did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One word for programs; that of the [`Code`] where the library gave one.
    pub(crate) kind: &'static str,
    /// One lowercase sentence for people.
    pub(crate) message: String,
    /// Of a message that begins with a place in a file: what stands there, for people at a terminal.
    pub(crate) excerpt: Option<String>,
}

/// Reads an address of the command line.
pub(crate) fn address(text: &str) -> Result<Address, Failure> {
    Address::parse(text).map_err(|error| Failure::new(Exit::Usage, "BadAddress", error.to_string()))
}

/// A failure as `--json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    error: ShownError<'a>,
}

#[derive(Serialize)]
struct ShownError<'a> {
    kind: &'a str,
    message: &'a str,
}

impl Failure {
    pub(crate) fn new(exit: Exit, kind: &'static str, message: impl Into<String>) -> Failure {
        Failure { exit, kind, message: message.into(), excerpt: None }
    }

    /// The message begins with a place in a file, as compilers tell it, and this is what stands there.
    pub(crate) fn with_excerpt(self, excerpt: String) -> Failure {
        Failure { excerpt: Some(excerpt), ..self }
    }

    /// The same, with what of the command line it is about.
    pub(crate) fn about(self, what: &str) -> Failure {
        Failure { message: format!("{what}: {}", self.message), ..self }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, "Usage", message)
    }

    /// Something that was to be read could not be.
    pub(crate) fn read(what: &str, error: &io::Error) -> Failure {
        Failure::new(Exit::InputOutput, "CannotRead", format!("cannot read {what}: {}", reason(error)))
    }

    /// Something that was to be written could not be.
    pub(crate) fn write(what: &str, error: &io::Error) -> Failure {
        Failure::new(Exit::InputOutput, "CannotWrite", format!("cannot write to {what}: {}", reason(error)))
    }

    /// The line on stderr; with `json`, an object. A stderr that takes nothing is nobody's to be told of.
    pub(crate) fn tell(&self, json: bool) -> ExitCode {
        let line = if json {
            render::json(&Shown { error: ShownError { kind: self.kind, message: &self.message } })
        } else {
            // Editors find the place by the beginning of the line.
            let who = if self.excerpt.is_some() { "".into() } else { who(Part::Error) };
            format!("{who}{}", render::escaped(&self.message))
        };
        let _ = beside(|| writeln!(io::stderr(), "{line}"));
        if let Some(excerpt) = self.excerpt.as_ref().filter(|_| !json && io::stderr().is_terminal()) {
            let _ = writeln!(io::stderr(), "{excerpt}");
        }
        ExitCode::from(self.exit as u8)
    }
}

/// Who says it: how a line begins that is not from the log.
pub(crate) fn who(part: Part) -> String {
    format!("{} ", coloured(On::Stderr, part, "convoke:"))
}

/// The system's words for an error, without the number that Rust adds.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl From<NameError> for Failure {
    /// Names and patterns come from the command line only.
    fn from(error: NameError) -> Failure {
        Failure::new(Exit::Usage, Code::BadName.word(), error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let (exit, kind) = match &error {
            Error::BadPayload(_) => (Exit::Data, "BadPayload"),
            Error::Configuration(_) => (Exit::Configuration, "Configuration"),
            Error::InUse(why) if why.code == Code::Unknown => (Exit::Temporary, "InUse"),
            Error::Io { .. } => (Exit::InputOutput, "InputOutput"),
            refused => (exit_of(refused.code()), refused.code().word()),
        };
        let message = match &error {
            Error::Io { what, source } => format!("{what}: {}", reason(source)),
            Error::InUse(refusal) => in_a_shell(refusal),
            other => other.to_string(),
        };
        Failure::new(exit, kind, message)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::new(exit_of(refusal.code), refusal.code.word(), in_a_shell(&refusal))
    }
}

/// What a program may do about a name that is in use, and what can be done on a command line.
const TAKE_OVER: (&str, &str) = ("choose another, or take it over", "choose another with --name");

/// The sentence of a refusal, with what can be done about it in a shell.
fn in_a_shell(refusal: &Refusal) -> String {
    match refusal.code {
        Code::NodeInUse => refusal.text.replace(TAKE_OVER.0, TAKE_OVER.1),
        _ => refusal.text.to_string(),
    }
}

/// What a shell is told of a code.
fn exit_of(code: Code) -> Exit {
    match code {
        Code::BadName => Exit::Usage,
        Code::TooLarge | Code::BadRequest | Code::Failed => Exit::Data,
        Code::Unauthorized | Code::Forbidden => Exit::Rights,
        Code::NodeInUse | Code::Fenced | Code::Limit | Code::Backpressure | Code::SlowLink => Exit::Temporary,
        // What can be got anew and tried again, and what heals.
        Code::Busy | Code::Conflict | Code::UndoConflict | Code::StorageFull => Exit::Temporary,
        Code::StorageFailed => Exit::InputOutput,
        // No hub, none that speaks our version, none that answers in time; no value, no provider.
        _ => Exit::Unavailable,
    }
}

/// Makes a panic one line and [`Exit::Bug`], whichever thread it comes from.
pub(crate) fn report_bugs() {
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("no reason given");
        let place = panic.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let message = format!("this is a bug in convoke: {what}{place}");
        let _ = writeln!(io::stderr(), "convoke: {}", render::escaped(&message));
        std::process::exit(Exit::Bug as i32);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_exit_code_and_none_is_a_bug() {
        for code in Code::ALL {
            assert_ne!(exit_of(*code), Exit::Bug, "{}", code.word());
        }
        assert_eq!(exit_of(Code::Unauthorized), Exit::Rights);
        assert_eq!(exit_of(Code::Unreachable), Exit::Unavailable);
    }

    #[test]
    fn a_bug_is_one_line_and_70() {
        let mut child = std::process::Command::new(std::env::current_exe().expect("this test"));
        child.args(["--exact", "exit::tests::a_bug", "--ignored", "--nocapture"]).env("RUST_BACKTRACE", "1");
        let ended = child.output().expect("it runs");
        assert_eq!(ended.status.code(), Some(70));
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.starts_with("convoke: this is a bug in convoke: this\\ncannot be ("), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }

    #[test]
    #[ignore = "run by the test before, in a process of its own"]
    fn a_bug() {
        report_bugs();
        panic!("this\ncannot be");
    }

    #[test]
    fn a_system_error_is_told_without_its_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
    }
}
