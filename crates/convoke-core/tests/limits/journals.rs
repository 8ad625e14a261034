//! Limits of journals and of those who follow them, each reached.

use convoke_core::Rev;
use convoke_core::frame::{Append, Appended, Await, Commands, Follow, FollowAs, Frame, Nodes, Terms, WatchMode, Whom};
use convoke_core::limits::{
    AWAIT_NODES_MAX, AWAITS_BYTES_MAX, AWAITS_PER_LINK_MAX, ENTRIES_RECENT_BYTES_MAX, JOURNAL_MEMBERS_LISTED_MAX,
    JOURNAL_MEMBERS_MAX, JOURNALS_MAX, WATCHES_PER_LINK_MAX,
};
use convoke_core::report::JournalReport;
use convoke_core::{Code, Encoding};

use crate::bench::{Answer, Bench, Stage, answers, encoded};
use crate::reached::refusal;
use crate::{join, usage};

fn append(cseq: u64, journal: &str, command: &[u8]) -> Vec<u8> {
    let commands = Commands::encode([(Encoding::Raw, command)].into_iter());
    let (commands, terms) = (Commands::encoded(&commands), Terms::default());
    let appended = Appended::Commands { commands, expect_last: None, terms };
    encoded(&Frame::Append(Append { cseq, settled: cseq - 1, journal: journal.as_bytes(), appended }))
}

fn follow(id: u32, journal: &str, follow_as: FollowAs) -> Vec<u8> {
    let (window, journal) = (u32::MAX, journal.as_bytes());
    encoded(&Frame::Follow(Follow {
        id,
        follow_as,
        window,
        after: 0,
        hash: [0; 16],
        strategy: None,
        snapshot: 0,
        journal,
    }))
}

fn wait(id: u32, whom: Whom<'_>) -> Vec<u8> {
    encoded(&Frame::Await(Await { id, seq: 1, remaining_ms: 60_000, journal: b"todo", whom }))
}

#[test]
fn a_hub_has_a_bounded_number_of_journals() {
    let mut bench = Bench::at(Stage::Joined);
    for n in 1..=JOURNALS_MAX as u64 {
        bench.say(&append(n, &format!("j/{n}"), b"a"));
    }
    assert_eq!(usage(&bench, "journals"), (JOURNALS_MAX as u64, JOURNALS_MAX as u64));
    assert!(bench.answers().iter().all(|answer| *answer == Answer::Other("Written")), "nothing is refused");
    bench.say(&append(JOURNALS_MAX as u64 + 1, "more", b"a"));
    let refused = bench.answers();
    assert_eq!(
        refusal(&refused),
        (Code::Limit, "append to `more`: the hub has 10000 journals, which is all it may have")
    );
    bench.say(&append(JOURNALS_MAX as u64 + 2, "j/7", b"a"));
    assert_eq!(bench.answers(), [Answer::Other("Written")]);
    // Who is announced in one that cannot be made is a member all the same.
    bench.say(&follow(1, "more", FollowAs::Announced));
    assert_eq!(bench.answers(), [Answer::Done(1, 0)]);
    assert_eq!(usage(&bench, "journal_members").0, 1);
}

/// Older ones come from where they are kept.
#[test]
fn entries_that_are_not_in_memory_are_told_all_the_same() {
    let mut bench = Bench::at(Stage::Joined);
    let count = ENTRIES_RECENT_BYTES_MAX / 60_000 + 50;
    for n in 1..=count as u64 {
        bench.say(&append(n, "todo", &[n as u8; 60_000]));
    }
    let (used, most) = usage(&bench, "entries_bytes");
    assert!(most == ENTRIES_RECENT_BYTES_MAX as u64 && used <= most && used > most - 70_000, "{used} of {most}");
    bench.bad.heard.clear();
    bench.say(&follow(1, "todo", FollowAs::Observer));
    let mut told = 0;
    loop {
        let heard = std::mem::take(&mut bench.bad.heard);
        let mut rest = &heard[..];
        while let Some((frame, len)) = Frame::decode(rest).unwrap() {
            match frame {
                Frame::Entry(entry) => {
                    told += 1;
                    assert_eq!((entry.seq, entry.payload.1.first()), (told, Some(&(told as u8))));
                }
                Frame::Done { value, .. } => assert_eq!((value, told), (count as u64, count as u64)),
                other => panic!("{other:?}"),
            }
            rest = &rest[len..];
        }
        if heard.is_empty() {
            break;
        }
        bench.keep();
        bench.bad.listen(&mut bench.hub);
    }
    assert_eq!(told, count as u64);
}

#[test]
fn all_journals_together_have_so_many_members() {
    let mut bench = Bench::at(Stage::Joined);
    let mut left = JOURNAL_MEMBERS_MAX;
    let mut wires = Vec::new();
    while left > 0 {
        let mut wire = join(&mut bench, &format!("n/{}", wires.len()));
        let count = left.min(WATCHES_PER_LINK_MAX);
        let all: Vec<u8> = (0..count).flat_map(|n| follow(n as u32, &format!("j/{n}"), FollowAs::Member)).collect();
        wire.say(&mut bench.hub, &all, bench.now);
        wire.heard.clear();
        wires.push(wire);
        left -= count;
    }
    assert_eq!(usage(&bench, "journal_members"), (JOURNAL_MEMBERS_MAX as u64, JOURNAL_MEMBERS_MAX as u64));
    bench.say(&follow(1, "j/1", FollowAs::Member));
    let refused = bench.answers();
    assert_eq!(
        refusal(&refused),
        (
            Code::Limit,
            "follow `j/1` as a member: the journals of the hub have 262144 members, which is all they may have"
        )
    );
    bench.say(&follow(1, "j/1", FollowAs::Observer));
    assert_eq!(bench.answers(), [Answer::Done(1, 0)]);
    let last = wires.last_mut().unwrap();
    last.say(&mut bench.hub, &follow(77_777, "j/1", FollowAs::Member), bench.now);
    assert_eq!(answers(&last.heard), [Answer::Done(77_777, 0)], "it is one already");
    // They stay members for a while, and then all of them go.
    for wire in wires.drain(..) {
        bench.hub.closed(wire.link, bench.now);
    }
    assert_eq!(usage(&bench, "journal_members").0, JOURNAL_MEMBERS_MAX as u64);
    bench.wait(std::time::Duration::from_secs(31));
    assert_eq!(usage(&bench, "journal_members").0, 0);
}

#[test]
fn a_link_waits_for_members_a_bounded_number_of_times() {
    let mut bench = Bench::at(Stage::Joined);
    for id in 0..=AWAITS_PER_LINK_MAX as u32 {
        bench.say(&wait(id, Whom::Count(1)));
    }
    let most = AWAITS_PER_LINK_MAX as u64;
    assert_eq!(usage(&bench, "awaits_per_link"), (most, most));
    let refused = bench.answers();
    assert_eq!(
        refusal(&refused),
        (Code::Limit, "wait for members of `todo`: `bad` waits 1024 times, which is all it may")
    );
    bench.say(&encoded(&Frame::Unsubscribe { id: 7 }));
    bench.say(&wait(7, Whom::Count(1)));
    assert_eq!(bench.answers(), []);
    bench.say(&wait(5000, Whom::Count(1)));
    assert_eq!(refusal(&bench.answers()).0, Code::Limit);
}

#[test]
fn what_waits_for_members_is_bounded_in_bytes() {
    let mut bench = Bench::at(Stage::Joined);
    let name = |n: usize| format!("{n}/{}", "x".repeat(490)).into_bytes();
    let names: Vec<Vec<u8>> = (0..AWAIT_NODES_MAX).map(name).collect();
    let names = Nodes::encode(names.iter().map(|name| &name[..]));
    let whom = Whom::Nodes(Nodes::encoded(&names));
    let mut wires: Vec<_> = (0..2).map(|n| join(&mut bench, &format!("n/{n}"))).collect();
    for wire in &mut wires {
        for id in 0..AWAITS_PER_LINK_MAX as u32 {
            wire.say(&mut bench.hub, &wait(id, whom), bench.now);
        }
    }
    let (used, most) = usage(&bench, "awaits_bytes");
    assert!(most == AWAITS_BYTES_MAX as u64 && used <= most && used > most - 60_000, "{used} of {most}");
    assert_eq!(answers(&wires[0].heard), []);
    let refused = answers(&wires[1].heard);
    let Some(Answer::Refused(_, code, text)) = refused.first() else { panic!("{refused:?}") };
    assert_eq!(*code, Code::Backpressure);
    assert_eq!(text, "wait for members of `todo`: what waits at the hub takes 67108864 bytes already; try again later");
    for wire in wires {
        bench.hub.closed(wire.link, bench.now);
    }
    assert_eq!(usage(&bench, "awaits_bytes").0, 0);
}

#[test]
fn a_number_that_a_link_uses_already_is_given_to_no_follower_and_to_no_wait() {
    let mut bench = Bench::at(Stage::Joined);
    bench.say(&follow(7, "todo", FollowAs::Observer));
    bench.say(&encoded(&Frame::Subscribe { id: 8, pattern: b"a", group: b"" }));
    assert_eq!(bench.answers(), [Answer::Done(7, 0), Answer::Done(8, 0)]);
    for id in [7, 8] {
        for (frame, what) in [
            (follow(id, "plan", FollowAs::Observer), "follow `plan`"),
            (wait(id, Whom::All), "wait for members of `todo`"),
        ] {
            bench.say(&frame);
            let refused = bench.answers();
            let text = format!("{what}: the number {id} is in use on this link");
            assert_eq!(refusal(&refused), (Code::BadFrame, &*text));
        }
    }
    assert_eq!(usage(&bench, "watches_per_link").0, 1, "what had the number goes on");
}

#[test]
fn a_link_has_so_many_followers() {
    let mut bench = Bench::at(Stage::Joined);
    let all = 1..=WATCHES_PER_LINK_MAX as u32;
    let all: Vec<u8> = all.flat_map(|id| follow(id, "todo", FollowAs::Observer)).collect();
    bench.say(&all);
    let answers = bench.answers();
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Done(..))), "nothing is refused");
    bench.say(&follow(WATCHES_PER_LINK_MAX as u32 + 1, "todo", FollowAs::Observer));
    let refused = bench.answers();
    assert_eq!(
        refusal(&refused),
        (Code::Limit, "follow `todo`: `bad` has 10000 watches and followers, which is all it may have")
    );
}

#[test]
fn of_the_members_of_a_journal_so_many_are_listed_and_the_others_counted() {
    let mut bench = Bench::at(Stage::Joined);
    for n in 0..JOURNAL_MEMBERS_LISTED_MAX + 2 {
        let mut wire = join(&mut bench, &format!("n/{n}"));
        wire.say(&mut bench.hub, &follow(1, "todo", FollowAs::Member), bench.now);
    }
    let (after_memory, pattern) = (Rev::default(), &b"$hub/journals/todo/followers"[..]);
    let (id, mode, window) = (1, WatchMode::Once, u32::MAX);
    bench.say(&encoded(&Frame::Watch { id, mode, window, after: 0, after_memory, pattern }));
    let heard = std::mem::take(&mut bench.bad.heard);
    let mut report = Vec::new();
    let mut rest = &heard[..];
    while let Some((frame, len)) = Frame::decode(rest).unwrap() {
        match frame {
            Frame::Value(value) => report.extend_from_slice(value.payload.unwrap().1),
            Frame::Part(_, body) => report.extend_from_slice(body),
            _ => {}
        }
        rest = &rest[len..];
    }
    // Where it is in fragments, the first begins with other fields.
    let start = report.iter().position(|byte| *byte == b'{').unwrap();
    let report: JournalReport = serde_json::from_slice(&report[start..]).unwrap();
    assert_eq!((report.members.len(), report.more), (JOURNAL_MEMBERS_LISTED_MAX, 2));
}
