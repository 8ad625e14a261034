//! The URL form of names: `convoke:` and the name with `%XX` for every byte that RFC 3986 does not allow in a path.

use super::error::shown;
use super::{NAME_BYTES_MAX, NameError, URL_SCHEME};

/// The URL form of a checked text.
pub(super) fn encode(text: &str) -> String {
    let mut url = String::with_capacity(URL_SCHEME.len() + text.len());
    url.push_str(URL_SCHEME);
    for byte in text.bytes() {
        if is_path(byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

/// The bytes meant by a URL form whose scheme has been taken off.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, NameError> {
    // Each byte of a name takes at most three; what is longer is not worth decoding, and its size is told as it came.
    if text.len() > 3 * NAME_BYTES_MAX {
        return Err(NameError::TooLong { text: shown(text), bytes: text.len() });
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (hex(rest.first()), hex(rest.get(1))) else {
            return Err(NameError::BadEscape { text: shown(text) });
        };
        bytes.push(high << 4 | low);
        rest = &rest[2..];
    }
    Ok(bytes)
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    match digit? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `pchar` of RFC 3986 without its escapes, and the slash.
fn is_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}
