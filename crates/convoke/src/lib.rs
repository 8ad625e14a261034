//! Programs find each other by name and work together as if they were one program.
//!
//! A program is a [`Node`]; it joins a hub, and from then on knows other programs only by name.
//!
//! ```
//! # async fn run() -> Result<(), convoke::Error> {
//! use convoke::{Hub, HubOptions, Node};
//!
//! let hub = Hub::start(HubOptions { listen: vec!["mem://factory".into()], ..Default::default() }).await?;
//! let press = Node::connect("mem://factory", "press-1").await?;
//! let panel = Node::connect("mem://factory", "panel").await?;
//!
//! let mut opened = panel.subscribe("press/+/opened").await?;
//! press.publish("press/1/opened", &12.5).await?;
//!
//! let event = opened.next().await.expect("the subscription lives").expect("nothing was missed");
//! assert_eq!(event.topic().as_str(), "press/1/opened");
//! assert_eq!(event.publisher().as_str(), "press-1");
//! assert_eq!(event.payload.decode::<f64>()?, 12.5);
//! # hub.stop().await;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
//! ```
//!
//! A link is permanent: it comes back by itself, whichever of hub and node is started first or again. What was missed
//! meanwhile is told where it is missing, as [`Missed`]; nothing is lost in silence.
//!
//! # Layout
//!
//! * [`Node`], [`Subscription`], [`Watch`]: what a program holds. [`Value`], [`Change`], [`Batch`]: what is kept.
//! * [`Follower`], [`State`], [`Executors`]: a state that follows a journal, and what is to happen in the world for it.
//! * [`Registration`], [`Call`], [`Selector`]: services.
//! * [`Hub`]: a hub inside a program; the `convoke` program starts the same.
//! * [`StoreFolder`]: what a hub has kept, while it does not run.
//! * [`Address`]: which transport, and where: `tcp://`, `tls://`, `unix://`, `mem://`.
//! * [`Token`], [`Certificate`]: how a program shows that it may join. [`Rule`], [`Rights`]: what it may do there.
//! * [`Authority`]: how a program knows its hub over TLS.
//! * [`Error`]: what can go wrong, by what can be done about it.
//!
//! The rules, without any IO, are in the crate `convoke-core`.
//!
//! # Features
//!
//! `hub`, on unless `default-features = false`: [`Hub`] and links in memory. A program that only joins needs neither, and
//! does without the store's database.
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "hub"), allow(dead_code, reason = "what only hubs use stands beside what nodes use"))]

mod address;
mod announced;
mod clock;
#[cfg(doctest)]
mod documents;
mod error;
mod files;
#[cfg(feature = "hub")]
mod hub;
mod json;
mod node;
#[cfg(feature = "hub")]
mod store;
#[cfg(feature = "hub")]
mod store_folder;
mod tls;
mod token;
mod transport;

pub use address::Address;
#[cfg(feature = "hub")]
pub use convoke_core::Applicant;
pub use convoke_core::frame::{Expect, Incarnation};
pub use convoke_core::journal::{
    AppliedBy, Attendance, Deed, Entry, MemberApplied, Scope, State, Strategy, Touches, Who,
};
pub use convoke_core::report::Reason;
pub use convoke_core::{
    Change, Code, Encoding, Event, Gap, Headers, MasterWish, MemberState, Membership, Name, NameError, OpId, Pattern,
    Payload, PayloadError, Refusal, Rev, Rights, Rule, RuleError, SelectDefault, SlowPolicy, Standing, Verb, Verdict,
};
pub use error::{Error, Failure, Outcome};
#[cfg(feature = "hub")]
pub use hub::{Direction, Hub, HubOptions, UplinkOptions};
pub use json::Json;
pub use node::{
    AppendOptions, Batch, Call, CallOptions, Choose, Compacted, Effect, Entries, EntriesOptions, Executed, ExecutorId,
    Executors, FollowOptions, Follower, Group, Member, Members, Missed, Node, NodeOptions, NotKept, Outbox, OutboxEnd,
    Position, PositionFiles, Positions, Progress, Provider, Registration, Running, Selector, ServeOptions, SetOptions,
    Status, Stopped, SubscribeOptions, Subscription, UndoOptions, Value, Watch, WatchOptions, tree_of,
};
#[cfg(feature = "hub")]
pub use store_folder::{StoreFolder, StoreProgress, StoreRepair, StoreReport};
pub use tls::{Authority, Certificate};
#[cfg(feature = "hub")]
pub use tls::{OwnAuthority, TlsOptions};
pub use token::Token;
