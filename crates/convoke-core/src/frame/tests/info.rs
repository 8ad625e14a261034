//! What a node tells about itself: bytes written out by hand, and what may be missing.

use super::{encoded, hex, sentence};
use crate::frame::*;

pub(super) fn golden() -> Vec<(Frame<'static>, String)> {
    let info = Info {
        host: "pc",
        pid: 0x0102,
        program: "press 1.0",
        cpu_permille: 500,
        own_cpu_permille: 1500,
        memory: 1 << 20,
        free_memory: 1 << 33,
        master: MasterWish::Must,
    };
    let bytes = "48000000 07 00 0000 01 0200 7063 02 0400 02010000 03 0900 707265737320312e30 04 0400 f4010000
        05 0400 dc050000 06 0800 0000100000000000 07 0800 0000000002000000 08 0100 01";
    vec![(Frame::Info(info), bytes.to_owned())]
}

fn decoded(fields: &[u8]) -> Vec<u8> {
    [&((HEAD_BYTES + fields.len()) as u32).to_le_bytes()[..], &[7, 0, 0, 0], fields].concat()
}

#[test]
fn what_a_node_does_not_tell_is_empty_or_zero() {
    assert_eq!(Frame::decode(&decoded(&[])), Ok(Some((Frame::Info(Info::default()), 8))));
    let bytes = decoded(&hex("04 0400 f4010000"));
    let info = Info { cpu_permille: 500, ..Info::default() };
    assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Info(info), bytes.len()))));
}

#[test]
fn wishes_to_be_master_have_the_numbers_of_their_order() {
    for (number, master) in [MasterWish::May, MasterWish::Must, MasterWish::Never].into_iter().enumerate() {
        let bytes = decoded(&[8, 1, 0, number as u8]);
        let info = Info { master, ..Info::default() };
        assert_eq!(Frame::decode(&bytes), Ok(Some((Frame::Info(info), bytes.len()))));
    }
}

#[test]
fn texts_of_a_node_have_256_bytes_at_most() {
    for tag in [1, 3] {
        let with = |len: u16| decoded(&[&[tag][..], &len.to_le_bytes(), &vec![b'x'; usize::from(len)]].concat());
        assert!(Frame::decode(&with(256)).is_ok());
        assert_eq!(sentence(&with(257)), "expected at most 256 bytes of UTF-8 at byte 11 of a frame");
    }
    let longest = "x".repeat(256);
    let info = Frame::Info(Info { host: &longest, program: &longest, ..Info::default() });
    assert_eq!(Frame::decode(&encoded(&info)).unwrap().unwrap().0, info);
}
