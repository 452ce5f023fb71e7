#![doc = include_str!("../README.md")]

pub mod config;
pub mod telemetry;

pub mod check;
pub mod server;

pub mod api;
pub mod app;
pub mod login;
pub mod user_data;

pub mod session;
pub mod wechat;

pub mod clock;
mod json;
pub mod metrics;

pub use api::{Problem, SignedIn};
pub use app::{StartError, User, WxLogin};
