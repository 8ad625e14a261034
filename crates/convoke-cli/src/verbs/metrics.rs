//! `convoke metrics`: all that the hub counts and bounds, for Prometheus.

use std::process::ExitCode;

use serde_json::{Map, Value as Json, json};

use super::list::{Report, UPLINKS, reports};
use super::status::told;
use crate::arguments::MetricsArguments;
use crate::exit::Failure;
use crate::exposition::{Family, Told, families, text};
use crate::join::with_node;
use crate::output::Output;
use crate::render;
use crate::signals::Signals;

pub(crate) async fn run(arguments: MetricsArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    with_node(&arguments.node, signals, async |node| {
        let (status, limits, counters) = told(node, &arguments.node, "metrics of the hub", "$hub/counters").await?;
        // Who may not read them, or asks an older hub, gets the others.
        let uplinks = reports(node, &arguments.node, UPLINKS).await.unwrap_or_default();
        let uplinks = uplinks.into_iter().map(Report::into_json).collect();
        let families = families(&Told { status, limits, counters: counters.unwrap_or_default(), uplinks });
        let mut output = Output::default();
        if json {
            for family in &families {
                for line in lines(family) {
                    // Who reads no more has what it wanted.
                    let _ = output.line(&line)?;
                }
            }
        } else {
            let _ = output.bytes(text(&families).as_bytes())?;
        }
        output.flush().map(|_| ExitCode::SUCCESS)
    })
    .await
}

/// Each number as an object.
fn lines(family: &Family) -> impl Iterator<Item = String> {
    family.samples.iter().map(|sample| {
        let labels: Map<String, Json> =
            sample.labels.iter().map(|(label, text)| ((*label).to_owned(), text.clone().into())).collect();
        let value: Json = serde_json::from_str(&sample.value).unwrap_or(Json::Null);
        render::json(&json!({ "name": family.name, "type": family.kind.word(), "labels": labels, "value": value }))
    })
}
