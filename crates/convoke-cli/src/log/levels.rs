//! What of the log is wanted: a level for all, and levels for parts.

use tracing::Level;
use tracing::level_filters::LevelFilter;

/// Levels, from what is always wanted to what nobody reads twice.
pub(crate) const WORDS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// Parts, with how the targets of their lines begin.
pub(crate) const PARTS: [(&str, &str); 5] = [
    ("config", "convoke::config"),
    ("hub", "convoke::hub"),
    ("link", "convoke::link"),
    ("node", "convoke::node"),
    ("store", "convoke::store"),
];

/// The part that says what became of a new configuration: who asks for that wants to know.
const CONFIG: usize = 0;

/// Which lines are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    all: LevelFilter,
    parts: [Option<LevelFilter>; PARTS.len()],
}

impl Levels {
    /// One level for everything.
    pub(crate) fn all(all: LevelFilter) -> Levels {
        Levels { all, parts: [None; PARTS.len()] }
    }

    /// Reads `LEVEL`, `PART=LEVEL`, or several with commas between, each once; without a level for all that is `warn`. On
    /// failure, what may have been meant.
    pub(crate) fn parse(text: &str) -> Result<Levels, String> {
        let meant = |near: Option<&str>| near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let level = |word: &str| match WORDS.iter().position(|known| *known == word) {
            Some(at) => Ok(LEVELS[at]),
            None => Err(meant(crate::settings::nearest(word, WORDS))),
        };
        let (mut all, mut parts) = (None, [None; PARTS.len()]);
        for item in text.split(',').map(str::trim) {
            let before = match item.split_once('=') {
                None => all.replace(level(item)?),
                Some((part, word)) => {
                    let at = PARTS.iter().position(|(known, _)| *known == part.trim());
                    let names = PARTS.iter().map(|(known, _)| *known);
                    let at = at.ok_or_else(|| meant(crate::settings::nearest(part.trim(), names)))?;
                    parts[at].replace(level(word.trim())?)
                }
            };
            if before.is_some() {
                return Err("; each once".to_owned());
            }
        }
        Ok(Levels { all: all.unwrap_or(LevelFilter::WARN), parts })
    }

    /// Whether the lines of the part `config` are asked for, and not only come because nobody said otherwise.
    pub(crate) fn ask_for_config(&self) -> bool {
        self.parts[CONFIG].unwrap_or(self.all) >= LevelFilter::INFO
    }

    /// Whether a line is wanted.
    pub(super) fn want(&self, level: Level, target: &str) -> bool {
        let at = place(target);
        let wanted = at.and_then(|at| self.parts[at]).unwrap_or(match at {
            Some(CONFIG) if self.all != LevelFilter::OFF => self.all.max(LevelFilter::INFO),
            _ => self.all,
        });
        level <= wanted
    }
}

/// The part that a line belongs to, as people call it.
pub(super) fn part(target: &str) -> &str {
    match place(target) {
        Some(at) => PARTS[at].0,
        None => target.split("::").next().unwrap_or(target),
    }
}

fn place(target: &str) -> Option<usize> {
    let below = |path: &str| target.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    PARTS.iter().position(|(_, path)| below(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_its_own_level_and_all_others_that_of_all() {
        let levels = Levels::parse("error, store=debug,link=off").expect("levels");
        assert!(levels.want(Level::DEBUG, "convoke::store::thread") && !levels.want(Level::TRACE, "convoke::store"));
        assert!(!levels.want(Level::ERROR, "convoke::link"));
        assert!(levels.want(Level::ERROR, "convoke::hub::thread") && !levels.want(Level::WARN, "convoke::hub"));
        assert!(!levels.want(Level::WARN, "convoke::storehouse"));
        assert_eq!(part("convoke::hub::thread"), "hub");
        assert_eq!(part("elsewhere::deep"), "elsewhere");
    }

    #[test]
    fn what_became_of_a_configuration_is_told_unless_that_is_not_wanted() {
        let says = |text| Levels::parse(text).expect("levels").want(Level::INFO, "convoke::config");
        assert!(says("warn") && says("error") && says("store=trace"));
        assert!(!says("off") && !says("info,config=warn"));
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for (text, hint) in [
            ("", ""),
            ("inof", "; did you mean `info`?"),
            ("INFO", ""),
            ("hbu=info", "; did you mean `hub`?"),
            ("hub=loud", ""),
            ("info,warn", "; each once"),
            ("hub=info,hub=warn", "; each once"),
            ("info,", ""),
        ] {
            assert_eq!(Levels::parse(text), Err(hint.to_owned()), "{text}");
        }
    }
}
