//! Every setting of a hub, in one table: [`SETTINGS`]. The configuration file ([`file`]), the environment ([`environment`]),
//! the flags of `convoke hub` ([`flags`]), `convoke config`, the file that `config init` writes and the table in
//! docs/operating.md ([`pages`]) are made from it, so a setting is added here and nowhere else, but where it is used.
//!
//! A setting `section.key` has the flag `--section-key` and the variable `CONVOKE_SECTION_KEY`; in `[hub]` just `--key` and
//! `CONVOKE_KEY`. A flag counts before the environment, that before the file, that before the default.

mod environment;
mod file;
mod flags;
mod gather;
mod kind;
mod mistake;
pub(crate) mod pages;
mod place;
mod size;
mod uplinks;

use std::time::Duration;

use convoke::{Code, HubOptions, Membership, SelectDefault, TlsOptions};

pub(crate) use environment::Environment;
pub(crate) use file::Configuration;
pub(crate) use flags::Flags;
pub(crate) use gather::{Changed, Chosen, Origin, Settings};
pub(crate) use kind::{Kind, Memory, Value};
pub(crate) use mistake::Mistake;
pub(crate) use place::{Wanted, state_folder};
pub(crate) use uplinks::Uplink;

use crate::exit::Failure;
use crate::log::{LogSettings, levels::Levels};

/// One thing that can be set about a hub.
#[derive(Debug)]
pub(crate) struct Setting {
    /// `section.key`.
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Absent,
    /// What it is, in one line without a full stop.
    pub(crate) doc: &'static str,
    pub(crate) change: Change,
}

/// What counts for a setting that nobody has set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Absent {
    /// This, as the environment would say it.
    Is(&'static str),
    /// Something that depends on the machine, in words; and what a file could say instead.
    Words(&'static str, &'static str),
}

/// When a change of a setting takes effect in a hub that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// At once.
    Now,
    /// For links that join from then on.
    Joining,
    /// When the hub is started again.
    Restart,
}

/// Sections, with what they are for.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("hub", "Where a hub is, and what it keeps"),
    ("tls", "What it shows and believes on links over TLS"),
    ("limits", "What it takes"),
    ("membership", "How it judges who is alive"),
    ("log", "What it says about itself"),
];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// No link is silent for longer by intention.
const BEAT_MAX: Duration = Duration::from_secs(3600);

/// Beats of silence: a thousand hours of the longest.
const BEATS_MAX: u64 = 1000;

/// The links for which a system has ports.
const LINKS_MAX: u64 = 1_000_000;

/// Ways to choose a provider.
const SELECTS: &[(&str, SelectDefault)] = &[
    ("first", SelectDefault::First),
    ("round-robin", SelectDefault::RoundRobin),
    ("random", SelectDefault::Random),
    ("least-busy", SelectDefault::LeastBusy),
    ("master", SelectDefault::Master),
    ("cpu-usage", SelectDefault::CpuUsage),
    ("free-ram", SelectDefault::FreeRam),
];

/// All of them, in the order of their sections.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        key: "hub.listen",
        kind: Kind::Addresses,
        default: Absent::Words(
            "port 7117 of 127.0.0.1 and, where it exists, of ::1, and a Unix socket",
            r#"["127.0.0.1:7117", "unix:///run/convoke/hub.sock"]"#,
        ),
        doc: "Listen there; replaces the defaults",
        change: Change::Restart,
    },
    Setting {
        key: "hub.data",
        kind: Kind::Path,
        default: Absent::Words("$XDG_STATE_HOME/convoke, or ~/.local/state/convoke", r#""/var/lib/convoke""#),
        doc: "Keep in this folder what must be kept",
        change: Change::Restart,
    },
    Setting {
        key: "hub.memory",
        kind: Kind::Memory,
        default: Absent::Words("all is kept on disk", r#"["camera", "press/1/state"]"#),
        doc: "Keep these names and all below in memory only; true to keep nothing at all",
        change: Change::Restart,
    },
    Setting {
        key: "hub.select",
        kind: Kind::Word(&["first", "round-robin", "random", "least-busy", "master", "cpu-usage", "free-ram"]),
        default: Absent::Is("round-robin"),
        doc: "How a provider is chosen for a call that does not say how",
        change: Change::Now,
    },
    Setting {
        key: "tls.certificate",
        kind: Kind::Path,
        default: Absent::Words("what `convoke tls init` has made", r#""/etc/convoke/hub.pem""#),
        doc: "Show this certificate on links over TLS",
        change: Change::Restart,
    },
    Setting {
        key: "tls.key",
        kind: Kind::Path,
        default: Absent::Words("what `convoke tls init` has made", r#""/etc/convoke/hub.key""#),
        doc: "The file with its key; only its owner may be able to read it",
        change: Change::Restart,
    },
    Setting {
        key: "tls.client-authority",
        kind: Kind::Path,
        default: Absent::Words("what `convoke tls init` has made", r#""/etc/convoke/clients.pem""#),
        doc: "Let programs in that show a certificate of this authority",
        change: Change::Restart,
    },
    Setting {
        key: "limits.links",
        kind: Kind::Number { min: 1, max: LINKS_MAX },
        default: Absent::Is("10000"),
        doc: "Links at one time",
        change: Change::Now,
    },
    Setting {
        key: "limits.links-per-source",
        kind: Kind::Number { min: 1, max: LINKS_MAX },
        default: Absent::Is("1000"),
        doc: "Links at one time from one address, or one IPv6 network of 64 bits; not those of this machine",
        change: Change::Now,
    },
    Setting {
        key: "limits.payload",
        kind: Kind::Size { min: KIB, max: 64 * MIB },
        default: Absent::Is("1MiB"),
        doc: "The longest payload, headers included",
        change: Change::Restart,
    },
    Setting {
        key: "limits.link-bulk",
        kind: Kind::Size { min: MIB, max: TIB },
        default: Absent::Is("8MiB"),
        doc: "What may wait for one link before its slow policy decides",
        change: Change::Joining,
    },
    Setting {
        key: "limits.hub-bulk",
        kind: Kind::Size { min: MIB, max: TIB },
        default: Absent::Is("1GiB"),
        doc: "What may wait for all links before only those with less than their share of it get more",
        change: Change::Now,
    },
    Setting {
        key: "membership.profile",
        kind: Kind::Word(&["standard", "nope"]),
        default: Absent::Is("standard"),
        doc: "What counts for those below that are not set: Convoke's own, or what NoPE has",
        change: Change::Now,
    },
    Setting {
        key: "membership.beat",
        kind: Kind::Time { max: BEAT_MAX },
        default: Absent::Is("15s"),
        doc: "How often an idle link says that it is alive; 0s for never",
        change: Change::Joining,
    },
    Setting {
        key: "membership.beat-attentive",
        kind: Kind::Time { max: BEAT_MAX },
        default: Absent::Is("1s"),
        doc: "The same for a link that offers or watches something, if it is shorter; 0s for no other",
        change: Change::Joining,
    },
    Setting {
        key: "membership.suspect-beats",
        kind: Kind::Number { min: 1, max: BEATS_MAX },
        default: Absent::Is("3"),
        doc: "A node is suspected when nothing was heard of it for so many beats",
        change: Change::Now,
    },
    Setting {
        key: "membership.dead-beats",
        kind: Kind::Number { min: 1, max: BEATS_MAX },
        default: Absent::Is("6"),
        doc: "It is dead after so many",
        change: Change::Now,
    },
    Setting {
        key: "membership.removed-beats",
        kind: Kind::Number { min: 1, max: BEATS_MAX },
        default: Absent::Is("30"),
        doc: "It is forgotten after so many",
        change: Change::Now,
    },
    Setting {
        key: "log.level",
        kind: Kind::Levels,
        default: Absent::Is("warn"),
        doc: "What is logged: a level for all, or PART=LEVEL, of config, hub, link, node and store",
        change: Change::Now,
    },
    Setting {
        key: "log.format",
        kind: Kind::Word(&["text", "json"]),
        default: Absent::Is("text"),
        doc: "Lines for people, or an object of JSON for each",
        change: Change::Now,
    },
    Setting {
        key: "log.file",
        kind: Kind::Path,
        default: Absent::Words("standard error", r#""/var/log/convoke.log""#),
        doc: "Append the log to this file; SIGHUP has it opened again",
        change: Change::Now,
    },
];

impl Setting {
    /// The setting of this key.
    pub(crate) fn of(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    pub(crate) fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// The key within its section.
    pub(crate) fn word(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, word)| word)
    }

    /// Without the dashes.
    pub(crate) fn flag(&self) -> String {
        self.key.strip_prefix("hub.").unwrap_or(self.key).replace('.', "-")
    }

    pub(crate) fn variable(&self) -> String {
        format!("CONVOKE_{}", self.flag().replace('-', "_").to_ascii_uppercase())
    }

    /// Its default, in words if it depends on the machine.
    pub(crate) fn words(&self) -> &'static str {
        match self.default {
            Absent::Is(text) | Absent::Words(text, _) => text,
        }
    }

    /// Its default, if that does not depend on the machine.
    pub(crate) fn default(&self) -> Option<Value> {
        match self.default {
            Absent::Is(text) => Some(self.kind.read(text.as_ref()).expect("a test reads all defaults")),
            Absent::Words(..) => None,
        }
    }
}

/// What may have been meant: the nearest of those that are near.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Two words of different length have as many mistakes in common as they have letters.
    let allowed = given.chars().count().div_ceil(3);
    let known = known.into_iter().map(|known| (strsim::damerau_levenshtein(given, known), known));
    known.filter(|(mistakes, _)| *mistakes <= allowed).min_by_key(|(mistakes, _)| *mistakes).map(|(_, known)| known)
}

impl Settings {
    /// What a hub is started with. The folder is not there if nobody has said which.
    pub(crate) fn hub(&self) -> HubOptions {
        let size = |key| usize::try_from(self.number(key)).unwrap_or(usize::MAX);
        let memory = match self.value("hub.memory") {
            Some(Value::Memory(memory)) => memory.clone(),
            _ => Memory::default(),
        };
        let select = SELECTS.iter().find(|(word, _)| *word == self.text("hub.select"));
        let client_authority = self.path("tls.client-authority");
        // One without the other is a mistake that was told before.
        let tls = self.path("tls.certificate").zip(self.path("tls.key"));
        let tls = tls.map(|(certificate, key)| TlsOptions { certificate, key, client_authority });
        HubOptions {
            // Their files are read when the hub is started.
            uplinks: Vec::new(),
            tls,
            join_time: Duration::ZERO,
            listen: match self.value("hub.listen") {
                Some(Value::Texts(addresses)) => addresses.clone(),
                _ => Vec::new(),
            },
            data: self.path("hub.data").filter(|_| memory != Memory::All),
            links_max: size("limits.links"),
            links_per_source_max: size("limits.links-per-source"),
            payload_bytes_max: size("limits.payload"),
            link_bulk_bytes_max: size("limits.link-bulk"),
            hub_bulk_bytes_max: size("limits.hub-bulk"),
            membership: self.membership(),
            memory: match memory {
                Memory::Names(names) => names,
                // Nothing is kept, so nothing need be said of names.
                Memory::All => Vec::new(),
            },
            select: select.map(|(_, select)| *select).unwrap_or_default(),
        }
    }

    /// Whether nothing at all is kept.
    pub(crate) fn keeps_nothing(&self) -> bool {
        self.value("hub.memory") == Some(&Value::Memory(Memory::All))
    }

    fn membership(&self) -> Membership {
        let beats = |key| u32::try_from(self.number(key)).unwrap_or(u32::MAX);
        Membership {
            beat: self.time("membership.beat"),
            beat_attentive: self.time("membership.beat-attentive"),
            suspect_beats: beats("membership.suspect-beats"),
            dead_beats: beats("membership.dead-beats"),
            removed_beats: beats("membership.removed-beats"),
        }
    }

    pub(crate) fn log(&self) -> LogSettings {
        LogSettings {
            levels: Levels::parse(self.text("log.level")).expect("it was checked when it was read"),
            json: self.text("log.format") == "json",
            file: self.path("log.file"),
        }
    }
}

/// A setting that does not exist, with what may have been meant.
pub(crate) fn unknown(key: &str) -> Failure {
    let keys = SETTINGS.iter().map(|setting| setting.key);
    let near = nearest(key, keys).or_else(|| {
        let word = nearest(key, SETTINGS.iter().map(Setting::word))?;
        SETTINGS.iter().find(|setting| setting.word() == word).map(|setting| setting.key)
    });
    let hint = match near {
        Some(near) => format!("; did you mean `{near}`?"),
        None => "; `convoke config explain` lists all".to_owned(),
    };
    Failure { kind: Code::BadName.word(), ..Failure::usage(format!("there is no setting `{key}`{hint}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_can_be_set_in_every_way_and_none_like_another() {
        let mut seen = std::collections::BTreeSet::new();
        let mut sections: Vec<&str> = SETTINGS.iter().map(Setting::section).collect();
        sections.dedup();
        assert_eq!(sections, SECTIONS.iter().map(|(section, _)| *section).collect::<Vec<_>>());
        for setting in SETTINGS {
            assert!(seen.insert(setting.flag()) && seen.insert(setting.variable()), "{}", setting.key);
            assert!(!setting.doc.ends_with('.') && !setting.doc.contains('\n'), "{}", setting.key);
            if let Absent::Is(text) = setting.default {
                assert!(setting.kind.read(text.as_ref()).is_ok(), "{}: its default is wrong", setting.key);
            }
        }
        let names = |key| Setting::of(key).map(|setting| (setting.flag(), setting.variable()));
        assert_eq!(names("hub.listen"), Some(("listen".into(), "CONVOKE_LISTEN".into())));
        assert_eq!(names("limits.link-bulk"), Some(("limits-link-bulk".into(), "CONVOKE_LIMITS_LINK_BULK".into())));
    }

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_library() {
        let settings = Settings::gather(&Flags::default(), &Environment::default(), None).expect("nothing is set");
        let (hub, core) = (settings.hub(), HubOptions::default());
        assert_eq!((hub.listen, hub.data, hub.memory), (core.listen, core.data, core.memory));
        assert_eq!((hub.membership, hub.select), (core.membership, core.select));
        // What the library takes zero for; see its documentation.
        let sizes = (hub.links_max, hub.payload_bytes_max, hub.link_bulk_bytes_max, hub.hub_bulk_bytes_max);
        assert_eq!(sizes, (10_000, 1 << 20, 8 << 20, 1 << 30));
        assert_eq!(hub.links_per_source_max, 1000);
        assert_eq!(SELECTS.len(), 7);
        let words: Vec<&str> = SELECTS.iter().map(|(word, _)| *word).collect();
        assert!(
            matches!(Setting::of("hub.select").map(|select| select.kind), Some(Kind::Word(known)) if known == words)
        );
    }

    #[test]
    fn a_setting_that_does_not_exist_is_told_with_what_was_meant() {
        assert_eq!(unknown("limits.lnks").message, "there is no setting `limits.lnks`; did you mean `limits.links`?");
        assert_eq!(unknown("links").message, "there is no setting `links`; did you mean `limits.links`?");
        assert!(unknown("colour").message.ends_with("; `convoke config explain` lists all"));
    }
}
