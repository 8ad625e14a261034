//! The settings as texts: the file that `convoke config init` writes, and the table of docs/operating.md.

use super::{Absent, Change, SECTIONS, SETTINGS, Setting};

/// A configuration file that sets nothing, and says all that could be set.
pub(crate) fn template() -> String {
    let mut text = "\
# What this hub does. Each setting is shown with its default: take the `#` away and change it.
# A flag (`--limits-links 500`) counts before the environment (`CONVOKE_LIMITS_LINKS=500`), that before this file.
# `convoke config check` says whether all is right; a hub reads this again on SIGHUP. `[[uplink]]`: docs/guide/uplinks.md
"
    .to_owned();
    for (section, about) in SECTIONS {
        text.push_str(&format!("\n# {about}.\n[{section}]\n"));
        for setting in SETTINGS.iter().filter(|setting| setting.section() == *section) {
            let default = match setting.default {
                Absent::Is(_) => String::new(),
                Absent::Words(words, _) => format!(" (if not set: {words})"),
            };
            text.push_str(&format!("# {}{default}.\n#{} = {}\n", setting.doc, setting.word(), example(setting)));
        }
    }
    text
}

/// What could stand in a file: the default, where there is one.
fn example(setting: &Setting) -> String {
    match (setting.default(), setting.default) {
        (Some(value), _) => value.shown(),
        (None, Absent::Words(_, example) | Absent::Is(example)) => example.to_owned(),
    }
}

/// When a change takes effect, in words.
pub(crate) fn change(setting: &Setting) -> &'static str {
    match setting.change {
        Change::Now => "at once",
        Change::Joining => "for links that join from then on",
        Change::Restart => "when the hub is started again",
    }
}

/// The rows of the table in docs/operating.md.
#[cfg(test)]
fn table() -> String {
    let mut text = "\
| setting | flag | environment | default | what it is | it must be | a change counts |
|---|---|---|---|---|---|---|
"
    .to_owned();
    for setting in SETTINGS {
        let default = match setting.default {
            Absent::Is(text) => format!("`{text}`"),
            Absent::Words(words, _) => words.to_owned(),
        };
        text.push_str(&format!(
            "| `{}` | `--{}` | `{}` | {default} | {} | {} | {} |\n",
            setting.key,
            setting.flag(),
            setting.variable(),
            setting.doc,
            setting.kind.allowed(),
            change(setting),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::file::Configuration;

    /// The longest that the file may be, in lines: a page.
    const LINES_MAX: usize = 60;

    fn parsed(text: String) -> Configuration {
        Configuration::parse(Path::new("a.toml"), text).expect("it is right")
    }

    #[test]
    fn the_file_to_begin_with_is_right_and_shows_every_setting() {
        let text = template();
        assert!(text.lines().count() <= LINES_MAX, "{} lines", text.lines().count());
        assert!(text.lines().all(|line| line.len() <= 128), "{text}");
        assert_eq!(parsed(text.clone()).len(), 0);
        let set = text.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        });
        let all = parsed(set.map(|line| format!("{line}\n")).collect());
        assert_eq!(all.len(), SETTINGS.len());
    }

    #[test]
    fn the_page_for_operators_has_the_table_of_settings_as_it_is() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
        let page = std::fs::read_to_string(page).expect("the page is there");
        assert!(page.contains(&table()), "docs/operating.md should have this table:\n{}", table());
    }
}
