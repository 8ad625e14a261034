//! The threads of a store. One waits for asks, gives all that are there to the [`Store`], and tells what comes of them; the
//! other does what the store has to do beside its log.

use std::fs::File;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use convoke_core::foundation::{Ask, Told};
use convoke_core::{HubIdentity, Refusal};
use tokio::sync::oneshot;

use super::Store;
use super::backup::Image;
use super::tables::{Done, Tables, Work};
use crate::error::Error;

/// Tells the hub; called by the store's thread only, without any lock of the store.
pub(crate) type Tell = Box<dyn FnMut(Vec<Told>) + Send>;

/// Who is given an image of what is kept, or why there is none.
pub(crate) type WantImage = mpsc::Sender<Result<Image, Refusal>>;

/// Who does the work does none any more.
#[derive(Debug)]
struct Panicked;

/// What the hub asks and the store has not begun with. The hub bounds what it asks for before it is answered.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// What there is to do.
struct Next {
    asks: Vec<Ask>,
    images: Vec<WantImage>,
    done: Option<Result<Done, Panicked>>,
    closing: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    asks: Vec<Ask>,
    /// Who wants an image, behind those asks.
    images: Vec<WantImage>,
    /// What became of the work that was given out; an error if who did it has panicked.
    done: Option<Result<Done, Panicked>>,
    /// The store waits on `changed`.
    idle: bool,
    /// The store shall end when nothing waits any more.
    closing: bool,
    /// Nobody takes asks any more.
    ended: bool,
}

impl Queue {
    /// Asks the store. Never waits for the disk. What is asked after the store has ended is forgotten.
    pub(crate) fn ask(&self, mut asks: Vec<Ask>) {
        let mut waiting = self.lock();
        if waiting.ended {
            return;
        }
        if waiting.asks.is_empty() {
            waiting.asks = asks;
        } else {
            waiting.asks.append(&mut asks);
        }
        if waiting.idle {
            self.changed.notify_one();
        }
    }

    /// Wants an image of all that is kept, as of what was asked before. Nobody is given one when the store has ended.
    pub(crate) fn want_image(&self, give: WantImage) {
        let mut waiting = self.lock();
        if waiting.ended {
            return;
        }
        waiting.images.push(give);
        if waiting.idle {
            self.changed.notify_one();
        }
    }

    fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }

    fn done(&self, done: Result<Done, Panicked>) {
        let mut waiting = self.lock();
        waiting.done = Some(done);
        if waiting.idle {
            self.changed.notify_one();
        }
    }

    /// Waits for asks, or for work that is done, until `due` at most; tells whether the store shall end. Does not wait then,
    /// unless work `is_being_done`.
    fn next(&self, due: Option<Instant>, is_being_done: bool) -> Next {
        let mut waiting = self.lock();
        while waiting.asks.is_empty()
            && waiting.images.is_empty()
            && waiting.done.is_none()
            && (!waiting.closing || is_being_done)
        {
            waiting.idle = true;
            waiting = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(waiting).expect("nothing in it panics"),
                Some(left) if left.is_zero() => break,
                Some(left) => self.changed.wait_timeout(waiting, left).expect("nothing in it panics").0,
            };
        }
        waiting.idle = false;
        Next {
            asks: mem::take(&mut waiting.asks),
            images: mem::take(&mut waiting.images),
            done: waiting.done.take(),
            closing: waiting.closing,
        }
    }

    /// Ends it, unless something was asked meanwhile.
    fn end(&self, whatever_waits: bool) -> bool {
        let mut waiting = self.lock();
        waiting.ended = whatever_waits || waiting.asks.is_empty();
        if waiting.ended {
            (waiting.asks, waiting.images) = (Vec::new(), Vec::new());
        }
        waiting.ended
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing in it panics")
    }
}

/// A store with its thread. Dropping it lets the thread finish by itself; [`finish`](StoreThread::finish) waits.
#[derive(Debug)]
pub(crate) struct StoreThread {
    queue: Arc<Queue>,
    tell: mpsc::Sender<Tell>,
    thread: Option<JoinHandle<()>>,
}

impl StoreThread {
    /// Opens the store in a hub's folder, on its thread. `lock` is let go of when the store has ended, whoever waits for that.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub(crate) async fn open(
        folder: PathBuf,
        identity: HubIdentity,
        segment_bytes_max: u64,
        lock: File,
    ) -> Result<StoreThread, Error> {
        StoreThread::open_with(move || Store::open(&folder, identity, segment_bytes_max), lock).await
    }

    pub(super) async fn open_with(
        open: impl FnOnce() -> Result<Store, Error> + Send + 'static,
        lock: File,
    ) -> Result<StoreThread, Error> {
        let queue = Arc::new(Queue::default());
        let (tell, teller) = mpsc::channel();
        let (opened, is_open) = oneshot::channel();
        let asked = queue.clone();
        let thread = std::thread::Builder::new().name("convoke-store".into()).spawn(move || {
            let store = match open() {
                Ok(store) => store,
                Err(error) => {
                    // Who is told may try again at once.
                    drop(lock);
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            if opened.send(Ok(())).is_ok()
                && let Ok(tell) = teller.recv()
            {
                run(store, asked, tell);
            }
            drop(lock);
        });
        let thread = thread.map_err(|error| Error::io("thread of a store", error))?;
        let store = StoreThread { queue, tell, thread: Some(thread) };
        is_open.await.map_err(|_| Error::Configuration("the store's thread ended at once".into()))??;
        Ok(store)
    }

    /// One that begins when the other end of `wait` is dropped.
    #[cfg(test)]
    pub(super) fn after(wait: mpsc::Receiver<()>, store: Store) -> StoreThread {
        let queue = Arc::new(Queue::default());
        let (tell, teller) = mpsc::channel::<Tell>();
        let asked = queue.clone();
        let thread = std::thread::spawn(move || {
            let tell = teller.recv().unwrap();
            wait.recv().unwrap_err();
            run(store, asked, tell);
        });
        StoreThread { queue, tell, thread: Some(thread) }
    }

    /// Lets it begin: what comes of the asks goes to `tell`.
    pub(crate) fn start(&self, tell: Tell) {
        // It has ended only if it has panicked, which was reported there.
        let _ = self.tell.send(tell);
    }

    /// Where to ask.
    pub(crate) fn queue(&self) -> Arc<Queue> {
        self.queue.clone()
    }

    /// Waits until everything that was asked for is done and written, the file is closed and the lock let go of. Nothing
    /// that [`tell`](StoreThread::start) needs may be held meanwhile.
    pub(crate) fn finish(mut self) {
        self.queue.close();
        self.tell = mpsc::channel().0;
        if let Some(thread) = self.thread.take() {
            // A panic was reported there.
            let _ = thread.join();
        }
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn run(mut store: Store, queue: Arc<Queue>, mut tell: Tell) {
    let (give, works) = mpsc::channel();
    let (tables, told) = (store.tables(), queue.clone());
    let beside = std::thread::Builder::new().name("convoke-tables".into());
    let beside =
        beside.spawn(move || work(&tables, &works, &told)).expect("a store that has a thread may have another");
    loop {
        let Next { asks, images, done, closing } = queue.next(store.due(), store.is_working());
        match done {
            Some(Ok(done)) => store.done(done, &mut tell),
            Some(Err(Panicked)) => panic!("the thread beside the log has panicked"),
            None => {}
        }
        let nothing = asks.is_empty();
        // Between the two nothing is answered: an image has what was asked before it.
        store.turn(asks, &mut tell);
        images.into_iter().for_each(|give| store.want_image(give));
        store.give_images();
        if closing && nothing {
            store.finish();
        }
        if let Some(work) = store.work() {
            // It is there until it panics, and says so then.
            let _ = give.send(work);
        }
        let is_finished = closing && nothing && !store.is_working();
        if (store.has_failed() || is_finished) && queue.end(store.has_failed()) {
            drop(give);
            let _ = beside.join();
            return store.close(&mut tell);
        }
    }
}

/// Does what is given until nothing more will be.
fn work(tables: &Tables, works: &mpsc::Receiver<Work>, queue: &Queue) {
    struct Telling<'a>(&'a Queue);
    impl Drop for Telling<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.done(Err(Panicked));
            }
        }
    }
    let telling = Telling(queue);
    while let Ok(work) = works.recv() {
        telling.0.done(Ok(tables.work(work)));
    }
}
