//! Operations on all sessions of a user.

use redis::Cmd;

use super::{SESSION, Store, encode, scripts, session_at};
use crate::session::{Session, TokenHash, TokenId, Unavailable, UserId};

impl Store {
    pub(in crate::session) async fn newest_key(
        &self,
        user: &UserId,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        let keys = self.connection.query_idempotent(scripts::keys(user));
        let keys: Vec<Option<Vec<u8>>> = self.bounded(keys).await?;
        let Some(newest) = keys.into_iter().next().flatten() else {
            return Ok(None);
        };
        let tokens: Vec<String> = self
            .bounded(self.connection.query_idempotent(scripts::tokens(user)))
            .await?;
        // The newest first. An ended session stays in the list.
        for token in tokens.iter().rev() {
            let session: Option<Session> = self.get(&format!("{SESSION}{token}")).await?;
            if session.is_some_and(|session| self.clock.now() < session.expires) {
                return Ok(Some(newest));
            }
        }
        Ok(None)
    }

    /// Ends the user's sessions, that of `token` last, so that a client whose request failed can repeat it.
    /// Fails if the session of `token` was alive but not in the user's list: then Redis has evicted the
    /// list, and other sessions may be alive.
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

    /// Ends the sessions in the user's list, and that of `token`. `false` if the latter was alive but not in
    /// the list.
    pub(super) async fn end_listed(
        &self,
        user: &UserId,
        token: Option<TokenHash>,
    ) -> Result<bool, Unavailable> {
        let listed: Vec<String> = self
            .bounded(self.connection.query_idempotent(scripts::tokens(user)))
            .await?;
        let last = token.map(|token| encode(&token.0));
        let all_but_last = listed.iter().filter(|token| Some(*token) != last.as_ref());
        let deletes: Vec<_> = all_but_last
            .map(|token| Cmd::del(format!("{SESSION}{token}")))
            .collect();
        if !deletes.is_empty() {
            self.bounded(self.connection.pipeline_idempotent(deletes))
                .await?;
        }
        let ended: u64 = match token {
            Some(token) => {
                self.bounded(
                    self.connection
                        .query_idempotent(Cmd::del(session_at(token))),
                )
                .await?
            }
            None => 0,
        };
        let remove = scripts::remove_tokens(user, &listed);
        self.bounded(self.connection.query_idempotent::<()>(remove))
            .await?;
        Ok(ended == 0 || last.is_none_or(|last| listed.contains(&last)))
    }
}
