//! Links to other hubs: the tables `[[uplink]]` of the configuration file. They are no rows of the table of settings, since
//! there may be any number of them; so neither a flag nor the environment can set them.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use convoke::{Address, Authority, Certificate, Direction, Error, Name, Pattern, Token, UplinkOptions};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::beside;
use super::kind::{self, a};
use super::mistake::Place;
use super::nearest;

/// The name of the tables.
pub(super) const UPLINK: &str = "uplink";

/// What a table can have.
const KEYS: &[&str] = &[
    "name",
    "address",
    "node",
    "token-file",
    "authority",
    "certificate-file",
    "key-file",
    "events",
    "journals",
    "direction",
];

const DIRECTIONS: [(&str, Direction); 3] = [("both", Direction::Both), ("in", Direction::In), ("out", Direction::Out)];

/// One link to another hub, as the file says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uplink {
    pub(crate) name: String,
    pub(crate) address: String,
    node: Option<String>,
    token: Option<PathBuf>,
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    events: Vec<String>,
    journals: Vec<String>,
    direction: Direction,
    /// Where its table is.
    pub(crate) place: Option<Place>,
}

/// What is wrong, and where.
pub(super) type Wrong = (Range<usize>, String);

impl Uplink {
    /// What a hub is started with. Reads its files.
    pub(crate) fn options(&self) -> Result<UplinkOptions, Error> {
        let certificate = self.certificate.as_ref().zip(self.key.as_ref());
        Ok(UplinkOptions {
            name: self.name.clone(),
            address: self.address.clone(),
            node: self.node.clone(),
            token: self.token.as_ref().map(Token::read).transpose()?,
            authority: self.authority.as_ref().map(Authority::read).transpose()?,
            certificate: certificate.map(|(certificate, key)| Certificate::read(certificate, key)).transpose()?,
            events: self.events.clone(),
            journals: self.journals.clone(),
            direction: self.direction,
        })
    }

    /// The same without its place in the file.
    pub(crate) fn of(&self) -> Uplink {
        Uplink { place: None, ..self.clone() }
    }

    /// What it is, in one line: where it leads, what it passes on, and which way.
    pub(crate) fn shown(&self) -> String {
        let way = DIRECTIONS.iter().find(|(_, way)| *way == self.direction).map_or("", |(word, _)| word);
        let passes = [("events", &self.events), ("journals", &self.journals)];
        let passes = passes.iter().filter(|(_, names)| !names.is_empty());
        let passes: Vec<String> = passes.map(|(what, names)| format!("{what} {}", names.join(" "))).collect();
        format!("{} ({}), {way}", self.address, passes.join("; "))
    }
}

/// Takes all tables of a file; `place` tells where something is, `folder` is the one of the file.
pub(super) fn take(
    key: &Spanned<Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    folder: &Path,
    place: impl Fn(usize) -> Place,
) -> (Vec<Uplink>, Vec<Wrong>) {
    let (mut uplinks, mut wrong): (Vec<Uplink>, Vec<Wrong>) = (Vec::new(), Vec::new());
    let DeValue::Array(tables) = value.get_ref() else {
        return (
            uplinks,
            vec![(key.span(), format!("`{UPLINK}` is a list of tables: write `[[{UPLINK}]]`, once for each"))],
        );
    };
    for table in tables {
        let DeValue::Table(keys) = table.get_ref() else {
            wrong.push((table.span(), format!("`{UPLINK}` is a list of tables: write `[[{UPLINK}]]`, once for each")));
            continue;
        };
        let (mut uplink, mistakes) = one(keys, table.span(), folder);
        if let Some(first) = uplinks.iter().find(|first| first.name == uplink.name && !uplink.name.is_empty()) {
            let line = first.place.as_ref().map_or(0, |place| place.line);
            wrong.push((
                table.span(),
                format!("there are two uplinks `{}`; the first begins in line {line}", uplink.name),
            ));
        }
        wrong.extend(mistakes);
        uplink.place = Some(place(table.span().start));
        uplinks.push(uplink);
    }
    (uplinks, wrong)
}

fn one(keys: &DeTable<'_>, table: Range<usize>, folder: &Path) -> (Uplink, Vec<Wrong>) {
    let (mut uplink, mut wrong) = (Uplink::default(), Vec::new());
    for (key, value) in keys {
        let word: &str = key.get_ref();
        if !KEYS.contains(&word) {
            let hint = match nearest(word, KEYS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    format!("there are {}", KEYS.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
                }
            };
            wrong.push((key.span(), format!("there is no `{word}` in `[[{UPLINK}]]`; {hint}")));
            continue;
        }
        if let Err((at, why)) = uplink.set(word, value, folder) {
            wrong.push((at.unwrap_or_else(|| value.span()), format!("`{UPLINK}.{word}`{why}")));
        }
    }
    let needs = [("name", uplink.name.is_empty()), ("address", uplink.address.is_empty())];
    for (word, _) in needs.iter().filter(|(word, missing)| *missing && !keys.contains_key(*word)) {
        wrong.push((table.clone(), format!("an uplink needs `{word}`")));
    }
    if uplink.events.is_empty() && uplink.journals.is_empty() && wrong.is_empty() {
        wrong.push((table.clone(), "an uplink passes on what its `events` and `journals` say, and has neither".into()));
    }
    if uplink.certificate.is_some() != uplink.key.is_some() {
        wrong.push((table.clone(), "`certificate-file` and `key-file` belong together".into()));
    }
    let tls = matches!(Address::parse(&uplink.address), Ok(Address::Tls { .. }));
    if tls && !keys.contains_key("authority") {
        let text = "an uplink to an address with `tls://` needs `authority`: the file `authority.pem` of the other hub";
        wrong.push((table, text.into()));
    }
    (uplink, wrong)
}

impl Uplink {
    fn set(&mut self, word: &str, value: &Spanned<DeValue<'_>>, folder: &Path) -> Result<(), kind::Wrong> {
        let path = |value: &Spanned<DeValue<'_>>| {
            let path = kind::path(text(value, "the path of a file")?.into()).map_err(|why| (None, why))?;
            Ok(Some(beside(folder, path)))
        };
        match word {
            "name" | "node" => {
                let name = text(value, "a name")?;
                let name = Name::parse(name).map_err(|error| (None, format!(": {error}")))?;
                if word == "name" {
                    // As which it joins there, with the first digits of this hub's id, which are as long as these.
                    let node = format!("hub/00000000/{name}");
                    Name::parse(&node).map_err(|error| (None, format!(" makes the name of a node: {error}")))?;
                    self.name = name.to_string();
                } else if name.is_reserved() {
                    return Err((None, format!(": `{name}`: names that begin with `$` are each hub's own")));
                } else {
                    self.node = Some(name.to_string());
                }
            }
            "address" => {
                let address = text(value, "an address")?;
                Address::parse(address).map_err(|error| (None, format!(": {error}")))?;
                address.clone_into(&mut self.address);
            }
            "token-file" => self.token = path(value)?,
            "authority" => self.authority = path(value)?,
            "certificate-file" => self.certificate = path(value)?,
            "key-file" => self.key = path(value)?,
            "events" => self.events = patterns(value)?,
            "journals" => self.journals = patterns(value)?,
            _ => {
                let given = text(value, "`both`, `in` or `out`")?;
                let at = kind::word(given, &DIRECTIONS.map(|(word, _)| word)).map_err(|why| (None, why))?;
                self.direction = DIRECTIONS[at].1;
            }
        }
        Ok(())
    }
}

fn text<'a>(value: &'a Spanned<DeValue<'_>>, must: &str) -> Result<&'a str, kind::Wrong> {
    match value.get_ref() {
        DeValue::String(text) if !text.is_empty() => Ok(text),
        DeValue::String(_) => Err((None, format!(" is empty: it must be {must}"))),
        other => Err((None, format!(" is {}: it must be {must}", a(other.type_str())))),
    }
}

fn patterns(value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, kind::Wrong> {
    let must = r#"a list of names and patterns, as in ["press/#", "line/state"]"#;
    let DeValue::Array(array) = value.get_ref() else { return Err((None, format!(" must be {must}"))) };
    let mut patterns = Vec::new();
    for (item, given) in array.iter().zip(kind::texts(array, must)?) {
        let wrong = |why: String| (Some(item.span()), why);
        let pattern = Pattern::parse(given).map_err(|error| wrong(format!(": {error}")))?;
        if pattern.is_reserved() {
            return Err(wrong(format!(": `{pattern}`: names that begin with `$` are each hub's own")));
        }
        patterns.push(pattern.to_string());
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::file::Configuration;

    fn parse(text: &str) -> Result<Vec<Uplink>, String> {
        let read = Configuration::parse(Path::new("/etc/a.toml"), text.to_owned());
        read.map(|file| file.uplinks)
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn an_uplink_is_a_table_of_which_there_may_be_several() {
        let uplinks = parse(
            r##"
[[uplink]]
name = "plant"
address = "tls://hub.example:7117"
token-file = "plant.token"
authority = "/etc/plant.pem"
events = ["press/#"]

[[uplink]]
name = "office"
address = "127.0.0.1:7118"
journals = ["room/+", "todo"]
direction = "out"
node = "hub/line-3"
"##,
        );
        let uplinks = uplinks.expect("it is right");
        assert_eq!(uplinks.len(), 2);
        assert_eq!(uplinks[0].token, Some("/etc/plant.token".into()), "beside the file");
        assert_eq!(uplinks[0].shown(), "tls://hub.example:7117 (events press/#), both");
        assert_eq!(uplinks[1].shown(), "127.0.0.1:7118 (journals room/+ todo), out");
        assert_eq!(uplinks[1].node.as_deref(), Some("hub/line-3"));
    }

    #[test]
    fn what_is_wrong_about_an_uplink_is_told_where_it_is() {
        let right = "[[uplink]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nevents = [\"a/#\"]\n";
        for (text, expected) in [
            (
                "[uplink]\nname = \"a\"\n",
                "/etc/a.toml:1:2: `uplink` is a list of tables: write `[[uplink]]`, once for each",
            ),
            ("[[uplink]]\nname = \"a\"\nevents = [\"a\"]\n", "/etc/a.toml:1:1: an uplink needs `address`"),
            (
                "[[uplink]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n",
                "/etc/a.toml:1:1: an uplink passes on what its `events` and `journals` say, and has neither",
            ),
            (
                &format!("{right}direction = \"inn\"\n"),
                "/etc/a.toml:5:13: `uplink.direction` is `inn`: it must be `both`, `in` or `out`; did you mean `in`?",
            ),
            (
                &format!("{right}event = 1\n"),
                "/etc/a.toml:5:1: there is no `event` in `[[uplink]]`; did you mean `events`?",
            ),
            (
                &format!("{right}journals = [\"$hub/x\"]\n"),
                "/etc/a.toml:5:13: `uplink.journals`: `$hub/x`: names that begin with `$` are each hub's own",
            ),
            (
                &format!("{right}journals = [\"convoke:%24hub/x\"]\n"),
                "/etc/a.toml:5:13: `uplink.journals`: `$hub/x`: names that begin with `$` are each hub's own",
            ),
            (
                &format!("{right}authority = \"~/plant.pem\"\n"),
                "/etc/a.toml:5:13: `uplink.authority` is `~/plant.pem`: it must be a whole path; only a shell knows what `~` is",
            ),
            (
                &format!("{right}journals = [\"todo\", 1]\n"),
                "/etc/a.toml:5:21: `uplink.journals` has a number in it: it must be a list of names and patterns, as in \
                 [\"press/#\", \"line/state\"]",
            ),
            (
                "[[uplinks]]\nname = \"a\"\n",
                "/etc/a.toml:1:3: there is no section `[[uplinks]]`; did you mean `[[uplink]]`?",
            ),
            (
                "[uplinks]\nname = \"a\"\n",
                "/etc/a.toml:1:2: there is no section `[uplinks]`; did you mean `[[uplink]]`?",
            ),
            (
                &format!("{right}node = \"$hub/x\"\n"),
                "/etc/a.toml:5:8: `uplink.node`: `$hub/x`: names that begin with `$` are each hub's own",
            ),
            (
                &right.replace("\"a\"\n", &format!("\"{}\"\n", ["a"; 31].join("/"))),
                "/etc/a.toml:2:8: `uplink.name` makes the name of a node: `hub/00000000/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/…` \
                 has too many words: 33, and at most 32 are allowed",
            ),
            (
                &right.replace("127.0.0.1", "tls://plant"),
                "/etc/a.toml:1:1: an uplink to an address with `tls://` needs `authority`: the file `authority.pem` of the other \
                 hub",
            ),
            (&format!("{right}node = \"\"\n"), "/etc/a.toml:5:8: `uplink.node` is empty: it must be a name"),
            (&format!("{right}{right}"), "/etc/a.toml:5:1: there are two uplinks `a`; the first begins in line 1"),
            (
                &format!("{right}key-file = \"k\"\n"),
                "/etc/a.toml:1:1: `certificate-file` and `key-file` belong together",
            ),
        ] {
            assert_eq!(parse(text).expect_err(text), expected);
        }
    }
}
