//! `stable_token` in normal mode: every caller gets the same `access_token`. A new one is never forced.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::http::{self, Request};
use super::{Call, Client, Error, Invalid, MiniProgram};

/// The longest token that is accepted, in bytes. WeChat asks callers to have room for 512.
const MAX_LEN: usize = 2048;

/// WeChat's credential for calls on behalf of a Mini Program. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct AccessToken {
    pub(super) text: SecretString,
    /// Seconds from now until it expires.
    pub expires_in: u64,
}

#[derive(Deserialize)]
struct StableTokenAnswer {
    access_token: Option<SecretString>,
    expires_in: Option<u64>,
}

impl AccessToken {
    /// The token itself, for a request to WeChat.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// Parses the body of an answer with HTTP status 200.
    ///
    /// # Errors
    /// [`Error::Refused`] if WeChat refused, [`Error::Invalid`] if this is not the documented JSON.
    #[doc(hidden)]
    pub fn from_json(body: &[u8]) -> Result<Self, Error> {
        let answer: StableTokenAnswer = http::parse_answer(Call::StableToken, body)?;
        let text = answer.access_token.unwrap_or_default();
        http::check_visible("access_token", text.expose_secret(), MAX_LEN)?;
        let expires_in = answer.expires_in.filter(|seconds| *seconds > 0);
        Ok(Self {
            text,
            expires_in: expires_in.ok_or(Invalid::Field("expires_in"))?,
        })
    }
}

impl Client {
    /// Fetches the current `access_token`, with the next AppSecret if WeChat refuses one as wrong, and with at
    /// most two retries while WeChat is busy, within the timeout of the settings.
    ///
    /// Source: WeChat's documentation of `auth.getStableAccessToken`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn stable_token(&self, mini_program: &MiniProgram) -> Result<AccessToken, Error> {
        let request = |secret: &SecretString| {
            let json = json!({
                "grant_type": "client_credential",
                "appid": mini_program.appid(),
                "secret": secret.expose_secret(),
            });
            Request::post("/cgi-bin/stable_token", &json)
        };
        let (call, parse) = (Call::StableToken, AccessToken::from_json);
        self.with_secrets(call, mini_program, request, parse).await
    }
}
