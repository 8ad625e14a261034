//! `convoke ping`: how fast the hub, or a node, answers.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use convoke::Name;
use serde::Serialize;

use crate::arguments::PingArguments;
use crate::exit::Failure;
use crate::join::{with_node, within};
use crate::output::{self, Reader};
use crate::screen::progress::{Progress, Unit};
use crate::signals::Signals;
use crate::{duration, render};

/// Between two pings: often enough to watch, too seldom to be load.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Answered<'a> {
    /// `null` for the hub.
    node: Option<&'a str>,
    microseconds: f64,
}

pub(crate) async fn run(arguments: PingArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let target = arguments.target.as_deref().map(Name::parse).transpose();
    let target = target.map_err(|error| Failure::from(error).about("the node that shall answer"))?;
    let target = target.as_ref().map(Name::as_str);
    with_node(&arguments.node, signals, async |node| {
        // Where answers and progress are not shown on the same terminal.
        let progress = (!io::stdout().is_terminal()).then(|| Progress::of("ping", Unit::Of(arguments.count)));
        for turn in 0..arguments.count {
            if turn > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let what = target.map_or("ping of the hub".to_owned(), |target| format!("ping of `{target}`"));
            let time = within(&arguments.node, &what, node.ping(target)).await?;
            if let Some(progress) = &progress {
                progress.add(1);
            }
            let line = if json {
                render::json(&Answered { node: target, microseconds: time.as_nanos() as f64 / 1000.0 })
            } else {
                format!("{} answered in {}", render::escaped(target.unwrap_or("hub")), duration::shown(time))
            };
            if output::say(&line)? == Reader::Gone {
                break;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}
