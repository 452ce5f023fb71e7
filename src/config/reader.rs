//! Reads settings by name, records the names that were read, and collects problems and warnings.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
#[cfg(feature = "server")]
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::sources::Sources;
use super::{shown, text_file};

/// The units of durations, for the operator.
const UNITS: &str = "ms, s, m (minutes), h, d, w, M (months), y";

/// The setting has no valid value. The problem is in [`Reader::finish`]'s list.
pub(super) struct InvalidSetting;

pub(super) struct Reader<'a> {
    vars: &'a BTreeMap<String, String>,
    /// Where the values come from, if they do not come from the caller.
    sources: Option<&'a Sources>,
    names_read: BTreeSet<&'static str>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(vars: &'a BTreeMap<String, String>) -> Self {
        Self {
            vars,
            sources: None,
            names_read: BTreeSet::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn of(sources: &'a Sources) -> Self {
        Self {
            sources: Some(sources),
            warnings: sources.warnings.clone(),
            ..Self::new(&sources.vars)
        }
    }

    pub(super) fn names_read(&self) -> &BTreeSet<&'static str> {
        &self.names_read
    }

    #[cfg(feature = "server")]
    pub(super) fn names_given(&self) -> impl Iterator<Item = &'a String> + use<'a> {
        self.vars.keys()
    }

    /// The problems and the warnings.
    pub(super) fn finish(self) -> (Vec<String>, Vec<String>) {
        (self.problems, self.warnings)
    }

    /// The trimmed value; an empty one counts as not set.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'a str> {
        self.names_read.insert(name);
        let value = self.vars.get(name)?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// The first of these names that has a value, and the value. For names that are not settings of wxlogin
    /// alone: they do not count as read.
    pub(super) fn get_foreign(&self, names: &[&'static str]) -> Option<(&'static str, &'a str)> {
        let mut values = names
            .iter()
            .filter_map(|name| Some((*name, self.vars.get(*name)?.trim())));
        values.find(|(_, value)| !value.is_empty())
    }

    /// The value of a variable that a library reads too, also an empty one, and whether it is in `.env`.
    pub(super) fn library_variable(&self, name: &str) -> Option<(&'a str, bool)> {
        let value = self.vars.get(name)?;
        let is_in_dotenv = self.sources.is_some_and(|it| it.lines.contains_key(name));
        Some((value, is_in_dotenv))
    }

    pub(super) fn warning(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Warns of a value that is not secret.
    pub(super) fn warn_of_value(&mut self, name: &'static str, what: &str) {
        let value = self.vars.get(name).map_or("", |value| value.trim());
        let source = self.source(name);
        self.warnings.push(format!("{name} {value} {what}{source}"));
    }

    pub(super) fn problem(&mut self, problem: impl Into<String>) -> InvalidSetting {
        self.problems.push(problem.into());
        InvalidSetting
    }

    /// The problem with a value that is not secret.
    pub(super) fn invalid(&mut self, name: &'static str, must: &str) -> InvalidSetting {
        let value = self.vars.get(name).map_or("", |value| value.trim());
        let shown = shown::value(value);
        let told = format!("{name} must {must}{shown}");
        self.invalid_secret(name, &told)
    }

    /// The problem with a value that may be secret: `told`, a character that does not belong there, and the source.
    pub(super) fn invalid_secret(&mut self, name: &str, told: &str) -> InvalidSetting {
        let odd = self
            .vars
            .get(name)
            .and_then(|value| shown::odd_character(value));
        let odd = odd.map_or_else(String::new, |odd| format!("; it has {odd}"));
        let source = self.source(name);
        self.problem(format!("{told}{odd}{source}"))
    }

    fn source(&self, name: &str) -> String {
        match self.sources.map(|sources| sources.lines.get(name)) {
            Some(Some(line)) => format!(" (.env, line {line})"),
            Some(None) => " (environment)".into(),
            None => String::new(),
        }
    }

    /// What to add to the problem that a setting is missing.
    pub(super) fn missing_dotenv(&self) -> String {
        let dir = self.sources.and_then(|sources| sources.no_dotenv.as_ref());
        dir.map_or_else(String::new, |dir| {
            format!("; there is no .env in {}", dir.display())
        })
    }

    /// A secret, or the text of the file that `file_name` names, without the end of its last line.
    pub(super) fn secret_or_file(
        &mut self,
        name: &'static str,
        file_name: &'static str,
    ) -> Result<Option<SecretString>, InvalidSetting> {
        let (value, path) = (self.get(name), self.get(file_name));
        let Some(path) = path else {
            return Ok(value.map(SecretString::from));
        };
        if value.is_some() {
            return Err(self.problem(format!("{file_name} stands instead of {name}: set one")));
        }
        // The path is not shown if it could be a secret, which has neither of these characters.
        let shown = if path.contains(['/', '.']) {
            path
        } else {
            "a file"
        };
        match text_file::read(Path::new(path)).map(SecretString::from) {
            Ok(text) if text.expose_secret().trim().is_empty() => {
                Err(self.problem(format!("{file_name} names {shown}, which is empty")))
            }
            Ok(text) => Ok(Some(text.expose_secret().trim_end().into())),
            Err(error) => Err(self.problem(format!(
                "{file_name} names {shown}, which cannot be read: {error}"
            ))),
        }
    }

    /// An optional value that parses; `form` describes it in the problem.
    #[cfg(feature = "server")]
    pub(super) fn parse_optional<T: FromStr>(
        &mut self,
        name: &'static str,
        form: &str,
    ) -> Result<Option<T>, InvalidSetting> {
        match self.get(name).map(str::parse) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(self.invalid(name, &format!("be {form}"))),
        }
    }

    /// The same with a default.
    #[cfg(feature = "server")]
    pub(super) fn parse_or<T: FromStr>(
        &mut self,
        name: &'static str,
        default: T,
        form: &str,
    ) -> Result<T, InvalidSetting> {
        let value = self.parse_optional(name, form)?;
        Ok(value.unwrap_or(default))
    }

    /// A duration with a unit, such as `4s`, `10m` or `7d`, in whole `unit`s.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
        unit: Duration,
    ) -> Result<Duration, InvalidSetting> {
        let text = self.get(name).unwrap_or_default();
        let months = text.strip_suffix('M').map(str::trim_end);
        if months.is_some_and(|count| count.ends_with(|c: char| c.is_ascii_digit())) {
            self.warn_of_value(name, "is in months: M is months, m minutes");
        }
        let is_whole = |value: Duration| value.as_nanos().is_multiple_of(unit.as_nanos());
        match self.get(name).map(humantime::parse_duration) {
            None => Ok(default),
            Some(Ok(value)) if range.contains(&value) && is_whole(value) => Ok(value),
            Some(_) => {
                let (start, end) = (
                    shown::duration(*range.start()),
                    shown::duration(*range.end()),
                );
                let unit = if unit.as_secs() == 1 {
                    "seconds"
                } else {
                    "milliseconds"
                };
                Err(self.invalid(
                    name,
                    &format!("be a duration with a unit, such as 4s or 7d, from {start} to {end}, in whole {unit}; units are {UNITS}"),
                ))
            }
        }
    }

    /// A whole number.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> Result<u32, InvalidSetting> {
        match self.get(name).map(str::parse) {
            None => Ok(default),
            Some(Ok(value)) if range.contains(&value) => Ok(value),
            Some(_) => {
                let (start, end) = (range.start(), range.end());
                Err(self.invalid(name, &format!("be a whole number from {start} to {end}")))
            }
        }
    }
}
