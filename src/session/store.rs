//! One interface to all stores: encrypts and decrypts keys, counts and measures.

use std::sync::Arc;
use std::time::Instant;

use secrecy::ExposeSecret;

#[cfg(feature = "file-store")]
use super::embedded;
use super::encryption::{Encryption, Key};
use super::record::{EncryptedExchange, Record};
use super::token::{Token, TokenId};
use super::user_locks::UserLocks;
use super::{
    Database, ExchangeHash, NewSession, OpenError, Session, Settings, Unavailable, User, UserId,
    redis,
};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// The session store. Cheap to clone. Its connections live in one runtime.
#[derive(Clone)]
pub struct Store {
    pub(super) backend: Backend,
    pub(super) encryption: Arc<Encryption>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) user_locks: Arc<UserLocks>,
}

#[derive(Clone)]
pub(super) enum Backend {
    /// In files or in memory.
    #[cfg(feature = "file-store")]
    Embedded(embedded::Store),
    /// On the network.
    Redis(redis::Store),
}

/// Calls a method of the backend, and counts and times the operation under the method's name.
macro_rules! call {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        let begin = Instant::now();
        let result = match &$self.backend {
            #[cfg(feature = "file-store")]
            Backend::Embedded(store) => store.$method($($argument),*).await,
            // Boxed: its futures are large, and many logins wait for WeChat at a time.
            Backend::Redis(store) => Box::pin(store.$method($($argument),*)).await,
        };
        let operation = &$self.metrics.store.$method;
        operation.done(begin.elapsed(), result.is_err());
        result
    }};
}

impl Store {
    /// Opens a session store for a single runtime.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        settings: &Settings,
        encryption: Encryption,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        Database::open(settings, encryption, metrics, clock)?.connect(true)
    }

    /// Whether other processes can use the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// Stores a session and its exchange; durable, as far as the store is, when this returns. Returns the
    /// token to give out, whose selector the store may have set.
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
        let selector = call!(self.create(record))?;
        self.metrics.session_opened();
        Ok(match selector {
            Some(selector) => token.with_selector(selector),
            None => token,
        })
    }

    /// The living session of a token.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn find(&self, token: TokenId) -> Result<Option<Session>, Unavailable> {
        call!(self.find(token))
    }

    /// The user for whom another process exchanged a code in the last minute: a replica, or this service before
    /// a restart. Exchanges of this process may be missing.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn exchanged(&self, exchange: ExchangeHash) -> Result<Option<User>, Unavailable> {
        call!(self.exchanged(exchange))
    }

    /// The two newest `session_key`s of a user, the newest first.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn keys(&self, user: &UserId) -> Result<Vec<Key>, Unavailable> {
        Ok(self.decrypted(user, &call!(self.keys(user))?))
    }

    /// The user's newest `session_key`, if they have a living session and it can be decrypted. An older
    /// one is never returned in its place: WeChat knows the newest alone.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn newest_key(&self, user: &UserId) -> Result<Option<Key>, Unavailable> {
        let stored = call!(self.newest_key(user))?;
        Ok(stored.and_then(|encrypted| self.encryption.decrypt(user, &encrypted)))
    }

    /// Tries the user's keys with `open`, the newest first, until one works.
    ///
    /// If no key works, that is a failure. After [`MAX_FAILURES`](super::MAX_FAILURES) failures since the
    /// user's last login the keys cannot be used until the next login. A failure is counted before the attempt,
    /// so that neither concurrent attempts, nor a crash, nor a store that refuses writes allow more.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn try_keys<T: Send + 'static>(
        &self,
        user: &UserId,
        open: impl Fn(&[u8; 16]) -> Option<T> + Send + 'static,
    ) -> Result<Option<T>, Unavailable> {
        // Concurrent attempts of a user would use up each other's failures.
        let lock = self.user_locks.lock(user).await?;
        let (store, user) = (self.clone(), user.clone());
        // In a task, so that a client that closes its connection does not leave a failure counted.
        let attempt = async move {
            let result = store.attempt(&user, open).await;
            drop(lock);
            result
        };
        tokio::spawn(attempt)
            .await
            .unwrap_or_else(|_| Err(Unavailable("a decryption panicked".into())))
    }

    async fn attempt<T>(
        &self,
        user: &UserId,
        open: impl Fn(&[u8; 16]) -> Option<T>,
    ) -> Result<Option<T>, Unavailable> {
        let (stored, failure_row) = call!(self.begin_attempt(user))?;
        if stored.is_empty() {
            return Ok(None);
        }
        let keys = self.decrypted(user, &stored);
        let opened = keys.iter().find_map(|key| open(key.expose_secret()));
        // Keys that none of our AppSecrets decrypts were not tried: another replica may have the right one.
        let failed = opened.is_none() && !keys.is_empty();
        if let Err(error) = call!(self.end_attempt(user, failure_row, failed)) {
            tracing::warn!(%error, "cannot undo the count of a failed decryption");
        }
        Ok(opened)
    }

    /// Decrypts the two newest keys. The same key may be stored several times, with different AppSecrets.
    fn decrypted(&self, user: &UserId, stored: &[Vec<u8>]) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::with_capacity(2);
        for key in stored
            .iter()
            .filter_map(|encrypted| self.encryption.decrypt(user, encrypted))
        {
            let is_same = |known: &Key| known.expose_secret() == key.expose_secret();
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
        call!(self.end(token))?;
        self.metrics.session_ended();
        Ok(())
    }

    /// Ends all sessions that the user has now, and that of `token`, and drops the user's keys.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn end_all(
        &self,
        user: &UserId,
        token: impl Into<Option<TokenId>>,
    ) -> Result<(), Unavailable> {
        let token = token.into();
        call!(self.end_all(user, token))?;
        self.metrics.session_ended();
        Ok(())
    }

    /// Checks that the store answers and can be written to.
    ///
    /// # Errors
    /// If not.
    pub async fn check(&self) -> Result<(), Unavailable> {
        call!(self.check())
    }

    /// Settings of the store that will cause trouble later, a sentence each.
    pub async fn warnings(&self) -> Vec<String> {
        match &self.backend {
            #[cfg(feature = "file-store")]
            Backend::Embedded(_) => Vec::new(),
            Backend::Redis(store) => store.warnings().await,
        }
    }

    /// Finishes pending writes and releases the store.
    pub async fn close(&self) {
        match &self.backend {
            #[cfg(feature = "file-store")]
            Backend::Embedded(store) => store.close().await,
            Backend::Redis(store) => store.close().await,
        }
    }
}
