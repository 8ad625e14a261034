//! The bulk lane on its own.
