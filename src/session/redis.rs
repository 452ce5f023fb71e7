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
mod keys;
mod url;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, RedisError, SetExpiry, SetOptions, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thread_local::ThreadLocal;

use super::{
    EXCHANGE_TTL, EncryptedExchange, EncryptedKey, MAX_FAILURES, Result, Row, Sealed, Session,
    Token, Unavailable, UserId,
};
use connection::{Connection, MIN_AGE_TO_REPLACE};
use error::describe;
use keys::{
    COUNT_FAILURE, FORGET_ALL, LOG_IN, NEWEST_KEY, at, exchange_name, keys_at, owned_at, script,
    session_name,
};
pub use url::RedisUrl;

/// The longest time for an operation; longer than for an answer, so that the cause is seen.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How many sessions of a user are ended at a time: in a cluster one after the other, within [`TIMEOUT`].
const MAX_ENDED: usize = 200;

/// The store in Redis.
pub(super) struct RedisStore {
    url: RedisUrl,
    connections: ThreadLocal<Mutex<Option<Connection>>>,
}

impl RedisStore {
    /// Does not connect yet.
    pub(super) fn new(url: RedisUrl) -> Self {
        let connections = ThreadLocal::new();
        Self { url, connections }
    }

    /// Returns `true`: no two tokens have the same key.
    pub(super) async fn create(&self, token: &Token, row: Row) -> Result<bool> {
        let (name, session) = (session_name(token), &row.session);
        // From the session itself: the wall clock may have been set since it was made.
        let seconds = session.expires.saturating_sub(session.created).max(1);
        let store = set(&name, &(URL_SAFE_NO_PAD.encode(row.seal), session), seconds)?;
        let mut log_in = script(LOG_IN, session.user());
        log_in.arg(&name).arg(seconds);
        let commands = match row.exchange {
            Some(EncryptedExchange { code, key }) => {
                let (name, seconds) = (exchange_name(&code), EXCHANGE_TTL.as_secs());
                log_in.arg(&name).arg(seconds).arg(&key.0[..]);
                // The exchange comes last: another process that finds it must find the user's key too.
                vec![store, log_in, set(&name, session, seconds)?]
            }
            None => vec![store, log_in],
        };
        self.run(&commands).await?;
        Ok(true)
    }

    pub(super) async fn find(&self, token: &Token) -> Result<Option<Sealed>> {
        let stored: Option<(String, Session)> = self.get(&session_name(token)).await?;
        let Some((seal, session)) = stored else {
            return Ok(None);
        };
        let seal = URL_SAFE_NO_PAD.decode(seal).ok();
        let seal = seal.and_then(|seal| seal.try_into().ok());
        Ok(Some((seal.ok_or_else(|| self.foreign_value())?, session)))
    }

    pub(super) async fn exchanged(&self, code: &[u8; 32]) -> Result<Option<Session>> {
        self.get(&exchange_name(code)).await
    }

    pub(super) async fn keys(&self, user: UserId<'_>) -> Result<Vec<EncryptedKey>> {
        type Answer = (Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>);
        let command = Cmd::hmget(keys_at(user), &["newest", "previous", "failures"]);
        let (newest, previous, failures): Answer = self.query(command).await?;
        if failures >= Some(MAX_FAILURES.into()) {
            return Ok(Vec::new());
        }
        let keys = [newest, previous].into_iter().flatten();
        Ok(keys.filter_map(encrypted_key).collect())
    }

    pub(super) async fn newest_key(&self, user: UserId<'_>) -> Result<Option<EncryptedKey>> {
        let command = script(NEWEST_KEY, user).arg(MAX_FAILURES).take();
        let newest: Option<Vec<u8>> = self.query(command).await?;
        Ok(newest.and_then(encrypted_key))
    }

    pub(super) async fn list(&self, user: UserId<'_>) -> Result<Vec<Session>> {
        let (owned, mut found) = (self.owned(user).await?, Vec::new());
        for name in owned.iter().filter(|it| it.starts_with("session:")) {
            let stored: Option<(String, Session)> = self.get(name).await?;
            found.extend(stored.map(|(_, session)| session));
        }
        Ok(found)
    }

    /// May count a failure twice, if the connection is closed meanwhile.
    pub(super) async fn count_failure(&self, user: UserId<'_>) -> Result<()> {
        self.query(script(COUNT_FAILURE, user).arg(MAX_FAILURES).take())
            .await
    }

    pub(super) async fn end(&self, token: &Token, session: &Session) -> Result<()> {
        let name = session_name(token);
        let forget = Cmd::zrem(owned_at(session.user()), &name);
        self.run(&[Cmd::del(at(&name)), forget]).await?;
        Ok(())
    }

    /// Removes the user's sessions, that of `token` last, so that a client whose request failed can repeat it.
    /// Then the user's keys, unless the user has logged in meanwhile.
    pub(super) async fn end_all(&self, user: UserId<'_>, token: Option<&Token>) -> Result<()> {
        let last = token.map(session_name);
        let forget = |names: &[String]| script(FORGET_ALL, user).arg(names).take();
        // Exchanges before sessions: another process that stores a further session looks for its exchange afterwards.
        let owned = self.owned(user).await?;
        for name in owned.iter().filter(|it| it.starts_with("exchange:")) {
            self.query::<()>(Cmd::del(at(name))).await?;
        }
        let owned = self.owned(user).await?;
        let is_last = |name: &String| Some(name) == last.as_ref();
        let (last_of_all, others): (Vec<_>, Vec<_>) = owned.into_iter().partition(is_last);
        for names in others.chunks(MAX_ENDED) {
            let mut commands: Vec<_> = names.iter().map(|name| Cmd::del(at(name))).collect();
            commands.push(forget(names));
            self.run(&commands).await?;
        }
        let ended: u64 = match &last {
            Some(name) => self.query(Cmd::del(at(name))).await?,
            None => 0,
        };
        self.query::<()>(forget(&last_of_all)).await?;
        // Then Redis has evicted the list, and other sessions may be alive.
        if ended > 0 && last_of_all.is_empty() {
            let cause = "the list of a user's sessions is incomplete: keys were evicted";
            return Err(self.unavailable(cause));
        }
        Ok(())
    }

    /// The names of the user's sessions and exchanges.
    async fn owned(&self, user: UserId<'_>) -> Result<Vec<String>> {
        self.query(Cmd::zrange(owned_at(user), 0, -1)).await
    }

    async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let json: Option<Vec<u8>> = self.query(Cmd::get(at(name))).await?;
        let value = json.map(|json| serde_json::from_slice(&json));
        value.transpose().map_err(|_| self.foreign_value())
    }

    async fn query<T: FromRedisValue>(&self, command: Cmd) -> Result<T> {
        self.answer(self.run(&[command]).await?)
    }

    /// Sends commands in this order, twice if the connection is closed meanwhile.
    async fn run(&self, commands: &[Cmd]) -> Result<Vec<Value>> {
        self.bounded(self.send(commands), commands).await
    }

    async fn bounded<T>(
        &self,
        answer: impl Future<Output = Result<T, RedisError>>,
        commands: &[Cmd],
    ) -> Result<T> {
        let cause = match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => describe(&error, commands),
            Err(_) => "no answer in time".to_owned(),
        };
        // The library reconnects after some errors only, and not when a primary was demoted, a host stopped answering,
        // or a password was refused. A new connection of this thread looks up the name again.
        drop(self.link(MIN_AGE_TO_REPLACE));
        Err(self.unavailable(&cause))
    }

    /// The last of the values.
    fn answer<T: FromRedisValue>(&self, mut values: Vec<Value>) -> Result<T> {
        let value = values.pop().unwrap_or(Value::Nil);
        redis::from_redis_value(value).map_err(|_| self.foreign_value())
    }

    fn foreign_value(&self) -> Unavailable {
        self.unavailable("a value is not of wxlogin's format")
    }

    fn unavailable(&self, cause: &str) -> Unavailable {
        Unavailable(format!("{}: {cause}", self.url))
    }
}

fn set(name: &str, value: &impl Serialize, seconds: u64) -> Result<Cmd> {
    let json = serde_json::to_string(value).map_err(|error| Unavailable(error.to_string()))?;
    let options = SetOptions::default().with_expiration(SetExpiry::EX(seconds));
    Ok(Cmd::set_options(at(name), json, options))
}

fn encrypted_key(bytes: Vec<u8>) -> Option<EncryptedKey> {
    bytes.try_into().ok().map(EncryptedKey)
}
