//! Tests of the service from outside: over HTTP, and as a process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[allow(dead_code, unused_imports, reason = "the sandbox shows the rest")]
#[path = "../sandbox/wechat.rs"]
mod fake_wechat;
mod support;

mod contract;
mod docs;
mod process;
mod sandbox;
mod store;
