//! The name of one write or append: what tells it from all others that any program has ever sent to any hub.

use std::fmt;
use std::str::FromStr;

use crate::frame::Incarnation;

/// Which write or append it is. A program that was told that one of its own may have happened is told this with it, and can
/// ask later, also as another process of the same node name, what became of it.
///
/// As text it has no spaces, and is read back with [`str::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId {
    /// The history of the hub that it was sent to: a hub that was restored or made anew has another one.
    pub history: [u8; 16],
    /// What the program was to that hub.
    pub incarnation: Incarnation,
    /// It was an append to a journal; otherwise a write of values.
    pub journal: bool,
    /// Its number within the incarnation.
    pub cseq: u64,
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.history {
            write!(f, "{byte:02x}")?;
        }
        let Incarnation { epoch, counter } = self.incarnation;
        let kind = if self.journal { 'j' } else { 'v' };
        write!(f, "-{epoch:x}-{counter:x}-{kind}{:x}", self.cseq)
    }
}

/// Some text names no write or append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpIdError(String);

impl fmt::Display for OpIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` names no write: expected four parts as in the error that told it", self.0.escape_debug())
    }
}

impl std::error::Error for OpIdError {}

impl FromStr for OpId {
    type Err = OpIdError;

    fn from_str(text: &str) -> Result<OpId, OpIdError> {
        read(text).ok_or_else(|| OpIdError(text.chars().take(100).collect()))
    }
}

fn read(text: &str) -> Option<OpId> {
    let parts: Vec<&str> = text.split('-').collect();
    let &[history, epoch, counter, which] = &parts[..] else { return None };
    let digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = |text: &str| u64::from_str_radix(text, 16).ok().filter(|_| digits(text));
    let journal = match which.get(..1)? {
        "j" => true,
        "v" => false,
        _ => return None,
    };
    let history = u128::from_str_radix(history, 16).ok().filter(|_| history.len() == 32 && digits(history))?;
    let incarnation = Incarnation { epoch: number(epoch)?, counter: number(counter)? };
    Some(OpId { history: history.to_be_bytes(), incarnation, journal, cseq: number(&which[1..])? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_named_by_text_and_nothing_else_is() {
        let op = OpId {
            history: [0x0f; 16],
            incarnation: Incarnation { epoch: u64::MAX, counter: 5 },
            journal: true,
            cseq: 258,
        };
        let text = op.to_string();
        assert_eq!(text, "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f-ffffffffffffffff-5-j102");
        assert_eq!(text.parse(), Ok(op));
        let values = OpId { journal: false, ..op };
        assert_eq!(values.to_string().parse(), Ok(values));
        for cut in 0..text.len() - 2 {
            text[..cut].parse::<OpId>().expect_err("half a name");
        }
        for bad in [text.to_uppercase(), format!("{text}-"), text.replace("-5-", "-+5-"), text.replace("-j", "-é")] {
            let error = bad.parse::<OpId>().expect_err("no name").to_string();
            assert!(error.contains("names no write"), "{error}");
        }
    }
}
