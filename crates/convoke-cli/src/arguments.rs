//! The command line: every verb, option and environment variable, with its help.
//!
//! Flag before environment before default. Names, patterns and addresses are checked by the verbs, in the library's words.
//! The flags of `convoke hub` are made from the table of settings.

mod chat;
mod config;
mod journals;
mod reports;
mod services;
mod shell;
mod store;
mod tls;
mod tokens;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};

pub(crate) use chat::{ChatArguments, History};
pub(crate) use config::{ConfigArguments, ConfigVerb};
pub(crate) use journals::{
    AppendArguments, BackArguments, CompactArguments, FollowArguments, JournalArguments, JournalVerb,
    OneJournalArguments, ScopeArgument, ShowArguments, StrategyArgument,
};
pub(crate) use reports::{ListArguments, Listed, LocateArguments, MetricsArguments, StatusArguments};
pub(crate) use services::{CallArguments, ServeArguments};
pub(crate) use shell::{CompletionsArguments, ManArguments};
pub(crate) use store::{BackupArguments, StoreArguments, StoreVerb, VerifyArguments};
pub(crate) use tls::{InitTlsArguments, IssueTlsArguments, TlsArguments, TlsVerb};
pub(crate) use tokens::{
    ChangeTokenArguments, CreateTokenArguments, ExplainAllowArguments, ExplainArguments, ExplainVerb,
    ListTokensArguments, RevokeTokenArguments, RotateTokenArguments, RuleArguments, ShowTokenArguments, TokenArguments,
    TokenVerb,
};
pub(crate) use values::{DeleteArguments, GetArguments, SetArguments, WaitArguments, WatchArguments};

use crate::duration;
use crate::screen::When;
use crate::settings::Flags;

/// Reads how many of something are wanted.
fn at_least_one(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "it is a whole number, at least 1".to_owned())
}

const AFTER_HELP: &str = "\
Exit codes:
    0  done
   64  usage: the command line is wrong
   65  data: what was given is, or a service answers with an error
   69  nothing there: no hub, value or token of the name, nobody who offers it, no answer
   70  a bug
   73  a file or a folder cannot be made
   74  reading or writing failed
   75  try again later: taken, changed meanwhile, too much at once
   77  rights: who asks is not known, or may not
   78  configuration
  130  Ctrl-C; 129 and 143 are SIGHUP and SIGTERM

An error is one line on stderr; with --json it is {\"error\": {\"kind\": …, \"message\": …}}.

Examples:
  convoke demo                                  see what it does, in a few seconds
  convoke hub                                   start a hub
  convoke subscribe 'press/#'                   print what is published, in another terminal
  convoke publish press/1/opened '{\"force\": 12.5}'
  convoke set press/1/force 12.5                kept, for whoever comes later
  convoke watch 'press/+/force'
  convoke serve math/add -- ./add.sh            calls of it start this command
  convoke call math/add '[1,2]'";

/// Programs find each other by name and work together as if they were one
#[derive(Debug, Parser)]
#[command(name = "convoke", version, after_help = AFTER_HELP, arg_required_else_help = true)]
#[command(max_term_width = 120)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,

    /// Print one JSON object a line; errors too, on stderr
    #[arg(long, global = true, env = "CONVOKE_JSON", value_parser = FalseyValueParser::new(), display_order = 100)]
    pub(crate) json: bool,

    /// When to use colours: `auto`, on a terminal and unless NO_COLOR is set, `always` or `never`
    #[arg(long, global = true, value_name = "WHEN", env = "CONVOKE_COLOR", value_enum, default_value = "auto")]
    #[arg(hide_possible_values = true, display_order = 101)]
    pub(crate) color: When,

    /// Say more on stderr: -v what happens, -vv why, -vvv everything
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 102)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a hub; it runs until it is told to stop
    Hub(HubArguments),
    /// Check, explain or begin a hub's configuration
    Config(ConfigArguments),
    /// Print events as they are published
    Subscribe(SubscribeArguments),
    /// Publish one event
    Publish(PublishArguments),
    /// Set a value
    Set(SetArguments),
    /// Print a value, or several
    Get(GetArguments),
    /// Print values as they are, and as they change
    Watch(WatchArguments),
    /// Wait until a value is what it shall be
    Wait(WaitArguments),
    /// Delete a value, or several
    Delete(DeleteArguments),
    /// Offer a service: a command handles the calls
    Serve(ServeArguments),
    /// Call a service
    Call(CallArguments),
    /// Append to a journal, follow it, undo and redo
    Journal(JournalArguments),
    /// Talk with others in rooms
    Chat(ChatArguments),
    /// List nodes, services, journals, values, links, topics or uplinks
    List(ListArguments),
    /// Print how the hub is
    Status(StatusArguments),
    /// Print all that the hub counts and bounds, for Prometheus
    Metrics(MetricsArguments),
    /// Print who offers a service
    Locate(LocateArguments),
    /// Make and change tokens: who may join, and what they may do
    Token(TokenArguments),
    /// Say whether somebody may do something, and which rule decides
    Explain(ExplainArguments),
    /// Measure how fast the hub, or a node, answers
    Ping(PingArguments),
    /// Make certificates: a hub can then listen beyond its machine
    Tls(TlsArguments),
    /// Back up, look through, restore and repair what a hub keeps
    Store(StoreArguments),
    /// See in a few seconds what Convoke does; needs no hub
    Demo(DemoArguments),
    /// Print what a shell needs to complete the command line
    Completions(CompletionsArguments),
    /// Print the page of the manual, or write all pages
    Man(ManArguments),
}

/// What every verb that joins a hub takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Joining")]
pub(crate) struct NodeArguments {
    /// Where the hub is: HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH
    #[arg(long, value_name = "ADDRESS", env = "CONVOKE_ADDRESS", default_value = "127.0.0.1:7117")]
    pub(crate) address: String,

    /// The name of this node [default: a new one each time, such as ann/cli-3f09a2]
    #[arg(long, value_name = "NAME", env = "CONVOKE_NAME")]
    pub(crate) name: Option<String>,

    /// Who is answerable for what is done [default: the login name]
    #[arg(long, value_name = "NAME", env = "CONVOKE_AUTHOR")]
    pub(crate) author: Option<String>,

    /// A file with the token to prove; only its owner may be able to read it [else the token in CONVOKE_TOKEN]
    #[arg(long, value_name = "FILE", env = "CONVOKE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// A file with the authority that has signed the hub's certificate, for an address with tls://
    #[arg(long, value_name = "FILE", env = "CONVOKE_AUTHORITY")]
    pub(crate) authority: Option<PathBuf>,

    /// A file with a certificate to show, instead of a token, at an address with tls://
    #[arg(long, value_name = "FILE", env = "CONVOKE_CERTIFICATE_FILE", requires = "key_file")]
    pub(crate) certificate_file: Option<PathBuf>,

    /// The file with its key; only its owner may be able to read it
    #[arg(long, value_name = "FILE", env = "CONVOKE_KEY_FILE", requires = "certificate_file")]
    pub(crate) key_file: Option<PathBuf>,

    /// Only there to say where a token belongs: arguments can be seen by every user of the machine.
    #[arg(long, value_name = "TOKEN", hide = true)]
    pub(crate) token: Option<String>,

    /// How long to wait for the hub and its answers before giving up [default: 10s]
    #[arg(long, value_name = "TIME", env = "CONVOKE_TIMEOUT", value_parser = duration::parse_some)]
    pub(crate) timeout: Option<Duration>,
}

/// What every verb takes that looks at the files of a hub.
#[derive(Args, Debug)]
pub(crate) struct FolderArguments {
    /// The folder of the hub [default: $XDG_STATE_HOME/convoke, or ~/.local/state/convoke]
    #[arg(long, value_name = "DIR", env = "CONVOKE_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
For each address the hub prints a line `listening ADDRESS` on stdout as soon as programs can join there. \
SIGTERM ends it with exit code 0, Ctrl-C with 130. SIGHUP has it read its configuration file and its certificate again, and \
open its log file again. Beyond this machine it listens only if it has a certificate (see `convoke tls --help`), and \
takes links over TLS only.

A flag counts before its environment variable, that before the configuration file, that before the default. The file is \
that of --config, else `convoke.toml` in the hub's folder, else /etc/convoke/convoke.toml; see `convoke config --help`.

Examples:
  convoke hub
  convoke hub --listen 127.0.0.1:0 --memory     any free port, nothing kept
  convoke hub --listen unix:///run/user/1000/convoke.sock
  convoke hub --config press.toml --log-level info,store=debug")]
pub(crate) struct HubArguments {
    /// Read this configuration file, and no other [env: CONVOKE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) flags: Flags,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}

/// What the verbs that join no hub take too, so that a script may give the same options to every verb.
#[derive(Args, Debug)]
pub(crate) struct CommonArguments {
    /// Means nothing here: no hub is joined
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) name: Option<String>,

    /// Means nothing here: no hub is joined
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) author: Option<String>,

    /// Means nothing here: no hub is joined
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) token_file: Option<PathBuf>,

    /// Means nothing here: no hub is joined
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) authority: Option<PathBuf>,

    /// Means nothing here: no hub is joined
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) certificate_file: Option<PathBuf>,

    /// Means nothing here: no hub is joined
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) key_file: Option<PathBuf>,

    /// Means nothing here: nothing is waited for
    #[arg(long, value_name = "TIME", hide = true, value_parser = duration::parse_some)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Each event is one line `NAME PAYLOAD`, written at once. Line breaks, control characters and escapes are shown \
escaped (`\\n`, `\\u001b`); bytes that are no text as `base64:…`. With --json each event is an object with name, \
publisher, seq, encoding, payload and headers; a payload of raw bytes is {\"base64\": …}, a header that comes twice \
an array.

With several patterns an event that matches more than one is printed once; the order of each publisher holds within \
what one pattern matches.

Events that were lost are announced on stderr (`lost 12 events: …`), with --json as an object `lost` in line.

Examples:
  convoke subscribe 'press/+/opened'            + stands for one word
  convoke subscribe '#' --idle 2s               # stands for all the rest
  convoke subscribe 'jobs/#' --group workers    one of all that say `--group workers` gets each event
  convoke subscribe press/1/opened --count 1 --json | jq .payload")]
pub(crate) struct SubscribeArguments {
    /// Names of events, with `+` for one word and `#` for all the rest
    #[arg(required = true, value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,

    /// End after so many events
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) count: Option<u64>,

    /// End when no event came for so long
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) idle: Option<Duration>,

    /// Share the events with all that subscribe in the group of this name: each goes to one of them
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,

    /// Write the bytes of the payloads as they are, and nothing else, whatever --json says
    #[arg(long)]
    pub(crate) raw: bool,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A payload that is JSON is published as JSON, exactly as typed; anything else as text. When `publish` is done, the hub \
has taken the event.

Examples:
  convoke publish press/1/opened '{\"force\": 12.5}'
  convoke publish line/stop now --header reason=maintenance --confirm
  convoke publish camera/1/image --raw image.png
  date | convoke publish clock --raw -")]
pub(crate) struct PublishArguments {
    /// The name to publish on
    #[arg(value_name = "NAME")]
    pub(crate) topic: String,

    /// JSON or text; nothing if left out
    #[arg(conflicts_with = "raw", allow_negative_numbers = true)]
    pub(crate) payload: Option<String>,

    /// Publish the bytes of a file, `-` for stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Option<PathBuf>,

    /// A header beside the payload; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub(crate) headers: Vec<String>,

    /// Print to how many nodes the event went
    #[arg(long)]
    pub(crate) confirm: bool,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  convoke ping                                  the hub
  convoke ping press-1 --count 5                a node, through the hub")]
pub(crate) struct PingArguments {
    /// The node that shall answer [default: the hub itself]
    #[arg(value_name = "NODE")]
    pub(crate) target: Option<String>,

    /// How often, once a second
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    pub(crate) count: u64,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  convoke demo")]
pub(crate) struct DemoArguments {
    /// Means nothing here: the demo has a hub of its own
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) address: Option<String>,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}
