//! What the program logs becomes lines: for people, or as JSON.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use super::levels::part;
use super::{Form, Log, Rules};
use crate::screen::{On, Part, coloured};
use crate::{render, table};

/// Takes all that is logged in this program. There are no spans.
pub(super) struct Lines(pub(super) Log);

impl Subscriber for Lines {
    /// Asked for every line: what is wanted changes.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.0.rules().levels.want(*metadata.level(), metadata.target())
    }

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        let metadata = event.metadata();
        let line = line(&self.0.rules(), *metadata.level(), part(metadata.target()), &said.0);
        self.0.send(line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A line of JSON.
#[derive(Serialize)]
struct Shown<'a> {
    time: &'a str,
    level: &'a str,
    part: &'a str,
    message: &'a str,
}

/// One line with its end.
pub(super) fn line(rules: &Arc<Rules>, level: Level, part: &str, message: &str) -> String {
    let shown = || match rules.colours {
        true => coloured(On::Stderr, colour_of(level), format!("{level:>5}")).into_owned(),
        false => format!("{level:>5}"),
    };
    let mut line = match rules.form {
        Form::Short => format!("{} {}", shown(), render::escaped(message)),
        Form::Text => format!("{} {} {part}: {}", moment(), shown(), render::escaped(message)),
        Form::Json => {
            let level = level.as_str().to_ascii_lowercase();
            render::json(&Shown { time: &moment(), level: &level, part, message })
        }
    };
    line.push('\n');
    line
}

fn colour_of(level: Level) -> Part {
    match level {
        Level::ERROR => Part::Error,
        Level::WARN => Part::Warning,
        _ => Part::Note,
    }
}

/// Now, in UTC: `2026-11-22T00:29:52.123Z`.
fn moment() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = table::moment(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), since.subsec_millis())
}

/// The message, and what else is said beside it.
#[derive(Default)]
struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text never fails.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
