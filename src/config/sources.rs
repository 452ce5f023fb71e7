//! Where settings come from: the environment and, below it, a `.env` file in the working directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Why the settings could not even be collected. Holds no line of the file: it is full of secrets.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// `.env` is there but not readable, or not UTF-8.
    #[error(".env cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// A line of `.env` is not `NAME=value`.
    #[error("in .env, the {0} is not of the form NAME=value")]
    BadLine(String),
    /// An environment variable holds something else than text.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
}

/// The environment over the `.env` file in `dir`. The environment itself is left as it is: setting
/// variables is not safe in a process with threads.
///
/// # Errors
/// A file that cannot be read, or a value that is not text.
pub fn load(dir: &Path) -> Result<BTreeMap<String, String>, SourceError> {
    let mut vars = BTreeMap::new();
    read_file(&dir.join(".env"), &mut vars)?;
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else {
            continue; // no setting of ours has such a name
        };
        match value.into_string() {
            Ok(value) if value.trim().is_empty() => {} // not set
            Ok(value) => {
                vars.insert(name, value);
            }
            Err(_) if super::names().contains(name.as_str()) => {
                return Err(SourceError::NotText(name));
            }
            Err(_) => {}
        }
    }
    Ok(vars)
}

fn read_file(path: &Path, vars: &mut BTreeMap<String, String>) -> Result<(), SourceError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SourceError::Unreadable(error)),
    };
    let text = text.trim_start_matches('\u{feff}'); // editors on Windows begin with it
    let mut last = None;
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, value) = line.map_err(|error| without_content(error, last.as_deref()))?;
        last = Some(name.clone());
        vars.insert(name, value);
    }
    Ok(())
}

fn without_content(error: dotenvy::Error, last: Option<&str>) -> SourceError {
    match error {
        dotenvy::Error::Io(error) => SourceError::Unreadable(error),
        _ => SourceError::BadLine(match last {
            Some(name) => format!("line after {name}"),
            None => "first line".to_owned(),
        }),
    }
}
