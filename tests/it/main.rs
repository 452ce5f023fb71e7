//! Tests of the service from outside: over HTTP, and as a process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod app;
mod disk;
#[allow(dead_code, unused_imports, reason = "the sandbox shows the rest")]
#[path = "sandbox/wechat.rs"]
mod fake_wechat;
mod load;
mod power_cut;
mod process;
mod redis_proxies;
mod redis_server;
mod sandbox_process;
mod yaml;

mod access_token;
mod activation;
mod apps;
mod backend;
mod bodies;
mod canary;
mod check;
mod compose;
mod crashes;
mod disk_errors;
mod docs;
mod embedding;
mod encryption;
mod failures;
mod gateways;
mod hosts;
mod log;
mod log_reader;
mod login;
mod metrics;
mod miniprogram;
mod mistakes;
mod model;
mod node;
mod once;
mod openapi;
mod overload;
mod phone;
mod prometheus;
mod properties;
mod proxies;
mod redis_kinds;
mod redis_moves;
mod replicas;
mod resources;
mod rolling;
mod sandbox_access;
mod sandbox_controls;
mod sandbox_limits;
mod sandbox_next;
mod sandbox_page;
mod sandbox_requests;
mod sandbox_sdks;
mod sandbox_sessions;
mod sandbox_start;
mod server;
mod session;
mod settings;
mod shipping;
mod signals;
mod sqlite;
mod stops;
mod store;
mod stores;
mod tls;
mod upstream;
mod user_data;
