//! The program as its users see it: each test is a story of a few lines, told with the program itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod call;
mod chat;
mod colours;
mod command_line;
mod compact;
mod completions;
mod config;
mod delete;
mod demo;
mod disk;
#[cfg(target_os = "linux")]
#[path = "../../../convoke/tests/support/disk.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod disks;
mod get;
mod hub;
mod journal;
mod kept;
#[path = "../../../convoke/tests/support/linked.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
mod linked;
mod list;
mod locate;
mod man;
mod metrics;
mod odd;
mod operating;
mod pages;
mod ping;
mod progress;
mod publish;
mod reload;
mod serve;
mod set;
mod small_disk;
mod status;
mod store;
mod story;
mod subscribe;
mod terminal;
mod tls;
mod token;
mod uplinks;
mod wait;
mod watch;
