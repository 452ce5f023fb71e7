//! A session as [`Store`](super::Store) passes it to a backend.

use super::encryption::EncryptedKey;
use super::token::TokenHash;
use super::{ExchangeHash, Session};

/// A session to be stored, with its key encrypted.
pub(super) struct Record<'a> {
    pub(super) token: TokenHash,
    pub(super) session: &'a Session,
    pub(super) exchange: Option<EncryptedExchange>,
}

pub(super) struct EncryptedExchange {
    pub(super) hash: ExchangeHash,
    /// The `session_key`, encrypted with each AppSecret: the first one is stored, the others may be already.
    pub(super) keys: Vec<EncryptedKey>,
}
