//! `convoke journal compact` and `convoke journal verify`.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

use convoke::{Entry, Follower, Node, NodeOptions, State, Strategy, Token};
use serde::{Deserialize, Serialize};

use crate::story::Story;

/// Where a machine is; its snapshots lie at the end of its journal.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Machine(i64);

impl State for Machine {
    type Command = i64;
    type Output = ();
    const STRATEGY: Strategy = Strategy::Compensate;

    fn apply(&mut self, to: &i64, _: &Entry) {
        self.0 = *to;
    }

    fn inverse(&self, _: &i64, _: &Entry) -> Option<i64> {
        Some(self.0)
    }
}

/// A program that follows with a state.
fn moved(story: &Story, times: i64, snapshot: bool) {
    let token = Token::read(story.path("state/convoke/admin.token")).unwrap();
    let options = NodeOptions { token: Some(token), author: Some("ann".to_owned()), ..NodeOptions::new("panel") };
    let address = story.address().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let panel = Node::connect_with(address, options).await.unwrap();
        let machine: Follower<Machine> = panel.follow("machine").await.unwrap();
        for to in 1..=times {
            machine.execute(to).await.unwrap();
        }
        if snapshot {
            assert_eq!(machine.snapshot().await.unwrap(), machine.seq());
        }
        drop(machine);
        panel.leave().await;
    });
}

#[test]
fn old_entries_go_when_a_snapshot_stands_for_them() {
    let story = Story::with_hub();
    let nothing = "convoke: compact `machine`: it has no entry yet\n";
    story.run(["journal", "compact", "machine"]).is(65, "", nothing);
    moved(&story, 5, false);
    let refused = "convoke: compact `machine`: it has no snapshot that could stand for its entries; have one made by a program \
                   that follows it with its state\n";
    story.run(["journal", "compact", "machine"]).is(75, "", refused);
    moved(&story, 1, true);
    let compacted = story.run(["journal", "compact", "machine", "--keep", "3"]);
    compacted.is(0, "3 entries are gone; 4 is the first that is kept\n", "");
    let compacted = story.run(["journal", "compact", "machine", "--keep", "3"]);
    compacted.is(0, "no entry can go; 4 is the first that is kept\n", "");
    let missing = "entries before 4 are missing: they are not kept any more\n";
    story.run(["journal", "show", "machine"]).is(0, "4 ann 4\n5 ann 5\n6 ann 1\n", missing);
    story.run(["journal", "show", "machine", "--from", "5"]).is(0, "5 ann 5\n6 ann 1\n", "");
    story.run(["journal", "show", "machine", "--last", "1"]).is(0, "6 ann 1\n", "");
    story.run(["journal", "show", "machine", "--last", "9"]).is(0, "4 ann 4\n5 ann 5\n6 ann 1\n", "");
    story.follow(["machine", "--count", "2"]).ended().is(0, "4 ann 4\n5 ann 5\n", missing);
    let exported = story.run(["journal", "export", "machine"]);
    assert!(
        exported.stdout().starts_with("{\"lost\":{\"count\":null,\"reason\":\"Compacted\"}}\n"),
        "{}",
        exported.stdout()
    );
    let json = story.run(["journal", "compact", "machine", "--json"]);
    json.is(0, "{\"journal\":\"machine\",\"gone\":3,\"first\":7}\n", "");
    // A member is not waited for because of what nobody can give it any more.
    let member = story.follow(["machine", "--member", "--name", "late"]);
    let is_up_to_date = |line: &str| line.split_whitespace().take(3).eq(["late", "6", "0"]);
    story.until(["journal", "followers", "machine"], |lines| lines.lines().any(is_up_to_date));
    drop(member);
    moved(&story, 1, false);
    story.run(["journal", "show", "machine", "--from", "7"]).is(0, "7 ann 1\n", "");
}

#[test]
fn the_hash_is_the_same_wherever_the_entries_are() {
    let story = Story::with_hub();
    story.run(["journal", "verify", "machine"]).is(0, "no entries\n", "");
    moved(&story, 5, true);
    let whole = story.run(["journal", "verify", "machine"]).stdout();
    let hash = whole.trim_end().strip_prefix("5 entries, 1 to 5, hash ").unwrap_or_else(|| panic!("{whole}"));
    assert_eq!(hash.len(), 32, "{whole}");
    story.run(["journal", "compact", "machine", "--keep", "1"]);
    story.run(["journal", "verify", "machine"]).is(0, &format!("1 entry, 5, hash {hash}\n"), "");
    let json = story.run(["journal", "verify", "machine", "--json"]).stdout();
    assert!(json.starts_with("{\"journal\":\"machine\",\"entries\":1,\"first\":5,\"last\":5,\"hash\":\""), "{json}");
    story.run(["journal", "compact", "machine"]);
    story.run(["journal", "verify", "machine"]).is(0, &format!("no entries are kept of 5, hash {hash}\n"), "");
}

/// A link to the hub on whose way back the text of an entry becomes another, as it may on a disk; its address.
fn way_that_changes(story: &Story, text: &'static [u8], into: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, hub) = (listener.local_addr().unwrap().to_string(), story.address().to_owned());
    std::thread::spawn(move || {
        for node in listener.incoming() {
            let (mut node, mut hub) = (node.unwrap(), TcpStream::connect(&hub).unwrap());
            let (mut from_node, mut to_hub) = (node.try_clone().unwrap(), hub.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_node, &mut to_hub);
                let _ = to_hub.shutdown(Shutdown::Both);
            });
            // What has come so far begins with what was passed on already.
            let (mut all, mut passed, mut buffer) = (Vec::new(), 0, [0; 4096]);
            while let Ok(read @ 1..) = hub.read(&mut buffer) {
                all.extend_from_slice(&buffer[..read]);
                while let Some(at) = all.windows(text.len()).position(|found| found == text) {
                    all[at..at + text.len()].copy_from_slice(into);
                }
                if node.write_all(&all[passed..]).is_err() {
                    break;
                }
                passed = all.len();
            }
            let _ = node.shutdown(Shutdown::Both);
        }
    });
    address
}

#[test]
fn an_entry_that_is_another_than_was_appended_is_found() {
    let story = Story::with_hub();
    for command in ["one", "two", "three", "four"] {
        assert_eq!(story.run(["journal", "append", "plan", command]).code(), 0);
    }
    let way = way_that_changes(&story, b"three", b"threw");
    let over_it = |verb: &str, more: &[&str]| {
        let arguments = ["journal", verb, "plan", "--address", &way, "--token-file", "state/convoke/admin.token"];
        story.run(arguments.iter().chain(more))
    };
    let said = "follow `plan`: entry 3 is not what its hash says, or not what followed entry 2: it was changed on the way, or \
                where it is kept";
    over_it("verify", &[]).is(65, "", &format!("convoke: {said}\n"));
    let json = format!("{{\"error\":{{\"kind\":\"Corrupt\",\"message\":\"{said}\"}}}}\n");
    over_it("verify", &["--json"]).is(65, "", &json);
    // Who does not ask does not find out.
    over_it("show", &[]).is(0, "1 ann one\n2 ann two\n3 ann threw\n4 ann four\n", "");
    assert!(story.run(["journal", "verify", "plan"]).stdout().starts_with("4 entries, 1 to 4, hash "));
}

#[test]
fn who_may_not_lets_nothing_go() {
    let story = Story::with_hub();
    moved(&story, 2, true);
    story.run(["token", "create", "cam", "--allow", "execute,follow,undo #"]).is(0, "cam.token\n", "");
    story.run(["journal", "compact", "machine", "--token-file", "cam.token"]).is(
        77,
        "",
        "convoke: compact `machine`: the rights of `cam` do not allow `snapshot machine`\n",
    );
}
