//! The settings that only the binary has.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::reader::{InvalidSetting, Reader};
use super::{Config, Problems, sources, unknown_names};
use crate::telemetry;
use crate::wechat::parse_path;

/// The shortest `INTERNAL_TOKEN`, in bytes.
const MIN_TOKEN_LEN: usize = 16;

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
        let sources = sources::load(dir).map_err(|error| Problems(vec![error.to_string()]))?;
        Self::read(Reader::of(&sources))
    }

    /// Reads the settings from `vars`. A name that looks like a setting but is not one gives a warning.
    ///
    /// # Errors
    /// Everything that is wrong, one line for each setting.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, Problems> {
        Self::read(Reader::new(vars))
    }

    fn read(mut reader: Reader) -> Result<Self, Problems> {
        let service = super::read(&mut reader);
        let config = read(&mut reader);
        unknown_names::warn(&mut reader);
        let (problems, warnings) = reader.finish();
        match (config, service) {
            (Ok(config), Ok(service)) if problems.is_empty() => Ok(config(Config {
                warnings,
                ..service
            })),
            _ => Err(Problems(problems)),
        }
    }
}

/// Reads every setting, and returns a function that adds those of the service.
pub(super) fn read(
    reader: &mut Reader,
) -> Result<impl FnOnce(Config) -> ServerConfig + use<>, InvalidSetting> {
    let listen_addr = reader.parse_or(
        "LISTEN_ADDR",
        SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
        "an IP address and a port, such as 127.0.0.1:3000",
    );
    let internal_addr = internal_addr(reader);
    if let (Ok(listen), Ok(Some(internal))) = (&listen_addr, &internal_addr)
        && overlap(*listen, *internal)
    {
        let _ = reader.invalid(
            "INTERNAL_ADDR",
            "be another address or port than LISTEN_ADDR",
        );
    }
    let internal = internal(reader);
    if let (Ok(addr), Ok(internal)) = (&internal_addr, &internal) {
        warn_of_unlikely_values(reader, *addr, internal);
    }
    let filter = reader.parse_or(
        "RUST_LOG",
        telemetry::Filter::default(),
        "a level such as info, or target=level pairs",
    );
    let format = reader.parse_or("LOG_FORMAT", telemetry::Format::Text, "text or json");
    let (listen_addr, internal_addr) = (listen_addr?, internal_addr?);
    let internal = internal?;
    let log = telemetry::Settings {
        filter: filter?,
        format: format?,
    };
    Ok(move |service| ServerConfig {
        listen_addr,
        internal_addr,
        internal,
        log,
        service,
    })
}

fn internal_addr(reader: &mut Reader) -> Result<Option<SocketAddr>, InvalidSetting> {
    if reader.get_foreign(&["METRICS_ADDR"]).is_some() {
        return Err(reader.problem("METRICS_ADDR must be renamed: it is INTERNAL_ADDR now"));
    }
    reader.parse_optional(
        "INTERNAL_ADDR",
        "an IP address and a port, such as 127.0.0.1:9090",
    )
}

fn internal(reader: &mut Reader) -> Result<InternalConfig, InvalidSetting> {
    let tokens = reader.secret_or_file("INTERNAL_TOKEN", "INTERNAL_TOKEN_FILE");
    let gives_access_tokens = match reader.get("INTERNAL_ACCESS_TOKEN") {
        None | Some("off") => Ok(false),
        Some("on") => Ok(true),
        Some(_) => Err(reader.invalid("INTERNAL_ACCESS_TOKEN", "be on or off")),
    };
    let wechat_paths = reader
        .get("INTERNAL_WECHAT_PATHS")
        .map(|text| text.split(','));
    let wechat_paths = wechat_paths.into_iter().flatten().map(parse_path);
    let wechat_paths = wechat_paths.collect::<Result<_, _>>();
    let wechat_paths = wechat_paths.map_err(|must| reader.invalid("INTERNAL_WECHAT_PATHS", must));
    let tokens = match tokens? {
        None => Vec::new(),
        Some(text) => internal_tokens(text.expose_secret()).ok_or_else(|| {
            reader.invalid_secret("INTERNAL_TOKEN", &format!(
                "INTERNAL_TOKEN must be {MIN_TOKEN_LEN} or more visible ASCII characters, or two different such tokens with a comma between them"
            ))
        })?,
    };
    Ok(InternalConfig {
        tokens,
        gives_access_tokens: gives_access_tokens?,
        wechat_paths: wechat_paths?,
    })
}

fn internal_tokens(text: &str) -> Option<Vec<SecretString>> {
    let tokens: Vec<_> = text.split(',').map(str::trim).collect();
    let is_token = |token: &&str| {
        token.len() >= MIN_TOKEN_LEN && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let are_tokens = tokens.iter().all(is_token);
    let are_different = tokens.len() == 1 || (tokens.len() == 2 && tokens[0] != tokens[1]);
    (are_tokens && are_different).then(|| tokens.into_iter().map(SecretString::from).collect())
}

fn warn_of_unlikely_values(
    reader: &mut Reader,
    addr: Option<SocketAddr>,
    internal: &InternalConfig,
) {
    let has_token = !internal.tokens.is_empty();
    // The second socket that systemd passes is the internal one.
    let passed = reader.get_foreign(&["LISTEN_FDS"]);
    let is_passed = passed.is_some_and(|(_, count)| count == "2");
    match addr {
        None if has_token && !is_passed => {
            reader.warning(
                "INTERNAL_TOKEN is set, but not INTERNAL_ADDR: there is no internal listener"
                    .into(),
            );
        }
        Some(addr) if !addr.ip().to_canonical().is_loopback() => {
            let served = if has_token {
                "keep it in a private network"
            } else {
                "without INTERNAL_TOKEN it serves metrics and probes only"
            };
            reader.warning(format!(
                "INTERNAL_ADDR {addr} is open to other machines, and the internal listener speaks plain HTTP: {served}"
            ));
        }
        _ => {}
    }
    if !internal.wechat_paths.is_empty() && !has_token {
        reader.warning("INTERNAL_WECHAT_PATHS is set, but INTERNAL_TOKEN is not: no calls are passed through to WeChat".into());
    }
    if internal.gives_access_tokens && !has_token {
        reader.warning("INTERNAL_ACCESS_TOKEN is on, but INTERNAL_TOKEN is not set: access_tokens are not given out".into());
    }
}

/// Whether the two addresses cannot both be listened on.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_wide = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || is_wide)
}
