//! What a store keeps.

use super::{EncryptedKey, Session, SessionKey};

/// The exchange of a code, stored with its first session.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// SHA-256 of appid and code.
    pub code: [u8; 32],
    /// WeChat's `session_key` of the user.
    pub session_key: &'a SessionKey,
}

/// An exchange of the last minute before the store was opened.
pub struct RecentExchange {
    /// SHA-256 of appid and code.
    pub code: [u8; 32],
    /// Its first session.
    pub session: Session,
    /// Seconds since the exchange.
    pub age: u64,
}

/// A session as it is stored. The default fits no token.
#[derive(Clone, Default)]
pub(super) struct Row {
    /// [`Token::seal`].
    pub(super) seal: [u8; 32],
    pub(super) session: Session,
}

/// An exchange as it is stored.
#[derive(Clone)]
pub(super) struct EncryptedExchange {
    pub(super) code: [u8; 32],
    /// The `session_key`, encrypted with each AppSecret: the first is stored, and the others can be in the
    /// store already.
    pub(super) keys: Vec<EncryptedKey>,
}
