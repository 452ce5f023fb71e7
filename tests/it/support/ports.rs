//! Ports for what cannot listen on port 0, and ports on which nothing listens.

use std::net::{SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that Linux gives out for port 0 and to connections, so that nobody takes one meanwhile.
const FIRST: u16 = 12_000;
/// How many there are, and how far above a port is the one that a node of a Redis cluster derives from it.
const COUNT: u16 = 10_000;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A port that is free, as is the one [`COUNT`] above it. No two calls of a process get the same.
pub fn free_port() -> u16 {
    loop {
        // Another run of the tests begins elsewhere.
        let begin = process::id().wrapping_mul(101);
        let number = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from(number % u32::from(COUNT)).unwrap();
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + COUNT) {
            return port;
        }
    }
}

/// An address that refuses connections.
pub fn nobody() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}
