//! `/as/NAME/…` at the public listener: an address for each developer who shares a sandbox, so that the codes of a
//! real `wx.login` log different users in.

use axum::http::Uri;

use super::fake_wechat::{at_address_of, parameter};

/// What wxlogin gets instead of a request to this URL: its path and query, and the code of a login.
pub struct Target {
    pub path: String,
    pub query: Option<String>,
    pub code: Option<String>,
}

impl Target {
    pub fn of(uri: &Uri) -> Self {
        let (developer, path) = match at(uri.path()) {
            Some((name, path)) => (Some(name), path),
            None => (None, uri.path()),
        };
        let query = uri.query();
        let code = query.and_then(|query| parameter(query, "code"));
        let replaced = code
            .as_deref()
            .filter(|_| path == "/onLogin")
            .and_then(|code| at_address_of(developer.as_deref(), code));
        Self {
            path: path.to_owned(),
            query: match &replaced {
                Some(code) => query.map(|query| with_code(query, code)),
                None => query.map(str::to_owned),
            },
            code: replaced.or(code),
        }
    }
}

/// The developer whose address this is, and the path behind it.
fn at(path: &str) -> Option<(String, &str)> {
    let (name, _) = path.strip_prefix("/as/")?.split_once('/')?;
    let rest = &path["/as/".len() + name.len()..];
    let pairs = format!("name={}", name.replace(['&', '+', '#'], "_"));
    let name = parameter(&pairs, "name").filter(|name| !name.is_empty())?;
    Some((name, rest))
}

/// The query with another code. The new one has no characters that are written differently in a URL.
fn with_code(query: &str, code: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some(("code", _)) => format!("code={code}"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}
