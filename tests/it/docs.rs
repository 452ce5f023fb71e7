//! What the pages and the examples promise.

mod compose;
mod gateway_answers;
mod gateway_headers;
mod gateways;
mod pages;
mod prometheus;
mod samples;
mod shipping;
mod systemd;
mod troubleshooting;
