//! Links that take their time: to join, to say a frame, to read; and those that ask for too much of it.

use std::time::Duration;

use convoke_core::frame::Frame;
use convoke_core::{Code, limits};

use super::bench::{Answer, Bench, Stage, encoded, hello, named_event};

const MOMENT: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// N5 and N6: a link that has not joined has five seconds, whatever it trickles.
#[test]
fn a_link_that_does_not_join_in_time_is_closed() {
    for stage in [Stage::Connected, Stage::Greeted, Stage::Challenged] {
        let mut bench = Bench::at(stage);
        bench.say(if stage == Stage::Connected { &[0xcf] } else { &[100, 0, 0, 0] });
        bench.wait(limits::JOIN_TIME_MAX - MOMENT);
        assert_eq!(bench.answers(), [], "{stage:?}");
        bench.wait(MOMENT * 2);
        bench.expect_close(Code::TimedOut, "did not join within 5 s", &stage);
    }
    let mut bench = Bench::at(Stage::Greeted);
    for byte in hello(b"bad", None).chunks(1).take(5) {
        assert_eq!(bench.answers(), []);
        bench.say(byte);
        bench.wait(SECOND);
    }
    bench.expect_close(Code::TimedOut, "did not join within 5 s", &"one byte each second");
}

/// A hub that had no time for its deadlines took that for a stall of its own, at every call anew: each moved all deadlines
/// by as much as had passed since the last, which with many links cost more than the call itself.
#[test]
fn a_busy_hub_is_not_one_that_stood_still() {
    let mut bench = Bench::at(Stage::Connected);
    let due = bench.hub.deadline().unwrap();
    let late = due + limits::STALL * 2;
    while bench.now < late {
        bench.now = bench.now + limits::STALL / 10;
        let Bench { hub, witness, now, .. } = &mut bench;
        witness.say(hub, &encoded(&Frame::Beat { received: 0 }), *now);
        assert_eq!(hub.deadline(), Some(due));
    }
    bench.hub.tick(bench.now);
    bench.bad.listen(&mut bench.hub);
    assert!(bench.bad.closed, "the link that did not join in time is closed");
}

/// Time passes second by second, in which the witness says that it is alive.
fn pass(bench: &mut Bench, seconds: u32) {
    for _ in 0..seconds {
        bench.wait(SECOND);
        let Bench { hub, witness, now, .. } = bench;
        witness.say(hub, &encoded(&Frame::Beat { received: 0 }), *now);
    }
    // The hub says that it is alive; nothing else.
    let answers = bench.answers();
    assert!(answers.iter().all(|answer| *answer == Answer::Other("Beat")), "{answers:?}");
}

/// N5: what has begun and does not go on.
#[test]
fn half_a_frame_and_then_nothing_ends_its_link() {
    let event = named_event(2, 1, b"a", &[0; 1000]);
    for len in [1, 7, 8, 100, event.len() - 1] {
        let mut bench = Bench::at(Stage::Joined);
        bench.say(&event[..len]);
        pass(&mut bench, 29);
        bench.wait(SECOND - MOMENT);
        assert_eq!(bench.answers(), [], "{len} bytes");
        bench.wait(MOMENT * 2);
        bench.expect_close(Code::TimedOut, "the rest of a frame did not come within 30 s", &len);
    }
}

/// N6: a byte now and then is not a frame.
#[test]
fn a_frame_byte_by_byte_ends_its_link_when_its_time_is_over() {
    let mut bench = Bench::at(Stage::Joined);
    let event = named_event(2, 1, b"a", &[0; 1000]);
    for byte in event.chunks(1).take(29) {
        bench.say(byte);
        pass(&mut bench, 1);
        assert!(!bench.bad.closed);
    }
    bench.wait(SECOND * 2);
    bench.expect_close(Code::TimedOut, "the rest of a frame did not come within 30 s", &"one byte each second");
}

#[test]
fn who_says_long_frames_slowly_is_heard() {
    let mut bench = Bench::at(Stage::Joined);
    let publisher = bench.bad.publisher;
    // Each comes in twenty-five parts, a second apart; the first part of each comes with the last of the one before.
    let frames: Vec<u8> = (1..=8).flat_map(|seq| named_event(publisher, seq, b"a", &[0; 60_000])).collect();
    for part in frames.chunks(frames.len().div_ceil(200)) {
        bench.say(part);
        bench.bad.heard.clear();
        pass(&mut bench, 1);
        assert!(!bench.bad.closed);
    }
    bench.expect_alive(&"after 200 s");
    // Nor is one held to it that has half of some frame whenever anybody looks.
    let (ping, half) = (encoded(&Frame::Ping { id: 1, node: b"" }), 9);
    bench.say(&ping[..half]);
    for _ in 0..200 {
        bench.say(&[&ping[half..], &ping[..half]].concat());
        assert_eq!(bench.answers(), [Answer::Done(1, 0)]);
        pass(&mut bench, 1);
    }
    bench.say(&ping[half..]);
    assert_eq!(bench.answers(), [Answer::Done(1, 0)]);
    pass(&mut bench, 60);
    bench.expect_alive(&"nothing has begun");
}

#[test]
fn half_a_frame_is_forgiven_the_time_in_which_the_hub_stood_still() {
    let mut bench = Bench::at(Stage::Joined);
    bench.say(&[100, 0, 0]);
    pass(&mut bench, 20);
    bench.now = bench.now + SECOND * 60;
    bench.hub.tick(bench.now);
    pass(&mut bench, 8);
    assert!(!bench.bad.closed);
    bench.wait(SECOND * 3);
    let answers = bench.answers();
    assert!(matches!(answers.last(), Some(Answer::Close(Code::TimedOut, _))), "after the stall: {answers:?}");
}

/// N35: pings are answered as long as the answers are read.
#[test]
fn a_flood_of_pings_ends_with_who_does_not_read_the_answers() {
    const FLOOD: u32 = 100_000;
    let ping = |id| encoded(&Frame::Ping { id, node: b"" });
    let mut bench = Bench::at(Stage::Joined);
    for id in 0..FLOOD {
        bench.say(&ping(id));
        assert_eq!(bench.answers(), [Answer::Done(id, 0)]);
    }
    bench.expect_alive(&"it has read them");
    let mut flood: bytes::BytesMut = (0..FLOOD).flat_map(ping).collect::<Vec<u8>>()[..].into();
    bench.hub.receive(bench.bad.link, &mut flood, bench.now);
    assert!(flood.is_empty());
    bench.bad.listen(&mut bench.hub);
    assert!(bench.bad.heard.len() <= limits::LINK_CONTROL_BYTES_MAX, "{} bytes wait", bench.bad.heard.len());
    bench.expect_close(Code::SlowLink, "it does not read", &"it reads nothing");
    // To nodes no more are on their way than may be.
    let mut bench = Bench::at(Stage::Joined);
    let many: Vec<u8> = (0..FLOOD / 10).flat_map(|id| encoded(&Frame::Ping { id, node: b"witness" })).collect();
    bench.say(&many);
    let answers = bench.answers();
    assert_eq!(answers.len(), (FLOOD / 10) as usize - limits::PINGS_MAX);
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Refused(_, Code::Limit | Code::Backpressure, _))));
    assert_eq!(bench.hub.census().pings, limits::PINGS_MAX);
    bench.hub.closed(bench.bad.link, bench.now);
    assert_eq!(bench.hub.census().pings, 0);
}
