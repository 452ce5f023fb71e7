//! The session store in Redis or Valkey, one server or a cluster, which several processes can share.
//!
//! Every key begins with `wxlogin2:` and expires by itself:
//!
//! | key | value | expires |
//! | --- | --- | --- |
//! | `wxlogin2:session:{SHA-256 of the token}` | the token's seal and the session, JSON | with the session |
//! | `wxlogin2:exchange:{SHA-256 of appid and code}` | the first session of the code, JSON | after 60 s |
//! | `wxlogin2:keys:{{appid}:{openid}}` | a hash: `newest` and `previous` encrypted `session_key`, `failures` to decrypt user data since the last login | with the user's last session |
//! | `wxlogin2:owned:{{appid}:{openid}}` | a sorted set: which of the keys above are the user's, `session:{…}` by its end and `exchange:{…}` by minus its end, in Unix seconds | with the user's last session |
//!
//! The readiness check writes the same keys for an `{appid}` and an `{openid}` that are `check`.
//! SHA-256 is in base64url; encrypted keys are bytes as they are.

mod connection;
mod error;
mod health;
mod scripts;
mod url;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::{Cmd, FromRedisValue, RedisError, cmd};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::UserId;
use super::store::{EncryptedExchange, Row};
use super::{EXCHANGE_TTL, EncryptedKey, MAX_FAILURES, OpenError, Session, Token, Unavailable};
use crate::clock::Clock;
use connection::Connections;
use error::describe;
pub use url::{InvalidUrl, RedisUrl};

/// The longest time for an operation.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time for each answer; shorter than [`TIMEOUT`], so that the connection sees the failure and
/// is replaced.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// The store in Redis.
pub(super) struct RedisStore {
    connections: Connections,
    /// Hosts and ports, for error messages.
    address: String,
    clock: Clock,
}

impl RedisStore {
    /// Does not connect yet.
    pub(super) fn new(url: &RedisUrl, clock: Clock) -> Result<Self, OpenError> {
        let connections = Connections::new(url, ANSWER_TIMEOUT)
            .map_err(|error| OpenError::Other(describe(&error)))?;
        Ok(Self {
            connections,
            address: url.to_string(),
            clock,
        })
    }

    /// Returns `true`: no two tokens have the same key.
    pub(super) async fn create(
        &self,
        token: &Token,
        row: Row,
        exchange: Option<EncryptedExchange>,
    ) -> Result<bool, Unavailable> {
        self.log_in(&session_name(token), &row, exchange.as_ref())
            .await?;
        Ok(true)
    }

    async fn log_in(
        &self,
        name: &str,
        row: &Row,
        exchange: Option<&EncryptedExchange>,
    ) -> Result<(), Unavailable> {
        let session = &row.session;
        // From the session itself: the wall clock may have been set since it was made.
        let seconds = session.expires.saturating_sub(session.created).max(1);
        let exchange_name = exchange.map(|exchange| exchange_name(&exchange.code));
        let log_in = scripts::LogIn {
            session: name,
            seconds,
            exchange: exchange_name.as_deref().unwrap_or_default(),
            keys: exchange.map_or(&[], |exchange| &exchange.keys),
        };
        // The exchange comes last: another process that finds it must find the user's key too.
        let mut commands = vec![
            set(name, &(encode(&row.seal), session), seconds)?,
            log_in.command(session.user()),
        ];
        if let Some(name) = &exchange_name {
            commands.push(set(name, session, EXCHANGE_TTL.as_secs())?);
        }
        self.pipeline(commands).await
    }

    pub(super) async fn find(&self, token: &Token) -> Result<Option<Row>, Unavailable> {
        self.find_named(&session_name(token)).await
    }

    async fn find_named(&self, name: &str) -> Result<Option<Row>, Unavailable> {
        let Some((seal, session)) = self.get::<(String, Session)>(name).await? else {
            return Ok(None);
        };
        let mut row = Row {
            seal: [0; 32],
            session,
        };
        match URL_SAFE_NO_PAD.decode_slice(seal, &mut row.seal) {
            Ok(32) => Ok(Some(row)),
            _ => Err(self.foreign_value()),
        }
    }

    pub(super) async fn exchanged(&self, code: &[u8; 32]) -> Result<Option<Session>, Unavailable> {
        self.get(&exchange_name(code)).await
    }

    pub(super) async fn keys(&self, user: UserId<'_>) -> Result<Vec<EncryptedKey>, Unavailable> {
        type Answer = (Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>);
        let (newest, previous, failures): Answer = self.query(scripts::keys(user)).await?;
        if failures >= Some(MAX_FAILURES.into()) {
            return Ok(Vec::new());
        }
        let keys = [newest, previous].into_iter().flatten();
        Ok(keys.filter_map(encrypted_key).collect())
    }

    pub(super) async fn newest_key(
        &self,
        user: UserId<'_>,
    ) -> Result<Option<EncryptedKey>, Unavailable> {
        let newest: Option<Vec<u8>> = self.query(scripts::newest_key(user)).await?;
        Ok(newest.and_then(encrypted_key))
    }

    pub(super) async fn count_failure(&self, user: UserId<'_>) -> Result<(), Unavailable> {
        let command = scripts::count_failure(user);
        self.bounded(self.connections.query_once(command)).await
    }

    pub(super) async fn end(&self, token: &Token, session: &Session) -> Result<(), Unavailable> {
        let name = session_name(token);
        let forget = scripts::forget(session.user(), &name);
        self.pipeline(vec![Cmd::del(at(&name)), forget]).await
    }

    /// Removes the user's sessions, that of `token` last, so that a client whose request failed can repeat it.
    /// Then the user's keys, unless the user has logged in meanwhile.
    pub(super) async fn end_all(
        &self,
        user: UserId<'_>,
        token: Option<&Token>,
    ) -> Result<(), Unavailable> {
        let last = token.map(session_name);
        if self.end_owned(user, last.as_deref()).await? {
            Ok(())
        } else {
            Err(self.unavailable("the list of a user's sessions is incomplete: keys were evicted"))
        }
    }

    /// `false` if the session `last` was alive but not in the user's list: then Redis has evicted the list, and
    /// other sessions may be alive.
    async fn end_owned(&self, user: UserId<'_>, last: Option<&str>) -> Result<bool, Unavailable> {
        let owned: Vec<String> = self.query(scripts::owned(user)).await?;
        let others = owned.iter().filter(|name| Some(&***name) != last);
        let deletes: Vec<_> = others.map(|name| Cmd::del(at(name))).collect();
        if !deletes.is_empty() {
            self.pipeline(deletes).await?;
        }
        let ended: u64 = match last {
            Some(name) => self.query(Cmd::del(at(name))).await?,
            None => 0,
        };
        self.query::<()>(scripts::forget_all(user, &owned)).await?;
        Ok(ended == 0 || owned.iter().any(|name| Some(&**name) == last))
    }

    async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Unavailable> {
        let mut command = cmd("GET");
        command.arg(at(name));
        let json: Option<Vec<u8>> = self.query(command).await?;
        json.map(|json| serde_json::from_slice(&json))
            .transpose()
            .map_err(|_| self.foreign_value())
    }

    /// Sends an idempotent command.
    async fn query<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Unavailable> {
        self.bounded(self.connections.query_idempotent(command))
            .await
    }

    /// Sends idempotent commands in this order.
    async fn pipeline(&self, commands: Vec<Cmd>) -> Result<(), Unavailable> {
        self.bounded(self.connections.pipeline_idempotent(commands))
            .await
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

    fn foreign_value(&self) -> Unavailable {
        self.unavailable("a value is not of wxlogin's format")
    }

    fn unavailable(&self, cause: &str) -> Unavailable {
        Unavailable(format!("{}: {cause}", self.address))
    }
}

fn session_name(token: &Token) -> String {
    format!("session:{}", encode(&token.hash()))
}

fn exchange_name(code: &[u8; 32]) -> String {
    format!("exchange:{}", encode(code))
}

/// The key of this name.
fn at(name: &str) -> String {
    format!("wxlogin2:{name}")
}

fn set(name: &str, value: &impl Serialize, seconds: u64) -> Result<Cmd, Unavailable> {
    let json = serde_json::to_string(value).map_err(|error| Unavailable(error.to_string()))?;
    let mut command = cmd("SET");
    command.arg(at(name)).arg(json).arg("EX").arg(seconds);
    Ok(command)
}

fn encrypted_key(bytes: Vec<u8>) -> Option<EncryptedKey> {
    bytes.try_into().ok().map(EncryptedKey)
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
