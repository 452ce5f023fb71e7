//! What the pages and the examples promise.

mod compose;
mod gateways;
mod pages;
mod prometheus;
mod samples;
mod shipping;
mod systemd;
mod troubleshooting;
