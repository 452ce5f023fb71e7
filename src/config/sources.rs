//! The sources of settings: the environment, below it a `.env` file in the working directory, and files that they
//! name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Problems;
use super::proxies_and_certificates::CERTIFICATES;

/// The size of the largest file, in bytes.
const MAX_LEN: u64 = 64 * 1024;
/// Stands for `$` while `.env` is parsed: no text has this character.
const DOLLAR: &str = "\u{e000}";

/// The settings by name, and warnings, a sentence each.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) vars: BTreeMap<String, String>,
    /// The lines of the values that come from `.env`.
    pub(super) lines: BTreeMap<String, usize>,
    /// Whether the others come from the environment, and not from the caller.
    pub(super) is_environment: bool,
    /// The directory, if there is no `.env` in it.
    pub(super) no_dotenv: Option<PathBuf>,
    pub(super) warnings: Vec<String>,
}

impl Sources {
    /// Values that the caller gives.
    pub(super) fn of(vars: BTreeMap<String, String>) -> Self {
        Self {
            vars,
            ..Self::default()
        }
    }
}

/// Merges the environment over the `.env` file in `dir`. The process' environment is not changed: setting
/// variables is unsafe in a process with threads.
pub(super) fn load(dir: &Path) -> Result<Sources, Problems> {
    let mut sources = Sources {
        is_environment: true,
        ..Sources::default()
    };
    read_dotenv(&dir.join(".env"), &mut sources)?;
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else {
            continue; // no setting of ours has such a name
        };
        match value.into_string() {
            Ok(value) if value.trim().is_empty() && !CERTIFICATES.contains(&&*name) => {
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
                return Err(Problems::one(format!("{name} is not UTF-8 text")));
            }
            // It is no proxy, no host and no path.
            Err(_) => drop(sources.vars.insert(name, "(not UTF-8)".into())),
        }
    }
    Ok(sources)
}

/// A problem holds no line of the file, which has secrets.
fn read_dotenv(path: &Path, sources: &mut Sources) -> Result<(), Problems> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let dir = path.parent().unwrap_or(path);
            sources.no_dotenv = Some(dir.canonicalize().unwrap_or_else(|_| dir.to_owned()));
            return Ok(());
        }
        Err(error) => return Err(Problems::one(format!(".env cannot be read: {error}"))),
    };
    let mode = path.metadata().map_or(0, |file| file.permissions().mode());
    if mode & 0o004 != 0 {
        let warning = ".env can be read by every user of this machine: chmod 600 .env";
        sources.warnings.push(warning.into());
    }
    // The library would replace `$` and what follows it by a variable: in a password that is a mistake.
    let text = text.replace('$', DOLLAR);
    let (mut entry, mut start) = (String::new(), 1);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if entry.is_empty() {
            start = number;
        }
        entry += line;
        match dotenvy::from_read_iter(entry.as_bytes()).next() {
            Some(Err(_)) => continue, // a quote that a later line closes, or a mistake
            Some(Ok((name, value))) => {
                let value = value.replace(DOLLAR, "$");
                let before = sources.vars.insert(name.clone(), value);
                if before.is_some_and(|before| !before.trim().is_empty()) {
                    return Err(Problems::one(format!(".env sets {name} twice")));
                }
                sources.lines.insert(name, start);
            }
            None => {} // a comment, or nothing
        }
        entry.clear();
    }
    if !entry.is_empty() {
        return Err(Problems::one(format!(
            ".env, line {start}, is not of the form NAME=value, in 'single quotes' if the value has spaces or quotes; write $, not \\$"
        )));
    }
    Ok(())
}

/// The text of a file as editors of any system write it, without a byte order mark, with `\n` at the end of lines.
/// An error holds no part of it.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_LEN + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(io::Error::other("it is larger than 64 KiB"));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(io::Error::other("it is UTF-16: save it as UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        io::Error::other(format!("line {line} is not UTF-8 text"))
    })?;
    let text = text.trim_start_matches('\u{feff}');
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}
