//! The thread of an outbox: it alone waits for the disk. What gathers meanwhile is made safe with one sync.

use std::sync::Weak;
use std::sync::mpsc::{Receiver, Sender, channel};

use convoke_core::node::{Note, WriteId};
use convoke_core::{Code, Refusal};
use tokio::sync::watch as watched;

use super::file::{End, OutboxFile, Record};
use crate::error::Error;
use crate::node::NodeShared;

/// What is to be made safe.
pub(super) enum Job {
    /// Something is to be appended.
    Put(WriteId, Record),
    /// It is to be sent under this name.
    Note(Note, Record),
    /// What became of it, if it still has to be told to somebody.
    End(WriteId, Record),
    /// The program was told what became of something.
    Told(Record),
}

impl Job {
    fn record(&self) -> &Record {
        match self {
            Job::Put(_, record) | Job::Note(_, record) | Job::End(_, record) | Job::Told(record) => record,
        }
    }
}

/// What is safe now.
#[derive(Default)]
pub(in crate::node) struct Safe {
    pub(super) put: Vec<WriteId>,
    pub(super) noted: Vec<Note>,
    pub(super) ended: Vec<WriteId>,
    /// Without room: these were certainly not added.
    pub(super) refused: Vec<(WriteId, Refusal)>,
    /// Nothing more is added, and what of this turn is there nobody knows.
    pub(super) failed: Option<Refusal>,
    /// What was to be put when it failed.
    pub(super) lost: Vec<WriteId>,
}

/// What the thread will have, before it has begun.
pub(in crate::node) struct Thread {
    file: OutboxFile,
    jobs: Receiver<Job>,
    ended: watched::Sender<bool>,
}

impl Thread {
    pub(super) fn new(file: OutboxFile) -> (Sender<Job>, Thread) {
        let (sender, jobs) = channel();
        (sender, Thread { file, jobs, ended: watched::Sender::new(false) })
    }

    /// Is told when it has let go of the folder.
    pub(super) fn end(&self) -> watched::Receiver<bool> {
        self.ended.subscribe()
    }

    /// Begins it. It ends when the sender is dropped.
    pub(in crate::node) fn begin(self, node: Weak<NodeShared>) -> Result<(), Error> {
        let Thread { file, jobs, ended } = self;
        let begun = std::thread::Builder::new().name("convoke-outbox".to_owned()).spawn(move || {
            run(file, &jobs, &node);
            ended.send_replace(true);
        });
        begun.map(drop).map_err(|error| Error::io("the thread of an outbox", error))
    }
}

fn run(mut file: OutboxFile, jobs: &Receiver<Job>, node: &Weak<NodeShared>) {
    while let Ok(first) = jobs.recv() {
        let mut turn = vec![first];
        turn.extend(jobs.try_iter());
        let safe = keep(&mut file, turn);
        let failed = safe.failed.is_some();
        if let Some(node) = node.upgrade() {
            node.outbox_safe(safe);
        }
        if failed {
            break;
        }
    }
}

fn keep(file: &mut OutboxFile, turn: Vec<Job>) -> Safe {
    let mut safe = Safe::default();
    let records = turn.iter().map(|job| job.record().clone()).collect();
    let mut refused = false;
    if let Err((whole, error)) = file.add(records) {
        // Without room the small ones may still fit.
        let small: Vec<Record> =
            turn.iter().filter(|job| !matches!(job, Job::Put(..))).map(|job| job.record().clone()).collect();
        refused = whole && (small.is_empty() || file.add(small).is_ok());
        let why = match error.kind() {
            std::io::ErrorKind::StorageFull => (Code::StorageFull, "the disk is full; make room and append it again"),
            _ if refused => (Code::StorageFailed, "it cannot be written; look at its disk"),
            _ => (Code::StorageFailed, "it cannot be written any more; look at its disk, then start the program again"),
        };
        let why = Refusal::new(why.0, format!("the outbox: {} ({error})", why.1));
        if refused {
            safe.refused = puts(&turn).map(|id| (id, why.clone())).collect();
        } else {
            safe.lost = puts(&turn).collect();
            safe.failed = Some(why);
            return safe;
        }
    }
    for job in turn {
        match job {
            Job::Put(id, _) if !refused => safe.put.push(id),
            Job::Put(..) | Job::Told(_) => {}
            Job::Note(note, _) => {
                if !safe.refused.iter().any(|(id, _)| *id == note.id) {
                    safe.noted.push(note);
                }
            }
            Job::End(id, _) => safe.ended.push(id),
        }
    }
    safe
}

fn puts(turn: &[Job]) -> impl Iterator<Item = WriteId> {
    turn.iter().filter_map(|job| if let Job::Put(id, _) = job { Some(*id) } else { None })
}

/// What became of something, as it is kept.
pub(super) fn end_of(result: Result<convoke_core::node::Wrote, convoke_core::node::NotWritten>) -> End {
    match result {
        Ok(wrote) => End::Done(wrote.rev.n),
        Err(not) if not.certain => End::NotDone(not.why),
        Err(not) => End::Unknown(not.why, not.op),
    }
}
