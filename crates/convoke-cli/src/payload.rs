//! What is published, set or called with: from an argument, a file or stdin.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use convoke::{Encoding, Headers, Payload};
use serde_json::value::RawValue;

use crate::exit::{Exit, Failure};
use crate::render;
use crate::screen::progress::{Progress, Unit};
use crate::signals::{Signal, Signals};

/// The longest payload that any hub can be configured to take, in bytes; more is never read, so that a device without
/// an end does no harm.
const PAYLOAD_BYTES_MAX: u64 = 64 << 20;

/// How deep arrays and objects may nest: what every reader of JSON takes.
const JSON_DEPTH_MAX: usize = 64;

/// What the command line gives.
pub(crate) enum Given {
    Payload(Payload),
    Nothing,
    /// The program is to end before it is read.
    Signal(Signal),
}

/// The payload of the command line: an argument, or a file.
pub(crate) async fn given(text: Option<String>, raw: Option<PathBuf>, signals: &Signals) -> Result<Given, Failure> {
    match (text, raw) {
        (Some(text), _) => from_argument(text).map(Given::Payload),
        (None, None) => Ok(Given::Nothing),
        (None, Some(path)) => {
            tracing::info!("reading `{}`", path.display());
            let progress = Progress::of(format!("reading `{}`", path.display()), Unit::Bytes);
            let counter = progress.counter();
            // Reading waits for whoever writes the other end.
            let reading = tokio::task::spawn_blocking(move || from_file(&path, &counter));
            tokio::select! {
                read = reading => read.expect("a panic ends the program").map(Given::Payload),
                signal = signals.received() => Ok(Given::Signal(signal)),
            }
        }
    }
}

/// The headers of the command line.
pub(crate) fn headers(given: &[String]) -> Result<Headers, Failure> {
    let mut headers = Headers::new();
    for pair in given {
        match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => headers.push(name, value),
            _ => return Err(Failure::usage(format!("`{pair}` is no header: write NAME=VALUE, such as `reason=test`"))),
        }
    }
    Ok(headers)
}

/// An argument: JSON where it is JSON, byte for byte as typed, else text.
fn from_argument(text: String) -> Result<Payload, Failure> {
    if !render::is_json(&text) {
        if text.starts_with(['{', '[']) {
            let why = serde_json::from_str::<&RawValue>(&text).err().map(|error| error.to_string()).unwrap_or_default();
            tracing::info!("the payload is no JSON ({why}), so it is taken as text");
        }
        return Ok(Payload::text(text));
    }
    let depth = depth(&text);
    if depth > JSON_DEPTH_MAX {
        let message = format!("the JSON payload nests {depth} deep, and at most {JSON_DEPTH_MAX} are allowed");
        return Err(Failure::new(Exit::Data, "BadPayload", message));
    }
    Ok(Payload { encoding: Encoding::Json, bytes: text.into_bytes().into() })
}

/// How deep valid JSON nests.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The bytes of a file, or of stdin for `-`. Waits until there is an end.
fn from_file(path: &Path, counter: &AtomicU64) -> Result<Payload, Failure> {
    if path == Path::new("-") {
        return read("standard input", Counted(io::stdin().lock(), counter));
    }
    let what = format!("`{}`", path.display());
    let file = File::open(path).map_err(|error| Failure::read(&what, &error))?;
    read(&what, Counted(file, counter))
}

/// Counts the bytes that are read.
struct Counted<'a, R>(R, &'a AtomicU64);

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn read(what: &str, from: impl Read) -> Result<Payload, Failure> {
    let mut bytes = Vec::new();
    from.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| Failure::read(what, &error))?;
    if bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        let message = format!("{what} is longer than {PAYLOAD_BYTES_MAX} bytes, the most that any hub takes");
        return Err(Failure::new(Exit::Data, "TooLarge", message));
    }
    Ok(Payload::raw(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(text: &str) -> Encoding {
        let payload = from_argument(text.to_owned()).expect("can be published");
        assert_eq!(payload.bytes, text.as_bytes(), "never changed");
        payload.encoding
    }

    #[test]
    fn json_is_json_and_all_else_is_text() {
        for json in ["1", "-0", "1e309", "9007199254740993", " [1, 2] ", "{\"a\":1,\"a\":2}", "null", "\"x\"", "true"] {
            assert_eq!(encoding(json), Encoding::Json, "{json}");
        }
        for text in
            ["", " ", "hello", "@file", "01", "+1", ".5", "NaN", "[1,]", "{'a':1}", "1 2", "{", "\"", "\u{feff}1"]
        {
            assert_eq!(encoding(text), Encoding::Text, "{text}");
        }
    }

    #[test]
    fn deep_json_is_refused() {
        let nested = |depth: usize| format!("{}\"[[\\\"[\"{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(encoding(&nested(64)), Encoding::Json);
        let refused = from_argument(nested(65)).expect_err("too deep");
        assert_eq!(refused.exit, Exit::Data);
        assert_eq!(refused.message, "the JSON payload nests 65 deep, and at most 64 are allowed");
    }

    #[test]
    fn a_device_without_an_end_is_refused() {
        let refused = read("`endless`", io::repeat(0)).expect_err("too long");
        assert_eq!((refused.exit, refused.kind), (Exit::Data, "TooLarge"));
    }
}
