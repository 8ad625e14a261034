//! Changes of rights: bytes written out by hand.

use super::sentence;
use crate::frame::*;
use crate::proof::TokenKey;

pub(super) fn golden() -> Vec<(Frame<'static>, String)> {
    let key = TokenKey::from_bytes([1; 32]);
    let of = |change| Frame::Grant(Grant { id: 7, name: b"cam", change });
    let rules = vec!["get a", "status"];
    vec![
        (
            of(Change::Create { key: None, rules: rules.clone() }),
            "21000000 08 00 0000 07000000 0300 63616d 00 0500 6765742061 0600 737461747573".to_owned(),
        ),
        (
            of(Change::Create { key: Some(key.clone()), rules: Vec::new() }),
            format!("32000000 08 00 0000 07000000 0300 63616d 01 {}", super::ONES),
        ),
        (
            of(Change::Rules(rules)),
            "21000000 08 00 0000 07000000 0300 63616d 02 0500 6765742061 0600 737461747573".to_owned(),
        ),
        (of(Change::Key(key)), format!("32000000 08 00 0000 07000000 0300 63616d 03 {}", super::ONES)),
        (of(Change::Revoke), "12000000 08 00 0000 07000000 0300 63616d 04".to_owned()),
    ]
}

#[test]
fn each_bad_grant_gets_its_sentence() {
    let why = |fields: &str| sentence(&super::hex(fields));
    let head = "07000000 0100 61";
    assert_eq!(why("08000000 08 00 0000"), "expected a number at byte 8 of a frame");
    assert_eq!(
        why(&format!("10000000 08 00 0000 {head} 05")),
        "expected 0 to 4 (create, with a key, rules, key, revoke) at byte 15 of a frame"
    );
    assert_eq!(why(&format!("11000000 08 00 0000 {head} 03 01")), "expected a key of 32 bytes at byte 16 of a frame");
    assert_eq!(
        why(&format!("11000000 08 00 0000 {head} 04 00")),
        "expected the end of the frame at byte 16 of a frame"
    );
    assert_eq!(
        why(&format!("13000000 08 00 0000 {head} 02 0100 ff")),
        "expected a rule in UTF-8 at byte 16 of a frame"
    );
}
