//! Our own sessions: tokens, and the store that knows them.
//!
//! Knows neither WeChat's API, nor our HTTP interface, nor the environment.

mod embedded;
mod redis;
mod token;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretBox;
use serde::{Deserialize, Serialize};

pub use self::redis::{Address, BadAddress};
use crate::clock::Clock;
pub use token::{Token, TokenHash};

/// How long the outcome of an exchange is remembered.
pub const EXCHANGE_TTL: Duration = Duration::from_secs(60);

/// Where sessions live, and how long.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `SESSION_STORE`.
    pub place: Place,
    /// `SESSION_TTL`: a session's life, fixed at login.
    pub ttl: Duration,
}

/// Where sessions live.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file of one process, durable.
    File(PathBuf),
    /// In the memory of one process, gone with it.
    Memory,
    /// In a Redis or Valkey that several processes share.
    Redis(Address),
}

impl Default for Place {
    fn default() -> Self {
        Self::File("wxlogin.redb".into())
    }
}

impl FromStr for Place {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => text.parse().map(Self::Redis),
        }
    }
}

/// Sessions by the hash of their token, users, and what codes were exchanged for. Cheap to clone.
#[derive(Clone)]
pub enum Store {
    /// In this process.
    Embedded(embedded::Store),
    /// On the network.
    Redis(redis::Store),
}

impl Store {
    /// Opens the store at `place`. One on the network is not connected to yet: it may come later.
    ///
    /// # Errors
    /// [`OpenError`]; a file is then left as it is.
    pub fn open(place: &Place, clock: Clock) -> Result<Self, OpenError> {
        match place {
            Place::File(path) => embedded::Store::file(path, clock).map(Self::Embedded),
            Place::Memory => embedded::Store::memory(clock).map(Self::Embedded),
            Place::Redis(address) => redis::Store::new(address, clock).map(Self::Redis),
        }
    }

    /// Whether other processes use it too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// Stores a session under its token, and what came with it; durable, as far as the store is,
    /// when this returns.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn create(&self, new: NewSession) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.create(new).await,
            Self::Redis(store) => store.create(new).await,
        }
    }

    /// The living session of a token.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn find(&self, token: TokenHash) -> Result<Option<Session>, Unavailable> {
        match self {
            Self::Embedded(store) => store.find(token),
            Self::Redis(store) => store.find(token).await,
        }
    }

    /// Whom a code was exchanged for in the last minute.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn exchanged(&self, exchange: ExchangeHash) -> Result<Option<User>, Unavailable> {
        match self {
            Self::Embedded(store) => store.exchanged(exchange),
            Self::Redis(store) => store.exchanged(exchange).await,
        }
    }

    /// Ends the session of a token. A token without a session is no error.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn end(&self, token: TokenHash) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.end(token).await,
            Self::Redis(store) => store.end(token).await,
        }
    }

    /// Makes sure that the store answers and can be written to.
    ///
    /// # Errors
    /// If not.
    pub async fn check(&self) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.check().await,
            Self::Redis(store) => store.check().await,
        }
    }

    /// Finishes what waits, and closes a file so that it needs no repair when it is opened again.
    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Redis(_) => {}
        }
    }
}

/// A user who is logged in.
#[derive(Clone, Serialize, Deserialize)]
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

/// Whom WeChat named.
#[derive(Clone, Serialize, Deserialize)]
pub struct User {
    /// The user in the Mini Program.
    pub openid: String,
    /// The user in all apps of one Open Platform account.
    pub unionid: Option<String>,
}

/// Names the exchange of a code without telling the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExchangeHash(pub [u8; 32]);

/// A session to be stored.
pub struct NewSession {
    /// Names its token.
    pub token: TokenHash,
    /// What the token will stand for.
    pub session: Session,
    /// The exchange that it comes from, unless that is stored already.
    pub exchange: Option<Exchange>,
}

/// What WeChat gave for a code, beside the user.
pub struct Exchange {
    /// Names the exchange.
    pub hash: ExchangeHash,
    /// WeChat's `session_key` of the user, as of this login.
    pub session_key: Arc<SecretBox<[u8; 16]>>,
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
    /// A fault that has nothing to do with a file.
    #[error("cannot set up the session store: {0}")]
    Other(String),
}

/// The store does not answer. What was asked may or may not have happened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the session store does not answer: {0}")]
pub struct Unavailable(pub String);
