//! The URL of a Redis server or cluster.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use redis::{ConnectionInfo, IntoConnectionInfo};

/// `redis://…`, `rediss://…` (TLS), `redis+cluster://host,host…` or `rediss+cluster://host,host…`,
/// each host with a port if it is not 6379, and a user and password before the first if needed:
/// `redis://[user]:password@host:6379/0`. Shows no password.
#[derive(Clone, Debug)]
pub struct RedisUrl {
    pub(super) nodes: Vec<ConnectionInfo>,
    pub(super) is_cluster: bool,
    pub(super) is_tls: bool,
}

// Why a text is not such a URL. None holds a part of the text, which can hold a password.
const FORM: &str = "redis:// and rediss:// are followed by [user]:password@ if needed, a host, and if needed :port and /database";
const UNESCAPED: &str = "in a user name or password, percent-encode the UTF-8 of all but letters, digits, - . _ ~ and , (# is %23, / is %2F, : is %3A, ? is %3F, @ is %40, % is %25)";
const NO_PASSWORD: &str =
    "a password follows a colon, as in redis://:password@host or redis://user:password@host";
const HOST: &str = "a host is a name or an address, [in brackets] if it is IPv6, with a port from 1 to 65535 if needed";
const SEVERAL: &str = "several hosts, after commas, need redis+cluster://";
const DATABASE: &str =
    "after the host, only the number of a database can follow, as in /0; a cluster has 0 alone";

impl FromStr for RedisUrl {
    type Err = &'static str;

    /// Stricter than a URL parser: ambiguous text is refused.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let (scheme, is_cluster) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis+cluster" => ("redis", true),
            "rediss+cluster" => ("rediss", true),
            _ => return Err(FORM),
        };
        let (credentials, place) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
        if let Some(credentials) = credentials.strip_suffix('@') {
            check_credentials(credentials)?;
        }
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let is_number =
            |number: u16| database == number.to_string() && (number == 0 || !is_cluster);
        if place.contains('?') || !database.is_empty() && !database.parse().is_ok_and(is_number) {
            return Err(DATABASE);
        }
        if hosts.contains(',') && !is_cluster {
            return Err(SEVERAL);
        }
        let node = |host| {
            let url = format!("{scheme}://{credentials}{host}/{database}");
            let node = url.into_connection_info().ok();
            node.filter(|_| is_host(host)).ok_or(HOST)
        };
        let nodes: Vec<_> = hosts.split(',').map(node).collect::<Result<_, _>>()?;
        if (1..nodes.len()).any(|at| nodes[..at].iter().any(|it| show(it) == show(&nodes[at]))) {
            return Err("each host of a cluster is named once");
        }
        Ok(Self {
            nodes,
            is_cluster,
            is_tls: scheme == "rediss",
        })
    }
}

fn check_credentials(credentials: &str) -> Result<(), &'static str> {
    match credentials.split_once(':') {
        Some((user, password)) if !is_escaped(user) || !is_escaped(password) => Err(UNESCAPED),
        None | Some((_, "")) => Err(NO_PASSWORD),
        Some(_) => Ok(()),
    }
}

/// Unreserved characters and sub-delims (RFC 3986), or UTF-8 of which each byte is `%` and two hex digits.
fn is_escaped(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&b);
    let is_hex =
        |code: &str| code.len() >= 2 && code.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    let is_utf8 = percent_decode_str(text).decode_utf8().is_ok();
    is_utf8 && text.bytes().all(is_fit) && text.split('%').skip(1).all(is_hex)
}

/// Whether a host, with its port if there is one, is plain enough for a URL parser to keep all of it.
fn is_host(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let has_no_port = text.trim_end_matches('0').ends_with(':');
    text.bytes().all(is_fit) && !has_no_port
}

/// Host and port.
fn show(node: &ConnectionInfo) -> String {
    let addr = node.addr().to_string().to_lowercase();
    let v6 = addr.rsplit_once(':').filter(|(host, _)| host.contains(':'));
    v6.map_or_else(|| addr.clone(), |(host, port)| format!("[{host}]:{port}"))
}

impl fmt::Display for RedisUrl {
    /// Hosts and ports, and whether TLS is used: with a server without TLS, all that shows is a timeout.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_cluster { " cluster" } else { "" };
        let nodes: Vec<_> = self.nodes.iter().map(show).collect();
        let tls = if self.is_tls { " (TLS)" } else { "" };
        write!(f, "Redis{kind} at {}{tls}", nodes.join(", "))
    }
}
