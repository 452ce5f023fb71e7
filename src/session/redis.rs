//! The session store in Redis or Valkey, one server or a cluster, which several processes can share.
//!
//! Every key begins with `wxlogin:` and expires by itself:
//!
//! | key | value | expires |
//! | --- | --- | --- |
//! | `wxlogin:session:{SHA-256 of the token's secret}` | the session, JSON | with the session |
//! | `wxlogin:keys:{{appid}:{openid}}` | a hash: `newest` and `previous` encrypted `session_key`, `failures` to decrypt user data since the last login | with the user's last session |
//! | `wxlogin:tokens:{{appid}:{openid}}` | a sorted set: the SHA-256 of the secrets of the user's tokens, by expiry, in seconds since the first of them began | with the user's last session |
//! | `wxlogin:exchange:{SHA-256 of appid and code}` | the user, JSON | after 60 s |
//!
//! The readiness check writes the same keys for an `{appid}` and an `{openid}` that are `check`.
//! SHA-256 is in base64url; encrypted keys are bytes as they are.

mod connection;
mod error;
mod health;
mod scripts;
mod url;
mod user;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::{Cmd, RedisError, cmd};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    EXCHANGE_TTL, EncryptedKey, ExchangeHash, MAX_FAILURES, OpenError, Record, Session, TokenHash,
    TokenId, Unavailable, User, UserId,
};
use crate::clock::Clock;
use connection::Connection;
use error::describe;
pub use url::{InvalidUrl, RedisUrl};

const SESSION: &str = "wxlogin:session:";
/// The longest time for an operation.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time for each answer; shorter than [`TIMEOUT`], so that the connection sees the failure and
/// is replaced.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// The store in Redis.
#[derive(Clone)]
pub struct Store {
    connection: Connection,
    /// Hosts and ports, for error messages.
    address: Arc<str>,
    clock: Clock,
}

impl Store {
    /// Does not connect yet.
    pub(super) fn new(url: &RedisUrl, clock: Clock) -> Result<Self, OpenError> {
        let connection = Connection::new(url, ANSWER_TIMEOUT)
            .map_err(|error| OpenError::Other(describe(&error)))?;
        Ok(Self {
            connection,
            address: url.to_string().into(),
            clock,
        })
    }

    /// Stores a session. Its token needs no selector.
    pub(super) async fn create(&self, new: Record<'_>) -> Result<Option<[u8; 8]>, Unavailable> {
        let session = new.session;
        // From the session itself: the wall clock may have been set since it was made.
        let left = session.expires.saturating_sub(session.created).max(1);
        let keys = new.exchange.as_ref().map(|exchange| &*exchange.keys);
        let log_in = scripts::LogIn {
            token: new.token,
            seconds: left,
            keys: keys.unwrap_or_default(),
        };
        // The exchange comes last: a replica that finds it must find the user's key too.
        let mut commands = vec![
            set(&session_at(new.token), &json(session)?, left),
            log_in.command(&session.user),
        ];
        if let Some(exchange) = &new.exchange {
            let user = User {
                openid: session.user.openid.clone(),
                unionid: session.unionid.clone(),
            };
            let key = exchange_at(exchange.hash);
            commands.push(set(&key, &json(&user)?, EXCHANGE_TTL.as_secs()));
        }
        self.bounded(self.connection.pipeline_idempotent(commands))
            .await?;
        Ok(None)
    }

    pub(super) async fn find(&self, token: TokenId) -> Result<Option<Session>, Unavailable> {
        let session: Option<Session> = self.get(&session_at(token.hash)).await?;
        Ok(session.filter(|session| self.clock.now() < session.expires))
    }

    pub(super) async fn exchanged(&self, hash: ExchangeHash) -> Result<Option<User>, Unavailable> {
        self.get(&exchange_at(hash)).await
    }

    pub(super) async fn keys(&self, user: &UserId) -> Result<Vec<Vec<u8>>, Unavailable> {
        self.stored_keys(self.connection.query_idempotent(scripts::keys(user)))
            .await
    }

    /// Counts a failure in advance, and returns the keys if that many failures are allowed. There is no row
    /// number in Redis.
    pub(super) async fn begin_attempt(
        &self,
        user: &UserId,
    ) -> Result<(Vec<Vec<u8>>, Option<i64>), Unavailable> {
        let keys = self.stored_keys(self.connection.query_once(scripts::begin_attempt(user)));
        Ok((keys.await?, None))
    }

    async fn stored_keys(
        &self,
        answer: impl Future<Output = Result<Vec<Option<Vec<u8>>>, RedisError>>,
    ) -> Result<Vec<Vec<u8>>, Unavailable> {
        let keys = self.bounded(answer).await?;
        Ok(keys.into_iter().flatten().collect())
    }

    pub(super) async fn end_attempt(
        &self,
        user: &UserId,
        _: Option<i64>,
        failed: bool,
    ) -> Result<(), Unavailable> {
        let command = scripts::end_attempt(user, failed);
        self.bounded(self.connection.query_once(command)).await
    }

    pub(super) async fn end(&self, token: TokenId) -> Result<(), Unavailable> {
        let command = Cmd::del(session_at(token.hash));
        self.bounded(self.connection.query_idempotent(command))
            .await
    }

    /// Does nothing: the connections end with the process.
    #[expect(clippy::unused_async, reason = "the interface of both backends")]
    pub(super) async fn close(&self) {}

    async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Unavailable> {
        let mut command = cmd("GET");
        command.arg(key);
        let json: Option<Vec<u8>> = self
            .bounded(self.connection.query_idempotent(command))
            .await?;
        json.map(|json| serde_json::from_slice(&json))
            .transpose()
            .map_err(|_| self.unavailable("a value is not of wxlogin's format"))
    }

    async fn bounded<T>(
        &self,
        answer: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Unavailable> {
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(result) => result.map_err(|error| self.unavailable(&describe(&error))),
            Err(_) => Err(self.unavailable("no answer in time")),
        }
    }

    fn unavailable(&self, cause: &str) -> Unavailable {
        Unavailable(format!("{}: {cause}", self.address))
    }
}

fn session_at(token: TokenHash) -> String {
    format!("{SESSION}{}", encode(&token.0))
}

fn exchange_at(exchange: ExchangeHash) -> String {
    format!("wxlogin:exchange:{}", encode(&exchange.0))
}

fn set(key: &str, value: &str, seconds: u64) -> Cmd {
    let mut command = cmd("SET");
    command.arg(key).arg(value).arg("EX").arg(seconds);
    command
}

fn json(value: &impl Serialize) -> Result<String, Unavailable> {
    serde_json::to_string(value).map_err(|error| Unavailable(error.to_string()))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
