//! `convoke hub`: a hub until it is told to stop.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use convoke::{Code, Error, Hub, HubOptions, TlsOptions};
use serde::Serialize;

use crate::arguments::HubArguments;
use crate::exit::{Exit, Failure, address};
use crate::output::{self, Reader};
use crate::render;
use crate::signals::{Signal, Signals};

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
        false => Some(folder(arguments.data)?),
    };
    options.tls = arguments.tls_certificate.zip(arguments.tls_key).map(|(certificate, key)| TlsOptions {
        certificate,
        key,
        client_authority: arguments.tls_client_authority,
    });
    let hub = Hub::start(options).await.map_err(not_started)?;
    if hub.has_tls() {
        signals.keep_hang_ups();
    }
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
    let signal = loop {
        tokio::select! {
            signal = signals.received() => break signal,
            () = signals.hung_up() => match hub.reload_tls() {
                Ok(()) => tracing::info!("links that come from now on are shown the certificate that is there now"),
                Err(error) => {
                    let why = Failure::from(error).message;
                    tracing::error!("the hub goes on with the certificate that it has: {why}");
                }
            },
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
