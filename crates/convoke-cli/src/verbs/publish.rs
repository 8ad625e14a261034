//! `convoke publish`: one event.

use std::process::ExitCode;

use convoke::{Error, Headers, Name, Node, Payload};
use serde::Serialize;

use crate::arguments::PublishArguments;
use crate::exit::Failure;
use crate::join::{with_node, within};
use crate::payload::{self, Given};
use crate::signals::Signals;
use crate::{output, render};

#[derive(Serialize)]
struct Confirmed {
    nodes: u64,
}

pub(crate) async fn run(arguments: PublishArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    // All that can be wrong by itself is refused before the hub is asked for.
    let topic = Name::parse(&arguments.topic)?;
    let headers = payload::headers(&arguments.headers)?;
    let payload = match payload::given(arguments.payload, arguments.raw, signals).await? {
        Given::Payload(payload) => payload,
        Given::Nothing => Payload::default(),
        Given::Signal(signal) => return Ok(signal.exit_code()),
    };
    with_node(&arguments.node, signals, async |node| {
        let what = format!("publish on `{topic}`");
        let nodes = within(&arguments.node, &what, publish(node, &topic, &payload, &headers)).await?;
        if arguments.confirm {
            // A bare number is what a script can use.
            let line = if json { render::json(&Confirmed { nodes }) } else { nodes.to_string() };
            // A reader that has gone needs no answer.
            let _ = output::say(&line)?;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Returns when the hub has the event, with the number of nodes it went to.
async fn publish(node: &Node, topic: &Name, payload: &Payload, headers: &Headers) -> Result<u64, Error> {
    node.publish_payload(topic.as_str(), payload, headers).await?;
    node.confirm().await
}
