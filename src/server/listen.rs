//! Listening sockets: those that systemd passes (socket activation), or new ones at the addresses of the settings.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted, as in a burst of logins. The system may allow fewer (somaxconn).
const BACKLOG: u32 = 4096;

/// The sockets that systemd has passed in `LISTEN_FDS`: the first is the public one, the second the internal one.
pub struct PassedSockets(ListenFd);

impl PassedSockets {
    /// Takes them, and removes the variables from the environment, so there must be no other thread yet.
    #[must_use]
    pub fn from_env() -> Self {
        Self(ListenFd::from_env())
    }

    /// The public and the internal listener: a socket that was passed, or a new one at the address, if there is one.
    ///
    /// # Errors
    /// For the operator to read.
    pub fn listen(
        mut self,
        public: SocketAddr,
        internal: Option<SocketAddr>,
    ) -> Result<(TcpListener, Option<TcpListener>), String> {
        if self.0.len() > 2 {
            let count = self.0.len();
            return Err(format!(
                "systemd passed {count} sockets: the first is the public one, the second the internal one, and there must be no more"
            ));
        }
        let public = match self.take(0)? {
            Some(passed) => passed,
            None => listen(public)?,
        };
        let internal = match (self.take(1)?, internal) {
            (Some(passed), _) => Some(passed),
            (None, Some(addr)) => Some(listen(addr)?),
            (None, None) => None,
        };
        Ok((public, internal))
    }

    fn take(&mut self, place: usize) -> Result<Option<TcpListener>, String> {
        let passed = self.0.take_tcp_listener(place).and_then(|socket| {
            let Some(socket) = socket else {
                return Ok(None);
            };
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket).map(Some)
        });
        let number = place + 1;
        passed.map_err(|error| format!("socket {number} of LISTEN_FDS cannot be used: {error}"))
    }
}

/// Listens on an address.
///
/// # Errors
/// For the operator to read.
pub fn listen(addr: SocketAddr) -> Result<TcpListener, String> {
    let listen = || {
        let socket = match addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error: io::Error| format!("cannot listen on {addr}: {error}{}", hint(&error)))
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => ": another program, or another wxlogin, listens there",
        ErrorKind::AddrNotAvailable => ": no network interface of this machine has this address",
        ErrorKind::PermissionDenied => {
            ": take a port from 1024 on, or let this user have lower ones (CAP_NET_BIND_SERVICE)"
        }
        _ => "",
    }
}
