//! Reads settings by name, records the names that were read, and collects problems and warnings. After a problem
//! any value is returned: with a problem there is no configuration.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::DAY;
use super::sources::{self, Sources};

/// The units of durations, for the operator.
const UNITS: &str = "ms, s, m (minutes), h, d, w, M (months), y";

/// What is wrong with the settings: a line for each, none with the value of a secret.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Problems(Vec<String>);

impl Problems {
    pub(super) fn one(problem: String) -> Self {
        Self(vec![problem])
    }
}

pub(super) struct Reader<'a> {
    pub(super) sources: &'a Sources,
    pub(super) names_read: BTreeSet<&'static str>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            names_read: BTreeSet::new(),
            problems: Vec::new(),
            warnings: sources.warnings.clone(),
        }
    }

    /// The warnings, if there is no problem.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Problems> {
        self.problems.dedup(); // ALL_PROXY is read for two schemes
        if self.problems.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Problems(self.problems))
        }
    }

    /// The trimmed value; an empty one counts as not set.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'a str> {
        self.names_read.insert(name);
        let (_, value) = self.get_foreign(&[name])?;
        Some(value)
    }

    /// The first of these names that has a value, and the value. For names that are not settings of wxlogin
    /// alone: they do not count as read.
    pub(super) fn get_foreign(&self, names: &[&'static str]) -> Option<(&'static str, &'a str)> {
        let value = |name: &&'static str| Some((*name, self.sources.vars.get(*name)?.trim()));
        let mut values = names.iter().filter_map(value);
        values.find(|(_, value)| !value.is_empty())
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// The problem with a value that is not secret. It is not quoted if it could be a secret in the wrong place.
    pub(super) fn invalid(&mut self, name: &'static str, must: &str) {
        let value = self.get(name).unwrap_or_default();
        let quote = may_be_quoted(value).then(|| format!("; it is {value:?}"));
        let must = format!("{must}{}", quote.unwrap_or_default());
        self.invalid_secret(name, value, &must);
    }

    /// The problem with a value, or the part of it that is given, which may be secret.
    pub(super) fn invalid_secret(&mut self, name: &str, value: &str, must: &str) {
        let odd = odd_character(value).unwrap_or_default();
        let source = self.source(name);
        self.problem(format!("{name} must {must}{odd}{source}"));
    }

    fn source(&self, name: &str) -> String {
        match self.sources.lines.get(name) {
            Some(line) => format!(" (.env, line {line})"),
            None if self.sources.is_environment => " (environment)".into(),
            None => String::new(),
        }
    }

    /// Warns of a value that is not secret.
    pub(super) fn warn_of_value(&mut self, name: &'static str, what: &str) {
        let (value, source) = (self.get(name).unwrap_or_default(), self.source(name));
        self.warn(format!("{name} {value} {what}{source}"));
    }

    /// The problem that a setting is not there.
    pub(super) fn missing(&mut self, name: &str, what: &str) {
        let no_dotenv = match &self.sources.no_dotenv {
            Some(dir) => format!("; there is no .env in {}", dir.display()),
            None => String::new(),
        };
        self.problem(format!("{name} is not set: {what}{no_dotenv}"));
    }

    /// A secret, or the text of the file that `file_name` names, without the end of its last line; and which of the
    /// two settings it is.
    pub(super) fn secret_or_file(
        &mut self,
        name: &'static str,
        file_name: &'static str,
    ) -> (&'static str, Option<SecretString>) {
        let value = self.get(name);
        let Some(path) = self.get(file_name) else {
            return (name, value.map(SecretString::from));
        };
        if value.is_some() {
            self.problem(format!("{file_name} replaces {name}: set one of them"));
            return (file_name, None);
        }
        let problem = match sources::read_text(Path::new(path)).map(SecretString::from) {
            Ok(text) if text.expose_secret().trim().is_empty() => "is empty".into(),
            Ok(text) => return (file_name, Some(text.expose_secret().trim_end().into())),
            Err(error) => format!("cannot be read: {error}"),
        };
        let must = format!("name a file with the value: this one {problem}");
        // The path is quoted unless it could be the secret itself.
        if is_path(path) {
            self.invalid(file_name, &must);
        } else {
            self.invalid_secret(file_name, path, &must);
        }
        (file_name, None)
    }

    /// What `parse` makes of the value, or the default.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        default: T,
        must: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let Some(text) = self.get(name) else {
            return default;
        };
        parse(text).unwrap_or_else(|| {
            self.invalid(name, must);
            default
        })
    }

    /// A duration with a unit, such as `4s`, `10m` or `7d`, in whole `unit`s.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
        unit: Duration,
    ) -> Duration {
        if self.get(name).is_some_and(|text| text.ends_with('M')) {
            self.warn_of_value(name, "is in months: M is months, m minutes");
        }
        let (start, end) = (shown(*range.start()), shown(*range.end()));
        let must = format!(
            "be a duration with a unit, such as 4s or 7d, from {start} to {end}, in steps of {unit:?}; units are {UNITS}"
        );
        let is_whole = |value: &Duration| value.as_nanos().is_multiple_of(unit.as_nanos());
        self.parsed(name, default, &must, |text| {
            let value = humantime::parse_duration(text).ok()?;
            (range.contains(&value) && is_whole(&value)).then_some(value)
        })
    }
}

/// Whether it can be no secret in the wrong place: it is a path, or shorter than a token, or an AppID.
pub(super) fn may_be_quoted(value: &str) -> bool {
    let is_appid = value.starts_with("wx") && value.chars().count() <= 18;
    is_path(value) || ((value.len() < 16 || is_appid) && is_one_word(value))
}

/// Whether it is the path of a file, or looks like one and not like a token: a random one has upper-case letters.
pub(super) fn is_path(value: &str) -> bool {
    let looks_so = value.starts_with(['/', '.']) && !value.contains(char::is_uppercase);
    (looks_so && is_one_word(value)) || Path::new(value).exists()
}

/// Whether it holds neither a URL, with a password perhaps, nor lines of `.env` that a quote has swallowed.
fn is_one_word(value: &str) -> bool {
    !value.contains("://") && !value.contains(|c: char| c.is_control() || c == '@' || c == '=')
}

/// The first character that looks like another or like nothing: of full width, or invisible.
fn odd_character(value: &str) -> Option<String> {
    value.chars().find_map(|c| {
        let code = u32::from(c);
        match c {
            '\u{ff01}'..='\u{ff5e}' | '\u{3000}'..='\u{303f}' | '\u{2018}'..='\u{201d}' => Some(
                format!("; it has the full-width character {c} (U+{code:04X})"),
            ),
            '\u{a0}'
            | '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{2060}'
            | '\u{feff}' => Some(format!("; it has the invisible character U+{code:04X}")),
            _ => None,
        }
    })
}

/// A duration in one unit, as in the documentation.
fn shown(duration: Duration) -> String {
    match (duration.as_millis(), DAY.as_millis()) {
        (0, _) => "0s".into(),
        (all, day) if all.is_multiple_of(day) => format!("{}d", all / day),
        _ => format!("{duration:?}"),
    }
}
