//! The chat on a terminal: keys and what happens in the room come in, and the [`view`] is drawn anew.

mod input;
mod view;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, stdout};
use std::process::ExitCode;

use convoke::Node;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste, Event, read};
use crossterm::execute;
use ratatui::DefaultTerminal;
use tokio::sync::mpsc::{self, error::TrySendError};

use self::view::{Taken, View, is_ctrl_c};
use super::news::News;
use super::room::LINE_BYTES_MAX;
use super::typed::{HELP, Typed};
use super::{Leaving, Link, Rooms, Seat, Told, Wish};
use crate::arguments::{ChatArguments, History};
use crate::exit::Failure;
use crate::signals::{Signal, Signals};

/// Keys that come at once: a long paste.
const KEYS_MAX: usize = 1024;

/// Keys that wait behind a line for which there is no room yet, so that Ctrl-C is heard behind them: a paste of a thousand
/// lines of sixty characters, and two megabytes. What comes then is left to the terminal.
const AHEAD_MAX: usize = 64 << 10;

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
    let (mut keys, mut ahead) = (keys(), Ahead::default());
    loop {
        while ahead.wish.is_none()
            && let Some(event) = ahead.keys.pop_front()
        {
            let seq = seat.room.seq();
            match view.take(&event) {
                Taken::Nothing => {}
                Taken::TooLong => {
                    view.note(seq, format!("a line has at most {LINE_BYTES_MAX} bytes, and what was pasted is longer"));
                }
                Taken::CtrlC => return Ok(Signal::Interrupt.exit_code()),
                Taken::Line(line) => match obey(&line, &seat, &mut view, wishes.as_ref()) {
                    Obeyed::Done => {}
                    Obeyed::Waits(wish) => ahead.wish = Some(wish),
                    Obeyed::Leaves => {
                        view.note(seq, "you are leaving as soon as all that you have typed is said");
                        wishes = None;
                        leaving.begin(arguments);
                    }
                },
            }
        }
        view.is_behind = ahead.wish.is_some();
        view.rooms.extend(rooms.names.iter().cloned());
        let seq = seat.room.seq();
        view.here = seat.here();
        screen.draw(&seat, &mut view)?;
        tokio::select! {
            changed = seat.room.changed(seq) => drop(changed.map_err(|why| seat.stuck(why))?),
            event = keys.recv(), if ahead.keys.len() < AHEAD_MAX => {
                if ahead.take_all_at_hand(event, &mut keys)? {
                    return Ok(Signal::Interrupt.exit_code());
                }
            }
            room = room_for_one(wishes.as_ref()), if ahead.wish.is_some() => {
                if let (Some(room), Some(wish)) = (room, ahead.wish.take()) {
                    room.send(wish);
                }
            }
            next = news.next() => view.tell(next.map_err(|why| seat.stuck(why))?),
            () = rooms.changed() => {}
            next = told.recv() => match next {
                Some(Told::Refused(failure)) => view.note(seq, failure.message),
                // Here it is known all the time.
                Some(Told::Rooms(_)) => {}
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

/// What was typed and is not looked at yet.
#[derive(Default)]
struct Ahead {
    /// What is to be done next, as soon as there is room for it.
    wish: Option<Wish>,
    /// What was typed behind it.
    keys: VecDeque<Event>,
}

impl Ahead {
    /// Takes this key and those that are there behind it: a terminal that gives a paste key by key gives it faster than the
    /// screen can be drawn. Whether one of them is Ctrl-C, which waits for nothing.
    fn take_all_at_hand(
        &mut self,
        first: Option<io::Result<Event>>,
        keys: &mut mpsc::Receiver<io::Result<Event>>,
    ) -> Result<bool, Failure> {
        // Its thread ends with an error only.
        let mut next = first.unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()));
        for _ in 0..KEYS_MAX {
            let event = next.map_err(|error| Failure::read("the terminal", &error))?;
            if is_ctrl_c(&event) {
                return Ok(true);
            }
            self.keys.push_back(event);
            let Ok(more) = keys.try_recv() else { break };
            next = more;
        }
        Ok(false)
    }
}

/// Waits until something more can wait to be done. Cancel safe.
async fn room_for_one(wishes: Option<&mpsc::Sender<Wish>>) -> Option<mpsc::Permit<'_, Wish>> {
    wishes?.reserve().await.ok()
}

/// What comes of a typed line here.
enum Obeyed {
    Done,
    /// It is to be done when there is room for it.
    Waits(Wish),
    Leaves,
}

/// Does what was typed, or has it done.
fn obey(line: &str, seat: &Seat, view: &mut View, wishes: Option<&mpsc::Sender<Wish>>) -> Obeyed {
    let seq = seat.room.seq();
    match Typed::read(line) {
        Typed::Nothing => {}
        Typed::Wish(wish) => match wishes.map(|wishes| wishes.try_send(wish)) {
            Some(Err(TrySendError::Full(wish))) => return Obeyed::Waits(wish),
            // Who would do it has ended, which is told elsewhere.
            Some(_) => {}
            None => view.note(seq, "you are leaving"),
        },
        Typed::Who => view.note(seq, format!("here: {}", joined(&view.here))),
        Typed::Rooms => view.note(seq, format!("rooms: {}", joined(&view.rooms))),
        Typed::Help => HELP.lines().for_each(|line| view.note(seq, line)),
        Typed::Wrong(why) => view.note(seq, why),
        Typed::Quit => return Obeyed::Leaves,
    }
    Obeyed::Done
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
