//! The options of the verbs for values.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use convoke::Rev;

use super::{NodeArguments, at_least_one};
use crate::duration;

/// Reads a revision as it is printed.
fn revision(text: &str) -> Result<Rev, String> {
    let why = "it is a revision, such as `17`: what `set` prints, and the `rev` of `get --json`";
    text.parse().map_err(|_| why.to_owned())
}

/// A payload of the command line.
#[derive(Args, Debug)]
pub(crate) struct PayloadArguments {
    /// JSON or text
    #[arg(conflicts_with = "raw", allow_negative_numbers = true)]
    pub(crate) payload: Option<String>,

    /// Take the bytes of a file, `-` for stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) raw: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A payload that is JSON is set as JSON, exactly as typed; anything else as text. What is printed is the revision, a \
number that grows with every change, with --existing how many values were set. When `set` is done, the value is kept \
as safely as the hub keeps anything.

What was expected and is not so is exit code 75, and nothing is changed: get the value, and try again.

Examples:
  convoke set recipe/steps '[\"heat\",\"press\"]'
  convoke set line/state '\"busy\"' --if-rev 17   only if nobody has set it since revision 17
  convoke set line/owner ann --create --ttl 30s
  convoke set panel/1/open true --ephemeral     for as long as this command runs
  convoke set 'press/+/force' 12 --existing     every value that there is")]
pub(crate) struct SetArguments {
    /// The name to set; with --existing also a pattern
    #[arg(value_name = "NAME")]
    pub(crate) key: String,

    #[command(flatten)]
    pub(crate) payload: PayloadArguments,

    /// Only if the value is still of this revision
    #[arg(long, value_name = "REV", value_parser = revision, conflicts_with_all = ["create", "existing"])]
    pub(crate) if_rev: Option<Rev>,

    /// Only if it has no value yet
    #[arg(long, conflicts_with = "existing")]
    pub(crate) create: bool,

    /// Set each value that there is and whose name matches, and print how many these are
    #[arg(long, conflicts_with_all = ["ttl", "ephemeral"])]
    pub(crate) existing: bool,

    /// Let the value go after so long
    #[arg(long, value_name = "TIME", value_parser = duration::parse_some)]
    pub(crate) ttl: Option<Duration>,

    /// Let the value go with this node: the command then runs until Ctrl-C
    #[arg(long)]
    pub(crate) ephemeral: bool,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Of a name the payload alone is printed; of a pattern a line `NAME PAYLOAD` for each value, in the order of their names. \
They look as `subscribe` shows them. With --json each value is an object with name, rev, author, encoding and payload; \
a revision is text there, as --if-rev takes it.

A name without a value is exit code 69; that nothing matches a pattern is none.

Examples:
  convoke get recipe/steps
  convoke get 'recipe/#'
  convoke get 'recipe/#' --tree                 one JSON object of them all
  convoke get camera/1/image --raw > image.png")]
pub(crate) struct GetArguments {
    /// The name, or a pattern with `+` for one word and `#` for all the rest
    pub(crate) pattern: String,

    /// Print one JSON value that is composed of all that match, by the words behind those they have in common
    #[arg(long, conflicts_with = "raw")]
    pub(crate) tree: bool,

    /// Write the bytes of the payloads as they are, and nothing else, whatever --json says
    #[arg(long)]
    pub(crate) raw: bool,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
First comes what there is, then what changes, a line `NAME PAYLOAD` each, as `subscribe` shows them. A value that is \
gone is a line of its name, a tab and `(deleted)`; no other line has a tab. With --json each is an object with name, \
rev, author, encoding and payload, or with name, rev, author and `\"deleted\":true`.

Of a value that changes often only the last change may be shown; with --all it is every one, in their order. What was \
missed all the same is told on stderr, with --json as an object `lost` in line.

With several patterns a change that matches more than one is printed once; the order holds within what one pattern \
matches.

Examples:
  convoke watch 'recipe/#'
  convoke watch line/state --all --json
  convoke watch '$hub/nodes/#' --idle 2s        who comes and goes")]
pub(crate) struct WatchArguments {
    /// Names of values, with `+` for one word and `#` for all the rest
    #[arg(required = true, value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,

    /// Print every change, not only the last of each value
    #[arg(long)]
    pub(crate) all: bool,

    /// End after so many lines
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) count: Option<u64>,

    /// End when nothing came for so long
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) idle: Option<Duration>,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
It ends as soon as the value is equal: JSON is compared by what it means, not how it is written (`1.0` is `1`, the \
order of an object's keys does not matter), and a text equals the same text in JSON. Then the payload is printed, as \
`get` does. If it is not so within --timeout, that is exit code 69.

Examples:
  convoke wait line/state '\"ready\"' --timeout 10s
  convoke wait line/owner                       until it has any value")]
pub(crate) struct WaitArguments {
    /// The name of the value
    #[arg(value_name = "NAME")]
    pub(crate) key: String,

    #[command(flatten)]
    pub(crate) payload: PayloadArguments,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Of a name the revision of its deletion is printed, of a pattern how many values were deleted. A name without a value is \
exit code 69; that nothing matches a pattern is none.

Examples:
  convoke delete recipe/steps
  convoke delete line/owner --if-rev 17         only if nobody has set it since
  convoke delete 'recipe/#'")]
pub(crate) struct DeleteArguments {
    /// The name, or a pattern with `+` for one word and `#` for all the rest
    pub(crate) pattern: String,

    /// Only if the value is still of this revision
    #[arg(long, value_name = "REV", value_parser = revision)]
    pub(crate) if_rev: Option<Rev>,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}
