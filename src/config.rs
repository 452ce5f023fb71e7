//! Every setting of the service, read from a map of names and values: all problems are reported at
//! once, by name, and never with the value of a secret.

mod base_urls;
mod certificates;
mod mini_programs;
mod problems;
mod proxies;
mod reader;
#[cfg(feature = "server")]
mod server;
mod shown;
mod sources;
mod text_file;
#[cfg(feature = "server")]
mod unknown_names;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

pub use problems::Problems;
#[cfg(feature = "server")]
pub use server::{InternalConfig, ServerConfig};

use crate::wechat::MiniProgram;
use crate::{session, wechat};
use reader::{InvalidSetting, Reader};

/// The default of `WECHAT_API_BASE`.
const DEFAULT_API_BASES: &str = "https://api.weixin.qq.com,https://api2.weixin.qq.com";

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const MAX_TTL: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// A shorter life of sessions is probably a mistake.
const SHORT_TTL: Duration = Duration::from_secs(5 * 60);

/// The settings of the login service, valid as a whole.
#[derive(Debug)]
pub struct Config {
    /// The Mini Programs, at least one; the first is the default.
    #[doc(hidden)]
    pub mini_programs: Vec<MiniProgram>,
    /// The HTTP client for WeChat.
    #[doc(hidden)]
    pub wechat: wechat::Settings,
    /// Where sessions live, and how long.
    #[doc(hidden)]
    pub sessions: session::Settings,
    /// `USERDATA_MAX_AGE`: how old encrypted user data may be; `None` is any age.
    #[doc(hidden)]
    pub userdata_max_age: Option<Duration>,
    /// Values that are unlikely to be right but do not stop the service, a sentence each.
    pub warnings: Vec<String>,
}

impl Config {
    /// The defaults of `.env.example` for one Mini Program. The `with_…` functions change them.
    ///
    /// # Errors
    /// [`Problems`]: these cannot be an AppID and its AppSecret.
    pub fn new(appid: &str, secret: &str) -> Result<Self, Problems> {
        Self::from_vars(&vars(&[("WECHAT_APPID", appid), ("WECHAT_SECRET", secret)]))
    }

    /// Another Mini Program, or a second AppSecret of the same one while it is being changed.
    ///
    /// # Errors
    /// [`Problems`]: these cannot be an AppID and its AppSecret.
    pub fn with_mini_program(mut self, appid: &str, secret: &str) -> Result<Self, Problems> {
        let other = Self::new(appid, secret)?;
        for program in other.mini_programs {
            let mut known = self.mini_programs.iter_mut();
            match known.find(|known| known.appid() == appid) {
                Some(known) => *known = known.with_secrets_of(&program),
                None => self.mini_programs.push(program),
            }
        }
        Ok(self)
    }

    /// Where sessions are stored, as in `SESSION_STORE`: `file:PATH`, `memory:`, `redis://…`.
    ///
    /// # Errors
    /// [`Problems`]: this is no such place.
    pub fn with_session_store(mut self, url: &str) -> Result<Self, Problems> {
        self.sessions.url = url.parse().map_err(|reason| {
            Problems(vec![format!("SESSION_STORE must {}", store_form(reason))])
        })?;
        Ok(self)
    }

    /// A session's life, fixed at login, in whole seconds: at least 1 s and at most 3650 days.
    #[must_use]
    pub fn with_session_ttl(mut self, ttl: Duration) -> Self {
        self.sessions.ttl = ttl.clamp(SECOND, MAX_TTL);
        self
    }

    /// The hosts of WeChat's API, as in `WECHAT_API_BASE`: for a stand-in, or a relay.
    ///
    /// # Errors
    /// [`Problems`]: these are no base URLs.
    pub fn with_wechat_api_base(mut self, api_base: &str) -> Result<Self, Problems> {
        let vars = vars(&[("WECHAT_API_BASE", api_base)]);
        let mut reader = Reader::new(&vars);
        match base_urls::read(&mut reader, "WECHAT_API_BASE", DEFAULT_API_BASES) {
            Ok(api_bases) => self.wechat.api_bases = api_bases,
            Err(InvalidSetting) => return Err(Problems(reader.finish().0)),
        }
        Ok(self)
    }

    /// Reads the settings from the environment and, below it, the file `.env` in `dir`.
    ///
    /// # Errors
    /// Everything that is wrong, one line for each setting.
    pub fn load(dir: &Path) -> Result<Self, Problems> {
        let sources = sources::load(dir).map_err(|error| Problems(vec![error.to_string()]))?;
        Self::read(Reader::of(&sources))
    }

    /// Reads the settings from `vars`. Other names in it are ignored.
    ///
    /// # Errors
    /// Everything that is wrong, one line for each setting.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, Problems> {
        Self::read(Reader::new(vars))
    }

    fn read(mut reader: Reader) -> Result<Self, Problems> {
        let config = read(&mut reader);
        let (problems, warnings) = reader.finish();
        match config {
            Ok(config) if problems.is_empty() => Ok(Self { warnings, ..config }),
            _ => Err(Problems(problems)),
        }
    }

    /// The AppIDs of all Mini Programs, for the log.
    #[must_use]
    pub fn appids(&self) -> String {
        let appids: Vec<_> = self.mini_programs.iter().map(MiniProgram::appid).collect();
        appids.join(", ")
    }
}

/// The names of all settings.
#[must_use]
pub fn names() -> BTreeSet<&'static str> {
    let vars = BTreeMap::new();
    let mut reader = Reader::new(&vars);
    // Only the names that are read matter here.
    let _ = read(&mut reader);
    #[cfg(feature = "server")]
    let _ = server::read(&mut reader);
    reader.names_read().clone()
}

/// Reads every setting, also after a problem, so that all problems are reported.
fn read(reader: &mut Reader) -> Result<Config, InvalidSetting> {
    let mini_programs = mini_programs::read(reader);
    let api_bases = base_urls::read(reader, "WECHAT_API_BASE", DEFAULT_API_BASES);
    let proxies = match &api_bases {
        Ok(api_bases) => proxies::read(reader, api_bases),
        Err(_) => Err(InvalidSetting),
    };
    let certificates = certificates::check(reader);
    let timeout = reader.duration(
        "WECHAT_TIMEOUT",
        4 * SECOND,
        100 * MILLISECOND..=60 * SECOND,
        MILLISECOND,
    );
    let call_timeout = reader.duration(
        "WECHAT_CALL_TIMEOUT",
        15 * SECOND,
        100 * MILLISECOND..=300 * SECOND,
        MILLISECOND,
    );
    let max_in_flight = reader.number("WECHAT_MAX_IN_FLIGHT", 1024, 1..=1_000_000);
    let url = match reader
        .get("SESSION_STORE")
        .map(str::parse::<session::StoreUrl>)
    {
        None => Ok(session::StoreUrl::default()),
        Some(Ok(url)) => Ok(url),
        Some(Err(reason)) => {
            // A URL can hold a password.
            let is_shown = reader
                .get("SESSION_STORE")
                .is_some_and(|url| !url.contains([':', '@']));
            let must = store_form(reason);
            Err(if is_shown {
                reader.invalid("SESSION_STORE", &must)
            } else {
                reader.invalid_secret("SESSION_STORE", &format!("SESSION_STORE must {must}"))
            })
        }
    };
    let ttl = reader.duration("SESSION_TTL", 7 * DAY, SECOND..=MAX_TTL, SECOND);
    if let Ok(ttl) = ttl
        && ttl < SHORT_TTL
    {
        reader.warn_of_value(
            "SESSION_TTL",
            "is less than five minutes: after that users have to log in again (m is minutes, M months)",
        );
    }
    let userdata_max_age = reader.duration(
        "USERDATA_MAX_AGE",
        10 * MINUTE,
        Duration::ZERO..=3650 * DAY,
        SECOND,
    );

    certificates?;
    Ok(Config {
        mini_programs: mini_programs?,
        wechat: wechat::Settings {
            api_bases: api_bases?,
            timeout: timeout?,
            call_timeout: call_timeout?,
            max_in_flight: max_in_flight?,
            proxies: proxies?,
        },
        sessions: session::Settings {
            url: url?,
            ttl: ttl?,
        },
        userdata_max_age: Some(userdata_max_age?).filter(|age| !age.is_zero()),
        warnings: Vec::new(),
    })
}

fn store_form(reason: &str) -> String {
    format!("be file:PATH, memory:, redis://…, rediss://… or redis+cluster://host,host…: {reason}")
}

fn vars(vars: &[(&str, &str)]) -> BTreeMap<String, String> {
    let vars = vars.iter();
    vars.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
