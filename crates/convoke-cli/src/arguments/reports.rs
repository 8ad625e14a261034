//! The options of the verbs that show what the hub knows.

use clap::{Args, ValueEnum};

use super::NodeArguments;

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listed {
    /// Programs that are joined, or whose link was lost a moment ago
    Nodes,
    /// Services that are offered
    Services,
    /// Values that are set
    Values,
    /// Links to the hub
    Links,
    /// Topics on which events were published lately
    Topics,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A line for each, in columns; on a terminal a line above says what they are. Times are those of UTC. With --json each is \
an object with all that the hub tells. What the hub tells are values under `$hub/`: `get` and `watch` show them too.

Examples:
  convoke list nodes
  convoke list nodes --all                      also those that were lost lately, and why
  convoke list values --json | jq -r .name
  convoke watch '$hub/nodes/#'                  the same, live")]
pub(crate) struct ListArguments {
    /// What to list
    #[arg(value_enum)]
    pub(crate) what: Listed,

    /// Of nodes: also those that are dead or have left, for as long as the hub remembers them, and the one that asks
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A line `WHAT VALUE` for each thing that the hub tells about itself; with --json one object.

Example:
  convoke status")]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A line for each node that offers the service: its name, its host, since when it is there, and how many calls of the \
service it has. If nobody offers it, that is exit code 69.

Example:
  convoke locate math/add")]
pub(crate) struct LocateArguments {
    /// The name of the service
    #[arg(value_name = "NAME")]
    pub(crate) service: String,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}
