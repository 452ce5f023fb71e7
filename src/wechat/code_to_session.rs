//! `jscode2session`: exchanges a code of `wx.login`. Ids and keys in its answer are checked strictly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::Deserialize;
use tokio::sync::SemaphorePermit;

use super::client::slot;
use super::http::{self, Request};
use super::{Call, Client, Error, Invalid, Meaning, MiniProgram};

/// The longest id that is accepted; WeChat's have 28 characters.
const MAX_ID_LEN: usize = 128;

/// The user whom the code belongs to.
#[derive(Debug)]
pub struct CodeSession {
    /// The user in this Mini Program: 1 to 128 visible ASCII characters, compared case-sensitively.
    pub openid: String,
    /// The user in all apps of one Open Platform account, if the Mini Program is bound to one.
    pub unionid: Option<String>,
    /// The key of the user's encrypted and signed data.
    pub session_key: SecretBox<[u8; 16]>,
}

/// The fields of an answer. Strings are owned: WeChat writes `/` as `\/`. Other fields, such as
/// the meaningless `expires_in`, are ignored.
#[derive(Deserialize)]
struct CodeToSessionAnswer {
    openid: Option<String>,
    unionid: Option<String>,
    session_key: Option<SecretString>,
}

impl Client {
    /// Waits for a slot for an exchange. For ten seconds after WeChat said that the daily quota is used up there is
    /// none.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::QuotaPause`].
    pub async fn login_slot(
        &self,
        mini_program: &MiniProgram,
    ) -> Result<SemaphorePermit<'_>, Error> {
        mini_program.check_quota(self.clock.monotonic())?;
        let slot = slot(&self.login_slots).await?;
        mini_program.check_quota(self.clock.monotonic())?;
        Ok(slot)
    }

    /// Exchanges a code for the user's identity, within the timeout of the settings.
    ///
    /// Even a refused exchange uses the code up, so a request is repeated in three cases only: at the
    /// next host if it certainly was not sent; at most twice when WeChat says that it is busy; with the next
    /// AppSecret of the Mini Program when WeChat refuses one as wrong.
    ///
    /// Source: WeChat's documentation of `auth.code2Session`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn code_to_session(
        &self,
        mini_program: &MiniProgram,
        js_code: &str,
    ) -> Result<CodeSession, Error> {
        let request = |secret: &SecretString| {
            Request::get("/sns/jscode2session")
                .query("appid", mini_program.appid())
                .query("secret", secret.expose_secret())
                .query("js_code", js_code)
                .query("grant_type", "authorization_code")
        };
        let (call, parse) = (Call::CodeToSession, CodeSession::from_json);
        let result = self.with_secrets(call, mini_program, request, parse).await;
        result.inspect_err(|error| {
            if error.meaning() == Some(Meaning::QuotaExhausted) {
                mini_program.begin_quota_pause(self.clock.monotonic());
            }
        })
    }
}

impl CodeSession {
    /// Parses the body of an answer with HTTP status 200.
    ///
    /// # Errors
    /// [`Error::Refused`] if WeChat refused, [`Error::Invalid`] if this is not the documented JSON.
    pub fn from_json(body: &[u8]) -> Result<Self, Error> {
        let answer: CodeToSessionAnswer = http::parse_answer(Call::CodeToSession, body)?;
        let unionid = answer.unionid.filter(|unionid| !unionid.is_empty());
        Ok(Self {
            openid: id("openid", answer.openid.unwrap_or_default())?,
            unionid: unionid.map(|unionid| id("unionid", unionid)).transpose()?,
            session_key: session_key(answer.session_key.as_ref())?,
        })
    }
}

fn id(field: &'static str, id: String) -> Result<String, Invalid> {
    http::check_visible(field, &id, MAX_ID_LEN).map(|()| id)
}

fn session_key(text: Option<&SecretString>) -> Result<SecretBox<[u8; 16]>, Invalid> {
    let text = text.map_or("", ExposeSecret::expose_secret);
    let mut buffer = Zeroizing::new([0; 18]); // the most that 24 characters decode to
    match STANDARD.decode_slice(text, buffer.as_mut()) {
        Ok(16) => Ok(SecretBox::init_with_mut(|key: &mut [u8; 16]| {
            key.copy_from_slice(&buffer[..16]);
        })),
        _ => Err(Invalid::Field("session_key")),
    }
}
