//! Listening sockets: those that systemd passes (socket activation), or new ones at the addresses of the settings.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

/// Connections that wait to be accepted, as in a burst of logins. The system may allow fewer (somaxconn).
const BACKLOG: i32 = 4096;

/// The public and the internal listener: a socket that systemd has passed in `LISTEN_FDS` (the first is the public
/// one), or a new one at the address, if there is one.
///
/// # Errors
/// For the operator to read.
pub fn listen_or_take(
    mut passed: ListenFd,
    public: SocketAddr,
    internal: Option<SocketAddr>,
) -> Result<(TcpListener, Option<TcpListener>), String> {
    if passed.len() > 2 {
        return Err(format!(
            "systemd passed {} sockets: the first is the public one, the second the internal one, and there must be no more",
            passed.len()
        ));
    }
    let mut take = |place| {
        let socket = passed.take_tcp_listener(place).and_then(|socket| {
            #[cfg(target_os = "linux")] // where systemd is
            if let Some(socket) = &socket
                && !SockRef::from(socket).is_listener()?
            {
                let must = "it does not listen (Accept=no in the unit)";
                return Err(io::Error::other(must));
            }
            Ok(socket)
        });
        let number = place + 1;
        socket.map_err(|error| format!("socket {number} of LISTEN_FDS cannot be used: {error}"))
    };
    let public = take(0)?.map_or_else(|| listen(public), Ok)?;
    let internal = match take(1)? {
        Some(passed) => Some(passed),
        None => internal.map(listen).transpose()?,
    };
    Ok((public, internal))
}

/// Listens on an address.
///
/// # Errors
/// For the operator to read.
pub fn listen(addr: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(addr).and_then(|listener| {
        // Once more: the standard library lets 128 connections wait.
        SockRef::from(&listener).listen(BACKLOG)?;
        Ok(listener)
    });
    listener.map_err(|error| format!("cannot listen on {addr}: {error}{}", hint(&error)))
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
