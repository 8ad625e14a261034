//! `convoke delete`: one value, or all of a pattern.

use std::process::ExitCode;

use convoke::{Expect, Pattern, Rev};

use super::get::no_value;
use super::set::{say_changed, say_count};
use crate::arguments::DeleteArguments;
use crate::exit::Failure;
use crate::join::{done_within, with_node};
use crate::signals::Signals;

pub(crate) async fn run(arguments: DeleteArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let pattern = Pattern::parse(&arguments.pattern)?;
    let name = pattern.as_name();
    if name.is_none() && arguments.if_rev.is_some() {
        return Err(Failure::usage(format!("`{pattern}` is a pattern, and --if-rev is for one value")));
    }
    let expect = arguments.if_rev.map_or(Expect::Anything, Expect::Rev);
    with_node(&arguments.node, signals, async |node| {
        let what = format!("delete of `{pattern}`");
        match &name {
            Some(name) => {
                let change = node.batch().delete_with(name.as_str(), expect)?;
                let rev = done_within(&arguments.node, &what, change.commit()).await?;
                if rev == Rev::default() {
                    return Err(no_value(&what));
                }
                say_changed(name, rev, json)?;
            }
            None => say_count(done_within(&arguments.node, &what, node.delete_every(pattern.as_str())).await?, json)?,
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}
