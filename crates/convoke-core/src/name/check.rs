//! The rules of names and patterns, checked in the order of their cost: how long it is comes first, so that the rest
//! never looks at more than [`NAME_BYTES_MAX`] bytes.

use super::error::{is_forbidden, shown, shown_bytes};
use super::{NAME_BYTES_MAX, NAME_WORDS_MAX, NameError, URL_SCHEME};

/// Bytes as text, if they are short enough and UTF-8.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, NameError> {
    length(bytes)?;
    std::str::from_utf8(bytes)
        .map_err(|error| NameError::NotUtf8 { text: shown_bytes(bytes), offset: error.valid_up_to() })
}

/// Whether text is a name.
pub(super) fn name(text: &str) -> Result<(), NameError> {
    if is_plain(text) {
        return Ok(());
    }
    words(text)?;
    match text.chars().find(|&c| is_wildcard(c)) {
        Some(character) => Err(NameError::Wildcard { text: shown(text), character }),
        None => Ok(()),
    }
}

/// Whether text is a name for certain, as most are: ASCII, looked at once. A program that calls names a service with
/// every call.
fn is_plain(text: &str) -> bool {
    if text.len() > NAME_BYTES_MAX || text.starts_with(URL_SCHEME) {
        return false;
    }
    let (mut words, mut before) = (1, b'/');
    for byte in text.bytes() {
        match byte {
            b'/' if before == b'/' => return false,
            b'/' => words += 1,
            b'+' | b'#' => return false,
            b' '..=b'~' => {}
            _ => return false,
        }
        before = byte;
    }
    before != b'/' && words <= NAME_WORDS_MAX
}

/// Whether text is a pattern.
pub(super) fn pattern(text: &str) -> Result<(), NameError> {
    words(text)?;
    if let Some(word) = text.split('/').find(|word| word.len() > 1 && word.contains(is_wildcard)) {
        return Err(NameError::WildcardInWord { text: shown(text), word: shown(word) });
    }
    // A word with more beside its `#` has been refused above.
    match text.find('#') {
        Some(at) if at + 1 < text.len() => Err(NameError::RestNotLast { text: shown(text) }),
        _ => Ok(()),
    }
}

/// What names and patterns have in common.
fn words(text: &str) -> Result<(), NameError> {
    length(text.as_bytes())?;
    if text.starts_with(URL_SCHEME) {
        return Err(NameError::UrlForm { text: shown(text) });
    }
    if let Some(character) = text.chars().find(|&c| is_forbidden(c)) {
        return Err(NameError::Forbidden { text: shown(text), character });
    }
    let words = text.split('/').count();
    if words > NAME_WORDS_MAX {
        return Err(NameError::TooManyWords { text: shown(text), words });
    }
    if text.split('/').any(str::is_empty) {
        return Err(NameError::EmptyWord { text: shown(text) });
    }
    Ok(())
}

fn length(bytes: &[u8]) -> Result<(), NameError> {
    match bytes.len() {
        0 => Err(NameError::Empty),
        1..=NAME_BYTES_MAX => Ok(()),
        more => Err(NameError::TooLong { text: shown_bytes(bytes), bytes: more }),
    }
}

fn is_wildcard(character: char) -> bool {
    matches!(character, '+' | '#')
}
