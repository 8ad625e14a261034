//! What is a name, what is a pattern, what matches, and what people are told.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{NAME_BYTES_MAX, NAME_WORDS_MAX, Name, NameError, Pattern};

/// What matches what, as the guide says it in words; slow and plain.
pub(crate) fn stands_for(pattern: &str, name: &str) -> bool {
    fn words_match(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            (["#"], _) | ([], []) => true,
            (["+", pattern @ ..], [_, name @ ..]) => words_match(pattern, name),
            ([wanted, pattern @ ..], [word, name @ ..]) => wanted == word && words_match(pattern, name),
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    let wild_start = pattern[0] == "+" || pattern[0] == "#";
    !(wild_start && name[0].starts_with('$')) && words_match(&pattern, &name)
}

/// Names of few words from few letters, so that they often meet.
pub(crate) fn some_name() -> impl Strategy<Value = String> {
    (prop_oneof![Just("a"), Just("b"), Just("$a")], prop::collection::vec(prop_oneof!["a", "b", "\\$a", "c"], 0..4))
        .prop_map(|(first, rest)| rest.into_iter().fold(first.to_owned(), |name, word| name + "/" + &word))
}

/// Patterns that often match [`some_name`].
pub(crate) fn some_pattern() -> impl Strategy<Value = String> {
    let word = || prop_oneof!["a", "b", "\\$a", "\\+", "\\+"];
    (prop::collection::vec(word(), 1..5), 0..3_u8).prop_map(|(mut words, end)| {
        match end {
            0 => words.push("#".to_owned()),
            1 => *words.last_mut().unwrap() = "#".to_owned(),
            _ => {}
        }
        words.join("/")
    })
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, NameError>, sentence: &str) {
    assert_eq!(result.expect_err("must be refused").to_string(), sentence);
}

const EMPTY_WORD: &str = "has an empty word: there is exactly one slash between two words, and none at either end";
const FORBIDDEN: &str = "control characters and marks that turn the direction of writing are not allowed";

#[test]
fn bytes_that_are_no_text_are_refused() {
    // Row N19 of bad input: a lone continuation byte, an overlong slash, a surrogate, a character cut short.
    let cases: [(&[u8], &str); 4] = [
        (b"a\x80b", r"`a\x80b` is not UTF-8: the bytes after the first 1 are no character"),
        (b"\xc0\xaf", r"`\xc0\xaf` is not UTF-8: the bytes after the first 0 are no character"),
        (b"a/\xed\xa0\x80", r"`a/\xed\xa0\x80` is not UTF-8: the bytes after the first 2 are no character"),
        (b"a/\n\xe2\x82", r"`a/\n\xe2\x82` is not UTF-8: the bytes after the first 3 are no character"),
    ];
    for (bytes, sentence) in cases {
        refused(Name::from_bytes(bytes), sentence);
        refused(Pattern::from_bytes(bytes), sentence);
    }
    refused(Name::parse("convoke:a%80b"), cases[0].1);
}

#[test]
fn characters_that_deceive_are_refused_and_shown_escaped() {
    // Row N20: NUL, CR LF, ESC; and what turns the direction of writing or is not seen.
    let cases = [
        ("a\0b", r"`a\0b`", r"\0"),
        ("a\r\nb", r"`a\r\nb`", r"\r"),
        ("\u{1b}[31mred", r"`\u{1b}[31mred`", r"\u{1b}"),
        ("a\u{7f}", r"`a\u{7f}`", r"\u{7f}"),
        ("a\u{85}", r"`a\u{85}`", r"\u{85}"),
        ("a\u{2028}b", r"`a\u{2028}b`", r"\u{2028}"),
        ("a\\\u{202e}gnp.exe", r"`a\\\u{202e}gnp.exe`", r"\u{202e}"),
        ("a\u{2066}b", r"`a\u{2066}b`", r"\u{2066}"),
        ("a\u{200f}b", r"`a\u{200f}b`", r"\u{200f}"),
        ("a\u{61c}b", r"`a\u{61c}b`", r"\u{61c}"),
        ("\u{feff}a", r"`\u{feff}a`", r"\u{feff}"),
    ];
    for (text, shown, character) in cases {
        let sentence = format!("{shown} has the character `{character}`: {FORBIDDEN}");
        refused(Name::parse(text), &sentence);
        refused(Pattern::parse(text), &sentence);
        refused(Name::from_bytes(text.as_bytes()), &sentence);
    }
    for character in
        ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain('\u{2028}'..='\u{2029}').chain(['\u{200e}'])
    {
        Name::parse(&format!("a{character}")).expect_err("must be refused");
    }
}

#[test]
fn names_without_words_or_with_too_much_are_refused() {
    // Row N21.
    refused(Name::parse(""), "a name cannot be empty: it has 1 to 512 bytes");
    refused(Name::parse("convoke:"), "a name cannot be empty: it has 1 to 512 bytes");
    for text in ["/", "//", "/a", "a/", "a//b"] {
        refused(Name::parse(text), &format!("`{text}` {EMPTY_WORD}"));
        refused(Pattern::parse(text), &format!("`{text}` {EMPTY_WORD}"));
    }
    refused(Pattern::parse("a//#"), &format!("`a//#` {EMPTY_WORD}"));
    refused(
        Name::parse(&"n".repeat(513)),
        &format!("`{}…` is too long: it has 513 bytes, and at most 512 are allowed", "n".repeat(64)),
    );
    refused(
        Name::parse(&["w"; 33].join("/")),
        &format!("`{}…` has too many words: 33, and at most 32 are allowed", "w/".repeat(32)),
    );
    refused(
        Name::from_bytes(&[b'/'; 65_535]),
        &format!("`{}…` is too long: it has 65535 bytes, and at most 512 are allowed", "/".repeat(64)),
    );
    refused(
        Name::parse(&"/".repeat(512)),
        &format!("`{}…` has too many words: 513, and at most 32 are allowed", "/".repeat(64)),
    );
    refused(
        Name::parse(&"€".repeat(171)),
        &format!("`{}…` is too long: it has 513 bytes, and at most 512 are allowed", "€".repeat(64)),
    );
}

#[test]
fn names_as_long_as_allowed_are_taken() {
    let longest = "n".repeat(NAME_BYTES_MAX);
    assert_eq!(Name::parse(&longest).unwrap().as_str(), longest);
    let most_words = ["w"; NAME_WORDS_MAX].join("/");
    assert_eq!(Name::parse(&most_words).unwrap().words().count(), NAME_WORDS_MAX);
    Pattern::parse(&(["+"; NAME_WORDS_MAX - 1].join("/") + "/#")).unwrap();
    // Each byte escaped: the URL form may be three times as long.
    let url = "convoke:".to_owned() + &"%6e".repeat(NAME_BYTES_MAX);
    assert_eq!(Name::parse(&url).unwrap().as_str(), longest);
    refused(
        Name::parse(&(url + "%6e")),
        &format!("`{}%…` is too long: it has 1539 bytes, and at most 512 are allowed", "%6e".repeat(21)),
    );
}

#[test]
fn a_wildcard_in_a_name_is_refused() {
    // Row N22.
    let wildcard =
        |text: &str, c| format!("`{text}` has a `{c}`, which only a pattern may have: a name stands for one thing");
    for (text, character) in [("a/+", '+'), ("#", '#'), ("a+b", '+'), ("c#/d", '#')] {
        refused(Name::parse(text), &wildcard(text, character));
        refused(Name::from_bytes(text.as_bytes()), &wildcard(text, character));
    }
    refused(Name::parse("convoke:a/%23"), &wildcard("a/#", '#'));
}

#[test]
fn a_wildcard_where_it_cannot_stand_is_refused() {
    // Row N22.
    let in_word = |text: &str, word: &str| {
        format!("`{text}` has a wildcard inside the word `{word}`: `+` and `#` stand only as whole words")
    };
    for (text, word) in [("a#", "a#"), ("+a", "+a"), ("b/a+/c", "a+"), ("##", "##"), ("a/++", "++"), ("#a/b", "#a")] {
        refused(Pattern::parse(text), &in_word(text, word));
    }
    for text in ["a/#/b", "#/#", "#/+"] {
        let sentence =
            format!("`{text}` goes on after `#`: it stands for all the rest, so it can only be the last word");
        refused(Pattern::parse(text), &sentence);
    }
}

#[test]
fn a_broken_url_is_refused() {
    for text in ["50%", "a%2", "a%g0", "a%0g/b", "%%25"] {
        let sentence =
            format!("`{text}` has a `%` without two hexadecimal digits after it: a plain `%` is written `%25`");
        refused(Name::parse_url(text), &sentence);
        refused(Name::parse(&format!("convoke:{text}")), &sentence);
    }
    let sentence = "`convoke:a` begins with `convoke:`, which marks the URL form of a name and is not part of the name";
    refused(Name::parse("convoke:convoke:a"), sentence);
    refused(Name::from_bytes(b"convoke:a"), sentence);
    refused(Name::parse("convoke://press/1"), &format!("`//press/1` {EMPTY_WORD}"));
}

#[test]
fn ordinary_names_are_taken_as_they_are() {
    for text in ["press/1/opened", "Halle 3/Tür.links", "$hub/nodes", "50%", "a:b@c", "…/👷", "a/$b", "Convoke:x", "-"]
    {
        let name = Name::parse(text).unwrap();
        assert_eq!((name.as_str(), name.to_string(), format!("{name:?}")), (text, text.to_owned(), text.to_owned()));
        assert_eq!(Name::from_bytes(text.as_bytes()).unwrap(), name);
        assert_eq!(name.is_reserved(), text == "$hub/nodes");
    }
    assert_ne!(Name::parse("Press").unwrap(), Name::parse("press").unwrap());
    // The same to the eye, composed and decomposed: two names.
    assert_ne!(Name::parse("\u{fc}").unwrap(), Name::parse("u\u{308}").unwrap());
}

#[test]
fn a_name_can_be_pasted_as_a_url() {
    let name = Name::parse("Halle 3/Tür #").unwrap_err();
    assert!(matches!(name, NameError::Wildcard { character: '#', .. }));
    let name = Name::parse("Halle 3/Tür?").unwrap();
    assert_eq!(name.to_url(), "convoke:Halle%203/T%C3%BCr%3F");
    assert_eq!(Name::parse("convoke:Halle%203/T%c3%bcr%3f").unwrap(), name);
    assert_eq!(Name::parse_url("Halle%203/T%C3%BCr?").unwrap(), name);
    assert_eq!(Name::parse("a%20b").unwrap().as_str(), "a%20b", "without the scheme it is plain text");
    let pattern = Pattern::parse("$hub/+/#").unwrap();
    assert_eq!(pattern.to_url(), "convoke:$hub/+/%23");
    assert_eq!(Pattern::parse("convoke:$hub/+/#").unwrap(), pattern);
}

#[test]
fn a_map_of_names_is_asked_with_text() {
    let map = HashMap::from([(Name::parse("a/b").unwrap(), 1)]);
    assert_eq!((map.get("a/b"), map.get("a")), (Some(&1), None));
    fn takes(name: impl TryInto<Name, Error: Into<NameError>>) -> Result<Name, NameError> {
        name.try_into().map_err(Into::into)
    }
    let name = takes("a/b").unwrap();
    assert_eq!(takes(&name), takes("a/b".to_owned()));
    assert_eq!("a/b".parse(), takes(name));
}

#[test]
fn a_pattern_without_wildcards_is_a_name() {
    let name = Name::parse("a/b").unwrap();
    assert_eq!(Pattern::parse("a/b").unwrap().as_name(), Some(name.clone()));
    assert_eq!(Pattern::from(&name).as_name(), Some(name));
    assert_eq!(Pattern::parse("a/+").unwrap().as_name(), None);
    assert_eq!(Pattern::parse("#").unwrap().as_name(), None);
}

#[test]
fn patterns_match_as_the_guide_says() {
    let cases = [
        ("a/b", "a/b", true),
        ("a/b", "a", false),
        ("a", "a/b", false),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("a/+", "a", false),
        ("a/+/#", "a/b", true),
        ("a/+/#", "a", false),
        ("+/+", "a/b", true),
        ("+", "a/b", false),
        ("#", "a/b", true),
        ("#", "$hub/nodes", false),
        ("+/nodes", "$hub/nodes", false),
        ("$hub/#", "$hub/nodes", true),
        ("$hub/+", "$hub/nodes", true),
        ("a/#", "a/$b", true),
    ];
    for (pattern, name, matches) in cases {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(&Name::parse(name).unwrap()), matches, "{pattern} {name}");
        assert_eq!(stands_for(pattern, name), matches, "{pattern} {name}");
    }
}

proptest! {
    #[test]
    fn a_pattern_matches_what_its_words_say(pattern in some_pattern(), name in some_name()) {
        let matches = Pattern::parse(&pattern).unwrap().matches(&Name::parse(&name).unwrap());
        prop_assert_eq!(matches, stands_for(&pattern, &name));
    }

    #[test]
    fn the_url_form_brings_a_name_back(text in "[a-zA-Z$%?: /~éß€👷\u{10ffff}\\\\`\"]{1,40}") {
        if let Ok(name) = Name::parse(&text) {
            let url = name.to_url();
            prop_assert!(url.bytes().all(|b| b.is_ascii_graphic()), "{}", url);
            prop_assert_eq!(Name::parse(&url), Ok(name.clone()));
            prop_assert_eq!(Name::parse_url(&url), Ok(name.clone()));
            prop_assert_eq!(Pattern::parse(&url), Ok(Pattern::from(&name)));
        }
    }

    #[test]
    fn whatever_comes_is_taken_unchanged_or_refused_on_one_short_line(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        match Name::from_bytes(&bytes) {
            Ok(name) => prop_assert_eq!(name.as_str().as_bytes(), &bytes[..]),
            Err(error) => {
                let sentence = error.to_string();
                prop_assert!(!sentence.contains(super::error::is_forbidden), "{}", sentence);
                prop_assert!(sentence.len() < 1000, "{}", sentence);
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(Pattern::parse(pattern.as_str()), Ok(pattern));
        }
    }
}

proptest! {
    #[test]
    fn patterns_that_stand_for_one_name_overlap(one in some_pattern(), other in some_pattern(), name in some_name()) {
        let both = stands_for(&one, &name) && stands_for(&other, &name);
        let (one, other) = (Pattern::parse(&one).unwrap(), Pattern::parse(&other).unwrap());
        prop_assert_eq!(one.overlaps(&other), other.overlaps(&one));
        prop_assert!(!both || one.overlaps(&other), "{} {} {}", one, other, name);
    }

    #[test]
    fn a_pattern_that_covers_another_stands_for_all_of_its_names(
        one in some_pattern(), other in some_pattern(), name in some_name(),
    ) {
        let (one, other) = (Pattern::parse(&one).unwrap(), Pattern::parse(&other).unwrap());
        if one.covers(&other) {
            prop_assert!(one.overlaps(&other));
            let name = Name::parse(&name).unwrap();
            prop_assert!(!other.matches(&name) || one.matches(&name), "{} {} {}", one, other, name);
        }
        prop_assert!(one.covers(&one));
    }
}

#[test]
fn patterns_overlap_and_cover() {
    let cases = [
        ("a/#", "a/+", true, true),
        ("a/+", "a/#", true, false),
        ("a/#", "a", true, true),
        ("a", "a/#", true, false),
        ("a/+/c", "a/b/+", true, false),
        ("a/+", "b/+", false, false),
        ("a/+", "a/b/c", false, false),
        ("#", "a/b", true, true),
        ("#", "$hub/#", false, false),
        ("$hub/#", "#", false, false),
        ("$hub/#", "$hub/nodes/+", true, true),
    ];
    for (one, other, overlaps, covers) in cases {
        let (one, other) = (Pattern::parse(one).unwrap(), Pattern::parse(other).unwrap());
        assert_eq!((one.overlaps(&other), one.covers(&other)), (overlaps, covers), "{one} {other}");
    }
}
