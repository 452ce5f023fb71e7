//! Every setting of the service, read from a map of names and values: all problems are reported at
//! once, by name, and never with the value of a secret.

mod base_urls;
mod mini_programs;
mod proxies_and_certificates;
mod reader;
#[cfg(feature = "server")]
mod server;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

pub use reader::Problems;
#[cfg(feature = "server")]
pub use server::{InternalConfig, ServerConfig};

use crate::wechat::MiniProgram;
use crate::{session, wechat};
use reader::Reader;
use sources::Sources;

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
        Self::from_vars(&BTreeMap::from([
            ("WECHAT_APPID".to_owned(), appid.to_owned()),
            ("WECHAT_SECRET".to_owned(), secret.to_owned()),
        ]))
    }

    /// Another Mini Program, or a second AppSecret of the same one while it is being changed.
    ///
    /// # Errors
    /// [`Problems`]: these cannot be an AppID and its AppSecret.
    pub fn with_mini_program(mut self, appid: &str, secret: &str) -> Result<Self, Problems> {
        let other = Self::new(appid, secret)?;
        self.warnings.extend(other.warnings);
        for program in other.mini_programs {
            let mut known = self.mini_programs.iter_mut();
            match known.find(|known| known.appid() == appid) {
                Some(known) => {
                    *known =
                        known.with_other_secrets([known.secrets(), program.secrets()].concat());
                }
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
            Problems::one(format!("SESSION_STORE must {}", store_form(reason)))
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
        let vars = [("WECHAT_API_BASE".to_owned(), api_base.to_owned())];
        let sources = Sources::of(vars.into());
        let mut reader = Reader::new(&sources);
        self.wechat.api_bases = base_urls::read(&mut reader);
        self.warnings.extend(reader.finish()?);
        Ok(self)
    }

    /// Reads the settings from the environment and, below it, the file `.env` in `dir`.
    ///
    /// # Errors
    /// Everything that is wrong, one line for each setting.
    pub fn load(dir: &Path) -> Result<Self, Problems> {
        Self::read(&sources::load(dir)?)
    }

    /// Reads the settings from `vars`. Other names in it are ignored.
    ///
    /// # Errors
    /// Everything that is wrong, one line for each setting.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, Problems> {
        Self::read(&Sources::of(vars.clone()))
    }

    fn read(sources: &Sources) -> Result<Self, Problems> {
        let mut reader = Reader::new(sources);
        let config = read(&mut reader);
        let warnings = reader.finish()?;
        Ok(Self { warnings, ..config })
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
    let sources = Sources::default();
    let mut reader = Reader::new(&sources);
    // Only the names that are read matter here.
    #[cfg(feature = "server")]
    let _ = server::read(&mut reader);
    #[cfg(not(feature = "server"))]
    let _ = read(&mut reader);
    reader.names_read
}

/// Reads every setting, also after a problem, so that all problems are reported.
fn read(reader: &mut Reader) -> Config {
    let mini_programs = mini_programs::read(reader);
    let api_bases = base_urls::read(reader);
    let proxies = proxies_and_certificates::read_proxies(reader, &api_bases);
    proxies_and_certificates::check_certificates(reader);
    let (min, ms) = (100 * MILLISECOND, MILLISECOND);
    let wechat = wechat::Settings {
        api_bases,
        timeout: reader.duration("WECHAT_TIMEOUT", 4 * SECOND, min..=60 * SECOND, ms),
        call_timeout: reader.duration("WECHAT_CALL_TIMEOUT", 15 * SECOND, min..=300 * SECOND, ms),
        max_in_flight: reader.parsed(
            "WECHAT_MAX_IN_FLIGHT",
            1024,
            "be a whole number from 1 to 1000000",
            |text| text.parse().ok().filter(|it| (1..=1_000_000).contains(it)),
        ),
        proxies,
    };
    let store = reader.get("SESSION_STORE");
    let url = store.map_or(Ok(session::StoreUrl::default()), str::parse);
    let url = url.unwrap_or_else(|reason| {
        let (text, must) = (store.unwrap_or_default(), store_form(reason));
        reader.invalid_secret("SESSION_STORE", text, &must); // it can hold a password
        session::StoreUrl::default()
    });
    let ttl = reader.duration("SESSION_TTL", 7 * DAY, SECOND..=MAX_TTL, SECOND);
    if ttl < SHORT_TTL {
        reader.warn_of_value(
            "SESSION_TTL",
            "is less than five minutes: after that users have to log in again (m is minutes, M months)",
        );
    }
    let ages = Duration::ZERO..=3650 * DAY;
    let userdata_max_age = reader.duration("USERDATA_MAX_AGE", 10 * MINUTE, ages, SECOND);
    Config {
        mini_programs,
        wechat,
        sessions: session::Settings { url, ttl },
        userdata_max_age: Some(userdata_max_age).filter(|age| !age.is_zero()),
        warnings: Vec::new(),
    }
}

fn store_form(reason: &str) -> String {
    format!("be file:PATH, memory:, redis://…, rediss://… or redis+cluster://host,host…: {reason}")
}
