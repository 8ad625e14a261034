//! `convoke token`: who may join, and what they may do.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use convoke::{Code, Name, Node, Rule, Token, Verb};
use serde::{Deserialize, Serialize};

use super::list::{TOKENS, print};
use crate::arguments::{
    ChangeTokenArguments, CreateTokenArguments, ListTokensArguments, NodeArguments, RevokeTokenArguments,
    RotateTokenArguments, RuleArguments, ShowTokenArguments, TokenArguments, TokenVerb,
};
use crate::exit::{Exit, Failure, reason};
use crate::join::{done_within, with_node, within};
use crate::output::{self, Reader};
use crate::render;
use crate::signals::Signals;
use crate::table::{Table, moment};

/// How many rules a hub takes for a token.
const RULES_MAX: usize = 64;

/// What the hub tells about a token.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) rules: Vec<String>,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    since_ms: u64,
}

/// A token as `--json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    rules: &'a [String],
    secret: bool,
    since_ms: u64,
}

/// Where a secret was written.
#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    file: String,
}

pub(crate) async fn run(arguments: TokenArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    match arguments.what {
        TokenVerb::Create(arguments) => create(arguments, json, signals).await,
        TokenVerb::List(arguments) => list(arguments, json, signals).await,
        TokenVerb::Show(arguments) => show(arguments, json, signals).await,
        TokenVerb::Change(arguments) => change(arguments, signals).await,
        TokenVerb::Rotate(arguments) => rotate(arguments, json, signals).await,
        TokenVerb::Revoke(arguments) => revoke(arguments, signals).await,
    }
}

async fn create(arguments: CreateTokenArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let name = Name::parse(&arguments.name)?;
    let rules = rules(&name, &arguments.rules)?;
    let what = format!("token `{name}`");
    if arguments.no_secret {
        return with_node(&arguments.node, signals, async |node| {
            done_within(&arguments.node, &what, node.create_certificate_rights(&name, &rules)).await?;
            Ok(ExitCode::SUCCESS)
        })
        .await;
    }
    let out = Out::of(arguments.out, &name)?;
    let done = with_node(&arguments.node, signals, async |node| {
        let token = done_within(&arguments.node, &what, node.create_token(&name, &rules)).await?;
        if let Err(failure) = out.write(&token, json) {
            // A secret that nobody has is of no use.
            let _ = within(&arguments.node, &what, node.revoke_token(&name)).await;
            return Err(failure);
        }
        Ok(ExitCode::SUCCESS)
    });
    let done = done.await;
    if done.as_ref().map_or(true, |code| *code != ExitCode::SUCCESS) {
        out.discard();
    }
    done
}

async fn rotate(arguments: RotateTokenArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let name = Name::parse(&arguments.name)?;
    let out = Out::of(arguments.out, &name)?;
    let done = with_node(&arguments.node, signals, async |node| {
        let what = format!("token `{name}`");
        let token = done_within(&arguments.node, &what, node.rotate_token(&name)).await.map_err(none_of_this_name)?;
        out.write(&token, json)?;
        Ok(ExitCode::SUCCESS)
    });
    let done = done.await;
    if done.as_ref().map_or(true, |code| *code != ExitCode::SUCCESS) {
        out.discard();
    }
    done
}

async fn change(arguments: ChangeTokenArguments, signals: &Signals) -> Result<ExitCode, Failure> {
    let name = Name::parse(&arguments.name)?;
    if arguments.rules.allow.is_empty() && arguments.rules.deny.is_empty() {
        return Err(Failure::usage("say what the token may do from now on, with --allow and --deny"));
    }
    let rules = rules(&name, &arguments.rules)?;
    with_node(&arguments.node, signals, async |node| {
        let what = format!("token `{name}`");
        done_within(&arguments.node, &what, node.set_token_rules(&name, &rules)).await.map_err(none_of_this_name)?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn revoke(arguments: RevokeTokenArguments, signals: &Signals) -> Result<ExitCode, Failure> {
    let name = Name::parse(&arguments.name)?;
    with_node(&arguments.node, signals, async |node| {
        let what = format!("token `{name}`");
        done_within(&arguments.node, &what, node.revoke_token(&name)).await.map_err(none_of_this_name)?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn list(arguments: ListTokensArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    with_node(&arguments.node, signals, async |node| {
        let values = within(&arguments.node, "list of tokens", node.values(format!("{TOKENS}#"))).await?;
        let tokens = values.iter().filter_map(|value| {
            let name = value.name.as_str().strip_prefix(TOKENS)?;
            Some((name, value.payload.decode::<Report>().ok()?))
        });
        if json {
            print(tokens.map(|(name, report)| line(name, &report)))?;
        } else {
            let mut table = Table::new(&["TOKEN", "SINCE", "RULES", "PROVED BY"]);
            for (name, Report { rules, secret, since_ms }) in tokens {
                let proof = if secret { "secret" } else { "certificate" };
                table.row([name.to_owned(), moment(since_ms), rules.len().to_string(), proof.to_owned()]);
            }
            table.print()?;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn show(arguments: ShowTokenArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let name = Name::parse(&arguments.name)?;
    with_node(&arguments.node, signals, async |node| {
        let Some(report) = report(node, &arguments.node, &name).await? else {
            return Err(no_token(format!("token `{name}`: there is none of this name")));
        };
        match json {
            true => print([line(name.as_str(), &report)])?,
            false => print(report.rules.iter().map(|rule| render::escaped(rule).into_owned()))?,
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// What a script is told of a token that is not there, whatever was to be done with it.
fn no_token(message: String) -> Failure {
    Failure::new(Exit::Unavailable, "NoToken", format!("{message}; `convoke token list` shows those that there are"))
}

/// A failure to change what there is; that it is not as it was expected to be can only mean that there is none.
fn none_of_this_name(failure: Failure) -> Failure {
    if failure.kind == Code::Conflict.word() { no_token(failure.message) } else { failure }
}

/// What the hub tells about the token of this name.
pub(super) async fn report(node: &Node, arguments: &NodeArguments, name: &Name) -> Result<Option<Report>, Failure> {
    let report = within(arguments, &format!("token `{name}`"), node.get_value(format!("{TOKENS}{name}"))).await?;
    Ok(report.and_then(|report| report.payload.decode().ok()))
}

fn line(name: &str, report: &Report) -> String {
    let Report { rules, secret, since_ms } = report;
    render::json(&Shown { name, rules, secret: *secret, since_ms: *since_ms })
}

/// The rules that were given, and the one that goes without saying: as what it may join.
fn rules(name: &Name, given: &RuleArguments) -> Result<Vec<Rule>, Failure> {
    let parsed = |text: &String| text.parse::<Rule>().map_err(|error| Failure::usage(error.to_string()));
    let mut rules = Vec::new();
    for text in &given.allow {
        let rule = parsed(text)?;
        if rule.is_deny() {
            return Err(Failure::usage(format!("--allow `{text}` denies; use --deny")));
        }
        rules.push(rule);
    }
    // `all data/#` is not meant to say how a node is called.
    let says_join = |rule: &Rule| rule.is_about(Verb::Join) && !rule.is_about(Verb::Administer);
    if !rules.iter().any(says_join) {
        rules.push(parsed(&format!("join {name}/#"))?);
    }
    for text in &given.deny {
        rules.push(parsed(text)?.denied());
    }
    if rules.len() > RULES_MAX {
        let without = if rules.len() > given.allow.len() + given.deny.len() {
            format!(", with the rule `join {name}/#` that is added where none says `join`")
        } else {
            String::new()
        };
        let message =
            format!("token `{name}`: these are {} rules{without}, and it has at most {RULES_MAX}", rules.len());
        return Err(Failure::usage(message));
    }
    Ok(rules)
}

/// Where a secret goes.
enum Out {
    Stdout,
    /// A new file of its owner's alone, which is there before anything is asked for: a secret that cannot be written is lost.
    File(PathBuf, File),
}

impl Out {
    fn of(given: Option<PathBuf>, name: &Name) -> Result<Out, Failure> {
        let path = match given {
            Some(path) if path == Path::new("-") => return Ok(Out::Stdout),
            Some(path) => path,
            None => PathBuf::from(format!("{}.token", name.as_str().replace('/', "-"))),
        };
        let file = File::options().create_new(true).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| {
            let message = match error.kind() {
                ErrorKind::AlreadyExists => {
                    format!("the file `{}` is there already; choose another with --out", path.display())
                }
                ErrorKind::InvalidFilename => {
                    format!(
                        "token `{name}`: a file cannot have so long a name as `{}`; choose one with --out",
                        path.display()
                    )
                }
                _ => format!("the file `{}` cannot be made: {}", path.display(), reason(&error)),
            };
            Failure::new(Exit::CannotCreate, "CannotCreate", message)
        })?;
        Ok(Out::File(path, file))
    }

    /// Nothing is to be written after all.
    fn discard(&self) {
        if let Out::File(path, _) = self {
            let _ = fs::remove_file(path);
        }
    }

    fn write(&self, token: &Token, json: bool) -> Result<(), Failure> {
        let (path, mut file) = match self {
            Out::Stdout => {
                return match output::say(&token.reveal())? {
                    Reader::Gone => {
                        Err(Failure::new(Exit::InputOutput, "CannotWrite", "nobody reads the token on stdout"))
                    }
                    _ => Ok(()),
                };
            }
            Out::File(path, file) => (path, file),
        };
        let shown = path.display().to_string();
        let written = file.write_all(format!("{}\n", token.reveal()).as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| Failure::write(&format!("the file `{shown}`"), &error))?;
        let name = token.name().as_str();
        let line = match json {
            true => render::json(&Written { name, file: shown }),
            false => render::escaped(&shown).into_owned(),
        };
        // The secret is where it belongs; who does not want to read where need not.
        let _ = output::say(&line);
        Ok(())
    }
}
