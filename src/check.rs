//! `wxlogin check` asks WeChat about every Mini Program with a dummy code, and tries the session store;
//! `wxlogin healthcheck` requests `/healthz` of the running service.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fs, io};

use reqwest::StatusCode;
use reqwest::redirect::Policy;

use crate::clock::Clock;
use crate::config::ServerConfig;
use crate::metrics::Metrics;
use crate::server;
use crate::session::{Encryption, OpenError, Settings, Store, StoreUrl};
use crate::wechat::{Client, Error, Meaning, MiniProgram};

/// A code that WeChat has never issued.
const DUMMY_CODE: &str = "wxlogin-check";
/// Shorter than the timeouts of container health checks.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// What was found about the settings, all Mini Programs, the session store and the addresses.
pub struct Report {
    /// A line for each finding.
    pub lines: Vec<String>,
    /// Whether users of every Mini Program can log in: one AppSecret of each suffices, the session store can be
    /// used, and the addresses can be listened on.
    pub is_good: bool,
}

impl Report {
    fn add(&mut self, what: &str, found: &str) {
        self.lines.push(format!("{what}: {found}\n"));
    }

    fn add_failure(&mut self, what: &str, found: &str) {
        self.is_good = false;
        self.add(what, found);
    }
}

/// Asks WeChat once with each AppSecret, `with_token` also for an `access_token`, writes to the session store, and
/// listens on the addresses for a moment.
///
/// # Errors
/// If TLS cannot be set up.
pub async fn check(config: ServerConfig, with_token: bool) -> Result<Report, Error> {
    let mut report = Report {
        lines: Vec::new(),
        is_good: true,
    };
    let service = config.service;
    for warning in &service.warnings {
        report.add("settings", warning);
    }
    let client = Client::new(service.wechat, Clock::system(), Box::new(|_, _, _| {}))?;
    let client = Arc::new(client);
    for program in &service.mini_programs {
        check_mini_program(&client, program, with_token, &mut report).await;
    }
    match check_store(&service.sessions).await {
        Ok(notes) if notes.is_empty() => report.add("session store", "all is well"),
        Ok(notes) => notes
            .iter()
            .for_each(|note| report.add("session store", note)),
        Err(error) => report.add_failure("session store", &error.to_string()),
    }
    check_address("LISTEN_ADDR", config.listen_addr, &mut report).await;
    if let Some(addr) = config.internal_addr {
        check_address("INTERNAL_ADDR", addr, &mut report).await;
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
        let alone = program.with_secrets(vec![secret.clone()]);
        let answer = client.code_to_session(&alone, DUMMY_CODE).await.map(drop);
        let answer = answer.or_else(|error| match error.meaning() {
            Some(Meaning::InvalidCode | Meaning::CodeUsed) => Ok(()),
            _ => Err(error),
        });
        can_log_in |= answer.is_ok();
        report.add(&what, &shown(program, answer));
        if with_token {
            let answer = client.stable_token(&alone).await.map(drop);
            has_token |= answer.is_ok();
            report.add(&format!("{what}, access_token"), &shown(program, answer));
        }
    }
    report.is_good &= can_log_in && has_token;
}

/// WeChat's answer, with what the operator can do about it.
fn shown(program: &MiniProgram, answer: Result<(), Error>) -> String {
    let refusal = match answer {
        Ok(()) => return "all is well".into(),
        Err(Error::Refused(refusal)) => refusal,
        Err(error) => return error.to_string(),
    };
    let mut parts = vec![refusal.to_string()];
    parts.extend(refusal.ip.map(|ip| format!("this server's address {ip}")));
    let text = parts.join(", ");
    match refusal.meaning() {
        Meaning::Misconfigured(remedy) => format!("{text}: {}", program.remedy(remedy)),
        Meaning::QuotaExhausted => format!("{text}: the daily quota is used up"),
        _ => text,
    }
}

/// Notes about the session store, if it can be used.
async fn check_store(settings: &Settings) -> Result<Vec<String>, Box<dyn error::Error>> {
    if let StoreUrl::File(path) = &settings.url {
        let shown = path.display();
        if !path.exists() {
            let parent = path.parent().filter(|dir| *dir != Path::new(""));
            let parent = parent.unwrap_or(Path::new("."));
            try_to_make_in(parent)
                .map_err(|error| format!("cannot make {shown} in {}: {error}", parent.display()))?;
            let note = format!("{shown} does not exist yet, the first start makes it");
            return Ok(vec![note]);
        }
        if fs::read_dir(path).is_ok_and(|mut files| files.next().is_none()) {
            try_to_make_in(path).map_err(|error| format!("cannot write to {shown}: {error}"))?;
            let note = format!("{shown} is empty, the first start makes the store in it");
            return Ok(vec![note]);
        }
    }
    let encryption = Encryption::new([])?;
    let metrics = Arc::new(Metrics::new()?);
    let store = match Store::open(settings, encryption, metrics, Clock::system()) {
        Ok((store, _)) => store,
        Err(error @ OpenError::InUse(_)) => return Ok(vec![error.to_string()]),
        Err(error) => return Err(error.into()),
    };
    let notes = match store.check().await {
        Ok(()) => Ok(store.warnings().await),
        Err(error) => Err(error.into()),
    };
    store.close().await;
    notes
}

/// Makes a directory and removes it. Not the store itself: it would belong to this user, who may not be the
/// service's.
fn try_to_make_in(parent: &Path) -> io::Result<()> {
    let path = parent.join(format!(".wxlogin-check-{}", std::process::id()));
    fs::create_dir(&path)?;
    fs::remove_dir(&path)
}

async fn check_address(name: &str, addr: SocketAddr, report: &mut Report) {
    match server::listen(addr) {
        Ok(_) => report.add(name, &format!("{addr} is free")),
        // The service is running already.
        Err(_) if health(addr).await.is_ok() => {
            report.add(name, &format!("wxlogin answers at {addr}"));
        }
        Err(error) => report.add_failure(name, &error),
    }
}

/// Requests `/healthz` at `addr`. To connect to `0.0.0.0` or `[::]` is to connect to this machine.
///
/// # Errors
/// What went wrong.
pub async fn health(addr: SocketAddr) -> Result<(), String> {
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
