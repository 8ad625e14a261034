//! `convoke store`: what a hub keeps is backed up, looked through, put back, repaired, made smaller.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use convoke::{Code, Error, Node, StoreFolder, StoreProgress, StoreRepair, StoreReport};
use serde_json::{Map, Value as Json};

use super::hub::folder;
use super::status::told;
use crate::arguments::{BackupArguments, FolderArguments, NodeArguments, StoreArguments, StoreVerb, VerifyArguments};
use crate::exit::{Exit, Failure};
use crate::join::with_node;
use crate::output;
use crate::render;
use crate::screen::progress::{Progress, Unit};
use crate::signals::{Signals, take_long_files_as_errors};
use crate::table::{Table, moment};

/// Where a hub is that is not named.
const ADDRESS: &str = "127.0.0.1:7117";

/// What can be done about a damaged store.
const REMEDY: &str =
    "`convoke store restore` makes a folder of a backup, and `convoke store repair` says what is whole of this";

pub(crate) async fn run(arguments: StoreArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    take_long_files_as_errors()?;
    match arguments.what {
        StoreVerb::Backup(arguments) => backup(arguments, json, signals).await,
        StoreVerb::Verify(arguments) => match what_to_verify(arguments) {
            (Some(file), _) => {
                let what = format!("looking through `{}`", file.display());
                done(what, signals, json, move |progress| StoreReport::of_backup_file(&file, progress)).await
            }
            (None, data) => {
                let data = folder(data)?;
                let what = format!("looking through `{}`", data.display());
                let verified = done(what, signals, json, move |progress| StoreFolder::open(data)?.verify(progress));
                verified.await.map_err(with_remedy)
            }
        },
        StoreVerb::Restore(arguments) => {
            let data = folder(arguments.folder.data)?;
            let what = format!("restoring into `{}`", data.display());
            done(what, signals, json, move |progress| StoreReport::restore(&arguments.backup, &data, progress)).await
        }
        StoreVerb::Repair(arguments) => {
            let (data, does) = (folder(arguments.folder.data)?, arguments.accept_loss);
            let what = format!("repairing `{}`", data.display());
            let repair = on_a_thread(what, signals, move |progress| {
                let store = StoreFolder::open(data)?;
                if does { store.repair(progress) } else { store.look_for_whole(progress) }
            });
            match repair.await? {
                Ok(repair) => repaired(repair, does, json),
                Err(code) => Ok(code),
            }
        }
        StoreVerb::Compact(arguments) => {
            let data = folder(arguments.folder.data)?;
            let what = format!("compacting `{}`", data.display());
            match on_a_thread(what, signals, move |_| StoreFolder::open(data)?.compact()).await? {
                Ok((before, after)) => show([("before", before.into()), ("after", after.into())], json),
                Err(code) => Ok(code),
            }
        }
    }
}

/// A backup, or a folder: who names the one as if it were the other means what is there.
fn what_to_verify(VerifyArguments { backup, folder, .. }: VerifyArguments) -> (Option<PathBuf>, Option<PathBuf>) {
    match (backup, folder.data) {
        (Some(folder), _) if folder.is_dir() => (None, Some(folder)),
        (None, Some(file)) if file.is_file() => (Some(file), None),
        as_named => as_named,
    }
}

async fn backup(arguments: BackupArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let BackupArguments { file, folder: FolderArguments { data }, node } = arguments;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        let why = format!("there is no folder `{}`; make it first", parent.display());
        let message = format!("writing backup `{}`: {why}", file.display());
        return Err(Failure::new(Exit::CannotCreate, "CannotCreate", message));
    }
    let is_named = data.is_some();
    // Who names a hub by its address means that one.
    let at = match is_named || node.address == ADDRESS {
        true => Some(folder(data)?),
        false => None,
    };
    let runs = match &at {
        Some(data) => match StoreFolder::is_in_use(data) {
            Ok(runs) => runs || !is_named && !data.exists(),
            // It is another user's: only the hub itself can tell.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied && !is_named => true,
            Err(error) => return Err(failed(error)),
        },
        None => true,
    };
    match at {
        Some(data) if !runs => {
            let what = format!("backup of `{}`", data.display());
            done(what, signals, json, move |progress| StoreFolder::open(data)?.back_up(&file, progress)).await
        }
        at => from_hub(&file, at.filter(|_| is_named).as_deref(), &node, json, signals).await,
    }
}

/// Lets a hub that runs give a backup; it must be the one with this folder.
async fn from_hub(
    file: &Path,
    data: Option<&Path>,
    arguments: &NodeArguments,
    json: bool,
    signals: &Signals,
) -> Result<ExitCode, Failure> {
    with_node(arguments, signals, async |node| {
        if let Some(data) = data {
            is_the_one(node, data, arguments).await?;
        }
        let progress = Progress::of(format!("backup of the hub at {}", arguments.address), Unit::Bytes);
        let counted = progress.counter();
        let mut count = move |bytes| {
            counted.fetch_add(bytes, Ordering::Relaxed);
            true
        };
        let report = node.back_up(file, &mut count).await.map_err(failed)?;
        drop(progress);
        say(&report, json)
    })
    .await
}

async fn is_the_one(node: &Node, data: &Path, arguments: &NodeArguments) -> Result<(), Failure> {
    let (status, ..) = told(node, arguments, "status of the hub", "$hub/master").await?;
    let wanted =
        fs::read(data.join("hub.json")).ok().and_then(|text| serde_json::from_slice::<Map<String, Json>>(&text).ok());
    if wanted.is_some_and(|wanted| wanted.get("hub") != status.get("hub")) {
        let message = format!(
            "backup: a hub runs on `{}`, and the one at {} is another; name its address with --address",
            data.display(),
            arguments.address
        );
        return Err(Failure::usage(message));
    }
    Ok(())
}

/// Does something that takes its time, beside a line that says how far it is. A signal stops it, with nothing left behind.
async fn on_a_thread<T: Send + 'static>(
    what: String,
    signals: &Signals,
    work: impl FnOnce(&mut StoreProgress<'_>) -> Result<T, Error> + Send + 'static,
) -> Result<Result<T, ExitCode>, Failure> {
    let progress = Progress::of(what, Unit::Bytes);
    let (counted, stop) = (progress.counter(), Arc::<AtomicBool>::default());
    let stopped = stop.clone();
    let mut working = tokio::task::spawn_blocking(move || {
        work(&mut |bytes| {
            counted.fetch_add(bytes, Ordering::Relaxed);
            !stopped.load(Ordering::Relaxed)
        })
    });
    let signal = tokio::select! {
        ended = &mut working => return ended.expect("a panic ends the program").map(Ok).map_err(failed),
        signal = signals.received() => signal,
    };
    stop.store(true, Ordering::Relaxed);
    let _ = working.await;
    Ok(Err(signal.exit_code()))
}

async fn done(
    what: String,
    signals: &Signals,
    json: bool,
    work: impl FnOnce(&mut StoreProgress<'_>) -> Result<StoreReport, Error> + Send + 'static,
) -> Result<ExitCode, Failure> {
    match on_a_thread(what, signals, work).await? {
        Ok(report) => say(&report, json),
        Err(code) => Ok(code),
    }
}

/// A store that is damaged is data; a file or folder that is there already cannot be made.
fn failed(error: Error) -> Failure {
    let exit = match &error {
        Error::Io { source, .. } => match source.kind() {
            ErrorKind::AlreadyExists | ErrorKind::PermissionDenied => Some((Exit::CannotCreate, "CannotCreate")),
            ErrorKind::NotFound => Some((Exit::Unavailable, "NotFound")),
            _ => None,
        },
        other if other.code() == Code::StorageFailed => Some((Exit::Data, Code::StorageFailed.word())),
        other if other.code() == Code::BadRequest => Some((Exit::Unavailable, Code::BadRequest.word())),
        _ => None,
    };
    let failure = Failure::from(error);
    match exit {
        Some((exit, kind)) => Failure { exit, kind, ..failure },
        None => failure,
    }
}

fn with_remedy(failure: Failure) -> Failure {
    match failure.exit {
        Exit::Data => Failure { message: format!("{}; {REMEDY}", failure.message), ..failure },
        _ => failure,
    }
}

/// Says what was kept and lost, or would be; then it is refused.
fn repaired(repair: Option<StoreRepair>, done: bool, json: bool) -> Result<ExitCode, Failure> {
    let Some(StoreRepair { kept, losses, moved_to, .. }) = repair else {
        return show([("repaired", "nothing: the store is whole".into())], json);
    };
    let mut rows = of_it(&kept);
    if json {
        rows.push(("lost", losses.into()));
    } else {
        rows.extend(losses.into_iter().map(|loss| ("lost", loss.into())));
    }
    rows.extend(moved_to.map(|to| ("moved_to", to.display().to_string().into())));
    show(rows, json)?;
    match done {
        true => Ok(ExitCode::SUCCESS),
        false => Err(Failure::usage(
            "nothing was repaired: what is damaged would be lost; `convoke store restore` makes a folder of a backup, and \
             --accept-loss goes on without what is lost",
        )),
    }
}

fn say(report: &StoreReport, json: bool) -> Result<ExitCode, Failure> {
    show(of_it(report), json)
}

/// What is known of a store or a backup.
fn of_it(report: &StoreReport) -> Vec<(&'static str, Json)> {
    let StoreReport {
        hub, history, position, values, journals, entries, tokens, bytes, segments, made_ms, sha256, ..
    } = report;
    let number = |number: u64| Json::from(number);
    let mut rows: Vec<(&'static str, Json)> = vec![("hub", hub.as_str().into()), ("history", history.as_str().into())];
    rows.push(("position", number(*position)));
    let counts = [("values", values), ("journals", journals), ("entries", entries), ("tokens", tokens)];
    rows.extend(counts.map(|(what, count)| (what, number(*count))));
    // What is not written yet has no length.
    rows.extend((*bytes > 0).then(|| ("bytes", number(*bytes))));
    rows.extend(segments.map(|segments| ("segments", number(segments))));
    rows.extend(made_ms.map(|made| ("made_ms", number(made))));
    rows.extend(sha256.as_deref().map(|sha256| ("sha256", sha256.into())));
    rows
}

/// Prints what is known of something: a line for each, or one object.
fn show(rows: impl IntoIterator<Item = (&'static str, Json)>, json: bool) -> Result<ExitCode, Failure> {
    if json {
        let object: Map<String, Json> = rows.into_iter().map(|(what, value)| (what.to_owned(), value)).collect();
        let _ = output::say(&render::json(&object))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["what", "of it"]);
    for (what, value) in rows {
        let (what, shown) = match (what, value) {
            ("made_ms", made) => ("made", moment(made.as_u64().unwrap_or(0))),
            ("moved_to", Json::String(to)) => ("damaged files", to),
            (what, Json::String(text)) => (what, text),
            (what, other) => (what, other.to_string()),
        };
        table.row([what.to_owned(), shown]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}
