//! `convoke chat`: people and programs in rooms, where all see the same lines in the same order and any can be taken back.
//!
//! A room is a journal, and what is said in it the state that comes of it ([`room`]); so there is nothing here that keeps
//! programs in step. What is typed is read by [`typed`] and done here, one thing after the other; [`line`](mod@line) shows
//! the room to pipes, [`screen`] to people.

mod line;
mod news;
mod room;
mod screen;
mod typed;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use convoke::{Change, Error, FollowOptions, Follower, Missed, Name, NameError, Node, Standing, Watch};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use self::room::{Command, Room};
use crate::arguments::ChatArguments;
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::join::{ended, patience, with_person, within};
use crate::screen::can_draw;
use crate::signals::{Signals, terminals};
use crate::verbs::list::{FOLLOWERS, JOURNALS};

/// What the journals of rooms begin with.
const ROOMS: &str = "chat/";

/// How long is waited until the room says that one has come, so that one's own coming is no news.
const ANNOUNCE_TIME_MAX: Duration = Duration::from_secs(2);

/// What may wait to be done: typed ahead while the hub is away.
const WISHES_MAX: usize = 64;

/// The room that one is in.
#[derive(Clone)]
struct Seat {
    name: String,
    room: Follower<Room>,
}

/// What is to be done in the room, or with it.
enum Wish {
    Execute(Command),
    Undo,
    Redo,
    Go(String),
    Rooms,
}

/// What came of it, if there is anything to tell.
enum Told {
    Entered(Seat),
    /// The rooms that there are.
    Rooms(BTreeSet<String>),
    /// It is not so, or nobody can tell.
    Refused(Failure),
}

pub(crate) async fn run(
    arguments: ChatArguments,
    (json, verbose): (bool, u8),
    signals: &Signals,
) -> Result<ExitCode, Failure> {
    let room = room_of(&arguments.room)?;
    with_person(&arguments.node, signals, async |node| {
        let seat = within(&arguments.node, &format!("enter `{room}`"), enter(node, &room)).await?;
        let (wishes, wished) = mpsc::channel(WISHES_MAX);
        let (tell, told) = mpsc::channel(WISHES_MAX);
        tokio::spawn(fulfil(node.clone(), seat.clone(), wished, tell));
        let [stdin, stdout, stderr] = terminals();
        // What `-v` says would be written over the screen.
        let on_screen = stdin && stdout && can_draw() && !json && !(verbose > 0 && stderr);
        let chat = async {
            match on_screen {
                true => screen::run(node, seat, &arguments, wishes, told, signals).await,
                false => line::run(node, seat, &arguments, wishes, told, json).await,
            }
        };
        tokio::select! {
            done = chat => done,
            why = ended(node) => Err(why),
        }
    })
    .await
}

impl Seat {
    fn here(&self) -> BTreeSet<String> {
        self.room.read(|room| room.here.clone())
    }

    /// The room cannot be shown any further.
    fn stuck(&self, why: Missed) -> Failure {
        match why {
            Missed::Ended(refusal) => refusal.into(),
            other => Failure::new(Exit::Data, "Stuck", format!("the room `{}` cannot be shown: {other}", self.name)),
        }
    }
}

/// The room that was typed. Its journal, whose name is longer, can have one too.
fn room_of(typed: &str) -> Result<String, NameError> {
    // What is wrong with it is said of what was typed.
    let room = Name::parse(typed)?;
    Name::parse(&format!("{ROOMS}{room}"))?;
    Ok(room.to_string())
}

async fn enter(node: &Node, name: &str) -> Result<Seat, Error> {
    let journal = format!("{ROOMS}{name}");
    let announced =
        node.follow_with::<Room>(&journal, FollowOptions { presence: true, ..FollowOptions::default() }).await;
    let room = match announced {
        // Who may only listen does so unannounced.
        Err(Error::Unauthorized(_)) => node.follow::<Room>(&journal).await?,
        announced => {
            let room = announced?;
            // If it takes longer one is in the room all the same.
            let _ = timeout(ANNOUNCE_TIME_MAX, is_here(&room, node.name().as_str())).await;
            room
        }
    };
    Ok(Seat { name: name.to_owned(), room })
}

/// Waits until the room says that somebody is there, or says nothing any more.
async fn is_here(room: &Follower<Room>, name: &str) {
    let mut seq = 0;
    while let Ok(now) = room.changed(seq).await
        && !room.read(|room| room.here.contains(name))
    {
        seq = now;
    }
}

/// Does what is wished, one after the other; while the hub is away that waits.
async fn fulfil(node: Node, mut seat: Seat, mut wishes: mpsc::Receiver<Wish>, told: mpsc::Sender<Told>) {
    while let Some(wish) = wishes.recv().await {
        let done = match wish {
            Wish::Execute(command) => seat.room.execute(&command).await.map(|_| None),
            Wish::Undo => seat.room.undo().await.map(|_| None),
            Wish::Redo => seat.room.redo().await.map(|_| None),
            Wish::Go(room) if room == seat.name => Ok(None),
            Wish::Go(room) => enter(&node, &room).await.map(|entered| {
                seat = entered.clone();
                Some(Told::Entered(entered))
            }),
            Wish::Rooms => {
                let mut rooms = Rooms::known_to(&node).await.names;
                rooms.insert(seat.name.clone());
                Ok(Some(Told::Rooms(rooms)))
            }
        };
        let tell = match done {
            Ok(None) => continue,
            Ok(Some(tell)) => tell,
            Err(error) => Told::Refused(error.into()),
        };
        if told.send(tell).await.is_err() {
            return;
        }
    }
}

/// The rooms that there are, as far as one may know: it takes the right to the hub's `status`.
struct Rooms {
    watch: Option<Watch>,
    names: BTreeSet<String>,
}

impl Rooms {
    async fn known_to(node: &Node) -> Rooms {
        let (watch, names) = (node.watch(format!("{JOURNALS}{ROOMS}#")).await.ok(), BTreeSet::new());
        let mut rooms = Rooms { watch, names };
        if let Some(watch) = &mut rooms.watch {
            let there = watch.snapshot().await.unwrap_or_default();
            there.iter().for_each(|change| _ = rooms.take(change));
        }
        rooms
    }

    /// Waits until there is another one, or one less. Cancel safe.
    async fn changed(&mut self) {
        loop {
            let Some(watch) = &mut self.watch else { return std::future::pending().await };
            match watch.next().await {
                Some(Ok(change)) if self.take(&change) => return,
                Some(Ok(_)) => {}
                // What there is now follows.
                Some(Err(_)) => self.names.clear(),
                None => self.watch = None,
            }
        }
    }

    /// Whether it says something new; the hub tells much else about a room.
    fn take(&mut self, change: &Change) -> bool {
        let room = change.name.as_str().strip_prefix(JOURNALS).and_then(|name| name.strip_prefix(ROOMS));
        let Some(room) = room.and_then(|name| name.strip_suffix(FOLLOWERS)) else { return false };
        match change.payload {
            Some(_) => self.names.insert(room.to_owned()),
            None => self.names.remove(room),
        }
    }
}

/// Who leaves waits until all that was typed is done, for as long as for any answer.
struct Leaving(Option<Instant>);

impl Leaving {
    fn begin(&mut self, arguments: &ChatArguments) {
        self.0 = Some(Instant::now() + patience(&arguments.node));
    }

    /// Waits until there is no more time for it. Cancel safe.
    async fn over(&self, arguments: &ChatArguments) -> Failure {
        match self.0 {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
        let waited = duration::shown(patience(&arguments.node));
        let message = format!("not all that was typed is said: no answer within {waited}; it may be said all the same");
        Failure::new(Exit::Unavailable, "TimedOut", message)
    }
}

/// Tells whether there is a link to the hub.
struct Link(watch::Receiver<Standing>);

impl Link {
    fn of(node: &Node) -> Link {
        Link(node.watch_standing())
    }

    /// Waits until the link is lost, or is there again. Cancel safe.
    async fn changed(&mut self, is_there: &mut bool) -> &'static str {
        let now = !*is_there;
        let so = |standing: &Standing| matches!(standing, Standing::Joined) == now;
        if self.0.wait_for(so).await.is_err() {
            std::future::pending::<()>().await;
        }
        *is_there = now;
        if now { "back" } else { "connection lost, trying again" }
    }
}
