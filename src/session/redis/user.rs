//! What concerns all sessions of a user.

use redis::Cmd;

use super::{SESSION, Store, encode, scripts, session_at};
use crate::session::{Session, TokenHash, TokenId, Unavailable, UserId};

impl Store {
    pub(in crate::session) async fn newest_key(
        &self,
        user: &UserId,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        let keys = self.connection.one(scripts::keys(user));
        let keys: Vec<Option<Vec<u8>>> = self.bounded(keys).await?;
        let Some(newest) = keys.into_iter().next().flatten() else {
            return Ok(None);
        };
        let tokens: Vec<String> = self
            .bounded(self.connection.one(scripts::tokens(user)))
            .await?;
        // The newest first. A session that was ended is still in the list.
        for token in tokens.iter().rev() {
            let session: Option<Session> = self.get(&format!("{SESSION}{token}")).await?;
            if session.is_some_and(|session| self.clock.now() < session.expires) {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }

    /// Ends the sessions that the user has, that of `token` last, so that its holder can try again. An
    /// error if that one lived and the list of the user's sessions did not name it: Redis has evicted
    /// the list, and there may be others.
    pub(in crate::session) async fn end_all(
        &self,
        user: &UserId,
        token: Option<TokenId>,
    ) -> Result<(), Unavailable> {
        if self.end_listed(user, token.map(|token| token.hash)).await? {
            Ok(())
        } else {
            Err(self.unavailable("the list of a user's sessions is incomplete: keys were evicted"))
        }
    }

    /// Whether nothing shows that the list of the user's sessions is incomplete.
    pub(super) async fn end_listed(
        &self,
        user: &UserId,
        token: Option<TokenHash>,
    ) -> Result<bool, Unavailable> {
        let listed: Vec<String> = self
            .bounded(self.connection.one(scripts::tokens(user)))
            .await?;
        let last = token.map(|token| encode(&token.0));
        let others = listed.iter().filter(|token| Some(*token) != last.as_ref());
        let others: Vec<_> = others
            .map(|token| Cmd::del(format!("{SESSION}{token}")))
            .collect();
        if !others.is_empty() {
            self.bounded(self.connection.in_order(others)).await?;
        }
        let ended: u64 = match token {
            Some(token) => {
                self.bounded(self.connection.one(Cmd::del(session_at(token))))
                    .await?
            }
            None => 0,
        };
        let forget = scripts::forget(user, &listed);
        self.bounded(self.connection.one::<()>(forget)).await?;
        Ok(ended == 0 || last.is_none_or(|last| listed.contains(&last)))
    }
}
