//! Where a Redis is: a URL, or for a cluster several hosts.

use std::fmt;
use std::str::FromStr;

use redis::{ConnectionInfo, IntoConnectionInfo};

/// `redis://…`, `rediss://…` (TLS), `redis+cluster://host,host…` or `rediss+cluster://host,host…`,
/// each host with a port if it is not 6379, and a user and password before the first if needed:
/// `redis://[user]:password@host:6379/0`. Shows no password.
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) nodes: Vec<ConnectionInfo>,
    pub(super) is_cluster: bool,
}

/// Not an address of a Redis.
#[derive(Debug, thiserror::Error)]
#[error("not the address of a Redis")]
pub struct InvalidUrl;

impl FromStr for RedisUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUrl)?;
        let (scheme, is_cluster) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis+cluster" => ("redis", true),
            "rediss+cluster" => ("rediss", true),
            _ => return Err(InvalidUrl),
        };
        // A password may hold a comma, a host may not.
        let (credentials, hosts) = match rest.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), rest),
        };
        let hosts: Vec<_> = if is_cluster {
            hosts.split(',').collect()
        } else {
            vec![hosts]
        };
        let nodes = hosts
            .into_iter()
            .map(|host| node(&format!("{scheme}://{credentials}{host}")))
            .collect::<Result<_, _>>()?;
        Ok(Self { nodes, is_cluster })
    }
}

fn node(url: &str) -> Result<ConnectionInfo, InvalidUrl> {
    url.into_connection_info().map_err(|_| InvalidUrl)
}

impl fmt::Display for RedisUrl {
    /// Hosts and ports.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_cluster { " cluster" } else { "" };
        let nodes = self.nodes.iter().map(|node| node.addr().to_string());
        write!(f, "Redis{kind} at {}", nodes.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
