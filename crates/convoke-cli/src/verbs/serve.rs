//! `convoke serve`: a command handles the calls of a service.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use convoke::{Name, Node};
use tokio::sync::{Semaphore, watch};

use crate::arguments::ServeArguments;
use crate::exit::Failure;
use crate::handler::{Handler, Job};
use crate::join::{ended, with_node, within};
use crate::render;
use crate::signals::Signals;

pub(crate) async fn run(arguments: ServeArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let service = Name::parse(&arguments.service)?;
    let program = arguments.command.first().map(OsStr::new).unwrap_or_default();
    if !can_be_started(program) {
        let program = program.to_string_lossy();
        return Err(Failure::usage(format!("`{program}` cannot be started: no such program, or it may not be run")));
    }
    let address = &arguments.node.address;
    let (handler, ending) = Handler::new(arguments.command.clone(), arguments.lines, service.as_str(), address);
    let ended = with_node(&arguments.node, signals, async |node| serve(node, &service, handler, &arguments, json).await);
    let ended = ended.await;
    ending.ended().await;
    ended
}

/// Where programs are if the environment does not say.
const FOLDERS: &str = "/bin:/usr/bin";

/// Whether there is such a program: what is misspelt is told at once, and not to who calls.
fn can_be_started(program: &OsStr) -> bool {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    if program.as_encoded_bytes().contains(&b'/') {
        return is_program(Path::new(program));
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| FOLDERS.into());
    std::env::split_paths(&folders).map(|folder: PathBuf| folder.join(program)).any(|path| is_program(&path))
}
