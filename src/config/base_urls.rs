//! `WECHAT_API_BASE`: the base URL of WeChat's API, with alternatives after commas.

use reqwest::Url;

use super::reader::{InvalidSetting, Reader};
use crate::wechat::is_on_this_machine;

/// Problems do not quote the value: it can hold a password by mistake.
pub(super) fn read(
    reader: &mut Reader,
    name: &'static str,
    default: &str,
) -> Result<Vec<Url>, InvalidSetting> {
    let value = reader.get(name).unwrap_or(default);
    let mut urls: Vec<Url> = Vec::new();
    for (number, text) in (1..).zip(value.split(',')) {
        let problem = match Url::parse(text.trim()) {
            Err(_) if text.trim().is_empty() => Some("is empty"),
            Err(_) => Some("is not a URL such as https://api.weixin.qq.com"),
            Ok(url) => problem_of(&url, &urls).or_else(|| {
                urls.push(url);
                None
            }),
        };
        if let Some(problem) = problem {
            return Err(reader.problem(format!(
                "{name} must be https:// or http:// URLs after commas: number {number} {problem}"
            )));
        }
    }
    if urls
        .iter()
        .any(|url| url.scheme() == "http" && !is_on_this_machine(url))
    {
        reader.warning(format!(
            "{name} is not https: the AppSecret and every session_key cross the network in clear"
        ));
    }
    Ok(urls)
}

fn problem_of(url: &Url, before: &[Url]) -> Option<&'static str> {
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let is_api_path = |path: &str| ["sns", "cgi-bin", "wxa"].contains(&path);
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        Some("is neither")
    } else if has_credentials || url.query().is_some() || url.fragment().is_some() {
        Some("has a user name, query or fragment")
    } else if url.port() == Some(0) {
        Some("has port 0")
    } else if url.path().split('/').any(is_api_path) {
        Some("has a path of the API, such as /sns/jscode2session, which is appended to it")
    } else if before.iter().any(|known| known.origin() == url.origin()) {
        Some("is a host that was named before")
    } else {
        None
    }
}
