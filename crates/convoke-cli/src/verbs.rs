//! The verbs, a file each.

mod demo;
mod hub;
mod ping;
mod publish;
mod subscribe;

use std::process::ExitCode;

use crate::arguments::{Arguments, Verb};
use crate::exit::Failure;
use crate::signals::Signals;

/// Does what the command line says.
pub(crate) async fn run(Arguments { verb, json, .. }: Arguments) -> Result<ExitCode, Failure> {
    let signals = Signals::listen()?;
    match verb {
        Verb::Hub(arguments) => hub::run(arguments, json, &signals).await,
        Verb::Subscribe(arguments) => subscribe::run(arguments, json, &signals).await,
        Verb::Publish(arguments) => publish::run(arguments, json, &signals).await,
        Verb::Ping(arguments) => ping::run(arguments, json, &signals).await,
        Verb::Demo(_) => demo::run(json, &signals).await,
    }
}
