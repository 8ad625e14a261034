//! `convoke status`: what the hub tells about itself.

use std::process::ExitCode;

use convoke::{Code, Value};
use serde_json::{Map, Value as Json};

use crate::arguments::StatusArguments;
use crate::exit::{Exit, Failure};
use crate::join::{with_node, within};
use crate::output;
use crate::render;
use crate::signals::Signals;
use crate::table::{Table, moment};

/// When the hub started; people are shown the moment.
const STARTED_MS: &str = "started_ms";

pub(crate) async fn run(arguments: StatusArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    with_node(&arguments.node, signals, async |node| {
        let ask = async { Ok((node.get_value("$hub/status").await?, node.get_value("$hub/master").await?)) };
        let (status, master) = within(&arguments.node, "status of the hub", ask).await?;
        let mut status = object(status)
            .ok_or_else(|| Failure::new(Exit::Unavailable, Code::Unknown.word(), "status of the hub: it tells none"))?;
        let master = object(master).and_then(|master| master.get("node").cloned());
        status.insert("master".to_owned(), master.unwrap_or(Json::Null));
        if json {
            let _ = output::say(&render::json(&status))?;
        } else {
            table(status).print()?;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

fn object(value: Option<Value>) -> Option<Map<String, Json>> {
    match value.and_then(|value| render::json_value(&value.payload)) {
        Some(Json::Object(object)) => Some(object),
        _ => None,
    }
}

/// Whatever a hub of this version or another tells, in its own words.
fn table(status: Map<String, Json>) -> Table {
    let mut table = Table::new(&["WHAT", "VALUE"]);
    for (key, value) in status {
        let shown = match value {
            Json::String(text) => text,
            Json::Null => String::new(),
            Json::Number(ms) if key == STARTED_MS => moment(ms.as_u64().unwrap_or(0)),
            other => other.to_string(),
        };
        table.row([key.trim_end_matches("_ms").to_owned(), shown]);
    }
    table
}
