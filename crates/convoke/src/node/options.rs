//! How a node is opened.

use std::path::PathBuf;
use std::time::Duration;

use convoke_core::limits::SUBSCRIPTION_BYTES_MAX;
use convoke_core::{MasterWish, SlowPolicy};

use super::CONNECT_TIME;
use crate::tls::{Authority, Certificate};
use crate::token::Token;

/// Who a node is, and how it behaves.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its name: how others find it. Slash-separated words.
    pub name: String,
    /// Who is answerable for what it does; its name if `None`.
    pub author: Option<String>,
    /// The token that it joins with over TCP. If `None`, the one that the hub has announced to this user's programs on
    /// this machine.
    pub token: Option<Token>,
    /// Whose certificates are believed: that of a hub at `tls://…` must be signed by one of these authorities, and be for the
    /// host in the address. Without, a node joins nobody there: the authorities of the system are not asked.
    pub authority: Option<Authority>,
    /// What it shows to a hub at `tls://…` that asks for certificates. Such a hub wants no token, and rights are those of the
    /// name in the certificate.
    pub certificate: Option<Certificate>,
    /// Where a hub of this user on this machine also listens on a Unix socket, take that instead of TCP: it is faster.
    pub prefer_unix: bool,
    /// Take the name over from a live node of the same principal, instead of being refused.
    pub takeover: bool,
    /// What the hub shall do when this node reads too slowly.
    pub slow: SlowPolicy,
    /// How much of what is published while offline is kept until there is a link, in bytes; with zero such a publish is
    /// [`Error::Offline`](crate::Error::Offline).
    pub offline_bytes_max: usize,
    /// What may wait for one subscription that the program does not read, in bytes; then the oldest go, told as
    /// [`Missed::Lagged`](crate::Missed::Lagged).
    pub subscription_bytes_max: usize,
    /// How long [`Node::connect_with`](crate::Node::connect_with) waits until it has joined.
    pub timeout: Duration,
    /// Whether it can be master of all nodes of the hub; see [`Member::master`](crate::Member::master).
    pub master: MasterWish,
    /// The program and its version, as others see it; the name of the executable if `None`.
    pub program: Option<String>,
    /// Tell others how busy this process and its host are, so that calls can go to who has the least to do. It costs a
    /// look at a few small files of the system every 10 s while the node offers a service, else once.
    pub share_load: bool,
    /// A folder in which what this node appends to journals is kept until it is known what became of it: before it is sent,
    /// and over the end of the program, a crash or a power cut. The next program that is opened with the same name and folder
    /// sends what is left, in order and once each, before its own. For one program at a time; opening it and
    /// [`Outbox::append`](crate::Outbox::append) wait for the disk. `None` keeps it in memory, for as long as the program runs.
    pub outbox: Option<PathBuf>,
}

impl NodeOptions {
    /// The usual node of this name.
    pub fn new(name: impl Into<String>) -> NodeOptions {
        NodeOptions { name: name.into(), ..NodeOptions::default() }
    }
}

impl Default for NodeOptions {
    fn default() -> NodeOptions {
        NodeOptions {
            name: String::new(),
            author: None,
            token: None,
            authority: None,
            certificate: None,
            prefer_unix: false,
            takeover: false,
            slow: SlowPolicy::default(),
            offline_bytes_max: 0,
            subscription_bytes_max: SUBSCRIPTION_BYTES_MAX,
            timeout: CONNECT_TIME,
            master: MasterWish::default(),
            program: None,
            share_load: true,
            outbox: None,
        }
    }
}
