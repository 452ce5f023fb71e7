//! One interface to all stores: makes tokens, encrypts and decrypts keys, counts and measures. Its methods fail if the
//! store does not answer.
#![allow(clippy::missing_errors_doc)]

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use secrecy::ExposeSecret;

use super::logins;
use super::memory::MemoryStore;
use super::redis::RedisStore;
#[cfg(feature = "file-store")]
use super::sqlite::SqliteStore;
use super::{
    EncryptedExchange, Encryption, Exchange, OpenError, RecentExchange, Result, Row, Session,
    SessionKey, Settings, StoreUrl, Token, Unavailable, UserId,
};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// How often a token is made anew because its id is taken.
const MAX_TOKENS: usize = 8;
const MAX_KEYS: usize = 2;

/// The session store.
pub struct Store {
    adapter: Adapter,
    encryption: Encryption,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// The three stores. They have the same methods, but for what a user's logins say, which Redis finds out itself.
enum Adapter {
    Memory(MemoryStore),
    #[cfg(feature = "file-store")]
    Sqlite(Box<SqliteStore>),
    Redis(Box<RedisStore>),
}

/// Calls a method of the adapter, and counts and times it under its name. A function of `logins` gets what the adapter
/// finds of a user; Redis has a method of that name.
macro_rules! call {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        call!($self.$method, store, store.$method($($argument),*), store.$method($($argument),*))
    };
    ($self:ident.logins::$method:ident($user:expr)) => {
        call!($self.$method, store, store.search($user, $self.clock.now(), logins::$method), store.$method($user))
    };
    ($self:ident.$method:ident, $store:ident, $here:expr, $in_redis:expr) => {{
        let begin = Instant::now();
        let result = match &$self.adapter {
            Adapter::Memory($store) => Ok($here),
            #[cfg(feature = "file-store")]
            Adapter::Sqlite($store) => $here.await,
            // Boxed: its futures are large, and many logins wait for WeChat at a time.
            Adapter::Redis($store) => Box::pin($in_redis).await,
        };
        $self.metrics.store_operation(stringify!($method), begin.elapsed(), result.is_err());
        result
    }};
}

impl Store {
    /// Opens a session store. One on the network is not connected to yet: it may come up later. Returns also the
    /// exchanges of the last minute, which a restart must not forget.
    ///
    /// # Errors
    /// [`OpenError`]; what is there is then left as it is.
    pub fn open(
        settings: &Settings,
        encryption: Encryption,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<(Self, Vec<RecentExchange>), OpenError> {
        #[cfg_attr(not(feature = "file-store"), expect(unused_mut))]
        let mut recent = Vec::new();
        let adapter = match &settings.url {
            StoreUrl::Memory => Adapter::Memory(MemoryStore::new(&metrics, clock.clone())),
            #[cfg(feature = "file-store")]
            StoreUrl::File(path) => {
                let store;
                (store, recent) = SqliteStore::open(path, &metrics, clock.clone())?;
                Adapter::Sqlite(Box::new(store))
            }
            #[cfg(not(feature = "file-store"))]
            StoreUrl::File(_) => return Err(OpenError::Refused("this build keeps no sessions in files (feature file-store): set SESSION_STORE to memory: or a redis:// URL".into())),
            StoreUrl::Redis(url) => Adapter::Redis(Box::new(RedisStore::new(url.clone()))),
        };
        let store = Self {
            adapter,
            encryption,
            metrics,
            clock,
        };
        Ok((store, recent))
    }

    /// Whether other processes can use the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.adapter, Adapter::Redis(_))
    }

    /// Stores a session, the first one of an exchange with it, and returns the token to give out. The session is
    /// durable, as far as the store is, when this returns.
    pub async fn create(&self, session: &Session, exchange: Option<Exchange<'_>>) -> Result<Token> {
        let encrypt = |Exchange { code, session_key }| {
            let key = self.encryption.encrypt(session.user(), session_key);
            let key = key.map_err(|_| Unavailable("a key cannot be encrypted".into()))?;
            Ok::<_, Unavailable>(EncryptedExchange { code, key })
        };
        let exchange = exchange.map(encrypt).transpose()?;
        for _ in 0..MAX_TOKENS {
            let token = Token::generate(self.clock.wall())?;
            let row = Row {
                seal: token.seal(session),
                session: session.clone(),
                exchange,
            };
            if call!(self.create(&token, row))? {
                self.metrics.sessions_opened.inc();
                return Ok(token);
            }
        }
        Err(Unavailable("no free id for a session".into()))
    }

    /// The valid session of a token.
    pub async fn find(&self, token: &Token) -> Result<Option<Session>> {
        let Some((seal, session)) = call!(self.find(token))? else {
            return Ok(None);
        };
        if seal != token.seal(&session) {
            let misfits = self.metrics.store_damage.with_label_values(&["row"]);
            misfits.inc();
            if misfits.get() == 1 {
                tracing::warn!(
                    "a session does not fit its token: somebody altered the token, or the disk the session"
                );
            }
            return Ok(None);
        }
        let id = token.id();
        let session = Session { id, ..session };
        Ok(Some(session).filter(|session| self.clock.now() < session.expires))
    }

    /// The first session of a code that was exchanged in the last minute, if another process may have done it.
    pub async fn exchanged(&self, code: &[u8; 32]) -> Result<Option<Session>> {
        let Adapter::Redis(store) = &self.adapter else {
            return Ok(None);
        };
        let (begin, metrics) = (Instant::now(), &self.metrics);
        let result = Box::pin(store.exchanged(code)).await;
        metrics.store_operation("exchanged", begin.elapsed(), result.is_err());
        result
    }

    /// The two newest `session_key`s of a user, the newest first; none after [`MAX_FAILURES`](super::MAX_FAILURES)
    /// failures.
    pub async fn keys(&self, user: UserId<'_>) -> Result<Vec<SessionKey>> {
        // The same key may be stored several times, encrypted with different AppSecrets.
        let mut keys: Vec<SessionKey> = Vec::with_capacity(MAX_KEYS);
        let stored = call!(self.logins::keys(user))?;
        for key in (stored.iter()).filter_map(|key| self.encryption.decrypt(user, key)) {
            let is_same = |known: &SessionKey| known.expose_secret() == key.expose_secret();
            if keys.len() < MAX_KEYS && !keys.iter().any(is_same) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// The user's newest `session_key`, if the user has a valid session and the key can be decrypted. An older
    /// one is never returned in its place: WeChat knows the newest alone.
    pub async fn newest_key(&self, user: UserId<'_>) -> Result<Option<SessionKey>> {
        let stored = call!(self.logins::newest_key(user))?;
        Ok(stored.and_then(|key| self.encryption.decrypt(user, &key)))
    }

    /// The same, if it can be found at once; after `None` there may still be one.
    #[cfg_attr(not(feature = "file-store"), expect(unused_variables))]
    pub fn recent_key(&self, user: UserId<'_>) -> Result<Option<SessionKey>> {
        #[cfg(feature = "file-store")]
        if let Adapter::Sqlite(store) = &self.adapter {
            let begin = Instant::now();
            let stored = store.recent_key(user, self.clock.now());
            let (passed, failed) = (begin.elapsed(), stored.is_err());
            self.metrics.store_operation("newest_key", passed, failed);
            return Ok(stored?.and_then(|key| self.encryption.decrypt(user, &key)));
        }
        Ok(None)
    }

    /// The user's valid sessions, the newest first.
    pub async fn list(&self, user: UserId<'_>) -> Result<Vec<Session>> {
        let (mut sessions, now) = (call!(self.logins::list(user))?, self.clock.now());
        sessions.retain(|session| now < session.expires);
        sessions.sort_by_key(|session| Reverse(session.created));
        Ok(sessions)
    }

    /// Counts a failed decryption of the user's data since the last login.
    pub async fn count_failure(&self, user: UserId<'_>) -> Result<()> {
        call!(self.count_failure(user))
    }

    /// Ends the session of a token, which [`find`](Self::find) has returned.
    pub async fn end(&self, token: &Token, session: &Session) -> Result<()> {
        call!(self.end(token, session))?;
        self.metrics.sessions_ended.inc();
        Ok(())
    }

    /// Ends all sessions that the user has now, and that of `token`, and drops the user's keys.
    pub async fn end_all(&self, user: UserId<'_>, token: Option<&Token>) -> Result<()> {
        call!(self.end_all(user, token))?;
        self.metrics.sessions_ended.inc();
        Ok(())
    }

    /// Checks that the store answers and can be written to.
    pub async fn check(&self) -> Result<()> {
        call!(self.check())
    }

    /// Settings of the store that will cause trouble later, a sentence each.
    pub async fn warnings(&self) -> Vec<String> {
        let Adapter::Redis(store) = &self.adapter else {
            return Vec::new();
        };
        store.warnings().await
    }

    /// Finishes pending writes and releases the store.
    #[cfg_attr(not(feature = "file-store"), expect(clippy::unused_async))]
    pub async fn close(&self) {
        #[cfg(feature = "file-store")]
        if let Adapter::Sqlite(store) = &self.adapter {
            store.close().await;
        }
    }
}
