//! See the body: it is what `./test` runs too. The program is no library, so its modules are taken from where they are.
#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "only what reads the configuration is used")]

#[path = "../bodies/configuration.rs"]
mod body;

#[path = "../../crates/convoke-cli/src"]
mod program {
    pub(crate) mod arguments;
    pub(crate) mod duration;
    pub(crate) mod exit;
    pub(crate) mod exposition;
    pub(crate) mod handler;
    pub(crate) mod help;
    pub(crate) mod join;
    pub(crate) mod log;
    pub(crate) mod output;
    pub(crate) mod payload;
    pub(crate) mod render;
    pub(crate) mod same;
    pub(crate) mod screen;
    pub(crate) mod select;
    pub(crate) mod settings;
    pub(crate) mod signals;
    pub(crate) mod table;
    pub(crate) mod usage;
    pub(crate) mod verbs;
}

use program::*;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::configuration(data));
