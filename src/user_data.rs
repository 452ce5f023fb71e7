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
        let data = data.ok_or(Problem::Undecryptable)?;
        let expected = Expected {
            appid: &user.appid,
            openid: &user.openid,
            now: self.0.clock.now(),
            max_age: self.0.userdata_max_age.map(|age| age.as_secs()),
        };
        let decrypt = |key: &SessionKey| data.decrypt(key.expose_secret(), &expected);
        let sessions = &self.0.sessions;
        // Nearly always the right one, and found sooner than the two newest.
        let recent = sessions.recent_key(user.user()).await?;
        if let Some(json) = recent.as_ref().and_then(decrypt) {
            return Ok(json);
        }
        let keys = sessions.keys(user.user()).await?;
        if let Some(json) = keys.iter().find_map(decrypt) {
            return Ok(json);
        }
        // Keys that none of our AppSecrets decrypts are not here and not tried: another replica may have the right one.
        if !keys.is_empty() {
            sessions.count_failure(user.user()).await?;
        }
        Err(Problem::Undecryptable)
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
