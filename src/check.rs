//! `wxlogin check` asks WeChat about every Mini Program with a dummy code, and tries the session store;
//! `wxlogin healthcheck` requests `/healthz` of the running service.

use std::error::Error;
use std::net::SocketAddr;
#[cfg(feature = "file-store")]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "file-store")]
use fs_err as fs;
use reqwest::header::SERVER;
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};

use crate::app::StartError;
use crate::clock::Clock;
use crate::config::ServerConfig;
use crate::metrics::Metrics;
use crate::server;
use crate::session::{Encryption, OpenError, Settings, Store};
#[cfg(feature = "file-store")]
use crate::session::{StoreUrl, is_ignored};
use crate::wechat::{self, Client, Meaning, MiniProgram};

/// A code that WeChat has never issued.
const DUMMY_CODE: &str = "wxlogin-check";
/// Shorter than the timeouts of container health checks.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// What was found about the settings, all Mini Programs, the session store and the addresses.
pub struct Report {
    /// A line for each finding.
    pub text: String,
    /// Whether users of every Mini Program can log in: one AppSecret of each suffices, the session store can be
    /// used, and the addresses can be listened on.
    pub is_good: bool,
}

impl Report {
    /// Adds a line. An error is one that a start would fail with; what WeChat says of one AppSecret is none.
    fn add(&mut self, what: &str, found: Result<String, Box<dyn Error>>) {
        self.is_good &= found.is_ok();
        let found = found.unwrap_or_else(|error| error.to_string());
        self.text.extend([what, ": ", &found, "\n"]);
    }
}

/// Asks WeChat once with each AppSecret, `with_token` also for an `access_token`, writes to the session store, and
/// listens on the addresses for a moment.
///
/// # Errors
/// If the system refuses a signal handler, or TLS cannot be set up.
pub async fn check(config: ServerConfig, with_token: bool) -> Result<Report, String> {
    server::writes_fail_at_limits().map_err(|error| error.to_string())?;
    let mut report = Report {
        text: String::new(),
        is_good: true,
    };
    let service = config.service;
    for warning in service.warnings {
        report.add("settings", Ok(warning));
    }
    let client = Client::new(service.wechat, Clock::system(), Box::new(|_, _, _| {}));
    let client = Arc::new(client.map_err(|error| StartError::Wechat(error).to_string())?);
    for program in &service.mini_programs {
        check_mini_program(&client, program, with_token, &mut report).await;
    }
    report.add("session store", check_store(&service.sessions).await);
    report.add("LISTEN_ADDR", check_address(config.listen_addr).await);
    if let Some(addr) = config.internal_addr {
        report.add("INTERNAL_ADDR", check_address(addr).await);
    }
    Ok(report)
}

async fn check_mini_program(
    client: &Arc<Client>,
    program: &MiniProgram,
    with_token: bool,
    report: &mut Report,
) {
    let (mut can_log_in, mut has_token) = (false, !with_token);
    let count = program.secrets().len();
    for (number, secret) in (1..).zip(program.secrets()) {
        let appid = program.appid();
        let what = match count {
            1 => appid.to_owned(),
            _ => format!("{appid}, AppSecret {number} of {count}"),
        };
        let alone = program.with_other_secrets(vec![secret.clone()]);
        let answer = client.code_to_session(&alone, DUMMY_CODE).await.map(drop);
        let answer = answer.or_else(|error| match error.meaning() {
            Some(Meaning::InvalidCode | Meaning::CodeUsed) => Ok(()),
            _ => Err(error),
        });
        can_log_in |= answer.is_ok();
        report.add(&what, Ok(shown(program, answer)));
        if with_token {
            let answer = client.stable_token(&alone).await.map(drop);
            has_token |= answer.is_ok();
            let what = format!("{what}, access_token");
            report.add(&what, Ok(shown(program, answer)));
        }
    }
    report.is_good &= can_log_in && has_token;
}

/// WeChat's answer, with what the operator can do about it.
fn shown(program: &MiniProgram, answer: Result<(), wechat::Error>) -> String {
    let refusal = match answer {
        Ok(()) => return "all is well".into(),
        Err(wechat::Error::Refused(refusal)) => refusal,
        Err(error) => return error.to_string(),
    };
    let ip = refusal.ip.map(|ip| format!(", this server's address {ip}"));
    let text = format!("{refusal}{}", ip.unwrap_or_default());
    match refusal.meaning() {
        Meaning::Misconfigured(remedy) => format!("{text}: {}", program.remedy(remedy)),
        Meaning::QuotaExhausted => format!("{text}: the daily quota is used up"),
        _ => text,
    }
}

async fn check_store(settings: &Settings) -> Result<String, Box<dyn Error>> {
    #[cfg(feature = "file-store")]
    if let StoreUrl::File(path) = &settings.url
        && let Some(trial) = trial(path)?
    {
        // Not the store itself: it would belong to this user, who may not be the service's.
        fs::create_dir(&trial).map_err(OpenError::Io)?;
        let url = StoreUrl::File(trial.clone());
        let made = try_store(&Settings { url, ..*settings }).await;
        let removed = fs::remove_dir_all(&trial);
        made?;
        removed?;
        return Ok(format!("the first start makes {}", settings.url));
    }
    try_store(settings).await
}

/// Where the store can be tried if the first start makes one: beside its directory, or in it if that is empty.
#[cfg(feature = "file-store")]
fn trial(path: &Path) -> Result<Option<PathBuf>, OpenError> {
    // What begins like this does not hinder a start: `is_ignored`.
    let name = format!(".wxlogin-check-{}", Clock::system().wall().as_nanos());
    let is_ours = |file: fs::DirEntry| is_ignored(&file.file_name());
    match fs::read_dir(path).map(|mut files| files.all(|file| file.is_ok_and(is_ours))) {
        Ok(true) => {
            // A start sets the mode too, which only the owner can.
            fs::set_permissions(path, fs::metadata(path)?.permissions())?;
            Ok(Some(path.join(name)))
        }
        // A symbolic link can lead to nothing.
        Err(_) if matches!(path.try_exists(), Ok(false)) && !path.is_symlink() => {
            Ok(Some(Path::new(".").join(path).with_file_name(name)))
        }
        _ => Ok(None),
    }
}

async fn try_store(settings: &Settings) -> Result<String, Box<dyn Error>> {
    let metrics = Arc::new(Metrics::new()?);
    let store = match Store::open(settings, Encryption::new([])?, metrics, Clock::system()) {
        Ok((store, _)) => store,
        Err(error @ OpenError::InUse(_)) => return Ok(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    let checked = store.check().await;
    let warnings = store.warnings().await;
    store.close().await;
    checked?;
    Ok(match &*warnings {
        [] => "all is well".into(),
        _ => warnings.join("; "),
    })
}

async fn check_address(addr: SocketAddr) -> Result<String, Box<dyn Error>> {
    match server::listen(addr) {
        Ok(_) => Ok(format!("{addr} is free")),
        // The service is running already.
        Err(_) if health(addr).await.is_ok() => Ok(format!("wxlogin answers at {addr}")),
        Err(error) => Err(error.into()),
    }
}

/// Requests `/healthz` at `addr`. To connect to `0.0.0.0` or `[::]` is to connect to this machine.
///
/// # Errors
/// What went wrong.
pub async fn health(addr: SocketAddr) -> Result<(), String> {
    let client = reqwest::Client::builder()
        .tls_certs_only([]) // plain HTTP: does not load the system's certificates
        .no_proxy()
        .redirect(Policy::none())
        .timeout(HEALTH_TIMEOUT)
        .build();
    let answered = async { client?.get(format!("http://{addr}/healthz")).send().await };
    let is_ours = |it: &Response| it.headers().get(SERVER).is_some_and(|it| it == "wxlogin");
    match answered.await.map(|it| (it.status(), is_ours(&it))) {
        Ok((StatusCode::OK, true)) => Ok(()),
        Ok((StatusCode::OK, false)) => Err(format!("{addr} answers, but is not wxlogin")),
        Ok((status, _)) => Err(format!("{addr} answers with HTTP status {status}")),
        Err(error) => Err(format!("{addr} does not answer: {}", root_cause(&error))),
    }
}

fn root_cause(error: &dyn Error) -> &dyn Error {
    error.source().map_or(error, root_cause)
}
