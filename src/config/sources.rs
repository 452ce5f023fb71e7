//! The sources of settings: the environment and, below it, a `.env` file in the working directory.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::certificates;
use super::text_file::{self, TextFileError};

/// The settings by name, and warnings, a sentence each.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) vars: BTreeMap<String, String>,
    /// The lines of the values that come from `.env`.
    pub(super) lines: BTreeMap<String, usize>,
    /// The directory, if there is no `.env` in it.
    pub(super) no_dotenv: Option<PathBuf>,
    pub(super) warnings: Vec<String>,
}

/// Why the settings could not be collected. Holds no line of the file, which has secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error(".env cannot be read: {0}")]
    Unreadable(TextFileError),
    #[error(
        ".env, line {0}, is not of the form NAME=value, in 'single quotes' if the value has spaces, quotes or $"
    )]
    BadLine(usize),
    #[error(".env sets {0} twice")]
    Twice(String),
    #[error("{0} is not UTF-8 text")]
    NotText(String),
}

/// Merges the environment over the `.env` file in `dir`. The process' environment is not changed: setting
/// variables is unsafe in a process with threads.
pub(super) fn load(dir: &Path) -> Result<Sources, SourceError> {
    let mut sources = Sources::default();
    read_dotenv(&dir.join(".env"), &mut sources)?;
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else {
            continue; // no setting of ours has such a name
        };
        match value.into_string() {
            Ok(value) if value.trim().is_empty() && !certificates::NAMES.contains(&&*name) => {
                if let Some(line) = sources.lines.get(&name) {
                    sources.warnings.push(format!(
                        "{name} is empty in the environment, which counts as not set: the value of .env, line {line}, is used"
                    ));
                }
            }
            Ok(value) => {
                sources.lines.remove(&name);
                sources.vars.insert(name, value);
            }
            Err(_) if super::names().contains(name.as_str()) => {
                return Err(SourceError::NotText(name));
            }
            Err(_) => {}
        }
    }
    Ok(sources)
}

fn read_dotenv(path: &Path, sources: &mut Sources) -> Result<(), SourceError> {
    let text = match text_file::read(path) {
        Ok(text) => text,
        Err(TextFileError::Io(error)) if error.kind() == ErrorKind::NotFound => {
            let dir = path.parent().unwrap_or(path);
            sources.no_dotenv = Some(dir.canonicalize().unwrap_or_else(|_| dir.to_owned()));
            return Ok(());
        }
        Err(error) => return Err(SourceError::Unreadable(error)),
    };
    let is_public = |mode: u32| mode & 0o004 != 0;
    if path
        .metadata()
        .is_ok_and(|file| is_public(file.permissions().mode()))
    {
        sources
            .warnings
            .push(".env can be read by every user of this machine: chmod 600 .env".to_owned());
    }
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = line.map_err(|_| SourceError::BadLine(first_bad_line(&text)))?;
        let before = sources.vars.insert(name.clone(), value);
        if before.is_some_and(|before| !before.trim().is_empty()) {
            return Err(SourceError::Twice(name));
        }
        if let Some(line) = line_of(&name, &text) {
            sources.lines.insert(name, line);
        }
    }
    warn_of_replaced_parts(&text, sources);
    Ok(())
}

/// The number of the last line that sets a name.
fn line_of(name: &str, text: &str) -> Option<usize> {
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| sets(line))
        .map(|(number, _)| number)
        .last()
}

/// The number of the line after the longest well-formed beginning.
fn first_bad_line(text: &str) -> usize {
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let is_well_formed = |count: &usize| {
        let beginning = lines[..*count].concat();
        dotenvy::from_read_iter(beginning.as_bytes()).all(|line| line.is_ok())
    };
    1 + (0..lines.len()).rev().find(is_well_formed).unwrap_or(0)
}

/// Outside of single quotes, `$` and what follows it is replaced by a variable: in a password that is a mistake.
fn warn_of_replaced_parts(text: &str, sources: &mut Sources) {
    const DOLLAR: &str = "\u{e000}";
    let kept = text.replace('$', DOLLAR);
    for (name, value) in dotenvy::from_read_iter(kept.as_bytes()).flatten() {
        if sources
            .vars
            .get(&name)
            .is_some_and(|read| *read != value.replace(DOLLAR, "$"))
        {
            sources.warnings.push(format!(
                ".env: in the value of {name}, $ and what follows it was replaced by a variable; in single quotes it is kept"
            ));
        }
    }
}
