//! `convoke journal verify` and `convoke journal compact`: what is kept of a journal is what was appended, and old entries go.

use std::process::ExitCode;

use convoke::{Code, Compacted, EntriesOptions, Missed, Name};
use serde::Serialize;

use super::entries;
use crate::arguments::{CompactArguments, OneJournalArguments};
use crate::exit::{Exit, Failure};
use crate::join::{done_within, with_node};
use crate::output;
use crate::render;
use crate::screen::progress::{Progress, Unit};
use crate::signals::Signals;

/// What was verified.
#[derive(Serialize)]
struct Verified<'a> {
    journal: &'a str,
    entries: u64,
    first: u64,
    last: u64,
    hash: String,
}

/// What has gone.
#[derive(Serialize)]
struct Gone<'a> {
    journal: &'a str,
    gone: u64,
    first: u64,
}

pub(super) async fn verify(arguments: OneJournalArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let journal = Name::parse(&arguments.journal)?;
    with_node(&arguments.node, signals, async |node| {
        let options = EntriesOptions { verify: true, ..EntriesOptions::default() };
        let mut entries = entries(node, &arguments.node, &journal, options).await?;
        let verifying = Progress::of(format!("verify `{journal}`"), Unit::Time);
        let (mut count, mut first) = (0, 1);
        while let Some(next) = entries.next_of_those_there().await {
            match next {
                Ok(_) => count += 1,
                Err(Missed::Compacted { first: kept }) => first = kept,
                Err(Missed::Ended(why)) if why.code == Code::StorageFailed => {
                    return Err(Failure::new(Exit::Data, "Corrupt", why.to_string()));
                }
                Err(Missed::Ended(why)) => return Err(why.into()),
                Err(missed) => return Err(Failure::new(Exit::Bug, "Bug", missed.to_string())),
            }
            tokio::task::consume_budget().await;
        }
        drop(verifying);
        let (last, hash) = entries.taken();
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = match (json, count) {
            (true, _) => render::json(&Verified { journal: journal.as_str(), entries: count, first, last, hash }),
            (false, 0) if last == 0 => "no entries".to_owned(),
            (false, 0) => format!("no entries are kept of {last}, hash {hash}"),
            (false, 1) => format!("1 entry, {first}, hash {hash}"),
            (false, _) => format!("{count} entries, {first} to {last}, hash {hash}"),
        };
        output::say(&line).map(|_| ExitCode::SUCCESS)
    })
    .await
}

pub(super) async fn compact(arguments: CompactArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let journal = Name::parse(&arguments.journal)?;
    with_node(&arguments.node, signals, async |node| {
        let what = format!("compact `{journal}`");
        let _compacting = Progress::of(&what, Unit::Time);
        let mut all = 0;
        let first = loop {
            let done = node.compact(journal.as_str(), arguments.keep);
            let Compacted { first, gone } = done_within(&arguments.node, &what, done).await?;
            all += gone;
            if gone == 0 {
                break first;
            }
        };
        let line = match (json, all) {
            (true, _) => render::json(&Gone { journal: journal.as_str(), gone: all, first }),
            (false, 0) => format!("no entry can go; {first} is the first that is kept"),
            (false, 1) => format!("1 entry is gone; {first} is the first that is kept"),
            (false, _) => format!("{all} entries are gone; {first} is the first that is kept"),
        };
        output::say(&line).map(|_| ExitCode::SUCCESS)
    })
    .await
}
