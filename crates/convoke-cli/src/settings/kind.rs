//! What a setting can be: read from the environment and from flags, taken from the file, and shown again.
//!
//! What is wrong is told as the rest of a sentence that begins with the name of the setting, such as ` is `1gb`: it must
//! be …`, since each source has its own name for it.

use std::ffi::OsStr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use convoke::{Address, Name};
use toml::Spanned;
use toml::de::DeValue;

use super::size;
use crate::duration;
use crate::log::levels::{self, Levels};

/// So much of a wrong value is shown, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// What a setting can be set to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Number {
        min: u64,
        max: u64,
    },
    /// Bytes.
    Size {
        min: u64,
        max: u64,
    },
    Time {
        max: Duration,
    },
    Word(&'static [&'static str]),
    Path,
    Addresses,
    Memory,
    Levels,
}

/// What a setting is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u64),
    /// Bytes.
    Size(u64),
    Time(Duration),
    Text(String),
    Path(PathBuf),
    Texts(Vec<String>),
    Memory(Memory),
}

/// What is not kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    All,
    /// These names and all below them.
    Names(Vec<String>),
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::Names(Vec::new())
    }
}

/// What is wrong in the file, and where, if that is less than the whole value.
pub(super) type Wrong = (Option<Range<usize>>, String);

impl Kind {
    /// Reads what the environment or a flag says.
    pub(crate) fn read(&self, given: &OsStr) -> Result<Value, String> {
        if let Kind::Path = self {
            return path(given.into()).map(Value::Path);
        }
        let Some(text) = given.to_str() else {
            return Err(format!(" is no text: it must be {}", self.allowed()));
        };
        let wrong = |hint: &str| Err(format!(" is `{}`: it must be {}{hint}", short(text), self.allowed()));
        match self {
            Kind::Number { .. } => match text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse()) {
                Some(Ok(number)) if self.holds(number) => Ok(Value::Number(number)),
                _ => wrong(""),
            },
            Kind::Size { .. } => match size::parse(text) {
                Ok(bytes) if self.holds(bytes) => Ok(Value::Size(bytes)),
                Ok(_) => wrong(""),
                Err(hint) => wrong(&hint),
            },
            Kind::Time { max } => match duration::parse(text) {
                Ok(time) if time <= *max => Ok(Value::Time(time)),
                Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => {
                    wrong(&format!("; write `{}s` for seconds", short(text)))
                }
                _ => wrong(""),
            },
            Kind::Word(words) => word(text, words).map(|at| Value::Text(words[at].to_owned())),
            Kind::Addresses => addresses(&commas(text)).map_err(|(_, wrong)| wrong),
            Kind::Memory => match text {
                "true" => Ok(Value::Memory(Memory::All)),
                "false" => Ok(Value::Memory(Memory::default())),
                _ => names(&commas(text)).map_err(|(_, wrong)| wrong),
            },
            Kind::Levels => match Levels::parse(text) {
                Ok(_) => Ok(Value::Text(text.to_owned())),
                Err(hint) => wrong(&hint),
            },
            Kind::Path => path(given.into()).map(Value::Path),
        }
    }

    /// Takes what the file says.
    pub(super) fn take(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, Wrong> {
        let wrong = |hint: &str| {
            let given = match value.get_ref() {
                DeValue::Integer(number) => format!("{number}"),
                DeValue::Float(number) => format!("{number}"),
                other => a(other.type_str()).to_owned(),
            };
            Err((None, format!(" is {}: it must be {}{hint}", short(&given), self.allowed())))
        };
        match (self, value.get_ref()) {
            (Kind::Number { .. } | Kind::Size { .. }, DeValue::Integer(integer)) => {
                let digits = integer.as_str();
                match u64::from_str_radix(digits.strip_prefix('+').unwrap_or(digits), integer.radix()) {
                    Ok(number) if self.holds(number) => Ok(match self {
                        Kind::Size { .. } => Value::Size(number),
                        _ => Value::Number(number),
                    }),
                    _ => wrong(""),
                }
            }
            (Kind::Number { .. }, DeValue::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                wrong("; write it without quotes")
            }
            (Kind::Time { .. }, DeValue::Integer(number)) => wrong(&format!("; write `\"{number}s\"` for seconds")),
            (Kind::Number { .. }, _) => wrong(""),
            (Kind::Addresses, DeValue::Array(array)) if array.is_empty() => wrong(""),
            (Kind::Addresses, DeValue::Array(array)) => {
                let found = addresses(&texts(array, "addresses")?);
                found.map_err(|(at, wrong)| (Some(array[at].span()), wrong))
            }
            (Kind::Addresses, DeValue::String(text)) => addresses(&[text]).map_err(|(_, wrong)| (None, wrong)),
            (Kind::Memory, DeValue::Boolean(true)) => Ok(Value::Memory(Memory::All)),
            (Kind::Memory, DeValue::Boolean(false)) => Ok(Value::Memory(Memory::default())),
            (Kind::Memory, DeValue::Array(array)) => {
                let found = names(&texts(array, "names")?);
                found.map_err(|(at, wrong)| (Some(array[at].span()), wrong))
            }
            (Kind::Memory, _) => wrong(""),
            (_, DeValue::String(text)) => self.read(text.as_ref().as_ref()).map_err(|wrong| (None, wrong)),
            _ => wrong(""),
        }
    }

    fn holds(&self, number: u64) -> bool {
        match self {
            Kind::Number { min, max } | Kind::Size { min, max } => (*min..=*max).contains(&number),
            _ => true,
        }
    }

    /// What is allowed, to be put behind `it must be`.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Kind::Number { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Size { min, max } => {
                format!("a size from {} to {}, such as `8MiB`", size::shown(*min), size::shown(*max))
            }
            Kind::Time { max } => {
                format!("a time up to {}, with its unit, such as `500ms`, `15s` or `1m30s`", duration::exact(*max))
            }
            Kind::Word(words) => list(words),
            Kind::Path => "the path of a file or folder".to_owned(),
            Kind::Addresses => "addresses, such as `127.0.0.1:7117` or `unix:///run/convoke/hub.sock`".to_owned(),
            Kind::Memory => "`true` for all, `false`, or names".to_owned(),
            Kind::Levels => format!(
                "a level ({}), or levels of parts ({}), as in `warn,store=debug`",
                list(&levels::WORDS),
                levels::PARTS.map(|(part, _)| part).join(", ")
            ),
        }
    }

    /// What stands for a value in help.
    pub(crate) fn placeholder(&self) -> &'static str {
        match self {
            Kind::Number { .. } => "N",
            Kind::Size { .. } => "SIZE",
            Kind::Time { .. } => "TIME",
            Kind::Word(_) => "WORD",
            Kind::Path => "PATH",
            Kind::Addresses => "ADDRESS",
            Kind::Memory => "NAMES",
            Kind::Levels => "LEVELS",
        }
    }
}

impl Value {
    /// As it stands in the file.
    pub(crate) fn shown(&self) -> String {
        match self {
            Value::Number(number) => number.to_string(),
            Value::Size(bytes) => quoted(&size::shown(*bytes)),
            Value::Time(time) => quoted(&duration::exact(*time)),
            Value::Text(text) => quoted(text),
            Value::Path(path) => quoted(&path.to_string_lossy()),
            Value::Texts(texts) | Value::Memory(Memory::Names(texts)) => {
                format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
            }
            Value::Memory(Memory::All) => "true".to_owned(),
        }
    }
}

/// A text as TOML writes it, which is as JSON does.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A kind of things in the file, as they are called here.
pub(super) fn a(kind: &str) -> &str {
    match kind {
        "string" => "a text",
        "integer" | "float" => "a number",
        "boolean" => "a yes or no",
        "datetime" => "a date",
        "array" => "a list",
        "table" => "a table",
        other => other,
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Which one of these words it is.
pub(super) fn word(text: &str, words: &[&str]) -> Result<usize, String> {
    words.iter().position(|word| *word == text).ok_or_else(|| {
        let near = super::nearest(text, words.iter().copied());
        let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!(" is `{}`: it must be {}{meant}", short(text), list(words))
    })
}

/// `a`, `b` or `c`.
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

pub(super) fn path(path: PathBuf) -> Result<PathBuf, String> {
    if path.as_os_str().is_empty() {
        return Err(" is empty: it must be the path of a file or folder".to_owned());
    }
    if path.starts_with("~") || path.as_os_str().as_encoded_bytes().starts_with(b"~") {
        let text = format!(
            " is `{}`: it must be a whole path; only a shell knows what `~` is",
            short(&path.to_string_lossy())
        );
        return Err(text);
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(" has a NUL in it: it must be the path of a file or folder".to_owned());
    }
    Ok(path)
}

/// Which one of several is wrong, and what.
type WrongAt = (usize, String);

fn addresses(texts: &[&str]) -> Result<Value, WrongAt> {
    let mut known = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let address = Address::parse(text).map_err(|error| (at, format!(": {error}")))?;
        // Several of any free port are several ports.
        let any = matches!(address, Address::Tcp { port: 0, .. });
        if !any && known.contains(&address) {
            return Err((at, format!(" has `{address}` twice: a hub listens once at an address")));
        }
        known.push(address);
    }
    Ok(Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect()))
}

fn names(texts: &[&str]) -> Result<Value, WrongAt> {
    let mut known = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let name = Name::parse(text).map_err(|error| (at, format!(": {error}")))?.to_string();
        if known.contains(&name) {
            return Err((at, format!(" has `{name}` twice")));
        }
        known.push(name);
    }
    Ok(Value::Memory(Memory::Names(known)))
}

fn commas(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).collect()
}

/// The texts of a list in the file; or which one is none.
pub(super) fn texts<'a>(array: &'a [Spanned<DeValue<'_>>], must: &str) -> Result<Vec<&'a str>, Wrong> {
    let text = |value: &'a Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) => Ok(text.as_ref()),
        other => Err((Some(value.span()), format!(" has {} in it: it must be {must}", a(other.type_str())))),
    };
    array.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: Kind, text: &str) -> String {
        match kind.read(text.as_ref()) {
            Ok(value) => value.shown(),
            Err(wrong) => wrong,
        }
    }

    #[test]
    fn what_is_said_is_read_and_shown_as_the_file_has_it() {
        let number = Kind::Number { min: 1, max: 10 };
        let size = Kind::Size { min: 1 << 10, max: 64 << 20 };
        let time = Kind::Time { max: Duration::from_secs(3600) };
        for (kind, text, shown) in [
            (number, "7", "7"),
            (size, "2048", "\"2KiB\""),
            (size, "8MB", "\"8MB\""),
            (time, "1m30s", "\"1m30s\""),
            (time, "0s", "\"0s\""),
            (Kind::Word(&["one", "two"]), "two", "\"two\""),
            (Kind::Path, "/a \"b\"", r#""/a \"b\"""#),
            (Kind::Addresses, "127.0.0.1:0,127.0.0.1:0, mem://a", r#"["127.0.0.1:0", "127.0.0.1:0", "mem://a"]"#),
            (Kind::Memory, "true", "true"),
            (Kind::Memory, "false", "[]"),
            (Kind::Memory, "a,b/c", r#"["a", "b/c"]"#),
            (Kind::Levels, "info,store=debug", "\"info,store=debug\""),
        ] {
            assert_eq!(said(kind, text), shown);
        }
    }

    #[test]
    fn what_is_wrong_says_what_is_allowed() {
        let number = Kind::Number { min: 1, max: 10 };
        let size = Kind::Size { min: 1 << 10, max: 64 << 20 };
        let time = Kind::Time { max: Duration::from_secs(3600) };
        let times = "it must be a time up to 1h, with its unit, such as `500ms`, `15s` or `1m30s`";
        for text in ["0", "11", "-1", "+1", "1e1", "0x1", " 1", "18446744073709551616", "", "seven"] {
            assert_eq!(said(number, text), format!(" is `{text}`: it must be a whole number from 1 to 10"));
        }
        for (text, wrong) in [
            (
                "1KB",
                " is `1KB`: it must be a size from 1KiB to 64MiB, such as `8MiB`; write `1KiB` (powers of 1024) or \
                      `1kB` (powers of 1000)",
            ),
            ("1GB", " is `1GB`: it must be a size from 1KiB to 64MiB, such as `8MiB`"),
            ("0", " is `0`: it must be a size from 1KiB to 64MiB, such as `8MiB`"),
        ] {
            assert_eq!(said(size, text), wrong);
        }
        assert_eq!(said(time, "5"), format!(" is `5`: {times}; write `5s` for seconds"));
        for text in ["-5s", "9999y", "2h", "5 s", ""] {
            assert_eq!(said(time, text), format!(" is `{text}`: {times}"));
        }
        assert_eq!(
            said(Kind::Word(&["text", "json"]), "jsn"),
            " is `jsn`: it must be `text` or `json`; did you mean `json`?"
        );
        assert_eq!(said(Kind::Path, "~/x"), " is `~/x`: it must be a whole path; only a shell knows what `~` is");
        assert_eq!(said(Kind::Path, ""), " is empty: it must be the path of a file or folder");
        assert_eq!(
            said(Kind::Addresses, "a:65536"),
            ": `a:65536` is not an address: a port is a number from 0 to 65535"
        );
        assert_eq!(said(Kind::Addresses, "a:1,tcp://a:1"), " has `tcp://a:1` twice: a hub listens once at an address");
        assert!(said(Kind::Memory, "a/#").starts_with(": "));
        assert_eq!(said(Kind::Memory, "a,a"), " has `a` twice");
        assert!(said(Kind::Levels, "info,stor=debug").ends_with("; did you mean `store`?"));
    }

    #[test]
    fn a_password_in_an_address_is_not_repeated() {
        assert!(!said(Kind::Addresses, "tcp://ann:sesame@host:1").contains("sesame"));
    }

    #[test]
    fn a_long_mistake_is_shown_in_part() {
        let said = said(Kind::Number { min: 1, max: 10 }, &"é".repeat(5000));
        assert!(said.len() < 300 && said.contains("é…`"), "{said}");
    }
}
