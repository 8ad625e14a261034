//! `convoke completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use crate::arguments::CompletionsArguments;
use crate::exit::Failure;
use crate::help;
use crate::output::Output;

pub(crate) fn run(arguments: &CompletionsArguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut help::command(), "convoke", &mut script);
    let mut output = Output::default();
    let _ = output.bytes(&script)?;
    let _ = output.flush()?;
    Ok(ExitCode::SUCCESS)
}
