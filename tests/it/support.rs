//! What tests share.

pub mod app;
pub mod backend;
pub mod client;
pub mod disk;
pub mod gateways;
pub mod load;
pub mod metrics;
pub mod node;
pub mod ports;
pub mod power_cut;
pub mod process;
pub mod redis_proxies;
pub mod redis_server;
pub mod running_gateway;
pub mod sandbox_process;
pub mod stores;
pub mod tls;
pub mod wait;
pub mod yaml;
