//! `convoke hub`: a hub until it is told to stop.

use std::env;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use convoke::{Code, Error, Hub, HubOptions};
use serde::Serialize;
use tokio::time::timeout;

use crate::arguments::HubArguments;
use crate::exit::{Exit, Failure, address};
use crate::output::{self, Reader};
use crate::render;
use crate::signals::{Signal, Signals, take_long_files_as_errors};

#[derive(Serialize)]
struct Listening {
    listening: String,
}

pub(crate) async fn run(arguments: HubArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    for given in &arguments.listen {
        address(given)?;
    }
    let mut options = HubOptions::listen(arguments.listen);
    options.data = match arguments.memory {
        true => None,
        false => Some(arguments.data.map_or_else(state_folder, Ok)?),
    };
    take_long_files_as_errors()?;
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
    let mut failed = pin!(hub.failed());
    let ended = tokio::select! {
        signal = signals.received() => Ok(signal),
        why = &mut failed => Err(why),
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

/// Where a hub keeps what it must keep, by the rules of the desktop: a relative path in the variable counts as none.
fn state_folder() -> Result<PathBuf, Failure> {
    let folder = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("convoke"))
        .ok_or_else(|| {
            let message =
                "there is no home folder to keep the hub's data in; name a folder with --data, or use --memory";
            Failure::new(Exit::Configuration, "Configuration", message)
        })
}

/// What the system refuses at the start of a hub is something to be made: a folder, a file, a socket; unless it is a device
/// that fails. What the hub has kept and cannot read is data.
fn not_started(error: Error) -> Failure {
    let broken = Some(rustix::io::Errno::IO.raw_os_error());
    let what_to_make = matches!(&error, Error::Io { source, .. } if source.raw_os_error() != broken);
    let corrupt = error.code() == Code::StorageFailed;
    let failure = Failure::from(error);
    match (what_to_make, corrupt) {
        (true, _) => Failure { exit: Exit::CannotCreate, kind: "CannotCreate", ..failure },
        (_, true) => Failure { exit: Exit::Data, ..failure },
        _ => failure,
    }
}
