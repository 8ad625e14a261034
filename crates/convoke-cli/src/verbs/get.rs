//! `convoke get`: values as they are now.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use convoke::{Pattern, Value, tree_of};

use crate::arguments::GetArguments;
use crate::exit::{Exit, Failure};
use crate::join::{with_node, within};
use crate::output::{self, Output, Reader};
use crate::render;
use crate::screen::progress::{Progress, Unit};
use crate::signals::Signals;

/// What a script is told of a name without a value.
pub(super) fn no_value(what: &str) -> Failure {
    Failure::new(Exit::Unavailable, "NoValue", format!("{what}: it has no value"))
}

pub(crate) async fn run(arguments: GetArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let pattern = Pattern::parse(&arguments.pattern)?;
    with_node(&arguments.node, signals, async |node| {
        let what = format!("get of `{pattern}`");
        let values = within(&arguments.node, &what, node.values(pattern.as_str())).await?;
        let plain = pattern.as_name().is_some();
        if values.is_empty() && plain {
            return Err(no_value(&what));
        }
        if arguments.tree {
            tree(&pattern, &values)?;
        } else {
            print(&values, |value| match value {
                value if arguments.raw => Shown::Bytes(&value.payload.bytes),
                value if json => Shown::Line(line_json(value)),
                value if plain => Shown::Line(render::alone(&value.payload)),
                value => Shown::Line(render::named(value.name.as_str(), &value.payload)),
            })?;
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

fn line_json(value: &Value) -> String {
    render::value_json(value.name.as_str(), Some(&value.payload), value.rev, value.author.as_str())
}

enum Shown<'a> {
    Line(String),
    Bytes(&'a [u8]),
}

fn print<'a>(values: &'a [Value], show: impl Fn(&'a Value) -> Shown<'a>) -> Result<(), Failure> {
    // Where values and progress are not shown on the same terminal.
    let progress = (!io::stdout().is_terminal()).then(|| Progress::of("writing", Unit::Of(values.len() as u64)));
    let mut output = Output::default();
    for value in values {
        if let Some(progress) = &progress {
            progress.add(1);
        }
        let reader = match show(value) {
            Shown::Line(line) => output.line(&line)?,
            Shown::Bytes(bytes) => output.bytes(bytes)?,
        };
        if reader == Reader::Gone {
            return Ok(());
        }
    }
    output.flush().map(|_| ())
}

/// One JSON value: over several lines where a person reads, on one where a program does.
fn tree(pattern: &Pattern, values: &[Value]) -> Result<(), Failure> {
    // All names have the words before the first wildcard.
    let common = pattern.words().take_while(|word| !["+", "#"].contains(word)).count();
    let tree = tree_of(values, common);
    let shown = if io::stdout().is_terminal() { render::json_pretty(&tree) } else { render::json(&tree) };
    output::say(&shown).map(|_| ())
}
