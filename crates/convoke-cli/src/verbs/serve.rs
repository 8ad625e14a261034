//! `convoke serve`: a command handles the calls of a service.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use convoke::{Call, Code, Name, Node, ServeOptions};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::arguments::ServeArguments;
use crate::exit::{Exit, Failure};
use crate::handler::{Handler, Job};
use crate::join::{ended, with_provider, within};
use crate::render;
use crate::signals::Signals;

/// How many calls the one process of `--lines` has at a time.
const ONE_AT_A_TIME: usize = 1;

#[derive(Serialize)]
struct Serving<'a> {
    serving: &'a str,
}

pub(crate) async fn run(arguments: ServeArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let service = Name::parse(&arguments.service)?;
    let program = arguments.command.first().map(OsStr::new).unwrap_or_default();
    if !can_be_started(program) {
        let program = program.to_string_lossy();
        return Err(Failure::usage(format!("`{program}` cannot be started: no such program, or it may not be run")));
    }
    let address = &arguments.node.address;
    let (handler, ending) = Handler::new(arguments.command.clone(), arguments.lines, service.as_str(), address);
    signals.at_last(ending.kill());
    let serving = async |node: &Node| serve(node, &service, handler, &arguments, json).await;
    let ended = with_provider(&arguments.node, arguments.master.into(), signals, serving).await;
    ending.ended().await;
    ended
}

async fn serve(
    node: &Node,
    service: &Name,
    handler: Handler,
    arguments: &ServeArguments,
    json: bool,
) -> Result<ExitCode, Failure> {
    let concurrency = if arguments.lines { ONE_AT_A_TIME } else { arguments.concurrency as usize };
    let options = ServeOptions { concurrency, ..ServeOptions::default() };
    let (count, mut counted) = watch::channel(0);
    // Nothing is sent: the library drops its end with the handler, when the last call is answered.
    let (answering, mut answered) = mpsc::channel::<()>(1);
    let handling = handler.clone();
    let handle = move |call: Call| {
        let _ = &answering;
        count.send_modify(|count| *count += 1);
        let handler = handling.clone();
        async move {
            let left = call.time_left();
            let Call { payload, caller, author, .. } = call;
            handler.handle(Job { payload, caller: caller.to_string(), author: author.to_string(), left }).await
        }
    };
    handler.begin().await;
    let what = format!("service `{service}`");
    let offered = node.serve_payload(service.as_str(), options, handle);
    let registration = within(&arguments.node, &what, offered).await?;
    let line = match json {
        true => render::json(&Serving { serving: service.as_str() }),
        false => format!("serving {}", render::escaped(service.as_str())),
    };
    let _ = writeln!(io::stderr(), "{line}");
    let wanted = arguments.count.unwrap_or(u64::MAX);
    tokio::select! {
        // Its other end goes with the handler, which goes after the registration.
        reached = counted.wait_for(|count| *count >= wanted) => {
            if reached.is_err() {
                let message = format!("{what}: the hub takes it no more; do the rights still allow `serve {service}`?");
                return Err(Failure::new(Exit::Rights, Code::Forbidden.word(), message));
            }
        }
        failure = ended(node) => return Err(failure),
    }
    drop(registration);
    answered.recv().await;
    Ok(ExitCode::SUCCESS)
}

/// Where programs are if the environment does not say.
const FOLDERS: &str = "/bin:/usr/bin";

/// Whether there is such a program: what is misspelt is told at once, and not to who calls.
fn can_be_started(program: &OsStr) -> bool {
    let is_program =
        |path: &Path| path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0);
    if program.as_encoded_bytes().contains(&b'/') {
        return is_program(Path::new(program));
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| FOLDERS.into());
    std::env::split_paths(&folders).map(|folder: PathBuf| folder.join(program)).any(|path| is_program(&path))
}
