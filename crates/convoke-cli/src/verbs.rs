//! The verbs, a file each.

mod call;
mod chat;
mod completions;
mod config;
mod delete;
mod demo;
mod explain;
mod get;
mod hub;
mod journal;
mod list;
mod locate;
mod man;
mod metrics;
mod ping;
mod publish;
mod serve;
mod set;
mod status;
mod store;
mod subscribe;
mod tls;
mod token;
mod wait;
mod watch;

use std::process::ExitCode;

use crate::arguments::{Arguments, Verb};
use crate::exit::Failure;
use crate::log::Log;
use crate::settings::Environment;
use crate::signals::{HangUp, Signals};

/// Does what the command line says.
pub(crate) async fn run(arguments: Arguments, environment: &Environment, log: &Log) -> Result<ExitCode, Failure> {
    let Arguments { verb, json, verbose, .. } = arguments;
    let signals = Signals::listen(if matches!(verb, Verb::Hub(_)) { HangUp::Reloads } else { HangUp::Ends })?;
    match verb {
        Verb::Hub(arguments) => hub::run(arguments, (json, verbose), environment, log, &signals).await,
        Verb::Config(arguments) => config::run(arguments, json, environment),
        Verb::Subscribe(arguments) => subscribe::run(arguments, json, &signals).await,
        Verb::Publish(arguments) => publish::run(arguments, json, &signals).await,
        Verb::Set(arguments) => set::run(arguments, json, &signals).await,
        Verb::Get(arguments) => get::run(arguments, json, &signals).await,
        Verb::Watch(arguments) => watch::run(arguments, json, &signals).await,
        Verb::Wait(arguments) => wait::run(arguments, json, &signals).await,
        Verb::Delete(arguments) => delete::run(arguments, json, &signals).await,
        Verb::Serve(arguments) => serve::run(arguments, json, &signals).await,
        Verb::Call(arguments) => call::run(arguments, json, &signals).await,
        Verb::Journal(arguments) => journal::run(arguments, json, &signals).await,
        Verb::Chat(arguments) => chat::run(arguments, (json, verbose), &signals).await,
        Verb::List(arguments) => list::run(arguments, json, &signals).await,
        Verb::Status(arguments) => status::run(arguments, json, &signals).await,
        Verb::Metrics(arguments) => metrics::run(arguments, json, &signals).await,
        Verb::Locate(arguments) => locate::run(arguments, json, &signals).await,
        Verb::Token(arguments) => token::run(arguments, json, &signals).await,
        Verb::Explain(arguments) => explain::run(arguments, json, &signals).await,
        Verb::Ping(arguments) => ping::run(arguments, json, &signals).await,
        Verb::Tls(arguments) => tls::run(arguments, json),
        Verb::Store(arguments) => store::run(arguments, json, &signals).await,
        Verb::Completions(arguments) => completions::run(&arguments),
        Verb::Man(arguments) => man::run(&arguments),
        Verb::Demo(_) => demo::run(json, &signals).await,
    }
}
