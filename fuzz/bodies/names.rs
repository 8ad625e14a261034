//! Arbitrary bytes as names and patterns, against the rules as the pages tell them, slow and plain.

use convoke_core::name::{NAME_BYTES_MAX, NAME_WORDS_MAX};
use convoke_core::{Name, NameError, Pattern};

/// Between two texts; no text has it.
const BETWEEN: u8 = 0xfe;

/// The first text is a name, the others are patterns.
pub(crate) fn names(data: &[u8]) {
    let mut texts = data.split(|byte| *byte == BETWEEN);
    let name = texts.next().and_then(|bytes| {
        let name = judged(bytes, Name::from_bytes(bytes), false)?;
        assert_eq!(Name::parse_url(&name.to_url()).as_ref(), Ok(&name));
        assert_eq!(Name::parse(&name.to_url()).as_ref(), Ok(&name));
        Some(name)
    });
    // Whatever a person types is a name or is refused.
    if let Err(error) = Name::parse(&String::from_utf8_lossy(data)) {
        harmless(&error);
    }
    let patterns: Vec<Pattern> = texts
        .take(4)
        .filter_map(|bytes| {
            let pattern = judged(bytes, Pattern::from_bytes(bytes), true)?;
            assert_eq!(Pattern::parse_url(&pattern.to_url()).as_ref(), Ok(&pattern));
            Some(pattern)
        })
        .collect();
    for pattern in &patterns {
        assert!(pattern.covers(pattern) && pattern.overlaps(pattern), "{pattern}");
        if let Some(only) = pattern.as_name() {
            assert!(pattern.matches(&only), "{pattern}");
        }
        let Some(name) = &name else { continue };
        let matches = pattern.matches(name);
        assert_eq!(matches, stands_for(pattern.as_str(), name.as_str()), "{pattern} and {name}");
        for other in &patterns {
            let both = matches && other.matches(name);
            assert!(!both || pattern.overlaps(other), "{pattern} and {other} meet in {name}");
            assert!(!matches || !other.covers(pattern) || both, "{other} covers {pattern} but not {name}");
            assert_eq!(pattern.overlaps(other), other.overlaps(pattern), "{pattern} and {other}");
            assert!(!pattern.covers(other) || pattern.overlaps(other), "{pattern} and {other}");
        }
    }
}

/// What was read, if it should have been.
fn judged<T>(bytes: &[u8], read: Result<T, NameError>, wild: bool) -> Option<T> {
    let allowed = std::str::from_utf8(bytes).is_ok_and(|text| is_allowed(text, wild));
    assert_eq!(read.is_ok(), allowed, "{}", bytes.escape_ascii());
    read.map_err(|error| harmless(&error)).ok()
}

fn harmless(error: &NameError) {
    let sentence = error.to_string();
    assert!(!sentence.contains(|c: char| c.is_control() || is_mark(c)) && sentence.len() < 2048, "{sentence:?}");
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn is_allowed(text: &str, wild: bool) -> bool {
    let words: Vec<&str> = text.split('/').collect();
    let word = |(place, word): (usize, &&str)| match *word {
        "+" => wild,
        "#" => wild && place + 1 == words.len(),
        word => !word.is_empty() && !word.contains(['+', '#']),
    };
    text.len() <= NAME_BYTES_MAX
        && words.len() <= NAME_WORDS_MAX
        && !text.starts_with("convoke:")
        && !text.contains(|c: char| c.is_control() || is_mark(c))
        && words.iter().enumerate().all(word)
}

fn stands_for(pattern: &str, name: &str) -> bool {
    fn words_match(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            (["#"], _) | ([], []) => true,
            (["+", pattern @ ..], [_, name @ ..]) => words_match(pattern, name),
            ([wanted, pattern @ ..], [word, name @ ..]) => wanted == word && words_match(pattern, name),
            _ => false,
        }
    }
    let (pattern, name): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), name.split('/').collect());
    !(matches!(pattern[0], "+" | "#") && name[0].starts_with('$')) && words_match(&pattern, &name)
}
