//! Our own sessions: tokens, and the store that knows them.
//!
//! Knows neither WeChat's API, nor our HTTP interface, nor the environment.

mod embedded;
mod token;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretBox;

pub use embedded::Store;
pub use token::{Token, TokenHash};

/// Where sessions live, and how long.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `SESSION_STORE`.
    pub place: Place,
    /// `SESSION_TTL`: a session's life, fixed at login.
    pub ttl: Duration,
}

/// Where sessions live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file of one process, durable.
    File(PathBuf),
    /// In the memory of one process, gone with it.
    Memory,
}

impl Default for Place {
    fn default() -> Self {
        Self::File("wxlogin.redb".into())
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(()),
        }
    }
}

/// A user who is logged in.
#[derive(Clone)]
pub struct Session {
    /// The Mini Program.
    pub appid: String,
    /// The user in it.
    pub openid: String,
    /// The user in all apps of one Open Platform account.
    pub unionid: Option<String>,
    /// When the session began, in seconds since the Unix epoch.
    pub created: u64,
    /// When it ends, in seconds since the Unix epoch: from then on it is dead.
    pub expires: u64,
}

/// A session to be stored, with the key that came with the login.
pub struct NewSession {
    /// What the token will stand for.
    pub session: Session,
    /// WeChat's `session_key` of the user, as of this login.
    pub session_key: SecretBox<[u8; 16]>,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its directory is not accessible.
    #[error("cannot open the session store {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the file.
    #[error("the session store {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Not a store of ours, or a damaged one.
    #[error(
        "the file {} is not a session store or is damaged ({reason}); it was not used. Restore it from a backup, or move it away to start with no sessions",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A fault in the memory store.
    #[error("cannot make the session store: {0}")]
    Other(String),
}

/// The store does not answer. What was asked may or may not have happened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the session store does not answer: {0}")]
pub struct Unavailable(pub String);
