//! Opens a session store, once for a process, and connects each runtime to it.

use std::sync::Arc;

#[cfg(feature = "file-store")]
use super::embedded;
use super::encryption::Encryption;
use super::store::{Backend, Store};
use super::user_locks::UserLocks;
use super::{OpenError, RedisUrl, Settings, StoreUrl, redis};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// An open session store, which all runtimes of a process share.
pub struct Database {
    kind: DatabaseKind,
    encryption: Arc<Encryption>,
    metrics: Arc<Metrics>,
    user_locks: Arc<UserLocks>,
}

enum DatabaseKind {
    #[cfg(feature = "file-store")]
    Embedded(embedded::Database),
    Redis(RedisUrl, Clock),
}

impl Database {
    /// Opens a session store. One on the network is not connected to yet: it may come up later.
    ///
    /// # Errors
    /// [`OpenError`]; what is there is then left as it is.
    pub fn open(
        settings: &Settings,
        encryption: Encryption,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let kind = match &settings.url {
            #[cfg(feature = "file-store")]
            StoreUrl::File(path) => {
                let database = embedded::Database::open(path, settings, clock)?;
                measured(database, &metrics)?
            }
            #[cfg(feature = "file-store")]
            StoreUrl::Memory => {
                let database = embedded::Database::in_memory(clock)?;
                measured(database, &metrics)?
            }
            #[cfg(not(feature = "file-store"))]
            StoreUrl::File(_) | StoreUrl::Memory => return Err(OpenError::NoFileStore),
            StoreUrl::Redis(url) => DatabaseKind::Redis(url.clone(), clock),
        };
        Ok(Self {
            kind,
            encryption: Arc::new(encryption),
            metrics,
            user_locks: Arc::default(),
        })
    }

    /// Connects a runtime. `may_block`: whether lookups in files may block its thread while the disk hangs,
    /// which makes them cheaper.
    ///
    /// # Errors
    /// [`OpenError`] if a connection cannot be set up.
    pub fn connect(&self, may_block: bool) -> Result<Store, OpenError> {
        #[cfg(not(feature = "file-store"))]
        let _ = may_block;
        let backend = match &self.kind {
            #[cfg(feature = "file-store")]
            DatabaseKind::Embedded(database) => Backend::Embedded(database.connect(may_block)?),
            DatabaseKind::Redis(url, clock) => {
                Backend::Redis(redis::Store::new(url, clock.clone())?)
            }
        };
        Ok(Store {
            backend,
            encryption: self.encryption.clone(),
            metrics: self.metrics.clone(),
            user_locks: self.user_locks.clone(),
        })
    }
}

/// Registers gauges of the store's size, which are read at every scrape.
#[cfg(feature = "file-store")]
fn measured(database: embedded::Database, metrics: &Metrics) -> Result<DatabaseKind, OpenError> {
    let size = database.size()?;
    let sessions = size.clone();
    metrics
        .add_gauge(
            "wxlogin_sessions",
            "Sessions that have not expired, those included that were ended before their time",
            move || sessions.sessions(),
        )
        .and_then(|()| {
            metrics.add_gauge(
                "wxlogin_store_bytes",
                "Bytes of the session store, without the write-ahead log",
                move || size.bytes(),
            )
        })
        .map_err(|error| OpenError::Other(error.to_string()))?;
    Ok(DatabaseKind::Embedded(database))
}
