//! The `convoke` program: a hub, and the verbs a shell needs.
//!
//! [`arguments`] is the command line, [`help`] its help as it is read, [`usage`] what a wrong one is answered with. Each verb
//! is a file in [`verbs`]; those that join a hub do so through [`join`]. What can be set about a hub is in [`settings`].
//! [`payload`] is what goes in, [`render`], [`screen`] and [`output`] what comes out, [`log`] what is said beside it, [`exit`]
//! how the program ends, and [`signals`] who may end it.
#![forbid(unsafe_code)]

mod arguments;
mod duration;
mod exit;
mod exposition;
mod handler;
mod help;
mod join;
mod log;
mod output;
mod payload;
mod render;
mod same;
mod screen;
mod select;
mod settings;
mod signals;
mod table;
mod usage;
mod verbs;

use std::process::ExitCode;

use tokio::runtime::Builder;

use crate::arguments::{Arguments, Verb};
use crate::exit::Failure;
use crate::log::Log;
use crate::settings::Environment;

fn main() -> ExitCode {
    exit::report_bugs();
    let arguments = match usage::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let json = arguments.json;
    screen::begin(arguments.color, json);
    let log = log::begin(&arguments);
    let environment = Environment::here();
    let careful = matches!(arguments.verb, Verb::Hub(_) | Verb::Config(_));
    for line in environment.unknown(careful) {
        tracing::warn!(target: "convoke::config", "{line}");
    }
    let ended = run(arguments, &environment, &log);
    // Before the line that says why it ended.
    log.written();
    ended.unwrap_or_else(|failure| failure.tell(json))
}

fn run(arguments: Arguments, environment: &Environment, log: &Log) -> Result<ExitCode, Failure> {
    // The verb itself runs on this thread, where it may wait for stdout while the link goes on living on the others.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::read("the system's events", &error))?;
    let ended = runtime.block_on(verbs::run(arguments, environment, log));
    // A thread that still waits for stdin keeps nobody.
    runtime.shutdown_background();
    ended
}
