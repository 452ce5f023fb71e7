//! `WECHAT_API_BASE`: the base URL of WeChat's API, with alternatives after commas.

use reqwest::Url;

use super::proxies_and_certificates::is_http;
use super::reader::Reader;
use crate::wechat::is_on_this_machine;

const NAME: &str = "WECHAT_API_BASE";
const DEFAULT: &str = "https://api.weixin.qq.com,https://api2.weixin.qq.com";

/// Problems do not quote the value: it can hold a password by mistake.
pub(super) fn read(reader: &mut Reader) -> Vec<Url> {
    let mut urls: Vec<Url> = Vec::new();
    let value = reader.get(NAME).unwrap_or(DEFAULT);
    for (number, text) in (1..).zip(value.split(',')) {
        let is_new = |url: &Url| urls.iter().all(|known| known.origin() != url.origin());
        match Url::parse(text.trim()) {
            Ok(url) if is_base(&url) && is_new(&url) => urls.push(url),
            _ => {
                reader.invalid_secret(NAME, value, &format!(
                    "be URLs such as https://api.weixin.qq.com after commas, each of another host, without user, query, fragment or a path of the API (/sns/jscode2session is appended): number {number} is not"
                ));
                return Vec::new();
            }
        }
    }
    let is_open = |url: &Url| url.scheme() == "http" && !is_on_this_machine(url);
    if urls.iter().any(is_open) {
        reader.warn(format!(
            "{NAME} is not https: the AppSecret and every session_key cross the network in clear"
        ));
    }
    urls
}

fn is_base(url: &Url) -> bool {
    let has_user = !url.username().is_empty() || url.password().is_some();
    let is_of_api = |part: &str| ["sns", "cgi-bin", "wxa"].contains(&part);
    is_http(url) && !has_user && !url.path().split('/').any(is_of_api)
}
