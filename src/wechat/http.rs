//! The HTTP clients: a direct one for hosts on this machine, and one with the proxies of the settings for all
//! others. A proxy between wxlogin and a relay on this machine could log the `AppSecret`.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};

use super::{Error, Invalid, Settings};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Shorter than the idle timeout of any gateway, so that a request is rarely sent on a closed connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The proxies for hosts that are not on this machine. Their URLs can hold passwords.
#[derive(Debug, Default)]
pub struct Proxies {
    /// For `http://`: the URL of a proxy.
    pub http: Option<SecretString>,
    /// For `https://`, by `CONNECT`: the URL of a proxy.
    pub https: Option<SecretString>,
    /// Hosts, domains and networks without a proxy, as `NO_PROXY` has them.
    pub no_proxy: String,
}

#[derive(Debug)]
pub(super) struct Http {
    direct: Client,
    proxied: Client,
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        // If all hosts but the last are down, there is time left for a request to the last one.
        let share = u32::try_from(settings.api_bases.len() + 1).unwrap_or(u32::MAX);
        let connect_timeout = CONNECT_TIMEOUT.min(settings.timeout / share);
        let direct = builder(connect_timeout).build()?;
        let Proxies {
            http,
            https,
            no_proxy,
        } = &settings.proxies;
        let mut proxies = Vec::new();
        if let Some(url) = http {
            proxies.push(Proxy::http(url.expose_secret())?);
        }
        if let Some(url) = https {
            proxies.push(Proxy::https(url.expose_secret())?);
        }
        if proxies.is_empty() {
            return Ok(Self {
                proxied: direct.clone(),
                direct,
            });
        }
        let mut builder = builder(connect_timeout);
        for proxy in proxies {
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(no_proxy)));
        }
        Ok(Self {
            direct,
            proxied: builder.build()?,
        })
    }

    pub(super) fn client_for(&self, url: &Url) -> &Client {
        if is_on_this_machine(url) {
            &self.direct
        } else {
            &self.proxied
        }
    }
}

fn builder(connect_timeout: Duration) -> ClientBuilder {
    Client::builder()
        .no_proxy() // not those of the environment
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
}

/// Whether the host of a URL is this machine, in any notation of its address.
pub(crate) fn is_on_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let name = host.trim_end_matches('.');
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok_and(|address| {
        let address = address.to_canonical();
        address.is_loopback() || address.is_unspecified()
    })
}

impl From<reqwest::Error> for Error {
    /// Keeps the causes, and drops the URL, which holds the AppSecret and the code.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut not_http = false;
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            not_http |= cause
                .downcast_ref::<hyper::Error>()
                .is_some_and(hyper::Error::is_parse);
            source = cause.source();
        }
        if not_http {
            Invalid::NotHttp.into()
        } else if error.is_connect() || error.is_builder() {
            Self::Unreachable(text)
        } else if error.is_timeout() {
            Self::Timeout
        } else {
            Self::Broken(text)
        }
    }
}
