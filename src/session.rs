//! Sessions: tokens, encryption of `session_key`s, and the session store.
//!
//! Knows neither WeChat's API, nor our HTTP interface, nor the environment.

#[cfg(feature = "file-store")]
mod answers;
#[cfg(feature = "file-store")]
mod files;
mod logins;
mod memory;
mod redis;
mod secrets;
#[cfg(feature = "file-store")]
mod sqlite;
mod store;

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::redis::RedisUrl;
use secrets::EncryptedKey;
pub(crate) use secrets::sha256;
pub use secrets::{Encryption, SessionKey, Token};
#[cfg(feature = "file-store")]
pub use sqlite::is_ignored;
pub use store::Store;

/// How long the exchange of a code is remembered.
pub const EXCHANGE_TTL: Duration = Duration::from_secs(60);

/// How often a user's data may fail to decrypt between two logins, over all tokens of the user. A signature
/// that does not match is not counted.
///
/// Then the user's keys are of no use until the next login, which stores a new one and counts from 0: meanwhile
/// `/session/decrypt` answers `undecryptable`, `/session/verify` `bad_signature`, and `sign` fails. The sessions go on.
pub const MAX_FAILURES: u8 = 10;

/// Where sessions are stored, and their life.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `SESSION_STORE`.
    pub url: StoreUrl,
    /// `SESSION_TTL`: a session's life, fixed at login.
    pub ttl: Duration,
}

/// Where sessions are stored.
#[derive(Debug, Clone)]
pub enum StoreUrl {
    /// In a directory of files of one process, durable.
    File(PathBuf),
    /// In the memory of one process, lost when it ends.
    Memory,
    /// In a Redis or Valkey that several processes share.
    Redis(RedisUrl),
}

impl Default for StoreUrl {
    fn default() -> Self {
        Self::File("wxlogin.sessions".into())
    }
}

impl fmt::Display for StoreUrl {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Memory => f.write_str("memory:"),
            Self::Redis(url) => write!(f, "{url}"),
        }
    }
}

impl FromStr for StoreUrl {
    /// What is wrong. Holds no part of the text, which can hold a password.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text.split_once(':') {
            _ if text.contains(char::is_control) => Err("it has a control character"),
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("memory", _)) => Err("nothing follows memory:"),
            Some(("file", "")) => Err("a path follows file:"),
            Some(("file", path)) if path.starts_with("//") && !path.starts_with("///") => {
                Err("a path follows file:, and no host")
            }
            // SQLite takes file:… for a URL.
            Some(("file", path)) if path.starts_with("file:") || path.contains("://") => {
                Err("a path follows file:, and no URL")
            }
            Some(("file", path)) if path.starts_with('~') => {
                Err("~ is not replaced by a directory")
            }
            Some(("file", path)) => Ok(Self::File(path.into())),
            Some(("redis" | "rediss" | "redis+cluster" | "rediss+cluster", _)) => {
                text.parse().map(Self::Redis)
            }
            _ => Err("it begins with none of these"),
        }
    }
}

/// A user of a Mini Program who is logged in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// A number of the session that is no secret, for logs; 0 without its token, as in a list from Redis.
    #[serde(skip)]
    pub id: i64,
    /// The Mini Program.
    pub appid: String,
    /// The user in this Mini Program: 1 to 128 visible ASCII characters, case-sensitive.
    pub openid: String,
    /// The user in all apps of one WeChat Open Platform account, if WeChat sent it at the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unionid: Option<String>,
    /// When the session began, in seconds since the Unix epoch.
    pub created: u64,
    /// When it expires, in seconds since the Unix epoch: from then on it is not valid.
    pub expires: u64,
}

/// A user in a Mini Program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserId<'a> {
    /// The Mini Program.
    pub appid: &'a str,
    /// The user in this Mini Program only.
    pub openid: &'a str,
}

/// The exchange of a code, stored with its first session.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// SHA-256 of appid and code.
    pub code: [u8; 32],
    /// WeChat's `session_key` of the user.
    pub session_key: &'a SessionKey,
}

/// A seal and a session as they are stored. The default fits no token.
type Sealed = ([u8; 32], Session);

/// What is stored at a login.
struct Row {
    /// [`Token::seal`].
    seal: [u8; 32],
    session: Session,
    /// If this login exchanged its code.
    exchange: Option<EncryptedExchange>,
}

/// An exchange as it is stored.
#[derive(Clone, Copy)]
struct EncryptedExchange {
    code: [u8; 32],
    key: EncryptedKey,
}

/// An exchange of the last minute before the store was opened: SHA-256 of appid and code, and its first session.
pub type RecentExchange = ([u8; 32], Session);

impl UserId<'_> {
    /// appid, NUL, openid. NUL is in neither.
    fn to_bytes(self) -> Vec<u8> {
        [self.appid.as_bytes(), self.openid.as_bytes()].join(&0)
    }

    /// appid and openid, to keep or to send to another thread.
    pub(crate) fn to_strings(self) -> [String; 2] {
        [self.appid, self.openid].map(str::to_owned)
    }
}

impl<'a> From<&'a [String; 2]> for UserId<'a> {
    fn from([appid, openid]: &'a [String; 2]) -> Self {
        Self { appid, openid }
    }
}

impl Session {
    /// A session that begins at `created`.
    #[doc(hidden)]
    #[must_use]
    pub fn new(user: UserId<'_>, unionid: Option<String>, created: u64, ttl: Duration) -> Self {
        Self {
            id: 0,
            appid: user.appid.to_owned(),
            openid: user.openid.to_owned(),
            unionid,
            created,
            expires: created + ttl.as_secs(),
        }
    }

    /// Its user.
    #[doc(hidden)]
    #[must_use]
    pub fn user(&self) -> UserId<'_> {
        UserId {
            appid: &self.appid,
            openid: &self.openid,
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file system refused something. The source says what was tried, on which file or directory.
    #[error("the session store: {0}{meaning}", meaning = meaning(.0))]
    Io(#[from] std::io::Error),
    /// Another process has locked it.
    #[error("the session store {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Damaged, of another version, no session store at all, or not to be opened. It was not used, and is as it was.
    #[error("{0}")]
    Refused(String),
}

/// What a refusal of the file system means.
fn meaning(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            ". The directory and its files must belong to the user that wxlogin runs as"
        }
        ErrorKind::NotFound => ". The directory above it must exist",
        ErrorKind::NotADirectory => ". A file is where a directory must be: move it away",
        ErrorKind::ReadOnlyFilesystem => ". It is mounted read-only",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ". The disk is full",
        _ => "",
    }
}

/// What most methods of a store return.
pub type Result<T, E = Unavailable> = std::result::Result<T, E>;

/// The store does not answer. The operation may have been done, or not.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the session store does not answer: {0}")]
pub struct Unavailable(pub String);
