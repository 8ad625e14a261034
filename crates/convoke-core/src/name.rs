//! Names: how everything that can be reached is called, and the [`Pattern`]s that stand for many of them.
//!
//! A name is words between slashes, such as `press/1/opened`. It is checked once, where it comes in; behind that
//! border a [`Name`] is valid by its type. Names are compared byte by byte: upper and lower case differ, and nothing is
//! normalised.
//!
//! What a name is made of:
//!
//! * 1 to [`NAME_BYTES_MAX`] bytes of UTF-8, in 1 to [`NAME_WORDS_MAX`] words, none of them empty, so there is no slash
//!   at the start or the end and never two in a row;
//! * no control characters, no line or paragraph separators and no marks that turn the direction of writing, so that a
//!   name looks in a log like what it is; spaces, dots and everything else are fine inside words;
//! * no `+` and no `#`, so that a name is never mistaken for a pattern;
//! * `$` at the very start marks the hub's own names ([`Name::is_reserved`]);
//! * not `convoke:` at the very start, which marks the URL form of a name (`convoke:press/1`).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

mod check;
mod error;
mod pattern;
#[cfg(test)]
pub(crate) mod tests;
mod url;

pub use error::NameError;
pub use pattern::Pattern;

/// The longest name or pattern, in bytes: room for 32 words of 15 bytes, and short enough to go with every event.
pub const NAME_BYTES_MAX: usize = 512;

/// The most words of a name or pattern: what walks over words may recurse without a thought for the stack.
pub const NAME_WORDS_MAX: usize = 32;

/// What the URL form of a name begins with.
pub const URL_SCHEME: &str = "convoke:";

/// What [`Name`] and [`Pattern`] have in common: both are text that was checked and can be shared.
macro_rules! checked_text {
    ($type:ident, $check:path) => {
        impl $type {
            /// Checks text from a person: plain, or the URL form if it begins with `convoke:`, so that either can be
            /// pasted wherever one is asked for. `convoke:a%20b` and `a b` give the same.
            ///
            /// # Errors
            /// A [`NameError`] with a sentence for the person who typed it.
            pub fn parse(text: &str) -> Result<$type, NameError> {
                if text.starts_with(URL_SCHEME) { $type::parse_url(text) } else { $type::checked(text) }
            }

            /// Checks the URL form: `convoke:` (may be left out) and then the text with `%XX` for whatever a URL's path
            /// cannot hold. Characters that should have been escaped are taken as they are.
            ///
            /// # Errors
            /// A [`NameError`]; also if a `%` is not followed by two hexadecimal digits.
            pub fn parse_url(text: &str) -> Result<$type, NameError> {
                let bytes = url::decode(text.strip_prefix(URL_SCHEME).unwrap_or(text))?;
                $type::from_bytes(&bytes)
            }

            /// Checks bytes from outside, exactly as they are: nothing is decoded, and the URL form is refused.
            ///
            /// # Errors
            /// A [`NameError`]. What it costs to refuse does not depend on how many bytes there are.
            pub fn from_bytes(bytes: &[u8]) -> Result<$type, NameError> {
                $type::checked(check::utf8(bytes)?)
            }

            fn checked(text: &str) -> Result<$type, NameError> {
                $check(text)?;
                Ok($type(Arc::from(text)))
            }

            /// The plain text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The words from left to right: one at least, `NAME_WORDS_MAX` at most.
            pub fn words(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
                self.0.split('/')
            }

            /// Whether it begins with `$`: these belong to the hub, and only the hub publishes or sets there.
            pub fn is_reserved(&self) -> bool {
                self.0.starts_with('$')
            }

            /// The URL form: `convoke:` and the text, with every byte that a URL's path cannot hold written as `%XX`.
            /// `parse` and `parse_url` give the same back.
            pub fn to_url(&self) -> String {
                url::encode(&self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        /// The plain text, without quotes: nothing in it needs escaping.
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<$type, NameError> {
                $type::parse(text)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;

            fn try_from(text: &str) -> Result<$type, NameError> {
                $type::parse(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<$type, NameError> {
                $type::parse(&text)
            }
        }

        impl From<&$type> for $type {
            fn from(same: &$type) -> $type {
                same.clone()
            }
        }
    };
}
use checked_text;

/// The name of a node, topic, key, service, object or journal.
///
/// Cloning shares the text. A map keyed by `Name` can be asked with a `&str`.
///
/// ```
/// use convoke_core::name::Name;
///
/// let name = Name::parse("press/1/opened")?;
/// assert_eq!(name.words().collect::<Vec<_>>(), ["press", "1", "opened"]);
/// assert_eq!(Name::parse("convoke:press/1/opened")?, name);
/// assert_eq!(
///     Name::parse("press//opened").unwrap_err().to_string(),
///     "`press//opened` has an empty word: there is exactly one slash between two words, and none at either end"
/// );
/// # Ok::<(), convoke_core::name::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

checked_text!(Name, check::name);
