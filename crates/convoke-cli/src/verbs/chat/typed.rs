//! What is typed: a line to be said, or with a slash something to be done.

use super::room::{Command, LINE_BYTES_MAX};
use super::{Wish, room_of};

/// What a line means.
pub(crate) enum Typed {
    /// Nothing is to be done.
    Nothing,
    Wish(Wish),
    Who,
    Rooms,
    Help,
    Quit,
    /// It cannot be done, and why.
    Wrong(String),
}

pub(crate) const HELP: &str = "\
/undo         take back what you have said last
/redo         say again what you have taken back last
/me waves     say what you do
/who          who is here
/rooms        which rooms there are
/join ROOM    go to another room
/quit         leave
//path        say something that begins with a slash";

impl Typed {
    pub(crate) fn read(line: &str) -> Typed {
        // What comes of a paste or a file.
        let line = line.trim_end_matches(['\r', '\n']);
        if line.len() > LINE_BYTES_MAX {
            return Typed::Wrong(format!("a line of {} bytes is too long, the limit is {LINE_BYTES_MAX}", line.len()));
        }
        let Some(rest) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
            let says = line.strip_prefix('/').unwrap_or(line);
            return match says.trim().is_empty() {
                true => Typed::Nothing,
                false => Typed::Wish(Wish::Execute(Command::Says { says: says.to_owned() })),
            };
        };
        let (verb, what) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match (verb, what.trim()) {
            ("me", "") => Typed::Wrong("say what you do, as in `/me waves`".to_owned()),
            ("me", does) => Typed::Wish(Wish::Execute(Command::Does { does: does.to_owned() })),
            ("join", "") => Typed::Wrong("say which room, as in `/join kitchen`".to_owned()),
            ("join", room) => match room_of(room) {
                Ok(room) => Typed::Wish(Wish::Go(room)),
                Err(error) => Typed::Wrong(error.to_string()),
            },
            ("undo", "") => Typed::Wish(Wish::Undo),
            ("redo", "") => Typed::Wish(Wish::Redo),
            ("who", "") => Typed::Who,
            ("rooms", "") => Typed::Rooms,
            ("help", "") => Typed::Help,
            ("quit", "") => Typed::Quit,
            (verb @ ("undo" | "redo" | "who" | "rooms" | "help" | "quit"), _) => {
                Typed::Wrong(format!("`/{verb}` stands alone"))
            }
            (verb, _) => Typed::Wrong(format!("there is no `/{verb}`; `/help` says what there is")),
        }
    }
}
