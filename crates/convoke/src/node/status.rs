//! What became of a write or an append whose answer never came.

use convoke_core::node::Became;
use convoke_core::{OpId, Refusal, Rev};

use super::{Inner, Node};
use crate::error::Error;

/// What became of a write or an append that may have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It was done.
    Done {
        /// The revision that it made, the default one if it changed nothing; of an append, `rev.n` is the place of its first
        /// entry.
        rev: Rev,
        /// How many keys it changed, or entries it made.
        count: u32,
    },
    /// It certainly was not done and never will be; doing it again is safe.
    NotDone(Refusal),
    /// Nobody can tell any more, or this node is not told; why. It was answered before, or its program was away for longer
    /// than the hub remembers one, or it was sent to another hub or by another name.
    Unknown(String),
}

impl Node {
    /// Asks what became of a write or an append that ended with [`Error::Unanswered`], by the [`Error::op`] of that error:
    /// of an earlier program of this name, or of this one before the hub had forgotten it. Only a node of the same name and
    /// principal is told.
    ///
    /// Who asks ends that program for the hub: nothing of it is done any more, and it cannot come back. So
    /// [`Status::NotDone`] is certain for ever.
    ///
    /// # Errors
    ///
    /// [`Error::Offline`] without a link; [`Error::Unanswered`] if it is cut before the answer: ask again.
    /// [`Error::Backpressure`] or [`Error::Refused`] if the hub cannot keep now that the program has ended.
    ///
    /// Cancel safe.
    pub async fn status(&self, op: OpId) -> Result<Status, Error> {
        let shared = &self.handle.shared;
        let (id, answer) = shared.ask(|state| state.status(op))?;
        // What was not sent to this hub is known without asking it.
        shared.lock().settle(shared);
        self.answered(id, answer, Inner::abandon).await??;
        let became = shared.lock().state.take_status(id);
        Ok(match became.expect("it was put there with the answer, and nobody else takes it") {
            Became::Done { rev, count } => Status::Done { rev, count },
            Became::NotDone(why) => Status::NotDone(why),
            Became::Unknown(why) => Status::Unknown(why),
        })
    }
}
