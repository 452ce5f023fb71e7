//! What the rows of a user say: keys, sessions, and failed decryptions.

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::rows::{self, Login};
use super::{SqliteStore, TIMEOUT, closed, execute};
use crate::session::store::MAX_STORED_KEYS;
use crate::session::{EncryptedKey, MAX_FAILURES, Session, Unavailable, UserId};

impl SqliteStore {
    pub(in crate::session) async fn keys(
        &self,
        user: UserId<'_>,
    ) -> Result<Vec<EncryptedKey>, Unavailable> {
        let mut keys = Vec::new();
        let enough = move |login: &Login| {
            if let Some(key) = login.key
                && !keys.contains(&key)
            {
                keys.push(key);
            }
            keys.len() >= MAX_STORED_KEYS || login.failures >= MAX_FAILURES
        };
        let logins = self.search(user, self.clock.now(), enough).await?;
        let usable = logins
            .into_iter()
            .take_while(|login| login.failures < MAX_FAILURES);
        Ok(usable.filter_map(|login| login.key).collect())
    }

    pub(in crate::session) async fn newest_key(
        &self,
        user: UserId<'_>,
    ) -> Result<Option<EncryptedKey>, Unavailable> {
        let (mut is_living, mut has_key) = (false, false);
        let enough = move |login: &Login| {
            is_living |= !login.is_ended;
            has_key |= login.key.is_some();
            is_living && has_key
        };
        let logins = self.search(user, self.clock.now(), enough).await?;
        if logins.iter().all(|login| login.is_ended) {
            return Ok(None);
        }
        let newest = logins.into_iter().find(|login| login.key.is_some());
        let newest = newest.filter(|login| login.failures < MAX_FAILURES);
        Ok(newest.and_then(|login| login.key))
    }

    pub(in crate::session) async fn list(
        &self,
        user: UserId<'_>,
    ) -> Result<Vec<Session>, Unavailable> {
        let logins = self.search(user, self.clock.now(), |_| false).await?;
        let living = logins.into_iter().filter(|login| !login.is_ended);
        let session = |login: Login| Session {
            id: login.id,
            appid: user.appid.to_owned(),
            openid: user.openid.to_owned(),
            unionid: login.unionid,
            created: login.created,
            expires: login.expires,
        };
        Ok(living.map(session).collect())
    }

    pub(in crate::session) async fn count_failure(
        &self,
        user: UserId<'_>,
    ) -> Result<(), Unavailable> {
        let has_key = |login: &Login| login.key.is_some();
        let mut logins = self.search(user, 0, has_key).await?;
        if let Some(newest) = logins.pop().filter(|login| login.key.is_some()) {
            let sql = "UPDATE session SET failures = min(failures + 1, 255) WHERE id = ?";
            self.write(move |db, _| execute(db, sql, [newest.id]))
                .await?;
        }
        Ok(())
    }

    /// [Searches](rows::search) in a thread that may block: it reads each bucket.
    pub(super) async fn search(
        &self,
        user: UserId<'_>,
        now: u64,
        enough: impl FnMut(&Login) -> bool + Send + 'static,
    ) -> Result<Vec<Login>, Unavailable> {
        let (readers, searches) = (self.readers.clone(), self.searches.clone());
        let (appid, openid) = (user.appid.to_owned(), user.openid.to_owned());
        let search = async {
            // Kept by the thread after the timeout, so that no more threads hang.
            let permit = searches.acquire_owned().await;
            let search = spawn_blocking(move || {
                let _permit = permit;
                let (appid, openid) = (&*appid, &*openid);
                readers.read(|db| rows::search(db, UserId { appid, openid }, now, enough))
            });
            search.await
        };
        match timeout(TIMEOUT, search).await {
            Ok(logins) => logins.unwrap_or_else(|_| Err(closed())),
            Err(_) => Err(Unavailable("no read in time".into())),
        }
    }
}
