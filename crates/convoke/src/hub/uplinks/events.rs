//! Events on their way from one hub to another.

use convoke_core::Code;

use super::{RETRY, Tally, Way};
use crate::node::{Missed, Node};

/// Passes on what matches, for ever.
pub(super) async fn carry((from, to): (&Node, &Node), patterns: &[String], (tally, way): (&Tally, Way)) {
    let about = format!("events {way}");
    loop {
        let why = match from.subscribe_all(patterns).await {
            Err(error) => error.to_string(),
            Ok(mut passing) => {
                tally.goes(&about);
                tally.count(way, |passed| passed.ready = true);
                loop {
                    match passing.next().await {
                        // It leads back: both sides have it, as the same hub.
                        Some(Ok(_)) if is_one_hub(from, to) => {}
                        Some(Ok(event)) => match to.pass_on(&event).await {
                            Ok(()) => tally.count(way, |passed| passed.events += 1),
                            Err(error) => {
                                // What comes while the link is cut is lost like any event that is published then.
                                tally.count(way, |passed| passed.lost += 1);
                                if error.code() != Code::Offline {
                                    tracing::warn!("event on `{}` was not passed on: {error}", event.topic());
                                }
                            }
                        },
                        Some(Err(Missed::Lagged(count))) => tally.count(way, |passed| passed.lost += count),
                        Some(Err(Missed::Ended(why))) => break why.to_string(),
                        Some(Err(_)) => {}
                        None => break "it has ended".to_owned(),
                    }
                }
            }
        };
        tally.count(way, |passed| passed.ready = false);
        tally.trouble(&about, &why);
        tokio::time::sleep(RETRY).await;
    }
}

fn is_one_hub(from: &Node, to: &Node) -> bool {
    matches!((from.hub(), to.hub()), (Some((from, _)), Some((to, _))) if from == to)
}
