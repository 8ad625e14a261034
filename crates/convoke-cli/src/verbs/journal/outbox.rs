//! `convoke journal append --outbox`: what is appended is safe on this machine first, and sent by this run or a later one.

use std::future::ready;
use std::path::Path;
use std::process::ExitCode;

use convoke::{Name, Node, OutboxEnd, Payload};
use serde::Serialize;

use super::say_appended;
use crate::arguments::NodeArguments;
use crate::exit::{Exit, Failure};
use crate::join::{absence, patience, shut_out, with_outbox, with_remedy};
use crate::output;
use crate::render;
use crate::screen::progress::{Progress, Unit};
use crate::signals::Signals;

/// What is safe here, and not yet in its journal.
#[derive(Serialize)]
struct Waiting<'a> {
    journal: &'a str,
    waiting: bool,
}

/// What is printed of it otherwise, in the place of a number.
const WAITING: &str = "waiting";

/// Posts a command, if there is one, and waits for a while until nothing is left in the outbox.
pub(super) async fn append(
    arguments: &NodeArguments,
    folder: &Path,
    (journal, command): (&Name, Option<Payload>),
    if_last: Option<u64>,
    json: bool,
    signals: &Signals,
) -> Result<ExitCode, Failure> {
    let what = format!("append to `{journal}`");
    with_outbox(arguments, folder, &what, signals, async |node| {
        let outbox = node.outbox().expect("it was opened with one");
        let mut own = match command {
            Some(command) => Some(outbox.append_payloads(journal.as_str(), &[command], if_last).await?),
            None => None,
        };
        let mut run = Run { own: &mut own, json, refused: None };
        let settled = async {
            let _waiting = Progress::of(&what, Unit::Time);
            tokio::select! {
                done = run.settle(node) => done.map(|()| None),
                why = shut_out(node) => Ok(Some(with_remedy(why, arguments))),
                () = tokio::time::sleep(patience(arguments)) => Ok(Some(absence(node, arguments))),
            }
        };
        let why = settled.await?;
        let refused = run.refused;
        let left = outbox.len();
        if own.is_some() {
            let waiting = render::json(&Waiting { journal: journal.as_str(), waiting: true });
            let _ = output::say(if json { &waiting } else { WAITING })?;
        }
        match (why, refused) {
            (Some(why), refused) if left > 0 => {
                refused.map(|refused| refused.tell(json));
                let these = if left == 1 { "one command waits".to_owned() } else { format!("{left} commands wait") };
                let message = format!(
                    "outbox `{}`: {these} there, and the next run with it sends what is left: {}",
                    folder.display(),
                    why.message
                );
                Err(Failure::new(Exit::Temporary, "Waiting", message))
            }
            (_, Some(refused)) => Err(refused),
            _ => Ok(ExitCode::SUCCESS),
        }
    })
    .await
}

/// What is known so far.
struct Run<'a> {
    /// The number of what this run has posted, until it is known what became of it.
    own: &'a mut Option<u64>,
    json: bool,
    /// The last that was not appended.
    refused: Option<Failure>,
}

impl Run<'_> {
    /// Tells what became of each command, until none is left. Cancel safe.
    async fn settle(&mut self, node: &Node) -> Result<(), Failure> {
        let outbox = node.outbox().expect("it was opened with one");
        while self.own.is_some() || !outbox.is_empty() {
            let Some(end) = outbox.next().await else { return Ok(()) };
            self.tell(end)?;
        }
        // What is known by now.
        loop {
            tokio::select! {
                biased;
                Some(end) = outbox.next() => self.tell(end)?,
                () = ready(()) => return Ok(()),
            }
        }
    }

    fn tell(&mut self, OutboxEnd { number, journal, outcome }: OutboxEnd) -> Result<(), Failure> {
        if *self.own == Some(number) {
            *self.own = None;
        }
        match outcome {
            Ok(seq) => say_appended(&journal, seq, self.json).map(drop),
            Err(error) => {
                // The last one says how the program ends.
                if let Some(before) = self.refused.replace(Failure::from(error)) {
                    before.tell(self.json);
                }
                Ok(())
            }
        }
    }
}
