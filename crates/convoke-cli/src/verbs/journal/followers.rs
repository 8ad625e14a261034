//! `convoke journal followers`: who are the members of a journal, and what each has applied.

use std::process::ExitCode;

use convoke::Name;
use serde::{Deserialize, Serialize};

use crate::arguments::OneJournalArguments;
use crate::exit::Failure;
use crate::join::{with_node, within};
use crate::render;
use crate::signals::Signals;
use crate::table::{Table, moment};
use crate::verbs::list::{FOLLOWERS, JOURNALS, print};

/// What the hub tells about a journal.
#[derive(Deserialize)]
struct Journal {
    members: Vec<Member>,
}

/// A member, as it is told and shown.
#[derive(Serialize, Deserialize)]
struct Member {
    node: String,
    applied: u64,
    #[serde(default)]
    lag: u64,
    /// Since when it has applied so much and no more, in milliseconds since 1970.
    #[serde(default)]
    since_ms: u64,
    #[serde(default)]
    here: bool,
    /// Why it goes no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stuck: Option<String>,
}

pub(super) async fn run(arguments: OneJournalArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let journal = Name::parse(&arguments.journal)?;
    with_node(&arguments.node, signals, async |node| {
        let what = format!("followers of `{journal}`");
        let name = format!("{JOURNALS}{journal}{FOLLOWERS}");
        // It is told as a value, of which who asks for followers need not know.
        let report = within(&arguments.node, &what, node.get_value(name.as_str())).await.map_err(|failure| {
            let message = failure.message.replace(&format!("values of `{name}`"), &what);
            Failure { message, ..failure }
        })?;
        // Of a journal that is not there nobody is a member.
        let members = report.and_then(|report| report.payload.decode::<Journal>().ok()).map(|journal| journal.members);
        let members = members.unwrap_or_default();
        if json {
            print(members.iter().map(render::json))?;
        } else {
            let mut table = Table::new(&["NODE", "APPLIED", "LAG", "SINCE", "HERE"]);
            for Member { node, applied, lag, since_ms, here, stuck } in members {
                let standing = standing(here, stuck);
                table.row([node, applied.to_string(), lag.to_string(), moment(since_ms), standing]);
            }
            table.print()?;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// How a member stands, in a column.
fn standing(here: bool, stuck: Option<String>) -> String {
    match stuck {
        Some(why) => format!("stuck: {why}"),
        None if here => "here".to_owned(),
        None => "away".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_goes_no_further_is_shown_with_the_reason() {
        let told = r#"{"members":[{"node":"ann","applied":1,"lag":1,"here":true,"stuck":"it is too old"},
            {"node":"bob","applied":2,"here":true},{"node":"cai","applied":2,"here":false}]}"#;
        let journal: Journal = serde_json::from_str(told).unwrap();
        let shown = journal.members.into_iter().map(|member| standing(member.here, member.stuck));
        assert_eq!(Vec::from_iter(shown), ["stuck: it is too old", "here", "away"]);
    }
}
