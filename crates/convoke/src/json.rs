//! Payloads as JSON, for people and for what is written in JSON.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use convoke_core::{Encoding, Payload};
use serde::de::{Deserialize, Deserializer, Error as DecodeError, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Integers up to here are exact in every reader of JSON.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// Any payload as JSON: `payload.decode::<Json>()`, or [`Json::of`], which shows whatever it is.
///
/// What JSON has no word for is shown as: bytes `{"base64": …}`; not-a-number and the infinities `"NaN"`, `"Infinity"` and
/// `"-Infinity"`; an integer beyond 2^53, which most readers of JSON would round, as a string of its digits; a key that
/// is a number or a truth value as a string. Anything else of MessagePack (extension types) is no JSON, and does not
/// decode.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub Value);

impl Json {
    /// A payload as JSON: text as a string; raw bytes, and what is not what it says, as `{"base64": …}`.
    pub fn of(payload: &Payload) -> Json {
        let shown = match payload.encoding {
            Encoding::Raw => None,
            Encoding::Text => payload.decode::<String>().ok().map(Value::String),
            Encoding::Json | Encoding::MessagePack => payload.decode::<Json>().ok().map(|json| json.0),
        };
        Json(shown.unwrap_or_else(|| base64(&payload.bytes)))
    }
}

fn base64(bytes: &[u8]) -> Value {
    Value::Object(Map::from_iter([("base64".to_owned(), STANDARD.encode(bytes).into())]))
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Json)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something that JSON can show")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Value, E> {
        Ok(if integer.unsigned_abs() <= EXACT_INTEGER_MAX { integer.into() } else { integer.to_string().into() })
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Value, E> {
        Ok(if integer <= EXACT_INTEGER_MAX { integer.into() } else { integer.to_string().into() })
    }

    fn visit_f32<E: DecodeError>(self, number: f32) -> Result<Value, E> {
        // Its own digits, not those of the nearest double: 0.1 stays 0.1.
        match number.to_string().parse() {
            Ok(double) if number.is_finite() => self.visit_f64(double),
            _ => self.visit_f64(number.into()),
        }
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(match serde_json::Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None if number.is_nan() => "NaN".into(),
            None if number > 0.0 => "Infinity".into(),
            None => "-Infinity".into(),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(base64(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Json(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((Json(key), Json(value))) = pairs.next_entry()? {
            let key = match key {
                Value::String(text) => text,
                Value::Number(_) | Value::Bool(_) => key.to_string(),
                _ => return Err(A::Error::custom("a key that JSON cannot have")),
            };
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("two keys that look the same in JSON"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::PayloadError;

    use super::*;

    fn shown(bytes: &'static [u8]) -> Result<String, PayloadError> {
        let payload = Payload { encoding: Encoding::MessagePack, bytes: bytes.into() };
        payload.decode::<Json>().map(|json| json.0.to_string())
    }

    #[test]
    fn messagepack_is_shown_as_json() {
        for (bytes, json) in [
            (&b"\xc0"[..], "null"),
            (b"\x82\xa1a\xc3\xa1b\x93\x01\xff\xca\x3d\xcc\xcc\xcd", r#"{"a":true,"b":[1,-1,0.1]}"#),
            (b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00", "9007199254740992"),
            (b"\xcf\x00\x20\x00\x00\x00\x00\x00\x01", r#""9007199254740993""#),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", r#""18446744073709551615""#),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", r#""NaN""#),
            (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", r#""-Infinity""#),
            (b"\xc4\x02\x00\xff", r#"{"base64":"AP8="}"#),
            (b"\x82\x01\xa1x\xc2\xa1y", r#"{"1":"x","false":"y"}"#),
        ] {
            assert_eq!(shown(bytes).expect(json), json);
        }
    }

    #[test]
    fn what_is_no_json_is_not_forced_into_it() {
        // An extension type; a key that is null; the same key twice; two values; half a value; nothing.
        for bytes in [&b"\xd4\x01\x00"[..], b"\x81\xc0\x01", b"\x82\x01\x01\xa11\x02", b"\x92\x01", b""] {
            assert!(shown(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn every_payload_has_a_form_in_json() {
        let broken = |encoding| Payload { encoding, bytes: (&b"\xff"[..]).into() };
        for (payload, json) in [
            (Payload::text("a\nb"), r#""a\nb""#),
            (Payload::raw(&b"text"[..]), r#"{"base64":"dGV4dA=="}"#),
            (Payload::encode(&(1, "x")).expect("a payload"), r#"[1,"x"]"#),
            (Payload { encoding: Encoding::Json, bytes: (&b" [1.5] "[..]).into() }, "[1.5]"),
            (broken(Encoding::Json), r#"{"base64":"/w=="}"#),
            (broken(Encoding::Text), r#"{"base64":"/w=="}"#),
            (Payload { encoding: Encoding::MessagePack, bytes: (&b"\xc1"[..]).into() }, r#"{"base64":"wQ=="}"#),
        ] {
            assert_eq!(Json::of(&payload).0.to_string(), json);
        }
    }

    #[test]
    fn hostile_nesting_is_an_error() {
        let bytes: &'static [u8] = Vec::leak(vec![0x91; 1_000_000]);
        assert!(shown(bytes).is_err());
    }
}
