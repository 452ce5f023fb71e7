//! Data that WeChat encrypted or signed with a user's `session_key`: decrypts and verifies it.

use secrecy::ExposeSecret;

use crate::app::WxLogin;
use crate::problem::Problem;
use crate::session::{Session, SessionKey};
use crate::wechat::{EncryptedData, Expected, is_signature};

impl WxLogin {
    /// The JSON object in `encryptedData`, as WeChat wrote it. After ten failures, and those in flight then, nothing
    /// decrypts until the user's next login. Text that is not base64 of whole blocks is not counted: it may have
    /// been truncated on the way, and no key is tried.
    ///
    /// # Errors
    /// [`Problem::Undecryptable`], one for all reasons: an answer that distinguished them would be a padding oracle.
    /// Or [`Problem::Store`].
    pub async fn decrypt(
        &self,
        user: &Session,
        encrypted_data: &str,
        iv: &str,
    ) -> Result<String, Problem> {
        let data = EncryptedData::from_base64(encrypted_data, iv);
        let data = data.ok_or(Problem::Undecryptable("it is not base64 of whole blocks"))?;
        let expected = Expected {
            appid: &user.appid,
            openid: &user.openid,
            now: self.0.clock.now(),
            max_age: self.0.userdata_max_age.map(|age| age.as_secs()),
        };
        let decrypt = |key: &SessionKey| data.decrypt(key.expose_secret(), &expected);
        let (sessions, user) = (&self.0.sessions, user.user());
        // Nearly always the right one.
        let mut decrypted = sessions.recent_key(user)?.as_ref().and_then(decrypt);
        if decrypted.is_none() {
            let keys = sessions.keys(user).await?;
            if keys.is_empty() {
                // Another replica may have the right AppSecret.
                return Err(Problem::Undecryptable(
                    "the user has no session_key that can be used: after ten failures, or with an AppSecret that is gone",
                ));
            }
            decrypted = keys.iter().find_map(decrypt);
        }
        let cause = match decrypted {
            Some(Ok(json)) => return Ok(json),
            Some(Err(cause)) => cause,
            None => "it is encrypted with another session_key, or damaged",
        };
        sessions.count_failure(user).await?;
        Err(Problem::Undecryptable(cause))
    }

    /// Checks that WeChat signed `raw_data` for this user. `raw_data` is what WeChat gave, byte for byte.
    ///
    /// # Errors
    /// [`Problem::BadSignature`], [`Problem::Store`].
    pub async fn verify(
        &self,
        user: &Session,
        raw_data: &str,
        signature: &str,
    ) -> Result<(), Problem> {
        let keys = self.0.sessions.keys(user.user()).await?;
        let mut keys = keys.iter().map(ExposeSecret::expose_secret);
        if keys.any(|key| is_signature(signature, raw_data, key)) {
            Ok(())
        } else {
            Err(Problem::BadSignature)
        }
    }
}
