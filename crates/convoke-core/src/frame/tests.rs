//! The codec on its own.
