//! What counts: of each setting the flag, else the environment, else the file, else the default; and where it comes from.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use convoke::Membership;

use super::environment::Environment;
use super::file::Configuration;
use super::mistake::{Mistake, Place};
use super::uplinks::Uplink;
use super::{Change, Flags, SETTINGS, Setting, Value};

/// All settings of a hub.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// As they are in [`SETTINGS`].
    chosen: Vec<Chosen>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// Links to other hubs, which only a file can have.
    pub(crate) uplinks: Vec<Uplink>,
}

/// One setting.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) setting: &'static Setting,
    /// `None` for a default that depends on the machine.
    pub(crate) value: Option<Value>,
    pub(crate) origin: Origin,
}

/// Where the value of a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    /// `membership.profile`.
    Profile,
    File(Place),
    Environment,
    Flag,
}

/// A setting that is not what it was.
pub(crate) struct Changed<'a> {
    pub(crate) from: &'a Chosen,
    pub(crate) to: &'a Chosen,
}

impl Settings {
    /// Puts together what all sources say; on failure, all that is wrong.
    pub(crate) fn gather(
        flags: &Flags,
        environment: &Environment,
        file: Option<&Configuration>,
    ) -> Result<Settings, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut chosen: Vec<Chosen> = Vec::with_capacity(SETTINGS.len());
        for setting in SETTINGS {
            let said = choose(setting, flags, environment, file);
            let or_default = said.unwrap_or_else(|mistake| {
                mistakes.push(mistake);
                None
            });
            let (value, origin) = match or_default {
                Some((value, origin)) => (Some(value), origin),
                None => (setting.default(), Origin::Default),
            };
            chosen.push(Chosen { setting, value, origin });
        }
        let uplinks = file.map(|file| file.uplinks.clone()).unwrap_or_default();
        let mut settings = Settings { chosen, file: file.map(|file| file.path.clone()), uplinks };
        settings.apply_profile();
        settings.raise_link_bulk();
        if mistakes.is_empty() {
            mistakes = settings.contradictions(file);
        }
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Chosen] {
        &self.chosen
    }

    pub(crate) fn get(&self, key: &str) -> &Chosen {
        self.chosen.iter().find(|chosen| chosen.setting.key == key).expect("the caller knows the table")
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.get(key).value.as_ref()
    }

    /// Of a number or a size.
    pub(super) fn number(&self, key: &str) -> u64 {
        match self.value(key) {
            Some(Value::Number(number) | Value::Size(number)) => *number,
            _ => 0,
        }
    }

    pub(super) fn time(&self, key: &str) -> Duration {
        match self.value(key) {
            Some(Value::Time(time)) => *time,
            _ => Duration::ZERO,
        }
    }

    pub(super) fn text(&self, key: &str) -> &str {
        match self.value(key) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        match self.value(key) {
            Some(Value::Path(path)) => Some(path.clone()),
            _ => None,
        }
    }

    /// What is not the same in `new`.
    pub(crate) fn changes<'a>(&'a self, new: &'a Settings) -> Vec<Changed<'a>> {
        let pairs = self.chosen.iter().zip(&new.chosen);
        pairs.filter(|(from, to)| from.value != to.value).map(|(from, to)| Changed { from, to }).collect()
    }

    /// Becomes `new` as far as that is possible without a start of the hub.
    pub(crate) fn take(&mut self, new: Settings) {
        for (mine, new) in self.chosen.iter_mut().zip(new.chosen) {
            if new.setting.change != Change::Restart {
                *mine = new;
            }
        }
        self.file = new.file;
    }

    /// Sets what nobody has set to what the profile says.
    fn apply_profile(&mut self) {
        if self.text("membership.profile") != "nope" {
            return;
        }
        let Membership { beat, beat_attentive, suspect_beats, dead_beats, removed_beats } = Membership::nope();
        for (key, value) in [
            ("membership.beat", Value::Time(beat)),
            ("membership.beat-attentive", Value::Time(beat_attentive)),
            ("membership.suspect-beats", Value::Number(suspect_beats.into())),
            ("membership.dead-beats", Value::Number(dead_beats.into())),
            ("membership.removed-beats", Value::Number(removed_beats.into())),
        ] {
            let chosen = self.chosen.iter_mut().find(|chosen| chosen.setting.key == key);
            if let Some(chosen) = chosen.filter(|chosen| chosen.origin == Origin::Default) {
                (chosen.value, chosen.origin) = (Some(value), Origin::Profile);
            }
        }
    }

    /// A default that is too small for what was set gives way.
    fn raise_link_bulk(&mut self) {
        let least = self.link_bulk_min();
        let chosen = self.chosen.iter_mut().find(|chosen| chosen.setting.key == "limits.link-bulk");
        if let Some(Chosen { value: Some(Value::Size(bytes)), origin: Origin::Default, .. }) = chosen {
            *bytes = least.max(*bytes);
        }
    }

    /// One event of the longest payload must fit, with the heads of its fragments.
    fn link_bulk_min(&self) -> u64 {
        self.number("limits.payload") * 2 + 4096
    }

    /// What is right alone and wrong together.
    fn contradictions(&self, file: Option<&Configuration>) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let payload = self.link_bulk_min();
        let link_bulk = self.number("limits.link-bulk");
        let beats = |key| self.number(key);
        for (key, min, why) in [
            (
                "limits.link-bulk",
                payload,
                "less than an event of the longest payload takes: twice `limits.payload`, and 4KiB",
            ),
            ("limits.hub-bulk", link_bulk, "less than may wait for one link: `limits.link-bulk`"),
            ("membership.dead-beats", beats("membership.suspect-beats"), "less than `membership.suspect-beats`"),
            ("membership.removed-beats", beats("membership.dead-beats"), "less than `membership.dead-beats`"),
        ] {
            let chosen = self.get(key);
            if self.number(key) < min && !matches!(chosen.origin, Origin::Default | Origin::Profile) {
                let shown = chosen.value.as_ref().map(Value::shown).unwrap_or_default();
                mistakes.push(chosen.wrong(&format!(" is {}, {why}", shown.trim_matches('"')), file));
            }
        }
        for (key, other) in [
            ("tls.certificate", "tls.key"),
            ("tls.key", "tls.certificate"),
            ("tls.client-authority", "tls.certificate"),
        ] {
            if self.value(key).is_some() && self.value(other).is_none() {
                mistakes.push(self.get(key).wrong(&format!(" is set, which takes `{other}` too"), file));
            }
        }
        mistakes
    }
}

impl Chosen {
    /// Something is wrong about it; `what` begins behind its name.
    pub(crate) fn wrong(&self, what: &str, file: Option<&Configuration>) -> Mistake {
        let setting = self.setting;
        match &self.origin {
            Origin::Environment => Mistake::new(format!("`{}`{what}", setting.variable())),
            Origin::Flag => Mistake::flag(format!("`--{}`{what}", setting.flag())),
            _ => {
                let text = format!("`{}`{what}", setting.key);
                let entry =
                    file.and_then(|file| Some((file, file.entries.iter().find(|e| e.setting.key == setting.key)?)));
                match entry {
                    Some((file, entry)) => Mistake::at(&file.path, &file.text, entry.bytes.clone(), text),
                    None => Mistake::new(text),
                }
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Profile => f.write_str("membership.profile"),
            Origin::File(place) => write!(f, "{place}"),
            Origin::Environment => f.write_str("environment"),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

/// What the first source says that says anything.
fn choose(
    setting: &'static Setting,
    flags: &Flags,
    environment: &Environment,
    file: Option<&Configuration>,
) -> Result<Option<(Value, Origin)>, Mistake> {
    if let Some(given) = flags.of(setting) {
        let value = match given {
            [one] => setting.kind.read(one),
            several => setting.kind.read(&several.join(&OsString::from(","))),
        };
        let value = value.map_err(|wrong| Mistake::flag(format!("`--{}`{wrong}", setting.flag())))?;
        return Ok(Some((value, Origin::Flag)));
    }
    let variable = setting.variable();
    if let Some(given) = environment.get(&variable) {
        let value = setting.kind.read(given).map_err(|wrong| Mistake::new(format!("`{variable}`{wrong}")))?;
        return Ok(Some((value, Origin::Environment)));
    }
    let entry = file.and_then(|file| Some((file, file.entries.iter().find(|entry| entry.setting.key == setting.key)?)));
    Ok(entry.map(|(file, entry)| (entry.value.clone(), Origin::File(file.place(&entry.bytes)))))
}
