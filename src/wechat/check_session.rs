//! `checksession`: whether a `session_key` is the user's newest.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::http::{self, Request};
use super::{AccessToken, Call, Client, Error, Invalid, Meaning, MiniProgram, hmac_signature};

/// Unlike other answers, a good one must hold an errcode, which is 0.
#[derive(Deserialize)]
struct CheckSessionAnswer {
    errcode: Option<IgnoredAny>,
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
        let call = Call::CheckSession;
        match self.with_token(call, mini_program, request, parse).await {
            Err(error) if error.meaning() == Some(Meaning::StaleSessionKey) => Ok(false),
            result => result.map(|_| true),
        }
    }
}

fn parse(body: &[u8]) -> Result<IgnoredAny, Error> {
    let answer: CheckSessionAnswer = http::parse_answer(Call::CheckSession, body)?;
    Ok(answer.errcode.ok_or(Invalid::Field("errcode"))?)
}
