//! The use case: decrypts and verifies data that WeChat encrypted or signed with a user's `session_key`.

use std::time::Duration;

use crate::clock::Clock;
use crate::session::{Session, Store, Unavailable};
use crate::wechat::{EncryptedData, Expected, is_signature};

/// Decrypts and verifies user data.
pub struct UserData {
    sessions: Store,
    max_age: Option<u64>,
    clock: Clock,
}

/// Why user data is refused.
#[derive(Debug, thiserror::Error)]
pub enum UserDataError {
    /// It does not decrypt. One error for all reasons: an answer that distinguished them would be a padding
    /// oracle.
    #[error("the data does not decrypt")]
    Undecryptable,
    /// The signature is not WeChat's for this data and this user.
    #[error("the signature does not match")]
    BadSignature,
    /// The keys cannot be read.
    #[error(transparent)]
    Store(#[from] Unavailable),
}

impl UserData {
    /// Uses the keys in `sessions`. Data may be at most `max_age` old; `None` is no limit.
    #[must_use]
    pub fn new(sessions: Store, max_age: Option<Duration>, clock: Clock) -> Self {
        Self {
            sessions,
            max_age: max_age.map(|age| age.as_secs()),
            clock,
        }
    }

    /// The JSON object in `encryptedData`. After [`MAX_FAILURES`](crate::session::MAX_FAILURES) nothing decrypts
    /// until the user's next login. Text that is not base64 of whole blocks is not counted: it may have been
    /// truncated on the way, and no key is tried.
    ///
    /// # Errors
    /// [`UserDataError::Undecryptable`], one for all reasons, or a failure of the store.
    pub async fn decrypt(
        &self,
        session: &Session,
        encrypted_data: &str,
        iv: &str,
    ) -> Result<String, UserDataError> {
        let data = EncryptedData::from_base64(encrypted_data, iv);
        let data = data.ok_or(UserDataError::Undecryptable)?;
        let (user, now, max_age) = (session.user.clone(), self.clock.now(), self.max_age);
        let decrypt = move |key: &[u8; 16]| {
            let expected = Expected {
                appid: &user.appid,
                openid: &user.openid,
                now,
                max_age,
            };
            data.decrypt(key, &expected)
        };
        let decrypted = self.sessions.try_keys(&session.user, decrypt).await?;
        decrypted.ok_or(UserDataError::Undecryptable)
    }

    /// Checks that WeChat signed `raw_data` for this user.
    ///
    /// # Errors
    /// [`UserDataError::BadSignature`], or a failure of the store.
    pub async fn verify(
        &self,
        session: &Session,
        raw_data: &str,
        signature: &str,
    ) -> Result<(), UserDataError> {
        let keys = self.sessions.keys(&session.user).await?;
        let mut keys = keys.iter().map(secrecy::ExposeSecret::expose_secret);
        if keys.any(|key| is_signature(signature, raw_data, key)) {
            Ok(())
        } else {
            Err(UserDataError::BadSignature)
        }
    }
}
