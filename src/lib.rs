//! Trimmed while the session stores are rewritten.
#![allow(missing_docs, dead_code)]
pub mod clock;
pub mod metrics;
pub mod session;
