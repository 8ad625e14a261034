//! What is only for eyes: colours, and on a terminal a line that tells how far something is ([`progress`]).
//!
//! Whether there are any is decided once, before anything is said: what goes into a file or to another program has no
//! escapes in it, unless somebody asks for them.

pub(crate) mod progress;

use std::borrow::Cow;
use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use clap::ValueEnum;

/// What was decided. Until then nothing has colours.
static LOOK: OnceLock<Look> = OnceLock::new();

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    // Where these had help of their own, clap would print that of all other options over two lines each.
    #[default]
    Auto,
    Always,
    Never,
}

/// What has colours, and where something may move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    stdout: bool,
    stderr: bool,
    /// A line on stderr may be drawn again and again.
    moving: bool,
}

/// Where something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Stdout,
    Stderr,
}

/// What something is that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Error,
    Warning,
    /// What happened, as `-v` tells it.
    Note,
    /// Of an event or a value.
    Name,
    /// Of a column.
    Title,
}

impl Part {
    /// What turns its colour on: those that every terminal has, whatever its background.
    fn escape(self) -> &'static str {
        match self {
            Part::Error => "\u{1b}[1;31m",
            Part::Warning => "\u{1b}[33m",
            Part::Note => "\u{1b}[32m",
            Part::Name => "\u{1b}[36m",
            Part::Title => "\u{1b}[1m",
        }
    }
}

/// What turns all colours off.
const PLAIN: &str = "\u{1b}[0m";

/// Decides how things look from here on; the first time counts.
pub(crate) fn begin(when: When, json: bool) {
    let [no_color, force, term] = ["NO_COLOR", "CLICOLOR_FORCE", "TERM"].map(env::var_os);
    let variables = Variables { no_color: no_color.as_deref(), force: force.as_deref(), term: term.as_deref() };
    let stderr = std::io::stderr().is_terminal();
    let mut look = Look {
        stdout: variables.colours(when, std::io::stdout().is_terminal()),
        stderr: variables.colours(when, stderr),
        moving: stderr && variables.can_draw(),
    };
    if json {
        // A program reads it, whatever it is shown on.
        look = Look::default();
    }
    let _ = LOOK.set(look);
}

/// What the environment says about looks.
#[derive(Clone, Copy, Default)]
struct Variables<'a> {
    no_color: Option<&'a OsStr>,
    force: Option<&'a OsStr>,
    term: Option<&'a OsStr>,
}

impl Variables<'_> {
    fn colours(self, when: When, terminal: bool) -> bool {
        let said = |variable: Option<&OsStr>| variable.is_some_and(|value| !value.is_empty());
        match when {
            When::Always => true,
            When::Never => false,
            When::Auto if said(self.no_color) => false,
            When::Auto if said(self.force) && self.force != Some(OsStr::new("0")) => true,
            When::Auto => terminal && self.can_draw(),
        }
    }

    /// Whether a terminal knows escapes.
    fn can_draw(self) -> bool {
        self.term.is_some_and(|term| !term.is_empty() && term != "dumb")
    }
}

fn look() -> Look {
    LOOK.get().copied().unwrap_or_default()
}

/// Whether there are colours.
pub(crate) fn has_colours(on: On) -> bool {
    match on {
        On::Stdout => look().stdout,
        On::Stderr => look().stderr,
    }
}

/// Whether the terminal knows escapes.
pub(crate) fn can_draw() -> bool {
    let term = env::var_os("TERM");
    Variables { term: term.as_deref(), ..Variables::default() }.can_draw()
}

/// Text in the colour of what it is, where there are colours.
pub(crate) fn coloured<'a>(on: On, part: Part, text: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
    let text = text.into();
    match has_colours(on) && !text.is_empty() {
        true => Cow::Owned(format!("{}{text}{PLAIN}", part.escape())),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_where_a_person_wants_them() {
        let xterm = Variables { term: Some(OsStr::new("xterm")), ..Variables::default() };
        let no_color = Variables { no_color: Some(OsStr::new("1")), ..xterm };
        let empty = Variables { no_color: Some(OsStr::new("")), ..xterm };
        let force = |value| Variables { force: Some(OsStr::new(value)), term: None, ..xterm };
        let dumb = Variables { term: Some(OsStr::new("dumb")), ..xterm };
        for (variables, terminal, auto) in [
            (xterm, true, true),
            (xterm, false, false),
            (no_color, true, false),
            (empty, true, true),
            (force("1"), false, true),
            (force("0"), false, false),
            (dumb, true, false),
            (Variables::default(), true, false),
        ] {
            assert_eq!(variables.colours(When::Auto, terminal), auto);
            assert!(variables.colours(When::Always, terminal) && !variables.colours(When::Never, terminal));
        }
        let both = Variables { no_color: Some(OsStr::new("1")), ..force("1") };
        assert!(!both.colours(When::Auto, true), "who wants none has a reason");
    }
}
