//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case, which other programs use
//! too.

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::reader::{InvalidSetting, Reader};
use crate::wechat::{Proxies, is_on_this_machine};

/// The proxies for the hosts. A proxy that no host needs is not checked.
pub(super) fn read(reader: &mut Reader, api_bases: &[Url]) -> Result<Proxies, InvalidSetting> {
    let needs = |scheme: &str| {
        let mut hosts = api_bases.iter();
        hosts.any(|url| url.scheme() == scheme && !is_on_this_machine(url))
    };
    let http = needs("http").then(|| proxy(reader, &["HTTP_PROXY", "http_proxy"]));
    let https = needs("https").then(|| proxy(reader, &["HTTPS_PROXY", "https_proxy"]));
    let no_proxy = reader.get_foreign(&["NO_PROXY", "no_proxy"]);
    if let Some((name, value)) = no_proxy {
        let is_unknown =
            |entry: &&str| entry.contains("://") || (entry.contains('*') && *entry != "*");
        for entry in value.split(',').map(str::trim).filter(is_unknown) {
            reader.warning(format!(
                "{name} has {entry:?}, which matches no host: write a domain as example.com, without * and ://"
            ));
        }
    }
    Ok(Proxies {
        no_proxy: no_proxy.map_or_else(String::new, |(_, value)| value.to_owned()),
        http: http.transpose()?.flatten(),
        https: https.transpose()?.flatten(),
    })
}

fn proxy(
    reader: &mut Reader,
    names: &[&'static str],
) -> Result<Option<SecretString>, InvalidSetting> {
    let value = reader
        .get_foreign(names)
        .or_else(|| reader.get_foreign(&["ALL_PROXY", "all_proxy"]));
    let Some((name, value)) = value else {
        return Ok(None);
    };
    if let Some((other, _)) = reader
        .get_foreign(&names[1..])
        .filter(|(_, it)| *it != value)
    {
        reader.warning(format!("{name} and {other} differ: {name} is used"));
    }
    let url = if value.contains("://") {
        SecretString::from(value)
    } else {
        format!("http://{value}").into()
    };
    if Url::parse(url.expose_secret()).is_ok_and(|url| is_proxy(&url)) {
        return Ok(Some(url));
    }
    Err(reader.problem(format!(
        "{name} must be the URL of an HTTP proxy, such as http://proxy.internal:3128 or http://user:password@proxy.internal:3128 (in user and password, percent-encode / ? # @ and :); SOCKS is not supported"
    )))
}

fn is_proxy(url: &Url) -> bool {
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    matches!(url.scheme(), "http" | "https") && is_bare && url.port() != Some(0)
}
