//! What a state would be with what this node has appended and what has not come back: for those who look, not for those who
//! decide.

use std::borrow::Borrow;
use std::time::{SystemTime, UNIX_EPOCH};

use convoke_core::Payload;
use convoke_core::frame::Terms;
use convoke_core::journal::{Deed, Entry, State};

use super::Follower;
use crate::error::Error;

impl<S: State> Follower<S> {
    /// Posts a command, given or lent: returns as soon as it is safe in the node's [outbox](crate::NodeOptions::outbox), with
    /// or without a link, and gives its number there; [`Outbox::next`](crate::Outbox::next) tells what becomes of it.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if the node has no outbox; else as [`Outbox::append`](crate::Outbox::append), and
    /// [`Error::Refused`] if a check refuses it or this follower has ended.
    ///
    /// Dropping the future does not take the command back.
    pub async fn post(&self, command: impl Borrow<S::Command>) -> Result<u64, Error> {
        let payload = Payload::encode(command.borrow())?;
        let terms = self.checked(&[command.borrow()])?;
        let outbox = self.node.outbox().ok_or_else(|| {
            Error::Configuration(format!("post to `{}`: the node has no outbox; open it with one", self.journal))
        })?;
        let terms = Terms::new(Some(S::STRATEGY), terms.lasting, terms.touched.as_deref());
        outbox.append_on(&self.journal, &[payload], None, terms).await
    }

    /// How many appends of this node to this journal have no answer, undo and redo among them: what is on its way, or waits
    /// for a hub, in memory or in the [outbox](crate::NodeOptions::outbox).
    pub fn pending(&self) -> usize {
        self.node.handle.shared.lock().state.unanswered(&self.journal)
    }

    /// Looks at the state as it would be if the commands that this node has appended, and that have not come back as entries,
    /// were all done now, in their order. So a program shows at once what its user has done, also without a hub.
    ///
    /// It is a guess, made anew each time, and may be wrong: others may be faster, a command may be refused, and what is to
    /// be undone or done again is not in it. What is [read](Follower::read) is true, and what an undo takes back is only ever
    /// what is there. Costs a copy of the state, and the commands.
    pub fn tentative<T>(&self, read: impl FnOnce(&S) -> T) -> T {
        let (author, shared) = (self.node.author(), &self.node.handle.shared);
        let (mut state, behind) = {
            let inner = self.shared.lock();
            (inner.replica.state().clone(), inner.replica.seq())
        };
        let commands = shared.lock().state.commands_behind(&self.journal, behind);
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let (mut seq, mut first) = (behind, behind + 1);
        for (begins, payload) in commands {
            seq += 1;
            if begins {
                first = seq;
            }
            if let Ok(command) = S::decode(&payload) {
                let at = Entry { seq, author: author.clone(), wall_ms, deed: Deed::Do { first }, provenance: None };
                state.apply(&command, &at);
            }
        }
        read(&state)
    }
}
