//! `convoke watch`: values as they are, and as they change.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use convoke::{Change, Missed, Node, Pattern, Watch, WatchOptions};
use tokio::sync::mpsc;

use super::subscribe::next;
use crate::arguments::WatchArguments;
use crate::exit::Failure;
use crate::join::{with_node, within};
use crate::output::{Output, Reader, reader_gone};
use crate::render;
use crate::signals::Signals;

/// Changes on their way to stdout, in a count: enough that threads seldom wait for each other. What is not taken waits at
/// the hub.
const ARRIVALS_MAX: usize = 64;

/// What came for one of the patterns, by its place on the command line.
type Arrival = (usize, Result<Change, Missed>);

pub(crate) async fn run(arguments: WatchArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let patterns = arguments.patterns.iter().map(|text| Pattern::parse(text)).collect::<Result<Vec<_>, _>>()?;
    with_node(&arguments.node, signals, async |node| {
        let arrivals = watch(node, &patterns, &arguments).await?;
        let left = arguments.count.unwrap_or(u64::MAX);
        let printer = Printer { patterns: &patterns, json, left, output: Output::default() };
        tokio::select! {
            printed = printer.run(arrivals, arguments.idle) => printed?,
            () = reader_gone() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Watches each pattern, and brings together what comes.
async fn watch(
    node: &Node,
    patterns: &[Pattern],
    arguments: &WatchArguments,
) -> Result<mpsc::Receiver<Arrival>, Failure> {
    let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
    let options = WatchOptions { all: arguments.all, ..WatchOptions::default() };
    for (place, pattern) in patterns.iter().enumerate() {
        let what = format!("watch of `{pattern}`");
        let watch = within(&arguments.node, &what, node.watch_with(pattern.as_str(), options)).await?;
        tokio::spawn(forward(place, watch, sender.clone()));
    }
    tracing::info!("watching");
    Ok(arrivals)
}

async fn forward(place: usize, mut watch: Watch, to: mpsc::Sender<Arrival>) {
    while let Some(next) = watch.next().await {
        if to.send((place, next)).await.is_err() {
            return;
        }
    }
}

struct Printer<'a> {
    patterns: &'a [Pattern],
    json: bool,
    /// How many changes are still wanted.
    left: u64,
    output: Output,
}

impl Printer<'_> {
    /// Prints until there is enough, nothing comes any more, or nobody reads.
    async fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>, idle: Option<Duration>) -> Result<(), Failure> {
        loop {
            let arrival = match arrivals.try_recv() {
                Ok(arrival) => Some(arrival),
                // Nothing more is at hand: what was gathered is written now.
                Err(_) if self.output.flush()? == Reader::Gone => return Ok(()),
                Err(_) => next(&mut arrivals, idle).await,
            };
            let Some((place, arrival)) = arrival else { return Ok(()) };
            let reader = match arrival {
                Ok(change) => self.change(place, &change)?,
                Err(missed) => self.missed(place, &missed)?,
            };
            if reader == Reader::Gone {
                return Ok(());
            }
            if self.left == 0 {
                return self.output.flush().map(|_| ());
            }
            // Where changes come without a pause, this is where Ctrl-C is heard.
            tokio::task::consume_budget().await;
        }
    }

    fn change(&mut self, place: usize, change: &Change) -> Result<Reader, Failure> {
        // What several patterns match is printed for the first of them.
        if self.patterns[..place].iter().any(|earlier| earlier.matches(&change.name)) {
            return Ok(Reader::Reading);
        }
        self.left -= 1;
        let name = change.name.as_str();
        self.output.line(&match &change.payload {
            payload if self.json => render::value_json(name, payload.as_ref(), change.rev, change.author.as_str()),
            Some(payload) => render::named(name, payload),
            None => render::deleted(name),
        })
    }

    /// Announces what is missing: in line where a program reads, on stderr where a person does.
    fn missed(&mut self, place: usize, missed: &Missed) -> Result<Reader, Failure> {
        match missed {
            Missed::Ended(refusal) => {
                let _ = self.output.flush()?;
                Err(refusal.clone().into())
            }
            // The hub is that of all patterns.
            Missed::Replaced if place > 0 => Ok(Reader::Reading),
            missed if self.json => self.output.line(&render::loss_json(missed)),
            missed => {
                let reader = self.output.flush()?;
                let _ = writeln!(io::stderr(), "{}", render::missed(missed));
                Ok(reader)
            }
        }
    }
}
