//! `convoke hub`: a hub until it is told to stop.

mod reload;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use convoke::{Code, Error, Hub, UplinkOptions};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use tokio::time::timeout;

use super::config::first;
use crate::arguments::HubArguments;
use crate::exit::{Exit, Failure};
use crate::log::Log;
use crate::output::{self, Reader};
use crate::render;
use crate::screen::progress::{self, Progress, Unit};
use crate::settings::{Environment, Settings, Uplink, Wanted};
use crate::signals::{Signal, Signals, take_long_files_as_errors};
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
    if let Some(file) = settings.file.as_ref().filter(|_| settings.log().levels.ask_for_config()) {
        tracing::info!(target: reload::TARGET, "configured by `{}`", file.display());
    }
    let mut options = settings.hub();
    if options.data.is_none() && !settings.keeps_nothing() {
        options.data = Some(state_folder()?);
    }
    options.uplinks = settings.uplinks.iter().map(uplink).collect::<Result<_, _>>()?;
    take_long_files_as_errors()?;
    enough_files(options.links_max)?;
    let progress = options.data.as_deref().map(starting);
    let hub = Hub::start(options).await.map_err(not_started)?;
    drop(progress);
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
    let mut failed = pin!(hub.failed());
    let ended = loop {
        tokio::select! {
            signal = signals.received() => break Ok(signal),
            () = signals.reload() => reload.run(&hub, log),
            why = &mut failed => break Err(why),
        }
    };
    hub.stop().await;
    match ended {
        Err(why) => Err(why.into()),
        Ok(signal) => match timeout(Duration::ZERO, failed).await {
            // At the very end.
            Ok(why) => Err(why.into()),
            Err(_) => Ok(match signal {
                Signal::Terminate => ExitCode::SUCCESS,
                other => other.exit_code(),
            }),
        },
    }
}

/// What a link to another hub is started with.
fn uplink(uplink: &Uplink) -> Result<UplinkOptions, Failure> {
    uplink.options().map_err(|error| {
        let failure = Failure::from(error);
        let place = uplink.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        let message = format!("{place}uplink `{}`: {}", uplink.name, failure.message);
        Failure::new(Exit::Configuration, "Configuration", message)
    })
}

/// Files that a hub has open beside its links: its store, its log, what it listens on, and a few for the moment.
const OTHER_FILES: u64 = 64;

/// With fewer files than this a hub is of no use to anybody: it would refuse the programs of one machine.
const FILES_MIN: u64 = 256;

/// Whether the system lets this process open as many files as there may be links; the hub takes all that it may.
fn enough_files(links_max: usize) -> Result<(), Failure> {
    let needed = links_max as u64 + OTHER_FILES;
    let Some(allowed) = getrlimit(Resource::Nofile).maximum.filter(|allowed| *allowed < needed) else { return Ok(()) };
    let message = format!(
        "this process may open {allowed} files, and a hub with {links_max} links needs {needed}; raise the limit \
         (`ulimit -Hn {needed}`), or set limits.links to less"
    );
    if allowed < needed.min(FILES_MIN) {
        return Err(Failure::new(Exit::Configuration, "Configuration", message));
    }
    tracing::warn!(target: "convoke::hub", "{message}");
    Ok(())
}

/// Tells that a hub starts: all that it keeps is read, which takes its time where that is much.
fn starting(data: &Path) -> Progress {
    let store = data.join("store.redb");
    let what = match store.metadata() {
        Ok(about) => format!("checking `{}`, {}", store.display(), progress::bytes(about.len())),
        Err(_) => "starting".to_owned(),
    };
    Progress::of(what, Unit::Time)
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

/// What the system refuses at the start of a hub is something to be made: a folder, a file, a socket; unless it is a device
/// that fails. What the hub has kept and cannot read is data.
pub(super) fn not_started(error: Error) -> Failure {
    let broken = Some(rustix::io::Errno::IO.raw_os_error());
    let what_to_make = matches!(&error, Error::Io { source, .. } if source.raw_os_error() != broken);
    let corrupt = error.code() == Code::StorageFailed;
    let failure = Failure::from(error);
    match (what_to_make, corrupt) {
        (true, _) => Failure { exit: Exit::CannotCreate, kind: "CannotCreate", ..failure },
        (_, true) => {
            let message = format!("{}; `convoke store verify` looks through all of it", failure.message);
            Failure { exit: Exit::Data, message, ..failure }
        }
        _ => failure,
    }
}
