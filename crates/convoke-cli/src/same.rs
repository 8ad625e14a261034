//! Whether two payloads mean the same, however they are written.

use convoke::Payload;
use serde_json::{Number, Value};

use crate::render;

/// JSON, MessagePack and text are compared by what they mean; all else by its bytes.
pub(crate) fn same(one: &Payload, other: &Payload) -> bool {
    match (render::json_value(one), render::json_value(other)) {
        (Some(one), Some(other)) => same_json(&one, &other),
        _ => one.bytes == other.bytes,
    }
}

fn same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_json(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same_json(one, other)))
        }
        (one, other) => one == other,
    }
}

/// `1.0` is `1`; integers that no double holds exactly are not the same as their neighbours.
fn same_number(one: &Number, other: &Number) -> bool {
    one == other || one.is_f64() != other.is_f64() && one.as_f64() == other.as_f64()
}

#[cfg(test)]
mod tests {
    use convoke::Encoding;

    use super::*;

    fn json(text: &'static str) -> Payload {
        Payload { encoding: Encoding::Json, bytes: text.as_bytes().into() }
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        for (one, other) in [
            ("1", "1.0"),
            ("-0.0", "0"),
            ("1e2", "100"),
            (r#"{"a":1,"b":[true,null]}"#, "{ \"b\": [true, null], \"a\": 1.0 }"),
            (r#""ready""#, r#""r\u0065ady""#),
        ] {
            assert!(same(&json(one), &json(other)), "{one} {other}");
        }
        assert!(same(&json(r#""ready""#), &Payload::text("ready")));
        assert!(same(&Payload::encode(&(1, "a")).expect("it is simple"), &json(r#"[1,"a"]"#)));
        assert!(same(&Payload::raw(&b"\xff"[..]), &Payload::raw(&b"\xff"[..])));
    }

    #[test]
    fn what_means_something_else_is_not_the_same() {
        for (one, other) in [
            ("1", r#""1""#),
            ("9007199254740993", "9007199254740992"),
            ("[1,2]", "[2,1]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            ("null", "false"),
        ] {
            assert!(!same(&json(one), &json(other)), "{one} {other}");
        }
        assert!(!same(&Payload::text("1"), &json("1")));
        assert!(!same(&Payload::raw(&b"\xff"[..]), &Payload::raw(&b"\xfe"[..])));
    }
}
