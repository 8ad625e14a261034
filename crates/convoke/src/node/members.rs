//! Who is there: the nodes of a hub, and what becomes of them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use convoke_core::frame::Incarnation;
use convoke_core::report::{NODES, NodeReport, Reason};
use convoke_core::{Change, MasterWish, MemberState, Name};

use super::{Missed, Node, Watch};
use crate::error::Error;

/// What the hub knows about a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// Its name.
    pub name: Name,
    /// How it is.
    pub state: MemberState,
    /// Why it is no longer alive.
    pub reason: Option<Reason>,
    /// Since when it is in this state, by the hub's clock.
    pub since: SystemTime,
    /// The number of the change that brought it there: grows by one with every change of any node of the hub.
    pub view: u64,
    /// Which run of the program it is; `None` if the hub's program is too different.
    pub incarnation: Option<Incarnation>,
    /// Who is answerable for what it does.
    pub author: String,
    /// Who it has proved to be.
    pub principal: String,
    /// The name of its host; empty if it has not told. So are the next.
    pub host: String,
    /// The number of its process there.
    pub pid: u32,
    /// The program and its version.
    pub program: String,
    /// How busy its host's processors are, in thousandths of all of them.
    pub cpu_permille: u32,
    /// How busy the program alone keeps them, in thousandths of one.
    pub own_cpu_permille: u32,
    /// What the program's memory takes, in bytes.
    pub memory: u64,
    /// The host's memory that is free, in bytes.
    pub free_memory: u64,
    /// Whether it can be master: of all nodes that are alive, those that must be come first, then who is alive the longest.
    pub master: MasterWish,
}

impl Member {
    fn new(name: Name, report: NodeReport) -> Member {
        Member {
            name,
            state: report.state,
            reason: report.reason,
            since: UNIX_EPOCH + Duration::from_millis(report.since_ms),
            view: report.view,
            incarnation: report.incarnation.parse().ok(),
            author: report.author,
            principal: report.principal,
            host: report.host,
            pid: report.pid,
            program: report.program,
            cpu_permille: report.cpu_permille,
            own_cpu_permille: report.own_cpu_permille,
            memory: report.memory,
            free_memory: report.free_memory,
            master: report.master,
        }
    }
}

/// The nodes that the hub has heard of lately, and every change of them. Dropping it ends it.
///
/// It is a watch over `$hub/nodes/#`, and goes on over reconnections as any [`Watch`] does. After a restart of the hub
/// nodes are removed and are there again as they join it anew.
#[derive(Debug)]
pub struct Members {
    watch: Watch,
    known: BTreeMap<Name, Member>,
}

impl Members {
    /// All of them as far as [`next`](Members::next) has told, in the order of their names. Costs nothing.
    pub fn list(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.known.values()
    }

    /// The node of this name, as [`list`](Members::list).
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.known.get(name)
    }

    /// Waits for the next change of a node: what it is now; with [`MemberState::Removed`] what it was last. A state that
    /// lasted only a moment may be left out. What a node tells about its load comes once a second at most. `None` after
    /// [`Missed::Ended`], for ever.
    ///
    /// # Errors
    ///
    /// As [`Watch::next`].
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Member, Missed>> {
        loop {
            match self.watch.next().await? {
                Ok(change) => {
                    if let Some(member) = self.take(change) {
                        return Some(Ok(member));
                    }
                }
                Err(missed) => return Some(Err(missed)),
            }
        }
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Result<Member, Missed>> {
        loop {
            match self.watch.try_next()? {
                Ok(change) => {
                    if let Some(member) = self.take(change) {
                        return Some(Ok(member));
                    }
                }
                Err(missed) => return Some(Err(missed)),
            }
        }
    }

    fn take(&mut self, change: Change) -> Option<Member> {
        let name = Name::parse(change.name.as_str().strip_prefix(NODES)?).ok()?;
        let Some(payload) = change.payload else {
            let member = self.known.remove(&name)?;
            return Some(Member { state: MemberState::Removed, since: SystemTime::now(), ..member });
        };
        match payload.decode::<NodeReport>() {
            Ok(report) => {
                let member = Member::new(name.clone(), report);
                self.known.insert(name, member.clone());
                Some(member)
            }
            Err(error) => {
                tracing::warn!("what the hub tells about the node `{name}` is not understood: {error}");
                None
            }
        }
    }
}

impl Node {
    /// Asks who is there, and for what becomes of them. When this returns, [`Members::list`] has all nodes, this one
    /// included; what changes from then on comes by [`Members::next`]. Waits for a link.
    ///
    /// # Errors
    ///
    /// As [`watch`](Node::watch).
    ///
    /// Cancel safe.
    pub async fn members(&self) -> Result<Members, Error> {
        let mut watch = self.watch(format!("{NODES}#")).await?;
        let mut known = BTreeMap::new();
        loop {
            match watch.snapshot().await {
                Ok(changes) => {
                    let mut members = Members { watch, known };
                    for change in changes {
                        members.take(change);
                    }
                    return Ok(members);
                }
                Err(Missed::Ended(why)) => return Err(why.into()),
                // What it had begun to tell is told anew.
                Err(_) => known = BTreeMap::new(),
            }
        }
    }
}
