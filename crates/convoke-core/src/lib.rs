//! The rules of Convoke.
#![forbid(unsafe_code)]
#![deny(clippy::iter_over_hash_type)]

pub mod name;
#[cfg_attr(not(test), expect(dead_code, reason = "the tables of the hub are built on it"))]
mod tree;
