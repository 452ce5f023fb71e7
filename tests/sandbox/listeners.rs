//! The addresses that the sandbox listens on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use tokio::net::TcpListener;

/// How many ports after a default one are tried.
const NEXT_PORTS: u16 = 100;

/// An address to listen on.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// This one.
    Exactly(SocketAddr),
    /// This one, or the next with a free port.
    From(SocketAddr),
}

impl Wanted {
    pub fn addr(self) -> SocketAddr {
        match self {
            Self::Exactly(addr) | Self::From(addr) => addr,
        }
    }

    async fn listen(self) -> Result<TcpListener, String> {
        let last = match self {
            Self::Exactly(addr) => addr.port(),
            Self::From(addr) => addr.port() + NEXT_PORTS,
        };
        let mut addr = self.addr();
        loop {
            match TcpListener::bind(addr).await {
                Ok(listener) => return Ok(listener),
                Err(_) if addr.port() < last => addr.set_port(addr.port() + 1),
                Err(error) => return Err(format!("cannot listen on {addr}: {error}")),
            }
        }
    }
}

/// A default address that was taken, and the one used instead.
pub struct Replaced {
    pub wanted: SocketAddr,
    pub listening: SocketAddr,
}

/// Listens on all of them; those that must be exact come first.
pub async fn listen<const N: usize>(
    wanted: [Wanted; N],
) -> Result<([TcpListener; N], Vec<Replaced>), String> {
    let mut listeners = [const { None }; N];
    for is_exact in [true, false] {
        for (wanted, listener) in wanted.iter().zip(&mut listeners) {
            if matches!(wanted, Wanted::Exactly(_)) == is_exact {
                *listener = Some(wanted.listen().await?);
            }
        }
    }
    let listeners = listeners.map(Option::unwrap);
    let mut replaced = Vec::new();
    for (wanted, listener) in wanted.iter().zip(&listeners) {
        let listening = listener.local_addr().unwrap();
        if let Wanted::From(wanted) = *wanted
            && wanted != listening
        {
            replaced.push(Replaced { wanted, listening });
        }
    }
    Ok((listeners, replaced))
}

/// How this machine reaches an address that it listens on.
pub fn local(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port()))
    } else {
        addr
    }
}

/// This machine's address in the network of its default route. Nothing is sent.
pub fn lan_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?; // an address that is nobody's (RFC 5737)
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}
