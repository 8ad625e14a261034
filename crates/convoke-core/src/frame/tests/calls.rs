//! The frames of services: bytes written out by hand, each selector, each end of a call.

use super::{encoded, hex};
use crate::frame::*;
use crate::payload::Encoding;

const CONTENT: Content<'static> = Content { encoding: Encoding::Json, headers: false, bytes: b"42" };
/// One pair, `k` is `v`; then the payload.
const WITH_HEADERS: Content<'static> =
    Content { encoding: Encoding::Raw, headers: true, bytes: b"\x06\0\x01\0k\x01\0vx" };
const CALLER: Incarnation = Incarnation { epoch: 3, counter: 0x0102 };

fn call(select: Select<'static>) -> Call<'static> {
    Call { number: 7, left_ms: 10_000, select, wait: false, again: false, service: b"math/add", content: CONTENT }
}

/// Each selector and its bytes.
const SELECTORS: [(Select<'static>, &str); 10] = [
    (Select::Default, "00 0000"),
    (Select::First, "01 0000"),
    (Select::RoundRobin, "02 0000"),
    (Select::Random, "03 0000"),
    (Select::LeastBusy, "04 0000"),
    (Select::Node(b"ann"), "05 0300 616e6e"),
    (Select::Host(b"pc"), "06 0200 7063"),
    (Select::Master, "07 0000"),
    (Select::CpuUsage, "08 0000"),
    (Select::FreeRam, "09 0000"),
];

pub(super) fn golden() -> Vec<(Frame<'static>, String)> {
    let handle = Handle {
        id: 9,
        registration: 4,
        left_ms: 10_000,
        incarnation: CALLER,
        number: 7,
        caller: b"press/1",
        author: b"ann",
        content: CONTENT,
    };
    let reply = |end| Frame::Reply(Reply { id: 9, end });
    let failed = End::Failed { kind: "Jammed", message: "it is stuck", content: CONTENT };
    let golden = [
        (
            Frame::Serve { id: 4, idempotent: false, service: b"math/add" },
            "17000000 30 00 0000 04000000 00 0800 6d6174682f616464",
        ),
        (Frame::Serve { id: 4, idempotent: true, service: b"a" }, "10000000 30 00 0000 04000000 01 0100 61"),
        (
            Frame::Call(call(Select::Default)),
            "23000000 31 02 0000 0700000000000000 10270000 00 0000 0800 6d6174682f616464 3432",
        ),
        (
            Frame::Call(Call { wait: true, ..call(Select::Default) }),
            "23000000 31 02 1000 0700000000000000 10270000 00 0000 0800 6d6174682f616464 3432",
        ),
        (
            Frame::Call(Call { again: true, content: WITH_HEADERS, ..call(Select::First) }),
            "2a000000 31 00 2200 0700000000000000 10270000 01 0000 0800 6d6174682f616464 0600 0100 6b 0100 76 78",
        ),
        (
            Frame::Handle(handle),
            "40000000 32 02 0000 0900000000000000 04000000 10270000 0300000000000000 0201000000000000 0700000000000000
             0700 70726573732f31 0300 616e6e 3432",
        ),
        (
            Frame::Handle(Handle { content: WITH_HEADERS, ..handle }),
            "47000000 32 00 0200 0900000000000000 04000000 10270000 0300000000000000 0201000000000000 0700000000000000
             0700 70726573732f31 0300 616e6e 0600 0100 6b 0100 76 78",
        ),
        (reply(End::Done(CONTENT)), "13000000 33 02 0000 0900000000000000 00 3432"),
        (reply(End::Done(WITH_HEADERS)), "1a000000 33 00 0200 0900000000000000 00 0600 0100 6b 0100 76 78"),
        (reply(failed), "28000000 33 02 0000 0900000000000000 01 0600 4a616d6d6564 0b00 697420697320737475636b 3432"),
        (
            reply(End::Refused { code: Code::NoProvider, text: "no" }),
            "17000000 33 00 0000 0900000000000000 02 1300 0200 6e6f",
        ),
        (
            reply(End::Uncertain { code: Code::ProviderLost, text: "" }),
            "15000000 33 00 0000 0900000000000000 03 1400 0000",
        ),
        (reply(End::Running), "11000000 33 00 0000 0900000000000000 04"),
        (Frame::Cancel { id: 0x0102 }, "10000000 34 00 0000 0201000000000000"),
        (
            Frame::Recall { id: 9, incarnation: CALLER, number: 7, caller: b"press/1" },
            "31000000 35 00 0000 0900000000000000 0300000000000000 0201000000000000 0700000000000000
             0700 70726573732f31",
        ),
    ];
    golden.map(|(frame, text)| (frame, text.to_owned())).into()
}

#[test]
fn each_selector_is_these_bytes() {
    for (select, text) in SELECTORS {
        let frame = Frame::Call(call(select));
        let fields = format!("0700000000000000 10270000 {text} 0800 6d6174682f616464 3432");
        let bytes = [&((HEAD_BYTES + hex(&fields).len()) as u32).to_le_bytes()[..], &hex("31 02 0000"), &hex(&fields)];
        assert_eq!(encoded(&frame), bytes.concat(), "{select:?}");
        assert_eq!(Frame::decode(&bytes.concat()), Ok(Some((frame, bytes.concat().len()))));
    }
}
