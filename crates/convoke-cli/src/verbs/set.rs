//! `convoke set`: one value, or all that there are of a pattern.

use std::process::ExitCode;

use convoke::{Expect, Name, Node, Pattern, Payload, Rev, SetOptions};
use serde::Serialize;

use crate::arguments::{NodeArguments, SetArguments};
use crate::exit::Failure;
use crate::join::{done_within, ended, with_node};
use crate::output;
use crate::payload::{self, Given};
use crate::render;
use crate::signals::Signals;

/// A value that was set, or deleted.
#[derive(Serialize)]
struct Changed<'a> {
    name: &'a str,
    /// As text: one in memory is no number.
    rev: String,
}

/// How many values were set, or deleted.
#[derive(Serialize)]
struct Counted {
    count: u64,
}

/// Prints the revision that a change has made.
pub(super) fn say_changed(name: &Name, rev: Rev, json: bool) -> Result<(), Failure> {
    let rev = rev.to_string();
    let line = if json { render::json(&Changed { name: name.as_str(), rev }) } else { rev };
    // A reader that has gone needs no answer.
    output::say(&line).map(|_| ())
}

/// Prints how many values were changed.
pub(super) fn say_count(count: u64, json: bool) -> Result<(), Failure> {
    let line = if json { render::json(&Counted { count }) } else { count.to_string() };
    output::say(&line).map(|_| ())
}

pub(crate) async fn run(arguments: SetArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    // All that can be wrong by itself is refused before the hub is asked for.
    let pattern = match arguments.existing {
        true => Pattern::parse(&arguments.key)?,
        false => Pattern::from(Name::parse(&arguments.key)?),
    };
    let payload = match payload::given(arguments.payload.payload, arguments.payload.raw, signals).await? {
        Given::Payload(payload) => payload,
        Given::Nothing => {
            return Err(Failure::usage("a payload is missing: write JSON or text behind the name, or --raw FILE"));
        }
        Given::Signal(signal) => return Ok(signal.exit_code()),
    };
    let expect = match arguments.if_rev {
        Some(rev) => Expect::Rev(rev),
        None if arguments.create => Expect::Absent,
        None => Expect::Anything,
    };
    let options = SetOptions { expect, ttl: arguments.ttl, ephemeral: arguments.ephemeral };
    with_node(&arguments.node, signals, async |node| {
        match pattern.as_name().filter(|_| !arguments.existing) {
            Some(name) => set(node, &arguments.node, &name, payload, options, json).await?,
            None => {
                let what = format!("set of `{pattern}`");
                let done = node.set_every_payload(pattern.as_str(), payload);
                say_count(done_within(&arguments.node, &what, done).await?, json)?;
            }
        }
        if arguments.ephemeral {
            return Err(ended(node).await);
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn set(
    node: &Node,
    arguments: &NodeArguments,
    name: &Name,
    payload: Payload,
    options: SetOptions,
    json: bool,
) -> Result<(), Failure> {
    let what = format!("set of `{name}`");
    let rev = done_within(arguments, &what, node.set_payload(name.as_str(), payload, options)).await?;
    say_changed(name, rev, json)
}
