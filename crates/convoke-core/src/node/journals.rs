//! The node's side of journals: what it follows, entry by entry, over all its links.

mod snapshots;

use std::collections::{BTreeMap, VecDeque};

use super::{NodeState, Phase, RequestId, named};
use crate::bug::{Bug, planted};
use crate::frame::{Appended, Back, Carried, Commands, Follow, FollowAs, Frame, Terms, Told};
use crate::journal::{Entry, Strategy};
use crate::limits::{BATCH_ITEMS_MAX, COMMAND_BYTES_MAX, LINK_CONTROL_BYTES_MAX, STUCK_BYTES_MAX, WATCH_WINDOW_BYTES};
use crate::name::Name;
use crate::node::values::WriteId;
use crate::outgoing::Lanes;
use crate::payload::{Encoding, Payload};
use crate::refusal::{Code, Refusal};
use snapshots::Half;

/// The hub is told that there is room again when so many bytes were taken since it was last told.
const TAKEN_BYTES_MIN: usize = WATCH_WINDOW_BYTES / 2;

/// What a follower gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The next entry; with its command, if it is one.
    Entry(Entry, Option<Payload>),
    /// The state behind an entry, in the place of all entries up to it. Only who can begin with one gets it.
    Base {
        /// The place of that entry; the next one follows.
        seq: u64,
        /// The state, as whoever made the snapshot has encoded it.
        state: Vec<u8>,
    },
    /// Entries are not kept any more that were to come here.
    Compacted {
        /// The first that is kept, which follows.
        first: u64,
    },
    /// It has ended; nothing follows.
    Ended(Refusal),
}

/// A journal that is followed.
pub(super) struct Following {
    journal: Name,
    follow_as: FollowAs,
    /// Everything up to here has come, and the hash of the last; zero if it is not known.
    received: u64,
    hash: [u8; 16],
    strategy: Option<Strategy>,
    /// It can begin with a snapshot whose maker knew entries up to here at most.
    snapshot_max: u64,
    /// What has come of one.
    half: Option<Half>,
    /// The hash of each entry is computed anew.
    verify: Verify,
    queue: VecDeque<Queued>,
    /// The last that the program has taken, and its hash.
    taken_last: (u64, [u8; 16]),
    /// Bytes that were taken since the hub was told.
    taken: usize,
    queued_bytes: usize,
    /// The hub was asked, on the link that there is now.
    asked: bool,
    /// It has answered at least once.
    begun: bool,
    /// The last that there was when the hub said that it was all, on the link that there is now.
    all: Option<u64>,
    /// What the program has applied, and what of that the hub was told.
    applied: (u64, u64),
    /// Why it cannot apply the next, and whether the hub was told on the link that there is now.
    stuck: Option<(String, bool)>,
    ended: bool,
}

/// Which entries are compared with their hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    /// All.
    All,
    /// The next only.
    Next,
    /// None.
    None,
}

/// How a journal is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowWish {
    /// Behind this entry.
    pub after: u64,
    /// The hash of that entry; zeros if it is not known.
    pub hash: [u8; 16],
    /// As what.
    pub follow_as: FollowAs,
    /// The journal must undo in this way.
    pub strategy: Option<Strategy>,
    /// It can begin with a snapshot, or go on from one, whose maker knew entries up to here at most; zero for none. Up to there
    /// states that come of a snapshot lack what was undone only later.
    pub snapshot_max: u64,
    /// The hash of each entry is computed anew, and compared; else only of the first on each link.
    pub verify: bool,
}

/// What waits for the program, with its place, its bytes and its hash.
type Queued = (Followed, usize, [u8; 16]);

/// All journals that a node follows.
pub(super) type Followings = BTreeMap<RequestId, Following>;

impl Following {
    fn ask(&mut self, id: RequestId, lanes: &mut Lanes) {
        if self.ended {
            return;
        }
        self.asked = true;
        // What waits here counts against what may be on its way.
        let window = WATCH_WINDOW_BYTES.saturating_sub(self.queued_bytes);
        self.taken = 0;
        self.half = None;
        self.verify_next();
        self.applied.1 = 0;
        if let Some((_, told)) = &mut self.stuck {
            *told = false;
        }
        let follow = Follow {
            id,
            follow_as: self.follow_as,
            window: u32::try_from(window).unwrap_or(u32::MAX),
            after: self.received,
            hash: self.hash,
            strategy: self.strategy,
            snapshot: self.snapshot_max,
            journal: self.journal.as_str().as_bytes(),
        };
        Frame::Follow(follow).encode(&mut lanes.control);
    }

    /// Whether what the hub tells for it is still for it.
    fn listens(&self) -> bool {
        self.asked && !self.ended
    }

    fn tell_applied(&mut self, id: RequestId, lanes: &mut Lanes) {
        let (applied, told) = self.applied;
        let stuck_told = self.stuck.as_ref().is_none_or(|(_, told)| *told);
        if (applied > told || !stuck_told) && self.asked {
            self.applied.1 = applied;
            let stuck = self.stuck.as_mut().map_or("", |(why, told)| {
                *told = true;
                why
            });
            Frame::Applied { id, seq: applied, stuck }.encode(&mut lanes.control);
        }
    }

    fn end(&mut self, why: Refusal) -> bool {
        self.ended = true;
        self.queue.push_back((Followed::Ended(why), 0, [0; 16]));
        !std::mem::replace(&mut self.begun, true)
    }
}

impl NodeState {
    /// Appends commands to a journal, 1 to 256 of them, which are undone as one. It is answered by
    /// [`written_writes`](NodeState::written_writes) with the place of the first as its revision, and until then kept and
    /// sent again as often as links come: it happens once. Appends and writes of one node happen in the order in which they
    /// were given.
    ///
    /// # Errors
    ///
    /// In every case it certainly will not happen. [`Code::Backpressure`] when too much waits already;
    /// [`Code::TooLarge`]; [`Code::BadRequest`] with too many commands, or none; the node has ended.
    pub fn append<'c>(
        &mut self,
        journal: &Name,
        commands: impl ExactSizeIterator<Item = (Encoding, &'c [u8])> + Clone,
        expect_last: Option<u64>,
    ) -> Result<WriteId, Refusal> {
        self.append_on(journal, commands, expect_last, Terms::default())
    }

    /// The same, saying how the commands are undone.
    ///
    /// # Errors
    ///
    /// As [`append`](NodeState::append).
    pub fn append_on<'c>(
        &mut self,
        journal: &Name,
        commands: impl ExactSizeIterator<Item = (Encoding, &'c [u8])> + Clone,
        expect_last: Option<u64>,
        terms: Terms<'_>,
    ) -> Result<WriteId, Refusal> {
        let count = commands.len();
        if count == 0 || count > BATCH_ITEMS_MAX {
            let text = format!(
                "append to `{journal}`: it has {count} commands, and 1 to {BATCH_ITEMS_MAX} are possible at once"
            );
            return Err(Refusal::new(Code::BadRequest, text));
        }
        if let Some((_, long)) = commands.clone().find(|(_, payload)| payload.len() > COMMAND_BYTES_MAX) {
            let len = long.len();
            let text = format!("append to `{journal}`: a command has {len} bytes, and {COMMAND_BYTES_MAX} at most");
            return Err(Refusal::new(Code::TooLarge, text));
        }
        let commands = Commands::encode(commands);
        self.push_append(journal, Appended::Commands { commands: Commands::encoded(&commands), expect_last, terms })
    }

    /// Undoes what was done in a journal. Answered like [`append`](NodeState::append).
    ///
    /// # Errors
    ///
    /// As [`append`](NodeState::append).
    pub fn undo(&mut self, journal: &Name, back: Back) -> Result<WriteId, Refusal> {
        self.push_append(journal, Appended::Undo(back))
    }

    /// Appends an entry of another hub's journal, as its link. Answered like [`append`](NodeState::append); with place zero
    /// if it was known already.
    ///
    /// # Errors
    ///
    /// As [`append`](NodeState::append).
    pub fn carry(&mut self, journal: &Name, carried: Carried<'_>) -> Result<WriteId, Refusal> {
        self.push_append(journal, Appended::Carried(carried))
    }

    /// Does again what was undone in a journal. Answered like [`append`](NodeState::append).
    ///
    /// # Errors
    ///
    /// As [`append`](NodeState::append).
    pub fn redo(&mut self, journal: &Name, back: Back) -> Result<WriteId, Refusal> {
        self.push_append(journal, Appended::Redo(back))
    }

    fn push_append(&mut self, journal: &Name, appended: Appended<'_>) -> Result<WriteId, Refusal> {
        if let Phase::Ended = self.phase {
            return Err(self.offline(&format!("{} `{journal}`", appended.tried())));
        }
        self.write_appended(journal, appended)
    }

    /// Follows a journal. Its number is also that of the
    /// request, which is answered when the hub has begun to tell. While there is no link it waits for one; over reconnections
    /// it goes on exactly behind what had come. A journal that does not undo as is wished is refused.
    ///
    /// # Errors
    ///
    /// The node has ended; [`Code::Backpressure`] when the link has yet to take what was asked before.
    pub fn follow(&mut self, journal: Name, wish: FollowWish) -> Result<RequestId, Refusal> {
        if let Phase::Ended = self.phase {
            return Err(self.offline(&format!("follow `{journal}`")));
        }
        if self.lanes.control.len() > LINK_CONTROL_BYTES_MAX {
            let text = format!("follow `{journal}`: too much waits for the link already");
            return Err(Refusal::new(Code::Backpressure, text));
        }
        self.attend();
        let id = self.next_id();
        let FollowWish { after, hash, follow_as, strategy, snapshot_max, verify } = wish;
        let mut following = Following {
            journal,
            follow_as,
            received: after,
            hash,
            strategy,
            snapshot_max,
            half: None,
            verify: if verify { Verify::All } else { Verify::Next },
            taken_last: (after, hash),
            queue: VecDeque::new(),
            taken: 0,
            queued_bytes: 0,
            asked: false,
            begun: false,
            all: None,
            applied: (0, 0),
            stuck: None,
            ended: false,
        };
        if self.is_joined() {
            following.ask(id, &mut self.lanes);
        }
        self.followings.insert(id, following);
        Ok(id)
    }

    /// Ends it at once; what waits is dropped.
    pub fn unfollow(&mut self, id: RequestId) {
        let Some(following) = self.followings.remove(&id) else { return };
        if self.is_joined() && following.asked {
            Frame::Unsubscribe { id }.encode(&mut self.lanes.control);
        }
        if !following.ended {
            self.unattend();
        }
    }

    /// Takes what is next of a journal, and tells the hub from time to time that there is room again: so what waits for the
    /// link is to be written after this. `None` if nothing waits.
    pub fn take_entry(&mut self, id: RequestId) -> Option<Followed> {
        let following = self.followings.get_mut(&id)?;
        let (next, bytes, hash) = following.queue.pop_front()?;
        match &next {
            Followed::Entry(Entry { seq, .. }, _) | Followed::Base { seq, .. } => following.taken_last = (*seq, hash),
            Followed::Compacted { first } => following.taken_last = (first - 1, hash),
            Followed::Ended(_) => {}
        }
        following.queued_bytes -= bytes;
        following.taken += bytes;
        if following.asked && following.taken >= TAKEN_BYTES_MIN {
            let bytes = u32::try_from(std::mem::take(&mut following.taken)).unwrap_or(u32::MAX);
            Frame::Taken { id, bytes }.encode(&mut self.lanes.control);
        }
        Some(next)
    }

    /// The program has applied everything up to this entry. The hub is told with what leaves next: once, however many entries
    /// were applied until then. True if there is something to tell now.
    pub fn applied(&mut self, id: RequestId, seq: u64) -> bool {
        let Some(following) = self.followings.get_mut(&id).filter(|following| seq > following.applied.0) else {
            return false;
        };
        following.applied.0 = seq;
        following.asked && self.unacknowledged.insert(id)
    }

    /// The program cannot apply the entry behind those that it has applied, and goes no further: the hub is told why, also on
    /// later links. It stays a member. True if there is something to tell now.
    pub fn stuck(&mut self, id: RequestId, why: &str) -> bool {
        let Some(following) = self.followings.get_mut(&id) else { return false };
        following.stuck = Some((why[..why.floor_char_boundary(STUCK_BYTES_MAX)].to_owned(), false));
        following.asked && self.unacknowledged.insert(id)
    }

    /// Tells the hub what was applied since it was last told.
    pub(super) fn acknowledge(&mut self) {
        while let Some(id) = self.unacknowledged.pop_first() {
            if let Some(following) = self.followings.get_mut(&id) {
                following.tell_applied(id, &mut self.lanes);
            }
        }
    }

    /// Up to where the journal was known when the hub had told all that there was, on the link that there is now; `None` until
    /// then.
    pub fn follows_up_to(&self, id: RequestId) -> Option<u64> {
        self.followings.get(&id)?.all
    }

    /// The last entry that the program has taken, and its hash, which is of all before it too.
    pub fn taken_hash(&self, id: RequestId) -> Option<(u64, [u8; 16])> {
        self.followings.get(&id).map(|following| following.taken_last)
    }

    /// The hash of the last entry that has come, and of all before it.
    pub fn followed_hash(&self, id: RequestId) -> Option<(u64, [u8; 16])> {
        self.followings.get(&id).map(|following| (following.received, following.hash))
    }

    pub(super) fn entry(&mut self, told: &Told<'_>) -> Result<(), Refusal> {
        // Otherwise it was on its way when it was ended.
        let Some(following) = self.followings.get_mut(&told.id).filter(|following| following.listens()) else {
            return Ok(());
        };
        if told.seq != following.received + 1 {
            let text = format!("bad frame: entry {} came behind entry {}", told.seq, following.received);
            return Err(Refusal::new(Code::BadFrame, text));
        }
        let author = named(told.author)?;
        if !following.is_next(told) {
            let text = format!(
                "follow `{}`: entry {} is not what its hash says, or not what followed entry {}: it was changed on the \
                 way, or where it is kept",
                following.journal, told.seq, following.received
            );
            self.answer_follow(told.id, &Err(Refusal::new(Code::StorageFailed, text)));
            Frame::Unsubscribe { id: told.id }.encode(&mut self.lanes.control);
            return Ok(());
        }
        (following.received, following.hash) = (told.seq, told.hash);
        let entry = Entry {
            seq: told.seq,
            author,
            wall_ms: told.wall_ms,
            deed: told.deed,
            provenance: told.provenance.boxed(),
        };
        let (encoding, bytes) = told.payload;
        let payload = match told.deed {
            crate::journal::Deed::Do { .. } => Some(Payload { encoding, bytes: self.copies.copy(bytes) }),
            _ => None,
        };
        let bytes = told.frame_bytes();
        following.queued_bytes += bytes;
        following.queue.push_back((Followed::Entry(entry, payload), bytes, told.hash));
        if !std::mem::replace(&mut following.begun, true) {
            self.answers.push((told.id, Ok(0)));
        }
        self.woken.push(told.id);
        Ok(())
    }

    /// The hub is done with telling what there is, or refuses. False if it is no follower.
    pub(super) fn answer_follow(&mut self, id: RequestId, result: &Result<u64, Refusal>) -> bool {
        let Some(following) = self.followings.get_mut(&id) else { return false };
        if !following.listens() {
            return true;
        }
        match result {
            Ok(last) => {
                following.all = Some(*last);
                if !std::mem::replace(&mut following.begun, true) {
                    self.answers.push((id, Ok(0)));
                }
            }
            Err(why) => {
                if following.end(why.clone()) {
                    self.answers.push((id, Err(why.clone())));
                }
                self.unattend();
            }
        }
        self.woken.push(id);
        true
    }

    pub(super) fn follow_link_lost(&mut self) {
        // It is told with the follower, on the next link.
        self.unacknowledged.clear();
        for following in self.followings.values_mut() {
            following.asked = false;
            following.all = None;
            if planted(Bug::QueueGoesWithLink) {
                following.queue.clear();
                following.queued_bytes = 0;
            }
        }
    }

    pub(super) fn follow_joined(&mut self) {
        let again = |following: &Following| !(following.begun && planted(Bug::FollowersNotRestored));
        for (id, following) in self.followings.iter_mut().filter(|(_, following)| again(following)) {
            following.ask(*id, &mut self.lanes);
        }
        // Behind all of them: of two that follow one journal the one that lags counts, from the first on.
        for (id, following) in &mut self.followings {
            following.tell_applied(*id, &mut self.lanes);
        }
    }

    /// No link will come any more.
    pub(super) fn end_follows(&mut self, why: &Refusal) {
        for (id, following) in &mut self.followings {
            if !following.ended && following.end(why.clone()) {
                self.answers.push((*id, Err(why.clone())));
            }
            self.woken.push(*id);
        }
    }
}
