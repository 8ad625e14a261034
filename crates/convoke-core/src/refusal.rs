//! Why something was refused: a numbered code that programs act on, and a sentence that people read.

use std::borrow::Cow;
use std::fmt;

use crate::frame::FrameError;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal;)*) => {
        /// What kind of refusal it is. The numbers are those of docs/protocol.md and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name = $number,)*
            /// A code this version does not know.
            Unknown = 0xffff,
        }

        impl Code {
            /// All codes of this version, in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The code with this number, [`Code::Unknown`] if this version has none.
            pub const fn from_number(number: u16) -> Code {
                match number {
                    $($number => Code::$name,)*
                    _ => Code::Unknown,
                }
            }

            /// Its word, as it is written in documents, logs and `--json` output.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Code::$name => $word,)*
                    Code::Unknown => "Unknown",
                }
            }
        }
    };
}

codes! {
    /// The other side leaves on purpose; nothing is wrong.
    Left = 0, "Left";
    /// Bytes that are no frame, or a frame that has no business there.
    BadFrame = 1, "BadFrame";
    /// Longer than the hub accepts.
    TooLarge = 2, "TooLarge";
    /// The two sides have no version of the protocol in common.
    VersionMismatch = 3, "VersionMismatch";
    /// Who it is could not be proved.
    Unauthorized = 4, "Unauthorized";
    /// The rights do not allow it.
    Forbidden = 5, "Forbidden";
    /// Not a name, or not a pattern.
    BadName = 6, "BadName";
    /// Another live node has this name.
    NodeInUse = 7, "NodeInUse";
    /// A newer incarnation of this node has taken over.
    Fenced = 8, "Fenced";
    /// A limit of the hub is reached.
    Limit = 9, "Limit";
    /// It took too long.
    TimedOut = 10, "TimedOut";
    /// The link took nothing for too long, or its buffer overflowed and its policy is to disconnect.
    SlowLink = 11, "SlowLink";
    /// Nothing was heard for too long.
    Silent = 12, "Silent";
    /// The hub is stopping.
    HubStopping = 13, "HubStopping";
    /// Not joined to a hub.
    Offline = 14, "Offline";
    /// Too much is waiting already.
    Backpressure = 15, "Backpressure";
    /// No node of this name is joined.
    NoNode = 16, "NoNode";
    /// The link was cut while the answer was awaited.
    LinkLost = 17, "LinkLost";
    /// The node cannot be reached at its address.
    Unreachable = 18, "Unreachable";
    /// Nobody offers the service, or nobody who was selected.
    NoProvider = 19, "NoProvider";
    /// The provider was lost while it had the call.
    ProviderLost = 20, "ProviderLost";
    /// Who could do it has too much to do.
    Busy = 21, "Busy";
    /// Who asked for it does not want it any more.
    Cancelled = 22, "Cancelled";
    /// The provider's program has answered with an error of its own.
    Failed = 23, "Failed";
    /// What a change expected is not so.
    Conflict = 24, "Conflict";
    /// The hub's disk is full.
    StorageFull = 25, "StorageFull";
    /// The hub's disk has failed.
    StorageFailed = 26, "StorageFailed";
    /// Well formed, but it makes no sense.
    BadRequest = 27, "BadRequest";
    /// The rights of this node's principal have changed; it comes back with those that it has now.
    RightsChanged = 28, "RightsChanged";
    /// Another command is the next to be undone or done again.
    UndoConflict = 29, "UndoConflict";
    /// Too far back to be undone.
    UndoHorizon = 30, "UndoHorizon";
    /// The journal is another one than the follower knows.
    Diverged = 31, "Diverged";
    /// The entries are not kept any more.
    Compacted = 32, "Compacted";
}

/// A refusal: its code, and one lowercase sentence that says what was tried, on which name, why not and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind it is.
    pub code: Code,
    /// The sentence.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with this code and sentence.
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, text: text.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Refusal {
        Refusal::new(Code::BadFrame, format!("bad frame: {error}"))
    }
}
