//! What a node appends and keeps elsewhere too, so that it outlives the program; and questions about what was sent and never
//! answered.

use std::collections::BTreeMap;

use super::values::{Note, WriteId};
use super::{NodeState, RequestId};
use crate::frame::{Appended, Fate, Frame, Reader};
use crate::limits::STATUS_RETRY_TIME;
use crate::name::Name;
use crate::op::OpId;
use crate::payload::Payload;
use crate::refusal::{Code, Refusal};
use crate::rev::Rev;
use crate::time::Time;

/// What became of a write or an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// It was done.
    Done {
        /// The revision that it made, or for an append the place of its first entry.
        rev: Rev,
        /// How many keys it changed, or entries it made.
        count: u32,
    },
    /// It certainly was not done, and never will be.
    NotDone(Refusal),
    /// Nobody can tell any more, or nobody tells this node.
    Unknown(String),
}

/// What is asked about what was sent.
#[derive(Default)]
pub(super) struct Asking {
    /// When to ask again about what an earlier program has left.
    again: Option<Time>,
    /// Answers that the shell has not taken.
    known: BTreeMap<RequestId, Became>,
}

impl Asking {
    pub(super) fn due(&self) -> Option<Time> {
        self.again
    }

    pub(super) fn link_lost(&mut self) {
        self.again = None;
    }

    pub(super) fn forget(&mut self, id: RequestId) {
        self.known.remove(&id);
    }
}

impl NodeState {
    /// Asks what became of a write or an append that an earlier program of this node's name has sent, or this one before the
    /// hub had forgotten it. From then on nothing of that program is done any more, and it cannot come back. Answered by
    /// [`answers`](NodeState::answers), and then [`take_status`](NodeState::take_status) tells it.
    ///
    /// # Errors
    ///
    /// [`Code::Offline`] without a link; [`Code::Backpressure`] with too many open requests.
    pub fn status(&mut self, op: OpId) -> Result<RequestId, Refusal> {
        let id = self.request("status", 0)?;
        if op.history != self.welcome.history {
            self.requests.remove(&id);
            let text = "it was sent to another hub, or to this one before it was restored".to_owned();
            self.asking.known.insert(id, Became::Unknown(text));
            self.answers.push((id, Ok(0)));
            return Ok(id);
        }
        let OpId { incarnation, journal, cseq, .. } = op;
        self.lanes.bulk.append(|out| Frame::Status { id, incarnation, journal, cseq }.encode(out));
        Ok(id)
    }

    /// What a write is known by that is not answered.
    #[cfg(feature = "sim")]
    pub(crate) fn op(&self, id: WriteId) -> Option<OpId> {
        self.values.writes.op(id)
    }

    /// The answer to a question that was answered.
    pub fn take_status(&mut self, id: RequestId) -> Option<Became> {
        self.asking.known.remove(&id)
    }

    /// What is to be noted where it is kept too: only when [`noted`](NodeState::noted) was called it is put on a link, and all
    /// that was written behind it. Nothing, unless [`NodeConfig::outbox`](super::NodeConfig::outbox) is set.
    pub fn notes(&mut self) -> Vec<Note> {
        self.values.writes.notes()
    }

    /// These were noted, so that they outlive the program. What waits for the link is to be written after this.
    pub fn noted(&mut self, notes: &[Note]) {
        for note in notes {
            self.values.writes.noted(*note);
        }
        self.send_writes();
    }

    /// What became of a write was noted where it is kept too: from now on the hub may forget it.
    pub fn recorded(&mut self, id: WriteId) {
        self.values.writes.recorded(id);
    }

    /// A write could not be noted. It ends: certainly not done, or it may be done by a later program.
    pub fn give_up_write(&mut self, id: WriteId, certain: bool, why: Refusal) {
        self.values.writes.give_up(id, certain, why);
    }

    /// Takes what an earlier program of this name has left, in its order, before anything else is appended: the bytes that
    /// [`appended`](NodeState::appended) gave, and as what they were sent, if they were. Those are asked about first, and
    /// sent again only if they never came.
    ///
    /// # Errors
    ///
    /// [`Code::Backpressure`] if it is too much; [`Code::BadRequest`] for bytes that are no append.
    pub fn append_again(&mut self, journal: Name, appended: Vec<u8>, former: Option<OpId>) -> Result<WriteId, Refusal> {
        let mut fields = Reader::new(&appended, 0);
        let read = Appended::read(&mut fields).map(|_| ()).and_then(|()| fields.end());
        read.map_err(|error| Refusal::new(Code::BadRequest, error.to_string()))?;
        self.values.writes.push_again(journal, appended, former)
    }

    /// The journal and the bytes of an append that is not answered.
    pub fn appended(&self, id: WriteId) -> Option<(&Name, &[u8])> {
        self.values.writes.appended(id)
    }

    /// The commands that this node has appended to a journal and that are not among its entries up to this place, in their
    /// order, and whether each is the first of its append: those that are not answered, and those of the last few hundred
    /// that were done behind that place. What it undoes and does again is not among them.
    pub fn commands_behind(&self, journal: &Name, behind: u64) -> Vec<(bool, Payload)> {
        let mut all = Vec::new();
        for (first, of, bytes) in self.values.writes.lately().chain(self.values.writes.appends()) {
            let read = Appended::read(&mut Reader::new(bytes, 0));
            let Ok(Appended::Commands { commands, .. }) = read else { continue };
            for (place, (encoding, bytes)) in commands.iter().enumerate().filter(|_| of == journal) {
                if first.is_none_or(|first| first + place as u64 > behind) {
                    all.push((place == 0, Payload { encoding, bytes: bytes.to_vec().into() }));
                }
            }
        }
        all
    }

    /// How many appends of this node to a journal are not answered.
    pub fn unanswered(&self, journal: &Name) -> usize {
        self.values.writes.appends().filter(|(_, of, _)| *of == journal).count()
    }

    fn send_writes(&mut self) {
        if self.is_joined() {
            self.values.writes.send(&mut self.lanes, self.welcome.payload_bytes_max as usize);
        }
    }

    /// The hub tells what became of something.
    pub(super) fn settled(&mut self, id: RequestId, fate: &Fate<'_>) {
        if self.values.writes.former_known(id, fate) {
            return self.send_writes();
        }
        // Otherwise nobody waits for it any more.
        if self.requests.remove(&id).is_some() {
            let became = match *fate {
                Fate::Done { rev, count } => Became::Done { rev, count },
                Fate::NotDone { code, text } => Became::NotDone(Refusal::new(code, text.to_owned())),
                Fate::Unknown { text } => Became::Unknown(text.to_owned()),
            };
            self.asking.known.insert(id, became);
            self.answers.push((id, Ok(0)));
        }
    }

    /// The hub cannot tell now what became of something that an earlier program has left. False if that was not asked.
    pub(super) fn status_refused(&mut self, id: RequestId, result: &Result<u64, Refusal>) -> bool {
        let asked = result.is_err() && self.values.writes.has(id);
        if asked {
            self.asking.again = Some(self.now + STATUS_RETRY_TIME);
        }
        asked
    }

    /// Asks again, when it is time.
    pub(super) fn ask_again(&mut self) {
        if self.asking.again.is_some_and(|due| due <= self.now) {
            self.asking.again = None;
            self.ask_former();
        }
    }

    /// Asks what became of all that an earlier program has left and had sent.
    pub(super) fn ask_former(&mut self) {
        let count = self.values.writes.former_count();
        if !self.is_joined() || count == 0 {
            return;
        }
        self.values.writes.forget_asked();
        let ids: Vec<RequestId> = (0..count).map(|_| self.next_id()).collect();
        let mut ids = ids.into_iter();
        let next = || ids.next().expect("there is one for each");
        self.values.writes.ask_former(next, &mut self.lanes);
        self.send_writes();
    }
}
