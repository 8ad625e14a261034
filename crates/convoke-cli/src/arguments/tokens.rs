//! The options of the verbs about who may do what.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::NodeArguments;

#[derive(Args, Debug)]
#[command(after_help = "\
Tokens are made and changed by who may `administer`: the user of the hub on its Unix socket, or who has its admin token. \
A change is in force at once: programs that joined with the token come back with the rights that they have then.

Examples:
  convoke token create cam --allow 'publish cam/#' --allow 'watch recipe/#' --deny 'publish cam/secret'
  convoke subscribe '#' --token-file cam.token
  convoke token list
  convoke explain allow cam publish cam/1/image")]
pub(crate) struct TokenArguments {
    #[command(subcommand)]
    pub(crate) what: TokenVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token, and write its secret to a file
    Create(CreateTokenArguments),
    /// List the tokens that there are
    List(ListTokensArguments),
    /// Print the rules of a token
    Show(ShowTokenArguments),
    /// Give a token other rules, in the place of those that it has
    Change(ChangeTokenArguments),
    /// Give a token a new secret; the old one is worth nothing any more
    Rotate(RotateTokenArguments),
    /// Take a token away, with all its rights
    Revoke(RevokeTokenArguments),
}

/// Rules, as they are given.
#[derive(Args, Debug)]
pub(crate) struct RuleArguments {
    /// What it may do: verbs and a pattern; may be given several times
    #[arg(long, value_name = "RULE")]
    pub(crate) allow: Vec<String>,

    /// What it may not do, whatever --allow says; may be given several times
    #[arg(long, value_name = "RULE")]
    pub(crate) deny: Vec<String>,
}

const RULES_HELP: &str = "\
A rule is verbs with commas between them, and a pattern: `publish,subscribe cam/#`. The verbs: publish, subscribe; get, \
watch, set, delete; serve, call; execute, undo, follow, snapshot (journals); join (as a node of such a name), author (in \
whose name, besides those of the node and the token), uplink (join as a link of another hub), status (what the hub tells \
under `$hub/`; needs no pattern), administer (make and change tokens; needs no pattern), all. In a pattern `%node` stands \
for the name of the node, `%author` for its author. What no rule allows is forbidden.

Unless a rule says otherwise, a token NAME may join as NAME and as NAME/….";

#[derive(Args, Debug)]
#[command(after_help = format!("{RULES_HELP}

Examples:
  convoke token create cam --allow 'publish cam/#'
  convoke token create panel --allow 'all #' --deny 'set,delete recipe/#' --out ~/panel.token
  convoke token create lab --allow 'join lab/+' --allow 'all lab/%node/#' --allow status"))]
pub(crate) struct CreateTokenArguments {
    /// The name of the token
    #[arg(id = "of", value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) rules: RuleArguments,

    /// Write the token to this file, which only its owner can read; `-` for stdout [default: NAME.token]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Without a secret: for who has a client certificate of this name
    #[arg(long, conflicts_with = "out")]
    pub(crate) no_secret: bool,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = format!("{RULES_HELP}

Example:
  convoke token change cam --allow 'publish cam/#' --allow 'watch recipe/#'"))]
pub(crate) struct ChangeTokenArguments {
    /// The name of the token
    #[arg(id = "of", value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) rules: RuleArguments,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A line for each: its name, when it was made, how many rules it has, and how it is proved.

Example:
  convoke token list")]
pub(crate) struct ListTokensArguments {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A line for each rule. The secret is not known to the hub.

Example:
  convoke token show cam")]
pub(crate) struct ShowTokenArguments {
    /// The name of the token
    #[arg(id = "of", value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Programs that have joined with the old secret are out at once.

Example:
  convoke token rotate cam --out cam-2.token")]
pub(crate) struct RotateTokenArguments {
    /// The name of the token
    #[arg(id = "of", value_name = "NAME")]
    pub(crate) name: String,

    /// Write the token to this file, which only its owner can read; `-` for stdout [default: NAME.token]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Programs that have joined with it are out at once.

Example:
  convoke token revoke cam")]
pub(crate) struct RevokeTokenArguments {
    /// The name of the token
    #[arg(id = "of", value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  convoke explain allow cam publish cam/1/image")]
pub(crate) struct ExplainArguments {
    #[command(subcommand)]
    pub(crate) what: ExplainVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExplainVerb {
    /// Say whether a node may do something, and which rule decides
    Allow(ExplainAllowArguments),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Exit code 0 if it is allowed, 77 if not. NODE is a node that is joined, or else a token: then the answer is that for a node \
of its name, with its name as author, unless --as-node or --as-author say otherwise. That makes a difference where rules \
speak of `%node` or `%author`.

Examples:
  convoke explain allow cam publish cam/1/image
  convoke explain allow lab set lab/press-1/force --as-node lab/press-1")]
pub(crate) struct ExplainAllowArguments {
    /// Who wants to do it
    #[arg(value_name = "NODE")]
    pub(crate) who: String,

    /// What: publish, subscribe, get, watch, set, delete, serve, call, join, author, status, uplink or administer
    #[arg(value_name = "VERB")]
    pub(crate) verb: String,

    /// On which name
    #[arg(id = "of", value_name = "NAME")]
    pub(crate) name: String,

    /// NODE is a token, and this the node that joins with it [default: a node of the token's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) as_node: Option<String>,

    /// NODE is a token, and this the author of what is done with it [default: the token's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) as_author: Option<String>,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}
