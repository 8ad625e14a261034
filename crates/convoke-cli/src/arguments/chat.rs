//! The options of `convoke chat`.

use clap::Args;

use super::NodeArguments;

/// How many lines from before are shown unless told otherwise: some screens.
const HISTORY_LINES: usize = 100;

#[derive(Args, Debug)]
#[command(after_help = "\
On a terminal it has a screen of its own. Where stdin or stdout is none, or with --json, each line from stdin is said, \
and each that anybody says is printed, in the same order for everybody: `ann: hello`, `* ann waves`, and \
`* ann takes back: hello` where one is undone. What is only for you (`connection lost, trying again`) is on stderr. At the \
end of stdin it ends, as soon as everything is said. If something could not be said or done, stderr says why, and the exit \
code is that of the last such: 65 for a line that is too long or means nothing, 77 where the rights do not allow it.

Who you are is --name. A line that begins with a slash is something to do, `/help` says what: `/undo` `/redo` \
`/me waves` `/who` `/rooms` `/join kitchen` `/quit`.

A room is a journal: `lobby` is `chat/lobby`, which is kept, and shown by `convoke journal show chat/lobby`. What it takes \
are the rights `follow`, `execute` and `undo` on `chat/#`.

Examples:
  convoke chat --name ann
  convoke chat --name ann --room kitchen --history all
  echo 'the press is open' | convoke chat --name press-1")]
// The usual words are about verbs that come and go.
#[command(mut_arg("name", |name| name.help(
    "Who you are: the name of this node, and who is answerable for what you say [default: who is logged in]"
)))]
#[command(mut_arg("author", |author| author.help("Who is answerable for what you say, if that is not the name")))]
pub(crate) struct ChatArguments {
    /// The room to begin in
    #[arg(long, value_name = "ROOM", default_value = "lobby")]
    pub(crate) room: String,

    /// How many lines from before to show, or `all`
    #[arg(long, value_name = "N", default_value_t = History(HISTORY_LINES), value_parser = history)]
    pub(crate) history: History,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

/// How many of the lines from before are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct History(pub(crate) usize);

impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            usize::MAX => f.write_str("all"),
            lines => lines.fmt(f),
        }
    }
}

fn history(text: &str) -> Result<History, String> {
    match text {
        "all" => Ok(History(usize::MAX)),
        number => number.parse().map(History).map_err(|_| "it is a number of lines, or `all`".to_owned()),
    }
}
