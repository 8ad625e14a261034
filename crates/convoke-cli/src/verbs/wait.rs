//! `convoke wait`: until a value is what it shall be.

use std::process::ExitCode;

use convoke::{Change, Code, Missed, Name, Node, Payload};

use crate::arguments::WaitArguments;
use crate::exit::{Exit, Failure};
use crate::join::{patience, with_node};
use crate::payload::{self, Given};
use crate::same::same;
use crate::signals::Signals;
use crate::{duration, output, render};

/// How much of a value a sentence shows, in characters.
const SHOWN_CHARS_MAX: usize = 100;

pub(crate) async fn run(arguments: WaitArguments, json: bool, signals: &Signals) -> Result<ExitCode, Failure> {
    let name = Name::parse(&arguments.key)?;
    let wanted = match payload::given(arguments.payload.payload, arguments.payload.raw, signals).await? {
        Given::Payload(payload) => Some(payload),
        Given::Nothing => None,
        Given::Signal(signal) => return Ok(signal.exit_code()),
    };
    with_node(&arguments.node, signals, async |node| {
        let mut last = None;
        let timeout = patience(&arguments.node);
        let waited = tokio::time::timeout(timeout, wait(node, &name, wanted.as_ref(), &mut last)).await;
        let Ok(change) = waited else {
            let is = last.as_ref().map_or("it has no value".to_owned(), |last| format!("it is {}", shown(last)));
            let message = match &wanted {
                Some(wanted) => {
                    let time = duration::shown(timeout);
                    format!("wait for `{name}`: it has not become {} within {time}; {is}", shown(wanted))
                }
                None => format!("wait for `{name}`: it has got no value within {}", duration::shown(timeout)),
            };
            return Err(Failure::new(Exit::Unavailable, Code::TimedOut.word(), message));
        };
        let (change, payload) = change?;
        let line = match json {
            true => render::value_json(name.as_str(), Some(&payload), change.rev, change.author.as_str()),
            false => render::alone(&payload),
        };
        let _ = output::say(&line)?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Returns with the change that made the value so; `last` is what it was last.
async fn wait(
    node: &Node,
    name: &Name,
    wanted: Option<&Payload>,
    last: &mut Option<Payload>,
) -> Result<(Change, Payload), Failure> {
    let mut watch = node.watch(name.as_str()).await?;
    tracing::info!("waiting");
    while let Some(next) = watch.next().await {
        match next {
            Ok(change) => match change.payload.clone() {
                Some(payload) if wanted.is_none_or(|wanted| same(wanted, &payload)) => return Ok((change, payload)),
                payload => *last = payload,
            },
            Err(Missed::Ended(why)) => return Err(why.into()),
            // What is so now follows.
            Err(_) => {}
        }
    }
    Err(Failure::new(Exit::Unavailable, Code::Left.word(), format!("`{}` has left its hub", node.name())))
}

/// A payload in a sentence.
fn shown(payload: &Payload) -> String {
    let all = render::alone(payload);
    match all.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", &all[..end]),
        None => format!("`{all}`"),
    }
}
