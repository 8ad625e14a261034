//! The chat as lines: what comes on stdin is said, what anybody says is printed, for everybody in the same order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::pin::pin;

use convoke::{Deed, Entries, Entry, Missed, Node, Payload};
use serde::Serialize;
use tokio::sync::mpsc;

use super::room::{Kind, LINES_MAX, Line};
use super::typed::{HELP, Typed};
use super::{Leaving, Link, Seat, Told, Wish};
use crate::arguments::{ChatArguments, History};
use crate::exit::{Exit, Failure, who};
use crate::join::within;
use crate::output::{Output, Reader, reader_gone};
use crate::render;
use crate::screen::progress::beside;
use crate::screen::{On, Part, coloured};

/// The longest line that is read from stdin, in bytes; what is longer has no line ends, and is no text.
const READ_BYTES_MAX: u64 = 64 << 10;

pub(super) async fn run(
    node: &Node,
    mut seat: Seat,
    arguments: &ChatArguments,
    wishes: mpsc::Sender<Wish>,
    mut told: mpsc::Receiver<Told>,
    json: bool,
) -> Result<(), Failure> {
    let enter = async |seat: &Seat| {
        let what = format!("follow `{}`", seat.journal);
        // What is there already is shown as it is now.
        let (seq, lines) = seat.now();
        let entries = within(&arguments.node, &what, node.entries(seat.journal.as_str(), seq)).await?;
        Ok::<_, Failure>((Printer::new(seat, entries, seq, json), lines))
    };
    let (mut printer, lines) = enter(&seat).await?;
    printer.history(lines, arguments.history)?;
    tracing::info!("in `{}`", seat.name);
    let (mut typed, mut link, mut is_there) = (stdin_lines(), Link::of(node), true);
    // Until stdin ends.
    let (mut wishes, mut leaving) = (Some(wishes), Leaving(None));
    let mut gone = pin!(reader_gone());
    loop {
        if printer.output.flush()? == Reader::Gone {
            return Ok(());
        }
        tokio::select! {
            next = printer.entries.next() => printer.all_at_hand(next)?,
            next = told.recv() => match next {
                Some(Told::Note(text)) => note(&text),
                Some(Told::Entered(entered)) => {
                    printer.up_to(seat.room.seq()).await?;
                    seat = entered;
                    let (next, lines) = enter(&seat).await?;
                    printer = next;
                    note(&format!("you are in {} now", seat.name));
                    printer.history(lines, arguments.history)?;
                }
                None => {
                    printer.up_to(seat.room.seq()).await?;
                    return printer.output.flush().map(|_| ());
                }
            },
            next = next_typed(&mut typed, wishes.as_ref()), if wishes.is_some() => {
                let line = next.transpose().map_err(|error| Failure::read("standard input", &error))?;
                match line.map_or(Typed::Quit, |line| Typed::read(&line)) {
                    Typed::Nothing => {}
                    Typed::Wish(wish) => {
                        // There is room.
                        let _ = wishes.as_ref().expect("asked before").send(wish).await;
                    }
                    Typed::Who => printer.answer("here", seat.here())?,
                    Typed::Rooms => printer.answer("rooms", vec![seat.name.clone()])?,
                    Typed::Help => HELP.lines().for_each(note),
                    Typed::Wrong(why) => note(&why),
                    Typed::Quit => {
                        wishes = None;
                        leaving.begin(arguments);
                    }
                }
            }
            text = link.changed(&mut is_there) => note(text),
            failure = leaving.over(arguments) => return Err(failure),
            () = &mut gone => return Ok(()),
        }
    }
}

/// What only who sits here is told.
fn note(text: &str) {
    // A stderr that takes nothing is nobody's to be told of.
    let _ = beside(|| writeln!(io::stderr(), "{}{}", who(Part::Note), render::escaped(text)));
}

/// The lines of stdin, one after the other.
fn stdin_lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(1);
    // It may wait for as long as the program runs, and ends with it.
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut stdin).take(READ_BYTES_MAX).read_until(b'\n', &mut line);
            let next = match read {
                Ok(0) => return,
                Ok(_) if line.ends_with(b"\n") || (line.len() as u64) < READ_BYTES_MAX => {
                    Ok(String::from_utf8_lossy(&line).into_owned())
                }
                Ok(_) => Err(io::Error::other(format!("a line is longer than {READ_BYTES_MAX} bytes"))),
                Err(error) => Err(error),
            };
            let over = next.is_err();
            if sender.blocking_send(next).is_err() || over {
                return;
            }
        }
    });
    lines
}

/// The next line, once there is room for what it wishes. Cancel safe.
async fn next_typed(
    lines: &mut mpsc::Receiver<io::Result<String>>,
    wishes: Option<&mpsc::Sender<Wish>>,
) -> Option<io::Result<String>> {
    if let Some(wishes) = wishes {
        let _ = wishes.reserve().await;
    }
    lines.recv().await
}

/// A name, in its colour where there are colours.
fn named(author: &str) -> Cow<'_, str> {
    coloured(On::Stdout, Part::Name, render::escaped(author))
}

/// A line as `--json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    room: &'a str,
    seq: u64,
    author: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

/// Prints the entries of a room.
struct Printer {
    room: String,
    json: bool,
    output: Output,
    entries: Entries,
    /// The last entry that was printed.
    seq: u64,
    /// What was said, to be shown again when it is taken back.
    said: BTreeMap<u64, Line>,
}

impl Printer {
    fn new(seat: &Seat, entries: Entries, seq: u64, json: bool) -> Printer {
        let (room, output) = (seat.name.clone(), Output::default());
        Printer { room, json, output, entries, seq, said: BTreeMap::new() }
    }

    /// Prints the last lines of those that were there.
    fn history(&mut self, lines: Vec<Line>, history: History) -> Result<(), Failure> {
        for line in &lines[lines.len().saturating_sub(history.0)..] {
            self.line(line)?;
        }
        self.said = lines.into_iter().map(|line| (line.seq, line)).collect();
        Ok(())
    }

    /// Prints until this entry was printed.
    async fn up_to(&mut self, seq: u64) -> Result<(), Failure> {
        while self.seq < seq {
            let next = self.entries.next().await;
            self.all_at_hand(next)?;
        }
        Ok(())
    }

    /// Prints an entry, and what else has come.
    fn all_at_hand(&mut self, mut next: Option<Result<(Entry, Option<Payload>), Missed>>) -> Result<(), Failure> {
        while let Some(entry) = next {
            let (entry, command) = entry.map_err(|missed| match missed {
                Missed::Ended(refusal) => refusal.into(),
                missed => Failure::new(Exit::Bug, "Bug", missed.to_string()),
            })?;
            self.entry(&entry, command.as_ref())?;
            next = self.entries.try_next();
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, command: Option<&Payload>) -> Result<(), Failure> {
        self.seq = entry.seq;
        match entry.deed {
            Deed::Do { .. } => {
                let line = command.and_then(|command| Line::new(&command.decode().ok()?, entry));
                let Some(line) = line else { return Ok(()) };
                self.line(&line)?;
                self.said.insert(line.seq, line);
                if self.said.len() > LINES_MAX {
                    self.said.pop_first();
                }
                Ok(())
            }
            Deed::Undo(first) => self.changed(entry, "undo", "takes back", first),
            Deed::Redo(first) => self.changed(entry, "redo", "says again", first),
        }
    }

    fn line(&mut self, line: &Line) -> Result<(), Failure> {
        let (author, text) = (named(&line.author), render::escaped(&line.text));
        let (kind, shown) = match line.kind {
            Kind::Says => ("says", format!("{author}: {text}")),
            Kind::Does => ("does", format!("* {author} {text}")),
        };
        self.print(line.seq, &line.author, kind, &shown, Some(&line.text))
    }

    /// What was said in a group is undone as one.
    fn changed(&mut self, entry: &Entry, kind: &str, does: &str, first: u64) -> Result<(), Failure> {
        let group = self.said.range(first..).map(|(_, line)| line).take_while(|line| line.first == first);
        let mut lines: Vec<Option<Line>> = group.cloned().map(Some).collect();
        if lines.is_empty() {
            // It was said, or taken back, before one came.
            lines.push(None);
        }
        for line in lines {
            let author = entry.author.as_str();
            let what = match &line {
                Some(line) if line.author == author => format!("{does}: {}", render::escaped(&line.text)),
                Some(line) => format!("{does}, of {}: {}", named(&line.author), render::escaped(&line.text)),
                None => format!("{does} an earlier line"),
            };
            let shown = format!("* {} {what}", named(author));
            self.print(entry.seq, author, kind, &shown, line.as_ref().map(|line| &line.text[..]))?;
        }
        Ok(())
    }

    fn print(&mut self, seq: u64, author: &str, kind: &str, shown: &str, text: Option<&str>) -> Result<(), Failure> {
        let line = match self.json {
            true => render::json(&Shown { room: &self.room, seq, author, kind, text }),
            false => shown.to_owned(),
        };
        // Whether anybody still reads is seen when it is flushed.
        self.output.line(&line).map(|_| ())
    }

    /// What was asked for.
    fn answer(&mut self, what: &str, names: Vec<String>) -> Result<(), Failure> {
        let line = match self.json {
            true => render::json(&BTreeMap::from([(what, names)])),
            false => render::escaped(&format!("{what}: {}", names.join(", "))).into_owned(),
        };
        self.output.line(&line).map(|_| ())
    }
}
