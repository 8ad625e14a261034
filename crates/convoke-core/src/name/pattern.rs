//! Patterns: names with wildcards.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Name, NameError, URL_SCHEME, check, checked_text, url};

/// What one subscribes to, watches, or gives rights on: a name in which `+` as a word stands for exactly one word, and
/// `#` as the last word for all the rest, which may be nothing.
///
/// | pattern | matches | does not match |
/// |---|---|---|
/// | `press/+/opened` | `press/1/opened` | `press/opened`, `press/1/2/opened` |
/// | `press/#` | `press`, `press/1`, `press/1/opened` | `presses` |
/// | `#`, `+/nodes` | `press/1`; `hall/nodes` | `$hub/nodes` |
/// | `$hub/#` | `$hub/nodes` | |
///
/// A wildcard in the first word leaves out the hub's own names, which begin with `$`: who asks for everything asks for
/// everything that people made. Every [`Name`] is also a pattern, for itself alone. Cloning shares the text.
///
/// ```
/// use convoke_core::name::{Name, Pattern};
///
/// let pattern = Pattern::parse("press/+/opened")?;
/// assert!(pattern.matches(&Name::parse("press/1/opened")?));
/// assert!(!pattern.matches(&Name::parse("press/1/closed")?));
/// # Ok::<(), convoke_core::name::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

checked_text!(Pattern, check::pattern);

impl Pattern {
    /// Whether this pattern stands for `name`, among others. Takes time in proportion to the shorter of the two, and
    /// allocates nothing.
    pub fn matches(&self, name: &Name) -> bool {
        self.matches_text(name.as_str())
    }

    /// The same for the text of a name.
    pub(crate) fn matches_text(&self, name: &str) -> bool {
        if name.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut words = name.split('/');
        for wanted in self.words() {
            match (wanted, words.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(word)) if wanted == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }

    /// Whether there is a name that both patterns stand for. Takes time in proportion to the shorter of the two.
    pub fn overlaps(&self, other: &Pattern) -> bool {
        if self.leaves_out(other) || other.leaves_out(self) {
            return false;
        }
        let (mut mine, mut theirs) = (self.words(), other.words());
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    }

    /// Whether this pattern stands for every name that `other` stands for. Takes time in proportion to the shorter of the
    /// two.
    pub fn covers(&self, other: &Pattern) -> bool {
        if self.leaves_out(other) {
            return false;
        }
        let (mut mine, mut theirs) = (self.words(), other.words());
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(word)) if word != "#" => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    }

    /// It begins with a wildcard, and the other stands for names of the hub's own only.
    fn leaves_out(&self, other: &Pattern) -> bool {
        other.is_reserved() && self.0.starts_with(['+', '#'])
    }

    /// The one name this pattern stands for; none if it has a wildcard. Shares the text.
    pub fn as_name(&self) -> Option<Name> {
        if self.0.contains(['+', '#']) { None } else { Some(Name(Arc::clone(&self.0))) }
    }
}

/// The pattern that stands for this name alone. Shares the text.
impl From<Name> for Pattern {
    fn from(name: Name) -> Pattern {
        Pattern(name.0)
    }
}

/// The pattern that stands for this name alone. Shares the text.
impl From<&Name> for Pattern {
    fn from(name: &Name) -> Pattern {
        Pattern(Arc::clone(&name.0))
    }
}
