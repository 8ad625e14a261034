//! `convoke status`: what the hub tells about itself.

use std::process::ExitCode;

use convoke::{Code, Node, Value};
use serde_json::{Map, Value as Json};

use crate::arguments::{NodeArguments, StatusArguments};
use crate::exit::{Exit, Failure};
use crate::join::{with_node, within};
use crate::output;
use crate::render;
use crate::signals::Signals;
use crate::table::{Table, moment};

/// When the hub started; people are shown the moment.
const STARTED_MS: &str = "started_ms";

/// From so much of a limit on it is said that it is nearly reached, in hundredths.
const NEARLY: u64 = 80;

pub(crate) async fn run(arguments: StatusArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    with_node(&arguments.node, signals, async |node| {
        let (mut status, limits, master) = told(node, &arguments.node, "status of the hub", "$hub/master").await?;
        let master = master.and_then(|master| master.get("node").cloned());
        status.insert("master".to_owned(), master.unwrap_or(Json::Null));
        if json {
            status.insert("limits".to_owned(), Json::Array(limits));
            let _ = output::say(&render::json(&status))?;
        } else {
            table(status, &limits).print()?;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// What the hub tells of how it is and of its limits, and one value more; of an older hub these may be empty.
///
/// # Errors
///
/// It does not tell how it is, or not within the time that there is.
pub(super) async fn told(
    node: &Node,
    arguments: &NodeArguments,
    what: &str,
    more: &str,
) -> Result<(Map<String, Json>, Vec<Json>, Option<Map<String, Json>>), Failure> {
    let ask = async {
        let told = (node.get_value("$hub/status").await?, node.get_value("$hub/limits").await?);
        Ok((told, node.get_value(more).await?))
    };
    let ((status, limits), more) = within(arguments, what, ask).await?;
    let status = object(status)
        .ok_or_else(|| Failure::new(Exit::Unavailable, Code::Unknown.word(), format!("{what}: it tells none")))?;
    let limits = match limits.and_then(|value| render::json_value(&value.payload)) {
        Some(Json::Array(limits)) => limits,
        _ => Vec::new(),
    };
    Ok((status, limits, object(more)))
}

fn object(value: Option<Value>) -> Option<Map<String, Json>> {
    match value.and_then(|value| render::json_value(&value.payload)) {
        Some(Json::Object(object)) => Some(object),
        _ => None,
    }
}

/// Whatever a hub of this version or another tells, in its own words; then of the limits those of which something is used.
fn table(status: Map<String, Json>, limits: &[Json]) -> Table {
    let mut table = Table::new(&["WHAT", "VALUE"]);
    let limits: Vec<(&str, String, bool)> = limits.iter().filter_map(shown).collect();
    for (key, value) in status {
        if limits.iter().any(|(name, ..)| *name == key) {
            continue;
        }
        let shown = match value {
            Json::String(text) => text,
            Json::Null => String::new(),
            Json::Number(ms) if key == STARTED_MS => moment(ms.as_u64().unwrap_or(0)),
            other => other.to_string(),
        };
        table.row([key.trim_end_matches("_ms").to_owned(), shown]);
    }
    for (name, shown, used) in limits {
        if used {
            table.row([name.to_owned(), shown]);
        }
    }
    table
}

/// A limit as people read it: its name, how much of it is used, and whether anything is.
fn shown(limit: &Json) -> Option<(&str, String, bool)> {
    let (used, most) = (limit.get("used")?.as_u64()?, limit.get("most")?.as_u64()?);
    // That the oldest go, because it is full, is as it should be.
    let rolls = limit.get("excess").is_some_and(|excess| excess == "forgotten");
    let word = match () {
        () if rolls => "",
        () if used >= most => ", full",
        () if u128::from(used) * 100 >= u128::from(most) * u128::from(NEARLY) => ", nearly full",
        () => "",
    };
    Some((limit.get("name")?.as_str()?, format!("{used} of {most}{word}"), used > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_nearly_reached_is_shown_as_that() {
        for (used, most, excess, expected) in [
            (0, 10, "refused", "0 of 10"),
            (79, 100, "refused", "79 of 100"),
            (80, 100, "dropped", "80 of 100, nearly full"),
            (u64::MAX - 1, u64::MAX, "refused", "18446744073709551614 of 18446744073709551615, nearly full"),
            (100, 100, "closed", "100 of 100, full"),
            (120, 100, "dropped", "120 of 100, full"),
            (100, 100, "forgotten", "100 of 100"),
        ] {
            let limit = serde_json::json!({ "name": "links", "used": used, "most": most, "excess": excess });
            assert_eq!(shown(&limit), Some(("links", expected.to_owned(), used > 0)));
        }
        assert_eq!(shown(&serde_json::json!({ "name": "links" })), None);
    }
}
