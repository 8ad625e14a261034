//! The variables that begin with `CONVOKE_`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::{SETTINGS, Setting, nearest};

/// How our variables begin.
const PREFIX: &str = "CONVOKE_";

/// Those that are no settings of a hub: of the other verbs, of `convoke hub` itself, and those that `convoke serve` gives
/// its commands.
const OTHERS: [&str; 15] = [
    "CONVOKE_ADDRESS",
    "CONVOKE_AUTHOR",
    "CONVOKE_AUTHORITY",
    "CONVOKE_CERTIFICATE_FILE",
    "CONVOKE_KEY_FILE",
    "CONVOKE_CALLER",
    "CONVOKE_COLOR",
    "CONVOKE_CONFIG",
    "CONVOKE_DEADLINE_MS",
    "CONVOKE_JSON",
    "CONVOKE_NAME",
    "CONVOKE_SERVICE",
    "CONVOKE_TIMEOUT",
    "CONVOKE_TOKEN",
    "CONVOKE_TOKEN_FILE",
];

/// What the environment said when the program was started. A variable that is empty is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// That of this program.
    pub(crate) fn here() -> Environment {
        Environment::of(env::vars_os())
    }

    fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let ours = |name: &OsStr| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let mut found: Vec<_> = variables.into_iter().filter(|(name, value)| ours(name) && !value.is_empty()).collect();
        found.sort();
        Environment(found)
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// A line for each variable that nobody knows. Those that are like none of ours, which another program may know, are
    /// left out unless `all` are wanted.
    pub(crate) fn unknown(&self, all: bool) -> Vec<String> {
        let settings: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
        let known = || settings.iter().map(String::as_str).chain(OTHERS);
        let mut lines = Vec::new();
        for (name, _) in &self.0 {
            let name = name.to_string_lossy();
            if known().any(|known| known == name) {
                continue;
            }
            // The prefix is like that of all others.
            let word = &name[PREFIX.len()..];
            match nearest(word, known().map(|known| &known[PREFIX.len()..])) {
                Some(near) => lines.push(format!("`{name}` means nothing; did you mean `{PREFIX}{near}`?")),
                None if all => lines.push(format!("`{name}` means nothing")),
                None => {}
            }
        }
        lines
    }

    #[cfg(test)]
    pub(super) fn with(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::arguments::Arguments;

    #[test]
    fn a_variable_that_nobody_knows_is_told_with_what_was_meant() {
        let environment = Environment::with(&[
            ("CONVOKE_LIMITS_LINK", "5"),
            ("CONVOKE_RELEASE", "7"),
            ("CONVOKE_ADDRESS", "a"),
            ("CONVOKE_LISTN", ""),
            ("HOME", "b"),
        ]);
        assert_eq!(
            environment.unknown(true),
            [
                "`CONVOKE_LIMITS_LINK` means nothing; did you mean `CONVOKE_LIMITS_LINKS`?",
                "`CONVOKE_RELEASE` means nothing"
            ]
        );
        assert_eq!(environment.unknown(false).len(), 1);
    }

    #[test]
    fn every_variable_of_the_command_line_is_known() {
        let all = Arguments::command();
        for command in all.get_subcommands().chain([&all]) {
            for variable in command.get_arguments().filter_map(|argument| argument.get_env()) {
                assert!(OTHERS.iter().any(|known| variable == *known), "{variable:?}");
            }
        }
    }
}
