//! Waiting until others have applied an entry of a journal.

use std::collections::HashMap;
use std::time::Duration;

use convoke_core::journal::{AppliedBy, Who};
use convoke_core::{Name, NodeState, Refusal};
use tokio::sync::oneshot;

use super::{Inner, Node};
use crate::clock::now;
use crate::error::Error;

/// Who waits here, by the numbers of their waits.
#[derive(Default)]
pub(super) struct Waiting(HashMap<u32, oneshot::Sender<Result<AppliedBy, Refusal>>>);

impl Waiting {
    /// Hands out what has come. Who asked may have given up.
    pub(super) fn settle(&mut self, state: &mut NodeState) {
        for (id, answer) in state.awaited() {
            if let Some(sender) = self.0.remove(&id) {
                let _ = sender.send(answer);
            }
        }
    }
}

impl Node {
    /// Waits until members of a journal have applied the entry at `seq`: all of them, most, so many, or some by name; or until
    /// the time is over, 1 h at most. Tells in either case who has applied it, who lags and how far, and who is gone;
    /// [`AppliedBy::reached`] says which of the two it is.
    ///
    /// Members are the nodes with a [`follow`](Node::follow), or with [`entries_with`](Node::entries_with) that say so, and
    /// then call [`applied`](crate::Entries::applied). One whose link is lost stays a member for half a minute, unless the
    /// hub is set otherwise. For as long after a start of the hub `All` and `Quorum` of a journal that is older are not
    /// reached: its members are not known before they are back.
    ///
    /// Without a link it waits for one, and where the link is cut it asks again on the next, with the time that is left.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::Unauthorized`] without the right to follow; [`Error::Refused`] and
    /// [`Error::Backpressure`] at a limit, 1024 waits of a node and 100 names of a wait; [`Error::Offline`] if there is no link
    /// when the time is over; [`Error::Unanswered`] if the hub says nothing for a second longer.
    ///
    /// Cancel safe.
    pub async fn applied_by(
        &self,
        journal: impl AsRef<str>,
        seq: u64,
        who: Who,
        within: Duration,
    ) -> Result<AppliedBy, Error> {
        let journal = Name::parse(journal.as_ref())?;
        let shared = &self.handle.shared;
        let (id, answer) = {
            let mut inner = shared.lock();
            let id = inner.state.await_applied(journal, seq, who, within, now())?;
            let (sender, receiver) = oneshot::channel();
            inner.awaits.0.insert(id, sender);
            shared.flush(inner);
            (id, receiver)
        };
        let give_up = |inner: &mut Inner, id| {
            inner.awaits.0.remove(&id);
            inner.state.forget_await(id);
        };
        Ok(self.answered(id, answer, give_up).await??)
    }
}
