//! Tests of the service from outside: over HTTP, and as a process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod app;
mod fake_wechat;
mod process;

mod failures;
mod log;
mod login;
mod properties;
mod server;
mod session;
mod settings;
mod store;
mod tls;
mod upstream;
