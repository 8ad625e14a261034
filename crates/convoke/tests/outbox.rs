//! Story: what a program appends while there is no hub is safe on its own machine, and is there once and in order when there
//! is one, whoever has ended meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;

use convoke::{Code, Entry, Error, Node, NodeOptions, OpId, OutboxEnd, Outcome, Payload, State, Status};
use serde::{Deserialize, Serialize};
use support::*;

fn options(stage: &Stage, name: &str, folder: &str) -> NodeOptions {
    NodeOptions { outbox: Some(stage.folder().join(folder)), ..stage.options(name) }
}

/// The commands of a journal, with their places.
async fn commands(node: &Node, journal: &str) -> Vec<(u64, u32)> {
    let mut entries = node.entries(journal, 0).await.unwrap();
    let mut all = Vec::new();
    while let Some(next) = soon(entries.next_of_those_there()).await {
        let (entry, command): (Entry, Option<Payload>) = next.unwrap();
        all.push((entry.seq, command.unwrap().decode().unwrap()));
    }
    all
}

async fn end(node: &Node) -> OutboxEnd {
    soon(node.outbox().unwrap().next()).await.expect("the node is there")
}

on_every_transport! {
    async fn what_is_posted_without_a_hub_is_sent_in_order_and_once_when_there_is_one(stage: Stage) {
        let options = options(&stage, "ann", "outbox");
        let stopped = stage.stop().await;
        let node = Node::open(&stopped.address, options).unwrap();
        let outbox = node.outbox().unwrap();
        for number in 1..=20_u32 {
            assert_eq!(soon(outbox.append("todo", &number)).await.unwrap(), u64::from(number));
        }
        assert_eq!(outbox.len(), 20);
        let stage = stopped.start().await;
        for number in 1..=20 {
            let end = end(&node).await;
            assert_eq!((end.number, end.journal.as_str(), end.outcome.unwrap()), (number, "todo", number));
        }
        assert!(outbox.is_empty());
        let all = commands(&stage.node("bob").await, "todo").await;
        assert_eq!(all, (1..=20).map(|number| (u64::from(number), number)).collect::<Vec<_>>());
    }

    async fn what_one_program_left_the_next_sends_before_its_own(stage: Stage) {
        let options = options(&stage, "ann", "outbox");
        let stopped = stage.stop().await;
        let node = Node::open(&stopped.address, options.clone()).unwrap();
        for number in 1..=3_u32 {
            soon(node.outbox().unwrap().append("todo", &number)).await.unwrap();
        }
        soon(node.leave()).await;
        let stage = stopped.start().await;
        let node = soon(Node::connect_with(&stage.address, options)).await.unwrap();
        assert_eq!(soon(node.append("todo", &4_u32)).await.unwrap(), 4);
        for number in 1..=3 {
            let end = end(&node).await;
            assert_eq!((end.number, end.outcome.unwrap()), (number, number));
        }
        assert_eq!(commands(&node, "todo").await, [(1, 1), (2, 2), (3, 3), (4, 4)]);
    }

    async fn an_append_of_a_node_with_an_outbox_is_like_any_other(stage: Stage) {
        let node = soon(Node::connect_with(&stage.address, options(&stage, "ann", "outbox"))).await.unwrap();
        for number in 1..=50_u32 {
            assert_eq!(soon(node.append("todo", &number)).await.unwrap(), u64::from(number));
        }
        let expected = soon(node.append_payloads("todo", &[Payload::encode(&51).unwrap()], Some(7))).await.unwrap_err();
        assert_eq!((expected.code(), expected.outcome()), (Code::Conflict, Outcome::NotDone), "{expected}");
        soon(node.set("a", &1)).await.unwrap();
        assert_eq!(soon(node.undo("todo", Default::default())).await.unwrap(), 51);
        assert!(node.outbox().unwrap().is_empty());
        soon(node.leave()).await;
        // Nobody is told twice.
        let node = soon(Node::connect_with(&stage.address, options(&stage, "ann", "outbox"))).await.unwrap();
        soon(node.outbox().unwrap().append("other", &1)).await.unwrap();
        let end = end(&node).await;
        assert_eq!((end.journal.as_str(), end.outcome.unwrap()), ("other", 1));
    }

    async fn what_nobody_hears_because_who_asked_is_gone_is_told(stage: Stage) {
        let node = soon(Node::connect_with(&stage.address, options(&stage, "ann", "outbox"))).await.unwrap();
        let (outbox, board) = (node.outbox().unwrap(), node.follow::<Board>("todo").await.unwrap());
        for number in 1..=2 {
            let mut asks: Pin<Box<dyn Future<Output = Result<u64, Error>> + Send>> = match number {
                1 => Box::pin(node.append("todo", &1_u32)),
                _ => Box::pin(async { board.execute(&2).await.map(|done| done.seq) }),
            };
            assert!(poll_fn(|context| Poll::Ready(asks.as_mut().poll(context).is_pending())).await);
            until("it is answered", || outbox.is_empty()).await;
            drop(asks);
            let end = end(&node).await;
            assert_eq!((end.number, end.outcome.unwrap()), (number, number));
        }
        assert_eq!(soon(node.append("todo", &3_u32)).await.unwrap(), 3);
        soon(outbox.append("todo", &4_u32)).await.unwrap();
        assert_eq!(end(&node).await.number, 4, "what was heard is not told");
    }

    async fn what_one_does_without_a_hub_is_shown_at_once_and_true_when_there_is_one(stage: Stage) {
        let node = soon(Node::connect_with(&stage.address, options(&stage, "ann", "outbox"))).await.unwrap();
        let board = node.follow::<Board>("todo").await.unwrap();
        soon(board.execute(&1)).await.unwrap();
        assert_eq!((board.pending(), board.tentative(Clone::clone)), (0, board.read(Clone::clone)));
        let stopped = stage.stop().await;
        until_offline(&node).await;
        let executed = tokio::spawn({
            let board = board.clone();
            async move { board.execute(&2).await }
        });
        until("it is pending", || board.pending() == 1).await;
        soon(node.outbox().unwrap().append("todo", &3)).await.unwrap();
        soon(node.outbox().unwrap().append("other", &4)).await.unwrap();
        assert_eq!((board.pending(), board.read(|board| board.0.clone())), (2, vec![1]));
        assert_eq!(board.tentative(|board| board.0.clone()), [1, 2, 3]);
        let _stage = stopped.start().await;
        assert_eq!(soon(executed).await.unwrap().unwrap().seq, 2);
        while board.seq() < 3 {
            assert_eq!(board.tentative(|board| board.0.clone()), [1, 2, 3]);
            soon(board.changed(board.seq())).await.unwrap();
        }
        assert_eq!(board.tentative(|board| board.0.clone()), [1, 2, 3]);
        assert_eq!(board.read(|board| board.0.clone()), [1, 2, 3]);
        until("all is answered", || board.pending() == 0).await;
    }
}

/// What was executed, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Board(Vec<u32>);

impl State for Board {
    type Command = u32;
    type Output = ();

    fn apply(&mut self, command: &u32, _: &Entry) {
        self.0.push(*command);
    }
}

#[tokio::test]
async fn what_was_sent_before_a_program_ended_is_not_sent_again() {
    let stage = Stage::new(Transport::Tcp).await;
    let proxy = proxy::Proxy::new(&stage.address).await;
    for round in 1..=20_u32 {
        let journal = format!("todo/{round}");
        let folder = format!("outbox-{round}");
        let name = format!("ann-{round}");
        let node = soon(Node::connect_with(&proxy.address, options(&stage, &name, &folder))).await.unwrap();
        // Cut at some place of the way.
        for number in 1..=30_u32 {
            soon(node.outbox().unwrap().append(&journal, &number)).await.unwrap();
            if number == round {
                proxy.cut();
            }
        }
        drop(node.outbox());
        soon(node.leave()).await;
        let again = soon(Node::connect_with(&stage.address, options(&stage, &name, &folder))).await.unwrap();
        soon(again.append(&journal, &31_u32)).await.unwrap();
        let all = commands(&again, &journal).await;
        assert_eq!(all, (1..=31).map(|number| (u64::from(number), number)).collect::<Vec<_>>(), "round {round}");
        for number in 1..=30 {
            let end = end(&again).await;
            assert_eq!((end.number, end.outcome.unwrap()), (number, number), "round {round}");
        }
    }
}

#[tokio::test]
async fn another_hub_gets_nothing_that_was_sent_to_the_first() {
    let stage = Stage::new(Transport::Unix).await;
    let other = Stage::new(Transport::Unix).await;
    let options = options(&stage, "ann", "outbox");
    // The hub has it, and its answer is lost: as if the hub were gone just then.
    let node = soon(Node::connect_with(&stage.address, options.clone())).await.unwrap();
    soon(node.append("todo", &1_u32)).await.unwrap();
    let stopped = stage.stop().await;
    until_offline(&node).await;
    soon(node.outbox().unwrap().append("todo", &2_u32)).await.unwrap();
    soon(node.leave()).await;
    // Never sent: it goes to whatever hub there is.
    let node = soon(Node::connect_with(&other.address, options)).await.unwrap();
    let end = end(&node).await;
    assert_eq!((end.number, end.outcome.unwrap()), (2, 1));
    drop(stopped);
}

#[tokio::test]
async fn an_outbox_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let outbox: Option<PathBuf> = Some(folder.path().join("outbox"));
    let address = format!("unix://{}", folder.path().join("nobody.sock").display());
    let node = Node::open(&address, NodeOptions { outbox, ..NodeOptions::new("ann") }).unwrap();
    let long = Payload::raw(vec![7; 256 << 10]);
    for _ in 0..32 {
        soon(node.outbox().unwrap().append_payloads("todo", std::slice::from_ref(&long), None)).await.unwrap();
    }
    let error = soon(node.outbox().unwrap().append("todo", &1)).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Code::Backpressure, Outcome::NotDone));
    assert!(error.to_string().starts_with("the outbox: 32 appends with"), "{error}");
    let error = soon(node.append("todo", &1)).await.unwrap_err();
    assert!(matches!(error, Error::Backpressure(_)), "{error}");
}

#[tokio::test]
async fn a_program_learns_what_became_of_what_its_former_self_was_not_told() {
    let stage = Stage::new(Transport::Tcp).await;
    let proxy = proxy::Proxy::new(&stage.address).await;
    let ann = soon(Node::connect_with(&proxy.address, stage.options("ann"))).await.unwrap();
    assert_eq!(soon(ann.append("todo", &1)).await.unwrap(), 1);
    // The answers do not come back; some of what is sent arrives.
    proxy.stall();
    let pending: Vec<_> = (2..=6_u32)
        .map(|number| {
            let ann = ann.clone();
            tokio::spawn(async move { ann.append("todo", &number).await })
        })
        .collect();
    let bob = stage.node("bob").await;
    let mut entries = bob.entries("todo", 5).await.unwrap();
    soon(entries.next()).await.unwrap().unwrap();
    soon(ann.leave()).await;
    let mut ops: Vec<OpId> = Vec::new();
    for append in pending {
        let error = soon(append).await.unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Indeterminate, "{error}");
        ops.push(error.op().expect("it was sent"));
    }
    let error = soon(bob.status(ops[0])).await.unwrap();
    assert!(matches!(&error, Status::Unknown(why) if why.contains("does not tell this node")), "{error:?}");
    let again = stage.node("ann").await;
    let mut places = Vec::new();
    for op in &ops {
        // As text it can be kept anywhere.
        let op: OpId = op.to_string().parse().unwrap();
        let status = soon(again.status(op)).await.unwrap();
        let Status::Done { rev, count: 1 } = status else { panic!("{status:?}") };
        places.push(rev.n);
    }
    assert_eq!(places, [2, 3, 4, 5, 6]);
    let never = OpId { cseq: 99, ..ops[0] };
    let status = soon(again.status(never)).await.unwrap();
    assert!(matches!(&status, Status::NotDone(why) if why.code == Code::Fenced), "{status:?}");
    // Also after the hub was started again.
    drop(again);
    let stage = stage.restart().await;
    let again = stage.node("ann").await;
    assert_eq!(soon(again.status(ops[4])).await.unwrap(), Status::Done { rev: convoke::Rev::durable(6), count: 1 });
    assert_eq!(soon(again.status(never)).await.unwrap(), status);
    let elsewhere = OpId { history: [9; 16], ..ops[0] };
    let status = soon(again.status(elsewhere)).await.unwrap();
    assert!(matches!(&status, Status::Unknown(why) if why.contains("another hub")), "{status:?}");
}

#[tokio::test]
async fn nobody_waits_for_ever_for_the_outcomes_of_a_node_that_leaves() {
    let stage = Stage::new(Transport::Unix).await;
    let node = soon(Node::connect_with(&stage.address, options(&stage, "ann", "outbox"))).await.unwrap();
    let waits = [node.outbox().unwrap(), node.outbox().unwrap()]
        .map(|outbox| tokio::spawn(async move { outbox.next().await.is_none() }));
    tokio::task::yield_now().await;
    soon(node.leave()).await;
    for waits in waits {
        assert!(soon(waits).await.unwrap());
    }
}
