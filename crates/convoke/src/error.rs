//! What can go wrong, by what can be done about it.

use std::io;

use convoke_core::{Code, NameError, PayloadError, Refusal};

/// Why something did not work: one sentence that says what was tried, on which name, why not, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a name, or not a pattern.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// Not an address.
    #[error("{0}")]
    BadAddress(String),
    /// A payload could not be written or read as what was asked for.
    #[error(transparent)]
    BadPayload(#[from] PayloadError),
    /// The hub refused it; asking again changes nothing.
    #[error("{0}")]
    Refused(Refusal),
    /// Who this is could not be proved, or the rights do not allow it.
    #[error("{0}")]
    Unauthorized(Refusal),
    /// Another program has the node's name.
    #[error("{0}")]
    NodeInUse(Refusal),
    /// There is no link to a hub now.
    #[error("{0}")]
    Offline(Refusal),
    /// Too much waits already; try again later.
    #[error("{0}")]
    Backpressure(Refusal),
    /// It took too long, or the link was cut before the answer came: it may have happened.
    #[error("{0}")]
    Unanswered(Refusal),
    /// A hub could not be started with these settings.
    #[error("{0}")]
    Configuration(String),
    /// Another hub has the address or the folder.
    #[error("{0}")]
    InUse(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

/// What is known about something that was not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It certainly had no effect; trying again is safe.
    NotDone,
    /// It may have happened.
    Indeterminate,
}

impl Error {
    /// Whether it certainly did not happen.
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::Unanswered(_) => Outcome::Indeterminate,
            _ => Outcome::NotDone,
        }
    }

    /// The code of a refusal, as docs/protocol.md numbers them; the nearest one for what never reached a hub.
    pub fn code(&self) -> Code {
        match self {
            Error::BadName(_) | Error::BadAddress(_) => Code::BadName,
            Error::Refused(refusal)
            | Error::Unauthorized(refusal)
            | Error::NodeInUse(refusal)
            | Error::Offline(refusal)
            | Error::Backpressure(refusal)
            | Error::Unanswered(refusal) => refusal.code,
            Error::BadPayload(_) | Error::Configuration(_) | Error::InUse(_) | Error::Io { .. } => Code::Unknown,
        }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Error {
        Error::Io { what: what.into(), source }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal.code {
            Code::Unauthorized | Code::Forbidden => Error::Unauthorized(refusal),
            Code::NodeInUse | Code::Fenced => Error::NodeInUse(refusal),
            Code::Offline | Code::Unreachable | Code::Left | Code::HubStopping => Error::Offline(refusal),
            Code::Backpressure => Error::Backpressure(refusal),
            Code::LinkLost | Code::TimedOut | Code::Silent | Code::SlowLink => Error::Unanswered(refusal),
            _ => Error::Refused(refusal),
        }
    }
}
