//! What a hub does when it is told to read its configuration again: what can change does, what cannot is named, and a
//! configuration that is wrong in anything changes nothing. The log file is opened again in any case.

use convoke::Hub;

use crate::exit::Failure;
use crate::log::Log;
use crate::settings::{Change, Changed, Environment, Flags, Settings, Uplink, Value, Wanted};

/// The part of the log for this.
pub(super) const TARGET: &str = "convoke::config";

/// What a hub was started with, and what counts now.
pub(super) struct Reload<'a> {
    pub(super) flags: Flags,
    pub(super) environment: &'a Environment,
    pub(super) wanted: Wanted,
    pub(super) settings: Settings,
}

impl Reload<'_> {
    pub(super) fn run(&mut self, hub: &Hub, log: &Log) {
        if let Err(failure) = log.reopen() {
            tracing::error!(target: TARGET, "{}; it goes on in the file that was opened before", failure.message);
        }
        if hub.has_tls() {
            match hub.reload_tls() {
                Ok(()) => {
                    tracing::info!(target: TARGET, "links that come from now on are shown the certificate that is there now");
                }
                Err(error) => {
                    let why = Failure::from(error).message;
                    tracing::error!(target: TARGET, "the hub goes on with the certificate that it has: {why}");
                }
            }
        }
        match self.apply(hub, log) {
            Ok(lines) => {
                for (restart, line) in lines {
                    match restart {
                        false => tracing::info!(target: TARGET, "{line}"),
                        true => tracing::warn!(target: TARGET, "{line}"),
                    }
                }
            }
            Err(lines) => {
                for line in lines {
                    tracing::error!(target: TARGET, "{line}");
                }
                tracing::error!(target: TARGET, "the configuration is wrong, so all stays as it was");
            }
        }
    }

    /// Takes the configuration over, and says what has changed, each with whether it needs a restart; or what is wrong.
    fn apply(&mut self, hub: &Hub, log: &Log) -> Result<Vec<(bool, String)>, Vec<String>> {
        let text = |mistakes: Vec<_>| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let wanted = match &self.settings.file {
            // One that is gone is more likely a mistake than the wish for all the defaults.
            Some(file) => &Wanted::Named(file.clone()),
            None => &self.wanted,
        };
        let file = wanted.read().map_err(text)?;
        let new = Settings::gather(&self.flags, self.environment, file.as_ref()).map_err(text)?;
        log.set(&new.log()).map_err(|failure| vec![failure.message])?;
        hub.reconfigure(&new.hub()).map_err(|error| vec![error.to_string()])?;
        let mut lines: Vec<(bool, String)> = self.settings.changes(&new).iter().map(line).collect();
        // Where they stand in the file does not count.
        let shown = |settings: &Settings| settings.uplinks.iter().map(Uplink::of).collect::<Vec<_>>();
        if shown(&self.settings) != shown(&new) {
            let text =
                "the `[[uplink]]` tables are different, which takes a start of the hub; its links are as they were";
            lines.push((true, text.to_owned()));
        }
        if lines.is_empty() {
            let what = match &new.file {
                Some(file) => format!("`{}` was read again: nothing has changed", file.display()),
                None => "there is no configuration file, and nothing has changed".to_owned(),
            };
            lines.push((false, what));
        }
        self.settings.take(new);
        Ok(lines)
    }
}

fn line(changed: &Changed<'_>) -> (bool, String) {
    let Changed { from, to } = changed;
    let setting = to.setting;
    let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| format!("({})", setting.words()), Value::shown);
    let (old, new) = (shown(&from.value), shown(&to.value));
    match setting.change {
        Change::Now => (false, format!("`{}` is {new} now; it was {old}", setting.key)),
        Change::Joining => (false, format!("`{}` is {new} for links that join from now on; it was {old}", setting.key)),
        Change::Restart => {
            (true, format!("`{}` would be {new}, which takes a start of the hub; it is {old}", setting.key))
        }
    }
}
