//! The node's side of values, against a hub that says whatever a test wants.

mod bench;
mod silence;
mod watches;
mod writes;
