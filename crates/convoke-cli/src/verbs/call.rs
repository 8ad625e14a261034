//! `convoke call`: one call of a service, or one of everybody who offers it.

use std::io::{self, Write};
use std::process::ExitCode;

use convoke::{CallOptions, Error, Name, Node, Payload};
use serde::Serialize;

use crate::arguments::{CallArguments, NodeArguments};
use crate::exit::{Exit, Failure};
use crate::join::{patience, with_node};
use crate::output::{self, Output, Reader};
use crate::payload::{self, Given};
use crate::render;
use crate::signals::Signals;

/// That a node has not answered, as `--json` shows it.
#[derive(Serialize)]
struct NotAnswered<'a> {
    node: &'a str,
    error: Why<'a>,
}

#[derive(Serialize)]
struct Why<'a> {
    kind: &'a str,
    message: &'a str,
}

pub(crate) async fn run(arguments: CallArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    // All that can be wrong by itself is refused before the hub is asked for.
    let service = Name::parse(&arguments.service)?;
    let headers = payload::headers(&arguments.headers)?;
    let payload = match payload::given(arguments.payload.payload, arguments.payload.raw, signals).await? {
        Given::Payload(payload) => payload,
        Given::Nothing => Payload::default(),
        Given::Signal(signal) => return Ok(signal.exit_code()),
    };
    let options = CallOptions {
        select: arguments.select.map(Into::into).unwrap_or_default(),
        timeout: patience(&arguments.node),
        wait_for_provider: arguments.wait,
        headers,
        ..CallOptions::default()
    };
    with_node(&arguments.node, signals, async |node| {
        if arguments.all {
            return call_all(node, &service, payload, options, json).await;
        }
        let reply = node.call_payload(service.as_str(), payload, options).await?;
        if arguments.raw_reply {
            let mut output = Output::default();
            let _ = output.bytes(&reply.bytes)?;
            let _ = output.flush()?;
        } else {
            let line = if json { render::reply_json(None, &reply) } else { render::alone(&reply) };
            let _ = output::say(&line)?;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn call_all(
    node: &Node,
    service: &Name,
    payload: Payload,
    options: CallOptions,
    json: bool,
) -> Result<ExitCode, Failure> {
    let mut answers = node.call_all_payload(service.as_str(), payload, options).await?;
    answers.sort_by(|one, other| one.0.cmp(&other.0));
    let (mut output, mut failed) = (Output::default(), 0);
    for (node, answer) in &answers {
        let node = node.as_str();
        let reader = match answer {
            Ok(reply) if json => output.line(&render::reply_json(Some(node), reply))?,
            Ok(reply) => output.line(&render::named(node, reply))?,
            Err(error) => {
                failed += 1;
                not_answered(node, error, &mut output, json)?
            }
        };
        if reader == Reader::Gone {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let _ = output.flush()?;
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let message = format!("call of `{service}`: {failed} of {} providers have not done it", answers.len());
    Err(Failure::new(Exit::Unavailable, "NotAll", message))
}
