//! Values as a tree: a view of flat keys.

use std::collections::BTreeMap;

use serde_json::{Map, Value as JsonValue};

use super::values::Value;
use crate::json::Json;

/// Where a key stands that has both a value and keys below it.
const OWN: &str = "";

/// Composes a tree of values: their names are the ways, their payloads as [`Json`] the leaves. Of each name the first
/// `skip` words are left out. A key that has a value of its own beside others below it has it under the key `""`.
///
/// `null` without values.
pub fn tree_of(values: &[Value], skip: usize) -> JsonValue {
    let mut root = Branch::default();
    for value in values {
        let place = value.name.words().skip(skip).fold(&mut root, |place, word| place.child(word));
        place.own = Some(Json::of(&value.payload).0);
    }
    root.compose()
}

#[derive(Default)]
struct Branch {
    own: Option<JsonValue>,
    children: BTreeMap<String, Branch>,
}

impl Branch {
    fn child(&mut self, word: &str) -> &mut Branch {
        self.children.entry(word.to_owned()).or_default()
    }

    fn compose(self) -> JsonValue {
        if self.children.is_empty() {
            return self.own.unwrap_or(JsonValue::Null);
        }
        let own = self.own.map(|own| (OWN.to_owned(), own));
        let children = self.children.into_iter().map(|(word, branch)| (word, branch.compose()));
        JsonValue::Object(own.into_iter().chain(children).collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use convoke_core::{Name, Payload, Rev};
    use serde_json::json;

    use super::*;

    fn values(names: &[(&str, i64)]) -> Vec<Value> {
        let author = Name::parse("ann").expect("a name");
        let value = |(name, value): &(&str, i64)| Value {
            name: Name::parse(name).expect("a name"),
            payload: Payload::encode(value).expect("a payload"),
            rev: Rev::default(),
            author: author.clone(),
        };
        names.iter().map(value).collect()
    }

    #[test]
    fn flat_keys_are_shown_as_a_tree() {
        let values = values(&[("a", 1), ("a-b/x", 2), ("a/b", 3), ("a/b/c", 4), ("a/d/e", 5), ("z", 6)]);
        let tree = json!({
            "a": {"": 1, "b": {"": 3, "c": 4}, "d": {"e": 5}},
            "a-b": {"x": 2},
            "z": 6,
        });
        assert_eq!(tree_of(&values, 0), tree);
    }

    #[test]
    fn a_tree_may_begin_below_a_name() {
        assert_eq!(tree_of(&values(&[("a/b", 3), ("a/b/c", 4)]), 2), json!({"": 3, "c": 4}));
        assert_eq!(tree_of(&values(&[("a/b", 3)]), 2), json!(3));
        assert_eq!(tree_of(&[], 2), json!(null));
    }
}
