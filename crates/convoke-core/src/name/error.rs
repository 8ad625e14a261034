//! Why some text is not a name or not a pattern, said to the person who wrote it.

use std::convert::Infallible;
use std::fmt;

use super::{NAME_BYTES_MAX, NAME_WORDS_MAX};

/// How many characters of the offending text a message shows: enough to recognise it, on one line.
const SHOWN_CHARS_MAX: usize = 64;

/// Why some text is not a name, or not a pattern.
///
/// Shown, each is one sentence with what was wrong and what is allowed. The `text` in it is ready to be printed: what
/// could confuse a terminal or a log is escaped (`\n`, `\u{1b}`, `\xff`), and it ends in `…` where it was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is nothing.
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    TooLong {
        /// The offending text.
        text: String,
        /// How many bytes it has.
        bytes: usize,
    },
    /// More than [`NAME_WORDS_MAX`] words.
    TooManyWords {
        /// The offending text.
        text: String,
        /// How many words it has.
        words: usize,
    },
    /// A slash at the start or the end, or two in a row.
    EmptyWord {
        /// The offending text.
        text: String,
    },
    /// Bytes that are not UTF-8.
    NotUtf8 {
        /// The offending text.
        text: String,
        /// How many bytes before it were right.
        offset: usize,
    },
    /// A control character, a line or paragraph separator, or a mark that turns the direction of writing.
    Forbidden {
        /// The offending text.
        text: String,
        /// The first such character.
        character: char,
    },
    /// `+` or `#` in a name.
    Wildcard {
        /// The offending text.
        text: String,
        /// Which of the two.
        character: char,
    },
    /// `+` or `#` beside other characters in a word of a pattern.
    WildcardInWord {
        /// The offending text.
        text: String,
        /// The word.
        word: String,
    },
    /// `#` before the last word of a pattern.
    RestNotLast {
        /// The offending text.
        text: String,
    },
    /// `convoke:` where the plain text is expected: twice in a URL, or in bytes from outside.
    UrlForm {
        /// The offending text.
        text: String,
    },
    /// A `%` in the URL form without two hexadecimal digits after it.
    BadEscape {
        /// The offending text.
        text: String,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => write!(f, "a name cannot be empty: it has 1 to {NAME_BYTES_MAX} bytes"),
            NameError::TooLong { text, bytes } => {
                write!(f, "`{text}` is too long: it has {bytes} bytes, and at most {NAME_BYTES_MAX} are allowed")
            }
            NameError::TooManyWords { text, words } => {
                write!(f, "`{text}` has too many words: {words}, and at most {NAME_WORDS_MAX} are allowed")
            }
            NameError::EmptyWord { text } => write!(
                f,
                "`{text}` has an empty word: there is exactly one slash between two words, and none at either end"
            ),
            NameError::NotUtf8 { text, offset } => {
                write!(f, "`{text}` is not UTF-8: the bytes after the first {offset} are no character")
            }
            NameError::Forbidden { text, character } => write!(
                f,
                "`{text}` has the character `{}`: control characters and marks that turn the direction of writing are \
                 not allowed",
                character.escape_debug()
            ),
            NameError::Wildcard { text, character } => {
                write!(f, "`{text}` has a `{character}`, which only a pattern may have: a name stands for one thing")
            }
            NameError::WildcardInWord { text, word } => {
                write!(f, "`{text}` has a wildcard inside the word `{word}`: `+` and `#` stand only as whole words")
            }
            NameError::RestNotLast { text } => {
                write!(f, "`{text}` goes on after `#`: it stands for all the rest, so it can only be the last word")
            }
            NameError::UrlForm { text } => write!(
                f,
                "`{text}` begins with `convoke:`, which marks the URL form of a name and is not part of the name"
            ),
            NameError::BadEscape { text } => {
                write!(f, "`{text}` has a `%` without two hexadecimal digits after it: a plain `%` is written `%25`")
            }
        }
    }
}

impl std::error::Error for NameError {}

/// So that a function can take `impl TryInto<Name>` and be given a [`Name`](super::Name) too.
impl From<Infallible> for NameError {
    fn from(never: Infallible) -> NameError {
        match never {}
    }
}

/// Whether a character would make a name look like what it is not, or act on a terminal.
pub(super) fn is_forbidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Arabic letter mark, left-to-right and right-to-left marks; embeddings and overrides; isolates.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators; the byte order mark, which nobody sees.
            | '\u{2028}' | '\u{2029}' | '\u{feff}'
        )
}

/// Text as an error shows it: escaped and cut.
pub(super) fn shown(text: &str) -> String {
    shown_bytes(text.as_bytes())
}

/// Bytes as an error shows them: what is no UTF-8 as `\xff`, the rest escaped, and all of it cut.
pub(super) fn shown_bytes(bytes: &[u8]) -> String {
    // A character has at most four bytes, so this is always more than will be shown.
    let bytes = &bytes[..bytes.len().min(4 * (SHOWN_CHARS_MAX + 1))];
    let mut out = String::new();
    let mut room = SHOWN_CHARS_MAX;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if room == 0 {
                return out + "…";
            }
            room -= 1;
            if is_forbidden(character) || character == '\\' {
                out.extend(character.escape_debug());
            } else {
                out.push(character);
            }
        }
        for byte in chunk.invalid() {
            if room == 0 {
                return out + "…";
            }
            room -= 1;
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}
