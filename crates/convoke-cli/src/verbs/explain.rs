//! `convoke explain`: why the hub allows something, or does not.

use std::process::ExitCode;

use convoke::{Code, Name, Node, Rights, Rule, Verb, Verdict};
use serde::{Deserialize, Serialize};

use super::list::NODES;
use super::token;
use crate::arguments::{ExplainAllowArguments, ExplainArguments, ExplainVerb};
use crate::exit::{Exit, Failure};
use crate::join::{with_node, within};
use crate::output;
use crate::render;
use crate::signals::Signals;

/// The principal of the hub's own user.
const ADMIN: &str = "admin";

/// Who a node has proved to be.
#[derive(Deserialize)]
struct Report {
    principal: String,
    author: String,
}

/// The answer as `--json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    allowed: bool,
    principal: &'a str,
    /// The rule that decides, if one does.
    rule: Option<String>,
}

pub(crate) async fn run(arguments: ExplainArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let ExplainVerb::Allow(arguments) = arguments.what;
    let (who, name) = (Name::parse(&arguments.who)?, Name::parse(&arguments.name)?);
    let verb = Verb::ALL.iter().copied().find(|verb| verb.word() == arguments.verb).ok_or_else(|| {
        let words: Vec<&str> = Verb::ALL.iter().map(|verb| verb.word()).collect();
        Failure::usage(format!("`{}` is no verb of rights; there are {}", arguments.verb, words.join(", ")))
    })?;
    with_node(&arguments.node, signals, async |node| {
        // Who asks to join under a name is the node of that name then.
        let joining = (verb == Verb::Join && arguments.as_node.is_none()).then_some(&name);
        let asked = asked(node, &arguments, &who, joining).await?;
        let Asked { principal, .. } = &asked;
        let (rights, depends) = match principal.as_str() {
            ADMIN => (Rights::everything(), false),
            _ => rights(node, &arguments, &who, &asked).await?,
        };
        // Which node it is counts only where rules say so.
        let supposed = match depends && !asked.joined {
            true => format!(", as node `{}` with author `{}`", asked.node, asked.author),
            false => String::new(),
        };
        // Who could not even join like that may do nothing.
        let (verb, name) = asked.hindered(&rights).unwrap_or((verb, name.clone()));
        if verb == Verb::Author && (name == asked.node || name == *principal) {
            let line = match json {
                true => render::json(&Shown { allowed: true, principal: principal.as_str(), rule: None }),
                false => format!("allowed: a node may name itself and its token, `{principal}`, as author"),
            };
            let _ = output::say(&line)?;
            return Ok(ExitCode::SUCCESS);
        }
        let verdict = rights.judge(verb, name.as_str());
        let (allowed, rule, why) = match verdict {
            Verdict::Allowed(_) if principal.as_str() == ADMIN => {
                (true, None, format!("allowed: `{who}` has joined as `{ADMIN}`, who may do everything"))
            }
            Verdict::Allowed(rule) => (true, Some(rule), format!("allowed by `{rule}` of `{principal}`{supposed}")),
            Verdict::Denied(rule) => (false, Some(rule), format!("denied by `{rule}` of `{principal}`{supposed}")),
            Verdict::Unruled => (
                false,
                None,
                format!("not allowed: no rule of `{principal}` allows `{} {name}`{supposed}", verb.word()),
            ),
            Verdict::Reserved => (false, None, "not allowed: names that begin with `$` are the hub's own".to_owned()),
        };
        let line = match json {
            true => render::json(&Shown { allowed, principal: principal.as_str(), rule: rule.map(Rule::to_string) }),
            false => render::escaped(&why).into_owned(),
        };
        let _ = output::say(&line)?;
        Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::from(Exit::Rights as u8) })
    })
    .await
}

/// Whose rights are asked for.
struct Asked {
    principal: Name,
    node: Name,
    author: Name,
    /// It is a node that is joined, and not one that is supposed.
    joined: bool,
}

impl Asked {
    /// What a node that is only supposed would have to be allowed first, and is not.
    fn hindered(&self, rights: &Rights) -> Option<(Verb, Name)> {
        if self.joined {
            return None;
        }
        let (as_node, as_author) =
            (self.node != self.principal, self.author != self.node && self.author != self.principal);
        let needed = [(as_node, Verb::Join, &self.node), (as_author, Verb::Author, &self.author)];
        let allowed = |verb, name: &Name| matches!(rights.judge(verb, name.as_str()), Verdict::Allowed(_));
        let hindered = needed.into_iter().find(|(needed, verb, name)| *needed && !allowed(*verb, name));
        hindered.map(|(_, verb, name)| (verb, name.clone()))
    }
}

/// Who a node has proved to be, and its author; if it is not joined, or is only supposed, the token of its name.
async fn asked(
    node: &Node,
    arguments: &ExplainAllowArguments,
    who: &Name,
    joining: Option<&Name>,
) -> Result<Asked, Failure> {
    let given = |name: &Option<String>| name.as_deref().map(Name::parse).transpose();
    let (as_node, as_author) = (given(&arguments.as_node)?, given(&arguments.as_author)?);
    if as_node.is_none() && as_author.is_none() {
        let what = format!("explain `{who}`");
        let report = within(&arguments.node, &what, node.get_value(format!("{NODES}{who}"))).await?;
        if let Some(Report { principal, author }) = report.and_then(|report| report.payload.decode().ok()) {
            let (principal, author) = (Name::parse(&principal)?, Name::parse(&author)?);
            return Ok(Asked { principal, node: who.clone(), author, joined: true });
        }
    }
    let supposed = |name: Option<Name>| name.unwrap_or_else(|| who.clone());
    Ok(Asked {
        principal: who.clone(),
        node: supposed(as_node.or_else(|| joining.cloned())),
        author: supposed(as_author),
        joined: false,
    })
}

/// The rights, and whether they depend on which node it is or who its author is.
async fn rights(
    node: &Node,
    arguments: &ExplainAllowArguments,
    who: &Name,
    asked: &Asked,
) -> Result<(Rights, bool), Failure> {
    let Some(report) = token::report(node, &arguments.node, &asked.principal).await? else {
        let message = match (&arguments.as_node, &arguments.as_author) {
            (None, None) => format!("explain `{who}`: there is neither such a node nor such a token"),
            _ => format!("explain `{who}`: there is no such token, of which --as-node and --as-author could speak"),
        };
        return Err(Failure::new(Exit::Unavailable, Code::NoNode.word(), message));
    };
    let rules: Result<Vec<Rule>, _> = report.rules.iter().map(|rule| rule.parse::<Rule>()).collect();
    let rules = rules.map_err(|error| Failure::new(Exit::Data, Code::Unknown.word(), error.to_string()))?;
    let depends = report.rules.iter().any(|rule| rule.contains("%node") || rule.contains("%author"));
    Ok((Rights::new(&rules, &asked.node, &asked.author), depends))
}
