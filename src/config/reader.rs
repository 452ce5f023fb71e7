//! Looks settings up by name, notes which were asked for, and collects what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
#[cfg(feature = "server")]
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::wechat::is_loopback;

#[cfg(feature = "server")]
/// A name that starts like this is meant for us. `SESSION_MANAGER` is X11's.
const PREFIXES: [&str; 6] = [
    "WECHAT_",
    "SESSION_",
    "USERDATA_",
    "LISTEN_",
    "METRICS_",
    "LOG_",
];
#[cfg(feature = "server")]
const FOREIGN: [&str; 1] = ["SESSION_MANAGER"];

/// A setting has no value that could be used, and the user is told why.
pub(super) struct Reported;

pub(super) struct Reader<'a> {
    vars: &'a BTreeMap<String, String>,
    asked: BTreeSet<&'static str>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(vars: &'a BTreeMap<String, String>) -> Self {
        Self {
            vars,
            asked: BTreeSet::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn asked(self) -> BTreeSet<&'static str> {
        self.asked
    }

    /// The problems and the warnings.
    pub(super) fn finish(self) -> (Vec<String>, Vec<String>) {
        (self.problems, self.warnings)
    }

    /// Warns of the names that nobody has asked for.
    #[cfg(feature = "server")]
    pub(super) fn warn_of_unknown_names(&mut self) {
        for name in self.vars.keys() {
            let ours = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            if ours && !self.asked.contains(name.as_str()) && !FOREIGN.contains(&name.as_str()) {
                self.warnings
                    .push(format!("{name} is not a setting of wxlogin"));
            }
        }
    }

    /// The trimmed value; an empty one counts as not set.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'a str> {
        self.asked.insert(name);
        let value = self.vars.get(name)?.trim();
        (!value.is_empty()).then_some(value)
    }

    pub(super) fn problem(&mut self, problem: impl Into<String>) -> Reported {
        self.problems.push(problem.into());
        Reported
    }

    /// A secret, or what is in the file that `file_name` names, trimmed.
    pub(super) fn secret_or_file(
        &mut self,
        name: &'static str,
        file_name: &'static str,
    ) -> Result<Option<SecretString>, Reported> {
        let (value, path) = (self.get(name), self.get(file_name));
        let Some(path) = path else {
            return Ok(value.map(SecretString::from));
        };
        if value.is_some() {
            return Err(self.problem(format!("{file_name} stands instead of {name}: set one")));
        }
        match fs::read_to_string(path).map(SecretString::from) {
            Ok(text) if text.expose_secret().trim().is_empty() => {
                Err(self.problem(format!("{file_name} names a file that is empty")))
            }
            Ok(text) => Ok(Some(text.expose_secret().trim().into())),
            Err(error) => Err(self.problem(format!(
                "{file_name} names a file that cannot be read: {error}"
            ))),
        }
    }

    /// A value of a type that parses itself; `form` tells what it must be.
    #[cfg(feature = "server")]
    pub(super) fn parse_optional<T: FromStr>(
        &mut self,
        name: &'static str,
        form: &str,
    ) -> Result<Option<T>, Reported> {
        match self.get(name).map(str::parse) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(self.problem(format!("{name} must be {form}"))),
        }
    }

    /// The same with a default.
    #[cfg(feature = "server")]
    pub(super) fn parse_or<T: FromStr>(
        &mut self,
        name: &'static str,
        default: T,
        form: &str,
    ) -> Result<T, Reported> {
        let value = self.parse_optional(name, form)?;
        Ok(value.unwrap_or(default))
    }

    /// A duration with a unit, such as `4s`, `10m` or `7d`.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, Reported> {
        match self.get(name).map(humantime::parse_duration) {
            None => Ok(default),
            Some(Ok(value)) if range.contains(&value) => Ok(value),
            Some(_) => Err(self.problem(format!(
                "{name} must be a duration with a unit, such as 4s or 7d, from {} to {}",
                humantime::format_duration(*range.start()),
                humantime::format_duration(*range.end()),
            ))),
        }
    }

    /// A whole number.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Result<u32, Reported> {
        match self.get(name).map(str::parse) {
            None => Ok(default),
            Some(Ok(value)) if range.contains(&value) => Ok(value),
            Some(_) => Err(self.problem(format!(
                "{name} must be a whole number from {} to {}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// Where an HTTP API begins, with alternatives after commas. The value can hold a password by
    /// mistake, so it is never repeated.
    pub(super) fn base_urls(
        &mut self,
        name: &'static str,
        default: &str,
    ) -> Result<Vec<Url>, Reported> {
        let value = self.get(name).unwrap_or(default);
        let Ok(urls) = value
            .split(',')
            .map(|url| Url::parse(url.trim()))
            .collect::<Result<Vec<_>, _>>()
        else {
            return Err(self.problem(format!("{name} must be one or more URLs such as {default}")));
        };
        if !urls.iter().all(is_http) {
            return Err(self.problem(format!("{name} must be https:// or http:// URLs")));
        }
        if !urls.iter().all(is_bare) {
            return Err(self.problem(format!("{name} must have no user name, query or fragment")));
        }
        if urls
            .iter()
            .any(|url| url.scheme() == "http" && !is_loopback(url))
        {
            self.warnings.push(format!(
                "{name} is not https: the AppSecret and every session_key cross the network in clear"
            ));
        }
        Ok(urls)
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "http") && url.host_str().is_some()
}

fn is_bare(url: &Url) -> bool {
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    !has_credentials && url.query().is_none() && url.fragment().is_none()
}
