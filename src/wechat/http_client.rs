//! How WeChat is reached: its hosts, limits, proxies, and the HTTP client of a thread.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, NoProxy, Proxy, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};

use super::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// The hosts that [`is_on_this_machine`] finds, as `NO_PROXY` has them: a proxy between wxlogin and a relay on this
/// machine could log the AppSecret.
const THIS_MACHINE: &str =
    "localhost,localhost.,127.0.0.0/8,0.0.0.0,::1,::,::ffff:127.0.0.0/104,::ffff:0.0.0.0";
/// Shorter than the idle timeout of any gateway, so that a request is rarely sent on a closed connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How requests are sent to WeChat.
#[derive(Debug)]
pub struct Settings {
    /// Base URLs of WeChat's API, at least one; the path of a call is appended. The next one is tried only
    /// if the request certainly was not sent.
    pub api_bases: Vec<Url>,
    /// For a whole call, retries included.
    pub timeout: Duration,
    /// `WECHAT_CALL_TIMEOUT`: for a call that is passed through, to the last byte of its answer.
    pub call_timeout: Duration,
    /// `WECHAT_MAX_IN_FLIGHT`: exchanges of login codes at a time, and so many other calls.
    pub max_in_flight: u32,
    /// Used for hosts that are not on this machine.
    pub proxies: Proxies,
}

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

/// The HTTP client of a thread, with the proxies of the settings for hosts that are not on this machine.
pub(super) fn http_client(settings: &Settings) -> Result<Client, Error> {
    // If all hosts but the last are down, there is time left for a request to the last one.
    let share = u32::try_from(settings.api_bases.len() + 1).unwrap_or(u32::MAX);
    let mut builder = Client::builder()
        .no_proxy() // not those of the environment
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout / share))
        .pool_idle_timeout(POOL_IDLE_TIMEOUT);
    let proxies = &settings.proxies;
    let direct = NoProxy::from_string(&format!("{THIS_MACHINE},{}", proxies.no_proxy));
    if let Some(url) = &proxies.http {
        builder = builder.proxy(Proxy::http(url.expose_secret())?.no_proxy(direct.clone()));
    }
    if let Some(url) = &proxies.https {
        builder = builder.proxy(Proxy::https(url.expose_secret())?.no_proxy(direct));
    }
    Ok(builder.build()?)
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
