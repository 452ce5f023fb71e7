//! The real binary: settings, log, signals, stops, restarts.

mod activation;
mod binary;
mod check;
mod clients;
mod log;
mod log_reader;
mod mistakes;
mod resources;
mod rolling;
mod secrets;
mod settings;
mod signals;
mod stops;
