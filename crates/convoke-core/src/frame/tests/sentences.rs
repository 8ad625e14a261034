//! The exact sentence that each kind of bad frame gets.

use super::{hex, sentence};
use crate::frame::{Frame, HEAD_BYTES};

/// Rows N1 to N4, N9, N10, N14, N16 and N17 of what bad input gets, with the sentence of each.
#[test]
fn each_bad_frame_gets_its_sentence() {
    let table = [
        // N1 and N2: a length that has no room for a head.
        ("00000000 06 00 0000", "expected a length of at least 8 at byte 0 of a frame"),
        ("01000000 06 00 0000", "expected a length of at least 8 at byte 0 of a frame"),
        ("07000000 06 00 0000", "expected a length of at least 8 at byte 0 of a frame"),
        ("08000000 10 00 0000", "expected a length of at least 24 in an event at byte 0 of a frame"),
        (
            "17000000 10 00 0000 05000000 06000000 01000000000000",
            "expected a length of at least 24 in an event at byte 0 of a frame",
        ),
        // N3 and N4: a length beyond all frames, told before the body comes.
        ("19000100 10 00 0000", "expected a length of at most 65560 at byte 0 of a frame"),
        ("ffffff7f 10 00 0000", "expected a length of at most 65560 at byte 0 of a frame"),
        ("00000080 10 00 0000", "expected a length of at most 65560 at byte 0 of a frame"),
        ("ffffffff 06 00 0000", "expected a length of at most 65560 at byte 0 of a frame"),
        // N10: a kind that must be understood.
        ("08000000 00 00 0000", "expected a kind of frame that this version knows at byte 4 of a frame"),
        ("08000000 09 00 0000", "expected a kind of frame that this version knows at byte 4 of a frame"),
        ("08000000 7f 00 0000", "expected a kind of frame that this version knows at byte 4 of a frame"),
        // N14: what is reserved.
        ("0c000000 1c 01 0000 01000000", "expected no encoding in a frame without a payload at byte 5 of a frame"),
        ("0c000000 1c 00 0100 01000000", "expected no flags in this kind of frame at byte 6 of a frame"),
        ("0c000000 1c 00 0080 01000000", "expected no flags in this kind of frame at byte 6 of a frame"),
        (
            "18000000 10 04 0000 05000000 06000000 0100000000000000",
            "expected an encoding that exists at byte 5 of a frame",
        ),
        ("18000000 10 00 4000 05000000 06000000 0100000000000000", "expected flags of an event at byte 6 of a frame"),
        ("18000000 10 00 1800 05000000 06000000 0100000000000000", "expected flags of an event at byte 6 of a frame"),
        ("18000000 10 00 1000 05000000 06000000 0100000000000000", "expected a subscription at byte 24 of a frame"),
        ("18000000 10 00 0900 00000000 06000000 0100000000000000", "expected flags of an event at byte 6 of a frame"),
        (
            "1a000000 10 00 0100 05000000 06000000 0100000000000000 0000",
            "expected topic 0 in an event with a name at byte 8 of a frame",
        ),
        // N16: bytes after the last field.
        ("0d000000 1c 00 0000 01000000 00", "expected the end of the frame at byte 12 of a frame"),
        ("0f000000 05 00 0000 0800 0200 6e6f 00", "expected the end of the frame at byte 14 of a frame"),
        ("11000000 06 00 0000 0100000000000000 00", "expected the end of the frame at byte 16 of a frame"),
        // N17: a field that is longer than its frame, or that is missing.
        ("08000000 06 00 0000", "expected a seq at byte 8 of a frame"),
        ("10000000 11 00 0000 07000000 0300 612f", "expected a pattern at byte 14 of a frame"),
        ("0e000000 11 00 0000 07000000 ffff", "expected a pattern at byte 14 of a frame"),
        ("0d000000 11 00 0000 07000000 00", "expected a pattern at byte 12 of a frame"),
        ("1c000000 10 00 0100 00000000 06000000 0100000000000000 0500 6161", "expected a name at byte 26 of a frame"),
        ("19000000 10 00 0100 00000000 06000000 0100000000000000 00", "expected a name at byte 24 of a frame"),
        ("0c000000 1a 00 0000 ffffffff", "expected a number and a count for each topic at byte 12 of a frame"),
        ("16000000 1a 00 0000 00000000 00000000 0300 612f6200", "expected a count at byte 21 of a frame"),
        (
            "10000000 1a 00 0000 00000000 ffffffff",
            "expected a number and a count for each subscription at byte 16 of a frame",
        ),
        ("12000000 1a 00 0000 00000000 00000000 0100", "expected a name at byte 18 of a frame"),
        ("0c000000 01 00 0000 01 ffff 00", "expected a field as long as it says at byte 11 of a frame"),
        // The rest of what single fields can be.
        ("0e000000 05 00 0000 0800 0200 ff6f", "expected a sentence in UTF-8 at byte 10 of a frame"),
        (
            "15000000 16 00 0000 03 0000000000000000 0500 0000",
            "expected 0 (a request), 1 (an event) or 2 (a write) at byte 8 of a frame",
        ),
        ("15000000 16 00 0000 00 0000000001000000 0500 0000", "expected the number of a request at byte 9 of a frame"),
        ("08000000 01 00 0000", "expected the field name at byte 8 of a frame"),
        ("0c000000 01 00 0000 01 0100 61", "expected the field nonce at byte 12 of a frame"),
        ("10000000 01 00 0000 01 0100 61 01 0100 61", "expected each field only once at byte 12 of a frame"),
        ("0b000000 01 00 0000 7f 0000", "expected a field that this version knows at byte 11 of a frame"),
        ("0c000000 01 00 0000 07 0100 04", "expected a slow policy that exists at byte 11 of a frame"),
        ("0c000000 01 00 0000 06 0100 00", "expected the end of the frame at byte 11 of a frame"),
        ("0c000000 01 00 0000 03 0100 00", "expected a nonce of 32 bytes at byte 11 of a frame"),
        ("08000000 04 00 0000", "expected the field hub at byte 8 of a frame"),
    ];
    check(&table);
}

/// Each of these frames gets its sentence.
fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let (bytes, expected) = (hex(text), *expected);
        assert_eq!(sentence(&bytes), expected, "{text}");
        // A frame that follows changes nothing; and until enough is there, nothing is wrong yet.
        assert_eq!(sentence(&[&bytes[..], &hex("0c000000 1c 00 0000 01000000")].concat()), expected, "{text}");
        for len in 0..HEAD_BYTES {
            assert_eq!(Frame::decode(&bytes[..len]), Ok(None), "{text}");
        }
    }
}

/// The sentence of each field that a frame of values can be wrong in.
#[test]
fn each_bad_frame_of_values_gets_its_sentence() {
    // A Write with one change, up to that change.
    let write = |change: &str| {
        let fields = format!("20 00 0000 0100000000000000 0000000000000000 0100 {change}");
        format!("{:02x}000000 {fields}", 4 + hex(&fields).len())
    };
    let table = [
        (write("02 00 0100 61 00"), "expected 0 (set) or 1 (delete) at byte 26 of a frame"),
        (write("00 08 0100 61 00"), "expected flags of a change at byte 27 of a frame"),
        (write("01 02 0100 61 00"), "expected flags of a change at byte 27 of a frame"),
        (write("01 04 0100 61 00"), "expected flags of a change at byte 27 of a frame"),
        (write("01 00 ffff 61 00"), "expected a name at byte 30 of a frame"),
        (write("01 00 0100 61 04"), "expected an expectation that exists at byte 31 of a frame"),
        (write("01 00 0100 61"), "expected what is expected at byte 31 of a frame"),
        (write("01 00 0100 61 03 01000000"), "expected a revision at byte 32 of a frame"),
        (write("00 04 0100 61 00 01000000"), "expected milliseconds at byte 32 of a frame"),
        (write("00 00 0100 61 00 04"), "expected an encoding that exists at byte 32 of a frame"),
        (write("00 00 0100 61 00 00 00"), "expected the length of a payload at byte 33 of a frame"),
        (write("00 00 0100 61 00 00 02000000 61"), "expected a payload as long as it says at byte 37 of a frame"),
        (write("00 00 0100 61 00 00 ffffffff 61"), "expected a payload as long as it says at byte 37 of a frame"),
        (write("01 00 0100 61 00 00"), "expected the end of the frame at byte 32 of a frame"),
    ];
    check(&table.each_ref().map(|(text, expected)| (&**text, *expected)));
    check(&[
        ("10000000 20 00 0000 0100000000000000", "expected a cseq at byte 16 of a frame"),
        ("18000000 20 00 0000 0000000000000000 0000000000000000", "expected a cseq from 1 at byte 8 of a frame"),
        (
            "18000000 20 00 0000 0700000000000000 0700000000000000",
            "expected a cseq below that of the write itself at byte 16 of a frame",
        ),
        (
            "18000000 20 00 0000 0100000000000000 0000000000000000",
            "expected how many changes there are at byte 24 of a frame",
        ),
        (
            "18000000 20 01 0000 0100000000000000 0000000000000000",
            "expected no encoding and no flags in a Write at byte 5 of a frame",
        ),
        (
            "18000000 20 00 0100 0100000000000000 0000000000000000",
            "expected no encoding and no flags in a Write at byte 5 of a frame",
        ),
        ("10000000 21 00 0000 0100000000000000", "expected a revision at byte 16 of a frame"),
        (
            "20000000 21 00 0000 0100000000000000 0000000000000000 0100000000000000",
            "expected a count at byte 32 of a frame",
        ),
        ("0d000000 22 00 0000 01000000 03", "expected 0 (latest), 1 (all) or 2 (once) at byte 12 of a frame"),
        ("0d000000 22 00 0000 01000000 00", "expected a window at byte 13 of a frame"),
        ("11000000 22 00 0000 01000000 00 01000000", "expected a revision at byte 17 of a frame"),
        (
            "29000000 22 00 0000 01000000 00 01000000 0000000000000000 0000000000000000 0000000000000000",
            "expected a pattern at byte 41 of a frame",
        ),
        ("08000000 23 04 0000", "expected an encoding that exists at byte 5 of a frame"),
        ("08000000 23 00 1000", "expected flags of a value at byte 6 of a frame"),
        ("0c000000 23 00 0000 01000000", "expected a revision at byte 12 of a frame"),
        (
            "21000000 23 00 0100 01000000 0000000000000000 0100000000000000 0000 0000 61",
            "expected the end of the frame at byte 32 of a frame",
        ),
        ("0d000000 24 00 0000 01000000 00", "expected 1 (durable), 2 (memory) or 3 (both) at byte 12 of a frame"),
        ("0d000000 24 00 0000 01000000 04", "expected 1 (durable), 2 (memory) or 3 (both) at byte 12 of a frame"),
        ("0d000000 24 00 0000 01000000 01", "expected a revision at byte 13 of a frame"),
        ("0c000000 25 00 0000 01000000", "expected bytes at byte 12 of a frame"),
        ("10000000 25 00 0400 01000000 01000000", "expected no flags in this kind of frame at byte 6 of a frame"),
    ]);
}

/// The sentence of each field that a frame of services can be wrong in, and of Info.
#[test]
fn each_bad_frame_of_services_gets_its_sentence() {
    check(&[
        ("0f000000 30 00 0000 01000000 02 0000", "expected 0 or 1 at byte 12 of a frame"),
        ("0d000000 30 00 0000 01000000 00", "expected a name at byte 13 of a frame"),
        ("08000000 31 00 0100", "expected flags of this kind of frame at byte 6 of a frame"),
        ("08000000 31 00 4000", "expected flags of this kind of frame at byte 6 of a frame"),
        ("08000000 31 00 0000", "expected a number at byte 8 of a frame"),
        ("10000000 31 00 0000 0100000000000000", "expected milliseconds at byte 16 of a frame"),
        (
            "17000000 31 00 0000 0100000000000000 00000000 0a 0000",
            "expected a selector that exists at byte 20 of a frame",
        ),
        (
            "18000000 31 00 0000 0100000000000000 00000000 01 0100 61",
            "expected no name with this selector at byte 21 of a frame",
        ),
        ("17000000 31 00 0000 0100000000000000 00000000 05 0100", "expected a name at byte 23 of a frame"),
        (
            "19000000 31 04 0000 0100000000000000 00000000 00 0000 0000",
            "expected an encoding that exists at byte 5 of a frame",
        ),
        ("19000000 31 00 0200 0100000000000000 00000000 00 0000 0000", "expected headers at byte 25 of a frame"),
        (
            "1e000000 31 00 0200 0100000000000000 00000000 00 0000 0000 0300 0100 ff",
            "expected a header's name in UTF-8 at byte 27 of a frame",
        ),
        ("1b000000 31 00 0200 0100000000000000 00000000 00 0000 0000 0140", "expected headers at byte 27 of a frame"),
        ("08000000 32 00 1000", "expected flags of this kind of frame at byte 6 of a frame"),
        ("10000000 32 00 0000 0100000000000000", "expected a number at byte 16 of a frame"),
        ("18000000 32 00 0000 0100000000000000 01000000 01000000", "expected an epoch at byte 24 of a frame"),
        ("08000000 33 00 2000", "expected flags of this kind of frame at byte 6 of a frame"),
        ("10000000 33 00 0000 0100000000000000", "expected how a call has ended at byte 16 of a frame"),
        ("11000000 33 00 0000 0100000000000000 05", "expected an end of a call that exists at byte 16 of a frame"),
        (
            "11000000 33 01 0000 0100000000000000 04",
            "expected no encoding and no flags without a payload at byte 5 of a frame",
        ),
        (
            "11000000 33 00 0200 0100000000000000 04",
            "expected no encoding and no flags without a payload at byte 5 of a frame",
        ),
        ("12000000 33 00 0000 0100000000000000 04 00", "expected the end of the frame at byte 17 of a frame"),
        ("16000000 33 00 0000 0100000000000000 02 1300 0000 00", "expected the end of the frame at byte 21 of a frame"),
        ("11000000 33 00 0000 0100000000000000 03", "expected a code at byte 17 of a frame"),
        ("16000000 33 00 0000 0100000000000000 03 1300 0100 ff", "expected a sentence in UTF-8 at byte 19 of a frame"),
        ("14000000 33 00 0000 0100000000000000 01 0100 ff", "expected a type in UTF-8 at byte 17 of a frame"),
        ("13000000 33 00 0000 0100000000000000 01 0000", "expected a sentence in UTF-8 at byte 19 of a frame"),
        ("08000000 34 00 0000", "expected a number at byte 8 of a frame"),
        ("10000000 35 00 0000 0100000000000000", "expected an epoch at byte 16 of a frame"),
        ("0c000000 07 00 0000 08 0100 03", "expected 0 (may), 1 (must) or 2 (never) at byte 11 of a frame"),
        ("0c000000 07 00 0000 02 0100 03", "expected a process id at byte 11 of a frame"),
        ("0c000000 07 00 0000 01 0100 ff", "expected at most 256 bytes of UTF-8 at byte 11 of a frame"),
        ("0b000000 07 00 0000 09 0000", "expected a field that this version knows at byte 11 of a frame"),
    ]);
}
