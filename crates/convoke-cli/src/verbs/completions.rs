//! `convoke completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use clap::Command;

use crate::arguments::CompletionsArguments;
use crate::exit::Failure;
use crate::help;
use crate::output::Output;

pub(crate) fn run(arguments: &CompletionsArguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut shown(&help::command()), "convoke", &mut script);
    let mut output = Output::default();
    let _ = output.bytes(&script)?;
    let _ = output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A command without what its help does not show: options that mean nothing, or are only there to be refused.
fn shown(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let shown = Command::new(command.get_name().to_owned()).args(arguments.cloned());
    let shown = shown.subcommands(command.get_subcommands().map(self::shown));
    let shown = shown.subcommand_required(command.is_subcommand_required_set());
    match (command.get_about(), command.get_version()) {
        (Some(about), Some(version)) => shown.about(about.clone()).version(version.to_owned()),
        (Some(about), None) => shown.about(about.clone()),
        (None, _) => shown,
    }
}
