//! `wxlogin check` asks WeChat about every Mini Program with a dummy code, and tries the session store.
//! `wxlogin healthcheck` requests `/healthz` of the running service.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use reqwest::StatusCode;
use reqwest::redirect::Policy;

use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::session::{Encryption, OpenError, Settings, Store, StoreUrl};
use crate::wechat::{Call, Client, Error, Meaning, MiniProgram};

/// Shorter than the timeouts of container health checks.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// A code that WeChat has never issued.
const DUMMY_CODE: &str = "wxlogin-check";

/// WeChat's answer to a call with one AppSecret of a Mini Program.
pub struct Finding {
    appid: String,
    /// The number of the AppSecret, and how many there are.
    place: (usize, usize),
    /// The call that was made.
    call: Call,
    /// `Ok` if the call succeeded, or if WeChat refused the dummy code only.
    answer: Result<(), Error>,
}

/// The findings about all Mini Programs and the session store.
pub struct Report {
    /// Settings that are unlikely to be right.
    warnings: Vec<String>,
    findings: Vec<Finding>,
    /// Notes about the session store, or its error.
    store: Result<Vec<String>, String>,
}

/// Asks WeChat once with each AppSecret, `with_token` also for an `access_token`, and writes to the
/// session store.
///
/// # Errors
/// If TLS cannot be set up.
pub async fn check(config: Config, with_token: bool) -> Result<Report, Error> {
    let client = Arc::new(Client::new(config.wechat, Clock::system())?);
    let mut findings = Vec::new();
    for program in &config.mini_programs {
        let secrets = program.secrets();
        for (place, secret) in secrets.iter().enumerate() {
            let alone = MiniProgram::new(program.appid().to_owned(), vec![secret.clone()]);
            let mut finding = |call, answer| {
                findings.push(Finding {
                    appid: program.appid().to_owned(),
                    place: (place + 1, secrets.len()),
                    call,
                    answer,
                });
            };
            finding(Call::CodeToSession, ask(&client, &alone).await);
            if with_token {
                let token = client.stable_token(&alone).await;
                finding(Call::StableToken, token.map(drop));
            }
        }
    }
    let store = check_store(&config.sessions).await;
    Ok(Report {
        warnings: config.warnings,
        findings,
        store,
    })
}

async fn check_store(settings: &Settings) -> Result<Vec<String>, String> {
    match &settings.url {
        // Not created here: it could belong to another user than the service's.
        StoreUrl::File(path) if !path.exists() => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            let path = path.display();
            if !parent.as_os_str().is_empty() && !parent.is_dir() {
                let parent = parent.display();
                return Err(format!(
                    "cannot make {path}: there is no directory {parent}"
                ));
            }
            return Ok(vec![format!(
                "{path} does not exist yet, the first start makes it"
            )]);
        }
        _ => {}
    }
    let encryption = Encryption::new([]).map_err(|error| error.to_string())?;
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let store = match Store::open(settings, encryption, Arc::new(metrics), Clock::system()) {
        Ok((store, _)) => store,
        Err(error @ OpenError::InUse(_)) => return Ok(vec![error.to_string()]),
        Err(error) => return Err(error.to_string()),
    };
    let checked = store.check().await.map_err(|error| error.to_string());
    let warnings = match checked {
        Ok(()) => Ok(store.warnings().await),
        Err(error) => Err(error),
    };
    store.close().await;
    warnings
}

async fn ask(client: &Client, mini_program: &MiniProgram) -> Result<(), Error> {
    match client.code_to_session(mini_program, DUMMY_CODE).await {
        Ok(_) => Ok(()),
        Err(error) => match error.meaning() {
            Some(Meaning::InvalidCode | Meaning::CodeUsed) => Ok(()),
            _ => Err(error),
        },
    }
}

/// Requests `/healthz` at `addr`; at the loopback address if `addr` is unspecified (`0.0.0.0` or `[::]`).
///
/// # Errors
/// What went wrong.
pub async fn health(mut addr: SocketAddr) -> Result<(), String> {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    match status(format!("http://{addr}/healthz")).await {
        Ok(StatusCode::OK) => Ok(()),
        Ok(status) => Err(format!("{addr} answers with HTTP status {status}")),
        Err(error) if error.is_timeout() => Err(format!("{addr} does not answer in time")),
        Err(error) => Err(format!("{addr} does not answer: {}", root_cause(&error))),
    }
}

async fn status(url: String) -> reqwest::Result<StatusCode> {
    let client = reqwest::Client::builder()
        .tls_certs_only([]) // plain HTTP: does not load the system's certificates
        .no_proxy()
        .redirect(Policy::none())
        .timeout(HEALTH_TIMEOUT)
        .build()?;
    Ok(client.get(url).send().await?.status())
}

fn root_cause(error: &dyn error::Error) -> &dyn error::Error {
    error.source().map_or(error, root_cause)
}

impl Report {
    /// Whether users of every Mini Program can log in: one AppSecret of each suffices, and the session
    /// store can be used.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let works = |it: &Finding| {
            let mut findings = self.findings.iter();
            findings.any(|other| {
                (&other.appid, other.call) == (&it.appid, it.call) && other.answer.is_ok()
            })
        };
        let all_work = self.findings.iter().all(works);
        all_work && self.store.is_ok()
    }
}

impl fmt::Display for Report {
    /// A line for each finding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "settings: {warning}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        match &self.store {
            Ok(notes) if notes.is_empty() => writeln!(f, "session store: all is well"),
            Ok(notes) => notes
                .iter()
                .try_for_each(|note| writeln!(f, "session store: {note}")),
            Err(error) => writeln!(f, "session store: {error}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.appid)?;
        if let (place, all @ 2..) = self.place {
            write!(f, ", AppSecret {place} of {all}")?;
        }
        if self.call == Call::StableToken {
            f.write_str(", access_token")?;
        }
        match &self.answer {
            Ok(()) => f.write_str(": all is well"),
            Err(Error::Refused(refusal)) => {
                write!(f, ": {refusal}")?;
                if let Some(at) = refusal.rid.as_ref().and_then(crate::wechat::Rid::at) {
                    write!(f, ", {at}")?;
                }
                if let Some(ip) = refusal.ip {
                    write!(f, ", this server's address {ip}")?;
                }
                match refusal.meaning() {
                    Meaning::Misconfigured(remedy) => write!(f, ": {remedy}"),
                    Meaning::QuotaExhausted => f.write_str(": the daily quota is used up"),
                    _ => Ok(()),
                }
            }
            Err(error) => write!(f, ": {error}"),
        }
    }
}
