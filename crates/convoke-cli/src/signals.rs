//! Signals that ask the program to end.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::exit::Failure;

/// How long a verb may take to end after it was asked to. A terminal that takes no more output must not keep it from
/// that; a hub that stops gives links which take nothing two seconds.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(4);

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What `kill` and service managers send.
    Terminate,
    /// The terminal is gone.
    HangUp,
}

impl Signal {
    /// 128 and the number of the signal, as shells have it.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(self.number())
    }

    fn number(self) -> u8 {
        match self {
            Signal::HangUp => 129,
            Signal::Interrupt => 130,
            Signal::Terminate => 143,
        }
    }
}

/// Tells once that the program shall end.
#[derive(Clone)]
pub(crate) struct Signals {
    asked: watch::Receiver<Option<Signal>>,
    last: Arc<Mutex<Option<Last>>>,
    hang_ups: Arc<HangUps>,
}

type Last = Box<dyn FnOnce() + Send>;

/// Hang-ups, for a program that they do not end.
#[derive(Default)]
struct HangUps {
    kept: AtomicBool,
    came: Notify,
}

impl Signals {
    /// Begins to listen. A second signal, or a verb that does not end in time, ends the program at once.
    pub(crate) fn listen() -> Result<Signals, Failure> {
        let register = |kind| signal(kind).map_err(|error| Failure::read("signals", &error));
        let mut interrupt = register(SignalKind::interrupt())?;
        let mut terminate = register(SignalKind::terminate())?;
        let mut hang_up = register(SignalKind::hangup())?;
        let (sender, asked) = watch::channel(None);
        let (last, hang_ups) = (Arc::<Mutex<Option<Last>>>::default(), Arc::<HangUps>::default());
        let signals = Signals { asked, last: last.clone(), hang_ups: hang_ups.clone() };
        tokio::spawn(async move {
            let mut next = async || {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => return Signal::Interrupt,
                        _ = terminate.recv() => return Signal::Terminate,
                        _ = hang_up.recv() => match hang_ups.kept.load(Ordering::Relaxed) {
                            true => hang_ups.came.notify_one(),
                            false => return Signal::HangUp,
                        },
                    }
                }
            };
            let first = next().await;
            sender.send_replace(Some(first));
            let _ = tokio::time::timeout(LEAVE_TIME_MAX, next()).await;
            if let Some(last) = last.lock().ok().and_then(|mut last| last.take()) {
                last();
            }
            std::process::exit(i32::from(first.number()));
        });
        Ok(signals)
    }

    /// From here on a hang-up does not end the program, but is told by [`hung_up`](Signals::hung_up).
    pub(crate) fn keep_hang_ups(&self) {
        self.hang_ups.kept.store(true, Ordering::Relaxed);
    }

    /// Waits for the next hang-up that is kept. Cancel safe.
    pub(crate) async fn hung_up(&self) {
        self.hang_ups.came.notified().await;
    }

    /// What is still done if the program ends at once.
    pub(crate) fn at_last(&self, last: impl FnOnce() + Send + 'static) {
        *self.last.lock().expect("nothing in it panics") = Some(Box::new(last));
    }

    /// Waits for the signal; at once if it has come already. Cancel safe.
    pub(crate) async fn received(&self) -> Signal {
        let mut receiver = self.asked.clone();
        let signal = receiver.wait_for(Option::is_some).await.ok().and_then(|signal| *signal);
        match signal {
            Some(signal) => signal,
            // The task that listens ends with the runtime only.
            None => std::future::pending().await,
        }
    }
}
