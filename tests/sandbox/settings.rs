//! The settings of wxlogin in the sandbox: those of the environment, but for what the sandbox sets itself.

use std::collections::BTreeMap;

use wxlogin::config::ServerConfig;

use super::fake_wechat::{APPID, SECRET};

pub const INTERNAL_TOKEN: &str = "sandbox-internal-token";
/// The calls that the stand-in knows. The environment may name others.
const PATHS: &str = "/cgi-bin/message/subscribe/send,/wxa/msg_sec_check,/wxa/getwxacodeunlimit";
/// What the names of wxlogin's settings begin with.
const PREFIXES: [&str; 6] = [
    "WECHAT_",
    "SESSION_",
    "USERDATA_",
    "INTERNAL_",
    "RUST_LOG",
    "LOG_FORMAT",
];
/// What the sandbox sets itself, and its forms with a file or several Mini Programs.
const OWN: [&str; 11] = [
    "WECHAT_APPID",
    "WECHAT_SECRET",
    "WECHAT_SECRET_FILE",
    "WECHAT_APPS",
    "WECHAT_APPS_FILE",
    "WECHAT_API_BASE",
    "SESSION_STORE",
    "INTERNAL_TOKEN",
    "INTERNAL_TOKEN_FILE",
    "INTERNAL_ACCESS_TOKEN",
    "INTERNAL_ADDR",
];

/// By name.
#[derive(Clone)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// With WeChat at `base`, and sessions in memory.
    ///
    /// # Errors
    /// What is wrong in the environment.
    pub fn read(
        base: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let own = [
            ("WECHAT_APPID", APPID),
            ("WECHAT_SECRET", SECRET),
            ("WECHAT_API_BASE", base),
            ("INTERNAL_ADDR", "127.0.0.1:9090"), // a free port instead
            ("INTERNAL_TOKEN", INTERNAL_TOKEN),
            ("INTERNAL_ACCESS_TOKEN", "on"),
            ("INTERNAL_WECHAT_PATHS", PATHS),
            ("SESSION_STORE", "memory:"),
        ];
        let mut settings = BTreeMap::from([("RUST_LOG".to_owned(), "wxlogin=debug".to_owned())]);
        settings.extend(environment.filter(|(name, value)| {
            let is_setting = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            is_setting && !OWN.contains(&&**name) && !value.trim().is_empty()
        }));
        settings.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        match ServerConfig::from_vars(&settings) {
            Ok(_) => Ok(Self(settings)),
            Err(problems) => Err(problems.to_string()),
        }
    }

    pub fn config(&self) -> ServerConfig {
        ServerConfig::from_vars(&self.0).unwrap() // read() has tried it
    }
}

/// The settings of an environment that have no effect here, except `INTERNAL_ADDR`, which has.
pub fn without_effect(names: impl Iterator<Item = String>) -> Vec<String> {
    names
        .filter(|name| name != "INTERNAL_ADDR" && OWN.contains(&&**name))
        .collect()
}
