//! `convoke hub`: a hub until it is told to stop.

mod reload;

use std::path::PathBuf;
use std::process::ExitCode;

use convoke::{Code, Error, Hub};
use serde::Serialize;

use super::config::first;
use crate::arguments::HubArguments;
use crate::exit::{Exit, Failure};
use crate::log::Log;
use crate::output::{self, Reader};
use crate::render;
use crate::settings::{Environment, Settings, Wanted};
use crate::signals::{Signal, Signals};
use reload::Reload;

#[derive(Serialize)]
struct Listening {
    listening: String,
}

pub(crate) async fn run(
    arguments: HubArguments,
    (json, verbose): (bool, u8),
    environment: &Environment,
    log: &Log,
    signals: &Signals,
) -> Result<ExitCode, Failure> {
    let mut flags = arguments.flags;
    if verbose > 0 {
        flags.or("log.level", ["info", "debug", "trace"][usize::from(verbose).min(3) - 1]);
    }
    let wanted = Wanted::of(arguments.config.as_deref(), &flags, environment);
    let file = wanted.read().map_err(first)?;
    let settings = Settings::gather(&flags, environment, file.as_ref()).map_err(first)?;
    log.set(&settings.log())?;
    if let Some(file) = &settings.file {
        tracing::info!(target: reload::TARGET, "configured by `{}`", file.display());
    }
    let mut options = settings.hub()?;
    if options.data.is_none() && !settings.keeps_nothing() {
        options.data = Some(state_folder()?);
    }
    let hub = Hub::start(options).await.map_err(not_started)?;
    for address in hub.addresses() {
        let listening = address.to_string();
        let line = match json {
            true => render::json(&Listening { listening }),
            false => format!("listening {}", render::escaped(&listening)),
        };
        // A hub whose first lines nobody wants to read is still a hub.
        if output::say(&line)? == Reader::Gone {
            break;
        }
    }
    let mut reload = Reload { flags, environment, wanted, settings };
    let signal = loop {
        tokio::select! {
            signal = signals.received() => break signal,
            () = signals.reload() => reload.run(&hub, log),
            why = hub.failed() => {
                hub.stop().await;
                return Err(Failure::new(Exit::InputOutput, why.code.word(), why.text));
            }
        }
    };
    hub.stop().await;
    Ok(match signal {
        Signal::Terminate => ExitCode::SUCCESS,
        other => other.exit_code(),
    })
}

/// The folder of a hub: that which was given, else the usual one.
pub(super) fn folder(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    given.map_or_else(state_folder, Ok)
}

/// Where a hub keeps what it must keep unless told otherwise.
fn state_folder() -> Result<PathBuf, Failure> {
    crate::settings::state_folder().ok_or_else(|| {
        let message = "there is no home folder to keep the hub's data in; name a folder with --data, or use --memory";
        Failure::new(Exit::Configuration, "Configuration", message)
    })
}

/// What the system refuses at the start of a hub is something to be made: a folder, a file, a socket. What it has kept and
/// cannot read is data.
pub(super) fn not_started(error: Error) -> Failure {
    let (system, corrupt) = (matches!(error, Error::Io { .. }), error.code() == Code::StorageFailed);
    let failure = Failure::from(error);
    match (system, corrupt) {
        (true, _) => Failure { exit: Exit::CannotCreate, kind: "CannotCreate", ..failure },
        (_, true) => Failure { exit: Exit::Data, ..failure },
        _ => failure,
    }
}
