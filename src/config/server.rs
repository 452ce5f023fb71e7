//! The settings that only the binary has.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::reader::{Reader, Reported};
use super::{Config, Problems, sources};
use crate::telemetry;

/// The settings of one process, valid as a whole.
#[derive(Debug)]
pub struct ServerConfig {
    /// `LISTEN_ADDR`: the public door.
    pub listen_addr: SocketAddr,
    /// `METRICS_ADDR`: where metrics are served, if anywhere.
    pub metrics_addr: Option<SocketAddr>,
    /// What is logged, and how.
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
        let mut config = Self::from_vars(&sources.vars)?;
        config.service.warnings.extend(sources.warnings);
        Ok(config)
    }

    /// Reads the settings out of `vars`. A name in it that looks like a setting and is none is a warning.
    ///
    /// # Errors
    /// Everything that is wrong, one line for each setting.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, Problems> {
        let mut reader = Reader::new(vars);
        let service = super::read(&mut reader);
        let config = read(&mut reader);
        reader.warn_of_unknown_names();
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

/// Asks for every setting, and returns what is still to be put together with the service's.
pub(super) fn read(
    reader: &mut Reader,
) -> Result<impl FnOnce(Config) -> ServerConfig + use<>, Reported> {
    let listen_addr = reader.parse_or(
        "LISTEN_ADDR",
        SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
        "an IP address and a port, such as 127.0.0.1:3000",
    );
    let metrics_addr = reader.parse_optional(
        "METRICS_ADDR",
        "an IP address and a port, such as 127.0.0.1:9090",
    );
    if let (Ok(listen), Ok(Some(metrics))) = (&listen_addr, &metrics_addr)
        && overlap(*listen, *metrics)
    {
        let _ = reader.problem("METRICS_ADDR must be another address or port than LISTEN_ADDR");
    }
    let filter = reader.parse_or(
        "RUST_LOG",
        telemetry::Filter::default(),
        "a level such as info, or target=level pairs",
    );
    let format = reader.parse_or("LOG_FORMAT", telemetry::Format::Text, "text or json");
    let (listen_addr, metrics_addr) = (listen_addr?, metrics_addr?);
    let log = telemetry::Settings {
        filter: filter?,
        format: format?,
    };
    Ok(move |service| ServerConfig {
        listen_addr,
        metrics_addr,
        log,
        service,
    })
}

/// Whether both cannot be listened on.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_wide = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || is_wide)
}
