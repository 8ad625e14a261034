//! The hub's own links to other hubs: each is a node at the other hub and one at this, and tasks that pass on between them what
//! was chosen.
//!
//! Every hub says of what it passes on where it was first, and lets each thing in once; so hubs may be linked in any way. See
//! `convoke_core`'s `hub/origins.rs` for events, and `kept/journals.rs` for journals.

mod events;
mod journals;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use convoke_core::report::{Passed, UplinkReport};
use convoke_core::{MasterWish, Name, Pattern, Standing, Time};
use tokio::task::JoinHandle;

use super::HubShared;
use crate::address::Address;
use crate::clock::now;
use crate::error::Error;
use crate::node::{Node, NodeOptions};
use crate::tls::{Authority, Certificate};
use crate::token::Token;
use crate::transport::mem;

/// After a refusal by either hub, when an uplink tries again: its rights may have changed.
const RETRY: Duration = Duration::from_secs(2);

/// How often an uplink tells how it is.
const REPORT: Duration = Duration::from_millis(500);

/// Which way an uplink passes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// Only what the other hub has comes to this one.
    In,
    /// Only what this hub has goes to the other one.
    Out,
}

impl Direction {
    fn comes_in(self) -> bool {
        self != Direction::Out
    }

    fn goes_out(self) -> bool {
        self != Direction::In
    }
}

/// A link of a hub to another hub, for chosen names.
///
/// Hubs may be linked in any way, also in a ring or twice: each event reaches each hub at most once, and each command is in
/// each hub's journal once.
#[derive(Clone, Debug, Default)]
pub struct UplinkOptions {
    /// What it is called here; none twice. One or more words.
    pub name: String,
    /// Where the other hub is.
    pub address: String,
    /// As which node it joins there; `hub/ID/NAME` if `None`, with the first 8 digits of this hub's id and the uplink's name.
    pub node: Option<String>,
    /// The token that it joins with there, as [`NodeOptions::token`].
    pub token: Option<Token>,
    /// Whose certificates it believes, as [`NodeOptions::authority`].
    pub authority: Option<Authority>,
    /// What it shows there, as [`NodeOptions::certificate`].
    pub certificate: Option<Certificate>,
    /// Patterns of the events that it passes on.
    pub events: Vec<String>,
    /// The journals that it passes on, by their names or by patterns.
    pub journals: Vec<String>,
    /// Which way.
    pub direction: Direction,
}

/// What is right to be started.
pub(super) struct Checked {
    name: Name,
    address: Address,
    options: UplinkOptions,
}

/// As which node an uplink joins at the other hub unless it is told.
fn far_name(hub: &[u8; 16], name: &Name) -> String {
    let id: String = hub[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hub/{id}/{name}")
}

/// As which node it joins at its own.
fn near_name(name: &Name) -> String {
    format!("uplink/{name}")
}

/// Looks whether all uplinks are such, before anything is started.
pub(super) fn check(given: &[UplinkOptions]) -> Result<Vec<Checked>, Error> {
    let mut checked: Vec<Checked> = Vec::new();
    for options in given {
        let wrong = |why: String| Error::Configuration(format!("uplink `{}`: {why}", options.name.escape_debug()));
        let name = Name::parse(&options.name).map_err(|error| wrong(error.to_string()))?;
        if checked.iter().any(|other| other.name == name) {
            return Err(wrong("there are two of this name".into()));
        }
        let address = Address::parse(&options.address).map_err(|error| wrong(error.to_string()))?;
        // Whatever the id of the hub is, it is as long as this.
        let far = options.node.clone().unwrap_or_else(|| far_name(&[0; 16], &name));
        for node in [far, near_name(&name)] {
            let node = Name::parse(&node).map_err(|error| wrong(format!("its node: {error}")))?;
            if node.is_reserved() {
                return Err(wrong(format!("its node `{node}`: names that begin with `$` are each hub's own")));
            }
        }
        for pattern in options.events.iter().chain(&options.journals) {
            let pattern = Pattern::parse(pattern).map_err(|error| wrong(error.to_string()))?;
            if pattern.is_reserved() {
                return Err(wrong(format!("`{pattern}`: names that begin with `$` are each hub's own")));
            }
        }
        if options.events.is_empty() && options.journals.is_empty() {
            return Err(wrong("it passes nothing on; give it events or journals".into()));
        }
        crate::tls::node::NodeTls::of(&address, options.authority.clone(), options.certificate.clone())
            .map_err(|error| wrong(error.to_string()))?;
        checked.push(Checked { name, address, options: options.clone() });
    }
    Ok(checked)
}

/// The uplinks of a hub that runs. Dropping it ends them.
pub(super) struct Uplinks {
    /// Where their nodes at this hub find it. Held as long as they need it.
    _here: Option<mem::Registered>,
    tasks: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Uplinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} uplinks", self.tasks.len())
    }
}

impl Drop for Uplinks {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Uplinks {
    /// Starts them. Nothing waits for the other hubs.
    pub(super) fn start(shared: &Arc<HubShared>, hub: [u8; 16], checked: Vec<Checked>) -> Result<Uplinks, Error> {
        let mut uplinks = Uplinks { _here: None, tasks: Vec::new() };
        if checked.is_empty() {
            return Ok(uplinks);
        }
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| Error::io("random bytes for uplinks", error.into()))?;
        // Nobody else in this process finds it there.
        let here = format!("uplinks-{:032x}", u128::from_le_bytes(secret));
        uplinks._here = Some(mem::register(&here, shared)?);
        for Checked { name, address, options } in checked {
            let node = options.node.clone().unwrap_or_else(|| far_name(&hub, &name));
            let of_hub =
                |node: String| NodeOptions { share_load: false, master: MasterWish::Never, ..NodeOptions::new(node) };
            let near = of_hub(near_name(&name));
            let far = NodeOptions {
                token: options.token.clone(),
                authority: options.authority.clone(),
                certificate: options.certificate.clone(),
                // What this hub was before it was killed may be joined there still.
                takeover: true,
                ..of_hub(node)
            };
            let uplink = Arc::new(Uplink {
                near: Node::open_uplink(Address::Mem(here.clone()), near)?,
                far: Node::open_uplink(&address, far)?,
                tally: Tally::new(name, &address, &options, Arc::downgrade(shared)),
                hub,
                options,
            });
            uplinks.tasks.push(tokio::spawn(uplink.run()));
        }
        Ok(uplinks)
    }

    /// Ends them, and waits until nothing of them runs any more.
    pub(super) async fn stop(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            let _ = task.await;
        }
    }
}

struct Uplink {
    near: Node,
    far: Node,
    hub: [u8; 16],
    options: UplinkOptions,
    tally: Tally,
}

impl Uplink {
    async fn run(self: Arc<Self>) {
        let Uplink { near, far, options, tally, .. } = &*self;
        let patterns = &options.events;
        let (out, into) = (options.direction.goes_out(), options.direction.comes_in());
        tokio::join!(
            self.look(),
            journals::carry_all(&self),
            async {
                if out && !patterns.is_empty() {
                    events::carry((near, far), patterns, (tally, Way::Out)).await;
                }
            },
            async {
                if into && !patterns.is_empty() {
                    events::carry((far, near), patterns, (tally, Way::In)).await;
                }
            },
        );
    }

    /// Tells from time to time how it is.
    async fn look(&self) {
        let (near_lost, far_lost) = (self.near.watch_lost(), self.far.watch_lost());
        loop {
            let joined = matches!(self.far.standing(), Standing::Joined);
            let hub = self.far.hub().map(|(hub, _)| hub);
            let why = match (self.far.standing(), self.near.standing()) {
                (Standing::Offline(Some(why)) | Standing::Ended(why), _) => why.to_string(),
                (_, Standing::Offline(Some(why)) | Standing::Ended(why)) => format!("at this hub: {why}"),
                _ if hub == Some(self.hub) => "it leads to this hub itself, so nothing is passed on".to_owned(),
                _ => self.far.forbidden().map_or_else(String::new, |why| format!("events out: {why}")),
            };
            self.tally.tell((joined, hub, &why), (*far_lost.borrow(), *near_lost.borrow()));
            tokio::time::sleep(REPORT).await;
        }
    }
}

/// One of the two ways of an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Out,
    In,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Way::Out { "out" } else { "in" })
    }
}

/// What an uplink has done, and what keeps it from doing it.
struct Tally {
    name: Name,
    hub: Weak<HubShared>,
    counts: Mutex<Counts>,
}

struct Counts {
    report: UplinkReport,
    since: Time,
    /// What is in the way, by what it is about.
    trouble: std::collections::BTreeMap<String, String>,
    /// What was told last.
    told: Option<(UplinkReport, Time)>,
}

impl Tally {
    fn new(name: Name, address: &Address, options: &UplinkOptions, hub: Weak<HubShared>) -> Tally {
        let report = UplinkReport {
            address: address.to_string(),
            events: options.events.clone(),
            journals: options.journals.clone(),
            out: Passed { wanted: options.direction.goes_out(), ready: options.events.is_empty(), ..Passed::default() },
            into: Passed {
                wanted: options.direction.comes_in(),
                ready: options.events.is_empty(),
                ..Passed::default()
            },
            ..UplinkReport::default()
        };
        let counts = Counts { report, since: now(), trouble: Default::default(), told: None };
        Tally { name, hub, counts: Mutex::new(counts) }
    }

    fn count(&self, way: Way, count: impl FnOnce(&mut Passed)) {
        let mut counts = self.counts.lock().expect("nothing in it panics");
        count(match way {
            Way::Out => &mut counts.report.out,
            Way::In => &mut counts.report.into,
        });
    }

    /// Something is in the way of a part of it.
    fn trouble(&self, about: &str, why: &str) {
        let mut counts = self.counts.lock().expect("nothing in it panics");
        let before = counts.trouble.insert(about.to_owned(), why.to_owned());
        if before.as_deref() != Some(why) {
            tracing::warn!("uplink `{}`: {about}: {why}", self.name);
        }
    }

    /// Nothing is in its way any more.
    fn goes(&self, about: &str) {
        let mut counts = self.counts.lock().expect("nothing in it panics");
        if counts.trouble.remove(about).is_some() {
            tracing::info!("uplink `{}`: {about}: goes on", self.name);
        }
    }

    /// Tells the hub how it is, if that has changed.
    fn tell(&self, (joined, hub, why): (bool, Option<[u8; 16]>, &str), (lost_out, lost_in): (u64, u64)) {
        let told = {
            let mut counts = self.counts.lock().expect("nothing in it panics");
            if counts.report.joined != joined || counts.told.is_none() {
                (counts.report.joined, counts.since) = (joined, now());
            }
            let trouble = counts.trouble.iter().map(|(about, why)| format!("{about}: {why}"));
            let why = Some(why.to_owned()).filter(|why| !why.is_empty());
            let trouble = why.into_iter().chain(trouble).collect::<Vec<_>>().join("; ");
            counts.report.trouble = trouble;
            if let Some(hub) = hub {
                counts.report.hub = hub.iter().map(|byte| format!("{byte:02x}")).collect();
            }
            let mut told = counts.report.clone();
            told.out.lost += lost_out;
            told.into.lost += lost_in;
            let told = Some((told, counts.since));
            if counts.told == told {
                return;
            }
            counts.told = told.clone();
            told
        };
        if let Some(hub) = self.hub.upgrade() {
            hub.carry(|state| state.report_uplink(&self.name, told));
        }
    }
}
