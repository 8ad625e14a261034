//! The rules of Convoke.
#![forbid(unsafe_code)]
#![deny(clippy::iter_over_hash_type)]
