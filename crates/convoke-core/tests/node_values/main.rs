//! The node's side of values and of snapshots, against a hub that says whatever a test wants.

mod bench;
mod silence;
mod snapshots;
mod watches;
mod writes;
