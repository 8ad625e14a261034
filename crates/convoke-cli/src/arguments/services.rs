//! The options of the verbs for services.

use clap::{Args, ValueEnum};
use convoke::MasterWish;

use super::values::PayloadArguments;
use super::{NodeArguments, at_least_one};
use crate::select::Select;

/// Whether a node can be master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wish {
    /// If it is the one that is alive the longest
    May,
    /// Before all that only may
    Must,
    /// Not at all
    Never,
}

impl From<Wish> for MasterWish {
    fn from(wish: Wish) -> MasterWish {
        match wish {
            Wish::May => MasterWish::May,
            Wish::Must => MasterWish::Must,
            Wish::Never => MasterWish::Never,
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
For each call the command is started: the payload is its stdin (JSON, also for what a program has sent as MessagePack; \
text and bytes as they are), and what it writes to stdout is the reply: JSON where it is JSON, else text without the \
line break at its end. Another exit code than 0 is an error of the service, told to the caller as `exit N` with the \
last line of its stderr. When the caller gives up or its time is over, the command is ended, with all that it has \
started: asked to by SIGTERM, and killed a second later. What it leaves running when it has answered is ended too; a \
program that shall go on needs a session of its own (`setsid`).

The environment has CONVOKE_SERVICE (the name), CONVOKE_CALLER (the node that calls), CONVOKE_AUTHOR (who is answerable) \
and CONVOKE_DEADLINE_MS (the time that is left); with --lines only the first.

With --lines the command is started at once and goes on: it reads a line of JSON for each call and writes one as the \
reply, one call after the other; raw bytes are {\"base64\": …}. What it writes before its first call is no reply: it is \
dropped, and stderr says so. What people shall read belongs on its stderr. If it ends, stderr says how, the call that \
it had is an error of the service, and it is started again for the next one; if a call is given up, it is ended and \
started again too.

`serving NAME` on stderr says that calls arrive from now on. It runs until Ctrl-C; calls that it has then are not \
finished, and what handles them is ended.

Examples:
  convoke serve math/add -- ./add.sh
  convoke serve text/upper -- tr a-z A-Z
  convoke serve math/add --lines -- jq --unbuffered -c add")]
pub(crate) struct ServeArguments {
    /// The name of the service
    #[arg(value_name = "NAME")]
    pub(crate) service: String,

    /// Start the command once; it gets a line of JSON for each call, and answers with one
    #[arg(long, conflicts_with = "concurrency")]
    pub(crate) lines: bool,

    /// How many calls are handled at the same time; others wait
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) concurrency: u32,

    /// Withdraw the service after so many calls, and end when those that it has are answered
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) count: Option<u64>,

    /// Whether this node can be master, whom `call --select master` goes to: the one that is alive the longest of those that
    /// may be, before all one that must
    #[arg(long, value_name = "WISH", value_enum, hide_possible_values = true, default_value = "never")]
    pub(crate) master: Wish,

    /// What handles the calls
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
What is printed is the payload of the reply alone, as `get` does; with --json an object with encoding and payload. \
With --all it is a line `NODE PAYLOAD` for each, in the order of their names, and a line `NODE error: …` on \
stderr for each that has not answered; with --json all are lines on stdout.

What the service itself answers as an error is exit code 65, and printed as `TYPE: MESSAGE`. 69 is that nobody offers \
it, or nobody whom --select fits, or that no answer came: the message says if it may have been done all the same. \
75 is that who offers it has too much to do. A call takes at most 1h: a longer --timeout is \
refused.

Examples:
  convoke call math/add '[1,2]'
  convoke call math/add '[1,2]' --select node:calc-2
  convoke call line/stop --all --timeout 2s")]
pub(crate) struct CallArguments {
    /// The name of the service
    #[arg(value_name = "NAME")]
    pub(crate) service: String,

    #[command(flatten)]
    pub(crate) payload: PayloadArguments,

    /// A header beside the payload; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub(crate) headers: Vec<String>,

    /// Who is to do it, where several offer it: first, round-robin, random, least-busy, node:NAME, host:NAME, cpu-usage,
    /// free-ram or master, which is none that `serve` has started without --master [default: as the hub is configured]
    #[arg(long, value_name = "HOW", conflicts_with = "all")]
    pub(crate) select: Option<Select>,

    /// Call everybody who offers it
    #[arg(long)]
    pub(crate) all: bool,

    /// If nobody offers it, wait until somebody does
    #[arg(long, conflicts_with = "all")]
    pub(crate) wait: bool,

    /// Write the bytes of the reply as they are, and nothing else, whatever --json says
    #[arg(long, conflicts_with = "all")]
    pub(crate) raw_reply: bool,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}
