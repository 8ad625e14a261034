//! The chat as lines: what comes on stdin is said, what anybody says is printed, for everybody in the same order.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::pin::pin;
use std::process::ExitCode;

use convoke::Node;
use serde::Serialize;
use tokio::sync::mpsc;

use super::news::{Happened, News, What};
use super::room::{Kind, Line};
use super::typed::{HELP, Typed};
use super::{Leaving, Link, Seat, Told, Wish};
use crate::arguments::{ChatArguments, History};
use crate::exit::{Exit, Failure, who};
use crate::output::{Output, Reader, reader_gone};
use crate::render;
use crate::screen::progress::beside;
use crate::screen::{On, Part, coloured};
use crate::signals::terminals;

/// The longest line that is read from stdin, in bytes; what is longer has no line ends, and is no text.
const READ_BYTES_MAX: u64 = 64 << 10;

pub(super) async fn run(
    node: &Node,
    mut seat: Seat,
    arguments: &ChatArguments,
    wishes: mpsc::Sender<Wish>,
    mut told: mpsc::Receiver<Told>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let mut printer = Printer::begin(&seat, arguments.history, json).await?;
    tracing::info!("in `{}`", seat.name);
    let (mut typed, mut link, mut is_there) = (stdin_lines(), Link::of(node), true);
    // Until stdin ends.
    let (mut wishes, mut leaving) = (Some(wishes), Leaving(None));
    let (mut gone, mut is_read, [is_person, ..]) = (pin!(reader_gone()), true, terminals());
    // What becomes of a line is known only when others were read; of several that are not said the last counts.
    let mut code = ExitCode::SUCCESS;
    loop {
        is_read &= printer.output.flush()? == Reader::Reading;
        if !is_read && is_person {
            return Ok(code);
        }
        // What a program has to say is said, whether or not anybody reads what is printed.
        tokio::select! {
            next = printer.news.next() => printer.all_at_hand(next.map_err(|why| seat.stuck(why))?)?,
            next = told.recv() => match next {
                Some(Told::Refused(failure)) => code = failure.tell(json),
                Some(Told::Rooms(rooms)) => printer.answer("rooms", &rooms)?,
                Some(Told::Entered(entered)) => {
                    printer.up_to(&seat).await?;
                    let _ = printer.output.flush()?;
                    seat = entered;
                    note(&format!("you are in {} now", seat.name));
                    printer = Printer::begin(&seat, arguments.history, json).await?;
                }
                None => {
                    printer.up_to(&seat).await?;
                    return printer.output.flush().map(|_| code);
                }
            },
            next = next_typed(&mut typed, wishes.as_ref()), if wishes.is_some() => {
                // What was typed before a line that cannot be read is said all the same.
                let line = next.transpose().unwrap_or_else(|error| {
                    code = Failure::read("standard input", &error).tell(json);
                    None
                });
                // There is room.
                let wish = async |wish| drop(wishes.as_ref().expect("asked before").send(wish).await);
                match line.map_or(Typed::Quit, |line| Typed::read(&line)) {
                    Typed::Nothing => {}
                    Typed::Wish(wanted) => wish(wanted).await,
                    Typed::Who => printer.answer("here", &seat.here())?,
                    Typed::Rooms => wish(Wish::Rooms).await,
                    Typed::Help => HELP.lines().for_each(note),
                    Typed::Wrong(why) => code = Failure::new(Exit::Data, "BadLine", why).tell(json),
                    Typed::Quit => {
                        wishes = None;
                        leaving.begin(arguments);
                    }
                }
            }
            text = link.changed(&mut is_there) => note(text),
            failure = leaving.over(arguments) => return Err(failure),
            () = &mut gone, if is_read => is_read = false,
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

/// Prints what happens in a room.
struct Printer {
    room: String,
    history: History,
    json: bool,
    output: Output,
    news: News,
    /// The last entry that was printed.
    seq: u64,
}

impl Printer {
    /// Prints what was there.
    async fn begin(seat: &Seat, history: History, json: bool) -> Result<Printer, Failure> {
        let (mut news, room, output) = (News::of(seat)?, seat.name.clone(), Output::default());
        let first = news.next().await.map_err(|why| seat.stuck(why))?;
        let mut printer = Printer { room, history, json, output, news, seq: 0 };
        printer.print(first)?;
        Ok(printer)
    }

    /// Prints until all was printed that has happened by now.
    async fn up_to(&mut self, seat: &Seat) -> Result<(), Failure> {
        let seq = seat.room.seq();
        while self.seq < seq {
            let next = self.news.next().await.map_err(|why| seat.stuck(why))?;
            self.all_at_hand(next)?;
        }
        Ok(())
    }

    /// Prints this, and what else has happened.
    fn all_at_hand(&mut self, first: Happened) -> Result<(), Failure> {
        let mut next = Some(first);
        while let Some(happened) = next {
            self.print(happened)?;
            next = self.news.try_next();
        }
        Ok(())
    }

    fn print(&mut self, happened: Happened) -> Result<(), Failure> {
        let Happened { seq, author, what } = happened;
        self.seq = seq;
        match what {
            What::Begins(lines) => {
                for line in &lines[lines.len().saturating_sub(self.history.0)..] {
                    self.says(line)?;
                }
            }
            What::Says(line) => self.says(&line)?,
            What::TakesBack(lines) => self.back(seq, &author, ("undo", "takes back"), lines)?,
            What::SaysAgain(lines) => self.back(seq, &author, ("redo", "says again"), lines)?,
            What::Joins => self.line(seq, &author, "joins", &format!("* {} joins", named(&author)), None)?,
            What::Leaves => self.line(seq, &author, "leaves", &format!("* {} leaves", named(&author)), None)?,
            What::Nothing => {}
        }
        Ok(())
    }

    fn says(&mut self, line: &Line) -> Result<(), Failure> {
        let (author, text) = (named(&line.author), render::escaped(&line.text));
        let (kind, shown) = match line.kind {
            Kind::Says => ("says", format!("{author}: {text}")),
            Kind::Does => ("does", format!("* {author} {text}")),
        };
        self.line(line.seq, &line.author, kind, &shown, Some(&line.text))
    }

    fn back(&mut self, seq: u64, author: &str, (kind, does): (&str, &str), lines: Vec<Line>) -> Result<(), Failure> {
        for line in lines {
            let text = render::escaped(&line.text);
            let what = match line.author == author {
                true => format!("{does}: {text}"),
                false => format!("{does}, of {}: {text}", named(&line.author)),
            };
            self.line(seq, author, kind, &format!("* {} {what}", named(author)), Some(&line.text))?;
        }
        Ok(())
    }

    fn line(&mut self, seq: u64, author: &str, kind: &str, shown: &str, text: Option<&str>) -> Result<(), Failure> {
        let json = || render::json(&Shown { room: &self.room, seq, author, kind, text });
        let line = if self.json { json() } else { shown.to_owned() };
        // Whether anybody still reads is seen when it is flushed.
        self.output.line(&line).map(|_| ())
    }

    /// What was asked for.
    fn answer(&mut self, what: &str, names: &BTreeSet<String>) -> Result<(), Failure> {
        let line = match self.json {
            true => render::json(&BTreeMap::from([(what, names)])),
            false => {
                render::escaped(&format!("{what}: {}", Vec::from_iter(names.iter().map(String::as_str)).join(", ")))
                    .into_owned()
            }
        };
        self.output.line(&line).map(|_| ())
    }
}
