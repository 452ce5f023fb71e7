//! A stub: not to be merged.
mod url;
pub use url::{InvalidUrl, RedisUrl};
use super::store::{EncryptedExchange, Row};
use super::{EncryptedKey, OpenError, Session, Token, Unavailable, UserId};
use crate::clock::Clock;
pub struct RedisStore;
type R<T> = Result<T, Unavailable>;
impl RedisStore {
    pub(super) fn new(_: &RedisUrl, _: Clock) -> Result<Self, OpenError> { Err(OpenError::Other("stub".into())) }
    pub(super) async fn create(&self, _: &Token, _: Row, _: Option<EncryptedExchange>) -> R<bool> { Ok(false) }
    pub(super) async fn find(&self, _: &Token) -> R<Option<Row>> { Ok(None) }
    pub(super) async fn exchanged(&self, _: &[u8; 32]) -> R<Option<Session>> { Ok(None) }
    pub(super) async fn keys(&self, _: UserId<'_>) -> R<Vec<EncryptedKey>> { Ok(vec![]) }
    pub(super) async fn newest_key(&self, _: UserId<'_>) -> R<Option<EncryptedKey>> { Ok(None) }
    pub(super) async fn count_failure(&self, _: UserId<'_>) -> R<()> { Ok(()) }
    pub(super) async fn end(&self, _: &Token, _: &Session) -> R<()> { Ok(()) }
    pub(super) async fn end_all(&self, _: UserId<'_>, _: Option<&Token>) -> R<()> { Ok(()) }
    pub(super) async fn check(&self) -> R<()> { Ok(()) }
    pub(super) async fn warnings(&self) -> Vec<String> { vec![] }
}
