//! What a hub's thread, the callers of its `mem://` links and its store share: the state, under one lock.
//!
//! Whoever has held the lock leaves nothing unsaid between the state and its foundation: what the state asks for is given
//! to the foundation before the lock is let go of. A foundation in memory answers under the same lock; a store answers
//! later, from its own thread.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use convoke_core::foundation::{Memory, Told};
use convoke_core::{Code, HubState, LinkId, Notice, Refusal};
use tokio::sync::{Notify, watch};

use super::now;
use crate::error::Error;
use crate::store::{Queue, Tell, WantImage};
use crate::transport::mem::{self, MemLinks};

/// So much of what the store tells is taken in one turn; then others have theirs. A thousand small writes take about a
/// millisecond.
const TOLD_IN_A_TURN: usize = 256;

/// What orders and keeps for this hub.
pub(crate) enum Foundation {
    /// Keeps nothing.
    Memory(Memory),
    /// Keeps it in a file; here is where to ask.
    Store(Arc<Queue>),
}

/// How it stands with what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Keeping {
    /// What was kept is being read.
    Starting,
    /// It was read, and more is kept.
    Ready,
    /// Nothing is kept any more.
    Failed(Refusal),
}

/// The state, and what it asks.
struct Core {
    state: HubState,
    foundation: Foundation,
}

/// What the hub's thread, the callers of its `mem://` links and its store share.
pub(crate) struct HubShared {
    core: Mutex<Core>,
    /// Links over sockets that another thread has written for.
    pub(super) handed_over: Mutex<Vec<LinkId>>,
    pub(super) wake: Notify,
    pub(crate) mems: MemLinks,
    keeping: watch::Sender<Keeping>,
}

impl std::fmt::Debug for HubShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HubShared")
    }
}

impl HubShared {
    pub(super) fn new(state: HubState, foundation: Foundation) -> HubShared {
        HubShared {
            core: Mutex::new(Core { state, foundation }),
            handed_over: Mutex::new(Vec::new()),
            wake: Notify::new(),
            mems: MemLinks::default(),
            keeping: watch::Sender::new(Keeping::Starting),
        }
    }

    /// The state, for one turn.
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked { core: self.core.lock().expect("a turn never panics"), shared: self }
    }

    /// After a turn in another thread: lets the hub's thread write what concerns sockets, and gives back the rest.
    pub(crate) fn hand_over(&self, touched: Vec<LinkId>) -> Vec<Arc<mem::MemLink>> {
        let mut here = Vec::new();
        let mut there = Vec::new();
        for link in touched {
            match self.mems.get(link) {
                Some(mem) => here.push(mem),
                None => there.push(link),
            }
        }
        if !there.is_empty() {
            self.handed_over.lock().expect("nothing in it panics").append(&mut there);
            self.wake.notify_one();
        }
        here
    }

    /// Does something with the state from outside of its links, and carries what comes of it.
    pub(super) fn carry(&self, turn: impl FnOnce(&mut HubState)) {
        let touched = {
            let mut state = self.lock();
            turn(&mut state);
            state.settle();
            std::iter::from_fn(|| state.touched()).collect()
        };
        for link in self.hand_over(touched) {
            mem::pump(&link);
        }
        self.wake();
    }

    /// A deadline may have come nearer.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until what was kept is there.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        let mut keeping = self.keeping.subscribe();
        let known = keeping.wait_for(|keeping| *keeping != Keeping::Starting).await;
        match &*known.expect("the sender is in self") {
            Keeping::Failed(why) => Err(Error::Refused(why.clone())),
            _ => Ok(()),
        }
    }

    /// Waits until nothing is kept any more, and says why.
    pub(super) async fn failed(&self) -> Refusal {
        let mut keeping = self.keeping.subscribe();
        let known = keeping.wait_for(|keeping| matches!(keeping, Keeping::Failed(_))).await;
        match &*known.expect("the sender is in self") {
            Keeping::Failed(why) => why.clone(),
            other => unreachable!("waited for a failure, not for {other:?}"),
        }
    }

    /// What the state has noticed about the foundation.
    pub(super) fn heed(&self, notice: &Notice) {
        if let Notice::Failed(why) = notice {
            self.keeping(Keeping::Failed(why.clone()));
        }
    }

    fn keeping(&self, now: Keeping) {
        self.keeping.send_if_modified(|keeping| {
            let news = *keeping != now && !matches!(keeping, Keeping::Failed(_));
            if news {
                *keeping = now;
            }
            news
        });
    }

    /// Wants an image of all that is kept, as it is now. False if nothing is.
    pub(super) fn want_image(&self, give: WantImage) -> bool {
        let mut locked = self.lock();
        // What has changed is asked to be kept first.
        locked.settle();
        match &locked.core.foundation {
            Foundation::Store(queue) => queue.want_image(give),
            Foundation::Memory(_) => return false,
        }
        true
    }

    /// What the store's thread tells this hub, as long as it is there.
    pub(super) fn hearing(self: &Arc<Self>) -> Tell {
        let hearing = Hearing(Arc::downgrade(self));
        Box::new(move |told| {
            if let Some(shared) = hearing.0.upgrade() {
                shared.told(told);
            }
        })
    }

    fn told(&self, told: Vec<Told>) {
        let mut told = told.into_iter().peekable();
        while told.peek().is_some() {
            let mut locked = self.lock();
            let now = now();
            for told in told.by_ref().take(TOLD_IN_A_TURN) {
                locked.told(told, now);
            }
            locked.look();
        }
        self.wake();
    }
}

/// Knows if the store's thread ends in a way that nobody has foreseen.
struct Hearing(Weak<HubShared>);

impl Drop for Hearing {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(shared) = self.0.upgrade()
        {
            let why = Refusal::new(Code::StorageFailed, "the thread of the hub's store has panicked");
            shared.keeping(Keeping::Failed(why));
        }
    }
}

/// The state of a hub while it is locked.
pub(crate) struct Locked<'a> {
    core: MutexGuard<'a, Core>,
    shared: &'a HubShared,
}

impl Locked<'_> {
    /// Gives the foundation what the state asks for, and the state what a foundation in memory answers. To be called
    /// before links are looked for that have something to write; else that is found in another turn. Says whether anything
    /// was answered.
    pub(crate) fn settle(&mut self) -> bool {
        let mut asks = self.core.state.asks();
        if asks.is_empty() {
            return false;
        }
        let Core { state, foundation } = &mut *self.core;
        let memory = match foundation {
            Foundation::Store(queue) => {
                queue.ask(asks);
                return false;
            }
            Foundation::Memory(memory) => memory,
        };
        let now = now();
        while !asks.is_empty() {
            for ask in asks {
                memory.ask(ask, |told| state.told(told, now));
            }
            asks = state.asks();
        }
        self.look();
        true
    }

    /// Looks whether what was kept is there now. Nobody is joined before it is, so that there is nothing else to notice.
    fn look(&mut self) {
        if *self.shared.keeping.borrow() == Keeping::Starting {
            for notice in self.notices() {
                self.shared.heed(&notice);
            }
            if self.is_ready() {
                self.shared.keeping(Keeping::Ready);
            }
        }
    }
}

impl Deref for Locked<'_> {
    type Target = HubState;

    fn deref(&self) -> &HubState {
        &self.core.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut HubState {
        &mut self.core.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // What comes of a turn that has panicked is nobody's.
        if std::thread::panicking() {
            return;
        }
        let answered = self.settle();
        if answered || self.core.state.has_backup_calls() {
            self.shared.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::foundation::Ask;
    use convoke_core::{HubConfig, HubIdentity};

    use super::*;
    use crate::store::tests::on_a_disk_that_fails;

    #[tokio::test]
    async fn a_hub_whose_disk_fails_says_so_and_lets_go_of_its_folder() {
        let lock = tempfile::NamedTempFile::new().unwrap();
        lock.as_file().lock().unwrap();
        let store = on_a_disk_that_fails(lock.as_file().try_clone().unwrap()).await;
        let identity = HubIdentity { hub: [1; 16], history: [2; 16], epoch: 3 };
        let state = HubState::new(HubConfig::default(), identity, [4; 32], now());
        let shared = Arc::new(HubShared::new(state, Foundation::Store(store.queue())));
        store.start(shared.hearing());
        drop(shared.lock());
        shared.ready().await.unwrap();
        store.queue().ask(vec![Ask::Append { ticket: 1_000_000, operation: vec![1, 2, 3].into() }]);
        // As the hub's thread does when it is woken.
        let listening = async {
            loop {
                shared.wake.notified().await;
                let notices = shared.lock().notices();
                notices.iter().for_each(|notice| shared.heed(notice));
            }
        };
        let why = tokio::select! {
            () = listening => unreachable!("it listens for ever"),
            why = shared.failed() => why,
        };
        assert_eq!(why.code, Code::StorageFailed);
        assert!(why.text.contains("cannot be relied on any more"), "{why}");
        store.finish();
        shared.ready().await.unwrap_err();
    }
}
