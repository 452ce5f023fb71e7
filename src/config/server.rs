//! The settings that only the binary has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::Config;
use super::reader::{Problems, Reader};
use super::sources::{self, Sources};
use crate::telemetry;
use crate::wechat::parse_path;

/// The shortest `INTERNAL_TOKEN`, in bytes.
const MIN_TOKEN_LEN: usize = 16;
/// Names of other programs that begin like ours: `SESSION_MANAGER` is X11's, the others are systemd's.
#[rustfmt::skip]
const FOREIGN_NAMES: [&str; 5] =
    ["SESSION_MANAGER", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID"];

/// The settings of the internal listener.
#[derive(Debug, Clone, Default)]
pub struct InternalConfig {
    /// `INTERNAL_TOKEN`: the tokens that are accepted. If there are none, the backend's routes do not exist.
    pub tokens: Vec<SecretString>,
    /// `INTERNAL_ACCESS_TOKEN`: whether `access_token`s are given out.
    pub gives_access_tokens: bool,
    /// `INTERNAL_WECHAT_PATHS`: the paths of WeChat's API that the backend may call.
    pub wechat_paths: Vec<String>,
}

/// The settings of one process, valid as a whole.
#[derive(Debug)]
pub struct ServerConfig {
    /// `LISTEN_ADDR`: the public listener.
    pub listen_addr: SocketAddr,
    /// `INTERNAL_ADDR`: the internal listener, if there is one.
    pub internal_addr: Option<SocketAddr>,
    /// The settings of the internal listener.
    pub internal: InternalConfig,
    /// The filter and the format of the log.
    pub log: telemetry::Settings,
    /// The login service.
    pub service: Config,
}

impl ServerConfig {
    /// Reads the settings from the environment and, below it, the file `.env` in `dir`.
    ///
    /// # Errors
    /// Everything that is wrong, one line for each setting.
    pub fn load(dir: &Path) -> Result<Self, Problems> {
        Self::read(&sources::load(dir)?)
    }

    /// Reads the settings from `vars`. A name that looks like a setting but is not one gives a warning.
    ///
    /// # Errors
    /// Everything that is wrong, one line for each setting.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, Problems> {
        Self::read(&Sources::of(vars.clone()))
    }

    fn read(sources: &Sources) -> Result<Self, Problems> {
        let mut reader = Reader::new(sources);
        let mut config = read(&mut reader);
        warn_of_unknown_names(&mut reader);
        config.service.warnings = reader.finish()?;
        Ok(config)
    }
}

/// Reads every setting.
pub(super) fn read(reader: &mut Reader) -> ServerConfig {
    let service = super::read(reader);
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 3000));
    let listen_addr = reader.parsed(
        "LISTEN_ADDR",
        default,
        "be an IP address and a port, such as 127.0.0.1:3000",
        |text| text.parse().ok(),
    );
    if reader.get_foreign(&["METRICS_ADDR"]).is_some() {
        reader.invalid_secret("METRICS_ADDR", "", "be renamed: it is INTERNAL_ADDR now");
    }
    let internal_addr = reader.parsed(
        "INTERNAL_ADDR",
        None,
        "be an IP address and a port, such as 127.0.0.1:9090",
        |text| text.parse().ok().map(Some),
    );
    // A wrong LISTEN_ADDR is told already: the default is in its place.
    let is_known = (reader.get("LISTEN_ADDR")).is_none_or(|text| text.parse() == Ok(listen_addr));
    if is_known && internal_addr.is_some_and(|addr| overlap(listen_addr, addr)) {
        let must = "be another address or port than LISTEN_ADDR";
        reader.invalid("INTERNAL_ADDR", must);
    }
    let internal = internal(reader);
    warn_of_unlikely(reader, internal_addr, &internal);
    let filter = reader.parsed(
        "RUST_LOG",
        telemetry::default_filter(),
        "be a level such as info, target=level pairs, or both, after commas and each once",
        telemetry::parse_filter,
    );
    let is_json = is_second(reader, "LOG_FORMAT", ["text", "json"]);
    ServerConfig {
        listen_addr,
        internal_addr,
        internal,
        log: telemetry::Settings { filter, is_json },
        service,
    }
}

/// Whether the value is the second of two words. The first is the default.
fn is_second(reader: &mut Reader, name: &'static str, words: [&str; 2]) -> bool {
    let must = format!("be {} or {}", words[0], words[1]);
    reader.parsed(name, false, &must, |text| {
        words.contains(&text).then_some(text == words[1])
    })
}

/// Whether the two addresses cannot both be listened on.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let [ip, other_ip] = [one, other].map(|addr| addr.ip().to_canonical());
    let is_wide = ip.is_unspecified() || other_ip.is_unspecified();
    one.port() != 0 && one.port() == other.port() && (ip == other_ip || is_wide)
}

fn internal(reader: &mut Reader) -> InternalConfig {
    let (name, text) = reader.secret_or_file("INTERNAL_TOKEN", "INTERNAL_TOKEN_FILE");
    let text = text.as_ref().map(ExposeSecret::expose_secret);
    let tokens = text.map(parse_tokens);
    if tokens.as_ref().is_some_and(Vec::is_empty) {
        reader.invalid_secret(name, text.unwrap_or_default(), &format!(
            "be {MIN_TOKEN_LEN} or more visible ASCII characters, or two different such tokens with a comma between them"
        ));
    }
    let gives_access_tokens = is_second(reader, "INTERNAL_ACCESS_TOKEN", ["off", "on"]);
    let paths = reader.get("INTERNAL_WECHAT_PATHS");
    let paths = paths.map_or(Ok(Vec::new()), |text| {
        text.split(',').map(parse_path).collect()
    });
    let wechat_paths = paths.unwrap_or_else(|must| {
        reader.invalid("INTERNAL_WECHAT_PATHS", must);
        Vec::new()
    });
    InternalConfig {
        tokens: tokens.unwrap_or_default(),
        gives_access_tokens,
        wechat_paths,
    }
}

/// One token or two; none if the text is something else.
fn parse_tokens(text: &str) -> Vec<SecretString> {
    let tokens: Vec<_> = text.split(',').map(str::trim).collect();
    let is_token = |token: &&str| {
        token.len() >= MIN_TOKEN_LEN && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let are_different = tokens.len() == 1 || (tokens.len() == 2 && tokens[0] != tokens[1]);
    if !are_different || !tokens.iter().all(is_token) {
        return Vec::new();
    }
    tokens.into_iter().map(SecretString::from).collect()
}

fn warn_of_unlikely(reader: &mut Reader, addr: Option<SocketAddr>, internal: &InternalConfig) {
    let has_token = !internal.tokens.is_empty();
    // The second socket that systemd passes is the internal one.
    let passed = reader.get_foreign(&["LISTEN_FDS"]);
    let is_passed = passed.is_some_and(|(_, count)| count == "2");
    match addr {
        None if has_token && !is_passed => {
            reader.warn(
                "INTERNAL_TOKEN is set, but not INTERNAL_ADDR: there is no internal listener",
            );
        }
        Some(addr) if !addr.ip().to_canonical().is_loopback() => {
            reader.warn(format!(
                "INTERNAL_ADDR {addr} is open to other machines, and the internal listener speaks plain HTTP: keep it in a private network"
            ));
        }
        _ => {}
    }
    let has_routes = internal.gives_access_tokens || !internal.wechat_paths.is_empty();
    if has_routes && !has_token {
        reader.warn(
            "INTERNAL_TOKEN is not set: without it INTERNAL_ACCESS_TOKEN and INTERNAL_WECHAT_PATHS have no effect",
        );
    }
}

/// Warns of names that begin like settings and were not read.
fn warn_of_unknown_names(reader: &mut Reader) {
    let ours = reader.names_read.iter().filter(|name| **name != "RUST_LOG");
    let prefixes = ours.map(|name| prefix(name)).chain([Some("METRICS")]);
    let prefixes: BTreeSet<_> = prefixes.collect();
    for name in reader.sources.vars.keys() {
        let upper_case = name.to_ascii_uppercase();
        let prefix = prefix(&upper_case);
        let is_ours = prefix.is_some() && prefixes.contains(&prefix);
        if !is_ours || reader.names_read.contains(&**name) || FOREIGN_NAMES.contains(&&**name) {
            continue;
        }
        let known = reader.names_read.get(&*upper_case);
        let known = known.map_or_else(String::new, |it| format!(", but {it} is"));
        reader.warn(format!("{name} is not a setting of wxlogin{known}"));
    }
}

fn prefix(name: &str) -> Option<&str> {
    name.split_once('_').map(|(prefix, _)| prefix)
}
