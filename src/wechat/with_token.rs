//! The calls that need an `access_token`.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    AccessToken, Error, JsCode, Meaning, MiniProgram, PhoneNumber, TokenClient, diagnosis,
};

/// Why a call with an `access_token` failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The call was not sent: there is no `access_token`, or WeChat was not reached.
    NotSent(Error),
    /// The call was sent, or may have been.
    Sent(Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let (CallError::NotSent(error) | CallError::Sent(error)) = error;
        error
    }
}

impl TokenClient {
    /// The phone number of the user `openid`, for a phone code.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn phone_number(
        &self,
        mini_program: &Arc<MiniProgram>,
        openid: &str,
        phone_code: &JsCode,
    ) -> Result<PhoneNumber, CallError> {
        let (deadline, appid) = (self.client.deadline(), mini_program.appid());
        let ask = |token: AccessToken| async move {
            self.client
                .phone_number(appid, &token, openid, phone_code, deadline)
                .await
        };
        self.call(mini_program, deadline, ask).await
    }

    /// Whether `session_key` is the newest of the user `openid`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn check_session(
        &self,
        mini_program: &Arc<MiniProgram>,
        openid: &str,
        session_key: &[u8; 16],
    ) -> Result<bool, CallError> {
        let deadline = self.client.deadline();
        let ask = |token: AccessToken| async move {
            self.client
                .check_session(&token, openid, session_key, deadline)
                .await
        };
        self.call(mini_program, deadline, ask).await
    }

    /// Makes a call, and once more with another token if WeChat refuses the first as invalid.
    async fn call<T, F: Future<Output = Result<T, Error>>>(
        &self,
        mini_program: &Arc<MiniProgram>,
        deadline: Instant,
        ask: impl Fn(AccessToken) -> F,
    ) -> Result<T, CallError> {
        let token = self.access_token_before(deadline, mini_program).await;
        let token = token.map_err(CallError::NotSent)?;
        let error = match ask(token.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if error.meaning() != Some(Meaning::InvalidAccessToken) {
            let appid = mini_program.appid();
            diagnosis::log_refusal(None, appid, &error);
            return Err(match error {
                Error::Unreachable(_) => CallError::NotSent(error),
                error => CallError::Sent(error),
            });
        }
        let result = match self.replacement(mini_program, &token, deadline).await {
            Ok(Some(other)) => ask(other).await,
            Ok(None) => Err(error),
            Err(error) => Err(error),
        };
        result.map_err(|error| CallError::Sent(error.unreachable_as_broken()))
    }
}
