//! How events, values, replies and losses look on stdout: one line each, whatever is in them.
//!
//! What a publisher writes must not act on the terminal of who reads: line breaks, control characters, escapes and marks
//! that turn the direction of writing are shown as `\n`, `\u001b` and so on, in JSON as everywhere else.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use convoke::{Deed, Encoding, Entry, Event, Gap, Headers, Json, Missed, Payload, Rev};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::screen::{On, Part, coloured};

/// What is shown of a payload.
#[derive(Debug, PartialEq, Eq)]
enum Readable<'a> {
    /// Valid JSON, with the digits and the order it was published with.
    Json(Cow<'a, str>),
    Text(&'a str),
    Bytes(&'a [u8]),
}

fn readable(payload: &Payload) -> Readable<'_> {
    let text = std::str::from_utf8(&payload.bytes);
    match payload.encoding {
        Encoding::MessagePack => match payload.decode::<Json>() {
            Ok(json) => Readable::Json(Cow::Owned(json.0.to_string())),
            Err(_) => Readable::Bytes(&payload.bytes),
        },
        Encoding::Json if text.is_ok_and(is_json) => Readable::Json(Cow::Borrowed(text.unwrap_or_default())),
        Encoding::Json | Encoding::Text | Encoding::Raw => match text {
            Ok(text) => Readable::Text(text),
            Err(_) => Readable::Bytes(&payload.bytes),
        },
    }
}

/// Whether text is one JSON value. Its depth does not matter: nothing is built from it.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// An event as a line for people: `NAME PAYLOAD`, without a line end.
pub(crate) fn line(event: &Event) -> String {
    named(event.topic().as_str(), &event.payload)
}

/// `NAME PAYLOAD`, without a line end, for stdout.
pub(crate) fn named(name: &str, payload: &Payload) -> String {
    let mut line = coloured(On::Stdout, Part::Name, escaped(name)).into_owned();
    let payload = alone(payload);
    if !payload.is_empty() {
        line.push(' ');
        line.push_str(&payload);
    }
    line
}

/// A payload alone as a line for people, without a line end.
pub(crate) fn alone(payload: &Payload) -> String {
    match readable(payload) {
        Readable::Json(json) => escaped_json(&json).into_owned(),
        Readable::Text(text) => escaped(text).into_owned(),
        Readable::Bytes(bytes) => format!("base64:{}", STANDARD.encode(bytes)),
    }
}

/// That a key has no value any more. A tab is in no name, and is shown escaped in payloads.
pub(crate) fn deleted(name: &str) -> String {
    format!("{}\t(deleted)", coloured(On::Stdout, Part::Name, escaped(name)))
}

/// A payload as a program reads it from its stdin: JSON also where it came as MessagePack, all else as it is.
pub(crate) fn for_program(payload: &Payload) -> Vec<u8> {
    match readable(payload) {
        Readable::Json(json) => json.into_owned().into_bytes(),
        Readable::Text(_) | Readable::Bytes(_) => payload.bytes.to_vec(),
    }
}

/// A payload as one line of JSON, without a line end.
pub(crate) fn json_alone(payload: &Payload) -> String {
    json(&shown_payload(payload))
}

/// A payload as JSON, to be compared or to become part of a tree; none for bytes and for what nests too deep.
pub(crate) fn json_value(payload: &Payload) -> Option<serde_json::Value> {
    match readable(payload) {
        _ if payload.encoding == Encoding::Raw => None,
        Readable::Json(json) => serde_json::from_str(&json).ok(),
        Readable::Text(text) => Some(text.into()),
        Readable::Bytes(_) => None,
    }
}

/// An event as `--json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    publisher: &'a str,
    seq: u64,
    encoding: &'a str,
    payload: ShownPayload<'a>,
    headers: BTreeMap<&'a str, OneOrMany<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShownPayload<'a> {
    Json(Box<RawValue>),
    Text(&'a str),
    Bytes { base64: String },
}

/// The values of a header: a name may come twice.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOrMany<'a> {
    One(&'a str),
    Many(Vec<&'a str>),
}

/// An event as one JSON object, without a line end.
pub(crate) fn json_line(event: &Event) -> String {
    json(&Shown {
        name: event.topic().as_str(),
        publisher: event.publisher().as_str(),
        seq: event.seq,
        encoding: event.payload.encoding.name(),
        payload: shown_payload(&event.payload),
        headers: shown_headers(&event.headers),
    })
}

/// A value, or that it is gone, as `--json` shows it.
#[derive(Serialize)]
struct ShownValue<'a> {
    name: &'a str,
    /// As text: one in memory is no number.
    rev: String,
    author: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<ShownPayload<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

/// A value as one JSON object, without a line end; without a payload, that it is gone.
pub(crate) fn value_json(name: &str, payload: Option<&Payload>, rev: Rev, author: &str) -> String {
    json(&ShownValue {
        name,
        rev: rev.to_string(),
        author,
        encoding: payload.map(|payload| payload.encoding.name()),
        payload: payload.map(shown_payload),
        deleted: payload.is_none(),
    })
}

/// A reply as `--json` shows it.
#[derive(Serialize)]
struct ShownReply<'a> {
    /// Where everybody was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    encoding: &'a str,
    payload: ShownPayload<'a>,
}

/// A reply as one JSON object, without a line end.
pub(crate) fn reply_json(node: Option<&str>, payload: &Payload) -> String {
    json(&ShownReply { node, encoding: payload.encoding.name(), payload: shown_payload(payload) })
}

/// An entry of a journal as `--json` shows it.
#[derive(Serialize)]
struct ShownEntry<'a> {
    seq: u64,
    author: &'a str,
    kind: &'a str,
    /// Where what is undone or done again begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<u64>,
    /// The first command of its group, if it is not alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<ShownPayload<'a>>,
    time_ms: u64,
    /// Where it was first, if that is another hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<ShownOrigin>,
}

#[derive(Serialize)]
struct ShownOrigin {
    hub: String,
    seq: u64,
}

/// An entry of a journal as one JSON object, without a line end.
pub(crate) fn entry_json(entry: &Entry, command: Option<&Payload>) -> String {
    let (kind, target, group) = match entry.deed {
        Deed::Do { first } => ("do", None, (first != entry.seq && first != 0).then_some(first)),
        Deed::Undo(target) => ("undo", Some(target), None),
        Deed::Redo(target) => ("redo", Some(target), None),
        Deed::Join => ("join", None, None),
        Deed::Leave => ("leave", None, None),
    };
    json(&ShownEntry {
        seq: entry.seq,
        author: entry.author.as_str(),
        kind,
        target,
        group,
        encoding: command.map(|command| command.encoding.name()),
        command: command.map(shown_payload),
        time_ms: entry.wall_ms,
        origin: entry.origin().map(|origin| ShownOrigin {
            hub: origin.hub.iter().map(|byte| format!("{byte:02x}")).collect(),
            seq: origin.seq,
        }),
    })
}

fn shown_payload(payload: &Payload) -> ShownPayload<'_> {
    let bytes = |bytes: &[u8]| ShownPayload::Bytes { base64: STANDARD.encode(bytes) };
    match readable(payload) {
        // Who published raw bytes did not promise that they are always text: they look the same whatever they hold.
        _ if payload.encoding == Encoding::Raw => bytes(&payload.bytes),
        Readable::Json(json) => match RawValue::from_string(json.into_owned()) {
            Ok(json) => ShownPayload::Json(json),
            Err(_) => bytes(&payload.bytes),
        },
        Readable::Text(text) if payload.encoding == Encoding::Text => ShownPayload::Text(text),
        Readable::Text(_) | Readable::Bytes(_) => bytes(&payload.bytes),
    }
}

fn shown_headers(headers: &Headers) -> BTreeMap<&str, OneOrMany<'_>> {
    let mut shown = BTreeMap::new();
    for (name, value) in headers.iter() {
        shown
            .entry(name)
            .and_modify(|values: &mut OneOrMany<'_>| match values {
                OneOrMany::One(first) => *values = OneOrMany::Many(vec![first, value]),
                OneOrMany::Many(values) => values.push(value),
            })
            .or_insert(OneOrMany::One(value));
    }
    shown
}

/// A loss as `--json` shows it, in line with the events.
#[derive(Serialize)]
struct ShownLoss<'a> {
    lost: Lost<'a>,
}

#[derive(Serialize)]
struct Lost<'a> {
    /// How many events; `null` where nobody can know.
    count: Option<u64>,
    reason: &'a str,
}

/// A loss as one JSON object.
pub(crate) fn loss_json(missed: &Missed) -> String {
    let (count, reason) = match missed {
        Missed::Lagged(count) => (Some(*count), "Lagged"),
        Missed::Gap(Gap::HubRestarted) => (None, "HubRestarted"),
        Missed::Gap(_) => (None, "LinkLost"),
        Missed::Compacted { .. } => (None, "Compacted"),
        Missed::Replaced => (None, "Replaced"),
        // A kind of loss that is newer than this program.
        _ => (None, "Unknown"),
    };
    json(&ShownLoss { lost: Lost { count, reason } })
}

/// What a watch has missed, as a sentence.
pub(crate) fn missed(missed: &Missed) -> String {
    match missed {
        Missed::Compacted { first } => {
            format!("missed the changes before revision {first}, which are no longer kept; what there is now follows")
        }
        Missed::Replaced => {
            "missed an unknown number of changes: the hub is another one, or was restored; what there is now follows"
                .to_owned()
        }
        other => loss(other),
    }
}

/// A loss as a sentence.
pub(crate) fn loss(missed: &Missed) -> String {
    match missed {
        Missed::Lagged(1) => "lost 1 event: it came faster than it was read".to_owned(),
        Missed::Lagged(count) => format!("lost {count} events: they came faster than they were read"),
        Missed::Gap(Gap::HubRestarted) => "lost an unknown number of events: the hub was restarted".to_owned(),
        Missed::Gap(_) => "lost an unknown number of events: the link to the hub was cut for a while".to_owned(),
        other => escaped(&other.to_string()).into_owned(),
    }
}

/// One JSON object on one line that no terminal acts on.
pub(crate) fn json(value: &impl Serialize) -> String {
    let line = serde_json::to_string(value).expect("our own objects have string keys and no failing parts");
    escaped_json(&line).into_owned()
}

/// JSON over several lines, harmless to a terminal.
pub(crate) fn json_pretty(value: &serde_json::Value) -> String {
    let pretty = serde_json::to_string_pretty(value).expect("JSON can be written");
    pretty.lines().map(escaped_json).collect::<Vec<_>>().join("\n")
}

/// Text with everything escaped that would break the line or act on a terminal.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, |out, character| match character {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        other => unicode_escape(out, other),
    })
}

/// The same for valid JSON, which stays valid and means the same: there a line break or a tab can only stand between
/// two tokens, and all others only in strings.
fn escaped_json(json: &str) -> Cow<'_, str> {
    escape(json, |out, character| match character {
        '\n' | '\r' | '\t' => out.push(' '),
        other => unicode_escape(out, other),
    })
}

fn escape(text: &str, replace: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_harmful(character) {
            replace(&mut out, character);
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// `\u001b`; two of them where JSON needs a pair.
fn unicode_escape(out: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// Whether a character would break a line, act on a terminal, or make text look like what it is not.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks that turn the direction of writing; line and paragraph separators; the byte order mark.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
            // Tags: text that nobody sees.
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_acts_on_the_terminal() {
        assert_eq!(escaped("plain, ünïcode, \\ and \"quotes\""), "plain, ünïcode, \\ and \"quotes\"");
        assert_eq!(escaped("a\nb\r\tc"), "a\\nb\\r\\tc");
        assert_eq!(escaped("\u{1b}[2J\u{7}"), "\\u001b[2J\\u0007");
        assert_eq!(escaped("\u{9b}2J \u{202e}evil \u{e0041}"), "\\u009b2J \\u202eevil \\udb40\\udc41");
    }

    #[test]
    fn escaped_json_is_one_line_and_means_the_same() {
        let json = "{\n\t\"a\": \"\u{7f}\u{202e}\u{e0041}\u{2028}\\n\",\r\n \"n\": 1e309 }";
        let shown = escaped_json(json);
        assert!(!shown.contains(is_harmful), "{shown}");
        let (left, right) = (json.replace("1e309", "1"), shown.replace("1e309", "1"));
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("still JSON");
        assert_eq!(value(&left), value(&right));
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(is_json(&deep));
        assert!(!is_json(&deep[1..]));
    }

    #[test]
    fn a_header_that_comes_twice_shows_both_values() {
        let headers = Headers::from_iter([("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(json(&shown_headers(&headers)), r#"{"a":["1","3"],"b":"2"}"#);
    }

    #[test]
    fn a_payload_is_shown_as_what_it_is() {
        let shown = |payload: &Payload| json(&shown_payload(payload));
        assert_eq!(shown(&Payload::text("a\u{1b}")), r#""a\u001b""#);
        assert_eq!(shown(&Payload::raw(&b"text"[..])), r#"{"base64":"dGV4dA=="}"#);
        let json = |bytes: &'static [u8]| Payload { encoding: Encoding::Json, bytes: bytes.into() };
        assert_eq!(
            shown(&json(b"{\"b\": 1.50, \"a\":\n 9007199254740993}")),
            "{\"b\": 1.50, \"a\":  9007199254740993}"
        );
        assert_eq!(shown(&json(b"{no}")), r#"{"base64":"e25vfQ=="}"#);
        assert_eq!(readable(&json(b"{no}")), Readable::Text("{no}"));
        assert_eq!(readable(&Payload::raw(&b"\xff"[..])), Readable::Bytes(b"\xff"));
    }
}
