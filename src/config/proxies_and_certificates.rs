//! Variables that other programs use too: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower
//! case, and `SSL_CERT_FILE` and `SSL_CERT_DIR`, which the TLS library reads instead of the system's certificates.

use std::net::IpAddr;
use std::{env, fs};

use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};

use super::reader::{Reader, is_path, may_be_quoted};
use crate::wechat::{Proxies, is_on_this_machine};

pub(super) const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The proxies, also those that these hosts do not need: a host of the library can set others. One that no host
/// needs is not used if it is invalid.
pub(super) fn read_proxies(reader: &mut Reader, api_bases: &[Url]) -> Proxies {
    let needs = |scheme: &str| {
        let mut hosts = api_bases.iter();
        hosts.any(|url| url.scheme() == scheme && !is_on_this_machine(url))
    };
    let http = proxy(reader, ["HTTP_PROXY", "http_proxy"], needs("http"));
    let https = proxy(reader, ["HTTPS_PROXY", "https_proxy"], needs("https"));
    let no_proxy = reader.get_foreign(&["NO_PROXY", "no_proxy"]);
    let (name, no_proxy) = no_proxy.unwrap_or_default();
    let entries = no_proxy.split(',').map(str::trim);
    let (known, unknown): (Vec<_>, Vec<_>) = entries.partition(|entry| matches_hosts(entry));
    for entry in unknown {
        let quote = may_be_quoted(entry).then(|| format!("{entry:?}"));
        let what = quote.as_deref().unwrap_or("an entry");
        reader.warn(format!(
            "{name} has {what}, which matches no host: write a domain as example.com or a network as 10.0.0.0/8, without a port, * and ://"
        ));
    }
    Proxies {
        no_proxy: known.join(","),
        http,
        https,
    }
}

/// Whether an entry of `NO_PROXY` can match a host. An empty one is nothing.
fn matches_hosts(entry: &str) -> bool {
    let is_of_domain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let (ip, bits) = entry.split_once('/').unwrap_or((entry, "0"));
    let max = if ip.contains(':') { 128 } else { 32 };
    let is_network = ip.parse::<IpAddr>().is_ok() && bits.parse().is_ok_and(|it: u8| it <= max);
    entry == "*" || entry.bytes().all(is_of_domain) || is_network
}

fn proxy(
    reader: &mut Reader,
    [upper, lower]: [&'static str; 2],
    is_needed: bool,
) -> Option<SecretString> {
    let (name, value) = reader.get_foreign(&[upper, lower, "ALL_PROXY", "all_proxy"])?;
    let url = if value.contains("://") {
        SecretString::from(value)
    } else {
        format!("http://{value}").into()
    };
    let parsed = Url::parse(url.expose_secret());
    if parsed.is_ok_and(|url| is_http(&url) && url.path() == "/") {
        return Some(url);
    }
    if is_needed {
        reader.invalid_secret(name, value, "be the URL of an HTTP proxy, such as http://proxy.internal:3128 or http://user:password@proxy.internal:3128 (in user and password, percent-encode / ? # @ and :); SOCKS is not supported");
    }
    None
}

/// Whether it is a URL of HTTP, with or without TLS, that ends with the path.
pub(super) fn is_http(url: &Url) -> bool {
    let ends_with_path = url.query().is_none() && url.fragment().is_none();
    matches!(url.scheme(), "http" | "https") && ends_with_path && url.port() != Some(0)
}

/// Checks what the TLS library reads, because its errors do not name the variable.
pub(super) fn check_certificates(reader: &mut Reader) {
    for name in CERTIFICATES {
        let Some(value) = reader.sources.vars.get(name) else {
            continue;
        };
        if reader.sources.lines.contains_key(name) {
            reader.warn(format!(
                "{name} in .env has no effect: it is read from the environment alone"
            ));
            continue;
        }
        let unreadable = if name == CERTIFICATES[0] {
            fs::read(value).err()
        } else {
            env::split_paths(value).find_map(|dir| fs::read_dir(dir).err())
        };
        let problem = match unreadable {
            Some(error) => format!("cannot be read: {error}"),
            None if reader.sources.is_environment && Client::builder().build().is_err() => {
                "holds no certificate in PEM form that can be used".into()
            }
            None => continue,
        };
        // It can be a secret, by mistake.
        let is_shown = value.is_empty() || is_path(value);
        let shown = if is_shown { value } else { "what it names" };
        reader.invalid_secret(name, value, &format!(
            "name certificates, or be removed from the environment to use the system's: '{shown}' {problem}"
        ));
    }
}
