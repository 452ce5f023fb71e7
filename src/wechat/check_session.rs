//! `checksession`: whether a `session_key` is the user's newest.

use std::sync::Arc;

use serde::Deserialize;

use super::http::Request;
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
        let request = |token: &AccessToken| {
            Request::get("/wxa/checksession")
                .query("access_token", token.expose())
                .query("openid", openid)
                .query("signature", &signature)
                .query("sig_method", "hmac_sha256")
        };
        let (call, parse) = (Call::CheckSession, parse_check_session);
        match self.with_token(call, mini_program, request, parse).await {
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
