//! Signals that ask the program to end, or a hub to read its configuration again.

use std::io::IsTerminal as _;
use std::process::ExitCode;
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

/// From now on a file that may not become longer is an error for whoever writes it. By default the system kills a program
/// for that, without a word.
pub(crate) fn take_long_files_as_errors() -> Result<(), Failure> {
    // What the system does by default is not restored when nobody listens any more.
    let listening = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    listening.map(drop).map_err(|error| Failure::read("signals", &error))
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangUp {
    /// That the program shall end.
    Ends,
    /// That it shall read its configuration again; or end, if it was started in a terminal that is gone.
    Reloads,
}

/// Tells once that the program shall end, and whenever it shall read its configuration again.
#[derive(Clone)]
pub(crate) struct Signals {
    asked: watch::Receiver<Option<Signal>>,
    reload: Arc<Notify>,
    last: Arc<Mutex<Option<Last>>>,
}

type Last = Box<dyn FnOnce() + Send>;

impl Signals {
    /// Begins to listen. A second signal, or a verb that does not end in time, ends the program at once.
    pub(crate) fn listen(meaning: HangUp) -> Result<Signals, Failure> {
        let register = |kind| signal(kind).map_err(|error| Failure::read("signals", &error));
        let mut interrupt = register(SignalKind::interrupt())?;
        let mut terminate = register(SignalKind::terminate())?;
        let mut hang_up = register(SignalKind::hangup())?;
        let (sender, asked) = watch::channel(None);
        let reload = Arc::new(Notify::new());
        let (reloads, terminals) = (reload.clone(), terminals());
        let last = Arc::<Mutex<Option<Last>>>::default();
        let signals = Signals { asked, reload, last: last.clone() };
        tokio::spawn(async move {
            let mut next = async || {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => return Signal::Interrupt,
                        _ = terminate.recv() => return Signal::Terminate,
                        _ = hang_up.recv() => {}
                    }
                    // The system takes a terminal away from its programs before it tells them.
                    if meaning == HangUp::Ends || terminals != self::terminals() {
                        return Signal::HangUp;
                    }
                    reloads.notify_one();
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

    /// Waits until the configuration is to be read again. Several that come close together are one. Cancel safe.
    pub(crate) async fn reload(&self) {
        self.reload.notified().await;
    }
}

/// Which of stdin, stdout and stderr are terminals now.
pub(crate) fn terminals() -> [bool; 3] {
    [std::io::stdin().is_terminal(), std::io::stdout().is_terminal(), std::io::stderr().is_terminal()]
}
