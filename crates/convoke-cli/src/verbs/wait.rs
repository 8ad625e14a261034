//! `convoke wait`: until a value is what it shall be.

use std::process::ExitCode;

use convoke::{Change, Code, Missed, Name, Node, Payload};

use crate::arguments::WaitArguments;
use crate::exit::{Exit, Failure};
use crate::join::{patience, with_node};
use crate::payload::{self, Given};
use crate::same::same;
use crate::screen::progress::{Progress, Unit};
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
        let mut last = Last::Unknown;
        let timeout = patience(&arguments.node);
        let progress = Progress::of(format!("wait for `{name}`"), Unit::Time);
        let waited = tokio::time::timeout(timeout, wait(node, &name, wanted.as_ref(), &mut last)).await;
        drop(progress);
        let Ok(change) = waited else {
            let (time, is) = (duration::shown(timeout), last.shown());
            let message = match (&wanted, &last) {
                (_, Last::Unknown) => format!("wait for `{name}`: the hub has not told within {time} what it is"),
                (Some(wanted), _) => {
                    format!("wait for `{name}`: it has not become {} within {time}; {is}", shown(wanted))
                }
                (None, _) => format!("wait for `{name}`: it has got no value within {time}"),
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

/// What a value was last.
enum Last {
    /// Nobody has told yet.
    Unknown,
    /// There was none.
    Nothing,
    Is(Payload),
}

impl Last {
    fn shown(&self) -> String {
        match self {
            Last::Unknown | Last::Nothing => "it has no value".to_owned(),
            Last::Is(payload) => format!("it is {}", shown(payload)),
        }
    }
}

/// Returns with the change that made the value so; `last` is what it was last.
async fn wait(
    node: &Node,
    name: &Name,
    wanted: Option<&Payload>,
    last: &mut Last,
) -> Result<(Change, Payload), Failure> {
    let mut watch = node.watch(name.as_str()).await?;
    tracing::info!("waiting");
    let there = match watch.snapshot().await {
        Err(Missed::Ended(why)) => return Err(why.into()),
        // What is so now follows.
        there => there.unwrap_or_default(),
    };
    let mut there = there.into_iter();
    *last = Last::Nothing;
    loop {
        let next = match there.next() {
            Some(change) => Ok(change),
            None => match watch.next().await {
                Some(next) => next,
                None => break,
            },
        };
        match next {
            Ok(change) => match change.payload.clone() {
                Some(payload) if wanted.is_none_or(|wanted| same(wanted, &payload)) => return Ok((change, payload)),
                payload => *last = payload.map_or(Last::Nothing, Last::Is),
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
