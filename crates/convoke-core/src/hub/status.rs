//! What became of a write or an append whose answer its program never got, for the next program of the same name.
//!
//! Only what can never happen any more is not done. So whoever asks fences the incarnation that it asks about: an operation
//! is ordered behind all that this incarnation had on its way, and from there on nothing of it is done, whatever comes.

use std::collections::BTreeMap;

use super::{HubState, LinkId};
use crate::bug::{Bug, planted};
use crate::foundation::Ticket;
use crate::frame::{Fate, Frame, Incarnation};
use crate::kept::Outcome;
use crate::limits::STATUSES_MAX;
use crate::name::Name;
use crate::operation::Operation;
use crate::refusal::{Code, Refusal};
use crate::rev::Rev;

/// One question.
#[derive(Clone, Copy)]
struct Question {
    link: LinkId,
    id: u32,
    journal: bool,
    cseq: u64,
}

/// Questions that wait until their incarnations are fenced for good.
#[derive(Default)]
pub(super) struct Statuses {
    waiting: BTreeMap<Incarnation, (Ticket, Vec<Question>)>,
    count: usize,
}

/// What is told.
enum Known {
    Done(Rev, u32),
    NotDone(Code, String),
    Unknown(&'static str),
}

impl HubState {
    /// A node asks what became of something that a former incarnation of it has sent.
    pub(super) fn status(&mut self, link: LinkId, id: u32, (incarnation, journal, cseq): (Incarnation, bool, u64)) {
        let question = Question { link, id, journal, cseq };
        match self.try_status(question, incarnation) {
            Ok(Some(known)) => self.tell_status(question, &known),
            Ok(None) => {}
            Err(refusal) => self.refuse(link, id, &refusal),
        }
    }

    /// `None` if that is known later.
    fn try_status(&mut self, question: Question, incarnation: Incarnation) -> Result<Option<Known>, Refusal> {
        if !self.is_ready() {
            return Err(Refusal::new(Code::Backpressure, "status: the hub is starting; try again in a moment"));
        }
        let Some(joined) = self.links.joined(question.link) else { return Ok(None) };
        let Some(session) = self.sessions.get(incarnation) else {
            // Whoever came back with it would begin anew. One that was not given yet may still do everything.
            let given = self.sessions.was_given(incarnation, self.identity.epoch);
            return Ok(Some(if given && !self.config.shared_foundation && self.never_kept(incarnation) {
                let why = "nothing of the program that wanted it has ever come to be kept";
                Known::NotDone(Code::Fenced, why.to_owned())
            } else {
                Known::Unknown(FORGOTTEN)
            }));
        };
        if session.node != joined.node || session.principal != joined.principal.name {
            return Ok(Some(Known::Unknown(FORGOTTEN)));
        }
        if session.at.is_ok() {
            let decided = self.decided(question, incarnation);
            return Ok(Some(
                decided.unwrap_or(Known::Unknown("the program that wanted it is joined: it may still come")),
            ));
        }
        let node = session.node.clone();
        let principal = session.principal.clone();
        self.sessions.fence(incarnation);
        let fenced = self.kept.window(incarnation).is_some_and(|window| window.fenced);
        let nothing = self.kept.window(incarnation).is_none() && self.conversation.is_idle(incarnation);
        if fenced || nothing || planted(Bug::StatusNotFenced) {
            return Ok(Some(self.fate(question, incarnation)));
        }
        if self.statuses.count >= STATUSES_MAX {
            let text = format!("status: {STATUSES_MAX} questions wait for an answer already; try again later");
            return Err(Refusal::new(Code::Backpressure, text));
        }
        if !self.statuses.waiting.contains_key(&incarnation) {
            self.conversation.check_room()?;
            let ticket = self.append_fence(incarnation, &node, &principal);
            self.statuses.waiting.insert(incarnation, (ticket, Vec::new()));
        }
        let waiting = self.statuses.waiting.get_mut(&incarnation);
        waiting.expect("it was put there right above").1.push(question);
        self.statuses.count += 1;
        Ok(None)
    }

    fn append_fence(&mut self, incarnation: Incarnation, node: &Name, principal: &Name) -> Ticket {
        let (node, principal) = (node.as_str().as_bytes(), principal.as_str().as_bytes());
        self.conversation.append(&Operation::Fence { incarnation, node, principal })
    }

    /// Another program has taken the name over: what this incarnation has done can be asked for, and it does no more.
    pub(super) fn fence_kept(&mut self, incarnation: Incarnation) {
        let Some(session) = self.sessions.get(incarnation) else { return };
        let (node, principal) = (session.node.clone(), session.principal.clone());
        self.sessions.fence(incarnation);
        if self.kept.window(incarnation).is_none() && self.conversation.is_idle(incarnation) {
            return;
        }
        if self.conversation.check_room().is_ok() {
            self.append_fence(incarnation, &node, &principal);
        } else {
            self.sessions.forget(incarnation);
            self.forget_kept(incarnation, true);
        }
    }

    /// An operation was ordered, or certainly never will be: it may be the one that some wait for.
    pub(super) fn fence_ended(&mut self, ticket: Option<Ticket>, why_not: Option<&Refusal>) {
        let Some(ticket) = ticket.filter(|_| !self.statuses.waiting.is_empty()) else { return };
        let found =
            self.statuses.waiting.iter().find(|(_, (of, _))| *of == ticket).map(|(incarnation, _)| *incarnation);
        let Some(incarnation) = found else { return };
        let (_, questions) = self.statuses.waiting.remove(&incarnation).expect("it was found right above");
        self.statuses.count -= questions.len();
        for question in questions {
            match why_not {
                None => {
                    let known = self.fate(question, incarnation);
                    self.tell_status(question, &known);
                }
                Some(why) => self.refuse(question.link, question.id, why),
            }
        }
    }

    /// What was decided, if it was.
    fn decided(&self, question: Question, incarnation: Incarnation) -> Option<Known> {
        let kept = [(&self.kept, 0), (&self.memory, self.memory_epoch)];
        let windows = kept.into_iter().filter_map(|(kept, epoch)| Some((kept.window(incarnation)?, epoch)));
        for (window, epoch) in windows.clone() {
            match window.results.get(&question.cseq) {
                Some(Outcome::Done { rev: 0, count }) => return Some(Known::Done(Rev::default(), *count)),
                Some(Outcome::Done { rev, count }) => return Some(Known::Done(Rev { epoch, n: *rev }, *count)),
                Some(Outcome::Refused { code, text }) => return Some(Known::NotDone(*code, text.clone())),
                None => {}
            }
        }
        let mut windows = windows;
        windows.any(|(window, _)| question.cseq <= window.settled).then_some(Known::Unknown(SETTLED))
    }

    /// What became of it, when nothing of the incarnation is on its way any more and nothing can come.
    fn fate(&self, question: Question, incarnation: Incarnation) -> Known {
        if let Some(known) = self.decided(question, incarnation) {
            return known;
        }
        // What was in memory only, and what was answered to who had set it, went with an earlier start of the hub.
        if !question.journal && !self.config.memory.is_empty() && incarnation.epoch != self.identity.epoch {
            return Known::Unknown(FORGOTTEN);
        }
        let never = self.kept.window(incarnation).and_then(|window| window.never(question.cseq));
        match never {
            Some(why) => Known::NotDone(why.code, why.text.into_owned()),
            None => {
                Known::NotDone(Code::Fenced, "the program that wanted it has ended before it came to the hub".into())
            }
        }
    }

    fn tell_status(&mut self, question: Question, known: &Known) {
        let fate = match known {
            Known::Done(rev, count) => Fate::Done { rev: *rev, count: *count },
            Known::NotDone(code, text) => Fate::NotDone { code: *code, text },
            Known::Unknown(text) => Fate::Unknown { text },
        };
        self.control(question.link, &Frame::Settled { id: question.id, fate });
    }
}

/// The same for what is forgotten and for what is not this node's: nobody learns which.
const FORGOTTEN: &str = "the hub knows nothing of the program that wanted it, or does not tell this node";

const SETTLED: &str = "the program that wanted it had its answer";
