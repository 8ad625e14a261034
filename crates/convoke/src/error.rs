//! What can go wrong, by what can be done about it.

use std::io;

use convoke_core::{Code, NameError, OpId, Payload, PayloadError, Refusal, RuleError};

/// Why something did not work: one sentence that says what was tried, on which name, why not, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a name, or not a pattern.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// A payload could not be written or read as what was asked for.
    #[error(transparent)]
    BadPayload(#[from] PayloadError),
    /// It was refused, and had certainly no effect; [`code`](Error::code) tells why: a limit, nobody who offers the
    /// service, no time left.
    #[error("{0}")]
    Refused(Refusal),
    /// Who this is could not be proved, or the rights do not allow it.
    #[error("{0}")]
    Unauthorized(Refusal),
    /// Another program has the node's name ([`Code::NodeInUse`], [`Code::Fenced`]), or another hub the address or the
    /// folder.
    #[error("{0}")]
    InUse(Refusal),
    /// There is no link to a hub now.
    #[error("{0}")]
    Offline(Refusal),
    /// Too much waits already, or who could do it has too much to do; try again later.
    #[error("{0}")]
    Backpressure(Refusal),
    /// It may have happened: it took too long, or the link or the provider was lost before the answer came. With a write or
    /// an append which it was: see [`op`](Error::op).
    #[error("{0}")]
    Unanswered(Refusal, Option<Box<OpId>>),
    /// The provider's program has handled the call and answers with an error of its own.
    #[error("{0}")]
    Failed(Failure),
    /// What a change expected is not so; nothing was changed.
    #[error("{0}")]
    Conflict(Refusal),
    /// It makes no sense: not an address, or settings that a hub cannot be started with.
    #[error("{0}")]
    Configuration(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

/// What a service answers when it cannot do what it was called for. It reaches the caller as [`Error::Failed`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The type of the error in the program's own words, for programs to act on; at most 4 KiB.
    pub kind: String,
    /// A sentence for people; at most 4 KiB.
    pub message: String,
    /// What else there is to say.
    pub payload: Payload,
}

impl Failure {
    /// A failure of this type with this sentence.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure { kind: kind.into(), message: message.into(), payload: Payload::default() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.kind.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (kind, "") => f.write_str(kind),
            (kind, message) => write!(f, "{kind}: {message}"),
        }
    }
}

/// Any error can end a handler with `?`: its type and its sentence reach the caller, those of a call that it made itself
/// unchanged. (So a `Failure` is no error of Rust's own kind.)
impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        match (&error as &dyn std::any::Any).downcast_ref::<Error>() {
            Some(Error::Failed(failure)) => failure.clone(),
            Some(other) => Failure::new(other.code().word(), other.to_string()),
            None => {
                let path = std::any::type_name::<E>().split('<').next().unwrap_or_default();
                Failure::new(path.rsplit("::").next().unwrap_or_default(), error.to_string())
            }
        }
    }
}

/// What is known about something that was not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, and the error is its answer.
    Done,
    /// It certainly had no effect; trying again is safe.
    NotDone,
    /// It may have happened.
    Indeterminate,
}

impl Error {
    /// Whether it certainly did not happen, or may have.
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::Failed(_) => Outcome::Done,
            Error::Unanswered(..) => Outcome::Indeterminate,
            _ => Outcome::NotDone,
        }
    }

    /// Which write or append may have happened: [`Node::status`](crate::Node::status) tells what became of it, also in
    /// another process of the same name. `None` for everything else, and for what was never sent.
    pub fn op(&self) -> Option<OpId> {
        match self {
            Error::Unanswered(_, op) => op.as_deref().copied(),
            _ => None,
        }
    }

    /// The code of a refusal, as docs/protocol.md numbers them; the nearest one for what never reached a hub.
    pub fn code(&self) -> Code {
        match self {
            Error::BadName(_) => Code::BadName,
            Error::Failed(_) => Code::Failed,
            Error::Refused(refusal)
            | Error::Unauthorized(refusal)
            | Error::InUse(refusal)
            | Error::Offline(refusal)
            | Error::Backpressure(refusal)
            | Error::Conflict(refusal)
            | Error::Unanswered(refusal, _) => refusal.code,
            Error::BadPayload(_) | Error::Configuration(_) | Error::Io { .. } => Code::Unknown,
        }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Error {
        Error::Io { what: what.into(), source }
    }

    /// Another hub has the address or the folder.
    pub(crate) fn in_use(text: String) -> Error {
        Error::InUse(Refusal::new(Code::Unknown, text))
    }

    /// Something that may have happened, whatever the code.
    pub(crate) fn uncertain(refusal: Refusal, op: Option<OpId>) -> Error {
        Error::Unanswered(refusal, op.map(Box::new))
    }

    /// Something that certainly did not happen, whatever the code.
    pub(crate) fn not_done(refusal: Refusal) -> Error {
        match Error::from(refusal) {
            Error::Unanswered(refusal, _) => Error::Refused(refusal),
            other => other,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal.code {
            Code::Unauthorized | Code::Forbidden => Error::Unauthorized(refusal),
            Code::NodeInUse | Code::Fenced => Error::InUse(refusal),
            Code::Offline | Code::Unreachable | Code::Left | Code::HubStopping => Error::Offline(refusal),
            Code::Backpressure | Code::Busy => Error::Backpressure(refusal),
            Code::Conflict | Code::UndoConflict => Error::Conflict(refusal),
            Code::ProviderLost | Code::LinkLost | Code::TimedOut | Code::Silent | Code::SlowLink => {
                Error::Unanswered(refusal, None)
            }
            _ => Error::Refused(refusal),
        }
    }
}

/// A rule is configuration, wherever it is written.
impl From<RuleError> for Error {
    fn from(error: RuleError) -> Error {
        Error::Configuration(error.to_string())
    }
}
