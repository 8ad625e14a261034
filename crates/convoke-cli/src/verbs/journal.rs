//! `convoke journal`: commands that everybody gets in the same order, and that can be undone.

mod followers;
mod old;
mod outbox;

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use convoke::{
    AppendOptions, Code, Deed, Entries, EntriesOptions, Entry, Missed, Name, Node, Payload, Scope, Strategy,
    UndoOptions, Who,
};
use serde::{Deserialize, Serialize};

use crate::arguments::{
    AppendArguments, BackArguments, FollowArguments, JournalArguments, JournalVerb, NodeArguments, OneJournalArguments,
    ScopeArgument, ShowArguments, StrategyArgument,
};
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::join::{done_within, patience, with_node, within};
use crate::output::{self, Output, Reader, reader_gone};
use crate::payload::{self, Given};
use crate::render;
use crate::screen::progress::{Progress, Unit};
use crate::signals::Signals;
use crate::verbs::list::{FOLLOWERS, JOURNALS};

/// What was appended.
#[derive(Serialize)]
struct Appended<'a> {
    journal: &'a str,
    seq: u64,
}

pub(crate) async fn run(arguments: JournalArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    match arguments.verb {
        JournalVerb::Append(arguments) => append(arguments, json, signals).await,
        JournalVerb::Follow(arguments) => follow(arguments, json, signals).await,
        JournalVerb::Show(arguments) => show(arguments, json, signals).await,
        JournalVerb::Followers(arguments) => followers::run(arguments, json, signals).await,
        JournalVerb::Export(arguments) => export(arguments, signals).await,
        JournalVerb::Verify(arguments) => old::verify(arguments, json, signals).await,
        JournalVerb::Compact(arguments) => old::compact(arguments, json, signals).await,
        JournalVerb::Undo(arguments) => back(arguments, true, json, signals).await,
        JournalVerb::Redo(arguments) => back(arguments, false, json, signals).await,
    }
}

async fn append(arguments: AppendArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let journal = Name::parse(&arguments.journal)?;
    let command = match payload::given(arguments.command, arguments.raw, signals).await? {
        Given::Payload(payload) => Some(payload),
        Given::Nothing => None,
        Given::Signal(signal) => return Ok(signal.exit_code()),
    };
    if let Some(folder) = &arguments.outbox {
        return outbox::append(&arguments.node, folder, (&journal, command), arguments.if_last, json, signals).await;
    }
    let Some(command) = command else {
        return Err(Failure::usage("a command is missing: write JSON or text behind the name, or --raw FILE"));
    };
    let mut asked = false;
    let ended = with_node(&arguments.node, signals, async |node| {
        asked = true;
        let what = format!("append to `{journal}`");
        let (commands, begun) = ([command], Instant::now());
        let strategy = arguments.strategy.map(|strategy| match strategy {
            StrategyArgument::Replay => Strategy::Replay,
            StrategyArgument::Refuse => Strategy::Refuse,
            StrategyArgument::Compensate => Strategy::Compensate,
        });
        let options = AppendOptions { expect_last: arguments.if_last, strategy };
        let done = node.append_with(journal.as_str(), &commands, &options);
        let seq = done_within(&arguments.node, &what, done).await?;
        let said = say_appended(&journal, seq, json)?;
        if let Some(who) = arguments.applied_by {
            let left = patience(&arguments.node).saturating_sub(begun.elapsed());
            applied_by(node, &arguments.node, &journal, seq, who, left).await?;
        }
        Ok(said)
    })
    .await;
    ended.map_err(|failure| match asked {
        true => failure,
        false => Failure { message: failure.message + "; nothing was appended", ..failure },
    })
}

/// Waits until members have applied what was appended. That it is appended was said already.
async fn applied_by(
    node: &Node,
    arguments: &NodeArguments,
    journal: &Name,
    seq: u64,
    who: Who,
    left: Duration,
) -> Result<(), Failure> {
    let what = format!("append to `{journal}`");
    let _waiting = Progress::of(&what, Unit::Time);
    let by =
        node.applied_by(journal.as_str(), seq, who, left).await.map_err(|error| Failure::from(error).about(&what))?;
    if by.reached {
        return Ok(());
    }
    let time = duration::shown(patience(arguments));
    Err(Failure::new(Exit::Temporary, Code::TimedOut.word(), format!("{what}: after {time} {by}")))
}

/// For who is not logged in as far as the environment says.
const WHO_ARE_YOU: &str =
    "; nobody is logged in here, so each program is an author of its own: say with --author who you are";

/// What the hub says of an author of whom nothing is next, and what can be done about it.
const NOTHING_LEFT: &str = "has nothing left to";
const UNDO_OTHERS: &str =
    "; --scope everyone undoes what others have done, and `convoke journal redo` does again what was undone";
const REDO_OTHERS: &str = "; --scope everyone does again what others have undone";

/// What is said to programs of what is another author's.
const LIBRARY_SCOPE: &str = "ask for the scope of everyone";

async fn back(arguments: BackArguments, undoes: bool, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let journal = Name::parse(&arguments.journal)?;
    let scope = match arguments.scope {
        ScopeArgument::Mine => Scope::Mine,
        ScopeArgument::Everyone => Scope::Everyone,
    };
    let options = UndoOptions { scope, target: arguments.target, expect_top: arguments.if_next };
    with_node(&arguments.node, signals, async |node| {
        let done = if undoes {
            let what = format!("undo in `{journal}`");
            done_within(&arguments.node, &what, node.undo(journal.as_str(), options)).await
        } else {
            let what = format!("redo in `{journal}`");
            done_within(&arguments.node, &what, node.redo(journal.as_str(), options)).await
        };
        // Who is a new node each time and nobody else has never done anything.
        let is_nobody = arguments.node.name.is_none() && node.author().as_str() == node.name().as_str();
        let nothing = |failure: &Failure| failure.message.contains(NOTHING_LEFT) && matches!(scope, Scope::Mine);
        let seq = done.map_err(|failure| match &failure {
            of if is_nobody && nothing(of) => Failure { message: failure.message + WHO_ARE_YOU, ..failure },
            of if nothing(of) && undoes => Failure { message: failure.message + UNDO_OTHERS, ..failure },
            of if nothing(of) => Failure { message: failure.message + REDO_OTHERS, ..failure },
            _ => {
                Failure { message: failure.message.replace(LIBRARY_SCOPE, "--scope everyone takes it too"), ..failure }
            }
        })?;
        say_appended(&journal, seq, json)
    })
    .await
}

fn say_appended(journal: &Name, seq: u64, json: bool) -> Result<ExitCode, Failure> {
    let line = if json { render::json(&Appended { journal: journal.as_str(), seq }) } else { seq.to_string() };
    // A reader that has gone needs no answer.
    output::say(&line).map(|_| ExitCode::SUCCESS)
}

async fn follow(arguments: FollowArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let journal = Name::parse(&arguments.journal)?;
    with_node(&arguments.node, signals, async |node| {
        let FollowArguments { member, presence, .. } = arguments;
        let options = EntriesOptions { after: arguments.from - 1, member, presence, ..EntriesOptions::default() };
        let entries = entries(node, &arguments.node, &journal, options).await?;
        tracing::info!("following");
        let printer = Printer { json, output: Output::default(), printed: 0 };
        tokio::select! {
            printed = printer.follow(entries, arguments.count.unwrap_or(u64::MAX), arguments.idle) => printed?,
            () = reader_gone() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn show(arguments: ShowArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let journal = Name::parse(&arguments.journal)?;
    with_node(&arguments.node, signals, async |node| {
        let mut after = arguments.from - 1;
        if let Some(last) = arguments.last {
            after = after.max(end(node, &arguments.node, &journal).await.saturating_sub(last));
        }
        let options = EntriesOptions { after, ..EntriesOptions::default() };
        let entries = entries(node, &arguments.node, &journal, options).await?;
        let printer = Printer { json, output: Output::default(), printed: 0 };
        let last = arguments.last.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
        tokio::select! {
            printed = printer.show(entries, last) => printed?,
            () = reader_gone() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// The last entry of a journal, or one before it: what the hub tells about itself is a moment old. Zero for who may not know
/// it, and reads all of the journal then.
async fn end(node: &Node, arguments: &NodeArguments, journal: &Name) -> u64 {
    #[derive(Deserialize)]
    struct End {
        last: u64,
    }
    let told = node.get_value(format!("{JOURNALS}{journal}{FOLLOWERS}"));
    let told = within(arguments, &format!("follow `{journal}`"), told).await.ok().flatten();
    told.and_then(|told| told.payload.decode::<End>().ok()).map_or(0, |end| end.last)
}

async fn export(arguments: OneJournalArguments, signals: &Signals) -> Result<ExitCode, Failure> {
    let OneJournalArguments { journal, node } = arguments;
    show(ShowArguments { journal, from: 1, last: None, node }, true, signals).await
}

async fn entries(
    node: &Node,
    arguments: &NodeArguments,
    journal: &Name,
    options: EntriesOptions,
) -> Result<Entries, Failure> {
    within(arguments, &format!("follow `{journal}`"), node.entries_with(journal.as_str(), options)).await
}

/// An entry and its command.
type Next = Result<(Entry, Option<Payload>), Missed>;

struct Printer {
    json: bool,
    output: Output,
    /// The last entry that was, or is gone.
    printed: u64,
}

impl Printer {
    /// Prints until there is enough, nothing comes any more, or nobody reads.
    async fn follow(mut self, mut entries: Entries, mut left: u64, idle: Option<Duration>) -> Result<(), Failure> {
        loop {
            let next = match entries.try_next() {
                Some(next) => Some(next),
                // Nothing more is at hand: what was gathered is written now.
                None if self.output.flush()? == Reader::Gone => return Ok(()),
                None => {
                    entries.applied(self.printed);
                    match idle {
                        None => entries.next().await,
                        Some(idle) => tokio::time::timeout(idle, entries.next()).await.unwrap_or(None),
                    }
                }
            };
            let Some(next) = next else { return Ok(()) };
            left -= u64::from(next.is_ok());
            if self.print(next)? == Reader::Gone {
                return Ok(());
            }
            if left == 0 {
                return self.output.flush().map(|_| ());
            }
            // Where entries come without a pause, this is where Ctrl-C is heard.
            tokio::task::consume_budget().await;
        }
    }

    /// Prints what is there; of all of it the last, if so many are wanted.
    async fn show(mut self, mut entries: Entries, last: Option<usize>) -> Result<(), Failure> {
        let mut kept: VecDeque<Next> = VecDeque::new();
        while let Some(next) = entries.next_of_those_there().await {
            match last {
                None => {
                    if self.print(next)? == Reader::Gone {
                        return Ok(());
                    }
                }
                // Who wants the last does not want what is gone.
                Some(_) if matches!(next, Err(Missed::Compacted { .. })) => {}
                Some(last) => {
                    if kept.len() >= last {
                        kept.pop_front();
                    }
                    kept.push_back(next);
                }
            }
            tokio::task::consume_budget().await;
        }
        for next in kept {
            if self.print(next)? == Reader::Gone {
                return Ok(());
            }
        }
        self.output.flush().map(|_| ())
    }

    fn print(&mut self, next: Next) -> Result<Reader, Failure> {
        match next {
            Ok((entry, command)) => {
                self.printed = entry.seq;
                self.output.line(&match self.json {
                    true => render::entry_json(&entry, command.as_ref()),
                    false => line(&entry, command.as_ref()),
                })
            }
            Err(missed) => {
                let _ = self.output.flush()?;
                if let Missed::Compacted { first } = missed {
                    // Nobody waits for what can never come.
                    self.printed = self.printed.max(first - 1);
                }
                match missed {
                    Missed::Ended(refusal) => Err(refusal.into()),
                    missed @ Missed::Compacted { .. } if self.json => self.output.line(&render::loss_json(&missed)),
                    Missed::Compacted { first } => {
                        let _ =
                            writeln!(io::stderr(), "entries before {first} are missing: they are not kept any more");
                        Ok(Reader::Reading)
                    }
                    missed => Err(Failure::new(Exit::Bug, "Bug", missed.to_string())),
                }
            }
        }
    }
}

fn line(entry: &Entry, command: Option<&Payload>) -> String {
    let before = format!("{} {}", entry.seq, render::escaped(entry.author.as_str()));
    match entry.deed {
        Deed::Do { .. } => {
            let command = command.map(render::alone).unwrap_or_default();
            if command.is_empty() { before } else { format!("{before} {command}") }
        }
        Deed::Undo(target) => format!("{before} undo {target}"),
        Deed::Redo(target) => format!("{before} redo {target}"),
        Deed::Join => format!("{before} joins"),
        Deed::Leave => format!("{before} leaves"),
    }
}
