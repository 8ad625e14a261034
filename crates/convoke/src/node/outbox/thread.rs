//! The thread of an outbox: it alone waits for the disk. What gathers meanwhile is made safe with one sync.

use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use convoke_core::node::{Note, WriteId};
use convoke_core::{Code, Refusal};
use tokio::sync::watch as watched;

use super::file::{End, OutboxFile, Record, full, no_room};
use crate::error::Error;
use crate::node::NodeShared;

/// How often it is tried again when there was no room.
const ROOM_TIME: Duration = Duration::from_secs(1);

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
    // What there was no room for, and can wait for it.
    let mut waiting = Vec::new();
    loop {
        let first = if waiting.is_empty() { jobs.recv().ok().map(Some) } else { next_within(jobs) };
        let Some(first) = first else {
            if !waiting.is_empty() {
                // There may be room now. Otherwise the next program asks the hub.
                keep(&mut file, waiting);
            }
            break;
        };
        let is_new = waiting.is_empty();
        let mut turn = std::mem::take(&mut waiting);
        turn.extend(first);
        turn.extend(jobs.try_iter());
        let safe;
        (safe, waiting) = keep(&mut file, turn);
        if is_new && !waiting.is_empty() {
            let folder = file.folder().display();
            tracing::warn!("outbox `{folder}`: there is no room on its disk, and nothing is sent until there is some");
        }
        let failed = safe.failed.is_some();
        if let Some(node) = node.upgrade() {
            node.outbox_safe(safe);
        }
        if failed {
            break;
        }
    }
}

/// The next job, or nothing after a while; `None` when there are no more.
fn next_within(jobs: &Receiver<Job>) -> Option<Option<Job>> {
    match jobs.recv_timeout(ROOM_TIME) {
        Ok(job) => Some(Some(job)),
        Err(RecvTimeoutError::Timeout) => Some(None),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

/// Makes safe what it can, and gives back what waits until there is room.
fn keep(file: &mut OutboxFile, mut turn: Vec<Job>) -> (Safe, Vec<Job>) {
    let (mut safe, mut waiting) = (Safe::default(), Vec::new());
    let records = turn.iter().map(|job| job.record().clone()).collect();

    if let Err((whole, error)) = file.add(records) {
        let why = |code, what: &str| Refusal::new(code, format!("the outbox: {what}"));
        // Without room the small ones may still fit.
        let (posts, small): (Vec<Job>, Vec<Job>) = turn.into_iter().partition(|job| matches!(job, Job::Put(..)));
        let records: Vec<Record> = small.iter().map(|job| job.record().clone()).collect();
        let added = match whole {
            true if records.is_empty() => Ok(()),
            true => file.add(records),
            false => Err((false, std::io::Error::other("it is not known what was written"))),
        };
        match added {
            Ok(()) => turn = small,
            // They are what sends what is there, and so what makes room; nobody has to be told of them meanwhile.
            Err((true, error)) if no_room(&error) => (turn, waiting) = (Vec::new(), small),
            Err(_) => {
                let what = "it cannot be written any more; look at its disk, then start the program again";
                safe.failed = Some(why(Code::StorageFailed, &format!("{what} ({error})")));
                safe.lost = ids(&posts).collect();
                return (safe, Vec::new());
            }
        }
        let refused = match no_room(&error) {
            true => why(Code::StorageFull, &full(&error)),
            false => why(Code::StorageFailed, &format!("it cannot be written; look at its disk ({error})")),
        };
        safe.refused = ids(&posts).map(|id| (id, refused.clone())).collect();
        // Under which name it would have been sent is of no use to anybody.
        let of_post = |job: &Job| matches!(job, Job::Note(note, _) if ids(&posts).any(|id| id == note.id));
        waiting.retain(|job| !of_post(job));
        turn.retain(|job| !of_post(job));
    }
    for job in turn {
        match job {
            Job::Put(id, _) => safe.put.push(id),
            Job::Told(_) => {}
            Job::Note(note, _) => safe.noted.push(note),
            Job::End(id, _) => safe.ended.push(id),
        }
    }
    (safe, waiting)
}

fn ids(posts: &[Job]) -> impl Iterator<Item = WriteId> {
    posts.iter().filter_map(|job| if let Job::Put(id, _) = job { Some(*id) } else { None })
}

/// What became of something, as it is kept.
pub(super) fn end_of(result: Result<convoke_core::node::Wrote, convoke_core::node::NotWritten>) -> End {
    match result {
        Ok(wrote) => End::Done(wrote.rev.n),
        Err(not) if not.certain => End::NotDone(not.why),
        Err(not) => End::Unknown(not.why, not.op),
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::frame::Incarnation;
    use convoke_core::{Name, OpId};

    use super::*;

    const OP: OpId =
        OpId { history: [3; 16], incarnation: Incarnation { epoch: 4, counter: 5 }, journal: true, cseq: 6 };

    fn put(id: WriteId) -> Job {
        let journal = Name::parse("todo").unwrap();
        Job::Put(id, Record::Put { number: id, journal, appended: vec![7; 1000] })
    }

    fn note(id: WriteId) -> Job {
        Job::Note(Note { id, op: OP }, Record::Note { number: id, op: OP })
    }

    fn end(id: WriteId) -> Job {
        Job::End(id, Record::End { number: id, end: End::Done(id), told: false })
    }

    fn noted(safe: &Safe) -> Vec<WriteId> {
        safe.noted.iter().map(|note| note.id).collect()
    }

    fn refused(safe: &Safe) -> Vec<(WriteId, Code)> {
        safe.refused.iter().map(|(id, why)| (*id, why.code)).collect()
    }

    /// An outbox without any room could do nothing any more, and what was posted just then was told to be lost, perhaps.
    #[test]
    fn on_a_full_disk_what_is_posted_is_refused_and_what_is_to_be_noted_waits_for_room() {
        let folder = tempfile::tempdir().unwrap();
        let name = Name::parse("press").unwrap();
        let mut file = OutboxFile::open(folder.path(), &name).unwrap();
        let (safe, waiting) = keep(&mut file, vec![put(1), note(1)]);
        assert_eq!((safe.put, safe.noted.len(), waiting.len()), (vec![1], 1, 0));
        let full = std::fs::metadata(folder.path().join("outbox")).unwrap().len();
        // There is room for what is small.
        file.room = full + 500;
        let (safe, waiting) = keep(&mut file, vec![put(2), note(2), note(1), end(1)]);
        assert_eq!((refused(&safe), noted(&safe), waiting.len()), (vec![(2, Code::StorageFull)], vec![1], 0));
        assert_eq!((&safe.put[..], &safe.ended[..], &safe.failed), (&[][..], &[1][..], &None));
        // There is none at all.
        file.room = 0;
        let (safe, waiting) = keep(&mut file, vec![put(3), note(3), note(1), end(1)]);
        assert_eq!((refused(&safe), noted(&safe), waiting.len()), (vec![(3, Code::StorageFull)], vec![], 2));
        assert_eq!((&safe.ended[..], &safe.lost[..], &safe.failed), (&[][..], &[][..], &None));
        let (safe, waiting) = keep(&mut file, waiting);
        assert_eq!((safe.ended.len(), waiting.len()), (0, 2), "there is still none");
        file.room = u64::MAX;
        let (safe, waiting) = keep(&mut file, waiting.into_iter().chain([put(4)]).collect());
        assert_eq!((noted(&safe), safe.ended, safe.put, waiting.len()), (vec![1], vec![1], vec![4], 0));
        drop(file);
        let contents = OutboxFile::open(folder.path(), &name).unwrap().contents().clone();
        assert_eq!(contents.open.keys().collect::<Vec<_>>(), [&4], "what was refused is not there");
        assert_eq!(contents.ends.len(), 1);
    }
}
