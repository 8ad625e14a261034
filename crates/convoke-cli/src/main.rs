//! The `convoke` program: a hub, and the verbs a shell needs.
//!
//! [`arguments`] is the command line, [`usage`] what a wrong one is answered with. Each verb is a file in [`verbs`]; those
//! that join a hub do so through [`join`]. [`payload`] is what goes in, [`render`] and [`output`] what comes out, [`exit`]
//! how the program ends, and [`signals`] who may end it.
#![forbid(unsafe_code)]

mod arguments;
mod duration;
mod exit;
mod join;
mod messagepack;
mod output;
mod payload;
mod render;
mod signals;
mod usage;
mod verbs;

use std::process::ExitCode;

use tokio::runtime::Builder;
use tracing::level_filters::LevelFilter;

use crate::arguments::{Arguments, Verb};
use crate::exit::Failure;

fn main() -> ExitCode {
    exit::report_bugs();
    let arguments = match usage::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    log(&arguments);
    let json = arguments.json;
    run(arguments).unwrap_or_else(|failure| failure.tell(json))
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    // The verb itself runs on this thread, where it may wait for stdout while the link goes on living on the others.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::read("the system's events", &error))?;
    let ended = runtime.block_on(verbs::run(arguments));
    // A thread that still waits for stdin keeps nobody.
    runtime.shutdown_background();
    ended
}

/// What is logged goes to stderr: of a hub, which runs for long, with the time.
fn log(arguments: &Arguments) {
    let level = match arguments.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false);
    match arguments.verb {
        Verb::Hub(_) => log.init(),
        _ => log.without_time().with_target(false).init(),
    }
}
