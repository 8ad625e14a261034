//! For how long a hub may be silent for a node that watches something.

use std::time::Duration;

use convoke_core::frame::{Frame, WatchMode, Welcome};
use convoke_core::{Code, Encoding, Headers, Publication, Standing};

use super::bench::{Bench, welcome};

impl Bench {
    /// Time passes; every deadline is kept, and nobody answers.
    fn wait(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.node.deadline().filter(|due| *due <= end && self.node.has_link()) {
            self.now = self.now.max(due);
            self.node.tick(self.now);
            self.say();
        }
        self.now = end;
    }

    fn has_given_up(&self) -> bool {
        matches!(self.node.standing(), Standing::Offline(Some(why)) if why.code == Code::Silent)
    }
}

/// A link on which nodes beat every 15 s, and every second if they watch something. Its node may have published something that
/// the hub has not told to have received.
fn watching(behind_an_event: bool) -> Bench {
    let mut bench = Bench::new();
    bench.join(Welcome { beat_ms: 15_000, beat_attentive_ms: 1000, ..welcome() });
    if behind_an_event {
        let headers = &Headers::new();
        let event = Publication { name: "a", encoding: Encoding::Text, payload: b"x", headers };
        bench.node.publish(event).expect("it has joined");
    }
    bench.watch(WatchMode::Latest, None);
    bench.say();
    bench
}

/// What it asks for may wait behind much on a slow link, and until it comes the hub has no reason to say more often that it
/// lives.
#[test]
fn a_hub_that_does_not_know_of_a_watch_may_be_silent_as_before() {
    let mut bench = watching(true);
    bench.wait(60);
    assert!(!bench.has_given_up());
    bench.wait(60);
    assert!(bench.has_given_up());
    let mut bench = watching(false);
    bench.wait(7);
    assert!(bench.has_given_up(), "nothing is on the way before it");
}

#[test]
fn a_hub_that_knows_of_a_watch_may_be_silent_for_six_seconds() {
    let mut bench = watching(true);
    bench.wait(1);
    bench.hear(&Frame::Beat { received: 0 });
    bench.wait(5);
    assert!(!bench.has_given_up());
    bench.wait(3);
    assert!(bench.has_given_up());
}
