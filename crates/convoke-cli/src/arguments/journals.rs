//! The options of `convoke journal`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use convoke::{Name, Who};

use super::{NodeArguments, at_least_one};
use crate::duration;

#[derive(Args, Debug)]
#[command(after_help = "\
A journal is a sequence of commands that everybody gets in the same order, kept by the hub before anybody is told. What is \
undone stays in it, and is for all who follow as if it had never been done.

Examples:
  convoke journal append todo '{\"add\": \"milk\"}'
  convoke journal follow todo
  convoke journal undo todo")]
pub(crate) struct JournalArguments {
    #[command(subcommand)]
    pub(crate) verb: JournalVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalVerb {
    /// Append a command, and print its place
    Append(AppendArguments),
    /// Print the entries that there are, and those that come
    Follow(FollowArguments),
    /// Print the entries that there are
    Show(ShowArguments),
    /// Print who are its members, and what each has applied
    #[command(after_help = FOLLOWERS_HELP)]
    Followers(OneJournalArguments),
    /// Print all entries as JSON, one a line, to keep them elsewhere
    #[command(after_help = EXPORT_HELP)]
    Export(OneJournalArguments),
    /// Look whether the entries are those that were appended
    #[command(after_help = VERIFY_HELP)]
    Verify(OneJournalArguments),
    /// Let old entries go that a snapshot stands for
    Compact(CompactArguments),
    /// Undo what was done last, and print the place of the entry that says so
    Undo(BackArguments),
    /// Do again what was undone last, and print the place of the entry that says so
    Redo(BackArguments),
}

#[derive(Args, Debug)]
#[command(after_help = "\
A command that is JSON is appended as JSON, exactly as typed; anything else as text. When `append` is done, the hub keeps \
it, and it is in its place for everybody and for ever. The journal is made by its first command.

With --outbox the command is put into that folder first, and is safe there before it is sent; what is in it is sent in order, \
each once, for --timeout, and what is left then by the next run with the same --outbox and --name. For each that is in its \
journal its place is printed, of earlier runs too, and `waiting` if this one is not there yet: then, and whenever something is \
left, the exit code is 75. Without a command only what is left is sent.

Members of a journal are the programs that follow it with a state of their own, or otherwise say what they have applied; \
`convoke journal followers` shows them. With --applied-by the place is printed as soon as the command is kept; if those that \
are waited for have not applied it before --timeout, that is exit code 75, and stderr says who lags.

Examples:
  convoke journal append todo '{\"add\": \"milk\"}'
  convoke journal append todo --raw picture.png
  convoke journal append todo 'wash up' --applied-by all --timeout 2s
  convoke journal append made '{\"part\": \"lid\"}' --name press-1 --outbox /var/lib/press-1")]
pub(crate) struct AppendArguments {
    /// The journal
    #[arg(value_name = "JOURNAL")]
    pub(crate) journal: String,

    /// JSON or text
    #[arg(conflicts_with = "raw", allow_negative_numbers = true)]
    pub(crate) command: Option<String>,

    /// Append the bytes of a file, `-` for stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Option<PathBuf>,

    /// Only if this is the last entry, 0 for none
    #[arg(long, value_name = "SEQ")]
    pub(crate) if_last: Option<u64>,

    /// Then wait until members of the journal have applied it: `all`, `quorum` (most), so many, or these
    #[arg(long, value_name = "all|quorum|N|NODE,…", value_parser = who)]
    pub(crate) applied_by: Option<Who>,

    /// Keep it in this folder until it is known to be appended, also without a hub; needs --name
    #[arg(long, value_name = "FOLDER", requires = "name", conflicts_with_all = ["applied_by", "strategy"])]
    pub(crate) outbox: Option<PathBuf>,

    /// Only if the journal undoes like this; if it is made now, it does
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) strategy: Option<StrategyArgument>,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

/// Reads whom to wait for. A node whose name is one of these words, or a number, is named with a comma behind it.
fn who(text: &str) -> Result<Who, String> {
    match text {
        "all" => return Ok(Who::All),
        "quorum" => return Ok(Who::Quorum),
        _ => {}
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let count = text.parse().ok().filter(|count| *count > 0);
        return count.map(Who::Count).ok_or_else(|| format!("it is a number from 1 to {}", u32::MAX));
    }
    let names = text.split(',').filter(|name| !name.is_empty()).map(Name::parse).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|error| error.to_string())?;
    if names.is_empty() {
        return Err("it names nobody: write `all`, `quorum`, a number, or nodes".to_owned());
    }
    if names.len() > NODES_MAX {
        return Err(format!("these are {} nodes, and {NODES_MAX} at most are waited for", names.len()));
    }
    Ok(Who::Nodes(names))
}

/// Nodes that one wait names.
const NODES_MAX: usize = 100;

/// How a journal undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyArgument {
    /// As if the command had never been done
    Replay,
    /// The same, unless others have gone on from it
    Refuse,
    /// By its inverse, now
    Compensate,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Each entry is one line `SEQ AUTHOR COMMAND`, or `SEQ AUTHOR undo SEQ` and `SEQ AUTHOR redo SEQ`; where a member comes and \
goes that wants it said, `SEQ NODE joins` and `SEQ NODE leaves`. Nothing is missing and \
nothing comes twice, also when the hub is started again. With --json each entry is an object, as `convoke journal export` \
prints it.

Examples:
  convoke journal follow todo                   from the first entry on
  convoke journal follow todo --from 100 --json | jq .command
  convoke journal follow room --presence --name ann")]
pub(crate) struct FollowArguments {
    /// The journal
    #[arg(value_name = "JOURNAL")]
    pub(crate) journal: String,

    /// Begin with this entry
    #[arg(long, value_name = "SEQ", default_value = "1", value_parser = at_least_one)]
    pub(crate) from: u64,

    /// End after so many entries
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) count: Option<u64>,

    /// End when no entry came for so long
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) idle: Option<Duration>,

    /// Be a member of the journal: what is printed counts as applied
    #[arg(long)]
    pub(crate) member: bool,

    /// The same, and the journal says that this node joins and leaves
    #[arg(long)]
    pub(crate) presence: bool,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  convoke journal show todo                     all of it
  convoke journal show todo --last 20
  convoke journal show todo --from 100 --json")]
pub(crate) struct ShowArguments {
    /// The journal
    #[arg(value_name = "JOURNAL")]
    pub(crate) journal: String,

    /// Begin with this entry
    #[arg(long, value_name = "SEQ", default_value = "1", value_parser = at_least_one)]
    pub(crate) from: u64,

    /// Only so many of them, from the end
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) last: Option<u64>,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

/// What a verb takes that needs nothing but a journal.
#[derive(Args, Debug)]
pub(crate) struct OneJournalArguments {
    /// The journal
    #[arg(value_name = "JOURNAL")]
    pub(crate) journal: String,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

const FOLLOWERS_HELP: &str = "\
A line `NODE APPLIED LAG SINCE HERE` for each member: up to which entry it has applied all, how many there are behind that, \
since when that is so, and whether it is `here`, `away`, or `stuck`, with the reason why it cannot apply the next. One that \
is away has lost its link, and is a member no more if it does not come back; one that only reads is none. With --json each \
line is an object. The same is the value \
`$hub/journals/JOURNAL/followers`.

Examples:
  convoke journal followers todo
  convoke watch '$hub/journals/todo/followers'  the same, live";

const EXPORT_HELP: &str = "\
Each line is an object with seq, author, kind (`do`, `undo`, `redo`, `join` or `leave`), encoding and command, or target, and \
time_ms, the milliseconds since 1970. Behind the first command of a group the others have its place as `group`; what was at \
another hub first has an `origin`, with hub and seq.

Examples:
  convoke journal export todo > todo.jsonl";

const VERIFY_HELP: &str = "\
Each entry has a hash of itself and of all before it. `verify` reads all that are kept, computes each hash anew, and prints \
how many there are and the last hash, which is the same wherever the same entries are. Where an entry is another one than its \
hash says, that is exit code 65.

Examples:
  convoke journal verify todo";

#[derive(Args, Debug)]
#[command(after_help = "\
A snapshot is the state of a journal at one of its entries, made and uploaded by a program that follows it with a state. Who \
comes later begins with it, and so the entries before it can go. Programs that read entries from further back are told that \
these are missing. The journal stays what it is; without a snapshot nothing goes.

Examples:
  convoke journal compact todo
  convoke journal compact todo --keep 1000      leave the last 1000 of those that could go")]
pub(crate) struct CompactArguments {
    /// The journal
    #[arg(value_name = "JOURNAL")]
    pub(crate) journal: String,

    /// Leave so many of the entries that could go
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) keep: u64,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

/// Whose commands are undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeArgument {
    #[default]
    Mine,
    Everyone,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Who one is, is the author: --author, or else who is logged in. For all who follow the journal it is as if the command had \
never been done, or not been undone.

Examples:
  convoke journal undo todo
  convoke journal undo todo --scope everyone --if-next 12
  convoke journal redo todo")]
pub(crate) struct BackArguments {
    /// The journal
    #[arg(value_name = "JOURNAL")]
    pub(crate) journal: String,

    /// Whose commands: `mine` or `everyone`
    #[arg(long, value_enum, default_value = "mine", hide_possible_values = true)]
    pub(crate) scope: ScopeArgument,

    /// The command or group that begins with this entry, instead of the last
    #[arg(long, value_name = "SEQ")]
    pub(crate) target: Option<u64>,

    /// Only if this is what is next, 0 for nothing
    #[arg(long, value_name = "SEQ")]
    pub(crate) if_next: Option<u64>,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}
