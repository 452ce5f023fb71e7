//! One interface to all stores: encryption what goes in, opens what comes out, counts and measures.

use std::sync::Arc;
use std::time::Instant;

use secrecy::{ExposeSecret, SecretBox};

use super::encryption::{EncryptedKey, Encryption};
use super::token::{Token, TokenHash, TokenId};
use super::user_locks::UserLocks;
use super::{
    ExchangeHash, NewSession, OpenError, Session, Settings, StoreUrl, Unavailable, User, UserId,
    embedded, redis,
};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Sessions by their token, the `session_key`s of users, and what codes were exchanged
/// for. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    encryption: Arc<Encryption>,
    metrics: Arc<Metrics>,
    user_locks: Arc<UserLocks>,
}

/// Futures of Redis are boxed where they are part of a login's: they are large, and of those that wait for
/// WeChat there are many.
#[derive(Clone)]
enum Backend {
    /// In files or in memory.
    Embedded(embedded::Store),
    /// On the network.
    Redis(redis::Store),
}

impl Store {
    /// Opens a store. One on the network is not connected to yet: it may come later.
    ///
    /// # Errors
    /// [`OpenError`]; what is there is then left as it is.
    pub fn open(
        settings: &Settings,
        encryption: Encryption,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let backend = match &settings.url {
            StoreUrl::File(path) => {
                embedded::Store::open(path, settings, clock).map(Backend::Embedded)
            }
            StoreUrl::Memory => embedded::Store::in_memory(settings, clock).map(Backend::Embedded),
            StoreUrl::Redis(address) => redis::Store::new(address, clock).map(Backend::Redis),
        };
        Ok(Self {
            backend: backend?,
            encryption: Arc::new(encryption),
            metrics,
            user_locks: Arc::default(),
        })
    }

    /// The same store for another runtime, with connections of its own.
    ///
    /// # Errors
    /// If a connection cannot be set up.
    pub fn sibling(&self) -> Result<Self, OpenError> {
        let mut sibling = self.clone();
        if let Backend::Redis(store) = &mut sibling.backend {
            *store = store.sibling()?;
        }
        Ok(sibling)
    }

    /// Whether other processes use it too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// Stores a session under a fresh token, and what came with it; durable, as far as the store is,
    /// when this reuser_locks. Reuser_locks the token as it is to be given out.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn create(&self, token: Token, new: &NewSession) -> Result<Token, Unavailable> {
        let session = &new.session;
        let exchange = new.exchange.as_ref().map(|exchange| {
            let key = &exchange.session_key;
            let keys = self.encryption.encrypt(&session.user, key);
            let keys = keys.map_err(|_| Unavailable("a session_key cannot be encrypted".into()))?;
            Ok(EncryptedExchange {
                hash: exchange.hash,
                keys,
            })
        });
        let record = Record {
            token: token.id().hash,
            exchange: exchange.transpose()?,
            session,
        };
        let begin = Instant::now();
        let created = match &self.backend {
            Backend::Embedded(store) => store
                .create(record)
                .await
                .map(|selector| token.with_selector(selector)),
            Backend::Redis(store) => Box::pin(store.create(record)).await.map(|()| token),
        };
        let token = self.measured("create", begin, created)?;
        self.metrics.session_opened();
        Ok(token)
    }

    /// The living session of a token.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn find(&self, token: TokenId) -> Result<Option<Session>, Unavailable> {
        let begin = Instant::now();
        let found = match &self.backend {
            Backend::Embedded(store) => store.find(token),
            Backend::Redis(store) => Box::pin(store.find(token.hash)).await,
        };
        self.measured("find", begin, found)
    }

    /// Whom a code was exchanged for in the last minute.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn exchanged(&self, exchange: ExchangeHash) -> Result<Option<User>, Unavailable> {
        let begin = Instant::now();
        let exchanged = match &self.backend {
            Backend::Embedded(store) => store.exchanged(exchange),
            Backend::Redis(store) => Box::pin(store.exchanged(exchange)).await,
        };
        self.measured("exchanged", begin, exchanged)
    }

    /// The two newest `session_key`s of a user, the newest first, as far as they are there.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn keys(&self, user: &UserId) -> Result<Vec<SecretBox<[u8; 16]>>, Unavailable> {
        let begin = Instant::now();
        let stored = match &self.backend {
            Backend::Embedded(store) => store.keys(user).await,
            Backend::Redis(store) => store.keys(user).await,
        };
        Ok(self.opened(user, &self.measured("keys", begin, stored)?))
    }

    /// Gives the user's keys to `open`, the newest first, until it makes something of one.
    ///
    /// If it makes nothing of any, that is a failure, and after [`MAX_FAILURES`](super::MAX_FAILURES) since the user's
    /// last login their keys are dropped. A failure is counted before it can happen, so that neither
    /// many at once, nor a crash, nor a store that refuses writes, gives anybody more of them.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn try_keys<T: Send + 'static>(
        &self,
        user: &UserId,
        open: impl Fn(&[u8; 16]) -> Option<T> + Send + 'static,
    ) -> Result<Option<T>, Unavailable> {
        // One at a time, or a user's good attempts would exhaust the failures of each other.
        let lock = self.user_locks.lock(user).await?;
        let (store, user) = (self.clone(), user.clone());
        // A task of its own: a client that hangs up must not leave its attempt counted as a failure.
        let attempt = async move {
            let result = store.attempt(&user, open).await;
            drop(lock);
            result
        };
        tokio::spawn(attempt)
            .await
            .unwrap_or_else(|_| Err(Unavailable("an attempt to open user data panicked".into())))
    }

    async fn attempt<T>(
        &self,
        user: &UserId,
        open: impl Fn(&[u8; 16]) -> Option<T>,
    ) -> Result<Option<T>, Unavailable> {
        let begin = Instant::now();
        let stored = match &self.backend {
            Backend::Embedded(store) => store.begin_attempt(user).await,
            Backend::Redis(store) => Ok((store.begin_attempt(user).await?, None)),
        };
        let (stored, counted_at) = self.measured("begin_attempt", begin, stored)?;
        if stored.is_empty() {
            return Ok(None);
        }
        let keys = self.opened(user, &stored);
        let opened = keys.iter().find_map(|key| open(key.expose_secret()));
        // Keys that no AppSecret of ours opens were not tried. Another replica may have the right one.
        let failed = opened.is_none() && !keys.is_empty();
        let begin = Instant::now();
        let ended = match &self.backend {
            Backend::Embedded(store) => match counted_at.filter(|_| !failed) {
                Some(at) => store.take_failure_back(at).await,
                None => Ok(()),
            },
            Backend::Redis(store) => store.end_attempt(user, failed).await,
        };
        if let Err(error) = self.measured("end_attempt", begin, ended) {
            tracing::warn!(%error, "an attempt to open user data stays counted as a failure");
        }
        Ok(opened)
    }

    /// The two newest keys. One may be there several times, also encrypted with several AppSecrets.
    fn opened(&self, user: &UserId, stored: &[Vec<u8>]) -> Vec<SecretBox<[u8; 16]>> {
        let mut keys: Vec<SecretBox<[u8; 16]>> = Vec::with_capacity(2);
        for key in stored
            .iter()
            .filter_map(|encrypted| self.encryption.decrypt(user, encrypted))
        {
            let is_same = |known: &SecretBox<_>| known.expose_secret() == key.expose_secret();
            if keys.len() < 2 && !keys.iter().any(is_same) {
                keys.push(key);
            }
        }
        keys
    }

    /// Ends the session of a token. A token without a session is no error.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn end(&self, token: TokenId) -> Result<(), Unavailable> {
        let begin = Instant::now();
        let ended = match &self.backend {
            Backend::Embedded(store) => store.end(token).await,
            Backend::Redis(store) => store.end(token.hash).await,
        };
        self.measured("end", begin, ended)?;
        self.metrics.session_ended();
        Ok(())
    }

    /// Ends all sessions that the user has now, of which that of `token` is one.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn end_all(&self, user: &UserId, token: TokenId) -> Result<(), Unavailable> {
        let begin = Instant::now();
        let ended = match &self.backend {
            Backend::Embedded(store) => store.end_all(user).await,
            Backend::Redis(store) => store.end_all(user, token.hash).await,
        };
        self.measured("end_all", begin, ended)?;
        self.metrics.session_ended();
        Ok(())
    }

    /// Makes sure that the store answers and can be written to.
    ///
    /// # Errors
    /// If not.
    pub async fn check(&self) -> Result<(), Unavailable> {
        let begin = Instant::now();
        let checked = match &self.backend {
            Backend::Embedded(store) => store.check().await,
            Backend::Redis(store) => store.check().await,
        };
        self.measured("check", begin, checked)
    }

    /// What works for now and will not be enough, a sentence each; for the start, once
    /// [`check`](Self::check) has succeeded.
    pub async fn warnings(&self) -> Vec<String> {
        match &self.backend {
            Backend::Embedded(_) => Vec::new(),
            Backend::Redis(store) => store.warnings().await,
        }
    }

    /// Counts an operation, and how long it took.
    fn measured<T>(
        &self,
        operation: &'static str,
        begin: Instant,
        result: Result<T, Unavailable>,
    ) -> Result<T, Unavailable> {
        self.metrics
            .stored(operation, begin.elapsed(), result.is_err());
        result
    }

    /// Finishes what waits, and lets another process have the store.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Embedded(store) => store.close().await,
            Backend::Redis(_) => {}
        }
    }
}

/// A session as a backend stores it.
pub(super) struct Record<'a> {
    pub(super) token: TokenHash,
    pub(super) session: &'a Session,
    pub(super) exchange: Option<EncryptedExchange>,
}

pub(super) struct EncryptedExchange {
    pub(super) hash: ExchangeHash,
    /// The `session_key`, encrypted as it is to be stored and as it may be stored already.
    pub(super) keys: Vec<EncryptedKey>,
}
