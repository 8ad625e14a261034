//! The chat on a terminal: keys and what happens in the room come in, and the [`view`] is drawn anew.

mod input;
mod view;

use std::collections::BTreeSet;
use std::io::{self, stdout};
use std::process::ExitCode;

use convoke::Node;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste, Event, read};
use crossterm::execute;
use ratatui::DefaultTerminal;
use tokio::sync::mpsc;

use self::view::{Taken, View};
use super::news::News;
use super::room::LINE_BYTES_MAX;
use super::typed::{HELP, Typed};
use super::{Leaving, Link, Rooms, Seat, Told, Wish};
use crate::arguments::{ChatArguments, History};
use crate::exit::Failure;
use crate::signals::{Signal, Signals};

/// Keys that wait to be looked at: a long paste.
const KEYS_MAX: usize = 1024;

pub(super) async fn run(
    node: &Node,
    mut seat: Seat,
    arguments: &ChatArguments,
    wishes: mpsc::Sender<Wish>,
    mut told: mpsc::Receiver<Told>,
    signals: &Signals,
) -> Result<ExitCode, Failure> {
    let mut view = View::new(&seat.name, first(&seat, arguments.history));
    let (mut news, mut rooms) = (News::of(&seat)?, Rooms::known_to(node).await);
    let (mut link, mut wishes, mut leaving) = (Link::of(node), Some(wishes), Leaving(None));
    // A program that is killed while it waits for the terminal must not leave it as it is now.
    signals.at_last(restore);
    let mut screen = Screen::begin()?;
    let mut keys = keys();
    loop {
        view.rooms.extend(rooms.names.iter().cloned());
        let seq = seat.room.seq();
        view.here = seat.here();
        screen.draw(&seat, &mut view)?;
        tokio::select! {
            changed = seat.room.changed(seq) => drop(changed.map_err(|why| seat.stuck(why))?),
            event = keys.recv() => {
                match take_all_at_hand(event, &mut keys, &mut view)? {
                    Taken::Nothing => {}
                    Taken::TooLong => {
                        view.note(seq, format!("a line has at most {LINE_BYTES_MAX} bytes, and what was pasted is longer"));
                    }
                    Taken::CtrlC => return Ok(Signal::Interrupt.exit_code()),
                    Taken::Line(line) => if !obey(line, &seat, &mut view, wishes.as_ref()) {
                        wishes = None;
                        leaving.begin(arguments);
                    }
                }
            }
            next = news.next() => view.tell(next.map_err(|why| seat.stuck(why))?),
            () = rooms.changed() => {}
            next = told.recv() => match next {
                Some(Told::Note(text)) => view.note(seq, text),
                Some(Told::Entered(entered)) => {
                    seat = entered;
                    news = News::of(&seat)?;
                    view.enter(&seat.name, first(&seat, arguments.history));
                }
                // All that was typed is done.
                None => return Ok(ExitCode::SUCCESS),
            },
            text = link.changed(&mut view.is_linked) => view.note(seq, text),
            failure = leaving.over(arguments) => return Err(failure),
        }
    }
}

/// Takes this key and those behind it, up to one of which something comes: a terminal that gives a paste key by key gives it
/// faster than the screen can be drawn.
fn take_all_at_hand(
    first: Option<io::Result<Event>>,
    keys: &mut mpsc::Receiver<io::Result<Event>>,
    view: &mut View,
) -> Result<Taken, Failure> {
    // Its thread ends with an error only.
    let mut next = first.unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()));
    for _ in 0..KEYS_MAX {
        let taken = view.take(&next.map_err(|error| Failure::read("the terminal", &error))?);
        if taken != Taken::Nothing {
            return Ok(taken);
        }
        let Ok(more) = keys.try_recv() else { break };
        next = more;
    }
    Ok(Taken::Nothing)
}

/// Does what was typed, or has it done. False if that is to leave.
fn obey(line: String, seat: &Seat, view: &mut View, wishes: Option<&mpsc::Sender<Wish>>) -> bool {
    let seq = seat.room.seq();
    match Typed::read(&line) {
        Typed::Nothing => {}
        Typed::Wish(wish) => match wishes.map(|wishes| wishes.try_send(wish)) {
            Some(Ok(())) => {}
            Some(Err(_)) => {
                let _ = view.input.insert(&line);
                view.note(seq, "too much waits to be said already; try again later");
            }
            None => view.note(seq, "you are leaving"),
        },
        Typed::Who => view.note(seq, format!("here: {}", joined(&view.here))),
        Typed::Rooms => view.note(seq, format!("rooms: {}", joined(&view.rooms))),
        Typed::Help => HELP.lines().for_each(|line| view.note(seq, line)),
        Typed::Wrong(why) => view.note(seq, why),
        Typed::Quit => return false,
    }
    true
}

fn joined(names: &BTreeSet<String>) -> String {
    Vec::from_iter(names.iter().map(String::as_str)).join(", ")
}

/// The first line that is shown of those that are there.
fn first(seat: &Seat, history: History) -> u64 {
    seat.room.read(|room| match room.lines.len().checked_sub(history.0) {
        None | Some(0) => 0,
        Some(hidden) => room.lines[hidden - 1].seq + 1,
    })
}

/// What is typed, and that the terminal has another size now.
fn keys() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, keys) = mpsc::channel(KEYS_MAX);
    // It waits for as long as the program runs, and ends with it.
    std::thread::spawn(move || {
        loop {
            let next = read();
            let over = next.is_err();
            if sender.blocking_send(next).is_err() || over {
                return;
            }
        }
    });
    keys
}

/// The terminal, which is as it was before when this is dropped; when the program panics too.
struct Screen(DefaultTerminal);

impl Screen {
    fn begin() -> Result<Screen, Failure> {
        let terminal = ratatui::try_init().and_then(|terminal| {
            execute!(stdout(), EnableBracketedPaste)?;
            Ok(terminal)
        });
        terminal.map(Screen).map_err(|error| Failure::write("the terminal", &error))
    }

    fn draw(&mut self, seat: &Seat, view: &mut View) -> Result<(), Failure> {
        let drawn = self.0.draw(|frame| seat.room.read(|room| view.draw(frame, room)));
        drawn.map(|_| ()).map_err(|error| Failure::write("the terminal", &error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// A terminal that is gone needs nothing.
fn restore() {
    let _ = execute!(stdout(), DisableBracketedPaste);
    let _ = ratatui::try_restore();
}
