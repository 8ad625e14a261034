//! Revisions: which of two changes of values came first.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// The place of a change among all changes of values.
///
/// A value that is kept durably has the position at which its change was ordered, the same for ever. A value of a prefix
/// that is kept in memory only has the hub's epoch and a count within it: a new start of the hub begins anew. Revisions
/// of the two sorts are never compared with each other: no value is of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev {
    /// The epoch of the hub for a value in memory; zero for one that is kept durably.
    pub epoch: u64,
    /// The place.
    pub n: u64,
}

impl Rev {
    /// The revision of a value that is kept durably.
    pub const fn durable(n: u64) -> Rev {
        Rev { epoch: 0, n }
    }

    /// Whether the value is kept durably.
    pub const fn is_durable(self) -> bool {
        self.epoch == 0
    }
}

impl fmt::Display for Rev {
    /// `17`, or `5.17` for a value in memory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            0 => write!(f, "{}", self.n),
            epoch => write!(f, "{epoch}.{}", self.n),
        }
    }
}

impl FromStr for Rev {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Rev, ParseIntError> {
        Ok(match text.split_once('.') {
            Some((epoch, n)) => Rev { epoch: epoch.parse()?, n: n.parse()? },
            None => Rev::durable(text.parse()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_read_as_it_is_shown() {
        for rev in [Rev::durable(17), Rev { epoch: 5, n: 17 }] {
            assert_eq!(rev.to_string().parse(), Ok(rev));
        }
        for bad in ["", "x", "1.", ".1", "-1", "1.2.3"] {
            assert!(bad.parse::<Rev>().is_err(), "{bad}");
        }
    }
}
