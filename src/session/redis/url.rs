//! The URL of a Redis server or cluster.

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
    pub(super) is_tls: bool,
}

/// Why a text is not the URL of a Redis. Holds no part of the text, which can hold a password.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUrl(pub(crate) &'static str);

const FORM: InvalidUrl = InvalidUrl(
    "redis:// and rediss:// are followed by [user]:password@ if needed, a host, and if needed :port and /database",
);
const UNESCAPED: InvalidUrl = InvalidUrl(
    "in a user name or password, percent-encode all but letters, digits, - . _ ~ and , (# is %23, / is %2F, : is %3A, ? is %3F, @ is %40, % is %25)",
);
const NO_PASSWORD: InvalidUrl = InvalidUrl(
    "a password follows a colon, as in redis://:password@host or redis://user:password@host",
);
const HOST: InvalidUrl = InvalidUrl(
    "a host is a name or an address, [in brackets] if it is IPv6, with a port from 1 to 65535 if needed",
);
const SEVERAL: InvalidUrl = InvalidUrl("several hosts, after commas, need redis+cluster://");
const TWICE: InvalidUrl = InvalidUrl("the same host stands there twice");
const DATABASE: InvalidUrl =
    InvalidUrl("after the host, only the number of a database can follow, as in /0");
const CLUSTER_DATABASE: InvalidUrl = InvalidUrl("a cluster has no other database than 0");

impl FromStr for RedisUrl {
    type Err = InvalidUrl;

    /// Stricter than a URL parser: ambiguous text is refused.
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let (scheme, is_cluster) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis+cluster" => ("redis", true),
            "rediss+cluster" => ("rediss", true),
            _ => return Err(FORM),
        };
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (check_credentials(credentials)?, place),
            None => ("", rest),
        };
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        check_database(database, is_cluster)?;
        if hosts.contains(',') && !is_cluster {
            return Err(SEVERAL);
        }
        let at = if rest.contains('@') { "@" } else { "" };
        let mut nodes: Vec<ConnectionInfo> = Vec::new();
        for host in hosts.split(',') {
            if !is_host(host) {
                return Err(HOST);
            }
            let url = format!("{scheme}://{credentials}{at}{host}/{database}");
            let node = url.into_connection_info().map_err(|_| HOST)?;
            if nodes.iter().any(|known| known.addr() == node.addr()) {
                return Err(TWICE);
            }
            nodes.push(node);
        }
        let is_tls = scheme == "rediss";
        Ok(Self {
            nodes,
            is_cluster,
            is_tls,
        })
    }
}

fn check_credentials(credentials: &str) -> Result<&str, InvalidUrl> {
    let (user, password) = credentials.split_once(':').ok_or(NO_PASSWORD)?;
    if !is_escaped(user) || !is_escaped(password) {
        return Err(UNESCAPED);
    }
    if password.is_empty() {
        return Err(NO_PASSWORD);
    }
    Ok(credentials)
}

/// Unreserved characters and sub-delims (RFC 3986), or `%` and two hex digits.
fn is_escaped(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&b);
    let is_hex =
        |code: &str| code.len() >= 2 && code.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    text.bytes().all(is_fit) && text.split('%').skip(1).all(is_hex)
}

/// Whether a host, with its port if there is one, is plain enough for a URL parser to keep all of it.
fn is_host(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let has_no_port = text.trim_end_matches('0').ends_with(':');
    text.bytes().all(is_fit) && !has_no_port
}

fn check_database(database: &str, is_cluster: bool) -> Result<(), InvalidUrl> {
    match database.parse::<u16>() {
        _ if matches!(database, "" | "0") => Ok(()),
        Ok(number) if number.to_string() != database => Err(DATABASE),
        Ok(_) if is_cluster => Err(CLUSTER_DATABASE),
        Ok(_) => Ok(()),
        Err(_) => Err(DATABASE),
    }
}

impl fmt::Display for RedisUrl {
    /// Hosts and ports, and whether TLS is used: with a server without TLS, all that shows is a timeout.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_cluster { " cluster" } else { "" };
        let nodes = self.nodes.iter().map(|node| node.addr().to_string());
        let tls = if self.is_tls { " (TLS)" } else { "" };
        let nodes = nodes.collect::<Vec<_>>().join(", ");
        write!(f, "Redis{kind} at {nodes}{tls}")
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
