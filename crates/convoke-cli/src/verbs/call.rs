//! `convoke call`: one call of a service, or one of everybody who offers it.

use std::io::{self, Write};
use std::process::ExitCode;

use convoke::{CallOptions, Code, Error, Name, Node, Outcome, Payload};
use serde::Serialize;

use crate::arguments::CallArguments;
use crate::exit::{Exit, Failure};
use crate::join::{MOMENT, patience, with_node};
use crate::output::{self, Output, Reader};
use crate::payload::{self, Given};
use crate::screen::progress::{Progress, Unit};
use crate::signals::Signals;
use crate::{duration, render};

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
    let timeout = patience(&arguments.node);
    if timeout > CallOptions::TIMEOUT_MAX {
        return Err(Failure::usage("a call takes at most 1h: give a shorter time with --timeout"));
    }
    let payload = match payload::given(arguments.payload.payload, arguments.payload.raw, signals).await? {
        Given::Payload(payload) => payload,
        Given::Nothing => Payload::default(),
        Given::Signal(signal) => return Ok(signal.exit_code()),
    };
    let options = CallOptions {
        select: arguments.select.map(Into::into).unwrap_or_default(),
        timeout: Some(timeout),
        wait_for_provider: arguments.wait,
        headers,
    };
    // The hub ends a call when its time is over, and knows more of it.
    let limit = patience(&arguments.node) + MOMENT;
    with_node(&arguments.node, signals, async |node| {
        let progress = Progress::of(format!("call of `{service}`"), Unit::Time);
        if arguments.all {
            return call_all(node, &service, payload, options, json, progress).await;
        }
        let reply = node.call_payload(service.as_str(), payload, options);
        let Ok(reply) = tokio::time::timeout(limit, reply).await else {
            let time = duration::shown(patience(&arguments.node));
            let message = format!("call of `{service}`: the hub has not answered within {time}; {MAY_BE_DONE}");
            return Err(Failure::new(Exit::Unavailable, Code::TimedOut.word(), message));
        };
        drop(progress);
        let reply = reply.map_err(|error| Failure { message: sentence(&error), ..Failure::from(error) })?;
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

/// What is known of a call whose end nobody has told.
const MAY_BE_DONE: &str = "it may have been done all the same";

/// An error, with what is known of the call.
fn sentence(error: &Error) -> String {
    match error.outcome() {
        Outcome::Indeterminate => format!("{error}; {MAY_BE_DONE}"),
        _ => error.to_string(),
    }
}

async fn call_all(
    node: &Node,
    service: &Name,
    payload: Payload,
    options: CallOptions,
    json: bool,
    progress: Progress,
) -> Result<ExitCode, Failure> {
    let mut answers = node.call_all_payload(service.as_str(), payload, options).await?;
    drop(progress);
    if answers.is_empty() {
        let message = format!("call of `{service}`: nobody offers it");
        return Err(Failure::new(Exit::Unavailable, Code::NoProvider.word(), message));
    }
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

/// Tells what became of one call of several: in line where a program reads, on stderr where a person does.
fn not_answered(node: &str, error: &Error, output: &mut Output, json: bool) -> Result<Reader, Failure> {
    let (kind, message) = (error.code().word(), sentence(error));
    if json {
        return output.line(&render::json(&NotAnswered { node, error: Why { kind, message: &message } }));
    }
    let reader = output.flush()?;
    let _ = writeln!(io::stderr(), "{} error: {}", render::escaped(node), render::escaped(&message));
    Ok(reader)
}
