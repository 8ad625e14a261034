//! The backups that a hub gives: one at a time, a piece for each call. What is in it is as of the first call, and is read by a
//! thread of its own, which holds up neither links nor commits.
//!
//! A call says which backup it means, by a number that the caller has chosen, and from which byte on; the last piece can be
//! asked for again, since its reply may have been lost. An empty piece is the end.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Instant;

use convoke_core::limits::BACKUP_PAUSE_MAX;
use convoke_core::{BackupCall, Code, HubIdentity, LinkId, Refusal};

use super::shared::HubShared;
use super::wall_ms;
use crate::store::backup::Encoder;

/// Where calls for backups go.
#[derive(Default)]
pub(super) struct Backups {
    thread: Option<mpsc::Sender<BackupCall>>,
}

impl Backups {
    /// Lets a call be answered.
    pub(super) fn call(&mut self, call: BackupCall, shared: &Arc<HubShared>) {
        let unsent = match &self.thread {
            Some(thread) => thread.send(call).err().map(|unsent| unsent.0),
            None => Some(call),
        };
        let Some(call) = unsent else { return };
        let (send, calls) = mpsc::channel();
        let (link, number) = (call.link, call.number);
        // It is the first in the queue.
        let _ = send.send(call);
        let weak = Arc::downgrade(shared);
        let started = std::thread::Builder::new().name("convoke-backup".into()).spawn(move || give(&weak, &calls));
        match started {
            Ok(_) => self.thread = Some(send),
            Err(error) => {
                let text = format!("backup: the hub cannot start a thread for it: {error}");
                shared.lock().answer_backup(link, number, Err(Refusal::new(Code::Busy, text)));
                shared.wake();
            }
        }
    }
}

/// A backup that is being given.
struct Given {
    id: u64,
    /// Who has asked for its last piece, and when.
    link: LinkId,
    asked: Instant,
    encoder: Encoder,
    /// What of it comes next, and where it begins.
    ready: Vec<u8>,
    at: u64,
    /// The last piece that was given, which begins there.
    last: (u64, Vec<u8>),
    is_over: bool,
}

/// Answers calls until the hub has ended. A backup of which no more is asked for is given up after a while.
fn give(shared: &Weak<HubShared>, calls: &mpsc::Receiver<BackupCall>) {
    let mut given: Option<Given> = None;
    loop {
        let call = match &given {
            None => calls.recv().map_err(RecvTimeoutError::from),
            // Those who want another one meanwhile do not make it last longer.
            Some(given) => calls.recv_timeout(BACKUP_PAUSE_MAX.saturating_sub(given.asked.elapsed())),
        };
        let call = match call {
            Ok(call) => call,
            Err(RecvTimeoutError::Timeout) => {
                given = None;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        given = given.filter(|given| given.asked.elapsed() < BACKUP_PAUSE_MAX);
        let Some(hub) = shared.upgrade() else { return };
        let (identity, piece_bytes) = hub.lock().gives_backups_of();
        let piece = answer(&mut given, &call, &hub, identity, piece_bytes);
        if piece.is_err() {
            given = given.filter(|given| Some(given.id) != wanted(&call.wanted).map(|(id, _)| id));
        }
        hub.lock().answer_backup(call.link, call.number, piece.as_deref().map_err(Clone::clone));
        hub.wake();
    }
}

/// Which backup is meant, and from which byte on.
fn wanted(call: &[u8]) -> Option<(u64, u64)> {
    let (id, at) = call.split_first_chunk()?;
    Some((u64::from_le_bytes(*id), u64::from_le_bytes(at.try_into().ok()?)))
}

fn answer(
    given: &mut Option<Given>,
    call: &BackupCall,
    hub: &HubShared,
    identity: HubIdentity,
    piece_bytes: usize,
) -> Result<Vec<u8>, Refusal> {
    let refused = |code, text: &str| Err(Refusal::new(code, format!("backup: {text}")));
    let Some((id, at)) = wanted(&call.wanted) else {
        return refused(Code::BadRequest, "a call of it says a number of 8 bytes and a place of 8 bytes");
    };
    match given {
        Some(given) if given.id == id => (given.link, given.asked) = (call.link, Instant::now()),
        // One whose link is gone may have been killed, or have found no room: it is not waited for if there is another.
        Some(given) if !given.is_over && hub.lock().is_joined(given.link) => {
            return refused(Code::Busy, "another one is being made; try again when it is done, or in a minute");
        }
        _ if at > 0 => return refused(Code::Conflict, "the hub has given it up; begin another one"),
        _ => {
            let (give, image) = mpsc::channel();
            if !hub.want_image(give) {
                return refused(Code::BadRequest, "this hub keeps nothing");
            }
            let image = match image.recv() {
                Ok(image) => image?,
                Err(_) => return refused(Code::HubStopping, "the hub's store has ended"),
            };
            let encoder = Encoder::new(image, identity, wall_ms());
            let (link, asked) = (call.link, Instant::now());
            *given = Some(Given {
                id,
                link,
                asked,
                encoder,
                ready: Vec::new(),
                at: 0,
                last: (0, Vec::new()),
                is_over: false,
            });
        }
    }
    let Some(given) = given else { unreachable!("it was made where there was none") };
    given.piece(at, piece_bytes)
}

impl Given {
    fn piece(&mut self, at: u64, bytes: usize) -> Result<Vec<u8>, Refusal> {
        if at == self.last.0 && at < self.at {
            return Ok(self.last.1.clone());
        }
        if at != self.at {
            let text = "backup: its pieces are asked for one behind the other; begin another one";
            return Err(Refusal::new(Code::Conflict, text));
        }
        while self.ready.len() < bytes {
            match self.encoder.next() {
                Ok(Some(more)) => self.ready.extend_from_slice(&more),
                Ok(None) => break,
                Err(why) => {
                    return Err(Refusal::new(Code::Busy, format!("backup: the store cannot be read now: {why}")));
                }
            }
        }
        let rest = self.ready.split_off(self.ready.len().min(bytes));
        let piece = std::mem::replace(&mut self.ready, rest);
        self.is_over = piece.is_empty();
        self.last = (self.at, piece.clone());
        self.at += piece.len() as u64;
        Ok(piece)
    }
}
