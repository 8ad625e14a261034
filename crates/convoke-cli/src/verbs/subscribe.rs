//! `convoke subscribe`: events as they are published.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use convoke::{Event, Missed, Name, Node, Pattern, SubscribeOptions, Subscription};
use tokio::sync::mpsc;

use crate::arguments::{NodeArguments, SubscribeArguments};
use crate::exit::Failure;
use crate::join::{with_node, within};
use crate::output::{Output, Reader, reader_gone};
use crate::render;
use crate::signals::Signals;

/// What goes from a subscription to stdout at once, in bytes: enough that threads seldom wait for each other, little beside
/// the library's own buffer of a subscription, which is the one that knows what it loses.
const BATCH_BYTES_MAX: usize = 64 << 10;

/// What an event costs in a batch beside its payload, in bytes.
const EVENT_BYTES: usize = 128;

/// What came on one of the patterns, by its place on the command line.
type Batch = (usize, Vec<Result<Event, Missed>>);

pub(crate) async fn run(arguments: SubscribeArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let patterns = arguments.patterns.iter().map(|text| Pattern::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(group) = &arguments.group {
        Name::parse(group).map_err(|error| Failure::from(error).about("--group, the name of the group"))?;
    }
    let options = SubscribeOptions { group: arguments.group.clone() };
    with_node(&arguments.node, signals, async |node| {
        let arrivals = subscribe(node, &patterns, &options, &arguments.node).await?;
        let left = arguments.count.unwrap_or(u64::MAX);
        // In a group an event comes once, whichever pattern it comes for.
        let repeats: &[Pattern] = if arguments.group.is_some() { &[] } else { &patterns };
        let printer = Printer { patterns: repeats, json, raw: arguments.raw, left, output: Output::default() };
        tokio::select! {
            printed = printer.run(arrivals, arguments.idle) => printed?,
            () = reader_gone() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Subscribes to each pattern, and brings together what comes.
async fn subscribe(
    node: &Node,
    patterns: &[Pattern],
    options: &SubscribeOptions,
    arguments: &NodeArguments,
) -> Result<mpsc::Receiver<Batch>, Failure> {
    let (sender, arrivals) = mpsc::channel(1);
    for (place, pattern) in patterns.iter().enumerate() {
        let what = format!("subscribe to `{pattern}`");
        let subscription = within(arguments, &what, node.subscribe_with(pattern.as_str(), options)).await?;
        tokio::spawn(forward(place, subscription, sender.clone()));
    }
    tracing::info!("subscribed");
    Ok(arrivals)
}

async fn forward(place: usize, mut subscription: Subscription, to: mpsc::Sender<Batch>) {
    while let Some(first) = subscription.next().await {
        let mut bytes = size(&first);
        let mut batch = vec![first];
        while bytes < BATCH_BYTES_MAX
            && let Some(next) = subscription.try_next()
        {
            bytes += size(&next);
            batch.push(next);
        }
        if to.send((place, batch)).await.is_err() {
            return;
        }
    }
}

fn size(arrival: &Result<Event, Missed>) -> usize {
    EVENT_BYTES + arrival.as_ref().map_or(0, |event| event.payload.bytes.len())
}

struct Printer<'a> {
    /// Those of which an event may come for each that it matches.
    patterns: &'a [Pattern],
    json: bool,
    raw: bool,
    /// How many events are still wanted.
    left: u64,
    output: Output,
}

impl Printer<'_> {
    /// Prints until there is enough, nothing comes any more, or nobody reads.
    async fn run(mut self, mut arrivals: mpsc::Receiver<Batch>, idle: Option<Duration>) -> Result<(), Failure> {
        loop {
            let batch = match arrivals.try_recv() {
                Ok(batch) => Some(batch),
                // Nothing more is at hand: what was gathered is written now.
                Err(_) if self.output.flush()? == Reader::Gone => return Ok(()),
                Err(_) => next(&mut arrivals, idle).await,
            };
            let Some((place, batch)) = batch else { return Ok(()) };
            for arrival in batch {
                let reader = match arrival {
                    Ok(event) => self.event(place, &event)?,
                    Err(missed) => self.missed(place, &missed)?,
                };
                if reader == Reader::Gone {
                    return Ok(());
                }
                if self.left == 0 {
                    return self.output.flush().map(|_| ());
                }
            }
            // Where events come without a pause, this is where Ctrl-C is heard.
            tokio::task::yield_now().await;
        }
    }

    fn event(&mut self, place: usize, event: &Event) -> Result<Reader, Failure> {
        // An event that several patterns match is printed for the first of them.
        if self.patterns.iter().take(place).any(|earlier| earlier.matches(event.topic())) {
            return Ok(Reader::Reading);
        }
        self.left -= 1;
        if self.raw {
            self.output.bytes(&event.payload.bytes)
        } else if self.json {
            self.output.line(&render::json_line(event))
        } else {
            self.output.line(&render::line(event))
        }
    }

    /// Announces a loss: in line where a program reads, on stderr where a person does.
    fn missed(&mut self, place: usize, missed: &Missed) -> Result<Reader, Failure> {
        if matches!(missed, Missed::Gap(_)) && place > 0 {
            // The link is that of all patterns.
            return Ok(Reader::Reading);
        }
        if let Missed::Ended(refusal) = missed {
            let _ = self.output.flush()?;
            return Err(refusal.clone().into());
        }
        if self.json && !self.raw {
            return self.output.line(&render::loss_json(missed));
        }
        let reader = self.output.flush()?;
        let _ = writeln!(io::stderr(), "{}", render::loss(missed));
        Ok(reader)
    }
}

/// What comes next; none if nothing comes for `idle`.
pub(super) async fn next<T>(arrivals: &mut mpsc::Receiver<T>, idle: Option<Duration>) -> Option<T> {
    match idle {
        None => arrivals.recv().await,
        Some(idle) => tokio::time::timeout(idle, arrivals.recv()).await.unwrap_or(None),
    }
}
