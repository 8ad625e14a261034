//! The configuration file: TOML, with the place of each setting.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Place};
use super::uplinks::{self, UPLINK, Uplink};
use super::{SECTIONS, SETTINGS, Setting, Value, nearest};
use crate::exit::reason;

/// The longest configuration file, in bytes: everything that can be said takes a thousandth of it.
const BYTES_MAX: u64 = 1 << 20;

/// What a file says.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) path: PathBuf,
    pub(super) text: String,
    pub(super) entries: Vec<Entry>,
    /// Its links to other hubs.
    pub(super) uplinks: Vec<Uplink>,
}

/// One setting of a file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) setting: &'static Setting,
    pub(super) value: Value,
    /// Where its value is.
    pub(super) bytes: Range<usize>,
}

impl Configuration {
    /// Reads a file; on failure, all that is wrong about it. `None` if it is not there.
    pub(crate) fn read(path: &Path) -> Result<Option<Configuration>, Vec<Mistake>> {
        let text = match bytes(path) {
            Ok(Some(bytes)) => text(path, bytes),
            Ok(None) => return Ok(None),
            Err(mistake) => Err(mistake),
        };
        Configuration::parse(path, text.map_err(|mistake| vec![mistake])?).map(Some)
    }

    /// Reads what a file would say.
    pub(super) fn parse(path: &Path, text: String) -> Result<Configuration, Vec<Mistake>> {
        let (table, errors) = DeTable::parse_recoverable(&text);
        let mut found = Found { path, text: &text, entries: Vec::new(), uplinks: Vec::new(), mistakes: Vec::new() };
        for error in errors {
            let bytes = error.span().unwrap_or(0..0);
            match error.message() {
                "duplicate key" => found.twice(table.get_ref(), &bytes),
                message => found.wrong(bytes, message.to_owned()),
            }
        }
        for (section, value) in table.get_ref() {
            found.section(section, value);
        }
        let Found { entries, uplinks, mut mistakes, .. } = found;
        if mistakes.is_empty() {
            return Ok(Configuration { path: path.to_owned(), text, entries, uplinks });
        }
        mistakes.sort_by_key(Mistake::order);
        Err(mistakes)
    }

    /// Where something stands.
    pub(super) fn place(&self, bytes: &Range<usize>) -> Place {
        Place::at(&self.path, &self.text, bytes.start)
    }

    /// How many settings it has; each link to another hub is one.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.uplinks.len()
    }
}

/// Opens once and looks at what was opened: what stands at the path may be another thing a moment later.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>, Mistake> {
    let shown = path.display();
    let wrong = |what: &str| Err(Mistake::new(format!("configuration file `{shown}`: {what}")));
    let cannot = |error: &io::Error| wrong(&reason(error));
    // A pipe that nobody writes to would be waited for.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file = match File::options().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return cannot(&error),
    };
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return cannot(&error),
    };
    if !metadata.is_file() {
        return wrong("it is no file");
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o002 != 0 {
        return wrong(&format!("everybody can write it (mode {mode:o}); make it 644 or 600"));
    }
    let mut bytes = Vec::new();
    if let Err(error) = (&mut file).take(BYTES_MAX + 1).read_to_end(&mut bytes) {
        return cannot(&error);
    }
    match bytes.len() as u64 > BYTES_MAX {
        true => wrong(&format!("it is longer than {BYTES_MAX} bytes, which no configuration is")),
        false => Ok(Some(bytes)),
    }
}

/// The bytes as text.
fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Mistake> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        let valid = String::from_utf8_lossy(&error.as_bytes()[..end]);
        Mistake::at(path, &valid, end..end, "this is not UTF-8, which a configuration file must be")
    })?;
    if let Some(text) = text.strip_prefix('\u{feff}') {
        let what = "the file begins with a byte order mark: save it as UTF-8 without one";
        return Err(Mistake::at(path, text, 0..0, what));
    }
    if let Some(at) = text.find('\0') {
        return Err(Mistake::at(path, &text, at..at + 1, "there is a NUL in the file, which no text has"));
    }
    Ok(text)
}

struct Found<'a> {
    path: &'a Path,
    text: &'a str,
    entries: Vec<Entry>,
    uplinks: Vec<Uplink>,
    mistakes: Vec<Mistake>,
}

impl Found<'_> {
    fn wrong(&mut self, bytes: Range<usize>, what: String) {
        self.mistakes.push(Mistake::at(self.path, self.text, bytes, what));
    }

    /// A key stands there a second time; the first one is in the table.
    fn twice(&mut self, table: &DeTable<'_>, bytes: &Range<usize>) {
        let key = self.text.get(bytes.clone()).unwrap_or_default().trim_matches(['"', '\'']).to_owned();
        let first = last_before(table, &key, bytes.start).map(|first| Place::at(self.path, self.text, first).line);
        // Of two sections of the same name the table has the second.
        let before = || self.text[..bytes.start].lines().position(|line| line.trim_start() == format!("[{key}]"));
        let first = first.or_else(|| before().map(|line| line + 1));
        let first = first.map(|line| format!(", first in line {line}")).unwrap_or_default();
        self.wrong(bytes.clone(), format!("`{key}` is there twice{first}; once is allowed"));
    }

    fn section(&mut self, section: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let name: &str = section.get_ref();
        if name == UPLINK {
            let folder = self.path.parent().unwrap_or(Path::new(""));
            let place = |byte| Place::at(self.path, self.text, byte);
            let (taken, wrong) = uplinks::take(section, value, folder, place);
            self.uplinks = taken;
            return wrong.into_iter().for_each(|(bytes, what)| self.wrong(bytes, what));
        }
        let known = SECTIONS.iter().any(|(known, _)| *known == name);
        match value.get_ref() {
            DeValue::Table(keys) if known => {
                for (key, value) in keys {
                    self.key(name, key, value);
                }
            }
            DeValue::Array(_) if known => {
                let what = format!("`{name}` is a section: write `[{name}]`, once");
                self.wrong(section.span(), what);
            }
            DeValue::Array(array) if matches!(array.first().map(Spanned::get_ref), Some(DeValue::Table(_))) => {
                self.no_section(section.span(), name, &format!("[[{name}]]"));
            }
            DeValue::Table(_) => self.no_section(section.span(), name, &format!("[{name}]")),
            _ => {
                let belongs = SETTINGS.iter().find(|setting| setting.word() == name || setting.section() == name);
                let hint = match belongs {
                    Some(setting) if setting.section() == name => format!("; `{name}` is a section: write `[{name}]`"),
                    Some(setting) => format!("; it belongs into `[{}]`", setting.section()),
                    None => String::new(),
                };
                self.wrong(section.span(), format!("`{name}` stands in no section{hint}"));
            }
        }
    }

    fn no_section(&mut self, bytes: Range<usize>, name: &str, shown: &str) {
        let sections = SECTIONS.iter().map(|(known, _)| (*known, format!("`[{known}]`")));
        let sections: Vec<(&str, String)> = sections.chain([(UPLINK, format!("`[[{UPLINK}]]`"))]).collect();
        let near = nearest(name, sections.iter().map(|(known, _)| *known));
        let hint = match sections.iter().find(|(known, _)| Some(*known) == near) {
            Some((_, near)) => format!("did you mean {near}?"),
            None => {
                let known: Vec<&str> = sections.iter().map(|(_, known)| known.as_str()).collect();
                format!("there are {}", known.join(", "))
            }
        };
        self.wrong(bytes, format!("there is no section `{shown}`; {hint}"));
    }

    fn key(&mut self, section: &str, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let word: &str = key.get_ref();
        let of_section = || SETTINGS.iter().filter(|setting| setting.section() == section);
        let Some(setting) = of_section().find(|setting| setting.word() == word) else {
            let elsewhere = SETTINGS.iter().find(|setting| setting.word() == word);
            let hint = match (nearest(word, of_section().map(Setting::word)), elsewhere) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some(setting)) => format!("it belongs into `[{}]`", setting.section()),
                (None, None) => {
                    let words: Vec<String> = of_section().map(|setting| format!("`{}`", setting.word())).collect();
                    format!("there are {}", words.join(", "))
                }
            };
            return self.wrong(key.span(), format!("there is no `{word}` in `[{section}]`; {hint}"));
        };
        match setting.kind.take(value) {
            Ok(Value::Path(path)) => {
                let path = beside(self.path.parent().unwrap_or(Path::new("")), path);
                self.entries.push(Entry { setting, value: Value::Path(path), bytes: value.span() });
            }
            Ok(found) => self.entries.push(Entry { setting, value: found, bytes: value.span() }),
            Err((bytes, wrong)) => {
                self.wrong(bytes.unwrap_or_else(|| value.span()), format!("`{}`{wrong}", setting.key));
            }
        }
    }
}

/// A path that a file in this folder says: what it says does not depend on where a hub is started.
pub(super) fn beside(folder: &Path, path: PathBuf) -> PathBuf {
    std::path::absolute(folder.join(&path)).unwrap_or(path)
}

/// Where this key stands last before that place, in whatever table.
fn last_before(table: &DeTable<'_>, key: &str, before: usize) -> Option<usize> {
    let mut found = None;
    for (name, value) in table {
        if name.get_ref() == key && name.span().start < before {
            found = found.max(Some(name.span().start));
        }
        if let DeValue::Table(inner) = value.get_ref() {
            found = found.max(last_before(inner, key, before));
        }
    }
    found
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
