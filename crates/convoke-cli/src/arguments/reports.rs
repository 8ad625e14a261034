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
    /// Journals
    Journals,
    /// Values that are set
    Values,
    /// Links to the hub
    Links,
    /// Topics on which events were published lately
    Topics,
    /// The hub's own links to other hubs
    Uplinks,
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
A line `WHAT VALUE` for each thing that the hub tells about itself, and `WHAT USED of MOST` for each limit of which something \
is used, with `nearly full` from four fifths on; with --json one object, and in it all limits.

Example:
  convoke status")]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The text format of Prometheus: gauges of what there is and of each limit, and counters of all that was refused, closed or \
dropped. With --json a line for each number. docs/metrics.md lists all metrics.

Examples:
  convoke metrics
  convoke metrics > hub.prom.new && mv hub.prom.new /var/lib/node_exporter/hub.prom")]
pub(crate) struct MetricsArguments {
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
