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
        let (principal, author) = principal(node, &arguments, &who).await?;
        let rights = match principal.as_str() {
            ADMIN => Rights::everything(),
            _ => rights(node, &arguments, &principal, &who, &author).await?,
        };
        if verb == Verb::Author && (name == who || name == principal) {
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
            Verdict::Allowed(rule) => (true, Some(rule), format!("allowed by `{rule}` of `{principal}`")),
            Verdict::Denied(rule) => (false, Some(rule), format!("denied by `{rule}` of `{principal}`")),
            Verdict::Unruled => {
                (false, None, format!("not allowed: no rule of `{principal}` allows `{} {name}`", verb.word()))
            }
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

/// Who this node has proved to be, and its author; if it is not joined, the token of its name.
async fn principal(node: &Node, arguments: &ExplainAllowArguments, who: &Name) -> Result<(Name, Name), Failure> {
    let what = format!("explain `{who}`");
    let report = within(&arguments.node, &what, node.get_value(format!("{NODES}{who}"))).await?;
    match report.and_then(|report| report.payload.decode::<Report>().ok()) {
        Some(Report { principal, author }) => Ok((Name::parse(&principal)?, Name::parse(&author)?)),
        None => Ok((who.clone(), who.clone())),
    }
}

async fn rights(
    node: &Node,
    arguments: &ExplainAllowArguments,
    principal: &Name,
    who: &Name,
    author: &Name,
) -> Result<Rights, Failure> {
    let Some(report) = token::report(node, &arguments.node, principal).await? else {
        let message = format!("explain `{who}`: there is neither such a node nor such a token");
        return Err(Failure::new(Exit::Unavailable, Code::NoNode.word(), message));
    };
    let rules: Result<Vec<Rule>, _> = report.rules.iter().map(|rule| rule.parse::<Rule>()).collect();
    let rules = rules.map_err(|error| Failure::new(Exit::Data, Code::Unknown.word(), error.to_string()))?;
    Ok(Rights::new(&rules, who, author))
}
