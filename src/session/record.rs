//! What a store passes on to a backend.

use super::encryption::EncryptedKey;
use super::token::TokenHash;
use super::{ExchangeHash, Session};

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
