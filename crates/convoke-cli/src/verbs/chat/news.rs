//! What happens in a room, one after the other: what is said, taken back and said again, and who comes and goes.
//!
//! It is an executor beside the state, called with each entry of the journal in order, and so it is the same for everybody.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use convoke::{Deed, Effect, Error, Missed, NotKept, Running};
use tokio::sync::mpsc;

use super::Seat;
use super::room::{LINES_MAX, Line, Room};

/// What has happened and was not looked at yet; the rest waits at the hub.
const NEWS_MAX: usize = 256;

/// An entry of the journal.
pub(super) struct Happened {
    /// Its place.
    pub(super) seq: u64,
    pub(super) author: String,
    pub(super) what: What,
}

pub(super) enum What {
    /// This comes first: the lines that there are.
    Begins(Vec<Line>),
    Says(Line),
    /// What was said together.
    TakesBack(Vec<Line>),
    SaysAgain(Vec<Line>),
    Joins,
    Leaves,
    /// Nothing that is to be seen.
    Nothing,
}

/// What happens in a room, from now on.
pub(super) struct News {
    news: mpsc::Receiver<Happened>,
    running: Running,
}

impl News {
    pub(super) fn of(seat: &Seat) -> Result<News, Error> {
        let (tell, news) = mpsc::channel(NEWS_MAX);
        let begins = seat.room.seq();
        if begins == 0 {
            let _ = tell.try_send(Happened { seq: 0, author: String::new(), what: What::Begins(Vec::new()) });
        }
        let mut known = Known { begins, said: BTreeMap::new() };
        let mut executors = seat.room.executors(NotKept)?;
        executors.executor("chat", 0, move |effect| {
            if let Some(what) = known.pass(effect) {
                let (seq, author) = (effect.entry.seq, effect.entry.author.to_string());
                // Nobody may want it any more.
                let _ = tell.blocking_send(Happened { seq, author, what });
            }
            Ok(())
        })?;
        Ok(News { news, running: executors.run() })
    }

    /// Waits for the next; why none comes any more. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Happened, Missed> {
        match self.news.recv().await {
            Some(happened) => Ok(happened),
            None => {
                Err(self.running.wait(|_| false).await.ended.unwrap_or(Missed::Stuck { seq: 0, why: String::new() }))
            }
        }
    }

    /// What is there already.
    pub(super) fn try_next(&mut self) -> Option<Happened> {
        self.news.try_recv().ok()
    }
}

/// What it takes to say what was undone.
struct Known {
    /// Up to this entry it is not news.
    begins: u64,
    said: BTreeMap<u64, Line>,
}

impl Known {
    /// What an entry means; `None` before the news begin.
    fn pass(&mut self, effect: &Effect<'_, Room>) -> Option<What> {
        let what = match effect.entry.deed {
            Deed::Do { .. } => match effect.done.first().and_then(|(_, line)| line.as_ref()) {
                Some(line) => {
                    self.said.insert(line.seq, line.clone());
                    if self.said.len() > LINES_MAX {
                        self.said.pop_first();
                    }
                    What::Says(line.clone())
                }
                None => What::Nothing,
            },
            Deed::Undo(first) => What::TakesBack(self.group(first)),
            Deed::Redo(first) => What::SaysAgain(self.group(first)),
            Deed::Join => What::Joins,
            Deed::Leave => What::Leaves,
        };
        match effect.entry.seq.cmp(&self.begins) {
            Ordering::Less => None,
            Ordering::Equal => Some(What::Begins(effect.state.lines.iter().cloned().collect())),
            Ordering::Greater => Some(what),
        }
    }

    /// What is undone as one.
    fn group(&self, first: u64) -> Vec<Line> {
        let lines = self.said.range(first..).map(|(_, line)| line);
        lines.take_while(|line| line.first == first).cloned().collect()
    }
}
