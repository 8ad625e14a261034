//! The outbox: what a node appends to journals, kept in a folder until it is known what became of it, over the end of the
//! program too.

mod file;
mod thread;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use convoke_core::frame::Terms;
use convoke_core::limits::{OUTBOX_BYTES_MAX, OUTBOX_COMMANDS_MAX, OUTBOX_ENDS_MAX};
use convoke_core::node::{NotWritten, WriteId, Wrote};
use convoke_core::{Code, Name, NodeState, Payload, Refusal};
use serde::Serialize;
use tokio::sync::{Notify, oneshot, watch as watched};

use super::journals::appending;
use super::{Inner, Node, NodeShared, left};
use crate::error::Error;
use file::{End, OutboxFile, Record};
use thread::Job;
pub(super) use thread::{Safe, Thread};

/// What came of something: to who waits for it.
type Answer = oneshot::Sender<Result<Wrote, NotWritten>>;

/// What waits in the outbox.
struct Posted {
    number: u64,
    journal: Name,
    bytes: usize,
}

/// Something that is answered, while that is being made safe.
struct Ending {
    posted: Posted,
    end: End,
    /// Who waits for it, with the answer.
    answer: Option<(Answer, Result<Wrote, NotWritten>)>,
}

/// The outbox of a node, as far as the node's lock guards it.
pub(super) struct Posting {
    jobs: Sender<Job>,
    /// True when the thread has ended.
    thread: watched::Receiver<bool>,
    open: BTreeMap<WriteId, Posted>,
    bytes: usize,
    last: u64,
    /// Who waits until it is safe here.
    puts: HashMap<WriteId, oneshot::Sender<Result<(), Error>>>,
    ending: HashMap<WriteId, Ending>,
    /// What was answered, until whoever asked for it has heard it.
    answered: HashMap<WriteId, (u64, Name, End)>,
    /// What the program was not told, in the order in which it was known.
    ends: VecDeque<(u64, Name, End)>,
    /// How many ends are not yet safe.
    recording: watched::Sender<usize>,
    news: Arc<Notify>,
    failed: Option<Refusal>,
}

impl Posting {
    /// Opens the outbox, and has the node send what an earlier program has left in it, once its thread has begun. Waits for
    /// the disk.
    pub(super) fn open(folder: &Path, state: &mut NodeState) -> Result<(Posting, Thread), Error> {
        let file = OutboxFile::open(folder, state.name())?;
        let contents = file.contents().clone();
        let (mut open, mut bytes) = (BTreeMap::new(), 0);
        for (number, file::Open { journal, appended, op }) in contents.open {
            let posted = Posted { number, journal: journal.clone(), bytes: appended.len() };
            bytes += posted.bytes;
            let id = state.append_again(journal, appended, op).map_err(|why| {
                Error::Refused(Refusal::new(why.code, format!("outbox `{}`: {}", folder.display(), why.text)))
            })?;
            open.insert(id, posted);
        }
        let (jobs, thread) = Thread::new(file);
        let posting = Posting {
            jobs,
            thread: thread.end(),
            open,
            bytes,
            last: contents.last,
            puts: HashMap::new(),
            ending: HashMap::new(),
            answered: HashMap::new(),
            ends: contents.ends,
            recording: watched::Sender::new(0),
            news: Arc::new(Notify::new()),
            failed: None,
        };
        Ok((posting, thread))
    }

    /// Whether there is room for one more.
    fn check(&self) -> Result<(), Refusal> {
        if let Some(why) = &self.failed {
            return Err(why.clone());
        }
        let waiting = self.open.len() + self.ending.len();
        if waiting < OUTBOX_COMMANDS_MAX && self.bytes < OUTBOX_BYTES_MAX {
            return Ok(());
        }
        let text =
            format!("the outbox: {waiting} appends with {} bytes wait in it already; append it later", self.bytes);
        Err(Refusal::new(Code::Backpressure, text))
    }

    fn send(&self, job: Job) {
        // The thread ends only when this is dropped, or it has failed, which is told.
        let _ = self.jobs.send(job);
    }

    /// The state has taken something.
    fn put(&mut self, id: WriteId, state: &NodeState) {
        let Some((journal, appended)) = state.appended(id) else { return };
        self.last += 1;
        let posted = Posted { number: self.last, journal: journal.clone(), bytes: appended.len() };
        self.bytes += posted.bytes;
        self.open.insert(id, posted);
        let record = Record::Put { number: self.last, journal: journal.clone(), appended: appended.to_vec() };
        self.send(Job::Put(id, record));
    }

    /// What the state wants to be noted before it is sent.
    pub(super) fn note(&self, state: &mut NodeState) {
        for note in state.notes() {
            if let Some(posted) = self.open.get(&note.id) {
                self.send(Job::Note(note, Record::Note { number: posted.number, op: note.op }));
            }
        }
    }

    /// What came of something; gives it back if it was not in the outbox. `answer` is who waits for it.
    pub(super) fn ended(
        &mut self,
        id: WriteId,
        result: Result<Wrote, NotWritten>,
        answer: Option<Answer>,
    ) -> Option<(Result<Wrote, NotWritten>, Option<Answer>)> {
        if !self.open.contains_key(&id) {
            return Some((result, answer));
        }
        if result.as_ref().is_err_and(|not| not.waits) {
            // It stays in the file. Who has waited until it is safe need not wait any more: it was taken before.
            return Some((result, answer));
        }
        let posted = self.open.remove(&id)?;
        self.bytes -= posted.bytes;
        let end = thread::end_of(result.clone());
        // That it is done can be told at once: whoever asks again is told the same.
        let (told, answer) = match (answer, result) {
            (Some(answer), Ok(wrote)) => (answer.send(Ok(wrote)).is_ok(), None),
            (answer, result) => (false, answer.map(|answer| (answer, result))),
        };
        if told {
            self.answered.insert(id, (posted.number, posted.journal.clone(), end.clone()));
        }
        let record = Record::End { number: posted.number, end: end.clone(), told };
        let ending = Ending { posted, end, answer };
        if let Some(why) = self.failed.clone() {
            if !told {
                self.finish(id, ending, Some(&why));
            }
            return None;
        }
        self.send(Job::End(id, record));
        self.recording.send_modify(|count| *count += 1);
        if !told {
            self.ending.insert(id, ending);
        }
        None
    }

    /// What became of something is safe, or nothing is any more.
    fn finish(&mut self, id: WriteId, ending: Ending, failed: Option<&Refusal>) {
        let Ending { posted, mut end, answer } = ending;
        if let (End::NotDone(why), Some(failed)) = (&end, failed) {
            // The next program could send it once more.
            end = End::Unknown(Refusal::new(why.code, format!("{}; and {}", why.text, failed.text)), None);
        }
        if answer.is_some_and(|(answer, result)| answer.send(result).is_ok()) {
            self.send(Job::Told(Record::Told { number: posted.number }));
            self.answered.insert(id, (posted.number, posted.journal, end));
        } else {
            self.tell((posted.number, posted.journal, end));
        }
    }

    /// Has the program told what nobody has heard.
    fn tell(&mut self, end: (u64, Name, End)) {
        self.ends.push_back(end);
        if self.ends.len() > OUTBOX_ENDS_MAX {
            self.ends.pop_front();
        }
        self.news.notify_one();
    }

    fn take(&mut self) -> Option<OutboxEnd> {
        let (number, journal, end) = self.ends.pop_front()?;
        self.send(Job::Told(Record::Told { number }));
        let outcome = match end {
            End::Done(seq) => Ok(seq),
            End::NotDone(why) => Err(Error::not_done(why)),
            End::Unknown(why, op) => Err(Error::uncertain(why, op)),
        };
        Some(OutboxEnd { number, journal, outcome })
    }
}

impl NodeShared {
    /// Something of the outbox is safe.
    fn outbox_safe(&self, safe: Safe) {
        let mut inner = self.lock();
        let Inner { state, posting: Some(posting), .. } = &mut *inner else { return };
        for id in safe.put {
            if let Some(put) = posting.puts.remove(&id) {
                let _ = put.send(Ok(()));
            }
        }
        posting.recording.send_modify(|count| *count -= safe.ended.len());
        for id in safe.ended {
            state.recorded(id);
            if let Some(ending) = posting.ending.remove(&id) {
                posting.finish(id, ending, None);
            }
        }
        let refused = safe.refused.into_iter().map(|(id, why)| (id, why, true));
        let lost = safe.lost.into_iter().filter_map(|id| Some((id, safe.failed.clone()?, false)));
        for (id, why, certain) in refused.chain(lost) {
            // It was never in the file, as far as is known.
            if let Some(posted) = posting.open.remove(&id) {
                posting.bytes -= posted.bytes;
            }
            if let Some(put) = posting.puts.remove(&id) {
                let error = if certain { Error::not_done(why.clone()) } else { Error::uncertain(why.clone(), None) };
                let _ = put.send(Err(error));
            }
            state.give_up_write(id, certain, why);
        }
        if let Some(why) = safe.failed {
            tracing::error!("`{}`: {why}", state.name());
            for (id, ending) in std::mem::take(&mut posting.ending) {
                posting.finish(id, ending, Some(&why));
            }
            posting.recording.send_replace(0);
            // What was put when the thread had ended already.
            for (_, put) in std::mem::take(&mut posting.puts) {
                let _ = put.send(Err(Error::uncertain(why.clone(), None)));
            }
            // What was not put on a link waits in the file, as far as is known, and nobody can note that it goes.
            for id in posting.open.keys() {
                state.give_up_write(*id, false, why.clone());
            }
            posting.failed = Some(why);
        }
        state.noted(&safe.noted);
        inner.settle(self);
        self.flush(inner);
    }

    /// Waits until all ends that are known are safe: what the hub need not keep for this node it should not.
    pub(super) async fn outbox_settled(&self) {
        let Some(mut recording) = self.lock().posting.as_ref().map(|posting| posting.recording.subscribe()) else {
            return;
        };
        // An error would mean that the outbox is gone.
        let _ = recording.wait_for(|count| *count == 0).await;
    }

    /// Waits until the thread of the outbox has ended and lets go of its folder.
    pub(super) async fn outbox_closed(&self) {
        let Some(mut thread) = self.lock().closing_outbox.take() else { return };
        // An error would mean that the thread is gone, which is what is waited for.
        let _ = thread.wait_for(|ended| *ended).await;
    }
}

impl Inner {
    /// Asks for something to be kept in a journal: by way of the outbox, if there is one.
    pub(super) fn post(
        &mut self,
        ask: impl FnOnce(&mut NodeState) -> Result<WriteId, Refusal>,
    ) -> Result<WriteId, Refusal> {
        let Inner { state, posting, .. } = self;
        posting.as_ref().map_or(Ok(()), Posting::check)?;
        let id = ask(state)?;
        if let Some(posting) = posting {
            posting.put(id, state);
            posting.note(state);
        }
        Ok(id)
    }

    /// Lets go of the outbox: what waits in it stays there for the next program.
    pub(super) fn close_outbox(&mut self) {
        if let Some(posting) = self.posting.take() {
            self.closing_outbox = Some(posting.thread);
            posting.news.notify_one();
        }
    }
}

/// Somebody who asked for something to be kept, and has yet to hear what came of it. If it goes before that, the outbox tells
/// it.
#[derive(Debug)]
pub(super) struct Asker {
    node: Node,
    id: WriteId,
    is_heard: bool,
}

impl Asker {
    pub(super) fn new(node: &Node, id: WriteId) -> Asker {
        Asker { node: node.clone(), id, is_heard: false }
    }

    pub(super) fn heard(mut self) {
        self.is_heard = true;
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let mut inner = self.node.handle.shared.lock();
        let Some(posting) = &mut inner.posting else { return };
        if let Some(end) = posting.answered.remove(&self.id).filter(|_| !self.is_heard) {
            posting.tell(end);
        }
    }
}

/// The end of something that was posted.
#[derive(Debug)]
pub struct OutboxEnd {
    /// The number that [`Outbox::append`] gave.
    pub number: u64,
    /// The journal.
    pub journal: Name,
    /// The place of its first entry; or an error whose [`outcome`](Error::outcome) says whether it certainly was not appended
    /// or may have been.
    pub outcome: Result<u64, Error>,
}

/// The outbox of a node: commands that are safe on this machine before the hub has them, and sent when there is one, in
/// order and once each, by a later program of this name too. See [`NodeOptions::outbox`](super::NodeOptions::outbox).
///
/// Cheap to clone. It keeps its node.
#[derive(Clone, Debug)]
pub struct Outbox {
    node: Node,
}

impl Node {
    /// The node's outbox, if it was opened with one.
    pub fn outbox(&self) -> Option<Outbox> {
        let has = self.handle.shared.lock().posting.is_some();
        has.then(|| Outbox { node: self.clone() })
    }
}

impl Outbox {
    /// Posts a command: returns as soon as it is safe in the folder, with or without a link, and gives its number. What
    /// becomes of it [`next`](Outbox::next) tells. Costs one sync of the disk, shared with whoever posts at the same time.
    ///
    /// # Errors
    ///
    /// It certainly is not appended: [`Error::BadName`]; [`Error::BadPayload`]; [`Error::Backpressure`] if 10,000 appends or
    /// 8 MiB wait already; [`Error::Refused`] if it is too long, or if the disk is full ([`Code::StorageFull`]) or fails
    /// ([`Code::StorageFailed`]); [`Error::Offline`] if the node has left. Only if the disk fails while it is written,
    /// [`Error::Unanswered`]: a later program may find it and append it.
    ///
    /// Dropping the future does not take the command back.
    pub async fn append<C: Serialize + ?Sized>(&self, journal: impl AsRef<str>, command: &C) -> Result<u64, Error> {
        self.append_payloads(journal, &[Payload::encode(command)?], None).await
    }

    /// As [`append`](Outbox::append), with 1 to 256 commands in any encoding, which are undone as one, and only if the last
    /// entry is then the one that is expected, zero for none.
    ///
    /// # Errors
    ///
    /// As [`append`](Outbox::append).
    pub async fn append_payloads(
        &self,
        journal: impl AsRef<str>,
        commands: &[Payload],
        expect_last: Option<u64>,
    ) -> Result<u64, Error> {
        self.append_on(&Name::parse(journal.as_ref())?, commands, expect_last, Terms::default()).await
    }

    pub(super) async fn append_on(
        &self,
        journal: &Name,
        commands: &[Payload],
        expect_last: Option<u64>,
        terms: Terms<'_>,
    ) -> Result<u64, Error> {
        let shared = &self.node.handle.shared;
        let (number, safe) = {
            let mut inner = shared.lock();
            let id = inner.post(appending(journal, commands, expect_last, terms))?;
            let Some(posting) = &mut inner.posting else { return Err(left(inner.state.name().clone())) };
            let number = posting.open.get(&id).map_or(0, |posted| posted.number);
            let (sender, safe) = oneshot::channel();
            posting.puts.insert(id, sender);
            (number, safe)
        };
        match safe.await {
            Ok(result) => result.map(|()| number),
            Err(_) => {
                let text = format!("append to `{journal}`: the node has left while it was put into the outbox");
                Err(Error::uncertain(Refusal::new(Code::Left, text), None))
            }
        }
    }

    /// Waits until it is known what became of something that was posted, or of an append whose caller did not wait for it:
    /// of this program or an earlier one. `None` when the node has left. What was told is not told again; a program that ends
    /// just then may be told once more by its next start. Without a reader the last 10,000 are kept.
    ///
    /// Cancel safe.
    pub async fn next(&self) -> Option<OutboxEnd> {
        let mut woken: Option<Arc<Notify>> = None;
        loop {
            let news = {
                let mut inner = self.node.handle.shared.lock();
                let Some(posting) = inner.posting.as_mut() else {
                    // Others wait perhaps.
                    woken.inspect(|news| news.notify_one());
                    return None;
                };
                if let Some(end) = posting.take() {
                    if !posting.ends.is_empty() {
                        posting.news.notify_one();
                    }
                    return Some(end);
                }
                posting.news.clone()
            };
            news.notified().await;
            woken = Some(news);
        }
    }

    /// How many appends wait for an answer, or for theirs to be safe here: those of earlier programs, and those that nobody
    /// posted but whose caller waits. When there are none, [`next`](Outbox::next) has all that there is to tell, and gives it
    /// without waiting.
    pub fn len(&self) -> usize {
        self.node.handle.shared.lock().posting.as_ref().map_or(0, |posting| posting.open.len() + posting.ending.len())
    }

    /// Whether nothing waits for an answer, or for it to be safe.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::node::NodeOptions;

    /// It was told only what the thread had taken; what came between its end and that waited for ever.
    #[tokio::test]
    async fn what_is_posted_while_the_thread_fails_does_not_wait_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix://{}", folder.path().join("nobody.sock").display());
        let outbox = Some(folder.path().join("outbox"));
        let node = Node::open(&address, NodeOptions { outbox, ..NodeOptions::new("ann") }).unwrap();
        let shared = node.handle.shared.clone();
        shared.lock().posting.as_mut().unwrap().jobs = mpsc::channel().0;
        let posted = tokio::spawn({
            let outbox = node.outbox().unwrap();
            async move { outbox.append("todo", &1).await }
        });
        while shared.lock().posting.as_ref().unwrap().puts.is_empty() {
            tokio::task::yield_now().await;
        }
        let failed = Some(Refusal::new(Code::StorageFailed, "the outbox: it cannot be written any more"));
        shared.outbox_safe(Safe { failed, ..Safe::default() });
        let posted = tokio::time::timeout(Duration::from_secs(30), posted).await.expect("it ends");
        let error = posted.unwrap().unwrap_err();
        assert!(matches!(error, Error::Unanswered(..)), "{error}");
        let error = node.append("todo", &2).await.unwrap_err();
        assert!(matches!(&error, Error::Refused(why) if why.code == Code::StorageFailed), "{error}");
    }
}
