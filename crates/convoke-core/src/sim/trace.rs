//! What happened, as a hash over all of it and the last lines in words.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use crate::time::Time;

/// How many lines a failure shows.
const LINES_MAX: usize = 40;

#[derive(Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    lines: VecDeque<String>,
}

impl Trace {
    pub(super) fn line(&mut self, now: Time, line: fmt::Arguments<'_>) {
        let mut text = if self.lines.len() < LINES_MAX { None } else { self.lines.pop_front() }.unwrap_or_default();
        text.clear();
        let micros = now.as_nanos() / 1000;
        let _ = write!(text, "{}.{:06} {line}", micros / 1_000_000, micros % 1_000_000);
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines.push_back(text);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn last(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
