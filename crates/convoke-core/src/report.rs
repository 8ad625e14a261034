//! What a hub tells about itself: the values under `$hub/…`, as types of their JSON.
//!
//! They are values in memory like any other, and who watches them is told every change. What changes all the time (the
//! load of a node, the counters of the hub) is brought up to date when somebody asks, and then at most every second while
//! somebody watches.
//!
//! | name | what |
//! |---|---|
//! | `$hub/status` | [`StatusReport`] |
//! | `$hub/master` | [`MasterReport`] |
//! | `$hub/nodes/<node>` | [`NodeReport`] |
//! | `$hub/links/<number>` | [`LinkReport`]; only while somebody looks |
//! | `$hub/services/<service>` | [`ServiceReport`]; only while somebody looks |
//! | `$hub/journals/<journal>/followers` | [`JournalReport`]; only while somebody looks |
//! | `$hub/journals/<journal>/origins` | [`OriginsReport`]; only when it is asked for by its whole name |
//! | `$hub/topics/<topic>` | [`TopicReport`]; only while somebody looks |
//! | `$hub/tokens/<name>` | [`TokenReport`] |
//! | `$hub/uplinks/<name>` | [`UplinkReport`] |
//! | `$hub/limits` | a list of [`LimitReport`]; only while somebody looks |
//! | `$hub/counters` | [`CountersReport`]; only while somebody looks |
//!
//! Times are milliseconds since 1970 by the wall clock that the hub read once, when it started: a clock that is set
//! later changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::frame::{Incarnation, MasterWish};
use crate::name::Name;

/// Where the reports on nodes are: followed by the node's name.
pub const NODES: &str = "$hub/nodes/";

/// Where the reports on links are: followed by a number that grows with every link.
pub const LINKS: &str = "$hub/links/";

/// Where the reports on services are: followed by the service's name.
pub const SERVICES: &str = "$hub/services/";

/// Where the reports on journals are: followed by the journal's name and [`FOLLOWERS`].
pub const JOURNALS: &str = "$hub/journals/";

/// How the names of reports end on what journals have of other hubs.
pub const ORIGINS: &str = "/origins";

/// How the names of reports on journals end.
pub const FOLLOWERS: &str = "/followers";

/// Where the reports on topics are: followed by the topic's name.
pub const TOPICS: &str = "$hub/topics/";

/// Where the reports on principals that have tokens are: followed by the name.
pub const TOKENS: &str = "$hub/tokens/";

/// Where the reports on links to other hubs are: followed by the name of the uplink.
pub const UPLINKS: &str = "$hub/uplinks/";

/// Where the hub tells how much it holds.
pub const STATUS: &str = "$hub/status";

/// Where the hub tells how much of each of its limits is used.
pub const LIMITS: &str = "$hub/limits";

/// Where the hub tells what it has refused, closed and dropped.
pub const COUNTERS: &str = "$hub/counters";

/// Where the hub tells who is master.
pub const MASTER: &str = "$hub/master";

/// How a node is, as far as the hub knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// It is joined, and was heard lately.
    Alive,
    /// Its link is gone, or nothing was heard for some beats. It may come back.
    Suspect,
    /// It has said goodbye, another program has its name, or it was silent for too long. What lived with it is gone.
    Dead,
    /// The hub has forgotten it. Only those are told who knew it before: it has no report any more.
    Removed,
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            MemberState::Alive => "alive",
            MemberState::Suspect => "suspect",
            MemberState::Dead => "dead",
            MemberState::Removed => "removed",
        })
    }
}

/// Why a node is no longer alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The word of a [`Code`](crate::Code), such as `LinkLost`.
    pub code: String,
    /// The sentence.
    pub text: String,
}

/// What a principal may do. Its secret is not told to anybody, and the hub does not know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReport {
    /// Its rules, as a [`Rule`](crate::Rule) is written.
    pub rules: Vec<String>,
    /// It proves who it is by a secret; if not, the transport does that.
    pub secret: bool,
    /// When it was created, in milliseconds since 1970.
    pub since_ms: u64,
}

/// What a hub knows about one of its links to other hubs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkReport {
    /// Where the other hub is.
    pub address: String,
    /// Whether it is joined there.
    pub joined: bool,
    /// Since when that is so, in milliseconds since 1970.
    pub since_ms: u64,
    /// Which hub that is; empty until it was joined once.
    pub hub: String,
    /// What keeps it, or a part of it, from passing on; empty if nothing does.
    pub trouble: String,
    /// The patterns of the events that it passes on.
    pub events: Vec<String>,
    /// The journals that it passes on, or their patterns.
    pub journals: Vec<String>,
    /// What has gone to the other hub since this one was started.
    pub out: Passed,
    /// What has come from there.
    #[serde(rename = "in")]
    pub into: Passed,
}

/// What an uplink has passed on in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Whether this direction is asked for.
    pub wanted: bool,
    /// Events.
    pub events: u64,
    /// Events that were lost: they came while the link was cut, or faster than it took them, or were refused. What the
    /// other hub had for this one while the link was cut is not among them: nobody has counted it.
    pub lost: u64,
    /// Entries of journals: commands, undos and redos.
    pub entries: u64,
    /// Undos and redos that could not be done in the other journal, and were left out there.
    pub left_out: u64,
    /// Entries of journals that are known and have not gone over yet.
    pub behind: u64,
}

/// What the hub knows about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// How it is.
    pub state: MemberState,
    /// Why it is no longer alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Since when it is in this state, in milliseconds since 1970.
    pub since_ms: u64,
    /// The number of the change that brought it there: grows by one with every change of any node.
    pub view: u64,
    /// Which run of the program it is, as `epoch.counter`.
    pub incarnation: String,
    /// Who is answerable for what it does.
    pub author: String,
    /// Who it has proved to be.
    pub principal: String,
    /// The name of its host; empty if it has not told.
    pub host: String,
    /// The number of its process there; zero if it has not told.
    pub pid: u32,
    /// The program and its version; empty if it has not told.
    pub program: String,
    /// How busy its host's processors are, in thousandths of all of them.
    pub cpu_permille: u32,
    /// How busy the program alone keeps them, in thousandths of one.
    pub own_cpu_permille: u32,
    /// What the program's memory takes, in bytes.
    pub memory: u64,
    /// The host's memory that is free, in bytes.
    pub free_memory: u64,
    /// Whether it can be master.
    pub master: MasterWish,
}

/// Who is master: of all nodes that are alive the one that wants it most, and of these the one that is alive the longest.
/// There is no such value while no node that is alive can be master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterReport {
    /// Its name.
    pub node: String,
    /// The hub's epoch, as text since it may exceed what a JSON number holds.
    pub epoch: String,
    /// Grows with every change of the master within the epoch.
    pub term: u64,
}

/// How much a hub holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Which hub it is, in hexadecimal.
    pub hub: String,
    /// Which history it continues, in hexadecimal.
    pub history: String,
    /// Which of its starts, as text since it may exceed what a JSON number holds.
    pub epoch: String,
    /// The version of its program.
    pub version: String,
    /// When it started, in milliseconds since 1970.
    pub started_ms: u64,
    /// The number of the last change of any node.
    pub view: u64,
    /// Everything that it counts.
    #[serde(flatten)]
    pub census: crate::hub::Census,
}

/// One limit of a hub, and how much of it is used now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReport {
    /// What is limited, in words of a metric's name: `links`, `bulk_bytes`. Never changed. What ends with `_bytes` is in
    /// bytes, and the rest is counted.
    pub name: String,
    /// How much there is; of what each link, source, node or name may have, what the one has that has the most.
    pub used: u64,
    /// How much there may be.
    pub most: u64,
    /// What happens with what is more.
    pub excess: Excess,
}

/// What happens with what is more than a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excess {
    /// It is refused, and who wanted it is told.
    Refused,
    /// Events are dropped as the policies of their links say; or what is too much is not given out. That is announced.
    Dropped,
    /// The link is closed.
    Closed,
    /// The oldest is forgotten: that it is full is as it should be.
    Forgotten,
    /// It goes another way, which is slower.
    Slower,
}

/// What a hub has counted since it started. The keys of the maps are words that never change, and all of them are always
/// there; those of codes are the words of a [`Code`](crate::Code).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountersReport {
    /// Connections that were let in as links, joined or not.
    pub links_opened: u64,
    /// Links on which a node has joined.
    pub links_joined: u64,
    /// Connections on which none has, by [why not](crate::LinkRefusal).
    pub links_refused: BTreeMap<String, u64>,
    /// Links of joined nodes that have ended, by the code of why.
    pub links_closed: BTreeMap<String, u64>,
    /// Requests, writes and events that were refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Calls that have ended without an answer of a program, by code.
    pub calls_refused: BTreeMap<String, u64>,
    /// What came that was wrong, by [what was wrong with it](crate::ProtocolError).
    pub protocol_errors: BTreeMap<String, u64>,
    /// [What](crate::Dropped) was dropped.
    pub dropped: BTreeMap<String, u64>,
    /// What was looked at to tell about the hub itself, in rows: what watching it costs.
    pub report_rows: u64,
}

/// What the hub knows about a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// The node on its other end; none before it has joined.
    pub node: Option<String>,
    /// Since when it is joined, in milliseconds since 1970; zero before.
    pub since_ms: u64,
    /// It offers or follows something, and says more often that it is alive.
    pub attentive: bool,
    /// Patterns that it subscribes.
    pub subscriptions: usize,
    /// The last event that came from its node.
    pub seq: u64,
    /// Bytes of events that wait for it.
    pub waiting_bytes: usize,
}

/// What the hub knows about a service that is offered, or that calls wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Who offers it, in the order in which they have begun to.
    pub providers: Vec<ProviderReport>,
    /// So many more offer it.
    pub more: usize,
    /// Calls that wait for somebody to offer it.
    pub waiting: usize,
}

/// A node that offers a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderReport {
    /// Its name.
    pub node: String,
    /// Calls that it has and has not yet answered.
    pub open: usize,
    /// A call may be given to another provider when it is not known whether it was handled.
    pub idempotent: bool,
    /// The name of its host; empty if it has not told. So are the next.
    pub host: String,
    /// How busy its host's processors are, in thousandths of all of them.
    pub cpu_permille: u32,
    /// The host's memory that is free, in bytes.
    pub free_memory: u64,
}

/// What the hub knows about a journal, and about those who follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalReport {
    /// The place of its last entry; zero if it has none.
    pub last: u64,
    /// The hash of that entry and all before it, in hexadecimal.
    pub hash: String,
    /// The first entry that is kept, or the next if none is.
    pub first: u64,
    /// The entry behind which its snapshot is the state; zero if it has none.
    pub snapshot: u64,
    /// The first place of which something can be undone.
    pub horizon: u64,
    /// Its members, in the order of their names.
    pub members: Vec<JournalMemberReport>,
    /// So many more members there are.
    pub more: usize,
    /// So many follow it without being members.
    pub observers: usize,
    /// The hub was started lately: members of before may have yet to come back.
    pub returning: bool,
}

/// What a journal has of other hubs. Of a journal that is not there yet it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginsReport {
    /// The place of its last entry; zero if it has none.
    pub last: u64,
    /// How it undoes; empty if it is not there.
    pub strategy: String,
    /// What has come of each hub, by its id in hexadecimal.
    pub hubs: BTreeMap<String, ComeReport>,
}

/// What a journal has of one other hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComeReport {
    /// The highest place that an entry had there that was there first.
    pub known: u64,
    /// That hub has handed over all entries of its journal up to this place.
    pub carried: u64,
    /// The hash of the entry there, in hexadecimal.
    pub hash: String,
}

/// A node that is a member of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalMemberReport {
    /// Its name.
    pub node: String,
    /// It has applied every entry up to this one.
    pub applied: u64,
    /// So many entries there are behind that.
    pub lag: u64,
    /// Since when it has applied so much, and no more, in milliseconds since 1970.
    pub since_ms: u64,
    /// It follows the journal now. If not, its link was lost, and it may come back.
    pub here: bool,
    /// Why it cannot apply the entry behind that, and goes no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
}

/// What the hub knows about a topic on which events were published lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicReport {
    /// Links that its events go to; none if the next event has yet to find them.
    pub subscribers: Option<usize>,
}

/// `epoch.counter`, as reports have it.
impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

/// Reads `epoch.counter`.
impl FromStr for Incarnation {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Incarnation, Self::Err> {
        let (epoch, counter) = text.split_once('.').unwrap_or((text, ""));
        Ok(Incarnation { epoch: epoch.parse()?, counter: counter.parse()? })
    }
}

/// The name under which the report on a node is.
pub fn node_report(node: &Name) -> String {
    format!("{NODES}{node}")
}

/// The name under which the report on a journal is; no name at all if the journal's is too long for that.
pub fn journal_report(journal: &Name) -> String {
    format!("{JOURNALS}{journal}{FOLLOWERS}")
}

/// Where the report is on what a journal has of other hubs.
pub fn origins_report(journal: &Name) -> String {
    format!("{JOURNALS}{journal}{ORIGINS}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_read_as_it_is_shown() {
        let incarnation = Incarnation { epoch: u64::MAX, counter: 7 };
        assert_eq!(incarnation.to_string().parse(), Ok(incarnation));
        for bad in ["", "7", "7.", ".7", "a.b"] {
            assert!(bad.parse::<Incarnation>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_report_of_a_later_version_is_read() {
        let report = MasterReport { node: "press".into(), epoch: "5".into(), term: 3 };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(text, r#"{"node":"press","epoch":"5","term":3}"#);
        let later = text.replace('}', r#","more":[1]}"#);
        assert_eq!(serde_json::from_str::<MasterReport>(&later).unwrap(), report);
    }
}
