//! `WECHAT_API_BASE`: the base URL of WeChat's API, with alternatives after commas.

use reqwest::Url;

use super::reader::Reader;
use crate::wechat::is_on_this_machine;

const NAME: &str = "WECHAT_API_BASE";
const DEFAULT: &str = "https://api.weixin.qq.com,https://api2.weixin.qq.com";

/// Problems do not quote the value: it can hold a password by mistake.
pub(super) fn read(reader: &mut Reader) -> Vec<Url> {
    let value = reader.get(NAME).unwrap_or(DEFAULT);
    let mut urls: Vec<Url> = Vec::new();
    for (number, text) in (1..).zip(value.split(',')) {
        match parse(text.trim(), &urls) {
            Ok(url) => urls.push(url),
            Err(problem) => {
                reader.problem(format!(
                    "{NAME} must be https:// or http:// URLs after commas: number {number} {problem}"
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

fn parse(text: &str, before: &[Url]) -> Result<Url, &'static str> {
    let Ok(url) = Url::parse(text) else {
        return Err("is not a URL such as https://api.weixin.qq.com");
    };
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let is_api_path = |path: &str| ["sns", "cgi-bin", "wxa"].contains(&path);
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        Err("is neither")
    } else if has_credentials || url.query().is_some() || url.fragment().is_some() {
        Err("has a user name, query or fragment")
    } else if url.port() == Some(0) {
        Err("has port 0")
    } else if url.path().split('/').any(is_api_path) {
        Err("has a path of the API, such as /sns/jscode2session, which is appended to it")
    } else if before.iter().any(|known| known.origin() == url.origin()) {
        Err("is a host that was named before")
    } else {
        Ok(url)
    }
}
