//! The user's bytes, and how they are to be read.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How the bytes of a payload are to be read. It travels beside every payload; the hub never looks further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Encoding {
    /// Bytes of the programs' own.
    #[default]
    Raw = 0,
    /// UTF-8 text.
    Text = 1,
    /// JSON (RFC 8259).
    Json = 2,
    /// MessagePack with named fields.
    MessagePack = 3,
}

impl Encoding {
    /// All encodings, in the order of their numbers.
    pub const ALL: [Encoding; 4] = [Encoding::Raw, Encoding::Text, Encoding::Json, Encoding::MessagePack];

    /// The encoding with this number.
    pub const fn from_number(number: u8) -> Option<Encoding> {
        match number {
            0 => Some(Encoding::Raw),
            1 => Some(Encoding::Text),
            2 => Some(Encoding::Json),
            3 => Some(Encoding::MessagePack),
            _ => None,
        }
    }

    /// Its name, in the words of docs/protocol.md.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Raw => "raw",
            Encoding::Text => "text",
            Encoding::Json => "json",
            Encoding::MessagePack => "messagepack",
        }
    }
}

/// Bytes with their encoding. Cloning shares the bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// How to read [`bytes`](Payload::bytes).
    pub encoding: Encoding,
    /// The bytes as they were published; never changed on the way.
    pub bytes: Bytes,
}

impl Payload {
    /// Bytes of the program's own.
    pub fn raw(bytes: impl Into<Bytes>) -> Payload {
        Payload { encoding: Encoding::Raw, bytes: bytes.into() }
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Payload {
        Payload { encoding: Encoding::Text, bytes: Bytes::from(text.into()) }
    }

    /// A value as MessagePack with named fields.
    ///
    /// # Errors
    ///
    /// What serde cannot write.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Payload, PayloadError> {
        let bytes =
            rmp_serde::to_vec_named(value).map_err(|error| PayloadError(format!("payload as MessagePack: {error}")))?;
        Ok(Payload { encoding: Encoding::MessagePack, bytes: bytes.into() })
    }

    /// A value as JSON.
    ///
    /// # Errors
    ///
    /// What serde cannot write.
    pub fn encode_json<T: Serialize + ?Sized>(value: &T) -> Result<Payload, PayloadError> {
        let bytes = serde_json::to_vec(value).map_err(|error| PayloadError(format!("payload as JSON: {error}")))?;
        Ok(Payload { encoding: Encoding::Json, bytes: bytes.into() })
    }

    /// Reads it as a value, whether it is MessagePack or JSON; text can be read as a `String`.
    ///
    /// # Errors
    ///
    /// It is raw bytes, or not such a value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        let bad = |error: String| {
            PayloadError(format!("{} payload of {} bytes: {error}", self.encoding.name(), self.bytes.len()))
        };
        match self.encoding {
            Encoding::MessagePack => rmp_serde::from_slice(&self.bytes).map_err(|error| bad(error.to_string())),
            Encoding::Json => serde_json::from_slice(&self.bytes).map_err(|error| bad(error.to_string())),
            Encoding::Text => {
                let text = std::str::from_utf8(&self.bytes).map_err(|error| bad(error.to_string()))?;
                let value = serde::de::value::StrDeserializer::<serde_json::Error>::new(text);
                T::deserialize(value).map_err(|error| bad(error.to_string()))
            }
            Encoding::Raw => Err(bad("raw bytes are not a value; read the field `bytes`".into())),
        }
    }
}

impl fmt::Debug for Payload {
    /// The encoding and the length only: a payload may be large, or a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} payload of {} bytes", self.encoding.name(), self.bytes.len())
    }
}

/// A payload that could not be written or read as what was asked for; one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError(String);

impl PayloadError {
    pub(crate) fn new(text: String) -> PayloadError {
        PayloadError(text)
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PayloadError {}

/// The user's name–value pairs beside a payload, in the order given; a name may come twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// No headers.
    pub const fn new() -> Headers {
        Headers(Vec::new())
    }

    /// Adds a pair at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value under `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Headers {
        Headers(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
