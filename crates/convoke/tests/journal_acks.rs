//! Story: a program learns who has applied what it has executed, and who is there at all.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::time::Duration;

use convoke::{
    AppliedBy, Attendance, Deed, Entries, EntriesOptions, Entry, Error, FollowOptions, Name, Outcome, State, Who,
};
use serde::{Deserialize, Serialize};
use support::*;

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Room(Vec<String>);

impl State for Room {
    type Command = String;
    type Output = usize;

    fn apply(&mut self, command: &String, at: &Entry) -> usize {
        self.0.push(format!("{}: {command}", at.author));
        self.0.len()
    }

    fn presence(&mut self, joined: bool, at: &Entry) {
        self.0.push(format!("{} {}", at.author, if joined { "joins" } else { "leaves" }));
    }
}

const MEMBER: EntriesOptions = EntriesOptions { after: 0, member: true, presence: false, verify: false };

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Each that is listed, in short.
fn listed(by: &AppliedBy) -> Vec<(String, Attendance, u64)> {
    by.listed.iter().map(|member| (member.node.to_string(), member.attendance, member.applied)).collect()
}

/// The next entries, in short: `+ann`, `-ann`, or what was executed.
async fn taken(entries: &mut Entries, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        let (entry, command) = soon(entries.next()).await.unwrap().unwrap();
        all.push(match entry.deed {
            Deed::Join => format!("+{}", entry.author),
            Deed::Leave => format!("-{}", entry.author),
            _ => command.unwrap().decode::<String>().unwrap(),
        });
    }
    all
}

on_every_transport! {
    async fn who_executes_learns_who_has_applied_it(stage: Stage) {
        let (ann, bob, cai) = (stage.node("ann").await, stage.node("bob").await, stage.node("cai").await);
        let hers = ann.follow::<Room>("room").await.unwrap();
        let his = bob.follow::<Room>("room").await.unwrap();
        let mut slow = cai.entries_with("room", MEMBER).await.unwrap();
        let done = soon(hers.execute(&"hello".to_owned())).await.unwrap();
        let by = soon(hers.applied_by(done.seq, Who::Quorum, LONG)).await.unwrap();
        assert!(by.reached && by.applied >= 2 && by.members == 3, "{by}");
        soon(his.changed(0)).await.unwrap();
        let by = soon(hers.applied_by(1, Who::All, Duration::from_millis(50))).await.unwrap();
        assert!(!by.reached, "{by}");
        assert_eq!(by.lagging().map(|member| member.node.as_str()).collect::<Vec<_>>(), ["cai"]);
        let all = tokio::spawn({
            let ann = ann.clone();
            async move { ann.applied_by("room", 1, Who::All, LONG).await }
        });
        assert_eq!(taken(&mut slow, 1).await, ["hello"]);
        slow.applied(1);
        let by = soon(all).await.unwrap().unwrap();
        assert!(by.reached, "{by}");
        let here = |node: &str| (node.to_owned(), Attendance::Here, 1);
        assert_eq!(listed(&by), ["ann", "bob", "cai"].map(here));
    }

    async fn who_has_gone_is_told(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let hers = ann.follow::<Room>("room").await.unwrap();
        let his = bob.follow::<Room>("room").await.unwrap();
        soon(hers.execute(&"hello".to_owned())).await.unwrap();
        let both = Who::Nodes(["ann", "bob"].map(|node| Name::parse(node).unwrap()).to_vec());
        assert!(soon(hers.applied_by(1, both.clone(), LONG)).await.unwrap().reached);
        soon(bob.leave()).await;
        drop(his);
        let by = soon(hers.applied_by(1, both, Duration::from_millis(50))).await.unwrap();
        assert!(!by.reached && by.to_string().ends_with(": `bob` is no member"), "{by}");
        assert!(soon(hers.applied_by(1, Who::All, LONG)).await.unwrap().reached, "of those that there are");
        let many = Who::Nodes(vec![Name::parse("x").unwrap(); 101]);
        let error = soon(ann.applied_by("room", 1, many, LONG)).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)) && error.outcome() == Outcome::NotDone, "{error}");
    }

    async fn who_comes_and_goes_is_in_the_journal(stage: Stage) {
        let (ann, bob) = (stage.node("ann").await, stage.node("bob").await);
        let mut all = ann.entries("room", 0).await.unwrap();
        let present = FollowOptions { presence: true, ..FollowOptions::default() };
        let his = bob.follow_with::<Room>("room", present).await.unwrap();
        let done = soon(his.execute(&"hello".to_owned())).await.unwrap();
        assert_eq!((done.seq, done.output), (2, 2));
        let cai = stage.node("cai").await;
        let hers = cai.entries_with("room", EntriesOptions { presence: true, ..EntriesOptions::default() }).await.unwrap();
        assert_eq!(taken(&mut all, 3).await, ["+bob", "hello", "+cai"]);
        soon(his.undo()).await.unwrap();
        assert_eq!(his.read(Clone::clone), Room(vec!["bob joins".into(), "cai joins".into()]), "they cannot be undone");
        drop(his);
        drop(hers);
        soon(cai.leave()).await;
        let (entry, _) = soon(all.next()).await.unwrap().unwrap();
        assert_eq!(entry.deed, Deed::Undo(2));
        let mut left = taken(&mut all, 2).await;
        left.sort();
        assert_eq!(left, ["-bob", "-cai"]);
    }

    async fn a_hundred_entries_are_acknowledged_by_ten_members(stage: Stage) {
        let mut rooms = Vec::new();
        for number in 0..10 {
            rooms.push(stage.node(&format!("node/{number}")).await.follow::<Room>("room").await.unwrap());
        }
        let mut tasks = tokio::task::JoinSet::new();
        for room in rooms.clone() {
            tasks.spawn(async move {
                for _ in 0..10 {
                    let done = room.execute(&"x".to_owned()).await.unwrap();
                    let by = room.applied_by(done.seq, Who::All, LONG).await.unwrap();
                    assert!(by.reached && by.applied == 10, "{by}");
                }
            });
        }
        while let Some(done) = soon(tasks.join_next()).await {
            done.unwrap();
        }
    }
}

/// A node has 1024 waits at most.
#[tokio::test]
async fn who_waits_no_more_leaves_room_for_others() {
    let stage = Stage::new(Transport::Mem).await;
    let ann = stage.node("ann").await;
    let seq = soon(ann.append("room", "hello")).await.unwrap();
    for round in 0..1100 {
        let wait = ann.applied_by("room", seq, Who::Count(3), Duration::from_secs(3600));
        let waited = tokio::time::timeout(Duration::ZERO, wait).await;
        assert!(waited.is_err(), "{round}: {waited:?}");
    }
}
