//! The rules of Convoke: what a hub and a node do, without IO, clock, threads or randomness of their own.
//!
//! [`HubState`] and [`NodeState`] are state machines. Bytes and time go in as arguments; bytes and deadlines come out.
//! So thousands of nodes, faults and years can be simulated from one seed in one thread, codec included; and what the
//! simulator runs is what programs run.
//!
//! # Layout, in the order data flows
//!
//! * [`name`]: names and patterns, checked once; `tree`: what finds those that match.
//! * [`payload`]: the user's bytes, their encoding and headers.
//! * [`frame`]: the codec, to the byte; `proof`: who knows a token.
//! * [`rights`]: the one function that says who may do what.
//! * [`hub`]: links, topics, routes, subscriptions. `outgoing`: the lanes of a link.
//! * [`node`]: the other end.
//! * [`report`]: what a hub tells about itself.
//! * [`refusal`], [`time`], [`limits`]: why not, when, and how much.
//! * `sim` (feature `sim`): one hub, many nodes, faults from a seed, checkers; [`bug`]: what they must catch.
#![forbid(unsafe_code)]
#![deny(clippy::iter_over_hash_type)]

pub mod bug;
mod copies;
pub mod foundation;
pub mod frame;
pub mod hub;
pub mod journal;
mod kept;
pub mod limits;
pub mod name;
pub mod node;
mod numbered;
mod op;
mod operation;
mod outgoing;
pub mod payload;
mod proof;
mod random;
pub mod refusal;
pub mod report;
pub mod rev;
pub mod rights;
#[cfg(feature = "sim")]
pub mod sim;
pub mod time;
mod tree;

pub use frame::{InfoOwned, MasterWish};
pub use hub::{
    Admission, Applicant, BACKUP_SERVICE, BackupCall, Census, Counters, Dropped, HubConfig, HubIdentity, HubState,
    LinkId, LinkRefusal, Membership, Notice, Peer, ProtocolError, SelectDefault,
};
pub use name::{Name, NameError, Pattern};
pub use node::{
    CallEnd, CallRequest, Change, Delivery, Event, Gap, Incoming, IncomingCall, NodeConfig, NodeState, Publication,
    PublishLoss, Selector, Standing,
};
pub use numbered::Numbered;
pub use op::{OpId, OpIdError};
pub use outgoing::{SlowPolicy, Transmit};
pub use payload::{Encoding, Headers, Payload, PayloadError};
pub use proof::TokenKey;
pub use refusal::{Code, Refusal};
pub use report::MemberState;
pub use rev::Rev;
pub use rights::{Principal, Rights, Rule, RuleError, Verb, Verdict};
pub use time::Time;
