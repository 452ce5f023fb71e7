//! `checksession`: whether a `session_key` is the user's newest.

use std::sync::Arc;

use serde::Deserialize;

use super::request::Request;
use super::{
    AccessToken, Call, Client, Error, Invalid, Meaning, MiniProgram, answer, hmac_signature,
};

/// Unlike other answers, a good one must hold an errcode, which is 0.
#[derive(Deserialize)]
struct CheckSessionAnswer {
    errcode: Option<serde::de::IgnoredAny>,
}

impl Client {
    /// Asks whether `session_key` is the newest of the user `openid`.
    ///
    /// Source: WeChat's documentation of `auth.checkSessionKey`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn check_session(
        self: &Arc<Self>,
        mini_program: &Arc<MiniProgram>,
        openid: &str,
        session_key: &[u8; 16],
    ) -> Result<bool, Error> {
        let signature = hmac_signature("", session_key);
        let ask = |access_token: AccessToken, deadline| {
            let signature = &signature;
            async move {
                let ask = || {
                    let request = Request::get("/wxa/checksession")
                        .query("access_token", access_token.expose())
                        .query("openid", openid)
                        .query("signature", signature)
                        .query("sig_method", "hmac_sha256");
                    self.send(request, parse_check_session)
                };
                self.retry(Call::CheckSession, mini_program, deadline, ask)
                    .await
            }
        };
        match self.with_token(mini_program, ask).await {
            Err(error) if error.meaning() == Some(Meaning::StaleSessionKey) => Ok(false),
            result => result.map(|()| true),
        }
    }
}

/// Parses the body of an answer with HTTP status 200.
///
/// # Errors
/// [`Error::Refused`] if WeChat refused, also if the key is not valid; [`Error::Invalid`] if this is
/// not the documented JSON.
pub fn parse_check_session(body: &[u8]) -> Result<(), Error> {
    let answer: CheckSessionAnswer = answer::parse(Call::CheckSession, body)?;
    match answer.errcode {
        Some(_) => Ok(()),
        None => Err(Invalid::Field("errcode").into()),
    }
}
