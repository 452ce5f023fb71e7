//! Variables that other programs use too: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower
//! case, and `SSL_CERT_FILE` and `SSL_CERT_DIR`, which the TLS library reads instead of the system's certificates.

use std::path::Path;
use std::{env, fs, io};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::reader::Reader;
use crate::wechat::{Proxies, is_on_this_machine};

pub(super) const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The proxies for the hosts. A proxy that no host needs is not checked.
pub(super) fn read_proxies(reader: &mut Reader, api_bases: &[Url]) -> Proxies {
    let needs = |scheme: &str| {
        let mut hosts = api_bases.iter();
        hosts.any(|url| url.scheme() == scheme && !is_on_this_machine(url))
    };
    let http = needs("http").then(|| proxy(reader, &["HTTP_PROXY", "http_proxy"]));
    let https = needs("https").then(|| proxy(reader, &["HTTPS_PROXY", "https_proxy"]));
    let (name, no_proxy) = reader
        .get_foreign(&["NO_PROXY", "no_proxy"])
        .unwrap_or_default();
    let is_unknown = |entry: &&str| entry.contains("://") || (entry.contains('*') && *entry != "*");
    for entry in no_proxy.split(',').map(str::trim).filter(is_unknown) {
        reader.warn(format!(
            "{name} has {entry:?}, which matches no host: write a domain as example.com, without * and ://"
        ));
    }
    Proxies {
        no_proxy: no_proxy.to_owned(),
        http: http.flatten(),
        https: https.flatten(),
    }
}

fn proxy(reader: &mut Reader, names: &[&'static str]) -> Option<SecretString> {
    let (name, value) = reader
        .get_foreign(names)
        .or_else(|| reader.get_foreign(&["ALL_PROXY", "all_proxy"]))?;
    let url = if value.contains("://") {
        SecretString::from(value)
    } else {
        format!("http://{value}").into()
    };
    let parsed = Url::parse(url.expose_secret());
    if !parsed.is_ok_and(|url| is_http(&url) && url.path() == "/") {
        reader.problem(format!(
            "{name} must be the URL of an HTTP proxy, such as http://proxy.internal:3128 or http://user:password@proxy.internal:3128 (in user and password, percent-encode / ? # @ and :); SOCKS is not supported"
        ));
    }
    Some(url)
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
        let problem = if name == CERTIFICATES[0] {
            problem_of_file(Path::new(value))
        } else {
            env::split_paths(value)
                .find_map(|dir| Some(unreadable(&dir, &fs::read_dir(&dir).err()?)))
        };
        if let Some(problem) = problem {
            reader.problem(format!(
                "{name} must name certificates, or be removed from the environment to use the system's: {problem}"
            ));
        }
    }
}

fn problem_of_file(path: &Path) -> Option<String> {
    let begin = b"-----BEGIN CERTIFICATE-----";
    match fs::read(path) {
        Err(error) => Some(unreadable(path, &error)),
        Ok(pem) if pem.split(|b| *b == b'\n').any(|it| it.starts_with(begin)) => None,
        Ok(_) => Some(format!(
            "'{}' holds no certificate in PEM form",
            path.display()
        )),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("'{}' cannot be read: {error}", path.display())
}
