//! A full disk: when it is tried again, what is told to those who want to write, and what is logged about it.

use std::io;
use std::time::{Duration, Instant};

use convoke_core::foundation::Room;
use convoke_core::{Code, Refusal};

/// How long a full disk is left alone when nobody wants anything of it.
const PAUSE: Duration = Duration::from_secs(1);

/// An attempt on a full disk that took longer than this is not made again for as long as it took, so that refusing costs
/// at most half of the store's time.
const ATTEMPT_CHEAP: Duration = Duration::from_millis(500);

/// How often it is logged that the disk is still full.
const REMINDER: Duration = Duration::from_secs(60);

/// How long nothing must have been refused until it is logged that there is room again: what is short may find some where
/// what is long does not.
const QUIET: Duration = Duration::from_secs(5);

/// What there is no room on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// The disk is full.
    Disk,
    /// The user may not use more of it.
    Quota,
    /// The process may not make its files longer.
    File,
}

impl Want {
    /// If this error means that there is no room, which passes.
    pub(super) fn of(error: &io::Error) -> Option<Want> {
        match error.kind() {
            io::ErrorKind::StorageFull => Some(Want::Disk),
            io::ErrorKind::QuotaExceeded => Some(Want::Quota),
            io::ErrorKind::FileTooLarge => Some(Want::File),
            _ => None,
        }
    }

    /// Room that is given back on the disk helps.
    pub(super) fn is_of_the_disk(self) -> bool {
        self != Want::File
    }

    /// What is wrong, and what to do.
    pub(super) fn sentence(self) -> String {
        let (what, remedy) = self.words();
        format!("{what}; {remedy} and try again")
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Want::Disk => ("the hub's disk is full", "make room on it"),
            Want::Quota => ("the hub's user may take no more of its disk", "make room on it, or raise the quota"),
            Want::File => ("the hub may not make its file longer", "raise the limit (`ulimit -f`)"),
        }
    }
}

/// What is known of a disk that is full from time to time.
#[derive(Debug, Default)]
pub(super) struct FullDisk {
    /// The last attempt, if it found no room.
    attempt: Option<Attempt>,
    /// From the first refusal until there is room again, as it is logged.
    spell: Option<Spell>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    want: Want,
    at: Instant,
    took: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Spell {
    began: Instant,
    /// When it was logged last.
    logged: Option<Instant>,
    /// When no room was found, or something refused, the last time.
    last: Instant,
    /// Changes that somebody has asked for and that were refused since it began.
    refused: u64,
}

impl FullDisk {
    /// The last attempt found no room.
    pub(super) fn is_full(&self) -> bool {
        self.attempt.is_some()
    }

    /// What the last attempt has found is no room on the disk.
    pub(super) fn is_of_the_disk(&self) -> bool {
        self.attempt.is_some_and(|last| last.want.is_of_the_disk())
    }

    /// An attempt that began then has found no room.
    pub(super) fn found(&mut self, want: Want, began: Instant, now: Instant) {
        self.attempt = Some(Attempt { want, at: now, took: now - began });
        self.spell(now);
    }

    fn spell(&mut self, now: Instant) -> &mut Spell {
        let spell = self.spell.get_or_insert(Spell { began: now, logged: None, last: now, refused: 0 });
        spell.last = now;
        spell
    }

    /// An attempt has found room.
    pub(super) fn wrote(&mut self) {
        self.attempt = None;
    }

    /// Whether nothing is tried now, as the disk was full a moment ago and finding that out took long.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.attempt.is_some_and(|last| last.took > ATTEMPT_CHEAP && now < last.at + last.took)
    }

    /// When it is to be tried again although nobody wants anything.
    pub(super) fn retry(&self) -> Option<Instant> {
        self.attempt.map(|last| last.at + PAUSE)
    }

    /// What is told to somebody whose operation was refused.
    pub(super) fn refuse(&mut self, operation: &[u8], now: Instant) -> Refusal {
        let asked = matches!(Room::of(operation), Room::Takes | Room::Makes);
        self.spell(now).refused += u64::from(asked);
        let (what, remedy) = self.attempt.map_or(Want::Disk, |last| last.want).words();
        Refusal::new(Code::StorageFull, format!("{what}, so nothing was kept; {remedy} and try again"))
    }

    /// When [`news`](FullDisk::news) is to be asked for although nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.spell.filter(|_| self.attempt.is_none()).map(|spell| spell.last + QUIET)
    }

    /// What is to be logged now: that it begins, once; that it lasts, once a minute; that it is over, once.
    pub(super) fn news(&mut self, shown: &str, now: Instant) -> Option<String> {
        let spell = self.spell.as_mut()?;
        let (refused, lasted) = (spell.refused, (now - spell.began).as_secs());
        match (self.attempt, spell.logged) {
            (Some(last), None) => {
                spell.logged = Some(now);
                let (what, remedy) = last.want.words();
                Some(format!("{what}, so nothing more is kept in {shown}; {remedy}"))
            }
            (Some(last), Some(logged)) if now >= logged + REMINDER => {
                spell.logged = Some(now);
                let (what, remedy) = last.want.words();
                Some(format!("{what} since {lasted} s, and {refused} changes were refused; {remedy}"))
            }
            (None, _) if now >= spell.last + QUIET => {
                self.spell = None;
                Some(format!("there is room again for {shown}; in {lasted} s {refused} changes were refused"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_logged_when_it_begins_once_a_minute_and_when_it_is_over() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let (mut full, mut log) = (FullDisk::default(), Vec::new());
        // Something every second; what is short finds room now and then.
        for second in 0..150 {
            if second % 10 == 9 {
                full.wrote();
            } else {
                full.found(Want::Disk, at(second), at(second));
                let text = full.refuse(b"a change", at(second)).text;
                assert_eq!(text, "the hub's disk is full, so nothing was kept; make room on it and try again");
            }
            log.extend(full.news("`store.redb`", at(second)).map(|line| (second, line)));
        }
        full.wrote();
        for second in 150..300 {
            log.extend(full.news("`store.redb`", at(second)).map(|line| (second, line)));
        }
        let expected = [
            (0, "the hub's disk is full, so nothing more is kept in `store.redb`; make room on it"),
            (60, "the hub's disk is full since 60 s, and 55 changes were refused; make room on it"),
            (120, "the hub's disk is full since 120 s, and 109 changes were refused; make room on it"),
            (153, "there is room again for `store.redb`; in 153 s 135 changes were refused"),
        ];
        assert_eq!(log, expected.map(|(second, line)| (second, line.to_owned())));
    }

    #[test]
    fn a_disk_that_is_slow_to_say_that_it_is_full_is_left_alone_as_long() {
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let mut full = FullDisk::default();
        full.found(Want::Disk, began, after(400));
        assert!(!full.is_resting(after(401)));
        full.found(Want::File, began, after(700));
        assert!(full.is_resting(after(1_300)) && !full.is_resting(after(1_401)));
        let text = full.refuse(b"a change", after(1_300)).text;
        let expected = "the hub may not make its file longer, so nothing was kept; raise the limit (`ulimit -f`) and try \
                        again";
        assert_eq!(text, expected);
        full.wrote();
        assert!(!full.is_resting(after(701)) && !full.is_full());
    }
}
