//! One interface to all stores: seals what goes in, opens what comes out, counts and measures.

use std::sync::Arc;
use std::time::Instant;

use secrecy::{ExposeSecret, SecretBox};
use tracing::Instrument;

use super::seal::{Seal, Seals};
use super::turns::Turns;
use super::{
    ExchangeHash, NewSession, OpenError, Place, Session, TokenHash, Unavailable, User, UserId,
    embedded, memory, redis,
};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Sessions by the hash of their token, the `session_key`s of users, and what codes were exchanged
/// for. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    seals: Arc<Seals>,
    metrics: Arc<Metrics>,
    turns: Arc<Turns>,
}

#[derive(Clone)]
enum Backend {
    /// In a file.
    Embedded(embedded::Store),
    /// In memory.
    Memory(memory::Store),
    /// On the network.
    Redis(redis::Store),
}

impl Store {
    /// Opens the store at `place`. One on the network is not connected to yet: it may come later.
    ///
    /// # Errors
    /// [`OpenError`]; a file is then left as it is.
    pub fn open(
        place: &Place,
        seals: Seals,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let backend = match place {
            Place::File(path) => embedded::Store::open(path, clock).map(Backend::Embedded),
            Place::Memory => Ok(Backend::Memory(memory::Store::new(clock))),
            Place::Redis(address) => redis::Store::new(address, clock).map(Backend::Redis),
        };
        Ok(Self {
            backend: backend?,
            seals: Arc::new(seals),
            metrics,
            turns: Arc::default(),
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

    /// Stores a session under its token, and what came with it; durable, as far as the store is,
    /// when this returns.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn create(&self, new: NewSession) -> Result<(), Unavailable> {
        let session = &new.session;
        let exchange = new.exchange.map(|exchange| {
            let key = &exchange.session_key;
            let seals = self.seals.seal(&session.user, key);
            let seals = seals.map_err(|_| Unavailable("a session_key cannot be sealed".into()))?;
            Ok(SealedExchange {
                hash: exchange.hash,
                seals,
            })
        });
        let record = Record {
            token: new.token,
            exchange: exchange.transpose()?,
            session: new.session,
        };
        let created = async {
            match &self.backend {
                Backend::Embedded(store) => store.create(record).await,
                Backend::Memory(store) => {
                    store.create(record);
                    Ok(())
                }
                Backend::Redis(store) => store.create(record).await,
            }
        };
        self.timed("create", created).await?;
        self.metrics.session_opened();
        Ok(())
    }

    /// The living session of a token.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn find(&self, token: TokenHash) -> Result<Option<Session>, Unavailable> {
        let found = async {
            match &self.backend {
                Backend::Embedded(store) => store.find(token),
                Backend::Memory(store) => Ok(store.find(token)),
                Backend::Redis(store) => store.find(token).await,
            }
        };
        self.timed("find", found).await
    }

    /// Whom a code was exchanged for in the last minute.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn exchanged(&self, exchange: ExchangeHash) -> Result<Option<User>, Unavailable> {
        let exchanged = async {
            match &self.backend {
                Backend::Embedded(store) => store.exchanged(exchange),
                Backend::Memory(store) => Ok(store.exchanged(exchange)),
                Backend::Redis(store) => store.exchanged(exchange).await,
            }
        };
        self.timed("exchanged", exchanged).await
    }

    /// The two newest `session_key`s of a user, the newest first, as far as they are there.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn keys(&self, user: &UserId) -> Result<Vec<SecretBox<[u8; 16]>>, Unavailable> {
        let stored = async {
            match &self.backend {
                Backend::Embedded(store) => store.keys(user),
                Backend::Memory(store) => Ok(store.keys(user)),
                Backend::Redis(store) => store.keys(user).await,
            }
        };
        Ok(self.opened(user, &self.timed("keys", stored).await?))
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
        let turn = self.turns.take(user).await?;
        let (store, user) = (self.clone(), user.clone());
        // A task of its own: a client that hangs up must not leave its attempt counted as a failure.
        let attempt = async move {
            let result = store.attempt(&user, open).await;
            drop(turn);
            result
        };
        tokio::spawn(attempt.in_current_span())
            .await
            .unwrap_or_else(|_| Err(Unavailable("an attempt to open user data panicked".into())))
    }

    async fn attempt<T>(
        &self,
        user: &UserId,
        open: impl Fn(&[u8; 16]) -> Option<T>,
    ) -> Result<Option<T>, Unavailable> {
        let stored = async {
            match &self.backend {
                Backend::Embedded(store) => store.begin_attempt(user).await,
                Backend::Memory(store) => Ok(store.begin_attempt(user)),
                Backend::Redis(store) => store.begin_attempt(user).await,
            }
        };
        let stored = self.timed("begin_attempt", stored).await?;
        if stored.is_empty() {
            return Ok(None);
        }
        let keys = self.opened(user, &stored);
        let opened = keys.iter().find_map(|key| open(key.expose_secret()));
        // Keys that no AppSecret of ours opens were not tried. Another replica may have the right one.
        let failed = opened.is_none() && !keys.is_empty();
        let ended = async {
            match &self.backend {
                Backend::Embedded(store) => store.end_attempt(user, failed).await,
                Backend::Memory(store) => {
                    store.end_attempt(user, failed);
                    Ok(())
                }
                Backend::Redis(store) => store.end_attempt(user, failed).await,
            }
        };
        if let Err(error) = self.timed("end_attempt", ended).await {
            tracing::warn!(%error, "an attempt to open user data stays counted as a failure");
        }
        Ok(opened)
    }

    fn opened(&self, user: &UserId, stored: &[Vec<u8>]) -> Vec<SecretBox<[u8; 16]>> {
        let opened = stored.iter().filter_map(|seal| self.seals.open(user, seal));
        opened.collect()
    }

    /// Ends the session of a token. A token without a session is no error.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn end(&self, token: TokenHash) -> Result<(), Unavailable> {
        let ended = async {
            match &self.backend {
                Backend::Embedded(store) => store.end(token).await,
                Backend::Memory(store) => {
                    store.end(token);
                    Ok(())
                }
                Backend::Redis(store) => store.end(token).await,
            }
        };
        self.timed("end", ended).await?;
        self.metrics.session_ended();
        Ok(())
    }

    /// Ends all sessions that the user has now, of which that of `token` is one.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn end_all(&self, user: &UserId, token: TokenHash) -> Result<(), Unavailable> {
        let ended = async {
            match &self.backend {
                Backend::Embedded(store) => store.end_all(user).await,
                Backend::Memory(store) => {
                    store.end_all(user);
                    Ok(())
                }
                Backend::Redis(store) => store.end_all(user, token).await,
            }
        };
        self.timed("end_all", ended).await?;
        self.metrics.session_ended();
        Ok(())
    }

    /// Makes sure that the store answers and can be written to.
    ///
    /// # Errors
    /// If not.
    pub async fn check(&self) -> Result<(), Unavailable> {
        let checked = async {
            match &self.backend {
                Backend::Embedded(store) => store.check().await,
                Backend::Memory(_) => Ok(()),
                Backend::Redis(store) => store.check().await,
            }
        };
        self.timed("check", checked).await
    }

    /// Counts an operation, and measures it.
    async fn timed<T>(
        &self,
        operation: &'static str,
        answer: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        let begin = Instant::now();
        let result = answer.await;
        self.metrics
            .stored(operation, begin.elapsed(), result.is_err());
        result
    }

    /// Finishes what waits, and closes a file so that it needs no repair when it is opened again.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Embedded(store) => store.close().await,
            Backend::Memory(_) | Backend::Redis(_) => {}
        }
    }
}

/// A session as a backend stores it.
pub(super) struct Record {
    pub(super) token: TokenHash,
    pub(super) session: Session,
    pub(super) exchange: Option<SealedExchange>,
}

pub(super) struct SealedExchange {
    pub(super) hash: ExchangeHash,
    /// The `session_key`, as it is to be stored and as it may be stored already.
    pub(super) seals: Vec<Seal>,
}
