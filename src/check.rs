//! `wxlogin check` asks WeChat about every Mini Program with a dummy code, and tries the session store.

mod health;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs};

pub use health::health;

use crate::clock::Clock;
use crate::config::ServerConfig;
use crate::metrics::Metrics;
use crate::server;
use crate::session::{Encryption, OpenError, Settings, Store, StoreUrl};
use crate::wechat::{Call, Client, Error, Meaning, MiniProgram};

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

/// The findings about all Mini Programs, the session store and the addresses.
pub struct Report {
    /// Settings that are unlikely to be right.
    warnings: Vec<String>,
    findings: Vec<Finding>,
    /// Notes about the session store, or its error.
    store: Result<Vec<String>, String>,
    /// Whether each address can be listened on, by the name of its setting.
    addresses: Vec<(&'static str, Result<String, String>)>,
}

/// Asks WeChat once with each AppSecret, `with_token` also for an `access_token`, writes to the session store, and
/// listens on the addresses for a moment.
///
/// # Errors
/// If TLS cannot be set up.
pub async fn check(config: ServerConfig, with_token: bool) -> Result<Report, Error> {
    let mut addresses = vec![("LISTEN_ADDR", check_address(config.listen_addr).await)];
    if let Some(addr) = config.internal_addr {
        addresses.push(("INTERNAL_ADDR", check_address(addr).await));
    }
    let config = config.service;
    let client = Arc::new(Client::new(
        config.wechat,
        Clock::system(),
        Box::new(|_, _, _| {}),
    )?);
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
        addresses,
    })
}

async fn check_address(addr: SocketAddr) -> Result<String, String> {
    match server::listen(addr) {
        Ok(_) => Ok(format!("{addr} is free")),
        // The service is running already.
        Err(_) if health(addr).await.is_ok() => Ok(format!("wxlogin answers at {addr}")),
        Err(error) => Err(error),
    }
}

async fn check_store(settings: &Settings) -> Result<Vec<String>, String> {
    match &settings.url {
        StoreUrl::File(path) if !path.exists() => {
            try_to_make(path)?;
            let path = path.display();
            return Ok(vec![format!(
                "{path} does not exist yet, the first start makes it"
            )]);
        }
        StoreUrl::File(path) if is_empty(path) => {
            try_to_make(&path.join("sessions.sqlite"))?;
            let path = path.display();
            return Ok(vec![format!(
                "{path} is empty, the first start makes the store in it"
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

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut files| files.next().is_none())
}

/// Makes another directory beside it, and removes it: the store's own would belong to this user, who may not be the
/// service's.
fn try_to_make(path: &Path) -> Result<(), String> {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let (path, shown) = (path.display(), parent.display());
    if !parent.is_dir() {
        let what = if parent.exists() {
            format!("{shown} is a file, not a directory")
        } else {
            format!("there is no directory {shown}")
        };
        return Err(format!("cannot make {path}: {what}"));
    }
    let other = parent.join(format!(".wxlogin-check-{}", std::process::id()));
    let made = fs::create_dir(&other).and_then(|()| fs::remove_dir(&other));
    made.map_err(|error| format!("cannot make {path} in {shown}: {error}"))
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

impl Report {
    /// Whether users of every Mini Program can log in: one AppSecret of each suffices, the session store can be
    /// used, and the addresses can be listened on.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let works = |it: &Finding| {
            let mut findings = self.findings.iter();
            findings.any(|other| {
                (&other.appid, other.call) == (&it.appid, it.call) && other.answer.is_ok()
            })
        };
        let all_work = self.findings.iter().all(works);
        let mut addresses = self.addresses.iter();
        all_work && self.store.is_ok() && addresses.all(|(_, address)| address.is_ok())
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
        }?;
        self.addresses.iter().try_for_each(|(name, address)| {
            let said = address.as_ref().unwrap_or_else(|error| error);
            writeln!(f, "{name}: {said}")
        })
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
